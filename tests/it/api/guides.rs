//! Guides: whom they are shown to, and what becomes of what users do with them.

use std::collections::BTreeMap;

use bellwire::app::retention::forget;
use bellwire::model::audience::{Audience, Audiences};
use bellwire::model::guide::{Guide, Guides, Order};
use futures_util::future::join_all;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::client::Reply;
use crate::support::{FEED, GUIDES, World};

const DAY: i64 = 86_400;

/// A document of a guide that anybody is shown, with what is different.
fn document(more: &Value) -> Value {
    let mut document = json!({
        "name": "A guide",
        "channel_key": "in-app-guide",
        "steps": [{"ref": "step_1", "schema_key": "banner", "values": {"title": "Hello"}}],
    });
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    document
}

/// Makes these the guides, in the order of this group.
async fn declare(world: &World, guides: &[(&str, Value)], group: &Value) {
    let guides = guides.iter().map(|(key, more)| Guide::parse(key, &document(more)).unwrap()).collect();
    let guides = Guides::new(guides, Order::parse(group).unwrap());
    assert!(guides.faults(world.core.catalog.channels()).is_empty());
    world.core.declare_guides(&guides).await.unwrap();
    world.core.catalog.replace_guides(guides);
}

/// A world with these guides, in no particular order.
async fn world(guides: &[(&str, Value)]) -> World {
    let world = World::start().await;
    declare(&world, guides, &json!({})).await;
    world
}

async fn fetch_as(world: &World, user: &str, query: &str) -> Value {
    world.get(&format!("/v1/users/{user}/guides/{GUIDES}{query}")).sk().await.ok(200)
}

async fn fetch(world: &World) -> Value {
    fetch_as(world, "ann", "").await
}

fn keys(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect()
}

fn shown(answer: &Value) -> Vec<&str> {
    keys(&answer["entries"])
}

/// Why guides are not shown, by key.
fn reasons(answer: &Value) -> BTreeMap<&str, &str> {
    let markers = answer["ineligible_guides"].as_array().unwrap().iter();
    markers.map(|marker| (marker["key"].as_str().unwrap(), marker["reason"].as_str().unwrap())).collect()
}

fn id_of(world: &World, key: &str) -> Uuid {
    let environment = world.core.catalog.environment(world.env).unwrap().id;
    world.core.catalog.guides().get(key).unwrap().id(environment)
}

/// The body of an engagement with a guide's step.
fn body(world: &World, key: &str, more: &Value) -> Value {
    let mut body =
        json!({"channel_id": GUIDES, "guide_key": key, "guide_id": id_of(world, key), "guide_step_ref": "step_1"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn mark_as(world: &World, user: &str, status: &str, key: &str, more: Value) -> Reply {
    let path = format!("/v1/users/{user}/guides/messages/{status}");
    world.put(&path).sk().json(&body(world, key, &more)).await
}

/// Has `ann` do something with a guide.
async fn mark(world: &World, status: &str, key: &str, more: Value) {
    world.clock.advance_seconds(1);
    assert_eq!(mark_as(world, "ann", status, key, more).await.ok(200), json!({"status": "ok"}), "F-GDE-07");
}

async fn renew(world: &World, method: &str, path: &str, body: &Value) {
    world.clock.advance_seconds(1);
    let reply = world.call(method, &format!("/v1/users/ann/guides/{path}")).sk().json(body).await;
    assert_eq!(reply.ok(200), json!({"status": "ok"}), "F-GDE-09");
}

async fn messages(world: &World, query: &str) -> Vec<Value> {
    let list = world.get(&format!("/v1/messages{query}")).sk().await.ok(200);
    list["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn where_there_are_no_guides_all_four_members_are_empty() {
    let world = World::start().await;
    let empty = json!({"entries": [], "guide_groups": [], "guide_group_display_logs": {}, "ineligible_guides": []});
    assert_eq!(fetch(&world).await, empty, "F-GDE-01");
    assert_eq!(fetch_as(&world, "nobody", "?tenant=t&type=x&force_all_guides=true").await, empty, "F-GDE-01");
    for channel in [FEED, "00000000-0000-4000-8000-000000000000", "nonsense"] {
        let reply = world.get(&format!("/v1/users/ann/guides/{channel}")).sk().await;
        assert_eq!(reply.code(), (422, "channel_invalid".to_owned()), "F-FED-03 F-AMB-10");
    }
    for query in ["?data=1", "?data={", "?tenant=a%20b"] {
        let reply = world.get(&format!("/v1/users/ann/guides/{GUIDES}{query}")).sk().await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "{query}");
    }
}

#[tokio::test]
async fn a_guide_is_told_with_its_steps_and_nothing_is_null_that_pages_go_through() {
    let tour = json!({
        "activation_url_patterns": [{"directive": "allow", "pathname": "/dairy/*"}],
        "steps": [
            {"ref": "step_1", "schema_key": "tour", "schema_semver": "0.0.3", "schema_variant_key": "wide",
                "values": {"title": "Hi {{ recipient.name }}", "n": 1, "buttons": [{"text": "{{ data.plan }} {{ vars.brand }}"}]}},
            {"ref": "step_2", "schema_key": "tour", "values": {"boss": "{{ tenant.name }} {% assign b = 'bob' | user %}{{ b.name }}"}},
        ],
    });
    let world = world(&[("tour", tour)]).await;
    for (id, name) in [("ann", "Ann"), ("bob", "Bob")] {
        world.put(&format!("/v1/users/{id}")).sk().json(&json!({"name": name})).await.ok(200);
    }
    world.put("/v1/tenants/acme").sk().json(&json!({"name": "Acme"})).await.ok(200);
    let answer = fetch_as(&world, "ann", "?tenant=acme&data=%7B%22plan%22%3A%22pro%22%7D").await;
    let nothing = json!({"id": null, "seen_at": null, "read_at": null, "interacted_at": null, "archived_at": null,
        "link_clicked_at": null});
    let at = "2026-09-21T14:13:20.000000Z";
    let expected = json!({
        "__typename": "Guide", "id": id_of(&world, "tour"), "key": "tour", "type": "tour", "channel_id": GUIDES,
        "semver": "0.0.1", "active": true, "bypass_global_group_limit": false, "dashboard_url": null,
        "activation_url_rules": [],
        "activation_url_patterns": [{"directive": "allow", "pathname": "/dairy/*"}],
        "steps": [
            {"ref": "step_1", "schema_key": "tour", "schema_semver": "0.0.3", "schema_variant_key": "wide", "message": nothing,
                "content": {"title": "Hi Ann", "n": 1, "buttons": [{"text": "pro Acme"}]}},
            {"ref": "step_2", "schema_key": "tour", "schema_semver": "0.0.1", "schema_variant_key": "default", "message": nothing,
                "content": {"boss": "Acme Bob"}},
        ],
        "inserted_at": at, "updated_at": at,
    });
    assert_eq!(answer["entries"], json!([expected]), "F-GDE-02 F-GDE-03 F-GDE-04 F-TRN-14");
    assert_eq!(answer["ineligible_guides"], json!([]));
    assert_eq!(answer["guide_group_display_logs"], json!({}), "F-GDE-05");
    let rules = [("rules", json!({"activation_url_rules": [{"operator": "contains", "argument": "/a"}]}))];
    declare(&world, &rules, &json!({})).await;
    let entry = &fetch(&world).await["entries"][0];
    let told = json!([{"directive": "allow", "variable": "pathname", "operator": "contains", "argument": "/a"}]);
    assert_eq!((&entry["activation_url_rules"], &entry["activation_url_patterns"]), (&told, &json!([])), "F-GDE-03");
}

#[tokio::test]
async fn a_guide_keeps_its_id_and_each_change_is_a_version_of_its_own() {
    let world = world(&[("tour", json!({}))]).await;
    let first = fetch(&world).await["entries"][0].clone();
    world.clock.advance_seconds(60);
    declare(&world, &[("tour", json!({}))], &json!({})).await;
    assert_eq!(fetch(&world).await["entries"][0], first, "the same file is the same guide");
    declare(&world, &[("tour", json!({"name": "Another"}))], &json!({})).await;
    let second = fetch(&world).await["entries"][0].clone();
    assert_eq!((&second["id"], &second["inserted_at"]), (&first["id"], &first["inserted_at"]), "F-TRN-15");
    assert_eq!(second["semver"], "0.0.2");
    assert!(second["updated_at"].as_str() > first["updated_at"].as_str());
}

#[tokio::test]
async fn the_group_lists_active_guides_whoever_is_shown_them_oldest_first() {
    let world = World::start().await;
    let hidden = json!({"target_audience_key": "vip"});
    let off = json!({"active": false});
    let mut guides = vec![("zebra", hidden)];
    declare(&world, &guides, &json!({})).await;
    world.clock.advance_seconds(1);
    guides.extend([("apple", json!({})), ("mango", off), ("berry", json!({}))]);
    declare(&world, &guides, &json!({})).await;
    let answer = fetch(&world).await;
    assert_eq!(shown(&answer), ["apple", "berry"]);
    let group = &answer["guide_groups"][0];
    assert_eq!(group["display_sequence"], json!(["zebra", "apple", "berry"]), "F-GDE-05: default order oldest first");
    assert_eq!((&group["key"], &group["__typename"]), (&json!("default"), &json!("GuideGroup")), "F-GDE-05 F-TRN-14");
    assert_eq!(group["display_interval"], Value::Null, "F-GDE-05");
    world.clock.advance_seconds(1);
    let order =
        json!({"display_sequence_unthrottled": ["berry"], "display_sequence": ["apple"], "display_interval": 60});
    declare(&world, &guides, &order).await;
    let answer = fetch(&world).await;
    assert_eq!(shown(&answer), ["berry", "apple"], "F-GDE-05");
    let bypass: Vec<&Value> =
        answer["entries"].as_array().unwrap().iter().map(|guide| &guide["bypass_global_group_limit"]).collect();
    assert_eq!(bypass, [true, false], "F-GDE-03");
    let changed = &answer["guide_groups"][0];
    assert_eq!(changed["display_sequence"], json!(["berry", "apple", "zebra"]), "F-GDE-05");
    assert_eq!(changed["display_sequence_unthrottled"], json!(["berry"]), "F-GDE-05");
    assert_eq!(changed["display_sequence_throttled"], json!(["apple", "zebra"]), "F-GDE-05");
    assert_eq!(changed["display_interval"], 60, "F-GDE-05");
    assert_eq!(changed["inserted_at"], group["inserted_at"]);
    assert!(changed["updated_at"].as_str() > group["updated_at"].as_str());
}

#[tokio::test]
async fn guides_are_chosen_by_channel_and_by_type_and_all_are_told_when_forced() {
    let card = json!({"steps": [{"ref": "step_1", "schema_key": "card"}]});
    let world = world(&[("bar", json!({})), ("card", card), ("off", json!({"active": false}))]).await;
    assert_eq!(shown(&fetch(&world).await), ["bar", "card"]);
    let cards = fetch_as(&world, "ann", "?type=card").await;
    assert_eq!((shown(&cards), reasons(&cards).len()), (vec!["card"], 0), "F-GDE-01");
    let forced = fetch_as(&world, "ann", "?force_all_guides=true").await;
    assert_eq!(shown(&forced), ["bar", "card", "off"], "F-GDE-01");
    assert_eq!((&forced["entries"][2]["active"], reasons(&forced)["off"]), (&json!(false), "guide_not_active"));
    assert_eq!(forced["guide_groups"][0]["display_sequence"], json!(["bar", "card"]), "F-GDE-05: active ones");
}

#[tokio::test]
async fn who_is_not_shown_a_guide_learns_why() {
    let asks = |variable: &str, argument: &str| {
        json!({"target_property_conditions": {"all": [
            {"variable": variable, "operator": "equal_to", "argument": argument}]}})
    };
    let later = json!({"active_from": "2026-09-22T00:00:00Z"});
    let world = world(&[
        ("off", json!({"active": false})),
        ("later", later),
        ("vips", json!({"target_audience_key": "vip"})),
        ("pros", json!({"target_audience_key": "pro"})),
        ("others", json!({"target_audience_key": "others"})),
        ("named", asks("recipient.name", "Ann")),
        ("page", asks("data.page", "{{ recipient.home }}")),
        ("rich", asks("tenant.plan", "gold")),
        ("done", json!({})),
    ])
    .await;
    declare_audiences(&world).await;
    mark(&world, "archived", "done", json!({})).await;
    let answer = fetch_as(&world, "ann", "?data=%7B%22page%22%3A%22end%22%7D").await;
    assert_eq!(shown(&answer), Vec::<&str>::new(), "F-GDE-11");
    let expected = [
        ("off", "guide_not_active"),
        ("later", "guide_not_active"),
        ("vips", "not_in_target_audience"),
        ("pros", "not_in_target_audience"),
        // Nobody knows her yet: then nothing is known of her, and she is in no audience.
        ("others", "not_in_target_audience"),
        ("named", "target_conditions_not_met"),
        ("page", "target_conditions_not_met"),
        ("rich", "target_conditions_not_met"),
        ("done", "marked_as_archived"),
    ];
    assert_eq!(reasons(&answer), BTreeMap::from(expected), "F-GDE-06 F-GDE-11");
    let marker = answer["ineligible_guides"].as_array().unwrap().iter().find(|marker| marker["key"] == "done").unwrap();
    let told = json!({"__typename": "GuideIneligibilityMarker", "key": "done", "reason": "marked_as_archived",
        "message": "User has archived this guide already"});
    assert_eq!(marker, &told, "F-GDE-06 F-TRN-14");
    let ann = json!({"name": "Ann", "plan": "pro", "home": "start"});
    world.put("/v1/users/ann").sk().json(&ann).await.ok(200);
    world.put("/v1/tenants/acme").sk().json(&json!({"plan": "gold"})).await.ok(200);
    world.clock.advance_seconds(DAY);
    join(&world, "ann", None).await;
    let answer = fetch_as(&world, "ann", "?tenant=acme&data=%7B%22page%22%3A%22start%22%7D").await;
    assert_eq!(
        shown(&answer),
        ["later", "named", "page", "pros", "rich", "vips"],
        "F-GDE-11: computed as it is fetched"
    );
}

async fn declare_audiences(world: &World) {
    let dynamic = |operator: &str| {
        json!({"name": "Pro", "type": "dynamic", "segments": [
            {"conditions": [{"property": "recipient.plan", "operator": operator, "argument": "pro"}]}]})
    };
    let declared = [
        ("vip", json!({"name": "VIP", "type": "static"})),
        ("pro", dynamic("equal_to")),
        ("others", dynamic("not_equal_to")),
    ];
    let declared = declared.map(|(key, document)| Audience::parse(key, &document).unwrap()).into();
    world.core.catalog.replace_audiences(Audiences::new(declared, BTreeMap::new()));
    world.core.publish_audiences().await.unwrap();
}

async fn join(world: &World, user: &str, tenant: Option<&str>) {
    let members = json!({"members": [{"user": {"id": user}, "tenant": tenant}]});
    assert_eq!(world.post("/v1/audiences/vip/members").sk().json(&members).await.status, 204);
}

#[tokio::test]
async fn strict_guides_ask_in_which_tenant_somebody_is_a_member() {
    let strict = |key: &str| json!({"target_audience_key": key, "tenancy_strict_mode": true});
    let loose = json!({"target_audience_key": "vip"});
    let world = world(&[("loose", loose), ("pros", strict("pro")), ("strict", strict("vip"))]).await;
    declare_audiences(&world).await;
    join(&world, "ann", Some("acme")).await;
    join(&world, "bob", None).await;
    world.put("/v1/users/bob").sk().json(&json!({"plan": "pro"})).await.ok(200);
    for (user, tenant, expected) in [
        ("ann", "?tenant=acme", vec!["loose", "strict"]),
        ("ann", "?tenant=other", vec!["loose"]),
        ("ann", "", vec!["loose"]),
        ("bob", "?tenant=acme", vec!["loose"]),
        ("bob", "", vec!["loose", "pros", "strict"]),
        ("cem", "", vec![]),
    ] {
        assert_eq!(shown(&fetch_as(&world, user, tenant).await), expected, "F-GDE-11 {user} {tenant}");
    }
}

#[tokio::test]
async fn conditions_may_ask_for_audiences_under_the_tenant() {
    let asks = |key: &str| {
        json!({"target_property_conditions": {"all": [
            {"variable": "recipient", "operator": "is_audience_member", "argument": key}]}})
    };
    let world = world(&[("pros", asks("pro")), ("vips", asks("vip"))]).await;
    declare_audiences(&world).await;
    world.put("/v1/users/ann").sk().json(&json!({"plan": "pro"})).await.ok(200);
    join(&world, "ann", Some("acme")).await;
    assert_eq!(shown(&fetch(&world).await), ["pros"], "F-GDE-11 W-CND-50");
    assert_eq!(shown(&fetch_as(&world, "ann", "?tenant=acme").await), ["vips"], "F-GDE-11 W-CND-50");
}

#[tokio::test]
async fn what_a_user_does_first_makes_the_message_and_the_rest_is_noted_on_it() {
    let world = world(&[("tour", json!({}))]).await;
    mark(&world, "seen", "tour", json!({"content": {"title": "Hello"}, "data": {"plan": "pro"}, "tenant": "acme"}))
        .await;
    let told = messages(&world, "?source=tour").await;
    let [message] = &told[..] else { panic!("F-GDE-10: one message: {told:?}") };
    let version = world.core.catalog.guides().get("tour").unwrap().version;
    let source = json!({"__typename": "NotificationSource", "key": "tour", "version_id": version, "categories": [],
        "step_ref": "step_1", "type": "guide", "workflow_run_id": null, "workflow_recipient_run_id": null});
    assert_eq!(message["source"], source, "F-GDE-10 F-MSG-04 W-RUN-20");
    assert_eq!((&message["workflow"], &message["status"]), (&Value::Null, &json!("delivered")));
    assert_eq!(message["channel"]["type"], "in_app_guide", "D-DLV-52 F-MSG-04");
    assert_eq!(message["channel"]["provider"], "in_app_guide_knock", "F-MSG-04");
    assert_eq!((&message["recipient"], &message["tenant"]), (&json!("ann"), &json!("acme")));
    assert_eq!((&message["data"], &message["engagement_statuses"]), (&json!({"plan": "pro"}), &json!(["seen"])));
    let id = message["id"].as_str().unwrap();
    let content = world.get(&format!("/v1/messages/{id}/content")).sk().await.ok(200);
    assert_eq!(content["data"]["content"], json!({"title": "Hello"}), "what was shown is kept");
    assert_eq!(world.get(&format!("/v1/messages/{id}/activities")).sk().await.ok(200)["items"], json!([]));
    mark(&world, "interacted", "tour", json!({"metadata": {"nps_score": 8, "why": {"text": "good"}}})).await;
    let told = messages(&world, "").await;
    assert_eq!(told.len(), 1, "F-GDE-10: the first makes it");
    let message = &told[0];
    assert!(message["interacted_at"].is_string(), "F-GDE-12");
    assert_eq!(message["interacted_at"], message["read_at"], "F-GDE-12 F-AMB-46");
    assert_eq!(message["metadata"]["nps_score"], 8);
    let step = &fetch(&world).await["entries"][0]["steps"][0]["message"];
    for stamp in ["id", "seen_at", "read_at", "interacted_at", "archived_at", "link_clicked_at"] {
        assert_eq!(step[stamp], message[stamp], "F-GDE-04 F-GDE-12 {stamp}");
    }
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    let interacted =
        events["items"].as_array().unwrap().iter().find(|one| one["type"] == "message.interacted").unwrap();
    assert_eq!(interacted["data"]["why"], json!({"text": "good"}), "whoever consumes the events has it");
    // What is marked as a message is marked as a guide.
    world.put(&format!("/v1/messages/{id}/archived")).pk().await.ok(200);
    assert_eq!(reasons(&fetch(&world).await)["tour"], "marked_as_archived", "F-AUT-18");
}

#[tokio::test]
async fn what_is_seen_after_something_else_is_kept_as_well() {
    let world = world(&[("tour", json!({}))]).await;
    mark(&world, "interacted", "tour", json!({})).await;
    mark(&world, "seen", "tour", json!({"content": {"title": "Hello"}, "data": {"n": 1}})).await;
    let told = messages(&world, "").await;
    let [message] = &told[..] else { panic!("F-GDE-10") };
    assert_eq!((&message["data"], &message["metadata"]), (&json!({"n": 1}), &Value::Null));
    let content = world.get(&format!("/v1/messages/{}/content", message["id"].as_str().unwrap())).sk().await.ok(200);
    assert_eq!(content["data"]["content"], json!({"title": "Hello"}));
}

#[tokio::test]
async fn a_guide_is_in_no_feed_and_in_no_count() {
    let world = world(&[("tour", json!({"name": "In a feed"}))]).await;
    world.tell("ann", json!({"n": 1}), None).await;
    mark(&world, "seen", "tour", json!({"content": {}})).await;
    let feed = world.feed("ann").await;
    assert_eq!(feed["entries"].as_array().unwrap().len(), 1);
    assert_eq!((&feed["meta"]["total_count"], &feed["meta"]["unseen_count"]), (&json!(1), &json!(1)));
    let head = world.core.store.feed_head(world.env, GUIDES, "ann").await.unwrap();
    assert_eq!(head.id, 0, "nor in one of its own channel");
    assert_eq!(messages(&world, "").await.len(), 2);
    assert_eq!(messages(&world, &format!("?channel_id={GUIDES}")).await.len(), 1);
}

#[tokio::test]
async fn a_guide_with_several_steps_is_done_with_when_all_are_or_when_one_is_final() {
    let steps = json!({"steps": [{"ref": "step_1", "schema_key": "tour"}, {"ref": "step_2", "schema_key": "tour"}]});
    let world = world(&[("tour", steps)]).await;
    mark(&world, "archived", "tour", json!({})).await;
    let answer = fetch(&world).await;
    let archived = |step: usize| answer["entries"][0]["steps"][step]["message"]["archived_at"].is_string();
    assert!(archived(0) && !archived(1), "F-GDE-04: a step by itself");
    mark(&world, "archived", "tour", json!({"guide_step_ref": "step_2"})).await;
    assert_eq!(reasons(&fetch(&world).await)["tour"], "marked_as_archived", "F-GDE-11");
    assert_eq!(messages(&world, "").await.len(), 2, "a message for each step");
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "tour"})).await;
    assert_eq!(shown(&fetch(&world).await), ["tour"], "F-GDE-09");
    mark(&world, "archived", "tour", json!({"is_final": true})).await;
    assert_eq!(reasons(&fetch(&world).await)["tour"], "marked_as_archived", "F-GDE-07: is_final");
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "tour"})).await;
    mark(&world, "archived", "tour", json!({"is_final": false})).await;
    assert_eq!(shown(&fetch(&world).await), ["tour"], "F-GDE-09: what was final is so no more");
}

#[tokio::test]
async fn who_dismisses_a_guide_waits_for_the_next_unless_it_was_unthrottled() {
    let world = world(&[("bar", json!({})), ("tour", json!({}))]).await;
    let log = async || fetch(&world).await["guide_group_display_logs"].clone();
    mark(&world, "seen", "tour", json!({"content": {}})).await;
    mark(&world, "archived", "bar", json!({"unthrottled": true})).await;
    assert_eq!(log().await, json!({}), "F-GDE-10: unthrottled");
    mark(&world, "archived", "tour", json!({"unthrottled": false})).await;
    let at = world.clock.now().to_string();
    assert_eq!(log().await, json!({"default": at}), "F-GDE-05 F-GDE-10");
    mark(&world, "archived", "tour", json!({"unthrottled": true})).await;
    assert_eq!(log().await, json!({"default": at}), "F-GDE-10: once more, and it opens none");
    mark(&world, "archived", "bar", json!({"unthrottled": true})).await;
    assert_eq!(log().await, json!({"default": at}), "F-GDE-10: the window stays as it was");
    mark(&world, "archived", "bar", json!({})).await;
    assert_eq!(log().await, json!({"default": world.clock.now().to_string()}), "F-GDE-05: the last dismissal");
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "bar"})).await;
    assert_eq!(log().await, json!({"default": at}), "F-GDE-09: what it opened is closed with it");
    assert_eq!(fetch_as(&world, "bob", "").await["guide_group_display_logs"], json!({}), "each user for themselves");
}

#[tokio::test]
async fn a_guide_is_archived_for_good_or_in_each_tenant() {
    let world = world(&[("each", json!({"scope": "per_tenant"})), ("once", json!({}))]).await;
    mark(&world, "archived", "each", json!({"tenant": "acme"})).await;
    mark(&world, "archived", "once", json!({"tenant": "acme"})).await;
    for (tenant, expected) in [("?tenant=acme", vec![]), ("?tenant=other", vec!["each"]), ("", vec!["each"])] {
        let answer = fetch_as(&world, "ann", tenant).await;
        assert_eq!(shown(&answer), expected, "F-GDE-11 {tenant}");
        assert_eq!(reasons(&answer)["once"], "marked_as_archived", "F-GDE-11 {tenant}");
    }
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "each", "tenant": "other"})).await;
    assert_eq!(shown(&fetch_as(&world, "ann", "?tenant=acme").await), Vec::<&str>::new(), "F-GDE-09: another tenant's");
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "each", "tenant": "acme"})).await;
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "once", "tenant": "other"})).await;
    assert_eq!(shown(&fetch_as(&world, "ann", "?tenant=acme").await), ["each", "once"], "F-GDE-09");
}

#[tokio::test]
async fn unarchiving_leaves_the_rest_and_a_reset_begins_anew() {
    let world = world(&[("tour", json!({}))]).await;
    mark(&world, "seen", "tour", json!({"content": {}})).await;
    mark(&world, "archived", "tour", json!({})).await;
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "tour"})).await;
    let step = fetch(&world).await["entries"][0]["steps"][0]["message"].clone();
    assert!(step["seen_at"].is_string() && step["archived_at"].is_null(), "F-GDE-09");
    let id = step["id"].as_str().unwrap();
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    assert_eq!(events["items"][0]["type"], "message.unarchived", "F-GDE-09 F-STA-17");
    mark(&world, "archived", "tour", json!({})).await;
    renew(&world, "PUT", "engagements/reset", &json!({"guide_key": "tour", "tenant": null})).await;
    let answer = fetch(&world).await;
    let nothing = json!({"id": null, "seen_at": null, "read_at": null, "interacted_at": null, "archived_at": null,
        "link_clicked_at": null});
    assert_eq!(answer["entries"][0]["steps"][0]["message"], nothing, "F-GDE-09");
    assert_eq!(answer["guide_group_display_logs"], json!({}), "F-GDE-09: nothing was dismissed");
    mark(&world, "seen", "tour", json!({"content": {}})).await;
    let told = messages(&world, "").await;
    assert_eq!(told.len(), 2, "F-GDE-09: a fresh one");
    assert_ne!(fetch(&world).await["entries"][0]["steps"][0]["message"]["id"], id, "F-GDE-09");
    // Twice, and where nothing was done: no matter.
    renew(&world, "PUT", "engagements/reset", &json!({"guide_key": "tour"})).await;
    renew(&world, "PUT", "engagements/reset", &json!({"guide_key": "tour"})).await;
    renew(&world, "DELETE", "messages/archived", &json!({"guide_key": "tour"})).await;
}

#[tokio::test]
async fn older_paths_lead_to_the_same() {
    let world = world(&[("tour", json!({}))]).await;
    for base in ["guides/messages/some-message".to_owned(), format!("guides/{GUIDES}/messages/some-message")] {
        for (status, stamp) in [("seen", "seen_at"), ("interacted", "interacted_at"), ("archived", "archived_at")] {
            world.clock.advance_seconds(1);
            let path = format!("/v1/users/ann/{base}/{status}");
            let body = body(&world, "tour", &json!({"content": {}}));
            assert_eq!(world.put(&path).sk().json(&body).await.ok(200), json!({"status": "ok"}), "F-GDE-08 {path}");
            let told = messages(&world, "").await;
            assert_eq!((told.len(), &told[0][stamp]), (1, &json!(world.clock.now())), "F-GDE-08 F-AMB-51 {path}");
        }
    }
    assert_eq!(world.put("/v1/users/ann/guides/messages/some-message/read").sk().await.status, 404, "F-GDE-08");
}

#[tokio::test]
async fn what_does_not_fit_together_is_refused_with_its_name() {
    let world = world(&[("tour", json!({}))]).await;
    for (more, field) in [
        (json!({"guide_key": "tuor"}), "guide_key"),
        (json!({"guide_id": Uuid::nil()}), "guide_id"),
        (json!({"guide_step_ref": "step_9"}), "guide_step_ref"),
        (json!({"guide_id": "1"}), "guide_id"),
        (json!({"guide_key": null}), "guide_key"),
        (json!({"tenant": "a b"}), "tenant"),
        (json!({"unthrottled": 1}), "unthrottled"),
    ] {
        let reply = mark_as(&world, "ann", "archived", "tour", more.clone()).await;
        assert_eq!((reply.status, &reply.json()["errors"][0]["field"]), (422, &json!(field)), "F-GDE-07 {more}");
    }
    let reply = mark_as(&world, "ann", "archived", "tour", json!({"channel_id": FEED})).await;
    assert_eq!(reply.code(), (422, "channel_invalid".to_owned()), "F-GDE-07");
    let reply = mark_as(&world, "ann", "seen", "tour", json!({})).await;
    assert_eq!(reply.json()["errors"][0]["field"], "content", "F-GDE-07");
    for (method, path) in [("DELETE", "messages/archived"), ("PUT", "engagements/reset")] {
        for body in [json!({}), json!({"guide_key": "none"}), json!({"guide_key": 1})] {
            let reply = world.call(method, &format!("/v1/users/ann/guides/{path}")).sk().json(&body).await;
            assert_eq!(
                (reply.status, &reply.json()["errors"][0]["field"]),
                (422, &json!("guide_key")),
                "F-GDE-09 {body}"
            );
        }
    }
    assert!(messages(&world, "").await.is_empty());
    // Switched off while it is before somebody's eyes: what they do with it is noted.
    declare(&world, &[("tour", json!({"active": false}))], &json!({})).await;
    mark(&world, "archived", "tour", json!({})).await;
}

#[tokio::test]
async fn users_reach_their_own_guides_with_the_grants_for_them() {
    let world = world(&[("tour", json!({}))]).await;
    let granted = |grant: &str| {
        let grants = json!({"https://api.knock.app/v1/users/ann": {grant: [{}]}});
        world.token(&json!({"sub": "ann", "grants": grants, "explicit_grants": true}))
    };
    let (plain, read, write) = (world.token_of("ann"), granted("user/guide_read"), granted("user/guide_write"));
    let list = format!("guides/{GUIDES}");
    let renewal = json!({"guide_key": "tour"});
    let archived = body(&world, "tour", &json!({}));
    for (method, path, body, is_read) in [
        ("GET", list.as_str(), Value::Null, true),
        ("PUT", "guides/messages/archived", archived.clone(), false),
        ("PUT", "guides/messages/m/archived", archived, false),
        ("DELETE", "guides/messages/archived", renewal.clone(), false),
        ("PUT", "guides/engagements/reset", renewal, false),
    ] {
        let status = async |user: &str, token: &str| {
            world.call(method, &format!("/v1/users/{user}/{path}")).pk().token(token).json(&body).await.status
        };
        assert_eq!(status("ann", &plain).await, 200, "F-GRN-06 F-GRN-08 {method} {path}");
        assert_eq!(status("bob", &plain).await, 403, "F-AUT-15 {method} {path}");
        assert_eq!(status("ann", &read).await, if is_read { 200 } else { 403 }, "F-GRN-08 {method} {path}");
        assert_eq!(status("ann", &write).await, if is_read { 403 } else { 200 }, "F-GRN-08 {method} {path}");
    }
}

#[tokio::test]
async fn who_does_several_things_at_once_makes_one_message() {
    let world = world(&[("tour", json!({}))]).await;
    let all = (0..12).map(|n| {
        let (status, more) = if n % 2 == 0 { ("seen", json!({"content": {}})) } else { ("interacted", json!({})) };
        mark_as(&world, "ann", status, "tour", more)
    });
    for reply in join_all(all).await {
        reply.ok(200);
    }
    let told = messages(&world, "").await;
    let [message] = &told[..] else { panic!("F-GDE-10: {told:?}") };
    assert!(message["seen_at"].is_string() && message["interacted_at"].is_string(), "F-GDE-10");
}

#[tokio::test]
async fn what_is_known_of_guides_outlives_what_is_kept_for_a_time() {
    let world = world(&[("tour", json!({}))]).await;
    mark(&world, "archived", "tour", json!({})).await;
    world.clock.advance_seconds(400 * DAY);
    assert_eq!(forget(&world.core, 30).await.unwrap(), 0);
    assert_eq!(reasons(&fetch(&world).await)["tour"], "marked_as_archived", "F-GDE-11");
    // What a reset has left behind is history like any other.
    renew(&world, "PUT", "engagements/reset", &json!({"guide_key": "tour"})).await;
    world.clock.advance_seconds(DAY);
    assert_eq!(forget(&world.core, 30).await.unwrap(), 1);
    assert!(messages(&world, "").await.is_empty());
}

#[tokio::test]
async fn a_message_that_is_gone_leaves_the_guide_as_it_was_before() {
    let world = world(&[("tour", json!({}))]).await;
    mark(&world, "archived", "tour", json!({"is_final": true})).await;
    let id = messages(&world, "").await[0]["id"].as_str().unwrap().to_owned();
    let mut batch = bellwire::store::Batch::new();
    batch.remove_messages(world.env, &[id]);
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(shown(&fetch(&world).await), ["tour"]);
    mark(&world, "seen", "tour", json!({"content": {}})).await;
    assert_eq!(messages(&world, "").await.len(), 1, "F-GDE-10");
    let answer = fetch(&world).await;
    assert_eq!((shown(&answer), &answer["guide_group_display_logs"]), (vec!["tour"], &json!({})));
}

#[tokio::test]
async fn who_is_deleted_leaves_nothing_and_who_is_merged_keeps_what_was_done() {
    let world = world(&[("both", json!({})), ("tour", json!({}))]).await;
    for user in ["ann", "guest"] {
        world.put(&format!("/v1/users/{user}")).sk().json(&json!({})).await.ok(200);
    }
    mark_as(&world, "guest", "archived", "tour", json!({})).await.ok(200);
    mark_as(&world, "guest", "archived", "both", json!({})).await.ok(200);
    mark_as(&world, "ann", "seen", "both", json!({"content": {}})).await.ok(200);
    world.clock.advance_seconds(60 * DAY);
    world.post("/v1/users/ann/merge").sk().json(&json!({"from_user_id": "guest"})).await.ok(200);
    let answer = fetch(&world).await;
    assert_eq!(shown(&answer), ["both"], "F-USR-15: what one has done oneself comes first");
    let own = &answer["entries"][0]["steps"][0]["message"];
    assert!(own["seen_at"].is_string() && own["archived_at"].is_null(), "F-USR-15: {own}");
    assert_eq!(messages(&world, "").await.len(), 2, "F-USR-15: one of each guide");
    assert_eq!(reasons(&answer)["tour"], "marked_as_archived", "F-USR-15 F-GDE-11");
    let rows = async || {
        let sql = "SELECT count(*) FROM guide_engagements WHERE user_id = ?1";
        let mut counts = Vec::new();
        for user in ["ann", "guest"] {
            let params = bellwire::params![user];
            counts.push(world.core.store.query_one(sql, &params, |row| row.int(0)).await.unwrap().unwrap());
        }
        counts
    };
    assert_eq!(rows().await, [2, 0]);
    assert_eq!(world.delete("/v1/users/ann").sk().await.status, 204);
    assert_eq!(rows().await, [0, 0]);
    assert!(messages(&world, "").await.is_empty());
    assert_eq!(shown(&fetch(&world).await), ["both", "tour"]);
}
