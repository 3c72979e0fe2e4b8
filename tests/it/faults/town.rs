//! Two nodes over one database and one Redis, what can happen to them, and those who keep them busy meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::bell::Bell;
use crate::crash::Dice;
use crate::process::{CHANNEL, Process, call};
use crate::support::postgres;
use crate::support::redis::RedisServer;

const USERS: u64 = 8;
const WRITERS: u64 = 4;
/// A writer's pause between two triggers.
const PACE: Duration = Duration::from_millis(25);
/// How long an outage may make everybody wait, at most, before something is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node dies, as by `kill -9`, and is started again.
    NodeKilled,
    /// A node is asked to stop, and is started again.
    NodeStopped,
    /// A node stands still for three seconds: whoever waits for it goes elsewhere, and then it goes on.
    NodeFrozen,
    RedisKilled,
    RedisFrozen,
    /// Redis drops everybody who listens.
    RedisCut,
    /// PostgreSQL dies, as with its machine, and is started again.
    DatabaseKilled,
    /// PostgreSQL drops every connection.
    DatabaseCut,
}

pub struct Town {
    nodes: Vec<Process>,
    redis: RedisServer,
    postgres: postgres::Server,
    database: String,
}

/// Those who write, and what they have written.
pub struct Writers {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<BTreeMap<String, BTreeSet<String>>>>,
    marker: JoinHandle<()>,
}

fn user(number: u64) -> String {
    format!("user-{number}")
}

impl Town {
    pub async fn found() -> Town {
        let postgres = postgres::Server::with(&["fsync=on"]);
        let redis = RedisServer::start(&[]);
        let database = postgres.database().await;
        let variables = [
            ("BELLWIRE_STORE_URL".to_owned(), postgres.url(&database)),
            ("BELLWIRE_STORE_TIMEOUT_SECONDS".to_owned(), "5".to_owned()),
            ("BELLWIRE_BUS_URLS".to_owned(), redis.url()),
        ];
        let mut nodes: Vec<Process> =
            (0..2).map(|_| Process::laid_out_in_town("[hub]\ndrain_spread_seconds = 1\n", &variables)).collect();
        nodes.iter_mut().for_each(Process::run);
        Town { nodes, redis, postgres, database }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Two bells of every user, on whichever nodes the dice say.
    pub fn bells(&self, dice: &mut Dice) -> Vec<Bell> {
        let bell = |number: u64, dice: &mut Dice| {
            let key = self.nodes[0].public.clone();
            Bell::open(user(number % USERS), key, self.addresses(), dice.roll(0..2) as usize)
        };
        (0..2 * USERS).map(|number| bell(number, dice)).collect()
    }

    /// Begins to write: items under keys that make each one a single one, however often it has to be asked for; and marks.
    pub fn writers(&self, dice: &Dice) -> Writers {
        let (stop, stopped) = watch::channel(false);
        let key = self.nodes[0].secret.clone();
        let task = |number: u64| {
            let (key, nodes, stopped) = (key.clone(), self.addresses(), stopped.clone());
            tokio::spawn(write(number, key, nodes, stopped, dice.clone()))
        };
        let tasks = (0..WRITERS).map(task).collect();
        let marker = tokio::spawn(mark(key, self.addresses(), stopped, dice.clone()));
        Writers { stop, tasks, marker }
    }

    /// Has it happen, and undoes it.
    pub async fn suffer(&mut self, fault: Fault, dice: &mut Dice) {
        let at = dice.roll(0..2) as usize;
        let pause = Duration::from_millis(dice.roll(200..1_200));
        match fault {
            Fault::NodeKilled => {
                self.nodes[at].kill();
                sleep(pause).await;
                self.nodes[at].run();
            }
            Fault::NodeStopped => {
                let began = Instant::now();
                self.nodes[at].stop();
                assert!(began.elapsed() < Duration::from_secs(35), "it stops before its deadline");
                self.nodes[at].run();
            }
            Fault::NodeFrozen => {
                self.nodes[at].signal("STOP");
                sleep(Duration::from_secs(3)).await;
                self.nodes[at].signal("CONT");
            }
            Fault::RedisKilled => {
                self.redis.kill();
                sleep(pause).await;
                self.redis.run();
            }
            Fault::RedisFrozen => {
                self.redis.freeze();
                sleep(Duration::from_secs(4)).await;
                self.redis.thaw();
            }
            Fault::RedisCut => {
                self.redis.ask(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            }
            Fault::DatabaseKilled => {
                self.postgres.down();
                sleep(pause).await;
                self.postgres.up();
            }
            Fault::DatabaseCut => {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE datname IS NOT NULL AND pid <> pg_backend_pid()";
                self.postgres.execute(&self.database, cut).await;
            }
        }
    }

    /// Waits until either node takes a trigger: nothing is stuck.
    pub async fn until_items_flow(&self) {
        for node in &self.nodes {
            let began = Instant::now();
            let body = json!({"recipients": ["nobody"], "data": {"name": "probe"}});
            loop {
                let reply = node.call(Method::POST, "/v1/workflows/note/trigger", body.clone()).await;
                if reply.as_ref().is_ok_and(|reply| reply.status == 200) {
                    break;
                }
                assert!(began.elapsed() < STUCK, "a node is stuck: {reply:?}\n{}", node.tail());
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// How many items a user's feed has, and how many are unread.
    pub async fn counts(&self, user: &str) -> (i64, i64) {
        let path = format!("/v1/users/{user}/feeds/{CHANNEL}?archived=include&page_size=1");
        let reply = self.nodes[0].call(Method::GET, &path, Value::Null).await.expect("an answer");
        let count = |name: &str| reply.body["meta"][name].as_i64().unwrap_or(-1);
        (count("total_count"), count("unread_count"))
    }
}

impl Writers {
    /// Has them finish what they have begun, and stop. The names of the items that each user was told.
    pub async fn rest(self) -> BTreeMap<String, BTreeSet<String>> {
        self.stop.send_replace(true);
        let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for task in self.tasks {
            for (user, names) in task.await.unwrap() {
                all.entry(user).or_default().extend(names);
            }
        }
        self.marker.await.unwrap();
        all
    }
}

async fn write(
    number: u64,
    key: String,
    nodes: Vec<SocketAddr>,
    stopped: watch::Receiver<bool>,
    dice: Dice,
) -> BTreeMap<String, BTreeSet<String>> {
    let mut dice = dice.of(1 + number);
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    while !*stopped.borrow() {
        count += 1;
        let name = format!("{number}-{count}");
        let users: BTreeSet<String> = (0..dice.roll(1..4)).map(|_| user(dice.roll(0..USERS))).collect();
        let recipients: Vec<Value> = users.iter().map(|id| json!({"id": id})).collect();
        let body = json!({"recipients": recipients, "data": {"name": name}});
        let began = Instant::now();
        for attempt in 0.. {
            let node = nodes[(count + number + attempt) as usize % nodes.len()];
            let path = "/v1/workflows/note/trigger";
            let reply = call(node, &key, Method::POST, path, Some(&name), body.clone()).await;
            match reply {
                Ok(reply) if reply.status == 200 => break,
                Ok(reply) if reply.status < 500 && reply.status != 409 => panic!("{reply:?}"),
                _ => {}
            }
            assert!(began.elapsed() < STUCK, "{name} cannot be told: {reply:?}");
            sleep(PACE).await;
        }
        for user in users {
            told.entry(user).or_default().insert(name.clone());
        }
        sleep(PACE).await;
    }
    told
}

/// Marks newest items of somebody as read, or as unread again.
async fn mark(key: String, nodes: Vec<SocketAddr>, stopped: watch::Receiver<bool>, dice: Dice) {
    let mut dice = dice.of(100);
    while !*stopped.borrow() {
        let node = nodes[dice.roll(0..2) as usize];
        let path = format!("/v1/users/{}/feeds/{CHANNEL}?page_size=5", user(dice.roll(0..USERS)));
        if let Ok(reply) = call(node, &key, Method::GET, &path, None, Value::Null).await {
            let items = reply.body["entries"].as_array().cloned().unwrap_or_default();
            let ids: Vec<Value> = items.into_iter().map(|item| item["id"].clone()).collect();
            let path = format!("/v1/messages/batch/{}", dice.pick(&["read", "read", "seen", "unread"]));
            let node = nodes[dice.roll(0..2) as usize];
            // What came of it is seen in the badges.
            let _ = call(node, &key, Method::POST, &path, None, json!({"message_ids": ids})).await;
        }
        sleep(4 * PACE).await;
    }
}
