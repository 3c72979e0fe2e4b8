//! CORS: any origin may call, without cookies (F-TRN-10 to F-TRN-12).

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, HeaderValue,
};

use super::answer::Answer;

const METHODS: &str = "GET, POST, PUT, DELETE, OPTIONS";
const HEADERS: &str = "Authorization, Content-Type, Accept, X-Knock-User-Token, X-Knock-Client, X-Knock-Branch, \
                       Idempotency-Key";
const EXPOSED: &str = "Retry-After, x-request-id, x-ratelimited-message_ids, idempotent-replayed, \
                       original-x-request-id, bellwire-cancelled-runs";
const DAY_SECONDS: &str = "86400";

/// The answer to a preflight: our headers, and whatever else is asked for.
pub(crate) fn preflight(asked: &HeaderMap) -> Answer {
    let more = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let more = more
        .split(',')
        .map(str::trim)
        .filter(|name| !name.is_empty() && !HEADERS.split(", ").any(|known| known.trim().eq_ignore_ascii_case(name)));
    let headers = more.fold(HEADERS.to_owned(), |all, name| format!("{all}, {name}"));
    Answer::empty()
        .with(ACCESS_CONTROL_ALLOW_METHODS, METHODS)
        .with(ACCESS_CONTROL_ALLOW_HEADERS, &headers)
        .with(ACCESS_CONTROL_MAX_AGE, DAY_SECONDS)
}

/// Lets any page read the answer, errors included.
pub(crate) fn open(headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
}
