//! What is kept for a time only: records of runs that are over, and of messages (W-RUN-25). Items of feeds stay.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;

/// What is forgotten, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Runs that are over, with what came together in their batches.
    Runs,
    /// Messages that stand in no feed, with what happened to them.
    Messages,
}

/// A place in the order of time, from which on nothing has been looked at.
pub type Place = (Time, String);

/// No run that is under way, and none that has brought something to a batch which is open: a cancellation finds it there.
/// `updated_at` is when it ended.
const OVER: &str = "r.status IN ('completed', 'cancelled') AND r.updated_at < ?2 \
     AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.subject = r.id)";
const BROUGHT: &str = "SELECT a.run FROM batches b JOIN batch_activities a ON a.batch = b.id WHERE b.is_open = 1";
/// No item of a feed, and nothing that is still to be sent.
const ALONE: &str = "m.feed IS NULL AND m.updated_at < ?2 AND NOT EXISTS (SELECT 1 FROM jobs j WHERE j.subject = m.id)";

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
        let (table, is_expired) = match kept {
            Kept::Runs => ("runs r", format!("{OVER} AND r.id NOT IN ({BROUGHT})")),
            Kept::Messages => ("messages m", ALONE.to_owned()),
        };
        let sql = format!(
            "SELECT inserted_at, id FROM {table} WHERE env = ?1 AND inserted_at < ?2 AND (inserted_at, id) > (?3, ?4) \
             AND {is_expired} ORDER BY inserted_at, id LIMIT {limit}"
        );
        let (at, id) = from;
        self.scan(sql, params![env, until, *at, id], |row| Ok((row.time(0)?, row.string(1)?))).await
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
        };
        for sql in statements {
            self.push(sql, params![list.as_str(), until]);
        }
    }
}
