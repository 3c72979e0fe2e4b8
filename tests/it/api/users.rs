//! Users.

use serde_json::{Value, json};

use crate::support::{FEED, World};

#[tokio::test]
async fn identifying_creates_and_merges() {
    let world = World::start().await;
    let user = world.put("/v1/users/ann").pk().json(&json!({})).await.ok(200);
    let expected = json!({"__typename": "User", "id": "ann", "avatar": null, "created_at": null, "email": null,
        "name": null, "phone_number": null, "timezone": null, "updated_at": "2026-09-21T14:13:20.000000Z"});
    assert_eq!(user, expected, "F-USR-01 F-USR-06 F-USR-20 F-AMB-55 F-TRN-14");
    let body = json!({"id": "ignored", "name": "Ann", "plan": {"tier": "pro", "seats": 3}, "tags": [1, 2]});
    let user = world.put("/v1/users/ann").sk().json(&body).await.ok(200);
    assert_eq!((&user["id"], &user["plan"]["seats"]), (&json!("ann"), &json!(3)), "F-USR-01 F-USR-04 F-TRN-17");
    world.clock.advance_seconds(5);
    let body = json!({"name": null, "plan": {"seats": 4}, "tags": [3], "locale": "de"});
    let user = world.put("/v1/users/ann").sk().json(&body).await.ok(200);
    assert_eq!(user["plan"], json!({"tier": "pro", "seats": 4}), "F-USR-05");
    assert_eq!((&user["tags"], &user["name"], &user["locale"]), (&json!([3]), &Value::Null, &json!("de")), "F-USR-05");
    assert_eq!(user["updated_at"], "2026-09-21T14:13:25.000000Z", "F-USR-06");
    assert_eq!(world.get("/v1/users/ann").pk().await.ok(200), user, "F-USR-10");
    for body in ["", "null"] {
        world.put("/v1/users/ann").sk().body(body).await.ok(200);
    }
    assert_eq!(world.get("/v1/users/nobody").pk().await.code(), (404, "resource_missing".to_owned()), "F-USR-10");
}

#[tokio::test]
async fn preferences_and_channel_data_are_kept_and_not_echoed() {
    let world = World::start().await;
    let body = json!({"preferences": {"default": {"workflows": {"comment": false}}}, "channel_data": {FEED: {"x": 1}}});
    let user = world.put("/v1/users/ann").sk().json(&body).await.ok(200);
    assert!(user.get("preferences").is_none() && user.get("channel_data").is_none(), "F-USR-09");
    let more = json!({"preferences": {"default": {"workflows": {"other": true}}}});
    world.put("/v1/users/ann").sk().json(&more).await.ok(200);
    let list = world.get("/v1/users?include[]=preferences").sk().await.ok(200);
    let expected = json!({"default": {"workflows": {"comment": false, "other": true}}});
    assert_eq!(list["entries"][0]["preferences"], expected, "F-USR-08 F-USR-11 F-AMB-22");
    let list = world.get("/v1/users").sk().await.ok(200);
    assert!(list["entries"][0].get("preferences").is_none(), "F-USR-11");
}

#[tokio::test]
async fn users_are_listed_newest_first_with_their_number() {
    let world = World::start().await;
    for id in ["a", "b", "c"] {
        world.clock.advance_seconds(1);
        world.put(&format!("/v1/users/{id}")).sk().await.ok(200);
    }
    world.put("/v1/users/a").sk().json(&json!({"name": "A"})).await.ok(200);
    let ids = |list: &Value| -> Vec<String> {
        list["entries"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = world.get("/v1/users?page_size=2").sk().await.ok(200);
    assert_eq!(ids(&first), ["c", "b"], "F-AMB-18: by creation");
    assert_eq!(first["page_info"]["total_count"], 3, "F-PAG-03 F-AMB-17");
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("/v1/users?page_size=2&after={after}")).sk().await.ok(200);
    assert_eq!(ids(&second), ["a"], "F-USR-11 F-PAG-06");
    let before = second["page_info"]["before"].as_str().unwrap();
    let back = world.get(&format!("/v1/users?page_size=2&before={before}")).sk().await.ok(200);
    assert_eq!(ids(&back), ["c", "b"], "F-PAG-05");
}

#[tokio::test]
async fn a_deleted_user_leaves_nothing_behind() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().json(&json!({"name": "Ann"})).await.ok(200);
    let own = world.tell("ann", json!({}), None).await;
    world.trigger("comment", &json!({"recipients": [{"id": "bob"}], "actor": "ann"})).await;
    let reply = world.delete("/v1/users/ann").sk().await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-USR-12 F-TRN-03");
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "F-USR-12");
    assert_eq!(world.get(&format!("/v1/messages/{own}")).sk().await.status, 404, "F-USR-12");
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 0, "F-USR-12");
    let runs = world.get("/v1/workflow_recipient_runs?recipient=ann").sk().await.ok(200);
    assert_eq!(runs["items"], json!([]), "F-USR-12");
    world.work().await;
    let actor = world.feed("bob").await["entries"][0]["actors"][0].clone();
    assert_eq!((&actor["__typename"], &actor["name"]), (&json!("MissingUser"), &Value::Null), "F-USR-13 F-AMB-20");
    assert_eq!(world.delete("/v1/users/ann").sk().await.status, 404);
    let anew = world.put("/v1/users/ann").sk().await.ok(200);
    assert_eq!(anew["name"], Value::Null, "F-USR-13");
    let trigger = world.post("/v1/workflows/comment/trigger").sk();
    let reply = trigger.json(&json!({"recipients": ["bob"], "actor": "nobody"})).await;
    assert_eq!(reply.code(), (422, "actor_missing".to_owned()), "F-USR-13 W-ERR-05");
}
