//! Fan-out: what a trigger starts for the followers of the objects it names, written down for a worker to go through.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::model::ids::recipient_run_id;
use crate::model::recipient::RecipientRef;
use crate::model::run::{Run, RunSettings, RunState, RunStatus, SourceType};
use crate::model::subscription::Followed;
use crate::model::time::Time;
use crate::model::trigger_data::TriggerData;
use crate::store::{self, Env};

use super::trigger::{Cause, Order};
use super::{Change, Core};

/// The kind of job that goes through followers. Its subject is the workflow run's id.
pub const JOB: &str = "fan_out";

/// What the runs of followers are started with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FanOutOrder {
    pub env: Env,
    pub workflow: String,
    pub version_id: Uuid,
    /// The recipients' runs are named by these two.
    pub workflow_run: Uuid,
    pub at: Time,
    /// By key.
    pub actor: Option<String>,
    pub tenant: Option<String>,
    pub cancellation_key: Option<String>,
    pub source: SourceType,
    /// How many workflows have triggered each other to come here.
    #[serde(default)]
    pub depth: u32,
    pub settings: RunSettings,
    /// The objects whose followers are meant, in the order in which they were named.
    pub parents: Vec<Parent>,
    /// What they were triggered with, each once.
    pub data: Vec<Map<String, Value>>,
}

/// An object that a trigger names.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parent {
    /// Its key.
    pub object: String,
    /// Which of the order's data is for its followers (W-AMB-04).
    pub data: usize,
}

/// How far a fan-out has come: to which object's followers, and to which of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The newest subscription that is meant: who follows later is not told.
    pub end: i64,
    /// Which of the order's objects.
    pub parent: usize,
    /// None while its own followers are told; then those of this object, which follows it: by place and key.
    pub child: Option<(i64, String)>,
    /// The place of the last follower who has been told.
    pub after: i64,
}

impl Progress {
    /// As jobs keep it.
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl FanOutOrder {
    /// A follower's run, not yet started and not yet stored.
    pub fn run(&self, recipient: RecipientRef, followed: Followed, data: &Arc<TriggerData>, now: Time) -> Run {
        Run {
            id: self.run_id(&recipient.key()),
            env: self.env,
            rev: 0,
            workflow_run: self.workflow_run,
            workflow: self.workflow.clone(),
            version_id: self.version_id,
            status: RunStatus::Queued,
            recipient,
            actor: self.actor.as_deref().map(RecipientRef::from_key),
            tenant: self.tenant.clone(),
            cancellation_key: self.cancellation_key.clone(),
            source: self.source,
            settings: self.settings,
            data: Arc::clone(data),
            state: RunState { followed: Some(followed), depth: self.depth, ..RunState::default() },
            events: Vec::new(),
            inserted_at: now,
            updated_at: now,
        }
    }

    /// The id of a recipient's run: the same by whatever way they are reached, so that nobody is told twice (W-FAN-06).
    pub fn run_id(&self, recipient: &str) -> Uuid {
        recipient_run_id(self.workflow_run, recipient, self.at)
    }
}

impl Core {
    /// Adds to `change` that the followers of the objects which `order` names are told as well; a worker does it at once,
    /// however many there are (W-FAN-02, W-FAN-03).
    pub async fn fan_out(
        &self,
        order: &Order,
        cause: Cause,
        at: Time,
        change: &mut Change,
    ) -> Result<(), store::Error> {
        let Cause { source, depth, workflow_run } = cause;
        // What an object is not told for want of room, its followers have been told, or have had their own overflow.
        if !source.reaches_followers() || order.is_overflow() {
            return Ok(());
        }
        let env = order.environment.number;
        let (mut parents, mut data, mut known) = (Vec::new(), Vec::new(), Vec::<&Arc<TriggerData>>::new());
        for (reference, own) in order.entries().filter(|(reference, _)| reference.user_id().is_none()) {
            let object = reference.key();
            if !self.store.has_followers(env, &object).await? {
                continue;
            }
            let place = known.iter().position(|one| Arc::ptr_eq(one, own)).unwrap_or_else(|| {
                known.push(own);
                data.push(own.members().cloned().unwrap_or_default());
                known.len() - 1
            });
            parents.push(Parent { object, data: place });
        }
        if parents.is_empty() {
            return Ok(());
        }
        let written = FanOutOrder {
            env,
            workflow: order.workflow.key.clone(),
            version_id: order.workflow.version_id,
            workflow_run,
            at,
            actor: order.actor().map(RecipientRef::key),
            tenant: order.tenant().map(str::to_owned),
            cancellation_key: order.cancellation_key().map(str::to_owned),
            source,
            depth,
            settings: order.settings(),
            parents,
            data,
        };
        let (id, key) = (workflow_run.to_string(), order.cancellation_key());
        let body = serde_json::to_string(&written).unwrap_or_default();
        change.batch.add_fan_out(env, &id, &written.workflow, key, &body);
        let end = self.store.newest_subscription().await?;
        let progress = Progress { end, parent: 0, child: None, after: 0 };
        change.add_long_job(JOB, &id, &progress.to_json(), at);
        Ok(())
    }
}
