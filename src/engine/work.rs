//! The worker: takes runs on when their time has come.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};
use tracing::{Instrument as _, debug, error_span};

use super::nested;
use super::run::{Call, Input, Outcome};
use super::scene::{Common, Scene};
use super::start::{TRIES, add, tell};
use super::version::followed;
use super::{join, occurrence, signals, source};
use crate::model::run::{EventStatus, Run};
use crate::model::time::Time;
use crate::model::workflow::Workflow;
use crate::outside::request::Request;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::waits::SIGNAL_JOB;
use crate::store::{self, Batch};
use crate::verbs;
use crate::verbs::bulk::entries;
use crate::verbs::staged::Staged;
use crate::verbs::turns::Turn;
use crate::verbs::{Change, Core, OVERTAKEN, audience, bulk, fan_out, forget, schedule, send};

/// The kind of job that takes a run on.
pub const RUN_JOB: &str = "run";

/// The kind of job that takes a run on whose next step calls a server of others.
pub const CALL_JOB: &str = "call";

/// The place of a job's end in its batch: the first.
pub(super) const FINISHED: usize = 0;

/// Commits what ends a job; whether that is done with. If not, something else that it rests on has changed meanwhile.
pub(super) async fn is_ended(core: &Core, change: Change) -> Result<bool, store::Error> {
    match core.commit(change).await {
        // The job is gone: another worker was here, and what they did stands.
        Ok(_) | Err(store::Error::Refused(FINISHED)) => Ok(true),
        Err(store::Error::Refused(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Does one claimed job.
pub async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    match job.kind.as_str() {
        RUN_JOB | SIGNAL_JOB | CALL_JOB => {
            resume(core, job).instrument(error_span!("run", run.id = %job.subject)).await
        }
        audience::JOIN_JOB => join::work(core, job).await,
        audience::POPULATE_JOB => core.work_on_populating(job).await,
        verbs::source::JOB => source::work(core, job).await.map(drop),
        bulk::JOB => core.work_on_bulk(job).await,
        schedule::JOB => occurrence::occur(core, job).await,
        entries::JOB | entries::FORMER_JOB => core.work_on_bulk_entries(job).await,
        fan_out::JOB => super::fan_out::work(core, job).await,
        send::JOB => core.send(job).await,
        verbs::nested::JOB => nested::work(core, job).await,
        forget::JOB | forget::BECOME_JOB => core.work_on_forgetting(job).await,
        other => Err(Failure(format!("this version knows no jobs of kind `{other}`"))),
    }
}

/// Runs that are thought through before others have their turn.
pub(super) const AT_A_STRETCH: usize = 16;

/// Whether a job is done by [`work_together`] where many are due: what takes a run on, and calls nobody.
pub fn is_joint(job: &Job) -> bool {
    job.kind == RUN_JOB
}

/// Takes the runs of many claimed jobs on in one transaction, as a thousand delays that end in the same second ask for.
/// Gives back the jobs that have to be done one by one: those of runs that wait for an event or change somebody, and all
/// of them where something else was faster.
pub async fn work_together(core: &Core, jobs: Vec<Job>) -> Vec<Job> {
    match taken_on(core, &jobs).await {
        Ok(left) => left,
        Err(failure) => {
            // Each tells of it by itself, with its run.
            debug!(jobs = jobs.len(), error = %failure, "runs could not be taken on together");
            jobs
        }
    }
}

/// A run that is taken on with others, and the batch that it waits for.
struct Member<'j> {
    job: &'j Job,
    run: Run,
    awaited: Option<String>,
    workflow: Arc<Workflow>,
}

async fn taken_on(core: &Core, jobs: &[Job]) -> Result<Vec<Job>, Failure> {
    let ids: Vec<&str> = jobs.iter().map(|job| &*job.subject).collect();
    let runs = core.store.runs_by_ids(&ids).await?;
    let mut runs: HashMap<String, Run> = runs.into_iter().map(|run| (run.id.to_string(), run)).collect();
    let (mut left, mut members) = (Vec::new(), Vec::<Member<'_>>::new());
    for job in jobs {
        // The rest is told apart from what is plain: it has ways of its own.
        let plain = runs.remove(&job.subject).filter(|run| {
            !run.status.is_final()
                && run.state.wait.is_none()
                && core.catalog.workflow(run.env, &run.workflow).is_some()
        });
        let member = match plain {
            Some(mut run) if members.first().is_none_or(|first| first.run.env == run.env) => {
                let awaited = run.state.awaited_batch().map(str::to_owned);
                followed(core, &mut run).await?.map(|workflow| Member { job, run, awaited, workflow })
            }
            _ => None,
        };
        match member {
            Some(member) => members.push(member),
            None => left.push(job.clone()),
        }
    }
    let Some(env) = members.first().map(|first| first.run.env) else { return Ok(left) };
    let Some(environment) = core.catalog.environment(env) else { return Ok(jobs.to_vec()) };
    let mut staged = Staged::new(core, env);
    let users: Vec<&str> = members.iter().filter_map(|member| member.run.recipient.user_id()).collect();
    staged.preload(&users).await?;
    // What may be refused comes first: whatever is behind it need not be undone.
    let (mut ends, mut updates, mut parts) = (Vec::new(), Batch::new(), Change::new());
    for (number, member) in members.iter().enumerate() {
        if number % AT_A_STRETCH == 0 {
            tokio::task::yield_now().await;
        }
        let Member { job, run, awaited, workflow } = member;
        let scene = Scene::set(core, environment, workflow, Common::of(run), &mut staged).await?;
        let input = scene.input(run, &mut staged, refs(core, run).await?).await?;
        let input = Input { is_alone: true, ..input };
        let outcomes = scene.facts.advance(&[(run.clone(), input)], &mut staged).await?;
        let Some(outcome) = outcomes.into_iter().next().filter(|outcome| outcome.merges.is_empty()) else {
            left.push((*job).clone());
            continue;
        };
        updates.update_run(&outcome.run, scene.now);
        comes_of(&mut parts, outcome, awaited.as_deref(), scene.now);
        ends.push(*job);
    }
    if ends.is_empty() {
        return Ok(left);
    }
    // Always in this order, in which others come, too: the jobs, whom the runs are for, the runs.
    let mut change = Change::new();
    ends.iter().for_each(|job| change.batch.finish_job(job));
    staged.write(&mut change).await?;
    change.batch.append(updates);
    change.append(parts);
    match core.commit(change).await {
        Ok(_) => {
            debug!(runs = ends.len(), "took runs on together");
            Ok(left)
        }
        // One was cancelled, taken up by others, or is overtaken: nothing is done yet, and each goes its own way.
        Err(store::Error::Refused(_)) => Ok(jobs.to_vec()),
        Err(error) => Err(error.into()),
    }
}

/// Gives up a job that has failed too often: what it was about says so, and the job is gone (W-RUN-09: a run that halts
/// because of an error is completed).
pub async fn abandon(core: &Core, job: &Job, why: &str) -> Result<(), Failure> {
    for _ in 0..OVERTAKEN {
        let mut change = Change::new();
        change.batch.finish_job(job);
        match job.kind.as_str() {
            RUN_JOB | CALL_JOB => abandon_run(core, job, why, &mut change).await?,
            bulk::JOB | entries::JOB | entries::FORMER_JOB => abandon_bulk(core, job, why, &mut change.batch).await?,
            schedule::JOB => occurrence::abandon(core, job, &mut change.batch).await?,
            fan_out::JOB => super::fan_out::abandon(job, &mut change.batch),
            verbs::nested::JOB => nested::abandon(core, job, why, &mut change.batch).await?,
            verbs::source::JOB => source::abandon(job, &mut change.batch),
            send::JOB => core.abandon_sending(job, why, &mut change).await?,
            // Who is a member must not stay unknown: it goes on being tried.
            audience::POPULATE_JOB => return Err(Failure(why.to_owned())),
            // Whoever was deleted must not be shown for good (F-USR-13): it goes on being tried.
            forget::JOB | forget::BECOME_JOB => return Err(Failure(why.to_owned())),
            _ => {}
        }
        if is_ended(core, change).await? {
            return Ok(());
        }
    }
    Err(Failure("other changes kept coming in between".to_owned()))
}

async fn abandon_run(core: &Core, job: &Job, why: &str, change: &mut Change) -> Result<(), Failure> {
    let run = match core.store.run(&job.subject).await {
        // A row that cannot be read cannot be written either: the log has the reason.
        Err(store::Error::Damaged(_)) => None,
        other => other?,
    };
    if let Some(mut run) = run.filter(|run| !run.status.is_final()) {
        let now = core.clock.now();
        run.halt(now, EventStatus::Error, "gave_up", Some(json!({"error": why})));
        let awaited = run.state.awaited_batch().map(str::to_owned);
        over(&run, awaited.as_deref(), now, change);
    }
    Ok(())
}

async fn abandon_bulk(core: &Core, job: &Job, why: &str, batch: &mut Batch) -> Result<(), Failure> {
    let operation = core.store.bulk_operation(&job.subject).await?;
    if let Some(operation) = operation.filter(|one| one.completed_at.is_none() && one.failed_at.is_none()) {
        batch.advance_bulk_operation(&bulk::failed(operation, why, core.clock.now()), &[]);
    }
    Ok(())
}

/// Takes a paused run to its next pause or its end. The job ends in the same transaction (W-ENG-25). Where the run's step
/// calls a server of others, that is done before and outside of the transaction: once, unless this worker dies meanwhile.
async fn resume(core: &Core, job: &Job) -> Result<(), Failure> {
    // Whoever has been overtaken waits for a turn: where many come to one batch, all would be again.
    let mut turn = Turn::default();
    let mut call = (job.kind == CALL_JOB).then_some(Call::Ask);
    for _ in 0..TRIES {
        let mut change = Change::new();
        change.batch.finish_job(job);
        let run = core.store.run(&job.subject).await?.filter(|run| !run.status.is_final());
        let whose = run.as_ref().map(|run| (run.env, run.recipient.key()));
        if let Some(run) = run {
            let env = run.env;
            let mut went = go_on(core, run, job, call.clone(), &mut change).await?;
            if let Some(request) = went.ask {
                // Nobody is kept waiting by the other server.
                turn = Turn::default();
                let reply = core.outside.send(*request).await;
                let (duration_ms, is_answered) = (reply.duration_ms, reply.result.is_ok());
                debug!(run.id = %job.subject, duration_ms, is_answered, "called another server");
                call = Some(Call::Reply(Box::new(reply)));
                continue;
            }
            if !went.changed.iter().all(|key| turn.covers(env, key)) {
                // What was read before the turn may be old by now: the run goes on from where it stood.
                drop(turn);
                went.changed.extend(whose.map(|(_, recipient)| recipient));
                turn = core.turns.take(env, went.changed).await;
                continue;
            }
        }
        match core.commit(change).await {
            // The job is gone: a cancellation, or another worker, was here, and what they did stands.
            Ok(_) | Err(store::Error::Refused(FINISHED)) => {
                debug!(run.id = %job.subject, job.id = job.id, "took run `{}` on", job.subject);
                return Ok(());
            }
            // The run, or somebody in it, has changed meanwhile: look again.
            Err(store::Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some((env, recipient)) = whose.filter(|(env, recipient)| !turn.covers(*env, recipient)) {
            turn = core.turns.take(env, [recipient]).await;
        }
    }
    Err(Failure("other changes of the run kept coming in between".to_owned()))
}

/// What a stretch has come to besides what it adds to a change.
#[derive(Default)]
struct Went {
    /// Whom it changes, by key.
    changed: Vec<String>,
    /// What is to be sent first; then nothing is to be committed.
    ask: Option<Box<Request>>,
}

/// Adds the end of a run that has no steps left to take, and of the batch that it waited for.
fn over(run: &Run, awaited: Option<&str>, now: Time, change: &mut Change) {
    change.batch.end_wait(run.id);
    change.batch.update_run(run, now);
    awaited.into_iter().for_each(|batch| change.batch.give_up_batch(batch));
    tell(change, run, false, &[], now);
}

/// Adds what a run's stretch has come to, besides where the run stands now.
fn comes_of(change: &mut Change, outcome: Outcome, awaited: Option<&str>, now: Time) {
    if outcome.run.status.is_final() && outcome.run.state.awaited_batch().is_some() {
        // W-BAT-54: what came together ends with it, and nothing more joins.
        awaited.into_iter().for_each(|batch| change.batch.give_up_batch(batch));
    }
    add(change, outcome, now);
}

/// Adds what the run's next stretch comes to.
async fn go_on(core: &Core, mut run: Run, job: &Job, call: Option<Call>, change: &mut Change) -> Result<Went, Failure> {
    let is_signal = job.kind == SIGNAL_JOB;
    let wait = run.state.wait;
    if is_signal && wait.is_none() {
        // Another was first, or it was too late (W-WFE-25).
        return Ok(Went::default());
    }
    let awaited = run.state.awaited_batch().map(str::to_owned);
    if core.catalog.find(&core.store, run.env, &run.workflow).await?.is_none() {
        // W-ENV-11: nothing of the workflow is needed to end its run.
        let now = core.clock.now();
        run.halt(now, EventStatus::Ok, "workflow_archived", None);
        if is_signal {
            change.batch.cancel_wake_up(RUN_JOB, run.id);
        }
        over(&run, awaited.as_deref(), now, change);
        return Ok(Went::default());
    }
    let Some(environment) = core.catalog.environment(run.env) else {
        return Err(Failure("the run's environment is not configured any more".to_owned()));
    };
    let Some(workflow) = followed(core, &mut run).await? else {
        return Err(Failure("the run's workflow version is not in the store".to_owned()));
    };
    let mut staged = Staged::new(core, run.env);
    staged.follow(run.state.depth);
    staged.preload(run.recipient.user_id().as_slice()).await?;
    let scene = Scene::set(core, environment, &workflow, Common::of(&run), &mut staged).await?;
    let mut input = Input { is_alone: true, call, ..scene.input(&run, &mut staged, refs(core, &run).await?).await? };
    if wait.is_some() {
        input.heard = signals::heard(core, &run, job, is_signal).await?;
    }
    let (known, place) = (run.events.len(), run.state.position.clone());
    let goes_on_waiting = |after: &Run| wait.is_some() && after.state.wait.is_some() && after.state.position == place;
    let mut runs = [(run, input)];
    let mut outcomes = scene.facts.advance(&runs, &mut staged).await?;
    if is_signal && !outcomes.iter().any(|outcome| goes_on_waiting(&outcome.run)) {
        let [(run, input)] = &mut runs;
        let before = signals::before(core, run, job, &input.heard).await?;
        if !before.is_empty() {
            input.heard.splice(0..0, before);
            outcomes = scene.facts.advance(&runs, &mut staged).await?;
        }
    }
    for (reference, profile) in outcomes.iter().flat_map(|outcome| &outcome.merges) {
        // The step has seen that it can be done.
        staged.merge(reference, profile, false, "").await.map_err(|error| Failure(error.to_string()))?;
    }
    let mut went = Went { changed: staged.changed().collect(), ask: None };
    staged.write(change).await?;
    for mut outcome in outcomes {
        went.ask = outcome.ask.take();
        let still_waits = goes_on_waiting(&outcome.run);
        if is_signal && still_waits && outcome.run.events.len() == known {
            continue;
        }
        // Always in this order, in which others come, too: the jobs, the wait, the run.
        if is_signal && !still_waits {
            change.batch.cancel_wake_up(RUN_JOB, outcome.run.id);
        }
        if wait.is_some() && !still_waits {
            change.batch.end_wait(outcome.run.id);
        }
        if is_signal && still_waits {
            // It is woken when it would have been anyway.
            outcome.wake_at = None;
        }
        change.batch.update_run(&outcome.run, scene.now);
        comes_of(change, outcome, awaited.as_deref(), scene.now);
    }
    Ok(went)
}

/// What became of the messages of earlier steps (W-SCP-23), and of earlier waits (W-SCP-24).
async fn refs(core: &Core, run: &Run) -> Result<Map<String, Value>, store::Error> {
    let mut out = Map::new();
    for (step, ids) in &run.state.messages {
        let messages = core.store.messages_by_ids(run.env, ids).await?;
        let statuses: Vec<Value> = messages
            .iter()
            .map(|message| {
                json!({"delivery_status": message.status, "engagement_statuses": message.engagement_statuses()})
            })
            .collect();
        // A message that was produced and is gone has expired: nothing can be said of it (W-MSC-18).
        out.insert(step.clone(), json!({"expired": messages.len() < ids.len(), "messages": statuses}));
    }
    out.extend(run.state.waited.iter().map(|(step, waited)| (step.clone(), json!(waited))));
    Ok(out)
}
