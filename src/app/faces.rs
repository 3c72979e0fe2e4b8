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
use crate::bus;
use crate::config::Config;
use crate::http::limits::Limits;
use crate::http::{self, Body, Face, Front, Fronted};
use crate::hub::{self, Hub, Registry};
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

/// Everything that answers callers.
pub(super) struct Faces {
    hub: Hub,
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Faces {
    /// Begins to answer.
    pub(super) fn start(
        core: &Arc<Core>,
        registry: Registry,
        pages: Pages,
        listener: TcpListener,
        config: &Config,
    ) -> Faces {
        let (stop, stopped) = watch::channel(false);
        let hub = Hub::new(Arc::clone(core), registry, hub_settings(config));
        let sockets = hub.clone();
        let upgrade: http::Upgrade = Box::new(move |request| {
            let sockets = sockets.clone();
            Box::pin(async move { sockets.upgrade(request).await })
        });
        let face = Face::new(Arc::clone(core), settings(config), upgrade, Vec::new()).behind(front(pages));
        let server = tokio::spawn(http::serve(listener, Arc::new(face), stopped));
        Faces { hub, stop, server }
    }

    /// Takes no more callers, sends the sockets away, and finishes with the requests that are there, within `patience`.
    pub(super) async fn drain(self, patience: Duration) {
        self.stop.send_replace(true);
        let ((), served) = tokio::join!(self.hub.drain(most_of(patience)), self.server);
        if let Err(fault) = served {
            error!(error = %fault, "the server failed while stopping");
        }
    }
}

fn hub_settings(config: &Config) -> hub::Settings {
    let seconds = |number| i64::try_from(number).unwrap_or(i64::MAX);
    hub::Settings {
        ping_after_seconds: seconds(config.hub.ping_after_seconds),
        close_after_seconds: seconds(config.hub.close_after_seconds),
        ..hub::Settings::default()
    }
}

fn settings(config: &Config) -> http::Settings {
    let (server, limits) = (&config.server, &config.limits);
    http::Settings {
        body_limit: fitting(server.max_body_bytes),
        limits: Limits {
            is_on: limits.enabled,
            per_second: limits.tiers.map(|rate| u32::try_from(rate).unwrap_or(u32::MAX)),
            dedupes: limits.enabled && limits.dedupe,
        },
        origin: server.origin.clone(),
        header_timeout: Duration::from_secs(server.header_seconds),
        body_timeout: Duration::from_secs(server.body_seconds),
        drain_timeout: most_of(Duration::from_secs(server.drain_seconds)),
        connections: fitting(server.connections),
        public_writes_need_token: server.public_writes_need_token,
    }
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
    pages.answer(&head.method, head.uri.path(), &head.headers, &body.to_bytes()).await
}

fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::new()));
    *response.status_mut() = status;
    response
}
