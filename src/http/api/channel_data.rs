//! Channel data of users and objects: where each channel reaches them (F-CHD-01 to F-CHD-17).

use serde_json::{Value, json};

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Answering, Route, Verb};
use crate::model::channel_data::provider;
use crate::sign::access::Grant;

const OF_USER: &str = "/v1/users/{user_id}/channel_data/{channel_id}";
const OF_OBJECT: &str = "/v1/objects/{collection}/{object_id}/channel_data/{channel_id}";

const fn write(verb: Verb, path: &'static str, operation: &'static str, handler: fn(Cx) -> Answering) -> Route {
    Route::new(verb, path, operation, Tier::Three, handler)
}

/// The routes. What an object's data is opens to a public key only with a token that names the object (F-GRN-09).
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, OF_USER, "getUserChannelData", Tier::Four, |cx| Box::pin(get(cx)))
        .public(Grant::ChannelDataRead),
    write(Verb::Put, OF_USER, "setUserChannelData", |cx| Box::pin(set(cx))).public(Grant::ChannelDataWrite),
    write(Verb::Delete, OF_USER, "unsetUserChannelData", |cx| Box::pin(unset(cx))).public(Grant::ChannelDataWrite),
    Route::new(Verb::Get, OF_OBJECT, "getObjectChannelData", Tier::Four, |cx| Box::pin(get(cx)))
        .granted(Grant::ChannelDataRead),
    write(Verb::Put, OF_OBJECT, "setObjectChannelData", |cx| Box::pin(set(cx))).granted(Grant::ChannelDataWrite),
    write(Verb::Delete, OF_OBJECT, "unsetObjectChannelData", |cx| Box::pin(unset(cx))),
];

/// F-CHD-04, F-ERR-07.
async fn get(cx: Cx) -> Result<Answer, ApiError> {
    let (recipient, channel) = (cx.recipient()?, cx.param("channel_id"));
    match cx.core().channel_data(cx.env(), &recipient, channel).await? {
        Some(data) => answer(&cx, data),
        None => Err(ApiError::missing(format!("`{recipient}` has no data of the channel `{channel}`."))),
    }
}

/// F-CHD-01.
async fn set(cx: Cx) -> Result<Answer, ApiError> {
    let (recipient, channel) = (cx.recipient()?, cx.param("channel_id"));
    let body = cx.members()?;
    let Some(Value::Object(data)) = body.get("data") else {
        return Err(ApiError::invalid_at("data", "is required, as an object"));
    };
    let data = cx.core().set_channel_data(cx.env(), &recipient, channel, data).await?;
    answer(&cx, data)
}

/// F-CHD-04, F-AMB-27.
async fn unset(cx: Cx) -> Result<Answer, ApiError> {
    cx.core().unset_channel_data(cx.env(), &cx.recipient()?, cx.param("channel_id")).await?;
    Ok(Answer::empty())
}

/// F-CHD-03.
fn answer(cx: &Cx, data: Value) -> Result<Answer, ApiError> {
    let (channel, _) = cx.core().catalog.data_channel(cx.env(), cx.param("channel_id"))?;
    let mut out = json!({"__typename": "ChannelData", "channel_id": channel.id, "data": data});
    if let Some(provider) = provider(channel) {
        out["provider"] = provider.into();
    }
    Ok(Answer::json(&out))
}
