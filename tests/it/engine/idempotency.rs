//! Idempotency: one key, one run, whoever asks again.

use bellwire::verbs::Error;
use serde_json::json;

use crate::world::{World, document, tell};

async fn world() -> World {
    World::new(&[("greet", document(json!([tell("hello", "x")]))), ("other", document(json!([tell("hello", "x")])))])
        .await
}

#[tokio::test]
async fn a_repeat_is_answered_and_not_run_again() {
    let world = world().await;
    let body = json!({"recipients": [{"id": "u"}]});
    let first = world.trigger_with_key("greet", body.clone(), Some("k")).await.unwrap();
    let again = world.trigger_with_key("greet", body.clone(), Some("k")).await.unwrap();
    assert_eq!(again.body, first.body, "W-IDM-03, F-IDM-04");
    assert_eq!(first.original_request_id, None, "W-IDM-04");
    assert_eq!(again.original_request_id.as_deref(), Some("request-1"), "W-IDM-04");
    assert_eq!(world.told("u").await.len(), 1, "W-IDM-03");
    world.trigger("greet", body.clone()).await.unwrap();
    world.trigger("greet", body).await.unwrap();
    assert_eq!(world.told("u").await.len(), 3, "W-IDM-11");
}

#[tokio::test]
async fn a_key_used_for_something_else_is_an_error() {
    let world = world().await;
    let body = json!({"recipients": [{"id": "u"}]});
    world.trigger_with_key("greet", body.clone(), Some("k")).await.unwrap();
    let mismatch = world.trigger_with_key("other", body.clone(), Some("k")).await;
    assert!(matches!(mismatch, Err(Error::Invalid(_))), "W-IDM-06, F-IDM-05");
    assert_eq!(world.told("u").await.len(), 1, "W-IDM-06");
}

#[tokio::test]
async fn a_refused_request_leaves_its_key_free_and_a_day_frees_it_too() {
    let world = world().await;
    let body = json!({"recipients": [{"id": "u"}]});
    let refused = world.trigger_with_key("greet", json!({"recipients": []}), Some("k")).await;
    assert!(refused.is_err());
    world.trigger_with_key("greet", body.clone(), Some("k")).await.expect("W-IDM-07, F-IDM-06");
    world.pass(24 * 3_600 - 1).await;
    let replay = world.trigger_with_key("greet", body.clone(), Some("k")).await.unwrap();
    assert!(replay.original_request_id.is_some(), "W-IDM-03: within 24 hours");
    world.pass(1).await;
    let anew = world.trigger_with_key("greet", body, Some("k")).await.unwrap();
    assert!(anew.original_request_id.is_none(), "W-IDM-08");
    assert_eq!(world.told("u").await.len(), 2, "W-IDM-08");
}

#[tokio::test]
async fn of_requests_at_the_same_time_one_runs_and_the_others_hear_of_it() {
    let world = world().await;
    let body = json!({"recipients": [{"id": "u"}]});
    let tries = (0..8).map(|_| world.trigger_with_key("greet", body.clone(), Some("k")));
    let answers = futures_util::future::join_all(tries).await;
    let bodies: std::collections::HashSet<String> = answers.into_iter().map(|answer| answer.unwrap().body).collect();
    assert_eq!(bodies.len(), 1, "W-IDM-12, F-IDM-07");
    assert_eq!(world.told("u").await.len(), 1, "W-IDM-12");
}
