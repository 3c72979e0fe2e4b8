//! Keys: made from randomness, shown once, kept as digests or public halves.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::model::time::Time;
use crate::sign::api_key::{ApiKey, Kind};
use crate::sign::key_pair;
use crate::sign::key_scope::KeyScope;
use crate::store::keys::{ApiKeyRow, SigningKeyRow};
use crate::store::{Batch, Env};

/// Why no key could be made.
#[derive(Debug, thiserror::Error)]
#[error("no key could be made: {0}")]
pub struct NoKey(String);

/// What signs user tokens, in clear. It is shown once.
#[derive(Clone)]
pub struct SigningSecret {
    pub kid: String,
    pub alg: Algorithm,
    /// The shared secret in base64url; for RS256 the private key as PEM.
    pub secret: String,
    /// For RS256: the base64 of that PEM, as environment files hold it.
    pub base64: Option<String>,
}

/// The forms of user tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// A JWT signed with a shared secret.
    Hs256,
    /// A JWT signed with an RSA key, of which the server keeps the public half.
    Rs256,
    /// The bare HMAC of the user's id.
    Hmac,
}

impl Algorithm {
    /// The word for it in rows and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "hs256",
            Algorithm::Rs256 => "rs256",
            Algorithm::Hmac => "hmac",
        }
    }
}

/// Makes an API key, limited by `scope`; what is kept of it goes into `batch`.
pub fn make_api_key(
    kind: Kind,
    env: Env,
    name: &str,
    scope: Option<KeyScope>,
    now: Time,
    batch: &mut Batch,
) -> Result<ApiKey, NoKey> {
    let key = ApiKey::mint(kind, random()?);
    batch.add_api_key(&ApiKeyRow { scope, ..row(&key, env, name, now) });
    Ok(key)
}

/// What is kept of an API key.
pub(super) fn row(key: &ApiKey, env: Env, name: &str, now: Time) -> ApiKeyRow {
    ApiKeyRow {
        digest: key.digest(),
        env,
        kind: kind_word(key.kind()).to_owned(),
        name: name.to_owned(),
        hint: key.shown().to_owned(),
        created_at: now,
        revoked_at: None,
        scope: None,
    }
}

/// The word for a kind of API key in rows and on the command line.
pub fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Public => "public",
        Kind::Secret => "secret",
    }
}

/// Makes a signing key; what is kept of it goes into `batch`.
pub fn make_signing_key(alg: Algorithm, env: Env, now: Time, batch: &mut Batch) -> Result<SigningSecret, NoKey> {
    let [a, b, c, d, ..] = random::<16>()?;
    let kid = format!("{}-{a:02x}{b:02x}{c:02x}{d:02x}", alg.as_str());
    let (secret, base64, material) = match alg {
        Algorithm::Hs256 | Algorithm::Hmac => {
            let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
            (secret.clone(), None, secret)
        }
        Algorithm::Rs256 => {
            let pair = key_pair::generate().map_err(|error| NoKey(error.to_string()))?;
            (pair.private_pem, Some(pair.private_base64), pair.public_pem)
        }
    };
    batch.add_signing_key(&signing_row(env, &kid, alg, material, now));
    Ok(SigningSecret { kid, alg, secret, base64 })
}

pub(super) fn signing_row(env: Env, kid: &str, alg: Algorithm, material: String, now: Time) -> SigningKeyRow {
    SigningKeyRow {
        env,
        kid: kid.to_owned(),
        alg: alg.as_str().to_owned(),
        material,
        created_at: now,
        retired_at: None,
    }
}

fn random<const N: usize>() -> Result<[u8; N], NoKey> {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).map_err(|_| NoKey("the system gives no random bytes".to_owned()))?;
    Ok(bytes)
}
