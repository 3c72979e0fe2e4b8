//! The settings of steps that change the run's data, or what is stored of somebody.

use super::reader::{Node, Reader};
use crate::model::recipient::{RecipientRef, TENANTS, object_fault, user_id_fault};
use crate::template::Template;
use crate::template::json::JsonTemplate;

/// The collection by which global ids name users.
const USERS: &str = "$users";
const SCHEME: &str = "gid://Object/";

/// A step that changes what is stored of somebody.
#[derive(Debug)]
pub struct Update {
    pub what: Updated,
    pub whom: Whom,
    /// Merged into what is there (W-UPD-09).
    pub properties: JsonTemplate,
}

/// Of what kind they are whom a step changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Updated {
    User,
    Object,
    Tenant,
}

impl Updated {
    /// The step's type.
    pub fn step_type(self) -> &'static str {
        match self {
            Updated::User => "update_user",
            Updated::Object => "update_object",
            Updated::Tenant => "update_tenant",
        }
    }

    /// What global ids of this kind begin with.
    fn prefix(self) -> &'static str {
        match self {
            Updated::User => "gid://Object/$users/",
            Updated::Object => SCHEME,
            Updated::Tenant => "gid://Object/$tenants/",
        }
    }

    fn form(self) -> String {
        let rest = if self == Updated::Object { "<collection>/<id>" } else { "<id>" };
        format!("{}{rest}", self.prefix())
    }

    /// Reads a global id that names somebody of this kind.
    pub fn read(self, gid: &str) -> Result<RecipientRef, String> {
        let wrong = || format!("`{gid}` is not of the form {}", self.form());
        let (collection, id) = gid.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or_else(wrong)?;
        let fault = match (self, collection) {
            (Updated::User, USERS) => user_id_fault(id),
            (Updated::Tenant, TENANTS) => object_fault(collection, id).map(|(_, fault)| fault),
            (Updated::Object, USERS) => return Err(format!("`{gid}` names a user; use an `update_user` step")),
            (Updated::Object, _) => object_fault(collection, id).map(|(_, fault)| fault),
            _ => return Err(wrong()),
        };
        if let Some(fault) = fault {
            return Err(format!("`{gid}` names nobody: {fault}"));
        }
        let id = id.to_owned();
        Ok(match self {
            Updated::User => RecipientRef::User(id),
            Updated::Object | Updated::Tenant => RecipientRef::Object { collection: collection.to_owned(), id },
        })
    }
}

/// Whom a step changes.
#[derive(Debug)]
pub enum Whom {
    /// The run's own recipient, or its tenant (W-UPD-07, W-UPD-15).
    Current,
    /// Whomever this global id names.
    Named(Template),
}

impl Reader<'_> {
    pub(super) fn update_data(&mut self, node: &Node<'_>) -> Option<JsonTemplate> {
        let settings = self.function(node, "`data`")?;
        self.known(&settings, &["data"]);
        self.json_template(&settings, "data")
    }

    pub(super) fn update(&mut self, node: &Node<'_>, what: Updated) -> Option<Update> {
        let settings = self.function(node, "`update_properties`")?;
        let has_mode = what != Updated::Object;
        match has_mode {
            true => self.known(&settings, &["recipient_mode", "recipient_gid", "update_properties"]),
            false => self.known(&settings, &["recipient_gid", "update_properties"]),
        }
        let mode = if has_mode { self.required_text(&settings, "recipient_mode") } else { Some("reference") };
        let gid = self.gid(&settings, what, mode == Some("reference"));
        let properties = self.json_template(&settings, "update_properties");
        let whom = match mode? {
            "current" => Whom::Current,
            "reference" => Whom::Named(gid?),
            _ => {
                self.wrong(settings.at("recipient_mode"), "must be current or reference");
                return None;
            }
        };
        Some(Update { what, whom, properties: properties? })
    }

    fn gid(&mut self, settings: &Node<'_>, what: Updated, is_needed: bool) -> Option<Template> {
        let text = match is_needed {
            true => self.required_text(settings, "recipient_gid")?,
            false => self.text(settings, "recipient_gid")?,
        };
        let at = settings.at("recipient_gid");
        let template = self.template_of(text, &at)?;
        if !is_needed {
            return Some(template);
        }
        // As much of it as is not Liquid can be judged now.
        let fixed = text.split('{').next().unwrap_or_default();
        let fault = match fixed.len() == text.len() {
            true => what.read(text).err(),
            false if fixed.starts_with(what.prefix()) || what.prefix().starts_with(fixed) => None,
            false => Some(format!("must be of the form {}", what.form())),
        };
        if let Some(fault) = fault {
            self.wrong(at, fault);
            return None;
        }
        Some(template)
    }

    /// The settings of a function step; `needed` is what belongs there.
    pub(super) fn function<'a>(&mut self, node: &Node<'a>, needed: &str) -> Option<Node<'a>> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        if node.get("settings").is_none() {
            self.wrong(node.at("settings"), format!("is required, with {needed}"));
        }
        self.object_at(node, "settings")
    }

    /// A template that is to make JSON, and must be there.
    fn json_template(&mut self, settings: &Node<'_>, key: &str) -> Option<JsonTemplate> {
        let text = self.required_text(settings, key)?;
        let read = JsonTemplate::parse(text);
        read.map_err(|error| self.wrong(settings.at(key), error.to_string())).ok()
    }

    pub(super) fn template_of(&mut self, text: &str, at: &str) -> Option<Template> {
        Template::parse(text).map_err(|error| self.wrong(at, error.to_string())).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(step_type: &str, settings: Value) -> Result<StepKind, String> {
        let step = json!({"type": step_type, "ref": "update_1", "settings": settings});
        let read = Workflow::parse("changes", &json!({"name": "Changes", "steps": [step]}), &[]);
        let read = read.map(|mut workflow| workflow.steps.remove(0).kind);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    #[test]
    fn update_steps_are_read_w_upd_01_w_upd_06_w_upd_12_w_upd_14() {
        assert!(matches!(read("update_data", json!({"data": "{{ data | json }}"})), Ok(StepKind::UpdateData(_))));
        let properties = r#"{"plan": "pro"}"#;
        let current = json!({"recipient_mode": "current", "recipient_gid": null, "update_properties": properties});
        for step_type in ["update_user", "update_tenant"] {
            let Ok(StepKind::Update(update)) = read(step_type, current.clone()) else { panic!("W-UPD-06 W-UPD-14") };
            assert!(matches!(update.whom, Whom::Current), "W-UPD-07 W-UPD-15");
            assert_eq!(update.what.step_type(), step_type);
        }
        for (step_type, gid) in [
            ("update_user", "gid://Object/$users/{{ data.id }}"),
            ("update_tenant", "gid://Object/$tenants/acme"),
            ("update_user", "{{ data.gid }}"),
        ] {
            let settings =
                json!({"recipient_mode": "reference", "recipient_gid": gid, "update_properties": properties});
            assert!(read(step_type, settings).is_ok(), "{gid}");
        }
        let object =
            json!({"recipient_gid": "gid://Object/{{ data.collection }}/a/b", "update_properties": properties});
        assert!(matches!(read("update_object", object), Ok(StepKind::Update(_))), "W-UPD-12");
    }

    #[test]
    fn what_an_update_step_cannot_be_is_said() {
        let with = |changes: Value| {
            let mut settings = json!({"recipient_mode": "reference", "recipient_gid": "gid://Object/$users/u",
                "update_properties": "{}"});
            settings.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            settings
        };
        for (step_type, settings, said) in [
            ("update_data", json!({}), "settings.data: is required"),
            ("update_data", json!({"data": {"a": 1}}), "settings.data: must be text"),
            ("update_data", json!({"data": "{{ x"}), "settings.data: line 1"),
            ("update_data", json!(null), "settings: is required, with `data`"),
            ("update_user", with(json!({"recipient_mode": null})), "recipient_mode: is required"),
            ("update_user", with(json!({"recipient_mode": "all"})), "must be current or reference"),
            ("update_user", with(json!({"recipient_gid": null})), "recipient_gid: is required"),
            ("update_user", with(json!({"recipient_gid": "u"})), "not of the form gid://Object/$users/<id>"),
            (
                "update_user",
                with(json!({"recipient_gid": "gid://Object/teams/{{ x }}"})),
                "must be of the form gid://Object/$users/<id>",
            ),
            ("update_user", with(json!({"recipient_gid": "gid://Object/$users/a#b"})), "names nobody"),
            ("update_tenant", with(json!({})), "not of the form gid://Object/$tenants/<id>"),
            (
                "update_object",
                json!({"recipient_gid": "gid://Object/$users/u", "update_properties": "{}"}),
                "use an `update_user` step",
            ),
            (
                "update_object",
                json!({"recipient_gid": "gid://Object/teams", "update_properties": "{}"}),
                "gid://Object/<collection>/<id>",
            ),
            ("update_object", with(json!({})), "unknown key `recipient_mode`"),
            ("update_user", with(json!({"update_properties": ""})), "update_properties: is required"),
        ] {
            let problem = read(step_type, settings.clone()).expect_err(said);
            assert!(problem.contains(said), "W-UPD-06 W-UPD-12: {settings} gave {problem}");
        }
    }
}
