//! `bellwire serve`, and what is done beside a running server.

use std::process::Command;

use serde_json::json;

use super::{Dir, SAMPLES, Server};

fn configured(name: &str) -> Dir {
    let dir = Dir::new(name);
    let text =
        format!("[server]\nlisten = \"127.0.0.1:0\"\n[workflows]\ndir = \"{SAMPLES}\"\n[environments.production]\n");
    dir.write("b.toml", &text);
    dir
}

const SERVE: [&str; 3] = ["serve", "--config", "b.toml"];

#[test]
fn a_database_has_one_server() {
    let dir = configured("one");
    let mut server = dir.start(&SERVE);
    let done = dir.run(&SERVE);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("is in use by another server: stop that one"), "{}", done.err);
    assert_eq!(server.stop().0.code(), Some(0));
}

#[test]
fn as_many_sockets_are_held_as_the_user_may_open() {
    let dir = configured("files");
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -Sn 64 && ulimit -Hn 128; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_bellwire")]);
    command.args(SERVE).current_dir(dir.path("")).env_clear();
    let mut server = Server::started(command);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.child.id())).expect("a process");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(line.split_whitespace().nth(3), Some("128"), "{line}");
    server.stop();
}

#[test]
fn a_port_in_use_is_told_with_what_to_do() {
    let dir = configured("port");
    let mut server = dir.start(&SERVE);
    let listen = [("BELLWIRE_SERVER_LISTEN", server.address.as_str()), ("BELLWIRE_STORE_PATH", "other.db")];
    let done = dir.run_with(&SERVE, &listen);
    assert_eq!(done.code, Some(1));
    assert!(done.err.contains("is in use by another program: stop it, or listen elsewhere"), "{}", done.err);
    server.stop();
}

#[test]
fn keys_and_backups_are_made_while_the_server_runs() {
    let dir = configured("beside");
    let mut server = dir.start(&SERVE);
    let create = ["keys", "create", "--kind", "secret", "--env", "production", "--config", "b.toml", "--json"];
    let key = dir.ask_json(&create);
    assert!(key["key"].as_str().is_some_and(|key| key.starts_with("sk_")), "{key}");
    let said = dir.ask(&["backup", "copy/../copy.db", "--config", "b.toml"].map(|arg| {
        std::fs::create_dir_all(dir.path("copy")).expect("a directory");
        arg
    }));
    assert!(said.starts_with("Wrote copy/../copy.db ("), "{said}");
    let done = dir.run(&["backup", "copy.db", "--config", "b.toml"]);
    assert!(done.code == Some(1) && done.err.contains("is there already"), "{}", done.err);
    server.signal("TERM");
    assert_eq!(server.child.wait().expect("it ends").code(), Some(0));

    std::fs::create_dir_all(dir.path("restored")).expect("a directory");
    std::fs::rename(dir.path("copy.db"), dir.path("restored/bellwire.db")).expect("a file");
    let list = dir.ask_json(&["keys", "list", "--json", "--data", "restored", "--config", "b.toml"]);
    assert_eq!(list[0]["environment"], json!("production"), "{list}");
}

#[test]
fn a_hangup_reads_the_workflows_again() {
    let dir = configured("hangup");
    dir.write("w/hello/workflow.json", r#"{"name": "Hello", "steps": []}"#);
    let mut server = dir.start(&["serve", "--config", "b.toml", "--workflows", "w", "--log", "json"]);
    dir.write("w/hello/workflow.json", r#"{"name": "Hello again", "steps": []}"#);
    server.signal("HUP");
    let told = server.log_until("read the workflows again");
    assert!(told.contains("changed: hello") && told.starts_with('{'), "{told}");
    std::fs::remove_dir_all(dir.path("w/hello")).expect("a directory");
    server.signal("HUP");
    let told = server.log_until("workflow `hello` is gone: its runs end when they resume");
    assert!(told.contains("\"workflow.key\":\"hello\"") && told.contains("WARN"), "W-ENV-11 {told}");
    server.stop();
    let mut server = dir.start(&["serve", "--config", "b.toml", "--workflows", "w", "--log", "json"]);
    assert!(server.greeting.contains("workflow `hello` is not in the directory any more"), "{}", server.greeting);
    server.stop();
}

#[test]
fn a_trigger_follows_what_was_read_last_and_not_what_is_being_written() {
    let dir = configured("drafts");
    let write = |body: &str| {
        let step = json!({"type": "channel", "ref": "hello", "channel_key": "in-app-feed",
            "template": {"markdown_body": body}});
        dir.write("w/hello/workflow.json", &json!({"name": "Hello", "steps": [step]}).to_string());
    };
    write("read");
    let mut server = dir.start(&["serve", "--config", "b.toml", "--workflows", "w", "--log", "json"]);
    let create = ["keys", "create", "--kind", "secret", "--env", "production", "--config", "b.toml", "--json"];
    let key = format!("Bearer {}", dir.ask_json(&create)["key"].as_str().expect("a key"));
    let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
    let newest = |server: &super::Server| {
        let trigger = r#"{"recipients": [{"id": "u"}]}"#;
        assert_eq!(server.request("POST", "/v1/workflows/hello/trigger", &headers, trigger).0, 200);
        let feed = "/v1/users/u/feeds/be110000-0000-4000-8000-000000000001?page_size=1";
        let (_, feed) = server.request("GET", feed, &headers, "");
        let feed: serde_json::Value = serde_json::from_str(&feed).expect("a feed");
        feed["entries"][0]["blocks"][0]["rendered"].as_str().unwrap_or_default().to_owned()
    };
    write("being written");
    assert_eq!(newest(&server), "<p>read</p>", "W-TRG-31");
    server.signal("HUP");
    server.log_until("read the workflows again");
    assert_eq!(newest(&server), "<p>being written</p>", "W-TRG-31");
    server.stop();
}
