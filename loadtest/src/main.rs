//! Bellwire's load test: opens sockets, triggers and marks, and prints beside each figure what a bare program reaches.

#![allow(clippy::disallowed_macros, reason = "the report is what this program is for, and goes where it is asked for")]

mod bare;
mod crowd;
mod disk;
mod full;
mod http;
mod letters;
mod machine;
mod news;
mod options;
mod process;
mod progress;
mod publisher;
mod report;
mod run;
mod scenario;
mod server;
mod socket;
mod stub;
mod svg;
mod swarm;
mod target;
mod watch;

use std::cell::Cell;
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Parser as _;
use serde_json::Value;
use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::signal::unix::{SignalKind, signal};

use crate::options::{Common, Options, Scenario};
use crate::process::Scratch;
use crate::progress::Progress;
use crate::report::Place;
use crate::run::{Outcome, Run};
use crate::svg::Series;

fn main() -> ExitCode {
    let options = Options::parse();
    let done = match &options.scenario {
        Scenario::BarePush(options) => bare::push::serve(options),
        Scenario::BareRows(options) => bare::rows::serve(options),
        Scenario::BarePages(options) => bare::pages::serve(options),
        Scenario::BareLists(options) => bare::lists::serve(options),
        scenario => load(options.common.clone(), scenario),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario on one thread, then reports. Whatever ends it, dropping the run ends its children.
fn load(mut common: Common, scenario: &Scenario) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    common.no_pin |= cores == 1;
    common.bare_only |= matches!(scenario, Scenario::Limit(_));
    process::pin_client(&common)?;
    let scratch = Scratch::create(common.directory.as_deref())?;
    let place = Place::here(scratch.path(), cores);
    let frame_bytes = Cell::new(common.frame_bytes);
    let run = Run { common, progress: Progress::new(), scratch, frame_bytes };
    let outcomes = local_runtime()?.block_on(bounded(&run, scenario))?;
    run.progress.clear();
    publish(&outcomes, &place, &run.common)
}

/// A runtime of one thread, whose tasks share what they share without locks.
fn local_runtime() -> Result<LocalRuntime> {
    Ok(Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?)
}

/// Ends the run when its time is up or someone asks for it.
async fn bounded(run: &Run, scenario: &Scenario) -> Result<Vec<Outcome>> {
    let limit = Duration::from_secs(run.common.max_seconds);
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        outcomes = measure(run, scenario) => outcomes,
        () = tokio::time::sleep(limit) => bail!("not done after {limit:?}; allow more with --max-seconds"),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn measure(run: &Run, scenario: &Scenario) -> Result<Vec<Outcome>> {
    Ok(vec![match scenario {
        Scenario::Connect(options) if options.bad_key => scenario::refuse::run(run, options).await?,
        Scenario::Connect(options) => scenario::connect::run(run, options).await?,
        Scenario::Push(options) => scenario::push::run(run, options).await?,
        Scenario::Trigger(options) => scenario::trigger::run(run, options).await?,
        Scenario::Fanout(options) => scenario::fanout::run(run, options).await?,
        Scenario::Engine(options) => scenario::engine::run(run, options).await?,
        Scenario::Feed(options) => scenario::feed::run(run, options).await?,
        Scenario::Lists(options) => scenario::lists::run(run, options).await?,
        Scenario::Mark(options) => scenario::mark::run(run, options).await?,
        Scenario::Reconnect(options) => scenario::reconnect::run(run, options).await?,
        Scenario::Limit(options) => return scenario::limit::run(run, options).await,
        Scenario::BarePush(_) | Scenario::BareRows(_) | Scenario::BarePages(_) | Scenario::BareLists(_) => {
            bail!("that is a child's command")
        }
    }])
}

/// Prints the tables and writes the files asked for.
fn publish(outcomes: &[Outcome], place: &Place, common: &Common) -> Result<()> {
    for outcome in outcomes {
        println!("{}", report::table(outcome, place, common));
    }
    if let Some(path) = &common.json {
        let all: Vec<Value> = outcomes.iter().map(|outcome| report::json(outcome, place, common)).collect();
        let text = serde_json::to_string_pretty(&all)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &common.svg {
        let series = outcomes.iter().flat_map(series).collect::<Vec<_>>();
        let title = if let [only] = outcomes { &only.scenario } else { "what this machine allows" };
        fs::write(path, svg::draw(&format!("Latency: {title}"), &series))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// A scenario's rows in the picture.
fn series(outcome: &Outcome) -> Vec<Series> {
    let named = |side: target::Side| format!("{} ({})", side.name(), outcome.scenario);
    outcome
        .sides
        .iter()
        .filter_map(|(side, rounds)| {
            let is_bare = *side == target::Side::Bare;
            Some(Series { name: named(*side), is_bare, latency: report::latency(rounds)? })
        })
        .collect()
}
