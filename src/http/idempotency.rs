//! Idempotency keys: the header, and the fingerprint of what was asked (W-IDM-01 to W-IDM-12).

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cx::Cx;
use super::error::ApiError;
use crate::wire::json::canonical;

/// Characters of a key at most (W-IDM-02).
const MAX_KEY: usize = 255;

/// The request's key; an empty one is none (W-AMB-08).
pub(crate) fn key(cx: &Cx) -> Result<Option<&str>, ApiError> {
    let Some(value) = cx.headers.get("idempotency-key") else { return Ok(None) };
    let text = value.to_str().map(str::trim);
    match text {
        Ok("") => Ok(None),
        Ok(key) if key.chars().count() <= MAX_KEY => Ok(Some(key)),
        _ => Err(ApiError::invalid_at("Idempotency-Key", "An idempotency key has at most 255 characters.")),
    }
}

/// What tells one request from another: method, path and body, however the body's members are ordered (F-AMB-14).
pub(crate) fn fingerprint(method: &str, path: &[&str], body: &Value) -> String {
    let mut hash = Sha256::new();
    for part in [method, &path.join("/"), &canonical(body)] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().iter().fold(String::with_capacity(64), |out, byte| out + &format!("{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fingerprint_is_of_method_path_and_body() {
        let one = fingerprint("POST", &["a"], &json!({"x": 1, "y": 2}));
        assert_eq!(one, fingerprint("POST", &["a"], &json!({"y": 2, "x": 1})), "W-IDM-03");
        assert_ne!(one, fingerprint("POST", &["a"], &json!({"y": 2, "x": 3})), "W-IDM-06");
        assert_ne!(one, fingerprint("POST", &["b"], &json!({"x": 1, "y": 2})), "W-IDM-09");
        assert_eq!(one.len(), 64);
    }
}
