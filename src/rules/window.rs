//! When a window closes: at an instant, after a duration, or at the next moment a rule names.

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use serde_json::{Map, Value};

use crate::model::invalid::{Invalid, aside, join};
use crate::model::time::Time;
use crate::wire::duration::Duration;

/// A window whose value has been read (W-DUR-05).
#[derive(Debug, Clone, PartialEq)]
pub enum Window {
    /// Closes at this instant, which must lie ahead.
    At(Time),
    /// Closes this long after the step executes (W-DUR-07).
    For(Duration),
    /// Closes at the rule's next occurrence.
    Rule(WindowRule),
}

/// Resolves the value of a dynamic window to the instant at which it closes, or says why it cannot be used (W-DUR-06).
pub fn resolve(value: &Value, now: Time, zone: &TimeZone) -> Result<Time, String> {
    Window::parse(value)?.closes_at(now, zone)
}

/// The time zone of a recipient: its own, else the account's default, else UTC (W-SCP-26). Unknown names are passed over.
pub fn zone(name: Option<&str>, default: Option<&str>) -> TimeZone {
    let known = |name: Option<&str>| name.and_then(|name| TimeZone::get(name.trim()).ok());
    known(name).or_else(|| known(default)).or_else(|| known(Some("Etc/UTC"))).unwrap_or(TimeZone::UTC)
}

impl Window {
    /// Reads an ISO-8601 timestamp, a duration or a window rule.
    pub fn parse(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => match Time::parse(text) {
                Some(at) => Ok(Window::At(at)),
                None => Err(format!("`{}` is not an ISO-8601 timestamp", text.chars().take(64).collect::<String>())),
            },
            Value::Object(map) if map.contains_key("frequency") => {
                WindowRule::parse(value, "").map(Window::Rule).map_err(|errors| sentence(&errors))
            }
            Value::Object(map) if map.contains_key("unit") || map.contains_key("value") => {
                Duration::parse(value, "").map(Window::For).map_err(|error| error.to_string())
            }
            _ => Err("must be an ISO-8601 timestamp, a duration or a window rule".to_owned()),
        }
    }

    /// The instant at which a window that opens at `now` closes; it must lie ahead.
    pub fn closes_at(&self, now: Time, zone: &TimeZone) -> Result<Time, String> {
        match self {
            Window::At(at) if *at > now => Ok(*at),
            Window::At(at) => Err(format!("{at} is not in the future")),
            Window::For(duration) if !duration.is_positive() => Err(format!("{duration} is not a positive duration")),
            Window::For(duration) => duration
                .after(now, zone)
                .filter(|at| *at > now)
                .ok_or_else(|| format!("{duration} cannot be waited for")),
            Window::Rule(rule) => rule.next_after(now, zone).ok_or_else(|| "the window rule never occurs".to_owned()),
        }
    }
}

fn sentence(errors: &[Invalid]) -> String {
    errors.iter().map(Invalid::to_string).collect::<Vec<_>>().join("; ")
}

/// A rule of the kind "every Monday at 09:00", in the recipient's time zone (W-DUR-08).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowRule {
    /// How often it occurs.
    pub frequency: Frequency,
    /// How many periods lie between two occurrences; 1 unless given.
    pub interval: i64,
    /// The weekdays on which it may occur, if limited.
    pub days: Option<Days>,
    /// The hour of the day.
    pub hours: i8,
    /// The minute of the hour, a multiple of five.
    pub minutes: i8,
    /// The day of the month, clamped to the month's length.
    pub day_of_month: Option<i8>,
}

/// How often a rule occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frequency {
    /// Once an hour.
    Hourly,
    /// Once a day.
    Daily,
    /// On weekdays of a week.
    Weekly,
    /// Once a month.
    Monthly,
}

impl Frequency {
    /// The frequency's name on the wire.
    pub fn name(self) -> &'static str {
        FREQUENCIES.iter().find(|(_, frequency)| *frequency == self).map_or("", |(name, _)| name)
    }
}

/// A set of weekdays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days(u8);

const FREQUENCIES: [(&str, Frequency); 4] = [
    ("hourly", Frequency::Hourly),
    ("daily", Frequency::Daily),
    ("weekly", Frequency::Weekly),
    ("monthly", Frequency::Monthly),
];
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const RULE_KEYS: [&str; 6] = ["frequency", "interval", "days", "hours", "minutes", "day_of_month"];

impl Days {
    /// Monday to Friday.
    pub const WEEKDAYS: Days = Days(0b001_1111);
    /// Saturday and Sunday.
    pub const WEEKENDS: Days = Days(0b110_0000);

    /// The set with one day.
    pub fn only(day: Weekday) -> Self {
        Days(1 << day.to_monday_zero_offset())
    }

    /// True if `day` is in the set.
    pub fn contains(self, day: Weekday) -> bool {
        self.0 & Days::only(day).0 != 0
    }

    /// The names of its days, Monday first.
    pub fn names(self) -> Vec<&'static str> {
        DAYS.iter().enumerate().filter(|(at, _)| self.0 & (1 << at) != 0).map(|(_, name)| *name).collect()
    }

    fn parse(value: &Value) -> Result<Self, String> {
        let allowed = "must be a list of mon, tue, wed, thu, fri, sat and sun, or \"weekdays\" or \"weekends\"";
        match value {
            Value::String(word) if word == "weekdays" => Ok(Days::WEEKDAYS),
            Value::String(word) if word == "weekends" => Ok(Days::WEEKENDS),
            Value::Array(names) if !names.is_empty() => {
                let bit = |name: &Value| DAYS.iter().position(|day| name == day).map(|at| 1u8 << at);
                let bits = names.iter().try_fold(0, |bits, name| Some(bits | bit(name)?));
                bits.map(Days).ok_or_else(|| allowed.to_owned())
            }
            _ => Err(allowed.to_owned()),
        }
    }
}

impl WindowRule {
    /// Reads a window rule; nulls mean unset. `path` says where it stands, for the errors.
    pub fn parse(value: &Value, path: &str) -> Result<Self, Vec<Invalid>> {
        let Value::Object(map) = value else {
            return Err(vec![Invalid::new(path, "a rule is an object with `frequency`")]);
        };
        let mut reader = Reader { map, path, errors: Vec::new() };
        reader.refuse_unknown_keys();
        let rule = WindowRule {
            frequency: reader.frequency(),
            interval: reader.integer("interval", 1, 1_000).unwrap_or(1),
            days: reader.days(),
            hours: reader.integer("hours", 0, 23).unwrap_or(0) as i8,
            minutes: reader.minutes(),
            day_of_month: reader.integer("day_of_month", 1, 31).map(|day| day as i8),
        };
        if reader.errors.is_empty() { Ok(rule) } else { Err(reader.errors) }
    }

    /// The next occurrence strictly after `now` on the clocks of `zone` (W-DUR-09, W-AMB-22). An interval of n passes over
    /// the first n - 1 periods, so that "2 weeks until the next Friday" lies in the week after the coming one.
    pub fn next_after(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        let skipped = self.interval.saturating_sub(1);
        let span = Span::new();
        let span = match self.frequency {
            Frequency::Hourly => span.try_hours(skipped),
            Frequency::Daily => span.try_days(skipped),
            Frequency::Weekly => span.try_weeks(skipped),
            Frequency::Monthly => span.try_months(skipped),
        };
        let from = now.timestamp().to_zoned_datetime(zone.clone()).checked_add(span.ok()?).ok()?.timestamp();
        match self.frequency {
            Frequency::Hourly => self.next_hour(from, zone),
            _ => self.next_date(from, zone),
        }
        .map(Time::from)
    }

    /// The next instant whose local minute is ours. It walks minute by minute only across a change of the offset, as
    /// some zones change by half an hour.
    fn next_hour(&self, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let mut at = floor_to_minute(from, zone)?;
        // A week of hours holds every weekday; one day more for whatever a change of the offset swallows.
        for _ in 0..8 * 24 {
            at = self.minute_after(at, zone)?;
            let is_allowed = self.days.is_none_or(|days| days.contains(zone.to_datetime(at).weekday()));
            if is_allowed && at > from {
                return Some(at);
            }
        }
        None
    }

    /// The next instant after `at` whose local minute is ours.
    pub(super) fn minute_after(&self, at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let ahead = i64::from(self.minutes - zone.to_datetime(at).minute()).rem_euclid(60);
        let guess = plus_minutes(at, if ahead == 0 { 60 } else { ahead })?;
        if zone.to_offset(guess) == zone.to_offset(at) {
            return Some(guess);
        }
        (1..=180)
            .filter_map(|minutes| plus_minutes(at, minutes))
            .find(|t| zone.to_datetime(*t).minute() == self.minutes)
    }

    /// Walks the local dates; it begins with yesterday, as a gap can carry yesterday's occurrence into today.
    fn next_date(&self, from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let today = zone.to_datetime(from).date();
        let mut date = today.yesterday().unwrap_or(today);
        // 500 days hold every first of a month that is a given weekday; all other rules occur sooner.
        for _ in 0..500 {
            if self.falls_on(date, today) {
                let at = zone.to_timestamp(date.at(self.hours, self.minutes, 0, 0)).ok()?;
                if at > from {
                    return Some(at);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn falls_on(&self, date: Date, today: Date) -> bool {
        let listed = |days: Days| days.contains(date.weekday());
        match (self.frequency, self.days) {
            (Frequency::Weekly, days) => listed(days.unwrap_or(Days::only(today.weekday()))),
            (Frequency::Monthly, days) => {
                let day = self.day_of_month.unwrap_or(1).min(date.days_in_month());
                date.day() == day && (self.day_of_month.is_some() || days.is_none_or(listed))
            }
            (_, days) => days.is_none_or(listed),
        }
    }
}

pub(super) fn plus_minutes(at: Timestamp, minutes: i64) -> Option<Timestamp> {
    at.checked_add(Span::new().minutes(minutes)).ok()
}

/// Local clocks may differ from UTC by odd seconds (before 1972), so that the local second is what is taken away.
pub(super) fn floor_to_minute(at: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let local = zone.to_datetime(at);
    let below = Span::new().seconds(i64::from(local.second())).nanoseconds(i64::from(local.subsec_nanosecond()));
    at.checked_sub(below).ok()
}

/// Reads the members of a rule and collects what is wrong with them.
struct Reader<'a> {
    map: &'a Map<String, Value>,
    path: &'a str,
    errors: Vec<Invalid>,
}

impl<'a> Reader<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    fn refuse(&mut self, key: &str, message: impl Into<String>) {
        self.errors.push(Invalid::new(join(self.path, key), message));
    }

    fn refuse_unknown_keys(&mut self) {
        let map = self.map;
        for key in map.keys().filter(|key| !RULE_KEYS.contains(&key.as_str()) && !key.starts_with("__")) {
            let hint = aside(key, RULE_KEYS);
            self.refuse(key, format!("is not a member of a rule{hint}"));
        }
    }

    fn frequency(&mut self) -> Frequency {
        let word = self.get("frequency").and_then(Value::as_str).unwrap_or_default();
        let found = FREQUENCIES.iter().find(|(name, _)| *name == word).map(|(_, frequency)| *frequency);
        if found.is_none() {
            self.refuse("frequency", "must be hourly, daily, weekly or monthly");
        }
        found.unwrap_or(Frequency::Daily)
    }

    fn integer(&mut self, key: &str, least: i64, most: i64) -> Option<i64> {
        let value = self.get(key)?;
        let found = value.as_i64().filter(|n| (least..=most).contains(n));
        if found.is_none() {
            self.refuse(key, format!("must be a whole number from {least} to {most}"));
        }
        found
    }

    fn minutes(&mut self) -> i8 {
        let minutes = self.integer("minutes", 0, 55).unwrap_or(0);
        if minutes % 5 != 0 {
            self.refuse("minutes", "must be a multiple of 5");
        }
        minutes as i8
    }

    fn days(&mut self) -> Option<Days> {
        match Days::parse(self.get("days")?) {
            Ok(days) => Some(days),
            Err(message) => {
                self.refuse("days", message);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn tz(name: &str) -> TimeZone {
        TimeZone::get(name).unwrap()
    }

    fn next(rule: Value, now: &str, zone: &str) -> String {
        let found = resolve(&rule, at(now), &tz(zone)).unwrap();
        tz(zone).to_datetime(found.timestamp()).to_string()
    }

    #[test]
    fn a_dynamic_value_is_a_timestamp_a_duration_or_a_rule() {
        let now = at("2026-08-21T10:00:00Z");
        for (value, expected) in [
            (json!("2026-08-21T12:00:00Z"), "2026-08-21T12:00:00Z"),
            (json!("2026-08-21T12:00:00+02:00"), ""),
            (json!("2026-08-21T13:00:00+02:00"), "2026-08-21T11:00:00Z"),
            (json!({"unit": "hours", "value": 2}), "2026-08-21T12:00:00Z"),
            (json!({"frequency": "daily", "hours": 9}), "2026-08-22T09:00:00Z"),
        ] {
            let found = resolve(&value, now, &TimeZone::UTC).ok();
            assert_eq!(found, Time::parse(expected), "W-DUR-05 W-DUR-07 W-DUR-16: {value}");
        }
    }

    #[test]
    fn a_timestamp_without_offset_is_utc_and_a_date_is_its_midnight() {
        let now = at("2026-08-21T10:00:00Z");
        let found = resolve(&json!("2026-08-21T12:00:00"), now, &tz("Asia/Tokyo"));
        assert_eq!(found, Ok(at("2026-08-21T12:00:00Z")), "W-DUR-16 W-AMB-23");
        let found = resolve(&json!("2026-08-22"), now, &tz("Asia/Tokyo"));
        assert_eq!(found, Ok(at("2026-08-22T00:00:00Z")), "W-AMB-23");
    }

    #[test]
    fn what_is_no_window_says_why() {
        let now = at("2026-08-21T10:00:00Z");
        for (value, expected) in [
            (json!("soon"), "not an ISO-8601 timestamp"),
            (json!("2026-08-21T10:00:00Z"), "not in the future"),
            (json!("2020-01-01"), "not in the future"),
            (json!(5), "must be an ISO-8601 timestamp, a duration or a window rule"),
            (json!(null), "must be"),
            (json!([]), "must be"),
            (json!({}), "must be"),
            (json!({"duration": "5 minutes"}), "must be"),
            (json!({"unit": "hours", "value": 0}), "not a positive duration"),
            (json!({"unit": "hours", "value": -1}), "not a positive duration"),
            (json!({"unit": "hours", "value": 1e-12}), "cannot be waited for"),
            (json!({"unit": "eons", "value": 1}), "is not a unit"),
            (json!({"frequency": "yearly"}), "must be hourly, daily, weekly or monthly"),
            (json!({"frequency": "daily", "minutes": 7}), "multiple of 5"),
            (json!({"frequency": "daily", "minutes": 60}), "from 0 to 55"),
            (json!({"frequency": "daily", "hours": 24}), "from 0 to 23"),
            (json!({"frequency": "daily", "hours": "9"}), "from 0 to 23"),
            (json!({"frequency": "monthly", "day_of_month": 32}), "from 1 to 31"),
            (json!({"frequency": "weekly", "days": ["monday"]}), "must be a list of mon"),
            (json!({"frequency": "weekly", "days": []}), "must be a list of mon"),
            (json!({"frequency": "weekly", "hour": 9}), "did you mean `hours`?"),
        ] {
            let error = resolve(&value, now, &TimeZone::UTC).unwrap_err();
            assert!(error.contains(expected), "W-DUR-06 W-DUR-12 W-DUR-17: {value} gave `{error}`");
        }
    }

    #[test]
    fn a_weekly_rule_is_today_until_its_minute_and_then_next_week() {
        let rule = json!({"frequency": "weekly", "days": ["mon"], "hours": 9});
        for (now, expected) in [
            ("2026-08-24T08:59:00Z", "2026-08-24T09:00:00"),
            ("2026-08-24T08:59:59.999999Z", "2026-08-24T09:00:00"),
            ("2026-08-24T09:00:00Z", "2026-08-31T09:00:00"),
            ("2026-08-24T09:01:00Z", "2026-08-31T09:00:00"),
            ("2026-08-26T09:00:00Z", "2026-08-31T09:00:00"),
        ] {
            assert_eq!(next(rule.clone(), now, "Etc/UTC"), expected, "W-DUR-10 at {now}");
        }
    }

    #[test]
    fn rules_occur_where_they_should() {
        for (rule, now, expected, claim) in [
            (json!({"frequency": "daily"}), "2026-08-21T10:00:00Z", "2026-08-22T00:00:00", "W-DUR-08 defaults"),
            (
                json!({"frequency": "daily", "days": null, "hours": null}),
                "2026-08-21T10:00:00Z",
                "2026-08-22T00:00:00",
                "nulls",
            ),
            (
                json!({"frequency": "daily", "days": "weekdays", "hours": 9}),
                "2026-08-21T10:00:00Z",
                "2026-08-24T09:00:00",
                "W-DUR-11 W-DUR-13",
            ),
            (json!({"frequency": "daily", "days": ["wed"]}), "2026-08-21T10:00:00Z", "2026-08-26T00:00:00", "W-DUR-11"),
            (
                json!({"frequency": "weekly", "days": "weekends"}),
                "2026-08-21T10:00:00Z",
                "2026-08-22T00:00:00",
                "W-DUR-13",
            ),
            (
                json!({"frequency": "weekly", "days": "weekends"}),
                "2026-08-23T10:00:00Z",
                "2026-08-29T00:00:00",
                "W-DUR-13",
            ),
            (
                json!({"frequency": "weekly", "hours": 11}),
                "2026-08-21T10:00:00Z",
                "2026-08-21T11:00:00",
                "W-AMB-22: today's weekday",
            ),
            (
                json!({"frequency": "weekly", "hours": 9}),
                "2026-08-21T10:00:00Z",
                "2026-08-28T09:00:00",
                "W-AMB-22: today's weekday",
            ),
            (
                json!({"frequency": "hourly", "minutes": 30, "hours": 17}),
                "2026-08-21T10:29:59Z",
                "2026-08-21T10:30:00",
                "W-DUR-14",
            ),
            (
                json!({"frequency": "hourly", "minutes": 30}),
                "2026-08-21T10:30:00Z",
                "2026-08-21T11:30:00",
                "W-DUR-14: strictly after",
            ),
            (json!({"frequency": "hourly"}), "2026-08-21T23:30:01Z", "2026-08-22T00:00:00", "W-DUR-14"),
            (json!({"frequency": "monthly", "hours": 8}), "2026-08-21T10:00:00Z", "2026-09-01T08:00:00", "W-DUR-15"),
            (
                json!({"frequency": "monthly", "day_of_month": 31}),
                "2026-08-31T10:00:00Z",
                "2026-09-30T00:00:00",
                "W-DUR-15: clamped",
            ),
            (
                json!({"frequency": "monthly", "day_of_month": 30}),
                "2026-02-01T00:00:00Z",
                "2026-02-28T00:00:00",
                "W-DUR-15: clamped",
            ),
            (
                json!({"frequency": "weekly", "days": ["fri"], "interval": 2}),
                "2026-08-24T10:00:00Z",
                "2026-09-04T00:00:00",
                "W-AMB-22: two weeks until the next Friday",
            ),
            (
                json!({"frequency": "daily", "interval": 3}),
                "2026-08-21T10:00:00Z",
                "2026-08-24T00:00:00",
                "W-AMB-22: interval",
            ),
        ] {
            assert_eq!(next(rule.clone(), now, "Etc/UTC"), expected, "{claim}: {rule} after {now}");
        }
    }

    #[test]
    fn rules_follow_the_clock_of_the_recipient() {
        let rule = json!({"frequency": "daily", "hours": 9});
        let found = resolve(&rule, at("2026-08-21T10:00:00Z"), &tz("America/New_York"));
        assert_eq!(found, Ok(at("2026-08-21T13:00:00Z")), "W-DUR-09");
    }

    #[test]
    fn a_gap_moves_a_rule_forward_and_a_fold_takes_the_first() {
        let rule = json!({"frequency": "daily", "hours": 2, "minutes": 30});
        let spring = resolve(&rule, at("2026-03-29T00:00:00Z"), &tz("Europe/Berlin"));
        assert_eq!(spring, Ok(at("2026-03-29T01:30:00Z")), "W-AMB-22: 02:30 does not exist, 03:30 does");
        let autumn = resolve(&rule, at("2026-10-24T23:00:00Z"), &tz("Europe/Berlin"));
        assert_eq!(autumn, Ok(at("2026-10-25T00:30:00Z")), "W-AMB-22: the first 02:30");
        let between = resolve(&rule, at("2026-10-25T00:45:00Z"), &tz("Europe/Berlin"));
        assert_eq!(between, Ok(at("2026-10-26T01:30:00Z")), "W-AMB-22: the second 02:30 does not count");
        // Samoa left out Friday, 30 December 2011: its nine o'clock was Saturday's.
        let friday = json!({"frequency": "weekly", "days": ["fri"], "hours": 9});
        assert_eq!(
            next(friday, "2011-12-30T10:30:00Z", "Pacific/Apia"),
            "2011-12-31T09:00:00",
            "W-AMB-22: a day's gap"
        );
    }

    #[test]
    fn an_hourly_rule_follows_a_clock_that_moves_by_half_an_hour() {
        // Lord Howe: at 02:00 daylight time it is 01:30 standard time again.
        let quarter = json!({"frequency": "hourly", "minutes": 15});
        assert_eq!(next(quarter, "2026-04-04T14:50:00Z", "Australia/Lord_Howe"), "2026-04-05T02:15:00", "W-DUR-14");
    }

    #[test]
    fn a_zone_is_the_recipients_or_the_accounts_or_utc() {
        let name = |own, default| zone(own, default).iana_name().map(str::to_owned);
        assert_eq!(name(Some("Asia/Tokyo"), Some("Europe/Berlin")).as_deref(), Some("Asia/Tokyo"), "W-SCP-26");
        assert_eq!(name(None, Some("Europe/Berlin")).as_deref(), Some("Europe/Berlin"), "W-SCP-26");
        assert_eq!(name(Some("Mars/Olympus"), Some("Europe/Berlin")).as_deref(), Some("Europe/Berlin"), "W-SCP-26");
        for (own, default) in [(None, None), (Some(""), None), (Some("x"), Some("y"))] {
            let found = name(own, default);
            assert!(matches!(found.as_deref(), Some("Etc/UTC" | "UTC")), "W-SCP-26: {found:?}");
        }
    }

    const ZONES: [&str; 8] = [
        "Etc/UTC",
        "Europe/Berlin",
        "America/New_York",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Asia/Kathmandu",
        "Pacific/Apia",
        "Africa/Cairo",
    ];

    /// The definition, written as a search: the nominal occurrence of every single date, in order.
    fn brute_force_date(rule: &WindowRule, now: Time, zone: &TimeZone) -> Time {
        let today = zone.to_datetime(now.timestamp()).date();
        let mut found = Vec::new();
        for offset in -3..500 {
            let date = today.checked_add(Span::new().days(offset)).unwrap();
            let weekday = date.weekday();
            let matches = match rule.frequency {
                Frequency::Daily => rule.days.is_none_or(|days| days.contains(weekday)),
                Frequency::Weekly => rule.days.map_or(weekday == today.weekday(), |days| days.contains(weekday)),
                _ => date.day() == rule.day_of_month.unwrap_or(1).min(date.last_of_month().day()),
            };
            if matches {
                let civil = date.at(rule.hours, rule.minutes, 0, 0);
                // A gap is left by its own length, a fold is entered at its first hour: both are "use the offset before".
                let at = match zone.to_ambiguous_timestamp(civil).offset() {
                    jiff::tz::AmbiguousOffset::Unambiguous { offset } => offset,
                    jiff::tz::AmbiguousOffset::Gap { before, .. } | jiff::tz::AmbiguousOffset::Fold { before, .. } => {
                        before
                    }
                };
                found.push(Time::from(at.to_timestamp(civil).unwrap()));
            }
        }
        found.into_iter().filter(|at| *at > now).min().unwrap()
    }

    /// Every minute after `now` until the clock shows ours.
    fn brute_force_hour(rule: &WindowRule, now: Time, zone: &TimeZone) -> Time {
        let first = now.seconds().div_euclid(60) * 60;
        (1..)
            .map(|minute| Time::from_micros((first + 60 * minute) * 1_000_000))
            .find(|at| {
                let local = zone.to_datetime(at.timestamp());
                local.minute() == rule.minutes && rule.days.is_none_or(|days| days.contains(local.weekday()))
            })
            .unwrap()
    }

    fn any_rule() -> impl Strategy<Value = WindowRule> {
        let frequency = (0usize..4).prop_map(|at| FREQUENCIES[at].1);
        let days = proptest::option::of((1u8..128).prop_map(Days));
        let day = proptest::option::of(1i8..=31);
        (frequency, days, 0i8..24, 0i8..12, day).prop_map(|(frequency, days, hours, fives, day_of_month)| {
            let days = if frequency == Frequency::Monthly { None } else { days };
            WindowRule { frequency, interval: 1, days, hours, minutes: fives * 5, day_of_month }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// W-DUR-09, W-DUR-10, W-DUR-11, W-DUR-14, W-DUR-15, W-AMB-22, in every season of several zones.
        #[test]
        fn the_next_occurrence_is_the_first_of_all(
            rule in any_rule(), zone in 0usize..8, second in 1_262_304_000i64..1_893_456_000, micro in 0i64..1_000_000
        ) {
            let zone = tz(ZONES[zone]);
            let now = Time::from_micros(second * 1_000_000 + micro);
            let expected = match rule.frequency {
                Frequency::Hourly => brute_force_hour(&rule, now, &zone),
                _ => brute_force_date(&rule, now, &zone),
            };
            prop_assert_eq!(rule.next_after(now, &zone), Some(expected));
        }

        /// W-AMB-22, close to each change of the clocks, where mistakes live.
        #[test]
        fn it_is_right_around_every_change_of_the_clocks(
            rule in any_rule(), zone in 0usize..8, year in 2010i64..2030, change in 0usize..4,
            minutes in prop_oneof![-90i64..90, -3000i64..3000]
        ) {
            let zone = tz(ZONES[zone]);
            let start = Timestamp::from_second(1_262_304_000 + (year - 2010) * 31_557_600).unwrap();
            let changes: Vec<Timestamp> = zone.following(start).take(4).map(|t| t.timestamp()).collect();
            if let Some(changed) = changes.get(change).or(changes.first()) {
                let now = Time::from(*changed).plus_seconds(minutes * 60);
                let expected = match rule.frequency {
                    Frequency::Hourly => brute_force_hour(&rule, now, &zone),
                    _ => brute_force_date(&rule, now, &zone),
                };
                prop_assert_eq!(rule.next_after(now, &zone), Some(expected));
            }
        }

        /// W-DUR-06: whatever arrives, the answer is an instant ahead or a reason.
        #[test]
        fn a_rule_with_any_numbers_never_panics(
            interval in -3i64..2000, hours in -2i64..30, minutes in -5i64..70, day in -1i64..40, second in -60_000_000_000i64..250_000_000_000
        ) {
            let value = json!({"frequency": "monthly", "interval": interval, "hours": hours, "minutes": minutes, "day_of_month": day});
            let now = Time::from_micros(second * 1_000_000);
            if let Ok(found) = resolve(&value, now, &tz("America/Santiago")) {
                prop_assert!(found > now);
            }
        }
    }
}
