//! Channel data of users and objects.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{DISCORD, EMAIL, FEED, HOOK, PLAYERS, PUSH, SLACK, SNS, Setup, TEAMS, UNCONFIGURED, World};

/// What is there of both kinds, and a tenant: their paths below which channel data is.
const RECIPIENTS: [&str; 3] = ["/v1/users/ann", "/v1/objects/teams/red", "/v1/objects/%24tenants/north"];

fn device(token: &str) -> Value {
    json!({"token": token, "locale": null, "timezone": null})
}

#[tokio::test]
async fn data_is_set_replaced_read_and_taken_away() {
    let world = World::start().await;
    for of in RECIPIENTS {
        let path = format!("{of}/channel_data/{PUSH}");
        assert_eq!(world.get(&path).sk().await.code(), (404, "resource_missing".to_owned()), "F-CHD-04 F-ERR-07");
        assert_eq!(world.delete(&path).sk().await.code(), (404, "resource_missing".to_owned()), "nobody is there");
        let device_of = json!({"token": "a", "locale": "de-DE", "timezone": "Europe/Berlin"});
        let set = world.put(&path).sk().json(&json!({"data": {"devices": [device_of, {"token": "b"}]}})).await.ok(200);
        let expected = json!({"__typename": "ChannelData", "channel_id": PUSH, "provider": "push_fcm",
            "data": {"tokens": ["a", "b"], "devices": [device_of, device("b")]}});
        assert_eq!(set, expected, "F-CHD-01 F-CHD-02 F-CHD-03 F-CHD-08");
        assert_eq!(world.get(&path).sk().await.ok(200), expected, "F-CHD-04 F-CHD-08");
        let loud = format!("{of}/channel_data/{}", PUSH.to_uppercase());
        assert_eq!(world.get(&loud).sk().await.ok(200), expected, "F-CHD-01: an id has one meaning");
        let set = world.put(&loud).sk().json(&json!({"data": {"tokens": ["c"]}})).await.ok(200);
        let data = json!({"tokens": ["c"], "devices": [device("c")]});
        assert_eq!((&set["data"], &set["channel_id"]), (&data, &json!(PUSH)), "F-CHD-01: nothing is left of before");
        assert_eq!(world.get(&path).sk().await.ok(200)["data"], data, "F-CHD-01");
        let none = json!({"tokens": [], "devices": []});
        let set = world.put(&path).sk().json(&json!({"data": {"devices": []}})).await.ok(200);
        assert_eq!(set["data"], none, "F-CHD-11");
        assert_eq!(world.get(&path).sk().await.ok(200)["data"], none, "F-CHD-11");
        let gone = world.delete(&path).sk().await;
        assert_eq!((gone.status, gone.text.as_str()), (204, ""), "F-CHD-04");
        assert_eq!(world.get(&path).sk().await.status, 404, "F-CHD-04");
        for id in [PUSH, SLACK, UNCONFIGURED, FEED, "0190b5c0-0000-7000-8000-000000000000", "nonsense"] {
            let path = format!("{of}/channel_data/{id}");
            assert_eq!(world.delete(&path).sk().await.status, 204, "F-AMB-27 {id}");
        }
    }
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 200, "F-CHD-02");
    let object = world.core.store.object(world.env, "teams", "red").await.unwrap();
    assert!(object.is_some(), "F-CHD-02 F-OBJ-07");
}

#[tokio::test]
async fn each_provider_has_its_own_shape() {
    let world = World::start().await;
    let hook = json!({"incoming_webhook": {"url": "https://example.com/hook"}});
    let player = "0190b5c0-0000-7000-8000-000000000000";
    let slack = json!({"access_token": null, "channel_id": "C1", "channel_name": null, "user_id": null});
    let teams = json!({"ms_teams_channel_id": "19:a@thread.tacv2", "ms_teams_team_id": null,
        "ms_teams_tenant_id": null, "ms_teams_user_id": null});
    for of in RECIPIENTS {
        for (channel, provider, data, shown, rule) in [
            (
                SNS,
                "push_aws_sns",
                json!({"target_arns": ["arn:a"]}),
                json!({"target_arns": ["arn:a"], "devices": [{"target_arn": "arn:a", "locale": null, "timezone": null}]}),
                "F-CHD-09",
            ),
            (PLAYERS, "push_one_signal", json!({"player_ids": [player]}), json!({"player_ids": [player]}), "F-CHD-10"),
            (
                SLACK,
                "chat_slack",
                json!({"connections": [{"channel_id": "C1"}, hook]}),
                json!({"connections": [slack, hook], "token": null}),
                "F-CHD-12 F-CHD-14",
            ),
            (
                SLACK,
                "chat_slack",
                json!({"token": {"access_token": "xoxb-1"}}),
                json!({"connections": [], "token": {"access_token": "xoxb-1"}}),
                "F-CHD-13 F-CHD-14 F-AMB-64",
            ),
            (
                TEAMS,
                "chat_ms_teams",
                json!({"connections": [{"ms_teams_channel_id": "19:a@thread.tacv2"}, hook], "ms_teams_tenant_id": "t"}),
                json!({"connections": [teams, hook], "ms_teams_tenant_id": "t"}),
                "F-CHD-15 F-CHD-16",
            ),
            (
                DISCORD,
                "chat_discord",
                json!({"connections": [{"channel_id": "1"}, hook]}),
                json!({"connections": [{"channel_id": "1"}, hook]}),
                "F-CHD-17",
            ),
            (HOOK, "http_knock_webhook", json!({"any": [1]}), json!({"any": [1]}), "F-CHD-03"),
        ] {
            let path = format!("{of}/channel_data/{channel}");
            let set = world.put(&path).sk().json(&json!({"data": data})).await.ok(200);
            assert_eq!((&set["data"], &set["provider"]), (&shown, &json!(provider)), "{rule} {of}");
            assert_eq!(world.get(&path).sk().await.ok(200), set, "{rule} {of}");
        }
    }
}

#[tokio::test]
async fn a_channel_must_be_there_be_configured_and_take_data() {
    let world = World::start().await;
    let unknown = "0190b5c0-0000-7000-8000-000000000000";
    for of in RECIPIENTS {
        for channel in [unknown, "nonsense", UNCONFIGURED, FEED, EMAIL] {
            let path = format!("{of}/channel_data/{channel}");
            let expected = (422, "channel_invalid".to_owned());
            assert_eq!(world.get(&path).sk().await.code(), expected, "F-CHD-05 {channel}");
            let reply = world.put(&path).sk().json(&json!({"data": {"tokens": ["a"]}})).await;
            assert_eq!(reply.code(), expected, "F-CHD-05 {channel}");
        }
        for (body, field) in [
            (json!({}), "data"),
            (json!({"data": null}), "data"),
            (json!({"data": ["a"]}), "data"),
            (json!({"data": {}}), "data"),
            (json!({"data": {"tokens": ["a"], "devices": [{"token": "a"}]}}), "data"),
            (json!({"data": {"tokens": [1]}}), "data.tokens[0]"),
            (json!({"data": {"devices": [{"token": "a", "locale": 1}]}}), "data.devices[0].locale"),
        ] {
            let reply = world.put(&format!("{of}/channel_data/{PUSH}")).sk().json(&body).await;
            assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-CHD-07 {body}");
            assert_eq!(reply.json()["errors"][0]["field"], field, "F-CHD-07 F-AMB-11 {body}");
        }
    }
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "nobody is made by what is refused");
    let reply = world.put(&format!("/v1/users/a%23b/channel_data/{PUSH}")).sk().await;
    assert_eq!(reply.json()["errors"][0]["field"], "user_id", "F-USR-02");
    // A key of another environment finds nothing of this one.
    world
        .put(&format!("/v1/users/ann/channel_data/{PUSH}"))
        .sk()
        .json(&json!({"data": {"tokens": ["a"]}}))
        .await
        .ok(200);
    let foreign = world.get(&format!("/v1/users/ann/channel_data/{PUSH}")).key(&world.foreign_sk).await;
    assert_eq!(foreign.status, 404, "F-AUT-22");
}

#[tokio::test]
async fn what_is_said_along_with_a_recipient_is_checked_likewise() {
    let world = World::start().await;
    let inline = |channel: &str, data: Value| json!({"id": "ann", "channel_data": {channel: data}});
    let good = inline(&PUSH.to_uppercase(), json!({"tokens": ["a"]}));
    world.put("/v1/users/ann").sk().json(&good).await.ok(200);
    let path = format!("/v1/users/ann/channel_data/{PUSH}");
    assert_eq!(world.get(&path).sk().await.ok(200)["data"]["tokens"], json!(["a"]), "F-USR-09");
    world.trigger("comment", &json!({"recipients": [inline(PUSH, json!({"devices": [{"token": "b"}]}))]})).await;
    assert_eq!(world.get(&path).sk().await.ok(200)["data"]["tokens"], json!(["b"]), "F-REC-03 F-REC-05");
    for (channel, data, code, field) in [
        (UNCONFIGURED, json!({"tokens": ["a"]}), "channel_invalid", None),
        (FEED, json!({"tokens": ["a"]}), "channel_invalid", None),
        (PUSH, json!({"tokens": "a"}), "invalid_params", Some(format!("channel_data.{PUSH}.tokens"))),
    ] {
        let body = inline(channel, data);
        let reply = world.put("/v1/users/ann").sk().json(&body).await;
        assert_eq!(reply.code(), (422, code.to_owned()), "F-USR-09 {channel}");
        assert_eq!(reply.json()["errors"][0]["field"], json!(field), "F-USR-09");
        let reply = world.post("/v1/workflows/comment/trigger").sk().json(&json!({"recipients": ["bob", body]})).await;
        assert_eq!(reply.code(), (422, code.to_owned()), "F-REC-03 {channel}");
        let field = field.map(|field| format!("recipients[1].{field}"));
        assert_eq!(reply.json()["errors"][0]["field"], json!(field), "F-REC-03");
    }
    assert_eq!(world.get(&path).sk().await.ok(200)["data"]["tokens"], json!(["b"]), "nothing of what is refused");
    assert_eq!(world.feed("bob").await["meta"]["total_count"], 0, "the whole trigger is refused");
}

#[tokio::test]
async fn a_users_own_token_reaches_their_own_data() {
    let world = World::with(Setup { enhanced_security: true, ..Setup::default() }).await;
    let path = format!("/v1/users/ann/channel_data/{PUSH}");
    let body = json!({"data": {"tokens": ["a"]}});
    let (ann, bob) = (world.token_of("ann"), world.token_of("bob"));
    world.put(&path).pk().token(&ann).json(&body).await.ok(200);
    world.get(&path).pk().token(&ann).await.ok(200);
    for call in [world.get(&path), world.put(&path).json(&body), world.delete(&path)] {
        assert_eq!(call.pk().token(&bob).await.code(), (403, "authorization".to_owned()), "F-AUT-15");
    }
    for call in [world.get(&path), world.put(&path).json(&body), world.delete(&path)] {
        assert_eq!(call.pk().await.code(), (401, "missing_user_token".to_owned()), "F-AUT-09");
    }
    for (grant, get, put, delete) in
        [("channel_data/read", 200, 403, 403), ("channel_data/write", 403, 200, 204), ("user/write", 403, 403, 403)]
    {
        world.put(&path).sk().json(&body).await.ok(200);
        let grants = json!({"https://api.knock.app/v1/users/ann": {grant: [{}]}});
        let token = world.token(&json!({"sub": "ann", "explicit_grants": true, "grants": grants}));
        assert_eq!(world.get(&path).pk().token(&token).await.status, get, "F-GRN-08 {grant}");
        assert_eq!(world.put(&path).pk().token(&token).json(&body).await.status, put, "F-GRN-08 {grant}");
        assert_eq!(world.delete(&path).pk().token(&token).await.status, delete, "F-GRN-08 {grant}");
    }
}

#[tokio::test]
async fn a_token_must_name_an_object_to_reach_its_data() {
    for enhanced_security in [true, false] {
        let world = World::with(Setup { enhanced_security, ..Setup::default() }).await;
        let body = json!({"data": {"token": {"access_token": "xoxb"}}});
        for (of, resource) in [
            ("/v1/objects/teams/red", "objects/teams/red"),
            ("/v1/objects/$tenants/north", "tenants/north"),
            ("/v1/objects/%24tenants/north", "objects/$tenants/north"),
        ] {
            let path = format!("{of}/channel_data/{SLACK}");
            world.put(&path).sk().json(&body).await.ok(200);
            for call in [world.get(&path), world.put(&path).json(&body)] {
                assert_eq!(call.pk().await.code(), (401, "missing_user_token".to_owned()), "F-GRN-09");
            }
            let token = |grant: &str, is_explicit: bool| {
                let grants = json!({(format!("https://api.knock.app/v1/{resource}")): {grant: []}});
                world.token(&json!({"sub": "ann", "explicit_grants": is_explicit, "grants": grants}))
            };
            let other = json!({"https://api.knock.app/v1/objects/teams/blue": {"channel_data/read": []}});
            let other = world.token(&json!({"sub": "ann", "grants": other}));
            for (token, get, put, rule) in [
                (world.token_of("ann"), 403, 403, "F-GRN-09: nothing is implied"),
                (other, 403, 403, "F-GRN-09: another object"),
                (token("channel_data/read", false), 200, 403, "F-GRN-03 F-GRN-08 F-GRN-09"),
                (token("channel_data/write", true), 403, 200, "F-GRN-03 F-GRN-08 F-GRN-09"),
                (token("slack/channels_read", true), 403, 403, "F-GRN-09: another grant"),
            ] {
                assert_eq!(world.get(&path).pk().token(&token).await.status, get, "{rule}");
                assert_eq!(world.put(&path).pk().token(&token).json(&body).await.status, put, "{rule}");
            }
            let token = token("channel_data/write", false);
            let refused = world.delete(&path).pk().token(&token).await.code();
            assert_eq!(refused, (401, "incorrect_token_type".to_owned()), "F-AUT-07: deleting is the server's");
            let shown = world.get(&path).sk().await.ok(200);
            assert_eq!(shown["data"]["token"]["access_token"], "xoxb", "F-AMB-64");
        }
    }
}

/// Two nodes share one store: neither waits for the other's turn.
#[tokio::test]
async fn data_of_several_channels_may_be_set_at_once() {
    let one = World::start().await;
    let second = Setup { store: Some(one.core.store.clone()), has_signing_key: false, ..Setup::default() };
    let two = World::with(second).await;
    let tokens = json!({"data": {"tokens": ["a"]}});
    let connections = json!({"data": {"connections": []}});
    for of in RECIPIENTS {
        let calls = [&one, &two].into_iter().flat_map(|world| {
            let set = move |channel: &str, body: &Value| {
                world.put(&format!("{of}/channel_data/{channel}")).sk().json(body).send()
            };
            [set(PUSH, &tokens), set(SLACK, &connections), set(DISCORD, &connections), set(TEAMS, &connections)]
        });
        for reply in join_all(calls).await {
            reply.ok(200);
        }
        for channel in [PUSH, SLACK, DISCORD, TEAMS] {
            assert_eq!(one.get(&format!("{of}/channel_data/{channel}")).sk().await.status, 200, "F-CHD-01");
        }
    }
}

#[tokio::test]
async fn what_is_secret_in_data_is_in_no_answer_about_the_recipient() {
    let world = World::start().await;
    world.put(&format!("/v1/users/ann/channel_data/{PUSH}")).sk().json(&json!({"data": {"tokens": ["s3cret"]}})).await;
    world.trigger("comment", &json!({"recipients": ["ann"]})).await;
    for path in ["/v1/users/ann", "/v1/users?include[]=preferences", "/v1/messages", "/v1/workflow_recipient_runs"] {
        let reply = world.get(path).sk().await;
        assert!(!reply.text.contains("s3cret"), "F-CHD-22 F-USR-09 {path}");
    }
}
