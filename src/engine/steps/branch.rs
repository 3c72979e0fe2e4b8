//! Takes the first branch whose conditions hold.

use serde_json::{Value, json};

use crate::engine::run::{Ended, Stretch, evaluations};
use crate::model::run::EventStatus;
use crate::model::workflow::{Branch, Next, Position, Step};

/// Enters the chosen branch and records why it was chosen (W-RUN-17).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, branches: &[Branch], position: &Position) -> Ended {
    let mut tested = Vec::new();
    let chosen = branches.iter().enumerate().find(|(_, branch)| match &branch.conditions {
        _ if branch.is_default => true,
        None => false,
        Some(conditions) => {
            let verdict = stretch.judge(conditions);
            tested.push(json!({"branch": branch.name, "passed": verdict.passed, "conditions": evaluations(&verdict)}));
            verdict.passed
        }
    });
    let Some((index, branch)) = chosen else {
        stretch.skip(step, EventStatus::Error, "no_branch", Some(json!({"tested": tested})));
        return Ended::On(stretch.scene.workflow.next_after(position));
    };
    let record = json!({"branch": branch.name, "index": index, "tested": Value::Array(tested)});
    stretch.record(step, EventStatus::Ok, "branch_chosen", record);
    let next: Next = stretch.scene.workflow.enter(position, index);
    Ended::On(next)
}
