//! What all runs of one trigger find when they go on: the workflow, the actor, the tenant, the time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::run::{Input, OwnSets};
use crate::metrics::Engine;
use crate::model::audience::Audiences;
use crate::model::cap::Caps;
use crate::model::channel::Channel;
use crate::model::channel_group::ChannelGroup;
use crate::model::environment::{ChannelSetup, Environment};
use crate::model::guide::Guides;
use crate::model::preference_center::{PREFERENCES_URL, UNSUBSCRIBE_URL};
use crate::model::recipient::{RecipientRef, TENANTS, User};
use crate::model::run::Run;
use crate::model::time::Time;
use crate::model::workflow::Workflow;
use crate::rules::preference::{DEFAULT, Preferences};
use crate::sign::page_token::Purpose;
use crate::store;
use crate::verbs::center::Links;
use crate::verbs::staged::Staged;
use crate::verbs::{Catalog, Core};

/// Everything a stretch depends on that is the same for every recipient. It is made once, however many there are.
pub struct Scene<'a> {
    pub workflow: &'a Workflow,
    /// Every workflow, for steps that trigger others.
    pub catalog: &'a Catalog,
    pub channels: &'a [Channel],
    pub channel_groups: &'a [ChannelGroup],
    /// What of the channels is configured in the environment, by their keys.
    pub configured: &'a BTreeMap<String, ChannelSetup>,
    pub vars: &'a Value,
    /// What makes links to pages of recipients, and tracked ones; none where there can be neither.
    pub links: Option<Links>,
    /// What of `vars` nobody is shown.
    pub secrets: &'a Map<String, Value>,
    pub audiences: Arc<Audiences>,
    pub caps: Arc<Caps>,
    pub guides: Arc<Guides>,
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
    /// What recipients want who have not said otherwise.
    pub default_preferences: Option<&'a Value>,
}

/// What the runs of one trigger have in common.
#[derive(Debug, Clone, Copy)]
pub struct Common<'a> {
    pub actor: Option<&'a RecipientRef>,
    pub tenant: Option<&'a str>,
    pub cancellation_key: Option<&'a str>,
}

impl<'a> Common<'a> {
    /// What a run has in common with those that were triggered with it.
    pub fn of(run: &'a Run) -> Common<'a> {
        Common {
            actor: run.actor.as_ref(),
            tenant: run.tenant.as_deref(),
            cancellation_key: run.cancellation_key.as_deref(),
        }
    }
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
        let now = core.clock.now();
        let facts = Facts::new(&core.store, &core.bus, environment.number, now);
        facts.give_channel_data(staged.channel_data());
        Ok(Scene {
            workflow,
            catalog: &core.catalog,
            channels: core.catalog.channels(),
            vars: &environment.settings.all_vars,
            links: if workflow.may_link(&environment.settings.channels) {
                core.links(environment.number).await?
            } else {
                None
            },
            secrets: &environment.settings.secret_vars,
            audiences: core.catalog.audiences(),
            caps: core.catalog.caps(),
            guides: core.catalog.guides(),
            default_zone: environment.settings.timezone.as_deref(),
            channel_groups: core.catalog.channel_groups(),
            configured: &environment.settings.channels,
            facts,
            metrics: &core.metrics.engine,
            is_active: core.catalog.is_active(environment.number, &workflow.key),
            now,
            actor,
            tenant,
            actors: Value::Array(actors).to_string().into(),
            categories: json!(workflow.categories).to_string().into(),
            workflow_scope: workflow_scope(workflow, common.cancellation_key),
            default_preferences: environment.settings.preferences.as_ref(),
        })
    }

    /// What the run's next stretch depends on: its recipient as it sees it (W-SCP-06 to W-SCP-08), what they want, and
    /// what became of the messages of earlier steps.
    pub async fn input(
        &'a self,
        run: &Run,
        staged: &mut Staged<'_>,
        refs: Map<String, Value>,
    ) -> Result<Input<'a>, store::Error> {
        let mut input = Input {
            scene: self,
            recipient: None,
            vars: None,
            preferences: Preferences::default(),
            own_sets: OwnSets::default(),
            refs,
            is_alone: false,
            call: None,
            heard: Vec::new(),
        };
        let Some(mut recipient) = staged.scope(&run.recipient).await? else { return Ok(input) };
        if let Some(followed) = &run.state.followed {
            let object = staged.scope(&RecipientRef::from_key(&followed.object)).await?;
            recipient["subscription"] = followed.to_scope(object);
        }
        let mut recipient = run.with_origin(recipient);
        input.own_sets = own_sets(run, staged).await?;
        input.preferences = input.own_sets.resolve(self, run.tenant.as_deref(), self.tenant.as_ref());
        recipient["preferences"] = input.preferences.to_json();
        let links = self.links.as_ref().filter(|_| self.workflow.names_pages);
        if let (Some(links), Some(id)) = (links, run.recipient.user_id()) {
            input.vars = staged.user(id).await?.map(|user| self.with_links(links, user));
        }
        input.recipient = Some(recipient);
        Ok(input)
    }
}

impl Scene<'_> {
    /// The variables with those that lead a user to their pages (F-PCC-09).
    fn with_links(&self, links: &Links, user: &User) -> Value {
        let mut vars = self.vars.as_object().cloned().unwrap_or_default();
        vars.insert(PREFERENCES_URL.to_owned(), links.to(Purpose::Preferences, user).into());
        if self.workflow.settings.is_commercial {
            vars.insert(UNSUBSCRIBE_URL.to_owned(), links.to(Purpose::Unsubscribe, user).into());
        }
        Value::Object(vars)
    }
}

async fn own_sets(run: &Run, staged: &mut Staged<'_>) -> Result<OwnSets, store::Error> {
    let recipient = run.recipient.key();
    let default = staged.preference_set(&recipient, DEFAULT).await?;
    let of_tenant = match &run.tenant {
        Some(tenant) => staged.preference_set(&recipient, tenant).await?,
        None => None,
    };
    Ok(OwnSets { default, of_tenant })
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
