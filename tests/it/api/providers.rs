//! What a page asks of Slack and Microsoft, and how organisations come to be connected. A server of the test's own stands
//! for both, and says what it was asked.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::stub::{Answer, Seen, Stub, way_out};
use crate::support::client::Reply;
use crate::support::{DISCORD, EMAIL, SLACK, Setup, TEAMS, UNCONFIGURED, World};

const SLACK_APP: &str = "111.222";
const SECRET: &str = "s3cret";
const ORGANISATION: &str = "c0ffee00-0000-4000-8000-000000000001";
const GRAPH_APP: &str = "9raph-app";

/// A server that knows the stub as Slack and as Microsoft.
async fn world(stub: &Stub) -> World {
    let channel_settings = json!({
        "slack": {"api_url": stub.url("/api"), "client_id": SLACK_APP, "client_secret": "{{ vars.hidden }}"},
        "teams": {"login_url": stub.url("/login"), "graph_url": stub.url("/graph"), "graph_client_id": GRAPH_APP,
            "graph_client_secret": "{{ vars.hidden }}"},
    });
    World::with(Setup { channel_settings, outside: way_out(), ..Setup::default() }).await
}

/// Both providers, when all goes well.
fn kind(seen: &Seen) -> Answer {
    let path = seen.target.split('?').next().unwrap();
    Answer::json(match path {
        "/api/auth.test" | "/api/auth.revoke" => json!({"ok": true, "team": "Acme"}),
        "/api/oauth.v2.access" => {
            json!({"ok": true, "access_token": "xoxb-new", "token_type": "bot", "authed_user": {"id": "U1"}})
        }
        "/api/conversations.list" => json!({"ok": true, "channels": [], "response_metadata": {"next_cursor": ""}}),
        path if path.starts_with("/login/") => json!({"access_token": "graph-token", "expires_in": 3599}),
        path if path.starts_with("/graph/v1.0/teams") => json!({"value": []}),
        other => panic!("nobody asks for {other}"),
    })
}

/// What was sent as forms have it.
fn form(seen: &Seen) -> BTreeMap<String, String> {
    assert_eq!(seen.headers["content-type"], "application/x-www-form-urlencoded");
    url::form_urlencoded::parse(seen.body.as_bytes()).into_owned().collect()
}

/// The query of what was asked.
fn query(seen: &Seen) -> BTreeMap<String, String> {
    let query = seen.target.split_once('?').map_or("", |(_, query)| query);
    assert!(!query.contains('+'), "a space is %20: {query}");
    url::form_urlencoded::parse(query.as_bytes()).into_owned().collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn store(world: &World, of: &str, channel: &str, data: Value) {
    world.put(&format!("{of}/channel_data/{channel}")).sk().json(&json!({"data": data})).await.ok(200);
}

async fn stored(world: &World, of: &str, channel: &str) -> Value {
    world.get(&format!("{of}/channel_data/{channel}")).sk().await.ok(200)["data"].take()
}

const TENANT: &str = "/v1/objects/%24tenants/north";

/// A query that names the tenant `north`, as browsers write it.
fn north(name: &str) -> String {
    format!("{name}[object_id]=north&{name}[collection]=%24tenants")
}

fn slack(what: &str) -> String {
    format!("/v1/providers/slack/{SLACK}/{what}?{}", north("access_token_object"))
}

fn teams(what: &str) -> String {
    format!("/v1/providers/ms-teams/{TEAMS}/{what}?{}", north("ms_teams_tenant_object"))
}

/// A token that may ask about the tenant `north`.
fn granted(world: &World, grant: &str) -> String {
    let resource = "https://api.knock.app/v1/objects/$tenants/north";
    world.token(&json!({"sub": "ann", "grants": {resource: {grant: [{}]}}}))
}

async fn connected_to_slack(stub: &Stub) -> World {
    let world = world(stub).await;
    store(&world, TENANT, SLACK, json!({"token": {"access_token": "xoxb-1"}})).await;
    world
}

async fn connected_to_teams(stub: &Stub) -> World {
    let world = world(stub).await;
    store(&world, TENANT, TEAMS, json!({"ms_teams_tenant_id": ORGANISATION})).await;
    world
}

const ALL: [(&str, &str); 7] = [
    ("GET", "slack/auth_check"),
    ("GET", "slack/channels"),
    ("PUT", "slack/revoke_access"),
    ("GET", "ms-teams/auth_check"),
    ("GET", "ms-teams/teams"),
    ("GET", "ms-teams/channels"),
    ("PUT", "ms-teams/revoke_access"),
];

/// One of the operations, about the object that `reference` names.
fn path(operation: &str, channel: Option<&str>, reference: &str) -> String {
    let (provider, what) = operation.split_once('/').unwrap();
    let (own, name) = match provider {
        "slack" => (SLACK, "access_token_object"),
        _ => (TEAMS, "ms_teams_tenant_object"),
    };
    let reference = reference.replace("OBJECT", name);
    format!("/v1/providers/{provider}/{}/{what}?team_id=t1&{reference}", channel.unwrap_or(own))
}

const BRACKETS: &str = "OBJECT[object_id]=north&OBJECT[collection]=%24tenants";

#[tokio::test]
async fn whoever_is_not_connected_is_told_so_in_the_words_that_the_kits_know() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let expect = |reply: Reply, operation: &str, when: &str| {
        let message = match operation.starts_with("slack") {
            true => "Access token not set.",
            false => "Microsoft Teams tenant ID not set.",
        };
        let expected =
            json!({"code": "authorization", "message": message, "status": 403, "type": "authentication_error"});
        assert_eq!(reply.ok(403), expected, "F-PRV-02 F-PRV-04 F-PRV-07 F-ERR-11 {operation} {when}");
    };
    for (method, operation) in ALL {
        expect(world.call(method, &path(operation, None, BRACKETS)).sk().await, operation, "nobody is there");
    }
    store(&world, TENANT, SLACK, json!({"connections": [], "token": null})).await;
    store(&world, TENANT, TEAMS, json!({"connections": [], "ms_teams_tenant_id": null})).await;
    for (method, operation) in ALL {
        expect(world.call(method, &path(operation, None, BRACKETS)).sk().await, operation, "nothing is stored");
    }
    assert!(stub.seen().is_empty(), "nobody is asked");
}

#[tokio::test]
async fn the_object_is_named_in_either_encoding_and_must_be() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let project = "/v1/objects/projects/p-1";
    store(&world, project, SLACK, json!({"token": {"access_token": "xoxb-1"}})).await;
    store(&world, project, TEAMS, json!({"ms_teams_tenant_id": ORGANISATION})).await;
    let json = "OBJECT=%7B%22collection%22%3A%22projects%22%2C%22object_id%22%3A%22p-1%22%7D";
    let brackets = "OBJECT[object_id]=p-1&OBJECT[collection]=projects&channel_id=another";
    for (method, operation) in ALL.into_iter().filter(|(_, operation)| !operation.contains("revoke")) {
        for reference in [json, brackets] {
            world.call(method, &path(operation, None, reference)).sk().await.ok(200);
        }
        for (reference, field) in [
            ("", ""),
            ("OBJECT=nonsense", ""),
            ("OBJECT[object_id]=p-1", ".collection"),
            ("OBJECT[collection]=projects", ".object_id"),
        ] {
            let error = world.call(method, &path(operation, None, reference)).sk().await.ok(422);
            let name = if operation.starts_with("slack") { "access_token_object" } else { "ms_teams_tenant_object" };
            let expected = format!("{name}{field}");
            assert_eq!(error["errors"][0]["field"], expected, "F-PRV-02 F-TRN-08 {operation} {reference}: {error}");
        }
    }
}

#[tokio::test]
async fn the_channel_must_be_one_of_the_providers() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    for (method, operation) in ALL {
        let other = if operation.starts_with("slack") { TEAMS } else { SLACK };
        for channel in [other, EMAIL, DISCORD, UNCONFIGURED, "nonsense"] {
            let reply = world.call(method, &path(operation, Some(channel), BRACKETS)).sk().await;
            assert_eq!(reply.code(), (422, "channel_invalid".to_owned()), "F-PRV-01 {operation} {channel}");
        }
    }
}

#[tokio::test]
async fn a_page_asks_about_the_tenants_for_which_it_has_the_grant() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = connected_to_slack(&stub).await;
    store(&world, TENANT, TEAMS, json!({"ms_teams_tenant_id": ORGANISATION})).await;
    store(&world, "/v1/objects/%24tenants/south", SLACK, json!({"token": {"access_token": "xoxb-2"}})).await;
    let south = "OBJECT[object_id]=south&OBJECT[collection]=%24tenants";
    // Revoking comes last in each list.
    for (method, operation) in ALL {
        let (grant, other) = match operation.starts_with("slack") {
            true => ("slack/channels_read", "ms_teams/channels_read"),
            false => ("ms_teams/channels_read", "slack/channels_read"),
        };
        let own = path(operation, None, BRACKETS);
        let reply = world.call(method, &own).pk().await;
        assert_eq!(reply.code(), (401, "missing_user_token".to_owned()), "F-PRV-01 F-GRN-10 {operation}");
        for (token, about) in [
            (world.token_of("ann"), BRACKETS),
            (granted(&world, other), BRACKETS),
            (granted(&world, "channel_data/read"), BRACKETS),
            (granted(&world, grant), south),
        ] {
            let reply = world.call(method, &path(operation, None, about)).pk().token(&token).await;
            let expected = (403, "authorization".to_owned());
            assert_eq!(reply.code(), expected, "F-GRN-10 F-AMB-8 {operation} {about}: {}", reply.text);
            assert!(reply.text.contains(grant), "it says what is missing: {}", reply.text);
        }
        let reply = world.call(method, &own).pk().token(&granted(&world, grant)).await;
        assert_eq!(reply.status, 200, "F-PRV-01 F-GRN-10 F-AMB-8 {operation}: {}", reply.text);
    }
}

#[tokio::test]
async fn slack_is_asked_whether_a_token_is_good() {
    let stub = Stub::start(|_, before| match before {
        0 => Answer::json(json!({"ok": true, "url": "https://acme.slack.com/", "team": "Acme"})),
        1 => Answer::json(json!({"ok": false, "error": "account_inactive"})),
        _ => Answer::json(json!({"ok": false, "error": "token_revoked"})),
    })
    .await;
    let world = connected_to_slack(&stub).await;
    let token = granted(&world, "slack/channels_read");
    let check = async || world.get(&slack("auth_check")).pk().token(&token).await.ok(200);
    assert_eq!(check().await, json!({"connection": {"ok": true}}), "F-PRV-03");
    let seen = stub.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/api/auth.test"));
    assert_eq!(seen.headers["authorization"], "Bearer xoxb-1", "F-PRV-03");
    for why in ["account_inactive", "token_revoked"] {
        let expected = json!({"connection": {"ok": false, "reason": why, "error": why}});
        assert_eq!(check().await, expected, "F-PRV-03");
    }
}

#[tokio::test]
async fn channels_of_slack_are_listed_page_by_page() {
    let stub = Stub::start(|_, before| {
        let channel = |id: &str, more: Value| {
            let mut channel = json!({"id": id, "name": format!("name of {id}"), "is_private": false, "is_im": false,
                "context_team_id": "T1", "topic": {"value": "secret plans"}});
            channel.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            channel
        };
        let channels = match before {
            0 => json!([channel("C1", json!({})), channel("C2", json!({"is_private": true}))]),
            1 => json!([{"id": "D1", "is_im": true, "user": "U7"}]),
            _ => json!([]),
        };
        let next = if before == 0 { "dGVhbTpD" } else { "" };
        Answer::json(json!({"ok": true, "channels": channels, "response_metadata": {"next_cursor": next}}))
    })
    .await;
    let world = connected_to_slack(&stub).await;
    let list = async |more: &str| world.get(&format!("{}{more}", slack("channels"))).sk().await.ok(200);
    let first = list("").await;
    let shown = |id: &str, is_private: bool| {
        json!({"id": id, "name": format!("name of {id}"), "is_private": is_private, "is_im": false,
            "context_team_id": "T1"})
    };
    let expected = json!({"slack_channels": [shown("C1", false), shown("C2", true)], "next_cursor": "dGVhbTpD"});
    assert_eq!(first, expected, "F-PRV-05");
    let options = "&query_options[cursor]=dGVhbTpD&query_options[limit]=2&query_options[exclude_archived]=false\
        &query_options[types]=im,mpim&query_options[team_id]=T9";
    let second = list(options).await;
    let im = json!({"id": "D1", "name": "U7", "is_private": false, "is_im": true, "context_team_id": "T9"});
    assert_eq!(second, json!({"slack_channels": [im], "next_cursor": null}), "F-PRV-05");
    list(&options.replace("query_options[", "query_options.").replace(']', "")).await;
    let seen = stub.seen();
    let usual = pairs(&[("limit", "200"), ("exclude_archived", "true"), ("types", "public_channel,private_channel")]);
    assert_eq!(form(&seen[0]), usual, "F-PRV-05");
    let asked = pairs(&[
        ("limit", "2"),
        ("exclude_archived", "false"),
        ("types", "im,mpim"),
        ("cursor", "dGVhbTpD"),
        ("team_id", "T9"),
    ]);
    assert_eq!((form(&seen[1]), form(&seen[2])), (asked.clone(), asked), "F-PRV-05 F-TRN-07");
    assert_eq!((seen[0].target.as_str(), seen.len()), ("/api/conversations.list", 3));
    for wrong in ["limit]=0", "limit]=1001", "limit]=x", "exclude_archived]=1"] {
        let reply = world.get(&format!("{}&query_options[{wrong}", slack("channels"))).sk().await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-PRV-05 {wrong}");
    }
    assert_eq!(stub.seen().len(), 3, "Slack is not asked what can't be right");
}

#[tokio::test]
async fn a_token_is_revoked_with_slack_and_then_forgotten() {
    let stub = Stub::start(|_, before| match before {
        // Slack's word that the token was dead before.
        1 => Answer::json(json!({"ok": false, "error": "token_revoked"})),
        _ => Answer::json(json!({"ok": true, "revoked": true})),
    })
    .await;
    let world = connected_to_slack(&stub).await;
    let connections = json!([{"access_token": null, "channel_id": "C1", "channel_name": null, "user_id": null}]);
    let whole = json!({"connections": connections, "token": {"access_token": "xoxb-1"}});
    let token = granted(&world, "slack/channels_read");
    for (call, expected) in [
        (world.put(&slack("revoke_access")).sk(), json!({"ok": "ok"})),
        (world.put(&slack("revoke_access")).sk().header("x-knock-client", "Knock/ClientJS 0.22.2"), json!("ok")),
        (world.put(&slack("revoke_access")).pk().token(&token), json!("ok")),
    ] {
        store(&world, TENANT, SLACK, whole.clone()).await;
        assert_eq!(call.await.ok(200), expected, "F-PRV-06 F-AMB-49");
        let left = json!({"connections": connections, "token": null});
        assert_eq!(stored(&world, TENANT, SLACK).await, left, "F-PRV-06: connections stay");
    }
    let seen = stub.seen();
    assert_eq!((seen.len(), seen[0].target.as_str()), (3, "/api/auth.revoke"), "F-PRV-06");
    assert_eq!(seen[0].headers["authorization"], "Bearer xoxb-1", "F-PRV-06");
}

#[tokio::test]
async fn a_token_that_slack_did_not_end_stays_and_so_does_one_that_came_meanwhile() {
    let stub = Stub::start(|_, before| match before {
        0 => Answer::Text(503, "busy".to_owned()),
        1 => Answer::json(json!({"ok": false, "error": "not_allowed_token_type"})),
        _ => Answer::Held(json!({"ok": true, "revoked": true})),
    })
    .await;
    let world = connected_to_slack(&stub).await;
    let whole = json!({"connections": [], "token": {"access_token": "xoxb-1"}});
    assert_eq!(world.put(&slack("revoke_access")).sk().await.status, 503, "F-PRV-06");
    let reply = world.put(&slack("revoke_access")).sk().await;
    assert_eq!(reply.code(), (403, "authorization".to_owned()), "F-PRV-06");
    assert!(reply.text.contains("not_allowed_token_type"), "{}", reply.text);
    assert_eq!(stored(&world, TENANT, SLACK).await, whole, "F-PRV-06");
    let revoking = async {
        world.put(&slack("revoke_access")).sk().await.ok(200);
    };
    let meanwhile = async {
        stub.until(3).await;
        store(&world, TENANT, SLACK, json!({"token": {"access_token": "xoxb-2"}})).await;
        stub.release();
    };
    tokio::join!(revoking, meanwhile);
    assert_eq!(stored(&world, TENANT, SLACK).await["token"], json!({"access_token": "xoxb-2"}), "F-PRV-06");
}

#[tokio::test]
async fn a_provider_that_is_busy_or_away_is_told_from_one_that_refuses() {
    let answers = [
        (Answer::With(429, ("retry-after", "7".to_owned()), String::new()), 429, "rate_limit_exceeded"),
        (Answer::json(json!({"ok": false, "error": "ratelimited"})), 429, "rate_limit_exceeded"),
        (Answer::Text(500, "{}".to_owned()), 503, "unavailable"),
        (Answer::Text(200, "<html>".to_owned()), 503, "unavailable"),
        (Answer::json(json!({"ok": false, "error": "internal_error"})), 503, "unavailable"),
        (Answer::HangUp, 503, "unavailable"),
        (Answer::json(json!({"ok": false, "error": "missing_scope"})), 403, "authorization"),
        (Answer::json(json!({"ok": false, "error": "invalid_cursor"})), 422, "invalid_params"),
    ];
    let given = answers.clone();
    let stub = Stub::start(move |_, before| given[before].0.clone()).await;
    let world = connected_to_slack(&stub).await;
    for (at, (_, status, code)) in answers.into_iter().enumerate() {
        let reply = world.get(&slack("channels")).sk().await;
        assert_eq!(reply.code(), (status, code.to_owned()), "{at}: {}", reply.text);
        assert!(!reply.text.contains("xoxb"), "{}", reply.text);
        if at == 0 {
            assert_eq!(reply.header("retry-after"), Some("7"));
        }
    }
}

#[tokio::test]
async fn microsoft_is_asked_whether_it_lets_the_app_in() {
    let stub = Stub::start(|_, before| match before {
        0 => Answer::json(json!({"token_type": "Bearer", "expires_in": 3599, "access_token": "graph-token"})),
        _ => Answer::Text(
            400,
            json!({"error": "unauthorized_client",
                "error_description": "AADSTS700016: Application was not found in the directory.\r\nTrace ID: 1"})
            .to_string(),
        ),
    })
    .await;
    let world = connected_to_teams(&stub).await;
    let token = granted(&world, "ms_teams/channels_read");
    let check = async || world.get(&teams("auth_check")).pk().token(&token).await.ok(200);
    assert_eq!(check().await, json!({"connection": {"ok": true, "ms_teams_tenant_id": ORGANISATION}}), "F-PRV-07");
    let why = "AADSTS700016: Application was not found in the directory.";
    let expected = json!({"connection": {"ok": false, "ms_teams_tenant_id": ORGANISATION, "reason": why}});
    assert_eq!(check().await, expected, "F-PRV-07");
    let seen = stub.seen().remove(0);
    let target = format!("/login/{ORGANISATION}/oauth2/v2.0/token");
    assert_eq!((seen.method.as_str(), &seen.target), ("POST", &target), "F-PRV-07");
    let scope = format!("{}/.default", stub.url("/graph"));
    let sent = pairs(&[
        ("grant_type", "client_credentials"),
        ("client_id", GRAPH_APP),
        ("client_secret", SECRET),
        ("scope", &scope),
    ]);
    assert_eq!(form(&seen), sent, "F-PRV-07 D-CHN-04 D-PRV-04");
}

#[tokio::test]
async fn a_stored_organisation_leads_nowhere_else() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    for odd in ["../graph", "a/b", "a?b", ".", "-x"] {
        store(&world, TENANT, TEAMS, json!({"ms_teams_tenant_id": odd})).await;
        let connection = world.get(&teams("auth_check")).sk().await.ok(200)["connection"].take();
        assert_eq!(connection["ok"], false, "F-PRV-07 {odd}");
    }
    assert!(stub.seen().is_empty(), "{:?}", stub.seen());
}

#[tokio::test]
async fn teams_are_listed_page_by_page() {
    let stub = Stub::start(|seen, _| match seen.target.starts_with("/login/") {
        true => kind(seen),
        false if seen.target.contains("skiptoken") => {
            Answer::json(json!({"value": [{"id": "t2", "displayName": "Two"}]}))
        }
        false => Answer::json(json!({
            "@odata.nextLink": "https://graph.microsoft.com/v1.0/teams?$top=1&$skiptoken=a%2Bb",
            "value": [{"id": "t1", "displayName": "One", "description": "The first", "visibility": "public"}],
        })),
    })
    .await;
    let world = connected_to_teams(&stub).await;
    let list = async |more: &str| world.get(&format!("{}{more}", teams("teams"))).sk().await.ok(200);
    let first = json!({"id": "t1", "displayName": "One", "description": "The first"});
    assert_eq!(list("").await, json!({"ms_teams_teams": [first], "skip_token": "a+b"}), "F-PRV-08");
    let options = "&query_options[%24filter]=displayName%20eq%20%27O%26O%27&query_options[$select]=id&query_options[$top]=1\
        &query_options[$skiptoken]=a%2Bb";
    let second = json!({"id": "t2", "displayName": "Two", "description": null});
    assert_eq!(list(options).await, json!({"ms_teams_teams": [second], "skip_token": null}), "F-PRV-08");
    let seen = stub.seen();
    assert_eq!((seen.len(), seen[1].target.as_str()), (4, "/graph/v1.0/teams"), "F-PRV-08");
    assert_eq!(seen[1].headers["authorization"], "Bearer graph-token");
    let asked = pairs(&[("$filter", "displayName eq 'O&O'"), ("$select", "id"), ("$top", "1"), ("$skiptoken", "a+b")]);
    assert_eq!(query(&seen[3]), asked, "F-PRV-08");
    for wrong in ["0", "1000", "x"] {
        let reply = world.get(&format!("{}&query_options[$top]={wrong}", teams("teams"))).sk().await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-PRV-08 {wrong}");
    }
}

#[tokio::test]
async fn of_a_teams_channels_those_are_shown_that_messages_can_go_to() {
    let stub = Stub::start(|seen, _| match seen.target.starts_with("/login/") {
        true => kind(seen),
        false => Answer::json(json!({"value": [
            {"id": "19:a@thread.tacv2", "displayName": "General", "membershipType": "standard", "email": "a@b.c",
             "createdDateTime": "2026-01-01T00:00:00Z", "isArchived": false},
            {"id": "19:b@thread.tacv2", "displayName": "Private", "membershipType": "private"},
            {"id": "19:c@thread.tacv2", "displayName": "Archived", "membershipType": "standard", "isArchived": true},
            {"id": "19:d@thread.tacv2", "displayName": "Shared", "description": "d", "membershipType": "shared"},
        ]})),
    })
    .await;
    let world = connected_to_teams(&stub).await;
    let list = async |more: &str| {
        let path = format!("{}&team_id=t%2F1{more}", teams("channels"));
        world.get(&path).sk().await.ok(200)["ms_teams_channels"].take()
    };
    let shown = json!([
        {"id": "19:a@thread.tacv2", "displayName": "General", "description": null, "membershipType": "standard",
         "isArchived": false, "createdDateTime": "2026-01-01T00:00:00Z"},
        {"id": "19:d@thread.tacv2", "displayName": "Shared", "description": "d", "membershipType": "shared"},
    ]);
    assert_eq!(list("").await, shown, "F-PRV-08");
    assert_eq!(list("&query_options[$select]=id,displayName").await, shown, "F-PRV-08");
    let all = list("&query_options[$filter]=membershipType%20ne%20%27x%27").await;
    assert_eq!(all.as_array().unwrap().len(), 4, "F-PRV-08: a filter says it itself");
    let seen: Vec<Seen> = stub.seen().into_iter().filter(|seen| seen.target.starts_with("/graph")).collect();
    assert_eq!(seen[0].target, "/graph/v1.0/teams/t%2F1/channels", "F-PRV-08: an id is one part of a path");
    let select = "id,displayName,membershipType,isArchived";
    assert_eq!(query(&seen[1]), pairs(&[("$select", select)]), "F-PRV-08: what is hidden must be known");
    assert_eq!(query(&seen[2]), pairs(&[("$filter", "membershipType ne 'x'")]), "F-PRV-08");
    let reply = world.get(&teams("channels")).sk().await;
    assert_eq!(reply.ok(422)["errors"][0]["field"], "team_id", "F-PRV-08");
}

#[tokio::test]
async fn what_graph_refuses_is_told_with_its_reason() {
    let answers = [(403, 403, "authorization"), (404, 404, "resource_missing"), (400, 422, "invalid_params")];
    let stub = Stub::start(move |seen, before| match seen.target.starts_with("/login/") {
        true => kind(seen),
        false => {
            let said = json!({"error": {"code": "Code", "message": "Missing role permissions"}}).to_string();
            Answer::Text(answers[before / 2].0, said)
        }
    })
    .await;
    let world = connected_to_teams(&stub).await;
    for (graph, status, code) in answers {
        let reply = world.get(&teams("teams")).sk().await;
        assert_eq!(reply.code(), (status, code.to_owned()), "{graph}");
        assert!(reply.text.contains("Missing role permissions"), "{}", reply.text);
    }
}

#[tokio::test]
async fn an_organisation_of_microsofts_is_forgotten() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let hook = json!({"incoming_webhook": {"url": "https://example.com/hook"}});
    let token = granted(&world, "ms_teams/channels_read");
    for (call, expected) in [
        (world.put(&teams("revoke_access")).sk(), json!({"ok": "ok"})),
        (world.put(&teams("revoke_access")).pk().token(&token), json!("ok")),
    ] {
        store(&world, TENANT, TEAMS, json!({"connections": [hook], "ms_teams_tenant_id": ORGANISATION})).await;
        assert_eq!(call.await.ok(200), expected, "F-PRV-06 F-AMB-49");
        let left = json!({"connections": [hook], "ms_teams_tenant_id": null});
        assert_eq!(stored(&world, TENANT, TEAMS).await, left);
    }
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_channel_without_an_app_says_what_to_set() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let channel_settings = json!({"slack": {"api_url": stub.url("/api")}, "teams": {"login_url": stub.url("/login")}});
    let world = World::with(Setup { channel_settings, outside: way_out(), ..Setup::default() }).await;
    store(&world, TENANT, TEAMS, json!({"ms_teams_tenant_id": ORGANISATION})).await;
    let reply = world.get(&teams("auth_check")).sk().await;
    assert_eq!(reply.code(), (422, "channel_invalid".to_owned()));
    assert!(reply.text.contains("graph_client_id"), "{}", reply.text);
    let back = back_from_slack(&world, &state(&world, "slack", json!({})), "code=c").await;
    assert!(back.text.contains("client_secret"), "{}", back.text);
    assert!(stub.seen().is_empty());
}

/// What a page sends along to the provider, with these members changed.
fn state(world: &World, provider: &str, changes: Value) -> Value {
    let (grant, name, channel) = match provider {
        "slack" => ("slack/channels_read", "access_token_object", SLACK),
        _ => ("ms_teams/channels_read", "ms_teams_tenant_object", TEAMS),
    };
    let mut state = json!({
        name: {"object_id": "north", "collection": "$tenants"},
        "channel_id": channel, "public_key": world.pk, "user_token": granted(world, grant),
    });
    state.as_object_mut().unwrap().extend(changes.as_object().cloned().unwrap_or_default());
    state
}

async fn back(world: &World, provider: &str, state: &Value, more: &str) -> Reply {
    let state: String = url::form_urlencoded::byte_serialize(state.to_string().as_bytes()).collect();
    world.get(&format!("/providers/{provider}/authenticate?{more}&state={state}")).await
}

async fn back_from_slack(world: &World, state: &Value, more: &str) -> Reply {
    back(world, "slack", state, more).await
}

/// What the page that had asked is told, and for whose eyes.
fn posted(reply: &Reply) -> (Value, Value) {
    let script = reply.text.split("postMessage(").nth(1).and_then(|rest| rest.split(")</script>").next());
    let script = script.unwrap_or_else(|| panic!("{}", reply.text));
    let mut both = serde_json::from_str::<Vec<Value>>(&format!("[{script}]")).unwrap();
    let origin = both.pop().unwrap();
    (both.pop().unwrap(), origin)
}

#[tokio::test]
async fn whoever_lets_slacks_app_in_comes_back_connected() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let reply = back_from_slack(&world, &state(&world, "slack", json!({"nonce": "n-1"})), "code=c%2F1").await;
    assert_eq!((reply.status, reply.header("content-type")), (200, Some("text/html; charset=utf-8")), "F-PRV-10");
    let expected = (json!({"type": "authComplete", "nonce": "n-1"}), json!("*"));
    assert_eq!(posted(&reply), expected, "F-PRV-10 F-AMB-50");
    let data = stored(&world, TENANT, SLACK).await;
    assert_eq!(data, json!({"connections": [], "token": {"access_token": "xoxb-new"}}), "F-PRV-10");
    let object = world.core.store.object(world.env, "$tenants", "north").await.unwrap();
    assert!(object.is_some(), "F-PRV-10: it is created");
    let seen = stub.seen().remove(0);
    assert_eq!((seen.method.as_str(), seen.target.as_str()), ("POST", "/api/oauth.v2.access"), "F-PRV-09");
    let sent = pairs(&[("code", "c/1"), ("client_id", SLACK_APP), ("client_secret", SECRET)]);
    assert_eq!(form(&seen), sent, "F-PRV-09 F-PRV-10");
    assert!(!seen.headers.contains_key("authorization"));
    // Another comes: what else is known of the tenant stays.
    let whole = json!({"connections": [{"channel_id": "C1"}], "token": {"access_token": "xoxb-old"}, "mine": 1});
    store(&world, TENANT, SLACK, whole).await;
    let reply = back_from_slack(&world, &state(&world, "slack", json!({})), "code=c").await;
    assert_eq!(posted(&reply), (json!("authComplete"), json!("*")), "F-PRV-10 F-AMB-50: as old kits know it");
    let data = stored(&world, TENANT, SLACK).await;
    assert_eq!((&data["connections"][0]["channel_id"], &data["mine"]), (&json!("C1"), &json!(1)), "F-PRV-10");
    assert_eq!(data["token"], json!({"access_token": "xoxb-new"}), "F-PRV-10");
}

#[tokio::test]
async fn whoever_consents_for_an_organisation_comes_back_connected() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let more = format!("admin_consent=True&tenant={ORGANISATION}&scope=x");
    let reply = back(&world, "ms-teams", &state(&world, "teams", json!({})), &more).await;
    assert_eq!((reply.status, posted(&reply)), (200, (json!("authComplete"), json!("*"))), "F-PRV-09 F-PRV-10");
    let data = stored(&world, TENANT, TEAMS).await;
    assert_eq!(data, json!({"connections": [], "ms_teams_tenant_id": ORGANISATION}), "F-PRV-10");
    for (more, field) in [
        (format!("tenant={ORGANISATION}"), "consented"),
        (format!("admin_consent=False&tenant={ORGANISATION}"), "consented"),
        ("admin_consent=True".to_owned(), "tenant"),
        ("admin_consent=True&tenant=..%2Fgraph".to_owned(), "tenant"),
    ] {
        let reply = back(&world, "ms-teams", &state(&world, "teams", json!({"nonce": "n"})), &more).await;
        let expected = (json!({"type": "authFailed", "nonce": "n"}), json!("*"));
        assert_eq!((reply.status, posted(&reply)), (422, expected), "F-PRV-10 {more}");
        assert!(reply.text.contains(field), "{more}: {}", reply.text);
    }
    assert_eq!(stored(&world, TENANT, TEAMS).await, data);
    assert!(stub.seen().is_empty());
}

#[tokio::test]
async fn a_page_that_wants_to_go_on_elsewhere_is_gone_on_to() {
    let stub = Stub::start(|seen, before| match before {
        0 | 1 => kind(seen),
        _ => Answer::json(json!({"ok": false, "error": "invalid_code"})),
    })
    .await;
    let world = world(&stub).await;
    for (given, gone_to) in [
        ("https://app.example.com/settings?a=1#b", "https://app.example.com/settings?a=1#b"),
        // As Knock's own documentation writes it.
        ("www.my-example-app.com/notification-settings", "https://www.my-example-app.com/notification-settings"),
    ] {
        let state = state(&world, "slack", json!({"redirect_url": given, "nonce": "n"}));
        let reply = back_from_slack(&world, &state, "code=c").await;
        assert_eq!((reply.status, reply.header("location")), (302, Some(gone_to)), "F-PRV-10");
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"), "the address holds a user token");
    }
    // When it fails, the page is told, and no other.
    let state = state(&world, "slack", json!({"redirect_url": "https://app.example.com/x", "nonce": "n"}));
    let reply = back_from_slack(&world, &state, "code=c").await;
    let expected = (json!({"type": "authFailed", "nonce": "n"}), json!("https://app.example.com"));
    assert_eq!((reply.status, posted(&reply)), (403, expected), "F-PRV-10 F-AMB-50");
    assert!(reply.text.contains("invalid_code"), "{}", reply.text);
}

#[tokio::test]
async fn nobody_is_connected_or_sent_anywhere_who_may_not() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let elsewhere = json!({"redirect_url": "https://evil.example"});
    let with = |more: Value| {
        let mut changes = elsewhere.clone();
        changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        state(&world, "slack", changes)
    };
    let other = world.token(&json!({"sub": "ann", "grants": {
        "https://api.knock.app/v1/objects/$tenants/south": {"slack/channels_read": [{}]}}}));
    let south = json!({"object_id": "south", "collection": "$tenants"});
    for (state, status, why) in [
        (with(json!({"user_token": null})), 403, "no token"),
        (with(json!({"user_token": "nonsense"})), 401, "no good token"),
        (with(json!({"user_token": world.token_of("ann")})), 403, "no grant"),
        (with(json!({"user_token": other})), 403, "another's grant"),
        (with(json!({"access_token_object": south})), 403, "another's object"),
        (with(json!({"access_token_object": null})), 422, "no object"),
        (with(json!({"public_key": null})), 401, "no key"),
        (with(json!({"public_key": world.sk})), 422, "a secret key"),
        (with(json!({"public_key": "pk_unknown"})), 401, "an unknown key"),
        (with(json!({"channel_id": TEAMS})), 422, "another's channel"),
        (with(json!({"channel_id": null})), 422, "no channel"),
        (json!("nonsense"), 422, "no state"),
    ] {
        let reply = back_from_slack(&world, &state, "code=c").await;
        assert_eq!((reply.status, reply.header("location")), (status, None), "F-PRV-09 {why}: {}", reply.text);
        assert_eq!(posted(&reply).0, json!("authFailed"), "F-PRV-10 {why}");
    }
    for more in ["error=access_denied", "error=access_denied&code=c", ""] {
        let reply = back_from_slack(&world, &with(json!({})), more).await;
        assert_eq!((reply.status, posted(&reply).0), (422, json!("authFailed")), "F-PRV-10 {more}");
    }
    assert_eq!(world.get("/providers/slack/authenticate").await.status, 422, "F-PRV-09");
    for method in ["POST", "HEAD", "PUT"] {
        assert_eq!(world.call(method, "/providers/slack/authenticate?code=c").await.status, 405, "F-PRV-09 {method}");
    }
    assert!(stub.seen().is_empty(), "Slack is not asked");
    for id in ["north", "south"] {
        let object = world.core.store.object(world.env, "$tenants", id).await.unwrap();
        assert!(object.is_none(), "F-PRV-10: nobody is created");
    }
}

#[tokio::test]
async fn what_is_sent_along_stays_text() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let world = world(&stub).await;
    let nasty = "</script><script>alert('1')</script>\u{2028}\"";
    let reply = back_from_slack(&world, &state(&world, "slack", json!({"nonce": nasty})), "code=c").await;
    assert_eq!(posted(&reply).0, json!({"type": "authComplete", "nonce": nasty}), "F-PRV-10: the nonce is echoed");
    let encoded: String = url::form_urlencoded::byte_serialize(nasty.as_bytes()).collect();
    let state_of = state(&world, "slack", json!({"nonce": nasty}));
    let failed = back_from_slack(&world, &state_of, &format!("error={encoded}")).await;
    for reply in [&reply, &failed] {
        assert_eq!(reply.text.matches("<script").count(), 1, "{}", reply.text);
        assert_eq!(reply.text.matches("</script").count(), 1, "{}", reply.text);
        let policy = reply.header("content-security-policy").unwrap();
        let nonce = policy.split("script-src 'nonce-").nth(1).and_then(|rest| rest.split('\'').next()).unwrap();
        assert!(reply.text.contains(&format!("<script nonce=\"{nonce}\">")), "{policy}");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(reply.header("access-control-allow-origin"), None, "pages of others may not read it");
        assert_eq!(reply.header("cache-control"), Some("no-store"));
    }
    for scheme in ["javascript://x/%0aalert(1)", "data://text", "https://user@evil.example/"] {
        let state = state(&world, "slack", json!({"redirect_url": scheme}));
        let reply = back_from_slack(&world, &state, "code=c").await;
        assert_eq!((reply.status, reply.header("location")), (200, None), "F-PRV-10 {scheme}");
        assert_eq!(posted(&reply).1, json!("*"), "F-AMB-50 {scheme}");
    }
}

#[tokio::test]
async fn a_window_that_is_open_may_be_waited_for() {
    let stub = Stub::start(|seen, _| kind(seen)).await;
    let mut settings = bellwire::http::Settings::default();
    settings.limits.is_on = true;
    let channel_settings = json!({"slack": {"api_url": stub.url("/api")}});
    let setup = Setup { channel_settings, outside: way_out(), settings, ..Setup::default() };
    let world = World::with(setup).await;
    store(&world, TENANT, SLACK, json!({"token": {"access_token": "xoxb-1"}})).await;
    let token = granted(&world, "slack/channels_read");
    for poll in 0..90 {
        let reply = world.get(&slack("auth_check")).pk().token(&token).await;
        assert_eq!(reply.status, 200, "F-PRV-11: {poll} times every two seconds");
        world.clock.advance(2_000_000);
    }
}
