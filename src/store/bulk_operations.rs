//! Bulk operations and how far they have come.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::bulk_operation::BulkOperation;
use crate::params;

const COLUMNS: &str = "id, env, name, status, spec, progress, estimated_total_rows, processed_rows, success_count, error_count, \
     error_items, inserted_at, updated_at, started_at, completed_at, failed_at";

impl Store {
    /// One bulk operation, in whatever environment.
    pub fn bulk_operation(&self, id: &str) -> Result<Option<BulkOperation>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM bulk_operations WHERE id = ?1");
        self.query_one(&sql, &params![id], |row| {
            Ok(BulkOperation {
                id: row.uuid(0)?,
                env: row.int(1)?,
                name: row.string(2)?,
                status: row.string(3)?,
                spec: row.json(4)?,
                progress: row.json(5)?,
                estimated_total_rows: row.int(6)?,
                processed_rows: row.int(7)?,
                success_count: row.int(8)?,
                error_count: row.int(9)?,
                error_items: row.json(10)?,
                inserted_at: row.time(11)?,
                updated_at: row.time(12)?,
                started_at: row.maybe_time(13)?,
                completed_at: row.maybe_time(14)?,
                failed_at: row.maybe_time(15)?,
            })
        })
    }

    /// Whether the environment may see the operation.
    pub fn bulk_operation_in(&self, env: Env, id: &str) -> Result<Option<BulkOperation>, Error> {
        Ok(self.bulk_operation(id)?.filter(|operation| operation.env == env))
    }
}

impl Batch {
    /// Adds a bulk operation as it now is.
    pub fn put_bulk_operation(&mut self, operation: &BulkOperation) {
        self.push(
            format!(
                "INSERT INTO bulk_operations ({COLUMNS}) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
                 ON CONFLICT (id) DO UPDATE SET status = excluded.status, progress = excluded.progress, \
                 estimated_total_rows = excluded.estimated_total_rows, processed_rows = excluded.processed_rows, \
                 success_count = excluded.success_count, error_count = excluded.error_count, error_items = excluded.error_items, \
                 updated_at = excluded.updated_at, started_at = excluded.started_at, completed_at = excluded.completed_at, \
                 failed_at = excluded.failed_at"
            ),
            params![
                operation.id,
                operation.env,
                operation.name.as_str(),
                operation.status.as_str(),
                &operation.spec,
                &operation.progress,
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
}
