//! Bulk operations: accepted now, done by a worker in chunks, resumed where a dead worker left off.

pub mod deed;
pub mod entries;

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::model::bulk_operation::BulkOperation;
use crate::model::feed::Bounds;
use crate::model::mark::Mark;
use crate::model::time::Time;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::chunks::{End, Found, Lane};
use crate::store::jobs::Job;
use crate::store::messages::MessageFilter;
use crate::store::{self, Batch, Env};

use super::change::{FEEDS, by_feed};
use super::mark::CHUNK;
use super::{Change, Core, Error, OVERTAKEN};

/// The kind of job that works on bulk operations.
pub const JOB: &str = "bulk";

/// Chunks that are done under one claim: a second or so.
pub const CHUNKS_PER_CLAIM: usize = 50;

/// Numbers of messages that are looked at in one go where everybody's are.
const WINDOW: i64 = 5_000;
/// Seconds after which a worker that has not found a whole chunk yet writes down how far it has looked.
const LOOK_SECONDS: i64 = LEASE_SECONDS / 3;

/// What is done to each message (F-STA-04).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Action {
    Mark(Mark),
    Delete,
}

impl Action {
    /// The action's usual name.
    pub fn name(self) -> &'static str {
        match self {
            Action::Mark(mark) => mark.name(),
            Action::Delete => "delete",
        }
    }
}

impl FromStr for Action {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "delete" => Ok(Action::Delete),
            name => name.parse().map(Action::Mark).map_err(|()| {
                let known = Mark::ALL.map(Mark::name).join(", ");
                format!("`{name}` is not an action; one of {known}, archive, unarchive, delete")
            }),
        }
    }
}

impl TryFrom<String> for Action {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Action> for String {
    fn from(action: Action) -> Self {
        action.name().to_owned()
    }
}

/// What a bulk operation on a channel's messages does, and to which (F-STA-04, F-STA-06).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Spec {
    pub action: Action,
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
            ..MessageFilter::default()
        }
    }

    /// The part that is narrowed row by row.
    fn covers(&self, found: &Found) -> bool {
        let tenant = found.tenant.as_deref();
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
        by_tenant && allowed && (self.workflows.is_empty() || self.workflows.contains(&found.workflow))
    }
}

/// How far an operation has come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Progress {
    /// The newest message that is meant: what comes while the operation goes on is not.
    end: End,
    /// How many of the recipients that are named have been done.
    named: usize,
    /// Whether the feed of the next of them has been done, so that what stands in no feed is next.
    is_alone: bool,
    /// The place that has been reached there; where nobody is named, among everybody's.
    after: i64,
}

impl Progress {
    /// Nothing has been done yet.
    fn start(end: End) -> Self {
        Progress { end, named: 0, is_alone: false, after: 0 }
    }

    /// Nothing is left where the work is: on to what a recipient has in no feed, or to the next recipient.
    fn turn(&mut self) {
        self.named += usize::from(self.is_alone);
        self.is_alone = !self.is_alone;
        self.after = 0;
    }

    fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }
}

impl Core {
    /// Accepts a bulk operation; a worker does it at once (F-BLK-01). It means the messages that there are now.
    pub async fn start_bulk(&self, env: Env, mut spec: Spec) -> Result<BulkOperation, Error> {
        let now = self.clock.now();
        // Whoever is named twice is meant once.
        spec.recipients = spec.recipients.map(|named| BTreeSet::from_iter(named).into_iter().collect());
        let rows = self.estimate(env, &spec).await?;
        let name = format!("messages.{}", spec.action.name());
        let operation = BulkOperation::queued(Uuid::new_v4(), env, name, rows, now);
        let mut change = Change::new();
        change.batch.add_bulk_operation(&operation, &serde_json::to_value(&spec).unwrap_or_default());
        let progress = Progress::start(self.store.newest(env).await?);
        change.add_long_job(JOB, &operation.id.to_string(), &progress.to_json(), now);
        self.commit(change).await?;
        Ok(operation)
    }

    /// A cheap guess at how many rows there will be: what one recipient's feed holds, else unknown.
    async fn estimate(&self, env: Env, spec: &Spec) -> Result<usize, store::Error> {
        match spec.recipients.as_deref() {
            Some([only]) => {
                let head = self.store.feed_head(env, &spec.channel, only).await?;
                Ok(usize::try_from(head.active.total + head.archived.total).unwrap_or_default())
            }
            _ => Ok(0),
        }
    }

    /// Does a claimed bulk operation from where it stands to its end.
    pub async fn work_on_bulk(&self, job: &Job) -> Result<(), Failure> {
        if let Some(mut work) = Work::take_up(self, job).await? {
            for _ in 0..CHUNKS_PER_CLAIM {
                if !work.goes_on(self).await? {
                    return Ok(());
                }
            }
            self.hand_on(job).await?;
        }
        Ok(())
    }

    /// Puts a long job back, due at once, so that others have their turn and a node that stops need not wait for its end.
    pub(crate) async fn hand_on(&self, job: &Job) -> Result<(), Failure> {
        self.put_off(job, self.clock.now()).await
    }

    /// Puts a job back which has to wait for another until then.
    pub(crate) async fn put_off(&self, job: &Job, until: Time) -> Result<(), Failure> {
        let mut batch = Batch::new();
        batch.hand_back(std::slice::from_ref(job), until);
        self.store.apply(batch).await?;
        self.waker.due(until);
        Ok(())
    }
}

/// A claimed bulk operation, under way.
#[derive(Debug)]
pub struct Work {
    job: Job,
    operation: BulkOperation,
    spec: Spec,
    progress: Progress,
}

/// What is done next, and how far the operation is then.
#[derive(Debug)]
struct Chunk {
    messages: Vec<Found>,
    /// Where they stand.
    feeds: BTreeSet<Option<i64>>,
    progress: Progress,
    is_last: bool,
}

impl Chunk {
    /// How many messages still have room that stand in as many feeds.
    fn room(&self) -> usize {
        self.room_in_one().min(FEEDS - self.feeds.len())
    }

    /// How many messages of one feed still have room.
    fn room_in_one(&self) -> usize {
        CHUNK - self.messages.len()
    }
}

impl Work {
    /// Reads what a claimed job is about; none where nothing is left to do, or nobody can tell what.
    pub async fn take_up(core: &Core, job: &Job) -> Result<Option<Work>, Failure> {
        let operation = core.store.bulk_operation(&job.subject).await?;
        let Some(operation) = operation.filter(|one| one.completed_at.is_none() && one.failed_at.is_none()) else {
            finish(core, job, None).await?;
            return Ok(None);
        };
        let spec = core.store.bulk_spec(&job.subject).await?.unwrap_or_default();
        let spec = match serde_json::from_str(&spec) {
            Ok(spec) => spec,
            Err(error) => {
                fail(core, job, operation, &error.to_string()).await?;
                return Ok(None);
            }
        };
        let progress = match job.progress.as_deref().map(serde_json::from_str) {
            Some(Ok(progress)) => progress,
            Some(Err(error)) => {
                fail(core, job, operation, &format!("how far it is cannot be read: {error}")).await?;
                return Ok(None);
            }
            // Accepted by a version that did not note the end.
            None => Progress::start(core.store.newest(operation.env).await?),
        };
        Ok(Some(Work { job: job.clone(), operation, spec, progress }))
    }

    /// Does one chunk, in one transaction: the messages, how far the operation is, and that the claim holds on. Whether
    /// there is more to do; for whoever has lost the claim there is not.
    pub async fn goes_on(&mut self, core: &Core) -> Result<bool, Failure> {
        for _ in 0..OVERTAKEN {
            let chunk = self.look(core).await?;
            let (change, operation) = self.change(&chunk, core.clock.now());
            match core.commit(change).await {
                Ok(_) => {
                    self.operation = operation;
                    self.progress = chunk.progress;
                    return Ok(!chunk.is_last);
                }
                Err(store::Error::Refused(CLAIM)) => return Ok(false),
                // A message is not as it was found any more: perhaps it is not meant any more either.
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure("the messages changed again and again while they were looked at".to_owned()))
    }

    fn change(&self, chunk: &Chunk, now: Time) -> (Change, BulkOperation) {
        let mut operation = self.operation.clone();
        let meant = i64::try_from(chunk.messages.len()).unwrap_or(i64::MAX);
        operation.processed_rows += meant;
        operation.success_count += meant;
        operation.updated_at = now;
        operation.started_at = operation.started_at.or(Some(now));
        operation.status = if chunk.is_last { "completed" } else { "processing" }.to_owned();
        let mut change = Change::new();
        if chunk.is_last {
            operation.estimated_total_rows = operation.processed_rows;
            operation.completed_at = Some(now);
            change.batch.finish_job(&self.job);
        } else {
            change.batch.advance_job(&self.job, &chunk.progress.to_json(), now.plus_seconds(LEASE_SECONDS));
        }
        change.batch.advance_bulk_operation(&operation, &chunk.messages);
        self.apply(&chunk.messages, now, &mut change);
        (change, operation)
    }

    /// Adds what the operation does to these messages, feed by feed.
    fn apply(&self, messages: &[Found], now: Time, change: &mut Change) {
        let env = self.operation.env;
        for (feed, ids) in by_feed(env, messages) {
            match (feed, self.spec.action) {
                (Some(feed), Action::Mark(mark)) => change.mark(&feed, &ids, mark, None, now),
                (Some(feed), Action::Delete) => change.remove(&feed, &ids),
                (None, Action::Mark(mark)) => change.mark_alone(env, &ids, mark, None, now),
                (None, Action::Delete) => change.batch.remove_messages(env, &ids),
            }
        }
    }

    /// Looks for the next chunk, from where the operation stands.
    async fn look(&self, core: &Core) -> Result<Chunk, store::Error> {
        let until = core.clock.now().plus_seconds(LOOK_SECONDS);
        let progress = self.progress.clone();
        let mut chunk = Chunk { messages: Vec::new(), feeds: BTreeSet::new(), progress, is_last: false };
        while !chunk.is_last && chunk.room() > 0 && core.clock.now() < until {
            let found = match &self.spec.recipients {
                None => self.look_among_all(core, &mut chunk).await?,
                Some(named) => self.look_among(core, named, &mut chunk).await?,
            };
            for found in found.into_iter().filter(|found| self.spec.covers(found)) {
                chunk.feeds.insert(found.feed);
                chunk.messages.push(found);
            }
        }
        Ok(chunk)
    }

    /// The next of everybody's, a window of them at a time: among very many it takes its time until any is found.
    async fn look_among_all(&self, core: &Core, chunk: &mut Chunk) -> Result<Vec<Found>, store::Error> {
        let (room, progress) = (chunk.room(), &mut chunk.progress);
        let next = core.store.number_after(progress.after).await?;
        let Some(next) = next.filter(|next| *next <= progress.end.n) else {
            chunk.is_last = true;
            return Ok(Vec::new());
        };
        let window = End { n: progress.end.n.min(next + WINDOW - 1), ..progress.end };
        let lane = Lane::All(self.operation.env);
        let found = core.store.chunk(lane, &self.spec.filter(), progress.after, window, room).await?;
        progress.after = found.last().filter(|_| found.len() == room).map_or(window.n, |last| last.place);
        chunk.is_last = progress.after == progress.end.n;
        Ok(found)
    }

    /// The next of those who are named: what the feed of one of them holds, or what of theirs stands in no feed.
    async fn look_among(&self, core: &Core, named: &[String], chunk: &mut Chunk) -> Result<Vec<Found>, store::Error> {
        let (room, progress, env) = (chunk.room_in_one(), &mut chunk.progress, self.operation.env);
        let Some(recipient) = named.get(progress.named) else {
            chunk.is_last = true;
            return Ok(Vec::new());
        };
        let lane = match progress.is_alone {
            true => Lane::Alone(env, recipient),
            false => Lane::Feed(core.store.feed_head(env, &self.spec.channel, recipient).await?.id),
        };
        let found = core.store.chunk(lane, &self.spec.filter(), progress.after, progress.end, room).await?;
        match found.last().filter(|_| found.len() == room) {
            Some(last) => progress.after = last.place,
            None => progress.turn(),
        }
        chunk.is_last = progress.named == named.len();
        Ok(found)
    }
}

/// The statement of a chunk's batch that says whose the job is.
const CLAIM: usize = 0;

/// Ends an operation that nobody can do, and says why.
async fn fail(core: &Core, job: &Job, operation: BulkOperation, reason: &str) -> Result<(), Failure> {
    let id = operation.id;
    tracing::error!(bulk_operation.id = %id, reason, "bulk operation `{id}` cannot be done");
    finish(core, job, Some(&failed(operation, reason, core.clock.now()))).await
}

/// The operation as one that has failed, with the reason.
pub fn failed(mut operation: BulkOperation, reason: &str, now: Time) -> BulkOperation {
    operation.status = "failed".to_owned();
    operation.error_count += 1;
    operation.error_items = json!([{"id": operation.id, "collection": null, "reason": reason}]);
    operation.updated_at = now;
    operation.failed_at = Some(now);
    operation
}

async fn finish(core: &Core, job: &Job, operation: Option<&BulkOperation>) -> Result<(), Failure> {
    let mut batch = Batch::new();
    batch.finish_job(job);
    if let Some(operation) = operation {
        batch.advance_bulk_operation(operation, &[]);
    }
    match core.store.apply(batch).await {
        // A lost claim means that another worker finishes it.
        Ok(_) | Err(store::Error::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
