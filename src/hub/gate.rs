//! How many sockets are let in per second, so that clients who all come back at once do not take the node with them.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use crate::model::time::Time;
use crate::rules::cell_rate;

const SECOND: i64 = 1_000_000;
/// The least and the most time over which clients are asked to spread their return.
const LEAST_SPREAD: Duration = Duration::from_secs(1);
const MOST_SPREAD: Duration = Duration::from_secs(60);
/// The least that a client of ours waits before it dials again.
const LEAST_PAUSE: Duration = Duration::from_millis(250);

/// Counts those who come in.
pub(crate) struct Gate {
    per_second: u32,
    share: i64,
    depth: i64,
    empty_at: AtomicI64,
    dice: RandomState,
}

impl Gate {
    /// A gate that lets in `per_second`, and `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        let per_second = per_second.max(1);
        let share = SECOND / i64::from(per_second);
        let depth = share * i64::from(burst.max(1));
        Gate { per_second, share, depth, empty_at: AtomicI64::new(0), dice: RandomState::new() }
    }

    /// Lets one in, or not.
    pub(crate) fn enter(&self, now: Time) -> bool {
        let pass = |empty_at| cell_rate::pass(empty_at, self.share, self.depth, now.micros()).ok();
        self.empty_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, pass).is_ok()
    }

    /// Gives back the place of one who was let in here and refused behind: those who hold no key must not keep out those
    /// who do.
    pub(crate) fn give_back(&self) {
        self.empty_at.fetch_sub(self.share, Ordering::AcqRel);
    }

    /// Over how long `sockets` clients are to spread their return, so that a node like this one lets them all in.
    pub(crate) fn spread(&self, sockets: usize) -> Duration {
        Duration::from_secs_f64(sockets as f64 / f64::from(self.per_second)).clamp(LEAST_SPREAD, MOST_SPREAD)
    }

    /// After how many seconds one who was refused, the `number`th, is to come again: at random within the spread.
    pub(crate) fn retry_after(&self, number: u64, sockets: usize) -> u64 {
        1 + self.dice.hash_one(number) % self.spread(sockets).as_secs().max(1)
    }

    /// How long a client of ours waits before it dials again, at least and at most, in milliseconds.
    pub(crate) fn reconnect_ms(&self, sockets: usize) -> (u128, u128) {
        (LEAST_PAUSE.as_millis(), self.spread(sockets).as_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_micros(1_790_000_000_000_000);

    #[test]
    fn a_burst_is_let_in_and_then_so_many_a_second() {
        let gate = Gate::new(1_000, 50);
        assert_eq!((0..10_000).filter(|_| gate.enter(NOW)).count(), 50);
        let later = (0..10_000).filter(|step| gate.enter(NOW.plus_micros(step * 100))).count();
        assert_eq!(later, 999, "one per millisecond for a second");
    }

    #[test]
    fn those_who_are_refused_behind_the_gate_keep_nobody_out() {
        let gate = Gate::new(10, 1);
        for _ in 0..100 {
            assert!(gate.enter(NOW));
            gate.give_back();
        }
        assert!(gate.enter(NOW));
        assert!(!gate.enter(NOW));
    }

    #[test]
    fn the_more_sockets_there_are_the_longer_their_clients_spread_out() {
        let gate = Gate::new(5_000, 1);
        assert_eq!(gate.reconnect_ms(0), (250, 1_000));
        assert_eq!(gate.reconnect_ms(100_000), (250, 20_000));
        assert_eq!(gate.reconnect_ms(10_000_000), (250, 60_000));
        let waits: Vec<u64> = (0..1_000).map(|number| gate.retry_after(number, 100_000)).collect();
        assert!(waits.iter().all(|wait| (1..=20).contains(wait)));
        assert!((1..=20).all(|second| waits.contains(&second)), "every second is somebody's");
    }
}
