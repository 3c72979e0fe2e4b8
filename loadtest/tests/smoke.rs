//! Every scenario runs to its end against the real server, small: what is measured must at least work.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The server that the same `cargo test --workspace` has built, beside this program.
fn server() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_loadtest")).with_file_name("bellwire");
    assert!(path.exists(), "{} is not built: run `cargo test --workspace`", path.display());
    path
}

/// Runs a scenario for one round; answers what the server reached in it, by figure.
#[track_caller]
fn reached(scenario: &[&str]) -> Vec<(String, f64)> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("smoke-{}", scenario[0]));
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

#[test]
fn sockets_connect() {
    expect(&reached(&["connect", "--sockets", "50", "--concurrency", "10"]), "server CPU per connect");
}

#[test]
fn pushes_arrive() {
    let sizes = ["--users", "4", "--sockets-per-user", "3", "--batch", "2", "--rate", "100", "--seconds", "1"];
    let figures = reached(&[&["push"][..], &sizes].concat());
    expect(&figures, "deliveries per server core");
    let lost = figures.iter().find(|(figure, _)| figure == "lost deliveries");
    assert_eq!(lost.map(|(_, value)| *value), Some(0.0));
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
fn feeds_are_read() {
    reached(&["feed", "--items", "10,100", "--reads", "20", "--callers", "4"]);
}

#[test]
fn marks_reach_the_other_device() {
    reached(&["mark", "--users", "4", "--callers", "4", "--rate", "50", "--seconds", "1"]);
}
