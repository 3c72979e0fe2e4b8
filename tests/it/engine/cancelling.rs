//! Cancellation: exact, at once, and counted.

use bellwire::engine::work::work;
use bellwire::model::run::RunStatus;
use bellwire::params;
use bellwire::store::Batch;
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
    assert_eq!(world.told("a").await.len(), 3, "W-CAN-10, W-DLY-12: of four runs, three spoke");
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

#[tokio::test]
async fn a_thousand_runs_are_cancelled_and_counted() {
    let world = waiting().await;
    let recipients: Vec<Value> = (0..1_000).map(|n| json!({"id": format!("u{n}")})).collect();
    let body = json!({"recipients": recipients, "cancellation_key": "many", "data": {"text": "x".repeat(1_000)}});
    world.trigger("one", body).await.unwrap();
    assert_eq!(cancel(&world, json!({"cancellation_key": "many"})).await, 1_000, "W-CAN-03");
    let (waiting, _) = world.core.store.job_backlog().await.unwrap();
    assert_eq!(waiting, 7, "W-CAN-13: the wake-ups of the others stay");
    assert_eq!(cancel(&world, json!({"cancellation_key": "many"})).await, 0, "W-CAN-08: none is stopped twice");
    world.pass(3_600).await;
    assert!(world.told("u0").await.is_empty() && world.told("u999").await.is_empty(), "W-CAN-10");
    assert_eq!(world.told("a").await.len(), 4, "W-CAN-05");
}

/// Where runs go on while they are cancelled: `first` from its first pause to its second, `last` from its second to its end.
#[tokio::test]
async fn runs_that_move_or_end_meanwhile_do_not_spoil_the_others() {
    let steps =
        json!([wait("long", "hours", 2), tell("middle", "middle"), wait("short", "hours", 1), tell("after", "after")]);
    let world = World::new(&[("one", document(steps))]).await;
    let trigger = async |user: &str| {
        world.trigger("one", json!({"recipients": [{"id": user}], "cancellation_key": "k"})).await.unwrap();
    };
    trigger("last").await;
    world.pass(7_200).await;
    trigger("still").await;
    world.pass(3_000).await;
    // Late by an hour and ten minutes: the worker is about to take them up.
    let job = async |user: &str| {
        let run = world.runs().await.into_iter().find(|run| run.recipient.id() == user).unwrap();
        let mut due = Batch::new();
        due.push("UPDATE jobs SET due_at = 0 WHERE subject = ?1", params![run.id]);
        world.core.store.apply(due).await.unwrap();
        let now = world.core.clock.now();
        world.core.store.claim_jobs("worker", now, now.plus_seconds(30), 1).await.unwrap().remove(0)
    };
    trigger("first").await;
    let (first, last) = (job("first").await, job("last").await);
    let going = async { tokio::try_join!(work(&world.core, &first), work(&world.core, &last)).unwrap() };
    let body = json!({"cancellation_key": "k"});
    let (_, stopped) = world.at_once(going, cancel(&world, body)).await;
    assert_eq!(stopped, 2, "W-CAN-03: one is over by then");
    assert_eq!(cancelled(&world).await, ["one:first", "one:still"], "W-CAN-08, W-CAN-09");
    assert_eq!(world.pass(86_400).await, 0, "W-CAN-13: no wake-up is left");
    assert_eq!(world.told("last").await, ["<p>middle</p>", "<p>after</p>"]);
    assert_eq!(world.told("first").await, ["<p>middle</p>"], "W-CAN-08: what was said stays said");
    assert!(world.told("still").await.is_empty(), "W-CAN-10");
}

#[tokio::test]
async fn the_job_of_a_run_that_was_not_stopped_stays() {
    let world = waiting().await;
    world.pass(3_600).await;
    let over = world.runs().await[0].id.to_string();
    let mut batch = Batch::new();
    batch.add_job("run", &over, world.core.clock.now());
    let number = batch.cancel_runs(&[over], world.core.clock.now());
    assert!(world.core.store.apply(batch).await.unwrap().rows(number).is_empty(), "W-CAN-08");
    assert_eq!(world.core.store.job_backlog().await.unwrap().0, 1);
}

#[tokio::test]
async fn a_worker_that_read_the_run_before_it_was_cancelled_changes_nothing() {
    let world = waiting().await;
    world.core.clock.advance_seconds(3_600);
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("worker", now, now.plus_seconds(30), 64).await.unwrap();
    let mut read: Vec<_> =
        world.runs().await.into_iter().filter(|run| run.cancellation_key.as_deref() == Some("k")).collect();
    read.retain(|run| run.workflow == "one");
    assert_eq!(cancel(&world, json!({"cancellation_key": "k"})).await, 2);
    for mut run in read {
        let job = jobs.iter().find(|job| job.subject == run.id.to_string()).unwrap();
        run.status = RunStatus::Completed;
        let (mut late, mut finished) = (Batch::new(), Batch::new());
        late.update_run(&run, now);
        finished.finish_job(job);
        for batch in [late, finished] {
            assert!(matches!(world.core.store.apply(batch).await, Err(bellwire::store::Error::Refused(0))), "W-CAN-10");
        }
        work(&world.core, job).await.expect("there is nothing to do");
    }
    assert_eq!(cancelled(&world).await, ["one:a", "one:b"], "W-CAN-10");
}
