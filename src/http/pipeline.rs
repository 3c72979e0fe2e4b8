//! One request, from its first byte to its answer.

use std::any::Any;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tracing::{Instrument as _, Span, debug, error, error_span, field};
use uuid::Uuid;

use super::answer::{Answer, Body};
use super::cx::Cx;
use super::error::ApiError;
use super::limits::Key;
use super::router::{Answering, Found, Verb};
use super::vitals::{Door, Entry};
use super::{Face, SOCKET_PATH, auth, body, center, connect, cors, ingest, open, scope, track, vitals};
use crate::verbs::door::Caller;
use crate::wire::query::Query;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Questions about the node itself. No page may read their answers.
const VITALS: &str = "vitals";
/// Pages of users. Those of others may not read them.
const PAGE: &str = "preference_page";
/// Where providers send back whoever has let our app in. No page of others may read the answers.
const PROVIDER: &str = "provider_connection";
/// Links that are followed, and messages that are opened.
const TRACKING: &str = "tracking";
/// Events of services elsewhere.
const INGEST: &str = "ingest";

/// Answers a request, whatever happens.
pub(crate) async fn answer(face: Arc<Face>, entry: Entry, request: Request<Incoming>) -> Response<Body> {
    let mut response = match entry.door {
        Door::Callers => called(&face, entry, request).await,
        Door::Operators => watched(&face, entry, request).await,
    };
    if face.is_stopping.load(Ordering::Acquire) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // Whoever sends requests over kept connections sends the next over a new one, to another node.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Answers an operator.
async fn watched(face: &Arc<Face>, entry: Entry, request: Request<Incoming>) -> Response<Body> {
    let answer = vitals::answer(face, entry, request.method(), request.uri().path(), request.headers()).await;
    let answer = answer.unwrap_or_else(|| Err(ApiError::no_route()));
    answer.unwrap_or_else(ApiError::into_answer).into_response()
}

/// Answers a caller.
async fn called(face: &Arc<Face>, entry: Entry, request: Request<Incoming>) -> Response<Body> {
    if request.uri().path() == SOCKET_PATH && request.method() == Method::GET {
        return (face.upgrade)(request).await;
    }
    let begun = Instant::now();
    if let Some(front) = face.front.as_ref().filter(|front| (front.has)(request.uri().path())) {
        let response = (front.answer)(request).await;
        face.core.metrics.http.answered("page", response.status().as_u16(), begun.elapsed());
        return response;
    }
    let request_id = Uuid::new_v4().to_string();
    // Whatever is said on the way bears the id.
    let span = error_span!("request", request.id = %request_id, operation = field::Empty);
    let (operation, outcome) = done(face, entry, request, &request_id).instrument(span).await;
    let answer = outcome.unwrap_or_else(|failure| {
        if let Some(cause) = failure.cause() {
            error!(request.id = %request_id, operation, error = cause, "request `{request_id}` failed");
        }
        failure.into_answer()
    });
    let mut response = answer.into_response();
    if ![VITALS, PAGE, PROVIDER].contains(&operation) {
        cors::open(response.headers_mut());
    }
    if let Ok(id) = HeaderValue::from_str(&request_id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    // Neither paths nor bodies: both hold people's addresses (F-FED-43).
    let (status, elapsed) = (response.status().as_u16(), begun.elapsed());
    face.core.metrics.http.answered(operation, status, elapsed);
    debug!(request.id = %request_id, operation, status, duration_us = elapsed.as_micros(), "request answered");
    response
}

/// The steps up to the handler, and the handler. Also says which operation it was.
async fn done(
    face: &Arc<Face>,
    entry: Entry,
    request: Request<Incoming>,
    request_id: &str,
) -> (&'static str, Result<Answer, ApiError>) {
    if request.method() == Method::OPTIONS {
        return ("preflight", Ok(cors::preflight(request.headers())));
    }
    let (method, path) = (request.method(), request.uri().path());
    if let Some(answer) = vitals::answer(face, entry, method, path, request.headers()).await {
        return (VITALS, answer);
    }
    if let Some(answer) = open::answer(face, method, path) {
        return ("open", answer);
    }
    if center::is_at(path) {
        Span::current().record("operation", PAGE);
        return (PAGE, center::answer(face, entry, request).await);
    }
    if track::is_at(path) {
        Span::current().record("operation", TRACKING);
        return (TRACKING, track::answer(face, entry, method, path).await);
    }
    if connect::is_at(path) {
        Span::current().record("operation", PROVIDER);
        return (PROVIDER, connect::answer(face, entry, &request).await);
    }
    if ingest::is_at(path) {
        Span::current().record("operation", INGEST);
        return (INGEST, ingest::answer(face, entry, request).await);
    }
    match face.table.find(request.method(), request.uri().path()) {
        Ok(found) => {
            let operation = found.route.operation;
            Span::current().record("operation", operation);
            (operation, routed(face, found, request, request_id).await)
        }
        Err(missing) => ("none", Err(missing)),
    }
}

async fn routed(
    face: &Arc<Face>,
    found: Found,
    request: Request<Incoming>,
    request_id: &str,
) -> Result<Answer, ApiError> {
    let (parts, incoming) = request.into_parts();
    body::check_announced(&incoming, face.settings.body_limit)?;
    let caller = auth::admit(face, found.route, &found.params, &parts.headers).await?;
    count(face, &found, &caller)?;
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let is_write = found.route.verb != Verb::Get;
    let body = if is_write { body::read(incoming, &face.settings).await? } else { bytes::Bytes::new() };
    scope::require(found.route, &caller, &found.params, &query, &body)?;
    let answering = (found.route.handler)(Cx {
        face: Arc::clone(face),
        caller,
        request_id: request_id.to_owned(),
        query,
        headers: parts.headers,
        params: found.params,
        operation: found.number,
        body,
    });
    if is_write { undisturbed(answering).await } else { unharmed(answering).await }
}

/// Counts the request, by operation and user (F-RAT-02, F-RAT-03).
fn count(face: &Face, found: &Found, caller: &Caller) -> Result<(), ApiError> {
    let user = if found.route.is_counted_by_user {
        found.params.get("user_id")
    } else {
        caller.access().map(|access| access.user())
    };
    let key = Key { env: caller.env(), operation: found.number, whom: user.map(|user| format!("user:{user}").into()) };
    face.count(key, found.route.tier)
}

/// Runs what changes something in a task of its own: a caller who hangs up must not stop a change between its commit and
/// its news.
pub(super) async fn undisturbed(answering: Answering) -> Result<Answer, ApiError> {
    let task = tokio::spawn(unharmed(answering).in_current_span());
    task.await.unwrap_or_else(|_| Err(ApiError::internal("the handler's task was stopped")))
}

/// Runs a handler; a panic in it becomes an error like any other.
async fn unharmed(mut answering: Answering) -> Result<Answer, ApiError> {
    let polled = poll_fn(|context| {
        let poll = catch_unwind(AssertUnwindSafe(|| answering.as_mut().poll(context)));
        match poll {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(answer)) => Poll::Ready(answer),
            Err(panic) => Poll::Ready(Err(ApiError::internal(told(panic.as_ref())))),
        }
    });
    polled.await
}

fn told(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a handler panicked: {}", text.unwrap_or("for an unknown reason"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_internal_error_with_its_reason_for_the_log() {
        async fn at(once: bool) -> Result<Answer, ApiError> {
            if !once {
                tokio::task::yield_now().await;
            }
            panic!("at {}", "once")
        }
        for answering in [Box::pin(at(true)) as Answering, Box::pin(at(false))] {
            let error = unharmed(answering).await.expect_err("it panicked");
            assert_eq!(error.cause(), Some("a handler panicked: at once"));
        }
    }
}
