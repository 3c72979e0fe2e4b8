//! Users: identify, read, list and delete them.

use serde_json::{Value, json};

use super::{bulk_operations, messages, preferences};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::presence::Seen;
use crate::model::recipient::{RecipientRef, User, tenant_id_fault};
use crate::rules::preference;
use crate::sign::access::Grant;
use crate::verbs::bulk::deed::Deed;
use crate::verbs::identify::Profile;
use crate::wire::cursor::{List, Page};

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/users", "listUsers", Tier::Four, |cx| Box::pin(list(cx))),
    Route::new(Verb::Get, "/v1/users/{user_id}", "getUser", Tier::Four, |cx| Box::pin(get(cx))).public(Grant::UserRead),
    Route::new(Verb::Put, "/v1/users/{user_id}", "identifyUser", Tier::Three, |cx| Box::pin(identify(cx)))
        .public(Grant::UserWrite),
    Route::new(Verb::Delete, "/v1/users/{user_id}", "deleteUser", Tier::Two, |cx| Box::pin(delete(cx))),
    Route::new(Verb::Get, "/v1/users/{user_id}/messages", "listMessagesForUser", Tier::Four, |cx| {
        Box::pin(list_messages(cx))
    })
    .in_tenant(TenantIn::Query)
    .kept_for_a_time(),
    Route::new(Verb::Post, "/v1/users/{user_id}/merge", "mergeUser", Tier::Two, |cx| Box::pin(merge(cx))),
    Route::new(Verb::Post, "/v1/users/bulk/identify", "bulkIdentifyUsers", Tier::One, |cx| Box::pin(identify_many(cx))),
    Route::new(Verb::Post, "/v1/users/bulk/delete", "bulkDeleteUsers", Tier::One, |cx| Box::pin(delete_many(cx))),
    Route::new(Verb::Post, "/v1/users/bulk/preferences", "bulkSetUserPreferences", Tier::One, |cx| {
        Box::pin(set_preferences_of_many(cx))
    }),
    Route::new(Verb::Get, "/v1/users/{user_id}/presence", "getUserPresence", Tier::Four, |cx| Box::pin(presence(cx))),
];

/// The user in the path, or 404.
async fn found(cx: &Cx) -> Result<User, ApiError> {
    let id = cx.param("user_id");
    let user = cx.core().store.user(cx.env(), id).await?;
    user.ok_or_else(|| ApiError::missing(format!("There is no user `{id}`.")))
}

/// F-USR-10.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    Ok(Answer::json(&found(&cx).await?.to_json()))
}

/// F-USR-01, F-USR-20: an empty body still creates the user.
async fn identify(cx: Cx) -> Result<Answer, ApiError> {
    let profile = Profile::parse(&cx.members()?, "")?;
    let user = cx.core().identify_user(cx.env(), cx.param("user_id"), &profile).await?;
    Ok(Answer::json(&user.to_json()))
}

/// F-USR-12.
async fn delete(cx: Cx) -> Result<Answer, ApiError> {
    cx.core().delete_user(cx.env(), cx.param("user_id")).await?;
    Ok(Answer::empty())
}

/// F-USR-11, F-AMB-18, F-AMB-22.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let page = Page::from_query(&cx.query, List::Users)?;
    let store = &cx.core().store;
    let users = store.users(cx.env(), page.at.as_ref(), page.size + 1).await?;
    let total = u64::try_from(store.user_count(cx.env()).await?).unwrap_or_default();
    let rows = Rows::new(users, &page, List::Users, |user| (user.inserted_at, user.id.as_str()));
    let sets = preferences::included(&cx, rows.rows.iter().map(|user| user.id.as_str())).await?;
    Ok(rows.answer("entries", Some(total), |user| {
        let mut json = user.to_json();
        if let Some(sets) = &sets {
            json["preferences"] = sets[&user.id].clone().into();
        }
        json
    }))
}

/// F-USR-18, F-AMB-63.
async fn list_messages(cx: Cx) -> Result<Answer, ApiError> {
    let user = found(&cx).await?;
    messages::list_of(&cx, Some(RecipientRef::User(user.id))).await
}

/// F-USR-14.
async fn merge(cx: Cx) -> Result<Answer, ApiError> {
    let body = cx.members()?;
    let Some(Value::String(from)) = body.get("from_user_id") else {
        return Err(ApiError::invalid_at("from_user_id", "from_user_id is required: a user's id, as a string"));
    };
    let user = cx.core().merge_users(cx.env(), cx.param("user_id"), from).await?;
    Ok(Answer::json(&user.to_json()))
}

/// F-USR-16.
async fn identify_many(cx: Cx) -> Result<Answer, ApiError> {
    bulk_operations::start(&cx, Deed::IdentifyUsers, &cx.members()?, "users").await
}

/// F-USR-17.
async fn delete_many(cx: Cx) -> Result<Answer, ApiError> {
    bulk_operations::start(&cx, Deed::DeleteUsers, &cx.members()?, "user_ids").await
}

/// F-PRF-20: the set is replaced, whatever it says of how it is to be kept.
async fn set_preferences_of_many(cx: Cx) -> Result<Answer, ApiError> {
    let body = cx.members()?;
    let Some(Value::Object(set)) = body.get("preferences") else {
        return Err(ApiError::invalid_at("preferences", "preferences is required, as an object"));
    };
    let faults = preference::check(set, "preferences");
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let mut set = set.clone();
    let id = match set.remove("id") {
        None | Some(Value::Null) => preference::DEFAULT.to_owned(),
        Some(Value::String(id)) if tenant_id_fault(&id).is_none() => id,
        Some(_) => return Err(ApiError::invalid_at("preferences.id", "must be `default` or a tenant's id")),
    };
    bulk_operations::start(&cx, Deed::SetPreferences { id, set }, &body, "user_ids").await
}

/// Our own: whether the user has a bell open, and on how many nodes; approximate, and for users never identified too.
async fn presence(cx: Cx) -> Result<Answer, ApiError> {
    let user = cx.param("user_id");
    let online = cx.core().bus.online(cx.env(), &[user]).await;
    match online.map(|online| online.first().copied()) {
        Ok(Some(presence)) => {
            let stored = cx.core().store.last_seen(cx.env(), &[user]).await?.remove(user);
            let seen = Seen::at(Some(presence.is_online()), stored, cx.now());
            let last_seen_at = seen.last_seen_at;
            Ok(Answer::json(&json!({"online": seen.is_online, "nodes": presence.nodes, "last_seen_at": last_seen_at})))
        }
        _ => Err(ApiError::away("The server that knows who is online does not answer now. Try again.")),
    }
}
