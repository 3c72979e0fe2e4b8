//! What is configured rather than stored: environments, channels, and the workflows that run.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use serde_json::Value;
use tokio::sync::watch;
use tracing::{error, info};
use uuid::Uuid;

use crate::model::audience::Audiences;
use crate::model::cap::Caps;
use crate::model::channel::{Channel, ChannelKind};
use crate::model::channel_group::ChannelGroup;
use crate::model::environment::Environment;
use crate::model::guide::Guides;
use crate::model::source::Sources;
use crate::model::workflow::Workflow;
use crate::store::workflows::Published;
use crate::store::{self, Env, Store};

/// Old workflow versions kept parsed for the runs that still follow them.
const OLD_VERSIONS: usize = 256;

/// The most that one trigger may store, in bytes of data, unless the operator says otherwise.
pub const TRIGGER_BYTES: usize = 64 << 20;

/// Environments, channels and workflows, looked up by what requests and rows call them.
pub struct Catalog {
    environments: Vec<Arc<Environment>>,
    channels: Arc<[Channel]>,
    channel_groups: Arc<[ChannelGroup]>,
    trigger_bytes: usize,
    follows_store: bool,
    origin: Option<String>,
    /// Whoever tells of guides hears when there are others.
    guides: watch::Sender<Arc<Guides>>,
    workflows: RwLock<Workflows>,
}

#[derive(Default)]
struct Workflows {
    environments: HashMap<Env, Held>,
    audiences: Arc<Audiences>,
    sources: Arc<Sources>,
    caps: Arc<Caps>,
    /// Those that are current somewhere, by version.
    current: HashMap<Uuid, Arc<Workflow>>,
    old: HashMap<Uuid, Arc<Workflow>>,
}

/// What an environment has.
#[derive(Default)]
struct Held {
    workflows: HashMap<String, Arc<Workflow>>,
    inactive: HashSet<String>,
    /// The publication that this was read from, or that could not be used; none before the first look.
    revision: Option<i64>,
}

impl Workflows {
    /// Keeps an old version at hand; the store has them all.
    fn keep_old(&mut self, id: Uuid, workflow: Arc<Workflow>) {
        if self.old.len() >= OLD_VERSIONS {
            self.old.clear();
        }
        self.old.insert(id, workflow);
    }

    /// Makes these the current workflows of an environment.
    fn replace(&mut self, env: Env, workflows: impl Iterator<Item = Arc<Workflow>>) {
        let workflows = workflows.map(|workflow| (workflow.key.clone(), workflow)).collect();
        let held = self.environments.entry(env).or_default();
        let before = std::mem::replace(&mut held.workflows, workflows);
        let all = self.environments.values().flat_map(|held| held.workflows.values());
        self.current = all.map(|workflow| (workflow.version_id, Arc::clone(workflow))).collect();
        for workflow in before.into_values() {
            if !self.current.contains_key(&workflow.version_id) {
                self.keep_old(workflow.version_id, workflow);
            }
        }
    }
}

impl Catalog {
    /// A catalog of what is configured.
    pub fn new(environments: Vec<Environment>, channels: Vec<Channel>, workflows: Vec<Workflow>) -> Self {
        let catalog = Catalog {
            environments: environments.into_iter().map(Arc::new).collect(),
            channels: channels.into(),
            channel_groups: Arc::default(),
            trigger_bytes: TRIGGER_BYTES,
            follows_store: false,
            origin: None,
            guides: watch::Sender::default(),
            workflows: RwLock::default(),
        };
        catalog.replace(workflows);
        catalog
    }

    /// The catalog that has the workflows which are published in the store: see [`Catalog::catch_up`].
    pub fn following_store(self) -> Self {
        Catalog { follows_store: true, ..self }
    }

    /// Whether the workflows are those which are published in the store.
    pub fn follows_store(&self) -> bool {
        self.follows_store
    }

    /// The catalog with these channel groups.
    pub fn with_channel_groups(self, groups: Vec<ChannelGroup>) -> Self {
        Catalog { channel_groups: groups.into(), ..self }
    }

    /// The catalog of a server that is reached at `origin`, such as `https://bell.example.com`.
    pub fn at(self, origin: &str) -> Self {
        Catalog { origin: Some(origin.trim_end_matches('/').to_owned()), ..self }
    }

    /// Where this server is reached, if it is at all.
    pub fn origin(&self) -> Option<&str> {
        self.origin.as_deref()
    }

    /// The catalog with another bound on what one trigger may store.
    pub fn with_trigger_bytes(self, trigger_bytes: usize) -> Self {
        Catalog { trigger_bytes, ..self }
    }

    /// The most that one trigger may store: the bytes of its data, as often as it has recipients.
    pub fn trigger_bytes(&self) -> usize {
        self.trigger_bytes
    }

    /// The environment with this number.
    pub fn environment(&self, env: Env) -> Option<&Arc<Environment>> {
        self.environments.iter().find(|environment| environment.number == env)
    }

    /// Every environment.
    pub fn environments(&self) -> &[Arc<Environment>] {
        &self.environments
    }

    /// The channel with this key.
    pub fn channel_by_key(&self, key: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.key == key)
    }

    /// The channel with this id, in its usual spelling.
    pub fn channel(&self, id: &str) -> Option<&Channel> {
        let id = Uuid::try_parse(id).ok()?;
        self.channels.iter().find(|channel| channel.id == id)
    }

    /// Every channel.
    pub fn channels(&self) -> &[Channel] {
        &self.channels
    }

    /// Every channel group.
    pub fn channel_groups(&self) -> &[ChannelGroup] {
        &self.channel_groups
    }

    /// The in-app feed channel with this id (F-FED-01).
    pub fn feed_channel(&self, id: &str) -> Option<&Channel> {
        self.channel(id).filter(|channel| channel.kind == ChannelKind::InAppFeed)
    }

    /// The current version of a workflow.
    pub fn workflow(&self, env: Env, key: &str) -> Option<Arc<Workflow>> {
        self.read().environments.get(&env)?.workflows.get(key).cloned()
    }

    /// The current version of a workflow; nobody is told that there is none before the store has been asked.
    pub async fn find(&self, store: &Store, env: Env, key: &str) -> Result<Option<Arc<Workflow>>, store::Error> {
        if let Some(found) = self.workflow(env, key) {
            return Ok(Some(found));
        }
        if self.follows_store {
            self.catch_up(store).await?;
        }
        Ok(self.workflow(env, key))
    }

    /// The current version of a workflow, as of this instant: what was published since the last look is looked at first.
    pub async fn newest(&self, store: &Store, env: Env, key: &str) -> Result<Option<Arc<Workflow>>, store::Error> {
        if self.follows_store {
            self.catch_up(store).await?;
        }
        Ok(self.workflow(env, key))
    }

    /// Every current workflow of an environment, by key.
    pub fn workflows(&self, env: Env) -> Vec<Arc<Workflow>> {
        let mut all: Vec<_> = self
            .read()
            .environments
            .get(&env)
            .map(|held| held.workflows.values().cloned().collect())
            .unwrap_or_default();
        all.sort_by(|a: &Arc<Workflow>, b| a.key.cmp(&b.key));
        all
    }

    /// Makes these the current workflows of every environment. Versions that they replace stay known, for the runs that
    /// follow them (W-ENG-15).
    pub fn replace(&self, workflows: Vec<Workflow>) {
        let workflows: Vec<Arc<Workflow>> = workflows.into_iter().map(Arc::new).collect();
        for environment in &self.environments {
            self.replace_in(environment.number, workflows.clone());
        }
    }

    /// The same in one environment.
    pub fn replace_in(&self, env: Env, workflows: Vec<Arc<Workflow>>) {
        self.write().replace(env, workflows.into_iter());
    }

    /// Takes over what has been published since the last look, and tells the operator, whoever it is that looked.
    pub async fn catch_up(&self, store: &Store) -> Result<(), store::Error> {
        for found in self.look(store).await? {
            found.say(self.workflows(found.environment.number).len());
        }
        Ok(())
    }

    /// Looks what has been published since the last look: which workflows are switched off (W-ENV-05), and, where the store
    /// is followed, the workflows themselves. Answers with what has changed; a publication that this program cannot run
    /// changes no workflow, and is not looked at again.
    pub async fn look(&self, store: &Store) -> Result<Vec<CaughtUp>, store::Error> {
        let revisions = store.publications().await?;
        let mut caught_up = Vec::new();
        for environment in &self.environments {
            let env = environment.number;
            let revision = revisions.iter().find(|row| row.env == env).map_or(0, |row| row.revision);
            let seen = self.read().environments.get(&env).and_then(|held| held.revision);
            if seen.is_some_and(|seen| seen >= revision) {
                continue;
            }
            let published = store.published_workflows(env).await?;
            let inactive = published.iter().filter(|row| !row.is_active).map(|row| row.key.clone()).collect();
            let read = if self.follows_store { Some(self.parse(published)) } else { None };
            let mut workflows = self.write();
            let held = workflows.environments.entry(env).or_default();
            if held.revision.is_some_and(|seen| seen >= revision) {
                // Somebody else was here with what is newer.
                continue;
            }
            held.revision = Some(revision);
            held.inactive = inactive;
            let faults = match read {
                None => continue,
                Some(Err(faults)) => faults,
                Some(Ok(read)) => {
                    workflows.replace(env, read.into_iter());
                    Vec::new()
                }
            };
            drop(workflows);
            caught_up.push(CaughtUp { environment: Arc::clone(environment), revision, faults });
        }
        Ok(caught_up)
    }

    /// What is published, ready to run; all of it or nothing (W-AMB-15).
    fn parse(&self, published: Vec<Published>) -> Result<Vec<Arc<Workflow>>, Vec<String>> {
        let (mut workflows, mut faults) = (Vec::new(), Vec::new());
        for Published { key, version_id, document, .. } in published.into_iter().filter(|row| row.archived_at.is_none())
        {
            let known = self.read().current.get(&version_id).cloned();
            match known.map_or_else(|| self.parse_version(&key, version_id, &document), Ok) {
                Ok(workflow) => workflows.push(workflow),
                Err(fault) => faults.push(fault),
            }
        }
        if faults.is_empty() { Ok(workflows) } else { Err(faults) }
    }

    fn parse_version(&self, key: &str, id: Uuid, document: &Value) -> Result<Arc<Workflow>, String> {
        let parsed = Workflow::parse(key, document, &self.channels).map_err(|faults| {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            format!("workflow version {id} of `{key}`: {first}")
        })?;
        // Several versions may have the same content (W-ENV-14).
        Ok(Arc::new(Workflow { version_id: id, ..parsed }))
    }

    /// The audiences that files declare.
    pub fn audiences(&self) -> Arc<Audiences> {
        Arc::clone(&self.read().audiences)
    }

    /// Makes these the audiences that files declare.
    pub fn replace_audiences(&self, audiences: Audiences) {
        self.write().audiences = Arc::new(audiences);
    }

    /// The sources that files declare.
    pub fn sources(&self) -> Arc<Sources> {
        Arc::clone(&self.read().sources)
    }

    /// The frequency caps that files declare.
    pub fn caps(&self) -> Arc<Caps> {
        Arc::clone(&self.read().caps)
    }

    /// Makes these the frequency caps that files declare.
    pub fn replace_caps(&self, caps: Caps) {
        self.write().caps = Arc::new(caps);
    }

    /// The guides that files declare.
    pub fn guides(&self) -> Arc<Guides> {
        Arc::clone(&self.guides.borrow())
    }

    /// The guides that files declare, as they change.
    pub fn guides_to_come(&self) -> watch::Receiver<Arc<Guides>> {
        self.guides.subscribe()
    }

    /// Makes these the guides that files declare.
    pub fn replace_guides(&self, guides: Guides) {
        self.guides.send_replace(Arc::new(guides));
    }

    /// Makes these the sources that files declare.
    pub fn replace_sources(&self, sources: Sources) {
        self.write().sources = Arc::new(sources);
    }

    /// Whether the workflow may run in the environment (W-ENV-05).
    pub fn is_active(&self, env: Env, key: &str) -> bool {
        !self.read().environments.get(&env).is_some_and(|held| held.inactive.contains(key))
    }

    /// Switches a workflow off or on in an environment.
    pub fn set_active(&self, env: Env, key: &str, is_active: bool) {
        let mut workflows = self.write();
        let held = workflows.environments.entry(env).or_default();
        match is_active {
            true => held.inactive.remove(key),
            false => held.inactive.insert(key.to_owned()),
        };
    }

    /// The version a run follows (W-ENG-15): a current one, or an older one out of the store.
    pub async fn version(&self, store: &Store, id: Uuid) -> Result<Option<Arc<Workflow>>, store::Error> {
        if let Some(known) = self.known(id) {
            return Ok(Some(known));
        }
        if self.follows_store {
            // It may be newer than what is known here: whatever it needs besides was published with it.
            self.catch_up(store).await?;
            if let Some(known) = self.known(id) {
                return Ok(Some(known));
            }
        }
        let Some((key, document)) = store.workflow_version(id).await? else { return Ok(None) };
        let parsed = self.parse_version(&key, id, &document).map_err(store::Error::Damaged)?;
        self.write().keep_old(id, Arc::clone(&parsed));
        Ok(Some(parsed))
    }

    fn known(&self, id: Uuid) -> Option<Arc<Workflow>> {
        let workflows = self.read();
        workflows.current.get(&id).or_else(|| workflows.old.get(&id)).cloned()
    }

    fn read(&self) -> RwLockReadGuard<'_, Workflows> {
        self.workflows.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Workflows> {
        self.workflows.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a look has found.
#[derive(Debug)]
pub struct CaughtUp {
    pub environment: Arc<Environment>,
    pub revision: i64,
    /// Why this program cannot run what is published; then everything stays as it was.
    pub faults: Vec<String>,
}

impl CaughtUp {
    /// `count` is how many workflows there are now.
    fn say(&self, count: usize) {
        let (revision, slug) = (self.revision, &self.environment.slug);
        if self.faults.is_empty() {
            info!(revision, count, "took over what is published in `{slug}`");
            return;
        }
        for fault in &self.faults {
            error!("{fault}");
        }
        error!(
            revision,
            "what is published in `{slug}` can't be run by this node, because of {} problem(s): its workflows stay as they were",
            self.faults.len()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workflow(name: &str) -> Workflow {
        Workflow::parse("hello", &json!({"name": name, "steps": []}), &[]).expect("a valid workflow")
    }

    fn environments() -> Vec<Environment> {
        let one = |number: Env| Environment {
            number,
            id: Uuid::nil(),
            slug: format!("env-{number}"),
            settings: Default::default(),
        };
        vec![one(1), one(2)]
    }

    #[test]
    fn runs_keep_the_version_that_was_replaced() {
        let catalog = Catalog::new(environments(), Vec::new(), vec![workflow("One")]);
        let before = catalog.workflow(1, "hello").expect("the first version").version_id;
        catalog.replace(vec![workflow("Two")]);
        assert_eq!(catalog.workflow(1, "hello").expect("the second version").name, "Two");
        let kept = catalog.read().old.get(&before).map(|old| old.name.clone());
        assert_eq!(kept.as_deref(), Some("One"), "W-ENG-15");
    }
    #[test]
    fn a_workflow_is_active_in_each_environment_until_it_is_switched_off_there() {
        let catalog = Catalog::new(environments(), Vec::new(), vec![workflow("One")]);
        assert!(catalog.is_active(1, "hello") && catalog.is_active(2, "hello"), "W-ENV-05: at first");
        catalog.set_active(1, "hello", false);
        assert!(!catalog.is_active(1, "hello") && catalog.is_active(2, "hello"), "W-ENV-05: at once, and there alone");
        catalog.replace(vec![workflow("Two")]);
        assert!(!catalog.is_active(1, "hello"), "W-ENV-05: another version changes nothing about it");
        catalog.set_active(1, "hello", true);
        assert!(catalog.is_active(1, "hello"), "W-ENV-05");
    }
}
