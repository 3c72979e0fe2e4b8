//! Where services elsewhere bring their events.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bellwire::http::limits::Limits;
use bellwire::model::source::{Source, Sources};
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{SOURCE_SECRET, Setup, World};

const SHOP: &str = "/ingest/development/shop";

/// A world with the source `shop`, for whose orders `comment` runs.
async fn world(more: Value) -> World {
    world_with(Setup::default(), more).await
}

async fn world_with(setup: Setup, more: Value) -> World {
    let world = World::with(setup).await;
    let mut document = json!({"mappings": [
        {"event": "paid", "action": "users_identify", "id": "body.user", "properties": {"name": "data.name"}},
        {"event": "paid", "action": "workflows_trigger", "workflow": "comment", "recipients": "body.user",
            "data": {"page": "data.page", "from": "headers.X-From"}},
    ]});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let sources = ["shop", "other"].map(|key| Source::parse(key, &document).unwrap());
    world.core.catalog.replace_sources(Sources::new(sources.into()));
    world
}

fn mac(secret: &str, text: &str) -> Vec<u8> {
    let mut own = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    own.update(text.as_bytes());
    own.finalize().into_bytes().to_vec()
}

fn signed(world: &World, body: &str) -> String {
    let time = world.clock.now().seconds();
    format!("t={time},s={}", STANDARD.encode(mac(SOURCE_SECRET, &format!("{time}.{body}"))))
}

fn paid() -> String {
    json!({"type": "paid", "user": "ann", "properties": {"name": "Ann", "page": "p1"}}).to_string()
}

#[tokio::test]
async fn an_event_with_a_good_signature_is_taken_and_worked_on() {
    let world = world(json!({})).await;
    let body = paid();
    let proof = signed(&world, &body);
    let call = world.post(SHOP).header("x-knock-signature", &proof).header("x-from", "shop").body(body);
    let reply = call.await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "D-SRC-02 D-SRC-08");
    world.work().await;
    assert_eq!(world.get("/v1/users/ann").sk().await.ok(200)["name"], "Ann", "W-SRC-01");
    let item = world.feed("ann").await["entries"][0].clone();
    assert_eq!(item["data"], json!({"page": "p1", "from": "shop"}), "W-AMB-17 W-SRC-03");
    let runs = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    assert_eq!(runs["items"][0]["trigger_source"]["type"], "integration", "W-SRC-07 W-RUN-11");
}

#[tokio::test]
async fn whoever_does_not_prove_who_they_are_is_refused() {
    let world = world(json!({})).await;
    let body = paid();
    let proof = signed(&world, &body);
    let stranger = format!("t={},s={}", world.clock.now().seconds(), STANDARD.encode(mac("a secret of theirs", &body)));
    for (proof, what) in [(None, "none"), (Some(stranger), "another secret"), (Some("s=x".to_owned()), "nonsense")] {
        let mut call = world.post(SHOP).body(body.clone());
        if let Some(proof) = proof {
            call = call.header("x-knock-signature", proof);
        }
        assert_eq!(call.await.code(), (401, "signature_invalid".to_owned()), "D-SRC-02 {what}");
    }
    // The same signature for another body, and an old one.
    let call = world.post(SHOP).header("x-knock-signature", &proof).body(body.replace("ann", "bob"));
    assert_eq!(call.await.status, 401, "D-SRC-02");
    let without_secret =
        world.post("/ingest/development/other").header("x-knock-signature", &proof).body(body.clone()).await;
    assert_eq!(without_secret.status, 401);
    assert!(without_secret.text.contains("no secret"), "{}", without_secret.text);
    world.clock.advance_seconds(301);
    let call = world.post(SHOP).header("x-knock-signature", &proof).body(body);
    assert_eq!(call.await.status, 401, "D-WHK-05");
    world.work().await;
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "nothing was done");
}

#[tokio::test]
async fn other_services_sign_in_their_own_ways() {
    let github = json!({"header": "X-Hub-Signature-256", "scheme": "hmac", "prefix": "sha256="});
    let world_of_github = world(json!({"signature": github})).await;
    let hex: String = mac(SOURCE_SECRET, &paid()).iter().map(|byte| format!("{byte:02x}")).collect();
    let call = world_of_github.post(SHOP).header("x-hub-signature-256", format!("sha256={hex}")).body(paid());
    assert_eq!(call.await.status, 204);
    let token = world(json!({"signature": {"header": "x-webhook-secret", "scheme": "token"}})).await;
    assert_eq!(token.post(SHOP).header("x-webhook-secret", SOURCE_SECRET).body(paid()).await.status, 204);
    assert_eq!(token.post(SHOP).header("x-webhook-secret", "wrong").body(paid()).await.status, 401);
    let open = world(json!({"enforce_verification": false})).await;
    assert_eq!(open.post(SHOP).body(paid()).await.status, 204, "D-SRC-02: it was said that nobody need prove anything");
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let world = world(json!({"enforce_verification": false})).await;
    for (body, what) in [
        ("{}", "nameless"),
        (r#"{"type": ""}"#, "nameless"),
        ("[]", "a list"),
        ("nonsense", "no JSON"),
        ("", "nothing"),
    ] {
        let reply = world.post(SHOP).body(body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "D-SRC-01 {what}");
    }
    for path in ["/ingest/development/nobody", "/ingest/nowhere/shop", "/ingest/development", "/ingest/"] {
        assert_eq!(world.post(path).body(paid()).await.status, 404, "{path}");
    }
    let reply = world.get(SHOP).await;
    assert_eq!((reply.status, reply.header("allow")), (405, Some("POST, OPTIONS")));
    // An event that nothing is done about is taken all the same (D-SRC-01).
    assert_eq!(world.post(SHOP).body(r#"{"type": "unknown"}"#).await.status, 204);
}

/// F-RAT-02: a source's share is its own. Whoever does not prove who they are is counted by where they are, and cannot keep its
/// events out.
#[tokio::test]
async fn strangers_use_up_no_share_of_a_source() {
    let mut setup = Setup::default();
    setup.settings.limits = Limits { per_second: [1, 1, 3, 1, 2], ..Limits::default() };
    let world = world_with(setup, json!({})).await;
    let (body, stranger) = (paid(), format!("t=1,s={}", STANDARD.encode(mac("a secret of theirs", "x"))));
    let strange = async |shows: bool| {
        let call = world.post(SHOP).body(body.clone());
        let call = if shows { call.header("x-knock-signature", &stranger) } else { call };
        call.await.status
    };
    let mut statuses = Vec::new();
    for shows in [true, false, true, true, false] {
        statuses.push(strange(shows).await);
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    let proven = async || {
        let proof = signed(&world, &body);
        world.post(SHOP).header("x-knock-signature", &proof).body(body.clone()).await
    };
    assert_eq!([proven().await.status, proven().await.status], [204, 204]);
    let reply = proven().await;
    assert_eq!(reply.code(), (429, "rate_limit_exceeded".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"), "F-RAT-06");
    world.clock.advance_seconds(1);
    assert_eq!((strange(true).await, proven().await.status), (401, 204));
}
