//! Preferences of users and objects: what each wants to be told, set by set (F-PRF-08 to F-PRF-22).

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::http::answer::Answer;
use crate::http::api::messages;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Answering, Route, TenantIn, Verb};
use crate::model::invalid::Invalid;
use crate::rules::preference::{self, id_fault};
use crate::sign::access::Grant;
use crate::sign::refusal::Refusal;
use crate::verbs::prefer::{Member, Write};

const fn read(path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Get, path, operation, Tier::Four, handler)
}

const fn put(path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Put, path, operation, Tier::Three, handler)
}

const fn delete(path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Delete, path, operation, Tier::Three, handler)
}

/// The sets of these recipients, each as its list includes them, by the recipient's key; none where the request does not ask for
/// them by `include[]` (F-AMB-22).
pub(super) async fn included<'r>(
    cx: &Cx,
    recipients: impl Iterator<Item = &'r str>,
) -> Result<Option<HashMap<String, Map<String, Value>>>, ApiError> {
    if messages::in_words(cx.query.list("include"), "include", &["preferences"])?.is_empty() {
        return Ok(None);
    }
    let keys: Vec<&str> = recipients.collect();
    let mut found: HashMap<_, _> = keys.iter().map(|key| ((*key).to_owned(), Map::new())).collect();
    for (recipient, id, set, _) in cx.core().store.preference_sets_of(cx.env(), &keys).await? {
        found.entry(recipient).or_default().insert(id.clone(), preference::shown(&id, &set));
    }
    Ok(Some(found))
}

/// The routes. Those that write a part of a set are what old clients know (F-PRF-22).
pub const ROUTES: &[Route] = &[
    read("/v1/users/{user_id}/preferences", "listUserPreferenceSets", |cx| Box::pin(list(cx)))
        .public(Grant::PreferencesRead),
    read("/v1/users/{user_id}/preferences/{id}", "getUserPreferenceSet", |cx| Box::pin(get(cx)))
        .in_tenant(TenantIn::Path)
        .public(Grant::PreferencesRead),
    put("/v1/users/{user_id}/preferences/{id}", "updateUserPreferenceSet", |cx| Box::pin(set(cx)))
        .in_tenant(TenantIn::Path)
        .public(Grant::PreferencesWrite),
    delete("/v1/users/{user_id}/preferences/{id}", "deleteUserPreferenceSet", |cx| Box::pin(unset(cx)))
        .in_tenant(TenantIn::Path),
    put("/v1/users/{user_id}/preferences/{id}/categories", "updateUserPreferenceCategories", |cx| {
        Box::pin(set_map(cx, Member::Categories))
    })
    .public(Grant::PreferencesWrite),
    put("/v1/users/{user_id}/preferences/{id}/categories/{key}", "updateUserPreferenceCategory", |cx| {
        Box::pin(set_entry(cx, Member::Categories, "key"))
    })
    .public(Grant::PreferencesWrite),
    put("/v1/users/{user_id}/preferences/{id}/channel_types", "updateUserPreferenceChannelTypes", |cx| {
        Box::pin(set_map(cx, Member::ChannelTypes))
    })
    .public(Grant::PreferencesWrite),
    put("/v1/users/{user_id}/preferences/{id}/channel_types/{type}", "updateUserPreferenceChannelType", |cx| {
        Box::pin(set_entry(cx, Member::ChannelTypes, "type"))
    })
    .public(Grant::PreferencesWrite),
    put("/v1/users/{user_id}/preferences/{id}/workflows", "updateUserPreferenceWorkflows", |cx| {
        Box::pin(set_map(cx, Member::Workflows))
    })
    .public(Grant::PreferencesWrite),
    put("/v1/users/{user_id}/preferences/{id}/workflows/{key}", "updateUserPreferenceWorkflow", |cx| {
        Box::pin(set_entry(cx, Member::Workflows, "key"))
    })
    .public(Grant::PreferencesWrite),
    read("/v1/objects/{collection}/{object_id}/preferences", "listObjectPreferenceSets", |cx| Box::pin(list(cx))),
    read("/v1/objects/{collection}/{object_id}/preferences/{id}", "getObjectPreferenceSet", |cx| Box::pin(get(cx)))
        .in_tenant(TenantIn::Path),
    put("/v1/objects/{collection}/{object_id}/preferences/{id}", "updateObjectPreferenceSet", |cx| Box::pin(set(cx)))
        .in_tenant(TenantIn::Path),
    delete("/v1/objects/{collection}/{object_id}/preferences/{id}", "deleteObjectPreferenceSet", |cx| {
        Box::pin(unset(cx))
    })
    .in_tenant(TenantIn::Path),
    put("/v1/objects/{collection}/{object_id}/preferences/{id}/categories", "updateObjectPreferenceCategories", |cx| {
        Box::pin(set_map(cx, Member::Categories))
    }),
    put(
        "/v1/objects/{collection}/{object_id}/preferences/{id}/categories/{key}",
        "updateObjectPreferenceCategory",
        |cx| Box::pin(set_entry(cx, Member::Categories, "key")),
    ),
    put(
        "/v1/objects/{collection}/{object_id}/preferences/{id}/channel_types",
        "updateObjectPreferenceChannelTypes",
        |cx| Box::pin(set_map(cx, Member::ChannelTypes)),
    ),
    put(
        "/v1/objects/{collection}/{object_id}/preferences/{id}/channel_types/{type}",
        "updateObjectPreferenceChannelType",
        |cx| Box::pin(set_entry(cx, Member::ChannelTypes, "type")),
    ),
    put("/v1/objects/{collection}/{object_id}/preferences/{id}/workflows", "updateObjectPreferenceWorkflows", |cx| {
        Box::pin(set_map(cx, Member::Workflows))
    }),
    put(
        "/v1/objects/{collection}/{object_id}/preferences/{id}/workflows/{key}",
        "updateObjectPreferenceWorkflow",
        |cx| Box::pin(set_entry(cx, Member::Workflows, "key")),
    ),
];

/// The id of the set in the path, if the caller may do `grant` on it (F-GRN-15).
fn named(cx: &Cx, grant: Grant) -> Result<&str, ApiError> {
    let id = cx.param("id");
    if let Some(fault) = id_fault(id) {
        return Err(ApiError::invalid_at("id", fault));
    }
    if !covers(cx, grant, id) {
        return Err(Refusal::forbidden("The user token does not cover this preference set.").into());
    }
    Ok(id)
}

fn covers(cx: &Cx, grant: Grant, id: &str) -> bool {
    cx.caller.access().is_none_or(|access| access.allows_preference_set(grant, id))
}

/// F-PRF-18: those that the caller may see (F-GRN-11).
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let mut all = cx.core().all_preferences(cx.env(), &cx.recipient()?).await?;
    all.retain(|(id, _)| covers(&cx, Grant::PreferencesRead, id));
    Ok(Answer::json(&all.iter().map(|(_, set)| set.to_json()).collect::<Value>()))
}

/// F-PRF-16, F-PRF-21.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let recipient = cx.recipient()?;
    let id = named(&cx, Grant::PreferencesRead)?;
    let tenant = cx.query.get("tenant").filter(|tenant| !tenant.is_empty());
    if let (Some(tenant), Some(access)) = (tenant, cx.caller.access())
        && !access.scope(Grant::PreferencesRead).covers(Some(tenant))
    {
        return Err(Refusal::forbidden("The user token does not cover this tenant.").into());
    }
    let set = cx.core().preferences(cx.env(), &recipient, id, tenant).await?;
    Ok(Answer::json(&set.to_json()))
}

/// F-PRF-08, F-PRF-09.
async fn set(cx: Cx) -> Result<Answer, ApiError> {
    write(&cx, Write::set).await
}

/// F-PRF-22, F-AMB-35.
async fn set_map(cx: Cx, member: Member) -> Result<Answer, ApiError> {
    write(&cx, |body| Write::map(member, body)).await
}

/// F-PRF-22, F-AMB-35; `name` is that of the path's parameter.
async fn set_entry(cx: Cx, member: Member, name: &str) -> Result<Answer, ApiError> {
    write(&cx, |body| Write::entry(member, cx.param(name), body)).await
}

async fn write(
    cx: &Cx,
    parse: impl FnOnce(Map<String, Value>) -> Result<Write, Vec<Invalid>>,
) -> Result<Answer, ApiError> {
    let recipient = cx.recipient()?;
    let id = named(cx, Grant::PreferencesWrite)?;
    let set = cx.core().prefer(cx.env(), &recipient, id, &parse(cx.members()?)?).await?;
    Ok(Answer::json(&set.to_json()))
}

/// F-PRF-19.
async fn unset(cx: Cx) -> Result<Answer, ApiError> {
    let recipient = cx.recipient()?;
    let id = named(&cx, Grant::PreferencesWrite)?;
    cx.core().stop_preferring(cx.env(), &recipient, id).await?;
    Ok(Answer::empty())
}
