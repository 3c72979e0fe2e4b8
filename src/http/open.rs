//! What needs no key: the API description, and static pages.

use bytes::Bytes;
use hyper::Method;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HeaderValue};

use super::Face;
use super::answer::Answer;
use super::description;
use super::error::ApiError;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A page that is served as it is.
#[derive(Debug, Clone)]
pub struct Page {
    /// The path; one that ends in `*` takes everything below it, with the most exact path first.
    pub path: String,
    pub content_type: HeaderValue,
    pub body: Bytes,
}

impl Page {
    fn answer(&self) -> Answer {
        Answer::text(self.content_type.clone(), self.body.clone()).with(CACHE_CONTROL, "no-cache")
    }

    fn is_at(&self, path: &str) -> bool {
        match self.path.strip_suffix('*') {
            Some(above) => path.starts_with(above),
            None => path == self.path,
        }
    }
}

/// The answer at an open path; none at any other.
pub(crate) fn answer(face: &Face, method: &Method, path: &str) -> Option<Result<Answer, ApiError>> {
    let answer = match path {
        "/v1/openapi" | "/openapi.json" => {
            Answer::json_text(face.described().document.clone()).with(CACHE_CONTROL, "no-cache")
        }
        "/reference" => Answer::text(HTML, face.described().reference.clone())
            .with(CACHE_CONTROL, "no-cache")
            .with(CONTENT_SECURITY_POLICY, description::POLICY),
        _ => {
            let exact = face.pages.iter().find(|page| page.path == path);
            exact.or_else(|| face.pages.iter().find(|page| page.is_at(path)))?.answer()
        }
    };
    match *method {
        Method::GET | Method::HEAD => Some(Ok(answer)),
        _ => Some(Err(ApiError::no_method("GET, OPTIONS"))),
    }
}
