//! Gathers runs of a recipient until a time of the calendar, and goes on with what has come together; our own.
//!
//! It is a batch that nobody but the run that carries it on ever closes, unless it is full: that run wakes at each time of
//! the calendar, and whenever when that is may have changed.

use serde_json::json;

use super::batch;
use crate::engine::run::{Ended, Stretch};
use crate::model::run::{CarriedBatch, EventStatus, OpenDigest};
use crate::model::time::Time;
use crate::model::workflow::batch::LONGEST;
use crate::model::workflow::{DigestStep, Step};
use crate::store::batches::{Gathered, Gathering, NewActivity, OpenBatch};
use crate::store::jobs::Line;

/// Opens a digest, joins one, or looks at the one that the run carries on.
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, digest: &DigestStep, on: Ended) -> Ended {
    if stretch.run.state.is_waiting {
        return look(stretch, step, digest, on);
    }
    let gathering = gathering(stretch, step, digest);
    let now = stretch.scene.now;
    match stretch.open_batch(&gathering).filter(|open| open.closes_at > now) {
        Some(open) => join(stretch, step, digest, &gathering.key, open),
        None => begin(stretch, step, digest, &gathering),
    }
}

fn gathering(stretch: &mut Stretch<'_>, step: &Step, digest: &DigestStep) -> Gathering {
    let identity = match digest.follows_latest {
        true => format!("digest:{}", step.reference),
        false => format!("digest:{}:{}", stretch.run.version_id, step.reference),
    };
    batch::gathered_by(stretch, step, identity, digest.key.as_ref())
}

fn begin(stretch: &mut Stretch<'_>, step: &Step, digest: &DigestStep, gathering: &Gathering) -> Ended {
    let (env, now) = (stretch.run.env, stretch.scene.now);
    let end = now.plus_seconds(LONGEST.seconds);
    let open = OpenBatch {
        id: batch::new_id(stretch, step),
        is_carried: true,
        closes_at: end,
        cap_at: end,
        items_max: digest.items_max,
    };
    let until = next(stretch, digest, now, end);
    // From here on whoever changes it finds the digest.
    stretch.relies_on_zone = true;
    let first = activity(stretch, &open.id);
    stretch.change.batch.open_batch(env, gathering, &open, Some(&first), now);
    let record = json!({"batch_id": open.id, "key": gathering.key, "closes_at": until, "timezone": zone_name(stretch)});
    stretch.record(step, EventStatus::Ok, "digest_opened", record);
    wait(stretch, open.id, OpenDigest { since: now, until, held: 0 })
}

/// Joins an open digest. The run is over.
fn join(stretch: &mut Stretch<'_>, step: &Step, digest: &DigestStep, key: &str, open: OpenBatch) -> Ended {
    let now = stretch.scene.now;
    let until = next(stretch, digest, now, open.closes_at);
    let activity = activity(stretch, &open.id);
    stretch.change.batch.join_batch(&activity, false, None);
    // In a newer version it may close sooner.
    stretch.change.batch.bring_forward(&open.id, until);
    stretch.change.wake(Line::Own, if open.items_max.is_some() { now } else { until });
    stretch.record(step, EventStatus::Ok, "digested", json!({"batch_id": open.id, "key": key, "closes_at": until}));
    stretch.halt(EventStatus::Ok, "digested", None);
    Ended::Over
}

/// What the run brings, and what has told the recipient of it before.
fn activity(stretch: &Stretch<'_>, id: &str) -> NewActivity {
    let made: Vec<&String> = stretch.run.state.messages.values().flatten().collect();
    let told = (!made.is_empty()).then(|| json!(made).to_string());
    NewActivity { told, ..batch::activity(stretch, id) }
}

/// Closes the digest if its time has come and there is enough to tell of.
fn look(stretch: &mut Stretch<'_>, step: &Step, digest: &DigestStep, on: Ended) -> Ended {
    let now = stretch.scene.now;
    let carried = stretch.run.state.batch.clone();
    let Some((id, open)) = carried.and_then(|carried| Some((carried.id, carried.digest?))) else {
        stretch.halt(EventStatus::Error, "digest_gone", None);
        return Ended::Over;
    };
    let Some(gathered) = stretch.scene.facts.gathered(&id, digest.shown, digest.counted) else {
        stretch.halt(EventStatus::Error, "digest_gone", None);
        return Ended::Over;
    };
    // Full, or as old as one may become.
    let is_over = !gathered.is_open || gathered.closes_at <= now;
    let until = next(stretch, digest, open.since, gathered.closes_at);
    if !is_over && until > now {
        return put_off(stretch, step, &gathered, id, open, until);
    }
    let is_few = gathered.total_activities < digest.items_min;
    if gathered.total_activities > 0 && is_few && !is_over && digest.hold_limit.is_none_or(|most| open.held < most) {
        let until = next(stretch, digest, now, gathered.closes_at);
        return hold(stretch, step, digest, &gathered, id, OpenDigest { since: now, until, held: open.held + 1 });
    }
    close(stretch, step, digest, &gathered, id);
    if gathered.total_activities == 0 {
        stretch.halt(EventStatus::Ok, "digest_empty", None);
        return Ended::Over;
    }
    let all = gathered.total_activities + gathered.dealt_with.len() as i64;
    let is_full = digest.items_max.is_some_and(|most| all >= most);
    if is_few && digest.drops_few && !is_full {
        stretch.halt(EventStatus::Ok, "digest_dropped", None);
        return Ended::Over;
    }
    batch::go_on(stretch, &gathered);
    on
}

/// Waits on: it is not the time now, by the recipient's clocks or by newer rules.
fn put_off(
    stretch: &mut Stretch<'_>,
    step: &Step,
    gathered: &Gathered,
    id: String,
    open: OpenDigest,
    until: Time,
) -> Ended {
    // Whoever changes anything from here on finds the next job, or is found by it.
    stretch.change.batch.require_batch(&id, gathered.rev);
    if until != open.until {
        let record = json!({"batch_id": id, "closes_at": until, "timezone": zone_name(stretch)});
        stretch.record(step, EventStatus::Ok, "digest_moved", record);
    }
    wait(stretch, id, OpenDigest { until, ..open })
}

/// Stays open for want of activities.
fn hold(
    stretch: &mut Stretch<'_>,
    step: &Step,
    digest: &DigestStep,
    gathered: &Gathered,
    id: String,
    open: OpenDigest,
) -> Ended {
    stretch.change.batch.require_batch(&id, gathered.rev);
    let record = json!({"batch_id": id, "total_activities": gathered.total_activities, "dealt_with": gathered.dealt_with.len(),
        "minimum": digest.items_min, "held": open.held, "closes_at": open.until, "timezone": zone_name(stretch)});
    stretch.record(step, EventStatus::Ok, "digest_held", record);
    wait(stretch, id, open)
}

fn close(stretch: &mut Stretch<'_>, step: &Step, digest: &DigestStep, gathered: &Gathered, id: String) {
    stretch.change.batch.close_batch(&id, gathered.rev);
    if !gathered.dealt_with.is_empty() {
        stretch.change.batch.leave_out(&id, &gathered.dealt_with);
    }
    stretch.counted = digest.counted;
    let record = json!({"batch_id": id, "total_activities": gathered.total_activities,
        "total_actors": gathered.total_actors, "dealt_with": gathered.dealt_with.len()});
    stretch.record(step, EventStatus::Ok, "digest_closed", record);
    batch::closed(stretch, id, gathered, digest.shown);
}

fn wait(stretch: &mut Stretch<'_>, id: String, open: OpenDigest) -> Ended {
    stretch.run.state.batch = Some(CarriedBatch { id, closed: None, digest: Some(open) });
    Ended::Pause(open.until)
}

/// The first time after `after` at which it may close on the recipient's clocks; `end` at the latest.
fn next(stretch: &Stretch<'_>, digest: &DigestStep, after: Time, end: Time) -> Time {
    digest.next_after(after, &stretch.zone()).map_or(end, |at| at.min(end))
}

fn zone_name(stretch: &Stretch<'_>) -> String {
    stretch.zone().iana_name().unwrap_or("UTC").to_owned()
}
