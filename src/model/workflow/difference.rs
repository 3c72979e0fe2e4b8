//! How two versions of a workflow differ: which steps came, went or moved, and which settings have other values.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::model::secret::{HIDDEN, is_telling};

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// Where in the newer document; in the older one for what is gone.
    pub path: String,
    /// The `ref` of the step it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    #[serde(flatten)]
    pub what: What,
}

/// What is different.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum What {
    /// A step is new.
    StepAdded { step_type: String },
    /// A step is gone.
    StepRemoved { step_type: String },
    /// A step stands elsewhere among the steps that stay.
    StepMoved { from: String },
    /// A value is new, gone, or another. What lets somebody in is not told.
    Value {
        #[serde(skip_serializing_if = "Option::is_none")]
        old: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        new: Option<Value>,
    },
}

/// How `new` differs from `old`: first the workflow's own settings, then step by step as the newer document reads, and
/// at last the steps that are gone.
pub fn between(old: &Value, new: &Value) -> Vec<Change> {
    let (old, new) = (Outline::of(old), Outline::of(new));
    let mut changes = Vec::new();
    compare(Some(&old.rest), Some(&new.rest), &Place::default(), &mut changes);
    for (list, refs) in &new.lists {
        let before = old.lists.get(list).map(Vec::as_slice).unwrap_or_default();
        let stay = |reference: &&String| old.steps.contains_key(*reference) && new.steps.contains_key(*reference);
        let kept =
            common(&before.iter().filter(stay).collect::<Vec<_>>(), &refs.iter().filter(stay).collect::<Vec<_>>());
        for reference in refs.iter().filter(stay).filter(|reference| !kept.contains(reference)) {
            let (from, to) = (&old.steps[reference], &new.steps[reference]);
            let what = What::StepMoved { from: from.path.clone() };
            changes.push(Change { path: to.path.clone(), step: Some(reference.clone()), what });
        }
    }
    for (reference, step) in &new.steps {
        let Some(before) = old.steps.get(reference) else {
            let what = What::StepAdded { step_type: step.kind() };
            changes.push(Change { path: step.path.clone(), step: Some(reference.clone()), what });
            continue;
        };
        let place = Place { path: step.path.clone(), step: Some(reference.clone()), is_secret: false };
        compare(Some(&before.own), Some(&step.own), &place, &mut changes);
    }
    // As the document reads; what is gone stands behind.
    changes.sort_by_key(|change| {
        change.step.as_ref().map(|step| new.steps.get(step).map_or(usize::MAX, |step| step.number))
    });
    let mut gone: Vec<_> = old.steps.iter().filter(|(reference, _)| !new.steps.contains_key(*reference)).collect();
    gone.sort_by_key(|(_, step)| step.number);
    changes.extend(gone.into_iter().map(|(reference, step)| Change {
        path: step.path.clone(),
        step: Some(reference.clone()),
        what: What::StepRemoved { step_type: step.kind() },
    }));
    changes
}

impl Change {
    /// Puts what `hide` makes of them in the place of all texts.
    pub fn hide(&mut self, hide: &impl Fn(&str) -> String) {
        if let What::Value { old, new } = &mut self.what {
            old.iter_mut().chain(new).for_each(|value| hide_in(value, hide));
        }
    }
}

fn hide_in(value: &mut Value, hide: &impl Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = hide(text),
        Value::Array(items) => items.iter_mut().for_each(|item| hide_in(item, hide)),
        Value::Object(members) => members.values_mut().for_each(|member| hide_in(member, hide)),
        _ => {}
    }
}

/// A document taken apart into its steps and the rest.
#[derive(Default)]
struct Outline {
    /// The document without its steps.
    rest: Value,
    steps: BTreeMap<String, Step>,
    /// The refs of each list of steps, by what the list belongs to.
    lists: BTreeMap<String, Vec<String>>,
}

struct Step {
    /// Counted as the document reads.
    number: usize,
    path: String,
    /// The step without the steps in its branches.
    own: Value,
}

impl Step {
    fn kind(&self) -> String {
        self.own.get("type").and_then(Value::as_str).unwrap_or_default().to_owned()
    }
}

impl Outline {
    fn of(document: &Value) -> Outline {
        let mut outline = Outline::default();
        outline.rest = outline.take(document, "", "");
        outline
    }

    /// `value`, which stands at `path` and belongs to `owner`, without the steps in it.
    fn take(&mut self, value: &Value, path: &str, owner: &str) -> Value {
        let Value::Object(members) = value else { return value.clone() };
        let mut own = Map::new();
        for (name, member) in members {
            let (path, owner) = (joined(path, name), format!("{owner}.{name}"));
            let kept = match (name.as_str(), member) {
                ("steps", Value::Array(steps)) if steps.iter().all(|step| reference(step).is_some()) => {
                    self.take_steps(steps, &path, &owner);
                    continue;
                }
                ("branches" | "cohort_branches", Value::Array(branches)) => {
                    let each = |(at, branch): (usize, &Value)| {
                        self.take(branch, &format!("{path}[{at}]"), &format!("{owner}[{at}]"))
                    };
                    branches.iter().enumerate().map(each).collect()
                }
                _ => member.clone(),
            };
            own.insert(name.clone(), kept);
        }
        Value::Object(own)
    }

    fn take_steps(&mut self, steps: &[Value], path: &str, owner: &str) {
        let refs = steps.iter().filter_map(reference).map(str::to_owned).collect();
        self.lists.insert(owner.to_owned(), refs);
        for (at, step) in steps.iter().enumerate() {
            let (number, path) = (self.steps.len(), format!("{path}[{at}]"));
            let name = reference(step).unwrap_or_default().to_owned();
            self.steps.insert(name.clone(), Step { number, path: path.clone(), own: Value::Null });
            let own = self.take(step, &path, &name);
            if let Some(step) = self.steps.get_mut(&name) {
                step.own = own;
            }
        }
    }
}

fn reference(step: &Value) -> Option<&str> {
    step.get("ref").and_then(Value::as_str)
}

fn joined(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The longest sequence that both have in this order.
fn common<'a>(a: &[&'a String], b: &[&'a String]) -> Vec<&'a String> {
    let mut longest = vec![vec![0_usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            longest[i][j] = match a[i] == b[j] {
                true => longest[i + 1][j + 1] + 1,
                false => longest[i + 1][j].max(longest[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            out.push(a[i]);
            (i, j) = (i + 1, j + 1);
        } else if longest[i + 1][j] >= longest[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

/// Where a comparison stands.
#[derive(Default, Clone)]
struct Place {
    path: String,
    step: Option<String>,
    /// Whether what stands there lets somebody in.
    is_secret: bool,
}

impl Place {
    fn at(&self, path: String, is_secret: bool) -> Place {
        Place { path, step: self.step.clone(), is_secret: self.is_secret || is_secret }
    }
}

fn compare(old: Option<&Value>, new: Option<&Value>, place: &Place, changes: &mut Vec<Change>) {
    match (old, new) {
        (Some(old), Some(new)) if old == new => {}
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            let is_secret = names_a_secret(old) || names_a_secret(new);
            let names = old.keys().chain(new.keys().filter(|name| !old.contains_key(*name)));
            let mut names: Vec<&String> = names.collect();
            names.sort();
            for name in names {
                let is_secret = (is_secret && name == "value") || is_telling(name);
                compare(old.get(name), new.get(name), &place.at(joined(&place.path, name), is_secret), changes);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for at in 0..old.len().max(new.len()) {
                let place = place.at(format!("{}[{at}]", place.path), false);
                compare(old.get(at), new.get(at), &place, changes);
            }
        }
        (old, new) => {
            let told = |value: Option<&Value>| value.map(|value| shown(value, place.is_secret));
            let what = What::Value { old: told(old), new: told(new) };
            changes.push(Change { path: place.path.clone(), step: place.step.clone(), what });
        }
    }
}

/// Whether the value beside the name in these members lets somebody in: headers are such pairs.
fn names_a_secret(members: &Map<String, Value>) -> bool {
    ["key", "name"].iter().any(|name| members.get(*name).and_then(Value::as_str).is_some_and(is_telling))
}

/// The value without what lets somebody in.
fn shown(value: &Value, is_secret: bool) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| shown(item, is_secret)).collect(),
        Value::Object(members) => {
            let is_pair = names_a_secret(members);
            let each = |(name, member): (&String, &Value)| {
                let is_secret = is_secret || (is_pair && name == "value") || is_telling(name);
                (name.clone(), shown(member, is_secret))
            };
            members.iter().map(each).collect::<Map<_, _>>().into()
        }
        Value::String(_) | Value::Number(_) if is_secret => HIDDEN.into(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn wait(reference: &str, hours: i64) -> Value {
        json!({"type": "delay", "ref": reference, "settings": {"delay_for": {"unit": "hours", "value": hours}}})
    }

    fn branch(steps: &[Value]) -> Value {
        json!({"type": "branch", "ref": "ways", "branches": [{"name": "one", "steps": steps}, {"steps": []}]})
    }

    /// Each difference as `path step: what`.
    fn told(old: &[Value], new: &[Value]) -> Vec<String> {
        let document = |steps: &[Value]| json!({"name": "N", "steps": steps});
        between(&document(old), &document(new)).iter().map(line).collect()
    }

    fn line(change: &Change) -> String {
        let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        let what = match &change.what {
            What::StepAdded { step_type } => format!("added {step_type}"),
            What::StepRemoved { step_type } => format!("removed {step_type}"),
            What::StepMoved { from } => format!("moved from {from}"),
            What::Value { old, new } => format!("{} -> {}", text(old), text(new)),
        };
        format!("{} {}: {what}", change.path, change.step.as_deref().unwrap_or("-"))
    }

    #[test]
    fn a_setting_is_told_with_its_step_and_both_values() {
        let changed = told(&[wait("a", 1), wait("b", 2)], &[wait("a", 1), wait("b", 3)]);
        assert_eq!(changed, ["steps[1].settings.delay_for.value b: 2 -> 3"]);
        assert_eq!(told(&[branch(&[wait("a", 1)])], &[branch(&[wait("a", 1)])]), [""; 0]);
        let (old, new) = (json!({"name": "A", "steps": []}), json!({"name": "A", "tags": ["x"], "steps": []}));
        assert_eq!(between(&old, &new).iter().map(line).collect::<Vec<_>>(), [r#"tags -: - -> ["x"]"#]);
    }

    #[test]
    fn steps_are_known_by_their_ref_wherever_they_stand() {
        let (a, b, c) = (wait("a", 1), wait("b", 1), wait("c", 1));
        let all = |steps: [&Value; 3]| steps.map(Clone::clone);
        let inserted = told(&[a.clone(), b.clone()], &all([&a, &c, &b]));
        assert_eq!(inserted, ["steps[1] c: added delay"], "what stands behind it has not moved");
        let removed = told(&all([&a, &c, &b]), &[a.clone(), b.clone()]);
        assert_eq!(removed, ["steps[1] c: removed delay"]);
        let moved = told(&all([&a, &b, &c]), &all([&c, &a, &b]));
        assert_eq!(moved, ["steps[0] c: moved from steps[2]"], "one moved, not two");
    }

    #[test]
    fn a_step_that_moves_into_a_branch_is_the_same_step() {
        let moved = told(&[wait("a", 1), branch(&[])], &[branch(&[wait("a", 2)])]);
        assert_eq!(
            moved,
            [
                "steps[0].branches[0].steps[0] a: moved from steps[0]",
                "steps[0].branches[0].steps[0].settings.delay_for.value a: 1 -> 2"
            ]
        );
        let inner = told(&[branch(&[wait("a", 1)])], &[branch(&[wait("a", 1), wait("b", 1)])]);
        assert_eq!(inner, ["steps[0].branches[0].steps[1] b: added delay"]);
    }

    #[test]
    fn differences_stand_as_the_newer_document_reads() {
        let old = [wait("z", 1), wait("gone", 1), wait("a", 1)];
        let new = [wait("z", 2), wait("m", 1), wait("a", 2)];
        assert_eq!(
            told(&old, &new),
            [
                "steps[0].settings.delay_for.value z: 1 -> 2",
                "steps[1] m: added delay",
                "steps[2].settings.delay_for.value a: 1 -> 2",
                "steps[1] gone: removed delay"
            ]
        );
    }

    #[test]
    fn what_lets_somebody_in_is_never_told() {
        let fetch = |key: &str, token: &str, url: &str| {
            let headers = json!([{"key": key, "value": token}, {"key": "accept", "value": url}]);
            json!({"type": "http_fetch", "ref": "f", "settings": {"url": url, "headers": headers, "api_key": token}})
        };
        let changed = told(&[fetch("Authorization", "one", "/a")], &[fetch("Authorization", "two", "/b")]);
        assert_eq!(
            changed,
            [
                r#"steps[0].settings.api_key f: "[redacted]" -> "[redacted]""#,
                r#"steps[0].settings.headers[0].value f: "[redacted]" -> "[redacted]""#,
                r#"steps[0].settings.headers[1].value f: "/a" -> "/b""#,
                r#"steps[0].settings.url f: "/a" -> "/b""#
            ]
        );
        // Also where the name itself is what changed, and where everything around it is new.
        let renamed = told(&[fetch("x-a", "one", "/a")], &[fetch("x-token", "one-more", "/a")]).join("\n");
        assert!(!renamed.contains("one"), "{renamed}");
        let bare = json!({"type": "http_fetch", "ref": "f", "settings": {"url": "/a"}});
        let added = told(&[bare], &[fetch("authorization", "geheim", "/a")]).join("\n");
        assert!(added.contains("accept") && !added.contains("geheim"), "{added}");
    }
}
