//! Many schedules, each with its own recipient and timing: accepted now, made by a worker one after the other.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::model::bulk_operation::BulkOperation;
use crate::model::invalid::Invalid;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::jobs::Job;
use crate::store::{self, Env};
use crate::verbs::bulk::CHUNKS_PER_CLAIM;
use crate::verbs::{Change, Core, Error, OVERTAKEN};

use super::Wanted;

/// The kind of job that makes schedules.
pub const JOB: &str = "bulk_schedules";

/// Schedules in one call at most (W-SCH-38).
const MOST: usize = 1_000;
/// Faults that are told at most.
const MAX_FAULTS: usize = 100;

/// The statement of a batch that says whose the job is.
const CLAIM: usize = 0;

/// How far it has come.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Progress {
    /// Entries that are done.
    done: usize,
}

impl Core {
    /// Accepts schedules to be made (W-SCH-38): what is wrong with any of them is said now (F-BLK-01).
    pub async fn create_schedules_in_bulk(&self, env: Env, body: &Map<String, Value>) -> Result<BulkOperation, Error> {
        let entries = entries(self, env, body).await?;
        let now = self.clock.now();
        let operation = BulkOperation {
            id: Uuid::new_v4(),
            env,
            name: "schedules.create".to_owned(),
            status: "queued".to_owned(),
            estimated_total_rows: i64::try_from(entries.len()).unwrap_or(i64::MAX),
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
        change.batch.add_bulk_operation(&operation, &Value::Array(entries));
        let progress = serde_json::to_value(Progress::default()).unwrap_or_default();
        change.add_long_job(JOB, &operation.id.to_string(), &progress, now);
        self.commit(change).await?;
        Ok(operation)
    }

    /// Does a claimed operation from where it stands to its end.
    pub async fn work_on_bulk_schedules(&self, job: &Job) -> Result<(), Failure> {
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
        let entries: Vec<Value> = serde_json::from_str(&spec).map_err(|_| broken("what is to be made"))?;
        let progress = job.progress.as_deref().map(serde_json::from_str::<Progress>);
        let Progress { done } = progress.and_then(Result::ok).ok_or_else(|| broken("how far it is"))?;
        for (at, entry) in entries.iter().enumerate().skip(done).take(CHUNKS_PER_CLAIM) {
            let is_last = at + 1 == entries.len();
            match self.make_one(job, &operation, entry, at + 1, is_last).await? {
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

    /// Makes one schedule, in one transaction with how far the operation is then; none when the claim is lost. What can't
    /// be made is an error of its own (F-BLK-06).
    async fn make_one(
        &self,
        job: &Job,
        operation: &BulkOperation,
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
            match self.stage_one(env, entry, &mut change).await {
                Ok(()) => next.success_count += 1,
                Err(Error::Store(error)) => return Err(error.into()),
                Err(error) => {
                    next.error_count += 1;
                    if let Some(items) = next.error_items.as_array_mut() {
                        items.push(error_item(entry, &error));
                    }
                }
            }
            change.batch.advance_bulk_operation(&next, &[]);
            match self.commit(change).await {
                Ok(_) => return Ok(Some(next)),
                Err(store::Error::Refused(CLAIM)) => return Ok(None),
                // The recipient has changed meanwhile: look again.
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure("the recipient changed again and again while its schedule was made".to_owned()))
    }

    async fn stage_one(&self, env: Env, entry: &Value, change: &mut Change) -> Result<(), Error> {
        let wanted = Wanted::parse(self, env, body(entry)).await?;
        let (mut staged, _turn) = self.staged(env, None, &wanted).await?;
        let made = wanted.plan(env, self.clock.now(), &mut staged).await?;
        staged.write(change).await?;
        super::add(change, &made);
        Ok(())
    }
}

/// The entries of a body, each of which has been read once.
async fn entries(core: &Core, env: Env, body: &Map<String, Value>) -> Result<Vec<Value>, Error> {
    let Some(Value::Array(items)) = body.get("schedules") else {
        let message = format!("schedules is required, as an array of 1 to {MOST} entries");
        return Err(Invalid::new("schedules", message).into());
    };
    if items.is_empty() || items.len() > MOST {
        let message = format!("schedules has {} entries; 1 to {MOST} are allowed", items.len());
        return Err(Invalid::new("schedules", message).into());
    }
    let mut faults = Vec::new();
    for (at, entry) in items.iter().enumerate() {
        let found = match Wanted::parse(core, env, self::body(entry)).await {
            Ok(_) => Vec::new(),
            Err(Error::Invalid(found)) => found,
            Err(error @ Error::WorkflowMissing(_)) => vec![Invalid::new("workflow", error.to_string())],
            Err(error) => return Err(error),
        };
        faults.extend(found.into_iter().map(|fault| Invalid::new(own_path(at, &fault.path), fault.message)));
        if faults.len() >= MAX_FAULTS {
            break;
        }
    }
    if faults.is_empty() { Ok(items.clone()) } else { Err(Error::Invalid(faults)) }
}

/// An entry as the body of a call of its own: one with `recipients`.
fn body(entry: &Value) -> Value {
    let mut body = entry.as_object().cloned().unwrap_or_default();
    let recipient = body.remove("recipient").unwrap_or_default();
    body.insert("recipients".to_owned(), json!([recipient]));
    Value::Object(body)
}

/// Where a fault of an entry stands in the body that was sent.
fn own_path(at: usize, path: &str) -> String {
    format!("schedules[{at}].{}", path.replacen("recipients[0]", "recipient", 1))
}

fn error_item(entry: &Value, error: &Error) -> Value {
    let recipient = &entry["recipient"];
    let id = if recipient.is_string() { recipient } else { &recipient["id"] };
    json!({"id": id, "collection": recipient["collection"], "reason": error.to_string()})
}
