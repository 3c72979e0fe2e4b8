//! The door: keys, user tokens, grants.

use bellwire::store::Batch;
use serde_json::{Value, json};

use crate::support::{FEED, Setup, World};

fn refused(code: &str) -> (u16, String) {
    (if code == "authorization" { 403 } else { 401 }, code.to_owned())
}

#[tokio::test]
async fn a_key_is_needed_and_must_be_known() {
    let world = World::start().await;
    let path = "/v1/users/ann";
    for (header, code, rule) in [
        (None, "api_key_missing", "F-AUT-03"),
        (Some("Bearer pk_unknown".to_owned()), "authentication_required", "F-AUT-03"),
        (Some("Bearer ".to_owned()), "authentication_required", "F-AUT-03"),
        (Some("nonsense".to_owned()), "authentication_required", "F-AUT-03"),
        (Some(format!("Basic {}", world.sk)), "authentication_required", "F-AUT-01 F-AMB-1"),
        (Some("Bearer knock_st_abc".to_owned()), "authentication_required", "F-AUT-06"),
        (Some(format!("Bearer {}x", world.sk)), "authentication_required", "F-AUT-03"),
    ] {
        let call = world.get(path);
        let call = if let Some(header) = &header { call.header("authorization", header) } else { call };
        let reply = call.await;
        assert_eq!(reply.code(), refused(code), "{rule} {header:?}");
        assert_eq!(reply.json()["type"], "authentication_error", "F-ERR-02 W-ERR-07");
    }
    let reply = world.get(path).header("authorization", format!("bearer {}", world.sk)).await;
    assert_eq!(reply.status, 404, "F-AUT-01: schemes have no case");
    let reply = world.get(path).header("authorization", b"Bearer \xff").await;
    assert_eq!(reply.code(), refused("authentication_required"));
}

#[tokio::test]
async fn a_revoked_key_stops_working_with_the_next_request() {
    let world = World::start().await;
    world.get("/v1/users").sk().await.ok(200);
    let key = bellwire::sign::api_key::ApiKey::parse(&world.sk).unwrap();
    let mut batch = Batch::new();
    batch.revoke_api_key(&key.digest(), world.clock.now());
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(world.get("/v1/users").sk().await.code(), refused("authentication_required"), "F-AUT-03");
}

#[tokio::test]
async fn headers_that_only_inform_change_nothing_and_there_is_one_branch() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().json(&json!({"name": "Ann"})).await.ok(200);
    let plain = world.get("/v1/users/ann").sk().await.ok(200);
    for (name, value, rule) in [
        ("x-knock-client", "Knock/ClientJS 0.22.2", "F-AUT-21"),
        ("x-stainless-lang", "js", "F-AUT-21"),
        ("x-stainless-retry-count", "1", "F-AUT-21"),
        ("user-agent", "Mozilla/5.0", "F-AUT-21"),
        ("x-knock-branch", "", "F-AUT-20"),
        ("x-knock-branch", "feature-x", "F-AMB-5: where there are no branches the header is not read"),
    ] {
        let told = world.get("/v1/users/ann").sk().header(name, value).await.ok(200);
        assert_eq!(told, plain, "{rule} {name}");
        let refused = world.get("/v1/users/ann").header(name, value).await;
        assert_eq!(refused.code(), self::refused("api_key_missing"), "{rule} {name}");
    }
}

#[tokio::test]
async fn environments_do_not_see_each_other() {
    let world = World::start().await;
    let message = world.tell("ann", json!({}), None).await;
    world.put("/v1/users/ann").sk().json(&json!({"name": "Ann"})).await.ok(200);
    let foreign = world.foreign_sk.clone();
    assert_eq!(world.get("/v1/users/ann").key(&foreign).await.status, 404, "F-AUT-02 F-AUT-22");
    assert_eq!(world.get(&format!("/v1/messages/{message}")).key(&foreign).await.status, 404, "F-AUT-22");
    let feed = world.get(&format!("/v1/users/ann/feeds/{FEED}")).key(&foreign).await.ok(200);
    assert_eq!(feed["entries"], json!([]), "F-AUT-22 F-FED-02");
    let marks = world.post("/v1/messages/batch/seen").key(&foreign).json(&json!({"message_ids": [message]})).await;
    assert_eq!(marks.ok(200), json!([]), "F-AUT-22");
}

#[tokio::test]
async fn tokens_come_in_more_than_one_form_and_none_is_taken_for_another() {
    let world = World::start().await;
    let message = world.tell("ann", json!({}), None).await;
    let (of_user, of_message) = ("/v1/users/ann/preferences".to_owned(), format!("/v1/messages/{message}"));
    let bare = world.bare_token_of("ann");
    for (path, token, code, rule) in [
        (&of_user, bare.clone(), None, "F-AUT-11, and the bare form of a user in the path"),
        (&of_user, format!("ann.{bare}"), None, "the bare form that says whose it is"),
        (&of_message, format!("ann.{bare}"), None, "the bare form that says whose it is"),
        (&of_message, bare.clone(), Some("invalid_user_token"), "nobody in the path, nobody in the token"),
        (&of_user, format!("bob.{bare}"), Some("invalid_user_token"), "F-AUT-15"),
        (&of_user, "nonsense".to_owned(), Some("invalid_user_token"), "F-AMB-3"),
    ] {
        let reply = world.get(path).pk().token(&token).await;
        match code {
            None => assert_eq!(reply.status, 200, "{rule} {path}"),
            Some(code) => assert_eq!(reply.code(), refused(code), "{rule} {path}"),
        }
    }
    world.get(&of_user).sk().token("nonsense").await.ok(200);
}

#[tokio::test]
async fn enhanced_security_demands_tokens_of_public_keys_only() {
    let world = World::with(Setup { enhanced_security: true, ..Setup::default() }).await;
    let path = format!("/v1/users/ann/feeds/{FEED}");
    assert_eq!(world.get(&path).pk().await.code(), refused("missing_user_token"), "F-AUT-09");
    assert_eq!(world.get(&path).pk().token("").await.code(), refused("missing_user_token"), "F-AUT-09");
    assert_eq!(world.get(&path).pk().token(&world.token_of("ann")).await.status, 200, "F-AUT-09");
    let ended = world.token(&json!({"sub": "ann", "exp": 1_780_000_000}));
    assert_eq!(world.get(&path).pk().token(&ended).await.code(), refused("invalid_user_token"), "F-AUT-13");
    assert_eq!(world.get(&path).sk().await.status, 200, "F-AUT-05");
    let trigger = world.post("/v1/workflows/comment/trigger").pk().json(&json!({"recipients": ["ann"]})).await;
    assert_eq!(trigger.code(), refused("incorrect_token_type"), "F-AUT-07: a token would not help");
}

#[tokio::test]
async fn enhanced_security_without_a_signing_key_says_so() {
    let setup = Setup { enhanced_security: true, has_signing_key: false, ..Setup::default() };
    let world = World::with(setup).await;
    let reply = world.get("/v1/users/ann").pk().token(&world.token_of("ann")).await;
    assert_eq!(reply.code(), refused("missing_jwt_signing_key"), "F-AUT-10");
}

#[tokio::test]
async fn writes_with_a_public_key_can_be_made_to_need_a_token() {
    let mut setup = Setup::default();
    setup.settings.public_writes_need_token = true;
    let world = World::with(setup).await;
    assert_eq!(world.put("/v1/users/ann").pk().await.code(), refused("missing_user_token"), "F-AMB-57");
    world.put("/v1/users/ann").pk().token(&world.token_of("ann")).await.ok(200);
    world.get("/v1/users/ann").pk().await.ok(200);
}

#[tokio::test]
async fn the_user_of_the_token_is_compared_after_decoding() {
    let world = World::start().await;
    for (id, path) in [("ann@x.io", "ann%40x.io"), ("ann@x.io", "ann@x.io"), ("a b|c", "a%20b%7Cc"), ("a+b", "a+b")] {
        let token = world.token_of(id);
        let user = world.put(&format!("/v1/users/{path}")).pk().token(&token).await.ok(200);
        assert_eq!(user["id"], id, "F-AUT-15 F-TRN-13");
    }
    let token = world.token_of("ann@x.io");
    let reply = world.put("/v1/users/ann%2540x.io").pk().token(&token).await;
    assert_eq!(reply.code(), refused("authorization"), "F-TRN-13: decoded once");
}

fn tenant_token(world: &World, user_too: bool) -> String {
    let mut grants =
        json!({"https://api.knock.app/v1/objects/$tenants/north": {"user/feed_read": [], "user/feed_write": []}});
    if user_too {
        grants["https://api.knock.app/v1/users/ann"] = json!({"user/feed_read": [], "user/feed_write": []});
    }
    world.token(&json!({"sub": "ann", "grants": grants}))
}

fn ids(feed: &Value) -> Vec<&str> {
    feed["entries"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_token_for_a_tenant_sees_and_marks_that_tenants_items_only() {
    let world = World::start().await;
    let north = world.tell("ann", json!({}), Some("north")).await;
    let south = world.tell("ann", json!({}), Some("south")).await;
    let none = world.tell("ann", json!({}), None).await;
    let feed = |query: &str| format!("/v1/users/ann/feeds/{FEED}?{query}");
    for (user_too, query, expected, rule) in [
        (false, "tenant=north", Some(vec![&north]), "F-GRN-13"),
        (false, "", None, "F-GRN-12"),
        (false, "tenant=south", None, "F-GRN-12"),
        (true, "tenant=north", Some(vec![&none, &north]), "F-GRN-13"),
        (true, "", Some(vec![&none, &north]), "F-AMB-9"),
        (true, "tenant=south", None, "F-GRN-12"),
    ] {
        let reply = world.get(&feed(query)).pk().token(&tenant_token(&world, user_too)).await;
        match expected {
            Some(expected) => {
                let json = reply.ok(200);
                assert_eq!(ids(&json), expected, "{rule} {query}");
                assert_eq!(json["meta"]["total_count"], expected.len(), "{rule} {query}");
            }
            None => assert_eq!(reply.code(), refused("authorization"), "{rule} {query}"),
        }
    }
    let all = json!({"message_ids": [north, south, none]});
    let marked =
        world.post("/v1/messages/batch/seen").pk().token(&tenant_token(&world, false)).json(&all).await.ok(200);
    assert_eq!(marked.as_array().unwrap().len(), 1, "F-GRN-16");
    assert_eq!(marked[0]["id"], json!(north), "F-GRN-16");
    let reply = world.put(&format!("/v1/messages/{south}/read")).pk().token(&tenant_token(&world, true)).await;
    assert_eq!(reply.code(), refused("authorization"), "F-GRN-16");
    let bulk = format!("/v1/channels/{FEED}/messages/bulk/read");
    world.post(&bulk).pk().token(&tenant_token(&world, false)).json(&json!({})).await.ok(200);
    world.work().await;
    let feed = world.feed("ann").await;
    let read: Vec<bool> = feed["entries"].as_array().unwrap().iter().map(|item| !item["read_at"].is_null()).collect();
    assert_eq!(read, [false, false, true], "F-GRN-16");
}
