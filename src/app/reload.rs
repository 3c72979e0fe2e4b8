//! Reads the workflows again: in development when a file changes, else when the process is told to (SIGHUP).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Mode, StartError};
use crate::config::workflows;
use crate::model::workflow::Workflow;
use crate::store::Batch;
use crate::verbs::Core;

/// How often the directory is looked at in development.
const LOOK: Duration = Duration::from_secs(1);
/// Below this depth nobody keeps files of a workflow.
const DEEPEST: usize = 8;

/// Writes `workflows` to the store as the current versions of every environment.
pub(super) async fn publish<'a>(
    core: &Core,
    workflows: impl Iterator<Item = &'a Workflow> + Clone,
) -> Result<(), StartError> {
    let now = core.clock.now();
    let mut batch = Batch::new();
    for environment in core.catalog.environments() {
        for workflow in workflows.clone() {
            batch.publish_workflow(environment.number, &workflow.key, workflow.version_id, &workflow.source, now);
        }
    }
    core.store.apply(batch).await?;
    Ok(())
}

/// Says which workflows the store knows and the directory has not: what they have begun ends when it resumes (W-ENV-11).
pub(super) async fn say_archived(core: &Core) -> Result<(), StartError> {
    for key in core.store.known_workflows().await? {
        if core.catalog.workflow(&key).is_none() {
            info!(workflow.key = %key, "workflow `{key}` is not in the directory any more: its runs end when they resume");
        }
    }
    Ok(())
}

/// Sees when workflows are to be read again.
pub(super) struct Watch {
    dir: PathBuf,
    mode: Mode,
    hangup: Signal,
    seen: Stamps,
}

type Stamps = BTreeMap<PathBuf, Option<SystemTime>>;

impl Watch {
    /// Begins to look, and to listen for SIGHUP, which would else end the process. It is made before the workflows are
    /// read for the first time: a change in between must not be missed.
    pub(super) fn new(dir: PathBuf, mode: Mode) -> Result<Self, StartError> {
        let hangup = signal(SignalKind::hangup());
        let hangup = hangup.map_err(|error| StartError::Said(format!("SIGHUP can't be listened for: {error}.")))?;
        Ok(Watch { seen: stamps(&dir), dir, mode, hangup })
    }

    /// Reads the directory again when there is a reason to, until it is time to stop.
    pub(super) async fn run(mut self, core: Arc<Core>, mut stopped: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => self.seen = stamps(&self.dir),
                () = tokio::time::sleep(LOOK), if self.mode == Mode::Development => {
                    let after = stamps(&self.dir);
                    if after == self.seen {
                        continue;
                    }
                    self.seen = after;
                }
                _ = stopped.changed() => return,
            }
            read(&core, &self.dir).await;
        }
    }
}

/// Reads `dir`; what is not sound changes nothing.
async fn read(core: &Core, dir: &Path) {
    let loaded = match workflows::load(dir, core.catalog.channels()) {
        Ok(loaded) => loaded,
        Err(problems) => {
            for problem in &problems {
                warn!("{problem}");
            }
            warn!("the workflows stay as they were, because of {} problem(s)", problems.len());
            return;
        }
    };
    let (channels, groups) = (core.catalog.channels(), core.catalog.channel_groups());
    for problem in workflows::doubts(dir, &loaded, channels, groups) {
        warn!("{problem}");
    }
    let changed: Vec<String> = loaded
        .iter()
        .filter(|workflow| core.catalog.workflow(&workflow.key).is_none_or(|old| old.version_id != workflow.version_id))
        .map(|workflow| workflow.key.clone())
        .collect();
    let is_gone = |key: &String| !loaded.iter().any(|workflow| workflow.key == *key);
    let before = core.catalog.workflows();
    let gone: Vec<String> = before.iter().map(|workflow| workflow.key.clone()).filter(is_gone).collect();
    let count = loaded.len();
    // The store first: a run that starts with a version must find it there.
    if let Err(fault) = publish(core, loaded.iter()).await {
        error!(error = %fault, "changed workflows could not be stored, and stay as they were");
        return;
    }
    core.catalog.replace(loaded);
    for key in gone {
        warn!(workflow.key = %key, "workflow `{key}` is gone: its runs end when they resume, unless it comes back before");
    }
    info!(
        count,
        "read the workflows again; changed: {}",
        if changed.is_empty() { "none".to_owned() } else { changed.join(", ") }
    );
}

/// When each file below `dir` was last changed.
fn stamps(dir: &Path) -> Stamps {
    let mut found = BTreeMap::new();
    collect(dir, 0, &mut found);
    found
}

fn collect(dir: &Path, depth: usize, found: &mut Stamps) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() && depth < DEEPEST => collect(&path, depth + 1, found),
            Ok(metadata) => {
                found.insert(path, metadata.modified().ok());
            }
            // Gone meanwhile: the next look will tell.
            Err(_) => {}
        }
    }
}
