//! What nodes do while a server is away, deaf or cut off, and once it is back.

use std::time::{Duration, Instant};

use bellwire::bus::Settings;

use super::{Node, say, settings, until, users};
use crate::support::redis::RedisServer;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_users_are_subscribed_again_at_once_after_an_outage() {
    const USERS: usize = 10_000;
    let mut redis = RedisServer::start(&[]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    one.watch(users(USERS)).await;
    redis.kill();
    until("the outage is noticed", || !one.bus.health().is_well()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(one.ears.missed(), 0);
    redis.run();
    let back = Instant::now();
    until("all are looked at", || one.ears.missed() == USERS).await;
    let took = back.elapsed();
    say(&format!("{USERS} users were subscribed again {took:?} after the server was back"));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(redis.channels("bellwire:1:*"), USERS);
    until("both hear themselves", || one.bus.health().is_well() && two.bus.health().is_well()).await;
    let stats = one.bus.stats();
    assert_eq!((stats.resubscribed, stats.reconnects), (USERS as u64, 1));
    two.publish("user-77", 5);
    until("news come again", || one.ears.versions("user-77") == [5]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_was_killed_is_made_anew_and_what_may_have_passed_is_looked_at() {
    let redis = RedisServer::start(&[]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    one.watch(users(100)).await;
    for round in 1..=3 {
        one.ears.forget_missed();
        redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
        until("all are looked at", || one.ears.missed() == 100).await;
        until("both are well", || one.bus.health().is_well() && two.bus.health().is_well()).await;
        two.publish("user-3", round);
        until("news come again", || one.ears.versions("user-3").last() == Some(&round)).await;
        redis.ask(&["CLIENT", "KILL", "TYPE", "normal"]);
        two.publish("user-4", round);
        until("news go again", || one.ears.versions("user-4").last() == Some(&round)).await;
    }
    assert_eq!(one.bus.stats().dropped, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_is_found_within_ten_seconds_and_heals_by_itself() {
    let redis = RedisServer::start(&[]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    one.watch(users(50)).await;
    redis.freeze();
    let frozen = Instant::now();
    until("it is found", || !one.bus.health().is_well()).await;
    let took = frozen.elapsed();
    say(&format!("a frozen server was found after {took:?}"));
    assert!(took < Duration::from_secs(10), "{took:?}");
    until("the lane is given up", || !one.bus.health().lanes[0].is_up).await;
    assert!(frozen.elapsed() < Duration::from_secs(10));
    two.publish("user-1", 1);
    redis.thaw();
    until("both are well", || one.bus.health().is_well() && two.bus.health().is_well()).await;
    until("all are looked at", || one.ears.missed() >= 50).await;
    two.publish("user-2", 1);
    until("news come again", || one.ears.versions("user-2") == [1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_that_the_server_cuts_off_for_its_backlog_comes_back() {
    let redis = RedisServer::start(&["--client-output-buffer-limit", "pubsub 32kb 0 0"]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    one.watch(users(10)).await;
    // More than the server keeps for a subscriber.
    let payload = "x".repeat(120_000);
    redis.ask(&["PUBLISH", "bellwire:1:user-1", &payload]);
    until("all are looked at", || one.ears.missed() >= 10).await;
    assert!(one.bus.stats().reconnects >= 1);
    until("it is well", || one.bus.health().is_well()).await;
    two.publish("user-1", 1);
    until("news come again", || one.ears.versions("user-1") == [1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_waits_for_no_server_and_keeps_no_more_than_it_may() {
    let mut redis = RedisServer::start(&[]);
    let one = Node::with(Settings { waiting_events: 100, ..settings(&[redis.url()]) }).await;
    let two = Node::start(&[redis.url()]).await;
    two.watch(["ann".to_owned()]).await;
    for is_frozen in [true, false] {
        let before = one.bus.stats().dropped;
        if is_frozen {
            redis.freeze();
        } else {
            redis.kill();
            until("the outage is noticed", || !one.bus.health().is_well()).await;
        }
        let began = Instant::now();
        (1..=5_000).for_each(|version| one.publish("ann", version));
        assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
        let stats = one.bus.stats();
        // One pipeline may be under way beside the queue.
        assert!(stats.waiting <= 100 + 256, "{stats:?}");
        assert!(stats.dropped - before >= 4_600, "{stats:?}");
        assert!(one.ears.versions("ann").len() >= 5_000, "the node's own listener heard all");
        if is_frozen {
            redis.thaw();
        } else {
            redis.run();
        }
        until("what waited is gone", || one.bus.stats().waiting == 0).await;
        until("both are well", || one.bus.health().is_well() && two.bus.health().is_well()).await;
    }
    let last = one.bus.stats().published;
    one.publish("ann", 9_999);
    one.bus.flush(Duration::from_secs(5)).await;
    assert_eq!(one.bus.stats().published, last + 1, "a node that stops waits for its last news");
    until("news go again", || two.ears.versions("ann").last() == Some(&9_999)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_became_a_replica_is_not_spoken_to() {
    let (redis, master) = (RedisServer::start(&[]), RedisServer::start(&[]));
    let settings = Settings { deaf_after: Duration::from_secs(3), ..settings(&[redis.url()]) };
    let one = Node::with(settings).await;
    one.watch(users(1)).await;
    redis.ask(&["REPLICAOF", "127.0.0.1", &master.port.to_string()]);
    until("it is found", || !one.bus.health().is_well()).await;
    redis.ask(&["REPLICAOF", "NO", "ONE"]);
    until("it is well", || one.bus.health().is_well()).await;
}
