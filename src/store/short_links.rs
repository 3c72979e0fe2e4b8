//! Links that must be short, by what they end in.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::time::Time;
use crate::params;
use crate::sign::tracking::TrackedLink;

impl Store {
    /// What a short link stands for.
    pub async fn short_link(&self, key: &str) -> Result<Option<(Env, TrackedLink)>, Error> {
        let sql = "SELECT env, message, url FROM short_links WHERE key = ?1";
        self.query_one(sql, &params![key], |row| {
            Ok((row.int(0)?, TrackedLink { message: row.string(1)?, url: row.string(2)? }))
        })
        .await
    }
}

impl Batch {
    /// Adds a short link; one that is there already is the same.
    pub fn add_short_link(&mut self, env: Env, key: &str, link: &TrackedLink, now: Time) {
        self.push(
            "INSERT INTO short_links (key, env, message, url, created_at) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (key) DO NOTHING",
            params![key, env, link.message.as_str(), link.url.as_str(), now],
        );
    }
}
