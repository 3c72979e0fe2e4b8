//! Digests under concurrency and crashes; their stories are in `scenarios/digest.yaml`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwire::engine::work::{abandon, work};
use bellwire::model::mark::Mark;
use bellwire::verbs::identify::Profile;
use bellwire::verbs::mark::Reach;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::batches::{SAYS, claim, claim_for, for_ann, numbers, told};
use crate::world::{World, document, record, tell};

const HOUR: i64 = 3_600;

/// A digest step called `gather`, hourly on the hour unless the settings say otherwise, which shows a hundred.
fn gather(settings: Value) -> Value {
    let mut all = json!({"digest_repeats": [{"frequency": "hourly"}], "digest_items_render_limit": 100});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    json!({"type": "digest", "ref": "gather", "settings": all})
}

async fn world(settings: Value) -> World {
    let world = World::new(&[
        ("calm", document(json!([gather(settings), tell("tell", SAYS)]))),
        ("hello", document(json!([]))),
    ])
    .await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_open_one_digest() {
    let world = world(json!({})).await;
    let other = world.other_node().await;
    let (one, two) =
        world.at_once(world.trigger("calm", for_ann(1)), world.trigger_on(&other, "calm", for_ann(2), None)).await;
    one.unwrap();
    two.unwrap();
    world.pass(HOUR).await;
    let told = told(&world).await;
    // Whichever was first.
    assert!(told == ["2: 1 2"] || told == ["2: 2 1"], "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_as_a_digest_closes_is_in_it_or_in_the_next() {
    for joins_first in [true, false] {
        let world = world(json!({})).await;
        world.trigger("calm", for_ann(1)).await.unwrap();
        world.core.clock.advance_seconds(HOUR);
        let job = claim(&world, "worker").await.remove(0);
        let other = world.other_node().await;
        let joins = async { world.trigger_on(&other, "calm", for_ann(2), None).await.map(drop).unwrap() };
        let closes = async { work(&world.core, &job).await.unwrap() };
        match joins_first {
            true => world.at_once(joins, closes).await,
            false => world.at_once(closes, joins).await,
        };
        world.pass(HOUR).await;
        let expected: &[&str] = if joins_first { &["2: 1 2"] } else { &["1: 1", "1: 2"] };
        assert_eq!(told(&world).await, expected);
    }
}

/// The run decides to stay open for want of activities, while the one that makes them enough comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_gets_enough_while_it_is_held_for_want_of_it_is_told() {
    let world = world(json!({"digest_items_min_limit": 2, "digest_hold_limit": 5})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.clock.advance_seconds(HOUR);
    let job = claim(&world, "worker").await.remove(0);
    let joins = async { world.trigger("calm", for_ann(2)).await.map(drop).unwrap() };
    world.at_once(joins, async { work(&world.core, &job).await.unwrap() }).await;
    assert_eq!(told(&world).await, ["2: 1 2"], "what was decided rests on what was read before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_digest_that_is_filled_while_it_is_held_closes_at_once() {
    let world = world(json!({"digest_items_min_limit": 3, "digest_items_max_limit": 3})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.trigger("calm", for_ann(2)).await.unwrap();
    world.core.clock.advance_seconds(HOUR);
    let job = claim(&world, "worker").await.remove(0);
    let holds = async { work(&world.core, &job).await.unwrap() };
    let fills = async { world.trigger("calm", for_ann(3)).await.map(drop).unwrap() };
    world.at_once(holds, fills).await;
    world.pass(0).await;
    assert_eq!(told(&world).await, ["3: 1 2 3"]);
}

#[tokio::test]
async fn a_node_that_dies_as_a_digest_closes_leaves_it_to_another_once() {
    let world = world(json!({})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.clock.advance_seconds(HOUR);
    let dead = claim(&world, "dead").await.remove(0);
    world.trigger("calm", for_ann(2)).await.unwrap();
    assert!(told(&world).await.is_empty());
    world.pass(30).await;
    assert_eq!(told(&world).await, ["2: 1 2"]);
    // It was not dead, only slow.
    work(&world.core, &dead).await.unwrap();
    world.pass(2 * HOUR).await;
    assert_eq!(told(&world).await, ["2: 1 2"]);
}

/// Nine o'clock in Berlin is looked at while the recipient's zone changes to one where it is an hour earlier.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_changes_while_the_time_is_worked_on_counts() {
    let daily = json!({"digest_repeats": [{"frequency": "daily", "hours": 9}], "digest_items_min_limit": 2});
    for changes_first in [true, false] {
        let world = world(daily.clone()).await;
        let moves = |zone: &'static str| {
            let world = &world;
            async move {
                let profile = Profile::parse(json!({"timezone": zone}).as_object().unwrap(), "user").unwrap();
                world.core.identify_user(world.env, "ann", &profile).await.unwrap();
            }
        };
        moves("Europe/Berlin").await;
        world.trigger("calm", for_ann(1)).await.unwrap();
        // Tuesday, 07:00 in UTC.
        world.core.clock.advance_seconds(21 * HOUR);
        let job = claim(&world, "worker").await.remove(0);
        let looks = async { work(&world.core, &job).await.unwrap() };
        match changes_first {
            true => world.at_once(moves("Europe/London"), looks).await,
            false => world.at_once(looks, moves("Europe/London")).await,
        };
        world.pass(0).await;
        let record = record(&world.runs().await[1]);
        let expected: &[&str] = match changes_first {
            // Nine in London is still to come: this one is none.
            true => &["digest_opened", "digest_moved"],
            // It was held at nine in Berlin, and next is looked at at nine in London.
            false => &["digest_opened", "digest_held", "digest_moved"],
        };
        assert_eq!(record, expected);
        let next = world.core.store.next_job_at().await.unwrap().unwrap();
        assert_eq!(next.to_string(), "2026-09-22T08:00:00.000000Z");
    }
}

/// A digest is opened while the recipient's zone changes to one where nine o'clock is later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_changes_while_a_digest_is_opened_counts() {
    for changes_first in [true, false] {
        let world = world(json!({"digest_repeats": [{"frequency": "daily", "hours": 9}]})).await;
        let moves = async |zone: &'static str| {
            let profile = Profile::parse(json!({"timezone": zone}).as_object().unwrap(), "user").unwrap();
            world.core.identify_user(world.env, "ann", &profile).await.unwrap();
        };
        moves("Europe/Berlin").await;
        let opens = async { world.trigger("calm", for_ann(1)).await.map(drop).unwrap() };
        match changes_first {
            true => world.at_once(moves("Europe/London"), opens).await,
            false => world.at_once(opens, moves("Europe/London")).await,
        };
        world.pass(0).await;
        let next = world.core.store.next_job_at().await.unwrap().unwrap();
        assert_eq!(next.to_string(), "2026-09-22T08:00:00.000000Z", "nine in London ({changes_first})");
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_takes_its_digest_along() {
    let world = world(json!({"digest_items_min_limit": 2})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.clock.advance_seconds(HOUR);
    let job = claim(&world, "worker").await.remove(0);
    abandon(&world.core, &job, "it failed").await.unwrap();
    world.trigger("calm", for_ann(2)).await.unwrap();
    world.trigger("calm", for_ann(3)).await.unwrap();
    world.pass(HOUR).await;
    assert_eq!(told(&world).await, ["2: 2 3"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_come_to_one_digest_from_two_nodes_while_it_closes_and_each_is_in_exactly_one() {
    const MANY: usize = 96;
    for (name, settings) in [
        ("plain", json!({})),
        ("full", json!({"digest_items_max_limit": 3})),
        ("held", json!({"digest_items_min_limit": 8, "digest_hold_limit": 3})),
    ] {
        let world = world(settings).await;
        let other = world.other_node().await;
        let nodes = [&world.core, &other];
        let next = AtomicUsize::new(0);
        let triggers = |node: usize| {
            let (world, next) = (&world, &next);
            async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= MANY {
                        return;
                    }
                    // Some ten of them an hour.
                    world.core.clock.advance_seconds(360);
                    let told = world.trigger_on(nodes[node], "calm", for_ann(n), None).await;
                    told.unwrap_or_else(|fault| panic!("{name}: {fault}"));
                }
            }
        };
        let works = |node: usize| {
            let (world, next) = (&world, &next);
            async move {
                while next.load(Ordering::Relaxed) < MANY {
                    // The clock runs faster than anybody works: no claim runs out meanwhile.
                    for job in claim_for(world, &format!("worker-{node}"), 100 * HOUR).await {
                        work(nodes[node], &job).await.unwrap();
                    }
                    tokio::task::yield_now().await;
                }
            }
        };
        let many = futures_util::future::join_all((0..16).map(|at| triggers(at % 2)));
        tokio::join!(many, works(0), works(1));
        world.pass(10 * HOUR).await;
        let messages = world.core.store.messages(world.env, &Default::default(), None, 1_000).await.unwrap();
        let mut all: Vec<usize> = messages.iter().flat_map(numbers).collect();
        all.sort_unstable();
        assert_eq!(all, (0..MANY).collect::<Vec<_>>(), "{name}: none is lost, none is told twice");
        let runs = world.runs().await;
        assert!(runs.iter().all(|run| run.status.is_final()), "{name}");
        let closed = runs.iter().flat_map(record).filter(|event| event == "digest_closed").count();
        assert_eq!(messages.len(), closed, "{name}");
        assert!(messages.iter().any(|message| message.total_activities > 1), "{name}: some came together");
    }
}

/// What may happen to a digest of what is unread.
#[derive(Debug, Clone)]
enum Act {
    Trigger {
        cancels: usize,
        node: usize,
    },
    Cancel {
        cancels: usize,
        node: usize,
    },
    /// Marks an item, or takes the mark back.
    Mark {
        item: usize,
        is_read: bool,
    },
    Pass {
        minutes: i64,
    },
    Work {
        node: usize,
    },
    /// A node takes up all that is due, and dies before it commits.
    Crash,
}

/// What digests are, told simply: everything happens at once and nobody dies.
#[derive(Debug)]
struct Model {
    least: usize,
    limit: i64,
    drops: bool,
    read: BTreeMap<usize, bool>,
    open: Option<Open>,
    told: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Open {
    /// Numbers, with the keys that cancel them.
    activities: Vec<(usize, usize)>,
    since: i64,
    held: i64,
    /// A dead node's claim on it.
    free_at: i64,
}

impl Model {
    fn trigger(&mut self, now: i64, n: usize, cancels: usize) {
        let open =
            self.open.get_or_insert_with(|| Open { activities: Vec::new(), since: now, held: 0, free_at: i64::MIN });
        open.activities.push((n, cancels));
    }

    fn cancel(&mut self, key: usize) -> usize {
        let Some(open) = &mut self.open else { return 0 };
        let before = open.activities.len();
        open.activities.retain(|(_, cancels)| *cancels != key);
        before - open.activities.len()
    }

    fn is_due(open: &Open, now: i64) -> bool {
        now.div_euclid(HOUR * 1_000) > open.since.div_euclid(HOUR * 1_000) && open.free_at <= now
    }

    fn work(&mut self, now: i64) {
        let Some(open) = self.open.as_mut().filter(|open| Model::is_due(open, now)) else { return };
        let is_read = |n: &usize| self.read.get(n).copied().unwrap_or_default();
        let counted: Vec<usize> = open.activities.iter().map(|(n, _)| *n).filter(|n| !is_read(n)).collect();
        let is_few = counted.len() < self.least;
        if is_few && !counted.is_empty() && open.held < self.limit {
            (open.since, open.held) = (now, open.held + 1);
            return;
        }
        self.open = None;
        if !(counted.is_empty() || is_few && self.drops) {
            self.told.push(counted);
        }
    }

    fn crash(&mut self, now: i64) {
        if let Some(open) = self.open.as_mut().filter(|open| Model::is_due(open, now)) {
            open.free_at = now + 30_000;
        }
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0usize..3, 0usize..2).prop_map(|(cancels, node)| Act::Trigger { cancels, node }),
        2 => (0usize..3, 0usize..2).prop_map(|(cancels, node)| Act::Cancel { cancels, node }),
        3 => (0usize..40, any::<bool>()).prop_map(|(item, is_read)| Act::Mark { item, is_read }),
        4 => (1i64..80).prop_map(|minutes| Act::Pass { minutes }),
        3 => (0usize..2).prop_map(|node| Act::Work { node }),
        1 => Just(Act::Crash),
    ]
}

/// Digests never lose, double or reorder an activity, nor tell of what was read, under any interleaving of triggers, marks,
/// cancellations, crashes and clock moves.
#[test]
fn whatever_happens_what_is_unread_is_told_once_and_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let stories = (2usize..4, 0i64..3, any::<bool>(), proptest::collection::vec(act(), 1..40));
    let ran = runner.run(&stories, |(least, limit, drops, acts)| runtime.block_on(play(least, limit, drops, acts)));
    ran.unwrap_or_else(|fault| panic!("{fault}"));
}

async fn play(least: usize, limit: i64, drops: bool, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let settings = json!({"digest_items_counted": "unread", "digest_items_min_limit": least, "digest_hold_limit": limit,
        "digest_hold_limit_action": if drops { "drop" } else { "send" }});
    let steps = json!([tell("bell", "{{ data.n }}"), gather(settings), tell("tell", SAYS)]);
    let world = World::embedded(&[("calm", document(steps)), ("hello", document(json!([])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    let other = world.neighbour();
    let nodes = [&world.core, &other];
    let read = BTreeMap::new();
    let mut model = Model { least, limit, drops, read, open: None, told: Vec::new() };
    let millis = |world: &World| world.core.clock.now().micros() / 1_000;
    // The items in the order in which they came, with their numbers.
    let mut items: Vec<(usize, String)> = Vec::new();
    for (n, act) in acts.iter().enumerate() {
        match act {
            Act::Trigger { cancels, node } => {
                let body = json!({"recipients": ["ann"], "data": {"n": n}, "cancellation_key": format!("c{cancels}")});
                world.trigger_on(nodes[*node], "calm", body, None).await.unwrap();
                items.push((n, world.feed("ann").await[0].id.clone()));
                model.trigger(millis(&world), n, *cancels);
            }
            Act::Cancel { cancels, node } => {
                let body = json!({"cancellation_key": format!("c{cancels}")});
                let stopped = nodes[*node].cancel(world.env, "calm", &body).await.unwrap();
                prop_assert_eq!(stopped, model.cancel(*cancels), "act {}", n);
            }
            Act::Mark { item, is_read } => {
                let Some((number, id)) = items.get(item % items.len().max(1)) else { continue };
                let mark: Mark = if *is_read { "read" } else { "unread" }.parse().unwrap();
                world.core.mark(world.env, std::slice::from_ref(id), mark, None, &Reach::default()).await.unwrap();
                model.read.insert(*number, *is_read);
            }
            Act::Pass { minutes } => world.core.clock.advance_seconds(minutes * 60),
            Act::Work { node } => {
                for job in claim(&world, "worker").await {
                    work(nodes[*node], &job).await.unwrap();
                }
                model.work(millis(&world));
            }
            Act::Crash => {
                claim(&world, "dead").await;
                model.crash(millis(&world));
            }
        }
    }
    // Everything comes to its end.
    for _ in 0..5 {
        world.core.clock.advance_seconds(HOUR);
        for job in claim(&world, "worker").await {
            work(&world.core, &job).await.unwrap();
        }
        model.work(millis(&world));
    }
    let messages = world.core.store.messages(world.env, &Default::default(), None, 1_000).await.unwrap();
    let mut told: Vec<Vec<usize>> = messages.iter().filter(|message| message.step_ref == "tell").map(numbers).collect();
    told.sort();
    model.told.sort();
    prop_assert_eq!(told, model.told);
    let unfinished: BTreeMap<_, _> =
        world.runs().await.iter().filter(|run| !run.status.is_final()).map(|run| (run.id, record(run))).collect();
    prop_assert!(unfinished.is_empty(), "{:?}", unfinished);
    prop_assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    Ok(())
}
