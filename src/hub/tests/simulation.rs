//! The hub, the bus and their clients in a world that a seed turns: everything that may happen between a change and the last
//! client that learns of it, in thousands of orders, with no database, no network and no clock.

mod clients;
mod database;
mod dice;
mod stage;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Tools, World};

/// Seeds that are tried each time.
const SEEDS: u64 = 3_000;

/// Lives through one seed; what went wrong, if anything did, and what happened if that is wanted.
fn live(tools: &Tools, seed: u64, is_traced: bool) -> (Result<(), String>, Vec<String>) {
    let mut world = World::new(tools, seed, is_traced);
    let end = catch_unwind(AssertUnwindSafe(|| world.run()));
    let end = end.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
        Err(format!("it panics: {}", said.unwrap_or("without a word")))
    });
    (end, world.trace())
}

#[test]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "seeds may be given, and are printed")]
fn whatever_happens_everybody_learns_the_truth() {
    let given = |name: &str| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let first = given("SIM_SEED");
    let seeds = given("SIM_SEEDS").unwrap_or(if first.is_some() { 1 } else { SEEDS });
    let first = first.unwrap_or(1);
    let tools = Tools::new();
    let mut failed = Vec::new();
    for seed in first..first + seeds {
        if let (Err(fault), _) = live(&tools, seed, false) {
            println!("SIM_SEED={seed}: {fault}");
            failed.push(seed);
            if failed.len() >= 20 {
                break;
            }
        }
    }
    if let Some(seed) = failed.first() {
        let (end, trace) = live(&tools, *seed, true);
        trace.iter().for_each(|line| println!("{line}"));
        panic!("SIM_SEED={seed} fails: {end:?}; {failed:?}");
    }
}
