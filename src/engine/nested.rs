//! Workflows that runs of other workflows trigger: left in the run's transaction, and done by a worker.

use serde_json::json;
use tracing::{debug, warn};

use super::start::{Ordered, TRIES, start_for, workflow_run};
use super::work::is_ended;
use crate::model::run::{EventStatus, SourceType};
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::{self, Batch};
use crate::verbs::nested::Nested;
use crate::verbs::trigger::Cause;
use crate::verbs::{Change, Core, Error};

/// What a job is about.
fn asked(job: &Job) -> Result<Nested, Failure> {
    let spec = job.progress.as_deref().unwrap_or_default();
    serde_json::from_str(spec).map_err(|error| Failure(format!("what is to be triggered cannot be read: {error}")))
}

/// Triggers the workflow as it is now, once (W-ENV-12). What nobody can do is said on the run that asked for it.
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let nested = asked(job)?;
    let workflow_run = workflow_run(job)?;
    let cause = Cause { source: SourceType::WorkflowStep, depth: nested.depth, workflow_run };
    let (workflow, body) = (nested.workflow.as_str(), nested.body.clone());
    let ordered = Ordered { env: nested.env, workflow, body, cause, joined: None, cap: nested.cap.clone() };
    match start_for(core, job, &ordered).await {
        Ok(()) => {
            debug!(workflow.key = %nested.workflow, workflow_run.id = %workflow_run, "triggered by a run");
            Ok(())
        }
        Err(Error::Store(error)) => Err(error.into()),
        Err(refusal) => {
            warn!(workflow.key = %nested.workflow, workflow_run.id = %workflow_run, run.id = %nested.parent,
                "run `{}` triggered `{}`, which came to nothing", nested.parent, nested.workflow);
            come_to_nothing(core, job, &nested, &refusal.to_string()).await
        }
    }
}

/// Ends the job, and says why on the run that asked.
async fn come_to_nothing(core: &Core, job: &Job, nested: &Nested, why: &str) -> Result<(), Failure> {
    for _ in 0..TRIES {
        let mut change = Change::new();
        change.batch.finish_job(job);
        blame(core, job, nested, why, &mut change.batch).await?;
        if is_ended(core, change).await? {
            return Ok(());
        }
    }
    Err(Failure("other changes of the run kept coming in between".to_owned()))
}

/// Adds to the record of the run that asked for a trigger why it came to nothing.
async fn blame(core: &Core, job: &Job, nested: &Nested, error: &str, batch: &mut Batch) -> Result<(), store::Error> {
    let Some(mut run) = core.store.run(&nested.parent.to_string()).await? else { return Ok(()) };
    let now = core.clock.now();
    let data = json!({"workflow": nested.workflow, "workflow_run_id": job.subject, "error": error});
    run.record(now, EventStatus::Error, "trigger_failed", None, Some(data));
    batch.update_run(&run, now);
    Ok(())
}

/// Adds what is said of a trigger that is given up.
pub(super) async fn abandon(core: &Core, job: &Job, why: &str, batch: &mut Batch) -> Result<(), Failure> {
    if let Ok(nested) = asked(job) {
        blame(core, job, &nested, why, batch).await?;
    }
    Ok(())
}
