//! What the operators of conditions say about two values.

use std::cmp::Ordering;

use serde_json::{Number, Value};

use super::operand::{Side, relative};
use crate::model::time::Time;

/// Whether two sides are equal (W-CND-21, W-AMB-43, W-AMB-56): not set equals both `""` and null, and text equals the
/// raw text of a static argument.
pub(crate) fn equal(left: &Side<'_>, right: &Side<'_>) -> bool {
    match (left.value.as_deref(), right.value.as_deref()) {
        (None, None) => true,
        (None, Some(other)) | (Some(other), None) => other.is_null() || other == "",
        (Some(left), Some(_)) => equals_argument(left, right),
    }
}

fn equals_argument(value: &Value, argument: &Side<'_>) -> bool {
    let is_same = argument.value.as_deref().is_some_and(|argument| same(value, argument));
    is_same || value.as_str().is_some_and(|text| argument.raw.as_deref() == Some(text))
}

/// Deep equality in which 5 is 5.0.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b) == Some(Ordering::Equal),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

/// How the left side lies to the right one, if the two can be ordered at all (W-CND-24, W-CND-25, W-AMB-44).
pub(crate) fn order(left: &Side<'_>, right: &Side<'_>, now: Time) -> Option<Ordering> {
    let (a, b) = (left.value.as_deref()?, right.value.as_deref()?);
    let token = |side: &Side<'_>| side.at.or_else(|| Some(now.plus_seconds(relative(side.as_str()?)?)));
    let (left_token, right_token) = (token(left), token(right));
    if left_token.is_some() || right_token.is_some() {
        let left = left_token.or_else(|| instant(left))?;
        return Some(left.cmp(&right_token.or_else(|| instant(right))?));
    }
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => compare_numbers(a, b),
        (Value::Number(a), Value::String(b)) => compare_numbers(a, &number(b)?),
        (Value::String(a), Value::Number(b)) => compare_numbers(&number(a)?, b),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

fn compare_numbers(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

fn number(text: &str) -> Option<Number> {
    let text = text.trim();
    let whole = text.parse::<i64>().ok().map(Number::from);
    whole.or_else(|| Number::from_f64(text.parse().ok()?))
}

/// Whether one contains the other: text in text, a member in a list on either side, or two lists that share an item
/// (W-CND-26 to W-CND-28, W-AMB-45).
pub(crate) fn contains(left: &Side<'_>, right: &Side<'_>) -> bool {
    let (Some(value), Some(argument)) = (left.value.as_deref(), right.value.as_deref()) else { return false };
    match (value, argument) {
        (_, Value::String(text)) if text.is_empty() => false,
        (Value::Array(items), Value::Array(wanted)) => {
            items.iter().any(|item| wanted.iter().any(|want| same(item, want)))
        }
        (Value::Array(items), _) => items.iter().any(|item| equals_argument(item, right)),
        (_, Value::Array(items)) => items.iter().any(|item| same(value, item)),
        (Value::String(text), argument) => has_text(text, argument, right.raw.as_deref()),
        (Value::Number(number), argument) => has_text(&number.to_string(), argument, right.raw.as_deref()),
        _ => false,
    }
}

/// Text in text: numbers are spelled out, a static argument may also be meant as its raw text (W-AMB-43).
fn has_text(text: &str, argument: &Value, raw: Option<&str>) -> bool {
    let is_in = match argument {
        Value::String(part) => text.contains(part.as_str()),
        Value::Number(part) => text.contains(&part.to_string()),
        _ => false,
    };
    is_in || raw.is_some_and(|raw| text.contains(raw))
}

/// Whether every item of the right list is in the left one (W-CND-30, W-CND-32).
pub(crate) fn contains_all(left: &Side<'_>, right: &Side<'_>) -> bool {
    match (left.value.as_deref(), right.value.as_deref()) {
        (Some(Value::Array(items)), Some(Value::Array(wanted))) => {
            wanted.iter().all(|want| items.iter().any(|item| same(item, want)))
        }
        _ => false,
    }
}

/// Whether there is nothing in it (W-CND-33, W-AMB-45).
pub(crate) fn is_empty(side: &Side<'_>) -> bool {
    match side.value.as_deref() {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

/// Whether it is set and not null (W-CND-35).
pub(crate) fn exists(side: &Side<'_>) -> bool {
    side.value.as_deref().is_some_and(|value| !value.is_null())
}

/// The instant it names; only ISO-8601 text names one (W-AMB-46).
pub(crate) fn instant(side: &Side<'_>) -> Option<Time> {
    side.at.or_else(|| Time::parse(side.as_str()?))
}

/// Whether the value lies between two instants, both included (W-CND-39).
pub(crate) fn is_instant_between(value: &Side<'_>, low: &Side<'_>, high: &Side<'_>) -> bool {
    match (instant(value), instant(low), instant(high)) {
        (Some(value), Some(low), Some(high)) => low <= value && value <= high,
        _ => false,
    }
}

/// Whether the value lies between two numbers, both included (W-CND-42).
pub(crate) fn is_number_between(value: &Side<'_>, low: &Side<'_>, high: &Side<'_>) -> bool {
    let compared = |side: &Side<'_>, other: &Side<'_>| compare_numbers(&as_number(side)?, &as_number(other)?);
    compared(low, value).is_some_and(Ordering::is_le) && compared(value, high).is_some_and(Ordering::is_le)
}

/// The number a side is, or spells.
pub(crate) fn as_number(side: &Side<'_>) -> Option<Number> {
    match side.value.as_deref()? {
        Value::Number(number) => Some(number.clone()),
        Value::String(text) => number(text),
        _ => None,
    }
}
