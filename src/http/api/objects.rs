//! Objects and their collections: set, read, list and delete them, one or many at a time.

use super::{bulk_operations, messages, preferences};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::recipient::{Object, object_id_fault};
use crate::store::objects::ObjectFilter;
use crate::verbs::bulk::deed::Deed;
use crate::verbs::identify::Profile;
use crate::wire::cursor::{List, Page};

const ONE: &str = "/v1/objects/{collection}/{id}";

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/objects/{collection}", "listObjects", Tier::Four, |cx| Box::pin(list(cx))),
    Route::new(Verb::Get, ONE, "getObject", Tier::Four, |cx| Box::pin(get(cx))),
    Route::new(Verb::Put, ONE, "setObject", Tier::Three, |cx| Box::pin(set(cx))),
    Route::new(Verb::Delete, ONE, "deleteObject", Tier::Three, |cx| Box::pin(delete(cx))),
    Route::new(Verb::Get, "/v1/objects/{collection}/{id}/messages", "listMessagesForObject", Tier::Four, |cx| {
        Box::pin(list_messages(cx))
    })
    .in_tenant(TenantIn::Query)
    .kept_for_a_time(),
    Route::new(Verb::Post, "/v1/objects/{collection}/bulk/set", "bulkSetObjects", Tier::One, |cx| {
        Box::pin(set_many(cx))
    }),
    Route::new(Verb::Post, "/v1/objects/{collection}/bulk/delete", "bulkDeleteObjects", Tier::One, |cx| {
        Box::pin(delete_many(cx))
    }),
    Route::new(
        Verb::Post,
        "/v1/objects/{collection}/bulk/subscriptions/add",
        "bulkAddSubscriptions",
        Tier::One,
        |cx| Box::pin(subscribe_many(cx)),
    ),
    Route::new(
        Verb::Post,
        "/v1/objects/{collection}/bulk/subscriptions/delete",
        "bulkDeleteSubscriptions",
        Tier::One,
        |cx| Box::pin(unsubscribe_many(cx)),
    ),
];

/// The collection in the path.
fn collection(cx: &Cx) -> Result<String, ApiError> {
    let collection = cx.param("collection");
    match object_id_fault(collection) {
        Some(fault) => Err(ApiError::invalid_at("collection", fault)),
        None => Ok(collection.to_owned()),
    }
}

/// The object in the path, or 404.
async fn found(cx: &Cx) -> Result<Object, ApiError> {
    let reference = cx.object("id")?;
    let object = cx.core().store.object(cx.env(), cx.param("collection"), cx.param("id")).await?;
    object.ok_or_else(|| ApiError::missing(format!("There is no object `{reference}`.")))
}

/// F-OBJ-04.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    Ok(Answer::json(&found(&cx).await?.to_json()))
}

/// F-OBJ-02: an empty body still creates the object.
async fn set(cx: Cx) -> Result<Answer, ApiError> {
    let profile = Profile::parse_of(&cx.object("id")?, &cx.members()?, "")?;
    let object = cx.core().set_object(cx.env(), cx.param("collection"), cx.param("id"), &profile).await?;
    Ok(Answer::json(&object.to_json()))
}

/// F-OBJ-04, F-SUB-15.
async fn delete(cx: Cx) -> Result<Answer, ApiError> {
    cx.core().delete_recipient(cx.env(), &cx.object("id")?).await?;
    Ok(Answer::empty())
}

/// F-OBJ-06, F-AMB-18, F-AMB-22.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let (collection, all) = (collection(&cx)?, ObjectFilter::default());
    let page = Page::from_query(&cx.query, List::Objects)?;
    let store = &cx.core().store;
    let found = store.objects(cx.env(), &collection, &all, page.at.as_ref(), page.size + 1).await?;
    let total = u64::try_from(store.object_count(cx.env(), &collection, &all).await?).unwrap_or_default();
    let rows = Rows::new(found, &page, List::Objects, |object| (object.inserted_at, object.id.as_str()));
    let keys: Vec<String> = rows.rows.iter().map(Object::key).collect();
    let sets = preferences::included(&cx, keys.iter().map(String::as_str)).await?;
    Ok(rows.answer("entries", Some(total), |object| {
        let mut json = object.to_json();
        if let Some(sets) = &sets {
            json["preferences"] = sets[&object.key()].clone().into();
        }
        json
    }))
}

/// F-MSG-18, F-AMB-63.
async fn list_messages(cx: Cx) -> Result<Answer, ApiError> {
    found(&cx).await?;
    messages::list_of(&cx, Some(cx.object("id")?)).await
}

/// F-OBJ-08.
async fn set_many(cx: Cx) -> Result<Answer, ApiError> {
    let deed = Deed::SetObjects { collection: collection(&cx)? };
    bulk_operations::start(&cx, deed, &cx.members()?, "objects").await
}

/// F-OBJ-08.
async fn delete_many(cx: Cx) -> Result<Answer, ApiError> {
    let deed = Deed::DeleteObjects { collection: collection(&cx)? };
    bulk_operations::start(&cx, deed, &cx.members()?, "object_ids").await
}

/// F-SUB-08.
async fn subscribe_many(cx: Cx) -> Result<Answer, ApiError> {
    let deed = Deed::Subscribe { collection: collection(&cx)? };
    bulk_operations::start(&cx, deed, &cx.members()?, "subscriptions").await
}

/// F-SUB-08.
async fn unsubscribe_many(cx: Cx) -> Result<Answer, ApiError> {
    let deed = Deed::Unsubscribe { collection: collection(&cx)? };
    bulk_operations::start(&cx, deed, &cx.members()?, "subscriptions").await
}
