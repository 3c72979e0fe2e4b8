//! Works on an event of a source: one action after the other, each once.

use serde_json::{Map, Value, json};
use tracing::{info, warn};

use super::start::{Asked, trigger_from};
use crate::model::invalid::Invalid;
use crate::model::recipient::{RecipientRef, TENANTS, object_fault};
use crate::model::run::SourceType;
use crate::model::source::{Action, Event, Given, Mapping, Member, Named, Trigger, with_spelled_ids};
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::jobs::Job;
use crate::store::{self, Batch, Env};
use crate::verbs::identify::Profile;
use crate::verbs::source::{DONE, Taken, remembered};
use crate::verbs::{Core, Error, subscribe};

/// How soon an event is looked at again whose repetition is being worked on.
const PAUSE_SECONDS: i64 = 1;

/// What has become of an action.
#[derive(Debug)]
pub struct Deed {
    pub action: &'static str,
    /// Why it was not done, if it was not.
    pub skipped: Option<String>,
}

/// Does what the source's mappings say; what cannot be done is skipped, and the log has the reason (W-SRC-03).
pub async fn work(core: &Core, job: &Job) -> Result<Vec<Deed>, Failure> {
    let (mut taken, mut deeds) = (taken(job)?, Vec::new());
    match claim(core, job, &taken).await? {
        Claim::Own => {}
        Claim::Repetition => {
            end(core, job, &taken, End::Repetition).await?;
            return Ok(deeds);
        }
        Claim::Others => {
            core.put_off(job, core.clock.now().plus_seconds(PAUSE_SECONDS)).await?;
            return Ok(deeds);
        }
    }
    while let Some(document) = taken.mappings.get(taken.done) {
        let mapping = Mapping::parse(document).map_err(|faults| unreadable(job, &faults))?;
        let (source, action) = (&taken.source, mapping.name);
        match act(core, taken.env, &format!("{}/{}", job.subject, taken.done), &mapping, &taken.event).await {
            Ok(()) => {
                info!(event.id = %job.subject, source.key = %source, action, "done: {action}");
                deeds.push(Deed { action, skipped: None });
            }
            Err(Outcome::Skipped(reason)) => {
                warn!(event.id = %job.subject, source.key = %source, action, reason, "skipped: {action}");
                taken.has_failed = true;
                deeds.push(Deed { action, skipped: Some(reason) });
            }
            Err(Outcome::Failed(error)) => return Err(error.into()),
        }
        taken.done += 1;
        let mut batch = Batch::new();
        batch.advance_job(job, &taken.progress(), core.clock.now().plus_seconds(LEASE_SECONDS));
        match core.store.apply(batch).await {
            Ok(_) => {}
            // Somebody else has taken the event over.
            Err(store::Error::Refused(_)) => return Ok(deeds),
            Err(error) => return Err(error.into()),
        }
    }
    end(core, job, &taken, if taken.has_failed { End::Undone } else { End::Done }).await?;
    Ok(deeds)
}

/// Adds that an event is given up: it may come again.
pub(super) fn abandon(job: &Job, batch: &mut Batch) {
    if let Ok(taken) = taken(job)
        && let Some(known) = taken.remembered_as()
    {
        batch.give_up_key(taken.env, &known, &job.subject);
    }
}

fn taken(job: &Job) -> Result<Taken, Failure> {
    let read = job.progress.as_deref().and_then(|text| serde_json::from_str(text).ok());
    read.ok_or_else(|| Failure(format!("job {} does not hold an event", job.id)))
}

/// What a node of another version has left that this one cannot do.
fn unreadable(job: &Job, faults: &[Invalid]) -> Failure {
    let first = faults.first().map(ToString::to_string).unwrap_or_default();
    Failure(format!("what is to be done about the event of job {} cannot be read: {first}", job.id))
}

/// Who works on an event, and on its repetitions.
enum Claim {
    Own,
    /// All has been done (W-SRC-05).
    Repetition,
    /// Another event with the same key is being worked on: whether this is a repetition shows in the end.
    Others,
}

/// Whose the event's idempotency key is: an event has its own since it was taken, unless another had it then. One that
/// nobody has is made this event's own, so that of several that have waited for it one is worked on.
async fn claim(core: &Core, job: &Job, taken: &Taken) -> Result<Claim, Failure> {
    let Some(known) = taken.remembered_as() else { return Ok(Claim::Own) };
    let now = core.clock.now();
    match core.store.remembered(taken.env, &known, now).await? {
        Some(before) if before.request_id == job.subject => return Ok(Claim::Own),
        Some(before) if before.response == DONE => return Ok(Claim::Repetition),
        Some(_) => return Ok(Claim::Others),
        None => {}
    }
    let mut batch = Batch::new();
    batch.remember(taken.env, &known, &remembered(&job.subject, "", now));
    match core.store.apply(batch).await {
        Ok(_) => Ok(Claim::Own),
        // Another was first.
        Err(store::Error::Refused(_)) => Ok(Claim::Others),
        Err(error) => Err(error.into()),
    }
}

/// How the work on an event ends.
enum End {
    /// Well: it is not done again (W-SRC-05).
    Done,
    /// Not all of it could be done: it may come again.
    Undone,
    Repetition,
}

async fn end(core: &Core, job: &Job, taken: &Taken, how: End) -> Result<(), Failure> {
    let mut batch = Batch::new();
    batch.finish_job(job);
    if let Some(known) = taken.remembered_as() {
        match how {
            End::Done => batch.answer(taken.env, &known, &remembered(&job.subject, DONE, core.clock.now())),
            End::Undone => batch.give_up_key(taken.env, &known, &job.subject),
            End::Repetition => {}
        }
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
            Error::Missing(_) | Error::ActorMissing(_) => {
                Outcome::Skipped("nobody and nothing by that name is known".to_owned())
            }
            // Faults name places and what is allowed there, and no values.
            other => Outcome::Skipped(other.to_string()),
        }
    }
}

/// Does one action. `cause` names it, so that one which is tried again starts nothing twice.
async fn act(core: &Core, env: Env, cause: &str, mapping: &Mapping, event: &Event) -> Result<(), Outcome> {
    match &mapping.action {
        Action::IdentifyUser { id, properties } => {
            let id = id.required_id(event, "id")?;
            let profile = profile(&RecipientRef::User(id.clone()), properties.values(event))?;
            core.identify_user(env, &id, &profile).await?;
        }
        Action::DeleteUser { id } => core.delete_user(env, &id.required_id(event, "id")?).await?,
        Action::SetObject { object, properties } => {
            let object = named(object, event)?;
            let profile = profile(&object, properties.values(event))?;
            core.merge_recipient(env, &object, &profile).await?;
        }
        Action::DeleteObject { object } => core.delete_recipient(env, &named(object, event)?).await?,
        Action::SetTenant { id, properties } => {
            let tenant = reference(TENANTS.to_owned(), id.required_id(event, "id")?)?;
            core.merge_recipient(env, &tenant, &profile(&tenant, properties.values(event))?).await?;
        }
        Action::DeleteTenant { id } => {
            let tenant = reference(TENANTS.to_owned(), id.required_id(event, "id")?)?;
            core.delete_recipient(env, &tenant).await?;
        }
        Action::Subscribe { object, recipients, properties } => {
            let request = followers(recipients, Some(properties.values(event)), event)?;
            core.subscribe(env, &named(object, event)?, &request).await?;
        }
        Action::Unsubscribe { object, recipients } => {
            core.unsubscribe(env, &named(object, event)?, &followers(recipients, None, event)?).await?;
        }
        Action::AddMember(member) => {
            core.add_members(env, &member.audience, &members(member, event)?, false).await?;
        }
        Action::RemoveMember(member) => {
            core.remove_members(env, &member.audience, &members(member, event)?).await?;
        }
        Action::Cancel { workflow, cancellation_key, recipients } => {
            let key = cancellation_key.required_id(event, "cancellation_key")?;
            // Nobody where somebody was to be named is not everybody (W-CAN-03).
            let recipients =
                recipients.as_ref().map(|given| given.required(event, "recipients")).transpose()?.map(listed);
            core.cancel(env, workflow, &json!({"cancellation_key": key, "recipients": recipients})).await?;
        }
        Action::Trigger(trigger) => start(core, env, cause, trigger, event).await?,
    }
    Ok(())
}

async fn start(core: &Core, env: Env, cause: &str, trigger: &Trigger, event: &Event) -> Result<(), Outcome> {
    let recipients = listed(trigger.recipients.required(event, "recipients")?);
    let [actor, tenant, key] =
        [&trigger.actor, &trigger.tenant, &trigger.cancellation_key].map(|given| optional(given.as_ref(), event));
    let body = json!({"recipients": recipients, "actor": actor, "tenant": tenant, "cancellation_key": key,
        "data": trigger.data.values(event)});
    // One that was started before its job could say so is not started again.
    let remembered = format!("source\n{cause}");
    let asked = Asked {
        env,
        workflow: &trigger.workflow,
        request_id: cause,
        idempotency: Some((remembered.as_str(), trigger.workflow.as_str())),
    };
    trigger_from(core, &asked, SourceType::Integration, body).await?;
    Ok(())
}

/// One recipient is a list of one (W-SRC-04).
fn listed(value: Value) -> Value {
    match with_spelled_ids(value) {
        Value::Array(items) => Value::Array(items),
        one => Value::Array(vec![one]),
    }
}

/// Somebody or something that an event may name.
fn optional(given: Option<&Given>, event: &Event) -> Option<Value> {
    given.and_then(|given| given.value(event)).map(with_spelled_ids)
}

fn members(member: &Member, event: &Event) -> Result<Value, Outcome> {
    let user = with_spelled_ids(member.user.required(event, "user")?);
    // An id alone identifies, as it does in requests about members.
    let user = if user.is_string() { json!({"id": user}) } else { user };
    let tenant = optional(member.tenant.as_ref(), event);
    Ok(json!({"members": [{"user": user, "tenant": tenant}]}))
}

fn profile(whose: &RecipientRef, properties: Map<String, Value>) -> Result<Profile, Outcome> {
    Profile::parse_of(whose, &properties, "properties").map_err(|faults| Error::Invalid(faults).into())
}

/// The object that the event names.
fn named(object: &Named, event: &Event) -> Result<RecipientRef, Outcome> {
    let (collection, id) = (object.collection.required_id(event, "collection")?, object.id.required_id(event, "id")?);
    reference(collection, id)
}

fn reference(collection: String, id: String) -> Result<RecipientRef, Outcome> {
    match object_fault(&collection, &id) {
        Some((name, fault)) => Err(Outcome::Skipped(format!("{name}: {fault}"))),
        None => Ok(RecipientRef::Object { collection, id }),
    }
}

/// Who is to follow an object or no more; without properties those that followers have stay as they are.
fn followers(
    recipients: &Given,
    properties: Option<Map<String, Value>>,
    event: &Event,
) -> Result<subscribe::Request, Outcome> {
    let mut body = Map::from_iter([("recipients".to_owned(), listed(recipients.required(event, "recipients")?))]);
    body.extend(properties.filter(|given| !given.is_empty()).map(|given| ("properties".to_owned(), given.into())));
    subscribe::Request::parse(&body).map_err(|faults| Error::Invalid(faults).into())
}
