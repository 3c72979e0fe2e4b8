//! The queue: what is claimed is done, tried again, given up or handed back, and never forgotten.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwire::clock::Clock;
use bellwire::metrics::Jobs;
use bellwire::model::time::Time;
use bellwire::queue::{self, ATTEMPTS, Failure, Queue, WORKERS, Waker};
use bellwire::store::jobs::{Job, Line};
use bellwire::store::{Batch, Store};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

const START: Time = Time::from_micros(1_790_000_000_000_000);

/// A queue with a store of its own, and what was made of its jobs.
struct Desk {
    store: Store,
    clock: Clock,
    waker: Waker,
    /// Who is called for help.
    others: Vec<Waker>,
    stop: watch::Sender<bool>,
    running: Option<JoinHandle<()>>,
    done: Arc<Mutex<Vec<String>>>,
    abandoned: Arc<Mutex<Vec<(String, String)>>>,
    /// How many jobs were to be done together each time.
    crowds: Arc<Mutex<Vec<usize>>>,
    /// What a crowd needs a permit of to be done.
    gate: Arc<Semaphore>,
    directory: PathBuf,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Desk {
    fn new() -> Desk {
        let directory = std::env::temp_dir().join(format!("bellwire-queue-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&directory).unwrap();
        Desk {
            store: Store::open(&directory.join("db")).unwrap(),
            clock: Clock::manual(START),
            waker: Waker::default(),
            others: Vec::new(),
            stop: watch::channel(false).0,
            running: None,
            done: Arc::default(),
            abandoned: Arc::default(),
            crowds: Arc::default(),
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            directory,
        }
    }

    /// Adds jobs of one kind that are due; their subjects are numbers.
    async fn add(&self, kind: &str, count: usize) {
        let mut batch = Batch::new();
        (0..count).for_each(|n| batch.add_job(kind, &n.to_string(), START));
        self.store.apply(batch).await.unwrap();
    }

    /// Begins to work; `work` may fail, and what it lets pass is done.
    fn run<F>(&mut self, work: impl Fn(Job) -> F + Clone + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        let (store, done) = (self.store.clone(), Arc::clone(&self.done));
        let work = move |job: Job| {
            let (store, done, work) = (store.clone(), Arc::clone(&done), work.clone());
            async move {
                work(job.clone()).await?;
                finish(&store, &job).await?;
                done.lock().unwrap().push(job.subject);
                Ok(())
            }
        };
        let (store, abandoned) = (self.store.clone(), Arc::clone(&self.abandoned));
        let abandon = move |job: Job, why: String| {
            let (store, abandoned) = (store.clone(), Arc::clone(&abandoned));
            async move {
                finish(&store, &job).await?;
                abandoned.lock().unwrap().push((job.subject, why));
                Ok(())
            }
        };
        let (others, now) = (self.others.clone(), self.clock.now());
        let queue = Queue {
            store: self.store.clone(),
            clock: self.clock.clone(),
            waker: self.waker.clone(),
            metrics: Jobs::default(),
            line: Line::Own,
            workers: WORKERS,
            is_joint: |job| job.kind == "joint",
            call: move || others.iter().for_each(|other| other.due(now)),
        };
        let (store, crowds, gate) = (self.store.clone(), Arc::clone(&self.crowds), Arc::clone(&self.gate));
        let together = move |jobs: Vec<Job>| {
            let (store, crowds, gate) = (store.clone(), Arc::clone(&crowds), Arc::clone(&gate));
            async move {
                crowds.lock().unwrap().push(jobs.len());
                gate.acquire().await.unwrap().forget();
                assert!(jobs.iter().all(|job| job.subject != "999"), "the one that nobody can do with others");
                let is_odd = |job: &Job| job.subject.parse::<usize>().unwrap() % 2 == 1;
                let (left, done): (Vec<Job>, Vec<Job>) = jobs.into_iter().partition(is_odd);
                let mut batch = Batch::new();
                done.iter().for_each(|job| batch.finish_job(job));
                store.apply(batch).await.unwrap();
                left
            }
        };
        self.running = Some(tokio::spawn(queue::run(queue, self.stop.subscribe(), work, together, abandon)));
    }

    /// Waits until this holds; what has not come about by then never will.
    async fn until(&self, holds: impl AsyncFn(&Desk) -> bool) {
        let waiting = async {
            while !holds(self).await {
                assert!(!self.running.as_ref().unwrap().is_finished(), "the queue has ended");
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it comes about");
    }

    async fn stop(&mut self) {
        self.stop.send_replace(true);
        self.running.take().unwrap().await.expect("the queue ends well");
    }

    fn done(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// How many jobs there are for which this holds.
    async fn count(&self, condition: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM jobs WHERE {condition}");
        self.store.query_one(&sql, &[], |row| row.int(0)).await.unwrap().unwrap()
    }
}

async fn finish(store: &Store, job: &Job) -> Result<(), Failure> {
    let mut batch = Batch::new();
    batch.finish_job(job);
    store.apply(batch).await?;
    Ok(())
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt_and_costs_nobody_anything_else() {
    let mut desk = Desk::new();
    // More than there are slots, before the one that is sound.
    desk.add("boom", 40).await;
    desk.add("sound", 1).await;
    desk.run(async |job: Job| {
        assert_ne!(job.kind, "boom", "job {}", job.subject);
        Ok(())
    });
    desk.until(async |desk: &Desk| desk.done() == 1 && desk.count("lease IS NOT NULL").await == 0).await;
    let due = START.plus_seconds(1).micros();
    assert_eq!(desk.count(&format!("attempts = 1 AND due_at = {due}")).await, 40, "each is tried again in a second");
    desk.stop().await;
}

/// What was said to the operator on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// The errors, each as its fields.
    fn errors(&self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.filter(|line| line["level"] == "ERROR").map(|mut line| line["fields"].take()).collect()
    }
}

#[tokio::test]
async fn a_job_that_keeps_failing_is_given_up_after_half_a_day_and_says_why() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().json().with_writer(move || writer.clone()).finish();
    // With one subscriber in the process, whether a line is heard is asked of the thread that says it first, which may
    // be another test's; with two, of both.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _heard = tracing::subscriber::set_default(subscriber);
    let mut desk = Desk::new();
    desk.add("doomed", 1).await;
    let attempts = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&attempts);
    desk.run(move |_| {
        let number = counted.fetch_add(1, Ordering::SeqCst) + 1;
        async move { Err(Failure(format!("not at attempt {number} either"))) }
    });
    let abandoned = |desk: &Desk| desk.abandoned.lock().unwrap().first().cloned();
    desk.until(async |desk: &Desk| {
        let waiting =
            desk.store.query("SELECT due_at FROM jobs WHERE lease IS NULL", &[], |row| row.time(0)).await.unwrap();
        if let Some(due) = waiting.first() {
            desk.clock.set(*due);
            desk.waker.due(Time::default());
        }
        abandoned(desk).is_some()
    })
    .await;
    assert_eq!(attempts.load(Ordering::SeqCst) as i64, ATTEMPTS);
    let expected = ("0".to_owned(), format!("not at attempt {ATTEMPTS} either"));
    assert_eq!(abandoned(&desk), Some(expected), "it is told why");
    let hours = (desk.clock.now().micros() - START.micros()) / 3_600_000_000;
    assert_eq!(hours, 12, "a night in which something is down is survived");
    assert_eq!(desk.count("1").await, 0, "the job is gone");
    desk.stop().await;
    let errors = log.errors();
    assert_eq!(errors.len(), 1, "one line, where it was given up: {errors:#?}");
    let said = ["job.id", "job.kind", "subject", "attempts"].map(|field| errors[0][field].clone());
    assert_eq!(said, [json!(1), json!("doomed"), json!("0"), json!(ATTEMPTS)]);
}

#[tokio::test]
async fn a_job_is_done_when_it_is_due_and_not_before() {
    let mut desk = Desk::new();
    desk.clock = Clock::system();
    let late_by: Arc<Mutex<Vec<i64>>> = Arc::default();
    let (clock, noted) = (desk.clock.clone(), Arc::clone(&late_by));
    desk.run(move |job: Job| {
        // The subject says when it is due.
        noted.lock().unwrap().push(clock.now().micros() - job.subject.parse::<i64>().unwrap());
        async { Ok(()) }
    });
    let now = desk.clock.now();
    let mut batch = Batch::new();
    // The first is due at once: what is due later is not taken along.
    for due in [now, now.plus_micros(300_000)] {
        batch.add_job("timer", &due.micros().to_string(), due);
    }
    desk.store.apply(batch).await.unwrap();
    desk.waker.due(now);
    desk.until(async |desk: &Desk| desk.done() == 2).await;
    let late_by = late_by.lock().unwrap().clone();
    assert!(late_by.iter().all(|late| (0..5_000_000).contains(late)), "W-ENG-16, W-DLY-15: {late_by:?} us late");
    desk.stop().await;
}

#[tokio::test]
async fn jobs_that_are_better_done_together_are_and_what_is_left_of_them_is_done_one_by_one() {
    let mut desk = Desk::new();
    desk.add("joint", 10).await;
    desk.add("alone", 3).await;
    desk.run(|job| async move {
        let is_odd = job.subject.parse::<usize>().unwrap() % 2 == 1;
        assert!(job.kind == "alone" || is_odd, "{job:?}");
        Ok(())
    });
    desk.until(async |desk| desk.count("1 = 1").await == 0 && desk.done() == 8).await;
    assert_eq!(*desk.crowds.lock().unwrap(), [10], "all that were claimed at once");
    let mut done = desk.done.lock().unwrap().clone();
    done.sort();
    assert_eq!(done, ["0", "1", "1", "2", "3", "5", "7", "9"]);
    desk.stop().await;
}

/// Whoever is alone does not wait for a crowd, and nobody waits long to stop because of one.
#[tokio::test]
async fn a_crowd_that_takes_long_holds_up_nobody_else() {
    let mut desk = Desk::new();
    desk.gate = Arc::new(Semaphore::new(0));
    desk.add("joint", 2).await;
    desk.run(|_| async { Ok(()) });
    desk.until(async |desk| desk.crowds.lock().unwrap().len() == 1).await;
    desk.add("alone", 3).await;
    desk.waker.due(START);
    desk.until(async |desk| desk.done() == 3).await;
    let gate = Arc::clone(&desk.gate);
    desk.stop.send_replace(true);
    let began = std::time::Instant::now();
    gate.add_permits(1);
    desk.stop().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(desk.count("lease IS NOT NULL").await, 0);
}

#[tokio::test]
async fn a_panic_among_many_costs_nobody_anything() {
    let mut desk = Desk::new();
    desk.add("joint", 4).await;
    let mut batch = Batch::new();
    batch.add_job("joint", "999", START);
    desk.store.apply(batch).await.unwrap();
    desk.run(|_| async { Ok(()) });
    desk.until(async |desk| desk.count("1 = 1").await == 0 && desk.done() == 5).await;
    assert_eq!(desk.done(), 5, "each was done by itself");
    desk.stop().await;
}

#[tokio::test]
async fn one_job_is_no_crowd() {
    let mut desk = Desk::new();
    desk.add("joint", 1).await;
    desk.run(|_| async { Ok(()) });
    desk.until(async |desk| desk.count("1 = 1").await == 0 && desk.done() == 1).await;
    assert_eq!((desk.done(), desk.crowds.lock().unwrap().len()), (1, 0));
    desk.stop().await;
}

#[tokio::test]
async fn jobs_that_were_not_begun_are_handed_back_when_the_node_stops() {
    let mut desk = Desk::new();
    desk.add("slow", 50).await;
    let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let (counted, closed) = (Arc::clone(&begun), Arc::clone(&gate));
    desk.run(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&closed);
        async move { gate.acquire().await.map(|slot| slot.forget()).map_err(|error| Failure(error.to_string())) }
    });
    desk.until(async |desk: &Desk| begun.load(Ordering::SeqCst) == 16 && desk.count("lease IS NOT NULL").await == 50)
        .await;
    desk.clock.advance_seconds(1);
    desk.stop.send_replace(true);
    desk.until(async |desk: &Desk| desk.count("lease IS NULL").await == 34).await;
    let now = desk.clock.now().micros();
    assert_eq!(desk.count(&format!("lease IS NULL AND due_at <= {now} AND attempts = 0")).await, 34, "due now");
    assert_eq!(desk.count("lease IS NOT NULL").await, 16, "those under way are not taken from anybody");
    gate.add_permits(16);
    desk.stop().await;
    assert_eq!((desk.done(), desk.count("1").await), (16, 34), "and they have ended in peace");
    // Another node finds them at once.
    let found = desk.store.claim_jobs("other", desk.clock.now(), desk.clock.now().plus_seconds(30), 64).await.unwrap();
    assert_eq!((found.len(), found[0].attempts), (34, 0));
}

/// One that works where another does, and hears of its commits only by its calls.
#[tokio::test]
async fn whoever_has_more_to_do_than_it_can_calls_others() {
    let (mut busy, mut idle) = (Desk::new(), Desk::new());
    idle.store = busy.store.clone();
    busy.others = vec![idle.waker.clone()];
    let (begun, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let helped = Arc::new(Semaphore::new(0));
    let help = Arc::clone(&helped);
    idle.run(move |_| {
        help.add_permits(1);
        async { Ok(()) }
    });
    // It has looked, and sleeps.
    idle.add("first", 1).await;
    idle.waker.due(START);
    idle.until(async |idle: &Desk| idle.done() == 1).await;
    let (counted, closed) = (Arc::clone(&begun), Arc::clone(&gate));
    busy.run(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let gate = Arc::clone(&closed);
        async move { gate.acquire().await.map(|slot| slot.forget()).map_err(|error| Failure(error.to_string())) }
    });
    busy.add("much", 100).await;
    busy.waker.due(START);
    let all = tokio::time::timeout(Duration::from_secs(4), helped.acquire_many(37)).await;
    assert!(all.is_ok(), "who is not called looks after five seconds only");
    busy.until(async |_| begun.load(Ordering::SeqCst) == 16).await;
    gate.add_permits(64);
    busy.until(async |busy: &Desk| busy.done() + idle.done() == 101).await;
    busy.stop().await;
    idle.stop().await;
    assert_eq!((busy.done(), idle.done()), (64, 37));
}
