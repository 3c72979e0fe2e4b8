//! What runs are gathered or counted by: the key of a batch or throttle step, and of an experiment's cohorts.

use serde_json::Value;

use crate::model::invalid::Invalid;
use crate::model::scope::Scope;
use crate::template::{Env, Template};

/// The roots that a path may begin with; any other path leads into `data`.
const ROOTS: [&str; 7] = ["data", "recipient", "actor", "tenant", "vars", "workflow", "refs"];

/// A key as it is written (W-BAT-06, W-THR-11).
#[derive(Debug, Clone)]
pub enum GroupKey {
    /// The value at a path.
    Path(String),
    /// Liquid, rendered.
    Text(Template),
}

impl GroupKey {
    /// Reads a key: a bare name, which stands for `data.<name>`, a path, or Liquid.
    pub fn parse(text: &str, path: &str) -> Result<Self, Invalid> {
        let text = text.trim();
        if text.contains("{{") || text.contains("{%") {
            let template = Template::parse(text);
            return template
                .map(GroupKey::Text)
                .map_err(|error| Invalid::new(path, format!("line {}: {}", error.line, error.message)));
        }
        let root = text.split('.').next().unwrap_or_default();
        let is_rooted = text.contains('.') && ROOTS.contains(&root);
        Ok(GroupKey::Path(if is_rooted { text.to_owned() } else { format!("data.{text}") }))
    }

    /// The key of one run; none if it resolves to nothing. Values other than text stand as their JSON (W-AMB-25).
    pub fn resolve(&self, scope: &Scope<'_>, env: &Env<'_>) -> Result<Option<String>, String> {
        let found = match self {
            GroupKey::Path(path) => match scope.path(path) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone()),
                Some(other) => Some(other.to_string()),
            },
            GroupKey::Text(template) => Some(template.render(env).map_err(|error| error.to_string())?),
        };
        Ok(found.filter(|key| !key.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Time;
    use serde_json::json;

    fn key(text: &str) -> Option<String> {
        let (data, recipient) = (json!({"page": "a", "n": 7, "none": null, "m": {"k": "v"}}), json!({"plan": "pro"}));
        let scope = Scope::new(vec![("data", &data), ("recipient", &recipient)]);
        let env = Env::new(&scope, Time::default());
        GroupKey::parse(text, "key").unwrap().resolve(&scope, &env).unwrap()
    }

    #[test]
    fn a_key_is_a_name_a_path_or_liquid_w_bat_06_w_thr_11() {
        for (text, expected) in [
            ("page", Some("a")),
            ("data.page", Some("a")),
            ("m.k", Some("v")),
            ("recipient.plan", Some("pro")),
            ("{{ data.page }}-{{ recipient.plan }}", Some("a-pro")),
            ("n", Some("7")),
            ("m", Some(r#"{"k":"v"}"#)),
            ("none", None),
            ("gone", None),
            ("actor.id", None),
            ("{{ data.gone }}", None),
        ] {
            assert_eq!(key(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn liquid_that_cannot_be_read_is_refused() {
        assert!(GroupKey::parse("{{ data.page", "settings.batch_key").unwrap_err().to_string().contains("batch_key"));
    }
}
