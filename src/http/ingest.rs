//! Where services elsewhere bring their events: `POST /ingest/{environment}/{source}`. What they sign is their key.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Method, Request};

use super::Face;
use super::answer::Answer;
use super::body;
use super::error::ApiError;
use super::limits::{Key, Tier};
use super::pipeline::undisturbed;
use super::vitals::Entry;
use crate::model::environment::Environment;
use crate::model::source::{Event, Source};
use crate::verbs::source::Refusal;
use crate::wire::query::decode_path_segment;

/// What paths begin with.
const PREFIX: &str = "/ingest/";

/// The numbers by which events are counted, which no operation of the API has: those of a source, and what comes from an
/// address without being any source's.
const OPERATION: usize = usize::MAX;
const UNPROVEN: usize = usize::MAX - 1;

/// Whether a path is meant for events.
pub(crate) fn is_at(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// Takes the event that a request brings; 204 when it is on disk. A source's events are counted once it is proven that they
/// are, so that nobody else can use its share up.
pub(crate) async fn answer(face: &Arc<Face>, entry: Entry, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let (environment, source) = found(face, request.uri().path())?;
    if request.method() != Method::POST {
        return Err(ApiError::no_method("POST, OPTIONS"));
    }
    let (parts, incoming) = request.into_parts();
    body::check_announced(&incoming, face.settings.body_limit)?;
    let text = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    let (env, proof) = (environment.number, text(&source.signature.header));
    let prove = |raw: &[u8]| {
        let proven = face.core.prove_sender(&environment, &source, proof, raw);
        proven.or_else(|refusal| {
            let whom = Some(format!("peer:{}", entry.peer).into());
            face.count(Key { env, operation: UNPROVEN, whom }, Tier::Three)?;
            Err(ApiError::from(refusal))
        })
    };
    if proof.is_none() {
        // Whoever shows nothing is not listened to any longer.
        prove(&[])?;
    }
    let raw = body::read(incoming, &face.settings).await?;
    prove(&raw)?;
    face.count(Key { env, operation: OPERATION, whom: Some(source.key.as_str().into()) }, Tier::Five)?;
    let body = body::parse(&raw)?;
    if !body.is_object() {
        return Err(ApiError::invalid_at("", "The body must be a JSON object: one event."));
    }
    let named = source.headers().into_iter();
    let headers = named.filter_map(|name| Some((name.clone(), text(&name)?.into()))).collect();
    let (core, event) = (Arc::clone(&face.core), Event { body, headers });
    let taking = async move { Ok(core.take_event(env, &source, event).await.map(|()| Answer::empty())?) };
    undisturbed(Box::pin(taking)).await
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

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unproven(why) => ApiError::unproven(why),
            Refusal::Nameless(why) => ApiError::invalid_at("", why),
            Refusal::Store(error) => error.into(),
        }
    }
}
