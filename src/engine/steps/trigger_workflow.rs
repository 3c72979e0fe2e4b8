//! Triggers another workflow, and does not wait for it.

use serde_json::{Map, Value, json};

use crate::engine::run::Stretch;
use crate::model::ids::workflow_run_id;
use crate::model::run::EventStatus;
use crate::model::workflow::{Step, TriggerWorkflow};
use crate::verbs::Error;
use crate::verbs::nested::Nested;
use crate::verbs::trigger::LONGEST_CHAIN;

/// Leaves the trigger to a worker, in the run's own transaction (W-TWF-03, W-TWF-09). What can be known to be wrong with
/// it is known now (W-TWF-08).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, trigger: &TriggerWorkflow) -> Result<(), String> {
    let key = stretch.says("workflow_key", &trigger.workflow_key)?.trim().to_owned();
    let body = body(stretch, trigger)?;
    let (env, catalog) = (stretch.run.env, stretch.scene.catalog);
    let order = match catalog.order(env, &key, body.clone()) {
        Ok(order) => order,
        Err(refusal @ (Error::WorkflowMissing(_) | Error::WorkflowInactive(_))) => {
            // W-TWF-06: the run goes on.
            let is_missing = matches!(refusal, Error::WorkflowMissing(_));
            let reason = if is_missing { "workflow_missing" } else { "workflow_inactive" };
            stretch.skip(step, EventStatus::Ok, reason, Some(json!({"workflow": key})));
            return Ok(());
        }
        Err(error) => return Err(error.to_string()),
    };
    order.check_data().map_err(|error| error.to_string())?;
    if let Some(actor) = order.actor_to_be_known()
        && !stretch.knows(actor)
    {
        return Err(Error::ActorMissing(actor.to_string()).to_string());
    }
    let depth = stretch.run.state.depth + 1;
    if depth > LONGEST_CHAIN {
        return Err(format!("workflows trigger each other at most {LONGEST_CHAIN} times in a row"));
    }
    let now = stretch.scene.now;
    let workflow_run = workflow_run_id(now, &[stretch.run.id.as_bytes(), step.reference.as_bytes()]);
    let nested =
        Nested { env, workflow: key.clone(), body, depth, parent: stretch.run.id, cap: stretch.run.state.cap.clone() };
    nested.leave(&mut stretch.change, workflow_run, now);
    let record = json!({"workflow": key, "workflow_run_id": workflow_run});
    stretch.record(step, EventStatus::Ok, "workflow_triggered", record);
    Ok(())
}

/// The trigger's body, as the API takes it.
fn body(stretch: &Stretch<'_>, trigger: &TriggerWorkflow) -> Result<Value, String> {
    let run = &stretch.run;
    let recipients = match &trigger.recipients {
        None => json!(run.recipient),
        Some(template) => named(stretch.says_json("recipients", template, false)?.trim()),
    };
    let recipients = match recipients {
        Value::Null => return Err("`recipients` renders to nothing".to_owned()),
        Value::Array(_) => recipients,
        one => json!([one]),
    };
    let actor = match &trigger.actor {
        None => json!(run.actor),
        Some(template) => named(stretch.says_json("actor", template, false)?.trim()),
    };
    let or_none = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let tenant = match &trigger.tenant {
        None => run.tenant.clone(),
        Some(template) => or_none(stretch.says("tenant", template)?.trim()),
    };
    let cancellation_key = match &trigger.cancellation_key {
        None => run.cancellation_key.clone(),
        Some(template) => or_none(stretch.says("cancellation_key", template)?.trim()),
    };
    let data = match &trigger.data {
        None => run.data.value().clone(),
        Some(template) => Value::Object(data(stretch.says_json("data", template, false)?.trim())?),
    };
    // W-AMB-63: a test leaks nothing through another workflow.
    Ok(json!({"recipients": recipients, "actor": actor, "tenant": tenant, "cancellation_key": cancellation_key,
        "data": data, "settings": run.settings}))
}

/// Whom a text names: JSON if it is any that names somebody, else an id; nobody if it is blank (W-TWF-12, W-TWF-13).
fn named(text: &str) -> Value {
    match serde_json::from_str(text) {
        _ if text.is_empty() => Value::Null,
        Ok(value @ (Value::String(_) | Value::Object(_) | Value::Array(_))) => value,
        _ => text.into(),
    }
}

fn data(text: &str) -> Result<Map<String, Value>, String> {
    if text.is_empty() {
        return Ok(Map::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(_) => Err("`data` must render to a JSON object".to_owned()),
        Err(error) => Err(format!("`data` must render to a JSON object, and renders to no JSON: {error}")),
    }
}
