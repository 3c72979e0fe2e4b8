//! Which version of its workflow a run follows.

use std::sync::Arc;

use crate::model::run::Run;
use crate::model::workflow::Workflow;
use crate::store;
use crate::verbs::Core;

/// The version that the run follows from here on: the one it began with (W-ENG-15). A run that carries on a batch in
/// `latest` mode changes over to the newest that still has this step in that mode (W-BAT-33). None if the store does not
/// have the run's own.
pub(super) async fn followed(core: &Core, run: &mut Run) -> Result<Option<Arc<Workflow>>, store::Error> {
    let Some(own) = core.catalog.version(&core.store, run.version_id).await? else { return Ok(None) };
    let Some(step) = awaited_batch(run, &own) else { return Ok(Some(own)) };
    let mut newest = core.catalog.newest(&core.store, run.env, &run.workflow).await?;
    let mut older = None;
    while let Some(version) = newest {
        if let Some(position) = version.latest_batch(step) {
            run.version_id = version.version_id;
            run.state.position = Some(position);
            return Ok(Some(version));
        }
        let ids = match &mut older {
            Some(ids) => ids,
            none => none
                .insert(core.store.workflow_versions_since(run.env, &run.workflow, own.version_id).await?.into_iter()),
        };
        newest = match ids.next() {
            Some(id) => core.catalog.version(&core.store, id).await?,
            None => None,
        };
    }
    Ok(Some(own))
}

/// The batch or digest step in `latest` mode at which the run waits, by its type and its `ref`.
fn awaited_batch<'w>(run: &Run, workflow: &'w Workflow) -> Option<(&'w str, &'w str)> {
    let position = run.state.position.as_ref().filter(|_| run.state.is_waiting)?;
    workflow.latest_batch_at(position)
}
