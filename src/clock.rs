//! The time of day: the system's, or one that tests turn by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::model::time::Time;

/// Tells the time. Clones of a clock turned by hand show the same hands.
#[derive(Debug, Clone)]
pub struct Clock {
    made_at: Instant,
    hands: Hands,
}

#[derive(Debug, Clone)]
enum Hands {
    System,
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

    /// A clock that stands at `start` until it is turned.
    pub fn manual(start: Time) -> Self {
        let manual = Manual { shown: AtomicI64::new(start.micros()), passed: AtomicI64::new(start.micros()) };
        Clock { made_at: Instant::now(), hands: Hands::Manual(Arc::new(manual)) }
    }

    /// The time it shows.
    pub fn now(&self) -> Time {
        match &self.hands {
            Hands::System => system_now(),
            Hands::Manual(manual) => Time::from_micros(manual.shown.load(Ordering::Acquire)),
        }
    }

    /// Time that only passes, however often the clock is set: for how long something takes. It is no date.
    pub fn steady(&self) -> Time {
        match &self.hands {
            Hands::System => Time::from_micros(micros(self.made_at.elapsed())),
            Hands::Manual(manual) => Time::from_micros(manual.passed.load(Ordering::Acquire)),
        }
    }

    /// Turns a manual clock on, as time passes (back, when negative). The system's clock cannot be turned: it stays as it
    /// is.
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

    /// Sets a manual clock: no time passes by that. The system's clock cannot be set: it stays as it is.
    pub fn set(&self, to: Time) {
        if let Hands::Manual(manual) = &self.hands {
            manual.shown.store(to.micros(), Ordering::Release);
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
