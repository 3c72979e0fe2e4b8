//! Development mode: keys that are the same at every start, and a user to ring.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::StartError;
use super::keys::{self, Algorithm};
use crate::model::time::Time;
use crate::model::workflow::Workflow;
use crate::sign::api_key::{ApiKey, Kind};
use crate::sign::issue::sign_hs256;
use crate::store::{Batch, Env, Store};
use crate::verbs::Core;
use crate::verbs::identify::Profile;

/// The file in the data directory that keeps the keys in clear; the database holds digests only.
const FILE: &str = "development.json";
/// The user whose bells the demo page shows.
pub const USER: &str = "dana";
/// Who does what the samples tell of.
pub const ACTOR: &str = "sam";
const TOKEN_SECONDS: i64 = 24 * 60 * 60;
const NAME: &str = "development";

/// The keys of development mode, in clear.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    pub public_key: String,
    pub secret_key: String,
    pub signing_key: Signing,
}

/// The key that signs the demo user's tokens.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Signing {
    pub kid: String,
    pub alg: String,
    pub secret: String,
}

impl Identity {
    /// The keys kept in `dir`, known to the store as keys of `env`; made anew where there are none, or where the store
    /// has revoked them.
    pub(super) async fn ensure(dir: &Path, store: &Store, env: Env, now: Time) -> Result<Identity, StartError> {
        let file = dir.join(FILE);
        let mut batch = Batch::new();
        let kept = read(&file)?;
        let public_key =
            ensure_key(kept.as_ref().map(|kept| &kept.public_key), Kind::Public, store, env, now, &mut batch).await?;
        let secret_key =
            ensure_key(kept.as_ref().map(|kept| &kept.secret_key), Kind::Secret, store, env, now, &mut batch).await?;
        let signing_key =
            ensure_signing(kept.as_ref().map(|kept| &kept.signing_key), store, env, now, &mut batch).await?;
        let identity = Identity { public_key, secret_key, signing_key };
        if !batch.is_empty() {
            // The file first: keys that only the store knows would be lost.
            write(&file, &identity)?;
            store.apply(batch).await?;
        }
        Ok(identity)
    }

    /// A token of the demo user, good for a day.
    pub fn user_token(&self, now: Time) -> String {
        let issued = now.micros() / 1_000_000;
        let claims = json!({"sub": USER, "iat": issued, "exp": issued + TOKEN_SECONDS});
        let secret = URL_SAFE_NO_PAD.decode(&self.signing_key.secret).unwrap_or_default();
        sign_hs256(&claims, &secret, Some(&self.signing_key.kid))
    }

    /// A command line that rings the demo user's bells.
    pub fn curl(&self, origin: &str, workflow: &Workflow) -> String {
        // Inline, so that whoever puts a user of their own into its place is heard: one by id alone must be known already.
        let body = json!({"recipients": [recipient()], "actor": ACTOR, "data": example(workflow)}).to_string();
        // Within quotation marks of a shell a single one is spelled so.
        let body = body.replace('\'', r"'\''");
        format!(
            "curl {origin}/v1/workflows/{}/trigger \\\n  -H 'Authorization: Bearer {}' \\\n  -H 'Content-Type: application/json' \\\n  -d '{body}'",
            workflow.key, self.secret_key
        )
    }
}

/// Data with which a workflow can be tried: its schema's first example, or what fits the samples.
pub fn example(workflow: &Workflow) -> Value {
    let schema = &workflow.source["trigger_data_json_schema"];
    if let Some(first) = schema["examples"].get(0).filter(|first| first.is_object()) {
        return first.clone();
    }
    match workflow.key.as_str() {
        "comment" => json!({
            "page_name": "Launch plan", "comment": "Shall we ring everybody on Friday?", "url": "https://example.com/launch-plan",
        }),
        "deploy-finished" => json!({
            "service": "checkout", "status": "success", "version": "1.4.2", "duration_seconds": 184,
            "url": "https://example.com/deploys/42",
        }),
        "invoice-due" => json!({
            "number": "2026-0042", "amount": 480, "currency": "EUR", "due_at": "2026-12-01T00:00:00Z",
            "url": "https://example.com/invoices/42",
        }),
        "welcome" => json!({"url": "https://example.com/start"}),
        _ => json!({}),
    }
}

/// Makes the people of the demo known, so that a plain id is enough to name them. What they have become since stays.
pub(super) async fn introduce(core: &Core, env: Env) -> Result<(), StartError> {
    for person in [recipient(), actor()] {
        let (Some(map), Some(id)) = (person.as_object(), person["id"].as_str()) else { continue };
        if core.store.user(env, id).await?.is_some() {
            continue;
        }
        let said = |error: String| StartError::Said(format!("The demo user `{id}` could not be made: {error}."));
        let profile = Profile::parse(map, "").map_err(|faults| said(format!("{faults:?}")))?;
        core.identify_user(env, id, &profile).await.map_err(|error| said(error.to_string()))?;
    }
    Ok(())
}

/// Whoever does the things that the demo page tells of.
pub(super) fn actor() -> Value {
    json!({"id": ACTOR, "name": "Sam Okoro"})
}

/// The demo user, inline, so that it need not be identified first.
pub(super) fn recipient() -> Value {
    json!({"id": USER, "name": "Dana Reyes"})
}

async fn ensure_key(
    kept: Option<&String>,
    kind: Kind,
    store: &Store,
    env: Env,
    now: Time,
    batch: &mut Batch,
) -> Result<String, StartError> {
    if let Some(key) = kept.and_then(|text| ApiKey::parse(text).ok()).filter(|key| key.kind() == kind) {
        match store.api_key(&key.digest()).await? {
            Some(row) if row.env == env && row.revoked_at.is_none() => return Ok(key.reveal().to_owned()),
            // Revoked, or of another environment: a new one is made.
            Some(_) => {}
            // The database was deleted, the file was not.
            None => {
                batch.add_api_key(&keys::row(&key, env, NAME, now));
                return Ok(key.reveal().to_owned());
            }
        }
    }
    Ok(keys::make_api_key(kind, env, NAME, None, now, batch)?.reveal().to_owned())
}

async fn ensure_signing(
    kept: Option<&Signing>,
    store: &Store,
    env: Env,
    now: Time,
    batch: &mut Batch,
) -> Result<Signing, StartError> {
    if let Some(kept) = kept {
        let row = store.signing_keys().await?.into_iter().find(|row| row.env == env && row.kid == kept.kid);
        match row {
            Some(row) if row.retired_at.is_none() && row.material == kept.secret => return Ok(kept.clone()),
            Some(_) => {}
            None => {
                batch.add_signing_key(&keys::signing_row(env, &kept.kid, Algorithm::Hs256, kept.secret.clone(), now));
                return Ok(kept.clone());
            }
        }
    }
    let made = keys::make_signing_key(Algorithm::Hs256, env, now, batch)?;
    Ok(Signing { kid: made.kid, alg: made.alg.as_str().to_owned(), secret: made.secret })
}

fn read(file: &Path) -> Result<Option<Identity>, StartError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StartError::file(file, "can't be read", &error)),
    };
    serde_json::from_str(&text).map(Some).map_err(|error| {
        StartError::Said(format!("{} is damaged ({error}): delete it, and new keys are made.", file.display()))
    })
}

fn write(file: &Path, identity: &Identity) -> Result<(), StartError> {
    let fail = |error: std::io::Error| StartError::file(file, "can't be written", &error);
    let text = serde_json::to_string_pretty(identity).map_err(|error| fail(error.into()))?;
    let beside = PathBuf::from(format!("{}.new", file.display()));
    let mut options = OpenOptions::new();
    let mut out = options.write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(fail)?;
    out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n")).and_then(|()| out.sync_all()).map_err(fail)?;
    fs::rename(&beside, file).map_err(fail)
}
