//! Lets so many runs of a recipient pass, and stops the others.

use serde_json::json;

use crate::engine::run::{Ended, Stretch};
use crate::model::run::EventStatus;
use crate::model::workflow::Step;
use crate::model::workflow::throttle::{LONGEST, Throttle};
use crate::store::throttles::Counted;

/// The longest key, as JSON in an address (W-THR-17).
const LONGEST_KEY: usize = 63;

/// Lets the run pass, counting it, or ends it (W-THR-02, W-THR-03).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, throttle: &Throttle, on: Ended) -> Ended {
    let key = match key(stretch, throttle) {
        Ok(key) => key,
        Err(fault) => {
            // W-THR-15: the run goes on, and the record says why.
            stretch.skip(step, EventStatus::Error, "invalid_throttle_key", Some(json!({"error": fault})));
            return on;
        }
    };
    let counted = Counted {
        workflow: stretch.run.workflow.clone(),
        step_ref: step.reference.clone(),
        recipient: stretch.run.recipient.key(),
        key,
    };
    let (env, now) = (stretch.run.env, stretch.scene.now);
    let open = stretch.scene.facts.throttled(&counted).filter(|passed| passed.closes_at > now);
    let Some(open) = open else { return begin(stretch, step, throttle, &counted, on) };
    let record = |passed: i64| json!({"key": counted.key, "passed": passed, "limit": throttle.limit, "window_closes_at": open.closes_at});
    if open.count >= throttle.limit {
        stretch.record(step, EventStatus::Ok, "throttled", record(open.count));
        stretch.halt(EventStatus::Ok, "throttled", None);
        return Ended::Over;
    }
    stretch.change.batch.pass_throttle(env, &counted, now, throttle.limit);
    stretch.record(step, EventStatus::Ok, "throttle_passed", record(open.count + 1));
    on
}

/// Opens a window, whose first run this is (W-THR-04).
fn begin(stretch: &mut Stretch<'_>, step: &Step, throttle: &Throttle, counted: &Counted, on: Ended) -> Ended {
    let (env, now, zone) = (stretch.run.env, stretch.scene.now, stretch.zone());
    match throttle.window.resolve(&stretch.condition_scope(), now, &zone, LONGEST) {
        Ok(closes_at) => {
            stretch.change.batch.open_throttle(env, counted, now, closes_at);
            let record = json!({"key": counted.key, "passed": 1, "limit": throttle.limit, "window_closes_at": closes_at,
                "timezone": zone.iana_name().unwrap_or("UTC")});
            stretch.record(step, EventStatus::Ok, "throttle_passed", record);
        }
        Err(fault) => {
            stretch.skip(step, EventStatus::Error, "invalid_throttle_window", Some(json!({"error": fault})));
        }
    }
    on
}

/// What the run is counted by; empty where the step says nothing of it.
fn key(stretch: &Stretch<'_>, throttle: &Throttle) -> Result<String, String> {
    let Some(key) = &throttle.key else { return Ok(String::new()) };
    let scope = stretch.condition_scope();
    let Some(key) = key.resolve(&scope, &stretch.env(&scope))? else {
        return Err("`throttle_key` resolves to nothing".to_owned());
    };
    let length = percent_encoded(&json!(key).to_string());
    if length > LONGEST_KEY {
        return Err(format!("`throttle_key` has {length} characters once encoded; {LONGEST_KEY} are allowed"));
    }
    Ok(key)
}

/// How many characters a text has in an address.
fn percent_encoded(text: &str) -> usize {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum()
}
