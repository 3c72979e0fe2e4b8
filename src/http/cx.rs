//! What a handler works with: who asks, for what, and the core that does it.

use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{HOST, HeaderMap};
use serde_json::{Map, Value};

use super::Face;
use super::body;
use super::error::ApiError;
use super::limits::Key;
use super::router::Params;
use crate::model::recipient::{RecipientRef, object_fault, user_id_fault};
use crate::model::time::Time;
use crate::store::Env;
use crate::verbs::Core;
use crate::verbs::door::Caller;
use crate::wire::query::Query;

/// One request that was let in.
pub struct Cx {
    pub face: Arc<Face>,
    pub caller: Caller,
    pub request_id: String,
    pub query: Query,
    pub headers: HeaderMap,
    pub(crate) params: Params,
    /// The route's number.
    pub(crate) operation: usize,
    pub(crate) body: Bytes,
}

impl Cx {
    /// The core.
    pub fn core(&self) -> &Core {
        &self.face.core
    }

    /// The environment that the key belongs to.
    pub fn env(&self) -> Env {
        self.caller.env()
    }

    /// The time of day.
    pub fn now(&self) -> Time {
        self.core().clock.now()
    }

    /// A parameter of the path; empty if the route has none of that name.
    pub fn param(&self, name: &str) -> &str {
        self.params.get(name).unwrap_or_default()
    }

    /// The recipient that the path names: a user, else an object.
    pub fn recipient(&self) -> Result<RecipientRef, ApiError> {
        if let Some(id) = self.params.get("user_id") {
            return match user_id_fault(id) {
                Some(fault) => Err(ApiError::invalid_at("user_id", fault)),
                None => Ok(RecipientRef::User(id.to_owned())),
            };
        }
        self.object("object_id")
    }

    /// The object that the path names, its id under `name`.
    pub fn object(&self, name: &str) -> Result<RecipientRef, ApiError> {
        let (collection, id) = (self.param("collection"), self.param(name));
        match object_fault(collection, id) {
            Some((place, fault)) => Err(ApiError::invalid_at(if place == "id" { name } else { place }, fault)),
            None => Ok(RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() }),
        }
    }

    /// The body; null when there is none.
    pub fn json(&self) -> Result<Value, ApiError> {
        Ok(body::parse(&self.body)?)
    }

    /// The body's members; none when there is no body, or when it is null.
    pub fn members(&self) -> Result<Map<String, Value>, ApiError> {
        match self.json()? {
            Value::Null => Ok(Map::new()),
            Value::Object(map) => Ok(map),
            _ => Err(ApiError::invalid_at("", "The body must be a JSON object.")),
        }
    }

    /// A header, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// This server's address as the caller knows it (F-BLK-04).
    pub fn origin(&self) -> String {
        if let Some(origin) = &self.face.settings.origin {
            return origin.trim_end_matches('/').to_owned();
        }
        let is_secure = self.header("x-forwarded-proto").is_some_and(|proto| proto.starts_with("https"));
        let host = self.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
        format!("{}://{host}", if is_secure { "https" } else { "http" })
    }

    /// Whether this operation may change `entity` now: once a second (F-RAT-04, F-AMB-12).
    pub fn may_change(&self, entity: &str) -> bool {
        let key = Key { env: self.env(), operation: self.operation, whom: Some(format!("entity:{entity}").into()) };
        !self.face.settings.limits.dedupes || self.face.buckets.take(key, 1, self.now()).is_ok()
    }
}
