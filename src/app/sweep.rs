//! The sweep: finds in the shared database what nobody has told this node, so that nothing stays unseen for longer. It also
//! keeps the node's clock right.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tracing::{info, warn};

use super::learn_which_are_active;
use crate::clock::Clock;
use crate::hub::Registry;
use crate::store::changes::Seen;
use crate::store::{self, Batch};
use crate::verbs::Core;

/// Sweeps after which what has changed need not be known any more. All nodes sweep equally often, and one that was away
/// for longer looks at everything.
const KEPT: usize = 20;
/// How far the machine's clock may be from the database's before it is said: an answer may take as long.
const WRONG_SECONDS: i64 = 10;

/// Looks every so often for feeds that have changed, until it is time to stop.
pub(super) async fn sweep(core: Arc<Core>, registry: Registry, every: Duration, mut stopped: watch::Receiver<bool>) {
    let part = core.clock.now().micros().unsigned_abs() % 1_000;
    // Nodes that were started together don't sweep together.
    let first = Instant::now() + every.mul_f64(part as f64 / 1_000.0);
    let mut ticks = interval_at(first, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = Sweep { seen: VecDeque::new(), is_blind: true, said_ahead: 0 };
    let mut last = Instant::now();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        if last.elapsed() > every * (KEPT / 2) as u32 {
            // Asleep for so long that others may have forgotten what this node has not seen.
            sweep.is_blind = true;
        }
        match sweep.once(&core, &registry).await {
            Ok(()) if std::mem::take(&mut sweep.is_blind) => {
                info!("the sweep looks at all feeds that somebody listens to");
                registry.suspect_all();
            }
            Ok(()) => {}
            Err(error) => {
                if !std::mem::replace(&mut sweep.is_blind, true) {
                    warn!(%error, "the sweep cannot read what has changed; it will look at everything once it can");
                }
                sweep.seen.clear();
            }
        }
        last = Instant::now();
    }
}

struct Sweep {
    /// Where the last sweeps began, oldest first.
    seen: VecDeque<Seen>,
    /// Something may have changed that cannot be found any more: after an outage the database may know nothing of it.
    is_blind: bool,
    /// How many seconds this machine's clock is ahead of the database's, as the operator was told.
    said_ahead: i64,
}

impl Sweep {
    /// Sets the node's clock by the database's, unless they agree as far as can be told.
    async fn keep_time(&mut self, core: &Core) -> Result<(), store::Error> {
        let asked_at = core.clock.now();
        let time = core.store.time().await?;
        if !(asked_at..=core.clock.now()).contains(&time) {
            core.clock.set(time);
        }
        let ahead_seconds = Clock::system().now().seconds() - time.seconds();
        if (ahead_seconds - self.said_ahead).abs() > WRONG_SECONDS {
            self.said_ahead = ahead_seconds;
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

    async fn once(&mut self, core: &Core, registry: &Registry) -> Result<(), store::Error> {
        self.keep_time(core).await?;
        // Another node may have been told to switch a workflow off, or on.
        learn_which_are_active(core).await?;
        let now = core.store.changes_now().await?;
        match self.seen.back() {
            Some(before) if before.leads_to(&now) => {
                let changed = core.store.changes_since(before).await?;
                let named = changed.iter();
                registry.suspect(named.map(|feed| (feed.env, &*feed.channel, &*feed.recipient, feed.version)));
            }
            // What was known of changes is gone, or the database is another than it was.
            _ => {
                self.seen.clear();
                self.is_blind = true;
            }
        }
        self.seen.push_back(now);
        if self.seen.len() > KEPT
            && let Some(oldest) = self.seen.pop_front()
        {
            let mut batch = Batch::new();
            batch.forget_changes(&oldest);
            core.store.apply(batch).await?;
        }
        Ok(())
    }
}
