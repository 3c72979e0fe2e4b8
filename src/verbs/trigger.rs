//! Trigger: a request to run a workflow, read, checked and made into runs. The engine starts them.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::environment::Environment;
use crate::model::ids::recipient_run_id;
use crate::model::invalid::Invalid;
use crate::model::recipient::{RecipientRef, TENANTS, tenant_id_fault};
use crate::model::run::{Run, RunSettings, RunState, RunStatus, SourceType};
use crate::model::schedule::{Occurrence, Schedule};
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::model::workflow::Workflow;

use super::Core;
use super::identify::{Profile, RecipientRequest};
use super::staged::{Stage, Staged};
use super::{Catalog, Error};
use crate::store::Env;

/// Recipients of one trigger at most (W-TRG-08).
pub const MAX_RECIPIENTS: usize = 1_000;
/// How many workflows may cause each other in a row: by steps that trigger, or by whom they make join audiences (W-AMB-38).
pub const LONGEST_CHAIN: u32 = 10;
/// Characters of a cancellation key at most.
const MAX_KEY: usize = 255;
/// Faults of data that are told at most.
const MAX_FAULTS: usize = 100;

/// A trigger's body, read (W-TRG-04).
#[derive(Debug, Clone)]
pub struct Request {
    pub recipients: Vec<RecipientRequest>,
    pub actor: Option<RecipientRequest>,
    pub tenant: Option<(String, Option<Profile>)>,
    pub data: Arc<TriggerData>,
    pub cancellation_key: Option<String>,
    pub settings: RunSettings,
}

impl Request {
    /// Reads a body; unknown keys are ignored (W-TRG-36).
    pub fn parse(body: Value) -> Result<Request, Vec<Invalid>> {
        let settings = optional(&body, "settings", settings);
        match (Request::parse_common(body, Some(MAX_RECIPIENTS)), settings) {
            (Ok(request), Ok(settings)) => Ok(Request { settings: settings.unwrap_or_default(), ..request }),
            (request, settings) => Err(request.err().into_iter().chain(settings.err()).flatten().collect()),
        }
    }

    /// Reads what a trigger shares with schedules: recipients, so many at most, or none at all; the actor, the tenant, the
    /// data and the cancellation key.
    pub(super) fn parse_common(mut body: Value, most_recipients: Option<usize>) -> Result<Request, Vec<Invalid>> {
        // The data may be large: it is moved, not copied.
        let given = body.get_mut("data").map(Value::take);
        let body = &body;
        let mut faults = Vec::new();
        let named = most_recipients.map(|most| recipients(body.get("recipients"), most));
        let recipients = keep(named.unwrap_or(Ok(Vec::new())), &mut faults);
        let actor = keep(optional(body, "actor", |value| RecipientRequest::parse(value, "actor")), &mut faults);
        let tenant = keep(optional(body, "tenant", tenant), &mut faults);
        let data = keep(data(given.unwrap_or_default()), &mut faults);
        let cancellation_key = keep(optional(body, "cancellation_key", cancellation_key), &mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Request {
            recipients: recipients.unwrap_or_default(),
            actor: actor.flatten(),
            tenant: tenant.flatten(),
            data: Arc::new(TriggerData::new(data.unwrap_or_default())),
            cancellation_key: cancellation_key.flatten(),
            settings: RunSettings::default(),
        })
    }
}

pub(super) fn keep<T>(read: Result<T, Vec<Invalid>>, faults: &mut Vec<Invalid>) -> Option<T> {
    read.map_err(|more| faults.extend(more)).ok()
}

pub(super) fn optional<T>(
    body: &Value,
    name: &str,
    read: impl FnOnce(&Value) -> Result<T, Vec<Invalid>>,
) -> Result<Option<T>, Vec<Invalid>> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some),
    }
}

fn fault<T>(path: &str, message: impl Into<String>) -> Result<T, Vec<Invalid>> {
    Err(vec![Invalid::new(path, message)])
}

fn recipients(value: Option<&Value>, most: usize) -> Result<Vec<RecipientRequest>, Vec<Invalid>> {
    let Some(Value::Array(items)) = value else {
        return fault("recipients", format!("recipients is required, as an array of 1 to {most} entries"));
    };
    if items.is_empty() || items.len() > most {
        return fault("recipients", format!("recipients has {} entries; 1 to {most} are allowed", items.len()));
    }
    let mut faults = Vec::new();
    let mut out = Vec::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        match RecipientRequest::parse(item, &format!("recipients[{at}]")) {
            Ok(recipient) => out.push(recipient),
            Err(more) => faults.extend(more),
        }
    }
    if faults.is_empty() { Ok(out) } else { Err(faults) }
}

fn tenant(value: &Value) -> Result<(String, Option<Profile>), Vec<Invalid>> {
    let (id, profile) = match value {
        Value::String(id) => (id.clone(), None),
        Value::Object(map) => match map.get("id").and_then(Value::as_str) {
            Some(id) => {
                let reference = RecipientRef::Object { collection: TENANTS.to_owned(), id: id.to_owned() };
                (id.to_owned(), Some(Profile::parse_of(&reference, map, "tenant")?))
            }
            None => return fault("tenant.id", "an inline tenant needs an id, as a string"),
        },
        _ => return fault("tenant", "tenant must be an id or a map with an id"),
    };
    match tenant_id_fault(&id) {
        Some(text) => fault("tenant", text),
        None => Ok((id, profile)),
    }
}

fn data(value: Value) -> Result<Map<String, Value>, Vec<Invalid>> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(map) => Ok(map),
        _ => fault("data", "data must be an object"),
    }
}

fn cancellation_key(value: &Value) -> Result<String, Vec<Invalid>> {
    match value {
        Value::String(key) if !key.is_empty() && key.chars().count() <= MAX_KEY => Ok(key.clone()),
        _ => fault("cancellation_key", "cancellation_key must be a string of 1 to 255 characters"),
    }
}

/// What the body of a trigger may say, and what its `settings` may.
pub const MEMBERS: [&str; 6] = ["recipients", "actor", "tenant", "data", "cancellation_key", "settings"];
pub const SETTINGS: [&str; 2] = ["sandbox_mode", "skip_delay"];

fn settings(value: &Value) -> Result<RunSettings, Vec<Invalid>> {
    let Value::Object(map) = value else { return fault("settings", "settings must be an object") };
    let flag = |name: &str| match map.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => fault(&format!("settings.{name}"), format!("{name} must be true or false")),
    };
    Ok(RunSettings { sandbox_mode: flag("sandbox_mode")?, skip_delay: flag("skip_delay")? })
}

/// What runs are started by, and under which id.
#[derive(Debug, Clone, Copy)]
pub struct Cause {
    pub source: SourceType,
    /// How many workflows have caused each other to come here.
    pub depth: u32,
    pub workflow_run: Uuid,
}

impl Cause {
    /// One that no workflow has triggered.
    pub fn first(source: SourceType, workflow_run: Uuid) -> Cause {
        Cause { source, depth: 0, workflow_run }
    }
}

/// A trigger that can be run: what was asked, read and checked as far as no rows are needed.
#[derive(Debug)]
pub struct Order {
    pub environment: Arc<Environment>,
    pub workflow: Arc<Workflow>,
    request: Request,
    /// Each distinct recipient with its data.
    entries: Vec<(RecipientRef, Arc<TriggerData>)>,
    /// The audience that somebody has joined.
    joined: Option<String>,
    /// The occurrence of a schedule that it is.
    occurrence: Option<Occurrence>,
    /// The frequency cap that overflows.
    cap: Option<String>,
}

impl Catalog {
    /// Reads a trigger. What is wrong is found in the order of W-ERR-09: the workflow, then the body's shape.
    pub fn order(&self, env: Env, key: &str, body: Value) -> Result<Order, Error> {
        let environment = self.environment(env).ok_or_else(|| Error::WorkflowMissing(key.to_owned()))?;
        let workflow = self.workflow(env, key).ok_or_else(|| Error::WorkflowMissing(key.to_owned()))?;
        if !self.is_active(env, key) {
            return Err(Error::WorkflowInactive(key.to_owned()));
        }
        let request = Request::parse(body).map_err(Error::Invalid)?;
        let entries = entries(&request, self.trigger_bytes())?;
        Ok(Order {
            environment: Arc::clone(environment),
            workflow,
            request,
            entries,
            joined: None,
            occurrence: None,
            cap: None,
        })
    }
}

impl Core {
    /// Reads a trigger, once it is known whether there is such a workflow.
    pub async fn order(&self, env: Env, key: &str, body: Value) -> Result<Order, Error> {
        self.catalog.find(&self.store, env, key).await?;
        self.catalog.order(env, key, body)
    }
}

impl Stage for Order {
    /// Stages who is named: every inline recipient, actor and tenant is merged (W-TRG-10).
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        let users: Vec<&str> = self.entries.iter().filter_map(|(reference, _)| reference.user_id()).collect();
        staged.preload(&users).await?;
        stage(&self.request, staged).await
    }
}

impl Order {
    /// The order as one that comes of joining this audience (W-AUD-15).
    pub fn for_joining(self, audience: &str) -> Order {
        Order { joined: Some(audience.to_owned()), ..self }
    }

    /// The order as one that comes of a frequency cap, if it does.
    pub fn for_overflow(self, cap: Option<String>) -> Order {
        Order { cap, ..self }
    }

    /// Whether it comes of a frequency cap.
    pub fn is_overflow(&self) -> bool {
        self.cap.is_some()
    }

    /// The order that an occurrence of a schedule is: its recipient alone, whatever subscribes to it (W-SCH-17, W-SCH-18).
    pub fn scheduled(
        environment: Arc<Environment>,
        workflow: Arc<Workflow>,
        schedule: &Schedule,
        occurrence: Occurrence,
    ) -> Order {
        let plain = |reference: &RecipientRef| RecipientRequest {
            reference: reference.clone(),
            profile: None,
            trigger_data: Map::new(),
        };
        let request = Request {
            recipients: vec![plain(&schedule.recipient)],
            actor: schedule.actor.as_ref().map(plain),
            tenant: schedule.tenant.clone().map(|id| (id, None)),
            data: Arc::clone(&schedule.data),
            cancellation_key: schedule.cancellation_key.clone(),
            settings: RunSettings::default(),
        };
        let entries = vec![(schedule.recipient.clone(), Arc::clone(&schedule.data))];
        Order { environment, workflow, request, entries, joined: None, occurrence: Some(occurrence), cap: None }
    }

    /// Whom it is for, each once.
    pub fn recipients(&self) -> impl Iterator<Item = &RecipientRef> {
        self.entries.iter().map(|(recipient, _)| recipient)
    }

    /// The actor of every run.
    pub fn actor(&self) -> Option<&RecipientRef> {
        self.request.actor.as_ref().map(|actor| &actor.reference)
    }

    /// The actor, if nothing is said of it, so that it must be there already (W-TRG-19).
    pub fn actor_to_be_known(&self) -> Option<&RecipientRef> {
        self.request.actor.as_ref().filter(|actor| actor.profile.is_none()).map(|actor| &actor.reference)
    }

    /// The tenant of every run.
    pub fn tenant(&self) -> Option<&str> {
        self.request.tenant.as_ref().map(|(id, _)| id.as_str())
    }

    /// The cancellation key of every run.
    pub fn cancellation_key(&self) -> Option<&str> {
        self.request.cancellation_key.as_deref()
    }

    /// What the trigger asks of every run.
    pub fn settings(&self) -> RunSettings {
        self.request.settings
    }

    /// Each distinct recipient with its data, in the order in which they were named.
    pub fn entries(&self) -> impl Iterator<Item = (&RecipientRef, &Arc<TriggerData>)> {
        self.entries.iter().map(|(reference, data)| (reference, data))
    }

    /// Whether every recipient's data is what the workflow's schema allows (W-VAL-06, W-VAL-09).
    pub fn check_data(&self) -> Result<(), Error> {
        let mut faults = Vec::new();
        let mut is_common_checked = false;
        for (_, data) in &self.entries {
            let is_common = Arc::ptr_eq(data, &self.request.data);
            if faults.len() < MAX_FAULTS && !(is_common && is_common_checked) {
                faults.extend(self.workflow.validate_data(data.value()));
                is_common_checked |= is_common;
            }
        }
        faults.truncate(MAX_FAULTS);
        if faults.is_empty() { Ok(()) } else { Err(Error::Invalid(faults)) }
    }

    /// The runs, not yet started and not yet stored. `workflow_run` is the id the caller will be told.
    pub fn runs(&self, source: SourceType, workflow_run: Uuid, now: Time) -> impl Iterator<Item = Run> {
        // An occurrence that is tried again is the same run.
        let meant_at = self.occurrence.map_or(now, |occurrence| occurrence.last_occurrence_at);
        let (joined, cap) = (self.joined.clone(), self.cap.clone());
        let state = RunState { occurrence: self.occurrence, joined, cap, ..RunState::default() };
        self.entries.iter().map(move |(recipient, data)| Run {
            id: recipient_run_id(workflow_run, &recipient.key(), meant_at),
            env: self.environment.number,
            rev: 0,
            workflow_run,
            workflow: self.workflow.key.clone(),
            version_id: self.workflow.version_id,
            status: RunStatus::Queued,
            recipient: recipient.clone(),
            actor: self.actor().cloned(),
            tenant: self.tenant().map(str::to_owned),
            cancellation_key: self.cancellation_key().map(str::to_owned),
            source,
            settings: self.request.settings,
            data: Arc::clone(data),
            state: state.clone(),
            events: Vec::new(),
            inserted_at: now,
            updated_at: now,
        })
    }
}

/// Merges every inline recipient, actor and tenant (W-TRG-10); an actor nobody knows stops everything (W-TRG-19).
pub(super) async fn stage(request: &Request, staged: &mut Staged<'_>) -> Result<(), Error> {
    for (at, recipient) in request.recipients.iter().enumerate() {
        if let Some(profile) = &recipient.profile {
            staged.merge(&recipient.reference, profile, false, &format!("recipients[{at}]")).await?;
        }
    }
    if let Some(actor) = &request.actor {
        match &actor.profile {
            Some(profile) => staged.merge(&actor.reference, profile, false, "actor").await?,
            None if staged.record(&actor.reference).await?.is_none() => {
                return Err(Error::ActorMissing(actor.reference.to_string()));
            }
            None => {}
        }
    }
    match &request.tenant {
        Some((id, Some(profile))) => {
            let reference = RecipientRef::Object { collection: TENANTS.to_owned(), id: id.clone() };
            staged.merge(&reference, profile, false, "tenant").await?;
            staged.ensure_tenant(id).await
        }
        Some((id, None)) => staged.ensure_tenant(id).await,
        None => Ok(()),
    }
}

/// One entry per distinct recipient (W-FAN-06) with its data: the trigger's own, held once for all, or what
/// `$trigger_data` makes of it (W-TRG-16). Refused when all of it together is more than `limit` bytes.
pub(super) fn entries(request: &Request, limit: usize) -> Result<Vec<(RecipientRef, Arc<TriggerData>)>, Error> {
    let mut places = std::collections::HashMap::new();
    let mut named: Vec<(&RecipientRef, Map<String, Value>)> = Vec::with_capacity(request.recipients.len());
    for recipient in &request.recipients {
        let place = *places.entry(&recipient.reference).or_insert_with(|| {
            named.push((&recipient.reference, Map::new()));
            named.len() - 1
        });
        named[place].1.extend(recipient.trigger_data.clone());
    }
    check_size(&request.data, &named, limit)?;
    let with_data = |(reference, own): (&RecipientRef, Map<String, Value>)| {
        let data = if own.is_empty() { Arc::clone(&request.data) } else { Arc::new(request.data.overlaid(own)) };
        (reference.clone(), data)
    };
    Ok(named.into_iter().map(with_data).collect())
}

/// Every recipient's run is a row with its data, so that a body within its limit may still be gigabytes to store.
fn check_size(data: &TriggerData, named: &[(&RecipientRef, Map<String, Value>)], limit: usize) -> Result<(), Error> {
    let own = |own: &Map<String, Value>| serde_json::to_string(own).map_or(0, |text| text.len());
    let extra: usize = named.iter().map(|(_, map)| if map.is_empty() { 0 } else { own(map) }).sum();
    let (bytes, recipients) = (data.text().len(), named.len());
    let total = bytes.saturating_mul(recipients).saturating_add(extra);
    if total <= limit {
        return Ok(());
    }
    let message = format!(
        "{bytes} bytes of data for {recipients} recipients are {total} bytes to store, and one trigger may store {limit}: \
         name fewer recipients in one trigger, or send a reference to the data instead of all of it; who runs this \
         server may raise `trigger_bytes` of [limits]"
    );
    Err(Invalid::new("data", message).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(body: Value) -> Vec<String> {
        Request::parse(body).expect_err("must be refused").into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn a_body_that_cannot_be_meant_names_every_fault() {
        assert_eq!(faults(json!({})), ["recipients"], "W-TRG-05");
        assert_eq!(faults(json!({"recipients": "u1"})), ["recipients"], "W-TRG-05");
        assert_eq!(faults(json!({"recipients": []})), ["recipients"], "W-AMB-02");
        assert_eq!(faults(json!({"recipients": vec!["u"; 1001]})), ["recipients"], "W-TRG-08");
        assert_eq!(faults(json!({"recipients": [{"name": "x"}]})), ["recipients[0].id"], "W-TRG-07");
        assert_eq!(
            faults(json!({"recipients": ["u"], "data": [1], "tenant": "a b"})),
            ["tenant", "data"],
            "W-VAL-01 W-TRG-24"
        );
        assert_eq!(faults(json!({"recipients": ["u"], "settings": {"skip_delay": 1}})), ["settings.skip_delay"]);
    }

    #[test]
    fn every_optional_part_may_be_null_and_unknown_parts_are_ignored() {
        let body = json!({"recipients": ["u"], "actor": null, "tenant": null, "data": null, "cancellation_key": null,
            "settings": null, "cancelationKey": "x"});
        let request = Request::parse(body).expect("W-TRG-04, W-TRG-36");
        assert_eq!(request.data.value(), &json!({}), "W-VAL-02");
        assert_eq!(request.settings, RunSettings::default(), "W-TRG-29");
    }

    #[test]
    fn recipients_are_told_apart_by_collection_alone_w_trg_06() {
        let body = json!({"recipients": ["u1", {"id": "u2", "email": "e"}, {"id": "t", "collection": "teams"}]});
        let request = Request::parse(body).expect("a valid body");
        let kinds: Vec<(String, bool)> =
            request.recipients.iter().map(|one| (one.reference.to_string(), one.profile.is_some())).collect();
        let expected = [("u1", false), ("u2", true), ("teams/t", false)].map(|(id, inline)| (id.to_owned(), inline));
        assert_eq!(kinds, expected, "W-TRG-06, W-TRG-12");
    }

    #[test]
    fn a_recipient_named_twice_runs_once_with_its_own_data_on_top() {
        let body = json!({"recipients": ["u1", {"id": "u1", "$trigger_data": {"n": 2}}, "u2"], "data": {"n": 1, "m": {"a": 1}}});
        let entries = entries(&Request::parse(body).expect("a valid body"), usize::MAX).expect("no limit");
        assert_eq!(entries.len(), 2, "W-FAN-06");
        assert_eq!(entries[0].1.value(), &json!({"n": 2, "m": {"a": 1}}), "W-TRG-16, W-TRG-17");
        assert_eq!(entries[1].1.value(), &json!({"n": 1, "m": {"a": 1}}), "W-TRG-16");
    }

    #[test]
    fn recipients_without_data_of_their_own_share_the_triggers() {
        let body = json!({"recipients": ["a", {"id": "b", "$trigger_data": {"n": 2}}, "c"], "data": {"n": 1}});
        let request = Request::parse(body).expect("a valid body");
        let entries = entries(&request, usize::MAX).expect("no limit");
        let shares = entries.iter().map(|(_, data)| Arc::ptr_eq(data, &request.data)).collect::<Vec<_>>();
        assert_eq!(shares, [true, false, true], "W-TRG-16: other recipients are unaffected, and cost nothing");
    }

    #[test]
    fn what_a_trigger_stores_is_its_data_times_its_recipients() {
        let body = |own: Value| json!({"recipients": ["a", "b", {"id": "c", "$trigger_data": own}], "data": {"n": 1}});
        let size = |own: Value, limit: usize| {
            let request = Request::parse(body(own)).expect("a valid body");
            entries(&request, limit).map(drop).map_err(|error| error.to_string())
        };
        let bytes = r#"{"n":1}"#.len();
        assert_eq!(size(json!({}), 3 * bytes), Ok(()));
        let refusal = size(json!({}), 3 * bytes - 1).expect_err("one byte too many");
        let said =
            "data: 7 bytes of data for 3 recipients are 21 bytes to store, and one trigger may store 20: name fewer";
        assert!(refusal.starts_with(said), "{refusal}");
        assert!(refusal.contains("`trigger_bytes` of [limits]"), "{refusal}");
        assert_eq!(size(json!({"m": 2}), 4 * bytes), Ok(()));
        assert!(size(json!({"m": 2}), 4 * bytes - 1).is_err(), "a recipient's own data counts");
    }

    #[test]
    fn control_keys_are_not_properties_w_trg_13() {
        let body = json!({"recipients": [{"id": "u", "plan": "pro", "channel_data": {}, "preferences": {}, "$trigger_data": {}}]});
        let request = Request::parse(body).expect("a valid body");
        let profile = request.recipients[0].profile.as_ref().expect("inline");
        assert_eq!(Value::from(profile.properties.clone()), json!({"plan": "pro"}), "W-TRG-13");
    }
}
