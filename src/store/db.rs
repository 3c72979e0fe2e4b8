//! What a change and a question are, whatever database keeps the rows: a [`Batch`] of statements, applied whole or not at
//! all, and reads whose rows come back as they are asked for.
//!
//! Every question has one SQL text, written as SQLite reads it; what PostgreSQL needs otherwise is in `dialect`.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rusqlite::types::ValueRef;
use tokio::sync::{mpsc, oneshot};

use super::desk::Desk;
use super::plans::{Asked, Plan, Question};
use super::postgres::{self, Postgres};
use super::sqlite::Sqlite;
use super::{feeds, keys};
use crate::metrics;
use crate::model::cap::Counter;
use crate::model::time::Time;

/// Batches that may wait to be written; beyond it callers wait their turn.
const WRITER_QUEUE: usize = 4096;

/// Why the store could not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A statement that had to change or to find a row did not: the batch was not applied.
    #[error("the change was overtaken by another (statement {0})")]
    Refused(usize),
    /// The database itself failed, in its own words.
    #[error("the database failed: {0}")]
    Database(String),
    /// The database cannot be reached, or does not answer: it may be tried again.
    #[error("the database cannot be reached: {0}")]
    Unavailable(String),
    /// A row did not hold what it must.
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The database could not be opened or brought up to date.
    #[error("{0}")]
    Open(String),
}

/// A value bound to a statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Param {
    Null,
    Int(i64),
    Text(Cow<'static, str>),
    Shared(Arc<str>),
}

impl From<i64> for Param {
    fn from(n: i64) -> Self {
        Param::Int(n)
    }
}

impl From<usize> for Param {
    fn from(n: usize) -> Self {
        Param::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl From<bool> for Param {
    fn from(b: bool) -> Self {
        Param::Int(i64::from(b))
    }
}

impl From<Time> for Param {
    fn from(at: Time) -> Self {
        Param::Int(at.micros())
    }
}

impl From<String> for Param {
    fn from(text: String) -> Self {
        Param::Text(Cow::Owned(text))
    }
}

impl From<&str> for Param {
    fn from(text: &str) -> Self {
        Param::Text(Cow::Owned(text.to_owned()))
    }
}

impl From<&String> for Param {
    fn from(text: &String) -> Self {
        Param::from(text.as_str())
    }
}

impl From<Arc<str>> for Param {
    fn from(text: Arc<str>) -> Self {
        Param::Shared(text)
    }
}

impl From<&Arc<str>> for Param {
    fn from(text: &Arc<str>) -> Self {
        Param::Shared(Arc::clone(text))
    }
}

impl From<uuid::Uuid> for Param {
    fn from(id: uuid::Uuid) -> Self {
        Param::from(id.to_string())
    }
}

impl From<crate::model::ids::Ksuid> for Param {
    fn from(id: crate::model::ids::Ksuid) -> Self {
        Param::from(id.as_str())
    }
}

impl From<&serde_json::Value> for Param {
    fn from(value: &serde_json::Value) -> Self {
        Param::from(value.to_string())
    }
}

impl<T: Into<Param>> From<Option<T>> for Param {
    fn from(value: Option<T>) -> Self {
        value.map_or(Param::Null, Into::into)
    }
}

/// Builds the parameters of a statement: `params![env, id, now]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { Vec::from([$($crate::store::Param::from($value)),*]) };
}

/// One row of an answer.
pub struct Row<'a>(pub(super) Source<'a>);

/// Where a row comes from.
pub(super) enum Source<'a> {
    Sqlite(&'a rusqlite::Row<'a>),
    Postgres(&'a tokio_postgres::Row),
}

impl Row<'_> {
    /// The text in `column`.
    pub fn text(&self, column: usize) -> Result<&str, Error> {
        self.maybe_text(column)?.ok_or_else(|| Error::Damaged(format!("column {column} is null")))
    }

    /// The text in `column`, if it is not null.
    pub fn maybe_text(&self, column: usize) -> Result<Option<&str>, Error> {
        let wrong = || Error::Damaged(format!("column {column} is not text"));
        match &self.0 {
            Source::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Null => Ok(None),
                ValueRef::Text(bytes) => std::str::from_utf8(bytes).map(Some).map_err(|_| wrong()),
                _ => Err(wrong()),
            },
            Source::Postgres(row) => row.try_get(column).map_err(|_| wrong()),
        }
    }

    /// An owned copy of the text in `column`.
    pub fn string(&self, column: usize) -> Result<String, Error> {
        self.text(column).map(str::to_owned)
    }

    /// An owned copy of the text in `column`, if it is not null.
    pub fn maybe_string(&self, column: usize) -> Result<Option<String>, Error> {
        Ok(self.maybe_text(column)?.map(str::to_owned))
    }

    /// The integer in `column`.
    pub fn int(&self, column: usize) -> Result<i64, Error> {
        self.maybe_int(column)?.ok_or_else(|| Error::Damaged(format!("column {column} is null")))
    }

    /// The integer in `column`, if it is not null.
    pub fn maybe_int(&self, column: usize) -> Result<Option<i64>, Error> {
        let wrong = || Error::Damaged(format!("column {column} is not an integer"));
        match &self.0 {
            Source::Sqlite(row) => match row.get_ref(column)? {
                ValueRef::Null => Ok(None),
                ValueRef::Integer(n) => Ok(Some(n)),
                _ => Err(wrong()),
            },
            Source::Postgres(row) => postgres::integer(row, column).ok_or_else(wrong),
        }
    }

    /// Whether the integer in `column` is not zero.
    pub fn bool(&self, column: usize) -> Result<bool, Error> {
        Ok(self.int(column)? != 0)
    }

    /// The instant in `column`.
    pub fn time(&self, column: usize) -> Result<Time, Error> {
        self.int(column).map(Time::from_micros)
    }

    /// The instant in `column`, if it is not null.
    pub fn maybe_time(&self, column: usize) -> Result<Option<Time>, Error> {
        Ok(self.maybe_int(column)?.map(Time::from_micros))
    }

    /// The UUID in `column`.
    pub fn uuid(&self, column: usize) -> Result<uuid::Uuid, Error> {
        self.text(column)?.parse().map_err(|_| Error::Damaged(format!("column {column} is not a UUID")))
    }

    /// The JSON value in `column`.
    pub fn json<T: serde::de::DeserializeOwned>(&self, column: usize) -> Result<T, Error> {
        serde_json::from_str(self.text(column)?).map_err(|error| Error::Damaged(format!("column {column}: {error}")))
    }
}

/// A cell of a row that a batch gives back.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    Null,
    Int(i64),
    Text(String),
}

impl Cell {
    /// The integer in the cell; zero when it holds none.
    pub fn int(&self) -> i64 {
        if let Cell::Int(n) = self { *n } else { 0 }
    }

    /// The text in the cell; empty when it holds none.
    pub fn text(&self) -> &str {
        if let Cell::Text(text) = self { text } else { "" }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Changes any number of rows.
    Plain,
    /// Must change a row, or the whole batch is refused.
    Guard,
    /// Must find a row, or the whole batch is refused.
    Require,
    /// Gives rows back.
    Returning,
    /// Gives back how many rows it changed.
    Counted,
}

#[derive(Debug)]
pub(super) struct Statement {
    pub(super) sql: Cow<'static, str>,
    pub(super) params: Vec<Param>,
    pub(super) kind: Kind,
    /// A question about so many of the first parameters: without an answer the statement would change nothing. Where a
    /// look costs less than a statement, it is asked first.
    pub(super) look: Option<(&'static str, usize)>,
}

/// A change: statements that are applied together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) statements: Vec<Statement>,
    /// The feeds that it changes.
    pub(super) feeds: Vec<FeedKey>,
    /// The batches of batch steps that it changes, by their ids: locked likewise, behind the feeds.
    pub(super) locked: Vec<String>,
    /// The counters of frequency caps that it changes: locked likewise, behind those.
    pub(super) counters: Vec<(super::Env, Counter)>,
    /// Statements whose rows are given back.
    returning: usize,
}

/// A feed that a batch changes. Where others write at the same time, whoever changes feeds locks them first, in one order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FeedKey {
    Id(i64),
    Named { env: super::Env, channel: String, recipient: String },
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Batch::default()
    }

    /// Whether the batch holds nothing to do.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// Adds a statement that changes any number of rows.
    pub fn push(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Plain, look: None });
    }

    /// Adds a statement that must change at least one row; if it does not, nothing of the batch is applied.
    pub fn guard(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Guard, look: None });
    }

    /// Adds a question that must have an answer; if it has none, nothing of the batch is applied.
    pub fn require(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Require, look: None });
    }

    /// Adds a statement whose rows are given back; the number finds them in [`Applied`].
    pub fn returning(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) -> usize {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Returning, look: None });
        self.returning += 1;
        self.returning - 1
    }

    /// Adds a statement that changes nothing in most batches; the number finds how many rows in [`Applied`]. `look` is a
    /// question about so many of the first parameters, without an answer to which there is nothing to change.
    pub fn count(
        &mut self,
        look: (&'static str, usize),
        sql: impl Into<Cow<'static, str>>,
        params: Vec<Param>,
    ) -> usize {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Counted, look: Some(look) });
        self.returning += 1;
        self.returning - 1
    }

    /// Adds everything of `other` behind this batch's own statements. What this gives is to be added to the numbers of
    /// the other's answers.
    pub fn append(&mut self, other: Batch) -> usize {
        self.statements.extend(other.statements);
        self.feeds.extend(other.feeds);
        self.locked.extend(other.locked);
        self.counters.extend(other.counters);
        let before = self.returning;
        self.returning += other.returning;
        before
    }
}

/// What an applied batch gave back: for each returning statement its rows.
#[derive(Debug, Default)]
pub struct Applied {
    pub(super) answers: Vec<Vec<Vec<Cell>>>,
}

impl Applied {
    /// The rows of the returning statement with this number.
    pub fn rows(&self, number: usize) -> &[Vec<Cell>] {
        self.answers.get(number).map_or(&[], Vec::as_slice)
    }

    /// How many rows the counted statement with this number has changed.
    pub fn changed(&self, number: usize) -> i64 {
        self.rows(number).first().and_then(|cells| cells.first()).map_or(0, Cell::int)
    }
}

pub(super) struct Order {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Done>,
}

/// `first` and what waits behind it, up to so many batches; none is added once there are as many statements.
pub(super) fn group(
    first: Order,
    orders: &mut mpsc::Receiver<Order>,
    most_batches: usize,
    most_statements: usize,
) -> Vec<Order> {
    let mut statements = first.batch.statements.len();
    let mut group = vec![first];
    while group.len() < most_batches && statements < most_statements {
        let Ok(next) = orders.try_recv() else { break };
        statements += next.batch.statements.len();
        group.push(next);
    }
    group
}

/// What became of a batch, with the batch: its memory is given back by the thread that took it, since a writer that
/// frees what many threads have taken waits for their allocators.
pub(super) type Done = (Result<Applied, Error>, Batch);

/// Where rows are kept.
#[derive(Debug, Clone)]
pub enum Place {
    /// In a file of this machine's.
    File(PathBuf),
    /// In PostgreSQL, which other nodes use as well.
    Postgres(Box<postgres::Settings>),
}

/// A handle on the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    writer: mpsc::Sender<Order>,
    driver: Arc<Driver>,
    /// Where a round trip costs more than what is asked.
    desks: Option<Desks>,
    meter: Meter,
}

/// Where questions that come in crowds are asked: when a node dies, its clients all ask the same of another.
pub(super) struct Desks {
    pub(super) feeds: Desk<feeds::Question, feeds::Answer>,
    pub(super) keys: Desk<String, Option<keys::KnownKey>>,
}

impl Desks {
    fn open(driver: &Arc<Driver>, connections: usize) -> Desks {
        // Half of the connections that read: the others are for questions that are asked alone.
        let at_once = (connections / 3).max(1);
        let (of_feeds, of_keys) = (Arc::clone(driver), Arc::clone(driver));
        Desks {
            feeds: Desk::open(at_once, feeds::MOST_AT_ONCE, move |questions| {
                let driver = Arc::clone(&of_feeds);
                async move { feeds::answer(&driver, questions).await }
            }),
            keys: Desk::open(1, keys::MOST_AT_ONCE, move |digests| {
                let driver = Arc::clone(&of_keys);
                async move { keys::answer(&driver, digests).await }
            }),
        }
    }
}

/// Where it is noted how much was written at once, and how long that took; known once somebody wants to know.
pub(super) type Meter = Arc<OnceLock<metrics::Store>>;

/// Notes a commit of so many batches that began then.
pub(super) fn measured(meter: &Meter, batches: usize, began: Instant) {
    if let Some(metrics) = meter.get() {
        metrics.batches_per_commit.observe(batches as f64);
        metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
    }
}

pub(super) enum Driver {
    Sqlite(Sqlite),
    Postgres(Postgres),
}

impl Driver {
    /// What was asked of it.
    pub(super) fn asked(&self) -> &Asked {
        match self {
            Driver::Sqlite(sqlite) => &sqlite.asked,
            Driver::Postgres(postgres) => &postgres.asked,
        }
    }

    /// How the database goes about these.
    pub(super) async fn plans(&self, asked: Vec<Question>) -> Result<Vec<Plan>, Error> {
        match self {
            Driver::Sqlite(sqlite) => sqlite.plans(asked),
            Driver::Postgres(postgres) => postgres.plans(asked).await,
        }
    }

    /// Runs a short, indexed read.
    pub(super) async fn query<T>(
        &self,
        sql: &str,
        params: &[Param],
        map: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        match self {
            Driver::Sqlite(sqlite) => sqlite.query(sql, params, map),
            // In a box, so that whoever waits for the one is not as large as for the other.
            Driver::Postgres(postgres) => mapped(&Box::pin(postgres.query(sql, params)).await?, map),
        }
    }
}

impl Store {
    /// Opens the database at `path`, creating it if it is not there, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let (writer, orders) = mpsc::channel(WRITER_QUEUE);
        let meter = Meter::default();
        let driver = Arc::new(Driver::Sqlite(Sqlite::open(path, orders, Arc::clone(&meter))?));
        Ok(Store { inner: Arc::new(Inner { writer, driver, desks: None, meter }) })
    }

    /// Opens the database at `place` and brings its schema up to date.
    pub async fn connect(place: &Place) -> Result<Store, Error> {
        match place {
            Place::File(path) => Store::open(path),
            Place::Postgres(settings) => {
                let (writer, orders) = mpsc::channel(WRITER_QUEUE);
                let meter = Meter::default();
                let postgres = Postgres::connect(settings, orders, Arc::clone(&meter)).await?;
                let driver = Arc::new(Driver::Postgres(postgres));
                let desks = Some(Desks::open(&driver, settings.connections));
                Ok(Store { inner: Arc::new(Inner { writer, driver, desks, meter }) })
            }
        }
    }

    /// Has every commit measured from now on.
    pub fn measure(&self, metrics: &metrics::Store) {
        // A store is measured once: a second meter finds the first.
        let _ = self.inner.meter.set(metrics.clone());
    }

    /// Whether other nodes may use the same database.
    pub fn is_shared(&self) -> bool {
        matches!(*self.inner.driver, Driver::Postgres(_))
    }

    pub(super) fn driver(&self) -> &Driver {
        &self.inner.driver
    }

    pub(super) fn desks(&self) -> Option<&Desks> {
        self.inner.desks.as_ref()
    }

    /// Applies `batch` atomically; when this returns `Ok` the change is on disk.
    pub async fn apply(&self, batch: Batch) -> Result<Applied, Error> {
        let asked = self.inner.driver.asked();
        for statement in &batch.statements {
            if let Some((question, many)) = statement.look {
                asked.note(Kind::Plain, question, &statement.params[..many]);
            }
            asked.note(statement.kind, &statement.sql, &statement.params);
        }
        let (reply, answer) = oneshot::channel();
        self.inner.writer.send(Order { batch, reply }).await.map_err(|_| Error::Closed)?;
        let (done, _batch) = answer.await.map_err(|_| Error::Closed)?;
        done
    }

    /// Runs a short, indexed read. The embedded database answers where it is asked: some ten microseconds, no hop to
    /// another thread.
    pub async fn query<T>(
        &self,
        sql: &str,
        params: &[Param],
        map: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.inner.driver.query(sql, params, map).await
    }

    /// Like [`Store::query`] for a question with at most one answer.
    pub async fn query_one<T>(
        &self,
        sql: &str,
        params: &[Param],
        map: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        Ok(self.query(sql, params, map).await?.into_iter().next())
    }

    /// Runs a read that may touch many rows; from the embedded database on the blocking pool.
    pub async fn scan<T: Send + 'static>(
        &self,
        sql: impl Into<Cow<'static, str>>,
        params: Vec<Param>,
        map: impl FnMut(&Row<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        let (store, sql) = (self.clone(), sql.into());
        if let Driver::Postgres(postgres) = &*self.inner.driver {
            return mapped(&Box::pin(postgres.query(&sql, &params)).await?, map);
        }
        let read = move || match &*store.inner.driver {
            Driver::Sqlite(sqlite) => sqlite.query(&sql, &params, map),
            Driver::Postgres(_) => Ok(Vec::new()),
        };
        tokio::task::spawn_blocking(read).await.map_err(|_| Error::Closed)?
    }

    /// Copies the whole database to `target` while it is in use; the copy is consistent.
    pub fn backup(&self, target: &Path) -> Result<(), Error> {
        match &*self.inner.driver {
            Driver::Sqlite(sqlite) => sqlite.backup(target),
            Driver::Postgres(_) => {
                let sentence =
                    "PostgreSQL has its own tools for that: pg_dump, pg_basebackup, or the provider's snapshots";
                Err(Error::Open(sentence.to_owned()))
            }
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.query("SELECT 1", &[], |row| row.int(0)).await.map(drop)
    }
}

fn mapped<T>(rows: &[tokio_postgres::Row], mut map: impl FnMut(&Row<'_>) -> Result<T, Error>) -> Result<Vec<T>, Error> {
    rows.iter().map(|row| map(&Row(Source::Postgres(row)))).collect()
}

impl Drop for Inner {
    /// Waits for the writer of the embedded database to finish what it was given, so that a closed store is a whole file.
    fn drop(&mut self) {
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.writer, closed));
        if let Driver::Sqlite(sqlite) = &*self.driver {
            sqlite.close();
        }
    }
}
