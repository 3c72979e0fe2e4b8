//! The values a template computes with: borrowed from the scope where possible, shared where made.

use std::{borrow::Cow, cell::Cell, fmt::Write, rc::Rc};

use serde_json::{Map, Value};

/// A value during a rendering.
#[derive(Clone, Debug)]
pub(crate) enum Val<'a> {
    Nil,
    /// The literal `empty`.
    Empty,
    /// The literal `blank`.
    Blank,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Borrowed text.
    Str(&'a str),
    /// Text that was made.
    Text(Rc<str>),
    /// A borrowed list.
    Array(&'a [Value]),
    /// A borrowed object.
    Object(&'a Map<String, Value>),
    /// A list that was made.
    List(Rc<List<'a>>),
    /// An object that was made, ordered by key.
    Record(Rc<Vec<(Rc<str>, Val<'a>)>>),
    /// From and to, both included.
    Range(i64, i64),
    Loop(Rc<Loop<'a>>),
}

/// A list that was made.
#[derive(Debug, Default)]
pub(crate) struct List<'a> {
    pub(crate) items: Vec<Val<'a>>,
    /// Whether it prints as JSON text (`intersect`, D-AMB-22) and not as its items in a row.
    pub(crate) prints_json: bool,
}

/// Where a `for` or a `tablerow` stands.
#[derive(Debug)]
pub(crate) struct Loop<'a> {
    pub(crate) name: &'a str,
    pub(crate) length: usize,
    pub(crate) index: Cell<usize>,
    /// The number of columns of a `tablerow`.
    pub(crate) columns: Option<usize>,
    pub(crate) parent: Option<Rc<Loop<'a>>>,
}

/// A sequence to walk through.
pub(crate) enum Items<'a> {
    Array(&'a [Value]),
    List(Rc<List<'a>>),
    Range(i64, usize),
}

/// Why a value could not be made.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Problem(pub(crate) String);

impl<T: Into<String>> From<T> for Problem {
    fn from(message: T) -> Self {
        Problem(message.into())
    }
}

impl<'a> From<&'a Value> for Val<'a> {
    fn from(value: &'a Value) -> Self {
        match value {
            Value::Null => Val::Nil,
            Value::Bool(b) => Val::Bool(*b),
            Value::Number(n) => number(n),
            Value::String(s) => Val::Str(s),
            Value::Array(items) => Val::Array(items),
            Value::Object(map) => Val::Object(map),
        }
    }
}

impl From<Value> for Val<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Val::Nil,
            Value::Bool(b) => Val::Bool(b),
            Value::Number(n) => number(&n),
            Value::String(s) => Val::from(s),
            Value::Array(items) => Val::from(items.into_iter().map(Val::from).collect::<Vec<_>>()),
            Value::Object(map) => Val::Record(Rc::new(map.into_iter().map(|(k, v)| (k.into(), v.into())).collect())),
        }
    }
}

impl From<String> for Val<'_> {
    fn from(text: String) -> Self {
        Val::Text(text.into())
    }
}

impl<'a> From<Vec<Val<'a>>> for Val<'a> {
    fn from(items: Vec<Val<'a>>) -> Self {
        Val::List(Rc::new(List { items, prints_json: false }))
    }
}

fn number(n: &serde_json::Number) -> Val<'static> {
    match n.as_i64() {
        Some(int) => Val::Int(int),
        None => Val::Float(n.as_f64().unwrap_or_default()),
    }
}

impl<'a> Val<'a> {
    /// Only `nil` and `false` are false (D-TPL-03).
    pub(crate) fn is_truthy(&self) -> bool {
        !matches!(self, Val::Nil | Val::Bool(false))
    }

    pub(crate) fn is_nil(&self) -> bool {
        matches!(self, Val::Nil)
    }

    /// The text, when it is text.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match self {
            Val::Str(text) => Some(text),
            Val::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value under `key`, if there is such a key.
    pub(crate) fn get(&self, key: &str) -> Option<Val<'a>> {
        match self {
            Val::Object(map) => map.get(key).map(Val::from),
            Val::Record(entries) => {
                entries.binary_search_by(|(k, _)| (**k).cmp(key)).ok().map(|at| entries[at].1.clone())
            }
            Val::Loop(state) => state.get(key),
            _ => None,
        }
    }

    /// The item at `index`; negative indexes count from the end.
    pub(crate) fn at(&self, index: i64) -> Option<Val<'a>> {
        match self {
            Val::Array(items) => items.get(place(index, items.len())?).map(Val::from),
            Val::List(list) => list.items.get(place(index, list.items.len())?).cloned(),
            Val::Range(..) => self.items().and_then(|items| items.get(place(index, items.len())?)),
            _ => None,
        }
    }

    /// What `.name` finds: a key, or what every list and text has.
    pub(crate) fn member(&self, name: &str) -> Option<Val<'a>> {
        if let Some(found) = self.get(name) {
            return Some(found);
        }
        match name {
            "size" => self.size().map(|n| Val::Int(n as i64)),
            "first" => match self {
                Val::Object(_) | Val::Record(_) => self.items()?.get(0),
                _ => self.at(0),
            },
            "last" => self.at(-1),
            _ => None,
        }
    }

    /// How many steps it costs to go through the value's text once: long texts must not be free.
    pub(crate) fn weight(&self) -> usize {
        self.as_str().map_or(0, |text| text.len() / 256)
    }

    /// How many characters, items or keys there are.
    pub(crate) fn size(&self) -> Option<usize> {
        match self {
            Val::Str(_) | Val::Text(_) => self.as_str().map(|text| text.chars().count()),
            Val::Array(items) => Some(items.len()),
            Val::List(list) => Some(list.items.len()),
            Val::Object(map) => Some(map.len()),
            Val::Record(entries) => Some(entries.len()),
            Val::Range(from, to) => Some(range_length(*from, *to)),
            _ => None,
        }
    }

    /// What a loop goes through: lists, ranges, and objects as pairs of key and value.
    pub(crate) fn items(&self) -> Option<Items<'a>> {
        match self {
            Val::Array(items) => Some(Items::Array(items)),
            Val::List(list) => Some(Items::List(list.clone())),
            Val::Range(from, to) => Some(Items::Range(*from, range_length(*from, *to))),
            Val::Object(map) => Some(Items::pairs(map.iter().map(|(k, v)| (Val::Str(k), Val::from(v))))),
            Val::Record(entries) => Some(Items::pairs(entries.iter().map(|(k, v)| (Val::Text(k.clone()), v.clone())))),
            _ => None,
        }
    }

    /// The text that the value prints as.
    pub(crate) fn text(&self, limit: usize) -> Result<Cow<'_, str>, Problem> {
        if let Some(text) = self.as_str() {
            return Ok(Cow::Borrowed(text));
        }
        let mut out = String::new();
        self.print(&mut out, limit)?;
        Ok(Cow::Owned(out))
    }

    /// Prints the value to the end of `out`, which must not grow beyond `limit` bytes.
    pub(crate) fn print(&self, out: &mut String, limit: usize) -> Result<(), Problem> {
        match self {
            Val::Nil | Val::Empty | Val::Blank => {}
            Val::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Val::Int(n) => print_int(*n, out),
            Val::Float(n) => print_float(*n, out),
            Val::Str(text) => out.push_str(text),
            Val::Text(text) => out.push_str(text),
            Val::Array(items) => {
                for item in *items {
                    Val::from(item).print(out, limit)?;
                }
            }
            Val::List(list) if list.prints_json => self.print_json(out, limit)?,
            Val::List(list) => {
                for item in &list.items {
                    item.print(out, limit)?;
                }
            }
            Val::Object(_) | Val::Record(_) => self.print_json(out, limit)?,
            Val::Range(from, to) => push_fmt(out, format_args!("{from}..{to}")),
            Val::Loop(state) => out.push_str(if state.columns.is_some() { "tablerowloop" } else { "forloop" }),
        }
        within(out, limit)
    }

    /// Prints the value as JSON (D-TPL-17).
    pub(crate) fn print_json(&self, out: &mut String, limit: usize) -> Result<(), Problem> {
        match self {
            Val::Nil | Val::Empty | Val::Blank | Val::Loop(_) => out.push_str("null"),
            Val::Bool(_) | Val::Int(_) => self.print(out, limit)?,
            Val::Float(n) => push_fmt(out, format_args!("{}", Value::from(*n))),
            Val::Str(text) => json_text(text, out),
            Val::Text(text) => json_text(text, out),
            Val::Array(_) | Val::List(_) | Val::Range(..) => self.print_json_list(out, limit)?,
            Val::Object(map) => {
                print_json_object(map.iter().map(|(k, v)| (k.as_str(), Val::from(v))), out, limit)?;
            }
            Val::Record(entries) => {
                print_json_object(entries.iter().map(|(k, v)| (&**k, v.clone())), out, limit)?;
            }
        }
        within(out, limit)
    }

    fn print_json_list(&self, out: &mut String, limit: usize) -> Result<(), Problem> {
        out.push('[');
        let items = self.items().unwrap_or(Items::Array(&[]));
        for at in 0..items.len() {
            if at > 0 {
                out.push(',');
            }
            if let Some(item) = items.get(at) {
                item.print_json(out, limit)?;
            }
        }
        out.push(']');
        Ok(())
    }
}

impl<'a> Loop<'a> {
    fn get(&self, key: &str) -> Option<Val<'a>> {
        let index = self.index.get();
        let count = |n: usize| Some(Val::Int(n as i64));
        if let Some(columns) = self.columns {
            let column = index % columns.max(1);
            match key {
                "col" => return count(column + 1),
                "col0" => return count(column),
                "col_first" => return Some(Val::Bool(column == 0)),
                "col_last" => return Some(Val::Bool(column + 1 == columns)),
                "row" => return count(index / columns.max(1) + 1),
                _ => {}
            }
        }
        match key {
            "index" => count(index + 1),
            "index0" => count(index),
            "rindex" => count(self.length - index),
            "rindex0" => count(self.length - index - 1),
            "first" => Some(Val::Bool(index == 0)),
            "last" => Some(Val::Bool(index + 1 == self.length)),
            "length" => count(self.length),
            "name" if self.columns.is_none() => Some(Val::Str(self.name)),
            "parentloop" if self.columns.is_none() => Some(self.parent.clone().map_or(Val::Nil, Val::Loop)),
            _ => None,
        }
    }
}

impl<'a> Items<'a> {
    fn pairs(pairs: impl Iterator<Item = (Val<'a>, Val<'a>)>) -> Self {
        let items = pairs.map(|(key, value)| Val::from(vec![key, value])).collect();
        Items::List(Rc::new(List { items, prints_json: false }))
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Items::Array(items) => items.len(),
            Items::List(list) => list.items.len(),
            Items::Range(_, length) => *length,
        }
    }

    pub(crate) fn get(&self, at: usize) -> Option<Val<'a>> {
        match self {
            Items::Array(items) => items.get(at).map(Val::from),
            Items::List(list) => list.items.get(at).cloned(),
            Items::Range(from, length) => (at < *length).then(|| Val::Int(from.saturating_add(at as i64))),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Val<'a>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

fn place(index: i64, length: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(length as i64)? } else { index };
    usize::try_from(index).ok()
}

fn range_length(from: i64, to: i64) -> usize {
    if to < from { 0 } else { to.saturating_sub(from).saturating_add(1) as usize }
}

/// Tells whether `out` kept within `limit`.
pub(crate) fn within(out: &str, limit: usize) -> Result<(), Problem> {
    match out.len() <= limit {
        true => Ok(()),
        false => Err(format!("the text grew beyond {limit} bytes").into()),
    }
}

fn push_fmt(out: &mut String, args: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(args); // writing to a string cannot fail
}

fn print_int(n: i64, out: &mut String) {
    if (0..10).contains(&n) {
        out.push((b'0' + n as u8) as char);
    } else {
        push_fmt(out, format_args!("{n}"));
    }
}

/// Prints as Ruby does: `3.0`, `0.1`, `1.0e+16`.
fn print_float(n: f64, out: &mut String) {
    let magnitude = n.abs();
    if !n.is_finite() {
        return out.push_str(if n.is_nan() { "NaN" } else { ["Infinity", "-Infinity"][usize::from(n < 0.0)] });
    }
    if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{n:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let exponent: i32 = exponent.parse().unwrap_or_default();
        let dot = if mantissa.contains('.') { "" } else { ".0" };
        return push_fmt(out, format_args!("{mantissa}{dot}e{exponent:+03}"));
    }
    push_fmt(out, format_args!("{n:?}"));
}

fn print_json_object<'k, 'a>(
    entries: impl Iterator<Item = (&'k str, Val<'a>)>,
    out: &mut String,
    limit: usize,
) -> Result<(), Problem> {
    out.push('{');
    for (at, (key, value)) in entries.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json_text(key, out);
        out.push(':');
        value.print_json(out, limit)?;
    }
    out.push('}');
    Ok(())
}

/// Writes `text` as a JSON string.
pub(crate) fn json_text(text: &str, out: &mut String) {
    out.push('"');
    let mut rest = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..=0x1f => "",
            _ => continue,
        };
        out.push_str(&text[rest..at]);
        rest = at + 1;
        match escape {
            "" => push_fmt(out, format_args!("\\u{byte:04x}")),
            escape => out.push_str(escape),
        }
    }
    out.push_str(&text[rest..]);
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(value: &Val<'_>) -> String {
        let mut out = String::new();
        value.print(&mut out, 1000).unwrap();
        out
    }

    #[test]
    fn floats_print_as_ruby_prints_them() {
        for (n, text) in [
            (3.0, "3.0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e16, "1.0e+16"),
            (1.5e-5, "1.5e-05"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (1e100, "1.0e+100"),
        ] {
            assert_eq!(printed(&Val::Float(n)), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn json_text_is_what_serde_writes(text in "\\PC*|[\\x00-\\x7f]*") {
            let mut out = String::new();
            json_text(&text, &mut out);
            proptest::prop_assert_eq!(out, serde_json::to_string(&text).unwrap());
        }
    }
}
