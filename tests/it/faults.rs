//! Two nodes, PostgreSQL and Redis, each of which dies, freezes and comes back under load, as do the wires between them
//! and the clocks; and clients who notice if anything of what they were told is lost, doubled or out of order.

mod audit;
mod bell;
mod clocks;
mod fault;
mod town;
mod writers;

use std::collections::BTreeMap;
use std::time::Duration;

use uuid::Uuid;

use crate::crash::Dice;
use audit::{everything_has_come, until_all_are_whole};
use bell::Bell;
use fault::Fault;
use town::{Bus, Town};
use writers::Writers;

/// Every fault once, in an order that the seed gives; `FAULT_ROUNDS` has the whole done as often, `FAULT_SEED` repeats one,
/// `FAULT_ONLY` names the one that is wanted, and `FAULT_FREEZE` says for how many seconds a node stands still (20). Required: no item is lost, doubled or out of
/// order for any client, and every badge is right within the sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_out_of_order_whatever_dies() {
    endure(Town::found(Bus::One).await, &Fault::ALL).await;
}

/// The same where the bus is a Cluster. Nobody sweeps here: who has missed news has to find out by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_doubled_or_out_of_order_when_a_cluster_changes() {
    endure(Town::found(Bus::Cluster).await, &Fault::OF_A_CLUSTER).await;
}

/// Has a town suffer each of the faults, as often as the environment says.
#[allow(clippy::disallowed_macros, reason = "the seed is printed, and what was measured")]
async fn endure(mut town: Town, faults: &[Fault]) {
    let seed = number("FAULT_SEED").unwrap_or_else(|| Uuid::new_v4().as_u64_pair().0);
    let only = given("FAULT_ONLY");
    let is_wanted = |fault: &Fault| only.as_ref().is_none_or(|name| *name == format!("{fault:?}"));
    println!("FAULT_SEED={seed}");
    let mut dice = Dice::new(seed, 0);
    let bells = town.bells(&mut dice);
    let writers = Writers::begin(&town, &dice);
    let mut slowest: BTreeMap<Fault, Duration> = BTreeMap::new();
    for round in 1..=number("FAULT_ROUNDS").unwrap_or(1) {
        let mut left: Vec<Fault> = faults.iter().copied().filter(is_wanted).collect();
        while !left.is_empty() {
            let fault = left.swap_remove(dice.roll(0..left.len() as u64) as usize);
            tokio::time::sleep(Duration::from_millis(dice.roll(200..700))).await;
            println!("{fault:?}");
            town.suffer(fault, &mut dice, &writers).await;
            let took = until_all_are_whole(&town, &bells, &writers).await;
            let slowest = slowest.entry(fault).or_default();
            *slowest = took.max(*slowest);
            town.mend(fault);
            town.until_items_flow().await;
            bells.iter().for_each(Bell::go_home);
            writers.go_on();
        }
        writers.pause().await;
        everything_has_come(&town, &bells, &writers).await;
        println!("round {round}: {} items told so far, to {} bells", writers.items(), bells.len());
        writers.go_on();
    }
    for (fault, took) in slowest {
        println!("{fault:?}: all were whole within {took:?}");
    }
    writers.stop().await;
}

/// A variable of the environment.
#[allow(clippy::disallowed_methods, reason = "the seed may be given")]
fn given(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn number(name: &str) -> Option<u64> {
    given(name)?.parse().ok()
}

/// W-ENV-05: what one node was told about a workflow, the others know with the sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_that_is_switched_off_on_one_node_is_off_on_all() {
    let town = Town::found(Bus::One).await;
    for (is_active, expected) in [(false, 422), (true, 200)] {
        town.switch("note", is_active).await;
        town.until_all_answer(expected).await;
    }
}
