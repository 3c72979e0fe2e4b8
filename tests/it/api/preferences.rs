//! Preferences of users and objects, set by set.

use std::future::IntoFuture as _;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};

use crate::support::client::Call;
use crate::support::{FEED, Setup, World};

/// What is there of both kinds: their paths below which preferences are.
const RECIPIENTS: [&str; 2] = ["/v1/users/ann", "/v1/objects/teams/red"];

/// A whole set that says this, as answers spell it.
fn set(id: &str, said: Value) -> Value {
    let mut set = json!({"id": id, "categories": null, "workflows": null, "channel_types": null, "channels": null,
        "commercial_subscribed": null});
    for (member, value) in said.as_object().unwrap() {
        set[member] = value.clone();
    }
    set
}

async fn written(world: &World, path: &str, body: Value) -> Value {
    world.put(path).sk().json(&body).await.ok(200)
}

async fn read(world: &World, path: &str) -> Value {
    world.get(path).sk().await.ok(200)
}

/// A tenant with these defaults.
async fn tenant(world: &World, id: &str, defaults: Value) {
    let tenant = json!({"id": id, "settings": {"preference_set": defaults}});
    world.trigger("comment", &json!({"recipients": ["nobody"], "tenant": tenant})).await;
}

#[tokio::test]
async fn whoever_has_said_nothing_has_no_wishes() {
    let world = World::start().await;
    for of in RECIPIENTS {
        let all = read(&world, &format!("{of}/preferences")).await;
        assert_eq!(all, json!([set("default", json!({}))]), "F-PRF-01 F-PRF-07 F-PRF-18 F-PRF-24 F-AMB-30 F-AMB-63");
        for id in ["default", "north"] {
            let none = read(&world, &format!("{of}/preferences/{id}")).await;
            assert_eq!(none, set(id, json!({})), "F-PRF-16 F-AMB-63 {of}");
        }
        assert_eq!(world.get(of).sk().await.status, 404, "reading makes nobody");
    }
}

#[tokio::test]
async fn a_write_replaces_the_set_and_makes_whoever_is_not_there() {
    let world = World::start().await;
    for of in RECIPIENTS {
        let path = format!("{of}/preferences/default");
        let said = json!({"channel_types": {"email": false, "sms": true}, "channels": {FEED: false},
            "workflows": {"comment": {"channel_types": {"email": true}, "conditions": []}, "other": false},
            "categories": {"News & more": {"channels": {FEED: {"conditions": []}}}}, "commercial_subscribed": false});
        assert_eq!(
            written(&world, &path, said.clone()).await,
            set("default", said.clone()),
            "F-PRF-02 F-PRF-03 F-PRF-04 F-PRF-05 F-PRF-08"
        );
        assert_eq!(read(&world, &path).await, set("default", said), "F-PRF-07: as it was written");
        let less = json!({"id": "ignored", "__persistence_strategy__": "replace", "channel_types": {"push": false}});
        let expected = set("default", json!({"channel_types": {"push": false}}));
        assert_eq!(written(&world, &path, less).await, expected, "F-PRF-08 F-PRF-09");
        assert_eq!(read(&world, &path).await, expected, "F-PRF-08: what is left out is unset");
        let key = if of.contains("users") { "ann" } else { "#teams#red" };
        let stored = world.core.store.preference_sets(world.env, key).await.unwrap();
        let kept = ("default".to_owned(), json!({"channel_types": {"push": false}}));
        assert_eq!(stored, [kept], "F-PRF-09: no marker is stored, nor the id");
        assert_eq!(world.put(&path).sk().await.ok(200), set("default", json!({})), "F-PRF-08: nothing at all");
    }
    let user = world.get("/v1/users/ann").sk().await.ok(200);
    assert_eq!(user["id"], "ann", "F-PRF-15 F-AMB-32");
    let object = world.core.store.object(world.env, "teams", "red").await.unwrap();
    assert!(object.is_some(), "F-PRF-15 F-OBJ-07");
}

#[tokio::test]
async fn a_write_that_merges_reaches_down_to_the_leaves() {
    let world = World::start().await;
    for of in RECIPIENTS {
        let path = format!("{of}/preferences/default");
        let when = |size: i64| json!([{"variable": "data.size", "operator": "greater_than", "argument": size}]);
        let before = json!({"channel_types": {"email": false, "sms": true}, "channels": {FEED: true},
            "workflows": {"a": {"channel_types": {"email": false}, "conditions": when(1)}, "b": false, "c": true},
            "categories": {"news": false}, "commercial_subscribed": true});
        written(&world, &path, before).await;
        let more = json!({"__persistence_strategy__": "merge", "channel_types": {"email": true, "push": false},
            "channels": {}, "categories": null,
            "workflows": {"a": {"channel_types": {"sms": false}, "conditions": when(2)},
                "b": {"channel_types": {"sms": true}}, "c": false}});
        let expected = set(
            "default",
            json!({"channel_types": {"email": true, "push": false, "sms": true}, "channels": {FEED: true},
                "workflows": {"a": {"channel_types": {"email": false, "sms": false}, "conditions": when(2)},
                    "b": {"channel_types": {"sms": true}}, "c": false},
                "commercial_subscribed": true}),
        );
        assert_eq!(written(&world, &path, more).await, expected, "F-PRF-09 F-PRF-10 F-AMB-31");
        assert_eq!(read(&world, &path).await, expected, "F-PRF-10");
    }
}

#[tokio::test]
async fn what_is_read_lies_over_the_defaults() {
    let environment = json!({"channel_types": {"email": false, "sms": false}, "commercial_subscribed": false,
        "workflows": {"digest": {"channel_types": {"email": false}}}});
    let world = World::with(Setup { preferences: Some(environment.clone()), ..Setup::default() }).await;
    tenant(&world, "north", json!({"channel_types": {"sms": true, "push": false}})).await;
    for of in RECIPIENTS {
        let all = format!("{of}/preferences");
        let default = format!("{of}/preferences/default");
        assert_eq!(read(&world, &default).await, set("default", environment.clone()), "F-PRF-16 F-PRF-23");
        let own = json!({"channel_types": {"email": true}, "workflows": {"comment": false}});
        let mine = set(
            "default",
            json!({"channel_types": {"email": true, "sms": false}, "commercial_subscribed": false,
                "workflows": {"comment": false, "digest": {"channel_types": {"email": false}}}}),
        );
        assert_eq!(written(&world, &default, own).await, mine, "F-PRF-16: a write answers what a read would");
        assert_eq!(read(&world, &default).await, mine, "F-PRF-16 F-PRF-23");
        let in_north = read(&world, &format!("{default}?tenant=north")).await;
        let types = json!({"email": true, "push": false, "sms": true});
        assert_eq!(in_north["channel_types"], types, "F-PRF-21 F-AMB-34");
        assert_eq!(in_north["id"], "default", "F-PRF-21");
        assert_eq!(in_north["workflows"], mine["workflows"], "F-PRF-21");
        let unknown = read(&world, &format!("{default}?tenant=nowhere")).await;
        assert_eq!(unknown, mine, "F-PRF-21: a tenant that says nothing");

        let north = read(&world, &format!("{all}/north")).await;
        let types = json!({"email": false, "push": false, "sms": true});
        assert_eq!(north["channel_types"], types, "F-PRF-16: nothing of the default set");
        assert_eq!(north["workflows"], environment["workflows"], "F-PRF-16: nothing of the default set");
        let own = json!({"channel_types": {"push": true}});
        let north = written(&world, &format!("{all}/north"), own.clone()).await;
        let types = json!({"email": false, "push": true, "sms": true});
        assert_eq!((&north["id"], &north["channel_types"]), (&json!("north"), &types), "F-PRF-01 F-PRF-16");
        let elsewhere = written(&world, &format!("{all}/marketing"), own).await;
        let types = json!({"email": false, "push": true, "sms": false});
        assert_eq!(elsewhere["channel_types"], types, "F-AMB-29: no tenant need be there");

        let listed = read(&world, &all).await;
        assert_eq!(listed, json!([mine, elsewhere, north]), "F-PRF-18 F-AMB-33");
    }
}

#[tokio::test]
async fn a_marked_node_of_a_tenant_wins_and_is_shown_f_prf_17() {
    let world = World::start().await;
    let billing = json!({"__strategy__": "replace", "channel_types": {"email": false}});
    tenant(&world, "north", json!({"categories": {"billing": billing}})).await;
    let social = json!({"channel_types": {"email": true}});
    let own = json!({"categories": {"billing": {"channel_types": {"email": true}}, "social": social}});
    let path = "/v1/users/ann/preferences/north";
    let resolved = written(&world, path, own.clone()).await;
    let expected = json!({"billing": billing, "social": social});
    assert_eq!(resolved["categories"], expected, "F-PRF-13 F-PRF-17");
    assert_eq!(read(&world, path).await["categories"], expected, "F-PRF-16 F-PRF-17");
    tenant(&world, "north", json!({"categories": {"billing": {"__strategy__": "merge"}}})).await;
    let shown = read(&world, path).await["categories"]["billing"]["channel_types"].clone();
    assert_eq!(shown, json!({"email": true}), "F-PRF-14: what was said before counts again");
    let inert = json!({"channel_types": {"__strategy__": "replace", "sms": false}});
    let kept = written(&world, "/v1/users/ann/preferences/default", inert.clone()).await;
    assert_eq!(kept["channel_types"], inert["channel_types"], "F-PRF-13 F-AMB-62: stored and returned");
}

#[tokio::test]
async fn a_set_that_is_deleted_falls_back_to_the_defaults() {
    let defaults = json!({"channel_types": {"sms": false}});
    let world = World::with(Setup { preferences: Some(defaults.clone()), ..Setup::default() }).await;
    for of in RECIPIENTS {
        for id in ["default", "north"] {
            let path = format!("{of}/preferences/{id}");
            let gone = world.delete(&path).sk().await;
            assert_eq!((gone.status, gone.text.as_str()), (204, ""), "F-AMB-27: nobody is there yet");
            written(&world, &path, json!({"channel_types": {"sms": true}})).await;
            assert_eq!(world.delete(&path).sk().await.status, 204, "F-PRF-19");
            assert_eq!(read(&world, &path).await, set(id, defaults.clone()), "F-PRF-19");
            assert_eq!(world.delete(&path).sk().await.status, 204, "F-AMB-27");
            let again = written(&world, &path, json!({"channel_types": {"push": true}})).await;
            assert_eq!(again["channel_types"], json!({"push": true, "sms": false}), "F-PRF-19");
        }
        let left = read(&world, &format!("{of}/preferences")).await;
        assert_eq!(left.as_array().map(Vec::len), Some(2), "F-PRF-18");
        world.delete(&format!("{of}/preferences/north")).sk().await;
        let left = read(&world, &format!("{of}/preferences")).await;
        assert_eq!(left.as_array().map(Vec::len), Some(1), "F-PRF-18 F-PRF-19: only that set is gone");
    }
}

#[tokio::test]
async fn old_clients_write_a_map_or_an_entry() {
    let world = World::start().await;
    for of in RECIPIENTS {
        let path = format!("{of}/preferences/default");
        let before = json!({"channel_types": {"email": false}, "workflows": {"a": {"channel_types": {"email": false}}},
            "categories": {"x": false}, "channels": {FEED: false}, "commercial_subscribed": false});
        written(&world, &path, before.clone()).await;
        let mut now = set("default", before);
        for (part, body, member, expected) in [
            ("channel_types", json!({"sms": true}), "channel_types", json!({"sms": true})),
            ("channel_types/push", json!({"subscribed": false}), "channel_types", json!({"push": false, "sms": true})),
            (
                "workflows/b",
                json!({"subscribed": true}),
                "workflows",
                json!({"a": {"channel_types": {"email": false}}, "b": true}),
            ),
            (
                "workflows/a",
                json!({"channel_types": {"sms": false}}),
                "workflows",
                json!({"a": {"channel_types": {"sms": false}}, "b": true}),
            ),
            ("workflows", json!({"c": false}), "workflows", json!({"c": false})),
            (
                "categories/News%20%26%20more",
                json!({"subscribed": true}),
                "categories",
                json!({"x": false, "News & more": true}),
            ),
            (
                "categories/x",
                json!({"conditions": []}),
                "categories",
                json!({"x": {"conditions": []}, "News & more": true}),
            ),
            ("categories", json!({}), "categories", json!({})),
        ] {
            now[member] = expected;
            let answer = written(&world, &format!("{path}/{part}"), body).await;
            assert_eq!(answer, now, "F-PRF-22 F-AMB-35 {part}");
            assert_eq!(read(&world, &path).await, now, "F-PRF-22 F-AMB-35 {part}");
        }
        let stranger = of.replace("ann", "bob").replace("red", "blue");
        let path = format!("{stranger}/preferences/north/workflows/a");
        let made = written(&world, &path, json!({"subscribed": false})).await;
        assert_eq!(made, set("north", json!({"workflows": {"a": false}})), "F-PRF-22 F-PRF-15");
    }
}

#[tokio::test]
async fn what_is_no_preference_is_refused_with_its_place() {
    let world = World::start().await;
    let condition = |operator: &str| json!([{"variable": "data.a", "operator": operator, "argument": 1}]);
    for of in RECIPIENTS {
        for (part, body, field) in [
            ("", json!({"channel_types": {"pigeon": true}}), "channel_types.pigeon"),
            ("", json!({"channel_types": {"email": "no"}}), "channel_types.email"),
            ("", json!({"workflows": {"w": {"channel_types": {"email": 1}}}}), "workflows.w.channel_types.email"),
            ("", json!({"categories": {"c": {"conditions": condition("is")}}}), "categories.c.conditions[0].operator"),
            ("", json!({"commercial_subscribed": "yes"}), "commercial_subscribed"),
            ("", json!({"__persistence_strategy__": "keep"}), "__persistence_strategy__"),
            ("", json!({"__strategy__": "replace"}), "__strategy__"),
            ("", json!([]), ""),
            ("/channel_types", json!({"pigeon": true}), "channel_types.pigeon"),
            ("/channel_types/pigeon", json!({"subscribed": true}), "channel_types.pigeon"),
            ("/channel_types/email", json!({"subscribed": "yes"}), "subscribed"),
            ("/channel_types/email", json!({"channel_types": {}}), "channel_types.email"),
            ("/workflows", json!({"w": 1}), "workflows.w"),
            ("/workflows/w", json!({}), "subscribed"),
            ("/categories/c", json!({"conditions": condition("is")}), "categories.c.conditions[0].operator"),
        ] {
            let reply = world.put(&format!("{of}/preferences/default{part}")).sk().json(&body).await;
            assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-PRF-25 {part} {body}");
            assert_eq!(reply.json()["errors"][0]["field"], field, "F-PRF-25 F-AMB-11 {part} {body}");
        }
        let long = "x".repeat(257);
        for id in ["a%00b", &long] {
            let path = format!("{of}/preferences/{id}");
            for call in [world.get(&path), world.put(&path), world.delete(&path)] {
                let reply = call.sk().await;
                assert_eq!(reply.json()["errors"][0]["field"], "id", "F-AMB-29");
            }
        }
        assert_eq!(world.get(of).sk().await.status, 404, "nobody is made by what is refused");
        let id = "x".repeat(256);
        written(&world, &format!("{of}/preferences/{id}"), json!({})).await;
    }
    let inline = json!({"preferences": {"": {}}});
    let reply = world.put("/v1/users/ann").sk().json(&inline).await;
    assert_eq!(reply.json()["errors"][0]["field"], "preferences.", "F-AMB-29");
    let reply = world.put("/v1/users/a%23b/preferences/default").sk().await;
    assert_eq!(reply.json()["errors"][0]["field"], "user_id", "F-USR-02");
    let reply = world.put("/v1/objects/teams/a%23b/preferences/default").sk().await;
    assert_eq!(reply.json()["errors"][0]["field"], "object_id", "F-OBJ-01");
    let unknown = json!({"workflows": {"to-come": false}, "categories": {"to come": false}, "channels": {"any": false},
        "channel_types": {"email": {"conditions": [{"variable": "data.a", "operator": "equal_to", "argument": [1, {"b": null}]}]}}});
    let written = written(&world, "/v1/users/ann/preferences/default", unknown.clone()).await;
    assert_eq!(written, set("default", unknown), "F-AMB-36");
}

/// F-TRN-17
#[tokio::test]
async fn what_is_no_part_of_a_set_is_neither_refused_nor_kept() {
    let world = World::start().await;
    let said = json!({"workflows": {"comment": false}});
    let with_more =
        json!({"workflows": {"comment": false}, "user_ids": ["u"], "channel_type": {"email": false}, "a": 1});
    let path = "/v1/users/ann/preferences/default";
    assert_eq!(written(&world, path, with_more.clone()).await, set("default", said.clone()));
    let inline = json!({"preferences": {"default": with_more}});
    for (path, recipient) in [("/v1/users/bob", "bob"), ("/v1/objects/teams/red", "#teams#red")] {
        world.put(path).sk().json(&inline).await.ok(200);
        let kept = world.core.store.preference_sets(world.env, recipient).await.unwrap();
        assert_eq!(kept, [("default".to_owned(), said.clone())], "{path}");
    }
    let tenant = json!({"settings": {"preference_set": with_more}});
    let tenant = world.put("/v1/tenants/north").sk().json(&tenant).await.ok(200);
    assert!(!tenant.to_string().contains("user_ids"), "{tenant}");
}

#[tokio::test]
async fn a_users_own_token_reads_and_writes_their_own() {
    let world = World::with(Setup { enhanced_security: true, ..Setup::default() }).await;
    let (ann, bob) = (world.token_of("ann"), world.token_of("bob"));
    let body = json!({"channel_types": {"email": false}});
    let path = "/v1/users/ann/preferences/default";
    let own = world.put(path).pk().token(&ann).json(&body).await.ok(200);
    assert_eq!(own, set("default", body.clone()), "F-AUT-07 F-GRN-06");
    assert_eq!(world.get(path).pk().token(&ann).await.ok(200), own, "F-AUT-07");
    assert_eq!(world.get("/v1/users/ann/preferences").pk().token(&ann).await.ok(200), json!([own]), "F-AUT-07");
    let entry = world.put(&format!("{path}/workflows/a")).pk().token(&ann).json(&json!({"subscribed": false})).await;
    assert_eq!(entry.ok(200)["workflows"], json!({"a": false}), "F-AUT-07");
    for call in [world.get(path), world.put(path).json(&body), world.get("/v1/users/ann/preferences")] {
        assert_eq!(call.pk().token(&bob).await.code(), (403, "authorization".to_owned()), "F-AUT-15");
    }
    let refused = world.delete(path).pk().token(&ann).await.code();
    assert_eq!(refused, (401, "incorrect_token_type".to_owned()), "F-AUT-07: deleting is the server's");
    for path in ["/v1/objects/teams/red/preferences", "/v1/objects/teams/red/preferences/default"] {
        let refused = world.get(path).pk().token(&ann).await.code();
        assert_eq!(refused, (401, "incorrect_token_type".to_owned()), "F-AUT-07");
    }
}

#[tokio::test]
async fn explicit_grants_are_for_reading_or_for_writing() {
    let world = World::with(Setup { enhanced_security: true, ..Setup::default() }).await;
    let path = "/v1/users/ann/preferences/default";
    let token = |grant: &str| {
        let grants = json!({"https://api.knock.app/v1/users/ann": {grant: [{}]}});
        world.token(&json!({"sub": "ann", "explicit_grants": true, "grants": grants}))
    };
    for (grant, get, put) in [("preferences/read", 200, 403), ("preferences/write", 403, 200), ("user/read", 403, 403)]
    {
        let token = token(grant);
        assert_eq!(world.get(path).pk().token(&token).await.status, get, "F-GRN-07 F-GRN-08 {grant}");
        assert_eq!(world.get("/v1/users/ann/preferences").pk().token(&token).await.status, get, "F-GRN-08 {grant}");
        let entry = json!({"subscribed": false});
        for (part, body) in [
            ("", json!({})),
            ("/categories", json!({})),
            ("/channel_types", json!({})),
            ("/workflows", json!({})),
            ("/categories/news", entry.clone()),
            ("/channel_types/email", entry.clone()),
            ("/workflows/a", entry),
        ] {
            let reply = world.put(&format!("{path}{part}")).pk().token(&token).json(&body).await;
            assert_eq!(reply.status, put, "F-GRN-07 F-GRN-08 {grant} {part}");
        }
    }
}

#[tokio::test]
async fn a_token_for_one_tenant_reaches_its_set_alone() {
    let world = World::with(Setup { enhanced_security: true, ..Setup::default() }).await;
    tenant(&world, "south", json!({"channel_types": {"sms": false}})).await;
    for id in ["default", "north", "south"] {
        written(&world, &format!("/v1/users/ann/preferences/{id}"), json!({"channel_types": {"push": false}})).await;
    }
    let grants = |with_own: bool| {
        let mut grants = Map::new();
        grants.insert(
            "https://api.knock.app/v1/tenants/north".to_owned(),
            json!({"preferences/read": [], "preferences/write": []}),
        );
        if with_own {
            grants.insert(
                "https://api.knock.app/v1/users/ann".to_owned(),
                json!({"preferences/read": [], "preferences/write": []}),
            );
        }
        world.token(&json!({"sub": "ann", "grants": grants}))
    };
    for with_own in [false, true] {
        let token = grants(with_own);
        let status = |is_open: bool| if is_open { 200 } else { 403 };
        for (id, is_open) in [("default", with_own), ("north", true), ("south", false), ("marketing", false)] {
            let path = format!("/v1/users/ann/preferences/{id}");
            assert_eq!(world.get(&path).pk().token(&token).await.status, status(is_open), "F-GRN-11 F-GRN-15 {id}");
            let reply = world.put(&path).pk().token(&token).json(&json!({})).await;
            assert_eq!(reply.status, status(is_open), "F-GRN-11 F-GRN-15 {id}");
            let entry = format!("{path}/channel_types/push");
            let reply = world.put(&entry).pk().token(&token).json(&json!({"subscribed": false})).await;
            assert_eq!(reply.status, status(is_open), "F-GRN-11 F-GRN-15 {id}");
        }
        let listed = world.get("/v1/users/ann/preferences").pk().token(&token).await.ok(200);
        let ids: Vec<&str> = listed.as_array().unwrap().iter().filter_map(|set| set["id"].as_str()).collect();
        assert_eq!(ids, if with_own { vec!["default", "north"] } else { vec!["north"] }, "F-GRN-11");
        for (tenant, is_open) in [("north", with_own), ("south", false)] {
            let path = format!("/v1/users/ann/preferences/default?tenant={tenant}");
            assert_eq!(world.get(&path).pk().token(&token).await.status, status(is_open), "F-GRN-11 {tenant}");
        }
    }
}

/// Two nodes share one store: neither waits for the other's turn.
#[tokio::test]
async fn writes_at_once_lose_nothing_of_each_other() {
    let one = World::start().await;
    let two =
        World::with(Setup { store: Some(one.core.store.clone()), has_signing_key: false, ..Setup::default() }).await;
    for of in RECIPIENTS {
        let calls = (0..24).map(|n| {
            let world = if n % 2 == 0 { &one } else { &two };
            let path = format!("{of}/preferences/default");
            let call: Call<'_> = match n % 3 {
                0 => world.put(&format!("{path}/workflows/w{n}")).json(&json!({"subscribed": false})),
                1 => world
                    .put(&path)
                    .json(&json!({"__persistence_strategy__": "merge", "workflows": {(format!("w{n}")): false}})),
                _ => {
                    let own = json!({"preferences": {"default": {"workflows": {(format!("w{n}")): false}}}});
                    if of.contains("users") {
                        world.put(of).json(&own)
                    } else {
                        world.put(&format!("{path}/workflows/w{n}")).json(&json!({"subscribed": false}))
                    }
                }
            };
            call.sk().into_future()
        });
        for reply in join_all(calls).await {
            reply.ok(200);
        }
        let all: Map<String, Value> = (0..24).map(|n| (format!("w{n}"), json!(false))).collect();
        assert_eq!(read(&one, &format!("{of}/preferences/default")).await["workflows"], json!(all), "F-PRF-10");
    }
}

#[tokio::test]
async fn a_feed_keeps_quiet_for_whoever_does_not_want_it() {
    let world = World::start().await;
    written(&world, "/v1/users/ann/preferences/default", json!({"workflows": {"comment": false}})).await;
    world.trigger("comment", &json!({"recipients": ["ann"]})).await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 0, "F-PEV-01 F-PEV-08");
    world.delete("/v1/users/ann/preferences/default").sk().await;
    world.trigger("comment", &json!({"recipients": ["ann"]})).await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 1, "F-PRF-19 F-PRF-24");
}
