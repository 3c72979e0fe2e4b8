//! Waits until something happens to the recipient, or until it is too late.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::engine::run::{Ended, Stretch, evaluations};
use crate::model::run::{EventStatus, Wait, Waited, reasoned};
use crate::model::workflow::Step;
use crate::model::workflow::wait_for_event::{Then, WaitForEvent};
use crate::rules::condition::Verdict;

/// Events of one wait that the record tells of: a run's record is written whole with each.
const MOST_TOLD: u32 = 100;

/// Whether the wait that is open is over: because of what was heard, or of the time. What does not match is recorded, and
/// the wait goes on (W-WFE-17).
pub(crate) fn is_over(stretch: &mut Stretch<'_>, step: &Step, wait: &WaitForEvent, mut open: Wait) -> bool {
    for heard in stretch.heard {
        if heard.step != step.reference || heard.topic != wait.topic {
            // It was on its way to a wait that is over.
            continue;
        }
        let is_told = heard.is_cause && open.told < MOST_TOLD;
        if heard.at < open.since || heard.at > open.until {
            if is_told {
                open.told += 1;
                let record =
                    reasoned("outside_wait_window", Some(json!({"event": heard.topic, "happened_at": heard.at})));
                stretch.record(step, EventStatus::Ok, "event_ignored", record);
            }
            continue;
        }
        let verdict = wait.matches.as_ref().map(|conditions| stretch.judge_event(conditions, &heard.event));
        let passed = verdict.as_ref().is_none_or(|verdict| verdict.passed);
        if let Some(verdict) = verdict.filter(|_| passed || is_told) {
            open.told += 1;
            let record = json!({"event": heard.topic, "happened_at": heard.at, "passed": passed,
                "conditions": without_channel_data(&verdict)});
            stretch.record(step, EventStatus::Ok, "wait_conditions_evaluated", record);
        }
        if passed {
            stretch.claimed = Some(heard);
            return true;
        }
    }
    stretch.run.state.wait = Some(open);
    stretch.scene.now >= open.until
}

/// Begins the wait, or ends it.
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, wait: &WaitForEvent, on: Ended) -> Ended {
    if stretch.run.state.wait.take().is_none() {
        return begin(stretch, step, wait, on);
    }
    match stretch.claimed.take() {
        Some(heard) => {
            stretch.record(
                step,
                EventStatus::Ok,
                "event_matched",
                json!({"event": heard.topic, "happened_at": heard.at}),
            );
            conclude(stretch, step, wait.on_match, Some(heard.event.clone()), on)
        }
        None => {
            stretch.record(step, EventStatus::Ok, "wait_timed_out", json!({"event": wait.topic}));
            conclude(stretch, step, wait.on_timeout, None, on)
        }
    }
}

fn begin(stretch: &mut Stretch<'_>, step: &Step, wait: &WaitForEvent, on: Ended) -> Ended {
    let now = stretch.scene.now;
    let Some(until) = wait.expires_after.after(now, &TimeZone::UTC) else {
        stretch.skip(step, EventStatus::Error, "invalid_wait", Some(json!({"expires_after": wait.expires_after})));
        return on;
    };
    stretch.run.state.wait = Some(Wait { since: now, until, told: 0 });
    stretch.change.batch.add_wait(&stretch.run, &step.reference, &wait.topic, &wait.source);
    let record = json!({"event": wait.topic, "source": wait.source, "expires_at": until});
    stretch.record(step, EventStatus::Ok, "wait_started", record);
    Ended::Pause(until)
}

/// Goes on as the step says, with what later steps see of it (W-WFE-27).
fn conclude(stretch: &mut Stretch<'_>, step: &Step, then: Then, event: Option<Value>, on: Ended) -> Ended {
    let matched = event.is_some();
    if then == Then::Halt {
        stretch.run.cancel(stretch.scene.now, if matched { "event_matched" } else { "wait_timed_out" });
        return Ended::Over;
    }
    let waited = Waited { matched, signal_variables: event.unwrap_or_else(|| json!({})) };
    if let Value::Object(refs) = &mut stretch.refs {
        refs.insert(step.reference.clone(), json!(waited));
    }
    stretch.run.state.waited.insert(step.reference.clone(), waited);
    on
}

/// The conditions of a verdict as records tell of them: a recipient's channel data is shown nowhere (W-UPD-11).
fn without_channel_data(verdict: &Verdict) -> Value {
    let mut told = evaluations(verdict);
    for evaluation in told.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut) {
        let names_it = |side: &str| evaluation.get(side).is_some_and(|side| side.to_string().contains("channel_data"));
        if names_it("variable") || names_it("argument") {
            evaluation.remove("left");
            evaluation.remove("right");
        }
    }
    told
}
