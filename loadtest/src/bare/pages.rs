//! The bare page reader: fifty rows by the feed's index, the counters' row, the texts spliced.

use std::io::BufRead as _;
use std::time::Instant;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::rows::Rows;
use super::tell;
use crate::options::BarePages;

const PAGE: i64 = 50;
/// Items that share one commit while the feeds are filled.
const FILL: u32 = 5_000;

/// The times of one feed's reads, in nanoseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) nanoseconds: Vec<u64>,
}

/// The hidden command: fills one feed per size, then reads the feed whose place a line of input names.
pub(crate) fn serve(options: &BarePages) -> Result<()> {
    let mut rows = Rows::open(&options.rows)?;
    for (user, items) in (0..).zip(&options.items) {
        fill(&mut rows, user, *items)?;
    }
    tell(&Times::default())?;
    for line in std::io::stdin().lock().lines() {
        let user: u32 = line?.trim().parse().context("a line names a feed by its place")?;
        let mut times = Times::default();
        for _ in 0..options.reads {
            let began = Instant::now();
            std::hint::black_box(page(&rows, user)?);
            times.nanoseconds.push(u64::try_from(began.elapsed().as_nanos())?);
        }
        tell(&times)?;
    }
    Ok(())
}

fn fill(rows: &mut Rows, user: u32, items: u32) -> Result<()> {
    let mut left = items;
    while left > 0 {
        let now = left.min(FILL);
        rows.begin()?;
        for _ in 0..now {
            rows.item(user)?;
        }
        rows.commit()?;
        left -= now;
    }
    Ok(())
}

/// The newest page of a feed with its counts, as text.
fn page(rows: &Rows, user: u32) -> Result<String> {
    let (feed, total, unread, unseen) = rows
        .connection()
        .prepare_cached("SELECT id, total, unread, unseen FROM feeds WHERE env = 1 AND recipient = ? AND channel = (SELECT channel FROM feeds LIMIT 1)")?
        .query_row([format!("u{user}")], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get::<_, i64>(3)?)))?;
    let mut text =
        format!(r#"{{"meta":{{"total_count":{total},"unread_count":{unread},"unseen_count":{unseen}}},"entries":["#);
    let mut statement = rows.connection().prepare_cached(
        "SELECT id, blocks, data, inserted_at FROM messages WHERE feed = ? AND archived_at IS NULL ORDER BY seq DESC LIMIT ?",
    )?;
    let mut found = statement.query([feed, PAGE])?;
    while let Some(row) = found.next()? {
        for column in 0..3 {
            text.push_str(row.get_ref(column)?.as_str()?);
        }
        text.push_str(&row.get::<_, i64>(3)?.to_string());
    }
    text.push_str("]}");
    Ok(text)
}
