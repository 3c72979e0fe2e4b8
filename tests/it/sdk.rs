//! The official clients, as they are published, against the real server: scripts in `sdk/`, run by Node.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::process::{CHANNEL, Process};

/// The channels whose data scripts set, where a server has them.
const PHONES: &str = "8209f26c-62a5-461d-95e2-a5716a26e653";
const SLACK: &str = "8209f26c-62a5-461d-95e2-a5716a26e654";
const TEAMS: &str = "8209f26c-62a5-461d-95e2-a5716a26e655";
const GUIDES: &str = "8209f26c-62a5-461d-95e2-a5716a26e656";
/// How long one script may take.
const PATIENCE: Duration = Duration::from_secs(400);

#[test]
fn the_browser_client_shows_and_marks_a_feed() {
    run("client.test.mjs", &Process::start(""));
}

#[test]
fn the_server_client_tells_and_reads() {
    run("server.test.mjs", &Process::start(""));
}

#[test]
fn both_clients_read_and_write_preferences_and_channel_data() {
    let channel = |key: &str, id: &str, kind: &str, provider: &str| {
        format!(
            "[[channels]]\nid = \"{id}\"\nkey = \"{key}\"\ntype = \"{kind}\"\nprovider = \"{provider}\"\n\
             [channels.environments.development]\n[channels.environments.production]\n"
        )
    };
    let preferences = "[environments.development.preferences]\nchannel_types = { sms = false }\n";
    let (phones, slack) = (channel("phones", PHONES, "push", "push_expo"), channel("slack", SLACK, "chat", "slack"));
    run("recipients.test.mjs", &Process::start(&format!("{phones}{slack}{preferences}")));
}

#[test]
fn both_clients_ask_slack_and_microsoft() {
    let channel = |key: &str, id: &str, provider: &str, urls: &[&str]| {
        let urls: String = urls.iter().map(|name| format!("{name} = \"http://PROVIDERS/{name}\"\n")).collect();
        let settings =
            format!("{urls}PREFIXclient_id = \"app\"\nPREFIXclient_secret = \"{{{{ vars.app_secret }}}}\"\n");
        let settings = settings.replace("PREFIX", if provider == "slack" { "" } else { "graph_" });
        format!(
            "[[channels]]\nid = \"{id}\"\nkey = \"{key}\"\ntype = \"chat\"\nprovider = \"{provider}\"\n\
             [channels.environments.development]\n{settings}[channels.environments.production]\n{settings}"
        )
    };
    // A script of Node's stands for both, where the server has been told that they are.
    let providers = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let slack = channel("slack", SLACK, "slack", &["api_url"]);
    let teams = channel("teams", TEAMS, "ms_teams", &["login_url", "graph_url"]);
    let fetch = "[fetch]\nprivate = true\n[account.secret_vars]\napp_secret = \"quite-secret\"\n";
    let server = Process::start(&format!("{slack}{teams}{fetch}").replace("PROVIDERS", &providers.to_string()));
    run_with("providers.test.mjs", &server, &[("SDK_TEST_PROVIDERS", &providers.to_string())]);
    let log = server.whole_log();
    for secret in ["quite-secret", "xoxb-", "graph-token"] {
        assert!(!log.contains(secret), "a secret stands in the log");
    }
}

#[test]
fn the_browser_client_shows_guides_marks_them_and_stops_showing_them() {
    let channel = format!("[[channels]]\nid = \"{GUIDES}\"\nkey = \"in-app-guide\"\ntype = \"in_app_guide\"\n");
    run("guides.test.mjs", &Process::laid_out(&channel));
}

#[test]
fn every_method_of_the_server_client_for_node_works() {
    run("everything.test.mjs", &with_everything(""));
}

#[test]
fn every_method_of_the_server_client_for_python_works() {
    let server = with_everything("");
    let output = wait_for(
        Command::new(python())
            .args(["-W", "error", "everything.py", "-v"])
            .current_dir(home())
            .env("SDK_TEST_PLACE", place(&server).to_string()),
        &server.directory().join("script.log"),
    );
    assert!(output.status.success(), "everything.py failed:\n{}", String::from_utf8_lossy(&output.stdout));
}

/// A server with a channel of every kind and a guide; `more` is added to its configuration.
pub fn with_everything(more: &str) -> Process {
    let channel = |key: &str, id: &str, kind: &str, provider: &str| {
        format!(
            "[[channels]]\nid = \"{id}\"\nkey = \"{key}\"\ntype = \"{kind}\"\n{provider}\n\
             [channels.environments.development]\n[channels.environments.production]\n"
        )
    };
    let channels = [
        channel("phones", PHONES, "push", "provider = \"push_expo\""),
        channel("slack", SLACK, "chat", "provider = \"slack\""),
        channel("teams", TEAMS, "chat", "provider = \"ms_teams\""),
        channel("in-app-guide", GUIDES, "in_app_guide", ""),
    ];
    let mut server = Process::laid_out(&format!("{more}{}", channels.concat()));
    let guide = server.directory().join("guides/banner");
    std::fs::create_dir_all(&guide).unwrap();
    let steps = json!([{"ref": "step_1", "schema_key": "banner", "values": {"title": "Hello"}}]);
    let file = json!({"name": "Banner", "channel_key": "in-app-guide", "steps": steps});
    std::fs::write(guide.join("guide.json"), file.to_string()).unwrap();
    server.run();
    server
}

#[test]
fn tokens_of_the_sdks_signer_are_taken() {
    run("tokens.test.mjs", &Process::start(""));
}

#[test]
fn phoenixs_own_client_is_spoken_to_correctly() {
    run("phoenix.test.mjs", &Process::start(""));
}

#[test]
fn open_pages_outlive_a_restart() {
    run("restart.test.mjs", &Process::laid_out("[hub]\nclose_after_seconds = 60\n"));
}

/// Runs a script of scenarios; when one fails, this does, with what the script said.
fn run(script: &str, server: &Process) {
    run_with(script, server, &[]);
}

/// The same with more in the script's environment.
pub fn run_with(script: &str, server: &Process, variables: &[(&str, &str)]) {
    run_at(script, &place(server), &server.directory().join("script.log"), variables);
}

/// Runs a script that is told of a place, a server that somebody else has started; `log` has what it says.
pub fn run_at(script: &str, place: &Value, log: &Path, variables: &[(&str, &str)]) {
    let home = home();
    assert!(
        home.join("node_modules").is_dir(),
        "the official clients are not installed: run tests/run, or `npm ci` in {home:?}"
    );
    let output = wait_for(
        Command::new("node")
            .args(["--test", "--test-reporter", "spec", script])
            .current_dir(&home)
            .env("SDK_TEST_PLACE", place.to_string())
            .envs(variables.iter().copied()),
        log,
    );
    assert!(output.status.success(), "{script} failed:\n{}", String::from_utf8_lossy(&output.stdout));
}

/// Where the scripts are.
fn home() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/sdk")
}

/// The interpreter that has what is listed in `requirements.txt`.
pub fn python() -> PathBuf {
    let python = home().join(".venv/bin/python");
    assert!(python.is_file(), "what comes from PyPI is not installed: run tests/run, which makes {python:?}");
    python
}

/// Runs the command to its end, within [`PATIENCE`]; what it says is in `stdout`.
pub fn wait_for(command: &mut Command, log: &Path) -> Output {
    let file = std::fs::File::create(log).unwrap();
    let both = (file.try_clone().unwrap(), file);
    let spawned = command.stdin(Stdio::null()).stdout(both.0).stderr(both.1).spawn();
    let mut child = spawned.unwrap_or_else(|error| panic!("it can't be started ({error}): run tests/run"));
    let began = Instant::now();
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if began.elapsed() > PATIENCE => {
                child.kill().unwrap();
                break child.wait().unwrap();
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    Output { status, stdout: std::fs::read(log).unwrap(), stderr: Vec::new() }
}

/// Where the server is, and what lets a script in.
fn place(server: &Process) -> Value {
    let signing = server.create_key("production", &["--kind", "signing", "--alg", "rs256"]);
    json!({
        "url": format!("http://{}", server.address),
        "channel": CHANNEL,
        "channels": {"phones": PHONES, "slack": SLACK, "teams": TEAMS, "guides": GUIDES},
        "binary": Process::binary(),
        "arguments": server.arguments(),
        "directory": server.directory(),
        "development": {"secret": server.secret, "public": server.public},
        "production": {
            "secret": server.key("production", "secret"),
            "public": server.key("production", "public"),
            "signing": signing["private_key"],
        },
    })
}
