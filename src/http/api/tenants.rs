//! Tenants: objects of a collection of their own, shown flat, with what holds for whoever is told something in them.

use serde_json::Value;

use super::bulk_operations;
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::page::Rows;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::recipient::{Object, RecipientRef, TENANTS, tenant_id_fault};
use crate::rules::tenant;
use crate::store::objects::ObjectFilter;
use crate::verbs::bulk::deed::Deed;
use crate::verbs::identify::{Profile, nobody};
use crate::wire::cursor::{List, Page};

const ONE: &str = "/v1/tenants/{id}";

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/tenants", "listTenants", Tier::Four, |cx| Box::pin(list(cx))),
    Route::new(Verb::Get, ONE, "getTenant", Tier::Four, |cx| Box::pin(get(cx))).in_tenant(TenantIn::Path),
    Route::new(Verb::Put, ONE, "setTenant", Tier::Three, |cx| Box::pin(set(cx))).in_tenant(TenantIn::Path),
    Route::new(Verb::Delete, ONE, "deleteTenant", Tier::Two, |cx| Box::pin(delete(cx))),
    Route::new(Verb::Post, "/v1/tenants/bulk/set", "bulkSetTenants", Tier::One, |cx| Box::pin(set_many(cx))),
    Route::new(Verb::Post, "/v1/tenants/bulk/delete", "bulkDeleteTenants", Tier::One, |cx| Box::pin(delete_many(cx))),
];

/// The tenant in the path (F-TEN-01).
fn named(cx: &Cx) -> Result<RecipientRef, ApiError> {
    match tenant_id_fault(cx.param("id")) {
        Some(fault) => Err(ApiError::invalid_at("id", fault)),
        None => Ok(RecipientRef::Object { collection: TENANTS.to_owned(), id: cx.param("id").to_owned() }),
    }
}

/// The tenant as the caller wants to see it (F-TEN-08).
fn answer(cx: &Cx, tenant: &Object) -> Result<Answer, ApiError> {
    let json = match cx.query.bool("resolve_full_preference_settings")? {
        Some(true) => tenant::to_resolved_json(tenant, cx.caller.environment.settings.preferences.as_ref()),
        _ => tenant::to_json(tenant),
    };
    Ok(Answer::json(&json))
}

/// F-TEN-03.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let reference = named(&cx)?;
    let tenant = cx.core().store.object(cx.env(), TENANTS, cx.param("id")).await?;
    answer(&cx, &tenant.ok_or_else(|| nobody(&reference))?)
}

/// F-TEN-02.
async fn set(cx: Cx) -> Result<Answer, ApiError> {
    let profile = Profile::parse_of(&named(&cx)?, &cx.members()?, "")?;
    // Refused before anything is done.
    cx.query.bool("resolve_full_preference_settings")?;
    let tenant = cx.core().set_object(cx.env(), TENANTS, cx.param("id"), &profile).await?;
    answer(&cx, &tenant)
}

/// F-TEN-10.
async fn delete(cx: Cx) -> Result<Answer, ApiError> {
    cx.core().delete_recipient(cx.env(), &named(&cx)?).await?;
    Ok(Answer::empty())
}

/// F-TEN-09, F-AMB-18, F-AMB-24.
async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let page = Page::from_query(&cx.query, List::Tenants)?;
    let text = |name: &str| cx.query.get(name).map(str::to_owned);
    let filter = ObjectFilter { id: text("tenant_id"), name: text("name") };
    let store = &cx.core().store;
    let found = store.objects(cx.env(), TENANTS, &filter, page.at.as_ref(), page.size + 1).await?;
    let total = u64::try_from(store.object_count(cx.env(), TENANTS, &filter).await?).unwrap_or_default();
    let rows = Rows::new(found, &page, List::Tenants, |tenant| (tenant.inserted_at, tenant.id.as_str()));
    Ok(rows.answer("entries", Some(total), tenant::to_json))
}

/// F-TEN-12.
async fn set_many(cx: Cx) -> Result<Answer, ApiError> {
    let deed = Deed::SetObjects { collection: TENANTS.to_owned() };
    bulk_operations::start(&cx, deed, &cx.members()?, "tenants").await
}

/// F-TEN-11, F-AMB-24: the ids of the query and those of the body.
async fn delete_many(cx: Cx) -> Result<Answer, ApiError> {
    let mut body = cx.members()?;
    let named = cx.query.list("tenant_ids");
    if !named.is_empty() {
        let named = named.into_iter().map(Value::from);
        match body.entry("tenant_ids").or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(ids) => ids.extend(named),
            Value::Null => drop(body.insert("tenant_ids".to_owned(), named.collect())),
            _ => {}
        }
    }
    let deed = Deed::DeleteObjects { collection: TENANTS.to_owned() };
    bulk_operations::start(&cx, deed, &body, "tenant_ids").await
}
