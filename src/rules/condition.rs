//! Conditions: `{variable, operator, argument}` in groups, read once and evaluated often.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::comparison as compare;
use super::message_status::{self, Test};
use super::operand::{Operand, Path, Side};
use super::operator::{Kind, Operator};
use super::reader::{Reader, split_reference};
use crate::model::invalid::Invalid;
use crate::model::presence;
use crate::model::scope::Scope;
use crate::model::time::Time;
use crate::template::Template;

/// Conditions joined by AND or OR, at most two levels deep (W-CND-02, W-CND-03).
#[derive(Debug, Clone)]
pub struct Group {
    pub(crate) join: Join,
    pub(crate) members: Vec<Member>,
}

/// Which variables may be named besides those of every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Allow {
    /// `refs.*`: in step, branch and match conditions, never in channel or preference conditions (W-CND-56).
    pub message_status: bool,
    /// `event.*`: in the match conditions of a wait (W-CND-10).
    pub event: bool,
}

/// What conditions are evaluated against, at the instant they are (W-CND-09).
pub struct Context<'a> {
    /// The values that can be named.
    pub scope: &'a Scope<'a>,
    /// The instant of the evaluation.
    pub now: Time,
    /// Whether the run's recipient is in the audience with this key, under the run's tenant (W-CND-49, W-CND-50).
    pub is_member: &'a dyn Fn(&str) -> bool,
    /// Renders an argument that holds Liquid (W-CND-20); None if it cannot be rendered.
    pub liquid: &'a dyn Fn(&Template) -> Option<String>,
}

/// The outcome of a group with the protocol of how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Whether the conditions hold.
    pub passed: bool,
    /// One entry for each condition, in the order written.
    pub evaluations: Vec<Evaluation>,
}

/// One line of the protocol (W-RUN-16).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// The variable as written.
    pub variable: Arc<str>,
    /// The operator.
    pub operator: Operator,
    /// The argument as written.
    pub argument: Arc<Value>,
    /// What the variable was, cut to a readable length; None if not set or not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<Value>,
    /// What the argument was, cut likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right: Option<Value>,
    /// None if the outcome was decided before (W-CND-07).
    pub result: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    All,
    Any,
}

#[derive(Debug, Clone)]
pub(crate) enum Member {
    One(Condition),
    Group(Group),
}

#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) variable: Arc<str>,
    pub(crate) operator: Operator,
    pub(crate) argument: Arc<Value>,
    pub(crate) question: Question,
}

#[derive(Debug, Clone)]
pub(crate) enum Question {
    /// Compares two sides.
    Compare(Operand, Operand),
    /// Asks how far the messages of a step have come.
    Status(Box<str>, Test),
    /// Asks whether the recipient is in an audience.
    Audience(Operand),
}

impl Group {
    /// Reads an `{"all": [..]}` or `{"any": [..]}` group; null and empty groups are always true (W-AMB-19). `path` says
    /// where it stands, for the errors.
    pub fn parse(value: &Value, path: &str, allow: Allow) -> Result<Self, Vec<Invalid>> {
        Reader::new(allow, "variable").finish(|reader| reader.group(value, path, 0))
    }

    /// Reads a flat list of conditions that must all hold, as preferences have them (W-CND-05).
    pub fn parse_list(value: &Value, path: &str, allow: Allow) -> Result<Self, Vec<Invalid>> {
        Reader::new(allow, "variable").finish(|reader| reader.flat(value, path))
    }

    /// Reads the segments of a dynamic audience: any segment, all of its conditions, which name a `property` of the
    /// user (W-CND-06).
    pub fn parse_segments(value: &Value, path: &str) -> Result<Self, Vec<Invalid>> {
        Reader::new(Allow::default(), "property").finish(|reader| reader.any_of(value, path, Reader::segment))
    }

    /// Reads the match conditions of a wait: any of `{"operator": "and", "conditions": [..]}` or plain groups (W-AMB-36).
    pub fn parse_matches(value: &Value, path: &str) -> Result<Self, Vec<Invalid>> {
        let allow = Allow { message_status: true, event: true };
        Reader::new(allow, "variable").finish(|reader| match value {
            Value::Object(_) => reader.group(value, path, 0),
            _ => reader.any_of(value, path, Reader::matching),
        })
    }

    /// True if there is no condition in it.
    pub fn is_empty(&self) -> bool {
        self.size() == 0
    }

    /// Whether it asks who is in an audience.
    pub fn asks_for_audiences(&self) -> bool {
        self.members.iter().any(|member| match member {
            Member::One(condition) => matches!(condition.question, Question::Audience(_)),
            Member::Group(group) => group.asks_for_audiences(),
        })
    }

    /// Whether it may name whether the recipient is online, or when they were.
    pub fn names_presence(&self) -> bool {
        let may_name = |condition: &Condition| {
            presence::may_be_named_in(&condition.variable)
                || condition.argument.as_str().is_some_and(presence::may_be_named_in)
        };
        self.members.iter().any(|member| match member {
            Member::One(condition) => may_name(condition),
            Member::Group(group) => group.names_presence(),
        })
    }

    /// The refs of the steps it names, in the order written.
    pub fn refs(&self) -> Vec<&str> {
        let mut refs = Vec::new();
        self.collect_refs(&mut refs);
        refs
    }

    /// Evaluates it with a protocol.
    pub fn evaluate(&self, context: &Context<'_>) -> Verdict {
        let mut evaluations = Vec::with_capacity(self.size());
        let passed = self.protocol(context, true, &mut evaluations);
        Verdict { passed, evaluations }
    }

    /// Evaluates it without one.
    pub fn holds(&self, context: &Context<'_>) -> bool {
        let mut results = self.members.iter().map(|member| match member {
            Member::One(condition) => condition.question.ask(condition.operator, context).result,
            Member::Group(group) => group.holds(context),
        });
        match self.join {
            Join::All => results.all(|result| result),
            Join::Any => self.members.is_empty() || results.any(|result| result),
        }
    }

    fn size(&self) -> usize {
        let sizes = self.members.iter().map(|member| match member {
            Member::One(_) => 1,
            Member::Group(group) => group.size(),
        });
        sizes.sum()
    }

    fn collect_refs<'a>(&'a self, refs: &mut Vec<&'a str>) {
        for member in &self.members {
            match member {
                Member::One(condition) => condition.question.collect_refs(refs),
                Member::Group(group) => group.collect_refs(refs),
            }
        }
    }

    /// Notes every condition; those after the outcome is decided, or below a group nobody asks, as not evaluated.
    fn protocol(&self, context: &Context<'_>, is_asked: bool, notes: &mut Vec<Evaluation>) -> bool {
        let decisive = self.join == Join::Any;
        let mut is_decided = false;
        for member in &self.members {
            let is_asked = is_asked && !is_decided;
            let result = match member {
                Member::One(condition) => condition.protocol(context, is_asked, notes),
                Member::Group(group) => group.protocol(context, is_asked, notes),
            };
            is_decided |= is_asked && result == decisive;
        }
        if self.members.is_empty() { true } else { is_decided == decisive }
    }
}

/// What came of a question.
#[derive(Default)]
struct Answer<'a> {
    left: Option<Cow<'a, Value>>,
    right: Option<Cow<'a, Value>>,
    result: bool,
}

impl Condition {
    fn protocol(&self, context: &Context<'_>, is_asked: bool, notes: &mut Vec<Evaluation>) -> bool {
        let answer = is_asked.then(|| self.question.ask(self.operator, context));
        let result = answer.as_ref().map(|answer| answer.result);
        let (left, right) = answer.map(|answer| (answer.left, answer.right)).unwrap_or_default();
        notes.push(Evaluation {
            variable: self.variable.clone(),
            operator: self.operator,
            argument: self.argument.clone(),
            left: left.as_deref().map(cut),
            right: right.as_deref().map(cut),
            result,
        });
        result.unwrap_or(false)
    }
}

impl Question {
    fn ask<'a>(&'a self, operator: Operator, context: &Context<'a>) -> Answer<'a> {
        match self {
            Question::Compare(left, right) => comparison(operator, left, right, context),
            Question::Status(step, test) => status(step, *test, context),
            Question::Audience(key) => audience(operator, key, context),
        }
    }

    fn collect_refs<'a>(&'a self, refs: &mut Vec<&'a str>) {
        let mut of_paths = |operand: &'a Operand| {
            refs.extend(
                operand.paths().filter_map(Path::below_refs).filter_map(split_reference).map(|found| found.step),
            );
        };
        match self {
            Question::Compare(left, right) => {
                of_paths(left);
                of_paths(right);
            }
            Question::Status(step, _) => refs.push(step),
            Question::Audience(key) => of_paths(key),
        }
    }
}

fn comparison<'a>(operator: Operator, left: &'a Operand, right: &'a Operand, context: &Context<'a>) -> Answer<'a> {
    let (v, a) = (left.resolve(context), right.resolve(context));
    if operator.kind() == Kind::Range {
        return range(operator, v, right, a, context);
    }
    let result = decide(operator, &v, &a, context.now);
    Answer { left: v.value, right: a.value, result }
}

fn decide(operator: Operator, v: &Side<'_>, a: &Side<'_>, now: Time) -> bool {
    let ordered = |test: fn(std::cmp::Ordering) -> bool| compare::order(v, a, now).is_some_and(test);
    let instants = |test: fn(Time, Time) -> bool| match (compare::instant(v), compare::instant(a)) {
        (Some(v), Some(a)) => test(v, a),
        _ => false,
    };
    match operator {
        Operator::EqualTo => compare::equal(v, a),
        Operator::NotEqualTo => !compare::equal(v, a),
        Operator::GreaterThan => ordered(|order| order.is_gt()),
        Operator::GreaterThanOrEqualTo => ordered(|order| order.is_ge()),
        Operator::LessThan => ordered(|order| order.is_lt()),
        Operator::LessThanOrEqualTo => ordered(|order| order.is_le()),
        Operator::Contains => compare::contains(v, a),
        Operator::NotContains => !compare::contains(v, a),
        Operator::ContainsAll => compare::contains_all(v, a),
        Operator::NotContainsAll => !compare::contains_all(v, a),
        Operator::Empty => compare::is_empty(v),
        Operator::NotEmpty => !compare::is_empty(v),
        Operator::Exists => compare::exists(v),
        Operator::NotExists => !compare::exists(v),
        Operator::IsTimestamp => compare::instant(v).is_some(),
        Operator::IsNotTimestamp => compare::instant(v).is_none(),
        Operator::IsTimestampBefore => instants(|v, a| v < a),
        Operator::IsTimestampOnOrAfter => instants(|v, a| v >= a),
        Operator::IsTimestampBeforeNow => compare::instant(v).is_some_and(|v| v < now),
        Operator::IsTimestampOnOrAfterNow => compare::instant(v).is_some_and(|v| v >= now),
        Operator::IsTimestampBeforeDate => instants(|v, a| utc_day(v) < utc_day(a)),
        Operator::IsTimestampOnOrAfterDate => instants(|v, a| utc_day(v) >= utc_day(a)),
        // Asked elsewhere: of ranges and of audiences.
        Operator::IsTimestampBetween | Operator::IsBetween => false,
        Operator::IsAudienceMember | Operator::IsNotAudienceMember => false,
    }
}

/// The calendar date in UTC, as a count of days (W-AMB-46).
fn utc_day(at: Time) -> i64 {
    at.seconds().div_euclid(86_400)
}

fn range<'a>(operator: Operator, v: Side<'a>, ends: &'a Operand, whole: Side<'a>, context: &Context<'a>) -> Answer<'a> {
    let Some([low, high]) = ends.resolve_pair(&whole, context) else {
        return Answer { left: v.value, right: whole.value, result: false };
    };
    let result = match operator {
        Operator::IsTimestampBetween => compare::is_instant_between(&v, &low, &high),
        _ => compare::is_number_between(&v, &low, &high),
    };
    let spelled = |side: &Side<'_>| side.value.as_deref().map_or(Value::Null, cut);
    let right = Value::Array(vec![spelled(&low), spelled(&high)]);
    Answer { left: v.value, right: Some(Cow::Owned(right)), result }
}

fn status<'a>(step: &str, test: Test, context: &Context<'a>) -> Answer<'a> {
    let step = context.scope.root("refs").and_then(|refs| refs.get(step));
    let left = message_status::highest(step).map(|status| Cow::Owned(Value::from(status)));
    Answer { left, right: None, result: test.holds(step) }
}

/// Object recipients are never members (W-AMB-48).
fn audience<'a>(operator: Operator, key: &'a Operand, context: &Context<'a>) -> Answer<'a> {
    let side = key.resolve(context);
    let of_recipient = |path: &str| context.scope.path(path).and_then(Value::as_str);
    let is_object =
        of_recipient("recipient.__typename") == Some("Object") || of_recipient("recipient.collection").is_some();
    let name = side.as_str().or(side.raw.as_deref());
    let is_member = !is_object && name.is_some_and(|name| (context.is_member)(name));
    let left = context.scope.path("recipient.id").map(Cow::Borrowed);
    Answer { left, right: side.value, result: is_member == (operator == Operator::IsAudienceMember) }
}

const CUT_CHARACTERS: usize = 256;
const CUT_VALUES: usize = 100;

/// A copy fit for a log: long text is cut to 256 characters, and after a hundred values the rest is left out.
fn cut(value: &Value) -> Value {
    cut_within(value, &mut { CUT_VALUES })
}

fn cut_within(value: &Value, left: &mut usize) -> Value {
    *left = left.saturating_sub(1);
    match value {
        Value::String(text) => match text.char_indices().nth(CUT_CHARACTERS) {
            Some((end, _)) => text[..end].into(),
            None => text.as_str().into(),
        },
        Value::Array(items) => {
            let mut kept = Vec::new();
            for item in items {
                if *left == 0 {
                    break;
                }
                kept.push(cut_within(item, left));
            }
            kept.into()
        }
        Value::Object(map) => {
            let mut kept = Map::new();
            for (key, item) in map {
                if *left == 0 {
                    break;
                }
                kept.insert(key.clone(), cut_within(item, left));
            }
            kept.into()
        }
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const NOW: &str = "2026-08-21T10:00:00Z";
    const STEP: Allow = Allow { message_status: true, event: false };

    fn roots() -> Value {
        json!({
            "data": {
                "plan": "pro", "count": 18, "age": 49, "ratio": 5.0, "yes": true, "yes_text": "true", "five_text": "5",
                "zero": 0, "no": false, "null": null, "blank": "", "none": [], "nothing": {}, "title": "senior engineer",
                "room": "room 101", "number": 1234, "tags": ["vip", "beta"], "ids": [1, 2, "3"], "one": ["vip"],
                "alert": {"severity": "high", "codes": [7, {"level": 3}]}, "a.b": "dotted", "a": {"b": "split"},
                "at": "2026-08-21T09:00:00Z", "noon": "2026-08-21T12:00:00+02:00", "tomorrow": "2026-08-22T09:00:00Z",
                "day": "2026-08-21", "topic": "sports", "range": ["2026-08-21T00:00:00Z", "2026-08-22T00:00:00Z"],
                "limits": [10, 20], "object": {"x": 1, "y": [1.0]}, "text_date": "yesterday", "token": "30_days_ago",
                "long": "é".repeat(300), "low": 10, "high": 20, "micros": 1_700_000_000
            },
            "recipient": {
                "__typename": "User", "id": "u1", "plan": "pro", "muted": ["sports", "news"], "yes": true,
                "renews_at": "2026-08-21T11:00:00Z", "subscription": {"events": ["a"]}, "blank": "", "null": null,
                "audience": "vip"
            },
            "vars": {"flag": true, "text": "hello"},
            "workflow": {"id": "w", "name": "Invoices", "key": "invoice", "categories": ["billing"]},
            "run": {"total_activities": 3, "total_actors": 2},
            "refs": {
                "email_1": {"messages": [{"delivery_status": "sent", "engagement_statuses": ["seen"]}], "expired": false},
                "wait_1": {"matched": true, "signal_variables": {"data": {"status": "paid"}}},
                "my.step": {"messages": [{"delivery_status": "bounced"}]}
            },
            "event": {"data": {"status": "paid"}}
        })
    }

    fn liquid(template: &Template) -> Option<String> {
        match template.source() {
            "{{ recipient.renews_at }}" => Some("2026-08-21T11:00:00Z".into()),
            "{{ data.count }}" => Some("18".into()),
            "{{ range }}" => Some(r#"["2026-08-21", "2026-08-22"]"#.into()),
            _ => None,
        }
    }

    fn with_context<T>(roots: &Value, act: impl FnOnce(&Context<'_>) -> T) -> T {
        let scope = Scope::new(roots.as_object().unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect());
        let now = Time::parse(NOW).unwrap();
        act(&Context { scope: &scope, now, is_member: &|key| key == "vip" || key == "2024", liquid: &liquid })
    }

    fn evaluate(group: &Value, allow: Allow) -> Verdict {
        let group = Group::parse(group, "conditions", allow).unwrap();
        with_context(&roots(), |context| {
            let verdict = group.evaluate(context);
            assert_eq!(group.holds(context), verdict.passed, "with or without a protocol: {group:?}");
            verdict
        })
    }

    fn passes(variable: &str, operator: &str, argument: Value) -> bool {
        let condition = json!({"variable": variable, "operator": operator, "argument": argument});
        evaluate(&json!({"all": [condition]}), STEP).passed
    }

    fn refusal(group: Value, allow: Allow) -> String {
        let errors = Group::parse(&group, "conditions", allow).unwrap_err();
        errors.iter().map(Invalid::to_string).collect::<Vec<_>>().join("\n")
    }

    fn refusal_of(variable: &str, operator: &str, argument: Value) -> String {
        refusal(json!({"all": [{"variable": variable, "operator": operator, "argument": argument}]}), STEP)
    }

    /// Each row: variable, operator, argument, whether it holds, the rules that say so.
    type Rows<'a> = &'a [(&'a str, &'a str, Value, bool, &'a str)];

    fn check(rows: Rows<'_>) {
        for (variable, operator, argument, expected, claim) in rows {
            let found = passes(variable, operator, argument.clone());
            assert_eq!(found, *expected, "{claim}: {variable} {operator} {argument}");
        }
    }

    #[test]
    fn equality_knows_types_and_the_raw_text_of_an_argument() {
        check(&[
            ("data.plan", "equal_to", json!("pro"), true, "W-CND-21 W-CND-15"),
            ("data.plan", "equal_to", json!("Pro"), false, "W-CND-21"),
            ("data.plan", "not_equal_to", json!("pro"), false, "W-CND-22"),
            ("data.count", "equal_to", json!("18"), true, "W-CND-15: text is decoded"),
            ("data.count", "equal_to", json!(18), true, "W-CND-15: native numbers"),
            ("data.ratio", "equal_to", json!("5"), true, "W-AMB-43: 5.0 is 5"),
            ("data.yes", "equal_to", json!("true"), true, "W-CND-15 W-CND-53"),
            ("data.yes", "equal_to", json!(true), true, "W-CND-15"),
            ("data.yes", "equal_to", json!("\"true\""), false, "W-CND-16 W-CND-21"),
            ("data.yes_text", "equal_to", json!("\"true\""), true, "W-CND-16"),
            ("data.yes_text", "equal_to", json!("true"), true, "W-AMB-43: raw text"),
            ("data.yes_text", "equal_to", json!(true), false, "W-CND-21: a boolean is no text"),
            ("data.five_text", "equal_to", json!("5"), true, "W-AMB-43: raw text"),
            ("data.five_text", "equal_to", json!(5), false, "W-CND-21"),
            ("data.yes_text", "equal_to", json!("recipient.yes"), false, "W-AMB-43: paths compare strictly"),
            ("data.null", "equal_to", json!("null"), true, "W-CND-15"),
            ("data.null", "equal_to", json!(null), true, "F-CND-03 W-CND-14"),
            ("data.blank", "equal_to", json!(""), true, "W-CND-21"),
            ("data.blank", "equal_to", json!("null"), false, "W-CND-21"),
            ("data.tags", "equal_to", json!("[\"vip\",\"beta\"]"), true, "W-CND-15 W-CND-21: deep"),
            ("data.tags", "equal_to", json!(["vip", "beta"]), true, "W-CND-14 W-CND-15"),
            ("data.tags", "equal_to", json!(["beta", "vip"]), false, "W-CND-21: deep"),
            ("data.object", "equal_to", json!("{\"y\":[1],\"x\":1.0}"), true, "W-CND-21: deep"),
            ("data.object", "equal_to", json!({"x": 1}), false, "W-CND-21: deep"),
            ("vars.flag", "equal_to", json!("true"), true, "W-CND-53 F-CND-09"),
            ("data.count", "equal_to", json!("{{ data.count }}"), true, "W-CND-20"),
            ("data.count", "equal_to", json!("{{ broken }}"), false, "W-CND-20"),
            ("data.title", "equal_to", json!("senior engineer"), true, "W-CND-15: no JSON stays text"),
        ]);
    }

    #[test]
    fn variables_and_arguments_are_paths_first() {
        check(&[
            ("data.alert.severity", "equal_to", json!("high"), true, "W-CND-10 W-CND-11 F-CND-01"),
            ("recipient.subscription.events", "contains", json!("a"), true, "W-CND-11"),
            ("data.alert.codes.0", "equal_to", json!("7"), true, "W-CND-11 W-AMB-42"),
            ("data.alert.codes.1.level", "equal_to", json!("3"), true, "W-AMB-42"),
            ("data.a.b", "equal_to", json!("dotted"), true, "W-AMB-42: the exact key first"),
            ("workflow.name", "equal_to", json!("Invoices"), true, "W-CND-12 F-CND-02"),
            ("workflow.categories", "contains", json!("billing"), true, "W-CND-12"),
            ("workflow.key", "equal_to", json!("invoice"), true, "W-CND-12"),
            ("run.total_activities", "greater_than", json!("2"), true, "W-CND-12 F-CND-02"),
            ("run.total_actors", "equal_to", json!("2"), true, "W-CND-12"),
            ("recipient.muted", "contains", json!("data.topic"), true, "W-CND-17 F-CND-03"),
            ("recipient.plan", "equal_to", json!("data.plan"), true, "W-CND-17"),
            ("vars.text", "equal_to", json!("\"data.plan\""), false, "W-AMB-58: quoted is literal"),
            ("data.plan", "equal_to", json!("\"data.plan\""), false, "W-AMB-58"),
            ("data.gone", "equal_to", json!("data.science"), true, "W-AMB-58 W-AMB-57: a path, not text"),
            ("data.blank", "equal_to", json!("recipient.gone"), true, "W-AMB-57"),
            ("data.plan", "equal_to", json!("recipient.gone"), false, "W-AMB-57"),
            ("data.plan", "contains", json!("recipient.gone"), false, "W-AMB-57 W-AMB-45"),
            ("5", "equal_to", json!("data.ratio"), true, "W-CND-18: a literal variable"),
            ("[\"pro\"]", "contains", json!("data.plan"), true, "W-CND-18"),
            ("\"pro\"", "equal_to", json!("recipient.plan"), true, "W-CND-18"),
            ("refs.wait_1.matched", "equal_to", json!("true"), true, "W-MSC-22"),
            ("refs.wait_1.signal_variables.data.status", "equal_to", json!("paid"), true, "W-MSC-22"),
            ("data.plan", "not_equal_to", json!("refs.wait_1.matched"), true, "W-CND-17"),
        ]);
    }

    #[test]
    fn what_is_not_set_is_blank_and_null_at_once() {
        check(&[
            ("data.gone", "equal_to", json!(""), true, "W-CND-13 F-CND-04"),
            ("data.gone", "equal_to", json!("null"), true, "W-AMB-56"),
            ("data.gone", "equal_to", json!(null), true, "W-AMB-56"),
            ("data.gone", "equal_to", json!("false"), false, "W-CND-13"),
            ("data.gone", "not_equal_to", json!("pro"), true, "W-CND-13"),
            ("data.plan.deeper", "equal_to", json!(""), true, "W-CND-13"),
            ("actor.name", "equal_to", json!(""), true, "W-CND-55"),
            ("actor.name", "exists", json!(null), false, "W-CND-55"),
            ("tenant.name", "empty", json!(null), true, "W-CND-55"),
            ("tenant.name", "not_contains", json!("x"), true, "W-CND-55 W-CND-29"),
        ]);
    }

    #[test]
    fn order_is_numeric_or_lexicographic_or_not_at_all() {
        check(&[
            ("data.count", "greater_than", json!("18"), false, "W-CND-23"),
            ("data.count", "greater_than_or_equal_to", json!("18"), true, "W-CND-23"),
            ("data.age", "less_than", json!("50"), true, "W-CND-23"),
            ("50", "less_than_or_equal_to", json!("50"), true, "W-CND-23"),
            ("50", "less_than", json!("50"), false, "W-CND-23"),
            ("data.five_text", "less_than", json!("18"), true, "W-AMB-44: a numeric string is a number"),
            ("data.count", "greater_than", json!("data.five_text"), true, "W-AMB-44"),
            ("data.count", "greater_than", json!("17.5"), true, "W-CND-24"),
            ("data.plan", "greater_than", json!("free"), true, "W-CND-24: lexicographic"),
            ("data.plan", "less_than", json!("free"), false, "W-CND-24"),
            ("data.plan", "less_than", json!("18"), false, "W-AMB-44: text and number"),
            ("data.plan", "greater_than", json!("18"), false, "W-AMB-44: text and number"),
            ("data.plan", "greater_than_or_equal_to", json!("inf"), true, "W-CND-24: inf is text"),
            ("data.at", "greater_than", json!("30_days_ago"), true, "W-CND-24 W-AMB-44"),
            ("data.at", "less_than", json!("1_hour_ago"), false, "W-CND-24: exactly an hour ago"),
            ("data.at", "less_than_or_equal_to", json!("1_hour_ago"), true, "W-CND-24"),
            ("data.title", "greater_than", json!("30_days_ago"), false, "W-CND-25"),
            ("data.token", "less_than", json!("data.at"), true, "W-AMB-44: either side may be relative"),
        ]);
        for operator in ["greater_than", "greater_than_or_equal_to", "less_than", "less_than_or_equal_to"] {
            for (variable, argument) in [
                ("data.gone", json!("1")),
                ("data.gone", json!("abc")),
                ("data.blank", json!("1")),
                ("data.yes", json!("true")),
                ("data.yes", json!("1")),
                ("data.null", json!("null")),
                ("data.count", json!("data.gone")),
                ("data.tags", json!("1")),
                ("data.gone", json!("30_days_ago")),
            ] {
                let found = passes(variable, operator, argument.clone());
                assert!(!found, "W-CND-25 W-AMB-44: {variable} {operator} {argument}");
            }
        }
    }

    #[test]
    fn containing_is_of_text_or_of_members() {
        check(&[
            ("data.title", "contains", json!("engineer"), true, "W-CND-26 F-CND-06"),
            ("data.title", "contains", json!("Engineer"), false, "W-CND-26: case counts"),
            ("data.room", "contains", json!("101"), true, "W-AMB-45: numbers are spelled"),
            ("data.number", "contains", json!("23"), true, "W-AMB-45: numbers are spelled"),
            ("data.tags", "contains", json!("vip"), true, "W-CND-27"),
            ("data.tags", "contains", json!("vi"), false, "W-CND-27: a member, not a part"),
            ("data.plan", "contains", json!("[\"pro\",\"free\"]"), true, "W-CND-27: either way round"),
            ("data.plan", "contains", json!("[\"free\"]"), false, "W-CND-27"),
            ("data.ids", "contains", json!("1"), true, "W-CND-27"),
            ("data.ids", "contains", json!("3"), true, "W-AMB-45 W-AMB-43: raw text"),
            ("data.ids", "contains", json!(3), false, "W-AMB-45 W-AMB-43"),
            ("data.tags", "contains", json!("[\"beta\",\"gamma\"]"), true, "W-CND-28"),
            ("data.tags", "contains", json!("[\"gamma\"]"), false, "W-CND-28"),
            ("data.tags", "not_contains", json!("[\"gamma\"]"), true, "W-CND-29"),
            ("data.gone", "not_contains", json!("x"), true, "W-CND-29"),
            ("data.gone", "contains", json!("[\"\", null]"), false, "W-AMB-45: what is not set holds nothing"),
            ("data.plan", "contains", json!(""), false, "W-AMB-45: an empty argument is never contained"),
            ("data.object", "contains", json!("x"), false, "W-AMB-45"),
            ("data.tags", "contains_all", json!("[\"beta\",\"vip\"]"), true, "W-CND-30 F-CND-06"),
            ("data.tags", "contains_all", json!("[\"beta\",\"gamma\"]"), false, "W-CND-30"),
            ("data.tags", "contains_all", json!("data.one"), true, "W-CND-30"),
            ("data.one", "contains_all", json!("data.tags"), false, "W-CND-30"),
            ("data.tags", "not_contains_all", json!("[\"beta\",\"gamma\"]"), true, "W-CND-31"),
            ("data.tags", "contains_all", json!("vip"), false, "W-CND-32 W-AMB-45"),
            ("data.tags", "not_contains_all", json!("vip"), true, "W-CND-32 W-AMB-45"),
            ("data.plan", "contains_all", json!("[\"pro\"]"), false, "W-CND-32 W-AMB-45"),
            ("data.gone", "not_contains_all", json!("[\"pro\"]"), true, "W-CND-32 W-AMB-45"),
        ]);
    }

    #[test]
    fn emptiness_and_existence_differ() {
        for (variable, empty, exists) in [
            ("data.blank", true, true),
            ("data.null", true, false),
            ("data.none", true, true),
            ("data.nothing", true, true),
            ("data.gone", true, false),
            ("data.zero", false, true),
            ("data.no", false, true),
            ("data.plan", false, true),
            ("data.tags", false, true),
            ("recipient", false, true),
        ] {
            for (operator, expected, claim) in [
                ("empty", empty, "W-CND-33 W-AMB-45 F-CND-07"),
                ("not_empty", !empty, "W-CND-34 W-AMB-45"),
                ("exists", exists, "W-CND-35 F-CND-07"),
                ("not_exists", !exists, "W-CND-36"),
            ] {
                assert_eq!(passes(variable, operator, json!(null)), expected, "{claim}: {variable} {operator}");
            }
        }
        let without = evaluate(&json!({"all": [{"variable": "data.plan", "operator": "exists"}]}), STEP);
        assert!(without.passed, "W-CND-01: the argument may be omitted");
    }

    #[test]
    fn timestamps_compare_as_instants() {
        check(&[
            ("data.at", "is_timestamp_before", json!("2026-08-21T09:00:01Z"), true, "W-CND-37"),
            ("data.at", "is_timestamp_before", json!("2026-08-21T09:00:00Z"), false, "W-CND-37"),
            ("data.at", "is_timestamp_on_or_after", json!("2026-08-21T09:00:00Z"), true, "W-CND-38"),
            ("data.at", "is_timestamp_on_or_after", json!("2026-08-21T11:00:00+02:00"), true, "W-CND-38"),
            ("data.at", "is_timestamp_before", json!("2026-08-22"), true, "W-CND-47: a bare date"),
            ("data.day", "is_timestamp_before", json!("2026-08-21T00:00:01"), true, "W-CND-47"),
            ("data.at", "is_timestamp_before", json!("\"2026-08-22\""), true, "W-CND-15"),
            ("data.at", "is_timestamp_before", json!("recipient.renews_at"), true, "W-CND-17"),
            ("data.at", "is_timestamp_before", json!("{{ recipient.renews_at }}"), true, "W-CND-20 F-CND-08"),
            ("data.tomorrow", "is_timestamp_before", json!("{{ recipient.renews_at }}"), false, "W-CND-20"),
            ("data.at", "is_timestamp_before", json!("1_hour_ago"), false, "W-CND-44 F-CND-08"),
            ("data.at", "is_timestamp_on_or_after", json!("1_hour_ago"), true, "W-CND-44 W-AMB-47: singular"),
            ("data.at", "is_timestamp_before", json!("59_minutes_ago"), true, "W-CND-44"),
            ("data.tomorrow", "is_timestamp_before", json!("1_days_from_now"), true, "W-CND-46"),
            ("data.tomorrow", "is_timestamp_before", json!("22_hours_from_now"), false, "W-CND-44"),
            ("data.tomorrow", "is_timestamp_before", json!("1_week_from_now"), true, "W-CND-44"),
            ("data.at", "is_timestamp_before_now", json!(null), true, "W-CND-40 F-CND-05"),
            ("data.noon", "is_timestamp_before_now", json!(null), false, "W-CND-40: noon in Berlin is now"),
            ("data.noon", "is_timestamp_on_or_after_now", json!(null), true, "W-CND-40"),
            ("data.at", "is_timestamp_on_or_after_now", json!(null), false, "W-CND-40"),
            ("data.at", "is_timestamp", json!(null), true, "W-CND-41"),
            ("data.day", "is_timestamp", json!(null), true, "W-CND-41"),
            ("data.at", "is_not_timestamp", json!(null), false, "W-CND-41"),
            ("data.text_date", "is_not_timestamp", json!(null), true, "W-CND-41"),
            ("data.micros", "is_timestamp", json!(null), false, "W-AMB-46: numbers are no timestamps"),
            ("data.gone", "is_timestamp", json!(null), false, "W-CND-41"),
            ("data.at", "is_timestamp_before_date", json!("2026-08-21T23:00:00Z"), false, "W-CND-43: the same day"),
            ("data.at", "is_timestamp_on_or_after_date", json!("2026-08-21T23:00:00Z"), true, "W-CND-43 W-AMB-46"),
            ("data.at", "is_timestamp_before_date", json!("2026-08-22"), true, "W-CND-43"),
            ("data.at", "is_timestamp_before_date", json!("2026-08-22T01:00:00+02:00"), false, "W-AMB-46: in UTC"),
        ]);
    }

    #[test]
    fn what_is_no_timestamp_is_never_before_nor_after() {
        for variable in ["data.gone", "data.blank", "data.micros", "data.text_date", "data.null", "data.tags"] {
            for (operator, argument) in [
                ("is_timestamp_before", json!("2026-08-22")),
                ("is_timestamp_on_or_after", json!("2026-08-22")),
                ("is_timestamp_before_now", json!(null)),
                ("is_timestamp_on_or_after_now", json!(null)),
                ("is_timestamp_before_date", json!("2026-08-22")),
                ("is_timestamp_on_or_after_date", json!("2026-08-22")),
                ("is_timestamp_between", json!(["2000-01-01", "2100-01-01"])),
            ] {
                let found = passes(variable, operator, argument.clone());
                assert!(!found, "W-CND-48 W-AMB-46: {variable} {operator} {argument}");
            }
        }
        for argument in ["data.gone", "data.text_date", "data.tags"] {
            assert!(!passes("data.at", "is_timestamp_before", json!(argument)), "W-CND-48 {argument}");
            assert!(!passes("data.at", "is_timestamp_on_or_after", json!(argument)), "W-CND-48 {argument}");
        }
    }

    #[test]
    fn ranges_include_both_ends() {
        check(&[
            ("data.at", "is_timestamp_between", json!(["2026-08-21", "2026-08-22"]), true, "W-CND-39"),
            ("data.at", "is_timestamp_between", json!("[\"2026-08-21\",\"2026-08-22\"]"), true, "W-CND-39"),
            ("data.at", "is_timestamp_between", json!(["data.at", "recipient.renews_at"]), true, "W-CND-39 W-AMB-46"),
            ("data.at", "is_timestamp_between", json!(["data.day", "data.at"]), true, "W-AMB-46: inclusive"),
            ("data.at", "is_timestamp_between", json!(["data.day", "{{ recipient.renews_at }}"]), true, "W-CND-20"),
            ("data.at", "is_timestamp_between", json!("{{ range }}"), true, "W-CND-20"),
            ("data.at", "is_timestamp_between", json!("data.range"), true, "W-CND-39: dynamic"),
            ("data.tomorrow", "is_timestamp_between", json!("data.range"), false, "W-CND-39"),
            ("data.at", "is_timestamp_between", json!(["2026-08-22", "2026-08-21"]), false, "W-CND-39"),
            ("data.at", "is_timestamp_between", json!("data.one"), false, "W-CND-39: not a list of two"),
            ("data.at", "is_timestamp_between", json!("data.gone"), false, "W-CND-39"),
            ("data.count", "is_between", json!([10, 20]), true, "W-CND-42"),
            ("data.count", "is_between", json!("[18, 20]"), true, "W-CND-42 W-AMB-46: inclusive"),
            ("data.count", "is_between", json!("[10, \"18\"]"), true, "W-CND-42 W-AMB-46: inclusive"),
            ("data.count", "is_between", json!([19, 20]), false, "W-CND-42"),
            ("data.count", "is_between", json!(["data.low", "data.high"]), true, "W-CND-42"),
            ("data.count", "is_between", json!("data.limits"), true, "W-CND-42"),
            ("data.plan", "is_between", json!([10, 20]), false, "W-CND-42"),
            ("data.gone", "is_between", json!([0, 20]), false, "W-CND-42"),
        ]);
    }

    #[test]
    fn audiences_are_asked_by_key_for_the_recipient() {
        check(&[
            (
                "recipient",
                "is_audience_member",
                json!("vip"),
                true,
                "W-CND-49 W-AMB-48 W-CND-50: as the caller answers",
            ),
            ("recipient.id", "is_audience_member", json!("vip"), true, "W-AMB-48"),
            ("recipient", "is_audience_member", json!("\"vip\""), true, "W-CND-15"),
            ("recipient", "is_audience_member", json!("2024"), true, "W-AMB-48: a key of digits"),
            ("recipient", "is_audience_member", json!("recipient.audience"), true, "W-CND-17"),
            ("recipient", "is_audience_member", json!("unknown"), false, "W-AMB-48"),
            ("recipient", "is_not_audience_member", json!("unknown"), true, "W-CND-49"),
            ("recipient", "is_not_audience_member", json!("vip"), false, "W-CND-49"),
        ]);
        let mut roots = roots();
        roots["recipient"]["__typename"] = json!("Object");
        let condition =
            json!({"all": [{"variable": "recipient", "operator": "is_audience_member", "argument": "vip"}]});
        let group = Group::parse(&condition, "", STEP).unwrap();
        assert!(!with_context(&roots, |context| group.holds(context)), "W-AMB-48: objects are never members");
        assert!(refusal_of("recipient.plan", "is_audience_member", json!("vip")).contains("must be `recipient`"));
        assert!(refusal_of("recipient", "is_audience_member", json!(null)).contains("key of an audience"), "W-CND-49");
    }

    #[test]
    fn statuses_of_earlier_steps_are_tested_by_rank() {
        check(&[
            (
                "refs.email_1.delivery_status",
                "greater_than_or_equal_to",
                json!("$message.sent"),
                true,
                "W-MSC-01 W-CND-19",
            ),
            ("refs.email_1.engagement_status", "contains", json!("$message.seen_not_read"), true, "W-MSC-01 W-MSC-12"),
            ("refs.email_1.status", "less_than", json!("$message.read"), true, "W-MSC-21"),
            ("refs.my.step.delivery_status", "equal_to", json!("$message.bounced"), true, "W-MSC-06: a ref with a dot"),
            ("refs.gone.delivery_status", "equal_to", json!("$message.skipped"), true, "W-MSC-20"),
            ("refs.gone.delivery_status", "less_than", json!("$message.sent"), true, "W-MSC-20"),
        ]);
        let group = json!({"any": [
            {"variable": "refs.email_1.status", "operator": "less_than", "argument": "$message.read"},
            {"all": [{"variable": "refs.wait_1.matched", "operator": "equal_to", "argument": "refs.wait_2.matched"}]},
        ]});
        let group = Group::parse(&group, "", STEP).unwrap();
        assert_eq!(group.refs(), ["email_1", "wait_1", "wait_2"]);
        for (variable, operator, argument, expected) in [
            ("refs.email_1.delivery_staus", "equal_to", json!("$message.sent"), "did you mean `delivery_status`?"),
            ("refs.email_1.delivery_status.x", "equal_to", json!("$message.sent"), "a status has no members"),
            ("refs.email_1", "exists", json!(null), "refs.<ref>. is followed by"),
            ("refs", "exists", json!(null), "refs.<ref>. is followed by"),
            ("refs.email_1.delivery_status", "equal_to", json!("$message.sendt"), "did you mean `$message.sent`?"),
            ("data.plan", "equal_to", json!("$message.sent"), "names the status of a message"),
            (
                "data.plan",
                "equal_to",
                json!("refs.email_1.status"),
                "a status can only stand on the side of the variable",
            ),
        ] {
            let error = refusal_of(variable, operator, argument);
            assert!(error.contains(expected), "W-CND-19 W-MSC-01: {variable} gave `{error}`");
        }
    }

    #[test]
    fn groups_join_by_and_or_or() {
        let yes = json!({"variable": "data.plan", "operator": "equal_to", "argument": "pro"});
        let no = json!({"variable": "data.plan", "operator": "equal_to", "argument": "free"});
        for (group, expected, claim) in [
            (json!({"all": [yes, yes]}), true, "W-CND-02 W-CND-08"),
            (json!({"all": [yes, no]}), false, "W-CND-02"),
            (json!({"any": [no, yes]}), true, "W-CND-02"),
            (json!({"any": [no, no]}), false, "W-CND-08"),
            (json!({"any": [no, {"all": [yes, yes]}]}), true, "W-CND-03"),
            (json!({"any": [{"all": [yes, no]}, {"all": [no]}]}), false, "W-CND-03"),
            (json!({"all": [yes, {"any": [no, yes]}]}), true, "W-CND-03"),
            (json!({"all": [yes, {"any": [no, no]}]}), false, "W-CND-03"),
            (json!({"all": [yes], "any": null}), true, "nulls mean unset"),
        ] {
            assert_eq!(evaluate(&group, STEP).passed, expected, "{claim}: {group}");
        }
    }

    #[test]
    fn empty_groups_are_always_true() {
        for group in [json!(null), json!({}), json!({"all": []}), json!({"any": []}), json!({"any": [{"all": []}]})] {
            let parsed = Group::parse(&group, "", STEP).unwrap();
            assert!(parsed.is_empty(), "W-AMB-19 {group}");
            assert!(evaluate(&group, STEP).passed, "W-CND-08 W-AMB-19 {group}");
        }
        for list in [json!(null), json!([])] {
            let parsed = Group::parse_list(&list, "", Allow::default()).unwrap();
            assert!(with_context(&roots(), |context| parsed.holds(context)), "W-CND-08 {list}");
        }
    }

    #[test]
    fn a_preference_list_must_hold_as_a_whole() {
        let list = |second: &str| {
            json!([
                {"variable": "data.plan", "operator": "equal_to", "argument": "pro"},
                {"variable": "recipient.muted", "operator": "contains", "argument": second},
            ])
        };
        for (second, expected) in [("data.topic", true), ("data.plan", false)] {
            let group = Group::parse_list(&list(second), "", Allow::default()).unwrap();
            assert_eq!(with_context(&roots(), |context| group.holds(context)), expected, "W-CND-05 W-CND-01 {second}");
        }
        let grouped = Group::parse_list(&json!([{"any": []}]), "conditions", Allow::default()).unwrap_err();
        assert!(grouped[0].to_string().contains("conditions[0]: groups are not available here"), "W-CND-05");
    }

    #[test]
    fn the_caller_chooses_data_and_joins_with_channel_conditions() {
        // W-CND-04: both groups must pass; W-CND-54 and W-CND-09: the scope and the instant are the caller's.
        let condition =
            |value: &str| json!({"all": [{"variable": "data.n", "operator": "equal_to", "argument": value}]});
        let (step, channel) = (
            Group::parse(&condition("1"), "", STEP).unwrap(),
            Group::parse(&condition("2"), "", Allow::default()).unwrap(),
        );
        let merged = json!({"data": {"n": 1}});
        let both = with_context(&merged, |context| step.holds(context) && channel.holds(context));
        assert!(!both, "W-CND-04");
        let first = json!({"data": {"n": 2}});
        assert!(with_context(&first, |context| channel.holds(context)), "W-CND-54 W-CND-09");
    }

    #[test]
    fn segments_are_any_of_all_over_user_properties() {
        let segment = |property: &str, argument: &str| json!({"conditions": [{"property": property, "operator": "equal_to", "argument": argument}]});
        for (segments, expected) in [
            (json!([segment("recipient.plan", "free"), segment("recipient.plan", "pro")]), true),
            (json!([segment("recipient.plan", "free")]), false),
        ] {
            let group = Group::parse_segments(&segments, "segments").unwrap();
            assert_eq!(with_context(&roots(), |context| group.holds(context)), expected, "W-CND-06 {segments}");
        }
        for (property, expected, claim) in [
            ("recipient.created_at", "is reserved", "W-CND-57"),
            ("recipient.updated_at", "is reserved", "W-CND-57"),
            ("data.plan", "must be a property of the user", "W-CND-06"),
        ] {
            let errors = Group::parse_segments(&json!([segment(property, "x")]), "segments").unwrap_err();
            let error = errors[0].to_string();
            assert!(error.contains(expected), "{claim}: {error}");
            assert!(error.starts_with("segments[0].conditions[0].property"), "{error}");
        }
        let variable = json!([{"conditions": [{"variable": "recipient.plan", "operator": "exists"}]}]);
        let errors = Group::parse_segments(&variable, "").unwrap_err();
        assert!(errors[0].to_string().contains("variable: is not known here"), "W-CND-06 {errors:?}");
    }

    #[test]
    fn match_conditions_see_the_event() {
        let paid = json!({"variable": "event.data.status", "operator": "equal_to", "argument": "paid"});
        let open = json!({"variable": "event.data.status", "operator": "equal_to", "argument": "open"});
        for (value, expected) in [
            (json!([{"operator": "and", "conditions": [paid, open]}, {"operator": "and", "conditions": [paid]}]), true),
            (json!([{"operator": "and", "conditions": [paid, open]}]), false),
            (json!([{"all": [paid]}]), true),
            (json!({"any": [open, paid]}), true),
            (json!(null), true),
        ] {
            let group = Group::parse_matches(&value, "").unwrap();
            assert_eq!(with_context(&roots(), |context| group.holds(context)), expected, "W-CND-01 W-AMB-36 {value}");
        }
        assert!(Group::parse_matches(&json!([{"operator": "or", "conditions": [paid]}]), "").is_err(), "W-AMB-36");
        assert!(refusal(json!({"all": [paid]}), STEP).contains("no known prefix"), "W-CND-10");
    }

    #[test]
    fn statuses_are_not_for_channels_and_preferences() {
        for (variable, argument) in [("refs.a.delivery_status", "$message.sent"), ("data.plan", "refs.a.matched")] {
            let condition = json!({"variable": variable, "operator": "equal_to", "argument": argument});
            let error = refusal(json!({"all": [condition]}), Allow::default());
            assert!(error.contains("refs.* is not available here"), "W-CND-56 F-CND-02: {error}");
            assert!(Group::parse_list(&json!([condition]), "", Allow::default()).is_err(), "W-CND-56 F-CND-02");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_a_suggestion() {
        for (group, expected, claim) in [
            (json!([]), "conditions: conditions are a group", "W-CND-02"),
            (json!({"al": []}), "conditions.al: is not known here (did you mean `all`?)", "W-CND-02"),
            (json!({"all": {}}), "conditions.all: must be a list", "W-CND-02"),
            (json!({"all": [], "any": []}), "has both `all` and `any`", "W-CND-02"),
            (json!({"all": ["x"]}), "conditions.all[0]: a condition is", "W-CND-01"),
            (json!({"any": [{"all": [{"any": []}]}]}), "conditions.any[0].all[0]: groups nest two levels", "W-CND-03"),
            (json!({"all": [{"operator": "exists"}]}), "conditions.all[0].variable: is required", "F-CND-01"),
            (json!({"all": [{"variable": "data.x"}]}), "conditions.all[0].operator: `` is not an operator", "F-CND-01"),
            (
                json!({"all": [{"variable": "data.x", "operator": "exists", "args": 1}]}),
                "conditions.all[0].args: is not known here",
                "F-CND-01",
            ),
        ] {
            let error = refusal(group.clone(), STEP);
            assert!(error.contains(expected), "{claim}: {group} gave `{error}`");
        }
        for (variable, operator, argument, expected, claim) in [
            ("data.x", "equals_to", json!("a"), "did you mean `equal_to`?", "W-CND-52 F-CND-05"),
            ("data.x", "is_in_random_cohort", json!("a"), "is not an operator", "W-CND-51"),
            ("dta.x", "equal_to", json!("a"), "did you mean `data`?", "W-CND-10"),
            ("plan", "equal_to", json!("a"), "has no known prefix", "W-CND-10"),
            (
                "data.x",
                "is_timestamp_before",
                json!("14_minutes_ago"),
                "at least 15 minutes",
                "W-CND-45 W-AMB-47 F-CND-08",
            ),
            ("data.x", "greater_than", json!("0_days_ago"), "at least 15 minutes", "W-CND-45"),
            ("data.x", "is_timestamp_before", json!("30_months_ago"), "is not a time", "W-CND-44"),
            ("data.x", "is_timestamp_before", json!("soon"), "is not a time", "W-CND-47"),
            ("data.x", "is_timestamp_before", json!(5), "is not a time", "W-CND-47"),
            ("data.x", "is_timestamp_before", json!(null), "is not a time", "W-CND-01"),
            ("data.x", "is_timestamp_between", json!(["1_day_ago", "2026-01-01"]), "is relative", "W-CND-39 F-CND-08"),
            ("data.x", "is_timestamp_between", json!(["2026-01-01"]), "must be a list of two", "W-CND-39"),
            ("data.x", "is_timestamp_between", json!("2026-01-01"), "must be a list of two", "W-CND-39"),
            ("data.x", "is_between", json!([1, "x"]), "is not a number", "W-CND-42"),
            ("data.x", "equal_to", json!("{{ data.x | upcas }}"), "did you mean `upcase`?", "W-CND-20 W-DSK-14"),
            ("data.x", "is_between", json!("{{ data.x"), "is Liquid that cannot be read", "W-CND-20"),
        ] {
            let error = refusal_of(variable, operator, argument.clone());
            assert!(error.contains(expected), "{claim}: {variable} {operator} {argument} gave `{error}`");
        }
        assert!(passes("data.x", "not_equal_to", json!("14_minutes_ago")), "W-AMB-47: text for other operators");
        assert!(passes("data.at", "is_timestamp_before", json!("15_minutes_ago")), "W-CND-45: fifteen are enough");
    }

    #[test]
    fn the_protocol_shows_values_and_what_was_not_asked() {
        let group = json!({"any": [
            {"all": [
                {"variable": "data.plan", "operator": "equal_to", "argument": "free"},
                {"variable": "data.age", "operator": "exists"},
            ]},
            {"variable": "recipient.muted", "operator": "contains", "argument": "data.topic"},
            {"variable": "data.gone", "operator": "equal_to", "argument": "1"},
        ]});
        let verdict = evaluate(&group, STEP);
        assert!(verdict.passed);
        let results: Vec<_> = verdict.evaluations.iter().map(|line| line.result).collect();
        assert_eq!(results, [Some(false), None, Some(true), None], "W-CND-07 W-RUN-16");
        assert_eq!(
            serde_json::to_value(&verdict.evaluations[2]).unwrap(),
            json!({
                "variable": "recipient.muted", "operator": "contains", "argument": "data.topic",
                "left": ["sports", "news"], "right": "sports", "result": true
            }),
            "W-RUN-16"
        );
        assert_eq!(
            serde_json::to_string(&verdict.evaluations[1]).unwrap(),
            r#"{"variable":"data.age","operator":"exists","argument":null,"result":null}"#,
            "W-CND-07"
        );
    }

    #[test]
    fn the_protocol_cuts_what_is_long() {
        let condition = json!({"all": [{"variable": "data.long", "operator": "exists"}]});
        let left = evaluate(&condition, STEP).evaluations.remove(0).left.unwrap();
        assert_eq!(left.as_str().unwrap().chars().count(), 256);
        let many = json!({"list": vec![json!({"k": "v"}); 1000]});
        assert!(cut(&many).to_string().len() < 2000);
    }

    #[test]
    fn relative_arguments_and_statuses_are_shown_resolved() {
        let group = json!({"all": [
            {"variable": "data.at", "operator": "is_timestamp_before", "argument": "1_day_from_now"},
            {"variable": "data.count", "operator": "is_between", "argument": ["data.low", 20]},
            {"variable": "refs.email_1.delivery_status", "operator": "less_than", "argument": "$message.read"},
        ]});
        let lines = evaluate(&group, STEP).evaluations;
        assert_eq!(lines[0].right, Some(json!("2026-08-22T10:00:00.000000Z")), "W-RUN-16 W-CND-46");
        assert_eq!(lines[1].right, Some(json!([10, 20])), "W-RUN-16");
        assert_eq!(lines[2].left, Some(json!("seen")), "W-RUN-16");
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let words = prop_oneof![
            Just("data.plan"),
            Just("data.gone"),
            Just("data.tags"),
            Just("data.at"),
            Just("recipient.muted"),
            Just("data."),
            Just("refs.email_1.delivery_status"),
            Just("$message.seen"),
            Just("30_days_ago"),
            Just("9999999999999_weeks_ago"),
            Just("[1,2]"),
            Just("\"x\""),
            Just("{{ data.count }}"),
            Just("{{"),
            Just("5"),
            Just("null"),
            Just("pro"),
            Just("refs."),
            Just("refs..status"),
            Just("."),
            Just(""),
            Just("vip"),
            Just("2026-08-21"),
            Just("recipient"),
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            words.prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            (0..26usize).prop_map(|at| Value::from(Operator::names().nth(at).unwrap())),
        ];
        leaf.prop_recursive(5, 48, 5, |inner| {
            let keys = prop_oneof![
                Just("all"),
                Just("any"),
                Just("variable"),
                Just("operator"),
                Just("argument"),
                Just("conditions"),
                Just("property"),
                Just("x"),
            ];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((keys, inner.clone()), 0..4)
                    .prop_map(|pairs| pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Value>()),
                prop::collection::vec(inner, 0..4).prop_map(|list| json!({"all": list})),
            ]
        })
    }

    fn any_condition() -> impl Strategy<Value = Value> {
        let variable = prop_oneof![
            Just("data.plan"),
            Just("data.gone"),
            Just("data.tags"),
            Just("data.at"),
            Just("data.null"),
            Just("data.count"),
            Just("refs.email_1.status"),
            Just("recipient"),
            Just("data.blank"),
            Just("[1]"),
        ];
        (variable, 0..26usize, any_json()).prop_map(|(variable, at, argument)| {
            json!({"variable": variable, "operator": Operator::names().nth(at).unwrap(), "argument": argument})
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// W-CND-52: whatever is written is read or refused, and what is read can be evaluated.
        #[test]
        fn no_document_makes_it_panic(value in any_json(), allow in any::<(bool, bool)>()) {
            let allow = Allow { message_status: allow.0, event: allow.1 };
            for parsed in [
                Group::parse(&value, "c", allow),
                Group::parse_list(&value, "c", allow),
                Group::parse_segments(&value, "c"),
                Group::parse_matches(&value, "c"),
            ] {
                match parsed {
                    Ok(group) => with_context(&roots(), |context| {
                        prop_assert_eq!(group.evaluate(context).passed, group.holds(context));
                        prop_assert_eq!(group.evaluate(context).evaluations.len(), group.size());
                        Ok(())
                    })?,
                    Err(errors) => prop_assert!(!errors.is_empty()),
                }
            }
        }

        /// W-CND-07: stopping early never changes the outcome.
        #[test]
        fn no_condition_makes_it_panic(conditions in prop::collection::vec(any_condition(), 0..5), any_of in any::<bool>()) {
            let key = if any_of { "any" } else { "all" };
            let Ok(group) = Group::parse(&json!({key: conditions}), "", STEP) else { return Ok(()) };
            let each: Vec<bool> = conditions.iter().map(|one| evaluate(&json!({"all": [one]}), STEP).passed).collect();
            let expected = each.is_empty() || if any_of { each.contains(&true) } else { !each.contains(&false) };
            prop_assert_eq!(with_context(&roots(), |context| group.evaluate(context).passed), expected);
        }

        /// W-CND-22, W-CND-29, W-CND-31, W-CND-34, W-CND-36, W-CND-41, W-CND-49: not_X is the negation of X.
        #[test]
        fn negations_negate(variable in any_condition(), argument in any_json(), pair in 0..7usize) {
            let (positive, negative) = [
                ("equal_to", "not_equal_to"),
                ("contains", "not_contains"),
                ("contains_all", "not_contains_all"),
                ("empty", "not_empty"),
                ("exists", "not_exists"),
                ("is_timestamp", "is_not_timestamp"),
                ("is_audience_member", "is_not_audience_member"),
            ][pair];
            let group = |operator| json!({"all": [{"variable": variable["variable"], "operator": operator, "argument": argument}]});
            let yes = Group::parse(&group(positive), "", STEP);
            let no = Group::parse(&group(negative), "", STEP);
            prop_assert_eq!(yes.is_ok(), no.is_ok());
            if yes.is_ok() {
                prop_assert_ne!(evaluate(&group(positive), STEP).passed, evaluate(&group(negative), STEP).passed);
            }
        }
    }
}
