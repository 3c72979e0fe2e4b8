//! Every route against every kind of caller: who is let in, what they see of others, and what they change.

use std::collections::BTreeMap;

use bellwire::http::api::routes;
use bellwire::http::router::{Keys, Route, Verb};
use bellwire::model::guide::{Guide, Guides, Order};
use bellwire::sign::access::Grant;
use bellwire::sign::api_key::{ApiKey, Kind};
use bellwire::store::Batch;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client::Reply;
use crate::support::{FEED, GUIDES, PUSH, SLACK, Setup, TEAMS, World, add_key};

/// Stands in everything that belongs to Ann and her environment.
const CANARY: &str = "canary";

/// A caller, and what each route tells them.
struct Caller {
    name: &'static str,
    key: Option<String>,
    token: Option<String>,
    /// The status, unless the caller is let in.
    refusal: fn(&Route) -> Option<u16>,
    /// Whether anything of Ann's may be seen and changed where the caller is let in.
    is_anns: bool,
}

fn nobody(_: &Route) -> Option<u16> {
    Some(401)
}

fn anybody(_: &Route) -> Option<u16> {
    None
}

/// F-AUT-07, F-AMB-2.
fn unless_secret(route: &Route, otherwise: Option<u16>) -> Option<u16> {
    if route.keys == Keys::Secret { Some(401) } else { otherwise }
}

/// Whether the route is about one message or one user; the others are about those of the caller.
fn is_about_one(route: &Route) -> bool {
    route.path.contains("{user_id}") || route.path.contains("{message_id}")
}

async fn callers(world: &World) -> Vec<Caller> {
    let revoked = add_key(&world.core.store, world.env, Kind::Secret).await;
    let mut batch = Batch::new();
    batch.revoke_api_key(&ApiKey::parse(&revoked).unwrap().digest(), world.clock.now());
    world.core.store.apply(batch).await.unwrap();
    let ended = world.clock.now().micros() / 1_000_000 - 3_600;
    let (pk, sk) = (Some(world.pk.clone()), Some(world.sk.clone()));
    let caller = |name, key: &Option<String>, token: Option<String>, refusal, is_anns| {
        let key = key.clone();
        Caller { name, key, token, refusal, is_anns }
    };
    let of_tenant =
        json!({"user/feed_read": [], "user/feed_write": [], "preferences/read": [], "preferences/write": []});
    let of_tenant = json!({"sub": "ann", "grants": {"https://api.knock.app/v1/tenants/west": of_tenant}});
    vec![
        caller("no key (F-AUT-01, F-AUT-03)", &None, None, nobody, false),
        caller("an unknown key (F-AUT-03)", &Some(format!("{}x", world.sk)), None, nobody, false),
        caller("a revoked key (F-AUT-03)", &Some(revoked), None, nobody, false),
        caller(
            "a public key (F-AUT-08, F-AMB-57, F-GRN-09)",
            &pk,
            None,
            |route| unless_secret(route, (route.keys == Keys::Granted).then_some(401)),
            true,
        ),
        caller(
            "the user's token (F-GRN-06, F-GRN-09)",
            &pk,
            Some(world.token_of("ann")),
            |route| unless_secret(route, (route.keys == Keys::Granted).then_some(403)),
            true,
        ),
        caller(
            "another user's token (F-AUT-15, F-AUT-16)",
            &pk,
            Some(world.token_of("bob")),
            |route| unless_secret(route, (route.keys == Keys::Granted || is_about_one(route)).then_some(403)),
            false,
        ),
        caller(
            "an expired token (F-AUT-13)",
            &pk,
            Some(world.token(&json!({"sub": "ann", "exp": ended}))),
            nobody,
            false,
        ),
        caller(
            "a token whose explicit grants are missing (F-GRN-07)",
            &pk,
            Some(world.token(&json!({"sub": "ann", "explicit_grants": true, "grants": {}}))),
            |route| unless_secret(route, Some(403)),
            false,
        ),
        caller(
            "a token for a tenant (F-GRN-11, F-GRN-12, F-GRN-15, F-GRN-16)",
            &pk,
            Some(world.token(&of_tenant)),
            |route| {
                let is_confined = match route.grant {
                    Some(Grant::FeedRead | Grant::FeedWrite) => {
                        is_about_one(route) && !route.path.ends_with("settings")
                    }
                    Some(Grant::PreferencesRead | Grant::PreferencesWrite) => route.path.contains("/preferences/{id}"),
                    _ => false,
                };
                unless_secret(route, (route.keys == Keys::Granted || is_confined).then_some(403))
            },
            true,
        ),
        caller("a secret key (F-AUT-05)", &sk, None, anybody, true),
        caller(
            "a secret key of another environment (F-AUT-02, F-AUT-22)",
            &Some(world.foreign_sk.clone()),
            None,
            anybody,
            false,
        ),
    ]
}

/// What Ann and her environment have: the ids that paths name.
struct Things {
    message: String,
    run: String,
    bulk: String,
    guide: Uuid,
}

async fn things(world: &World) -> Things {
    let named = |name: &str| json!({"name": format!("{CANARY} {name}")});
    let put = async |path: &str, body: Value| world.put(path).sk().json(&body).await.ok(200);
    put("/v1/users/ann", named("Ann")).await;
    put("/v1/users/bob", json!({"name": "Bob"})).await;
    put("/v1/objects/teams/red", named("Red")).await;
    put("/v1/tenants/north", named("North")).await;
    for path in ["/v1/users/ann", "/v1/objects/teams/red"] {
        put(&format!("{path}/channel_data/{PUSH}"), json!({"data": {"tokens": [CANARY]}})).await;
        put(&format!("{path}/preferences/default"), json!({"categories": {CANARY: false}})).await;
    }
    world.post("/v1/objects/teams/red/subscriptions").sk().json(&json!({"recipients": ["ann"]})).await.ok(200);
    let members = json!({"members": [{"user": {"id": "ann"}}]});
    world.post("/v1/audiences/people/members?create_audience=true").sk().json(&members).await;
    let schedule = json!({"workflow": "comment", "recipients": ["ann"], "data": {"n": CANARY},
        "scheduled_at": "2030-01-01T00:00:00Z"});
    world.post("/v1/schedules").sk().json(&schedule).await.ok(200);
    let message = world.tell("ann", json!({"n": CANARY}), None).await;
    let bulk = json!({"users": [{"id": "cleo", "name": CANARY}]});
    let bulk = world.post("/v1/users/bulk/identify").sk().json(&bulk).await.ok(200);
    world.work().await;
    let runs = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    let run = runs["items"][0]["id"].as_str().unwrap().to_owned();
    let guide = guide(world).await;
    Things { message, run, bulk: bulk["id"].as_str().unwrap().to_owned(), guide }
}

/// A guide that tells of Ann to those who may read of her; its id.
async fn guide(world: &World) -> Uuid {
    let steps = json!([{"ref": "step_1", "schema_key": "card", "values": {"title": "{{ recipient.name }}"}}]);
    let guide = Guide::parse("tour", &json!({"name": "Tour", "channel_key": "in-app-guide", "steps": steps})).unwrap();
    let id = guide.id(world.core.catalog.environment(world.env).unwrap().id);
    let guides = Guides::new(vec![guide], Order::default());
    world.core.declare_guides(&guides).await.unwrap();
    world.core.catalog.replace_guides(guides);
    id
}

/// A route's path to what there is.
fn filled(route: &Route, things: &Things) -> String {
    let id = match route.path.split('/').nth(2) {
        Some("bulk_operations") => &things.bulk,
        Some("workflow_recipient_runs") => &things.run,
        Some("tenants") => "north",
        Some("objects") if !route.path.contains("preferences") => "red",
        _ if route.path.contains("/feeds/") => FEED,
        _ => "default",
    };
    let channel = match route.path {
        path if path.contains("/slack/") => SLACK,
        path if path.contains("/ms-teams/") => TEAMS,
        path if path.contains("channel_data") => PUSH,
        path if path.contains("/guides/") => GUIDES,
        _ => FEED,
    };
    let key = match route.path.split('/').nth(2) {
        Some("audiences") => "people",
        _ => "comment",
    };
    let path = route
        .path
        .replace("{user_id}", "ann")
        .replace("{message_id}", &things.message)
        .replace("{channel_id}", channel)
        .replace("{action}", "seen")
        .replace("{key}", key)
        .replace("{type}", "email")
        .replace("{collection}", "teams")
        .replace("{object_id}", "red")
        .replace("{id}", id);
    assert!(!path.contains('{'), "{path} has a parameter that this test does not know");
    let reference = |name: &str| format!("{path}?{name}[collection]=teams&{name}[object_id]=red&team_id=t");
    match channel {
        SLACK => reference("access_token_object"),
        TEAMS => reference("ms_teams_tenant_object"),
        _ if path.ends_with("/schedules") && !path.contains("ann") && !path.contains("red") => {
            format!("{path}?workflow=comment")
        }
        _ if path.ends_with("/content") && path.contains("batch") => format!("{path}?message_ids[]={}", things.message),
        _ => path,
    }
}

/// A body that does something, where the route takes one.
fn body(route: &Route, things: &Things) -> Value {
    let (last, path) = (route.path.rsplit('/').next().unwrap(), route.path);
    match last {
        _ if path.contains("/messages/batch/") => json!({"message_ids": [things.message]}),
        "reset" => json!({"guide_key": "tour"}),
        _ if path.contains("/guides/") => json!({"channel_id": GUIDES, "guide_key": "tour", "guide_id": things.guide,
            "guide_step_ref": "step_1", "content": {}}),
        "{channel_id}" => json!({"data": {"tokens": ["other"]}}),
        "trigger" => json!({"recipients": ["ann"]}),
        "cancel" => json!({"cancellation_key": "k", "name": "comment"}),
        "notify" => json!({"name": "comment", "recipients": ["ann"], "actor": "ann"}),
        "merge" => json!({"from_user_id": "bob"}),
        "members" => json!({"members": [{"user": {"id": "ann"}}]}),
        "subscriptions" => json!({"recipients": ["ann"]}),
        "categories" | "workflows" | "channel_types" => json!({}),
        "{key}" | "{type}" => json!({"subscribed": true}),
        "identify" => json!({"users": [{"id": "ann", "name": "Other"}]}),
        "delete" if path.contains("users") => json!({"user_ids": ["ann"]}),
        "delete" if path.contains("objects") => json!({"object_ids": ["red"]}),
        _ => json!({"name": "Other"}),
    }
}

async fn sent(world: &World, caller: &Caller, route: &Route, things: &Things) -> Reply {
    let call = world.call(route.verb.as_str(), &filled(route, things));
    let call = if let Some(key) = &caller.key { call.key(key) } else { call };
    let call = if let Some(token) = &caller.token { call.token(token) } else { call };
    if route.verb == Verb::Get { call.await } else { call.json(&body(route, things)).await }
}

/// Whether the door, and not what is behind it, has refused this.
fn is_refused(reply: &Reply) -> bool {
    // What the kits are told where nobody has connected (F-ERR-11).
    let is_told =
        ["Access token not set.", "Microsoft Teams tenant ID not set."].iter().any(|told| reply.text.contains(told));
    matches!(reply.status, 401 | 403) && !is_told
}

/// What a secret key reads everywhere.
async fn read_everywhere(world: &World, things: &Things) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for route in routes().into_iter().filter(|route| route.verb == Verb::Get) {
        let path = filled(route, things);
        let text = world.get(&path).sk().await.text;
        out.insert(path, text);
    }
    out
}

#[tokio::test]
async fn every_route_opens_to_its_callers_and_shows_and_changes_nothing_of_others() {
    let world = World::start().await;
    let things = things(&world).await;
    let before = read_everywhere(&world, &things).await;
    let shown = before.values().filter(|text| text.contains(CANARY)).count();
    assert!(shown >= 20, "only {shown} answers show what nobody else may see");
    let callers = callers(&world).await;
    let mut wrong = Vec::new();
    // Those first who change nothing of Ann's.
    for is_anns in [false, true] {
        for caller in callers.iter().filter(|caller| caller.is_anns == is_anns) {
            for route in routes() {
                let reply = sent(&world, caller, route, &things).await;
                let expected = (caller.refusal)(route);
                let found = is_refused(&reply).then_some(reply.status);
                let what = format!("{} to {} {}", caller.name, route.verb.as_str(), route.path);
                if found != expected {
                    wrong.push(format!("{what}: {found:?}, not {expected:?}: {}", reply.text));
                }
                if reply.text.contains(CANARY) && !(caller.is_anns && expected.is_none()) {
                    wrong.push(format!("{what} shows {}", reply.text));
                }
            }
        }
        if !is_anns {
            world.work().await;
            let after = read_everywhere(&world, &things).await;
            wrong.extend(
                before
                    .iter()
                    .filter(|(path, text)| after[*path] != **text)
                    .map(|(path, text)| format!("{path} was changed by those who may not:\n{text}\n{}", after[path])),
            );
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
}

/// F-AUT-09
#[tokio::test]
async fn enhanced_security_closes_every_route_to_public_keys_alone() {
    let world = World::with(Setup { enhanced_security: true, ..Setup::default() }).await;
    let things = things(&world).await;
    let alone = Caller { name: "", key: Some(world.pk.clone()), token: None, refusal: nobody, is_anns: false };
    for route in routes() {
        let reply = sent(&world, &alone, route, &things).await;
        let code = if route.keys == Keys::Secret { "incorrect_token_type" } else { "missing_user_token" };
        assert_eq!(reply.code(), (401, code.to_owned()), "{} {}", route.verb.as_str(), route.path);
    }
}

/// A token that gives one thing opens the routes of that thing and no others (F-GRN-08, F-GRN-09, F-GRN-10).
#[tokio::test]
async fn a_grant_opens_its_own_routes_only() {
    let world = World::start().await;
    let things = things(&world).await;
    let grants: std::collections::BTreeSet<&str> =
        routes().iter().filter_map(|route| route.grant).map(Grant::as_str).collect();
    for given in grants {
        let resources = json!({"https://api.knock.app/v1/users/ann": {given: []},
            "https://api.knock.app/v1/objects/teams/red": {given: []}});
        let token = world.token(&json!({"sub": "ann", "explicit_grants": true, "grants": resources}));
        let caller =
            Caller { name: "", key: Some(world.pk.clone()), token: Some(token), refusal: nobody, is_anns: true };
        for route in routes().into_iter().filter(|route| route.grant.is_some()) {
            let reply = sent(&world, &caller, route, &things).await;
            let is_its_own = route.grant.map(Grant::as_str) == Some(given);
            assert_eq!(
                !is_refused(&reply),
                is_its_own,
                "{given} to {} {}: {}",
                route.verb.as_str(),
                route.path,
                reply.text
            );
        }
    }
}
