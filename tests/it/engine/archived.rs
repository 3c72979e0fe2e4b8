//! Workflows that are there no more: nothing of them goes on, and everything can be stopped.

use bellwire::model::run::RunStatus;
use bellwire::model::workflow::Workflow;
use bellwire::params;
use bellwire::store::Batch;
use bellwire::verbs::Error;
use serde_json::{Value, json};

use crate::world::{World, document, record, tell, wait};

fn greet() -> Value {
    document(json!([wait("pause", "hours", 1), tell("after", "after")]))
}

impl World {
    /// Makes these the current workflows, as when the directory is read again.
    fn reload(&self, workflows: &[(&str, Value)]) {
        let parse =
            |(key, document): &(&str, Value)| Workflow::parse(key, document, self.core.catalog.channels()).unwrap();
        self.core.catalog.replace(workflows.iter().map(parse).collect());
    }
}

async fn waiting() -> World {
    let world = World::new(&[("greet", greet()), ("other", greet())]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "cancellation_key": "k"})).await.unwrap();
    world
}

#[tokio::test]
async fn a_run_of_a_workflow_that_is_gone_ends_as_soon_as_it_resumes() {
    let world = waiting().await;
    world.reload(&[("other", greet())]);
    assert_eq!(world.run().await.status, RunStatus::Paused, "W-ENV-11: not before");
    // Not even the version it followed is needed.
    let mut batch = Batch::new();
    batch.push("DELETE FROM workflow_versions WHERE key = ?1", params!["greet"]);
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(world.pass(3_600).await, 1);
    let run = world.run().await;
    assert_eq!(record(&run), ["delay_started", "run_halted:workflow_archived"], "W-ENV-11, W-ENG-02");
    assert_eq!((run.status, run.error_count()), (RunStatus::Completed, 0), "W-RUN-09");
    assert!(world.told("u").await.is_empty(), "W-ENV-11");
    assert_eq!(world.pass(86_400).await, 0, "nothing is left to do");
    let trigger = world.trigger("greet", json!({"recipients": ["u"]})).await;
    assert!(matches!(trigger, Err(Error::WorkflowMissing(_))), "W-ERR-03, W-ENV-11");
}

#[tokio::test]
async fn a_run_that_has_nothing_left_but_its_pause_ends_for_the_same_reason() {
    let world = World::new(&[("greet", document(json!([wait("pause", "hours", 1)])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    world.reload(&[]);
    world.pass(3_600).await;
    assert_eq!(record(&world.run().await), ["delay_started", "run_halted:workflow_archived"], "W-ENV-11");
}

#[tokio::test]
async fn a_workflow_that_comes_back_is_itself_again() {
    let world = waiting().await;
    world.reload(&[("other", greet())]);
    world.pass(1_800).await;
    let newer = document(json!([wait("pause", "hours", 1), tell("after", "newer")]));
    world.reload(&[("other", greet()), ("greet", newer)]);
    world.pass(1_800).await;
    assert_eq!(world.told("u").await, ["<p>after</p>"], "W-ENG-15: the run goes on, by its own version");
    world.trigger("greet", json!({"recipients": ["u"]})).await.unwrap();
    world.pass(3_600).await;
    assert_eq!(world.told("u").await, ["<p>after</p>", "<p>newer</p>"]);
    world.core.catalog.set_active(world.env, "greet", false);
    world.reload(&[("other", greet())]);
    world.reload(&[("other", greet()), ("greet", greet())]);
    let trigger = world.trigger("greet", json!({"recipients": ["u"]})).await;
    assert!(matches!(trigger, Err(Error::WorkflowInactive(_))), "W-ENV-05: what was switched off stays so");
}

#[tokio::test]
async fn runs_of_a_workflow_that_is_gone_can_be_cancelled() {
    let world = waiting().await;
    world.reload(&[("other", greet())]);
    let cancel = async |workflow: &str, key: &str| {
        world.core.cancel(world.env, workflow, &json!({"cancellation_key": key})).await
    };
    assert_eq!(cancel("greet", "unknown").await.unwrap(), 0, "W-CAN-11");
    assert_eq!(cancel("greet", "k").await.unwrap(), 1, "W-CAN-03: it is not current, but it is known");
    assert_eq!(world.run().await.status, RunStatus::Cancelled, "W-CAN-10");
    let unknown = cancel("never-there", "k").await;
    assert!(matches!(unknown, Err(Error::WorkflowMissing(_))), "W-AMB-11");
}
