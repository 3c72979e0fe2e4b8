//! Requests that Schemathesis (from PyPI) makes up from the API description, sound and unsound ones, against the real
//! server: none may break it, and no answer may be one that the description does not know.

use std::process::Command;

use hyper::Method;
use serde_json::{Value, json};

use crate::process::CHANNEL;
use crate::sdk::{python, wait_for, with_everything};

/// How long requests are made up for.
const SECONDS: &str = "60";

/// F-TRN-16
#[tokio::test]
async fn no_request_breaks_the_server_or_is_answered_with_what_is_not_described() {
    let server = with_everything("");
    let put = async |path: &str| server.call(Method::PUT, path, json!({"name": "Ann"})).await.unwrap();
    for path in ["/v1/users/ann", "/v1/users/bob", "/v1/objects/teams/red", "/v1/tenants/north"] {
        assert_eq!(put(path).await.status, 200, "{path}");
    }
    let trigger = json!({"recipients": ["ann", "bob"], "data": {"name": "told"}});
    let run = server.call(Method::POST, "/v1/workflows/note/trigger", trigger).await.unwrap();
    assert_eq!(run.status, 200);
    let messages = loop {
        let list = server.call(Method::GET, "/v1/messages", Value::Null).await.unwrap();
        let ids: Vec<Value> = list.body["items"].as_array().unwrap().iter().map(|one| one["id"].clone()).collect();
        if ids.len() == 2 {
            break ids;
        }
        tokio::task::yield_now().await;
    };
    // What parameters of paths are now and then.
    let known = [
        ("user_id", json!(["ann", "bob"])),
        ("message_id", messages.into()),
        ("channel_id", json!([CHANNEL])),
        ("collection", json!(["teams", "$tenants"])),
        ("object_id", json!(["red", "north"])),
        ("key", json!(["note", "later", "news"])),
        ("type", json!(["email", "in_app_feed"])),
        ("action", json!(["seen", "read", "archived", "delete"])),
        ("id", json!(["default", "red", "north", CHANNEL])),
    ];
    let mut config = String::new();
    for (name, values) in &known {
        config += &format!("[dictionaries.{name}]\nvalues = {values}\n");
    }
    config += "[parameters]\n";
    for (name, _) in &known {
        config += &format!("\"path.{name}\" = {{ dictionary = \"{name}\", probability = 0.8 }}\n");
    }
    let file = server.directory().join("schemathesis.toml");
    std::fs::write(&file, config).unwrap();
    let output = wait_for(
        Command::new(python())
            .args(["-c", "from schemathesis.cli import schemathesis; schemathesis()", "--config-file"])
            .arg(&file)
            .args(["run", &format!("http://{}/openapi.json", server.address), "--no-color", "--continue-on-failure"])
            .args(["--phases", "fuzzing", "--max-examples", "8", "--max-time", SECONDS, "--no-shrink"])
            .args(["--generation-deterministic", "--suppress-health-check", "all", "--warnings", "off", "--checks"])
            .arg("not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance")
            .args(["--header", &format!("Authorization: Bearer {}", server.secret)])
            .current_dir(server.directory()),
        &server.directory().join("schemathesis.log"),
    );
    let told = String::from_utf8_lossy(&output.stdout);
    let end: String = told.chars().rev().take(12_000).collect::<Vec<_>>().into_iter().rev().collect();
    assert!(output.status.success(), "{end}");
    let tested = told.split("generated, ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
    assert!(tested.is_some_and(|tested| tested > 300), "hardly anything was tried:\n{end}");
    let log = server.whole_log();
    assert!(!log.contains("panicked"), "{}", server.tail());
}
