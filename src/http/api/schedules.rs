//! Schedules: make, change, delete and list them.

use serde_json::Value;

use super::bulk_operations;
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::invalid::Invalid;
use crate::model::recipient::RecipientRef;
use crate::model::time::Time;
use crate::store::schedules::ScheduleFilter;
use crate::verbs::bulk::deed::Deed;
use crate::wire::cursor::{List, Page};
use crate::wire::query::Query;

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/schedules", "listSchedules", Tier::Four, |cx| Box::pin(list(cx)))
        .in_tenant(TenantIn::Query),
    Route::new(Verb::Post, "/v1/schedules", "createSchedules", Tier::Three, |cx| Box::pin(create(cx)))
        .in_tenant(TenantIn::Body),
    Route::new(Verb::Put, "/v1/schedules", "updateSchedules", Tier::Three, |cx| Box::pin(update(cx))),
    Route::new(Verb::Delete, "/v1/schedules", "deleteSchedules", Tier::Three, |cx| Box::pin(delete(cx))),
    Route::new(Verb::Post, "/v1/schedules/bulk/create", "bulkCreateSchedules", Tier::One, |cx| Box::pin(bulk(cx))),
    Route::new(Verb::Get, "/v1/users/{user_id}/schedules", "listUserSchedules", Tier::Four, |cx| {
        Box::pin(list_of_user(cx))
    })
    .in_tenant(TenantIn::Query),
    Route::new(Verb::Get, "/v1/objects/{collection}/{id}/schedules", "listObjectSchedules", Tier::Four, |cx| {
        Box::pin(list_of_object(cx))
    })
    .in_tenant(TenantIn::Query),
];

/// W-SCH-01, W-SCH-02.
async fn create(cx: Cx) -> Result<Answer, ApiError> {
    Ok(Answer::json(&cx.core().create_schedules(cx.env(), cx.members()?).await?.into()))
}

/// W-SCH-30.
async fn update(cx: Cx) -> Result<Answer, ApiError> {
    Ok(Answer::json(&cx.core().update_schedules(cx.env(), cx.members()?).await?.into()))
}

/// W-SCH-33, F-TRN-02.
async fn delete(cx: Cx) -> Result<Answer, ApiError> {
    Ok(Answer::json(&cx.core().delete_schedules(cx.env(), &cx.members()?).await?.into()))
}

/// W-SCH-38.
async fn bulk(cx: Cx) -> Result<Answer, ApiError> {
    bulk_operations::start(&cx, Deed::CreateSchedules, &cx.members()?, "schedules").await
}

/// W-SCH-34.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    if cx.query.get("workflow").is_none() {
        return Err(ApiError::invalid_at("workflow", "workflow is required: the key of a workflow"));
    }
    let recipients = recipients(&cx.query)?;
    list_with(&cx, recipients).await
}

/// W-SCH-35, F-AMB-63.
async fn list_of_user(cx: Cx) -> Result<Answer, ApiError> {
    let id = cx.param("user_id");
    if cx.core().store.user(cx.env(), id).await?.is_none() {
        return Err(ApiError::missing(format!("There is no user `{id}`.")));
    }
    list_with(&cx, vec![RecipientRef::User(id.to_owned())]).await
}

/// W-SCH-35, F-AMB-63.
async fn list_of_object(cx: Cx) -> Result<Answer, ApiError> {
    let (collection, id) = (cx.param("collection"), cx.param("id"));
    if cx.core().store.object(cx.env(), collection, id).await?.is_none() {
        return Err(ApiError::missing(format!("There is no object `{id}` in `{collection}`.")));
    }
    list_with(&cx, vec![RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() }]).await
}

async fn list_with(cx: &Cx, recipients: Vec<RecipientRef>) -> Result<Answer, ApiError> {
    let page = Page::from_query(&cx.query, List::Schedules)?;
    let text = |name: &str| cx.query.get(name).map(str::to_owned);
    let filter = ScheduleFilter { workflow: text("workflow"), tenant: text("tenant"), recipients };
    let found = cx.core().list_schedules(cx.env(), &filter, page.at.as_ref(), page.size + 1).await?;
    let placed = found.into_iter().map(|(schedule, json)| (schedule.inserted_at, schedule.id.to_string(), json));
    let placed: Vec<(Time, String, Value)> = placed.collect();
    let rows = Rows::new(placed, &page, List::Schedules, |(at, id, _)| (*at, id.as_str()));
    Ok(rows.answer("entries", None, |(_, _, json)| json.clone()))
}

/// `recipients[]`, each a user id or an object's id and collection, however they are spelled (F-TRN-08).
fn recipients(query: &Query) -> Result<Vec<RecipientRef>, Invalid> {
    let fault = || Invalid::new("recipients", "a recipient is a user id, or an id with a collection");
    let mut out = Vec::new();
    for text in query.list("recipients") {
        out.push(match text.starts_with('{') {
            false => RecipientRef::User(text.to_owned()),
            true => {
                let members: Value = serde_json::from_str(text).map_err(|_| fault())?;
                let member = |name: &str| members[name].as_str().map(str::to_owned);
                reference(member("id"), member("collection")).ok_or_else(fault)?
            }
        });
    }
    for mut members in query.objects("recipients") {
        out.push(reference(members.remove("id"), members.remove("collection")).ok_or_else(fault)?);
    }
    Ok(out)
}

fn reference(id: Option<String>, collection: Option<String>) -> Option<RecipientRef> {
    Some(match collection {
        Some(collection) => RecipientRef::Object { collection, id: id? },
        None => RecipientRef::User(id?),
    })
}
