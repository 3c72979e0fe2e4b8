//! Variables of the environment, laid over the file: `BELLWIRE_SERVER_LISTEN` is `listen` of `[server]`.
//!
//! The first word names the section, the rest is the key. In `[environments.my-env]` the variables begin with
//! `BELLWIRE_ENVIRONMENTS_MY_ENV_`; variables of templates follow as `VARS_NAME` and `SECRET_VARS_NAME`, as in `[account]`,
//! secrets of sources as `SOURCE_SECRETS_KEY`.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

const PREFIX: &str = "BELLWIRE_";
/// Says where the file is, so it is no setting of the file.
pub(super) const FILE: &str = "BELLWIRE_CONFIG";
/// Kubernetes sets these in every pod when a service is called `bellwire`; they are not meant for us.
const FOREIGN: [&str; 2] = ["SERVICE_", "PORT"];

/// Lays `variables` over `root`. Returns which variable gave the value at which path.
pub(super) fn lay_over(
    root: &mut Map<String, Value>,
    variables: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut origins = BTreeMap::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        if name == FILE || FOREIGN.iter().any(|foreign| rest.starts_with(foreign)) {
            continue;
        }
        let path = path_of(root, rest);
        origins.insert(path.join("."), name);
        insert(root, &path, value);
    }
    origins
}

/// The keys that lead to the setting called `name`.
fn path_of(root: &Map<String, Value>, name: &str) -> Vec<String> {
    let lower = name.to_lowercase();
    let (section, key) = lower.split_once('_').unwrap_or((&lower, ""));
    if section == "environments" {
        let mut path = vec![section.to_owned()];
        path.extend(in_environment(root, key));
        return path;
    }
    if section == "account"
        && let Some((table, name)) = in_table(key)
    {
        return vec![section.to_owned(), table.to_owned(), name.to_owned()];
    }
    [section, key].into_iter().filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

/// The keys below `environments`: the slug, then the setting, then the name of a template's variable.
fn in_environment(root: &Map<String, Value>, rest: &str) -> Vec<String> {
    let configured = root.get("environments").and_then(Value::as_object);
    // A file that names no environment means the one that is there without it.
    let assumed = configured.is_none().then_some(super::DEVELOPMENT);
    let slugs = configured.into_iter().flat_map(Map::keys).map(String::as_str).chain(assumed);
    let spelled = |slug: &&str| rest.strip_prefix(&slug.replace('-', "_")).is_some_and(|rest| rest.starts_with('_'));
    let Some(slug) = slugs.filter(spelled).max_by_key(|slug| slug.len()) else {
        return vec![rest.replace('_', "-")];
    };
    let key = &rest[slug.len() + 1..];
    match in_table(key) {
        Some((table, name)) => vec![slug.to_owned(), table.to_owned(), name.to_owned()],
        None => vec![slug.to_owned(), key.to_owned()],
    }
}

/// The table of variables that a key is in, and the variable's name.
fn in_table(key: &str) -> Option<(&'static str, &str)> {
    let within = |table: &'static str| Some((table, key.strip_prefix(table)?.strip_prefix('_')?));
    ["secret_vars", "source_secrets", "vars"].into_iter().find_map(within)
}

fn insert(table: &mut Map<String, Value>, path: &[String], value: String) {
    match path {
        [] => {}
        [key] => {
            table.insert(key.clone(), Value::String(value));
        }
        [key, rest @ ..] => {
            let inner = table.entry(key.clone()).or_insert_with(|| Value::Object(Map::new()));
            // A section that is no table is said to be wrong when it is read.
            if let Value::Object(inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn variables_find_their_keys() {
        let mut root = json!({"environments": {"my-env": {}, "my": {}}}).as_object().cloned().unwrap_or_default();
        let variables = [
            ("BELLWIRE_SERVER_MAX_BODY_BYTES", "5"),
            ("BELLWIRE_ENVIRONMENTS_MY_ENV_SECRET_VARS_API_TOKEN", "s"),
            ("BELLWIRE_ENVIRONMENTS_MY_TIMEZONE", "UTC"),
            ("BELLWIRE_PORT_4000_TCP_ADDR", "10.0.0.1"),
            ("BELLWIRE_SERVICE_HOST", "10.0.0.1"),
            ("BELLWIRE_CONFIG", "x"),
            ("PATH", "/bin"),
        ];
        let origins = lay_over(&mut root, variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            Value::Object(root),
            json!({
                "server": {"max_body_bytes": "5"},
                "environments": {"my-env": {"secret_vars": {"api_token": "s"}}, "my": {"timezone": "UTC"}},
            })
        );
        let paths: Vec<&str> = origins.keys().map(String::as_str).collect();
        assert_eq!(
            paths,
            ["environments.my-env.secret_vars.api_token", "environments.my.timezone", "server.max_body_bytes"]
        );
    }
}
