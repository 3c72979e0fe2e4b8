//! Workflows triggered by steps: once, as they then are; their stories are in `scenarios/trigger_workflow.yaml`.

use std::collections::BTreeSet;

use bellwire::engine::work::{abandon, work};
use bellwire::model::run::SourceType;
use bellwire::model::workflow::Workflow;
use bellwire::store::jobs::Job;
use serde_json::{Value, json};

use crate::world::{World, document, record, tell};

fn outer() -> Value {
    document(json!([{"type": "trigger_workflow", "ref": "t", "settings": {"workflow_key": "inner"}}]))
}

async fn world(inner: &str) -> World {
    let world = World::new(&[("outer", outer()), ("inner", document(json!([tell("tell", inner)])))]).await;
    world.trigger("outer", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

async fn claim(world: &World) -> Job {
    let now = world.core.clock.now();
    let mut jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

/// W-TWF-05, W-ENV-12: the version is the one that is there when it is triggered, whatever was when the step ran.
#[tokio::test]
async fn the_newest_version_is_triggered() {
    let world = world("old").await;
    let newer = document(json!([tell("tell", "new")]));
    let versions = [("outer", outer()), ("inner", newer)]
        .map(|(key, document)| Workflow::parse(key, &document, world.core.catalog.channels()).unwrap());
    world.core.catalog.replace(versions.into());
    world.pass(0).await;
    assert_eq!(world.told("ann").await, ["<p>new</p>"], "W-TWF-05 W-ENV-12");
}

/// A worker that dies before it commits leaves the job to another; one that is late finds that it is done.
#[tokio::test]
async fn it_is_triggered_once_however_many_workers_have_it() {
    let world = world("hello").await;
    let dead = claim(&world).await;
    world.core.clock.advance_seconds(31);
    let job = claim(&world).await;
    assert_eq!((job.kind.as_str(), job.id), ("trigger", dead.id));
    work(&world.core, &job).await.unwrap();
    work(&world.core, &dead).await.unwrap();
    assert_eq!(world.told("ann").await, ["<p>hello</p>"], "W-TWF-03");
    let runs = world.runs().await;
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[1].source, SourceType::WorkflowStep, "W-TWF-10");
    let told = runs[0].events[0].data.as_ref().unwrap()["workflow_run_id"].as_str().unwrap().to_owned();
    assert_eq!(told, runs[1].workflow_run.to_string(), "the record of the one leads to the other");
    assert_eq!(job.subject, told, "what is logged of the job is an id and no more");
}

/// W-TWF-06: switched off between the step and the trigger, it is not triggered, and the run that asked says so.
#[tokio::test]
async fn what_comes_to_nothing_is_said_on_the_run_that_asked() {
    let world = world("hello").await;
    world.core.catalog.set_active(world.env, "inner", false);
    world.pass(0).await;
    let run = world.run().await;
    assert_eq!(record(&run), ["workflow_triggered", "trigger_failed"], "W-TWF-06");
    let why = run.events[1].data.as_ref().unwrap()["error"].as_str().unwrap();
    assert_eq!(why, "The workflow `inner` is not active in this environment.", "W-RUN-15");
}

#[tokio::test]
async fn a_trigger_that_is_given_up_is_said_on_the_run_that_asked() {
    let world = world("hello").await;
    let job = claim(&world).await;
    abandon(&world.core, &job, "the disk is full").await.unwrap();
    let run = world.run().await;
    assert_eq!(run.events[1].data.as_ref().unwrap()["error"], "the disk is full");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "the job is gone");
}

/// W-TWF-04: as many workflow runs as recipients, and workers at once who change the same recipient.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_recipient_of_the_outer_triggers_by_itself() {
    let settings =
        json!({"workflow_key": "inner", "recipients": r#"{"id": "boss", "seen": {"{{ recipient.id }}": 1}}"#});
    let outer = document(json!([{"type": "trigger_workflow", "ref": "t", "settings": settings}]));
    let world = World::new(&[("outer", outer), ("inner", document(json!([tell("tell", "hello")])))]).await;
    let people: Vec<Value> = (0..20).map(|n| json!({"id": format!("u{n}")})).collect();
    world.trigger("outer", json!({"recipients": people})).await.unwrap();
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    let done = futures_util::future::join_all(jobs.iter().map(|job| work(&world.core, job)));
    world.on_a_slow_disk(async { done.await.into_iter().for_each(|done| done.unwrap()) }).await;
    let boss = world.core.store.user(world.env, "boss").await.unwrap().unwrap();
    assert_eq!(boss.properties["seen"].as_object().unwrap().len(), 20);
    let runs: BTreeSet<_> = world.runs().await.iter().map(|run| run.workflow_run).collect();
    assert_eq!(runs.len(), 21, "W-TWF-04");
    assert_eq!(world.feed("boss").await.len(), 20, "W-TWF-04");
}
