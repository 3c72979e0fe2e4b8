//! Durable jobs and timers: claim, run, back off, give up.
//!
//! A job is a row. Workers claim rows that are due, and the batch that does the work also removes the row, so that a
//! job is done exactly once however often a worker dies. Woken by a commit; polling is the fallback.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tracing::{error, warn};

use crate::clock::Clock;
use crate::model::time::Time;
use crate::store::jobs::Job;
use crate::store::{self, Batch, Store};

/// How long a claim holds; a dead worker's jobs are taken up after it. Who works longer renews it meanwhile.
pub const LEASE_SECONDS: i64 = 30;
/// Jobs claimed at once.
const CLAIM: usize = 64;
/// Jobs worked on at once.
const WORKERS: usize = 16;
/// The longest a worker sleeps without looking.
const POLL: Duration = Duration::from_secs(5);
/// Attempts after which a job that keeps failing is put aside for an hour at a time.
const PATIENCE: i64 = 10;

/// Wakes the workers when a commit has added jobs.
#[derive(Clone, Default)]
pub struct Waker {
    inner: Arc<Wake>,
}

struct Wake {
    notify: Notify,
    next: AtomicI64,
}

impl Default for Wake {
    fn default() -> Self {
        Wake { notify: Notify::new(), next: AtomicI64::new(i64::MAX) }
    }
}

impl Waker {
    /// Says that a job has been added which is due at `at`.
    pub fn due(&self, at: Time) {
        if self.inner.next.fetch_min(at.micros(), Ordering::AcqRel) > at.micros() {
            self.inner.notify.notify_one();
        }
    }
}

/// Why a job could not be done now.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub String);

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        Failure(error.to_string())
    }
}

/// Works on due jobs until `stop` says so, then waits for those under way. `work` finishes its job in its own batch.
pub async fn run<F, Fut>(store: Store, clock: Clock, waker: Waker, mut stop: watch::Receiver<bool>, work: F)
where
    F: Fn(Job) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(WORKERS));
    let mut round = 0u64;
    while !*stop.borrow() {
        waker.inner.next.store(i64::MAX, Ordering::Release);
        round += 1;
        let claimed = claim(&store, &clock, round).await;
        let found = claimed.len();
        for job in claimed {
            // Waiting for a slot is waiting for work that ends.
            let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
            let (store, clock, waker, work) = (store.clone(), clock.clone(), waker.clone(), work.clone());
            tokio::spawn(async move {
                if let Err(failure) = work(job.clone()).await {
                    back_off(&store, &clock, &waker, &job, &failure).await;
                }
                drop(slot);
            });
        }
        if found < CLAIM {
            sleep(&store, &clock, &waker, &mut stop).await;
        }
    }
    let _ = slots.acquire_many(WORKERS as u32).await;
}

async fn claim(store: &Store, clock: &Clock, round: u64) -> Vec<Job> {
    let now = clock.now();
    match store.next_job_at() {
        Ok(Some(at)) if at <= now => {}
        Ok(_) => return Vec::new(),
        Err(error) => {
            error!(%error, "the queue cannot be read");
            return Vec::new();
        }
    }
    let lease = format!("{}-{round}", now.micros());
    match store.claim_jobs(&lease, now, now.plus_seconds(LEASE_SECONDS), CLAIM).await {
        Ok(jobs) => jobs,
        Err(error) => {
            error!(%error, "jobs cannot be claimed");
            Vec::new()
        }
    }
}

/// Sleeps until a job is due, one is added, or it is time to stop.
async fn sleep(store: &Store, clock: &Clock, waker: &Waker, stop: &mut watch::Receiver<bool>) {
    let until = store.next_job_at().ok().flatten().map_or(POLL, |at| {
        let micros = at.micros().saturating_sub(clock.now().micros()).max(1_000);
        Duration::from_micros(micros.unsigned_abs()).min(POLL)
    });
    tokio::select! {
        () = waker.inner.notify.notified() => {}
        () = tokio::time::sleep(until) => {}
        _ = stop.changed() => {}
    }
}

/// Seconds to wait before the next attempt: 1, 2, 4 … 256, then an hour.
fn pause_seconds(attempts: i64) -> i64 {
    if attempts >= PATIENCE { 3_600 } else { 1 << attempts.clamp(0, 8) }
}

async fn back_off(store: &Store, clock: &Clock, waker: &Waker, job: &Job, failure: &Failure) {
    let due = clock.now().plus_seconds(pause_seconds(job.attempts));
    warn!(job.id = job.id, job.kind = %job.kind, subject = %job.subject, attempt = job.attempts + 1, error = %failure,
        "a job failed and will be tried again");
    let mut batch = Batch::new();
    batch.retry_job(job, due);
    match store.apply(batch).await {
        // A lost claim means that another worker has the job.
        Ok(_) | Err(store::Error::Refused(_)) => waker.due(due),
        Err(error) => error!(job.id = job.id, %error, "a failed job could not be put back; its claim will run out"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_then_stay_long() {
        assert_eq!([0, 1, 3, 9, 10, 50].map(pause_seconds), [1, 2, 8, 256, 3_600, 3_600]);
    }
}
