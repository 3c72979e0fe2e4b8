//! Moves what an embedded database holds into an empty PostgreSQL database, table by table, in order of its rows.
//!
//! Each part is one transaction, which also notes how far it has come: a copy that was broken off goes on where it stood.

use std::path::Path;

use bytes::Bytes;
use futures_util::SinkExt as _;
use rusqlite::types::ValueRef;
use tokio_postgres::Client;

use super::db::{Error, Place, Store};
use super::postgres::said;
use super::sqlite::connect;

/// Rows copied in one transaction.
const PART: i64 = 5_000;

/// How far a copy is with one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub table: String,
    /// Rows that are there, and that there will be.
    pub done: i64,
    pub total: i64,
}

/// Copies the database in `file` to `target`, and tells `watch` of every part. Nobody may use either meanwhile. Gives the
/// tables with their rows, which have been counted on both sides.
pub async fn copy(file: &Path, target: &Place, mut watch: impl FnMut(&Copied)) -> Result<Vec<Copied>, Error> {
    let Place::Postgres(settings) = target else {
        return Err(Error::Open(
            "a store is copied into PostgreSQL: for a copy of the file there is `bellwire backup`".to_owned(),
        ));
    };
    // Both sides as this program knows them.
    drop(Store::open(file)?);
    drop(Store::connect(target).await?);
    let source = connect(file, true)?;
    let mut client = settings.dial().await.map_err(|error| failed("PostgreSQL can't be reached", &error))?;
    let tables = source
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'migrations' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<Vec<String>, _>>()?;
    begin(&client, &tables).await?;
    let mut all = Vec::new();
    for table in tables {
        let total = source.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        let mut copied = Copied { table, done: 0, total };
        let (mut after, done) = progress(&client, &copied.table).await?;
        copied.done = done;
        watch(&copied);
        while copied.done < total {
            let Some((last, rows)) = part(&source, &mut client, &copied, after).await? else { break };
            after = last;
            copied.done += rows;
            watch(&copied);
        }
        let there: i64 = client
            .query_one(&format!("SELECT count(*) FROM {}", copied.table), &[])
            .await
            .map_err(|error| failed("the copy can't be counted", &error))?
            .get(0);
        if there != total {
            let table = &copied.table;
            return Err(Error::Damaged(format!(
                "of {total} rows of `{table}` {there} have arrived: empty the database and begin anew"
            )));
        }
        all.push(copied);
    }
    finish(&client, &all).await?;
    Ok(all)
}

/// Makes ready to note progress; a database that already holds something, and no copy that was broken off, is refused.
async fn begin(client: &Client, tables: &[String]) -> Result<(), Error> {
    let ask = "SELECT to_regclass('copy_progress') IS NOT NULL";
    let is_under_way: bool =
        client.query_one(ask, &[]).await.map_err(|error| failed("the target can't be read", &error))?.get(0);
    if is_under_way {
        return Ok(());
    }
    for table in tables {
        let ask = format!("SELECT EXISTS (SELECT 1 FROM {table})");
        let is_used: bool =
            client.query_one(&ask, &[]).await.map_err(|error| failed("the target can't be read", &error))?.get(0);
        if is_used {
            return Err(Error::Open(format!(
                "the target holds something already (in `{table}`): copy into an empty database"
            )));
        }
    }
    let make = "CREATE TABLE copy_progress (name TEXT PRIMARY KEY, after BIGINT NOT NULL, done BIGINT NOT NULL)";
    client.batch_execute(make).await.map_err(|error| failed("the copy can't begin", &error))
}

async fn progress(client: &Client, table: &str) -> Result<(i64, i64), Error> {
    let row = client.query_opt("SELECT after, done FROM copy_progress WHERE name = $1", &[&table]).await;
    let row = row.map_err(|error| failed("the target can't be read", &error))?;
    Ok(row.map_or((i64::MIN, 0), |row| (row.get(0), row.get(1))))
}

/// Copies the rows behind `after`; the last one's number, and how many there were.
async fn part(
    source: &rusqlite::Connection,
    client: &mut Client,
    copied: &Copied,
    after: i64,
) -> Result<Option<(i64, i64)>, Error> {
    let table = &copied.table;
    let fail = |error| failed(&format!("`{table}` can't be copied"), &error);
    let shape = client.prepare(&format!("SELECT * FROM {table}")).await.map_err(fail)?;
    let columns: Vec<&str> = shape.columns().iter().map(|column| column.name()).collect();
    let columns = columns.join(", ");
    let mut text = Vec::new();
    let (mut last, mut rows) = (after, 0);
    let sql = format!("SELECT rowid, {columns} FROM {table} WHERE rowid > ?1 ORDER BY rowid LIMIT {PART}");
    let mut statement = source.prepare_cached(&sql)?;
    let mut found = statement.query([after])?;
    while let Some(row) = found.next()? {
        last = row.get(0)?;
        rows += 1;
        for column in 1..=shape.columns().len() {
            if column > 1 {
                text.push(b'\t');
            }
            write(&mut text, row.get_ref(column)?);
        }
        text.push(b'\n');
    }
    if rows == 0 {
        return Ok(None);
    }
    let transaction = client.transaction().await.map_err(fail)?;
    {
        let sink = transaction.copy_in(&format!("COPY {table} ({columns}) FROM STDIN")).await.map_err(fail)?;
        let mut sink = std::pin::pin!(sink);
        sink.send(Bytes::from(text)).await.map_err(fail)?;
        sink.finish().await.map_err(fail)?;
    }
    let note = "INSERT INTO copy_progress VALUES ($1, $2, $3) \
                ON CONFLICT (name) DO UPDATE SET after = excluded.after, done = excluded.done";
    transaction.execute(note, &[&table, &last, &(copied.done + rows)]).await.map_err(fail)?;
    transaction.commit().await.map_err(fail)?;
    Ok(Some((last, rows)))
}

/// One value, as `COPY` reads text.
fn write(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(n) => out.extend_from_slice(n.to_string().as_bytes()),
        ValueRef::Text(text) => {
            for byte in text {
                match byte {
                    b'\\' => out.extend_from_slice(b"\\\\"),
                    b'\n' => out.extend_from_slice(b"\\n"),
                    b'\r' => out.extend_from_slice(b"\\r"),
                    b'\t' => out.extend_from_slice(b"\\t"),
                    // As everywhere: what PostgreSQL cannot hold.
                    0 => out.extend_from_slice("\u{fffd}".as_bytes()),
                    byte => out.push(*byte),
                }
            }
        }
        _ => out.extend_from_slice(b"\\N"),
    }
}

/// Has new rows numbered behind those that were copied, and forgets the progress.
async fn finish(client: &Client, tables: &[Copied]) -> Result<(), Error> {
    let fail = |error| failed("the copy can't be finished", &error);
    let ask = "SELECT attrelid::regclass::text, attname::text FROM pg_attribute \
               WHERE attidentity <> '' AND attrelid IN (SELECT oid FROM pg_class WHERE relname = ANY ($1))";
    let names: Vec<&str> = tables.iter().map(|copied| copied.table.as_str()).collect();
    for row in client.query(ask, &[&names]).await.map_err(fail)? {
        let (table, column): (&str, &str) = (row.get(0), row.get(1));
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', '{column}'), coalesce(max({column}), 0) + 1, false) FROM {table}"
        );
        client.query_one(&sql, &[]).await.map_err(fail)?;
    }
    client.batch_execute("DROP TABLE copy_progress; ANALYZE").await.map_err(fail)
}

fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    Error::Open(format!("{what}: {}", said(error)))
}
