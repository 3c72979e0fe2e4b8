//! Reads the newest page of a feed with its counts, from feeds of growing size.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use hyper::Method;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::bare::{self, pages::Times};
use crate::machine::Reading;
use crate::options::{Feed, Join};
use crate::process::Process;
use crate::publisher::trigger_body;
use crate::run::{Outcome, Round, Run};
use crate::server;
use crate::target::{Side, Target};
use crate::watch::histogram;

/// Items of a full page.
const PAGE: u32 = 50;

pub(crate) async fn run(run: &Run, options: &Feed) -> Result<Outcome> {
    // The feeds are filled once: later rounds only read.
    let target = if run.common.bare_only { None } else { Some(fill(run, options).await?) };
    let bare = tokio::sync::Mutex::new(fill_bare(run, options).await?);
    let mut outcome = run
        .interleave("feed", async |side| match (side, &target) {
            (Side::Bellwire, Some(target)) => read(run, options, target).await,
            _ => read_bare(run, options, &mut *bare.lock().await).await,
        })
        .await?;
    outcome.notes.push(format!(
        "{} reads of 50 items with counts, one after the other; the bare program reads the same rows in process, without HTTP",
        options.reads
    ));
    Ok(outcome)
}

async fn fill(run: &Run, options: &Feed) -> Result<Target> {
    let target = Target::start(Side::Bellwire, &run.common, &run.room(Side::Bellwire)?, Join::Bellwire, true).await?;
    target.identify(u32::try_from(options.items.len())?).await?;
    for (user, items) in (0..).zip(&options.items) {
        run.progress.part(format!("fill a feed with {items} items"), (*items).into());
        fill_one(run, &target, options.callers, user, *items).await?;
        await_count(&target, user, *items).await?;
    }
    Ok(target)
}

/// Triggers `items` times for one user, over many connections.
async fn fill_one(run: &Run, target: &Target, callers: u32, user: u32, items: u32) -> Result<()> {
    let callers = callers.min(items);
    let Some(pool) = target.pool(callers).await? else { return Ok(()) };
    let done = Rc::new(Cell::new(0_u32));
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    for _ in 0..callers {
        let (pool, done) = (pool.clone(), Rc::clone(&done));
        calls.spawn_local(async move {
            let mut connection = pool.take().await?;
            while done.get() < items {
                done.set(done.get() + 1);
                connection
                    .call(Method::POST, &server::trigger_path(server::WORKFLOW), trigger_body(&[user], 0))
                    .await?;
            }
            Ok(())
        });
    }
    while let Some(call) = calls.join_next().await {
        call??;
        run.progress.at(done.get().into());
    }
    Ok(())
}

/// Waits until the feed shows every item: a trigger's answer does not promise that its run has ended.
async fn await_count(target: &Target, user: u32, items: u32) -> Result<()> {
    let pool = target.pool(1).await?.context("only the server is filled this way")?;
    let mut connection = pool.take().await?;
    let (mut seen, mut since) = (0, Instant::now());
    loop {
        let page: Value =
            serde_json::from_slice(&connection.call(Method::GET, &server::feed_path(user), String::new()).await?)?;
        let total = page["meta"]["total_count"].as_u64().context("the feed has no `meta.total_count`")?;
        if total >= u64::from(items) {
            return Ok(());
        }
        if total > seen {
            (seen, since) = (total, Instant::now());
        } else if since.elapsed().as_secs() > 10 {
            bail!("a feed of {items} items shows {total}, and no more are coming");
        }
        tokio::time::sleep(super::PAUSE).await;
    }
}

async fn read(run: &Run, options: &Feed, target: &Target) -> Result<Round> {
    let pool = target.pool(1).await?.context("only the server is read this way")?;
    let mut connection = pool.take().await?;
    let mut feeds = Vec::new();
    let reading = Reading::take(target.pid())?;
    run.progress.part("bellwire: read pages", u64::from(options.reads) * options.items.len() as u64);
    for (user, _) in (0..).zip(&options.items) {
        let mut times = histogram_of_nanoseconds();
        for number in 0..options.reads {
            let began = Instant::now();
            connection.call(Method::GET, &server::feed_path(user), String::new()).await?;
            times.saturating_record(u64::try_from(began.elapsed().as_nanos())?);
            run.progress.at(u64::from(user) * u64::from(options.reads) + u64::from(number));
        }
        feeds.push(times);
    }
    let usage = reading.usage(target.pid())?;
    let mut round = compared(options, &feeds);
    let reads = f64::from(options.reads) * options.items.len() as f64;
    round.less("CPU per page", "µs", usage.measured.total() * 1e6 / reads);
    round.disturbed(usage.noise);
    Ok(round)
}

async fn fill_bare(run: &Run, options: &Feed) -> Result<Process> {
    let room = run.room(Side::Bare)?;
    run.progress.part("fill the bare program's feeds", 1);
    let items: Vec<String> = options.items.iter().map(u32::to_string).collect();
    let arguments = [
        "--rows".to_owned(),
        room.display().to_string(),
        "--items".to_owned(),
        items.join(","),
        "--reads".to_owned(),
        options.reads.to_string(),
    ];
    let (process, _): (_, Times) = bare::start(&run.common, "bare-pages", &arguments, &room).await?;
    Ok(process)
}

async fn read_bare(run: &Run, options: &Feed, process: &mut Process) -> Result<Round> {
    run.progress.part("bare: read pages", options.items.len() as u64);
    let mut feeds = Vec::new();
    let reading = Reading::take(process.pid())?;
    for place in 0..options.items.len() {
        process.say(&place.to_string())?;
        let read: Times = process.line().await?;
        let mut times = histogram_of_nanoseconds();
        read.nanoseconds.iter().for_each(|time| times.saturating_record(*time));
        feeds.push(times);
    }
    let usage = reading.usage(process.pid())?;
    let mut round = compared(options, &feeds);
    let reads = f64::from(options.reads) * options.items.len() as f64;
    round.less("CPU per page", "µs", usage.measured.total() * 1e6 / reads);
    round.disturbed(usage.noise);
    Ok(round)
}

/// Each feed's page, and how it compares with the smallest feed's.
fn compared(options: &Feed, feeds: &[Histogram<u64>]) -> Round {
    let mut round = Round::default();
    let median = |times: &Histogram<u64>| times.value_at_quantile(0.5) as f64 / 1_000.0;
    for (items, times) in options.items.iter().zip(feeds) {
        round.less(format!("page of {items} items, p50"), "µs", median(times));
        round.less(format!("page of {items} items, p99"), "µs", times.value_at_quantile(0.99) as f64 / 1_000.0);
    }
    if let [first, .., last] = feeds {
        round.less("largest over smallest, p50", "x", median(last) / median(first).max(0.001));
        // A feed smaller than a page is quicker because it says less.
        let full = options.items.iter().zip(feeds).find(|(items, _)| **items >= PAGE);
        if let Some((items, full)) = full {
            let name = format!("largest over {items} items, p50");
            round.less(name, "x", median(last) / median(full).max(0.001));
        }
        round.latency = Some(in_microseconds(last));
    }
    round
}

/// Pages take few microseconds where they are read in process: their times are kept in nanoseconds.
fn histogram_of_nanoseconds() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("constant bounds are valid")
}

fn in_microseconds(nanoseconds: &Histogram<u64>) -> Histogram<u64> {
    let mut micros = histogram();
    for step in nanoseconds.iter_recorded() {
        micros.saturating_record_n((step.value_iterated_to() / 1_000).max(1), step.count_at_value());
    }
    micros
}
