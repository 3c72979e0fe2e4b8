//! Reads the values of a document by their types, and gathers what is wrong with them.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::model::invalid::{Invalid, did_you_mean};
use crate::rules::group_key::GroupKey;

/// An object of the document, and where it stands.
pub(super) struct Node<'a> {
    pub(super) map: &'a Map<String, Value>,
    pub(super) path: String,
}

impl<'a> Node<'a> {
    /// The value of `key`; null means unset (W-STP-08).
    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }
}

/// Gathers the problems on the way through a document. A reading method that finds one says so and answers `None` (or
/// the default): the caller reads on, so that all problems are found at once.
#[derive(Default)]
pub(super) struct Reader {
    pub(super) problems: Vec<Invalid>,
}

impl Reader {
    /// What was read, if nothing was wrong with it.
    pub(super) fn finish<T>(&mut self, read: Option<T>) -> Result<T, Vec<Invalid>> {
        let problems = std::mem::take(&mut self.problems);
        read.filter(|_| problems.is_empty()).ok_or(problems)
    }

    pub(super) fn wrong(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Invalid::new(path, message));
    }

    /// The value of a part that reads itself, or its problems beside the others.
    pub(super) fn keep<T>(&mut self, part: Result<T, Vec<Invalid>>) -> Option<T> {
        part.map_err(|problems| self.problems.extend(problems)).ok()
    }

    pub(super) fn object<'a>(&mut self, value: &'a Value, path: &str) -> Option<Node<'a>> {
        let Value::Object(map) = value else {
            self.wrong(path, "must be an object");
            return None;
        };
        Some(Node { map, path: path.to_owned() })
    }

    pub(super) fn object_at<'a>(&mut self, node: &Node<'a>, key: &str) -> Option<Node<'a>> {
        node.get(key).and_then(|value| self.object(value, &node.at(key)))
    }

    /// Refuses keys that nothing reads: a misspelt condition must not be a missing one.
    pub(super) fn known(&mut self, node: &Node<'_>, known: &[&str]) {
        for key in node.map.keys().filter(|key| !known.contains(&key.as_str())) {
            let hint = did_you_mean(key, known.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("known here are {}", known.join(", ")));
            self.wrong(node.at(key), format!("unknown key `{}`; {hint}", short(key)));
        }
    }

    pub(super) fn text<'a>(&mut self, node: &Node<'a>, key: &str) -> Option<&'a str> {
        let value = node.get(key)?;
        let text = value.as_str();
        if text.is_none() {
            self.wrong(node.at(key), "must be text");
        }
        text
    }

    pub(super) fn required_text<'a>(&mut self, node: &Node<'a>, key: &str) -> Option<&'a str> {
        if node.get(key).is_none_or(|value| value == "") {
            self.wrong(node.at(key), "is required");
            return None;
        }
        self.text(node, key)
    }

    pub(super) fn at_most(&mut self, node: &Node<'_>, key: &str, longest: usize) {
        let length = node.get(key).and_then(Value::as_str).map_or(0, |text| text.chars().count());
        if length > longest {
            self.wrong(node.at(key), format!("is {length} characters long; {longest} are allowed"));
        }
    }

    pub(super) fn flag(&mut self, node: &Node<'_>, key: &str) -> bool {
        self.flag_or(node, key, false)
    }

    /// The flag, or what it is where it is unset.
    pub(super) fn flag_or(&mut self, node: &Node<'_>, key: &str, default: bool) -> bool {
        match node.get(key) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.wrong(node.at(key), "must be true or false");
                default
            }
        }
    }

    /// A whole number within bounds, if it is set.
    pub(super) fn whole_number(&mut self, node: &Node<'_>, key: &str, bounds: RangeInclusive<i64>) -> Option<i64> {
        let number = node.get(key)?.as_i64().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = bounds.into_inner();
            self.wrong(node.at(key), format!("must be a whole number from {least} to {most}"));
        }
        number
    }

    /// Which of these words stands there, if any does.
    pub(super) fn one_of(&mut self, node: &Node<'_>, key: &str, words: &[&str]) -> Option<usize> {
        let word = self.text(node, key)?;
        let found = words.iter().position(|known| *known == word);
        if let (None, Some((last, others))) = (found, words.split_last()) {
            self.wrong(node.at(key), format!("must be {} or {last}", others.join(", ")));
        }
        found
    }

    /// What runs are gathered or counted by, if it is set.
    pub(super) fn group_key(&mut self, node: &Node<'_>, key: &str) -> Option<GroupKey> {
        let text = self.text(node, key).filter(|text| !text.trim().is_empty())?;
        let read = GroupKey::parse(text, &node.at(key));
        self.keep(read.map_err(|problem| vec![problem]))
    }

    pub(super) fn list<'a>(&mut self, node: &Node<'a>, key: &str) -> &'a [Value] {
        match node.get(key) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.wrong(node.at(key), "must be a list");
                &[]
            }
        }
    }

    pub(super) fn texts(&mut self, node: &Node<'_>, key: &str) -> Vec<String> {
        let mut texts = Vec::new();
        for (i, item) in self.list(node, key).iter().enumerate() {
            match item.as_str() {
                Some(text) => texts.push(text.to_owned()),
                None => self.wrong(format!("{}[{i}]", node.at(key)), "must be text"),
            }
        }
        texts
    }
}

/// Nothing longer is worth repeating whole.
const LONGEST_WORD: usize = 64;

/// The beginning of a word somebody else wrote, for a message.
pub(super) fn short(word: &str) -> String {
    word.chars().take(LONGEST_WORD).collect()
}
