//! What a stretch of a run has to know that only the database knows: whom its templates name (D-TPL-19), what its steps
//! share with other runs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::run::{Input, Outcome, advance};
use crate::model::recipient::{Object, RecipientRef, TENANTS, User};
use crate::model::run::Run;
use crate::store::audiences::Slot;
use crate::store::run_once::Once;
use crate::store::throttles::{Counted, Passed};
use crate::store::{self, Env, Store};
use crate::template::Lookup;

/// Facts, as they were found. A stretch is a pure function: what it asks and nobody has found out yet it is told nothing
/// about, and once that is found out the stretch is gone through again. What it then decides rests on what was read
/// before: each step that shares something guards it in the batch it writes.
pub struct Facts<'a> {
    store: &'a Store,
    env: Env,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    recipients: Known<RecipientRef, Option<Value>>,
    throttled: Known<Counted, Option<Passed>>,
    has_run: Known<Once, bool>,
    members: Known<Slot, bool>,
    static_audiences: Known<String, bool>,
    /// Times that something was asked which is not known.
    misses: usize,
}

/// Answers to questions of one kind.
struct Known<K, V> {
    answers: HashMap<K, V>,
    /// Asked, and not known yet.
    open: Vec<K>,
}

impl<K, V> Default for Known<K, V> {
    fn default() -> Self {
        Known { answers: HashMap::new(), open: Vec::new() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Known<K, V> {
    /// The answer, if it is known; else the question is open.
    fn ask(&mut self, question: &K, misses: &mut usize) -> Option<V> {
        let answer = self.answers.get(question).cloned();
        if answer.is_none() {
            *misses += 1;
            if !self.open.contains(question) {
                self.open.push(question.clone());
            }
        }
        answer
    }
}

impl<'a> Facts<'a> {
    /// Nothing is known yet.
    pub fn new(store: &'a Store, env: Env) -> Self {
        Facts { store, env, found: Mutex::default() }
    }

    /// Takes runs to their next pause or their end, with everything found out that they ask. The outcomes stand in the
    /// order of the runs; no two of them may be of the same recipient, since none sees what another changes.
    pub async fn advance(&self, runs: &[(Run, Input<'_>)]) -> Result<Vec<Outcome>, store::Error> {
        let mut outcomes: Vec<Option<Outcome>> = runs.iter().map(|_| None).collect();
        loop {
            for ((run, input), outcome) in runs.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none()) {
                let before = self.found().misses;
                let led_to = advance(run.clone(), input);
                *outcome = Some(led_to).filter(|_| self.found().misses == before);
            }
            if outcomes.iter().all(Option::is_some) {
                return Ok(outcomes.into_iter().flatten().collect());
            }
            // Each round makes at least one more known, and a workflow's steps bound how much it can ask.
            self.find_out().await?;
        }
    }

    /// Finds out what was asked and is not known.
    async fn find_out(&self) -> Result<(), store::Error> {
        let recipients = std::mem::take(&mut self.found().recipients.open);
        for reference in recipients {
            let value = match &reference {
                RecipientRef::User(id) => self.store.user(self.env, id).await?.as_ref().map(User::to_json),
                RecipientRef::Object { collection, id } => {
                    self.store.object(self.env, collection, id).await?.as_ref().map(Object::to_scope)
                }
            };
            self.found().recipients.answers.insert(reference, value);
        }
        let throttled = std::mem::take(&mut self.found().throttled.open);
        for counted in throttled {
            let passed = self.store.throttled(self.env, &counted).await?;
            self.found().throttled.answers.insert(counted, passed);
        }
        let has_run = std::mem::take(&mut self.found().has_run.open);
        for once in has_run {
            let answer = self.store.has_run(self.env, &once).await?;
            self.found().has_run.answers.insert(once, answer);
        }
        self.find_audiences().await
    }

    /// Finds out what was asked about audiences and is not known.
    async fn find_audiences(&self) -> Result<(), store::Error> {
        let members = std::mem::take(&mut self.found().members.open);
        for slot in members {
            let answer = self.store.is_member(self.env, &slot).await?;
            self.found().members.answers.insert(slot, answer);
        }
        let audiences = std::mem::take(&mut self.found().static_audiences.open);
        for key in audiences {
            let answer = self.store.audience(self.env, &key).await?.is_some_and(|known| !known.is_dynamic);
            self.found().static_audiences.answers.insert(key, answer);
        }
        Ok(())
    }

    /// Whether somebody is a member of a static audience.
    pub(super) fn is_member(&self, slot: &Slot) -> bool {
        let Found { members, misses, .. } = &mut *self.found();
        members.ask(slot, misses).unwrap_or_default()
    }

    /// Whether there is a static audience of that key, though no file declares it.
    pub(super) fn is_static_audience(&self, key: &str) -> bool {
        let Found { static_audiences, misses, .. } = &mut *self.found();
        static_audiences.ask(&key.to_owned(), misses).unwrap_or_default()
    }

    /// A throttle's latest window.
    pub(super) fn throttled(&self, counted: &Counted) -> Option<Passed> {
        let Found { throttled, misses, .. } = &mut *self.found();
        throttled.ask(counted, misses).flatten()
    }

    /// Whether a workflow that may run once has run.
    pub(super) fn has_run(&self, once: &Once) -> bool {
        let Found { has_run, misses, .. } = &mut *self.found();
        has_run.ask(once, misses).unwrap_or_default()
    }

    fn recipient(&self, reference: &RecipientRef) -> Option<Value> {
        let Found { recipients, misses, .. } = &mut *self.found();
        recipients.ask(reference, misses).flatten()
    }

    fn found(&self) -> MutexGuard<'_, Found> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lookup for Facts<'_> {
    fn user(&self, id: &str) -> Option<Value> {
        self.recipient(&RecipientRef::User(id.to_owned()))
    }

    fn object(&self, collection: &str, id: &str) -> Option<Value> {
        self.recipient(&RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() })
    }

    fn tenant(&self, id: &str) -> Option<Value> {
        self.object(TENANTS, id)
    }
}
