//! Rate limits: how often an operation may be called, by whom (F-RAT-01 to F-RAT-07).

use std::sync::atomic::{AtomicI64, Ordering};

use dashmap::DashMap;

use super::Face;
use super::error::ApiError;
use crate::model::time::Time;
use crate::rules::cell_rate;
use crate::store::Env;

/// How often an operation may be called; the same for all accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its number")]
pub enum Tier {
    One,
    Two,
    Three,
    Four,
    Five,
}

/// What is allowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Whether requests are counted at all.
    pub is_on: bool,
    /// Requests per second, from tier 1 to tier 5; as many may come at once.
    pub per_second: [u32; 5],
    /// Whether a batch may change the same message only once a second (F-RAT-04).
    pub dedupes: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { is_on: true, per_second: [1, 5, 60, 200, 1000], dedupes: true }
    }
}

impl Limits {
    /// No limits, for development.
    pub fn off() -> Self {
        Limits { is_on: false, dedupes: false, ..Limits::default() }
    }

    /// Requests per second of a tier.
    pub fn rate(&self, tier: Tier) -> u32 {
        self.per_second[tier as usize]
    }
}

/// Who is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub(crate) env: Env,
    /// The operation's number.
    pub(crate) operation: usize,
    /// The user, or the entity of a batch.
    pub(crate) whom: Option<Box<str>>,
}

impl Face {
    /// Counts a call; whoever calls too often is told how long to wait (F-RAT-02, F-RAT-06).
    pub(crate) fn count(&self, key: Key, tier: Tier) -> Result<(), ApiError> {
        let limits = &self.settings.limits;
        if !limits.is_on {
            return Ok(());
        }
        let taken = self.buckets.take(key, limits.rate(tier), self.core.clock.now());
        taken.map_err(|micros| ApiError::too_many((micros + 999_999) / SECOND))
    }
}

const SECOND: i64 = 1_000_000;
/// Buckets kept; beyond it the idle ones go first, and if all are busy new callers are not counted.
const MAX_BUCKETS: usize = 200_000;

/// One number per bucket: when it will be empty again.
#[derive(Debug, Default)]
pub(crate) struct Buckets {
    empty_at: DashMap<Key, i64>,
    swept_at: AtomicI64,
}

impl Buckets {
    /// Counts one call; refused with the microseconds to wait when the bucket is full.
    pub(crate) fn take(&self, key: Key, per_second: u32, now: Time) -> Result<(), i64> {
        let now = now.micros();
        if !self.make_room(now) && !self.empty_at.contains_key(&key) {
            return Ok(());
        }
        let share = SECOND / i64::from(per_second.max(1));
        let mut empty_at = self.empty_at.entry(key).or_insert(now);
        *empty_at = cell_rate::pass(*empty_at, share, SECOND, now)?;
        Ok(())
    }

    /// Drops idle buckets when there are too many, at most once a second; whether there is room for one more.
    fn make_room(&self, now: i64) -> bool {
        if self.empty_at.len() < MAX_BUCKETS {
            return true;
        }
        let swept_at = self.swept_at.load(Ordering::Acquire);
        let is_due = now < swept_at || now - swept_at >= SECOND;
        if is_due && self.swept_at.compare_exchange(swept_at, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.empty_at.retain(|_, empty_at| *empty_at > now);
        }
        self.empty_at.len() < MAX_BUCKETS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(whom: usize) -> Key {
        Key { env: 1, operation: 2, whom: Some(whom.to_string().into()) }
    }

    #[test]
    fn the_tiers_are_those_of_the_table() {
        let limits = Limits::default();
        let tiers = [Tier::One, Tier::Two, Tier::Three, Tier::Four, Tier::Five].map(|tier| limits.rate(tier));
        assert_eq!(tiers, [1, 5, 60, 200, 1000], "F-RAT-01 F-RAT-07");
        assert!(!Limits::off().is_on && !Limits::off().dedupes, "F-RAT-07");
    }

    #[test]
    fn a_tier_allows_so_many_at_once_and_so_many_a_second() {
        for rate in [1, 5, 60, 200, 1000] {
            let buckets = Buckets::default();
            let start = Time::from_micros(1_790_000_000_000_000);
            let mut taken = 0;
            for step in 0..4000 {
                taken += u32::from(buckets.take(key(1), rate, start.plus_micros(step * 500)).is_ok());
            }
            assert!(taken >= 2 * rate && taken <= 3 * rate, "F-RAT-01: {taken} in two seconds at {rate} a second");
            let burst = (0..5000).filter(|_| buckets.take(key(2), rate, start).is_ok()).count();
            assert_eq!(burst, rate as usize, "F-RAT-01");
            let wait = buckets.take(key(2), rate, start).expect_err("the bucket is full");
            assert!(buckets.take(key(2), rate, start.plus_micros(wait - 1)).is_err(), "F-RAT-06");
            assert!(buckets.take(key(2), rate, start.plus_micros(wait)).is_ok(), "F-RAT-06");
        }
    }

    #[test]
    fn buckets_do_not_share_and_a_clock_set_back_locks_nobody_out() {
        let buckets = Buckets::default();
        let now = Time::from_micros(1_790_000_000_000_000);
        assert!(buckets.take(key(1), 1, now).is_ok());
        assert!(buckets.take(key(2), 1, now).is_ok(), "F-RAT-02");
        assert!(buckets.take(Key { env: 2, ..key(1) }, 1, now).is_ok(), "F-RAT-02");
        let before = now.plus_seconds(-3600);
        let wait = buckets.take(key(1), 1, before).expect_err("still full");
        assert!(wait <= SECOND, "{wait}");
    }

    #[test]
    fn the_number_of_buckets_is_bounded() {
        let buckets = Buckets::default();
        let now = Time::from_micros(1_790_000_000_000_000);
        for whom in 0..=MAX_BUCKETS {
            assert!(buckets.take(key(whom), 1, now).is_ok());
        }
        assert_eq!(buckets.empty_at.len(), MAX_BUCKETS, "busy buckets stay, new callers are not counted");
        assert!(buckets.take(key(0), 1, now).is_err(), "those that are counted stay so");
        assert!(buckets.take(key(MAX_BUCKETS), 1, now.plus_seconds(2)).is_ok());
        assert_eq!(buckets.empty_at.len(), 1, "idle buckets are dropped");
    }
}
