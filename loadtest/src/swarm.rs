//! Many sockets at once, each a small task of one thread.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::machine;
use crate::options::Join;
use crate::progress::Progress;
use crate::socket::Socket;
use crate::target::Target;
use crate::watch::{Watch, histogram};

/// The size of the buffer that all sockets read into.
const SCRATCH: usize = 64 << 10;
/// A handshake that takes longer has failed.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How often the opening is looked after.
const CHECK: Duration = Duration::from_millis(2);
/// Heartbeats keep a socket from being taken for dead; phoenix.js sends one every 30 s.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Which sockets to open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// The first of the users.
    pub(crate) first: u32,
    pub(crate) users: u32,
    pub(crate) sockets_per_user: u32,
    pub(crate) concurrency: u32,
}

impl Plan {
    pub(crate) fn sockets(self) -> u32 {
        self.users.saturating_mul(self.sockets_per_user)
    }
}

/// Open, joined sockets. Dropping it closes them.
#[derive(Debug)]
pub(crate) struct Swarm {
    tasks: JoinSet<()>,
    pub(crate) watch: Rc<Watch>,
    /// From the first connect to the last join.
    pub(crate) elapsed: Duration,
    /// Each socket's way from connect to join.
    pub(crate) handshakes: Histogram<u64>,
}

/// What the socket tasks share while they open.
#[derive(Debug)]
struct Opening {
    watch: Rc<Watch>,
    scratch: RefCell<Vec<u8>>,
    permits: Semaphore,
    joined: Cell<u32>,
    handshakes: RefCell<Histogram<u64>>,
    failure: RefCell<Option<anyhow::Error>>,
}

impl Swarm {
    /// Opens the plan's sockets and waits until every one has joined its feed.
    pub(crate) async fn open(target: &Target, plan: Plan, progress: &Progress) -> Result<Swarm> {
        machine::require_files(plan.sockets())?;
        let opening = Rc::new(Opening::new(plan));
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for index in 0..plan.sockets() {
            let user = plan.first + index % plan.users;
            tasks.spawn_local(live(Rc::clone(&opening), target.door(user), index));
        }
        while opening.joined.get() < plan.sockets() {
            if let Some(failure) = opening.failure.take() {
                return Err(failure.context(format!("after {} sockets", opening.joined.get())));
            }
            progress.at(opening.joined.get().into());
            tokio::time::sleep(CHECK).await;
        }
        let handshakes = opening.handshakes.borrow().clone();
        Ok(Swarm { tasks, watch: Rc::clone(&opening.watch), elapsed: began.elapsed(), handshakes })
    }

    /// Fails when the server has closed sockets meanwhile: figures over fewer sockets would mislead.
    pub(crate) fn require_whole(&self) -> Result<()> {
        match self.watch.closed() {
            0 => Ok(()),
            closed => bail!("the server closed {closed} of {} sockets", self.tasks.len()),
        }
    }
}

impl Opening {
    fn new(plan: Plan) -> Opening {
        Opening {
            watch: Rc::new(Watch::new(plan.first + plan.users)),
            scratch: RefCell::new(vec![0; SCRATCH]),
            permits: Semaphore::new(plan.concurrency as usize),
            joined: Cell::default(),
            handshakes: RefCell::new(histogram()),
            failure: RefCell::default(),
        }
    }
}

/// By what one client gets in anywhere: the path it upgrades, the feed it joins, and as what.
#[derive(Debug)]
pub(crate) struct Ticket {
    pub(crate) user: u32,
    pub(crate) path: String,
    pub(crate) topic: String,
    pub(crate) join: Join,
}

impl Ticket {
    /// The way in at `address`, for one who has its feed up to version `since`.
    pub(crate) fn door(&self, address: SocketAddr, since: Option<i64>) -> Door {
        let payload = match self.join {
            Join::Bellwire => json!({"bellwire": {"since": since, "page_size": 1, "mode": "compact"}}),
            Join::Knock => json!({"client_loadtest-0000000000000": {"mode": "compact"}}),
        };
        let join = json!(["1", "1", self.topic, "phx_join", payload]).to_string();
        Door { address, user: self.user, path: self.path.clone(), join }
    }
}

/// How one socket gets in: the path it upgrades and what it then says.
#[derive(Debug)]
pub(crate) struct Door {
    pub(crate) address: SocketAddr,
    pub(crate) user: u32,
    pub(crate) path: String,
    pub(crate) join: String,
}

/// One socket's life: in through the door, then listening until it is aborted.
async fn live(opening: Rc<Opening>, door: Door, index: u32) {
    let user = door.user;
    let socket = match enter(&opening, door, index).await {
        Ok(socket) => socket,
        Err(error) => {
            opening.failure.replace(Some(error));
            return;
        }
    };
    opening.joined.set(opening.joined.get() + 1);
    listen(&opening, socket, user).await;
    opening.watch.close();
}

/// Connects, upgrades, joins.
async fn enter(opening: &Opening, door: Door, index: u32) -> Result<Socket> {
    let _permit = opening.permits.acquire().await?;
    let began = Instant::now();
    let socket = tokio::time::timeout(HANDSHAKE, join(opening, &door, index))
        .await
        .with_context(|| format!("socket {index} had no reply to its join in {HANDSHAKE:?}"))??;
    opening.handshakes.borrow_mut().saturating_record(u64::try_from(began.elapsed().as_micros())?);
    Ok(socket)
}

async fn join(opening: &Opening, door: &Door, index: u32) -> Result<Socket> {
    let mut socket = Socket::open(door.address, index, &door.path).await?;
    socket.send(&door.join).await?;
    let mut reply = None;
    while reply.is_none() {
        let open = socket
            .read(&opening.scratch, |text| match &reply {
                None => reply = Some(String::from_utf8_lossy(text).into_owned()),
                // What follows the reply may come with it.
                Some(_) => opening.watch.text(door.user, text),
            })
            .await?;
        if !open {
            bail!("the server closed instead of answering the join");
        }
    }
    match reply {
        Some(reply) if reply.contains(r#""status":"ok""#) => Ok(socket),
        reply => bail!("join refused: {}", reply.unwrap_or_default()),
    }
}

async fn listen(opening: &Opening, mut socket: Socket, user: u32) {
    // One timer per socket is the client's cost, not the server's; each begins when its socket did, so no beats coincide.
    let mut beat = tokio::time::interval_at(tokio::time::Instant::now() + HEARTBEAT, HEARTBEAT);
    loop {
        let open = tokio::select! {
            read = socket.read(&opening.scratch, |text| opening.watch.text(user, text)) => read.unwrap_or(false),
            _ = beat.tick() => socket.send(r#"[null,"9","phoenix","heartbeat",{}]"#).await.is_ok(),
        };
        if !open {
            return;
        }
    }
}
