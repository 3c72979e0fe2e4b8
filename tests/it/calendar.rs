//! When rules occur, against calendars that others have made: `rrule` counts the dates, `chrono-tz` knows the clocks.

use bellwire::model::time::Time;
use bellwire::rules::recurrence::Recurrence;
use bellwire::rules::window::{Days as Weekdays, Frequency, WindowRule};
use chrono::{DateTime, Datelike, Days, Duration, NaiveDateTime, NaiveTime, Timelike, Utc};
use chrono_tz::Tz;
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rrule::RRuleSet;
use serde_json::{Value, json};

/// Clocks that change by an hour and by half of one, at two, at midnight and just before it, in either half of the year or
/// never; offsets of quarters of an hour; countries that gave it up.
const ZONES: [&str; 20] = [
    "Etc/UTC",
    "Europe/Berlin",
    "Europe/London",
    "Europe/Lisbon",
    "Europe/Istanbul",
    "America/New_York",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "America/Santiago",
    "America/St_Johns",
    "America/Havana",
    "Atlantic/Azores",
    "Africa/Casablanca",
    "Asia/Beirut",
    "Asia/Tehran",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Pacific/Chatham",
];
/// 2015 to 2024, in seconds.
const YEARS: std::ops::Range<i64> = 1_420_070_400..1_735_689_600;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

fn utc(at: Time) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(at.micros()).unwrap()
}

fn local(zone: Tz, at: Time) -> NaiveDateTime {
    utc(at).with_timezone(&zone).naive_local()
}

/// The instant at which the clocks of `zone` show `civil`: the first of two; one that does not exist is as long after the
/// last that does as they say.
fn instant(zone: Tz, civil: NaiveDateTime) -> Time {
    if let Some(first) = civil.and_local_timezone(zone).earliest() {
        return Time::from_micros(first.timestamp_micros());
    }
    let before = |minutes: i64| {
        Some((civil - Duration::minutes(minutes)).and_local_timezone(zone).latest()?.timestamp() + 60 * minutes)
    };
    let second = (1..).find_map(|five| before(5 * five)).unwrap();
    Time::from_micros(second * 1_000_000)
}

fn rule(value: &Value) -> WindowRule {
    WindowRule::parse(value, "").unwrap()
}

/// The rule in the words of RFC 5545; `first` is the anchor's local time.
fn in_rfc_words(value: &Value, first: NaiveDateTime) -> String {
    let number = |name: &str| value[name].as_i64();
    let days = |names: &Value| -> Option<String> {
        let names = names.as_array()?.iter().map(|day| day.as_str().unwrap()[..2].to_ascii_uppercase());
        Some(format!(";BYDAY={}", names.collect::<Vec<_>>().join(",")))
    };
    let by = match value["frequency"].as_str().unwrap() {
        "weekly" => {
            let own = json!([DAYS[first.weekday().num_days_from_monday() as usize]]);
            format!(";WKST=MO{}", days(&value["days"]).or_else(|| days(&own)).unwrap())
        }
        "monthly" => match number("day_of_month") {
            // Where the month is shorter, its last day.
            Some(day) if day > 28 => {
                let all: Vec<String> = (28..=day).map(|day| day.to_string()).collect();
                format!(";BYMONTHDAY={};BYSETPOS=-1", all.join(","))
            }
            Some(day) => format!(";BYMONTHDAY={day}"),
            None => format!(";BYMONTHDAY=1{}", days(&value["days"]).unwrap_or_default()),
        },
        _ => days(&value["days"]).unwrap_or_default(),
    };
    format!(
        "DTSTART:{}Z\nRRULE:FREQ={};INTERVAL={};UNTIL=20350101T000000Z;BYHOUR={};BYMINUTE={};BYSECOND=0{by}",
        first.format("%Y%m%dT%H%M%S"),
        value["frequency"].as_str().unwrap().to_ascii_uppercase(),
        number("interval").unwrap_or(1),
        number("hours").unwrap_or(0),
        number("minutes").unwrap_or(0),
    )
}

/// What others say of when the rule occurs from `anchor` on.
fn others(value: &Value, anchor: Time, zone: Tz, many: usize) -> Vec<Time> {
    let words = in_rfc_words(value, local(zone, anchor));
    let set: RRuleSet = words.parse().unwrap_or_else(|fault| panic!("{words}: {fault}"));
    // Dates are counted as if there were no zones; then each is found on the zone's clocks.
    let mut all: Vec<Time> = set.into_iter().take(many).map(|at| instant(zone, at.naive_utc())).collect();
    all.dedup();
    all
}

fn ours(value: &Value, anchor: Time, zone: Tz, many: usize) -> Vec<Time> {
    let (rules, zone) = ([rule(value)], TimeZone::get(zone.name()).unwrap());
    let recurrence = Recurrence { rules: &rules, anchor, zone: &zone };
    let end = Time::parse("2034-12-30").unwrap();
    let mut all = Vec::new();
    let mut after = anchor.plus_micros(-1);
    while let Some(next) = recurrence.next_after(after).filter(|at| all.len() < many && *at < end) {
        all.push(next);
        after = next;
    }
    all
}

/// W-SCH-13, W-SCH-15, W-AMB-22, W-AMB-60: every occurrence of ten years.
#[test]
fn ten_years_of_schedules_are_as_others_count_them() {
    let anchor = Time::from_micros(YEARS.start * 1_000_000);
    for (value, many) in [
        (json!({"frequency": "daily", "hours": 2, "minutes": 30}), 3_650),
        (json!({"frequency": "daily", "interval": 2, "days": ["sun", "sat", "fri"]}), 780),
        (json!({"frequency": "weekly", "interval": 2, "days": ["sun", "mon"], "hours": 1, "minutes": 30}), 520),
        (json!({"frequency": "monthly", "day_of_month": 31, "hours": 23, "minutes": 55}), 120),
    ] {
        for name in ZONES {
            let zone: Tz = name.parse().unwrap();
            let (others, ours) = (others(&value, anchor, zone, many), ours(&value, anchor, zone, many));
            let differ = others.iter().zip(&ours).find(|(theirs, own)| theirs != own);
            assert_eq!(differ, None, "{name} {value}");
            assert!(ours.len() + 1 >= many.min(others.len()), "{name} {value}");
        }
    }
}

fn some_days() -> impl Strategy<Value = Value> {
    let chosen = proptest::sample::subsequence(DAYS.to_vec(), 1..=7).prop_map(|days| json!(days));
    prop_oneof![Just(Value::Null), chosen]
}

/// A rule, and the longest interval with which it still comes often enough.
fn any_rule() -> impl Strategy<Value = Value> {
    let day_of_month = prop_oneof![Just(None), (1i64..=31).prop_map(Some)];
    let frequency = prop_oneof![Just(("daily", 40)), Just(("weekly", 12)), Just(("monthly", 30))];
    (frequency, 0i64..1_000, some_days(), 0i64..24, 0i64..12, day_of_month).prop_map(
        |((frequency, longest), interval, days, hours, fives, day_of_month)| {
            // The rule book has the day of the month win; others take both.
            let both = frequency == "monthly" && day_of_month.is_some();
            let days = if both { Value::Null } else { days };
            let day_of_month = if frequency == "monthly" { day_of_month } else { None };
            json!({"frequency": frequency, "interval": 1 + interval % longest, "days": days, "hours": hours,
                "minutes": fives * 5, "day_of_month": day_of_month})
        },
    )
}

/// Some hourly rule, brute force: every five minutes are looked at.
fn hours_by_force(value: &Value, anchor: Time, zone: Tz, many: usize) -> Vec<Time> {
    let interval = value["interval"].as_i64().unwrap();
    let minute = value["minutes"].as_u64().unwrap() as u32;
    let begin = local(zone, anchor);
    let into_the_hour = i64::from(begin.minute()) * 60 + i64::from(begin.second());
    let first = Time::from_micros((anchor.seconds() - into_the_hour) * 1_000_000);
    let is_one = |at: &Time| {
        let civil = local(zone, *at);
        let day = DAYS[civil.weekday().num_days_from_monday() as usize];
        let is_allowed = value["days"].as_array().is_none_or(|days| days.iter().any(|one| one == day));
        let hour = (at.seconds() - first.seconds()) / 3_600;
        civil.minute() == minute && hour % interval == 0 && is_allowed && *at >= anchor
    };
    // Twelve in an hour, for a year.
    (0..12 * 24 * 366).map(|five| first.plus_seconds(300 * five)).filter(is_one).take(many).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    /// W-SCH-10 to W-SCH-15, W-AMB-22, W-AMB-60.
    #[test]
    fn any_schedule_is_as_others_count_it(value in any_rule(), zone in 0usize..20, second in YEARS) {
        let zone: Tz = ZONES[zone].parse().unwrap();
        let anchor = Time::from_micros(second * 1_000_000);
        let (theirs, own) = (others(&value, anchor, zone, 40), ours(&value, anchor, zone, 40));
        let many = theirs.len().min(own.len());
        prop_assert!(theirs.len().abs_diff(own.len()) <= 1, "{} and {}", theirs.len(), own.len());
        prop_assert_eq!(&own[..many], &theirs[..many]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    /// W-SCH-10, W-DUR-14, W-AMB-60: hours are exact, minutes and days are the local clock's.
    #[test]
    fn any_hourly_schedule_is_as_every_five_minutes_say(
        days in some_days(), interval in 1i64..30, fives in 0i64..12, zone in 0usize..20, second in YEARS
    ) {
        let zone: Tz = ZONES[zone].parse().unwrap();
        let anchor = Time::from_micros(second * 1_000_000);
        let value = json!({"frequency": "hourly", "interval": interval, "days": days, "minutes": fives * 5});
        let by_force = hours_by_force(&value, anchor, zone, 12);
        prop_assert_eq!(ours(&value, anchor, zone, by_force.len()), by_force);
    }
}

/// The instants at which the clocks of a zone change in these years.
fn changes(zone: Tz) -> Vec<i64> {
    let offset = |second: i64| local(zone, Time::from_micros(second * 1_000_000)).and_utc().timestamp() - second;
    let days = YEARS.step_by(86_400).filter(|day| offset(*day) != offset(day + 86_400));
    days.map(|day| (day..=day + 86_400).step_by(300).find(|second| offset(*second) != offset(day)).unwrap()).collect()
}

/// The next occurrence of a window rule, brute force: every five minutes of local time on each date that can be meant.
fn window_by_force(rule: &WindowRule, now: Time, zone: Tz) -> Time {
    let today = local(zone, now).date();
    let is_on = |date: chrono::NaiveDate| {
        let weekday = date.weekday().num_days_from_monday();
        let named = |days: Weekdays| days.names().contains(&DAYS[weekday as usize]);
        match rule.frequency {
            Frequency::Hourly => true,
            Frequency::Daily => rule.days.is_none_or(named),
            Frequency::Weekly => rule.days.map_or(date.weekday() == today.weekday(), named),
            Frequency::Monthly => {
                let last = (28..=31).rev().find(|day| date.with_day(*day).is_some()).unwrap();
                let day = u32::from(rule.day_of_month.unwrap_or(1).unsigned_abs()).min(last);
                date.day() == day && (rule.day_of_month.is_some() || rule.days.is_none_or(named))
            }
        }
    };
    // Two days before, as a gap carries what does not exist forward.
    let mut dates = (0..).map(|days| today - Days::new(2) + Days::new(days)).filter(|date| is_on(*date));
    loop {
        let date = dates.next().unwrap();
        let fives = (0..288).map(|five| NaiveTime::from_num_seconds_from_midnight_opt(five * 300, 0).unwrap());
        let is_at = |time: &NaiveTime| {
            time.minute() == u32::from(rule.minutes.unsigned_abs())
                && time.hour() == u32::from(rule.hours.unsigned_abs())
        };
        let found = fives.filter(is_at).map(|time| instant(zone, date.and_time(time))).find(|at| *at > now);
        if let Some(found) = found {
            return found;
        }
    }
}

/// W-DUR-08 to W-DUR-15, W-AMB-22: anywhere in ten years, and close to where the clocks change.
#[test]
fn a_window_closes_when_every_five_minutes_of_local_time_say() {
    let zones = ZONES.map(|name| name.parse::<Tz>().unwrap()).map(|zone| (zone, changes(zone)));
    let config = ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() };
    let anything = (any_rule(), 0usize..20, YEARS, any::<bool>(), -200_000i64..200_000);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let tried = runner.run(&anything, |(mut value, zone, second, is_near, off)| {
        value["interval"] = json!(1);
        let (zone, changed) = &zones[zone];
        let near = changed.get(second as usize % changed.len().max(1)).filter(|_| is_near);
        let now = Time::from_micros(near.map_or(second, |changed| changed + off) * 1_000_000);
        let rule = rule(&value);
        let found = rule.next_after(now, &TimeZone::get(zone.name()).unwrap());
        prop_assert_eq!(found, Some(window_by_force(&rule, now, *zone)));
        Ok(())
    });
    tried.unwrap();
}
