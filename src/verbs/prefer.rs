//! Prefer: what a recipient wants to be told, and by which way; read and written set by set.

use serde_json::{Map, Value};

use crate::model::invalid::Invalid;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::rules::preference::{self, DEFAULT, PERSISTENCE, Preferences};
use crate::store::{self, Env};

use super::staged::{Stage, Staged};
use super::{Change, Core, Error};

/// What somebody writes of a preference set.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// The whole set: it replaces what was said before, unless it asks to be merged (F-PRF-08, F-PRF-09).
    Set(Map<String, Value>),
    /// One of its maps, which is replaced; the others stay (F-AMB-35).
    Map(Member, Map<String, Value>),
    /// One entry of a map, likewise.
    Entry(Member, String, Value),
}

/// A map in a preference set that can be written by itself (F-PRF-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its spelling")]
pub enum Member {
    Categories,
    ChannelTypes,
    Workflows,
}

impl Member {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Member::Categories => "categories",
            Member::ChannelTypes => "channel_types",
            Member::Workflows => "workflows",
        }
    }
}

impl Write {
    /// Reads a whole set (F-PRF-25).
    pub fn set(body: Map<String, Value>) -> Result<Write, Vec<Invalid>> {
        sound(&body)?;
        Ok(Write::Set(body))
    }

    /// Reads one of its maps.
    pub fn map(member: Member, body: Map<String, Value>) -> Result<Write, Vec<Invalid>> {
        sound(&set_of(member, body.clone()))?;
        Ok(Write::Map(member, body))
    }

    /// Reads one entry of a map: `{"subscribed": true}`, or what the entry is to be.
    pub fn entry(member: Member, key: &str, body: Map<String, Value>) -> Result<Write, Vec<Invalid>> {
        let value = match body.get("subscribed") {
            Some(Value::Bool(word)) => Value::Bool(*word),
            Some(_) => return Err(vec![Invalid::new("subscribed", "must be true or false")]),
            None if body.is_empty() => return Err(vec![Invalid::new("subscribed", "is required, as true or false")]),
            None => Value::Object(body),
        };
        sound(&set_of(member, Map::from_iter([(key.to_owned(), value.clone())])))?;
        Ok(Write::Entry(member, key.to_owned(), value))
    }

    /// The set after the write.
    fn over(&self, stored: Option<Value>) -> Value {
        match self {
            Write::Set(said) => {
                let mut said = said.clone();
                said.retain(|name, _| name == PERSISTENCE || preference::is_member(name));
                said.entry(PERSISTENCE).or_insert_with(|| "replace".into());
                preference::merged(stored, &Value::Object(said))
            }
            Write::Map(member, map) => {
                let mut set = members(stored);
                set.insert(member.as_str().to_owned(), Value::Object(map.clone()));
                Value::Object(set)
            }
            Write::Entry(member, key, value) => {
                let mut set = members(stored);
                let mut map = members(set.remove(member.as_str()));
                map.insert(key.clone(), value.clone());
                set.insert(member.as_str().to_owned(), Value::Object(map));
                Value::Object(set)
            }
        }
    }
}

fn sound(set: &Map<String, Value>) -> Result<(), Vec<Invalid>> {
    let faults = preference::check(set, "");
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

fn set_of(member: Member, map: Map<String, Value>) -> Map<String, Value> {
    Map::from_iter([(member.as_str().to_owned(), Value::Object(map))])
}

/// The members of what is an object; none of anything else.
fn members(value: Option<Value>) -> Map<String, Value> {
    match value {
        Some(Value::Object(members)) => members,
        _ => Map::new(),
    }
}

/// One write of one recipient's set.
struct Preferring<'a> {
    reference: &'a RecipientRef,
    set: &'a str,
    write: &'a Write,
}

impl Stage for Preferring<'_> {
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        staged.prefer(self.reference, self.set, |stored| self.write.over(stored)).await
    }
}

impl Core {
    /// A recipient's set, over the defaults of `tenant`, or of the tenant that the set is for (F-PRF-16, F-PRF-21). Whoever
    /// has said nothing, or is not known at all, has the defaults (F-AMB-63).
    pub async fn preferences(
        &self,
        env: Env,
        recipient: &RecipientRef,
        set: &str,
        tenant: Option<&str>,
    ) -> Result<Preferences, store::Error> {
        let own = self.store.preference_set(env, &recipient.key(), set).await?;
        self.resolved(env, set, own.as_ref(), tenant).await
    }

    /// Every set of a recipient by its id, the default one first, whether or not it was ever written (F-PRF-18, F-AMB-33).
    pub async fn all_preferences(
        &self,
        env: Env,
        recipient: &RecipientRef,
    ) -> Result<Vec<(String, Preferences)>, store::Error> {
        let mut stored = self.store.preference_sets(env, &recipient.key()).await?;
        let default = stored.iter().position(|(id, _)| id == DEFAULT).map(|at| stored.remove(at).1);
        let mut all = vec![(DEFAULT.to_owned(), self.resolved(env, DEFAULT, default.as_ref(), None).await?)];
        for (id, own) in stored {
            let resolved = self.resolved(env, &id, Some(&own), None).await?;
            all.push((id, resolved));
        }
        Ok(all)
    }

    async fn resolved(
        &self,
        env: Env,
        set: &str,
        own: Option<&Value>,
        tenant: Option<&str>,
    ) -> Result<Preferences, store::Error> {
        let of_tenant = match tenant.or(Some(set).filter(|set| *set != DEFAULT)) {
            Some(tenant) => self.store.object(env, TENANTS, tenant).await?,
            None => None,
        };
        let of_tenant = of_tenant.as_ref().and_then(|tenant| tenant.properties.get("settings")?.get("preference_set"));
        let environment = self.catalog.environment(env);
        let of_environment = environment.and_then(|environment| environment.settings.preferences.as_ref());
        Ok(Preferences::of_set(set, own, of_tenant, of_environment))
    }

    /// Writes a recipient's set, creating the recipient if it is not there (F-PRF-15); the set as it is read from then on.
    pub async fn prefer(
        &self,
        env: Env,
        recipient: &RecipientRef,
        set: &str,
        write: &Write,
    ) -> Result<Preferences, Error> {
        let preferring = Preferring { reference: recipient, set, write };
        self.change_recipient(env, &recipient.key(), &preferring).await?;
        Ok(self.preferences(env, recipient, set, None).await?)
    }

    /// Forgets what a recipient said in a set (F-PRF-19); nothing happens where nothing was said (F-AMB-27).
    pub async fn stop_preferring(&self, env: Env, recipient: &RecipientRef, set: &str) -> Result<(), store::Error> {
        let key = recipient.key();
        let _turn = self.turns.take(env, [key.clone()]).await;
        if self.store.preference_set(env, &key, set).await?.is_none() {
            return Ok(());
        }
        let mut change = Change::new();
        change.batch.delete_preference_set(env, &key, set);
        change.signal_update(env, recipient, self.clock.now());
        self.commit(change).await?;
        Ok(())
    }
}
