//! An audience: users who are told of something together, named one by one or found by what is known of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use uuid::Uuid;

use super::invalid::{Invalid, aside, join};
use super::reader::Reader;
use super::scope::Scope;
use super::time::Time;
use super::workflow::Workflow;
use crate::rules::condition::{Context, Group};
use crate::template::Template;

/// Versions of definitions are named inside this namespace; it must never change.
const VERSIONS: Uuid = Uuid::from_u128(0x3b9c_77d1_94e2_4f06_8d0a_5c1f_2be8_6a43);

/// Written by servers and the CLI, never read from a document.
const READ_ONLY: [&str; 9] =
    ["$schema", "__readonly", "key", "environment", "created_at", "updated_at", "deleted_at", "archived_at", "sha"];
const KEYS: [&str; 4] = ["name", "description", "type", "segments"];

/// An audience that a file declares.
#[derive(Debug)]
pub struct Audience {
    pub key: String,
    pub name: String,
    pub members: Members,
    /// Derived from what says who is a member: while it stays the same, so do they.
    pub version: Uuid,
}

/// Who is a member (W-AUD-14).
#[derive(Debug)]
pub enum Members {
    /// Whoever has been added.
    Static,
    /// Every user for whom these conditions hold (W-AUD-13), as the document has them and as they are asked.
    Dynamic { segments: Value, conditions: Group },
}

/// Whether a user is in a dynamic audience, before a change and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    Enter,
    Exit,
}

impl Transition {
    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Transition::Enter => "enter",
            Transition::Exit => "exit",
        }
    }

    /// What becomes of somebody who was a member or not, and is one or not now.
    pub fn between(was: bool, is: bool) -> Option<Transition> {
        match (was, is) {
            (false, true) => Some(Transition::Enter),
            (true, false) => Some(Transition::Exit),
            _ => None,
        }
    }
}

impl Audience {
    /// Reads the document of the audience `key`, and finds everything that is wrong with it.
    pub fn parse(key: &str, document: &Value) -> Result<Audience, Vec<Invalid>> {
        let mut reader = Reader::default();
        let audience = read(&mut reader, key, document);
        reader.finish(audience)
    }

    /// What is wrong with a key, if anything: it stands in addresses and in the names of directories.
    pub fn key_problem(key: &str) -> Option<String> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if (1..=255).contains(&key.len()) && key.bytes().all(allowed) && !key.starts_with('.') {
            return None;
        }
        let key: String = key.chars().take(64).collect();
        Some(format!("`{key}` can't be an audience's key: 1 to 255 letters, digits, `_`, `-` and `.` are allowed"))
    }

    /// The conditions of a dynamic audience.
    pub fn conditions(&self) -> Option<&Group> {
        match &self.members {
            Members::Static => None,
            Members::Dynamic { conditions, .. } => Some(conditions),
        }
    }
}

fn read(reader: &mut Reader, key: &str, document: &Value) -> Option<Audience> {
    if let Some(problem) = Audience::key_problem(key) {
        reader.wrong("key", problem);
    }
    let node = reader.object(document, "")?;
    reader.known(&node, &[&KEYS[..], &READ_ONLY[..]].concat());
    let name = reader.required_text(&node, "name");
    reader.text(&node, "description");
    let segments = node.get("segments");
    let members = match (reader.text(&node, "type"), segments) {
        (Some("static"), None) => Some(Members::Static),
        (Some("static"), Some(_)) => {
            reader.wrong("segments", "belong to dynamic audiences only: a static one has whoever is added");
            None
        }
        (Some("dynamic"), Some(segments)) => reader.keep(dynamic(segments)),
        (Some("dynamic"), None) => {
            reader.wrong("segments", "are required: they say who is a member");
            None
        }
        (_, _) => {
            reader.wrong("type", "is required: static or dynamic");
            None
        }
    };
    let version = Uuid::new_v5(&VERSIONS, json!([key, segments]).to_string().as_bytes());
    Some(Audience { key: key.to_owned(), name: name?.to_owned(), members: members?, version })
}

fn dynamic(segments: &Value) -> Result<Members, Vec<Invalid>> {
    let conditions = Group::parse_segments(segments, "segments")?;
    let fault = if conditions.is_empty() {
        "need at least one condition: else every user is a member"
    } else if conditions.asks_for_audiences() {
        // It would change with another's members, and not with the user alone.
        "are about properties of users: an audience can't depend on another"
    } else {
        return Ok(Members::Dynamic { segments: segments.clone(), conditions });
    };
    Err(vec![Invalid::new("segments", fault)])
}

/// Whether the conditions of a dynamic audience hold for a user, as it is on the wire.
pub fn holds(conditions: &Group, user: &Value, now: Time, liquid: &dyn Fn(&Template) -> Option<String>) -> bool {
    let scope = Scope::new(vec![("recipient", user)]);
    conditions.holds(&Context { scope: &scope, now, is_member: &|_| false, liquid })
}

/// What files say of audiences: which there are, and which workflow runs for whoever joins which (W-AMB-17).
#[derive(Debug, Default)]
pub struct Audiences {
    declared: BTreeMap<String, Arc<Audience>>,
    /// By workflow, so that none has two (W-AUD-03).
    joins: BTreeMap<String, String>,
}

impl Audiences {
    /// These audiences, and for each workflow the audience whose new members it runs for.
    pub fn new(audiences: Vec<Audience>, joins: BTreeMap<String, String>) -> Audiences {
        let declared = audiences.into_iter().map(|audience| (audience.key.clone(), Arc::new(audience))).collect();
        Audiences { declared, joins }
    }

    /// The audience with this key.
    pub fn get(&self, key: &str) -> Option<&Arc<Audience>> {
        self.declared.get(key)
    }

    /// Every audience, by key.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Audience>> {
        self.declared.values()
    }

    /// Those whose members are found by their properties, each with the conditions.
    pub fn dynamic(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.declared.values().filter_map(|audience| Some((audience.key.as_str(), audience.conditions()?)))
    }

    /// The keys of the workflows that run for whoever joins the audience, in order.
    pub fn workflows(&self, audience: &str) -> Vec<&str> {
        let bound = self.joins.iter().filter(|(_, joined)| *joined == audience);
        bound.map(|(workflow, _)| workflow.as_str()).collect()
    }

    /// What is wrong with naming this audience, if none of that key is declared.
    pub fn missing(&self, key: &str) -> Option<String> {
        let hint = || aside(key, self.declared.keys().map(String::as_str));
        (!self.declared.contains_key(key)).then(|| format!("there is no audience `{key}`{}", hint()))
    }

    /// What is wrong with adding members to this audience or removing some, if it is a dynamic one (W-UPD-23).
    pub fn dynamic_fault(&self, key: &str) -> Option<String> {
        let is_dynamic = self.get(key).is_some_and(|audience| audience.conditions().is_some());
        is_dynamic.then(|| format!("`{key}` is dynamic: only members of static audiences are added and removed"))
    }

    /// What is wrong with these audiences and workflows together: each fault with the workflow in whose document it is,
    /// or with none when it is one of the bindings.
    pub fn faults(&self, workflows: &[Workflow]) -> Vec<(Option<String>, Invalid)> {
        let mut faults = Vec::new();
        for (workflow, audience) in &self.joins {
            if !workflows.iter().any(|known| known.key == *workflow) {
                let hint = aside(workflow, workflows.iter().map(|known| known.key.as_str()));
                faults.push((None, Invalid::new(workflow, format!("there is no workflow `{workflow}`{hint}"))));
            }
            if let Some(fault) = self.missing(audience) {
                faults.push((None, Invalid::new(join(workflow, "audience"), fault)));
            }
        }
        for workflow in workflows {
            let joined = self.joins.get(&workflow.key);
            for fault in workflow.audience_faults(self, joined.map(String::as_str)) {
                faults.push((Some(workflow.key.clone()), fault));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(document: Value) -> Result<Audience, String> {
        let read = Audience::parse("vip", &document);
        read.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn segments(property: &str) -> Value {
        json!([{"conditions": [{"property": property, "operator": "equal_to", "argument": "pro"}]}])
    }

    #[test]
    fn an_audience_is_static_or_dynamic_w_aud_14() {
        let read_only =
            json!({"name": "VIP", "type": "static", "description": null, "__readonly": {"key": "x"}, "$schema": "s"});
        assert!(read(read_only).unwrap().conditions().is_none());
        let dynamic = read(json!({"name": "VIP", "type": "dynamic", "segments": segments("recipient.plan")})).unwrap();
        let conditions = dynamic.conditions().unwrap();
        let holds = |user: Value| holds(conditions, &user, Time::default(), &|_| None);
        assert!(holds(json!({"id": "u", "plan": "pro"})) && !holds(json!({"id": "u"})), "W-AUD-13");
    }

    #[test]
    fn what_an_audience_cannot_be_is_said() {
        let member =
            json!([{"conditions": [{"property": "recipient", "operator": "is_audience_member", "argument": "x"}]}]);
        for (document, said, rule) in [
            (json!([]), "must be an object", "W-AUD-14"),
            (json!({"type": "static"}), "name: is required", "W-AUD-14"),
            (json!({"name": 1, "type": "static"}), "name: must be text", "W-AUD-14"),
            (json!({"name": "V"}), "type: is required", "W-AUD-14"),
            (json!({"name": "V", "type": "both"}), "type: is required", "W-AUD-14"),
            (json!({"name": "V", "type": "static", "segments": []}), "segments: belong to dynamic", "W-AUD-14"),
            (json!({"name": "V", "type": "dynamic"}), "segments: are required", "W-AUD-14"),
            (json!({"name": "V", "type": "dynamic", "segments": []}), "segments: need at least one", "W-AUD-13"),
            (
                json!({"name": "V", "type": "dynamic", "segments": segments("recipient.created_at")}),
                "is reserved",
                "W-CND-57 F-AUD-07",
            ),
            (
                json!({"name": "V", "type": "dynamic", "segments": segments("tenant.plan")}),
                "must be a property of the user",
                "W-AUD-13",
            ),
            (
                json!({"name": "V", "type": "dynamic", "segments": member}),
                "an audience can't depend on another",
                "W-AUD-13",
            ),
            (json!({"name": "V", "type": "static", "segmnts": 1}), "did you mean `segments`?", "W-AUD-14"),
        ] {
            let fault = read(document.clone()).unwrap_err();
            assert!(fault.contains(said), "{rule}: {document} gave {fault}");
        }
        assert!(Audience::key_problem("new-customers_2.0").is_none());
        for key in ["", "a b", "a/b", ".hidden", &"a".repeat(256)] {
            assert!(Audience::key_problem(key).is_some(), "{key}");
        }
    }

    #[test]
    fn a_definition_has_a_version_of_its_own() {
        let version = |name: &str, property: &str| {
            read(json!({"name": name, "type": "dynamic", "segments": segments(property)})).unwrap().version
        };
        assert_eq!(version("A", "recipient.plan"), version("B", "recipient.plan"), "its name is no matter");
        assert_ne!(version("A", "recipient.plan"), version("A", "recipient.tier"));
    }
}
