//! Runs that wait for something to happen, and how they are told. Whatever may be waited for tells of it in its own batch:
//! one look into an index, which finds nothing for most recipients.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Store};
use super::feeds::changes;
use crate::model::mark::Mark;
use crate::model::recipient::RecipientRef;
use crate::model::run::Run;
use crate::model::signal::{RECIPIENT_UPDATED, Signal};
use crate::model::time::Time;
use crate::params;

/// The kind of job that brings a signal to a run. Its subject is the run's id, as of every job of a run's.
pub const SIGNAL_JOB: &str = "signal";

/// A job for each run that waits; its text opens with the step that does, and `rest` closes it.
fn told(rest: &str, at: &str, from: &str) -> String {
    format!(
        "INSERT INTO jobs (kind, subject, due_at, progress) SELECT '{SIGNAL_JOB}', w.run, CAST({at} AS BIGINT), \
         '{{\"step\":' || w.step || {rest} FROM {from} RETURNING id"
    )
}

/// What of a message's signal is read off its row; the open end of what comes before is its data.
const OF_MESSAGE: &str = "|| ',\"message_id\":' || CAST(json_quote(m.id) AS TEXT) || ',\"channel_id\":' || CAST(json_quote(m.channel) AS TEXT) \
     || ',\"tenant_id\":' || coalesce(CAST(json_quote(m.tenant) AS TEXT), 'null') || ',\"step_ref\":' || CAST(json_quote(m.step_ref) AS TEXT) \
     || ',\"source_key\":' || CAST(json_quote(m.workflow) AS TEXT) \
     || ',\"is_sandboxed\":' || CASE m.status WHEN 'not_sent' THEN 'true' ELSE 'false' END || '}}'";

/// The beginning of the rest of a signal whose end the database knows.
fn open(topic: &str, at: Time, about: &str) -> String {
    format!(r#","topic":"{topic}","at":{},"about":{{{about}"#, at.micros())
}

/// The beginning of a mark's signal.
fn open_mark(mark: Mark, data: Option<&str>, now: Time) -> (String, String) {
    let topic = format!("message.{}", mark.name());
    let open = open(&topic, now, &format!(r#""data":{}"#, data.unwrap_or("{}")));
    (topic, open)
}

impl Store {
    /// The signals that are on their way to a run: each with the number of its job, in the order in which they came.
    pub async fn signals(&self, run: Uuid) -> Result<Vec<(i64, String)>, Error> {
        let sql = format!("SELECT id, progress FROM jobs WHERE subject = ?1 AND kind = '{SIGNAL_JOB}' ORDER BY id");
        self.query(&sql, &params![run], |row| Ok((row.int(0)?, row.string(1)?))).await
    }
}

impl Batch {
    /// Adds that the run waits in this step for something of that kind.
    pub fn add_wait(&mut self, run: &Run, step: &str, topic: &str, source: &str) {
        self.push(
            "INSERT INTO waits (run, env, recipient, topic, source, step) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![run.id, run.env, run.recipient.key(), topic, source, &json!(step)],
        );
    }

    /// Adds that the run waits no more.
    pub fn end_wait(&mut self, run: Uuid) {
        self.push("DELETE FROM waits WHERE run = ?1", params![run]);
    }

    /// Adds that the run is not woken when its wait would be over.
    pub fn cancel_wake_up(&mut self, kind: &str, run: Uuid) {
        self.push("DELETE FROM jobs WHERE subject = ?1 AND kind = ?2", params![run, kind]);
    }

    /// Adds that something happens to a recipient; gives back the number of the jobs that tell of it.
    pub fn signal(&mut self, env: Env, recipient: &str, signals: &[Signal]) -> usize {
        let list: Vec<Value> = signals
            .iter()
            .map(|signal| json!([signal.topic, signal.source, signal.rest(), signal.at.micros()]))
            .collect();
        let from = "waits w CROSS JOIN json_each(?3) j WHERE w.env = ?1 AND w.recipient = ?2 \
                    AND w.topic = (j.value ->> 0) AND w.source = (j.value ->> 1)";
        self.returning(told("(j.value ->> 2)", "(j.value ->> 3)", from), params![env, recipient, &Value::Array(list)])
    }

    /// Adds that messages of one feed get a mark; it stands before the mark itself. Gives back the number of the jobs.
    pub fn signal_marks(
        &mut self,
        (env, recipient, feed): (Env, &str, i64),
        ids: &[String],
        mark: Mark,
        data: Option<&str>,
        now: Time,
    ) -> usize {
        let (topic, open) = open_mark(mark, data, now);
        let from = format!(
            "waits w CROSS JOIN messages m WHERE w.env = ?1 AND w.recipient = ?2 AND w.topic = ?3 \
             AND m.id IN (SELECT value FROM json_each(?4)) AND +m.feed = ?7 AND m.workflow = w.source{}",
            changes(mark)
        );
        self.returning(
            told(&format!("CAST(?6 AS TEXT) {OF_MESSAGE}"), "?5", &from),
            params![env, recipient, topic, serde_json::to_string(ids).unwrap_or_default(), now, open, feed],
        )
    }

    /// Adds that messages which stand in no feed get a mark; it stands before the mark itself. Gives back the number of
    /// the jobs.
    pub fn signal_marks_alone(&mut self, env: Env, ids: &[String], mark: Mark, data: Option<&str>, now: Time) -> usize {
        let (topic, open) = open_mark(mark, data, now);
        let from = format!(
            "messages m CROSS JOIN waits w WHERE +m.env = ?1 AND m.feed IS NULL AND m.id IN (SELECT value FROM json_each(?3)) \
             AND w.env = ?1 AND w.recipient = m.recipient AND w.topic = ?2 AND w.source = m.workflow{}",
            changes(mark)
        );
        self.returning(
            told(&format!("CAST(?5 AS TEXT) {OF_MESSAGE}"), "?4", &from),
            params![env, topic, serde_json::to_string(ids).unwrap_or_default(), now, open],
        )
    }

    /// Adds that a recipient is as it stands now, behind what changes it. Gives back the number of the jobs.
    pub fn signal_update(&mut self, env: Env, recipient: &RecipientRef, now: Time) -> usize {
        let open = open(RECIPIENT_UPDATED, now, r#""properties":"#);
        let waits = format!("w.env = ?1 AND w.recipient = ?2 AND w.topic = '{RECIPIENT_UPDATED}'");
        let mut params = params![env, recipient.key(), now, open];
        let from = match recipient {
            RecipientRef::User(_) => {
                format!("waits w CROSS JOIN users r WHERE {waits} AND r.env = w.env AND r.id = w.recipient")
            }
            RecipientRef::Object { collection, id } => {
                params.extend(params![collection, id]);
                format!(
                    "waits w CROSS JOIN objects r WHERE {waits} AND r.env = w.env AND r.collection = ?5 AND r.id = ?6"
                )
            }
        };
        self.returning(told("CAST(?4 AS TEXT) || r.properties || '}}'", "?3", &from), params)
    }
}
