//! Branches: the first that holds is taken, and no other.

use bellwire::model::run::RunStatus;
use serde_json::{Value, json};

use crate::world::{World, document, record, tell, wait};

fn when(status: &str) -> Value {
    json!({"all": [{"variable": "data.status", "operator": "equal_to", "argument": status}]})
}

fn choose() -> Value {
    json!({"type": "branch", "ref": "choose", "branches": [
        {"name": "good", "conditions": when("ok"), "steps": [tell("good", "good")]},
        {"name": "stop", "conditions": when("stop"), "terminates": true, "steps": []},
        {"name": "also good", "conditions": when("ok"), "steps": [tell("never", "never")]},
        {"name": "default", "steps": [wait("nap", "minutes", 1), tell("other", "other")]}
    ]})
}

async fn told(status: &str) -> (World, Vec<String>) {
    let world = World::new(&[("greet", document(json!([choose(), tell("after", "after")])))]).await;
    let body = json!({"recipients": [{"id": "u"}], "data": {"status": status}});
    world.trigger("greet", body).await.unwrap();
    world.pass(60).await;
    let told = world.told("u").await;
    (world, told)
}

#[tokio::test]
async fn the_first_branch_that_holds_runs_and_the_run_goes_on_behind_it() {
    let (world, said) = told("ok").await;
    assert_eq!(said, ["<p>good</p>", "<p>after</p>"], "W-BRN-02, W-BRN-06");
    let run = world.run().await;
    let chosen = run.events[0].data.as_ref().unwrap();
    assert_eq!((&chosen["branch"], &chosen["index"]), (&json!("good"), &json!(0)), "W-RUN-17");
    assert_eq!(chosen["tested"][0]["conditions"][0]["left"], "ok", "W-RUN-17: and why");
}

#[tokio::test]
async fn the_default_runs_when_none_holds_and_may_pause_inside() {
    let (_world, said) = told("unknown").await;
    assert_eq!(said, ["<p>other</p>", "<p>after</p>"], "W-BRN-03, W-BRN-11");
}

#[tokio::test]
async fn a_terminating_branch_ends_the_run() {
    let (world, said) = told("stop").await;
    assert!(said.is_empty(), "W-BRN-07, W-ENG-11");
    let run = world.run().await;
    assert_eq!((run.status, record(&run)), (RunStatus::Completed, vec!["branch_chosen".to_owned()]), "W-RUN-09");
}

#[tokio::test]
async fn a_step_of_a_branch_not_taken_counts_as_skipped_and_branches_may_look_at_statuses() {
    let skipped = json!({"all": [{"variable": "refs.good.delivery_status", "operator": "equal_to", "argument": "$message.skipped"}]});
    let look = json!({"type": "branch", "ref": "look", "branches": [
        {"name": "skipped", "conditions": skipped, "steps": [tell("yes", "good was skipped")]},
        {"name": "default", "steps": []}
    ]});
    let world = World::new(&[("greet", document(json!([choose(), look])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"status": "other"}})).await.unwrap();
    world.pass(60).await;
    assert_eq!(
        world.told("u").await,
        ["<p>other</p>", "<p>good was skipped</p>"],
        "W-BRN-12, W-BRN-15, W-MSC-20, W-SCP-23"
    );
}
