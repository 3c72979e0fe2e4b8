//! Reads conditions from JSON and says all that is wrong with them.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::comparison::as_number;
use super::condition::{Allow, Condition, Group, Join, Member, Question};
use super::message_status::{self, Test};
use super::operand::{self, LEAST_RELATIVE_SECONDS, Operand, Path, Side};
use super::operator::{Kind, Operator};
use crate::model::invalid::{Invalid, aside, join, unknown};
use crate::model::time::Time;
use crate::template::Template;

/// Reads conditions and collects all that is wrong with them.
pub(crate) struct Reader {
    allow: Allow,
    /// How the variable's key is spelled here: `variable` or `property`.
    subject: &'static str,
    errors: Vec<Invalid>,
}

impl Reader {
    pub(crate) fn new(allow: Allow, subject: &'static str) -> Self {
        Reader { allow, subject, errors: Vec::new() }
    }

    pub(crate) fn finish(mut self, read: impl FnOnce(&mut Self) -> Group) -> Result<Group, Vec<Invalid>> {
        let group = read(&mut self);
        if self.errors.is_empty() { Ok(group) } else { Err(self.errors) }
    }

    fn refuse(&mut self, path: &str, message: impl Into<String>) {
        self.errors.push(Invalid::new(path, message));
    }

    pub(crate) fn group(&mut self, value: &Value, path: &str, depth: u8) -> Group {
        let always = Group { join: Join::All, members: Vec::new() };
        let map = match value {
            Value::Null => return always,
            Value::Object(map) => map,
            _ => {
                self.refuse(path, "conditions are a group: {\"all\": [..]} or {\"any\": [..]}");
                return always;
            }
        };
        self.refuse_unknown_keys(map, &["all", "any"], path);
        let set = |key: &str| map.get(key).filter(|value| !value.is_null());
        match (set("all"), set("any")) {
            (Some(_), Some(_)) => {
                self.refuse(path, "has both `all` and `any`: keep one, and put the other inside it as a group");
                always
            }
            (Some(list), None) => self.members(Join::All, list, &join(path, "all"), depth),
            (None, Some(list)) => self.members(Join::Any, list, &join(path, "any"), depth),
            (None, None) => always,
        }
    }

    fn members(&mut self, kind: Join, list: &Value, path: &str, depth: u8) -> Group {
        let mut members = Vec::new();
        for (at, item) in self.items(list, path).iter().enumerate() {
            let path = format!("{path}[{at}]");
            if item.get("all").is_none() && item.get("any").is_none() {
                members.extend(self.condition(item, &path).map(Member::One));
            } else if depth == 0 {
                members.push(Member::Group(self.group(item, &path, 1)));
            } else {
                self.refuse(&path, "groups nest two levels at most: put a condition here");
            }
        }
        Group { join: kind, members }
    }

    fn items<'v>(&mut self, list: &'v Value, path: &str) -> &'v [Value] {
        match list {
            Value::Null => &[],
            Value::Array(items) => items,
            _ => {
                self.refuse(path, "must be a list");
                &[]
            }
        }
    }

    pub(crate) fn flat(&mut self, list: &Value, path: &str) -> Group {
        let mut members = Vec::new();
        for (at, item) in self.items(list, path).iter().enumerate() {
            let path = format!("{path}[{at}]");
            if item.get("all").is_some() || item.get("any").is_some() {
                self.refuse(&path, "groups are not available here: the conditions of this list must all hold");
            } else {
                members.extend(self.condition(item, &path).map(Member::One));
            }
        }
        Group { join: Join::All, members }
    }

    pub(crate) fn any_of(&mut self, list: &Value, path: &str, read: fn(&mut Self, &Value, &str) -> Group) -> Group {
        let mut members = Vec::new();
        for (at, item) in self.items(list, path).iter().enumerate() {
            members.push(Member::Group(read(self, item, &format!("{path}[{at}]"))));
        }
        Group { join: Join::Any, members }
    }

    pub(crate) fn segment(&mut self, segment: &Value, path: &str) -> Group {
        match segment {
            Value::Object(map) => {
                self.refuse_unknown_keys(map, &["conditions"], path);
                self.flat(map.get("conditions").unwrap_or(&Value::Null), &join(path, "conditions"))
            }
            _ => {
                self.refuse(path, "a segment is {\"conditions\": [..]}");
                Group { join: Join::All, members: Vec::new() }
            }
        }
    }

    pub(crate) fn matching(&mut self, group: &Value, path: &str) -> Group {
        let Some(conditions) = group.get("conditions") else { return self.group(group, path, 1) };
        if let Value::Object(map) = group {
            self.refuse_unknown_keys(map, &["operator", "conditions"], path);
        }
        if group.get("operator").is_some_and(|operator| !operator.is_null() && operator != "and") {
            self.refuse(&join(path, "operator"), "must be \"and\"");
        }
        self.flat(conditions, &join(path, "conditions"))
    }

    fn refuse_unknown_keys(&mut self, map: &Map<String, Value>, known: &[&str], path: &str) {
        for key in map.keys().filter(|key| !known.contains(&key.as_str()) && !key.starts_with("__")) {
            self.refuse(&join(path, key), unknown(key, known));
        }
    }

    fn condition(&mut self, value: &Value, path: &str) -> Option<Condition> {
        let Value::Object(map) = value else {
            self.refuse(
                path,
                format!("a condition is {{\"{}\": .., \"operator\": .., \"argument\": ..}}", self.subject),
            );
            return None;
        };
        self.refuse_unknown_keys(map, &[self.subject, "operator", "argument"], path);
        let operator = self.operator(map.get("operator"), &join(path, "operator"));
        let subject = join(path, self.subject);
        let Some(variable) = map.get(self.subject).and_then(Value::as_str) else {
            self.refuse(&subject, "is required: a path such as `recipient.plan`");
            return None;
        };
        let operator = operator?;
        let argument = map.get("argument");
        let question = self.question(variable, operator, argument, &subject, &join(path, "argument"))?;
        let argument = Arc::new(argument.cloned().unwrap_or_default());
        Some(Condition { variable: variable.into(), operator, argument, question })
    }

    fn operator(&mut self, value: Option<&Value>, path: &str) -> Option<Operator> {
        let name = value.and_then(Value::as_str).unwrap_or_default();
        let found = Operator::parse(name);
        if found.is_none() {
            let hint = aside(name, Operator::names());
            self.refuse(path, format!("`{}` is not an operator{hint}", short(name)));
        }
        found
    }

    fn question(
        &mut self,
        variable: &str,
        operator: Operator,
        argument: Option<&Value>,
        subject: &str,
        path: &str,
    ) -> Option<Question> {
        if operator.kind() == Kind::Audience {
            return self.audience(variable, argument, subject, path);
        }
        let left = self.variable(variable, subject)?;
        let below_refs = if let Operand::Path(path) = &left { path.below_refs() } else { None };
        match below_refs.map(split_reference) {
            Some(None) => {
                let fields = STATUS_FIELDS.into_iter().chain(WAIT_FIELDS);
                let written = variable.rsplit('.').next().unwrap_or_default();
                let hint = aside(written, fields);
                let allowed =
                    "refs.<ref>. is followed by delivery_status, engagement_status, matched or signal_variables";
                self.refuse(subject, format!("`{}` is not known{hint}: {allowed}", short(variable)));
                None
            }
            Some(Some(found)) if STATUS_FIELDS.contains(&found.field) => {
                if !found.is_exact {
                    self.refuse(subject, format!("a status has no members: end the path with `{}`", found.field));
                    return None;
                }
                let test = Test::parse(operator, argument).map_err(|message| self.refuse(path, message)).ok()?;
                Some(Question::Status(found.step.into(), test))
            }
            _ => {
                let right = self.argument(operator, argument, path)?;
                Some(Question::Compare(left, right))
            }
        }
    }

    fn audience(&mut self, variable: &str, argument: Option<&Value>, subject: &str, path: &str) -> Option<Question> {
        if !["recipient", "recipient.id"].contains(&variable) {
            self.refuse(subject, "must be `recipient`: only the run's recipient is looked up in an audience");
            return None;
        }
        match argument {
            Some(Value::String(key)) if !key.is_empty() => self.text(Kind::Audience, key, path).map(Question::Audience),
            _ => {
                self.refuse(path, "must be the key of an audience");
                None
            }
        }
    }

    /// A path if it is one, else a JSON literal (W-CND-18).
    fn variable(&mut self, text: &str, at: &str) -> Option<Operand> {
        if let Some(path) = Path::parse(text, self.allow) {
            if self.subject == "property" {
                self.refuse_other_properties(text, at);
            }
            return self.checked_path(path, at).map(Operand::Path);
        }
        if let Ok(value) = serde_json::from_str(text) {
            return Some(Operand::literal(value));
        }
        let prefixes = operand::prefixes(self.allow);
        let hint = aside(text.split('.').next().unwrap_or_default(), prefixes.clone());
        let known: Vec<&str> = prefixes.collect();
        let message = format!("`{}` has no known prefix{hint}: known are {}", short(text), known.join(", "));
        self.refuse(at, message);
        None
    }

    /// Dynamic audiences look at properties of users only, and at none that is reserved (W-CND-57).
    fn refuse_other_properties(&mut self, text: &str, at: &str) {
        if ["recipient.created_at", "recipient.updated_at"].contains(&text) {
            self.refuse(at, format!("`{text}` is reserved and cannot be used in an audience"));
        } else if !text.starts_with("recipient.") {
            self.refuse(at, "must be a property of the user, such as `recipient.plan`");
        }
    }

    fn checked_path(&mut self, path: Path, at: &str) -> Option<Path> {
        if path.below_refs().is_some() && !self.allow.message_status {
            self.refuse(
                at,
                "refs.* is not available here: statuses of messages are for step, branch and match conditions",
            );
            return None;
        }
        Some(path)
    }

    fn argument(&mut self, operator: Operator, argument: Option<&Value>, path: &str) -> Option<Operand> {
        let kind = operator.kind();
        match argument.unwrap_or(&Value::Null) {
            _ if kind == Kind::Unary => Some(Operand::Absent),
            value if kind == Kind::Range => self.range(operator, value, path),
            Value::String(text) => self.text(kind, text, path),
            value if kind == Kind::Instant => {
                self.refuse(path, not_an_instant(&value.to_string()));
                None
            }
            value => Some(Operand::literal(value.clone())),
        }
    }

    /// An argument written as text: a path, Liquid, a relative time, JSON or just text.
    fn text(&mut self, kind: Kind, text: &str, path: &str) -> Option<Operand> {
        if text.starts_with(message_status::PREFIX) {
            let names = "`$message.` names the status of a message";
            self.refuse(
                path,
                format!("{names}: it goes with `refs.<ref>.delivery_status` or `refs.<ref>.engagement_status`"),
            );
            return None;
        }
        if operand::is_liquid(text) {
            return self.liquid(text, path);
        }
        if let Some(found) = Path::parse(text, self.allow).filter(Path::has_rest) {
            return self.dynamic(found, path);
        }
        match kind {
            Kind::Order | Kind::Instant if operand::relative(text).is_some() => self.relative(text, path),
            Kind::Instant => self.instant(text, path),
            _ => Some(Operand::decode(text)),
        }
    }

    /// Liquid is read here once, not at every evaluation; what is wrong with it is said now.
    fn liquid(&mut self, text: &str, path: &str) -> Option<Operand> {
        match Template::parse(text) {
            Ok(template) => Some(Operand::Liquid(template)),
            Err(error) => {
                self.refuse(path, format!("is Liquid that cannot be read: {error}"));
                None
            }
        }
    }

    fn dynamic(&mut self, found: Path, path: &str) -> Option<Operand> {
        let found = self.checked_path(found, path)?;
        let is_wait_field =
            |below: &str| split_reference(below).is_some_and(|found| WAIT_FIELDS.contains(&found.field));
        if found.below_refs().is_some_and(|below| !is_wait_field(below)) {
            self.refuse(
                path,
                "a status can only stand on the side of the variable; quote the text to mean it literally",
            );
            return None;
        }
        Some(Operand::Path(found))
    }

    fn relative(&mut self, text: &str, path: &str) -> Option<Operand> {
        let seconds = operand::relative(text)?;
        if seconds.saturating_abs() < LEAST_RELATIVE_SECONDS {
            self.refuse(path, format!("`{text}` is too near: a relative time is at least 15 minutes away"));
            return None;
        }
        Some(Operand::Relative(seconds))
    }

    fn instant(&mut self, text: &str, path: &str) -> Option<Operand> {
        let decoded = serde_json::from_str::<Value>(text).unwrap_or_else(|_| text.into());
        let at = decoded.as_str().and_then(Time::parse);
        if at.is_none() {
            self.refuse(path, not_an_instant(text));
            return None;
        }
        Some(Operand::Literal { value: decoded, raw: None, at })
    }

    fn range(&mut self, operator: Operator, value: &Value, path: &str) -> Option<Operand> {
        let decoded = match value {
            Value::String(text) => match serde_json::from_str::<Value>(text) {
                Ok(decoded) => Cow::Owned(decoded),
                Err(_) if operand::is_liquid(text) => return self.liquid(text, path),
                Err(_) => match Path::parse(text, self.allow).filter(Path::has_rest) {
                    Some(found) => return self.dynamic(found, path),
                    None => Cow::Borrowed(value),
                },
            },
            _ => Cow::Borrowed(value),
        };
        match decoded.as_array().map(Vec::as_slice) {
            Some([low, high]) => {
                let low = self.end(operator, low, &format!("{path}[0]"));
                let high = self.end(operator, high, &format!("{path}[1]"));
                Some(Operand::Pair(Box::new([low?, high?])))
            }
            _ => {
                self.refuse(path, "must be a list of two: the start and the end");
                None
            }
        }
    }

    /// One end of a range; relative times are not available here (W-CND-39).
    fn end(&mut self, operator: Operator, value: &Value, path: &str) -> Option<Operand> {
        if let Value::String(text) = value {
            if operand::relative(text).is_some() {
                self.refuse(path, format!("`{text}` is relative: a range is between absolute or dynamic values"));
                return None;
            }
            if operator == Operator::IsTimestampBetween {
                return self.text(Kind::Instant, text, path);
            }
            return self.text(Kind::Value, text, path).and_then(|end| self.number(end, value, path));
        }
        match operator {
            Operator::IsTimestampBetween => {
                self.refuse(path, not_an_instant(&value.to_string()));
                None
            }
            _ => self.number(Operand::literal(value.clone()), value, path),
        }
    }

    fn number(&mut self, end: Operand, written: &Value, path: &str) -> Option<Operand> {
        if let Operand::Literal { value, .. } = &end {
            let side = Side { value: Some(Cow::Borrowed(value)), ..Side::default() };
            if as_number(&side).is_none() {
                self.refuse(path, format!("{} is not a number", short(&written.to_string())));
                return None;
            }
        }
        Some(end)
    }
}

/// `<ref>.<field>...` below `refs`.
pub(crate) struct Reference<'a> {
    pub(crate) step: &'a str,
    field: &'a str,
    is_exact: bool,
}

const STATUS_FIELDS: [&str; 3] = ["delivery_status", "engagement_status", "status"];
const WAIT_FIELDS: [&str; 2] = ["matched", "signal_variables"];

/// A ref may hold dots itself, so the first known field ends it.
pub(crate) fn split_reference(path: &str) -> Option<Reference<'_>> {
    path.match_indices('.').filter(|(at, _)| *at > 0).find_map(|(at, _)| {
        let rest = &path[at + 1..];
        let field = rest.split('.').next().unwrap_or(rest);
        let is_known = STATUS_FIELDS.contains(&field) || WAIT_FIELDS.contains(&field);
        is_known.then(|| Reference { step: &path[..at], field, is_exact: field.len() == rest.len() })
    })
}

fn not_an_instant(written: &str) -> String {
    let allowed = "an ISO-8601 timestamp, `<n>_<unit>_ago`, `<n>_<unit>_from_now`, a path such as `recipient.renews_at` or Liquid";
    format!("`{}` is not a time: it must be {allowed}", short(written))
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}
