//! What frequency caps have let pass, as far as it counts.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::cap::Counter;
use crate::model::time::Time;
use crate::params;

/// A message that passes a cap.
#[derive(Debug, Clone)]
pub struct Passing<'a> {
    pub counter: &'a Counter,
    pub at: Time,
    /// What was sent until then counts no more.
    pub over: Option<Time>,
    /// So many count at most.
    pub limit: i64,
    /// From when on nothing of it matters.
    pub until: Time,
}

/// What of a counter counts.
const COUNTING: &str = "FROM json_each(cap_counts.sent) e WHERE CAST(e.value AS BIGINT) > ?7";

impl Store {
    /// When messages have passed, oldest first.
    pub async fn passed(&self, env: Env, counter: &Counter) -> Result<Vec<Time>, Error> {
        let sql = "SELECT sent FROM cap_counts WHERE env = ?1 AND recipient = ?2 AND cap = ?3 AND tenant = ?4";
        let Counter { cap, recipient, tenant } = counter;
        let stored = self.query_one(sql, &params![env, recipient, cap, tenant], |row| row.json(0)).await?;
        let mut micros: Vec<i64> = stored.unwrap_or_default();
        // A clock may have been set back.
        micros.sort_unstable();
        Ok(micros.into_iter().map(Time::from_micros).collect())
    }
}

impl Batch {
    /// Adds that a message passes, and forgets what counts no more; refused where as many count as may. Whoever passes at the
    /// same time is in nobody's way as long as there is room for both.
    pub fn pass_cap(&mut self, env: Env, passing: &Passing<'_>) {
        let Passing { counter, at, over, limit, until } = passing;
        let Counter { cap, recipient, tenant } = *counter;
        self.counters.push((env, (*counter).clone()));
        self.guard(
            format!(
                "INSERT INTO cap_counts (env, recipient, cap, tenant, sent, until) \
                 VALUES (?1, ?2, ?3, ?4, '[' || CAST(?5 AS TEXT) || ']', ?6) \
                 ON CONFLICT (env, recipient, cap, tenant) DO UPDATE SET \
                 sent = '[' || coalesce((SELECT string_agg(e.value || ',', '') {COUNTING}), '') || CAST(?5 AS TEXT) || ']', \
                 until = CASE WHEN cap_counts.until > excluded.until THEN cap_counts.until ELSE excluded.until END \
                 WHERE (SELECT count(*) {COUNTING}) < ?8"
            ),
            params![env, recipient, cap, tenant, at.micros().to_string(), *until, over.map_or(i64::MIN, Time::micros), *limit],
        );
    }

    /// Adds that what counts no more is forgotten.
    pub fn forget_caps(&mut self, now: Time) {
        self.push("DELETE FROM cap_counts WHERE until <= ?1", params![now]);
    }
}
