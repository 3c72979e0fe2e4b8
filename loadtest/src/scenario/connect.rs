//! Opens authenticated, joined sockets and counts what each costs the server.

use anyhow::Result;

use super::PAUSE;
use crate::machine::{self, Reading};
use crate::options::{Connect, Join};
use crate::run::{Outcome, Round, Run};
use crate::swarm::{Plan, Swarm};
use crate::target::{Side, Target};

pub(crate) async fn run(run: &Run, options: &Connect) -> Result<Outcome> {
    let mut outcome = run.interleave("connect", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "{} sockets, one user each, {} handshakes at once; a connect is TCP, upgrade, token, join and its reply{}",
        options.sockets,
        options.concurrency,
        if options.join == Join::Knock {
            " (the stock SDK's join)"
        } else {
            " (the server's is followed by a snapshot)"
        }
    ));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Connect, side: Side) -> Result<Round> {
    let target = Target::start(side, &run.common, &run.room(side)?, options.join, false).await?;
    let sockets = f64::from(options.sockets);
    run.progress.part(format!("{}: connect", side.name()), options.sockets.into());
    // The first socket pays for what is set up once.
    let warm =
        Swarm::open(&target, Plan { first: 0, users: 1, sockets_per_user: 1, concurrency: 1 }, &run.progress).await?;
    tokio::time::sleep(PAUSE).await;
    let (memory, reading) = (machine::memory(target.pid())?, Reading::take(target.pid())?);
    let plan = Plan { first: 0, users: options.sockets, sockets_per_user: 1, concurrency: options.concurrency };
    let swarm = Swarm::open(&target, plan, &run.progress).await?;
    // What follows a join, such as its snapshot, is part of a connect.
    tokio::time::sleep(PAUSE).await;
    let usage = reading.usage(target.pid())?;
    tokio::time::sleep(PAUSE).await;
    let after = machine::memory(target.pid())?;
    swarm.require_whole()?;
    drop(warm);

    let mut round = Round::default();
    round.more("connects", "/s", sockets / swarm.elapsed.as_secs_f64());
    round.less("server CPU per connect", "µs", usage.measured.total() * 1e6 / sockets);
    round.less("of it user", "µs", usage.measured.user * 1e6 / sockets);
    round.less("memory per socket, RssAnon", "KiB", (after.anonymous - memory.anonymous) / sockets);
    round.less("memory per socket, VmRSS", "KiB", (after.resident - memory.resident) / sockets);
    round.less("client CPU per connect", "µs", usage.client.total() * 1e6 / sockets);
    round.percentiles("connect to joined", swarm.handshakes.clone());
    round.disturbed(usage.noise);
    Ok(round)
}
