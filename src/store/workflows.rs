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
    /// When it was archived; then it is not current any more (W-ENV-11).
    pub archived_at: Option<Time>,
    pub document: Value,
}

/// What has been published in an environment, counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    pub env: Env,
    /// Raised by whatever changes which workflows there are, and which of them are active.
    pub revision: i64,
    /// Whether it was applied; else it came from a node's files.
    pub is_applied: bool,
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
    /// How often something has been published in each environment.
    pub async fn publications(&self) -> Result<Vec<Publication>, Error> {
        let sql = "SELECT env, revision, is_applied FROM publications";
        let read =
            |row: &Row<'_>| Ok(Publication { env: row.int(0)?, revision: row.int(1)?, is_applied: row.bool(2)? });
        self.query(sql, &[], read).await
    }

    /// The workflows that are published in an environment, or were and are archived, by key.
    pub async fn published_workflows(&self, env: Env) -> Result<Vec<Published>, Error> {
        let sql = "SELECT w.key, w.version_id, w.is_active, w.archived_at, v.document FROM workflows w \
                   JOIN workflow_versions v ON v.id = w.version_id WHERE w.env = ?1 ORDER BY w.key";
        let read = |row: &Row<'_>| {
            let (key, version_id) = (row.string(0)?, row.uuid(1)?);
            let (is_active, archived_at) = (row.bool(2)?, row.maybe_time(3)?);
            Ok(Published { key, version_id, is_active, archived_at, document: row.json(4)? })
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

    /// The versions of a workflow that were published in an environment since `version` was, newest first; it is the last
    /// of them.
    pub async fn workflow_versions_since(&self, env: Env, key: &str, version: Uuid) -> Result<Vec<Uuid>, Error> {
        let sql = "SELECT version_id FROM published_versions WHERE env = ?1 AND key = ?2 AND published_at >= \
                   (SELECT max(published_at) FROM published_versions WHERE env = ?1 AND key = ?2 AND version_id = ?3) \
                   ORDER BY published_at DESC, version_id";
        self.query(sql, &params![env, key, version], |row| row.uuid(0)).await
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
}

impl Batch {
    /// Adds that something else is published in an environment, from files or applied. Refused if that has happened since
    /// `revision`, or if what was applied would be replaced by files.
    pub fn raise_publication(&mut self, env: Env, revision: i64, is_applied: bool, now: Time) {
        self.push(
            "INSERT INTO publications (env, revision, is_applied, updated_at) VALUES (?1, 0, 0, ?2) ON CONFLICT DO NOTHING",
            params![env, now],
        );
        self.guard(
            "UPDATE publications SET revision = revision + 1, is_applied = ?3, updated_at = ?4 \
             WHERE env = ?1 AND revision = ?2 AND is_applied <= ?3",
            params![env, revision, is_applied, now],
        );
    }

    /// Adds that the workflows of an environment may come from files again.
    pub fn release_publication(&mut self, env: Env, now: Time) {
        self.push(
            "UPDATE publications SET revision = revision + 1, is_applied = 0, updated_at = ?2 WHERE env = ?1 AND is_applied = 1",
            params![env, now],
        );
    }

    /// Adds a version, and makes it the current one of its environment.
    pub fn publish_workflow(&mut self, env: Env, key: &str, version: Uuid, document: &Value, now: Time) {
        self.push(
            "INSERT INTO workflow_versions (id, key, document, created_at) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING",
            params![version, key, document, now],
        );
        self.push(
            "INSERT INTO workflows (env, key, version_id, is_active, updated_at) VALUES (?1, ?2, ?3, 1, ?4) \
             ON CONFLICT (env, key) DO UPDATE SET version_id = excluded.version_id, updated_at = excluded.updated_at, \
             archived_at = NULL",
            params![env, key, version, now],
        );
        self.push(
            "INSERT INTO published_versions (env, key, published_at, version_id) VALUES (?1, ?2, ?4, ?3) ON CONFLICT DO NOTHING",
            params![env, key, version, now],
        );
    }

    /// Adds that a workflow is current no more (W-ENV-11).
    pub fn archive_workflow(&mut self, env: Env, key: &str, now: Time) {
        self.push(
            "UPDATE workflows SET archived_at = ?3, updated_at = ?3 WHERE env = ?1 AND key = ?2",
            params![env, key, now],
        );
    }

    /// Adds that a workflow is active in an environment, or not; refused where there is none (W-ENV-05).
    pub fn activate_workflow(&mut self, env: Env, key: &str, is_active: bool, now: Time) {
        self.guard(
            "UPDATE workflows SET is_active = ?3, updated_at = ?4 WHERE env = ?1 AND key = ?2",
            params![env, key, is_active, now],
        );
        self.push(
            "INSERT INTO publications (env, revision, is_applied, updated_at) VALUES (?1, 1, 0, ?2) \
             ON CONFLICT (env) DO UPDATE SET revision = publications.revision + 1, updated_at = excluded.updated_at",
            params![env, now],
        );
    }
}
