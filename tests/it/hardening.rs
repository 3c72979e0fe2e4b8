//! Bad and hostile peers: each gets a clear answer or a bounded end, and nobody else notices.

pub mod line;

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::process::{CHANNEL, Process, call};
use line::{Heard, Line, PATIENCE, TEXT};

const MEGABYTE: u64 = 1 << 20;
/// Within this a peer that does not finish its request is let go.
const HEADER_PATIENCE: Duration = Duration::from_secs(45);

fn topic(user: &str) -> String {
    format!("feeds:{CHANNEL}:{user}")
}

fn frame(join: &str, reference: &str, topic: &str, event: &str, payload: Value) -> String {
    json!([join, reference, topic, event, payload]).to_string()
}

/// Proves that the server still answers a well-behaved peer.
async fn still_answers(server: &Process, bystander: &mut Line) {
    bystander.heartbeat().await;
    let reply = server.call(Method::GET, "/v1/users?page_size=1", Value::Null).await.expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
}

#[tokio::test]
async fn a_frame_that_nobody_can_read_ends_its_own_connection_only() {
    let server = Process::start("");
    let mut bystander = Line::open(&server).await;
    let deep = "[".repeat(200_000);
    let nested =
        format!(r#"["1","1","{}","phx_join",{}{}]"#, topic("ann"), r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
    let (binary, ping, reserved) = (2, 9, 3);
    let long_ping = vec![b'x'; 126];
    let cases: [(&str, u8, &[u8], &[u16]); 10] = [
        ("no JSON", TEXT, b"hello", &[1011]),
        ("an object for the second serializer", TEXT, br#"{"topic":"phoenix"}"#, &[1011]),
        ("too few members", TEXT, br#"["1","1","phoenix"]"#, &[1011]),
        ("a number for a ref", TEXT, br#"[null,1,"phoenix","heartbeat",{}]"#, &[1011]),
        ("deep nesting", TEXT, deep.as_bytes(), &[1011, 1009]),
        ("a payload nested deeply", TEXT, nested.as_bytes(), &[1011, 1009]),
        ("text that is not UTF-8", TEXT, b"\xff\xfe", &[1007]),
        ("a binary frame of no kind", binary, b"\xff\xfe", &[1003, 1011]),
        ("a control frame that is too long", ping, &long_ping, &[1002]),
        ("an opcode that is not in use", reserved, b"", &[1002]),
    ];
    for (what, opcode, payload, codes) in cases {
        let mut line = Line::open(&server).await;
        line.send(opcode, payload).await;
        match line.end().await {
            Heard::Closed(Some(code)) => assert!(codes.contains(&code), "{what}: closed with {code}, not {codes:?}"),
            heard => panic!("{what}: expected a close with {codes:?}, heard {heard:?}"),
        }
        still_answers(&server, &mut bystander).await;
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_refused_before_it_is_held() {
    let server = Process::start("");
    let mut bystander = Line::open(&server).await;
    let before = server.memory();
    for announced in [1_u64 << 25, 1 << 40, u64::MAX >> 1] {
        let mut line = Line::open(&server).await;
        line.announce(TEXT, announced).await;
        // What is announced never comes; the server must not wait for it, nor make room.
        line.raw(&[b' '; 4096]).await;
        match line.end().await {
            Heard::Closed(Some(code)) => assert_eq!(code, 1009, "{announced} bytes announced"),
            heard => panic!("{announced} bytes announced: expected a close with 1009, heard {heard:?}"),
        }
    }
    let mut pieces = Line::open(&server).await;
    pieces.fragments_without_end(64 * 1024, 1024).await;
    assert!(matches!(pieces.end().await, Heard::Closed(_)), "a message in endless pieces has an end");
    still_answers(&server, &mut bystander).await;
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 32 * MEGABYTE, "the server grew by {grown} bytes");
}

#[tokio::test]
async fn unknown_topics_and_events_are_answered_and_the_socket_lives_on() {
    let server = Process::start("");
    let mut line = Line::open(&server).await;
    let long = "x".repeat(10_000);
    for (at, topic) in
        ["", "feeds", "feeds:", "feeds::", "feeds:x:y", "rooms:lobby", "\u{0}", long.as_str()].iter().enumerate()
    {
        let reference = format!("r{at}");
        line.text(&frame(&reference, &reference, topic, "phx_join", json!({}))).await;
        let reply = line.reply(&reference).await;
        assert_eq!(reply["status"], "error", "F-SOC-26 {topic:?}: {reply}");
        assert!(reply["response"]["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{topic:?}: {reply}");
    }
    line.text(&frame("j", "j", &topic("ann"), "phx_join", json!({}))).await;
    assert_eq!(line.reply("j").await["status"], "ok");
    line.text(&frame("j", "u", &topic("ann"), "no_such_event", json!({}))).await;
    line.heartbeat().await;
}

#[tokio::test]
async fn guides_are_refused_with_a_reason_where_a_channel_has_none() {
    let server = Process::start("");
    let mut line = Line::open(&server).await;
    let guides = format!("guides:{CHANNEL}");
    line.text(&frame("g", "g", &guides, "phx_join", json!({"user_id": "ann"}))).await;
    let refused =
        json!({"status": "error", "response": {"reason": "the channel is not an in-app guide channel of this server"}});
    assert_eq!(line.reply("g").await, refused, "socket.md 3.7");
    line.text(&frame("j", "j", &topic("ann"), "phx_join", json!({"bellwire": {"since": 0}}))).await;
    assert_eq!(line.reply("j").await["status"], "ok");
    let body = json!({"recipients": [{"id": "ann"}], "data": {"name": "one"}});
    assert_eq!(server.call(Method::POST, "/v1/workflows/note/trigger", body).await.expect("an answer").status, 200);
    while line.heard_on(&topic("ann")).len() < 2 {
        // The feed as it stood, and the new item.
        line.heartbeat().await;
    }
    assert!(line.heard_on(&guides).is_empty(), "F-SOC-22");
}

#[tokio::test]
async fn ten_thousand_joins_on_one_socket_are_all_answered_and_bounded() {
    const JOINS: usize = 10_000;
    let server = Process::start("");
    let mut bystander = Line::open(&server).await;
    let before = server.memory();
    let mut line = Line::open(&server).await;
    let began = Instant::now();
    let (mut accepted, mut refused, mut sent) = (0, 0, 0);
    'joining: while sent < JOINS {
        for _ in 0..100 {
            sent += 1;
            let reference = sent.to_string();
            line.text(&frame(&reference, &reference, &topic(&format!("user-{sent}")), "phx_join", json!({}))).await;
        }
        for at in sent - 99..=sent {
            match line.reply_or_end(&at.to_string()).await {
                Some(reply) if reply["status"] == "ok" => accepted += 1,
                Some(reply) => {
                    assert!(reply["response"]["reason"].is_string(), "a refusal says why: {reply}");
                    refused += 1;
                }
                None => break 'joining,
            }
        }
        bystander.heartbeat().await;
    }
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "{accepted} accepted, {refused} refused in {:?}",
        began.elapsed()
    );
    assert!(accepted > 0);
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 48 * MEGABYTE, "{accepted} joins of one socket took {grown} bytes");
    still_answers(&server, &mut bystander).await;
}

#[tokio::test]
async fn a_client_that_never_reads_costs_little_and_holds_up_nobody() {
    let server = Process::start("");
    let payload = json!({"bellwire": {"since": null, "page_size": 10}});
    let mut deaf = Line::open(&server).await;
    deaf.text(&frame("1", "1", &topic("ann"), "phx_join", payload.clone())).await;
    let mut reader = Line::open(&server).await;
    reader.text(&frame("1", "1", &topic("ann"), "phx_join", payload)).await;
    assert_eq!(reader.reply("1").await["status"], "ok");
    let before = server.memory();
    let filler = "x".repeat(60_000);
    for number in 0..250 {
        let body = json!({"recipients": [{"id": "ann"}], "data": {"name": format!("item {number}"), "filler": filler}});
        let reply = server.call(Method::POST, "/v1/workflows/note/trigger", body).await.expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        reader.until_told(&format!("item {number}")).await;
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 48 * MEGABYTE, "a deaf client took {grown} bytes");
    reader.heartbeat().await;
    // What was sent to it while it slept is little, and then either what it missed or the end.
    let kept = deaf.drain().await;
    assert!(kept < 16 * MEGABYTE, "{kept} bytes were kept for a deaf client");
}

#[tokio::test]
async fn a_flood_of_pings_from_a_client_that_never_reads_is_bounded() {
    let server = Process::start("");
    let mut bystander = Line::open(&server).await;
    let before = server.memory();
    let mut flood = Line::open(&server).await;
    let pings = flood.frames(9, &[b'p'; 100], 1000);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        // The server may stop reading, or hang up: both are an end.
        match timeout(Duration::from_millis(500), flood.try_raw(&pings)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => break,
        }
    }
    let grown = server.memory().saturating_sub(before);
    assert!(grown < 32 * MEGABYTE, "the server grew by {grown} bytes");
    still_answers(&server, &mut bystander).await;
}

#[tokio::test]
async fn a_key_revoked_on_the_command_line_ends_its_sockets_within_seconds() {
    let server = Process::start("");
    let other = server.key("development", "public");
    let (mut ended, mut kept) = (Line::open(&server).await, Line::open_with(&server, &other).await);
    ended.heartbeat().await;
    server.revoke_key(&server.public);
    assert!(matches!(ended.end().await, Heard::Closed(Some(1008))), "F-AUT-03");
    kept.heartbeat().await;
}

#[tokio::test]
async fn malformed_upgrades_are_refused_in_words_of_http() {
    let server = Process::start("");
    let mut bystander = Line::open(&server).await;
    let path = format!("/ws/v1/websocket?vsn=2.0.0&api_key={}", server.public);
    let host = format!("Host: {}\r\n", server.address);
    let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    let version = "Sec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let many = (0..5000).map(|number| format!("X-{number}: y\r\n")).collect::<String>();
    let cases = [
        ("no upgrade", format!("GET {path} HTTP/1.1\r\n{host}\r\n")),
        ("no key", format!("GET {path} HTTP/1.1\r\n{host}{upgrade}{version}\r\n")),
        (
            "a key that is none",
            format!("GET {path} HTTP/1.1\r\n{host}{upgrade}{version}Sec-WebSocket-Key: short\r\n\r\n"),
        ),
        ("no version", format!("GET {path} HTTP/1.1\r\n{host}{upgrade}{key}\r\n")),
        ("an old version", format!("GET {path} HTTP/1.1\r\n{host}{upgrade}{key}Sec-WebSocket-Version: 8\r\n\r\n")),
        (
            "another protocol",
            format!("GET {path} HTTP/1.1\r\n{host}Connection: Upgrade\r\nUpgrade: h2c\r\n{version}{key}\r\n"),
        ),
        ("POST", format!("POST {path} HTTP/1.1\r\n{host}{upgrade}{version}{key}Content-Length: 0\r\n\r\n")),
        ("HTTP/1.0", format!("GET {path} HTTP/1.0\r\n{host}{upgrade}{version}{key}\r\n")),
        ("no HTTP", "\u{16}\u{3}\u{1}\u{2}hello\r\n\r\n".to_owned()),
        ("a line feed in a header", format!("GET {path} HTTP/1.1\r\n{host}X: a\n b: c\u{0}\r\n\r\n")),
        ("an endless path", format!("GET /{} HTTP/1.1\r\n{host}\r\n", "x".repeat(200_000))),
        ("too many headers", format!("GET {path} HTTP/1.1\r\n{host}{upgrade}{version}{key}{many}\r\n")),
        ("an endless header", format!("GET {path} HTTP/1.1\r\n{host}X: {}\r\n\r\n", "y".repeat(1_000_000))),
        (
            "a length that is none",
            format!("POST /v1/workflows/note/trigger HTTP/1.1\r\n{host}Content-Length: many\r\n\r\n"),
        ),
        (
            "two lengths",
            format!(
                "POST /v1/workflows/note/trigger HTTP/1.1\r\n{host}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"
            ),
        ),
    ];
    for (what, request) in cases {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        // A server that has heard enough may hang up before the request is through.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut head = [0; 12];
        match timeout(PATIENCE, stream.read_exact(&mut head)).await.unwrap_or_else(|_| panic!("{what}: no answer")) {
            Ok(_) => {
                let head = String::from_utf8_lossy(&head).into_owned();
                assert!(head.starts_with("HTTP/1.") && head[9..].starts_with('4'), "{what}: {head}");
            }
            // With so much unread, the hang-up overtakes the answer.
            Err(_) => assert!(request.len() > 60_000, "{what}: hung up without an answer"),
        }
    }
    still_answers(&server, &mut bystander).await;
}

#[tokio::test]
async fn peers_that_do_not_finish_their_requests_are_let_go() {
    let server = Process::start("");
    let mut bystander = Line::open(&server).await;
    let began = Instant::now();
    let mut half_open = Vec::new();
    for number in 0..200 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        if number % 2 == 0 {
            stream.write_all(b"GET /ws/v1/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: x\r\nConnection: Upgr").await.unwrap();
        }
        half_open.push(stream);
    }
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let slow_one = tokio::spawn(async move {
        let mut one = [0; 1];
        for byte in b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'y')) {
            if slow.write_all(&[*byte]).await.is_err() {
                return;
            }
            // An answer (408) or a hang-up: both end it.
            if timeout(Duration::from_secs(1), slow.read(&mut one)).await.is_ok() {
                return;
            }
        }
    });
    still_answers(&server, &mut bystander).await;
    timeout(HEADER_PATIENCE, slow_one).await.expect("a byte a second is not waited for for ever").unwrap();
    for (number, stream) in half_open.iter_mut().enumerate() {
        let left = HEADER_PATIENCE.saturating_sub(began.elapsed()).max(Duration::from_millis(500));
        let mut answer = Vec::new();
        let end = timeout(left, stream.read_to_end(&mut answer)).await;
        assert!(end.is_ok(), "peer {number} is still connected after {:?}", began.elapsed());
    }
    // Its idleness is counted from its last word, and that was the heartbeat of a moment ago.
    still_answers(&server, &mut bystander).await;
}

#[tokio::test]
async fn bodies_that_are_too_large_or_too_deep_are_refused() {
    let server = Process::start("");
    let path = "/v1/workflows/note/trigger";
    let huge = json!({"recipients": ["ann"], "data": {"filler": "x".repeat(30 << 20)}});
    match call(server.address, &server.secret, Method::POST, path, None, huge).await {
        Ok(reply) => assert_eq!(reply.status, 413, "{reply:?}"),
        // The hang-up may overtake the answer while the body is still being sent.
        Err(error) => assert!(!error.starts_with("waiting"), "{error}"),
    }
    let deep = format!(r#"{{"recipients":["ann"],"data":{}1{}}}"#, r#"{"a":"#.repeat(20_000), "}".repeat(20_000));
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n{deep}",
        server.secret,
        deep.len()
    );
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an answer").unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    let mut bystander = Line::open(&server).await;
    still_answers(&server, &mut bystander).await;
}
