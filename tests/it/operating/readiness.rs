//! Readiness: which part is not well is said in its place, and an answer comes whatever is wrong.

use std::time::{Duration, Instant};

use bellwire::store::Store;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::process::{Process, get};
use crate::support::postgres::{Server, place};
use crate::support::redis::RedisServer;
use crate::support::{Setup, World};

const HERE: &str = "host: 127.0.0.1\r\n";

#[tokio::test]
async fn a_node_that_is_well_says_so_part_by_part() {
    let server = Process::start("");
    let (head, body) = get(server.address, "/readyz", HERE).await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("content-type: application/json"), "{head}");
    let parts: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(parts, json!({"ready": true, "draining": false, "store": "ok", "bus": "ok"}));
    assert_eq!(get(server.address, "/healthz", HERE).await.1, "ok");
}

#[tokio::test]
async fn a_bus_that_hears_nothing_makes_the_node_unready_and_shows_in_its_figures() {
    let mut redis = RedisServer::start(&[]);
    let server = Process::start(&format!("[bus]\nurls = [\"{}\"]\n", redis.url()));
    let ready = async || get(server.address, "/readyz", HERE).await;
    let until = async |start: &str| {
        let began = Instant::now();
        while !ready().await.0.starts_with(start) {
            assert!(began.elapsed() < Duration::from_secs(30), "{}", server.tail());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    until("HTTP/1.1 200").await;
    redis.kill();
    until("HTTP/1.1 503").await;
    let parts: Value = serde_json::from_str(&ready().await.1).unwrap();
    let deaf = "the node does not hear itself through 1 of 1 servers";
    assert_eq!(parts, json!({"ready": false, "draining": false, "store": "ok", "bus": deaf}));
    assert_eq!(get(server.address, "/healthz", HERE).await.1, "ok", "it is alive all the same");
    assert!(get(server.address, "/metrics", HERE).await.1.contains("\nbellwire_bus_up 0\n"));
    redis.run();
    until("HTTP/1.1 200").await;
    let figures = get(server.address, "/metrics", HERE).await.1;
    assert!(figures.contains("\nbellwire_bus_up 1\n"), "{figures}");
    assert!(!figures.contains("\nbellwire_bus_reconnects_total 0\n"), "{figures}");
}

/// A way to `port` on which nothing passes while it is frozen.
async fn way_to(port: u16) -> (u16, watch::Sender<bool>) {
    async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut frozen: watch::Receiver<bool>) {
        let mut bytes = vec![0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            if frozen.wait_for(|is_frozen| !is_frozen).await.is_err() || to.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().port();
    let (freeze, frozen) = watch::channel(false);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(("127.0.0.1", port)).await else { continue };
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            tokio::spawn(pump(near_in, far_out, frozen.clone()));
            tokio::spawn(pump(far_in, near_out, frozen.clone()));
        }
    });
    (own, freeze)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_is_told_in_time_and_so_is_its_return() {
    let postgres = Server::start();
    let database = postgres.database().await;
    let (port, freeze) = way_to(postgres.port).await;
    let url = format!("postgres://bellwire@127.0.0.1:{port}/{database}");
    let store = Store::connect(&place(&url, 2, Duration::from_secs(60))).await.unwrap();
    let world = World::with(Setup { store: Some(store), ..Setup::default() }).await;
    world.get("/readyz").await.ok(200);

    freeze.send_replace(true);
    for _ in 0..3 {
        let began = Instant::now();
        let parts = world.get("/readyz").await.ok(503);
        let expected = json!({"ready": false, "draining": false, "store": "the database does not answer", "bus": "ok"});
        assert_eq!(parts, expected);
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    assert_eq!(world.get("/healthz").await.status, 200);
    let figures = get(world.address, "/metrics", HERE).await.1;
    assert!(figures.contains("\nbellwire_store_up 0\n"), "{figures}");

    freeze.send_replace(false);
    let began = Instant::now();
    while world.get("/readyz").await.status != 200 {
        assert!(began.elapsed() < Duration::from_secs(30), "it stays unready");
    }
    let figures = get(world.address, "/metrics", HERE).await.1;
    assert!(figures.contains("\nbellwire_store_up 1\n"), "{figures}");
}
