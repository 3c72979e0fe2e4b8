//! Whether the recipient wants a step's message, and the record of it.

use serde_json::json;

use super::run::Stretch;
use crate::model::channel::Channel;
use crate::model::run::EventStatus;
use crate::model::workflow::Step;
use crate::rules::preference::{Asked, Decision, Ground};

/// What of the recipient's preferences refuses the message (W-CHS-08, W-ENG-22); none where they allow it, and then what
/// had a say is recorded (F-PEV-15).
pub(super) fn refusal(stretch: &mut Stretch<'_>, step: &Step, channel: &Channel) -> Option<Vec<Ground>> {
    let workflow = stretch.scene.workflow;
    if workflow.settings.override_preferences {
        // W-WFD-10, F-PEV-06: nobody is asked.
        return None;
    }
    let id = channel.id.to_string();
    let asked = Asked {
        workflow: &workflow.key,
        categories: &workflow.categories,
        channel: &id,
        kind: channel.kind,
        is_commercial: workflow.settings.is_commercial,
    };
    let Decision { is_allowed, grounds } = stretch.preferences.decide(&asked, &|group| stretch.judge_preference(group));
    if !is_allowed {
        return Some(grounds);
    }
    if !grounds.is_empty() {
        let record = json!({"channel_key": channel.key, "preferences": grounds});
        stretch.record(step, EventStatus::Ok, "preferences_evaluated", record);
    }
    None
}
