//! News by way of Redis: one lane per server or master, a chart of who takes which lane, and a table of whose news are wanted.

mod cluster;
mod connection;
mod hearing;
mod lane;
mod speaking;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use redis::{Cmd, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::places::nearest;
use super::slots::{SLOTS, slot};
use super::watched::{LaneId, NOWHERE, Watched, heeded};
use super::{BusStats, FeedEvent, Health, Listener, News, Place, Places, Presence, Refused, Settings, Unknown, Whose};
use crate::wire::envelope::{self, Letter};
use cluster::Keeper;
use connection::{Trouble, connect};
use lane::Lane;
use speaking::Parcel;

/// Channels that one command names.
const BATCH: usize = 512;
/// How often those whom nobody wants any more are looked for.
const TIDY: Duration = Duration::from_secs(1);
/// How long a join waits for a confirmation; then it reads the database, and again when the confirmation comes.
const HEEDED_WITHIN: Duration = Duration::from_secs(2);

/// This node's end of the bus.
pub(super) struct Redis {
    inner: Arc<Inner>,
    /// What keeps the bus going ends with it.
    tasks: JoinSet<()>,
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.inner.is_over.store(true, Ordering::Release);
        self.tasks.abort_all();
        self.inner.chart().lanes.iter().for_each(|lane| lane.end());
    }
}

/// What all tasks of the bus share.
pub(super) struct Inner {
    /// Who we are, so that we know our own news when they come back.
    node: u64,
    settings: Settings,
    listener: Arc<dyn Listener>,
    watched: Mutex<Watched>,
    chart: RwLock<Arc<Chart>>,
    keeper: Keeper,
    counters: Counters,
    next_lane: AtomicU64,
    is_over: AtomicBool,
}

/// Which lane whose news take.
#[derive(Default)]
pub(super) struct Chart {
    lanes: Vec<Arc<Lane>>,
    /// In a Cluster: for each slot the place of its lane in `lanes`, if it has one.
    slots: Option<Box<[Option<u16>]>>,
}

/// What was done, counted.
#[derive(Default)]
pub(super) struct Counters {
    published: AtomicU64,
    dropped: AtomicU64,
    received: AtomicU64,
    unread: AtomicU64,
    reconnects: AtomicU64,
    resubscribed: AtomicU64,
    moves: AtomicU64,
}

/// Whose news are meant for all nodes: no user's, since environments are numbered from one.
fn everybody() -> Whose {
    Whose { env: 0, user: "".into() }
}

fn count(counter: &AtomicU64, more: usize) {
    counter.fetch_add(more as u64, Ordering::Relaxed);
}

impl Redis {
    /// Looks whether every server lets us in, then connects in tasks of its own.
    pub(super) async fn start(settings: Settings, listener: Arc<dyn Listener>) -> Result<Self, Refused> {
        let node = Uuid::new_v4().as_u64_pair().0;
        let (places, is_cluster) = match &settings.places {
            Places::Here => (Vec::new(), false),
            Places::Servers(places) => (places.clone(), false),
            Places::Cluster(seeds) => (seeds.clone(), true),
        };
        let inner = Arc::new(Inner {
            node,
            settings,
            listener,
            watched: Mutex::default(),
            chart: RwLock::default(),
            keeper: Keeper::default(),
            counters: Counters::default(),
            next_lane: AtomicU64::new(NOWHERE + 1),
            is_over: AtomicBool::new(false),
        });
        inner.knock(&places, is_cluster).await?;
        let mut tasks = JoinSet::new();
        if is_cluster {
            tasks.spawn(cluster::keep(Arc::clone(&inner), places));
        } else {
            let lanes = places.into_iter().map(|place| Lane::start(&inner, place, None)).collect();
            inner.draw(Chart { lanes, slots: None });
        }
        tasks.spawn(tidy(Arc::clone(&inner)));
        let redis = Redis { inner, tasks };
        redis.retain(&everybody());
        Ok(redis)
    }

    pub(super) fn publish(&self, event: &FeedEvent) {
        // Objects have feeds, but no sockets.
        if event.recipient.starts_with('#') {
            return;
        }
        let FeedEvent { env, channel, recipient, head, news } = event;
        let item = if let News::Item(item) = news { Some(&**item) } else { None };
        let is_moved = matches!(news, News::Moved);
        let letter = Letter { node: self.inner.node, env: *env, channel, recipient, head, item, is_moved };
        let name = self.inner.channel(*env, recipient);
        let lane = self.inner.chart().lane(*env, recipient, &name);
        let Some(lane) = lane else { return count(&self.inner.counters.dropped, 1) };
        let payload = envelope::seal(&letter, lane.is_short());
        self.inner.hand(&lane, Parcel { channel: name, payload, tries: 0 });
    }

    pub(super) fn call(&self) {
        let Whose { env, user } = everybody();
        let name = self.inner.channel(env, &user);
        if let Some(lane) = self.inner.chart().lane(env, &user, &name) {
            self.inner.hand(&lane, Parcel { channel: name, payload: envelope::call(self.inner.node), tries: 0 });
        }
    }

    pub(super) fn retain(&self, whose: &Whose) {
        let inner = &self.inner;
        // The chart first: whoever draws a new one goes through the table afterwards.
        let lane_of = || inner.lane_of(&inner.chart(), whose);
        let woken = inner.watched().retain(whose, lane_of);
        if let Some(lane) = woken {
            inner.wake(&[lane]);
        }
    }

    pub(super) fn release(&self, whose: &Whose) {
        self.inner.watched().release(whose, Instant::now());
    }

    pub(super) async fn heeded(&self, whose: &Whose) {
        heeded(&self.inner.watched, whose, sleep(HEEDED_WITHIN)).await;
    }

    pub(super) async fn online(&self, env: i64, users: &[&str]) -> Result<Vec<Presence>, Unknown> {
        let chart = self.inner.chart();
        /// A lane, and what it is asked: the places of users in the list, with their channels.
        type Asked = (Arc<Lane>, Vec<(usize, String)>);
        let mut by_lane: HashMap<LaneId, Asked> = HashMap::new();
        for (at, user) in users.iter().enumerate() {
            let name = self.inner.channel(env, user);
            let lane = chart.lane(env, user, &name).ok_or(Unknown)?;
            by_lane.entry(lane.id).or_insert_with(|| (lane, Vec::new())).1.push((at, name));
        }
        let mut online = vec![Presence { nodes: 0 }; users.len()];
        for (lane, names) in by_lane.into_values() {
            for names in names.chunks(BATCH) {
                let counts = self.inner.subscribers(&lane, names.iter().map(|(_, name)| name)).await?;
                for ((at, _), nodes) in names.iter().zip(counts) {
                    online[*at] = Presence { nodes };
                }
            }
        }
        Ok(online)
    }

    pub(super) fn health(&self) -> Health {
        let chart = self.inner.chart();
        let lanes = chart.lanes.iter().map(|lane| lane.health(self.inner.settings.deaf_after)).collect();
        Health { lanes, is_whole: chart.is_whole() }
    }

    pub(super) fn stats(&self) -> BusStats {
        let chart = self.inner.chart();
        let counters = &self.inner.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusStats {
            published: read(&counters.published),
            dropped: read(&counters.dropped),
            received: read(&counters.received),
            unread: read(&counters.unread),
            reconnects: read(&counters.reconnects),
            resubscribed: read(&counters.resubscribed),
            moves: read(&counters.moves),
            // Everybody is no user.
            watched: (self.inner.watched().len() as u64).saturating_sub(1),
            waiting: chart.lanes.iter().map(|lane| lane.waiting() as u64).sum(),
            lag: chart.lanes.iter().map(|lane| lane.lag()).max().unwrap_or_default(),
        }
    }

    pub(super) async fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        while self.inner.chart().lanes.iter().any(|lane| lane.waiting() > 0) && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Inner {
    /// Tries every server once. One that refuses us is a mistake of the configuration, one that does not answer is not.
    async fn knock(self: &Arc<Self>, places: &[Place], is_cluster: bool) -> Result<(), Refused> {
        let mut knocking = JoinSet::new();
        for place in places {
            let (inner, place) = (Arc::clone(self), place.clone());
            knocking.spawn(async move { inner.try_out(&place, is_cluster).await });
        }
        while let Some(knocked) = knocking.join_next().await {
            if let Ok(Err(Trouble::Refused(why))) = knocked {
                return Err(Refused(why));
            }
            // Its lane says so when it does not answer.
        }
        Ok(())
    }

    /// Does once everything that we need to be allowed.
    async fn try_out(&self, place: &Place, is_cluster: bool) -> Result<(), Trouble> {
        let mut connection = connect(place, &self.settings, None).await?;
        let name = format!("{}:node:{:x}", self.settings.prefix, self.node);
        let probe = envelope::probe(self.node, 0);
        if is_cluster {
            connection::ask(&mut connection, place, &connection::command("CLUSTER", &["SLOTS"])).await?;
            // Where the channel's slot is served elsewhere the server says so, and only that.
            connection::ask_anywhere(&mut connection, place, Cmd::new().arg("SPUBLISH").arg(&name).arg(probe)).await?;
            return connection::ask_anywhere(&mut connection, place, Cmd::new().arg("SSUBSCRIBE").arg(&name)).await;
        }
        connection::ask(&mut connection, place, Cmd::new().arg("PUBLISH").arg(&name).arg(probe)).await?;
        connection::ask(&mut connection, place, &connection::command("PUBSUB", &["NUMSUB", &name])).await?;
        connection::ask(&mut connection, place, Cmd::new().arg("SUBSCRIBE").arg(&name)).await.map(drop)
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chart(&self) -> Arc<Chart> {
        Arc::clone(&self.chart.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From here on news take the lanes of this chart.
    fn draw(&self, chart: Chart) {
        *self.chart.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(chart);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn is_cluster(&self) -> bool {
        matches!(self.settings.places, Places::Cluster(_))
    }

    /// The channel of a user's news.
    fn channel(&self, env: i64, user: &str) -> String {
        format!("{}:{env}:{user}", self.settings.prefix)
    }

    /// Whose news come by a channel; none if it is another channel.
    fn whose(&self, channel: &[u8]) -> Option<Whose> {
        let rest = std::str::from_utf8(channel).ok()?.strip_prefix(&self.settings.prefix)?.strip_prefix(':')?;
        let (env, user) = rest.split_once(':')?;
        Some(Whose { env: env.parse().ok()?, user: user.into() })
    }

    fn lane_of(&self, chart: &Chart, whose: &Whose) -> LaneId {
        let lane = match chart.slots {
            Some(_) => chart.lane(whose.env, &whose.user, &self.channel(whose.env, &whose.user)),
            None => chart.lane(whose.env, &whose.user, ""),
        };
        lane.map_or(NOWHERE, |lane| lane.id)
    }

    /// Has these lanes ask for what they have to.
    fn wake(&self, lanes: &[LaneId]) {
        for lane in self.chart().lanes.iter().filter(|lane| lanes.contains(&lane.id)) {
            lane.wishes.notify_one();
        }
    }

    /// Puts a parcel on a lane, if it has room.
    fn hand(&self, lane: &Lane, parcel: Parcel) {
        if !lane.take(parcel) {
            count(&self.counters.dropped, 1);
        }
    }

    /// Puts a parcel that its lane can't deliver on the one that can by now.
    fn hand_on(&self, parcel: Parcel) {
        let lane = self.chart().by_channel(&parcel.channel);
        match lane {
            Some(lane) => self.hand(&lane, parcel),
            None => count(&self.counters.dropped, 1),
        }
    }

    /// How many subscribers each of these channels has.
    async fn subscribers(&self, lane: &Lane, names: impl Iterator<Item = &String>) -> Result<Vec<u64>, Unknown> {
        let mut connection = lane.voice().ok_or(Unknown)?;
        let mut command = Cmd::new();
        command.arg("PUBSUB").arg(if self.is_cluster() { "SHARDNUMSUB" } else { "NUMSUB" });
        names.for_each(|name| _ = command.arg(name));
        let answer = connection::ask(&mut connection, &lane.place, &command).await.map_err(|_| Unknown)?;
        let number = |value: Value| if let Value::Int(number) = value { u64::try_from(number).ok() } else { None };
        match answer {
            // Names and numbers take turns.
            Value::Array(pairs) => {
                pairs.into_iter().skip(1).step_by(2).map(number).collect::<Option<_>>().ok_or(Unknown)
            }
            Value::Map(pairs) => {
                pairs.into_iter().map(|(_, value)| number(value)).collect::<Option<_>>().ok_or(Unknown)
            }
            _ => Err(Unknown),
        }
    }
}

impl Chart {
    /// Whether every user has a lane.
    fn is_whole(&self) -> bool {
        !self.lanes.is_empty() && self.slots.as_ref().is_none_or(|slots| slots.iter().all(Option::is_some))
    }

    /// The lane of a user, whose channel is called `name`.
    fn lane(&self, env: i64, user: &str, name: &str) -> Option<Arc<Lane>> {
        match self.slots {
            Some(_) => self.by_channel(name),
            None if self.lanes.len() == 1 => self.lanes.first().cloned(),
            None => self.lanes.get(nearest(self.lanes.iter().map(|lane| &lane.place), env, user)).cloned(),
        }
    }

    /// The lane that serves a channel of a Cluster.
    fn by_channel(&self, name: &str) -> Option<Arc<Lane>> {
        let at = self.slots.as_ref()?.get(usize::from(slot(name.as_bytes()) % SLOTS)).copied().flatten()?;
        self.lanes.get(usize::from(at)).cloned()
    }
}

/// Unsubscribes, little by little, from those whom nobody wants any more.
async fn tidy(inner: Arc<Inner>) {
    let mut seconds = tokio::time::interval(TIDY.min(inner.settings.grace.max(Duration::from_millis(10))));
    loop {
        seconds.tick().await;
        let woken = inner.watched().expire(Instant::now(), inner.settings.grace);
        inner.wake(&woken);
    }
}
