//! Marks messages read and unread: how many per second, and how soon the reader's other device knows.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hyper::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{HANDSHAKES, PAUSE};
use crate::bare::record::Store;
use crate::http::Pool;
use crate::machine::{Reading, Usage};
use crate::options::{Join, Mark};
use crate::publisher::{Failures, Publisher, Rota, flood, pace};
use crate::run::{Outcome, Round, Run};
use crate::server;
use crate::swarm::{Plan, Swarm};
use crate::target::{Side, Target};

pub(crate) async fn run(run: &Run, options: &Mark) -> Result<Outcome> {
    let mut outcome = run.interleave("mark", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "{} users with one message and one open socket each; one device marks over REST, the socket is the other; \
         bare: one record, one group commit of feed and message row, one frame",
        options.users
    ));
    outcome.notes.push(format!("mark to other device at {} marks/s, from when each was due", options.rate));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Mark, side: Side) -> Result<Round> {
    let target = Target::start(side, &run.common, &run.room(side)?, Join::Bellwire, true).await?;
    target.identify(options.users).await?;
    let plan = Plan { first: 0, users: options.users, sockets_per_user: 1, concurrency: HANDSHAKES };
    let swarm = Swarm::open(&target, plan, &run.progress).await?;
    let frame_bytes = run.frame_bytes.get() as usize;
    give_everyone_a_message(&target, &swarm, options.users, frame_bytes).await?;
    let round = match target.pool(options.callers).await? {
        Some(pool) => mark_server(run, options, &target, &swarm, pool).await?,
        None => mark_bare(run, options, &target, &swarm, frame_bytes).await?,
    };
    swarm.require_whole()?;
    Ok(round)
}

async fn give_everyone_a_message(target: &Target, swarm: &Swarm, users: u32, frame_bytes: usize) -> Result<()> {
    let mut publisher = Publisher::open(target, Store::Item, frame_bytes).await?;
    let mut rota = Rota::new(users, 1);
    swarm.watch.begin();
    for _ in 0..users {
        publisher.publish(rota.next(), swarm.watch.now()).await?;
    }
    match swarm.watch.settle(users.into()).await {
        0 => publisher.failures().require_none(),
        missing => bail!("{missing} of {users} users had no message"),
    }
}

/// The messages, and which way each is marked next.
#[derive(Debug)]
struct Messages {
    ids: Vec<String>,
    is_read: RefCell<Vec<bool>>,
}

impl Messages {
    async fn find(pool: &Pool, users: u32) -> Result<Messages> {
        let mut connection = pool.take().await?;
        let mut ids = Vec::new();
        for user in 0..users {
            let page = connection.call(Method::GET, &server::feed_path(user), String::new()).await?;
            let page: Value = serde_json::from_slice(&page)?;
            let id = page["entries"][0]["id"].as_str().with_context(|| format!("no item in the feed of u{user}"))?;
            ids.push(id.to_owned());
        }
        pool.put(connection);
        Ok(Messages { is_read: RefCell::new(vec![false; ids.len()]), ids })
    }

    /// The request that turns a user's message the other way.
    fn turn(&self, user: u32) -> (&'static str, String) {
        let is_read = &mut self.is_read.borrow_mut()[user as usize];
        *is_read = !*is_read;
        let path = if *is_read { "/v1/messages/batch/read" } else { "/v1/messages/batch/unread" };
        (path, json!({"message_ids": [self.ids[user as usize]]}).to_string())
    }
}

async fn mark_server(run: &Run, options: &Mark, target: &Target, swarm: &Swarm, pool: Pool) -> Result<Round> {
    let messages = Rc::new(Messages::find(&pool, options.users).await?);
    let mut round = Round::default();
    run.progress.part("bellwire: marks, no limit", u64::from(options.seconds) * 10_000);
    call(run, options, &pool, &messages, 1).await?;
    let reading = Reading::take(target.pid())?;
    let marks = call(run, options, &pool, &messages, options.seconds).await?;
    rates(&mut round, marks, reading.usage(target.pid())?);
    tokio::time::sleep(PAUSE).await;

    let failures: Rc<Failures> = Rc::default();
    let marks = async |user, at| {
        if !swarm.watch.expect(user, at) {
            return Ok(false);
        }
        let (mut connection, (path, body)) = (pool.take().await?, messages.turn(user));
        let (pool, failures) = (pool.clone(), Rc::clone(&failures));
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.call(Method::POST, path, body).await {
                failures.note(&error);
            }
            pool.put(connection);
        });
        Ok(true)
    };
    at_rate(run, options, target, swarm, &mut round, marks).await?;
    failures.require_none()?;
    Ok(round)
}

/// Callers that each wait for one answer; each has users of its own, so that a message is marked by one at a time.
async fn call(run: &Run, options: &Mark, pool: &Pool, messages: &Rc<Messages>, seconds: u32) -> Result<u64> {
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let marks = Rc::new(Cell::new(0_u64));
    let (callers, users) = (options.callers.min(options.users), options.users);
    let mut calls: JoinSet<Result<()>> = JoinSet::new();
    for caller in 0..callers {
        let (pool, messages, marks) = (pool.clone(), Rc::clone(messages), Rc::clone(&marks));
        calls.spawn_local(async move {
            let mut connection = pool.take().await?;
            let mut own = (caller..users).step_by(callers as usize).cycle();
            while Instant::now() < until {
                let (path, body) = messages.turn(own.next().context("a caller has at least one user")?);
                connection.call(Method::POST, path, body).await?;
                marks.set(marks.get() + 1);
            }
            pool.put(connection);
            Ok(())
        });
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    run.progress.at(marks.get());
    Ok(marks.get())
}

async fn mark_bare(run: &Run, options: &Mark, target: &Target, swarm: &Swarm, frame_bytes: usize) -> Result<Round> {
    let mut publisher = Publisher::open(target, Store::Mark, frame_bytes).await?;
    let (mut rota, mut round) = (Rota::new(options.users, 1), Round::default());
    run.progress.part("bare: marks, no limit", u64::from(options.seconds) * 10_000);
    swarm.watch.begin();
    let reading = Reading::take(target.pid())?;
    let due =
        flood(&mut publisher, &swarm.watch, &mut rota, 1, options.callers, options.seconds, &run.progress).await?;
    rates(&mut round, swarm.watch.delivered(), reading.usage(target.pid())?);
    swarm.watch.settle(due).await;

    let marks = async |user, at| {
        let is_due = swarm.watch.expect(user, at);
        if is_due {
            // A marker of time zero is never counted: the mark is matched by its user.
            publisher.publish(&[user], 0).await?;
        }
        Ok(is_due)
    };
    at_rate(run, options, target, swarm, &mut round, marks).await?;
    Ok(round)
}

fn rates(round: &mut Round, marks: u64, usage: Usage) {
    let marks = marks as f64;
    round.more("marks", "/s", marks / usage.seconds);
    round.less("CPU per mark", "µs", usage.measured.total() * 1e6 / marks.max(1.0));
    round.less("of it user", "µs", usage.measured.user * 1e6 / marks.max(1.0));
    round.disturbed(usage.noise);
}

/// The latency part. A user whose last mark is still on its way when the next is due is passed over, and counted.
async fn at_rate(
    run: &Run,
    options: &Mark,
    target: &Target,
    swarm: &Swarm,
    round: &mut Round,
    mut mark: impl AsyncFnMut(u32, u64) -> Result<bool>,
) -> Result<()> {
    run.progress.part("marks at a fixed rate", u64::from(options.rate) * u64::from(options.seconds));
    let (mut rota, mut due, mut passed) = (Rota::new(options.users, 1), 0, 0);
    swarm.watch.begin();
    let reading = Reading::take(target.pid())?;
    pace(&swarm.watch, options.rate.into(), options.seconds, &run.progress, async |at| {
        let user = rota.next()[0];
        if mark(user, at).await? {
            due += 1
        } else {
            passed += 1
        }
        Ok(())
    })
    .await?;
    let lost = swarm.watch.settle(due).await;
    round.disturbed(reading.usage(target.pid())?.noise);
    round.percentiles("mark to other device", swarm.watch.latency());
    round.less("marks passed over", "", f64::from(passed));
    round.less("lost deliveries", "", lost as f64);
    Ok(())
}
