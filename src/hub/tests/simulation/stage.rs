//! What a node finds around it in this world: the truth to read, a lane to hear by, and a clock that the dice turn.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::database::{Database, Write, ids_under};
use super::dice::Dice;
use crate::bus::Whose;
use crate::bus::watched::{LaneId, Watched, heeded};
use crate::hub::channels::feed::{Name, Reading};
use crate::hub::house::{House, Marked, Waiting};
use crate::hub::registry::{Registry, Work};
use crate::metrics;
use crate::model::channel::Channel;
use crate::model::feed::{Counts, Filter, Head};
use crate::model::mark::Mark;
use crate::model::time::Time;
use crate::store::feeds::{Changes, Still};
use crate::store::{self, Env};
use crate::verbs::feed::{Delta, Showing, View};
use crate::verbs::mark::{Everything, Reach};
use crate::verbs::{Catalog, Error};
use crate::wire::cursor::Page;

/// When the world begins.
const BEGIN: i64 = 1_790_000_000_000_000;
pub(super) const MILLI: i64 = 1_000;
pub(super) const SECOND: i64 = 1_000 * MILLI;
/// The one lane that nodes have here.
pub(super) const LANE: LaneId = 1;
/// How long a join waits for a confirmation, and how long what failed waits to be tried again, as in the real house.
const HEEDED_WITHIN: i64 = 2 * SECOND;
const PAUSE: i64 = SECOND;
/// Items that a mark of all marks in one transaction here: few, so that others come in between.
const CHUNK: usize = 3;

/// A node in one of its lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) node: usize,
    pub(super) number: u32,
}

/// How bad things are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weather {
    /// How long the longer half of a read takes at most, a transaction, and news between nodes; in microseconds.
    pub(super) read: i64,
    pub(super) write: i64,
    pub(super) news: i64,
    /// How long what a node asks of the bus takes at most, on its way and back.
    pub(super) bus: i64,
    /// How many in a hundred reads and transactions fail.
    pub(super) failing: i64,
    /// How many in a hundred news are lost, come twice, or can't be read where they come.
    pub(super) lost: i64,
    pub(super) doubled: i64,
    pub(super) garbled: i64,
}

impl Weather {
    pub(super) const CALM: Weather = Weather {
        read: 5 * MILLI,
        write: 5 * MILLI,
        news: 5 * MILLI,
        bus: 5 * MILLI,
        failing: 0,
        lost: 0,
        doubled: 0,
        garbled: 0,
    };
}

/// A transaction that somebody wants.
pub(super) struct Order {
    pub(super) life: Life,
    pub(super) feed: usize,
    pub(super) write: Write,
    pub(super) done: Option<oneshot::Sender<Result<(), Error>>>,
}

/// What all nodes share, and what they want done; the world looks here after each step.
pub(super) struct Ground {
    /// Microseconds since the world began.
    pub(super) now: i64,
    pub(super) dice: Dice,
    pub(super) database: Database,
    pub(super) weather: Weather,
    /// Until when the database fails altogether.
    pub(super) outage_until: i64,
    /// The task that is being polled.
    pub(super) polled: u64,
    /// Tasks that want to be polled again, and when.
    pub(super) alarms: Vec<(i64, u64)>,
    pub(super) works: Vec<(Life, Registry, Work)>,
    pub(super) orders: Vec<Order>,
    /// Nodes whose lane has to ask for something, and nodes that somebody has left.
    pub(super) wishing: Vec<Life>,
    pub(super) released: Vec<Life>,
    /// What has happened, if somebody wants to read it.
    pub(super) trace: Option<Vec<String>>,
}

impl Ground {
    /// Notes what happens.
    pub(super) fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>10.3} {}", now as f64 / 1e6, shortened(&text())));
        }
    }

    pub(super) fn time(&self) -> Time {
        time_at(self.now)
    }

    pub(super) fn fails(&mut self) -> bool {
        let Ground { dice, weather, .. } = self;
        self.now < self.outage_until || (weather.failing > 0 && dice.chance(weather.failing))
    }
}

/// The time of day, so many microseconds after the world began.
pub(super) fn time_at(micros: i64) -> Time {
    Time::from_micros(BEGIN + micros)
}

/// What a line of the trace shows of frames: feeds by the end of their topics, items by their ids.
fn shortened(text: &str) -> String {
    let text = text.replace("feeds:00000000-0000-0000-0000-0000000000", "");
    let mut parts = text.split(r#"{"__typename":"FeedItem","__cursor":""#);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let id = part.split(r#""id":""#).nth(1).and_then(|rest| rest.split('"').next());
        out.push_str(id.unwrap_or("?"));
        out.push(' ');
        out.push_str(part.rsplit_once('}').map_or("", |(_, rest)| rest));
    }
    out
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is around one node in one of its lives.
pub(super) struct Stage {
    pub(super) life: Life,
    pub(super) ground: Arc<Mutex<Ground>>,
    /// Whose news it wants; none for a node that is alone.
    pub(super) watched: Option<Mutex<Watched>>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) metrics: Arc<metrics::Metrics>,
    /// What stands for the beginning of the world where instants are wanted.
    pub(super) origin: Instant,
}

impl Stage {
    fn ground(&self) -> MutexGuard<'_, Ground> {
        lock(&self.ground)
    }

    pub(super) fn instant(&self) -> Instant {
        self.origin + Duration::from_micros(self.ground().now.unsigned_abs())
    }

    fn after(&self, lag: i64) -> Alarm {
        Alarm { ground: Arc::clone(&self.ground), lag, due: None }
    }

    /// Reads: after a while it is seen what there is, after another while it is known here.
    async fn look<T>(&self, take: impl FnOnce(&Database) -> T) -> Result<T, Error> {
        let lag = |ground: &mut Ground| ground.dice.lag(ground.weather.read);
        let (before, behind) = {
            let mut ground = self.ground();
            (lag(&mut ground), lag(&mut ground))
        };
        self.after(before).await;
        let found = {
            let mut ground = self.ground();
            if ground.fails() { Err(unavailable()) } else { Ok(take(&ground.database)) }
        };
        self.after(behind).await;
        found
    }

    /// Has the feed changed, which goes on even if nobody waits for it.
    async fn order(&self, feed: usize, write: Write) -> Result<(), Error> {
        let (done, is_done) = oneshot::channel();
        self.ground().orders.push(Order { life: self.life, feed, write, done: Some(done) });
        is_done.await.unwrap_or_else(|_| Err(unavailable()))
    }

    fn number(&self, name: &Name) -> usize {
        self.ground().database.number(name)
    }
}

pub(super) fn unavailable() -> Error {
    Error::Store(store::Error::Unavailable("bad weather".to_owned()))
}

impl House for Stage {
    fn now(&self) -> Time {
        self.ground().time()
    }

    fn channels(&self) -> &[Channel] {
        self.catalog.channels()
    }

    fn metrics(&self) -> &metrics::Hub {
        &self.metrics.hub
    }

    fn retain(&self, env: Env, user: &Arc<str>) {
        let Some(watched) = &self.watched else { return };
        if lock(watched).retain(&Whose { env, user: Arc::clone(user) }, || LANE).is_some() {
            self.ground().wishing.push(self.life);
        }
    }

    fn release(&self, env: Env, user: &Arc<str>) {
        let Some(watched) = &self.watched else { return };
        let now = self.instant();
        lock(watched).release(&Whose { env, user: Arc::clone(user) }, now);
        self.ground().released.push(self.life);
    }

    fn heeded<'a>(&'a self, env: Env, user: &'a Arc<str>) -> Waiting<'a, ()> {
        Box::pin(async move {
            if let Some(watched) = &self.watched {
                heeded(watched, &Whose { env, user: Arc::clone(user) }, self.after(HEEDED_WITHIN)).await;
            }
        })
    }

    fn head<'a>(&'a self, name: &'a Name) -> Waiting<'a, Result<Head, Error>> {
        let feed = self.number(name);
        Box::pin(self.look(move |database| database.head(feed)))
    }

    /// As of one moment, as PostgreSQL has it, or one after the other, as SQLite has it.
    fn read<'a>(&'a self, name: &'a Name, since: Option<i64>) -> Waiting<'a, Result<Reading, Error>> {
        Box::pin(async move {
            let Some(since) = since else { return Ok(Reading { head: self.head(name).await?, changes: None }) };
            if self.ground().dice.chance(50) {
                let feed = self.number(name);
                let read = |database: &Database| {
                    let head = database.head(feed);
                    Reading { head, changes: Some(database.changes(&head, since)) }
                };
                return self.look(read).await;
            }
            let head = self.head(name).await?;
            if Database::is_too_old(&head, since) {
                return Ok(Reading { head, changes: Some(Changes::TooOld) });
            }
            let changed = self.look(|database| database.changed(&head, since)).await?;
            let removed = self.look(|database| database.removed(&head, since)).await?;
            Ok(Reading { head, changes: Some(Changes::Since { changed, removed }) })
        })
    }

    fn delta<'a>(
        &'a self,
        _name: &'a Name,
        showing: Showing<'a>,
        filters: &'a [&'a Filter],
        changes: Changes,
    ) -> Waiting<'a, Result<Option<Delta>, Error>> {
        Box::pin(async move { Ok(Delta::of(showing, filters, changes, "")) })
    }

    fn page<'a>(
        &'a self,
        _name: &'a Name,
        head: Head,
        showing: Showing<'a>,
        filter: &'a Filter,
        page: &'a Page,
    ) -> Waiting<'a, Result<View, Error>> {
        Box::pin(async move {
            let size = page.size;
            let page = self.look(|database| database.page(&head, filter, size)).await?;
            let counts = self.counts(&head, filter).await?;
            Ok(View::of(showing, head, counts, &page, size, ""))
        })
    }

    fn counts<'a>(&'a self, head: &'a Head, filter: &'a Filter) -> Waiting<'a, Result<Counts, Error>> {
        Box::pin(async move {
            match filter.is_counted() {
                true => Ok(head.counts(filter.archived, filter.status)),
                false => self.look(|database| database.counts(head, filter)).await,
            }
        })
    }

    fn mark(
        self: Arc<Self>,
        name: Name,
        mark: Mark,
        marked: Marked,
        _reach: Reach,
    ) -> Waiting<'static, Result<(Head, Time), Error>> {
        Box::pin(async move {
            let (feed, at) = (self.number(&name), self.now());
            let (ids, still) = match marked {
                Marked::Ids(ids, _) => (ids, Still::default()),
                Marked::All(Everything { filter, marked_at }) => {
                    let still = Still { status: filter.status, marked_at };
                    let version = self.head(&name).await?.version;
                    let meant = |database: &Database| ids_under(database.items(feed), &filter, (mark, still), version);
                    (self.look(meant).await?, still)
                }
            };
            for ids in ids.chunks(CHUNK) {
                self.order(feed, Write::Mark { mark, ids: ids.to_vec(), still, at: Some(at) }).await?;
            }
            Ok((self.head(&name).await?, at))
        })
    }

    fn start(&self, registry: Registry, work: Work) {
        self.ground().works.push((self.life, registry, work));
    }

    fn help(&self) {}

    fn pause(&self) -> Waiting<'static, ()> {
        Box::pin(self.after(PAUSE))
    }
}

/// Waits so long.
struct Alarm {
    ground: Arc<Mutex<Ground>>,
    lag: i64,
    due: Option<i64>,
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let Alarm { ground, lag, due } = &mut *self;
        let mut ground = lock(ground);
        let now = ground.now;
        let is_new = due.is_none();
        let due = *due.get_or_insert(now + *lag);
        if due <= now {
            return Poll::Ready(());
        }
        if is_new {
            let polled = ground.polled;
            ground.alarms.push((due, polled));
        }
        Poll::Pending
    }
}
