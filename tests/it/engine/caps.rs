//! Frequency caps under concurrency and crashes; their stories are in `scenarios/caps.yaml`.

use bellwire::engine::work::work;
use bellwire::model::cap::{Cap, Caps, Counter};
use bellwire::store::Batch;
use bellwire::store::caps::Passing;
use bellwire::verbs::Core;
use serde_json::{Value, json};

use crate::world::{World, at_noon, document, record, tell};

fn caps(limit: i64) -> Caps {
    let document = json!({"name": "Calm", "limit": limit, "per": "day", "overflow": {"workflow": "later"}});
    Caps::new(vec![Cap::parse("calm", &document).unwrap()])
}

/// Two workflows under one cap, and the one that it overflows into: a digest, hourly.
async fn world(limit: i64) -> World {
    let digest = json!({"type": "digest", "ref": "gather", "settings": {"digest_repeats": [{"frequency": "hourly"}],
        "digest_items_render_limit": 100}});
    let says = "{{ total_activities }}:{% for a in activities %} {{ a.n }}{% endfor %}";
    let world = World::new(&[
        ("one", document(json!([tell("tell", "{{ data.n }}")]))),
        ("two", document(json!([tell("tell", "{{ data.n }}")]))),
        ("later", document(json!([digest, tell("tell", says)]))),
        ("hello", document(json!([]))),
    ])
    .await;
    world.core.catalog.replace_caps(caps(limit));
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

async fn other(world: &World, limit: i64) -> Core {
    let other = world.other_node().await;
    other.catalog.replace_caps(caps(limit));
    other
}

fn for_ann(n: usize) -> Value {
    json!({"recipients": ["ann"], "data": {"n": n}})
}

/// Both have read the same number before either is committed, on two nodes, of two workflows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_never_pass_where_one_may() {
    for limit in [1, 2] {
        let world = world(limit).await;
        for n in 1..limit {
            world.trigger("one", for_ann(n as usize)).await.unwrap();
        }
        let other = other(&world, limit).await;
        let (one, two) =
            world.at_once(world.trigger("one", for_ann(8)), world.trigger_on(&other, "two", for_ann(9), None)).await;
        one.unwrap();
        two.unwrap();
        assert_eq!(world.feed("ann").await.len() as i64, limit, "as many as may");
        world.pass(3_600).await;
        let told = world.told("ann").await;
        let last = told.last().unwrap();
        assert!(last == "<p>1: 8</p>" || last == "<p>1: 9</p>", "{told:?}: and the other is not lost");
    }
}

/// Who reads a number before it changes is refused nothing, as long as there is room: the cap of many busy workflows would
/// keep them all trying.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_are_in_nobodys_way_where_both_may_pass() {
    let world = world(5).await;
    world.trigger("one", for_ann(1)).await.unwrap();
    let counter = Counter { cap: "calm".to_owned(), recipient: "ann".to_owned(), tenant: String::new() };
    let now = world.core.clock.now();
    let pass = async |seconds| {
        let at = now.plus_seconds(seconds);
        let mut batch = Batch::new();
        batch.pass_cap(world.env, &Passing { counter: &counter, at, over: None, limit: 3, until: at });
        world.core.store.apply(batch).await
    };
    pass(2).await.unwrap();
    // The clock was set back.
    pass(1).await.unwrap();
    assert!(matches!(pass(3).await, Err(bellwire::store::Error::Refused(0))), "as many as may have passed");
    let passed = world.core.store.passed(world.env, &counter).await.unwrap();
    assert_eq!(passed[1..], [now.plus_seconds(1), now.plus_seconds(2)]);
    let until = world.core.store.query_one("SELECT until FROM cap_counts", &[], |row| row.time(0)).await.unwrap();
    assert!(until.unwrap() > now.plus_seconds(86_400 / 2), "what lasts longest is kept");
}

/// Runs of one recipient that go on in one transaction.
#[tokio::test]
async fn runs_that_are_taken_on_together_count_each_other() {
    let world = world(2).await;
    let wait = crate::world::wait("wait", "minutes", 1);
    let slow = document(json!([wait, tell("tell", "{{ data.n }}")]));
    let channels = world.core.catalog.channels();
    let mut all: Vec<_> = world.core.catalog.workflows(world.env).iter().map(|one| one.source.clone()).collect();
    all[2] = slow;
    let keys = ["hello", "later", "one", "two"];
    let parse = |(key, document): (&str, &Value)| bellwire::model::workflow::Workflow::parse(key, document, channels);
    let workflows: Vec<_> = keys.into_iter().zip(&all).map(|pair| parse(pair).unwrap()).collect();
    let mut batch = Batch::new();
    for workflow in &workflows {
        batch.publish_workflow(world.env, &workflow.key, workflow.version_id, &workflow.source, world.core.clock.now());
    }
    world.core.store.apply(batch).await.unwrap();
    world.core.catalog.replace(workflows);
    for n in 0..6 {
        world.trigger("one", for_ann(n)).await.unwrap();
    }
    world.core.clock.advance_seconds(120);
    world.pass(0).await;
    let told = world.told("ann").await;
    assert_eq!(told.len(), 2, "{told:?}");
}

/// The worker that sends what waited for its window is overtaken by a trigger, or dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_triggers_on_two_nodes_pass_as_many_as_may_and_none_is_lost() {
    const MANY: usize = 60;
    let world = world(7).await;
    let second = other(&world, 7).await;
    let nodes = [&world.core, &second];
    let triggers = (0..MANY).map(|n| {
        let (node, workflow) = (nodes[n % 2], ["one", "two"][n / 2 % 2]);
        let world = &world;
        async move { world.trigger_on(node, workflow, for_ann(n), None).await.unwrap() }
    });
    futures_util::future::join_all(triggers).await;
    // A node takes up the overflow, and dies.
    let now = world.core.clock.now();
    let dead = world.core.store.claim_jobs("dead", now, now.plus_seconds(30), 64).await.unwrap();
    world.pass(31).await;
    for job in &dead {
        work(&world.core, job).await.unwrap();
    }
    world.pass(3_600).await;
    let messages = world.core.store.messages(world.env, &Default::default(), None, 1_000).await.unwrap();
    let (digests, sent): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.workflow == "later");
    assert_eq!(sent.len(), 7);
    assert_eq!(digests.iter().map(|message| message.total_activities).sum::<i64>(), MANY as i64 - 7);
    let runs = world.runs().await;
    let refused = runs.iter().filter(|run| record(run) == ["step_skipped:frequency_cap"]).count();
    assert_eq!(refused, MANY - 7, "each says so");
}

/// What waited for its window is sent by two workers, of two messages, where there is room for one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_are_sent_at_once_never_pass_where_one_may() {
    let world = World::new(&[
        ("one", document(json!([at_noon(tell("tell", "{{ data.n }}"))]))),
        ("hello", document(json!([]))),
    ])
    .await;
    let cap = || {
        let document = json!({"name": "Calm", "limit": 1, "per": "day"});
        Caps::new(vec![Cap::parse("calm", &document).unwrap()])
    };
    world.core.catalog.replace_caps(cap());
    let other = world.other_node().await;
    other.catalog.replace_caps(cap());
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world.trigger("one", for_ann(1)).await.unwrap();
    world.trigger("one", for_ann(2)).await.unwrap();
    world.core.clock.advance_seconds(2 * 3_600);
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("worker", now, now.plus_seconds(30), 64).await.unwrap();
    assert_eq!(jobs.len(), 2);
    let (one, two) = world.at_once(work(&world.core, &jobs[0]), work(&other, &jobs[1])).await;
    one.unwrap();
    two.unwrap();
    assert_eq!(world.feed("ann").await.len(), 1);
    let messages = world.core.store.messages(world.env, &Default::default(), None, 10).await.unwrap();
    let held = messages.iter().find(|message| message.feed.is_none()).unwrap();
    assert_eq!(held.status, "not_sent");
    let events = world.core.store.message_events(&held.id).await.unwrap();
    let event = events.iter().find(|event| event.name == "message.not_sent").unwrap();
    let said: Value = serde_json::from_str(event.data.as_deref().unwrap()).unwrap();
    assert_eq!(
        (&said["reason"], &said["cap"], &said["count"], &said["limit"]),
        (&json!("frequency_cap"), &json!("calm"), &json!(1), &json!(1))
    );
}

/// One row for each cap and recipient, which is forgotten once nothing of it counts.
#[tokio::test]
async fn what_counts_no_more_is_forgotten() {
    let world = world(3).await;
    for n in 0..5 {
        world.trigger("one", for_ann(n)).await.unwrap();
        world.core.clock.advance_seconds(86_400);
    }
    let counter = Counter { cap: "calm".to_owned(), recipient: "ann".to_owned(), tenant: String::new() };
    let remembered = async || world.core.store.passed(world.env, &counter).await.unwrap().len();
    assert_eq!(remembered().await, 1, "of days before nothing is kept");
    let forget = async || {
        let mut batch = Batch::new();
        batch.forget_caps(world.core.clock.now());
        world.core.store.apply(batch).await.unwrap();
    };
    forget().await;
    assert_eq!(remembered().await, 1);
    world.core.clock.advance_seconds(3 * 86_400);
    forget().await;
    assert_eq!(remembered().await, 0);
}
