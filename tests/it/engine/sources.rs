//! Events of sources under concurrency; their stories are in `scenarios/`.

use bellwire::engine::work::{abandon, work};
use bellwire::model::source::{Event, Source, Sources};
use bellwire::store::Batch;
use bellwire::store::idempotency::Remembered;
use bellwire::store::jobs::Job;
use bellwire::verbs::Core;
use bellwire::verbs::source::Taken;
use serde_json::{Map, json};

use crate::world::{World, document, tell};

fn connect(core: &Core) {
    let shop = json!({"enforce_verification": false, "idempotency_key_path": "body.id", "mappings": [
        {"event": "paid", "action": "users_identify", "id": "body.who"},
        {"event": "paid", "action": "workflows_trigger", "workflow": "greet", "recipients": "body.who"}
    ]});
    core.catalog.replace_sources(Sources::new(vec![Source::parse("shop", &shop).unwrap()]));
}

/// A world at whose source the same event has arrived twice, and what is to be done about it.
async fn twice() -> (World, [Job; 2]) {
    let world = World::new(&[("greet", document(json!([tell("tell", "hello")])))]).await;
    connect(&world.core);
    let source = world.core.catalog.sources().get("shop").cloned().unwrap();
    for _ in 0..2 {
        let event = Event { body: json!({"type": "paid", "id": "e1", "who": "ann"}), headers: Map::new() };
        world.core.take_event(world.env, &source, event).await.unwrap();
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

/// W-SRC-05: whether an event is a repetition shows when the one before it has ended; if that comes to nothing it is none.
#[tokio::test]
async fn a_repetition_waits_for_what_becomes_of_the_first() {
    let (world, [first, second]) = twice().await;
    let taken: Taken = serde_json::from_str(first.progress.as_deref().unwrap()).unwrap();
    let begun = Remembered {
        fingerprint: String::new(),
        response: String::new(),
        request_id: first.subject.clone(),
        created_at: world.core.clock.now(),
    };
    let mut batch = Batch::new();
    batch.remember(world.env, &taken.remembered_as().unwrap(), &begun);
    world.core.store.apply(batch).await.unwrap();
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
