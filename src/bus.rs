//! News of committed changes, to whoever holds a socket for them, on this node and on others.
//!
//! The bus may lose news: listeners compare versions and read the database when they missed some. A node's own listener
//! hears at once; other nodes hear through Redis, on one pub/sub channel per environment and user, to which a node
//! subscribes only while one of its sockets wants that user.

mod places;
mod redis;
mod slots;
pub(crate) mod watched;

use std::sync::Arc;
use std::time::Duration;

use crate::model::feed::Head;
use crate::model::message::Message;

pub use places::{Place, Places};

/// That a feed has changed: its head afterwards, and what is new. Of a channel of guides, which has no feeds: that the user
/// may be shown more of them.
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
    /// One item was updated, and has moved to the top; the database knows which.
    Moved,
    /// Items were marked or removed; the database knows which.
    Changed,
}

/// A user, whose feeds' news travel together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Whose {
    pub env: i64,
    pub user: Arc<str>,
}

/// Who is told the news on this node. It must not wait for anything: it is called where news are read.
pub trait Listener: Send + Sync + 'static {
    /// A feed has changed.
    fn heard(&self, event: &FeedEvent);

    /// News of these users may have passed unheard; the database knows them.
    fn missed(&self, _users: &[Whose]) {}

    /// Another node has more jobs to do than it can.
    fn called(&self) {}

    /// Whether the user has a socket on this node.
    fn is_here(&self, _env: i64, _user: &str) -> bool {
        false
    }
}

impl<F: Fn(&FeedEvent) + Send + Sync + 'static> Listener for F {
    fn heard(&self, event: &FeedEvent) {
        self(event);
    }
}

/// How nodes are joined. Times have their defaults; only tests change those that are not configured.
#[derive(Debug, Clone)]
pub struct Settings {
    pub places: Places,
    /// What the names of all channels begin with.
    pub prefix: String,
    /// How long a connection may take.
    pub connect_within: Duration,
    /// How long an answer may take.
    pub answer_within: Duration,
    /// Events that may wait for one server.
    pub waiting_events: usize,
    /// The certificates, in PEM, of those who may vouch for a server; none means those of the system.
    pub authorities: Option<Vec<u8>>,
    /// How long a user stays watched after its last socket went: most come back.
    pub grace: Duration,
    /// How often a node listens for itself.
    pub probe_every: Duration,
    /// How long it may not hear itself before it connects anew.
    pub deaf_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            places: Places::Here,
            prefix: "bellwire".to_owned(),
            connect_within: Duration::from_secs(2),
            answer_within: Duration::from_secs(5),
            waiting_events: 10_000,
            authorities: None,
            grace: Duration::from_secs(12),
            probe_every: Duration::from_secs(2),
            deaf_after: Duration::from_secs(6),
        }
    }
}

/// A server that lets nobody in as it is configured: said as a sentence that names the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// Nobody can say which users are online: the server that knows it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server of the bus that knows does not answer")]
pub struct Unknown;

/// On how many nodes a user has sockets; approximate, since those that went stay counted for a little.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Presence {
    pub nodes: u64,
}

impl Presence {
    /// Whether the user has a socket anywhere.
    pub fn is_online(self) -> bool {
        self.nodes > 0
    }
}

/// How one lane is: the connections to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneHealth {
    /// The server, without its password.
    pub place: String,
    /// Connected and subscribed.
    pub is_up: bool,
    /// The node hears itself through it.
    pub is_hearing: bool,
    /// How long ago it heard itself last; none if it has not since it is connected.
    pub heard_ago: Option<Duration>,
}

/// How the lanes are; an embedded bus has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    pub lanes: Vec<LaneHealth>,
    /// Whether every user has a lane: in a Cluster, slots may be without a master.
    pub is_whole: bool,
}

impl Health {
    /// Whether news come and go.
    pub fn is_well(&self) -> bool {
        self.is_whole && self.lanes.iter().all(|lane| lane.is_hearing)
    }
}

/// What the bus has done so far, and how it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusStats {
    /// Events handed to a server.
    pub published: u64,
    /// Events that no server took: too many waited, or it was gone. The sweep tells of them.
    pub dropped: u64,
    /// Events that came from other nodes.
    pub received: u64,
    /// Envelopes that could not be read: of another version.
    pub unread: u64,
    /// Times that a lane was connected anew.
    pub reconnects: u64,
    /// Channels subscribed again after an interruption.
    pub resubscribed: u64,
    /// Times that the slots of a Cluster were found to have moved.
    pub moves: u64,
    /// Users watched now.
    pub watched: u64,
    /// Events that wait for a server now.
    pub waiting: u64,
    /// How long the slowest lane's last sign of life was under way.
    pub lag: Duration,
}

/// Carries news to this node's listener, and to other nodes.
pub struct Bus {
    listener: Arc<dyn Listener>,
    redis: Option<redis::Redis>,
}

impl Bus {
    /// A bus within this process.
    pub fn local(listener: impl Fn(&FeedEvent) + Send + Sync + 'static) -> Self {
        Bus { listener: Arc::new(listener), redis: None }
    }

    /// A bus as it is configured. A server that refuses us is an error; one that can't be reached is waited for.
    pub async fn start(settings: Settings, listener: impl Listener) -> Result<Self, Refused> {
        let listener: Arc<dyn Listener> = Arc::new(listener);
        let redis = match settings.places {
            Places::Here => None,
            Places::Servers(_) | Places::Cluster(_) => {
                Some(redis::Redis::start(settings, Arc::clone(&listener)).await?)
            }
        };
        Ok(Bus { listener, redis })
    }

    /// Tells of a change that is on disk. Waits for nothing.
    pub fn publish(&self, event: &FeedEvent) {
        self.listener.heard(event);
        if let Some(redis) = &self.redis {
            redis.publish(event);
        }
    }

    /// Asks other nodes to help with the jobs that are due. Waits for nothing; a call that is lost is made up for by their
    /// looking now and then.
    pub fn call(&self) {
        if let Some(redis) = &self.redis {
            redis.call();
        }
    }

    /// Has the user's news brought to this node, until [`Bus::release`] is called as often. Waits for nothing: see
    /// [`Bus::heeded`].
    pub fn retain(&self, env: i64, user: &Arc<str>) {
        if let Some(redis) = &self.redis {
            redis.retain(&Whose { env, user: Arc::clone(user) });
        }
    }

    /// One less wants the user's news.
    pub fn release(&self, env: i64, user: &Arc<str>) {
        if let Some(redis) = &self.redis {
            redis.release(&Whose { env, user: Arc::clone(user) });
        }
    }

    /// Waits until news of a retained user arrive; whoever reads the database then misses nothing. Does not wait for a
    /// server that is gone: when it is back, the listener is told that it may have missed news.
    pub async fn heeded(&self, env: i64, user: &Arc<str>) {
        if let Some(redis) = &self.redis {
            redis.heeded(&Whose { env, user: Arc::clone(user) }).await;
        }
    }

    /// Whether there are other nodes that may change what this one shows.
    pub fn has_others(&self) -> bool {
        self.redis.is_some()
    }

    /// On how many nodes each of the users has a socket.
    pub async fn online(&self, env: i64, users: &[&str]) -> Result<Vec<Presence>, Unknown> {
        match &self.redis {
            Some(redis) => redis.online(env, users).await,
            None => {
                let nodes = |user: &&str| u64::from(self.listener.is_here(env, user));
                Ok(users.iter().map(|user| Presence { nodes: nodes(user) }).collect())
            }
        }
    }

    /// How the lanes are.
    pub fn health(&self) -> Health {
        match &self.redis {
            Some(redis) => redis.health(),
            None => Health { lanes: Vec::new(), is_whole: true },
        }
    }

    /// What was done so far.
    pub fn stats(&self) -> BusStats {
        self.redis.as_ref().map(redis::Redis::stats).unwrap_or_default()
    }

    /// Waits until what waits to be published is, but no longer than `within`: before the process ends.
    pub async fn flush(&self, within: Duration) {
        if let Some(redis) = &self.redis {
            redis.flush(within).await;
        }
    }
}
