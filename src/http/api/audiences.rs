//! Audiences: who is a member of them (F-AUD-01 to F-AUD-06).

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, Verb};
use crate::model::recipient::{User, missing_user};
use crate::wire::cursor::{List, Page};

const MEMBERS: &str = "/v1/audiences/{key}/members";

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, MEMBERS, "listAudienceMembers", Tier::Four, |cx| Box::pin(list(cx))),
    Route::new(Verb::Post, MEMBERS, "addAudienceMembers", Tier::Three, |cx| Box::pin(add(cx))),
    Route::new(Verb::Delete, MEMBERS, "removeAudienceMembers", Tier::Three, |cx| Box::pin(remove(cx))),
];

/// F-AUD-06, F-AMB-65.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let (key, core) = (cx.param("key"), cx.core());
    let page = Page::from_query(&cx.query, List::AudienceMembers)?;
    if !core.knows_audience(cx.env(), key).await? {
        return Err(ApiError::missing(format!("There is no audience `{key}`.")));
    }
    let found = core.store.audience_members(cx.env(), key, page.at.as_ref(), page.size + 1).await?;
    let ids: Vec<&str> = found.iter().map(|member| member.user.as_str()).collect();
    let users = core.store.users_by_ids(cx.env(), &ids).await?;
    let users: HashMap<&str, &User> = users.iter().map(|user| (user.id.as_str(), user)).collect();
    let rows = Rows::new(found, &page, List::AudienceMembers, |member| (member.added_at, member.slot.as_str()));
    Ok(rows.answer("entries", None, |member| {
        let user: Option<Value> = users.get(member.user.as_str()).map(|user| user.to_json());
        json!({
            "__typename": "AudienceMember",
            "user_id": member.user,
            "user": user.unwrap_or_else(|| missing_user(&member.user, member.added_at)),
            "tenant": member.tenant,
            "added_at": member.added_at,
        })
    }))
}

/// F-AUD-01, F-AUD-04.
async fn add(cx: Cx) -> Result<Answer, ApiError> {
    let create = cx.query.bool("create_audience")?.unwrap_or(false);
    cx.core().add_members(cx.env(), cx.param("key"), &cx.json()?, create).await?;
    Ok(Answer::empty())
}

/// F-AUD-05.
async fn remove(cx: Cx) -> Result<Answer, ApiError> {
    cx.core().remove_members(cx.env(), cx.param("key"), &cx.json()?).await?;
    Ok(Answer::empty())
}
