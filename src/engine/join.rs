//! Runs a workflow for somebody who has joined an audience.

use serde_json::json;
use tracing::{debug, info, warn};

use super::start::{TRIES, start};
use super::work::FINISHED;
use crate::model::recipient::RecipientRef;
use crate::model::run::SourceType;
use crate::queue::Failure;
use crate::store;
use crate::store::jobs::Job;
use crate::verbs::audience::Join;
use crate::verbs::trigger::{Cause, LONGEST_CHAIN};
use crate::verbs::turns::Turn;
use crate::verbs::{Change, Core, Error};

/// Starts the run, in the same transaction in which the job ends (W-AUD-01).
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let read = job.progress.as_deref().and_then(|text| serde_json::from_str::<Join>(text).ok());
    let join = read.ok_or_else(|| Failure(format!("job {} does not say who has joined what", job.id)))?;
    for attempt in 0..TRIES {
        let mut change = Change::new();
        change.batch.finish_job(job);
        // To be held until the commit.
        let begun = begin(core, job, &join, attempt > 0, &mut change).await;
        let _turn = begun.map_err(|error| Failure(error.to_string()))?;
        match core.commit(change).await {
            Ok(_) | Err(store::Error::Refused(FINISHED)) => return Ok(()),
            // Whoever has joined has changed meanwhile: look again.
            Err(store::Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure("other changes of whoever has joined kept coming in between".to_owned()))
}

/// Adds the run, unless there is none; whoever has been overtaken waits for a turn, as other triggers do.
async fn begin<'c>(
    core: &'c Core,
    job: &Job,
    join: &Join,
    in_turn: bool,
    change: &mut Change,
) -> Result<Option<Turn<'c>>, Error> {
    let (key, audience) = (join.workflow.as_str(), join.audience.as_str());
    if join.depth > LONGEST_CHAIN {
        warn!(
            workflow.key = key,
            audience.key = audience,
            "workflow `{key}` does not run for whoever has joined `{audience}`: {LONGEST_CHAIN} workflows in a row have led there"
        );
        return Ok(None);
    }
    let body = json!({"recipients": [join.user], "tenant": join.tenant});
    let order = match core.catalog.order(join.env, key, body) {
        Ok(order) => order.for_joining(audience),
        // W-ENV-06, W-ENV-11.
        Err(refusal @ (Error::WorkflowMissing(_) | Error::WorkflowInactive(_))) => {
            info!(workflow.key = key, audience.key = audience, reason = %refusal, "nothing runs for whoever has joined `{audience}`");
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let sure: Vec<String> = order.recipients().filter(|_| in_turn).map(RecipientRef::key).collect();
    let (mut staged, turn) = core.staged(join.env, sure, &order).await?;
    // Nothing runs for somebody who has been deleted since.
    if staged.user(&join.user).await?.is_some() {
        let workflow_run = job.subject.parse().unwrap_or_default();
        let cause = Cause { source: SourceType::Audience, depth: join.depth, workflow_run };
        start(core, &order, cause, staged, change).await?;
        debug!(workflow.key = key, audience.key = audience, workflow_run.id = %workflow_run, "started by a join");
    }
    Ok(Some(turn))
}
