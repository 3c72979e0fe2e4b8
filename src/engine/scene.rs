//! What all runs of one trigger find when they go on: the workflow, the actor, the tenant, the time.

use std::sync::Arc;

use serde_json::{Value, json};

use super::facts::Facts;
use crate::metrics::Engine;
use crate::model::audience::Audiences;
use crate::model::channel::Channel;
use crate::model::environment::Environment;
use crate::model::recipient::{RecipientRef, TENANTS};
use crate::model::time::Time;
use crate::model::workflow::Workflow;
use crate::store;
use crate::verbs::Core;
use crate::verbs::staged::Staged;

/// Everything a stretch depends on that is the same for every recipient. It is made once, however many there are.
pub struct Scene<'a> {
    pub workflow: &'a Workflow,
    pub channels: &'a [Channel],
    pub vars: &'a Value,
    pub audiences: Arc<Audiences>,
    /// The environment's zone, for recipients that name none.
    pub default_zone: Option<&'a str>,
    pub facts: Facts<'a>,
    /// Counts what steps take; no step depends on it.
    pub metrics: &'a Engine,
    /// Whether the workflow is active here (W-ENV-08).
    pub is_active: bool,
    pub now: Time,
    pub actor: Option<Value>,
    pub tenant: Option<Value>,
    /// The actor as feed items embed it: a JSON array of one, or of none.
    pub actors: Arc<str>,
    /// The workflow's categories as a JSON array.
    pub categories: Arc<str>,
    /// `workflow` as templates and conditions see it (W-SCP-15, W-SCP-16).
    pub workflow_scope: Value,
}

/// What the runs of one trigger have in common.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    pub actor: Option<&'a RecipientRef>,
    pub tenant: Option<&'a str>,
    pub cancellation_key: Option<&'a str>,
}

impl<'a> Scene<'a> {
    /// The scene as `staged` has it.
    pub async fn set(
        core: &'a Core,
        environment: &'a Environment,
        workflow: &'a Workflow,
        common: Common<'_>,
        staged: &mut Staged<'_>,
    ) -> Result<Self, store::Error> {
        let (mut actor, mut actors, mut tenant) = (None, Vec::new(), None);
        if let Some(reference) = common.actor {
            actor = staged.scope(reference).await?;
            actors.extend(staged.record(reference).await?);
        }
        if let Some(id) = common.tenant {
            let reference = RecipientRef::Object { collection: TENANTS.to_owned(), id: id.to_owned() };
            tenant = staged.scope(&reference).await?;
        }
        Ok(Scene {
            workflow,
            channels: core.catalog.channels(),
            vars: &environment.settings.all_vars,
            audiences: core.catalog.audiences(),
            default_zone: environment.settings.timezone.as_deref(),
            facts: Facts::new(&core.store, environment.number),
            metrics: &core.metrics.engine,
            is_active: core.catalog.is_active(environment.number, &workflow.key),
            now: core.clock.now(),
            actor,
            tenant,
            actors: Value::Array(actors).to_string().into(),
            categories: json!(workflow.categories).to_string().into(),
            workflow_scope: workflow_scope(workflow, common.cancellation_key),
        })
    }
}

fn workflow_scope(workflow: &Workflow, cancellation_key: Option<&str>) -> Value {
    json!({
        "id": workflow.version_id,
        "key": workflow.key,
        "name": workflow.name,
        "categories": workflow.categories,
        "commercial": workflow.settings.is_commercial,
        "override_preferences": workflow.settings.override_preferences,
        "cancellation_key": cancellation_key,
    })
}
