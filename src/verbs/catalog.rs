//! What is configured rather than stored: environments, channels, and the workflows that run.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use uuid::Uuid;

use crate::model::audience::Audiences;
use crate::model::channel::{Channel, ChannelKind};
use crate::model::channel_group::ChannelGroup;
use crate::model::environment::Environment;
use crate::model::source::Sources;
use crate::model::workflow::Workflow;
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
    workflows: RwLock<Workflows>,
}

#[derive(Default)]
struct Workflows {
    audiences: Arc<Audiences>,
    sources: Arc<Sources>,
    current: HashMap<String, Arc<Workflow>>,
    old: HashMap<Uuid, Arc<Workflow>>,
    inactive: Vec<(Env, String)>,
}

impl Workflows {
    /// Keeps an old version at hand; the store has them all.
    fn keep_old(&mut self, id: Uuid, workflow: Arc<Workflow>) {
        if self.old.len() >= OLD_VERSIONS {
            self.old.clear();
        }
        self.old.insert(id, workflow);
    }
}

impl Catalog {
    /// A catalog of what is configured.
    pub fn new(environments: Vec<Environment>, channels: Vec<Channel>, workflows: Vec<Workflow>) -> Self {
        let current = workflows.into_iter().map(|workflow| (workflow.key.clone(), Arc::new(workflow))).collect();
        Catalog {
            environments: environments.into_iter().map(Arc::new).collect(),
            channels: channels.into(),
            channel_groups: Arc::default(),
            trigger_bytes: TRIGGER_BYTES,
            workflows: RwLock::new(Workflows { current, ..Workflows::default() }),
        }
    }

    /// The catalog with these channel groups.
    pub fn with_channel_groups(self, groups: Vec<ChannelGroup>) -> Self {
        Catalog { channel_groups: groups.into(), ..self }
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
    pub fn workflow(&self, key: &str) -> Option<Arc<Workflow>> {
        self.read().current.get(key).cloned()
    }

    /// Every current workflow, by key.
    pub fn workflows(&self) -> Vec<Arc<Workflow>> {
        let mut all: Vec<_> = self.read().current.values().cloned().collect();
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// Makes these the current workflows. Versions that they replace stay known, for the runs that follow them (W-ENG-15).
    pub fn replace(&self, workflows: Vec<Workflow>) {
        let current = workflows.into_iter().map(|workflow| (workflow.key.clone(), Arc::new(workflow))).collect();
        let mut held = self.workflows.write().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut held.current, current);
        for workflow in before.into_values() {
            held.keep_old(workflow.version_id, workflow);
        }
    }

    /// The audiences that files declare.
    pub fn audiences(&self) -> Arc<Audiences> {
        Arc::clone(&self.read().audiences)
    }

    /// Makes these the audiences that files declare.
    pub fn replace_audiences(&self, audiences: Audiences) {
        self.workflows.write().unwrap_or_else(PoisonError::into_inner).audiences = Arc::new(audiences);
    }

    /// The sources that files declare.
    pub fn sources(&self) -> Arc<Sources> {
        Arc::clone(&self.read().sources)
    }

    /// Makes these the sources that files declare.
    pub fn replace_sources(&self, sources: Sources) {
        self.workflows.write().unwrap_or_else(PoisonError::into_inner).sources = Arc::new(sources);
    }

    /// Whether the workflow may run in the environment (W-ENV-05).
    pub fn is_active(&self, env: Env, key: &str) -> bool {
        !self.read().inactive.iter().any(|(at, inactive)| *at == env && inactive == key)
    }

    /// Switches a workflow off or on in an environment.
    pub fn set_active(&self, env: Env, key: &str, is_active: bool) {
        let mut workflows = self.workflows.write().unwrap_or_else(PoisonError::into_inner);
        workflows.inactive.retain(|(at, inactive)| *at != env || inactive != key);
        if !is_active {
            workflows.inactive.push((env, key.to_owned()));
        }
    }

    /// The version a run follows (W-ENG-15): a current one, or an older one out of the store.
    pub async fn version(&self, store: &Store, id: Uuid) -> Result<Option<Arc<Workflow>>, store::Error> {
        {
            let workflows = self.read();
            let known = workflows.current.values().find(|workflow| workflow.version_id == id);
            if let Some(found) = known.or_else(|| workflows.old.get(&id)) {
                return Ok(Some(Arc::clone(found)));
            }
        }
        let Some((key, document)) = store.workflow_version(id).await? else { return Ok(None) };
        let parsed = Workflow::parse(&key, &document, &self.channels).map_err(|faults| {
            let first = faults.first().map(ToString::to_string).unwrap_or_default();
            store::Error::Damaged(format!("workflow version {id} of `{key}`: {first}"))
        })?;
        let parsed = Arc::new(parsed);
        let mut workflows = self.workflows.write().unwrap_or_else(PoisonError::into_inner);
        workflows.keep_old(id, Arc::clone(&parsed));
        Ok(Some(parsed))
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Workflows> {
        self.workflows.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn workflow(name: &str) -> Workflow {
        Workflow::parse("hello", &json!({"name": name, "steps": []}), &[]).expect("a valid workflow")
    }

    #[test]
    fn runs_keep_the_version_that_was_replaced() {
        let catalog = Catalog::new(Vec::new(), Vec::new(), vec![workflow("One")]);
        let before = catalog.workflow("hello").expect("the first version").version_id;
        catalog.replace(vec![workflow("Two")]);
        assert_eq!(catalog.workflow("hello").expect("the second version").name, "Two");
        let kept = catalog.read().old.get(&before).map(|old| old.name.clone());
        assert_eq!(kept.as_deref(), Some("One"), "W-ENG-15");
    }
    #[test]
    fn a_workflow_is_active_in_each_environment_until_it_is_switched_off_there() {
        let catalog = Catalog::new(Vec::new(), Vec::new(), vec![workflow("One")]);
        assert!(catalog.is_active(1, "hello") && catalog.is_active(2, "hello"), "W-ENV-05: at first");
        catalog.set_active(1, "hello", false);
        assert!(!catalog.is_active(1, "hello") && catalog.is_active(2, "hello"), "W-ENV-05: at once, and there alone");
        catalog.replace(vec![workflow("Two")]);
        assert!(!catalog.is_active(1, "hello"), "W-ENV-05: another version changes nothing about it");
        catalog.set_active(1, "hello", true);
        assert!(catalog.is_active(1, "hello"), "W-ENV-05");
    }
}
