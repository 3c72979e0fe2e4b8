//! Brings the schema up to date: numbered SQL files, each applied once, each in its own transaction.

use rusqlite::Connection;

use super::db::Error;

/// Every migration, in order. What has been released is never edited; a change is a new number.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "first", include_str!("migrations/0001_first.sql")),
    (2, "second", include_str!("migrations/0002_second.sql")),
];

/// Applies what is missing. A database that is newer than this program is refused.
pub(crate) fn run(connection: &mut Connection) -> Result<(), Error> {
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)",
    )?;
    let done: i64 = connection.query_row("SELECT coalesce(max(number), 0) FROM migrations", [], |row| row.get(0))?;
    let newest = MIGRATIONS.last().map_or(0, |(number, ..)| *number);
    if done > newest {
        return Err(Error::Open(format!(
            "the database has schema {done}, this program knows only {newest}: start a newer bellwire or another data directory"
        )));
    }
    for (number, name, sql) in MIGRATIONS {
        let checksum = crate::sign::api_key::digest(sql);
        if *number <= done {
            verify(connection, *number, name, &checksum)?;
            continue;
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.execute("INSERT INTO migrations VALUES (?, ?, ?)", (number, name, &checksum))?;
        transaction.commit()?;
    }
    Ok(())
}

fn verify(connection: &Connection, number: i64, name: &str, checksum: &str) -> Result<(), Error> {
    let stored: String =
        connection.query_row("SELECT checksum FROM migrations WHERE number = ?", [number], |row| row.get(0))?;
    if stored == checksum {
        return Ok(());
    }
    Err(Error::Open(format!("migration {number} ({name}) in the database is not the one this program holds")))
}
