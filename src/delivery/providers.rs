//! The providers, one file each, and what they have in common: how they fail.

use serde_json::Value;

use crate::outside::Outside;
use crate::outside::request::{Request, Response};

pub mod ms_teams;
pub mod slack;

/// How long to wait for a provider that is busy and does not say how long.
const PAUSE_SECONDS: i64 = 30;

/// Why a provider did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// It does not let the app in, or not that far; why, in its own words.
    Denied(String),
    /// It can't make sense of what it was asked; why, in its own words.
    Wrong(String),
    /// It knows no such thing.
    Missing(String),
    /// It was asked too often; for how many seconds it wants to be left alone.
    Busy(i64),
    /// It can't be reached, or it is out of order; what happened.
    Away(String),
    /// The channel is not set up for this; what to change.
    NotSetUp(String),
}

/// Sends a request, and reads what comes back as JSON; null where nothing does.
async fn ask(outside: &Outside, request: Request) -> Result<(Response, Value), Failure> {
    let response = outside.send(request).await.result.map_err(|fault| Failure::Away(fault.message))?;
    if response.status == 429 {
        let after = response.headers.get("retry-after").and_then(|value| value.to_str().ok()?.trim().parse().ok());
        return Err(Failure::Busy(after.unwrap_or(PAUSE_SECONDS).clamp(1, 3_600)));
    }
    if response.status >= 500 {
        return Err(Failure::Away(format!("it answered {}", response.status)));
    }
    let body = match response.body.trim_ascii() {
        [] => Value::Null,
        body => serde_json::from_slice(body).map_err(|_| Failure::Away("its answer is not JSON".to_owned()))?,
    };
    Ok((response, body))
}

/// The text called `name`; empty where there is none.
fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of.get(name).and_then(Value::as_str).unwrap_or_default()
}
