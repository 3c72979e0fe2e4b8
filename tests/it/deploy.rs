//! The files of `deploy/` say what the server does: its settings, its port, its limits of time and size.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use bellwire::config::{Config, workflows};
use yaml_rust2::{Yaml, YamlLoader};

/// Says where the file is, so it is no setting of the file.
const FILE: &str = "BELLWIRE_CONFIG";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(name: &str) -> String {
    fs::read_to_string(root().join(name)).expect(name)
}

/// Every file below `deploy/` that git would take.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if !path.ends_with(".env") && !path.ends_with("secret.env") {
            found.push(path);
        }
    }
    found
}

/// The first document of a YAML file.
fn yaml(name: &str) -> Yaml {
    YamlLoader::load_from_str(&text(name)).expect(name).swap_remove(0)
}

/// What stands between `before` and the next of ` `, `;` or the end of the line; it must be there once at least, and be
/// the same everywhere.
#[track_caller]
fn value(name: &str, before: &str) -> String {
    let all: BTreeSet<String> = text(name)
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_once(before))
        .map(|(_, after)| after.split([' ', ';']).next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(all.len(), 1, "{name}: `{before}` {all:?}");
    all.into_iter().next().expect("one")
}

/// Seconds of `45` or `45s`.
#[track_caller]
fn seconds(time: &str) -> u64 {
    time.trim_end_matches('s').parse().unwrap_or_else(|_| panic!("`{time}` is no number of seconds"))
}

fn config(name: &str) -> Config {
    let read = Config::read(&root().join(name), []);
    read.unwrap_or_else(|problems| panic!("{name}: {}", problems.iter().map(ToString::to_string).collect::<String>()))
}

/// The variables under which config/bellwire.toml's keys can be given.
fn settings() -> BTreeSet<String> {
    let mut section = String::new();
    let mut names = BTreeSet::new();
    for line in text("config/bellwire.toml").lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.to_uppercase();
        } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
            names.insert(format!("BELLWIRE_{section}_{}", key.to_uppercase()));
        }
    }
    assert!(
        names.contains("BELLWIRE_SERVER_LISTEN") && names.contains("BELLWIRE_HUB_CLOSE_AFTER_SECONDS"),
        "{names:?}"
    );
    names
}

#[test]
fn every_yaml_file_can_be_read() {
    let all = files(&root().join("deploy"));
    let all: Vec<_> = all.iter().filter(|file| file.extension().is_some_and(|ending| ending == "yaml")).collect();
    assert!(all.len() > 5, "{all:?}");
    for file in all {
        let read = YamlLoader::load_from_str(&fs::read_to_string(file).unwrap());
        assert!(read.as_ref().is_ok_and(|documents| documents.len() == 1), "{}: {read:?}", file.display());
    }
}

#[test]
fn every_variable_is_a_setting() {
    let settings = settings();
    for file in files(&root().join("deploy")) {
        let text = fs::read_to_string(&file).unwrap();
        let words = text.split(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '_');
        for word in words.filter(|word| word.starts_with("BELLWIRE_") && *word != FILE) {
            let is_known = settings.contains(word);
            assert!(is_known, "{}: config/bellwire.toml has no setting for {word}", file.display());
        }
    }
}

#[test]
fn the_configurations_are_well() {
    for name in ["deploy/bellwire.toml", "deploy/kubernetes/bellwire.toml"] {
        let config = config(name);
        assert!(config.environments["production"].enhanced_security, "{name}");
        let channels: Vec<_> = config.channels.into_iter().map(|declared| declared.channel).collect();
        for dir in ["config/workflows", "deploy/kubernetes/workflows"] {
            let loaded = workflows::load(&root().join(dir), &channels).expect(dir);
            assert!(workflows::doubts(&root().join(dir), &loaded, &channels, &[]).is_empty(), "{name} {dir}");
        }
    }
}

#[test]
fn whoever_stops_a_server_waits_longer_than_it_drains() {
    let drain = config("deploy/bellwire.toml").server.drain_seconds;
    for node in ["node-1", "node-2"] {
        let patience = yaml("deploy/compose.yaml")["services"][node]["stop_grace_period"].clone();
        assert!(seconds(patience.as_str().expect("a time")) > drain, "compose.yaml");
    }
    assert!(seconds(&value("deploy/bellwire.service", "TimeoutStopSec=")) > drain, "bellwire.service");

    let drain = config("deploy/kubernetes/bellwire.toml").server.drain_seconds;
    let pod = &yaml("deploy/kubernetes/deployment.yaml")["spec"]["template"]["spec"];
    let patience = pod["terminationGracePeriodSeconds"].as_i64().expect("a number");
    let before = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"].as_i64().expect("a number");
    assert!(patience - before > i64::try_from(drain).unwrap(), "deployment.yaml");
}

#[test]
fn the_port_is_the_same_everywhere() {
    let port = Config::default().server.listen.port().to_string();
    let pod = &yaml("deploy/kubernetes/deployment.yaml")["spec"]["template"]["spec"];
    let compose = &yaml("deploy/compose.yaml")["services"];
    assert_eq!(value("deploy/Dockerfile", "EXPOSE "), port);
    assert_eq!(value("deploy/Dockerfile", "BELLWIRE_SERVER_LISTEN=0.0.0.0:"), port);
    assert_eq!(pod["containers"][0]["ports"][0]["containerPort"].as_i64().expect("a number").to_string(), port);
    assert_eq!(compose["balancer"]["environment"]["NODES"].as_str(), Some(&*format!("node-1:{port} node-2:{port}")));
    for name in ["deploy/nginx.conf", "deploy/Caddyfile"] {
        assert!(text(name).contains(&format!("127.0.0.1:{port}")), "{name}");
    }
    for service in compose.as_hash().expect("services").values() {
        for published in service["ports"].as_vec().into_iter().flatten() {
            let published = published.as_str().expect("a text");
            assert!(published.contains("-127.0.0.1:"), "`{published}` is open to other machines unless told so");
        }
    }
}

#[test]
fn proxies_wait_longer_than_the_server_and_keep_less() {
    let Config { server, hub, .. } = Config::default();
    for setting in ["proxy_read_timeout", "proxy_send_timeout"] {
        let annotation = format!("nginx.ingress.kubernetes.io/{}", setting.replace('_', "-"));
        let ingress = &yaml("deploy/kubernetes/ingress.yaml")["metadata"]["annotations"];
        assert!(
            seconds(ingress[annotation.as_str()].as_str().expect("a text")) > hub.close_after_seconds,
            "{annotation}"
        );
    }
    let sockets = text("deploy/nginx.conf");
    let sockets = sockets.split_once("location = /ws/v1/websocket {").expect("a place for sockets").1;
    let patience = sockets.split_once("proxy_read_timeout ").expect("a time").1.split(';').next().unwrap_or_default();
    assert!(seconds(patience) > hub.close_after_seconds, "nginx.conf");
    assert_eq!(bellwire::http::SOCKET_PATH, "/ws/v1/websocket");
    // A node that closes an idle connection just as a request comes has that request fail.
    for (name, before) in [("deploy/nginx.conf", "keepalive_timeout "), ("deploy/Caddyfile", "keepalive ")] {
        assert!(seconds(&value(name, before)) < server.header_seconds, "{name}");
    }
}

#[test]
fn proxies_let_through_what_the_server_takes() {
    let most = Config::default().server.max_body_bytes;
    for (name, before, unit) in [
        ("deploy/nginx.conf", "client_max_body_size ", "m"),
        ("deploy/Caddyfile", "max_size ", "MiB"),
        ("deploy/kubernetes/ingress.yaml", "proxy-body-size: ", "m"),
    ] {
        let size = value(name, before);
        assert_eq!(size.strip_suffix(unit).and_then(|size| size.parse().ok()), Some(most >> 20), "{name}: {size}");
    }
}
