//! A run's next stretch: from where it stands to its next pause or its end, as a pure function.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::scene::Scene;
use super::steps;
use crate::model::cap::Counter;
use crate::model::presence::Seen;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::model::run::{ClosedBatch, EventStatus, Run, RunStatus, SourceType, reasoned};
use crate::model::scope::Scope;
use crate::model::signal::Heard;
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::model::workflow::batch::Shown;
use crate::model::workflow::digest::Counting;
use crate::model::workflow::{Next, Position, Step, StepKind, TriggerFrequency};
use crate::outside::Reply;
use crate::outside::request::Request;
use crate::rules::condition::{Context, Group, Verdict};
use crate::rules::preference::{DEFAULT, Preferences, Sets};
use crate::rules::window;
use crate::store::audiences::Slot;
use crate::store::batches::{Gathered, Gathering, OpenBatch};
use crate::store::jobs::Line;
use crate::store::run_once::Once;
use crate::template::{Env, Limits, Lookup, Template};
use crate::verbs::audience::belongs;
use crate::verbs::identify::Profile;
use crate::verbs::staged::Entity;
use crate::verbs::{Change, Error};

/// Attempts of a step that fails (W-ENG-13).
const ATTEMPTS: u32 = 3;
/// Seconds before the second and the third attempt.
const BACK_OFF_SECONDS: [i64; 2] = [2, 10];

/// The activity that began a batch.
const FIRST: Shown = Shown { limit: 1, are_newest: false };

/// Everything a run's next stretch depends on besides the run.
pub struct Input<'a> {
    pub scene: &'a Scene<'a>,
    /// The recipient as it is now (W-ENG-20); none for one that was never identified or is gone.
    pub recipient: Option<Value>,
    /// The variables, where some are the recipient's own.
    pub vars: Option<Value>,
    /// What the recipient wants (W-ENG-22).
    pub preferences: Preferences,
    /// What of that is the recipient's own word.
    pub own_sets: OwnSets,
    /// What became of the messages of earlier steps: `refs` as conditions see it.
    pub refs: Map<String, Value>,
    /// Whether the stretch has a transaction to itself. What changes somebody needs one: other runs of the same trigger
    /// may change them, too.
    pub is_alone: bool,
    /// What the stretch begins with, where its first step calls a server of others.
    pub call: Option<Call>,
    /// What happened that the run waits for.
    pub heard: Vec<Heard>,
}

/// The preference sets of a recipient that have a say in a run.
#[derive(Debug, Clone, Default)]
pub struct OwnSets {
    pub default: Option<Value>,
    /// The one for the run's tenant.
    pub of_tenant: Option<Value>,
}

impl OwnSets {
    /// What the recipient wants, with what others want for it (W-ENG-22).
    pub(super) fn resolve(&self, scene: &Scene<'_>, tenant: Option<&str>, tenant_now: Option<&Value>) -> Preferences {
        Preferences::resolve(&Sets {
            tenant,
            of_tenant: self.of_tenant.as_ref(),
            default: self.default.as_ref(),
            tenant_default: tenant_now.and_then(|tenant| tenant.get("settings")?.get("preference_set")),
            environment_default: scene.default_preferences,
        })
    }
}

/// What a stretch is to do of a call.
#[derive(Debug, Clone)]
pub enum Call {
    /// Say what is to be sent. Nothing is written down before there is an answer.
    Ask,
    /// Go on with the answer.
    Reply(Box<Reply>),
}

/// What the stretch led to.
#[derive(Debug)]
pub struct Outcome {
    pub run: Run,
    /// What its steps change besides the run.
    pub change: Change,
    /// What is merged into whom, in the same transaction.
    pub merges: Vec<(RecipientRef, Profile)>,
    /// Whether it rests on the recipient's time zone, and whoever changes that would look for it in vain.
    pub relies_on_zone: bool,
    /// Whether the run has begun with it.
    pub is_first: bool,
    /// The ids of the messages that it made.
    pub made: Vec<String>,
    /// When the run goes on; none when it is over.
    pub wake_at: Option<Time>,
    /// In which line it waits for that.
    pub line: Line,
    /// What is to be sent before the run can go on: it stands where it stood.
    pub ask: Option<Box<Request>>,
}

/// How a step ended.
pub(super) enum Ended {
    /// The run goes on here.
    On(Next),
    /// The run waits until then.
    Pause(Time),
    /// The step is to be executed at once, in a transaction of its own, after a wait in this line.
    Apart(Line),
    /// The run cannot go on before this is answered.
    Ask(Box<Request>),
    /// The run is over; its record says why.
    Over,
}

/// One stretch under way.
pub(super) struct Stretch<'a> {
    pub(super) run: Run,
    pub(super) scene: &'a Scene<'a>,
    pub(super) preferences: Cow<'a, Preferences>,
    pub(super) refs: Value,
    pub(super) change: Change,
    pub(super) made: Vec<String>,
    pub(super) heard: &'a [Heard],
    /// What was heard that ends the wait.
    pub(super) claimed: Option<&'a Heard>,
    /// What the stretch itself has changed of the recipient's place in audiences.
    pub(super) memberships: HashMap<Slot, bool>,
    /// Batches that the run has opened in this stretch and is none of: the database does not have them yet.
    pub(super) opened: Vec<(Gathering, OpenBatch)>,
    /// What counts of the batch that the run has carried on last: the database still has the rest, if it has closed it in
    /// this stretch.
    pub(super) counted: Counting,
    /// When messages have passed frequency caps, with its own of this stretch.
    pub(super) passed: HashMap<Counter, Vec<Time>>,
    /// Whether it has made an item whose place another may take: the database does not have it yet.
    pub(super) has_collapsed: bool,
    pub(super) relies_on_zone: bool,
    recipient: Option<Cow<'a, Value>>,
    vars: &'a Value,
    /// The recipient with whether they are online, once something may have named that.
    present: OnceLock<Value>,
    own_sets: Cow<'a, OwnSets>,
    actor: Option<Cow<'a, Value>>,
    tenant: Option<Cow<'a, Value>>,
    actors: Arc<str>,
    /// Whom steps have changed, as they are now.
    changed: Vec<Entity>,
    merges: Vec<(RecipientRef, Profile)>,
    is_alone: bool,
    /// What the first step is to do of a call.
    call: Option<&'a Call>,
    /// In which line the run waits when the stretch ends.
    pub(super) line: Line,
    ask: Option<Box<Request>>,
    data: Arc<TriggerData>,
    counts: Value,
}

/// Takes the run from where it stands to its next pause or its end.
pub fn advance<'a>(run: Run, input: &'a Input<'a>) -> Outcome {
    let is_first = run.status == RunStatus::Queued;
    let mut stretch = Stretch {
        scene: input.scene,
        recipient: input.recipient.as_ref().map(Cow::Borrowed),
        vars: input.vars.as_ref().unwrap_or(input.scene.vars),
        present: OnceLock::new(),
        own_sets: Cow::Borrowed(&input.own_sets),
        preferences: Cow::Borrowed(&input.preferences),
        actor: input.scene.actor.as_ref().map(Cow::Borrowed),
        tenant: input.scene.tenant.as_ref().map(Cow::Borrowed),
        actors: Arc::clone(&input.scene.actors),
        changed: Vec::new(),
        merges: Vec::new(),
        is_alone: input.is_alone,
        call: input.call.as_ref(),
        line: Line::Own,
        ask: None,
        data: Arc::clone(&run.data),
        refs: Value::Object(input.refs.clone()),
        counts: counts(&run),
        change: Change::new(),
        made: Vec::new(),
        heard: &input.heard,
        claimed: None,
        memberships: HashMap::new(),
        opened: Vec::new(),
        counted: Counting::All,
        passed: HashMap::new(),
        has_collapsed: false,
        relies_on_zone: false,
        run,
    };
    let wake_at = stretch.go();
    let Stretch { run, change, merges, relies_on_zone, made, line, ask, .. } = stretch;
    Outcome { run, change, merges, relies_on_zone, is_first, made, wake_at, line, ask }
}

impl<'a> Stretch<'a> {
    fn go(&mut self) -> Option<Time> {
        let is_new = self.run.status == RunStatus::Queued;
        self.run.status = RunStatus::Processing;
        if self.recipient.is_none() {
            // W-AMB-07, W-ENG-17: said, never silent.
            let reason = if is_new { "recipient_never_identified" } else { "recipient_gone" };
            return self.halt(EventStatus::Error, reason, None);
        }
        if self.scene.workflow.names_presence {
            self.look_for_recipient();
        }
        if is_new && let Some(faults) = self.data_faults() {
            self.run.halt(self.scene.now, EventStatus::Error, "invalid_data", Some(json!({"errors": faults})));
            return None;
        }
        let mut next = match self.run.state.position.take() {
            Some(position) => Next::Step(position),
            None if is_new => {
                if let Some(refusal) = self.trigger_conditions() {
                    return self.halt(EventStatus::Ok, "trigger_conditions", Some(refusal));
                }
                if !self.may_run_again() {
                    return self.halt(EventStatus::Ok, "trigger_frequency", None);
                }
                self.scene.workflow.first()
            }
            None => Next::End,
        };
        while let Next::Step(position) = next {
            let Some(step) = self.scene.workflow.step(&position) else { break };
            if let (StepKind::WaitForEvent(wait), Some(open)) = (&step.kind, self.run.state.wait)
                && !steps::wait_for_event::is_over(self, step, wait, open)
            {
                self.run.state.position = Some(position);
                self.run.status = RunStatus::Paused;
                return Some(open.until);
            }
            let call = self.call.take();
            let has_answer = matches!(call, Some(Call::Reply(_)));
            if !self.scene.is_active && !has_answer {
                return self.halt(EventStatus::Ok, "workflow_inactive", None);
            }
            let metrics = self.scene.metrics;
            match metrics.step(step.type_name(), || self.execute(&position, step, call)) {
                Ok(Ended::On(after)) => {
                    self.run.state.is_waiting = false;
                    self.run.state.failures = 0;
                    next = after;
                }
                Ok(Ended::Pause(until)) => {
                    self.run.state.position = Some(position);
                    self.run.state.is_waiting = true;
                    self.run.status = RunStatus::Paused;
                    return Some(until);
                }
                Ok(Ended::Apart(line)) => {
                    self.run.state.position = Some(position);
                    self.line = line;
                    return Some(self.scene.now);
                }
                Ok(Ended::Ask(request)) => {
                    self.run.state.position = Some(position);
                    self.ask = Some(request);
                    return None;
                }
                Ok(Ended::Over) => return None,
                Err(error) => return self.failed(position, step, &error),
            }
        }
        self.run.status = RunStatus::Completed;
        None
    }

    /// What is wrong with the data of a run that nobody asked for just now: whoever triggers one is told (W-AMB-62).
    fn data_faults(&self) -> Option<Value> {
        let faults = match self.run.source {
            SourceType::Api => Vec::new(),
            _ => self.scene.workflow.validate_data(self.data.value()),
        };
        let told = faults.iter().map(|fault| json!({"field": fault.path, "message": fault.message}));
        (!faults.is_empty()).then(|| told.collect())
    }

    /// The record of trigger conditions that did not hold (W-FRQ-02).
    fn trigger_conditions(&self) -> Option<Value> {
        let verdict = self.judge(self.scene.workflow.conditions.as_ref()?);
        (!verdict.passed).then(|| evaluations(&verdict))
    }

    /// Whether the workflow may run for the recipient as often as this (W-FRQ-05 to W-FRQ-09); the one run is taken.
    fn may_run_again(&mut self) -> bool {
        let tenant = match self.scene.workflow.trigger_frequency {
            TriggerFrequency::EveryTrigger => return true,
            // A test run neither asks nor takes (W-FRQ-08).
            _ if self.run.source == SourceType::Rehearsal => return true,
            TriggerFrequency::OncePerRecipient => None,
            TriggerFrequency::OncePerRecipientPerTenant => Some(self.run.tenant.clone()),
        };
        let once = Once { workflow: self.run.workflow.clone(), recipient: self.run.recipient.key(), tenant };
        if self.scene.facts.has_run(&once) {
            return false;
        }
        self.change.batch.run_once(self.run.env, &once);
        true
    }

    fn execute(&mut self, position: &Position, step: &Step, call: Option<&Call>) -> Result<Ended, String> {
        let on = Ended::On(self.scene.workflow.next_after(position));
        // What has been answered has been decided before.
        if !self.run.state.is_waiting
            && !matches!(call, Some(Call::Reply(_)))
            && let Some(conditions) = &step.conditions
        {
            let verdict = self.judge(conditions);
            if !verdict.passed {
                self.skip(step, EventStatus::Ok, "conditions", Some(json!({"conditions": evaluations(&verdict)})));
                return Ok(on);
            }
        }
        match &step.kind {
            StepKind::Delay(delay) => Ok(steps::delay::execute(self, step, delay, on)),
            StepKind::Throttle(throttle) => Ok(steps::throttle::execute(self, step, throttle, on)),
            StepKind::Batch(batch) => Ok(steps::batch::execute(self, step, batch, on)),
            StepKind::Digest(digest) => Ok(steps::digest::execute(self, step, digest, on)),
            StepKind::WaitForEvent(wait) => Ok(steps::wait_for_event::execute(self, step, wait, on)),
            StepKind::UpdateAudience(update) => Ok(steps::update_audience::execute(self, step, update, on)),
            StepKind::Branch(branches) => Ok(steps::branch::execute(self, step, branches, position)),
            StepKind::Experiment(experiment) => steps::experiment::execute(self, step, experiment, position),
            StepKind::Channel(channel) if channel.collapse_key.is_some() && self.has_collapsed => {
                Ok(Ended::Apart(Line::Own))
            }
            StepKind::Channel(channel) => steps::channel::execute(self, step, channel).map(|()| on),
            StepKind::UpdateData(template) => steps::update::data(self, step, template).map(|()| on),
            StepKind::Update(_) if !self.is_alone => Ok(Ended::Apart(Line::Own)),
            StepKind::Update(update) => steps::update::recipient(self, step, update).map(|()| on),
            StepKind::Fetch(fetch) => Ok(steps::fetch::execute(self, step, fetch, on, call)),
            StepKind::AiAgent(agent) => Ok(steps::ai_agent::execute(self, step, agent, on)),
            StepKind::TriggerWorkflow(trigger) => steps::trigger_workflow::execute(self, step, trigger).map(|()| on),
        }
    }

    /// A step failed: it is tried again, and after the last attempt the run halts (W-ENG-13).
    fn failed(&mut self, position: Position, step: &Step, error: &str) -> Option<Time> {
        let place = Some((step.reference.as_str(), step.type_name()));
        self.run.record(self.scene.now, EventStatus::Error, "step_failed", place, Some(json!({"error": error})));
        self.run.state.failures += 1;
        if self.run.state.failures >= ATTEMPTS {
            return self.halt(EventStatus::Ok, "step_failed", None);
        }
        self.run.state.position = Some(position);
        let pause = BACK_OFF_SECONDS[self.run.state.failures as usize - 1];
        Some(self.scene.now.plus_seconds(pause))
    }

    /// Ends the run before its steps are done, and records why.
    pub(super) fn halt(&mut self, status: EventStatus, reason: &str, conditions: Option<Value>) -> Option<Time> {
        let conditions = conditions.map(|conditions| json!({"conditions": conditions}));
        self.run.halt(self.scene.now, status, reason, conditions);
        None
    }

    /// Records that a step was skipped and why (W-RUN-15); `more` is added to the record.
    pub(super) fn skip(&mut self, step: &Step, status: EventStatus, reason: &str, more: Option<Value>) {
        self.record(step, status, "step_skipped", reasoned(reason, more));
    }

    /// Records what a step did.
    pub(super) fn record(&mut self, step: &Step, status: EventStatus, event: &str, data: Value) {
        let place = Some((step.reference.as_str(), step.type_name()));
        self.run.record(self.scene.now, status, event, place, Some(data));
    }

    /// Evaluates conditions against the run as it stands (W-SCP-02).
    pub(super) fn judge(&self, group: &Group) -> Verdict {
        self.look_where_named(group);
        self.judge_in(self.condition_scope(), group)
    }

    /// Evaluates the match conditions of a wait against what happened (W-WFE-16).
    pub(super) fn judge_event(&self, group: &Group, event: &Value) -> Verdict {
        let mut roots = self.condition_roots();
        roots.push(("event", event));
        self.judge_in(Scope::new(roots), group)
    }

    fn judge_in(&self, scope: Scope<'_>, group: &Group) -> Verdict {
        let render = |template: &Template| template.render(&self.env(&scope)).ok();
        let is_member = |audience: &str| self.is_member(audience);
        let context = Context { scope: &scope, now: self.scene.now, is_member: &is_member, liquid: &render };
        group.evaluate(&context)
    }

    /// Evaluates the conditions of a preference, which after a batch see its first activity alone (W-CHS-09).
    pub(super) fn judge_preference(&self, group: &Group) -> Verdict {
        let closed = self.run.state.batch.as_ref().filter(|batch| batch.closed.is_some());
        let gathered = closed.and_then(|batch| self.scene.facts.gathered(&batch.id, FIRST, self.counted));
        match gathered.as_ref().and_then(|gathered| gathered.activities.first()) {
            None => self.judge(group),
            Some(first) => {
                self.look_where_named(group);
                let data = Value::Object(first.data.clone());
                let mut roots = vec![("data", &data)];
                roots.extend(self.condition_roots());
                self.judge_in(Scope::new(roots), group)
            }
        }
    }

    /// Whether the recipient, a user, is in an audience under the run's tenant (W-CND-49, W-CND-50).
    fn is_member(&self, audience: &str) -> bool {
        let tenant = self.run.tenant.clone();
        match self.scene.audiences.get(audience).and_then(|audience| audience.conditions()) {
            // W-AUD-13: who is found by their properties is found in no tenant.
            Some(conditions) => {
                tenant.is_none() && self.recipient().is_some_and(|user| belongs(conditions, user, self.scene.now))
            }
            None => {
                let user = self.run.recipient.id().to_owned();
                self.is_in(&Slot { audience: audience.to_owned(), user, tenant })
            }
        }
    }

    /// Whether somebody is a member of a static audience, as things stand at this step (W-UPD-21).
    pub(super) fn is_in(&self, slot: &Slot) -> bool {
        let changed = self.memberships.get(slot).copied();
        changed.unwrap_or_else(|| self.scene.facts.is_member(slot))
    }

    /// Looks for the recipient if conditions may name that: those of channels and preferences stand in no workflow.
    fn look_where_named(&self, group: &Group) {
        if group.names_presence() {
            self.look_for_recipient();
        }
    }

    /// Finds out whether the recipient is online. Objects never are.
    fn look_for_recipient(&self) {
        let (None, Some(recipient)) = (self.present.get(), self.recipient()) else { return };
        let seen = match self.run.recipient.user_id() {
            Some(user) => self.scene.facts.seen(user),
            None => Some(Seen { is_online: Some(false), last_seen_at: None }),
        };
        if let Some(seen) = seen {
            let mut present = recipient.clone();
            seen.lay_under(&mut present);
            // It was not there a moment ago, and nobody else is here.
            _ = self.present.set(present);
        }
    }

    pub(super) fn condition_scope(&self) -> Scope<'_> {
        Scope::new(self.condition_roots())
    }

    fn condition_roots(&self) -> Vec<(&str, &Value)> {
        let mut roots = self.shared_roots();
        roots.push(("run", &self.counts));
        roots.push(("refs", &self.refs));
        roots
    }

    /// The roots that templates and conditions share.
    pub(super) fn shared_roots(&self) -> Vec<(&str, &Value)> {
        let scene = self.scene;
        let recipient = self.present.get().or(self.recipient());
        let optional = [("recipient", recipient), ("actor", self.actor()), ("tenant", self.tenant.as_deref())];
        let mut roots = vec![("data", self.data.value()), ("vars", self.vars), ("workflow", &scene.workflow_scope)];
        roots.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        roots
    }

    /// The recipient as it is now.
    pub(super) fn recipient(&self) -> Option<&Value> {
        self.recipient.as_deref()
    }

    /// The actor as it is now.
    pub(super) fn actor(&self) -> Option<&Value> {
        self.actor.as_deref()
    }

    /// The actor as feed items embed it: a JSON array of one, or of none.
    pub(super) fn actors(&self) -> Arc<str> {
        Arc::clone(&self.actors)
    }

    /// Goes on with other data than until here (W-ENG-19), and with what has come together.
    pub(super) fn go_on_with(&mut self, data: TriggerData) {
        self.run.data = Arc::new(data);
        self.data = Arc::clone(&self.run.data);
        self.counts = counts(&self.run);
    }

    /// Lays these members over the run's data, for all later steps (W-ENG-19).
    pub(super) fn lay_over_data(&mut self, members: Map<String, Value>) {
        let data = self.data.overlaid(members);
        self.go_on_with(data);
    }

    /// The batch that a run may join.
    pub(super) fn open_batch(&self, gathering: &Gathering) -> Option<OpenBatch> {
        let own = self.opened.iter().find(|(opened, _)| opened == gathering).map(|(_, batch)| batch.clone());
        own.or_else(|| self.scene.facts.open_batch(gathering))
    }

    /// What has come together in the run's last batch; none where it has not been batched.
    pub(super) fn gathered(&self) -> Option<(ClosedBatch, Arc<Gathered>)> {
        let batch = self.run.state.batch.as_ref()?;
        let closed = batch.closed?;
        Some((closed, self.scene.facts.gathered(&batch.id, closed.shown, self.counted)?))
    }

    /// Merges `profile` into somebody who was found to be `stored`, for all later steps (W-UPD-18); shows them as they
    /// were and as they are.
    pub(super) fn merge(&mut self, stored: Entity, profile: Profile) -> Result<(Value, Value), Error> {
        let known = self.changed.iter().find(|changed| changed.reference() == stored.reference()).cloned();
        let mut entity = known.unwrap_or(stored);
        let before = entity.view();
        entity.merge(&profile, self.scene.now, "update_properties")?;
        let after = entity.view();
        self.see(&entity);
        self.merges.push((entity.reference().clone(), profile));
        self.changed.retain(|changed| changed.reference() != entity.reference());
        self.changed.push(entity);
        Ok((before, after))
    }

    /// Has whoever the run is about seen as they are now, and what the recipient wants as it follows from that.
    fn see(&mut self, entity: &Entity) {
        let (run, reference) = (&self.run, entity.reference());
        if run.actor.as_ref() == Some(reference) {
            self.actor = entity.scope().map(Cow::Owned);
            self.actors = entity.record().into_iter().collect::<Value>().to_string().into();
        }
        let is_tenant = |collection: &str, id: &str| collection == TENANTS && run.tenant.as_deref() == Some(id);
        if matches!(reference, RecipientRef::Object { collection, id } if is_tenant(collection, id)) {
            self.tenant = entity.scope().map(Cow::Owned);
        }
        let Some(mut recipient) = self.recipient.take().map(Cow::into_owned) else { return };
        if *reference == run.recipient {
            let followed = recipient.get("subscription").cloned().filter(|_| run.state.followed.is_some());
            recipient = run.with_origin(entity.scope().unwrap_or_default());
            if let Some(followed) = followed {
                recipient["subscription"] = followed;
            }
            self.own_sets = Cow::Owned(OwnSets {
                default: entity.set(DEFAULT).cloned(),
                of_tenant: run.tenant.as_deref().and_then(|tenant| entity.set(tenant)).cloned(),
            });
        }
        if let Some(followed) = run.state.followed.as_ref().filter(|followed| followed.object == reference.key()) {
            recipient["subscription"] = followed.to_scope(entity.scope());
        }
        let preferences = self.own_sets.resolve(self.scene, run.tenant.as_deref(), self.tenant.as_deref());
        recipient["preferences"] = preferences.to_json();
        self.preferences = Cow::Owned(preferences);
        self.recipient = Some(Cow::Owned(recipient));
        if self.present.take().is_some() {
            self.look_for_recipient();
        }
    }

    /// Whether somebody is there.
    pub(super) fn knows(&self, reference: &RecipientRef) -> bool {
        match reference {
            RecipientRef::User(id) => self.user(id).is_some(),
            RecipientRef::Object { collection, id } => self.object(collection, id).is_some(),
        }
    }

    fn found(&self, reference: &RecipientRef, ask: impl FnOnce() -> Option<Value>) -> Option<Value> {
        let changed = self.changed.iter().find(|changed| changed.reference() == reference);
        changed.map_or_else(ask, Entity::scope)
    }

    /// The run's data, whose keys templates may name without a prefix (W-SCP-05).
    pub(super) fn data(&self) -> Option<&Map<String, Value>> {
        self.data.members()
    }

    pub(super) fn env<'e>(&'e self, scope: &'e Scope<'e>) -> Env<'e> {
        Env { scope, now: self.scene.now, lookup: self, strict: false, limits: Limits::default() }
    }

    /// The recipient's zone (W-SCP-26).
    pub(super) fn zone(&self) -> TimeZone {
        let named = self.recipient().and_then(|recipient| recipient.get("timezone")).and_then(Value::as_str);
        window::zone(named, self.scene.default_zone)
    }
}

/// Whom templates name is as the run's own steps left them.
impl Lookup for Stretch<'_> {
    fn user(&self, id: &str) -> Option<Value> {
        self.found(&RecipientRef::User(id.to_owned()), || self.scene.facts.user(id))
    }

    fn object(&self, collection: &str, id: &str) -> Option<Value> {
        let reference = RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() };
        self.found(&reference, || self.scene.facts.object(collection, id))
    }

    fn tenant(&self, id: &str) -> Option<Value> {
        self.object(TENANTS, id)
    }

    fn subscriptions(&self, user: &str) -> Vec<Value> {
        self.scene.facts.follows(user, |object| self.found(object, || self.scene.facts.recipient(object)))
    }
}

/// `run` as conditions see it: what came together in its last batch, or the run's own single activity.
fn counts(run: &Run) -> Value {
    let closed = run.state.batch.as_ref().and_then(|batch| batch.closed);
    let alone = (1, i64::from(run.actor.is_some()));
    let (activities, actors) = closed.map_or(alone, |closed| (closed.total_activities, closed.total_actors));
    json!({"total_activities": activities, "total_actors": actors})
}

/// The conditions of a verdict, with what they compared (W-RUN-16).
pub(super) fn evaluations(verdict: &Verdict) -> Value {
    serde_json::to_value(&verdict.evaluations).unwrap_or_default()
}
