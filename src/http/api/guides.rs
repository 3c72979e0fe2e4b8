//! Guides: those that a user is shown, and what they do with them (F-GDE-01 to F-GDE-12).

use serde_json::{Map, Value, json};

use crate::engine::guides::{Asked, Guidance, guidance};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Answering, Route, Verb};
use crate::model::guide::GROUP;
use crate::model::invalid::Invalid;
use crate::model::mark::Mark;
use crate::model::recipient::tenant_id_fault;
use crate::sign::access::Grant;
use crate::verbs::guide::{Engagement, Renewal};
use crate::wire::json::{MAX_DEPTH, depth_at_most};
use crate::wire::query::Query;

const fn write(verb: Verb, path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(verb, path, operation, Tier::Two, handler).public(Grant::GuideWrite)
}

/// The routes. Pages of old name a message besides, in two ways (F-GDE-08): what is marked is in the body.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/users/{user_id}/guides/{channel_id}", "listUserGuides", Tier::Two, |cx| {
        Box::pin(list(cx))
    })
    .public(Grant::GuideRead),
    write(Verb::Put, "/v1/users/{user_id}/guides/messages/seen", "markUserGuideAsSeen", |cx| Box::pin(seen(cx))),
    write(Verb::Put, "/v1/users/{user_id}/guides/messages/interacted", "markUserGuideAsInteracted", |cx| {
        Box::pin(interacted(cx))
    }),
    write(Verb::Put, "/v1/users/{user_id}/guides/messages/archived", "markUserGuideAsArchived", |cx| {
        Box::pin(archived(cx))
    }),
    write(Verb::Put, "/v1/users/{user_id}/guides/messages/{message_id}/seen", "markUserGuideAsSeen", |cx| {
        Box::pin(seen(cx))
    }),
    write(
        Verb::Put,
        "/v1/users/{user_id}/guides/messages/{message_id}/interacted",
        "markUserGuideAsInteracted",
        |cx| Box::pin(interacted(cx)),
    ),
    write(Verb::Put, "/v1/users/{user_id}/guides/messages/{message_id}/archived", "markUserGuideAsArchived", |cx| {
        Box::pin(archived(cx))
    }),
    write(
        Verb::Put,
        "/v1/users/{user_id}/guides/{channel_id}/messages/{message_id}/seen",
        "markUserGuideAsSeen",
        |cx| Box::pin(seen(cx)),
    ),
    write(
        Verb::Put,
        "/v1/users/{user_id}/guides/{channel_id}/messages/{message_id}/interacted",
        "markUserGuideAsInteracted",
        |cx| Box::pin(interacted(cx)),
    ),
    write(
        Verb::Put,
        "/v1/users/{user_id}/guides/{channel_id}/messages/{message_id}/archived",
        "markUserGuideAsArchived",
        |cx| Box::pin(archived(cx)),
    ),
    write(Verb::Delete, "/v1/users/{user_id}/guides/messages/archived", "markUserGuideAsUnarchived", |cx| {
        Box::pin(unarchived(cx))
    }),
    write(Verb::Put, "/v1/users/{user_id}/guides/engagements/reset", "resetUserGuideEngagement", |cx| {
        Box::pin(reset(cx))
    }),
];

/// F-GDE-01: the guides that the user is shown at this moment, and why not the others.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    cx.recipient()?;
    let channel = cx.core().guide_channel(cx.param("channel_id"))?;
    let tenant = cx.query.get("tenant").filter(|tenant| !tenant.is_empty());
    if let Some(fault) = tenant.and_then(tenant_id_fault) {
        return Err(ApiError::invalid_at("tenant", fault));
    }
    let data = data(&cx.query)?;
    let asked = Asked {
        env: cx.env(),
        channel,
        user: cx.param("user_id"),
        tenant,
        data: &data,
        kind: cx.query.get("type").filter(|kind| !kind.is_empty()),
        is_forced: cx.query.get("force_all_guides") == Some("true"),
    };
    Ok(Answer::json(&told(guidance(cx.core(), asked).await?)))
}

/// What the page says of itself: an object, as JSON.
fn data(query: &Query) -> Result<Map<String, Value>, Invalid> {
    let Some(text) = query.get("data").filter(|text| !text.is_empty()) else { return Ok(Map::new()) };
    let parsed = if depth_at_most(text, MAX_DEPTH) { serde_json::from_str(text).ok() } else { None };
    parsed.ok_or_else(|| Invalid::new("data", "must be a JSON object"))
}

fn told(guidance: Guidance) -> Value {
    let markers: Vec<Value> =
        guidance.guides.iter().filter_map(|found| Some(found.ineligible?.marker(&found.guide.key))).collect();
    let displayed = guidance.dismissed_at.map(|at| (GROUP.to_owned(), Value::from(at.to_string())));
    json!({
        "entries": guidance.guides.into_iter().filter_map(|found| found.told).collect::<Vec<_>>(),
        "guide_groups": guidance.group.into_iter().collect::<Vec<_>>(),
        "guide_group_display_logs": Map::from_iter(displayed),
        "ineligible_guides": markers,
    })
}

async fn seen(cx: Cx) -> Result<Answer, ApiError> {
    engage(&cx, Mark::Seen).await
}

async fn interacted(cx: Cx) -> Result<Answer, ApiError> {
    engage(&cx, Mark::Interacted).await
}

async fn archived(cx: Cx) -> Result<Answer, ApiError> {
    engage(&cx, Mark::Archived).await
}

/// F-GDE-07, F-AMB-51.
async fn engage(cx: &Cx, mark: Mark) -> Result<Answer, ApiError> {
    cx.recipient()?;
    let engagement = Engagement::parse(mark, &cx.members()?)?;
    cx.core().engage(cx.env(), cx.param("user_id"), &engagement).await?;
    Ok(done())
}

/// F-GDE-09.
async fn unarchived(cx: Cx) -> Result<Answer, ApiError> {
    cx.recipient()?;
    let renewal = Renewal::parse(&cx.members()?)?;
    cx.core().unarchive_guide(cx.env(), cx.param("user_id"), &renewal).await?;
    Ok(done())
}

/// F-GDE-09.
async fn reset(cx: Cx) -> Result<Answer, ApiError> {
    cx.recipient()?;
    let renewal = Renewal::parse(&cx.members()?)?;
    cx.core().reset_guide(cx.env(), cx.param("user_id"), &renewal).await?;
    Ok(done())
}

fn done() -> Answer {
    Answer::json(&json!({"status": "ok"}))
}
