//! Rolling restarts: a server that is asked to stop goes in good order, and in time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::hardening::line::{Heard, Line};
use crate::process::{Process, get};

const HERE: &str = "host: 127.0.0.1\r\n";

/// A request whose body never comes.
async fn hanging_request(server: &Process) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "PUT /v1/users/ann HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 9\r\n\r\n{{",
        server.secret
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

#[tokio::test]
async fn load_balancers_are_told_first_and_sockets_are_sent_away_over_the_window() {
    let server = "drain_seconds = 12\ndrain_notice_seconds = 2\n";
    let mut server = Process::laid_out_with(server, "[hub]\ndrain_spread_seconds = 3\n");
    server.run();
    let mut lines = Vec::new();
    for _ in 0..500 {
        lines.push(Line::open(&server).await);
    }
    let began = Instant::now();
    server.signal("TERM");
    // Its notice: it says that it goes, and serves whoever is sent here still.
    let parts = loop {
        let (head, body) = get(server.address, "/readyz", HERE).await;
        if head.starts_with("HTTP/1.1 503") {
            break serde_json::from_str::<Value>(&body).unwrap();
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{head}");
    };
    assert_eq!(parts, json!({"ready": false, "draining": true, "store": "ok", "bus": "ok"}));
    let (head, _) = get(server.address, "/healthz", HERE).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("connection: close"), "{head}");
    lines.push(Line::open(&server).await);

    let ends = lines.into_iter().map(|mut line| {
        tokio::spawn(async move {
            let end = line.end().await;
            assert!(matches!(end, Heard::Closed(Some(1012))), "{end:?}");
            // The client answers the close by going.
            began.elapsed()
        })
    });
    let mut sixths = [0; 6];
    for end in ends.collect::<Vec<_>>() {
        let since_notice = end.await.unwrap().saturating_sub(Duration::from_secs(2));
        sixths[(since_notice.as_millis() as usize / 500).min(5)] += 1;
    }
    assert!(sixths.iter().all(|part| *part >= 40), "of 501 in each half second of three: {sixths:?}");
    assert_eq!(server.ended(Duration::from_secs(12)).await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
}

#[tokio::test]
async fn nobody_keeps_a_server_beyond_its_deadline() {
    let mut server = Process::laid_out_with("drain_seconds = 4\n", "");
    server.run();
    let hanging = hanging_request(&server).await;
    let mut deaf = Line::open(&server).await;
    // Until what it is answered fills every buffer on the way, and the server reads no further.
    let beats = deaf.frames(1, br#"[null,"1","phoenix","heartbeat",{}]"#, 2_000);
    while let Ok(sent) = timeout(Duration::from_millis(500), deaf.try_raw(&beats)).await {
        sent.expect("the server holds on to it");
    }
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Line::open(&server).await);
    }
    let began = Instant::now();
    server.signal("TERM");
    assert_eq!(server.ended(Duration::from_secs(10)).await, Some(0));
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert!(began.elapsed() > Duration::from_secs(1), "it was patient: {:?}", began.elapsed());
    drop((hanging, deaf, silent));
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = Process::laid_out_with("drain_seconds = 60\n", "");
    server.run();
    let hanging = hanging_request(&server).await;
    let _deaf = Line::open(&server).await;
    server.signal("TERM");
    server.said("that it stops", |line| line.contains("stopping")).await;
    server.signal("INT");
    let began = Instant::now();
    assert_eq!(server.ended(Duration::from_secs(10)).await, Some(130));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(hanging);
}
