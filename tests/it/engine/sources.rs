//! Events of sources under concurrency; their stories are in `scenarios/`.

use bellwire::engine::work::{abandon, work};
use bellwire::model::source::{Event, Source, Sources};
use bellwire::store::Batch;
use bellwire::store::jobs::Job;
use bellwire::verbs::Core;
use bellwire::verbs::source::Taken;
use serde_json::{Map, Value, json};

use crate::world::{World, document, tell};

fn connect(core: &Core) {
    let shop = json!({"enforce_verification": false, "idempotency_key_path": "body.id", "mappings": [
        {"event": "paid", "action": "users_identify", "id": "body.who"},
        {"event": "paid", "action": "workflows_trigger", "workflow": "greet", "recipients": "body.who"}
    ]});
    core.catalog.replace_sources(Sources::new(vec![Source::parse("shop", &shop).unwrap()]));
}

async fn arrive(core: &Core, env: i64, body: Value) {
    let source = core.catalog.sources().get("shop").cloned().unwrap();
    core.take_event(env, &source, Event { body, headers: Map::new() }).await.unwrap();
}

/// A world at whose source the same event has arrived twice, and what is to be done about it.
async fn twice() -> (World, [Job; 2]) {
    let world = World::new(&[("greet", document(json!([tell("tell", "hello")])))]).await;
    connect(&world.core);
    for _ in 0..2 {
        arrive(&world.core, world.env, json!({"type": "paid", "id": "e1", "who": "ann"})).await;
    }
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    (world, jobs.try_into().unwrap())
}

/// W-SRC-05: both have seen that none was worked on before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_event_and_its_repetition_at_the_same_time_one_is_worked_on() {
    let (world, [first, second]) = twice().await;
    let other = world.neighbour();
    connect(&other);
    let (one, two) = world.at_once(work(&world.core, &first), work(&other, &second)).await;
    one.unwrap();
    two.unwrap();
    world.pass(31).await;
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "nothing is left to be done");
}

/// A world in which a run of `ann` waits for an event of the source.
async fn waiting() -> World {
    let event = json!({"event_type": "integration_source", "event_key": "paid", "integration_source_key": "shop"});
    let wait = json!({"type": "wait_for_event", "ref": "paid", "settings": {"event": event}});
    let greet = document(json!([tell("tell", "hello")]));
    let world = World::new(&[("greet", greet), ("wait", document(json!([wait])))]).await;
    connect(&world.core);
    world.trigger("wait", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

/// How many jobs tell a run of something.
async fn signals(world: &World) -> i64 {
    let sql = "SELECT count(*) FROM jobs WHERE kind = 'signal'";
    world.core.store.query_one(sql, &[], |row| row.int(0)).await.unwrap().unwrap()
}

/// W-SRC-05, W-SRC-08: both nodes have seen that nobody has taken the event, and one of them tells the run that waits.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_event_that_comes_twice_at_the_same_time_runs_are_told_once() {
    let (world, body) = (waiting().await, json!({"type": "paid", "id": "e1", "who": "ann", "userId": "ann"}));
    let other = world.neighbour();
    connect(&other);
    let first = arrive(&world.core, world.env, body.clone());
    world.at_once(first, arrive(&other, world.env, body.clone())).await;
    assert_eq!(signals(&world).await, 1);
    // One that comes while the first has been taken, and not worked on.
    arrive(&world.core, world.env, body.clone()).await;
    assert_eq!(signals(&world).await, 1);
    world.pass(3).await;
    assert_eq!(world.runs().await.len(), 2, "the one that waited, and one that the event has started");
    world.trigger("wait", json!({"recipients": ["ann"]})).await.unwrap();
    arrive(&world.core, world.env, body).await;
    assert_eq!(signals(&world).await, 0, "nor when all has been done");
}

/// W-SRC-05: where nothing is to be done about an event, all has been done when it is taken.
#[tokio::test]
async fn an_event_about_which_nothing_is_to_be_done_is_a_repetition_when_it_comes_again() {
    let world = waiting().await;
    let shop = json!({"enforce_verification": false, "idempotency_key_path": "body.id"});
    world.core.catalog.replace_sources(Sources::new(vec![Source::parse("shop", &shop).unwrap()]));
    let body = json!({"type": "paid", "id": "e1", "userId": "ann"});
    arrive(&world.core, world.env, body.clone()).await;
    arrive(&world.core, world.env, body.clone()).await;
    assert_eq!(signals(&world).await, 1);
    world.pass(0).await;
    world.trigger("wait", json!({"recipients": ["ann"]})).await.unwrap();
    arrive(&world.core, world.env, body.clone()).await;
    assert_eq!(world.pass(0).await, 0);
    // Nor is anything done, or waited for, when there is something to do since.
    connect(&world.core);
    arrive(&world.core, world.env, body).await;
    assert_eq!(world.pass(3).await, 0);
}

/// W-SRC-05: what makes the key an event's own is in the transaction that takes it, so that none is between the two when a
/// node dies.
#[tokio::test]
async fn an_event_that_is_taken_has_its_key() {
    let (world, [first, _]) = twice().await;
    let taken: Taken = serde_json::from_str(first.progress.as_deref().unwrap()).unwrap();
    let (known, now) = (taken.remembered_as().unwrap(), world.core.clock.now());
    let remembered = world.core.store.remembered(world.env, &known, now).await.unwrap();
    assert_eq!(remembered.map(|one| one.request_id), Some(first.subject));
}

/// W-SRC-05: whether an event is a repetition shows when the one before it has ended; if that comes to nothing it is none.
#[tokio::test]
async fn a_repetition_waits_for_what_becomes_of_the_first() {
    let (world, [first, second]) = twice().await;
    work(&world.core, &second).await.unwrap();
    assert_eq!(world.pass(3).await, 3, "it is looked at again each second");
    assert_eq!(world.runs().await.len(), 0);
    abandon(&world.core, &first, "it has failed too often").await.unwrap();
    world.pass(1).await;
    assert_eq!(world.runs().await.len(), 1);
}

/// An event that a dead worker has left in the middle goes on from there, and starts nothing twice.
#[tokio::test]
async fn whoever_takes_an_event_over_does_nothing_twice() {
    let (world, [first, second]) = twice().await;
    work(&world.core, &first).await.unwrap();
    assert_eq!(world.runs().await.len(), 1);
    // As it was before its first action, on another worker.
    let mut batch = Batch::new();
    batch.add_long_job(
        &first.kind,
        &first.subject,
        &serde_json::from_str(first.progress.as_deref().unwrap()).unwrap(),
        world.core.clock.now(),
    );
    world.core.store.apply(batch).await.unwrap();
    world.pass(0).await;
    work(&world.core, &second).await.unwrap();
    world.pass(0).await;
    assert_eq!(world.runs().await.len(), 1, "W-SRC-05");
}
