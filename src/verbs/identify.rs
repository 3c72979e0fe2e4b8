//! Identify: who somebody is, as told by the customer; what is said again is merged into what is known.

use serde_json::{Map, Value};

use crate::model::invalid::{Invalid, join};
use crate::model::recipient::{Object, Recipient, RecipientRef, TENANTS, User, object_fault, user_id_fault};
use crate::model::time::Time;
use crate::rules::{preference, tenant};
use crate::store::{self, Env};

use super::staged::{Stage, Staged};
use super::{Change, Core, Error, OVERTAKEN};

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
        for (id, set) in &profile.preferences {
            let path = join(&join(path, "preferences"), id);
            faults.extend(preference::id_fault(id).map(|fault| Invalid::new(&path, fault)));
            faults.extend(set.as_object().map(|set| preference::check(set, &path)).unwrap_or_default());
        }
        if faults.is_empty() { Ok(profile) } else { Err(faults) }
    }

    /// Reads what a map says of this recipient: of a tenant it may say what holds in it.
    pub fn parse_of(reference: &RecipientRef, map: &Map<String, Value>, path: &str) -> Result<Profile, Vec<Invalid>> {
        let faults = match reference {
            RecipientRef::Object { collection, .. } if collection == TENANTS => tenant::check(map, path),
            _ => Vec::new(),
        };
        match (Profile::parse(map, path), faults.is_empty()) {
            (profile, true) => profile,
            (Ok(_), false) => Err(faults),
            (Err(mut more), false) => {
                more.extend(faults);
                Err(more)
            }
        }
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

/// The user of that id, or why there can be none.
pub(super) fn user(id: &str, path: &str) -> Result<RecipientRef, Vec<Invalid>> {
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
    let profile = if identifies { Some(Profile::parse_of(&reference, map, path)?) } else { None };
    Ok(RecipientRequest { reference, profile, trigger_data })
}

/// The object of that name, or why there can be none.
pub(super) fn object(collection: &str, id: &str, path: &str) -> Result<RecipientRef, Vec<Invalid>> {
    if let Some((name, fault)) = object_fault(collection, id) {
        return Err(vec![Invalid::new(join(path, name), fault)]);
    }
    Ok(RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() })
}

/// One profile merged into one recipient, who counts as written even if nothing changes.
pub(super) struct Merge<'a> {
    pub(super) reference: &'a RecipientRef,
    pub(super) profile: &'a Profile,
}

impl Stage for Merge<'_> {
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        staged.merge(self.reference, self.profile, true, "").await
    }
}

impl Core {
    /// Merges `profile` into a user, creating it if it is not there; answers the user as it now is (F-USR-01).
    pub async fn identify_user(&self, env: Env, id: &str, profile: &Profile) -> Result<User, Error> {
        if let Some(fault) = user_id_fault(id) {
            return Err(Invalid::new("id", fault).into());
        }
        let reference = RecipientRef::User(id.to_owned());
        match self.merge_recipient(env, &reference, profile).await? {
            Recipient::User(user) => Ok(user),
            Recipient::Object(_) => Err(nobody(&reference)),
        }
    }

    /// Merges `profile` into an object, creating it if it is not there; answers the object as it now is (F-OBJ-02).
    pub async fn set_object(&self, env: Env, collection: &str, id: &str, profile: &Profile) -> Result<Object, Error> {
        let reference = object(collection, id, "")?;
        match self.merge_recipient(env, &reference, profile).await? {
            Recipient::Object(object) => Ok(object),
            Recipient::User(_) => Err(nobody(&reference)),
        }
    }

    /// Merges `profile` into a recipient, creating it if it is not there; answers the recipient as it now is.
    pub async fn merge_recipient(
        &self,
        env: Env,
        reference: &RecipientRef,
        profile: &Profile,
    ) -> Result<Recipient, Error> {
        for _ in 0..OVERTAKEN {
            let merge = Merge { reference, profile };
            let (mut staged, _turn) = self.staged(env, [reference.key()], &merge).await?;
            let merged = staged.recipient(reference).await?.ok_or_else(|| nobody(reference))?;
            let mut change = Change::new();
            staged.write(&mut change).await?;
            match self.commit(change).await {
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(merged),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Deletes a user and everything that is theirs (F-USR-12).
    pub async fn delete_user(&self, env: Env, id: &str) -> Result<(), Error> {
        self.delete_recipient(env, &RecipientRef::User(id.to_owned())).await
    }

    /// Deletes a recipient and everything that is theirs (F-USR-12, F-OBJ-04). Others forget them in the background
    /// (F-USR-13).
    pub async fn delete_recipient(&self, env: Env, reference: &RecipientRef) -> Result<(), Error> {
        let mut change = Change::new();
        change.delete(self, env, reference, self.clock.now());
        match self.commit(change).await {
            Ok(_) => Ok(self.tell_of_feeds(env, reference).await?),
            Err(store::Error::Refused(_)) => Err(nobody(reference)),
            Err(error) => Err(error.into()),
        }
    }

    /// Bells that are still open look at their feeds anew; objects have none (F-OBJ-09).
    pub(super) async fn tell_of_feeds(&self, env: Env, reference: &RecipientRef) -> Result<(), store::Error> {
        let Some(id) = reference.user_id() else { return Ok(()) };
        for channel in self.catalog.channels() {
            let channel = channel.id.to_string();
            let head = self.store.feed_head(env, &channel, id).await?;
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

/// There is no such recipient.
pub(crate) fn nobody(reference: &RecipientRef) -> Error {
    Error::Missing(match reference {
        RecipientRef::User(id) => format!("There is no user `{id}`."),
        RecipientRef::Object { collection, id } if collection == TENANTS => format!("There is no tenant `{id}`."),
        RecipientRef::Object { .. } => format!("There is no object `{reference}`."),
    })
}
