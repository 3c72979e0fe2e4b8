//! A workflow: its document, read once into steps that are ready to run, and the ways through them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

use super::audience::Audiences;
use super::channel::{Channel, ChannelKind};
use super::channel_group::ChannelGroup;
use super::environment::ChannelSetup;
use super::guide::Guides;
use super::invalid::{Invalid, aside};
use crate::rules::condition::Group;
use crate::rules::delay::Delay;
use crate::template::Template;
use crate::template::blocks::FeedTemplate;
use crate::template::json::JsonTemplate;

pub use ai_agent::AiAgent;
pub use batch::BatchStep;
pub use data_schema::DataSchema;
pub use digest::DigestStep;
pub use experiment::Experiment;
pub use fetch::Fetch;
pub use nested::TriggerWorkflow;
pub use position::{NotAPosition, Position};
pub use send_windows::{SendWindows, Window};
pub use throttle::Throttle;
pub use update::{Update, Updated, Whom};
pub use update_audience::UpdateAudience;
pub use wait_for_event::WaitForEvent;

mod ai_agent;
pub mod batch;
mod data_schema;
pub mod difference;
pub mod digest;
pub mod experiment;
pub mod fetch;
mod nested;
mod parse;
mod position;
mod reader;
mod send_windows;
pub mod throttle;
mod update;
pub mod update_audience;
pub mod wait_for_event;

/// The JSON Schema of `workflow.json` (draft 2020-12), as editors read it: what is accepted here conforms to it. What a
/// schema cannot say, such as whether Liquid can be read, is left to [`Workflow::parse`].
pub const SCHEMA: &str = include_str!("workflow/schema.json");

/// A valid workflow; [`Workflow::parse`] is the way to get one.
#[derive(Debug)]
pub struct Workflow {
    /// What triggers name it by.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// What recipients' preferences name it by, beside the key.
    pub categories: Vec<String>,
    /// Words for the team's own order; nothing depends on them.
    pub tags: Vec<String>,
    /// The trigger's conditions (W-FRQ-01); `None` always holds.
    pub conditions: Option<Group>,
    /// How often it may run for one recipient.
    pub trigger_frequency: TriggerFrequency,
    /// What the data of a trigger must look like.
    pub trigger_data_json_schema: Option<DataSchema>,
    /// Its settings.
    pub settings: Settings,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// Derived from the key and the content: the same content keeps its version.
    pub version_id: Uuid,
    /// The document without its read-only fields.
    pub source: Value,
    /// Whether it may name whether the recipient is online, or when they were.
    pub names_presence: bool,
    /// Whether it may name a link to a page of the recipient's.
    pub names_pages: bool,
    /// Whether a step may say itself that links are tracked.
    pub names_tracking: bool,
}

/// How often a workflow may run for one recipient (W-FRQ-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerFrequency {
    /// As often as it is triggered.
    #[default]
    EveryTrigger,
    /// Once, ever.
    OncePerRecipient,
    /// Once in each tenant; no tenant counts as one.
    OncePerRecipientPerTenant,
}

/// The settings of a whole workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// Commercial mail: unsubscribe headers and the commercial opt-out apply (W-WFD-09).
    pub is_commercial: bool,
    /// The recipient's preferences are not asked (W-WFD-10).
    pub override_preferences: bool,
}

/// One step.
#[derive(Debug)]
pub struct Step {
    /// Unique in the workflow, branches included (W-STP-02).
    pub reference: String,
    /// What people call it.
    pub name: Option<String>,
    /// What it does.
    pub kind: StepKind,
    /// Must hold for the step to run; `None` always holds (W-STP-09).
    pub conditions: Option<Group>,
}

/// What a step does.
#[derive(Debug)]
pub enum StepKind {
    /// Tells the recipient something.
    Channel(ChannelStep),
    /// Waits.
    Delay(Delay),
    /// Lets so many runs pass within a window, and stops the others.
    Throttle(Throttle),
    /// Lays more over the run's data.
    UpdateData(JsonTemplate),
    /// Changes what is stored of somebody.
    Update(Update),
    /// Fetches something over HTTP.
    Fetch(Fetch),
    /// Asks a model.
    AiAgent(AiAgent),
    /// Triggers another workflow.
    TriggerWorkflow(TriggerWorkflow),
    /// Gathers runs, and goes on with one of them.
    Batch(BatchStep),
    /// Gathers runs until a time of the calendar, and goes on with one of them.
    Digest(DigestStep),
    /// Waits until something happens to the recipient, or until it is too late.
    WaitForEvent(WaitForEvent),
    /// Adds the recipient to an audience, or takes them out of it.
    UpdateAudience(UpdateAudience),
    /// Takes the first branch whose conditions hold; the default branch is the last one.
    Branch(Vec<Branch>),
    /// Sends each recipient down the way of their cohort.
    Experiment(Experiment),
}

/// A step that tells the recipient something over a channel.
#[derive(Debug)]
pub struct ChannelStep {
    /// Over which channel, or which group of them.
    pub target: Target,
    /// What kind of channel that is.
    pub channel_type: ChannelKind,
    /// What to tell.
    pub template: ChannelTemplate,
    /// When it may be sent; `None` is always (W-SNW-13).
    pub send_windows: Option<SendWindows>,
    /// The overrides of the channel's own settings, as written (W-CHS-16).
    pub overrides: Option<Value>,
    /// What items are told apart by that take each other's place; our own, for feeds.
    pub collapse_key: Option<Template>,
    /// The guide that the recipient is brought to, where that is what the step does (W-CHS-20).
    pub guide_key: Option<String>,
}

impl ChannelStep {
    /// The key of the one channel it sends over; `None` for a group.
    pub fn channel_key(&self) -> Option<&str> {
        match &self.target {
            Target::Channel(key) => Some(key),
            Target::Group(_) => None,
        }
    }

    /// Whether links are tracked, where the step says so itself (F-TRK-01).
    pub fn tracks_links(&self) -> Option<bool> {
        self.overrides.as_ref()?.get("link_tracking")?.as_bool()
    }
}

/// Where a channel step sends: one of the two, never both (W-CHS-02).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The channel with this key.
    Channel(String),
    /// The channel group with this key.
    Group(String),
}

/// What a channel step tells.
#[derive(Debug)]
pub enum ChannelTemplate {
    /// An item of the in-app feed.
    Feed(FeedTemplate),
    /// The template of another kind of channel, as written; null where the kind needs none. Its Liquid has been checked.
    Other(Value),
}

/// One branch of a branch step.
#[derive(Debug)]
pub struct Branch {
    /// What people call it.
    pub name: Option<String>,
    /// Must hold for it to be taken; the default has none (W-BRN-03).
    pub conditions: Option<Group>,
    /// Ends the run after its steps (W-BRN-07).
    pub terminates: bool,
    /// Its steps; there may be none.
    pub steps: Vec<Step>,
    /// Taken when no other is.
    pub is_default: bool,
}

/// Where a run goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To this step.
    Step(Position),
    /// Nowhere: the run is complete.
    End,
}

impl Workflow {
    /// Whether a run may make links: to pages of its recipient, or tracked ones.
    pub fn may_link(&self, channels: &BTreeMap<String, ChannelSetup>) -> bool {
        self.names_pages || self.names_tracking || channels.values().any(|channel| channel.tracks_links)
    }

    /// The first step of a run.
    pub fn first(&self) -> Next {
        if self.steps.is_empty() { Next::End } else { Next::Step(Position::top(0)) }
    }

    /// The step at `position`.
    pub fn step(&self, position: &Position) -> Option<&Step> {
        let (first, inner) = position.split();
        let mut step = self.steps.get(first)?;
        for (branch, index) in inner {
            step = step.branches().get(branch)?.steps.get(index)?;
        }
        Some(step)
    }

    /// The place of a step as a path into the document: `steps[2].branches[1].steps[0]`.
    pub fn path(&self, position: &Position) -> String {
        let (first, inner) = position.split();
        let mut path = format!("steps[{first}]");
        let mut step = self.steps.get(first);
        for (branch, index) in inner {
            let is_experiment = step.is_some_and(|step| matches!(step.kind, StepKind::Experiment(_)));
            let branches = if is_experiment { "cohort_branches" } else { "branches" };
            path.push_str(&format!(".{branches}[{branch}].steps[{index}]"));
            step = step.and_then(|step| step.branches().get(branch)?.steps.get(index));
        }
        path
    }

    /// Where a run goes when the step at `position` is done or skipped: on in the same list, else on after the branch
    /// step around it (W-BRN-06), unless the branch terminates (W-BRN-07).
    pub fn next_after(&self, position: &Position) -> Next {
        let sibling = position.sibling();
        if self.step(&sibling).is_some() {
            return Next::Step(sibling);
        }
        match position.outer() {
            None => Next::End,
            Some((outer, branch)) => self.leave(&outer, branch),
        }
    }

    /// Where a run goes when the branch step at `position` chose its branch number `branch` (W-BRN-02).
    pub fn enter(&self, position: &Position, branch: usize) -> Next {
        let first = position.inside(branch, 0);
        if self.step(&first).is_some() { Next::Step(first) } else { self.leave(position, branch) }
    }

    /// Where a run goes after the last step of a branch.
    fn leave(&self, position: &Position, branch: usize) -> Next {
        match self.step(position).and_then(|step| step.branches().get(branch)) {
            Some(branch) if !branch.terminates => self.next_after(position),
            // A branch this document does not have leads nowhere.
            _ => Next::End,
        }
    }

    /// The type and the `ref` of the batch or digest step in `latest` mode at `position`: whoever waits there may go on in
    /// another version (W-BAT-33).
    pub fn latest_batch_at(&self, position: &Position) -> Option<(&str, &str)> {
        let step = self.step(position)?;
        let follows_latest = match &step.kind {
            StepKind::Batch(batch) => batch.follows_latest,
            StepKind::Digest(digest) => digest.follows_latest,
            _ => false,
        };
        follows_latest.then_some((step.type_name(), step.reference.as_str()))
    }

    /// Where this version has the batch or digest step with that type and `ref` in `latest` mode.
    pub fn latest_batch(&self, step: (&str, &str)) -> Option<Position> {
        let all = self.all_steps().into_iter().map(|(position, _)| position);
        all.into_iter().find(|position| self.latest_batch_at(position) == Some(step))
    }

    /// Every step with its position, as the document reads, branches included.
    pub fn all_steps(&self) -> Vec<(Position, &Step)> {
        let mut found = Vec::new();
        for (i, step) in self.steps.iter().enumerate() {
            collect(step, Position::top(i), &mut found);
        }
        found
    }

    /// The `ref` of every step, as the document reads.
    pub fn refs(&self) -> Vec<&str> {
        self.all_steps().into_iter().map(|(_, step)| step.reference.as_str()).collect()
    }

    /// Steps that are accepted and do nothing, which nobody means: those whose channel is not among `channels` are skipped
    /// (W-CHS-05), those that ask a model fail (W-AMB-41).
    pub fn doubts(&self, channels: &[Channel]) -> Vec<Invalid> {
        let declared = || channels.iter().map(|channel| channel.key.as_str());
        let mut found = Vec::new();
        for (position, step) in self.all_steps() {
            if matches!(step.kind, StepKind::AiAgent(_)) {
                let message = "this version can ask no model: the step fails whenever a run comes to it";
                found.push(Invalid::new(format!("{}.type", self.path(&position)), message));
            }
            let StepKind::Channel(channel_step) = &step.kind else { continue };
            if let Some(key) = channel_step.channel_key().filter(|key| declared().all(|known| known != *key)) {
                let hint = aside(key, declared());
                let message =
                    format!("no channel `{key}` is declared{hint}: add it to [[channels]]; the step is skipped");
                found.push(Invalid::new(format!("{}.channel_key", self.path(&position)), message));
            }
        }
        found
    }

    /// What is wrong with what its steps say of audiences, when these are all that files declare, and it runs for whoever
    /// joins `joined`.
    pub fn audience_faults(&self, audiences: &Audiences, joined: Option<&str>) -> Vec<Invalid> {
        let mut faults = Vec::new();
        for (position, step) in self.all_steps() {
            let at = |setting: &str| format!("{}.settings.{setting}", self.path(&position));
            match &step.kind {
                StepKind::UpdateAudience(update) => {
                    let (key, at) = (update.audience.as_str(), at("audience_key"));
                    if let Some(fault) = audiences.dynamic_fault(key) {
                        faults.push(Invalid::new(at, fault));
                    } else if joined == Some(key) && update.action == update_audience::Action::Add {
                        // W-UPD-22, W-AMB-16.
                        let fault = format!("the workflow runs for whoever joins `{key}`, so it can't add to it");
                        faults.push(Invalid::new(at, fault));
                    }
                }
                StepKind::WaitForEvent(wait) if wait.topic.starts_with("audience.") => {
                    let (key, at) = (wait.source.as_str(), at("event.audience_key"));
                    // W-WFE-08.
                    if let Some(fault) = audiences.missing(key) {
                        faults.push(Invalid::new(at, fault));
                    } else if audiences.dynamic_fault(key).is_none() {
                        let fault = format!("`{key}` is static: only dynamic audiences are waited for");
                        faults.push(Invalid::new(at, fault));
                    }
                }
                _ => {}
            }
        }
        faults
    }

    /// Its steps that bring their recipients to guides.
    fn guide_steps(&self) -> impl Iterator<Item = (Position, &ChannelStep)> {
        self.all_steps().into_iter().filter_map(|(position, step)| match &step.kind {
            StepKind::Channel(channel) if channel.channel_type == ChannelKind::InAppGuide => Some((position, channel)),
            _ => None,
        })
    }

    /// The keys of the guides to which its steps bring their recipients.
    pub fn guide_keys(&self) -> impl Iterator<Item = &str> {
        self.guide_steps().filter_map(|(_, step)| step.guide_key.as_deref())
    }

    /// What is wrong with what its steps say of guides, when these are all that files declare.
    pub fn guide_faults(&self, guides: &Guides) -> Vec<Invalid> {
        let mut faults = Vec::new();
        for (position, step) in self.guide_steps() {
            let mut wrong = |setting: &str, fault: String| {
                faults.push(Invalid::new(format!("{}.{setting}", self.path(&position)), fault));
            };
            match step.guide_key.as_deref() {
                None => wrong("guide_key", "is required: to which guide the recipient is brought".to_owned()),
                Some(key) => {
                    if let Some(fault) = guides.missing(key) {
                        wrong("guide_key", fault);
                    }
                    if let (Some(guide), Some(channel)) = (guides.get(key), step.channel_key())
                        && guide.channel != channel
                    {
                        wrong("channel_key", format!("guide `{key}` is shown over channel `{}`", guide.channel));
                    }
                }
            }
            if step.send_windows.is_some() {
                let fault =
                    "nothing is sent for a guide: whoever is to see it later is brought to it behind a delay step";
                wrong("send_windows", fault.to_owned());
            }
        }
        faults
    }

    /// Channel steps whose group is not among `groups`, or is of another kind: they are skipped, which nobody means.
    pub fn undeclared_groups(&self, groups: &[ChannelGroup]) -> Vec<Invalid> {
        let mut found = Vec::new();
        for (position, step) in self.all_steps() {
            let StepKind::Channel(ChannelStep { target: Target::Group(key), channel_type, .. }) = &step.kind else {
                continue;
            };
            let path = format!("{}.channel_group_key", self.path(&position));
            match groups.iter().find(|group| group.key == *key) {
                None => {
                    let hint = aside(key, groups.iter().map(|group| group.key.as_str()));
                    let message = format!(
                        "no channel group `{key}` is declared{hint}: add it to [[channel_groups]]; the step is skipped"
                    );
                    found.push(Invalid::new(path, message));
                }
                Some(group) if group.channel_type != *channel_type => {
                    let message = format!(
                        "channel group `{key}` is of type {}, and the step of type {channel_type}: nothing is sent",
                        group.channel_type
                    );
                    found.push(Invalid::new(path, message));
                }
                Some(_) => {}
            }
        }
        found
    }

    /// Everything in a trigger's data that its schema does not allow, by paths such as `data.name` (W-VAL-06). Without
    /// a schema any object is accepted (W-VAL-07).
    pub fn validate_data(&self, data: &Value) -> Vec<Invalid> {
        self.trigger_data_json_schema.as_ref().map(|schema| schema.validate(data)).unwrap_or_default()
    }
}

impl Step {
    /// Its type, as documents, records and figures spell it.
    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            StepKind::Channel(_) => "channel",
            StepKind::Delay(_) => "delay",
            StepKind::Throttle(_) => "throttle",
            StepKind::UpdateData(_) => "update_data",
            StepKind::Update(update) => update.what.step_type(),
            StepKind::WaitForEvent(_) => "wait_for_event",
            StepKind::Batch(_) => "batch",
            StepKind::Digest(_) => "digest",
            StepKind::Branch(_) => "branch",
            StepKind::Experiment(_) => "random_cohort",
            StepKind::Fetch(_) => "http_fetch",
            StepKind::AiAgent(_) => "ai_agent",
            StepKind::TriggerWorkflow(_) => "trigger_workflow",
            StepKind::UpdateAudience(_) => "update_audience",
        }
    }

    /// The branches of a branch step, or the cohorts of an experiment; none for other steps.
    pub fn branches(&self) -> &[Branch] {
        match &self.kind {
            StepKind::Branch(branches) => branches,
            StepKind::Experiment(experiment) => &experiment.branches,
            _ => &[],
        }
    }
}

fn collect<'a>(step: &'a Step, position: Position, found: &mut Vec<(Position, &'a Step)>) {
    found.push((position.clone(), step));
    for (b, branch) in step.branches().iter().enumerate() {
        for (i, inner) in branch.steps.iter().enumerate() {
            collect(inner, position.inside(b, i), found);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wait(reference: &str) -> Value {
        json!({"type": "delay", "ref": reference, "settings": {"delay_for": {"unit": "minutes", "value": 1}}})
    }

    fn when(value: &str) -> Value {
        json!({"all": [{"variable": "data.x", "operator": "equal_to", "argument": value}]})
    }

    /// 0 `a`; 1 `b` with branches: 0 (`b1`, `b2` with branches: 0 terminating (`c`), 1 empty), 1 terminating empty,
    /// 2 the default, empty; 2 `d`.
    fn workflow() -> Workflow {
        let inner = json!({"type": "branch", "ref": "b2", "branches": [
            {"name": "ends", "conditions": when("1"), "terminates": true, "steps": [wait("c")]},
            {"name": "default", "conditions": null, "steps": []}
        ]});
        let document = json!({"name": "Ways", "steps": [
            wait("a"),
            {"type": "branch", "ref": "b", "branches": [
                {"name": "long", "conditions": when("1"), "steps": [wait("b1"), inner]},
                {"name": "stop", "conditions": when("2"), "terminates": true, "steps": []},
                {"name": "default", "steps": []}
            ]},
            wait("d")
        ]});
        Workflow::parse("ways", &document, &[]).expect("a valid workflow")
    }

    fn at(position: &str) -> Position {
        position.parse().expect("a position")
    }

    fn to(position: &str) -> Next {
        Next::Step(at(position))
    }

    #[test]
    fn steps_that_would_do_nothing_are_doubted() {
        let settings = json!({"model": "anthropic:claude", "request_prompt": "hi", "response_type": "text"});
        let steps = json!([wait("a"), {"type": "ai_agent", "ref": "ai_1", "settings": settings}]);
        let workflow = Workflow::parse("thinks", &json!({"name": "Thinks", "steps": steps}), &[]).expect("W-AIA-01");
        let doubts: Vec<String> = workflow.doubts(&[]).iter().map(ToString::to_string).collect();
        let said = "steps[1].type: this version can ask no model: the step fails whenever a run comes to it";
        assert_eq!(doubts, [said], "W-AMB-41");
    }

    #[test]
    fn positions_name_steps_and_nothing_else() {
        let workflow = workflow();
        let named: Vec<(String, &str)> =
            workflow.all_steps().iter().map(|(p, s)| (p.to_string(), s.reference.as_str())).collect();
        let expected = [("0", "a"), ("1", "b"), ("1.0.0", "b1"), ("1.0.1", "b2"), ("1.0.1.0.0", "c"), ("2", "d")];
        assert_eq!(named, expected.map(|(p, r)| (p.to_owned(), r)), "W-BRN-11");
        for (position, step) in workflow.all_steps() {
            assert!(std::ptr::eq(workflow.step(&position).expect("a step"), step), "{position}");
        }
        for nowhere in ["3", "0.0.0", "1.3.0", "1.0.2", "1.1.0"] {
            assert!(workflow.step(&at(nowhere)).is_none(), "{nowhere}");
        }
        assert_eq!(workflow.refs(), ["a", "b", "b1", "b2", "c", "d"]);
    }

    #[test]
    fn a_run_starts_at_the_first_step_or_is_over() {
        assert_eq!(workflow().first(), to("0"));
        let empty =
            Workflow::parse("empty", &json!({"name": "Empty", "steps": []}), &[]).expect("W-WFD-02: may be empty");
        assert_eq!(empty.first(), Next::End, "W-WFD-02");
    }

    #[test]
    fn after_a_branch_the_run_goes_on_behind_the_branch_step() {
        let workflow = workflow();
        assert_eq!(workflow.next_after(&at("0")), to("1"));
        assert_eq!(workflow.next_after(&at("1")), to("2"), "a branch step that is skipped");
        assert_eq!(workflow.next_after(&at("2")), Next::End);
        assert_eq!(workflow.next_after(&at("1.0.0")), to("1.0.1"), "in a branch");
        assert_eq!(workflow.next_after(&at("1.0.1")), to("2"), "W-BRN-06");
    }

    #[test]
    fn a_terminating_branch_ends_the_run_after_its_steps() {
        let workflow = workflow();
        assert_eq!(workflow.next_after(&at("1.0.1.0.0")), Next::End, "W-BRN-07: also when it stands in another branch");
        assert_eq!(workflow.enter(&at("1"), 1), Next::End, "W-BRN-07: with no steps it ends at once");
    }

    #[test]
    fn the_chosen_branch_is_entered_and_an_empty_one_passed_through() {
        let workflow = workflow();
        assert_eq!(workflow.enter(&at("1"), 0), to("1.0.0"), "W-BRN-02");
        assert_eq!(workflow.enter(&at("1"), 2), to("2"), "W-BRN-03: a default without steps");
        assert_eq!(workflow.enter(&at("1.0.1"), 1), to("2"), "W-BRN-06: out of two branches at once");
    }

    #[test]
    fn what_the_document_does_not_have_leads_nowhere() {
        let workflow = workflow();
        assert_eq!(workflow.enter(&at("0"), 0), Next::End, "no branch step");
        assert_eq!(workflow.enter(&at("1"), 9), Next::End);
        assert_eq!(workflow.next_after(&at("9")), Next::End);
        assert_eq!(workflow.next_after(&at("1.9.0")), Next::End);
    }

    #[test]
    fn data_is_checked_only_where_there_is_a_schema() {
        assert_eq!(workflow().validate_data(&json!({"anything": [1]})), [], "W-VAL-07");
        let schema = json!({"type": "object", "required": ["name"]});
        let document = json!({"name": "Strict", "steps": [], "trigger_data_json_schema": schema});
        let strict = Workflow::parse("strict", &document, &[]).expect("W-VAL-05");
        assert_eq!(strict.validate_data(&json!({})), [Invalid::new("data.name", "is required")], "W-VAL-06");
        assert_eq!(strict.validate_data(&json!({"name": 1})), [], "W-VAL-06");
    }
}
