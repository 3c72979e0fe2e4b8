//! The hosted pages: `/p/{token}`, on which users choose what they are told, and `/p/{token}/unsubscribe`, which ends
//! commercial messages. Plain HTML: forms that work without scripts, and a policy that lets nothing else in.
//!
//! The token is all that lets somebody in, and no browser sends it along by itself: another site can't make a form of its
//! own act for a user. It is in the address, so that pages tell nobody where a link on them was followed from.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};

use super::Face;
use super::answer::Answer;
use super::body;
use super::error::ApiError;
use super::limits::{Key, Tier};
use super::pipeline::undisturbed;
use super::vitals::Entry;
use crate::model::recipient::RecipientRef;
use crate::rules::choice::choices;
use crate::rules::preference::DEFAULT;
use crate::sign::page_token::Purpose;
use crate::verbs::Core;
use crate::verbs::center::{self, Chosen, PAGES, Reader, UNSUBSCRIBE};
use crate::wire::query::Query;

mod html;

const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// Bytes that a form may have: every row of a large centre twice.
const FORM_BYTES: usize = 256 * 1024;

/// The numbers by which pages are counted, which no operation of the API has: a user's, and what comes from an address
/// without a good token.
const OPERATION: usize = usize::MAX - 2;
const UNKNOWN: usize = usize::MAX - 3;

/// Whether a path is a page's.
pub(crate) fn is_at(path: &str) -> bool {
    path.starts_with(PAGES)
}

/// Answers a request for a page. Whatever goes wrong is said on a page, too.
pub(crate) async fn answer(face: &Arc<Face>, entry: Entry, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let path = request.uri().path().strip_prefix(PAGES).unwrap_or_default();
    let (token, purpose) = match path.strip_suffix(UNSUBSCRIBE) {
        Some(token) => (token.to_owned(), Purpose::Unsubscribe),
        None => (path.to_owned(), Purpose::Preferences),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD | Method::POST) {
        return Err(ApiError::no_method("GET, HEAD, POST"));
    }
    let Some(reader) = face.core.read_page_token(&token, purpose).await? else {
        let whom = Some(format!("peer:{}", entry.peer).into());
        face.count(Key { env: 0, operation: UNKNOWN, whom }, Tier::Three)?;
        return Ok(lost());
    };
    let whom = Some(format!("user:{}", reader.user.id).into());
    face.count(Key { env: reader.environment.number, operation: OPERATION, whom }, Tier::Three)?;
    match purpose {
        Purpose::Preferences => preferences(face, &token, reader, request).await,
        Purpose::Unsubscribe => unsubscribe(face, reader, request).await,
    }
}

/// F-PCC-06.
async fn preferences(
    face: &Arc<Face>,
    token: &str,
    reader: Reader,
    request: Request<Incoming>,
) -> Result<Answer, ApiError> {
    if request.method() != Method::POST {
        let is_saved = request.uri().query() == Some("saved");
        return shown(&face.core, &reader, is_saved).await;
    }
    let form = form(face, request).await?;
    let ids = |name: &str| form.list(name).into_iter().map(str::to_owned).collect();
    let chosen = Chosen { shown_on: ids("was"), on: ids("on") };
    let core = Arc::clone(&face.core);
    // Whoever loads the page again must not send the form again.
    let location = format!("{}?saved", center::path(Purpose::Preferences, token));
    let choosing = async move {
        let center = reader.environment.settings.center.clone();
        core.choose(&reader, &choices(&center), &chosen).await?;
        Ok(Answer::empty().status(StatusCode::SEE_OTHER).with(LOCATION, &location))
    };
    undisturbed(Box::pin(choosing)).await
}

async fn shown(core: &Core, reader: &Reader, is_saved: bool) -> Result<Answer, ApiError> {
    let settings = &reader.environment.settings;
    let recipient = RecipientRef::User(reader.user.id.clone());
    let set = core.preferences(reader.environment.number, &recipient, DEFAULT, None).await?.to_json();
    let lowest = settings.preferences.as_ref();
    let text = html::preferences(&html::Asked {
        center: &settings.center,
        vars: &settings.vars,
        user: reader.user.label(),
        set: &set,
        lowest,
        is_saved,
    });
    Ok(page(&text))
}

/// F-PCC-10. Whoever opens the link is unsubscribed, and so is whoever posts to it, as mail programs do (RFC 8058); the
/// page's own form takes it back.
async fn unsubscribe(face: &Arc<Face>, reader: Reader, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let (method, core) = (request.method().clone(), Arc::clone(&face.core));
    let is_back = method == Method::POST && form(face, request).await?.get("subscribe").is_some();
    let acting = async move {
        let center = &reader.environment.settings.center;
        if method != Method::HEAD {
            core.subscribe_to_commercial(&reader, is_back).await?;
        }
        let redirect = center.unsubscribed.redirect_url.as_deref().filter(|_| method != Method::POST);
        if let Some(redirect) = redirect {
            return Ok(Answer::empty().status(StatusCode::FOUND).with(LOCATION, redirect));
        }
        let text = html::unsubscribed(center, &reader.environment.settings.vars, is_back);
        Ok(page(&text))
    };
    undisturbed(Box::pin(acting)).await
}

/// What a form says; a field may come several times.
async fn form(face: &Face, request: Request<Incoming>) -> Result<Query, ApiError> {
    let limit = face.settings.body_limit.min(FORM_BYTES);
    body::check_announced(request.body(), limit)?;
    let raw: Bytes = body::read(request.into_body(), &face.settings).await?;
    if raw.len() > limit {
        return Err(ApiError::too_large(limit));
    }
    let text = std::str::from_utf8(&raw).map_err(|_| ApiError::invalid_at("", "The form is not UTF-8."))?;
    Ok(Query::parse(text)?)
}

/// What somebody gets whose link is no good.
pub(super) fn lost() -> Answer {
    page(&html::lost()).status(StatusCode::NOT_FOUND)
}

fn page(text: &html::Page) -> Answer {
    Answer::text(HeaderValue::from_static("text/html; charset=utf-8"), text.body.clone())
        .with(CONTENT_SECURITY_POLICY, &text.policy)
        .with(REFERRER_POLICY, "no-referrer")
        .with(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(ROBOTS, "noindex, nofollow")
}
