//! Runs a workflow for somebody who has joined an audience.

use serde_json::json;
use tracing::{info, warn};
use uuid::Uuid;

use super::start::start;
use super::work::FINISHED;
use crate::model::run::{Joined, SourceType};
use crate::queue::Failure;
use crate::store;
use crate::store::jobs::Job;
use crate::verbs::audience::Join;
use crate::verbs::{Change, Core, Error, OVERTAKEN};

/// Joins that lead to each other: workflows that move somebody to and fro between audiences would else never end.
const DEEPEST: u32 = 10;

/// Starts the run, in the same transaction in which the job ends.
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let read = job.progress.as_deref().and_then(|text| serde_json::from_str::<Join>(text).ok());
    let join = read.ok_or_else(|| Failure(format!("job {} does not say who has joined what", job.id)))?;
    for _ in 0..OVERTAKEN {
        let mut change = Change::new();
        change.batch.finish_job(job);
        begin(core, &join, &mut change).await?;
        match core.commit(change).await {
            Ok(_) | Err(store::Error::Refused(FINISHED)) => return Ok(()),
            Err(store::Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure("other changes of whoever has joined kept coming in between".to_owned()))
}

async fn begin(core: &Core, join: &Join, change: &mut Change) -> Result<(), Failure> {
    let (workflow, audience) = (join.workflow.as_str(), join.audience.as_str());
    if join.depth > DEEPEST {
        warn!(
            workflow.key = workflow,
            audience.key = audience,
            "workflow `{workflow}` does not run for whoever has joined `{audience}`: {DEEPEST} joins have led to this one"
        );
        return Ok(());
    }
    let body = json!({"recipients": [join.user], "tenant": join.tenant});
    let order = match core.order(join.env, workflow, body) {
        Ok(order) => order.for_joining(Joined { audience: join.audience.clone(), depth: join.depth }),
        // W-ENV-06, W-ENV-11.
        Err(error @ (Error::WorkflowMissing(_) | Error::WorkflowInactive(_))) => {
            info!(workflow.key = workflow, audience.key = audience, reason = %error, "nothing runs for whoever has joined `{audience}`");
            return Ok(());
        }
        Err(error) => return Err(Failure(error.to_string())),
    };
    let (mut staged, _turn) = core.staged(join.env, None, &order).await.map_err(|error| Failure(error.to_string()))?;
    if staged.user(&join.user).await?.is_some() {
        let started = start(core, &order, SourceType::Audience, Uuid::new_v4(), staged, change).await;
        started.map_err(|error| Failure(error.to_string()))?;
    }
    Ok(())
}
