//! Brings the recipient to a guide, which is for those alone whom steps have brought to it (W-CHS-20).

use serde_json::json;

use super::channel::{Way, pass_over};
use crate::engine::run::Stretch;
use crate::model::run::EventStatus;
use crate::model::workflow::{ChannelStep, Step};
use crate::store::guides::Membership;

/// Whether the recipient is one of those now, under the run's tenant. Why they are not is recorded.
pub(super) fn execute(stretch: &mut Stretch<'_>, step: &Step, channel_step: &ChannelStep, way: Way<'_>) -> bool {
    let key = channel_step.guide_key.as_deref().unwrap_or_default();
    let Some(user) = stretch.run.recipient.user_id().map(str::to_owned) else {
        return pass_over(stretch, step, way, "recipient_is_no_user", json!({"guide_key": key}));
    };
    // It was declared when the workflow was loaded, and nodes that read no files know none.
    let Some(guide) = stretch.scene.guides.get(key).cloned() else {
        return pass_over(stretch, step, way, "guide_missing", json!({"guide_key": key}));
    };
    if guide.channel != way.channel.key {
        return pass_over(stretch, step, way, "guide_of_another_channel", json!({"guide_key": key}));
    }
    if stretch.run.settings.sandbox_mode {
        return pass_over(stretch, step, way, "sandbox_mode", json!({"guide_key": key}));
    }
    let (env, now) = (stretch.run.env, stretch.scene.now);
    let membership = Membership { guide: guide.key.clone(), tenant: stretch.run.tenant.clone() };
    stretch.change.bring_to_guide(env, &way.channel.id.to_string(), &user, &membership, now);
    let record = json!({"guide_key": key, "tenant": membership.tenant, "channel_type": way.channel.kind,
        "channel_id": way.channel.id});
    stretch.record(step, EventStatus::Ok, "guide_audience_updated", record);
    true
}
