//! The bare group commit: one thread writes what many callers bring, and syncs once for all of them.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rusqlite::{CachedStatement, Connection, params};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::record::Store;
use super::{end_with_parent, tell};
use crate::machine::{Reading, Usage};
use crate::options::{BareRows, Common};

/// The server's own tables: what is written here is as wide and as indexed as there.
const SCHEMA: &str = include_str!("../../../src/store/migrations/0001_first.sql");
/// Writes that share one commit at most; beyond, waiting costs more than it saves.
const LARGEST_COMMIT: usize = 1_024;
const QUEUE: usize = 16_384;
const CHANNEL: &str = "8209f26c-62a5-461d-95e2-a5716a26e652";
const VERSION: &str = "01935f7e-8f4c-7d2b-a1a0-51cd7a70d2ab";
const RUN: &str = "0a5c7b1e-52f1-4d6e-9df6-1a1f4b7cdd10";
const BLOCKS: &str = r#"[{"content":"Build **{{ data.build }}** finished: {{ data.text }}","name":"body","rendered":"<p>Build <strong>finished</strong>: every test passed, the package is ready to be tried</p>","type":"markdown"},{"content":"/builds/1","name":"action_url","rendered":"/builds/1","type":"text"}]"#;
const DATA: &str = r#"{"build":"1734","text":"every test passed, the package is ready to be tried"}"#;

/// One write: a user's item or mark, and whom to tell once it is on disk.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) store: Store,
    pub(crate) user: u32,
    pub(crate) then: Then,
}

/// Who hears that a write is on disk.
#[derive(Debug)]
pub(crate) enum Then {
    Answer(oneshot::Sender<()>),
    Push { user: u32, text: Vec<u8> },
}

/// A database laid out and kept as the server's, with a file of its own.
pub(crate) struct Rows {
    connection: Connection,
    written: u64,
    random: u64,
}

impl Rows {
    pub(crate) fn open(directory: &Path) -> Result<Rows> {
        let connection = Connection::open(directory.join("bare.db")).context("cannot open the bare database")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", 4_000)?;
        connection.pragma_update(None, "cache_size", -64_000)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(SCHEMA)?;
        Ok(Rows { connection, written: 0, random: 0x9e37_79b9_7f4a_7c15 })
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    pub(crate) fn begin(&self) -> Result<()> {
        Ok(self.prepare("BEGIN IMMEDIATE")?.execute([]).map(drop)?)
    }

    pub(crate) fn commit(&self) -> Result<()> {
        Ok(self.prepare("COMMIT")?.execute([]).map(drop)?)
    }

    /// Writes one notification's rows.
    pub(crate) fn item(&mut self, user: u32) -> Result<()> {
        self.written += 1;
        let (recipient, message, run) = (format!("u{user}"), self.id(), self.id());
        let now = 1_764_000_000_000_000 + self.written as i64;
        let (feed, version) = self.raise(&recipient, now)?;
        self.prepare(
            "INSERT INTO messages (id, env, feed, seq, version, channel, recipient, workflow, version_id, categories,
             step_ref, workflow_run, run, status, blocks, actors, total_actors, data, total_activities, inserted_at, updated_at)
             VALUES (?, 1, ?, ?, ?, ?, ?, 'bell', ?, '[]', 'in_app_feed_1', ?, ?, 'delivered', ?, '[]', 0, ?, 1, ?, ?)",
        )?
        .execute(params![message, feed, version, version, CHANNEL, recipient, VERSION, RUN, run, BLOCKS, DATA, now, now])?;
        self.prepare(
            "INSERT INTO runs (id, env, rev, workflow_run, workflow, version_id, status, recipient, source, settings, data,
             state, events, error_count, inserted_at, updated_at)
             VALUES (?, 1, 1, ?, 'bell', ?, 'completed', ?, '{\"type\":\"api\"}', '{}', ?, '{}', '[]', 0, ?, ?)",
        )?
        .execute(params![run, RUN, VERSION, recipient, DATA, now, now])?;
        Ok(())
    }

    /// Marks a user's latest item, or unmarks it.
    pub(crate) fn mark(&mut self, user: u32) -> Result<()> {
        self.written += 1;
        let now = 1_764_000_000_000_000 + self.written as i64;
        let (feed, version) = self.raise(&format!("u{user}"), now)?;
        self.prepare(
            "UPDATE messages SET read_at = CASE WHEN read_at IS NULL THEN ?1 END, version = ?2, updated_at = ?1
             WHERE n = (SELECT n FROM messages WHERE feed = ?3 ORDER BY seq DESC LIMIT 1)",
        )?
        .execute(params![now, version, feed])?;
        Ok(())
    }

    /// Raises the version and counters of a user's feed.
    fn raise(&self, recipient: &str, now: i64) -> Result<(i64, i64)> {
        let mut statement = self.prepare(
            "INSERT INTO feeds (env, channel, recipient, version, last_at, total, unread, unseen, archived, archived_unread,
             archived_unseen) VALUES (1, ?, ?, 1, ?, 1, 1, 1, 0, 0, 0)
             ON CONFLICT (env, channel, recipient) DO UPDATE SET version = version + 1, last_at = excluded.last_at,
             total = total + 1, unread = unread + 1, unseen = unseen + 1 RETURNING id, version",
        )?;
        Ok(statement.query_row(params![CHANNEL, recipient, now], |row| Ok((row.get(0)?, row.get(1)?)))?)
    }

    fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// An id of a KSUID's shape: in order by second, at random within it, which is what makes its index cost.
    fn id(&mut self) -> String {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let mut id = format!("3Fp{:03}", self.written / 20_000 % 1_000);
        while id.len() < 27 {
            self.random ^= self.random << 13;
            self.random ^= self.random >> 7;
            self.random ^= self.random << 17;
            id.push(char::from(DIGITS[(self.random % 62) as usize]));
        }
        id
    }
}

/// Starts the writing thread: writes go in at the first end, what is on disk comes out at `committed`, batch by batch.
pub(crate) fn start(
    directory: &Path,
    committed: Option<mpsc::Sender<Vec<Then>>>,
) -> Result<(mpsc::Sender<Write>, JoinHandle<Result<()>>)> {
    let rows = Rows::open(directory)?;
    let (sender, receiver) = mpsc::channel(QUEUE);
    Ok((sender, std::thread::spawn(move || write_all(rows, receiver, committed))))
}

fn write_all(
    mut rows: Rows,
    mut receiver: mpsc::Receiver<Write>,
    committed: Option<mpsc::Sender<Vec<Then>>>,
) -> Result<()> {
    while let Some(first) = receiver.blocking_recv() {
        let mut done = Vec::new();
        rows.begin()?;
        let mut next = Some(first);
        while let Some(write) = next {
            match write.store {
                Store::Item => rows.item(write.user)?,
                Store::Mark => rows.mark(write.user)?,
                Store::Nothing => {}
            }
            done.push(write.then);
            next = if done.len() < LARGEST_COMMIT { receiver.try_recv().ok() } else { None };
        }
        rows.commit()?;
        tell_all(done, committed.as_ref());
    }
    Ok(())
}

fn tell_all(done: Vec<Then>, committed: Option<&mpsc::Sender<Vec<Then>>>) {
    let mut pushes = Vec::new();
    for then in done {
        match then {
            // The caller may have given up waiting at the end of its time.
            Then::Answer(answer) => drop(answer.send(())),
            push @ Then::Push { .. } => pushes.push(push),
        }
    }
    if let Some(committed) = committed
        && !pushes.is_empty()
    {
        let _ = committed.blocking_send(pushes);
    }
}

/// What `bare-rows` has done in its time.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    pub(crate) writes: u64,
    pub(crate) seconds: f64,
}

/// Has a child write rows for so many seconds; answers what it wrote and what that took.
pub(crate) async fn measure(
    common: &Common,
    room: &Path,
    callers: u32,
    users: u32,
    seconds: u32,
) -> Result<(Done, Usage)> {
    let arguments = [
        ("--rows", room.display().to_string()),
        ("--callers", callers.to_string()),
        ("--users", users.to_string()),
        ("--seconds", seconds.to_string()),
    ];
    let arguments: Vec<String> = arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect();
    let (mut process, _): (_, Done) = super::start(common, "bare-rows", &arguments, room).await?;
    let reading = Reading::take(process.pid())?;
    let done: Done = process.line().await?;
    Ok((done, reading.usage(process.pid())?))
}

/// The hidden command: callers in this process, each waiting for one commit before the next write.
pub(crate) fn serve(options: &BareRows) -> Result<()> {
    let (sender, _thread) = start(&options.rows, None)?;
    end_with_parent();
    tell(&Done { writes: 0, seconds: 0.0 })?;
    let done = crate::local_runtime()?.block_on(call(options, sender))?;
    tell(&done)?;
    std::thread::park(); // the parent reads this process's clocks before it ends it
    Ok(())
}

async fn call(options: &BareRows, sender: mpsc::Sender<Write>) -> Result<Done> {
    let (began, writes) = (Instant::now(), Rc::new(Cell::new(0_u64)));
    let until = began + Duration::from_secs(options.seconds.into());
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..options.callers {
        let (sender, writes, users, step) = (sender.clone(), Rc::clone(&writes), options.users, options.callers);
        callers.spawn_local(async move {
            let mut user = caller % users;
            while Instant::now() < until {
                let (answer, answered) = oneshot::channel();
                let write = Write { store: Store::Item, user, then: Then::Answer(answer) };
                if sender.send(write).await.is_err() || answered.await.is_err() {
                    return;
                }
                writes.set(writes.get() + 1);
                user = (user + step) % users;
            }
        });
    }
    while callers.join_next().await.transpose()?.is_some() {}
    Ok(Done { writes: writes.get(), seconds: began.elapsed().as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> (tempdir::Dir, Rows) {
        let dir = tempdir::Dir::new("rows");
        let rows = Rows::open(&dir.0).expect("opens");
        (dir, rows)
    }

    mod tempdir {
        pub(super) struct Dir(pub(super) std::path::PathBuf);

        impl Dir {
            pub(super) fn new(name: &str) -> Dir {
                let path = std::env::temp_dir().join(format!("loadtest-{name}-{}", std::process::id()));
                std::fs::create_dir_all(&path).expect("creates");
                Dir(path)
            }
        }

        impl Drop for Dir {
            fn drop(&mut self) {
                let _ = std::fs::remove_dir_all(&self.0);
            }
        }
    }

    #[test]
    fn a_notification_is_three_rows_and_a_mark_changes_one() {
        let (_dir, mut rows) = rows();
        rows.begin().expect("begins");
        rows.item(1).expect("writes");
        rows.item(1).expect("writes");
        rows.mark(1).expect("marks");
        rows.commit().expect("commits");
        let count = |sql| rows.connection().query_row(sql, [], |row| row.get::<_, i64>(0)).expect("counts");
        assert_eq!(count("SELECT count(*) FROM messages"), 2);
        assert_eq!(count("SELECT count(*) FROM runs"), 2);
        assert_eq!(count("SELECT version FROM feeds"), 3);
        assert_eq!(count("SELECT seq FROM messages WHERE read_at IS NOT NULL"), 2, "the latest is marked");
    }
}
