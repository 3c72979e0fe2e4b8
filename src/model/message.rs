//! A message: what one channel step told one recipient, and what became of it.

use std::cmp::Ordering;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::feed::Mode;
use super::recipient::RecipientRef;
use super::time::Time;

/// The status of a message that waits for its send window.
pub const QUEUED: &str = "queued";

/// A message as stored. What is served is kept as the JSON it is served as, and spliced.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub id: String,
    pub env: i64,
    /// The number of the feed it stands in; none for a message that is in no feed.
    pub feed: Option<i64>,
    /// Its place in the feed: higher is newer.
    pub seq: i64,
    /// The feed's version at its latest change.
    pub version: i64,
    pub channel: String,
    pub recipient: RecipientRef,
    pub tenant: Option<String>,
    /// The first actor's key.
    pub actor: Option<String>,
    pub workflow: String,
    pub version_id: String,
    /// The workflow's categories as a JSON array.
    pub categories: Arc<str>,
    pub step_ref: String,
    /// Empty where no run has made it: then it is a guide's, whose key stands in place of the workflow's.
    pub workflow_run: String,
    pub run: String,
    pub status: String,
    /// The rendered blocks as a JSON array; of a guide what its step showed, as an object.
    pub blocks: Arc<str>,
    /// Full records of actors as a JSON array: of all that activities name, of which ten at most are shown as its own.
    pub actors: Arc<str>,
    pub total_actors: i64,
    /// The run's data as a JSON object, attachments left out.
    pub data: Arc<str>,
    /// Its top-level scalars as a JSON object, where that differs.
    pub slim_data: Option<Arc<str>>,
    /// The batch whose activities came together in it.
    pub batch: Option<String>,
    /// The activities of a batch that are shown, as a JSON array of [`shown_activity`]; a message of one trigger has one, made from
    /// the rest.
    pub activities: Option<Arc<str>>,
    pub total_activities: i64,
    /// A JSON object.
    pub metadata: Option<String>,
    pub inserted_at: Time,
    pub updated_at: Time,
    pub scheduled_at: Option<Time>,
    pub seen_at: Option<Time>,
    pub read_at: Option<Time>,
    pub interacted_at: Option<Time>,
    pub link_clicked_at: Option<Time>,
    pub archived_at: Option<Time>,
    /// What tells it from other items: while it is unread, one with the same takes its place.
    pub collapse_key: Option<String>,
    /// When it came first, if another has taken its place since.
    pub first_at: Option<Time>,
    /// When it was taken back: nobody is shown it any more.
    pub revoked_at: Option<Time>,
}

impl Message {
    /// One that has just been made: delivered, of one activity, in no feed yet, without words, and marked by nobody. What tells
    /// it from others is written over this.
    pub fn new(id: String, env: i64, channel: String, recipient: RecipientRef, at: Time) -> Message {
        Message {
            id,
            env,
            feed: None,
            seq: 0,
            version: 0,
            channel,
            recipient,
            tenant: None,
            actor: None,
            workflow: String::new(),
            version_id: String::new(),
            categories: "[]".into(),
            step_ref: String::new(),
            workflow_run: String::new(),
            run: String::new(),
            status: "delivered".to_owned(),
            blocks: "[]".into(),
            actors: "[]".into(),
            total_actors: 0,
            data: "{}".into(),
            slim_data: None,
            batch: None,
            activities: None,
            total_activities: 1,
            metadata: None,
            inserted_at: at,
            updated_at: at,
            scheduled_at: None,
            seen_at: None,
            read_at: None,
            interacted_at: None,
            link_clicked_at: None,
            archived_at: None,
            collapse_key: None,
            first_at: None,
            revoked_at: None,
        }
    }

    /// Whether it tells what a user has done with a guide, rather than what a workflow has told them.
    pub fn is_of_guide(&self) -> bool {
        self.workflow_run.is_empty()
    }

    /// The engagement statuses that hold (F-MSG-03), lowest first.
    pub fn engagement_statuses(&self) -> Vec<&'static str> {
        let stamps = [
            ("seen", self.seen_at),
            ("read", self.read_at),
            ("interacted", self.interacted_at),
            ("link_clicked", self.link_clicked_at),
            ("archived", self.archived_at),
        ];
        stamps.into_iter().filter(|(_, at)| at.is_some()).map(|(name, _)| name).collect()
    }

    /// Appends the message as a feed item (F-FED-29). `cursor` is its own place, spelled; `recipient` is the reader's
    /// record, which activities embed and only the rich mode shows (F-FED-22 to F-FED-24).
    pub fn write_feed_item(&self, out: &mut String, mode: Mode, cursor: &str, recipient: &str) {
        out.push_str(r#"{"__typename":"FeedItem","__cursor":""#);
        out.push_str(cursor);
        out.push_str(r#"","id":""#);
        out.push_str(&self.id);
        out.push('"');
        for (name, at) in self.stamps() {
            stamp(out, name, at);
        }
        out.push_str(r#","actors":"#);
        match mode {
            Mode::Compact if self.total_actors > 1 => out.push_str(&first_of(&self.actors, 1)),
            _ if self.total_actors > MOST_ACTORS as i64 => out.push_str(&first_of(&self.actors, MOST_ACTORS)),
            _ => out.push_str(&self.actors),
        }
        let _ = write!(out, r#","total_actors":{}"#, self.total_actors);
        out.push_str(r#","blocks":"#);
        out.push_str(&self.blocks);
        out.push_str(r#","data":"#);
        match (mode, &self.slim_data) {
            (Mode::Compact, Some(slim)) => out.push_str(slim),
            _ => out.push_str(&self.data),
        }
        if mode == Mode::Rich {
            out.push_str(r#","activities":"#);
            self.write_activities(out, recipient);
            let _ = write!(out, r#","total_activities":{}"#, self.total_activities);
        }
        out.push_str(r#","source":{"__typename":"Workflow","key":"#);
        quote(out, &self.workflow);
        out.push_str(r#","version_id":""#);
        out.push_str(&self.version_id);
        out.push_str(r#"","categories":"#);
        out.push_str(&self.categories);
        out.push_str(r#"},"tenant":"#);
        match &self.tenant {
            Some(tenant) => quote(out, tenant),
            None => out.push_str("null"),
        }
        out.push('}');
    }

    /// Appends the activities behind the message as a JSON array (F-FED-32).
    pub fn write_activities(&self, out: &mut String, recipient: &str) {
        if let Some(activities) = &self.activities {
            self.write_gathered(out, activities, recipient);
            return;
        }
        let at = self.inserted_at;
        let actor = if self.total_actors == 0 { "null".to_owned() } else { unwrap_one(&self.actors).to_owned() };
        let _ = write!(
            out,
            r#"[{{"__typename":"Activity","id":"{}","actor":{actor},"recipient":{recipient},"data":{},"inserted_at":"{at}","updated_at":"{at}"}}]"#,
            self.activity_id(),
            self.data,
        );
    }

    /// Appends the activities that are shown of a batch.
    fn write_gathered(&self, out: &mut String, activities: &str, recipient: &str) {
        let actors: Vec<&RawValue> = serde_json::from_str(&self.actors).unwrap_or_default();
        let shown: Vec<ShownActivity<'_>> = serde_json::from_str(activities).unwrap_or_default();
        out.push('[');
        for (at, ShownActivity(id, actor, inserted_at, data)) in shown.into_iter().enumerate() {
            let actor = actor.and_then(|at| actors.get(at)).map_or("null", |actor| actor.get());
            if at > 0 {
                out.push(',');
            }
            let _ = write!(
                out,
                r#"{{"__typename":"Activity","id":{id},"actor":{actor},"recipient":{recipient},"data":{data},"inserted_at":{inserted_at},"updated_at":{inserted_at}}}"#
            );
        }
        out.push(']');
    }

    /// The id of the single activity behind an unbatched message.
    pub fn activity_id(&self) -> String {
        super::ids::Ksuid::mint(self.inserted_at, &[b"activity", self.id.as_bytes()]).to_string()
    }

    fn stamps(&self) -> [(&'static str, Option<Time>); 8] {
        [
            ("inserted_at", Some(self.inserted_at)),
            ("updated_at", Some(self.updated_at)),
            ("seen_at", self.seen_at),
            ("read_at", self.read_at),
            ("interacted_at", self.interacted_at),
            ("archived_at", self.archived_at),
            ("link_clicked_at", self.link_clicked_at),
            ("clicked_at", self.link_clicked_at),
        ]
    }

    /// The message resource (F-MSG-02, F-MSG-04). `channel` is the channel's own JSON.
    pub fn to_json(&self, channel: &Value) -> Value {
        let actors: Vec<Value> = serde_json::from_str::<Vec<Value>>(&self.actors).unwrap_or_default();
        let of_workflow = |text: &str| if self.is_of_guide() { Value::Null } else { text.into() };
        let mut out = json!({
            "__typename": "Message",
            "id": self.id,
            "channel": channel,
            "channel_id": self.channel,
            "engagement_statuses": self.engagement_statuses(),
            "recipient": self.recipient,
            "recipient_snapshot": null,
            "source": {
                "__typename": "NotificationSource",
                "key": self.workflow,
                "version_id": self.version_id,
                "categories": raw(&self.categories),
                "step_ref": self.step_ref,
                "type": if self.is_of_guide() { "guide" } else { "workflow" },
                "workflow_run_id": of_workflow(&self.workflow_run),
                "workflow_recipient_run_id": of_workflow(&self.run),
            },
            "status": self.status,
            "tenant": self.tenant,
            "workflow": of_workflow(&self.workflow),
            "actors": actors.iter().take(MOST_ACTORS).map(reference).collect::<Vec<_>>(),
            "data": raw(&self.data),
            "metadata": self.metadata.as_deref().map(raw),
            "scheduled_at": self.scheduled_at,
        });
        for (name, at) in self.stamps() {
            out[name] = at.map_or(Value::Null, |at| at.to_string().into());
        }
        // Our own, and only where it says something.
        if let Some(key) = &self.collapse_key {
            out["collapse_key"] = key.as_str().into();
            out["first_inserted_at"] = self.first_at.unwrap_or(self.inserted_at).to_string().into();
        }
        if let Some(at) = self.revoked_at {
            out["revoked_at"] = at.to_string().into();
        }
        out
    }
}

/// The compact reference to an embedded recipient (F-REC-07).
fn reference(recipient: &Value) -> Value {
    match recipient.get("collection") {
        Some(collection) => json!({"id": recipient["id"], "collection": collection}),
        None => recipient["id"].clone(),
    }
}

fn raw(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}

/// Actors that a message shows as its own at most (W-RUN-23, F-FED-33).
const MOST_ACTORS: usize = 10;

/// What [`shown_activity`] wrote. Whose message it is is known where it is read.
#[derive(Deserialize)]
struct ShownActivity<'a>(
    #[serde(borrow)] &'a RawValue,
    Option<usize>,
    #[serde(borrow)] &'a RawValue,
    #[serde(borrow)] &'a RawValue,
);

/// An activity of a batch as a message keeps it, from its id, its actor's place among the message's, when it came, and
/// its data as JSON.
pub fn shown_activity(id: &str, actor: Option<usize>, at: Time, data: &str) -> String {
    let actor = actor.map_or_else(|| "null".to_owned(), |place| place.to_string());
    format!(r#"["{id}",{actor},"{at}",{data}]"#)
}

/// What a message shows of actors and of activities, both JSON arrays, with this record in place of that of `whom`; none
/// if they are not shown. Whoever would be shown twice then is shown where they came first.
pub fn with_actor(
    actors: &str,
    activities: Option<&str>,
    whom: &RecipientRef,
    record: &Value,
) -> Option<(String, Option<String>)> {
    let mut actors: Vec<Value> = serde_json::from_str(actors).ok()?;
    let own = actors.iter().position(|actor| is_record_of(actor, whom))?;
    let is_same = |actor: &Value| ["__typename", "collection", "id"].iter().all(|name| actor[*name] == record[*name]);
    let other = actors.iter().position(is_same).unwrap_or(own);
    let (first, second) = (own.min(other), own.max(other));
    actors[first] = record.clone();
    if first == second {
        return Some((Value::Array(actors).to_string(), activities.map(str::to_owned)));
    }
    actors.remove(second);
    let place = |place: usize| match place.cmp(&second) {
        Ordering::Less => place,
        Ordering::Equal => first,
        Ordering::Greater => place - 1,
    };
    let moved = |ShownActivity(id, actor, at, data): ShownActivity<'_>| {
        let actor = actor.map_or_else(|| "null".to_owned(), |actor| place(actor).to_string());
        format!("[{id},{actor},{at},{data}]")
    };
    let activities = activities.map(|activities| {
        let shown: Vec<ShownActivity<'_>> = serde_json::from_str(activities).unwrap_or_default();
        format!("[{}]", shown.into_iter().map(moved).collect::<Vec<_>>().join(","))
    });
    Some((Value::Array(actors).to_string(), activities))
}

fn is_record_of(actor: &Value, whom: &RecipientRef) -> bool {
    match whom {
        RecipientRef::User(id) => actor["__typename"] == "User" && actor["id"] == id.as_str(),
        RecipientRef::Object { collection, id } => {
            actor["__typename"] == "Object" && actor["collection"] == collection.as_str() && actor["id"] == id.as_str()
        }
    }
}

/// The JSON array with only its first elements.
fn first_of(array: &str, count: usize) -> String {
    let items: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
    serde_json::to_string(&items[..count.min(items.len())]).unwrap_or_else(|_| "[]".to_owned())
}

/// The single element of a JSON array of one.
fn unwrap_one(array: &str) -> &str {
    array.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).filter(|inner| !inner.is_empty()).unwrap_or("null")
}

/// Appends `text` as a JSON string.
pub(crate) fn quote(out: &mut String, text: &str) {
    match serde_json::to_string(text) {
        Ok(quoted) => out.push_str(&quoted),
        Err(_) => out.push_str("\"\""),
    }
}

fn stamp(out: &mut String, name: &str, at: Option<Time>) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
    match at {
        None => out.push_str("null"),
        Some(at) => {
            out.push('"');
            out.push_str(std::str::from_utf8(&at.ascii()).unwrap_or_default());
            out.push('"');
        }
    }
}

/// The scalars among the members of trigger data: what compact feeds show and filters see (F-FED-18, F-FED-23).
pub fn scalars<'a>(
    data: impl Iterator<Item = (&'a String, &'a Value)>,
) -> impl Iterator<Item = (&'a String, &'a Value)> {
    data.filter(|(_, value)| !value.is_object() && !value.is_array())
}
