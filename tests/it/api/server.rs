//! Connections: what they may do, and how they end.

use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::{Setup, World};

async fn connect(world: &World) -> TcpStream {
    TcpStream::connect(world.address).await.unwrap()
}

/// Reads until the other side closes.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one answer with a `content-length`.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    loop {
        let mut byte = [0];
        if stream.read(&mut byte).await.unwrap() == 0 {
            return text;
        }
        text.push(byte[0] as char);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return text;
            }
        }
    }
}

#[tokio::test]
async fn health_and_pages_need_no_key() {
    let world = World::start().await;
    assert_eq!((world.get("/healthz").await.status, world.get("/healthz").await.text.as_str()), (200, "ok"));
    assert_eq!(world.get("/readyz").await.status, 200);
    let page = world.get("/demo/any/where.html").await;
    assert_eq!((page.status, page.header("content-type"), page.text.as_str()), (200, Some("text/html"), "<p>demo</p>"));
    assert_eq!(world.post("/demo/x").await.status, 405);
    assert_eq!(world.get("/ws/v1/websocket").await.text, "a socket");
    assert_eq!(world.get("/ws/v1/longpoll").await.status, 404, "F-SOC-27");
    let description = world.get("/v1/openapi").await.ok(200);
    assert_eq!(description["paths"]["/v1/users/{user_id}"]["put"]["operationId"], "identifyUser", "F-TRN-16");
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let world = World::start().await;
    let reply = world.call("HEAD", "/v1/users").sk().await;
    assert_eq!((reply.status, reply.text.as_str()), (200, ""));
}

#[tokio::test]
async fn a_connection_is_kept_for_further_requests() {
    let world = World::start().await;
    let mut stream = connect(&world).await;
    for _ in 0..3 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        assert!(answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn headers_that_do_not_come_end_the_connection() {
    let mut setup = Setup::default();
    setup.settings.header_timeout = Duration::from_millis(200);
    let world = World::with(setup).await;
    let mut stream = connect(&world).await;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-slow: ").await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let drip = tokio::spawn(async move {
        let mut beat = tokio::time::interval(Duration::from_millis(20));
        while writing.write_all(b"a").await.is_ok() {
            beat.tick().await;
        }
    });
    let mut bytes = Vec::new();
    let _ =
        tokio::time::timeout(Duration::from_secs(20), reading.read_to_end(&mut bytes)).await.expect("must be closed");
    drip.await.unwrap();
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let mut setup = Setup::default();
    setup.settings.body_timeout = Duration::from_millis(200);
    let world = World::with(setup).await;
    let mut stream = connect(&world).await;
    let head = format!(
        "PUT /v1/users/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 9\r\n\r\n{{",
        world.sk
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408") && text.contains("request_timeout"), "{text}");
}

#[tokio::test]
async fn a_body_without_a_length_is_measured_as_it_comes() {
    let mut setup = Setup::default();
    setup.settings.body_limit = 100;
    let world = World::with(setup).await;
    let mut stream = connect(&world).await;
    let head = format!(
        "PUT /v1/users/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ntransfer-encoding: chunked\r\n\r\n",
        world.sk
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("40\r\n{}\r\n", "x".repeat(64));
    stream.write_all(chunk.as_bytes()).await.unwrap();
    stream.write_all(chunk.as_bytes()).await.unwrap();
    let text = answer(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 413") && text.contains("payload_too_large"), "{text}");
}

#[tokio::test]
async fn what_is_no_http_is_answered_or_closed_and_harms_nobody() {
    let world = World::start().await;
    for bytes in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"]
    {
        let mut stream = connect(&world).await;
        stream.write_all(bytes).await.unwrap();
        let text = rest(stream).await;
        assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    }
    assert_eq!(world.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn stopping_lets_a_request_in_flight_finish_and_closes_the_rest() {
    let mut world = World::start().await;
    let idle = connect(&world).await;
    let mut busy = connect(&world).await;
    let body = json!({"name": "Ann"}).to_string();
    let head = format!(
        "PUT /v1/users/a HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        world.sk,
        body.len()
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: the request is in flight.
    assert!(answer(&mut busy).await.starts_with("HTTP/1.1 100"));
    world.begin_stop();
    assert_eq!(rest(idle).await, "", "an idle connection is closed");
    busy.write_all(body.as_bytes()).await.unwrap();
    let text = rest(busy).await;
    assert!(text.starts_with("HTTP/1.1 200") && text.contains("Ann"), "{text}");
    world.stopped().await;
    assert!(TcpStream::connect(world.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let mut setup = Setup::default();
    setup.settings.connections = 1;
    let world = World::with(setup).await;
    let mut first = connect(&world).await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    answer(&mut first).await;
    let mut second = connect(&world).await;
    second.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut byte = [0];
    let early = tokio::time::timeout(Duration::from_millis(100), second.peek(&mut byte)).await;
    assert!(early.is_err(), "the only slot is taken");
    drop(first);
    assert!(rest(second).await.starts_with("HTTP/1.1 200"));
}
