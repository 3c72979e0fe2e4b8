//! What a publication of workflows would change: against what is published in each environment, and for whom.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::StartError;
use crate::config::Config;
use crate::config::project;
use crate::config::workflows::{self, Problem};
use crate::model::audience::Audiences;
use crate::model::cap::Caps;
use crate::model::channel::Channel;
use crate::model::guide::Guides;
use crate::model::source::Sources;
use crate::model::time::Time;
use crate::model::workflow::Workflow;
use crate::model::workflow::difference::{Change, between};
use crate::outside::record::Secrets;
use crate::store::workflows::{Published, Standing};
use crate::store::{self, Batch, Env, Store};
use crate::verbs::send;

/// What would change in some environments.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub environments: Vec<EnvironmentPlan>,
}

/// What would change in one environment.
#[derive(Debug, Serialize)]
pub struct EnvironmentPlan {
    /// Its name.
    pub environment: String,
    /// How often something has been published there: whoever publishes this plan finds it so, or is refused.
    #[serde(skip)]
    pub revision: i64,
    /// Whether it was applied; else it came from a node's files.
    #[serde(skip)]
    pub is_applied: bool,
    /// Every workflow that is published or in the directory, by key.
    pub workflows: Vec<WorkflowPlan>,
}

/// What would become of one workflow.
#[derive(Debug, PartialEq, Serialize)]
pub struct WorkflowPlan {
    pub key: String,
    pub fate: Fate,
    /// Whether it may run; what is switched off stays so.
    pub is_active: bool,
    /// The version that is published.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version_id: Option<Uuid>,
    /// The version that it becomes when it is applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_version_id: Option<Uuid>,
    /// How many steps it will have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Of a changed one: what is different.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// Whom that touches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<InFlight>,
}

/// What becomes of a workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It is published as it is.
    Unchanged,
    /// It is published as it is, and becomes a version of its own all the same (W-ENV-14).
    Renewed,
    /// It is not published yet.
    New,
    /// It is published, and is different.
    Changed,
    /// It is published, and not in the directory: it is archived (W-ENV-11).
    Missing,
}

impl Fate {
    /// Its name, as in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Unchanged => "unchanged",
            Fate::Renewed => "renewed",
            Fate::New => "new",
            Fate::Changed => "changed",
            Fate::Missing => "missing",
        }
    }
}

/// What of a workflow is under way.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct InFlight {
    /// Runs that are not over: those that keep, follow and end.
    pub runs: i64,
    /// Of them, those that keep the version they follow (W-ENG-15, W-BAT-34).
    pub keep: i64,
    /// Those that wait in a batch which goes on in the new version (W-BAT-33).
    pub follow: i64,
    /// Those that end as they resume, because the workflow is archived (W-ENV-11).
    pub end: i64,
    /// Messages that wait for their send window: they are sent as they were made (W-SNW-07).
    pub messages: i64,
    /// Triggers that are still being told to followers of objects: they keep their version, or end likewise.
    pub fan_outs: i64,
    /// Schedules with an occurrence to come: each takes the version that is published then, or stops (W-ENV-13, W-AMB-50).
    pub schedules: i64,
    /// Where the runs wait.
    pub waiting: Vec<Waiting>,
}

/// Runs that wait in the same step.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Waiting {
    /// The `ref` of the step; none before the first step, or where it is unknown.
    pub step: Option<String>,
    /// Its type.
    pub step_type: Option<String>,
    /// Whether it is unknown which step it is: this program cannot read the version.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_unknown: bool,
    /// The version they follow.
    pub version_id: Uuid,
    pub runs: i64,
    /// Whether they go on in the new version.
    pub follow: bool,
}

/// What a directory holds, and the channels that it may name.
pub struct Project {
    pub workflows: Vec<Workflow>,
    pub audiences: Audiences,
    pub sources: Sources,
    pub caps: Caps,
    pub guides: Guides,
    pub channels: Vec<Channel>,
}

impl Project {
    /// Reads the configuration's directory: everything in it is sound, and no step would do nothing. The channels are
    /// taken out of the configuration.
    pub fn read(config: &mut Config) -> Result<Project, Vec<Problem>> {
        let Project { channels, .. } = Project::without_files(config);
        let dir = &config.workflows.dir;
        let project::Project { workflows, audiences, sources, caps, guides } = project::load(dir, &channels)?;
        let doubts = workflows::doubts(dir, &workflows, &channels, &config.channel_groups);
        if doubts.is_empty() {
            Ok(Project { workflows, audiences, sources, caps, guides, channels })
        } else {
            Err(doubts)
        }
    }

    /// The channels alone.
    pub fn without_files(config: &mut Config) -> Project {
        let declared = std::mem::take(&mut config.channels);
        let channels = declared.into_iter().map(|declared| declared.channel).collect();
        let (audiences, sources) = (Audiences::default(), Sources::default());
        let (caps, guides) = (Caps::default(), Guides::default());
        Project { workflows: Vec::new(), audiences, sources, caps, guides, channels }
    }
}

impl Plan {
    /// What it would change to publish the project in the environments called `slugs`, which are configured. With
    /// `is_renewing` what is unchanged is published again.
    pub async fn new(
        store: &Store,
        config: &Config,
        slugs: &[String],
        project: &Project,
        is_renewing: bool,
    ) -> Result<Plan, StartError> {
        // Read first: what is published while the plan is made raises it.
        let publications = store.publications().await?;
        let known = store.environments().await?;
        let Project { workflows, channels, .. } = project;
        let mut versions = Versions { store, channels, read: HashMap::new() };
        let mut environments = Vec::new();
        for slug in slugs {
            let number = known.iter().find(|row| row.slug == *slug).map(|row| row.number);
            let secrets = config.environments.get(slug).map(|settings| Secrets::of(&settings.secret_vars));
            let publication = publications.iter().find(|row| Some(row.env) == number);
            let secrets = secrets.unwrap_or_default();
            let planned = plan(store, &mut versions, number, workflows, &secrets, is_renewing).await?;
            environments.push(EnvironmentPlan {
                environment: slug.clone(),
                revision: publication.map_or(0, |row| row.revision),
                is_applied: publication.is_some_and(|row| row.is_applied),
                workflows: planned,
            });
        }
        Ok(Plan { environments })
    }

    /// Whether anything would change.
    pub fn has_changes(&self) -> bool {
        let all = self.environments.iter().flat_map(|environment| &environment.workflows);
        all.into_iter().any(|workflow| workflow.fate != Fate::Unchanged)
    }

    /// Whether nothing is left to do: no workflow would change, and the environments are applied ones already.
    pub fn is_done(&self) -> bool {
        !self.has_changes() && self.environments.iter().all(|environment| environment.is_applied)
    }

    /// Publishes what was planned, in one transaction; false if somebody else has published meanwhile, and nothing was.
    pub async fn apply(&self, store: &Store, project: &Project, now: Time) -> Result<bool, StartError> {
        let mut batch = Batch::new();
        for EnvironmentPlan { environment, revision, workflows, .. } in &self.environments {
            let env = store.ensure_environment(environment, now).await?.number;
            batch.raise_publication(env, *revision, true, now);
            for planned in workflows {
                let new = project.workflows.iter().find(|workflow| workflow.key == planned.key);
                match (planned.fate, new, planned.next_version_id) {
                    (Fate::New | Fate::Changed | Fate::Renewed, Some(new), Some(version)) => {
                        batch.publish_workflow(env, &planned.key, version, &new.source, now);
                    }
                    (Fate::Missing, ..) => batch.archive_workflow(env, &planned.key, now),
                    _ => {}
                }
            }
        }
        match store.apply(batch).await {
            Ok(_) => Ok(true),
            Err(store::Error::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

/// What would change in the environment with this number; without one nothing has been published there.
async fn plan(
    store: &Store,
    versions: &mut Versions<'_>,
    number: Option<Env>,
    workflows: &[Workflow],
    secrets: &Secrets,
    is_renewing: bool,
) -> Result<Vec<WorkflowPlan>, StartError> {
    let wanted: BTreeMap<&str, &Workflow> =
        workflows.iter().map(|workflow| (workflow.key.as_str(), workflow)).collect();
    let (mut published, mut under_way) = (BTreeMap::new(), UnderWay::default());
    if let Some(env) = number {
        let rows = store.published_workflows(env).await?;
        published = rows.into_iter().map(|row| (row.key.clone(), row)).collect();
        under_way = UnderWay::read(store, env).await?;
    }
    let current = published.values().filter(|row: &&Published| row.archived_at.is_none());
    let keys: BTreeSet<&str> = wanted.keys().copied().chain(current.map(|row| row.key.as_str())).collect();
    let mut planned = Vec::new();
    for key in keys {
        let (old, new) = (published.get(key), wanted.get(key).copied());
        let fate = fate(old, new, is_renewing);
        let mut changes = match (fate, old, new) {
            (Fate::Changed, Some(old), Some(new)) => between(&old.document, &new.source),
            _ => Vec::new(),
        };
        changes.iter_mut().for_each(|change| change.hide(&|text| secrets.hide(text).into_owned()));
        let in_flight = match fate {
            Fate::Unchanged => None,
            _ => Some(under_way.of(key, new, versions).await?),
        };
        planned.push(WorkflowPlan {
            key: key.to_owned(),
            fate,
            is_active: old.is_none_or(|old| old.is_active),
            version_id: old.filter(|old| old.archived_at.is_none()).map(|old| old.version_id),
            next_version_id: new.filter(|_| fate != Fate::Unchanged).map(|new| next_version(new, old)),
            steps: new.map(|new| new.all_steps().len()),
            changes,
            in_flight,
        });
    }
    Ok(planned)
}

/// The name of the version that follows `old`: every publication is a version of its own, also of what was there before
/// (W-ENV-14).
fn next_version(new: &Workflow, old: Option<&Published>) -> Uuid {
    old.map_or(new.version_id, |old| Uuid::new_v5(&new.version_id, old.version_id.as_bytes()))
}

fn fate(old: Option<&Published>, new: Option<&Workflow>, is_renewing: bool) -> Fate {
    match (old.filter(|old| old.archived_at.is_none()), new) {
        (_, None) => Fate::Missing,
        (None, Some(_)) => Fate::New,
        (Some(old), Some(new)) if old.document == new.source && is_renewing => Fate::Renewed,
        (Some(old), Some(new)) if old.document == new.source => Fate::Unchanged,
        _ => Fate::Changed,
    }
}

/// What is under way in an environment, by workflow.
#[derive(Default)]
struct UnderWay {
    standing: Vec<Standing>,
    messages: Vec<(String, i64)>,
    fan_outs: Vec<(String, i64)>,
    schedules: Vec<(String, i64)>,
}

impl UnderWay {
    async fn read(store: &Store, env: Env) -> Result<Self, StartError> {
        Ok(UnderWay {
            standing: store.runs_in_flight(env).await?,
            messages: store.messages_to_send(env, send::JOB).await?,
            fan_outs: store.fan_outs_in_flight(env).await?,
            schedules: store.schedules_to_come(env).await?,
        })
    }

    /// What of the workflow is under way, once `new` is published; none of it is archived.
    async fn of(&self, key: &str, new: Option<&Workflow>, versions: &mut Versions<'_>) -> Result<InFlight, StartError> {
        let count =
            |counts: &[(String, i64)]| counts.iter().find(|(name, _)| name == key).map_or(0, |(_, count)| *count);
        let mut found = InFlight {
            messages: count(&self.messages),
            fan_outs: count(&self.fan_outs),
            schedules: count(&self.schedules),
            ..InFlight::default()
        };
        for standing in self.standing.iter().filter(|standing| standing.workflow == key) {
            let version = versions.get(standing.version_id).await?;
            let waiting = waiting(standing, version, new);
            found.runs += waiting.runs;
            match new {
                None => found.end += waiting.runs,
                Some(_) if waiting.follow => found.follow += waiting.runs,
                Some(_) => found.keep += waiting.runs,
            }
            found.waiting.push(waiting);
        }
        found.waiting.sort();
        Ok(found)
    }
}

/// Where these runs stand in their `version`, and whether they go on in `new`.
fn waiting(standing: &Standing, version: Option<&Workflow>, new: Option<&Workflow>) -> Waiting {
    let step = version.zip(standing.position.as_ref()).and_then(|(version, position)| version.step(position));
    let awaited = version.zip(standing.position.as_ref().filter(|_| standing.is_waiting));
    let awaited = awaited.and_then(|(version, position)| version.latest_batch_at(position));
    Waiting {
        is_unknown: step.is_none() && standing.position.is_some(),
        step: step.map(|step| step.reference.clone()),
        step_type: step.map(|step| step.type_name().to_owned()),
        version_id: standing.version_id,
        runs: standing.runs,
        follow: awaited.zip(new).is_some_and(|(step, new)| new.latest_batch(step).is_some()),
    }
}

/// Versions that runs follow, out of the store.
struct Versions<'a> {
    store: &'a Store,
    channels: &'a [Channel],
    read: HashMap<Uuid, Option<Workflow>>,
}

impl Versions<'_> {
    /// The version; none if it is not there, or this program cannot run it.
    async fn get(&mut self, id: Uuid) -> Result<Option<&Workflow>, StartError> {
        if !self.read.contains_key(&id) {
            let stored: Option<(String, Value)> = self.store.workflow_version(id).await?;
            let parsed = stored.and_then(|(key, document)| Workflow::parse(&key, &document, self.channels).ok());
            self.read.insert(id, parsed);
        }
        Ok(self.read.get(&id).and_then(Option::as_ref))
    }
}
