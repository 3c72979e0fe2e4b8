//! A server in process with a store of its own, and what tests need to talk to it.
#![allow(unreachable_pub, dead_code, reason = "support is written for tests to come, too")]

pub mod client;
pub mod contract;
pub mod faketime;
pub mod postgres;
pub mod redis;
pub mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwire::bus::{Bus, FeedEvent};
use bellwire::clock::Clock;
use bellwire::engine;
use bellwire::http::{self, Face, Upgrade};
use bellwire::model::channel::{Channel, ChannelKind, ResponseFilter};
use bellwire::model::environment::{ChannelSetup, Environment, Settings, Tracking};
use bellwire::model::preference_center::Center;
use bellwire::model::provider_app::App;
use bellwire::model::time::Time;
use bellwire::model::workflow::Workflow;
use bellwire::outside::Outside;
use bellwire::queue::Waker;
use bellwire::sign::api_key::{ApiKey, Kind};
use bellwire::sign::issue::{bare_hmac, sign_hs256};
use bellwire::sign::key_scope::KeyScope;
use bellwire::store::keys::{ApiKeyRow, SigningKeyRow};
use bellwire::store::{Batch, Env, Store};
use bellwire::verbs::{Catalog, Core, Shared, door};
use hyper::header::HeaderValue;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use client::Call;

/// The id of the bell's channel.
pub const FEED: &str = "5f3c1d6e-0000-4000-8000-000000000001";
/// The id of a second bell.
pub const OTHER_FEED: &str = "5f3c1d6e-0000-4000-8000-000000000002";
/// The id of a channel that is no feed.
pub const EMAIL: &str = "5f3c1d6e-0000-4000-8000-000000000003";
/// The ids of channels that take data: Firebase, Amazon SNS, OneSignal, Slack, Teams, Discord and a request.
pub const PUSH: &str = "5f3c1d6e-0000-4000-8000-000000000004";
pub const SNS: &str = "5f3c1d6e-0000-4000-8000-000000000005";
pub const PLAYERS: &str = "5f3c1d6e-0000-4000-8000-000000000006";
pub const SLACK: &str = "5f3c1d6e-0000-4000-8000-000000000007";
pub const TEAMS: &str = "5f3c1d6e-0000-4000-8000-000000000008";
pub const DISCORD: &str = "5f3c1d6e-0000-4000-8000-000000000009";
pub const HOOK: &str = "5f3c1d6e-0000-4000-8000-00000000000a";
/// The id of a push channel that no environment configures.
pub const UNCONFIGURED: &str = "5f3c1d6e-0000-4000-8000-00000000000b";
/// The id of the channel of guides.
pub const GUIDES: &str = "5f3c1d6e-0000-4000-8000-00000000000c";
/// When manual clocks begin.
pub const START: Time = Time::from_micros(1_790_000_000_000_000);
/// The secret of user tokens.
pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
/// The secret of the source `shop`.
pub const SOURCE_SECRET: &str = "a-secret-of-the-shop";
/// The secret of bare HMACs of user ids.
pub const BARE_SECRET: &[u8] = b"fedcba9876543210fedcba9876543210";

/// How a test wants its server.
pub struct Setup {
    pub settings: http::Settings,
    pub clock: Clock,
    pub enhanced_security: bool,
    /// Whether user tokens can be checked.
    pub has_signing_key: bool,
    pub response_filter: Value,
    /// What recipients want who have not said otherwise.
    pub preferences: Option<Value>,
    pub center: Center,
    /// More variables that clients may see.
    pub vars: Map<String, Value>,
    /// Under which addresses links and openings are tracked.
    pub tracking: Tracking,
    /// What is set of the channels, by their keys.
    pub channel_settings: Value,
    /// The way to servers of others.
    pub outside: Outside,
    pub listener: Box<dyn Fn(&FeedEvent) + Send + Sync>,
    pub upgrade: Upgrade,
    pub pages: Vec<http::Page>,
    /// Another store than a new one.
    pub store: Option<Store>,
}

impl Default for Setup {
    fn default() -> Self {
        let settings = http::Settings { limits: http::limits::Limits::off(), ..http::Settings::default() };
        Setup {
            settings,
            clock: Clock::manual(START),
            enhanced_security: false,
            has_signing_key: true,
            response_filter: json!({}),
            preferences: None,
            center: Center::default(),
            vars: Map::new(),
            tracking: Tracking::default(),
            channel_settings: json!({}),
            outside: Outside::default(),
            listener: Box::new(|_| {}),
            upgrade: Box::new(|_| Box::pin(async { hyper::Response::new("a socket".into()) })),
            pages: vec![http::Page {
                path: "/demo/*".to_owned(),
                content_type: HeaderValue::from_static("text/html"),
                body: "<p>demo</p>".into(),
            }],
            store: None,
        }
    }
}

/// Which database the tests' stores are kept in: `BELLWIRE_TEST_STORE=postgres` runs them on PostgreSQL.
#[allow(clippy::disallowed_methods, reason = "tests are told by the environment where to keep their rows")]
pub fn is_on_postgres() -> bool {
    match std::env::var("BELLWIRE_TEST_STORE").as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(_) => false,
        Ok(other) => panic!("BELLWIRE_TEST_STORE is sqlite or postgres, not {other}"),
    }
}

/// A new store in `directory`; or in a PostgreSQL database of its own, whose address is given, too.
pub async fn store(directory: &std::path::Path) -> (Store, Option<String>) {
    if !is_on_postgres() {
        return (Store::open(&directory.join("bellwire.db")).unwrap(), None);
    }
    let server = postgres::shared();
    let database = server.database().await;
    // Few enough that one of them writes: what is asked for first is written first.
    let store = Store::connect(&server.place(&database, 4)).await.unwrap();
    (store, Some(server.url(&database)))
}

/// A running server.
pub struct World {
    pub core: Shared,
    pub clock: Clock,
    pub address: SocketAddr,
    pub env: Env,
    /// Keys of the environment that tests use, and a secret key of another.
    pub pk: String,
    pub sk: String,
    pub foreign_sk: String,
    stop: watch::Sender<bool>,
    server: Option<JoinHandle<()>>,
    directory: PathBuf,
}

impl World {
    /// A server as most tests want it: a manual clock, no rate limits, enhanced security off, one signing key.
    pub async fn start() -> World {
        World::with(Setup::default()).await
    }

    /// A server set up otherwise.
    pub async fn with(setup: Setup) -> World {
        let directory = std::env::temp_dir().join(format!("bellwire-it-{}", Uuid::new_v4()));
        std::fs::create_dir_all(&directory).unwrap();
        let store = match setup.store {
            Some(store) => store,
            None => store(&directory).await.0,
        };
        let own = store.ensure_environment("development", START).await.unwrap();
        let foreign = store.ensure_environment("production", START).await.unwrap();
        let (pk, sk) =
            (add_key(&store, own.number, Kind::Public).await, add_key(&store, own.number, Kind::Secret).await);
        let foreign_sk = add_key(&store, foreign.number, Kind::Secret).await;
        if setup.has_signing_key {
            add_signing_key(&store, own.number, "k1", "hs256", SECRET).await;
            add_signing_key(&store, own.number, "k2", "hmac", BARE_SECRET).await;
        }
        let mut vars = Map::from_iter([("brand".to_owned(), json!("Acme"))]);
        vars.extend(setup.vars);
        let channels = channels(&setup.response_filter);
        let all_vars = json!({"brand": "Acme", "hidden": "s3cret"});
        let set_up = |key: &str| {
            let channel = channels.iter().find(|channel| channel.key == key).unwrap();
            let table = setup.channel_settings[key].as_object().cloned().unwrap_or_default();
            let app = App::read(channel, &table, &all_vars).unwrap();
            (key.to_owned(), ChannelSetup { app, ..ChannelSetup::read(channel, &table) })
        };
        let settings = Settings {
            enhanced_security: setup.enhanced_security,
            all_vars: all_vars.clone(),
            secret_vars: Map::from_iter([("hidden".to_owned(), json!("s3cret"))]),
            vars,
            timezone: None,
            preferences: setup.preferences,
            center: setup.center,
            source_secrets: [("shop".to_owned(), SOURCE_SECRET.to_owned())].into(),
            tracking: setup.tracking,
            channels: ["in-app-feed", "email", "push", "sns", "players", "slack", "teams", "discord", "hook"]
                .map(set_up)
                .into(),
        };
        let environments = [own.clone(), foreign].map(|row| Environment {
            number: row.number,
            id: row.id,
            slug: row.slug,
            settings: settings.clone(),
        });
        let workflows = workflows(&channels);
        for workflow in &workflows {
            let mut batch = Batch::new();
            batch.publish_workflow(own.number, &workflow.key, workflow.version_id, &workflow.source, START);
            store.apply(batch).await.unwrap();
        }
        let core = Arc::new(Core {
            store,
            bus: Bus::local(setup.listener),
            clock: setup.clock.clone(),
            waker: Waker::default(),
            outside: setup.outside,
            catalog: Catalog::new(environments.into(), channels, workflows).at("http://bell.test"),
            rings: door::Rings::default(),
            turns: Default::default(),
            sightings: Default::default(),
            metrics: Default::default(),
        });
        core.catalog.set_active(own.number, "asleep", false);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let face = Arc::new(Face::new(Arc::clone(&core), setup.settings, setup.upgrade, setup.pages));
        let server = Some(tokio::spawn(http::serve(listener, face, stopped)));
        World { core, clock: setup.clock, address, env: own.number, pk, sk, foreign_sk, stop, server, directory }
    }

    pub fn get(&self, path: &str) -> Call<'_> {
        Call::new(self, "GET", path)
    }

    pub fn put(&self, path: &str) -> Call<'_> {
        Call::new(self, "PUT", path)
    }

    pub fn post(&self, path: &str) -> Call<'_> {
        Call::new(self, "POST", path)
    }

    pub fn delete(&self, path: &str) -> Call<'_> {
        Call::new(self, "DELETE", path)
    }

    pub fn call(&self, method: &str, path: &str) -> Call<'_> {
        Call::new(self, method, path)
    }

    /// A user token with these claims.
    pub fn token(&self, claims: &Value) -> String {
        sign_hs256(claims, SECRET, Some("k1"))
    }

    /// A plain user token.
    pub fn token_of(&self, user: &str) -> String {
        self.token(&json!({"sub": user}))
    }

    /// The bare HMAC of a user's id.
    pub fn bare_token_of(&self, user: &str) -> String {
        bare_hmac(user, BARE_SECRET)
    }

    /// Triggers `workflow` with `body`; the id of the workflow run.
    pub async fn trigger(&self, workflow: &str, body: &Value) -> String {
        let reply = self.post(&format!("/v1/workflows/{workflow}/trigger")).sk().json(body).send().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()["workflow_run_id"].as_str().unwrap().to_owned()
    }

    /// Identifies `user` and tells it something, one microsecond after what was before; the id of the message.
    pub async fn tell(&self, user: &str, data: Value, tenant: Option<&str>) -> String {
        self.clock.advance(1);
        self.trigger("comment", &json!({"recipients": [{"id": user}], "data": data, "tenant": tenant})).await;
        self.feed(user).await["entries"][0]["id"].as_str().unwrap().to_owned()
    }

    /// A user's whole feed, archive included.
    pub async fn feed(&self, user: &str) -> Value {
        let reply = self.get(&format!("/v1/users/{user}/feeds/{FEED}?archived=include")).sk().send().await;
        assert_eq!(reply.status, 200, "{}", reply.text);
        reply.json()
    }

    /// Does every job that is due.
    pub async fn work(&self) {
        loop {
            let now = self.clock.now();
            let jobs = self.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
            if jobs.is_empty() {
                return;
            }
            for job in jobs {
                engine::work::work(&self.core, &job).await.unwrap();
            }
        }
    }

    /// Tells the server to stop.
    pub fn begin_stop(&self) {
        self.stop.send_replace(true);
    }

    /// Waits until the server has stopped.
    pub async fn stopped(&mut self) {
        self.begin_stop();
        self.server.take().unwrap().await.unwrap();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// A new key of an environment.
pub async fn add_key(store: &Store, env: Env, kind: Kind) -> String {
    add_scoped_key(store, env, kind, None).await
}

/// The same, limited.
pub async fn add_scoped_key(store: &Store, env: Env, kind: Kind, scope: Option<KeyScope>) -> String {
    let mut random = [0; 32];
    random[..16].copy_from_slice(Uuid::new_v4().as_bytes());
    let key = ApiKey::mint(kind, random);
    let mut batch = Batch::new();
    batch.add_api_key(&ApiKeyRow {
        digest: key.digest(),
        env,
        kind: if kind == Kind::Public { "public" } else { "secret" }.to_owned(),
        name: "test".to_owned(),
        hint: key.shown().to_owned(),
        created_at: START,
        revoked_at: None,
        scope,
    });
    store.apply(batch).await.unwrap();
    key.reveal().to_owned()
}

async fn add_signing_key(store: &Store, env: Env, kid: &str, alg: &str, secret: &[u8]) {
    let mut batch = Batch::new();
    batch.add_signing_key(&SigningKeyRow {
        env,
        kid: kid.to_owned(),
        alg: alg.to_owned(),
        material: URL_SAFE_NO_PAD.encode(secret),
        created_at: START,
        retired_at: None,
    });
    store.apply(batch).await.unwrap();
}

fn channels(response_filter: &Value) -> Vec<Channel> {
    let channel = |id: &str, key: &str, kind, provider: &str| Channel {
        id: Uuid::parse_str(id).unwrap(),
        key: key.to_owned(),
        name: key.to_owned(),
        kind,
        provider: provider.to_owned(),
        created_at: START,
        updated_at: START,
        conditions: None,
        response_filter: ResponseFilter::default(),
    };
    let mut bell = channel(FEED, "in-app-feed", ChannelKind::InAppFeed, Channel::FEED_PROVIDER);
    bell.response_filter = ResponseFilter::parse(response_filter, "").unwrap();
    vec![
        bell,
        channel(OTHER_FEED, "other-feed", ChannelKind::InAppFeed, Channel::FEED_PROVIDER),
        channel(EMAIL, "email", ChannelKind::Email, "smtp"),
        channel(PUSH, "push", ChannelKind::Push, "push_fcm"),
        channel(SNS, "sns", ChannelKind::Push, "push_aws_sns"),
        channel(PLAYERS, "players", ChannelKind::Push, "push_one_signal"),
        channel(SLACK, "slack", ChannelKind::Chat, "chat_slack"),
        channel(TEAMS, "teams", ChannelKind::Chat, "chat_ms_teams"),
        channel(DISCORD, "discord", ChannelKind::Chat, "chat_discord"),
        channel(HOOK, "hook", ChannelKind::Http, "http_knock_webhook"),
        channel(UNCONFIGURED, "unconfigured", ChannelKind::Push, "push_apns"),
        channel(GUIDES, "in-app-guide", ChannelKind::InAppGuide, Channel::GUIDE_PROVIDER),
    ]
}

fn workflows(channels: &[Channel]) -> Vec<Workflow> {
    let step = |key: &str| {
        json!({"type": "channel", "ref": "in_app_feed_1", "channel_key": key, "channel_type": "in_app_feed",
            "template": {"markdown_body": "Hello {{ data.n }}", "action_url": "https://example.com"}})
    };
    let linked = || {
        let mut step = step("in-app-feed");
        step["template"]["markdown_body"] = "{{ vars.brand }}".into();
        step["template"]["action_url"] =
            "{{ vars.manage_preferences_url }} {{ vars.commercial_unsubscribe_url }}".into();
        step
    };
    let overridden = |tracks: bool| {
        let mut step = step("in-app-feed");
        step["channel_overrides"] = json!({"link_tracking": tracks});
        step
    };
    let documents = [
        ("tracked", json!({"name": "Tracked", "steps": [overridden(true)]})),
        ("untracked", json!({"name": "Untracked", "steps": [overridden(false)]})),
        ("comment", json!({"name": "Comment", "categories": ["collaboration"], "steps": [step("in-app-feed")]})),
        ("elsewhere", json!({"name": "Elsewhere", "steps": [step("other-feed")]})),
        (
            "build",
            json!({"name": "Build", "steps": [
                {"type": "channel", "ref": "bell", "channel_key": "in-app-feed", "channel_type": "in_app_feed",
                 "collapse_key": "build-{{ data.build }}", "template": {"markdown_body": "{{ data.n }}"}}]}),
        ),
        ("asleep", json!({"name": "Asleep", "steps": [step("in-app-feed")]})),
        (
            "strict",
            json!({"name": "Strict", "steps": [step("in-app-feed")], "trigger_data_json_schema": {
                "type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}}}),
        ),
        ("linked", json!({"name": "Linked", "steps": [linked()]})),
        ("offer", json!({"name": "Offer", "settings": {"is_commercial": true}, "steps": [linked()]})),
        (
            "digest",
            json!({"name": "Digest", "steps": [
                {"type": "batch", "ref": "batch_1", "settings": {"batch_window": {"unit": "hours", "value": 1}}},
                step("in-app-feed")]}),
        ),
        (
            "later",
            json!({"name": "Later", "steps": [
                {"type": "delay", "ref": "delay_1", "settings": {"delay_for": {"unit": "hours", "value": 1}}},
                step("in-app-feed")]}),
        ),
    ];
    documents.map(|(key, document)| Workflow::parse(key, &document, channels).unwrap()).into()
}
