//! What has reached a run that waits for something to happen.

use serde_json::{Map, Value, json};

use crate::model::recipient::RecipientRef;
use crate::model::run::{Run, RunSettings, RunStatus};
use crate::model::signal::{Heard, Told};
use crate::model::time::Time;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::{self, Env};
use crate::verbs::Core;

/// What the stretch of `run` that `job` causes is to hear: the signal that the job brings, or, when the time of a wait is
/// over, whatever is still on its way.
pub(super) async fn heard(core: &Core, run: &Run, job: &Job, is_signal: bool) -> Result<Vec<Heard>, Failure> {
    if is_signal {
        let text = job.progress.as_deref().unwrap_or_default();
        return Ok(vec![listen(core, run, text, true).await?]);
    }
    on_the_way(core, run, |_| true).await
}

/// What happened before the signal that `job` brings, and is still on its way: the first that matches is the one that
/// counts (W-WFE-25).
pub(super) async fn before(core: &Core, run: &Run, job: &Job, own: &[Heard]) -> Result<Vec<Heard>, Failure> {
    let mut heard = on_the_way(core, run, |number| number != job.id).await?;
    heard.retain(|heard| own.iter().all(|own| heard.at < own.at));
    Ok(heard)
}

async fn on_the_way(core: &Core, run: &Run, is_meant: impl Fn(i64) -> bool) -> Result<Vec<Heard>, Failure> {
    let mut heard = Vec::new();
    for (_, text) in core.store.signals(run.id).await?.into_iter().filter(|(number, _)| is_meant(*number)) {
        heard.push(listen(core, run, &text, false).await?);
    }
    heard.sort_by_key(|heard| heard.at);
    Ok(heard)
}

/// Reads a signal, with what rows know of what it is about.
async fn listen(core: &Core, run: &Run, text: &str, is_cause: bool) -> Result<Heard, Failure> {
    let told: Told =
        serde_json::from_str(text).map_err(|fault| Failure(format!("a signal cannot be read: {fault}")))?;
    let at = Time::from_micros(told.at);
    let event = match told.topic.split_once('.') {
        Some(("message", _)) => of_message(core, &run.recipient, &told.topic, at, told.about),
        Some(("workflow", event)) => of_workflow(core, event == "completed", at, &told.about).await?,
        Some(("audience", transition)) => {
            // W-WFE-20.
            json!({"audience_id": told.about["payload"]["audience"], "recipient": run.recipient,
                "transition": transition, "happened_at": at})
        }
        Some(("source", _)) => told.about.get("payload").cloned().unwrap_or_default(),
        _ => of_recipient(core, run.env, &run.recipient, at, told.about).await?,
    };
    Ok(Heard { step: told.step, topic: told.topic, at, event, is_cause })
}

/// W-WFE-19.
fn of_message(core: &Core, recipient: &RecipientRef, topic: &str, at: Time, about: Value) -> Value {
    let data = match about["scheduled_at"].as_i64() {
        Some(at) if topic == "message.queued" => json!({"scheduled_at": Time::from_micros(at)}),
        _ => about.get("data").cloned().unwrap_or_else(|| json!({})),
    };
    let channel = core.catalog.channel(about["channel_id"].as_str().unwrap_or_default());
    json!({
        "message_id": about["message_id"],
        "event_type": topic,
        "channel_id": about["channel_id"],
        "channel_type": channel.map(|channel| channel.kind),
        "channel_provider": channel.map(|channel| channel.provider.as_str()),
        "tenant_id": about["tenant_id"],
        "exec_mode": exec_mode(about["is_sandboxed"] == true),
        "step_ref": about["step_ref"],
        "recipient": recipient,
        "inserted_at": at,
        "source": {"type": "workflow", "key": about["source_key"]},
        "data": data,
    })
}

/// W-WFE-20.
async fn of_workflow(core: &Core, is_over: bool, at: Time, about: &Value) -> Result<Value, store::Error> {
    let Some(run) = core.store.run(about["run"].as_str().unwrap_or_default()).await? else { return Ok(json!({})) };
    let RunSettings { sandbox_mode, .. } = run.settings;
    Ok(json!({
        "workflow_key": run.workflow,
        "workflow_run_id": run.workflow_run,
        "recipient": run.recipient,
        "status": if is_over { RunStatus::Completed } else { RunStatus::Processing },
        "tenant_id": run.tenant,
        "notify_data": run.data.value(),
        "exec_mode": exec_mode(sandbox_mode),
        "inserted_at": at,
    }))
}

/// W-WFE-20.
async fn of_recipient(
    core: &Core,
    env: Env,
    recipient: &RecipientRef,
    at: Time,
    mut about: Value,
) -> Result<Value, store::Error> {
    let key = recipient.key();
    let properties = about["properties"].take();
    let traits = ["name", "email", "phone_number", "avatar", "timezone", "locale", "created_at"];
    let traits = traits.map(|name| (name.to_owned(), properties.get(name).cloned().unwrap_or_default()));
    let preferences = core.store.preference_sets(env, &key).await?;
    let channel_data = core.store.channel_data(env, &key).await?;
    Ok(json!({
        "recipient": recipient,
        "event_type": "updated",
        "timestamp": at,
        "knock_traits": Map::from_iter(traits),
        "properties": properties,
        "preferences": Map::from_iter(preferences),
        "channel_data": Map::from_iter(channel_data),
    }))
}

fn exec_mode(is_sandboxed: bool) -> &'static str {
    if is_sandboxed { "sandbox" } else { "live" }
}
