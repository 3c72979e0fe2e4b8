//! The sweep: finds in the shared database what nobody has told this node, so that nothing stays unseen for longer. It also
//! keeps the node's clock right.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use crate::clock::Clock;
use crate::hub::Registry;
use crate::model::time::Time;
use crate::store::changes::Trail;
use crate::store::{self, Batch};
use crate::verbs::Core;

/// How far the machine's clock may be from the database's before it is said: an answer may take as long.
const WRONG_SECONDS: i64 = 10;

/// Looks every so often for feeds that have changed, until it is time to stop.
pub(super) async fn sweep(core: Arc<Core>, registry: Registry, every: Duration, mut stopped: watch::Receiver<bool>) {
    let part = core.clock.now().micros().unsigned_abs() % 1_000;
    // Nodes that were started together don't sweep together.
    let first = Instant::now() + every.mul_f64(part as f64 / 1_000.0);
    let mut ticks = interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut trail = Trail::default();
    let mut said_ahead = 0;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        trail.wake(Instant::now().into_std(), every);
        let looked = async {
            keep_time(&mut said_ahead, &core).await?;
            look(&mut trail, &core, &registry).await
        };
        match looked.await {
            Ok(()) if trail.find_again() => {
                info!("the sweep looks at all feeds that somebody listens to");
                registry.suspect_all();
            }
            Ok(()) => {}
            Err(error) if trail.lose() => {
                warn!(%error, "the sweep cannot read what has changed; it will look at everything once it can");
            }
            Err(_) => {}
        }
    }
}

/// Sets the node's clock by the database's, unless they agree as far as can be told. `said_ahead` is how many seconds this
/// machine's clock is ahead of the database's, as the operator was told.
async fn keep_time(said_ahead: &mut i64, core: &Core) -> Result<(), store::Error> {
    let asked_at = core.clock.now();
    let time = core.store.time().await?;
    if let Some(agreed) = agreed(asked_at, time, core.clock.now()) {
        core.clock.set(agreed);
    }
    let ahead_seconds = Clock::system().now().seconds() - time.seconds();
    if (ahead_seconds - *said_ahead).abs() > WRONG_SECONDS {
        *said_ahead = ahead_seconds;
        if ahead_seconds.abs() > WRONG_SECONDS {
            warn!(
                ahead_seconds,
                "this machine's clock is not the database's, by which all nodes go: set the one right that is wrong"
            );
        } else {
            info!(ahead_seconds, "this machine's clock agrees with the database's again");
        }
    }
    Ok(())
}

/// What a clock has to be set to that showed `asked_at` before the database said `time`, and shows `now`; none if they agree
/// as far as can be told. No further than it must be: an answer that was long under way says little.
fn agreed(asked_at: Time, time: Time, now: Time) -> Option<Time> {
    match () {
        () if time < asked_at => Some(now.plus_micros(time.micros() - asked_at.micros())),
        () if time > now => Some(time),
        () => None,
    }
}

async fn look(trail: &mut Trail, core: &Core, registry: &Registry) -> Result<(), store::Error> {
    let now = core.store.changes_now().await?;
    if let Some(before) = trail.since(&now) {
        let changed = core.store.changes_since(before).await?;
        let named = changed.iter();
        registry.suspect(named.map(|feed| (feed.env, &*feed.channel, &*feed.recipient, feed.version)));
    }
    if let Some(oldest) = trail.reach(now) {
        let mut batch = Batch::new();
        batch.forget_changes(&oldest);
        core.store.apply(batch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that was a millisecond ahead, and had its answer after five seconds, was five seconds behind then.
    #[test]
    fn a_clock_is_set_no_further_than_it_must_be() {
        let at = |millis: i64| Time::from_micros(millis * 1_000);
        assert_eq!(agreed(at(100), at(100), at(100)), None);
        assert_eq!(agreed(at(100), at(4_000), at(5_100)), None, "somewhere in between");
        assert_eq!(agreed(at(100), at(99), at(5_100)), Some(at(5_099)), "it is ahead by a millisecond at least");
        assert_eq!(agreed(at(100), at(5_200), at(5_100)), Some(at(5_200)), "it is behind");
    }
}
