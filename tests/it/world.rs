//! A whole server without its faces: a real store in a directory of its own, and a clock that is turned by hand.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwire::bus::{Bus, FeedEvent, Listener, Settings as BusSettings};
use bellwire::clock::Clock;
use bellwire::engine::start::{Answer, Asked, trigger};
use bellwire::engine::work::{is_joint, work, work_together};
use bellwire::model::channel::Channel;
use bellwire::model::channel_group::ChannelGroup;
use bellwire::model::environment::{Environment, Settings};
use bellwire::model::feed::{Filter, Head};
use bellwire::model::message::Message;
use bellwire::model::run::Run;
use bellwire::model::time::Time;
use bellwire::model::workflow::Workflow;
use bellwire::queue::Waker;
use bellwire::rules::condition::{Allow, Group};
use bellwire::store::feeds::Changes;
use bellwire::store::jobs::Job;
use bellwire::store::runs::RunFilter;
use bellwire::store::{Batch, Store};
use bellwire::verbs::{Catalog, Core, Error};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::postgres::{self, Frozen, Transaction as Postgres};

/// The id of the in-app feed channel every world has, under the key `feed`.
pub const CHANNEL: &str = "0b9a5d7e-3f1c-4a53-9a64-5a7f5b3a1c11";
/// The id of the push channel that a world has beside it, under the key `phones`, unless it is given channels.
pub const PHONES: &str = "0b9a5d7e-3f1c-4a53-9a64-5a7f5b3a1c12";
/// When every world begins: a Monday, 2026-09-21T10:00:00Z.
pub const START: Time = Time::from_micros(1_789_984_800_000_000);

/// Jobs at most that one turn of the clock is for: more is a chain without an end.
const MOST_JOBS: usize = 10_000;

/// A server in a temporary directory.
pub struct World {
    pub core: Core,
    pub env: i64,
    pub events: Arc<Mutex<Vec<FeedEvent>>>,
    /// Whoever has a bell open.
    pub here: Arc<Mutex<BTreeSet<String>>>,
    directory: PathBuf,
    /// The address of the PostgreSQL database, if it is kept there.
    database: Option<String>,
}

/// Who is told the news of a world.
struct Ears {
    events: Arc<Mutex<Vec<FeedEvent>>>,
    here: Arc<Mutex<BTreeSet<String>>>,
}

impl Listener for Ears {
    fn heard(&self, event: &FeedEvent) {
        self.events.lock().unwrap().push(event.clone());
    }

    fn is_here(&self, _: i64, user: &str) -> bool {
        self.here.lock().unwrap().contains(user)
    }
}

/// What nothing is committed beside.
#[allow(dead_code, reason = "held for what their end does")]
enum Held {
    Sqlite(rusqlite::Connection),
    Postgres(Postgres),
}

impl Held {
    /// Gives others time to read what they want to read, until more wait than these and no more come. Gives who waits, of
    /// PostgreSQL's processes.
    async fn give_time(&self, before: &[i32]) -> Vec<i32> {
        match self {
            Held::Sqlite(_) => {
                // Long enough for reads on the blocking pool, too.
                for _ in 0..200 {
                    tokio::task::spawn_blocking(|| ()).await.unwrap();
                }
                Vec::new()
            }
            Held::Postgres(transaction) => {
                // The first waits in any case; whoever is refused before it writes never does.
                let most = if before.is_empty() { usize::MAX } else { 1_000 };
                let (mut waiting, mut looks): (Vec<i32>, usize) = (Vec::new(), 0);
                // Who has several things to write may do so by several connections.
                for _ in 0..most {
                    let now = transaction.waiting().await;
                    looks = if now.len() == waiting.len() { looks + 1 } else { 0 };
                    waiting = now;
                    if waiting.len() > before.len() && looks == 100 {
                        break;
                    }
                }
                waiting
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn channel() -> Channel {
    Channel {
        id: CHANNEL.parse().unwrap(),
        key: "feed".to_owned(),
        name: "Feed".to_owned(),
        kind: "in_app_feed".parse().unwrap(),
        provider: Channel::FEED_PROVIDER.to_owned(),
        created_at: START,
        updated_at: START,
        conditions: None,
        response_filter: Default::default(),
    }
}

fn phones() -> Channel {
    let kind = "push".parse().unwrap();
    Channel {
        id: PHONES.parse().unwrap(),
        key: "phones".to_owned(),
        name: "Phones".to_owned(),
        kind,
        provider: String::new(),
        ..channel()
    }
}

fn directory() -> PathBuf {
    let directory = std::env::temp_dir().join(format!("bellwire-test-{}", Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

/// A workflow document with these steps.
pub fn document(steps: Value) -> Value {
    json!({"name": "Test", "steps": steps})
}

/// A feed step called `step` whose body is `body`.
pub fn tell(step: &str, body: &str) -> Value {
    json!({"type": "channel", "ref": step, "channel_key": "feed", "channel_type": "in_app_feed",
        "template": {"markdown_body": body, "action_url": "https://app.example/{{ data.page }}"}})
}

/// A channel step that sends from noon to one, every day.
pub fn at_noon(mut step: Value) -> Value {
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    step["send_windows"] =
        days.iter().map(|day| json!({"day": day, "type": "send", "from": "12:00", "until": "13:00"})).collect();
    step
}

/// A delay step called `step`.
pub fn wait(step: &str, unit: &str, value: i64) -> Value {
    json!({"type": "delay", "ref": step, "settings": {"delay_for": {"unit": unit, "value": value}}})
}

impl World {
    /// A world with these workflows.
    pub async fn new(workflows: &[(&str, Value)]) -> World {
        World::with_settings(workflows, Settings { all_vars: json!({}), ..Settings::default() }).await
    }

    /// A world whose channel has these conditions.
    pub async fn with_channel_conditions(workflows: &[(&str, Value)], conditions: Value) -> World {
        let group = Group::parse(&conditions, "conditions", Allow::default()).unwrap();
        let channel = Channel { conditions: Some(group), ..channel() };
        World::with(workflows, Settings { all_vars: json!({}), ..Settings::default() }, channel).await
    }

    /// A world with these workflows, whose environment has these settings.
    pub async fn with_settings(workflows: &[(&str, Value)], settings: Settings) -> World {
        World::with(workflows, settings, channel()).await
    }

    /// A world in a store that is there already.
    pub async fn in_store(store: Store, workflows: &[(&str, Value)]) -> World {
        let settings = Settings { all_vars: json!({}), ..Settings::default() };
        World::made(directory(), (store, None), workflows, settings, channel()).await
    }

    /// A world in a file, wherever other worlds are.
    pub async fn embedded(workflows: &[(&str, Value)]) -> World {
        let directory = directory();
        let store = Store::open(&directory.join("bellwire.db")).unwrap();
        let settings = Settings { all_vars: json!({}), ..Settings::default() };
        World::made(directory, (store, None), workflows, settings, channel()).await
    }

    /// The file that an embedded world is in.
    pub fn file(&self) -> PathBuf {
        self.directory.join("bellwire.db")
    }

    /// What tells a command where this world's database is, as a variable of the environment.
    pub fn variable(&self) -> (&'static str, String) {
        match &self.database {
            Some(url) => ("BELLWIRE_STORE_URL", url.clone()),
            None => ("BELLWIRE_STORE_PATH", self.file().display().to_string()),
        }
    }

    async fn with(workflows: &[(&str, Value)], settings: Settings, channel: Channel) -> World {
        let directory = directory();
        let store = crate::support::store(&directory).await;
        World::made(directory, store, workflows, settings, channel).await
    }

    /// A world with more channels than the feed, and groups of them.
    pub async fn with_channels(
        workflows: &[(&str, Value)],
        settings: Settings,
        more: Vec<Channel>,
        groups: Vec<ChannelGroup>,
    ) -> World {
        let directory = directory();
        let store = crate::support::store(&directory).await;
        let channels = [channel()].into_iter().chain(more).collect();
        World::made_with(directory, store, workflows, settings, (channels, groups)).await
    }

    async fn made(
        directory: PathBuf,
        (store, database): (Store, Option<String>),
        workflows: &[(&str, Value)],
        settings: Settings,
        channel: Channel,
    ) -> World {
        let mut settings = settings;
        settings.channels.insert("phones".to_owned(), Default::default());
        World::made_with(directory, (store, database), workflows, settings, (vec![channel, phones()], Vec::new())).await
    }

    async fn made_with(
        directory: PathBuf,
        (store, database): (Store, Option<String>),
        workflows: &[(&str, Value)],
        settings: Settings,
        (channels, groups): (Vec<Channel>, Vec<ChannelGroup>),
    ) -> World {
        let row = store.ensure_environment("development", START).await.unwrap();
        let environment = Environment { number: row.number, id: row.id, slug: row.slug, settings };
        let parsed: Vec<Workflow> = workflows
            .iter()
            .map(|(key, document)| Workflow::parse(key, document, &channels).expect("a valid workflow"))
            .collect();
        let mut batch = Batch::new();
        for workflow in &parsed {
            batch.publish_workflow(row.number, &workflow.key, workflow.version_id, &workflow.source, START);
        }
        store.apply(batch).await.unwrap();
        let (events, here): (Arc<Mutex<_>>, Arc<Mutex<_>>) = Default::default();
        let ears = Ears { events: Arc::clone(&events), here: Arc::clone(&here) };
        let core = Core {
            store,
            bus: Bus::start(BusSettings::default(), ears).await.unwrap(),
            clock: Clock::manual(START),
            waker: Waker::default(),
            outside: crate::stub::way_out(),
            catalog: Catalog::new(vec![environment], channels, parsed).with_channel_groups(groups),
            rings: Default::default(),
            turns: Default::default(),
            sightings: Default::default(),
            metrics: Default::default(),
        };
        World { core, env: row.number, events, here, directory, database }
    }

    /// The database as another process sees it.
    pub fn other_process(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.directory.join("bellwire.db")).unwrap()
    }

    /// Triggers a workflow.
    pub async fn trigger(&self, workflow: &str, body: Value) -> Result<Answer, Error> {
        self.trigger_with_key(workflow, body, None).await
    }

    /// Triggers a workflow with an idempotency key; the body is its own fingerprint.
    pub async fn trigger_with_key(&self, workflow: &str, body: Value, key: Option<&str>) -> Result<Answer, Error> {
        self.trigger_on(&self.core, workflow, body, key).await
    }

    /// Triggers a workflow on one of several nodes.
    pub async fn trigger_on(
        &self,
        node: &Core,
        workflow: &str,
        body: Value,
        key: Option<&str>,
    ) -> Result<Answer, Error> {
        // No two triggers at the same instant, so that runs can be told in order.
        self.core.clock.advance(1_000);
        let fingerprint = format!("{workflow} {body}");
        let asked = Asked {
            env: self.env,
            workflow,
            request_id: "request-1",
            idempotency: key.map(|key| (key, fingerprint.as_str())),
        };
        trigger(node, &asked, body).await
    }

    /// Puts `count` copies of the user's newest item into their feed, in few transactions; the ids of the copies.
    pub async fn copy(&self, user: &str, count: usize) -> Vec<String> {
        let newest = self.feed(user).await.into_iter().next().expect("an item to copy");
        let ids: Vec<String> = (0..count).map(|_| Uuid::new_v4().simple().to_string()).collect();
        for some in ids.chunks(500) {
            let mut batch = Batch::new();
            for id in some {
                batch.add_to_feed(&Message { id: id.clone(), ..newest.clone() });
            }
            self.core.store.apply(batch).await.unwrap();
        }
        ids
    }

    /// Turns the clock on and does every job that falls due, as a queue does: in order, but for those that are done
    /// together. Answers how many there were.
    pub async fn pass(&self, seconds: i64) -> usize {
        self.pass_on(&self.core, seconds).await
    }

    /// The same on one of several nodes.
    pub async fn pass_on(&self, node: &Core, seconds: i64) -> usize {
        let until = self.core.clock.now().plus_seconds(seconds);
        let mut done = 0;
        while let Some(at) = self.core.store.next_job_at().await.unwrap().filter(|at| *at <= until) {
            self.core.clock.set(at.max(self.core.clock.now()));
            let now = self.core.clock.now();
            let claimed = self.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
            done += claimed.len();
            assert!(done < MOST_JOBS, "it never comes to an end");
            let (crowd, alone): (Vec<Job>, Vec<Job>) = claimed.into_iter().partition(is_joint);
            let left = if crowd.len() > 1 { work_together(node, crowd).await } else { crowd };
            for job in left.into_iter().chain(alone) {
                work(node, &job).await.expect("a job that can be done");
            }
        }
        self.core.clock.set(until);
        done
    }

    /// Another node of the same world: its store, and nothing else of what this one has in memory.
    pub fn neighbour(&self) -> Core {
        self.node(|_| {}, channel())
    }

    /// A node of the same world that is configured otherwise: with these settings, and conditions of the channel.
    pub fn reconfigured(&self, settings: Settings, conditions: Value) -> Core {
        let group = Group::parse(&conditions, "conditions", Allow::default()).unwrap();
        self.node(
            |environment| environment.settings = settings.clone(),
            Channel { conditions: Some(group), ..channel() },
        )
    }

    /// Another node of the same world, which has the workflows that are published.
    pub fn follower(&self) -> Core {
        let environments = self.core.catalog.environments().iter().map(|one| (**one).clone()).collect();
        let catalog = Catalog::new(environments, vec![channel()], Vec::new()).following_store();
        Core { catalog, ..self.neighbour() }
    }

    /// Another node of the same world, with connections of its own to the database.
    pub fn neighbour_in(&self, store: Store) -> Core {
        Core { store, ..self.neighbour() }
    }

    /// Another node of the same world, which has connections of its own where several nodes may share the database.
    pub async fn other_node(&self) -> Core {
        match &self.database {
            None => self.neighbour(),
            Some(url) => {
                let place = postgres::place(url, 6, Duration::from_secs(30));
                self.neighbour_in(Store::connect(&place).await.unwrap())
            }
        }
    }

    fn node(&self, configure: impl Fn(&mut Environment), channel: Channel) -> Core {
        let own = &self.core.catalog;
        let mut environments: Vec<Environment> = own.environments().iter().map(|one| (**one).clone()).collect();
        environments.iter_mut().for_each(configure);
        let channels = vec![channel];
        let parse = |workflow: &Arc<Workflow>| Workflow::parse(&workflow.key, &workflow.source, &channels).unwrap();
        let workflows: Vec<Workflow> = own.workflows(self.env).iter().map(parse).collect();
        Core {
            store: self.core.store.clone(),
            bus: Bus::local(|_| {}),
            clock: self.core.clock.clone(),
            waker: Waker::default(),
            outside: crate::stub::way_out(),
            catalog: Catalog::new(environments, channels, workflows),
            rings: Default::default(),
            turns: Default::default(),
            sightings: Default::default(),
            metrics: Default::default(),
        }
    }

    /// Holds up the database's writer until what this gives is dropped: what is asked for meanwhile is made ready, and is
    /// not committed. PostgreSQL holds up what touches these tables.
    async fn hold_writer(&self, tables: &str) -> Held {
        if let Some(database) = &self.database {
            return Held::Postgres(Postgres::begin(database, &format!("LOCK TABLE {tables} IN EXCLUSIVE MODE")).await);
        }
        let connection = rusqlite::Connection::open(self.directory.join("bellwire.db")).unwrap();
        connection.busy_timeout(Duration::from_secs(10)).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        Held::Sqlite(connection)
    }

    /// Does both while nothing is committed until both wait for it; `first` is then committed before `second`.
    pub async fn at_once<A, B>(&self, first: impl Future<Output = A>, second: impl Future<Output = B>) -> (A, B) {
        let held = self.hold_writer("users, objects, runs, jobs, feeds, guide_engagements").await;
        let (is_first_waiting, second_may) = tokio::sync::oneshot::channel();
        let (is_first_done, done) = tokio::sync::oneshot::channel();
        let release = async move {
            let before = held.give_time(&[]).await;
            let _ = is_first_waiting.send(());
            let mut behind = held.give_time(&before).await;
            behind.retain(|process| !before.contains(process));
            // SQLite's writer takes one after the other; PostgreSQL lets all go that wait for a table.
            let frozen = Frozen::new(behind);
            drop(held);
            done.await.unwrap();
            drop(frozen);
        };
        let first = async {
            let answer = first.await;
            let _ = is_first_done.send(());
            answer
        };
        let second = async {
            second_may.await.unwrap();
            second.await
        };
        let (first, second, ()) = tokio::join!(biased; first, second, release);
        (first, second)
    }

    /// Does `work` on a disk so slow that everything which can be under way at the same time is.
    pub async fn on_a_slow_disk<T>(&self, work: impl Future<Output = T>) -> T {
        let ask = match &self.database {
            Some(_) => "SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)",
            None => "PRAGMA data_version",
        };
        let commits = async || self.core.store.query_one(ask, &[], |row| row.int(0)).await.unwrap();
        let slow = async {
            loop {
                let held = self.hold_writer("users").await;
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                let before = commits().await;
                drop(held);
                while commits().await == before {
                    tokio::task::yield_now().await;
                }
            }
        };
        tokio::select! {
            done = work => done,
            () = slow => unreachable!("it never ends"),
        }
    }

    /// The user's feed, newest first, archived items included.
    pub async fn feed(&self, user: &str) -> Vec<Message> {
        let head = self.head(user).await;
        let filter = Filter { archived: bellwire::model::feed::Archived::Include, ..Filter::default() };
        self.core.store.feed_page(&head, &filter, None, 50).await.unwrap().messages
    }

    /// What the user's items say, oldest first: the rendered bodies.
    pub async fn told(&self, user: &str) -> Vec<String> {
        let mut bodies: Vec<String> = self.feed(user).await.iter().map(body).collect();
        bodies.reverse();
        bodies
    }

    /// The head of the user's feed.
    pub async fn head(&self, user: &str) -> Head {
        self.core.store.feed_head(self.env, CHANNEL, user).await.unwrap()
    }

    /// What changed in the user's feed after a version.
    pub async fn changes(&self, user: &str, since: i64) -> Changes {
        self.core.store.feed_since(self.env, CHANNEL, user, since).await.unwrap().1
    }

    /// Every run, oldest first.
    pub async fn runs(&self) -> Vec<Run> {
        let mut runs = self.core.store.runs(self.env, &RunFilter::default(), None, 1_000).await.unwrap();
        runs.reverse();
        runs
    }

    /// The only run.
    pub async fn run(&self) -> Run {
        let mut runs = self.runs().await;
        assert_eq!(runs.len(), 1, "one run was expected");
        runs.remove(0)
    }
}

/// The rendered body of an item.
pub fn body(message: &Message) -> String {
    let blocks: Value = serde_json::from_str(&message.blocks).unwrap();
    blocks[0]["rendered"].as_str().unwrap_or_default().trim().to_owned()
}

/// The names of a run's events with the reason each gives.
pub fn record(run: &Run) -> Vec<String> {
    run.events
        .iter()
        .map(|event| {
            let reason = event.data.as_ref().and_then(|data| data["reason"].as_str());
            reason.map_or_else(|| event.event.clone(), |reason| format!("{}:{reason}", event.event))
        })
        .collect()
}
