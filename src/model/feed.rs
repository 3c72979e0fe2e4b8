//! A feed: how it is asked for, filtered and counted.

use serde::Serialize;
use serde_json::{Map, Number, Value};

use super::invalid::Invalid;
use super::message::Message;
use super::time::Time;

/// How much of each item is shown (F-FED-21 to F-FED-24).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    #[default]
    Rich,
    Compact,
}

/// Which items by what the reader has done with them (F-FED-09).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Status {
    #[default]
    All,
    Unread,
    Read,
    Unseen,
    Seen,
}

/// Whether archived items belong (F-FED-10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Archived {
    #[default]
    Exclude,
    Include,
    Only,
}

/// The feed's three numbers (F-FED-05).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Counts {
    #[serde(rename = "total_count")]
    pub total: i64,
    #[serde(rename = "unread_count")]
    pub unread: i64,
    #[serde(rename = "unseen_count")]
    pub unseen: i64,
}

/// A feed's row: its version and the counters of what stands in it, beside those of its archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The number by which rows name the feed; zero for a feed that has never held anything.
    pub id: i64,
    pub version: i64,
    /// Resumes from before this version start anew.
    pub forgotten: i64,
    pub active: Counts,
    pub archived: Counts,
}

impl Head {
    /// The counters under a filter that looks at nothing but the archive (F-FED-35 to F-FED-37).
    pub fn counts(&self, archived: Archived, status: Status) -> Counts {
        let counts = match archived {
            Archived::Exclude => self.active,
            Archived::Only => self.archived,
            Archived::Include => Counts {
                total: self.active.total + self.archived.total,
                unread: self.active.unread + self.archived.unread,
                unseen: self.active.unseen + self.archived.unseen,
            },
        };
        counts.narrowed(status)
    }
}

impl Counts {
    /// What they are once `status` narrows the total (F-FED-36).
    pub fn narrowed(self, status: Status) -> Counts {
        let total = match status {
            Status::All => self.total,
            Status::Unread => self.unread,
            Status::Read => self.total - self.unread,
            Status::Unseen => self.unseen,
            Status::Seen => self.total - self.unseen,
        };
        Counts { total, ..self }
    }
}

/// Which tenants' items a token may see (F-GRN-11 to F-GRN-13).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Tenants {
    /// Every item.
    #[default]
    Any,
    /// Items of these tenants, and those without a tenant if so said.
    These { tenants: Vec<String>, with_none: bool },
}

/// Bounds on when an item came to be (F-FED-19), each optional.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Bounds {
    pub gt: Option<Time>,
    pub gte: Option<Time>,
    pub lt: Option<Time>,
    pub lte: Option<Time>,
}

impl Bounds {
    /// Whether `at` is within all bounds given.
    pub fn hold(&self, at: Time) -> bool {
        self.gt.is_none_or(|bound| at > bound)
            && self.gte.is_none_or(|bound| at >= bound)
            && self.lt.is_none_or(|bound| at < bound)
            && self.lte.is_none_or(|bound| at <= bound)
    }
}

/// Which items of a feed are meant (F-FED-09 to F-FED-19).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    pub status: Status,
    pub archived: Archived,
    pub source: Option<String>,
    pub categories: Vec<String>,
    pub tenant: Option<String>,
    pub has_tenant: Option<bool>,
    pub trigger_data: Map<String, Value>,
    pub inserted_at: Bounds,
    /// What the caller's token lets it see.
    pub allowed: Tenants,
}

impl Filter {
    /// Whether nothing but status and archive is filtered, so that the feed's counters answer.
    pub fn is_counted(&self) -> bool {
        self.source.is_none()
            && self.categories.is_empty()
            && self.tenant.is_none()
            && self.has_tenant.is_none()
            && self.trigger_data.is_empty()
            && self.inserted_at == Bounds::default()
            && self.allowed == Tenants::Any
    }

    /// The filter without its status: what the other counts of a badge are of (F-FED-36).
    pub fn widened(&self) -> Filter {
        Filter { status: Status::All, ..self.clone() }
    }

    /// Whether `message` belongs, status included.
    pub fn matches(&self, message: &Message) -> bool {
        self.matches_but_status(message)
            && match self.status {
                Status::All => true,
                Status::Unread => message.read_at.is_none(),
                Status::Read => message.read_at.is_some(),
                Status::Unseen => message.seen_at.is_none(),
                Status::Seen => message.seen_at.is_some(),
            }
    }

    /// Whether `message` belongs to what badges count (F-FED-35, F-FED-36).
    pub fn matches_but_status(&self, message: &Message) -> bool {
        self.matches_archive(message)
            && self.source.as_ref().is_none_or(|source| *source == message.workflow)
            && self.matches_tenant(message.tenant.as_deref())
            && self.inserted_at.hold(message.inserted_at)
            && self.matches_categories(message)
            && self.matches_trigger_data(message)
    }

    fn matches_archive(&self, message: &Message) -> bool {
        match self.archived {
            Archived::Exclude => message.archived_at.is_none(),
            Archived::Include => true,
            Archived::Only => message.archived_at.is_some(),
        }
    }

    /// F-FED-13 to F-FED-15, F-AMB-40, and the token's own limits.
    pub fn matches_tenant(&self, tenant: Option<&str>) -> bool {
        let wanted = match (&self.tenant, self.has_tenant) {
            (_, Some(false)) => tenant.is_none(),
            (Some(wanted), Some(true)) => tenant == Some(wanted),
            (Some(wanted), None) => tenant.is_none() || tenant == Some(wanted),
            (None, Some(true)) => tenant.is_some(),
            (None, None) => true,
        };
        wanted
            && match &self.allowed {
                Tenants::Any => true,
                Tenants::These { tenants, with_none } => {
                    tenant.map_or(*with_none, |tenant| tenants.iter().any(|allowed| allowed == tenant))
                }
            }
    }

    fn matches_categories(&self, message: &Message) -> bool {
        if self.categories.is_empty() {
            return true;
        }
        let has: Vec<String> = serde_json::from_str(&message.categories).unwrap_or_default();
        self.categories.iter().any(|wanted| has.contains(wanted))
    }

    fn matches_trigger_data(&self, message: &Message) -> bool {
        if self.trigger_data.is_empty() {
            return true;
        }
        let data: Map<String, Value> = serde_json::from_str(&message.data).unwrap_or_default();
        self.trigger_data.iter().all(|(name, wanted)| data.get(name).is_some_and(|have| same_scalar(have, wanted)))
    }
}

/// Whether a stored value equals the one asked for, as filters see it: strings cut to 256 characters (F-FED-18).
fn same_scalar(have: &Value, wanted: &Value) -> bool {
    match (have, wanted) {
        (Value::String(have), Value::String(wanted)) => have.chars().take(256).eq(wanted.chars().take(256)),
        (Value::Number(have), Value::Number(wanted)) => same_number(have, wanted),
        (Value::Object(_) | Value::Array(_), _) => false,
        (have, wanted) => have == wanted,
    }
}

/// Whether two numbers are equal, to the last digit: as reals, neighbours beyond 2^53 would be.
fn same_number(have: &Number, wanted: &Number) -> bool {
    let is = |whole: i64, real: f64| real.fract() == 0.0 && real as i128 == i128::from(whole);
    match (have.as_i64(), wanted.as_i64()) {
        (Some(have), Some(wanted)) => have == wanted,
        (Some(whole), None) => wanted.as_f64().is_some_and(|real| is(whole, real)),
        (None, Some(whole)) => have.as_f64().is_some_and(|real| is(whole, real)),
        (None, None) => have.as_f64() == wanted.as_f64(),
    }
}

/// Pairs that a `trigger_data` filter compares at most: each is a question of its own to every item.
const MOST_PAIRS: usize = 32;

/// Checks a `trigger_data` filter: a flat object of scalars (F-FED-16, F-FED-17).
pub fn trigger_data_filter(value: Value) -> Result<Map<String, Value>, Invalid> {
    match value {
        Value::Object(map) if map.len() > MOST_PAIRS => {
            Err(Invalid::new("trigger_data", format!("trigger_data compares at most {MOST_PAIRS} values")))
        }
        Value::Object(map) if map.values().all(|value| !value.is_object() && !value.is_array()) => Ok(map),
        Value::Object(_) => {
            Err(Invalid::new("trigger_data", "trigger_data compares top-level scalars only: no lists, no objects"))
        }
        _ => Err(Invalid::new("trigger_data", "trigger_data must be a JSON object")),
    }
}

/// Where filter values come from: the query of a request, or the options of a join.
pub trait Options {
    /// The scalar called `name`, as text; empty means unset.
    fn text(&self, name: &str) -> Option<String>;
    /// The list called `name`.
    fn list(&self, name: &str) -> Vec<String>;
    /// The trigger data to compare, parsed.
    fn trigger_data(&self) -> Result<Option<Value>, Invalid>;
}

impl Filter {
    /// Reads a filter (F-FED-09 to F-FED-19, F-SOC-10). Enum words are taken in any case: one mobile client shouts.
    pub fn from_options(options: &impl Options) -> Result<Filter, Invalid> {
        Ok(Filter {
            status: word(
                options,
                "status",
                &[
                    ("all", Status::All),
                    ("unread", Status::Unread),
                    ("read", Status::Read),
                    ("unseen", Status::Unseen),
                    ("seen", Status::Seen),
                ],
            )?,
            archived: word(
                options,
                "archived",
                &[("exclude", Archived::Exclude), ("include", Archived::Include), ("only", Archived::Only)],
            )?,
            source: options.text("source"),
            categories: options.list("workflow_categories"),
            tenant: options.text("tenant"),
            has_tenant: boolean(options, "has_tenant")?,
            trigger_data: options.trigger_data()?.map_or(Ok(Map::new()), trigger_data_filter)?,
            inserted_at: Bounds {
                gt: time(options, "inserted_at.gt")?,
                gte: time(options, "inserted_at.gte")?,
                lt: time(options, "inserted_at.lt")?,
                lte: time(options, "inserted_at.lte")?,
            },
            allowed: Tenants::Any,
        })
    }
}

/// Reads `mode`; `unset` stands for an absent one.
pub fn mode(options: &impl Options, unset: Mode) -> Result<Mode, Invalid> {
    match options.text("mode") {
        None => Ok(unset),
        Some(_) => word(options, "mode", &[("rich", Mode::Rich), ("compact", Mode::Compact)]),
    }
}

fn word<T: Copy + Default>(options: &impl Options, name: &str, words: &[(&str, T)]) -> Result<T, Invalid> {
    let Some(text) = options.text(name) else { return Ok(T::default()) };
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let allowed: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        Invalid::new(name, format!("{name} must be one of {}", allowed.join(", ")))
    })
}

fn boolean(options: &impl Options, name: &str) -> Result<Option<bool>, Invalid> {
    match options.text(name).as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(_) => Err(Invalid::new(name, format!("{name} must be true or false"))),
    }
}

fn time(options: &impl Options, name: &str) -> Result<Option<Time>, Invalid> {
    let Some(text) = options.text(name) else { return Ok(None) };
    Time::parse(&text).map(Some).ok_or_else(|| Invalid::new(name, format!("{name} must be an ISO-8601 time")))
}

/// The options of a join: a JSON object in which nulls and empty strings mean unset.
impl Options for Map<String, Value> {
    fn text(&self, name: &str) -> Option<String> {
        let value = self.get(name).or_else(|| {
            let (outer, inner) = name.split_once('.')?;
            self.get(outer)?.get(inner)
        })?;
        match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            _ => None,
        }
    }

    fn list(&self, name: &str) -> Vec<String> {
        match self.get(name) {
            Some(Value::Array(items)) => items.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Some(Value::String(one)) if !one.is_empty() => vec![one.clone()],
            _ => Vec::new(),
        }
    }

    fn trigger_data(&self) -> Result<Option<Value>, Invalid> {
        match self.get("trigger_data") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => serde_json::from_str(text)
                .map(Some)
                .map_err(|_| Invalid::new("trigger_data", "trigger_data must be a JSON object")),
            Some(value) => Ok(Some(value.clone())),
        }
    }
}
