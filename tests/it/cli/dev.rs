//! `bellwire dev`: from nothing to a ringing bell.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

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
    assert!(shown(&welcome, "Public key").starts_with("pk_"), "{welcome}");
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
    assert!(status == 200 && page.contains("/widget/demo.js"), "{page}");
    assert_eq!(server.get("/widget/bell.js").0, 200);
    let (status, facts) = server.get("/demo/config");
    let facts: Value = serde_json::from_str(&facts).expect("JSON");
    assert_eq!((status, &facts["user"]), (200, &json!("dana")));
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
