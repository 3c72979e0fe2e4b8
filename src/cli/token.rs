//! `bellwire token`: user tokens for trying and testing.

use std::path::PathBuf;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bellwire::app::keys::Algorithm;
use bellwire::clock::Clock;
use bellwire::config::DEVELOPMENT;
use bellwire::sign::issue::{bare_token, sign_hs256, sign_rs256};
use bellwire::sign::key_ring::MIN_SECRET_BYTES;
use bellwire::wire::duration::Duration;
use clap::{Args, Subcommand};
use serde_json::{Map, Value, json};

use super::keys::Alg;
use super::{Database, Failure, environment, say};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Sign a token for a user, with a key of the environment or with one that you give.
    Sign(Sign),
}

#[derive(Args)]
pub(super) struct Sign {
    /// The user's id.
    #[arg(long, value_name = "ID")]
    user: String,
    /// How long it is good for, such as 15m, 1h or 7d; a bare HMAC never ends.
    #[arg(long, default_value = "1h", value_name = "TIME")]
    expires: String,
    /// The form of the token.
    #[arg(long, default_value = "hs256")]
    alg: Alg,
    /// The environment whose key signs it.
    #[arg(long, default_value = DEVELOPMENT, value_name = "NAME")]
    env: String,
    /// Sign with this secret (base64url, as `keys create` shows it) instead of one from the database.
    #[arg(long, value_name = "SECRET", conflicts_with = "private_key")]
    secret: Option<String>,
    /// The RSA private key for rs256: a file with its PEM, or the base64 of that.
    #[arg(long, value_name = "FILE")]
    private_key: Option<PathBuf>,
    /// The name of the key, written into the token.
    #[arg(long)]
    kid: Option<String>,
    /// Let the token do only this: ACTION@RESOURCE, such as user/feed_read@https://api.knock.app/v1/users/ann; may be repeated.
    #[arg(long = "grant", value_name = "GRANT")]
    grants: Vec<String>,
    #[command(flatten)]
    database: Database,
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    let Command::Sign(asked) = command;
    say(sign(&asked).await?)?;
    Ok(ExitCode::SUCCESS)
}

async fn sign(asked: &Sign) -> Result<String, Failure> {
    if asked.user.is_empty() {
        return Err(Failure("The user's id is empty: say for whom the token is (`--user`).".to_owned()));
    }
    match asked.alg {
        Alg::Rs256 => {
            let file = asked.private_key.as_ref().ok_or_else(|| {
                Failure("The server keeps no private keys: name the file of yours with `--private-key`.".to_owned())
            })?;
            let key = std::fs::read_to_string(file)
                .map_err(|error| Failure(format!("{} can't be read: {error}.", file.display())))?;
            Ok(sign_rs256(&claims(asked)?, &key, asked.kid.as_deref())?)
        }
        Alg::Hs256 => {
            let claims = claims(asked)?;
            let (secret, kid) = secret(asked).await?;
            Ok(sign_hs256(&claims, &secret, kid.as_deref()))
        }
        Alg::Hmac => Ok(bare_token(&asked.user, &secret(asked).await?.0)),
    }
}

fn claims(asked: &Sign) -> Result<Value, Failure> {
    let lasts = Duration::parse_short(&asked.expires).map_err(|message| Failure(format!("--expires: {message}.")))?;
    let now = Clock::system().now();
    let ends = lasts.after(now, &jiff::tz::TimeZone::UTC);
    let ends = ends.ok_or_else(|| Failure("--expires: that is too long.".to_owned()))?;
    let mut claims = json!({"sub": asked.user, "iat": now.micros() / 1_000_000, "exp": ends.micros() / 1_000_000});
    if !asked.grants.is_empty() {
        claims["explicit_grants"] = true.into();
        claims["grants"] = grants(&asked.grants)?;
    }
    Ok(claims)
}

/// `{"resource": {"action": [{}]}}`, as Knock's SDKs spell grants.
fn grants(asked: &[String]) -> Result<Value, Failure> {
    let mut resources = Map::new();
    for grant in asked {
        let Some((action, resource)) = grant.split_once('@') else {
            return Err(Failure(format!(
                "--grant: `{grant}` must be ACTION@RESOURCE, such as user/feed_read@https://api.knock.app/v1/users/ann."
            )));
        };
        let actions = resources.entry(resource).or_insert_with(|| json!({}));
        actions[action] = json!([{}]);
    }
    Ok(Value::Object(resources))
}

/// The shared secret to sign with, and its name.
async fn secret(asked: &Sign) -> Result<(Vec<u8>, Option<String>), Failure> {
    let alg = Algorithm::from(asked.alg).as_str();
    let (text, kid) = match &asked.secret {
        Some(secret) => (secret.clone(), asked.kid.clone()),
        None => {
            let store = asked.database.open().await?;
            let env = environment(&store, &asked.env).await?.number;
            let fits = |kid: &str| asked.kid.as_deref().is_none_or(|asked| asked == kid);
            let keys = store.signing_keys().await?;
            let live = keys
                .into_iter()
                .rev()
                .find(|key| key.env == env && key.alg == alg && key.retired_at.is_none() && fits(&key.kid));
            let key = live.ok_or_else(|| {
                Failure(format!(
                    "The environment `{}` has no such {alg} key: make one with `bellwire keys create --kind signing --alg {alg} --env {}`, or give one with `--secret`.",
                    asked.env, asked.env
                ))
            })?;
            (key.material, Some(key.kid))
        }
    };
    match URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('=')) {
        Ok(secret) if secret.len() >= MIN_SECRET_BYTES => Ok((secret, kid)),
        _ => Err(Failure(format!(
            "The secret must be the base64url of at least {MIN_SECRET_BYTES} bytes, as `keys create` shows it."
        ))),
    }
}
