//! Batches under concurrency and across versions; their stories are in `scenarios/batch.yaml`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bellwire::engine::work::{abandon, work};
use bellwire::model::message::Message;
use bellwire::model::run::RunStatus;
use bellwire::model::workflow::Workflow;
use bellwire::store::Batch;
use bellwire::store::jobs::Job;
use bellwire::verbs::Core;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value, json};

use crate::world::{World, document, record, tell};

/// What a message says of what has come together.
pub(super) const SAYS: &str = "{{ total_activities }}:{% for a in activities %} {{ a.n }}{% endfor %}";

/// A batch step called `gather`, a minute long unless the settings say otherwise, which shows a hundred.
fn gather(settings: Value) -> Value {
    let mut all = json!({"batch_window": {"unit": "minutes", "value": 1}, "batch_items_render_limit": 100,
        "workflow_version_mode": "latest"});
    all.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
    json!({"type": "batch", "ref": "gather", "settings": all})
}

fn gathered(settings: Value) -> Value {
    document(json!([gather(settings), tell("tell", SAYS)]))
}

pub(super) fn for_ann(n: usize) -> Value {
    json!({"recipients": ["ann"], "data": {"n": n}})
}

async fn world(settings: Value) -> World {
    let world = World::new(&[("calm", gathered(settings)), ("hello", document(json!([])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

/// The texts that Ann was told.
pub(super) async fn told(world: &World) -> Vec<String> {
    let told = world.told("ann").await;
    told.iter().map(|text| text.trim_start_matches("<p>").trim_end_matches("</p>").to_owned()).collect()
}

pub(super) async fn claim(world: &World, worker: &str) -> Vec<Job> {
    claim_for(world, worker, 30).await
}

pub(super) async fn claim_for(world: &World, worker: &str, seconds: i64) -> Vec<Job> {
    let now = world.core.clock.now();
    world.core.store.claim_jobs(worker, now, now.plus_seconds(seconds), 64).await.unwrap()
}

/// The numbers that a message tells of, in its order.
pub(super) fn numbers(message: &Message) -> Vec<usize> {
    let mut text = String::new();
    message.write_activities(&mut text, "null");
    let activities: Vec<Value> = serde_json::from_str(&text).unwrap();
    assert_eq!(activities.len() as i64, message.total_activities, "all are shown");
    activities.iter().map(|activity| activity["data"]["n"].as_u64().unwrap() as usize).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_open_one_batch() {
    let world = world(json!({})).await;
    let other = world.other_node().await;
    let (one, two) =
        world.at_once(world.trigger("calm", for_ann(1)), world.trigger_on(&other, "calm", for_ann(2), None)).await;
    one.unwrap();
    two.unwrap();
    world.pass(60).await;
    let told = told(&world).await;
    // Whichever was first.
    assert!(told == ["2: 1 2"] || told == ["2: 2 1"], "W-BAT-01 W-BAT-02: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_come_first_after_one_went_ahead_one_carries_the_batch() {
    let world = world(json!({"batch_execution_mode": "flush_leading"})).await;
    world.trigger("calm", for_ann(0)).await.unwrap();
    let other = world.other_node().await;
    let (one, two) =
        world.at_once(world.trigger("calm", for_ann(1)), world.trigger_on(&other, "calm", for_ann(2), None)).await;
    one.unwrap();
    two.unwrap();
    world.pass(60).await;
    let told = told(&world).await;
    assert!(told == ["1: 0", "2: 1 2"] || told == ["1: 0", "2: 2 1"], "W-BAT-42: {told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_take_the_last_place_one_opens_another_batch() {
    let world = world(json!({"batch_items_max_limit": 2})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    let other = world.other_node().await;
    let (one, two) =
        world.at_once(world.trigger("calm", for_ann(2)), world.trigger_on(&other, "calm", for_ann(3), None)).await;
    one.unwrap();
    two.unwrap();
    world.pass(0).await;
    // Whichever was first.
    let (full, next) = match told(&world).await == ["2: 1 3"] {
        true => ("2: 1 3", "1: 2"),
        false => ("2: 1 2", "1: 3"),
    };
    assert_eq!(told(&world).await, [full], "W-BAT-27");
    world.pass(60).await;
    assert_eq!(told(&world).await, [full, next], "W-BAT-27");
}

/// The worker has taken the job up, and finds that the window has moved on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_window_that_slides_while_its_end_is_worked_on_does_not_end() {
    let world = world(json!({"batch_window_type": "sliding"})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.clock.advance_seconds(50);
    world.trigger("calm", for_ann(2)).await.unwrap();
    // Due at the end as it was at first.
    world.core.clock.advance_seconds(15);
    let job = claim(&world, "worker").await.remove(0);
    let joins = world.trigger("calm", for_ann(3));
    let (joined, worked) = world.at_once(joins, work(&world.core, &job)).await;
    joined.unwrap();
    worked.unwrap();
    world.pass(59).await;
    assert!(told(&world).await.is_empty(), "W-BAT-18");
    world.pass(1).await;
    assert_eq!(told(&world).await, ["3: 1 2 3"], "W-BAT-18");
}

/// The run would have slept until the end as it was: what fills the batch meanwhile wakes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_filled_while_its_run_goes_back_to_sleep_closes_at_once() {
    let world = world(json!({"batch_window_type": "sliding", "batch_items_max_limit": 3})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.clock.advance_seconds(50);
    world.trigger("calm", for_ann(2)).await.unwrap();
    world.core.clock.advance_seconds(15);
    let job = claim(&world, "worker").await.remove(0);
    let fills = world.trigger("calm", for_ann(3));
    let (filled, worked) = world.at_once(fills, work(&world.core, &job)).await;
    filled.unwrap();
    worked.unwrap();
    world.pass(0).await;
    assert_eq!(told(&world).await, ["3: 1 2 3"], "W-BAT-27");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_and_the_end_of_the_window_come_one_after_the_other() {
    for cancel_is_first in [true, false] {
        let world = world(json!({})).await;
        world.trigger("calm", for_ann(1)).await.unwrap();
        let mut body = for_ann(2);
        body["cancellation_key"] = "k".into();
        world.trigger("calm", body).await.unwrap();
        // A node whose clock is late still takes it for open.
        let late = world.neighbour();
        let late = Core { clock: bellwire::clock::Clock::manual(world.core.clock.now()), ..late };
        world.core.clock.advance_seconds(60);
        let job = claim(&world, "worker").await.remove(0);
        let cancels = async { late.cancel(world.env, "calm", &json!({"cancellation_key": "k"})).await.unwrap() };
        let closes = async { work(&world.core, &job).await.unwrap() };
        let (stopped, expected) = if cancel_is_first {
            (world.at_once(cancels, closes).await.0, (1, "1: 1"))
        } else {
            (world.at_once(closes, cancels).await.1, (0, "2: 1 2"))
        };
        assert_eq!((stopped, told(&world).await), (expected.0, vec![expected.1.to_owned()]), "W-BAT-36 W-BAT-40");
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_takes_its_batch_along() {
    let world = world(json!({"batch_window_type": "sliding"})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.clock.advance_seconds(50);
    world.trigger("calm", for_ann(2)).await.unwrap();
    world.core.clock.advance_seconds(20);
    let job = claim(&world, "worker").await.remove(0);
    abandon(&world.core, &job, "it failed").await.unwrap();
    // The window would still be open, with nobody to carry on what joins.
    world.trigger("calm", for_ann(3)).await.unwrap();
    world.pass(60).await;
    assert_eq!(told(&world).await, ["1: 3"]);
}

/// Publishes a version of `calm` everywhere.
async fn publish(world: &World, document: &Value) -> Arc<Workflow> {
    world.core.clock.advance(1);
    let workflow = Workflow::parse("calm", document, world.core.catalog.channels()).unwrap();
    let mut batch = Batch::new();
    let now = world.core.clock.now();
    batch.publish_workflow(world.env, "calm", workflow.version_id, &workflow.source, now);
    world.core.store.apply(batch).await.unwrap();
    world.core.catalog.replace(vec![workflow]);
    world.core.catalog.workflow(world.env, "calm").unwrap()
}

#[tokio::test]
async fn in_latest_mode_a_batch_goes_on_across_versions_and_ends_in_the_newest_that_has_its_step() {
    let world = world(json!({})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    // The step stands elsewhere, and what follows it is another.
    let branch = json!({"type": "branch", "ref": "branch", "branches": [
        {"conditions": {"all": [{"variable": "data.n", "operator": "equal_to", "argument": "none"}]}, "steps": []},
        {"steps": [gather(json!({})), tell("other", "moved {{ total_activities }}")]}
    ]});
    let second = publish(&world, &document(json!([branch]))).await;
    world.trigger("calm", for_ann(2)).await.unwrap();
    // Neither is what it was: the step is pinned, or gone.
    publish(&world, &gathered(json!({"workflow_version_mode": "pinned"}))).await;
    publish(&world, &document(json!([tell("tell", "at once")]))).await;
    world.pass(60).await;
    assert_eq!(told(&world).await, ["moved 2"], "W-BAT-33");
    let carried = &world.runs().await[1];
    assert_eq!(carried.version_id, second.version_id, "W-BAT-33");
    assert_eq!(world.feed("ann").await[0].version_id, second.version_id.to_string(), "W-BAT-33");
    assert_eq!(record(carried), ["batch_opened", "batch_closed", "message_enqueued"]);
}

#[tokio::test]
async fn a_batch_whose_step_no_newer_version_has_ends_where_it_began() {
    let world = world(json!({})).await;
    world.trigger("calm", for_ann(1)).await.unwrap();
    publish(&world, &document(json!([tell("tell", "at once")]))).await;
    world.trigger("calm", for_ann(2)).await.unwrap();
    world.pass(60).await;
    assert_eq!(told(&world).await, ["at once", "1: 1"], "W-BAT-33");
}

#[tokio::test]
async fn in_pinned_mode_each_version_has_batches_of_its_own() {
    for mode in [json!("pinned"), json!(null)] {
        let world = world(json!({"workflow_version_mode": mode})).await;
        world.trigger("calm", for_ann(1)).await.unwrap();
        let next = document(json!([
            gather(json!({"workflow_version_mode": mode})),
            tell("tell", "next: {{ total_activities }}")
        ]));
        publish(&world, &next).await;
        world.trigger("calm", for_ann(2)).await.unwrap();
        world.trigger("calm", for_ann(3)).await.unwrap();
        world.pass(60).await;
        assert_eq!(told(&world).await, ["1: 1", "next: 2"], "W-BAT-34 W-BAT-35");
    }
}

#[tokio::test]
async fn an_archived_workflow_ends_its_batches() {
    let world = world(json!({})).await;
    let mut workflows = vec![gathered(json!({}))];
    world.trigger("calm", for_ann(1)).await.unwrap();
    world.core.catalog.replace(Vec::new());
    world.pass(60).await;
    assert!(told(&world).await.is_empty(), "W-ENV-11");
    publish(&world, &workflows.remove(0)).await;
    world.trigger("calm", for_ann(2)).await.unwrap();
    world.pass(60).await;
    assert_eq!(told(&world).await, ["1: 2"], "W-ENV-11");
}

/// W-BAT-32: the order in which they come is kept, whoever comes when.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_come_to_one_batch_from_two_nodes_while_it_closes_and_each_is_in_exactly_one() {
    const MANY: usize = 120;
    let short = json!({"unit": "seconds", "value": 0.02});
    for (name, settings, goes_ahead) in [
        ("fixed", json!({"batch_window": short}), false),
        ("full", json!({"batch_items_max_limit": 3}), false),
        ("pairs", json!({"batch_window": short, "batch_items_max_limit": 2}), false),
        (
            "sliding",
            json!({"batch_window": short, "batch_window_type": "sliding",
            "batch_window_extension_limit": {"unit": "seconds", "value": 0.05}}),
            false,
        ),
        ("leading", json!({"batch_window": short, "batch_execution_mode": "flush_leading"}), true),
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
                    let told = world.trigger_on(nodes[node], "calm", for_ann(n), None).await;
                    told.unwrap_or_else(|fault| panic!("{name}: {fault}"));
                }
            }
        };
        let works = |node: usize| {
            let (world, next) = (&world, &next);
            async move {
                while next.load(Ordering::Relaxed) < MANY {
                    for job in claim(world, &format!("worker-{node}")).await {
                        work(nodes[node], &job).await.unwrap();
                    }
                    tokio::task::yield_now().await;
                }
            }
        };
        let many = futures_util::future::join_all((0..16).map(|at| triggers(at % 2)));
        tokio::join!(many, works(0), works(1));
        world.pass(3_600).await;
        let messages = world.core.store.messages(world.env, &Default::default(), None, 1_000).await.unwrap();
        let mut all: Vec<usize> = messages.iter().flat_map(numbers).collect();
        all.sort_unstable();
        assert_eq!(all, (0..MANY).collect::<Vec<_>>(), "{name}: none is lost, none is told twice");
        let runs = world.runs().await;
        assert!(runs.iter().all(|run| run.status == RunStatus::Completed), "{name}");
        let closed = runs.iter().flat_map(record).filter(|event| event == "batch_closed").count();
        let led = if goes_ahead { messages.iter().filter(|message| message.batch.is_none()).count() } else { 0 };
        assert_eq!(messages.len(), closed + led, "{name}");
        assert!(messages.iter().any(|message| message.total_activities > 1), "{name}: some came together");
        if name == "full" {
            assert!(messages.iter().all(|message| message.total_activities <= 3), "W-BAT-27");
        }
    }
}

/// What may happen to batches.
#[derive(Debug, Clone)]
enum Act {
    /// Something comes, by its key and its cancellation key, on one of the nodes.
    Trigger {
        key: usize,
        cancels: usize,
        node: usize,
    },
    Cancel {
        cancels: usize,
        node: usize,
    },
    Pass {
        millis: i64,
    },
    /// A node does all that is due.
    Work {
        node: usize,
    },
    /// A node takes up all that is due, and dies before it commits.
    Crash,
}

#[derive(Debug, Clone)]
struct Kind {
    is_sliding: bool,
    cap: Option<i64>,
    most: Option<usize>,
    leads: bool,
}

impl Kind {
    fn settings(&self) -> Value {
        let mut settings = Map::from_iter([
            ("batch_window".to_owned(), json!({"unit": "seconds", "value": WINDOW / 1_000})),
            ("batch_key".to_owned(), json!("key")),
            ("batch_items_max_limit".to_owned(), json!(self.most)),
        ]);
        if self.is_sliding {
            settings.insert("batch_window_type".to_owned(), json!("sliding"));
        }
        if let Some(cap) = self.cap {
            settings
                .insert("batch_window_extension_limit".to_owned(), json!({"unit": "seconds", "value": cap / 1_000}));
        }
        if self.leads {
            settings.insert("batch_execution_mode".to_owned(), json!("flush_leading"));
        }
        settings.into()
    }
}

/// In milliseconds, as all times of the model.
const WINDOW: i64 = 10_000;
const LEASE: i64 = 30_000;

/// What batches are, told simply: everything happens at once and nobody dies.
#[derive(Debug, Default)]
struct Model {
    batches: Vec<Kept>,
    told: Vec<Vec<usize>>,
}

#[derive(Debug)]
struct Kept {
    key: usize,
    /// Numbers, with the keys that cancel them.
    activities: Vec<(usize, usize)>,
    closes_at: i64,
    cap_at: i64,
    /// The key that cancels the run which carries it on; none before there is one.
    carrier: Option<usize>,
    /// When its run is looked at next.
    due_at: i64,
    is_over: bool,
}

impl Model {
    fn trigger(&mut self, kind: &Kind, now: i64, n: usize, key: usize, cancels: usize) {
        let Some(open) = self.batches.iter_mut().find(|batch| batch.key == key && batch.closes_at > now) else {
            let (carrier, activities) = if kind.leads { (None, vec![]) } else { (Some(cancels), vec![(n, cancels)]) };
            if kind.leads {
                self.told.push(vec![n]);
            }
            let (closes_at, cap_at) = (now + WINDOW, now + kind.cap.unwrap_or(i64::MAX / 2));
            let due_at = closes_at;
            self.batches.push(Kept { key, activities, closes_at, cap_at, carrier, due_at, is_over: false });
            return;
        };
        open.activities.push((n, cancels));
        if kind.is_sliding {
            open.closes_at = (now + WINDOW).min(open.cap_at).max(now);
        }
        if kind.most.is_some_and(|most| open.activities.len() >= most) {
            open.closes_at = now;
        }
        if open.carrier.is_none() {
            open.carrier = Some(cancels);
            open.due_at = open.closes_at;
        }
        open.due_at = open.due_at.min(open.closes_at);
    }

    fn cancel(&mut self, now: i64, key: usize) -> usize {
        let mut stopped = 0;
        for batch in &mut self.batches {
            if batch.closes_at > now {
                let before = batch.activities.len();
                batch.activities.retain(|(_, cancels)| *cancels != key);
                stopped += before - batch.activities.len();
            } else if batch.carrier == Some(key) && !batch.is_over {
                batch.is_over = true;
                stopped += 1;
            }
        }
        stopped
    }

    fn due(&mut self, now: i64) -> impl Iterator<Item = &mut Kept> {
        self.batches.iter_mut().filter(move |batch| batch.carrier.is_some() && !batch.is_over && batch.due_at <= now)
    }

    fn work(&mut self, now: i64) {
        let mut told = Vec::new();
        for batch in self.due(now) {
            if batch.closes_at > now {
                batch.due_at = batch.closes_at;
                continue;
            }
            batch.is_over = true;
            if !batch.activities.is_empty() {
                told.push(batch.activities.iter().map(|(n, _)| *n).collect());
            }
        }
        self.told.extend(told);
    }

    fn crash(&mut self, now: i64) {
        self.due(now).for_each(|batch| batch.due_at = now + LEASE);
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0usize..2, 0usize..3, 0usize..2).prop_map(|(key, cancels, node)| Act::Trigger { key, cancels, node }),
        2 => (0usize..3, 0usize..2).prop_map(|(cancels, node)| Act::Cancel { cancels, node }),
        3 => (1i64..15_000).prop_map(|millis| Act::Pass { millis }),
        2 => (0usize..2).prop_map(|node| Act::Work { node }),
        1 => Just(Act::Crash),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    let cap = prop_oneof![Just(None), Just(Some(5_000)), Just(Some(25_000))];
    let most = prop_oneof![Just(None), (2usize..5).prop_map(Some)];
    (any::<bool>(), cap, most, any::<bool>()).prop_map(|(is_sliding, cap, most, leads)| Kind {
        is_sliding,
        cap: cap.filter(|_| is_sliding),
        most,
        leads,
    })
}

/// W-BAT-36 to W-BAT-43: batches never lose, double or reorder an activity under any interleaving of triggers,
/// cancellations, crashes and clock moves.
#[test]
fn whatever_happens_every_activity_is_told_once_and_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 48, failure_persistence: None, ..Config::default() });
    let stories = (kind(), proptest::collection::vec(act(), 1..40));
    let ran = runner.run(&stories, |(kind, acts)| runtime.block_on(play(kind, acts)));
    ran.unwrap_or_else(|fault| panic!("{fault}"));
}

async fn play(kind: Kind, acts: Vec<Act>) -> Result<(), TestCaseError> {
    let world = World::embedded(&[("calm", gathered(kind.settings())), ("hello", document(json!([])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    let other = world.neighbour();
    let nodes = [&world.core, &other];
    let mut model = Model::default();
    let millis = |world: &World| world.core.clock.now().micros() / 1_000;
    for (n, act) in acts.iter().enumerate() {
        match act {
            Act::Trigger { key, cancels, node } => {
                let body = json!({"recipients": ["ann"], "data": {"n": n, "key": format!("k{key}")},
                    "cancellation_key": format!("c{cancels}")});
                world.trigger_on(nodes[*node], "calm", body, None).await.unwrap();
                model.trigger(&kind, millis(&world), n, *key, *cancels);
            }
            Act::Cancel { cancels, node } => {
                let body = json!({"cancellation_key": format!("c{cancels}")});
                let stopped = nodes[*node].cancel(world.env, "calm", &body).await.unwrap();
                prop_assert_eq!(stopped, model.cancel(millis(&world), *cancels), "act {}", n);
            }
            Act::Pass { millis } => world.core.clock.advance(millis * 1_000),
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
    for _ in 0..3 {
        world.core.clock.advance(LEASE * 1_000 + WINDOW * 1_000);
        world.pass(0).await;
        model.work(millis(&world));
    }
    let mut told: Vec<Vec<usize>> = world
        .core
        .store
        .messages(world.env, &Default::default(), None, 1_000)
        .await
        .unwrap()
        .iter()
        .map(numbers)
        .collect();
    told.sort();
    model.told.sort();
    prop_assert_eq!(told, model.told);
    let unfinished: BTreeMap<_, _> =
        world.runs().await.iter().filter(|run| !run.status.is_final()).map(|run| (run.id, record(run))).collect();
    prop_assert!(unfinished.is_empty(), "{:?}", unfinished);
    prop_assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    Ok(())
}
