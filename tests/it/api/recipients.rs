//! Recipients as requests name them, and what naming one does.

use serde_json::{Value, json};

use crate::support::{PUSH, World};

/// The message that `ann` was told last, as `GET /v1/messages` gives it.
async fn latest(world: &World) -> Value {
    world.get("/v1/messages").sk().await.ok(200)["items"][0].clone()
}

#[tokio::test]
async fn a_bare_id_is_a_reference_and_identifies_nobody() {
    let world = World::start().await;
    world.trigger("comment", &json!({"recipients": ["ann"]})).await;
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "F-REC-01 F-REC-02: a bare string never upserts");
    let runs = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    assert_eq!(runs["items"][0]["recipient"], "ann", "F-REC-07 F-REC-08: a valid reference all the same");
    let reply = world
        .post("/v1/workflows/comment/trigger")
        .sk()
        .json(&json!({"recipients": ["ann"], "actor": "stranger"}))
        .await;
    assert_eq!(reply.code(), (422, "actor_missing".to_owned()), "F-REC-08");
}

#[tokio::test]
async fn an_inline_map_is_known_before_the_run_that_names_it() {
    let world = World::start().await;
    let recipient = json!({"id": "ann", "name": "Ann", "plan": {"tier": "pro"}, "$trigger_data": {"n": 7},
        "preferences": {"default": {"workflows": {"other": false}}}, "channel_data": {PUSH: {"tokens": ["a"]}}});
    let actor = json!({"id": "bob", "name": "Bob"});
    world.trigger("comment", &json!({"recipients": [recipient], "actor": actor, "data": {"n": 1}})).await;
    let ann = world.get("/v1/users/ann").sk().await.ok(200);
    assert_eq!((&ann["name"], &ann["plan"]), (&json!("Ann"), &json!({"tier": "pro"})), "F-REC-02 F-REC-04");
    assert!(ann.get("$trigger_data").is_none() && ann.get("channel_data").is_none(), "F-REC-03");
    let item = world.feed("ann").await["entries"][0].clone();
    assert_eq!((&item["data"]["n"], &item["actors"][0]["name"]), (&json!(7), &json!("Bob")), "F-REC-03 F-REC-04");
    let more = json!({"id": "ann", "plan": {"seats": 2}});
    world.trigger("comment", &json!({"recipients": [more]})).await;
    let ann = world.get("/v1/users/ann").sk().await.ok(200);
    assert_eq!(ann["plan"], json!({"tier": "pro", "seats": 2}), "F-REC-05");
}

#[tokio::test]
async fn an_object_is_told_from_a_user_by_its_collection() {
    let world = World::start().await;
    let object = json!({"id": "apollo", "collection": "projects", "name": "Apollo"});
    world.trigger("comment", &json!({"recipients": [object, {"id": "ann"}], "actor": object})).await;
    assert_eq!(world.get("/v1/users/apollo").sk().await.status, 404, "F-REC-01 F-REC-02");
    let message = latest(&world).await;
    assert_eq!(message["recipient"], "ann", "F-REC-07");
    assert_eq!(message["actors"], json!([{"id": "apollo", "collection": "projects"}]), "F-REC-07");
    let item = world.feed("ann").await["entries"][0].clone();
    assert_eq!(item["actors"][0]["properties"]["name"], "Apollo", "F-REC-07: a feed embeds the whole record");
    let nameless = json!({"recipients": [{"collection": "projects", "name": "x"}]});
    let reply = world.post("/v1/workflows/comment/trigger").sk().json(&nameless).await;
    assert_eq!(reply.json()["errors"][0]["field"], "recipients[0].id", "F-REC-02");
}

#[tokio::test]
async fn a_tenant_named_for_the_first_time_is_there_from_then_on() {
    let world = World::start().await;
    world.trigger("comment", &json!({"recipients": [{"id": "ann"}], "tenant": "acme"})).await;
    assert_eq!(latest(&world).await["tenant"], "acme", "F-REC-06");
    let stored = world.core.store.object(world.env, "$tenants", "acme").await.unwrap();
    assert!(stored.is_some(), "F-REC-06: a string that names nobody makes a stub");
    let tenant = json!({"id": "acme", "name": "Acme"});
    world.trigger("comment", &json!({"recipients": [{"id": "ann"}], "tenant": tenant})).await;
    let stored = world.core.store.object(world.env, "$tenants", "acme").await.unwrap().unwrap();
    assert_eq!(stored.properties["name"], "Acme", "F-REC-05 F-REC-06");
}
