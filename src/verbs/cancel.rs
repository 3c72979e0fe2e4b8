//! Cancel: runs that wait are stopped, at once and for good.

use serde_json::Value;

use crate::model::invalid::Invalid;
use crate::model::recipient::RecipientRef;
use crate::store::{Batch, Env};

use super::identify::RecipientRequest;
use super::{Core, Error};

/// Runs stopped in one transaction at most: few enough that others need not wait long for the writer.
const CHUNK: usize = 500;

/// A cancellation's body, read (W-CAN-01).
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub cancellation_key: String,
    /// Only these; all when absent (W-CAN-03, W-CAN-04).
    pub recipients: Option<Vec<RecipientRef>>,
}

impl Request {
    /// Reads a body.
    pub fn parse(body: &Value) -> Result<Request, Vec<Invalid>> {
        let key = body.get("cancellation_key").and_then(Value::as_str).filter(|key| !key.is_empty());
        let Some(key) = key else {
            return Err(vec![Invalid::new("cancellation_key", "cancellation_key is required, as a string")]);
        };
        Ok(Request { cancellation_key: key.to_owned(), recipients: recipients(body.get("recipients"))? })
    }
}

/// Reads whom alone something is about; none for everybody.
pub(super) fn recipients(value: Option<&Value>) -> Result<Option<Vec<RecipientRef>>, Vec<Invalid>> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(items)) => items
            .iter()
            .enumerate()
            .map(|(at, item)| Ok(RecipientRequest::parse(item, &format!("recipients[{at}]"))?.reference))
            .collect::<Result<_, _>>()
            .map(Some),
        Some(_) => Err(vec![Invalid::new("recipients", "recipients must be an array of references")]),
    }
}

impl Core {
    /// Stops every unfinished run of the workflow that carries the key, and takes what others have brought to open batches
    /// back; answers how many that were.
    pub async fn cancel(&self, env: Env, workflow: &str, body: &Value) -> Result<usize, Error> {
        self.must_know(env, workflow).await?;
        self.cancel_known(env, workflow, &Request::parse(body).map_err(Error::Invalid)?).await
    }

    /// The same, as it was read.
    pub(super) async fn cancel_request(&self, env: Env, workflow: &str, request: &Request) -> Result<usize, Error> {
        self.must_know(env, workflow).await?;
        self.cancel_known(env, workflow, request).await
    }

    /// The runs of a workflow that is gone wait until their pauses are over: who knows its key may stop them.
    async fn must_know(&self, env: Env, workflow: &str) -> Result<(), Error> {
        if self.catalog.workflow(workflow).is_none() && !self.store.knows_workflow(env, workflow).await? {
            return Err(Error::WorkflowMissing(workflow.to_owned()));
        }
        Ok(())
    }

    async fn cancel_known(&self, env: Env, workflow: &str, request: &Request) -> Result<usize, Error> {
        let only = request.recipients.as_ref();
        let only: Option<Vec<String>> = only.map(|only| only.iter().map(RecipientRef::key).collect());
        // First what has not begun: a part of a fan-out that is being committed is waited for, and its runs are then found.
        let (key, only) = (request.cancellation_key.as_str(), only.as_deref());
        if self.store.has_fan_out(env, workflow, key).await? {
            let mut batch = Batch::new();
            batch.cancel_fan_outs(env, workflow, key, only);
            self.store.apply(batch).await?;
        }
        let taken = self.take_out_of_batches(env, workflow, key, only).await?;
        let mut found = self.store.runs_to_cancel(env, workflow, key, only).await?;
        // One that carries on what others have brought may do so, even if its batch closes at this instant.
        found.retain(|run| !taken.contains(run));
        let mut stopped = taken.len();
        for ids in found.chunks(CHUNK) {
            let mut batch = Batch::new();
            let number = batch.cancel_runs(ids, self.clock.now());
            stopped += self.store.apply(batch).await?.rows(number).len();
        }
        // Those that have come to a batch meanwhile.
        Ok(stopped + self.take_out_of_batches(env, workflow, key, only).await?.len())
    }

    /// Takes what runs with the key have brought out of batches that are open (W-CAN-14); answers which runs that
    /// were. They are over, or stay to carry the batch on (W-BAT-36, W-BAT-37).
    async fn take_out_of_batches(
        &self,
        env: Env,
        workflow: &str,
        key: &str,
        only: Option<&[String]>,
    ) -> Result<Vec<String>, Error> {
        let now = self.clock.now();
        let found = self.store.activities_to_cancel(env, workflow, key, only, now).await?;
        let mut taken = Vec::new();
        for activities in found.chunks(CHUNK) {
            let mut batch = Batch::new();
            let numbers: Vec<usize> = activities.iter().map(|one| batch.cancel_activity(one, now)).collect();
            let applied = self.store.apply(batch).await?;
            let was_there = |number: usize| !applied.rows(number).is_empty();
            let out = activities.iter().zip(numbers).filter(|(_, number)| was_there(*number));
            taken.extend(out.map(|(activity, _)| activity.run.clone()));
        }
        Ok(taken)
    }
}
