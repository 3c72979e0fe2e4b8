//! The world: everything that is under way, and when it happens.

mod bus;
mod fate;
mod people;
mod rows;
mod sockets;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::Instant;
use uuid::Uuid;

use super::clients::{Client, Kind, VARIANTS};
use super::database::{Database, Write, wide};
use super::dice::Dice;
use super::stage::{Ground, LANE, Life, MILLI, Order, SECOND, Stage, Weather, lock, time_at, unavailable};
use crate::bus::watched::Errands;
use crate::bus::{FeedEvent, Listener as _, News, Whose};
use crate::hub::acts::{self, Desk};
use crate::hub::channels::feed::Name;
use crate::hub::outbox::{Frame, Link};
use crate::hub::registry::{Registry, Work};
use crate::hub::session::{Out, Session};
use crate::hub::socket::Busy;
use crate::metrics::Metrics;
use crate::model::channel::{Channel, ChannelKind, ResponseFilter};
use crate::model::environment::{Environment, Settings};
use crate::model::feed::{Counts, Filter, Head};
use crate::model::mark::Mark;
use crate::model::time::Time;
use crate::sign::api_key::Kind as KeyKind;
use crate::store::changes::{Seen, Trail};
use crate::verbs::Catalog;
use crate::verbs::door::Caller;
use crate::wire::envelope::{self, Letter, Opened};
use crate::wire::phoenix::{self, Push, Vsn};
use fate::{described, rank};

const CHANNELS: [Uuid; 2] = [Uuid::from_u128(0xC1), Uuid::from_u128(0xC2)];
/// Feeds: two channels of one user, whose news come together, and one of another.
const FEEDS: [(Uuid, &str); 3] = [(CHANNELS[0], "ann"), (CHANNELS[1], "ann"), (CHANNELS[0], "bob")];
/// As configured: how often nodes sweep, how long a user stays watched, and how exact the time of bursts is.
const SWEEP: Duration = Duration::from_secs(5);
const GRACE: i64 = 12 * SECOND;
const PASS: i64 = SECOND / 16;
const BURSTS_ENDED: i64 = SECOND / 4;
/// How long all is calm before everything must be known: until every node has seen that it was cut off from the bus, and
/// every client has come back; where there is a sweep, two of them and more.
const REST: i64 = 12 * SECOND;
const REST_WITH_SWEEP: i64 = 16 * SECOND;
/// How long things change at most. A storm that lasts longer is for a node that sleeps through it.
const LIVELY: i64 = 15 * SECOND;
/// How long after everybody went nothing may be left.
const LEAVING: i64 = 20 * SECOND;
/// How long a stock client looks at most, and how old news may be that it hears: together, less than a burst.
const LOOK: i64 = 400 * MILLI;
const LINE: i64 = 100 * MILLI;

/// What all runs share, since they change nothing of it.
pub(super) struct Tools {
    catalog: Arc<Catalog>,
    pub(super) metrics: Arc<Metrics>,
    caller: Arc<Caller>,
    plain: Arc<Filter>,
    /// A frame of another topic, as large as an outbox.
    filler: Arc<Push>,
}

impl Tools {
    pub(super) fn new() -> Tools {
        let at = Time::from_micros(0);
        let channel = |id: Uuid| Channel {
            id,
            key: id.to_string(),
            name: String::new(),
            kind: ChannelKind::InAppFeed,
            provider: Channel::FEED_PROVIDER.into(),
            created_at: at,
            updated_at: at,
            conditions: None,
            response_filter: ResponseFilter::default(),
        };
        let settings = Settings::default();
        let environment = Environment { number: 1, id: Uuid::nil(), slug: String::new(), settings };
        Tools {
            catalog: Arc::new(Catalog::new(Vec::new(), CHANNELS.map(channel).into(), Vec::new())),
            metrics: Arc::default(),
            caller: Arc::new(Caller {
                environment: Arc::new(environment),
                kind: KeyKind::Public,
                claims: None,
                scope: None,
            }),
            plain: Arc::default(),
            filler: Arc::new(Push::new(
                "feeds:other:feed",
                "new-message",
                &format!("{{\"x\":\"{}\"}}", "x".repeat(128 * 1024)),
            )),
        }
    }
}

/// What there is beside the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// One node with its own database.
    Alone,
    /// A bus that loses nothing unless a connection is lost. Nobody sweeps: what the bus says must be enough.
    Told,
    /// A bus that may lose anything, and a sweep.
    Swept,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// A node is killed, and started again after a while.
    Crash,
    /// A node stands still: for seconds, or for minutes.
    Freeze,
    Sleep,
    /// A node loses its connection to the bus; all do; or the bus no longer serves it one user.
    LaneLost,
    BusAway,
    Unserved,
    /// The database does not answer, or has crashed and forgotten what had changed.
    Outage,
    DatabaseCrash,
}

enum Entry {
    /// A task goes on.
    Poll(u64),
    /// The server looks after a socket.
    Turn(u64),
    /// Bursts may be over.
    Bursts(Life),
    Dial(usize),
    /// A client does something of its own.
    Act(usize),
    /// A client joins again after it was refused.
    Rejoin(usize, u64),
    /// A frame comes to the server; one comes to the client.
    Up(u64, String),
    Down(u64, String),
    /// The client learns that its connection is lost; the server does.
    Lost(u64),
    Gone(u64),
    /// The client takes in again what it is told.
    Drained(u64),
    /// A stock client looks, at the head first and then at the items.
    Look(usize, usize, Looking),
    Writer,
    Begin(Order),
    Commit(Order, i64),
    Publish(Order, FeedEvent),
    /// News on the way to the server of the bus; from there to a node.
    Post(Life, Arc<[u8]>, Whose, u8),
    Arrive(Life, u64, Arc<[u8]>, Whose),
    /// What a node asks the bus for, and what that says; on one of its connections.
    Attend(Life),
    Subscribe(Life, u64, Vec<Whose>),
    Unsubscribe(Life, u64, Errands),
    Confirm(Life, u64, Whose),
    Unsubscribed(Life, u64, Whose),
    Answered(Life, u64, Vec<Whose>),
    LaneDown(Life, u64),
    Connect(Life),
    Replace(Life),
    Tidy(Life),
    Sweep(Life),
    Swept(Life, Seen),
    Fault(Fault),
    /// A node goes on after it stood still; one begins another life.
    Thaw(Life),
    Restart(usize),
}

enum Looking {
    Begun,
    Headed(Head),
    Found(Vec<(String, i64)>, Counts),
}

struct Task {
    life: Life,
    future: Busy,
    /// The socket on whose behalf it works.
    conn: Option<u64>,
    waker: Waker,
}

struct Node {
    life: Life,
    is_up: bool,
    frozen_until: i64,
    /// What is to happen on it once it goes on.
    held: Vec<Entry>,
    /// When the sweep of its sockets came by last.
    passed_at: i64,
    registry: Registry,
    stage: Arc<Stage>,
    trail: Trail,
    lane: Lane,
    /// Changes that the others have not been told of yet.
    unpublished: usize,
    /// Until when bursts are looked after, and whether that is planned.
    busy_until: i64,
    minds_bursts: bool,
}

/// A node's connection to the bus.
#[derive(Default)]
struct Lane {
    /// Its number; none when there is none.
    number: Option<u64>,
    asking: usize,
    /// What waits until everything asked before is answered.
    held: Option<Errands>,
    is_leaving: bool,
    /// When what came last on it comes, so that nothing overtakes it.
    at: i64,
}

/// A socket, on both of its ends.
struct Conn {
    life: Life,
    client: usize,
    link: Arc<Link>,
    session: Session,
    acts: VecDeque<Out>,
    inbox: VecDeque<String>,
    busy: Option<u64>,
    writing: VecDeque<Frame>,
    slow_until: i64,
    /// Until when its task gets no turn.
    waits_until: i64,
    /// Its outbox was filled, so that news may come late.
    was_filled: bool,
    up_at: i64,
    down_at: i64,
    waker: Waker,
}

/// The server of the bus: who is subscribed to what, by connection.
#[derive(Default)]
struct Broker {
    away_until: i64,
    lanes: BTreeMap<u64, (Life, BTreeSet<Arc<str>>)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ring {
    Task(u64),
    Conn(u64),
}

/// Says who wants to go on.
struct Bell {
    ring: Ring,
    rung: Arc<Mutex<Vec<Ring>>>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        lock(&self.rung).push(self.ring);
    }
}

pub(super) struct World<'a> {
    tools: &'a Tools,
    origin: Instant,
    ground: Arc<Mutex<Ground>>,
    mode: Mode,
    /// How long a user stays watched.
    grace: i64,
    storm_until: i64,
    is_calm: bool,
    queue: BTreeMap<(i64, u64), Box<Entry>>,
    entries: u64,
    rung: Arc<Mutex<Vec<Ring>>>,
    tasks: BTreeMap<u64, Task>,
    nodes: Vec<Node>,
    conns: BTreeMap<u64, Conn>,
    broker: Broker,
    clients: Vec<Client>,
    /// The last number given to a task, a socket, a lane or a life.
    numbers: u64,
    feeds: usize,
}

#[derive(Deserialize)]
struct Reply<'a> {
    status: &'a str,
    #[serde(borrow)]
    response: &'a RawValue,
}

#[derive(Deserialize)]
struct Answer<'a> {
    version: i64,
    at: &'a str,
}

impl<'a> World<'a> {
    /// A world as the seed has it.
    pub(super) fn new(tools: &'a Tools, seed: u64, is_traced: bool) -> World<'a> {
        let mut dice = Dice::new(seed);
        let mode = dice.pick(&[Mode::Alone, Mode::Told, Mode::Told, Mode::Swept, Mode::Swept]);
        let is_lossy = mode == Mode::Swept;
        // A night through which a node sleeps, so long that the others forget what it has not seen.
        let is_night = is_lossy && dice.chance(15);
        let weather = Weather {
            read: dice.pick(&[2, 40, 400]) * MILLI,
            write: dice.pick(&[2, 40, 400]) * MILLI,
            news: dice.pick(&[2, 40, 2_000]) * MILLI,
            bus: dice.pick(&[40, 400, 4_500]) * MILLI,
            failing: if is_night { 0 } else { dice.pick(&[0, 0, 3, 20]) },
            lost: if is_night {
                50
            } else if is_lossy {
                dice.pick(&[0, 10, 50])
            } else {
                0
            },
            doubled: dice.pick(&[0, 10, 40]),
            garbled: dice.pick(&[0, 0, 10, 60]),
        };
        let feeds = dice.roll(1..4) as usize;
        let names: Vec<Name> = FEEDS[..feeds]
            .iter()
            .map(|(channel, user)| Name { env: 1, channel: *channel, user: (*user).into() })
            .collect();
        let nodes = if mode == Mode::Alone { 1 } else { dice.roll(2..5) as usize };
        let storm_until = match is_night {
            true => dice.roll(130 * SECOND..220 * SECOND),
            false => dice.pick(&[2, 6, 15]) * SECOND,
        };
        let grace = dice.pick(&[SECOND / 2, GRACE]);
        let clients: Vec<Client> = (0..dice.roll(2..7) as usize)
            .map(|number| {
                let feed = dice.roll(0..feeds as i64) as usize;
                Client::new(number, feed, names[feed].topic(), dice.chance(60), dice.roll(0..VARIANTS) as usize)
            })
            .collect();
        let ground = Ground {
            now: 0,
            dice,
            database: Database::new(&names),
            weather,
            outage_until: 0,
            polled: 0,
            alarms: Vec::new(),
            works: Vec::new(),
            orders: Vec::new(),
            wishing: Vec::new(),
            released: Vec::new(),
            trace: is_traced.then(Vec::new),
        };
        let mut world = World {
            tools,
            origin: Instant::now(),
            ground: Arc::new(Mutex::new(ground)),
            mode,
            grace,
            storm_until,
            is_calm: false,
            queue: BTreeMap::new(),
            entries: 0,
            rung: Arc::default(),
            tasks: BTreeMap::new(),
            nodes: Vec::new(),
            conns: BTreeMap::new(),
            broker: Broker::default(),
            clients,
            numbers: 0,
            feeds,
        };
        world.note(|| format!("{mode:?}: {nodes} nodes, {feeds} feeds; {weather:?}"));
        (0..nodes).for_each(|node| world.start(node));
        world.plan();
        world
    }

    /// Runs it to its end; what went wrong, if anything did.
    pub(super) fn run(&mut self) -> Result<(), String> {
        self.run_until(self.storm_until)?;
        self.calm();
        let rest = if self.mode == Mode::Swept { REST_WITH_SWEEP } else { REST };
        self.run_until(self.storm_until + rest)?;
        self.is_at_rest()?;
        self.desert();
        self.run_until(self.storm_until + rest + LEAVING)?;
        self.is_deserted()
    }

    /// What has happened so far.
    pub(super) fn trace(&self) -> Vec<String> {
        self.ground().trace.clone().unwrap_or_default()
    }

    fn run_until(&mut self, end: i64) -> Result<(), String> {
        loop {
            self.settle();
            let Some(next) = self.queue.first_entry().filter(|next| next.key().0 <= end) else { break };
            let ((due, _), entry) = next.remove_entry();
            self.ground().now = due;
            if let Some(life) = self.whose(&entry) {
                let node = &self.nodes[life.node];
                if node.life != life || !node.is_up {
                    if let Entry::Gone(conn) = *entry {
                        self.conns.remove(&conn);
                    }
                    continue;
                }
                if node.frozen_until > due {
                    self.nodes[life.node].held.push(*entry);
                    continue;
                }
                self.pass(life.node, !matches!(*entry, Entry::Bursts(_)));
            }
            self.step(*entry)?;
        }
        self.ground().now = end;
        Ok(())
    }

    fn ground(&self) -> MutexGuard<'_, Ground> {
        lock(&self.ground)
    }

    fn note(&self, text: impl FnOnce() -> String) {
        self.ground().note(text);
    }

    fn now(&self) -> i64 {
        self.ground().now
    }

    fn roll(&self, range: std::ops::Range<i64>) -> i64 {
        self.ground().dice.roll(range)
    }

    fn chance(&self, percent: i64) -> bool {
        self.ground().dice.chance(percent)
    }

    fn lag(&self, most: i64) -> i64 {
        self.ground().dice.lag(most)
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn push_at(&mut self, at: i64, entry: Entry) {
        self.entries += 1;
        self.queue.insert((at, self.entries), Box::new(entry));
    }

    /// Has it happen in so many microseconds.
    fn push(&mut self, lag: i64, entry: Entry) {
        self.push_at(self.now() + lag, entry);
    }

    /// Has it happen after at most so long.
    fn soon(&mut self, most: i64, entry: Entry) {
        let lag = self.lag(most);
        self.push(lag, entry);
    }

    /// The node whose doing it is.
    fn whose(&self, entry: &Entry) -> Option<Life> {
        match entry {
            Entry::Poll(task) => self.tasks.get(task).map(|task| task.life),
            Entry::Turn(conn) | Entry::Gone(conn) | Entry::Drained(conn) => self.conns.get(conn).map(|conn| conn.life),
            Entry::Publish(order, _) => Some(order.life),
            Entry::Bursts(life)
            | Entry::Arrive(life, ..)
            | Entry::Attend(life)
            | Entry::Confirm(life, ..)
            | Entry::Unsubscribed(life, ..)
            | Entry::Answered(life, ..)
            | Entry::LaneDown(life, _)
            | Entry::Connect(life)
            | Entry::Replace(life)
            | Entry::Tidy(life)
            | Entry::Sweep(life)
            | Entry::Swept(life, _) => Some(*life),
            _ => None,
        }
    }

    /// The sweep of sockets has come by of late, and goes on to while there is anything to do.
    fn pass(&mut self, node: usize, is_busy: bool) {
        let now = self.now();
        let node = &mut self.nodes[node];
        node.passed_at += (now - node.passed_at) / PASS * PASS;
        node.registry.pass(time_at(node.passed_at));
        if !is_busy {
            return;
        }
        node.busy_until = now + 2 * SECOND;
        if !std::mem::replace(&mut node.minds_bursts, true) {
            let life = node.life;
            self.push_at((now / BURSTS_ENDED + 1) * BURSTS_ENDED, Entry::Bursts(life));
        }
    }

    /// Takes up what the last step has begun.
    fn settle(&mut self) {
        let (alarms, mut works, orders, wishing, released) = {
            let mut ground = self.ground();
            let Ground { alarms, works, orders, wishing, released, .. } = &mut *ground;
            (
                std::mem::take(alarms),
                std::mem::take(works),
                std::mem::take(orders),
                std::mem::take(wishing),
                std::mem::take(released),
            )
        };
        for (due, task) in alarms {
            self.push_at(due, Entry::Poll(task));
        }
        // Maps of the hub have no order: it must not show.
        works.sort_by_key(|(life, _, work)| (*life, rank(work)));
        for (life, registry, work) in works {
            self.note(|| format!("node {} starts to {}", life.node, described(&work)));
            let future: Busy = Box::pin(async move {
                registry.perform(work).await;
                None
            });
            let task = self.task(life, future, None);
            self.soon(5 * MILLI, Entry::Poll(task));
        }
        for order in orders {
            let most = self.ground().weather.write;
            self.nodes[order.life.node].unpublished += 1;
            self.soon(most, Entry::Begin(order));
        }
        for life in wishing {
            self.soon(2 * MILLI, Entry::Attend(life));
        }
        for life in released {
            let lag = self.grace + self.roll(0..SECOND);
            self.push(lag, Entry::Tidy(life));
        }
        let mut rung = std::mem::take(&mut *lock(&self.rung));
        rung.sort_unstable();
        rung.dedup();
        for ring in rung {
            let entry = match ring {
                Ring::Task(task) => Entry::Poll(task),
                Ring::Conn(conn) => Entry::Turn(conn),
            };
            self.soon(2 * MILLI, entry);
        }
    }

    fn task(&mut self, life: Life, future: Busy, conn: Option<u64>) -> u64 {
        let number = self.number();
        let waker = self.waker(Ring::Task(number));
        self.tasks.insert(number, Task { life, future, conn, waker });
        number
    }

    fn waker(&self, ring: Ring) -> Waker {
        Waker::from(Arc::new(Bell { ring, rung: Arc::clone(&self.rung) }))
    }

    fn step(&mut self, entry: Entry) -> Result<(), String> {
        match entry {
            Entry::Poll(task) => self.poll(task),
            Entry::Turn(conn) => self.turn(conn),
            Entry::Bursts(life) => self.end_bursts(life),
            Entry::Dial(client) => self.dial(client),
            Entry::Act(client) => self.act(client),
            Entry::Rejoin(client, conn) => self.rejoin(client, conn),
            Entry::Up(conn, text) => {
                if let Some(found) = self.conns.get_mut(&conn) {
                    found.inbox.push_back(text);
                    self.push(0, Entry::Turn(conn));
                }
            }
            Entry::Down(conn, text) => return self.hear(conn, &text),
            Entry::Lost(conn) => self.lose(conn),
            Entry::Gone(conn) => self.close(conn),
            Entry::Drained(conn) => {
                if let Some(found) = self.conns.get_mut(&conn) {
                    found.slow_until = 0;
                }
                self.turn(conn);
            }
            Entry::Look(client, bell, looking) => self.look(client, bell, looking),
            Entry::Writer => self.write(),
            Entry::Begin(order) => self.begin(order),
            Entry::Commit(order, tx) => self.commit(order, tx),
            Entry::Publish(order, event) => self.publish(order, &event),
            Entry::Post(life, payload, whose, tries) => self.post(life, payload, whose, tries),
            Entry::Arrive(life, lane, payload, whose) => self.arrive(life, lane, &payload, whose),
            Entry::Attend(life) => self.attend(life),
            Entry::Subscribe(life, lane, wanted) => self.subscribe(life, lane, wanted),
            Entry::Unsubscribe(life, lane, errands) => self.unsubscribe(life, lane, errands),
            Entry::Confirm(life, lane, whose) => {
                if self.nodes[life.node].lane.number == Some(lane) {
                    self.note(|| format!("node {} hears that it is served {}", life.node, whose.user));
                    self.watched(life, |watched, _| watched.confirm(LANE, &whose));
                }
            }
            Entry::Unsubscribed(life, lane, whose) => {
                if self.nodes[life.node].lane.number == Some(lane)
                    && self.watched(life, |watched, _| watched.lose(LANE, &whose)) == Some(true)
                {
                    self.note(|| format!("node {} is no longer served {}", life.node, whose.user));
                    self.soon(SECOND, Entry::Replace(life));
                }
            }
            Entry::Answered(life, lane, wanted) => self.answered(life, lane, wanted),
            Entry::LaneDown(life, lane) => self.lane_down(life, lane),
            Entry::Connect(life) => self.connect(life),
            Entry::Replace(life) => {
                let woken = self.watched(life, |watched, _| watched.replace(|_| LANE)).unwrap_or_default();
                if !woken.is_empty() {
                    self.push(0, Entry::Attend(life));
                }
            }
            Entry::Tidy(life) => {
                let grace = Duration::from_micros(self.grace.unsigned_abs());
                let woken = self.watched(life, |watched, now| watched.expire(now, grace)).unwrap_or_default();
                if !woken.is_empty() {
                    self.push(0, Entry::Attend(life));
                }
            }
            Entry::Sweep(life) => self.sweep(life),
            Entry::Swept(life, now) => self.swept(life, now),
            Entry::Fault(fault) => self.suffer(fault),
            Entry::Thaw(life) => self.thaw(life),
            Entry::Restart(node) => {
                if !self.nodes[node].is_up {
                    self.start(node);
                }
            }
        }
        Ok(())
    }

    /// Decides what will happen until all is calm.
    fn plan(&mut self) {
        let lively = self.storm_until.min(LIVELY);
        for client in 0..self.clients.len() {
            let at = self.lag(lively / 2);
            self.push(at, Entry::Dial(client));
            let at = self.roll(0..2 * SECOND);
            self.push(at, Entry::Act(client));
        }
        let mut at = 0;
        for _ in 0..self.roll(4..24) {
            let most = self.ground().dice.pick(&[30, 300, 3_000]) * MILLI;
            at = (at + self.roll(0..most)) % lively;
            self.push(at, Entry::Writer);
        }
        let faults: &[Fault] = match self.mode {
            Mode::Alone => &[Fault::Crash, Fault::Freeze, Fault::Outage],
            Mode::Told => &[
                Fault::Crash,
                Fault::Freeze,
                Fault::LaneLost,
                Fault::LaneLost,
                Fault::BusAway,
                Fault::Unserved,
                Fault::Unserved,
                Fault::Outage,
            ],
            Mode::Swept => &[
                Fault::Crash,
                Fault::Freeze,
                Fault::LaneLost,
                Fault::BusAway,
                Fault::Unserved,
                Fault::Outage,
                Fault::DatabaseCrash,
                Fault::DatabaseCrash,
            ],
        };
        for _ in 0..self.roll(0..6) {
            let fault = self.ground().dice.pick(faults);
            let at = self.roll(0..lively);
            self.push(at, Entry::Fault(fault));
        }
        if self.storm_until > LIVELY {
            let at = self.roll(LIVELY / 3..LIVELY * 2 / 3);
            self.push(at, Entry::Fault(Fault::Sleep));
            for _ in 0..4 {
                let at = self.roll(at..LIVELY);
                self.push(at, Entry::Writer);
            }
        }
    }
}
