//! Cancellation: exact, at once, and counted.

use bellwire::model::run::RunStatus;
use bellwire::verbs::Error;
use serde_json::{Value, json};

use crate::world::{World, document, record, tell, wait};

async fn waiting() -> World {
    let steps = || document(json!([wait("pause", "hours", 1), tell("after", "after")]));
    let world = World::new(&[("one", steps()), ("two", steps())]).await;
    for (workflow, key) in [("one", "k"), ("one", "other"), ("two", "k")] {
        let body = json!({"recipients": [{"id": "a"}, {"id": "b"}], "cancellation_key": key});
        world.trigger(workflow, body).await.unwrap();
    }
    world.trigger("one", json!({"recipients": ["a"]})).await.unwrap();
    world
}

async fn cancelled(world: &World) -> Vec<String> {
    let runs = world.runs().await;
    let stopped = runs.iter().filter(|run| run.status == RunStatus::Cancelled);
    let mut names: Vec<String> = stopped.map(|run| format!("{}:{}", run.workflow, run.recipient)).collect();
    names.sort();
    names
}

async fn cancel(world: &World, body: Value) -> usize {
    world.core.cancel(world.env, "one", &body).await.unwrap()
}

#[tokio::test]
async fn every_waiting_run_of_that_workflow_and_key_stops_and_no_other() {
    let world = waiting().await;
    assert_eq!(cancel(&world, json!({"cancellation_key": "k"})).await, 2, "W-CAN-03");
    assert_eq!(cancelled(&world).await, ["one:a", "one:b"], "W-CAN-05, W-CAN-06");
    world.pass(3_600).await;
    assert_eq!(world.told("a").await.len(), 3, "W-CAN-10: of four runs, three spoke");
    let stopped = world.runs().await.into_iter().find(|run| run.status == RunStatus::Cancelled).unwrap();
    assert_eq!(record(&stopped), ["delay_started", "run_cancelled"], "W-CAN-07, W-CAN-13");
}

#[tokio::test]
async fn named_recipients_narrow_a_cancellation() {
    let world = waiting().await;
    assert_eq!(cancel(&world, json!({"cancellation_key": "k", "recipients": ["b", "nobody"]})).await, 1, "W-CAN-04");
    assert_eq!(cancelled(&world).await, ["one:b"], "W-CAN-04");
}

#[tokio::test]
async fn what_is_over_stays_and_what_matches_nothing_is_no_fault() {
    let world = waiting().await;
    world.pass(3_600).await;
    assert_eq!(cancel(&world, json!({"cancellation_key": "k"})).await, 0, "W-CAN-08, W-CAN-11");
    assert!(cancelled(&world).await.is_empty(), "W-CAN-08");
    assert_eq!(
        cancel(&world, json!({"cancellation_key": "unknown", "recipients": null})).await,
        0,
        "W-CAN-11, W-AMB-11"
    );
    let unknown = world.core.cancel(world.env, "nope", &json!({"cancellation_key": "k"})).await;
    assert!(matches!(unknown, Err(Error::WorkflowMissing(_))), "W-AMB-11");
    let shapeless = world.core.cancel(world.env, "one", &json!({"recipients": ["a"]})).await;
    assert!(matches!(shapeless, Err(Error::Invalid(_))), "W-CAN-01");
}

#[tokio::test]
async fn a_cancellation_counts_as_soon_as_the_trigger_is_answered() {
    let world = World::new(&[("one", document(json!([wait("pause", "seconds", 1), tell("after", "after")])))]).await;
    world.trigger("one", json!({"recipients": [{"id": "u"}], "cancellation_key": "k"})).await.unwrap();
    assert_eq!(cancel(&world, json!({"cancellation_key": "k"})).await, 1, "W-CAN-12: it never misses");
    assert_eq!(world.pass(10).await, 0, "W-CAN-13: the wake-up is gone");
    assert!(world.told("u").await.is_empty(), "W-CAN-10");
}
