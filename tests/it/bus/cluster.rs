//! News by way of a Cluster: its masters, its slots, and what happens when they move.

use std::sync::atomic::Ordering;

use bellwire::bus::Presence;

use super::{Node, until, users};
use crate::support::redis::RedisCluster;

const USERS: usize = 300;

/// Publishes for everybody what leads to `version`, until the listener has heard of it from all.
async fn all_hear(from: &Node, at: &Node, version: i64) {
    let hears = |user: &str| at.ears.versions(user).contains(&version);
    users(USERS).for_each(|user| from.publish(&user, version));
    let began = std::time::Instant::now();
    let mut again = began;
    while !users(USERS).all(|user| hears(&user)) {
        assert!(began.elapsed() < super::PATIENCE, "not everybody is heard of again");
        if again.elapsed() > std::time::Duration::from_millis(500) {
            // What was published while a master was gone is lost: the sweep would tell of it.
            users(USERS).filter(|user| !hears(user)).for_each(|user| from.publish(&user, version));
            again = std::time::Instant::now();
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn spread(cluster: &RedisCluster) -> Vec<usize> {
    cluster.nodes.iter().map(|node| node.channels("bellwire:1:*")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn news_take_all_masters_and_follow_slots_that_move() {
    let cluster = RedisCluster::start(1);
    let (one, two) = (Node::start(&[cluster.url()]).await, Node::start(&[cluster.url()]).await);
    assert_eq!(one.bus.health().lanes.len(), 3, "{:?}", one.bus.health());
    one.watch(users(USERS)).await;
    let before = spread(&cluster);
    assert_eq!(before.iter().sum::<usize>(), USERS, "{before:?}");
    assert!(before[..3].iter().all(|share| *share > 60) && before[3] == 0, "{before:?}");
    users(USERS).for_each(|user| two.publish(&user, 1));
    until("all are heard of", || users(USERS).all(|user| one.ears.versions(&user) == [1])).await;
    assert_eq!((one.ears.missed(), two.bus.stats().dropped), (0, 0));
    until("a call for help is heard", || {
        // Whether the other listens already is not to be seen from here.
        two.bus.call();
        one.ears.calls.load(Ordering::SeqCst) > 0
    })
    .await;

    // The slot of a user moves from its master to the next.
    let slot: u16 = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", "bellwire:1:user-7"]).parse().unwrap();
    let to = (cluster.owner(slot, 0) + 1) % 3;
    cluster.move_slot(slot, to);
    let subscribers = |at: usize| cluster.nodes[at].ask(&["PUBSUB", "SHARDNUMSUB", "bellwire:1:user-7"]);
    until("it is subscribed to at its new master", || subscribers(to).ends_with('1')).await;
    until("its news are looked at", || one.ears.missed() >= 1).await;
    assert!(one.ears.missed() < 20, "only those who moved are looked at: {}", one.ears.missed());
    all_hear(&two, &one, 2).await;
    let online = two.bus.online(1, &["user-7", "user-8", "nobody"]).await.unwrap();
    assert_eq!(online, [1, 1, 0].map(|nodes| Presence { nodes }));
    assert!(one.bus.stats().moves >= 1);
}

/// A Cluster that changes may say for a moment that nobody serves some slots. The chart with the hole was kept for a quarter
/// of a minute, with all who had their place there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_nobody_serves_are_looked_for_until_somebody_does() {
    let cluster = RedisCluster::start(0);
    let (one, two) = (Node::start(&[cluster.url()]).await, Node::start(&[cluster.url()]).await);
    one.watch(users(USERS)).await;
    let said: Vec<String> =
        cluster.nodes.iter().map(|node| node.ask(&["CLUSTER", "DELSLOTSRANGE", "0", "5461"])).collect();
    assert_eq!(said, ["OK", "OK", "OK"]);
    until("the hole is seen", || !one.bus.health().is_whole && !two.bus.health().is_whole).await;
    assert_eq!(cluster.nodes[0].ask(&["CLUSTER", "ADDSLOTSRANGE", "0", "5461"]), "OK");
    cluster.agree();
    let began = std::time::Instant::now();
    until("it is no more", || one.bus.health().is_whole && two.bus.health().is_whole).await;
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    all_hear(&two, &one, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_dies_is_replaced_or_comes_back_and_news_go_on() {
    let mut cluster = RedisCluster::start(1);
    let (one, two) = (Node::start(&[cluster.url()]).await, Node::start(&[cluster.url()]).await);
    one.watch(users(USERS)).await;
    all_hear(&two, &one, 1).await;

    // The second has no replica: it is waited for, and the others go on.
    cluster.nodes[1].kill();
    until("it is noticed", || !one.bus.health().is_well()).await;
    let away = one.bus.health().lanes.iter().filter(|lane| !lane.is_up).count();
    assert_eq!(away, 1);
    one.ears.forget_missed();
    cluster.nodes[1].run();
    until("all hear themselves", || one.bus.health().is_well() && two.bus.health().is_well()).await;
    all_hear(&two, &one, 2).await;
    assert!(one.ears.missed() > 60, "who was served by it is looked at: {}", one.ears.missed());

    // The first has one, which takes over.
    cluster.nodes[0].kill();
    until("it is noticed", || !one.bus.health().is_well()).await;
    one.ears.forget_missed();
    until("the replica has taken over", || {
        let lanes = one.bus.health().lanes;
        lanes.iter().any(|lane| lane.place.ends_with(&cluster.nodes[3].port.to_string()))
    })
    .await;
    until("all hear themselves", || one.bus.health().is_well() && two.bus.health().is_well()).await;
    all_hear(&two, &one, 3).await;
    assert!(one.ears.missed() > 60, "{}", one.ears.missed());
    assert_eq!(one.bus.health().lanes.len(), 3);
}
