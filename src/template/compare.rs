//! How two values compare.

use std::cmp::Ordering;

use super::{ast::Comparison, value::Val};

/// Evaluates `left OP right`; values that have no order compare as false.
pub(crate) fn holds(left: &Val<'_>, comparison: Comparison, right: &Val<'_>) -> bool {
    match comparison {
        Comparison::Equal => equal(left, right),
        Comparison::NotEqual => !equal(left, right),
        Comparison::Less => order(left, right) == Some(Ordering::Less),
        Comparison::Greater => order(left, right) == Some(Ordering::Greater),
        Comparison::LessOrEqual => order(left, right).is_some_and(Ordering::is_le),
        Comparison::GreaterOrEqual => order(left, right).is_some_and(Ordering::is_ge),
        Comparison::Contains => contains(left, right),
    }
}

/// Whether two values are the same; `empty` and `blank` equal everything that is so.
pub(crate) fn equal(left: &Val<'_>, right: &Val<'_>) -> bool {
    match (left, right) {
        (Val::Blank | Val::Empty, Val::Blank | Val::Empty) => {
            std::mem::discriminant(left) == std::mem::discriminant(right)
        }
        (Val::Blank, other) | (other, Val::Blank) => is_blank(other),
        (Val::Empty, other) | (other, Val::Empty) => is_empty(other),
        (Val::Nil, Val::Nil) => true,
        (Val::Bool(a), Val::Bool(b)) => a == b,
        (Val::Int(a), Val::Int(b)) => a == b,
        (Val::Int(a), Val::Float(b)) | (Val::Float(b), Val::Int(a)) => *a as f64 == *b,
        (Val::Float(a), Val::Float(b)) => a == b,
        _ => match (left.as_str(), right.as_str()) {
            (Some(a), Some(b)) => a == b,
            (None, None) => equal_parts(left, right),
            _ => false,
        },
    }
}

fn equal_parts(left: &Val<'_>, right: &Val<'_>) -> bool {
    let is_object = |value: &Val<'_>| matches!(value, Val::Object(_) | Val::Record(_));
    if is_object(left) != is_object(right) || left.size() != right.size() {
        return false;
    }
    if let (Val::Range(a, _), Val::Range(b, _)) = (left, right) {
        return a == b;
    }
    match (left.items(), right.items()) {
        (Some(a), Some(b)) => (0..a.len()).all(|at| match (a.get(at), b.get(at)) {
            (Some(a), Some(b)) => equal(&a, &b),
            _ => false,
        }),
        _ => false,
    }
}

pub(crate) fn is_empty(value: &Val<'_>) -> bool {
    matches!(value, Val::Empty) || value.size() == Some(0)
}

fn is_blank(value: &Val<'_>) -> bool {
    match value {
        Val::Nil | Val::Bool(false) | Val::Blank => true,
        _ => is_empty(value) || value.as_str().is_some_and(|text| text.chars().all(char::is_whitespace)),
    }
}

/// How numbers stand to numbers and texts to texts.
pub(crate) fn order(left: &Val<'_>, right: &Val<'_>) -> Option<Ordering> {
    match (left, right) {
        (Val::Int(a), Val::Int(b)) => Some(a.cmp(b)),
        (Val::Int(a), Val::Float(b)) => (*a as f64).partial_cmp(b),
        (Val::Float(a), Val::Int(b)) => a.partial_cmp(&(*b as f64)),
        (Val::Float(a), Val::Float(b)) => a.partial_cmp(b),
        _ => Some(left.as_str()?.cmp(right.as_str()?)),
    }
}

fn contains(left: &Val<'_>, right: &Val<'_>) -> bool {
    // As in Ruby: nothing contains `nil` or `false`.
    if !right.is_truthy() {
        return false;
    }
    match left {
        Val::Str(_) | Val::Text(_) => {
            let Some(text) = left.as_str() else { return false };
            // What prints longer than the text cannot be inside it.
            right.text(text.len()).is_ok_and(|needle| text.contains(&*needle))
        }
        Val::Object(_) | Val::Record(_) => right.as_str().is_some_and(|key| left.get(key).is_some()),
        Val::Range(from, to) => matches!(right, Val::Int(n) if (from..=to).contains(&n)),
        _ => left.items().is_some_and(|items| items.iter().any(|item| equal(&item, right))),
    }
}

/// A total order for `sort`: booleans, numbers, texts, others, and `nil` last.
pub(crate) fn sorting(left: &Val<'_>, right: &Val<'_>) -> Ordering {
    let rank = |value: &Val<'_>| match value {
        Val::Bool(_) => 0,
        Val::Int(_) | Val::Float(_) => 1,
        Val::Str(_) | Val::Text(_) => 2,
        Val::Nil => 4,
        _ => 3,
    };
    // Integers that are one float are told apart among themselves, or the order would not be total.
    let number = |value: &Val<'_>| match value {
        Val::Int(n) => (*n as f64, Some(*n)),
        Val::Float(n) => (*n, None),
        _ => (0.0, None),
    };
    match (left, right) {
        (Val::Bool(a), Val::Bool(b)) => a.cmp(b),
        _ if rank(left) == 1 && rank(right) == 1 => {
            let ((a, a_int), (b, b_int)) = (number(left), number(right));
            a.total_cmp(&b).then(a_int.cmp(&b_int))
        }
        _ => match (left.as_str(), right.as_str()) {
            (Some(a), Some(b)) => a.cmp(b),
            _ => rank(left).cmp(&rank(right)),
        },
    }
}
