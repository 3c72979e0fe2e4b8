//! Chunks of messages: how a change of very many comes by them, a part at a time.

use serde::{Deserialize, Serialize};

use super::Env;
use super::db::{Error, Row, Store};
use super::filter::Where;
use super::messages::MessageFilter;
use crate::model::time::Time;
use crate::params;

/// The newest message there was at some instant. What came later is beyond it: it has a higher number and, as the number
/// of one that was deleted may be given again, a later time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct End {
    pub n: i64,
    /// In microseconds, as rows have it.
    pub at: i64,
}

/// Where messages are looked for. Each has its order, and a message its place in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane<'a> {
    /// Everybody's, by their number.
    All(Env),
    /// Those of a feed, by their place in it.
    Feed(i64),
    /// Those of a recipient that stand in no feed, by their number.
    Alone(Env, &'a str),
    /// Those in which this user or object, by key, is the only actor and is still shown, by their number.
    Acted(Env, &'a str),
}

/// One message of a chunk: what whoever changes it must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its place in the lane.
    pub place: i64,
    pub id: String,
    /// Raised by every change.
    pub version: i64,
    pub feed: Option<i64>,
    pub channel: String,
    /// The recipient's key.
    pub recipient: String,
    pub tenant: Option<String>,
    pub workflow: String,
}

impl Lane<'_> {
    /// The way to the messages behind place `after`. Where the planner might prefer another, a plus sign forbids it.
    fn clause(self, after: i64, end: End) -> (Where, &'static str) {
        let mut out = Where::default();
        let order = match self {
            Lane::All(env) => {
                out.and("+m.env = ? AND m.n > ? AND m.n <= ?", params![env, after, end.n]);
                "m.n"
            }
            Lane::Feed(feed) => {
                out.and("m.feed = ? AND m.seq > ? AND +m.n <= ?", params![feed, after, end.n]);
                "m.seq"
            }
            Lane::Alone(env, recipient) => {
                let bounds = params![env, recipient, after, end.n];
                out.and("m.feed IS NULL AND m.env = ? AND m.recipient = ? AND m.n > ? AND m.n <= ?", bounds);
                "m.n"
            }
            Lane::Acted(env, actor) => {
                let bounds = params![env, actor, after, end.n];
                out.and("m.env = ? AND m.actor = ? AND m.n > ? AND m.n <= ?", bounds);
                out.and(
                    "m.total_actors = 1 AND m.actors ->> '$[0].__typename' NOT IN ('MissingUser', 'MissingObject')",
                    vec![],
                );
                "m.n"
            }
        };
        out.and("+m.inserted_at <= ?", params![end.at]);
        (out, order)
    }
}

/// A message in which several act, with the actors it shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shared {
    pub found: Found,
    /// A JSON array of their records.
    pub actors: String,
    /// The activities that it shows, as a JSON array.
    pub activities: Option<String>,
    pub total_actors: i64,
    /// Whether the other one acted in it, too.
    pub has_other: bool,
}

/// Whose acts are looked for.
#[derive(Debug, Clone, Copy)]
pub struct Acts<'a> {
    pub env: Env,
    /// The actor's key.
    pub actor: &'a str,
    /// Another of whom it is asked whether they acted as well.
    pub other: Option<&'a str>,
    /// Those in messages that are as new as this.
    pub since: Time,
}

impl Store {
    /// The first `limit` messages behind number `after`, and not beyond `end`, which came out of batches that the actor
    /// has brought something to and show others as well, in order.
    pub async fn shared_chunk(&self, acts: Acts<'_>, after: i64, end: End, limit: usize) -> Result<Vec<Shared>, Error> {
        let sql = format!(
            "SELECT m.n, m.id, m.version, m.feed, m.channel, m.recipient, m.tenant, m.workflow, m.actors, m.activities, \
             m.total_actors, CASE WHEN EXISTS (SELECT 1 FROM batch_activities o WHERE o.batch = m.batch AND o.actor = ?7) \
             THEN 1 ELSE 0 END FROM messages m \
             WHERE m.batch IN (SELECT a.batch FROM batch_activities a WHERE a.env = ?1 AND a.actor = ?2) \
             AND m.total_actors > 1 AND +m.n > ?3 AND +m.n <= ?4 AND +m.inserted_at <= ?5 AND +m.inserted_at >= ?6 \
             ORDER BY m.n LIMIT {limit}"
        );
        let row = |row: &Row<'_>| {
            Ok(Shared {
                found: found(row)?,
                actors: row.string(8)?,
                activities: row.maybe_string(9)?,
                total_actors: row.int(10)?,
                has_other: row.bool(11)?,
            })
        };
        let Acts { env, actor, other, since } = acts;
        self.scan(sql, params![env, actor, after, end.n, end.at, since, other], row).await
    }

    /// What somebody has brought to batches, at most `limit` of it, as new as it is asked for: each by its batch and id.
    pub async fn brought(&self, acts: Acts<'_>, limit: usize) -> Result<Vec<(String, String)>, Error> {
        let sql = format!(
            "SELECT batch, id FROM batch_activities WHERE env = ?1 AND actor = ?2 AND inserted_at >= ?3 ORDER BY batch, id LIMIT {limit}"
        );
        let params = params![acts.env, acts.actor, acts.since];
        self.scan(sql, params, |row| Ok((row.string(0)?, row.string(1)?))).await
    }

    /// The newest message of the environment as things stand.
    pub async fn newest(&self, env: Env) -> Result<End, Error> {
        let sql = "SELECT (SELECT coalesce(max(n), 0) FROM messages), \
                   (SELECT coalesce(max(inserted_at), 0) FROM messages WHERE env = ?1)";
        let end = self.query_one(sql, &params![env], |row| Ok(End { n: row.int(0)?, at: row.int(1)? })).await?;
        Ok(end.unwrap_or_default())
    }

    /// The number of the first message behind number `n`, in whatever environment.
    pub async fn number_after(&self, n: i64) -> Result<Option<i64>, Error> {
        let sql = "SELECT min(n) FROM messages WHERE n > ?1";
        Ok(self.query_one(sql, &params![n], |row| row.maybe_int(0)).await?.flatten())
    }

    /// The first `limit` messages of `lane` under `filter` that are behind place `after` and not beyond `end`, in order.
    pub async fn chunk(
        &self,
        lane: Lane<'_>,
        filter: &MessageFilter,
        after: i64,
        end: End,
        limit: usize,
    ) -> Result<Vec<Found>, Error> {
        let (mut clause, place) = lane.clause(after, end);
        clause.row_by_row(|clause| filter.narrow(clause));
        let (clause, params) = clause.finish();
        let sql = format!(
            "SELECT {place}, m.id, m.version, m.feed, m.channel, m.recipient, m.tenant, m.workflow FROM messages m \
             WHERE {clause} ORDER BY {place} LIMIT {limit}"
        );
        self.scan(sql, params, found).await
    }
}

fn found(row: &Row<'_>) -> Result<Found, Error> {
    Ok(Found {
        place: row.int(0)?,
        id: row.string(1)?,
        version: row.int(2)?,
        feed: row.maybe_int(3)?,
        channel: row.string(4)?,
        recipient: row.string(5)?,
        tenant: row.maybe_string(6)?,
        workflow: row.string(7)?,
    })
}
