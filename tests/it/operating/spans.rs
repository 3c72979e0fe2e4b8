//! Spans for a collector, which here is a listener of a few lines.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::process::Process;

/// Takes one delivery: its head and its body.
async fn delivery(collector: &TcpListener) -> (String, Vec<u8>) {
    let (mut stream, _) = collector.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if bytes.len() >= end + 4 + length.expect("a length") {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                return (head, bytes[end + 4..].to_vec());
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "it hung up early");
    }
}

#[tokio::test]
async fn requests_jobs_and_runs_are_seen_by_a_collector() {
    let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = collector.local_addr().unwrap();
    let server = Process::start(&format!("[telemetry]\notlp_endpoint = \"http://{address}\"\n"));
    let body = json!({"recipients": [{"id": "ann"}], "data": {"name": "one"}});
    server.call(Method::POST, "/v1/workflows/later/trigger", body).await.expect("an answer");
    server.call(Method::GET, "/v1/users/ann", Value::Null).await.expect("an answer");
    let wanted = ["triggerWorkflow", "getUser", "request.id", "job.kind", "run.id", "bellwire"];
    let mut seen = Vec::new();
    let has = |seen: &[u8], word: &str| seen.windows(word.len()).any(|window| window == word.as_bytes());
    while !wanted.iter().all(|word| has(&seen, word)) {
        let (head, body) = timeout(Duration::from_secs(30), delivery(&collector)).await.expect("more spans");
        assert!(head.starts_with("post /v1/traces http/1.1"), "{head}");
        assert!(
            head.contains("content-type: application/x-protobuf") && head.contains(&format!("host: {address}")),
            "{head}"
        );
        seen.extend(body);
    }
}

#[tokio::test]
async fn a_collector_that_is_gone_harms_nobody() {
    let mut server = Process::start("[telemetry]\notlp_endpoint = \"http://127.0.0.1:9\"\n");
    let reply = server.call(Method::GET, "/v1/users/ann", Value::Null).await.expect("an answer");
    assert_eq!(reply.status, 404);
    server.signal("TERM");
    assert_eq!(server.ended(Duration::from_secs(10)).await, Some(0));
}
