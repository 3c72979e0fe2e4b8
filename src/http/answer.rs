//! What a handler answers.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::Value;

/// The body of every answer.
pub type Body = Full<Bytes>;

/// An answer, before it becomes bytes on a connection.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    content_type: Option<HeaderValue>,
    body: Bytes,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Answer {
    /// 200 with a JSON value.
    pub fn json(value: &Value) -> Self {
        Answer::json_text(value.to_string())
    }

    /// 200 with text that is JSON already.
    pub fn json_text(text: impl Into<Bytes>) -> Self {
        Answer::text(HeaderValue::from_static("application/json"), text)
    }

    /// 200 with text of some other kind.
    pub fn text(content_type: HeaderValue, text: impl Into<Bytes>) -> Self {
        Answer { status: StatusCode::OK, content_type: Some(content_type), body: text.into(), headers: Vec::new() }
    }

    /// 204, which has no body (F-TRN-03).
    pub fn empty() -> Self {
        Answer { status: StatusCode::NO_CONTENT, content_type: None, body: Bytes::new(), headers: Vec::new() }
    }

    /// The same answer with another status.
    pub fn status(self, status: StatusCode) -> Self {
        Answer { status, ..self }
    }

    /// The same answer with one more header; a value that no header can hold is left out.
    pub fn with(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            self.headers.push((name, value));
        }
        self
    }

    /// The answer as it is sent. Nothing is cached unless the answer says so itself.
    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(content_type) = self.content_type {
            headers.insert(CONTENT_TYPE, content_type);
        }
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}
