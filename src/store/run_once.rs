//! For whom a workflow has run that may run only once.

use super::Env;
use super::db::{Batch, Error, Store};
use crate::params;

/// What a workflow may run once for (W-FRQ-05, W-FRQ-06).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Once {
    pub workflow: String,
    /// The recipient's key.
    pub recipient: String,
    /// Whether each tenant counts for itself, and then which; no tenant counts as one.
    pub tenant: Option<Option<String>>,
}

impl Once {
    /// The scope as rows spell it.
    fn scope(&self) -> String {
        match &self.tenant {
            None => "recipient".to_owned(),
            Some(None) => "no tenant".to_owned(),
            Some(Some(tenant)) => format!("tenant {tenant}"),
        }
    }
}

impl Store {
    /// Whether the workflow has run for whom it may run once.
    pub async fn has_run(&self, env: Env, once: &Once) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM run_once WHERE env = ?1 AND recipient = ?2 AND workflow = ?3 AND scope = ?4";
        let params = params![env, &once.recipient, &once.workflow, once.scope()];
        Ok(self.query_one(sql, &params, |_| Ok(())).await?.is_some())
    }
}

impl Batch {
    /// Adds that the workflow runs for whom it may run once; refused when it has.
    pub fn run_once(&mut self, env: Env, once: &Once) {
        self.guard(
            "INSERT INTO run_once (env, recipient, workflow, scope) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT (env, recipient, workflow, scope) DO NOTHING",
            params![env, &once.recipient, &once.workflow, once.scope()],
        );
    }
}
