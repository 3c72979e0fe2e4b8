//! A channel's messages, all at once.

use serde_json::{Value, json};

use crate::support::client::Call;
use crate::support::{FEED, OTHER_FEED, World};

fn bulk<'a>(world: &'a World, action: &str, body: &Value) -> Call<'a> {
    world.post(&format!("/v1/channels/{FEED}/messages/bulk/{action}")).json(body)
}

/// The items of a feed, oldest first, that have `stamp`.
async fn stamped(world: &World, user: &str, stamp: &str) -> Vec<bool> {
    let feed = world.feed(user).await;
    feed["entries"].as_array().unwrap().iter().rev().map(|item| !item[stamp].is_null()).collect()
}

#[tokio::test]
async fn an_operation_is_queued_worked_on_and_can_be_followed() {
    let world = World::start().await;
    for _ in 0..3 {
        world.tell("ann", json!({}), None).await;
    }
    let queued = bulk(&world, "seen", &json!({"recipient_ids": ["ann"]})).sk().await.ok(200);
    assert_eq!(queued["__typename"], "BulkOperation", "F-BLK-02");
    assert_eq!((&queued["status"], &queued["name"]), (&json!("queued"), &json!("messages.seen")), "F-BLK-01 F-BLK-03");
    assert_eq!(queued["estimated_total_rows"], 3, "F-BLK-03");
    for unset in ["started_at", "completed_at", "failed_at"] {
        assert_eq!(queued[unset], Value::Null, "F-BLK-03 {unset}");
    }
    let path = queued["progress_path"].as_str().unwrap();
    let path = path.strip_prefix("http://bell.test").expect("F-BLK-04: absolute, at this server");
    world.work().await;
    let done = world.get(path).sk().await.ok(200);
    assert_eq!((&done["status"], &done["id"]), (&json!("completed"), &queued["id"]), "F-BLK-03 F-BLK-05");
    let numbers = ["processed_rows", "success_count", "error_count"].map(|name| done[name].as_i64().unwrap());
    assert_eq!(numbers, [3, 3, 0], "F-BLK-02 F-BLK-06");
    assert_eq!(done["error_items"], json!([]), "F-BLK-06");
    assert!(done["completed_at"].is_string(), "F-BLK-03");
    assert_eq!(stamped(&world, "ann", "seen_at").await, [true; 3], "F-STA-04");
    assert_eq!(world.get(path).key(&world.foreign_sk).await.status, 404, "F-BLK-05");
    let forwarded = bulk(&world, "seen", &json!({})).sk().header("x-forwarded-proto", "https").await.ok(200);
    assert!(forwarded["progress_path"].as_str().unwrap().starts_with("https://bell.test/v1/"), "F-BLK-04");
}

/// Safety-critical: to overlook `user_ids` would mark everybody's messages.
#[tokio::test]
async fn user_ids_are_recipient_ids() {
    for (body, expected) in [
        (json!({"user_ids": ["ann"]}), [true, false]),
        (json!({"user_ids": "ann"}), [true, false]),
        (json!({"recipient_ids": ["bob"]}), [false, true]),
        (json!({"recipient_ids": ["ann", "bob"], "user_ids": ["bob"]}), [false, true]),
        (json!({"recipient_ids": ["ann"], "user_ids": ["bob"]}), [false, false]),
        (json!({"user_ids": []}), [false, false]),
        (json!({}), [true, true]),
        (json!({"user_ids": "", "recipient_ids": null}), [true, true]),
    ] {
        let world = World::start().await;
        world.tell("ann", json!({}), None).await;
        world.tell("bob", json!({}), None).await;
        bulk(&world, "read", &body).sk().await.ok(200);
        world.work().await;
        let marked = [stamped(&world, "ann", "read_at").await[0], stamped(&world, "bob", "read_at").await[0]];
        assert_eq!(marked, expected, "F-STA-06 F-STA-07 F-TRN-17 {body}");
    }
}

#[tokio::test]
async fn a_public_key_reaches_only_whom_it_names_and_a_token_only_its_user() {
    for (token, body, expected, rule) in [
        (None, json!({"user_ids": ["ann"]}), Some([true, false]), "F-AMB-57"),
        (None, json!({}), None, "F-STA-09 F-AMB-4"),
        (None, json!(null), None, "F-STA-09 F-AMB-4"),
        (None, json!({"user_ids": []}), None, "F-STA-09"),
        (None, json!({"user_ids": ""}), None, "F-STA-09"),
        (Some("ann"), json!({}), Some([true, false]), "F-AUT-17"),
        (Some("ann"), json!(null), Some([true, false]), "F-AUT-17"),
        (Some("ann"), json!({"user_ids": ["ann", "bob"]}), Some([true, false]), "F-AUT-17"),
        (Some("ann"), json!({"user_ids": ["bob"]}), Some([false, false]), "F-AUT-17"),
        (Some("ann"), json!({"recipient_ids": ["bob"]}), Some([false, false]), "F-AUT-17"),
    ] {
        let world = World::start().await;
        world.tell("ann", json!({}), None).await;
        world.tell("bob", json!({}), None).await;
        let call = bulk(&world, "seen", &body).pk();
        let reply = if let Some(user) = token { call.token(&world.token_of(user)).await } else { call.await };
        let Some(expected) = expected else {
            assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "{rule} {body}");
            continue;
        };
        reply.ok(200);
        world.work().await;
        let marked = [stamped(&world, "ann", "seen_at").await[0], stamped(&world, "bob", "seen_at").await[0]];
        assert_eq!(marked, expected, "{rule} {body}");
    }
}

#[tokio::test]
async fn every_action_does_what_it_says() {
    for (first, action, stamp, expected) in [
        ("unseen", "seen", "seen_at", true),
        ("seen", "unseen", "seen_at", false),
        ("unread", "read", "read_at", true),
        ("read", "unread", "read_at", false),
        ("unread", "interacted", "interacted_at", true),
        ("unread", "archive", "archived_at", true),
        ("unread", "archived", "archived_at", true),
        ("archive", "unarchive", "archived_at", false),
        ("archived", "unarchived", "archived_at", false),
    ] {
        let world = World::start().await;
        world.tell("ann", json!({}), None).await;
        for action in [first, action] {
            bulk(&world, action, &json!({"user_ids": ["ann"]})).pk().await.ok(200);
            world.work().await;
        }
        assert_eq!(stamped(&world, "ann", stamp).await, [expected], "F-STA-04 {action}");
    }
    let world = World::start().await;
    assert_eq!(bulk(&world, "shredded", &json!({})).sk().await.status, 422, "F-STA-04");
}

#[tokio::test]
async fn filters_are_anded() {
    let world = World::start().await;
    world.tell("ann", json!({"n": 1}), Some("north")).await;
    world.clock.advance_seconds(10);
    let middle = world.clock.now();
    let read = world.tell("ann", json!({"n": 2}), Some("south")).await;
    world.put(&format!("/v1/messages/{read}/read")).sk().await.ok(200);
    world.clock.advance_seconds(10);
    let archived = world.tell("ann", json!({"n": 3}), None).await;
    world.put(&format!("/v1/messages/{archived}/archived")).sk().await.ok(200);
    for (body, expected, rule) in [
        (json!({}), [true, true, true], "F-STA-06"),
        (json!({"archived": "exclude"}), [true, true, false], "F-STA-06"),
        (json!({"archived": "only"}), [false, false, true], "F-STA-06"),
        (json!({"archived": "include"}), [true, true, true], "F-STA-06"),
        (json!({"engagement_status": "unread"}), [true, false, true], "F-STA-06"),
        (json!({"engagement_status": "read"}), [false, true, false], "F-STA-06"),
        (json!({"delivery_status": "delivered"}), [true, true, true], "F-STA-06"),
        (json!({"delivery_status": "queued"}), [false, false, false], "F-STA-06"),
        (json!({"tenants": ["north"], "has_tenant": true}), [true, false, false], "F-STA-08"),
        (json!({"tenants": ["north"]}), [true, false, true], "F-STA-25 F-AMB-40"),
        (json!({"has_tenant": false}), [false, false, true], "F-STA-06"),
        (
            json!({"has_tenant": "", "tenants": "", "archived": "", "engagement_status": ""}),
            [true, true, true],
            "empty is unset",
        ),
        (json!({"newer_than": middle}), [false, true, true], "F-STA-06"),
        (json!({"older_than": middle}), [true, false, false], "F-STA-06"),
        (json!({"trigger_data": "{\"n\":2}"}), [false, true, false], "F-STA-06"),
        (json!({"workflows": ["comment"]}), [true, true, true], "F-STA-06"),
        (json!({"workflows": ["elsewhere"]}), [false, false, false], "F-STA-06"),
        (
            json!({"user_ids": ["ann"], "archived": "exclude", "tenants": ["north"], "engagement_status": "unread", "has_tenant": true}),
            [true, false, false],
            "F-STA-08",
        ),
    ] {
        bulk(&world, "seen", &body).sk().await.ok(200);
        world.work().await;
        assert_eq!(stamped(&world, "ann", "seen_at").await, expected, "{rule} {body}");
        bulk(&world, "unseen", &json!({})).sk().await.ok(200);
        world.work().await;
    }
}

#[tokio::test]
async fn deleting_needs_a_secret_key_and_is_for_good() {
    let world = World::start().await;
    let kept = world.tell("ann", json!({"n": 1}), None).await;
    let gone = world.tell("ann", json!({"n": 2}), None).await;
    let body = json!({"user_ids": ["ann"], "trigger_data": "{\"n\":2}"});
    for call in [bulk(&world, "delete", &body).pk(), bulk(&world, "delete", &body).pk().token(&world.token_of("ann"))] {
        assert_eq!(call.await.code(), (401, "incorrect_token_type".to_owned()), "F-STA-24 F-AMB-48");
    }
    bulk(&world, "delete", &body).sk().await.ok(200);
    world.work().await;
    let feed = world.feed("ann").await;
    assert_eq!((&feed["meta"]["total_count"], &feed["entries"][0]["id"]), (&json!(1), &json!(kept)), "F-STA-24");
    assert_eq!(world.get(&format!("/v1/messages/{gone}")).sk().await.status, 404, "F-AMB-48");
}

#[tokio::test]
async fn only_the_channel_in_the_path_is_meant() {
    let world = World::start().await;
    world.tell("ann", json!({}), None).await;
    let other = format!("/v1/channels/{OTHER_FEED}/messages/bulk/seen");
    world.post(&other).sk().json(&json!({})).await.ok(200);
    world.work().await;
    assert_eq!(stamped(&world, "ann", "seen_at").await, [false], "F-BLK-08 F-FED-42");
    let reply = world.post("/v1/channels/nonsense/messages/bulk/seen").sk().await;
    assert_eq!(reply.code(), (422, "channel_invalid".to_owned()), "F-AMB-10");
}
