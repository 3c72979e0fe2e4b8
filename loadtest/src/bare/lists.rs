//! The bare reader of lists: fifty-one rows by an index from a place on, the texts put together.

use std::io::BufRead as _;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde::{Deserialize, Serialize};

use super::pages::Times;
use super::tell;
use crate::options::BareLists;

/// Rows of a list that come behind a time or a number.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) list: String,
    pub(crate) after: i64,
}

/// The hidden command: reads the page that a line of input names, again and again.
pub(crate) fn serve(options: &BareLists) -> Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(&options.rows, flags).context("cannot open the database")?;
    tell(&Times::default())?;
    for line in std::io::stdin().lock().lines() {
        let asked: Asked = serde_json::from_str(&line?).context("a line names a list and a place")?;
        let sql = match asked.list.as_str() {
            "messages" => {
                "SELECT * FROM messages INDEXED BY messages_by_time WHERE env = ?1 AND inserted_at < ?2 \
                 ORDER BY inserted_at DESC, id DESC LIMIT 51"
            }
            "users" => {
                "SELECT * FROM users WHERE env = ?1 AND inserted_at < ?2 ORDER BY inserted_at DESC, id DESC LIMIT 51"
            }
            "feed" => {
                "SELECT * FROM messages WHERE feed = (SELECT id FROM feeds WHERE env = ?1 AND recipient = 'u0') AND seq < ?2 \
                 ORDER BY seq DESC LIMIT 51"
            }
            other => bail!("there is no list `{other}`"),
        };
        let mut times = Times::default();
        for read in 0..=options.reads {
            let began = Instant::now();
            std::hint::black_box(page(&connection, sql, options.env, asked.after)?);
            // The first has it at hand for the others.
            if read > 0 {
                times.nanoseconds.push(u64::try_from(began.elapsed().as_nanos())?);
            }
        }
        tell(&times)?;
    }
    Ok(())
}

fn page(connection: &Connection, sql: &str, env: i64, after: i64) -> Result<String> {
    let mut statement = connection.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query([env, after])?;
    let mut text = String::new();
    while let Some(row) = rows.next()? {
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Text(bytes) => text.push_str(std::str::from_utf8(bytes)?),
                ValueRef::Integer(number) => text.push_str(&number.to_string()),
                _ => text.push_str("null"),
            }
        }
    }
    Ok(text)
}
