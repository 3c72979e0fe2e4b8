//! What arrives at the sockets: counted, timed, and matched with what was sent.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::sync::Notify;

/// A marker is this sign and the time it stands for, in nanoseconds since the watch began, as 16 hexadecimal digits.
const SIGN: u8 = b'@';
const DIGITS: usize = 16;
/// Latencies are kept in microseconds, up to a minute, with three digits.
const LONGEST_US: u64 = 60_000_000;
/// Bytes of a push before its version ends.
const PUSH_HEAD: usize = 512;

/// Shared by every socket task of the thread.
#[derive(Debug)]
pub(crate) struct Watch {
    epoch: Instant,
    /// Markers from before this are stragglers of an earlier part.
    from: Cell<u64>,
    delivered: Cell<u64>,
    bytes: Cell<u64>,
    frames: Cell<u64>,
    closed: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    /// The version of each user's feed, as far as it was told.
    versions: RefCell<Vec<i64>>,
    /// For marks: when each user's was due, zero when none is under way.
    due: RefCell<Vec<u64>>,
    /// Whoever waits is woken when this many have been delivered, or a socket is closed.
    awaited: Cell<u64>,
    arrived: Notify,
}

impl Watch {
    pub(crate) fn new(users: u32) -> Watch {
        Watch {
            epoch: Instant::now(),
            from: Cell::new(u64::MAX),
            delivered: Cell::default(),
            bytes: Cell::default(),
            frames: Cell::default(),
            closed: Cell::default(),
            latency: RefCell::new(histogram()),
            versions: RefCell::new(vec![0; users as usize]),
            due: RefCell::new(vec![0; users as usize]),
            awaited: Cell::new(u64::MAX),
            arrived: Notify::new(),
        }
    }

    /// Nanoseconds since the watch began.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The instant a time of this watch stands for.
    pub(crate) fn instant(&self, at: u64) -> Instant {
        self.epoch + Duration::from_nanos(at)
    }

    /// Begins a new part: only what is sent from now on counts.
    pub(crate) fn begin(&self) {
        self.from.set(self.now());
        self.delivered.set(0);
        self.bytes.set(0);
        self.frames.set(0);
        self.latency.borrow_mut().clear();
        self.due.borrow_mut().fill(0);
    }

    /// Takes in one text frame of `user`.
    pub(crate) fn text(&self, user: u32, payload: &[u8]) {
        let now = self.now();
        if let (Some(version), Some(known)) = (version(payload), self.versions.borrow_mut().get_mut(user as usize)) {
            *known = version.max(*known);
        }
        let mut last = 0;
        for at in markers(payload) {
            // An item repeats its data, and with it its marker, in several of its members.
            if at >= self.from.get() && at != last {
                self.deliver(now.saturating_sub(at));
                last = at;
            }
        }
        if let Some(due) = self.due.borrow_mut().get_mut(user as usize)
            && *due != 0
        {
            self.deliver(now.saturating_sub(*due));
            *due = 0;
            last = now;
        }
        if last != 0 {
            self.bytes.set(self.bytes.get() + payload.len() as u64);
            self.frames.set(self.frames.get() + 1);
            if self.delivered() >= self.awaited.get() {
                self.arrived.notify_one();
            }
        }
    }

    fn deliver(&self, latency_ns: u64) {
        self.delivered.set(self.delivered.get() + 1);
        // Saturating: a latency beyond a minute is a minute.
        self.latency.borrow_mut().saturating_record(latency_ns / 1_000);
    }

    /// Expects `user`'s next frame to answer a mark that was due at `at`; false while the last is still under way.
    pub(crate) fn expect(&self, user: u32, at: u64) -> bool {
        match self.due.borrow_mut().get_mut(user as usize) {
            Some(due) if *due == 0 => {
                *due = at;
                true
            }
            _ => false,
        }
    }

    /// Notes that the server closed a socket.
    pub(crate) fn close(&self) {
        self.closed.set(self.closed.get() + 1);
        self.arrived.notify_one();
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.get()
    }

    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.get()
    }

    /// The mean size of a frame that brought something in this part.
    pub(crate) fn frame_bytes(&self) -> Option<u64> {
        self.bytes.get().checked_div(self.frames.get())
    }

    /// The version of each user's feed.
    pub(crate) fn versions(&self) -> Vec<i64> {
        self.versions.borrow().clone()
    }

    /// The latencies of this part.
    pub(crate) fn latency(&self) -> Histogram<u64> {
        self.latency.borrow().clone()
    }

    /// Waits until `count` have been delivered, but not for long.
    pub(crate) async fn arrival(&self, count: u64, patience: Duration) {
        if self.delivered() >= count {
            return;
        }
        self.awaited.set(count);
        let _ = tokio::time::timeout(patience, self.arrived.notified()).await;
        self.awaited.set(u64::MAX);
    }

    /// Waits until `expected` deliveries have come, or nothing has for two seconds; answers how many are missing.
    pub(crate) async fn settle(&self, expected: u64) -> u64 {
        let (mut seen, mut since) = (self.delivered(), Instant::now());
        while self.delivered() < expected && since.elapsed() < Duration::from_secs(2) {
            self.arrival(expected, Duration::from_millis(100)).await;
            if self.delivered() != seen {
                (seen, since) = (self.delivered(), Instant::now());
            }
        }
        expected.saturating_sub(self.delivered())
    }
}

/// An empty histogram of microseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("constant bounds are valid")
}

/// The text that stands for the time `at` inside a frame.
pub(crate) fn marker(at: u64) -> String {
    format!("@{at:016x}")
}

/// Every marker in a frame, in order.
pub(crate) fn markers(payload: &[u8]) -> impl Iterator<Item = u64> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        loop {
            let sign = memchr::memchr(SIGN, rest)?;
            rest = &rest[sign + 1..];
            let digits = rest.get(..DIGITS).and_then(|digits| std::str::from_utf8(digits).ok());
            if let Some(at) = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()) {
                return Some(at);
            }
        }
    })
}

/// The version of the feed that a push brings; none in what is no push of a feed.
pub(crate) fn version(payload: &[u8]) -> Option<i64> {
    // A push names its event and its version right at its beginning.
    let text = &payload[..payload.len().min(PUSH_HEAD)];
    let event = memchr::memmem::find(text, br#""feed."#)?;
    // The event is the fourth of five: nothing before it holds an object.
    if memchr::memchr(b'{', &text[..event]).is_some() {
        return None;
    }
    number_after(&String::from_utf8_lossy(&text[event..]), r#""version":"#)
}

/// The number behind a sign.
pub(crate) fn number_after<T: std::str::FromStr>(text: &str, sign: &str) -> Option<T> {
    let (_, rest) = text.split_once(sign)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_push_of_a_feed_brings_a_version() {
        let delta = br#"["1",null,"feeds:c:u","feed.delta",{"since":1,"version":42,"counts":{}}]"#;
        assert_eq!(version(delta), Some(42));
        assert_eq!(version(br#"["1","1","feeds:c:u","phx_reply",{"response":{"version":7},"x":"feed."}]"#), None);
        let watch = Watch::new(2);
        watch.text(1, delta);
        watch.text(1, br#"["1",null,"feeds:c:u","feed.snapshot",{"version":41}]"#);
        assert_eq!(watch.versions(), [0, 42], "it does not run backwards");
    }

    #[test]
    fn an_item_that_repeats_its_marker_counts_once_and_two_items_twice() {
        let watch = Watch::new(1);
        watch.begin();
        let (one, two) = (marker(watch.now()), marker(watch.now() + 1));
        watch.text(0, format!(r#"{{"a":"{one}","mail":"x@y","b":"{one}","c":"{two}"}}"#).as_bytes());
        assert_eq!(watch.delivered(), 2);
    }

    #[test]
    fn a_straggler_of_an_earlier_part_does_not_count() {
        let watch = Watch::new(1);
        let early = marker(watch.now());
        watch.begin();
        watch.text(0, early.as_bytes());
        assert_eq!(watch.delivered(), 0);
    }

    #[test]
    fn a_mark_is_answered_by_its_users_next_frame_only() {
        let watch = Watch::new(2);
        watch.begin();
        assert!(watch.expect(1, watch.now()));
        assert!(!watch.expect(1, watch.now()), "one at a time");
        watch.text(0, b"{}");
        assert_eq!(watch.delivered(), 0);
        watch.text(1, b"{}");
        watch.text(1, b"{}");
        assert_eq!(watch.delivered(), 1);
    }
}
