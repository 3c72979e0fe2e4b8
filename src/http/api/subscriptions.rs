//! Subscriptions: who follows which object.

use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{messages, preferences};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, Verb};
use crate::model::invalid::Invalid;
use crate::model::recipient::RecipientRef;
use crate::model::subscription::Subscription;
use crate::store;
use crate::store::subscriptions::Whose;
use crate::verbs::subscribe::Request;
use crate::wire::cursor::{Cursor, List, Page};

const OF_OBJECT: &str = "/v1/objects/{collection}/{object_id}/subscriptions";

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, OF_OBJECT, "listSubscriptionsForObject", Tier::Four, |cx| Box::pin(list_of_object(cx))),
    Route::new(Verb::Post, OF_OBJECT, "addSubscriptionsForObject", Tier::Three, |cx| Box::pin(add(cx))),
    Route::new(Verb::Delete, OF_OBJECT, "deleteSubscriptionsForObject", Tier::Three, |cx| Box::pin(remove(cx))),
    Route::new(Verb::Get, "/v1/users/{user_id}/subscriptions", "listSubscriptionsForUser", Tier::Four, |cx| {
        Box::pin(list_of_user(cx))
    }),
];

/// F-SUB-02, F-SUB-03.
async fn add(cx: Cx) -> Result<Answer, ApiError> {
    let (object, request) = (cx.recipient()?, Request::parse(&cx.members()?)?);
    let subscribed = cx.core().subscribe(cx.env(), &object, &request).await?;
    answer(&cx, &subscribed).await
}

/// F-SUB-04.
async fn remove(cx: Cx) -> Result<Answer, ApiError> {
    let (object, request) = (cx.recipient()?, Request::parse(&cx.members()?)?);
    let gone = cx.core().unsubscribe(cx.env(), &object, &request).await?;
    answer(&cx, &gone).await
}

/// F-SUB-05, F-AMB-63.
async fn list_of_object(cx: Cx) -> Result<Answer, ApiError> {
    let object = cx.recipient()?;
    let mode = messages::in_words(cx.query.get("mode").into_iter().collect(), "mode", &["object", "recipient"])?;
    if cx.core().store.object(cx.env(), cx.param("collection"), cx.param("object_id")).await?.is_none() {
        return Err(ApiError::missing(format!("There is no object `{object}`.")));
    }
    let key = object.key();
    match mode.first().map(String::as_str) {
        Some("recipient") => list(&cx, Whose::Recipient(&key), named_objects(&cx)?).await,
        _ => list(&cx, Whose::Object(&key), named_recipients(&cx)?).await,
    }
}

/// F-SUB-06, F-AMB-63.
async fn list_of_user(cx: Cx) -> Result<Answer, ApiError> {
    let id = cx.param("user_id");
    if cx.core().store.user(cx.env(), id).await?.is_none() {
        return Err(ApiError::missing(format!("There is no user `{id}`.")));
    }
    list(&cx, Whose::Recipient(id), named_objects(&cx)?).await
}

async fn list(cx: &Cx, whose: Whose<'_>, only: Option<Vec<String>>) -> Result<Answer, ApiError> {
    let page = Page::from_query(&cx.query, List::Subscriptions)?;
    let (store, only) = (&cx.core().store, only.as_deref());
    let found = store.subscriptions(cx.env(), whose, only, page.at.as_ref(), page.size + 1).await?;
    let total = u64::try_from(store.subscription_count(cx.env(), whose, only).await?).unwrap_or_default();
    let rows = Rows::placed(found, &page, List::Subscriptions, |one| Cursor::Seq(one.n));
    let mut records = records(cx, &rows.rows).await?;
    let keys: Vec<(&RecipientRef, String)> =
        rows.rows.iter().map(|one| (&one.recipient, one.recipient.key())).collect();
    if let Some(sets) = preferences::included(cx, keys.iter().map(|(_, key)| key.as_str())).await? {
        for (recipient, key) in keys {
            if let Some(record) = records.get_mut(recipient) {
                record["preferences"] = sets[&key].clone().into();
            }
        }
    }
    Ok(rows.answer("entries", Some(total), |one| json(one, &records)))
}

async fn answer(cx: &Cx, subscriptions: &[Subscription]) -> Result<Answer, ApiError> {
    let records = records(cx, subscriptions).await?;
    Ok(Answer::json(&subscriptions.iter().map(|one| json(one, &records)).collect()))
}

fn json(one: &Subscription, records: &HashMap<RecipientRef, Value>) -> Value {
    let record = |reference: &RecipientRef| records.get(reference).unwrap_or(&Value::Null);
    one.to_json(record(&one.object), record(&one.recipient))
}

/// The records of both ends of these subscriptions.
async fn records(cx: &Cx, subscriptions: &[Subscription]) -> Result<HashMap<RecipientRef, Value>, store::Error> {
    let users: Vec<&str> = subscriptions.iter().filter_map(|one| one.recipient.user_id()).collect();
    let users = cx.core().store.users_by_ids(cx.env(), &users).await?;
    let mut out: HashMap<RecipientRef, Value> =
        users.iter().map(|user| (RecipientRef::User(user.id.clone()), user.to_json())).collect();
    for end in subscriptions.iter().flat_map(|one| [&one.object, &one.recipient]) {
        if !out.contains_key(end) {
            out.insert(end.clone(), messages::record(cx, end).await?);
        }
    }
    Ok(out)
}

/// The keys of `objects[]`, if any are named.
fn named_objects(cx: &Cx) -> Result<Option<Vec<String>>, ApiError> {
    let named: Result<Vec<String>, Invalid> =
        cx.query.objects("objects").into_iter().map(|one| key(one, "objects")).collect();
    Ok(Some(named?).filter(|named| !named.is_empty()))
}

/// The keys of `recipients[]`, users and objects, if any are named.
fn named_recipients(cx: &Cx) -> Result<Option<Vec<String>>, ApiError> {
    let mut named: Vec<String> = cx.query.list("recipients").into_iter().map(str::to_owned).collect();
    for one in cx.query.objects("recipients") {
        named.push(key(one, "recipients")?);
    }
    Ok(Some(named).filter(|named| !named.is_empty()))
}

fn key(mut members: BTreeMap<String, String>, field: &str) -> Result<String, Invalid> {
    match (members.remove("collection"), members.remove("id")) {
        (Some(collection), Some(id)) => Ok(RecipientRef::Object { collection, id }.key()),
        _ => Err(Invalid::new(field, "an object is named by its collection and its id")),
    }
}
