//! Every scenario runs to its end against the real server, small: what is measured must at least work.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[path = "smoke/servers.rs"]
mod servers;

use servers::Servers;

/// The server that the same `cargo test --workspace` has built, beside this program.
fn server() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("bellwire");
    assert!(path.exists(), "{} is not built: run `cargo test --workspace`", path.display());
    path
}

/// Runs a scenario for one round; answers what the server reached in it, by figure.
#[track_caller]
fn reached(scenario: &[&str]) -> Vec<(String, f64)> {
    let nodes = if scenario.contains(&"--nodes") { "-nodes" } else { "" };
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("smoke-{}{nodes}", scenario[0]));
    std::fs::create_dir_all(&directory).expect("a directory for the run");
    let json = directory.join("figures.json");
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(scenario)
        .args(["--rounds", "1", "--no-pin", "--quiet-wait", "0", "--max-seconds", "120", "--server"])
        .arg(server())
        .arg("--directory")
        .arg(&directory)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("loadtest runs");
    assert!(output.status.success(), "{scenario:?}: {}", String::from_utf8_lossy(&output.stderr));
    let outcomes: Value =
        serde_json::from_slice(&std::fs::read(&json).expect("figures were written")).expect("figures are JSON");
    let sides = outcomes[0]["sides"].as_array().expect("sides");
    assert_eq!(sides.iter().map(|side| &side["name"]).collect::<Vec<_>>(), ["bellwire", "bare"]);
    let summary = sides[0]["summary"].as_array().expect("a summary");
    let figure = |row: &Value| Some((row["figure"].as_str()?.to_owned(), row["best"].as_f64()?));
    summary.iter().filter_map(figure).collect()
}

/// The figure is there, and something was measured.
#[track_caller]
fn expect(figures: &[(String, f64)], name: &str) {
    let found = figures.iter().find(|(figure, _)| figure.contains(name));
    assert!(found.is_some_and(|(_, value)| *value > 0.0), "`{name}` in {figures:?}");
}

fn value(figures: &[(String, f64)], name: &str) -> Option<f64> {
    figures.iter().find(|(figure, _)| figure == name).map(|(_, value)| *value)
}

#[test]
fn sockets_connect() {
    expect(&reached(&["connect", "--sockets", "50", "--concurrency", "10"]), "server CPU per connect");
}

#[test]
fn pushes_arrive() {
    let sizes = ["--users", "4", "--sockets-per-user", "3", "--batch", "2", "--rate", "100", "--seconds", "1"];
    let figures = reached(&[&["push"][..], &sizes].concat());
    expect(&figures, "deliveries per server core");
    assert_eq!(value(&figures, "lost deliveries"), Some(0.0));
}

/// What a node hears of another by way of Redis, and what that costs Redis.
#[test]
fn pushes_arrive_on_another_node() {
    let servers = Servers::start("smoke-push");
    let nodes = ["--nodes", "2", "--store", &servers.store, "--bus", &servers.bus];
    let sizes = ["--users", "4", "--sockets-per-user", "3", "--batch", "2", "--rate", "100", "--seconds", "1"];
    let figures = reached(&[&["push"][..], &sizes, &nodes].concat());
    expect(&figures, "deliveries per server core");
    expect(&figures, "deliveries per server core, news alone");
    expect(&figures, "publish to frame p50");
    expect(&figures, "Redis per 100,000 events: CPU");
    assert_eq!(value(&figures, "lost deliveries"), Some(0.0));
}

/// Nobody is refused, and nothing that was told is missing, whenever the clients of a node that dies come back.
#[test]
fn clients_of_a_dead_node_are_whole_on_another() {
    let servers = Servers::start("smoke-reconnect");
    let nodes = ["--nodes", "3", "--store", &servers.store, "--bus", &servers.bus];
    for returns in [["--return", "as-told"], ["--return", "at-once"]] {
        let sizes = ["--clients", "30", "--on-dead", "20", "--rate", "50", "--seconds", "2"];
        let figures = reached(&[&["reconnect"][..], &sizes, &returns, &nodes].concat());
        expect(&figures, "kill to whole p99");
        assert_eq!(value(&figures, "items never told"), Some(0.0));
        assert_eq!(value(&figures, "refusals"), Some(0.0));
    }
}

#[test]
fn triggers_are_stored_and_told() {
    let sizes = ["--callers", "8", "--users", "8", "--listeners", "4", "--rate", "50", "--seconds", "1"];
    let figures = reached(&[&["trigger"][..], &sizes].concat());
    expect(&figures, "durable triggers");
    expect(&figures, "trigger to frame p50");
}

#[test]
fn one_trigger_reaches_many() {
    reached(&["fanout", "--recipients", "20", "--repeat", "2"]);
}

#[test]
fn workflows_run() {
    let sizes = ["--users", "20", "--recipients", "10", "--callers", "2", "--seconds", "1", "--runs", "400"];
    let more = ["--timers", "100", "--listeners", "5", "--rate", "50", "--followers", "300"];
    let figures = reached(&[&["engine"][..], &sizes, &more].concat());
    for name in ["simple runs", "runs of five steps", "due timers done", "followers told"] {
        expect(&figures, name);
    }
}

#[test]
fn feeds_are_read() {
    reached(&["feed", "--items", "10,100", "--reads", "20", "--callers", "4"]);
}

#[test]
fn lists_are_read() {
    let figures = reached(&["lists", "--messages", "4000", "--users", "300", "--reads", "2"]);
    for name in ["messages, first page", "users, last page", "feed, last page", "last page over the first"] {
        expect(&figures, name);
    }
}

#[test]
fn marks_reach_the_other_device() {
    reached(&["mark", "--users", "4", "--callers", "4", "--rate", "50", "--seconds", "1"]);
}
