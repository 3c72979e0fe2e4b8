//! News of committed changes, to whoever holds a socket for them.
//!
//! The bus may lose news: listeners compare versions and read the database when they missed some.

use std::sync::Arc;

use crate::model::feed::Head;
use crate::model::message::Message;

/// That a feed has changed: its head afterwards, and what is new.
#[derive(Debug, Clone)]
pub struct FeedEvent {
    pub env: i64,
    pub channel: String,
    /// The key of whose feed it is.
    pub recipient: String,
    /// The feed's version and counters after the change.
    pub head: Head,
    pub news: News,
}

/// What about the feed is new.
#[derive(Debug, Clone)]
pub enum News {
    /// One item was added.
    Item(Arc<Message>),
    /// Items were marked or removed; the database knows which.
    Changed,
}

type Listener = Box<dyn Fn(&FeedEvent) + Send + Sync>;

/// Carries news to this node's listener.
pub struct Bus {
    listener: Listener,
}

impl Bus {
    /// A bus within this process.
    pub fn local(listener: impl Fn(&FeedEvent) + Send + Sync + 'static) -> Self {
        Bus { listener: Box::new(listener) }
    }

    /// Tells of a change that is on disk.
    pub fn publish(&self, event: &FeedEvent) {
        (self.listener)(event);
    }
}
