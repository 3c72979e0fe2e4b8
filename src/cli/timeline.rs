//! What happened, line by line.

use bellwire::app::simulation::Entry;
use bellwire::model::time::Time;
use serde_json::{Map, Value};

use super::{Failure, say};

/// Entries as they are written, day by day.
#[derive(Default)]
pub(super) struct Timeline {
    /// The day that was written last.
    day: String,
}

impl Timeline {
    /// Writes the day, if it is another.
    pub(super) fn date(&mut self, at: Time) -> Result<(), Failure> {
        let day = at.timestamp().strftime("%A, %Y-%m-%d (UTC)").to_string();
        if day != self.day {
            say(format!("{}{day}", if self.day.is_empty() { "" } else { "\n" }))?;
            self.day = day;
        }
        Ok(())
    }

    /// Writes an entry.
    pub(super) fn line(&mut self, entry: &Entry) -> Result<(), Failure> {
        self.date(entry.at)?;
        let whose = match (&entry.run, &entry.recipient) {
            (Some(run), Some(Value::String(user))) => format!("{user} #{run}"),
            (Some(run), Some(object)) => {
                let part = |name: &str| object[name].as_str().unwrap_or_default();
                format!("{}/{} #{run}", part("collection"), part("id"))
            }
            _ => entry.workflow.clone().unwrap_or_default(),
        };
        let step = entry.step.as_deref().unwrap_or("");
        let mark = if entry.is_error { "! " } else { "" };
        let (summary, details) = summary(entry);
        say(format!("{}  {whose:<14} {step:<18} {mark}{}{summary}", clock(entry.at), entry.event).trim_end())?;
        details.iter().try_for_each(|detail| say(format!("{:>12}{detail}", "")))
    }
}

/// The time of day.
pub(super) fn clock(at: Time) -> String {
    at.timestamp().strftime("%H:%M:%S").to_string()
}

/// What an entry says in a line, and below it.
fn summary(entry: &Entry) -> (String, Vec<String>) {
    let (mut words, mut details) = (Vec::new(), Vec::new());
    for (name, value) in entry.data.as_object().into_iter().flatten() {
        match value {
            Value::Null => {}
            Value::Array(conditions) if name == "conditions" => details.extend(conditions.iter().map(condition)),
            Value::Array(branches) if name == "tested" => {
                for branch in branches {
                    details.push(format!("branch {}: {}", branch["branch"], verdict(&branch["passed"])));
                    details.extend(branch["conditions"].as_array().into_iter().flatten().map(condition));
                }
            }
            // Who was asked for what, and what they said; who was changed, and how.
            Value::Object(request) if name == "request" => details.extend(exchange('>', request)),
            Value::Object(response) if name == "response" => details.extend(exchange('<', response)),
            Value::Object(after) if name == "after" => details.extend(changes(&entry.data["before"], after)),
            Value::Object(_) if name == "before" => {}
            Value::String(text) => words.push(format!("{name}={text}")),
            other => words.push(format!("{name}={other}")),
        }
    }
    for block in entry.message.as_ref().and_then(Value::as_array).into_iter().flatten() {
        let text = block["rendered"].as_str().map(str::to_owned).unwrap_or_else(|| block.to_string());
        details
            .extend(text.trim().lines().map(|line| format!("| {}: {line}", block["name"].as_str().unwrap_or("block"))));
    }
    let words = words.join(" ");
    (if words.is_empty() { words } else { format!("  {words}") }, details)
}

/// A request, or a response: what it is, its headers, its body.
fn exchange(mark: char, what: &Map<String, Value>) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let said: Vec<String> =
        ["method", "url", "status"].into_iter().filter_map(|name| what.get(name)).map(text).collect();
    let headers = what.get("headers").and_then(Value::as_object).into_iter().flatten();
    let headers = headers.map(|(name, value)| format!("{name}: {}", text(value)));
    let body = what.get("body").and_then(Value::as_str).into_iter().flat_map(str::lines).map(str::to_owned);
    std::iter::once(said.join(" ")).chain(headers).chain(body).map(|line| format!("{mark} {line}")).collect()
}

/// What has become of the members of somebody who was changed, as far as they are others.
fn changes(before: &Value, after: &Map<String, Value>) -> Vec<String> {
    let none = Map::new();
    let before = before.as_object().unwrap_or(&none);
    let is_told = |name: &&String| before.get(*name) != after.get(*name) && *name != "updated_at";
    let gone = before.keys().filter(|name| !after.contains_key(*name));
    let show = |value: Option<&Value>| value.map_or("not set".to_owned(), Value::to_string);
    let names = after.keys().chain(gone).filter(is_told);
    names.map(|name| format!("{name}: {} -> {}", show(before.get(name)), show(after.get(name)))).collect()
}

fn condition(condition: &Value) -> String {
    let text = |name: &str| condition[name].as_str().unwrap_or_default().to_owned();
    let argument = if condition["argument"].is_null() { String::new() } else { format!(" {}", condition["argument"]) };
    let left = condition.get("left").map_or("not set".to_owned(), Value::to_string);
    // An argument that was looked up is worth to be seen beside what it is called.
    let right = condition.get("right").filter(|right| *right != &condition["argument"]);
    let right = right.map(|right| format!(" against {right}")).unwrap_or_default();
    let found = if condition["result"].is_null() { String::new() } else { format!("{left}{right}: ") };
    format!("{} {}{argument}: {found}{}", text("variable"), text("operator"), verdict(&condition["result"]))
}

fn verdict(result: &Value) -> &'static str {
    match result {
        Value::Bool(true) => "holds",
        Value::Bool(false) => "does not hold",
        _ => "not looked at",
    }
}
