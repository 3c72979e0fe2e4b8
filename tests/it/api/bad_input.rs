//! What nobody should send: each is refused with a sentence, none does harm.

use bellwire::http::api::routes;
use bellwire::http::router::Verb;
use serde_json::{Value, json};

use crate::support::{EMAIL, FEED, Setup, World};

fn invalid() -> (u16, String) {
    (422, "invalid_params".to_owned())
}

/// Every route that takes a body, with parameters that lead nowhere in particular.
fn writes() -> Vec<(&'static str, String)> {
    let routes = routes().into_iter().filter(|route| matches!(route.verb, Verb::Post | Verb::Put));
    let path = |path: &str| {
        path.replace("{user_id}", "ann")
            .replace("{message_id}", "m")
            .replace("{channel_id}", FEED)
            .replace("{action}", "seen")
            .replace("{key}", "comment")
    };
    routes.map(|route| (route.verb.as_str(), path(route.path))).collect()
}

#[tokio::test]
async fn bodies_that_are_no_json_objects_are_refused_everywhere() {
    let world = World::start().await;
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(70), "]".repeat(70));
    let bottomless = "[".repeat(1_000_000);
    let bodies: [&[u8]; 11] = [
        b"{",
        b"{\"a\":}",
        b"nonsense",
        b"{} {}",
        b"[]",
        b"\"text\"",
        b"1e999999",
        b"{\"a\":\"\xff\xfe\"}",
        b"\xff",
        deep.as_bytes(),
        bottomless.as_bytes(),
    ];
    for (method, path) in writes() {
        for body in bodies {
            let reply = world.call(method, &path).sk().body(body.to_vec()).await;
            let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
            assert_eq!(reply.code(), invalid(), "F-ERR-04 W-ERR-06 {method} {path} {shown}");
        }
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_named() {
    let world = World::start().await;
    let message = world.tell("ann", json!({}), None).await;
    let trigger = "/v1/workflows/comment/trigger";
    let bulk = format!("/v1/channels/{FEED}/messages/bulk/seen");
    let interacted = format!("/v1/messages/{message}/interacted");
    let long = "x".repeat(257);
    let fifty_one: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    let cases: Vec<(&str, &str, Value, &str, &str)> = vec![
        ("POST", trigger, json!({}), "recipients", "W-TRG-05"),
        ("POST", trigger, json!({"recipients": "ann"}), "recipients", "W-TRG-05"),
        ("POST", trigger, json!({"recipients": null}), "recipients", "W-TRG-05"),
        ("POST", trigger, json!({"recipients": [1]}), "recipients[0]", "W-TRG-05"),
        ("POST", trigger, json!({"recipients": ["a\u{0}b"]}), "recipients[0]", "F-USR-02"),
        ("POST", trigger, json!({"recipients": [long]}), "recipients[0]", "F-USR-02"),
        ("POST", trigger, json!({"recipients": ["ann"], "data": []}), "data", "W-TRG-04"),
        ("POST", trigger, json!({"recipients": ["ann"], "actor": 1}), "actor", "W-TRG-04"),
        ("POST", trigger, json!({"recipients": ["ann"], "tenant": "a\u{0}"}), "tenant", "W-TRG-04"),
        ("POST", trigger, json!({"recipients": ["ann"], "settings": 1}), "settings", "W-TRG-04"),
        ("POST", trigger, json!({"recipients": ["ann"], "cancellation_key": 1}), "cancellation_key", "W-TRG-04"),
        ("POST", "/v1/workflows/comment/cancel", json!({}), "cancellation_key", "W-CAN-01"),
        (
            "POST",
            "/v1/workflows/comment/cancel",
            json!({"cancellation_key": "k", "recipients": 1}),
            "recipients",
            "W-CAN-01",
        ),
        ("POST", "/v1/notify", json!({"actor": "a", "recipients": ["b"]}), "name", "W-TRG-35"),
        ("POST", "/v1/notify", json!({"name": "comment", "recipients": ["b"]}), "actor", "W-TRG-35"),
        ("POST", "/v1/notify", json!({"name": "comment", "actor": "a"}), "recipients", "W-TRG-35"),
        (
            "POST",
            "/v1/notify",
            json!({"name": "comment", "actor": "a", "recipients": [{"id": "b", "name": "B"}]}),
            "recipients[0]",
            "W-TRG-35",
        ),
        ("POST", "/v1/notify/cancel", json!({"cancellation_key": "k"}), "name", "W-CAN-17"),
        ("PUT", "/v1/users/ann", json!({"email": 1}), "email", "F-USR-03"),
        ("PUT", "/v1/users/ann", json!({"created_at": "soon"}), "created_at", "F-USR-03"),
        ("PUT", "/v1/users/ann", json!({"preferences": []}), "preferences", "F-USR-08"),
        ("PUT", "/v1/users/ann", json!({"channel_data": {"x": 1}}), "channel_data", "F-USR-09"),
        ("PUT", &interacted, json!({"metadata": {"a": {}}}), "metadata", "F-STA-18"),
        ("PUT", &interacted, json!({"metadata": {"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}}), "metadata", "F-STA-18"),
        ("POST", "/v1/messages/batch/seen", json!({}), "message_ids", "F-STA-02"),
        ("POST", "/v1/messages/batch/seen", json!({"message_ids": []}), "message_ids", "F-AMB-45"),
        ("POST", "/v1/messages/batch/seen", json!({"message_ids": fifty_one}), "message_ids", "F-STA-03"),
        ("POST", "/v1/messages/batch/seen", json!({"message_ids": [1]}), "message_ids[0]", "F-STA-02"),
        (
            "POST",
            "/v1/messages/batch/interacted",
            json!({"message_ids": ["a"], "metadata": [1]}),
            "metadata",
            "F-STA-18",
        ),
        ("POST", &bulk, json!({"engagement_status": "sene"}), "engagement_status", "F-STA-06"),
        ("POST", &bulk, json!({"delivery_status": "seen"}), "delivery_status", "F-STA-06"),
        ("POST", &bulk, json!({"archived": true}), "archived", "F-STA-06"),
        ("POST", &bulk, json!({"has_tenant": "maybe"}), "has_tenant", "F-STA-06"),
        ("POST", &bulk, json!({"newer_than": "yesterday"}), "newer_than", "F-STA-06"),
        ("POST", &bulk, json!({"user_ids": [1]}), "user_ids", "F-STA-07"),
        ("POST", &bulk, json!({"recipient_ids": {}}), "recipient_ids", "F-STA-06"),
        ("POST", &bulk, json!({"trigger_data": "{\"a\":[1]}"}), "trigger_data", "F-FED-17"),
    ];
    for (method, path, body, field, rule) in cases {
        let reply = world.call(method, path).sk().json(&body).await;
        assert_eq!(reply.code(), invalid(), "{rule} {method} {path} {body}");
        let fields: Vec<Value> =
            reply.json()["errors"].as_array().unwrap().iter().map(|one| one["field"].clone()).collect();
        assert_eq!(fields[0], field, "F-AMB-11 {rule} {body}");
    }
}

#[tokio::test]
async fn queries_that_cannot_be_meant_are_refused() {
    let world = World::start().await;
    let feed = format!("/v1/users/ann/feeds/{FEED}");
    for (path, query, rule) in [
        (feed.as_str(), "status=sene", "F-FED-09"),
        (&feed, "archived=maybe", "F-FED-10"),
        (&feed, "has_tenant=yes", "F-FED-15"),
        (&feed, "trigger_data=[1]", "F-FED-17"),
        (&feed, "trigger_data={\"a\":{}}", "F-FED-17"),
        (&feed, "trigger_data=nonsense", "F-FED-17"),
        (&feed, "inserted_at.gt=soon", "F-FED-19"),
        (&feed, "mode=huge", "F-FED-21"),
        (&feed, "exclude=a.b.c.d", "F-AMB-41"),
        (&feed, "page_size=0", "F-AMB-16"),
        (&feed, "page_size=x", "F-AMB-16"),
        (&feed, "after=nonsense", "F-AMB-16"),
        (&feed, "after=a&before=b", "F-PAG-09"),
        (&feed, "status=%ff", "F-TRN-01"),
        (&feed, "tenant=%00", "F-TRN-01"),
        ("/v1/messages", "status=seen", "F-MSG-05"),
        ("/v1/messages", "engagement_status[]=delivered", "F-MSG-05"),
        ("/v1/messages", "inserted_at[gt]=soon", "F-MSG-05"),
        ("/v1/messages", "trigger_data=1", "F-MSG-05"),
        ("/v1/messages", "page_size=-1", "F-AMB-16"),
        ("/v1/messages/batch/content", "", "F-AMB-45"),
        ("/v1/users", "include[]=everything", "F-USR-11"),
        ("/v1/workflow_recipient_runs", "status[]=failed", "W-RUN-07"),
        ("/v1/workflow_recipient_runs", "has_errors=1", "W-RUN-04"),
        ("/v1/workflow_recipient_runs", "starting_at=x", "W-RUN-05"),
        ("/v1/workflow_recipient_runs", "recipient[collection]=x", "W-RUN-04"),
    ] {
        let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let reply = world.get(&format!("{path}?{query}")).sk().await;
        assert_eq!(reply.code(), invalid(), "{rule} {path}?{query}");
    }
    let ids: String = (0..51).map(|n| format!("message_ids[]={n}&")).collect();
    assert_eq!(world.get(&format!("/v1/messages?{ids}")).sk().await.code(), invalid(), "F-MSG-08");
    assert_eq!(world.get(&format!("/v1/messages/batch/content?{ids}")).sk().await.code(), invalid(), "F-AMB-45");
}

#[tokio::test]
async fn ids_in_paths_are_checked() {
    let world = World::start().await;
    for path in ["/v1/users/a%00b", "/v1/users/%ff", "/v1/messages/%00", "/v1/bulk_operations/%00"] {
        assert_eq!(world.get(path).sk().await.code(), invalid(), "F-TRN-13 {path}");
    }
    for id in ["a%2Fb".to_owned(), "a%23b".to_owned(), "x".repeat(257)] {
        assert_eq!(world.put(&format!("/v1/users/{id}")).sk().await.code(), invalid(), "F-USR-02 {id}");
    }
    world.put(&format!("/v1/users/{}", "x".repeat(256))).sk().await.ok(200);
    for channel in ["nonsense", EMAIL, "00000000-0000-0000-0000-000000000000"] {
        let path = format!("/v1/users/ann/feeds/{channel}");
        let channel_invalid = (422, "channel_invalid".to_owned());
        assert_eq!(world.get(&path).sk().await.code(), channel_invalid, "F-FED-03 {channel}");
        assert_eq!(world.get(&format!("{path}/settings")).sk().await.code(), channel_invalid, "F-FED-03 {channel}");
    }
    for path in
        ["/v1/messages/x", "/v1/workflow_recipient_runs/x", "/v1/bulk_operations/x", "/v1/users/nobody/messages"]
    {
        assert_eq!(world.get(path).sk().await.code(), (404, "resource_missing".to_owned()), "F-AMB-10 {path}");
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_unread() {
    let mut setup = Setup::default();
    setup.settings.body_limit = 1_000;
    let world = World::with(setup).await;
    let body = json!({"note": "x".repeat(2_000)});
    let reply = world.put("/v1/users/ann").sk().json(&body).await;
    assert_eq!(reply.code(), (413, "payload_too_large".to_owned()));
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "nothing was written");
    let fits = json!({"note": "x".repeat(900)});
    world.put("/v1/users/ann").sk().json(&fits).await.ok(200);
}

#[tokio::test]
async fn properties_over_256_kilobytes_are_refused() {
    let world = World::start().await;
    let half = "x".repeat(200 * 1024);
    world.put("/v1/users/ann").sk().json(&json!({"a": half})).await.ok(200);
    let reply = world.put("/v1/users/ann").sk().json(&json!({"b": half})).await;
    assert_eq!(reply.code(), invalid(), "F-ERR-06 F-USR-07");
}
