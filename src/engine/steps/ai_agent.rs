//! Asks a model; and as there is none here, says so.

use serde_json::json;

use crate::engine::run::{Ended, Stretch};
use crate::model::run::EventStatus;
use crate::model::workflow::{AiAgent, Step};

/// Records that nobody can be asked, and ends the run unless it may go on without an answer (W-AIA-05, W-AMB-41). It
/// would be the same next time.
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, agent: &AiAgent, on: Ended) -> Ended {
    let error = format!("this version can ask no model, and so not `{}`", agent.model);
    stretch.record(step, EventStatus::Error, "step_failed", json!({"error": error}));
    if !agent.halt_on_error {
        return on;
    }
    stretch.halt(EventStatus::Ok, "step_failed", None);
    Ended::Over
}
