//! Environments by name.

use uuid::Uuid;

use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;

/// An environment's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnvironmentRow {
    pub number: i64,
    pub id: Uuid,
    pub slug: String,
}

impl Store {
    /// Every environment.
    pub async fn environments(&self) -> Result<Vec<EnvironmentRow>, Error> {
        self.query("SELECT id, uuid, slug FROM environments ORDER BY id", &[], |row| {
            Ok(EnvironmentRow { number: row.int(0)?, id: row.uuid(1)?, slug: row.string(2)? })
        })
        .await
    }

    /// The environment called `slug`, created if it is not there.
    pub async fn ensure_environment(&self, slug: &str, now: Time) -> Result<EnvironmentRow, Error> {
        let mut batch = Batch::new();
        batch.push(
            "INSERT INTO environments (uuid, slug, created_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![Uuid::new_v4(), slug, now],
        );
        self.apply(batch).await?;
        let found = self.environments().await?.into_iter().find(|row| row.slug == slug);
        found.ok_or_else(|| Error::Damaged(format!("environment `{slug}` is not there after it was created")))
    }
}
