//! Durable triggers: how many per second, and how long from a trigger to its frame, beside the disk's own pace.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use hyper::Method;
use tokio::task::JoinSet;

use super::{HANDSHAKES, PAUSE};
use crate::bare::record::Store;
use crate::bare::rows;
use crate::disk;
use crate::http::Pool;
use crate::machine::{self, Reading, Usage};
use crate::options::{Join, Trigger};
use crate::progress::Progress;
use crate::publisher::{Publisher, Rota, pace, trigger_body};
use crate::run::{Outcome, Round, Run};
use crate::server;
use crate::swarm::{Plan, Swarm};
use crate::target::{Side, Target};

/// How long accepted triggers may still be carried out after the last answer.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn run(run: &Run, options: &Trigger) -> Result<Outcome> {
    let mut outcome = run.interleave("trigger", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "{} callers wait for each answer; the bare program's are in its own process, without HTTP: group commit alone",
        options.callers
    ));
    outcome.notes.push(format!(
        "trigger to frame at {}/s over {} sockets, from when each was due; bare: one record, one group commit, one frame",
        options.rate, options.listeners
    ));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Trigger, side: Side) -> Result<Round> {
    let room = run.room(side)?;
    let mut round = Round::default();
    run.progress.part(format!("{}: triggers, no limit", side.name()), u64::from(options.seconds) * 20_000);
    if side == Side::Bare {
        flood_bare(run, options, &room, &mut round).await?;
        let room = run.room(side)?;
        let target = Target::start(side, &run.common, &room, Join::Bellwire, true).await?;
        latency(run, options, &target, &room, &mut round).await?;
        return Ok(round);
    }
    let target = Target::start(side, &run.common, &room, Join::Bellwire, true).await?;
    target.identify(options.users.max(options.listeners)).await?;
    flood_server(run, options, &target, &mut round).await?;
    tokio::time::sleep(PAUSE).await;
    latency(run, options, &target, &room, &mut round).await?;
    Ok(round)
}

/// Group commits of rows in the bare program's own process.
async fn flood_bare(run: &Run, options: &Trigger, room: &std::path::Path, round: &mut Round) -> Result<()> {
    let (done, usage) = rows::measure(&run.common, room, options.callers, options.users, options.seconds).await?;
    rates(round, done.writes as f64, done.seconds, usage);
    Ok(())
}

/// Callers at the server, each waiting for one answer before its next trigger.
async fn flood_server(run: &Run, options: &Trigger, target: &Target, round: &mut Round) -> Result<()> {
    let Some(pool) = target.pool(options.callers).await? else { return Ok(()) };
    call(&pool, options, 1, &run.progress).await?; // statements prepared, pages warm
    let reading = Reading::take(target.pid())?;
    let began = Instant::now();
    let triggers = call(&pool, options, options.seconds, &run.progress).await?;
    let seconds = began.elapsed().as_secs_f64();
    // What was accepted but not yet carried out belongs to the triggers too, and must not slow down the next part.
    let backlog = machine::await_idle(target.pid(), PATIENCE).await?;
    rates(round, triggers as f64, seconds, reading.usage(target.pid())?);
    round.less("then busy for", "s", backlog.as_secs_f64());
    Ok(())
}

async fn call(pool: &Pool, options: &Trigger, seconds: u32, progress: &Progress) -> Result<u64> {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let answered = Rc::new(Cell::new(0_u64));
    let mut callers: JoinSet<Result<()>> = JoinSet::new();
    for caller in 0..options.callers {
        let (pool, answered, users, step) = (pool.clone(), Rc::clone(&answered), options.users, options.callers);
        callers.spawn_local(async move {
            let mut connection = pool.take().await?;
            let mut user = caller % users;
            while Instant::now() < until {
                connection
                    .call(Method::POST, &server::trigger_path(server::WORKFLOW), trigger_body(&[user], 0))
                    .await?;
                answered.set(answered.get() + 1);
                user = (user + step) % users;
            }
            pool.put(connection);
            Ok(())
        });
    }
    let mut beat = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            caller = callers.join_next() => match caller {
                Some(caller) => caller??,
                None => return Ok(answered.get()),
            },
            _ = beat.tick() => progress.at(answered.get()),
        }
    }
}

fn rates(round: &mut Round, count: f64, seconds: f64, usage: Usage) {
    round.more("durable triggers", "/s", count / seconds);
    round.less("CPU per trigger", "µs", usage.measured.total() * 1e6 / count.max(1.0));
    round.less("of it user", "µs", usage.measured.user * 1e6 / count.max(1.0));
    round.disturbed(usage.noise);
}

/// From trigger to frame, at a fixed rate; the disk is asked right before.
async fn latency(
    run: &Run,
    options: &Trigger,
    target: &Target,
    room: &std::path::Path,
    round: &mut Round,
) -> Result<()> {
    let disk = disk::probe(room).await?;
    let plan = Plan { first: 0, users: options.listeners, sockets_per_user: 1, concurrency: HANDSHAKES };
    let swarm = Swarm::open(target, plan, &run.progress).await?;
    let frame_bytes = run.frame_bytes.get() as usize;
    let mut publisher = Publisher::open(target, Store::Item, frame_bytes).await?;
    let mut rota = Rota::new(options.listeners, 1);
    tokio::time::sleep(PAUSE).await;
    run.progress.part("triggers at a fixed rate", u64::from(options.rate) * u64::from(options.seconds));
    swarm.watch.begin();
    let reading = Reading::take(target.pid())?;
    let publishes = pace(&swarm.watch, options.rate.into(), options.seconds, &run.progress, async |at| {
        publisher.publish(rota.next(), at).await
    })
    .await?;
    let lost = swarm.watch.settle(publishes).await;
    round.disturbed(reading.usage(target.pid())?.noise);
    publisher.failures().require_none()?;
    let latency = swarm.watch.latency();
    let in_syncs =
        |quantile| latency.value_at_quantile(quantile) as f64 / disk.value_at_quantile(quantile).max(1) as f64;
    let (median, tail) = (in_syncs(0.5), in_syncs(0.99));
    round.percentiles("trigger to frame", latency);
    round.less("disk's fdatasync p50", "ms", disk.value_at_quantile(0.5) as f64 / 1_000.0);
    round.less("disk's fdatasync p99", "ms", disk.value_at_quantile(0.99) as f64 / 1_000.0);
    round.less("p50 over the disk's", "x", median);
    round.less("p99 over the disk's", "x", tail);
    round.less("lost deliveries", "", lost as f64);
    swarm.require_whole()
}
