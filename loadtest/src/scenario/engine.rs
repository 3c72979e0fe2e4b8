//! Workflows: runs of one step and of five, timers that are due in the same second, and the followers of one object.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bellwire::clock::Clock;
use hdrhistogram::Histogram;
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{HANDSHAKES, PAUSE};
use crate::bare::record::Store;
use crate::bare::rows;
use crate::http::Pool;
use crate::machine::{self, Reading};
use crate::options::{Engine, Join};
use crate::publisher::{Publisher, Rota, pace, trigger_body};
use crate::run::{Outcome, Round, Run};
use crate::server::{self, BATCH, FIVE_STEPS, LATER, WORKFLOW};
use crate::stub::Stub;
use crate::swarm::{Plan, Swarm};
use crate::target::{Side, Target};
use crate::watch::marker;

/// How long what was accepted may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Triggers that put timers down, each second, at least: a machine on which it takes longer needs fewer timers.
const SLOWEST: u32 = 4_000;
/// Recipients whom one call has follow an object.
const FOLLOWERS_A_CALL: usize = 100;

pub(crate) async fn run(run: &Run, options: &Engine) -> Result<Outcome> {
    let mut outcome = run.interleave("engine", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "simple runs: one item each, {} callers whose triggers name {} recipients; five steps: a branch, a batch of {BATCH}, a fetch \
         from a stub of this client, an item, and an item that the branch passes by",
        options.callers, options.recipients
    ));
    outcome.notes.push(format!(
        "{} timers of {} recipients with open sockets, due in the same second, beside pushes at {}/s to {} others",
        options.timers, options.users, options.rate, options.listeners
    ));
    outcome.notes.push(format!(
        "{} followers, few of whom have a socket; the memory is the peak above what was there before",
        options.followers
    ));
    outcome.notes.push(
        "the bare program writes the rows of an item and its run by group commit, and nothing else; for a push it wakes up, with \
         nothing beside it, and with every core busy"
            .into(),
    );
    Ok(outcome)
}

async fn turn(run: &Run, options: &Engine, side: Side) -> Result<Round> {
    let room = run.room(side)?;
    let mut round = Round::default();
    if side == Side::Bare {
        run.progress.part("bare: rows", options.seconds.into());
        let callers = options.callers * options.recipients;
        let (done, usage) = rows::measure(&run.common, &room, callers, options.users, options.seconds).await?;
        for name in [SIMPLE, DRAINED, FOLLOWED] {
            round.more(name, "/s", done.writes as f64 / done.seconds);
        }
        round.disturbed(usage.noise);
        run.progress.part("bare: waking up", (2 * options.seconds).into());
        let (rate, seconds) = (options.rate, options.seconds);
        let wake = async |busy| tokio::task::spawn_blocking(move || machine::lateness(rate, seconds, busy)).await?;
        let (before, during) = (wake(0).await?, wake(std::thread::available_parallelism()?.get()).await?);
        pushes(&mut round, before, during);
        return Ok(round);
    }
    let target = Target::start(side, &run.common, &room, Join::Bellwire, true).await?;
    target.identify(options.users + options.listeners).await?;
    let load = Load { run, options, target: &target };
    load.simple(&mut round).await?;
    load.five_steps(&mut round).await?;
    load.timers(&mut round).await?;
    load.followers(&mut round).await?;
    Ok(round)
}

/// How long pushes took before timers were due, and while they were.
fn pushes(round: &mut Round, before: Histogram<u64>, during: Histogram<u64>) {
    let added = (during.value_at_quantile(0.99) as f64 - before.value_at_quantile(0.99) as f64) / 1_000.0;
    round.percentiles("push before", before);
    round.percentiles("push meanwhile", during);
    round.less("added to the p99 of pushes", "ms", added.max(0.0));
}

const SIMPLE: &str = "simple runs";
const DRAINED: &str = "due timers done";
const FOLLOWED: &str = "followers told";

/// What is loaded, and how.
struct Load<'a> {
    run: &'a Run,
    options: &'a Engine,
    target: &'a Target,
}

impl Load<'_> {
    /// New connections: the server closes those that are idle for long.
    async fn pool(&self, connections: u32) -> Result<Pool> {
        self.target.pool(connections).await?.context("the server has an API")
    }

    /// As many runs of one step as there can be.
    async fn simple(&self, round: &mut Round) -> Result<()> {
        let Load { run, options, target, .. } = self;
        run.progress.part("runs of one step", u64::from(options.seconds) * 10_000);
        let reading = Reading::take(target.pid())?;
        let began = Instant::now();
        let until = began + Duration::from_secs(options.seconds.into());
        let runs = self.trigger(WORKFLOW, End::At(until), |users| trigger_body(users, 0)).await?;
        machine::await_idle(target.pid(), PATIENCE).await?;
        let usage = reading.usage(target.pid())?;
        round.more(SIMPLE, "/s", runs as f64 / began.elapsed().as_secs_f64());
        round.less("CPU per simple run", "µs", usage.measured.total() * 1e6 / runs as f64);
        round.disturbed(usage.noise);
        Ok(())
    }

    /// Runs that come together by ten, fetch something and tell it, until every item has come.
    async fn five_steps(&self, round: &mut Round) -> Result<()> {
        let Load { run, options, target, .. } = self;
        let stub = Stub::start().await?;
        let plan = Plan { first: 0, users: options.users, sockets_per_user: 1, concurrency: HANDSHAKES };
        let swarm = Swarm::open(target, plan, &run.progress).await?;
        // Every recipient's batches are full at the end: nothing waits for the end of a window.
        let laps = (options.runs / options.users / BATCH).max(1) * BATCH;
        let wanted = u64::from(laps) * u64::from(options.users);
        tokio::time::sleep(PAUSE).await;
        run.progress.part("runs of five steps", wanted / u64::from(BATCH));
        swarm.watch.begin();
        let reading = Reading::take(target.pid())?;
        let (began, from) = (Instant::now(), format!("http://{}/plan", stub.address));
        let watch = Rc::clone(&swarm.watch);
        let body = move |users: &[u32]| body(users, &json!({"at": marker(watch.now()), "build": "1734", "from": from}));
        let runs = self.trigger(FIVE_STEPS, End::Runs(wanted), body).await?;
        await_items(&swarm, runs / u64::from(BATCH)).await?;
        let usage = reading.usage(target.pid())?;
        if stub.answered() != runs / u64::from(BATCH) {
            bail!("{} fetches of {} batches", stub.answered(), runs / u64::from(BATCH));
        }
        round.more("runs of five steps", "/s", runs as f64 / began.elapsed().as_secs_f64());
        round.less("CPU per run of five steps", "µs", usage.measured.total() * 1e6 / runs as f64);
        round.disturbed(usage.noise);
        swarm.require_whole()
    }

    /// Many timers that are due in the same second, and what others notice of it.
    async fn timers(&self, round: &mut Round) -> Result<()> {
        let Load { run, options, target, .. } = self;
        let plan = Plan { first: 0, users: options.users, sockets_per_user: 1, concurrency: HANDSHAKES };
        let told = Swarm::open(target, plan, &run.progress).await?;
        let plan = Plan { first: options.users, users: options.listeners, ..plan };
        let listeners = Swarm::open(target, plan, &run.progress).await?;
        let mut publisher = Publisher::open(target, Store::Item, 0).await?;
        tokio::time::sleep(PAUSE).await;
        let before = self.push(&listeners, &mut publisher, options.seconds, || false).await?;
        run.progress.part("timers, put down", options.timers.into());
        let clock = Clock::system();
        let due = clock.now().plus_seconds(i64::from(options.timers / SLOWEST) + 5);
        told.watch.begin();
        let data = json!({"at": marker(told.watch.now()), "build": "1734", "due": due.to_string()});
        let end = End::Runs(options.timers.into());
        let timers = self.trigger(LATER, end, move |users| body(users, &data)).await?;
        let left = due.micros() - clock.now().micros();
        if left < 0 {
            bail!("the first of {timers} timers were due before the last was put down: put down fewer");
        }
        let due = Instant::now() + Duration::from_micros(left.unsigned_abs());
        run.progress.part("timers, due", timers);
        tokio::time::sleep_until(due.into()).await;
        let reading = Reading::take(target.pid())?;
        let drained = Cell::new(None);
        let is_over = || {
            run.progress.at(told.watch.delivered());
            if told.watch.delivered() >= timers && drained.get().is_none() {
                drained.set(Some(due.elapsed()));
            }
            drained.get().is_some() || due.elapsed() > PATIENCE
        };
        let mut publisher = Publisher::open(target, Store::Item, 0).await?;
        let during = self.push(&listeners, &mut publisher, u32::MAX, is_over).await?;
        let usage = reading.usage(target.pid())?;
        let Some(took) = drained.get() else { bail!("{} of {timers} timers came", told.watch.delivered()) };
        round.more(DRAINED, "/s", timers as f64 / took.as_secs_f64());
        round.less("until the last is done", "s", took.as_secs_f64());
        round.less("CPU per timer", "µs", usage.measured.total() * 1e6 / timers as f64);
        pushes(round, before, during);
        round.disturbed(usage.noise);
        told.require_whole()?;
        listeners.require_whole()
    }

    /// Pushes at the fixed rate for so many seconds, or until it is over; answers how long each took.
    async fn push(
        &self,
        listeners: &Swarm,
        publisher: &mut Publisher,
        seconds: u32,
        is_over: impl Fn() -> bool,
    ) -> Result<Histogram<u64>> {
        let Load { run, options, .. } = self;
        let first = options.users;
        let mut rota = Rota::new(options.listeners, 1);
        listeners.watch.begin();
        // It may be over in the middle of a second, whose other pushes are then not published.
        let published = Cell::new(0);
        for _ in 0..seconds {
            if is_over() {
                break;
            }
            pace(&listeners.watch, options.rate.into(), 1, &run.progress, async |at| {
                if is_over() {
                    return Ok(());
                }
                let users: Vec<u32> = rota.next().iter().map(|user| first + user).collect();
                publisher.publish(&users, at).await?;
                published.set(published.get() + 1);
                Ok(())
            })
            .await?;
        }
        let lost = listeners.watch.settle(published.get()).await;
        publisher.failures().require_none()?;
        if lost > 0 {
            bail!("{lost} of {} pushes never came", published.get());
        }
        Ok(listeners.watch.latency())
    }

    /// Everybody who follows an object, and a tenth of them who follow another.
    async fn followers(&self, round: &mut Round) -> Result<()> {
        let Load { run, options, target } = self;
        let (few, all) = (options.followers / 10, options.followers);
        let mut peaks = Vec::new();
        for (object, count) in [("few", few), ("all", all)] {
            self.gather(object, count).await?;
            // Followers are told in the order in which they came.
            let plan = Plan { first: count - 1, users: 1, sockets_per_user: 1, concurrency: 1 };
            let last = Swarm::open(target, plan, &run.progress).await?;
            tokio::time::sleep(PAUSE).await;
            run.progress.part(format!("{count} followers"), count.into());
            machine::forget_peak(target.pid())?;
            let before = machine::memory(target.pid())?.resident;
            last.watch.begin();
            let reading = Reading::take(target.pid())?;
            let began = Instant::now();
            let recipients = json!([{"collection": "teams", "id": object}]);
            let data = json!({"at": marker(last.watch.now()), "build": "1734"});
            let order = json!({"recipients": recipients, "data": data}).to_string();
            self.pool(1).await?.take().await?.call(Method::POST, &server::trigger_path(WORKFLOW), order).await?;
            last.watch.arrival(1, PATIENCE).await;
            let took = began.elapsed();
            if last.watch.delivered() == 0 {
                bail!("the last of {count} followers was not told in {PATIENCE:?}");
            }
            let usage = reading.usage(target.pid())?;
            peaks.push((machine::memory(target.pid())?.peak - before).max(0.0) / 1_024.0);
            if count == all {
                round.more(FOLLOWED, "/s", f64::from(count) / took.as_secs_f64());
                round.less("CPU per follower", "µs", usage.measured.total() * 1e6 / f64::from(count));
            }
            round.disturbed(usage.noise);
        }
        if let [few, all] = *peaks {
            round.less("memory for a tenth of the followers", "MiB", few);
            round.less("memory for all followers", "MiB", all);
        }
        Ok(())
    }

    /// Makes an object, and has so many users follow it, one after the other.
    async fn gather(&self, object: &str, count: u32) -> Result<()> {
        self.run.progress.part(format!("{count} follow"), count.into());
        let mut connection = self.pool(1).await?.take().await?;
        // Whoever is named with properties is known from then on.
        let team = json!({"recipients": [{"collection": "teams", "id": object, "name": object}]});
        connection.call(Method::POST, &server::trigger_path(WORKFLOW), team.to_string()).await?;
        let path = format!("/v1/objects/teams/{object}/subscriptions");
        for first in (0..count).step_by(FOLLOWERS_A_CALL) {
            let last = (first + u32::try_from(FOLLOWERS_A_CALL)?).min(count);
            let people = (first..last).map(|n| json!({"id": server::name(n), "name": format!("User {n}")}));
            let order = json!({"recipients": people.collect::<Vec<Value>>()});
            connection.call(Method::POST, &path, order.to_string()).await?;
            self.run.progress.at(last.into());
        }
        Ok(())
    }

    /// Triggers round and round, each caller one after the other; answers how many runs were begun.
    async fn trigger(&self, workflow: &str, end: End, body: impl Fn(&[u32]) -> String + 'static) -> Result<u64> {
        let Load { run, options, .. } = self;
        let pool = self.pool(options.callers).await?;
        let path: Rc<str> = server::trigger_path(workflow).into();
        let rota = Rc::new(RefCell::new(Rota::new(options.users, options.recipients)));
        let (begun, body) = (Rc::new(Cell::new(0)), Rc::new(body));
        let mut callers: JoinSet<Result<()>> = JoinSet::new();
        for _ in 0..options.callers {
            let (pool, path, rota) = (pool.clone(), Rc::clone(&path), Rc::clone(&rota));
            let (begun, body) = (Rc::clone(&begun), Rc::clone(&body));
            callers.spawn_local(async move {
                let mut connection = pool.take().await?;
                loop {
                    let users = match end.room(begun.get()) {
                        0 => break,
                        room => rota.borrow_mut().next().iter().copied().take(room).collect::<Vec<u32>>(),
                    };
                    begun.set(begun.get() + users.len() as u64);
                    connection.call(Method::POST, &path, body(&users)).await?;
                }
                pool.put(connection);
                Ok(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
            run.progress.at(begun.get());
        }
        Ok(begun.get())
    }
}

/// When there are triggers enough.
#[derive(Debug, Clone, Copy)]
enum End {
    At(Instant),
    /// Of so many runs.
    Runs(u64),
}

impl End {
    /// How many more runs may begin.
    fn room(self, begun: u64) -> usize {
        match self {
            End::At(until) => {
                if Instant::now() < until {
                    usize::MAX
                } else {
                    0
                }
            }
            End::Runs(runs) => usize::try_from(runs.saturating_sub(begun)).unwrap_or(usize::MAX),
        }
    }
}

/// A trigger's body.
fn body(users: &[u32], data: &Value) -> String {
    let recipients: Vec<String> = users.iter().map(|user| server::name(*user)).collect();
    json!({"recipients": recipients, "data": data}).to_string()
}

/// Waits until so many items have come.
async fn await_items(swarm: &Swarm, items: u64) -> Result<()> {
    match swarm.watch.settle(items).await {
        0 => Ok(()),
        missing => bail!("{missing} of {items} items never came"),
    }
}
