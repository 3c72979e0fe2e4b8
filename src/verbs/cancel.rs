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
        let recipients = match body.get("recipients") {
            None | Some(Value::Null) => None,
            Some(Value::Array(items)) => Some(
                items
                    .iter()
                    .enumerate()
                    .map(|(at, item)| Ok(RecipientRequest::parse(item, &format!("recipients[{at}]"))?.reference))
                    .collect::<Result<_, Vec<Invalid>>>()?,
            ),
            Some(_) => return Err(vec![Invalid::new("recipients", "recipients must be an array of references")]),
        };
        Ok(Request { cancellation_key: key.to_owned(), recipients })
    }
}

impl Core {
    /// Stops every unfinished run of the workflow that carries the key; answers how many it stopped.
    pub async fn cancel(&self, env: Env, workflow: &str, body: &Value) -> Result<usize, Error> {
        // The runs of a workflow that is gone wait until their pauses are over: who knows its key may stop them.
        if self.catalog.workflow(workflow).is_none() && !self.store.knows_workflow(env, workflow).await? {
            return Err(Error::WorkflowMissing(workflow.to_owned()));
        }
        let request = Request::parse(body).map_err(Error::Invalid)?;
        let only: Option<Vec<String>> = request.recipients.map(|only| only.iter().map(RecipientRef::key).collect());
        // First what has not begun: a part of a fan-out that is being committed is waited for, and its runs are then found.
        let mut batch = Batch::new();
        batch.cancel_fan_outs(env, workflow, &request.cancellation_key, only.as_deref());
        self.store.apply(batch).await?;
        let found = self.store.runs_to_cancel(env, workflow, &request.cancellation_key, only.as_deref()).await?;
        let mut stopped = 0;
        for ids in found.chunks(CHUNK) {
            let mut batch = Batch::new();
            let number = batch.cancel_runs(ids, self.clock.now());
            stopped += self.store.apply(batch).await?.rows(number).len();
        }
        Ok(stopped)
    }
}
