//! Forget: whatever others were told of somebody who was deleted shows one who is missing from then on (F-USR-13), or whom
//! they have become (F-USR-15).

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::model::feed::Bounds;
use crate::model::message::with_actor;
use crate::model::recipient::{RecipientRef, User, missing};
use crate::model::time::Time;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::chunks::{Acts, End, Lane};
use crate::store::jobs::{Job, Line};
use crate::store::messages::MessageFilter;
use crate::store::{self, Env};

use super::bulk::CHUNKS_PER_CLAIM;
use super::change::{FEEDS, FeedName, by_feed};
use super::{Change, Core};

/// The kind of job that makes others forget.
pub const JOB: &str = "forget";
/// The kind of job that shows others whom somebody has become, and makes them forget the rest. (Versions that know of
/// nobody who becomes another leave it alone.)
pub const BECOME_JOB: &str = "become";

/// Activities that are another's from one transaction on.
const ACTIVITIES: usize = 500;
/// Seconds after which it is looked again whether somebody has become whom they are to become first.
const LOOK_SECONDS: i64 = 1;

/// How far it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    env: Env,
    /// The key of who is forgotten.
    user: String,
    /// When they were deleted, in microseconds.
    asked_at: i64,
    /// The newest message there was then: in later ones another of that name may act, who is not meant.
    end: End,
    /// The message that has been reached.
    after: i64,
    /// Whether it is among messages that show others as well: they come second.
    #[serde(default)]
    is_shared: bool,
    /// Whom they have become, until all that is to show that one does: what shows nobody comes last.
    #[serde(default)]
    heir: Option<Heir>,
}

/// A user who acts in what another has done of late.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Heir {
    /// Their id.
    pub user: String,
    /// What is older, in microseconds, is not theirs.
    pub since: i64,
}

/// A claimed job of forgetting, under way.
#[derive(Debug)]
pub struct Work {
    job: Job,
    progress: Progress,
}

/// Who is shown instead of whoever is forgotten.
struct Shown {
    record: Value,
    /// Their key, and from when on they are; none for one who is missing.
    heir: Option<(String, Time)>,
}

impl Change {
    /// Adds that a recipient is deleted with everything that is theirs, and the job that makes others forget them.
    pub(crate) fn delete(&mut self, core: &Core, env: Env, reference: &RecipientRef, now: Time) {
        self.leave(core, env, reference, None, now);
    }

    /// Adds that a recipient is deleted, whom others may know as another from now on.
    pub(super) fn leave(&mut self, core: &Core, env: Env, reference: &RecipientRef, heir: Option<&Heir>, now: Time) {
        self.batch.delete_recipient(env, reference);
        let key = reference.key();
        let known = json!({"env": env, "user": key, "asked_at": now.micros(), "after": 0, "heir": heir});
        // The job's subject is logged, and a user's id may be an address: it stands in the progress, which is not.
        let (kind, subject) = match heir {
            Some(heir) => (BECOME_JOB, coming(core, env, &heir.user)),
            None => (JOB, Uuid::new_v4().to_string()),
        };
        self.batch.add_job_for_actor((kind, &subject), &known, (env, &key), &coming(core, env, &key), now);
        self.wake(Line::Own, now);
    }
}

/// What jobs by which others become a recipient, given by key, have in common: their subject.
fn coming(core: &Core, env: Env, key: &str) -> String {
    let environment = core.catalog.environment(env).map_or(Uuid::nil(), |environment| environment.id);
    Uuid::new_v5(&environment, key.as_bytes()).to_string()
}

impl Core {
    /// Does a claimed job of forgetting from where it stands to its end.
    pub async fn work_on_forgetting(&self, job: &Job) -> Result<(), Failure> {
        let mut work = Work::take_up(job)?;
        // Whoever is to become this one becomes it before it is forgotten.
        let (env, user) = (work.progress.env, &work.progress.user);
        if self.store.is_behind(job, &coming(self, env, user)).await? {
            return self.put_off(job, self.clock.now().plus_seconds(LOOK_SECONDS)).await;
        }
        for _ in 0..CHUNKS_PER_CLAIM {
            if !work.goes_on(self).await? {
                return Ok(());
            }
        }
        self.hand_on(job).await
    }
}

impl Work {
    /// Reads what a claimed job is about.
    pub fn take_up(job: &Job) -> Result<Work, Failure> {
        let progress = job.progress.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let progress =
            progress.ok_or_else(|| Failure(format!("job {} does not say who is to be forgotten", job.id)))?;
        Ok(Work { job: job.clone(), progress })
    }

    /// Does one chunk, in one transaction: the messages, how far the job is, and that the claim holds on. Whether there is
    /// more to do; for whoever has lost the claim there is not.
    pub async fn goes_on(&mut self, core: &Core) -> Result<bool, Failure> {
        let now = core.clock.now();
        let mut shown = Change::new();
        let next = self.show_next(core, &mut shown, now).await?;
        let mut change = Change::new();
        match &next {
            Some(next) => {
                let progress = serde_json::to_value(next).unwrap_or_default();
                change.batch.advance_job(&self.job, &progress, now.plus_seconds(LEASE_SECONDS));
            }
            None => change.batch.finish_job(&self.job),
        }
        change.append(shown);
        match core.commit(change).await {
            Ok(_) => {
                let is_more = next.is_some();
                next.into_iter().for_each(|next| self.progress = next);
                Ok(is_more)
            }
            // Somebody else has taken the job over; or what it is about changes right now, and it is due again soon.
            Err(store::Error::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes what comes next; how far the job is then, if that is not the end.
    async fn show_next(&self, core: &Core, change: &mut Change, now: Time) -> Result<Option<Progress>, Failure> {
        let instead = self.instead(core).await?;
        let mut next = self.progress.clone();
        if !next.is_shared {
            if let Some(after) = self.show(core, &instead, next.after, change, now).await? {
                next.after = after;
                return Ok(Some(next));
            }
            (next.is_shared, next.after) = (true, 0);
        }
        if let Some(after) = self.show_among_others(core, &instead, next.after, change, now).await? {
            next.after = after;
            return Ok(Some(next));
        }
        let Some((heir, since)) = &instead.heir else { return Ok(None) };
        let acts = Acts { env: next.env, actor: &next.user, other: None, since: *since };
        let brought = core.store.brought(acts, ACTIVITIES).await?;
        change.batch.hand_over_activities(&brought, heir);
        if brought.len() == ACTIVITIES {
            next.after = next.end.n;
        } else {
            (next.is_shared, next.after, next.heir) = (false, 0, None);
        }
        Ok(Some(next))
    }

    /// Who is shown now.
    async fn instead(&self, core: &Core) -> Result<Shown, store::Error> {
        let Progress { env, user, asked_at, heir, .. } = &self.progress;
        let Some(heir) = heir else {
            let record = missing(&RecipientRef::from_key(user), Time::from_micros(*asked_at));
            return Ok(Shown { record, heir: None });
        };
        // One who is gone as well has a job of their own behind this one, which finds them by their id.
        let gone = || User {
            id: heir.user.clone(),
            properties: Default::default(),
            inserted_at: Time::from_micros(*asked_at),
            updated_at: Time::from_micros(*asked_at),
        };
        let record = core.store.user(*env, &heir.user).await?.unwrap_or_else(gone).to_json();
        Ok(Shown { record, heir: Some((heir.user.clone(), Time::from_micros(heir.since))) })
    }

    /// Changes the next messages in which nobody else acts; the last of them, if there are more.
    async fn show(
        &self,
        core: &Core,
        instead: &Shown,
        after: i64,
        change: &mut Change,
        now: Time,
    ) -> Result<Option<i64>, Failure> {
        let Progress { env, ref user, end, .. } = self.progress;
        let actors = Value::Array(vec![instead.record.clone()]).to_string();
        let since = instead.heir.as_ref().map(|(_, since)| *since);
        let filter =
            MessageFilter { inserted_at: Bounds { gte: since, ..Bounds::default() }, ..MessageFilter::default() };
        let found = core.store.chunk(Lane::Acted(env, user), &filter, after, end, FEEDS).await?;
        for (feed, ids) in by_feed(env, &found) {
            show(change, env, feed, &ids, &actors, now);
            if let Some((heir, _)) = &instead.heir {
                change.batch.hand_over_actor(&ids, user, heir);
            }
        }
        Ok(found.last().filter(|_| found.len() == FEEDS).map(|last| last.place))
    }

    /// Changes the next messages in which others act as well, each by itself.
    async fn show_among_others(
        &self,
        core: &Core,
        instead: &Shown,
        after: i64,
        change: &mut Change,
        now: Time,
    ) -> Result<Option<i64>, Failure> {
        let Progress { env, ref user, end, .. } = self.progress;
        let (heir, since) =
            instead.heir.as_ref().map_or((None, Time::default()), |(heir, at)| (Some(heir.as_str()), *at));
        let acts = Acts { env, actor: user, other: heir, since };
        let all = core.store.shared_chunk(acts, after, end, FEEDS).await?;
        let whom = RecipientRef::from_key(user);
        for shared in &all {
            let shown = with_actor(&shared.actors, shared.activities.as_deref(), &whom, &instead.record);
            let Some((actors, activities)) = shown else { continue };
            // Another who is forgotten may stand there, too: what was read must be what is changed.
            change.batch.require_message(&shared.found.id, shared.found.version);
            for (feed, ids) in by_feed(env, std::slice::from_ref(&shared.found)) {
                show(change, env, feed, &ids, &actors, now);
                if let Some(heir) = heir {
                    change.batch.hand_over_actor(&ids, user, heir);
                    let total = shared.total_actors - i64::from(shared.has_other);
                    change.batch.show_activities(&shared.found.id, activities.as_deref(), total);
                }
            }
        }
        Ok(all.last().filter(|_| all.len() == FEEDS).map(|last| last.found.place))
    }
}

fn show(change: &mut Change, env: Env, feed: Option<FeedName>, ids: &[String], actors: &str, now: Time) {
    match feed {
        Some(feed) => change.show_actors(&feed, ids, actors, now),
        None => change.batch.show_actors_alone(env, ids, actors, now),
    }
}
