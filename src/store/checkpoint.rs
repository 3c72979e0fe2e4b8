//! Copies what SQLite's log holds into the database file, beside the writer rather than in its way.
//!
//! SQLite by itself does so within a commit, whose caller then waits for thousands of pages. Here a thread of its own
//! copies them while commits go on. The log only begins anew when nothing in it is left to copy, which under a load that
//! never pauses is never: once the log has grown long, the writer copies the rest itself as soon as that is little; and once
//! it is very long, in any case, so that the log has a bound however slow the disk.

use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::db::Error;
use super::sqlite::connect;

/// Pages of 4 KiB after which the thread copies what has come: the more at once, the more often a page that was written
/// again and again is copied only once.
const COPY_AFTER: i64 = 4_000;
/// Pages in the log, 128 MiB, from which on the writer copies what is left itself, if it is no more than so much.
const LONG_LOG: i64 = 32 << 10;
const LITTLE: i64 = 2_000;
/// Pages in the log from which on it does so however much is left.
const LONGEST_LOG: i64 = 2 * LONG_LOG;
/// Pages that come before the writer tries again, when a reader kept the log from beginning anew.
const TRY_AGAIN_AFTER: i64 = 1_000;

/// What the writer knows of the thread that copies.
pub(super) struct Checkpoints {
    nudge: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
    /// Held by whoever copies.
    copying: Arc<Mutex<()>>,
    /// Pages in the log, as of the last commit.
    pages: Arc<AtomicI64>,
    /// Of these, copied, as of the last copy.
    copied: Arc<AtomicI64>,
    /// The pages there were when the thread was nudged last, and when the writer copied last.
    nudged_at: i64,
    copied_at: i64,
}

impl Checkpoints {
    /// Starts the thread. `writer` tells from now on how long the log is.
    pub(super) fn start(path: &Path, writer: &mut Connection) -> Result<Checkpoints, Error> {
        let connection = connect(path, false)?;
        let pages = Arc::new(AtomicI64::new(0));
        let counted = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            counted.store(i64::from(pages), Ordering::Relaxed);
            Ok(())
        }))?;
        let (nudge, nudges) = sync_channel(1);
        let (copying, copied) = (Arc::new(Mutex::new(())), Arc::new(AtomicI64::new(0)));
        let (held, done) = (Arc::clone(&copying), Arc::clone(&copied));
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || copy_until_closed(&connection, &nudges, &held, &done))
            .map_err(|error| Error::Open(format!("the checkpoint thread could not be started: {error}")))?;
        Ok(Checkpoints { nudge: Some(nudge), thread: Some(thread), copying, pages, copied, nudged_at: 0, copied_at: 0 })
    }

    /// The writer has committed on `connection`.
    pub(super) fn committed(&mut self, connection: &Connection) {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.nudged_at || pages < self.copied.load(Ordering::Relaxed) {
            // The log has begun anew.
            self.copied.store(0, Ordering::Relaxed);
            (self.nudged_at, self.copied_at) = (0, 0);
        }
        let left = pages - self.copied.load(Ordering::Relaxed);
        let is_time = pages >= LONG_LOG && left <= LITTLE || pages >= LONGEST_LOG;
        if is_time && pages >= self.copied_at + TRY_AGAIN_AFTER {
            self.copied_at = pages;
            copy(connection, &self.copying, &self.copied);
        } else if pages >= self.nudged_at + COPY_AFTER
            && let Some(nudge) = &self.nudge
        {
            self.nudged_at = pages;
            // Full means that it will look anyway.
            let _ = nudge.try_send(());
        }
    }
}

impl Drop for Checkpoints {
    fn drop(&mut self) {
        self.nudge = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked left the log as it was: whole.
            let _ = thread.join();
        }
    }
}

fn copy_until_closed(connection: &Connection, nudges: &Receiver<()>, copying: &Mutex<()>, copied: &AtomicI64) {
    while nudges.recv().is_ok() {
        copy(connection, copying, copied);
    }
}

/// Copies what no reader still needs as it was, once nobody else does.
fn copy(connection: &Connection, copying: &Mutex<()>, copied: &AtomicI64) {
    let _alone = copying.lock().unwrap_or_else(PoisonError::into_inner);
    match connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(2)) {
        Ok(pages) => copied.store(pages, Ordering::Relaxed),
        // Nothing is lost: the log has it all, and the next commits try again.
        Err(error) => tracing::error!(%error, "the database's log could not be copied into its file"),
    }
}
