//! A server that is killed again and again: what it acknowledged is there afterwards, once.

mod audit;
mod work;

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::process::Process;
use work::{Story, mark, sweep, tell};

/// How often the server is killed.
const KILLS: usize = 32;
/// How long it lives between its start and its end, in milliseconds.
const LIFE: std::ops::Range<u64> = 30..500;
const TELLERS: u64 = 4;
const MARKERS: u64 = 3;

/// A generator of numbers that a seed repeats (splitmix64).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64, player: u64) -> Dice {
        Dice(seed ^ player.wrapping_mul(0xA24B_AED4_963E_E407))
    }

    /// Another player's, from the same seed.
    pub fn of(&self, player: u64) -> Dice {
        Dice::new(self.0, player)
    }

    /// A number from `range`.
    pub fn roll(&mut self, range: std::ops::Range<u64>) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start)
    }

    /// One of `choices`.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.roll(0..choices.len() as u64) as usize]
    }
}

/// Everything the server acknowledged is found once, over all kills: triggers (with timers that were running), their
/// retries under the same key (W-IDM-10, W-IDM-12), marks, bulk marks; and counters equal a recount.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "the seed is printed, and may be given")]
async fn nothing_acknowledged_is_lost_or_doubled_over_many_kills() {
    let given = std::env::var("CRASH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    println!("CRASH_SEED={seed}");
    let mut server = Process::start("");
    let story = Arc::new(Story::new(&server));
    story.identify().await;
    let tellers: Vec<_> =
        (0..TELLERS).map(|at| tokio::spawn(tell(Arc::clone(&story), Dice::new(seed, 1 + at)))).collect();
    let markers: Vec<_> =
        (0..MARKERS).map(|at| tokio::spawn(mark(Arc::clone(&story), Dice::new(seed, 100 + at), at, MARKERS))).collect();
    let sweeper = tokio::spawn(sweep(Arc::clone(&story), Dice::new(seed, 200)));
    let mut dice = Dice::new(seed, 0);
    for _ in 0..KILLS {
        tokio::time::sleep(Duration::from_millis(dice.roll(LIFE))).await;
        tokio::task::block_in_place(|| {
            server.kill();
            server.run();
        });
    }
    story.end();
    let mut told = Vec::new();
    for teller in tellers {
        told.extend(teller.await.expect("a teller ends well"));
    }
    let mut marked = std::collections::BTreeMap::new();
    for marker in markers {
        marked.extend(marker.await.expect("a marker ends well"));
    }
    let swept = sweeper.await.expect("the sweeper ends well");
    println!("{} triggers, {} marked items, {} swept items, {KILLS} kills", told.len(), marked.len(), swept.len());
    assert!(told.len() > KILLS && marked.len() > 10 && !swept.is_empty(), "too little was done to prove anything");
    audit::audit(&server, told, &marked, &swept).await;
}
