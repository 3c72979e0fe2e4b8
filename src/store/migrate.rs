//! Brings the schema up to date: numbered SQL files, each applied once, each in its own transaction.
//!
//! The files are written for SQLite; `dialect` respells them for PostgreSQL, and some have a second part for it alone.

use rusqlite::Connection;
use tokio_postgres::Client;

use super::db::Error;
use super::dialect::postgres_schema;
use super::postgres::said;

/// A step from one schema to the next.
struct Migration {
    number: i64,
    name: &'static str,
    sql: &'static str,
    /// What PostgreSQL gets on top, in its own words.
    postgres: &'static str,
}

/// Every migration, in order. What has been released is never edited; a change is a new number.
const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "first", sql: include_str!("migrations/0001_first.sql"), postgres: "" },
    Migration { number: 2, name: "second", sql: include_str!("migrations/0002_second.sql"), postgres: "" },
    Migration {
        number: 3,
        name: "changes",
        sql: include_str!("migrations/0003_changes.sql"),
        postgres: include_str!("migrations/0003_changes.postgres.sql"),
    },
    Migration { number: 4, name: "engine", sql: include_str!("migrations/0004_engine.sql"), postgres: "" },
    Migration {
        number: 5,
        name: "batches",
        sql: include_str!("migrations/0005_batches.sql"),
        postgres: include_str!("migrations/0005_batches.postgres.sql"),
    },
    Migration { number: 6, name: "schedules", sql: include_str!("migrations/0006_schedules.sql"), postgres: "" },
    Migration { number: 7, name: "fan-out", sql: include_str!("migrations/0007_fan_out.sql"), postgres: "" },
    Migration { number: 8, name: "calls", sql: include_str!("migrations/0008_calls.sql"), postgres: "" },
    Migration { number: 9, name: "waits", sql: include_str!("migrations/0009_waits.sql"), postgres: "" },
    Migration { number: 10, name: "publications", sql: include_str!("migrations/0010_publications.sql"), postgres: "" },
    Migration { number: 11, name: "chores", sql: include_str!("migrations/0011_chores.sql"), postgres: "" },
    Migration { number: 12, name: "collapse", sql: include_str!("migrations/0012_collapse.sql"), postgres: "" },
    Migration { number: 13, name: "revoke", sql: include_str!("migrations/0013_revoke.sql"), postgres: "" },
    Migration { number: 14, name: "audiences", sql: include_str!("migrations/0014_audiences.sql"), postgres: "" },
    Migration { number: 15, name: "presence", sql: include_str!("migrations/0015_presence.sql"), postgres: "" },
    Migration { number: 16, name: "retention", sql: include_str!("migrations/0016_retention.sql"), postgres: "" },
    Migration { number: 17, name: "digests", sql: include_str!("migrations/0017_digests.sql"), postgres: "" },
    Migration { number: 18, name: "caps", sql: include_str!("migrations/0018_caps.sql"), postgres: "" },
    Migration { number: 19, name: "objects", sql: include_str!("migrations/0019_objects.sql"), postgres: "" },
    Migration { number: 20, name: "merges", sql: include_str!("migrations/0020_merges.sql"), postgres: "" },
    Migration { number: 21, name: "page-keys", sql: include_str!("migrations/0021_page_keys.sql"), postgres: "" },
    Migration { number: 22, name: "guides", sql: include_str!("migrations/0022_guides.sql"), postgres: "" },
    Migration { number: 23, name: "short-links", sql: include_str!("migrations/0023_short_links.sql"), postgres: "" },
    Migration { number: 24, name: "lists", sql: include_str!("migrations/0024_lists.sql"), postgres: "" },
    Migration { number: 25, name: "key-scopes", sql: include_str!("migrations/0025_key_scopes.sql"), postgres: "" },
    Migration {
        number: 26,
        name: "guide-members",
        sql: include_str!("migrations/0026_guide_members.sql"),
        postgres: "",
    },
];

/// Held while one node migrates; the others wait for it. The number means nothing.
const LOCK: i64 = 0x6265_6c6c_7769_7265;

const TABLE: &str =
    "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)";
const DONE: &str = "SELECT number, checksum FROM migrations ORDER BY number";

impl Migration {
    fn checksum(&self) -> String {
        crate::sign::api_key::digest(self.sql)
    }
}

/// The migrations that are missing where these have been applied. A database that is newer than this program is refused,
/// and one whose past is not the one this program knows.
fn missing(done: &[(i64, String)]) -> Result<&'static [Migration], Error> {
    let newest = MIGRATIONS.last().map_or(0, |migration| migration.number);
    if let Some((schema, _)) = done.last().filter(|(number, _)| *number > newest) {
        return Err(Error::Open(format!(
            "the database has schema {schema}, this program knows only {newest}: start a newer bellwire or another data directory"
        )));
    }
    for (migration, (number, checksum)) in MIGRATIONS.iter().zip(done) {
        if migration.number != *number || migration.checksum() != *checksum {
            let (number, name) = (migration.number, migration.name);
            return Err(Error::Open(format!(
                "migration {number} ({name}) in the database is not the one this program holds"
            )));
        }
    }
    Ok(&MIGRATIONS[done.len().min(MIGRATIONS.len())..])
}

/// Applies what is missing to the embedded database.
pub(super) fn run(connection: &mut Connection) -> Result<(), Error> {
    connection.execute_batch(TABLE)?;
    let done = connection
        .prepare(DONE)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<Vec<(i64, String)>, _>>()?;
    for migration in missing(&done)? {
        let transaction = connection.transaction()?;
        transaction.execute_batch(migration.sql)?;
        transaction.execute(
            "INSERT INTO migrations VALUES (?, ?, ?)",
            (migration.number, migration.name, migration.checksum()),
        )?;
        transaction.commit()?;
    }
    Ok(())
}

/// Applies what is missing to PostgreSQL, however many nodes start at once.
pub(super) async fn run_on_postgres(client: &mut Client) -> Result<(), Error> {
    let open = |error: tokio_postgres::Error| {
        Error::Open(format!("the schema could not be brought up to date: {}", said(&error)))
    };
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await.map_err(open)?;
    let applied = async {
        client.batch_execute(&postgres_schema(TABLE)).await.map_err(open)?;
        let rows = client.query(DONE, &[]).await.map_err(open)?;
        let done: Vec<(i64, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for migration in missing(&done)? {
            let transaction = client.transaction().await.map_err(open)?;
            transaction.batch_execute(&postgres_schema(migration.sql)).await.map_err(open)?;
            transaction.batch_execute(migration.postgres).await.map_err(open)?;
            transaction
                .execute(
                    "INSERT INTO migrations VALUES ($1, $2, $3)",
                    &[&migration.number, &migration.name, &migration.checksum()],
                )
                .await
                .map_err(open)?;
            transaction.commit().await.map_err(open)?;
        }
        Ok(())
    }
    .await;
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await.map_err(open)?;
    applied
}
