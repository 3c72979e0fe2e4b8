//! Marks on messages: one, or a batch (F-STA-01 to F-STA-22).

use hyper::header::HeaderName;
use serde_json::{Map, Value};

use super::messages::{found, message_json, some_ids};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Answering, Route, TenantIn, Verb};
use crate::model::feed::Tenants;
use crate::model::mark::{Mark, interaction_metadata};
use crate::sign::access::{Grant, Scope};
use crate::sign::api_key::Kind;
use crate::sign::refusal::Refusal;
use crate::verbs::mark::Reach;

const fn put(path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Put, path, operation, Tier::Two, handler)
        .public(Grant::FeedWrite)
        .in_tenant(TenantIn::Message)
        .kept_for_a_time()
}

const fn delete(path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Delete, path, operation, Tier::Two, handler)
        .public(Grant::FeedWrite)
        .in_tenant(TenantIn::Message)
        .kept_for_a_time()
}

const fn post(path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Post, path, operation, Tier::Three, handler).public(Grant::FeedWrite).kept_for_a_time()
}

/// The routes.
pub const ROUTES: &[Route] = &[
    put("/v1/messages/{message_id}/seen", "markMessageSeen", |cx| Box::pin(one(cx, Mark::Seen))),
    put("/v1/messages/{message_id}/read", "markMessageRead", |cx| Box::pin(one(cx, Mark::Read))),
    put("/v1/messages/{message_id}/interacted", "markMessageInteracted", |cx| Box::pin(one(cx, Mark::Interacted))),
    put("/v1/messages/{message_id}/archived", "archiveMessage", |cx| Box::pin(one(cx, Mark::Archived))),
    delete("/v1/messages/{message_id}/seen", "markMessageUnseen", |cx| Box::pin(one(cx, Mark::Unseen))),
    delete("/v1/messages/{message_id}/unseen", "markMessageUnseen", |cx| Box::pin(one(cx, Mark::Unseen))),
    delete("/v1/messages/{message_id}/read", "markMessageUnread", |cx| Box::pin(one(cx, Mark::Unread))),
    delete("/v1/messages/{message_id}/unread", "markMessageUnread", |cx| Box::pin(one(cx, Mark::Unread))),
    delete("/v1/messages/{message_id}/archived", "unarchiveMessage", |cx| Box::pin(one(cx, Mark::Unarchived))),
    delete("/v1/messages/{message_id}/unarchived", "unarchiveMessage", |cx| Box::pin(one(cx, Mark::Unarchived))),
    post("/v1/messages/batch/seen", "batchMarkMessagesAsSeen", |cx| Box::pin(batch(cx, Mark::Seen))),
    post("/v1/messages/batch/unseen", "batchMarkMessagesAsUnseen", |cx| Box::pin(batch(cx, Mark::Unseen))),
    post("/v1/messages/batch/read", "batchMarkMessagesAsRead", |cx| Box::pin(batch(cx, Mark::Read))),
    post("/v1/messages/batch/unread", "batchMarkMessagesAsUnread", |cx| Box::pin(batch(cx, Mark::Unread))),
    post("/v1/messages/batch/interacted", "batchMarkMessagesAsInteracted", |cx| Box::pin(batch(cx, Mark::Interacted))),
    post("/v1/messages/batch/archived", "batchMarkMessagesAsArchived", |cx| Box::pin(batch(cx, Mark::Archived))),
    post("/v1/messages/batch/unarchived", "batchMarkMessagesAsUnarchived", |cx| Box::pin(batch(cx, Mark::Unarchived))),
];

const SKIPPED: HeaderName = HeaderName::from_static("x-ratelimited-message_ids");

/// Marks the message in the path (F-STA-01, F-STA-21).
async fn one(cx: Cx, mark: Mark) -> Result<Answer, ApiError> {
    let metadata = metadata(&cx.members()?, mark)?;
    let message = found(&cx, Grant::FeedWrite).await?;
    let reach = Reach::default();
    let marked = cx.core().mark(cx.env(), std::slice::from_ref(&message.id), mark, metadata.as_ref(), &reach).await?;
    match marked.first() {
        Some(message) => Ok(Answer::json(&message_json(&cx, message))),
        None => Err(ApiError::missing(format!("There is no message `{}` any more.", message.id))),
    }
}

/// Marks the messages that the body names and the caller reaches; the others are left out (F-STA-02, F-STA-21). What was
/// changed the same way less than a second ago is answered as it is (F-RAT-05).
async fn batch(cx: Cx, mark: Mark) -> Result<Answer, ApiError> {
    let body = cx.members()?;
    let ids = some_ids(ids(&body)?)?;
    let metadata = metadata(&body, mark)?;
    let reach = reach(&cx)?;
    let (wanted, skipped): (Vec<String>, Vec<String>) = ids.iter().cloned().partition(|id| cx.may_change(id));
    let mut marked = cx.core().mark(cx.env(), &wanted, mark, metadata.as_ref(), &reach).await?;
    if !skipped.is_empty() {
        marked = cx.core().store.messages_by_ids(cx.env(), &ids).await?;
        marked.retain(|message| reach.covers(message));
    }
    let answer = Answer::json(&Value::Array(marked.iter().map(|message| message_json(&cx, message)).collect()));
    Ok(if skipped.is_empty() { answer } else { answer.with(SKIPPED, &skipped.join(",")) })
}

fn ids(body: &Map<String, Value>) -> Result<Vec<String>, ApiError> {
    let required = || ApiError::invalid_at("message_ids", "message_ids is required, as an array of 1 to 50 ids");
    let Some(Value::Array(items)) = body.get("message_ids") else { return Err(required()) };
    let ids = items.iter().enumerate().map(|(at, item)| match item.as_str() {
        Some(id) => Ok(id.to_owned()),
        None => Err(ApiError::invalid_at(&format!("message_ids[{at}]"), "an id is a string")),
    });
    ids.collect()
}

fn metadata(body: &Map<String, Value>, mark: Mark) -> Result<Option<Map<String, Value>>, ApiError> {
    match mark {
        Mark::Interacted => Ok(interaction_metadata(body.get("metadata").cloned())?),
        _ => Ok(None),
    }
}

/// Whose messages the caller's token lets it mark (F-AUT-16, F-GRN-16).
pub(crate) fn reach(cx: &Cx) -> Result<Reach, ApiError> {
    let is_reader = cx.caller.kind == Kind::Public;
    let Some(access) = cx.caller.access() else { return Ok(Reach { is_reader, ..Reach::default() }) };
    let tenants = match access.scope(Grant::FeedWrite) {
        Scope::Nothing => {
            let message = format!("The user token does not give `{}`.", Grant::FeedWrite.as_str());
            return Err(Refusal::forbidden(message).into());
        }
        Scope::All => Tenants::Any,
        Scope::Tenants { tenants, include_none } => {
            Tenants::These { tenants: tenants.into_iter().collect(), with_none: include_none }
        }
    };
    Ok(Reach { recipient: Some(access.user().to_owned()), tenants, is_reader })
}
