//! `bellwire runs`: what a run did, and why.

use std::process::ExitCode;

use bellwire::app::simulation::Entry;
use bellwire::model::run::EventStatus;
use clap::Subcommand;

use super::timeline::Timeline;
use super::{Database, Failure, say};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Tell what a run did step by step, with every condition and what it compared; the server may be running.
    Show(Show),
}

#[derive(clap::Args)]
pub(super) struct Show {
    /// The id of the recipient's run, or of the whole workflow run, of which each recipient's is shown.
    run: String,
    /// Print it as the API does.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    let Command::Show(Show { run: id, json, database }) = command;
    let store = database.open().await?;
    let mut runs = Vec::from_iter(store.run(&id).await?);
    if runs.is_empty() {
        runs = store.runs_of(&id).await?;
    }
    if runs.is_empty() {
        return Err(Failure(format!("There is no run `{id}` in the database.")));
    }
    for run in runs {
        if json {
            say(serde_json::to_string_pretty(&run.to_detail_json())?)?;
            continue;
        }
        say(format!("Run {} of `{}` for {}: {}", run.id, run.workflow, run.recipient, run.status.name()))?;
        say(format!("  workflow run {}, version {}", run.workflow_run, run.version_id))?;
        for (name, value) in [("tenant", &run.tenant), ("cancellation key", &run.cancellation_key)] {
            if let Some(value) = value {
                say(format!("  {name} {value}"))?;
            }
        }
        if let Some(actor) = &run.actor {
            say(format!("  actor {actor}"))?;
        }
        let mut timeline = Timeline::default();
        for event in &run.events {
            timeline.line(&Entry {
                step: event.step_ref.clone(),
                is_error: event.status == EventStatus::Error,
                data: event.data.clone().unwrap_or_default(),
                ..Entry::about(&run, None, event.inserted_at, &event.event)
            })?;
        }
        say("")?;
    }
    Ok(ExitCode::SUCCESS)
}
