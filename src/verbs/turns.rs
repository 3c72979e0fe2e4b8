//! Turns: those who change the same recipient on this node do it one after another.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use tokio::sync::{Mutex, MutexGuard};

use crate::store::Env;

/// Recipients share a lock with one in so many others; that costs a wait now and then, and 160 kB in all.
const STRIPES: usize = 4096;

/// The locks of this node. Changes of other nodes are found out by the guards of their batches.
pub struct Turns {
    stripes: Box<[Mutex<()>]>,
}

impl Default for Turns {
    fn default() -> Self {
        Turns { stripes: (0..STRIPES).map(|_| Mutex::new(())).collect() }
    }
}

/// The turn of somebody who changes recipients; it ends when this is dropped.
#[derive(Default)]
pub struct Turn<'a> {
    stripes: BTreeSet<usize>,
    held: Vec<MutexGuard<'a, ()>>,
}

impl Turns {
    /// Waits for the turn to change these recipients, given by their keys. Each who holds one commits and lets go.
    pub async fn take(&self, env: Env, recipients: impl IntoIterator<Item = String>) -> Turn<'_> {
        let stripes: BTreeSet<usize> = recipients.into_iter().map(|key| stripe(env, &key)).collect();
        let mut held = Vec::with_capacity(stripes.len());
        // In order, so that two who want the same never wait for each other.
        for stripe in &stripes {
            held.push(self.stripes[*stripe].lock().await);
        }
        Turn { stripes, held }
    }
}

impl Turn<'_> {
    /// Whether it is the turn of whoever changes this recipient.
    pub fn covers(&self, env: Env, recipient: &str) -> bool {
        debug_assert_eq!(self.stripes.len(), self.held.len());
        self.stripes.contains(&stripe(env, recipient))
    }
}

fn stripe(env: Env, recipient: &str) -> usize {
    let mut hasher = DefaultHasher::new();
    (env, recipient).hash(&mut hasher);
    (hasher.finish() % STRIPES as u64) as usize
}
