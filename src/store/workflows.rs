//! Workflow versions, and which of them is current in an environment.

use serde_json::Value;
use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::time::Time;
use crate::model::workflow::Position;
use crate::params;

/// A workflow as it is published in an environment.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    pub key: String,
    pub version_id: Uuid,
    pub is_active: bool,
    pub document: Value,
}

/// Runs in flight that follow the same version and stand at the same place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub workflow: String,
    pub version_id: Uuid,
    /// The step they come to next; none before the first.
    pub position: Option<Position>,
    /// Whether that step is a pause.
    pub is_waiting: bool,
    pub runs: i64,
}

impl Store {
    /// The workflows that are published in an environment, by key.
    pub async fn published_workflows(&self, env: Env) -> Result<Vec<Published>, Error> {
        let sql = "SELECT w.key, w.version_id, w.is_active, v.document FROM workflows w \
                   JOIN workflow_versions v ON v.id = w.version_id WHERE w.env = ?1 ORDER BY w.key";
        let read = |row: &Row<'_>| {
            let (key, version_id) = (row.string(0)?, row.uuid(1)?);
            Ok(Published { key, version_id, is_active: row.bool(2)?, document: row.json(3)? })
        };
        self.scan(sql, params![env], read).await
    }

    /// Where the runs of an environment stand that are not over: whatever goes on has a job.
    pub async fn runs_in_flight(&self, env: Env) -> Result<Vec<Standing>, Error> {
        let sql = "SELECT r.workflow, r.version_id, CAST(r.state -> 'position' AS TEXT), \
                   CAST(r.state -> 'is_waiting' AS TEXT), count(*) FROM runs r \
                   WHERE r.id IN (SELECT subject FROM jobs) AND r.env = ?1 AND r.status IN ('queued', 'processing', 'paused') \
                   GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4";
        let read = |row: &Row<'_>| {
            let position = row.maybe_text(2)?.map(serde_json::from_str::<Option<Position>>);
            let position =
                position.transpose().map_err(|error| Error::Damaged(format!("a run's position: {error}")))?;
            Ok(Standing {
                workflow: row.string(0)?,
                version_id: row.uuid(1)?,
                position: position.flatten(),
                is_waiting: row.maybe_text(3)? == Some("true"),
                runs: row.int(4)?,
            })
        };
        self.scan(sql, params![env], read).await
    }

    /// How many messages of each workflow have a job of this kind, which sends them.
    pub async fn messages_to_send(&self, env: Env, kind: &'static str) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT m.workflow, count(*) FROM messages m WHERE m.id IN (SELECT subject FROM jobs WHERE kind = ?2) \
                   AND m.env = ?1 GROUP BY m.workflow ORDER BY m.workflow";
        self.scan(sql, params![env, kind], |row| Ok((row.string(0)?, row.int(1)?))).await
    }

    /// How many triggers of each workflow are still being told to followers of objects.
    pub async fn fan_outs_in_flight(&self, env: Env) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT workflow, count(*) FROM fan_outs WHERE env = ?1 AND is_cancelled = 0 GROUP BY workflow ORDER BY workflow";
        self.scan(sql, params![env], |row| Ok((row.string(0)?, row.int(1)?))).await
    }

    /// How many schedules of each workflow have an occurrence to come.
    pub async fn schedules_to_come(&self, env: Env) -> Result<Vec<(String, i64)>, Error> {
        let sql = "SELECT workflow, count(*) FROM schedules WHERE env = ?1 AND next_occurrence_at IS NOT NULL \
                   GROUP BY workflow ORDER BY workflow";
        self.scan(sql, params![env], |row| Ok((row.string(0)?, row.int(1)?))).await
    }

    /// The document of a version, with its workflow's key.
    pub async fn workflow_version(&self, id: Uuid) -> Result<Option<(String, Value)>, Error> {
        let sql = "SELECT key, document FROM workflow_versions WHERE id = ?1";
        self.query_one(sql, &params![id], |row| Ok((row.string(0)?, row.json(1)?))).await
    }

    /// The versions of a workflow that were published since `version` was, newest first; it is the last of them.
    pub async fn workflow_versions_since(&self, key: &str, version: Uuid) -> Result<Vec<Uuid>, Error> {
        let sql = "SELECT id FROM workflow_versions WHERE key = ?1 \
                   AND created_at >= (SELECT created_at FROM workflow_versions WHERE id = ?2) ORDER BY created_at DESC, id";
        self.query(sql, &params![key, version], |row| row.uuid(0)).await
    }

    /// The key of every workflow that any environment has or ever had.
    pub async fn known_workflows(&self) -> Result<Vec<String>, Error> {
        self.query("SELECT DISTINCT key FROM workflows ORDER BY key", &[], |row| row.string(0)).await
    }

    /// Whether the environment has, or ever had, a workflow of this key.
    pub async fn knows_workflow(&self, env: Env, key: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM workflows WHERE env = ?1 AND key = ?2";
        Ok(self.query_one(sql, &params![env, key], |row| row.int(0)).await?.is_some())
    }

    /// The workflows of an environment that are not active (W-ENV-05).
    pub async fn inactive_workflows(&self, env: Env) -> Result<Vec<String>, Error> {
        let sql = "SELECT key FROM workflows WHERE env = ?1 AND is_active = 0";
        self.query(sql, &params![env], |row| row.string(0)).await
    }
}

impl Batch {
    /// Adds a version, and makes it the current one of its environment.
    pub fn publish_workflow(&mut self, env: Env, key: &str, version: Uuid, document: &Value, now: Time) {
        self.push(
            "INSERT INTO workflow_versions (id, key, document, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![version, key, document, now],
        );
        self.push(
            "INSERT INTO workflows (env, key, version_id, is_active, updated_at) VALUES (?1, ?2, ?3, 1, ?4) \
             ON CONFLICT (env, key) DO UPDATE SET version_id = excluded.version_id, updated_at = excluded.updated_at",
            params![env, key, version, now],
        );
    }

    /// Adds that a workflow is active in an environment, or not.
    pub fn activate_workflow(&mut self, env: Env, key: &str, is_active: bool, now: Time) {
        self.push(
            "UPDATE workflows SET is_active = ?3, updated_at = ?4 WHERE env = ?1 AND key = ?2",
            params![env, key, is_active, now],
        );
    }
}
