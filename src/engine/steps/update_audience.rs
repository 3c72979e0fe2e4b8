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
    let skipped = |reason: &'static str| (reason, json!({"audience_key": key}));
    let refusal = match (stretch.run.recipient.user_id(), stretch.scene.audiences.get(key)) {
        // W-AMB-16: objects are members of nothing.
        (None, _) => Some(skipped("recipient_is_no_user")),
        // W-UPD-23: it was static when the workflow was loaded.
        (Some(_), Some(audience)) if audience.conditions().is_some() => Some(skipped("audience_is_dynamic")),
        (Some(_), Some(_)) => None,
        (Some(_), None) if stretch.scene.facts.is_static_audience(key) => None,
        (Some(_), None) => Some(skipped("audience_missing")),
    };
    if let Some((reason, more)) = refusal {
        stretch.skip(step, EventStatus::Error, reason, Some(more));
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
    // W-UPD-20: what is so already is no error, W-RUN-19: and the record shows both.
    let record = json!({"audience_key": key, "action": update.action.name(), "tenant": slot.tenant,
        "was_member": was, "is_member": is});
    stretch.record(step, EventStatus::Ok, "audience_updated", record);
    on
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
    stretch.change.batch.ensure_audience(env, &slot.audience, false, now);
    stretch.change.batch.add_member(env, slot, token, now);
    let depth = stretch.run.state.joined.as_ref().map_or(0, |joined| joined.depth) + 1;
    for workflow in stretch.scene.audiences.workflows(&slot.audience) {
        let join = Join {
            env,
            workflow: workflow.to_owned(),
            audience: slot.audience.clone(),
            user: slot.user.clone(),
            tenant: slot.tenant.clone(),
            depth,
        };
        let subject = Uuid::new_v5(&token, workflow.as_bytes()).to_string();
        stretch.change.add_long_job(JOIN_JOB, &subject, &join.progress(), now);
    }
}
