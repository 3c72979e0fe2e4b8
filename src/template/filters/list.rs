//! Filters on lists.

use std::{collections::HashSet, rc::Rc};

use crate::template::{
    compare,
    decimal::{Number, Operation},
    filters::{Args, Made},
    run::Run,
    value::{List, Problem, Val},
};

/// The input as a list: `nil` is none, lists in it are opened, all else is one item.
fn list<'r>(run: &mut Run<'r>, input: &Val<'r>) -> Result<Vec<Val<'r>>, Problem> {
    let mut items = Vec::new();
    flatten(run, input, &mut items, true)?;
    Ok(items)
}

fn flatten<'r>(run: &mut Run<'r>, value: &Val<'r>, into: &mut Vec<Val<'r>>, is_top: bool) -> Result<(), Problem> {
    match value {
        Val::Nil if is_top => return Ok(()),
        Val::Array(_) | Val::List(_) | Val::Range(..) => {}
        _ => {
            into.push(value.clone());
            return run.spend(value.weight());
        }
    }
    let Some(items) = value.items() else { return Ok(()) };
    run.spend(items.len())?;
    items.iter().try_for_each(|item| flatten(run, &item, into, false))
}

/// What an item has under `key`: `a.b` reaches further in.
fn property<'r>(item: &Val<'r>, key: &str) -> Val<'r> {
    if let Some(found) = item.member(key) {
        return found;
    }
    let mut parts = key.split('.');
    let first = parts.next().and_then(|part| item.member(part));
    parts.fold(first, |value, part| value.and_then(|value| value.member(part))).unwrap_or(Val::Nil)
}

fn key<'v>(run: &Run<'_>, args: &'v Args<'_>) -> Result<Option<std::borrow::Cow<'v, str>>, Problem> {
    args.given(0).map(|key| key.text(run.value_limit())).transpose()
}

/// Whether an item's property is the wanted value, or, when none is wanted, whether it is truthy.
fn matches(item: &Val<'_>, key: &str, wanted: Option<&Val<'_>>) -> bool {
    // Of a text, what it contains counts as a property (as in Ruby).
    let value = match item.as_str() {
        Some(text) if text.contains(key) => Val::Str(key),
        _ => property(item, key),
    };
    match wanted {
        Some(wanted) => compare::equal(&value, wanted),
        None => value.is_truthy(),
    }
}

fn search<'r>(run: &mut Run<'r>, input: &Val<'r>, args: &Args<'r>) -> Result<Option<(usize, Val<'r>)>, Problem> {
    let key = key(run, args)?.unwrap_or_default();
    let items = list(run, input)?;
    run.spend(items.len().saturating_mul(args.at(1).weight()))?;
    Ok(items.into_iter().enumerate().find(|(_, item)| matches(item, &key, args.given(1))))
}

pub(super) fn find<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    Ok(search(run, &input, args)?.map_or(Val::Nil, |(_, item)| item))
}

pub(super) fn find_index<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    Ok(search(run, &input, args)?.map_or(Val::Nil, |(at, _)| Val::Int(at as i64)))
}

pub(super) fn has<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    Ok(Val::Bool(search(run, &input, args)?.is_some()))
}

fn filtered<'r>(run: &mut Run<'r>, input: &Val<'r>, args: &Args<'r>, wanted: bool) -> Made<'r> {
    let key = key(run, args)?.unwrap_or_default();
    let mut items = list(run, input)?;
    run.spend(items.len().saturating_mul(args.at(1).weight()))?;
    items.retain(|item| matches(item, &key, args.given(1)) == wanted);
    Ok(Val::from(items))
}

/// `where`.
pub(super) fn keep<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    filtered(run, &input, args, true)
}

pub(super) fn reject<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    filtered(run, &input, args, false)
}

pub(super) fn map<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = key(run, args)?.unwrap_or_default();
    let items = list(run, &input)?;
    Ok(Val::from(items.iter().map(|item| property(item, &key)).collect::<Vec<_>>()))
}

pub(super) fn compact<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = key(run, args)?;
    let mut items = list(run, &input)?;
    items.retain(|item| match &key {
        Some(key) => !property(item, key).is_nil(),
        None => !item.is_nil(),
    });
    Ok(Val::from(items))
}

pub(super) fn concat<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    if !matches!(args.at(0), Val::Array(_) | Val::List(_) | Val::Range(..)) {
        return Err("a list is needed to add to a list".into());
    }
    let mut items = list(run, &input)?;
    items.extend(list(run, args.at(0))?);
    Ok(Val::from(items))
}

/// What tells an item from others: its kind and its JSON.
fn identity(run: &mut Run<'_>, item: &Val<'_>) -> Result<String, Problem> {
    let mut text = String::new();
    match item {
        // 1 and 1.0 are equal.
        Val::Float(n) if n.fract() == 0.0 && n.abs() < 1e15 => Val::Int(*n as i64).print_json(&mut text, 64)?,
        _ => item.print_json(&mut text, run.value_limit())?,
    }
    run.spend(text.len() / 64)?;
    Ok(text)
}

pub(super) fn uniq<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = key(run, args)?;
    let mut seen = HashSet::new();
    let mut kept = Vec::new();
    for item in list(run, &input)? {
        let by = key.as_ref().map_or_else(|| item.clone(), |key| property(&item, key));
        if seen.insert(identity(run, &by)?) {
            kept.push(item);
        }
    }
    Ok(Val::from(kept))
}

/// The items that both lists have; it prints as JSON (D-TPL-18, D-AMB-22).
pub(super) fn intersect<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let mut wanted = HashSet::new();
    for item in list(run, args.at(0))? {
        wanted.insert(identity(run, &item)?);
    }
    let mut items = Vec::new();
    for item in list(run, &input)? {
        if wanted.remove(&identity(run, &item)?) {
            items.push(item);
        }
    }
    Ok(Val::List(Rc::new(List { items, prints_json: true })))
}

pub(super) fn sort<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = key(run, args)?;
    let items = list(run, &input)?;
    let by = |item: Val<'r>| (key.as_ref().map_or_else(|| item.clone(), |key| property(&item, key)), item);
    let mut items: Vec<_> = items.into_iter().map(by).collect();
    run.spend(items.iter().map(|(by, _)| by.weight()).sum::<usize>().saturating_mul(8))?;
    items.sort_by(|(a, _), (b, _)| compare::sorting(a, b));
    Ok(Val::from(items.into_iter().map(|(_, item)| item).collect::<Vec<_>>()))
}

/// Sorts without regard to case.
pub(super) fn sort_natural<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = key(run, args)?;
    let mut items = Vec::new();
    for item in list(run, &input)? {
        let by = key.as_ref().map_or_else(|| item.clone(), |key| property(&item, key));
        let text = by.text(run.value_limit())?.to_lowercase();
        run.spend(text.len() / 64)?;
        items.push(((by.is_nil(), text), item));
    }
    items.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(Val::from(items.into_iter().map(|(_, item)| item).collect::<Vec<_>>()))
}

pub(super) fn sum<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = key(run, args)?;
    let items = list(run, &input)?;
    let values = items.iter().map(|item| key.as_ref().map_or_else(|| item.clone(), |key| property(item, key)));
    Ok(values.fold(Number::Int(0), |sum, value| sum.apply(Operation::Plus, Number::of(&value))).into())
}

pub(super) fn reverse<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    let mut items = list(run, &input)?;
    items.reverse();
    Ok(Val::from(items))
}

pub(super) fn join<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let limit = run.value_limit();
    let separator = args.positional.first().map_or(Ok(" ".into()), |separator| separator.text(limit))?;
    let mut out = String::new();
    for (at, item) in list(run, &input)?.iter().enumerate() {
        if at > 0 {
            out.push_str(&separator);
        }
        item.print(&mut out, limit)?;
    }
    Ok(Val::from(out))
}

pub(super) fn first<'r>(_: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(end_of(&input, "first"))
}

pub(super) fn last<'r>(_: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(end_of(&input, "last"))
}

fn end_of<'r>(input: &Val<'r>, end: &str) -> Val<'r> {
    match input {
        Val::Object(_) | Val::Record(_) => input.member(end).unwrap_or(Val::Nil),
        _ => input.at(if end == "first" { 0 } else { -1 }).unwrap_or(Val::Nil),
    }
}

pub(super) fn size<'r>(_: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    Ok(Val::Int(input.size().unwrap_or(0) as i64))
}

/// A part of a text or of a list; a negative start counts from the end.
pub(super) fn slice<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let start = args.whole(0)?.unwrap_or(0);
    let length = usize::try_from(args.whole(1)?.unwrap_or(1)).unwrap_or(0);
    let from = |size: usize| usize::try_from(if start < 0 { start.saturating_add(size as i64) } else { start }).ok();
    if matches!(input, Val::Array(_) | Val::List(_) | Val::Range(..)) {
        let items = list(run, &input)?;
        let part = from(items.len()).map(|from| items.into_iter().skip(from).take(length).collect::<Vec<_>>());
        return Ok(Val::from(part.unwrap_or_default()));
    }
    let text = input.text(run.value_limit())?;
    let part = from(text.chars().count()).map(|from| text.chars().skip(from).take(length).collect::<String>());
    Ok(Val::from(part.unwrap_or_default()))
}

/// The argument where the input is `nil`, `false` or empty.
pub(super) fn default<'r>(_: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let allows_false = args.named.iter().any(|(name, value)| *name == "allow_false" && value.is_truthy());
    let is_missing = match input {
        Val::Bool(false) => !allows_false,
        _ => input.is_nil() || compare::is_empty(&input),
    };
    // Without an argument it is the empty text, as in Ruby.
    Ok(if is_missing { args.positional.first().cloned().unwrap_or(Val::Str("")) } else { input })
}
