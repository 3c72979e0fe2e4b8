//! Forget: whatever others were told of a deleted user shows a missing user from then on (F-USR-13).

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::model::recipient::missing_user;
use crate::model::time::Time;
use crate::queue::{Failure, LEASE_SECONDS};
use crate::store::chunks::{End, Lane};
use crate::store::jobs::{Job, Line};
use crate::store::messages::MessageFilter;
use crate::store::{self, Env};

use super::bulk::CHUNKS_PER_CLAIM;
use super::change::{FEEDS, by_feed};
use super::{Change, Core};

/// The kind of job that makes others forget.
pub const JOB: &str = "forget";

/// How far it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Progress {
    env: Env,
    /// Who is forgotten.
    user: String,
    /// When the user was deleted, in microseconds.
    asked_at: i64,
    /// The newest message there was then: in later ones a new user of that id may act, who is not meant.
    end: End,
    /// The message that has been reached.
    after: i64,
}

/// A claimed job of forgetting, under way.
#[derive(Debug)]
pub struct Work {
    job: Job,
    progress: Progress,
}

impl Change {
    /// Adds the job that makes others forget `user`, who is deleted in the same change.
    pub(crate) fn forget(&mut self, env: Env, user: &str, now: Time) {
        // The job's subject is logged, and a user's id may be an address: it stands in the progress, which is not.
        self.batch.add_job_for_actor(JOB, &Uuid::new_v4().to_string(), env, user, now);
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
        let Progress { env, ref user, asked_at, end, after } = self.progress;
        let lane = Lane::Acted(env, user);
        let actors = Value::Array(vec![missing_user(user, Time::from_micros(asked_at))]).to_string();
        let found = core.store.chunk(lane, &MessageFilter::default(), after, end, FEEDS).await?;
        let next = found.last().filter(|_| found.len() == FEEDS);
        let mut change = Change::new();
        match next {
            Some(last) => {
                self.progress.after = last.place;
                let progress = serde_json::to_value(&self.progress).unwrap_or_default();
                change.batch.advance_job(&self.job, &progress, now.plus_seconds(LEASE_SECONDS));
            }
            None => change.batch.finish_job(&self.job),
        }
        for (feed, ids) in by_feed(env, &found) {
            match feed {
                Some(feed) => change.show_actors(&feed, &ids, &actors, now),
                None => change.batch.show_actors_alone(env, &ids, &actors, now),
            }
        }
        match core.commit(change).await {
            Ok(_) => Ok(next.is_some()),
            // Somebody else has taken the job over.
            Err(store::Error::Refused(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
