//! Starts what a trigger prepared: runs go as far as they can at once, in the trigger's own transaction.
//!
//! So a notification that needs no wait costs one fsync, and is on the bell before the trigger is answered.

use serde_json::{Value, json};
use uuid::Uuid;

use super::lookup::StoreLookup;
use super::run::{Input, Outcome, advance};
use super::work::RUN_JOB;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::model::run::SourceType;
use crate::store::idempotency::Remembered;
use crate::store::{self, Env};
use crate::verbs::trigger::Prepared;
use crate::verbs::{Change, Core, Error, OVERTAKEN};

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
pub async fn trigger(core: &Core, asked: &Asked<'_>, body: &Value) -> Result<Answer, Error> {
    for _ in 0..OVERTAKEN {
        if let Some(answer) = repeated(core, asked)? {
            return Ok(answer);
        }
        let workflow_run = Uuid::new_v4();
        let answer = json!({"workflow_run_id": workflow_run}).to_string();
        let prepared = core.prepare_trigger(asked.env, asked.workflow, body, SourceType::Api, workflow_run)?;
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
        start(core, prepared, &mut change)?;
        match core.commit(change).await {
            Ok(_) => return Ok(Answer { body: answer, original_request_id: None }),
            // The same key, or the same recipient, was written meanwhile: look again.
            Err(store::Error::Refused(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Store(store::Error::Refused(0)))
}

/// The answer already given to this key, if its parameters are the same (W-IDM-03, W-IDM-06).
fn repeated(core: &Core, asked: &Asked<'_>) -> Result<Option<Answer>, Error> {
    let Some((key, fingerprint)) = asked.idempotency else { return Ok(None) };
    let Some(before) = core.store.remembered(asked.env, key, core.clock.now())? else { return Ok(None) };
    if before.fingerprint != fingerprint {
        let fault = "this idempotency key was used with other parameters; use a new key for a new request";
        return Err(crate::model::invalid::Invalid::new("Idempotency-Key", fault).into());
    }
    Ok(Some(Answer { body: before.response, original_request_id: Some(before.request_id) }))
}

/// Takes every prepared run to its first pause or its end, and adds what comes of it to `change`.
fn start(core: &Core, prepared: Prepared<'_>, change: &mut Change) -> Result<(), Error> {
    let Prepared { environment, workflow, mut staged, runs, .. } = prepared;
    let first = runs.first();
    let actor = first.and_then(|run| run.actor.clone());
    let actor_scope = actor.as_ref().map(|actor| staged.scope(actor)).transpose()?.flatten();
    let actor_record = actor.as_ref().map(|actor| staged.record(actor)).transpose()?.flatten();
    let tenant = first.and_then(|run| run.tenant.clone());
    let tenant = tenant.map(|id| RecipientRef::Object { collection: TENANTS.to_owned(), id });
    let tenant_scope = tenant.as_ref().map(|tenant| staged.scope(tenant)).transpose()?.flatten();
    let lookup = StoreLookup { store: &core.store, env: environment.number };
    let now = core.clock.now();
    let mut outcomes = Vec::with_capacity(runs.len());
    for run in runs {
        let recipient = staged.scope(&run.recipient)?;
        let input = Input {
            workflow: &workflow,
            channels: core.catalog.channels(),
            recipient: recipient.as_ref(),
            actor: actor_scope.as_ref(),
            actor_record: actor_record.as_ref(),
            tenant: tenant_scope.as_ref(),
            vars: &environment.settings.all_vars,
            default_zone: environment.settings.timezone.as_deref(),
            refs: serde_json::Map::new(),
            is_active: true,
            lookup: &lookup,
            now,
        };
        outcomes.push(advance(run, &input));
    }
    staged.write(&mut change.batch)?;
    for outcome in outcomes {
        let Outcome { run, messages, wake_at } = outcome;
        change.batch.add_run(&run);
        add(change, &run.id.to_string(), messages, wake_at);
    }
    Ok(())
}

/// Adds a stretch's messages, and the job that takes the run on.
pub(super) fn add(
    change: &mut Change,
    run: &str,
    messages: Vec<(crate::model::message::Message, bool)>,
    wake_at: Option<crate::model::time::Time>,
) {
    for (message, in_feed) in messages {
        change.add_message(message, in_feed);
    }
    if let Some(at) = wake_at {
        change.add_job(RUN_JOB, run, at);
    }
}
