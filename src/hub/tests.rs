//! The hub over real sockets: a server on the loopback, a store in a file, clients that speak Phoenix.

mod simulation;

use std::collections::BTreeSet;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use hyper::service::service_fn;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message as Ws};
use uuid::Uuid;

use super::channels::feed::Name;
use super::*;
use crate::bus::{Bus, Listener as _};
use crate::clock::Clock;
use crate::model::channel::{Channel, ChannelKind, ResponseFilter};
use crate::model::environment::{Environment, Settings as EnvironmentSettings};
use crate::model::guide::{Guide, Order};
use crate::model::ids::Ksuid;
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::recipient::RecipientRef;
use crate::model::workflow::Workflow;
use crate::queue::Waker;
use crate::sign::issue::sign_hs256;
use crate::store::guides::Membership;
use crate::store::keys::{ApiKeyRow, SigningKeyRow};
use crate::store::{Batch, Store};
use crate::verbs::change::FeedName;
use crate::verbs::identify::Profile;
use crate::verbs::mark::Reach;
use crate::verbs::{Catalog, Change, Core};

const FEED: Uuid = Uuid::from_u128(0x5f3c_1d6e_0000_4000_8000_0000_0000_0001);
const GUIDES: Uuid = Uuid::from_u128(0x5f3c_1d6e_0000_4000_8000_0000_0000_0003);
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Time = Time::from_micros(1_790_000_000_000_000);
const PATIENCE: Duration = Duration::from_secs(20);

struct House {
    core: Shared,
    hub: Hub,
    key: String,
    secret_key: String,
    address: std::net::SocketAddr,
    directory: PathBuf,
}

impl Drop for House {
    fn drop(&mut self) {
        _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn channel(id: Uuid, kind: ChannelKind) -> Channel {
    Channel {
        id,
        key: format!("channel-{}", id.as_u128() % 10),
        name: "Bell".into(),
        kind,
        provider: Channel::FEED_PROVIDER.into(),
        created_at: NOW,
        updated_at: NOW,
        conditions: None,
        response_filter: ResponseFilter::default(),
    }
}

async fn house(is_enhanced: bool) -> House {
    house_swept(is_enhanced, Duration::from_millis(64)).await
}

async fn house_swept(is_enhanced: bool, sweep: Duration) -> House {
    house_with(is_enhanced, Settings { sweep, ..Settings::default() }).await
}

async fn house_with(is_enhanced: bool, settings: Settings) -> House {
    house_by(Clock::manual(NOW), is_enhanced, settings).await
}

async fn house_by(clock: Clock, is_enhanced: bool, settings: Settings) -> House {
    let directory = std::env::temp_dir().join(format!("bellwire-hub-{}", Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = Store::open(&directory.join("test.db")).unwrap();
    let row = store.ensure_environment("development", NOW).await.unwrap();
    let own = EnvironmentSettings { enhanced_security: is_enhanced, ..EnvironmentSettings::default() };
    let environment = Environment { number: row.number, id: row.id, slug: row.slug, settings: own };
    let (public, secret) = (ApiKey::mint(Kind::Public, [1; 32]), ApiKey::mint(Kind::Secret, [2; 32]));
    let mut batch = Batch::new();
    for key in [&public, &secret] {
        batch.add_api_key(&row_of(key));
    }
    batch.add_signing_key(&SigningKeyRow {
        env: row.number,
        kid: "k1".into(),
        alg: "hs256".into(),
        material: URL_SAFE_NO_PAD.encode(SECRET),
        created_at: NOW,
        retired_at: None,
    });
    store.apply(batch).await.unwrap();
    let channels = vec![
        channel(FEED, ChannelKind::InAppFeed),
        channel(Uuid::from_u128(2), ChannelKind::Email),
        channel(GUIDES, ChannelKind::InAppGuide),
    ];
    let registry = Registry::new();
    let listener = registry.clone();
    let core = Arc::new(Core {
        store,
        bus: Bus::local(move |event| listener.heard(event)),
        clock,
        waker: Waker::default(),
        outside: Default::default(),
        catalog: Catalog::new(vec![environment], channels, Vec::new()),
        rings: Default::default(),
        turns: Default::default(),
        sightings: Default::default(),
        metrics: Default::default(),
    });
    let hub = Hub::new(Arc::clone(&core), registry, settings);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    socket2::SockRef::from(&listener).set_tcp_nodelay(true).unwrap();
    let address = listener.local_addr().unwrap();
    let served = hub.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let hub = served.clone();
            let service = service_fn(move |request| {
                let hub = hub.clone();
                async move { Ok::<_, std::convert::Infallible>(hub.upgrade(request).await) }
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
        }
    });
    House { core, hub, key: public.reveal().into(), secret_key: secret.reveal().into(), address, directory }
}

fn row_of(key: &ApiKey) -> ApiKeyRow {
    ApiKeyRow {
        digest: key.digest(),
        env: 1,
        kind: String::new(),
        name: String::new(),
        hint: String::new(),
        created_at: NOW,
        revoked_at: None,
        scope: None,
    }
}

fn token(claims: &Value) -> String {
    sign_hs256(claims, SECRET, Some("k1"))
}

fn topic(user: &str) -> String {
    format!("feeds:{FEED}:{user}")
}

impl House {
    async fn connect(&self, query: &str) -> Result<Client, u16> {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let url = format!("ws://{}/ws/v1/websocket?{query}", self.address);
        match tokio_tungstenite::client_async(url, stream).await {
            Ok((stream, _)) => Ok(Client { stream }),
            Err(WsError::Http(response)) => {
                assert!(response.body().as_deref().unwrap_or_default().is_empty(), "F-SOC-04");
                Err(response.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// The figure called `name`, with its labels.
    #[track_caller]
    fn figure(&self, name: &str) -> u64 {
        let text = self.core.metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn client(&self) -> Client {
        self.connect(&format!("&api_key={}&&vsn=2.0.0", self.key)).await.expect("to be let in")
    }

    async fn client_of(&self, claims: &Value) -> Client {
        let query = format!("user_token={}&api_key={}&vsn=2.0.0", token(claims), self.key);
        self.connect(&query).await.expect("to be let in")
    }

    /// Changes rows as another process may.
    async fn change(&self, add: impl FnOnce(&mut Batch, Time)) {
        let mut batch = Batch::new();
        add(&mut batch, self.core.clock.now());
        self.core.store.apply(batch).await.unwrap();
    }

    /// Makes a second public key.
    async fn another_key(&self) -> String {
        let key = ApiKey::mint(Kind::Public, [3; 32]);
        self.change(|batch, _| batch.add_api_key(&row_of(&key))).await;
        key.reveal().to_owned()
    }

    /// Does a whole round of the sweep at once.
    async fn sweep(&self) {
        let inner = &self.hub.inner;
        let now = self.core.clock.steady();
        inner.registry.pass(now);
        inner.registry.end_bursts(now);
        inner.inspect_passes().await;
        inner.registry.gallery().woken.notify_one();
        inner.links.iter().for_each(|shard| inner.nudge(shard));
    }

    /// Lets so much time pass that whoever was told to look has looked.
    async fn after_a_while(&self) {
        self.core.clock.advance_seconds(1);
        self.sweep().await;
    }

    fn message(&self, user: &str, tenant: Option<&str>, data: &Value) -> Message {
        let id = Ksuid::mint(self.core.clock.now(), &[Uuid::new_v4().as_bytes()]).to_string();
        Message {
            tenant: tenant.map(str::to_owned),
            workflow: "comment".into(),
            version_id: "v".into(),
            step_ref: "feed_1".into(),
            data: data.to_string().into(),
            ..Message::new(id, 1, FEED.to_string(), RecipientRef::User(user.into()), self.core.clock.now())
        }
    }

    async fn notify_in(&self, user: &str, tenant: Option<&str>) -> String {
        let message = self.message(user, tenant, &json!({"n": 1}));
        let id = message.id.clone();
        let mut change = Change::new();
        change.add_message(message, true);
        self.core.commit(change).await.unwrap();
        id
    }

    async fn notify(&self, user: &str) -> String {
        self.notify_in(user, None).await
    }

    async fn mark(&self, id: &str, mark: Mark) {
        self.core.mark(1, &[id.to_owned()], mark, None, &Reach::default()).await.unwrap();
    }
}

struct Client {
    stream: WebSocketStream<TcpStream>,
}

impl Client {
    async fn say(&mut self, frame: Value) {
        self.stream.send(Ws::text(frame.to_string())).await.unwrap();
    }

    /// The next frame, as JSON.
    async fn next(&mut self) -> Value {
        loop {
            let message = tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("a frame in time");
            match message.expect("an open socket").expect("a whole frame") {
                Ws::Text(text) => {
                    assert!(!text[..text.len().min(20)].contains(", "), "compact JSON: {text}");
                    return serde_json::from_str(&text).unwrap();
                }
                Ws::Close(frame) => panic!("closed: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The code with which the server closes.
    async fn closed(&mut self) -> Option<u16> {
        loop {
            match tokio::time::timeout(PATIENCE, self.stream.next()).await.expect("an end in time") {
                Some(Ok(Ws::Close(frame))) => return frame.map(|frame| frame.code.into()),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    }

    /// Joins a feed; the answer.
    async fn join(&mut self, join_ref: &str, user: &str, payload: Value) -> Value {
        self.say(json!([join_ref, join_ref, topic(user), "phx_join", payload])).await;
        let answer = self.next().await;
        assert_eq!((&answer[0], &answer[1], &answer[3]), (&json!(join_ref), &json!(join_ref), &json!("phx_reply")));
        answer[4].clone()
    }

    /// That nothing else was said up to now.
    async fn quiet(&mut self) {
        self.say(json!([null, "quiet", "phoenix", "heartbeat", {}])).await;
        let answer = self.next().await;
        assert_eq!(
            answer,
            json!([null, "quiet", "phoenix", "phx_reply", {"status": "ok", "response": {}}]),
            "F-SOC-05"
        );
    }
}

fn ok() -> Value {
    json!({"status": "ok", "response": {}})
}

fn counts(total: i64, unread: i64, unseen: i64) -> Value {
    json!({"total_count": total, "unread_count": unread, "unseen_count": unseen})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_let_in_is_refused_before_the_upgrade() {
    let house = house(true).await;
    let (pk, sk) = (&house.key, &house.secret_key);
    let good = token(&json!({"sub": "ann"}));
    let late = token(&json!({"sub": "ann", "exp": NOW.seconds() - 61}));
    for (query, expected, rule) in [
        (format!("user_token={good}&api_key={pk}&&vsn=2.0.0"), Ok(()), "F-SOC-01 F-SOC-02"),
        (format!("vsn=2.0.0&vsn=2.0.0&api_key={pk}&user_token={good}"), Ok(()), "F-SOC-01"),
        (format!("?&api_key={pk}&&vsn=2.0.0"), Err(403), "F-SOC-04: no token under enhanced security"),
        (format!("vsn=2.0.0&api_key={pk}&user_token="), Err(403), "F-SOC-04"),
        (format!("user_token={late}&api_key={pk}&vsn=2.0.0"), Err(403), "F-SOC-04"),
        (format!("user_token=x&api_key={pk}&vsn=2.0.0"), Err(403), "F-SOC-04"),
        (format!("user_token={good}&vsn=2.0.0"), Err(403), "F-SOC-04"),
        (format!("user_token={good}&api_key=pk_unknown&vsn=2.0.0"), Err(403), "F-SOC-04"),
        (format!("user_token={good}&api_key={sk}&vsn=2.0.0"), Err(403), "F-AMB-52"),
        (format!("user_token={good}&api_key={pk}&vsn=9.0.0"), Err(403), "F-SOC-01"),
        (format!("user_token={good}&api_key={pk}"), Ok(()), "no vsn is the first serializer"),
    ] {
        assert_eq!(house.connect(&query).await.map(drop), expected, "{rule} {query}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_no_upgrade_is_bad() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let house = house(false).await;
    for path in ["/ws/v1/websocket", "/ws/v1/longpoll"] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let request = format!("GET {path}?api_key={} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n", house.key);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "F-SOC-27 {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_official_client_is_told_of_a_new_message_once_it_can_be_read() {
    let house = house(false).await;
    let (mut ann, mut bob) = (house.client().await, house.client().await);
    let payload = json!({"client_a": {"archived": "exclude", "mode": "compact"}, "client_b": {"status": "read"}});
    assert_eq!(ann.join("7", "ann", payload).await, ok(), "F-SOC-06 F-SOC-09");
    assert_eq!(bob.join("1", "bob", json!({"client_c": {}})).await, ok());
    house.notify("ann").await;
    let frame = ann.next().await;
    let told = json!(["7", null, topic("ann"), "new-message", {
        "event": "new-message",
        "attn": ["client_a"],
        "data": {"client_a": {"metadata": counts(1, 1, 1)}},
        "metadata": counts(1, 1, 1),
    }]);
    assert_eq!(frame, told, "F-SOC-13 F-SOC-14 F-SOC-15 F-SOC-16");
    assert_eq!(house.core.store.feed_head(1, &FEED.to_string(), "ann").await.unwrap().active.total, 1, "F-SOC-18");
    ann.quiet().await;
    bob.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counts_are_those_of_each_feeds_filters_and_no_feed_hears_of_what_it_does_not_show() {
    let house = house(false).await;
    house.notify_in("ann", Some("acme")).await;
    let mut ann = house.client().await;
    let payload = json!({
        "client_acme": {"tenant": "acme"},
        "client_only": {"tenant": "acme", "has_tenant": true},
        "client_unread": {"tenant": "acme", "status": "unread"},
    });
    assert_eq!(ann.join("1", "ann", payload).await, ok());
    assert_eq!(ann.next().await[3], json!("new-message"), "there is something to look at");
    house.notify_in("ann", Some("other")).await;
    ann.quiet().await; // F-SOC-17 F-SOC-20
    house.notify("ann").await;
    let frame = ann.next().await;
    assert_eq!(frame[4]["attn"], json!(["client_acme", "client_unread"]), "F-SOC-15 F-SOC-20");
    assert_eq!(frame[4]["data"]["client_acme"]["metadata"], counts(2, 2, 2), "F-SOC-15");
    assert_eq!(frame[4]["metadata"], counts(3, 3, 3), "F-SOC-16");
    let id = house.notify_in("ann", Some("acme")).await;
    assert_eq!(ann.next().await[4]["attn"], json!(["client_acme", "client_only", "client_unread"]));
    house.mark(&id, Mark::Read).await;
    let frame = ann.next().await;
    assert_eq!(frame[4]["data"]["client_only"]["metadata"], counts(2, 1, 2), "F-STA-23 overridden");
    let unread = &frame[4]["data"]["client_unread"]["metadata"];
    assert_eq!(*unread, counts(3, 2, 3), "badges leave the status out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_names_no_feed_is_told_too() {
    let house = house(false).await;
    let mut old = house.client().await;
    let payload = json!({"archived": "EXCLUDE", "tenant": "acme", "status": null, "trigger_data": {}});
    assert_eq!(old.join("1", "ann", payload).await, ok(), "F-SOC-28");
    house.notify_in("ann", Some("other")).await;
    house.notify_in("ann", Some("acme")).await;
    let frame = old.next().await;
    let expected = json!({"event": "new-message", "attn": [], "data": {}, "metadata": counts(1, 1, 1)});
    assert_eq!(frame[4], expected, "F-SOC-28 F-SOC-20");
    old.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_device_marks_shows_on_official_clients() {
    let house = house(false).await;
    let id = house.notify("ann").await;
    let mut ann = house.client().await;
    assert_eq!(ann.join("1", "ann", json!({"client_a": {}})).await, ok());
    assert_eq!(ann.next().await[3], json!("new-message"), "there is something to look at");
    house.mark(&id, Mark::Seen).await;
    let frame = ann.next().await;
    assert_eq!(frame[4]["data"]["client_a"]["metadata"], counts(1, 1, 0), "F-STA-23 overridden");
    house.mark(&id, Mark::Archived).await;
    assert_eq!(ann.next().await[4]["metadata"], counts(0, 0, 0), "F-STA-23 overridden");
    house.mark(&id, Mark::Seen).await;
    ann.quiet().await; // No count changed.
}

/// An item that nobody had seen is updated: no count changes, and everybody hears of it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_updated_in_place_is_told_to_all() {
    let house = house(false).await;
    let id = house.notify("ann").await;
    let (mut stock, mut own, mut seen) = (house.client().await, house.client().await, house.client().await);
    assert_eq!(stock.join("1", "ann", json!({"client_a": {}, "client_seen": {"status": "seen"}})).await, ok());
    assert_eq!(stock.next().await[3], json!("new-message"), "there is something to look at");
    own.join("1", "ann", json!({"bellwire": {}})).await;
    assert_eq!(own.next().await[3], json!("feed.snapshot"));
    house.mark(&id, Mark::Seen).await;
    stock.next().await;
    own.next().await;
    seen.join("1", "ann", json!({"bellwire": {"status": "seen"}})).await;
    assert_eq!(seen.next().await[4]["entries"][0]["id"], json!(id));
    for unseen_before in [false, true] {
        let head = house.core.store.feed_head(1, &FEED.to_string(), "ann").await.unwrap();
        assert_eq!(head.active.unseen, i64::from(unseen_before));
        let message = Message { id: id.clone(), ..house.message("ann", None, &json!({"n": 2})) };
        let mut change = Change::new();
        change.replace_message(head.id, &message);
        house.core.commit(change).await.unwrap();
        let frame = stock.next().await;
        assert_eq!(frame[4]["attn"], json!(["client_a", "client_seen"]), "it may have been in any of them");
        assert_eq!(frame[4]["metadata"], counts(1, 1, 1));
        let delta = own.next().await;
        assert_eq!(delta[3], json!("feed.delta"));
        assert_eq!(delta[4]["items"][0]["id"], json!(id));
        assert_eq!((&delta[4]["items"][0]["data"], &delta[4]["counts"]), (&json!({"n": 2}), &counts(1, 1, 1)));
        let gone = seen.next().await;
        assert_eq!((&gone[4]["items"], &gone[4]["removed"]), (&json!([]), &json!([id])), "it is unseen now");
    }
    // Whoever comes back is told, too, though an item that came meanwhile is none of theirs.
    stock.say(json!(["1", "2", topic("ann"), "phx_leave", {}])).await;
    stock.next().await;
    stock.next().await;
    let message = Message { id: id.clone(), ..house.message("ann", None, &json!({"n": 3})) };
    let mut change = Change::new();
    change.replace_message(house.core.store.feed_head(1, &FEED.to_string(), "ann").await.unwrap().id, &message);
    house.core.commit(change).await.unwrap();
    assert_eq!(stock.join("3", "ann", json!({"client_seen": {"status": "seen"}})).await, ok());
    assert_eq!(stock.next().await[4]["attn"], json!(["client_seen"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_turn_out_to_be_one_each_device_shows_what_is_theirs_then() {
    let house = house(false).await;
    let mut ids = Vec::new();
    for user in ["ann", "guest", "ann"] {
        house.core.identify_user(1, user, &Profile::default()).await.unwrap();
        ids.insert(0, house.notify(user).await);
        house.core.clock.advance_seconds(1);
    }
    let mut devices = Vec::new();
    for (user, count) in [("ann", 2), ("guest", 1)] {
        let (mut stock, mut own) = (house.client().await, house.client().await);
        assert_eq!(stock.join("1", user, json!({"client_a": {}})).await, ok());
        assert_eq!(stock.next().await[3], json!("new-message"), "there is something to look at");
        own.join("1", user, json!({"bellwire": {}})).await;
        assert_eq!(own.next().await[4]["counts"], counts(count, count, count));
        devices.push((stock, own));
    }
    house.core.merge_users(1, "ann", "guest").await.unwrap();
    for ((mut stock, mut own), expected) in devices.into_iter().zip([ids, Vec::new()]) {
        let count = expected.len() as i64;
        assert_eq!(stock.next().await[4]["metadata"], counts(count, count, count), "F-USR-15 F-USR-14");
        let frame = own.next().await;
        let shown: Vec<&Value> = frame[4]["entries"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!((&frame[3], json!(shown)), (&json!("feed.snapshot"), json!(expected)), "F-USR-15 F-USR-14");
        assert_eq!(frame[4]["counts"], counts(count, count, count));
        stock.quiet().await;
        own.quiet().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_revoked_is_gone_from_every_device() {
    let house = house(false).await;
    let id = house.notify("ann").await;
    house.notify("ann").await;
    let (mut stock, mut own) = (house.client().await, house.client().await);
    assert_eq!(stock.join("1", "ann", json!({"client_a": {}})).await, ok());
    assert_eq!(stock.next().await[3], json!("new-message"), "there is something to look at");
    own.join("1", "ann", json!({"bellwire": {}})).await;
    assert_eq!(own.next().await[4]["counts"], counts(2, 2, 2));
    assert_eq!(house.core.revoke(1, std::slice::from_ref(&id)).await.unwrap(), 1);
    assert_eq!(stock.next().await[4]["metadata"], counts(1, 1, 1));
    let delta = own.next().await;
    assert_eq!((&delta[4]["removed"], &delta[4]["counts"]), (&json!([id]), &counts(1, 1, 1)));
    // Once more it is no news; nor is what a device says of an item that it has not yet taken away.
    assert_eq!(house.core.revoke(1, std::slice::from_ref(&id)).await.unwrap(), 0);
    own.say(json!(["1", "2", topic("ann"), "feed.mark", {"as": "read", "ids": [id]}])).await;
    let response = json!({"version": 3, "at": house.core.clock.now(), "counts": counts(1, 1, 1)});
    assert_eq!(own.next().await[4]["response"], response);
    assert_eq!(house.core.store.message(1, &id).await.unwrap().unwrap().read_at, None);
    stock.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_somebody_came_or_went_last_is_written_down_and_nobody_is_who_is_not_known() {
    let house = house(false).await;
    house.core.identify_user(1, "ann", &Default::default()).await.unwrap();
    let seen = async || {
        house.core.write_sightings().await.unwrap();
        house.core.store.last_seen(1, &["ann", "bob"]).await.unwrap()
    };
    let (mut ann, mut again) = (house.client().await, house.client().await);
    let came = house.core.clock.now();
    ann.join("1", "ann", json!({"client_a": {}})).await;
    ann.join("2", "bob", json!({"client_b": {}})).await;
    assert_eq!(seen().await, [("ann".to_owned(), came)].into());
    house.core.clock.advance_seconds(60);
    again.join("1", "ann", json!({"client_c": {}})).await;
    ann.say(json!(["1", "3", topic("ann"), "phx_leave", {}])).await;
    ann.next().await;
    assert_eq!(seen().await["ann"], came, "they are still here, with the other");
    house.core.clock.advance_seconds(60);
    again.say(json!(["1", "2", topic("ann"), "phx_leave", {}])).await;
    again.next().await;
    let went = house.core.clock.now();
    assert_eq!(seen().await["ann"], went);
    // A node that writes late does not set it back.
    house.change(|batch, _| batch.note_seen(&[(1, "ann", came)])).await;
    assert_eq!(seen().await["ann"], went);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_join_is_refused_for_another_user_an_unknown_channel_or_topic() {
    let house = house(true).await;
    let mut ann = house.client_of(&json!({"sub": "ann"})).await;
    for (topic, expected) in [
        (topic("bob"), "The user token was made for another user."),
        (format!("feeds:{}:ann", Uuid::from_u128(2)), "the channel is not an in-app feed of this server"),
        (format!("feeds:{}:ann", Uuid::from_u128(9)), "the channel is not an in-app feed of this server"),
        (format!("guides:{FEED}"), "the channel is not an in-app guide channel of this server"),
    ] {
        ann.say(json!(["7", "8", topic, "phx_join", {}])).await;
        let refused = json!(["7", "8", topic, "phx_reply", {"status": "error", "response": {"reason": expected}}]);
        assert_eq!(ann.next().await, refused, "F-SOC-08 F-SOC-06");
    }
    assert_eq!(ann.join("9", "ann", json!({})).await, ok(), "F-SOC-08");
    let mut blind = house.client_of(&json!({"sub": "ann", "explicit_grants": true, "grants": {}})).await;
    assert_eq!(blind.join("1", "ann", json!({})).await["status"], "error", "F-SOC-08");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_to_guides_is_told_as_their_files_change() {
    let house = house(false).await;
    let (mut ann, mut bob) = (house.client().await, house.client().await);
    let topic = format!("guides:{GUIDES}");
    for (client, user) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        client.say(json!(["7", "7", topic, "phx_join", {"user_id": user, "data": {"name": user}}])).await;
        let joined = json!(["7", "7", topic, "phx_reply", {"status": "ok", "response": {}}]);
        assert_eq!(client.next().await, joined, "F-SOC-21");
    }
    let guide = |key: &str, text: &str, whom: Option<&str>| {
        let conditions =
            whom.map(|whom| json!({"all": [{"variable": "data.name", "operator": "equal_to", "argument": whom}]}));
        let steps = json!([{"ref": "step_1", "schema_key": "card", "values": {"text": text}}]);
        let document = json!({"name": key, "channel_key": channel(GUIDES, ChannelKind::InAppGuide).key, "steps": steps, "target_property_conditions": conditions});
        Guide::parse(key, &document).unwrap()
    };
    let declare = async |guides: Vec<Guide>, order: Value| {
        let guides = Guides::new(guides, Order::parse(&order).unwrap());
        house.core.declare_guides(&guides).await.unwrap();
        house.core.catalog.replace_guides(guides);
    };
    let wrapped = |event: &str, frame: &Value| {
        assert_eq!(
            (&frame[0], &frame[1], &frame[2], &frame[3]),
            (&json!("7"), &Value::Null, &json!(topic), &json!(event))
        );
        assert_eq!((&frame[4]["topic"], &frame[4]["event"]), (&json!(topic), &json!(event)), "F-SOC-22");
        frame[4]["data"].clone()
    };
    // A guide for one of them.
    declare(vec![guide("tour", "Hi {{ data.name }}", Some("ann"))], json!({})).await;
    let told = wrapped("guide.added", &ann.next().await);
    assert_eq!((&told["guide"]["key"], &told["eligible"]), (&json!("tour"), &json!(true)), "F-SOC-22");
    assert_eq!(told["guide"]["steps"][0]["content"]["text"], "Hi ann", "F-SOC-22");
    for client in [&mut ann, &mut bob] {
        let told = wrapped("guide_group.added", &client.next().await);
        assert_eq!(told["guide_group"]["display_sequence"], json!(["tour"]), "F-SOC-22");
    }
    // Another text, and for the other.
    declare(vec![guide("tour", "Hello", Some("bob"))], json!({})).await;
    for (client, eligible) in [(&mut ann, false), (&mut bob, true)] {
        let told = wrapped("guide.updated", &client.next().await);
        assert_eq!((&told["guide"]["key"], &told["eligible"]), (&json!("tour"), &json!(eligible)), "F-SOC-22");
        wrapped("guide_group.updated", &client.next().await);
    }
    // The order alone.
    declare(vec![guide("tour", "Hello", Some("bob"))], json!({"display_interval": 60})).await;
    for client in [&mut ann, &mut bob] {
        let told = wrapped("guide_group.updated", &client.next().await);
        assert_eq!(told["guide_group"]["display_interval"], 60, "F-SOC-22");
    }
    // One who has left is told no more; who joins again is told once.
    bob.say(json!(["7", "8", topic, "phx_leave", {}])).await;
    bob.next().await;
    bob.next().await;
    ann.say(json!(["9", "9", topic, "phx_join", {"user_id": "ann", "force_all_guides": true}])).await;
    ann.next().await;
    ann.next().await;
    declare(vec![guide("tour", "Hello again", Some("bob"))], json!({"display_interval": 60})).await;
    let told = ann.next().await;
    assert_eq!((&told[0], &told[4]["data"]["eligible"]), (&json!("9"), &json!(true)), "F-SOC-21: all are forced");
    ann.next().await;
    declare(vec![], json!({})).await;
    let told = ann.next().await;
    assert_eq!((&told[3], &told[4]["data"]), (&json!("guide.removed"), &json!({"guide": {"key": "tour"}})), "F-SOC-22");
    ann.quiet().await;
    bob.quiet().await;
    drop(ann);
    while house.hub.sockets() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.hub.inner.registry.gallery().len(), 0, "who is gone is forgotten");
}

/// A guide of `ann`'s that is shown from one instant to another.
fn timed_guide(from: Time, until: Time) -> Guide {
    let document = json!({
        "name": "Tour",
        "channel_key": channel(GUIDES, ChannelKind::InAppGuide).key,
        "active_from": from,
        "active_until": until,
        "target_property_conditions": {"all": [{"variable": "data.name", "operator": "equal_to", "argument": "ann"}]},
        "steps": [{"ref": "step_1", "schema_key": "card"}],
    });
    Guide::parse("tour", &document).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_to_guides_is_told_when_the_time_of_one_comes_and_when_it_passes() {
    let house = house(false).await;
    let (mut ann, mut bob) = (house.client().await, house.client().await);
    let topic = format!("guides:{GUIDES}");
    for (client, user) in [(&mut ann, "ann"), (&mut bob, "bob")] {
        client.say(json!(["7", "7", topic, "phx_join", {"user_id": user, "data": {"name": user}}])).await;
        client.next().await;
    }
    let guides = Guides::new(vec![timed_guide(NOW.plus_seconds(10), NOW.plus_seconds(20))], Order::default());
    house.core.declare_guides(&guides).await.unwrap();
    house.core.catalog.replace_guides(guides);
    for client in [&mut ann, &mut bob] {
        let told = client.next().await;
        assert_eq!(
            (&told[3], &told[4]["data"]["guide_group"]["display_sequence"]),
            (&json!("guide_group.added"), &json!([]))
        );
    }
    for (is_active, sequence) in [(true, json!(["tour"])), (false, json!([]))] {
        house.core.clock.advance(10_000_000 - 1);
        house.sweep().await;
        ann.quiet().await;
        house.core.clock.advance(1);
        house.sweep().await;
        for (client, is_meant) in [(&mut ann, true), (&mut bob, false)] {
            let told = client.next().await;
            assert_eq!(
                (&told[3], &told[4]["data"]["guide"]["key"]),
                (&json!("guide.updated"), &json!("tour")),
                "F-SOC-22"
            );
            assert_eq!(told[4]["data"]["eligible"], is_active && is_meant, "F-GDE-11 F-SOC-22");
            let told = client.next().await;
            assert_eq!(told[3], "guide_group.updated", "F-SOC-22");
            assert_eq!(told[4]["data"]["guide_group"]["display_sequence"], sequence, "F-GDE-05");
        }
    }
    // It is over: nothing is to come.
    house.after_a_while().await;
    ann.quiet().await;
    bob.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_of_a_guide_needs_no_sweep_to_come() {
    let settings = Settings { sweep: Duration::from_secs(3600), ..Settings::default() };
    let house = house_by(Clock::kept(NOW), false, settings).await;
    let mut ann = house.client().await;
    ann.say(json!(["7", "7", format!("guides:{GUIDES}"), "phx_join", {"user_id": "ann", "data": {"name": "ann"}}]))
        .await;
    ann.next().await;
    let from = house.core.clock.now().plus_micros(400_000);
    let guides = Guides::new(vec![timed_guide(from, from.plus_seconds(3600))], Order::default());
    house.core.declare_guides(&guides).await.unwrap();
    house.core.catalog.replace_guides(guides);
    assert_eq!(ann.next().await[3], "guide_group.added");
    let told = ann.next().await;
    assert_eq!((&told[3], &told[4]["data"]["eligible"]), (&json!("guide.updated"), &json!(true)), "F-SOC-22");
    assert!(house.core.clock.now() >= from, "not before its time");
    // Whoever has waited for one instant waits for another that comes earlier meanwhile.
    let until = house.core.clock.now().plus_micros(400_000);
    house.core.catalog.replace_guides(Guides::new(vec![timed_guide(from, until)], Order::default()));
    for eligible in [true, false] {
        assert_eq!(ann.next().await[3], "guide_group.updated");
        let told = ann.next().await;
        assert_eq!((&told[3], &told[4]["data"]["eligible"]), (&json!("guide.updated"), &json!(eligible)), "F-SOC-22");
    }
}

/// W-CHS-20: whom a step brings to a guide is told on every page that they have open, and nobody else is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_a_step_brings_to_a_guide_is_told_of_it_at_once() {
    let house = house(false).await;
    let topic = format!("guides:{GUIDES}");
    let (mut ann, mut phone, mut bob) = (house.client().await, house.client().await, house.client().await);
    for (client, user) in [(&mut ann, "ann"), (&mut phone, "ann"), (&mut bob, "bob")] {
        client.say(json!(["7", "7", topic, "phx_join", {"user_id": user}])).await;
        client.next().await;
    }
    let key = channel(GUIDES, ChannelKind::InAppGuide).key;
    let guide = |name: &str| {
        let document = json!({"name": name, "channel_key": key, "steps": [{"ref": "step_1", "schema_key": "card"}]});
        Guide::parse(name, &document).unwrap()
    };
    let steps = json!([{"type": "channel", "ref": "s", "channel_key": key, "channel_type": "in_app_guide", "guide_key": "tour"}]);
    let story = Workflow::parse("story", &json!({"name": "S", "steps": steps}), &[]).unwrap();
    let guides = Guides::new(vec![guide("tour"), guide("open")], Order::default()).targeted_by([&story]);
    house.core.declare_guides(&guides).await.unwrap();
    house.core.catalog.replace_guides(guides);
    for client in [&mut ann, &mut phone, &mut bob] {
        assert_eq!(client.next().await[4]["data"]["guide"]["key"], "open", "nobody has been brought to the other");
        assert_eq!(client.next().await[3], "guide_group.added");
    }
    let bring = async || {
        let mut change = Change::new();
        let brought = Membership { guide: "tour".to_owned(), tenant: None };
        change.bring_to_guide(1, &GUIDES.to_string(), "ann", &brought, house.core.clock.now());
        house.core.commit(change).await.unwrap();
    };
    bring().await;
    for client in [&mut ann, &mut phone] {
        let told = client.next().await;
        assert_eq!((&told[2], &told[3]), (&json!(topic), &json!("guide.added")), "F-SOC-22 W-CHS-20");
        assert_eq!((&told[4]["data"]["guide"]["key"], &told[4]["data"]["eligible"]), (&json!("tour"), &json!(true)));
    }
    // Nothing is new the second time, and who has left is told nothing.
    bring().await;
    house.after_a_while().await;
    ann.quiet().await;
    bob.quiet().await;
    let name = Name { env: 1, channel: GUIDES, user: "ann".into() };
    let gallery = house.hub.inner.registry.gallery();
    drop(phone);
    ann.say(json!(["7", "8", topic, "phx_leave", {}])).await;
    while gallery.has(&name) {
        tokio::task::yield_now().await;
    }
    assert!(house.hub.inner.registry.is_here(1, "bob") && !house.hub.inner.registry.is_here(1, "ann"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_has_the_feed_live_marks_in_it_and_resumes() {
    let house = house(false).await;
    let first = house.notify("ann").await;
    let (mut one, mut two) = (house.client().await, house.client().await);
    let welcome = json!({"status": "ok", "response": {"version": 1, "reconnect_ms": [250, 1000]}});
    assert_eq!(one.join("1", "ann", json!({"bellwire": {"since": null, "page_size": 2}})).await, welcome);
    let frame = one.next().await;
    assert_eq!((&frame[0], &frame[3]), (&json!("1"), &json!("feed.snapshot")));
    assert_eq!(frame[4]["entries"][0]["id"], json!(first));
    assert_eq!((&frame[4]["version"], &frame[4]["counts"]), (&json!(1), &counts(1, 1, 1)));
    assert_eq!(two.join("5", "ann", json!({"bellwire": {"since": 1}})).await, welcome);
    let nothing = json!({"since": 1, "version": 1, "counts": counts(1, 1, 1), "items": [], "removed": []});
    assert_eq!(two.next().await[4], nothing);

    // A live item comes with its counts, in one frame.
    let second = house.notify("ann").await;
    for client in [&mut one, &mut two] {
        let frame = client.next().await;
        assert_eq!(frame[3], "feed.delta");
        assert_eq!((&frame[4]["since"], &frame[4]["version"]), (&json!(1), &json!(2)));
        assert_eq!(frame[4]["items"][0]["id"], json!(second));
        assert_eq!(frame[4]["counts"], counts(2, 2, 2));
        assert_eq!(frame[4]["items"][0].get("activities"), None, "compact");
    }

    // A mark: the delta that brings it, then the answer; the other device sees it.
    one.say(json!(["1", "9", topic("ann"), "feed.mark", {"as": "read", "ids": [first]}])).await;
    let (delta, answer) = (one.next().await, one.next().await);
    assert_eq!(delta[4]["items"][0]["id"], json!(first));
    assert!(delta[4]["items"][0]["read_at"].is_string());
    let response = json!({"version": 3, "at": delta[4]["items"][0]["read_at"], "counts": counts(2, 1, 2)});
    assert_eq!(answer, json!(["1", "9", topic("ann"), "phx_reply", {"status": "ok", "response": response}]));
    let delta = two.next().await;
    assert_eq!((&delta[0], &delta[4]["version"], &delta[4]["counts"]), (&json!("5"), &json!(3), &counts(2, 1, 2)));

    // All at once, with a filter; archived items leave.
    one.say(
        json!(["1", "10", topic("ann"), "feed.mark", {"as": "archived", "all": true, "filter": {"status": "read"}}]),
    )
    .await;
    assert_eq!(one.next().await[4]["removed"], json!([first]));
    let response = json!({"version": 4, "at": house.core.clock.now(), "counts": counts(1, 1, 1)});
    assert_eq!(one.next().await[4]["response"], response);
    two.next().await;

    // Resume from where it was.
    drop(two);
    house.notify("ann").await;
    let mut two = house.client().await;
    let welcome = json!({"status": "ok", "response": {"version": 5, "reconnect_ms": [250, 1000]}});
    assert_eq!(two.join("1", "ann", json!({"bellwire": {"since": 3}})).await, welcome);
    let delta = two.next().await;
    assert_eq!(
        (&delta[4]["since"], &delta[4]["version"], &delta[4]["removed"]),
        (&json!(3), &json!(5), &json!([first]))
    );
    assert_eq!(delta[4]["items"].as_array().map(Vec::len), Some(1));

    // A version that nobody ever had starts anew.
    let mut three = house.client().await;
    assert_eq!(three.join("1", "ann", json!({"bellwire": {"since": 99}})).await, welcome);
    assert_eq!(three.next().await[3], "feed.snapshot");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_client_fetches_pages_and_what_it_missed() {
    let house = house(false).await;
    for _ in 0..3 {
        house.notify("ann").await;
    }
    let mut ann = house.client().await;
    ann.join("1", "ann", json!({"bellwire": {"page_size": 2, "mode": "rich"}})).await;
    let snapshot = ann.next().await;
    assert_eq!(snapshot[4]["entries"].as_array().map(Vec::len), Some(2));
    assert!(snapshot[4]["entries"][0]["activities"].is_array(), "rich");
    let after = snapshot[4]["page_info"]["after"].clone();
    ann.say(json!(["1", "2", topic("ann"), "feed.fetch", {"after": after, "page_size": 50}])).await;
    let page = ann.next().await[4]["response"].clone();
    assert_eq!((page["entries"].as_array().map(Vec::len), &page["version"]), (Some(1), &json!(3)));
    ann.say(json!(["1", "3", topic("ann"), "feed.fetch", {"since": 2}])).await;
    let delta = ann.next().await[4]["response"].clone();
    assert_eq!(
        (&delta["since"], &delta["version"], delta["items"].as_array().map(Vec::len)),
        (&json!(2), &json!(3), Some(1))
    );
    ann.say(json!(["1", "4", topic("ann"), "feed.fetch", {"since": 77}])).await;
    let reset = ann.next().await[4]["response"].clone();
    assert_eq!((&reset["reset"], reset["entries"].as_array().map(Vec::len)), (&json!(true), Some(2)));
    ann.say(json!(["1", "5", topic("ann"), "feed.fetch", {"after": "nonsense"}])).await;
    let refused = ann.next().await[4].clone();
    assert_eq!((&refused["status"], &refused["response"]["code"]), (&json!("error"), &json!("invalid_params")));
    ann.quiet().await;
}

/// One device reads everything, among it what it never loaded, and takes it back: also what went into the archive since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mark_of_everything_is_undone_by_the_instant_that_it_was_answered_with() {
    let house = house(false).await;
    let mut ids = Vec::new();
    for _ in 0..4 {
        ids.push(house.notify("ann").await);
        house.core.clock.advance_seconds(1);
    }
    house.mark(&ids[0], Mark::Read).await;
    house.core.clock.advance_seconds(1);
    let mut ann = house.client().await;
    ann.join("1", "ann", json!({"bellwire": {"page_size": 1}})).await;
    assert_eq!(ann.next().await[4]["counts"], counts(4, 3, 4));
    let mut ask = async |reference: &str, payload: Value| {
        ann.say(json!(["1", reference, topic("ann"), "feed.mark", payload])).await;
        loop {
            let frame = ann.next().await;
            if frame[1] == reference {
                return frame[4]["response"].clone();
            }
        }
    };
    let marked = ask("2", json!({"as": "read", "all": true, "filter": {"status": "unread"}})).await;
    assert_eq!((&marked["at"], &marked["counts"]), (&json!(house.core.clock.now()), &counts(4, 0, 4)));
    house.core.clock.advance_seconds(1);
    house.mark(&ids[1], Mark::Archived).await;
    house.mark(&ids[2], Mark::Read).await;
    let undone = ask("3", json!({"as": "unread", "all": true, "marked_at": marked["at"]})).await;
    assert_eq!(undone["counts"], counts(3, 1, 3));
    let read: Vec<bool> =
        house.core.store.messages_by_ids(1, &ids).await.unwrap().iter().map(|item| item.read_at.is_some()).collect();
    assert_eq!(read, [true, false, true, false], "read before, in the archive, read since, undone");
    // What a filter leaves out is left out.
    house.core.clock.advance_seconds(1);
    let marked = ask("4", json!({"as": "archived", "all": true})).await;
    assert_eq!(marked["counts"], counts(0, 0, 0));
    let only_read = json!({"as": "unarchived", "all": true, "marked_at": marked["at"], "filter": {"status": "read"}});
    assert_eq!(ask("5", only_read).await["counts"], counts(2, 0, 2));
    let excluded =
        json!({"as": "unarchived", "all": true, "marked_at": marked["at"], "filter": {"archived": "exclude"}});
    assert_eq!(ask("6", excluded).await["counts"], counts(2, 0, 2));
    assert_eq!(
        ask("7", json!({"as": "unarchived", "all": true, "marked_at": marked["at"]})).await["counts"],
        counts(3, 1, 3)
    );
}

fn of_views(views: &[(&str, [i64; 3])]) -> Value {
    let counts =
        |(name, [total, unread, unseen]): &(&str, [i64; 3])| ((*name).into(), counts(*total, *unread, *unseen));
    Value::Object(views.iter().map(counts).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_views_of_a_join_are_told_with_every_change_what_belongs_to_none_is_gone() {
    let house = house(false).await;
    let first = house.notify_in("ann", Some("acme")).await;
    let (mut own, mut acme) = (house.client().await, house.client().await);
    let views = json!({"unread": {"status": "unread"}, "archive": {"archived": "only"}});
    own.join("1", "ann", json!({"bellwire": {"status": "unread", "views": views}})).await;
    let snapshot = own.next().await[4].clone();
    assert_eq!(snapshot["counts"], counts(1, 1, 1));
    assert_eq!(snapshot["views"], of_views(&[("unread", [1, 1, 1]), ("archive", [0, 0, 0])]));
    let views = json!({"acme": {"tenant": "acme", "has_tenant": true}, "all": {}});
    acme.join("1", "ann", json!({"bellwire": {"status": "unread", "views": views}})).await;
    assert_eq!(acme.next().await[4]["views"], of_views(&[("acme", [1, 1, 1]), ("all", [1, 1, 1])]));

    // Where counters tell, a new item needs no look at the database.
    let looks = house.figure("bellwire_catch_ups_total");
    acme.say(json!(["1", "2", topic("ann"), "phx_leave", {}])).await;
    acme.next().await;
    acme.next().await;
    let second = house.notify("ann").await;
    let delta = own.next().await[4].clone();
    assert_eq!((&delta["items"][0]["id"], &delta["removed"]), (&json!(second), &json!([])));
    assert_eq!(delta["views"], of_views(&[("unread", [2, 2, 2]), ("archive", [0, 0, 0])]));
    assert_eq!(house.figure("bellwire_catch_ups_total"), looks);
    acme.join("3", "ann", json!({"bellwire": {"since": 1, "status": "unread", "views": views}})).await;
    let delta = acme.next().await[4].clone();
    assert_eq!(delta["items"][0]["id"], json!(second), "what it missed");
    assert_eq!(delta["views"], of_views(&[("acme", [1, 1, 1]), ("all", [2, 2, 2])]));

    // What is read leaves the feed of this one, and stays with the other, which shows all in a view.
    own.say(json!(["1", "2", topic("ann"), "feed.mark", {"as": "read", "ids": [first]}])).await;
    let delta = own.next().await[4].clone();
    assert_eq!((&delta["items"], &delta["removed"]), (&json!([]), &json!([first])));
    let after = of_views(&[("unread", [1, 1, 2]), ("archive", [0, 0, 0])]);
    assert_eq!((&delta["counts"], &delta["views"]), (&counts(1, 1, 2), &after));
    let answer = own.next().await[4]["response"].clone();
    assert_eq!((&answer["version"], &answer["counts"], &answer["views"]), (&json!(3), &counts(1, 1, 2), &after));
    let delta = acme.next().await[4].clone();
    assert_eq!((&delta["items"][0]["id"], &delta["removed"]), (&json!(first), &json!([])));
    assert_eq!(delta["views"], of_views(&[("acme", [1, 0, 1]), ("all", [2, 1, 2])]));

    // From the one view to the other.
    house.mark(&first, Mark::Archived).await;
    let delta = own.next().await[4].clone();
    assert_eq!((&delta["items"][0]["id"], &delta["removed"]), (&json!(first), &json!([])));
    assert_eq!(delta["views"], of_views(&[("unread", [1, 1, 1]), ("archive", [1, 0, 1])]));
    let delta = acme.next().await[4].clone();
    assert_eq!((&delta["items"], &delta["removed"]), (&json!([]), &json!([first])));

    // A page of a view, beside the same counts; and what changed, of all views.
    for (reference, payload, found) in [
        ("3", json!({"view": "archive"}), &first),
        ("4", json!({"view": "unread", "page_size": 1}), &second),
        ("5", json!({"view": null}), &second),
    ] {
        own.say(json!(["1", reference, topic("ann"), "feed.fetch", payload])).await;
        let page = own.next().await[4]["response"].clone();
        let ids: Vec<&Value> = page["entries"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
        assert_eq!((ids, &page["counts"]), (vec![&json!(found)], &counts(1, 1, 1)), "{payload}");
        assert_eq!(page["views"], of_views(&[("unread", [1, 1, 1]), ("archive", [1, 0, 1])]), "{payload}");
    }
    own.say(json!(["1", "6", topic("ann"), "feed.fetch", {"since": 3}])).await;
    let delta = own.next().await[4]["response"].clone();
    assert_eq!((&delta["items"][0]["id"], &delta["views"]["archive"]), (&json!(first), &counts(1, 0, 1)));
    own.say(json!(["1", "7", topic("ann"), "feed.fetch", {"view": "else"}])).await;
    let refused = own.next().await[4].clone();
    let response = json!({"reason": "The join named no view that is called so.", "code": "invalid_params"});
    assert_eq!(refused, json!({"status": "error", "response": response}));
    // Everything that it shows is read again.
    own.say(json!(["1", "8", topic("ann"), "feed.fetch", {"since": 77}])).await;
    let reset = own.next().await[4]["response"].clone();
    assert_eq!((&reset["reset"], &reset["views"]["archive"]), (&json!(true), &counts(1, 0, 1)));
    own.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_stand_in_the_order_in_which_they_are_named_and_older_clients_see_none() {
    let house = house(false).await;
    let mut ann = house.client().await;
    let head = format!(r#"["1","1","{}","phx_join","#, topic("ann"));
    for (views, told) in [
        (r#","views":{"b":{"status":"read"},"a":{},"c":{}}"#, Some(["\"b\":{", "\"a\":{", "\"c\":{"])),
        (r#","views":{}"#, None),
        ("", None),
    ] {
        ann.stream.send(Ws::text(format!(r#"{head}{{"bellwire":{{"since":null{views}}}}}]"#))).await.unwrap();
        let snapshot = loop {
            let Some(Ok(Ws::Text(text))) = ann.stream.next().await else { panic!("no snapshot") };
            if text.contains("feed.snapshot") {
                break text;
            }
        };
        match told {
            Some(names) => {
                let rest = snapshot.split_once(r#""views":{"#).expect("views").1;
                assert!(names.map(|name| rest.find(name).expect("a view")).is_sorted(), "{snapshot}");
            }
            None => assert!(!snapshot.contains("views"), "{snapshot}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_marks_only_what_it_may() {
    let house = house(true).await;
    let user = "https://api.knock.app/v1/users/ann";
    let reader = json!({"sub": "ann", "explicit_grants": true, "grants": {user: {"user/feed_read": []}}});
    let mut ann = house.client_of(&reader).await;
    let (of_ann, of_bob) = (house.notify("ann").await, house.notify("bob").await);
    ann.join("1", "ann", json!({"bellwire": {"since": 1}})).await;
    ann.next().await;
    ann.say(json!(["1", "2", topic("ann"), "feed.mark", {"as": "seen", "ids": [of_ann]}])).await;
    assert_eq!(ann.next().await[4]["response"]["code"], "authorization", "F-AUT-15");
    let mut ann = house.client_of(&json!({"sub": "ann"})).await;
    ann.join("1", "ann", json!({"bellwire": {"since": 1}})).await;
    ann.next().await;
    ann.say(json!(["1", "2", topic("ann"), "feed.mark", {"as": "seen", "ids": [of_bob, "unknown"]}])).await;
    let response = json!({"version": 1, "at": house.core.clock.now(), "counts": counts(1, 1, 1)});
    assert_eq!(ann.next().await[4]["response"], response, "F-AUT-16 F-STA-21");
    assert_eq!(house.core.store.messages_by_ids(1, &[of_bob]).await.unwrap()[0].seen_at, None, "F-AUT-16");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_for_a_tenant_is_not_told_the_ids_of_another_tenants_items() {
    let house = house(true).await;
    let grant = json!({"user/feed_read": []});
    let grants = json!({
        "https://api.knock.app/v1/users/ann": grant, "https://api.knock.app/v1/objects/$tenants/north": grant});
    let (mut own, mut foreign) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        foreign.push(house.notify_in("ann", Some("south")).await);
        own.push(house.notify_in("ann", Some("north")).await);
        own.push(house.notify_in("ann", None).await);
    }
    let mut ann = house.client_of(&json!({"sub": "ann", "grants": grants})).await;
    let views = json!({"archive": {"archived": "only"}, "read": {"status": "read", "archived": "include"}});
    ann.join("1", "ann", json!({"bellwire": {"since": null, "views": views}})).await;
    let snapshot = ann.next().await[4].clone();
    assert_eq!((&snapshot["version"], &snapshot["counts"]), (&json!(6), &counts(4, 4, 4)), "F-GRN-13");
    assert_eq!(snapshot["views"], of_views(&[("archive", [0, 0, 0]), ("read", [0, 4, 4])]), "F-GRN-13");

    // Of each tenant one item is archived and one removed, live and for whoever resumes.
    for ids in [&foreign[..1], &own[..2]] {
        house.core.mark(1, ids, Mark::Archived, None, &Reach::default()).await.unwrap();
    }
    let head = house.core.store.feed_head(1, &FEED.to_string(), "ann").await.unwrap();
    let name = FeedName { id: head.id, env: 1, channel: FEED.to_string(), recipient: "ann".into() };
    for ids in [&foreign[1..], &own[2..]] {
        let mut change = Change::new();
        change.remove(&name, ids);
        house.core.commit(change).await.unwrap();
    }
    ann.say(json!(["1", "2", topic("ann"), "feed.fetch", {"since": 6}])).await;
    let resumed = loop {
        let frame = ann.next().await;
        assert!(foreign.iter().all(|id| !frame.to_string().contains(id)), "F-GRN-13 {frame}");
        if frame[3] == "phx_reply" {
            break frame[4]["response"].clone();
        }
    };
    let told = |list: &Value, id: fn(&Value) -> &Value| -> BTreeSet<String> {
        list.as_array().unwrap().iter().map(|one| id(one).as_str().unwrap().to_owned()).collect()
    };
    let mine = |ids: &[String]| ids.iter().cloned().collect::<BTreeSet<_>>();
    assert_eq!(told(&resumed["removed"], |id| id), mine(&own[2..]), "what is hers is told");
    assert_eq!(told(&resumed["items"], |item| &item["id"]), mine(&own[..2]), "what is in her archive is there");
    assert_eq!(resumed["views"], of_views(&[("archive", [2, 2, 2]), ("read", [0, 2, 2])]), "F-GRN-13");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_known_client_that_comes_back_is_told_what_it_missed_and_only_then() {
    let house = house(false).await;
    house.notify("ann").await;
    let mut ann = house.client().await;
    ann.join("1", "ann", json!({"client_a": {}})).await;
    // Never seen here before, or before a restart: it is told to look; and once more, since it may have been looking.
    for _ in 0..2 {
        assert_eq!(ann.next().await[3], json!("new-message"));
        house.after_a_while().await;
    }
    ann.quiet().await;
    ann.say(json!(["1", "9", topic("ann"), "phx_leave", {}])).await;
    assert_eq!((ann.next().await[3].clone(), ann.next().await[3].clone()), (json!("phx_reply"), json!("phx_close")));
    drop(ann);
    while house.hub.sockets() > 0 {
        tokio::task::yield_now().await;
    }
    let mut ann = house.client().await;
    ann.join("2", "ann", json!({"client_a": {}})).await;
    ann.quiet().await; // Nothing was missed.
    drop(ann);
    while house.hub.sockets() > 0 {
        tokio::task::yield_now().await;
    }
    house.notify("ann").await;
    let mut ann = house.client().await;
    ann.join("3", "ann", json!({"client_a": {}})).await;
    let frame = ann.next().await;
    assert_eq!((&frame[0], &frame[3], &frame[4]["metadata"]), (&json!("3"), &json!("new-message"), &counts(2, 2, 2)));
    house.after_a_while().await;
    ann.quiet().await;
    // A second feed mounts: leave and join on the same socket, nothing was missed.
    ann.say(json!(["3", "4", topic("ann"), "phx_leave", {}])).await;
    ann.say(json!(["5", "5", topic("ann"), "phx_join", {"client_a": {}, "client_b": {}}])).await;
    for (join_ref, reference, event) in [("3", "4", "phx_reply"), ("3", "3", "phx_close"), ("5", "5", "phx_reply")] {
        let frame = ann.next().await;
        assert_eq!(
            (&frame[0], &frame[1], &frame[3]),
            (&json!(join_ref), &json!(reference), &json!(event)),
            "F-SOC-11 F-SOC-12"
        );
    }
    // Nobody knows what the second one has fetched meanwhile, and when: it is told to look.
    let frame = ann.next().await;
    assert_eq!((&frame[0], &frame[3]), (&json!("5"), &json!("new-message")));
    assert!(frame[4]["attn"].as_array().unwrap().contains(&json!("client_b")), "{frame}");
    ann.quiet().await;
}

/// A client was told of an item, left at once for a socket with a new token, and never had the frame.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_is_told_just_as_it_leaves_is_told_again() {
    let house = house_swept(false, Duration::from_secs(3_600)).await;
    let mut ann = house.client().await;
    ann.join("1", "ann", json!({"client_a": {}})).await;
    house.after_a_while().await;
    house.notify("ann").await;
    ann.say(json!(["1", "2", topic("ann"), "phx_leave", {}])).await;
    drop(ann);
    while house.hub.sockets() > 0 {
        tokio::task::yield_now().await;
    }
    let mut ann = house.client().await;
    ann.join("1", "ann", json!({"client_a": {}})).await;
    assert_eq!(ann.next().await[4]["metadata"], counts(1, 1, 1));
}

/// An item that came and was archived before a client joined counted for nothing; but the client had looked in between.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_may_have_seen_an_item_is_told_when_it_is_gone() {
    let house = house(false).await;
    let id = house.notify("ann").await;
    house.mark(&id, Mark::Archived).await;
    let mut ann = house.client().await;
    ann.join("1", "ann", json!({"client_a": {}})).await;
    assert_eq!(ann.next().await[4]["metadata"], counts(0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frame_that_is_none_closes_this_connection_with_1011_and_no_other() {
    let house = house(false).await;
    let mut other = house.client().await;
    for frame in
        [Ws::text("["), Ws::text("{}"), Ws::text(r#"[null,7,"phoenix","heartbeat",{}]"#), Ws::binary(vec![1, 0])]
    {
        let mut client = house.client().await;
        client.stream.send(frame.clone()).await.unwrap();
        assert_eq!(client.closed().await, Some(1011), "{frame:?}");
    }
    other.quiet().await;
    let mut binary = vec![0, 1, 1, 7, 9];
    binary.extend(b"12phoenixheartbeat{}");
    other.stream.send(Ws::binary(binary)).await.unwrap();
    assert_eq!(other.next().await[1], json!("2"), "F-SOC-03");
    other.stream.send(Ws::text("x".repeat(MOST_INCOMING + 1))).await.unwrap();
    assert_eq!(other.closed().await, Some(1009));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_close_is_answered_in_kind() {
    let house = house(false).await;
    let mut client = house.client().await;
    let frame = tokio_tungstenite::tungstenite::protocol::CloseFrame { code: 1000.into(), reason: "".into() };
    client.stream.send(Ws::Close(Some(frame))).await.unwrap();
    assert_eq!(client.closed().await, Some(1000), "socket.md 3.3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_closes_all_with_1012_and_lets_nobody_in() {
    let house = house(false).await;
    let mut clients = Vec::new();
    for number in 0..100 {
        let mut client = house.client().await;
        client.join("1", &format!("user-{number}"), json!({})).await;
        clients.push(client);
    }
    assert_eq!(house.hub.sockets(), 100);
    let deaf = house.client().await; // It never answers the close.
    let hub = house.hub.clone();
    let draining = tokio::spawn(async move { hub.drain(Duration::from_secs(2)).await });
    for client in &mut clients {
        assert_eq!(client.closed().await, Some(1012), "F-SOC-23");
        while client.stream.next().await.is_some() {}
    }
    draining.await.unwrap();
    assert_eq!((house.hub.sockets(), house.hub.inner.registry.topics()), (0, 0));
    assert_eq!(house.connect(&format!("api_key={}&vsn=2.0.0", house.key)).await.map(drop), Err(503));
    drop(deaf);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sockets_are_sent_away_one_by_one() {
    let spread = Duration::from_millis(1_500);
    let house = house_with(false, Settings { drain_spread: spread, ..Settings::default() }).await;
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(house.client().await);
    }
    let (hub, begun) = (house.hub.clone(), tokio::time::Instant::now());
    let ends = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            assert_eq!(client.closed().await, Some(1012), "F-SOC-23");
            begun.elapsed()
        })
    });
    let ends: Vec<_> = ends.collect();
    hub.drain(Duration::from_secs(30)).await;
    let mut parts = [0; 5];
    for end in ends {
        let part = end.await.unwrap().as_millis() * 5 / spread.as_millis();
        parts[(part as usize).min(4)] += 1;
    }
    assert!(parts.iter().all(|part| *part >= 10), "of 200 in each fifth of the time: {parts:?}");
    assert_eq!(house.figure(r#"bellwire_sockets_closed_total{reason="restart"}"#), 200);
    assert_eq!(house.figure("bellwire_sockets"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_is_turned_away_with_a_time_to_come_back_and_bad_keys_take_nobodys_place() {
    let house = house_with(false, Settings { accept_per_second: 10, accept_burst: 3, ..Settings::default() }).await;
    for _ in 0..20 {
        assert_eq!(house.connect("vsn=2.0.0&api_key=pk_nobody").await.map(drop), Err(403));
    }
    let _in = (house.client().await, house.client().await, house.client().await);
    for _ in 0..5 {
        let stream = TcpStream::connect(house.address).await.unwrap();
        let url = format!("ws://{}/ws/v1/websocket?vsn=2.0.0&api_key=pk_nobody", house.address);
        let Err(WsError::Http(response)) = tokio_tungstenite::client_async(url, stream).await else {
            panic!("it was let in")
        };
        assert_eq!(response.status(), 503, "before its key is looked at");
        assert_eq!(response.headers()["retry-after"], "1", "the least spread there is");
    }
    house.core.clock.advance(100_000);
    let mut fourth = house.client().await;
    // It is counted when it is served, which may be after it was answered.
    fourth.quiet().await;
    assert_eq!(house.figure(r#"bellwire_sockets_refused_total{reason="key"}"#), 20);
    assert_eq!(house.figure(r#"bellwire_sockets_refused_total{reason="storm"}"#), 5);
    assert_eq!((house.figure("bellwire_sockets_opened_total"), house.figure("bellwire_sockets")), (4, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_socket_whose_token_runs_out_is_closed_with_4001() {
    let house = house(true).await;
    let mut ann = house.client_of(&json!({"sub": "ann", "exp": NOW.seconds() + 10})).await;
    ann.quiet().await;
    house.core.clock.advance_seconds(10 + 60);
    assert_eq!(ann.closed().await, Some(4001), "F-SOC-25 F-AMB-52");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_key_ends_the_sockets_it_opened_and_no_others() {
    let house = house(false).await;
    let other_key = house.another_key().await;
    let mut alone = house.client().await;
    let mut signed = house.client_of(&json!({"sub": "ann"})).await;
    let mut other = house.connect(&format!("api_key={other_key}&vsn=2.0.0")).await.unwrap();
    alone.join("1", "ann", json!({"client_a": {}})).await;
    house.change(|batch, now| batch.revoke_api_key(&ApiKey::parse(&house.key).unwrap().digest(), now)).await;
    assert_eq!(alone.closed().await, Some(1008), "F-AUT-03");
    assert_eq!(signed.closed().await, Some(1008), "F-AUT-03");
    let again = house.connect(&format!("api_key={}&vsn=2.0.0", house.key)).await;
    assert_eq!(again.map(drop), Err(403), "F-AUT-03 F-SOC-04");
    house.sweep().await;
    other.quiet().await;
    assert_eq!(house.hub.inner.passes.len(), 1);
    drop((alone, signed, other));
    while house.hub.inner.passes.len() > 0 {
        // What let in nobody who is still here is forgotten.
        tokio::task::yield_now().await;
        house.sweep().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retired_signing_key_ends_the_sockets_of_its_tokens_with_4001() {
    let house = house(false).await;
    let mut alone = house.client().await;
    let mut signed = house.client_of(&json!({"sub": "ann"})).await;
    house.change(|batch, now| batch.retire_signing_key(1, "k1", now)).await;
    assert_eq!(signed.closed().await, Some(4001), "the client asks for a new token, and comes back with it");
    house.sweep().await;
    alone.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_is_pinged_and_one_that_does_not_answer_is_given_up() {
    let house = house(false).await;
    let mut client = house.client().await;
    client.quiet().await; // The server has taken the connection over: from here on it counts.
    house.core.clock.advance_seconds(46);
    let ping = tokio::time::timeout(PATIENCE, client.stream.next()).await.unwrap().unwrap().unwrap();
    assert!(matches!(ping, Ws::Ping(_)), "F-SOC-05 {ping:?}");
    // The client of the test answers pings only while it is read: from here on it is silent.
    house.core.clock.advance_seconds(76);
    tokio::time::timeout(PATIENCE, async {
        while house.hub.sockets() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("F-SOC-05");
}

impl House {
    /// What waits to be written to each socket: frames and bytes.
    fn waiting(&self) -> Vec<(usize, usize)> {
        let inner = &self.hub.inner;
        let links = inner.links.iter().flat_map(|shard| inner.links_of(shard));
        links.map(|link| link.waiting()).collect()
    }

    async fn notify_at_length(&self, user: &str) {
        let mut change = Change::new();
        change.add_message(self.message(user, None, &json!({"text": "x".repeat(30_000)})), true);
        self.core.commit(change).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_never_reads_is_dropped() {
    let house = house(false).await;
    let mut deaf = house.client().await;
    deaf.join("1", "ann", json!({"bellwire": {"since": 0}})).await;
    for _ in 0..5_000 {
        if house.hub.sockets() == 0 {
            return;
        }
        house.notify_at_length("ann").await;
    }
    panic!("it is still there, with {:?} waiting", house.waiting());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_holds_little_and_hears_the_rest_later_in_order() {
    let house = house_swept(false, Duration::from_secs(3_600)).await;
    let mut slow = house.client().await;
    let mut quick = house.client().await;
    slow.join("1", "ann", json!({"bellwire": {"since": 0}})).await;
    quick.join("1", "ann", json!({"client_a": {}})).await;
    slow.next().await;
    let mut last = 0;
    while house.waiting().iter().all(|(frames, _)| *frames == 0) || last < 300 {
        house.notify_at_length("ann").await;
        last += 1;
        assert!(last < 3_000, "the kernel takes everything");
        quick.next().await; // Others are not held up.
    }
    for (frames, bytes) in house.waiting() {
        assert!(frames <= 64 && bytes <= 256 * 1024, "{frames} frames, {bytes} bytes");
    }
    let mut version = 0;
    while version < last {
        let frame = slow.next().await;
        if frame[3] == "feed.delta" {
            assert_eq!(frame[4]["since"], json!(version), "no gap");
        }
        let next = frame[4]["version"].as_i64().unwrap();
        assert!(next > version, "versions only grow");
        version = next;
    }
    slow.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_joins_are_answered_and_bounded() {
    let house = house(false).await;
    let mut client = house.client().await;
    let (mut good, mut bad) = (0, 0);
    for batch in 0..100 {
        for number in 0..100 {
            let user = format!("user-{batch}-{number}");
            client.say(json!(["1", "1", topic(&user), "phx_join", {"client_a": {}}])).await;
        }
        for _ in 0..100 {
            match client.next().await[4]["status"].as_str() {
                Some("ok") => good += 1,
                _ => bad += 1,
            }
        }
    }
    assert_eq!((good, bad), (session::MOST_TOPICS, 10_000 - session::MOST_TOPICS));
    drop(client);
    while house.hub.sockets() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(house.hub.inner.registry.topics(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_burst_versions_and_counts_only_grow_and_end_where_the_feed_is() {
    let house = house(false).await;
    let (mut own, mut stock) = (house.client().await, house.client().await);
    own.join("1", "ann", json!({"bellwire": {}})).await;
    stock.join("1", "ann", json!({"client_a": {}})).await;
    own.next().await;
    let house = Arc::new(house);
    let burst: Vec<_> = (0..200)
        .map(|_| {
            let house = Arc::clone(&house);
            tokio::spawn(async move { house.notify("ann").await })
        })
        .collect();
    for one in burst {
        one.await.unwrap();
    }
    let (mut version, mut total) = (0, 0);
    while version < 200 {
        let frame = own.next().await;
        assert_eq!(frame[4]["since"], json!(version), "no gap");
        version = frame[4]["version"].as_i64().unwrap();
    }
    while total < 200 {
        let frame = stock.next().await;
        let next = frame[4]["metadata"]["total_count"].as_i64().unwrap();
        assert!(next > total, "F-SOC-19: {next} after {total}");
        total = next;
    }
    own.quiet().await;
    stock.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_burst_stock_clients_are_told_once_more() {
    let house = house_swept(false, Duration::from_secs(3_600)).await;
    let (mut own, mut stock) = (house.client().await, house.client().await);
    own.join("1", "ann", json!({"bellwire": {"since": 0}})).await;
    stock.join("1", "ann", json!({"client_a": {}})).await;
    own.next().await;
    for _ in 0..3 {
        house.notify("ann").await;
        stock.next().await;
        own.next().await;
    }
    house.core.clock.advance(600_000);
    house.sweep().await;
    stock.quiet().await; // It may go on.
    house.core.clock.advance(100_000);
    house.sweep().await;
    // The client does not look again while it is still looking: it may have missed the last.
    let frame = stock.next().await;
    assert_eq!((&frame[3], &frame[4]["metadata"]), (&json!("new-message"), &counts(3, 3, 3)), "F-SOC-19");
    house.core.clock.advance_seconds(2);
    house.sweep().await;
    stock.quiet().await;
    own.quiet().await;
    house.notify("ann").await;
    assert_eq!(stock.next().await[4]["metadata"], counts(4, 4, 4));
    house.core.clock.advance_seconds(2);
    house.sweep().await;
    stock.quiet().await; // One change is no burst.
}

/// A clock that was set back kept the end of a burst from them for as long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_ends_also_if_the_clock_was_set_back() {
    let house = house(false).await;
    let mut stock = house.client().await;
    stock.join("1", "ann", json!({"client_a": {}})).await;
    for _ in 0..2 {
        house.notify("ann").await;
        stock.next().await;
    }
    house.core.clock.set(house.core.clock.now().plus_seconds(-3_600));
    house.core.clock.advance_seconds(2);
    assert_eq!(stock.next().await[4]["metadata"], counts(2, 2, 2), "F-SOC-19");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_serializer_is_spoken_too() {
    let house = house(false).await;
    let mut old = house.connect(&format!("api_key={}", house.key)).await.unwrap();
    old.say(json!({"topic": topic("ann"), "event": "phx_join", "payload": {}, "ref": "1"})).await;
    assert_eq!(old.next().await, json!({"topic": topic("ann"), "event": "phx_reply", "payload": ok(), "ref": "1"}));
    house.notify("ann").await;
    let frame = old.next().await;
    assert_eq!((&frame["event"], &frame["ref"]), (&json!("new-message"), &json!(null)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_echo_gives_back_what_it_gets_however_it_is_cut() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let stream = tokio_tungstenite::accept_async(stream).await.unwrap().into_inner();
        echo(stream, Vec::new(), NOW).await;
    });
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut client, _) = tokio_tungstenite::client_async(format!("ws://{address}/"), stream).await.unwrap();
    for length in [0, 1, 125, 126, 65_535, 65_536, 4_000_000] {
        let message = Ws::binary(vec![7; length]);
        let (mut write, mut read) = client.split();
        let (_, back) = tokio::join!(async { write.send(message.clone()).await.unwrap() }, read.next());
        assert_eq!(back.unwrap().unwrap(), message, "{length}");
        client = write.reunite(read).unwrap();
    }
    use tokio_tungstenite::tungstenite::protocol::frame::Frame as Raw;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    client.send(Ws::Frame(Raw::message("frag", OpCode::Data(Data::Text), false))).await.unwrap();
    client.send(Ws::Ping("p".into())).await.unwrap();
    client.send(Ws::Frame(Raw::message("ment", OpCode::Data(Data::Continue), true))).await.unwrap();
    assert_eq!(client.next().await.unwrap().unwrap(), Ws::Pong("p".into()));
    assert_eq!(client.next().await.unwrap().unwrap(), Ws::text("fragment"));
}

/// A socket without a client library: it holds no memory of this process beyond the kernel's.
fn bare_client(house: &House, user: &str) -> std::net::TcpStream {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(house.address).unwrap();
    let query = format!("user_token={}&api_key={}&vsn=2.0.0", token(&json!({"sub": user})), house.key);
    let request = format!(
        "GET /ws/v1/websocket?{query} HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let join = json!(["1", "1", topic(user), "phx_join", {"client_V1StGXR8_Z5jdHi6B-myT": {"archived": "exclude", "mode": "compact"}}]);
    let join = join.to_string();
    let mut frame = vec![0x81, 0x80 | 126, 0, join.len() as u8, 0, 0, 0, 0];
    frame.extend(join.as_bytes());
    let mut bytes = [0; 1024];
    let mut read = stream.read(&mut bytes).unwrap();
    assert!(bytes[..read].starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&bytes[..read]));
    stream.write_all(&frame).unwrap();
    read = stream.read(&mut bytes).unwrap();
    assert!(String::from_utf8_lossy(&bytes[..read]).contains(r#""status":"ok""#));
    stream
}

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// User and system time of this process in microseconds.
fn cpu_micros() -> (u64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let mut fields = stat.rsplit(')').next().unwrap().split(' ').skip(12);
    let mut next = || fields.next().unwrap().parse::<u64>().unwrap() * 10_000;
    (next(), next())
}

/// Figures, not a test: `cargo test --lib hub::tests::figures -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures; what it finds depends on the machine"]
async fn figures() {
    use std::io::Write;
    const SOCKETS: usize = 4_000;
    const ROUNDS: usize = 50;
    let house = Arc::new(house_swept(false, Duration::from_secs(4)).await);
    let connect = |range: std::ops::Range<usize>| {
        let house = Arc::clone(&house);
        tokio::task::spawn_blocking(move || {
            range.map(|n| bare_client(&house, &format!("user-{n}"))).collect::<Vec<_>>()
        })
    };
    let events: Vec<_> = (0..SOCKETS)
        .map(|n| {
            let mut message = house.message(&format!("user-{}", n + 200), None, &json!({"n": 1}));
            message.seq = 1;
            crate::bus::FeedEvent {
                env: 1,
                channel: FEED.to_string(),
                recipient: format!("user-{}", n + 200),
                head: crate::model::feed::Head::default(),
                news: crate::bus::News::Item(Arc::new(message)),
            }
        })
        .collect();
    let first = connect(0..200).await.unwrap();
    let (before, cpu_before) = (resident_bytes(), cpu_micros());
    let clients = connect(200..SOCKETS + 200).await.unwrap();
    let (after, cpu_after) = (resident_bytes(), cpu_micros());
    let cpu = cpu_micros();
    let told = Arc::clone(&house);
    // In a task, as commits do: a thread beside the runtime would wake its threads for each event.
    let telling = tokio::spawn(async move {
        let mut heard = Duration::ZERO;
        for round in 1..=ROUNDS as i64 {
            for commit in events.chunks(20) {
                let start = std::time::Instant::now();
                for event in commit {
                    let head = crate::model::feed::Head { id: 1, version: round, ..event.head };
                    told.hub.inner.registry.heard(&crate::bus::FeedEvent { head, ..event.clone() });
                }
                heard += start.elapsed();
                tokio::task::yield_now().await;
            }
        }
        heard
    });
    let heard = telling.await.unwrap();
    while house.waiting().iter().any(|(frames, _)| *frames > 0) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let end = cpu_micros();
    let deliveries = (SOCKETS * ROUNDS) as f64;
    let report = format!(
        "task {} B; RSS per socket {} B, after deliveries {} B; connect and join CPU {:.0} us (client's included); \
         hearing an event {:?}; per delivery user {:.2} us, system {:.2} us\n",
        size_of::<Socket>(),
        (after - before) / SOCKETS,
        (resident_bytes() - before) / SOCKETS,
        (cpu_after.0 + cpu_after.1 - cpu_before.0 - cpu_before.1) as f64 / SOCKETS as f64,
        heard / (SOCKETS * ROUNDS) as u32,
        (end.0 - cpu.0) as f64 / deliveries,
        (end.1 - cpu.1) as f64 / deliveries,
    );
    std::io::stderr().write_all(report.as_bytes()).unwrap();
    drop((first, clients));
}

#[tokio::test]
async fn only_a_key_of_16_bytes_is_answered_and_as_the_rfc_says() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let house = house(false).await;
    for (key, answer) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "101 Switching Protocols"),
        ("", "400"),
        ("short", "400"),
        ("dGhlIHNhbXBsZSBub25jZTE=", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ", "400"),
    ] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        let request = format!(
            "GET /ws/v1/websocket?api_key={}&vsn=2.0.0 HTTP/1.1\r\nhost: h\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n\r\n",
            house.key
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 1024];
        let read = stream.read(&mut head).await.unwrap();
        let head = String::from_utf8_lossy(&head[..read]);
        assert!(head.starts_with(&format!("HTTP/1.1 {answer}")), "RFC 6455, 4.2.1 {key}: {head}");
        if answer.starts_with("101") {
            assert!(head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "RFC 6455, 1.3: {head}");
        }
    }
}
