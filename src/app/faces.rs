//! Glues the faces to the rest: requests and sockets come in by one port.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, body::Incoming};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::pages::Pages;
use crate::bus::FeedEvent;
use crate::config::{Hub, Limits, Server};
use crate::verbs::Core;

/// Who is told of news.
pub(super) struct News;

/// A listener of the bus, and what it passes the news to.
pub(super) fn news() -> (News, impl Fn(&FeedEvent) + Send + Sync + 'static) {
    (News, |_: &FeedEvent| {})
}

/// Everything that answers callers.
pub(super) struct Faces {
    stop: watch::Sender<bool>,
    server: JoinHandle<()>,
}

impl Faces {
    /// Begins to answer.
    pub(super) fn start(
        _core: Arc<Core>,
        _news: News,
        pages: Pages,
        listener: TcpListener,
        server: &Server,
        _limits: &Limits,
        _hub: &Hub,
    ) -> Faces {
        let (stop, mut stopped) = watch::channel(false);
        let pages = Arc::new(pages);
        let most = usize::try_from(server.max_body_bytes).unwrap_or(usize::MAX);
        let server = tokio::spawn(async move {
            loop {
                let stream = tokio::select! {
                    accepted = listener.accept() => match accepted { Ok((stream, _)) => stream, Err(_) => continue },
                    _ = stopped.changed() => return,
                };
                let pages = Arc::clone(&pages);
                let service = service_fn(move |request| respond(Arc::clone(&pages), request, most));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        Faces { stop, server }
    }

    /// Takes no more callers, and finishes with those that are there.
    pub(super) async fn drain(self, _patience: Duration) {
        self.stop.send_replace(true);
        let _ = self.server.await;
    }
}

async fn respond(
    pages: Arc<Pages>,
    request: Request<Incoming>,
    most: usize,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = Limited::new(body, most).collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = pages.answer(&head.method, head.uri.path(), &head.headers, &body).await;
    Ok(answer.unwrap_or_else(|| {
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    }))
}
