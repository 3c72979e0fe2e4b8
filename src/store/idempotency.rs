//! What was answered to requests that carried an idempotency key (W-IDM-01 to W-IDM-12).

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;

/// How long a key is remembered, in seconds (W-IDM-03).
pub const WINDOW_SECONDS: i64 = 24 * 60 * 60;

/// An answer that was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Of the request's parameters.
    pub fingerprint: String,
    /// The body that was answered.
    pub response: String,
    /// The id of the request that was answered.
    pub request_id: String,
    pub created_at: Time,
}

impl Store {
    /// What was answered to `key` within the window before `now`.
    pub async fn remembered(&self, env: Env, key: &str, now: Time) -> Result<Option<Remembered>, Error> {
        let sql = "SELECT fingerprint, response, request_id, created_at FROM idempotency \
                   WHERE env = ?1 AND key = ?2 AND created_at > ?3";
        self.query_one(sql, &params![env, key, now.plus_seconds(-WINDOW_SECONDS)], |row| {
            Ok(Remembered {
                fingerprint: row.string(0)?,
                response: row.string(1)?,
                request_id: row.string(2)?,
                created_at: row.time(3)?,
            })
        })
        .await
    }
}

impl Batch {
    /// Adds an answer to remember; refused when the key is taken, so that of two equal requests one runs (W-IDM-12).
    pub fn remember(&mut self, env: Env, key: &str, answer: &Remembered) {
        self.guard(
            "INSERT INTO idempotency (env, key, fingerprint, response, request_id, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (env, key) DO UPDATE SET fingerprint = excluded.fingerprint, response = excluded.response, \
             request_id = excluded.request_id, created_at = excluded.created_at WHERE idempotency.created_at <= ?7",
            params![
                env,
                key,
                answer.fingerprint.as_str(),
                answer.response.as_str(),
                answer.request_id.as_str(),
                answer.created_at,
                answer.created_at.plus_seconds(-WINDOW_SECONDS)
            ],
        );
    }

    /// Adds the answer of a request whose key is its own already.
    pub fn answer(&mut self, env: Env, key: &str, answer: &Remembered) {
        self.push(
            "UPDATE idempotency SET response = ?4, created_at = ?5 WHERE env = ?1 AND key = ?2 AND request_id = ?3",
            params![env, key, answer.request_id.as_str(), answer.response.as_str(), answer.created_at],
        );
    }

    /// Adds that the key is free again, if it is this request's own.
    pub fn give_up_key(&mut self, env: Env, key: &str, request_id: &str) {
        self.push(
            "DELETE FROM idempotency WHERE env = ?1 AND key = ?2 AND request_id = ?3",
            params![env, key, request_id],
        );
    }

    /// Adds the forgetting of every key older than the window.
    pub fn forget_answers(&mut self, now: Time) {
        self.push("DELETE FROM idempotency WHERE created_at <= ?1", params![now.plus_seconds(-WINDOW_SECONDS)]);
    }
}
