//! A lane: what there is between this node and one server.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::speaking::Parcel;
use super::{Inner, hearing, speaking};
use crate::bus::watched::LaneId;
use crate::bus::{LaneHealth, Place};

/// Bytes that may wait before items are left out: the rest is small.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// The connections to one server: one to hear, one to speak.
pub(super) struct Lane {
    pub(super) id: LaneId,
    pub(super) place: Place,
    queue: mpsc::Sender<Parcel>,
    waiting: AtomicUsize,
    waiting_bytes: AtomicUsize,
    /// There are users to be asked for, or to be left.
    pub(super) wishes: Notify,
    /// A sign of life is due.
    pub(super) probe_due: Notify,
    /// The speaking connection must be made anew.
    pub(super) renew: Notify,
    /// The channel on which the node listens for itself; in a Cluster it changes with the slots.
    own: Mutex<Arc<str>>,
    voice: Mutex<Option<MultiplexedConnection>>,
    is_up: AtomicBool,
    nonce: AtomicU64,
    /// Times are in microseconds since the lane was made; negative is never.
    made_at: Instant,
    probed_at: AtomicI64,
    echoed_at: AtomicI64,
    lag: AtomicU64,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl Lane {
    /// Begins to connect to the server. `own` is the node's channel, if it can't be any.
    pub(super) fn start(inner: &Arc<Inner>, place: Place, own: Option<String>) -> Arc<Lane> {
        let own = own.unwrap_or_else(|| format!("{}:node:{:x}", inner.settings.prefix, inner.node));
        let (queue, parcels) = mpsc::channel(inner.settings.waiting_events.max(1));
        let lane = Arc::new(Lane {
            id: inner.next_lane.fetch_add(1, Ordering::Relaxed),
            place,
            queue,
            waiting: AtomicUsize::new(0),
            waiting_bytes: AtomicUsize::new(0),
            wishes: Notify::new(),
            probe_due: Notify::new(),
            renew: Notify::new(),
            own: Mutex::new(own.into()),
            voice: Mutex::default(),
            is_up: AtomicBool::new(false),
            nonce: AtomicU64::new(0),
            made_at: Instant::now(),
            probed_at: AtomicI64::new(-1),
            echoed_at: AtomicI64::new(-1),
            lag: AtomicU64::new(0),
            tasks: Mutex::default(),
        });
        let hearing = tokio::spawn(hearing::hear(Arc::clone(inner), Arc::clone(&lane)));
        let speaking = tokio::spawn(speaking::speak(Arc::clone(inner), Arc::clone(&lane), parcels));
        lock(&lane.tasks).extend([hearing.abort_handle(), speaking.abort_handle()]);
        lane
    }

    /// Ends both connections.
    pub(super) fn end(&self) {
        lock(&self.tasks).drain(..).for_each(|task| task.abort());
    }

    /// Takes a parcel to be published; false when too many wait.
    pub(super) fn take(&self, parcel: Parcel) -> bool {
        let bytes = parcel.payload.len();
        // Counted before it can be taken off.
        self.waiting.fetch_add(1, Ordering::AcqRel);
        self.waiting_bytes.fetch_add(bytes, Ordering::AcqRel);
        let is_taken = self.queue.try_send(parcel).is_ok();
        if !is_taken {
            self.taken_off(1, bytes);
        }
        is_taken
    }

    /// Parcels were published, or given up.
    pub(super) fn taken_off(&self, parcels: usize, bytes: usize) {
        self.waiting.fetch_sub(parcels, Ordering::AcqRel);
        self.waiting_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    /// Parcels that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Whether items have to be left out, because so much waits.
    pub(super) fn is_short(&self) -> bool {
        self.waiting_bytes.load(Ordering::Acquire) > MOST_BYTES
    }

    pub(super) fn own(&self) -> Arc<str> {
        Arc::clone(&lock(&self.own))
    }

    /// Has the node listen for itself on another channel.
    pub(super) fn set_own(&self, channel: String) {
        *lock(&self.own) = channel.into();
    }

    /// The connection to speak by, while there is one.
    pub(super) fn voice(&self) -> Option<MultiplexedConnection> {
        lock(&self.voice).clone()
    }

    pub(super) fn set_voice(&self, voice: Option<MultiplexedConnection>) {
        *lock(&self.voice) = voice;
    }

    /// It is connected and subscribed, or no longer.
    pub(super) fn set_up(&self, is_up: bool) {
        self.echoed_at.store(-1, Ordering::Release);
        self.is_up.store(is_up, Ordering::Release);
    }

    pub(super) fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Acquire)
    }

    fn now(&self) -> i64 {
        i64::try_from(self.made_at.elapsed().as_micros()).unwrap_or(i64::MAX)
    }

    /// The number of the sign of life that is to be sent now.
    pub(super) fn probe(&self) -> u64 {
        self.probed_at.store(self.now(), Ordering::Release);
        self.nonce.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// The node heard itself.
    pub(super) fn echo(&self, nonce: u64) {
        let now = self.now();
        self.echoed_at.store(now, Ordering::Release);
        if nonce == self.nonce.load(Ordering::Acquire) {
            let since = now - self.probed_at.load(Ordering::Acquire);
            self.lag.store(u64::try_from(since).unwrap_or(0), Ordering::Relaxed);
        }
    }

    pub(super) fn lag(&self) -> Duration {
        Duration::from_micros(self.lag.load(Ordering::Relaxed))
    }

    /// How long ago the node heard itself; none if not since the lane is up.
    pub(super) fn heard_ago(&self) -> Option<Duration> {
        let at = self.echoed_at.load(Ordering::Acquire);
        (at >= 0).then(|| Duration::from_micros(u64::try_from(self.now() - at).unwrap_or(0)))
    }

    pub(super) fn health(&self, deaf_after: Duration) -> LaneHealth {
        let (is_up, heard_ago) = (self.is_up(), self.heard_ago());
        let is_hearing = is_up && heard_ago.is_some_and(|ago| ago < deaf_after);
        LaneHealth { place: self.place.to_string(), is_up, is_hearing, heard_ago }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
