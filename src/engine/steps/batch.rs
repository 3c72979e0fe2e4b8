//! Gathers runs of a recipient, and goes on with what has come together.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use crate::engine::run::{Ended, Stretch};
use crate::model::ids::Ksuid;
use crate::model::recipient::RecipientRef;
use crate::model::run::{CarriedBatch, ClosedBatch, EventStatus};
use crate::model::time::Time;
use crate::model::trigger_data::{ATTACHMENTS, TriggerData};
use crate::model::workflow::Step;
use crate::model::workflow::batch::{BatchStep, LONGEST, Shown};
use crate::model::workflow::digest::Counting;
use crate::rules::batch::{merged, slid};
use crate::rules::group_key::GroupKey;
use crate::sign::api_key::digest;
use crate::store::batches::{Gathered, Gathering, NewActivity, OpenBatch};
use crate::store::jobs::Line;

/// The longest key that is kept as it is, in bytes; of a longer one the digest tells it from others as well.
const LONGEST_KEY: usize = 256;

/// Opens a batch, joins one, or goes on with what has come together in one (W-BAT-01 to W-BAT-03).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, batch: &BatchStep, on: Ended) -> Ended {
    if stretch.run.state.is_waiting {
        return close(stretch, step, batch, on);
    }
    let gathering = gathering(stretch, step, batch);
    let now = stretch.scene.now;
    match stretch.open_batch(&gathering).filter(|open| open.closes_at > now) {
        Some(open) => join(stretch, step, batch, &gathering.key, open),
        None => begin(stretch, step, batch, gathering, on),
    }
}

/// What the run is gathered with (W-BAT-04 to W-BAT-11).
fn gathering(stretch: &mut Stretch<'_>, step: &Step, batch: &BatchStep) -> Gathering {
    let identity = match batch.follows_latest {
        true => format!("step:{}", step.reference),
        false => format!("version:{}", stretch.run.version_id),
    };
    gathered_by(stretch, step, identity, batch.key.as_ref())
}

/// What the run is gathered with, of those with this `identity`.
pub(super) fn gathered_by(
    stretch: &mut Stretch<'_>,
    step: &Step,
    identity: String,
    by: Option<&GroupKey>,
) -> Gathering {
    let (recipient, workflow) = (stretch.run.recipient.key(), stretch.run.workflow.clone());
    Gathering { recipient, workflow, identity, key: key(stretch, step, by) }
}

/// What runs are gathered by; empty where the step says nothing of it.
fn key(stretch: &mut Stretch<'_>, step: &Step, key: Option<&GroupKey>) -> String {
    let Some(key) = key else { return String::new() };
    let resolved = {
        let scope = stretch.condition_scope();
        key.resolve(&scope, &stretch.env(&scope))
    };
    // W-AMB-25: nothing is lost for want of a key, and the record says that there was none.
    let (status, said) = match resolved {
        Ok(Some(key)) if key.len() > LONGEST_KEY => return digest(&key),
        Ok(Some(key)) => return key,
        Ok(None) => (EventStatus::Ok, format!("`{}_key` resolves to nothing", step.type_name())),
        Err(fault) => (EventStatus::Error, fault),
    };
    let event = format!("{}_key_empty", step.type_name());
    stretch.record(step, status, &event, json!({"warning": said}));
    String::new()
}

/// Opens a batch. The run pauses as its first activity, or goes on at once and is none of it (W-BAT-41).
fn begin(stretch: &mut Stretch<'_>, step: &Step, batch: &BatchStep, gathering: Gathering, on: Ended) -> Ended {
    let (env, now, zone) = (stretch.run.env, stretch.scene.now, stretch.zone());
    let closes_at = match batch.window.resolve(&stretch.condition_scope(), now, &zone, LONGEST) {
        Ok(closes_at) => closes_at,
        Err(fault) => {
            stretch.skip(step, EventStatus::Error, "invalid_batch_window", Some(json!({"error": fault})));
            return on;
        }
    };
    let open = OpenBatch {
        id: new_id(stretch, step),
        is_carried: !batch.flushes_leading,
        closes_at,
        cap_at: cap(batch, now, &zone),
        items_max: batch.items_max,
    };
    let first = open.is_carried.then(|| activity(stretch, &open.id));
    stretch.change.batch.open_batch(env, &gathering, &open, first.as_ref(), now);
    let record = json!({"batch_id": open.id, "key": gathering.key, "window_closes_at": closes_at,
        "timezone": zone.iana_name().unwrap_or("UTC"), "leading": batch.flushes_leading});
    stretch.record(step, EventStatus::Ok, "batch_opened", record);
    if batch.flushes_leading {
        stretch.opened.push((gathering, open));
        return on;
    }
    stretch.run.state.batch = Some(CarriedBatch { id: open.id, closed: None, digest: None });
    Ended::Pause(closes_at)
}

/// The id of the batch that the run opens at a step.
pub(super) fn new_id(stretch: &Stretch<'_>, step: &Step) -> String {
    let seed: [&[u8]; 3] = [b"batch", stretch.run.id.as_bytes(), step.reference.as_bytes()];
    Ksuid::mint(stretch.scene.now, &seed).to_string()
}

/// When a window that is opened now closes at the latest, however often it slides (W-BAT-19, W-AMB-27).
fn cap(batch: &BatchStep, now: Time, zone: &TimeZone) -> Time {
    let limit = batch.extension_limit.and_then(|limit| limit.after(now, zone));
    limit.unwrap_or_else(|| now.plus_seconds(LONGEST.seconds))
}

/// Joins an open batch. The run is over, unless it is the first that comes to a batch whose opener went ahead
/// (W-BAT-02, W-BAT-42).
fn join(stretch: &mut Stretch<'_>, step: &Step, batch: &BatchStep, key: &str, open: OpenBatch) -> Ended {
    let (now, zone) = (stretch.scene.now, stretch.zone());
    let mut record = json!({"batch_id": open.id, "key": key});
    let mut closes_at = None;
    if batch.is_sliding {
        match batch.window.resolve(&stretch.condition_scope(), now, &zone, LONGEST) {
            Ok(resolved) => closes_at = Some(slid(resolved, open.cap_at, now)),
            // W-AMB-27: the window stays as it is.
            Err(fault) => record["window_error"] = fault.into(),
        }
    }
    if let Some(closes_at) = closes_at {
        record["window_closes_at"] = json!(closes_at);
        stretch.change.wake(Line::Own, closes_at);
    }
    if open.items_max.is_some() {
        // It may be the last that the batch waits for: only the database knows.
        stretch.change.wake(Line::Own, now);
    }
    let activity = activity(stretch, &open.id);
    stretch.change.batch.join_batch(&activity, !open.is_carried, closes_at);
    stretch.record(step, EventStatus::Ok, "batched", record);
    if open.is_carried {
        stretch.halt(EventStatus::Ok, "batched", None);
        return Ended::Over;
    }
    stretch.run.state.batch = Some(CarriedBatch { id: open.id, closed: None, digest: None });
    Ended::Pause(closes_at.unwrap_or(open.closes_at))
}

/// What the run brings, as its data is now (W-AMB-64).
pub(super) fn activity(stretch: &Stretch<'_>, batch: &str) -> NewActivity {
    let run = &stretch.run;
    NewActivity {
        env: run.env,
        batch: batch.to_owned(),
        workflow: run.workflow.clone(),
        run: run.id.to_string(),
        cancellation_key: run.cancellation_key.clone(),
        actor: run.actor.as_ref().map(RecipientRef::key),
        data: Arc::clone(&run.data.carried().data),
        told: None,
        now: stretch.scene.now,
    }
}

/// Goes on with what has come together, unless the window has been extended meanwhile.
fn close(stretch: &mut Stretch<'_>, step: &Step, batch: &BatchStep, on: Ended) -> Ended {
    let now = stretch.scene.now;
    let carried = stretch.run.state.batch.as_ref().map(|carried| carried.id.clone()).unwrap_or_default();
    let Some(gathered) = stretch.scene.facts.gathered(&carried, batch.shown, Counting::All) else {
        stretch.halt(EventStatus::Error, "batch_gone", None);
        return Ended::Over;
    };
    if gathered.is_open && gathered.closes_at > now {
        // Whoever moves its end from here on finds the next job, or is found by it.
        stretch.change.batch.require_batch(&carried, gathered.rev);
        return Ended::Pause(gathered.closes_at);
    }
    stretch.change.batch.close_batch(&carried, gathered.rev);
    let Gathered { total_activities, total_actors, .. } = *gathered;
    let record = json!({"batch_id": carried, "total_activities": total_activities, "total_actors": total_actors});
    stretch.record(step, EventStatus::Ok, "batch_closed", record);
    closed(stretch, carried, &gathered, batch.shown);
    if total_activities == 0 {
        // W-BAT-38: there is nothing to tell of.
        stretch.halt(EventStatus::Ok, "batch_empty", None);
        return Ended::Over;
    }
    go_on(stretch, &gathered);
    on
}

/// Notes that the run has closed a batch.
pub(super) fn closed(stretch: &mut Stretch<'_>, id: String, gathered: &Gathered, shown: Shown) {
    let Gathered { total_activities, total_actors, .. } = *gathered;
    let closed = ClosedBatch { total_activities, total_actors, shown };
    stretch.run.state.batch = Some(CarriedBatch { id, closed: Some(closed), digest: None });
}

/// Goes on with the data of what has come together.
pub(super) fn go_on(stretch: &mut Stretch<'_>, gathered: &Gathered) {
    let data = together(stretch, gathered);
    stretch.go_on_with(data);
}

/// The data of the activities that are shown, and the files of the one that opened the batch (W-BAT-50).
fn together(stretch: &Stretch<'_>, gathered: &Gathered) -> TriggerData {
    let mut data: Map<String, Value> = merged(gathered.activities.iter().map(|activity| &activity.data));
    let files = stretch.data().and_then(|own| own.get(ATTACHMENTS)).filter(|_| gathered.has_own);
    data.extend(files.map(|files| (ATTACHMENTS.to_owned(), files.clone())));
    TriggerData::new(data)
}
