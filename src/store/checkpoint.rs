//! Copies what SQLite's log holds into the database file, beside the writer rather than in its way.
//!
//! SQLite by itself does so within a commit, whose caller then waits for thousands of pages. Here a thread of its own
//! copies them while commits go on. Since the log only begins anew when nothing in it is left to copy, the writer copies
//! the last few pages itself once the log has grown long.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::Connection;

use super::db::{Error, connect};

/// Pages, by a guess, after which the thread copies what has come: the more at once, the more often a page that was
/// written again and again is copied only once.
const COPY_AFTER: usize = 4_000;
/// What a commit writes at least, in pages; and how many statements it takes to write one page more.
const COMMIT_PAGES: usize = 8;
const STATEMENTS_PER_PAGE: usize = 4;
/// Pages of 4 KiB in the log from which on it is to begin anew.
const LONG_LOG: i64 = 8_000;

/// What the writer knows of the thread that copies.
pub(super) struct Checkpoints {
    nudge: Option<SyncSender<()>>,
    is_long: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Written since the thread was told to copy; a guess.
    pages: usize,
}

impl Checkpoints {
    /// Starts the thread.
    pub(super) fn start(path: &Path) -> Result<Checkpoints, Error> {
        let connection = connect(path, false)?;
        let (nudge, nudges) = sync_channel(1);
        let is_long = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&is_long);
        let thread = std::thread::Builder::new()
            .name("store-checkpoint".to_owned())
            .spawn(move || copy_until_closed(&connection, &nudges, &told))
            .map_err(|error| Error::Open(format!("the checkpoint thread could not be started: {error}")))?;
        Ok(Checkpoints { nudge: Some(nudge), is_long, thread: Some(thread), pages: 0 })
    }

    /// The writer has committed so many statements on `connection`.
    pub(super) fn committed(&mut self, connection: &Connection, statements: usize) {
        self.pages += COMMIT_PAGES + statements / STATEMENTS_PER_PAGE;
        if self.is_long.swap(false, Ordering::Relaxed) {
            // What is left is what came while the thread copied. If a reader is in the way the thread asks again.
            copy(connection);
        }
        if self.pages >= COPY_AFTER
            && let Some(nudge) = &self.nudge
        {
            self.pages = 0;
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

fn copy_until_closed(connection: &Connection, nudges: &Receiver<()>, is_long: &AtomicBool) {
    while nudges.recv().is_ok() {
        // A long log took long to copy, and much has come meanwhile; what comes during the second copy is little.
        if copy(connection) >= LONG_LOG {
            copy(connection);
            is_long.store(true, Ordering::Relaxed);
        }
    }
}

/// Copies what no reader still needs as it was; answers how many pages the log holds.
fn copy(connection: &Connection) -> i64 {
    let pages = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| row.get(1));
    pages.unwrap_or_else(|error| {
        // Nothing is lost: the log has it all, and the next nudge tries again.
        tracing::error!(%error, "the database's log could not be copied into its file");
        0
    })
}
