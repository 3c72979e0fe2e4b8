//! What nodes hear of each other while the servers are well.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bellwire::bus::{Bus, News, Presence};
use bellwire::model::message::Message;
use bellwire::model::recipient::RecipientRef;
use bellwire::model::time::Time;

use hyper::Method;
use serde_json::Value;

use super::{Ears, Node, PATIENCE, change, say, settings, until, users};
use crate::process::Process;
use crate::support::FEED;
use crate::support::redis::RedisServer;

fn item(user: &str, version: i64) -> Message {
    Message {
        feed: Some(7),
        seq: version,
        version,
        actor: Some("bob".to_owned()),
        workflow: "comment".to_owned(),
        version_id: "v".to_owned(),
        step_ref: "s".to_owned(),
        workflow_run: "w".to_owned(),
        run: "r".to_owned(),
        blocks: r#"[{"type":"markdown","name":"body","content":"Hello **{{ data.n }}**","rendered":"<p>Hello <b>1</b></p>"}]"#.into(),
        actors: r#"[{"__typename":"User","id":"bob","name":"Bob"}]"#.into(),
        total_actors: 1,
        data: r#"{"n":1}"#.into(),
        ..Message::new(format!("message-{version}"), 1, FEED.to_owned(), RecipientRef::User(user.to_owned()), Time::from_micros(1_000_000))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_hears_of_others_items_and_marks_and_of_its_own_once() {
    let redis = RedisServer::start(&[]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    for node in [&one, &two] {
        node.watch(["ann".to_owned(), "b:o{b}".to_owned()]).await;
    }
    let mut event = change("ann", 1);
    event.news = News::Item(Arc::new(item("ann", 1)));
    one.bus.publish(&event);
    one.publish("ann", 2);
    one.publish("b:o{b}", 1);
    two.publish("ann", 3);
    until("both hear of all", || one.ears.versions("ann").len() >= 3 && two.ears.versions("b:o{b}").len() == 1).await;
    assert_eq!(one.ears.versions("ann"), [1, 2, 3], "its own it heard once");
    let heard = two.ears.heard.lock().unwrap().clone();
    let first = heard.iter().find(|event| event.head.version == 1 && event.recipient == "ann").unwrap();
    let News::Item(heard_item) = &first.news else { panic!("an item was published") };
    assert_eq!((&**heard_item, first.head, first.env), (&item("ann", 1), event.head, 1));
    let stats = (one.bus.stats(), two.bus.stats());
    assert_eq!((stats.0.published, stats.0.received, stats.1.received), (3, 1, 3));
    assert_eq!((stats.0.dropped, stats.0.unread, stats.1.watched), (0, 0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_for_help_reaches_all_others() {
    let redis = RedisServer::start(&[]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    let three = Node::start(&[redis.url()]).await;
    until("all listen", || redis.ask(&["PUBSUB", "NUMSUB", "bellwire:0:"]).ends_with('3')).await;
    one.bus.call();
    let calls = |node: &Node| node.ears.calls.load(Ordering::SeqCst);
    until("they are called", || (calls(&two), calls(&three)) == (1, 1)).await;
    // What is published afterwards comes back afterwards.
    one.watch(["ann".to_owned()]).await;
    two.publish("ann", 1);
    until("the bus goes on", || one.ears.versions("ann") == [1]).await;
    assert_eq!(calls(&one), 0, "nobody calls itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_read_makes_its_user_looked_at() {
    let redis = RedisServer::start(&[]);
    let node = Node::start(&[redis.url()]).await;
    node.watch(["ann".to_owned()]).await;
    redis.ask(&["PUBLISH", "bellwire:1:ann", "something of another version"]);
    until("it is told", || node.ears.missed() == 1).await;
    assert_eq!(&*node.ears.missed.lock().unwrap()[0].user, "ann");
    assert_eq!((node.bus.stats().unread, node.ears.versions("ann").len()), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_subscribed_to_in_batches_once_each_and_left_after_a_grace() {
    let redis = RedisServer::start(&[]);
    let node =
        Node::with(bellwire::bus::Settings { grace: Duration::from_millis(300), ..settings(&[redis.url()]) }).await;
    node.watch(users(2_000)).await;
    node.watch(users(1)).await;
    assert_eq!(redis.channels("bellwire:1:*"), 2_000);
    assert!(redis.calls("subscribe") < 100, "{} commands for 2,000 users", redis.calls("subscribe"));
    for user in users(2_000) {
        node.bus.release(1, &user.into());
    }
    // The first was wanted twice. The second comes back in time.
    node.watch(["user-1".to_owned()]).await;
    until("the others are left", || redis.channels("bellwire:1:*") == 2).await;
    assert_eq!(node.bus.stats().watched, 2);
    node.watch(["user-9".to_owned()]).await;
    let other = Node::start(&[redis.url()]).await;
    for user in ["user-0", "user-1", "user-9"] {
        other.publish(user, 1);
    }
    until("it hears of those it wants", || node.ears.versions("user-9") == [1]).await;
    assert_eq!((node.ears.versions("user-0"), node.ears.versions("user-1")), (vec![1], vec![1]));
    assert_eq!(node.ears.missed(), 0, "nothing was interrupted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_who_come_and_go_fast_are_subscribed_to_in_the_end() {
    let redis = RedisServer::start(&[]);
    let node = Node::with(bellwire::bus::Settings { grace: Duration::ZERO, ..settings(&[redis.url()]) }).await;
    let other = Node::start(&[redis.url()]).await;
    let users: Vec<Arc<str>> = users(200).map(Into::into).collect();
    for round in 0..30 {
        users.iter().for_each(|user| node.bus.retain(1, user));
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(7)).await;
        }
        if round < 29 {
            users.iter().for_each(|user| node.bus.release(1, user));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    for user in &users {
        node.bus.heeded(1, user).await;
        other.publish(user, 1);
    }
    until("it hears of all", || users.iter().all(|user| node.ears.versions(user) == [1])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_spread_over_independent_servers_alike_on_every_node() {
    let servers: Vec<RedisServer> = (0..3).map(|_| RedisServer::start(&[])).collect();
    let mut urls: Vec<String> = servers.iter().map(RedisServer::url).collect();
    let one = Node::start(&urls).await;
    urls.reverse();
    let two = Node::start(&urls).await;
    one.watch(users(300)).await;
    two.watch(users(300)).await;
    let spread: Vec<usize> = servers.iter().map(|server| server.channels("bellwire:1:*")).collect();
    assert_eq!(spread.iter().sum::<usize>(), 300, "each on one server, the same for both nodes: {spread:?}");
    assert!(spread.iter().all(|share| (50..150).contains(share)), "{spread:?}");
    for user in users(300) {
        one.publish(&user, 1);
    }
    until("the other hears of all", || users(300).all(|user| two.ears.versions(&user) == [1])).await;
    let asked: Vec<String> = users(300).chain(["nobody".to_owned()]).collect();
    let asked: Vec<&str> = asked.iter().map(String::as_str).collect();
    let online = one.bus.online(1, &asked).await.unwrap();
    assert!(online[..300].iter().all(|presence| *presence == Presence { nodes: 2 }));
    assert_eq!(online[300], Presence { nodes: 0 });
    assert!(one.bus.online(2, &["user-1"]).await.unwrap().iter().all(|presence| !presence.is_online()));
}

async fn refusal(url: &str) -> String {
    let refused = Bus::start(settings(&[url.to_owned()]), Ears::default()).await.err().expect("it is refused");
    assert!(!refused.0.contains("s3cret"), "{refused}");
    refused.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lets_us_in_as_we_are_is_used_and_any_other_is_a_sentence() {
    let redis = RedisServer::start(&[]);
    let enough = ["+publish", "+subscribe", "+unsubscribe", "+pubsub|numsub", "&bellwire:*"];
    redis.ask(&[&["ACL", "SETUSER", "bell", "on", ">s3cret"], &enough[..]].concat());
    redis.ask(&["ACL", "SETUSER", "mute", "on", ">s3cret", "+subscribe", "&bellwire:*"]);
    redis.ask(&["ACL", "SETUSER", "deaf", "on", ">s3cret", "+publish", "+subscribe", "+pubsub", "&elsewhere:*"]);
    redis.ask(&["ACL", "SETUSER", "default", "resetpass", ">other"]);
    let at = format!("127.0.0.1:{}", redis.port);
    let node = Node::start(&[format!("redis://bell:s3cret@{at}")]).await;
    node.watch(["ann".to_owned()]).await;
    let plain = Node::start(&[format!("redis://:other@{at}")]).await;
    plain.publish("ann", 1);
    until("the user of the list hears", || node.ears.versions("ann") == [1]).await;
    let key = format!("`urls` of [bus]: redis://bell@{at} refuses the user or the password of its address");
    assert_eq!(refusal(&format!("redis://bell:s3cret-not@{at}")).await, key);
    assert!(refusal(&format!("redis://{at}")).await.contains("wants a password"));
    for user in ["mute", "deaf"] {
        let said = refusal(&format!("redis://{user}:s3cret@{at}")).await;
        assert!(said.contains("does not allow its user what the bus needs"), "{said}");
    }
    let said = refusal(&format!("redis+cluster://:other@{at}")).await;
    assert!(said.contains("is no node of a Cluster"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_tls_is_trusted_if_its_authority_is() {
    let redis = RedisServer::start_with_tls();
    let (url, authority) = redis.tls();
    let settings = settings(&[url]);
    let refused = Bus::start(settings.clone(), Ears::default()).await.err().expect("nobody it trusts vouches for it");
    assert!(refused.0.starts_with("`ca_file` of [bus]: rediss://127.0.0.1:"), "{refused}");
    let no_pem =
        bellwire::bus::Settings { authorities: Some(b"-----BEGIN CERTIFICATE-----\nx".to_vec()), ..settings.clone() };
    let refused = Bus::start(no_pem, Ears::default()).await.err().expect("it can trust nobody");
    assert!(refused.0.starts_with("`ca_file` of [bus]: "), "{refused}");
    let authorities = Some(std::fs::read(authority).unwrap());
    let node = Node::with(bellwire::bus::Settings { authorities, ..settings }).await;
    node.watch(["ann".to_owned()]).await;
    let plain = Node::start(&[redis.url()]).await;
    plain.publish("ann", 1);
    until("it hears", || node.ears.versions("ann") == [1]).await;
}

/// The real server, with these addresses of the bus.
fn process(urls: &str) -> Process {
    Process::laid_out(&format!("[bus]\nurls = [\"{urls}\"]\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_fails_where_it_is_refused_and_waits_where_nobody_answers() {
    let redis = RedisServer::start(&["--requirepass", "s3cret"]);
    let address = format!("127.0.0.1:{}", redis.port);
    let refused = process(&format!("redis://:s3cret-not@{address}"));
    let output = Command::new(Process::binary()).args(refused.arguments()).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(!output.status.success());
    assert!(said.contains("`urls` of [bus]: redis://127.0.0.1:") && !said.contains("s3cret"), "{said}");

    let mut server = process(&format!("redis://:s3cret@{address}"));
    redis.freeze();
    server.run();
    let ready = async |server: &Process| server.call(Method::GET, "/readyz", Value::Null).await.unwrap().status;
    assert_eq!(ready(&server).await, 503);
    until("it is said", || server.tail().contains(" is away (")).await;
    redis.thaw();
    let began = Instant::now();
    while ready(&server).await != 200 {
        assert!(began.elapsed() < PATIENCE, "{}", server.tail());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(server.tail().contains(" is back") && !server.tail().contains("s3cret"), "{}", server.tail());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_waited_for() {
    let mut redis = RedisServer::laid_out(&[]);
    let node = Node::joining(settings(&[redis.url()])).await;
    assert!(!node.bus.health().is_well());
    let began = Instant::now();
    node.watch(["ann".to_owned()]).await;
    assert!(began.elapsed() < Duration::from_secs(1), "a join does not wait for it");
    assert_eq!(node.bus.online(1, &["ann"]).await, Err(bellwire::bus::Unknown));
    redis.run();
    until("the node hears itself", || node.bus.health().is_well()).await;
    until("who joined meanwhile is looked at", || node.ears.missed() == 1).await;
}

/// Measures; what it finds depends on the machine. `cargo test --release --test it -- bus::servers::figures --ignored
/// --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; what it finds depends on the machine"]
async fn figures() {
    const USERS: usize = 10_000;
    const ROUNDS: i64 = 20;
    let redis = RedisServer::start(&[]);
    let (one, two) = (Node::start(&[redis.url()]).await, Node::start(&[redis.url()]).await);
    let began = Instant::now();
    two.watch(users(USERS)).await;
    say(&format!("{USERS} users subscribed in {:?}", began.elapsed()));
    let names: Vec<String> = users(USERS).collect();
    let (cpu, redis_cpu, began) = (cpu_seconds(), redis.cpu_seconds(), Instant::now());
    let mut sent = 0;
    for version in 1..=ROUNDS {
        for user in &names {
            let mut event = change(user, version);
            event.news = News::Item(Arc::new(item(user, version)));
            one.bus.publish(&event);
            sent += 1;
            if sent % 2_000 == 0 {
                until("there is room", || one.bus.stats().waiting < 5_000).await;
            }
        }
    }
    until("all is received", || two.bus.stats().received + one.bus.stats().dropped == sent).await;
    let per = |seconds: f64| seconds * 1e6 / sent as f64;
    say(&format!(
        "{sent} items, {:.0}/s; CPU per event: publisher and receiver together {:.2} us, Redis {:.2} us; dropped {}",
        sent as f64 / began.elapsed().as_secs_f64(),
        per(cpu_seconds() - cpu),
        per(redis.cpu_seconds() - redis_cpu),
        one.bus.stats().dropped,
    ));
    let mut took = Vec::new();
    for version in 1..=2_000 {
        let before = two.bus.stats().received;
        let began = Instant::now();
        one.publish("user-1", ROUNDS + version);
        while two.bus.stats().received == before {
            tokio::task::yield_now().await;
        }
        took.push(began.elapsed());
    }
    took.sort();
    say(&format!("publish to heard, one at a time: p50 {:?}, p99 {:?}", took[1_000], took[1_980]));
}

fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}
