//! Messages: read them, and what became of them (F-MSG-01 to F-MSG-16).

use std::collections::BTreeSet;

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::feed::{Bounds, Options, trigger_data_filter};
use crate::model::ids::Ksuid;
use crate::model::invalid::{Invalid, nearest};
use crate::model::message::Message;
use crate::model::recipient::{RecipientRef, missing};
use crate::model::time::Time;
use crate::sign::access::Grant;
use crate::sign::api_key::Kind;
use crate::sign::refusal::Refusal;
use crate::store;
use crate::store::messages::{MessageEvent, MessageFilter};
use crate::verbs::revoke;
use crate::wire::cursor::{List, Page};
use crate::wire::query::Query;

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/messages", "listMessages", Tier::Four, |cx| Box::pin(list(cx)))
        .in_tenant(TenantIn::Query)
        .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/messages/batch/content", "batchGetMessageContents", Tier::Four, |cx| {
        Box::pin(contents(cx))
    })
    .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/messages/{message_id}", "getMessage", Tier::Four, |cx| Box::pin(get(cx)))
        .public(Grant::FeedRead)
        .in_tenant(TenantIn::Message)
        .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/messages/{message_id}/content", "getMessageContents", Tier::Four, |cx| {
        Box::pin(content(cx))
    })
    .in_tenant(TenantIn::Message)
    .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/messages/{message_id}/activities", "listMessageActivities", Tier::Four, |cx| {
        Box::pin(activities(cx))
    })
    .in_tenant(TenantIn::Message)
    .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/messages/{message_id}/events", "listMessageEvents", Tier::Three, |cx| {
        Box::pin(events(cx))
    })
    .in_tenant(TenantIn::Message)
    .kept_for_a_time(),
    Route::new(Verb::Get, "/v1/messages/{message_id}/delivery_logs", "listMessageDeliveryLogs", Tier::Three, |cx| {
        Box::pin(delivery_logs(cx))
    })
    .in_tenant(TenantIn::Message)
    .kept_for_a_time(),
    Route::new(Verb::Post, "/v1/messages/{message_id}/revoke", "revokeMessage", Tier::Three, |cx| {
        Box::pin(revoke_one(cx))
    })
    .in_tenant(TenantIn::Message)
    .kept_for_a_time(),
    Route::new(Verb::Post, "/v1/messages/revoke", "revokeMessages", Tier::Three, |cx| Box::pin(revoke_all(cx)))
        .kept_for_a_time(),
];

/// What days are counted in.
const DAY_SECONDS: i64 = 24 * 60 * 60;
/// Ids in one call at most (F-MSG-08, F-STA-03).
pub(crate) const MAX_IDS: usize = 50;

pub(crate) const DELIVERY_STATUSES: [&str; 7] =
    ["queued", "sent", "delivered", "delivery_attempted", "undelivered", "not_sent", "bounced"];
pub(crate) const ENGAGEMENT_STATUSES: [&str; 8] =
    ["seen", "unseen", "read", "unread", "archived", "unarchived", "link_clicked", "interacted"];

async fn list(cx: Cx) -> Result<Answer, ApiError> {
    list_of(&cx, None).await
}

/// The messages of one recipient, or of all (F-MSG-05, F-MSG-09).
pub(crate) async fn list_of(cx: &Cx, recipient: Option<RecipientRef>) -> Result<Answer, ApiError> {
    let page = Page::from_query(&cx.query, List::Messages)?;
    let mut filter = MessageFilter { recipient, ..filter(&cx.query)? };
    filter.inserted_at.gte = filter.inserted_at.gte.max(kept_since(cx));
    let found = cx.core().store.messages(cx.env(), &filter, page.at.as_ref(), page.size + 1).await?;
    let rows = Rows::new(found, &page, List::Messages, |message| (message.inserted_at, message.id.as_str()));
    Ok(rows.answer("items", None, |message| message_json(cx, message)))
}

fn filter(query: &Query) -> Result<MessageFilter, ApiError> {
    let text = |name: &str| query.get(name).map(str::to_owned);
    let ids = strings(query.list("message_ids"));
    if ids.len() > MAX_IDS {
        return Err(ApiError::invalid_at("message_ids", format!("at most {MAX_IDS} ids are allowed")));
    }
    Ok(MessageFilter {
        tenant: text("tenant"),
        channel: text("channel_id"),
        statuses: in_words(query.list("status"), "status", &DELIVERY_STATUSES)?,
        engagement: in_words(query.list("engagement_status"), "engagement_status", &ENGAGEMENT_STATUSES)?,
        ids: Some(ids).filter(|ids| !ids.is_empty()),
        categories: strings(query.list("workflow_categories")),
        source: text("source"),
        workflow_run: text("workflow_run_id"),
        run: text("workflow_recipient_run_id"),
        trigger_data: query.trigger_data()?.map(trigger_data_filter).transpose()?.unwrap_or_default(),
        inserted_at: Bounds {
            gt: query.time("inserted_at.gt")?,
            gte: query.time("inserted_at.gte")?,
            lt: query.time("inserted_at.lt")?,
            lte: query.time("inserted_at.lte")?,
        },
        recipient: None,
    })
}

fn strings(words: Vec<&str>) -> Vec<String> {
    words.into_iter().map(str::to_owned).collect()
}

/// Words that must be among those known.
pub(crate) fn in_words(words: Vec<&str>, field: &str, known: &[&str]) -> Result<Vec<String>, Invalid> {
    for word in &words {
        if !known.contains(word) {
            let hint = nearest(word, known.iter().copied()).map(|near| format!(" Did you mean `{near}`?"));
            let message = format!("{field} must be one of {}.{}", known.join(", "), hint.unwrap_or_default());
            return Err(Invalid::new(field, message));
        }
    }
    Ok(strings(words))
}

/// A recipient in a query: a user id, or an object's members (W-RUN-04).
pub(crate) fn recipient_option(query: &Query, field: &str) -> Result<Option<RecipientRef>, Invalid> {
    if let Some(id) = query.get(field).filter(|text| !text.starts_with('{')) {
        return Ok(Some(RecipientRef::User(id.to_owned())));
    }
    let Some(mut members) = query.members(field)? else { return Ok(None) };
    match (members.remove("id"), members.remove("collection")) {
        (Some(id), Some(collection)) => Ok(Some(RecipientRef::Object { collection, id })),
        (Some(id), None) => Ok(Some(RecipientRef::User(id))),
        _ => Err(Invalid::new(field, "a recipient is a user id, or an id with a collection")),
    }
}

/// The message resource, with its channel.
pub(crate) fn message_json(cx: &Cx, message: &Message) -> Value {
    let channel = cx.core().catalog.channel(&message.channel);
    message.to_json(&channel.map_or(Value::Null, |channel| channel.channel_json()))
}

/// The message in the path: 404 if there is none, 403 if the caller's token does not reach it (F-AUT-16, F-GRN-16).
pub(crate) async fn found(cx: &Cx, grant: Grant) -> Result<Message, ApiError> {
    let id = cx.param("message_id");
    let message = cx.core().store.message(cx.env(), id).await?;
    // What was revoked is there for servers alone.
    let message = message.filter(|message| message.revoked_at.is_none() || cx.caller.kind == Kind::Secret);
    let message = message.ok_or_else(|| ApiError::missing(format!("There is no message `{id}`.")))?;
    let allows = cx
        .caller
        .access()
        .is_none_or(|access| access.allows_message(grant, &message.recipient.key(), message.tenant.as_deref()));
    if let Some(scope) = &cx.caller.scope {
        scope.require_tenant(message.tenant.as_deref())?;
    }
    match allows {
        true => Ok(message),
        false => Err(Refusal::forbidden("The user token does not give this message.").into()),
    }
}

/// Since when messages are shown; none where they always are (F-RET-01).
pub(super) fn kept_since(cx: &Cx) -> Option<Time> {
    let days = i64::try_from(cx.face.settings.kept_days).unwrap_or(i64::MAX / DAY_SECONDS);
    (days > 0).then(|| cx.now().plus_seconds(-DAY_SECONDS * days))
}

/// Whether a message is shown. What is older than it may be is not, even while it stands in a feed: there it is shown and
/// marked for ever (F-RET-02, F-FED-40, F-STA-20).
fn is_kept(cx: &Cx, message: &Message) -> bool {
    kept_since(cx).is_none_or(|since| message.inserted_at >= since)
}

/// The message in the path, if it is shown.
async fn shown(cx: &Cx) -> Result<Message, ApiError> {
    let message = found(cx, Grant::FeedRead).await?;
    match is_kept(cx, &message) {
        true => Ok(message),
        false => Err(ApiError::missing(format!("The message `{}` is older than messages are kept.", message.id))),
    }
}

/// F-MSG-01.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let message = shown(&cx).await?;
    Ok(Answer::json(&message_json(&cx, &message)))
}

/// Our own: takes the message back; answers it as it now is. Done again, it changes nothing.
async fn revoke_one(cx: Cx) -> Result<Answer, ApiError> {
    cx.members()?;
    let message = found(&cx, Grant::FeedWrite).await?;
    cx.core().revoke(cx.env(), std::slice::from_ref(&message.id)).await?;
    Ok(Answer::json(&message_json(&cx, &found(&cx, Grant::FeedWrite).await?)))
}

/// Our own: takes back what runs with a cancellation key have told, and stops them; or whatever has a collapse key.
async fn revoke_all(cx: Cx) -> Result<Answer, ApiError> {
    let request = revoke::Request::parse(&cx.members()?)?;
    let revoked = cx.core().revoke_all(cx.env(), &request).await?;
    Ok(Answer::json(&json!({"revoked": revoked.messages, "cancelled": revoked.cancelled})))
}

/// F-MSG-14.
async fn content(cx: Cx) -> Result<Answer, ApiError> {
    Ok(Answer::json(&content_json(&shown(&cx).await?)))
}

/// F-MSG-15, F-AMB-45.
async fn contents(cx: Cx) -> Result<Answer, ApiError> {
    let ids = some_ids(strings(cx.query.list("message_ids")))?;
    let messages = cx.core().store.messages_by_ids(cx.env(), &ids).await?;
    let shown = messages.iter().filter(|message| is_kept(&cx, message));
    Ok(Answer::json(&Value::Array(shown.map(content_json).collect())))
}

/// Ids of a batch: 1 to 50, each once, in the order asked (F-AMB-45).
pub(crate) fn some_ids(ids: Vec<String>) -> Result<Vec<String>, ApiError> {
    if ids.is_empty() || ids.len() > MAX_IDS {
        let message = format!("message_ids has {} entries; 1 to {MAX_IDS} are allowed", ids.len());
        return Err(ApiError::invalid_at("message_ids", message));
    }
    let mut seen = std::collections::HashSet::new();
    Ok(ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect())
}

fn content_json(message: &Message) -> Value {
    let told: Value = serde_json::from_str(&message.blocks).unwrap_or_default();
    let data = match message.is_of_guide() {
        // Our own: the description knows no contents of guides.
        true => json!({"__typename": "MessageInAppGuideContent", "content": told}),
        false => json!({"__typename": "MessageInAppFeedContent", "blocks": told}),
    };
    json!({
        "__typename": "MessageContent",
        "message_id": message.id,
        "inserted_at": message.inserted_at,
        "data": data,
    })
}

/// What an activity says of itself, beside its whole JSON.
#[derive(serde::Deserialize)]
struct Activity {
    id: String,
    inserted_at: Time,
    #[serde(default)]
    data: Option<serde_json::Map<String, Value>>,
}

/// F-MSG-10, W-RUN-24.
async fn activities(cx: Cx) -> Result<Answer, ApiError> {
    let message = shown(&cx).await?;
    let page = Page::from_query(&cx.query, List::MessageActivities)?;
    let wanted = cx.query.trigger_data()?.map(trigger_data_filter).transpose()?.unwrap_or_default();
    if let Some(batch) = &message.batch {
        return gathered(&cx, &message, batch, &wanted, &page).await;
    }
    let mut text = String::new();
    message.write_activities(&mut text, &record(&cx, &message.recipient).await?.to_string());
    let all: Vec<Box<RawValue>> = serde_json::from_str(&text).unwrap_or_default();
    let mut read = Vec::with_capacity(all.len());
    for raw in all {
        let activity: Activity = serde_json::from_str(raw.get())
            .map_err(|error| store::Error::Damaged(format!("activities of message `{}`: {error}", message.id)))?;
        let data = activity.data.as_ref();
        if wanted.iter().all(|(name, value)| data.and_then(|data| data.get(name)) == Some(value)) {
            read.push((activity, raw));
        }
    }
    read.sort_by(|(a, _), (b, _)| (b.inserted_at, &b.id).cmp(&(a.inserted_at, &a.id)));
    let rows = Rows::of_all(read, &page, List::MessageActivities, |(one, _)| (one.inserted_at, one.id.as_str()));
    Ok(rows.answer("items", None, |(_, raw)| serde_json::from_str(raw.get()).unwrap_or_default()))
}

/// Everything that came together in the message's batch, shown or not (W-RUN-24).
async fn gathered(
    cx: &Cx,
    message: &Message,
    batch: &str,
    wanted: &Map<String, Value>,
    page: &Page,
) -> Result<Answer, ApiError> {
    let store = &cx.core().store;
    let found = store.batch_activities(batch, wanted, page.at.as_ref(), page.size + 1).await?;
    let rows = Rows::new(found, page, List::MessageActivities, |one| (one.inserted_at, one.id.as_str()));
    let recipient = record(cx, &message.recipient).await?;
    let named: BTreeSet<&String> = rows.rows.iter().filter_map(|one| one.actor.as_ref()).collect();
    let actors = store.recipients(cx.env(), &named.into_iter().cloned().collect::<Vec<_>>()).await?;
    let actor = |key: &String| match actors.get(key) {
        Some(actor) => actor.to_json(),
        None => missing(&RecipientRef::from_key(key), cx.now()),
    };
    Ok(rows.answer("items", None, |one| {
        json!({
            "__typename": "Activity",
            "id": one.id,
            "actor": one.actor.as_ref().map(actor),
            "recipient": recipient,
            "data": one.data,
            "inserted_at": one.inserted_at,
            "updated_at": one.inserted_at,
        })
    }))
}

/// A recipient's own record, as activities embed it.
pub(crate) async fn record(cx: &Cx, recipient: &RecipientRef) -> Result<Value, store::Error> {
    let found = cx.core().store.recipients(cx.env(), &[recipient.key()]).await?.into_values().next();
    Ok(found.map_or_else(|| missing(recipient, cx.now()), |known| known.to_json()))
}

/// F-MSG-11, F-MSG-12.
async fn events(cx: Cx) -> Result<Answer, ApiError> {
    let message = shown(&cx).await?;
    let page = Page::from_query(&cx.query, List::MessageEvents)?;
    let mut all = cx.core().store.message_events(&message.id).await?;
    all.extend(own_events(&message, &all));
    all.sort_by(|a, b| (b.inserted_at, &b.id).cmp(&(a.inserted_at, &a.id)));
    let rows = Rows::of_all(all, &page, List::MessageEvents, |event| (event.inserted_at, event.id.as_str()));
    Ok(rows.answer("items", None, |event| event_json(&message, event)))
}

/// What the row itself tells: that the message was made, and what delivery came to when nothing had to be sent.
fn own_events(message: &Message, others: &[MessageEvent]) -> Vec<MessageEvent> {
    let event = |name: &str, inserted_at: Time| MessageEvent {
        id: Ksuid::mint(inserted_at, &[message.id.as_bytes(), name.as_bytes()]).to_string(),
        name: format!("message.{name}"),
        data: None,
        inserted_at,
    };
    // One that waited for its window was made when it began to wait.
    let queued_at = others.iter().find(|event| event.name == "message.queued").map(|event| event.inserted_at);
    let came_at = message.first_at.unwrap_or(message.inserted_at);
    let created_at = queued_at.map_or(came_at, |at| at.plus_micros(-1));
    let mut events = vec![event("created", created_at)];
    if ["delivered", "not_sent"].contains(&message.status.as_str()) {
        // A microsecond later, so that the order is told by the time alone.
        events.push(event(&message.status, came_at.plus_micros(1)));
    }
    if message.first_at.is_some() {
        events.push(event("collapsed", message.inserted_at));
    }
    events
}

fn event_json(message: &Message, event: &MessageEvent) -> Value {
    let data: Option<Value> = event.data.as_deref().and_then(|text| serde_json::from_str(text).ok());
    json!({
        "__typename": "MessageEvent",
        "id": event.id,
        "type": event.name,
        "recipient": message.recipient,
        "data": data,
        "inserted_at": event.inserted_at,
    })
}

/// F-MSG-13: nothing is sent for a feed, so that there is nothing to log.
async fn delivery_logs(cx: Cx) -> Result<Answer, ApiError> {
    shown(&cx).await?;
    let page = Page::from_query(&cx.query, List::DeliveryLogs)?;
    let rows: Rows<(Time, String)> = Rows::new(Vec::new(), &page, List::DeliveryLogs, |(at, id)| (*at, id.as_str()));
    Ok(rows.answer("items", None, |_| Value::Null))
}
