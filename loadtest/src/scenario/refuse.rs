//! Asks for sockets with a key that is none, and counts what each refusal costs the server.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Result;
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::PAUSE;
use crate::machine::Reading;
use crate::options::Connect;
use crate::run::{Outcome, Round, Run};
use crate::socket::Socket;
use crate::target::{Side, Target};
use crate::watch::histogram;

pub(crate) async fn run(run: &Run, options: &Connect) -> Result<Outcome> {
    let mut outcome = run.interleave("connect with a bad key", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "{} refusals, {} at once; each is TCP, a request with a key that is none, its 403, and the end of the connection",
        options.sockets, options.concurrency
    ));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Connect, side: Side) -> Result<Round> {
    let target = Target::start(side, &run.common, &run.room(side)?, options.join, false).await?;
    run.progress.part(format!("{}: refusals", side.name()), options.sockets.into());
    // The first pays for what is set up once.
    knock(&target, 1, 1).await?;
    tokio::time::sleep(PAUSE).await;
    let (reading, began) = (Reading::take(target.pid())?, Instant::now());
    let waits = knock(&target, options.sockets, options.concurrency).await?;
    let elapsed = began.elapsed();
    tokio::time::sleep(PAUSE).await;
    let (usage, refusals) = (reading.usage(target.pid())?, f64::from(options.sockets));

    let mut round = Round::default();
    round.more("refusals", "/s", refusals / elapsed.as_secs_f64());
    round.less("server CPU per refusal", "µs", usage.measured.total() * 1e6 / refusals);
    round.less("of it user", "µs", usage.measured.user * 1e6 / refusals);
    round.less("client CPU per refusal", "µs", usage.client.total() * 1e6 / refusals);
    round.percentiles("connect to refused", waits);
    round.disturbed(usage.noise);
    Ok(round)
}

/// Has `times` clients knock, `at_once` at a time; how long each waited for its refusal.
async fn knock(target: &Target, times: u32, at_once: u32) -> Result<Histogram<u64>> {
    let (waits, permits) = (Rc::new(RefCell::new(histogram())), Rc::new(Semaphore::new(at_once as usize)));
    let mut clients = JoinSet::new();
    for index in 0..times {
        let (door, waits, permits) = (target.shut_door(), Rc::clone(&waits), Rc::clone(&permits));
        clients.spawn_local(async move {
            let _permit = permits.acquire().await?;
            let began = Instant::now();
            Socket::refused(door.address, index, &door.path).await?;
            waits.borrow_mut().saturating_record(u64::try_from(began.elapsed().as_micros())?);
            anyhow::Ok(())
        });
    }
    while let Some(client) = clients.join_next().await {
        client??;
    }
    let waits = waits.borrow().clone();
    Ok(waits)
}
