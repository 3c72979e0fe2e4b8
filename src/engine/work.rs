//! The worker: takes runs on when their time has come.

use serde_json::{Map, Value, json};

use super::lookup::StoreLookup;
use super::run::{Input, advance};
use super::start::add;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::model::run::Run;
use crate::queue::Failure;
use crate::store;
use crate::store::jobs::Job;
use crate::verbs::{Change, Core, bulk, forget};

/// The kind of job that takes a run on.
pub const RUN_JOB: &str = "run";

/// Does one claimed job.
pub async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    match job.kind.as_str() {
        RUN_JOB => resume(core, job).await,
        bulk::JOB => core.work_on_bulk(job).await,
        forget::JOB => core.work_on_forgetting(job).await,
        other => Err(Failure(format!("this version knows no jobs of kind `{other}`"))),
    }
}

/// Takes a paused run to its next pause or its end. The job ends in the same transaction (W-ENG-25).
async fn resume(core: &Core, job: &Job) -> Result<(), Failure> {
    let mut change = Change::new();
    change.batch.finish_job(job);
    if let Some(run) = core.store.run(&job.subject)?.filter(|run| !run.status.is_final()) {
        go_on(core, run, &mut change)?;
    }
    match core.commit(change).await {
        // Overtaken by a cancellation, or by another worker: what they did stands.
        Ok(_) | Err(store::Error::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn go_on(core: &Core, run: Run, change: &mut Change) -> Result<(), Failure> {
    let Some(environment) = core.catalog.environment(run.env) else {
        return Err(Failure("the run's environment is not configured any more".to_owned()));
    };
    let Some(workflow) = core.catalog.version(&core.store, run.version_id)? else {
        return Err(Failure("the run's workflow version is not in the store".to_owned()));
    };
    let recipient = scope(core, &run, &run.recipient)?;
    let actor = run.actor.as_ref().map(|actor| scope(core, &run, actor)).transpose()?.flatten();
    let actor_record = run.actor.as_ref().map(|actor| record(core, &run, actor)).transpose()?.flatten();
    let tenant = run.tenant.as_ref().map(|id| core.store.object(run.env, TENANTS, id)).transpose()?.flatten();
    let tenant = tenant.map(|tenant| tenant.to_scope());
    let now = core.clock.now();
    let input = Input {
        workflow: &workflow,
        channels: core.catalog.channels(),
        recipient: recipient.as_ref(),
        actor: actor.as_ref(),
        actor_record: actor_record.as_ref(),
        tenant: tenant.as_ref(),
        vars: &environment.settings.all_vars,
        default_zone: environment.settings.timezone.as_deref(),
        refs: refs(core, &run)?,
        is_active: core.catalog.is_active(run.env, &run.workflow),
        lookup: &StoreLookup { store: &core.store, env: run.env },
        now,
    };
    let outcome = advance(run, &input);
    change.batch.update_run(&outcome.run, now);
    add(change, &outcome.run.id.to_string(), outcome.messages, outcome.wake_at);
    Ok(())
}

fn scope(core: &Core, run: &Run, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
    Ok(match reference {
        RecipientRef::User(id) => core.store.user(run.env, id)?.map(|user| user.to_json()),
        RecipientRef::Object { collection, id } => core.store.object(run.env, collection, id)?.map(|o| o.to_scope()),
    })
}

fn record(core: &Core, run: &Run, reference: &RecipientRef) -> Result<Option<Value>, store::Error> {
    Ok(match reference {
        RecipientRef::User(id) => core.store.user(run.env, id)?.map(|user| user.to_json()),
        RecipientRef::Object { collection, id } => core.store.object(run.env, collection, id)?.map(|o| o.to_json()),
    })
}

/// What became of the messages of earlier steps (W-SCP-23).
fn refs(core: &Core, run: &Run) -> Result<Map<String, Value>, store::Error> {
    let mut out = Map::new();
    for (step, ids) in &run.state.messages {
        let messages = core.store.messages_by_ids(run.env, ids)?;
        let statuses: Vec<Value> = messages
            .iter()
            .map(|message| {
                json!({"delivery_status": message.status, "engagement_statuses": message.engagement_statuses()})
            })
            .collect();
        // A message that was produced and is gone has expired: nothing can be said of it (W-MSC-18).
        out.insert(step.clone(), json!({"expired": messages.len() < ids.len(), "messages": statuses}));
    }
    Ok(out)
}
