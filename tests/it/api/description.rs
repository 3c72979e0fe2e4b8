//! The API description against the one that Knock publishes.

use std::collections::BTreeSet;
use std::path::Path;

use bellwire::http::{api, description};
use serde_json::{Map, Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use crate::support::World;

const PUBLISHED: &str = include_str!("../../../src/http/description/published.json");

/// What a schema says that matters to programs; texts and examples are left out.
const WORDS: [&str; 14] = [
    "$ref",
    "type",
    "format",
    "nullable",
    "enum",
    "default",
    "required",
    "properties",
    "additionalProperties",
    "items",
    "allOf",
    "anyOf",
    "oneOf",
    "deprecated",
];

#[test]
fn what_is_kept_of_the_published_description_is_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/spec/openapi.yml");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let kept = kept(&YamlLoader::load_from_str(&text).unwrap()[0]);
    let fresh = Path::new(env!("CARGO_TARGET_TMPDIR")).join("published.json");
    std::fs::write(&fresh, &kept).unwrap();
    let is_same = PUBLISHED == kept;
    assert!(is_same, "src/http/description/published.json is not {}", fresh.display());
}

/// One operation or schema a line.
fn kept(document: &Yaml) -> String {
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_hash().unwrap() {
        for (verb, operation) in methods.as_hash().unwrap() {
            let place = format!("{} {}", verb.as_str().unwrap().to_ascii_uppercase(), path.as_str().unwrap());
            operations.push((place, kept_operation(operation)));
        }
    }
    let schemas = document["components"]["schemas"].as_hash().unwrap();
    let schemas = schemas.iter().map(|(name, schema)| (named(name.as_str().unwrap()), kept_schema(schema))).collect();
    let lines = |mut members: Vec<(String, Value)>| {
        members.sort_by(|a, b| a.0.cmp(&b.0));
        let lines: Vec<String> =
            members.iter().map(|(name, value)| format!("    {}: {value}", Value::from(name.as_str()))).collect();
        lines.join(",\n")
    };
    format!("{{\n  \"operations\": {{\n{}\n  }},\n  \"schemas\": {{\n{}\n  }}\n}}\n", lines(operations), lines(schemas))
}

fn kept_operation(operation: &Yaml) -> Value {
    let mut out = Map::new();
    out.insert("tag".into(), operation["tags"][0].as_str().unwrap().into());
    out.insert("summary".into(), operation["summary"].as_str().unwrap().into());
    if operation["deprecated"].as_bool() == Some(true) {
        out.insert("deprecated".into(), true.into());
    }
    let mut parameters = Map::new();
    for parameter in operation["parameters"].as_vec().unwrap() {
        let place = parameter["in"].as_str().unwrap();
        if place != "path" {
            assert_eq!(place, "query");
            let mut kept = Map::from_iter([("schema".to_owned(), kept_schema(&parameter["schema"]))]);
            for word in ["required", "style", "explode", "deprecated"] {
                if let Some(value) = json_of(&parameter[word]).filter(|value| *value != json!(false)) {
                    kept.insert(word.into(), value);
                }
            }
            parameters.insert(parameter["name"].as_str().unwrap().into(), kept.into());
        }
    }
    if !parameters.is_empty() {
        out.insert("query".into(), parameters.into());
    }
    let body = &operation["requestBody"];
    if !body.is_badvalue() {
        out.insert("body".into(), kept_schema(&body["content"]["application/json"]["schema"]));
    }
    let responses = operation["responses"].as_hash().unwrap().iter().map(|(status, response)| {
        let schema = &response["content"]["application/json"]["schema"];
        let schema = if schema.is_badvalue() { Value::Null } else { kept_schema(schema) };
        (status.as_i64().map_or_else(|| status.as_str().unwrap().to_owned(), |status| status.to_string()), schema)
    });
    out.insert("responses".into(), responses.collect());
    out.into()
}

fn kept_schema(schema: &Yaml) -> Value {
    let mut out = Map::new();
    for (word, value) in schema.as_hash().into_iter().flatten() {
        let word = word.as_str().unwrap();
        if !WORDS.contains(&word) || (word == "deprecated" || word == "nullable") && value.as_bool() != Some(true) {
            continue;
        }
        let kept = match word {
            "$ref" => value.as_str().unwrap().split('/').map(named).collect::<Vec<_>>().join("/").into(),
            "properties" => {
                let members = value.as_hash().unwrap().iter();
                members.map(|(name, schema)| (name.as_str().unwrap().to_owned(), kept_schema(schema))).collect()
            }
            "allOf" | "anyOf" | "oneOf" => value.as_vec().unwrap().iter().map(kept_schema).collect(),
            "items" => kept_schema(value),
            "additionalProperties" if value.as_bool().is_none() => kept_schema(value),
            _ => json_of(value).unwrap(),
        };
        out.insert(word.to_owned(), kept);
    }
    out.into()
}

/// The names of two schemas have spaces, which a reference may not.
fn named(name: &str) -> String {
    name.replace(' ', "")
}

fn json_of(value: &Yaml) -> Option<Value> {
    Some(match value {
        Yaml::String(text) => text.as_str().into(),
        Yaml::Boolean(flag) => (*flag).into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(number) => number.parse::<f64>().unwrap().into(),
        Yaml::Array(items) => items.iter().map(|item| json_of(item).unwrap()).collect(),
        Yaml::Null => Value::Null,
        _ => return None,
    })
}

/// What a file of the description holds.
fn file(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let document = description::document(&api::routes());
    let mut ids = BTreeSet::new();
    let mut places = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (verb, operation) in methods.as_object().unwrap() {
            let place = format!("{} {path}", verb.to_uppercase());
            for word in ["summary", "description"] {
                assert!(operation[word].as_str().is_some_and(|text| !text.is_empty()), "{place} has no {word}");
            }
            assert!(operation["tags"][0].is_string(), "{place}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{place}");
            let statuses = operation["responses"].as_object().unwrap();
            assert!(statuses.keys().any(|status| status.starts_with('2')), "{place} never succeeds");
            places.insert(place);
        }
    }
    let routed: BTreeSet<String> =
        api::routes().iter().map(|route| format!("{} {}", route.verb.as_str(), route.path)).collect();
    assert_eq!(places, routed, "F-TRN-16");
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let at = reference.split('"').next().unwrap();
        assert!(document.pointer(at).is_some(), "{at} is not there");
    }
}

/// Where we answer otherwise than Knock's description says, it is said why.
#[test]
fn what_differs_from_the_published_description_names_its_rule() {
    let (published, own) = (file(PUBLISHED), file(include_str!("../../../src/http/description/own.json")));
    for kind in ["operations", "schemas"] {
        for (name, patch) in own[kind].as_object().unwrap() {
            let is_published = published[kind].get(name).is_some();
            // Texts, and an error that is told elsewhere, are no difference.
            let differs = patch.as_object().unwrap().iter().any(|(word, value)| match word.as_str() {
                "description" | "header" => false,
                "responses" => value.as_object().unwrap().values().any(|response| !is_error(response)),
                _ => true,
            });
            let why = patch.get("x-rule").or_else(|| patch.get("x-extension")).and_then(Value::as_str);
            assert!(why.is_some() || (is_published && !differs), "{name} says neither x-rule nor x-extension");
            let root = Path::new(env!("CARGO_MANIFEST_DIR"));
            if let Some(file) = why.filter(|why| why.starts_with("docs/")) {
                assert!(root.join(file).is_file(), "{name}: {file}");
            }
        }
    }
}

fn is_error(response: &Value) -> bool {
    response["$ref"].as_str().is_some_and(|at| at.starts_with("#/components/responses/"))
}

#[tokio::test]
async fn the_description_is_open_and_can_be_read() {
    let world = World::start().await;
    let document = world.get("/openapi.json").await;
    assert_eq!(document.ok(200), description::document(&api::routes()), "F-TRN-16");
    assert_eq!(world.get("/v1/openapi").await.text, document.text, "F-TRN-16");
    let page = world.get("/reference").await;
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert!(!page.text.contains("<script") && !page.text.contains("undefined"));
    for route in api::routes() {
        assert!(page.text.contains(&format!(
            "<span class=\"verb\">{}</span> {}</code>",
            route.verb.as_str(),
            route.path
        )));
    }
    // Every link on the page leads somewhere on it.
    for link in page.text.split("href=\"#").skip(1) {
        let at = link.split('"').next().unwrap();
        assert!(page.text.contains(&format!("id=\"{at}\"")), "{at} is not on the page");
    }
}
