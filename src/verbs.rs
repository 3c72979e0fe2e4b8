//! Changes that someone else hears about, one transaction each. Called by REST, socket and engine alike.

pub mod audience;
pub mod bulk;
pub mod cancel;
pub mod cap;
pub mod catalog;
pub mod center;
pub mod change;
pub mod channel_data;
pub mod connection;
pub mod door;
pub mod fan_out;
pub mod feed;
pub mod forget;
pub mod guide;
pub mod identify;
pub mod mark;
pub mod merge;
pub mod nested;
pub mod prefer;
pub mod presence;
pub mod revoke;
pub mod schedule;
pub mod send;
pub mod source;
pub mod staged;
pub mod subscribe;
pub mod track;
pub mod trigger;
pub mod turns;

use std::sync::Arc;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::model::invalid::Invalid;
use crate::outside::Outside;
use crate::queue::Waker;
use crate::store::{self, Store};

pub use catalog::Catalog;
pub use change::Change;

/// What every verb works with.
pub struct Core {
    pub store: Store,
    pub bus: Bus,
    pub clock: Clock,
    pub waker: Waker,
    /// The way to servers of others.
    pub outside: Outside,
    pub catalog: Catalog,
    pub rings: door::Rings,
    pub turns: turns::Turns,
    pub sightings: presence::Sightings,
    pub metrics: Metrics,
}

/// Why a verb refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the caller sent is wrong; each entry says where and what to change.
    #[error("{}", sentence(.0))]
    Invalid(Vec<Invalid>),
    /// No workflow of that key here (W-ERR-03).
    #[error("There is no workflow `{0}` in this environment.")]
    WorkflowMissing(String),
    /// The workflow is switched off here (W-ERR-04).
    #[error("The workflow `{0}` is not active in this environment.")]
    WorkflowInactive(String),
    /// The actor was never identified (W-TRG-19).
    #[error("The actor `{0}` has not been identified. Identify it first, or send it inline with its properties.")]
    ActorMissing(String),
    /// The channel is unknown, or cannot be used for this (F-FED-03, F-CHD-05); why, as a sentence.
    #[error("{0}")]
    ChannelInvalid(String),
    /// Nothing by that name.
    #[error("{0}")]
    Missing(String),
    /// The caller may not.
    #[error("{0}")]
    Forbidden(String),
    /// The database failed; the caller may try again.
    #[error(transparent)]
    Store(store::Error),
}

impl Error {
    /// No feed of that id.
    pub fn no_feed(channel: &str) -> Self {
        Error::ChannelInvalid(format!("`{channel}` is not an in-app feed channel of this server."))
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Error::Store(error)
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::Invalid(vec![invalid])
    }
}

impl From<Vec<Invalid>> for Error {
    fn from(faults: Vec<Invalid>) -> Self {
        Error::Invalid(faults)
    }
}

fn sentence(faults: &[Invalid]) -> String {
    faults.iter().map(Invalid::to_string).collect::<Vec<_>>().join("; ")
}

/// A shared [`Core`].
pub type Shared = Arc<Core>;

/// How often a change that was overtaken by another is tried again before giving up.
pub(crate) const OVERTAKEN: usize = 16;
