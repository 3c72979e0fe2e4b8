//! Who follows which object.

use serde_json::{Map, Value};

use super::Env;
use super::db::{Applied, Batch, Cell, Error, Row, Store};
use super::filter::Where;
use crate::model::recipient::RecipientRef;
use crate::model::subscription::Subscription;
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};
use crate::wire::json::Patch;

const COLUMNS: &str = "n, object, recipient, properties, inserted_at, updated_at";

fn subscription(row: &Row<'_>) -> Result<Subscription, Error> {
    Ok(Subscription {
        n: row.int(0)?,
        object: RecipientRef::from_key(row.text(1)?),
        recipient: RecipientRef::from_key(row.text(2)?),
        properties: row.maybe_text(3)?.map(|_| row.json(3)).transpose()?,
        inserted_at: row.time(4)?,
        updated_at: row.time(5)?,
    })
}

/// Whose subscriptions are asked for, by key.
#[derive(Debug, Clone, Copy)]
pub enum Whose<'a> {
    /// Those by which others follow an object.
    Object(&'a str),
    /// Those by which a recipient follows objects.
    Recipient(&'a str),
}

impl Whose<'_> {
    /// The column that names whose they are with the key in it, and the one that names the other end.
    fn ends(&self) -> (&'static str, &str, &'static str) {
        match self {
            Whose::Object(key) => ("object", key, "recipient"),
            Whose::Recipient(key) => ("recipient", key, "object"),
        }
    }

    fn clause(self, env: Env, only: Option<&[String]>) -> Where {
        let (own, key, other) = self.ends();
        let mut clause = Where::default();
        clause.and(&format!("env = ? AND {own} = ?"), params![env, key]);
        if let Some(only) = only {
            clause.any_of(other, only);
        }
        clause
    }
}

/// A follower of an object, as a fan-out finds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Follower {
    pub n: i64,
    /// The follower's key.
    pub key: String,
    pub properties: Map<String, Value>,
}

/// Which of an object's followers are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among {
    All,
    /// Those that are objects, which may have followers of their own.
    Objects,
}

impl Store {
    /// Subscriptions, newest first (F-PAG-07): at most `limit`, on the asked side of `at`; of those whose other end is
    /// among `only`, by key, when it is given.
    pub async fn subscriptions(
        &self,
        env: Env,
        whose: Whose<'_>,
        only: Option<&[String]>,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Subscription>, Error> {
        let (mut lowest, mut highest, mut order) = (i64::MIN, i64::MAX, "DESC");
        match at {
            Some(Edge::After(Cursor::Seq(n))) => highest = *n,
            Some(Edge::Before(Cursor::Seq(n))) => (lowest, order) = (*n, "ASC"),
            _ => {}
        }
        let (clause, by) = match only {
            // Those that are named are found by their names, and sorted.
            Some(_) => {
                let mut clause = whose.clause(env, only);
                clause.and("n + 0 > ? AND n + 0 < ?", params![lowest, highest]);
                (clause, format!("n + 0 {order}"))
            }
            // PostgreSQL would look for an object's old ones among everybody's, were it not said that the index gives the order. The
            // embedded database would begin an index at the object, were it not said that there is one: `n` is the row's own number.
            None if self.is_shared() => {
                let (own, key, _) = whose.ends();
                let mut clause = Where::default();
                clause.and("env = ?", params![env]);
                clause.and(&format!("({own}, n) > (?, ?) AND ({own}, n) < (?, ?)"), params![key, lowest, key, highest]);
                (clause, format!("{own} {order}, n {order}"))
            }
            None => {
                let mut clause = whose.clause(env, None);
                clause.and("n > ? AND n < ?", params![lowest, highest]);
                (clause, format!("n {order}"))
            }
        };
        let (clause, params) = clause.finish();
        let sql = format!("SELECT {COLUMNS} FROM subscriptions WHERE {clause} ORDER BY {by} LIMIT {limit}");
        self.scan(sql, params, subscription).await
    }

    /// How many there are, counted to 10,000 at most (F-PAG-03).
    pub async fn subscription_count(&self, env: Env, whose: Whose<'_>, only: Option<&[String]>) -> Result<i64, Error> {
        let (clause, params) = whose.clause(env, only).finish();
        let order = if only.is_some() { "" } else { " ORDER BY n" };
        let sql =
            format!("SELECT count(*) FROM (SELECT 1 FROM subscriptions WHERE {clause}{order} LIMIT 10000) counted");
        Ok(self.scan(sql, params, |row| row.int(0)).await?.into_iter().next().unwrap_or(0))
    }

    /// The followers of an object, oldest first: at most `limit`, behind `after` and not behind `end`.
    pub async fn followers(
        &self,
        env: Env,
        object: &str,
        among: Among,
        (after, end): (i64, i64),
        limit: usize,
    ) -> Result<Vec<Follower>, Error> {
        let narrowed = match among {
            Among::All => "",
            Among::Objects => " AND recipient >= '#' AND recipient < '$'",
        };
        let sql = format!(
            "SELECT n, recipient, properties FROM subscriptions \
             WHERE env = ?1 AND object = ?2 AND n > ?3 AND n <= ?4{narrowed} ORDER BY n LIMIT {limit}"
        );
        self.query(&sql, &params![env, object, after, end], |row| {
            let properties = row.maybe_text(2)?.map(|_| row.json(2)).transpose()?;
            Ok(Follower { n: row.int(0)?, key: row.string(1)?, properties: properties.unwrap_or_default() })
        })
        .await
    }

    /// Whether anybody follows the object.
    pub async fn has_followers(&self, env: Env, object: &str) -> Result<bool, Error> {
        let sql = "SELECT n FROM subscriptions WHERE env = ?1 AND object = ?2 LIMIT 1";
        Ok(self.query_one(sql, &params![env, object], |row| row.int(0)).await?.is_some())
    }

    /// The place of the newest subscription of all.
    pub async fn newest_subscription(&self) -> Result<i64, Error> {
        let sql = "SELECT n FROM subscriptions ORDER BY n DESC LIMIT 1";
        Ok(self.query_one(sql, &[], |row| row.int(0)).await?.unwrap_or(0))
    }
}

impl Batch {
    /// Adds that `recipient` follows `object`; whoever did already keeps their place, and the properties where none are
    /// given (F-AMB-25). Gives back the number of the row as it then is.
    pub fn subscribe(
        &mut self,
        env: Env,
        object: &str,
        recipient: &str,
        properties: &Patch<Map<String, Value>>,
        now: Time,
    ) -> usize {
        let kept = if properties.is_absent() { "subscriptions.properties" } else { "excluded.properties" };
        let properties = properties.as_ref().value().and_then(|map| serde_json::to_string(map).ok());
        self.returning(
            format!(
                "INSERT INTO subscriptions (env, object, recipient, properties, inserted_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5) ON CONFLICT (env, object, recipient) \
                 DO UPDATE SET properties = {kept}, updated_at = excluded.updated_at RETURNING {COLUMNS}"
            ),
            params![env, object, recipient, properties, now],
        )
    }

    /// Adds that these subscriptions are no more. Gives back the number of their places: of those that were there.
    pub fn unsubscribe(&mut self, places: &[i64]) -> usize {
        self.returning(
            "DELETE FROM subscriptions WHERE n IN (SELECT CAST(j.value ->> 0 AS BIGINT) FROM json_each(?1) j) RETURNING n",
            params![listed(places)],
        )
    }

    /// Adds that these subscriptions must still be there; refused when one was taken back since it was read.
    pub fn require_subscriptions(&mut self, places: &[i64]) {
        self.require(
            "SELECT 1 WHERE ?2 = (SELECT count(*) FROM json_each(?1) j CROSS JOIN subscriptions s \
             WHERE s.n = CAST(j.value ->> 0 AS BIGINT))",
            params![listed(places), places.len()],
        );
    }
}

/// A list of lists of one, which both databases read alike.
fn listed(places: &[i64]) -> String {
    serde_json::to_string(&places.iter().map(|n| [n]).collect::<Vec<_>>()).unwrap_or_default()
}

/// The subscription that [`Batch::subscribe`] gave back under this number.
pub fn subscribed(applied: &Applied, number: usize) -> Option<Subscription> {
    let cells: &Vec<Cell> = applied.rows(number).first()?;
    let cell = |at: usize| cells.get(at).cloned().unwrap_or(Cell::Null);
    Some(Subscription {
        n: cell(0).int(),
        object: RecipientRef::from_key(cell(1).text()),
        recipient: RecipientRef::from_key(cell(2).text()),
        properties: serde_json::from_str(cell(3).text()).ok(),
        inserted_at: Time::from_micros(cell(4).int()),
        updated_at: Time::from_micros(cell(5).int()),
    })
}
