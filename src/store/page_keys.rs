//! Keys that sign page tokens.

use std::fmt;

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::time::Time;
use crate::params;

/// A key that signs page tokens.
#[derive(Clone, PartialEq, Eq)]
pub struct PageKeyRow {
    pub kid: String,
    pub env: Env,
    /// The secret (base64url).
    pub material: String,
    pub created_at: Time,
    pub retired_at: Option<Time>,
}

impl fmt::Debug for PageKeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PageKeyRow { kid, env, material: _, created_at: _, retired_at: _ } = self;
        f.debug_struct("PageKeyRow").field("kid", kid).field("env", env).finish_non_exhaustive()
    }
}

const COLUMNS: &str = "kid, env, material, created_at, retired_at";

fn page_key(row: &Row<'_>) -> Result<PageKeyRow, Error> {
    Ok(PageKeyRow {
        kid: row.string(0)?,
        env: row.int(1)?,
        material: row.string(2)?,
        created_at: row.time(3)?,
        retired_at: row.maybe_time(4)?,
    })
}

impl Store {
    /// Every key that signs page tokens, retired ones included, oldest first.
    pub async fn page_keys(&self) -> Result<Vec<PageKeyRow>, Error> {
        self.query(&format!("SELECT {COLUMNS} FROM page_keys ORDER BY created_at, kid"), &[], page_key).await
    }

    /// The key of that name, if it is not retired.
    pub async fn page_key(&self, kid: &str) -> Result<Option<PageKeyRow>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM page_keys WHERE kid = ?1 AND retired_at IS NULL");
        self.query_one(&sql, &params![kid], page_key).await
    }

    /// The newest key of an environment that is not retired.
    pub async fn newest_page_key(&self, env: Env) -> Result<Option<PageKeyRow>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM page_keys WHERE env = ?1 AND retired_at IS NULL ORDER BY created_at DESC, kid LIMIT 1"
        );
        self.query_one(&sql, &params![env], page_key).await
    }
}

impl Batch {
    /// Adds a key that signs page tokens.
    pub fn add_page_key(&mut self, key: &PageKeyRow) {
        self.push(
            "INSERT INTO page_keys (kid, env, material, created_at) VALUES (?1, ?2, ?3, ?4)",
            params![key.kid.as_str(), key.env, key.material.as_str(), key.created_at],
        );
    }

    /// Adds the retirement of such a key; refused if it is unknown or retired already.
    pub fn retire_page_key(&mut self, kid: &str, now: Time) {
        self.guard("UPDATE page_keys SET retired_at = ?2 WHERE kid = ?1 AND retired_at IS NULL", params![kid, now]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_pages_is_not_shown() {
        let (kid, material) = ("page-1".to_owned(), "geheim".to_owned());
        let row = PageKeyRow { kid, env: 1, material, created_at: Time::from_micros(0), retired_at: None };
        let shown = format!("{row:?}");
        assert!(shown.contains("page-1") && !shown.contains("geheim"), "{shown}");
    }
}
