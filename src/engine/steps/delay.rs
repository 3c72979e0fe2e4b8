//! Waits, then goes on.

use serde_json::json;

use crate::engine::run::{Ended, Stretch};
use crate::model::run::EventStatus;
use crate::model::workflow::Step;
use crate::rules::delay::Delay;

/// Pauses the run, or lets it go on when the pause is over, unwanted or impossible.
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, delay: &Delay, on: Ended) -> Ended {
    if stretch.run.state.is_waiting {
        stretch.record(step, EventStatus::Ok, "delay_finished", json!({}));
        return on;
    }
    if stretch.run.settings.skip_delay {
        stretch.skip(step, EventStatus::Ok, "skip_delay", None);
        return on;
    }
    let zone = stretch.zone();
    let wake_at = delay.wake_at(&stretch.condition_scope(), stretch.scene.now, &zone);
    match wake_at {
        Ok(at) => {
            let timezone = zone.iana_name().unwrap_or("UTC").to_owned();
            stretch.record(step, EventStatus::Ok, "delay_started", json!({"resume_at": at, "timezone": timezone}));
            Ended::Pause(at)
        }
        Err(reason) => {
            // W-DLY-06: the run goes on at once, and the record says why.
            stretch.skip(step, EventStatus::Error, "invalid_delay", Some(json!({"error": reason})));
            on
        }
    }
}
