//! Signatures of requests that go out: by them a server knows that they come from here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::issue::hmac;
use crate::model::time::Time;

/// The value of `x-knock-signature` for a body that is sent at `at`: `t=<seconds>,s=<base64 of the HMAC-SHA-256 of
/// "<seconds>.<body>">` (W-FET-30, W-FET-31, W-AMB-35). A request without a body signs the empty text.
pub fn signature(key: &str, at: Time, body: &str) -> String {
    let seconds = at.seconds();
    let signed = format!("{seconds}.{body}");
    format!("t={seconds},s={}", STANDARD.encode(hmac(key.as_bytes(), signed.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `printf '1790000000.{"a":1}' | openssl dgst -sha256 -hmac geheim -binary | base64`.
    #[test]
    fn a_signature_is_what_others_make_of_the_same() {
        let at = Time::from_micros(1_790_000_000_123_456);
        let signature = signature("geheim", at, r#"{"a":1}"#);
        assert_eq!(
            signature, "t=1790000000,s=ioc2hL6e9dbbH4oFFvi8oCU13lZ+PLCmLg9pzloAoLw=",
            "W-FET-30 W-FET-31 W-AMB-35"
        );
    }
}
