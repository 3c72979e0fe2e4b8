//! Secret keys that are limited to operations and tenants: our own, see `docs/extensions.md`.

use bellwire::http::api::routes;
use bellwire::http::router::{TenantIn, Verb};
use bellwire::sign::api_key::Kind;
use bellwire::sign::key_scope::{KeyScope, READ};
use serde_json::{Value, json};

use crate::support::{FEED, World, add_scoped_key};

async fn key(world: &World, operations: &[&str], tenants: &[&str]) -> String {
    let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let scope = KeyScope { operations: owned(operations), tenants: owned(tenants) };
    add_scoped_key(&world.core.store, world.env, Kind::Secret, Some(scope)).await
}

fn forbidden() -> (u16, String) {
    (403, "authorization".to_owned())
}

#[tokio::test]
async fn a_key_for_some_operations_opens_those_and_no_other() {
    let world = World::start().await;
    let (trigger, read) = (key(&world, &["triggerWorkflow"], &[]).await, key(&world, &[READ], &[]).await);
    for route in routes() {
        let path = route
            .path
            .replace("{user_id}", "ann")
            .replace("{channel_id}", FEED)
            .replace("/feeds/{id}", &format!("/feeds/{FEED}"));
        let path = path.replace("{collection}", "teams").replace("{key}", "comment").replace(['{', '}'], "");
        for (key, opens) in [(&trigger, route.operation == "triggerWorkflow"), (&read, route.verb == Verb::Get)] {
            let reply = world.call(route.verb.as_str(), &path).key(key).json(&json!({"recipients": ["ann"]})).await;
            let is_closed = reply.status == 403 && reply.text.contains("limited to some operations");
            assert_eq!(!is_closed, opens, "{} {path}: {}", route.verb.as_str(), reply.text);
        }
    }
    assert_eq!(world.get("/v1/users/ann").key(&trigger).await.code(), forbidden());
}

/// What each tenant has, and what belongs to none.
async fn told(world: &World) -> [String; 3] {
    let mut messages = Vec::new();
    for tenant in [Some("north"), Some("south"), None] {
        messages.push(world.tell("ann", json!({"n": tenant.unwrap_or("nowhere")}), tenant).await);
        let schedule = json!({"workflow": "comment", "recipients": ["ann"], "tenant": tenant, "data": {"n": tenant.unwrap_or("nowhere")},
            "scheduled_at": "2030-01-01T00:00:00Z"});
        world.post("/v1/schedules").sk().json(&schedule).await.ok(200);
    }
    messages.try_into().unwrap()
}

#[tokio::test]
async fn a_key_for_a_tenant_reads_what_is_that_tenants_only() {
    let world = World::start().await;
    let [north, south, nowhere] = told(&world).await;
    let key = key(&world, &[], &["north"]).await;
    let lists = [
        "/v1/messages?",
        "/v1/users/ann/messages?",
        &format!("/v1/users/ann/feeds/{FEED}?"),
        "/v1/schedules?workflow=comment&",
        "/v1/users/ann/schedules?",
        "/v1/workflow_recipient_runs?",
    ];
    for list in lists {
        let of = |tenant: &str| world.get(&format!("{list}tenant={tenant}")).key(&key);
        let found = of("north").await.ok(200);
        let entries = found.get("entries").or_else(|| found.get("items")).unwrap().as_array().unwrap();
        assert!(!entries.is_empty(), "{list}");
        assert!(entries.iter().all(|entry| entry["tenant"] == "north"), "{list}: {found:#}");
        assert_eq!(of("south").await.code(), forbidden(), "{list}");
        assert_eq!(world.get(list).key(&key).await.code(), forbidden(), "{list}: without a tenant it is about all");
    }
    for route in routes().into_iter().filter(|route| route.tenant == Some(TenantIn::Message)) {
        for (message, is_its_own) in [(&south, false), (&nowhere, false), (&north, true)] {
            let path = route.path.replace("{message_id}", message);
            let reply = world.call(route.verb.as_str(), &path).key(&key).await;
            assert_eq!(reply.status != 403, is_its_own, "{} {path}: {}", route.verb.as_str(), reply.text);
        }
    }
    let feed = world.feed("ann").await;
    let untouched = |item: &Value| ["seen_at", "read_at", "archived_at"].iter().all(|mark| item[*mark].is_null());
    let others = feed["entries"].as_array().unwrap().iter().filter(|item| item["tenant"] != "north");
    assert_eq!(others.filter(|item| untouched(item)).count(), 2, "{feed:#}");
}

#[tokio::test]
async fn a_key_for_a_tenant_tells_and_sets_in_that_tenant_only() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().json(&json!({"name": "Ann"})).await.ok(200);
    let key = key(&world, &[], &["north"]).await;
    let schedule = json!({"workflow": "comment", "scheduled_at": "2030-01-01T00:00:00Z"});
    for (path, more) in [("/v1/workflows/comment/trigger", json!({})), ("/v1/schedules", schedule)] {
        let with = |rest: Value| {
            let mut body = more.clone();
            body.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            world.post(path).key(&key).json(&body)
        };
        for refused in [
            json!({"recipients": ["ann"]}),
            json!({"recipients": ["ann"], "tenant": null}),
            json!({"recipients": ["ann"], "tenant": "south"}),
            json!({"recipients": ["ann"], "tenant": {"id": "south"}}),
            json!({"recipients": [{"id": "ann", "name": "Mallory"}], "tenant": "north"}),
            json!({"recipients": [{"id": "ann", "preferences": {"south": {}}}], "tenant": "north"}),
            json!({"recipients": [{"collection": "$tenants", "id": "south", "name": "Mallory"}], "tenant": "north"}),
            json!({"recipients": ["ann"], "actor": {"id": "ann", "name": "Mallory"}, "tenant": "north"}),
        ] {
            let reply = with(refused.clone()).await;
            assert_eq!(reply.code(), forbidden(), "{path} {refused} {}", reply.text);
        }
        with(json!({"recipients": ["ann"], "tenant": "north"})).await.ok(200);
        with(json!({"recipients": ["ann"], "tenant": {"id": "north"}})).await.ok(200);
    }
    let own_data = json!({"recipients": [{"id": "ann", "$trigger_data": {"n": 1}}], "tenant": "north"});
    world.post("/v1/workflows/comment/trigger").key(&key).json(&own_data).await.ok(200);
    assert_eq!(world.get("/v1/users/ann").sk().await.ok(200)["name"], "Ann");
    let feed = world.feed("ann").await;
    assert!(feed["entries"].as_array().unwrap().iter().all(|item| item["tenant"] == "north"), "{feed:#}");
    for (verb, north, south) in [
        ("PUT", "/v1/tenants/north", "/v1/tenants/south"),
        ("GET", "/v1/tenants/north", "/v1/tenants/south"),
        ("PUT", "/v1/users/ann/preferences/north", "/v1/users/ann/preferences/default"),
        ("GET", "/v1/users/ann/preferences/north", "/v1/users/ann/preferences/north?tenant=south"),
        ("DELETE", "/v1/users/ann/preferences/north", "/v1/users/ann/preferences/south"),
    ] {
        let call = |path: &str| world.call(verb, path).key(&key).json(&json!({}));
        let reply = call(north).await;
        assert!(reply.status < 300, "{verb} {north}: {}", reply.text);
        assert_eq!(call(south).await.code(), forbidden(), "{verb} {south}");
    }
}

/// What names no tenant is closed, whatever is in it: a new route is closed until it says where its tenant is.
#[tokio::test]
async fn a_key_for_a_tenant_opens_nothing_that_is_about_no_tenant() {
    let world = World::start().await;
    let key = key(&world, &[], &["north"]).await;
    for route in routes().into_iter().filter(|route| route.tenant.is_none()) {
        let path = route.path.replace(['{', '}'], "");
        let reply = world.call(route.verb.as_str(), &path).key(&key).json(&json!({"tenant": "north"})).await;
        assert_eq!(reply.code(), forbidden(), "{} {path}", route.verb.as_str());
    }
    let open = routes().into_iter().filter(|route| route.tenant.is_some()).count();
    assert!((20..40).contains(&open), "{open}");
}
