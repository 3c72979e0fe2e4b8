//! `bellwire workflows`: what a directory of workflows would change against what is published, and its publication.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use bellwire::app;
use bellwire::app::plan::{EnvironmentPlan, Fate, InFlight, Plan, Project, WorkflowPlan};
use bellwire::config::workflows::Problem;
use bellwire::config::{Config, WorkflowsFrom};
use bellwire::model::workflow::difference::{Change, What};
use bellwire::store::Batch;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::check::{counted, tell};
use super::{Database, Failure, Place, connect, environment, listed, say};

/// The code that says that there are differences.
const DIFFERENT: u8 = 2;
/// Lines of a text that is gone or new which are shown.
const LINES: usize = 12;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Tell what a directory would change, and how many runs in flight that touches; nothing is written.
    Plan(PlanArgs),
    /// Publish a directory, for nodes that have their workflows from the store (`from` of [workflows]).
    Apply(ApplyArgs),
    /// Switch a workflow off: triggers are refused, and a run that comes to its next step ends there.
    Deactivate(Switch),
    /// Switch a workflow on again.
    Activate(Switch),
    /// Let nodes publish the workflows of their files again, after some were applied.
    Release(Release),
}

/// Which directory, against what.
#[derive(Args)]
struct Against {
    /// The directory of workflows [default: `dir` of [workflows]].
    dir: Option<PathBuf>,
    /// Only this environment; may be given again [default: all that are configured].
    #[arg(long = "env", value_name = "NAME")]
    environments: Vec<String>,
    /// The configuration file [default: $BELLWIRE_CONFIG, else config/bellwire.toml if it is there, else the defaults].
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A TOML file with [[channels]], instead of those of the configuration.
    #[arg(long, value_name = "FILE")]
    channels: Option<PathBuf>,
    /// The directory of the database, instead of `path` of [store].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Args)]
pub(super) struct PlanArgs {
    #[command(flatten)]
    against: Against,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// End with 2 if there are differences, and with 0 if there are none.
    #[arg(long)]
    detailed_exitcode: bool,
}

impl Against {
    fn read(&self) -> Result<(Config, Project), Vec<Problem>> {
        let place = Place {
            config: self.config.clone(),
            workflows: self.dir.clone(),
            channels: self.channels.clone(),
            data: self.data.clone(),
        };
        let mut config = place.load()?;
        let project = Project::read(&mut config)?;
        Ok((config, project))
    }

    /// The environments that are meant.
    fn slugs(&self, config: &Config) -> Result<Vec<String>, Failure> {
        let known: Vec<String> = config.environments.keys().cloned().collect();
        if let Some(unknown) = self.environments.iter().find(|slug| !known.contains(slug)) {
            return Err(Failure(format!("There is no environment `{unknown}`; there is {}.", listed(&known))));
        }
        let is_meant = |slug: &String| self.environments.is_empty() || self.environments.contains(slug);
        Ok(known.into_iter().filter(is_meant).collect())
    }
}

#[derive(Args)]
pub(super) struct ApplyArgs {
    #[command(flatten)]
    against: Against,
    /// Don't ask.
    #[arg(long)]
    yes: bool,
    /// Publish unchanged workflows, too: each as a version of its own.
    #[arg(long)]
    allow_empty: bool,
    /// Print JSON; needs --yes.
    #[arg(long, requires = "yes")]
    json: bool,
}

#[derive(Args)]
pub(super) struct Switch {
    /// The key of the workflow.
    workflow: String,
    /// Only in this environment; may be given again [default: wherever it is published].
    #[arg(long = "env", value_name = "NAME")]
    environments: Vec<String>,
    #[command(flatten)]
    database: Database,
}

#[derive(Args)]
pub(super) struct Release {
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Plan(asked) => plan(&asked).await,
        Command::Apply(asked) => apply(&asked).await,
        Command::Deactivate(asked) => switch(&asked, false).await,
        Command::Activate(asked) => switch(&asked, true).await,
        Command::Release(Release { database }) => release(&database).await,
    }
}

async fn apply(asked: &ApplyArgs) -> Result<ExitCode, Failure> {
    let (config, project) = match asked.against.read() {
        Ok(read) => read,
        Err(problems) => return tell(&problems),
    };
    let Project { audiences, sources, caps, guides, .. } = &project;
    let has_others = audiences.all().next().is_some() || sources.all().next().is_some();
    if has_others || caps.all().next().is_some() || guides.all().next().is_some() {
        // Nodes that follow the store read no files: they would run the workflows without them.
        return Err(Failure(
            "The directory has audiences, sources, caps or guides, which nodes only read from files of their own: leave `from = \"files\"` of \
             [workflows], and give each node the directory."
                .to_owned(),
        ));
    }
    if config.workflows.from == WorkflowsFrom::Files {
        return Err(Failure(
            "The nodes of this configuration read files: put these into the directory of each (`dir` of [workflows]) and send it \
             SIGHUP, or set `from = \"store\"` of [workflows] on all of them, and apply then."
                .to_owned(),
        ));
    }
    let slugs = asked.against.slugs(&config)?;
    let store = connect(&config).await?;
    let plan = Plan::new(&store, &config, &slugs, &project, asked.allow_empty).await?;
    if !asked.json {
        show(&plan)?;
    }
    if plan.is_done() {
        let said = if asked.json { published(&plan, false)? } else { "Nothing is to be published.".to_owned() };
        say(said)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !asked.yes && !is_confirmed()? {
        return Err(Failure("Nothing was published.".to_owned()));
    }
    if !plan.apply(&store, &project, app::clock(&store).await?.now()).await? {
        return Err(Failure(
            "Somebody else has published since this plan was made, so nothing was published: look at the new plan, and apply that."
                .to_owned(),
        ));
    }
    let within = counted(config.bus.sweep_seconds, "second");
    say(match asked.json {
        true => published(&plan, true)?,
        false => format!("Published. Every node that is up runs it within {within}."),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn published(plan: &Plan, is_published: bool) -> Result<String, Failure> {
    let mut told = to_json(plan);
    told["published"] = is_published.into();
    Ok(serde_json::to_string_pretty(&told)?)
}

/// Whether whoever reads the plan wants it.
fn is_confirmed() -> Result<bool, Failure> {
    write!(io::stderr(), "\nPublish this? Only `yes` is a yes: ")?;
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Switches a workflow on or off (W-ENV-05).
async fn switch(asked: &Switch, is_active: bool) -> Result<ExitCode, Failure> {
    let config = asked.database.load()?;
    let store = connect(&config).await?;
    for slug in &asked.environments {
        environment(&store, slug).await?;
    }
    let (key, now) = (&asked.workflow, app::clock(&store).await?.now());
    let (mut batch, mut slugs) = (Batch::new(), Vec::new());
    for row in store.environments().await? {
        let is_meant = asked.environments.is_empty() || asked.environments.contains(&row.slug);
        let published = store.published_workflows(row.number).await?;
        if is_meant && published.iter().any(|one| one.key == *key && one.archived_at.is_none()) {
            batch.activate_workflow(row.number, key, is_active, now);
            slugs.push(row.slug);
        }
    }
    if slugs.is_empty() {
        return Err(Failure(format!("No workflow `{key}` is published there.")));
    }
    store.apply(batch).await?;
    let state = if is_active { "active" } else { "switched off" };
    let within = counted(config.bus.sweep_seconds, "second");
    say(format!("`{key}` is {state} in {}; every node that is up knows within {within}.", slugs.join(", ")))?;
    Ok(ExitCode::SUCCESS)
}

async fn release(database: &Database) -> Result<ExitCode, Failure> {
    let store = database.open().await?;
    let now = app::clock(&store).await?.now();
    let mut batch = Batch::new();
    for row in store.environments().await? {
        batch.release_publication(row.number, now);
    }
    store.apply(batch).await?;
    say("Nodes with `from = \"files\"` publish their own workflows again when they start.")?;
    Ok(ExitCode::SUCCESS)
}

async fn plan(asked: &PlanArgs) -> Result<ExitCode, Failure> {
    let (config, project) = match asked.against.read() {
        Ok(read) => read,
        Err(problems) => return tell(&problems),
    };
    let slugs = asked.against.slugs(&config)?;
    let store = connect(&config).await?;
    let plan = Plan::new(&store, &config, &slugs, &project, false).await?;
    match asked.json {
        true => say(serde_json::to_string_pretty(&to_json(&plan))?)?,
        false => show(&plan)?,
    }
    Ok(match asked.detailed_exitcode && plan.has_changes() {
        true => ExitCode::from(DIFFERENT),
        false => ExitCode::SUCCESS,
    })
}

fn to_json(plan: &Plan) -> Value {
    json!({"has_changes": plan.has_changes(), "environments": plan.environments})
}

/// Prints the plan; environments with which the same happens stand together.
fn show(plan: &Plan) -> Result<(), Failure> {
    let mut rest: &[EnvironmentPlan] = &plan.environments;
    while let [first, ..] = rest {
        let same = rest.iter().take_while(|other| other.workflows == first.workflows).count();
        let slugs: Vec<String> = rest[..same].iter().map(|one| one.environment.clone()).collect();
        say(format!("In {}:", slugs.join(", ")))?;
        for workflow in &first.workflows {
            show_workflow(workflow)?;
        }
        say(format!("  {}", summary(&first.workflows)))?;
        rest = &rest[same..];
        if !rest.is_empty() {
            say("")?;
        }
    }
    Ok(())
}

fn summary(workflows: &[WorkflowPlan]) -> String {
    let count = |fate: Fate| workflows.iter().filter(|workflow| workflow.fate == fate).count();
    let touched: i64 = workflows.iter().filter_map(|workflow| workflow.in_flight.as_ref()).map(|one| one.runs).sum();
    let all = [Fate::New, Fate::Changed, Fate::Renewed, Fate::Missing, Fate::Unchanged];
    let told = all.into_iter().filter(|fate| *fate != Fate::Renewed || count(*fate) > 0);
    let told: Vec<String> = told.map(|fate| format!("{} {}", count(fate), fate.name())).collect();
    format!("{}; {} in flight.", told.join(", "), counted(touched, "run"))
}

fn show_workflow(workflow: &WorkflowPlan) -> Result<(), Failure> {
    let (key, off) = (&workflow.key, if workflow.is_active { "" } else { ", switched off" });
    match workflow.fate {
        Fate::Renewed => say(format!("  ~ {key}: unchanged, published as a new version{off}"))?,
        Fate::Unchanged => say(format!("    {key}: unchanged{off}"))?,
        Fate::New => say(format!("  + {key}: new, {}{off}", counted(workflow.steps.unwrap_or_default(), "step")))?,
        Fate::Missing => say(format!("  - {key}: not in the directory; it can be triggered no more{off}"))?,
        Fate::Changed => say(format!("  ~ {key}: changed{off}"))?,
    }
    for change in &workflow.changes {
        show_change(change)?;
    }
    workflow.in_flight.as_ref().map_or(Ok(()), |in_flight| show_in_flight(in_flight, workflow.fate))
}

fn show_change(change: &Change) -> Result<(), Failure> {
    let path = match &change.step {
        Some(step) => format!("{} ({step})", change.path),
        None => change.path.clone(),
    };
    match &change.what {
        What::StepAdded { step_type } => say(format!("      + {path}: {step_type} step")),
        What::StepRemoved { step_type } => say(format!("      - {path}: {step_type} step")),
        What::StepMoved { from } => say(format!("      ~ {path}: stood at {from}")),
        What::Value { old: Some(Value::String(old)), new: Some(Value::String(new)) }
            if old.contains('\n') || new.contains('\n') =>
        {
            say(format!("      ~ {path}:"))?;
            show_lines(old, new)
        }
        What::Value { old, new } => {
            let text = |value: &Option<Value>| value.as_ref().map_or_else(|| "(none)".to_owned(), Value::to_string);
            say(format!("      ~ {path}: {} -> {}", text(old), text(new)))
        }
    }
}

/// The lines between those that both texts begin with and those that both end with.
fn show_lines(old: &str, new: &str) -> Result<(), Failure> {
    let (old, new): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = old.iter().zip(&new).take_while(|(old, new)| old == new).count();
    let (old, new) = (&old[head..], &new[head..]);
    let tail = old.iter().rev().zip(new.iter().rev()).take_while(|(old, new)| old == new).count();
    for (sign, lines) in [("-", &old[..old.len() - tail]), ("+", &new[..new.len() - tail])] {
        for line in lines.iter().take(LINES) {
            say(format!("          {sign} {line}"))?;
        }
        if lines.len() > LINES {
            say(format!("          {sign} ({} more)", counted(lines.len() - LINES, "line")))?;
        }
    }
    Ok(())
}

fn show_in_flight(in_flight: &InFlight, fate: Fate) -> Result<(), Failure> {
    let InFlight { runs, keep, follow, end, messages, fan_outs, schedules, waiting } = in_flight;
    if *runs > 0 {
        let fates = [
            (*keep, "keeps its version", "keep their version"),
            (*follow, "goes on in the new one", "go on in the new one"),
            (*end, "ends as it resumes", "end as they resume"),
        ];
        let fates = fates.iter().filter(|(count, ..)| *count > 0);
        let fates = fates.map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }));
        say(format!("      {} in flight: {}", counted(*runs, "run"), fates.collect::<Vec<_>>().join(", ")))?;
    }
    for one in waiting {
        let place = match (&one.step, &one.step_type) {
            (Some(step), Some(step_type)) => format!("in {step} ({step_type})"),
            _ if one.is_unknown => format!("in version {}, which can't be read here", one.version_id),
            _ => "at their beginning".to_owned(),
        };
        let follow = if one.follow { ", which goes on in the new version" } else { "" };
        say(format!("        {} {place}{follow}", one.runs))?;
    }
    let is_gone = fate == Fate::Missing;
    if *messages > 0 {
        say(format!("      {} waiting for a send window: sent as made", counted(*messages, "message")))?;
    }
    if *fan_outs > 0 {
        let what = if is_gone { "who is left is not told" } else { "in their old version" };
        say(format!("      {} still being told to followers: {what}", counted(*fan_outs, "trigger")))?;
    }
    if *schedules > 0 {
        let what = if is_gone { "nothing comes any more" } else { "in the version that is published then" };
        say(format!("      {} to come: {what}", counted(*schedules, "schedule")))?;
    }
    Ok(())
}
