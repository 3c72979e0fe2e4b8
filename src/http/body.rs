//! Reads bodies: bounded in size, time and depth.

use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use serde_json::Value;

use super::Settings;
use super::error::ApiError;
use crate::model::invalid::Invalid;
use crate::wire::json::{MAX_DEPTH, depth_at_most};

/// Refuses a body that announces more than is allowed, before anything is read of it.
pub(crate) fn check_announced(body: &Incoming, limit: usize) -> Result<(), ApiError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit { Err(ApiError::too_large(limit)) } else { Ok(()) }
}

/// Reads the whole body.
pub(crate) async fn read(body: Incoming, settings: &Settings) -> Result<Bytes, ApiError> {
    let reading = Limited::new(body, settings.body_limit).collect();
    match tokio::time::timeout(settings.body_timeout, reading).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(ApiError::too_large(settings.body_limit)),
        Ok(Err(_)) => Err(ApiError::invalid_at("", "The body was cut off.")),
        Err(_) => Err(ApiError::too_slow()),
    }
}

/// Reads a body as JSON; nothing at all counts as null (F-TRN-01).
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, Invalid> {
    let text = std::str::from_utf8(bytes).map_err(|_| Invalid::new("", "The body is not UTF-8."))?;
    if text.trim().is_empty() {
        return Ok(Value::Null);
    }
    if !depth_at_most(text, MAX_DEPTH) {
        return Err(Invalid::new("", format!("The body nests deeper than {MAX_DEPTH} levels.")));
    }
    serde_json::from_str(text).map_err(|error| Invalid::new("", format!("The body is not JSON: {error}.")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bodies_are_json_or_nothing() {
        for empty in ["", "  \n", "null"] {
            assert_eq!(parse(empty.as_bytes()), Ok(Value::Null), "F-TRN-01 {empty:?}");
        }
        assert_eq!(parse("{\"a\":\"é\"}".as_bytes()), Ok(json!({"a": "é"})), "F-TRN-01");
        for bad in [&b"{"[..], b"{} x", b"\xff", b"{\"a\":\"\xff\"}", b"'a'", "[".repeat(65).as_bytes()] {
            assert!(parse(bad).is_err(), "W-ERR-06 {bad:?}");
        }
        assert!(parse(&b"[".repeat(2_000_000)).is_err(), "deep nesting costs no stack");
    }
}
