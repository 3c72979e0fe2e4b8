//! Recipient runs.

use serde_json::{Value, json};

use crate::support::World;

#[tokio::test]
async fn a_run_tells_of_every_step() {
    let world = World::start().await;
    let body =
        json!({"recipients": [{"id": "ann"}], "actor": {"id": "bob"}, "tenant": "north", "cancellation_key": "c"});
    let workflow_run = world.trigger("comment", &body).await;
    let list = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    let run = &list["items"][0];
    let expected = json!({
        "__typename": "WorkflowRecipientRun",
        "id": run["id"],
        "workflow_run_id": workflow_run,
        "workflow": "comment",
        "status": "completed",
        "recipient": "ann",
        "actor": "bob",
        "tenant": "north",
        "trigger_source": {"type": "api", "cancellation_key": "c", "schedule_id": null, "audience_key": null},
        "error_count": 0,
        "inserted_at": run["inserted_at"],
        "updated_at": run["updated_at"],
    });
    assert_eq!(run, &expected, "W-RUN-03 W-RUN-06 W-RUN-10");
    let detail = world.get(&format!("/v1/workflow_recipient_runs/{}", run["id"].as_str().unwrap())).sk().await.ok(200);
    let events = detail["events"].as_array().unwrap();
    let enqueued = events.iter().find(|event| event["event"] == "message_enqueued").expect("W-RUN-02 W-RUN-13");
    assert_eq!(enqueued["__typename"], "WorkflowRecipientRunEvent", "W-RUN-12");
    assert_eq!((&enqueued["status"], &enqueued["attempt"]), (&json!("ok"), &json!(1)), "W-RUN-12");
    assert_eq!(
        (&enqueued["step_ref"], &enqueued["step_type"]),
        (&json!("in_app_feed_1"), &json!("channel")),
        "W-RUN-12"
    );
    assert!(enqueued["data"]["message_id"].is_string(), "W-RUN-13");
    let id = run["id"].as_str().unwrap();
    assert_eq!(
        world.get(&format!("/v1/workflow_recipient_runs/{id}")).key(&world.foreign_sk).await.status,
        404,
        "W-RUN-02"
    );
    let upper = id.to_ascii_uppercase();
    world.get(&format!("/v1/workflow_recipient_runs/{upper}")).sk().await.ok(200);
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_filtered() {
    let world = World::start().await;
    for id in ["ann", "bob"] {
        world.put(&format!("/v1/users/{id}")).sk().await.ok(200);
    }
    world.trigger("comment", &json!({"recipients": ["ann"], "tenant": "north"})).await;
    world.clock.advance_seconds(10);
    let middle = world.clock.now().to_string();
    world.clock.advance_seconds(10);
    world.trigger("later", &json!({"recipients": ["bob"]})).await;
    world.clock.advance_seconds(1);
    let object = json!({"id": "t1", "collection": "teams", "name": "T"});
    world.trigger("comment", &json!({"recipients": [object, "stranger"]})).await;
    let list = |query: &str| {
        let call = world.get(&format!("/v1/workflow_recipient_runs?{query}")).sk();
        async move {
            let list = call.await.ok(200);
            let who = |run: &Value| run["recipient"].as_str().unwrap_or("team").to_owned();
            let mut found: Vec<String> = list["items"].as_array().unwrap().iter().map(who).collect();
            found.sort();
            found
        }
    };
    assert_eq!(list("").await, ["ann", "bob", "stranger", "team"], "W-RUN-03");
    assert_eq!(list("workflow=later").await, ["bob"], "W-RUN-04");
    assert_eq!(list("status[]=paused&status[]=queued").await, ["bob"], "W-RUN-04");
    assert_eq!(list("tenant=north").await, ["ann"], "W-RUN-04");
    assert_eq!(list("has_errors=false&workflow=later").await, ["bob"], "W-RUN-04");
    assert_eq!(list("has_errors=true").await, ["stranger"], "W-RUN-04 W-RUN-14 W-AMB-07");
    assert_eq!(list("recipient=bob").await, ["bob"], "W-RUN-04");
    assert_eq!(list("recipient[id]=t1&recipient[collection]=teams").await, ["team"], "W-RUN-04");
    assert_eq!(
        list("recipient=%7B%22id%22:%22t1%22,%22collection%22:%22teams%22%7D").await,
        ["team"],
        "W-RUN-04 F-TRN-08"
    );
    assert_eq!(list(&format!("ending_at={middle}")).await, ["ann"], "W-RUN-05");
    assert_eq!(list(&format!("starting_at={middle}")).await, ["bob", "stranger", "team"], "W-RUN-05");
    let mut after = String::new();
    let mut ids = Vec::new();
    loop {
        let page = world.get(&format!("/v1/workflow_recipient_runs?page_size=3{after}")).sk().await.ok(200);
        ids.extend(page["items"].as_array().unwrap().iter().map(|run| run["id"].clone()));
        let Some(cursor) = page["page_info"]["after"].as_str() else { break };
        after = format!("&after={cursor}");
    }
    assert_eq!(ids.len(), 4, "W-RUN-04 F-PAG-04");
}
