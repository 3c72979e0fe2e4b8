//! A length of time as clients spell it: `{"unit": "minutes", "value": 10}`.

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::model::invalid::{Invalid, aside, join};
use crate::model::time::Time;

/// A duration: how many of which unit. Negative ones only make sense as offsets (W-DUR-17).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Duration {
    /// What is counted.
    pub unit: Unit,
    /// How many; whole for months.
    pub value: f64,
}

/// The units of a duration: those of the docs and of the schema together (W-AMB-21).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Seconds.
    Seconds,
    /// Minutes.
    Minutes,
    /// Hours.
    Hours,
    /// Days of exactly 24 hours.
    Days,
    /// Weeks of exactly 168 hours.
    Weeks,
    /// Calendar months in a time zone.
    Months,
}

const UNITS: [(&str, Unit); 6] = [
    ("seconds", Unit::Seconds),
    ("minutes", Unit::Minutes),
    ("hours", Unit::Hours),
    ("days", Unit::Days),
    ("weeks", Unit::Weeks),
    ("months", Unit::Months),
];

const SHAPE: &str = r#"a duration is {"unit": U, "value": N}, where U is seconds, minutes, hours, days, weeks or months and N is a number"#;

impl Unit {
    /// The spelling on the wire.
    pub fn name(self) -> &'static str {
        UNITS[self as usize].0
    }

    /// Reads the spelling on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        UNITS.iter().find(|(known, _)| *known == name).map(|(_, unit)| *unit)
    }

    /// Its length in seconds; a month counts as 30 days, which only limits use.
    pub const fn seconds(self) -> i64 {
        match self {
            Unit::Seconds => 1,
            Unit::Minutes => 60,
            Unit::Hours => 3_600,
            Unit::Days => 86_400,
            Unit::Weeks => 604_800,
            Unit::Months => 2_592_000,
        }
    }
}

impl Duration {
    /// Reads a duration object (W-DUR-01); `path` says where it stands, for the error.
    pub fn parse(value: &Value, path: &str) -> Result<Self, Invalid> {
        let (Some(unit), Some(count)) = (value.get("unit"), value.get("value")) else {
            return Err(Invalid::new(path, SHAPE));
        };
        let unit = unit.as_str().and_then(Unit::parse).ok_or_else(|| unknown_unit(unit, path))?;
        let count = count.as_f64().ok_or_else(|| Invalid::new(join(path, "value"), "must be a number"))?;
        if unit == Unit::Months && count.fract() != 0.0 {
            return Err(Invalid::new(join(path, "value"), "must be a whole number of months"));
        }
        Ok(Duration { unit, value: count })
    }

    /// Reads the short form of command lines: `90s`, `30m`, `1h`, `7d`, `2w`.
    pub fn parse_short(text: &str) -> Result<Self, String> {
        let refuse = || format!("`{text}` is not a duration: write a whole number with s, m, h, d or w, such as 30m");
        let unit = match text.bytes().last() {
            Some(b's') => Unit::Seconds,
            Some(b'm') => Unit::Minutes,
            Some(b'h') => Unit::Hours,
            Some(b'd') => Unit::Days,
            Some(b'w') => Unit::Weeks,
            _ => return Err(refuse()),
        };
        let count: u32 = text[..text.len() - 1].parse().map_err(|_| refuse())?;
        Ok(Duration { unit, value: f64::from(count) })
    }

    /// True when there is something to wait for: plain windows need it (W-DUR-17).
    pub fn is_positive(&self) -> bool {
        self.value > 0.0
    }

    /// True when it is longer than `seconds`, in either direction; a month counts as 30 days.
    pub fn exceeds(&self, seconds: i64) -> bool {
        (self.value * self.unit.seconds() as f64).abs() > seconds as f64
    }

    /// The instant this long after `now`: months are calendar months in `zone`, all else is exact (W-AMB-21). None when
    /// no calendar reaches that far.
    pub fn after(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        match self.unit {
            Unit::Months => self.months_after(now, zone),
            unit => {
                let micros = self.value * (unit.seconds() * 1_000_000) as f64;
                let micros = (micros.abs() < i64::MAX as f64).then_some(micros.round() as i64)?;
                let at = now.micros().checked_add(micros)?;
                Timestamp::from_microsecond(at).ok().map(Time::from)
            }
        }
    }

    fn months_after(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        let months = Span::new().try_months(self.value as i64).ok()?;
        let then = now.timestamp().to_zoned_datetime(zone.clone()).checked_add(months).ok()?;
        Some(then.timestamp().into())
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.unit.name())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let is_whole = self.value.fract() == 0.0 && self.value.abs() < 9e15;
        let value = if is_whole { json!(self.value as i64) } else { json!(self.value) };
        json!({"unit": self.unit.name(), "value": value}).serialize(serializer)
    }
}

fn unknown_unit(unit: &Value, path: &str) -> Invalid {
    let hint = unit.as_str().map(|word| aside(word, UNITS.iter().map(|(name, _)| *name))).unwrap_or_default();
    let allowed = "must be seconds, minutes, hours, days, weeks or months";
    Invalid::new(join(path, "unit"), format!("{unit} is not a unit{hint}: it {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn duration(value: Value) -> Duration {
        Duration::parse(&value, "").unwrap()
    }

    #[test]
    fn all_six_units_are_read_and_written_back() {
        for (name, unit) in UNITS {
            let spelled = json!({"unit": name, "value": 3});
            let read = duration(spelled.clone());
            assert_eq!(read, Duration { unit, value: 3.0 }, "W-DUR-02 {name}");
            assert_eq!(serde_json::to_value(read).unwrap(), spelled, "W-DUR-01 {name}");
        }
    }

    #[test]
    fn another_shape_is_refused_with_what_is_allowed() {
        for (value, expected) in [
            (json!({"duration": "5 minutes"}), "a duration is"),
            (json!("5 minutes"), "a duration is"),
            (json!({"unit": "minutes"}), "a duration is"),
            (json!({"value": 1}), "a duration is"),
            (json!(null), "a duration is"),
            (json!({"unit": "minute", "value": 1}), "did you mean `minutes`?"),
            (json!({"unit": 7, "value": 1}), "7 is not a unit"),
            (json!({"unit": "minutes", "value": "1"}), "must be a number"),
            (json!({"unit": "months", "value": 1.5}), "whole number of months"),
        ] {
            let error = Duration::parse(&value, "settings.delay_for").unwrap_err();
            assert!(error.message.contains(expected), "W-DUR-01 W-DLY-18: {value} gave `{error}`");
            assert!(error.path.starts_with("settings.delay_for"), "{error}");
        }
    }

    #[test]
    fn days_are_exact_and_months_follow_the_calendar_of_the_zone() {
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        let before_spring = at("2026-03-28T11:00:00Z");
        let day = duration(json!({"unit": "days", "value": 1}));
        assert_eq!(day.after(before_spring, &berlin), Some(at("2026-03-29T11:00:00Z")), "W-AMB-21: a day is 24 hours");
        let month = duration(json!({"unit": "months", "value": 1}));
        assert_eq!(month.after(before_spring, &berlin), Some(at("2026-04-28T10:00:00Z")), "W-AMB-21: same wall clock");
        assert_eq!(month.after(at("2026-01-31T12:00:00Z"), &TimeZone::UTC), Some(at("2026-02-28T12:00:00Z")));
        let back = duration(json!({"unit": "months", "value": -1}));
        assert_eq!(back.after(at("2026-03-31T12:00:00Z"), &TimeZone::UTC), Some(at("2026-02-28T12:00:00Z")));
        let half = duration(json!({"unit": "hours", "value": 1.5}));
        assert_eq!(half.after(at("2026-01-01T00:00:00Z"), &TimeZone::UTC), Some(at("2026-01-01T01:30:00Z")));
    }

    #[test]
    fn what_no_calendar_reaches_has_no_end() {
        for (unit, value) in [("weeks", 1e300), ("weeks", 1e9), ("months", 1e17), ("seconds", -1e15)] {
            let long = duration(json!({"unit": unit, "value": value}));
            assert_eq!(long.after(Time::from_micros(0), &TimeZone::UTC), None, "{unit} {value}");
        }
    }

    #[test]
    fn signs_and_limits_can_be_asked_for() {
        let of = |unit, value| Duration { unit, value };
        assert!(!of(Unit::Minutes, 0.0).is_positive(), "W-DUR-17");
        assert!(!of(Unit::Minutes, -5.0).is_positive(), "W-DUR-17");
        assert!(of(Unit::Minutes, 0.5).is_positive(), "W-DUR-17");
        assert!(!of(Unit::Days, 365.0).exceeds(365 * 86_400));
        assert!(of(Unit::Days, 366.0).exceeds(365 * 86_400));
        assert!(of(Unit::Days, -366.0).exceeds(365 * 86_400));
        assert!(!of(Unit::Months, 12.0).exceeds(365 * 86_400), "twelve months are within a year");
        assert!(of(Unit::Months, 13.0).exceeds(365 * 86_400));
    }

    #[test]
    fn command_lines_have_a_short_form() {
        for (text, unit, value) in [
            ("90s", Unit::Seconds, 90.0),
            ("30m", Unit::Minutes, 30.0),
            ("1h", Unit::Hours, 1.0),
            ("7d", Unit::Days, 7.0),
            ("2w", Unit::Weeks, 2.0),
        ] {
            assert_eq!(Duration::parse_short(text), Ok(Duration { unit, value }), "{text}");
        }
        for text in ["", "h", "1", "-1h", "1.5h", "1y", "ü", "1 h"] {
            assert!(Duration::parse_short(text).is_err(), "{text}");
        }
    }
}
