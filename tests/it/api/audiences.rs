//! Audiences and their members.

use std::collections::BTreeMap;

use bellwire::model::audience::{Audience, Audiences};
use serde_json::{Value, json};

use crate::support::World;

const MEMBERS: &str = "/v1/audiences/vip/members";

/// A world whose files declare the static audience `vip`, for whose new members `comment` runs, and the dynamic `pro`.
async fn world() -> World {
    let world = World::start().await;
    let declared = [
        ("vip", json!({"name": "VIP", "type": "static"})),
        (
            "pro",
            json!({"name": "Pro", "type": "dynamic", "segments": [
                {"conditions": [{"property": "recipient.plan", "operator": "equal_to", "argument": "pro"}]}
            ]}),
        ),
    ];
    let declared = declared.map(|(key, document)| Audience::parse(key, &document).unwrap()).into();
    let joins = BTreeMap::from([("comment".to_owned(), "vip".to_owned())]);
    world.core.catalog.replace_audiences(Audiences::new(declared, joins));
    world.core.publish_audiences().await.unwrap();
    world
}

async fn add(world: &World, path: &str, body: &Value) {
    let reply = world.post(path).sk().json(body).await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-AUD-01 W-AUD-11 F-TRN-03");
}

fn who(list: &Value) -> Vec<(String, Option<String>)> {
    let entries = list["entries"].as_array().unwrap().iter();
    let tenant = |entry: &Value| entry["tenant"].as_str().map(str::to_owned);
    entries.map(|entry| (entry["user_id"].as_str().unwrap().to_owned(), tenant(entry))).collect()
}

#[tokio::test]
async fn members_are_added_listed_and_removed() {
    let world = world().await;
    let body = json!({"members": [{"user": {"id": "ann", "name": "Ann"}, "tenant": "acme"}, {"user": {"id": "ann"}, "tenant": null}]});
    add(&world, MEMBERS, &body).await;
    world.clock.advance_seconds(1);
    add(&world, MEMBERS, &json!({"members": [{"user": {"id": "bob", "plan": "pro"}}, {"user": "cem"}]})).await;
    let list = world.get(MEMBERS).sk().await.ok(200);
    let all = [("cem", None), ("bob", None), ("ann", Some("acme")), ("ann", None)]
        .map(|(user, tenant)| (user.to_owned(), tenant.map(str::to_owned)));
    assert_eq!(who(&list), all, "F-AUD-06 F-AUD-03 F-AMB-18");
    let [missing, _, entry, _] = [0, 1, 2, 3].map(|at| &list["entries"][at]);
    let expected = json!({"__typename": "AudienceMember", "user_id": "ann", "tenant": "acme",
        "added_at": "2026-09-21T14:13:20.000000Z", "user": world.get("/v1/users/ann").sk().await.ok(200)});
    assert_eq!(entry, &expected, "F-AUD-06");
    assert_eq!(
        (&entry["user"]["name"], &missing["user"]["__typename"]),
        (&json!("Ann"), &json!("MissingUser")),
        "F-AUD-02 F-AMB-20"
    );
    // F-AMB-65: its pages have the usual cursors.
    let first = world.get(&format!("{MEMBERS}?page_size=3")).sk().await.ok(200);
    assert_eq!(who(&first), all[..3], "F-AMB-65");
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("{MEMBERS}?page_size=3&after={after}")).sk().await.ok(200);
    assert_eq!(who(&second), all[3..], "F-AMB-65");
    let before = second["page_info"]["before"].as_str().unwrap();
    assert_eq!(
        who(&world.get(&format!("{MEMBERS}?page_size=3&before={before}")).sk().await.ok(200)),
        all[..3],
        "F-AMB-65"
    );
    // F-AUD-05, F-AMB-26: exactly that slot, and whoever is unknown stays unknown.
    let body =
        json!({"members": [{"user": {"id": "ann", "name": "Changed"}, "tenant": "acme"}, {"user": {"id": "nobody"}}]});
    let reply = world.delete(MEMBERS).sk().json(&body).await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-AUD-05 F-TRN-02");
    assert_eq!(
        who(&world.get(MEMBERS).sk().await.ok(200)),
        [all[0].clone(), all[1].clone(), all[3].clone()],
        "F-AUD-05"
    );
    assert_eq!(world.get("/v1/users/ann").sk().await.ok(200)["name"], "Ann", "F-AMB-26");
    assert_eq!(world.get("/v1/users/nobody").sk().await.status, 404, "F-AMB-26");
    // Those who joined, each in their tenant, were told, but for the one whom nobody has identified.
    world.work().await;
    for (user, count) in [("ann", 2), ("bob", 1), ("cem", 0)] {
        assert_eq!(world.feed(user).await["meta"]["total_count"], count, "F-AUD-08 W-AUD-01 {user}");
    }
    let runs = world.get("/v1/workflow_recipient_runs?tenant=acme").sk().await.ok(200);
    let expected = json!({"type": "audience", "audience_key": "vip", "cancellation_key": null, "schedule_id": null});
    assert_eq!(runs["items"][0]["trigger_source"], expected, "W-AUD-15 W-AUD-06");
}

#[tokio::test]
async fn an_unknown_audience_is_missing_unless_it_is_to_be_made() {
    let world = world().await;
    let (path, body) = ("/v1/audiences/beta/members", json!({"members": [{"user": {"id": "ann"}}]}));
    for reply in [
        world.get(path).sk().await,
        world.post(path).sk().json(&body).await,
        world.post(&format!("{path}?create_audience=false")).sk().json(&body).await,
        world.delete(path).sk().json(&body).await,
    ] {
        assert_eq!(reply.code(), (404, "resource_missing".to_owned()), "F-AUD-04");
    }
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "nobody is identified on the way");
    add(&world, &format!("{path}?create_audience=true"), &body).await;
    assert_eq!(who(&world.get(path).sk().await.ok(200)).len(), 1, "F-AUD-04");
    add(&world, path, &json!({"members": []})).await;
    assert_eq!(world.get(path).key(&world.foreign_sk).await.status, 404, "W-ENV-02: it is of one environment");
    // One that files declare is in each, with members of its own.
    let reply = world.post(MEMBERS).key(&world.foreign_sk).json(&body).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
    assert_eq!(who(&world.get(MEMBERS).sk().await.ok(200)), []);
    world.work().await;
    let runs = "/v1/workflow_recipient_runs";
    assert_eq!(world.get(runs).sk().await.ok(200)["items"], json!([]), "W-AUD-04");
    let foreign = world.get(runs).key(&world.foreign_sk).await.ok(200);
    assert_eq!(foreign["items"][0]["trigger_source"]["audience_key"], "vip", "W-AUD-04");
}

#[tokio::test]
async fn a_dynamic_audience_is_read_and_not_written() {
    let world = world().await;
    let path = "/v1/audiences/pro/members";
    world.put("/v1/users/ann").sk().json(&json!({"plan": "pro"})).await.ok(200);
    assert_eq!(who(&world.get(path).sk().await.ok(200)), [("ann".to_owned(), None)], "F-AUD-07 W-AUD-12");
    let body = json!({"members": [{"user": {"id": "ann"}}]});
    for reply in [world.post(path).sk().json(&body).await, world.delete(path).sk().json(&body).await] {
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-AMB-26 F-AUD-07");
    }
    world.put("/v1/users/ann").sk().json(&json!({"plan": "free"})).await.ok(200);
    assert_eq!(who(&world.get(path).sk().await.ok(200)), [], "W-AUD-12");
}

#[tokio::test]
async fn what_is_no_list_of_members_is_refused() {
    let world = world().await;
    let many: Vec<Value> = (0..1001).map(|n| json!({"user": {"id": format!("u{n}")}})).collect();
    for body in [
        json!({}),
        json!({"members": {}}),
        json!({"members": many}),
        json!({"members": [{}]}),
        json!({"members": [{"user": {"name": "x"}}]}),
        json!({"members": [{"user": {"id": "t", "collection": "teams"}}]}),
        json!({"members": [{"user": {"id": "ann"}, "tenant": 1}]}),
        json!({"members": [{"user": {"id": "ann"}, "tenant": "a#b"}]}),
        json!({"members": [{"user": {"id": "ann"}, "tenant": "a b"}]}),
        json!({"members": [{"user": {"id": "ann", "email": 1}}]}),
    ] {
        for reply in [world.post(MEMBERS).sk().json(&body).await, world.delete(MEMBERS).sk().json(&body).await] {
            assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-AUD-01 W-AUD-11 {body:.200}");
        }
    }
    assert_eq!(who(&world.get(MEMBERS).sk().await.ok(200)), []);
    let fits: Vec<Value> = (0..1000).map(|n| json!({"user": {"id": format!("u{n}")}})).collect();
    add(&world, MEMBERS, &json!({"members": fits})).await;
    assert_eq!(world.post(MEMBERS).pk().json(&json!({"members": []})).await.status, 401, "F-AUT-07");
}

/// Whoever becomes another takes along where they were put, and not where their properties had put them.
#[tokio::test]
async fn who_is_merged_brings_memberships_and_is_sorted_by_what_results() {
    let world = world().await;
    for (id, plan) in [("ann", json!("free")), ("bob", json!({})), ("guest", json!("pro")), ("other", json!("pro"))] {
        let body = if plan.is_string() { json!({"plan": plan}) } else { plan };
        world.put(&format!("/v1/users/{id}")).sk().json(&body).await.ok(200);
    }
    add(
        &world,
        MEMBERS,
        &json!({"members": [{"user": "guest"}, {"user": "guest", "tenant": "acme"}, {"user": "ann"}]}),
    )
    .await;
    world.work().await;
    for (into, from) in [("ann", "guest"), ("bob", "other")] {
        world.post(&format!("/v1/users/{into}/merge")).sk().json(&json!({"from_user_id": from})).await.ok(200);
    }
    world.work().await;
    let mut members = who(&world.get(MEMBERS).sk().await.ok(200));
    members.sort();
    let expected =
        [("ann", None), ("ann", Some("acme"))].map(|(id, tenant)| (id.to_owned(), tenant.map(str::to_owned)));
    assert_eq!(members, expected, "F-USR-15");
    let pro = who(&world.get("/v1/audiences/pro/members").sk().await.ok(200));
    assert_eq!(pro, [("bob".to_owned(), None)], "F-USR-15 W-AUD-12: ann is on another plan");
    assert_eq!(
        world.feed("ann").await["meta"]["total_count"],
        3,
        "one for each who was put there; nobody has joined anew"
    );
}
