//! Runs that wait for something to happen, and how they are told. Whatever may be waited for tells of it in its own batch:
//! one look into an index, which finds nothing for most recipients.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Store};
use super::feeds::{Still, changes};
use crate::model::mark::Mark;
use crate::model::recipient::RecipientRef;
use crate::model::run::Run;
use crate::model::signal::{Happened, RECIPIENT_UPDATED};
use crate::model::time::Time;
use crate::params;

macro_rules! signal_job {
    () => {
        "signal"
    };
}

/// The kind of job that brings a signal to a run. Its subject is the run's id, as of every job of a run's.
pub const SIGNAL_JOB: &str = signal_job!();

/// Whether anything waits for a recipient.
const ANY: &str = "SELECT 1 FROM waits WHERE env = ?1 AND recipient = ?2";

/// A job for each run that waits: with what is told `about` what happened `at` that instant, to those found in `from`; due
/// then, or at another. Every trigger brings one along: it is spelled once.
macro_rules! told {
    ($about:expr, $at:literal, $from:expr) => {
        told!($about, $at, due: $at, $from)
    };
    ($about:expr, $at:literal, due: $due:literal, $from:expr) => {
        concat!(
            "INSERT INTO jobs (kind, subject, due_at, progress) SELECT '",
            signal_job!(),
            "', w.run, CAST(",
            $due,
            " AS BIGINT), '{\"step\":' || w.step || ',\"topic\":' || CAST(json_quote(w.topic) AS TEXT) || ',\"at\":' || \
             CAST(CAST(",
            $at,
            " AS BIGINT) AS TEXT) || ',\"about\":{' || ",
            $about,
            " || '}}' FROM ",
            $from
        )
    };
}

/// What is told about a message, off its row.
macro_rules! of_message {
    () => {
        "'\"message_id\":' || CAST(json_quote(m.id) AS TEXT) || ',\"channel_id\":' || CAST(json_quote(m.channel) AS TEXT) \
         || ',\"tenant_id\":' || coalesce(CAST(json_quote(m.tenant) AS TEXT), 'null') || ',\"step_ref\":' || CAST(json_quote(m.step_ref) AS TEXT) \
         || ',\"source_key\":' || CAST(json_quote(m.workflow) AS TEXT) || ',\"scheduled_at\":' || coalesce(CAST(m.scheduled_at AS TEXT), 'null') \
         || ',\"is_sandboxed\":' || CASE m.status WHEN 'not_sent' THEN 'true' ELSE 'false' END"
    };
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

    /// Adds what happened in a run or to its messages, behind what makes it so. Gives back the number of how many jobs there are.
    pub fn signal_happened(&mut self, env: Env, happened: &Happened<'_>) -> usize {
        let sql = told!(
            concat!(
                "CASE WHEN m.id IS NULL THEN '\"run\":\"' || CAST(?8 AS TEXT) || '\"' ELSE ",
                of_message!(),
                " END"
            ),
            "?5",
            "waits w LEFT JOIN messages m ON m.id IN (SELECT value FROM json_each(?4)) \
             AND (w.topic = 'message.' || m.status OR w.topic = ?9) \
             WHERE w.env = ?1 AND w.recipient = ?2 AND w.source = ?3 AND w.run <> ?8 \
             AND (m.id IS NOT NULL OR w.topic IN (?6, ?7))"
        );
        let topic = |topic: &'static str, happens: bool| if happens { topic } else { "" };
        let Happened { recipient, workflow, run, .. } = happened;
        self.count(
            (ANY, 2),
            sql,
            params![
                env,
                *recipient,
                *workflow,
                serde_json::to_string(happened.messages).unwrap_or_default(),
                happened.at,
                topic("workflow.started", happened.has_begun),
                topic("workflow.completed", happened.is_over),
                run.map(|run| run.to_string()).unwrap_or_default(),
                topic("message.created", happened.are_new),
            ],
        )
    }

    /// Adds that something else happens to a recipient, given by its key: what, where it comes from, and what is said
    /// about it, as an object; when it happened, and when it is. Gives back the number of how many jobs there are.
    pub fn signal(
        &mut self,
        env: Env,
        recipient: &str,
        (topic, source): (&str, &str),
        about: &Value,
        (at, now): (Time, Time),
    ) -> usize {
        let sql = told!(
            "'\"payload\":' || CAST(?6 AS TEXT)",
            "?5",
            due: "?7",
            "waits w WHERE w.env = ?1 AND w.recipient = ?2 AND w.topic = ?3 AND w.source = ?4"
        );
        self.count((ANY, 2), sql, params![env, recipient, topic, source, at, about, now])
    }

    /// Adds that messages of one feed get a mark; it stands before the mark itself. Gives back the number of how many jobs
    /// there are.
    pub fn signal_marks(
        &mut self,
        (env, recipient, feed): (Env, &str, i64),
        ids: &[String],
        still: Still,
        mark: Mark,
        data: Option<&str>,
        now: Time,
    ) -> usize {
        let sql = told!(
            concat!("'\"data\":' || CAST(?6 AS TEXT) || ',' || ", of_message!()),
            "?5",
            "waits w CROSS JOIN messages m WHERE w.env = ?1 AND w.recipient = ?2 AND w.topic = ?3 \
             AND m.id IN (SELECT value FROM json_each(?4)) AND +m.feed = ?7 AND m.workflow = w.source"
        );
        self.count(
            (ANY, 2),
            format!("{sql}{}{}", changes(mark), still.holds(mark, 8)),
            still.bound(params![
                env,
                recipient,
                format!("message.{}", mark.name()),
                serde_json::to_string(ids).unwrap_or_default(),
                now,
                data.unwrap_or("{}"),
                feed
            ]),
        )
    }

    /// Adds that messages which stand in no feed get a mark; it stands before the mark itself. Gives back the number of
    /// how many jobs there are.
    pub fn signal_marks_alone(&mut self, env: Env, ids: &[String], mark: Mark, data: Option<&str>, now: Time) -> usize {
        let sql = told!(
            concat!("'\"data\":' || CAST(?5 AS TEXT) || ',' || ", of_message!()),
            "?4",
            "messages m CROSS JOIN waits w WHERE +m.env = ?1 AND m.feed IS NULL AND m.id IN (SELECT value FROM json_each(?3)) \
             AND w.env = ?1 AND w.recipient = m.recipient AND w.topic = ?2 AND w.source = m.workflow"
        );
        self.count(
            ("SELECT 1 FROM waits WHERE env = ?1", 1),
            format!("{sql}{}", changes(mark)),
            params![
                env,
                format!("message.{}", mark.name()),
                serde_json::to_string(ids).unwrap_or_default(),
                now,
                data.unwrap_or("{}")
            ],
        )
    }

    /// Adds that a recipient is as it stands now, behind what changes it. Gives back the number of how many jobs there are.
    pub fn signal_update(&mut self, env: Env, recipient: &RecipientRef, now: Time) -> usize {
        let mut params = params![env, recipient.key(), now, RECIPIENT_UPDATED];
        let sql = match recipient {
            RecipientRef::User(_) => told!(
                "'\"properties\":' || r.properties",
                "?3",
                "waits w CROSS JOIN users r WHERE w.env = ?1 AND w.recipient = ?2 AND w.topic = ?4 \
                 AND r.env = w.env AND r.id = w.recipient"
            ),
            RecipientRef::Object { collection, id } => {
                params.extend(params![collection, id]);
                told!(
                    "'\"properties\":' || r.properties",
                    "?3",
                    "waits w CROSS JOIN objects r WHERE w.env = ?1 AND w.recipient = ?2 AND w.topic = ?4 \
                     AND r.env = w.env AND r.collection = ?5 AND r.id = ?6"
                )
            }
        };
        self.count((ANY, 2), sql, params)
    }
}
