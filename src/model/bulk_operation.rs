//! A bulk operation: work accepted now, done in the background, with its progress to be read.

use serde_json::{Value, json};
use uuid::Uuid;

use super::time::Time;

/// A bulk operation as stored (F-BLK-02).
#[derive(Debug, Clone, PartialEq)]
pub struct BulkOperation {
    pub id: Uuid,
    pub env: i64,
    pub name: String,
    /// `queued`, `processing`, `completed` or `failed` (F-BLK-03).
    pub status: String,
    pub estimated_total_rows: i64,
    pub processed_rows: i64,
    pub success_count: i64,
    pub error_count: i64,
    pub error_items: Value,
    pub inserted_at: Time,
    pub updated_at: Time,
    pub started_at: Option<Time>,
    pub completed_at: Option<Time>,
    pub failed_at: Option<Time>,
}

impl BulkOperation {
    /// One that is to be begun (F-BLK-03).
    pub fn queued(id: Uuid, env: i64, name: String, rows: usize, now: Time) -> Self {
        BulkOperation {
            id,
            env,
            name,
            status: "queued".to_owned(),
            estimated_total_rows: i64::try_from(rows).unwrap_or(i64::MAX),
            processed_rows: 0,
            success_count: 0,
            error_count: 0,
            error_items: json!([]),
            inserted_at: now,
            updated_at: now,
            started_at: None,
            completed_at: None,
            failed_at: None,
        }
    }

    /// The operation on the wire; `origin` is this server's address as the caller knows it (F-BLK-04).
    pub fn to_json(&self, origin: &str) -> Value {
        json!({
            "__typename": "BulkOperation",
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "estimated_total_rows": self.estimated_total_rows,
            "processed_rows": self.processed_rows,
            "success_count": self.success_count,
            "error_count": self.error_count,
            "error_items": self.error_items,
            "progress_path": format!("{origin}/v1/bulk_operations/{}", self.id),
            "inserted_at": self.inserted_at,
            "updated_at": self.updated_at,
            "started_at": self.started_at,
            "completed_at": self.completed_at,
            "failed_at": self.failed_at,
        })
    }
}
