//! Marks on single messages and batches.

use serde_json::{Value, json};

use crate::support::World;

fn stamps(message: &Value) -> [bool; 4] {
    ["seen_at", "read_at", "interacted_at", "archived_at"].map(|stamp| !message[stamp].is_null())
}

#[tokio::test]
async fn single_marks_set_and_clear_their_own_stamp() {
    for (first, method, status, expected, rule) in [
        ("", "PUT", "seen", [true, false, false, false], "F-STA-11"),
        ("", "PUT", "read", [false, true, false, false], "F-STA-12"),
        ("", "PUT", "interacted", [false, true, true, false], "F-STA-13 F-AMB-46"),
        ("", "PUT", "archived", [false, false, false, true], "F-STA-14"),
        ("seen", "DELETE", "seen", [false; 4], "F-STA-11"),
        ("seen", "DELETE", "unseen", [false; 4], "F-STA-01"),
        ("read", "DELETE", "read", [false; 4], "F-STA-12"),
        ("read", "DELETE", "unread", [false; 4], "F-STA-01"),
        ("archived", "DELETE", "archived", [false; 4], "F-STA-14"),
        ("archived", "DELETE", "unarchived", [false; 4], "F-STA-01"),
        ("interacted", "DELETE", "read", [false, false, true, false], "F-STA-12"),
        ("", "DELETE", "seen", [false; 4], "F-STA-17 F-AMB-47"),
    ] {
        let world = World::start().await;
        let id = world.tell("ann", json!({}), None).await;
        if !first.is_empty() {
            world.put(&format!("/v1/messages/{id}/{first}")).pk().await.ok(200);
        }
        // One mobile client sends `null`, others nothing.
        let reply = world.call(method, &format!("/v1/messages/{id}/{status}")).pk().json(&Value::Null).await;
        let message = reply.ok(200);
        assert_eq!((&message["__typename"], &message["id"]), (&json!("Message"), &json!(id)), "F-STA-01");
        assert_eq!(stamps(&message), expected, "{rule} {method} {status}");
    }
}

#[tokio::test]
async fn there_is_no_way_to_take_an_interaction_back() {
    let world = World::start().await;
    assert_eq!(world.delete("/v1/messages/m/interacted").sk().await.status, 405, "F-STA-01");
    assert_eq!(world.put("/v1/messages/m/unseen").sk().await.status, 405, "F-STA-01");
}

#[tokio::test]
async fn repeated_marks_refresh_the_stamp_and_every_effective_one_is_an_event() {
    let world = World::start().await;
    let id = world.tell("ann", json!({}), None).await;
    let seen = format!("/v1/messages/{id}/seen");
    world.clock.advance_seconds(1);
    let first = world.put(&seen).pk().await.ok(200);
    world.clock.advance_seconds(1);
    let second = world.put(&seen).pk().await.ok(200);
    assert!(second["seen_at"].as_str() > first["seen_at"].as_str(), "F-STA-16 F-AMB-47");
    assert!(second["updated_at"].as_str() > first["updated_at"].as_str(), "F-STA-19");
    for _ in 0..2 {
        world.clock.advance_seconds(1);
        world.delete(&seen).pk().await.ok(200);
    }
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    let types: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    let expected = ["message.unseen", "message.seen", "message.seen", "message.delivered", "message.created"];
    assert_eq!(types, expected, "F-STA-16 F-STA-17 F-STA-19 F-MSG-11");
}

#[tokio::test]
async fn a_batch_marks_what_is_there_in_the_order_asked() {
    for (status, first, stamp) in [
        ("seen", "", 0),
        ("unseen", "seen", 0),
        ("read", "", 1),
        ("unread", "read", 1),
        ("interacted", "", 2),
        ("archived", "", 3),
        ("unarchived", "archived", 3),
    ] {
        let world = World::start().await;
        let (one, two) = (world.tell("ann", json!({}), None).await, world.tell("bob", json!({}), None).await);
        let body = json!({"message_ids": [two, one, "unknown", two]});
        if !first.is_empty() {
            world.post(&format!("/v1/messages/batch/{first}")).pk().json(&body).await.ok(200);
        }
        let messages = world.post(&format!("/v1/messages/batch/{status}")).pk().json(&body).await.ok(200);
        let messages = messages.as_array().expect("F-STA-02: a bare array");
        let ids: Vec<&str> = messages.iter().map(|message| message["id"].as_str().unwrap()).collect();
        assert_eq!(ids, [two.as_str(), &one], "F-STA-02 F-STA-21 F-AMB-45 {status}");
        for message in messages {
            assert_eq!(stamps(message)[stamp], first.is_empty(), "F-STA-02 {status}");
        }
    }
}

#[tokio::test]
async fn a_token_marks_its_users_messages_only() {
    let world = World::start().await;
    let (own, foreign) = (world.tell("ann", json!({}), None).await, world.tell("bob", json!({}), None).await);
    let token = world.token_of("ann");
    let single = world.put(&format!("/v1/messages/{foreign}/seen")).pk().token(&token).await;
    assert_eq!(single.code(), (403, "authorization".to_owned()), "F-AUT-16 F-AMB-4");
    let body = json!({"message_ids": [foreign, own]});
    let batch = world.post("/v1/messages/batch/seen").pk().token(&token).json(&body).await.ok(200);
    assert_eq!(batch.as_array().unwrap().len(), 1, "F-AUT-16 F-STA-21");
    assert_eq!(batch[0]["id"], json!(own), "F-AUT-16");
    let untouched = world.get(&format!("/v1/messages/{foreign}")).sk().await.ok(200);
    assert_eq!(stamps(&untouched), [false; 4], "F-AUT-16");
    assert_eq!(world.get(&format!("/v1/messages/{foreign}")).pk().token(&token).await.status, 403, "F-MSG-01");
    world.get(&format!("/v1/messages/{own}")).pk().token(&token).await.ok(200);
    let missing = world.put("/v1/messages/unknown/seen").pk().token(&token).await;
    assert_eq!(missing.code(), (404, "resource_missing".to_owned()), "F-STA-21");
}

#[tokio::test]
async fn an_interaction_keeps_its_metadata() {
    let world = World::start().await;
    let id = world.tell("ann", json!({}), None).await;
    let metadata = json!({"type": "button_click", "name": "primary", "label": "Go", "action": "/go"});
    let path = format!("/v1/messages/{id}/interacted");
    world.put(&path).pk().await.ok(200);
    world.clock.advance_seconds(1);
    world.put(&path).pk().json(&json!({"metadata": metadata})).await.ok(200);
    world.clock.advance_seconds(1);
    let body = json!({"message_ids": [id], "metadata": {"type": "cell_click", "action": ""}});
    world.post("/v1/messages/batch/interacted").pk().json(&body).await.ok(200);
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    let data: Vec<&Value> = events["items"].as_array().unwrap().iter().map(|event| &event["data"]).take(3).collect();
    assert_eq!(data, [&json!({"type": "cell_click", "action": ""}), &metadata, &Value::Null], "F-STA-18 F-MSG-12");
}

#[tokio::test]
async fn archiving_takes_an_item_out_of_the_counts() {
    let world = World::start().await;
    let id = world.tell("ann", json!({}), None).await;
    world.tell("ann", json!({}), None).await;
    world.put(&format!("/v1/messages/{id}/archived")).pk().await.ok(200);
    let meta = |query: &'static str| {
        let path = format!("/v1/users/ann/feeds/{}?archived={query}", crate::support::FEED);
        let call = world.get(&path).pk();
        async move { call.await.ok(200)["meta"]["unread_count"].clone() }
    };
    assert_eq!(meta("exclude").await, 1, "F-FED-37");
    assert_eq!(meta("include").await, 2, "F-FED-37");
}
