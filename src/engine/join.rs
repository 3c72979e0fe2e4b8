//! Runs a workflow for somebody who has joined an audience.

use serde_json::json;
use tracing::{debug, info, warn};

use super::start::{Ordered, start_for, workflow_run};
use super::work::is_ended;
use crate::model::run::SourceType;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::verbs::audience::Join;
use crate::verbs::trigger::{Cause, LONGEST_CHAIN};
use crate::verbs::{Change, Core, Error};

/// Starts the run, in the same transaction in which the job ends (W-AUD-01). What nobody can do is said in the log: whoever
/// has made somebody join is answered.
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let read = job.progress.as_deref().and_then(|text| serde_json::from_str::<Join>(text).ok());
    let join = read.ok_or_else(|| Failure(format!("job {} does not say who has joined what", job.id)))?;
    let workflow_run = workflow_run(job)?;
    let (key, audience) = (join.workflow.as_str(), join.audience.as_str());
    if join.depth > LONGEST_CHAIN {
        warn!(
            workflow.key = key,
            audience.key = audience,
            "workflow `{key}` does not run for whoever has joined `{audience}`: {LONGEST_CHAIN} workflows in a row have led there"
        );
        return end(core, job).await;
    }
    let body = json!({"recipients": [join.user], "tenant": join.tenant});
    let cause = Cause { source: SourceType::Audience, depth: join.depth, workflow_run };
    let ordered = Ordered { env: join.env, workflow: key, body, cause, joined: Some(audience), cap: None };
    match start_for(core, job, &ordered).await {
        Ok(()) => {
            debug!(workflow.key = key, audience.key = audience, workflow_run.id = %workflow_run, "worked on a join");
            Ok(())
        }
        Err(Error::Store(error)) => Err(error.into()),
        // W-ENV-06, W-ENV-11.
        Err(refusal @ (Error::WorkflowMissing(_) | Error::WorkflowInactive(_))) => {
            info!(workflow.key = key, audience.key = audience, reason = %refusal, "nothing runs for whoever has joined `{audience}`");
            end(core, job).await
        }
        // Faults name places and what is allowed there, and no values.
        Err(refusal) => {
            warn!(workflow.key = key, audience.key = audience, workflow_run.id = %workflow_run, reason = %refusal,
                "nothing can run for whoever has joined `{audience}`");
            end(core, job).await
        }
    }
}

async fn end(core: &Core, job: &Job) -> Result<(), Failure> {
    let mut change = Change::new();
    change.batch.finish_job(job);
    is_ended(core, change).await?;
    Ok(())
}
