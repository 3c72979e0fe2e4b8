//! Where a message would go: what a recipient must have for a channel.

use serde_json::{Value, json};

use crate::engine::run::Stretch;
use crate::model::channel::{Channel, ChannelKind};
use crate::model::workflow::{ChannelStep, ChannelTemplate};
use crate::template::Template;

/// What the recipient lacks for a message over the channel, as a reason with its details; none if nothing (W-CHS-06).
pub(super) fn lacking(
    stretch: &Stretch<'_>,
    step: &ChannelStep,
    channel: &Channel,
) -> Result<Option<(&'static str, Value)>, String> {
    let property = |name: &str| stretch.recipient().and_then(|recipient| recipient.get(name)).is_some_and(is_said);
    let lacks = |name: &str| Some(("recipient_lacks_data", json!({"missing": name})));
    Ok(match channel.kind {
        // F-OBJ-09: objects have no feed.
        ChannelKind::InAppFeed if stretch.run.recipient.user_id().is_none() => {
            Some(("recipient_has_no_feed", json!({})))
        }
        ChannelKind::Email if !is_overridden(stretch, email_override(step))? && !property("email") => lacks("email"),
        ChannelKind::Sms if !is_overridden(stretch, number_override(step))? && !property("phone_number") => {
            lacks("phone_number")
        }
        ChannelKind::Push | ChannelKind::Chat if is_addressed_by_id(stretch, channel) => None,
        ChannelKind::Push | ChannelKind::Chat => {
            let has_data = stretch.scene.facts.has_channel_data(&stretch.run.recipient.key(), &channel.id.to_string());
            if has_data { None } else { lacks("channel_data") }
        }
        // A guide and a request need nobody (W-CHS-06, W-CHS-19).
        _ => None,
    })
}

fn is_addressed_by_id(stretch: &Stretch<'_>, channel: &Channel) -> bool {
    stretch.scene.configured.get(&channel.key).is_some_and(|setup| setup.is_addressed_by_id)
}

/// Whether something is said by a value.
fn is_said(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

/// The step's own address, which replaces the recipient's (W-CHS-07, W-CHS-16).
fn email_override(step: &ChannelStep) -> Option<&Value> {
    step.overrides.as_ref()?.get("to_address")
}

/// The step's own number, likewise (W-TPL-07).
fn number_override(step: &ChannelStep) -> Option<&Value> {
    let ChannelTemplate::Other(template) = &step.template else { return None };
    template.get("settings")?.get("to_number")
}

/// Whether the step names a destination: Liquid that comes to something.
fn is_overridden(stretch: &Stretch<'_>, text: Option<&Value>) -> Result<bool, String> {
    let Some(text) = text.and_then(Value::as_str) else { return Ok(false) };
    let template = Template::parse(text).map_err(|error| error.to_string())?;
    let scope = stretch.condition_scope().with_fallback(stretch.data());
    let rendered = template.render(&stretch.env(&scope)).map_err(|error| error.to_string())?;
    Ok(!rendered.trim().is_empty())
}
