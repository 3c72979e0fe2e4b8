//! The settings of a step that triggers another workflow.

use super::reader::{Node, Reader};
use crate::template::Template;
use crate::template::json::JsonTemplate;

/// Another workflow, and what it is triggered with. What is not set, or set to what it would be anyway, is taken from the
/// run (W-TWF-02).
#[derive(Debug)]
pub struct TriggerWorkflow {
    pub workflow_key: Template,
    pub recipients: Option<JsonTemplate>,
    pub actor: Option<JsonTemplate>,
    pub tenant: Option<Template>,
    pub data: Option<JsonTemplate>,
    pub cancellation_key: Option<Template>,
}

impl Reader<'_> {
    pub(super) fn trigger_workflow(&mut self, node: &Node<'_>) -> Option<TriggerWorkflow> {
        let settings = self.function(node, "`workflow_key`")?;
        self.known(&settings, &["workflow_key", "recipients", "actor", "tenant", "data", "cancellation_key"]);
        let key = self.required_text(&settings, "workflow_key");
        let workflow_key = key.and_then(|text| self.template_of(text, &settings.at("workflow_key")));
        let recipients = self.optional_json(&settings, "recipients", "recipient.id");
        let actor = self.optional_json(&settings, "actor", "actor.id");
        let tenant = self.optional_text(&settings, "tenant", "tenant.id");
        let data = self.optional_json(&settings, "data", "data | json");
        let cancellation_key = self.optional_text(&settings, "cancellation_key", "workflow.cancellation_key");
        Some(TriggerWorkflow { workflow_key: workflow_key?, recipients, actor, tenant, data, cancellation_key })
    }

    fn optional_text(&mut self, settings: &Node<'_>, key: &str, default: &str) -> Option<Template> {
        let text = self.text(settings, key).filter(|text| !says(text, default))?;
        self.template_of(text, &settings.at(key))
    }

    fn optional_json(&mut self, settings: &Node<'_>, key: &str, default: &str) -> Option<JsonTemplate> {
        let text = self.text(settings, key).filter(|text| !says(text, default))?;
        let read = JsonTemplate::parse(text);
        read.map_err(|error| self.wrong(settings.at(key), error.to_string())).ok()
    }
}

/// Whether a template says this expression and nothing else, however it is spaced.
fn says(text: &str, expression: &str) -> bool {
    let inner = text.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let spaceless = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
    inner.is_some_and(|inner| spaceless(inner) == spaceless(expression))
}

#[cfg(test)]
mod tests {
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(settings: Value) -> Result<StepKind, String> {
        let step = json!({"type": "trigger_workflow", "ref": "t", "settings": settings});
        let read = Workflow::parse("outer", &json!({"name": "Outer", "steps": [step]}), &[]);
        let read = read.map(|mut workflow| workflow.steps.remove(0).kind);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn what_would_be_so_anyway_is_as_if_it_were_not_set_w_twf_02() {
        let said = json!({"workflow_key": "inner", "recipients": "{{ recipient.id }}", "actor": "{{actor.id}}",
            "tenant": " {{ tenant.id }} ", "data": "{{ data|json }}", "cancellation_key": "{{ workflow.cancellation_key }}"});
        for settings in [json!({"workflow_key": "inner", "tenant": null}), said] {
            let Ok(StepKind::TriggerWorkflow(trigger)) = read(settings) else { panic!("W-TWF-01") };
            assert!(trigger.recipients.is_none() && trigger.actor.is_none() && trigger.tenant.is_none(), "W-TWF-02");
            assert!(trigger.data.is_none() && trigger.cancellation_key.is_none(), "W-TWF-02");
        }
        let set = json!({"workflow_key": "{{ data.key }}", "recipients": "{{ recipient.id }}, x", "actor": "", "tenant": "t"});
        let Ok(StepKind::TriggerWorkflow(trigger)) = read(set) else { panic!("W-TWF-01") };
        assert!(trigger.recipients.is_some() && trigger.actor.is_some() && trigger.tenant.is_some(), "W-TWF-02");
    }

    #[test]
    fn what_a_nested_trigger_cannot_be_is_said_w_twf_01() {
        for (settings, said) in [
            (json!(null), "settings: is required, with `workflow_key`"),
            (json!({}), "workflow_key: is required"),
            (json!({"workflow_key": "inner", "data": {"a": 1}}), "settings.data: must be text"),
            (json!({"workflow_key": "inner", "recipients": ["a"]}), "settings.recipients: must be text"),
            (json!({"workflow_key": "{{ x"}), "settings.workflow_key: line 1"),
            (json!({"workflow_key": "inner", "recipient": "a"}), "unknown key `recipient`"),
        ] {
            let problem = read(settings.clone()).expect_err(said);
            assert!(problem.contains(said), "W-TWF-01: {settings} gave {problem}");
        }
    }
}
