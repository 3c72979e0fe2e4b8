//! The embedded database: one writer with group commit, readers beside it.
//!
//! SQLite in WAL mode with `synchronous=FULL`: many batches share one transaction and one fsync, and a batch is
//! acknowledged only after that. Short indexed reads run where they are asked; long ones on the blocking pool.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpoints;
use crate::model::time::Time;

/// Batches that share one transaction at most.
const GROUP_BATCHES: usize = 1024;
/// Statements after which a group is committed even if more batches wait, so that one large batch delays few others.
const GROUP_STATEMENTS: usize = 8192;
/// Batches in a group from which on the next group is given time to gather: for as long as more keep coming, looked at
/// so often, and so many times at most.
const BUSY: usize = 4;
const GLANCE: Duration = Duration::from_micros(250);
const GLANCES: usize = 12;
/// Batches that may wait for the writer; beyond it callers wait their turn.
const WRITER_QUEUE: usize = 4096;
/// Idle read connections kept open.
const IDLE_READERS: usize = 8;
const STATEMENT_CACHE: usize = 256;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A statement that had to change or to find a row did not: the batch was not applied.
    #[error("the change was overtaken by another (statement {0})")]
    Refused(usize),
    /// The database itself failed.
    #[error("the database failed: {0}")]
    Database(#[from] rusqlite::Error),
    /// A row did not hold what it must.
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
    /// The store is shutting down.
    #[error("the store is closed")]
    Closed,
    /// The database file could not be opened or brought up to date.
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

impl ToSql for Param {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Param::Null => ValueRef::Null,
            Param::Int(n) => ValueRef::Integer(*n),
            Param::Text(text) => ValueRef::Text(text.as_bytes()),
            Param::Shared(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
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
pub struct Row<'a>(&'a rusqlite::Row<'a>);

impl Row<'_> {
    fn value(&self, column: usize) -> Result<ValueRef<'_>, Error> {
        Ok(self.0.get_ref(column)?)
    }

    /// The text in `column`.
    pub fn text(&self, column: usize) -> Result<&str, Error> {
        self.maybe_text(column)?.ok_or_else(|| Error::Damaged(format!("column {column} is null")))
    }

    /// The text in `column`, if it is not null.
    pub fn maybe_text(&self, column: usize) -> Result<Option<&str>, Error> {
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(bytes) => std::str::from_utf8(bytes)
                .map(Some)
                .map_err(|_| Error::Damaged(format!("column {column} is not UTF-8"))),
            _ => Err(Error::Damaged(format!("column {column} is not text"))),
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
        match self.value(column)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(n) => Ok(Some(n)),
            _ => Err(Error::Damaged(format!("column {column} is not an integer"))),
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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Changes any number of rows.
    Plain,
    /// Must change a row, or the whole batch is refused.
    Guard,
    /// Must find a row, or the whole batch is refused.
    Require,
    /// Gives rows back.
    Returning,
}

#[derive(Debug)]
struct Statement {
    sql: Cow<'static, str>,
    params: Vec<Param>,
    kind: Kind,
}

/// A change: statements that are applied together or not at all.
#[derive(Debug, Default)]
pub struct Batch {
    statements: Vec<Statement>,
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
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Plain });
    }

    /// Adds a statement that must change at least one row; if it does not, nothing of the batch is applied.
    pub fn guard(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Guard });
    }

    /// Adds a question that must have an answer; if it has none, nothing of the batch is applied.
    pub fn require(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Require });
    }

    /// Adds a statement whose rows are given back; the number finds them in [`Applied`].
    pub fn returning(&mut self, sql: impl Into<Cow<'static, str>>, params: Vec<Param>) -> usize {
        self.statements.push(Statement { sql: sql.into(), params, kind: Kind::Returning });
        self.statements.iter().filter(|statement| statement.kind == Kind::Returning).count() - 1
    }

    /// Adds everything of `other` behind this batch's own statements.
    pub fn append(&mut self, other: Batch) {
        self.statements.extend(other.statements);
    }

    /// What may refuse the batch behind a change needs a savepoint to undo that change.
    fn needs_savepoint(&self) -> bool {
        let mut changed = false;
        self.statements.iter().any(|statement| {
            let refuses_late = changed && matches!(statement.kind, Kind::Guard | Kind::Require);
            changed |= statement.kind != Kind::Require;
            refuses_late
        })
    }
}

/// What an applied batch gave back: for each returning statement its rows.
#[derive(Debug, Default)]
pub struct Applied {
    answers: Vec<Vec<Vec<Cell>>>,
}

impl Applied {
    /// The rows of the returning statement with this number.
    pub fn rows(&self, number: usize) -> &[Vec<Cell>] {
        self.answers.get(number).map_or(&[], Vec::as_slice)
    }
}

struct Order {
    batch: Batch,
    reply: oneshot::Sender<Done>,
}

/// What became of a batch, with the batch: its memory is given back by the thread that took it, since a writer that
/// frees what many threads have taken waits for their allocators.
type Done = (Result<Applied, Error>, Batch);

/// A handle on the store; cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    writer: mpsc::Sender<Order>,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    #[cfg(test)]
    asked: Mutex<Vec<(String, Vec<Param>)>>,
}

/// A lock whose data stays whole even if a holder panicked: only complete values are put behind it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// Opens the database at `path`, creating it if it is not there, and brings its schema up to date.
    pub fn open(path: &Path) -> Result<Store, Error> {
        let mut connection = connect(path, false)?;
        super::migrate::run(&mut connection)?;
        let checkpoints = Checkpoints::start(path, &mut connection)?;
        let (writer, orders) = mpsc::channel(WRITER_QUEUE);
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_closed(connection, orders, checkpoints))
            .map_err(|error| Error::Open(format!("the writer thread could not be started: {error}")))?;
        let inner = Inner {
            path: path.to_owned(),
            writer,
            thread: Mutex::new(Some(thread)),
            readers: Mutex::new(Vec::with_capacity(IDLE_READERS)),
            #[cfg(test)]
            asked: Mutex::default(),
        };
        Ok(Store { inner: Arc::new(inner) })
    }

    /// Applies `batch` atomically; when this returns `Ok` the change is on disk.
    pub async fn apply(&self, batch: Batch) -> Result<Applied, Error> {
        #[cfg(test)]
        for statement in &batch.statements {
            self.note(&statement.sql, &statement.params);
        }
        let (reply, answer) = oneshot::channel();
        self.inner.writer.send(Order { batch, reply }).await.map_err(|_| Error::Closed)?;
        let (done, _batch) = answer.await.map_err(|_| Error::Closed)?;
        done
    }

    /// Runs a short, indexed read where it is asked: some ten microseconds, no hop to another thread.
    pub async fn query<T>(
        &self,
        sql: &str,
        params: &[Param],
        map: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.read(sql, params, map)
    }

    fn read<T>(
        &self,
        sql: &str,
        params: &[Param],
        mut map: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        #[cfg(test)]
        self.note(sql, params);
        let connection = self.reader()?;
        let answer = collect(&connection, sql, params, &mut map);
        let mut idle = lock(&self.inner.readers);
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        answer
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

    /// Runs a read that may touch many rows, on the blocking pool.
    pub async fn scan<T: Send + 'static>(
        &self,
        sql: impl Into<Cow<'static, str>>,
        params: Vec<Param>,
        map: impl FnMut(&Row<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<Vec<T>, Error> {
        let (store, sql) = (self.clone(), sql.into());
        tokio::task::spawn_blocking(move || store.read(&sql, &params, map)).await.map_err(|_| Error::Closed)?
    }

    /// Copies the whole database to `target` while it is in use; the copy is consistent.
    pub fn backup(&self, target: &Path) -> Result<(), Error> {
        let source = self.reader()?;
        let mut copy = Connection::open(target)?;
        let backup = rusqlite::backup::Backup::new(&source, &mut copy)?;
        // In one step, under one snapshot: a copy in parts would start anew whenever another process writes. Writers
        // need not wait for it.
        match backup.step(-1)? {
            rusqlite::backup::StepResult::Done => Ok(()),
            _ => Err(Error::Open("the database is busy: try the backup again".to_owned())),
        }
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), Error> {
        self.query("SELECT 1", &[], |row| row.int(0)).await.map(drop)
    }

    fn reader(&self) -> Result<Connection, Error> {
        let idle = lock(&self.inner.readers).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => connect(&self.inner.path, true),
        }
    }
}

#[cfg(test)]
impl Store {
    fn note(&self, sql: &str, params: &[Param]) {
        lock(&self.inner.asked).push((sql.to_owned(), params.to_vec()));
    }

    /// Everything asked since the last look, each statement with the lines of its query plan.
    pub(crate) fn plans(&self) -> Result<Vec<(String, Vec<String>)>, Error> {
        let connection = self.reader()?;
        let plan = |(sql, params): (String, Vec<Param>)| {
            let lines = collect(&connection, &format!("EXPLAIN QUERY PLAN {sql}"), &params, &mut |row| row.string(3))?;
            Ok((sql, lines))
        };
        std::mem::take(&mut *lock(&self.inner.asked)).into_iter().map(plan).collect()
    }
}

impl Drop for Inner {
    /// Waits for the writer to finish what it was given, so that a closed store is a whole file.
    fn drop(&mut self) {
        // Before the writer's own connection, which then folds the log into the file if no other process uses it.
        lock(&self.readers).clear();
        let (closed, _) = mpsc::channel(1);
        drop(std::mem::replace(&mut self.writer, closed));
        if let Some(thread) = lock(&self.thread).take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A writer that panicked has already failed every caller.
            let _ = thread.join();
        }
    }
}

pub(super) fn connect(path: &Path, read_only: bool) -> Result<Connection, Error> {
    let flags = if read_only {
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX
    } else {
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX
    };
    let connection = Connection::open_with_flags(path, flags)
        .map_err(|error| Error::Open(format!("the database {} cannot be opened: {error}", path.display())))?;
    connection.busy_timeout(Duration::from_secs(10))?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // Plans do not depend on what is bound: else a statement is planned anew whenever other values are.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if !read_only {
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 0)?;
        connection.pragma_update(None, "journal_size_limit", 64 * 1024 * 1024)?;
    }
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "cache_size", if read_only { -2_000 } else { -32_000 })?;
    Ok(connection)
}

fn collect<T>(
    connection: &Connection,
    sql: &str,
    params: &[Param],
    map: &mut impl FnMut(&Row<'_>) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(rusqlite::params_from_iter(params))?;
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        out.push(map(&Row(row))?);
    }
    Ok(out)
}

/// The writer: takes what waits, applies it in one transaction, answers after the fsync.
fn write_until_closed(mut connection: Connection, mut orders: mpsc::Receiver<Order>, mut checkpoints: Checkpoints) {
    let mut last = 0;
    while let Some(first) = orders.blocking_recv() {
        if last >= BUSY {
            gather(&orders);
        }
        let mut statements = first.batch.statements.len();
        let mut group = vec![first];
        while group.len() < GROUP_BATCHES && statements < GROUP_STATEMENTS {
            let Ok(next) = orders.try_recv() else { break };
            statements += next.batch.statements.len();
            group.push(next);
        }
        last = group.len();
        write_group(&mut connection, group);
        checkpoints.committed(&connection);
    }
    // The thread's connection goes first: the last one that is closed folds the log into the file.
    drop(checkpoints);
}

/// Waits while more keeps coming: a commit costs as much as ten batches, and those who bring them need the core as well.
fn gather(orders: &mpsc::Receiver<Order>) {
    let mut waiting = orders.len();
    for _ in 0..GLANCES {
        std::thread::sleep(GLANCE);
        if orders.len() == std::mem::replace(&mut waiting, orders.len()) || waiting >= GROUP_BATCHES {
            return;
        }
    }
}

fn write_group(connection: &mut Connection, group: Vec<Order>) {
    match commit(connection, group.iter().map(|order| &order.batch)) {
        Ok(answers) => {
            for (order, answer) in group.into_iter().zip(answers) {
                // A caller that has gone away still has its change.
                let _ = order.reply.send((answer, order.batch));
            }
        }
        // One batch broke the transaction: each is applied alone, so that only the broken one fails.
        Err(error) if group.len() > 1 => {
            tracing::debug!(%error, batches = group.len(), "a group of changes failed; applying them one by one");
            for order in group {
                write_group(connection, vec![order]);
            }
        }
        Err(error) => {
            tracing::error!(%error, "a change could not be written");
            if let Some(order) = group.into_iter().next() {
                let _ = order.reply.send((Err(Error::Database(error)), order.batch));
            }
        }
    }
}

type Answers = Vec<Result<Applied, Error>>;

fn commit<'a>(
    connection: &mut Connection,
    batches: impl Iterator<Item = &'a Batch>,
) -> Result<Answers, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut answers = Vec::new();
    for batch in batches {
        let savepoint = batch.needs_savepoint();
        if savepoint {
            transaction.prepare_cached("SAVEPOINT batch")?.execute([])?;
        }
        let answer = execute(&transaction, batch);
        let answer = match answer {
            Err(Error::Database(error)) => return Err(error),
            other => other,
        };
        if savepoint {
            if answer.is_err() {
                transaction.prepare_cached("ROLLBACK TO batch")?.execute([])?;
            }
            transaction.prepare_cached("RELEASE batch")?.execute([])?;
        }
        answers.push(answer);
    }
    transaction.commit()?;
    Ok(answers)
}

fn execute(connection: &Connection, batch: &Batch) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    for (number, statement) in batch.statements.iter().enumerate() {
        let mut prepared = connection.prepare_cached(&statement.sql)?;
        let params = rusqlite::params_from_iter(&statement.params);
        match statement.kind {
            Kind::Plain => drop(prepared.execute(params)?),
            Kind::Guard => {
                if prepared.execute(params)? == 0 {
                    return Err(Error::Refused(number));
                }
            }
            Kind::Require => {
                if !prepared.exists(params)? {
                    return Err(Error::Refused(number));
                }
            }
            Kind::Returning => applied.answers.push(cells(&mut prepared.query(params)?)?),
        }
    }
    Ok(applied)
}

fn cells(rows: &mut rusqlite::Rows<'_>) -> Result<Vec<Vec<Cell>>, Error> {
    let mut out = Vec::new();
    while let Some(row) = rows.next()? {
        let width = row.as_ref().column_count();
        let mut cells = Vec::with_capacity(width);
        for column in 0..width {
            cells.push(match row.get_ref(column)? {
                ValueRef::Integer(n) => Cell::Int(n),
                ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
                _ => Cell::Null,
            });
        }
        out.push(cells);
    }
    Ok(out)
}
