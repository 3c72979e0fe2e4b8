//! Triggering and cancelling.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::World;

#[tokio::test]
async fn a_trigger_is_answered_with_the_run_and_nothing_else() {
    let world = World::start().await;
    let body = json!({"recipients": [{"id": "ann"}, {"id": "bob"}], "actor": null, "data": null, "tenant": null,
        "cancellation_key": null, "settings": null, "cancelationKey": "ignored"});
    let reply = world.post("/v1/workflows/comment/trigger").sk().json(&body).await;
    let answer = reply.ok(200);
    let id = answer["workflow_run_id"].as_str().unwrap();
    assert_eq!(Uuid::parse_str(id).unwrap().get_version_num(), 4, "W-TRG-02");
    assert_eq!(answer.as_object().unwrap().len(), 1, "W-TRG-01 W-TRG-02 W-TRG-04 W-TRG-36");
    let list = world.get(&format!("/v1/messages?workflow_run_id={id}")).sk().await.ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "W-TRG-02 W-TRG-03");
}

#[tokio::test]
async fn faults_are_told_in_order() {
    let world = World::start().await;
    let nothing = json!({});
    let stranger = json!({"recipients": ["ann"], "actor": "stranger"});
    let unfit = json!({"recipients": ["ann"], "data": {"n": "x"}});
    for (key, workflow, body, status, code, rule) in [
        (None, "unknown", &nothing, 401, "api_key_missing", "W-ERR-07 W-ERR-09"),
        (Some(&world.pk), "unknown", &nothing, 401, "incorrect_token_type", "W-ERR-07 W-ERR-09"),
        (Some(&world.sk), "unknown", &nothing, 404, "workflow_missing", "W-ERR-03 W-ERR-08 W-ERR-09"),
        (Some(&world.sk), "asleep", &nothing, 422, "workflow_inactive", "W-ERR-04 W-ERR-08 W-ERR-09"),
        (Some(&world.sk), "strict", &nothing, 422, "invalid_params", "W-ERR-06 W-ERR-09 W-TRG-05"),
        (Some(&world.sk), "strict", &stranger, 422, "actor_missing", "W-ERR-05 W-ERR-08 W-ERR-09 F-AMB-56"),
        (Some(&world.sk), "strict", &unfit, 422, "invalid_params", "W-ERR-07 W-ERR-09"),
    ] {
        let call = world.post(&format!("/v1/workflows/{workflow}/trigger")).json(body);
        let reply = if let Some(key) = key { call.key(key).await } else { call.await };
        assert_eq!(reply.code(), (status, code.to_owned()), "{rule}");
    }
    assert_eq!(world.get("/v1/workflow_recipient_runs").sk().await.ok(200)["items"], json!([]), "W-ERR-04 W-VAL-06");
}

#[tokio::test]
async fn data_that_does_not_fit_the_schema_is_refused_by_place() {
    let world = World::start().await;
    let recipients = json!([{"id": "ann", "$trigger_data": {"n": 1}}, "bob"]);
    let body = json!({"recipients": recipients, "data": {"n": "x"}});
    let reply = world.post("/v1/workflows/strict/trigger").sk().json(&body).await;
    assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-ERR-05 W-VAL-06");
    let field = reply.json()["errors"][0]["field"].as_str().unwrap().to_owned();
    assert!(field.contains('n'), "F-AMB-11 W-VAL-06 {field}");
    assert_eq!(world.feed("ann").await["entries"], json!([]), "W-VAL-06: no run for any recipient");
}

#[tokio::test]
async fn a_trigger_that_would_store_too_much_is_refused_and_says_what_to_change() {
    let world = World::start().await;
    let recipients: Vec<Value> = (0..1_000).map(|n| json!({"id": format!("u{n}")})).collect();
    let body = json!({"recipients": recipients, "data": {"text": "x".repeat(70_000)}});
    let reply = world.post("/v1/workflows/comment/trigger").sk().json(&body).await;
    assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "W-AMB-01: no client tries this again by itself");
    let error = reply.json()["errors"][0].clone();
    assert_eq!(error["field"], "data", "F-AMB-11");
    assert!(error["message"].as_str().unwrap().contains("raise `trigger_bytes` of [limits]"), "{error}");
    world.get("/v1/users/u1").sk().await.ok(404);
    assert_eq!(world.get("/v1/workflow_recipient_runs").sk().await.ok(200)["items"], json!([]));
}

#[tokio::test]
async fn what_waits_is_cancelled_and_counted() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().await.ok(200);
    world.put("/v1/users/bob").sk().await.ok(200);
    let body = json!({"recipients": ["ann", "bob"], "cancellation_key": "c"});
    world.trigger("later", &body).await;
    let cancel = |workflow: &str, body: Value| world.post(&format!("/v1/workflows/{workflow}/cancel")).sk().json(&body);
    let reply = cancel("later", json!({"cancellation_key": "c", "recipients": ["ann"]})).await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "W-CAN-01 W-CAN-02 F-TRN-03");
    assert_eq!(reply.header("bellwire-cancelled-runs"), Some("1"), "W-CAN-01");
    let reply = cancel("later", json!({"cancellation_key": "unknown", "recipients": null})).await;
    assert_eq!((reply.status, reply.header("bellwire-cancelled-runs")), (204, Some("0")), "W-CAN-11 W-AMB-11");
    assert_eq!(
        cancel("unknown", json!({"cancellation_key": "c"})).await.code(),
        (404, "workflow_missing".to_owned()),
        "W-AMB-11"
    );
    world.trigger("later", &body).await;
    let reply = cancel("later", json!({"cancellation_key": "c"})).await;
    assert_eq!(reply.header("bellwire-cancelled-runs"), Some("3"), "W-CAN-03");
    world.clock.advance_seconds(7_200);
    world.work().await;
    for user in ["ann", "bob"] {
        assert_eq!(world.feed(user).await["entries"], json!([]), "W-CAN-03");
    }
    let runs = world.get("/v1/workflow_recipient_runs?status=cancelled").sk().await.ok(200);
    assert_eq!(runs["items"].as_array().unwrap().len(), 4, "W-CAN-03");
}

#[tokio::test]
async fn a_pause_ends_in_its_time() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().await.ok(200);
    world.trigger("later", &json!({"recipients": ["ann"]})).await;
    world.work().await;
    assert_eq!(world.feed("ann").await["entries"], json!([]));
    world.clock.advance_seconds(3_600);
    world.work().await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 1);
}

#[tokio::test]
async fn the_old_spelling_still_works() {
    let world = World::start().await;
    for id in ["ann", "bob"] {
        world.put(&format!("/v1/users/{id}")).sk().await.ok(200);
    }
    let body =
        json!({"name": "later", "actor": "bob", "recipients": ["ann"], "data": {"n": 1}, "cancellation_key": "c"});
    let answer = world.post("/v1/notify").sk().json(&body).await.ok(200);
    let id = answer["result_id"].as_str().expect("W-TRG-35 F-INT-03");
    assert_eq!(answer.as_object().unwrap().len(), 1, "W-TRG-35");
    let runs = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    assert_eq!(
        (&runs["items"][0]["workflow_run_id"], &runs["items"][0]["actor"]),
        (&json!(id), &json!("bob")),
        "W-TRG-35"
    );
    let reply = world.post("/v1/notify/cancel").sk().json(&json!({"name": "later", "cancellation_key": "c"})).await;
    assert_eq!((reply.status, reply.header("bellwire-cancelled-runs")), (204, Some("1")), "W-CAN-17 F-INT-03");
    let unknown =
        world.post("/v1/notify").sk().json(&json!({"name": "x", "actor": "bob", "recipients": ["ann"]})).await;
    assert_eq!(unknown.code(), (404, "workflow_missing".to_owned()), "W-TRG-35");
}

#[tokio::test]
async fn nobody_can_trigger_an_audience() {
    let world = World::start().await;
    let body = json!({"recipients": [{"audience": "all"}]});
    let reply = world.post("/v1/workflows/comment/trigger").sk().json(&body).await;
    assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "W-TRG-33");
}

#[tokio::test]
async fn one_request_triggers_one_workflow() {
    let world = World::start().await;
    let one = json!({"recipients": [{"id": "ann"}]});
    for path in ["/v1/workflows/trigger", "/v1/workflows/bulk/trigger/comment", "/v1/bulk/workflows/trigger"] {
        assert_eq!(world.post(path).sk().json(&json!([one, one])).await.status, 404, "W-TRG-09 {path}");
    }
    let several = world.post("/v1/workflows/comment/trigger").sk().json(&json!([one, one])).await;
    assert_eq!(several.code(), (422, "invalid_params".to_owned()), "W-TRG-09");
    assert_eq!(world.get("/v1/workflow_recipient_runs").sk().await.ok(200)["items"], json!([]), "W-TRG-09");
}
