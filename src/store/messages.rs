//! Messages and what was done to them.

use serde_json::{Map, Value};

use super::Env;
use super::db::{Batch, Error, Param, Row, Store};
use super::feeds::{assignments, changes, event_pairs};
use super::filter::Where;
use crate::model::feed::Bounds;
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::recipient::RecipientRef;
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::Edge;

pub(crate) const COLUMNS: &str = "m.id, m.env, m.feed, m.seq, m.version, m.channel, m.recipient, m.tenant, m.actor, m.workflow, \
     m.version_id, m.categories, m.step_ref, m.workflow_run, m.run, m.status, m.blocks, m.actors, m.total_actors, m.data, \
     m.slim_data, m.activities, m.total_activities, m.metadata, m.inserted_at, m.updated_at, m.scheduled_at, m.seen_at, \
     m.read_at, m.interacted_at, m.link_clicked_at, m.archived_at, m.batch, m.collapse_key, m.first_at, m.revoked_at";
/// How many they are.
pub(super) const MESSAGE_COLUMNS: usize = 36;

/// The columns of what a message tells and of where that comes from, in the order of [`content_params`].
macro_rules! content {
    () => {
        "actor, workflow, version_id, categories, step_ref, workflow_run, run, status, blocks, actors, total_actors, data, \
         slim_data, activities, total_activities, metadata, scheduled_at, batch"
    };
}

macro_rules! insert {
    ($place:literal) => {
        concat!(
            "INSERT INTO messages (id, env, channel, recipient, tenant, ",
            content!(),
            ", collapse_key, feed, seq, version, inserted_at, updated_at) VALUES ",
            "(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ",
            $place,
            ")"
        )
    };
}

/// Puts a message into the feed whose row the statement before has just raised. (Subqueries rather than
/// `INSERT ... SELECT`: for one row of `VALUES` SQLite keeps no journal of the statement.)
pub(crate) const INSERT_IN_FEED: &str = insert!(
    "(SELECT id FROM feeds WHERE env = ?2 AND channel = ?3 AND recipient = ?4), \
     (SELECT version FROM feeds WHERE env = ?2 AND channel = ?3 AND recipient = ?4), \
     (SELECT version FROM feeds WHERE env = ?2 AND channel = ?3 AND recipient = ?4), \
     (SELECT last_at FROM feeds WHERE env = ?2 AND channel = ?3 AND recipient = ?4), \
     (SELECT last_at FROM feeds WHERE env = ?2 AND channel = ?3 AND recipient = ?4)"
);
const INSERT_ALONE: &str = insert!("NULL, 0, 0, ?25, ?25");
/// Has item `?2` of feed `?1`, whose row the statement before has just raised, tell what another message does.
pub(super) const REPLACE_IN_FEED: &str = concat!(
    "UPDATE messages SET first_at = coalesce(first_at, inserted_at), \
     seq = (SELECT version FROM feeds WHERE id = ?1), version = (SELECT version FROM feeds WHERE id = ?1), \
     inserted_at = (SELECT last_at FROM feeds WHERE id = ?1), updated_at = (SELECT last_at FROM feeds WHERE id = ?1), \
     seen_at = NULL, interacted_at = NULL, link_clicked_at = NULL, (",
    content!(),
    ") = (?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) WHERE id = ?2"
);

pub(crate) fn insert_params(message: &Message) -> Vec<Param> {
    // With room for where it stands.
    let mut params = Vec::with_capacity(25);
    params.extend::<[Param; 5]>([
        message.id.as_str().into(),
        message.env.into(),
        message.channel.as_str().into(),
        message.recipient.key().into(),
        message.tenant.as_deref().into(),
    ]);
    params.extend(content_params(message));
    params.push(message.collapse_key.as_deref().into());
    params
}

pub(super) fn content_params(message: &Message) -> [Param; 18] {
    [
        message.actor.as_deref().into(),
        message.workflow.as_str().into(),
        message.version_id.as_str().into(),
        (&message.categories).into(),
        message.step_ref.as_str().into(),
        message.workflow_run.as_str().into(),
        message.run.as_str().into(),
        message.status.as_str().into(),
        (&message.blocks).into(),
        (&message.actors).into(),
        message.total_actors.into(),
        (&message.data).into(),
        message.slim_data.as_ref().into(),
        message.activities.as_ref().into(),
        message.total_activities.into(),
        message.metadata.as_deref().into(),
        message.scheduled_at.into(),
        message.batch.as_deref().into(),
    ]
}

/// Reads a row of [`COLUMNS`].
pub(crate) fn from_row(row: &Row<'_>) -> Result<Message, Error> {
    Ok(Message {
        id: row.string(0)?,
        env: row.int(1)?,
        feed: row.maybe_int(2)?,
        seq: row.int(3)?,
        version: row.int(4)?,
        channel: row.string(5)?,
        recipient: RecipientRef::from_key(row.text(6)?),
        tenant: row.maybe_string(7)?,
        actor: row.maybe_string(8)?,
        workflow: row.string(9)?,
        version_id: row.string(10)?,
        categories: row.text(11)?.into(),
        step_ref: row.string(12)?,
        workflow_run: row.string(13)?,
        run: row.string(14)?,
        status: row.string(15)?,
        blocks: row.text(16)?.into(),
        actors: row.text(17)?.into(),
        total_actors: row.int(18)?,
        data: row.text(19)?.into(),
        slim_data: row.maybe_text(20)?.map(Into::into),
        activities: row.maybe_text(21)?.map(Into::into),
        total_activities: row.int(22)?,
        metadata: row.maybe_string(23)?,
        inserted_at: row.time(24)?,
        updated_at: row.time(25)?,
        scheduled_at: row.maybe_time(26)?,
        seen_at: row.maybe_time(27)?,
        read_at: row.maybe_time(28)?,
        interacted_at: row.maybe_time(29)?,
        link_clicked_at: row.maybe_time(30)?,
        archived_at: row.maybe_time(31)?,
        batch: row.maybe_string(32)?,
        collapse_key: row.maybe_string(33)?,
        first_at: row.maybe_time(34)?,
        revoked_at: row.maybe_time(35)?,
    })
}

/// Something that was done to a message (F-MSG-11).
#[derive(Debug, Clone, PartialEq)]
pub struct MessageEvent {
    pub id: String,
    /// `message.read` and its like.
    pub name: String,
    /// A JSON object.
    pub data: Option<String>,
    pub inserted_at: Time,
}

/// What a list of messages is narrowed to (F-MSG-05). Conditions are ANDed; tenants compare strictly (F-MSG-07).
#[derive(Debug, Clone, Default)]
pub struct MessageFilter {
    pub tenant: Option<String>,
    pub channel: Option<String>,
    /// Any of these delivery statuses.
    pub statuses: Vec<String>,
    /// All of these engagement statuses (F-MSG-06).
    pub engagement: Vec<String>,
    pub ids: Option<Vec<String>>,
    pub categories: Vec<String>,
    pub source: Option<String>,
    pub workflow_run: Option<String>,
    pub run: Option<String>,
    pub trigger_data: Map<String, Value>,
    pub inserted_at: Bounds,
    pub recipient: Option<RecipientRef>,
}

impl MessageFilter {
    /// Adds what the filter asks for.
    pub(crate) fn narrow(&self, out: &mut Where) {
        let equals = [
            ("m.tenant = ?", &self.tenant),
            ("m.channel = ?", &self.channel),
            ("m.workflow = ?", &self.source),
            ("m.workflow_run = ?", &self.workflow_run),
            ("m.run = ?", &self.run),
        ];
        for (condition, value) in equals {
            if let Some(value) = value {
                out.and(condition, vec![value.into()]);
            }
        }
        if let Some(recipient) = &self.recipient {
            out.and("m.recipient = ?", vec![recipient.key().into()]);
        }
        if !self.statuses.is_empty() {
            out.any_of("m.status", &self.statuses);
        }
        for status in &self.engagement {
            out.and(engagement_condition(status), vec![]);
        }
        if let Some(ids) = &self.ids {
            out.any_of("m.id", ids);
        }
        if !self.categories.is_empty() {
            out.categories(&self.categories);
        }
        out.trigger_data("m.data", &self.trigger_data);
        out.bounds("m.inserted_at", &self.inserted_at);
    }

    /// The column by which messages are found, and what it holds: by it are found the fewest among which the filter's are known
    /// to be. `recipient` is the one they must have, by key, and `trigger` what they must come of.
    fn way<'a>(&'a self, recipient: Option<&'a str>, trigger: Option<&'a str>) -> Option<(&'static str, &'a str)> {
        let of_trigger = trigger.map(|trigger| ("m.workflow_run", trigger));
        let of_one = recipient.map(|recipient| ("m.recipient", recipient));
        let of_tenant = self.tenant.as_deref().map(|tenant| ("m.tenant", tenant));
        of_trigger.or(of_one).or(of_tenant)
    }

    /// Whether none is asked for that has been sent.
    fn is_unsent(&self) -> bool {
        !self.statuses.is_empty() && !self.statuses.iter().any(|status| SENT.contains(&status.as_str()))
    }
}

/// What almost every message comes to: those that have not are few.
const SENT: [&str; 2] = ["sent", "delivered"];

/// The condition an engagement status stands for; a word that is none matches nothing.
fn engagement_condition(status: &str) -> &'static str {
    match status {
        "seen" => "m.seen_at IS NOT NULL",
        "unseen" => "m.seen_at IS NULL",
        "read" => "m.read_at IS NOT NULL",
        "unread" => "m.read_at IS NULL",
        "archived" => "m.archived_at IS NOT NULL",
        "unarchived" => "m.archived_at IS NULL",
        "interacted" => "m.interacted_at IS NOT NULL",
        "link_clicked" => "m.link_clicked_at IS NOT NULL",
        _ => "1 = 0",
    }
}

impl Store {
    /// One message.
    pub async fn message(&self, env: Env, id: &str) -> Result<Option<Message>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM messages m WHERE m.id = ?1 AND m.env = ?2");
        self.query_one(&sql, &params![id, env], from_row).await
    }

    /// The messages with these ids that exist, in the order asked.
    pub async fn messages_by_ids(&self, env: Env, ids: &[String]) -> Result<Vec<Message>, Error> {
        // The plus sign lets them be found by their ids, rather than in the list of all messages of the environment.
        let sql = format!(
            "SELECT {COLUMNS} FROM json_each(?1) j JOIN messages m ON m.id = j.value WHERE +m.env = ?2 ORDER BY j.key"
        );
        self.query(&sql, &params![serde_json::to_string(ids).unwrap_or_default(), env], from_row).await
    }

    /// A page of messages, newest first: at most `limit`, on the asked side of `at` (F-MSG-09).
    pub async fn messages(
        &self,
        env: Env,
        filter: &MessageFilter,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Message>, Error> {
        let recipient = filter.recipient.as_ref().map(RecipientRef::key);
        let trigger = match (&filter.workflow_run, &filter.run) {
            (Some(trigger), _) => Some(trigger.clone()),
            // What a run has told is among what its trigger told. Of one that is forgotten it is not known which that was.
            (None, Some(run)) => self.trigger_of_run(env, run).await?,
            (None, None) => None,
        };
        let (place, order) =
            (("m.inserted_at", "m.id"), if matches!(at, Some(Edge::Before(_))) { "ASC" } else { "DESC" });
        let (mut clause, mut first) = (Where::default(), String::new());
        match (&filter.ids, filter.way(recipient.as_deref(), trigger.as_deref())) {
            // At most fifty, which are sorted.
            (Some(ids), _) => {
                clause.any_of("m.id", ids);
                clause.and("+m.env = ?", params![env]);
                clause.between(place, &filter.inserted_at, at);
            }
            (None, Some((column, value))) => {
                clause.and("m.env = ?", params![env]);
                // Which those are for whom there is an index on tenants.
                clause.and(&format!("{column} IS NOT NULL"), vec![]);
                clause.between_of((column, value), place, &filter.inserted_at, at);
                first = format!("{column} {order}, ");
            }
            (None, None) => {
                clause.and("m.env = ?", params![env]);
                if filter.is_unsent() {
                    clause.and("m.status NOT IN ('sent', 'delivered')", vec![]);
                }
                clause.between(place, &filter.inserted_at, at);
            }
        }
        clause.row_by_row(|clause| filter.narrow(clause));
        let (clause, params) = clause.finish();
        let sql = format!(
            "SELECT {COLUMNS} FROM messages m WHERE {clause} ORDER BY {first}m.inserted_at {order}, m.id {order} LIMIT {limit}"
        );
        self.scan(sql, params, from_row).await
    }

    /// What was done to the message, oldest first; `created` and `delivered` are read off the message itself.
    pub async fn message_events(&self, message: &str) -> Result<Vec<MessageEvent>, Error> {
        let sql = "SELECT id, type, data, inserted_at FROM message_events WHERE message = ?1 ORDER BY id";
        self.query(sql, &params![message], |row| {
            Ok(MessageEvent {
                id: row.string(0)?,
                name: row.string(1)?,
                data: row.maybe_string(2)?,
                inserted_at: row.time(3)?,
            })
        })
        .await
    }

    /// Whose feed this is: its channel and recipient key.
    pub async fn feed_of(&self, feed: i64) -> Result<Option<(String, String)>, Error> {
        let sql = "SELECT channel, recipient FROM feeds WHERE id = ?1";
        self.query_one(sql, &params![feed], |row| Ok((row.string(0)?, row.string(1)?))).await
    }
}

impl Batch {
    /// Adds a message that stands in no feed.
    pub fn add_message(&mut self, message: &Message) {
        let mut params = insert_params(message);
        params.push(message.inserted_at.into());
        self.push(INSERT_ALONE, params);
    }

    /// Adds something that was done to a message.
    pub fn add_message_event(&mut self, message: &str, id: &str, name: &str, data: &str, at: Time) {
        self.push(
            "INSERT INTO message_events (message, id, type, data, inserted_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![message, id, name, data, at],
        );
    }

    /// Adds the removal of a message that waits to be sent, with nothing of what is told about it; refused when it has
    /// changed since it was read.
    pub fn take_queued(&mut self, message: &Message) {
        self.guard(
            "DELETE FROM messages WHERE id = ?1 AND version = ?2 AND feed IS NULL AND status = 'queued'",
            params![message.id.as_str(), message.version],
        );
    }

    /// Adds that a message which waits to be sent never is; refused when it has changed since it was read.
    pub fn set_aside(&mut self, message: &Message, now: Time) {
        self.guard(
            "UPDATE messages SET status = 'not_sent', version = version + 1, updated_at = ?3 \
             WHERE id = ?1 AND version = ?2 AND feed IS NULL AND status = 'queued'",
            params![message.id.as_str(), message.version, now],
        );
    }

    /// Adds the removal of messages that stand in no feed.
    pub fn remove_messages(&mut self, env: Env, ids: &[String]) {
        let list = serde_json::to_string(ids).unwrap_or_default();
        for sql in [
            format!("DELETE FROM message_events WHERE message IN (SELECT m.id FROM messages m WHERE {ALONE})"),
            format!("DELETE FROM messages AS m WHERE {ALONE}"),
        ] {
            self.push(sql, params![env, list.as_str()]);
        }
    }

    /// Adds that a message must be as it was when its version was read.
    pub fn require_message(&mut self, id: &str, version: i64) {
        self.require("SELECT 1 FROM messages WHERE id = ?1 AND version = ?2", params![id, version]);
    }

    /// Adds that messages which stand in no feed show these actors, a JSON array, from now on.
    pub fn show_actors_alone(&mut self, env: Env, ids: &[String], actors: &str, now: Time) {
        self.push(
            format!("UPDATE messages AS m SET actors = ?3, updated_at = ?4, version = version + 1 WHERE {ALONE}"),
            params![env, serde_json::to_string(ids).unwrap_or_default(), actors, now],
        );
    }

    /// Adds that another is the first who acted in these messages, where one was, both by key; beside what shows it.
    pub fn hand_over_actor(&mut self, ids: &[String], from: &str, into: &str) {
        self.push(
            "UPDATE messages SET actor = ?3 WHERE id IN (SELECT value FROM json_each(?1)) AND actor = ?2",
            params![serde_json::to_string(ids).unwrap_or_default(), from, into],
        );
    }

    /// Adds that a message shows these activities, of so many actors; beside what shows the actors.
    pub fn show_activities(&mut self, id: &str, activities: Option<&str>, total_actors: i64) {
        self.push(
            "UPDATE messages SET activities = ?2, total_actors = ?3 WHERE id = ?1",
            params![id, activities, total_actors],
        );
    }

    /// Adds that another has brought these to their batches, given by batch and id.
    pub fn hand_over_activities(&mut self, activities: &[(String, String)], into: &str) {
        self.push(
            "UPDATE batch_activities SET actor = ?2 FROM json_each(?1) j \
             WHERE batch_activities.batch = j.value ->> 0 AND batch_activities.id = j.value ->> 1",
            params![serde_json::to_string(activities).unwrap_or_default(), into],
        );
    }

    /// Adds a mark on messages that stand in no feed.
    pub fn mark_alone(&mut self, env: Env, ids: &[String], mark: Mark, data: Option<&str>, now: Time) {
        self.push(
            format!(
                "INSERT INTO message_events (message, id, type, data, inserted_at) \
                 SELECT m.id, j.value ->> 1, ?3, ?4, CAST(?5 AS BIGINT) FROM json_each(?2) j JOIN messages m ON m.id = j.value ->> 0 \
                 WHERE +m.env = ?1 AND m.feed IS NULL{} ON CONFLICT DO NOTHING",
                changes(mark)
            ),
            params![env, event_pairs(ids, mark.name(), now), format!("message.{}", mark.name()), data, now],
        );
        self.push(
            format!(
                "UPDATE messages AS m SET {}, updated_at = ?3, version = version + 1 WHERE {ALONE}{}",
                assignments(mark),
                changes(mark)
            ),
            params![env, serde_json::to_string(ids).unwrap_or_default(), now],
        );
    }
}

/// The messages of environment `?1` that stand in no feed and whose ids `?2` lists: found by their ids.
const ALONE: &str = "+m.env = ?1 AND m.feed IS NULL AND m.id IN (SELECT value FROM json_each(?2))";
