//! Durable jobs and timers: claim, run, back off, give up.
//!
//! A job is a row. Workers claim rows that are due, and the batch that does the work also removes the row, so that a
//! job is done exactly once however often a worker dies. Woken by a commit, or by another node that has more to
//! do than it can; polling is the fallback.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::{Instrument as _, error, error_span, warn};
use uuid::Uuid;

use crate::clock::Clock;
use crate::metrics::{JobEnd, Jobs};
use crate::model::time::Time;
use crate::store::jobs::{Job, Line};
use crate::store::{self, Batch, Store};

/// How long a claim holds; a dead worker's jobs are taken up after it. Who works longer renews it meanwhile.
pub const LEASE_SECONDS: i64 = 30;
/// How often the claim of a job that is being worked on is prolonged: twice may fail.
const RENEW: Duration = Duration::from_secs(10);
/// Jobs claimed at once.
const CLAIM: usize = 64;
/// Jobs of this server's own worked on at once.
pub const WORKERS: usize = 16;
/// Crowds worked on at once: more would only stand in the way of what others write.
const CROWDS: usize = 1;
/// How often others are called for help, at most.
const CALL: Duration = Duration::from_secs(1);
/// The longest a worker sleeps without looking.
const POLL: Duration = Duration::from_secs(5);
/// Attempts after which a job that keeps failing is put aside for an hour at a time: what takes longer than the first
/// quarter of an hour has to be mended by somebody.
const PATIENCE: i64 = 10;
/// Attempts after which a job is given up. With the pauses between them that is half a day: longer than a night in which
/// what it needs is down, and soon enough that somebody reads of it the next day.
pub const ATTEMPTS: i64 = 23;

/// Wakes the workers of each line when a commit has added jobs.
#[derive(Clone, Default)]
pub struct Waker {
    /// By line.
    inner: Arc<[Wake; 2]>,
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
    /// Says that a job of this server's own has been added which is due at `at`.
    pub fn due(&self, at: Time) {
        self.due_in(Line::Own, at);
    }

    /// Says that a job has been added to a line which is due at `at`.
    pub fn due_in(&self, line: Line, at: Time) {
        let wake = &self.inner[line.number()];
        if wake.next.fetch_min(at.micros(), Ordering::AcqRel) > at.micros() {
            wake.notify.notify_one();
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

/// What a queue works with.
pub struct Queue<C> {
    pub store: Store,
    pub clock: Clock,
    pub waker: Waker,
    pub metrics: Jobs,
    /// Whose jobs are worked on.
    pub line: Line,
    /// How many of them at once.
    pub workers: usize,
    /// Whether a job is done together with others like it, where many are due.
    pub is_joint: fn(&Job) -> bool,
    /// Asks others for help, when more is due than can be taken at once.
    pub call: C,
}

/// Works on due jobs until `stop` says so, then hands back those that were not begun, and waits for those under way.
/// `work` finishes its job in its own batch; `together` finishes a crowd in one, and gives back those that are to be done
/// one by one; `abandon` ends one that has failed too often, and is told why.
pub async fn run<C, W, T, A, F, H, G>(
    queue: Queue<C>,
    mut stop: watch::Receiver<bool>,
    work: W,
    together: T,
    abandon: A,
) where
    C: Fn() + Send,
    W: Fn(Job) -> F + Clone + Send + 'static,
    T: Fn(Vec<Job>) -> H + Clone + Send + 'static,
    A: Fn(Job, String) -> G + Clone + Send + 'static,
    F: Future<Output = Result<(), Failure>> + Send + 'static,
    H: Future<Output = Vec<Job>> + Send + 'static,
    G: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let Queue { store, clock, waker, metrics, line, workers, is_joint, call } = queue;
    let desk = Desk { store, clock, waker, metrics, line, renew: RENEW, node: Uuid::new_v4() };
    let (slots, crowds) = (Arc::new(Semaphore::new(workers)), Arc::new(Semaphore::new(CROWDS)));
    // Whoever does jobs one by one begins each as soon as there is a slot, and hands back the rest when it is time to stop.
    let one_by_one = {
        let (desk, slots) = (desk.clone(), Arc::clone(&slots));
        move |jobs: Vec<Job>, stop: watch::Receiver<bool>| {
            let (desk, slots, work, abandon) = (desk.clone(), Arc::clone(&slots), work.clone(), abandon.clone());
            async move { desk.begin_each(jobs, &slots, stop, work, abandon).await }
        }
    };
    let mut round = 0u64;
    let mut called_at: Option<Instant> = None;
    while !is_stopped(&stop) {
        desk.wake().next.store(i64::MAX, Ordering::Release);
        round += 1;
        let Some(room) = desk.room(&slots, &mut stop).await else { break };
        let Ok(claimed) = desk.claim(round, room).await else {
            // What cannot be read or written now is not tried again at once: a disk that is full needs no log beside it.
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                _ = stop.wait_for(|is_stopped| *is_stopped) => {}
            }
            continue;
        };
        let found = claimed.len();
        // Whoever was called goes on for as long as there is much to do.
        if found == CLAIM && called_at.is_none_or(|at| at.elapsed() >= CALL) {
            called_at = Some(Instant::now());
            call();
        }
        let (mut crowd, mut alone): (Vec<Job>, Vec<Job>) = claimed.into_iter().partition(is_joint);
        if crowd.len() == 1 {
            alone.append(&mut crowd);
        }
        // Nobody who is done alone waits for a crowd.
        let gather = async {
            if crowd.is_empty() {
                return;
            }
            let Some(place) = place(&crowds, &mut stop.clone()).await else { return desk.hand_back(crowd).await };
            let (desk, together, one_by_one, stop) = (desk.clone(), together.clone(), one_by_one.clone(), stop.clone());
            tokio::spawn(async move {
                let left = desk.see_to_all(crowd, together).await;
                one_by_one(left, stop).await;
                drop(place);
            });
        };
        tokio::join!(gather, one_by_one(alone, stop.clone()));
        if found < room {
            desk.sleep(&mut stop).await;
        }
    }
    for (places, all) in [(crowds, CROWDS), (slots, workers)] {
        let _ = places.acquire_many(u32::try_from(all).unwrap_or(u32::MAX)).await;
    }
}

/// Waits for a place among those who work, which is waiting for work that ends; none when it is time to stop.
async fn place(places: &Arc<Semaphore>, stop: &mut watch::Receiver<bool>) -> Option<OwnedSemaphorePermit> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|is_stopped| *is_stopped) => None,
        place = Arc::clone(places).acquire_owned() => place.ok(),
    }
}

/// Whether it is time to stop; so it is, too, when nobody is left to say so.
fn is_stopped(stop: &watch::Receiver<bool>) -> bool {
    *stop.borrow() || stop.has_changed().is_err()
}

/// Where jobs are taken up and put back.
#[derive(Clone)]
struct Desk {
    store: Store,
    clock: Clock,
    waker: Waker,
    metrics: Jobs,
    line: Line,
    /// How often claims are prolonged.
    renew: Duration,
    /// What this node's claims are told by from others'.
    node: Uuid,
}

impl Desk {
    fn wake(&self) -> &Wake {
        &self.waker.inner[self.line.number()]
    }

    /// How many jobs may be claimed; none when it is time to stop. What servers of others hold up may hold it up for long:
    /// no more of it is claimed than can be begun at once.
    async fn room(&self, slots: &Semaphore, stop: &mut watch::Receiver<bool>) -> Option<usize> {
        if self.line == Line::Own {
            return Some(CLAIM);
        }
        let free = tokio::select! {
            biased;
            _ = stop.wait_for(|is_stopped| *is_stopped) => return None,
            free = slots.acquire() => free,
        };
        drop(free);
        Some(slots.available_permits().clamp(1, CLAIM))
    }

    /// Claims at most `room` of what is due. The operator has been told when that failed.
    async fn claim(&self, round: u64, room: usize) -> Result<Vec<Job>, ()> {
        let now = self.clock.now();
        let next =
            self.store.next_job_in(self.line).await.map_err(|error| error!(%error, "the queue cannot be read"))?;
        if next.is_none_or(|at| at > now) {
            return Ok(Vec::new());
        }
        let lease = format!("{}-{round}", self.node);
        let until = now.plus_seconds(LEASE_SECONDS);
        let claimed = self.store.claim_jobs_in(self.line, &lease, now, until, room).await;
        claimed.map_err(|error| error!(%error, "jobs cannot be claimed"))
    }

    /// Sleeps until a job is due, one is added, or it is time to stop.
    async fn sleep(&self, stop: &mut watch::Receiver<bool>) {
        let until = self.store.next_job_in(self.line).await.ok().flatten().map_or(POLL, |at| {
            let micros = at.micros().saturating_sub(self.clock.now().micros()).max(1_000);
            Duration::from_micros(micros.unsigned_abs()).min(POLL)
        });
        tokio::select! {
            () = self.wake().notify.notified() => {}
            () = tokio::time::sleep(until) => {}
            _ = stop.wait_for(|is_stopped| *is_stopped) => {}
        }
    }

    /// Begins each of these jobs as soon as there is a slot; those that are left when it is time to stop are handed back.
    async fn begin_each<W, A, F, G>(
        &self,
        jobs: Vec<Job>,
        slots: &Arc<Semaphore>,
        mut stop: watch::Receiver<bool>,
        work: W,
        abandon: A,
    ) where
        W: Fn(Job) -> F + Clone + Send + 'static,
        A: Fn(Job, String) -> G + Clone + Send + 'static,
        F: Future<Output = Result<(), Failure>> + Send + 'static,
        G: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let mut jobs = VecDeque::from(jobs);
        while !jobs.is_empty() {
            let Some(slot) = place(slots, &mut stop).await else { break };
            let Some(job) = jobs.pop_front() else { break };
            let (desk, work, abandon) = (self.clone(), work.clone(), abandon.clone());
            let span = error_span!("job", job.id = job.id, job.kind = %job.kind, subject = %job.subject);
            let turn = async move {
                desk.see_to(job, work, abandon).await;
                drop(slot);
            };
            tokio::spawn(turn.instrument(span));
        }
        self.hand_back(jobs.into()).await;
    }

    /// Does a crowd of jobs in one go; gives back those that are still to be done.
    async fn see_to_all<H>(&self, crowd: Vec<Job>, together: impl FnOnce(Vec<Job>) -> H + Send + 'static) -> Vec<Job>
    where
        H: Future<Output = Vec<Job>> + Send + 'static,
    {
        let own = crowd.clone();
        let mut task = tokio::spawn(async move { together(own).await }.in_current_span());
        let left = loop {
            tokio::select! {
                ended = &mut task => break ended,
                () = tokio::time::sleep(self.renew) => self.keep(&crowd).await,
            }
        };
        let left = left.unwrap_or_else(|fault| {
            // Alone, each is tried again, and told of with its id.
            warn!(jobs = crowd.len(), error = %panicked(fault), "jobs that were done together failed; they are done one by one");
            crowd.clone()
        });
        let is_done = |job: &&Job| !left.iter().any(|one| one.id == job.id);
        crowd.iter().filter(is_done).for_each(|job| self.metrics.ended(&job.kind, JobEnd::Done));
        left
    }

    /// Does one job: it ends, it is tried again later, or it is given up.
    async fn see_to<F, G>(
        &self,
        job: Job,
        work: impl FnOnce(Job) -> F + Send + 'static,
        abandon: impl FnOnce(Job, String) -> G + Send + 'static,
    ) where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
        G: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let own = job.clone();
        let Err(failure) = self.attend(&job, tokio::spawn(async move { work(own).await }.in_current_span())).await
        else {
            return self.metrics.ended(&job.kind, JobEnd::Done);
        };
        if job.attempts + 1 < ATTEMPTS {
            return self.back_off(&job, &failure).await;
        }
        let (own, why) = (job.clone(), failure.to_string());
        match self.attend(&job, tokio::spawn(async move { abandon(own, why).await }.in_current_span())).await {
            Ok(()) => {
                self.metrics.ended(&job.kind, JobEnd::GivenUp);
                error!(job.id = job.id, job.kind = %job.kind, subject = %job.subject, attempts = job.attempts + 1, error = %failure,
                "gave up job `{}` about `{}`", job.kind, job.subject)
            }
            Err(failure) => self.back_off(&job, &failure).await,
        }
    }

    /// Waits for a task, and keeps the job's claim meanwhile; a panic is a failure.
    async fn attend(&self, job: &Job, mut task: JoinHandle<Result<(), Failure>>) -> Result<(), Failure> {
        loop {
            tokio::select! {
                ended = &mut task => return ended.unwrap_or_else(|fault| Err(Failure(panicked(fault)))),
                () = tokio::time::sleep(self.renew) => self.keep(std::slice::from_ref(job)).await,
            }
        }
    }

    async fn keep(&self, jobs: &[Job]) {
        let until = self.clock.now().plus_seconds(LEASE_SECONDS);
        let mut batch = Batch::new();
        jobs.iter().for_each(|job| batch.keep_job(job, until));
        if let Err(error) = self.store.apply(batch).await {
            let ids: Vec<i64> = jobs.iter().map(|job| job.id).collect();
            error!(job.ids = ?ids, %error, "the claims of jobs could not be prolonged");
        }
    }

    async fn back_off(&self, job: &Job, failure: &Failure) {
        self.metrics.ended(&job.kind, JobEnd::Failed);
        let due = self.clock.now().plus_seconds(pause_seconds(job.attempts));
        warn!(job.id = job.id, job.kind = %job.kind, subject = %job.subject, attempt = job.attempts + 1, error = %failure,
            "a job failed and will be tried again");
        let mut batch = Batch::new();
        batch.retry_job(job, due);
        match self.store.apply(batch).await {
            // A lost claim means that another worker has the job.
            Ok(_) | Err(store::Error::Refused(_)) => self.waker.due_in(self.line, due),
            Err(error) => error!(job.id = job.id, %error, "a failed job could not be put back; its claim will run out"),
        }
    }

    /// Puts back what was claimed and not begun, so that another node, or this one when it is back, need not wait for
    /// the claims to run out.
    async fn hand_back(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        let mut batch = Batch::new();
        batch.hand_back(&jobs, self.clock.now());
        if let Err(error) = self.store.apply(batch).await {
            error!(jobs = jobs.len(), %error, "jobs could not be handed back; their claims will run out");
        }
    }
}

/// What a panic said.
fn panicked(fault: JoinError) -> String {
    let Ok(payload) = fault.try_into_panic() else { return "the work was cut off".to_owned() };
    let said = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    format!("the work panicked: {}", said.unwrap_or("it did not say why"))
}

/// Seconds to wait before the next attempt: 1, 2, 4 … 256, then an hour.
fn pause_seconds(attempts: i64) -> i64 {
    if attempts >= PATIENCE { 3_600 } else { 1 << attempts.clamp(0, 8) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_then_stay_long() {
        assert_eq!([0, 1, 3, 9, 10, 50].map(pause_seconds), [1, 2, 8, 256, 3_600, 3_600]);
    }

    /// It was taken up by others after half a minute, however well it went, and would have been given up in the end.
    #[tokio::test]
    async fn a_job_that_takes_long_keeps_its_claim() {
        let directory = std::env::temp_dir().join(format!("bellwire-queue-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let store = Store::open(&directory.join("db")).expect("a store");
        let clock = Clock::manual(Time::from_micros(1_790_000_000_000_000));
        let desk = Desk {
            store: store.clone(),
            clock: clock.clone(),
            waker: Waker::default(),
            metrics: Jobs::default(),
            line: Line::Own,
            renew: Duration::from_millis(1),
            node: Uuid::nil(),
        };
        let mut batch = Batch::new();
        batch.add_job("long", "one", clock.now());
        store.apply(batch).await.expect("a job");
        let job = desk.claim(1, CLAIM).await.unwrap().pop().expect("the job");
        let lease_end = clock.now().plus_seconds(LEASE_SECONDS);
        clock.advance_seconds(LEASE_SECONDS - 1);
        let long = tokio::spawn(async move {
            while store.next_job_at().await? == Some(lease_end) {
                tokio::task::yield_now().await;
            }
            Ok(())
        });
        let attended = tokio::time::timeout(Duration::from_secs(30), desk.attend(&job, long)).await;
        attended.expect("the claim is prolonged").expect("it ends well");
        clock.advance_seconds(2);
        assert!(desk.claim(2, CLAIM).await.unwrap().is_empty(), "nobody else takes it up");
        std::fs::remove_dir_all(directory).expect("it can be removed");
    }

    #[test]
    fn a_job_is_given_up_after_half_a_day() {
        let hours = (0..ATTEMPTS - 1).map(pause_seconds).sum::<i64>() / 3_600;
        assert_eq!(hours, 12);
    }
}
