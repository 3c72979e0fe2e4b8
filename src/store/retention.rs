//! What is kept for a time only: records of runs that are over, and of messages (W-RUN-25). Items of feeds stay.

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::ids::Ksuid;
use crate::model::time::Time;
use crate::params;

/// What is forgotten, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Runs that are over, with what came together in their batches as far as no message tells of it.
    Runs,
    /// Messages that stand in no feed, with what happened to them.
    Messages,
    /// Batches that are closed, with what came together in them, once neither a run nor a message names them any more.
    Batches,
}

/// A place in the order of time, from which on nothing has been looked at.
pub type Place = (Time, String);

/// A run that is over, with nothing left to do. `updated_at` is when it ended, or when something was taken back from it.
const OVER: &str = "r.status IN ('completed', 'cancelled') AND r.updated_at < ?2 \
     AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.subject = r.id)";
/// Runs that have brought something to a batch which is open: a cancellation finds them there.
const BROUGHT: &str =
    "SELECT a.run FROM batches b JOIN batch_activities a ON a.batch = b.id WHERE b.env = ?1 AND b.is_open = 1";
/// No item of a feed, nothing that is still to be sent, and nothing by which it is known that a user has seen a guide.
const ALONE: &str = "m.feed IS NULL AND m.updated_at < ?2 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.subject = m.id) \
     AND NOT EXISTS (SELECT 1 FROM guide_engagements g WHERE g.message = m.id)";

/// Closed, and nobody's.
const NAMELESS: &str = "b.is_open = 0 AND b.closes_at < ?2 AND NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = b.run) \
     AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.batch = b.id)";

impl Store {
    /// Of what is older than `until`: at most `limit` that can be forgotten, from `from` on.
    pub async fn expired(
        &self,
        kept: Kept,
        env: Env,
        until: Time,
        from: &Place,
        limit: usize,
    ) -> Result<Vec<Place>, Error> {
        let (at, id) = from;
        let row = |row: &Row<'_>| Ok((row.time(0)?, row.string(1)?));
        let (table, is_expired) = match kept {
            Kept::Runs => ("runs r", format!("{OVER} AND r.id NOT IN ({BROUGHT})")),
            Kept::Messages => ("messages m", ALONE.to_owned()),
            // Their ids are in the order of time themselves.
            Kept::Batches => {
                let sql = format!(
                    "SELECT b.opened_at, b.id FROM batches b WHERE b.id > ?3 AND b.id < ?4 AND b.env = ?1 AND {NAMELESS} \
                     ORDER BY b.id LIMIT {limit}"
                );
                return self.scan(sql, params![env, until, id, Ksuid::lowest(until)], row).await;
            }
        };
        let sql = format!(
            "SELECT inserted_at, id FROM {table} WHERE env = ?1 AND inserted_at < ?2 AND (inserted_at, id) > (?3, ?4) \
             AND {is_expired} ORDER BY inserted_at, id LIMIT {limit}"
        );
        self.scan(sql, params![env, until, *at, id], row).await
    }

    /// Whether it is this node that does something now which is done once in so many seconds by one of all.
    pub async fn takes_turn(&self, chore: &'static str, now: Time, seconds: i64) -> Result<bool, Error> {
        let mut batch = Batch::new();
        batch.push("INSERT INTO chores (name, next_at) VALUES (?1, 0) ON CONFLICT DO NOTHING", params![chore]);
        batch.guard(
            "UPDATE chores SET next_at = ?3 WHERE name = ?1 AND next_at <= ?2",
            params![chore, now, now.plus_seconds(seconds)],
        );
        match self.apply(batch).await {
            Ok(_) => Ok(true),
            Err(Error::Refused(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Batch {
    /// Adds that these are forgotten, as far as they still can be.
    pub fn forget_expired(&mut self, kept: Kept, ids: &[&str], until: Time) {
        let list = serde_json::to_string(ids).unwrap_or_default();
        let chosen = "IN (SELECT value FROM json_each(?1))";
        let statements = match kept {
            Kept::Runs => {
                // What a message of a feed tells of stays with it.
                let batches = format!(
                    "SELECT b.id FROM batches b JOIN runs r ON r.id = b.run WHERE b.run {chosen} AND b.is_open = 0 AND {OVER} \
                     AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.batch = b.id)"
                );
                vec![
                    format!("DELETE FROM batch_activities WHERE batch IN ({batches})"),
                    format!("DELETE FROM batches WHERE id IN ({batches})"),
                    format!("DELETE FROM runs AS r WHERE r.id {chosen} AND {OVER}"),
                ]
            }
            Kept::Messages => vec![
                format!(
                    "DELETE FROM message_events WHERE message IN (SELECT m.id FROM messages m WHERE m.id {chosen} AND {ALONE})"
                ),
                format!("DELETE FROM messages AS m WHERE m.id {chosen} AND {ALONE}"),
            ],
            Kept::Batches => vec![
                format!(
                    "DELETE FROM batch_activities WHERE batch IN (SELECT b.id FROM batches b WHERE b.id {chosen} AND {NAMELESS})"
                ),
                format!("DELETE FROM batches AS b WHERE b.id {chosen} AND {NAMELESS}"),
            ],
        };
        for sql in statements {
            self.push(sql, params![list.as_str(), until]);
        }
    }
}
