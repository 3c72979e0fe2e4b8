//! The language as a whole: tables of sources and what they print.

use serde_json::{Value, json};

use super::*;

mod bench;
mod bounds;
mod filters;
mod knock;
mod tags;

/// The scope that all tables see: its keys are the root values.
fn world() -> Value {
    json!({
        "name": "Ada", "empty_text": "", "space": "  ", "zero": 0, "one": 1, "n": 5, "pi": 3.14259, "half": 2.5,
        "yes": true, "no": false, "nothing": null, "nums": [3, 1, 2], "words": ["b", "a", "C"], "none": [],
        "floats": [1.5, 2, "3"], "digits": "10 apples", "html": "<p>Hi & <b>you</b></p>",
        "user": {"name": "Grace", "tags": ["x", "y"], "address": {"city": "Rome"}, "size": 99},
        "map": {"a": 1, "b": 2}, "key": "name", "matrix": [[1, 2], [3, 4]],
        "people": [
            {"name": "Bo", "age": 30, "active": true}, {"name": "al", "age": 20, "active": false},
            {"name": "Cy", "age": 30}, {"age": 1, "name": null},
        ],
        "at": "2024-01-01T00:30:00Z", "odd": "it's \"odd\"",
    })
}

fn rendered(source: &str) -> Result<String, Error> {
    let world = world();
    let roots = world.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
    let scope = Scope::new(roots);
    Template::parse(source)?.render(&Env::new(&scope, Time::from_micros(1_700_000_000_000_000)))
}

/// Checks a table of sources and what they print.
fn check(rule: &str, table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(source, expected)| match rendered(source) {
            Ok(found) if found == *expected => None,
            found => Some(format!("{source}\n  expected {expected:?}\n  found    {found:?}")),
        })
        .collect();
    assert!(wrong.is_empty(), "{rule}: {} of {} are wrong\n{}", wrong.len(), table.len(), wrong.join("\n"));
}

/// Checks a table of sources and the errors they give.
fn check_errors(rule: &str, table: &[(&str, &str)]) {
    for (source, expected) in table {
        let error = rendered(source).expect_err(source);
        assert_eq!(error.to_string(), *expected, "{rule} {source}");
    }
}
