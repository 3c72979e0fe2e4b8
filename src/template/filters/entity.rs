//! Filters that look something up: users, objects, tenants, subscriptions, translations.

use serde_json::Value;

use crate::template::{
    MOST_SUBSCRIPTIONS,
    filters::{Args, Made},
    run::Run,
    value::Val,
};

/// What one look-up costs: it may read the database.
const LOOKUP_STEPS: usize = 100;

fn found<'r>(value: Option<Value>) -> Made<'r> {
    Ok(value.map_or(Val::Nil, Val::from))
}

pub(super) fn user<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    run.spend(LOOKUP_STEPS)?;
    let id = input.text(run.value_limit())?;
    found(run.env.lookup.user(&id))
}

pub(super) fn object<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    run.spend(LOOKUP_STEPS)?;
    let (id, collection) = (input.text(run.value_limit())?, args.at(0).text(run.value_limit())?);
    found(run.env.lookup.object(&collection, &id))
}

pub(super) fn tenant<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    run.spend(LOOKUP_STEPS)?;
    let id = input.text(run.value_limit())?;
    found(run.env.lookup.tenant(&id))
}

pub(super) fn subscriptions<'r>(run: &mut Run<'r>, input: Val<'r>, _: &Args<'r>) -> Made<'r> {
    run.spend(LOOKUP_STEPS)?;
    let user = input.text(run.value_limit())?;
    let all = run.env.lookup.subscriptions(&user);
    Ok(Val::from(all.into_iter().take(MOST_SUBSCRIPTIONS).map(Val::from).collect::<Vec<_>>()))
}

/// The translation of a key with its values filled in; `nil` when there is none (D-TPL-92, D-AMB-23).
pub(super) fn translate<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let key = input.text(run.value_limit())?;
    let text = match run.env.lookup.translation(&key) {
        Some(Value::String(text)) => text,
        Some(Value::Object(forms)) => match plural(&forms, args) {
            Some(text) => text,
            None => return Ok(Val::Nil),
        },
        Some(Value::Array(_) | Value::Null) | None => return Ok(Val::Nil),
        Some(leaf) => return Ok(Val::from(leaf)),
    };
    run.spend(text.len() / 64)?;
    match text.contains("{{") || text.contains("{%") {
        true => Ok(Val::from(run.interpolate(&text, args.named.clone())?)),
        false => Ok(Val::from(text)),
    }
}

/// The form for `count`: `zero` if there is one, `one`, else `other` (D-TPL-93).
fn plural(forms: &serde_json::Map<String, Value>, args: &Args<'_>) -> Option<String> {
    let (_, count) = args.named.iter().find(|(name, _)| *name == "count")?;
    let form = match crate::template::decimal::Number::strictly(count).map(|n| n.float()) {
        Some(0.0) if forms.contains_key("zero") => "zero",
        Some(1.0) => "one",
        _ => "other",
    };
    forms.get(form).and_then(Value::as_str).map(str::to_owned)
}
