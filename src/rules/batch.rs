//! What a batch comes to: when it closes, and the data that its activities make together.

use serde_json::{Map, Value};

use crate::model::time::Time;

/// Characters of a text that merged data keep (W-BAT-45).
const LONGEST_TEXT: usize = 256;

/// When a sliding window closes that another activity would have close at `resolved` (W-BAT-18): at `cap_at` at the latest
/// (W-BAT-19), and at once when that is over (W-BAT-21).
pub fn slid(resolved: Time, cap_at: Time, now: Time) -> Time {
    resolved.min(cap_at).max(now)
}

/// The data of activities in the order in which they came, later ones over earlier ones, top-level scalars only
/// (W-BAT-44, W-BAT-45).
pub fn merged<'a>(data: impl IntoIterator<Item = &'a Map<String, Value>>) -> Map<String, Value> {
    let mut out = Map::new();
    for (name, value) in data.into_iter().flatten() {
        match value {
            // What is nested lies over what was there, and is dropped.
            Value::Object(_) | Value::Array(_) => drop(out.remove(name)),
            Value::String(text) => {
                let cut: String = text.chars().take(LONGEST_TEXT).collect();
                out.insert(name.clone(), cut.into());
            }
            scalar => {
                out.insert(name.clone(), scalar.clone());
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(seconds: i64) -> Time {
        Time::from_micros(seconds * 1_000_000)
    }

    #[test]
    fn a_sliding_window_ends_at_its_cap_and_not_in_the_past() {
        assert_eq!(slid(at(20), at(30), at(8)), at(20), "W-BAT-18");
        assert_eq!(slid(at(40), at(30), at(8)), at(30), "W-BAT-19");
        assert_eq!(slid(at(40), at(2), at(8)), at(8), "W-BAT-21");
    }

    #[test]
    fn later_scalars_lie_over_earlier_ones_and_what_is_nested_is_dropped() {
        let long = "ä".repeat(300);
        let data = [
            json!({"a": 1, "b": "x", "deep": {"y": 1}, "list": [1], "was": true}),
            json!({"b": "y", "a": {"now": "nested"}, "none": null, "long": long}),
        ];
        let merged = merged(data.iter().filter_map(Value::as_object));
        let expected = json!({"b": "y", "was": true, "none": null, "long": "ä".repeat(256)});
        assert_eq!(Value::Object(merged), expected, "W-BAT-44 W-BAT-45");
    }
}
