//! News between nodes, by way of real Redis servers.

mod cluster;
mod outages;
mod servers;
mod sockets;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bellwire::bus::{Bus, FeedEvent, Listener, News, Places, Settings, Whose};
use bellwire::model::feed::{Counts, Head};

use crate::support::FEED;

/// How long anything may take; other tests share the machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a node's listener was told.
#[derive(Clone, Default)]
struct Ears {
    heard: Arc<Mutex<Vec<FeedEvent>>>,
    missed: Arc<Mutex<Vec<Whose>>>,
    calls: Arc<AtomicUsize>,
}

impl Listener for Ears {
    fn heard(&self, event: &FeedEvent) {
        self.heard.lock().unwrap().push(event.clone());
    }

    fn missed(&self, users: &[Whose]) {
        self.missed.lock().unwrap().extend_from_slice(users);
    }

    fn called(&self) {
        self.calls.fetch_add(1, Ordering::SeqCst);
    }
}

impl Ears {
    /// The versions of the user's feed that were heard of, in the order in which they were.
    fn versions(&self, user: &str) -> Vec<i64> {
        let heard = self.heard.lock().unwrap();
        heard.iter().filter(|event| event.recipient == user).map(|event| event.head.version).collect()
    }

    fn missed(&self) -> usize {
        self.missed.lock().unwrap().len()
    }

    fn forget_missed(&self) {
        self.missed.lock().unwrap().clear();
    }
}

/// A node: its end of the bus, and what it was told.
struct Node {
    bus: Bus,
    ears: Ears,
}

/// Settings for these servers.
fn settings(urls: &[String]) -> Settings {
    Settings { places: Places::parse(urls).unwrap(), ..Settings::default() }
}

impl Node {
    /// A node that hears itself on all servers.
    async fn start(urls: &[String]) -> Node {
        Node::with(settings(urls)).await
    }

    async fn with(settings: Settings) -> Node {
        let node = Node::joining(settings).await;
        until("the node hears itself", || node.bus.health().is_well()).await;
        node
    }

    /// A node, whether or not it hears itself.
    async fn joining(settings: Settings) -> Node {
        let ears = Ears::default();
        Node { bus: Bus::start(settings, ears.clone()).await.unwrap(), ears }
    }

    /// Wants the news of these users, and waits until they come.
    async fn watch(&self, users: impl IntoIterator<Item = String>) {
        let users: Vec<Arc<str>> = users.into_iter().map(Into::into).collect();
        users.iter().for_each(|user| self.bus.retain(1, user));
        for user in &users {
            self.bus.heeded(1, user).await;
        }
    }

    fn publish(&self, user: &str, version: i64) {
        self.bus.publish(&change(user, version));
    }
}

/// The change that leads to a version.
fn change(user: &str, version: i64) -> FeedEvent {
    let active = Counts { total: version, unread: 2, unseen: 1 };
    let head = Head { id: 7, version, active, ..Head::default() };
    FeedEvent { env: 1, channel: FEED.to_owned(), recipient: user.to_owned(), head, news: News::Changed }
}

/// Waits until it is so.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it does not come to pass that {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Says what was measured.
#[allow(clippy::disallowed_macros, reason = "a measurement is shown with the test")]
fn say(text: &str) {
    println!("{text}");
}

fn users(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|number| format!("user-{number}"))
}
