//! Sends each recipient down the way of their cohort.

use serde_json::json;

use crate::engine::run::{Ended, Stretch};
use crate::model::run::EventStatus;
use crate::model::workflow::{Experiment, Position, Step};

/// Enters the way of the recipient's cohort, and records why (W-RUN-17). An error is one of the key's Liquid.
pub(crate) fn execute(
    stretch: &mut Stretch<'_>,
    step: &Step,
    experiment: &Experiment,
    position: &Position,
) -> Result<Ended, String> {
    let scope = stretch.condition_scope();
    let found = match &experiment.key {
        None => None,
        Some(key) => key.resolve(&scope, &stretch.env(&scope))?,
    };
    // A key that says nothing of somebody would put all of them into one cohort.
    let key = found.unwrap_or_else(|| stretch.run.recipient.id().to_owned());
    let cohort = experiment.cohort(&stretch.run.workflow, &step.reference, &key);
    let distribution: Vec<_> = experiment
        .branches
        .iter()
        .zip(&experiment.shares)
        .map(|(branch, share)| json!({"cohort": branch.name, "percentage": format!("{}.{}", share / 10, share % 10)}))
        .collect();
    let name = experiment.branches.get(cohort).and_then(|branch| branch.name.clone());
    let record = json!({"cohort_key": key, "cohort": name, "index": cohort, "distribution": distribution});
    stretch.record(step, EventStatus::Ok, "cohort_chosen", record);
    Ok(Ended::On(stretch.scene.workflow.enter(position, cohort)))
}
