//! Preferences: which messages a recipient wants, put together out of sets of several ranks, and asked for one channel.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::condition::{Allow, Evaluation, Group, Verdict};
use crate::model::channel::ChannelKind;
use crate::model::invalid::{Invalid, aside, join};
use crate::wire::json::deep_merge;

/// The id of the set that is not a tenant's (F-PRF-01).
pub const DEFAULT: &str = "default";

/// The marker by which a node of a lower rank wins over the same node of a higher one (F-PRF-13).
const STRATEGY: &str = "__strategy__";
/// The key by which a write says whether it replaces or merges; it is never stored (F-PRF-09).
pub const PERSISTENCE: &str = "__persistence_strategy__";
const MEMBERS: [&str; 6] = ["id", "categories", "workflows", "channel_types", "channels", COMMERCIAL];
const COMMERCIAL: &str = "commercial_subscribed";

/// Whose word it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// The recipient's set for the run's tenant.
    RecipientTenant,
    /// The recipient's default set.
    RecipientDefault,
    /// The tenant's defaults.
    TenantDefault,
    /// The environment's defaults.
    EnvironmentDefault,
}

/// The sets that have a say in a run, as they are stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sets<'a> {
    /// The run's tenant.
    pub tenant: Option<&'a str>,
    /// The recipient's set for that tenant.
    pub of_tenant: Option<&'a Value>,
    /// The recipient's default set.
    pub default: Option<&'a Value>,
    /// The tenant's defaults.
    pub tenant_default: Option<&'a Value>,
    /// The environment's defaults.
    pub environment_default: Option<&'a Value>,
}

/// What a recipient wants, with whose word each part is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Preferences {
    /// The set it is: `default`, or a tenant's.
    id: String,
    members: BTreeMap<String, Node>,
}

/// A set with whose word it is.
type Ranked<'a> = (Option<&'a Value>, Layer);

#[derive(Debug, Clone, PartialEq)]
enum Node {
    /// A value with whose word it is: true, false or a list of conditions.
    Word(Value, Layer),
    Map(BTreeMap<String, Node>),
}

impl Preferences {
    /// Lays the sets over each other, the higher rank on top (F-PEV-01 to F-PEV-05).
    pub fn resolve(sets: &Sets<'_>) -> Preferences {
        let tenant_default = sets.tenant_default.filter(|set| set.is_object());
        let has_tenant = sets.tenant.is_some() && (sets.of_tenant.is_some() || tenant_default.is_some());
        let own = match has_tenant {
            true => (sets.of_tenant, Layer::RecipientTenant),
            // F-PEV-03: a tenant for which nobody has said anything changes nothing.
            false => (sets.default, Layer::RecipientDefault),
        };
        let tenant = (tenant_default.filter(|_| has_tenant), Layer::TenantDefault);
        let environment = (sets.environment_default, Layer::EnvironmentDefault);
        let id = sets.tenant.filter(|_| has_tenant).unwrap_or(DEFAULT);
        // Whoever wants no commercial messages wants none in any tenant (F-PEV-05, F-AMB-37).
        Preferences::laid(id, [environment, tenant, own], (sets.default, Layer::RecipientDefault))
    }

    /// One set as its owner reads it: what they said themselves, over the defaults of a tenant and of the environment
    /// (F-PRF-16, F-AMB-34). Runs resolve otherwise.
    pub fn of_set(
        id: &str,
        own: Option<&Value>,
        tenant_default: Option<&Value>,
        environment_default: Option<&Value>,
    ) -> Preferences {
        let own = (own, if id == DEFAULT { Layer::RecipientDefault } else { Layer::RecipientTenant });
        let tenant = (tenant_default, Layer::TenantDefault);
        Preferences::laid(id, [(environment_default, Layer::EnvironmentDefault), tenant, own], own)
    }

    /// Lays the lowest rank first; whose word on commercial messages counts most is given by itself.
    fn laid(id: &str, [environment, tenant, own]: [Ranked<'_>; 3], commercial: Ranked<'_>) -> Preferences {
        let mut members = BTreeMap::new();
        for (set, layer) in [environment, tenant, own] {
            for (member, value) in set.and_then(Value::as_object).into_iter().flatten() {
                if MEMBERS[1..5].contains(&member.as_str()) {
                    lay_member(&mut members, member, value, layer);
                }
            }
        }
        for (set, layer) in [environment, tenant, commercial] {
            if let Some(value) = set.and_then(|set| set.get(COMMERCIAL)) {
                lay(&mut members, COMMERCIAL, value, layer);
            }
        }
        Preferences { id: id.to_owned(), members }
    }

    /// The whole set as templates and conditions see it (W-SCP-07, F-PRF-26).
    pub fn to_json(&self) -> Value {
        let mut out = json!({"id": self.id});
        for member in &MEMBERS[1..] {
            out[*member] = self.members.get(*member).map(Node::to_json).unwrap_or_default();
        }
        out
    }

    /// Whether a message may be sent: everything that has a say must agree (F-PEV-08). `judge` evaluates conditions.
    pub fn decide(&self, asked: &Asked<'_>, judge: &dyn Fn(&Group) -> Verdict) -> Decision {
        let mut said = Said { asked, judge, grounds: Vec::new() };
        let is_allowed = self.is_allowed(&mut said);
        Decision { is_allowed, grounds: said.grounds }
    }

    fn is_allowed(&self, said: &mut Said<'_>) -> bool {
        let asked = said.asked;
        // W-WFD-09, F-PEV-07: other workflows do not ask.
        if asked.is_commercial && !said.setting(COMMERCIAL, self.members.get(COMMERCIAL)) {
            return false;
        }
        said.pair("", &self.members)
            && said.entry("workflows", asked.workflow, self.members.get("workflows"))
            && asked.categories.iter().all(|name| said.entry("categories", name, self.members.get("categories")))
    }
}

/// A member of a set: its maps of workflows and categories may be marked entry by entry, the others as a whole.
fn lay_member(members: &mut BTreeMap<String, Node>, member: &str, value: &Value, layer: Layer) {
    match (member, value) {
        ("workflows" | "categories", Value::Object(entries)) => {
            let node = members.entry(member.to_owned()).or_insert_with(|| Node::Map(BTreeMap::new()));
            if let Node::Map(nodes) = node {
                entries.iter().for_each(|(name, value)| lay_marked(nodes, name, value, layer));
            }
        }
        _ => lay_marked(members, member, value, layer),
    }
}

/// Lays a node over the one below, unless that has the last word (F-PEV-04, F-AMB-62).
fn lay_marked(nodes: &mut BTreeMap<String, Node>, name: &str, value: &Value, layer: Layer) {
    let marker = nodes.get(name).and_then(|below| below.member(STRATEGY));
    if !matches!(marker, Some(Node::Word(word, _)) if word == "replace") {
        lay(nodes, name, value, layer);
    }
}

/// Lays a value over what is there: maps member by member, anything else as a whole; null says nothing.
fn lay(nodes: &mut BTreeMap<String, Node>, name: &str, value: &Value, layer: Layer) {
    match value {
        Value::Null => {}
        Value::Object(map) => {
            let node = nodes.entry(name.to_owned()).or_insert_with(|| Node::Map(BTreeMap::new()));
            if !matches!(node, Node::Map(_)) {
                *node = Node::Map(BTreeMap::new());
            }
            if let Node::Map(below) = node {
                map.iter().for_each(|(name, value)| lay(below, name, value, layer));
            }
        }
        word => {
            nodes.insert(name.to_owned(), Node::Word(word.clone(), layer));
        }
    }
}

impl Node {
    fn member(&self, name: &str) -> Option<&Node> {
        match self {
            Node::Map(members) => members.get(name),
            Node::Word(..) => None,
        }
    }

    fn to_json(&self) -> Value {
        match self {
            Node::Word(value, _) => value.clone(),
            Node::Map(members) => members.iter().map(|(name, node)| (name.clone(), node.to_json())).collect(),
        }
    }
}

/// What a message would be sent for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub workflow: &'a str,
    pub categories: &'a [String],
    /// The channel's id.
    pub channel: &'a str,
    pub kind: ChannelKind,
    /// Whether the workflow is commercial.
    pub is_commercial: bool,
}

/// Whether a message may be sent, and everything that had a say up to the first that did not agree.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub is_allowed: bool,
    pub grounds: Vec<Ground>,
}

/// One part of the preferences that had a say (F-PEV-15).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ground {
    /// Where it stands, such as `workflows.invoice.channel_types.email`.
    pub path: String,
    /// Whose word it is.
    pub layer: Layer,
    pub is_allowed: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Evaluation>,
    /// Why it cannot be read; it then counts as if nothing were said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What has had a say so far.
struct Said<'a> {
    asked: &'a Asked<'a>,
    judge: &'a dyn Fn(&Group) -> Verdict,
    grounds: Vec<Ground>,
}

impl Said<'_> {
    /// The entry of a workflow or a category: its own word or conditions, and what it says of the channel (F-PEV-11).
    fn entry(&mut self, member: &str, name: &str, entries: Option<&Node>) -> bool {
        let path = join(member, name);
        let entry = entries.and_then(|entries| entries.member(name));
        if !self.setting(&path, entry) {
            return false;
        }
        match entry {
            Some(Node::Map(members)) => self.pair(&path, members),
            _ => true,
        }
    }

    /// What one level says of the channel: of itself, else of its type (F-PEV-09).
    fn pair(&mut self, path: &str, members: &BTreeMap<String, Node>) -> bool {
        let named = [("channels", self.asked.channel), ("channel_types", self.asked.kind.as_str())];
        for (member, name) in named {
            if let Some(node) = members.get(member).and_then(|settings| settings.member(name)) {
                return self.setting(&join(&join(path, member), name), Some(node));
            }
        }
        true
    }

    /// True, false, or conditions that must all hold (F-PEV-12); where nothing is said, true (F-PRF-24).
    fn setting(&mut self, path: &str, node: Option<&Node>) -> bool {
        let (word, layer) = match node {
            Some(Node::Word(word, layer)) => (word, *layer),
            Some(Node::Map(members)) => match members.get("conditions") {
                Some(Node::Word(word, layer)) => (word, *layer),
                _ => return true,
            },
            None => return true,
        };
        let mut ground = Ground { path: path.to_owned(), layer, is_allowed: true, conditions: Vec::new(), error: None };
        match word {
            Value::Bool(word) => ground.is_allowed = *word,
            list => match Group::parse_list(list, "conditions", Allow::default()) {
                Ok(group) => {
                    let verdict = (self.judge)(&group);
                    ground.is_allowed = verdict.passed;
                    ground.conditions = verdict.evaluations;
                }
                Err(faults) => ground.error = faults.first().map(ToString::to_string),
            },
        }
        let is_allowed = ground.is_allowed;
        self.grounds.push(ground);
        is_allowed
    }
}

/// A set after a write that merges, unless it asks to replace (F-PRF-10 to F-PRF-12).
pub fn merged(stored: Option<Value>, incoming: &Value) -> Value {
    let mut incoming = incoming.clone();
    let strategy = incoming.as_object_mut().and_then(|set| set.remove(PERSISTENCE));
    if let Some(set) = incoming.as_object_mut() {
        set.retain(|name, _| is_member(name));
    }
    let replaces = strategy.as_ref().and_then(Value::as_str) == Some("replace");
    match stored {
        Some(mut stored) if !replaces => {
            deep_merge(&mut stored, incoming);
            stored
        }
        _ => incoming,
    }
}

/// A stored set as resources show it: with every member, null where nothing is said (F-PRF-07).
pub fn shown(id: &str, set: &Value) -> Value {
    let mut out = json!({"id": id});
    for member in &MEMBERS[1..] {
        out[*member] = set.get(member).cloned().unwrap_or_default();
    }
    out
}

/// Whether a set says something under that name.
pub fn is_member(name: &str) -> bool {
    MEMBERS[1..].contains(&name)
}

/// Why an id cannot name a set, if it cannot (F-AMB-29).
pub fn id_fault(id: &str) -> Option<&'static str> {
    if id.is_empty() || id.chars().count() > 256 || id.contains('\0') {
        return Some("a preference set's id has 1 to 256 characters, none of them NUL");
    }
    None
}

/// Everything that is wrong with a set as somebody writes it (F-PRF-25, F-AMB-36).
pub fn check(set: &Map<String, Value>, path: &str) -> Vec<Invalid> {
    let mut faults = Vec::new();
    for (member, value) in set {
        let path = join(path, member);
        match member.as_str() {
            "id" => {}
            PERSISTENCE => strategy(value, &path, &mut faults),
            "channel_types" | "channels" => settings(member, value, &path, &mut faults),
            "workflows" | "categories" => each(value, &path, &mut faults, entry),
            COMMERCIAL => setting(value, &path, &mut faults),
            STRATEGY => faults.push(Invalid::new(path, "marks what is within a preference set, not the set")),
            // Whatever else is sent is not kept (F-TRN-17).
            _ => {}
        }
    }
    faults
}

/// What of a set nobody would miss, since it is not kept: where it was written by hand, it was meant to say something.
pub fn strangers(set: &Map<String, Value>, path: &str) -> Vec<Invalid> {
    let strangers = set.keys().filter(|name| !is_member(name) && *name != "id" && !name.starts_with("__"));
    let fault = |name: &String| {
        let hint = aside(name, MEMBERS);
        Invalid::new(join(path, name), format!("is not part of a preference set{hint}"))
    };
    strangers.map(fault).collect()
}

fn each(value: &Value, path: &str, faults: &mut Vec<Invalid>, check: fn(&Value, &str, &mut Vec<Invalid>)) {
    match value {
        Value::Null => {}
        Value::Object(members) => {
            for (name, value) in members {
                let path = join(path, name);
                match name.as_str() {
                    STRATEGY => strategy(value, &path, faults),
                    _ => check(value, &path, faults),
                }
            }
        }
        _ => faults.push(Invalid::new(path, "must be an object or null")),
    }
}

fn settings(member: &str, value: &Value, path: &str, faults: &mut Vec<Invalid>) {
    if member == "channel_types" {
        let names = value.as_object().into_iter().flat_map(Map::keys);
        for name in names.filter(|name| *name != STRATEGY) {
            if let Err(unknown) = ChannelKind::from_str(name) {
                faults.push(Invalid::new(join(path, name), unknown.to_string()));
            }
        }
    }
    each(value, path, faults, setting);
}

/// The entry of a workflow or a category.
fn entry(value: &Value, path: &str, faults: &mut Vec<Invalid>) {
    let Value::Object(members) = value else { return setting(value, path, faults) };
    for (member, value) in members {
        let at = join(path, member);
        match member.as_str() {
            "channel_types" | "channels" => settings(member, value, &at, faults),
            "conditions" => conditions(value, &at, faults),
            STRATEGY => strategy(value, &at, faults),
            _ => {
                let message = "is not known here: known are channel_types, channels and conditions";
                faults.push(Invalid::new(at, message));
            }
        }
    }
}

fn setting(value: &Value, path: &str, faults: &mut Vec<Invalid>) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::Object(members) if members.keys().all(|name| name == "conditions") => {
            conditions(members.get("conditions").unwrap_or(&Value::Null), &join(path, "conditions"), faults);
        }
        _ => faults.push(Invalid::new(path, "must be true, false or {\"conditions\": [..]}")),
    }
}

fn conditions(list: &Value, path: &str, faults: &mut Vec<Invalid>) {
    if let Err(more) = Group::parse_list(list, path, Allow::default()) {
        faults.extend(more);
    }
}

fn strategy(value: &Value, path: &str, faults: &mut Vec<Invalid>) {
    if value != "replace" && value != "merge" {
        faults.push(Invalid::new(path, "must be \"replace\" or \"merge\""));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scope::Scope;
    use crate::model::time::Time;
    use crate::rules::condition::Context;

    const C1: &str = "00000000-0000-4000-8000-000000000001";
    const C2: &str = "00000000-0000-4000-8000-000000000002";

    fn of(default: Value) -> Preferences {
        Preferences::resolve(&Sets { default: Some(&default), ..Sets::default() })
    }

    fn decide(preferences: &Preferences, asked: Asked<'_>) -> Decision {
        let data = json!({"size": 3});
        let scope = Scope::new(vec![("data", &data)]);
        let context = Context { scope: &scope, now: Time::default(), is_member: &|_| false, liquid: &|_| None };
        preferences.decide(&asked, &|group| group.evaluate(&context))
    }

    fn email<'a>(workflow: &'a str, categories: &'a [String]) -> Asked<'a> {
        Asked { workflow, categories, channel: C1, kind: ChannelKind::Email, is_commercial: false }
    }

    fn is_allowed(preferences: &Preferences) -> bool {
        decide(preferences, email("invoice", &["news".to_owned(), "all".to_owned()])).is_allowed
    }

    fn bigger_than(size: i64) -> Value {
        json!([{"variable": "data.size", "operator": "greater_than", "argument": size}])
    }

    #[test]
    fn where_nothing_is_said_everything_is_wanted() {
        let nothing = Preferences::resolve(&Sets::default());
        let decision = decide(&nothing, email("invoice", &[]));
        assert_eq!((decision.is_allowed, decision.grounds), (true, vec![]), "F-PRF-24");
        let expected = json!({"id": "default", "categories": null, "workflows": null, "channel_types": null,
            "channels": null, "commercial_subscribed": null});
        assert_eq!(nothing.to_json(), expected, "F-PRF-07");
    }

    #[test]
    fn one_part_that_does_not_agree_is_enough() {
        for (set, allowed) in [
            (json!({"channel_types": {"email": false}}), false),
            (json!({"channel_types": {"sms": false}}), true),
            (json!({"workflows": {"invoice": false}}), false),
            (json!({"workflows": {"other": false}}), true),
            (json!({"categories": {"all": false}}), false),
            (json!({"categories": {"News": false}}), true),
            (json!({"workflows": {"invoice": {"channel_types": {"email": false}}}}), false),
            (json!({"workflows": {"invoice": {"channels": {C1: false}}}}), false),
            (json!({"workflows": {"invoice": {"channels": {C2: false}}}}), true),
            // F-PEV-10: another level's yes does not make up for it.
            (json!({"categories": {"news": false}, "channels": {C1: true}, "workflows": {"invoice": true}}), false),
            (json!({"channel_types": {"email": false}, "workflows": {"invoice": {"channels": {C1: true}}}}), false),
            // F-PEV-09: at one level the channel goes before its type.
            (json!({"channel_types": {"email": false}, "channels": {C1: true}}), true),
            (json!({"channel_types": {"email": true}, "channels": {C1: false}}), false),
            (json!({"channel_types": {"email": false}, "channels": {C2: true}}), false),
            (json!({"channels": {C1: null}, "channel_types": {"email": false}}), false),
        ] {
            assert_eq!(is_allowed(&of(set.clone())), allowed, "F-PEV-08 {set}");
        }
    }

    #[test]
    fn the_worked_example_f_pev_16() {
        let set = of(json!({"channel_types": {"email": false}, "channels": {C1: true},
            "categories": {"news": {"channel_types": {"email": true}}}}));
        let news = ["news".to_owned()];
        assert!(decide(&set, email("w", &news)).is_allowed, "F-PEV-16");
        assert!(!decide(&set, Asked { channel: C2, ..email("w", &news) }).is_allowed, "F-PEV-16");
    }

    #[test]
    fn conditions_must_all_hold_and_are_told() {
        for (set, allowed) in [
            (json!({"channel_types": {"email": {"conditions": bigger_than(2)}}}), true),
            (json!({"channel_types": {"email": {"conditions": bigger_than(3)}}}), false),
            (json!({"channel_types": {"email": {"conditions": []}}}), true),
            (json!({"workflows": {"invoice": {"conditions": bigger_than(3)}}}), false),
            (
                json!({"workflows": {"invoice": {"conditions": bigger_than(2), "channel_types": {"email": false}}}}),
                false,
            ),
            (json!({"categories": {"news": {"channels": {C1: {"conditions": bigger_than(3)}}}}}), false),
        ] {
            assert_eq!(is_allowed(&of(set.clone())), allowed, "F-PEV-11 F-PEV-12 {set}");
        }
        let set = of(json!({"workflows": {"invoice": {"channel_types": {"email": {"conditions": bigger_than(9)}}}}}));
        let decision = decide(&set, email("invoice", &[]));
        let [ground] = decision.grounds.as_slice() else { panic!("one ground") };
        assert_eq!(ground.path, "workflows.invoice.channel_types.email", "F-PEV-15");
        assert_eq!(ground.conditions[0].left, Some(json!(3)), "F-PEV-15");
        assert_eq!(ground.conditions[0].result, Some(false), "F-PEV-15");
    }

    #[test]
    fn ranks_are_laid_over_each_other_leaf_by_leaf() {
        let environment = json!({"channel_types": {"email": false, "sms": false}, "workflows": {"invoice": false}});
        let default = json!({"channel_types": {"email": true}});
        let own = Sets { default: Some(&default), environment_default: Some(&environment), ..Sets::default() };
        let resolved = Preferences::resolve(&own);
        let expected = json!({"email": true, "sms": false});
        assert_eq!(resolved.to_json()["channel_types"], expected, "F-PEV-01");
        let decision = decide(&resolved, email("invoice", &[]));
        let grounds: Vec<_> = decision.grounds.iter().map(|ground| (ground.path.as_str(), ground.layer)).collect();
        let expected =
            [("channel_types.email", Layer::RecipientDefault), ("workflows.invoice", Layer::EnvironmentDefault)];
        assert_eq!(grounds, expected, "F-PEV-15: whose word it was");

        let (of_tenant, tenant_default) =
            (json!({"channel_types": {"sms": true}}), json!({"channel_types": {"email": true, "push": false}}));
        let sets = Sets { tenant: Some("north"), ..own };
        let in_tenant = |sets: Sets<'_>| {
            (Preferences::resolve(&sets).to_json()["channel_types"].clone(), Preferences::resolve(&sets).id)
        };
        let north = || "north".to_owned();
        assert_eq!(in_tenant(sets), (json!({"email": true, "sms": false}), "default".to_owned()), "F-PEV-03");
        let with_own = Sets { of_tenant: Some(&of_tenant), ..sets };
        assert_eq!(
            in_tenant(with_own),
            (json!({"email": false, "sms": true}), north()),
            "F-PEV-02: not the default set"
        );
        let with_both = Sets { tenant_default: Some(&tenant_default), ..with_own };
        assert_eq!(in_tenant(with_both), (json!({"email": true, "push": false, "sms": true}), north()), "F-PEV-02");
    }

    #[test]
    fn a_marked_node_of_a_lower_rank_wins_as_a_whole() {
        let tenant = json!({"categories": {"billing": {"__strategy__": "replace", "channel_types": {"email": false}}}});
        let own = json!({"categories": {"billing": {"channel_types": {"email": true}}, "social": {"channel_types": {"email": true}}}});
        let sets = Sets { tenant: Some("t"), of_tenant: Some(&own), tenant_default: Some(&tenant), ..Sets::default() };
        let expected = json!({
            "billing": {"__strategy__": "replace", "channel_types": {"email": false}},
            "social": {"channel_types": {"email": true}},
        });
        assert_eq!(Preferences::resolve(&sets).to_json()["categories"], expected, "F-PEV-04 F-PRF-17");
        let environment = json!({"channel_types": {"__strategy__": "replace", "email": false}});
        let default = json!({"channel_types": {"email": true, "sms": false}});
        let sets = Sets { default: Some(&default), environment_default: Some(&environment), ..Sets::default() };
        let resolved = Preferences::resolve(&sets).to_json();
        assert_eq!(resolved["channel_types"], json!({"__strategy__": "replace", "email": false}), "F-AMB-62");
        let merging = json!({"channel_types": {"__strategy__": "merge", "email": false}});
        let sets = Sets { environment_default: Some(&merging), ..sets };
        assert_eq!(Preferences::resolve(&sets).to_json()["channel_types"]["email"], true, "F-PRF-14");
        let inert = json!({"channel_types": {"__strategy__": "replace", "email": true}});
        let sets = Sets {
            default: Some(&inert),
            environment_default: Some(&json!({"channel_types": {"sms": false}})),
            ..sets
        };
        assert_eq!(Preferences::resolve(&sets).to_json()["channel_types"]["sms"], false, "F-AMB-62: inert there");
    }

    #[test]
    fn a_word_over_a_map_and_a_map_over_a_word_win_whole() {
        let environment = json!({"workflows": {"invoice": {"channel_types": {"email": false}}, "other": false}});
        let default = json!({"workflows": {"invoice": true, "other": {"channel_types": {"sms": false}}}});
        let sets = Sets { default: Some(&default), environment_default: Some(&environment), ..Sets::default() };
        let resolved = Preferences::resolve(&sets);
        assert_eq!(resolved.to_json()["workflows"], default["workflows"], "F-PRF-10 F-AMB-31");
        assert!(decide(&resolved, email("other", &[])).is_allowed);
        let unset = json!({"workflows": {"other": null}});
        let sets = Sets { default: Some(&unset), ..sets };
        assert!(!decide(&Preferences::resolve(&sets), email("other", &[])).is_allowed, "null says nothing");
    }

    #[test]
    fn commercial_messages_ask_the_default_set_also_in_tenants() {
        let commercial = |sets: &Sets<'_>| {
            let asked = Asked { is_commercial: true, ..email("promo", &[]) };
            decide(&Preferences::resolve(sets), asked).is_allowed
        };
        let (no, yes) = (json!({"commercial_subscribed": false}), json!({"commercial_subscribed": true}));
        assert!(commercial(&Sets::default()), "F-AMB-37");
        let own = Sets { default: Some(&no), ..Sets::default() };
        assert!(!commercial(&own), "F-PEV-07");
        assert!(decide(&Preferences::resolve(&own), email("promo", &[])).is_allowed, "F-PEV-07: others do not ask");
        let in_tenant = Sets { tenant: Some("t"), of_tenant: Some(&yes), tenant_default: Some(&yes), ..own };
        assert!(!commercial(&in_tenant), "F-PEV-05");
        let silent = Sets { default: None, ..in_tenant };
        assert!(commercial(&Sets { environment_default: Some(&no), ..silent }), "F-AMB-37: the tenant's before");
        assert!(!commercial(&Sets { environment_default: Some(&no), tenant_default: None, ..silent }), "F-AMB-37");
        let when = json!({"commercial_subscribed": {"conditions": bigger_than(5)}});
        assert!(!commercial(&Sets { default: Some(&when), ..Sets::default() }), "F-PRF-05");
    }

    #[test]
    fn what_cannot_be_read_counts_as_not_said_and_is_told() {
        let decision =
            decide(&of(json!({"channel_types": {"email": {"conditions": [{"operator": "is"}]}}})), email("w", &[]));
        assert!(decision.is_allowed);
        assert!(decision.grounds[0].error.as_deref().is_some_and(|error| error.contains("conditions[0]")));
    }

    #[test]
    fn a_set_is_checked_when_it_is_written() {
        let wrong = |set: Value| -> Vec<String> {
            let Value::Object(set) = set else { panic!("a set") };
            check(&set, "set").into_iter().map(|fault| fault.path).collect()
        };
        let sound = json!({"id": "default", "__persistence_strategy__": "merge", "channels": {"any": true}, "categories": null,
            "channel_types": {"__strategy__": "replace", "email": {"conditions": bigger_than(1)}, "sms": null},
            "workflows": {"w": {"__strategy__": "merge", "conditions": [], "channel_types": {"push": false}}, "x": false},
            "commercial_subscribed": {"conditions": []}});
        assert_eq!(wrong(sound), Vec::<String>::new(), "F-PRF-02 to F-PRF-06, F-AMB-36");
        for (set, path) in [
            (json!({"channel_types": {"pigeon": true}}), "set.channel_types.pigeon"),
            (json!({"channel_types": {"email": "no"}}), "set.channel_types.email"),
            (json!({"channels": [true]}), "set.channels"),
            (json!({"workflows": {"w": {"channel_types": {"pigeon": true}}}}), "set.workflows.w.channel_types.pigeon"),
            (json!({"workflows": {"w": {"email": false}}}), "set.workflows.w.email"),
            (json!({"categories": {"c": 1}}), "set.categories.c"),
            (
                json!({"categories": {"c": {"conditions": [{"variable": "data.a", "operator": "is"}]}}}),
                "set.categories.c.conditions[0].operator",
            ),
            (
                json!({"channel_types": {"email": {"conditions": [{"variable": "refs.a.delivery_status", "operator": "equal_to"}]}}}),
                "set.channel_types.email.conditions[0].variable",
            ),
            (json!({"commercial_subscribed": "yes"}), "set.commercial_subscribed"),
            (json!({"__strategy__": "replace"}), "set.__strategy__"),
            (json!({"__persistence_strategy__": "keep"}), "set.__persistence_strategy__"),
        ] {
            assert_eq!(wrong(set.clone()), [path], "F-PRF-25 W-CND-56 {set}");
        }
        let more = json!({"id": "default", "workflow": {}, "workflows": {}, "__persistence_strategy__": "merge"});
        assert_eq!(wrong(more.clone()), Vec::<String>::new(), "F-TRN-17");
        let strangers = strangers(more.as_object().expect("an object"), "set");
        let told: Vec<String> = strangers.iter().map(ToString::to_string).collect();
        assert_eq!(told, ["set.workflow: is not part of a preference set (did you mean `workflows`?)"]);
    }
}
