//! A guide: something that a product shows to its users in a place of its own; to whom and where, a file says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::channel::{Channel, ChannelKind};
use super::invalid::{Invalid, aside};
use super::reader::{Node, Reader};
use super::time::Time;
use super::workflow::Workflow;
use crate::rules::condition::{Allow, Group};
use crate::template::{Env, Error, Template};
use crate::wire::duration::{Duration, Unit};

/// The key of the one group that there is (F-GDE-05).
pub const GROUP: &str = "default";

/// Versions of definitions are named inside this namespace; it must never change.
const VERSIONS: Uuid = Uuid::from_u128(0x0c6e_51f4_2ab7_4d18_9f3d_7be1_60a5_c892);
/// Guides are named inside this one, by environment and key; nor must it.
const IDS: Uuid = Uuid::from_u128(0xe2d0_94a3_7f15_4c6b_8a20_1d93_5cb8_4f67);

/// The longest time between two guides, in seconds.
const LONGEST: i64 = 366 * 86_400;
/// Characters of a key or a `ref`, at least and at most.
const KEY_LENGTH: std::ops::RangeInclusive<usize> = 3..=255;

/// Written by servers and the CLI, or for people: nothing depends on it.
const READ_ONLY: [&str; 17] = [
    "$schema",
    "__readonly",
    "key",
    "type",
    "semver",
    "valid",
    "priority",
    "tags",
    "environment",
    "sha",
    "created_at",
    "updated_at",
    "deleted_at",
    "archived_at",
    "goal_attachment",
    "guide_audience_conditions",
    "description",
];
const KEYS: [&str; 12] = [
    "name",
    "channel_key",
    "active",
    "active_from",
    "active_until",
    "target_audience_key",
    "tenancy_strict_mode",
    "target_property_conditions",
    "scope",
    "activation_url_rules",
    "activation_url_patterns",
    "steps",
];
const STEP_KEYS: [&str; 7] =
    ["ref", "name", "schema_key", "schema_semver", "schema_variant_key", "values", "json_schema"];
const GROUP_KEYS: [&str; 4] = ["$schema", "display_sequence_unthrottled", "display_sequence", "display_interval"];

/// A guide that a file declares.
#[derive(Debug)]
pub struct Guide {
    pub key: String,
    pub name: String,
    /// The key of the channel it is shown over.
    pub channel: String,
    is_active: bool,
    active_from: Option<Time>,
    active_until: Option<Time>,
    /// The audience whose members it is for; everybody when there is none.
    pub audience: Option<String>,
    /// Whether whoever is a member in another tenant, or in none, is not meant.
    pub is_strict: bool,
    /// What must hold of the user, the tenant and what the page says.
    pub conditions: Option<Group>,
    /// Whether it is shown once in each tenant, rather than once.
    pub is_per_tenant: bool,
    /// On which pages it is shown, as pages are told (F-GDE-03).
    pub url_rules: Value,
    pub url_patterns: Value,
    pub steps: Vec<Step>,
    /// Derived from the whole document: while it stays the same, so does the guide.
    pub version: Uuid,
}

/// One piece of a guide, shown by itself.
#[derive(Debug)]
pub struct Step {
    pub reference: String,
    pub schema_key: String,
    pub schema_semver: String,
    pub schema_variant_key: String,
    pub content: Content,
}

/// What a step shows: JSON whose texts may hold Liquid.
#[derive(Debug)]
pub enum Content {
    Plain(Value),
    Text(Template),
    List(Vec<Content>),
    Map(Vec<(String, Content)>),
}

impl Content {
    /// Reads a value that stands at `path`, and finds what is wrong with its Liquid.
    fn parse(value: &Value, path: &str, faults: &mut Vec<Invalid>) -> Content {
        match value {
            Value::String(text) if text.contains("{{") || text.contains("{%") => match Template::parse(text) {
                Ok(template) => Content::Text(template),
                Err(error) => {
                    faults.push(Invalid::new(path, format!("line {}: {}", error.line, error.message)));
                    Content::Plain(Value::Null)
                }
            },
            Value::Array(items) => {
                let item = |(i, item)| Content::parse(item, &format!("{path}[{i}]"), faults);
                Content::List(items.iter().enumerate().map(item).collect())
            }
            Value::Object(map) => Content::Map(
                map.iter()
                    .map(|(key, value)| (key.clone(), Content::parse(value, &format!("{path}.{key}"), faults)))
                    .collect(),
            ),
            other => Content::Plain(other.clone()),
        }
    }

    /// What is shown.
    pub fn render(&self, env: &Env<'_>) -> Result<Value, Error> {
        Ok(match self {
            Content::Plain(value) => value.clone(),
            Content::Text(template) => Value::String(template.render(env)?),
            Content::List(items) => Value::Array(items.iter().map(|item| item.render(env)).collect::<Result<_, _>>()?),
            Content::Map(members) => Value::Object(
                members
                    .iter()
                    .map(|(key, content)| Ok((key.clone(), content.render(env)?)))
                    .collect::<Result<Map<_, _>, Error>>()?,
            ),
        })
    }
}

impl Guide {
    /// Reads the document of the guide `key`, and finds everything that is wrong with it.
    pub fn parse(key: &str, document: &Value) -> Result<Guide, Vec<Invalid>> {
        let mut reader = Reader::default();
        let guide = reader.guide(key, document);
        reader.finish(guide)
    }

    /// Its id in an environment, which is given by its own (F-TRN-15).
    pub fn id(&self, environment: Uuid) -> Uuid {
        Uuid::new_v5(&IDS, format!("{environment} {}", self.key).as_bytes())
    }

    /// What kind of guide it is: the kind of what its first step shows.
    pub fn kind(&self) -> &str {
        self.steps.first().map_or("", |step| step.schema_key.as_str())
    }

    /// Whether it may be shown at all now.
    pub fn is_active(&self, now: Time) -> bool {
        self.is_active
            && self.active_from.is_none_or(|from| from <= now)
            && self.active_until.is_none_or(|until| now < until)
    }

    /// The step with this `ref`.
    pub fn step(&self, reference: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.reference == reference)
    }

    /// What of a tenant's is apart from other tenants': the tenant, where each has the guide for itself.
    pub fn slot<'a>(&self, tenant: Option<&'a str>) -> &'a str {
        tenant.filter(|_| self.is_per_tenant).unwrap_or_default()
    }
}

/// Why a user is not shown a guide (F-GDE-06).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its spelling")]
pub enum Ineligible {
    GuideNotActive,
    MarkedAsArchived,
    NotInTargetAudience,
    TargetConditionsNotMet,
}

impl Ineligible {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Ineligible::GuideNotActive => "guide_not_active",
            Ineligible::MarkedAsArchived => "marked_as_archived",
            Ineligible::NotInTargetAudience => "not_in_target_audience",
            Ineligible::TargetConditionsNotMet => "target_conditions_not_met",
        }
    }

    /// The same for people.
    pub fn message(self) -> &'static str {
        match self {
            Ineligible::GuideNotActive => "The guide is not active",
            Ineligible::MarkedAsArchived => "User has archived this guide already",
            Ineligible::NotInTargetAudience => "User is not a member of the target audience",
            Ineligible::TargetConditionsNotMet => "The target conditions do not hold for the user",
        }
    }

    /// The marker that stands in for the guide with this key.
    pub fn marker(self, key: &str) -> Value {
        json!({
            "__typename": "GuideIneligibilityMarker",
            "key": key,
            "reason": self.as_str(),
            "message": self.message(),
        })
    }
}

/// In which order guides are shown, and how long one waits for the other.
#[derive(Debug, Default)]
pub struct Order {
    /// Those that come first, and wait for nobody.
    unthrottled: Vec<String>,
    sequence: Vec<String>,
    /// Seconds after one was dismissed in which no other is shown.
    pub interval: Option<i64>,
    /// Derived from the document.
    pub version: Uuid,
}

impl Order {
    /// Reads the document of the group.
    pub fn parse(document: &Value) -> Result<Order, Vec<Invalid>> {
        let mut reader = Reader::default();
        let order = reader.order(document);
        reader.finish(order)
    }
}

/// What files say of guides.
#[derive(Debug, Default)]
pub struct Guides {
    declared: BTreeMap<String, Arc<Guide>>,
    pub order: Order,
    /// The keys of those to which steps of workflows bring users.
    targeted: BTreeSet<String>,
}

impl Guides {
    /// These guides, in this order.
    pub fn new(guides: Vec<Guide>, order: Order) -> Guides {
        let declared = guides.into_iter().map(|guide| (guide.key.clone(), Arc::new(guide))).collect();
        Guides { declared, order, targeted: BTreeSet::new() }
    }

    /// The same, with what steps of these workflows say of them.
    pub fn targeted_by<'w>(mut self, workflows: impl IntoIterator<Item = &'w Workflow>) -> Guides {
        self.targeted = workflows.into_iter().flat_map(Workflow::guide_keys).map(str::to_owned).collect();
        self
    }

    /// Whether a step of a workflow brings users to the guide with this key.
    pub fn is_targeted(&self, key: &str) -> bool {
        self.targeted.contains(key)
    }

    /// The guide with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<Guide>> {
        self.declared.get(key)
    }

    /// Every guide, by key.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Guide>> {
        self.declared.values()
    }

    /// The guides that are shown over the channel with this key.
    pub fn of_channel<'a>(&'a self, channel: &'a str) -> impl Iterator<Item = &'a Arc<Guide>> {
        self.declared.values().filter(move |guide| guide.channel == channel)
    }

    /// When the time of one of them comes or passes next, behind `now`.
    pub fn turn_after(&self, now: Time) -> Option<Time> {
        let switched_on = self.all().filter(|guide| guide.is_active);
        let turns = switched_on.flat_map(|guide| [guide.active_from, guide.active_until]).flatten();
        turns.filter(|at| *at > now).min()
    }

    /// Whether the guide with this key waits for no other.
    pub fn is_unthrottled(&self, key: &str) -> bool {
        self.order.unthrottled.iter().any(|unthrottled| unthrottled == key)
    }

    /// Where the guide with this key stands among others, one as old as `since`: what is not in the order comes last,
    /// the oldest first.
    pub fn place<'k>(&self, key: &'k str, since: Time) -> (usize, Time, &'k str) {
        let named = self.order.unthrottled.iter().chain(&self.order.sequence).position(|named| named == key);
        (named.unwrap_or(usize::MAX), since, key)
    }

    /// What is wrong with naming this guide, if none of that key is declared.
    pub fn missing(&self, key: &str) -> Option<String> {
        let hint = || aside(key, self.declared.keys().map(String::as_str));
        (!self.declared.contains_key(key)).then(|| format!("there is no guide `{key}`{}", hint()))
    }

    /// What they name that there is not: each fault with the guide's key, or with none where it is one of the order.
    pub fn faults(&self, channels: &[Channel]) -> Vec<(Option<&str>, Invalid)> {
        let mut faults = Vec::new();
        for guide in self.all() {
            if guide.is_strict && guide.audience.is_none() && !self.is_targeted(&guide.key) {
                let fault = "is about members of an audience: name one as target_audience_key, or the guide in a workflow's step";
                faults.push((Some(guide.key.as_str()), Invalid::new("tenancy_strict_mode", fault)));
            }
            let fault = match channels.iter().find(|channel| channel.key == guide.channel) {
                Some(channel) if channel.kind == ChannelKind::InAppGuide => continue,
                Some(channel) => {
                    format!(
                        "channel `{}` is of type {}; guides need one of type in_app_guide",
                        channel.key, channel.kind
                    )
                }
                None => {
                    let of_kind = channels.iter().filter(|channel| channel.kind == ChannelKind::InAppGuide);
                    let hint = aside(&guide.channel, of_kind.map(|channel| channel.key.as_str()));
                    format!("there is no channel `{}`{hint}", guide.channel)
                }
            };
            faults.push((Some(guide.key.as_str()), Invalid::new("channel_key", fault)));
        }
        for (list, keys) in
            [("display_sequence_unthrottled", &self.order.unthrottled), ("display_sequence", &self.order.sequence)]
        {
            for (i, key) in keys.iter().enumerate() {
                faults.extend(self.missing(key).map(|fault| (None, Invalid::new(format!("{list}[{i}]"), fault))));
            }
        }
        faults
    }
}

/// What is wrong with a key or a `ref`, if anything.
fn key_problem(key: &str, what: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
    if KEY_LENGTH.contains(&key.len()) && key.bytes().all(allowed) {
        return None;
    }
    let (least, most) = (KEY_LENGTH.start(), KEY_LENGTH.end());
    let key = super::reader::short(key);
    Some(format!("`{key}` can't be {what}: {least} to {most} of a-z, 0-9, `_` and `-` are allowed"))
}

impl Reader {
    fn guide(&mut self, key: &str, document: &Value) -> Option<Guide> {
        if let Some(problem) = key_problem(key, "a guide's key") {
            self.wrong("key", problem);
        }
        let node = self.object(document, "")?;
        self.known(&node, &[&KEYS[..], &READ_ONLY[..]].concat());
        let name = self.required_text(&node, "name");
        let channel = self.required_text(&node, "channel_key");
        let is_active = self.flag_or(&node, "active", true);
        let (active_from, active_until) = (self.instant(&node, "active_from"), self.instant(&node, "active_until"));
        if active_from.zip(active_until).is_some_and(|(from, until)| until <= from) {
            self.wrong("active_until", "must be later than active_from");
        }
        let audience = self.text(&node, "target_audience_key").map(str::to_owned);
        let is_strict = self.flag(&node, "tenancy_strict_mode");
        let conditions = node
            .get("target_property_conditions")
            .and_then(|conditions| self.keep(Group::parse(conditions, "target_property_conditions", Allow::default())));
        let is_per_tenant = self.one_of(&node, "scope", &["global", "per_tenant"]) == Some(1);
        let url_rules = self.each(&node, "activation_url_rules", Reader::url_rule);
        let url_patterns = self.each(&node, "activation_url_patterns", Reader::url_pattern);
        if !url_rules.is_empty() && !url_patterns.is_empty() {
            self.wrong("activation_url_patterns", "and activation_url_rules exclude each other: keep one of the two");
        }
        let steps = self.guide_steps(&node);
        let own = node.map.iter().filter(|(key, _)| KEYS.contains(&key.as_str())).collect::<BTreeMap<_, _>>();
        let version = Uuid::new_v5(&VERSIONS, json!([key, own]).to_string().as_bytes());
        Some(Guide {
            key: key.to_owned(),
            name: name?.to_owned(),
            channel: channel?.to_owned(),
            is_active,
            active_from,
            active_until,
            audience,
            is_strict,
            conditions,
            is_per_tenant,
            url_rules: Value::Array(url_rules),
            url_patterns: Value::Array(url_patterns),
            steps,
            version,
        })
    }

    fn instant(&mut self, node: &Node<'_>, key: &str) -> Option<Time> {
        let text = self.text(node, key)?;
        let time = Time::parse(text);
        if time.is_none() {
            self.wrong(node.at(key), "must be an instant, such as 2026-12-01T09:00:00Z");
        }
        time
    }

    /// The objects in the list at `key`, as `read` has them.
    fn each<T>(&mut self, node: &Node<'_>, key: &str, read: impl Fn(&mut Self, &Node<'_>) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        for (i, item) in self.list(node, key).iter().enumerate() {
            if let Some(item) = self.object(item, &format!("{}[{i}]", node.at(key))) {
                found.extend(read(self, &item));
            }
        }
        found
    }

    fn directive(&mut self, node: &Node<'_>) -> &'static str {
        if self.one_of(node, "directive", &["allow", "block"]) == Some(1) { "block" } else { "allow" }
    }

    fn url_rule(&mut self, node: &Node<'_>) -> Option<Value> {
        self.known(node, &["directive", "variable", "operator", "argument"]);
        let directive = self.directive(node);
        self.one_of(node, "variable", &["pathname"]);
        let operators = ["equal_to", "contains"];
        if node.get("operator").is_none() {
            self.wrong(node.at("operator"), "is required: equal_to or contains");
        }
        let operator = self.one_of(node, "operator", &operators)?;
        let argument = self.required_text(node, "argument")?;
        Some(json!({
            "directive": directive,
            "variable": "pathname",
            "operator": operators[operator],
            "argument": argument,
        }))
    }

    /// Pages read all of them at once, and none if there is one that they can't read.
    fn url_pattern(&mut self, node: &Node<'_>) -> Option<Value> {
        self.known(node, &["directive", "pathname", "search"]);
        let mut pattern = Map::from_iter([("directive".to_owned(), self.directive(node).into())]);
        let (pathname, search) = (self.text(node, "pathname"), self.text(node, "search"));
        if pathname.is_none() && search.is_none() {
            self.wrong(node.path.as_str(), "needs a pathname, a search, or both");
        }
        if let Some(pathname) = pathname {
            if !pathname.starts_with(['/', '*']) {
                self.wrong(node.at("pathname"), "must begin with `/`, or with `*`");
            }
            pattern.insert("pathname".to_owned(), pathname.into());
        }
        if let Some(search) = search {
            if search.starts_with('?') {
                self.wrong(node.at("search"), "is what comes behind the `?` of an address: leave that out");
            }
            pattern.insert("search".to_owned(), search.into());
        }
        Some(Value::Object(pattern))
    }

    fn guide_steps(&mut self, node: &Node<'_>) -> Vec<Step> {
        if self.list(node, "steps").is_empty() {
            self.wrong("steps", "is required: at least one step");
        }
        let steps = self.each(node, "steps", Reader::guide_step);
        for (i, step) in steps.iter().enumerate() {
            if steps[..i].iter().any(|earlier| earlier.reference == step.reference) {
                self.wrong(format!("steps[{i}].ref"), format!("`{}` is the ref of an earlier step", step.reference));
            }
        }
        steps
    }

    fn guide_step(&mut self, node: &Node<'_>) -> Option<Step> {
        self.known(node, &STEP_KEYS);
        let reference = self.required_text(node, "ref");
        if let Some(problem) = reference.and_then(|reference| key_problem(reference, "a step's ref")) {
            self.wrong(node.at("ref"), problem);
        }
        self.text(node, "name");
        let schema_key = self.required_text(node, "schema_key");
        let (semver, variant) = (self.text(node, "schema_semver"), self.text(node, "schema_variant_key"));
        let values = self.object_at(node, "values");
        let mut faults = Vec::new();
        let content = match &values {
            Some(values) => Content::parse(&Value::Object(values.map.clone()), &values.path, &mut faults),
            None => Content::Map(Vec::new()),
        };
        self.problems.extend(faults);
        Some(Step {
            reference: reference?.to_owned(),
            schema_key: schema_key?.to_owned(),
            schema_semver: semver.unwrap_or("0.0.1").to_owned(),
            schema_variant_key: variant.unwrap_or("default").to_owned(),
            content,
        })
    }

    fn order(&mut self, document: &Value) -> Option<Order> {
        let node = self.object(document, "")?;
        self.known(&node, &GROUP_KEYS);
        let unthrottled = self.texts(&node, "display_sequence_unthrottled");
        let sequence = self.texts(&node, "display_sequence");
        let mut seen: Vec<&String> = Vec::new();
        for (list, keys) in [("display_sequence_unthrottled", &unthrottled), ("display_sequence", &sequence)] {
            for (i, key) in keys.iter().enumerate() {
                if seen.contains(&key) {
                    self.wrong(format!("{list}[{i}]"), format!("`{key}` has its place already"));
                }
                seen.push(key);
            }
        }
        let interval = self.interval(&node);
        let version = Uuid::new_v5(&VERSIONS, json!([unthrottled, sequence, interval]).to_string().as_bytes());
        Some(Order { unthrottled, sequence, interval, version })
    }

    fn interval(&mut self, node: &Node<'_>) -> Option<i64> {
        const SHAPE: &str = "must be a whole number of seconds, or a duration in units up to weeks, such as {\"unit\": \"minutes\", \"value\": 5}";
        let seconds = match node.get("display_interval")? {
            value @ Value::Object(_) => {
                let read = Duration::parse(value, "display_interval").map_err(|problem| vec![problem]);
                let Duration { unit, value } = self.keep(read)?;
                (unit != Unit::Months).then_some((value * unit.seconds() as f64).round() as i64)
            }
            Value::Number(number) => number.as_i64(),
            _ => None,
        };
        match seconds {
            Some(seconds) if (1..=LONGEST).contains(&seconds) => return Some(seconds),
            Some(_) => self.wrong("display_interval", "must be longer than nothing, and at most 366 days"),
            None => self.wrong("display_interval", SHAPE),
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(more: Value) -> Result<Guide, String> {
        let mut document = json!({
            "name": "Tour",
            "channel_key": "in-app-guide",
            "steps": [{"ref": "step_1", "schema_key": "banner", "values": {"title": "Hi {{ recipient.name }}"}}],
        });
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let read = Guide::parse("tour", &document);
        read.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn the_next_turn_is_that_of_whichever_guide_comes_or_goes_first() {
        let at = |minute: i64| Time::parse(&format!("2026-09-21T10:{minute:02}:00Z")).unwrap();
        let timed = |key: &str, more: Value| Guide { key: key.to_owned(), ..read(more).unwrap() };
        let guides = Guides::new(
            vec![
                timed("first", json!({"active_from": at(10), "active_until": at(40)})),
                timed("second", json!({"active_until": at(20)})),
                timed("off", json!({"active": false, "active_from": at(15)})),
                timed("always", json!({})),
            ],
            Order::default(),
        );
        let turns = [(5, Some(at(10))), (10, Some(at(20))), (20, Some(at(40))), (40, None)];
        for (now, turn) in turns {
            assert_eq!(guides.turn_after(at(now)), turn, "{now}");
        }
    }

    #[test]
    fn a_guide_is_read_as_the_cli_writes_it() {
        let pulled = json!({
            "__readonly": {"key": "tour"}, "$schema": "s", "type": "banner", "semver": "0.0.2", "tags": ["growth"],
            "description": "For new users", "target_audience_key": null, "archived_at": null,
            "activation_url_patterns": [{"pathname": "/dairy/*"}, {"directive": "block", "search": "role=admin"}],
        });
        let guide = read(pulled).unwrap();
        assert_eq!((guide.kind(), guide.channel.as_str(), guide.audience.as_deref()), ("banner", "in-app-guide", None));
        let step = guide.step("step_1").unwrap();
        assert_eq!((step.schema_semver.as_str(), step.schema_variant_key.as_str()), ("0.0.1", "default"), "F-GDE-04");
        let patterns =
            json!([{"directive": "allow", "pathname": "/dairy/*"}, {"directive": "block", "search": "role=admin"}]);
        assert_eq!((&guide.url_patterns, &guide.url_rules), (&patterns, &json!([])), "F-GDE-03");
        let rules = json!([{"directive": "block", "operator": "contains", "argument": "/admin"}]);
        let told =
            json!([{"directive": "block", "variable": "pathname", "operator": "contains", "argument": "/admin"}]);
        assert_eq!(read(json!({"activation_url_rules": rules})).unwrap().url_rules, told, "F-GDE-03");
    }

    #[test]
    fn what_a_guide_cannot_be_is_said() {
        let steps = |step: Value| json!({"steps": [step]});
        for (more, said) in [
            (json!({"name": null}), "name: is required"),
            (json!({"channel_key": null}), "channel_key: is required"),
            (json!({"steps": []}), "steps: is required: at least one step"),
            (steps(json!({"schema_key": "x"})), "steps[0].ref: is required"),
            (steps(json!({"ref": "a b c", "schema_key": "x"})), "steps[0].ref: `a b c` can't be a step's ref"),
            (steps(json!({"ref": "one"})), "steps[0].schema_key: is required"),
            (
                steps(json!({"ref": "one", "schema_key": "x", "values": {"a": [{"b": "{{ broken"}]}})),
                "steps[0].values.a[0].b: line 1",
            ),
            (
                json!({"steps": [{"ref": "one", "schema_key": "x"}, {"ref": "one", "schema_key": "x"}]}),
                "steps[1].ref: `one` is the ref of an earlier step",
            ),
            (json!({"active_from": "soon"}), "active_from: must be an instant"),
            (
                json!({"active_from": "2026-02-01T00:00:00Z", "active_until": "2026-01-01T00:00:00Z"}),
                "active_until: must be later",
            ),
            (json!({"scope": "tenant"}), "scope: must be global or per_tenant"),
            (
                json!({"target_property_conditions": {"all": [{"variable": "data.n", "operator": "equals"}]}}),
                "target_property_conditions.all[0].operator",
            ),
            (json!({"activation_url_rules": [{"argument": "/a"}]}), "activation_url_rules[0].operator: is required"),
            (
                json!({"activation_url_patterns": [{"directive": "allow"}]}),
                "activation_url_patterns[0]: needs a pathname",
            ),
            (
                json!({"activation_url_patterns": [{"pathname": "a"}]}),
                "activation_url_patterns[0].pathname: must begin",
            ),
            (
                json!({"activation_url_patterns": [{"search": "?a=1"}]}),
                "activation_url_patterns[0].search: is what comes",
            ),
            (
                json!({"activation_url_patterns": [{"pathname": "/"}],
                    "activation_url_rules": [{"operator": "equal_to", "argument": "/"}]}),
                "activation_url_patterns: and activation_url_rules exclude each other",
            ),
            (json!({"chanel_key": "x"}), "unknown key `chanel_key`; did you mean `channel_key`?"),
        ] {
            let fault = read(more.clone()).unwrap_err();
            assert!(fault.contains(said), "F-GDE-03 F-GDE-04: {more} gave {fault}");
        }
        for key in ["ab", "Tour", "a b c", &"a".repeat(256)] {
            assert!(key_problem(key, "a guide's key").is_some(), "{key}");
        }
    }

    #[test]
    fn a_guide_is_active_between_its_instants() {
        let guide = |more: Value| read(more).unwrap();
        let at = |text: &str| Time::parse(text).unwrap();
        let within = guide(json!({"active_from": "2026-01-01T00:00:00Z", "active_until": "2026-02-01T00:00:00Z"}));
        assert!(!within.is_active(at("2025-12-31T23:59:59Z")) && within.is_active(at("2026-01-01T00:00:00Z")));
        assert!(within.is_active(at("2026-01-31T23:59:59Z")) && !within.is_active(at("2026-02-01T00:00:00Z")));
        assert!(
            guide(json!({})).is_active(Time::default()) && !guide(json!({"active": false})).is_active(Time::default())
        );
    }

    #[test]
    fn the_group_puts_guides_in_order() {
        let channel = |key: &str, kind: &str| Channel {
            id: Uuid::nil(),
            key: key.to_owned(),
            name: key.to_owned(),
            kind: kind.parse().unwrap(),
            provider: String::new(),
            created_at: Time::default(),
            updated_at: Time::default(),
            conditions: None,
            response_filter: Default::default(),
        };
        let order = json!({"display_sequence_unthrottled": ["bar"], "display_sequence": ["tour", "tuor"],
            "display_interval": {"unit": "minutes", "value": 5}});
        let order = Order::parse(&order).unwrap();
        assert_eq!(order.interval, Some(300), "F-GDE-05");
        let guides = Guides::new(vec![read(json!({})).unwrap()], order);
        let place = |key: &'static str, since| guides.place(key, Time::from_micros(since));
        let mut keys = [place("new", 2), place("tour", 9), place("old", 1), place("bar", 8)];
        keys.sort();
        assert_eq!(
            keys.map(|(.., key)| key),
            ["bar", "tour", "old", "new"],
            "F-GDE-05: oldest first where none is given"
        );
        let said = |channels: &[Channel]| -> Vec<String> {
            guides
                .faults(channels)
                .iter()
                .map(|(guide, fault)| format!("{}: {fault}", guide.unwrap_or("order")))
                .collect()
        };
        let missing = [
            "order: display_sequence_unthrottled[0]: there is no guide `bar`",
            "order: display_sequence[1]: there is no guide `tuor` (did you mean `tour`?)",
        ];
        assert_eq!(said(&[channel("in-app-guide", "in_app_guide")]), missing);
        let strict = Guides::new(vec![read(json!({"tenancy_strict_mode": true})).unwrap()], Order::default());
        let faults = strict.faults(&[channel("in-app-guide", "in_app_guide")]);
        assert!(faults.len() == 1 && faults[0].1.to_string().contains("is about members of an audience"), "{faults:?}");
        assert!(said(&[channel("in-app-guide", "in_app_feed")])[0].contains("is of type in_app_feed"));
        assert!(said(&[channel("in-app-guides", "in_app_guide")])[0].contains("did you mean `in-app-guides`?"));
        for (order, said) in [
            (json!({"display_sequence": ["a", "a"]}), "display_sequence[1]: `a` has its place already"),
            (
                json!({"display_sequence_unthrottled": ["a"], "display_sequence": ["a"]}),
                "display_sequence[0]: `a` has its place already",
            ),
            (json!({"display_interval": 0}), "display_interval: must be longer than nothing"),
            (json!({"display_interval": "5m"}), "display_interval: must be a whole number of seconds"),
            (json!({"display_interval": {"unit": "months", "value": 1}}), "display_interval: must be a whole number"),
            (json!({"display_intervall": 1}), "did you mean `display_interval`?"),
        ] {
            let faults = Order::parse(&order).unwrap_err();
            assert!(faults[0].to_string().contains(said), "{order} gave {faults:?}");
        }
    }
}
