//! Figures: who is told them, and that each thing moves its own.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::json;

use super::exposition::Exposition;
use crate::hardening::line::{Heard, Line};
use crate::process::{CHANNEL, Process, free_port, get};

const HERE: &str = "host: 127.0.0.1\r\n";

async fn figures(server: &Process) -> Exposition {
    let (head, text) = get(server.address, "/metrics", HERE).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{head}");
    assert!(!head.contains("access-control-allow-origin"), "no page reads them: {head}");
    Exposition::read(&text)
}

/// Waits until the figure called `key` is `expected`.
async fn until(server: &Process, key: &str, expected: f64) -> Exposition {
    let began = Instant::now();
    loop {
        let now = figures(server).await;
        if now.get(key) == expected {
            return now;
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{key} is {} and not {expected}", now.get(key));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn trigger(server: &Process, workflow: &str, name: &str) {
    let body = json!({"recipients": [{"id": "ann@example.com"}], "data": {"name": name}});
    let path = format!("/v1/workflows/{workflow}/trigger");
    assert_eq!(server.call(Method::POST, &path, body).await.expect("an answer").status, 200);
}

#[tokio::test]
async fn what_happens_moves_the_figures_and_nobody_stands_in_them() {
    let server = Process::start("");
    let topic = format!("feeds:{CHANNEL}:ann@example.com");
    let before = figures(&server).await;
    assert_eq!(before.get("bellwire_sockets"), 0.0);
    assert!(before.get("bellwire_build_info{version=\"0.1.0\"}") == 1.0);

    let mut line = Line::open(&server).await;
    line.text(&json!(["1", "1", topic, "phx_join", {"bellwire": {"since": null}}]).to_string()).await;
    assert_eq!(line.reply("1").await["status"], "ok");
    line.text(&json!(["2", "2", "rooms:1", "phx_join", {}]).to_string()).await;
    assert_eq!(line.reply("2").await["status"], "error");
    let joined = until(&server, "bellwire_deliveries_total", 1.0).await;
    for (key, expected) in [
        ("bellwire_sockets", 1.0),
        ("bellwire_sockets_opened_total", 1.0),
        ("bellwire_topics", 1.0),
        (r#"bellwire_joins_total{outcome="ok"}"#, 1.0),
        (r#"bellwire_joins_total{outcome="refused"}"#, 1.0),
        ("bellwire_trigger_duration_seconds_count", 0.0),
    ] {
        assert_eq!(joined.get(key), expected, "{key}");
    }

    trigger(&server, "note", "one").await;
    line.until_told("one").await;
    let told = figures(&server).await;
    for (key, expected) in [
        ("bellwire_deliveries_total", 2.0),
        ("bellwire_trigger_duration_seconds_count", 1.0),
        (r#"bellwire_workflow_step_duration_seconds_count{step="channel"}"#, 1.0),
        (r#"bellwire_http_requests_total{operation="triggerWorkflow",status="2xx"}"#, 1.0),
        (r#"bellwire_http_request_duration_seconds_count{operation="triggerWorkflow"}"#, 1.0),
        ("bellwire_marks_total{mark=\"read\"}", 0.0),
    ] {
        assert_eq!(told.get(key), expected, "{key}");
    }

    line.text(&json!(["1", "3", topic, "feed.mark", {"as": "read", "all": true}]).to_string()).await;
    assert_eq!(line.reply("3").await["status"], "ok");
    let marked = until(&server, "bellwire_deliveries_total", 3.0).await;
    assert_eq!(marked.get("bellwire_marks_total{mark=\"read\"}"), 1.0);

    trigger(&server, "later", "two").await;
    let waiting = figures(&server).await;
    assert!(
        waiting.get("bellwire_job_backlog") + waiting.get(r#"bellwire_jobs_total{kind="run",outcome="done"}"#) >= 1.0
    );
    line.until_told("two").await;
    let done = until(&server, r#"bellwire_jobs_total{kind="run",outcome="done"}"#, 1.0).await;
    assert_eq!((done.get("bellwire_job_backlog"), done.get("bellwire_job_lag_seconds")), (0.0, 0.0));
    assert_eq!(done.get(r#"bellwire_workflow_step_duration_seconds_count{step="delay"}"#), 2.0, "begun and ended");

    let refused = get(server.address, "/v1/users/ann@example.com", HERE).await.0;
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let missing = get(server.address, "/ann@example.com", HERE).await.0;
    assert!(missing.starts_with("HTTP/1.1 404"), "{missing}");
    let end = json!([null, "9", "phoenix", "heartbeat", "no object"]).to_string();
    line.text(&end).await;
    assert!(matches!(line.end().await, Heard::Closed(Some(1011))));
    let closed = until(&server, "bellwire_sockets", 0.0).await;
    for (key, expected) in [
        (r#"bellwire_sockets_closed_total{reason="malformed"}"#, 1.0),
        (r#"bellwire_http_requests_total{operation="getUser",status="4xx"}"#, 1.0),
        (r#"bellwire_http_requests_total{operation="none",status="4xx"}"#, 1.0),
        ("bellwire_store_up", 1.0),
        ("bellwire_bus_up", 1.0),
    ] {
        assert_eq!(closed.get(key), expected, "{key}");
    }
    for value in closed.label_values() {
        assert!(!value.contains(['@', '/']), "a label holds {value:?}");
    }
    assert!(closed.get("process_resident_memory_bytes") > 1e6 && closed.get("process_open_fds") > 3.0);
    assert!(closed.get("process_start_time_seconds") > 1.7e9, "this century");
}

#[tokio::test]
async fn figures_are_for_this_machine_unless_there_is_a_token() {
    let server = Process::start("");
    let away = ["host: bell.example.com\r\n", "host: localhost\r\nx-forwarded-for: 192.0.2.1\r\n"];
    for headers in away {
        let (head, body) = get(server.address, "/metrics", headers).await;
        assert!(head.starts_with("HTTP/1.1 403") && body.contains("token"), "{head} {body}");
    }
    let token = "a-token-that-nobody-guesses";
    let open = Process::start(&format!("[metrics]\ntoken = \"{token}\"\n"));
    for shown in ["", "authorization: Bearer another\r\n", "authorization: a-token-that-nobody-guesses\r\n"] {
        let (head, _) = get(open.address, "/metrics", &format!("{HERE}{shown}")).await;
        assert!(head.starts_with("HTTP/1.1 401") && head.contains("www-authenticate: Bearer"), "{head}");
    }
    let headers = format!("{}authorization: Bearer {token}\r\n", away[1]);
    let (head, text) = get(open.address, "/metrics", &headers).await;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    Exposition::read(&text);
}

#[tokio::test]
async fn operators_may_have_an_address_of_their_own() {
    let operators = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let server = Process::start(&format!("[metrics]\nlisten = \"{operators}\"\n"));
    let status = async |address, path| get(address, path, "host: anything\r\n").await.0[9..12].to_owned();
    for (path, own, everybodys) in [
        ("/metrics", "200", "404"),
        ("/healthz", "200", "200"),
        ("/readyz", "200", "200"),
        ("/v1/openapi", "404", "200"),
        ("/v1/users", "404", "401"),
        ("/ws/v1/websocket", "404", "400"),
    ] {
        let found = (status(operators, path).await, status(server.address, path).await);
        assert_eq!(found, (own.to_owned(), everybodys.to_owned()), "{path}");
    }
    let off = Process::start("[metrics]\nenabled = false\n");
    assert_eq!(status(off.address, "/metrics").await, "404");
}
