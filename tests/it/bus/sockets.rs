//! Several nodes over one database: what a socket on one is told of what happens on another.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bellwire::bus::{Bus, Settings};
use bellwire::clock::Clock;
use bellwire::engine::work::{abandon, is_joint, work, work_together};
use bellwire::http::{self, Face};
use bellwire::hub::{self, Hub, Registry};
use bellwire::model::channel::{Channel, ChannelKind, ResponseFilter};
use bellwire::model::environment::{self, Environment};
use bellwire::model::guide::{Guide, Guides, Order};
use bellwire::model::mark::Mark;
use bellwire::model::workflow::Workflow;
use bellwire::queue::{self, Queue, WORKERS, Waker};
use bellwire::sign::api_key::{ApiKey, Kind};
use bellwire::store::guides::Membership;
use bellwire::store::jobs::Line;
use bellwire::store::keys::ApiKeyRow;
use bellwire::store::{Batch, Store};
use bellwire::verbs::mark::Reach;
use bellwire::verbs::{Catalog, Change, Core, Shared};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Ws;
use uuid::Uuid;

use super::{PATIENCE, settings, until};
use crate::process::call;
use crate::support::redis::RedisServer;
use crate::support::{FEED, GUIDES, START};

/// A database, and what lets one in.
struct Town {
    store: Store,
    environment: Environment,
    key: String,
    secret: String,
    directory: PathBuf,
}

/// One of the nodes over it.
struct Node {
    core: Shared,
    registry: Registry,
    hub: Hub,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
}

impl Drop for Town {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

impl Town {
    async fn found() -> Town {
        let directory = std::env::temp_dir().join(format!("bellwire-town-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&directory).unwrap();
        let store = Store::open(&directory.join("bellwire.db")).unwrap();
        let row = store.ensure_environment("development", START).await.unwrap();
        let settings = environment::Settings { all_vars: json!({}), ..Default::default() };
        let environment = Environment { number: row.number, id: row.id, slug: row.slug, settings };
        let mut keys = Vec::new();
        for kind in [Kind::Public, Kind::Secret] {
            let key = ApiKey::mint(kind, [u8::from(kind == Kind::Public); 32]);
            let mut batch = Batch::new();
            batch.add_api_key(&ApiKeyRow {
                digest: key.digest(),
                env: environment.number,
                kind: String::new(),
                name: String::new(),
                hint: String::new(),
                created_at: START,
                revoked_at: None,
                scope: None,
            });
            store.apply(batch).await.unwrap();
            keys.push(key.reveal().to_owned());
        }
        let (secret, key) = (keys.remove(1), keys.remove(0));
        Town { store, environment, key, secret, directory }
    }

    async fn node(&self, settings: Settings) -> Node {
        let channel = Channel {
            id: FEED.parse().unwrap(),
            key: "in-app-feed".to_owned(),
            name: "Bell".to_owned(),
            kind: ChannelKind::InAppFeed,
            provider: Channel::FEED_PROVIDER.to_owned(),
            created_at: START,
            updated_at: START,
            conditions: None,
            response_filter: ResponseFilter::default(),
        };
        let document = json!({"name": "Comment", "steps": [{"type": "channel", "ref": "in_app_feed_1",
            "channel_key": "in-app-feed", "channel_type": "in_app_feed",
            "template": {"markdown_body": "Hello {{ data.n }}", "action_url": "/"}}]});
        let guides = Channel {
            id: GUIDES.parse().unwrap(),
            key: "in-app-guide".to_owned(),
            name: "Guides".to_owned(),
            kind: ChannelKind::InAppGuide,
            provider: Channel::GUIDE_PROVIDER.to_owned(),
            created_at: START,
            updated_at: START,
            conditions: None,
            response_filter: ResponseFilter::default(),
        };
        let channels = vec![channel, guides];
        let workflow = Workflow::parse("comment", &document, &channels).unwrap();
        let mut batch = Batch::new();
        batch.publish_workflow(self.environment.number, "comment", workflow.version_id, &workflow.source, START);
        self.store.apply(batch).await.unwrap();
        let registry = Registry::new();
        let core = Arc::new(Core {
            store: self.store.clone(),
            bus: Bus::start(settings, registry.clone()).await.unwrap(),
            clock: Clock::system(),
            waker: Waker::default(),
            outside: Default::default(),
            catalog: Catalog::new(vec![self.environment.clone()], channels, vec![workflow]),
            rings: Default::default(),
            turns: Default::default(),
            sightings: Default::default(),
            metrics: Default::default(),
        });
        let welcome = json!({"name": "Welcome", "steps": [{"type": "channel", "ref": "tour",
            "channel_key": "in-app-guide", "channel_type": "in_app_guide", "guide_key": "tour"}]});
        let welcome = Workflow::parse("welcome", &welcome, core.catalog.channels()).unwrap();
        let tour =
            json!({"name": "Tour", "channel_key": "in-app-guide", "steps": [{"ref": "one", "schema_key": "card"}]});
        let guides = Guides::new(vec![Guide::parse("tour", &tour).unwrap()], Order::default()).targeted_by([&welcome]);
        core.declare_guides(&guides).await.unwrap();
        core.catalog.replace_guides(guides);
        let hub = Hub::new(Arc::clone(&core), registry.clone(), hub::Settings::default());
        let (sockets, (stop, stopped)) = (hub.clone(), watch::channel(false));
        let limits = http::limits::Limits::off();
        let face = Face::new(
            Arc::clone(&core),
            http::Settings { limits, ..Default::default() },
            Box::new(move |request| {
                let sockets = sockets.clone();
                Box::pin(async move { sockets.upgrade(request).await })
            }),
            Vec::new(),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(http::serve(listener, Arc::new(face), stopped.clone()));
        let (worker, closer) = (Arc::clone(&core), Arc::clone(&core));
        let caller = Arc::clone(&core);
        let queue = Queue {
            store: core.store.clone(),
            clock: core.clock.clone(),
            waker: core.waker.clone(),
            metrics: core.metrics.jobs.clone(),
            line: Line::Own,
            workers: WORKERS,
            is_joint,
            call: move || caller.bus.call(),
        };
        let leader = Arc::clone(&core);
        tokio::spawn(queue::run(
            queue,
            stopped,
            move |job| {
                let core = Arc::clone(&worker);
                async move { work(&core, &job).await }
            },
            move |jobs| {
                let core = Arc::clone(&leader);
                async move { work_together(&core, jobs).await }
            },
            move |job, why: String| {
                let core = Arc::clone(&closer);
                async move { abandon(&core, &job, &why).await }
            },
        ));
        until("the bus is well", || core.bus.health().is_well()).await;
        Node { core, registry, hub, address, _stop: stop }
    }

    async fn socket(&self, node: &Node) -> WebSocketStream<TcpStream> {
        let stream = TcpStream::connect(node.address).await.unwrap();
        let url = format!("ws://{}/ws/v1/websocket?api_key={}&vsn=2.0.0", node.address, self.key);
        tokio_tungstenite::client_async(url, stream).await.unwrap().0
    }

    /// A bell of the user on a node, joined; our own client's, which is told everything.
    async fn bell(&self, node: &Node, user: &str) -> Bell {
        let stream = self.socket(node).await;
        let mut bell = Bell { stream, version: 0, items: Vec::new(), counts: Value::Null };
        let topic = format!("feeds:{FEED}:{user}");
        bell.stream.send(Ws::text(json!(["1", "1", topic, "phx_join", {"bellwire": {}}]).to_string())).await.unwrap();
        bell.hear_until("the feed as it stands", |bell| !bell.counts.is_null()).await;
        bell
    }

    async fn get(&self, node: &Node, path: &str) -> (u16, Value) {
        let reply = call(node.address, &self.secret, Method::GET, path, None, Value::Null).await.unwrap();
        (reply.status, reply.body)
    }

    async fn trigger(&self, node: &Node, user: &str, n: i64) {
        let body = json!({"recipients": [{"id": user}], "data": {"n": n}});
        let reply = call(node.address, &self.secret, Method::POST, "/v1/workflows/comment/trigger", None, body).await;
        assert_eq!(reply.unwrap().status, 200);
    }
}

/// A client that keeps what it is told as our widget does, and fails when it is told anything twice or out of order.
struct Bell {
    stream: WebSocketStream<TcpStream>,
    version: i64,
    /// Ids of the items, in the order in which they came.
    items: Vec<String>,
    counts: Value,
}

impl Bell {
    async fn hear(&mut self) {
        let message = timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
        let Ws::Text(text) = message.expect("an open socket").expect("a whole frame") else { return };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let payload = &frame[4];
        let version = payload["version"].as_i64();
        match frame[3].as_str() {
            Some("feed.snapshot") => assert_eq!(self.version, 0, "it was told everything already: {text}"),
            Some("feed.delta") => {
                assert_eq!(payload["since"].as_i64(), Some(self.version), "a gap, or something twice: {text}");
                assert!(version > Some(self.version), "{text}");
                // Newest first.
                for item in payload["items"].as_array().unwrap().iter().rev() {
                    let id = item["id"].as_str().unwrap().to_owned();
                    if !self.items.contains(&id) {
                        self.items.push(id);
                    }
                }
            }
            _ => return,
        }
        self.version = version.unwrap();
        self.counts = payload["counts"].clone();
    }

    async fn hear_until(&mut self, what: &str, is_so: impl Fn(&Bell) -> bool) {
        while !is_so(self) {
            timeout(PATIENCE, self.hear()).await.unwrap_or_else(|_| panic!("it is not told {what}"));
        }
    }

    fn count(&self, name: &str) -> i64 {
        self.counts[name].as_i64().unwrap_or(-1)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn items_and_marks_of_one_node_reach_the_sockets_of_another_once_and_in_order() {
    let redis = RedisServer::start(&[]);
    let town = Town::found().await;
    let one = town.node(settings(&[redis.url()])).await;
    let two = town.node(Settings { grace: Duration::from_millis(100), ..settings(&[redis.url()]) }).await;
    let (mut here, mut there) = (town.bell(&one, "ann").await, town.bell(&two, "ann").await);
    for n in 1..=20 {
        town.trigger(if n % 2 == 0 { &one } else { &two }, "ann", n).await;
    }
    for bell in [&mut here, &mut there] {
        bell.hear_until("20 items", |bell| bell.items.len() == 20).await;
        assert_eq!((bell.count("total_count"), bell.count("unseen_count"), bell.version), (20, 20, 20));
    }
    assert_eq!(here.items, there.items);
    one.core.mark(1, &here.items[..5], Mark::Seen, None, &Reach::default()).await.unwrap();
    for bell in [&mut here, &mut there] {
        bell.hear_until("the mark", |bell| bell.count("unseen_count") == 15).await;
    }
    let (status, presence) = town.get(&one, "/v1/users/ann/presence").await;
    assert!(presence["last_seen_at"].is_string(), "whoever is online is seen now");
    assert_eq!((status, without_time(presence)), (200, json!({"online": true, "nodes": 2})));
    let nobody = json!({"online": false, "nodes": 0, "last_seen_at": null});
    assert_eq!(town.get(&two, "/v1/users/eve/presence").await.1, nobody);
    assert_eq!(two.hub.sockets(), 1);
    assert!(one.core.bus.stats().received > 0);
    assert_eq!((one.core.bus.stats().watched, two.core.bus.stats().watched), (1, 1));
    drop(there);
    until("nobody on the node wants its news", || two.core.bus.stats().watched == 0).await;
    until("they are not sent there", || redis.ask(&["PUBSUB", "NUMSUB", "bellwire:1:ann"]).ends_with('1')).await;
    let presence = town.get(&two, "/v1/users/ann/presence").await.1;
    assert_eq!(without_time(presence), json!({"online": true, "nodes": 1}));
}

/// W-CHS-20 F-SOC-22: the step is executed on one node, and the user's page is open on another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_step_brings_to_a_guide_is_told_on_whichever_node_their_page_is() {
    let mut redis = RedisServer::start(&[]);
    let town = Town::found().await;
    let one = town.node(settings(&[redis.url()])).await;
    let two = town.node(Settings { grace: Duration::from_millis(100), ..settings(&[redis.url()]) }).await;
    let mut page = town.socket(&two).await;
    let topic = format!("guides:{GUIDES}");
    page.send(Ws::text(json!(["1", "1", topic, "phx_join", {"user_id": "ann"}]).to_string())).await.unwrap();
    let mut next = async || {
        let message = timeout(PATIENCE, page.next()).await.expect("a frame in time").expect("an open socket");
        serde_json::from_str::<Value>(message.expect("a whole frame").to_text().unwrap()).unwrap()
    };
    assert_eq!(next().await[3], "phx_reply", "F-SOC-21");
    let mut change = Change::new();
    let brought = Membership { guide: "tour".to_owned(), tenant: None };
    change.bring_to_guide(1, GUIDES, "ann", &brought, one.core.clock.now());
    one.core.commit(change).await.unwrap();
    let told = next().await;
    assert_eq!((&told[3], &told[4]["data"]["guide"]["key"]), (&json!("guide.added"), &json!("tour")));
    // What passes while Redis is gone is told once it is back, whoever has lost the news of it.
    redis.kill();
    until("it is noticed", || !one.core.bus.health().is_well() && !two.core.bus.health().is_well()).await;
    let mut batch = Batch::new();
    let again = Membership { tenant: Some("acme".to_owned()), ..brought };
    batch.add_guide_member(1, "ann", &again, one.core.clock.now());
    town.store.apply(batch).await.unwrap();
    redis.run();
    assert_eq!(next().await[3], "guide.added", "no news of it have come");
    until("both are well", || one.core.bus.health().is_well() && two.core.bus.health().is_well()).await;
    let presence = town.get(&one, "/v1/users/ann/presence").await.1;
    assert_eq!(without_time(presence), json!({"online": true, "nodes": 1}), "a page with guides is a page");
    drop(page);
    until("nobody on the node wants their news", || two.core.bus.stats().watched == 0).await;
}

/// How somebody was found, but for when.
fn without_time(mut presence: Value) -> Value {
    presence.as_object_mut().unwrap().remove("last_seen_at").expect("it is said");
    presence
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passed_while_redis_was_gone_is_told_once_it_is_back() {
    let mut redis = RedisServer::start(&[]);
    let town = Town::found().await;
    let quick = || Settings { waiting_events: 1, ..settings(&[redis.url()]) };
    let (one, two) = (town.node(quick()).await, town.node(quick()).await);
    let (mut here, mut there) = (town.bell(&one, "ann").await, town.bell(&two, "ann").await);
    town.trigger(&one, "ann", 1).await;
    there.hear_until("the first", |bell| bell.items.len() == 1).await;
    redis.kill();
    until("it is noticed", || !two.core.bus.health().is_well()).await;
    assert_eq!(town.get(&two, "/readyz").await.0, 503);
    for n in 2..=6 {
        town.trigger(&one, "ann", n).await;
    }
    here.hear_until("all: its own node tells it at once", |bell| bell.items.len() == 6).await;
    // One who joins meanwhile is told what there is; and what comes later, once it can be.
    let mut late = town.bell(&two, "bob").await;
    town.trigger(&one, "bob", 1).await;
    redis.run();
    there.hear_until("what passed", |bell| bell.items.len() == 6).await;
    assert_eq!((there.count("total_count"), &there.items), (6, &here.items));
    late.hear_until("what passed after it joined", |bell| bell.items.len() == 1).await;
    until("both are well", || one.core.bus.health().is_well() && two.core.bus.health().is_well()).await;
    assert_eq!(town.get(&two, "/readyz").await.0, 200);
    town.trigger(&one, "ann", 7).await;
    there.hear_until("news again", |bell| bell.items.len() == 7).await;
    assert_eq!((there.count("total_count"), there.version), (7, 7));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_of_the_database_tells_what_no_news_told() {
    let town = Town::found().await;
    // Two nodes that know nothing of each other.
    let (one, two) = (town.node(Settings::default()).await, town.node(Settings::default()).await);
    let mut there = town.bell(&two, "ann").await;
    town.trigger(&one, "ann", 1).await;
    town.trigger(&one, "ann", 2).await;
    two.registry.suspect([(1, FEED, "ann", 2), (1, FEED, "bob", 9), (1, "no uuid", "ann", 9)]);
    there.hear_until("both", |bell| bell.items.len() == 2).await;
    // What it knows it is not told again.
    two.registry.suspect([(1, FEED, "ann", 2)]);
    town.trigger(&two, "ann", 3).await;
    there.hear_until("the third", |bell| bell.items.len() == 3).await;
    assert_eq!(there.version, 3);
    let (_, presence) = town.get(&two, "/v1/users/ann/presence").await;
    assert_eq!(without_time(presence), json!({"online": true, "nodes": 1}), "embedded, too");
    let presence = town.get(&one, "/v1/users/ann/presence").await.1;
    assert_eq!(without_time(presence), json!({"online": false, "nodes": 0}));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joins_and_changes_at_the_same_time_leave_nobody_behind() {
    const USERS: usize = 40;
    let redis = RedisServer::start(&[]);
    let town = Arc::new(Town::found().await);
    let one = Arc::new(town.node(settings(&[redis.url()])).await);
    let two = town.node(settings(&[redis.url()])).await;
    let told = Arc::clone(&town);
    let triggering = tokio::spawn(async move {
        for n in 1..=3 {
            for user in 0..USERS {
                told.trigger(&one, &format!("user-{user}"), n).await;
            }
        }
        one
    });
    let mut bells = Vec::new();
    for user in 0..USERS {
        bells.push(town.bell(&two, &format!("user-{user}")).await);
    }
    // It stays: what it published last may still wait to be sent.
    let _one = triggering.await.unwrap();
    for bell in &mut bells {
        bell.hear_until("all three", |bell| bell.count("total_count") == 3).await;
    }
}
