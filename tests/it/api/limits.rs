//! Rate limits.

use bellwire::http::limits::Limits;
use serde_json::json;

use crate::support::{FEED, Setup, World};

async fn limited() -> World {
    let mut setup = Setup::default();
    setup.settings.limits = Limits::default();
    World::with(setup).await
}

#[tokio::test]
async fn a_tier_is_counted_by_environment_operation_and_user() {
    let world = limited().await;
    let delete = |user: &str| world.delete(&format!("/v1/users/{user}")).sk();
    for _ in 0..5 {
        assert_eq!(delete("ann").await.status, 404, "F-RAT-01: tier 2");
    }
    let reply = delete("ann").await;
    assert_eq!(reply.code(), (429, "rate_limit_exceeded".to_owned()), "F-ERR-08 F-RAT-01 W-TRG-34");
    assert_eq!(reply.header("retry-after"), Some("1"), "F-RAT-06 F-AMB-13");
    assert_eq!(delete("bob").await.status, 429, "F-RAT-02: without a token users are counted together");
    assert_eq!(world.delete("/v1/users/ann").key(&world.foreign_sk).await.status, 404, "F-RAT-02");
    world.get("/v1/users").sk().await.ok(200);
    world.clock.advance_seconds(1);
    assert_eq!(delete("ann").await.status, 404, "F-RAT-06");
}

#[tokio::test]
async fn with_a_token_each_user_is_counted_alone() {
    let world = limited().await;
    let message = |user: &str| {
        let token = world.token_of(user);
        world.put("/v1/messages/m/seen").pk().token(&token)
    };
    for _ in 0..5 {
        assert_eq!(message("ann").await.status, 404);
    }
    assert_eq!(message("ann").await.status, 429, "F-RAT-02");
    assert_eq!(message("bob").await.status, 404, "F-RAT-02");
}

#[tokio::test]
async fn feeds_are_counted_by_the_user_in_the_path() {
    let world = limited().await;
    let feed = |user: &str| world.get(&format!("/v1/users/{user}/feeds/{FEED}")).sk();
    for _ in 0..5 {
        assert_eq!(feed("ann").await.status, 200);
    }
    assert_eq!(feed("ann").await.status, 429, "F-RAT-03 F-FED-01");
    assert_eq!(feed("bob").await.status, 200, "F-RAT-03");
}

#[tokio::test]
async fn limits_can_be_switched_off() {
    let world = World::start().await;
    for _ in 0..8 {
        assert_eq!(world.delete("/v1/users/ann").sk().await.status, 404, "F-RAT-07");
    }
}

#[tokio::test]
async fn a_batch_changes_each_message_once_a_second() {
    let mut setup = Setup::default();
    setup.settings.limits = Limits { dedupes: true, ..Limits::off() };
    let world = World::with(setup).await;
    let (one, two) = (world.tell("ann", json!({}), None).await, world.tell("ann", json!({}), None).await);
    let seen = |ids: &[&String]| world.post("/v1/messages/batch/seen").sk().json(&json!({"message_ids": ids}));
    let first = seen(&[&one]).await;
    assert_eq!(first.header("x-ratelimited-message_ids"), None, "F-RAT-05");
    world.clock.advance(500_000);
    let second = seen(&[&two, &one]).await;
    let json = second.ok(200);
    assert_eq!((&json[0]["id"], &json[1]["id"]), (&json!(two), &json!(one)), "F-RAT-05: all are answered");
    assert_eq!(second.header("x-ratelimited-message_ids"), Some(one.as_str()), "F-RAT-04 F-RAT-05 F-STA-22");
    assert_eq!(json[1]["seen_at"], first.ok(200)[0]["seen_at"], "F-RAT-04: not marked again");
    let read = world.post("/v1/messages/batch/read").sk().json(&json!({"message_ids": [one]})).await;
    assert_eq!(read.header("x-ratelimited-message_ids"), None, "F-AMB-12: another operation counts for itself");
    world.clock.advance(500_000);
    assert_eq!(seen(&[&one]).await.header("x-ratelimited-message_ids"), None, "F-RAT-04");
}
