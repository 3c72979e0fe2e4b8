//! PostgreSQL: the same batches and questions as of the embedded database, from many nodes at once.
//!
//! Batches that wait share one transaction. It goes out as a whole, in one round trip, from `BEGIN` to `COMMIT`: no lock is
//! ever held while a node thinks, and one that dies holds none. What a batch may be refused for breaks the
//! transaction in the database; then each batch of the group is applied alone. A node that is cut off while a transaction
//! goes out cannot take it back: the database does, see `HELD`.

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use deadpool::managed::{self, Metrics, Pool, RecycleError, RecycleResult};
use futures_util::future::{MaybeDone, maybe_done};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};
use tokio_postgres::{Client, Config, Row, SimpleQueryMessage, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::{debug, error, warn};

use super::db::{Applied, Batch, Cell, Error, FeedKey, Kind, Meter, Order, Param, group, measured};
use super::plans::{Asked, Plan, Question};
use super::{dialect, migrate};
use crate::model::cap::Counter;

/// Batches and statements that share one transaction at most. Fewer than in the embedded database: others wait for the
/// rows that it holds.
const GROUP_BATCHES: usize = 64;
const GROUP_STATEMENTS: usize = 1024;
/// Statements that one connection keeps prepared.
const STATEMENTS: usize = 256;
/// How often a transaction that the database gave up (for a deadlock, or a restart) is tried again.
const ATTEMPTS: u32 = 5;
/// How long the database waits for the rest of a transaction. Whoever has sent a part of it is gone by then, frozen or cut
/// off, and others wait for what it holds; the kernel would miss it after two hours.
const HELD: &str = "SET idle_in_transaction_session_timeout = '5s'";
/// Has lists read along an index that has them in order, never along one that has only their beginning so: what would have to
/// be sorted of it, such as the followers of one object, may be very many.
const IN_ORDER: &str = "SET enable_incremental_sort = off";
/// The pause before it is; and before another try to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// How PostgreSQL is reached.
#[derive(Clone)]
pub struct Settings {
    /// Where it is, and who asks.
    pub config: Config,
    pub tls: Arc<rustls::ClientConfig>,
    /// Connections at most; a third of them write.
    pub connections: usize,
    /// How long anything may take, from the wait for a connection to the answer.
    pub patience: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").field("connections", &self.connections).finish_non_exhaustive()
    }
}

impl Settings {
    /// Opens a connection by itself.
    pub(super) async fn dial(&self) -> Result<Client, tokio_postgres::Error> {
        let tls = MakeRustlsConnect::new((*self.tls).clone());
        let (client, connection) = self.config.connect(tls).await?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(error = said(&error), "a connection to PostgreSQL has ended");
            }
        });
        Ok(client)
    }
}

/// The connections to the database.
pub(super) struct Postgres {
    readers: Pool<Dialer>,
    patience: Duration,
    pub(super) asked: Asked,
}

impl Postgres {
    /// Connects, brings the schema up to date, and writes what comes in `orders` until nobody can order any more.
    pub(super) async fn connect(
        settings: &Settings,
        orders: mpsc::Receiver<Order>,
        meter: Meter,
    ) -> Result<Postgres, Error> {
        let mut client = settings.dial().await.map_err(|error| Error::Open(refusal(&error)))?;
        check(&client).await?;
        migrate::run_on_postgres(&mut client).await?;
        let writers = (settings.connections / 3).max(1);
        let readers = settings.connections.saturating_sub(writers).max(1);
        let pool = |size: usize| {
            let built = Pool::builder(Dialer(settings.clone())).max_size(size).build();
            built.map_err(|error| Error::Open(format!("the pool of connections could not be made: {error}")))
        };
        let patience = settings.patience;
        tokio::spawn(write_until_closed(pool(writers)?, writers, orders, patience, meter));
        Ok(Postgres { readers: pool(readers)?, patience, asked: Asked::default() })
    }

    /// Asks one question.
    pub(super) async fn query(&self, sql: &str, params: &[Param]) -> Result<Vec<Row>, Error> {
        self.asked.note(Kind::Returning, sql, params);
        let deadline = Instant::now() + self.patience;
        for attempt in 1.. {
            let mut link = link(&self.readers, deadline).await?;
            match timeout_at(deadline, ask(&mut link, sql, params)).await {
                Ok(Ok(rows)) => return Ok(rows),
                // A question may be asked twice.
                Ok(Err(error)) if attempt < ATTEMPTS && is_passing(&error) => {
                    if link.client.is_closed() {
                        drop(managed::Object::take(link));
                    }
                    pause(attempt).await;
                }
                Ok(Err(error)) => return Err(fault(&error)),
                Err(_) => {
                    drop(managed::Object::take(link));
                    return Err(slow(self.patience));
                }
            }
        }
        Err(slow(self.patience))
    }

    /// How the database goes about these: when it looks at what is bound, and when it does not.
    pub(super) async fn plans(&self, asked: Vec<Question>) -> Result<Vec<Plan>, Error> {
        let link = link(&self.readers, Instant::now() + self.patience).await?;
        let mut plans = Vec::with_capacity(2 * asked.len());
        for Question { kind, sql, params } in asked {
            let values: Vec<String> = params.iter().map(literal).collect();
            let values = if values.is_empty() { String::new() } else { format!(" ({})", values.join(", ")) };
            for mode in ["force_custom_plan", "force_generic_plan"] {
                let script = format!(
                    "SET plan_cache_mode = {mode}; PREPARE watched AS {}; EXPLAIN EXECUTE watched{values}; \
                     DEALLOCATE watched; RESET plan_cache_mode",
                    dialect::postgres(&sql, kind)
                );
                let answer = match link.client.simple_query(&script).await {
                    Ok(answer) => answer,
                    Err(error) => {
                        // It may still hold the statement.
                        drop(managed::Object::take(link));
                        return Err(fault(&error));
                    }
                };
                let line = |message: SimpleQueryMessage| match message {
                    SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
                    _ => None,
                };
                plans.push(Plan { sql: sql.to_string(), lines: answer.into_iter().filter_map(line).collect() });
            }
        }
        Ok(plans)
    }
}

/// What is bound, as it is spelled in a statement.
fn literal(param: &Param) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\0', "\u{fffd}").replace('\'', "''"));
    match param {
        Param::Null => "NULL".to_owned(),
        Param::Int(n) => quoted(&n.to_string()),
        Param::Text(text) => quoted(text),
        Param::Shared(text) => quoted(text),
    }
}

/// Says what of the database's settings would lose what was acknowledged.
async fn check(client: &Client) -> Result<(), Error> {
    let ask = "SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit'), \
               current_setting('server_encoding')";
    let row = client.query_one(ask, &[]).await.map_err(|error| Error::Open(refusal(&error)))?;
    let (version, encoding): (i32, &str) = (row.get(0), row.get(3));
    if version < 150_000 {
        return Err(Error::Open(format!(
            "PostgreSQL is version {}: this program needs 15 or newer (`url` of [store])",
            version / 10_000
        )));
    }
    if encoding != "UTF8" {
        return Err(Error::Open(format!(
            "the database's encoding is {encoding}: create it with `ENCODING 'UTF8'` (`url` of [store])"
        )));
    }
    for (at, name) in [(1, "fsync"), (2, "synchronous_commit")] {
        if row.get::<_, &str>(at) == "off" {
            warn!("PostgreSQL's {name} is off: what was acknowledged is lost when the database's machine dies");
        }
    }
    Ok(())
}

/// Opens connections for a pool.
struct Dialer(Settings);

/// A connection with the statements it has prepared.
pub(super) struct Link {
    client: Client,
    prepared: HashMap<(Kind, Box<str>), Statement>,
    /// The same, oldest first.
    age: VecDeque<(Kind, Box<str>)>,
}

impl managed::Manager for Dialer {
    type Type = Link;
    type Error = tokio_postgres::Error;

    async fn create(&self) -> Result<Link, tokio_postgres::Error> {
        let client = self.0.dial().await?;
        client.batch_execute(&format!("{HELD}; {IN_ORDER}")).await?;
        Ok(Link { client, prepared: HashMap::new(), age: VecDeque::new() })
    }

    async fn recycle(&self, link: &mut Link, _: &Metrics) -> RecycleResult<tokio_postgres::Error> {
        if link.client.is_closed() { Err(RecycleError::message("closed")) } else { Ok(()) }
    }
}

impl Link {
    fn statement(&self, kind: Kind, sql: &str) -> Option<&Statement> {
        self.prepared.get(&(kind, Box::from(sql)))
    }

    /// Sees to it that these are prepared, all in one round trip.
    async fn prepare<'a>(&mut self, asked: impl Iterator<Item = (Kind, &'a str)>) -> Result<(), tokio_postgres::Error> {
        let mut missing: Vec<(Kind, &str)> = Vec::new();
        for (kind, sql) in asked {
            if self.statement(kind, sql).is_none() && !missing.contains(&(kind, sql)) {
                missing.push((kind, sql));
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let texts: Vec<String> = missing.iter().map(|(kind, sql)| dialect::postgres(sql, *kind)).collect();
        let prepared = in_one_go(texts.iter().map(|text| self.client.prepare(text))).await;
        for ((kind, sql), statement) in missing.into_iter().zip(prepared) {
            let key = (kind, Box::from(sql));
            self.prepared.insert(key.clone(), statement?);
            self.age.push_back(key);
        }
        Ok(())
    }

    /// Forgets the oldest statements beyond what one connection keeps.
    fn trim(&mut self) {
        while self.age.len() > STATEMENTS
            && let Some(oldest) = self.age.pop_front()
        {
            self.prepared.remove(&oldest);
        }
    }
}

/// A connection out of the pool. While none can be opened it is tried again until the deadline.
async fn link(pool: &Pool<Dialer>, deadline: Instant) -> Result<managed::Object<Dialer>, Error> {
    loop {
        match timeout_at(deadline, pool.get()).await {
            Ok(Ok(link)) => return Ok(link),
            Ok(Err(error)) => {
                let why = match &error {
                    managed::PoolError::Backend(error) => refusal(error),
                    other => other.to_string(),
                };
                if Instant::now() + PAUSE >= deadline {
                    return Err(Error::Unavailable(why));
                }
                sleep(PAUSE).await;
            }
            Err(_) => return Err(Error::Unavailable("all connections to PostgreSQL are busy".to_owned())),
        }
    }
}

async fn ask(link: &mut Link, sql: &str, params: &[Param]) -> Result<Vec<Row>, tokio_postgres::Error> {
    link.prepare(std::iter::once((Kind::Returning, sql))).await?;
    let rows = match link.statement(Kind::Returning, sql) {
        Some(statement) => link.client.query(statement, &bound(params)).await?,
        None => Vec::new(),
    };
    link.trim();
    Ok(rows)
}

fn bound(params: &[Param]) -> Vec<&(dyn ToSql + Sync)> {
    params.iter().map(|param| param as &(dyn ToSql + Sync)).collect()
}

/// Polls each once, in order, so that all are under way, and waits for all.
async fn in_one_go<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut begun: Vec<Pin<Box<MaybeDone<F>>>> = futures.map(|future| Box::pin(maybe_done(future))).collect();
    std::future::poll_fn(|context| {
        for future in &mut begun {
            let _ = future.as_mut().poll(context);
        }
        std::task::Poll::Ready(())
    })
    .await;
    let mut out = Vec::with_capacity(begun.len());
    for mut future in begun {
        future.as_mut().await;
        out.extend(future.as_mut().take_output());
    }
    out
}

/// Takes what waits, as many groups at a time as there are connections to write with.
async fn write_until_closed(
    pool: Pool<Dialer>,
    writers: usize,
    mut orders: mpsc::Receiver<Order>,
    patience: Duration,
    meter: Meter,
) {
    let slots = Arc::new(Semaphore::new(writers));
    loop {
        // A group is taken when somebody can write it: what comes meanwhile joins the next.
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Some(first) = orders.recv().await else { return };
        let group = group(first, &mut orders, GROUP_BATCHES, GROUP_STATEMENTS);
        let (pool, meter) = (pool.clone(), Arc::clone(&meter));
        tokio::spawn(async move {
            let (began, batches) = (std::time::Instant::now(), group.len());
            write(&pool, group, patience).await;
            measured(&meter, batches, began);
            drop(slot);
        });
    }
}

async fn write(pool: &Pool<Dialer>, group: Vec<Order>, patience: Duration) {
    let deadline = Instant::now() + patience;
    if group.len() > 1 {
        let batches: Vec<&Batch> = group.iter().map(|order| &order.batch).collect();
        match commit(pool, &batches, deadline).await {
            Ok(applied) => return answer(group, applied.into_iter().map(Ok)),
            // Sent, and perhaps applied: it must not be applied again.
            Err(Broken::Unknown(why)) => {
                let answers: Vec<_> = group.iter().map(|_| Err(Error::Unavailable(why.clone()))).collect();
                return answer(group, answers.into_iter());
            }
            Err(Broken::Unreachable(_) | Broken::At(..)) => {}
        }
        debug!(batches = group.len(), "a group of changes was refused; applying them one by one");
    }
    for order in group {
        let result = alone(pool, &order.batch, deadline).await;
        answer(vec![order], std::iter::once(result));
    }
}

fn answer(group: Vec<Order>, answers: impl Iterator<Item = Result<Applied, Error>>) {
    for (order, result) in group.into_iter().zip(answers) {
        // A caller that has gone away still has its change.
        let _ = order.reply.send((result, order.batch));
    }
}

/// Applies one batch in a transaction of its own.
async fn alone(pool: &Pool<Dialer>, batch: &Batch, deadline: Instant) -> Result<Applied, Error> {
    for attempt in 1.. {
        match commit(pool, &[batch], deadline).await {
            Ok(mut applied) => return Ok(applied.pop().unwrap_or_default()),
            Err(Broken::Unreachable(error)) => return Err(error),
            Err(Broken::Unknown(why)) => {
                error!(why, "a change was sent to the database and its answer is unknown");
                return Err(Error::Unavailable(why));
            }
            Err(Broken::At(number, error)) => {
                let kind = batch.statements.get(number).map(|statement| statement.kind);
                let may_refuse = matches!(kind, Some(Kind::Guard | Kind::Require));
                if may_refuse && error.code() == Some(&SqlState::DIVISION_BY_ZERO) {
                    return Err(Error::Refused(number));
                }
                if attempt < ATTEMPTS && is_passing(&error) && Instant::now() < deadline {
                    pause(attempt).await;
                    continue;
                }
                error!(error = said(&error), "a change could not be written");
                return Err(fault(&error));
            }
        }
    }
    Err(Error::Closed)
}

/// Why a transaction came to nothing, or may have.
enum Broken {
    /// It was not sent.
    Unreachable(Error),
    /// The database refused this statement, counted through the whole group, and with it everything.
    At(usize, tokio_postgres::Error),
    /// It was sent, and nobody knows what became of it.
    Unknown(String),
}

/// Applies batches in one transaction and one round trip.
async fn commit(pool: &Pool<Dialer>, batches: &[&Batch], deadline: Instant) -> Result<Vec<Applied>, Broken> {
    let mut link = link(pool, deadline).await.map_err(Broken::Unreachable)?;
    let locks = Locks::of(batches);
    let statements = || batches.iter().flat_map(|batch| &batch.statements);
    let prepare = async {
        let locks = locks.0.iter().map(|lock| (Kind::Plain, lock.sql));
        link.prepare(statements().map(|statement| (statement.kind, &*statement.sql)).chain(locks)).await
    };
    match timeout_at(deadline, prepare).await {
        Ok(Ok(())) => {}
        // Nothing has been sent but questions of how to ask.
        Ok(Err(error)) if error.is_closed() || error.as_db_error().is_none() => {
            drop(managed::Object::take(link));
            return Err(Broken::Unreachable(fault(&error)));
        }
        Ok(Err(error)) => return Err(Broken::At(usize::MAX, error)),
        Err(_) => {
            drop(managed::Object::take(link));
            return Err(Broken::Unreachable(Error::Unavailable("PostgreSQL does not answer".to_owned())));
        }
    }
    for statement in statements() {
        let prepared = link.statement(statement.kind, &statement.sql);
        // A statement that could not be sent would be missing between the others.
        if !prepared.is_some_and(|prepared| fits(prepared, &statement.params)) {
            return Err(Broken::Unreachable(Error::Database(format!(
                "this does not fit its parameters: {}",
                statement.sql
            ))));
        }
    }
    let sent = timeout_at(deadline, send(&link, &locks, batches)).await;
    let Ok(mut results) = sent else {
        drop(managed::Object::take(link));
        return Err(Broken::Unknown("PostgreSQL did not answer in time, and may have applied the change".to_owned()));
    };
    let is_lost = link.client.is_closed();
    link.trim();
    if is_lost {
        drop(managed::Object::take(link));
    }
    // What stands before the statements: `BEGIN`, and the locks.
    let before = results.len() - 1 - statements().count();
    // Whatever the database itself refused undoes everything; else, what failed was the connection.
    let own = |result: &Answered| result.as_ref().is_err_and(|error| error.as_db_error().is_some());
    if let Some(at) = results.iter().position(own)
        && let Err(error) = results.swap_remove(at)
    {
        return Err(Broken::At(at.checked_sub(before).unwrap_or(usize::MAX), error));
    }
    if let Some(error) = results.iter().find_map(|result| result.as_ref().err()) {
        return Err(Broken::Unknown(format!("{}; the change may have been applied", said(error))));
    }
    let mut rows = results.into_iter().skip(before).map(Result::unwrap_or_default);
    let mut out = Vec::with_capacity(batches.len());
    for batch in batches {
        let mut applied = Applied::default();
        for statement in &batch.statements {
            let rows = rows.next().unwrap_or_default();
            if matches!(statement.kind, Kind::Returning | Kind::Counted) {
                applied.answers.push(rows.iter().map(cells).collect());
            }
        }
        out.push(applied);
    }
    Ok(out)
}

type Answered = Result<Vec<Row>, tokio_postgres::Error>;

/// Sends `BEGIN`, the locks, every statement and `COMMIT`, and waits for all answers, in that order.
async fn send(link: &Link, locks: &Locks, batches: &[&Batch]) -> Vec<Answered> {
    let command = |text: &'static str| -> Pin<Box<dyn Future<Output = Answered> + Send + '_>> {
        Box::pin(async move { link.client.batch_execute(text).await.map(|()| Vec::new()) })
    };
    let mut all = vec![command("BEGIN")];
    for lock in &locks.0 {
        let Some(statement) = link.statement(Kind::Plain, lock.sql) else { continue };
        all.push(Box::pin(async move {
            let params: Vec<&(dyn ToSql + Sync)> = lock.params.iter().map(|list| &**list as _).collect();
            link.client.query(statement, &params).await
        }));
    }
    for statement in batches.iter().flat_map(|batch| &batch.statements) {
        all.push(Box::pin(async move {
            match link.statement(statement.kind, &statement.sql) {
                Some(prepared) => link.client.query(prepared, &bound(&statement.params)).await,
                None => Ok(Vec::new()),
            }
        }));
    }
    all.push(command("COMMIT"));
    in_one_go(all.into_iter()).await
}

/// Whether the parameters are what the statement takes.
fn fits(statement: &Statement, params: &[Param]) -> bool {
    let fit = |(ty, param): (&Type, &Param)| match (ty, param) {
        (&Type::INT4, Param::Int(n)) => i32::try_from(*n).is_ok(),
        (ty, _) => Param::accepts(ty),
    };
    statement.params().len() == params.len() && statement.params().iter().zip(params).all(fit)
}

/// What a group of batches changes that others may change at the same time, in the order in which everybody locks it.
struct Locks(Vec<Lock>);

struct Lock {
    sql: &'static str,
    params: Vec<Box<dyn ToSql + Sync + Send>>,
}

impl Locks {
    fn of(batches: &[&Batch]) -> Locks {
        let mut locks = Vec::new();
        let counters: Vec<_> = batches.iter().flat_map(|batch| &batch.counters).collect();
        let keys: Vec<&FeedKey> = batches.iter().flat_map(|batch| &batch.feeds).collect();
        // The first statement that changes a feed is lock enough where it is the only lock: of a batch that adds to one feed.
        let is_alone = matches!(keys[..], [] | [FeedKey::Named { .. }]) && counters.is_empty();
        if !is_alone {
            let (mut envs, mut channels, mut recipients, mut ids) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for key in keys {
                match key {
                    FeedKey::Id(id) => ids.push(*id),
                    FeedKey::Named { env, channel, recipient } => {
                        envs.push(*env);
                        channels.push(channel.clone());
                        recipients.push(recipient.clone());
                    }
                }
            }
            let params: Vec<Box<dyn ToSql + Sync + Send>> =
                vec![Box::new(envs), Box::new(channels), Box::new(recipients), Box::new(ids)];
            locks.push(Lock { sql: dialect::LOCK_FEEDS, params });
        }
        let ids: Vec<String> = batches.iter().flat_map(|batch| &batch.locked).cloned().collect();
        if !ids.is_empty() {
            locks.push(Lock { sql: dialect::LOCK_BATCHES, params: vec![Box::new(ids)] });
        }
        if !counters.is_empty() {
            let list = |of: fn(&Counter) -> &String| -> Vec<String> {
                counters.iter().map(|(_, counter)| of(counter).clone()).collect()
            };
            let envs: Vec<i64> = counters.iter().map(|(env, _)| *env).collect();
            let params: Vec<Box<dyn ToSql + Sync + Send>> = vec![
                Box::new(envs),
                Box::new(list(|counter| &counter.recipient)),
                Box::new(list(|counter| &counter.cap)),
                Box::new(list(|counter| &counter.tenant)),
            ];
            locks.push(Lock { sql: dialect::LOCK_COUNTERS, params });
        }
        Locks(locks)
    }
}

/// Whether what failed may go well when it is tried again, and has surely left nothing behind.
fn is_passing(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => [
            SqlState::T_R_DEADLOCK_DETECTED,
            SqlState::T_R_SERIALIZATION_FAILURE,
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT,
            // What was not there when it was looked for, and is by now.
            SqlState::UNIQUE_VIOLATION,
            // A plan that was made before a migration.
            SqlState::FEATURE_NOT_SUPPORTED,
        ]
        .contains(code),
        None => error.is_closed() || std::error::Error::source(error).is_some_and(|cause| cause.is::<std::io::Error>()),
    }
}

fn fault(error: &tokio_postgres::Error) -> Error {
    match error.as_db_error() {
        Some(_) if !is_passing(error) => Error::Database(said(error)),
        _ => Error::Unavailable(said(error)),
    }
}

fn slow(patience: Duration) -> Error {
    Error::Unavailable(format!("PostgreSQL did not answer within {} s", patience.as_secs()))
}

async fn pause(attempt: u32) {
    // Not all at once: whoever met in a deadlock would meet again.
    let part = uuid::Uuid::new_v4().as_u128() % 1_000;
    sleep(PAUSE.mul_f64(f64::from(attempt) * (0.5 + part as f64 / 1_000.0))).await;
}

/// What went wrong in the database's own words, without what was asked of it: that may hold what nobody should read.
pub(super) fn said(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(inside) => format!("{} ({})", inside.message(), inside.code().code()),
        None => {
            let cause = std::error::Error::source(error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        }
    }
}

/// Why no connection came about, and which key to look at.
fn refusal(error: &tokio_postgres::Error) -> String {
    let said = said(error);
    let hint = match error.code() {
        Some(code) if *code == SqlState::INVALID_PASSWORD => "the user or password in `url` of [store] is wrong",
        Some(code) if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the user in `url` of [store] is not let in: see the server's pg_hba.conf"
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => {
            "the database named in `url` of [store] does not exist: create it"
        }
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user in `url` of [store] needs the right to create tables in the database's schema"
        }
        Some(code) if *code == SqlState::TOO_MANY_CONNECTIONS => {
            "PostgreSQL takes no more connections: lower `connections` of [store], or raise its max_connections"
        }
        _ => "look at `url` of [store], and whether PostgreSQL runs there",
    };
    format!("PostgreSQL can't be used: {said}; {hint}")
}

impl ToSql for Param {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        let text = match self {
            Param::Null => return Ok(IsNull::Yes),
            Param::Int(n) => {
                return match *ty {
                    Type::INT8 => n.to_sql(ty, out),
                    Type::INT4 => i32::try_from(*n)?.to_sql(ty, out),
                    _ => n.to_string().to_sql(&Type::TEXT, out),
                };
            }
            Param::Text(text) => &**text,
            Param::Shared(text) => &**text,
        };
        // PostgreSQL has no U+0000: whoever sends it finds again what was kept in its stead.
        match *ty {
            Type::JSON if text.contains("\\u0000") => text.replace("\\u0000", "\\ufffd").to_sql(ty, out),
            Type::TEXT | Type::VARCHAR if text.contains('\0') => text.replace('\0', "\u{fffd}").to_sql(ty, out),
            _ => text.to_sql(ty, out),
        }
    }

    fn accepts(ty: &Type) -> bool {
        [Type::INT8, Type::INT4, Type::TEXT, Type::VARCHAR, Type::JSON].contains(ty)
    }

    to_sql_checked!();
}

/// The integer in a column, if it is not null; none if the column holds something else.
pub(super) fn integer(row: &Row, column: usize) -> Option<Option<i64>> {
    match *row.columns().get(column)?.type_() {
        Type::INT8 => row.try_get(column).ok(),
        Type::INT4 => row.try_get::<_, Option<i32>>(column).ok().map(|n| n.map(i64::from)),
        _ => None,
    }
}

fn cells(row: &Row) -> Vec<Cell> {
    let cell = |column| match integer(row, column) {
        Some(Some(n)) => Cell::Int(n),
        Some(None) => Cell::Null,
        None => row.try_get::<_, Option<String>>(column).ok().flatten().map_or(Cell::Null, Cell::Text),
    };
    (0..row.len()).map(cell).collect()
}
