//! The preference centre: how it is configured, and the link by which a user gets to it (F-PCC-01 to F-PCC-05).

use serde_json::json;

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Route, Verb};
use crate::sign::access::Grant;
use crate::sign::page_token::Purpose;
use crate::verbs::center;

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(
        Verb::Get,
        "/v1/users/{user_id}/preference_center/config",
        "getPreferenceCenterConfig",
        Tier::Four,
        |cx| Box::pin(config(cx)),
    )
    .public(Grant::PreferencesRead),
    Route::new(
        Verb::Post,
        "/v1/users/{user_id}/preference_center/signed_url",
        "generatePreferenceCenterSignedUrl",
        Tier::Three,
        |cx| Box::pin(signed_url(cx)),
    ),
];

/// F-PCC-01, F-PCC-04, F-AMB-63.
async fn config(cx: Cx) -> Result<Answer, ApiError> {
    let id = cx.param("user_id");
    let user = cx.core().store.user(cx.env(), id).await?;
    let user = user.ok_or_else(|| ApiError::missing(format!("There is no user `{id}`.")))?;
    let settings = &cx.caller.environment.settings;
    Ok(Answer::json(&settings.center.to_json(&settings.vars, user.label())))
}

/// F-PCC-05, F-AMB-63.
async fn signed_url(cx: Cx) -> Result<Answer, ApiError> {
    // It says nothing, but it is read like any other.
    cx.members()?;
    let purpose = Purpose::Preferences;
    let token = cx.core().page_token(cx.env(), cx.param("user_id"), purpose).await?;
    let url = format!("{}{}", cx.origin(), center::path(purpose, &token));
    Ok(Answer::json(&json!({"url": url, "token": token})))
}
