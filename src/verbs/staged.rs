//! Staged: recipients as they will be once a change is applied.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::channel_data::says_something;
use crate::model::invalid::Invalid;
use crate::model::recipient::{Object, Recipient, RecipientRef, TENANTS, User};
use crate::model::schedule::Schedule;
use crate::model::time::Time;
use crate::rules::{preference, tenant, window};
use crate::store::jobs::Line;
use crate::store::{self, Env};
use crate::wire::json::deep_merge_maps;

use super::identify::Profile;
use super::turns::Turn;
use super::{Change, Core, Error, OVERTAKEN, schedule};

/// The most that one recipient's properties may take, as JSON text (F-USR-07).
const PROPERTIES_BYTES: usize = 256 * 1024;

/// Recipients as they will be once a change is applied: what is stored, with profiles merged in.
pub struct Staged<'a> {
    core: &'a Core,
    env: Env,
    now: Time,
    /// How many workflows have caused each other to come here.
    depth: u32,
    /// The environment's time zone, for recipients that name none.
    default_zone: Option<&'a str>,
    users: BTreeMap<String, Entry<User>>,
    objects: BTreeMap<(String, String), Entry<Object>>,
    /// Preference sets by id, of those recipients whose were asked for or given.
    sets: BTreeMap<String, BTreeMap<String, Entry<Value>>>,
    /// By recipient and channel; it replaces what is there, so that this need not be known.
    channel_data: BTreeMap<(String, String), Value>,
    /// Those whose time zone changes.
    moved: BTreeSet<RecipientRef>,
    /// Those on whose time zone rests what the change does.
    relied_on: BTreeSet<RecipientRef>,
    /// Schedules that the change itself plans anew, whoever moves.
    taken_over: BTreeSet<Uuid>,
}

/// Somebody as a change finds them, with everything that can be merged into; and as the change leaves them.
#[derive(Debug, Clone)]
pub struct Entity {
    reference: RecipientRef,
    stored: Option<Stored>,
    /// When they were last changed before; none if they are not there.
    before: Option<Time>,
    /// Preference sets by id.
    sets: BTreeMap<String, Value>,
}

#[derive(Debug, Clone)]
enum Stored {
    User(User),
    Object(Object),
}

impl Entity {
    /// Who this is.
    pub fn reference(&self) -> &RecipientRef {
        &self.reference
    }

    /// The entity as runs see it; none for one that is not there.
    pub fn scope(&self) -> Option<Value> {
        self.stored.as_ref().map(|stored| match stored {
            Stored::User(user) => user.to_json(),
            Stored::Object(object) => object.to_scope(),
        })
    }

    /// The preference set of that id.
    pub fn set(&self, id: &str) -> Option<&Value> {
        self.sets.get(id)
    }

    /// The entity as resources embed it; none for one that is not there.
    pub fn record(&self) -> Option<Value> {
        self.stored.as_ref().map(|stored| match stored {
            Stored::User(user) => user.to_json(),
            Stored::Object(object) => object.to_json(),
        })
    }

    /// The entity as a run's record shows it: with its preferences, and never with channel data (W-RUN-19). Null for one
    /// that is not there.
    pub fn view(&self) -> Value {
        let mut view = self.scope().unwrap_or_default();
        if let Value::Object(members) = &mut view
            && !self.sets.is_empty()
        {
            members.insert("preferences".to_owned(), self.sets.clone().into_iter().collect());
        }
        view
    }

    /// Merges `profile`, as [`Staged::merge`] will.
    pub fn merge(&mut self, profile: &Profile, now: Time, path: &str) -> Result<(), Error> {
        let before = self.before;
        match &self.reference {
            RecipientRef::User(id) => {
                let stored = match &self.stored {
                    Some(Stored::User(user)) => Some(user),
                    _ => None,
                };
                let merged = merged_user(stored, id, profile, false, path, later(now, before))?;
                self.stored = merged.map(Stored::User).or(self.stored.take());
            }
            RecipientRef::Object { collection, id } => {
                let stored = match &self.stored {
                    Some(Stored::Object(object)) => Some(object),
                    _ => None,
                };
                let merged = merged_object(stored, (collection, id), profile, false, path, later(now, before))?;
                self.stored = merged.map(Stored::Object).or(self.stored.take());
            }
        }
        for (id, incoming) in &profile.preferences {
            let merged = preference::merged(self.sets.get(id).cloned(), incoming);
            self.sets.insert(id.clone(), merged);
        }
        Ok(())
    }
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
        let environment = core.catalog.environment(env);
        Staged {
            core,
            env,
            now: core.clock.now(),
            depth: 0,
            default_zone: environment.and_then(|environment| environment.settings.timezone.as_deref()),
            users: BTreeMap::new(),
            objects: BTreeMap::new(),
            sets: BTreeMap::new(),
            channel_data: BTreeMap::new(),
            moved: BTreeSet::new(),
            relied_on: BTreeSet::new(),
            taken_over: BTreeSet::new(),
        }
    }

    /// Says that runs make the change to which so many workflows have led: whatever it causes is one more.
    pub fn follow(&mut self, depth: u32) {
        self.depth = depth;
    }

    /// Reads users with their preference sets at once, so that each is not asked for by itself; those that are known stay as they are.
    pub async fn preload(&mut self, ids: &[&str]) -> Result<(), store::Error> {
        let ids: Vec<&str> = ids.iter().copied().filter(|id| !self.users.contains_key(*id)).collect();
        if ids.is_empty() {
            return Ok(());
        }
        let (store, env) = (&self.core.store, self.env);
        let (users, sets) = tokio::try_join!(store.users_by_ids(env, &ids), store.preference_sets_of(env, &ids))?;
        for id in &ids {
            self.sets.entry((*id).to_owned()).or_default();
        }
        for (recipient, id, body, at) in sets {
            let entry = Entry { value: Some(body), before: Some(at), ..Entry::default() };
            self.sets.entry(recipient).or_default().insert(id, entry);
        }
        for user in users {
            let entry = Entry { before: Some(user.updated_at), value: Some(user), ..Entry::default() };
            self.users.insert(entry.value.as_ref().map(|user| user.id.clone()).unwrap_or_default(), entry);
        }
        for id in ids {
            self.users.entry(id.to_owned()).or_default();
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
        let before = self.timezone(reference).await?;
        match reference {
            RecipientRef::User(id) => self.merge_user(id, profile, always, path).await?,
            RecipientRef::Object { collection, id } => self.merge_object(collection, id, profile, always, path).await?,
        }
        if self.timezone(reference).await? != before {
            self.moved.insert(reference.clone());
        }
        let key = reference.key();
        let channel_data = self.core.catalog.sound_channel_data(self.env, &profile.channel_data, path)?;
        self.channel_data.extend(channel_data.into_iter().map(|(channel, data)| ((key.clone(), channel), data)));
        self.merge_sets(&key, &profile.preferences).await
    }

    async fn merge_sets(&mut self, recipient: &str, incoming: &Map<String, Value>) -> Result<(), Error> {
        if incoming.is_empty() {
            return Ok(());
        }
        let sets = self.sets_entry(recipient).await?;
        for (id, incoming) in incoming {
            let entry = sets.entry(id.clone()).or_default();
            let merged = preference::merged(entry.value.clone(), incoming);
            entry.is_changed |= entry.value.as_ref() != Some(&merged);
            entry.value = Some(merged);
        }
        Ok(())
    }

    /// Makes of one preference set of the recipient what `write` makes of it, creating the recipient if it is not there
    /// (F-PRF-15, F-AMB-32).
    pub async fn prefer(
        &mut self,
        reference: &RecipientRef,
        set: &str,
        write: impl FnOnce(Option<Value>) -> Value,
    ) -> Result<(), Error> {
        self.merge(reference, &Profile::default(), false, "").await?;
        let entry = self.sets_entry(&reference.key()).await?.entry(set.to_owned()).or_default();
        let written = write(entry.value.clone());
        entry.is_changed |= entry.value.as_ref() != Some(&written);
        entry.value = Some(written);
        Ok(())
    }

    async fn merge_user(&mut self, id: &str, profile: &Profile, always: bool, path: &str) -> Result<(), Error> {
        let now = self.now;
        let entry = self.user_entry(id).await?;
        let updated_at = later(now, entry.before);
        if let Some(user) = merged_user(entry.value.as_ref(), id, profile, always, path, updated_at)? {
            entry.keep_stored();
            entry.value = Some(user);
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
        let (name, updated_at) = ((collection, id), later(now, entry.before));
        if let Some(object) = merged_object(entry.value.as_ref(), name, profile, always, path, updated_at)? {
            entry.value = Some(object);
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

    /// The recipient as it will be.
    pub async fn recipient(&mut self, reference: &RecipientRef) -> Result<Option<Recipient>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id).await?.cloned().map(Recipient::User),
            RecipientRef::Object { collection, id } => {
                self.object(collection, id).await?.cloned().map(Recipient::Object)
            }
        })
    }

    /// The recipient as runs see it; none for one that was never identified.
    pub async fn scope(&mut self, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id).await?.map(User::to_json),
            RecipientRef::Object { collection, id } => self.object(collection, id).await?.map(Object::to_scope),
        })
    }

    /// The recipient with its preferences, as it will be.
    pub async fn entity(&mut self, reference: &RecipientRef) -> Result<Entity, store::Error> {
        let sets = self.sets_entry(&reference.key()).await?;
        let sets = sets.iter().filter_map(|(id, entry)| Some((id.clone(), entry.value.clone()?))).collect();
        let (stored, before) = match reference {
            RecipientRef::User(id) => {
                let entry = self.user_entry(id).await?;
                (entry.value.clone().map(Stored::User), entry.before)
            }
            RecipientRef::Object { collection, id } => {
                let entry = self.object_entry(collection, id).await?;
                (entry.value.clone().map(Stored::Object), entry.before)
            }
        };
        Ok(Entity { reference: reference.clone(), stored, before, sets })
    }

    /// The recipient as resources embed it; none for one that was never identified.
    pub async fn record(&mut self, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id).await?.map(User::to_json),
            RecipientRef::Object { collection, id } => self.object(collection, id).await?.map(Object::to_json),
        })
    }

    /// The recipient's time zone as it will be (W-SCP-26).
    pub async fn zone(&mut self, reference: &RecipientRef) -> Result<TimeZone, store::Error> {
        Ok(window::zone(self.timezone(reference).await?.as_deref(), self.default_zone))
    }

    /// Leaves it to the caller to plan the schedule anew; whether it must, since its recipient moves.
    pub fn take_over(&mut self, schedule: &Schedule) -> bool {
        self.taken_over.insert(schedule.id);
        self.moved.contains(&schedule.recipient)
    }

    /// The recipient's time zone, which must still be the same when the change is applied.
    pub async fn rely_on_zone(&mut self, reference: &RecipientRef) -> Result<TimeZone, store::Error> {
        self.relied_on.insert(reference.clone());
        self.zone(reference).await
    }

    async fn timezone(&mut self, reference: &RecipientRef) -> Result<Option<String>, store::Error> {
        let properties = match reference {
            RecipientRef::User(id) => self.user(id).await?.map(|user| &user.properties),
            RecipientRef::Object { collection, id } => {
                self.object(collection, id).await?.map(|object| &object.properties)
            }
        };
        let named = properties.and_then(|properties| properties.get("timezone")).and_then(Value::as_str);
        Ok(named.map(str::to_owned))
    }

    /// What is stored of where a channel reaches a recipient.
    pub async fn stored_channel_data(
        &self,
        reference: &RecipientRef,
        channel: &str,
    ) -> Result<Option<Value>, store::Error> {
        self.core.store.channel_data_of(self.env, &reference.key(), channel).await
    }

    /// Whom this change gives data of which channel, by their keys.
    pub fn channel_data(&self) -> impl Iterator<Item = (String, String)> {
        self.channel_data.iter().filter(|(_, data)| says_something(data)).map(|(key, _)| key.clone())
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
    /// was read is there no more: what is made for the deleted would stay behind. What is planned for those whose time
    /// zone changes is planned anew (W-AMB-61).
    pub async fn write(mut self, change: &mut Change) -> Result<(), store::Error> {
        let moved = std::mem::take(&mut self.moved);
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
        for reference in &self.relied_on {
            let (before, is_changed) = self.state(reference);
            if !is_changed {
                batch.require_as_it_was(self.env, reference, before);
            }
        }
        let changed = self.users.values().filter(|entry| entry.is_changed);
        let changed = changed.filter_map(|entry| Some((entry.stored.as_ref(), entry.value.as_ref()?)));
        change.sort_into_audiences(self.core, self.env, changed, self.depth + 1, self.now);
        for key in self.updated() {
            change.signal_update(self.env, &RecipientRef::from_key(&key), self.now);
        }
        if moved.is_empty() { Ok(()) } else { self.replan(moved, change).await }
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

    /// Plans the schedules and digests of these recipients anew. Whoever adds one at the same time relies on the zone that is
    /// changed here, or is seen by the counts: one of both is refused.
    async fn replan(&mut self, moved: BTreeSet<RecipientRef>, change: &mut Change) -> Result<(), store::Error> {
        let keys: Vec<String> = moved.iter().map(RecipientRef::key).collect();
        let planned = self.core.store.planned_schedules(self.env, &keys).await?;
        change.batch.require_planned(self.env, &keys, planned.len());
        let digests = self.core.store.open_digests(self.env, &keys).await?;
        change.batch.require_open_digests(self.env, &keys, digests.len());
        if !digests.is_empty() {
            change.batch.replan_digests(&digests, self.now);
            change.wake(Line::Own, self.now);
        }
        let taken_over = std::mem::take(&mut self.taken_over);
        for schedule in planned.into_iter().filter(|schedule| !taken_over.contains(&schedule.id)) {
            let zone = self.zone(&schedule.recipient).await?;
            schedule::move_to(change, schedule, &zone, self.now);
        }
        Ok(())
    }

    /// When a recipient that was read was last changed, and whether it changes again.
    fn state(&self, reference: &RecipientRef) -> (Option<Time>, bool) {
        match reference {
            RecipientRef::User(id) => self.users.get(id).map(|entry| (entry.before, entry.is_changed)),
            RecipientRef::Object { collection, id } => {
                let key = (collection.clone(), id.clone());
                self.objects.get(&key).map(|entry| (entry.before, entry.is_changed))
            }
        }
        .unwrap_or((None, false))
    }

    /// The recipient's preference set as it will be.
    pub async fn preference_set(&mut self, recipient: &str, id: &str) -> Result<Option<Value>, store::Error> {
        Ok(self.sets_entry(recipient).await?.get(id).and_then(|entry| entry.value.clone()))
    }

    async fn sets_entry(&mut self, recipient: &str) -> Result<&mut BTreeMap<String, Entry<Value>>, store::Error> {
        if !self.sets.contains_key(recipient) {
            let stored = self.core.store.dated_preference_sets(self.env, recipient).await?;
            let entry = |value, at| Entry { value: Some(value), before: Some(at), ..Entry::default() };
            let stored = stored.into_iter().map(|(id, body, at)| (id, entry(body, at)));
            self.sets.insert(recipient.to_owned(), stored.collect());
        }
        Ok(self.sets.entry(recipient.to_owned()).or_default())
    }

    async fn user_entry(&mut self, id: &str) -> Result<&mut Entry<User>, store::Error> {
        if !self.users.contains_key(id) {
            let value = self.core.store.user(self.env, id).await?;
            let before = value.as_ref().map(|user| user.updated_at);
            self.users.insert(id.to_owned(), Entry { value, before, ..Entry::default() });
        }
        Ok(self.users.entry(id.to_owned()).or_default())
    }

    async fn object_entry(&mut self, collection: &str, id: &str) -> Result<&mut Entry<Object>, store::Error> {
        let key = (collection.to_owned(), id.to_owned());
        if !self.objects.contains_key(&key) {
            let value = self.core.store.object(self.env, collection, id).await?;
            let before = value.as_ref().map(|object| object.updated_at);
            self.objects.insert(key.clone(), Entry { value, before, ..Entry::default() });
        }
        Ok(self.objects.entry(key).or_default())
    }
}

impl Core {
    /// Stages what `stage` does, and waits for the turn to change whom it changes. The turn is to be held until the
    /// commit: then nobody else on this node comes in between, and it need not be tried again. `sure` are the keys
    /// of those who change in any case.
    pub async fn staged(
        &self,
        env: Env,
        sure: impl IntoIterator<Item = String>,
        stage: &impl Stage,
    ) -> Result<(Staged<'_>, Turn<'_>), Error> {
        let mut wanted: BTreeSet<String> = sure.into_iter().collect();
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

impl Core {
    /// Changes a recipient, given by its key, as `stage` says; again when somebody else has changed it meanwhile.
    pub(super) async fn change_recipient(&self, env: Env, key: &str, stage: &impl Stage) -> Result<(), Error> {
        for _ in 0..OVERTAKEN {
            let (staged, _turn) = self.staged(env, [key.to_owned()], stage).await?;
            let mut change = Change::new();
            staged.write(&mut change).await?;
            match self.commit(change).await {
                Ok(_) => return Ok(()),
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
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

/// A user into whom `profile` is merged, if that changes anything.
fn merged_user(
    stored: Option<&User>,
    id: &str,
    profile: &Profile,
    always: bool,
    path: &str,
    updated_at: Time,
) -> Result<Option<User>, Error> {
    let before = stored.map(|user| &user.properties);
    let properties = merged(before.cloned().unwrap_or_default(), &profile.properties, path)?;
    if !always && before == Some(&properties) {
        return Ok(None);
    }
    let inserted_at = stored.map_or(updated_at, |user| user.inserted_at);
    Ok(Some(User { id: id.to_owned(), properties, inserted_at, updated_at }))
}

/// An object into which `profile` is merged, if that changes anything.
fn merged_object(
    stored: Option<&Object>,
    (collection, id): (&str, &str),
    profile: &Profile,
    always: bool,
    path: &str,
    updated_at: Time,
) -> Result<Option<Object>, Error> {
    let before = stored.map(|object| &object.properties);
    let stored_properties = before.cloned().unwrap_or_default();
    let properties = match collection {
        TENANTS => bounded(tenant::merged(stored_properties, &profile.properties), &profile.properties, path)?,
        _ => merged(stored_properties, &profile.properties, path)?,
    };
    if !always && before == Some(&properties) {
        return Ok(None);
    }
    let inserted_at = stored.map_or(updated_at, |object| object.inserted_at);
    Ok(Some(Object { collection: collection.to_owned(), id: id.to_owned(), properties, inserted_at, updated_at }))
}

fn merged(
    mut stored: Map<String, Value>,
    incoming: &Map<String, Value>,
    path: &str,
) -> Result<Map<String, Value>, Error> {
    deep_merge_maps(&mut stored, incoming.clone());
    bounded(stored, incoming, path)
}

/// What `incoming` was merged into, unless it takes too much (F-USR-07, F-OBJ-02).
fn bounded(merged: Map<String, Value>, incoming: &Map<String, Value>, path: &str) -> Result<Map<String, Value>, Error> {
    let merged = Value::Object(merged);
    if !incoming.is_empty() && merged.to_string().len() > PROPERTIES_BYTES {
        return Err(Invalid::new(path, "the properties would exceed 256 kB; store less, or store a reference").into());
    }
    match merged {
        Value::Object(map) => Ok(map),
        _ => Ok(Map::new()),
    }
}
