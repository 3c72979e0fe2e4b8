//! What templates and conditions can name: root values, borrowed from wherever they live.

use serde_json::{Map, Value};

/// The named root values of one evaluation (W-SCP-01, W-SCP-02).
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    roots: Vec<(&'a str, &'a Value)>,
    fallback: Option<&'a Map<String, Value>>,
}

impl<'a> Scope<'a> {
    /// A scope with these roots; the first of two equal names wins.
    pub fn new(roots: Vec<(&'a str, &'a Value)>) -> Self {
        Scope { roots, fallback: None }
    }

    /// Lets the keys of `data` be named without a prefix where no root has that name (W-SCP-05).
    pub fn with_fallback(mut self, data: Option<&'a Map<String, Value>>) -> Self {
        self.fallback = data;
        self
    }

    /// The root called `name`.
    pub fn root(&self, name: &str) -> Option<&'a Value> {
        let found = self.roots.iter().find(|(root, _)| *root == name).map(|(_, value)| *value);
        found.or_else(|| self.fallback.and_then(|data| data.get(name)))
    }

    /// The value at a dotted path such as `data.tags.0`; a key that itself holds dots is tried first (W-AMB-42).
    pub fn path(&self, path: &str) -> Option<&'a Value> {
        match path.split_once('.') {
            None => self.root(path),
            Some((root, rest)) => descend(self.root(root)?, rest),
        }
    }
}

/// The value below `value` at a dotted path; numeric segments index lists, exact keys win over splitting (W-AMB-42).
pub fn descend<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => {
            if let Some(found) = map.get(path) {
                return Some(found);
            }
            path.match_indices('.').find_map(|(at, _)| descend(map.get(&path[..at])?, &path[at + 1..]))
        }
        Value::Array(items) => {
            let (index, rest) = match path.split_once('.') {
                Some((index, rest)) => (index, Some(rest)),
                None => (path, None),
            };
            let item = items.get(index.parse::<usize>().ok()?)?;
            rest.map_or(Some(item), |rest| descend(item, rest))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths_reach_nested_values_lists_and_dotted_keys() {
        let data = json!({"a": {"b": [10, {"c": 1}]}, "x.y": 2, "x": {"y": 3}});
        let scope = Scope::new(vec![("data", &data)]);
        assert_eq!(scope.path("data.a.b.0"), Some(&json!(10)), "W-CND-11");
        assert_eq!(scope.path("data.a.b.1.c"), Some(&json!(1)));
        assert_eq!(scope.path("data.x.y"), Some(&json!(2)), "the key with the dot wins");
        assert_eq!(scope.path("data.a.z"), None);
        assert_eq!(scope.path("recipient.id"), None);
    }
}
