//! What template filters look up while they render (D-TPL-19).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::run::{Input, Outcome, advance};
use crate::model::recipient::{Object, RecipientRef, TENANTS, User};
use crate::model::run::Run;
use crate::store::{self, Env, Store};
use crate::template::Lookup;

/// Recipients that templates have named, as they were found. A stretch of a run is a pure function: what it names and
/// nobody has looked up yet is nil to it and noted, and once it has been looked up the stretch is gone through again.
pub struct Looked<'a> {
    store: &'a Store,
    env: Env,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    known: HashMap<String, Option<Value>>,
    /// Named, and not known yet.
    named: Vec<RecipientRef>,
}

impl<'a> Looked<'a> {
    /// Nobody has been looked up yet.
    pub fn new(store: &'a Store, env: Env) -> Self {
        Looked { store, env, found: Mutex::default() }
    }

    /// Takes the run to its next pause or its end, with everything looked up that its templates name.
    pub async fn advance(&self, run: Run, input: Input<'_>) -> Result<Outcome, store::Error> {
        loop {
            let outcome = advance(run.clone(), input.clone());
            // Each round makes at least one more known, and a template's steps bound how many it can name.
            if !self.look_up().await? {
                return Ok(outcome);
            }
        }
    }

    /// Looks up whoever was named and is not known; whether there was anybody.
    async fn look_up(&self) -> Result<bool, store::Error> {
        let named = std::mem::take(&mut self.found().named);
        for reference in &named {
            let value = match reference {
                RecipientRef::User(id) => self.store.user(self.env, id).await?.as_ref().map(User::to_json),
                RecipientRef::Object { collection, id } => {
                    self.store.object(self.env, collection, id).await?.as_ref().map(Object::to_scope)
                }
            };
            self.found().known.insert(reference.key(), value);
        }
        Ok(!named.is_empty())
    }

    fn find(&self, reference: RecipientRef) -> Option<Value> {
        let mut found = self.found();
        match found.known.get(&reference.key()) {
            Some(value) => value.clone(),
            None => {
                found.named.push(reference);
                None
            }
        }
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup for Looked<'_> {
    fn user(&self, id: &str) -> Option<Value> {
        self.find(RecipientRef::User(id.to_owned()))
    }

    fn object(&self, collection: &str, id: &str) -> Option<Value> {
        self.find(RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() })
    }

    fn tenant(&self, id: &str) -> Option<Value> {
        self.object(TENANTS, id)
    }
}
