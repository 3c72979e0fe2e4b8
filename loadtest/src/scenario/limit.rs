//! The bare programs alone: what this machine allows, scenario by scenario.

use anyhow::Result;

use super::{connect, fanout, feed, mark, push, trigger};
use crate::options::{Connect, Fanout, Feed, Join, Limit, Mark, Push, Trigger};
use crate::run::{Outcome, Run};

/// Runs every scenario; `run` is for the bare side only.
pub(crate) async fn run(run: &Run, options: &Limit) -> Result<Vec<Outcome>> {
    let (sockets, seconds) = (options.sockets, options.seconds);
    let connect = Connect { sockets, concurrency: 200, join: Join::Bellwire, bad_key: false };
    let connect = connect::run(run, &connect).await?;
    let push =
        |users, sockets_per_user| Push { users, sockets_per_user, batch: 20, rate: 5_000, seconds, window: 8_000 };
    // One socket per user is the wall itself; many are what the server's triggers are compared with.
    let mut own = push::run(run, &push(sockets, 1)).await?;
    "push, one socket per user".clone_into(&mut own.scenario);
    let mut shared = push::run(run, &push(sockets / 50, 50)).await?;
    "push, 50 sockets per user".clone_into(&mut shared.scenario);
    let trigger = Trigger { callers: 1_000, users: 1_000, listeners: 100, rate: 1_000, seconds };
    let trigger = trigger::run(run, &trigger).await?;
    let fanout = fanout::run(run, &Fanout { recipients: 1_000, repeat: 20 }).await?;
    let feed = feed::run(run, &Feed { items: vec![10, 1_000, 100_000], reads: 2_000, callers: 1 }).await?;
    let mark = mark::run(run, &Mark { users: 200, callers: 100, rate: 500, seconds }).await?;
    Ok(vec![connect, own, shared, trigger, fanout, feed, mark])
}
