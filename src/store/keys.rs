//! API keys, as digests, and the keys that sign user tokens.

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::time::Time;
use crate::params;

/// An API key as known here: never the key itself (F-AUT-02).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// SHA-256 of the key, in hex.
    pub digest: String,
    pub env: Env,
    /// `public` or `secret`.
    pub kind: String,
    pub name: String,
    /// The first characters of the key, for people to recognise it by.
    pub hint: String,
    pub created_at: Time,
    pub revoked_at: Option<Time>,
}

/// Tells one state of an environment's signing keys from the next: how many there are, and the latest changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningKeysStamp {
    count: i64,
    retired: i64,
    created_at: Option<Time>,
    retired_at: Option<Time>,
}

/// A key that signs user tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeyRow {
    pub env: Env,
    pub kid: String,
    /// `hs256`, `rs256`, or `hmac` for the bare form.
    pub alg: String,
    /// The shared secret (base64url), or the public half as PEM.
    pub material: String,
    pub created_at: Time,
    pub retired_at: Option<Time>,
}

fn api_key(row: &Row<'_>) -> Result<ApiKeyRow, Error> {
    Ok(ApiKeyRow {
        digest: row.string(0)?,
        env: row.int(1)?,
        kind: row.string(2)?,
        name: row.string(3)?,
        hint: row.string(4)?,
        created_at: row.time(5)?,
        revoked_at: row.maybe_time(6)?,
    })
}

impl Store {
    /// Every API key, revoked ones included, oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, Error> {
        let sql =
            "SELECT digest, env, kind, name, hint, created_at, revoked_at FROM api_keys ORDER BY created_at, digest";
        self.query(sql, &[], api_key).await
    }

    /// The key with this digest.
    pub async fn api_key(&self, digest: &str) -> Result<Option<ApiKeyRow>, Error> {
        let sql = "SELECT digest, env, kind, name, hint, created_at, revoked_at FROM api_keys WHERE digest = ?1";
        self.query_one(sql, &params![digest], api_key).await
    }

    /// The state of an environment's signing keys.
    pub async fn signing_keys_stamp(&self, env: Env) -> Result<SigningKeysStamp, Error> {
        let sql =
            "SELECT count(*), count(retired_at), max(created_at), max(retired_at) FROM signing_keys WHERE env = ?1";
        let stamp = self
            .query_one(sql, &params![env], |row| {
                Ok(SigningKeysStamp {
                    count: row.int(0)?,
                    retired: row.int(1)?,
                    created_at: row.maybe_time(2)?,
                    retired_at: row.maybe_time(3)?,
                })
            })
            .await?;
        stamp.ok_or_else(|| Error::Damaged("signing keys cannot be counted".to_owned()))
    }

    /// Every signing key, retired ones included, oldest first.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKeyRow>, Error> {
        let sql = "SELECT env, kid, alg, material, created_at, retired_at FROM signing_keys ORDER BY created_at, kid";
        self.query(sql, &[], |row| {
            Ok(SigningKeyRow {
                env: row.int(0)?,
                kid: row.string(1)?,
                alg: row.string(2)?,
                material: row.string(3)?,
                created_at: row.time(4)?,
                retired_at: row.maybe_time(5)?,
            })
        })
        .await
    }
}

impl Batch {
    /// Adds an API key.
    pub fn add_api_key(&mut self, key: &ApiKeyRow) {
        self.push(
            "INSERT INTO api_keys (digest, env, kind, name, hint, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                key.digest.as_str(),
                key.env,
                key.kind.as_str(),
                key.name.as_str(),
                key.hint.as_str(),
                key.created_at
            ],
        );
    }

    /// Adds the revocation of an API key; refused if it is unknown or revoked already.
    pub fn revoke_api_key(&mut self, digest: &str, now: Time) {
        self.guard(
            "UPDATE api_keys SET revoked_at = ?2 WHERE digest = ?1 AND revoked_at IS NULL",
            params![digest, now],
        );
    }

    /// Adds a signing key.
    pub fn add_signing_key(&mut self, key: &SigningKeyRow) {
        self.push(
            "INSERT INTO signing_keys (env, kid, alg, material, created_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![key.env, key.kid.as_str(), key.alg.as_str(), key.material.as_str(), key.created_at],
        );
    }

    /// Adds the retirement of a signing key; refused if it is unknown or retired already.
    pub fn retire_signing_key(&mut self, env: Env, kid: &str, now: Time) {
        self.guard(
            "UPDATE signing_keys SET retired_at = ?3 WHERE env = ?1 AND kid = ?2 AND retired_at IS NULL",
            params![env, kid, now],
        );
    }
}
