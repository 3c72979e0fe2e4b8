//! Cancel: runs that wait are stopped, at once and for good.

use serde_json::Value;

use crate::model::invalid::Invalid;
use crate::model::recipient::RecipientRef;
use crate::model::run::{EventStatus, Run, RunStatus};
use crate::store::{self, Batch, Env};

use super::identify::RecipientRequest;
use super::{Core, Error, OVERTAKEN};

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
        if self.catalog.workflow(workflow).is_none() && !self.store.knows_workflow(env, workflow)? {
            return Err(Error::WorkflowMissing(workflow.to_owned()));
        }
        let request = Request::parse(body).map_err(Error::Invalid)?;
        let wanted = |run: &Run| request.recipients.as_ref().is_none_or(|only| only.contains(&run.recipient));
        let runs = self.store.runs_to_cancel(env, workflow, &request.cancellation_key)?;
        let mut stopped = 0;
        for run in runs.into_iter().filter(wanted) {
            stopped += usize::from(self.cancel_run(run).await?);
        }
        Ok(stopped)
    }

    /// Stops one run, unless it ends by itself first.
    async fn cancel_run(&self, mut run: Run) -> Result<bool, Error> {
        for _ in 0..OVERTAKEN {
            let now = self.clock.now();
            run.status = RunStatus::Cancelled;
            run.record(now, EventStatus::Ok, "run_cancelled", None, None);
            let mut batch = Batch::new();
            batch.update_run(&run, now);
            batch.drop_jobs(&run.id.to_string());
            match self.store.apply(batch).await {
                Ok(_) => return Ok(true),
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
            match self.store.run(&run.id.to_string())? {
                Some(current) if !current.status.is_final() => run = current,
                _ => return Ok(false),
            }
        }
        Ok(false)
    }
}
