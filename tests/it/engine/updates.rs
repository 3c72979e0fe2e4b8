//! Update steps under concurrency; their stories are in `scenarios/update.yaml`.

use bellwire::engine::work::work;
use bellwire::verbs::identify::Profile;
use serde_json::{Value, json};

use crate::world::{World, document};

fn update_project() -> Value {
    document(json!([{"type": "update_object", "ref": "u", "settings": {
        "recipient_gid": "gid://Object/projects/one",
        "update_properties": r#"{"said": {"{{ recipient.id }}": true}}"#,
    }}]))
}

async fn said(world: &World) -> usize {
    let project = world.core.store.object(world.env, "projects", "one").await.unwrap().unwrap();
    project.properties["said"].as_object().unwrap().len()
}

/// W-UPD-13: the runs of one trigger change the same object; each sees what the one before it left.
#[tokio::test]
async fn all_runs_of_a_trigger_may_change_the_same() {
    let world = World::new(&[("story", update_project())]).await;
    let people: Vec<Value> = (0..30).map(|n| json!({"id": format!("u{n}")})).collect();
    world.trigger("story", json!({"recipients": people})).await.unwrap();
    world.pass(0).await;
    assert_eq!(said(&world).await, 30, "W-UPD-13");
}

/// W-UPD-13: so do workers at the same time, who take turns: nobody is overtaken so often that they give up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_at_once_change_the_same_in_turn() {
    let world = World::new(&[("story", update_project())]).await;
    let people: Vec<Value> = (0..40).map(|n| json!({"id": format!("u{n}")})).collect();
    world.trigger("story", json!({"recipients": people})).await.unwrap();
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    assert_eq!(jobs.len(), 40, "W-UPD-18: each run waits for a transaction of its own");
    let done = futures_util::future::join_all(jobs.iter().map(|job| work(&world.core, job)));
    world.on_a_slow_disk(async { done.await.into_iter().for_each(|done| done.unwrap()) }).await;
    assert_eq!(said(&world).await, 40, "W-UPD-13");
}

/// W-UPD-09: what another node has said meanwhile is merged into, not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_at_once_lose_nothing() {
    let properties = r#"{"meta": {"step": true}}"#;
    let steps = json!([{"type": "update_user", "ref": "u",
        "settings": {"recipient_mode": "current", "update_properties": properties}}]);
    let world = World::new(&[("story", document(steps))]).await;
    world.trigger("story", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    let now = world.core.clock.now();
    let job = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap().remove(0);
    let other = world.neighbour();
    let Value::Object(said) = json!({"meta": {"api": true}}) else { panic!("an object") };
    let profile = Profile { properties: said, ..Profile::default() };
    let identify = other.identify_user(world.env, "ann", &profile);
    let (api, step) = world.at_once(identify, work(&world.core, &job)).await;
    api.unwrap();
    step.unwrap();
    let ann = world.core.store.user(world.env, "ann").await.unwrap().unwrap();
    assert_eq!(ann.properties["meta"], json!({"api": true, "step": true}), "W-UPD-09");
    let run = world.run().await;
    assert_eq!(run.events[0].data.as_ref().unwrap()["before"]["meta"], json!({"api": true}), "W-RUN-19");
}

/// F-USR-07: a step is bound as everybody is.
#[tokio::test]
async fn a_step_makes_nobody_larger_than_they_may_be() {
    let steps = json!([{"type": "update_user", "ref": "u", "settings": {"recipient_mode": "current",
        "update_properties": r#"{"{{ data.name }}": "{{ data.text }}"}"#}}]);
    let world = World::new(&[("story", document(steps))]).await;
    for name in ["a", "b"] {
        let data = json!({"name": name, "text": "x".repeat(200 * 1024)});
        world.trigger("story", json!({"recipients": [{"id": "ann"}], "data": data})).await.unwrap();
        world.pass(60).await;
    }
    let runs = world.runs().await;
    assert_eq!(runs[0].events[0].event, "user_updated");
    let error = runs[1].events[0].data.as_ref().unwrap()["error"].as_str().unwrap().to_owned();
    assert!(error.contains("would exceed 256 kB"), "F-USR-07: {error}");
    let ann = world.core.store.user(world.env, "ann").await.unwrap().unwrap();
    assert!(ann.properties.contains_key("a") && !ann.properties.contains_key("b"));
}
