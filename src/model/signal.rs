//! A signal: something that happens to a recipient, told to the runs that wait for it.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::time::Time;

/// A recipient's properties, preferences or channel data have changed.
pub const RECIPIENT_UPDATED: &str = "recipient.updated";

/// What happens in a run of a recipient, or to messages of such a run.
#[derive(Debug, Clone, Copy)]
pub struct Happened<'a> {
    /// The recipient's key.
    pub recipient: &'a str,
    /// The workflow's key.
    pub workflow: &'a str,
    /// The run that is taken on, which hears nothing of what it does itself (W-WFE-32).
    pub run: Option<Uuid>,
    /// Whether the run has begun (W-WFE-07).
    pub has_begun: bool,
    /// Whether it is completed.
    pub is_over: bool,
    /// The ids of messages that have come to the status they have (W-WFE-06).
    pub messages: &'a [String],
    /// Whether they were made just now.
    pub are_new: bool,
    pub at: Time,
}

/// A signal on its way to a run, as its job carries it.
#[derive(Debug, Clone, Deserialize)]
pub struct Told {
    /// The step that waits for it.
    pub step: String,
    /// What happened, such as `message.read`.
    pub topic: String,
    /// In microseconds.
    pub at: i64,
    /// What of it is not known from rows for as long as anybody waits.
    pub about: Value,
}

/// What has reached a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    pub step: String,
    pub topic: String,
    pub at: Time,
    /// `event` as match conditions see it.
    pub event: Value,
    /// Whether the run is taken on because of it, and not because of something else meanwhile.
    pub is_cause: bool,
}
