//! Bulk operations: how far they have come.

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Route, Verb};

/// The routes.
pub const ROUTES: &[Route] =
    &[Route::new(Verb::Get, "/v1/bulk_operations/{id}", "getBulkOperation", Tier::Four, |cx| Box::pin(get(cx)))];

/// F-BLK-05.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let id = cx.param("id");
    match cx.core().store.bulk_operation_in(cx.env(), id).await? {
        Some(operation) => Ok(Answer::json(&operation.to_json(&cx.origin()))),
        None => Err(ApiError::missing(format!("There is no bulk operation `{id}`."))),
    }
}
