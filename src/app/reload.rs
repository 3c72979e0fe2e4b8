//! Reads the workflows again: in development when a file changes, else when the process is told to (SIGHUP).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::{Mode, StartError};
use crate::config::{project, workflows};
use crate::model::environment::Environment;
use crate::model::workflow::Workflow;
use crate::store::workflows::Published;
use crate::store::{self, Batch};
use crate::verbs::Core;

/// How often the directory is looked at in development.
const LOOK: Duration = Duration::from_secs(1);
/// Below this depth nobody keeps files of a workflow.
const DEEPEST: usize = 8;

/// How often it is tried to publish while others do.
const TRIES: usize = 16;

/// Makes `workflows` the current ones of every environment: in the store first, since a run that starts with a version must
/// find it there; then in the catalog.
pub(super) async fn publish(core: &Core, workflows: &[Arc<Workflow>]) -> Result<(), StartError> {
    let mut current = Vec::new();
    for environment in core.catalog.environments() {
        let mut tries = 0;
        let published = loop {
            if let Some(published) = publish_in(core, environment, workflows).await? {
                break published;
            }
            tries += 1;
            if tries == TRIES {
                return Err(StartError::Said("Others kept publishing workflows in between: start again.".to_owned()));
            }
        };
        current.push((environment.number, published));
    }
    for (env, workflows) in current {
        core.catalog.replace_in(env, workflows);
    }
    Ok(())
}

/// Publishes in one environment; what is current there, or none if somebody else has published at the same time. What is
/// published as it is keeps the version that it is there, as a plan says (W-ENV-14).
async fn publish_in(
    core: &Core,
    environment: &Environment,
    workflows: &[Arc<Workflow>],
) -> Result<Option<Vec<Arc<Workflow>>>, StartError> {
    let env = environment.number;
    let publications = core.store.publications().await?;
    let publication = publications.into_iter().find(|row| row.env == env);
    let mut before = core.store.published_workflows(env).await?;
    before.retain(|row| row.archived_at.is_none());
    let (mut current, mut new) = (Vec::new(), Vec::new());
    for workflow in workflows {
        let published = before.iter().find(|row| row.key == workflow.key && row.document == workflow.source);
        let version = match published {
            Some(row) if row.version_id != workflow.version_id => {
                core.catalog.version(&core.store, row.version_id).await?
            }
            Some(_) => None,
            None => {
                new.push(workflow);
                None
            }
        };
        current.push(version.unwrap_or_else(|| Arc::clone(workflow)));
    }
    let is_gone = |row: &&Published| !workflows.iter().any(|one| one.key == row.key);
    let gone: Vec<&Published> = before.iter().filter(is_gone).collect();
    if new.is_empty() && gone.is_empty() {
        return Ok(Some(current));
    }
    if publication.as_ref().is_some_and(|row| row.is_applied) {
        return Err(StartError::Said(format!(
            "The workflows of `{}` are applied to the database, and are not those of this node's files: set `from = \"store\"` of \
             [workflows], or give them back to files with `bellwire workflows release`.",
            environment.slug
        )));
    }
    let now = core.clock.now();
    let mut batch = Batch::new();
    batch.raise_publication(env, publication.map_or(0, |row| row.revision), false, now);
    for workflow in new {
        batch.publish_workflow(env, &workflow.key, workflow.version_id, &workflow.source, now);
    }
    gone.iter().for_each(|row| batch.archive_workflow(env, &row.key, now));
    match core.store.apply(batch).await {
        Ok(_) => Ok(Some(current)),
        Err(store::Error::Refused(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Says which workflows the store knows and the directory has not: what they have begun ends when it resumes (W-ENV-11).
pub(super) async fn say_archived(core: &Core) -> Result<(), StartError> {
    let Some(environment) = core.catalog.environments().first() else { return Ok(()) };
    for key in core.store.known_workflows().await? {
        if core.catalog.workflow(environment.number, &key).is_none() {
            info!(workflow.key = %key, "workflow `{key}` is not in the directory any more: its runs end when they resume");
        }
    }
    Ok(())
}

/// What is said of an audience that was of the other type before (W-AUD-14).
pub(super) fn other_type(key: &str) -> String {
    format!("Audience `{key}` was made with the other type, which can't change: give the new one another key.")
}

/// Says of which sources nobody can prove that an event is theirs: all of them are refused.
pub(super) fn say_unprovable(core: &Core) {
    let sources = core.catalog.sources();
    for environment in core.catalog.environments() {
        for key in sources.unprovable(&environment.settings) {
            warn!(source.key = %key, "source `{key}` has no secret in environment `{}`: its events are refused there; set \
                `source_secrets` of the environment", environment.slug);
        }
    }
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
    /// Begins to look, and listens for SIGHUP.
    pub(super) fn new(dir: PathBuf, mode: Mode, hangup: Signal) -> Self {
        Watch { seen: stamps(&dir), dir, mode, hangup }
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
    let project = match project::load(dir, core.catalog.channels()) {
        Ok(project) => project,
        Err(problems) => {
            for problem in &problems {
                warn!("{problem}");
            }
            warn!(
                "the workflows stay as they were, and all that stands beside them, because of {} problem(s)",
                problems.len()
            );
            return;
        }
    };
    match core.audiences_of_other_type(&project.audiences).await {
        Ok(keys) if keys.is_empty() => {}
        Ok(keys) => {
            for key in keys {
                warn!(audience.key = %key, "{}", other_type(&key));
            }
            warn!("the workflows stay as they were, and all that stands beside them");
            return;
        }
        Err(fault) => {
            error!(error = %fault, "which audiences there are could not be read; everything stays as it was");
            return;
        }
    }
    let (channels, groups) = (core.catalog.channels(), core.catalog.channel_groups());
    for problem in workflows::doubts(dir, &project.workflows, channels, groups) {
        warn!("{problem}");
    }
    let loaded: Vec<Arc<Workflow>> = project.workflows.into_iter().map(Arc::new).collect();
    // All have the same.
    let env = core.catalog.environments().first().map_or(0, |environment| environment.number);
    let is_changed = |workflow: &&Arc<Workflow>| {
        core.catalog.workflow(env, &workflow.key).is_none_or(|old| old.source != workflow.source)
    };
    let changed: Vec<String> = loaded.iter().filter(is_changed).map(|workflow| workflow.key.clone()).collect();
    let is_gone = |key: &String| !loaded.iter().any(|workflow| workflow.key == *key);
    let before = core.catalog.workflows(env);
    let gone: Vec<String> = before.iter().map(|workflow| workflow.key.clone()).filter(is_gone).collect();
    let count = loaded.len();
    // The store first: whoever adds members must find the audience there, and a run its version.
    if let Err(fault) = core.declare_audiences(&project.audiences).await {
        error!(error = %fault, "audiences could not be stored; what changed stays as it was until the next reading");
        return;
    }
    if let Err(fault) = core.declare_guides(&project.guides).await {
        error!(error = %fault, "guides could not be stored; what changed stays as it was until the next reading");
        return;
    }
    if let Err(fault) = publish(core, &loaded).await {
        error!(error = %fault, "changed workflows could not be stored, and stay as they were");
        return;
    }
    core.catalog.replace_audiences(project.audiences);
    core.catalog.replace_sources(project.sources);
    core.catalog.replace_caps(project.caps);
    core.catalog.replace_guides(project.guides);
    say_unprovable(core);
    if let Err(fault) = core.publish_audiences().await {
        error!(error = %fault, "changed audiences could not be stored; they will be at the next reading");
    }
    for key in gone {
        warn!(workflow.key = %key, "workflow `{key}` is gone: its runs end when they resume, unless it comes back before");
    }
    info!(
        count,
        "read the workflows again; changed: {}",
        if changed.is_empty() { "none".to_owned() } else { changed.join(", ") }
    );
}

/// When each file below `dir`, and of what is read besides, was last changed.
fn stamps(dir: &Path) -> Stamps {
    let mut found = BTreeMap::new();
    collect(dir, 0, &mut found);
    for place in project::besides(dir) {
        if let Ok(metadata) = fs::metadata(&place) {
            found.insert(place.clone(), metadata.modified().ok());
        }
        collect(&place, 0, &mut found);
    }
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
