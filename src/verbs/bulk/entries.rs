//! Bulk operations on entries that a caller lists: accepted now, done by a worker one after the other, resumed where a dead
//! worker left off.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::model::bulk_operation::BulkOperation;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::jobs::Job;
use crate::store::{self, Env};
use crate::verbs::{Change, Core, Error, OVERTAKEN};

use super::CHUNKS_PER_CLAIM;
use super::deed::Deed;

/// The kind of job that works on entries.
pub const JOB: &str = "bulk_entries";
/// Its kind as long as there were schedules alone.
pub const FORMER_JOB: &str = "bulk_schedules";

/// The statement of a batch that says whose the job is.
const CLAIM: usize = 0;

/// What an operation is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Spec {
    deed: Deed,
    entries: Vec<Value>,
}

impl Spec {
    fn read(text: &str) -> serde_json::Result<Spec> {
        // Accepted as long as there were schedules alone.
        match serde_json::from_str(text)? {
            Value::Array(entries) => Ok(Spec { deed: Deed::CreateSchedules, entries }),
            spec => serde_json::from_value(spec),
        }
    }
}

/// How far it has come.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Entries that are done.
    done: usize,
}

impl Core {
    /// Accepts what is to be done to each entry that `body` lists under `field`: what is wrong with any of them is said now
    /// (F-BLK-01).
    pub async fn start_bulk_of(
        &self,
        env: Env,
        deed: Deed,
        body: &Map<String, Value>,
        field: &str,
    ) -> Result<BulkOperation, Error> {
        let entries = deed.entries(self, env, body, field).await?;
        let now = self.clock.now();
        let operation = BulkOperation::queued(Uuid::new_v4(), env, deed.name().to_owned(), entries.len(), now);
        let spec = serde_json::to_value(Spec { deed, entries }).unwrap_or_default();
        let progress = serde_json::to_value(Progress::default()).unwrap_or_default();
        let mut change = Change::new();
        change.batch.add_bulk_operation(&operation, &spec);
        change.add_long_job(JOB, &operation.id.to_string(), &progress, now);
        self.commit(change).await?;
        Ok(operation)
    }

    /// Does a claimed operation from where it stands to its end.
    pub async fn work_on_bulk_entries(&self, job: &Job) -> Result<(), Failure> {
        let operation = self.store.bulk_operation(&job.subject).await?;
        let Some(mut operation) = operation.filter(|one| one.completed_at.is_none() && one.failed_at.is_none()) else {
            let mut change = Change::new();
            change.batch.finish_job(job);
            return match self.commit(change).await {
                // A lost claim means that another worker finishes it.
                Ok(_) | Err(store::Error::Refused(_)) => Ok(()),
                Err(error) => Err(error.into()),
            };
        };
        let broken = |what: &str| Failure(format!("bulk operation `{}` does not say {what}", job.subject));
        let spec = self.store.bulk_spec(&job.subject).await?.unwrap_or_default();
        let Spec { deed, entries } = Spec::read(&spec).map_err(|_| broken("what is to be done"))?;
        let progress = job.progress.as_deref().map(serde_json::from_str::<Progress>);
        let Progress { done } = progress.and_then(Result::ok).ok_or_else(|| broken("how far it is"))?;
        for (at, entry) in entries.iter().enumerate().skip(done).take(CHUNKS_PER_CLAIM) {
            let is_last = at + 1 == entries.len();
            match self.do_one(job, &operation, &deed, entry, at + 1, is_last).await? {
                Some(next) => operation = next,
                // Somebody else has taken the job over.
                None => return Ok(()),
            }
            if is_last {
                return Ok(());
            }
        }
        self.hand_on(job).await
    }

    /// Does what is to be done to one entry, in one transaction with how far the operation is then; none when the claim is
    /// lost. What can't be done is an error of its own (F-BLK-06).
    async fn do_one(
        &self,
        job: &Job,
        operation: &BulkOperation,
        deed: &Deed,
        entry: &Value,
        done: usize,
        is_last: bool,
    ) -> Result<Option<BulkOperation>, Failure> {
        let env = operation.env;
        for _ in 0..OVERTAKEN {
            let now = self.clock.now();
            let mut change = Change::new();
            match is_last {
                true => change.batch.finish_job(job),
                false => {
                    let progress = serde_json::to_value(Progress { done }).unwrap_or_default();
                    change.batch.advance_job(job, &progress, now.plus_seconds(LEASE_SECONDS));
                }
            }
            let mut next = operation.clone();
            next.processed_rows += 1;
            next.updated_at = now;
            next.started_at = next.started_at.or(Some(now));
            next.completed_at = is_last.then_some(now);
            next.status = if is_last { "completed" } else { "processing" }.to_owned();
            // Held until the commit, so that nobody on this node comes in between.
            let turn = match deed.stage(self, env, entry, &mut change).await {
                Ok(turn) => {
                    next.success_count += 1;
                    Some(turn)
                }
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    next.error_count += 1;
                    if let Some(items) = next.error_items.as_array_mut() {
                        items.push(error_item(deed.names(entry), &error));
                    }
                    None
                }
            };
            change.batch.advance_bulk_operation(&next, &[]);
            match self.commit(change).await {
                Ok(_) => {
                    if turn.is_some() {
                        deed.tell(self, env, entry).await?;
                    }
                    return Ok(Some(next));
                }
                Err(store::Error::Refused(CLAIM)) => return Ok(None),
                // Whom it is about has changed meanwhile: look again.
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure("the recipient changed again and again while something was done to it".to_owned()))
    }
}

fn error_item((id, collection): (&str, Option<&str>), error: &Error) -> Value {
    json!({"id": id, "collection": collection, "reason": error.to_string()})
}
