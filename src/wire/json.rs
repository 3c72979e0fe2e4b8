//! JSON beyond serde: absent against null, deep merging, bounded nesting, one canonical spelling.

use std::fmt::Write as _;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// The deepest nesting a body or frame may have; deeper ones are refused before they are parsed.
pub const MAX_DEPTH: usize = 64;

/// A member of a document that changes another: not mentioned, set to null, or set to a value.
///
/// Fields need `#[serde(default)]`, and `#[serde(skip_serializing_if = "Patch::is_absent")]` where they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Patch<T> {
    /// The member is not there: leave things as they are.
    #[default]
    Absent,
    /// The member is null.
    Null,
    /// The member has a value.
    Value(T),
}

impl<T> Patch<T> {
    /// Whether the member is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Patch::Absent)
    }

    /// The value, if there is one.
    pub fn value(self) -> Option<T> {
        match self {
            Patch::Value(value) => Some(value),
            Patch::Absent | Patch::Null => None,
        }
    }

    /// What the member leaves behind where `old` was.
    pub fn over(self, old: Option<T>) -> Option<T> {
        match self {
            Patch::Absent => old,
            Patch::Null => None,
            Patch::Value(value) => Some(value),
        }
    }

    /// A borrowed view of the same three cases.
    pub fn as_ref(&self) -> Patch<&T> {
        match self {
            Patch::Absent => Patch::Absent,
            Patch::Null => Patch::Null,
            Patch::Value(value) => Patch::Value(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Patch::Null, Patch::Value))
    }
}

impl<T: Serialize> Serialize for Patch<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Patch::Value(value) => serializer.serialize_some(value),
            Patch::Absent | Patch::Null => serializer.serialize_none(),
        }
    }
}

/// Merges `patch` into `target`: maps merge member by member, everything else replaces, null sets null (F-USR-05).
pub fn deep_merge(target: &mut Value, patch: Value) {
    match (target, patch) {
        (Value::Object(target), Value::Object(patch)) => deep_merge_maps(target, patch),
        (target, patch) => *target = patch,
    }
}

/// Merges the members of `patch` into `target`, see [`deep_merge`].
pub fn deep_merge_maps(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (key, value) in patch {
        match target.get_mut(&key) {
            Some(old) => deep_merge(old, value),
            None => {
                target.insert(key, value);
            }
        }
    }
}

/// Whether lists and maps in this JSON text nest at most `limit` deep. Looks at brackets outside strings only: whether
/// the text is JSON at all is for the parser to say.
pub fn depth_at_most(text: &str, limit: usize) -> bool {
    let mut bytes = text.bytes();
    let mut depth = 0usize;
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => skip_string(&mut bytes),
            b'{' | b'[' => {
                depth += 1;
                if depth > limit {
                    return false;
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    true
}

fn skip_string(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => {
                bytes.next();
            }
            b'"' => return,
            _ => {}
        }
    }
}

/// The one spelling of a value that does not depend on the order in which its members were written: for fingerprints.
pub fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(&mut out, value);
    out
}

fn write_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            write_list(out, "{}", members, |out, (key, value)| {
                quote(out, key);
                out.push(':');
                write_canonical(out, value);
            });
        }
        Value::Array(items) => write_list(out, "[]", items, write_canonical),
        Value::String(text) => quote(out, text),
        // Writing into a String cannot fail.
        scalar => _ = write!(out, "{scalar}"),
    }
}

/// Writes `items` between the two brackets, with commas.
fn write_list<T>(out: &mut String, brackets: &str, items: impl IntoIterator<Item = T>, write: impl Fn(&mut String, T)) {
    out.push_str(&brackets[..1]);
    for (at, item) in items.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        write(out, item);
    }
    out.push_str(&brackets[1..]);
}

/// Appends `text` as a JSON string, quotes included, spelled as serde_json spells it.
pub fn quote(out: &mut String, text: &str) {
    out.push('"');
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    // Most texts hold nothing to escape. Without a way out of the loop, many bytes are looked at in one instruction.
    if text.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        out.push_str(text);
        out.push('"');
        return;
    }
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if is_plain(byte) {
            continue;
        }
        out.push_str(&text[plain_from..at]);
        plain_from = at + 1;
        push_escape(out, byte);
    }
    out.push_str(&text[plain_from..]);
    out.push('"');
}

fn push_escape(out: &mut String, byte: u8) {
    match byte {
        b'"' => out.push_str("\\\""),
        b'\\' => out.push_str("\\\\"),
        b'\n' => out.push_str("\\n"),
        b'\r' => out.push_str("\\r"),
        b'\t' => out.push_str("\\t"),
        0x08 => out.push_str("\\b"),
        0x0c => out.push_str("\\f"),
        // Writing into a String cannot fail.
        control => _ = write!(out, "\\u{control:04x}"),
    }
}

/// Appends `text` as a JSON string, or `null`.
pub fn quote_or_null(out: &mut String, text: Option<&str>) {
    match text {
        Some(text) => quote(out, text),
        None => out.push_str("null"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Document {
        #[serde(default, skip_serializing_if = "Patch::is_absent")]
        name: Patch<String>,
    }

    #[test]
    fn absent_null_and_a_value_are_three_things_both_ways() {
        for (text, name) in [
            ("{}", Patch::Absent),
            (r#"{"name":null}"#, Patch::Null),
            (r#"{"name":"Ann"}"#, Patch::Value("Ann".to_owned())),
        ] {
            let document: Document = serde_json::from_str(text).unwrap();
            assert_eq!(document.name, name);
            assert_eq!(serde_json::to_string(&document).unwrap(), text);
        }
        assert_eq!(Patch::Absent.over(Some(1)), Some(1));
        assert_eq!(Patch::Null.over(Some(1)), None);
        assert_eq!(Patch::Value(2).over(Some(1)), Some(2));
        assert_eq!(Patch::Value(2).as_ref().value(), Some(&2));
    }

    #[test]
    fn maps_merge_and_everything_else_replaces() {
        for (old, patch, merged) in [
            (json!({"a": 1}), json!({"b": 2}), json!({"a": 1, "b": 2})),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"y": 3}}), json!({"a": {"x": 1, "y": 3}})),
            (json!({"a": [1, 2]}), json!({"a": [3]}), json!({"a": [3]})),
            (json!({"a": {"x": 1}}), json!({"a": null}), json!({"a": null})),
            (json!({"a": {"x": 1}}), json!({"a": {"x": null}}), json!({"a": {"x": null}})),
            (json!({"a": null}), json!({"a": {"x": 1}}), json!({"a": {"x": 1}})),
            (json!({"a": 1}), json!({}), json!({"a": 1})),
        ] {
            let mut value = old;
            deep_merge(&mut value, patch);
            assert_eq!(value, merged, "F-USR-05");
        }
    }

    #[test]
    fn depth_counts_brackets_outside_strings() {
        assert!(depth_at_most("1", 0));
        assert!(depth_at_most(r#"{"a":[1]}"#, 2));
        assert!(!depth_at_most(r#"{"a":[1]}"#, 1));
        assert!(depth_at_most(r#"{"a":"[[[[{{{{ \" [[[["}"#, 1));
        assert!(depth_at_most(r#"["\\",[1]]"#, 2));
        assert!(!depth_at_most(r#"["\\",[1]]"#, 1));
        assert!(depth_at_most("[][][][]", 1), "side by side is not deep");
        assert!(!depth_at_most(&"[".repeat(1_000_000), MAX_DEPTH));
    }

    #[test]
    fn the_canonical_spelling_does_not_depend_on_the_order_of_members() {
        let one: Value = serde_json::from_str(r#"{"b":[1,{"d":null,"c":true}],"a":"x\n"}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{ "a":"x\u000a", "b":[1, {"c":true,"d":null}] }"#).unwrap();
        assert_eq!(canonical(&one), canonical(&other));
        assert_eq!(canonical(&one), r#"{"a":"x\n","b":[1,{"c":true,"d":null}]}"#);
        assert_ne!(canonical(&json!([1, 2])), canonical(&json!([2, 1])), "lists keep their order");
    }

    proptest! {
        #[test]
        fn strings_are_quoted_as_serde_json_quotes_them(text in any::<String>()) {
            let mut ours = String::new();
            quote(&mut ours, &text);
            prop_assert_eq!(ours, serde_json::to_string(&text).unwrap());
        }

        #[test]
        fn the_depth_check_never_refuses_what_is_shallow(levels in 0usize..100) {
            let text = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
            prop_assert_eq!(depth_at_most(&text, MAX_DEPTH), levels <= MAX_DEPTH);
        }
    }
}
