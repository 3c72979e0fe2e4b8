//! When users last had a socket open.

use std::collections::HashMap;

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;

impl Store {
    /// When each of these users was seen last; those who never were are left out.
    pub async fn last_seen(&self, env: Env, users: &[&str]) -> Result<HashMap<String, Time>, Error> {
        let sql = "SELECT user_id, at FROM last_seen WHERE env = ?1 AND user_id IN (SELECT value FROM json_each(?2))";
        let list = serde_json::to_string(users).unwrap_or_default();
        let found = self.query(sql, &params![env, list], |row| Ok((row.string(0)?, row.time(1)?))).await?;
        Ok(found.into_iter().collect())
    }
}

impl Batch {
    /// Adds when users were seen, each once and in order, as far as they are known, and it is later than what is there.
    pub fn note_seen(&mut self, seen: &[(Env, &str, Time)]) {
        let list: Vec<_> = seen.iter().map(|(env, user, at)| (env, user, at.micros())).collect();
        self.push(
            "INSERT INTO last_seen (env, user_id, at) SELECT u.env, u.id, CAST(j.value ->> 2 AS BIGINT) FROM json_each(?1) j \
             JOIN users u ON u.env = CAST(j.value ->> 0 AS BIGINT) AND u.id = j.value ->> 1 WHERE TRUE ORDER BY j.key /* hold: u */ \
             ON CONFLICT (env, user_id) DO UPDATE SET at = excluded.at WHERE excluded.at > last_seen.at",
            params![serde_json::to_string(&list).unwrap_or_default()],
        );
    }
}
