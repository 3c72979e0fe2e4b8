//! Bulk operations: what they are to do, and how far they have come.

use serde_json::Value;

use super::Env;
use super::chunks::Found;
use super::db::{Batch, Error, Store};
use crate::model::bulk_operation::BulkOperation;
use crate::params;

const COLUMNS: &str = "id, env, name, status, estimated_total_rows, processed_rows, success_count, error_count, error_items, \
     inserted_at, updated_at, started_at, completed_at, failed_at";

impl Store {
    /// One bulk operation, in whatever environment.
    pub async fn bulk_operation(&self, id: &str) -> Result<Option<BulkOperation>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM bulk_operations WHERE id = ?1");
        self.query_one(&sql, &params![id], |row| {
            Ok(BulkOperation {
                id: row.uuid(0)?,
                env: row.int(1)?,
                name: row.string(2)?,
                status: row.string(3)?,
                estimated_total_rows: row.int(4)?,
                processed_rows: row.int(5)?,
                success_count: row.int(6)?,
                error_count: row.int(7)?,
                error_items: row.json(8)?,
                inserted_at: row.time(9)?,
                updated_at: row.time(10)?,
                started_at: row.maybe_time(11)?,
                completed_at: row.maybe_time(12)?,
                failed_at: row.maybe_time(13)?,
            })
        })
        .await
    }

    /// Whether the environment may see the operation.
    pub async fn bulk_operation_in(&self, env: Env, id: &str) -> Result<Option<BulkOperation>, Error> {
        Ok(self.bulk_operation(id).await?.filter(|operation| operation.env == env))
    }

    /// What a bulk operation is to do, as JSON.
    pub async fn bulk_spec(&self, id: &str) -> Result<Option<String>, Error> {
        self.query_one("SELECT spec FROM bulk_specs WHERE operation = ?1", &params![id], |row| row.string(0)).await
    }
}

impl Batch {
    /// Adds a new bulk operation, and what it is to do.
    pub fn add_bulk_operation(&mut self, operation: &BulkOperation, spec: &Value) {
        self.push("INSERT INTO bulk_specs (operation, spec) VALUES (?1, ?2)", params![operation.id, spec]);
        self.push(
            format!(
                "INSERT INTO bulk_operations ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
            ),
            params![
                operation.id,
                operation.env,
                operation.name.as_str(),
                operation.status.as_str(),
                operation.estimated_total_rows,
                operation.processed_rows,
                operation.success_count,
                operation.error_count,
                &operation.error_items,
                operation.inserted_at,
                operation.updated_at,
                operation.started_at,
                operation.completed_at,
                operation.failed_at
            ],
        );
    }

    /// Adds how far a bulk operation is once it has changed the messages of a chunk; refused when one of them is not as it
    /// was found any more.
    pub fn advance_bulk_operation(&mut self, operation: &BulkOperation, chunk: &[Found]) {
        let versions: Vec<(&str, i64)> = chunk.iter().map(|found| (found.id.as_str(), found.version)).collect();
        self.guard(
            "UPDATE bulk_operations SET status = ?2, estimated_total_rows = ?3, processed_rows = ?4, success_count = ?5, \
             error_count = ?6, error_items = ?7, updated_at = ?8, started_at = ?9, completed_at = ?10, failed_at = ?11 \
             WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM json_each(?12) j LEFT JOIN messages m ON m.id = j.value ->> 0 \
             WHERE m.version IS DISTINCT FROM CAST(j.value ->> 1 AS BIGINT))",
            params![
                operation.id,
                operation.status.as_str(),
                operation.estimated_total_rows,
                operation.processed_rows,
                operation.success_count,
                operation.error_count,
                &operation.error_items,
                operation.updated_at,
                operation.started_at,
                operation.completed_at,
                operation.failed_at,
                serde_json::to_string(&versions).unwrap_or_default()
            ],
        );
        if operation.completed_at.is_some() || operation.failed_at.is_some() {
            // Nobody reads it any more, and it may name whoever is deleted later.
            self.push("DELETE FROM bulk_specs WHERE operation = ?1", params![operation.id]);
        }
    }
}
