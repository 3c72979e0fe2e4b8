//! The settings of an update audience step.

use super::reader::{Node, Reader};
use crate::model::audience::Audience;

/// Adds the recipient to a static audience, or takes them out of it (W-UPD-19, W-AMB-16).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateAudience {
    pub action: Action,
    pub audience: String,
}

/// What the step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    Add,
    Remove,
}

impl Action {
    /// The word for it in documents.
    pub fn name(self) -> &'static str {
        match self {
            Action::Add => "add",
            Action::Remove => "remove",
        }
    }
}

impl Reader<'_> {
    pub(super) fn update_audience(&mut self, node: &Node<'_>) -> Option<UpdateAudience> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        let Some(settings) = self.object_at(node, "settings") else {
            self.wrong(node.at("settings"), "is required, with `action` and `audience_key`");
            return None;
        };
        self.known(&settings, &["action", "audience_key"]);
        let action = match self.required_text(&settings, "action") {
            Some("add") => Some(Action::Add),
            Some("remove") => Some(Action::Remove),
            Some(_) => {
                self.wrong(settings.at("action"), "must be add or remove");
                None
            }
            None => None,
        };
        let audience = self.required_text(&settings, "audience_key")?;
        if let Some(problem) = Audience::key_problem(audience) {
            self.wrong(settings.at("audience_key"), problem);
        }
        Some(UpdateAudience { action: action?, audience: audience.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(settings: Value) -> Result<Workflow, String> {
        let step = json!({"type": "update_audience", "ref": "s", "settings": settings});
        let read = Workflow::parse("story", &json!({"name": "Story", "steps": [step]}), &[]);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn it_adds_to_or_removes_from_one_audience_w_upd_19() {
        for (word, action) in [("add", Action::Add), ("remove", Action::Remove)] {
            let workflow = read(json!({"action": word, "audience_key": "vip"})).unwrap();
            let StepKind::UpdateAudience(step) = &workflow.steps[0].kind else { panic!("an update") };
            assert_eq!((step.action, step.audience.as_str(), step.action.name()), (action, "vip", word), "W-AMB-16");
        }
        for (settings, said) in [
            (json!(null), "settings: is required"),
            (json!({"audience_key": "vip"}), "settings.action: is required"),
            (json!({"action": "add"}), "settings.audience_key: is required"),
            (json!({"action": "move", "audience_key": "vip"}), "must be add or remove"),
            (json!({"action": "add", "audience_key": "a b"}), "can't be an audience's key"),
            (json!({"action": "add", "audience_key": "vip", "tenant": "t"}), "unknown key `tenant`"),
        ] {
            let problem = read(settings.clone()).unwrap_err();
            assert!(problem.contains(said), "W-UPD-19: {settings} gave {problem}");
        }
    }
}
