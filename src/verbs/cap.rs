//! Whether frequency caps let a message pass, and what counts it then.

use jiff::tz::TimeZone;
use serde_json::{Value, json};

use crate::model::cap::{Cap, Counter};
use crate::model::time::Time;
use crate::rules::cap::Verdict;
use crate::store::caps::Passed;
use crate::store::{Batch, Env};

/// What counts a message that passes.
#[derive(Debug)]
pub struct Count {
    counter: Counter,
    before: Passed,
    sent: Vec<Time>,
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
    caps: impl IntoIterator<Item = (&'c Cap, Counter, Passed)>,
    now: Time,
    zone: &TimeZone,
) -> Result<Vec<Count>, Reached<'c>> {
    let judged = caps.into_iter().map(|(cap, counter, before)| match cap.judge(&before.sent, now, zone) {
        Verdict::Room { sent, until } => Ok(Count { counter, before, sent, until }),
        Verdict::Reached { count, frees_at } => Err(Reached { cap, count, frees_at }),
    });
    judged.collect()
}

impl Count {
    /// Adds that the message is sent. Gives what has passed then.
    pub fn add(self, env: Env, batch: &mut Batch) -> (Counter, Passed) {
        batch.pass_cap(env, &self.counter, &self.before, &self.sent, self.until);
        (self.counter, Passed::with(self.sent))
    }
}

impl Reached<'_> {
    /// What records say of it.
    pub fn record(&self) -> Value {
        json!({"cap": self.cap.key, "count": self.count, "limit": self.cap.limit, "frees_at": self.frees_at})
    }
}
