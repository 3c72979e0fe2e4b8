//! Builds the parts from their configuration, starts them, drains them in reverse.

pub mod development;
mod faces;
mod follow;
pub mod keys;
pub mod pages;
pub mod plan;
mod process;
mod reload;
pub mod retention;
pub mod simulation;
mod sweep;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout_at;
use tracing::{error, info, warn};

use crate::bus::{self, Bus};
use crate::clock::Clock;
use crate::config::channels::Declared;
use crate::config::project;
use crate::config::workflows::{self, Problem};
use crate::config::{Config, DEVELOPMENT, WorkflowsFrom, WorkflowsPlace};
use crate::engine::work::{abandon, is_joint, work, work_together};
use crate::hub::Registry;
use crate::metrics::Metrics;
use crate::model::channel::ChannelKind;
use crate::model::channel_group::ChannelGroup;
use crate::model::environment::Environment;
use crate::model::workflow::Workflow;
use crate::outside::{self, Outside};
use crate::queue::{self, Queue, WORKERS, Waker};
use crate::store::jobs::Line;
use crate::store::{self, Batch, Place, Store};
use crate::verbs::turns::Turns;
use crate::verbs::{Catalog, Core, door};
use development::Identity;
use faces::{Faces, Listeners};
use pages::{Demo, Pages};

/// How often what has run out is swept away.
const HOUSEKEEPING: Duration = Duration::from_secs(60 * 60);

/// How long a stop waits for news that other nodes have not been told yet.
const LAST_NEWS: Duration = Duration::from_secs(1);
/// What of the time that a stop may take is kept for its last steps.
const LAST_STEPS: Duration = Duration::from_secs(1);

/// Why the server did not start, as sentences that say what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration or the workflows are wrong.
    #[error("{}", lines(.0))]
    Problems(Vec<Problem>),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Keys could not be made.
    #[error(transparent)]
    NoKey(#[from] keys::NoKey),
    /// A server of the bus lets nobody in.
    #[error(transparent)]
    Bus(#[from] bus::Refused),
    /// Anything else, said.
    #[error("{0}")]
    Said(String),
}

impl StartError {
    fn file(file: &Path, what: &str, error: &std::io::Error) -> Self {
        StartError::Said(format!("{} {what}: {error}.", file.display()))
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

/// How the server is meant to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// For real.
    Serve,
    /// On a developer's machine: keys are made and shown, a page is there to try it, changed workflows are read at once.
    Development,
}

/// A running server.
pub struct App {
    core: Arc<Core>,
    address: SocketAddr,
    origin: String,
    identity: Option<Identity>,
    faces: Faces,
    stop: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    /// How long callers are served after `/readyz` has said that no more should come.
    notice: Duration,
    /// How long a stop may take, with that.
    patience: Duration,
    /// Held as long as the database file is in use.
    _lock: Option<File>,
}

impl App {
    /// Starts everything; when this returns, requests are answered.
    pub async fn start(mut config: Config, mode: Mode) -> Result<App, StartError> {
        say_unsupported(&config.channels);
        let listener = bind(config.server.listen, config.server.backlog, "`listen` of [server], or `dev --port`")?;
        let operators = match config.metrics.listen.filter(|_| config.metrics.enabled) {
            Some(address) => Some(bind(address, config.server.backlog, "`listen` of [metrics]")?),
            None => None,
        };
        let address = listener.local_addr().map_err(|error| StartError::Said(format!("no address: {error}")))?;
        let origin = config.origin(address);
        let place = config.store.place().map_err(StartError::Said)?;
        let lock = match &place {
            Place::File(path) => Some(prepare(path)?),
            Place::Postgres(_) => None,
        };
        let store = Store::connect(&place).await?;
        let clock = clock(&store).await?;
        if lock.is_some() {
            // Nobody else uses the database: claims that are there are of a process that died.
            store.release_claims(clock.now()).await?;
        }
        let environments = environments(&store, &config, &clock).await?;
        let source = follow::Source::new(&config.workflows, mode)?;
        let channels = std::mem::take(&mut config.channels);
        let trigger_bytes = usize::try_from(config.limits.trigger_bytes).unwrap_or(usize::MAX);
        let groups = std::mem::take(&mut config.channel_groups);
        let catalog = catalog(environments, channels, groups, &config.workflows)?;
        let catalog = catalog.with_trigger_bytes(trigger_bytes).at(&origin);
        let outside = way_out(&config, mode);
        let registry = Registry::new();
        let bus = Bus::start(faces::bus_settings(&config), registry.clone()).await?;
        let core = Arc::new(Core {
            bus,
            waker: Waker::default(),
            outside: Outside::new(outside),
            rings: door::Rings::default(),
            turns: Turns::default(),
            sightings: Default::default(),
            metrics: Metrics::new(),
            store,
            clock,
            catalog,
        });
        core.store.measure(&core.metrics.store);
        let of_other_type = core.audiences_of_other_type(&core.catalog.audiences()).await?;
        if !of_other_type.is_empty() {
            let said: Vec<String> = of_other_type.iter().map(|key| reload::other_type(key)).collect();
            return Err(StartError::Said(said.join("\n")));
        }
        follow::begin(&core).await?;
        core.publish_audiences().await?;
        core.declare_guides(&core.catalog.guides()).await?;
        let identity = match mode {
            Mode::Serve => None,
            Mode::Development => Some(identify(&core, &config.store.path).await?),
        };
        let demo = identity.clone().and_then(|identity| demo(&core, identity, &origin));
        let pages = Pages::new(Arc::clone(&core), demo);
        let (stop, stopped) = watch::channel(false);
        let faces = Faces::start(&core, registry.clone(), pages, Listeners { callers: listener, operators }, &config);
        let calls = usize::try_from(config.fetch.at_once).unwrap_or(WORKERS);
        let mut workers = vec![
            spawn_queue(&core, Line::Own, WORKERS, stopped.clone()),
            spawn_queue(&core, Line::Calls, calls, stopped.clone()),
            tokio::spawn(keep_house(Arc::clone(&core), stopped.clone())),
            tokio::spawn(retention::keep(Arc::clone(&core), config.retention.days, stopped.clone())),
            tokio::spawn(source.run(Arc::clone(&core), stopped.clone())),
        ];
        let every = Duration::from_secs(config.bus.sweep_seconds);
        workers.push(tokio::spawn(follow::keep_up(Arc::clone(&core), every, stopped.clone())));
        if core.store.is_shared() {
            workers.push(tokio::spawn(sweep::sweep(Arc::clone(&core), registry, every, stopped)));
        }
        say_alone(&core);
        reload::say_unprovable(&core);
        let patience = Duration::from_secs(config.server.drain_seconds);
        // A developer has no load balancer.
        let notice = if mode == Mode::Serve { config.server.drain_notice_seconds } else { 0 };
        let notice = Duration::from_secs(notice);
        Ok(App { core, address, origin, identity, faces, stop, workers, notice, patience, _lock: lock })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address under which clients reach it.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// What every verb works with.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// The workflows of development mode.
    pub fn workflows(&self) -> Vec<Arc<Workflow>> {
        let environments = self.core.catalog.environments();
        let own = environments.iter().find(|environment| environment.slug == DEVELOPMENT);
        own.map(|own| self.core.catalog.workflows(own.number)).unwrap_or_default()
    }

    /// The keys of development mode.
    pub fn identity(&self) -> Option<&Identity> {
        self.identity.as_ref()
    }

    /// Stops: says so to load balancers, takes no more callers, tells sockets to come back elsewhere, finishes what has
    /// begun, closes the store. At once when idle and no notice is to be given, and never later than the configuration
    /// allows; true when nothing was cut off.
    pub async fn drain(self) -> bool {
        let App { core, mut faces, stop, workers, notice, patience, _lock: lock, .. } = self;
        let begun = tokio::time::Instant::now();
        let last_steps = LAST_STEPS.min(patience / 4);
        let deadline = begun + patience - last_steps;
        let finish = async {
            faces.drain(notice, patience - notice).await;
            stop.send_replace(true);
            for worker in workers {
                if let Err(fault) = worker.await {
                    error!(error = %fault, "a worker failed while stopping");
                }
            }
        };
        let mut in_time = timeout_at(deadline, finish).await.is_ok();
        drop(faces);
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        core.bus.flush(LAST_NEWS.min(left.max(LAST_STEPS / 4))).await;
        // The last handle waits for the writer, which a disk may hold up: nothing acknowledged is lost.
        match timeout_at(deadline + last_steps / 2, tokio::task::spawn_blocking(move || drop(core))).await {
            Ok(_) => drop(lock),
            Err(_) => {
                in_time = false;
                // The writer may still write: nobody else is let at the database before this process is gone.
                std::mem::forget(lock);
            }
        }
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        match in_time {
            true => info!(duration_ms, "stopped"),
            false => {
                warn!(duration_ms, "stopped; what was still under way was cut off, and its jobs will be taken up again")
            }
        }
        in_time
    }
}

/// The clock to go by: nodes that share a database go by its clock, which the sweep keeps right.
pub async fn clock(store: &Store) -> Result<Clock, store::Error> {
    if store.is_shared() { Ok(Clock::kept(store.time().await?)) } else { Ok(Clock::system()) }
}

/// The catalog, with the workflows, audiences, sources, caps and guides if they are files.
fn catalog(
    environments: Vec<Environment>,
    channels: Vec<Declared>,
    groups: Vec<ChannelGroup>,
    place: &WorkflowsPlace,
) -> Result<Catalog, StartError> {
    let channels: Vec<_> = channels.into_iter().map(|declared| declared.channel).collect();
    if place.from == WorkflowsFrom::Store {
        let catalog = Catalog::new(environments, channels, Vec::new());
        return Ok(catalog.with_channel_groups(groups).following_store());
    }
    let dir = &place.dir;
    let project = project::load(dir, &channels).map_err(StartError::Problems)?;
    for problem in workflows::doubts(dir, &project.workflows, &channels, &groups) {
        warn!("{problem}");
    }
    let catalog = Catalog::new(environments, channels, project.workflows).with_channel_groups(groups);
    catalog.replace_audiences(project.audiences);
    catalog.replace_sources(project.sources);
    catalog.replace_caps(project.caps);
    catalog.replace_guides(project.guides);
    Ok(catalog)
}

/// The configured environments with their numbers, made where they are new.
async fn environments(store: &Store, config: &Config, clock: &Clock) -> Result<Vec<Environment>, StartError> {
    let mut environments = Vec::new();
    for (slug, settings) in &config.environments {
        let row = store.ensure_environment(slug, clock.now()).await?;
        environments.push(Environment { number: row.number, id: row.id, slug: row.slug, settings: settings.clone() });
    }
    Ok(environments)
}

async fn identify(core: &Core, database: &Path) -> Result<Identity, StartError> {
    let Some(environment) = core.catalog.environments().iter().find(|environment| environment.slug == DEVELOPMENT)
    else {
        let message =
            format!("Development mode needs an environment `{DEVELOPMENT}`: add `[environments.{DEVELOPMENT}]`.");
        return Err(StartError::Said(message));
    };
    let home = directory(database);
    make_private(home).map_err(|error| StartError::file(home, "can't be made", &error))?;
    development::introduce(core, environment.number).await?;
    Identity::ensure(home, &core.store, environment.number, core.clock.now()).await
}

/// Where steps may fetch from. A developer's own servers are private ones.
fn way_out(config: &Config, mode: Mode) -> outside::Settings {
    let mut settings = config.fetch.settings();
    settings.policy.private |= mode == Mode::Development;
    settings
}

fn demo(core: &Core, identity: Identity, origin: &str) -> Option<Demo> {
    let environment = core.catalog.environments().iter().find(|environment| environment.slug == DEVELOPMENT)?;
    let feed = core.catalog.channels().iter().find(|channel| channel.kind == ChannelKind::InAppFeed);
    Some(Demo {
        identity,
        env: environment.number,
        channel: feed.map(|channel| channel.id.to_string()),
        origin: origin.to_owned(),
    })
}

/// Says which channels are declared and cannot deliver yet: their steps are skipped.
fn say_unsupported(channels: &[Declared]) {
    for Declared { channel, .. } in channels {
        let (key, kind) = (channel.key.as_str(), channel.kind);
        if !matches!(kind, ChannelKind::InAppFeed | ChannelKind::InAppGuide) {
            warn!(
                channel.key = key,
                "channel `{key}` is of type {kind}, which this version does not deliver: steps on it are skipped"
            );
        }
    }
}

/// Says when nodes would share the one thing and not the other.
fn say_alone(core: &Core) {
    match (core.store.is_shared(), core.bus.has_others()) {
        (true, false) => warn!(
            "the database is shared, and `urls` of [bus] names no server: sockets hear of other nodes' changes with the sweep only"
        ),
        (false, true) => {
            warn!("`urls` of [bus] joins nodes, and the database is a file of this one's: set `url` of [store]");
        }
        _ => {}
    }
}

fn spawn_queue(core: &Arc<Core>, line: Line, workers: usize, stopped: watch::Receiver<bool>) -> JoinHandle<()> {
    let caller = Arc::clone(core);
    let queue = Queue {
        store: core.store.clone(),
        clock: core.clock.clone(),
        waker: core.waker.clone(),
        metrics: core.metrics.jobs.clone(),
        line,
        workers,
        is_joint,
        call: move || caller.bus.call(),
    };
    let (worker, leader, closer) = (Arc::clone(core), Arc::clone(core), Arc::clone(core));
    let work = move |job| {
        let core = Arc::clone(&worker);
        async move { work(&core, &job).await }
    };
    let together = move |jobs| {
        let core = Arc::clone(&leader);
        async move { work_together(&core, jobs).await }
    };
    let abandon = move |job, why: String| {
        let core = Arc::clone(&closer);
        async move { abandon(&core, &job, &why).await }
    };
    tokio::spawn(queue::run(queue, stopped, work, together, abandon))
}

/// Sweeps away what has run out, until it is time to stop.
async fn keep_house(core: Arc<Core>, mut stopped: watch::Receiver<bool>) {
    let mut hours = tokio::time::interval(HOUSEKEEPING);
    loop {
        tokio::select! {
            _ = hours.tick() => {}
            _ = stopped.changed() => return,
        }
        let mut batch = Batch::new();
        batch.forget_answers(core.clock.now());
        batch.forget_throttles(core.clock.now());
        batch.forget_caps(core.clock.now());
        batch.forget_batches(core.clock.now());
        batch.forget_removals();
        if let Err(fault) = core.store.apply(batch).await {
            error!(error = %fault, "old idempotency keys, throttles, caps, empty batches and removals could not be forgotten; the next try is in an hour");
        }
    }
}

/// Listens on `address`, which is `key` of the configuration.
fn bind(address: SocketAddr, backlog: u64, key: &str) -> Result<TcpListener, StartError> {
    let listen = || -> std::io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    listen().map_err(|error| {
        StartError::Said(match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                format!("{address} is in use by another program: stop it, or listen elsewhere ({key}).")
            }
            std::io::ErrorKind::PermissionDenied => {
                format!("{address} may not be listened on by this user: choose a port above 1023 ({key}).")
            }
            _ => format!("{address} can't be listened on: {error}. Change {key}."),
        })
    })
}

/// Makes the database's directory, and makes sure that no other server uses the same database.
pub fn prepare(database: &Path) -> Result<File, StartError> {
    let directory = directory(database);
    make_private(directory).map_err(|error| StartError::file(directory, "can't be made", &error))?;
    let path = PathBuf::from(format!("{}.lock", database.display()));
    let fail = |error: std::io::Error| StartError::file(&path, "can't be locked", &error);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path).map_err(fail)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => Err(StartError::Said(format!(
            "The database {} is in use by another server: stop that one, or use another file (`path` of [store], or `dev --data`).",
            database.display()
        ))),
        Err(fs::TryLockError::Error(error)) => Err(fail(error)),
    }
}

/// Makes `directory` with what is above it, for this user alone; one that is there stays as it is.
pub fn make_private(directory: &Path) -> std::io::Result<()> {
    if directory.as_os_str().is_empty() || directory.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// The directory in which `file` stands.
fn directory(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_in_development_may_steps_reach_what_is_not_public() {
        let config = Config::default();
        assert!(!way_out(&config, Mode::Serve).policy.private);
        assert!(way_out(&config, Mode::Development).policy.private);
    }
}
