//! The two sides of a condition: how they are written, what they resolve to.

use std::borrow::Cow;

use serde_json::Value;

use super::condition::{Allow, Context};
use crate::model::scope::{Scope, descend};
use crate::model::time::Time;
use crate::template::Template;

const PREFIXES: [&str; 7] = ["data", "recipient", "actor", "tenant", "vars", "workflow", "run"];
const REFS: &str = "refs";
const EVENT: &str = "event";
/// Relative times are at least this far from now (W-CND-45).
pub(crate) const LEAST_RELATIVE_SECONDS: i64 = 15 * 60;

/// The prefixes a path may have.
pub(crate) fn prefixes(allow: Allow) -> impl Iterator<Item = &'static str> + Clone {
    let refs = allow.message_status.then_some(REFS);
    PREFIXES.into_iter().chain(refs).chain(allow.event.then_some(EVENT))
}

/// A path into the scope, split at its root.
#[derive(Debug, Clone)]
pub(crate) struct Path {
    root: Box<str>,
    rest: Option<Box<str>>,
}

impl Path {
    /// Reads `<known prefix>.<path>`, or a known prefix alone; None for any other text. Those that start with `refs`
    /// are known here whether allowed or not, so that they can be refused by name.
    pub(crate) fn parse(text: &str, allow: Allow) -> Option<Self> {
        let (root, rest) = match text.split_once('.') {
            Some((root, rest)) => (root, Some(rest)),
            None => (text, None),
        };
        let is_known = root == REFS || prefixes(allow).any(|prefix| prefix == root);
        let is_path = is_known && rest != Some("");
        is_path.then(|| Path { root: root.into(), rest: rest.map(Into::into) })
    }

    pub(crate) fn has_rest(&self) -> bool {
        self.rest.is_some()
    }

    /// The path below `refs`.
    pub(crate) fn below_refs(&self) -> Option<&str> {
        (&*self.root == REFS).then(|| self.rest.as_deref().unwrap_or_default())
    }

    pub(crate) fn resolve<'a>(&self, scope: &Scope<'a>) -> Option<&'a Value> {
        let root = scope.root(&self.root)?;
        self.rest.as_deref().map_or(Some(root), |rest| descend(root, rest))
    }
}

/// One side as written.
#[derive(Debug, Clone)]
pub(crate) enum Operand {
    /// Nothing is needed here.
    Absent,
    /// A value; `raw` is its text if it was decoded from one (W-AMB-43), `at` the instant it names if one is needed.
    Literal { value: Value, raw: Option<Box<str>>, at: Option<Time> },
    /// So many seconds from now (W-CND-44).
    Relative(i64),
    /// Resolved from the scope (W-CND-17).
    Path(Path),
    /// Rendered at evaluation (W-CND-20).
    Liquid(Template),
    /// The two ends of a range.
    Pair(Box<[Operand; 2]>),
}

/// One side as resolved.
#[derive(Debug, Default)]
pub(crate) struct Side<'a> {
    /// None if not set.
    pub(crate) value: Option<Cow<'a, Value>>,
    /// The text a static value was decoded from.
    pub(crate) raw: Option<Cow<'a, str>>,
    /// The instant, where it is known already.
    pub(crate) at: Option<Time>,
}

impl Operand {
    /// Reads text that stands for a value: JSON if it is JSON, else itself (W-CND-15).
    pub(crate) fn decode(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(value) => Operand::Literal { value, raw: Some(text.into()), at: None },
            Err(_) => Operand::Literal { value: text.into(), raw: None, at: None },
        }
    }

    pub(crate) fn literal(value: Value) -> Self {
        Operand::Literal { value, raw: None, at: None }
    }

    pub(crate) fn resolve<'a>(&'a self, context: &Context<'a>) -> Side<'a> {
        match self {
            Operand::Absent | Operand::Pair(_) => Side::default(),
            Operand::Literal { value, raw, at } => {
                Side { value: Some(Cow::Borrowed(value)), raw: raw.as_deref().map(Cow::Borrowed), at: *at }
            }
            Operand::Relative(seconds) => {
                let at = context.now.plus_seconds(*seconds);
                Side { value: Some(Cow::Owned(at.to_string().into())), raw: None, at: Some(at) }
            }
            Operand::Path(path) => Side::of(path.resolve(context.scope)),
            Operand::Liquid(template) => (context.liquid)(template).map(Side::rendered).unwrap_or_default(),
        }
    }

    /// The two ends of a range, if it has two.
    pub(crate) fn resolve_pair<'a>(&'a self, side: &'a Side<'a>, context: &Context<'a>) -> Option<[Side<'a>; 2]> {
        if let Operand::Pair(ends) = self {
            return Some([ends[0].resolve(context), ends[1].resolve(context)]);
        }
        match side.value.as_deref()?.as_array()?.as_slice() {
            [low, high] => Some([Side::of(Some(low)), Side::of(Some(high))]),
            _ => None,
        }
    }

    /// Its paths.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        let operands = match self {
            Operand::Pair(ends) => ends.as_slice(),
            one => std::slice::from_ref(one),
        };
        operands.iter().filter_map(|operand| match operand {
            Operand::Path(path) => Some(path),
            _ => None,
        })
    }
}

impl<'a> Side<'a> {
    fn of(value: Option<&'a Value>) -> Self {
        Side { value: value.map(Cow::Borrowed), raw: None, at: None }
    }

    fn rendered(text: String) -> Self {
        match serde_json::from_str(&text) {
            Ok(value) => Side { value: Some(Cow::Owned(value)), raw: Some(Cow::Owned(text)), at: None },
            Err(_) => Side { value: Some(Cow::Owned(text.into())), raw: None, at: None },
        }
    }

    pub(crate) fn as_str(&self) -> Option<&str> {
        self.value.as_deref().and_then(Value::as_str)
    }
}

/// True if the text is Liquid.
pub(crate) fn is_liquid(text: &str) -> bool {
    text.contains("{{") || text.contains("{%")
}

/// Reads `<n>_<unit>_ago` or `<n>_<unit>_from_now` as seconds from now (W-AMB-47).
pub(crate) fn relative(text: &str) -> Option<i64> {
    let (amount, sign) = match (text.strip_suffix("_ago"), text.strip_suffix("_from_now")) {
        (Some(amount), _) => (amount, -1),
        (_, Some(amount)) => (amount, 1),
        _ => return None,
    };
    let (count, unit) = amount.split_once('_')?;
    let unit = match unit {
        "minute" | "minutes" => 60,
        "hour" | "hours" => 3_600,
        "day" | "days" => 86_400,
        "week" | "weeks" => 604_800,
        _ => return None,
    };
    let is_count = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
    is_count.then(|| count.parse::<i64>().unwrap_or(i64::MAX).saturating_mul(unit) * sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_tokens_are_counted_in_seconds() {
        for (text, expected) in [
            ("30_days_ago", Some(-30 * 86_400)),
            ("1_day_from_now", Some(86_400)),
            ("15_minutes_from_now", Some(900)),
            ("1_minute_ago", Some(-60)),
            ("2_hours_ago", Some(-7_200)),
            ("1_week_from_now", Some(604_800)),
            ("99999999999999999999_weeks_ago", Some(-i64::MAX)),
            ("30_months_ago", None),
            ("30_seconds_ago", None),
            ("-30_days_ago", None),
            ("+30_days_ago", None),
            ("_days_ago", None),
            ("days_ago", None),
            ("30_days", None),
            ("long_ago", None),
        ] {
            assert_eq!(relative(text), expected, "W-CND-44 W-AMB-47: {text}");
        }
    }

    #[test]
    fn a_path_needs_a_known_prefix() {
        let step = Allow { message_status: true, event: false };
        for text in
            ["data.a", "recipient.a.b.0", "actor.x", "tenant.x", "vars.x", "workflow.key", "run.total_activities"]
        {
            assert!(Path::parse(text, step).is_some(), "W-CND-10 {text}");
        }
        assert!(Path::parse("event.data.x", step).is_none(), "W-CND-10");
        assert!(Path::parse("event.data.x", Allow { event: true, ..step }).is_some(), "W-CND-10");
        for text in ["dato.a", "a", "", ".", "data.", "data science", "database.x"] {
            assert!(Path::parse(text, step).is_none(), "{text}");
        }
    }
}
