//! Triggers whose objects' followers are still being told: what they are told with, and what was cancelled meanwhile.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::params;

/// How a fan-out stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FanOut {
    /// The workflow run's id.
    pub id: String,
    /// Raised by every part and every cancellation.
    pub rev: i64,
    /// Nobody else is to be told.
    pub is_cancelled: bool,
}

impl Store {
    /// Whether a fan-out of the workflow that carries this key is not over.
    pub async fn has_fan_out(&self, env: Env, workflow: &str, cancellation_key: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM fan_outs WHERE env = ?1 AND workflow = ?2 AND cancellation_key = ?3 LIMIT 1";
        let found = self.query_one(sql, &params![env, workflow, cancellation_key], |_| Ok(())).await?;
        Ok(found.is_some())
    }

    /// A fan-out that is not over.
    pub async fn fan_out(&self, id: &str) -> Result<Option<FanOut>, Error> {
        let sql = "SELECT id, rev, is_cancelled FROM fan_outs WHERE id = ?1";
        self.query_one(sql, &params![id], |row| {
            Ok(FanOut { id: row.string(0)?, rev: row.int(1)?, is_cancelled: row.bool(2)? })
        })
        .await
    }

    /// What a fan-out starts runs with.
    pub async fn fan_out_order(&self, id: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT body FROM fan_out_orders WHERE fan_out = ?1";
        self.query_one(sql, &params![id], |row| row.string(0)).await
    }

    /// Those among these recipients, by key, whose runs of a fan-out are cancelled before they have begun.
    pub async fn cancelled_in_fan_out(&self, id: &str, recipients: &[&str]) -> Result<Vec<String>, Error> {
        let sql = "SELECT recipient FROM fan_out_cancelled WHERE fan_out = ?1 \
                   AND recipient IN (SELECT value FROM json_each(?2))";
        let list = serde_json::to_string(recipients).unwrap_or_default();
        self.query(sql, &params![id, list], |row| row.string(0)).await
    }

    /// Those among these runs that there are.
    pub async fn runs_that_are(&self, ids: &[String]) -> Result<Vec<String>, Error> {
        let sql = "SELECT id FROM runs WHERE id IN (SELECT value FROM json_each(?1))";
        self.query(sql, &params![serde_json::to_string(ids).unwrap_or_default()], |row| row.string(0)).await
    }
}

impl Batch {
    /// Adds a fan-out with the order that its runs are started by.
    pub fn add_fan_out(&mut self, env: Env, id: &str, workflow: &str, cancellation_key: Option<&str>, order: &str) {
        self.push(
            "INSERT INTO fan_outs (id, env, workflow, cancellation_key, rev, is_cancelled, started) \
             VALUES (?1, ?2, ?3, ?4, 0, 0, 0)",
            params![id, env, workflow, cancellation_key],
        );
        self.push("INSERT INTO fan_out_orders (fan_out, body) VALUES (?1, ?2)", params![id, order]);
    }

    /// Adds that a fan-out has started so many runs more; refused when something was cancelled since it was read.
    pub fn advance_fan_out(&mut self, read: &FanOut, started: usize) {
        self.guard(
            "UPDATE fan_outs SET rev = rev + 1, started = started + ?3 WHERE id = ?1 AND rev = ?2",
            params![&read.id, read.rev, started],
        );
    }

    /// Adds that a fan-out is over.
    pub fn end_fan_out(&mut self, id: &str) {
        for sql in [
            "DELETE FROM fan_outs WHERE id = ?1",
            "DELETE FROM fan_out_orders WHERE fan_out = ?1",
            "DELETE FROM fan_out_cancelled WHERE fan_out = ?1",
        ] {
            self.push(sql, params![id]);
        }
    }

    /// Adds that fan-outs of the workflow which carry this key start nothing more; for some recipients only, by key, when
    /// they are given. A worker that has read one before is overtaken.
    pub fn cancel_fan_outs(&mut self, env: Env, workflow: &str, cancellation_key: &str, only: Option<&[String]>) {
        const MEANT: &str = "env = ?1 AND workflow = ?2 AND cancellation_key = ?3";
        let is_cancelled = if only.is_none() { ", is_cancelled = 1" } else { "" };
        self.push(
            format!("UPDATE fan_outs SET rev = rev + 1{is_cancelled} WHERE {MEANT}"),
            params![env, workflow, cancellation_key],
        );
        if let Some(only) = only {
            let list: Vec<[&String; 1]> = only.iter().map(|key| [key]).collect();
            self.push(
                format!(
                    "INSERT INTO fan_out_cancelled (fan_out, recipient) SELECT f.id, j.value ->> 0 \
                     FROM fan_outs f CROSS JOIN json_each(?4) j WHERE {MEANT} ON CONFLICT DO NOTHING"
                ),
                params![env, workflow, cancellation_key, serde_json::to_string(&list).unwrap_or_default()],
            );
        }
    }
}
