//! Every answer that a test gets is held against the API description.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use bellwire::http::router::Route;
use bellwire::http::{api, description};
use jsonschema::Validator;
use serde_json::{Map, Value, json};

/// Panics unless the description says that `method` at `path` may answer so.
#[track_caller]
pub fn check(method: &str, path: &str, status: u16, text: &str) {
    let Some(place) = place(method, path) else { return };
    let schema = &document()["paths"][place][method.to_lowercase()]["responses"][status.to_string()];
    assert!(!schema.is_null(), "the description does not say that {method} {place} answers {status}: {text}");
    let schema = match schema["$ref"].as_str() {
        Some(at) => document().pointer(at.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    let Some(schema) = schema["content"]["application/json"].get("schema") else {
        assert_eq!(text, "", "{method} {place} {status}");
        return;
    };
    let body: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {method} {place} {text}"));
    let is_whole = !path.contains("exclude=");
    let key = format!("{is_whole} {schema}");
    let mut known = validators().lock().unwrap_or_else(|broken| broken.into_inner());
    let validator = known.entry(key).or_insert_with(|| validator(schema, is_whole));
    let faults: Vec<String> =
        validator.iter_errors(&body).take(5).map(|fault| format!("{}: {fault}", fault.instance_path())).collect();
    drop(known);
    assert!(faults.is_empty(), "{method} {place} {status} is not as described:\n{}\n{body:#}", faults.join("\n"));
}

/// The path of the route that answers, as it is described. Fixed segments win over parameters.
fn place(method: &str, path: &str) -> Option<&'static str> {
    let path = path.split('?').next().unwrap_or_default();
    let sent: Vec<&str> = path.split('/').collect();
    static ROUTES: OnceLock<Vec<&Route>> = OnceLock::new();
    let fitting = ROUTES.get_or_init(api::routes).iter().filter(|route| {
        let segments: Vec<&str> = route.path.split('/').collect();
        segments.len() == sent.len()
            && segments.iter().zip(&sent).all(
                |(segment, sent)| {
                    if segment.starts_with('{') { !sent.is_empty() } else { segment == sent }
                },
            )
    });
    // Where another method's path is more exact, that path answers, with 405.
    let found = fitting.min_by_key(|route| (route.path.matches('{').count(), route.verb.as_str() != method))?;
    (found.verb.as_str() == method).then_some(found.path)
}

fn document() -> &'static Value {
    static DOCUMENT: OnceLock<Value> = OnceLock::new();
    DOCUMENT.get_or_init(|| description::document(&api::routes()))
}

fn validators() -> &'static Mutex<HashMap<String, Validator>> {
    static VALIDATORS: OnceLock<Mutex<HashMap<String, Validator>>> = OnceLock::new();
    VALIDATORS.get_or_init(Mutex::default)
}

/// `is_whole` unless the caller wants members left out (F-FED-25).
fn validator(schema: &Value, is_whole: bool) -> Validator {
    static SCHEMAS: [OnceLock<Value>; 2] = [OnceLock::new(), OnceLock::new()];
    let schemas = SCHEMAS[usize::from(is_whole)].get_or_init(|| {
        let schemas = document()["components"]["schemas"].as_object().unwrap();
        schemas.iter().map(|(name, schema)| (name.clone(), plain(schema, is_whole))).collect()
    });
    let mut whole = strict(schema, is_whole);
    whole["components"] = json!({"schemas": schemas});
    jsonschema::options().should_validate_formats(true).build(&whole).unwrap()
}

/// A schema of OpenAPI 3.0 as JSON Schema, in which members that nobody named are faults.
fn strict(schema: &Value, is_whole: bool) -> Value {
    let mut out = plain(schema, is_whole);
    if names_its_members(schema) {
        out["unevaluatedProperties"] = false.into();
    }
    if schema["nullable"] == true { json!({"anyOf": [out, {"type": "null"}]}) } else { out }
}

/// The same as a part of another, which may have more members.
fn plain(schema: &Value, is_whole: bool) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (word, value) in members {
        let value = match (word.as_str(), value) {
            ("nullable" | "default", _) => continue,
            ("required", _) if !is_whole => continue,
            ("properties", Value::Object(members)) => {
                members.iter().map(|(name, schema)| (name.clone(), strict(schema, is_whole))).collect()
            }
            ("items" | "additionalProperties", _) => strict(value, is_whole),
            ("allOf" | "anyOf" | "oneOf", Value::Array(parts)) => {
                parts.iter().map(|part| plain(part, is_whole)).collect()
            }
            _ => value.clone(),
        };
        out.insert(word.clone(), value);
    }
    Value::Object(out)
}

/// Whether a schema, or each of those that it is made of, lists its members and takes no others.
fn names_its_members(schema: &Value) -> bool {
    if let Some(at) = schema["$ref"].as_str() {
        return names_its_members(document().pointer(at.trim_start_matches('#')).unwrap());
    }
    let parts = ["allOf", "anyOf", "oneOf"].iter().filter_map(|word| schema[*word].as_array()).flatten();
    let mut parts = parts.peekable();
    if parts.peek().is_some() {
        return parts.all(names_its_members);
    }
    schema.get("properties").is_some() && schema.get("additionalProperties").is_none_or(|more| *more == false)
}
