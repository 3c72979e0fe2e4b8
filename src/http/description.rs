//! The API description: the routes of the table, with what is sent to them and what they answer (F-TRN-16).
//!
//! Paths, keys, grants and rates come from the routes. Shapes are kept in two files: `published.json` holds what Knock's
//! description says, without its texts, and `own.json` what we add to it: operations and members of our own, texts, and
//! where a rule has us answer otherwise. The second is merged into the first (RFC 7396).

mod reference;

use std::collections::HashMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::router::{Keys, Route, Verb, parameters};

pub(crate) use reference::POLICY;

const PUBLISHED: &str = include_str!("description/published.json");
const OWN: &str = include_str!("description/own.json");

/// What may go wrong anywhere, by status.
const ANYWHERE: [(&str, &str); 6] = [
    ("401", "No API key or user token, or one that does not count; `code` says which."),
    ("403", "The key or token is known, and does not give this."),
    ("422", "Something that was sent is wrong; `errors` says what, field by field."),
    ("429", "Too many requests of this kind; `Retry-After` says how many seconds to wait."),
    ("500", "Our fault. The log has the reason, by the request's id."),
    ("503", "What answers this is away. Try again after `Retry-After` seconds."),
];

/// What else may go wrong where something is sent.
const WHERE_SENT: [(&str, &str); 3] = [
    ("408", "The body did not arrive in time."),
    ("409", "Others keep changing the same thing. Try again."),
    ("413", "The body is larger than this server takes."),
];

/// The description, as it is sent.
pub(crate) struct Described {
    /// OpenAPI, as JSON.
    pub(crate) document: Bytes,
    /// A page to read.
    pub(crate) reference: Bytes,
}

impl Described {
    pub(crate) fn of(routes: &[&Route]) -> Self {
        let document = document(routes);
        Described { document: document.to_string().into(), reference: reference::page(&document).into() }
    }
}

/// The document (OpenAPI 3.0.3) of these routes.
pub fn document(routes: &[&Route]) -> Value {
    let mut shapes: Value = serde_json::from_str(PUBLISHED).expect("a file of ours, which a test reads");
    merge(&mut shapes, serde_json::from_str(OWN).expect("a file of ours, which a test reads"));
    loosen(&mut shapes);
    let mut schemas = shapes["schemas"].take();
    schemas["Error"] = error();
    let mut paths = Map::new();
    let mut ids: HashMap<&str, u32> = HashMap::new();
    for route in routes {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        let mut operation = operation(route, &shapes["operations"][place(route)]);
        let count = ids.entry(route.operation).or_default();
        *count += 1;
        if *count > 1 {
            // The same operation at another path; ids are unique.
            operation["operationId"] = format!("{}{count}", route.operation).into();
        }
        path[route.verb.as_str().to_ascii_lowercase()] = operation;
    }
    let responses = ANYWHERE.iter().chain(&WHERE_SENT).chain(&[("404", "There is no such thing.")]);
    let responses: Map<String, Value> = responses
        .map(|(status, text)| {
            let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}});
            ((*status).to_owned(), json!({"description": text, "content": content}))
        })
        .collect();
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Bellwire",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Notifications: workflows, recipients, feeds. Every answer has an `x-request-id`.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": responses,
            "securitySchemes": {
                "SecretKey": {"type": "http", "scheme": "bearer", "description": "A secret key, `sk_..`, of servers."},
                "PublicKey": {"type": "http", "scheme": "bearer", "description": "A public key, `pk_..`, of clients."},
                "UserToken": {"type": "apiKey", "in": "header", "name": "X-Knock-User-Token",
                    "description": "Who the user of a client is, signed by your servers."},
            },
        },
    })
}

/// What an operation is called in the files: its method and path.
fn place(route: &Route) -> String {
    format!("{} {}", route.verb.as_str(), route.path)
}

fn operation(route: &Route, shape: &Value) -> Value {
    let of_path = parameters(route.path).map(
        |name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "minLength": 1}}),
    );
    let others = ["query", "header"].into_iter().flat_map(|place| {
        shape[place].as_object().into_iter().flatten().map(move |(name, rest)| {
            let mut parameter = rest.clone();
            parameter["name"] = name.as_str().into();
            parameter["in"] = place.into();
            parameter
        })
    });
    let mut out = json!({
        "operationId": route.operation,
        "tags": [shape["tag"]],
        "summary": shape["summary"],
        "description": shape["description"],
        "parameters": of_path.chain(others).collect::<Vec<_>>(),
        "security": security(route.keys),
        "responses": responses(route, shape),
        "x-ratelimit-tier": route.tier as usize + 1,
    });
    if let Some(grant) = route.grant {
        out["x-grant"] = grant.as_str().into();
    }
    if let Some(place) = route.tenant {
        out["x-tenant-in"] = format!("{place:?}").to_ascii_lowercase().into();
    }
    if route.is_kept_for_a_time {
        out["x-retention-policy"] = true.into();
    }
    for word in ["deprecated", "x-rule", "x-extension"] {
        if let Some(value) = shape.get(word) {
            out[word] = value.clone();
        }
    }
    if let Some(body) = shape.get("body") {
        let is_required = shape["body_is_optional"] != true;
        out["requestBody"] = json!({"required": is_required, "content": {"application/json": {"schema": body}}});
    }
    out
}

/// Each of these lets a caller in.
fn security(keys: Keys) -> Value {
    match keys {
        Keys::Secret => json!([{"SecretKey": []}]),
        Keys::Public => json!([{"SecretKey": []}, {"PublicKey": [], "UserToken": []}, {"PublicKey": []}]),
        Keys::Granted => json!([{"SecretKey": []}, {"PublicKey": [], "UserToken": []}]),
    }
}

fn responses(route: &Route, shape: &Value) -> Map<String, Value> {
    let mut out = Map::new();
    for (status, schema) in shape["responses"].as_object().into_iter().flatten() {
        let response = match schema {
            Value::Null => json!({"description": "Done."}),
            response if response["$ref"].as_str().is_some_and(|at| at.contains("/responses/")) => response.clone(),
            schema => json!({"description": "Done.", "content": {"application/json": {"schema": schema}}}),
        };
        out.insert(status.clone(), response);
    }
    let is_sent = route.verb != Verb::Get;
    let missing = [("404", "")].into_iter().filter(|_| route.path.contains('{'));
    for (status, _) in ANYWHERE.into_iter().chain(WHERE_SENT.into_iter().filter(|_| is_sent)).chain(missing) {
        out.entry(status).or_insert_with(|| json!({"$ref": format!("#/components/responses/{status}")}));
    }
    out
}

/// F-ERR-01, F-AMB-11.
fn error() -> Value {
    json!({
        "type": "object",
        "required": ["code", "message", "status", "type"],
        "properties": {
            "code": {"type": "string", "description": "For programs."},
            "message": {"type": "string", "description": "For those who write them."},
            "status": {"type": "integer"},
            "type": {"type": "string", "enum":
                ["authentication_error", "invalid_request_error", "rate_limit_error", "api_error"]},
            "errors": {"type": "array", "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            }},
        },
    })
}

/// Knock's alternatives overlap: what has the members of an object may have those of a user. Exactly one of them is
/// hardly ever what holds.
fn loosen(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if let Some(alternatives) = members.remove("oneOf") {
                members.insert("anyOf".to_owned(), alternatives);
            }
            members.values_mut().for_each(loosen);
        }
        Value::Array(items) => items.iter_mut().for_each(loosen),
        _ => {}
    }
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(members) = target else { return };
    for (name, value) in patch {
        match value {
            Value::Null => {
                members.remove(&name);
            }
            value => merge(members.entry(name).or_insert(Value::Null), value),
        }
    }
}
