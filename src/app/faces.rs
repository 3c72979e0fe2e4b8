//! Glues the faces to the rest: requests and sockets come in by one port.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::error;

use super::pages::Pages;
use super::process;
use crate::bus;
use crate::config::Config;
use crate::http::limits::Limits;
use crate::http::{self, Body, Face, Front, Fronted, Measure, Telling};
use crate::hub::{self, Hub, Registry};
use crate::metrics::Metrics;
use crate::model::time::Time;
use crate::verbs::Core;

/// The most that is read of what is sent to a page.
const PAGE_BODY_BYTES: usize = 256 * 1024;
/// How long it may take to come.
const PAGE_BODY_TIME: Duration = Duration::from_secs(10);

/// How nodes are joined.
pub(super) fn bus_settings(config: &Config) -> bus::Settings {
    let bus = &config.bus;
    bus::Settings {
        places: bus.places.clone(),
        prefix: bus.prefix.clone(),
        connect_within: Duration::from_secs(bus.connect_seconds),
        answer_within: Duration::from_secs(bus.answer_seconds),
        waiting_events: fitting(bus.waiting_events),
        authorities: bus.authorities.clone(),
        ..bus::Settings::default()
    }
}

/// Where requests come in.
pub(super) struct Listeners {
    pub(super) callers: TcpListener,
    /// The operators' own address.
    pub(super) operators: Option<TcpListener>,
}

/// Everything that answers callers.
pub(super) struct Faces {
    hub: Hub,
    face: Arc<Face>,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
    /// Never said: operators are answered until it is dropped.
    _stop_operators: watch::Sender<bool>,
}

impl Faces {
    /// Begins to answer.
    pub(super) fn start(
        core: &Arc<Core>,
        registry: Registry,
        pages: Pages,
        listeners: Listeners,
        config: &Config,
    ) -> Faces {
        let (stop, stopped) = watch::channel(false);
        let (stop_operators, operators_stopped) = watch::channel(false);
        let measure = measure(registry.clone(), core.clock.now());
        let hub = Hub::new(Arc::clone(core), registry, hub_settings(config));
        let sockets = hub.clone();
        let upgrade: http::Upgrade = Box::new(move |request| {
            let sockets = sockets.clone();
            Box::pin(async move { sockets.upgrade(request).await })
        });
        let face = Face::new(Arc::clone(core), settings(config), upgrade, Vec::new());
        let face = Arc::new(face.behind(front(pages)).measured(measure));
        let server = tokio::spawn(http::serve(listeners.callers, Arc::clone(&face), stopped));
        if let Some(listener) = listeners.operators {
            tokio::spawn(http::serve_operators(listener, Arc::clone(&face), operators_stopped));
        }
        Faces { hub, face, stop, server, _stop_operators: stop_operators }
    }

    /// Says for as long as `notice` that nobody should be sent here any more. Then takes no more callers, sends the sockets
    /// away, and finishes with the requests that are there, within `patience`. Operators are answered until this is dropped.
    pub(super) async fn drain(&mut self, notice: Duration, patience: Duration) {
        self.face.stop();
        tokio::time::sleep(notice).await;
        self.stop.send_replace(true);
        let ((), served) = tokio::join!(self.hub.drain(most_of(patience)), &mut self.server);
        if let Err(fault) = served {
            error!(error = %fault, "the server failed while stopping");
        }
        // Whoever was here until now.
        _ = tokio::time::timeout(LAST_SIGHTINGS, self.hub.write_sightings()).await;
    }
}

/// How long it may take to write down who was here last.
const LAST_SIGHTINGS: Duration = Duration::from_secs(2);

/// What is measured of the node besides what is counted.
fn measure(registry: Registry, started_at: Time) -> Measure {
    Box::new(move |metrics: &Metrics| {
        metrics.hub.topics.set(i64::try_from(registry.topics()).unwrap_or(i64::MAX));
        metrics.process.start_time_seconds.set(Duration::from_micros(started_at.micros().unsigned_abs()).as_secs_f64());
        process::measure(&metrics.process);
    })
}

fn hub_settings(config: &Config) -> hub::Settings {
    let seconds = |number| i64::try_from(number).unwrap_or(i64::MAX);
    hub::Settings {
        ping_after_seconds: seconds(config.hub.ping_after_seconds),
        close_after_seconds: seconds(config.hub.close_after_seconds),
        accept_per_second: rate(config.hub.accept_per_second),
        accept_burst: rate(config.hub.accept_burst),
        drain_spread: Duration::from_secs(config.hub.drain_spread_seconds),
        ..hub::Settings::default()
    }
}

fn settings(config: &Config) -> http::Settings {
    let (server, limits) = (&config.server, &config.limits);
    http::Settings {
        body_limit: fitting(server.max_body_bytes),
        limits: Limits {
            is_on: limits.enabled,
            per_second: limits.tiers.map(rate),
            dedupes: limits.enabled && limits.dedupe,
        },
        origin: server.origin.clone(),
        header_timeout: Duration::from_secs(server.header_seconds),
        body_timeout: Duration::from_secs(server.body_seconds),
        drain_timeout: most_of(Duration::from_secs(server.drain_seconds - server.drain_notice_seconds)),
        connections: fitting(server.connections),
        public_writes_need_token: server.public_writes_need_token,
        kept_days: config.retention.days,
        telling: Telling {
            is_on: config.metrics.enabled,
            is_elsewhere: config.metrics.listen.is_some(),
            token: config.metrics.token.clone(),
        },
    }
}

fn rate(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn fitting(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What callers may take of the time to stop; the rest is for jobs and the store.
fn most_of(patience: Duration) -> Duration {
    patience * 3 / 4
}

/// Puts the pages in front of the API.
fn front(pages: Pages) -> Front {
    let pages = Arc::new(pages);
    let known = Arc::clone(&pages);
    let answer = move |request| -> Fronted {
        // In a task of its own: a caller who hangs up must not stop a change between its commit and its news.
        let answering = tokio::spawn(page(Arc::clone(&pages), request));
        Box::pin(async { answering.await.unwrap_or_else(|_| empty(StatusCode::INTERNAL_SERVER_ERROR)) })
    };
    Front { has: Box::new(move |path| known.has(path)), answer: Box::new(answer) }
}

async fn page(pages: Arc<Pages>, request: Request<Incoming>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(Ok(body)) = timeout(PAGE_BODY_TIME, Limited::new(body, PAGE_BODY_BYTES).collect()).await else {
        return empty(StatusCode::PAYLOAD_TOO_LARGE);
    };
    pages.answer(&head.method, &head.uri, &head.headers, &body.to_bytes()).await
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
