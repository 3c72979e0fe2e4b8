//! Repeating a trigger without running it twice.

use serde_json::{Value, json};

use crate::support::World;
use crate::support::client::Reply;

async fn trigger(world: &World, key: &str, body: &Value) -> Reply {
    world.post("/v1/workflows/comment/trigger").sk().header("idempotency-key", key).json(body).await
}

async fn count(world: &World, user: &str) -> Value {
    world.feed(user).await["meta"]["total_count"].clone()
}

#[tokio::test]
async fn a_repeat_is_answered_as_before_and_starts_nothing() {
    let world = World::start().await;
    let body = json!({"recipients": [{"id": "ann"}], "data": {"a": 1, "b": 2}});
    let first = trigger(&world, "k", &body).await;
    assert_eq!((first.header("idempotent-replayed"), first.header("original-x-request-id")), (None, None), "W-IDM-04");
    world.clock.advance_seconds(86_399);
    let again = trigger(&world, "k", &json!({"data": {"b": 2, "a": 1}, "recipients": [{"id": "ann"}]})).await;
    assert_eq!(again.ok(200), first.ok(200), "W-IDM-03 F-IDM-03");
    assert_eq!(again.header("idempotent-replayed"), Some("true"), "W-IDM-04 F-IDM-04");
    assert_eq!(again.header("original-x-request-id"), first.header("x-request-id"), "W-IDM-04 F-IDM-04");
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"), "W-IDM-05");
    assert_eq!(count(&world, "ann").await, 1, "W-IDM-03");
    world.clock.advance_seconds(1);
    let anew = trigger(&world, "k", &body).await;
    assert_ne!(anew.ok(200), first.ok(200), "W-IDM-08");
    assert_eq!(count(&world, "ann").await, 2, "W-IDM-08");
}

#[tokio::test]
async fn other_parameters_under_the_same_key_are_an_error() {
    let world = World::start().await;
    trigger(&world, "k", &json!({"recipients": [{"id": "ann"}]})).await.ok(200);
    let other = trigger(&world, "k", &json!({"recipients": ["bob"]})).await;
    assert_eq!(other.code(), (422, "invalid_params".to_owned()), "W-IDM-06 F-IDM-05 F-AMB-14");
    assert_eq!(count(&world, "bob").await, 0, "W-IDM-06");
    let call = world.post("/v1/workflows/strict/trigger").sk().header("idempotency-key", "k");
    let elsewhere = call.json(&json!({"recipients": [{"id": "ann"}], "data": {"n": 1}})).await;
    assert_eq!(elsewhere.status, 422, "W-IDM-09 F-IDM-07");
}

#[tokio::test]
async fn a_key_is_at_most_255_characters_and_may_be_left_out() {
    let world = World::start().await;
    let body = json!({"recipients": [{"id": "ann"}]});
    assert_eq!(trigger(&world, &"k".repeat(256), &body).await.code(), (422, "invalid_params".to_owned()), "W-IDM-02");
    trigger(&world, &"k".repeat(255), &body).await.ok(200);
    let (one, other) = (trigger(&world, "", &body).await, trigger(&world, "", &body).await);
    assert_ne!(one.ok(200), other.ok(200), "W-IDM-11 W-AMB-08: an empty key is none");
    assert_ne!(world.trigger("comment", &body).await, world.trigger("comment", &body).await, "W-IDM-11");
}

#[tokio::test]
async fn only_success_is_remembered() {
    let world = World::start().await;
    assert_eq!(trigger(&world, "k", &json!({"recipients": []})).await.status, 422);
    let reply = trigger(&world, "k", &json!({"recipients": [{"id": "ann"}]})).await;
    assert_eq!((reply.status, reply.header("idempotent-replayed")), (200, None), "W-IDM-07 F-IDM-06");
}

#[tokio::test]
async fn of_many_at_once_one_runs() {
    let world = World::start().await;
    let body = json!({"recipients": [{"id": "ann"}]});
    let calls = (0..8).map(|_| trigger(&world, "stainless-node-retry-1", &body));
    let replies = futures_util::future::join_all(calls).await;
    let bodies: std::collections::HashSet<String> = replies.iter().map(|reply| reply.ok(200).to_string()).collect();
    assert_eq!(bodies.len(), 1, "W-IDM-10 W-IDM-12 F-IDM-07");
    assert_eq!(count(&world, "ann").await, 1, "W-IDM-12");
}

#[tokio::test]
async fn elsewhere_the_header_is_accepted_and_means_nothing() {
    let world = World::start().await;
    for name in ["Ann", "Anna"] {
        let call = world.put("/v1/users/ann").sk().header("idempotency-key", "k").json(&json!({"name": name}));
        assert_eq!(call.await.ok(200)["name"], name, "W-IDM-01 F-IDM-01 F-IDM-02");
    }
    let cancel = world.post("/v1/workflows/comment/cancel").sk().header("idempotency-key", "k".repeat(300));
    assert_eq!(cancel.json(&json!({"cancellation_key": "c"})).await.status, 204, "F-IDM-02");
}
