//! Whether frequency caps let a message pass, and what counts it then.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::model::cap::{Cap, Counter};
use crate::model::time::Time;
use crate::rules::cap::Verdict;
use crate::store::caps::Passing;
use crate::store::{Batch, Env};

/// What counts a message that passes.
#[derive(Debug)]
pub struct Count {
    counter: Counter,
    limit: i64,
    /// When others have passed, oldest first.
    before: Vec<Time>,
    at: Time,
    over: Option<Time>,
    until: Time,
}

/// A cap that lets no more pass.
#[derive(Debug)]
pub struct Reached<'c> {
    pub cap: &'c Cap,
    count: i64,
    frees_at: Time,
}

/// What is to be counted if a message is sent at `now`, which all of these caps count, each with what it has let pass before;
/// or the first that lets no more pass.
pub fn judge<'c>(
    caps: impl IntoIterator<Item = (&'c Cap, Counter, Vec<Time>)>,
    now: Time,
    zone: &TimeZone,
) -> Result<Vec<Count>, Reached<'c>> {
    let judged = caps.into_iter().map(|(cap, counter, before)| match cap.judge(&before, now, zone) {
        Verdict::Room { over, until } => Ok(Count { counter, limit: cap.limit, before, at: now, over, until }),
        Verdict::Reached { count, frees_at } => Err(Reached { cap, count, frees_at }),
    });
    judged.collect()
}

impl Count {
    /// Adds that the message is sent. Gives when messages have passed then.
    pub fn add(self, env: Env, batch: &mut Batch) -> (Counter, Vec<Time>) {
        let Count { counter, limit, mut before, at, over, until } = self;
        batch.pass_cap(env, &Passing { counter: &counter, at, over, limit, until });
        before.push(at);
        (counter, before)
    }
}

impl Reached<'_> {
    /// What records say of it.
    pub fn record(&self) -> Value {
        json!({"cap": self.cap.key, "count": self.count, "limit": self.cap.limit, "frees_at": self.frees_at})
    }
}
