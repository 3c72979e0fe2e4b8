//! Staged: recipients as they will be once a change is applied.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use serde_json::{Map, Value};

use crate::model::invalid::Invalid;
use crate::model::recipient::{Object, RecipientRef, TENANTS, User};
use crate::model::time::Time;
use crate::store::{self, Env};
use crate::wire::json::deep_merge;

use super::identify::Profile;
use super::turns::Turn;
use super::{Change, Core, Error};

/// The most that one recipient's properties may take, as JSON text (F-USR-07).
const PROPERTIES_BYTES: usize = 256 * 1024;

/// Recipients as they will be once a change is applied: what is stored, with profiles merged in.
pub struct Staged<'a> {
    core: &'a Core,
    env: Env,
    now: Time,
    users: BTreeMap<String, Entry<User>>,
    objects: BTreeMap<(String, String), Entry<Object>>,
    /// Preference sets by id, of those recipients who were given any.
    sets: BTreeMap<String, BTreeMap<String, Entry<Value>>>,
    /// By recipient and channel; it replaces what is there, so that this need not be known.
    channel_data: BTreeMap<(String, String), Value>,
}

/// What is staged by one change. It may be asked more than once.
pub trait Stage: Sync {
    /// Merges into `staged` what the change says of recipients.
    fn stage(&self, staged: &mut Staged<'_>) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A row as it will be; `before` is when it was last changed, none if it is not there.
struct Entry<T> {
    value: Option<T>,
    /// What was there before it was changed, of one that is.
    stored: Option<T>,
    before: Option<Time>,
    is_changed: bool,
}

impl<T> Default for Entry<T> {
    fn default() -> Self {
        Entry { value: None, stored: None, before: None, is_changed: false }
    }
}

impl<T: Clone> Entry<T> {
    /// Keeps what is stored, when it is about to be changed for the first time.
    fn keep_stored(&mut self) {
        if !self.is_changed {
            self.stored.clone_from(&self.value);
        }
    }
}

impl<'a> Staged<'a> {
    /// Nothing staged yet.
    pub fn new(core: &'a Core, env: Env) -> Self {
        let (users, objects) = (BTreeMap::new(), BTreeMap::new());
        let now = core.clock.now();
        Staged { core, env, now, users, objects, sets: BTreeMap::new(), channel_data: BTreeMap::new() }
    }

    /// Reads many users at once, so that each is not asked for by itself.
    pub async fn preload(&mut self, ids: &[&str]) -> Result<(), store::Error> {
        if ids.len() < 2 {
            return Ok(());
        }
        for user in self.core.store.users_by_ids(self.env, ids).await? {
            let entry = Entry { before: Some(user.updated_at), value: Some(user), ..Entry::default() };
            self.users.insert(entry.value.as_ref().map(|user| user.id.clone()).unwrap_or_default(), entry);
        }
        for id in ids {
            self.users.entry((*id).to_owned()).or_insert(Entry::default());
        }
        Ok(())
    }

    /// Merges `profile` into the recipient, creating it if it is not there (F-USR-05). `always` marks the recipient as
    /// written even if nothing changes.
    pub async fn merge(
        &mut self,
        reference: &RecipientRef,
        profile: &Profile,
        always: bool,
        path: &str,
    ) -> Result<(), Error> {
        match reference {
            RecipientRef::User(id) => self.merge_user(id, profile, always, path).await?,
            RecipientRef::Object { collection, id } => self.merge_object(collection, id, profile, always, path).await?,
        }
        let key = reference.key();
        let channel_data = profile.channel_data.iter();
        self.channel_data.extend(channel_data.map(|(channel, data)| ((key.clone(), channel.clone()), data.clone())));
        self.merge_sets(&key, &profile.preferences).await
    }

    async fn merge_sets(&mut self, recipient: &str, incoming: &Map<String, Value>) -> Result<(), Error> {
        if incoming.is_empty() {
            return Ok(());
        }
        if !self.sets.contains_key(recipient) {
            let stored = self.core.store.dated_preference_sets(self.env, recipient).await?;
            let entry = |value, at| Entry { value: Some(value), before: Some(at), ..Entry::default() };
            let stored = stored.into_iter().map(|(id, body, at)| (id, entry(body, at)));
            self.sets.insert(recipient.to_owned(), stored.collect());
        }
        let sets = self.sets.entry(recipient.to_owned()).or_default();
        for (id, incoming) in incoming {
            let entry = sets.entry(id.clone()).or_insert(Entry::default());
            let merged = merged_set(entry.value.clone(), incoming);
            entry.is_changed |= entry.value.as_ref() != Some(&merged);
            entry.value = Some(merged);
        }
        Ok(())
    }

    async fn merge_user(&mut self, id: &str, profile: &Profile, always: bool, path: &str) -> Result<(), Error> {
        let now = self.now;
        let entry = self.user_entry(id).await?;
        let before = entry.value.as_ref().map(|user| &user.properties);
        let merged = merged(before.cloned().unwrap_or_default(), &profile.properties, path)?;
        if always || before != Some(&merged) {
            let inserted_at = entry.value.as_ref().map_or(now, |user| user.inserted_at);
            let updated_at = later(now, entry.before);
            entry.keep_stored();
            entry.value = Some(User { id: id.to_owned(), properties: merged, inserted_at, updated_at });
            entry.is_changed = true;
        }
        Ok(())
    }

    async fn merge_object(
        &mut self,
        collection: &str,
        id: &str,
        profile: &Profile,
        always: bool,
        path: &str,
    ) -> Result<(), Error> {
        let now = self.now;
        let entry = self.object_entry(collection, id).await?;
        let before = entry.value.as_ref().map(|object| &object.properties);
        let merged = merged(before.cloned().unwrap_or_default(), &profile.properties, path)?;
        if always || before != Some(&merged) {
            entry.value = Some(Object {
                collection: collection.to_owned(),
                id: id.to_owned(),
                properties: merged,
                inserted_at: entry.value.as_ref().map_or(now, |object| object.inserted_at),
                updated_at: later(now, entry.before),
            });
            entry.is_changed = true;
        }
        Ok(())
    }

    /// Creates the tenant if it is not there (W-TRG-23).
    pub async fn ensure_tenant(&mut self, id: &str) -> Result<(), Error> {
        if self.object_entry(TENANTS, id).await?.value.is_none() {
            self.merge_object(TENANTS, id, &Profile::default(), true, "tenant").await?;
        }
        Ok(())
    }

    /// The user as it will be.
    pub async fn user(&mut self, id: &str) -> Result<Option<&User>, store::Error> {
        Ok(self.user_entry(id).await?.value.as_ref())
    }

    /// The object as it will be.
    pub async fn object(&mut self, collection: &str, id: &str) -> Result<Option<&Object>, store::Error> {
        Ok(self.object_entry(collection, id).await?.value.as_ref())
    }

    /// The recipient as runs see it; none for one that was never identified.
    pub async fn scope(&mut self, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id).await?.map(User::to_json),
            RecipientRef::Object { collection, id } => self.object(collection, id).await?.map(Object::to_scope),
        })
    }

    /// The recipient as resources embed it; none for one that was never identified.
    pub async fn record(&mut self, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id).await?.map(User::to_json),
            RecipientRef::Object { collection, id } => self.object(collection, id).await?.map(Object::to_json),
        })
    }

    /// The keys of the recipients that change.
    pub fn changed(&self) -> impl Iterator<Item = String> {
        let users = self.users.iter().filter(|(_, entry)| entry.is_changed).map(|(id, _)| id.clone());
        let objects = self.objects.iter().filter(|(_, entry)| entry.is_changed);
        let objects = objects
            .map(|((collection, id), _)| RecipientRef::Object { collection: collection.clone(), id: id.clone() }.key());
        let sets = self.sets.iter().filter(|(_, sets)| sets.values().any(|entry| entry.is_changed));
        users.chain(objects).chain(sets.map(|(key, _)| key.clone()))
    }

    /// Adds what has changed to `change`; refused if somebody else changed the same recipient meanwhile, or if one who
    /// was read is there no more: what is made for the deleted would stay behind.
    pub fn write(self, change: &mut Change) {
        let batch = &mut change.batch;
        batch.require_recipients(self.env, unchanged(&self.users), unchanged(&self.objects));
        for entry in self.users.values().filter(|entry| entry.is_changed) {
            if let Some(user) = &entry.value {
                batch.put_user(self.env, user, entry.before);
            }
        }
        for entry in self.objects.values().filter(|entry| entry.is_changed) {
            if let Some(object) = &entry.value {
                batch.put_object(self.env, object, entry.before);
            }
        }
        for ((recipient, channel), data) in &self.channel_data {
            batch.put_channel_data(self.env, recipient, channel, data, self.now);
        }
        for (recipient, sets) in &self.sets {
            for (id, entry) in sets.iter().filter(|(_, entry)| entry.is_changed) {
                if let Some(set) = &entry.value {
                    let now = later(self.now, entry.before);
                    batch.put_preference_set(self.env, recipient, id, set, entry.before, now);
                }
            }
        }
        for entry in self.users.values().filter(|entry| entry.is_changed) {
            if let Some(user) = &entry.value {
                change.sort_into_audiences(self.core, self.env, entry.stored.as_ref(), user, self.now);
            }
        }
        for key in self.updated() {
            change.signal_update(self.env, &RecipientRef::from_key(&key), self.now);
        }
    }

    /// The keys of the recipients that change, and were there before: for nobody else anything waits.
    fn updated(&self) -> BTreeSet<String> {
        let of_channels = self.channel_data.keys().map(|(recipient, _)| recipient.clone());
        let is_new = |key: &String| match RecipientRef::from_key(key) {
            RecipientRef::User(id) => self.users.get(&id).is_some_and(|entry| entry.before.is_none()),
            RecipientRef::Object { collection, id } => {
                self.objects.get(&(collection, id)).is_some_and(|entry| entry.before.is_none())
            }
        };
        self.changed().chain(of_channels).filter(|key| !is_new(key)).collect()
    }

    async fn user_entry(&mut self, id: &str) -> Result<&mut Entry<User>, store::Error> {
        if !self.users.contains_key(id) {
            let value = self.core.store.user(self.env, id).await?;
            let before = value.as_ref().map(|user| user.updated_at);
            self.users.insert(id.to_owned(), Entry { value, before, ..Entry::default() });
        }
        Ok(self.users.entry(id.to_owned()).or_insert(Entry::default()))
    }

    async fn object_entry(&mut self, collection: &str, id: &str) -> Result<&mut Entry<Object>, store::Error> {
        let key = (collection.to_owned(), id.to_owned());
        if !self.objects.contains_key(&key) {
            let value = self.core.store.object(self.env, collection, id).await?;
            let before = value.as_ref().map(|object| object.updated_at);
            self.objects.insert(key.clone(), Entry { value, before, ..Entry::default() });
        }
        Ok(self.objects.entry(key).or_insert(Entry::default()))
    }
}

impl Core {
    /// Stages what `stage` does, and waits for the turn to change whom it changes. The turn is to be held until the
    /// commit: then nobody else on this node comes in between, and it need not be tried again. `sure` is who changes in
    /// any case.
    pub async fn staged(
        &self,
        env: Env,
        sure: Option<&RecipientRef>,
        stage: &impl Stage,
    ) -> Result<(Staged<'_>, Turn<'_>), Error> {
        let mut wanted: BTreeSet<String> = sure.into_iter().map(RecipientRef::key).collect();
        let mut turn = self.turns.take(env, wanted.iter().cloned()).await;
        loop {
            let mut staged = Staged::new(self, env);
            stage.stage(&mut staged).await?;
            wanted.extend(staged.changed().filter(|key| !turn.covers(env, key)));
            if wanted.iter().all(|key| turn.covers(env, key)) {
                return Ok((staged, turn));
            }
            // What was read before the turn may be old by now: it is staged again. Most often nothing changes, and
            // nothing is waited for.
            drop((staged, turn));
            turn = self.turns.take(env, wanted.iter().cloned()).await;
        }
    }
}

/// Those who were read and stay as they are; who changes has a guard of its own.
fn unchanged<K, T>(entries: &BTreeMap<K, Entry<T>>) -> impl Iterator<Item = &T> {
    entries.values().filter(|entry| !entry.is_changed).filter_map(|entry| entry.value.as_ref())
}

/// `updated_at` only grows, so that it tells one state from the next.
fn later(now: Time, before: Option<Time>) -> Time {
    before.map_or(now, |before| now.max(before.plus_micros(1)))
}

fn merged(stored: Map<String, Value>, incoming: &Map<String, Value>, path: &str) -> Result<Map<String, Value>, Error> {
    let mut out = Value::Object(stored);
    deep_merge(&mut out, Value::Object(incoming.clone()));
    if !incoming.is_empty() && out.to_string().len() > PROPERTIES_BYTES {
        return Err(Invalid::new(path, "the properties would exceed 256 kB; store less, or store a reference").into());
    }
    match out {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}

/// A preference set after an inline write: merged, unless it asks to replace (F-PRF-11, F-PRF-12).
fn merged_set(stored: Option<Value>, incoming: &Value) -> Value {
    let mut incoming = incoming.clone();
    let strategy = incoming.as_object_mut().and_then(|set| set.remove("__persistence_strategy__"));
    let replaces = strategy.as_ref().and_then(Value::as_str) == Some("replace");
    match stored {
        Some(mut stored) if !replaces => {
            deep_merge(&mut stored, incoming);
            stored
        }
        _ => incoming,
    }
}
