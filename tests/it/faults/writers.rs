//! Those who keep a town busy: they tell items, on whichever node answers, and mark them.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::town::{STUCK, Town, USERS, user};
use crate::crash::Dice;
use crate::process::{CHANNEL, Reply, call};

const WRITERS: u64 = 4;
/// A writer's pause between two triggers.
const PACE: Duration = Duration::from_millis(40);
/// Recipients of a trigger, at most and perhaps fewer: a user may be drawn twice.
const RECIPIENTS: u64 = 16;
/// One in so many items is told by a timer.
const LATER: u64 = 8;
/// Bytes of text in the data of a long item.
const LONG: usize = 10_000;
/// How long a writer waits for an answer before it asks another node.
const PATIENCE: Duration = Duration::from_secs(3);
/// For how many triggers it stays there.
const LOYALTY: u32 = 40;

/// What a user was told, by the items' names.
#[derive(Debug, Clone, Default)]
pub struct Items {
    /// Told by the time that the trigger was answered.
    pub at_once: HashSet<String>,
    /// Told by a timer.
    pub later: HashSet<String>,
}

/// What each user was told.
pub type Told = BTreeMap<String, Items>;

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
    /// Whether items are long.
    verbose: Arc<AtomicBool>,
}

impl Writers {
    /// Begins to write: items under keys that make each one a single one, however often it has to be asked for; and marks.
    pub fn begin(town: &Town, dice: &Dice) -> Writers {
        let (orders, taken) = watch::channel(Order::Write);
        let desk = Desk {
            key: town.secret().to_owned(),
            nodes: town.fronts(),
            dice: dice.clone(),
            told: Arc::default(),
            orders: taken,
            resting: Arc::new(watch::Sender::new(0)),
            verbose: Arc::default(),
        };
        let mut tasks: Vec<JoinHandle<()>> =
            (0..WRITERS).map(|number| tokio::spawn(write(number, desk.clone()))).collect();
        tasks.push(tokio::spawn(mark(desk.clone())));
        Writers { orders, tasks, desk }
    }

    /// Has them finish what they have begun, and rest.
    pub async fn pause(&self) {
        self.orders.send_replace(Order::Pause);
        let mut resting = self.desk.resting.subscribe();
        let rested = timeout(2 * STUCK, resting.wait_for(|resting| *resting > WRITERS)).await;
        rested.expect("the writers do not come to rest: one of them has failed").unwrap();
    }

    /// Has them go on.
    pub fn go_on(&self) {
        self.orders.send_replace(Order::Write);
    }

    /// Has them write long items, or short ones.
    pub fn write_long(&self, is_long: bool) {
        self.desk.verbose.store(is_long, Ordering::Release);
    }

    /// What has been told so far.
    pub fn told(&self) -> MutexGuard<'_, Told> {
        self.desk.told.lock().unwrap()
    }

    /// How many items have been told so far.
    pub fn items(&self) -> usize {
        self.told().values().map(|items| items.at_once.len() + items.later.len()).sum()
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

    /// Asks one node, and does not wait for long.
    async fn ask(
        &self,
        at: usize,
        method: Method,
        path: &str,
        key: Option<&str>,
        body: Value,
    ) -> Result<Reply, String> {
        let node = self.nodes[at % self.nodes.len()];
        let asked = timeout(PATIENCE, call(node, &self.key, method, path, key, body)).await;
        asked.unwrap_or_else(|_| Err("no answer in time".to_owned()))
    }
}

async fn write(number: u64, mut desk: Desk) {
    let mut dice = desk.dice.of(1 + number);
    let (mut at, mut stays) = (number as usize, 0);
    let mut count = 0;
    while desk.goes_on().await {
        count += 1;
        let name = format!("{number}-{count}");
        let is_later = dice.roll(0..LATER) == 0;
        let users: BTreeSet<String> = (0..dice.roll(1..RECIPIENTS)).map(|_| user(dice.roll(0..USERS))).collect();
        let recipients: Vec<Value> = users.iter().map(|id| json!({"id": id})).collect();
        let length = if desk.verbose.load(Ordering::Acquire) { LONG } else { 0 };
        let body = json!({"recipients": recipients, "data": {"name": name, "text": "x".repeat(length)}});
        let path = if is_later { "/v1/workflows/later/trigger" } else { "/v1/workflows/note/trigger" };
        let began = Instant::now();
        loop {
            let reply = desk.ask(at, Method::POST, path, Some(&name), body.clone()).await;
            match reply {
                Ok(reply) if reply.status == 200 => break,
                Ok(reply) if reply.status < 500 && reply.status != 409 => panic!("{reply:?}"),
                _ => {}
            }
            assert!(began.elapsed() < STUCK, "{name} cannot be told: {reply:?}");
            (at, stays) = (at + 1, LOYALTY);
            sleep(PACE).await;
        }
        for user in users {
            let mut told = desk.told.lock().unwrap();
            let items = told.entry(user).or_default();
            let items = if is_later { &mut items.later } else { &mut items.at_once };
            items.insert(name.clone());
        }
        if stays > 0 {
            stays -= 1;
        } else {
            at += dice.roll(0..2) as usize;
        }
        sleep(PACE).await;
    }
}

/// Marks newest items of somebody in one way or another.
async fn mark(mut desk: Desk) {
    let mut dice = desk.dice.of(100);
    while desk.goes_on().await {
        let (from, to) = (dice.roll(0..2) as usize, dice.roll(0..2) as usize);
        let path = format!("/v1/users/{}/feeds/{CHANNEL}?archived=include&page_size=5", user(dice.roll(0..USERS)));
        let mark = dice.pick(&["read", "read", "seen", "unread", "archived", "unarchived"]);
        if let Ok(reply) = desk.ask(from, Method::GET, &path, None, Value::Null).await {
            let items = reply.body["entries"].as_array().cloned().unwrap_or_default();
            let ids: Vec<Value> = items.into_iter().map(|item| item["id"].clone()).collect();
            let path = format!("/v1/messages/batch/{mark}");
            // What came of it is seen in the badges.
            let _ = desk.ask(to, Method::POST, &path, None, json!({"message_ids": ids})).await;
        }
        sleep(PACE).await;
    }
}
