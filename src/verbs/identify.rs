//! Identify: who somebody is, as told by the customer; what is said again is merged into what is known.

use serde_json::{Map, Value};

use crate::model::invalid::{Invalid, join};
use crate::model::recipient::{RecipientRef, User, object_fault, user_id_fault};
use crate::model::time::Time;
use crate::rules::preference;
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
            faults.extend(set.as_object().map(|set| preference::check(set, &path)).unwrap_or_default());
        }
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
    if let Some((name, fault)) = object_fault(collection, id) {
        return Err(vec![Invalid::new(join(path, name), fault)]);
    }
    Ok(RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() })
}

/// One profile merged into one recipient, who counts as written even if nothing changes.
struct Merge<'a> {
    reference: &'a RecipientRef,
    profile: &'a Profile,
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
        let user = self.merge_recipient(env, &RecipientRef::User(id.to_owned()), profile).await?;
        user.ok_or_else(|| Error::Missing(format!("The user `{id}` is not there.")))
    }

    /// Merges `profile` into a recipient, creating it if it is not there; answers the user as it now is, if it is one.
    pub async fn merge_recipient(
        &self,
        env: Env,
        reference: &RecipientRef,
        profile: &Profile,
    ) -> Result<Option<User>, Error> {
        for _ in 0..OVERTAKEN {
            let merge = Merge { reference, profile };
            let (mut staged, _turn) = self.staged(env, [reference.key()], &merge).await?;
            let user = match reference.user_id() {
                Some(id) => staged.user(id).await?.cloned(),
                None => None,
            };
            let mut change = Change::new();
            staged.write(&mut change).await?;
            match self.commit(change).await {
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(user),
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
                self.tell_of_deletion(env, id).await?;
                Ok(())
            }
            Err(store::Error::Refused(_)) => Err(Error::Missing(format!("There is no user `{id}`."))),
            Err(error) => Err(error.into()),
        }
    }

    /// Bells that are still open learn that their feed is empty.
    async fn tell_of_deletion(&self, env: Env, id: &str) -> Result<(), store::Error> {
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
