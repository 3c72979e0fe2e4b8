//! One table of the configuration, read key by key; what nobody asked for is a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::workflows::Problem;
use crate::model::invalid::{Invalid, nearest};

/// What a reading of the configuration has found so far.
pub(super) struct Reading {
    file: PathBuf,
    /// Which variable of the environment gave the value at which path.
    variables: BTreeMap<String, String>,
    /// Everything that is wrong.
    pub(super) problems: Vec<Problem>,
    /// Every path that was asked for.
    pub(super) asked: BTreeSet<String>,
}

impl Reading {
    pub(super) fn new(file: &Path, variables: BTreeMap<String, String>) -> Self {
        Reading { file: file.to_owned(), variables, problems: Vec::new(), asked: BTreeSet::new() }
    }

    /// Notes what is wrong at `path`, in the file or the variable that gave it.
    pub(super) fn wrong(&mut self, path: &str, message: impl Into<String>) {
        let file = match self.variables.get(path) {
            Some(variable) => PathBuf::from(format!("the environment variable {variable}")),
            None => self.file.clone(),
        };
        self.problems.push(Problem { file, path: path.to_owned(), message: message.into() });
    }

    /// Notes what a reader of another room has found.
    pub(super) fn all_wrong(&mut self, faults: Vec<Invalid>) {
        for fault in faults {
            self.wrong(&fault.path, fault.message);
        }
    }

    /// The table at `path`; a value that is none counts as an empty one, and is said to be wrong.
    pub(super) fn section(&mut self, value: Option<Value>, path: &str) -> Section<'_> {
        let table = match value {
            None => Map::new(),
            Some(Value::Object(table)) => table,
            Some(_) => {
                self.wrong(path, format!("must be a table: write `[{path}]` on a line of its own, and its keys below"));
                Map::new()
            }
        };
        Section { reading: self, path: path.to_owned(), table, known: Vec::new() }
    }
}

/// A table that is being read. [`Section::finish`] complains of the keys that were left.
pub(super) struct Section<'a> {
    pub(super) reading: &'a mut Reading,
    path: String,
    table: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Section<'_> {
    /// The path of a key of this table.
    pub(super) fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The value of `key`, taken out.
    pub(super) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        let path = self.at(key);
        self.reading.asked.insert(path);
        self.table.remove(key)
    }

    /// Notes what is wrong with `key`.
    pub(super) fn wrong(&mut self, key: &str, message: impl Into<String>) {
        let path = self.at(key);
        self.reading.wrong(&path, message);
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            _ => {
                self.wrong(key, "must be text in quotation marks");
                None
            }
        }
    }

    /// A list of texts. A variable of the environment separates them by commas or spaces; what has no `://` in it, in a
    /// list that has, belongs to the one before, as the nodes of a Cluster do.
    pub(super) fn list(&mut self, key: &'static str) -> Option<Vec<String>> {
        let value = self.take(key)?;
        let path = self.at(key);
        if let (Some(text), true) = (value.as_str(), self.reading.variables.contains_key(&path)) {
            return Some(split(text));
        }
        let texts = value.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
        if let Some(Some(texts)) = texts {
            return Some(texts);
        }
        self.wrong(key, "must be a list of texts, such as [\"a\", \"b\"]");
        None
    }

    /// The address of a server, without a path; none where it is empty.
    pub(super) fn origin(&mut self, key: &'static str) -> Option<String> {
        let origin = self.text(key).filter(|origin| !origin.is_empty())?;
        let rest = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
        if rest.is_some_and(|rest| !rest.is_empty() && !rest.contains('/')) {
            return Some(origin);
        }
        self.wrong(key, "must be like https://bell.example.com, without a path");
        None
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, key: &'static str) -> Option<String> {
        let is_there = self.table.contains_key(key);
        let text = self.text(key);
        if !is_there {
            self.wrong(key, "is required");
        }
        text
    }

    /// A text that `parse` understands; `expected` says what it looks like.
    pub(super) fn parsed<T: std::str::FromStr>(&mut self, key: &'static str, expected: &str, slot: &mut T) {
        let Some(text) = self.text(key) else { return };
        match text.parse() {
            Ok(value) => *slot = value,
            Err(_) => self.wrong(key, format!("`{text}` must be {expected}")),
        }
    }

    /// A whole number within `allowed`.
    pub(super) fn number(&mut self, key: &'static str, allowed: std::ops::RangeInclusive<u64>, slot: &mut u64) {
        let Some(value) = self.take(key) else { return };
        let path = self.at(key);
        // Variables of the environment are texts.
        let number = value.as_u64().or_else(|| self.reading.variables.get(&path).and(value.as_str()?.parse().ok()));
        match number.filter(|number| allowed.contains(number)) {
            Some(number) => *slot = number,
            None => self.wrong(key, format!("must be a whole number from {} to {}", allowed.start(), allowed.end())),
        }
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, slot: &mut bool) {
        let Some(value) = self.take(key) else { return };
        let path = self.at(key);
        let text = self.reading.variables.get(&path).and(value.as_str());
        match value.as_bool().or_else(|| text.and_then(|text| text.parse().ok())) {
            Some(flag) => *slot = flag,
            None => self.wrong(key, "must be true or false"),
        }
    }

    /// A table of whatever the operator likes.
    pub(super) fn map(&mut self, key: &'static str) -> Map<String, Value> {
        match self.take(key) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(_) => {
                self.wrong(key, "must be a table such as { name = \"value\" }");
                Map::new()
            }
        }
    }

    /// Says of every key that was not asked for that there is no such key.
    pub(super) fn finish(self) {
        for key in self.table.keys() {
            let path = if self.path.is_empty() { key.clone() } else { format!("{}.{key}", self.path) };
            let prefix = format!("{path}.");
            let variables = &self.reading.variables;
            let variable = variables.iter().find(|(at, _)| **at == path || at.starts_with(&prefix));
            let spelled = |key: &str| match variable {
                Some((at, variable)) if *at == path => format!("{}{}", stem(variable, &path), key.to_uppercase()),
                _ => key.to_owned(),
            };
            let hint = match nearest(key, self.known.iter().copied()) {
                Some(near) => format!("did you mean `{}`?", spelled(near)),
                None => format!("known here are {}", self.known.join(", ")),
            };
            let variable = variable.map(|(at, variable)| (at.clone(), variable.clone()));
            match variable {
                Some((at, variable)) => {
                    self.reading.wrong(&at, format!("no setting is called `{variable}`; {hint}"));
                }
                None => self.reading.wrong(&path, format!("there is no key `{key}`; {hint}")),
            }
        }
    }
}

fn split(text: &str) -> Vec<String> {
    let mut items: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        for part in word.split(',').filter(|part| !part.is_empty()) {
            match items.last_mut().filter(|last| last.contains("://") && !part.contains("://")) {
                Some(last) => {
                    last.push(',');
                    last.push_str(part);
                }
                None => items.push(part.to_owned()),
            }
        }
    }
    items
}

/// A variable's name without the part that names the last key of `path`.
fn stem<'a>(variable: &'a str, path: &str) -> &'a str {
    let last = path.rsplit('.').next().unwrap_or_default();
    variable.get(..variable.len().saturating_sub(last.len())).unwrap_or_default()
}
