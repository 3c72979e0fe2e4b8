//! The hours of each weekday in which a channel step may send.

use jiff::civil::{DateTime, Weekday};
use jiff::tz::TimeZone;
use serde_json::Value;

use crate::model::invalid::{Invalid, did_you_mean};
use crate::model::time::Time;

const DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const END_OF_DAY: u32 = 86_400;

/// One window, or none, for each day of the week (W-SNW-01).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendWindows([Option<Window>; 7]);

/// The open part of one day, in seconds after local midnight: `from` is inside, `until` is not (W-AMB-20).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first open second.
    pub from: u32,
    /// The first second that is closed again; 86,400 is the end of the day.
    pub until: u32,
}

impl SendWindows {
    /// The window of `day`; `None` when nothing is sent on that day.
    pub fn on(&self, day: Weekday) -> Option<Window> {
        self.0[day.to_monday_zero_offset() as usize]
    }

    /// When the next window opens on the clocks of `zone`; none if one is open at `now`, or none ever is (W-SNW-05 to
    /// W-SNW-08). A local time that a change of the clocks passes over lies behind the gap (W-AMB-20).
    pub fn opens_at(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        let local = zone.to_datetime(now.timestamp());
        if self.is_open(local) {
            return None;
        }
        let mut date = local.date();
        // Today may be over, and the same weekday is the last to be tried.
        for _ in 0..8 {
            if let Some(Window { from, .. }) = self.on(date.weekday()) {
                let clock = |seconds: u32| i8::try_from(seconds).unwrap_or(0);
                let opens = date.at(clock(from / 3600), clock(from / 60 % 60), clock(from % 60), 0);
                let at = Time::from(zone.to_timestamp(opens).ok()?);
                if at > now {
                    return Some(at);
                }
            }
            date = date.tomorrow().ok()?;
        }
        None
    }

    fn is_open(&self, local: DateTime) -> bool {
        let [hour, minute, second] = [local.hour(), local.minute(), local.second()].map(i64::from);
        let seconds = hour * 3600 + minute * 60 + second;
        self.on(local.weekday())
            .is_some_and(|window| (i64::from(window.from)..i64::from(window.until)).contains(&seconds))
    }

    /// Reads the list of seven days, in any order.
    pub fn parse(value: &Value, path: &str) -> Result<Self, Vec<Invalid>> {
        let Some(entries) = value.as_array() else {
            return Err(vec![Invalid::new(path, "must be a list with one entry for each of the seven days")]);
        };
        let mut days: [Option<Option<Window>>; 7] = [None; 7];
        let mut problems = Vec::new();
        for (i, entry) in entries.iter().enumerate() {
            let at = format!("{path}[{i}]");
            match read_day(entry, &at) {
                Err(wrong) => problems.extend(wrong),
                Ok((day, _)) if days[day].is_some() => {
                    problems.push(Invalid::new(at, format!("{} has two entries; one is allowed", DAYS[day])));
                }
                Ok((day, window)) => days[day] = Some(window),
            }
        }
        if problems.is_empty() {
            let missing: Vec<&str> = DAYS.into_iter().zip(&days).filter(|(_, d)| d.is_none()).map(|(n, _)| n).collect();
            if !missing.is_empty() {
                problems.push(Invalid::new(path, format!("has no entry for {}", missing.join(", "))));
            } else if days.iter().all(|day| *day == Some(None)) {
                problems.push(Invalid::new(path, "every day is `do_not_send`, so nothing would ever be sent"));
            }
        }
        if problems.is_empty() { Ok(SendWindows(days.map(Option::flatten))) } else { Err(problems) }
    }
}

/// Reads one entry: which day of the week, and its window.
fn read_day(entry: &Value, path: &str) -> Result<(usize, Option<Window>), Vec<Invalid>> {
    let Some(map) = entry.as_object() else {
        return Err(vec![Invalid::new(path, "must be an object with the keys day, type, from, until")]);
    };
    let mut problems = Vec::new();
    for key in map.keys().filter(|key| !["day", "type", "from", "until"].contains(&key.as_str())) {
        let hint = did_you_mean(key, ["day", "type", "from", "until"]);
        let hint = hint.unwrap_or_else(|| "known are day, type, from, until".into());
        problems.push(Invalid::new(format!("{path}.{key}"), format!("unknown key `{key}`; {hint}")));
    }
    let word = |key: &str| map.get(key).and_then(Value::as_str);
    let day = DAYS.iter().position(|day| word("day") == Some(day));
    if day.is_none() {
        problems.push(Invalid::new(format!("{path}.day"), "must be one of monday to sunday"));
    }
    let window = match word("type") {
        Some("do_not_send") => None,
        Some("send") => read_window(entry, path).map_err(|wrong| problems.extend(wrong)).ok(),
        _ => {
            problems.push(Invalid::new(format!("{path}.type"), "must be `send` or `do_not_send`"));
            None
        }
    };
    match day {
        Some(day) if problems.is_empty() => Ok((day, window)),
        _ => Err(problems),
    }
}

fn read_window(entry: &Value, path: &str) -> Result<Window, Vec<Invalid>> {
    let mut problems = Vec::new();
    let mut read = |key: &str, default: u32| match &entry[key] {
        Value::Null => default,
        value => value.as_str().and_then(time_of_day).unwrap_or_else(|| {
            problems.push(Invalid::new(format!("{path}.{key}"), "must be a time of day as `HH:MM` or `HH:MM:SS`"));
            default
        }),
    };
    let window = Window { from: read("from", 0), until: read("until", END_OF_DAY) };
    if problems.is_empty() && window.until <= window.from {
        problems.push(Invalid::new(format!("{path}.until"), "must be later than `from`"));
    }
    if problems.is_empty() { Ok(window) } else { Err(problems) }
}

/// Seconds after midnight of `HH:MM` or `HH:MM:SS` (W-SNW-04).
fn time_of_day(text: &str) -> Option<u32> {
    let parts: Vec<&str> = text.split(':').collect();
    if parts.iter().any(|part| part.len() != 2 || !part.bytes().all(|byte| byte.is_ascii_digit())) {
        return None;
    }
    let numbers: Vec<u32> = parts.iter().filter_map(|part| part.parse().ok()).collect();
    match numbers[..] {
        [h, m] if h < 24 && m < 60 => Some(h * 3600 + m * 60),
        [h, m, s] if h < 24 && m < 60 && s < 60 => Some(h * 3600 + m * 60 + s),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A week that is open all day, with `entry` in place of Monday.
    fn week(entry: Value) -> Value {
        let rest = DAYS[1..].iter().map(|day| json!({"day": day, "type": "send"}));
        Value::Array(std::iter::once(entry).chain(rest).collect())
    }

    fn monday(entry: Value) -> Result<Option<Window>, Vec<Invalid>> {
        SendWindows::parse(&week(entry), "w").map(|windows| windows.on(Weekday::Monday))
    }

    #[test]
    fn each_day_has_its_window() {
        let whole = Some(Window { from: 0, until: 86_400 });
        let cases = [
            (json!({"day": "monday", "type": "do_not_send"}), None, "W-SNW-02"),
            (json!({"day": "monday", "type": "do_not_send", "from": "junk"}), None, "W-SNW-03: no meaning"),
            (json!({"day": "monday", "type": "send"}), whole, "W-SNW-03 defaults"),
            (json!({"day": "monday", "type": "send", "from": null, "until": null}), whole, "W-SNW-02 nullable"),
            (
                json!({"day": "monday", "type": "send", "from": "09:00", "until": "17:30:15"}),
                Some(Window { from: 32_400, until: 63_015 }),
                "W-SNW-04",
            ),
        ];
        for (entry, expected, rule) in cases {
            assert_eq!(monday(entry), Ok(expected), "{rule}");
        }
        let windows = SendWindows::parse(&week(json!({"day": "monday", "type": "do_not_send"})), "w");
        assert_eq!(windows.map(|w| w.on(Weekday::Sunday)), Ok(whole), "W-SNW-01");
    }

    #[test]
    fn a_malformed_day_is_named() {
        let cases = [
            (json!({"day": "mon", "type": "send"}), "w[0].day", "W-SNW-02"),
            (json!({"day": "monday", "type": "open"}), "w[0].type", "W-SNW-02"),
            (json!({"day": "monday", "type": "send", "from": "9:00"}), "w[0].from", "W-SNW-04"),
            (json!({"day": "monday", "type": "send", "until": "25:00"}), "w[0].until", "W-SNW-04"),
            (json!({"day": "monday", "type": "send", "from": "17:00", "until": "09:00"}), "w[0].until", "W-AMB-20"),
            (json!({"day": "monday", "type": "send", "form": "17:00"}), "w[0].form", "W-SNW-02"),
            (json!({"day": "tuesday", "type": "send"}), "w[1]", "W-SNW-01: twice"),
            (json!("monday"), "w[0]", "W-SNW-02"),
        ];
        for (entry, path, rule) in cases {
            let problems = monday(entry).expect_err(rule);
            assert_eq!(problems[0].path, path, "{rule}");
        }
    }

    #[test]
    fn a_week_has_seven_days_and_one_is_open() {
        let six = Value::Array(week(Value::Null).as_array().expect("a list")[1..].to_vec());
        let problems = SendWindows::parse(&six, "w").expect_err("W-SNW-01");
        assert_eq!(problems, [Invalid::new("w", "has no entry for monday")], "W-SNW-01");
        let closed: Vec<Value> = DAYS.iter().map(|day| json!({"day": day, "type": "do_not_send"})).collect();
        assert!(SendWindows::parse(&Value::Array(closed), "w").is_err(), "W-AMB-20: all closed");
        assert!(SendWindows::parse(&json!("always"), "w").is_err(), "W-SNW-01");
    }

    fn opens(windows: Value, now: &str, zone: &str) -> Option<String> {
        let windows = SendWindows::parse(&windows, "").unwrap();
        let zone = TimeZone::get(zone).unwrap();
        windows.opens_at(Time::parse(now).unwrap(), &zone).map(|at| at.timestamp().to_string())
    }

    /// W-SNW-12, W-AMB-20.
    #[test]
    fn the_next_window_opens_where_its_local_time_says() {
        let early = |from: &str, until: &str| {
            let day = |day: &&str| json!({"day": day, "type": "send", "from": from, "until": until});
            Value::Array(DAYS.iter().map(day).collect())
        };
        let nine = early("09:00", "17:00");
        assert_eq!(opens(nine.clone(), "2026-09-21T09:00:00Z", "Etc/UTC"), None, "`from` is inside");
        assert_eq!(opens(nine.clone(), "2026-09-21T08:59:59Z", "Etc/UTC"), Some("2026-09-21T09:00:00Z".into()));
        assert_eq!(opens(nine.clone(), "2026-09-21T17:00:00Z", "Etc/UTC"), Some("2026-09-22T09:00:00Z".into()));
        assert_eq!(opens(nine, "2026-09-21T16:59:59Z", "Etc/UTC"), None, "the last second is inside");
        // In Berlin 02:30 is passed over on 2026-03-29, and comes twice on 2026-10-25: the first counts.
        let small = early("02:30", "03:30");
        let open = opens(small.clone(), "2026-03-29T00:00:00Z", "Europe/Berlin");
        assert_eq!(open, Some("2026-03-29T01:30:00Z".into()), "03:30, behind the gap");
        assert_eq!(opens(small, "2026-10-24T23:00:00Z", "Europe/Berlin"), Some("2026-10-25T00:30:00Z".into()));
    }

    #[test]
    fn days_without_a_window_are_passed_over() {
        let only_monday: Value = DAYS
            .iter()
            .map(|day| json!({"day": day, "type": if *day == "monday" { "send" } else { "do_not_send" }, "until": "10:00"}))
            .collect();
        let next = |now| opens(only_monday.clone(), now, "Etc/UTC");
        assert_eq!(next("2026-09-21T10:00:00Z"), Some("2026-09-28T00:00:00Z".into()), "W-SNW-08: a week later");
        assert_eq!(next("2026-09-22T00:00:00Z"), Some("2026-09-28T00:00:00Z".into()));
        assert_eq!(next("2026-09-28T09:00:00Z"), None);
    }
}
