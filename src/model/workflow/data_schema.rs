//! A workflow's JSON Schema for the data of its triggers, compiled once.

use jsonschema::Validator;
use jsonschema::error::{ValidationError, ValidationErrorKind};
use jsonschema::paths::{Location, LocationSegment};
use serde_json::{Map, Value};

use crate::model::invalid::Invalid;

/// More findings than this help nobody, and the answer to a caller has to end.
const MOST_FINDINGS: usize = 50;

/// A compiled JSON Schema (W-VAL-05).
#[derive(Debug)]
pub struct DataSchema {
    document: Value,
    validator: Validator,
}

impl DataSchema {
    /// Compiles the schema that stands at `path` of its workflow.
    pub(super) fn compile(document: &Value, path: &str) -> Result<Self, Invalid> {
        if !document.is_object() {
            return Err(Invalid::new(path, "must be a JSON Schema object"));
        }
        match jsonschema::validator_for(document) {
            Ok(validator) => Ok(DataSchema { document: document.clone(), validator }),
            Err(error) => Err(Invalid::new(extend(path, error.instance_path()), format!("is no JSON Schema: {error}"))),
        }
    }

    /// The schema as written.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Everything in `data` that does not conform, by paths such as `data.items[0].name` (W-VAL-06).
    pub fn validate(&self, data: &Value) -> Vec<Invalid> {
        let empty = Value::Object(Map::new());
        let data = if data.is_null() { &empty } else { data };
        self.validator.iter_errors(data).flat_map(findings).take(MOST_FINDINGS).collect()
    }
}

/// What one error of the validator says, at the place a caller has to change.
fn findings(error: ValidationError<'_>) -> Vec<Invalid> {
    let path = extend("data", error.instance_path());
    match error.kind() {
        ValidationErrorKind::Required { property: Value::String(name) } => {
            vec![Invalid::new(format!("{path}.{name}"), "is required")]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unexpected
            .iter()
            .map(|name| Invalid::new(format!("{path}.{name}"), "is not allowed by the schema"))
            .collect(),
        // The masked spelling leaves the caller's values out, which may be long or secret.
        _ => vec![Invalid::new(path, error.masked().to_string())],
    }
}

/// `root` and the segments of a location: `root.a[0].b`.
fn extend(root: &str, location: &Location) -> String {
    let mut path = root.to_owned();
    for segment in location {
        match segment {
            LocationSegment::Property(name) => {
                path.push('.');
                path.push_str(&name);
            }
            LocationSegment::Index(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn schema() -> DataSchema {
        let document = json!({
            "type": "object",
            "description": "an invoice",
            "required": ["number", "lines"],
            "additionalProperties": false,
            "properties": {
                "number": {"type": "string", "minLength": 2},
                "currency": {"enum": ["EUR", "USD"]},
                "lines": {
                    "type": "array",
                    "items": {"type": "object", "required": ["price"], "properties": {"price": {"type": "number"}}}
                }
            }
        });
        DataSchema::compile(&document, "trigger_data_json_schema").expect("a schema")
    }

    #[test]
    fn data_that_conforms_has_no_findings() {
        let data = json!({"number": "A1", "currency": "EUR", "lines": [{"price": 1.5}]});
        assert_eq!(schema().validate(&data), [], "W-VAL-08");
    }

    #[test]
    fn each_finding_says_where() {
        let cases = [
            (json!({"number": "A1"}), "data.lines", "W-VAL-08 required"),
            (json!({"number": 1, "lines": []}), "data.number", "W-VAL-08 type"),
            (json!({"number": "A1", "lines": [], "currency": "GBP"}), "data.currency", "W-VAL-08 enum"),
            (json!({"number": "A1", "lines": [{"price": 1}, {}]}), "data.lines[1].price", "W-VAL-08 nested"),
            (json!({"number": "A1", "lines": [{"price": "1"}]}), "data.lines[0].price", "W-VAL-08 nested type"),
            (json!({"number": "A1", "lines": [], "colour": 1}), "data.colour", "W-VAL-08 as standard JSON Schema"),
        ];
        for (data, path, rule) in cases {
            let findings = schema().validate(&data);
            let paths: Vec<&str> = findings.iter().map(|f| f.path.as_str()).collect();
            assert_eq!(paths, [path], "W-VAL-06, {rule}");
        }
    }

    #[test]
    fn all_findings_are_listed_without_the_values() {
        let findings = schema().validate(&json!({"number": 12345, "currency": "secret"}));
        assert_eq!(findings.len(), 3, "W-VAL-06: {findings:?}");
        assert!(findings.iter().all(|f| !f.message.contains("12345") && !f.message.contains("secret")), "{findings:?}");
    }

    #[test]
    fn no_data_is_an_empty_object() {
        let paths: Vec<String> = schema().validate(&Value::Null).into_iter().map(|f| f.path).collect();
        assert_eq!(paths, ["data.number", "data.lines"], "W-VAL-02");
    }

    #[test]
    fn a_broken_schema_is_refused_with_its_place() {
        let path = "trigger_data_json_schema";
        let wrong = DataSchema::compile(&json!({"properties": {"a": {"type": "strnig"}}}), path).expect_err("W-WFD-08");
        assert_eq!(wrong.path, "trigger_data_json_schema.properties.a.type", "W-WFD-08");
        assert!(DataSchema::compile(&json!("object"), path).is_err(), "W-WFD-08");
        let elsewhere = json!({"$ref": "https://example.com/schema.json"});
        assert!(DataSchema::compile(&elsewhere, path).is_err(), "nothing is fetched to compile a schema");
    }
}
