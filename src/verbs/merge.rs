//! Merge: two users turn out to be one. What is the one's becomes the other's, and the one is gone (F-USR-14, F-USR-15).

use serde_json::{Map, Value};

use super::forget::Heir;
use super::identify::{Profile, nobody};
use super::schedule;
use super::staged::{Stage, Staged};
use super::turns::Turn;
use super::{Change, Core, Error, OVERTAKEN};
use crate::model::invalid::Invalid;
use crate::model::recipient::{RecipientRef, User};
use crate::store::merge::Merger;
use crate::store::{self, Env};
use crate::wire::json::deep_merge_maps;

/// Days back to which messages and activities are kept.
const KEPT_DAYS: i64 = 30;
const DAY_SECONDS: i64 = 86_400;

/// The user who is gone, and who stays.
struct Merge<'a> {
    from: &'a str,
    into: &'a str,
}

impl Stage for Merge<'_> {
    async fn stage(&self, staged: &mut Staged<'_>) -> Result<(), Error> {
        let into = RecipientRef::User(self.into.to_owned());
        let own = properties(staged, self.into).await?;
        let mut merged = properties(staged, self.from).await?;
        deep_merge_maps(&mut merged, own);
        staged.merge(&into, &Profile { properties: merged, ..Profile::default() }, true, "from_user_id").await
    }
}

/// What is said of a user who must be there.
async fn properties(staged: &mut Staged<'_>, id: &str) -> Result<Map<String, Value>, Error> {
    let user = staged.user(id).await?;
    user.map(|user| user.properties.clone()).ok_or_else(|| nobody(&RecipientRef::User(id.to_owned())))
}

impl Core {
    /// Makes user `from` one with user `into`, who is answered as they are then. Others who were told of `from` are told
    /// of `into` in the background.
    pub async fn merge_users(&self, env: Env, into: &str, from: &str) -> Result<User, Error> {
        if into == from {
            return Err(Invalid::new("from_user_id", "a user cannot be merged into themselves: name another").into());
        }
        for _ in 0..OVERTAKEN {
            let mut change = Change::new();
            let (user, _turn) = self.merge(env, &Merge { from, into }, &mut change).await?;
            match self.commit(change).await {
                Ok(_) => {
                    for id in [into, from] {
                        self.tell_of_feeds(env, &RecipientRef::User(id.to_owned())).await?;
                    }
                    return Ok(user);
                }
                Err(store::Error::Refused(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Error::Store(store::Error::Refused(0)))
    }

    /// Adds the merger. Gives back the user who stays, and the turn to change both, to be held until the commit.
    async fn merge(&self, env: Env, merge: &Merge<'_>, change: &mut Change) -> Result<(User, Turn<'_>), Error> {
        let &Merge { from, into } = merge;
        let whom = |id: &str| RecipientRef::User(id.to_owned());
        let keys = [from, into].map(str::to_owned);
        let (mut staged, turn) = self.staged(env, keys, merge).await?;
        let (user, other) = (staged.user(into).await?.cloned(), staged.user(from).await?.cloned());
        let (Some(user), Some(other)) = (user, other) else { return Err(nobody(&whom(into))) };
        let zone = staged.zone(&whom(into)).await?;
        let now = self.clock.now();
        let merger = Merger { env, from, into, since: now.plus_seconds(-KEPT_DAYS * DAY_SECONDS), now };
        let planned = self.store.planned_schedules(env, &[from.to_owned()]).await?;
        change.batch.take_users(env, from, into);
        change.batch.require_as_it_was(env, &whom(from), Some(other.updated_at));
        staged.write(change).await?;
        change.batch.require_planned(env, &[from.to_owned()], planned.len());
        change.batch.hand_over(&merger);
        for mut schedule in planned {
            // As the handing over leaves it: planned where whoever is gone was.
            schedule.rev += 1;
            schedule.recipient = whom(into);
            if schedule.actor == Some(whom(from)) {
                schedule.rev += 1;
                schedule.actor = Some(whom(into));
            }
            schedule::move_to(change, schedule, &zone, now);
        }
        let heir = Heir { user: into.to_owned(), since: merger.since.micros() };
        change.leave(self, env, &whom(from), Some(&heir), now);
        Ok((user, turn))
    }
}
