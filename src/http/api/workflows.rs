//! Workflows: trigger them, cancel what waits; in the present spelling and in the old one.

use hyper::header::HeaderName;
use serde_json::{Map, Value, json};

use crate::engine::start::{Asked, trigger};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::idempotency;
use crate::http::limits::Tier;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::invalid::Invalid;

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Post, "/v1/workflows/{key}/trigger", "triggerWorkflow", Tier::Five, |cx| Box::pin(run(cx)))
        .in_tenant(TenantIn::Body),
    Route::new(Verb::Post, "/v1/workflows/{key}/cancel", "cancelWorkflow", Tier::Five, |cx| Box::pin(cancel(cx))),
    Route::new(Verb::Post, "/v1/notify", "notify", Tier::Three, |cx| Box::pin(notify(cx))),
    Route::new(Verb::Post, "/v1/notify/cancel", "cancelNotify", Tier::Three, |cx| Box::pin(cancel_notify(cx))),
];

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
const ORIGINAL: HeaderName = HeaderName::from_static("original-x-request-id");
const CANCELLED: HeaderName = HeaderName::from_static("bellwire-cancelled-runs");

/// W-TRG-01, W-TRG-02; a repeated key gives the first answer again (W-IDM-04).
async fn run(cx: Cx) -> Result<Answer, ApiError> {
    let body = cx.json()?;
    let workflow = cx.param("key");
    let key = idempotency::key(&cx)?;
    let fingerprint = key.map(|_| idempotency::fingerprint("POST", &["v1", "workflows", workflow, "trigger"], &body));
    let asked =
        Asked { env: cx.env(), workflow, request_id: &cx.request_id, idempotency: key.zip(fingerprint.as_deref()) };
    let answered = trigger(cx.core(), &asked, body).await?;
    let answer = Answer::json_text(answered.body);
    Ok(match answered.original_request_id {
        Some(id) => answer.with(REPLAYED, "true").with(ORIGINAL, &id),
        None => answer,
    })
}

/// W-CAN-01, W-CAN-02. How many runs were stopped stands in a header, so that a key that fits none is noticed.
async fn cancel(cx: Cx) -> Result<Answer, ApiError> {
    let stopped = cx.core().cancel(cx.env(), cx.param("key"), &cx.json()?).await?;
    Ok(cancelled(stopped))
}

fn cancelled(stopped: usize) -> Answer {
    Answer::empty().with(CANCELLED, &stopped.to_string())
}

/// The old spelling of a trigger (W-TRG-35).
async fn notify(cx: Cx) -> Result<Answer, ApiError> {
    let body = cx.members()?;
    let workflow = name(&body)?.to_owned();
    let mut faults = Vec::new();
    check_reference(body.get("actor").unwrap_or(&Value::Null), "actor", &mut faults);
    if let Some(Value::Array(recipients)) = body.get("recipients") {
        for (at, recipient) in recipients.iter().enumerate() {
            check_reference(recipient, &format!("recipients[{at}]"), &mut faults);
        }
    }
    if !faults.is_empty() {
        return Err(faults.into());
    }
    let asked = Asked { env: cx.env(), workflow: &workflow, request_id: &cx.request_id, idempotency: None };
    let mut wanted = body;
    wanted.retain(|key, _| ["actor", "recipients", "data", "cancellation_key"].contains(&key.as_str()));
    let answered = trigger(cx.core(), &asked, Value::Object(wanted)).await?;
    let answered: Value = serde_json::from_str(&answered.body).unwrap_or_default();
    Ok(Answer::json(&json!({"result_id": answered["workflow_run_id"]})))
}

/// The old spelling of a cancellation (W-CAN-17).
async fn cancel_notify(cx: Cx) -> Result<Answer, ApiError> {
    let body = cx.members()?;
    let workflow = name(&body)?.to_owned();
    let stopped = cx.core().cancel(cx.env(), &workflow, &Value::Object(body)).await?;
    Ok(cancelled(stopped))
}

fn name(body: &Map<String, Value>) -> Result<&str, ApiError> {
    let name = body.get("name").and_then(Value::as_str).filter(|name| !name.is_empty());
    name.ok_or_else(|| ApiError::invalid_at("name", "name is required: the key of a workflow, as a string"))
}

/// The old spelling takes references only: it never identified anybody.
fn check_reference(value: &Value, path: &str, faults: &mut Vec<Invalid>) {
    let is_reference = match value {
        Value::String(_) => true,
        Value::Object(map) => map.len() == 2 && map.contains_key("id") && map.contains_key("collection"),
        _ => false,
    };
    if !is_reference {
        faults.push(Invalid::new(path, "a reference is required: a user id, or {\"collection\", \"id\"}"));
    }
}
