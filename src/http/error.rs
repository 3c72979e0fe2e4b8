//! Errors as callers read them: a code for programs, a sentence for their makers (F-ERR-01).

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderName, RETRY_AFTER};
use serde_json::{Value, json};

use super::answer::Answer;
use crate::model::invalid::Invalid;
use crate::sign::refusal::Refusal;
use crate::store;
use crate::verbs;
use crate::verbs::door::Barred;

/// Why a request was not done. Boxed: every handler's answer is as large as its error.
#[derive(Debug)]
pub struct ApiError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    status: StatusCode,
    code: &'static str,
    kind: &'static str,
    message: String,
    /// Each thing that is wrong, by field (F-AMB-11).
    faults: Vec<Invalid>,
    headers: Vec<(HeaderName, String)>,
    /// What the operator reads and the caller does not.
    cause: Option<String>,
}

const INVALID_REQUEST: &str = "invalid_request_error";
const AUTHENTICATION: &str = "authentication_error";

impl ApiError {
    fn new(status: StatusCode, code: &'static str, kind: &'static str, message: impl Into<String>) -> Self {
        let (faults, headers) = (Vec::new(), Vec::new());
        ApiError(Box::new(Inner { status, code, kind, message: message.into(), faults, headers, cause: None }))
    }

    fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.0.headers.push((name, value.into()));
        self
    }

    fn status(mut self, status: StatusCode) -> Self {
        self.0.status = status;
        self
    }

    fn unprocessable(code: &'static str, message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, code, INVALID_REQUEST, message)
    }

    /// 422: what was sent is wrong (F-ERR-04).
    pub fn invalid(faults: Vec<Invalid>) -> Self {
        let message = faults.iter().take(5).map(Invalid::to_string).collect::<Vec<_>>().join("; ");
        let mut error = ApiError::unprocessable("invalid_params", message);
        error.0.faults = faults;
        error
    }

    /// 422 about one thing.
    pub fn invalid_at(path: &str, message: impl Into<String>) -> Self {
        ApiError::invalid(vec![Invalid::new(path, message)])
    }

    /// 401: whoever sends an event did not prove who they are (D-SRC-02).
    pub(crate) fn unproven(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::UNAUTHORIZED, "signature_invalid", AUTHENTICATION, message)
    }

    /// 422: the channel can't be used for this.
    pub(crate) fn channel_invalid(message: impl Into<String>) -> Self {
        ApiError::unprocessable("channel_invalid", message)
    }

    /// 404: there is no such thing.
    pub fn missing(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::NOT_FOUND, "resource_missing", INVALID_REQUEST, message)
    }

    /// 404: there is no such route.
    pub(crate) fn no_route() -> Self {
        let message = "There is nothing at this path. `GET /v1/openapi` lists what there is.";
        ApiError::new(StatusCode::NOT_FOUND, "not_found", INVALID_REQUEST, message)
    }

    /// 405: the path is known, the method is not.
    pub(crate) fn no_method(allow: &str) -> Self {
        let message = format!("This path takes {allow} only.");
        ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", INVALID_REQUEST, message).with(ALLOW, allow)
    }

    /// 408: the body did not come in time.
    pub(crate) fn too_slow() -> Self {
        let message = "The body did not arrive in time.";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", INVALID_REQUEST, message)
    }

    /// 413: the body is larger than this server takes.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("The body is larger than {limit} bytes, the most that this server takes.");
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", INVALID_REQUEST, message)
    }

    /// 429: too many requests (F-ERR-08, F-RAT-06).
    pub(crate) fn too_many(seconds: i64) -> Self {
        let message = "Too many requests of this kind. Wait for as long as `Retry-After` says.";
        ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", "rate_limit_error", message)
            .with(RETRY_AFTER, seconds.to_string())
    }

    /// 503: what answers this is away; the caller may try again.
    pub(crate) fn away(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "api_error", message).with(RETRY_AFTER, "1")
    }

    /// 500: our fault; `cause` goes to the log only.
    pub(crate) fn internal(cause: impl Into<String>) -> Self {
        let message = "Something went wrong here. The log has the reason, by the request's id.";
        let mut error = ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "api_error", message);
        error.0.cause = Some(cause.into());
        error
    }

    /// What the operator must know of it, if it is our fault.
    pub(crate) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The status it is answered with.
    pub(crate) fn http_status(&self) -> StatusCode {
        self.0.status
    }

    /// What the caller reads.
    pub(crate) fn message(&self) -> &str {
        &self.0.message
    }

    fn body(&self) -> Value {
        let Inner { status, code, kind, message, faults, .. } = &*self.0;
        let mut body = json!({"code": code, "message": message, "status": status.as_u16(), "type": kind});
        if !faults.is_empty() {
            let faults = faults.iter().map(|fault| json!({"field": fault.path, "message": fault.message}));
            body["errors"] = faults.collect();
        }
        body
    }

    pub(crate) fn into_answer(self) -> Answer {
        let answer = Answer::json(&self.body()).status(self.0.status);
        self.0.headers.into_iter().fold(answer, |answer, (name, value)| answer.with(name, &value))
    }
}

impl From<Invalid> for ApiError {
    fn from(fault: Invalid) -> Self {
        ApiError::invalid(vec![fault])
    }
}

impl From<Vec<Invalid>> for ApiError {
    fn from(faults: Vec<Invalid>) -> Self {
        ApiError::invalid(faults)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.code.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        ApiError::new(status, refusal.code.as_str(), AUTHENTICATION, refusal.message)
    }
}

impl From<Barred> for ApiError {
    fn from(barred: Barred) -> Self {
        match barred {
            Barred::Refused(refusal) => refusal.into(),
            Barred::Store(error) => error.into(),
        }
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        match error {
            // Clients try 409 again by themselves (F-ERR-09), and this is worth it.
            store::Error::Refused(_) => ApiError::new(
                StatusCode::CONFLICT,
                "conflict",
                INVALID_REQUEST,
                "Other requests kept changing the same thing at the same time. Try again.",
            ),
            store::Error::Closed | store::Error::Unavailable(_) => {
                let error = ApiError::internal(error.to_string());
                error.status(StatusCode::SERVICE_UNAVAILABLE).with(RETRY_AFTER, "1")
            }
            other => ApiError::internal(other.to_string()),
        }
    }
}

impl From<verbs::Error> for ApiError {
    fn from(error: verbs::Error) -> Self {
        let message = error.to_string();
        match error {
            verbs::Error::Invalid(faults) => ApiError::invalid(faults),
            verbs::Error::WorkflowMissing(_) => {
                ApiError::new(StatusCode::NOT_FOUND, "workflow_missing", INVALID_REQUEST, message)
            }
            verbs::Error::WorkflowInactive(_) => ApiError::unprocessable("workflow_inactive", message),
            verbs::Error::ActorMissing(_) => ApiError::unprocessable("actor_missing", message),
            verbs::Error::ChannelInvalid(_) => ApiError::channel_invalid(message),
            verbs::Error::Missing(_) => ApiError::missing(message),
            verbs::Error::Forbidden(_) => {
                ApiError::new(StatusCode::FORBIDDEN, "authorization", AUTHENTICATION, message)
            }
            verbs::Error::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_status_and_type() {
        use verbs::Error as E;
        for (error, code, status, kind, rule) in [
            (E::WorkflowMissing("w".into()), "workflow_missing", 404, INVALID_REQUEST, "W-ERR-03 W-ERR-08"),
            (E::WorkflowInactive("w".into()), "workflow_inactive", 422, INVALID_REQUEST, "W-ERR-04 W-ERR-08"),
            (E::ActorMissing("a".into()), "actor_missing", 422, INVALID_REQUEST, "W-ERR-05 W-ERR-08"),
            (E::ChannelInvalid("c".into()), "channel_invalid", 422, INVALID_REQUEST, "F-AMB-10"),
            (E::Invalid(vec![Invalid::new("a", "b")]), "invalid_params", 422, INVALID_REQUEST, "F-ERR-04 W-ERR-06"),
            (E::Missing("m".into()), "resource_missing", 404, INVALID_REQUEST, "F-AMB-10"),
            (E::Forbidden("f".into()), "authorization", 403, AUTHENTICATION, "F-ERR-02"),
            (E::Store(store::Error::Refused(0)), "conflict", 409, INVALID_REQUEST, "F-ERR-09"),
            (E::Store(store::Error::Damaged("d".into())), "internal_error", 500, "api_error", "F-AMB-10"),
        ] {
            let body = ApiError::from(error).body();
            let found = (body["code"].as_str(), body["status"].as_u64(), body["type"].as_str());
            assert_eq!(found, (Some(code), Some(status), Some(kind)), "F-ERR-01 F-ERR-03 W-ERR-01 W-ERR-02 {rule}");
            assert!(body["message"].is_string(), "F-ERR-10");
        }
    }

    #[test]
    fn what_is_wrong_is_listed_by_field() {
        let error = ApiError::invalid(vec![Invalid::new("data.name", "is required"), Invalid::new("b", "c")]);
        let expected = json!([{"field": "data.name", "message": "is required"}, {"field": "b", "message": "c"}]);
        assert_eq!(error.body()["errors"], expected, "F-AMB-11 F-ERR-05 W-VAL-06");
    }

    #[test]
    fn the_reason_of_our_own_faults_is_not_told() {
        let error = ApiError::from(store::Error::Damaged("secret".into()));
        assert!(!error.body().to_string().contains("secret"));
        assert!(error.cause().is_some_and(|cause| cause.contains("secret")));
    }
}
