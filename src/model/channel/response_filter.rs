//! What of a message a recipient's client may see: whole entities, or paths inside them.

use serde_json::{Map, Value};

use crate::model::invalid::{Invalid, did_you_mean};

const ENTITIES: [&str; 4] = ["vars", "actor", "recipient", "data"];

/// A channel's response filter: one exposure per entity; all are visible unless something else is said (F-FED-27).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ResponseFilter {
    /// The environment's public variables.
    pub vars: Exposure,
    /// Whoever did the thing.
    pub actor: Exposure,
    /// Whoever is told.
    pub recipient: Exposure,
    /// The trigger's data.
    pub data: Exposure,
}

/// How much of one entity is visible.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Exposure {
    /// All of it.
    #[default]
    All,
    /// Nothing: the entity is left out.
    Nothing,
    /// These dotted paths.
    Only(Vec<String>),
    /// All but these dotted paths.
    Except(Vec<String>),
}

impl ResponseFilter {
    /// Reads `{"vars": …, "actor": …, "recipient": …, "data": …}`; every key is optional.
    pub fn parse(value: &Value, path: &str) -> Result<Self, Vec<Invalid>> {
        let Value::Object(map) = value else {
            return Err(vec![Invalid::new(path, "must be an object with the keys vars, actor, recipient, data")]);
        };
        let mut filter = ResponseFilter::default();
        let mut problems = Vec::new();
        for (entity, value) in map {
            let at = format!("{path}.{entity}");
            let slot = match entity.as_str() {
                "vars" => &mut filter.vars,
                "actor" => &mut filter.actor,
                "recipient" => &mut filter.recipient,
                "data" => &mut filter.data,
                unknown => {
                    let hint = did_you_mean(unknown, ENTITIES);
                    let hint = hint.unwrap_or_else(|| "known are vars, actor, recipient, data".into());
                    problems.push(Invalid::new(at, format!("nothing is called `{unknown}` here; {hint}")));
                    continue;
                }
            };
            match Exposure::parse(value) {
                Some(exposure) => *slot = exposure,
                None => problems.push(Invalid::new(
                    at,
                    "must be true, false, {\"only\": [paths]} or {\"except\": [paths]}, with paths as text",
                )),
            }
        }
        if problems.is_empty() { Ok(filter) } else { Err(problems) }
    }
}

impl Exposure {
    fn parse(value: &Value) -> Option<Self> {
        match value {
            Value::Null | Value::Bool(true) => Some(Exposure::All),
            Value::Bool(false) => Some(Exposure::Nothing),
            Value::Object(map) if map.len() == 1 => match map.iter().next()? {
                (key, paths) if key == "only" => Some(Exposure::Only(texts(paths)?)),
                (key, paths) if key == "except" => Some(Exposure::Except(texts(paths)?)),
                _ => None,
            },
            _ => None,
        }
    }

    /// What is visible of `entity`; `None` when the entity is to be left out.
    pub fn apply(&self, mut entity: Value) -> Option<Value> {
        match self {
            Exposure::All => Some(entity),
            Exposure::Nothing => None,
            Exposure::Only(paths) => {
                let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
                Some(only(entity, &paths))
            }
            Exposure::Except(paths) => {
                for path in paths {
                    remove(&mut entity, path);
                }
                Some(entity)
            }
        }
    }
}

fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

/// `value` with nothing but what `paths` name; a list is cut item by item.
fn only(value: Value, paths: &[&str]) -> Value {
    match value {
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, inner) in map {
                let below: Vec<&str> = paths.iter().filter_map(|path| path.strip_prefix(key.as_str())).collect();
                if below.contains(&"") {
                    kept.insert(key, inner);
                    continue;
                }
                let below: Vec<&str> = below.iter().filter_map(|rest| rest.strip_prefix('.')).collect();
                if !below.is_empty() && (inner.is_object() || inner.is_array()) {
                    kept.insert(key, only(inner, &below));
                }
            }
            Value::Object(kept)
        }
        Value::Array(items) => Value::Array(items.into_iter().map(|item| only(item, paths)).collect()),
        scalar => scalar,
    }
}

/// Takes what `path` names out of `value`; a list is cut item by item.
fn remove(value: &mut Value, path: &str) {
    match value {
        Value::Object(map) => {
            if map.remove(path).is_some() {
                return;
            }
            if let Some((key, rest)) = path.split_once('.')
                && let Some(inner) = map.get_mut(key)
            {
                remove(inner, rest);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| remove(item, path)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn absent_entities_are_visible_and_each_form_is_read() {
        let spelled = json!({"vars": false, "recipient": {"only": ["id", "name"]}, "data": {"except": ["secret"]}});
        let filter = ResponseFilter::parse(&spelled, "response_filter").expect("F-FED-27");
        assert_eq!(filter.vars, Exposure::Nothing, "F-FED-27");
        assert_eq!(filter.actor, Exposure::All, "F-FED-27: true is the default");
        assert_eq!(filter.recipient, Exposure::Only(vec!["id".into(), "name".into()]), "F-FED-27");
        assert_eq!(filter.data, Exposure::Except(vec!["secret".into()]), "F-FED-27");
    }

    #[test]
    fn a_misspelt_filter_is_refused_as_a_whole() {
        let spelled = json!({"recipeint": false, "data": {"onyl": []}, "vars": {"only": [1]}, "actor": 1});
        let problems = ResponseFilter::parse(&spelled, "rf").expect_err("four mistakes");
        let paths: Vec<&str> = problems.iter().map(|p| p.path.as_str()).collect();
        assert_eq!(paths, ["rf.actor", "rf.data", "rf.recipeint", "rf.vars"], "F-FED-27");
        assert!(problems[2].message.contains("did you mean `recipient`"), "{}", problems[2].message);
    }

    #[test]
    fn paths_cut_inside_entities_and_lists() {
        let entity = json!({"id": "a", "plan": {"name": "pro", "price": 9}, "tags": [{"k": 1, "v": 2}], "planet": 3});
        let only = Exposure::Only(vec!["plan.name".into(), "tags.k".into()]);
        assert_eq!(
            only.apply(entity.clone()),
            Some(json!({"plan": {"name": "pro"}, "tags": [{"k": 1}]})),
            "F-FED-27 only"
        );
        let except = Exposure::Except(vec!["plan.price".into(), "tags.v".into(), "planet".into(), "no.such".into()]);
        assert_eq!(
            except.apply(entity.clone()),
            Some(json!({"id": "a", "plan": {"name": "pro"}, "tags": [{"k": 1}]})),
            "F-FED-27 except"
        );
        assert_eq!(Exposure::Nothing.apply(entity.clone()), None, "F-FED-27 false");
        assert_eq!(Exposure::All.apply(entity.clone()), Some(entity), "F-FED-27 true");
    }
}
