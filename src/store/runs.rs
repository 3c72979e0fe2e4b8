//! Recipient runs.

use std::sync::Arc;

use super::Env;
use super::db::{Batch, Error, Param, Row, Store};
use super::filter::Where;
use crate::model::feed::Bounds;
use crate::model::recipient::RecipientRef;
use crate::model::run::{Run, RunEvent, RunStatus};
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::params;
use crate::wire::cursor::Edge;

const COLUMNS: &str = "id, env, rev, workflow_run, workflow, version_id, status, recipient, actor, tenant, cancellation_key, \
     source, settings, data, state, events, inserted_at, updated_at";

fn run(row: &Row<'_>) -> Result<Run, Error> {
    Ok(Run {
        id: row.uuid(0)?,
        env: row.int(1)?,
        rev: row.int(2)?,
        workflow_run: row.uuid(3)?,
        workflow: row.string(4)?,
        version_id: row.uuid(5)?,
        status: RunStatus::from_name(row.text(6)?).ok_or_else(|| Error::Damaged("unknown run status".to_owned()))?,
        recipient: RecipientRef::from_key(row.text(7)?),
        actor: row.maybe_text(8)?.map(RecipientRef::from_key),
        tenant: row.maybe_string(9)?,
        cancellation_key: row.maybe_string(10)?,
        source: row.json(11)?,
        settings: row.json(12)?,
        data: data(row)?,
        state: row.json(14)?,
        events: row.json(15)?,
        inserted_at: row.time(16)?,
        updated_at: row.time(17)?,
    })
}

pub(super) const UNFINISHED: &str = "status IN ('queued', 'processing', 'paused')";

fn data(row: &Row<'_>) -> Result<Arc<TriggerData>, Error> {
    let read = TriggerData::from_text(row.text(13)?);
    read.map(Arc::new).map_err(|error| Error::Damaged(format!("a run's data: {error}")))
}

fn json<T: serde::Serialize>(value: &T) -> Param {
    Param::from(serde_json::to_string(value).unwrap_or_default())
}

/// What a list of runs is narrowed to (W-RUN-04).
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub workflow: Option<String>,
    pub statuses: Vec<String>,
    pub tenant: Option<String>,
    pub has_errors: Option<bool>,
    pub recipient: Option<RecipientRef>,
    pub started: Bounds,
}

impl RunFilter {
    /// Adds what is asked for beside who runs and when.
    fn narrow(&self, out: &mut Where) {
        for (condition, value) in [("workflow = ?", &self.workflow), ("tenant = ?", &self.tenant)] {
            if let Some(value) = value {
                out.and(condition, vec![value.into()]);
            }
        }
        if !self.statuses.is_empty() {
            out.any_of("status", &self.statuses);
        }
        match self.has_errors {
            Some(true) => out.and("error_count > 0", vec![]),
            Some(false) => out.and("error_count = 0", vec![]),
            None => {}
        }
    }
}

impl Store {
    /// One run, in whatever environment.
    pub async fn run(&self, id: &str) -> Result<Option<Run>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE id = ?1");
        self.query_one(&sql, &params![id], run).await
    }

    /// Those of these runs that are there, in whatever environment and order.
    pub async fn runs_by_ids(&self, ids: &[&str]) -> Result<Vec<Run>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE id IN (SELECT value FROM json_each(?1))");
        self.scan(sql, params![json(&ids)], run).await
    }

    /// The runs of one trigger, in whatever environment: the first thousand by their ids.
    pub async fn runs_of(&self, workflow_run: &str) -> Result<Vec<Run>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM runs WHERE workflow_run = ?1 ORDER BY id LIMIT 1000");
        self.scan(sql, params![workflow_run], run).await
    }

    /// A page of runs, newest first: at most `limit`, on the asked side of `at`.
    pub async fn runs(&self, env: Env, filter: &RunFilter, at: Option<&Edge>, limit: usize) -> Result<Vec<Run>, Error> {
        let (place, order) = (("inserted_at", "id"), if matches!(at, Some(Edge::Before(_))) { "ASC" } else { "DESC" });
        let (mut clause, mut first) = (Where::default(), String::new());
        clause.and("env = ?", params![env]);
        if let Some(recipient) = &filter.recipient {
            clause.between_of(("recipient", &recipient.key()), place, &filter.started, at);
            first = format!("recipient {order}, ");
        } else {
            if filter.has_errors == Some(true) {
                clause.and("error_count > 0", vec![]);
            }
            clause.between(place, &filter.started, at);
        }
        clause.row_by_row(|clause| filter.narrow(clause));
        let (clause, params) = clause.finish();
        let sql = format!(
            "SELECT {COLUMNS} FROM runs WHERE {clause} ORDER BY {first}inserted_at {order}, id {order} LIMIT {limit}"
        );
        self.scan(sql, params, run).await
    }

    /// The trigger that this run comes of; none if there is no such run in the environment.
    pub(super) async fn trigger_of_run(&self, env: Env, id: &str) -> Result<Option<String>, Error> {
        let sql = "SELECT workflow_run FROM runs WHERE id = ?1 AND +env = ?2";
        self.query_one(sql, &params![id, env], |row| row.string(0)).await
    }

    /// The ids of the unfinished runs of a workflow that carry this cancellation key (W-CAN-03, W-CAN-05); only those of
    /// some recipients, by key, when they are given (W-CAN-04).
    pub async fn runs_to_cancel(
        &self,
        env: Env,
        workflow: &str,
        cancellation_key: &str,
        only: Option<&[String]>,
    ) -> Result<Vec<String>, Error> {
        let sql = format!(
            "SELECT id FROM runs WHERE env = ?1 AND workflow = ?2 AND cancellation_key = ?3 AND {UNFINISHED} \
             AND (CAST(?4 AS TEXT) IS NULL OR recipient IN (SELECT value FROM json_each(?4)))"
        );
        let params = params![env, workflow, cancellation_key, only.map(|only| json(&only))];
        self.scan(sql, params, |row| row.string(0)).await
    }
}

impl Batch {
    /// Adds a new run.
    pub fn add_run(&mut self, run: &Run) {
        self.push(
            "INSERT INTO runs (id, env, rev, workflow_run, workflow, version_id, status, recipient, actor, tenant, \
             cancellation_key, source, settings, data, state, events, error_count, inserted_at, updated_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            params![
                run.id,
                run.env,
                run.rev,
                run.workflow_run,
                run.workflow.as_str(),
                run.version_id,
                run.status.name(),
                run.recipient.key(),
                run.actor.as_ref().map(RecipientRef::key),
                run.tenant.as_deref(),
                run.cancellation_key.as_deref(),
                json(&run.source),
                json(&run.settings),
                run.data.text(),
                json(&run.state),
                json(&run.events),
                run.error_count(),
                run.inserted_at,
                run.updated_at,
            ],
        );
    }

    /// Adds the cancellation of those of these runs that are not over by then, with their jobs. A worker that has read
    /// one before is overtaken (W-CAN-10); what is over spoils nothing. A run that will carry a batch on stays as long as
    /// that is open (W-BAT-37), and one that waits for an event says so (W-CAN-13). Gives back the number of the stopped
    /// ones' ids.
    pub fn cancel_runs(&mut self, ids: &[String], now: Time) -> usize {
        let event = |id: &String| RunEvent::new(id.as_bytes(), b"cancelled", now, "run_cancelled");
        // Of its step only the database knows the name, as JSON text; that of a null stands where it goes.
        let wait = |id: &String| RunEvent {
            step_type: Some("wait_for_event".to_owned()),
            ..RunEvent::new(id.as_bytes(), b"wait cancelled", now, "wait_cancelled")
        };
        let runs = json(&ids.iter().map(|id| (id, event(id), wait(id))).collect::<Vec<_>>());
        let number = self.returning(
            format!(
                "UPDATE runs SET rev = rev + 1, status = 'cancelled', updated_at = ?2, \
                 events = CASE events WHEN '[]' THEN '[' ELSE substr(events, 1, length(events) - 1) || ',' END \
                 || coalesce((SELECT replace(CAST(j.value -> 2 AS TEXT), '\"step_ref\":null', '\"step_ref\":' || w.step) || ',' \
                 FROM waits w WHERE w.run = runs.id), '') || CAST(j.value -> 1 AS TEXT) || ']' \
                 FROM json_each(?1) j WHERE runs.id = j.value ->> 0 AND {UNFINISHED} \
                 AND NOT EXISTS (SELECT 1 FROM batches b WHERE b.run = runs.id AND b.is_open = 1 AND b.closes_at > ?2) RETURNING runs.id"
            ),
            vec![runs, now.into()],
        );
        self.push(
            "DELETE FROM jobs WHERE subject IN (SELECT value FROM json_each(?1)) \
             AND EXISTS (SELECT 1 FROM runs r WHERE r.id = jobs.subject AND r.status = 'cancelled')",
            vec![json(&ids)],
        );
        self.push(
            "DELETE FROM waits WHERE run IN (SELECT value FROM json_each(?1)) \
             AND EXISTS (SELECT 1 FROM runs r WHERE r.id = waits.run AND r.status = 'cancelled')",
            vec![json(&ids)],
        );
        number
    }

    /// Adds a run's next state; refused when somebody else has changed it since `run.rev` was read (W-CAN-10).
    pub fn update_run(&mut self, run: &Run, now: Time) {
        self.guard(
            "UPDATE runs SET rev = rev + 1, status = ?3, data = ?4, state = ?5, events = ?6, error_count = ?7, updated_at = ?8, \
             version_id = ?9 WHERE id = ?1 AND rev = ?2",
            params![
                run.id,
                run.rev,
                run.status.name(),
                run.data.text(),
                json(&run.state),
                json(&run.events),
                run.error_count(),
                now,
                run.version_id
            ],
        );
    }
}
