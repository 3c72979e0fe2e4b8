//! Fan-out: starts the runs of those who follow an object that was triggered, however many there are.
//!
//! In parts, one transaction each: the runs with all that comes of them, how far the fan-out is, and that the claim holds
//! on. A node may die in between: what was committed is there, and the next goes on behind it. Who has been reached
//! before is known by the run's id, which the workflow run and the recipient make up; no list of them is kept.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::Map;
use tracing::{info, warn};

use super::scene::{Common, Scene};
use super::start::{add, tell};
use super::work::AT_A_STRETCH;
use crate::model::recipient::RecipientRef;
use crate::model::run::{EventStatus, Run};
use crate::model::subscription::Followed;
use crate::model::trigger_data::TriggerData;
use crate::model::workflow::Workflow;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::fan_outs::FanOut;
use crate::store::jobs::Job;
use crate::store::subscriptions::{Among, Follower};
use crate::store::{self, Batch};
use crate::verbs::fan_out::{FanOutOrder, Progress};
use crate::verbs::staged::Staged;
use crate::verbs::{Change, Core, OVERTAKEN, bulk};

/// Runs started in one transaction at most: others wait some ten milliseconds for the writer.
const CHUNK: usize = 256;
/// What the data of the runs of one transaction may take together, in bytes.
const CHUNK_BYTES: usize = 8 << 20;
/// Objects whose followers are looked for in one go.
const LANES: usize = 64;

/// The place of the claim in a part's batch: the first.
const CLAIM: usize = 0;

/// Does a claimed fan-out from where it stands on.
pub(super) async fn work(core: &Core, job: &Job) -> Result<(), Failure> {
    let Some(mut work) = Work::take_up(core, job).await? else { return Ok(()) };
    while work.parts > 0 {
        if !work.goes_on(core).await? {
            return Ok(());
        }
    }
    core.hand_on(job).await
}

/// Ends a fan-out that has failed too often; the queue tells the operator.
pub(super) fn abandon(job: &Job, batch: &mut Batch) {
    batch.end_fan_out(&job.subject);
}

/// A claimed fan-out, under way.
#[derive(Debug)]
pub struct Work {
    job: Job,
    order: FanOutOrder,
    data: Vec<Arc<TriggerData>>,
    progress: Progress,
    /// How many parts this claim still does.
    parts: usize,
    /// The part behind it, if it has been thought through.
    next: Option<Part>,
}

/// A part that is thought through.
#[derive(Debug)]
struct Part {
    change: Change,
    /// How far the fan-out is with it, and how it stands then.
    progress: Progress,
    after: FanOut,
    /// Whom it reaches, by key.
    reached: HashSet<String>,
    is_last: bool,
}

/// Who is next, and how far the fan-out is then.
struct Chunk {
    followers: Vec<Reached>,
    progress: Progress,
    is_last: bool,
}

/// A follower, and by which object they were reached.
struct Reached {
    follower: Follower,
    object: String,
    data: usize,
}

impl Work {
    /// Reads what a claimed job is about; none where nothing is left of it.
    pub async fn take_up(core: &Core, job: &Job) -> Result<Option<Work>, Failure> {
        let unreadable = |error: String| Failure(format!("fan-out `{}` cannot be read: {error}", job.subject));
        let Some(order) = core.store.fan_out_order(&job.subject).await? else {
            let mut batch = Batch::new();
            batch.finish_job(job);
            return match core.store.apply(batch).await {
                Ok(_) | Err(store::Error::Refused(_)) => Ok(None),
                Err(error) => Err(error.into()),
            };
        };
        let mut order: FanOutOrder = serde_json::from_str(&order).map_err(|error| unreadable(error.to_string()))?;
        let progress = job.progress.as_deref().unwrap_or_default();
        let progress = serde_json::from_str(progress).map_err(|error| unreadable(error.to_string()))?;
        let data = std::mem::take(&mut order.data).into_iter().map(|data| Arc::new(TriggerData::new(data))).collect();
        Ok(Some(Work { job: job.clone(), order, data, progress, parts: bulk::CHUNKS_PER_CLAIM, next: None }))
    }

    /// The work of so many parts: whoever claims the job next does the others.
    pub fn only(self, parts: usize) -> Work {
        Work { parts, ..self }
    }

    /// Whether the next part has been thought through already.
    pub fn is_ahead(&self) -> bool {
        self.next.is_some()
    }

    /// Does one part. Whether there is more to do; for whoever has lost the claim there is not.
    pub async fn goes_on(&mut self, core: &Core) -> Result<bool, Failure> {
        for _ in 0..OVERTAKEN {
            let part = match self.next.take() {
                Some(part) => part,
                None => {
                    // Read before anything else: what is cancelled from here on refuses the part.
                    let state = core.store.fan_out(&self.job.subject).await?;
                    let Some(state) = state.filter(|state| !state.is_cancelled) else {
                        return self.end_cancelled(core).await;
                    };
                    self.part(core, &self.progress, &state, &HashSet::new()).await?
                }
            };
            let Part { change, progress, after, reached, is_last } = part;
            // While one part is written, the next is thought through as if it were written already, if this claim does it;
            // whatever comes in between refuses both.
            let next = async {
                match is_last || self.parts <= 1 {
                    true => Ok(None),
                    false => self.part(core, &progress, &after, &reached).await.map(Some),
                }
            };
            let (written, next) = tokio::join!(core.commit(change), next);
            match written {
                Ok(_) => {
                    self.progress = progress;
                    self.parts = self.parts.saturating_sub(1);
                    self.next = next?;
                    return Ok(!is_last);
                }
                Err(store::Error::Refused(CLAIM)) => return Ok(false),
                // Something was cancelled, or somebody has gone or follows no more: look again.
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure("other changes of the recipients kept coming in between".to_owned()))
    }

    /// Thinks a part through: what comes behind `progress`, where the fan-out stands so. `reached` are those whom the part
    /// before reaches, of whom the database may not know yet.
    async fn part(
        &self,
        core: &Core,
        progress: &Progress,
        state: &FanOut,
        reached: &HashSet<String>,
    ) -> Result<Part, Failure> {
        let chunk = self.look(core, progress).await?;
        let new = self.not_reached_yet(core, &chunk.followers, reached).await?;
        let after = FanOut { rev: state.rev + 1, ..state.clone() };
        let reached = new.iter().map(|reached| reached.follower.key.clone()).collect();
        let change = self.change(core, &chunk, new, state).await?;
        Ok(Part { change, progress: chunk.progress, after, reached, is_last: chunk.is_last })
    }

    async fn end_cancelled(&self, core: &Core) -> Result<bool, Failure> {
        let mut batch = Batch::new();
        batch.finish_job(&self.job);
        batch.end_fan_out(&self.job.subject);
        match core.store.apply(batch).await {
            Ok(_) => {
                let (workflow, run) = (&self.order.workflow, self.order.workflow_run);
                info!(workflow.key = %workflow, workflow_run.id = %run, "a fan-out was cancelled before it had reached everybody");
                Ok(false)
            }
            Err(store::Error::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Looks for who is next: followers of the objects in the order in which they were named, those of each before those
    /// of the objects that follow it (W-FAN-05, W-FAN-10, W-AMB-09).
    async fn look(&self, core: &Core, from: &Progress) -> Result<Chunk, store::Error> {
        let mut chunk = Chunk { followers: Vec::new(), progress: from.clone(), is_last: false };
        let mut lanes = 0;
        while let Some(parent) = self.order.parents.get(chunk.progress.parent) {
            let room = self.room(parent.data).saturating_sub(chunk.followers.len());
            if room == 0 || lanes == LANES {
                return Ok(chunk);
            }
            lanes += 1;
            let progress = &mut chunk.progress;
            let object = progress.child.as_ref().map_or(&parent.object, |(_, key)| key).clone();
            let reach = (progress.after, progress.end);
            let found = core.store.followers(self.order.env, &object, Among::All, reach, room).await?;
            match found.last().filter(|_| found.len() == room) {
                Some(last) => progress.after = last.n,
                None => {
                    // Nobody is left here: on to the next object that follows the one which was named.
                    let reach = (progress.child.as_ref().map_or(0, |(n, _)| *n), progress.end);
                    let next = core.store.followers(self.order.env, &parent.object, Among::Objects, reach, 1).await?;
                    progress.child = next.into_iter().next().map(|child| (child.n, child.key));
                    progress.parent += usize::from(progress.child.is_none());
                    progress.after = 0;
                }
            }
            let data = parent.data;
            chunk.followers.extend(found.into_iter().map(|follower| Reached {
                follower,
                object: object.clone(),
                data,
            }));
        }
        chunk.is_last = true;
        Ok(chunk)
    }

    /// How many runs with this data one transaction has room for.
    fn room(&self, data: usize) -> usize {
        let bytes = self.data.get(data).map_or(0, |data| data.text().len());
        (CHUNK_BYTES / bytes.max(1)).clamp(1, CHUNK)
    }

    /// Everything that a part does.
    async fn change(&self, core: &Core, chunk: &Chunk, new: Vec<&Reached>, state: &FanOut) -> Result<Change, Failure> {
        let mut change = Change::new();
        let until = core.clock.now().plus_seconds(LEASE_SECONDS);
        match chunk.is_last {
            true => change.batch.finish_job(&self.job),
            false => change.batch.advance_job(&self.job, &chunk.progress.to_json(), until),
        }
        change.batch.advance_fan_out(state, new.len());
        if chunk.is_last {
            change.batch.end_fan_out(&self.job.subject);
        }
        let places: Vec<i64> = new.iter().map(|reached| reached.follower.n).collect();
        if !places.is_empty() {
            // Whoever takes a subscription back is not told any more.
            change.batch.require_subscriptions(&places);
            self.start(core, new, &mut change).await?;
        }
        Ok(change)
    }

    /// Those who have not been reached before, each once; never the actor (W-FAN-07), nor whose run was cancelled before
    /// it began (W-CAN-04).
    async fn not_reached_yet<'c>(
        &self,
        core: &Core,
        found: &'c [Reached],
        reached: &HashSet<String>,
    ) -> Result<Vec<&'c Reached>, store::Error> {
        let mut seen: HashSet<&str> = reached.iter().map(String::as_str).chain(self.order.actor.as_deref()).collect();
        let new: Vec<&Reached> = found.iter().filter(|reached| seen.insert(&reached.follower.key)).collect();
        let ids: Vec<String> = new.iter().map(|reached| self.order.run_id(&reached.follower.key).to_string()).collect();
        let keys: Vec<&str> = new.iter().map(|reached| reached.follower.key.as_str()).collect();
        let known: HashSet<String> = core.store.runs_that_are(&ids).await?.into_iter().collect();
        let cancelled: HashSet<String> =
            core.store.cancelled_in_fan_out(&self.job.subject, &keys).await?.into_iter().collect();
        let is_new =
            |(reached, id): &(&Reached, String)| !known.contains(id) && !cancelled.contains(&reached.follower.key);
        Ok(new.into_iter().zip(ids).filter(is_new).map(|(reached, _)| reached).collect())
    }

    /// Takes the runs of these followers to their first pause or their end.
    async fn start(&self, core: &Core, reached: Vec<&Reached>, change: &mut Change) -> Result<(), Failure> {
        let order = &self.order;
        let now = core.clock.now();
        let runs = reached.into_iter().filter_map(|reached| {
            let Reached { follower, object, data } = reached;
            let followed = Followed { object: object.clone(), properties: follower.properties.clone() };
            Some(order.run(RecipientRef::from_key(&follower.key), followed, self.data.get(*data)?, now))
        });
        let mut runs: Vec<Run> = runs.collect();
        let Some(workflow) = self.workflow(core).await? else {
            // W-ENV-11: nothing of the workflow is needed to end a run of it.
            for run in &mut runs {
                run.halt(now, EventStatus::Ok, "workflow_archived", None);
                change.batch.add_run(run);
                tell(change, run, true, &[], now);
            }
            return Ok(());
        };
        let environment = core.catalog.environment(order.env);
        let environment =
            environment.ok_or_else(|| Failure("the fan-out's environment is not configured any more".to_owned()))?;
        let mut staged = Staged::new(core, order.env);
        let users: Vec<&str> = runs.iter().filter_map(|run| run.recipient.user_id()).collect();
        staged.preload(&users).await?;
        let actor = order.actor.as_deref().map(RecipientRef::from_key);
        let common = Common {
            actor: actor.as_ref(),
            tenant: order.tenant.as_deref(),
            cancellation_key: order.cancellation_key.as_deref(),
        };
        let scene = Scene::set(core, environment, &workflow, common, &mut staged).await?;
        let mut all = Vec::with_capacity(runs.len());
        for run in runs {
            let input = scene.input(&run, &mut staged, Map::new()).await?;
            all.push((run, input));
        }
        let mut outcomes = Vec::with_capacity(all.len());
        for some in all.chunks(AT_A_STRETCH) {
            outcomes.extend(scene.facts.advance(some, &mut staged).await?);
            tokio::task::yield_now().await;
        }
        staged.write(change).await?;
        for outcome in outcomes {
            change.batch.add_run(&outcome.run);
            add(change, outcome, scene.now);
        }
        Ok(())
    }

    /// The version that the trigger meant; none where the workflow has been archived.
    async fn workflow(&self, core: &Core) -> Result<Option<Arc<Workflow>>, Failure> {
        if core.catalog.find(&core.store, self.order.env, &self.order.workflow).await?.is_none() {
            warn!(workflow.key = %self.order.workflow, workflow_run.id = %self.order.workflow_run,
                "the workflow of a fan-out has been archived: the runs that are left end as they begin");
            return Ok(None);
        }
        let found = core.catalog.version(&core.store, self.order.version_id).await?;
        found.map(Some).ok_or_else(|| Failure("the fan-out's workflow version is not in the store".to_owned()))
    }
}
