//! The time of day: the system's, that of a database which several nodes share, or one that tests turn by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::time::Time;

/// Tells the time. Clones of a clock that can be set show the same hands.
#[derive(Debug, Clone)]
pub struct Clock {
    made_at: Instant,
    hands: Hands,
}

#[derive(Debug, Clone)]
enum Hands {
    System,
    /// Goes evenly from where it was set last: what it showed when it was made, as it is reckoned now.
    Kept(Arc<AtomicI64>),
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    shown: AtomicI64,
    passed: AtomicI64,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock { made_at: Instant::now(), hands: Hands::System }
    }

    /// A clock that shows `now`, and is kept right by [`Clock::set`]: in between it goes evenly, whatever is done to the
    /// system's.
    pub fn kept(now: Time) -> Self {
        Clock { made_at: Instant::now(), hands: Hands::Kept(Arc::new(AtomicI64::new(now.micros()))) }
    }

    /// A clock that stands at `start` until it is turned.
    pub fn manual(start: Time) -> Self {
        let manual = Manual { shown: AtomicI64::new(start.micros()), passed: AtomicI64::new(start.micros()) };
        Clock { made_at: Instant::now(), hands: Hands::Manual(Arc::new(manual)) }
    }

    /// The time it shows.
    pub fn now(&self) -> Time {
        match &self.hands {
            Hands::System => system_now(),
            Hands::Kept(start) => Time::from_micros(start.load(Ordering::Acquire)).plus_micros(self.passed()),
            Hands::Manual(manual) => Time::from_micros(manual.shown.load(Ordering::Acquire)),
        }
    }

    /// Time that only passes, however often the clock is set: for how long something takes. It is no date.
    pub fn steady(&self) -> Time {
        match &self.hands {
            Hands::System | Hands::Kept(_) => Time::from_micros(self.passed()),
            Hands::Manual(manual) => Time::from_micros(manual.passed.load(Ordering::Acquire)),
        }
    }

    /// Microseconds since it was made.
    fn passed(&self) -> i64 {
        micros(self.made_at.elapsed())
    }

    /// Turns a manual clock on, as time passes (back, when negative). Others cannot be turned: they stay as they are.
    pub fn advance(&self, micros: i64) {
        if let Hands::Manual(manual) = &self.hands {
            manual.shown.fetch_add(micros, Ordering::AcqRel);
            manual.passed.fetch_add(micros, Ordering::AcqRel);
        }
    }

    /// Turns a manual clock on by whole seconds.
    pub fn advance_seconds(&self, seconds: i64) {
        self.advance(seconds.saturating_mul(1_000_000));
    }

    /// Sets a clock that is kept, or a manual one: no time passes by that. The system's clock cannot be set: it stays as it
    /// is.
    pub fn set(&self, to: Time) {
        match &self.hands {
            Hands::System => {}
            Hands::Kept(start) => start.store(to.plus_micros(-self.passed()).micros(), Ordering::Release),
            Hands::Manual(manual) => manual.shown.store(to.micros(), Ordering::Release),
        }
    }
}

fn micros(passed: Duration) -> i64 {
    i64::try_from(passed.as_micros()).unwrap_or(i64::MAX)
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn system_now() -> Time {
    let since = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => micros(since),
        Err(before) => -micros(before.duration()),
    };
    Time::from_micros(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_stands_still_until_it_is_turned_and_clones_agree() {
        let clock = Clock::manual(Time::from_micros(5));
        let other = clock.clone();
        assert_eq!(clock.now(), Time::from_micros(5));
        other.advance_seconds(2);
        assert_eq!(clock.now(), Time::from_micros(2_000_005));
        clock.set(Time::from_micros(1));
        assert_eq!(other.now(), Time::from_micros(1));
        assert_eq!(other.steady(), Time::from_micros(2_000_005), "no time passes when a clock is set");
    }

    #[test]
    fn a_clock_that_is_kept_goes_on_from_where_it_was_set() {
        let clock = Clock::kept(Time::from_micros(5_000_000));
        let (other, minute) = (clock.clone(), Time::from_micros(60_000_000));
        assert!(clock.now() >= Time::from_micros(5_000_000) && clock.now() < minute);
        let before = clock.steady();
        other.set(Time::from_micros(-3_600_000_000));
        let passed = clock.now().micros() + 3_600_000_000;
        assert!((0..60_000_000).contains(&passed), "{passed}");
        assert!(clock.steady() >= before && clock.steady() < minute, "no time passes when a clock is set");
    }

    #[test]
    fn the_system_clock_goes_and_cannot_be_turned() {
        let clock = Clock::system();
        let before = clock.now();
        clock.set(Time::from_micros(0));
        clock.advance_seconds(-1_000_000_000);
        assert!(clock.now() >= before.plus_seconds(-60));
        assert!(before > Time::from_micros(1_577_836_800_000_000), "later than 2020");
        let (first, second) = (clock.steady(), clock.clone().steady());
        assert!(first <= second && second < Time::from_micros(60_000_000), "{first} {second}");
    }
}
