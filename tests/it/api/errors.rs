//! Errors as callers see them.

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn every_error_has_the_same_members_and_every_answer_an_id() {
    let world = World::start().await;
    let mut seen = std::collections::HashSet::new();
    for (reply, status) in [
        (world.get("/v1/users").await, 401),
        (world.get("/v1/nothing").sk().await, 404),
        (world.get("/v1/users/nobody").sk().await, 404),
        (world.call("PATCH", "/v1/users/ann").sk().await, 405),
        (world.post("/v1/workflows/comment/trigger").sk().json(&json!({})).await, 422),
        (world.get("/v1/users/ann/feeds/x").sk().await, 422),
    ] {
        let body = reply.ok(status);
        assert_eq!(body["status"], status, "F-ERR-01 W-ERR-01");
        for member in ["code", "message", "type"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "F-ERR-01 W-ERR-01 {member}");
        }
        assert_eq!(reply.header("content-type"), Some("application/json"), "F-TRN-01");
        assert!(seen.insert(reply.header("x-request-id").expect("F-ERR-12").to_owned()), "F-ERR-12 W-IDM-05");
    }
    assert!(world.get("/v1/users").sk().await.header("x-request-id").is_some(), "F-ERR-12");
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there_are_told_apart() {
    let world = World::start().await;
    let reply = world.get("/v1/nothing/here").sk().await;
    assert_eq!(reply.code(), (404, "not_found".to_owned()));
    let reply = world.post("/v1/users/ann").sk().await;
    assert_eq!(reply.code(), (405, "method_not_allowed".to_owned()));
    let allow: Vec<&str> = reply.header("allow").unwrap().split(", ").collect();
    assert_eq!(allow, ["GET", "PUT", "DELETE", "OPTIONS"]);
    let reply = world.get("/v1/messages/batch/seen").sk().await;
    assert_eq!(reply.status, 405, "F-TRN-18: static segments win");
}
