//! Tells the recipient something over a channel.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{channel_group, destination, guide};
use crate::engine::run::{Stretch, evaluations};
use crate::engine::view::{Told, View};
use crate::engine::{caps, preferences};
use crate::model::channel::{Channel, ChannelKind};
use crate::model::ids::Ksuid;
use crate::model::message::{Message, QUEUED};
use crate::model::recipient::RecipientRef;
use crate::model::run::{EventStatus, reasoned};
use crate::model::workflow::{ChannelStep, ChannelTemplate, Step, Target};
use crate::sign::api_key::digest;
use crate::store::collapse::{Collapsing, Standing};
use crate::template::Template;
use crate::template::blocks::FeedTemplate;
use crate::template::links::Wrap;

/// The longest collapse key that is kept as it is, in bytes; of a longer one the digest.
const LONGEST_KEY: usize = 256;

/// A channel that a step sends over.
#[derive(Clone, Copy)]
pub(super) struct Way<'a> {
    pub(super) channel: &'a Channel,
    /// Whether it is one of a group: the step may send over the others.
    pub(super) is_member: bool,
}

/// Produces the step's messages, or records why there are none. An error is one of rendering (W-CHS-11).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, channel_step: &ChannelStep) -> Result<(), String> {
    let key = match &channel_step.target {
        Target::Group(key) => return channel_group::execute(stretch, step, channel_step, key),
        Target::Channel(key) => key,
    };
    let Some(channel) = stretch.scene.channels.iter().find(|channel| channel.key == *key) else {
        stretch.skip(step, EventStatus::Ok, "channel_not_configured", Some(json!({"channel_key": key})));
        return Ok(());
    };
    send(stretch, step, channel_step, Way { channel, is_member: false }).map(drop)
}

/// Produces the message for one channel, in the order of W-CHS-03; whether there is one. Why there is none is recorded.
pub(super) fn send(
    stretch: &mut Stretch<'_>,
    step: &Step,
    channel_step: &ChannelStep,
    way: Way<'_>,
) -> Result<bool, String> {
    let channel = way.channel;
    let setup = stretch.scene.configured.get(&channel.key);
    if setup.is_none() && !matches!(channel.kind, ChannelKind::InAppFeed | ChannelKind::InAppGuide) {
        // W-CHS-05: declared, and without the settings that this environment needs.
        return Ok(pass_over(stretch, step, way, "channel_not_configured", json!({})));
    }
    let is_sandbox = stretch.run.settings.sandbox_mode || setup.is_some_and(|setup| setup.is_sandbox);
    if let Some(conditions) = channel.conditions.as_ref().filter(|_| !is_sandbox) {
        let verdict = stretch.judge(conditions);
        if !verdict.passed {
            let record = json!({"conditions": evaluations(&verdict)});
            return Ok(pass_over(stretch, step, way, "channel_conditions", record));
        }
    }
    if let Some((reason, missing)) = destination::lacking(stretch, channel_step, channel)? {
        return Ok(pass_over(stretch, step, way, reason, missing));
    }
    if let Some(grounds) = preferences::refusal(stretch, step, channel) {
        return Ok(pass_over(stretch, step, way, "preferences", json!({"preferences": grounds})));
    }
    match &channel_step.template {
        ChannelTemplate::Feed(template) if channel.kind == ChannelKind::InAppFeed => {
            feed(stretch, step, channel_step, way, &feed_id(stretch, step, way), template)
        }
        _ if channel.kind == ChannelKind::InAppGuide => Ok(guide::execute(stretch, step, channel_step, way)),
        // Said rather than silently passed over: this build delivers to feeds and guides only.
        _ => Ok(pass_over(stretch, step, way, "channel_type_not_supported", json!({"channel_type": channel.kind}))),
    }
}

/// Records why nothing is sent over a channel: the step is skipped, or the channel alone where there may be others.
pub(super) fn pass_over(stretch: &mut Stretch<'_>, step: &Step, way: Way<'_>, reason: &str, mut more: Value) -> bool {
    more["channel_key"] = way.channel.key.as_str().into();
    let event = if way.is_member { "channel_skipped" } else { "step_skipped" };
    stretch.record(step, EventStatus::Ok, event, reasoned(reason, Some(more)));
    false
}

/// The id of the message that a step makes for a channel.
fn feed_id(stretch: &Stretch<'_>, step: &Step, way: Way<'_>) -> String {
    let mut seed = vec![&stretch.run.id.as_bytes()[..], step.reference.as_bytes()];
    if way.is_member {
        seed.push(way.channel.id.as_bytes());
    }
    Ksuid::mint(stretch.scene.now, &seed).to_string()
}

/// Tells it in a feed; whether there is a message.
fn feed(
    stretch: &mut Stretch<'_>,
    step: &Step,
    channel_step: &ChannelStep,
    way: Way<'_>,
    id: &str,
    template: &FeedTemplate,
) -> Result<bool, String> {
    let channel = way.channel;
    let is_sandboxed = stretch.run.settings.sandbox_mode;
    let zone = stretch.zone();
    let windows = channel_step.send_windows.as_ref().filter(|_| !is_sandboxed);
    let opens_at = windows.and_then(|windows| windows.opens_at(stretch.scene.now, &zone));
    let collapse_key = match &channel_step.collapse_key {
        Some(key) => collapse_key(stretch, key)?,
        None => None,
    };
    let in_feed = !is_sandboxed && opens_at.is_none();
    let standing = collapse_key.as_ref().filter(|_| in_feed).and_then(|key| standing(stretch, channel, key));
    // What waits for its send window counts when it is sent, and what takes an unread item's place is no message more.
    let counts = match in_feed && standing.is_none() {
        true => match caps::room(stretch, channel) {
            Ok(counts) => counts,
            Err(record) => return Ok(pass_over(stretch, step, way, "frequency_cap", record)),
        },
        false => Vec::new(),
    };
    let id = standing.as_ref().map_or(id, |standing| &standing.id);
    let told = Told::of(stretch);
    let blocks = render(stretch, template, id, &told, tracks_links(stretch, channel_step, channel))?;
    let mut message = message(stretch, step, channel, id, &blocks, &told);
    let mut record = json!({"message_id": message.id, "channel_type": channel.kind, "channel_id": channel.id});
    if channel_step.collapse_key.is_some() {
        record["collapse_key"] = json!(collapse_key);
        record["has_collapsed"] = standing.is_some().into();
    }
    stretch.has_collapsed |= in_feed && collapse_key.is_some();
    message.collapse_key = collapse_key;
    caps::count(stretch, counts);
    if let Some(at) = opens_at {
        // The run goes on meanwhile (W-SNW-09).
        message.status = QUEUED.to_owned();
        message.scheduled_at = Some(at);
        stretch.change.queue_message(&message, at);
        record["scheduled_at"] = json!(at);
        record["timezone"] = json!(zone.iana_name().unwrap_or("UTC"));
    }
    if let Value::Object(refs) = &mut stretch.refs {
        let outcome = json!({"delivery_status": message.status, "engagement_statuses": []});
        let none = || json!({"messages": [], "expired": false});
        let messages = &mut refs.entry(step.reference.clone()).or_insert_with(none)["messages"];
        messages.as_array_mut().into_iter().for_each(|messages| messages.push(outcome.clone()));
    }
    stretch.run.state.messages.entry(step.reference.clone()).or_default().push(message.id.clone());
    stretch.made.push(message.id.clone());
    match standing {
        Some(standing) => stretch.change.replace_message(standing.feed, &message),
        None => stretch.change.add_message(message, in_feed),
    }
    stretch.record(step, EventStatus::Ok, "message_enqueued", record);
    Ok(true)
}

/// What tells the message from others that it leaves alone; none if the template says nothing this time.
fn collapse_key(stretch: &Stretch<'_>, key: &Template) -> Result<Option<String>, String> {
    let key = stretch.says("collapse_key", key)?.trim().to_owned();
    let is_long = key.len() > LONGEST_KEY;
    Ok(if is_long { Some(digest(&key)) } else { Some(key).filter(|key| !key.is_empty()) })
}

/// The item whose place the message takes.
fn standing(stretch: &Stretch<'_>, channel: &Channel, key: &str) -> Option<Standing> {
    stretch.scene.facts.standing(&Collapsing {
        channel: channel.id.to_string(),
        recipient: stretch.run.recipient.key(),
        tenant: stretch.run.tenant.clone(),
        key: key.to_owned(),
    })
}

/// Whether clicks on links of the message are noticed: as the step says, else the channel (F-TRK-01).
fn tracks_links(stretch: &Stretch<'_>, step: &ChannelStep, channel: &Channel) -> bool {
    let of_channel = || stretch.scene.configured.get(&channel.key).is_some_and(|setup| setup.tracks_links);
    step.tracks_links().unwrap_or_else(of_channel)
}

/// Renders the blocks in the template's scope.
fn render(
    stretch: &Stretch<'_>,
    template: &FeedTemplate,
    id: &str,
    told: &Told,
    is_tracked: bool,
) -> Result<String, String> {
    let now = stretch.scene.now;
    let current_message = json!({"id": id, "inserted_at": now, "updated_at": now});
    let view = View::of(stretch, told, |root| template.mentions(root));
    let scope = view.scope(stretch, &[("current_message", &current_message)]);
    let links = stretch.scene.links.as_ref().filter(|_| is_tracked);
    let wrap = links.map(|links| |url: &str| links.tracked(id, url));
    let wrap = wrap.as_ref().map(|wrap| wrap as Wrap<'_>);
    template.render(&stretch.env(&scope), wrap).map_err(|error| error.to_string())
}

fn message(stretch: &Stretch<'_>, step: &Step, channel: &Channel, id: &str, blocks: &str, told: &Told) -> Message {
    let (run, scene) = (&stretch.run, stretch.scene);
    let carried = run.data.carried();
    let actor = match &told.batch {
        Some(gathered) => gathered.actors.first().cloned(),
        None => run.actor.as_ref().map(RecipientRef::key),
    };
    Message {
        tenant: run.tenant.clone(),
        actor,
        workflow: run.workflow.clone(),
        version_id: run.version_id.to_string(),
        categories: Arc::clone(&scene.categories),
        step_ref: step.reference.clone(),
        workflow_run: run.workflow_run.to_string(),
        run: run.id.to_string(),
        // W-CHS-18: a feed item is delivered once it is stored; a sandboxed one never is (W-AMB-69).
        status: if run.settings.sandbox_mode { "not_sent" } else { "delivered" }.to_owned(),
        blocks: blocks.into(),
        total_actors: told.total_actors,
        actors: told.records(stretch),
        data: Arc::clone(&carried.data),
        slim_data: carried.slim.clone(),
        batch: told.batch.as_ref().and(run.state.batch.as_ref()).map(|batch| batch.id.clone()),
        activities: told.shown(),
        total_activities: told.total_activities,
        ..Message::new(id.to_owned(), run.env, channel.id.to_string(), run.recipient.clone(), scene.now)
    }
}
