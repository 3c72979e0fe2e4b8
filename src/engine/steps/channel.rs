//! Tells the recipient something over a channel.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::engine::run::{Stretch, evaluations};
use crate::model::channel::{Channel, ChannelKind};
use crate::model::ids::Ksuid;
use crate::model::message::{Message, QUEUED};
use crate::model::run::EventStatus;
use crate::model::scope::Scope;
use crate::model::workflow::{ChannelStep, ChannelTemplate, SendWindows, Step};
use crate::template::blocks::FeedTemplate;

/// Produces the step's message, or records why there is none. An error is one of rendering (W-CHS-11).
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, channel_step: &ChannelStep) -> Result<(), String> {
    let key = channel_step.channel_key().unwrap_or_default();
    let Some(channel) = stretch.scene.channels.iter().find(|channel| channel.key == key) else {
        stretch.skip(step, EventStatus::Ok, "channel_not_configured", Some(json!({"channel_key": key})));
        return Ok(());
    };
    if let Some(conditions) = &channel.conditions {
        let verdict = stretch.judge(conditions);
        if !verdict.passed {
            let record = json!({"conditions": evaluations(&verdict)});
            stretch.skip(step, EventStatus::Ok, "channel_conditions", Some(record));
            return Ok(());
        }
    }
    match &channel_step.template {
        ChannelTemplate::Feed(template) if channel.kind == ChannelKind::InAppFeed => {
            feed(stretch, step, channel, template, channel_step.send_windows.as_ref())
        }
        _ => {
            // Said rather than silently passed over: this build delivers to feeds only.
            let record = json!({"channel_key": key, "channel_type": channel.kind});
            stretch.skip(step, EventStatus::Ok, "channel_type_not_supported", Some(record));
            Ok(())
        }
    }
}

fn feed(
    stretch: &mut Stretch<'_>,
    step: &Step,
    channel: &Channel,
    template: &FeedTemplate,
    windows: Option<&SendWindows>,
) -> Result<(), String> {
    if stretch.run.recipient.user_id().is_none() {
        // F-OBJ-09: objects have no feed.
        stretch.skip(step, EventStatus::Ok, "recipient_has_no_feed", None);
        return Ok(());
    }
    let id = Ksuid::mint(stretch.scene.now, &[stretch.run.id.as_bytes(), step.reference.as_bytes()]);
    let blocks = render(stretch, template, id.as_str())?;
    let mut message = message(stretch, step, channel, id.as_str(), &blocks);
    let mut record = json!({"message_id": message.id, "channel_type": channel.kind, "channel_id": channel.id});
    let mut in_feed = !stretch.run.settings.sandbox_mode;
    let zone = stretch.zone();
    if in_feed && let Some(at) = windows.and_then(|windows| windows.opens_at(stretch.scene.now, &zone)) {
        // The run goes on meanwhile (W-SNW-09).
        in_feed = false;
        message.status = QUEUED.to_owned();
        message.scheduled_at = Some(at);
        stretch.change.queue_message(&message, at);
        record["scheduled_at"] = json!(at);
        record["timezone"] = json!(zone.iana_name().unwrap_or("UTC"));
    }
    if let Value::Object(refs) = &mut stretch.refs {
        let outcome =
            json!({"messages": [{"delivery_status": message.status, "engagement_statuses": []}], "expired": false});
        refs.insert(step.reference.clone(), outcome);
    }
    stretch.run.state.messages.entry(step.reference.clone()).or_default().push(message.id.clone());
    stretch.made.push(message.id.clone());
    stretch.change.add_message(message, in_feed);
    stretch.record(step, EventStatus::Ok, "message_enqueued", record);
    Ok(())
}

/// Renders the blocks in the template's scope (W-SCP-01). What holds copies is made only for templates that name it.
fn render(stretch: &Stretch<'_>, template: &FeedTemplate, id: &str) -> Result<String, String> {
    let at = Value::from(stretch.run.inserted_at.to_string());
    let now = stretch.scene.now;
    let actor = stretch.scene.actor.as_ref();
    let actors: Value = actor.filter(|_| template.mentions("actors")).into_iter().cloned().collect();
    let (one, total_actors) = (Value::from(1), Value::from(usize::from(actor.is_some())));
    let activities: Value = template.mentions("activities").then(|| activity(stretch)).into_iter().collect();
    let current_message = json!({"id": id, "inserted_at": now, "updated_at": now});
    let waited = if template.mentions("refs") { json!(stretch.run.state.waited) } else { Value::Null };
    let mut roots = stretch.shared_roots();
    roots.extend([
        ("refs", &waited),
        ("activities", &activities),
        ("total_activities", &one),
        ("actors", &actors),
        ("total_actors", &total_actors),
        ("timestamp", &at),
        ("current_message", &current_message),
    ]);
    let scope = Scope::new(roots).with_fallback(stretch.data());
    template.render(&stretch.env(&scope)).map_err(|error| error.to_string())
}

/// The run's single activity: its data at the root and under `data` (W-SCP-09 to W-SCP-11).
fn activity(stretch: &Stretch<'_>) -> Value {
    let mut out: Map<String, Value> = stretch.data().cloned().unwrap_or_default();
    let at = stretch.run.inserted_at;
    out.insert("data".to_owned(), stretch.run.data.value().clone());
    out.insert("id".to_owned(), Ksuid::mint(at, &[b"activity", stretch.run.id.as_bytes()]).as_str().into());
    out.insert("inserted_at".to_owned(), at.to_string().into());
    out.insert("updated_at".to_owned(), at.to_string().into());
    out.insert("actor".to_owned(), stretch.scene.actor.clone().unwrap_or_default());
    out.insert("recipient".to_owned(), stretch.recipient.cloned().unwrap_or_default());
    Value::Object(out)
}

fn message(stretch: &Stretch<'_>, step: &Step, channel: &Channel, id: &str, blocks: &str) -> Message {
    let (run, scene) = (&stretch.run, stretch.scene);
    let carried = run.data.carried();
    Message {
        id: id.to_owned(),
        env: run.env,
        feed: None,
        seq: 0,
        version: 0,
        channel: channel.id.to_string(),
        recipient: run.recipient.clone(),
        tenant: run.tenant.clone(),
        actor: run.actor.as_ref().map(crate::model::recipient::RecipientRef::key),
        workflow: run.workflow.clone(),
        version_id: run.version_id.to_string(),
        categories: Arc::clone(&scene.categories),
        step_ref: step.reference.clone(),
        workflow_run: run.workflow_run.to_string(),
        run: run.id.to_string(),
        // W-CHS-18: a feed item is delivered once it is stored; a sandboxed one never is (W-AMB-69).
        status: if run.settings.sandbox_mode { "not_sent" } else { "delivered" }.to_owned(),
        blocks: blocks.into(),
        total_actors: i64::from(scene.actor.is_some()),
        actors: Arc::clone(&scene.actors),
        data: Arc::clone(&carried.data),
        slim_data: carried.slim.clone(),
        activities: None,
        total_activities: 1,
        metadata: None,
        inserted_at: scene.now,
        updated_at: scene.now,
        scheduled_at: None,
        seen_at: None,
        read_at: None,
        interacted_at: None,
        link_clicked_at: None,
        archived_at: None,
    }
}
