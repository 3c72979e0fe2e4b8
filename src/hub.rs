//! The socket face: lets clients in, keeps each conversation, and ends them all when the node stops.
//!
//! | closed with | because | then |
//! |---|---|---|
//! | 1002, 1007, 1009 | the client broke the WebSocket protocol, or sent too much at once | dial again |
//! | 1008 | its API key was revoked | don't: the key is refused from now on, with 403 |
//! | 1011 | it sent a frame that Phoenix does not know either | dial again |
//! | 1012 | the node stops | dial again |
//! | 4001 | its user token has run out, or the key that signed it was retired | dial again with a new token |
//!
//! One who comes while too many others do, or while the node stops, is refused with 503 and told when to come again.
//!
//! Never 1000, after which official clients stay away (F-SOC-23). They dial again after any other, and wait longer
//! each time they are refused.

pub mod registry;

mod acts;
mod channels;
mod frames;
mod gate;
mod house;
mod outbox;
mod passes;
mod session;
mod socket;
mod topic;

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    CONNECTION, HeaderMap, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::{debug, error, warn};

use crate::model::feed::Filter;
use crate::model::guide::Guides;
use crate::model::time::Time;
use crate::sign::api_key::{ApiKey, Kind};
use crate::verbs::Shared;
use crate::verbs::door::{Admitted, Barred};
use crate::wire::phoenix::Vsn;
use crate::wire::query::Query;

use channels::guides::Showing;
use gate::Gate;
use outbox::{End, Fault, Link, Silence};
use passes::{Passes, Standing};
use session::Session;
use socket::{MOST_INCOMING, Socket, Talk};

pub use registry::Registry;

/// The node stops; clients come back to another.
const RESTARTS: u16 = 1012;
/// A frame could not be read, as in Phoenix.
const MALFORMED: u16 = 1011;
/// The user token has run out (F-AMB-52), or the key that signed it was retired: a new one is let in.
const TOKEN_ENDED: u16 = 4001;
/// The API key was revoked: nobody is let in with it any more.
const REVOKED: u16 = 1008;
/// Parts into which open sockets are split, so that the sweep holds no lock for long.
const SHARDS: usize = 64;
/// Sockets that are closed at once when the node stops; more are closed little by little.
const AT_ONCE: usize = 64;
/// How long dropped sockets have to be gone.
const LAST_TURNS: Duration = Duration::from_secs(1);
/// Parts of the sweep between two looks at which keys are still live.
const INSPECTED_EVERY: usize = SHARDS / 4;
/// Parts of the sweep between two looks at which bursts of changes are over.
const BURSTS_ENDED_EVERY: usize = SHARDS / 16;
/// How often it is written down who has come and gone.
const SIGHTINGS_WRITTEN_EVERY: Duration = Duration::from_secs(5);
#[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
/// Bytes that the kernel keeps for a client beyond what is on its way.
const UNSENT: u32 = 64 * 1024;
/// The largest message that the echo takes, for the test suite of the protocol.
const MOST_ECHOED: usize = 16 * 1024 * 1024;

/// How sockets are looked after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Seconds of silence after which a client is pinged.
    pub ping_after_seconds: i64,
    /// Seconds of silence after which it is given up.
    pub close_after_seconds: i64,
    /// How long a sweep over all sockets takes; it never rests, so that a wave of connects is no wave of pings.
    pub sweep: Duration,
    /// Sockets that are let in per second, and at once after a pause.
    pub accept_per_second: u32,
    pub accept_burst: u32,
    /// Over how long the closes of many sockets are spread when the node stops.
    pub drain_spread: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            ping_after_seconds: 45,
            close_after_seconds: 75,
            sweep: Duration::from_secs(4),
            accept_per_second: 10_000,
            accept_burst: 10_000,
            drain_spread: Duration::from_secs(10),
        }
    }
}

/// Some of the open sockets, by number.
type Shard = Mutex<HashMap<u64, Arc<Link>>>;

/// All sockets of this node; clones share them.
#[derive(Clone)]
pub struct Hub {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    core: Shared,
    registry: Registry,
    settings: Settings,
    /// The filter that filters nothing, shared by most joins.
    plain: Arc<Filter>,
    links: Box<[Shard]>,
    passes: Passes,
    gate: Gate,
    next_id: AtomicU64,
    open: AtomicUsize,
    is_draining: AtomicBool,
    emptied: Notify,
}

impl Hub {
    /// A hub for `core`, whose bus must tell `registry` of every change. Its sweep runs on the current runtime for as
    /// long as the hub lives.
    pub fn new(core: Shared, registry: Registry, settings: Settings) -> Self {
        let house = Arc::downgrade(&core);
        registry.settle(house);
        registry.pass(core.clock.steady());
        let begun_at = core.clock.now();
        let inner = Arc::new(Inner {
            core,
            registry,
            settings,
            plain: Arc::new(Filter::default()),
            links: (0..SHARDS).map(|_| Mutex::default()).collect(),
            passes: Passes::default(),
            gate: Gate::new(settings.accept_per_second, settings.accept_burst),
            next_id: AtomicU64::new(0),
            open: AtomicUsize::new(0),
            is_draining: AtomicBool::new(false),
            emptied: Notify::new(),
        });
        tokio::spawn(sweep(Arc::downgrade(&inner), settings.sweep));
        tokio::spawn(write_sightings(Arc::downgrade(&inner)));
        tokio::spawn(tell_of_guides(Arc::downgrade(&inner), inner.core.catalog.guides_to_come(), begun_at));
        Hub { inner }
    }

    /// Sockets that are open.
    pub fn sockets(&self) -> usize {
        self.inner.sockets()
    }

    /// Judges the upgrade of a request; a good one is answered 101, and its socket served by a task of its own.
    /// Bad keys and tokens are refused before the upgrade, with 403 and an empty body: a connection that opens and
    /// closes would reset every client's patience (socket.md 3.1).
    pub async fn upgrade(&self, mut request: Request<Incoming>) -> Response<Full<Bytes>> {
        let Some(accept) = accepted_key(&request) else { return self.inner.refuse(Refusal::Malformed) };
        if self.inner.is_draining.load(Ordering::Acquire) {
            return self.inner.refuse(Refusal::Draining);
        }
        if !self.inner.gate.enter(self.inner.core.clock.now()) {
            return self.inner.refuse(Refusal::Storm);
        }
        let (vsn, admitted) = match self.inner.admit(request.uri().query().unwrap_or_default()).await {
            Ok(admitted) => admitted,
            Err(refusal) => {
                self.inner.gate.give_back();
                return self.inner.refuse(refusal);
            }
        };
        let upgraded = hyper::upgrade::on(&mut request);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            match upgraded.await {
                Ok(upgraded) => inner.open(upgraded, vsn, admitted),
                Err(error) => debug!(%error, "an upgrade was not completed"),
            }
        });
        let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        response
    }

    /// Closes every socket with 1012 and lets no more in. When there are many, each is closed at a moment of its own, so
    /// that their clients don't all come back in the same instant. Those still open `within` that time are dropped.
    pub async fn drain(&self, within: Duration) {
        self.inner.is_draining.store(true, Ordering::Release);
        let deadline = tokio::time::Instant::now() + within;
        let spread = self.inner.settings.drain_spread.min(within * 3 / 4);
        tokio::select! {
            () = self.inner.say_farewell(if self.sockets() > AT_ONCE { spread } else { Duration::ZERO }) => {}
            () = self.inner.is_empty() => return,
        }
        if tokio::time::timeout_at(deadline, self.inner.is_empty()).await.is_err() {
            for shard in &self.inner.links {
                self.inner.links_of(shard).iter().for_each(|link| link.end(End::Drop(Fault::Unanswered)));
            }
            // Dropping takes a turn of each task, no client's help.
            _ = tokio::time::timeout(LAST_TURNS, self.inner.is_empty()).await;
        }
    }

    /// Writes down who was seen last, once all are gone.
    pub async fn write_sightings(&self) {
        self.inner.write_sightings().await;
    }
}

/// Why a socket is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// The request asks for no socket.
    Malformed,
    /// The key or the token does not do.
    Key,
    /// More come in at once than are let in.
    Storm,
    Draining,
    /// The keys could not be read.
    Store,
}

impl Inner {
    /// Who connects, and in which serializer they speak; else why not.
    async fn admit(&self, query: &str) -> Result<(Vsn, Admitted), Refusal> {
        let query = Query::parse(query).map_err(|_| Refusal::Key)?;
        let vsn = Vsn::parse(query.get("vsn")).ok_or(Refusal::Key)?;
        let key = ApiKey::parse(query.get("api_key").unwrap_or_default()).map_err(|_| Refusal::Key)?;
        if key.kind() == Kind::Secret {
            // Secret keys don't belong into addresses (F-AMB-52).
            return Err(Refusal::Key);
        }
        match self.core.admit(&key, query.get("user_token"), query.get("user_id")).await {
            Ok(admitted) => Ok((vsn, admitted)),
            Err(Barred::Refused(refusal)) => {
                debug!(code = refusal.code.as_str(), "refused a socket");
                Err(Refusal::Key)
            }
            Err(Barred::Store(error)) => {
                error!(%error, "the keys could not be read for a socket");
                Err(Refusal::Store)
            }
        }
    }

    fn sockets(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// The answer that refuses a socket. Whoever may come again is told when: all together would be too many again.
    fn refuse(&self, refusal: Refusal) -> Response<Full<Bytes>> {
        let (reason, status) = match refusal {
            Refusal::Malformed => ("malformed", StatusCode::BAD_REQUEST),
            Refusal::Key => ("key", StatusCode::FORBIDDEN),
            Refusal::Storm => ("storm", StatusCode::SERVICE_UNAVAILABLE),
            Refusal::Draining => ("draining", StatusCode::SERVICE_UNAVAILABLE),
            Refusal::Store => ("store", StatusCode::SERVICE_UNAVAILABLE),
        };
        self.core.metrics.hub.refused(reason);
        let mut response = empty(status);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let number = self.next_id.fetch_add(1, Ordering::Relaxed);
            let seconds = self.gate.retry_after(number, self.sockets());
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }

    /// Closes all who are there with 1012, each at a moment of its own within `spread`.
    async fn say_farewell(&self, spread: Duration) {
        let dice = RandomState::new();
        let mut leaving: Vec<(Duration, Arc<Link>)> = Vec::with_capacity(self.sockets());
        for link in self.links.iter().flat_map(|shard| self.links_of(shard)) {
            let share = dice.hash_one(link.id) as f64 / u64::MAX as f64;
            leaving.push((spread.mul_f64(share), link));
        }
        leaving.sort_unstable_by_key(|(after, _)| *after);
        let begun = tokio::time::Instant::now();
        for (after, link) in leaving {
            if after > begun.elapsed() {
                tokio::time::sleep_until(begun + after).await;
            }
            link.end(End::Close(RESTARTS));
        }
    }

    /// Takes the connection over from HTTP.
    fn open(self: Arc<Self>, upgraded: hyper::upgrade::Upgraded, vsn: Vsn, admitted: Admitted) {
        let parts = match upgraded.downcast::<TokioIo<TcpStream>>() {
            Ok(parts) => parts,
            Err(_) => return error!("a socket came over a transport that the hub does not know"),
        };
        // A copy: what hyper has read may pin a buffer much larger than this.
        let part = parts.read_buf.to_vec();
        drop(parts.read_buf);
        let stream = parts.io.into_inner();
        if let Err(error) = tune(&stream) {
            debug!(%error, "a socket was gone before it was served");
            return;
        }
        let now = self.core.clock.steady();
        let Admitted { caller, pass } = admitted;
        let ends_at = caller.claims.as_ref().and_then(|claims| claims.ends_at());
        let link = self.welcome(vsn, self.passes.standing(pass), ends_at, now);
        let session = Session::new(vsn, Arc::new(caller));
        let talk = Talk::Feeds { hub: self, session, acts: Default::default() };
        tokio::spawn(Socket::new(stream, part, link, talk, MOST_INCOMING));
    }

    fn welcome(&self, vsn: Vsn, standing: Arc<Standing>, ends_at: Option<Time>, now: Time) -> Arc<Link> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let link = Arc::new(Link::new(id, vsn, standing, ends_at, now));
        self.open.fetch_add(1, Ordering::AcqRel);
        self.core.metrics.hub.sockets.inc();
        self.core.metrics.hub.opened.inc();
        let mut shard = self.shard(id).lock().unwrap_or_else(PoisonError::into_inner);
        shard.insert(id, Arc::clone(&link));
        drop(shard);
        if self.is_draining.load(Ordering::Acquire) {
            // It came in while the others were being sent away.
            link.end(End::Close(RESTARTS));
        }
        link
    }

    /// Lets go of a socket that has ended for `reason`.
    fn forget(&self, link: &Link, reason: &'static str) {
        self.core.metrics.hub.sockets.dec();
        self.core.metrics.hub.closed(reason);
        let mut shard = self.shard(link.id).lock().unwrap_or_else(PoisonError::into_inner);
        shard.remove(&link.id);
        drop(shard);
        if self.open.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.emptied.notify_waiters();
        }
    }

    fn shard(&self, id: u64) -> &Shard {
        &self.links[(id % SHARDS as u64) as usize]
    }

    fn links_of(&self, shard: &Shard) -> Vec<Arc<Link>> {
        shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    async fn is_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

    async fn write_sightings(&self) {
        if let Err(error) = self.core.write_sightings().await {
            warn!(%error, "it could not be written down who was online; it is tried again in a moment");
        }
    }

    async fn inspect_passes(&self) {
        if let Err(error) = self.passes.inspect(async || self.core.live_keys().await).await {
            error!(%error, "the keys could not be read to see which sockets must end; they are read again in a moment");
        }
    }

    fn nudge(&self, shard: &Shard) {
        let (now, steady) = (self.core.clock.now(), self.core.clock.steady());
        let Settings { ping_after_seconds, close_after_seconds, .. } = self.settings;
        let silence = Silence { ping_after: ping_after_seconds, close_after: close_after_seconds };
        self.links_of(shard).iter().for_each(|link| link.nudge(now, steady, silence));
    }
}

/// Looks after one part of the sockets after the other, for as long as there is a hub.
async fn sweep(inner: Weak<Inner>, period: Duration) {
    let mut ticks = tokio::time::interval(period / SHARDS as u32);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for part in (0..SHARDS).cycle() {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        let now = inner.core.clock.steady();
        inner.registry.pass(now);
        if part % BURSTS_ENDED_EVERY == 0 {
            inner.registry.end_bursts(now);
        }
        if part % INSPECTED_EVERY == 0 {
            inner.inspect_passes().await;
            inner.registry.gallery().woken.notify_one();
        }
        inner.nudge(&inner.links[part]);
    }
}

/// Writes down now and then who has come and gone, for as long as there is a hub.
async fn write_sightings(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(SIGHTINGS_WRITTEN_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        inner.write_sightings().await;
    }
}

/// Tells whoever listens of guides that are different, for as long as there is a hub: their files have changed, or the
/// time of one has come or passed. Whoever a step has brought to one is told of that.
async fn tell_of_guides(inner: Weak<Inner>, mut guides: watch::Receiver<Arc<Guides>>, begun_at: Time) {
    let mut before = Showing { guides: Arc::clone(&guides.borrow_and_update()), at: begun_at };
    loop {
        // The sweep only sees to it that a clock which is set, or has stood still with its machine, delays nothing.
        let (turn, registry) = match inner.upgrade() {
            Some(inner) => (until_turn(&before, inner.core.clock.now()), inner.registry.clone()),
            None => return,
        };
        tokio::select! {
            changed = guides.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(turn.unwrap_or_default()), if turn.is_some() => {}
            () = registry.gallery().woken.notified() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        let after = Showing { guides: Arc::clone(&guides.borrow_and_update()), at: inner.core.clock.now() };
        inner.registry.gallery().tell(&inner.core, &before, &after).await;
        before = after;
        inner.registry.gallery().settle(&inner.core).await;
    }
}

/// How long it is, as of `now`, until guides are shown otherwise than they were; none if they will never be by themselves.
fn until_turn(before: &Showing, now: Time) -> Option<Duration> {
    let turn = before.guides.turn_after(before.at)?;
    Some(Duration::from_micros(turn.micros().saturating_sub(now.micros()).max(0).unsigned_abs()))
}

/// Sends every message back, over the same machinery as a client's socket: for the protocol's test suite.
pub async fn echo(stream: TcpStream, part: Vec<u8>, now: Time) {
    let link = Arc::new(Link::new(0, Vsn::V2, Arc::default(), None, now));
    Socket::new(stream, part, link, Talk::Echo, MOST_ECHOED).await;
}

/// What a slow client does not take waits in its outbox, where it is bounded, and not in megabytes of the kernel's. That
/// frames go out at once is for the listener to see to.
fn tune(stream: &TcpStream) -> std::io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    socket2::SockRef::from(stream).set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

/// What one who is closed with `code` is told beside it.
fn reason(code: u16) -> &'static str {
    match code {
        REVOKED => "The API key was revoked.",
        TOKEN_ENDED => "The user token is no longer good: come back with a new one.",
        RESTARTS => "The server restarts.",
        MALFORMED => "That was not a frame.",
        _ => "",
    }
}

/// The answer to the key of a request that asks for a socket; none if it does not (RFC 6455, 4.2.1).
fn accepted_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let is_socket = request.method() == Method::GET
        && request.version() >= Version::HTTP_11
        && says(headers, UPGRADE.as_str(), "websocket")
        && says(headers, CONNECTION.as_str(), "upgrade")
        && says(headers, SEC_WEBSOCKET_VERSION.as_str(), "13");
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|_| is_socket)?;
    // A key is 16 bytes in base64 (RFC 6455, 4.1).
    STANDARD.decode(key.as_bytes()).ok().filter(|nonce| nonce.len() == 16)?;
    HeaderValue::try_from(derive_accept_key(key.as_bytes())).ok()
}

/// Whether the list in a header holds the word.
fn says(headers: &HeaderMap, name: &str, word: &str) -> bool {
    let lists = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|found| found.trim().eq_ignore_ascii_case(word))
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests;
