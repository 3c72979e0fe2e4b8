//! A source: a service elsewhere that tells of its events, and what is done about each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::audience::Audiences;
use super::environment::Settings;
use super::invalid::{Invalid, aside, did_you_mean, join};
use super::reader::{Node, Reader};
use super::scope::descend;
use super::workflow::{StepKind, Workflow};
use crate::sign::source::{Encoding, Scheme, Signature};

/// What must come first of several mappings of one event comes first, whichever was written first (W-SRC-02, W-AMB-68).
const ORDER: [&str; 12] = [
    "users_identify",
    "users_delete",
    "objects_set",
    "objects_delete",
    "tenants_set",
    "tenants_delete",
    "objects_subscribe",
    "objects_unsubscribe",
    "audiences_add_member",
    "audiences_remove_member",
    "workflows_cancel",
    "workflows_trigger",
];
const KEYS: [&str; 10] = [
    "$schema",
    "name",
    "description",
    "event_type_path",
    "idempotency_key_path",
    "timestamp_path",
    "user_id_path",
    "signature",
    "enforce_verification",
    "mappings",
];
const ROOTS: [&str; 3] = ["data", "body", "headers"];

/// A source that a file declares.
#[derive(Debug)]
pub struct Source {
    pub key: String,
    pub name: String,
    /// Where an event says what it is.
    pub event_type: Path,
    /// Where it says which it is, if repetitions are to be told.
    pub idempotency_key: Option<Path>,
    /// Where it says when it happened.
    pub timestamp: Option<Path>,
    /// Where it says whom it is about: whose runs may wait for it (W-WFE-11).
    pub user_id: Path,
    /// How its sender proves who they are.
    pub signature: Signature,
    /// Whether they have to.
    pub enforces_verification: bool,
    /// What is done, in the order in which it is.
    mappings: Vec<Mapping>,
}

/// What is done about an event.
#[derive(Debug)]
pub struct Mapping {
    /// The event's type.
    pub event: String,
    pub is_active: bool,
    pub action: Action,
    /// The word for it in documents.
    pub name: &'static str,
    /// As it stands in the source's document.
    pub document: Value,
    /// Its place in the document.
    place: usize,
}

/// An action with where its parameters come from (W-SRC-01).
#[derive(Debug)]
pub enum Action {
    IdentifyUser { id: Given, properties: Properties },
    DeleteUser { id: Given },
    SetObject { object: Named, properties: Properties },
    DeleteObject { object: Named },
    SetTenant { id: Given, properties: Properties },
    DeleteTenant { id: Given },
    Subscribe { object: Named, recipients: Given, properties: Properties },
    Unsubscribe { object: Named, recipients: Given },
    AddMember(Member),
    RemoveMember(Member),
    Cancel { workflow: String, cancellation_key: Given, recipients: Option<Given> },
    Trigger(Trigger),
}

/// An object, as an event names one.
#[derive(Debug)]
pub struct Named {
    pub collection: Given,
    pub id: Given,
}

/// A member of an audience, as an event gives one.
#[derive(Debug)]
pub struct Member {
    pub audience: String,
    pub user: Given,
    pub tenant: Option<Given>,
}

/// A trigger, as an event gives one.
#[derive(Debug)]
pub struct Trigger {
    pub workflow: String,
    pub recipients: Given,
    pub actor: Option<Given>,
    pub tenant: Option<Given>,
    pub cancellation_key: Option<Given>,
    pub data: Properties,
}

/// A parameter: what stands at a path of the event, or always the same.
#[derive(Debug, Clone, PartialEq)]
pub enum Given {
    At(Path),
    Always(Value),
}

/// Members of an object: all that stands at a path, or each from where it is.
#[derive(Debug, Clone, PartialEq)]
pub enum Properties {
    At(Path),
    Each(Vec<(String, Given)>),
}

/// A dot path into an event (W-SRC-03): `body.` is the whole body, `data.` what it is about, `headers.` the request's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

/// An event as paths see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub body: Value,
    /// By their names in small letters.
    pub headers: Map<String, Value>,
}

impl Event {
    /// What the event is about: its `properties`, or its `data`, or all of it.
    pub fn data(&self) -> &Value {
        let inner = |name: &str| self.body.get(name).filter(|value| value.is_object());
        inner("properties").or_else(|| inner("data")).unwrap_or(&self.body)
    }
}

impl Mapping {
    /// Reads a mapping by itself, as [`Mapping::document`] has it.
    pub fn parse(document: &Value) -> Result<Mapping, Vec<Invalid>> {
        let mut reader = Reader::default();
        let mapping = reader.mapping(document, 0);
        reader.finish(mapping)
    }
}

impl Path {
    fn parse(text: &str) -> Result<Path, String> {
        match text.split_once('.') {
            Some((root, rest)) if ROOTS.contains(&root) && !rest.is_empty() => Ok(Path(text.to_owned())),
            Some(("preprocess", _)) => {
                Err("preprocess.* is not there: this version runs no scripts of sources".to_owned())
            }
            _ => Err("must be a path that begins with data., body. or headers.".to_owned()),
        }
    }

    /// What stands there; null counts as nothing.
    pub fn find<'e>(&self, event: &'e Event) -> Option<&'e Value> {
        let (root, rest) = self.0.split_once('.')?;
        let found = match root {
            "body" => descend(&event.body, rest),
            "headers" => event.headers.get(&rest.to_lowercase()),
            _ => descend(event.data(), rest),
        };
        found.filter(|value| !value.is_null())
    }

    /// The text that stands there; numbers are spelled.
    pub fn text(&self, event: &Event) -> Option<String> {
        spelled(self.find(event)?)
    }

    /// The name of the header, if it leads to one.
    fn header(&self) -> Option<String> {
        self.0.strip_prefix("headers.").map(str::to_lowercase)
    }
}

/// An id, or a word like one, as text: services send numbers, too.
fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// The same of one who is named, or of several: by an id, or by an object with one.
pub fn with_spelled_ids(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Array(items) => items.drain(..).map(with_spelled_ids).collect(),
        Value::Object(map) => {
            for name in ["id", "collection"] {
                if let Some(text) = map.get(name).filter(|id| id.is_number()).and_then(spelled) {
                    map.insert(name.to_owned(), text.into());
                }
            }
            value
        }
        _ => value,
    }
}

impl std::fmt::Display for Path {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Given {
    /// Its value; none if the event does not give it.
    pub fn value(&self, event: &Event) -> Option<Value> {
        match self {
            Given::At(path) => path.find(event).cloned(),
            Given::Always(value) => Some(value.clone()),
        }
    }

    /// Its value, or which parameter is missing.
    pub fn required(&self, event: &Event, name: &str) -> Result<Value, String> {
        self.value(event).ok_or_else(|| match self {
            Given::At(path) => format!("`{name}` is required, and nothing stands at {path}"),
            Given::Always(_) => format!("`{name}` is required"),
        })
    }

    /// The same, which has to be an id.
    pub fn required_id(&self, event: &Event, name: &str) -> Result<String, String> {
        spelled(&self.required(event, name)?).ok_or_else(|| format!("`{name}` must be an id, as text"))
    }
}

impl Properties {
    /// The members that the event gives.
    pub fn values(&self, event: &Event) -> Map<String, Value> {
        match self {
            Properties::At(path) => path.find(event).and_then(Value::as_object).cloned().unwrap_or_default(),
            Properties::Each(each) => {
                each.iter().filter_map(|(name, given)| Some((name.clone(), given.value(event)?))).collect()
            }
        }
    }
}

impl Source {
    /// Reads the document of the source `key`, and finds everything that is wrong with it.
    pub fn parse(key: &str, document: &Value) -> Result<Source, Vec<Invalid>> {
        let mut reader = Reader::default();
        let source = reader.source(key, document);
        reader.finish(source)
    }

    /// What is done about an event of this type, in order; what is inactive is not (W-SRC-06).
    pub fn mappings(&self, event: &str) -> impl Iterator<Item = &Mapping> {
        self.mappings.iter().filter(move |mapping| mapping.is_active && mapping.event == event)
    }

    /// The names of the headers that any path leads to, in small letters: no other need be kept.
    pub fn headers(&self) -> BTreeSet<String> {
        let mut paths: Vec<&Path> = vec![&self.event_type, &self.user_id];
        paths.extend(self.idempotency_key.iter().chain(&self.timestamp));
        paths.extend(self.mappings.iter().flat_map(|mapping| mapping.action.paths()));
        paths.into_iter().filter_map(Path::header).collect()
    }
}

impl Action {
    fn paths(&self) -> Vec<&Path> {
        let (given, properties): (Vec<&Given>, Option<&Properties>) = match self {
            Action::IdentifyUser { id, properties } | Action::SetTenant { id, properties } => {
                (vec![id], Some(properties))
            }
            Action::DeleteUser { id } | Action::DeleteTenant { id } => (vec![id], None),
            Action::DeleteObject { object } => (vec![&object.collection, &object.id], None),
            Action::SetObject { object, properties } => (vec![&object.collection, &object.id], Some(properties)),
            Action::Subscribe { object, recipients, properties } => {
                (vec![&object.collection, &object.id, recipients], Some(properties))
            }
            Action::Unsubscribe { object, recipients } => (vec![&object.collection, &object.id, recipients], None),
            Action::AddMember(member) | Action::RemoveMember(member) => {
                (std::iter::once(&member.user).chain(&member.tenant).collect(), None)
            }
            Action::Cancel { cancellation_key, recipients, .. } => {
                (std::iter::once(cancellation_key).chain(recipients).collect(), None)
            }
            Action::Trigger(trigger) => {
                let optional = [&trigger.actor, &trigger.tenant, &trigger.cancellation_key].into_iter().flatten();
                (std::iter::once(&trigger.recipients).chain(optional).collect(), Some(&trigger.data))
            }
        };
        let mut paths: Vec<&Path> = given.into_iter().filter_map(Given::path).collect();
        match properties {
            Some(Properties::At(path)) => paths.push(path),
            Some(Properties::Each(each)) => paths.extend(each.iter().filter_map(|(_, given)| given.path())),
            None => {}
        }
        paths
    }

    /// The audience that it names.
    fn audience(&self) -> Option<&str> {
        match self {
            Action::AddMember(member) | Action::RemoveMember(member) => Some(&member.audience),
            _ => None,
        }
    }

    /// The workflow that it names.
    fn workflow(&self) -> Option<&str> {
        match self {
            Action::Cancel { workflow, .. } | Action::Trigger(Trigger { workflow, .. }) => Some(workflow),
            _ => None,
        }
    }
}

impl Given {
    fn path(&self) -> Option<&Path> {
        match self {
            Given::At(path) => Some(path),
            Given::Always(_) => None,
        }
    }
}

/// Every source that files declare.
#[derive(Debug, Default)]
pub struct Sources(BTreeMap<String, Arc<Source>>);

impl Sources {
    /// These sources.
    pub fn new(sources: Vec<Source>) -> Sources {
        Sources(sources.into_iter().map(|source| (source.key.clone(), Arc::new(source))).collect())
    }

    /// The source with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<Source>> {
        self.0.get(key)
    }

    /// Every source, by key.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.0.values()
    }

    /// Those whose events are refused in an environment, since nobody can prove there who sent them.
    pub fn unprovable(&self, settings: &Settings) -> Vec<&str> {
        let is_closed =
            |source: &&Arc<Source>| source.enforces_verification && settings.secrets_of_source(&source.key).is_empty();
        self.all().filter(is_closed).map(|source| source.key.as_str()).collect()
    }

    /// What is wrong with these sources, audiences and workflows together: each fault with the source it is in, or with
    /// the workflow that waits for one.
    pub fn faults(&self, workflows: &[Workflow], audiences: &Audiences) -> Vec<(In, Invalid)> {
        let mut faults = Vec::new();
        for source in self.all() {
            for Mapping { action, place, .. } in &source.mappings {
                if let Some(key) = action.workflow().filter(|key| workflows.iter().all(|known| known.key != **key)) {
                    let hint = aside(key, workflows.iter().map(|known| known.key.as_str()));
                    let fault = format!("there is no workflow `{key}`{hint}");
                    faults.push((In::Source(source.key.clone()), at_mapping(*place, "workflow", fault)));
                }
                let fault_of = |key| audiences.missing(key).or_else(|| audiences.dynamic_fault(key));
                if let Some(fault) = action.audience().and_then(fault_of) {
                    faults.push((In::Source(source.key.clone()), at_mapping(*place, "audience", fault)));
                }
            }
        }
        for workflow in workflows {
            for (position, step) in workflow.all_steps() {
                let StepKind::WaitForEvent(wait) = &step.kind else { continue };
                if wait.topic.starts_with("source.") && self.get(&wait.source).is_none() {
                    let at = format!("{}.settings.event.integration_source_key", workflow.path(&position));
                    let hint = aside(&wait.source, self.0.keys().map(String::as_str));
                    let fault = Invalid::new(at, format!("there is no source `{}`{hint}", wait.source));
                    faults.push((In::Workflow(workflow.key.clone()), fault));
                }
            }
        }
        faults
    }
}

fn at_mapping(place: usize, name: &str, fault: String) -> Invalid {
    Invalid::new(format!("mappings[{place}].{name}"), fault)
}

/// In whose file something is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum In {
    Source(String),
    Workflow(String),
}

impl Reader {
    fn source(&mut self, key: &str, document: &Value) -> Option<Source> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        if !(1..=255).contains(&key.len()) || !key.bytes().all(is_plain) {
            self.wrong("key", "can't be a source's key: a-z, 0-9, `_` and `-` are allowed");
        }
        let node = self.object(document, "")?;
        self.known(&node, &KEYS);
        let name = self.text(&node, "name").filter(|name| !name.is_empty()).unwrap_or(key).to_owned();
        self.text(&node, "description");
        let usual = |text: &str| Path(text.to_owned());
        Some(Source {
            key: key.to_owned(),
            name,
            event_type: self.path(&node, "event_type_path").unwrap_or_else(|| usual("body.type")),
            idempotency_key: self.path(&node, "idempotency_key_path"),
            timestamp: self.path(&node, "timestamp_path"),
            user_id: self.path(&node, "user_id_path").unwrap_or_else(|| usual("body.userId")),
            signature: self.signature(&node),
            enforces_verification: self.flag_or(&node, "enforce_verification", true),
            mappings: self.mappings(&node),
        })
    }

    fn path(&mut self, node: &Node<'_>, key: &str) -> Option<Path> {
        let text = self.text(node, key)?;
        Path::parse(text).map_err(|fault| self.wrong(node.at(key), fault)).ok()
    }

    /// How senders sign, which is as this server does, unless the document says otherwise.
    fn signature(&mut self, node: &Node<'_>) -> Signature {
        let usual = Signature::default();
        let Some(node) = self.object_at(node, "signature") else { return usual };
        let node = &node;
        let header = self.required_text(node, "header").map(str::to_lowercase).unwrap_or_default();
        let encoding = match self.one_of(node, "encoding", &["hex", "base64"]) {
            Some(1) => Encoding::Base64,
            _ => Encoding::Hex,
        };
        let scheme = match self.required_text(node, "scheme") {
            Some("token") => {
                self.known(node, &["header", "scheme"]);
                Scheme::Token
            }
            Some("hmac") => {
                self.known(node, &["header", "scheme", "encoding", "prefix"]);
                let prefix = self.text(node, "prefix").unwrap_or_default().to_owned();
                Scheme::Body { encoding, prefix }
            }
            Some("timestamped_hmac") => {
                self.known(node, &["header", "scheme", "encoding", "part", "tolerance_seconds"]);
                let part = self.text(node, "part").filter(|part| !part.is_empty()).unwrap_or("s").to_owned();
                let tolerance_seconds = self.whole_number(node, "tolerance_seconds", 1..=86_400).unwrap_or(300);
                Scheme::Timestamped { encoding, part, tolerance_seconds }
            }
            Some(_) => {
                self.wrong(node.at("scheme"), "must be hmac, timestamped_hmac or token");
                return usual;
            }
            None => return usual,
        };
        Signature { header, scheme }
    }

    fn mappings(&mut self, node: &Node<'_>) -> Vec<Mapping> {
        let mut mappings = Vec::new();
        for (at, item) in self.list(node, "mappings").iter().enumerate() {
            mappings.extend(self.mapping(item, at));
        }
        mappings.sort_by_key(|mapping| ORDER.iter().position(|name| *name == mapping.name));
        mappings
    }

    fn mapping(&mut self, document: &Value, place: usize) -> Option<Mapping> {
        let node = &self.object(document, &format!("mappings[{place}]"))?;
        let event = self.required_text(node, "event").map(str::to_owned);
        let is_active = self.flag_or(node, "active", true);
        let word = self.required_text(node, "action")?;
        let Some(name) = ORDER.into_iter().find(|name| *name == word) else {
            let hint = did_you_mean(word, ORDER).unwrap_or_else(|| format!("known are {}", ORDER.join(", ")));
            self.wrong(node.at("action"), format!("there is no such action; {hint}"));
            return None;
        };
        let action = self.action(node, name)?;
        Some(Mapping { event: event?, is_active, action, name, document: document.clone(), place })
    }

    fn action(&mut self, node: &Node<'_>, name: &str) -> Option<Action> {
        let known = |own: &[&'static str]| [&["event", "action", "active"][..], own].concat();
        match name {
            "users_identify" => {
                self.known(node, &known(&["id", "properties"]));
                let (id, properties) = (self.required(node, "id"), self.properties(node, "properties"));
                Some(Action::IdentifyUser { id: id?, properties })
            }
            "users_delete" => {
                self.known(node, &known(&["id"]));
                Some(Action::DeleteUser { id: self.required(node, "id")? })
            }
            "objects_set" => {
                self.known(node, &known(&["collection", "id", "properties"]));
                let (object, properties) = (self.named(node), self.properties(node, "properties"));
                Some(Action::SetObject { object: object?, properties })
            }
            "objects_delete" => {
                self.known(node, &known(&["collection", "id"]));
                Some(Action::DeleteObject { object: self.named(node)? })
            }
            "objects_subscribe" => {
                self.known(node, &known(&["collection", "id", "recipients", "properties"]));
                let (object, recipients) = (self.named(node), self.required(node, "recipients"));
                let properties = self.properties(node, "properties");
                Some(Action::Subscribe { object: object?, recipients: recipients?, properties })
            }
            "objects_unsubscribe" => {
                self.known(node, &known(&["collection", "id", "recipients"]));
                let (object, recipients) = (self.named(node), self.required(node, "recipients"));
                Some(Action::Unsubscribe { object: object?, recipients: recipients? })
            }
            "tenants_set" => {
                self.known(node, &known(&["id", "properties"]));
                let (id, properties) = (self.required(node, "id"), self.properties(node, "properties"));
                Some(Action::SetTenant { id: id?, properties })
            }
            "tenants_delete" => {
                self.known(node, &known(&["id"]));
                Some(Action::DeleteTenant { id: self.required(node, "id")? })
            }
            "audiences_add_member" | "audiences_remove_member" => {
                self.known(node, &known(&["audience", "user", "tenant"]));
                let audience = self.required_text(node, "audience").map(str::to_owned);
                let (user, tenant) = (self.required(node, "user"), self.optional(node, "tenant"));
                let member = Member { audience: audience?, user: user?, tenant };
                Some(if name == "audiences_add_member" {
                    Action::AddMember(member)
                } else {
                    Action::RemoveMember(member)
                })
            }
            "workflows_cancel" => {
                self.known(node, &known(&["workflow", "cancellation_key", "recipients"]));
                let workflow = self.required_text(node, "workflow").map(str::to_owned);
                let (key, recipients) = (self.required(node, "cancellation_key"), self.optional(node, "recipients"));
                Some(Action::Cancel { workflow: workflow?, cancellation_key: key?, recipients })
            }
            _ => {
                self.known(node, &known(&["workflow", "recipients", "actor", "tenant", "cancellation_key", "data"]));
                let workflow = self.required_text(node, "workflow").map(str::to_owned);
                let recipients = self.required(node, "recipients");
                let [actor, tenant, cancellation_key] =
                    ["actor", "tenant", "cancellation_key"].map(|key| self.optional(node, key));
                let data = self.properties(node, "data");
                let (workflow, recipients) = (workflow?, recipients?);
                Some(Action::Trigger(Trigger { workflow, recipients, actor, tenant, cancellation_key, data }))
            }
        }
    }

    fn named(&mut self, node: &Node<'_>) -> Option<Named> {
        let (collection, id) = (self.required(node, "collection"), self.required(node, "id"));
        Some(Named { collection: collection?, id: id? })
    }

    fn required(&mut self, node: &Node<'_>, key: &str) -> Option<Given> {
        if node.get(key).is_none() {
            self.wrong(node.at(key), "is required: a path such as body.id, or {\"value\": ..}");
        }
        self.optional(node, key)
    }

    fn optional(&mut self, node: &Node<'_>, key: &str) -> Option<Given> {
        self.given(node.get(key)?, &node.at(key))
    }

    fn given(&mut self, value: &Value, at: &str) -> Option<Given> {
        match value {
            Value::String(text) => Path::parse(text).map(Given::At).map_err(|fault| self.wrong(at, fault)).ok(),
            Value::Object(map) if map.len() == 1 && map.contains_key("value") => {
                Some(Given::Always(map["value"].clone()))
            }
            _ => {
                self.wrong(at, "must be a path such as body.id, or {\"value\": ..} for what is always the same");
                None
            }
        }
    }

    fn properties(&mut self, node: &Node<'_>, key: &str) -> Properties {
        match node.get(key) {
            None => Properties::Each(Vec::new()),
            Some(Value::Object(map)) => {
                let at = node.at(key);
                let each = map
                    .iter()
                    .filter_map(|(name, value)| self.given(value, &join(&at, name)).map(|given| (name.clone(), given)));
                Properties::Each(each.collect())
            }
            Some(_) => match self.path(node, key) {
                Some(path) => Properties::At(path),
                None => Properties::Each(Vec::new()),
            },
        }
    }
}

/// `event` as the match conditions of a wait see it (W-WFE-18).
pub fn scope(event: &Event, gid: &str, user: &str, inserted_at: super::time::Time) -> Value {
    json!({
        "data": event.data(),
        "user_id": user,
        "inserted_at": inserted_at,
        "preprocess_output": {},
        "event_gid": gid,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: Value) -> Result<Source, String> {
        let read = Source::parse("shop", &document);
        read.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn event(body: Value) -> Event {
        Event { body, headers: Map::from_iter([("x-id".to_owned(), json!("h"))]) }
    }

    #[test]
    fn mappings_come_in_their_fixed_order_w_src_02() {
        let mapping = |action: &str, more: Value| {
            let mut mapping = json!({"event": "paid", "action": action});
            mapping.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            mapping
        };
        let user = json!({"id": "body.user"});
        let member = json!({"audience": "vip", "user": "body.user"});
        let follower = json!({"collection": {"value": "teams"}, "id": "body.team", "recipients": "headers.X-Who"});
        let trigger = json!({"workflow": "story", "recipients": "body.user"});
        let mut inactive = mapping("users_delete", user.clone());
        inactive["active"] = false.into();
        let source = read(json!({"mappings": [
            mapping("workflows_trigger", trigger),
            mapping("workflows_cancel", json!({"workflow": "story", "cancellation_key": "body.key"})),
            mapping("audiences_remove_member", member.clone()),
            mapping("audiences_add_member", member),
            mapping("objects_unsubscribe", follower.clone()),
            mapping("objects_subscribe", follower),
            mapping("tenants_delete", user.clone()),
            mapping("tenants_set", user.clone()),
            mapping("objects_delete", json!({"collection": {"value": "teams"}, "id": "body.team"})),
            mapping("objects_set", json!({"collection": {"value": "teams"}, "id": "body.team"})),
            mapping("users_delete", user.clone()),
            mapping("users_identify", user),
            inactive,
            {"event": "other", "action": "users_delete", "id": "headers.X-User"},
        ]}))
        .unwrap();
        let order: Vec<&str> = source.mappings("paid").map(|mapping| mapping.name).collect();
        let expected = [
            "users_identify",
            "users_delete",
            "objects_set",
            "objects_delete",
            "tenants_set",
            "tenants_delete",
            "objects_subscribe",
            "objects_unsubscribe",
            "audiences_add_member",
            "audiences_remove_member",
            "workflows_cancel",
            "workflows_trigger",
        ];
        assert_eq!(order, expected, "W-SRC-01 W-SRC-02 W-AMB-68 W-SRC-06");
        assert_eq!(source.headers(), BTreeSet::from(["x-user".to_owned(), "x-who".to_owned()]));
    }

    #[test]
    fn paths_lead_into_the_event_and_cases_count_w_src_03() {
        let whole =
            event(json!({"type": "paid", "userId": "u", "properties": {"Amount": 5, "list": ["a"]}, "data": {"x": 1}}));
        let find = |path: &str, event: &Event| Path::parse(path).unwrap().find(event).cloned();
        assert_eq!(find("body.properties.Amount", &whole), Some(json!(5)), "W-SRC-03");
        assert_eq!(find("data.Amount", &whole), Some(json!(5)), "W-SRC-03");
        assert_eq!(find("data.list.0", &whole), Some(json!("a")), "W-SRC-03");
        assert_eq!(find("data.amount", &whole), None, "W-SRC-03: cases count");
        assert_eq!(find("headers.X-Id", &whole), Some(json!("h")), "W-SRC-03");
        assert_eq!(find("data.x", &event(json!({"data": {"x": 1}}))), Some(json!(1)));
        assert_eq!(find("data.x", &event(json!({"x": 1, "y": null}))), Some(json!(1)));
        assert_eq!(find("data.y", &event(json!({"x": 1, "y": null}))), None);
        for (path, said) in
            [("user", "must be a path"), ("body.", "must be a path"), ("preprocess.x", "runs no scripts")]
        {
            assert!(Path::parse(path).unwrap_err().contains(said), "W-SRC-03 {path}");
        }
    }

    #[test]
    fn parameters_are_found_fixed_or_missing() {
        let paid = event(json!({"user": {"id": 7}, "traits": {"name": "Ann"}}));
        let at = |path: &str| Given::At(Path::parse(path).unwrap());
        assert_eq!(at("body.user.id").required_id(&paid, "id"), Ok("7".to_owned()));
        assert_eq!(Given::Always(json!("x")).required_id(&paid, "id"), Ok("x".to_owned()));
        let missing = at("body.nobody").required_id(&paid, "id").unwrap_err();
        assert_eq!(missing, "`id` is required, and nothing stands at body.nobody", "W-SRC-03");
        assert!(at("body.user").required_id(&paid, "id").unwrap_err().contains("must be an id"));
        let all = Properties::At(Path::parse("body.traits").unwrap());
        assert_eq!(Value::Object(all.values(&paid)), json!({"name": "Ann"}));
        let each = Properties::Each(vec![
            ("n".into(), at("body.traits.name")),
            ("gone".into(), at("body.gone")),
            ("k".into(), Given::Always(json!(1))),
        ]);
        assert_eq!(Value::Object(each.values(&paid)), json!({"n": "Ann", "k": 1}));
    }

    #[test]
    fn what_a_source_cannot_be_is_said() {
        let mapping = |mapping: Value| json!({"mappings": [mapping]});
        for (document, said) in [
            (json!([]), "must be an object"),
            (json!({"event_type_path": "type"}), "event_type_path: must be a path"),
            (json!({"preprocess_script": {}}), "preprocess_script: unknown key"),
            (json!({"enforce_verification": "yes"}), "enforce_verification: must be true or false"),
            (json!({"signature": {"scheme": "hmac"}}), "signature.header: is required"),
            (
                json!({"signature": {"header": "x", "scheme": "md5"}}),
                "signature.scheme: must be hmac, timestamped_hmac or token",
            ),
            (json!({"signature": {"header": "x", "scheme": "hmac", "encoding": "rot13"}}), "must be hex or base64"),
            (json!({"signature": {"header": "x", "scheme": "hmac", "part": "v1"}}), "signature.part: unknown key"),
            (
                json!({"signature": {"header": "x", "scheme": "timestamped_hmac", "tolerance_seconds": 0}}),
                "must be a whole number",
            ),
            (json!({"signature": "hmac"}), "signature: must be an object"),
            (json!({"mappings": {}}), "mappings: must be a list"),
            (mapping(json!(1)), "mappings[0]: must be an object"),
            (mapping(json!({"action": "users_delete", "id": "body.id"})), "mappings[0].event: is required"),
            (mapping(json!({"event": "e"})), "mappings[0].action: is required"),
            (mapping(json!({"event": "e", "action": "user_delete"})), "did you mean `users_delete`?"),
            (
                mapping(json!({"event": "e", "action": "objects_delete", "id": "body.id"})),
                "mappings[0].collection: is required",
            ),
            (mapping(json!({"event": "e", "action": "tenants_delete"})), "mappings[0].id: is required"),
            (
                mapping(json!({"event": "e", "action": "objects_subscribe", "collection": "body.c", "id": "body.id"})),
                "mappings[0].recipients: is required",
            ),
            (
                mapping(
                    json!({"event": "e", "action": "objects_unsubscribe", "recipients": "body.u", "id": "body.id"}),
                ),
                "mappings[0].collection: is required",
            ),
            (mapping(json!({"event": "e", "action": "users_delete"})), "mappings[0].id: is required"),
            (mapping(json!({"event": "e", "action": "users_delete", "id": 1})), "must be a path such as body.id"),
            (
                mapping(json!({"event": "e", "action": "users_delete", "id": "body.id", "name": "x"})),
                "mappings[0].name: unknown key",
            ),
            (
                mapping(json!({"event": "e", "action": "workflows_trigger", "recipients": "body.id"})),
                "mappings[0].workflow: is required",
            ),
            (
                mapping(json!({"event": "e", "action": "workflows_trigger", "workflow": "w"})),
                "mappings[0].recipients: is required",
            ),
            (
                mapping(json!({"event": "e", "action": "workflows_cancel", "workflow": "w"})),
                "cancellation_key: is required",
            ),
            (
                mapping(json!({"event": "e", "action": "audiences_add_member", "user": "body.id"})),
                "mappings[0].audience: is required",
            ),
        ] {
            let fault = read(document.clone()).unwrap_err();
            assert!(fault.contains(said), "W-SRC-01 {document} gave {fault}");
        }
        assert!(Source::parse("My Shop", &json!({})).is_err());
        let usual = read(json!({"$schema": "x"})).unwrap();
        assert_eq!(
            (usual.event_type.to_string(), usual.user_id.to_string()),
            ("body.type".into(), "body.userId".into()),
            "W-WFE-11"
        );
        assert!(usual.enforces_verification && usual.idempotency_key.is_none());
    }
}
