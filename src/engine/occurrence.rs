//! Occurrences of schedules: each is run once, in the transaction that plans the next.

use std::sync::Arc;

use jiff::tz::TimeZone;
use tracing::{debug, info, warn};

use super::start::start;
use super::work::is_ended;
use crate::model::ids::workflow_run_id;
use crate::model::run::SourceType;
use crate::model::schedule::Schedule;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::{self, Batch};
use crate::verbs::staged::Staged;
use crate::verbs::trigger::{Cause, Order};
use crate::verbs::{Change, Core, Error, OVERTAKEN, schedule};

/// Runs what is due of a schedule, and plans what comes next.
pub(super) async fn occur(core: &Core, job: &Job) -> Result<(), Failure> {
    for _ in 0..OVERTAKEN {
        let mut change = Change::new();
        change.batch.finish_job(job);
        if let Some(schedule) = core.store.schedule(&job.subject).await? {
            take_place(core, schedule, &mut change).await?;
        }
        // If not, the schedule or its recipient has changed meanwhile: look again.
        if is_ended(core, change).await? {
            return Ok(());
        }
    }
    Err(Failure("other changes of the schedule kept coming in between".to_owned()))
}

async fn take_place(core: &Core, mut schedule: Schedule, change: &mut Change) -> Result<(), Failure> {
    let (id, key) = (schedule.id, schedule.workflow.clone());
    let Some(workflow) = core.catalog.find(&core.store, schedule.env, &key).await? else {
        // W-AMB-50: nothing brings it back.
        warn!(schedule.id = %id, workflow.key = %key, "stopped schedule `{id}`: there is no workflow `{key}` any more");
        schedule.next_occurrence_at = None;
        change.batch.update_schedule(&schedule, core.clock.now());
        return Ok(());
    };
    let Some(environment) = core.catalog.environment(schedule.env) else {
        return Err(Failure("the schedule's environment is not configured any more".to_owned()));
    };
    let mut staged = Staged::new(core, schedule.env);
    let zone = staged.zone(&schedule.recipient).await?;
    let now = core.clock.now();
    match schedule.advance(now, &zone) {
        Some(at) if core.catalog.is_active(schedule.env, &key) => {
            schedule.last_occurrence_at = Some(at);
            let occurrence = schedule.occurrence(at);
            let order = Order::scheduled(Arc::clone(environment), workflow, &schedule, occurrence);
            // The same for an occurrence however often it is tried.
            let workflow_run = workflow_run_id(at, &[id.as_bytes()]);
            start(core, &order, Cause::first(SourceType::Schedule, workflow_run), staged, change)
                .await
                .map_err(failure)?;
            debug!(schedule.id = %id, workflow_run.id = %workflow_run, "ran an occurrence of schedule `{id}`");
        }
        // W-SCH-26: it goes on with the next.
        Some(at) => {
            info!(schedule.id = %id, workflow.key = %key, occurrence_at = %at, "passed over an occurrence of schedule `{id}`: workflow `{key}` is switched off");
        }
        None => {}
    }
    change.batch.update_schedule(&schedule, now);
    schedule::add_occurrence(change, &schedule);
    Ok(())
}

/// Gives up an occurrence that has failed too often; the next is planned all the same.
pub(super) async fn abandon(core: &Core, job: &Job, batch: &mut Batch) -> Result<(), Failure> {
    let schedule = match core.store.schedule(&job.subject).await {
        // A row that cannot be read cannot be written either: the log has the reason.
        Err(store::Error::Damaged(_)) => None,
        other => other?,
    };
    if let Some(mut schedule) = schedule {
        let now = core.clock.now();
        let zone = Staged::new(core, schedule.env).zone(&schedule.recipient).await.unwrap_or(TimeZone::UTC);
        schedule.advance(now, &zone);
        batch.update_schedule(&schedule, now);
        if let Some(at) = schedule.next_occurrence_at {
            batch.add_job(schedule::JOB, &schedule.id.to_string(), at);
        }
    }
    Ok(())
}

fn failure(error: Error) -> Failure {
    Failure(error.to_string())
}
