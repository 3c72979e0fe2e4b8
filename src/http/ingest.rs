//! Where services elsewhere bring their events: `POST /ingest/{environment}/{source}`. What they sign is their key.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::{Method, Request};
use tracing::Instrument as _;

use super::Face;
use super::answer::Answer;
use super::body;
use super::error::ApiError;
use super::limits::{Key, Tier};
use crate::model::environment::Environment;
use crate::model::source::{Event, Source};
use crate::verbs::source::Refusal;
use crate::wire::query::decode_path_segment;

/// What paths begin with.
const PREFIX: &str = "/ingest/";

/// The number by which events are counted: no operation of the API has it.
const OPERATION: usize = usize::MAX;

/// Whether a path is meant for events.
pub(crate) fn is_at(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Takes the event that a request brings; 204 when it is on disk.
pub(crate) async fn answer(face: &Arc<Face>, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let (environment, source) = found(face, request.uri().path())?;
    if request.method() != Method::POST {
        return Err(ApiError::no_method("POST, OPTIONS"));
    }
    let (parts, incoming) = request.into_parts();
    body::check_announced(&incoming, face.settings.body_limit)?;
    count(face, &environment, &source)?;
    let raw = body::read(incoming, &face.settings).await?;
    let face = Arc::clone(face);
    let taking = async move { take(&face, &environment, &source, &parts.headers, &raw).await };
    // In a task of its own: a sender who hangs up must not stop a change between its commit and its news.
    let task = tokio::spawn(taking.in_current_span());
    task.await.unwrap_or_else(|fault| Err(ApiError::internal(format!("taking an event failed: {fault}"))))
}

fn found(face: &Face, path: &str) -> Result<(Arc<Environment>, Arc<Source>), ApiError> {
    let place = path.strip_prefix(PREFIX).and_then(|rest| rest.split_once('/'));
    let catalog = &face.core.catalog;
    let named = place.and_then(|(slug, key)| {
        let slug = decode_path_segment(slug).ok()?;
        let environment = catalog.environments().iter().find(|environment| environment.slug == slug)?;
        Some((Arc::clone(environment), Arc::clone(catalog.sources().get(&decode_path_segment(key).ok()?)?)))
    });
    named.ok_or_else(|| ApiError::missing("There is no such source, or no such environment."))
}

fn count(face: &Face, environment: &Environment, source: &Source) -> Result<(), ApiError> {
    let limits = &face.settings.limits;
    if !limits.is_on {
        return Ok(());
    }
    let key = Key { env: environment.number, operation: OPERATION, whom: Some(source.key.as_str().into()) };
    let taken = face.buckets.take(key, limits.rate(Tier::Five), face.core.clock.now());
    taken.map_err(|micros| ApiError::too_many((micros + 999_999) / 1_000_000))
}

async fn take(
    face: &Face,
    environment: &Environment,
    source: &Source,
    headers: &HeaderMap,
    raw: &Bytes,
) -> Result<Answer, ApiError> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    face.core.prove_sender(environment, source, text(&source.signature.header), raw)?;
    let body = body::parse(raw)?;
    if !body.is_object() {
        return Err(ApiError::invalid_at("", "The body must be a JSON object: one event."));
    }
    let named = source.headers().into_iter();
    let headers = named.filter_map(|name| Some((name.clone(), text(&name)?.into()))).collect();
    face.core.take_event(environment.number, source, Event { body, headers }).await?;
    Ok(Answer::empty())
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unproven(why) => ApiError::unproven(why),
            Refusal::Nameless(why) => ApiError::invalid_at("", why),
            Refusal::Store(error) => error.into(),
        }
    }
}
