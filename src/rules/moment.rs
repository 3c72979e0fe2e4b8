//! When something ends that a step begins: after a fixed time, when the value at a path says, or so long around that.

use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::window::Window;
use crate::model::invalid::{Invalid, join};
use crate::model::scope::Scope;
use crate::model::time::Time;
use crate::wire::duration::Duration;

/// The roots that a path may begin with (W-DUR-04, W-DLY-05).
pub const ROOTS: [&str; 5] = ["data", "recipient", "actor", "tenant", "vars"];

/// How far off the end may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Longest {
    pub seconds: i64,
    /// As people say it.
    pub name: &'static str,
}

/// When something ends.
#[derive(Debug, Clone, PartialEq)]
pub enum Moment {
    /// A fixed time after it begins (W-DUR-07).
    After(Duration),
    /// When the timestamp, the duration or the window rule at a path says (W-DUR-05).
    At(String),
    /// So long after the timestamp at a path, or before it when negative.
    Around(String, Duration),
}

impl Moment {
    /// Reads a duration and a path under their two names in `settings`, which stand at `path`; nulls mean unset. None if
    /// neither is set.
    pub fn parse(
        settings: &Map<String, Value>,
        path: &str,
        [duration, field]: [&str; 2],
        longest: Longest,
    ) -> Result<Option<Self>, Vec<Invalid>> {
        let set = |key: &str| settings.get(key).filter(|value| !value.is_null());
        let duration = set(duration).map(|value| parse_duration(value, &join(path, duration), longest));
        let field = set(field).map(|value| parse_field(value, &join(path, field)));
        match (duration.transpose(), field.transpose()) {
            (Ok(None), Ok(None)) => Ok(None),
            (Ok(Some(duration)), Ok(None)) => Ok(Some(Moment::After(duration))),
            (Ok(None), Ok(Some(field))) => Ok(Some(Moment::At(field))),
            (Ok(Some(duration)), Ok(Some(field))) => Ok(Some(Moment::Around(field, duration))),
            (duration, field) => Err(duration.err().into_iter().chain(field.err()).collect()),
        }
    }

    /// The instant itself, which lies ahead of `now` and no farther than may be; or why there is none (W-DUR-06).
    pub fn resolve(&self, scope: &Scope<'_>, now: Time, zone: &TimeZone, longest: Longest) -> Result<Time, String> {
        match self {
            Moment::After(duration) => Window::For(*duration).closes_at(now, zone),
            Moment::At(field) => at(field, scope, now, zone, longest),
            Moment::Around(field, offset) => around(field, offset, scope, now, zone, longest),
        }
    }
}

fn at(field: &str, scope: &Scope<'_>, now: Time, zone: &TimeZone, longest: Longest) -> Result<Time, String> {
    let at_field = |reason: String| format!("`{field}`: {reason}");
    let window = Window::parse(value_at(field, scope)?).map_err(at_field)?;
    let end = window.closes_at(now, zone).map_err(at_field)?;
    // Twelve calendar months may be 366 days, and are still a year.
    let is_too_long = match window {
        Window::For(duration) => duration.exceeds(longest.seconds),
        _ => end > now.plus_seconds(longest.seconds),
    };
    if is_too_long { Err(at_field(too_long(end, longest))) } else { Ok(end) }
}

/// The timestamp itself may be past: what counts is the computed time (W-DLY-09).
fn around(
    field: &str,
    offset: &Duration,
    scope: &Scope<'_>,
    now: Time,
    zone: &TimeZone,
    longest: Longest,
) -> Result<Time, String> {
    let base = match Window::parse(value_at(field, scope)?) {
        Ok(Window::At(base)) => base,
        Ok(_) => return Err(format!("`{field}`: an offset needs an ISO-8601 timestamp to count from")),
        Err(reason) => return Err(format!("`{field}`: {reason}")),
    };
    let end = offset.after(base, zone).ok_or_else(|| format!("`{field}` and {offset} are out of any calendar"))?;
    if end <= now {
        return Err(format!("`{field}` and {offset} give {end}, which is not in the future"));
    }
    if end > now.plus_seconds(longest.seconds) {
        Err(format!("`{field}`: {}", too_long(end, longest)))
    } else {
        Ok(end)
    }
}

fn value_at<'a>(field: &str, scope: &Scope<'a>) -> Result<&'a Value, String> {
    scope.path(field).ok_or_else(|| format!("`{field}` is not set"))
}

fn too_long(end: Time, longest: Longest) -> String {
    format!("{end} is more than {} away", longest.name)
}

fn parse_duration(value: &Value, path: &str, longest: Longest) -> Result<Duration, Invalid> {
    let duration = Duration::parse(value, path)?;
    if duration.exceeds(longest.seconds) {
        return Err(Invalid::new(path, format!("{duration} is too long: at most {} are allowed", longest.name)));
    }
    Ok(duration)
}

fn parse_field(value: &Value, path: &str) -> Result<String, Invalid> {
    let refuse = || Invalid::new(path, "must be a path that begins with data., recipient., actor., tenant. or vars.");
    let field = value.as_str().map(str::trim).ok_or_else(refuse)?;
    match field.split_once('.') {
        Some((root, rest)) if ROOTS.contains(&root) && !rest.is_empty() => Ok(field.to_owned()),
        _ => Err(refuse()),
    }
}
