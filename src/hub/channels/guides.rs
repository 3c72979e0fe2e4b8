//! What a joined channel of guides is told: which guides have come, changed or gone because their files have, or because
//! their time has come or passed (F-SOC-22), and to which of them a workflow's step has brought its user (W-CHS-20).
//!
//! Guides are the same for all but for whom they are meant: each member's are looked at anew. Whoever is too slow to be
//! told finds them as they are when it fetches next.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dashmap::DashMap;
use serde_json::{Map, Value, json};
use tokio::sync::Notify;
use tracing::error;
use uuid::Uuid;

use super::feed::Name;
use crate::engine::guides::{Asked, Found, Guidance, guidance};
use crate::hub::outbox::Link;
use crate::model::channel::{Channel, ChannelKind};
use crate::model::guide::Guides;
use crate::model::recipient::{tenant_id_fault, user_id_fault};
use crate::model::time::Time;
use crate::store::{self, Env};
use crate::verbs::Core;
use crate::wire::json::{MAX_DEPTH, depth_at_most};
use crate::wire::phoenix::{Push, Topic};

/// For whom guides are asked, as a join says it (F-SOC-21).
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) user: String,
    tenant: Option<String>,
    data: Map<String, Value>,
    /// Whether those are shown as well that are not meant for them.
    is_forced: bool,
}

impl Target {
    /// Reads the payload of a join.
    pub(crate) fn read(payload: &str) -> Result<Target, String> {
        if !depth_at_most(payload, MAX_DEPTH) {
            return Err(format!("a join nests at most {MAX_DEPTH} deep"));
        }
        let mut payload: Map<String, Value> =
            serde_json::from_str(payload).map_err(|_| "the payload of a join is an object")?;
        let mut member = |name: &str| payload.remove(name).filter(|value| !value.is_null());
        let user = match member("user_id") {
            Some(Value::String(user)) => user,
            _ => return Err("`user_id` is required: for whom guides are asked".to_owned()),
        };
        let tenant = match member("tenant") {
            None => None,
            Some(Value::String(tenant)) => Some(tenant).filter(|tenant| !tenant.is_empty()),
            Some(_) => return Err("`tenant` is a tenant's id".to_owned()),
        };
        let data = match member("data") {
            None => Map::new(),
            Some(Value::Object(data)) => data,
            Some(_) => return Err("`data` is an object".to_owned()),
        };
        if let Some(fault) = user_id_fault(&user).or_else(|| tenant.as_deref().and_then(tenant_id_fault)) {
            return Err(fault.to_owned());
        }
        Ok(Target { user, tenant, data, is_forced: member("force_all_guides") == Some(Value::Bool(true)) })
    }
}

/// Everybody on this node who has joined a channel of guides.
#[derive(Default)]
pub(crate) struct Gallery {
    /// By socket and channel.
    members: DashMap<(u64, Uuid), Arc<Member>>,
    /// The sockets of each user.
    sockets: DashMap<Name, Vec<u64>>,
    /// Who may be shown more than they were, each once.
    due: Mutex<HashSet<Name>>,
    /// Said when somebody is due, and by the sweep about once a second.
    pub(crate) woken: Notify,
}

struct Member {
    link: Arc<Link>,
    /// The beginning of what it is told.
    head: Arc<str>,
    env: Env,
    target: Target,
}

impl Gallery {
    /// Lets a client in; it takes the place of its earlier join.
    pub(crate) fn enter(&self, link: &Arc<Link>, channel: Uuid, head: Arc<str>, env: Env, target: Target) {
        let member = Member { link: Arc::clone(link), head, env, target };
        self.sockets.entry(member.name(channel)).or_default().push(link.id);
        self.members.insert((link.id, channel), Arc::new(member));
    }

    /// Lets a client out; whose guides it has shown, if it was in.
    pub(crate) fn leave(&self, link: &Link, channel: Uuid) -> Option<Name> {
        let (_, member) = self.members.remove(&(link.id, channel))?;
        let name = member.name(channel);
        if let Some(mut sockets) = self.sockets.get_mut(&name) {
            sockets.retain(|id| *id != link.id);
        }
        self.sockets.remove_if(&name, |_, sockets| sockets.is_empty());
        Some(name)
    }

    /// Whether the user's guides of a channel are shown somewhere on this node.
    pub(crate) fn has(&self, name: &Name) -> bool {
        self.sockets.contains_key(name)
    }

    /// Has a user told of what they may be shown more than they were, if anybody listens.
    pub(crate) fn owe(&self, name: Name) {
        if self.has(&name) {
            self.due().insert(name);
            self.woken.notify_one();
        }
    }

    /// Tells everybody who is due of the guides to which steps have brought them.
    pub(crate) async fn settle(&self, core: &Core) {
        let due = std::mem::take(&mut *self.due());
        for name in due {
            let Some(channel) = core.catalog.channels().iter().find(|channel| channel.id == name.channel) else {
                continue;
            };
            let sockets = self.sockets.get(&name).map(|entry| entry.clone()).unwrap_or_default();
            for id in sockets {
                let member = self.members.get(&(id, name.channel)).map(|entry| Arc::clone(&entry));
                let Some(member) = member else { continue };
                if let Err(error) = member.tell_of_more(core, channel).await {
                    error!(socket.id = id, channel.id = %channel.id, %error, "guides could not be read to tell a socket of them; it is tried again");
                    // When the sweep comes by: to be woken at once would be to ask on and on.
                    self.due().insert(name.clone());
                }
            }
        }
    }

    fn due(&self) -> MutexGuard<'_, HashSet<Name>> {
        self.due.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Tells everybody what is different now.
    pub(crate) async fn tell(&self, core: &Core, before: &Showing, after: &Showing) {
        let is_ordered_anew = before.guides.order.version != after.guides.order.version;
        let of_channels: HashMap<Uuid, _> = core
            .catalog
            .channels()
            .iter()
            .map(|channel| (channel.id, (channel, changes(before, after, &channel.key))))
            .filter(|(_, (channel, changes))| {
                let is_for_guides = channel.kind == ChannelKind::InAppGuide;
                is_for_guides && (is_ordered_anew || !changes.is_empty())
            })
            .collect();
        if of_channels.is_empty() {
            return;
        }
        let is_new = before.guides.all().next().is_none();
        // The members first: none is let in or out while the map is held.
        let members: Vec<(Uuid, Arc<Member>)> =
            self.members.iter().map(|entry| (entry.key().1, Arc::clone(entry.value()))).collect();
        for (id, member) in members {
            let Some((channel, changes)) = of_channels.get(&id) else { continue };
            if let Err(error) = member.tell(core, channel, changes, is_new).await {
                error!(socket.id = member.link.id, channel.id = %id, %error, "guides could not be read to tell a socket of them");
            }
        }
    }
}

impl Member {
    /// Whose guides of the channel it shows.
    fn name(&self, channel: Uuid) -> Name {
        Name { env: self.env, channel, user: self.target.user.as_str().into() }
    }

    /// The guides of the channel as they are for it.
    async fn look(&self, core: &Core, channel: &Channel) -> Result<Guidance, store::Error> {
        let Target { user, tenant, data, .. } = &self.target;
        let asked =
            Asked { env: self.env, channel, user, tenant: tenant.as_deref(), data, kind: None, is_forced: true };
        guidance(core, asked).await
    }

    /// Tells it of the guides to which steps have brought its user. Which of them are new to it nobody keeps in mind:
    /// clients put each in the place of the one that they have.
    async fn tell_of_more(&self, core: &Core, channel: &Channel) -> Result<(), store::Error> {
        let Guidance { guides, .. } = self.look(core, channel).await?;
        let those = guides.iter().filter(|found| found.is_targeted && found.ineligible.is_none());
        let told = those.filter_map(|found| told(&found.guide.key, Change::Added, Some(found), false));
        let pushes: Vec<_> = told.map(|(event, data)| push(channel, event, data)).collect();
        self.link.tell(&pushes, &self.head);
        Ok(())
    }

    async fn tell(
        &self,
        core: &Core,
        channel: &Channel,
        changes: &Changes<'_>,
        is_new: bool,
    ) -> Result<(), store::Error> {
        let Guidance { guides, group, .. } = self.look(core, channel).await?;
        let mut pushes = Vec::new();
        for (key, change) in changes {
            let found = guides.iter().find(|found| found.guide.key == *key);
            pushes.extend(
                told(key, *change, found, self.target.is_forced).map(|(event, data)| push(channel, event, data)),
            );
        }
        if let Some(group) = group {
            // It lists whatever is active, and official clients show nothing that it does not list.
            let event = if is_new { "guide_group.added" } else { "guide_group.updated" };
            pushes.push(push(channel, event, json!({"guide_group": group})));
        }
        self.link.tell(&pushes, &self.head);
        Ok(())
    }
}

/// What is told of guides of a channel.
fn push(channel: &Channel, event: &str, data: Value) -> Arc<Push> {
    let topic = Topic::guides(&channel.id.to_string());
    Arc::new(Push::new(&topic, event, &json!({"topic": topic, "event": event, "data": data}).to_string()))
}

/// Guides as they are shown at a time.
pub(crate) struct Showing {
    pub(crate) guides: Arc<Guides>,
    pub(crate) at: Time,
}

/// What became of guides, by key.
type Changes<'a> = BTreeMap<&'a str, Change>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Added,
    Updated,
    Removed,
}

/// What became of the guides of a channel.
fn changes<'a>(before: &'a Showing, after: &'a Showing, channel: &'a str) -> Changes<'a> {
    let mut changes = BTreeMap::new();
    let (Showing { guides: before, at: earlier }, Showing { guides: after, at: now }) = (before, after);
    for guide in before.of_channel(channel) {
        changes.insert(guide.key.as_str(), Change::Removed);
    }
    for guide in after.of_channel(channel) {
        let old = before.get(&guide.key).filter(|old| old.channel == guide.channel);
        let is_same = old.is_some_and(|old| {
            old.version == guide.version
                && before.is_unthrottled(&old.key) == after.is_unthrottled(&guide.key)
                && before.is_targeted(&old.key) == after.is_targeted(&guide.key)
                && old.is_active(*earlier) == guide.is_active(*now)
        });
        match old {
            Some(_) if is_same => drop(changes.remove(guide.key.as_str())),
            Some(_) => drop(changes.insert(&guide.key, Change::Updated)),
            None => drop(changes.insert(&guide.key, Change::Added)),
        }
    }
    changes
}

/// What is told of a guide; of a new one nothing to whom it is not shown.
fn told(key: &str, change: Change, found: Option<&Found>, is_forced: bool) -> Option<(&'static str, Value)> {
    let guide = found.and_then(|found| found.told.clone());
    let is_shown = guide.is_some() && found.is_some_and(|found| is_forced || found.ineligible.is_none());
    let guide = guide.unwrap_or_else(|| json!({"key": key}));
    match change {
        Change::Removed => Some(("guide.removed", json!({"guide": {"key": key}}))),
        Change::Added => is_shown.then(|| ("guide.added", json!({"guide": guide, "eligible": true}))),
        Change::Updated => Some(("guide.updated", json!({"guide": guide, "eligible": is_shown}))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::guide::{Guide, Order};
    use crate::model::workflow::Workflow;

    fn showing(all: &[(&str, &str, &str)], unthrottled: &[&str]) -> Showing {
        let read = |(key, name, channel): &(&str, &str, &str)| {
            let steps = json!([{"ref": "step_1", "schema_key": "card"}]);
            Guide::parse(key, &json!({"name": name, "channel_key": channel, "steps": steps})).unwrap()
        };
        let order = Order::parse(&json!({"display_sequence_unthrottled": unthrottled})).unwrap();
        Showing { guides: Arc::new(Guides::new(all.iter().map(read).collect(), order)), at: Time::default() }
    }

    #[test]
    fn what_becomes_of_guides_is_told_channel_by_channel() {
        let before =
            showing(&[("same", "A", "one"), ("other", "A", "one"), ("gone", "A", "one"), ("moved", "A", "one")], &[]);
        let after =
            showing(&[("same", "A", "one"), ("other", "B", "one"), ("new", "A", "one"), ("moved", "A", "two")], &[]);
        let expected =
            [("gone", Change::Removed), ("moved", Change::Removed), ("new", Change::Added), ("other", Change::Updated)];
        assert_eq!(changes(&before, &after, "one"), BTreeMap::from(expected), "F-SOC-22");
        assert_eq!(changes(&before, &after, "two"), BTreeMap::from([("moved", Change::Added)]), "F-SOC-22");
        assert!(changes(&after, &after, "one").is_empty());
        let hurried = showing(&[("same", "A", "one")], &["same"]);
        let calm = showing(&[("same", "A", "one")], &[]);
        assert_eq!(
            changes(&calm, &hurried, "one"),
            BTreeMap::from([("same", Change::Updated)]),
            "it bypasses the limit now"
        );
        let steps = json!([{"type": "channel", "ref": "s", "channel_key": "one", "channel_type": "in_app_guide", "guide_key": "same"}]);
        let story = Workflow::parse("story", &json!({"name": "S", "steps": steps}), &[]).unwrap();
        let named = showing(&[("same", "A", "one")], &[]);
        let guides = Arc::into_inner(named.guides).unwrap().targeted_by([&story]);
        let named = Showing { guides: Arc::new(guides), at: named.at };
        let expected = BTreeMap::from([("same", Change::Updated)]);
        assert_eq!(changes(&calm, &named, "one"), expected, "W-CHS-20: it is for others now");
    }

    #[test]
    fn a_join_says_for_whom_guides_are_asked() {
        let read = |payload: Value| Target::read(&payload.to_string());
        let whole = read(json!({"user_id": "ann", "tenant": "acme", "data": {"n": 1}, "force_all_guides": true,
            "preview_session_id": "x"}));
        let data = Map::from_iter([("n".to_owned(), json!(1))]);
        let expected = Target { user: "ann".to_owned(), tenant: Some("acme".to_owned()), data, is_forced: true };
        assert_eq!(whole, Ok(expected), "F-SOC-21");
        let plain = read(json!({"user_id": "ann", "tenant": null, "data": null, "force_all_guides": null})).unwrap();
        assert_eq!((plain.tenant, plain.is_forced), (None, false), "F-SOC-21");
        for bad in [
            json!({}),
            json!([]),
            json!({"user_id": 1}),
            json!({"user_id": "a/b"}),
            json!({"user_id": "ann", "tenant": 1}),
            json!({"user_id": "ann", "tenant": "a b"}),
            json!({"user_id": "ann", "data": "x"}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}
