//! Jobs that were given up: what they were about says so.

use bellwire::engine::work::{abandon, work};
use bellwire::model::run::{EventStatus, RunStatus};
use bellwire::store::Batch;
use bellwire::store::jobs::Job;
use bellwire::verbs::bulk::Spec;
use serde_json::json;

use crate::world::{CHANNEL, World, at_noon, document, record, tell, wait};

impl World {
    /// The only job, claimed.
    async fn job(&self) -> Job {
        let now = self.core.clock.now();
        let mut jobs = self.core.store.claim_jobs("worker", now, now.plus_seconds(30), 2).await.unwrap();
        assert_eq!(jobs.len(), 1, "one job was expected");
        jobs.remove(0)
    }
}

async fn waiting() -> World {
    let world = World::new(&[("greet", document(json!([wait("pause", "hours", 1), tell("after", "after")])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "cancellation_key": "k"})).await.unwrap();
    world.core.clock.advance_seconds(3_600);
    world
}

#[tokio::test]
async fn a_run_whose_job_is_given_up_ends_with_an_error_that_says_why() {
    let world = waiting().await;
    let job = world.job().await;
    abandon(&world.core, &job, "the disk was full").await.unwrap();
    let run = world.run().await;
    assert_eq!((run.status, run.error_count()), (RunStatus::Completed, 1), "W-RUN-09, W-RUN-14");
    assert_eq!(record(&run), ["delay_started", "run_halted:gave_up"], "W-AMB-12");
    assert_eq!(run.events[1].status, EventStatus::Error, "W-RUN-12");
    assert_eq!(run.events[1].data.as_ref().unwrap()["error"], "the disk was full");
    assert_eq!(world.core.store.job_backlog().await.unwrap().0, 0, "and its job is gone");
    assert!(world.told("u").await.is_empty());
}

#[tokio::test]
async fn a_run_that_was_cancelled_meanwhile_stays_cancelled() {
    let world = waiting().await;
    let job = world.job().await;
    let cancel = json!({"cancellation_key": "k"});
    assert_eq!(world.core.cancel(world.env, "greet", &cancel).await.unwrap(), 1);
    abandon(&world.core, &job, "too late").await.unwrap();
    let run = world.run().await;
    assert_eq!((run.status, record(&run).len()), (RunStatus::Cancelled, 2), "W-CAN-10");
}

#[tokio::test]
async fn a_job_about_a_run_that_cannot_be_read_is_given_up_all_the_same() {
    let world = waiting().await;
    let job = world.job().await;
    let mut batch = Batch::new();
    batch.push("UPDATE runs SET state = 'torn'", Vec::new());
    world.core.store.apply(batch).await.unwrap();
    assert!(work(&world.core, &job).await.is_err());
    abandon(&world.core, &job, "it cannot be read").await.unwrap();
    assert_eq!(world.core.store.job_backlog().await.unwrap().0, 0);
}

#[tokio::test]
async fn a_bulk_operation_whose_job_is_given_up_has_failed() {
    let world = World::new(&[]).await;
    let spec: Spec = serde_json::from_value(json!({"action": "read", "channel": CHANNEL})).unwrap();
    let operation = world.core.start_bulk(world.env, spec).await.unwrap();
    let job = world.job().await;
    abandon(&world.core, &job, "the disk was full").await.unwrap();
    let failed = world.core.store.bulk_operation(&operation.id.to_string()).await.unwrap().unwrap();
    assert_eq!(failed.status, "failed", "F-BLK-03");
    assert_eq!((failed.failed_at, failed.completed_at), (Some(world.core.clock.now()), None), "F-BLK-03");
    assert_eq!(failed.error_items[0]["reason"], "the disk was full", "F-BLK-03");
    assert_eq!(world.core.store.job_backlog().await.unwrap().0, 0);
}

#[tokio::test]
async fn a_message_whose_sending_is_given_up_says_so_and_waits_no_more() {
    let world = World::new(&[("greet", document(json!([at_noon(tell("tell", "hello"))])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    world.core.clock.advance_seconds(2 * 3_600);
    let job = world.job().await;
    abandon(&world.core, &job, "the disk was full").await.unwrap();
    let messages = world.core.store.messages(world.env, &Default::default(), None, 10).await.unwrap();
    assert_eq!((messages.len(), messages[0].status.as_str()), (1, "not_sent"));
    let events = world.core.store.message_events(&messages[0].id).await.unwrap();
    let event = events.iter().find(|event| event.name == "message.not_sent").unwrap();
    let said: serde_json::Value = serde_json::from_str(event.data.as_deref().unwrap()).unwrap();
    assert_eq!(said, json!({"reason": "gave_up", "error": "the disk was full"}));
    assert_eq!(world.core.store.job_backlog().await.unwrap().0, 0);
}

#[tokio::test]
async fn a_job_of_a_kind_nobody_knows_is_given_up_too() {
    let world = World::new(&[]).await;
    let mut batch = Batch::new();
    batch.add_job("unknown", "x", world.core.clock.now());
    world.core.store.apply(batch).await.unwrap();
    let job = world.job().await;
    let failure = work(&world.core, &job).await.unwrap_err().to_string();
    assert!(failure.contains("knows no jobs of kind `unknown`"), "{failure}");
    abandon(&world.core, &job, &failure).await.unwrap();
    assert_eq!(world.core.store.job_backlog().await.unwrap().0, 0);
}
