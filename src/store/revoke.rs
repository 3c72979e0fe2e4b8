//! Messages that are taken back: out of their feeds, and still there for whoever reads about them.

use serde_json::{Value, json};

use super::Env;
use super::db::{Batch, Error, FeedKey, Store};
use super::feeds::{CHOSEN, event_pairs, raised, recounted};
use super::runs::UNFINISHED;
use crate::model::message::Message;
use crate::model::run::{EventStatus, RunEvent, RunState};
use crate::model::time::Time;
use crate::params;

/// A run that told something, with the ids of the messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Telling {
    pub run: String,
    pub messages: Vec<String>,
}

impl Store {
    /// Runs of a workflow that carry this cancellation key, are over or are not, in the order of their ids: at most `limit`
    /// behind `after`; only those of some recipients, by key, when they are given.
    pub async fn telling(
        &self,
        env: Env,
        (workflow, cancellation_key): (&str, &str),
        are_over: bool,
        only: Option<&[String]>,
        after: &str,
        limit: usize,
    ) -> Result<Vec<Telling>, Error> {
        // One index is of those that are over, one of the others.
        let status = if are_over { "r.status IN ('completed', 'cancelled')" } else { UNFINISHED };
        let sql = format!(
            "SELECT r.id, r.state FROM runs r WHERE r.env = ?1 AND r.workflow = ?2 AND r.cancellation_key = ?3 AND r.id > ?5 \
             AND {status} AND (CAST(?4 AS TEXT) IS NULL OR r.recipient IN (SELECT value FROM json_each(?4))) ORDER BY r.id LIMIT {limit}"
        );
        let only = only.map(|only| serde_json::to_string(only).unwrap_or_default());
        self.scan(sql, params![env, workflow, cancellation_key, only, after], |row| {
            let state: RunState = row.json(1)?;
            Ok(Telling { run: row.string(0)?, messages: state.messages.into_values().flatten().collect() })
        })
        .await
    }

    /// The ids of messages with this collapse key that have not been revoked: at most `limit`, and only those of some
    /// recipients, by key, when they are given.
    pub async fn collapsed(
        &self,
        env: Env,
        key: &str,
        only: Option<&[String]>,
        limit: usize,
    ) -> Result<Vec<String>, Error> {
        let sql = format!(
            "SELECT m.id FROM messages m WHERE m.env = ?1 AND m.collapse_key = ?2 AND m.revoked_at IS NULL \
             AND (CAST(?3 AS TEXT) IS NULL OR m.recipient IN (SELECT value FROM json_each(?3))) LIMIT {limit}"
        );
        let only = only.map(|only| serde_json::to_string(only).unwrap_or_default());
        self.scan(sql, params![env, key, only], |row| row.string(0)).await
    }

    /// The items in which messages are that took another's place when they were sent, each with the id of such a message.
    pub async fn places_taken(
        &self,
        env: Env,
        messages: impl ExactSizeIterator<Item = &String>,
    ) -> Result<Vec<(String, Message)>, Error> {
        if messages.len() == 0 {
            return Ok(Vec::new());
        }
        let list = serde_json::to_string(&messages.collect::<Vec<_>>()).unwrap_or_default();
        let sql = "SELECT message, data FROM message_events \
                   WHERE message IN (SELECT value FROM json_each(?1)) AND type = 'message.collapsed'";
        let collapsed = self.query(sql, &params![list], |row| Ok((row.string(0)?, row.json::<Value>(1)?))).await?;
        let place = |(message, data): (String, Value)| Some((data["message_id"].as_str()?.to_owned(), message));
        let collapsed: Vec<(String, String)> = collapsed.into_iter().filter_map(place).collect();
        let ids: Vec<String> = collapsed.iter().map(|(id, _)| id.clone()).collect();
        let places = self.messages_by_ids(env, &ids).await?;
        let of = |(id, message): (String, String)| Some((message, places.iter().find(|place| place.id == id)?.clone()));
        Ok(collapsed.into_iter().filter_map(of).collect())
    }
}

impl Batch {
    /// Adds that messages leave their feed for good. Gives back the numbers of the feed's head afterwards, which there is none
    /// of where none of the messages was there, and of those that left it.
    pub fn revoke_in_feed(&mut self, feed: i64, messages: &[Message], now: Time) -> (usize, usize) {
        self.feeds.push(FeedKey::Id(feed));
        let ids: Vec<String> = messages.iter().map(|message| message.id.clone()).collect();
        let list = serde_json::to_string(&ids).unwrap_or_default();
        let head = self.returning(raised(&recounted(None, CHOSEN), CHOSEN), params![feed, list.as_str()]);
        self.push(
            format!(
                "INSERT INTO removals (feed, version, message, tenant) \
                 SELECT CAST(?1 AS BIGINT), f.version, m.id, m.tenant FROM messages m JOIN feeds f ON f.id = ?1 WHERE {CHOSEN}"
            ),
            params![feed, list.as_str()],
        );
        for message in messages {
            self.record_revocation(message, "+m.feed = ?6", feed, now);
        }
        self.tell_revoked(feed, &ids, "+m.feed = ?1", now);
        let left = self.returning(
            format!(
                "UPDATE messages AS m SET feed = NULL, seq = 0, version = version + 1, updated_at = ?3, revoked_at = ?3 \
                 WHERE {CHOSEN} RETURNING id"
            ),
            params![feed, list, now],
        );
        (head, left)
    }

    /// Adds that a message must still be of the run and the step that it was of when it was read: nobody else has taken its
    /// place.
    pub fn require_teller(&mut self, message: &Message) {
        self.require(
            "SELECT 1 FROM messages WHERE id = ?1 AND run = ?2 AND step_ref = ?3",
            params![message.id.as_str(), message.run.as_str(), message.step_ref.as_str()],
        );
    }

    /// Adds that a message which stands in no feed never comes into one; refused when it has changed since it was read.
    pub fn revoke_alone(&mut self, message: &Message, now: Time) {
        self.guard(
            "UPDATE messages SET status = CASE status WHEN 'queued' THEN 'not_sent' ELSE status END, \
             version = version + 1, updated_at = ?3, revoked_at = ?3 \
             WHERE id = ?1 AND version = ?2 AND feed IS NULL AND revoked_at IS NULL",
            params![message.id.as_str(), message.version, now],
        );
        self.record_revocation(message, "m.feed IS NULL AND +m.env = ?6", message.env, now);
        self.tell_revoked(message.env, std::slice::from_ref(&message.id), "m.feed IS NULL AND +m.env = ?1", now);
    }

    /// Adds to the record of the run that a message is of that it is revoked, if it is where it is thought to be.
    fn record_revocation(&mut self, message: &Message, place: &str, number: i64, now: Time) {
        let event = RunEvent {
            status: EventStatus::Ok,
            step_ref: Some(message.step_ref.clone()),
            step_type: Some("channel".to_owned()),
            data: Some(json!({"message_id": message.id})),
            ..RunEvent::new(message.run.as_bytes(), message.id.as_bytes(), now, "message_revoked")
        };
        self.push(
            format!(
                "UPDATE runs SET rev = rev + 1, updated_at = ?3, \
                 events = CASE events WHEN '[]' THEN '[' ELSE substr(events, 1, length(events) - 1) || ',' END \
                 || CAST(?4 AS TEXT) || ']' WHERE id = ?1 AND env = ?5 \
                 AND EXISTS (SELECT 1 FROM messages m WHERE m.id = ?2 AND m.run = ?1 AND {place})"
            ),
            params![
                message.run.as_str(),
                message.id.as_str(),
                now,
                serde_json::to_string(&event).unwrap_or_default(),
                message.env,
                number
            ],
        );
    }

    /// Adds to the logs of messages that they are revoked.
    fn tell_revoked(&mut self, number: i64, ids: &[String], place: &str, now: Time) {
        self.push(
            format!(
                "INSERT INTO message_events (message, id, type, inserted_at) \
                 SELECT m.id, j.value ->> 1, 'message.revoked', CAST(?3 AS BIGINT) FROM json_each(?2) j \
                 JOIN messages m ON m.id = j.value ->> 0 WHERE {place} ON CONFLICT DO NOTHING"
            ),
            params![number, event_pairs(ids, "revoked", now), now],
        );
    }
}
