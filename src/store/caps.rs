//! What frequency caps have let pass, as far as it counts.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::cap::Counter;
use crate::model::time::Time;
use crate::params;

/// What has passed, oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passed {
    pub sent: Vec<Time>,
    /// As it is stored; none if nothing is.
    stored: Option<String>,
}

impl Passed {
    /// The same with what has passed since, in the same change.
    pub fn with(sent: Vec<Time>) -> Passed {
        Passed { stored: Some(text(&sent)), sent }
    }
}

fn text(sent: &[Time]) -> String {
    let micros: Vec<i64> = sent.iter().map(|at| at.micros()).collect();
    serde_json::to_string(&micros).unwrap_or_default()
}

impl Store {
    /// What has passed.
    pub async fn passed(&self, env: Env, counter: &Counter) -> Result<Passed, Error> {
        let sql = "SELECT sent FROM cap_counts WHERE env = ?1 AND recipient = ?2 AND cap = ?3 AND tenant = ?4";
        let Counter { cap, recipient, tenant } = counter;
        let stored = self.query_one(sql, &params![env, recipient, cap, tenant], |row| row.string(0)).await?;
        let micros: Vec<i64> = stored.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        Ok(Passed { sent: micros.into_iter().map(Time::from_micros).collect(), stored })
    }
}

impl Batch {
    /// Adds what has passed in place of what had; refused when anything has passed since that was read. It is forgotten at
    /// `until`.
    pub fn pass_cap(&mut self, env: Env, counter: &Counter, before: &Passed, sent: &[Time], until: Time) {
        let Counter { cap, recipient, tenant } = counter;
        match &before.stored {
            None => self.guard(
                "INSERT INTO cap_counts (env, recipient, cap, tenant, sent, until) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT DO NOTHING",
                params![env, recipient, cap, tenant, text(sent), until],
            ),
            Some(stored) => self.guard(
                "UPDATE cap_counts SET sent = ?5, until = ?6 \
                 WHERE env = ?1 AND recipient = ?2 AND cap = ?3 AND tenant = ?4 AND sent = ?7",
                params![env, recipient, cap, tenant, text(sent), until, stored],
            ),
        }
    }

    /// Adds that what counts no more is forgotten.
    pub fn forget_caps(&mut self, now: Time) {
        self.push("DELETE FROM cap_counts WHERE until <= ?1", params![now]);
    }
}
