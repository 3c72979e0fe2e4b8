//! How the node is, for those who watch over it: whether it is alive, whether it is ready, and its figures.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, StatusCode};
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

use super::Face;
use super::answer::Answer;
use super::error::ApiError;
use crate::bus::{BusStats, Health};
use crate::metrics::{BusReading, CONTENT_TYPE, Metrics};
use crate::model::secret::Secret;
use crate::store;

/// How long the database may take to answer: whoever asks whether the node is ready does not wait for ever.
const STORE_PATIENCE: Duration = Duration::from_secs(2);
/// Headers by which a proxy says that it asks for somebody else.
const FORWARDED: [&str; 5] = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];

/// Who is told the figures, and where.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Telling {
    /// Whether anybody is.
    pub is_on: bool,
    /// Only at the operators' own address.
    pub is_elsewhere: bool,
    /// Whoever shows this, instead of this machine alone.
    pub token: Option<Secret>,
}

/// Sets the figures that are only read when they are asked for, and that the face does not know itself.
pub type Measure = Box<dyn Fn(&Metrics) + Send + Sync>;

/// By which address a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The one for everybody.
    Callers,
    /// The operators' own, which answers about the node's health and nothing else.
    Operators,
}

/// From where a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) door: Door,
    pub(crate) peer: IpAddr,
}

/// The answer at a path of this room; none at any other.
pub(crate) async fn answer(
    face: &Arc<Face>,
    entry: Entry,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<Result<Answer, ApiError>> {
    let telling = &face.settings.telling;
    let answer = match path {
        "/healthz" => plain("ok"),
        "/readyz" => ready(face).await,
        "/metrics" if !telling.is_on || (telling.is_elsewhere && entry.door == Door::Callers) => return None,
        "/metrics" => match refusal(telling, entry, headers) {
            Some(refusal) => refusal,
            None => figures(face).await,
        },
        _ => return None,
    };
    match *method {
        Method::GET | Method::HEAD => Some(Ok(answer)),
        _ => Some(Err(ApiError::no_method("GET, OPTIONS"))),
    }
}

fn plain(text: &'static str) -> Answer {
    Answer::text(HeaderValue::from_static("text/plain; charset=utf-8"), text)
}

/// Ready means: not stopping, the database answers, and news between nodes passes.
async fn ready(face: &Arc<Face>) -> Answer {
    let is_draining = face.is_stopping.load(Ordering::Acquire);
    let (store, bus) = (store(face).await, bus(&face.core.bus.health()));
    let is_ready = !is_draining && store.is_ok() && bus.is_ok();
    let told = |part: Result<(), String>| part.err().unwrap_or_else(|| "ok".to_owned());
    let body = json!({"ready": is_ready, "draining": is_draining, "store": told(store), "bus": told(bus)});
    Answer::json(&body).status(if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE })
}

/// Whether the database answers. The sentence is for everybody; what happened is for the operator.
async fn store(face: &Arc<Face>) -> Result<(), String> {
    let core = Arc::clone(&face.core);
    match within(STORE_PATIENCE, &face.asking, async move { core.store.ping().await }).await {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => {
            warn!(%error, "the database failed when it was asked whether it is there");
            Err("the database fails".to_owned())
        }
        None => Err("the database does not answer".to_owned()),
    }
}

/// Whether the node hears itself through every server of the bus. Where these are is nobody's business.
fn bus(health: &Health) -> Result<(), String> {
    let deaf = health.lanes.iter().filter(|lane| !lane.is_hearing).count();
    match health.is_well() {
        true => Ok(()),
        false if deaf > 0 => {
            Err(format!("the node does not hear itself through {deaf} of {} servers", health.lanes.len()))
        }
        false => Err("some users have no server".to_owned()),
    }
}

/// What comes of `asking` within `patience`. It runs on a thread of its own, because a read may hold up the thread on which
/// it is made; and one at a time, so that a database that hangs does not take thread after thread.
async fn within<T: Send + 'static>(
    patience: Duration,
    turns: &Arc<Semaphore>,
    asking: impl Future<Output = Result<T, store::Error>> + Send + 'static,
) -> Option<Result<T, store::Error>> {
    let runtime = tokio::runtime::Handle::current();
    let asked = async {
        let turn = Arc::clone(turns).acquire_owned().await.ok()?;
        let answered = tokio::task::spawn_blocking(move || {
            let answer = runtime.block_on(asking);
            drop(turn);
            answer
        });
        answered.await.ok()
    };
    timeout(patience, asked).await.ok().flatten()
}

/// Why this caller is not told the figures.
fn refusal(telling: &Telling, entry: Entry, headers: &HeaderMap) -> Option<Answer> {
    match &telling.token {
        Some(token) if shows(headers, token) => None,
        Some(_) => {
            let refusal = plain("Show the token of [metrics]: `Authorization: Bearer <token>`.\n");
            Some(refusal.status(StatusCode::UNAUTHORIZED).with(WWW_AUTHENTICATE, "Bearer"))
        }
        None if entry.door == Door::Operators || is_of_this_machine(entry.peer, headers) => None,
        None => {
            let why = "Figures are told to this machine only: set `token` of [metrics], or have them at an address of their own (`listen` of [metrics]).\n";
            Some(plain(why).status(StatusCode::FORBIDDEN))
        }
    }
}

fn shows(headers: &HeaderMap, token: &Secret) -> bool {
    let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    shown.is_some_and(|shown| shown.trim().as_bytes().ct_eq(token.reveal().as_bytes()).into())
}

/// Whether somebody on this machine asks for himself: a proxy on this machine asks for the whole world, and says so, or
/// names the host that the world asked for.
fn is_of_this_machine(peer: IpAddr, headers: &HeaderMap) -> bool {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = if host.ends_with(']') { host } else { host.rsplit_once(':').map_or(host, |(name, _)| name) };
    peer.to_canonical().is_loopback()
        && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
        && !FORWARDED.iter().any(|name| headers.contains_key(*name))
}

/// Everything that is counted, as it is now.
async fn figures(face: &Arc<Face>) -> Answer {
    let metrics = &face.core.metrics;
    (face.measure)(metrics);
    let BusStats { published, received, dropped, reconnects, waiting, lag, .. } = face.core.bus.stats();
    let is_up = face.core.bus.health().is_well();
    metrics.bus.show(BusReading { published, received, dropped, reconnects, waiting, lag, is_up });
    let core = Arc::clone(&face.core);
    let backlog = within(STORE_PATIENCE, &face.asking, async move { core.store.job_backlog().await }).await;
    metrics.store.up.set(i64::from(matches!(backlog, Some(Ok(_)))));
    if let Some(Ok((jobs, oldest))) = backlog {
        let lag = oldest.map_or(0, |due_at| (face.core.clock.now().micros() - due_at.micros()).max(0));
        metrics.jobs.backlog.set(jobs);
        metrics.jobs.lag_seconds.set(Duration::from_micros(lag.unsigned_abs()).as_secs_f64());
    }
    Answer::text(HeaderValue::from_static(CONTENT_TYPE), metrics.text())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_database_that_hangs_is_waited_for_only_so_long_and_by_one_thread() {
        let (patience, turns) = (Duration::from_millis(50), Arc::new(Semaphore::new(1)));
        let (release, held) = std::sync::mpsc::channel::<()>();
        let hang = async move {
            // As a read does whose disk is gone: without giving way.
            let _ = held.recv();
            Ok(1)
        };
        assert!(within(patience, &turns, hang).await.is_none());
        assert!(within(patience, &turns, async { Ok(2) }).await.is_none(), "the first still holds its thread");
        drop(release);
        let answer = within(Duration::from_secs(30), &turns, async { Ok(3) }).await;
        assert!(matches!(answer, Some(Ok(3))));
    }

    #[test]
    fn only_this_machine_is_told_without_a_token_and_no_proxy_on_it() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let pairs = pairs
                .iter()
                .map(|(name, value)| (hyper::header::HeaderName::from_static(name), HeaderValue::from_static(value)));
            pairs.collect::<HeaderMap>()
        };
        let (here, mapped, away) = ("127.0.0.1", "::ffff:127.0.0.1", "192.0.2.1");
        let local = [("host", "127.0.0.1:4000")];
        for (peer, said, expected) in [
            (here, &local[..], true),
            (mapped, &local, true),
            ("::1", &[("host", "[::1]")], true),
            ("::1", &[("host", "[::1]:4000")], true),
            (here, &[("host", "localhost")], true),
            (away, &local, false),
            (here, &[("host", "bell.example.com")], false),
            (here, &[("host", "localhost"), ("x-forwarded-for", "192.0.2.1")], false),
            (here, &[("host", "localhost"), ("forwarded", "for=192.0.2.1")], false),
            (here, &[], false),
        ] {
            assert_eq!(is_of_this_machine(peer.parse().unwrap(), &headers(said)), expected, "{peer} {said:?}");
        }
    }
}
