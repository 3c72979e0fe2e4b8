//! Cross-origin callers.

use serde_json::json;

use crate::support::World;

#[tokio::test]
async fn preflights_are_answered_on_every_path() {
    let world = World::start().await;
    for path in ["/v1/users/ann", "/v1/messages/batch/seen", "/nowhere"] {
        let asked = "authorization,content-type,x-knock-client,x-knock-user-token,x-knock-branch,x-more";
        let call = world.call("OPTIONS", path).header("origin", "https://app.example");
        let call = call.header("access-control-request-method", "PUT");
        let reply = call.header("access-control-request-headers", asked).await;
        assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-TRN-10 {path}");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "F-TRN-10");
        let methods = reply.header("access-control-allow-methods").unwrap();
        assert!(["GET", "POST", "PUT", "DELETE", "OPTIONS"].iter().all(|method| methods.contains(method)), "F-TRN-10");
        let allowed = reply.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        let allowed: Vec<&str> = allowed.split(", ").collect();
        assert!(asked.split(',').all(|name| allowed.contains(&name)), "F-TRN-10 {allowed:?}");
        assert_eq!(reply.header("access-control-allow-credentials"), None, "F-TRN-10");
        assert!(reply.header("access-control-max-age").is_some());
    }
}

#[tokio::test]
async fn answers_and_errors_can_be_read_from_any_origin() {
    let world = World::start().await;
    let replies = [
        world.get("/v1/users").sk().await,
        world.get("/v1/users").await,
        world.get("/v1/users").pk().await,
        world.get("/nowhere").await,
        world.delete("/v1/users").sk().await,
        world.post("/v1/workflows/comment/trigger").sk().json(&json!({})).await,
    ];
    for (reply, status) in replies.iter().zip([200, 401, 401, 404, 405, 422]) {
        assert_eq!(reply.status, status);
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "F-TRN-11 {status}");
        let exposed = reply.header("access-control-expose-headers").unwrap();
        for name in ["Retry-After", "x-request-id", "x-ratelimited-message_ids"] {
            assert!(exposed.contains(name), "F-TRN-12 {name}");
        }
    }
}
