//! Bulk operations: how far they have come.

use serde_json::{Map, Value};

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Route, Verb};
use crate::verbs::bulk::deed::Deed;

/// The routes.
pub const ROUTES: &[Route] =
    &[Route::new(Verb::Get, "/v1/bulk_operations/{id}", "getBulkOperation", Tier::Four, |cx| Box::pin(get(cx)))];

/// Accepts what is to be done to each entry that `body` lists under `field` (F-BLK-01).
pub(crate) async fn start(cx: &Cx, deed: Deed, body: &Map<String, Value>, field: &str) -> Result<Answer, ApiError> {
    let operation = cx.core().start_bulk_of(cx.env(), deed, body, field).await?;
    Ok(Answer::json(&operation.to_json(&cx.origin())))
}

/// F-BLK-05.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let id = cx.param("id");
    match cx.core().store.bulk_operation_in(cx.env(), id).await? {
        Some(operation) => Ok(Answer::json(&operation.to_json(&cx.origin()))),
        None => Err(ApiError::missing(format!("There is no bulk operation `{id}`."))),
    }
}
