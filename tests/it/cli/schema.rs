//! `bellwire schema`: editors are told what the server accepts.

use std::fs;
use std::path::Path;

use bellwire::model::workflow::Workflow;
use jsonschema::Validator;
use serde_json::{Value, json};
use yaml_rust2::{Yaml, YamlLoader};

use super::{Dir, SAMPLES};

fn published(dir: &str) -> Validator {
    let schema = Dir::new(dir).ask_json(&["schema", "workflow"]);
    jsonschema::draft202012::meta::validate(&schema).expect("a schema");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// Every step type with all that it may say.
fn everything() -> Value {
    let hour = json!({"unit": "hours", "value": 1});
    let when = json!({"any": [
        {"variable": "data.a", "operator": "equal_to", "argument": "x"},
        {"all": [{"variable": "recipient.plan", "operator": "exists"}]}
    ]});
    let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let windows: Vec<Value> =
        days.iter().map(|day| json!({"day": day, "type": "send", "from": "09:00", "until": "17:00"})).collect();
    let fetch = json!({"method": "post", "url": "https://x.test/{{ data.id }}", "headers": [{"key": "a", "value": "b"}],
        "query_params": "{\"q\": 1}", "body": "{}", "response_path": "a.b", "signing_key": "{{ vars.key }}"});
    let properties = "{\"plan\": \"pro\"}";
    let digest = json!({"type": "digest", "ref": "dg", "settings": {
        "digest_repeats": [
            {"frequency": "weekly", "interval": 2, "days": ["mon", "fri"], "hours": 9, "minutes": 30},
            {"frequency": "monthly", "day_of_month": 31}, {"frequency": "daily", "days": "weekdays"}],
        "digest_key": "data.k", "digest_order": "desc", "digest_items_min_limit": 3, "digest_items_max_limit": 50,
        "digest_items_render_limit": 5, "digest_items_counted": "unread", "digest_hold_limit": 4,
        "digest_hold_limit_action": "drop", "workflow_version_mode": "pinned"}});
    let mut document = json!({
        "$schema": "./workflow.schema.json", "name": "All", "description": "Of everything", "categories": ["a"], "tags": ["b"],
        "conditions": when, "trigger_frequency": "once_per_recipient", "trigger_data_json_schema": {"type": "object"},
        "settings": {"is_commercial": true, "override_preferences": false},
        "goal_attachment": {"goal_key": "g", "attribution_window_days": 7},
        "steps": [
            {"type": "channel", "ref": "c", "name": "Bell", "channel_key": "bell", "channel_type": "in_app_feed",
             "conditions": when, "channel_overrides": {"link_tracking": true}, "send_windows": windows,
             "collapse_key": "build-{{ data.id }}",
             "template": {"markdown_body": "Hello", "action_url": "/", "action_buttons": [{"label": "Go", "action": "/"}]}},
            {"type": "channel", "ref": "m", "channel_group_key": "mails", "channel_type": "email",
             "template": {"subject": "S", "html_body": "B", "settings": {"layout_key": "default"}}},
            {"type": "delay", "ref": "d", "settings": {"delay_for": hour, "delay_until_field_path": "data.at"}},
            {"type": "throttle", "ref": "t",
             "settings": {"throttle_window": hour, "throttle_limit": 2, "throttle_key": "{{ data.k }}"}},
            {"type": "batch", "ref": "b", "settings": {"batch_window": hour, "batch_key": "data.k",
             "batch_window_type": "sliding", "batch_window_extension_limit": hour, "batch_order": "desc",
             "batch_items_max_limit": 50, "batch_items_render_limit": 5, "batch_execution_mode": "flush_leading",
             "workflow_version_mode": "latest"}},
            {"type": "branch", "ref": "br", "branches": [
                {"name": "Pro", "conditions": when, "terminates": true, "steps": []}, {"name": "Others", "steps": []}]},
            {"type": "random_cohort", "ref": "e", "cohort_key": "{{ recipient.id }}", "cohort_branches": [
                {"name": "A", "percentage": "33.3", "steps": []}, {"name": "B", "percentage": "66.7", "steps": []}]},
            {"type": "http_fetch", "ref": "f", "settings": fetch},
            {"type": "update_data", "ref": "ud", "settings": {"data": "{}"}},
            {"type": "update_user", "ref": "uu", "settings": {"recipient_mode": "reference",
             "recipient_gid": "gid://Object/$users/u1", "update_properties": properties}},
            {"type": "update_tenant", "ref": "ut", "settings": {"recipient_mode": "current", "update_properties": properties}},
            {"type": "update_object", "ref": "uo",
             "settings": {"recipient_gid": "gid://Object/projects/p1", "update_properties": properties}},
            {"type": "trigger_workflow", "ref": "tw", "settings": {"workflow_key": "other", "recipients": "[\"u1\"]",
             "actor": "u2", "tenant": "t", "data": "{}", "cancellation_key": "k"}},
            {"type": "ai_agent", "ref": "ai", "settings": {"model": "a:b", "request_prompt": "P", "response_type": "json",
             "response_schema": "{}", "web_search_enabled": false, "halt_on_error": true}},
            {"type": "wait_for_event", "ref": "w", "settings": {
             "event": {"event_type": "message", "event_key": "read", "source_type": "workflow", "source_key": "all"},
             "expires_after": hour, "on_match": "halt", "on_timeout": "continue", "match_conditions": [
                {"operator": "and", "conditions": [{"variable": "event.step_ref", "operator": "equal_to", "argument": "c"}]}]}},
            {"type": "wait_for_event", "ref": "w2", "settings": {"event": {"event_type": "recipient"}}},
            {"type": "wait_for_event", "ref": "w3", "settings": {
             "event": {"event_type": "audience", "event_key": "enter", "audience_key": "pro"}}},
            {"type": "wait_for_event", "ref": "w4", "settings": {
             "event": {"event_type": "integration_source", "event_key": "paid", "integration_source_key": "shop"}}},
            {"type": "update_audience", "ref": "ua", "settings": {"action": "add", "audience_key": "vip"}}
        ]
    });
    document["steps"].as_array_mut().unwrap().push(digest);
    document
}

/// The document with each one mistake of a kind: `spoil` changes the value at a place, or leaves it.
fn spoilt(document: &Value, spoil: &dyn Fn(&mut Value) -> bool) -> Vec<(String, Value)> {
    let mut places = vec![String::new()];
    let mut at = 0;
    while at < places.len() {
        let place = places[at].clone();
        match document.pointer(&place) {
            Some(Value::Object(map)) => places.extend(map.keys().map(|key| format!("{place}/{key}"))),
            Some(Value::Array(items)) => places.extend((0..items.len()).map(|i| format!("{place}/{i}"))),
            _ => {}
        }
        at += 1;
    }
    let broken = |place: String| {
        let mut copy = document.clone();
        spoil(copy.pointer_mut(&place)?).then_some((place, copy))
    };
    places.into_iter().filter_map(broken).collect()
}

fn is_accepted(document: &Value) -> bool {
    Workflow::parse("all", document, &[]).is_ok()
}

fn says(schema: &Validator, document: &Value) -> String {
    schema.iter_errors(document).map(|error| format!("{}: {error}\n", error.instance_path())).collect()
}

#[test]
fn everything_that_is_accepted_conforms() {
    let schema = published("schema");
    let document = everything();
    Workflow::parse("all", &document, &[]).expect("a sound workflow");
    assert_eq!(says(&schema, &document), "");
    for entry in fs::read_dir(SAMPLES).expect("the samples") {
        let text = fs::read_to_string(entry.expect("an entry").path().join("workflow.json")).expect("a workflow");
        assert_eq!(says(&schema, &serde_json::from_str(&text).expect("JSON")), "", "files beside it included");
    }
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/engine/scenarios");
    let mut seen = 0;
    for entry in fs::read_dir(scenarios).expect("the scenarios") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a file");
        for document in YamlLoader::load_from_str(&text).expect("YAML") {
            workflows(&plain(&document), &mut |workflow| {
                if is_accepted(workflow) {
                    seen += 1;
                    assert_eq!(says(&schema, workflow), "", "{workflow}");
                }
            });
        }
    }
    assert!(seen > 150, "{seen} workflows in the scenarios");
}

/// What may be left out, be null, or be of a kind that is accepted, is so for editors, too; every key that is refused is.
#[test]
fn each_single_change_that_is_accepted_conforms_and_each_unknown_key_does_not() {
    let schema = published("schema-changes");
    let document = everything();
    let unknown = spoilt(&document, &|value| match value {
        Value::Object(map) => map.insert("zzz".to_owned(), json!(1)).is_none(),
        _ => false,
    });
    let refused: Vec<_> = unknown.iter().filter(|(_, document)| !is_accepted(document)).collect();
    assert!(refused.len() > 50, "{} places", refused.len());
    for (place, document) in refused {
        assert!(!schema.is_valid(document), "an unknown key at {place}");
    }
    let mut accepted = 0;
    for with in
        [Value::Null, json!({}), json!([]), json!(""), json!("x"), json!(0), json!(2), json!(true), json!({"all": []})]
    {
        let changed = spoilt(&document, &|value| {
            *value = with.clone();
            true
        });
        for (place, document) in changed.iter().filter(|(_, document)| is_accepted(document)) {
            accepted += 1;
            assert_eq!(says(&schema, document), "", "{with} at {place}");
        }
    }
    for (place, document) in without(&document).iter().filter(|(_, document)| is_accepted(document)) {
        accepted += 1;
        assert_eq!(says(&schema, document), "", "without {place}");
    }
    assert!(accepted > 300, "{accepted} changes");
}

/// The document without each of its members.
fn without(document: &Value) -> Vec<(String, Value)> {
    let parents = spoilt(document, &|value| value.is_object());
    let keys = |place: &str| {
        document.pointer(place).and_then(Value::as_object).into_iter().flat_map(|map| map.keys().cloned())
    };
    let pairs = parents.iter().flat_map(|(place, _)| keys(place).map(move |key| (place.clone(), key)));
    let one = |(place, key): (String, String)| {
        let mut copy = document.clone();
        copy.pointer_mut(&place)?.as_object_mut()?.remove(&key)?;
        Some((format!("{place}/{key}"), copy))
    };
    pairs.filter_map(one).collect()
}

/// Calls `found` with a workflow of each list of steps.
fn workflows(value: &Value, found: &mut dyn FnMut(&Value)) {
    match value {
        Value::Object(map) => {
            if let Some(steps) = map.get("steps") {
                found(&json!({"name": "Told", "steps": steps}));
            }
            map.values().for_each(|value| workflows(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| workflows(item, found)),
        _ => {}
    }
}

fn plain(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::Hash(map) => Value::Object(
            map.iter().map(|(key, value)| (key.as_str().unwrap_or_default().to_owned(), plain(value))).collect(),
        ),
        Yaml::Array(items) => items.iter().map(plain).collect(),
        Yaml::String(text) => json!(text),
        Yaml::Integer(number) => json!(number),
        Yaml::Real(text) => json!(text.parse::<f64>().unwrap_or_default()),
        Yaml::Boolean(flag) => json!(flag),
        _ => Value::Null,
    }
}
