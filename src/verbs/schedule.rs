//! Schedules: made, changed, deleted and shown. The engine runs what falls due.

pub mod bulk;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::invalid::{Invalid, join};
use crate::model::recipient::{RecipientRef, missing};
use crate::model::schedule::{Schedule, Timing};
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::model::workflow::Workflow;
use crate::rules::window::WindowRule;
use crate::store::schedules::ScheduleFilter;
use crate::store::{self, Env};
use crate::wire::cursor::Edge;
use crate::wire::json::Patch;

use super::staged::{Stage, Staged};
use super::trigger::{self, Request, keep, optional};
use super::{Change, Core, Error, OVERTAKEN};

/// The kind of job that runs an occurrence; its subject is the schedule's id.
pub const JOB: &str = "schedule";

/// Schedules that are made, changed or deleted in one call at most (W-SCH-05, W-SCH-30, W-SCH-33).
const MOST: usize = 100;
/// Rules of one schedule at most: each costs time whenever the next occurrence is looked for.
const MOST_REPEATS: usize = 100;

/// Adds the job that runs the next occurrence, if there is one.
pub fn add_occurrence(change: &mut Change, schedule: &Schedule) {
    if let Some(at) = schedule.next_occurrence_at {
        change.add_job(JOB, &schedule.id.to_string(), at);
    }
}

/// Adds that a schedule is planned anew where its recipient is now. It is written even if nothing changes: an occurrence
/// that is under way reads the zone again.
pub(super) fn move_to(change: &mut Change, mut schedule: Schedule, zone: &TimeZone, now: Time) {
    let before = schedule.next_occurrence_at;
    schedule.replan_in(now, zone);
    let is_elsewhere = schedule.next_occurrence_at != before;
    if is_elsewhere {
        change.batch.drop_occurrence(&schedule);
    }
    change.batch.update_schedule(&schedule, now);
    if is_elsewhere {
        add_occurrence(change, &schedule);
    }
}

/// Schedules to be made: one for each recipient, alike otherwise.
struct Wanted {
    workflow: Arc<Workflow>,
    request: Request,
    entries: Vec<(RecipientRef, Arc<TriggerData>)>,
    timing: Timing,
}

impl Wanted {
    /// Reads a body (W-SCH-01). The workflow comes first, as with a trigger (W-ERR-09).
    async fn parse(core: &Core, env: Env, body: Value) -> Result<Wanted, Error> {
        let workflow = body.get("workflow").and_then(Value::as_str).filter(|key| !key.is_empty());
        let Some(key) = workflow else {
            return Err(Invalid::new("workflow", "workflow is required: the key of a workflow, as a string").into());
        };
        let missing = || Error::WorkflowMissing(key.to_owned());
        core.catalog.environment(env).ok_or_else(missing)?;
        let workflow = core.catalog.find(&core.store, env, key).await?.ok_or_else(missing)?;
        let mut faults = Vec::new();
        let timing = keep(timing(&body), &mut faults);
        let request = keep(Request::parse_common(body, Some(MOST)), &mut faults);
        match (request, timing) {
            (Some(request), Some(timing)) => {
                let entries = trigger::entries(&request, core.catalog.trigger_bytes())?;
                Ok(Wanted { workflow, request, entries, timing })
            }
            _ => Err(Error::Invalid(faults)),
        }
    }

    /// The schedules, planned as of `staged`.
    async fn plan(&self, env: Env, now: Time, staged: &mut Staged<'_>) -> Result<Vec<Schedule>, Error> {
        let mut made = Vec::with_capacity(self.entries.len());
        for (recipient, data) in &self.entries {
            let zone = staged.rely_on_zone(recipient).await?;
            let mut schedule = Schedule {
                id: Uuid::new_v4(),
                env,
                rev: 0,
                workflow: self.workflow.key.clone(),
                recipient: recipient.clone(),
                actor: self.request.actor.as_ref().map(|actor| actor.reference.clone()),
                tenant: self.request.tenant.as_ref().map(|(id, _)| id.clone()),
                cancellation_key: self.request.cancellation_key.clone(),
                data: Arc::clone(data),
                timing: self.timing.clone(),
                last_occurrence_at: None,
                next_occurrence_at: None,
                inserted_at: now,
                updated_at: now,
            };
            schedule.plan(now, &zone);
            made.push(schedule);
        }
        Ok(made)
    }
}

/// Adds new schedules, with their first occurrences.
fn add(change: &mut Change, schedules: &[Schedule]) {
    for schedule in schedules {
        change.batch.add_schedule(schedule);
        add_occurrence(change, schedule);
    }
}

impl Stage for Wanted {
    /// Whoever is described is merged before anything is made (W-SCH-03).
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        let users: Vec<&str> = self.entries.iter().filter_map(|(reference, _)| reference.user_id()).collect();
        staged.preload(&users).await?;
        trigger::stage(&self.request, staged).await
    }
}

/// A change of schedules: what is absent stays, null clears (W-SCH-31, W-AMB-51).
struct Edit {
    ids: Vec<String>,
    /// Who is named, perhaps to be identified.
    request: Request,
    actor: Patch<RecipientRef>,
    tenant: Patch<String>,
    cancellation_key: Patch<String>,
    data: Patch<Arc<TriggerData>>,
    repeats: Patch<Vec<WindowRule>>,
    scheduled_at: Patch<Time>,
    ending_at: Patch<Time>,
}

impl Edit {
    fn parse(core: &Core, body: Map<String, Value>) -> Result<Edit, Error> {
        let mut faults = Vec::new();
        let ids = keep(ids(&body), &mut faults);
        let names: HashSet<String> = body.keys().cloned().collect();
        let body = Value::Object(body);
        let repeats = keep(optional(&body, "repeats", repeats), &mut faults).flatten();
        let scheduled_at = keep(instant(&body, "scheduled_at"), &mut faults).flatten();
        let ending_at = keep(instant(&body, "ending_at"), &mut faults).flatten();
        let has_data = body.get("data").is_some_and(|data| !data.is_null());
        let request = keep(Request::parse_common(body, None), &mut faults);
        let (Some(ids), Some(request), []) = (ids, request, &faults[..]) else {
            return Err(Error::Invalid(faults));
        };
        let bytes = request.data.text().len().saturating_mul(ids.len());
        if bytes > core.catalog.trigger_bytes() {
            let message = format!("the data of so many schedules are {bytes} bytes to store: change fewer in one call");
            return Err(Invalid::new("data", message).into());
        }
        Ok(Edit {
            ids,
            actor: patch(&names, "actor", request.actor.as_ref().map(|actor| actor.reference.clone())),
            tenant: patch(&names, "tenant", request.tenant.as_ref().map(|(id, _)| id.clone())),
            cancellation_key: patch(&names, "cancellation_key", request.cancellation_key.clone()),
            data: patch(&names, "data", has_data.then(|| Arc::clone(&request.data))),
            repeats: patch(&names, "repeats", repeats),
            scheduled_at: patch(&names, "scheduled_at", scheduled_at),
            ending_at: patch(&names, "ending_at", ending_at),
            request,
        })
    }

    /// The schedule with the change made, but for when it occurs next.
    fn apply(&self, schedule: &mut Schedule) {
        fn put<T: Clone>(patch: &Patch<T>, place: &mut Option<T>) {
            *place = patch.clone().over(place.take());
        }
        put(&self.actor, &mut schedule.actor);
        put(&self.tenant, &mut schedule.tenant);
        put(&self.cancellation_key, &mut schedule.cancellation_key);
        put(&self.scheduled_at, &mut schedule.timing.scheduled_at);
        put(&self.ending_at, &mut schedule.timing.ending_at);
        match &self.data {
            Patch::Absent => {}
            Patch::Null => schedule.data = Arc::new(TriggerData::new(Map::new())),
            Patch::Value(data) => schedule.data = Arc::clone(data),
        }
        match &self.repeats {
            Patch::Absent => {}
            Patch::Null => schedule.timing.repeats.clear(),
            Patch::Value(repeats) => schedule.timing.repeats.clone_from(repeats),
        }
    }
}

impl Stage for Edit {
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        trigger::stage(&self.request, staged).await
    }
}

impl Core {
    /// Makes a schedule for each recipient; answers them as resources (W-SCH-01, W-SCH-02).
    pub async fn create_schedules(&self, env: Env, body: Map<String, Value>) -> Result<Vec<Value>, Error> {
        let wanted = Wanted::parse(self, env, Value::Object(body)).await?;
        for _ in 0..OVERTAKEN {
            let (mut staged, _turn) = self.staged(env, None, &wanted).await?;
            let mut change = Change::new();
            let made = wanted.plan(env, self.clock.now(), &mut staged).await?;
            let shown = shown(&made, &mut staged, self.clock.now()).await?;
            staged.write(&mut change).await?;
            add(&mut change, &made);
            match self.commit(change).await {
                Ok(_) => return Ok(shown),
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Changes schedules, all alike; answers them as they are then (W-SCH-30).
    pub async fn update_schedules(&self, env: Env, body: Map<String, Value>) -> Result<Vec<Value>, Error> {
        let edit = Edit::parse(self, body)?;
        for _ in 0..OVERTAKEN {
            let mut schedules = self.schedules_named(env, &edit.ids).await?;
            let (mut staged, _turn) = self.staged(env, None, &edit).await?;
            let moved = self.change_all(&edit, &mut schedules, &mut staged).await?;
            let shown = shown(&schedules, &mut staged, self.clock.now()).await?;
            let mut change = Change::new();
            staged.write(&mut change).await?;
            for schedule in schedules.iter().filter(|schedule| moved.contains(&schedule.id)) {
                change.batch.drop_occurrence(schedule);
                add_occurrence(&mut change, schedule);
            }
            for schedule in in_order(&schedules) {
                change.batch.update_schedule(schedule, schedule.updated_at);
            }
            match self.commit(change).await {
                Ok(_) => return Ok(shown),
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Makes the change of each; the ids of those that are planned anew.
    async fn change_all(
        &self,
        edit: &Edit,
        schedules: &mut [Schedule],
        staged: &mut Staged<'_>,
    ) -> Result<HashSet<Uuid>, Error> {
        let now = self.clock.now();
        let mut planned = HashSet::new();
        for schedule in schedules {
            let before = schedule.timing.clone();
            edit.apply(schedule);
            if !schedule.timing.is_set() {
                return Err(never(Some(schedule.id)).into());
            }
            let is_moved = staged.take_over(schedule);
            if schedule.timing != before || is_moved {
                let zone = staged.rely_on_zone(&schedule.recipient).await?;
                schedule.replan(&before, now, &zone);
                if is_moved {
                    schedule.replan_in(now, &zone);
                }
                planned.insert(schedule.id);
            }
            schedule.updated_at = now;
        }
        Ok(planned)
    }

    /// Deletes schedules with what is to come of them; answers them as they were (W-SCH-24, W-SCH-33).
    pub async fn delete_schedules(&self, env: Env, body: &Map<String, Value>) -> Result<Vec<Value>, Error> {
        let ids = ids(body).map_err(Error::Invalid)?;
        for _ in 0..OVERTAKEN {
            let schedules = self.schedules_named(env, &ids).await?;
            let shown = shown(&schedules, &mut Staged::new(self, env), self.clock.now()).await?;
            let mut change = Change::new();
            for schedule in &schedules {
                change.batch.drop_occurrence(schedule);
            }
            for schedule in in_order(&schedules) {
                change.batch.delete_schedule(schedule);
            }
            match self.commit(change).await {
                Ok(_) => return Ok(shown),
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// A page of schedules, each with its resource.
    pub async fn list_schedules(
        &self,
        env: Env,
        filter: &ScheduleFilter,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<(Schedule, Value)>, Error> {
        let found = self.store.schedules(env, filter, at, limit).await?;
        let shown = shown(&found, &mut Staged::new(self, env), self.clock.now()).await?;
        Ok(found.into_iter().zip(shown).collect())
    }

    /// The schedules with these ids, in that order; all of them, or none.
    async fn schedules_named(&self, env: Env, ids: &[String]) -> Result<Vec<Schedule>, Error> {
        let found = self.store.schedules_by_ids(env, ids).await?;
        let mut by_id: HashMap<String, Schedule> = found.into_iter().map(|one| (one.id.to_string(), one)).collect();
        let take =
            |id: &String| by_id.remove(id).ok_or_else(|| Error::Missing(format!("There is no schedule `{id}`.")));
        ids.iter().map(take).collect()
    }
}

/// In one order, so that no two who change the same ones wait for each other.
fn in_order(schedules: &[Schedule]) -> Vec<&Schedule> {
    let mut in_order: Vec<&Schedule> = schedules.iter().collect();
    in_order.sort_by_key(|schedule| schedule.id);
    in_order
}

/// The resources of schedules, with the records of recipients and actors.
async fn shown(schedules: &[Schedule], staged: &mut Staged<'_>, now: Time) -> Result<Vec<Value>, store::Error> {
    let named = schedules.iter().flat_map(|schedule| [Some(&schedule.recipient), schedule.actor.as_ref()]).flatten();
    let users: HashSet<&str> = named.filter_map(RecipientRef::user_id).collect();
    staged.preload(&users.into_iter().collect::<Vec<_>>()).await?;
    let mut out = Vec::with_capacity(schedules.len());
    for schedule in schedules {
        let recipient = record(staged, &schedule.recipient, now).await?;
        let actor = match &schedule.actor {
            Some(actor) => Some(record(staged, actor, now).await?),
            None => None,
        };
        out.push(schedule.to_json(&recipient, actor.as_ref()));
    }
    Ok(out)
}

async fn record(staged: &mut Staged<'_>, reference: &RecipientRef, now: Time) -> Result<Value, store::Error> {
    Ok(staged.record(reference).await?.unwrap_or_else(|| missing(reference, now)))
}

/// The ids that are named, each once, in the order of the body.
fn ids(body: &Map<String, Value>) -> Result<Vec<String>, Vec<Invalid>> {
    let fault = |message: String| Err(vec![Invalid::new("schedule_ids", message)]);
    let Some(Value::Array(items)) = body.get("schedule_ids") else {
        return fault(format!("schedule_ids is required, as an array of 1 to {MOST} ids"));
    };
    if items.is_empty() || items.len() > MOST {
        return fault(format!("schedule_ids has {} entries; 1 to {MOST} are allowed", items.len()));
    }
    let mut seen = HashSet::new();
    let mut out = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        let Some(id) = item.as_str() else {
            return Err(vec![Invalid::new(format!("schedule_ids[{at}]"), "an id is a string")]);
        };
        // However it is spelled; what is no id at all names no schedule.
        let id = Uuid::try_parse(id).map_or_else(|_| id.to_owned(), |id| id.to_string());
        if seen.insert(id.clone()) {
            out.push(id);
        }
    }
    Ok(out)
}

fn patch<T>(names: &HashSet<String>, name: &str, value: Option<T>) -> Patch<T> {
    match value {
        Some(value) => Patch::Value(value),
        None if names.contains(name) => Patch::Null,
        None => Patch::Absent,
    }
}

/// Reads when a new schedule occurs (W-SCH-06 to W-SCH-10).
fn timing(body: &Value) -> Result<Timing, Vec<Invalid>> {
    let mut faults = Vec::new();
    let timing = Timing {
        repeats: keep(optional(body, "repeats", repeats), &mut faults).flatten().unwrap_or_default(),
        scheduled_at: keep(instant(body, "scheduled_at"), &mut faults).flatten(),
        ending_at: keep(instant(body, "ending_at"), &mut faults).flatten(),
    };
    if faults.is_empty() && !timing.is_set() {
        faults.push(never(None));
    }
    if faults.is_empty() { Ok(timing) } else { Err(faults) }
}

fn never(id: Option<Uuid>) -> Invalid {
    let whose = id.map(|id| format!("schedule `{id}` would never occur: ")).unwrap_or_default();
    Invalid::new(
        "scheduled_at",
        format!("{whose}send scheduled_at, for one occurrence, or repeats with at least one rule"),
    )
}

fn repeats(value: &Value) -> Result<Vec<WindowRule>, Vec<Invalid>> {
    let Value::Array(items) = value else {
        return Err(vec![Invalid::new("repeats", "repeats must be an array of rules")]);
    };
    if items.len() > MOST_REPEATS {
        let message = format!("repeats has {} rules; at most {MOST_REPEATS} are allowed", items.len());
        return Err(vec![Invalid::new("repeats", message)]);
    }
    let mut faults = Vec::new();
    let read = |(at, item)| keep(WindowRule::parse(item, &join("", &format!("repeats[{at}]"))), &mut faults);
    let rules: Vec<WindowRule> = items.iter().enumerate().filter_map(read).collect();
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

fn instant(body: &Value, name: &str) -> Result<Option<Time>, Vec<Invalid>> {
    optional(body, name, |value| {
        let at = value.as_str().and_then(Time::parse);
        at.ok_or_else(|| vec![Invalid::new(name, format!("{name} must be an ISO-8601 time: `2026-09-01T00:00:00Z`"))])
    })
}
