//! The settings of a step that asks a model.

use super::DataSchema;
use super::reader::{Node, Reader};

/// A prompt for a model (W-AIA-01). There is no model to be asked here: the step fails when it is reached (W-AMB-41).
#[derive(Debug)]
pub struct AiAgent {
    /// Of the form `provider:name`.
    pub model: String,
    /// Whether the run halts when there is no answer (W-AIA-04).
    pub halt_on_error: bool,
}

const KEYS: [&str; 6] =
    ["model", "request_prompt", "response_type", "response_schema", "web_search_enabled", "halt_on_error"];

impl Reader<'_> {
    pub(super) fn ai_agent(&mut self, node: &Node<'_>) -> Option<AiAgent> {
        let settings = self.function(node, "`model`, `request_prompt` and `response_type`")?;
        self.known(&settings, &KEYS);
        let model = self.required_text(&settings, "model");
        if model.is_some_and(|model| model.split_once(':').is_none_or(|(who, name)| who.is_empty() || name.is_empty()))
        {
            self.wrong(settings.at("model"), "must be of the form provider:name");
        }
        if let Some(prompt) = self.required_text(&settings, "request_prompt") {
            self.template_of(prompt, &settings.at("request_prompt"));
        }
        let response_type = self.required_text(&settings, "response_type");
        self.response_schema(&settings, response_type);
        self.flag(&settings, "web_search_enabled");
        let halt_on_error = self.flag_or(&settings, "halt_on_error", true);
        Some(AiAgent { model: model?.to_owned(), halt_on_error })
    }

    /// There is a schema where the answer is JSON, and none where it is text.
    fn response_schema(&mut self, settings: &Node<'_>, response_type: Option<&str>) {
        let at = settings.at("response_schema");
        match response_type {
            Some("json") => {
                let Some(text) = self.required_text(settings, "response_schema") else { return };
                match serde_json::from_str(text) {
                    Ok(document) => {
                        let compiled = DataSchema::compile(&document, &at);
                        self.keep(compiled.map_err(|problem| vec![problem]));
                    }
                    Err(error) => self.wrong(at, format!("is no JSON: {error}")),
                }
            }
            Some("text") if settings.get("response_schema").is_some() => {
                self.wrong(at, "is for responses of type json");
            }
            Some("text") | None => {}
            Some(_) => self.wrong(settings.at("response_type"), "must be text or json"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(changes: Value) -> Result<AiAgent, String> {
        let mut settings =
            json!({"model": "anthropic:claude", "request_prompt": "Hi {{ recipient.name }}", "response_type": "text"});
        settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let step = json!({"type": "ai_agent", "ref": "ai_1", "settings": settings});
        let read = Workflow::parse("thinks", &json!({"name": "Thinks", "steps": [step]}), &[]);
        match read.map(|mut workflow| workflow.steps.remove(0).kind) {
            Ok(StepKind::AiAgent(agent)) => Ok(agent),
            Ok(_) => panic!("an AI step"),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    #[test]
    fn an_agent_step_is_read_w_aia_01() {
        let agent = read(json!({"web_search_enabled": null, "halt_on_error": null, "response_schema": null})).unwrap();
        assert_eq!((agent.model.as_str(), agent.halt_on_error), ("anthropic:claude", true), "W-AIA-04 W-AMB-41");
        let json = json!({"response_type": "json", "response_schema": r#"{"type": "object"}"#, "halt_on_error": false});
        assert!(!read(json).unwrap().halt_on_error, "W-AIA-04");
    }

    #[test]
    fn what_an_agent_step_cannot_be_is_said_w_aia_01() {
        for (changes, said) in [
            (json!({"model": "claude"}), "settings.model: must be of the form provider:name"),
            (json!({"model": null}), "settings.model: is required"),
            (json!({"request_prompt": "{{ x"}), "settings.request_prompt: line 1"),
            (json!({"response_type": "xml"}), "settings.response_type: must be text or json"),
            (json!({"response_type": "json"}), "settings.response_schema: is required"),
            (json!({"response_type": "json", "response_schema": "{"}), "settings.response_schema: is no JSON"),
            (json!({"response_type": "json", "response_schema": r#"{"type": 1}"#}), "settings.response_schema"),
            (json!({"response_schema": "{}"}), "settings.response_schema: is for responses of type json"),
            (json!({"halt_on_error": "no"}), "settings.halt_on_error: must be true or false"),
            (json!({"temperature": 1}), "unknown key `temperature`"),
        ] {
            let problem = read(changes.clone()).expect_err(said);
            assert!(problem.contains(said), "W-AIA-01: {changes} gave {problem}");
        }
    }
}
