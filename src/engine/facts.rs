//! What a stretch of a run has to know that only the database knows: whom its templates name (D-TPL-19), what its steps
//! share with other runs.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};

use super::run::{Input, Outcome, advance};
use crate::bus::Bus;
use crate::model::cap::Counter;
use crate::model::presence::Seen;
use crate::model::recipient::{Recipient, RecipientRef, TENANTS};
use crate::model::run::Run;
use crate::model::subscription::Subscription;
use crate::model::time::Time;
use crate::model::workflow::batch::Shown;
use crate::model::workflow::digest::Counting;
use crate::store::audiences::Slot;
use crate::store::batches::{Gathered, Gathering, OpenBatch};
use crate::store::collapse::{Collapsing, Standing};
use crate::store::run_once::Once;
use crate::store::subscriptions::Whose;
use crate::store::throttles::{self, Counted};
use crate::store::{self, Env, Store};
use crate::template::{Lookup, MOST_SUBSCRIPTIONS};
use crate::verbs::presence;
use crate::verbs::staged::{Entity, Staged};
use crate::wire::cursor::{Cursor, Edge};

/// Facts, as they were found. A stretch is a pure function: what it asks and nobody has found out yet it is told nothing
/// about, and once that is found out the stretch is gone through again. What it then decides rests on what was read
/// before: each step that shares something guards it in the batch it writes.
pub struct Facts<'a> {
    store: &'a Store,
    bus: &'a Bus,
    env: Env,
    now: Time,
    found: Mutex<Found>,
}

#[derive(Default)]
struct Found {
    recipients: Known<RecipientRef, Option<Value>>,
    entities: Known<RecipientRef, Entity>,
    /// What users follow, by their ids.
    follows: Known<String, Arc<[Subscription]>>,
    throttled: Known<Counted, Option<throttles::Passed>>,
    passed: Known<Counter, Vec<Time>>,
    has_run: Known<Once, bool>,
    members: Known<Slot, bool>,
    static_audiences: Known<String, bool>,
    batches: Known<Gathering, Option<OpenBatch>>,
    gathered: Known<(String, Shown, Counting), Option<Arc<Gathered>>>,
    /// Actors of batches, by their keys.
    actors: Known<String, Option<Arc<Recipient>>>,
    /// Whether a recipient, by key, has data of a channel.
    has_channel_data: Known<(String, String), bool>,
    standing: Known<Collapsing, Option<Standing>>,
    /// Whether users are online, by id.
    seen: Known<String, Seen>,
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
    pub fn new(store: &'a Store, bus: &'a Bus, env: Env, now: Time) -> Self {
        Facts { store, bus, env, now, found: Mutex::default() }
    }

    /// Takes runs to their next pause or their end, with everything found out that they ask. The outcomes stand in the
    /// order of the runs; no two of them may be of the same recipient, since none sees what another changes.
    pub async fn advance(
        &self,
        runs: &[(Run, Input<'_>)],
        staged: &mut Staged<'_>,
    ) -> Result<Vec<Outcome>, store::Error> {
        let mut outcomes: Vec<Option<Outcome>> = runs.iter().map(|_| None).collect();
        loop {
            for ((run, input), outcome) in runs.iter().zip(&mut outcomes).filter(|(_, outcome)| outcome.is_none()) {
                let before = self.found().misses;
                let led_to = advance(run.clone(), input);
                *outcome = Some(led_to).filter(|_| self.found().misses == before);
            }
            if outcomes.iter().all(Option::is_some) {
                let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
                for outcome in outcomes.iter().filter(|outcome| outcome.relies_on_zone) {
                    staged.rely_on_zone(&outcome.run.recipient).await?;
                }
                return Ok(outcomes);
            }
            // Each round makes at least one more known, and a workflow's steps bound how much it can ask.
            self.find_out(staged).await?;
        }
    }

    /// What is made of the facts, with everything found out that is asked for it.
    pub(super) async fn settle<T>(&self, staged: &mut Staged<'_>, made: impl Fn() -> T) -> Result<T, store::Error> {
        loop {
            let before = self.found().misses;
            let settled = made();
            if self.found().misses == before {
                return Ok(settled);
            }
            self.find_out(staged).await?;
        }
    }

    /// Finds out what was asked and is not known: whom `staged` knows otherwise is as they will be.
    async fn find_out(&self, staged: &mut Staged<'_>) -> Result<(), store::Error> {
        let recipients = std::mem::take(&mut self.found().recipients.open);
        for reference in recipients {
            let value = staged.scope(&reference).await?;
            self.found().recipients.answers.insert(reference, value);
        }
        let entities = std::mem::take(&mut self.found().entities.open);
        for reference in entities {
            let entity = staged.entity(&reference).await?;
            self.found().entities.answers.insert(reference, entity);
        }
        let follows = std::mem::take(&mut self.found().follows.open);
        for user in follows {
            let whose = Whose::Recipient(&user);
            let oldest = Edge::Before(Cursor::Seq(i64::MIN));
            let answer = self.store.subscriptions(self.env, whose, None, Some(&oldest), MOST_SUBSCRIPTIONS).await?;
            self.found().follows.answers.insert(user, answer.into());
        }
        let throttled = std::mem::take(&mut self.found().throttled.open);
        for counted in throttled {
            let passed = self.store.throttled(self.env, &counted).await?;
            self.found().throttled.answers.insert(counted, passed);
        }
        let passed = std::mem::take(&mut self.found().passed.open);
        for counter in passed {
            let answer = self.store.passed(self.env, &counter).await?;
            self.found().passed.answers.insert(counter, answer);
        }
        let has_channel_data = std::mem::take(&mut self.found().has_channel_data.open);
        for (recipient, channel) in has_channel_data {
            let answer = self.store.has_channel_data(self.env, &recipient, &channel).await?;
            self.found().has_channel_data.answers.insert((recipient, channel), answer);
        }
        let seen = std::mem::take(&mut self.found().seen.open);
        if !seen.is_empty() {
            let users: Vec<&str> = seen.iter().map(String::as_str).collect();
            let found = presence::seen(self.bus, self.store, self.env, &users, self.now).await?;
            self.found().seen.answers.extend(seen.into_iter().zip(found));
        }
        let standing = std::mem::take(&mut self.found().standing.open);
        for collapsing in standing {
            let found = self.store.standing(self.env, &collapsing).await?;
            self.found().standing.answers.insert(collapsing, found);
        }
        let has_run = std::mem::take(&mut self.found().has_run.open);
        for once in has_run {
            let answer = self.store.has_run(self.env, &once).await?;
            self.found().has_run.answers.insert(once, answer);
        }
        let batches = std::mem::take(&mut self.found().batches.open);
        for gathering in batches {
            let batch = self.store.open_batch(self.env, &gathering).await?;
            self.found().batches.answers.insert(gathering, batch);
        }
        let gathered = std::mem::take(&mut self.found().gathered.open);
        for (batch, shown, counted) in gathered {
            let found = self.store.gathered(&batch, shown, counted).await?.map(Arc::new);
            self.found().gathered.answers.insert((batch, shown, counted), found);
        }
        let actors = std::mem::take(&mut self.found().actors.open);
        if !actors.is_empty() {
            let mut known = self.store.recipients(self.env, &actors).await?;
            let answers = actors.into_iter().map(|key| {
                let found = known.remove(&key).map(Arc::new);
                (key, found)
            });
            self.found().actors.answers.extend(answers);
        }
        self.find_audiences().await
    }

    /// Finds out what was asked about audiences and is not known.
    async fn find_audiences(&self) -> Result<(), store::Error> {
        let asked = std::mem::take(&mut self.found().members.open);
        if !asked.is_empty() {
            let members = self.store.members_among(self.env, &asked).await?;
            let answers = asked.into_iter().map(|slot| {
                let is_member = members.contains(&(slot.audience.clone(), slot.key()));
                (slot, is_member)
            });
            self.found().members.answers.extend(answers);
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
    pub(super) fn throttled(&self, counted: &Counted) -> Option<throttles::Passed> {
        let Found { throttled, misses, .. } = &mut *self.found();
        throttled.ask(counted, misses).flatten()
    }

    /// When messages have passed a frequency cap, oldest first.
    pub(super) fn passed(&self, counter: &Counter) -> Vec<Time> {
        let Found { passed, misses, .. } = &mut *self.found();
        passed.ask(counter, misses).unwrap_or_default()
    }

    /// Whether a workflow that may run once has run.
    pub(super) fn has_run(&self, once: &Once) -> bool {
        let Found { has_run, misses, .. } = &mut *self.found();
        has_run.ask(once, misses).unwrap_or_default()
    }

    /// Somebody with everything that an update may merge into.
    pub(super) fn entity(&self, reference: &RecipientRef) -> Option<Entity> {
        let Found { entities, misses, .. } = &mut *self.found();
        entities.ask(reference, misses)
    }

    /// What a user follows, oldest first, as templates see it: `object` answers for the record of each (D-TPL-19).
    pub(super) fn follows(&self, user: &str, object: impl Fn(&RecipientRef) -> Option<Value>) -> Vec<Value> {
        // No user is called like the key of an object.
        if user.starts_with('#') {
            return Vec::new();
        }
        let subscriptions = {
            let Found { follows, misses, .. } = &mut *self.found();
            follows.ask(&user.to_owned(), misses)
        };
        let shown = |one: &Subscription| {
            let properties = one.properties.clone().unwrap_or_default();
            json!({"object": object(&one.object), "properties": properties})
        };
        subscriptions.iter().flat_map(|all| all.iter()).map(shown).collect()
    }

    /// The batch that is open, or was until its window was over.
    pub(super) fn open_batch(&self, gathering: &Gathering) -> Option<OpenBatch> {
        let Found { batches, misses, .. } = &mut *self.found();
        batches.ask(gathering, misses).flatten()
    }

    /// What of a batch counts; none if there is no such batch.
    pub(super) fn gathered(&self, batch: &str, shown: Shown, counted: Counting) -> Option<Arc<Gathered>> {
        let Found { gathered, misses, .. } = &mut *self.found();
        gathered.ask(&(batch.to_owned(), shown, counted), misses).flatten()
    }

    /// An actor of a batch, by key.
    pub(super) fn actor(&self, key: &str) -> Option<Arc<Recipient>> {
        let Found { actors, misses, .. } = &mut *self.found();
        actors.ask(&key.to_owned(), misses).flatten()
    }

    /// Whether the recipient, by key, has data of a channel.
    pub(super) fn has_channel_data(&self, recipient: &str, channel: &str) -> bool {
        let Found { has_channel_data, misses, .. } = &mut *self.found();
        has_channel_data.ask(&(recipient.to_owned(), channel.to_owned()), misses).unwrap_or_default()
    }

    /// Whether a user is online, and when they were.
    pub(super) fn seen(&self, user: &str) -> Option<Seen> {
        let Found { seen, misses, .. } = &mut *self.found();
        seen.ask(&user.to_owned(), misses)
    }

    /// The item whose place another takes.
    pub(super) fn standing(&self, collapsing: &Collapsing) -> Option<Standing> {
        let Found { standing, misses, .. } = &mut *self.found();
        standing.ask(collapsing, misses).flatten()
    }

    /// Notes that recipients are given data of channels in the same change: the database does not have it yet.
    pub(super) fn give_channel_data(&self, given: impl Iterator<Item = (String, String)>) {
        self.found().has_channel_data.answers.extend(given.map(|given| (given, true)));
    }

    pub(super) fn recipient(&self, reference: &RecipientRef) -> Option<Value> {
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

    fn subscriptions(&self, user: &str) -> Vec<Value> {
        self.follows(user, |object| self.recipient(object))
    }
}
