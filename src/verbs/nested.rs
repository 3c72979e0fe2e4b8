//! Triggers that runs leave to a worker: of a step that triggers another workflow, and of a frequency cap that overflows.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::trigger::LONGEST_CHAIN;
use super::{Catalog, Change};
use crate::model::cap::Cap;
use crate::model::ids::workflow_run_id;
use crate::model::run::Run;
use crate::model::time::Time;
use crate::store::Env;

/// The kind of job that triggers a workflow. Its subject is the id of the workflow run.
pub const JOB: &str = "trigger";

/// A trigger that a run has asked for.
#[derive(Debug, Serialize, Deserialize)]
pub struct Nested {
    pub env: Env,
    pub workflow: String,
    /// As the API takes it.
    pub body: Value,
    /// How many workflows have triggered each other to come here.
    pub depth: u32,
    /// The run that has asked.
    pub parent: Uuid,
    /// The cap that overflows; none for a step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<String>,
}

impl Nested {
    /// Leaves the trigger to a worker.
    pub fn leave(&self, change: &mut Change, workflow_run: Uuid, now: Time) {
        change.add_long_job(JOB, &workflow_run.to_string(), &json!(self), now);
    }
}

/// Leaves what is over a cap's limit to the workflow that it overflows into: once for each run, which keeps that in mind.
/// What a run makes that has begun so overflows no more. Gives what the record says of it; null if the cap does not overflow.
pub fn overflow(catalog: &Catalog, run: &mut Run, cap: &Cap, data: Value, change: &mut Change, now: Time) -> Value {
    let Some(workflow) = &cap.overflow else { return Value::Null };
    let depth = run.state.depth + 1;
    let none = |reason: &str| json!({"workflow": workflow, "reason": reason});
    if run.state.cap.is_some() {
        return none("is_overflow");
    }
    if run.state.overflown.contains(workflow) {
        return none("has_overflown");
    }
    if catalog.workflow(run.env, workflow).is_none() {
        return none("workflow_missing");
    }
    if !catalog.is_active(run.env, workflow) {
        return none("workflow_inactive");
    }
    if depth > LONGEST_CHAIN {
        return none("chain_too_long");
    }
    let body = json!({"recipients": [run.recipient], "actor": run.actor, "tenant": run.tenant,
        "cancellation_key": run.cancellation_key, "data": data, "settings": run.settings});
    let workflow_run = workflow_run_id(now, &[run.id.as_bytes(), b"overflow", workflow.as_bytes()]);
    let cap = Some(cap.key.clone());
    let nested = Nested { env: run.env, workflow: workflow.clone(), body, depth, parent: run.id, cap };
    nested.leave(change, workflow_run, now);
    run.state.overflown.insert(workflow.clone());
    json!({"workflow": workflow, "workflow_run_id": workflow_run})
}
