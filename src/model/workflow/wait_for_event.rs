//! The settings of a wait for event step.

use super::reader::{Node, Reader};
use crate::model::signal::RECIPIENT_UPDATED;
use crate::rules::condition::Group;
use crate::wire::duration::{Duration, Unit};

/// The longest wait (W-WFE-24).
const LONGEST_SECONDS: i64 = 30 * 86_400;
/// How long is waited when nothing says how long (W-WFE-23).
const USUAL: Duration = Duration { unit: Unit::Minutes, value: 15.0 };

/// What a message may become (W-WFE-06).
const MESSAGE_EVENTS: [&str; 16] = [
    "created",
    "queued",
    "sent",
    "not_sent",
    "delivered",
    "delivery_attempted",
    "undelivered",
    "bounced",
    "read",
    "unread",
    "seen",
    "unseen",
    "archived",
    "unarchived",
    "interacted",
    "link_clicked",
];

/// A pause until something happens to the recipient, or until it is too late (W-WFE-01).
#[derive(Debug)]
pub struct WaitForEvent {
    /// What is waited for: `message.read` and its like.
    pub topic: String,
    /// The key of what it comes from; empty where recipients have only one such.
    pub source: String,
    /// How long.
    pub expires_after: Duration,
    /// What must hold of the event; `None` takes any.
    pub matches: Option<Group>,
    pub on_match: Then,
    pub on_timeout: Then,
}

/// How a run goes on after a wait (W-WFE-21, W-WFE-22).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// To the next step.
    Continue,
    /// Not at all: it is cancelled.
    Halt,
}

/// What is waited for, read.
struct Awaited {
    topic: String,
    source: String,
    /// Whether something must be said of the event besides (W-WFE-12).
    needs_conditions: bool,
}

impl Reader<'_> {
    pub(super) fn wait_for_event(&mut self, node: &Node<'_>) -> Option<WaitForEvent> {
        self.known(node, &["type", "ref", "name", "description", "conditions", "settings"]);
        let Some(settings) = self.object_at(node, "settings") else {
            self.wrong(node.at("settings"), "is required, with the `event` to wait for");
            return None;
        };
        self.known(&settings, &["event", "expires_after", "match_conditions", "on_match", "on_timeout"]);
        let awaited = match self.object_at(&settings, "event") {
            Some(event) => self.awaited(&event),
            None => {
                self.wrong(settings.at("event"), "is required, with an `event_type`");
                None
            }
        };
        let matches = settings.get("match_conditions");
        let matches = matches.map(|list| Group::parse_matches(list, &settings.at("match_conditions")));
        let are_sound = matches.as_ref().is_none_or(Result::is_ok);
        let matches = matches.and_then(|read| self.keep(read)).filter(|group| !group.is_empty());
        if awaited.as_ref().is_some_and(|awaited| awaited.needs_conditions) && matches.is_none() && are_sound {
            let problem = "needs at least one condition for an event of a message or of a workflow";
            self.wrong(settings.at("match_conditions"), problem);
        }
        let expires_after = self.expires_after(&settings);
        let on_match = self.then(&settings, "on_match", Then::Continue);
        let on_timeout = self.then(&settings, "on_timeout", Then::Halt);
        let Awaited { topic, source, .. } = awaited?;
        Some(WaitForEvent { topic, source, expires_after: expires_after?, matches, on_match, on_timeout })
    }

    fn awaited(&mut self, event: &Node<'_>) -> Option<Awaited> {
        match self.required_text(event, "event_type")? {
            "message" => self.awaited_message(event),
            "workflow" => {
                self.known(event, &["event_type", "event_key", "source_key"]);
                let key = self.event_key(event, &["started", "completed"]);
                let source = self.required_text(event, "source_key");
                let topic = format!("workflow.{}", key?);
                Some(Awaited { topic, source: source?.to_owned(), needs_conditions: true })
            }
            "recipient" => {
                self.known(event, &["event_type", "event_key"]);
                if event.get("event_key").is_some() {
                    self.event_key(event, &["updated"])?;
                }
                Some(Awaited { topic: RECIPIENT_UPDATED.to_owned(), source: String::new(), needs_conditions: false })
            }
            "audience" => {
                self.known(event, &["event_type", "event_key", "audience_key"]);
                let key = self.event_key(event, &["enter", "exit"]);
                let source = self.required_text(event, "audience_key");
                let topic = format!("audience.{}", key?);
                Some(Awaited { topic, source: source?.to_owned(), needs_conditions: false })
            }
            "integration_source" => {
                self.known(event, &["event_type", "event_key", "integration_source_key"]);
                let key = self.required_text(event, "event_key");
                let source = self.required_text(event, "integration_source_key");
                Some(Awaited { topic: format!("source.{}", key?), source: source?.to_owned(), needs_conditions: false })
            }
            _ => {
                let known = "must be integration_source, message, workflow, audience or recipient";
                self.wrong(event.at("event_type"), known);
                None
            }
        }
    }

    fn awaited_message(&mut self, event: &Node<'_>) -> Option<Awaited> {
        self.known(event, &["event_type", "event_key", "source_type", "source_key"]);
        let source_type = self.required_text(event, "source_type");
        match source_type {
            None | Some("workflow") => {}
            Some("broadcast" | "guide") => {
                // Refused rather than waited for in vain.
                let problem = "this version waits for messages of workflows only: it has no broadcasts, and does not wait for guides";
                self.wrong(event.at("source_type"), problem);
            }
            Some(_) => self.wrong(event.at("source_type"), "must be workflow, broadcast or guide"),
        }
        let key = self.event_key(event, &MESSAGE_EVENTS);
        let source = self.required_text(event, "source_key");
        source_type.filter(|kind| *kind == "workflow")?;
        Some(Awaited { topic: format!("message.{}", key?), source: source?.to_owned(), needs_conditions: true })
    }

    fn event_key<'a>(&mut self, event: &Node<'a>, known: &[&str]) -> Option<&'a str> {
        let key = self.required_text(event, "event_key")?;
        if known.contains(&key) {
            return Some(key);
        }
        self.wrong(event.at("event_key"), format!("must be one of {}", known.join(", ")));
        None
    }

    fn expires_after(&mut self, settings: &Node<'_>) -> Option<Duration> {
        let Some(value) = settings.get("expires_after") else { return Some(USUAL) };
        let path = settings.at("expires_after");
        let duration = self.keep(Duration::parse(value, &path).map_err(|problem| vec![problem]))?;
        if duration.unit == Unit::Months {
            self.wrong(path, "must be in seconds, minutes, hours, days or weeks");
        } else if !duration.is_positive() {
            self.wrong(path, "must be more than nothing");
        } else if duration.exceeds(LONGEST_SECONDS) {
            self.wrong(path, format!("{duration} is too long: at most 30 days are allowed"));
        } else {
            return Some(duration);
        }
        None
    }

    fn then(&mut self, settings: &Node<'_>, key: &str, default: Then) -> Then {
        match self.one_of(settings, key, &["continue", "halt"]) {
            None => default,
            Some(0) => Then::Continue,
            Some(_) => Then::Halt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::{Value, json};

    fn read(settings: Value) -> Result<Workflow, String> {
        let step = json!({"type": "wait_for_event", "ref": "wait_1", "settings": settings});
        let read = Workflow::parse("story", &json!({"name": "Story", "steps": [step]}), &[]);
        read.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn settings(event: Value, more: Value) -> Value {
        let mut settings = json!({"event": event, "match_conditions": any()});
        settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        settings
    }

    fn any() -> Value {
        json!([{"operator": "and", "conditions": [{"variable": "event.step_ref", "operator": "equal_to", "argument": "bell"}]}])
    }

    fn message(key: &str) -> Value {
        json!({"event_type": "message", "event_key": key, "source_type": "workflow", "source_key": "story"})
    }

    #[test]
    fn what_is_waited_for_is_read_w_wfe_01() {
        for (event, topic, source) in [
            (message("read"), "message.read", "story"),
            (message("link_clicked"), "message.link_clicked", "story"),
            (
                json!({"event_type": "workflow", "event_key": "completed", "source_key": "other"}),
                "workflow.completed",
                "other",
            ),
            (json!({"event_type": "recipient", "event_key": "updated"}), "recipient.updated", ""),
            (json!({"event_type": "recipient"}), "recipient.updated", ""),
            (json!({"event_type": "audience", "event_key": "enter", "audience_key": "vip"}), "audience.enter", "vip"),
            (
                json!({"event_type": "integration_source", "event_key": "order.paid", "integration_source_key": "shop"}),
                "source.order.paid",
                "shop",
            ),
        ] {
            let workflow = read(settings(event.clone(), json!({}))).unwrap();
            let StepKind::WaitForEvent(wait) = &workflow.steps[0].kind else { panic!("a wait") };
            assert_eq!(
                (wait.topic.as_str(), wait.source.as_str()),
                (topic, source),
                "W-WFE-04 W-WFE-06 W-WFE-07 W-WFE-09 {event}"
            );
            assert_eq!((wait.on_match, wait.on_timeout), (Then::Continue, Then::Halt), "W-WFE-21 W-WFE-22");
            assert_eq!(wait.expires_after, USUAL, "W-WFE-23");
        }
        for key in MESSAGE_EVENTS {
            assert!(read(settings(message(key), json!({}))).is_ok(), "W-WFE-06 {key}");
        }
        for unit in ["seconds", "minutes", "hours", "days", "weeks"] {
            let more =
                json!({"expires_after": {"unit": unit, "value": 2}, "on_match": "halt", "on_timeout": "continue"});
            let workflow = read(settings(message("read"), more)).unwrap();
            let StepKind::WaitForEvent(wait) = &workflow.steps[0].kind else { panic!("a wait") };
            assert_eq!(wait.expires_after.unit.name(), unit, "W-WFE-23");
            assert_eq!((wait.on_match, wait.on_timeout), (Then::Halt, Then::Continue), "W-WFE-21 W-WFE-22");
        }
    }

    #[test]
    fn conditions_are_needed_for_messages_and_workflows_alone_w_wfe_12() {
        let audience = json!({"event_type": "audience", "event_key": "exit", "audience_key": "vip"});
        let source = json!({"event_type": "integration_source", "event_key": "paid", "integration_source_key": "shop"});
        for event in [json!({"event_type": "recipient"}), audience, source] {
            assert!(read(json!({"event": event})).is_ok(), "W-WFE-12");
        }
        let workflow = json!({"event_type": "workflow", "event_key": "started", "source_key": "other"});
        for event in [message("read"), workflow] {
            for none in [json!(null), json!([]), json!([{"operator": "and", "conditions": []}])] {
                let problem = read(settings(event.clone(), json!({"match_conditions": none}))).unwrap_err();
                assert!(
                    problem.contains("match_conditions: needs at least one condition"),
                    "W-WFE-12 {event}: {problem}"
                );
            }
            // W-WFE-13: one on the channel step is one; W-AMB-36: a plain group will do.
            assert!(read(settings(event.clone(), json!({}))).is_ok(), "W-WFE-13 W-WFE-14 {event}");
            let plain = json!({"all": [{"variable": "event.step_ref", "operator": "equal_to", "argument": "bell"}]});
            assert!(read(settings(event, json!({"match_conditions": plain}))).is_ok(), "W-AMB-36");
        }
    }

    #[test]
    fn what_a_wait_cannot_be_is_said() {
        let long = |value: i64| json!({"expires_after": {"unit": "days", "value": value}});
        for (settings, said, rule) in [
            (json!(null), "settings: is required", "W-WFE-01"),
            (json!({}), "settings.event: is required", "W-WFE-01"),
            (settings(json!({}), json!({})), "event.event_type: is required", "W-WFE-04"),
            (settings(json!({"event_type": "weather"}), json!({})), "must be integration_source, message", "W-WFE-04"),
            (settings(message("opened"), json!({})), "event.event_key: must be one of created", "W-WFE-06"),
            (
                settings(json!({"event_type": "message", "event_key": "read", "source_type": "workflow"}), json!({})),
                "event.source_key: is required",
                "W-WFE-06",
            ),
            (
                settings(
                    json!({"event_type": "message", "event_key": "read", "source_type": "guide", "source_key": "g"}),
                    json!({}),
                ),
                "no broadcasts, and does not wait for guides",
                "W-WFE-06",
            ),
            (
                settings(json!({"event_type": "workflow", "event_key": "read", "source_key": "s"}), json!({})),
                "must be one of started, completed",
                "W-WFE-07",
            ),
            (
                settings(json!({"event_type": "recipient", "event_key": "deleted"}), json!({})),
                "must be one of updated",
                "W-WFE-09",
            ),
            (
                settings(json!({"event_type": "audience", "event_key": "join", "audience_key": "a"}), json!({})),
                "must be one of enter, exit",
                "W-WFE-08",
            ),
            (
                settings(json!({"event_type": "audience", "event_key": "enter"}), json!({})),
                "audience_key: is required",
                "W-WFE-08",
            ),
            (
                settings(json!({"event_type": "integration_source", "event_key": "paid"}), json!({})),
                "integration_source_key: is required",
                "W-WFE-05",
            ),
            (settings(message("read"), long(31)), "at most 30 days", "W-WFE-24"),
            (settings(message("read"), long(0)), "must be more than nothing", "W-WFE-23"),
            (
                settings(message("read"), json!({"expires_after": {"unit": "months", "value": 1}})),
                "must be in seconds",
                "W-WFE-23",
            ),
            (settings(message("read"), json!({"on_match": "stop"})), "on_match: must be continue or halt", "W-WFE-21"),
            (settings(message("read"), json!({"on_timeout": 1})), "on_timeout: must be text", "W-WFE-22"),
            (settings(message("read"), json!({"timeout": 1})), "unknown key `timeout`", "W-WFE-01"),
        ] {
            let problem = read(settings.clone()).unwrap_err();
            assert!(problem.contains(said), "{rule}: {settings} gave {problem}");
        }
        assert!(read(settings(message("read"), long(30))).is_ok(), "W-WFE-24");
    }
}
