//! A run's next stretch: from where it stands to its next pause or its end, as a pure function.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};

use super::scene::Scene;
use super::steps;
use crate::model::run::{ClosedBatch, EventStatus, Run, RunStatus, SourceType, reasoned};
use crate::model::scope::Scope;
use crate::model::signal::Heard;
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::model::workflow::batch::Shown;
use crate::model::workflow::{Next, Position, Step, StepKind, TriggerFrequency};
use crate::rules::condition::{Context, Group, Verdict};
use crate::rules::preference::Preferences;
use crate::rules::window;
use crate::store::audiences::Slot;
use crate::store::batches::{Gathered, Gathering, OpenBatch};
use crate::store::run_once::Once;
use crate::template::{Env, Limits, Template};
use crate::verbs::Change;
use crate::verbs::audience::belongs;

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
    /// What the recipient wants (W-ENG-22).
    pub preferences: Preferences,
    /// What became of the messages of earlier steps: `refs` as conditions see it.
    pub refs: Map<String, Value>,
    /// What happened that the run waits for.
    pub heard: Vec<Heard>,
}

/// What the stretch led to.
#[derive(Debug)]
pub struct Outcome {
    pub run: Run,
    /// What its steps change besides the run.
    pub change: Change,
    /// Whether the run has begun with it.
    pub is_first: bool,
    /// The ids of the messages that it made.
    pub made: Vec<String>,
    /// When the run goes on; none when it is over.
    pub wake_at: Option<Time>,
}

/// How a step ended.
pub(super) enum Ended {
    /// The run goes on here.
    On(Next),
    /// The run waits until then.
    Pause(Time),
    /// The run is over; its record says why.
    Over,
}

/// One stretch under way.
pub(super) struct Stretch<'a> {
    pub(super) run: Run,
    pub(super) scene: &'a Scene<'a>,
    pub(super) recipient: Option<&'a Value>,
    pub(super) preferences: &'a Preferences,
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
    data: Arc<TriggerData>,
    counts: Value,
}

/// Takes the run from where it stands to its next pause or its end.
pub fn advance(run: Run, input: &Input<'_>) -> Outcome {
    let is_first = run.status == RunStatus::Queued;
    let mut stretch = Stretch {
        scene: input.scene,
        recipient: input.recipient.as_ref(),
        preferences: &input.preferences,
        data: Arc::clone(&run.data),
        refs: Value::Object(input.refs.clone()),
        counts: counts(&run),
        change: Change::new(),
        made: Vec::new(),
        heard: &input.heard,
        claimed: None,
        memberships: HashMap::new(),
        opened: Vec::new(),
        run,
    };
    let wake_at = stretch.go();
    let Stretch { run, change, made, .. } = stretch;
    Outcome { run, change, is_first, made, wake_at }
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
            if !self.scene.is_active {
                return self.halt(EventStatus::Ok, "workflow_inactive", None);
            }
            let metrics = self.scene.metrics;
            match metrics.step(label(step), || self.execute(&position, step)) {
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

    fn execute(&mut self, position: &Position, step: &Step) -> Result<Ended, String> {
        let on = Ended::On(self.scene.workflow.next_after(position));
        if !self.run.state.is_waiting
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
            StepKind::WaitForEvent(wait) => Ok(steps::wait_for_event::execute(self, step, wait, on)),
            StepKind::UpdateAudience(update) => Ok(steps::update_audience::execute(self, step, update, on)),
            StepKind::Branch(branches) => Ok(steps::branch::execute(self, step, branches, position)),
            StepKind::Experiment(experiment) => steps::experiment::execute(self, step, experiment, position),
            StepKind::Channel(channel) => steps::channel::execute(self, step, channel).map(|()| on),
            StepKind::Later(kind) => Err(format!("this version cannot run `{kind}` steps")),
        }
    }

    /// A step failed: it is tried again, and after the last attempt the run halts (W-ENG-13).
    fn failed(&mut self, position: Position, step: &Step, error: &str) -> Option<Time> {
        let place = Some((step.reference.as_str(), kind(step)));
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
        let place = Some((step.reference.as_str(), kind(step)));
        self.run.record(self.scene.now, status, event, place, Some(data));
    }

    /// Evaluates conditions against the run as it stands (W-SCP-02).
    pub(super) fn judge(&self, group: &Group) -> Verdict {
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
        let gathered = closed.and_then(|batch| self.scene.facts.gathered(&batch.id, FIRST));
        match gathered.as_ref().and_then(|gathered| gathered.activities.first()) {
            None => self.judge(group),
            Some(first) => {
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
                tenant.is_none() && self.recipient.is_some_and(|user| belongs(conditions, user, self.scene.now))
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
        let optional =
            [("recipient", self.recipient), ("actor", scene.actor.as_ref()), ("tenant", scene.tenant.as_ref())];
        let mut roots = vec![("data", self.data.value()), ("vars", scene.vars), ("workflow", &scene.workflow_scope)];
        roots.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
        roots
    }

    /// Goes on with other data than until here (W-ENG-19), and with what has come together.
    pub(super) fn go_on_with(&mut self, data: TriggerData) {
        self.run.data = Arc::new(data);
        self.data = Arc::clone(&self.run.data);
        self.counts = counts(&self.run);
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
        Some((closed, self.scene.facts.gathered(&batch.id, closed.shown)?))
    }

    /// The run's data, whose keys templates may name without a prefix (W-SCP-05).
    pub(super) fn data(&self) -> Option<&Map<String, Value>> {
        self.data.members()
    }

    pub(super) fn env<'e>(&'e self, scope: &'e Scope<'e>) -> Env<'e> {
        Env { scope, now: self.scene.now, lookup: &self.scene.facts, strict: false, limits: Limits::default() }
    }

    /// The recipient's zone (W-SCP-26).
    pub(super) fn zone(&self) -> TimeZone {
        let named = self.recipient.and_then(|recipient| recipient.get("timezone")).and_then(Value::as_str);
        window::zone(named, self.scene.default_zone)
    }
}

/// `run` as conditions see it: what came together in its last batch, or the run's own single activity.
fn counts(run: &Run) -> Value {
    let closed = run.state.batch.as_ref().and_then(|batch| batch.closed);
    let alone = (1, i64::from(run.actor.is_some()));
    let (activities, actors) = closed.map_or(alone, |closed| (closed.total_activities, closed.total_actors));
    json!({"total_activities": activities, "total_actors": actors})
}

/// A step's type as the record spells it.
fn kind(step: &Step) -> &str {
    match &step.kind {
        StepKind::Channel(_) => "channel",
        StepKind::Delay(_) => "delay",
        StepKind::Throttle(_) => "throttle",
        StepKind::WaitForEvent(_) => "wait_for_event",
        StepKind::UpdateAudience(_) => "update_audience",
        StepKind::Batch(_) => "batch",
        StepKind::Branch(_) => "branch",
        StepKind::Experiment(_) => "random_cohort",
        StepKind::Later(kind) => kind,
    }
}

/// A step's type as figures name it: those that are not known here share a name.
fn label(step: &Step) -> &'static str {
    match &step.kind {
        StepKind::Channel(_) => "channel",
        StepKind::Delay(_) => "delay",
        StepKind::Throttle(_) => "throttle",
        StepKind::WaitForEvent(_) => "wait_for_event",
        StepKind::UpdateAudience(_) => "update_audience",
        StepKind::Batch(_) => "batch",
        StepKind::Branch(_) => "branch",
        StepKind::Experiment(_) => "random_cohort",
        StepKind::Later(_) => "other",
    }
}

/// The conditions of a verdict, with what they compared (W-RUN-16).
pub(super) fn evaluations(verdict: &Verdict) -> Value {
    serde_json::to_value(&verdict.evaluations).unwrap_or_default()
}
