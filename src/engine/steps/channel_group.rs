//! Sends over those channels of a group whose rules hold.

use serde_json::{Value, json};

use super::channel::{Way, send};
use crate::engine::run::{Stretch, evaluations};
use crate::model::channel_group::{ChannelGroup, Member, Operator, Test, is_in_cohort};
use crate::model::run::EventStatus;
use crate::model::workflow::{ChannelStep, Step};

/// Sends over each channel that is chosen (W-CHS-12, W-CHS-13), and records how they were chosen.
pub(super) fn execute(
    stretch: &mut Stretch<'_>,
    step: &Step,
    channel_step: &ChannelStep,
    key: &str,
) -> Result<(), String> {
    let scene = stretch.scene;
    let Some(group) = scene.channel_groups.iter().find(|group| group.key == key) else {
        stretch.skip(step, EventStatus::Ok, "channel_group_not_configured", Some(json!({"channel_group_key": key})));
        return Ok(());
    };
    let (holding, rules): (Vec<bool>, Vec<Value>) =
        group.members.iter().map(|member| judged(stretch, group, member)).unzip();
    let record = json!({"channel_group_key": key, "operator": group.operator.as_str(), "rules": rules});
    // W-AMB-67: all of them, or none.
    let is_met = group.operator == Operator::Any || holding.iter().all(|holds| *holds);
    let chosen: Vec<&Member> =
        group.members.iter().zip(&holding).filter(|(_, holds)| is_met && **holds).map(|(member, _)| member).collect();
    if chosen.is_empty() {
        stretch.skip(step, EventStatus::Ok, "channel_group_rules", Some(record));
        return Ok(());
    }
    stretch.record(step, EventStatus::Ok, "channel_group_evaluated", record);
    let mut has_sent = false;
    for member in chosen {
        has_sent |= match scene.channels.iter().find(|channel| channel.key == member.channel) {
            Some(channel) => send(stretch, step, channel_step, Way { channel, is_member: true })?,
            None => false,
        };
    }
    if !has_sent {
        stretch.skip(step, EventStatus::Ok, "no_channel_left", Some(json!({"channel_group_key": key})));
    }
    Ok(())
}

/// Whether a member's rule holds, with the record of it.
fn judged(stretch: &Stretch<'_>, group: &ChannelGroup, member: &Member) -> (bool, Value) {
    let (is_so, conditions) = match member.rule.test() {
        None => (true, Value::Null),
        Some(Test::Cohort(share)) => {
            let is_so = is_in_cohort(&group.key, &member.channel, stretch.run.recipient.id(), *share);
            (
                is_so,
                json!([{"variable": "recipient.id", "operator": "is_in_random_cohort",
                "argument": format!("{}.{}", share / 10, share % 10), "result": is_so}]),
            )
        }
        Some(Test::Condition(condition)) => {
            let verdict = stretch.judge(condition);
            (verdict.passed, evaluations(&verdict))
        }
    };
    let holds = member.rule.holds(is_so);
    let rule = json!({"channel_key": member.channel, "rule_type": member.rule.as_str(), "holds": holds, "conditions": conditions});
    (holds, rule)
}
