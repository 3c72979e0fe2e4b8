//! A recipient run: one recipient's way through one workflow, and the record of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::ids::Ksuid;
use super::recipient::RecipientRef;
use super::schedule::Occurrence;
use super::subscription::Followed;
use super::time::Time;
use super::trigger_data::TriggerData;
use super::workflow::Position;
use super::workflow::batch::Shown;

/// Where a run stands (W-RUN-07, W-RUN-08).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    Queued,
    Processing,
    Paused,
    Completed,
    Cancelled,
}

impl RunStatus {
    /// The status's name on the wire and in rows.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Processing => "processing",
            RunStatus::Paused => "paused",
            RunStatus::Completed => "completed",
            RunStatus::Cancelled => "cancelled",
        }
    }

    /// Reads a status's name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Queued, Self::Processing, Self::Paused, Self::Completed, Self::Cancelled]
            .into_iter()
            .find(|status| status.name() == name)
    }

    /// Whether nothing more will happen.
    pub fn is_final(self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Cancelled)
    }
}

/// What started a run (W-RUN-10). The cancellation key stands here on the wire and in the run's own field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "snake_case")]
pub enum SourceType {
    #[default]
    Api,
    Audience,
    Schedule,
    Broadcast,
    WorkflowStep,
    Integration,
    Rehearsal,
}

impl SourceType {
    /// Whether what is started so for an object is started for its followers too (W-FAN-02, W-FAN-13).
    pub fn reaches_followers(self) -> bool {
        self != SourceType::Schedule
    }
}

/// What the trigger asked of the run (W-TRG-27, W-TRG-28).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct RunSettings {
    #[serde(default)]
    pub sandbox_mode: bool,
    #[serde(default)]
    pub skip_delay: bool,
}

/// What a run remembers between steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct RunState {
    /// The step to execute next; none before the first and after the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
    /// Whether that step is a pause that is over.
    #[serde(default)]
    pub is_waiting: bool,
    /// How often that step has failed (W-ENG-13).
    #[serde(default)]
    pub failures: u32,
    /// How many workflows have triggered each other to come to this run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u32,
    /// The messages each channel step produced.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub messages: BTreeMap<String, Vec<String>>,
    /// The wait for an event that is open; the position says of which step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Wait>,
    /// What came of the waits that are over.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub waited: BTreeMap<String, Waited>,
    /// The audience by joining which the run has begun (W-AUD-15).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined: Option<String>,
    /// The frequency cap whose overflow the run is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
    /// The workflows into which the run has overflown.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub overflown: BTreeSet<String>,
    /// The occurrence of a schedule that the run is (W-SCH-22).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub occurrence: Option<Occurrence>,
    /// The subscription that the run came through; none for a recipient who was named (W-FAN-09).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub followed: Option<Followed>,
    /// The batch that the run waits for, or has carried on last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<CarriedBatch>,
}

impl RunState {
    /// The open batch that the run waits for.
    pub fn awaited_batch(&self) -> Option<&str> {
        self.batch.as_ref().filter(|batch| batch.closed.is_none()).map(|batch| batch.id.as_str())
    }
}

/// A batch, as the run that carries it on knows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CarriedBatch {
    pub id: String,
    /// What came together; none while the batch is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<ClosedBatch>,
    /// Where a digest stands that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<OpenDigest>,
}

/// Where a digest stands that a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenDigest {
    /// Since when no time has come at which it could close.
    pub since: Time,
    /// The next time at which it may.
    pub until: Time,
    /// How often it has stayed open for want of activities.
    #[serde(default)]
    pub held: i64,
}

/// What came together in a batch (W-BAT-29).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosedBatch {
    pub total_activities: i64,
    /// Each counts once; activities without an actor count none (W-AMB-29).
    pub total_actors: i64,
    /// Which of the activities templates see, as the step said then.
    pub shown: Shown,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A wait for an event (W-WFE-02). What happens outside it does not count (W-WFE-26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wait {
    pub since: Time,
    pub until: Time,
    /// How many events the record tells of.
    #[serde(default)]
    pub told: u32,
}

/// What came of a wait, as later steps see it (W-WFE-27).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    pub matched: bool,
    pub signal_variables: Value,
}

/// One entry of a run's record (W-RUN-12).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunEvent {
    pub id: String,
    pub event: String,
    pub status: EventStatus,
    pub attempt: u32,
    pub step_ref: Option<String>,
    pub step_type: Option<String>,
    pub data: Option<Value>,
    pub inserted_at: Time,
}

impl RunEvent {
    /// An entry about a run that is alone in its kind and went well; `seed` tells it from the run's others.
    pub fn new(run: &[u8], seed: &[u8], at: Time, event: &str) -> Self {
        RunEvent {
            id: Ksuid::mint(at, &[run, seed]).to_string(),
            event: event.to_owned(),
            status: EventStatus::Ok,
            attempt: 1,
            step_ref: None,
            step_type: None,
            data: None,
            inserted_at: at,
        }
    }
}

/// Whether what an event tells of went well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    Ok,
    Error,
}

/// What an entry of the record says that gives a reason (W-RUN-15).
pub fn reasoned(reason: &str, more: Option<Value>) -> Value {
    let mut data = json!({"reason": reason});
    if let (Some(data), Some(Value::Object(more))) = (data.as_object_mut(), more) {
        data.extend(more);
    }
    data
}

/// One recipient's run of a workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    pub id: Uuid,
    pub env: i64,
    /// Raised by every change; whoever holds an older one has been overtaken.
    pub rev: i64,
    pub workflow_run: Uuid,
    pub workflow: String,
    pub version_id: Uuid,
    pub status: RunStatus,
    pub recipient: RecipientRef,
    pub actor: Option<RecipientRef>,
    pub tenant: Option<String>,
    pub cancellation_key: Option<String>,
    pub source: SourceType,
    pub settings: RunSettings,
    /// Shared by all runs of the trigger that have the same.
    pub data: Arc<TriggerData>,
    pub state: RunState,
    pub events: Vec<RunEvent>,
    pub inserted_at: Time,
    pub updated_at: Time,
}

impl Run {
    /// Appends an entry to the run's record.
    pub fn record(
        &mut self,
        at: Time,
        status: EventStatus,
        event: &str,
        step: Option<(&str, &str)>,
        data: Option<Value>,
    ) {
        let number = self.events.len().to_be_bytes();
        self.events.push(RunEvent {
            status,
            attempt: self.state.failures + 1,
            step_ref: step.map(|(step_ref, _)| step_ref.to_owned()),
            step_type: step.map(|(_, step_type)| step_type.to_owned()),
            data,
            ..RunEvent::new(self.id.as_bytes(), &number, at, event)
        });
    }

    /// Ends the run before its steps are done, and records why (W-RUN-09); the members of `more` stand beside the reason.
    pub fn halt(&mut self, at: Time, status: EventStatus, reason: &str, more: Option<Value>) {
        self.record(at, status, "run_halted", None, Some(reasoned(reason, more)));
        self.state.position = None;
        self.state.wait = None;
        self.status = RunStatus::Completed;
    }

    /// Stops the run as a cancellation does, and records why (W-AMB-12).
    pub fn cancel(&mut self, at: Time, reason: &str) {
        self.record(at, EventStatus::Ok, "run_cancelled", None, Some(reasoned(reason, None)));
        self.state.position = None;
        self.state.wait = None;
        self.status = RunStatus::Cancelled;
    }

    /// The recipient as the run's templates and conditions see it: with what it was started by (W-SCP-08).
    pub fn with_origin(&self, mut recipient: Value) -> Value {
        if let Some(occurrence) = &self.state.occurrence {
            recipient["schedule"] = serde_json::to_value(occurrence).unwrap_or_default();
        }
        recipient
    }

    /// How many entries tell of an error (W-RUN-14).
    pub fn error_count(&self) -> usize {
        self.events.iter().filter(|event| event.status == EventStatus::Error).count()
    }

    /// The run on the wire, without its events (W-RUN-06).
    pub fn to_json(&self) -> Value {
        let mut out = json!({
            "__typename": "WorkflowRecipientRun",
            "id": self.id,
            "workflow_run_id": self.workflow_run,
            "workflow": self.workflow,
            "status": self.status,
            "recipient": self.recipient,
            "actor": self.actor,
            "tenant": self.tenant,
            "trigger_source": {
                "type": self.source,
                "cancellation_key": self.cancellation_key,
                "schedule_id": self.state.occurrence.map(|occurrence| occurrence.id),
                "audience_key": self.state.joined,
            },
            "error_count": self.error_count(),
            "inserted_at": self.inserted_at,
            "updated_at": self.updated_at,
        });
        // Our own: shown where there is one.
        if let Some(cap) = &self.state.cap {
            out["trigger_source"]["cap_key"] = cap.as_str().into();
        }
        out
    }

    /// The run with every step's outcome (W-RUN-02, W-RUN-12).
    pub fn to_detail_json(&self) -> Value {
        let mut out = self.to_json();
        let events: Vec<Value> = self
            .events
            .iter()
            .map(|event| {
                let mut event = serde_json::to_value(event).unwrap_or_default();
                event["__typename"] = "WorkflowRecipientRunEvent".into();
                event
            })
            .collect();
        out["events"] = events.into();
        out
    }
}
