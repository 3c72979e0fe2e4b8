//! What has changed of late in a database that several nodes share: how a node finds what the bus has not told it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Store};
use crate::params;

/// Looks after which what has changed need not be known any more. All nodes look equally often, and one that was away for
/// longer looks at everything.
const KEPT: usize = 20;

/// Until where changes have been seen. Of two transactions the one that began first may end last: what a mark leaves
/// behind it has surely been seen, and what lies ahead may be seen once more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    tx: i64,
    /// What is known of changes is lost when the database crashes; from then on it has another life.
    life: String,
}

impl Seen {
    /// Whether everything that has changed between the two is still known.
    pub fn leads_to(&self, later: &Seen) -> bool {
        self.life == later.life && self.tx <= later.tx
    }
}

#[cfg(test)]
impl Seen {
    pub(crate) fn at(tx: i64, life: &str) -> Seen {
        Seen { tx, life: life.to_owned() }
    }

    pub(crate) fn tx(&self) -> i64 {
        self.tx
    }
}

/// How a node follows what changes, from one look to the next; and whether it has lost the way, so that everything has to
/// be looked at.
#[derive(Debug)]
pub struct Trail {
    /// Where the last looks began, oldest first.
    seen: VecDeque<Seen>,
    /// Something may have changed that cannot be found any more: after an outage the database may know nothing of it.
    is_lost: bool,
    /// When the last look began.
    woke_at: Option<Instant>,
}

impl Default for Trail {
    fn default() -> Self {
        Trail { seen: VecDeque::new(), is_lost: true, woke_at: None }
    }
}

impl Trail {
    /// A look begins; they are to be `every` apart. After a long sleep, be it in the middle of the look before, others may
    /// have forgotten what this node has not seen.
    pub fn wake(&mut self, now: Instant, every: Duration) {
        let before = self.woke_at.replace(now);
        self.is_lost |= before.is_some_and(|before| now - before > every * (KEPT / 2) as u32);
    }

    /// From where changes have to be read, now that they stand at `now`; none when what was known of them is gone, or the
    /// database is another than it was.
    pub fn since(&mut self, now: &Seen) -> Option<&Seen> {
        if !self.seen.back().is_some_and(|before| before.leads_to(now)) {
            self.lose();
        }
        self.seen.back()
    }

    /// Everything up to `now` is seen. What lies before the result need not be known any more.
    pub fn reach(&mut self, now: Seen) -> Option<Seen> {
        self.seen.push_back(now);
        if self.seen.len() > KEPT { self.seen.pop_front() } else { None }
    }

    /// The changes could not be read. Whether this is the first time since they could.
    pub fn lose(&mut self) -> bool {
        self.seen.clear();
        !std::mem::replace(&mut self.is_lost, true)
    }

    /// Whether everything has to be looked at, which is then done.
    pub fn find_again(&mut self) -> bool {
        std::mem::take(&mut self.is_lost)
    }
}

/// A feed that has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangedFeed {
    pub env: Env,
    pub channel: String,
    /// The key of whose feed it is.
    pub recipient: String,
    /// Its version as it now is.
    pub version: i64,
}

impl Store {
    /// Where changes stand: everything that was committed before is behind it.
    pub async fn changes_now(&self) -> Result<Seen, Error> {
        // The number of a transaction has 64 bits, of which the first is never used.
        let ask =
            "SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint), life FROM changes_life";
        for _ in 0..2 {
            let now = self.query_one(ask, &[], |row| Ok(Seen { tx: row.int(0)?, life: row.string(1)? })).await?;
            if let Some(now) = now {
                return Ok(now);
            }
            let mut batch = Batch::new();
            batch.push(
                "INSERT INTO changes_life (one, life) VALUES (1, ?1) ON CONFLICT DO NOTHING",
                params![Uuid::new_v4()],
            );
            self.apply(batch).await?;
        }
        Err(Error::Damaged("the life of `changes` is not there after it was named".to_owned()))
    }

    /// The feeds that have changed since `seen`, each once.
    pub async fn changes_since(&self, seen: &Seen) -> Result<Vec<ChangedFeed>, Error> {
        let ask = "SELECT f.env, f.channel, f.recipient, f.version FROM feeds f \
                   WHERE f.id IN (SELECT feed FROM changes WHERE tx >= CAST(CAST(CAST(?1 AS bigint) AS text) AS xid8))";
        self.scan(ask, params![seen.tx], |row| {
            Ok(ChangedFeed {
                env: row.int(0)?,
                channel: row.string(1)?,
                recipient: row.string(2)?,
                version: row.int(3)?,
            })
        })
        .await
    }
}

impl Batch {
    /// Adds that changes behind `seen` need not be known any more.
    pub fn forget_changes(&mut self, seen: &Seen) {
        self.push("DELETE FROM changes WHERE tx < CAST(CAST(CAST(?1 AS bigint) AS text) AS xid8)", params![seen.tx]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(5);

    fn seen(tx: i64) -> Seen {
        Seen::at(tx, "one")
    }

    /// A look that begins when changes stand at `tx`, and finds them; whether everything has to be looked at.
    fn look(trail: &mut Trail, at: Instant, tx: i64) -> bool {
        trail.wake(at, EVERY);
        trail.since(&seen(tx));
        trail.reach(seen(tx));
        trail.find_again()
    }

    #[test]
    fn everything_is_looked_at_first_after_an_outage_and_in_another_life() {
        let (mut trail, start) = (Trail::default(), Instant::now());
        let at = |number: u32| start + EVERY * number;
        assert!(look(&mut trail, at(0), 3), "nothing is known yet");
        assert!(!look(&mut trail, at(1), 5));
        trail.wake(at(2), EVERY);
        assert_eq!(trail.since(&seen(7)), Some(&seen(5)));
        assert!(trail.lose(), "the database went away");
        assert!(!trail.lose(), "and is still away");
        assert!(look(&mut trail, at(3), 9));
        assert!(!look(&mut trail, at(4), 9));
        assert_eq!(trail.since(&Seen::at(9, "two")), None);
        assert!(trail.find_again(), "what was known died with the first life");
    }

    /// A node was stopped in the middle of a look, for so long that the others forgot what it was about to read; the next
    /// look, soon after, found nothing amiss.
    #[test]
    fn a_sleep_counts_also_in_the_middle_of_a_look() {
        let (mut trail, start) = (Trail::default(), Instant::now());
        look(&mut trail, start, 3);
        trail.wake(start + EVERY, EVERY);
        trail.since(&seen(5));
        // Here it sleeps.
        trail.reach(seen(5));
        assert!(!trail.find_again(), "it does not know yet");
        let awake = start + EVERY * (2 + KEPT as u32);
        assert!(look(&mut trail, awake, 90));
    }

    #[test]
    fn what_all_nodes_have_seen_is_forgotten() {
        let mut trail = Trail::default();
        for number in 0..KEPT as i64 {
            assert_eq!(trail.reach(seen(number)), None);
        }
        assert_eq!(trail.reach(seen(99)), Some(seen(0)));
    }
}
