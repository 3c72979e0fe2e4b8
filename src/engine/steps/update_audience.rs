//! Adds the recipient to an audience, or takes them out of it.

use serde_json::json;
use uuid::Uuid;

use crate::engine::run::{Ended, Stretch};
use crate::model::run::EventStatus;
use crate::model::workflow::Step;
use crate::model::workflow::update_audience::{Action, UpdateAudience};
use crate::store::audiences::Slot;
use crate::verbs::audience::{JOIN_JOB, Join};

/// Changes the recipient's place in the audience, under the run's tenant (W-UPD-25); whoever is new to it runs through its
/// workflows (W-UPD-24).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, update: &UpdateAudience, on: Ended) -> Ended {
    let key = update.audience.as_str();
    if let Some((status, reason)) = refusal(stretch, key) {
        stretch.skip(step, status, reason, Some(json!({"audience_key": key})));
        return on;
    }
    let slot = Slot {
        audience: key.to_owned(),
        user: stretch.run.recipient.id().to_owned(),
        tenant: stretch.run.tenant.clone(),
    };
    let was = stretch.is_in(&slot);
    let is = update.action == Action::Add;
    if was != is {
        change(stretch, step, &slot, is);
    }
    // W-UPD-20: what is so already is no error. W-RUN-19: the record shows how it was.
    let record = json!({"audience_key": key, "action": update.action.name(), "tenant": slot.tenant,
        "was_member": was, "is_member": is});
    stretch.record(step, EventStatus::Ok, "audience_updated", record);
    on
}

/// Why the recipient's place cannot be changed, if it cannot.
fn refusal(stretch: &Stretch<'_>, key: &str) -> Option<(EventStatus, &'static str)> {
    if stretch.run.recipient.user_id().is_none() {
        // W-AMB-16: objects are members of nothing; the run goes on.
        return Some((EventStatus::Ok, "recipient_is_no_user"));
    }
    match stretch.scene.audiences.get(key) {
        // W-UPD-23: it was static, or not declared, when the workflow was loaded.
        Some(audience) if audience.conditions().is_some() => Some((EventStatus::Error, "audience_is_dynamic")),
        Some(_) => None,
        // It may have been made by whoever added members.
        None if stretch.scene.facts.is_static_audience(key) => None,
        None => Some((EventStatus::Error, "audience_missing")),
    }
}

fn change(stretch: &mut Stretch<'_>, step: &Step, slot: &Slot, is_member: bool) {
    let (env, now) = (stretch.run.env, stretch.scene.now);
    // W-UPD-21: later steps of the same stretch.
    stretch.memberships.insert(slot.clone(), is_member);
    if !is_member {
        stretch.change.batch.remove_members(env, &slot.audience, &[slot.key()]);
        return;
    }
    let token = Uuid::new_v5(&stretch.run.id, step.reference.as_bytes());
    stretch.change.batch.add_member(env, slot, now);
    for join in Join::all(&stretch.scene.audiences, env, slot, stretch.run.state.depth + 1) {
        let subject = Uuid::new_v5(&token, join.workflow.as_bytes()).to_string();
        stretch.change.add_long_job(JOIN_JOB, &subject, &join.progress(), now);
    }
}
