//! How far the messages of an earlier step have come, as conditions ask for it.

use serde_json::Value;

use super::operator::Operator;
use crate::model::invalid::nearest;

/// The prefix of reserved status names in arguments (W-CND-19).
pub const PREFIX: &str = "$message.";

/// The hierarchy, low to high, below it what never became a message (W-MSC-02, W-AMB-30).
const RANKS: [(&str, u8); 13] = [
    ("skipped", 0),
    ("undelivered", 1),
    ("bounced", 2),
    ("delivery_attempted", 3),
    ("queued", 4),
    ("not_sent", 5),
    ("sent", 6),
    ("delivered", 7),
    ("seen", 8),
    ("read", 9),
    ("interacted", 10),
    ("link_clicked", 10),
    ("archived", 11),
];
const COMBINED: [&str; 2] = ["seen_not_read", "read_not_link_clicked"];
const SKIPPED: &str = "skipped";

/// The rank of a status in the hierarchy over delivery and engagement; `skipped` is 0 (W-MSC-02).
pub fn rank(status: &str) -> Option<u8> {
    RANKS.iter().find(|(name, _)| *name == status).map(|(_, rank)| *rank)
}

/// A test of a step's messages, such as `greater_than_or_equal_to $message.sent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Test {
    operator: Operator,
    wanted: &'static str,
    rank: u8,
}

impl Test {
    /// Reads an operator with its argument as written.
    pub fn parse(operator: Operator, argument: Option<&Value>) -> Result<Self, String> {
        let is_engagement = matches!(operator, Operator::Contains | Operator::NotContains);
        if !is_engagement && compare(operator, 0, 0).is_none() {
            let name = operator.name();
            return Err(format!(
                "`{name}` does not test a message status: use contains, equal_to, less_than and their like"
            ));
        }
        let refuse = || "a message status is compared with `$message.<status>`, such as `$message.sent`".to_owned();
        let name = argument.and_then(Value::as_str).and_then(|text| text.strip_prefix(PREFIX)).ok_or_else(refuse)?;
        let ranked =
            RANKS.iter().find(|(known, _)| *known == name).map(|(wanted, rank)| Test { operator, wanted, rank: *rank });
        let combined =
            || COMBINED.iter().find(|known| **known == name).map(|wanted| Test { operator, wanted, rank: 0 });
        match ranked.or_else(combined) {
            Some(test) if COMBINED.contains(&test.wanted) && !is_engagement => {
                Err(format!("`$message.{name}` works with contains and not_contains only"))
            }
            Some(test) => Ok(test),
            None => Err(unknown(name)),
        }
    }

    /// Whether it holds for the step, given as `{"messages": [..], "expired": false}`; a step that made no message, never
    /// executed or does not exist counts as skipped (W-MSC-19, W-MSC-20).
    pub fn holds(self, step: Option<&Value>) -> bool {
        if is_expired(step) {
            return false;
        }
        let best = best(step);
        match self.operator {
            Operator::Contains => is_engaged(self.wanted, best),
            Operator::NotContains => !is_engaged(self.wanted, best),
            operator => compare(operator, best.map_or(0, message_rank), self.rank).unwrap_or(false),
        }
    }
}

/// The highest status of the step's messages, `skipped` without any (W-MSC-03, W-MSC-04); None once they are past
/// retention.
pub fn highest(step: Option<&Value>) -> Option<&str> {
    if is_expired(step) {
        return None;
    }
    let highest = best(step).and_then(|message| statuses(message).max_by_key(|status| rank(status)));
    Some(highest.unwrap_or(SKIPPED))
}

/// Past retention nothing is known, so nothing is claimed, not even the contrary (W-MSC-18).
fn is_expired(step: Option<&Value>) -> bool {
    step.and_then(|step| step.get("expired")).and_then(Value::as_bool).unwrap_or(false)
}

/// The message with the highest status (W-MSC-04).
fn best(step: Option<&Value>) -> Option<&Value> {
    step?.get("messages")?.as_array()?.iter().max_by_key(|message| message_rank(message))
}

fn message_rank(message: &Value) -> u8 {
    statuses(message).filter_map(rank).max().unwrap_or(0)
}

fn statuses(message: &Value) -> impl Iterator<Item = &str> {
    let delivery = message.get("delivery_status");
    let engagement = message.get("engagement_statuses").and_then(Value::as_array).into_iter().flatten();
    delivery.into_iter().chain(engagement).filter_map(Value::as_str)
}

/// Lower engagement is implied: who clicked has read, who read has seen (W-AMB-59).
fn is_engaged(wanted: &str, message: Option<&Value>) -> bool {
    let Some(message) = message else { return wanted == SKIPPED };
    let has = |status: &str| statuses(message).any(|found| found == status);
    let is_clicked = || has("link_clicked");
    let is_read = || has("read") || is_clicked();
    let is_seen = || has("seen") || is_read();
    match wanted {
        "seen" => is_seen(),
        "read" => is_read(),
        "seen_not_read" => is_seen() && !is_read(),
        "read_not_link_clicked" => is_read() && !is_clicked(),
        other => has(other),
    }
}

/// None for operators that do not compare ranks.
fn compare(operator: Operator, found: u8, wanted: u8) -> Option<bool> {
    Some(match operator {
        Operator::EqualTo => found == wanted,
        Operator::NotEqualTo => found != wanted,
        Operator::GreaterThan => found > wanted,
        Operator::GreaterThanOrEqualTo => found >= wanted,
        Operator::LessThan => found < wanted,
        Operator::LessThanOrEqualTo => found <= wanted,
        _ => return None,
    })
}

fn unknown(name: &str) -> String {
    let known = RANKS.iter().map(|(known, _)| *known).chain(COMBINED);
    let hint =
        nearest(name, known.clone()).map(|word| format!(" (did you mean `$message.{word}`?)")).unwrap_or_default();
    let all: Vec<&str> = known.collect();
    format!("`$message.{name}` is not a message status{hint}: known are {}", all.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn step(messages: &[(&str, &[&str])]) -> Value {
        let messages: Vec<Value> = messages
            .iter()
            .map(|(delivery, engagement)| json!({"delivery_status": delivery, "engagement_statuses": engagement}))
            .collect();
        json!({"messages": messages, "expired": false})
    }

    fn holds(step: Option<&Value>, operator: &str, status: &str) -> bool {
        let argument = json!(format!("$message.{status}"));
        Test::parse(Operator::parse(operator).unwrap(), Some(&argument)).unwrap().holds(step)
    }

    #[test]
    fn statuses_rank_from_skipped_to_archived() {
        let order = [
            "skipped",
            "undelivered",
            "bounced",
            "delivery_attempted",
            "queued",
            "not_sent",
            "sent",
            "delivered",
            "seen",
            "read",
            "interacted",
            "archived",
        ];
        let ranks: Vec<_> = order.iter().map(|status| rank(status).unwrap()).collect();
        assert!(ranks.windows(2).all(|pair| pair[0] < pair[1]), "W-MSC-02 W-AMB-30 F-MSG-19");
        assert_eq!(rank("interacted"), rank("link_clicked"), "W-MSC-02 F-MSG-19");
        assert_eq!(rank("unseen"), None);
    }

    #[test]
    fn the_message_that_came_furthest_speaks_for_the_step() {
        let several = step(&[("undelivered", &[]), ("sent", &["seen", "read"]), ("delivered", &[])]);
        assert_eq!(highest(Some(&several)), Some("read"), "W-MSC-03 W-MSC-04");
        assert!(holds(Some(&several), "greater_than_or_equal_to", "delivered"), "W-MSC-04 W-MSC-09");
        assert!(!holds(Some(&several), "equal_to", "undelivered"), "W-MSC-04");
        let archived_beats_read = step(&[("sent", &["read"]), ("sent", &["archived"])]);
        assert!(!holds(Some(&archived_beats_read), "contains", "read"), "W-MSC-04: one message, not their union");
    }

    #[test]
    fn delivery_statuses_compare_by_rank() {
        for (delivery, engagement, operator, status, expected, claim) in [
            ("undelivered", &[][..], "equal_to", "undelivered", true, "W-MSC-06"),
            ("bounced", &[], "equal_to", "bounced", true, "W-MSC-06"),
            ("bounced", &[], "equal_to", "undelivered", false, "W-MSC-06"),
            ("sent", &[], "greater_than_or_equal_to", "sent", true, "W-MSC-07"),
            ("queued", &[], "greater_than_or_equal_to", "sent", false, "W-MSC-07"),
            ("queued", &[], "less_than", "sent", true, "W-MSC-07 W-MSC-17: as it stands now"),
            ("delivered", &[], "less_than", "sent", false, "W-MSC-07"),
            ("delivered", &[], "greater_than_or_equal_to", "delivered", true, "W-MSC-08"),
            ("sent", &[], "less_than", "delivered", true, "W-MSC-08"),
            ("sent", &["read"], "greater_than_or_equal_to", "delivered", true, "W-MSC-09"),
            ("sent", &["read"], "less_than", "sent", false, "W-MSC-09"),
            ("not_sent", &[], "greater_than_or_equal_to", "sent", false, "W-MSC-10"),
            ("not_sent", &[], "less_than", "sent", true, "W-MSC-10"),
            ("queued", &[], "equal_to", "queued", true, "W-MSC-23"),
            ("sent", &[], "equal_to", "skipped", false, "W-MSC-05"),
            ("sent", &[], "not_equal_to", "skipped", true, "W-MSC-05"),
            ("delivered", &[], "less_than", "seen", true, "W-MSC-21"),
            ("delivered", &["seen"], "less_than", "seen", false, "W-MSC-21"),
            ("sent", &["seen"], "greater_than", "delivered", true, "W-MSC-21"),
            ("sent", &["link_clicked"], "less_than_or_equal_to", "interacted", true, "W-MSC-02"),
        ] {
            let step = step(&[(delivery, engagement)]);
            let found = holds(Some(&step), operator, status);
            assert_eq!(found, expected, "{claim}: {delivery} {engagement:?} {operator} {status}");
        }
    }

    #[test]
    fn engagement_is_contained_and_implies_what_is_lower() {
        let all = ["seen", "read", "seen_not_read", "read_not_link_clicked", "interacted", "link_clicked", "archived"];
        for (engagement, expected, claim) in [
            (&[][..], &[][..], "W-MSC-11"),
            (&["seen"], &["seen", "seen_not_read"], "W-MSC-11 W-MSC-12"),
            (&["seen", "read"], &["seen", "read", "read_not_link_clicked"], "W-MSC-13 W-MSC-14"),
            (&["read"], &["seen", "read", "read_not_link_clicked"], "W-AMB-59: read implies seen"),
            (&["link_clicked"], &["seen", "read", "link_clicked"], "W-AMB-59: a click implies read"),
            (&["interacted"], &["interacted"], "W-MSC-15"),
            (&["archived"], &["archived"], "W-MSC-15"),
        ] {
            let step = step(&[("sent", engagement)]);
            for status in all {
                let is_expected = expected.contains(&status);
                assert_eq!(holds(Some(&step), "contains", status), is_expected, "{claim}: {engagement:?} {status}");
                assert_eq!(
                    holds(Some(&step), "not_contains", status),
                    !is_expected,
                    "{claim}: {engagement:?} {status}"
                );
            }
        }
    }

    #[test]
    fn without_a_message_a_step_counts_as_skipped() {
        let none = step(&[]);
        for skipped in [Some(&none), None, Some(&json!(null)), Some(&json!({"matched": true}))] {
            for (operator, status) in [
                ("equal_to", "skipped"),
                ("less_than", "sent"),
                ("less_than", "undelivered"),
                ("not_contains", "seen"),
                ("not_contains", "seen_not_read"),
                ("not_equal_to", "bounced"),
            ] {
                assert!(holds(skipped, operator, status), "W-MSC-05 W-MSC-19 W-MSC-20 W-AMB-30 {operator} {status}");
            }
            for (operator, status) in [
                ("not_equal_to", "skipped"),
                ("greater_than_or_equal_to", "sent"),
                ("equal_to", "undelivered"),
                ("contains", "seen"),
                ("contains", "seen_not_read"),
            ] {
                assert!(!holds(skipped, operator, status), "W-MSC-19 W-MSC-20 {operator} {status}");
            }
            assert_eq!(highest(skipped), Some("skipped"));
        }
    }

    #[test]
    fn past_retention_every_status_condition_is_false() {
        let expired =
            json!({"messages": [{"delivery_status": "sent", "engagement_statuses": ["seen"]}], "expired": true});
        for operator in
            ["equal_to", "not_equal_to", "less_than", "greater_than_or_equal_to", "contains", "not_contains"]
        {
            for (status, _) in RANKS {
                assert!(!holds(Some(&expired), operator, status), "W-MSC-18 {operator} {status}");
            }
        }
        assert_eq!(highest(Some(&expired)), None);
    }

    #[test]
    fn what_is_no_test_of_a_status_is_refused() {
        for (operator, argument, expected) in [
            ("contains", json!("$message.saen"), "did you mean `$message.seen`?"),
            ("equal_to", json!("sent"), "is compared with `$message.<status>`"),
            ("equal_to", json!(null), "is compared with `$message.<status>`"),
            ("equal_to", json!("$message.seen_not_read"), "works with contains and not_contains only"),
            ("exists", json!("$message.seen"), "does not test a message status"),
            ("is_timestamp", json!("$message.seen"), "does not test a message status"),
        ] {
            let error = Test::parse(Operator::parse(operator).unwrap(), Some(&argument)).unwrap_err();
            assert!(error.contains(expected), "W-CND-19: {operator} {argument} gave `{error}`");
        }
    }
}
