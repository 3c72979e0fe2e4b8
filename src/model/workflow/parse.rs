//! Reads a workflow's document; finds everything that is wrong with it, each with its place.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::experiment::spell_percentages;
use super::reader::{Node, Reader, short};
use super::{
    Branch, ChannelStep, ChannelTemplate, DataSchema, SendWindows, Settings, Step, StepKind, Target, TriggerFrequency,
    Updated, Workflow,
};
use crate::model::channel::{Channel, ChannelKind};
use crate::model::invalid::{Invalid, did_you_mean};
use crate::model::preference_center::{PREFERENCES_URL, UNSUBSCRIBE_URL};
use crate::model::presence;
use crate::rules::condition::{Allow, Group};
use crate::rules::delay::Delay;
use crate::template::Template;
use crate::template::blocks::FeedTemplate;

/// Versions are named inside this namespace; it must never change.
const VERSIONS: Uuid = Uuid::from_u128(0x8f0e_3d52_7b1c_4c39_9a64_1d2b_c05f_e7a8);

const LONGEST_NAME: usize = 255;
const LONGEST_DESCRIPTION: usize = 280;
const MOST_BRANCHES: usize = 10;
const DEEPEST_BRANCH: usize = 5;

/// Written by servers and the CLI, never read from a document (W-WFD-12, W-WFD-18).
const READ_ONLY: [&str; 10] =
    ["$schema", "__readonly", "key", "active", "valid", "environment", "created_at", "updated_at", "deleted_at", "sha"];

const WORKFLOW_KEYS: [&str; 10] = [
    "name",
    "description",
    "categories",
    "tags",
    "conditions",
    "trigger_frequency",
    "trigger_data_json_schema",
    "settings",
    "goal_attachment",
    "steps",
];

/// What steps may be of (W-WFD-14, W-AMB-16).
const TYPES: [&str; 16] = [
    "channel",
    "delay",
    "throttle",
    "batch",
    "digest",
    "wait_for_event",
    "branch",
    "random_cohort",
    "update_data",
    "update_user",
    "update_object",
    "update_tenant",
    "update_audience",
    "trigger_workflow",
    "http_fetch",
    "ai_agent",
];

const ON_TRIGGER: Allow = Allow { message_status: false, event: false };
const ON_STEP: Allow = Allow { message_status: true, event: false };

impl Workflow {
    /// Reads the document of the workflow `key`. `channels` are the configured ones: a channel step that does not state
    /// its `channel_type` takes it from there (W-CHS-01).
    pub fn parse(key: &str, document: &Value, channels: &[Channel]) -> Result<Workflow, Vec<Invalid>> {
        let mut reader = Reader::new(channels);
        let workflow = reader.workflow(key, document);
        reader.finish(workflow)
    }

    /// What is wrong with a key, if anything (W-WFD-01).
    pub fn key_problem(key: &str) -> Option<String> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if (3..=255).contains(&key.len()) && key.bytes().all(allowed) {
            return None;
        }
        let key = short(key);
        Some(format!("`{key}` can't be a workflow's key: 3 to 255 characters out of a-z, 0-9, `_` and `-` are allowed"))
    }
}

impl Reader<'_> {
    fn workflow(&mut self, key: &str, document: &Value) -> Option<Workflow> {
        if let Some(problem) = Workflow::key_problem(key) {
            self.wrong("key", problem);
        }
        let node = self.object(document, "")?;
        self.known(&node, &[&WORKFLOW_KEYS[..], &READ_ONLY[..]].concat());
        let name = self.required_text(&node, "name");
        self.at_most(&node, "name", LONGEST_NAME);
        let description = self.text(&node, "description").map(str::to_owned);
        self.at_most(&node, "description", LONGEST_DESCRIPTION);
        self.goal_attachment(&node);
        let categories = self.texts(&node, "categories");
        let tags = self.texts(&node, "tags");
        let conditions = self.conditions(&node, ON_TRIGGER);
        let trigger_frequency = self.trigger_frequency(&node);
        let trigger_data_json_schema = self.data_schema(&node);
        let settings = self.settings(&node);
        if node.get("steps").is_none() {
            self.wrong("steps", "is required; an empty list is allowed");
        }
        let steps = self.steps(&node, 0);
        let mut source = without_read_only(node.map);
        spell_percentages(&mut source);
        let text = source.to_string();
        Some(Workflow {
            key: key.to_owned(),
            name: name?.to_owned(),
            description,
            categories,
            tags,
            conditions,
            trigger_frequency,
            trigger_data_json_schema,
            settings,
            steps,
            version_id: version_id(key, &source),
            names_presence: presence::may_be_named_in(&text),
            names_tracking: text.contains("link_tracking"),
            names_pages: [PREFERENCES_URL, UNSUBSCRIBE_URL].iter().any(|name| text.contains(name)),
            source,
        })
    }

    fn trigger_frequency(&mut self, node: &Node<'_>) -> TriggerFrequency {
        let word = self.text(node, "trigger_frequency");
        match word {
            None | Some("every_trigger") => TriggerFrequency::EveryTrigger,
            Some("once_per_recipient") => TriggerFrequency::OncePerRecipient,
            Some("once_per_recipient_per_tenant") => TriggerFrequency::OncePerRecipientPerTenant,
            Some(_) => {
                let allowed = "must be every_trigger, once_per_recipient or once_per_recipient_per_tenant";
                self.wrong(node.at("trigger_frequency"), allowed);
                TriggerFrequency::default()
            }
        }
    }

    fn data_schema(&mut self, node: &Node<'_>) -> Option<DataSchema> {
        let document = node.get("trigger_data_json_schema")?;
        let compiled = DataSchema::compile(document, &node.at("trigger_data_json_schema"));
        compiled.map_err(|problem| self.problems.push(problem)).ok()
    }

    fn settings(&mut self, node: &Node<'_>) -> Settings {
        let Some(settings) = self.object_at(node, "settings") else { return Settings::default() };
        self.known(&settings, &["is_commercial", "override_preferences"]);
        Settings {
            is_commercial: self.flag(&settings, "is_commercial"),
            override_preferences: self.flag(&settings, "override_preferences"),
        }
    }

    /// Checks what analytics would read (W-WFD-11); nothing here does.
    fn goal_attachment(&mut self, node: &Node<'_>) {
        let Some(goal) = self.object_at(node, "goal_attachment") else { return };
        self.known(&goal, &["goal_key", "attribution_window_days"]);
        self.required_text(&goal, "goal_key");
        let days = goal.get("attribution_window_days");
        if days.is_some_and(|days| !days.as_u64().is_some_and(|days| (1..=30).contains(&days))) {
            self.wrong(goal.at("attribution_window_days"), "must be a whole number from 1 to 30");
        }
    }

    /// The steps of the workflow or of a branch that stands in `depth` branch steps.
    pub(super) fn steps(&mut self, node: &Node<'_>, depth: usize) -> Vec<Step> {
        let path = node.at("steps");
        let list = self.list(node, "steps");
        list.iter().enumerate().filter_map(|(i, step)| self.step(step, &format!("{path}[{i}]"), depth)).collect()
    }

    fn step(&mut self, value: &Value, path: &str, depth: usize) -> Option<Step> {
        let node = self.object(value, path)?;
        let reference = self.reference(&node);
        let name = self.text(&node, "name").map(str::to_owned);
        self.text(&node, "description");
        let (kind, conditions) = match self.required_text(&node, "type")? {
            "channel" => (self.channel(&node).map(StepKind::Channel), self.conditions(&node, ON_STEP)),
            "delay" => (self.delay(&node).map(StepKind::Delay), self.conditions(&node, ON_STEP)),
            "throttle" => (self.throttle(&node).map(StepKind::Throttle), self.conditions(&node, ON_STEP)),
            "update_data" => (self.update_data(&node).map(StepKind::UpdateData), self.conditions(&node, ON_STEP)),
            "update_user" => (self.update(&node, Updated::User).map(StepKind::Update), self.conditions(&node, ON_STEP)),
            "update_object" => {
                (self.update(&node, Updated::Object).map(StepKind::Update), self.conditions(&node, ON_STEP))
            }
            "update_tenant" => {
                (self.update(&node, Updated::Tenant).map(StepKind::Update), self.conditions(&node, ON_STEP))
            }
            "http_fetch" => (self.fetch(&node).map(StepKind::Fetch), self.conditions(&node, ON_STEP)),
            "ai_agent" => (self.ai_agent(&node).map(StepKind::AiAgent), self.conditions(&node, ON_STEP)),
            "trigger_workflow" => {
                (self.trigger_workflow(&node).map(StepKind::TriggerWorkflow), self.conditions(&node, ON_STEP))
            }
            "batch" => (self.batch(&node).map(StepKind::Batch), self.conditions(&node, ON_STEP)),
            "digest" => (self.digest(&node).map(StepKind::Digest), self.conditions(&node, ON_STEP)),
            "wait_for_event" => {
                (self.wait_for_event(&node).map(StepKind::WaitForEvent), self.conditions(&node, ON_STEP))
            }
            "update_audience" => {
                (self.update_audience(&node).map(StepKind::UpdateAudience), self.conditions(&node, ON_STEP))
            }
            "branch" => (self.branch(&node, depth + 1).map(StepKind::Branch), None),
            "random_cohort" => (self.experiment(&node, depth + 1).map(StepKind::Experiment), None),
            unknown => (self.unknown_type(&node, unknown), None),
        };
        Some(Step { reference: reference?, name, kind: kind?, conditions })
    }

    fn reference(&mut self, node: &Node<'_>) -> Option<String> {
        let reference = self.required_text(node, "ref")?.to_owned();
        if let Some(first) = self.refs.get(&reference) {
            let problem = format!("`{reference}` is already the ref of {first}; a ref is unique, also across branches");
            self.wrong(node.at("ref"), problem);
            return None;
        }
        self.refs.insert(reference.clone(), node.path.clone());
        Some(reference)
    }

    fn unknown_type(&mut self, node: &Node<'_>, word: &str) -> Option<StepKind> {
        // Too far from its word to be found by spelling, yet often written.
        let meant = if word == "fetch" { "http_fetch" } else { word };
        let hint = did_you_mean(meant, TYPES);
        let hint = hint.unwrap_or_else(|| format!("known are {}", TYPES.join(", ")));
        self.wrong(node.at("type"), format!("there is no step type `{}`; {hint}", short(word)));
        None
    }

    fn delay(&mut self, node: &Node<'_>) -> Option<Delay> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        let Some(settings) = node.get("settings") else {
            self.wrong(node.at("settings"), "is required: `delay_for`, `delay_until_field_path` or both");
            return None;
        };
        let delay = Delay::parse(settings, &node.at("settings"));
        self.keep(delay)
    }

    fn channel(&mut self, node: &Node<'_>) -> Option<ChannelStep> {
        let own = [
            "type",
            "ref",
            "name",
            "description",
            "conditions",
            "channel_key",
            "channel_group_key",
            "channel_type",
            "channel_overrides",
            "template",
            "send_windows",
        ];
        let target = self.target(node);
        let channel_type = self.channel_type(node, target.as_ref());
        let more: &[&str] = match channel_type {
            Some(ChannelKind::InAppGuide) => &["guide_key"],
            Some(ChannelKind::InAppFeed) => &["collapse_key"],
            Some(_) => &[],
            None => &["guide_key", "collapse_key"],
        };
        self.known(node, &[&own[..], more].concat());
        let collapse_key = self.collapse_key(node);
        let guide_key = self.text(node, "guide_key").filter(|key| !key.is_empty()).map(str::to_owned);
        let template = channel_type.and_then(|kind| self.template(node, kind));
        let send_windows = node.get("send_windows").map(|list| SendWindows::parse(list, &node.at("send_windows")));
        let send_windows = send_windows.and_then(|windows| self.keep(windows));
        let overrides = self.overrides(node, channel_type);
        Some(ChannelStep {
            target: target?,
            channel_type: channel_type?,
            template: template?,
            send_windows,
            overrides,
            collapse_key,
            guide_key,
        })
    }

    fn collapse_key(&mut self, node: &Node<'_>) -> Option<Template> {
        let text = self.text(node, "collapse_key").filter(|text| !text.trim().is_empty())?;
        let wrong = |error: crate::template::Error| {
            vec![Invalid::new(node.at("collapse_key"), format!("line {}: {}", error.line, error.message))]
        };
        self.keep(Template::parse(text).map_err(wrong))
    }

    fn target(&mut self, node: &Node<'_>) -> Option<Target> {
        let is_set = |key: &str| node.get(key).is_some_and(|value| value != "");
        match (is_set("channel_key"), is_set("channel_group_key")) {
            (true, false) => self.text(node, "channel_key").map(|key| Target::Channel(key.to_owned())),
            (false, true) => self.text(node, "channel_group_key").map(|key| Target::Group(key.to_owned())),
            (false, false) => {
                self.wrong(node.at("channel_key"), "is required: set either `channel_key` or `channel_group_key`");
                None
            }
            (true, true) => {
                self.wrong(node.at("channel_group_key"), "set either `channel_key` or `channel_group_key`, not both");
                None
            }
        }
    }

    fn channel_type(&mut self, node: &Node<'_>, target: Option<&Target>) -> Option<ChannelKind> {
        let configured = target.and_then(|target| match target {
            Target::Channel(key) => self.channels.iter().find(|channel| channel.key == *key),
            Target::Group(_) => None,
        });
        let at = node.at("channel_type");
        if node.get("channel_type").is_none() {
            if configured.is_none() && target.is_some() {
                self.wrong(
                    at,
                    "is required, as no configured channel with that key tells it; for a feed: `in_app_feed`",
                );
            }
            return configured.map(|channel| channel.kind);
        }
        let stated: ChannelKind = match self.text(node, "channel_type")?.parse() {
            Ok(kind) => kind,
            Err(unknown) => {
                self.wrong(at, format!("{unknown}"));
                return None;
            }
        };
        if let Some(channel) = configured.filter(|channel| channel.kind != stated) {
            self.wrong(at, format!("is `{stated}`, but channel `{}` is of type `{}`", channel.key, channel.kind));
        }
        Some(stated)
    }

    fn overrides(&mut self, node: &Node<'_>, kind: Option<ChannelKind>) -> Option<Value> {
        let overrides = self.object_at(node, "channel_overrides")?;
        if kind == Some(ChannelKind::InAppFeed) {
            self.known(&overrides, &["link_tracking"]);
            self.flag(&overrides, "link_tracking");
        }
        let value = Value::Object(overrides.map.clone());
        self.liquid(&value, &overrides.path);
        Some(value)
    }

    fn template(&mut self, node: &Node<'_>, kind: ChannelKind) -> Option<ChannelTemplate> {
        let path = node.at("template");
        match (kind, node.get("template")) {
            (ChannelKind::InAppFeed, Some(template)) => {
                let template = FeedTemplate::parse(template, &path);
                self.keep(template).map(ChannelTemplate::Feed)
            }
            // A guide has no text of its own (W-CHS-20); a request may be the channel's (W-TPL-14).
            (ChannelKind::InAppGuide | ChannelKind::Http, None) => Some(ChannelTemplate::Other(Value::Null)),
            (_, None) => {
                self.wrong(path, "is required");
                None
            }
            (_, Some(template)) => {
                self.object(template, &path)?;
                self.liquid(template, &path);
                Some(ChannelTemplate::Other(template.clone()))
            }
        }
    }

    /// Checks the Liquid of every text in `value` (W-TPL-15).
    fn liquid(&mut self, value: &Value, path: &str) {
        match value {
            Value::String(text) => {
                if let Err(error) = Template::parse(text) {
                    self.wrong(path, format!("line {}: {}", error.line, error.message));
                }
            }
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| self.liquid(item, &format!("{path}[{i}]")));
            }
            Value::Object(map) => map.iter().for_each(|(key, item)| self.liquid(item, &format!("{path}.{key}"))),
            _ => {}
        }
    }

    /// The branches of a branch step that stands `depth` deep, counting itself.
    fn branch(&mut self, node: &Node<'_>, depth: usize) -> Option<Vec<Branch>> {
        if node.map.contains_key("default_branch") {
            let problem = "there is no `default_branch`: the last of `branches`, without conditions, is the default";
            self.wrong(node.at("default_branch"), problem);
        }
        self.known(node, &["type", "ref", "name", "description", "branches", "conditions", "default_branch"]);
        self.no_conditions(node, "a branch step has no conditions of its own; they belong to its branches");
        if !self.may_stand(node, depth) {
            return None;
        }
        let path = node.at("branches");
        let list = self.list(node, "branches");
        if !(2..=MOST_BRANCHES).contains(&list.len()) {
            let problem =
                format!("2 to {MOST_BRANCHES} branches are allowed, the default included; here are {}", list.len());
            self.wrong(path.clone(), problem);
        }
        let branches: Vec<Option<Branch>> = list
            .iter()
            .enumerate()
            .map(|(i, branch)| self.one_branch(branch, &format!("{path}[{i}]"), i + 1 == list.len(), depth))
            .collect();
        branches.into_iter().collect()
    }

    pub(super) fn no_conditions(&mut self, node: &Node<'_>, problem: &str) {
        if self.conditions(node, ON_STEP).is_some() {
            self.wrong(node.at("conditions"), problem);
        }
    }

    /// Whether a step with branches may stand so deep (W-BRN-10, W-EXP-12).
    pub(super) fn may_stand(&mut self, node: &Node<'_>, depth: usize) -> bool {
        if depth > DEEPEST_BRANCH {
            self.wrong(node.path.clone(), format!("branches may be nested {DEEPEST_BRANCH} deep at most"));
        }
        depth <= DEEPEST_BRANCH
    }

    fn one_branch(&mut self, value: &Value, path: &str, is_last: bool, depth: usize) -> Option<Branch> {
        let node = self.object(value, path)?;
        self.known(&node, &["name", "conditions", "steps", "terminates", "default", "ref"]);
        let name = self.text(&node, "name").map(str::to_owned);
        self.text(&node, "ref");
        let found = self.problems.len();
        let conditions = self.conditions(&node, ON_STEP);
        let conditions_are_sound = self.problems.len() == found;
        let says_default = self.flag(&node, "default");
        if conditions_are_sound {
            self.default_is_last(&node, is_last, says_default, conditions.is_some());
        }
        let terminates = self.flag(&node, "terminates");
        let steps = self.steps(&node, depth);
        Some(Branch { name, conditions, terminates, steps, is_default: is_last })
    }

    /// W-BRN-03, W-BRN-05, W-BRN-13: the last branch and no other has no conditions.
    fn default_is_last(&mut self, node: &Node<'_>, is_last: bool, says_default: bool, has_conditions: bool) {
        match (is_last, has_conditions) {
            (true, true) => {
                self.wrong(
                    node.at("conditions"),
                    "the last branch is the default and has no conditions; add one behind",
                );
            }
            (false, _) if says_default => self.wrong(node.at("default"), "the default branch must be the last one"),
            (false, false) => {
                let problem = "needs at least one condition: only the last branch, the default, has none";
                self.wrong(node.at("conditions"), problem);
            }
            _ => {}
        }
    }

    /// The conditions of `node`; missing, null and empty ones always hold (W-STP-09, W-AMB-19).
    fn conditions(&mut self, node: &Node<'_>, allow: Allow) -> Option<Group> {
        let group = Group::parse(node.get("conditions")?, &node.at("conditions"), allow);
        self.keep(group).filter(|group| !group.is_empty())
    }
}

fn without_read_only(document: &Map<String, Value>) -> Value {
    let kept = document.iter().filter(|(key, _)| !READ_ONLY.contains(&key.as_str()));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

/// The name of this content. `serde_json` writes an object's keys in order, so their order in the file is no matter.
fn version_id(key: &str, source: &Value) -> Uuid {
    Uuid::new_v5(&VERSIONS, format!("{key}\n{source}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::channel::ResponseFilter;
    use crate::model::time::Time;
    use serde_json::json;

    fn bell() -> Channel {
        Channel {
            id: Uuid::nil(),
            key: "in-app-feed".into(),
            name: "Bell".into(),
            kind: ChannelKind::InAppFeed,
            provider: Channel::FEED_PROVIDER.into(),
            created_at: Time::default(),
            updated_at: Time::default(),
            conditions: None,
            response_filter: ResponseFilter::default(),
        }
    }

    fn parse(document: &Value) -> Result<Workflow, Vec<Invalid>> {
        Workflow::parse("welcome", document, &[bell()])
    }

    /// The paths of everything that is wrong.
    fn wrong(document: &Value) -> Vec<String> {
        parse(document).err().unwrap_or_default().into_iter().map(|problem| problem.path).collect()
    }

    fn with_step(step: &Value) -> Value {
        json!({"name": "Welcome", "steps": [step]})
    }

    /// A sound workflow with `changes` laid over its top level.
    fn workflow(changes: Value) -> Value {
        merged(json!({"name": "Welcome", "steps": []}), changes)
    }

    /// A sound feed step with `changes` laid over it.
    fn feed(changes: Value) -> Value {
        let sound = json!({
            "type": "channel", "ref": "in_app_feed_1", "channel_key": "in-app-feed", "channel_type": "in_app_feed",
            "template": {"markdown_body": "Hello **{{ recipient.name }}**", "action_url": "/start"}
        });
        merged(sound, changes)
    }

    fn delay(reference: &str) -> Value {
        json!({"type": "delay", "ref": reference, "settings": {"delay_for": {"unit": "minutes", "value": 1}}})
    }

    fn branches(list: Value) -> Value {
        with_step(&json!({"type": "branch", "ref": "branch_1", "branches": list}))
    }

    fn merged(mut base: Value, changes: Value) -> Value {
        if let (Value::Object(base), Value::Object(changes)) = (&mut base, changes) {
            base.extend(changes);
        }
        base
    }

    fn when(variable: &str) -> Value {
        json!({"all": [{"variable": variable, "operator": "equal_to", "argument": "x"}]})
    }

    #[test]
    fn a_collapse_key_is_liquid_and_belongs_to_feeds() {
        let key = |key: Value| with_step(&feed(json!({"collapse_key": key})));
        for nothing in [Value::Null, json!(""), json!(" ")] {
            assert!(parse(&key(nothing)).is_ok());
        }
        let workflow = parse(&key(json!("build-{{ data.id }}"))).expect("a valid workflow");
        let StepKind::Channel(step) = &workflow.steps[0].kind else { panic!("a channel step") };
        assert_eq!(step.collapse_key.as_ref().map(Template::source), Some("build-{{ data.id }}"));
        for wrong_key in [json!("{{ a"), json!(7)] {
            assert_eq!(wrong(&key(wrong_key)), ["steps[0].collapse_key"]);
        }
        let mail =
            json!({"channel_type": "sms", "channel_key": "sms", "template": {"text_body": "x"}, "collapse_key": "k"});
        assert_eq!(wrong(&with_step(&feed_without_template(mail))), ["steps[0].collapse_key"]);
    }

    fn feed_without_template(step: Value) -> Value {
        merged(json!({"type": "channel", "ref": "sms_1"}), step)
    }

    #[test]
    fn a_key_is_short_and_plain() {
        for key in ["abc", "new-comment_2", &"a".repeat(255)] {
            assert_eq!(Workflow::key_problem(key), None, "W-WFD-01 {key}");
        }
        for key in ["ab", "New", "a b c", "naïve", "a.b", "", &"a".repeat(256)] {
            assert!(Workflow::key_problem(key).is_some(), "W-WFD-01 {key}");
        }
        let problems = Workflow::parse("X", &workflow(json!({})), &[]).expect_err("W-WFD-01");
        assert_eq!(problems[0].path, "key", "W-WFD-01");
    }

    #[test]
    fn a_whole_document_is_read() {
        let read = parse(&json!({
            "name": "Welcome",
            "description": "Greets",
            "categories": ["Onboarding & more"],
            "tags": ["growth"],
            "conditions": when("recipient.plan"),
            "trigger_frequency": "once_per_recipient_per_tenant",
            "trigger_data_json_schema": {"type": "object"},
            "settings": {"is_commercial": true, "override_preferences": true},
            "goal_attachment": {"goal_key": "signed-up", "attribution_window_days": 30},
            "steps": [feed(json!({"name": "Bell", "description": null}))]
        }))
        .expect("a sound document");
        assert_eq!((read.key.as_str(), read.name.as_str()), ("welcome", "Welcome"), "W-WFD-01, W-WFD-02");
        assert_eq!(read.description.as_deref(), Some("Greets"), "W-WFD-03");
        assert_eq!(read.categories, ["Onboarding & more"], "W-WFD-04");
        assert_eq!(read.tags, ["growth"], "W-WFD-05");
        assert!(read.conditions.is_some(), "W-WFD-06");
        assert_eq!(read.trigger_frequency, TriggerFrequency::OncePerRecipientPerTenant, "W-WFD-07, W-FRQ-04");
        assert!(read.trigger_data_json_schema.is_some(), "W-WFD-08");
        assert_eq!(read.settings, Settings { is_commercial: true, override_preferences: true }, "W-WFD-09, W-WFD-10");
        assert_eq!(read.steps.len(), 1);
        assert_eq!(read.steps[0].name.as_deref(), Some("Bell"), "W-STP-01");
    }

    #[test]
    fn what_is_not_said_has_its_default() {
        let unset = json!({
            "description": null, "categories": null, "tags": null, "conditions": null, "trigger_frequency": null,
            "trigger_data_json_schema": null, "settings": null, "goal_attachment": null
        });
        for document in [workflow(json!({})), workflow(unset), workflow(json!({"settings": {"is_commercial": null}}))] {
            let read = parse(&document).expect("W-STP-08: null and absent both mean unset");
            assert_eq!(read.trigger_frequency, TriggerFrequency::EveryTrigger, "W-FRQ-04");
            assert_eq!(read.settings, Settings::default(), "W-WFD-09, W-WFD-10");
            assert!(read.conditions.is_none() && read.trigger_data_json_schema.is_none(), "W-WFD-06, W-VAL-07");
        }
        for (word, frequency) in [
            ("every_trigger", TriggerFrequency::EveryTrigger),
            ("once_per_recipient", TriggerFrequency::OncePerRecipient),
        ] {
            let read = parse(&workflow(json!({"trigger_frequency": word}))).expect(word);
            assert_eq!(read.trigger_frequency, frequency, "W-FRQ-04");
        }
    }

    #[test]
    fn each_mistake_of_the_top_level_is_named() {
        let cases = [
            (json!({"name": null}), "name", "W-WFD-02"),
            (json!({"name": ""}), "name", "W-WFD-02"),
            (json!({"name": 5}), "name", "W-WFD-02"),
            (json!({"name": "ä".repeat(256)}), "name", "W-WFD-02"),
            (json!({"steps": null}), "steps", "W-WFD-02"),
            (json!({"steps": {}}), "steps", "W-WFD-02"),
            (json!({"description": "d".repeat(281)}), "description", "W-WFD-03"),
            (json!({"categories": "a"}), "categories", "W-WFD-04"),
            (json!({"categories": ["a", 1]}), "categories[1]", "W-WFD-04"),
            (json!({"tags": [null]}), "tags[0]", "W-WFD-05"),
            (
                json!({"conditions": {"all": [{"variable": "data.a", "operator": "?"}]}}),
                "conditions.all[0].operator",
                "W-WFD-06",
            ),
            (json!({"trigger_frequency": "daily"}), "trigger_frequency", "W-WFD-07, W-FRQ-04"),
            (json!({"trigger_data_json_schema": "x"}), "trigger_data_json_schema", "W-WFD-08"),
            (json!({"settings": {"is_commercial": "yes"}}), "settings.is_commercial", "W-WFD-09"),
            (json!({"settings": {"override_preferences": 1}}), "settings.override_preferences", "W-WFD-10"),
            (json!({"settings": {"overide_preferences": true}}), "settings.overide_preferences", "W-WFD-10"),
            (json!({"goal_attachment": {}}), "goal_attachment.goal_key", "W-WFD-11"),
            (
                json!({"goal_attachment": {"goal_key": "g", "attribution_window_days": 31}}),
                "goal_attachment.attribution_window_days",
                "W-WFD-11",
            ),
            (json!({"trigger": {"event": "x"}}), "trigger", "W-WFD-15, W-WFD-16"),
            (json!({"steps": ["email"]}), "steps[0]", "W-WFD-02"),
        ];
        for (changes, path, rule) in cases {
            assert_eq!(wrong(&workflow(changes)), [path], "{rule}");
        }
        assert!(
            parse(&workflow(json!({"name": "ä".repeat(255), "description": "ä".repeat(280)}))).is_ok(),
            "W-WFD-02, 03"
        );
        assert_eq!(wrong(&json!([])), [""], "W-WFD-02");
    }

    #[test]
    fn read_only_keys_are_tolerated_and_unknown_ones_are_not() {
        let written = json!({
            "$schema": "https://example.com/workflow.json", "__readonly": {"key": "other"}, "key": "welcome",
            "active": true, "valid": true, "environment": "development", "created_at": "2026-01-01T00:00:00Z",
            "updated_at": "2026-01-01T00:00:00Z", "deleted_at": null, "sha": "abc"
        });
        let read = parse(&workflow(written)).expect("W-WFD-12, W-WFD-18");
        assert_eq!(read.source, workflow(json!({})), "W-WFD-18: none of them is content");
        let problems = parse(&workflow(json!({"catgories": []}))).expect_err("an unknown key");
        assert_eq!(problems[0].path, "catgories");
        assert!(problems[0].message.contains("did you mean `categories`?"), "{}", problems[0].message);
    }

    #[test]
    fn all_problems_are_found_at_once() {
        let document = json!({
            "name": null,
            "settings": {"is_commercial": 1},
            "steps": [
                feed(json!({"template": {}, "conditions": {"all": [{"variable": "data.a", "operator": "?"}]}})),
                {"type": "delay", "ref": "delay_1", "settings": {"duration": "5 minutes"}},
                {"type": "branch", "ref": "branch_1", "branches": [
                    {"conditions": when("data.a"), "steps": [{"type": "teleport", "ref": "teleport_1"}]},
                    {"conditions": {"all": [{"variable": "data.a", "operator": "?"}]}}
                ]}
            ]
        });
        let mut paths = wrong(&document);
        paths.retain(|path| !path.starts_with("steps[1]"));
        let expected = [
            "name",
            "settings.is_commercial",
            "steps[0].template.markdown_body",
            "steps[0].conditions.all[0].operator",
            "steps[2].branches[0].steps[0].type",
            "steps[2].branches[1].conditions.all[0].operator",
        ];
        assert_eq!(paths, expected, "W-WFD-13, W-AMB-15");
        assert!(wrong(&document).iter().any(|path| path.starts_with("steps[1].settings")), "W-DLY-18");
    }

    #[test]
    fn the_same_content_keeps_its_version() {
        let version = |key: &str, text: &str| {
            let document: Value = serde_json::from_str(text).expect("JSON");
            Workflow::parse(key, &document, &[]).expect("sound").version_id
        };
        let first = version("abc", r#"{"name": "A", "steps": []}"#);
        assert_eq!(first, version("abc", r#"{"steps": [], "name": "A"}"#), "the order of keys is no content");
        assert_eq!(first, version("abc", r#"{"steps": [], "name": "A", "__readonly": {"sha": "x"}}"#), "W-WFD-12");
        assert_ne!(first, version("abc", r#"{"name": "B", "steps": []}"#));
        assert_ne!(first, version("abd", r#"{"name": "A", "steps": []}"#), "another workflow has other versions");
    }

    /// W-WFD-14: the types are those of the rule, and a digest, our own; each is read, and no other is.
    #[test]
    fn a_step_type_that_is_none_is_said() {
        let ruled = "channel batch delay throttle branch random_cohort http_fetch wait_for_event trigger_workflow update_data \
            update_user update_object update_tenant update_audience ai_agent digest";
        assert_eq!(TYPES.iter().copied().collect::<BTreeSet<_>>(), ruled.split_whitespace().collect(), "W-WFD-14");
        for word in TYPES {
            let problems = parse(&with_step(&json!({"type": word, "ref": "s"}))).err().unwrap_or_default();
            assert!(problems.iter().all(|problem| problem.path != "steps[0].type"), "W-WFD-14: {word}");
        }
        for (word, hint) in [("fetch", "`http_fetch`"), ("dealy", "`delay`"), ("teleport", "known are channel, delay")]
        {
            let problems = parse(&with_step(&json!({"type": word, "ref": "s"}))).expect_err("W-WFD-17");
            assert_eq!(problems[0].path, "steps[0].type", "W-WFD-17");
            assert!(problems[0].message.contains(hint), "W-WFD-17: {}", problems[0].message);
        }
    }

    #[test]
    fn a_step_has_a_type_and_a_ref_of_its_own() {
        let cases = [
            (json!({"ref": "a"}), "steps[0].type", "W-STP-01"),
            (json!({"type": null, "ref": "a"}), "steps[0].type", "W-STP-01"),
            (feed(json!({"ref": null})), "steps[0].ref", "W-STP-01"),
            (feed(json!({"ref": 1})), "steps[0].ref", "W-STP-01"),
            (feed(json!({"name": 1})), "steps[0].name", "W-STP-01"),
            (feed(json!({"description": []})), "steps[0].description", "W-STP-01"),
        ];
        for (step, path, rule) in cases {
            assert_eq!(wrong(&with_step(&step)), [path], "{rule}");
        }
        assert!(parse(&with_step(&feed(json!({"ref": "whatever you like"})))).is_ok(), "W-STP-03");
        let inner = json!({"type": "branch", "ref": "b", "branches": [
            {"conditions": when("data.a"), "steps": [delay("same")]}, {"steps": [delay("other")]}
        ]});
        let problems = parse(&json!({"name": "N", "steps": [delay("same"), inner]})).expect_err("W-STP-02");
        assert_eq!(problems[0].path, "steps[1].branches[0].steps[0].ref", "W-STP-02");
        assert!(problems[0].message.contains("steps[0]"), "it says where the first stands: {}", problems[0].message);
    }

    #[test]
    fn empty_conditions_always_hold() {
        for conditions in [json!(null), json!({}), json!({"all": []}), json!({"any": []})] {
            let read = parse(&with_step(&feed(json!({"conditions": conditions})))).expect("W-STP-09");
            assert!(read.steps[0].conditions.is_none(), "W-STP-09, W-AMB-19: {conditions}");
        }
        for step in [feed(json!({})), delay("d")] {
            let read = parse(&with_step(&merged(step, json!({"conditions": when("data.a")})))).expect("W-STP-04");
            assert!(read.steps[0].conditions.is_some(), "W-STP-04");
        }
        let on_status = when("refs.in_app_feed_1.delivery_status");
        assert_eq!(
            wrong(&workflow(json!({"conditions": on_status}))).len(),
            1,
            "no message exists before the first step"
        );
    }

    #[test]
    fn configuration_stands_where_its_type_has_it() {
        let cases = [
            (feed(json!({"settings": {}})), "steps[0].settings"),
            (merged(delay("d"), json!({"template": {}})), "steps[0].template"),
            (merged(delay("d"), json!({"delay_for": {}})), "steps[0].delay_for"),
            (feed(json!({"guide_key": "g"})), "steps[0].guide_key"),
        ];
        for (step, path) in cases {
            assert_eq!(wrong(&with_step(&step)), [path], "W-STP-07, W-STP-10");
        }
        assert_eq!(wrong(&with_step(&json!({"type": "delay", "ref": "d"}))), ["steps[0].settings"], "W-DLY-01");
    }

    #[test]
    fn a_delay_that_says_nothing_sound_is_refused() {
        let cases = [
            (json!({}), "W-DLY-01"),
            (json!({"duration": "5 minutes"}), "W-DLY-18"),
            (json!({"delay_for": {"unit": "minutes"}}), "W-DUR-01"),
            (json!({"delay_for": {"unit": "minutes", "value": "5"}}), "W-DUR-01"),
            (json!({"delay_for": {"unit": "fortnights", "value": 5}}), "W-DUR-02"),
            (json!({"delay_for": {"unit": "days", "value": 366}}), "W-DLY-14, W-AMB-24"),
            (json!({"delay_for": {"unit": "days", "value": 366}, "delay_until_field_path": 1}), "W-DLY-01"),
        ];
        for (settings, rule) in cases {
            let paths = wrong(&with_step(&json!({"type": "delay", "ref": "d", "settings": settings})));
            assert!(paths.iter().all(|path| path.starts_with("steps[0].settings")), "{rule}: {paths:?}");
            assert!(!paths.is_empty(), "{rule}: {settings}");
        }
        for unit in ["seconds", "minutes", "hours", "days", "weeks", "months"] {
            let settings = json!({"delay_for": {"unit": unit, "value": 2}, "delay_until_field_path": null});
            let step = json!({"type": "delay", "ref": "d", "settings": settings});
            assert!(parse(&with_step(&step)).is_ok(), "W-DUR-02 {unit}");
        }
    }

    #[test]
    fn a_channel_step_has_one_target() {
        let read = parse(&with_step(&feed(json!({"channel_group_key": null})))).expect("W-CHS-02");
        let StepKind::Channel(step) = &read.steps[0].kind else { panic!("a channel step") };
        assert_eq!(step.channel_key(), Some("in-app-feed"), "W-CHS-02");
        assert_eq!(step.channel_type, ChannelKind::InAppFeed, "W-CHS-01");
        assert!(matches!(step.template, ChannelTemplate::Feed(_)), "W-TPL-11");
        let group = feed(json!({"channel_key": null, "channel_group_key": "bells"}));
        let read = parse(&with_step(&group)).expect("W-CHS-02");
        let StepKind::Channel(step) = &read.steps[0].kind else { panic!("a channel step") };
        assert_eq!((&step.target, step.channel_key()), (&Target::Group("bells".into()), None), "W-CHS-02");
        for key in [json!(null), json!(""), json!(7)] {
            let neither = feed(json!({"channel_key": key}));
            assert_eq!(wrong(&with_step(&neither)), ["steps[0].channel_key"], "W-CHS-02, W-WFD-13: {key}");
        }
        let both = feed(json!({"channel_group_key": "bells"}));
        assert_eq!(wrong(&with_step(&both)), ["steps[0].channel_group_key"], "W-CHS-02");
    }

    #[test]
    fn a_missing_channel_type_is_the_channels() {
        let read = parse(&with_step(&feed(json!({"channel_type": null})))).expect("W-CHS-01");
        let StepKind::Channel(step) = &read.steps[0].kind else { panic!("a channel step") };
        assert_eq!(step.channel_type, ChannelKind::InAppFeed, "W-CHS-01");
        let unknown = feed(json!({"channel_type": null, "channel_key": "elsewhere"}));
        assert_eq!(wrong(&with_step(&unknown)), ["steps[0].channel_type"], "W-CHS-01: nothing to infer it from");
        assert!(parse(&with_step(&feed(json!({"channel_key": "elsewhere"})))).is_ok(), "W-CHS-05 is the engine's");
        for word in ["in_app", "carrier_pigeon"] {
            let step = feed(json!({"channel_type": word}));
            assert_eq!(wrong(&with_step(&step)), ["steps[0].channel_type"], "W-CHS-01 {word}");
        }
        let other = feed(json!({"channel_type": "chat"}));
        assert_eq!(wrong(&with_step(&other)), ["steps[0].channel_type"], "a step says what its channel is");
    }

    #[test]
    fn other_channels_keep_their_template_as_written() {
        let step = |kind: &str, extra: Value| {
            merged(json!({"type": "channel", "ref": "c", "channel_key": "c", "channel_type": kind}), extra)
        };
        for kind in ["email", "sms", "push", "chat", "http"] {
            let template = json!({"text_body": "Hello {{ recipient.name }}", "settings": {"x": [1]}});
            let read = parse(&with_step(&step(kind, json!({"template": template})))).expect("W-CHS-01");
            let StepKind::Channel(read) = &read.steps[0].kind else { panic!("a channel step") };
            let ChannelTemplate::Other(kept) = &read.template else { panic!("kept as a value") };
            assert_eq!(*kept, template, "W-CHS-01 {kind}");
        }
        assert!(parse(&with_step(&step("in_app_guide", json!({"guide_key": "tour"})))).is_ok(), "W-CHS-01");
        assert!(parse(&with_step(&step("http", json!({})))).is_ok(), "the channel's own request");
        assert_eq!(wrong(&with_step(&step("email", json!({})))), ["steps[0].template"], "W-STP-07");
        let broken = json!({"template": {"settings": {"to": "{{ recipient.name"}}, "channel_overrides": {"a": ["{{"]}});
        let paths = ["steps[0].template.settings.to", "steps[0].channel_overrides.a[0]"];
        assert_eq!(wrong(&with_step(&step("sms", broken))), paths, "W-TPL-15");
    }

    #[test]
    fn a_feed_template_is_read_where_it_stands() {
        let cases = [
            (json!({"template": null}), "steps[0].template", "W-TPL-11"),
            (json!({"template": {"action_url": "/"}}), "steps[0].template.markdown_body", "W-TPL-11"),
            (json!({"template": {"markdown_body": "{{ x"}}), "steps[0].template.markdown_body", "W-TPL-15"),
            (
                json!({"channel_overrides": {"link_trakcing": true}}),
                "steps[0].channel_overrides.link_trakcing",
                "W-CHS-16",
            ),
        ];
        for (changes, path, rule) in cases {
            assert_eq!(wrong(&with_step(&feed(changes))), [path], "{rule}");
        }
        let buttons = json!([{"label": "Pay", "action": "/pay"}, {"label": "Later", "action": "/later"}]);
        for template in [
            json!({"markdown_body": "a", "action_url": null}),
            json!({"markdown_body": "a", "action_url": "{{ data.url }}"}),
            json!({"markdown_body": "a", "action_buttons": [buttons[0]]}),
            json!({"markdown_body": "a", "action_buttons": buttons}),
        ] {
            assert_eq!(
                wrong(&with_step(&feed(json!({"template": template})))),
                [""; 0],
                "W-TPL-11, W-TPL-12: {template}"
            );
        }
    }

    #[test]
    fn send_windows_are_read_where_they_stand() {
        let read = parse(&with_step(&feed(json!({"send_windows": null})))).expect("W-CHS-17");
        let StepKind::Channel(step) = &read.steps[0].kind else { panic!("a channel step") };
        assert!(step.send_windows.is_none(), "W-CHS-17");
        let short = feed(json!({"send_windows": [{"day": "monday", "type": "send"}]}));
        assert_eq!(wrong(&with_step(&short)), ["steps[0].send_windows"], "W-SNW-01");
    }

    #[test]
    fn the_last_branch_is_the_default() {
        for last in
            [json!({}), json!({"conditions": null}), json!({"conditions": {}}), json!({"default": true, "ref": "b2"})]
        {
            let document =
                branches(json!([{"name": "Pro", "ref": "b1", "conditions": when("data.a"), "default": false}, last]));
            let read = parse(&document).expect("W-BRN-13");
            let flags: Vec<bool> = read.steps[0].branches().iter().map(|branch| branch.is_default).collect();
            assert_eq!(flags, [false, true], "W-BRN-03, W-BRN-13: {last}");
            let first = &read.steps[0].branches()[0];
            assert_eq!(
                (first.name.as_deref(), first.terminates, first.steps.len()),
                (Some("Pro"), false, 0),
                "W-BRN-01"
            );
            assert!(first.conditions.is_some(), "W-BRN-01");
        }
    }

    #[test]
    fn each_mistake_of_a_branch_step_is_named() {
        let sound = json!({"conditions": when("data.a")});
        let many = |count: usize| Value::Array([vec![sound.clone(); count - 1], vec![json!({})]].concat());
        let cases = [
            (json!([sound, sound]), "steps[0].branches[1].conditions", "W-BRN-03"),
            (json!([{}, sound, {}]), "steps[0].branches[0].conditions", "W-BRN-04, W-BRN-05"),
            (json!([{"conditions": {"all": []}}, {}]), "steps[0].branches[0].conditions", "W-BRN-05, W-AMB-19"),
            (json!([{"default": true}, sound, {}]), "steps[0].branches[0].default", "W-BRN-04, W-BRN-13"),
            (
                json!([sound, {"default": true, "conditions": when("data.b")}]),
                "steps[0].branches[1].conditions",
                "W-BRN-03",
            ),
            (json!([{}]), "steps[0].branches", "W-BRN-09: at least 2"),
            (json!([]), "steps[0].branches", "W-BRN-09: at least 2"),
            (many(11), "steps[0].branches", "W-BRN-09: at most 10"),
            (json!([sound, {"terminates": "yes"}]), "steps[0].branches[1].terminates", "W-BRN-01"),
            (json!([sound, {"steps": {}}]), "steps[0].branches[1].steps", "W-BRN-01"),
            (json!([sound, {"condition": {}}]), "steps[0].branches[1].condition", "W-BRN-01"),
            (json!([sound, 1]), "steps[0].branches[1]", "W-BRN-01"),
        ];
        for (list, path, rule) in cases {
            assert_eq!(wrong(&branches(list)), [path], "{rule}");
        }
        assert!(parse(&branches(many(10))).is_ok(), "W-BRN-09");
    }

    #[test]
    fn a_branch_step_has_neither_conditions_nor_a_default_branch() {
        let list = json!([{"conditions": when("data.a")}, {}]);
        let step = json!({"type": "branch", "ref": "b", "branches": list});
        let conditional = merged(step.clone(), json!({"conditions": when("data.a")}));
        assert_eq!(wrong(&with_step(&conditional)), ["steps[0].conditions"], "W-BRN-08, W-STP-05");
        let unset = merged(step.clone(), json!({"conditions": null}));
        assert!(parse(&with_step(&unset)).is_ok(), "W-STP-08");
        let separate = merged(step, json!({"default_branch": {"steps": []}}));
        assert_eq!(wrong(&with_step(&separate)), ["steps[0].default_branch"], "W-BRN-14");
    }

    #[test]
    fn branches_nest_five_deep() {
        let nested = |levels: usize| {
            (0..levels).fold(delay("innermost"), |inner, level| {
                json!({"type": "branch", "ref": format!("branch_{level}"), "branches": [
                    {"conditions": when("data.a"), "steps": [inner]}, {}
                ]})
            })
        };
        let read = parse(&with_step(&nested(5))).expect("W-BRN-10, W-BRN-11");
        assert_eq!(read.all_steps().len(), 6, "W-BRN-11");
        let place = format!("steps[0]{}", ".branches[0].steps[0]".repeat(5));
        assert_eq!(wrong(&with_step(&nested(6))), [place], "W-BRN-10");
    }
}
