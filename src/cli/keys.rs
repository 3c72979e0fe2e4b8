//! `bellwire keys`: API keys and signing keys of the environments.

use std::collections::BTreeSet;
use std::process::ExitCode;

use bellwire::app::keys::{Algorithm, SigningSecret, make_api_key, make_signing_key};
use bellwire::app::make_private;
use bellwire::clock::Clock;
use bellwire::config::DEVELOPMENT;
use bellwire::http::api;
use bellwire::model::recipient::tenant_id_fault;
use bellwire::model::time::Time;
use bellwire::sign::api_key::{Kind, digest};
use bellwire::sign::key_scope::{KeyScope, READ};
use bellwire::store::{self, Batch, Place, Store};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{Database, Failure, listed, say};

/// What the list calls keys that sign the links of pages. They are made when they are needed.
const PAGE: &str = "page";

#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a key. It is shown this once: the database keeps only what is needed to recognise it.
    Create(Create),
    /// List the keys, revoked ones included.
    List(List),
    /// Revoke a key: it counts no more, at once.
    Revoke(Revoke),
}

#[derive(Args)]
pub(super) struct Create {
    /// public: for browsers and apps; secret: for your servers; signing: signs user tokens.
    #[arg(long)]
    kind: KeyKind,
    /// The environment it belongs to.
    #[arg(long, default_value = DEVELOPMENT, value_name = "NAME")]
    env: String,
    /// What a signing key signs: JWTs with a shared secret, JWTs with an RSA key, or the bare HMAC of the user's id.
    #[arg(long, default_value = "hs256")]
    alg: Alg,
    /// What it is for, for the list of API keys.
    #[arg(long, default_value = "", hide_default_value = true)]
    name: String,
    /// What a secret key may do, by the ids of operations in /openapi.json, with commas between them; `read`: whatever
    /// changes nothing. Left out: everything.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    operations: Vec<String>,
    /// The tenants that a secret key is limited to, by their ids, with commas between them: see docs/extensions.md.
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    tenants: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

#[derive(Args)]
pub(super) struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    database: Database,
}

#[derive(Args)]
pub(super) struct Revoke {
    /// The key itself, its hint or the beginning of its digest as listed, or the kid of a key that signs.
    key: String,
    #[command(flatten)]
    database: Database,
}

#[derive(Clone, Copy, ValueEnum)]
enum KeyKind {
    Public,
    Secret,
    Signing,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Alg {
    Hs256,
    Rs256,
    Hmac,
}

impl From<Alg> for Algorithm {
    fn from(alg: Alg) -> Self {
        match alg {
            Alg::Hs256 => Algorithm::Hs256,
            Alg::Rs256 => Algorithm::Rs256,
            Alg::Hmac => Algorithm::Hmac,
        }
    }
}

pub(super) async fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Create(asked) => create(asked).await?,
        Command::List(asked) => list(&asked).await?,
        Command::Revoke(asked) => revoke(asked).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What the key is limited to.
fn scope(asked: &Create) -> Result<Option<KeyScope>, Failure> {
    let scope = KeyScope { operations: asked.operations.clone(), tenants: asked.tenants.clone() };
    if scope.is_unlimited() {
        return Ok(None);
    }
    if !matches!(asked.kind, KeyKind::Secret) {
        return Err(Failure(
            "Only secret keys can be limited: what a public key may do is said by user tokens.".into(),
        ));
    }
    let known: BTreeSet<&str> = api::routes().iter().map(|route| route.operation).collect();
    let is_unknown = |word: &&String| *word != READ && !known.contains(word.as_str());
    if let Some(unknown) = scope.operations.iter().find(is_unknown) {
        return Err(Failure(format!(
            "There is no operation `{unknown}`: /openapi.json has the ids of those that there are."
        )));
    }
    if let Some(fault) = scope.tenants.iter().find_map(|id| tenant_id_fault(id)) {
        return Err(Failure(format!("`--tenants`: {fault}.")));
    }
    Ok(Some(scope))
}

async fn create(asked: Create) -> Result<(), Failure> {
    let scope = scope(&asked)?;
    let config = asked.database.load()?;
    if !config.environments.contains_key(&asked.env) {
        let known: Vec<String> = config.environments.keys().cloned().collect();
        return Err(Failure(format!(
            "There is no environment `{}` in the configuration; there is {}. Add `[environments.{}]`, or choose another with `--env`.",
            asked.env,
            listed(&known),
            asked.env
        )));
    }
    let place = config.store.place().map_err(Failure)?;
    if let Place::File(path) = &place
        && let Some(directory) = path.parent()
    {
        make_private(directory).map_err(|error| Failure(format!("{} can't be made: {error}.", directory.display())))?;
    }
    let (store, now) = (Store::connect(&place).await?, Clock::system().now());
    let env = store.ensure_environment(&asked.env, now).await?.number;
    let mut batch = Batch::new();
    let shown = match asked.kind {
        KeyKind::Signing => {
            let key = make_signing_key(asked.alg.into(), env, now, &mut batch)?;
            store.apply(batch).await?;
            if asked.json { signing_json(&key).to_string() } else { signing_text(&key) }
        }
        KeyKind::Public | KeyKind::Secret => {
            let kind = if matches!(asked.kind, KeyKind::Public) { Kind::Public } else { Kind::Secret };
            let key = make_api_key(kind, env, &asked.name, scope, now, &mut batch)?;
            store.apply(batch).await?;
            if asked.json { json!({"key": key.reveal()}).to_string() } else { key.reveal().to_owned() }
        }
    };
    say(shown)
}

fn signing_json(key: &SigningSecret) -> Value {
    match &key.base64 {
        Some(base64) => {
            json!({"kid": key.kid, "alg": key.alg.as_str(), "private_key": key.secret, "private_key_base64": base64})
        }
        None => json!({"kid": key.kid, "alg": key.alg.as_str(), "secret": key.secret}),
    }
}

fn signing_text(key: &SigningSecret) -> String {
    match &key.base64 {
        Some(base64) => format!(
            "kid: {}\nalg: {}\n\n{}\nThe same in one line, as the SDKs read it (KNOCK_SIGNING_KEY):\n{base64}",
            key.kid,
            key.alg.as_str(),
            key.secret
        ),
        None => format!("kid:    {}\nalg:    {}\nsecret: {}", key.kid, key.alg.as_str(), key.secret),
    }
}

/// One line of the list.
struct Line {
    hint: String,
    digest: Option<String>,
    kind: String,
    env: String,
    name: String,
    created_at: Time,
    revoked_at: Option<Time>,
    scope: Option<KeyScope>,
}

async fn lines(store: &Store) -> Result<Vec<Line>, store::Error> {
    let environments = store.environments().await?;
    let slug = |env| environments.iter().find(|row| row.number == env).map(|row| row.slug.clone()).unwrap_or_default();
    let api_keys = store.api_keys().await?.into_iter().map(|key| Line {
        hint: key.hint,
        digest: Some(key.digest),
        kind: key.kind,
        env: slug(key.env),
        name: key.name,
        created_at: key.created_at,
        revoked_at: key.revoked_at,
        scope: key.scope,
    });
    let signing_keys = store.signing_keys().await?.into_iter().map(|key| Line {
        hint: key.kid,
        digest: None,
        kind: format!("signing {}", key.alg),
        env: slug(key.env),
        name: String::new(),
        created_at: key.created_at,
        revoked_at: key.retired_at,
        scope: None,
    });
    let page_keys = store.page_keys().await?.into_iter().map(|key| Line {
        hint: key.kid,
        digest: None,
        kind: PAGE.to_owned(),
        env: slug(key.env),
        name: String::new(),
        created_at: key.created_at,
        revoked_at: key.retired_at,
        scope: None,
    });
    Ok(api_keys.chain(signing_keys).chain(page_keys).collect())
}

async fn list(asked: &List) -> Result<(), Failure> {
    let lines = lines(&asked.database.open().await?).await?;
    if asked.json {
        let all: Vec<Value> = lines.iter().map(Line::to_json).collect();
        return say(Value::Array(all));
    }
    if lines.is_empty() {
        return say("There are no keys yet: make one with `bellwire keys create --kind secret`.");
    }
    let row = |cells: [&str; 6]| {
        let [key, kind, env, name, created, revoked] = cells;
        format!("{key:<16}  {kind:<15}  {env:<14}  {name:<20}  {created:<20}  {revoked}").trim_end().to_owned()
    };
    say(row(["KEY", "KIND", "ENVIRONMENT", "NAME", "CREATED", "REVOKED"]))?;
    for line in &lines {
        let hint = if line.digest.is_some() { format!("{}…", line.hint) } else { line.hint.clone() };
        let revoked = line.revoked_at.map(to_the_second).unwrap_or_default();
        let kind = if line.scope.is_some() { format!("{}, limited", line.kind) } else { line.kind.clone() };
        say(row([&hint, &kind, &line.env, &line.name, &to_the_second(line.created_at), &revoked]))?;
    }
    Ok(())
}

impl Line {
    fn to_json(&self) -> Value {
        json!({
            "hint": self.hint,
            "digest": self.digest,
            "kind": self.kind,
            "environment": self.env,
            "name": self.name,
            "created_at": self.created_at,
            "revoked_at": self.revoked_at,
            "scope": self.scope,
        })
    }
}

fn to_the_second(at: Time) -> String {
    let text = at.to_string();
    format!("{}Z", text.get(..19).unwrap_or(&text))
}

async fn revoke(asked: Revoke) -> Result<(), Failure> {
    let (store, now) = (asked.database.open().await?, Clock::system().now());
    let whole = digest(&asked.key);
    let is_meant = |line: &&Line| match &line.digest {
        // A few characters of a digest could mean any key.
        Some(digest) => {
            line.hint == asked.key || *digest == whole || (asked.key.len() >= 6 && digest.starts_with(&asked.key))
        }
        None => line.hint == asked.key,
    };
    let all = lines(&store).await?;
    let live: Vec<&Line> = all.iter().filter(is_meant).filter(|line| line.revoked_at.is_none()).collect();
    let found = match live.as_slice() {
        [found] => found,
        [] if all.iter().any(|line| is_meant(&line)) => {
            return Err(Failure(format!("The key `{}` is revoked already.", hidden(&asked.key))));
        }
        [] => {
            let key = hidden(&asked.key);
            return Err(Failure(format!("There is no key `{key}`: `bellwire keys list` shows those that are there.")));
        }
        several => {
            let digests: Vec<String> = several.iter().map(|line| line.digest.clone().unwrap_or_default()).collect();
            let several = several.len();
            return Err(Failure(format!("That fits {several} keys: name one by its digest: {}.", listed(&digests))));
        }
    };
    let mut batch = Batch::new();
    match &found.digest {
        Some(digest) => batch.revoke_api_key(digest, now),
        None if found.kind == PAGE => batch.retire_page_key(&found.hint, now),
        None => {
            let rows = store.signing_keys().await?;
            let env = rows.iter().find(|row| row.kid == found.hint).map(|row| row.env).unwrap_or_default();
            batch.retire_signing_key(env, &found.hint, now);
        }
    }
    store.apply(batch).await?;
    say(format!("Revoked the {} key {} of {}.", found.kind, found.hint, found.env))
}

/// A key is not repeated whole where logs may keep it.
fn hidden(key: &str) -> String {
    key.chars().take(10).collect()
}
