//! API keys, as digests, and the keys that sign user tokens.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use serde_json::json;

use super::Env;
use super::db::{Batch, Driver, Error, Row, Store};
use crate::model::time::Time;
use crate::params;
use crate::sign::key_scope::KeyScope;

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
    /// What a secret key is limited to; none for most.
    pub scope: Option<KeyScope>,
}

/// Tells one state of an environment's signing keys from the next: how many there are, and the latest changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningKeysStamp(String);

/// An API key, and the state of its environment's signing keys: as of one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    pub key: ApiKeyRow,
    /// Of a public key's.
    pub signing: SigningKeysStamp,
}

/// Keys that are asked for in one question.
pub(super) const MOST_AT_ONCE: usize = 1024;

/// A key that signs user tokens.
#[derive(Clone, PartialEq, Eq)]
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

/// Keys by their digests, public ones with the stamp of their environment's signing keys: nobody signs for a secret key.
macro_rules! known_keys {
    ($digests:literal) => {
        concat!(
            "SELECT k.digest, k.env, k.kind, k.name, k.hint, k.created_at, k.revoked_at, k.scope, CASE k.kind WHEN 'public' THEN \
             (SELECT count(*) || ',' || count(s.retired_at) || ',' || coalesce(max(s.created_at), 0) || ',' || \
             coalesce(max(s.retired_at), 0) FROM signing_keys s WHERE s.env = k.env) ELSE '' END \
             FROM api_keys k WHERE k.digest ",
            $digests
        )
    };
}

fn known_key(row: &Row<'_>) -> Result<KnownKey, Error> {
    Ok(KnownKey { key: api_key(row)?, signing: SigningKeysStamp(row.string(8)?) })
}

/// Answers questions about many keys by one reading. In a crowd most ask for the same.
pub(super) async fn answer(driver: &Driver, digests: Vec<String>) -> Vec<Result<Option<KnownKey>, Error>> {
    let asked: BTreeSet<&str> = digests.iter().map(String::as_str).collect();
    let list = serde_json::to_string(&asked).unwrap_or_default();
    let sql = known_keys!("IN (SELECT value FROM json_each(?1))");
    match driver.query(sql, &params![list], known_key).await {
        Ok(known) => {
            let by_digest: HashMap<&str, &KnownKey> = known.iter().map(|known| (&*known.key.digest, known)).collect();
            digests.iter().map(|digest| Ok(by_digest.get(&**digest).copied().cloned())).collect()
        }
        Err(error) => digests.iter().map(|_| Err(error.clone())).collect(),
    }
}

impl fmt::Debug for SigningKeyRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SigningKeyRow { env, kid, alg, material: _, created_at: _, retired_at: _ } = self;
        f.debug_struct("SigningKeyRow").field("env", env).field("kid", kid).field("alg", alg).finish_non_exhaustive()
    }
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
        scope: scope(&row.string(7)?)?,
    })
}

/// A scope that cannot be read must not be taken for none.
fn scope(text: &str) -> Result<Option<KeyScope>, Error> {
    match text {
        "" => Ok(None),
        text => serde_json::from_str(text).map(Some).map_err(|error| Error::Damaged(format!("a key's scope: {error}"))),
    }
}

impl Store {
    /// Every API key, revoked ones included, oldest first.
    pub async fn api_keys(&self) -> Result<Vec<ApiKeyRow>, Error> {
        let sql = "SELECT digest, env, kind, name, hint, created_at, revoked_at, scope FROM api_keys ORDER BY created_at, digest";
        self.query(sql, &[], api_key).await
    }

    /// The key with this digest.
    pub async fn api_key(&self, digest: &str) -> Result<Option<ApiKeyRow>, Error> {
        let sql = "SELECT digest, env, kind, name, hint, created_at, revoked_at, scope FROM api_keys WHERE digest = ?1";
        self.query_one(sql, &params![digest], api_key).await
    }

    /// The key with this digest, and how the signing keys of its environment stand. Read after it is asked for: a
    /// revocation counts at once (F-AUT-03).
    pub async fn known_key(&self, digest: &str) -> Result<Option<KnownKey>, Error> {
        match self.desks() {
            Some(desks) => desks.keys.ask(digest.to_owned()).await,
            None => self.query_one(known_keys!("= ?1"), &params![digest], known_key).await,
        }
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
            "INSERT INTO api_keys (digest, env, kind, name, hint, created_at, scope) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                key.digest.as_str(),
                key.env,
                key.kind.as_str(),
                key.name.as_str(),
                key.hint.as_str(),
                key.created_at,
                key.scope.as_ref().map(|scope| json!(scope).to_string()).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_signs_tokens_is_not_shown() {
        let at = Time::from_micros(0);
        let (kid, alg, material) = ("k1".to_owned(), "hs256".to_owned(), "geheim".to_owned());
        let row = SigningKeyRow { env: 1, kid, alg, material, created_at: at, retired_at: None };
        let shown = format!("{row:?}");
        assert!(shown.contains("k1") && !shown.contains("geheim"), "{shown}");
    }
}
