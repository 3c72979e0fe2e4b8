//! Tenants.

use serde_json::{Value, json};

use super::objects::{outcome, worked_on};
use crate::support::{PUSH, Setup, World};

const ACME: &str = "/v1/tenants/acme";

fn ids(list: &Value) -> Vec<&str> {
    list["entries"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn setting_creates_and_merges() {
    let world = World::start().await;
    let made = world.put(ACME).sk().await.ok(200);
    assert_eq!(made, json!({"__typename": "Tenant", "id": "acme", "settings": null}), "F-TEN-02 F-TEN-03");
    let body = json!({"id": "other", "name": "Acme", "plan": {"tier": "pro", "seats": 3},
        "settings": {"branding": {"primary_color": "#123456", "logo_url": "https://x.io/l.png"}}});
    world.put(ACME).sk().json(&body).await.ok(200);
    let body = json!({"plan": {"seats": 4}, "settings": {"branding": {"logo_url": null, "dark_icon_url": "http://x.io/i.png"}}});
    let set = world.put(ACME).sk().json(&body).await.ok(200);
    let branding = json!({"primary_color": "#123456", "logo_url": null, "dark_icon_url": "http://x.io/i.png"});
    let expected = json!({"__typename": "Tenant", "id": "acme", "name": "Acme", "plan": {"tier": "pro", "seats": 4},
        "settings": {"branding": branding, "preference_set": null}});
    assert_eq!(set, expected, "F-TEN-02 F-TEN-03 F-TEN-04 F-AMB-23");
    assert_eq!(world.get(ACME).sk().await.ok(200), set, "F-TEN-01");
    assert_eq!(world.get("/v1/tenants/none").sk().await.code(), (404, "resource_missing".to_owned()), "F-TEN-01");
    assert_eq!(world.get(ACME).key(&world.foreign_sk).await.status, 404, "F-AUT-22");
    for (body, field) in [
        (json!({"name": 1}), "name"),
        (json!({"settings": 1}), "settings"),
        (json!({"settings": {"branding": {"logo_url": "nowhere"}}}), "settings.branding.logo_url"),
        (json!({"settings": {"preference_set": {"workflows": {"x": 1}}}}), "settings.preference_set.workflows.x"),
    ] {
        let reply = world.put(ACME).sk().json(&body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-TEN-04 {body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "F-TEN-04 {body}");
    }
    assert_eq!(world.get(ACME).sk().await.ok(200), set, "what is refused changes nothing");
}

#[tokio::test]
async fn its_preferences_are_merged_replaced_and_taken_away() {
    let world = World::start().await;
    let put = async |settings: Value| world.put(ACME).sk().json(&json!({"settings": settings})).await.ok(200);
    let set = |mut members: Value| {
        let mut all = json!({"id": "default", "categories": null, "workflows": null, "channel_types": null, "channels": null,
            "commercial_subscribed": null});
        all.as_object_mut().unwrap().append(members.as_object_mut().unwrap());
        all
    };
    let first = put(json!({"preference_set": {"workflows": {"a": false}, "channel_types": {"email": true}}})).await;
    let expected = set(json!({"workflows": {"a": false}, "channel_types": {"email": true}}));
    assert_eq!(first["settings"], json!({"branding": null, "preference_set": expected}), "F-TEN-03 F-PRF-07");
    let second = put(json!({"preference_set": {"workflows": {"b": true}, "channel_types": null}})).await;
    let expected = set(json!({"workflows": {"a": false, "b": true}}));
    assert_eq!(second["settings"]["preference_set"], expected, "F-TEN-05 F-PRF-11");
    for left_out in [json!({}), json!({"branding": {"primary_color": "#fff"}}), Value::Null] {
        assert_eq!(put(left_out.clone()).await["settings"]["preference_set"], expected, "F-TEN-07 {left_out}");
    }
    let replaced =
        put(json!({"preference_set": {"__persistence_strategy__": "replace", "workflows": {"c": true}}})).await;
    assert_eq!(replaced["settings"]["preference_set"], set(json!({"workflows": {"c": true}})), "F-TEN-05 F-PRF-12");
    assert_eq!(replaced["settings"]["branding"], json!({"primary_color": "#fff"}), "F-TEN-07");
    let gone = put(json!({"preference_set": null})).await;
    assert_eq!(gone["settings"], json!({"branding": {"primary_color": "#fff"}, "preference_set": null}), "F-TEN-06");
    let again = put(json!({"preference_set": {"workflows": {"d": true}}})).await;
    assert_eq!(again["settings"]["preference_set"], set(json!({"workflows": {"d": true}})), "F-TEN-06: completely");
    assert_eq!(put(json!({"branding": null})).await["settings"]["branding"], Value::Null, "F-AMB-23");
}

#[tokio::test]
async fn what_it_prefers_is_shown_alone_or_over_what_the_environment_does() {
    let world = World::with(Setup {
        preferences: Some(json!({"workflows": {"a": false, "b": false}, "channel_types": {"email": false}})),
        ..Setup::default()
    })
    .await;
    let body = json!({"settings": {"preference_set": {"workflows": {"b": true}}}});
    let set = world.put(ACME).sk().json(&body).await.ok(200);
    assert_eq!(set["settings"]["preference_set"]["workflows"], json!({"b": true}), "F-TEN-08: what is stored");
    let query = "resolve_full_preference_settings";
    for call in [world.get(&format!("{ACME}?{query}=true")), world.put(&format!("{ACME}?{query}=true"))] {
        let resolved = call.sk().await.ok(200)["settings"]["preference_set"].clone();
        let expected = json!({"id": "default", "workflows": {"a": false, "b": true}, "channel_types": {"email": false},
            "categories": null, "channels": null, "commercial_subscribed": null});
        assert_eq!(resolved, expected, "F-TEN-08");
    }
    assert_eq!(world.get(&format!("{ACME}?{query}=false")).sk().await.ok(200), set, "F-TEN-08");
    let reply = world.put(&format!("/v1/tenants/new?{query}=perhaps")).sk().await;
    assert_eq!(reply.code().0, 422, "F-TEN-08");
    assert_eq!(world.get("/v1/tenants/new").sk().await.status, 404, "nothing is done before it is refused");
}

/// Whom a run is for is asked what they want in its tenant: what the tenant says holds where they say nothing.
#[tokio::test]
async fn what_a_tenant_prefers_holds_in_it() {
    let world = World::start().await;
    let off = json!({"settings": {"preference_set": {"workflows": {"comment": false}}}});
    world.put(ACME).sk().json(&off).await.ok(200);
    let told = async |tenant: Option<&str>| {
        world.clock.advance(1);
        let before = world.feed("ann").await["meta"]["total_count"].as_i64().unwrap();
        world.trigger("comment", &json!({"recipients": [{"id": "ann"}], "tenant": tenant})).await;
        world.feed("ann").await["meta"]["total_count"].as_i64().unwrap() > before
    };
    assert!(!told(Some("acme")).await, "F-PEV-02");
    assert!(told(Some("globex")).await && told(None).await, "F-PEV-03");
    world.put(ACME).sk().json(&json!({"settings": {"preference_set": null}})).await.ok(200);
    assert!(told(Some("acme")).await, "F-TEN-06");
    // What it wants for itself is another matter.
    let own = json!({"id": "acme", "preferences": {"default": {"workflows": {"comment": false}}}, "channel_data": {PUSH: {"tokens": ["a"]}}});
    world.trigger("comment", &json!({"recipients": [{"id": "bob"}], "tenant": own})).await;
    assert_eq!(world.feed("bob").await["meta"]["total_count"], 1, "F-TEN-13: its own sets are no defaults of others");
    let sets = world.core.store.preference_sets(world.env, "#$tenants#acme").await.unwrap();
    assert_eq!(sets, [("default".to_owned(), json!({"workflows": {"comment": false}}))], "F-TEN-13");
    let data = world.core.store.channel_data(world.env, "#$tenants#acme").await.unwrap();
    assert_eq!(data, [(PUSH.to_owned(), json!({"tokens": ["a"]}))], "F-TEN-13");
    assert_eq!(world.get(ACME).sk().await.ok(200)["settings"]["preference_set"], Value::Null, "F-TEN-13");
}

#[tokio::test]
async fn tenants_are_listed_newest_first_and_found_by_id_and_name() {
    let world = World::start().await;
    for (id, name) in [("a", "Alpha"), ("b", "Beta"), ("c", "Alpha")] {
        world.clock.advance_seconds(1);
        world.put(&format!("/v1/tenants/{id}")).sk().json(&json!({"name": name})).await.ok(200);
    }
    world.put("/v1/objects/teams/x").sk().json(&json!({"name": "Alpha"})).await.ok(200);
    let first = world.get("/v1/tenants?page_size=2").sk().await.ok(200);
    assert_eq!((ids(&first), &first["page_info"]["total_count"]), (vec!["c", "b"], &json!(3)), "F-TEN-09 F-AMB-18");
    assert_eq!(first["entries"][0]["__typename"], "Tenant", "F-TEN-03");
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("/v1/tenants?page_size=2&after={after}")).sk().await.ok(200);
    assert_eq!(ids(&second), ["a"], "F-TEN-09 F-PAG-05");
    for (query, expected) in [
        ("tenant_id=b", vec!["b"]),
        ("tenant_id=B", vec![]),
        ("name=Alpha", vec!["c", "a"]),
        ("name=alpha", vec![]),
        ("name=Alph", vec![]),
        ("name=Alpha&tenant_id=a", vec!["a"]),
        ("name=Beta&tenant_id=a", vec![]),
        ("name=Alpha&page_size=1", vec!["c"]),
    ] {
        let list = world.get(&format!("/v1/tenants?{query}")).sk().await.ok(200);
        assert_eq!(ids(&list), expected, "F-TEN-09 F-AMB-24 {query}");
    }
    world.put("/v1/tenants/a").sk().json(&json!({"name": null})).await.ok(200);
    let list = world.get("/v1/tenants?name=Alpha").sk().await.ok(200);
    assert_eq!((ids(&list), &list["page_info"]["total_count"]), (vec!["c"], &json!(1)), "F-TEN-09: by its name of now");
}

#[tokio::test]
async fn a_deleted_tenant_takes_what_is_its_own_and_leaves_users_what_is_theirs() {
    let world = World::start().await;
    let body = json!({"settings": {"preference_set": {"workflows": {"comment": false}}}, "channel_data": {PUSH: {"tokens": ["a"]}},
        "preferences": {"default": {"workflows": {"x": true}}}});
    world.put(ACME).sk().json(&body).await.ok(200);
    let follow = json!({"recipients": [{"id": "ann"}]});
    world.post("/v1/objects/$tenants/acme/subscriptions").sk().json(&follow).await.ok(200);
    let own = json!({"id": "ann", "preferences": {"acme": {"workflows": {"comment": true}}}});
    world.trigger("comment", &json!({"recipients": [own], "tenant": "acme"})).await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 1);
    let reply = world.delete(ACME).sk().await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-TEN-10");
    assert_eq!(world.get(ACME).sk().await.status, 404, "F-TEN-10");
    assert_eq!(world.delete(ACME).sk().await.code(), (404, "resource_missing".to_owned()), "F-TEN-10");
    let store = &world.core.store;
    assert_eq!(store.preference_sets(world.env, "#$tenants#acme").await.unwrap(), [], "F-TEN-10");
    assert_eq!(store.channel_data(world.env, "#$tenants#acme").await.unwrap(), [], "F-TEN-10");
    let followed = world.get("/v1/users/ann/subscriptions").sk().await.ok(200);
    assert_eq!(followed["entries"], json!([]), "F-TEN-10 F-SUB-15");
    let item = world.feed("ann").await["entries"][0].clone();
    assert_eq!(item["tenant"], "acme", "what ann was told is ann's");
    // A tenant that comes back inherits nothing of what the former one said.
    assert_eq!(world.put(ACME).sk().await.ok(200)["settings"], Value::Null, "F-TEN-10");
    world.trigger("comment", &json!({"recipients": [{"id": "bob"}], "tenant": "acme"})).await;
    assert_eq!(world.feed("bob").await["meta"]["total_count"], 1, "F-TEN-10");
}

#[tokio::test]
async fn many_are_set_and_deleted_each_by_itself() {
    let world = World::start().await;
    world.put("/v1/tenants/full").sk().json(&json!({"text": "x".repeat(200_000)})).await.ok(200);
    let set = json!({"settings": {"preference_set": {"workflows": {"comment": false}}}});
    let mut acme = set.clone();
    acme["id"] = "acme".into();
    acme["name"] = "Acme".into();
    let body = json!({"tenants": ["stub", acme, {"id": "full", "more": "x".repeat(100_000)}]});
    let done = worked_on(&world, "/v1/tenants/bulk/set", body).await;
    assert_eq!(done["name"], "tenants.set", "F-TEN-12");
    assert_eq!(outcome(&done), (2, vec![("full", &json!("$tenants"))]), "F-TEN-12 F-BLK-06 F-AMB-21");
    assert_eq!(world.get("/v1/tenants/stub").sk().await.ok(200)["settings"], Value::Null, "F-TEN-12");
    let acme = world.get(ACME).sk().await.ok(200);
    assert_eq!(
        (&acme["name"], &acme["settings"]["preference_set"]["workflows"]),
        (&json!("Acme"), &json!({"comment": false})),
        "F-TEN-12"
    );
    for (body, field) in [
        (json!({"tenants": [{"name": "x"}]}), "tenants[0].id"),
        (json!({"tenants": ["a#b"]}), "tenants[0]"),
        (json!({"tenants": ["fine", {"id": "x", "settings": {"branding": 1}}]}), "tenants[1].settings.branding"),
        (json!({"tenants": vec!["x"; 1_001]}), "tenants"),
    ] {
        let reply = world.post("/v1/tenants/bulk/set").sk().json(&body).await;
        assert_eq!(reply.json()["errors"][0]["field"], field, "F-BLK-01 F-BLK-07 F-TEN-12");
    }
    for id in ["one", "two", "three"] {
        world.put(&format!("/v1/tenants/{id}")).sk().await.ok(200);
    }
    let path = "/v1/tenants/bulk/delete?tenant_ids[]=one&tenant_ids[]=none";
    let done = worked_on(&world, path, json!({"tenant_ids": ["two", "one"]})).await;
    assert_eq!(done["name"], "tenants.delete", "F-TEN-11");
    assert_eq!(outcome(&done), (2, vec![("none", &json!("$tenants"))]), "F-TEN-11 F-AMB-24: the ids of both");
    let done = worked_on(&world, "/v1/tenants/bulk/delete?tenant_ids[]=three", Value::Null).await;
    assert_eq!(outcome(&done), (1, vec![]), "F-TEN-11: without a body");
    let list = world.get("/v1/tenants").sk().await.ok(200);
    let mut left = ids(&list);
    left.sort_unstable();
    assert_eq!(left, ["acme", "full", "stub"], "F-TEN-11");
    for (path, body) in [
        ("/v1/tenants/bulk/delete", json!({})),
        ("/v1/tenants/bulk/delete", json!({"tenant_ids": [1]})),
        ("/v1/tenants/bulk/delete?tenant_ids[]=a", json!({"tenant_ids": vec!["x"; 1_000]})),
    ] {
        let reply = world.post(path).sk().json(&body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-TEN-11 F-BLK-07");
    }
}

/// F-TEN-15: a tenant is what any object is.
#[tokio::test]
async fn a_tenant_may_act_be_told_and_be_followed() {
    let world = World::start().await;
    world.put(ACME).sk().json(&json!({"name": "Acme"})).await.ok(200);
    let me = json!({"collection": "$tenants", "id": "acme"});
    let follow = json!({"recipients": [{"id": "ann"}]});
    world.post("/v1/objects/$tenants/acme/subscriptions").sk().json(&follow).await.ok(200);
    world.trigger("comment", &json!({"recipients": [me], "actor": {"id": "bob", "name": "Bob"}})).await;
    world.work().await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 1, "F-TEN-15: its followers are told");
    let runs = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    assert!(runs["items"].as_array().unwrap().iter().any(|run| run["recipient"] == me), "F-TEN-15");
    world.trigger("comment", &json!({"recipients": [{"id": "cy"}], "actor": me})).await;
    let actor = world.feed("cy").await["entries"][0]["actors"][0].clone();
    assert_eq!((&actor["id"], &actor["properties"]["name"]), (&json!("acme"), &json!("Acme")), "F-TEN-15");
    let nested = json!({"id": "acme", "tenant": "globex"});
    world.trigger("comment", &json!({"recipients": [{"id": "cy"}], "tenant": nested})).await;
    assert_eq!(
        world.get(ACME).sk().await.ok(200)["tenant"],
        "globex",
        "F-TEN-15: to it that is a property like others"
    );
    assert_eq!(world.get("/v1/tenants/globex").sk().await.status, 404, "F-TEN-15");
}
