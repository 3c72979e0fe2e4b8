//! The time of day: the system's, or one that tests turn by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::model::time::Time;

/// Tells the time. Clones of a clock turned by hand show the same hands.
#[derive(Debug, Clone)]
pub struct Clock(Hands);

#[derive(Debug, Clone)]
enum Hands {
    System,
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Clock(Hands::System)
    }

    /// A clock that stands at `start` until it is turned.
    pub fn manual(start: Time) -> Self {
        Clock(Hands::Manual(Arc::new(AtomicI64::new(start.micros()))))
    }

    /// The time it shows.
    pub fn now(&self) -> Time {
        match &self.0 {
            Hands::System => system_now(),
            Hands::Manual(micros) => Time::from_micros(micros.load(Ordering::Acquire)),
        }
    }

    /// Turns a manual clock on (back, when negative). The system's clock cannot be turned: it stays as it is.
    pub fn advance(&self, micros: i64) {
        if let Hands::Manual(hands) = &self.0 {
            hands.fetch_add(micros, Ordering::AcqRel);
        }
    }

    /// Turns a manual clock on by whole seconds.
    pub fn advance_seconds(&self, seconds: i64) {
        self.advance(seconds.saturating_mul(1_000_000));
    }

    /// Sets a manual clock. The system's clock cannot be set: it stays as it is.
    pub fn set(&self, to: Time) {
        if let Hands::Manual(hands) = &self.0 {
            hands.store(to.micros(), Ordering::Release);
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads the clock")]
fn system_now() -> Time {
    let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
    };
    Time::from_micros(micros)
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
    }

    #[test]
    fn the_system_clock_goes_and_cannot_be_turned() {
        let clock = Clock::system();
        let before = clock.now();
        clock.set(Time::from_micros(0));
        clock.advance_seconds(-1_000_000_000);
        assert!(clock.now() >= before.plus_seconds(-60));
        assert!(before > Time::from_micros(1_577_836_800_000_000), "later than 2020");
    }
}
