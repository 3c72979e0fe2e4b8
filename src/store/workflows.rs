//! Workflow versions, and which of them is current in an environment.

use serde_json::Value;
use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;

impl Store {
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
