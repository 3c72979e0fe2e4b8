//! A channel group: channels of one kind, each with a rule that says when it is used.

use serde_json::{Map, Value, json};

use super::channel::ChannelKind;
use super::invalid::{Invalid, join};
use super::workflow::experiment::{bucket, tenths};
use crate::rules::condition::{Allow, Group};

/// A configured group, which channel steps name by its key (W-CHS-13).
#[derive(Debug)]
pub struct ChannelGroup {
    pub key: String,
    pub name: String,
    /// What kind of channels are in it.
    pub channel_type: ChannelKind,
    pub operator: Operator,
    /// Its channels, in the order of their indexes.
    pub members: Vec<Member>,
}

/// Which channels of a group are used (W-AMB-67).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operator {
    /// Each whose rule holds.
    #[default]
    Any,
    /// All of them if every rule holds, else none.
    All,
}

impl Operator {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Operator::Any => "any",
            Operator::All => "all",
        }
    }
}

/// A channel of a group.
#[derive(Debug)]
pub struct Member {
    /// The channel's key.
    pub channel: String,
    pub rule: Rule,
}

/// When a channel of a group is used.
#[derive(Debug)]
pub enum Rule {
    Always,
    If(Test),
    Unless(Test),
}

/// What a rule asks.
#[derive(Debug)]
pub enum Test {
    /// A condition like any other; there is one in the group.
    Condition(Group),
    /// Whether the recipient is among so many tenths of a percent of all (W-CND-51).
    Cohort(u16),
}

impl Rule {
    /// Reads a rule's `rule_type`, `variable`, `operator` and `argument`; everything else of `map` is somebody else's.
    pub fn parse(map: &Map<String, Value>, path: &str) -> Result<Rule, Vec<Invalid>> {
        let fault = |member: &str, message: &str| Err(vec![Invalid::new(join(path, member), message)]);
        let word = map.get("rule_type").map_or(Some("always"), Value::as_str);
        let asks = ["variable", "operator", "argument"].into_iter().find(|member| map.contains_key(*member));
        match (word, asks) {
            (Some("always"), None) => Ok(Rule::Always),
            (Some("always"), Some(member)) => fault(member, "is asked by rules of type `if` and `unless` only"),
            (Some("if"), _) => Ok(Rule::If(test(map, path)?)),
            (Some("unless"), _) => Ok(Rule::Unless(test(map, path)?)),
            _ => fault("rule_type", "must be always, if or unless"),
        }
    }

    /// The word on the wire.
    pub fn as_str(&self) -> &'static str {
        match self {
            Rule::Always => "always",
            Rule::If(_) => "if",
            Rule::Unless(_) => "unless",
        }
    }

    /// What it asks, if it asks anything.
    pub fn test(&self) -> Option<&Test> {
        match self {
            Rule::Always => None,
            Rule::If(test) | Rule::Unless(test) => Some(test),
        }
    }

    /// Whether it holds where what it asks is so, or is not.
    pub fn holds(&self, is_so: bool) -> bool {
        match self {
            Rule::Always => true,
            Rule::If(_) => is_so,
            Rule::Unless(_) => !is_so,
        }
    }
}

fn test(map: &Map<String, Value>, path: &str) -> Result<Test, Vec<Invalid>> {
    let argument = map.get("argument").cloned().unwrap_or_default();
    if map.get("operator").is_some_and(|operator| operator == "is_in_random_cohort") {
        let mut faults = Vec::new();
        if map.get("variable").is_none_or(|variable| variable != "recipient.id") {
            faults.push(Invalid::new(join(path, "variable"), "must be `recipient.id`: cohorts are made of recipients"));
        }
        let share = tenths(&argument);
        if share.is_none() {
            let message = "must be a percentage from 0 to 100 with at most one decimal";
            faults.push(Invalid::new(join(path, "argument"), message));
        }
        return share.filter(|_| faults.is_empty()).map(Test::Cohort).ok_or(faults);
    }
    let written = ["variable", "operator", "argument"].into_iter().filter_map(|name| Some((name, map.get(name)?)));
    let condition: Value =
        json!([written.map(|(name, value)| (name.to_owned(), value.clone())).collect::<Map<_, _>>()]);
    let group = Group::parse_list(&condition, "", Allow::default());
    // The list is of our making: what is wrong stands in the rule itself.
    let placed = |fault: Invalid| Invalid {
        path: join(path, fault.path.trim_start_matches("[0]").trim_start_matches('.')),
        ..fault
    };
    group.map(Test::Condition).map_err(|faults| faults.into_iter().map(placed).collect())
}

/// Whether a recipient is among so many tenths of a percent of all. Each channel of each group draws for itself, and
/// always the same.
pub fn is_in_cohort(group: &str, channel: &str, recipient: &str, share: u16) -> bool {
    bucket([group, channel, recipient]) < share
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(rule: Value) -> Result<Rule, Vec<String>> {
        let Value::Object(map) = rule else { panic!("a rule") };
        Rule::parse(&map, "rules[1]").map_err(|faults| faults.into_iter().map(|fault| fault.path).collect())
    }

    #[test]
    fn rules_are_read_or_told_what_is_wrong_with_them() {
        assert!(matches!(parse(json!({"channel": "a"})), Ok(Rule::Always)), "W-CHS-13");
        let asks =
            json!({"rule_type": "unless", "variable": "recipient.plan", "operator": "equal_to", "argument": "pro"});
        assert!(matches!(parse(asks), Ok(Rule::Unless(Test::Condition(_)))), "W-CHS-13");
        let cohort = |argument: Value| json!({"rule_type": "if", "variable": "recipient.id", "operator": "is_in_random_cohort", "argument": argument});
        assert!(matches!(parse(cohort(json!("12.5"))), Ok(Rule::If(Test::Cohort(125)))), "W-CND-51");
        for (rule, paths) in [
            (json!({"rule_type": "sometimes"}), vec!["rules[1].rule_type"]),
            (json!({"argument": "x"}), vec!["rules[1].argument"]),
            (json!({"rule_type": "if", "variable": "recipient.plan", "operator": "is"}), vec!["rules[1].operator"]),
            (json!({"rule_type": "if", "operator": "exists"}), vec!["rules[1].variable"]),
            (cohort(json!("101")), vec!["rules[1].argument"]),
            (cohort(json!("1.25")), vec!["rules[1].argument"]),
            (
                json!({"rule_type": "if", "variable": "data.id", "operator": "is_in_random_cohort", "argument": "5"}),
                vec!["rules[1].variable"],
            ),
        ] {
            assert_eq!(parse(rule.clone()).expect_err("a fault"), paths, "W-CHS-13 W-CND-51 {rule}");
        }
    }

    #[test]
    fn a_cohort_is_stable_and_as_large_as_it_says() {
        let among = |share: u16, channel: &str| -> Vec<bool> {
            (0..10_000).map(|n| is_in_cohort("group", channel, &format!("u{n}"), share)).collect()
        };
        let size = among(125, "a").into_iter().filter(|is_in| *is_in).count();
        assert!((1_150..1_350).contains(&size), "W-CND-51: {size} of 10,000 for 12.5 %");
        assert!(among(0, "a").into_iter().all(|is_in| !is_in) && among(1_000, "a").into_iter().all(|is_in| is_in));
        assert_eq!(among(125, "a"), among(125, "a"), "W-CND-51");
        assert_ne!(among(125, "a"), among(125, "b"));
        let (small, large) = (among(125, "a"), among(500, "a"));
        assert!(small.iter().zip(&large).all(|(small, large)| !small || *large), "a larger share keeps who was in");
    }
}
