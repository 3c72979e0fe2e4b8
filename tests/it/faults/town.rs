//! Two nodes over one database and one Redis, what can happen to them, and those who keep them busy meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
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
    /// Redis is away, and stays away until all is looked at.
    RedisGone,
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

/// The names of the items that each user was told.
pub type Told = BTreeMap<String, BTreeSet<String>>;

/// What those who write are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Write,
    Pause,
    Stop,
}

/// Those who write, and what they have written.
pub struct Writers {
    orders: watch::Sender<Order>,
    tasks: Vec<JoinHandle<()>>,
    desk: Desk,
}

/// What a writer works with.
#[derive(Clone)]
struct Desk {
    key: String,
    nodes: Vec<SocketAddr>,
    dice: Dice,
    told: Arc<Mutex<Told>>,
    orders: watch::Receiver<Order>,
    /// How many rest.
    resting: Arc<watch::Sender<u64>>,
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
        let (orders, taken) = watch::channel(Order::Write);
        let desk = Desk {
            key: self.nodes[0].secret.clone(),
            nodes: self.addresses(),
            dice: dice.clone(),
            told: Arc::default(),
            orders: taken,
            resting: Arc::new(watch::Sender::new(0)),
        };
        let mut tasks: Vec<JoinHandle<()>> =
            (0..WRITERS).map(|number| tokio::spawn(write(number, desk.clone()))).collect();
        tasks.push(tokio::spawn(mark(desk.clone())));
        Writers { orders, tasks, desk }
    }

    /// Has it happen, and undoes it. Where others can still write meanwhile, they stop before it is undone: nothing that
    /// comes later tells a bell that it has missed something.
    pub async fn suffer(&mut self, fault: Fault, dice: &mut Dice, writers: &Writers) {
        let at = dice.roll(0..2) as usize;
        let pause = Duration::from_millis(dice.roll(200..1_200));
        match fault {
            Fault::NodeKilled => {
                self.nodes[at].kill();
                writers.pause().await;
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
                writers.pause().await;
                self.redis.run();
            }
            Fault::RedisFrozen => {
                self.redis.freeze();
                sleep(Duration::from_secs(4)).await;
                writers.pause().await;
                self.redis.thaw();
            }
            Fault::RedisGone => {
                self.redis.kill();
                sleep(pause).await;
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
        writers.pause().await;
    }

    /// Brings back what [`Fault::RedisGone`] took away.
    pub fn mend(&mut self, fault: Fault) {
        if fault == Fault::RedisGone {
            self.redis.run();
        }
    }

    /// Waits until either node takes a trigger: nothing is stuck.
    pub async fn until_items_flow(&self) {
        self.until_all_answer(200).await;
    }

    /// Waits until every node answers a trigger so.
    pub async fn until_all_answer(&self, status: u16) {
        for node in &self.nodes {
            let began = Instant::now();
            let body = json!({"recipients": ["nobody"], "data": {"name": "probe"}});
            loop {
                let reply = node.call(Method::POST, "/v1/workflows/note/trigger", body.clone()).await;
                if reply.as_ref().is_ok_and(|reply| reply.status == status) {
                    break;
                }
                assert!(began.elapsed() < STUCK, "a node is stuck: {reply:?}\n{}", node.tail());
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Writes that a workflow is active, or not, as a node does that is told so.
    pub async fn switch(&self, workflow: &str, is_active: bool) {
        let sql = format!("UPDATE workflows SET is_active = {} WHERE key = '{workflow}'", i64::from(is_active));
        self.postgres.execute(&self.database, &sql).await;
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
    /// Has them finish what they have begun, and rest.
    pub async fn pause(&self) {
        self.orders.send_replace(Order::Pause);
        let mut resting = self.desk.resting.subscribe();
        resting.wait_for(|resting| *resting > WRITERS).await.unwrap();
    }

    /// Has them go on.
    pub fn go_on(&self) {
        self.orders.send_replace(Order::Write);
    }

    /// What has been told so far.
    pub fn told(&self) -> Told {
        self.desk.told.lock().unwrap().clone()
    }

    /// Has them finish what they have begun, and stop.
    pub async fn stop(self) {
        self.orders.send_replace(Order::Stop);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

impl Desk {
    /// Waits while there is nothing to do; false when it is time to stop.
    async fn goes_on(&mut self) -> bool {
        if *self.orders.borrow() == Order::Pause {
            self.resting.send_modify(|resting| *resting += 1);
            if self.orders.wait_for(|order| *order != Order::Pause).await.is_err() {
                return false;
            }
            self.resting.send_modify(|resting| *resting -= 1);
        }
        *self.orders.borrow() == Order::Write
    }
}

async fn write(number: u64, mut desk: Desk) {
    let mut dice = desk.dice.of(1 + number);
    let mut count = 0;
    while desk.goes_on().await {
        count += 1;
        let name = format!("{number}-{count}");
        let users: BTreeSet<String> = (0..dice.roll(1..4)).map(|_| user(dice.roll(0..USERS))).collect();
        let recipients: Vec<Value> = users.iter().map(|id| json!({"id": id})).collect();
        let body = json!({"recipients": recipients, "data": {"name": name}});
        let began = Instant::now();
        for attempt in 0.. {
            let node = desk.nodes[(count + number + attempt) as usize % desk.nodes.len()];
            let path = "/v1/workflows/note/trigger";
            let reply = call(node, &desk.key, Method::POST, path, Some(&name), body.clone()).await;
            match reply {
                Ok(reply) if reply.status == 200 => break,
                Ok(reply) if reply.status < 500 && reply.status != 409 => panic!("{reply:?}"),
                _ => {}
            }
            assert!(began.elapsed() < STUCK, "{name} cannot be told: {reply:?}");
            sleep(PACE).await;
        }
        for user in users {
            desk.told.lock().unwrap().entry(user).or_default().insert(name.clone());
        }
        sleep(PACE).await;
    }
}

/// Marks newest items of somebody as read, or as unread again.
async fn mark(mut desk: Desk) {
    let mut dice = desk.dice.of(100);
    while desk.goes_on().await {
        let node = desk.nodes[dice.roll(0..2) as usize];
        let path = format!("/v1/users/{}/feeds/{CHANNEL}?page_size=5", user(dice.roll(0..USERS)));
        if let Ok(reply) = call(node, &desk.key, Method::GET, &path, None, Value::Null).await {
            let items = reply.body["entries"].as_array().cloned().unwrap_or_default();
            let ids: Vec<Value> = items.into_iter().map(|item| item["id"].clone()).collect();
            let path = format!("/v1/messages/batch/{}", dice.pick(&["read", "read", "seen", "unread"]));
            let node = desk.nodes[dice.roll(0..2) as usize];
            // What came of it is seen in the badges.
            let _ = call(node, &desk.key, Method::POST, &path, None, json!({"message_ids": ids})).await;
        }
        sleep(4 * PACE).await;
    }
}
