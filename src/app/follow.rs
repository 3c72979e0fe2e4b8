//! Keeps the workflows that run those that are meant: the files of this node, or what is published in the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, warn};

use super::reload::{self, Watch};
use super::{Mode, StartError};
use crate::config::{WorkflowsFrom, WorkflowsPlace};
use crate::verbs::Core;
use crate::verbs::catalog::CaughtUp;

/// What has the workflows read again.
pub(super) enum Source {
    /// Changed files, and SIGHUP.
    Files(Watch),
    /// SIGHUP alone: what is published is looked at anyway.
    Store(Signal),
}

impl Source {
    /// Begins to look, and to listen for SIGHUP, which would else end the process. It is made before the workflows are
    /// read for the first time: a change in between must not be missed.
    pub(super) fn new(place: &WorkflowsPlace, mode: Mode) -> Result<Self, StartError> {
        let hangup = signal(SignalKind::hangup());
        let hangup = hangup.map_err(|error| StartError::Said(format!("SIGHUP can't be listened for: {error}.")))?;
        Ok(match place.from {
            WorkflowsFrom::Files => Source::Files(Watch::new(place.dir.clone(), mode, hangup)),
            WorkflowsFrom::Store => Source::Store(hangup),
        })
    }

    /// Reads the workflows again when there is a reason to, until it is time to stop.
    pub(super) async fn run(self, core: Arc<Core>, mut stopped: watch::Receiver<bool>) {
        let mut hangup = match self {
            Source::Files(watch) => return watch.run(core, stopped).await,
            Source::Store(hangup) => hangup,
        };
        loop {
            tokio::select! {
                _ = hangup.recv() => {}
                _ = stopped.changed() => return,
            }
            if let Err(fault) = core.catalog.catch_up(&core.store).await {
                error!(error = %fault, "what is published could not be read; it is tried again");
            }
        }
    }
}

/// Publishes what this node has read, or reads what is published.
pub(super) async fn begin(core: &Core) -> Result<(), StartError> {
    if !core.catalog.follows_store() {
        if let Some(environment) = core.catalog.environments().first() {
            reload::publish(core, &core.catalog.workflows(environment.number)).await?;
        }
        reload::say_archived(core).await?;
    }
    for CaughtUp { environment, faults, .. } in core.catalog.look(&core.store).await? {
        if !faults.is_empty() {
            let faults = faults.join("\n");
            return Err(StartError::Said(format!(
                "What is published in `{}` can't be run by this node:\n{faults}\nApply other workflows, or change its configuration.",
                environment.slug
            )));
        }
        if core.catalog.workflows(environment.number).is_empty() {
            warn!(
                "no workflow is published in `{}` yet: `bellwire workflows apply DIR` does it, and this node will run them",
                environment.slug
            );
        }
    }
    Ok(())
}

/// Looks every so often what has been published, and which workflows have been switched off or on, until it is time to
/// stop.
pub(super) async fn keep_up(core: Arc<Core>, every: Duration, mut stopped: watch::Receiver<bool>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_lost = false;
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stopped.changed() => return,
        }
        match core.catalog.catch_up(&core.store).await {
            Ok(()) => is_lost = false,
            Err(fault) => {
                if !is_lost {
                    warn!(error = %fault, "what is published cannot be read; the workflows stay as they are until it can");
                }
                is_lost = true;
            }
        }
    }
}
