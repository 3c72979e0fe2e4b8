//! When a schedule occurs: whenever any of its rules does, each in every so many periods, counted from an anchor.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::window::{Days, Frequency, WindowRule, floor_to_minute, plus_minutes};
use crate::model::time::Time;

const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// How far back the latest occurrence is looked for, in seconds: no farther than until one is found.
const LOOKS_BACK: [i64; 4] = [HOUR, DAY, 40 * DAY, i64::MAX];
/// The calendar repeats after so many months.
const MONTHS: usize = 4_800;
/// Hours that are looked at for one on an allowed weekday: those of a week, each perhaps behind some that don't count, and
/// what changes of the clocks take.
const HOURS: usize = 500;

/// Rules, and what they are counted by (W-SCH-14, W-AMB-60).
#[derive(Debug, Clone, Copy)]
pub struct Recurrence<'a> {
    pub rules: &'a [WindowRule],
    /// Lies in the first period that counts.
    pub anchor: Time,
    /// Whose clocks and calendar are meant (W-SCH-15).
    pub zone: &'a TimeZone,
}

impl Recurrence<'_> {
    /// The first occurrence strictly after `after`; none if there is none ever. A local time that does not exist moves
    /// forward by the gap; of one that exists twice the first is meant.
    pub fn next_after(&self, after: Time) -> Option<Time> {
        let after = after.timestamp();
        let next = |rule: &WindowRule| match rule.frequency {
            Frequency::Hourly => self.next_hour(rule, after),
            _ => self.next_date(rule, after),
        };
        self.rules.iter().filter_map(next).min().map(Time::from)
    }

    /// The last occurrence after `from` that is not after `until`.
    pub fn latest(&self, from: Time, until: Time) -> Option<Time> {
        let in_time = |after: Time| self.next_after(after).filter(|at| *at <= until);
        let looks = LOOKS_BACK.iter().map(|seconds| until.plus_seconds(-seconds).max(from));
        let mut latest = looks.filter_map(in_time).next()?;
        while let Some(next) = in_time(latest) {
            latest = next;
        }
        Some(latest)
    }

    /// Hours are exact: the local clock says at which minute, and elapsed time says which of them count.
    fn next_hour(&self, rule: &WindowRule, after: Timestamp) -> Option<Timestamp> {
        let begin = floor_to_minute(self.anchor.timestamp(), self.zone)?;
        let begin = plus_minutes(begin, -i64::from(self.zone.to_datetime(begin).minute()))?;
        let mut at = floor_to_minute(after, self.zone)?;
        for _ in 0..HOURS {
            let found = rule.minute_after(at, self.zone)?;
            let hour = (found.as_second() - begin.as_second()).div_euclid(HOUR);
            let skipped = ahead(hour, rule.interval);
            if skipped > 0 {
                at = plus_minutes(begin, (hour + skipped) * 60 - 1)?;
                continue;
            }
            let is_allowed = rule.days.is_none_or(|days| days.contains(self.zone.to_datetime(found).weekday()));
            if is_allowed && found > after {
                return Some(found);
            }
            at = found;
        }
        None
    }

    /// It begins with yesterday, as a gap can carry yesterday's occurrence into today.
    fn next_date(&self, rule: &WindowRule, after: Timestamp) -> Option<Timestamp> {
        let anchor = self.zone.to_datetime(self.anchor.timestamp()).date();
        let today = self.zone.to_datetime(after).date();
        let mut from = today.yesterday().unwrap_or(today);
        // Yesterday's, today's, and where a whole day is left out tomorrow's may be over; no more.
        for _ in 0..4 {
            let date = date_from(rule, anchor, from)?;
            let at = self.zone.to_timestamp(date.at(rule.hours, rule.minutes, 0, 0)).ok()?;
            if at > after {
                return Some(at);
            }
            from = date.tomorrow().ok()?;
        }
        None
    }
}

/// How many periods there are to the next that counts.
fn ahead(number: i64, interval: i64) -> i64 {
    (-number).rem_euclid(interval.max(1))
}

/// The first date, `from` or later, on which the rule occurs.
fn date_from(rule: &WindowRule, anchor: Date, from: Date) -> Option<Date> {
    match rule.frequency {
        Frequency::Weekly => week_day_from(rule, anchor, from),
        Frequency::Monthly => month_day_from(rule, anchor, from),
        _ => day_from(rule, anchor, from),
    }
}

fn day_from(rule: &WindowRule, anchor: Date, from: Date) -> Option<Date> {
    let mut date = plus_days(from, ahead(days_between(anchor, from), rule.interval))?;
    // Seven of them are all weekdays on which it ever can be.
    for _ in 0..7 {
        if rule.days.is_none_or(|days| days.contains(date.weekday())) {
            return Some(date);
        }
        date = plus_days(date, rule.interval)?;
    }
    None
}

/// Weeks start on Monday; without days, the anchor's is meant.
fn week_day_from(rule: &WindowRule, anchor: Date, from: Date) -> Option<Date> {
    let days = rule.days.unwrap_or(Days::only(anchor.weekday()));
    let weeks = days_between(monday(anchor)?, monday(from)?) / 7;
    let week = plus_days(monday(from)?, 7 * ahead(weeks, rule.interval))?;
    let in_week =
        |week: Date| (0..7).filter_map(move |day| plus_days(week, day)).filter(|day| days.contains(day.weekday()));
    let next_week = || in_week(plus_days(week, 7 * rule.interval)?).next();
    in_week(week).find(|day| *day >= from).or_else(next_week)
}

/// `day_of_month` wins over `days`, which else allow or forbid the first.
fn month_day_from(rule: &WindowRule, anchor: Date, from: Date) -> Option<Date> {
    let number = |date: Date| i64::from(date.year()) * 12 + i64::from(date.month());
    let mut month = plus_months(from.first_of_month(), ahead(number(from) - number(anchor), rule.interval))?;
    for _ in 0..MONTHS {
        let day = rule.day_of_month.unwrap_or(1).min(month.days_in_month());
        let date = month.with().day(day).build().ok()?;
        let is_allowed = rule.day_of_month.is_some() || rule.days.is_none_or(|days| days.contains(date.weekday()));
        if is_allowed && date >= from {
            return Some(date);
        }
        month = plus_months(month, rule.interval)?;
    }
    None
}

fn monday(date: Date) -> Option<Date> {
    plus_days(date, -i64::from(date.weekday().to_monday_zero_offset()))
}

fn days_between(a: Date, b: Date) -> i64 {
    // Dates alone differ by whole days, whatever the clocks do.
    a.until(b).map_or(0, |span| i64::from(span.get_days()))
}

fn plus_days(date: Date, days: i64) -> Option<Date> {
    date.checked_add(Span::new().try_days(days).ok()?).ok()
}

fn plus_months(date: Date, months: i64) -> Option<Date> {
    date.checked_add(Span::new().try_months(months).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn rules(values: Value) -> Vec<WindowRule> {
        values.as_array().unwrap().iter().map(|value| WindowRule::parse(value, "").unwrap()).collect()
    }

    /// The first occurrences from `anchor` on, on the clocks of `zone`.
    fn occurrences(values: Value, anchor: &str, zone: &str, many: usize) -> Vec<String> {
        let (rules, zone) = (rules(values), TimeZone::get(zone).unwrap());
        let recurrence = Recurrence { rules: &rules, anchor: at(anchor), zone: &zone };
        let mut from = at(anchor).plus_micros(-1);
        let mut out = Vec::new();
        while let Some(next) = recurrence.next_after(from).filter(|_| out.len() < many) {
            out.push(zone.to_datetime(next.timestamp()).strftime("%a %Y-%m-%d %H:%M").to_string());
            from = next;
        }
        out
    }

    #[test]
    fn rules_occur_where_the_specification_says() {
        for (values, zone, expected, rule) in [
            (
                json!([{"frequency": "weekly", "days": ["mon"], "hours": 9}]),
                "Etc/UTC",
                ["Mon 2026-08-24 09:00", "Mon 2026-08-31 09:00"],
                "W-SCH-13",
            ),
            (
                json!([{"frequency": "weekly", "days": "weekdays", "hours": 10, "minutes": 30}]),
                "Etc/UTC",
                ["Fri 2026-08-21 10:30", "Mon 2026-08-24 10:30"],
                "W-SCH-13 W-SCH-11",
            ),
            (
                json!([{"frequency": "daily", "days": ["mon", "tue", "wed", "thu", "fri", "sat", "sun"], "hours": 9}]),
                "Etc/UTC",
                ["Sat 2026-08-22 09:00", "Sun 2026-08-23 09:00"],
                "W-SCH-13: daily on all days is every day",
            ),
            (
                json!([{"frequency": "daily", "days": "weekends"}]),
                "Etc/UTC",
                ["Sat 2026-08-22 00:00", "Sun 2026-08-23 00:00"],
                "W-SCH-10 W-SCH-11",
            ),
            (
                json!([{"frequency": "daily", "hours": 9}, {"frequency": "weekly", "days": ["fri"], "hours": 18}]),
                "Etc/UTC",
                ["Fri 2026-08-21 18:00", "Sat 2026-08-22 09:00"],
                "W-SCH-14",
            ),
            (
                json!([{"frequency": "daily", "hours": 9}]),
                "America/New_York",
                ["Fri 2026-08-21 09:00", "Sat 2026-08-22 09:00"],
                "W-SCH-15",
            ),
            (
                json!([{"frequency": "weekly", "interval": 2, "days": ["thu", "fri"], "hours": 12}]),
                "Etc/UTC",
                ["Fri 2026-08-21 12:00", "Thu 2026-09-03 12:00"],
                "W-SCH-12 W-AMB-60: the anchor's week counts, and the next does not",
            ),
            (
                json!([{"frequency": "weekly", "interval": 2, "days": ["sun", "mon"], "hours": 12}]),
                "Etc/UTC",
                ["Sun 2026-08-23 12:00", "Mon 2026-08-31 12:00"],
                "W-AMB-60: weeks start on Monday",
            ),
            (
                json!([{"frequency": "monthly", "interval": 3, "day_of_month": 31}]),
                "Etc/UTC",
                ["Mon 2026-08-31 00:00", "Mon 2026-11-30 00:00"],
                "W-AMB-60: months are counted, and their ends clamp",
            ),
            (
                json!([{"frequency": "monthly", "day_of_month": 5, "days": ["mon"]}]),
                "Etc/UTC",
                ["Sat 2026-09-05 00:00", "Mon 2026-10-05 00:00"],
                "W-AMB-60: the day of the month wins",
            ),
            (
                json!([{"frequency": "monthly", "days": ["tue", "thu"]}]),
                "Etc/UTC",
                ["Tue 2026-09-01 00:00", "Thu 2026-10-01 00:00"],
                "W-AMB-60: days filter the first",
            ),
            (
                json!([{"frequency": "hourly", "days": ["sat"], "minutes": 30, "hours": 7}]),
                "Etc/UTC",
                ["Sat 2026-08-22 00:30", "Sat 2026-08-22 01:30"],
                "W-AMB-60: days filter hours",
            ),
            (
                json!([{"frequency": "hourly", "interval": 12, "minutes": 5}]),
                "Etc/UTC",
                ["Fri 2026-08-21 10:05", "Fri 2026-08-21 22:05"],
                "W-AMB-60",
            ),
            (
                json!([{"frequency": "daily", "interval": 10, "hours": 11}]),
                "Etc/UTC",
                ["Fri 2026-08-21 11:00", "Mon 2026-08-31 11:00"],
                "W-AMB-60",
            ),
        ] {
            let found = occurrences(values.clone(), "2026-08-21T10:00:00Z", zone, 2);
            assert_eq!(found, expected, "{rule}: {values}");
        }
    }

    #[test]
    fn the_clocks_may_change() {
        let early = json!([{"frequency": "daily", "hours": 2, "minutes": 30}]);
        let expected = ["Sat 2026-03-28 02:30", "Sun 2026-03-29 03:30", "Mon 2026-03-30 02:30"];
        assert_eq!(occurrences(early.clone(), "2026-03-28T00:00:00Z", "Europe/Berlin", 3), expected, "W-AMB-22");
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let rules = rules(early);
        let recurrence = Recurrence { rules: &rules, anchor: at("2026-10-24T00:00:00Z"), zone: &zone };
        let first = recurrence.next_after(at("2026-10-24T12:00:00Z"));
        assert_eq!(first, Some(at("2026-10-25T00:30:00Z")), "W-AMB-22: the first half past two");
        let next = recurrence.next_after(at("2026-10-25T00:30:00Z"));
        assert_eq!(next, Some(at("2026-10-26T01:30:00Z")), "W-AMB-22: the second does not count");
        // Samoa left out Friday, 30 December 2011: that day's nine o'clock was Saturday's, and is not told twice.
        let daily = json!([{"frequency": "daily", "hours": 9}]);
        let expected = ["Thu 2011-12-29 09:00", "Sat 2011-12-31 09:00", "Sun 2012-01-01 09:00"];
        assert_eq!(occurrences(daily, "2011-12-29T18:00:00Z", "Pacific/Apia", 3), expected, "W-AMB-22");
    }

    #[test]
    fn what_never_occurs_is_said_and_ends() {
        for values in [
            json!([]),
            // Every seventh day from a Friday on is a Friday.
            json!([{"frequency": "daily", "interval": 7, "days": ["sat"]}]),
            json!([{"frequency": "hourly", "interval": 168, "days": ["sat"]}]),
        ] {
            assert!(occurrences(values.clone(), "2026-08-21T10:00:00Z", "Etc/UTC", 1).is_empty(), "{values}");
        }
        // Every thousandth month's first: the next Monday among them is far off, and is found.
        let rare = json!([{"frequency": "monthly", "interval": 1000, "days": ["mon"]}]);
        let found = occurrences(rare, "2026-08-21T10:00:00Z", "Etc/UTC", 1);
        assert!(found.is_empty() || found[0].starts_with("Mon "), "{found:?}");
    }

    #[test]
    fn the_latest_is_found_however_long_ago() {
        let hourly = rules(json!([{"frequency": "hourly", "minutes": 15}]));
        let yearly = rules(json!([{"frequency": "monthly", "interval": 12, "day_of_month": 1}]));
        let weekly = rules(json!([{"frequency": "weekly", "days": ["mon"], "hours": 9}]));
        let begin = at("2026-01-01T00:00:00Z");
        let latest = |rules: &[WindowRule], from: &str, until: &str| {
            let recurrence = Recurrence { rules, anchor: begin, zone: &TimeZone::UTC };
            recurrence.latest(at(from), at(until)).map(|at| at.to_string()[..16].to_owned())
        };
        let year = ("2026-01-02T00:00:00Z", "2036-08-23T10:00:00Z");
        assert_eq!(latest(&hourly, year.0, year.1).as_deref(), Some("2036-08-23T09:15"), "W-AMB-50");
        assert_eq!(latest(&yearly, year.0, year.1).as_deref(), Some("2036-01-01T00:00"), "W-AMB-50");
        assert_eq!(latest(&weekly, year.0, "2026-08-24T09:00:00Z").as_deref(), Some("2026-08-24T09:00"), "W-AMB-50");
        assert_eq!(latest(&weekly, "2026-08-24T09:00:00Z", "2026-08-31T08:59:00Z"), None, "W-AMB-50: none was missed");
    }
}
