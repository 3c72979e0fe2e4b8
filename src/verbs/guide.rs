//! Guides: what users do with them is told by messages; the first thing they do makes the message (F-GDE-10).

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::channel::{Channel, ChannelKind};
use crate::model::guide::{Guide, Guides};
use crate::model::ids::Ksuid;
use crate::model::invalid::Invalid;
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::recipient::{RecipientRef, tenant_id_fault};
use crate::model::time::Time;
use crate::store::guides::Place;
use crate::store::{self, Batch, Env};

use super::{Change, Core, Error, OVERTAKEN};

/// What a user does with a step, as a request says it (F-GDE-07).
#[derive(Debug)]
pub struct Engagement {
    channel: String,
    guide: String,
    id: Uuid,
    step: String,
    tenant: Option<String>,
    deed: Deed,
}

/// What is done.
#[derive(Debug)]
enum Deed {
    /// They see this, for which the page has given that; both JSON objects.
    Seen {
        content: String,
        data: String,
    },
    /// The page may say more of it: a JSON object.
    Interacted {
        metadata: Option<String>,
    },
    Archived {
        is_unthrottled: bool,
        is_final: bool,
    },
}

impl Deed {
    fn mark(&self) -> Mark {
        match self {
            Deed::Seen { .. } => Mark::Seen,
            Deed::Interacted { .. } => Mark::Interacted,
            Deed::Archived { .. } => Mark::Archived,
        }
    }
}

/// Reads the members of a request, and gathers what is wrong with them.
struct Members<'a> {
    body: &'a Map<String, Value>,
    faults: Vec<Invalid>,
}

impl Members<'_> {
    fn get(&self, name: &str) -> Option<&Value> {
        self.body.get(name).filter(|value| !value.is_null())
    }

    fn wrong(&mut self, name: &str, message: impl Into<String>) {
        self.faults.push(Invalid::new(name, message));
    }

    fn text(&mut self, name: &str) -> String {
        match self.get(name) {
            Some(Value::String(text)) => return text.clone(),
            Some(_) => self.wrong(name, "must be text"),
            None => self.wrong(name, "is required"),
        }
        String::new()
    }

    fn id(&mut self, name: &str) -> Uuid {
        let text = self.text(name);
        let id = Uuid::try_parse(&text).ok();
        if id.is_none() && !text.is_empty() {
            self.wrong(name, "must be a UUID");
        }
        id.unwrap_or_default()
    }

    fn flag(&mut self, name: &str) -> bool {
        match self.get(name) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.wrong(name, "must be true or false");
                false
            }
        }
    }

    /// An object as text.
    fn object(&mut self, name: &str) -> Option<String> {
        match self.get(name) {
            None => None,
            Some(object @ Value::Object(_)) => Some(object.to_string()),
            Some(_) => {
                self.wrong(name, "must be an object");
                None
            }
        }
    }

    fn tenant(&mut self) -> Option<String> {
        let tenant = match self.get("tenant") {
            None => return None,
            Some(Value::String(tenant)) => tenant.clone(),
            Some(_) => {
                self.wrong("tenant", "must be a tenant's id");
                return None;
            }
        };
        if let Some(fault) = tenant_id_fault(&tenant) {
            self.wrong("tenant", fault);
        }
        Some(tenant)
    }

    fn finish<T>(self, read: T) -> Result<T, Vec<Invalid>> {
        if self.faults.is_empty() { Ok(read) } else { Err(self.faults) }
    }
}

impl Engagement {
    /// Reads what a request says is `seen`, `interacted` or `archived`.
    pub fn parse(mark: Mark, body: &Map<String, Value>) -> Result<Engagement, Vec<Invalid>> {
        let mut members = Members { body, faults: Vec::new() };
        let engagement = Engagement {
            channel: members.text("channel_id"),
            guide: members.text("guide_key"),
            id: members.id("guide_id"),
            step: members.text("guide_step_ref"),
            tenant: members.tenant(),
            deed: match mark {
                Mark::Interacted => Deed::Interacted { metadata: members.object("metadata") },
                Mark::Archived => {
                    Deed::Archived { is_unthrottled: members.flag("unthrottled"), is_final: members.flag("is_final") }
                }
                _ => {
                    let content = members.object("content");
                    if members.get("content").is_none() {
                        members.wrong("content", "is required: what the step shows");
                    }
                    let data = members.object("data").unwrap_or_else(|| "{}".to_owned());
                    Deed::Seen { content: content.unwrap_or_default(), data }
                }
            },
        };
        members.finish(engagement)
    }

    /// The message that it makes, before what is done is written to it.
    fn message(&self, env: Env, user: &str, guide: &Guide, now: Time) -> Message {
        let (blocks, data) = match &self.deed {
            Deed::Seen { content, data } => (content.as_str(), data.as_str()),
            _ => ("{}", "{}"),
        };
        // A guide may be reset, and begun anew in the same instant.
        let id = Ksuid::mint(now, &[Uuid::new_v4().as_bytes()]);
        Message {
            tenant: self.tenant.clone(),
            workflow: guide.key.clone(),
            version_id: guide.version.to_string(),
            step_ref: self.step.clone(),
            blocks: blocks.into(),
            data: data.into(),
            activities: Some("[]".into()),
            total_activities: 0,
            ..Message::new(id.to_string(), env, self.channel.clone(), RecipientRef::User(user.to_owned()), now)
        }
    }
}

/// A guide that a request names, as if nothing had been done with it (F-GDE-09).
#[derive(Debug)]
pub struct Renewal {
    guide: String,
    tenant: Option<String>,
}

impl Renewal {
    /// Reads which guide a request means.
    pub fn parse(body: &Map<String, Value>) -> Result<Renewal, Vec<Invalid>> {
        let mut members = Members { body, faults: Vec::new() };
        let renewal = Renewal { guide: members.text("guide_key"), tenant: members.tenant() };
        members.finish(renewal)
    }

    fn place<'a>(&'a self, env: Env, user: &'a str, guide: &'a Guide) -> Place<'a> {
        Place { env, user, guide: &guide.key, tenant: guide.slot(self.tenant.as_deref()), step: "" }
    }
}

impl Core {
    /// Tells the store which guides files declare, in every environment: before whoever fetches them is told of them. What was
    /// declared before is not taken back: other nodes may still have it, and another version of the files may bring it again.
    pub async fn declare_guides(&self, guides: &Guides) -> Result<(), store::Error> {
        // Whoever reads no files declares nothing.
        if self.catalog.follows_store() {
            return Ok(());
        }
        let now = self.clock.now();
        if guides.all().next().is_none() {
            return Ok(());
        }
        for environment in self.catalog.environments() {
            let mut batch = Batch::new();
            for guide in guides.all() {
                batch.declare_guide(environment.number, &guide.key, guide.version, now);
                if guides.is_targeted(&guide.key) {
                    batch.target_guide(environment.number, &guide.key);
                }
            }
            batch.declare_guide_group(environment.number, guides.order.version, now);
            self.store.apply(batch).await?;
        }
        Ok(())
    }

    /// Notes what a user does with a guide's step.
    pub async fn engage(&self, env: Env, user: &str, engagement: &Engagement) -> Result<(), Error> {
        let guide = self.declared_guide(&engagement.guide)?;
        self.check(env, &guide, engagement)?;
        let tenant = guide.slot(engagement.tenant.as_deref());
        let place = Place { env, user, guide: &guide.key, tenant, step: &engagement.step };
        let mark = engagement.deed.mark();
        for _ in 0..OVERTAKEN {
            let mut change = Change::new();
            self.add_engagement(&mut change, place, &guide, engagement).await?;
            match self.commit(change).await {
                Ok(_) => {
                    self.metrics.marked(mark.name(), 1);
                    return Ok(());
                }
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    async fn add_engagement(
        &self,
        change: &mut Change,
        place: Place<'_>,
        guide: &Guide,
        engagement: &Engagement,
    ) -> Result<(), store::Error> {
        let now = self.clock.now();
        let id = match self.store.guide_message(place).await? {
            Some(id) => {
                change.batch.require_engagement(place, &id);
                if let Deed::Seen { content, data } = &engagement.deed {
                    change.batch.show_in_guide(&id, content, data);
                }
                id
            }
            None => {
                let message = engagement.message(place.env, place.user, guide, now);
                let id = message.id.clone();
                change.batch.begin_engagement(place, &id);
                change.add_message(message, false);
                id
            }
        };
        let said = match &engagement.deed {
            Deed::Interacted { metadata } => metadata.as_deref(),
            _ => None,
        };
        if let Some(metadata) = said {
            change.batch.note_interaction(&id, metadata);
        }
        if let Deed::Archived { is_unthrottled, is_final } = engagement.deed {
            change.batch.archive_engagement(place, (!is_unthrottled).then_some(now), is_final);
        }
        change.mark_alone(place.env, std::slice::from_ref(&id), engagement.deed.mark(), said, now);
        Ok(())
    }

    /// Has a user find a guide again that they had archived; what else they have done with it stays.
    pub async fn unarchive_guide(&self, env: Env, user: &str, renewal: &Renewal) -> Result<(), Error> {
        let guide = self.declared_guide(&renewal.guide)?;
        let place = renewal.place(env, user, &guide);
        let messages = self.store.guide_messages(place).await?;
        let mut change = Change::new();
        change.batch.unarchive_engagements(place);
        change.mark_alone(env, &messages, Mark::Unarchived, None, self.clock.now());
        self.commit(change).await?;
        Ok(())
    }

    /// Has a user find a guide as if for the first time: whatever they do next makes another message.
    pub async fn reset_guide(&self, env: Env, user: &str, renewal: &Renewal) -> Result<(), Error> {
        let guide = self.declared_guide(&renewal.guide)?;
        let mut batch = Batch::new();
        batch.reset_engagements(renewal.place(env, user, &guide));
        self.store.apply(batch).await?;
        Ok(())
    }

    /// The channel of guides with this id.
    pub fn guide_channel(&self, id: &str) -> Result<&Channel, Error> {
        let channel = self.catalog.channel(id).filter(|channel| channel.kind == ChannelKind::InAppGuide);
        channel.ok_or_else(|| Error::ChannelInvalid(format!("`{id}` is not an in-app guide channel of this server.")))
    }

    fn declared_guide(&self, key: &str) -> Result<Arc<Guide>, Error> {
        let guides = self.catalog.guides();
        let missing = || Invalid::new("guide_key", guides.missing(key).unwrap_or_default());
        guides.get(key).cloned().ok_or_else(|| missing().into())
    }

    /// Refuses what does not fit together. A guide that is not active any more may still be before somebody's eyes.
    fn check(&self, env: Env, guide: &Guide, engagement: &Engagement) -> Result<(), Error> {
        let channel = self.guide_channel(&engagement.channel)?;
        let environment = self.catalog.environment(env).map(|environment| environment.id).unwrap_or_default();
        let key = &guide.key;
        let mut faults = Vec::new();
        if channel.key != guide.channel {
            faults.push(Invalid::new("channel_id", format!("guide `{key}` is not shown over this channel")));
        }
        if engagement.id != guide.id(environment) {
            faults.push(Invalid::new("guide_id", format!("is not the id of guide `{key}`")));
        }
        if guide.step(&engagement.step).is_none() {
            let fault = format!("guide `{key}` has no step `{}`", engagement.step);
            faults.push(Invalid::new("guide_step_ref", fault));
        }
        if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_engagement_lacks_is_said_all_at_once() {
        let body = |value: Value| value.as_object().cloned().unwrap_or_default();
        let faults = |mark: Mark, value: Value| -> Vec<String> {
            let faults = Engagement::parse(mark, &body(value)).err().unwrap_or_default();
            faults.into_iter().map(|fault| fault.path).collect()
        };
        let all = ["channel_id", "guide_key", "guide_id", "guide_step_ref"];
        assert_eq!(faults(Mark::Archived, json!({})), all, "F-GDE-07");
        assert_eq!(faults(Mark::Interacted, json!({})), all, "F-GDE-07");
        assert_eq!(faults(Mark::Seen, json!({})), [&all[..], &["content"]].concat(), "F-GDE-07");
        let base = json!({"channel_id": Uuid::nil(), "guide_key": "tour", "guide_id": Uuid::nil(), "guide_step_ref": "one",
            "tenant": null});
        let with = |name: &str, value: Value| {
            let mut with = base.clone();
            with[name] = value;
            with
        };
        assert!(faults(Mark::Archived, base.clone()).is_empty() && faults(Mark::Interacted, base.clone()).is_empty());
        assert!(faults(Mark::Seen, with("content", json!({}))).is_empty());
        for (mark, name, value) in [
            (Mark::Archived, "guide_id", json!("1")),
            (Mark::Archived, "tenant", json!(1)),
            (Mark::Archived, "tenant", json!("a b")),
            (Mark::Archived, "unthrottled", json!("yes")),
            (Mark::Archived, "is_final", json!(1)),
            (Mark::Interacted, "metadata", json!([])),
            (Mark::Seen, "content", json!("text")),
        ] {
            assert_eq!(faults(mark, with(name, value.clone())), [name], "F-GDE-07 {value}");
        }
    }
}
