//! Configuration: the only reader of files and environment.
//!
//! One TOML file, every key optional, and `BELLWIRE_…` variables laid over it (see `overlay`). A key that is not known
//! is refused, with the nearest known one: what is misspelt would else be ignored in silence.

mod channel_groups;
pub mod channels;
mod database;
mod fetch;
mod overlay;
mod preference_center;
pub mod project;
mod section;
pub mod workflows;

use std::collections::BTreeMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use crate::bus::Places;
use crate::model::channel_group::ChannelGroup;
use crate::model::environment::{ChannelSetup, Settings, Tracking};
use crate::model::invalid::join;
use crate::model::provider_app::App;
use crate::model::secret::Secret;
use crate::model::time::Time;
use crate::rules::preference;
use crate::store::Place;
use crate::verbs::catalog::TRIGGER_BYTES;
use channels::Declared;
use database::place;
pub use fetch::Fetch;
use section::{Reading, Section};
use workflows::Problem;

/// The environment that is there when none is configured.
pub const DEVELOPMENT: &str = "development";
/// Where the file is looked for when nobody says where it is.
const USUAL_FILE: &str = "config/bellwire.toml";
/// When the built-in channel was declared.
const BUILT_IN_AT: Time = Time::from_micros(1_767_225_600_000_000);
/// The shortest token that opens the figures.
const LEAST_TOKEN: usize = 16;
/// The shortest secret of a source.
const LEAST_SECRET: usize = 16;
/// Requests per second of each rate tier (F-RAT-01).
const TIERS: [u64; 5] = [1, 5, 60, 200, 1000];

/// Everything an operator decides.
#[derive(Debug)]
pub struct Config {
    pub server: Server,
    pub store: StorePlace,
    pub workflows: WorkflowsPlace,
    pub retention: Retention,
    pub limits: Limits,
    pub hub: Hub,
    pub bus: Bus,
    pub fetch: Fetch,
    pub metrics: Metrics,
    pub telemetry: Telemetry,
    pub log: Log,
    /// By slug.
    pub environments: BTreeMap<String, Settings>,
    pub channels: Vec<Declared>,
    pub channel_groups: Vec<ChannelGroup>,
}

/// `[server]`: where requests come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address under which clients reach the server, for links; none means that of `listen`.
    pub origin: Option<String>,
    /// The largest request body.
    pub max_body_bytes: u64,
    /// How long a request's head may take, and how long a connection may be idle.
    pub header_seconds: u64,
    /// How long a request's body may take.
    pub body_seconds: u64,
    /// Connections that are served at once; sockets do not count.
    pub connections: u64,
    /// Writes with a public key need a user token even where enhanced security is off (F-AMB-57).
    pub public_writes_need_token: bool,
    /// Connections that may wait to be accepted.
    pub backlog: u64,
    /// How long a stop may take.
    pub drain_seconds: u64,
    /// How long of it callers are still served while `/readyz` says that no more should be sent here.
    pub drain_notice_seconds: u64,
}

/// `[store]`: where rows are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorePlace {
    /// The database file of a node that is alone.
    pub path: PathBuf,
    /// The PostgreSQL database that several nodes share; none means the file.
    pub url: Option<Secret>,
    /// Connections to it at most.
    pub connections: u64,
    /// How long it may take to answer.
    pub timeout_seconds: u64,
    /// A file of certificates, as PEM, of which one must have signed the server's; none means those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// `[workflows]`: where workflows are read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowsPlace {
    /// Where nodes have them from.
    pub from: WorkflowsFrom,
    /// The directory.
    pub dir: PathBuf,
}

/// Where nodes have their workflows from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkflowsFrom {
    /// Each from its own directory.
    Files,
    /// All from the database, into which they are applied.
    Store,
}

impl std::str::FromStr for WorkflowsFrom {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "files" => Ok(WorkflowsFrom::Files),
            "store" => Ok(WorkflowsFrom::Store),
            _ => Err(()),
        }
    }
}

/// `[retention]`: how long records are kept (W-RUN-25).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Days after which runs that are over, and messages that stand in no feed, are forgotten; 0 keeps them.
    pub days: u64,
}

/// `[limits]`: how many requests are let through, and how much one of them may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    pub enabled: bool,
    /// Whether a batch may change the same message only once a second (F-RAT-04).
    pub dedupe: bool,
    /// Requests per second of the tiers 1 to 5 (F-RAT-01).
    pub tiers: [u64; 5],
    /// The most that one trigger may store: the bytes of its data, as often as it has recipients.
    pub trigger_bytes: u64,
}

/// `[hub]`: sockets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hub {
    /// Seconds of silence after which a client is pinged.
    pub ping_after_seconds: u64,
    /// Seconds of silence after which it is given up.
    pub close_after_seconds: u64,
    /// Sockets that are let in per second.
    pub accept_per_second: u64,
    /// Sockets that are let in at once after a pause.
    pub accept_burst: u64,
    /// Over how long the closes of many sockets are spread at a stop.
    pub drain_spread_seconds: u64,
}

/// `[metrics]`: figures for monitoring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metrics {
    pub enabled: bool,
    /// An address of their own, where `/healthz` and `/readyz` are answered too.
    pub listen: Option<SocketAddr>,
    /// What whoever asks must show; none means that only this machine is told.
    pub token: Option<Secret>,
}

/// `[bus]`: how nodes tell each other what changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bus {
    /// The Redis servers, or the Cluster; none means that there is one node.
    pub places: Places,
    /// What the names of all channels begin with.
    pub prefix: String,
    /// How often the database is looked through for changes of which a node did not hear.
    pub sweep_seconds: u64,
    /// How long a connection to a server may take.
    pub connect_seconds: u64,
    /// How long a server's answer may take.
    pub answer_seconds: u64,
    /// Events that may wait for one server.
    pub waiting_events: u64,
    /// The certificates, in PEM, of those who may vouch for a server with TLS; none means those of the system.
    pub authorities: Option<Vec<u8>>,
}

/// `[telemetry]`: spans for a collector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telemetry {
    /// Where the collector takes OTLP over HTTP; none means that no spans are sent.
    pub otlp_endpoint: Option<String>,
    /// Of a hundred requests and jobs, how many are followed.
    pub sample_percent: u64,
}

/// `[log]`: what is told to the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    /// A level, or a filter such as `info,bellwire::hub=debug`.
    pub level: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            _ => Err(()),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            server: Server {
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 4000)),
                origin: None,
                max_body_bytes: 10 << 20,
                header_seconds: 30,
                body_seconds: 30,
                connections: 10_000,
                public_writes_need_token: false,
                backlog: 4096,
                drain_seconds: 30,
                drain_notice_seconds: 0,
            },
            store: StorePlace {
                path: PathBuf::from("bellwire-data/bellwire.db"),
                url: None,
                connections: 12,
                timeout_seconds: 10,
                ca_file: None,
            },
            workflows: WorkflowsPlace { from: WorkflowsFrom::Files, dir: PathBuf::from("config/workflows") },
            retention: Retention { days: 90 },
            limits: Limits { enabled: true, dedupe: true, tiers: TIERS, trigger_bytes: TRIGGER_BYTES as u64 },
            hub: Hub {
                ping_after_seconds: 45,
                close_after_seconds: 75,
                accept_per_second: 10_000,
                accept_burst: 10_000,
                drain_spread_seconds: 10,
            },
            bus: Bus {
                places: Places::Here,
                prefix: "bellwire".to_owned(),
                sweep_seconds: 5,
                connect_seconds: 2,
                answer_seconds: 5,
                waiting_events: 10_000,
                authorities: None,
            },
            fetch: Fetch::default(),
            metrics: Metrics { enabled: true, listen: None, token: None },
            telemetry: Telemetry { otlp_endpoint: None, sample_percent: 100 },
            log: Log { format: LogFormat::Text, level: "info".to_owned() },
            environments: BTreeMap::from([(DEVELOPMENT.to_owned(), settings_with(Map::new(), Map::new()))]),
            channels: vec![Declared::built_in(BUILT_IN_AT)],
            channel_groups: Vec::new(),
        }
    }
}

impl Config {
    /// Reads the configuration: `file`, else the file that the environment names, else the usual one if it is there;
    /// and the environment's variables over it.
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    pub fn load(file: Option<&Path>) -> Result<Config, Vec<Problem>> {
        let named = file.map(Path::to_owned).or_else(|| std::env::var_os(overlay::FILE).map(PathBuf::from));
        // Variables that are not text cannot be ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())));
        match named {
            Some(file) => Config::read(&file, variables),
            None if Path::new(USUAL_FILE).exists() => Config::read(Path::new(USUAL_FILE), variables),
            None => Config::parse("", Path::new("the configuration"), BUILT_IN_AT, variables),
        }
    }

    /// Reads `file` with `variables` over it.
    pub fn read(file: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Config, Vec<Problem>> {
        let (text, changed_at) = text_of(file).map_err(|problem| vec![problem])?;
        Config::parse(&text, file, changed_at, variables)
    }

    /// Reads `text`, which stands in `file`, last changed at `changed_at`, with `variables` over it.
    pub fn parse(
        text: &str,
        file: &Path,
        changed_at: Time,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, Vec<Problem>> {
        let mut root = table(text, file).map_err(|problem| vec![problem])?;
        let variables = overlay::lay_over(&mut root, variables);
        let mut reading = Reading::new(file, variables);
        let config = Config::read_root(root, &mut reading, changed_at);
        if reading.problems.is_empty() { Ok(config) } else { Err(reading.problems) }
    }

    fn read_root(root: Map<String, Value>, reading: &mut Reading, changed_at: Time) -> Config {
        let mut config = Config::default();
        let mut root = reading.section(Some(Value::Object(root)), "");
        let mut take = |key: &'static str| root.take(key);
        let sections = [
            "server",
            "store",
            "workflows",
            "retention",
            "limits",
            "hub",
            "bus",
            "fetch",
            "metrics",
            "telemetry",
            "log",
        ]
        .map(&mut take);
        let [account, environments, channels, groups] =
            ["account", "environments", "channels", "channel_groups"].map(&mut take);
        root.finish();
        let [server, store, workflows, retention, limits, hub, bus, fetch, metrics, telemetry, log] = sections;
        config.server.read(reading.section(server, "server"));
        config.store.read(reading.section(store, "store"));
        config.workflows.read(reading.section(workflows, "workflows"));
        config.retention.read(reading.section(retention, "retention"));
        config.limits.read(reading.section(limits, "limits"));
        let names_spread = hub.as_ref().is_some_and(|hub| hub.get("drain_spread_seconds").is_some());
        config.hub.read(reading.section(hub, "hub"));
        config.fit_drain(names_spread, reading);
        config.bus.read(reading.section(bus, "bus"));
        config.fetch.read(reading.section(fetch, "fetch"));
        config.metrics.read(reading.section(metrics, "metrics"));
        config.telemetry.read(reading.section(telemetry, "telemetry"));
        config.log.read(reading.section(log, "log"));
        let account = Account::read(reading.section(account, "account"));
        config.environments = match environments {
            Some(environments) => read_environments(environments, &account, reading),
            None => BTreeMap::from([(DEVELOPMENT.to_owned(), settings_with(account.vars, account.secret_vars))]),
        };
        if let Some(channels) = channels {
            config.channels = channels::read(channels, &config.environments, reading, changed_at);
        }
        for (at, Declared { channel, environments }) in config.channels.iter().enumerate() {
            for (slug, table) in environments {
                let Some(settings) = config.environments.get_mut(slug) else { continue };
                let app = App::read(channel, table, &settings.all_vars).unwrap_or_else(|faults| {
                    let path = format!("channels[{at}].environments.{slug}");
                    faults.iter().for_each(|fault| reading.wrong(&join(&path, &fault.path), fault.message.as_str()));
                    None
                });
                let setup = ChannelSetup { app, ..ChannelSetup::read(channel, table) };
                settings.channels.insert(channel.key.clone(), setup);
            }
        }
        if let Some(groups) = groups {
            config.channel_groups = channel_groups::read(groups, &config.channels, reading);
        }
        config
    }

    /// What a stop consists of must fit into the time it may take; what nobody has set is made to fit.
    fn fit_drain(&mut self, names_spread: bool, reading: &mut Reading) {
        let (whole, notice) = (self.server.drain_seconds, self.server.drain_notice_seconds);
        if notice >= whole {
            let message = "must be less than drain_seconds: there has to be time left to stop in";
            return reading.wrong("server.drain_notice_seconds", message);
        }
        let most = (whole - notice) * 3 / 4;
        if names_spread && self.hub.drain_spread_seconds > most {
            let message = format!(
                "must be at most {most}: three quarters of drain_seconds of [server] less drain_notice_seconds"
            );
            reading.wrong("hub.drain_spread_seconds", message);
        }
        self.hub.drain_spread_seconds = self.hub.drain_spread_seconds.min(most);
    }

    /// The address under which clients reach a server that listens on `listening`.
    pub fn origin(&self, listening: SocketAddr) -> String {
        self.server.origin.clone().unwrap_or_else(|| format!("http://{listening}"))
    }
}

impl Server {
    fn read(&mut self, mut section: Section<'_>) {
        section.parsed("listen", "an address and a port, such as 127.0.0.1:4000", &mut self.listen);
        self.origin = section.origin("origin");
        section.number("max_body_bytes", 1024..=1 << 30, &mut self.max_body_bytes);
        section.number("header_seconds", 1..=3_600, &mut self.header_seconds);
        section.number("body_seconds", 1..=3_600, &mut self.body_seconds);
        section.number("connections", 1..=1_000_000, &mut self.connections);
        section.flag("public_writes_need_token", &mut self.public_writes_need_token);
        section.number("backlog", 1..=65_535, &mut self.backlog);
        section.number("drain_seconds", 1..=3_600, &mut self.drain_seconds);
        section.number("drain_notice_seconds", 0..=3_600, &mut self.drain_notice_seconds);
        section.finish();
    }
}

impl StorePlace {
    fn read(&mut self, mut section: Section<'_>) {
        match section.text("path") {
            Some(path) if path.is_empty() => section.wrong("path", "must be a path"),
            Some(path) => self.path = PathBuf::from(path),
            None => {}
        }
        self.url = section.text("url").filter(|url| !url.is_empty()).map(Secret::new);
        section.number("connections", 2..=1_000, &mut self.connections);
        section.number("timeout_seconds", 1..=300, &mut self.timeout_seconds);
        self.ca_file = section.text("ca_file").filter(|file| !file.is_empty()).map(PathBuf::from);
        if let Err(fault) = place(self) {
            section.wrong(fault.0, fault.1);
        }
        section.finish();
    }

    /// A PostgreSQL database at another address, with everything else as it is here.
    pub fn at(&self, url: &str) -> Result<Place, String> {
        let other = StorePlace { url: Some(Secret::new(url)), ..self.clone() };
        other.place()
    }

    /// Where the store is. What is wrong with its address was said when that was read; a file that it names may be gone
    /// since.
    pub fn place(&self) -> Result<Place, String> {
        place(self).map_err(|(key, message)| format!("`{key}` of [store] {message}."))
    }
}

impl WorkflowsPlace {
    fn read(&mut self, mut section: Section<'_>) {
        section.parsed("from", "files or store", &mut self.from);
        match section.text("dir") {
            Some(path) if path.is_empty() => section.wrong("dir", "must be a path"),
            Some(path) => self.dir = PathBuf::from(path),
            None => {}
        }
        section.finish();
    }
}

impl Retention {
    fn read(&mut self, mut section: Section<'_>) {
        section.number("days", 0..=36_500, &mut self.days);
        section.finish();
    }
}

impl Limits {
    fn read(&mut self, mut section: Section<'_>) {
        section.flag("enabled", &mut self.enabled);
        section.flag("dedupe", &mut self.dedupe);
        let keys = ["tier_1", "tier_2", "tier_3", "tier_4", "tier_5"];
        for (key, slot) in keys.into_iter().zip(&mut self.tiers) {
            section.number(key, 1..=1_000_000, slot);
        }
        section.number("trigger_bytes", 1024..=1 << 40, &mut self.trigger_bytes);
        section.finish();
    }
}

impl Hub {
    fn read(&mut self, mut section: Section<'_>) {
        section.number("ping_after_seconds", 5..=3_600, &mut self.ping_after_seconds);
        section.number("close_after_seconds", 10..=7_200, &mut self.close_after_seconds);
        if self.close_after_seconds <= self.ping_after_seconds {
            section
                .wrong("close_after_seconds", "must be more than ping_after_seconds: an answer to the ping takes time");
        }
        section.number("accept_per_second", 1..=1_000_000, &mut self.accept_per_second);
        section.number("accept_burst", 1..=1_000_000, &mut self.accept_burst);
        section.number("drain_spread_seconds", 0..=3_600, &mut self.drain_spread_seconds);
        section.finish();
    }
}

impl Metrics {
    fn read(&mut self, mut section: Section<'_>) {
        section.flag("enabled", &mut self.enabled);
        if let Some(listen) = section.text("listen").filter(|listen| !listen.is_empty()) {
            match listen.parse() {
                Ok(address) => self.listen = Some(address),
                Err(_) => section.wrong("listen", "must be an address and a port, such as 127.0.0.1:9464, or empty"),
            }
        }
        match section.text("token") {
            Some(token) if !token.is_empty() && token.len() < LEAST_TOKEN => {
                section
                    .wrong("token", format!("must have at least {LEAST_TOKEN} characters, so that nobody guesses it"));
            }
            Some(token) if !token.is_empty() => self.token = Some(Secret::new(token)),
            _ => {}
        }
        section.finish();
    }
}

impl Bus {
    fn read(&mut self, mut section: Section<'_>) {
        if let Some(urls) = section.list("urls") {
            match Places::parse(&urls) {
                Ok(places) => self.places = places,
                Err(what) => section.wrong("urls", what),
            }
        }
        if let Some(prefix) = section.text("prefix") {
            let is_plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.:".contains(&b);
            match !prefix.is_empty() && prefix.len() <= 64 && prefix.bytes().all(is_plain) {
                true => self.prefix = prefix,
                false => section.wrong("prefix", "must be 1 to 64 letters, digits, `_`, `-`, `.` or `:`"),
            }
        }
        section.number("sweep_seconds", 1..=3_600, &mut self.sweep_seconds);
        section.number("connect_seconds", 1..=60, &mut self.connect_seconds);
        section.number("answer_seconds", 1..=60, &mut self.answer_seconds);
        section.number("waiting_events", 1..=10_000_000, &mut self.waiting_events);
        if let Some(file) = section.text("ca_file").filter(|file| !file.is_empty()) {
            match fs::read(&file) {
                Ok(authorities) => self.authorities = Some(authorities),
                Err(error) => section.wrong("ca_file", format!("`{file}` can't be read: {error}")),
            }
        }
        section.finish();
    }
}

impl Telemetry {
    fn read(&mut self, mut section: Section<'_>) {
        if let Some(endpoint) = section.text("otlp_endpoint").filter(|endpoint| !endpoint.is_empty()) {
            let is_address = endpoint.strip_prefix("http://").is_some_and(|rest| !rest.is_empty());
            if !cfg!(feature = "otel") {
                let message = "this program was built without OpenTelemetry: build it with `--features otel`, or leave this empty";
                section.wrong("otlp_endpoint", message);
            } else if !is_address {
                let message = "must be like http://127.0.0.1:4318: a collector beside this node, which sees to TLS";
                section.wrong("otlp_endpoint", message);
            } else {
                self.otlp_endpoint = Some(endpoint);
            }
        }
        section.number("sample_percent", 1..=100, &mut self.sample_percent);
        section.finish();
    }
}

impl Log {
    fn read(&mut self, mut section: Section<'_>) {
        section.parsed("format", "text or json", &mut self.format);
        if let Some(level) = section.text("level") {
            match level.parse::<tracing_subscriber::EnvFilter>() {
                Ok(_) if !level.trim().is_empty() => self.level = level,
                _ => section.wrong(
                    "level",
                    "must be error, warn, info, debug or trace, or a filter such as info,bellwire::hub=debug",
                ),
            }
        }
        section.finish();
    }
}

/// `[account]`: what every environment has unless it says otherwise (W-ENV-16).
#[derive(Default)]
struct Account {
    vars: Map<String, Value>,
    secret_vars: Map<String, Value>,
}

impl Account {
    fn read(mut section: Section<'_>) -> Account {
        let (vars, secret_vars) = read_variables(&mut section);
        section.finish();
        Account { vars, secret_vars }
    }

    /// The variables of an environment which has these of its own.
    fn with(
        &self,
        section: &mut Section<'_>,
        vars: Map<String, Value>,
        secret_vars: Map<String, Value>,
    ) -> (Map<String, Value>, Map<String, Value>) {
        for name in vars.keys().filter(|name| self.secret_vars.contains_key(*name)) {
            section.wrong(
                "vars",
                format!("`{name}` stands in secret_vars of [account]: put it into secret_vars here, too"),
            );
        }
        let mut all = self.vars.clone();
        all.retain(|name, _| !secret_vars.contains_key(name));
        all.extend(vars);
        let mut secret = self.secret_vars.clone();
        secret.extend(secret_vars);
        (all, secret)
    }
}

/// The variables of a section: those that clients may see, and those that no client sees.
fn read_variables(section: &mut Section<'_>) -> (Map<String, Value>, Map<String, Value>) {
    let (vars, secret_vars) = (section.map("vars"), section.map("secret_vars"));
    for name in vars.keys().filter(|name| secret_vars.contains_key(*name)) {
        section.wrong("secret_vars", format!("`{name}` stands in vars too, where everybody sees it: keep one of them"));
    }
    (vars, secret_vars)
}

fn read_environments(value: Value, account: &Account, reading: &mut Reading) -> BTreeMap<String, Settings> {
    let Value::Object(tables) = value else {
        reading.wrong("environments", "must hold tables such as `[environments.production]`");
        return BTreeMap::new();
    };
    let mut environments = BTreeMap::new();
    for (slug, table) in tables {
        let path = format!("environments.{slug}");
        let is_word =
            !slug.is_empty() && slug.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !is_word {
            reading.wrong(&path, format!("`{slug}` can't be an environment's name: a-z, 0-9 and `-` are allowed"));
            continue;
        }
        let settings = read_environment(reading.section(Some(table), &path), account);
        environments.insert(slug, settings);
    }
    if environments.is_empty() {
        reading.wrong("environments", "must hold at least one environment, such as `[environments.production]`");
    }
    environments
}

fn read_environment(mut section: Section<'_>, account: &Account) -> Settings {
    let mut enhanced_security = false;
    section.flag("enhanced_security", &mut enhanced_security);
    let timezone = section.text("timezone").filter(|zone| !zone.is_empty());
    if let Some(zone) = &timezone
        && TimeZone::get(zone).is_err()
    {
        section.wrong("timezone", format!("`{zone}` is not a time zone: use a name such as Europe/Berlin"));
    }
    let (vars, secret_vars) = read_variables(&mut section);
    let (vars, secret_vars) = account.with(&mut section, vars, secret_vars);
    let mut source_secrets = BTreeMap::new();
    for (source, secret) in section.map("source_secrets") {
        match secret {
            Value::String(secret) if secret.split_whitespace().all(|one| one.len() >= LEAST_SECRET) => {
                drop(source_secrets.insert(source, secret));
            }
            Value::String(_) => {
                let message = format!(
                    "the secret of `{source}` must have at least {LEAST_SECRET} characters, so that nobody guesses it"
                );
                section.wrong("source_secrets", message);
            }
            _ => section.wrong("source_secrets", format!("the secret of `{source}` must be text in quotation marks")),
        }
    }
    let preferences = section.map("preferences");
    let mut faults = preference::check(&preferences, "preferences");
    faults.extend(preference::strangers(&preferences, "preferences"));
    for fault in faults {
        section.wrong(&fault.path, fault.message);
    }
    let preferences = (!preferences.is_empty()).then_some(Value::Object(preferences));
    let (center, path) = (section.take("preference_center"), section.at("preference_center"));
    let center = preference_center::read(section.reading.section(center, &path));
    let (tracking, path) = (section.take("tracking"), section.at("tracking"));
    let tracking = read_tracking(section.reading.section(tracking, &path));
    section.finish();
    let settings = settings_with(vars, secret_vars);
    Settings { enhanced_security, timezone, preferences, source_secrets, center, tracking, ..settings }
}

/// `[environments.*.tracking]`: under which addresses is noticed what recipients do (F-TRK-09).
fn read_tracking(mut section: Section<'_>) -> Tracking {
    let mut origin = |key| section.origin(key).unwrap_or_default();
    let tracking = Tracking { links: origin("links"), short_links: origin("short_links"), opens: origin("opens") };
    section.finish();
    tracking
}

/// Plain settings with these variables.
fn settings_with(vars: Map<String, Value>, secret_vars: Map<String, Value>) -> Settings {
    let all_vars = vars.iter().chain(&secret_vars).map(|(name, value)| (name.clone(), value.clone())).collect();
    Settings { vars, secret_vars, all_vars: Value::Object(all_vars), ..Settings::default() }
}

/// The text of `file`, and when it was last changed.
fn text_of(file: &Path) -> Result<(String, Time), Problem> {
    let text = fs::read_to_string(file).map_err(|error| Problem::new(file, "", format!("can't be read: {error}")))?;
    let changed = fs::metadata(file).and_then(|metadata| metadata.modified()).ok();
    let since = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let micros = since.and_then(|since| i64::try_from(since.as_micros()).ok());
    Ok((text, micros.map_or(BUILT_IN_AT, Time::from_micros)))
}

/// A TOML document as JSON.
fn table(text: &str, file: &Path) -> Result<Map<String, Value>, Problem> {
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
        Err(error) => {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            Err(Problem::new(file, "", format!("is no TOML: line {line}: {}", error.message())))
        }
    }
}

fn json(value: toml::Value) -> Value {
    match value {
        toml::Value::String(text) => Value::String(text),
        toml::Value::Integer(number) => number.into(),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(flag) => flag.into(),
        toml::Value::Datetime(at) => Value::String(at.to_string()),
        toml::Value::Array(items) => items.into_iter().map(json).collect(),
        toml::Value::Table(table) => Value::Object(table.into_iter().map(|(key, value)| (key, json(value))).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTED: &str = include_str!("../config/bellwire.toml");

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::parse(text, Path::new("b.toml"), BUILT_IN_AT, variables)
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_documented_configuration_is_the_default_one() {
        let read = read(DOCUMENTED, &[]).expect("a sound configuration");
        assert_eq!(format!("{read:#?}"), format!("{:#?}", Config::default()));
    }

    #[test]
    fn the_documented_configuration_names_every_key() {
        let root = table(DOCUMENTED, Path::new("b.toml")).expect("TOML");
        let mut reading = Reading::new(Path::new("b.toml"), BTreeMap::new());
        Config::read_root(root, &mut reading, BUILT_IN_AT);
        assert!(reading.asked.len() > 20);
        for path in &reading.asked {
            let key = path.rsplit('.').next().unwrap_or(path);
            let is_named = DOCUMENTED.lines().any(|line| {
                let line = line.trim_start_matches("# ");
                line.starts_with(&format!("{key} = "))
                    || line.trim_matches(['[', ']']).split('.').any(|part| part == key)
            });
            assert!(is_named, "config/bellwire.toml does not name `{path}`");
        }
    }

    #[test]
    fn an_unknown_key_suggests_the_nearest_one() {
        let said = read("[server]\nlisen = \"127.0.0.1:1\"\n[sevrer]\n", &[]).expect_err("two mistakes");
        assert_eq!(
            said,
            [
                "b.toml: sevrer: there is no key `sevrer`; did you mean `server`?",
                "b.toml: server.lisen: there is no key `lisen`; did you mean `listen`?",
            ]
        );
        let said = read("[log]\nzzzzzz = 1\n", &[]).expect_err("a mistake");
        assert_eq!(said, ["b.toml: log.zzzzzz: there is no key `zzzzzz`; known here are format, level"]);
    }

    #[test]
    fn what_is_no_part_of_a_preference_set_is_a_mistake_where_it_is_configured() {
        let text = "[environments.development.preferences]\nworkflow = { digest = false }\n";
        let said = read(text, &[]).expect_err("a mistake");
        let told = "preferences.workflow: is not part of a preference set (did you mean `workflows`?)";
        assert!(matches!(&said[..], [one] if one.ends_with(told)), "{said:?}");
    }

    #[test]
    fn variables_win_over_the_file_and_are_read_by_type() {
        let text = "[server]\nlisten = \"127.0.0.1:1\"\ndrain_seconds = 5\n";
        let variables = [
            ("BELLWIRE_SERVER_LISTEN", "0.0.0.0:80"),
            ("BELLWIRE_SERVER_MAX_BODY_BYTES", "2048"),
            ("BELLWIRE_LIMITS_ENABLED", "false"),
            ("BELLWIRE_ENVIRONMENTS_DEVELOPMENT_ENHANCED_SECURITY", "true"),
            ("BELLWIRE_ENVIRONMENTS_DEVELOPMENT_SECRET_VARS_TOKEN", "t"),
        ];
        let config = read(text, &variables).expect("a sound configuration");
        assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
        assert_eq!((config.server.max_body_bytes, config.server.drain_seconds), (2048, 5));
        assert!(!config.limits.enabled);
        let settings = &config.environments[DEVELOPMENT];
        assert!(settings.enhanced_security && settings.vars.is_empty());
        assert_eq!((&settings.secret_vars["token"], &settings.all_vars["token"]), (&"t".into(), &"t".into()));
    }

    #[test]
    fn variables_of_the_account_count_where_an_environment_has_none_of_that_name() {
        let text = r#"
            [account]
            vars = { brand = "Acme", colour = "red", key = "seen" }
            secret_vars = { token = "t", password = "p" }
            [environments.development]
            [environments.production]
            vars = { colour = "blue", host = "h" }
            secret_vars = { token = "u", key = "hidden" }
        "#;
        let variables = [("BELLWIRE_ACCOUNT_VARS_BRAND", "Other"), ("BELLWIRE_ACCOUNT_SECRET_VARS_PASSWORD", "q")];
        let config = read(text, &variables).expect("a sound configuration");
        let told = |slug: &str| {
            let Settings { vars, secret_vars, all_vars, .. } = &config.environments[slug];
            serde_json::json!([vars, secret_vars, all_vars])
        };
        let expected = serde_json::json!([
            {"brand": "Other", "colour": "red", "key": "seen"},
            {"token": "t", "password": "q"},
            {"brand": "Other", "colour": "red", "key": "seen", "token": "t", "password": "q"}
        ]);
        assert_eq!(told("development"), expected, "W-ENV-16");
        let expected = serde_json::json!([
            {"brand": "Other", "colour": "blue", "host": "h"},
            {"token": "u", "password": "q", "key": "hidden"},
            {"brand": "Other", "colour": "blue", "host": "h", "token": "u", "password": "q", "key": "hidden"}
        ]);
        assert_eq!(told("production"), expected, "W-ENV-16");
        let alone = read("[account]\nvars = { brand = \"Acme\" }\n", &[]).expect("a sound configuration");
        assert_eq!(alone.environments[DEVELOPMENT].vars["brand"], "Acme", "W-ENV-16");
        let shown = read("[account]\nsecret_vars = { a = 1 }\n[environments.x]\nvars = { a = 2 }\n", &[]);
        let said =
            "b.toml: environments.x.vars: `a` stands in secret_vars of [account]: put it into secret_vars here, too";
        assert_eq!(shown.expect_err("a secret that is shown"), [said]);
    }

    #[test]
    fn a_wrong_variable_is_named() {
        for (name, value, expected) in [
            (
                "BELLWIRE_SERVER_LISTEN",
                "4000",
                "the environment variable BELLWIRE_SERVER_LISTEN: server.listen: `4000` must be an address and a port, such as 127.0.0.1:4000",
            ),
            (
                "BELLWIRE_SERVER_LISTNE",
                "x",
                "the environment variable BELLWIRE_SERVER_LISTNE: server.listne: no setting is called `BELLWIRE_SERVER_LISTNE`; did you mean `BELLWIRE_SERVER_LISTEN`?",
            ),
            (
                "BELLWIRE_SEVER_LISTEN",
                "x",
                "the environment variable BELLWIRE_SEVER_LISTEN: sever.listen: no setting is called `BELLWIRE_SEVER_LISTEN`; did you mean `server`?",
            ),
        ] {
            assert_eq!(read("", &[(name, value)]).expect_err(name), [expected]);
        }
    }

    #[test]
    fn every_mistake_is_told_at_once_with_what_is_allowed() {
        let text = r#"
            [server]
            listen = "here"
            origin = "bell.example.com"
            max_body_bytes = "12"
            [limits]
            enabled = "yes"
            tier_5 = 0
            [log]
            format = "xml"
            [environments.Production]
            [environments.staging]
            timezone = "Mars/Base"
            vars = { a = 1 }
            secret_vars = { a = 2 }
        "#;
        let said = read(text, &[]).expect_err("mistakes");
        let starts = [
            "b.toml: server.listen: `here` must be an address",
            "b.toml: server.origin: must be like https://",
            "b.toml: server.max_body_bytes: must be a whole number from 1024",
            "b.toml: limits.enabled: must be true or false",
            "b.toml: limits.tier_5: must be a whole number from 1 to",
            "b.toml: log.format: `xml` must be text or json",
            "b.toml: environments.Production: `Production` can't be",
            "b.toml: environments.staging.timezone: `Mars/Base` is not a time zone",
            "b.toml: environments.staging.secret_vars: `a` stands in vars too",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (said, start) in said.iter().zip(starts) {
            assert!(said.starts_with(start), "{said}");
        }
    }

    #[test]
    fn servers_of_the_bus_are_a_list_and_a_variable_lists_them_too() {
        let places = |text: &str, variables: &[(&str, &str)]| {
            format!("{:?}", read(text, variables).expect("a sound configuration").bus.places)
        };
        let text = "[bus]\nurls = [\"redis://a\", \"rediss://u:p@b:1\"]\n";
        assert_eq!(places(text, &[]), "Servers([redis://a:6379, rediss://u@b:1])");
        let listed = [("BELLWIRE_BUS_URLS", "redis://c, redis://:x,y@d:2 redis://e")];
        assert_eq!(places(text, &listed), "Servers([redis://c:6379, redis://d:2, redis://e:6379])");
        let cluster = [("BELLWIRE_BUS_URLS", "redis+cluster://a:1,b:2")];
        assert_eq!(places("", &cluster), "Cluster([redis://a:1, redis://b:2])");
        assert_eq!(places(text, &[("BELLWIRE_BUS_URLS", "")]), "Here");
    }

    #[test]
    fn what_is_wrong_with_the_bus_names_the_key_and_no_password() {
        for (text, expected) in [
            ("urls = \"redis://a\"", "b.toml: bus.urls: must be a list of texts, such as [\"a\", \"b\"]"),
            ("urls = [\"redis://u:secret@a/1\"]", "b.toml: bus.urls: address 1 of 1 names a database"),
            ("prefix = \"a b\"", "b.toml: bus.prefix: must be 1 to 64 letters"),
            ("prefix = \"{a}\"", "b.toml: bus.prefix: must be 1 to 64 letters"),
            ("ca_file = \"/nowhere.pem\"", "b.toml: bus.ca_file: `/nowhere.pem` can't be read"),
            ("waiting_events = 0", "b.toml: bus.waiting_events: must be a whole number from 1"),
        ] {
            let said = read(&format!("[bus]\n{text}\n"), &[]).expect_err(text);
            assert!(said.len() == 1 && said[0].starts_with(expected) && !said[0].contains("secret"), "{said:?}");
        }
        let said = read("", &[("BELLWIRE_BUS_URLS", "http://u:secret@a")]).expect_err("a mistake");
        let expected = "the environment variable BELLWIRE_BUS_URLS: bus.urls: address 1 of 1 begins with none of";
        assert!(said[0].starts_with(expected) && !said[0].contains("secret"), "{said:?}");
    }

    #[test]
    fn a_stop_has_room_for_its_parts() {
        let said = |text| read(text, &[]).expect_err("it does not fit");
        let notice = "b.toml: server.drain_notice_seconds: must be less than drain_seconds";
        assert!(said("[server]\ndrain_seconds = 20\ndrain_notice_seconds = 20\n")[0].starts_with(notice));
        let spread = "b.toml: hub.drain_spread_seconds: must be at most 9: three quarters of drain_seconds";
        let short = "[server]\ndrain_seconds = 20\ndrain_notice_seconds = 8\n";
        assert!(said(&format!("{short}[hub]\ndrain_spread_seconds = 10\n"))[0].starts_with(spread));
        assert_eq!(read(short, &[]).expect("it is made to fit").hub.drain_spread_seconds, 9);
        let text = "[server]\ndrain_seconds = 20\ndrain_notice_seconds = 8\n[hub]\ndrain_spread_seconds = 9\n";
        assert_eq!(read(text, &[]).expect("it fits").hub.drain_spread_seconds, 9);
    }

    #[test]
    fn figures_are_not_opened_by_a_token_that_anybody_guesses() {
        let said = read("[metrics]\ntoken = \"secret\"\nlisten = \"9464\"\n", &[]).expect_err("two mistakes");
        assert!(said[0].starts_with("b.toml: metrics.listen: must be an address and a port"), "{said:?}");
        assert!(said[1].starts_with("b.toml: metrics.token: must have at least 16 characters"), "{said:?}");
    }

    #[test]
    fn spans_that_cannot_be_sent_are_refused() {
        let said = read("[telemetry]\notlp_endpoint = \"https://collector:4318\"\n", &[]).expect_err("a mistake");
        let start = match cfg!(feature = "otel") {
            true => "b.toml: telemetry.otlp_endpoint: must be like http://127.0.0.1:4318",
            false => "b.toml: telemetry.otlp_endpoint: this program was built without OpenTelemetry",
        };
        assert!(said[0].starts_with(start), "{said:?}");
    }

    #[test]
    fn no_secret_is_shown_with_the_configuration_nor_with_what_is_made_of_it() {
        let text = r#"
            [store]
            url = "postgres://u:geheim@h/d"
            [bus]
            urls = ["redis://u:geheim@h"]
            [metrics]
            token = "geheim-geheim-geheim"
            [environments.production]
            secret_vars = { TOKEN = "geheim" }
        "#;
        let config = read(text, &[]).expect("a sound configuration");
        let shown = format!("{config:?} {:?}", config.store.place().expect("a database"));
        assert!(!shown.contains("geheim") && shown.contains("TOKEN"), "{shown}");
        let telling = crate::http::Telling { token: config.metrics.token, ..Default::default() };
        assert!(!format!("{telling:?}").contains("geheim"));
        assert_eq!(telling.token.expect("a token").reveal(), "geheim-geheim-geheim");
    }

    #[test]
    fn broken_toml_is_named_with_its_line() {
        let said = read("[server]\nlisten = \n", &[]).expect_err("no TOML");
        assert!(said[0].starts_with("b.toml: is no TOML: line 2: "), "{said:?}");
    }
}
