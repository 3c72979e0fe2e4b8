//! Bulk operations: accepted now, done by a worker in chunks, resumed where a dead worker left off.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::model::bulk_operation::BulkOperation;
use crate::model::feed::Bounds;
use crate::model::mark::Mark;
use crate::model::recipient::RecipientRef;
use crate::model::time::Time;
use crate::queue::Failure;
use crate::store::jobs::Job;
use crate::store::messages::MessageFilter;
use crate::store::{self, Batch, Env};

use super::change::FeedName;
use super::mark::CHUNK;
use super::{Change, Core, Error};

/// The kind of job that works on bulk operations.
pub const JOB: &str = "bulk";

/// What a bulk operation on a channel's messages does, and to which (F-STA-04, F-STA-06).
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub struct Spec {
    /// A mark's name, or `delete`.
    pub action: String,
    pub channel: String,
    /// Recipients by key; everybody when absent.
    #[serde(default)]
    pub recipients: Option<Vec<String>>,
    #[serde(default)]
    pub tenants: Vec<String>,
    #[serde(default)]
    pub has_tenant: Option<bool>,
    /// Tenants compare as in the feed: an item without a tenant belongs to all (F-STA-25).
    #[serde(default)]
    pub is_feed: bool,
    /// What the caller's token lets it see: none is everything.
    #[serde(default)]
    pub allowed_tenants: Option<(Vec<String>, bool)>,
    #[serde(default)]
    pub engagement: Vec<String>,
    #[serde(default)]
    pub delivery_status: Option<String>,
    #[serde(default)]
    pub workflows: Vec<String>,
    #[serde(default)]
    pub trigger_data: Map<String, Value>,
    #[serde(default)]
    pub newer_than: Option<Time>,
    #[serde(default)]
    pub older_than: Option<Time>,
}

impl Spec {
    /// The part that the database narrows by.
    fn filter(&self) -> MessageFilter {
        MessageFilter {
            channel: Some(self.channel.clone()),
            statuses: self.delivery_status.iter().cloned().collect(),
            engagement: self.engagement.clone(),
            trigger_data: self.trigger_data.clone(),
            inserted_at: Bounds { gt: self.newer_than, lt: self.older_than, ..Bounds::default() },
            // Nobody's messages are none: no need to look at them all.
            ids: self.recipients.as_ref().filter(|named| named.is_empty()).map(|_| Vec::new()),
            recipient: match self.recipients.as_deref() {
                Some([only]) => Some(RecipientRef::from_key(only)),
                _ => None,
            },
            ..MessageFilter::default()
        }
    }

    /// The part that is narrowed row by row.
    fn covers(&self, message: &crate::model::message::Message) -> bool {
        let tenant = message.tenant.as_deref();
        let named = tenant.is_some_and(|tenant| self.tenants.iter().any(|one| one == tenant));
        let by_tenant = match (self.tenants.is_empty(), self.has_tenant) {
            (_, Some(false)) => tenant.is_none(),
            (true, Some(true)) => tenant.is_some(),
            (true, None) => true,
            (false, Some(true)) => named,
            (false, None) => named || (self.is_feed && tenant.is_none()),
        };
        let allowed = self.allowed_tenants.as_ref().is_none_or(|(tenants, with_none)| {
            tenant.map_or(*with_none, |tenant| tenants.iter().any(|one| one == tenant))
        });
        by_tenant
            && allowed
            && self.recipients.as_ref().is_none_or(|only| only.contains(&message.recipient.key()))
            && (self.workflows.is_empty() || self.workflows.contains(&message.workflow))
    }
}

impl Core {
    /// Accepts a bulk operation; a worker does it at once (F-BLK-01).
    pub async fn start_bulk(&self, env: Env, spec: &Spec) -> Result<BulkOperation, Error> {
        let now = self.clock.now();
        let operation = BulkOperation {
            id: Uuid::new_v4(),
            env,
            name: format!("messages.{}", spec.action),
            status: "queued".to_owned(),
            spec: serde_json::to_value(spec).unwrap_or_default(),
            progress: json!({"after": 0}),
            estimated_total_rows: self.estimate(env, spec)?,
            processed_rows: 0,
            success_count: 0,
            error_count: 0,
            error_items: json!([]),
            inserted_at: now,
            updated_at: now,
            started_at: None,
            completed_at: None,
            failed_at: None,
        };
        let mut change = Change::new();
        change.batch.put_bulk_operation(&operation);
        change.add_job(JOB, &operation.id.to_string(), now);
        self.commit(change).await?;
        Ok(operation)
    }

    /// A cheap guess at how many rows there will be: what one recipient's feed holds, else unknown.
    fn estimate(&self, env: Env, spec: &Spec) -> Result<i64, store::Error> {
        match spec.recipients.as_deref() {
            Some([only]) => {
                let head = self.store.feed_head(env, &spec.channel, only)?;
                Ok(head.active.total + head.archived.total)
            }
            _ => Ok(0),
        }
    }

    /// Does a claimed bulk operation from where it stands to its end.
    pub async fn work_on_bulk(&self, job: &Job) -> Result<(), Failure> {
        let Some(mut operation) = self.store.bulk_operation(&job.subject)? else {
            return self.finish(job, None).await;
        };
        let spec: Spec = serde_json::from_value(operation.spec.clone())
            .map_err(|error| Failure(format!("the operation cannot be read: {error}")))?;
        operation.status = "processing".to_owned();
        operation.started_at = operation.started_at.or(Some(self.clock.now()));
        loop {
            let after = operation.progress["after"].as_i64().unwrap_or(0);
            let found = self.store.message_ids(operation.env, &spec.filter(), after, CHUNK).await?;
            let Some((last, ..)) = found.last() else { break };
            operation.progress = json!({"after": last});
            let ids: Vec<String> = found.into_iter().map(|(_, _, id)| id).collect();
            let done =
                self.apply_chunk(operation.env, &spec, &ids).await.map_err(|error| Failure(error.to_string()))?;
            operation.processed_rows += done;
            operation.success_count += done;
            operation.updated_at = self.clock.now();
            let mut batch = Batch::new();
            batch.put_bulk_operation(&operation);
            self.store.apply(batch).await?;
        }
        let now = self.clock.now();
        operation.status = "completed".to_owned();
        operation.estimated_total_rows = operation.processed_rows;
        operation.completed_at = Some(now);
        operation.updated_at = now;
        self.finish(job, Some(&operation)).await
    }

    async fn finish(&self, job: &Job, operation: Option<&BulkOperation>) -> Result<(), Failure> {
        let mut batch = Batch::new();
        batch.finish_job(job);
        if let Some(operation) = operation {
            batch.put_bulk_operation(operation);
        }
        match self.store.apply(batch).await {
            // A lost claim means that another worker finishes it.
            Ok(_) | Err(store::Error::Refused(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Marks or deletes the messages of one chunk that are meant; answers how many that were.
    async fn apply_chunk(&self, env: Env, spec: &Spec, ids: &[String]) -> Result<i64, Error> {
        let mut by_feed: BTreeMap<Option<FeedName>, Vec<String>> = BTreeMap::new();
        let mut meant = 0;
        for message in self.store.messages_by_ids(env, ids)?.into_iter().filter(|message| spec.covers(message)) {
            let name = |id| FeedName { id, env, channel: message.channel.clone(), recipient: message.recipient.key() };
            by_feed.entry(message.feed.map(name)).or_default().push(message.id);
            meant += 1;
        }
        for (feed, ids) in by_feed {
            match (feed, spec.action.parse::<Mark>()) {
                (Some(feed), Ok(mark)) => self.mark_feed(&feed, &ids, mark, None).await?,
                (Some(feed), Err(())) => self.remove(&feed, &ids).await?,
                (None, Ok(mark)) => {
                    let mut batch = Batch::new();
                    batch.mark_alone(env, &ids, mark, None, self.clock.now());
                    self.store.apply(batch).await?;
                }
                (None, Err(())) => {
                    let mut batch = Batch::new();
                    batch.remove_messages(env, &ids);
                    self.store.apply(batch).await?;
                }
            }
        }
        Ok(meant)
    }

    async fn remove(&self, feed: &FeedName, ids: &[String]) -> Result<(), Error> {
        let mut change = Change::new();
        change.remove(feed, ids);
        self.commit(change).await?;
        Ok(())
    }
}
