//! Schedules.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use super::Env;
use super::db::{Batch, Error, Param, Row, Store};
use super::filter::Where;
use crate::model::recipient::RecipientRef;
use crate::model::schedule::{Schedule, Timing, repeats_json};
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::params;
use crate::rules::window::WindowRule;
use crate::wire::cursor::{Cursor, Edge};

const COLUMNS: &str = "id, env, rev, workflow, recipient, actor, tenant, cancellation_key, data, repeats, scheduled_at, ending_at, \
     last_occurrence_at, next_occurrence_at, inserted_at, updated_at";
/// Those that depend on the recipient's time zone.
const PLANNED: &str = "repeats <> '[]' AND next_occurrence_at IS NOT NULL";

fn schedule(row: &Row<'_>) -> Result<Schedule, Error> {
    let data = TriggerData::from_text(row.text(8)?);
    Ok(Schedule {
        id: row.uuid(0)?,
        env: row.int(1)?,
        rev: row.int(2)?,
        workflow: row.string(3)?,
        recipient: RecipientRef::from_key(row.text(4)?),
        actor: row.maybe_text(5)?.map(RecipientRef::from_key),
        tenant: row.maybe_string(6)?,
        cancellation_key: row.maybe_string(7)?,
        data: data.map(Arc::new).map_err(|error| Error::Damaged(format!("a schedule's data: {error}")))?,
        timing: Timing {
            repeats: repeats(&row.json::<Vec<Value>>(9)?)?,
            scheduled_at: row.maybe_time(10)?,
            ending_at: row.maybe_time(11)?,
        },
        last_occurrence_at: row.maybe_time(12)?,
        next_occurrence_at: row.maybe_time(13)?,
        inserted_at: row.time(14)?,
        updated_at: row.time(15)?,
    })
}

fn repeats(rules: &[Value]) -> Result<Vec<WindowRule>, Error> {
    let read = |rule: &Value| WindowRule::parse(rule, "");
    let rules: Result<Vec<_>, _> = rules.iter().map(read).collect();
    rules.map_err(|_| Error::Damaged("a schedule's rules cannot be read".to_owned()))
}

/// What a list of schedules is narrowed to (W-SCH-34, W-SCH-35).
#[derive(Debug, Clone, Default)]
pub struct ScheduleFilter {
    pub workflow: Option<String>,
    /// Any of these; everybody when empty.
    pub recipients: Vec<RecipientRef>,
    pub tenant: Option<String>,
}

impl Store {
    /// One schedule, in whatever environment.
    pub async fn schedule(&self, id: &str) -> Result<Option<Schedule>, Error> {
        self.query_one(&format!("SELECT {COLUMNS} FROM schedules WHERE id = ?1"), &params![id], schedule).await
    }

    /// The schedules among these ids that exist.
    pub async fn schedules_by_ids(&self, env: Env, ids: &[String]) -> Result<Vec<Schedule>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM schedules WHERE env = ?1 AND id IN (SELECT value FROM json_each(?2))");
        self.query(&sql, &params![env, serde_json::to_string(ids).unwrap_or_default()], schedule).await
    }

    /// The schedules of these recipients, by their keys, whose next occurrence depends on the time zone.
    pub async fn planned_schedules(&self, env: Env, recipients: &[String]) -> Result<Vec<Schedule>, Error> {
        let sql = format!(
            "SELECT {COLUMNS} FROM schedules WHERE env = ?1 AND recipient IN (SELECT value FROM json_each(?2)) \
             AND {PLANNED} ORDER BY id"
        );
        self.query(&sql, &params![env, serde_json::to_string(recipients).unwrap_or_default()], schedule).await
    }

    /// A page of schedules, newest first (F-PAG-07): at most `limit`, on the asked side of `at`.
    pub async fn schedules(
        &self,
        env: Env,
        filter: &ScheduleFilter,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Schedule>, Error> {
        let recipients: BTreeSet<String> = filter.recipients.iter().map(RecipientRef::key).collect();
        if recipients.is_empty() {
            return self.schedules_of(env, None, filter, at, limit).await;
        }
        // The page's are among the nearest of each.
        let mut found = Vec::new();
        for recipient in &recipients {
            found.extend(self.schedules_of(env, Some(recipient.as_str()), filter, at, limit).await?);
        }
        found.sort_by_cached_key(|schedule| (schedule.inserted_at, schedule.id.to_string()));
        if !matches!(at, Some(Edge::Before(_))) {
            found.reverse();
        }
        found.truncate(limit);
        Ok(found)
    }

    /// The same of one recipient, by key, or of everybody.
    async fn schedules_of(
        &self,
        env: Env,
        recipient: Option<&str>,
        filter: &ScheduleFilter,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Schedule>, Error> {
        let mut clause = Where::default();
        clause.and("env = ?", vec![env.into()]);
        match (recipient, &filter.workflow) {
            (Some(recipient), _) => clause.and("recipient = ?", params![recipient]),
            (None, Some(workflow)) => clause.and("workflow = ?", params![workflow]),
            (None, None) => {}
        }
        clause.row_by_row(|clause| {
            for (condition, value) in [("workflow = ?", &filter.workflow), ("tenant = ?", &filter.tenant)] {
                if let Some(value) = value {
                    clause.and(condition, params![value]);
                }
            }
        });
        let place = |time: &Time, id: &String| vec![Param::from(*time), Param::from(id)];
        let order = match at {
            Some(Edge::Before(Cursor::At(time, id))) => {
                clause.and("(inserted_at, id) > (?, ?)", place(time, id));
                "ASC"
            }
            Some(Edge::After(Cursor::At(time, id))) => {
                clause.and("(inserted_at, id) < (?, ?)", place(time, id));
                "DESC"
            }
            _ => "DESC",
        };
        let (clause, params) = clause.finish();
        let sql = format!(
            "SELECT {COLUMNS} FROM schedules WHERE {clause} ORDER BY inserted_at {order}, id {order} LIMIT {limit}"
        );
        self.scan(sql, params, schedule).await
    }
}

impl Batch {
    /// Adds a new schedule.
    pub fn add_schedule(&mut self, schedule: &Schedule) {
        let marks: Vec<String> = (1..=16).map(|n| format!("?{n}")).collect();
        self.push(
            format!("INSERT INTO schedules ({COLUMNS}) VALUES ({})", marks.join(", ")),
            params![
                schedule.id,
                schedule.env,
                schedule.rev,
                schedule.workflow.as_str(),
                schedule.recipient.key(),
                schedule.actor.as_ref().map(RecipientRef::key),
                schedule.tenant.as_deref(),
                schedule.cancellation_key.as_deref(),
                schedule.data.text(),
                &repeats_json(&schedule.timing.repeats),
                schedule.timing.scheduled_at,
                schedule.timing.ending_at,
                schedule.last_occurrence_at,
                schedule.next_occurrence_at,
                schedule.inserted_at,
                schedule.updated_at
            ],
        );
    }

    /// Adds a schedule's next state; refused when somebody else has changed it since `schedule.rev` was read.
    pub fn update_schedule(&mut self, schedule: &Schedule, now: Time) {
        self.guard(
            "UPDATE schedules SET rev = rev + 1, actor = ?3, tenant = ?4, cancellation_key = ?5, data = ?6, repeats = ?7, \
             scheduled_at = ?8, ending_at = ?9, last_occurrence_at = ?10, next_occurrence_at = ?11, updated_at = ?12 \
             WHERE id = ?1 AND rev = ?2",
            params![
                schedule.id,
                schedule.rev,
                schedule.actor.as_ref().map(RecipientRef::key),
                schedule.tenant.as_deref(),
                schedule.cancellation_key.as_deref(),
                schedule.data.text(),
                &repeats_json(&schedule.timing.repeats),
                schedule.timing.scheduled_at,
                schedule.timing.ending_at,
                schedule.last_occurrence_at,
                schedule.next_occurrence_at,
                now
            ],
        );
    }

    /// Adds the removal of a schedule; refused when somebody else has changed it since it was read.
    pub fn delete_schedule(&mut self, schedule: &Schedule) {
        self.guard("DELETE FROM schedules WHERE id = ?1 AND rev = ?2", params![schedule.id, schedule.rev]);
    }

    /// Adds that no occurrence of the schedule is to come; a worker that has one in hand can't finish it.
    pub fn drop_occurrence(&mut self, schedule: &Schedule) {
        self.push("DELETE FROM jobs WHERE subject = ?1", params![schedule.id]);
    }

    /// Adds that these recipients, by key, must have so many schedules whose next occurrence depends on the time zone:
    /// refused when one was added meanwhile.
    pub fn require_planned(&mut self, env: Env, recipients: &[String], many: usize) {
        self.require(
            format!(
                "SELECT 1 WHERE ?3 = (SELECT count(*) FROM schedules WHERE env = ?1 \
                 AND recipient IN (SELECT value FROM json_each(?2)) AND {PLANNED})"
            ),
            params![env, serde_json::to_string(recipients).unwrap_or_default(), many],
        );
    }
}
