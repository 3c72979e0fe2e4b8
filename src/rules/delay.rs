//! When a delay step lets its run go on.

use jiff::tz::TimeZone;
use serde_json::Value;

use super::moment::{Longest, Moment};
use crate::model::invalid::{Invalid, aside, join};
use crate::model::scope::Scope;
use crate::model::time::Time;

/// The longest delay (W-DLY-14).
pub const LONGEST: Longest = Longest { seconds: 365 * 86_400, name: "365 days" };

/// The settings of a delay step: for how long, until when, or how long before or after when (W-DLY-01 to W-DLY-04).
#[derive(Debug, Clone, PartialEq)]
pub struct Delay(Moment);

const KEYS: [&str; 2] = ["delay_for", "delay_until_field_path"];

impl Delay {
    /// Reads the step's settings; nulls mean unset. `path` says where they stand, for the errors.
    pub fn parse(settings: &Value, path: &str) -> Result<Self, Vec<Invalid>> {
        let Value::Object(map) = settings else {
            return Err(vec![Invalid::new(path, "must be an object with `delay_for` or `delay_until_field_path`")]);
        };
        let mut errors: Vec<Invalid> =
            map.keys().filter(|key| !KEYS.contains(&key.as_str())).map(|key| unknown_key(key, path)).collect();
        match Moment::parse(map, path, KEYS, LONGEST) {
            Ok(Some(moment)) if errors.is_empty() => return Ok(Delay(moment)),
            Ok(None) if errors.is_empty() => {
                errors.push(Invalid::new(path, "needs `delay_for`, `delay_until_field_path` or both"));
            }
            Ok(_) => {}
            Err(more) => errors.extend(more),
        }
        Err(errors)
    }

    /// When the run goes on, or why the delay is skipped and the run goes on at once (W-DLY-06).
    pub fn wake_at(&self, scope: &Scope<'_>, now: Time, zone: &TimeZone) -> Result<Time, String> {
        self.0.resolve(scope, now, zone, LONGEST)
    }
}

fn unknown_key(key: &str, path: &str) -> Invalid {
    let hint = aside(key, KEYS);
    let allowed = "a delay has `delay_for` ({\"unit\": .., \"value\": ..}) and `delay_until_field_path`";
    Invalid::new(join(path, key), format!("is not a setting of a delay{hint}: {allowed}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::moment::ROOTS;
    use serde_json::json;

    const NOW: &str = "2026-08-21T10:00:00Z";

    fn wake_in(settings: Value, data: Value, zone: &str) -> Result<String, String> {
        let delay = Delay::parse(&settings, "settings").unwrap();
        let scope = Scope::new(vec![("data", &data), ("recipient", &data), ("vars", &data)]);
        let zone = TimeZone::get(zone).unwrap();
        delay.wake_at(&scope, Time::parse(NOW).unwrap(), &zone).map(|at| at.timestamp().to_string())
    }

    fn wake(settings: Value, at: Value) -> Result<String, String> {
        wake_in(settings, json!({"at": at}), "Etc/UTC")
    }

    fn until_at() -> Value {
        json!({"delay_until_field_path": "data.at"})
    }

    fn around_at(unit: &str, value: i64) -> Value {
        json!({"delay_until_field_path": "data.at", "delay_for": {"unit": unit, "value": value}})
    }

    #[test]
    fn a_fixed_delay_counts_from_when_the_step_executes() {
        let fixed = json!({"delay_for": {"unit": "minutes", "value": 5}, "delay_until_field_path": null});
        assert_eq!(wake(fixed, json!(null)), Ok("2026-08-21T10:05:00Z".into()), "W-DLY-01 W-DLY-02");
    }

    #[test]
    fn a_dynamic_delay_takes_a_timestamp_a_duration_or_a_rule() {
        for (value, expected) in [
            (json!("2026-08-22T10:00:00+02:00"), "2026-08-22T08:00:00Z"),
            (json!({"unit": "weeks", "value": 1}), "2026-08-28T10:00:00Z"),
            (json!({"frequency": "daily", "hours": 9}), "2026-08-22T09:00:00Z"),
        ] {
            assert_eq!(wake(until_at(), value.clone()), Ok(expected.into()), "W-DLY-03 {value}");
        }
        let rule = json!({"at": {"frequency": "daily", "hours": 9}});
        let found = wake_in(until_at(), rule, "America/New_York");
        assert_eq!(found, Ok("2026-08-21T13:00:00Z".into()), "W-DLY-08");
    }

    #[test]
    fn a_relative_delay_lies_before_or_after_its_timestamp() {
        let at = json!("2026-08-22T10:00:00Z");
        assert_eq!(wake(around_at("hours", -2), at.clone()), Ok("2026-08-22T08:00:00Z".into()), "W-DLY-04 W-DLY-10");
        assert_eq!(wake(around_at("hours", 2), at.clone()), Ok("2026-08-22T12:00:00Z".into()), "W-DLY-04 W-DLY-10");
        let past = json!("2026-08-20T10:00:00Z");
        assert_eq!(wake(around_at("days", 14), past), Ok("2026-09-03T10:00:00Z".into()), "W-DLY-09: the result counts");
    }

    #[test]
    fn what_cannot_be_waited_for_is_skipped_with_its_reason() {
        for (settings, value, expected, claim) in [
            (until_at(), json!(null), "must be an ISO-8601", "W-DLY-06"),
            (until_at(), json!("tomorrow"), "not an ISO-8601", "W-DLY-06"),
            (until_at(), json!(12), "must be an ISO-8601", "W-DLY-06"),
            (json!({"delay_until_field_path": "data.gone"}), json!(null), "`data.gone` is not set", "W-DLY-06"),
            (json!({"delay_until_field_path": "actor.at"}), json!(null), "`actor.at` is not set", "W-DLY-06"),
            (until_at(), json!("2026-08-21T10:00:00Z"), "not in the future", "W-DLY-07"),
            (until_at(), json!("2020-01-01"), "not in the future", "W-DLY-07"),
            (around_at("days", -2), json!("2026-08-22T10:00:00Z"), "not in the future", "W-DLY-09"),
            (around_at("days", 0), json!(NOW), "not in the future", "W-DLY-09"),
            (around_at("days", 1), json!({"unit": "days", "value": 1}), "needs an ISO-8601 timestamp", "W-DLY-04"),
            (around_at("days", 1), json!("soon"), "not an ISO-8601", "W-DLY-06"),
            (json!({"delay_for": {"unit": "days", "value": 0}}), json!(null), "not a positive", "W-AMB-24"),
            (json!({"delay_for": {"unit": "days", "value": -1}}), json!(null), "not a positive", "W-AMB-24"),
            (until_at(), json!("2027-08-21T10:00:01Z"), "more than 365 days", "W-DLY-14 W-AMB-24"),
            (until_at(), json!({"unit": "days", "value": 366}), "more than 365 days", "W-DLY-14 W-AMB-24"),
            (around_at("days", 300), json!("2026-12-21T10:00:00Z"), "more than 365 days", "W-DLY-14"),
            (around_at("days", 300), json!("9999-12-21T10:00:00Z"), "out of any calendar", "W-DLY-14"),
        ] {
            let reason = wake(settings.clone(), value.clone()).unwrap_err();
            assert!(reason.contains(expected), "{claim}: {settings} with {value} gave `{reason}`");
        }
    }

    #[test]
    fn a_year_is_the_longest() {
        assert_eq!(wake(until_at(), json!("2027-08-21T10:00:00Z")), Ok("2027-08-21T10:00:00Z".into()), "W-DLY-14");
        let year = json!({"delay_for": {"unit": "days", "value": 365}});
        assert_eq!(wake(year, json!(null)), Ok("2027-08-21T10:00:00Z".into()), "W-DLY-14");
    }

    #[test]
    fn settings_that_mean_nothing_are_refused() {
        for (settings, expected, claim) in [
            (json!({"duration": "5 minutes"}), "settings.duration: is not a setting of a delay", "W-DLY-18"),
            (json!({}), "settings: needs `delay_for`", "W-DLY-01"),
            (json!({"delay_for": null}), "settings: needs `delay_for`", "W-DLY-01"),
            (json!(null), "settings: must be an object", "W-DLY-01"),
            (json!({"delay_for": "5 minutes"}), "settings.delay_for: a duration is", "W-DLY-18"),
            (json!({"delay_for": {"unit": "days", "value": 366}}), "at most 365 days", "W-DLY-14 W-AMB-24"),
            (json!({"delay_until_field_path": "run.at"}), "must be a path that begins with data.", "W-DLY-05"),
            (json!({"delay_until_field_path": "data."}), "must be a path that begins with data.", "W-DLY-05"),
            (json!({"delay_until_field_path": 7}), "must be a path that begins with data.", "W-DLY-05"),
        ] {
            let errors = Delay::parse(&settings, "settings").unwrap_err();
            assert!(errors[0].to_string().contains(expected), "{claim}: {settings} gave {errors:?}");
        }
        for root in ROOTS {
            let settings = json!({"delay_until_field_path": format!("{root}.at")});
            assert!(Delay::parse(&settings, "").is_ok(), "W-DLY-05 W-DUR-04 {root}");
        }
    }
}
