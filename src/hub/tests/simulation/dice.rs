//! Numbers that a seed repeats (splitmix64).

use std::ops::Range;

pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    /// A number from `range`.
    pub(super) fn roll(&mut self, range: Range<i64>) -> i64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        range.start + ((mixed ^ (mixed >> 31)) % (range.end - range.start) as u64) as i64
    }

    /// Whether something happens that happens so many times in a hundred.
    pub(super) fn chance(&mut self, percent: i64) -> bool {
        self.roll(0..100) < percent
    }

    /// One of `choices`.
    pub(super) fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(0..choices.len() as i64) as usize]
    }

    /// How long something takes that takes at most so long: mostly much less, so that things overtake one another.
    pub(super) fn lag(&mut self, most: i64) -> i64 {
        let most = most / self.pick(&[1, 4, 16, 64]);
        self.roll(0..most.max(1))
    }
}
