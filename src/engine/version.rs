//! Which version of its workflow a run follows.

use std::sync::Arc;

use crate::model::run::Run;
use crate::model::workflow::{Position, StepKind, Workflow};
use crate::store;
use crate::verbs::Core;

/// The version that the run follows from here on: the one it began with (W-ENG-15). A run that carries on a batch in
/// `latest` mode changes over to the newest that still has this step in that mode (W-BAT-33). None if the store does not
/// have the run's own.
pub(super) async fn followed(core: &Core, run: &mut Run) -> Result<Option<Arc<Workflow>>, store::Error> {
    let Some(own) = core.catalog.version(&core.store, run.version_id).await? else { return Ok(None) };
    let Some(reference) = awaited_batch(run, &own) else { return Ok(Some(own)) };
    let mut newest = core.catalog.workflow(&run.workflow);
    let mut older = None;
    while let Some(version) = newest {
        if let Some(position) = batch_in_latest_mode(&version, &reference) {
            run.version_id = version.version_id;
            run.state.position = Some(position);
            return Ok(Some(version));
        }
        let ids = match &mut older {
            Some(ids) => ids,
            none => none.insert(core.store.workflow_versions_since(&run.workflow, own.version_id).await?.into_iter()),
        };
        newest = match ids.next() {
            Some(id) => core.catalog.version(&core.store, id).await?,
            None => None,
        };
    }
    Ok(Some(own))
}

/// The `ref` of the batch step in `latest` mode at which the run waits.
fn awaited_batch(run: &Run, workflow: &Workflow) -> Option<String> {
    let step = workflow.step(run.state.position.as_ref()?)?;
    let follows_latest = matches!(&step.kind, StepKind::Batch(batch) if batch.follows_latest);
    (follows_latest && run.state.is_waiting).then(|| step.reference.clone())
}

fn batch_in_latest_mode(workflow: &Workflow, reference: &str) -> Option<Position> {
    let steps = workflow.all_steps().into_iter().filter(|(_, step)| step.reference == reference);
    let in_latest = steps.filter(|(_, step)| matches!(&step.kind, StepKind::Batch(batch) if batch.follows_latest));
    in_latest.map(|(position, _)| position).next()
}
