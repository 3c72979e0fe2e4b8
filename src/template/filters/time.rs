//! Filters on times.

use crate::template::{
    filters::{Args, Made},
    instant::Instant,
    locale::{Length, Locale},
    run::Run,
    value::{Problem, Val},
};

/// The same instant in the zone that an argument names; without a name as it is.
fn zoned(instant: Instant, zone: &Val<'_>) -> Result<Instant, Problem> {
    match zone.as_str() {
        None | Some("") => Ok(instant),
        Some(name) => instant.in_zone(name).ok_or_else(|| format!("there is no time zone `{name}`").into()),
    }
}

/// A time by a strftime pattern, in a zone if one is named (D-TPL-12); what is no time stays (D-AMB-22).
pub(super) fn date<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let pattern = args.at(0).text(run.value_limit())?;
    if pattern.is_empty() {
        return Ok(input);
    }
    let Some(instant) = Instant::read(&input, run.env.now) else { return Ok(input) };
    run.spend(pattern.len() / 64)?;
    let instant = zoned(instant, args.at(1))?;
    let mut out = String::with_capacity(pattern.len() + 16);
    // No directive prints more than 64 bytes for each of its own.
    if pattern.len() > run.value_limit() / 64 {
        return Err("the pattern is too long".into());
    }
    instant.print(&pattern, &mut out);
    Ok(Val::from(out))
}

/// A time in a zone, as ISO 8601 (D-TPL-11).
pub(super) fn timezone<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    if args.at(0).as_str().is_none_or(str::is_empty) {
        return Ok(input);
    }
    let Some(instant) = Instant::read(&input, run.env.now) else { return Ok(input) };
    Ok(Val::from(zoned(instant, args.at(0))?.iso()))
}

fn length(args: &Args<'_>, at: usize) -> Result<Length, Problem> {
    let Some(name) = args.given(at) else { return Ok(Length::Short) };
    let name = name.as_str().unwrap_or_default();
    Length::of(name).ok_or_else(|| format!("`{name}` is none of short, medium, long, full").into())
}

fn locale(args: &Args<'_>) -> Locale {
    Locale::of(args.at(0).as_str().filter(|tag| !tag.is_empty()).unwrap_or("en"))
}

/// A date as a language writes it (D-TPL-13).
pub(super) fn format_date_in_locale<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let length = length(args, 1)?;
    let Some(instant) = Instant::read(&input, run.env.now) else { return Ok(input) };
    Ok(Val::from(locale(args).date(&instant, length)))
}

/// A date and a time as a language writes them (D-TPL-14).
pub(super) fn format_datetime_in_locale<'r>(run: &mut Run<'r>, input: Val<'r>, args: &Args<'r>) -> Made<'r> {
    let (date, time) = (length(args, 1)?, length(args, 2)?);
    let Some(instant) = Instant::read(&input, run.env.now) else { return Ok(input) };
    Ok(Val::from(locale(args).datetime(&instant, date, time)))
}
