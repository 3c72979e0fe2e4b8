//! How many runs a throttle has let pass in the window that is open.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;

/// What is counted together: one step's runs of one recipient, by the step's key (W-THR-10, W-THR-13).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Counted {
    pub workflow: String,
    pub step_ref: String,
    /// The recipient's key.
    pub recipient: String,
    /// Empty where the step has no key.
    pub key: String,
}

/// A window, and how many passed in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    pub closes_at: Time,
    pub count: i64,
}

impl Store {
    /// The latest window; it may be over.
    pub async fn throttled(&self, env: Env, counted: &Counted) -> Result<Option<Passed>, Error> {
        let sql = "SELECT closes_at, passed FROM throttles \
                   WHERE env = ?1 AND recipient = ?2 AND workflow = ?3 AND step_ref = ?4 AND key = ?5";
        let Counted { workflow, step_ref, recipient, key } = counted;
        let params = params![env, recipient, workflow, step_ref, key];
        self.query_one(sql, &params, |row| Ok(Passed { closes_at: row.time(0)?, count: row.int(1)? })).await
    }
}

impl Batch {
    /// Adds a window with the first run that passed in it; refused when another is open at `now`.
    pub fn open_throttle(&mut self, env: Env, counted: &Counted, now: Time, closes_at: Time) {
        let Counted { workflow, step_ref, recipient, key } = counted;
        self.guard(
            "INSERT INTO throttles (env, recipient, workflow, step_ref, key, closes_at, passed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?7, 1) ON CONFLICT (env, recipient, workflow, step_ref, key) \
             DO UPDATE SET closes_at = excluded.closes_at, passed = 1 WHERE throttles.closes_at <= ?6",
            params![env, recipient, workflow, step_ref, key, now, closes_at],
        );
    }

    /// Adds one more that passes in the window that is open at `now`; refused when `limit` have passed, or it is over.
    pub fn pass_throttle(&mut self, env: Env, counted: &Counted, now: Time, limit: i64) {
        let Counted { workflow, step_ref, recipient, key } = counted;
        self.guard(
            "UPDATE throttles SET passed = passed + 1 WHERE env = ?1 AND recipient = ?2 AND workflow = ?3 \
             AND step_ref = ?4 AND key = ?5 AND closes_at > ?6 AND passed < ?7",
            params![env, recipient, workflow, step_ref, key, now, limit],
        );
    }

    /// Adds that windows which are over are forgotten.
    pub fn forget_throttles(&mut self, now: Time) {
        self.push("DELETE FROM throttles WHERE closes_at <= ?1", params![now]);
    }
}
