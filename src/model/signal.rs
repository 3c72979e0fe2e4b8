//! A signal: something that happens to a recipient, told to the runs that wait for it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::message::{Message, QUEUED};
use super::run::{Run, RunStatus};
use super::time::Time;

/// A recipient's properties, preferences or channel data have changed.
pub const RECIPIENT_UPDATED: &str = "recipient.updated";

/// What happens, as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// What it is, such as `message.read`.
    pub topic: String,
    /// The key of the workflow it comes from; empty where recipients have only one such.
    pub source: String,
    pub at: Time,
    /// What else there is to say that is not known from rows for as long as anybody waits.
    pub about: Value,
}

/// What reached a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// The step that waits for it.
    pub step: String,
    pub topic: String,
    pub at: Time,
    /// `event` as match conditions see it.
    pub event: Value,
    /// Whether the run is taken on because of it, and not by something else meanwhile.
    pub is_cause: bool,
}

/// A signal on its way to a run, as its job carries it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    pub step: String,
    pub topic: String,
    /// In microseconds.
    pub at: i64,
    pub about: Value,
}

impl Signal {
    /// That a run has begun, or that it is over (W-WFE-07).
    pub fn of_run(run: &Run, at: Time) -> Signal {
        let event = if run.status == RunStatus::Completed { "completed" } else { "started" };
        Signal {
            topic: format!("workflow.{event}"),
            source: run.workflow.clone(),
            at,
            about: json!({"run": run.id, "status": if event == "started" { "processing" } else { event }}),
        }
    }

    /// That a message was made, and what became of it at once (W-WFE-06).
    pub fn of_new(message: &Message, at: Time) -> [Signal; 2] {
        ["created", &message.status].map(|event| Signal::of_message(message, event, at))
    }

    /// That this became of a message.
    pub fn of_message(message: &Message, event: &str, at: Time) -> Signal {
        let data = match (event, message.scheduled_at) {
            (QUEUED, Some(at)) => json!({"scheduled_at": at}),
            _ => json!({}),
        };
        let about = json!({
            "message_id": message.id,
            "channel_id": message.channel,
            "tenant_id": message.tenant,
            "step_ref": message.step_ref,
            "source_key": message.workflow,
            "is_sandboxed": message.status == "not_sent",
            "data": data,
        });
        Signal { topic: format!("message.{event}"), source: message.workflow.clone(), at, about }
    }

    /// What of the signal's text is the same for every run: all of it but its opening, which says who waits.
    pub fn rest(&self) -> String {
        format!(r#","topic":{},"at":{},"about":{}}}"#, Value::from(self.topic.as_str()), self.at.micros(), self.about)
    }
}
