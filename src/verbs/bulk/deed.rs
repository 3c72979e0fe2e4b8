//! What a bulk operation does to each entry of a list.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::invalid::Invalid;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::store::{self, Env};
use crate::verbs::identify::{self, Merge, Profile, nobody};
use crate::verbs::turns::Turn;
use crate::verbs::{Change, Core, Error, schedule, subscribe};

/// Entries in one call at most (F-BLK-07, F-AMB-19, W-SCH-38).
const MOST: usize = 1_000;
/// Faults that are told at most.
const MAX_FAULTS: usize = 100;

/// What is done. Tenants are objects of their collection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Deed {
    CreateSchedules,
    SetObjects {
        collection: String,
    },
    DeleteObjects {
        collection: String,
    },
    Subscribe {
        collection: String,
    },
    Unsubscribe {
        collection: String,
    },
    IdentifyUsers,
    DeleteUsers,
    /// Replaces the set of that id (F-PRF-20).
    SetPreferences {
        id: String,
        set: Map<String, Value>,
    },
}

impl Deed {
    /// The operation's name.
    pub fn name(&self) -> &'static str {
        match self {
            Deed::CreateSchedules => "schedules.create",
            Deed::SetObjects { collection } if collection == TENANTS => "tenants.set",
            Deed::SetObjects { .. } => "objects.set",
            Deed::DeleteObjects { collection } if collection == TENANTS => "tenants.delete",
            Deed::DeleteObjects { .. } => "objects.delete",
            Deed::Subscribe { .. } => "subscriptions.add",
            Deed::Unsubscribe { .. } => "subscriptions.delete",
            Deed::IdentifyUsers => "users.identify",
            Deed::DeleteUsers => "users.delete",
            Deed::SetPreferences { .. } => "users.set_preferences",
        }
    }

    fn collection(&self) -> Option<&str> {
        match self {
            Deed::SetObjects { collection }
            | Deed::DeleteObjects { collection }
            | Deed::Subscribe { collection }
            | Deed::Unsubscribe { collection } => Some(collection),
            _ => None,
        }
    }

    /// Whom the entry names: an id, and the collection of an object (F-BLK-06).
    pub(super) fn names<'e>(&'e self, entry: &'e Value) -> (&'e str, Option<&'e str>) {
        let entry = if *self == Deed::CreateSchedules { &entry["recipient"] } else { entry };
        let id = entry.as_str().or(entry["id"].as_str()).unwrap_or_default();
        (id, self.collection().or(entry["collection"].as_str()))
    }

    /// The entries of a body, each of which has been read once. Whoever is only named, and twice, is meant once.
    pub(super) async fn entries(
        &self,
        core: &Core,
        env: Env,
        body: &Map<String, Value>,
        field: &str,
    ) -> Result<Vec<Value>, Error> {
        let Some(Value::Array(items)) = body.get(field) else {
            let message = format!("{field} is required, as an array of 1 to {MOST} entries");
            return Err(Invalid::new(field, message).into());
        };
        if items.is_empty() || items.len() > MOST {
            let message = format!("{field} has {} entries; 1 to {MOST} are allowed", items.len());
            return Err(Invalid::new(field, message).into());
        }
        let mut faults = Vec::new();
        for (at, entry) in items.iter().enumerate() {
            let path = format!("{field}[{at}]");
            faults.extend(match self {
                Deed::CreateSchedules => schedule::bulk::faults(core, env, entry, &path).await?,
                _ => self.read(entry, &path).err().unwrap_or_default(),
            });
            if faults.len() >= MAX_FAULTS {
                break;
            }
        }
        if !faults.is_empty() {
            return Err(Error::Invalid(faults));
        }
        let mut seen = HashSet::new();
        let is_first = |entry: &&Value| entry.as_str().is_none_or(|id| seen.insert(id.to_owned()));
        Ok(items.iter().filter(is_first).cloned().collect())
    }

    /// Reads an entry that names a recipient.
    fn read(&self, entry: &Value, path: &str) -> Result<Entry, Vec<Invalid>> {
        let (id, said) = match (entry, self) {
            (Value::String(id), Deed::DeleteUsers | Deed::DeleteObjects { .. } | Deed::SetPreferences { .. }) => {
                (id.as_str(), None)
            }
            // A tenant's id alone makes it known (F-TEN-12).
            (Value::String(id), Deed::SetObjects { collection }) if collection == TENANTS => (id.as_str(), None),
            (_, Deed::DeleteUsers | Deed::DeleteObjects { .. } | Deed::SetPreferences { .. }) => {
                return Err(vec![Invalid::new(path, "must be an id, as a string")]);
            }
            (Value::Object(map), _) => match map.get("id") {
                Some(Value::String(id)) => (id.as_str(), Some(map)),
                _ => return Err(vec![Invalid::new(format!("{path}.id"), "an id is required, as a string")]),
            },
            _ => return Err(vec![Invalid::new(path, "must be a map with an id")]),
        };
        let at = if said.is_some() { format!("{path}.id") } else { path.to_owned() };
        let whom = match self.collection() {
            Some(collection) => identify::object(collection, id, "").map_err(|faults| {
                faults.into_iter().map(|fault| Invalid::new(&*at, fault.message)).collect::<Vec<_>>()
            })?,
            None => identify::user(id, &at)?,
        };
        let nothing = Map::new();
        let said = said.unwrap_or(&nothing);
        let what = match self {
            Deed::Subscribe { .. } | Deed::Unsubscribe { .. } => {
                let request = subscribe::Request::parse(said).map_err(|faults| {
                    let faults = faults.into_iter();
                    faults
                        .map(|fault| Invalid::new(format!("{path}.{}", fault.path), fault.message))
                        .collect::<Vec<_>>()
                })?;
                What::Followers(request)
            }
            Deed::SetPreferences { id, set } => {
                let mut set = set.clone();
                set.insert("__persistence_strategy__".to_owned(), "replace".into());
                let preferences = Map::from_iter([(id.clone(), Value::Object(set))]);
                What::Profile(Profile { preferences, ..Profile::default() })
            }
            _ => What::Profile(Profile::parse_of(&whom, said, path)?),
        };
        Ok(Entry { whom, what })
    }

    /// Adds what is done to one entry; gives back the turn to change whom it changes, to be held until the commit.
    pub(super) async fn stage<'c>(
        &self,
        core: &'c Core,
        env: Env,
        entry: &Value,
        change: &mut Change,
    ) -> Result<Turn<'c>, Error> {
        if *self == Deed::CreateSchedules {
            return schedule::bulk::stage(core, env, entry, change).await;
        }
        let Entry { whom, what } = self.read(entry, "")?;
        match (self, &what) {
            (Deed::DeleteUsers | Deed::DeleteObjects { .. }, _) => {
                let key = whom.key();
                let turn = core.turns.take(env, [key.clone()]).await;
                if core.store.recipients(env, &[key]).await?.is_empty() {
                    return Err(nobody(&whom));
                }
                change.delete(core, env, &whom, core.clock.now());
                Ok(turn)
            }
            (Deed::Unsubscribe { .. }, What::Followers(request)) => {
                core.stage_unsubscription(env, &whom, request, change).await?;
                Ok(Turn::default())
            }
            (_, What::Followers(request)) => Ok(core.stage_subscription(env, &whom, request, change).await?.1),
            (_, What::Profile(profile)) => {
                let merge = Merge { reference: &whom, profile };
                let (staged, turn) = core.staged(env, [whom.key()], &merge).await?;
                staged.write(change).await?;
                Ok(turn)
            }
        }
    }

    /// Tells of what was done to an entry, once it is on disk.
    pub(super) async fn tell(&self, core: &Core, env: Env, entry: &Value) -> Result<(), store::Error> {
        match (self, entry) {
            (Deed::DeleteUsers, Value::String(id)) => core.tell_of_feeds(env, &RecipientRef::User(id.clone())).await,
            _ => Ok(()),
        }
    }
}

/// An entry that names a recipient.
struct Entry {
    whom: RecipientRef,
    what: What,
}

/// What an entry says.
enum What {
    Profile(Profile),
    Followers(subscribe::Request),
}
