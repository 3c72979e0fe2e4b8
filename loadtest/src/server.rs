//! The server under test: its configuration, its keys, its start and end. All that is known of its command line is here.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::options::{Common, Join};
use crate::process::{Process, free_port};
use crate::swarm::Ticket;

pub(crate) const CHANNEL: &str = "8209f26c-62a5-461d-95e2-a5716a26e652";
pub(crate) const ENVIRONMENT: &str = "development";
/// What almost every trigger is for: one item.
pub(crate) const WORKFLOW: &str = "build-finished";
/// A branch, a batch of ten, a fetch, an item; and an item for whoever goes the other way.
pub(crate) const FIVE_STEPS: &str = "five-steps";
/// An item once the time has come that the trigger's data names.
pub(crate) const LATER: &str = "later";
/// Activities that close a batch of [`FIVE_STEPS`].
pub(crate) const BATCH: u32 = 10;
/// Long enough for the largest database a scenario leaves behind.
const START: Duration = Duration::from_secs(20);
/// The last second of the century: tokens outlive every run, and no clock is needed to mint them.
const EXPIRES: u64 = 4_102_444_799;

/// A running server with the keys to it. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Bellwire {
    /// The nodes; the first takes requests, the last is measured.
    nodes: Vec<(Process, SocketAddr)>,
    secret_key: String,
    public_key: String,
    signing: Signing,
    join: Join,
}

/// What nodes do, where there are several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Roles {
    /// The first takes the triggers, the others hold the sockets.
    Apart,
    /// All hold sockets, and run on the measured program's core.
    Equal,
}

/// The key user tokens are signed with.
#[derive(Debug)]
struct Signing {
    kid: String,
    secret: Vec<u8>,
}

impl Bellwire {
    /// Lays out a configuration in `room`, makes keys, starts the server and waits until it accepts connections.
    pub(crate) async fn start(common: &Common, room: &Path, join: Join, roles: Roles) -> Result<Bellwire> {
        if !common.server.exists() {
            bail!(
                "there is no server at {}: build it with `cargo build --release`, name it with --server, or pass --bare-only",
                common.server.display()
            );
        }
        if common.nodes > 1 && (common.store.is_none() || common.bus.is_none()) {
            bail!("several nodes share a database and a Redis: name them with --store and --bus");
        }
        let mut laid_out = Vec::new();
        for number in 0..common.nodes {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
            let home = room.join(format!("node-{number}"));
            fs::create_dir_all(&home)?;
            laid_out.push((lay_out(&home, address, common, roles)?, address));
        }
        let config = laid_out[0].0.clone();
        let key = |kind| create_key(&common.server, &config, kind);
        let (secret_key, public_key) = (text(&key("secret")?, "key")?, text(&key("public")?, "key")?);
        let signing = Signing::read(&key("signing")?)?;
        let mut nodes = Vec::new();
        for (number, (config, address)) in laid_out.into_iter().enumerate() {
            let log = room.join(format!("server-{number}.log"));
            let arguments = ["serve".as_ref(), "--config".as_ref(), config.as_os_str()];
            // Where there are several, the one that takes the triggers shares the client's core.
            let is_driver = common.nodes > 1 && number == 0 && roles == Roles::Apart;
            let place =
                if is_driver { Common { server_cpu: common.client_cpu, ..common.clone() } } else { common.clone() };
            let mut process = Process::start(&place, &common.server, &arguments, &log)?;
            await_start(&mut process, address)
                .await
                .with_context(|| format!("the server did not start; its log ends: {}", tail(&log)))?;
            nodes.push((process, address));
        }
        Ok(Bellwire { nodes, secret_key, public_key, signing, join })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.nodes.last().map_or(0, |(process, _)| process.pid())
    }

    /// Kills the last node outright, and gives back what is left of it.
    pub(crate) fn kill_last(&mut self) -> Option<Process> {
        let (mut process, _) = self.nodes.pop()?;
        process.kill();
        Some(process)
    }

    /// Where the nodes listen.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|(_, address)| *address).collect()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.nodes[0].1
    }

    /// The node that a user's sockets are on: one that takes no triggers, if there are several.
    pub(crate) fn node_of(&self, user: u32) -> SocketAddr {
        let holders = self.nodes.len().saturating_sub(1).max(1);
        self.nodes[self.nodes.len() - 1 - user as usize % holders].1
    }

    pub(crate) fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// The path of a client whose token is good and whose key is not.
    pub(crate) fn path_of_nobody(&self) -> String {
        self.path("pk_this-key-was-revoked-and-nobody-gets-in-by-it", 0)
    }

    fn path(&self, key: &str, user: u32) -> String {
        format!("/ws/v1/websocket?vsn=2.0.0&api_key={key}&user_token={}", self.signing.token(&name(user)))
    }

    /// By what a socket of `user` gets in: the public key and the user's own token.
    pub(crate) fn ticket(&self, user: u32) -> Ticket {
        let topic = format!("feeds:{CHANNEL}:{}", name(user));
        Ticket { user, path: self.path(&self.public_key, user), topic, join: self.join }
    }
}

/// The user's id.
pub(crate) fn name(user: u32) -> String {
    format!("u{user}")
}

/// Path of a workflow's trigger.
pub(crate) fn trigger_path(workflow: &str) -> String {
    format!("/v1/workflows/{workflow}/trigger")
}

/// Path of the newest page of a user's feed, with its counts.
pub(crate) fn feed_path(user: u32) -> String {
    format!("/v1/users/{}/feeds/{CHANNEL}?mode=compact&page_size=50", name(user))
}

impl Signing {
    fn read(created: &Value) -> Result<Signing> {
        let secret = text(created, "secret")?;
        let secret =
            URL_SAFE_NO_PAD.decode(secret.trim_end_matches('=')).context("the signing secret is not base64url")?;
        Ok(Signing { kid: text(created, "kid")?, secret })
    }

    /// A user token: an HS256 JWT for `user`.
    fn token(&self, user: &str) -> String {
        let head = json!({"alg": "HS256", "typ": "JWT", "kid": self.kid});
        let claims = json!({"sub": user, "iat": 0, "exp": EXPIRES});
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&head), part(&claims));
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("HMAC takes keys of every length");
        mac.update(signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }
}

/// Writes the configuration and the workflows; answers the configuration's path.
fn lay_out(room: &Path, address: SocketAddr, common: &Common, roles: Roles) -> Result<PathBuf> {
    let (workflows, path) = (room.join("workflows"), room.join("bellwire.toml"));
    let store = common.store.as_ref().map(|url| format!("url = {url:?}\n")).unwrap_or_default();
    let bus = common.bus.as_ref().map(|place| format!("urls = [\"redis://{place}\"]\n")).unwrap_or_default();
    // Where the rush itself is looked at, the server holds it back as it does by default.
    let hub = match roles {
        Roles::Apart => "[hub]\naccept_per_second = 1000000\naccept_burst = 1000000\n\n",
        Roles::Equal => "",
    };
    let config = format!(
        "[server]\nlisten = \"{address}\"\n\n[store]\npath = {:?}\n{store}\n[bus]\n{bus}\n[workflows]\ndir = {workflows:?}\n\n[fetch]\nprivate = true\n\n[limits]\nenabled = false\n\n\
         {hub}[environments.{ENVIRONMENT}]\n\n[[channels]]\nid = \"{CHANNEL}\"\nkey = \"in-app-feed\"\ntype = \"in_app_feed\"\n\
         name = \"Feed\"\n",
        room.join("bellwire.db"),
    );
    for (key, steps) in workflows_with_steps() {
        let workflow = json!({
            "name": key,
            "trigger_frequency": "every_trigger",
            "__readonly": {"key": key, "active": true, "valid": true},
            "steps": steps
        });
        let home = workflows.join(key);
        fs::create_dir_all(&home)?;
        fs::write(home.join("workflow.json"), serde_json::to_string_pretty(&workflow)?)?;
    }
    fs::write(&path, config)?;
    Ok(path)
}

fn workflows_with_steps() -> [(&'static str, Value); 3] {
    let item = |name: &str| {
        json!({
            "type": "channel", "ref": name, "channel_key": "in-app-feed", "channel_type": "in_app_feed",
            "template": {
                "markdown_body": "Build **finished**: every test passed, the package is ready to be tried",
                "action_url": "/builds/1734"
            }
        })
    };
    let gather = json!({
        "type": "batch", "ref": "batch_1",
        "settings": {"batch_window": {"unit": "hours", "value": 1}, "batch_items_max_limit": BATCH}
    });
    let fetch = json!({
        "type": "http_fetch", "ref": "http_fetch_1", "settings": {"method": "get", "url": "{{ data.from }}"}
    });
    let branch = json!({
        "type": "branch", "ref": "branch_1",
        "branches": [
            {"name": "Builds", "terminates": false, "steps": [gather, fetch, item("gathered")],
             "conditions": {"all": [{"variable": "data.build", "operator": "equal_to", "argument": "1734"}]}},
            {"name": "Default", "terminates": false, "steps": [item("else")]}
        ]
    });
    let pause = json!({"type": "delay", "ref": "delay_1", "settings": {"delay_until_field_path": "data.due"}});
    [
        (WORKFLOW, json!([item("in_app_feed_1")])),
        (FIVE_STEPS, json!([branch])),
        (LATER, json!([pause, item("in_app_feed_1")])),
    ]
}

/// Has the server's own command make a key, and answers the JSON it prints.
fn create_key(server: &Path, config: &Path, kind: &str) -> Result<Value> {
    let output = Command::new(server)
        .env_clear()
        .args(["keys", "create", "--config"])
        .arg(config)
        .args(["--env", ENVIRONMENT, "--kind", kind, "--json"])
        .output()
        .with_context(|| format!("cannot run {}", server.display()))?;
    if !output.status.success() {
        bail!("`keys create --kind {kind}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout).with_context(|| format!("`keys create --kind {kind}` printed no JSON"))
}

fn text(value: &Value, member: &str) -> Result<String> {
    Ok(value[member].as_str().with_context(|| format!("no `{member}` in {value}"))?.to_owned())
}

async fn await_start(process: &mut Process, address: SocketAddr) -> Result<()> {
    let began = Instant::now();
    loop {
        process.require_alive()?;
        match tokio::net::TcpStream::connect(address).await {
            Ok(_) => return Ok(()),
            Err(error) if began.elapsed() > START => {
                return Err(error).context(format!("nothing listens at {address}"));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_token_is_a_jwt_that_its_key_verifies() {
        let signing = Signing { kid: "k1".into(), secret: b"secret".to_vec() };
        let token = signing.token("u7");
        let [head, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
        let json = |part: &str| -> Value {
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64")).expect("json")
        };
        assert_eq!(json(head)["kid"], "k1");
        assert_eq!(json(claims)["sub"], "u7");
        let mut mac = Hmac::<Sha256>::new_from_slice(b"secret").expect("key");
        mac.update(format!("{head}.{claims}").as_bytes());
        mac.verify_slice(&URL_SAFE_NO_PAD.decode(signature).expect("base64")).expect("verifies");
    }
}
