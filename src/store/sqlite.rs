//! The embedded database: one writer with group commit, readers beside it.
//!
//! SQLite in WAL mode with `synchronous=FULL`: many batches share one transaction and one fsync, and a batch is
//! acknowledged only after that. Short indexed reads run where they are asked; long ones on the blocking pool.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use tokio::sync::mpsc;

use super::checkpoint::Checkpoints;
use super::db::{Applied, Batch, Cell, Error, Kind, Meter, Order, Param, Row, Source, Statement, group, measured};
use super::plans::{Asked, Plan, Question};

/// Batches that share one transaction at most.
const GROUP_BATCHES: usize = 1024;
/// Statements after which a group is committed even if more batches wait, so that one large batch delays few others.
const GROUP_STATEMENTS: usize = 8192;
/// Batches in a group from which on the next group is given time to gather: for as long as more keep coming, looked at
/// so often, and so many times at most.
const BUSY: usize = 4;
const GLANCE: Duration = Duration::from_micros(250);
const GLANCES: usize = 12;
/// Idle read connections kept open.
const IDLE_READERS: usize = 8;
const STATEMENT_CACHE: usize = 256;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Error::Database(error.to_string())
    }
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

impl Batch {
    /// What may refuse the batch behind a change needs a savepoint to undo that change: up to the last statement that may,
    /// whose place this is. Each page that is changed under a savepoint is copied first, so that it is held no longer.
    fn undone_until(&self) -> Option<usize> {
        let is_change = |statement: &Statement| statement.kind != Kind::Require;
        let changed = self.statements.iter().position(is_change)?;
        let may_refuse = |statement: &Statement| matches!(statement.kind, Kind::Guard | Kind::Require);
        self.statements.iter().rposition(may_refuse).filter(|last| *last > changed)
    }
}

/// The embedded database's connections.
pub(super) struct Sqlite {
    path: PathBuf,
    thread: Mutex<Option<std::thread::JoinHandle<()>>>,
    readers: Mutex<Vec<Connection>>,
    pub(super) asked: Asked,
}

/// A lock whose data stays whole even if a holder panicked: only complete values are put behind it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sqlite {
    /// Opens the database at `path`, creating it if it is not there, and brings its schema up to date. What comes in
    /// `orders` is written until nobody can order any more.
    pub(super) fn open(path: &Path, orders: mpsc::Receiver<Order>, meter: Meter) -> Result<Sqlite, Error> {
        let mut connection = connect(path, false)?;
        super::migrate::run(&mut connection)?;
        let checkpoints = Checkpoints::start(path, &mut connection)?;
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || write_until_closed(connection, orders, checkpoints, &meter))
            .map_err(|error| Error::Open(format!("the writer thread could not be started: {error}")))?;
        Ok(Sqlite {
            path: path.to_owned(),
            thread: Mutex::new(Some(thread)),
            readers: Mutex::new(Vec::with_capacity(IDLE_READERS)),
            asked: Asked::default(),
        })
    }

    /// Runs a read on this thread.
    pub(super) fn query<T>(
        &self,
        sql: &str,
        params: &[Param],
        mut map: impl FnMut(&Row<'_>) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        self.asked.note(Kind::Returning, sql, params);
        let connection = self.reader()?;
        let answer = collect(&connection, sql, params, &mut map);
        let mut idle = lock(&self.readers);
        if idle.len() < IDLE_READERS {
            idle.push(connection);
        }
        answer
    }

    /// How the database goes about these.
    pub(super) fn plans(&self, asked: Vec<Question>) -> Result<Vec<Plan>, Error> {
        let connection = self.reader()?;
        let plan = |Question { sql, params, .. }: Question| {
            let lines = collect(&connection, &format!("EXPLAIN QUERY PLAN {sql}"), &params, &mut |row| row.string(3))?;
            Ok(Plan { sql: sql.into_owned(), lines })
        };
        asked.into_iter().map(plan).collect()
    }

    /// Copies the whole database to `target` while it is in use.
    pub(super) fn backup(&self, target: &Path) -> Result<(), Error> {
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

    fn reader(&self) -> Result<Connection, Error> {
        let idle = lock(&self.readers).pop();
        match idle {
            Some(connection) => Ok(connection),
            None => connect(&self.path, true),
        }
    }

    /// Waits for the writer, whose orders have ended.
    pub(super) fn close(&self) {
        // Before the writer's own connection, which then folds the log into the file if no other process uses it.
        lock(&self.readers).clear();
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
        out.push(map(&Row(Source::Sqlite(row)))?);
    }
    Ok(out)
}

/// The writer: takes what waits, applies it in one transaction, answers after the fsync.
fn write_until_closed(
    mut connection: Connection,
    mut orders: mpsc::Receiver<Order>,
    mut checkpoints: Checkpoints,
    meter: &Meter,
) {
    let mut last = 0;
    while let Some(first) = orders.blocking_recv() {
        if last >= BUSY {
            gather(&orders);
        }
        let group = group(first, &mut orders, GROUP_BATCHES, GROUP_STATEMENTS);
        last = group.len();
        let began = Instant::now();
        write_group(&mut connection, group);
        measured(meter, last, began);
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
                let _ = order.reply.send((Err(error), order.batch));
            }
        }
    }
}

type Answers = Vec<Result<Applied, Error>>;

fn commit<'a>(connection: &mut Connection, batches: impl Iterator<Item = &'a Batch>) -> Result<Answers, Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut answers = Vec::new();
    for batch in batches {
        match execute(&transaction, batch) {
            Err(Error::Database(error)) => return Err(Error::Database(error)),
            answer => answers.push(answer),
        }
    }
    transaction.commit()?;
    Ok(answers)
}

/// Applies a batch within the transaction; what is refused leaves nothing behind.
fn execute(connection: &Connection, batch: &Batch) -> Result<Applied, Error> {
    let mut applied = Applied::default();
    let Some(last) = batch.undone_until() else {
        run(connection, batch, 0..batch.statements.len(), &mut applied)?;
        return Ok(applied);
    };
    connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
    let guarded = run(connection, batch, 0..last + 1, &mut applied);
    if let Err(Error::Refused(_)) = guarded {
        connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
    }
    connection.prepare_cached("RELEASE batch")?.execute([])?;
    guarded?;
    run(connection, batch, last + 1..batch.statements.len(), &mut applied)?;
    Ok(applied)
}

fn run(connection: &Connection, batch: &Batch, places: Range<usize>, applied: &mut Applied) -> Result<(), Error> {
    for place in places {
        let statement = &batch.statements[place];
        if let Some((question, many)) = statement.look
            && !connection.prepare_cached(question)?.exists(rusqlite::params_from_iter(&statement.params[..many]))?
        {
            applied.answers.push(Vec::new());
            continue;
        }
        let mut prepared = connection.prepare_cached(&statement.sql)?;
        let params = rusqlite::params_from_iter(&statement.params);
        match statement.kind {
            Kind::Plain => drop(prepared.execute(params)?),
            Kind::Guard => {
                if prepared.execute(params)? == 0 {
                    return Err(Error::Refused(place));
                }
            }
            Kind::Require => {
                if !prepared.exists(params)? {
                    return Err(Error::Refused(place));
                }
            }
            Kind::Counted => {
                let changed = i64::try_from(prepared.execute(params)?).unwrap_or(i64::MAX);
                applied.answers.push(vec![vec![Cell::Int(changed)]]);
            }
            Kind::Returning => applied.answers.push(cells(&mut prepared.query(params)?)?),
        }
    }
    Ok(())
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
