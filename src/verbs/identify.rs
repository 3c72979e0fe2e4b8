//! Identify: who somebody is, as told by the customer; what is said again is merged into what is known.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::model::invalid::Invalid;
use crate::model::recipient::{Object, RecipientRef, TENANTS, User, object_id_fault, user_id_fault};
use crate::model::time::Time;
use crate::store::{self, Batch, Env, Store};
use crate::wire::json::deep_merge;

use super::{Change, Core, Error, OVERTAKEN};

/// The most that one recipient's properties may take, as JSON text (F-USR-07).
const PROPERTIES_BYTES: usize = 256 * 1024;
/// Keys of an inline recipient that are not properties (W-TRG-13).
const CONTROL_KEYS: [&str; 5] = ["id", "collection", "channel_data", "preferences", "$trigger_data"];

/// What a caller says of a recipient besides its id.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    pub properties: Map<String, Value>,
    /// By channel id; replaces what was there (F-REC-05).
    pub channel_data: Map<String, Value>,
    /// By set id; merged into what was there (F-USR-08).
    pub preferences: Map<String, Value>,
}

impl Profile {
    /// Reads a profile out of a request's map; control keys and `__typename` are not properties.
    pub fn parse(map: &Map<String, Value>, path: &str) -> Result<Profile, Vec<Invalid>> {
        let mut faults = Vec::new();
        let mut profile = Profile::default();
        for (name, value) in map {
            if let Some(fault) = property_fault(name, value) {
                faults.push(Invalid::new(join(path, name), fault));
            } else if !CONTROL_KEYS.contains(&name.as_str()) && name != "__typename" {
                profile.properties.insert(name.clone(), value.clone());
            }
        }
        profile.channel_data = map_of_maps(map, "channel_data", path, &mut faults);
        profile.preferences = map_of_maps(map, "preferences", path, &mut faults);
        if faults.is_empty() { Ok(profile) } else { Err(faults) }
    }
}

/// What is wrong with a reserved property's value, if anything (F-USR-03).
fn property_fault(name: &str, value: &Value) -> Option<String> {
    match name {
        "name" | "email" | "avatar" | "phone_number" | "timezone" | "locale" => {
            (!value.is_string() && !value.is_null()).then(|| format!("{name} must be a string or null"))
        }
        "created_at" => {
            let fits = value.is_null() || value.as_str().is_some_and(|text| Time::parse(text).is_some());
            (!fits).then(|| "created_at must be an ISO-8601 time or null".to_owned())
        }
        _ => None,
    }
}

fn map_of_maps(map: &Map<String, Value>, name: &str, path: &str, faults: &mut Vec<Invalid>) -> Map<String, Value> {
    match map.get(name) {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(inner)) if inner.values().all(Value::is_object) => inner.clone(),
        Some(_) => {
            faults.push(Invalid::new(join(path, name), format!("{name} must be a map of objects")));
            Map::new()
        }
    }
}

/// `path.name`, or just `name` at the top.
pub(crate) fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A recipient as requests name one: a reference, or an inline map that also identifies (F-REC-02).
#[derive(Debug, Clone, PartialEq)]
pub struct RecipientRequest {
    pub reference: RecipientRef,
    /// What to merge before anything runs; none for a plain reference (W-TRG-12).
    pub profile: Option<Profile>,
    /// Merged over the trigger's data for this recipient (W-TRG-16).
    pub trigger_data: Map<String, Value>,
}

impl RecipientRequest {
    /// Reads a user id, a reference to an object, or an inline user or object (W-TRG-06, W-TRG-07).
    pub fn parse(value: &Value, path: &str) -> Result<RecipientRequest, Vec<Invalid>> {
        match value {
            Value::String(id) => {
                Ok(RecipientRequest { reference: user(id, path)?, profile: None, trigger_data: Map::new() })
            }
            Value::Object(map) => inline(map, path),
            _ => Err(vec![Invalid::new(path, "must be a user id, {\"collection\", \"id\"}, or a map with an id")]),
        }
    }
}

fn user(id: &str, path: &str) -> Result<RecipientRef, Vec<Invalid>> {
    match user_id_fault(id) {
        Some(fault) => Err(vec![Invalid::new(path, fault)]),
        None => Ok(RecipientRef::User(id.to_owned())),
    }
}

fn inline(map: &Map<String, Value>, path: &str) -> Result<RecipientRequest, Vec<Invalid>> {
    let Some(id) = map.get("id").and_then(Value::as_str) else {
        return Err(vec![Invalid::new(join(path, "id"), "an id is required, as a string")]);
    };
    let reference = match map.get("collection") {
        None | Some(Value::Null) => user(id, &join(path, "id"))?,
        Some(Value::String(collection)) => object(collection, id, path)?,
        Some(_) => return Err(vec![Invalid::new(join(path, "collection"), "collection must be a string")]),
    };
    let trigger_data = match map.get("$trigger_data") {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(data)) => data.clone(),
        Some(_) => return Err(vec![Invalid::new(join(path, "$trigger_data"), "$trigger_data must be an object")]),
    };
    let says_more = map.keys().any(|key| key != "id" && key != "collection" && key != "$trigger_data");
    // `{"id"}` alone identifies a user (W-TRG-12); `{"collection","id"}` alone is a reference (F-REC-01).
    let identifies = says_more || reference.user_id().is_some();
    let profile = if identifies { Some(Profile::parse(map, path)?) } else { None };
    Ok(RecipientRequest { reference, profile, trigger_data })
}

fn object(collection: &str, id: &str, path: &str) -> Result<RecipientRef, Vec<Invalid>> {
    for (name, text) in [("collection", collection), ("id", id)] {
        if let Some(fault) = object_id_fault(text) {
            return Err(vec![Invalid::new(join(path, name), fault)]);
        }
    }
    Ok(RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() })
}

/// Recipients as they will be once a change is applied: what is stored, with profiles merged in.
pub struct Staged<'a> {
    store: &'a Store,
    env: Env,
    now: Time,
    users: BTreeMap<String, Entry<User>>,
    objects: BTreeMap<(String, String), Entry<Object>>,
    extras: Vec<(String, Profile)>,
}

struct Entry<T> {
    value: Option<T>,
    before: Option<Time>,
    is_changed: bool,
}

impl<'a> Staged<'a> {
    /// Nothing staged yet.
    pub fn new(store: &'a Store, env: Env, now: Time) -> Self {
        Staged { store, env, now, users: BTreeMap::new(), objects: BTreeMap::new(), extras: Vec::new() }
    }

    /// Reads many users at once, so that each is not asked for by itself.
    pub fn preload(&mut self, ids: &[&str]) -> Result<(), store::Error> {
        if ids.len() < 2 {
            return Ok(());
        }
        for user in self.store.users_by_ids(self.env, ids)? {
            let entry = Entry { before: Some(user.updated_at), is_changed: false, value: Some(user) };
            self.users.insert(entry.value.as_ref().map(|user| user.id.clone()).unwrap_or_default(), entry);
        }
        for id in ids {
            self.users.entry((*id).to_owned()).or_insert(Entry { value: None, before: None, is_changed: false });
        }
        Ok(())
    }

    /// Merges `profile` into the recipient, creating it if it is not there (F-USR-05). `always` marks the recipient as
    /// written even if nothing changes.
    pub fn merge(
        &mut self,
        reference: &RecipientRef,
        profile: &Profile,
        always: bool,
        path: &str,
    ) -> Result<(), Error> {
        match reference {
            RecipientRef::User(id) => self.merge_user(id, profile, always, path)?,
            RecipientRef::Object { collection, id } => self.merge_object(collection, id, profile, always, path)?,
        }
        if !profile.channel_data.is_empty() || !profile.preferences.is_empty() {
            self.extras.push((reference.key(), profile.clone()));
        }
        Ok(())
    }

    fn merge_user(&mut self, id: &str, profile: &Profile, always: bool, path: &str) -> Result<(), Error> {
        let now = self.now;
        let entry = self.user_entry(id)?;
        let before = entry.value.as_ref().map(|user| user.properties.clone());
        let merged = merged(before.clone().unwrap_or_default(), &profile.properties, path)?;
        if always || before.as_ref() != Some(&merged) {
            let inserted_at = entry.value.as_ref().map_or(now, |user| user.inserted_at);
            let updated_at = later(now, entry.before);
            entry.value = Some(User { id: id.to_owned(), properties: merged, inserted_at, updated_at });
            entry.is_changed = true;
        }
        Ok(())
    }

    fn merge_object(
        &mut self,
        collection: &str,
        id: &str,
        profile: &Profile,
        always: bool,
        path: &str,
    ) -> Result<(), Error> {
        let now = self.now;
        let entry = self.object_entry(collection, id)?;
        let before = entry.value.as_ref().map(|object| object.properties.clone());
        let merged = merged(before.clone().unwrap_or_default(), &profile.properties, path)?;
        if always || before.as_ref() != Some(&merged) {
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
    pub fn ensure_tenant(&mut self, id: &str) -> Result<(), Error> {
        if self.object_entry(TENANTS, id)?.value.is_none() {
            self.merge_object(TENANTS, id, &Profile::default(), true, "tenant")?;
        }
        Ok(())
    }

    /// The user as it will be.
    pub fn user(&mut self, id: &str) -> Result<Option<&User>, store::Error> {
        Ok(self.user_entry(id)?.value.as_ref())
    }

    /// The object as it will be.
    pub fn object(&mut self, collection: &str, id: &str) -> Result<Option<&Object>, store::Error> {
        Ok(self.object_entry(collection, id)?.value.as_ref())
    }

    /// The recipient as runs see it; none for one that was never identified.
    pub fn scope(&mut self, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id)?.map(User::to_json),
            RecipientRef::Object { collection, id } => self.object(collection, id)?.map(Object::to_scope),
        })
    }

    /// The recipient as resources embed it; none for one that was never identified.
    pub fn record(&mut self, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
        Ok(match reference {
            RecipientRef::User(id) => self.user(id)?.map(User::to_json),
            RecipientRef::Object { collection, id } => self.object(collection, id)?.map(Object::to_json),
        })
    }

    /// Adds what has changed to `batch`; refused if somebody else changed the same recipient meanwhile.
    pub fn write(self, batch: &mut Batch) -> Result<(), store::Error> {
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
        for (recipient, profile) in &self.extras {
            for (channel, data) in &profile.channel_data {
                batch.put_channel_data(self.env, recipient, channel, data, self.now);
            }
            let stored = self.store.preference_sets(self.env, recipient)?;
            for (set_id, incoming) in &profile.preferences {
                let before = stored.iter().find(|(id, _)| id == set_id).map(|(_, body)| body.clone());
                batch.put_preference_set(self.env, recipient, set_id, &merged_set(before, incoming), self.now);
            }
        }
        Ok(())
    }

    fn user_entry(&mut self, id: &str) -> Result<&mut Entry<User>, store::Error> {
        if !self.users.contains_key(id) {
            let value = self.store.user(self.env, id)?;
            let before = value.as_ref().map(|user| user.updated_at);
            self.users.insert(id.to_owned(), Entry { value, before, is_changed: false });
        }
        Ok(self.users.entry(id.to_owned()).or_insert(Entry { value: None, before: None, is_changed: false }))
    }

    fn object_entry(&mut self, collection: &str, id: &str) -> Result<&mut Entry<Object>, store::Error> {
        let key = (collection.to_owned(), id.to_owned());
        if !self.objects.contains_key(&key) {
            let value = self.store.object(self.env, collection, id)?;
            let before = value.as_ref().map(|object| object.updated_at);
            self.objects.insert(key.clone(), Entry { value, before, is_changed: false });
        }
        Ok(self.objects.entry(key).or_insert(Entry { value: None, before: None, is_changed: false }))
    }
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

impl Core {
    /// Merges `profile` into a user, creating it if it is not there; answers the user as it now is (F-USR-01).
    pub async fn identify_user(&self, env: Env, id: &str, profile: &Profile) -> Result<User, Error> {
        if let Some(fault) = user_id_fault(id) {
            return Err(Invalid::new("id", fault).into());
        }
        let reference = RecipientRef::User(id.to_owned());
        for _ in 0..OVERTAKEN {
            let mut staged = Staged::new(&self.store, env, self.clock.now());
            staged.merge(&reference, profile, true, "")?;
            let user = staged.user(id)?.cloned();
            let mut batch = Batch::new();
            staged.write(&mut batch)?;
            match self.store.apply(batch).await {
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => {
                    return user.ok_or_else(|| Error::Missing(format!("The user `{id}` is not there.")));
                }
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Deletes a user and everything that is theirs (F-USR-12). Others forget them in the background (F-USR-13).
    pub async fn delete_user(&self, env: Env, id: &str) -> Result<(), Error> {
        let mut change = Change::new();
        change.batch.delete_user(env, id);
        change.forget(env, id, self.clock.now());
        match self.commit(change).await {
            Ok(_) => {
                self.tell_of_deletion(env, id)?;
                Ok(())
            }
            Err(store::Error::Refused(_)) => Err(Error::Missing(format!("There is no user `{id}`."))),
            Err(error) => Err(error.into()),
        }
    }

    /// Bells that are still open learn that their feed is empty.
    fn tell_of_deletion(&self, env: Env, id: &str) -> Result<(), store::Error> {
        for channel in self.catalog.channels() {
            let channel = channel.id.to_string();
            let head = self.store.feed_head(env, &channel, id)?;
            if head.id != 0 {
                self.bus.publish(&crate::bus::FeedEvent {
                    env,
                    channel,
                    recipient: id.to_owned(),
                    head,
                    news: crate::bus::News::Changed,
                });
            }
        }
        Ok(())
    }
}
