//! `bellwire dev`: from nothing to a ringing bell.

use std::os::unix::fs::PermissionsExt as _;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{Dir, SAMPLES, exists};

const DEV: [&str; 5] = ["dev", "--port", "0", "--workflows", SAMPLES];

/// The value behind `label` in the welcome.
#[track_caller]
fn shown(welcome: &str, label: &str) -> String {
    let line = welcome.lines().find_map(|line| line.trim().strip_prefix(label)).expect(label);
    line.split_whitespace().next().unwrap_or_default().to_owned()
}

#[test]
fn the_second_start_shows_the_same_keys_and_has_the_same_data() {
    let dir = Dir::new("dev");
    let mut first = dir.start(&DEV);
    let answer = first.request("POST", "/demo/trigger", &[], r#"{"workflow": "comment", "data": {}}"#);
    assert_eq!(answer.0, 200, "{}", answer.1);
    let (status, welcome) = first.stop();
    assert_eq!(status.code(), Some(0), "Ctrl-C drains and exits 0");
    assert!(shown(&welcome, "Public key").starts_with("pk_"), "F-TRN-19: {welcome}");
    assert!(shown(&welcome, "Secret key").starts_with("sk_"), "{welcome}");
    assert_eq!(shown(&welcome, "Open"), format!("http://{}", first.address));
    assert!(welcome.contains("comment, deploy-finished, invoice-due, welcome"), "{welcome}");

    let (_, again) = dir.start(&DEV).stop();
    for label in ["Public key", "Secret key", "Signing key"] {
        assert_eq!(shown(&welcome, label), shown(&again, label), "{label}");
    }
    let keys = dir.ask_json(&["keys", "list", "--json"]);
    assert_eq!(keys.as_array().map(Vec::len), Some(3), "{keys}");
}

#[test]
fn an_empty_directory_is_enough() {
    let dir = Dir::new("empty");
    let (status, welcome) = dir.start(&["dev", "--port", "0"]).stop();
    assert_eq!(status.code(), Some(0));
    assert!(welcome.contains("Wrote sample workflows to config/workflows."), "{welcome}");
    assert!(welcome.contains("comment, deploy-finished, invoice-due, welcome"), "{welcome}");
    let written = dir.path("config/workflows");
    let differs = std::process::Command::new("diff").args(["-r", SAMPLES]).arg(written).output().expect("diff runs");
    assert!(differs.status.success(), "{}", String::from_utf8_lossy(&differs.stdout));
    let (_, again) = dir.start(&["dev", "--port", "0"]).stop();
    assert!(!again.contains("Wrote"), "what is there is left alone: {again}");
    let done = dir.run(&["dev", "--port", "0", "--workflows", "nowhere"]);
    assert!(
        done.code == Some(1) && done.err.contains("nowhere"),
        "a directory that was named is not made: {}",
        done.err
    );
}

#[test]
fn what_holds_keys_is_for_its_owner_alone() {
    let dir = Dir::new("modes");
    let mut server = dir.start(&DEV);
    let mode = |name: &str| dir.path(name).metadata().expect(name).permissions().mode() & 0o777;
    assert_eq!(mode("bellwire-data"), 0o700);
    assert_eq!(mode("bellwire-data/development.json"), 0o600);
    server.stop();
}

#[test]
fn keys_outlive_a_deleted_database_and_revoked_ones_are_replaced() {
    let dir = Dir::new("outlive");
    let (_, first) = dir.start(&DEV).stop();
    for name in ["bellwire.db", "bellwire.db-wal", "bellwire.db-shm"] {
        let file = dir.path("bellwire-data").join(name);
        if exists(&file) {
            std::fs::remove_file(file).expect("it can be removed");
        }
    }
    let (_, second) = dir.start(&DEV).stop();
    assert_eq!(shown(&first, "Secret key"), shown(&second, "Secret key"));
    dir.ask(&["keys", "revoke", &shown(&second, "Secret key")]);
    let (_, third) = dir.start(&DEV).stop();
    assert_ne!(shown(&second, "Secret key"), shown(&third, "Secret key"));
    assert_eq!(shown(&second, "Public key"), shown(&third, "Public key"));
}

#[test]
fn the_demo_page_has_what_it_needs_and_is_there_in_development_only() {
    let dir = Dir::new("demo");
    let mut server = dir.start(&DEV);
    let (status, page) = server.get("/");
    assert!(status == 200 && page.contains("/demo.js"), "{page}");
    assert_eq!(server.get("/bell.js").0, 200);
    let (status, facts) = server.get("/demo/config");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!((status, &facts["user"]), (200, &json!("dana")));
    for (path, cache) in [("/bell.js?v=old", "no-cache"), ("/feed.js", "no-cache"), ("/bell/panel.js", "no-cache")] {
        let head = |method: &str| {
            let answer = server.exchange(method, path, &[], "");
            let lines = answer.split("\r\n\r\n").next().unwrap_or_default().lines();
            lines.filter(|line| !line.starts_with("date:")).map(str::to_owned).collect::<Vec<_>>()
        };
        assert!(head("GET").contains(&format!("cache-control: {cache}")), "{path} {:?}", head("GET"));
        assert_eq!(head("HEAD"), head("GET"), "{path}");
    }
    assert_eq!(facts["workflows"][0]["key"], "comment");
    assert!(facts["public_key"].as_str().is_some_and(|key| key.starts_with("pk_")));
    assert_eq!(server.request("GET", "/demo/config", &[("origin", "https://evil.example")], "").0, 403);
    let (status, said) = server.request("POST", "/demo/trigger", &[], r#"{"workflow": "invoice-due", "data": {}}"#);
    assert!(status == 422 && said.contains("data.number: is required"), "{said}");
    assert_eq!(server.request("POST", "/demo/trigger", &[], r#"{"workflow": "no-such"}"#).0, 404);
    server.stop();

    let mut server = dir.start(&["serve", "--config", "b.toml"].map(|arg| {
        dir.write("b.toml", &format!("[server]\nlisten = \"127.0.0.1:0\"\n[workflows]\ndir = \"{SAMPLES}\"\n"));
        arg
    }));
    assert_eq!(server.get("/demo/config").0, 404);
    assert_eq!(server.request("POST", "/demo/trigger", &[], "{}").0, 404);
    let (status, page) = server.get("/");
    assert!(status == 200 && !page.contains("demo.js"), "{page}");
    server.stop();
}

#[test]
fn the_page_rings_bells_and_the_code_it_shows_works_as_it_stands() {
    let dir = Dir::new("page");
    let mut server = dir.start(&DEV);
    crate::browser::show_demo(&format!("http://{}", server.address), &dir.path("script.log"));
    server.stop();
}

#[test]
fn a_changed_workflow_is_read_at_once_and_a_broken_one_changes_nothing() {
    let dir = Dir::new("changed");
    dir.write("w/hello/workflow.json", r#"{"name": "Hello", "steps": []}"#);
    let mut server = dir.start(&["dev", "--port", "0", "--workflows", "w"]);
    let names = |server: &super::Server| {
        let facts: Value = serde_json::from_str(&server.get("/demo/config").1).expect("JSON");
        facts["workflows"].as_array().into_iter().flatten().map(|w| w["name"].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&server), ["\"Hello\""]);
    dir.write("w/hello/workflow.json", r#"{"name": "Hello again", "steps": []}"#);
    dir.write("w/other/workflow.json", r#"{"name": "Other", "steps": []}"#);
    server.log_until("other");
    assert_eq!(names(&server), ["\"Hello again\"", "\"Other\""]);
    dir.write("w/hello/workflow.json", "{");
    server.log_until("the workflows stay as they were");
    assert_eq!(names(&server), ["\"Hello again\"", "\"Other\""]);
    server.stop();
}

#[test]
fn development_stays_on_this_machine() {
    let dir = Dir::new("loopback");
    let done = dir.run_with(&DEV, &[("BELLWIRE_SERVER_LISTEN", "0.0.0.0:4000")]);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("use `bellwire serve`"), "{}", done.err);
}

#[tokio::test]
async fn a_trigger_rings_the_bell_and_a_stop_sends_it_away() {
    let dir = Dir::new("ring");
    let mut server = dir.start(&DEV);
    let facts: Value = serde_json::from_str(&server.get("/demo/config").1).expect("JSON");
    let word = |name: &str| facts[name].as_str().expect(name).to_owned();
    let (public, token, channel) = (word("public_key"), word("user_token"), word("channel"));
    let stream = tokio::net::TcpStream::connect(&server.address).await.expect("it listens");
    let url =
        format!("ws://{}/ws/v1/websocket?vsn=2.0.0&api_key={public}&user_token={token}&user_id=dana", server.address);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await.expect("F-SOC-04: it is let in");
    let join = json!(["1", "1", format!("feeds:{channel}:dana"), "phx_join", {}]).to_string();
    socket.send(Message::text(join)).await.expect("it reads");
    let reply = socket.next().await.expect("a frame").expect("no error");
    assert!(reply.to_string().contains(r#""status":"ok""#), "{reply}");

    let data = r#"{"workflow": "comment", "data": {"comment": "Ring!"}}"#;
    assert_eq!(server.request("POST", "/demo/trigger", &[], data).0, 200);
    let news = socket.next().await.expect("a frame").expect("no error");
    assert!(news.to_string().contains("new-message"), "{news}");

    let stopping = tokio::task::spawn_blocking(move || server.stop().0);
    let close = loop {
        match socket.next().await.expect("a close frame comes first") {
            Ok(Message::Close(close)) => break close.expect("a code"),
            Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(u16::from(close.code), 1012, "F-SOC-23");
    // Clients answer a close, and then are gone.
    while let Some(Ok(_)) = socket.next().await {}
    assert_eq!(stopping.await.expect("no panic").code(), Some(0));
}

#[test]
fn the_shown_command_line_and_a_signed_token_work() {
    let dir = Dir::new("curl");
    let (_, welcome) = dir.start(&DEV).stop();
    let mut server = dir.start(&DEV);
    let facts: Value = serde_json::from_str(&server.get("/demo/config").1).expect("JSON");
    let curl = welcome.split_once("curl http://").expect("a command line").1;
    let between = |from: &str, to: &str| {
        curl.split_once(from).and_then(|(_, rest)| rest.split_once(to)).expect(from).0.to_owned()
    };
    let path = format!("/v1/{}", between("/v1/", " "));
    let key = between("Authorization: ", "'");
    let body = between("-d '", "'");
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let (status, answer) = server.request("POST", &path, &headers, &body);
    assert!(status == 200 && answer.contains("workflow_run_id"), "{answer}");

    let public = format!("Bearer {}", facts["public_key"].as_str().expect("a key"));
    let channel = facts["channel"].as_str().expect("a channel");
    for alg in ["hs256", "hmac"] {
        if alg == "hmac" {
            dir.ask(&["keys", "create", "--kind", "signing", "--alg", "hmac"]);
        }
        let token = dir.ask(&["token", "sign", "--user", "dana", "--alg", alg]);
        let headers = [("authorization", public.as_str()), ("x-knock-user-token", token.trim())];
        let (status, feed) = server.request("GET", &format!("/v1/users/dana/feeds/{channel}"), &headers, "");
        assert!(status == 200 && feed.contains("Shall we ring everybody on Friday?"), "{alg}: {feed}");
        let (status, _) = server.request("GET", &format!("/v1/users/sam/feeds/{channel}"), &headers, "");
        assert_eq!(status, 403, "F-AUT-15 {alg}: a token is for its own user");
    }
    let key = dir.ask_json(&["keys", "create", "--kind", "signing", "--alg", "rs256", "--json"]);
    dir.write("key.pem", key["private_key_base64"].as_str().expect("base64"));
    let token = dir.ask(&["token", "sign", "--user", "dana", "--alg", "rs256", "--private-key", "key.pem"]);
    let headers = [("authorization", public.as_str()), ("x-knock-user-token", token.trim())];
    assert_eq!(server.request("GET", &format!("/v1/users/dana/feeds/{channel}"), &headers, "").0, 200, "F-AUT-11");
    server.stop();
}

#[test]
fn a_revoked_key_counts_no_more_at_once() {
    let dir = Dir::new("revoked");
    let mut server = dir.start(&DEV);
    let key = dir.ask(&["keys", "create", "--kind", "secret"]);
    let bearer = format!("Bearer {}", key.trim());
    let ask = |server: &super::Server| server.request("GET", "/v1/users/dana", &[("authorization", &bearer)], "").0;
    assert_ne!(ask(&server), 401, "F-AUT-03");
    dir.ask(&["keys", "revoke", key.trim()]);
    assert_eq!(ask(&server), 401, "F-AUT-03");
    server.stop();
}
