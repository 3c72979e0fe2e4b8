//! What is counted for the operator: numbers that move where things happen, and are written out when somebody asks.
//!
//! One set per node, reached by handle (`Core::metrics`). A count is one atomic addition; no label holds anything that a
//! caller makes up, such as a user's id or a path. `docs/operating.md` lists every name.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// How the text of [`Metrics::text`] is called in `Content-Type`.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Kinds of jobs that have a label of their own. Ours are few; what rows of another version say is `other`.
const MOST_KINDS: usize = 16;
const OTHER: &str = "other";

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub http: Http,
    pub hub: Hub,
    pub engine: Engine,
    pub jobs: Jobs,
    pub store: Store,
    pub bus: Bus,
    pub process: Process,
    marks: Family<MarkLabel, Counter>,
}

/// Requests.
#[derive(Debug, Clone)]
pub struct Http {
    requests: Family<RequestLabels, Counter>,
    duration: Family<OperationLabel, Histogram, fn() -> Histogram>,
}

/// Sockets and what they are told.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    /// Sockets that are open.
    pub sockets: Gauge,
    /// Sockets that were let in.
    pub opened: Counter,
    /// Feeds that somebody listens to; set when it is asked for.
    pub topics: Gauge,
    /// Frames that were put into the outbox of a socket, to tell of a change.
    pub deliveries: Counter,
    /// Outboxes that were full: the socket is told later what it missed, or dropped.
    pub overflows: Counter,
    /// Sockets that were told again what they missed while their outbox was full.
    pub resyncs: Counter,
    /// Times the database was read for what sockets had not been told at once.
    pub catch_ups: Counter,
    refused: Family<ReasonLabel, Counter>,
    closed: Family<ReasonLabel, Counter>,
    joins: Family<OutcomeLabel, Counter>,
}

/// Workflows.
#[derive(Debug, Clone)]
pub struct Engine {
    /// From a trigger's body to its commit.
    pub trigger_seconds: Histogram,
    step_seconds: Family<StepLabel, Histogram, fn() -> Histogram>,
}

/// Durable jobs.
#[derive(Debug, Clone, Default)]
pub struct Jobs {
    /// Jobs that wait or run, timers included; set when it is asked for.
    pub backlog: Gauge,
    /// For how long the oldest job has been due; set when it is asked for.
    pub lag_seconds: Gauge<f64, AtomicU64>,
    ended: Family<JobLabels, Counter>,
    kinds: Arc<Mutex<BTreeSet<String>>>,
}

/// Commits, for the store to fill in.
#[derive(Debug, Clone)]
pub struct Store {
    /// Batches that shared one transaction.
    pub batches_per_commit: Histogram,
    /// How long such a transaction took.
    pub commit_seconds: Histogram,
    /// Whether it answered when it was asked for the figures.
    pub up: Gauge,
}

/// News between nodes; shown with [`Bus::show`] when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Bus {
    published: Counter,
    received: Counter,
    dropped: Counter,
    reconnects: Counter,
    waiting: Gauge,
    lag_seconds: Gauge<f64, AtomicU64>,
    up: Gauge,
}

/// How the bus stands at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BusReading {
    /// News sent, received and dropped since the start.
    pub published: u64,
    pub received: u64,
    pub dropped: u64,
    /// Connections that were made anew.
    pub reconnects: u64,
    /// News that wait to be sent.
    pub waiting: u64,
    /// How long news took to come back to this node, last time.
    pub lag: Duration,
    pub is_up: bool,
}

/// The process, as the system sees it; set when it is asked for.
#[derive(Debug, Clone, Default)]
pub struct Process {
    pub resident_memory_bytes: Gauge,
    pub open_fds: Gauge,
    pub max_fds: Gauge,
    pub start_time_seconds: Gauge<f64, AtomicU64>,
    pub cpu_seconds: Counter<f64, AtomicU64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: &'static str,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabel {
    operation: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabel {
    step: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabels {
    kind: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MarkLabel {
    mark: &'static str,
}

/// How a job's turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobEnd {
    Done,
    /// It will be tried again.
    Failed,
    GivenUp,
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let process = Process::new(registry.sub_registry_with_prefix("process"));
        let own = registry.sub_registry_with_prefix("bellwire");
        own.register("build", "The version that runs", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let marks = Family::default();
        own.register("marks", "Messages that somebody asked to mark, by mark", marks.clone());
        let (http, hub, engine) = (Http::new(own), Hub::new(own), Engine::new(own));
        let (jobs, store, bus) = (Jobs::new(own), Store::new(own), Bus::new(own));
        Metrics { registry, http, hub, engine, jobs, store, bus, process, marks }
    }

    /// Counts messages that somebody marks.
    pub fn marked(&self, mark: &'static str, messages: usize) {
        self.marks.get_or_create(&MarkLabel { mark }).inc_by(messages as u64);
    }

    /// Everything as text, in the format of OpenMetrics 1.0, which Prometheus reads.
    pub fn text(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        // Writing to a string does not fail.
        let _ = text::encode(&mut out, &self.registry);
        out
    }
}

impl Http {
    fn new(registry: &mut Registry) -> Self {
        let duration = Family::new_with_constructor(requests as fn() -> Histogram);
        let own = Http { requests: Family::default(), duration };
        registry.register("http_requests", "Requests that were answered", own.requests.clone());
        let help = "How long requests took, from their head to their answer";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, own.duration.clone());
        own
    }

    /// Counts a request that was answered with `status` after `elapsed`.
    pub fn answered(&self, operation: &'static str, status: u16, elapsed: Duration) {
        self.requests.get_or_create(&RequestLabels { operation, status: class(status) }).inc();
        self.duration.get_or_create(&OperationLabel { operation }).observe(elapsed.as_secs_f64());
    }
}

impl Hub {
    fn new(registry: &mut Registry) -> Self {
        let own = Hub::default();
        registry.register("sockets", "Sockets that are open", own.sockets.clone());
        registry.register("sockets_opened", "Sockets that were let in", own.opened.clone());
        registry.register("sockets_refused", "Sockets that were not let in, by reason", own.refused.clone());
        registry.register("sockets_closed", "Sockets that ended, by reason", own.closed.clone());
        registry.register("joins", "Joins of topics, by outcome", own.joins.clone());
        registry.register("topics", "Feeds that a socket of this node listens to", own.topics.clone());
        let help = "Frames put into the outboxes of sockets to tell of changes";
        registry.register("deliveries", help, own.deliveries.clone());
        registry.register("outbox_overflows", "Outboxes that were full", own.overflows.clone());
        let help = "Sockets told again what they missed while their outbox was full";
        registry.register("resyncs", help, own.resyncs.clone());
        let help = "Times the database was read for what sockets were not told at once";
        registry.register("catch_ups", help, own.catch_ups.clone());
        own
    }

    /// Counts a socket that was not let in.
    pub fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a socket that ended.
    pub fn closed(&self, reason: &'static str) {
        self.closed.get_or_create(&ReasonLabel { reason }).inc();
    }

    /// Counts a join.
    pub fn joined(&self, outcome: &'static str) {
        self.joins.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

impl Engine {
    fn new(registry: &mut Registry) -> Self {
        let step_seconds = Family::new_with_constructor(steps as fn() -> Histogram);
        let own = Engine { trigger_seconds: requests(), step_seconds };
        let help = "How long triggers took, from their body to their commit";
        registry.register_with_unit("trigger_duration", help, Unit::Seconds, own.trigger_seconds.clone());
        let help = "How long steps of workflows took to compute, by type";
        registry.register_with_unit("workflow_step_duration", help, Unit::Seconds, own.step_seconds.clone());
        own
    }

    /// Runs `step`, and notes how long it took: observed from outside, nothing that it does depends on it.
    pub fn step<T>(&self, kind: &'static str, step: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let done = step();
        self.step_seconds.get_or_create(&StepLabel { step: kind }).observe(begun.elapsed().as_secs_f64());
        done
    }
}

impl Jobs {
    fn new(registry: &mut Registry) -> Self {
        let own = Jobs::default();
        registry.register("jobs", "Turns of jobs that ended, by kind and outcome", own.ended.clone());
        registry.register("job_backlog", "Jobs that wait or run, timers included", own.backlog.clone());
        let help = "For how long the oldest job that nobody has taken up has been due";
        registry.register_with_unit("job_lag", help, Unit::Seconds, own.lag_seconds.clone());
        own
    }

    /// Counts the end of a job's turn.
    pub fn ended(&self, kind: &str, end: JobEnd) {
        let outcome = match end {
            JobEnd::Done => "done",
            JobEnd::Failed => "failed",
            JobEnd::GivenUp => "given_up",
        };
        self.ended.get_or_create(&JobLabels { kind: self.label(kind), outcome }).inc();
    }

    fn label(&self, kind: &str) -> String {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if !kinds.contains(kind) {
            if kinds.len() >= MOST_KINDS {
                return OTHER.to_owned();
            }
            kinds.insert(kind.to_owned());
        }
        kind.to_owned()
    }
}

impl Store {
    fn new(registry: &mut Registry) -> Self {
        let batches = Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0]);
        let own = Store { batches_per_commit: batches, commit_seconds: requests(), up: Gauge::default() };
        let help = "Batches of changes that shared one commit";
        registry.register("store_batches_per_commit", help, own.batches_per_commit.clone());
        let help = "How long commits took";
        registry.register_with_unit("store_commit_duration", help, Unit::Seconds, own.commit_seconds.clone());
        registry.register(
            "store_up",
            "Whether the database answered when these figures were asked for",
            own.up.clone(),
        );
        own
    }
}

impl Bus {
    fn new(registry: &mut Registry) -> Self {
        let own = Bus::default();
        registry.register("bus_published", "News sent to other nodes", own.published.clone());
        registry.register("bus_received", "News received from other nodes", own.received.clone());
        registry.register("bus_dropped", "News that was dropped; the sweep makes up for it", own.dropped.clone());
        registry.register("bus_reconnects", "Connections to servers that were made anew", own.reconnects.clone());
        registry.register("bus_waiting", "News that wait to be sent", own.waiting.clone());
        let help = "How long news of this node's own took to come back, last time";
        registry.register_with_unit("bus_lag", help, Unit::Seconds, own.lag_seconds.clone());
        registry.register("bus_up", "Whether news between nodes passes", own.up.clone());
        own
    }

    /// Shows how the bus stands.
    pub fn show(&self, reading: BusReading) {
        self.published.inner().store(reading.published, Ordering::Relaxed);
        self.received.inner().store(reading.received, Ordering::Relaxed);
        self.dropped.inner().store(reading.dropped, Ordering::Relaxed);
        self.reconnects.inner().store(reading.reconnects, Ordering::Relaxed);
        self.waiting.set(i64::try_from(reading.waiting).unwrap_or(i64::MAX));
        self.lag_seconds.set(reading.lag.as_secs_f64());
        self.up.set(i64::from(reading.is_up));
    }
}

impl Process {
    /// Under the names that every Prometheus client gives them.
    fn new(registry: &mut Registry) -> Self {
        let own = Process::default();
        let (memory, start) = (own.resident_memory_bytes.clone(), own.start_time_seconds.clone());
        registry.register_with_unit("resident_memory", "Resident memory", Unit::Bytes, memory);
        registry.register("open_fds", "File descriptors that are open", own.open_fds.clone());
        registry.register("max_fds", "File descriptors that may be open", own.max_fds.clone());
        registry.register_with_unit("start_time", "When the process was started, since 1970", Unit::Seconds, start);
        registry.register_with_unit("cpu", "User and system time used", Unit::Seconds, own.cpu_seconds.clone());
        own
    }
}

fn class(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}

/// From half a millisecond to ten seconds: a request, a commit.
fn requests() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0])
}

/// From ten microseconds to a second: what is computed.
fn steps() -> Histogram {
    Histogram::new([0.000_01, 0.000_03, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 1.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_jobs_that_nobody_knows_share_a_label() {
        let metrics = Metrics::new();
        for number in 0..1_000 {
            metrics.jobs.ended(&format!("kind-{number}"), JobEnd::Failed);
        }
        let lines = metrics.text().lines().filter(|line| line.starts_with("bellwire_jobs_total{")).count();
        assert_eq!(lines, MOST_KINDS + 1);
        metrics.jobs.ended("kind-0", JobEnd::Failed);
        assert!(metrics.text().contains(r#"bellwire_jobs_total{kind="kind-0",outcome="failed"} 2"#));
    }
}
