//! What template filters look up while they render (D-TPL-19).

use serde_json::Value;

use crate::model::recipient::{Object, TENANTS, User};
use crate::store::{Env, Store};
use crate::template::Lookup;

/// Looks recipients up in the store; what cannot be read is nil to the template and an error in the log.
pub struct StoreLookup<'a> {
    pub store: &'a Store,
    pub env: Env,
}

impl Lookup for StoreLookup<'_> {
    fn user(&self, id: &str) -> Option<Value> {
        found(self.store.user(self.env, id)).map(|user: User| user.to_json())
    }

    fn object(&self, collection: &str, id: &str) -> Option<Value> {
        found(self.store.object(self.env, collection, id)).map(|object: Object| object.to_scope())
    }

    fn tenant(&self, id: &str) -> Option<Value> {
        self.object(TENANTS, id)
    }
}

fn found<T>(answer: Result<Option<T>, crate::store::Error>) -> Option<T> {
    answer.unwrap_or_else(|error| {
        tracing::error!(%error, "a template's lookup failed");
        None
    })
}
