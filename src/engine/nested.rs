//! Workflows that steps of other workflows trigger: left in the run's transaction, and done by a worker.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{debug, warn};
use uuid::Uuid;

use super::start::{Ordered, TRIES, start_for, workflow_run};
use super::work::is_ended;
use crate::model::run::{EventStatus, SourceType};
use crate::model::time::Time;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::{self, Batch, Env};
use crate::verbs::trigger::Cause;
use crate::verbs::{Change, Core, Error};

/// The kind of job that triggers a workflow. Its subject is the id of the workflow run.
pub const JOB: &str = "trigger";

/// A trigger that a step has asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Nested {
    pub(super) env: Env,
    pub(super) workflow: String,
    /// As the API takes it.
    pub(super) body: Value,
    /// How many workflows have triggered each other to come here.
    pub(super) depth: u32,
    /// The run whose step has asked.
    pub(super) parent: Uuid,
}

impl Nested {
    /// Leaves the trigger to a worker.
    pub(super) fn leave(&self, change: &mut Change, workflow_run: Uuid, now: Time) {
        change.add_long_job(JOB, &workflow_run.to_string(), &json!(self), now);
    }

    /// What a job is about.
    fn of(job: &Job) -> Result<Nested, Failure> {
        let spec = job.progress.as_deref().unwrap_or_default();
        serde_json::from_str(spec).map_err(|error| Failure(format!("what is to be triggered cannot be read: {error}")))
    }
}

/// Triggers the workflow as it is now, once (W-ENV-12). What nobody can do is said on the run that asked for it.
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let nested = Nested::of(job)?;
    let workflow_run = workflow_run(job)?;
    let cause = Cause { source: SourceType::WorkflowStep, depth: nested.depth, workflow_run };
    let (workflow, body) = (nested.workflow.as_str(), nested.body.clone());
    match start_for(core, job, &Ordered { env: nested.env, workflow, body, cause, joined: None }).await {
        Ok(()) => {
            debug!(workflow.key = %nested.workflow, workflow_run.id = %workflow_run, "triggered by a step");
            Ok(())
        }
        Err(Error::Store(error)) => Err(error.into()),
        Err(refusal) => {
            warn!(workflow.key = %nested.workflow, workflow_run.id = %workflow_run, run.id = %nested.parent,
                "a step of run `{}` triggered `{}`, which came to nothing", nested.parent, nested.workflow);
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
    if let Ok(nested) = Nested::of(job) {
        blame(core, job, &nested, why, batch).await?;
    }
    Ok(())
}
