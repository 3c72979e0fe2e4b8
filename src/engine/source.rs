//! Works on an event of a source: one action after the other, each once.

use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::start::{Asked, trigger_from};
use crate::model::recipient::{RecipientRef, TENANTS, object_id_fault};
use crate::model::run::SourceType;
use crate::model::source::{Action, Event, Mapping, Member, Trigger};
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::idempotency::Remembered;
use crate::store::jobs::Job;
use crate::store::{self, Batch, Env};
use crate::verbs::identify::Profile;
use crate::verbs::source::Taken;
use crate::verbs::{Core, Error};

/// Does what the source's mappings say; what cannot be done is skipped, and the log has the reason (W-SRC-03).
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let read = job.progress.as_deref().and_then(|text| serde_json::from_str::<Taken>(text).ok());
    let mut taken = read.ok_or_else(|| Failure(format!("job {} does not hold an event", job.id)))?;
    let Some(source) = core.catalog.sources().get(&taken.source).cloned() else {
        warn!(event.id = %job.subject, source.key = %taken.source, "source `{}` is gone: nothing is done about an event", taken.source);
        return end(core, job, None).await;
    };
    if let Some(known) = taken.remembered_as()
        && taken.done == 0
        && core.store.remembered(taken.env, &known, core.clock.now()).await?.is_some()
    {
        return end(core, job, None).await;
    }
    let event = taken.as_event();
    let mappings: Vec<&Mapping> = source.mappings(&taken.event).collect();
    for (at, mapping) in mappings.iter().enumerate().skip(taken.done) {
        match act(core, taken.env, &format!("{}/{at}", job.subject), mapping, &event).await {
            Ok(()) => info!(event.id = %job.subject, source.key = %taken.source, action = mapping.name, "done: {}", mapping.name),
            Err(Outcome::Skipped(reason)) => {
                taken.has_failed = true;
                warn!(event.id = %job.subject, source.key = %taken.source, action = mapping.name, reason, "skipped: {}", mapping.name);
            }
            Err(Outcome::Failed(error)) => return Err(error.into()),
        }
        taken.done = at + 1;
        let mut batch = Batch::new();
        batch.advance_job(job, &taken.progress(), core.clock.now().plus_seconds(LEASE_SECONDS));
        match core.store.apply(batch).await {
            Ok(_) => {}
            // Somebody else has taken the event over.
            Err(store::Error::Refused(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
    end(core, job, Some(&taken)).await
}

/// Ends the job; what went well is remembered, so that it is not done again (W-SRC-05).
async fn end(core: &Core, job: &Job, done: Option<&Taken>) -> Result<(), Failure> {
    let mut batch = Batch::new();
    batch.finish_job(job);
    if let Some(taken) = done.filter(|taken| !taken.has_failed)
        && let Some(known) = taken.remembered_as()
    {
        let answer = Remembered {
            fingerprint: String::new(),
            response: String::new(),
            request_id: job.subject.clone(),
            created_at: core.clock.now(),
        };
        batch.remember_again(taken.env, &known, &answer);
    }
    match core.store.apply(batch).await {
        Ok(_) | Err(store::Error::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// How an action came to nothing.
enum Outcome {
    /// It cannot be done, now or later.
    Skipped(String),
    /// It may be done when it is tried again.
    Failed(store::Error),
}

impl From<String> for Outcome {
    fn from(reason: String) -> Self {
        Outcome::Skipped(reason)
    }
}

impl From<Error> for Outcome {
    fn from(error: Error) -> Self {
        match error {
            Error::Store(error) => Outcome::Failed(error),
            // An id may be an address, which no log shows.
            Error::Missing(_) | Error::ActorMissing(_) => Outcome::Skipped("nobody and nothing by that name is known".to_owned()),
            // Faults name places and what is allowed there, and no values.
            other => Outcome::Skipped(other.to_string()),
        }
    }
}

/// Does one action. `cause` names it, so that one which is tried again starts nothing twice.
async fn act(core: &Core, env: Env, cause: &str, mapping: &Mapping, event: &Event) -> Result<(), Outcome> {
    match &mapping.action {
        Action::IdentifyUser { id, properties } => {
            let profile = profile(properties.values(event))?;
            core.identify_user(env, &id.required_id(event, "id")?, &profile).await?;
        }
        Action::DeleteUser { id } => core.delete_user(env, &id.required_id(event, "id")?).await?,
        Action::SetObject { collection, id, properties } => {
            let collection = collection.required_id(event, "collection")?;
            set_object(core, env, collection, id.required_id(event, "id")?, properties.values(event)).await?;
        }
        Action::SetTenant { id, properties } => {
            let id = id.required_id(event, "id")?;
            set_object(core, env, TENANTS.to_owned(), id, properties.values(event)).await?;
        }
        Action::AddMember(member) => {
            core.add_members(env, &member.audience, &members(member, event)?, false).await?;
        }
        Action::RemoveMember(member) => {
            core.remove_members(env, &member.audience, &members(member, event)?).await?;
        }
        Action::Cancel { workflow, cancellation_key, recipients } => {
            let key = cancellation_key.required_id(event, "cancellation_key")?;
            let recipients = recipients.as_ref().and_then(|given| given.value(event)).map(listed);
            core.cancel(env, workflow, &json!({"cancellation_key": key, "recipients": recipients})).await?;
        }
        Action::Trigger(trigger) => start(core, env, cause, trigger, event).await?,
    }
    Ok(())
}

async fn start(core: &Core, env: Env, cause: &str, trigger: &Trigger, event: &Event) -> Result<(), Outcome> {
    let recipients = listed(trigger.recipients.required(event, "recipients")?);
    let [actor, tenant, key] =
        [&trigger.actor, &trigger.tenant, &trigger.cancellation_key].map(|given| given.as_ref().and_then(|given| given.value(event)));
    let body = json!({"recipients": recipients, "actor": actor, "tenant": tenant, "cancellation_key": key,
        "data": trigger.data.values(event)});
    // One that was started before its job could say so is not started again.
    let remembered = format!("source\n{cause}");
    let asked =
        Asked { env, workflow: &trigger.workflow, request_id: cause, idempotency: Some((remembered.as_str(), trigger.workflow.as_str())) };
    trigger_from(core, &asked, SourceType::Integration, body).await?;
    Ok(())
}

/// One recipient is a list of one (W-SRC-04).
fn listed(value: Value) -> Value {
    match value {
        Value::Array(_) => value,
        one => Value::Array(vec![one]),
    }
}

fn members(member: &Member, event: &Event) -> Result<Value, Outcome> {
    let user = member.user.required(event, "user")?;
    // An id alone identifies, as it does in requests about members.
    let user = if user.is_string() { json!({"id": user}) } else { user };
    let tenant = member.tenant.as_ref().and_then(|given| given.value(event));
    Ok(json!({"members": [{"user": user, "tenant": tenant}]}))
}

fn profile(properties: Map<String, Value>) -> Result<Profile, Outcome> {
    Profile::parse(&properties, "properties").map_err(|faults| Error::Invalid(faults).into())
}

async fn set_object(
    core: &Core,
    env: Env,
    collection: String,
    id: String,
    properties: Map<String, Value>,
) -> Result<(), Outcome> {
    for (name, text) in [("collection", &collection), ("id", &id)] {
        if let Some(fault) = object_id_fault(text) {
            return Err(Outcome::Skipped(format!("{name}: {fault}")));
        }
    }
    let reference = RecipientRef::Object { collection, id };
    core.merge_recipient(env, &reference, &profile(properties)?).await?;
    Ok(())
}
