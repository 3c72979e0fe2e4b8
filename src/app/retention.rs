//! Forgets what has been kept for as long as it is to be: a part at a time, by one node of all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{error, info};

use crate::model::time::Time;
use crate::store::retention::{Kept, Place};
use crate::store::{self, Batch, Env, Store};
use crate::verbs::Core;

/// How often it is looked what has become too old.
const EVERY: Duration = Duration::from_secs(60 * 60);
/// How many are forgotten in one transaction: few enough that others need not wait long for the writer.
const PART: usize = 200;
/// What the days of the configuration are counted in.
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// Looks every hour, until it is time to stop.
pub(super) async fn keep(core: Arc<Core>, days: u64, mut stopped: watch::Receiver<bool>) {
    let mut hours = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            _ = stopped.changed() => return,
        }
        tokio::select! {
            forgotten = forget(&core, days) => match forgotten {
                Ok(0) => {}
                Ok(count) => info!(count, "forgot runs and messages that are older than {days} days"),
                Err(fault) => error!(error = %fault, "old runs and messages could not be forgotten; the next try is in an hour"),
            },
            // A part is whole or not at all; the rest waits.
            _ = stopped.changed() => return,
        }
    }
}

/// Forgets everything that is older than so many days, if no other node is at it; how much that was.
pub async fn forget(core: &Core, days: u64) -> Result<usize, store::Error> {
    let now = core.clock.now();
    // A little less than the interval: nodes do not look at the same instant.
    if days == 0 || !core.store.takes_turn("retention", now, EVERY.as_secs() as i64 / 2).await? {
        return Ok(0);
    }
    let until = now.plus_seconds(-DAY_SECONDS * i64::try_from(days).unwrap_or(i64::MAX / DAY_SECONDS));
    let mut count = 0;
    for environment in core.catalog.environments() {
        for kept in [Kept::Runs, Kept::Messages] {
            count += forget_in(&core.store, environment.number, kept, until).await?;
        }
        // What only these have named is nobody's now.
        forget_in(&core.store, environment.number, Kept::Batches, until).await?;
    }
    Ok(count)
}

async fn forget_in(store: &Store, env: Env, kept: Kept, until: Time) -> Result<usize, store::Error> {
    let mut from: Place = (Time::default(), String::new());
    let mut count = 0;
    loop {
        let began = Instant::now();
        let part = store.expired(kept, env, until, &from, PART).await?;
        let Some(last) = part.last() else { return Ok(count) };
        let ids: Vec<&str> = part.iter().map(|(_, id)| id.as_str()).collect();
        let mut batch = Batch::new();
        batch.forget_expired(kept, &ids, until);
        store.apply(batch).await?;
        count += part.len();
        from = last.clone();
        // At least half of the time belongs to others.
        sleep(began.elapsed()).await;
    }
}
