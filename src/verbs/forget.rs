//! Forget: whatever others were told of somebody who was deleted shows one who is missing from then on (F-USR-13).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::recipient::{RecipientRef, missing};
use crate::model::time::Time;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::chunks::{End, Lane};
use crate::store::jobs::{Job, Line};
use crate::store::messages::MessageFilter;
use crate::store::{self, Env};

use super::bulk::CHUNKS_PER_CLAIM;
use super::change::{FEEDS, FeedName, by_feed};
use super::{Change, Core};

/// The kind of job that makes others forget.
pub const JOB: &str = "forget";

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
}

/// A claimed job of forgetting, under way.
#[derive(Debug)]
pub struct Work {
    job: Job,
    progress: Progress,
}

impl Change {
    /// Adds that a recipient is deleted with everything that is theirs, and the job that makes others forget them.
    pub(crate) fn delete(&mut self, env: Env, reference: &RecipientRef, now: Time) {
        self.batch.delete_recipient(env, reference);
        // The job's subject is logged, and a user's id may be an address: it stands in the progress, which is not.
        self.batch.add_job_for_actor(JOB, &Uuid::new_v4().to_string(), env, &reference.key(), now);
        self.wake(Line::Own, now);
    }
}

impl Core {
    /// Does a claimed job of forgetting from where it stands to its end.
    pub async fn work_on_forgetting(&self, job: &Job) -> Result<(), Failure> {
        let mut work = Work::take_up(job)?;
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
        let mut next = None;
        if !self.progress.is_shared {
            next = self.show_missing(core, &mut shown, now).await?;
            if next.is_none() {
                (self.progress.is_shared, self.progress.after) = (true, 0);
            }
        }
        if self.progress.is_shared {
            next = self.show_missing_among_others(core, &mut shown, now).await?;
        }
        let mut change = Change::new();
        match next {
            Some(place) => {
                self.progress.after = place;
                let progress = serde_json::to_value(&self.progress).unwrap_or_default();
                change.batch.advance_job(&self.job, &progress, now.plus_seconds(LEASE_SECONDS));
            }
            None => change.batch.finish_job(&self.job),
        }
        change.append(shown);
        match core.commit(change).await {
            Ok(_) => Ok(next.is_some()),
            // Somebody else has taken the job over; or what it is about changes right now, and it is due again soon.
            Err(store::Error::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Changes the next messages in which nobody else acts; the last of them, if there are more.
    async fn show_missing(&self, core: &Core, change: &mut Change, now: Time) -> Result<Option<i64>, Failure> {
        let Progress { env, ref user, end, after, .. } = self.progress;
        let actors = Value::Array(vec![self.missing()]).to_string();
        let found = core.store.chunk(Lane::Acted(env, user), &MessageFilter::default(), after, end, FEEDS).await?;
        for (feed, ids) in by_feed(env, &found) {
            show(change, env, feed, &ids, &actors, now);
        }
        Ok(found.last().filter(|_| found.len() == FEEDS).map(|last| last.place))
    }

    /// Changes the next messages in which others act as well, each by itself.
    async fn show_missing_among_others(
        &self,
        core: &Core,
        change: &mut Change,
        now: Time,
    ) -> Result<Option<i64>, Failure> {
        let Progress { env, ref user, end, after, .. } = self.progress;
        let all = core.store.shared_chunk(env, user, after, end, FEEDS).await?;
        for shared in &all {
            let mut actors: Vec<Value> = serde_json::from_str(&shared.actors).unwrap_or_default();
            let whom = RecipientRef::from_key(user);
            let Some(actor) = actors.iter_mut().find(|actor| is_record_of(actor, &whom)) else { continue };
            *actor = self.missing();
            // Another who is forgotten may stand there, too: what was read must be what is changed.
            change.batch.require_message(&shared.found.id, shared.found.version);
            for (feed, ids) in by_feed(env, std::slice::from_ref(&shared.found)) {
                show(change, env, feed, &ids, &Value::Array(actors.clone()).to_string(), now);
            }
        }
        Ok(all.last().filter(|_| all.len() == FEEDS).map(|last| last.found.place))
    }

    fn missing(&self) -> Value {
        missing(&RecipientRef::from_key(&self.progress.user), Time::from_micros(self.progress.asked_at))
    }
}

fn is_record_of(actor: &Value, whom: &RecipientRef) -> bool {
    match whom {
        RecipientRef::User(id) => actor["__typename"] == "User" && actor["id"] == id.as_str(),
        RecipientRef::Object { collection, id } => {
            actor["__typename"] == "Object" && actor["collection"] == collection.as_str() && actor["id"] == id.as_str()
        }
    }
}

fn show(change: &mut Change, env: Env, feed: Option<FeedName>, ids: &[String], actors: &str, now: Time) {
    match feed {
        Some(feed) => change.show_actors(&feed, ids, actors, now),
        None => change.batch.show_actors_alone(env, ids, actors, now),
    }
}
