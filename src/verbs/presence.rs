//! Presence: who has a bell open, and who had one when. Nodes note who comes and who goes, and write it down now and then.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bus::Bus;
use crate::model::presence::Seen;
use crate::model::time::Time;
use crate::store::{self, Batch, Env, Store};

use super::Core;

/// Users whose coming or going may wait to be written; further ones go unnoted until the database takes them again.
const MOST: usize = 100_000;
/// Users that are written in one transaction.
const CHUNK: usize = 500;

/// Who came or went since it was written down last, and when.
#[derive(Default)]
pub struct Sightings {
    noted: Mutex<BTreeMap<(Env, Arc<str>), Time>>,
}

impl Sightings {
    /// Notes that a user has a socket, or had one until now.
    pub fn note(&self, env: Env, user: &Arc<str>, at: Time) {
        let (mut noted, one) = (self.noted(), (env, Arc::clone(user)));
        if noted.len() < MOST || noted.contains_key(&one) {
            noted.insert(one, at);
        }
    }

    fn noted(&self) -> MutexGuard<'_, BTreeMap<(Env, Arc<str>), Time>> {
        self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Core {
    /// Writes down who was seen. What could not be written is noted still.
    pub async fn write_sightings(&self) -> Result<(), store::Error> {
        let noted: Vec<_> = std::mem::take(&mut *self.sightings.noted()).into_iter().collect();
        for (at, chunk) in noted.chunks(CHUNK).enumerate() {
            let mut batch = Batch::new();
            // In one order, so that no two nodes wait for each other.
            batch.note_seen(&chunk.iter().map(|((env, user), at)| (*env, &**user, *at)).collect::<Vec<_>>());
            if let Err(error) = self.store.apply(batch).await {
                let mut since = self.sightings.noted();
                for (one, seen_at) in noted.into_iter().skip(at * CHUNK) {
                    if since.len() < MOST {
                        since.entry(one).or_insert(seen_at);
                    }
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

/// How each of these users is found at `now`, in their order.
pub async fn seen(bus: &Bus, store: &Store, env: Env, users: &[&str], now: Time) -> Result<Vec<Seen>, store::Error> {
    let online = bus.online(env, users).await.ok();
    let stored = store.last_seen(env, users).await?;
    let one = |(at, user): (usize, &&str)| {
        let presence = online.as_ref().and_then(|online| online.get(at));
        Seen::at(presence.map(|presence| presence.is_online()), stored.get(*user).copied(), now)
    };
    Ok(users.iter().enumerate().map(one).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_there_is_no_room_for_others_those_who_are_noted_are_noted_anew() {
        let sightings = Sightings::default();
        let (came, went) = (Time::from_micros(1), Time::from_micros(2));
        let user = |n: usize| Arc::<str>::from(n.to_string());
        (0..=MOST).for_each(|n| sightings.note(1, &user(n), came));
        sightings.note(1, &user(0), went);
        let noted = sightings.noted();
        assert_eq!((noted.len(), noted.get(&(1, user(MOST)))), (MOST, None));
        assert_eq!(noted[&(1, user(0))], went);
    }
}
