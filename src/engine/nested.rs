//! Workflows that steps of other workflows trigger: left in the run's transaction, and done by a worker.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tracing::{debug, warn};
use uuid::Uuid;

use super::start::{TRIES, start};
use crate::model::recipient::RecipientRef;
use crate::model::run::{EventStatus, SourceType};
use crate::model::time::Time;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::{self, Batch, Env};
use crate::verbs::trigger::Cause;
use crate::verbs::turns::Turn;
use crate::verbs::{Change, Core, Error};

/// The kind of job that triggers a workflow. Its subject is the id of the workflow run.
pub const JOB: &str = "trigger";

/// The place of a job's end in its batch: the first.
const FINISHED: usize = 0;

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
    let workflow_run = job.subject.parse().map_err(|_| Failure("the job's subject is no id".to_owned()))?;
    for attempt in 0..TRIES {
        let mut change = Change::new();
        change.batch.finish_job(job);
        let _turn = match trigger(core, &nested, workflow_run, attempt > 0, &mut change).await {
            Ok(turn) => Some(turn),
            Err(Error::Store(error)) => return Err(error.into()),
            Err(refusal) => {
                warn!(workflow.key = %nested.workflow, workflow_run.id = %workflow_run, run.id = %nested.parent,
                    "a step of run `{}` triggered `{}`, which came to nothing", nested.parent, nested.workflow);
                change = Change::new();
                change.batch.finish_job(job);
                blame(core, &nested, workflow_run, &refusal.to_string(), &mut change.batch).await?;
                None
            }
        };
        match core.commit(change).await {
            Ok(_) | Err(store::Error::Refused(FINISHED)) => {
                debug!(workflow.key = %nested.workflow, workflow_run.id = %workflow_run, "triggered by a step");
                return Ok(());
            }
            // Somebody in it has changed meanwhile: look again.
            Err(store::Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure("other changes of the recipients kept coming in between".to_owned()))
}

/// Adds what the trigger comes to; the turn is to be held until the commit. Whoever has been overtaken waits for one in any
/// case, as other triggers do.
async fn trigger<'c>(
    core: &'c Core,
    nested: &Nested,
    workflow_run: Uuid,
    in_turn: bool,
    change: &mut Change,
) -> Result<Turn<'c>, Error> {
    let order = core.order(nested.env, &nested.workflow, nested.body.clone()).await?;
    let sure: Vec<String> = order.recipients().filter(|_| in_turn).map(RecipientRef::key).collect();
    let (staged, turn) = core.staged(nested.env, sure, &order).await?;
    order.check_data()?;
    let cause = Cause { source: SourceType::WorkflowStep, depth: nested.depth, workflow_run };
    start(core, &order, cause, staged, change).await?;
    Ok(turn)
}

/// Adds to the record of the run that asked for a trigger why it came to nothing.
async fn blame(
    core: &Core,
    nested: &Nested,
    workflow_run: Uuid,
    error: &str,
    batch: &mut Batch,
) -> Result<(), store::Error> {
    let Some(mut run) = core.store.run(&nested.parent.to_string()).await? else { return Ok(()) };
    let now = core.clock.now();
    let data = json!({"workflow": nested.workflow, "workflow_run_id": workflow_run, "error": error});
    run.record(now, EventStatus::Error, "trigger_failed", None, Some(data));
    batch.update_run(&run, now);
    Ok(())
}

/// Adds what is said of a trigger that is given up.
pub(super) async fn abandon(core: &Core, job: &Job, why: &str, batch: &mut Batch) -> Result<(), Failure> {
    if let Ok(nested) = Nested::of(job) {
        let workflow_run = job.subject.parse().unwrap_or_default();
        blame(core, &nested, workflow_run, why, batch).await?;
    }
    Ok(())
}
