//! Starts what a trigger prepared: runs go as far as they can at once, in the trigger's own transaction.
//!
//! So a notification that needs no wait costs one fsync, and is on the bell before the trigger is answered.

use std::time::Instant;

use serde_json::{Map, Value, json};
use tracing::debug;
use uuid::Uuid;

use super::run::Outcome;
use super::scene::{Common, Scene};
use super::work::{CALL_JOB, RUN_JOB, is_ended};
use crate::model::ids::new_workflow_run_id;
use crate::model::recipient::RecipientRef;
use crate::model::run::{Run, RunStatus, SourceType};
use crate::model::signal::Happened;
use crate::model::time::Time;
use crate::queue::Failure;
use crate::store::idempotency::Remembered;
use crate::store::jobs::{Job, Line};
use crate::store::{self, Env};
use crate::verbs::staged::Staged;
use crate::verbs::trigger::{Cause, Order};
use crate::verbs::turns::Turn;
use crate::verbs::{Change, Core, Error};

/// How often a stretch that was overtaken is gone through again. Many who fill small batches of one recipient's at the same
/// time, on whatever nodes, get through one or two at a time: the chance to be overtaken so often is none.
pub(super) const TRIES: usize = 256;

/// A trigger request besides its body.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub env: Env,
    pub workflow: &'a str,
    /// Of this request, to be told to those who repeat it.
    pub request_id: &'a str,
    /// The idempotency key and the fingerprint of everything asked.
    pub idempotency: Option<(&'a str, &'a str)>,
}

/// What a trigger is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The JSON body.
    pub body: String,
    /// The request that was answered first, when this one repeats it (W-IDM-04).
    pub original_request_id: Option<String>,
}

/// Runs a workflow for every recipient of `body`; when this returns, the runs are on disk (W-TRG-01, W-TRG-02).
pub async fn trigger(core: &Core, asked: &Asked<'_>, body: Value) -> Result<Answer, Error> {
    trigger_from(core, asked, SourceType::Api, body).await
}

/// The same, for whoever else wants it to run (W-RUN-11).
pub(super) async fn trigger_from(
    core: &Core,
    asked: &Asked<'_>,
    source: SourceType,
    body: Value,
) -> Result<Answer, Error> {
    let begun = Instant::now();
    let answer = triggered(core, asked, source, body).await?;
    core.metrics.engine.trigger_seconds.observe(begun.elapsed().as_secs_f64());
    Ok(answer)
}

async fn triggered(core: &Core, asked: &Asked<'_>, source: SourceType, body: Value) -> Result<Answer, Error> {
    if let Some(answer) = repeated(core, asked).await? {
        return Ok(answer);
    }
    let order = core.order(asked.env, asked.workflow, body).await?;
    let workflow_run = new_workflow_run_id(core.clock.now());
    let answer = json!({"workflow_run_id": workflow_run}).to_string();
    for attempt in 0..TRIES {
        // Whoever has been overtaken waits for a turn: where many come to one batch, all would be again.
        let sure: Vec<String> = order.recipients().filter(|_| attempt > 0).map(RecipientRef::key).collect();
        let (staged, _turn) = core.staged(asked.env, sure, &order).await?;
        if source == SourceType::Api {
            // Nobody else is there to be told: their runs say what is wrong (W-AMB-62).
            order.check_data()?;
        }
        let mut change = Change::new();
        if let Some((key, fingerprint)) = asked.idempotency {
            let answer = Remembered {
                fingerprint: fingerprint.to_owned(),
                response: answer.clone(),
                request_id: asked.request_id.to_owned(),
                created_at: core.clock.now(),
            };
            change.batch.remember(asked.env, key, &answer);
        }
        start(core, &order, Cause::first(source, workflow_run), staged, &mut change).await?;
        match core.commit(change).await {
            Ok(_) => {
                debug!(request.id = asked.request_id, workflow.key = asked.workflow, workflow_run.id = %workflow_run, "triggered");
                return Ok(Answer { body: answer, original_request_id: None });
            }
            // The same key, or the same recipient, was written meanwhile: look again.
            Err(store::Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(answer) = repeated(core, asked).await? {
            return Ok(answer);
        }
    }
    Err(Error::Store(store::Error::Refused(0)))
}

/// The answer already given to this key, if its parameters are the same (W-IDM-03, W-IDM-06).
async fn repeated(core: &Core, asked: &Asked<'_>) -> Result<Option<Answer>, Error> {
    let Some((key, fingerprint)) = asked.idempotency else { return Ok(None) };
    let Some(before) = core.store.remembered(asked.env, key, core.clock.now()).await? else { return Ok(None) };
    if before.fingerprint != fingerprint {
        let fault = "this idempotency key was used with other parameters; use a new key for a new request";
        return Err(crate::model::invalid::Invalid::new("Idempotency-Key", fault).into());
    }
    Ok(Some(Answer { body: before.response, original_request_id: Some(before.request_id) }))
}

/// A trigger that a job is about.
#[derive(Debug)]
pub(super) struct Ordered<'a> {
    pub(super) env: Env,
    pub(super) workflow: &'a str,
    /// As the API takes it.
    pub(super) body: Value,
    pub(super) cause: Cause,
    /// The audience that somebody has joined, if that is why.
    pub(super) joined: Option<&'a str>,
    /// The frequency cap that overflows, if that is why.
    pub(super) cap: Option<String>,
}

/// Starts what a job orders, in the transaction in which the job ends. The job stays if it is refused.
pub(super) async fn start_for(core: &Core, job: &Job, ordered: &Ordered<'_>) -> Result<(), Error> {
    for attempt in 0..TRIES {
        let mut change = Change::new();
        change.batch.finish_job(job);
        // To be held until the commit.
        let _turn = add_ordered(core, ordered, attempt > 0, &mut change).await?;
        // If not, somebody in it has changed meanwhile: look again.
        if is_ended(core, change).await? {
            return Ok(());
        }
    }
    Err(Error::Store(store::Error::Refused(0)))
}

/// Adds what is ordered; whoever has been overtaken waits for a turn in any case, as other triggers do.
async fn add_ordered<'c>(
    core: &'c Core,
    ordered: &Ordered<'_>,
    in_turn: bool,
    change: &mut Change,
) -> Result<Turn<'c>, Error> {
    let order = core.order(ordered.env, ordered.workflow, ordered.body.clone()).await?;
    let mut order = order.for_overflow(ordered.cap.clone());
    if let Some(audience) = ordered.joined {
        order = order.for_joining(audience);
    }
    let sure: Vec<String> = order.recipients().filter(|_| in_turn).map(RecipientRef::key).collect();
    let (mut staged, turn) = core.staged(ordered.env, sure, &order).await?;
    if ordered.joined.is_none() {
        order.check_data()?;
    } else {
        // Nothing runs for somebody who has been deleted since they joined. Nobody else is there to be told what is wrong
        // with the data: the run says it (W-AMB-62).
        for recipient in order.recipients() {
            if staged.record(recipient).await?.is_none() {
                return Ok(turn);
            }
        }
    }
    start(core, &order, ordered.cause, staged, change).await?;
    Ok(turn)
}

/// Which workflow run a job is to start.
pub(super) fn workflow_run(job: &Job) -> Result<Uuid, Failure> {
    job.subject.parse().map_err(|_| Failure(format!("the subject of job {} is no id", job.id)))
}

/// Takes every run of the order to its first pause or its end, and adds what comes of it to `change`.
pub(super) async fn start(
    core: &Core,
    order: &Order,
    cause: Cause,
    mut staged: Staged<'_>,
    change: &mut Change,
) -> Result<(), Error> {
    staged.follow(cause.depth);
    let common = Common { actor: order.actor(), tenant: order.tenant(), cancellation_key: order.cancellation_key() };
    let scene = Scene::set(core, &order.environment, &order.workflow, common, &mut staged).await?;
    let mut runs = Vec::new();
    for mut run in order.runs(cause.source, cause.workflow_run, scene.now) {
        run.state.depth = cause.depth;
        let input = scene.input(&run, &mut staged, Map::new()).await?;
        runs.push((run, input));
    }
    let outcomes = scene.facts.advance(&runs, &mut staged).await?;
    staged.write(change).await?;
    for outcome in outcomes {
        change.batch.add_run(&outcome.run);
        add(change, outcome, scene.now);
    }
    core.fan_out(order, cause, scene.now, change).await?;
    Ok(())
}

/// Adds what others may wait for: that the run has begun, that it is over, and the messages that it made.
pub(super) fn tell(change: &mut Change, run: &Run, has_begun: bool, made: &[String], at: Time) {
    let happened = Happened {
        recipient: &run.recipient.key(),
        workflow: &run.workflow,
        run: Some(run.id),
        has_begun,
        is_over: run.status == RunStatus::Completed,
        messages: made,
        are_new: true,
        at,
    };
    change.signal_happened(run.env, &happened);
}

/// Adds what a stretch changes besides its run, and the job that takes the run on.
pub(super) fn add(change: &mut Change, outcome: Outcome, now: Time) {
    let Outcome { run, change: own, is_first, made, wake_at, line, .. } = outcome;
    change.append(own);
    tell(change, &run, is_first, &made, now);
    if let Some(at) = wake_at {
        match line {
            Line::Own => change.add_job(RUN_JOB, &run.id.to_string(), at),
            Line::Calls => change.add_call(CALL_JOB, &run.id.to_string(), at),
        }
    }
}
