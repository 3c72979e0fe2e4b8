//! Who listens to which feed on this node, and to which channel of guides.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use dashmap::DashMap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tracing::error;
use uuid::Uuid;

use super::channels::feed::{Name, View};
use super::channels::guides::{Gallery, Target};
use super::house::House;
use super::outbox::Link;
use super::topic::{Duties, Joining, Tally, Topic};
use crate::bus::{FeedEvent, Listener, Whose};
use crate::model::feed::Head;
use crate::model::time::Time;
use crate::verbs::Error;

/// Catch-ups that read the database at once.
const READERS: usize = 64;
/// How long a client that went is remembered, at least; at most twice as long.
const REMEMBERED_SECONDS: i64 = 600;
/// Clients remembered per generation.
const MOST_REMEMBERED: usize = 65_536;

/// Topics and their listeners; clones share them. It is made before the core, whose bus tells it of every change.
#[derive(Clone, Default)]
pub struct Registry {
    inner: Arc<Inner>,
}

struct Inner {
    topics: DashMap<Name, Arc<Topic>>,
    gallery: Gallery,
    gone: Mutex<Gone>,
    /// Known once the hub is made; weak, because the core's bus holds the registry.
    house: OnceLock<Weak<dyn House>>,
    readers: Arc<Semaphore>,
    /// When the sweep came by last, in microseconds: exact enough for bursts, and cheaper than a clock.
    now: AtomicI64,
    /// Topics whose burst of prompts has not ended, each once.
    bursting: Mutex<Vec<Arc<Topic>>>,
    /// Topics of whose changes some may have passed, each once.
    suspects: Mutex<Suspects>,
}

#[derive(Default)]
struct Suspects {
    topics: Vec<Arc<Topic>>,
    /// Whether a task is at work on them.
    is_looking: bool,
}

impl Default for Inner {
    fn default() -> Self {
        Inner {
            topics: DashMap::new(),
            gallery: Gallery::default(),
            gone: Mutex::default(),
            house: OnceLock::new(),
            readers: Arc::new(Semaphore::new(READERS)),
            now: AtomicI64::new(0),
            bursting: Mutex::default(),
            suspects: Mutex::default(),
        }
    }
}

/// What the registry has done by tasks of their own.
pub(crate) enum Work {
    /// Tell the members of a topic what they are owed.
    CatchUp(Arc<Topic>),
    /// See that all topics that are suspected are looked at.
    LookAround,
    /// See whether a topic has missed anything; with the turn to read the database for it.
    Look(Arc<Topic>, OwnedSemaphorePermit),
}

impl Listener for Registry {
    fn heard(&self, event: &FeedEvent) {
        self.tell(event);
    }

    fn missed(&self, users: &[Whose]) {
        for Whose { env, user } in users {
            for topic in self.topics_of(*env, user) {
                if topic.suspect(None) {
                    self.suspects().topics.push(topic);
                }
            }
            for name in self.names_of(*env, user) {
                self.inner.gallery.owe(name);
            }
        }
        self.look();
    }

    fn called(&self) {
        if let Some(house) = self.house() {
            house.help();
        }
    }

    fn is_here(&self, env: i64, user: &str) -> bool {
        let user: Arc<str> = user.into();
        !self.topics_of(env, &user).is_empty() || self.shows_guides_to(env, &user)
    }
}

impl Registry {
    /// A registry in which nobody listens.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Who listens to guides.
    pub(crate) fn gallery(&self) -> &Gallery {
        &self.inner.gallery
    }

    /// Lets a client in to a channel of guides; it takes the place of its earlier join.
    pub(crate) fn enter_guides(&self, link: &Arc<Link>, channel: Uuid, head: Arc<str>, env: i64, target: Target) {
        // The new one first: the user's news are wanted all the time.
        if let Some(house) = self.house() {
            house.retain(env, &target.user.as_str().into());
        }
        self.leave_guides(link, channel);
        self.inner.gallery.enter(link, channel, head, env, target);
    }

    /// Lets a client out of a channel of guides.
    pub(crate) fn leave_guides(&self, link: &Link, channel: Uuid) {
        if let (Some(name), Some(house)) = (self.inner.gallery.leave(link, channel), self.house()) {
            house.release(name.env, &name.user);
        }
    }

    /// Tells of a committed change everybody who listens. Cheap for feeds nobody listens to; for all others it queues
    /// ready frames, and leaves to a task what needs the database.
    fn tell(&self, event: &FeedEvent) {
        let Ok(channel) = Uuid::try_parse(&event.channel) else { return };
        let name = Name { env: event.env, channel, user: event.recipient.as_str().into() };
        let Some(topic) = self.topic(&name) else { return self.inner.gallery.owe(name) };
        let house = self.house();
        let duties = topic.hear(house.as_deref(), event, self.now());
        self.see_to(house.as_deref(), &topic, duties);
    }

    /// Does what has to be done once something was told.
    fn see_to(&self, house: Option<&dyn House>, topic: &Arc<Topic>, duties: Duties) {
        count(house, duties.tally);
        if duties.begins_burst {
            self.bursting().push(Arc::clone(topic));
        }
        if duties.wants_catch_up {
            self.catch_up(Arc::clone(topic));
        }
    }

    fn now(&self) -> Time {
        Time::from_micros(self.inner.now.load(Ordering::Relaxed))
    }

    /// Changes of these feeds were made, up to these versions. Topics that have not heard of them read the database.
    pub fn suspect<'a>(&self, feeds: impl IntoIterator<Item = (i64, &'a str, &'a str, i64)>) {
        for (env, channel, recipient, version) in feeds {
            let Ok(channel) = Uuid::try_parse(channel) else { continue };
            let Some(topic) = self.topic(&Name { env, channel, user: recipient.into() }) else { continue };
            if topic.suspect(Some(version)) {
                self.suspects().topics.push(topic);
            }
        }
        self.look();
    }

    /// Whatever somebody listens to may have changed.
    pub fn suspect_all(&self) {
        // The topics first: none is added to while the map is held.
        let topics: Vec<Arc<Topic>> = self.inner.topics.iter().map(|entry| Arc::clone(&entry)).collect();
        for topic in topics {
            if topic.suspect(None) {
                self.suspects().topics.push(topic);
            }
        }
        self.look();
    }

    fn suspects(&self) -> MutexGuard<'_, Suspects> {
        self.inner.suspects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has all topics that are suspected looked at, unless that is being seen to.
    fn look(&self) {
        let Some(house) = self.house() else { return };
        let mut suspects = self.suspects();
        if suspects.topics.is_empty() || std::mem::replace(&mut suspects.is_looking, true) {
            return;
        }
        drop(suspects);
        house.start(self.clone(), Work::LookAround);
    }

    /// Does what was started.
    pub(crate) async fn perform(self, work: Work) {
        match work {
            Work::CatchUp(topic) => self.tell_the_rest(&topic).await,
            Work::LookAround => self.look_around().await,
            Work::Look(topic, turn) => self.look_at(topic, turn).await,
        }
    }

    /// Has each topic that is suspected looked at, many at once.
    async fn look_around(&self) {
        loop {
            let topics = {
                let mut suspects = self.suspects();
                suspects.is_looking = !suspects.topics.is_empty();
                std::mem::take(&mut suspects.topics)
            };
            if topics.is_empty() {
                return;
            }
            for topic in topics {
                let Ok(turn) = Arc::clone(&self.inner.readers).acquire_owned().await else { return };
                let Some(house) = self.house() else { return };
                house.start(self.clone(), Work::Look(topic, turn));
            }
        }
    }

    /// Reads the head of a topic that is suspected; has its members told if something has passed.
    async fn look_at(&self, topic: Arc<Topic>, turn: OwnedSemaphorePermit) {
        topic.begin_look();
        let Some(house) = self.house() else { return };
        let read = house.head(&topic.name).await;
        drop(turn);
        match read {
            Ok(head) if topic.learn(head) => self.catch_up(topic),
            Ok(_) => {}
            Err(error) => {
                error!(%error, "a feed could not be read to see what its sockets missed; it is tried again");
                house.pause().await;
                if topic.suspect(None) {
                    self.suspects().topics.push(topic);
                }
                self.look();
            }
        }
    }

    /// The topics of a user, on whichever channel.
    fn topics_of(&self, env: i64, user: &Arc<str>) -> Vec<Arc<Topic>> {
        self.names_of(env, user).into_iter().filter_map(|name| self.topic(&name)).collect()
    }

    /// What a user may listen to, by channel.
    fn names_of(&self, env: i64, user: &Arc<str>) -> Vec<Name> {
        let Some(house) = self.house() else { return Vec::new() };
        house.channels().iter().map(|channel| Name { env, channel: channel.id, user: user.clone() }).collect()
    }

    /// Whether guides are shown to a user, of whichever channel.
    fn shows_guides_to(&self, env: i64, user: &Arc<str>) -> bool {
        self.names_of(env, user).iter().any(|name| self.inner.gallery.has(name))
    }

    /// The sweep comes by.
    pub(crate) fn pass(&self, now: Time) {
        self.inner.now.store(now.micros(), Ordering::Relaxed);
    }

    /// Has stock clients prompted once more that may not have heard how a burst ended.
    pub(crate) fn end_bursts(&self, now: Time) {
        let bursting = std::mem::take(&mut *self.bursting());
        for topic in bursting {
            let (is_over, duties) = topic.ends_burst(now);
            self.see_to(None, &topic, Duties { begins_burst: !is_over, ..duties });
        }
    }

    fn bursting(&self) -> MutexGuard<'_, Vec<Arc<Topic>>> {
        self.inner.bursting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Topics that somebody listens to.
    pub fn topics(&self) -> usize {
        self.inner.topics.len()
    }

    pub(crate) fn settle(&self, house: Weak<dyn House>) {
        // A registry belongs to one house: a second one finds it settled.
        _ = self.inner.house.set(house);
    }

    fn house(&self) -> Option<Arc<dyn House>> {
        self.inner.house.get().and_then(Weak::upgrade)
    }

    pub(crate) fn topic(&self, name: &Name) -> Option<Arc<Topic>> {
        self.inner.topics.get(name).map(|entry| Arc::clone(&entry))
    }

    /// Begins a join of the feed: once it is heeded, its topic hears of every change.
    pub(crate) fn expect(&self, name: &Name) -> Expected {
        let entry = self.inner.topics.entry(name.clone());
        // Whoever makes a topic wants its user's news, whoever forgets it no longer does.
        let entry = entry.or_insert_with(|| {
            if let Some(house) = self.house() {
                house.retain(name.env, &name.user);
            }
            Arc::new(Topic::new(name.clone()))
        });
        entry.begin_join();
        Expected { registry: self.clone(), topic: Arc::clone(&entry) }
    }

    /// A turn to read the database for a socket, when there is one.
    pub(crate) async fn reader(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.readers.acquire().await.ok()
    }

    /// Lets one out, and remembers what its client knows, in case it comes back.
    pub(crate) fn leave(&self, name: &Name, link: &Link, is_clean: bool, now: Time) {
        let Some(left) = self.topic(name).and_then(|topic| topic.leave(link, is_clean, self.now())) else { return };
        self.forget_if_deserted(name);
        let mut gone = self.inner.gone.lock().unwrap_or_else(PoisonError::into_inner);
        for client in left.view.clients() {
            match left.knows {
                Some(knows) => gone.remember(name, client, knows, now),
                None => gone.forget(name, client),
            }
        }
    }

    /// The version that a client which was here before surely knows: the least of its feeds'; none if one of them is not
    /// remembered, since nobody can say what that one was told.
    pub(crate) fn known_to(&self, name: &Name, view: &View, now: Time) -> Option<i64> {
        let gone = self.inner.gone.lock().unwrap_or_else(PoisonError::into_inner);
        view.clients().map(|client| gone.recall(name, client, now)).min().flatten()
    }

    /// A socket has drained its outbox after it was full.
    pub(crate) fn resume(&self, name: &Name, link: &Link) {
        if let Some(topic) = self.topic(name)
            && topic.resume(link, self.now())
        {
            if let Some(house) = self.house() {
                house.metrics().resyncs.inc();
            }
            self.catch_up(topic);
        }
    }

    fn forget_if_deserted(&self, name: &Name) {
        if self.inner.topics.remove_if(name, |_, topic| topic.is_deserted()).is_some()
            && let Some(house) = self.house()
        {
            house.release(name.env, &name.user);
        }
    }

    /// Starts the topic's catch-up.
    pub(crate) fn catch_up(&self, topic: Arc<Topic>) {
        let Some(house) = self.house() else { return };
        house.metrics().catch_ups.inc();
        house.start(self.clone(), Work::CatchUp(topic));
    }

    /// Reads and tells until nothing is left to tell. One runs per topic, so that what is told keeps its order.
    async fn tell_the_rest(&self, topic: &Arc<Topic>) {
        let mut shift = Shift { topic, is_over: false };
        while let Some(questions) = topic.questions() {
            let Some(reader) = self.reader().await else { return };
            let Some(house) = self.house() else { return };
            let mut found = Vec::with_capacity(questions.len());
            let mut failure: Option<Error> = None;
            for question in questions {
                match question.answer(&*house, &topic.name).await {
                    Ok(told) => found.push((question, told)),
                    Err(error) => failure = Some(error),
                }
            }
            drop(reader);
            self.see_to(Some(&*house), topic, topic.tell(&found, self.now()));
            if let Some(error) = failure {
                let Name { env, channel, .. } = &topic.name;
                error!(env, channel.id = %channel, %error, "a feed could not be read for its sockets; it is tried again");
                house.pause().await;
            }
        }
        shift.is_over = true;
    }
}

/// Counts what was told: once for all that hear of a change, since they are many.
fn count(house: Option<&dyn House>, tally: Tally) {
    let Some(metrics) = house.map(House::metrics) else { return };
    if tally.frames > 0 {
        metrics.deliveries.inc_by(tally.frames as u64);
    }
    if tally.overflows > 0 {
        metrics.overflows.inc_by(tally.overflows as u64);
    }
}

/// A catch-up at work. One that ends by a panic, or by the end of the runtime, must not look as if it still worked.
struct Shift<'a> {
    topic: &'a Topic,
    is_over: bool,
}

impl Drop for Shift<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            self.topic.break_off();
        }
    }
}

/// A join under way. The topic is known for as long, also when nobody enters in the end.
pub(crate) struct Expected {
    registry: Registry,
    topic: Arc<Topic>,
}

impl Expected {
    /// Waits until changes made on other nodes are heard of, too: a head that is read afterwards leaves no gap.
    pub(crate) async fn heeded(&self) {
        if let Some(house) = self.registry.house() {
            house.heeded(self.topic.name.env, &self.topic.name.user).await;
        }
    }

    /// Lets one in; see [`Topic::enter`].
    pub(crate) fn enter(self, head: Head, joining: Joining) {
        let duties = self.topic.enter(head, joining, self.registry.now());
        self.registry.see_to(self.registry.house().as_deref(), &self.topic, duties);
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        self.topic.end_join();
        self.registry.forget_if_deserted(&self.topic.name);
    }
}

/// Clients of late, by the feed and their own name, with the version each surely knows. Two generations, so that the
/// old are forgotten without looking at each.
#[derive(Default)]
struct Gone {
    hasher: RandomState,
    young: HashMap<u64, i64>,
    old: HashMap<u64, i64>,
    since: Option<Time>,
}

impl Gone {
    fn remember(&mut self, name: &Name, client: &str, knows: i64, now: Time) {
        let age = self.since.map_or(i64::MAX, |since| now.micros() - since.micros());
        if age >= REMEMBERED_SECONDS * 1_000_000 || self.young.len() >= MOST_REMEMBERED {
            let is_long_ago = age >= 2 * REMEMBERED_SECONDS * 1_000_000;
            self.old = if is_long_ago { HashMap::new() } else { std::mem::take(&mut self.young) };
            self.young = HashMap::new();
            self.since = Some(now);
        }
        let key = self.hasher.hash_one((name, client));
        self.young.insert(key, knows);
    }

    fn forget(&mut self, name: &Name, client: &str) {
        let key = self.hasher.hash_one((name, client));
        self.young.remove(&key);
        self.old.remove(&key);
    }

    fn recall(&self, name: &Name, client: &str, now: Time) -> Option<i64> {
        let key = self.hasher.hash_one((name, client));
        let age = now.micros() - self.since?.micros();
        if age >= 2 * REMEMBERED_SECONDS * 1_000_000 {
            return None;
        }
        self.young.get(&key).or_else(|| self.old.get(&key)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_that_comes_to_nothing_leaves_nothing_behind() {
        let registry = Registry::new();
        let name = Name { env: 1, channel: Uuid::nil(), user: "ann".into() };
        let (one, two) = (registry.expect(&name), registry.expect(&name));
        drop(one);
        assert_eq!(registry.topics(), 1, "the other still joins");
        drop(two);
        assert_eq!(registry.topics(), 0);
    }

    #[test]
    fn clients_that_went_are_remembered_for_a_while_and_not_without_bound() {
        let name = Name { env: 1, channel: Uuid::nil(), user: "ann".into() };
        let at = |seconds: i64| Time::from_micros(seconds * 1_000_000);
        let mut gone = Gone::default();
        assert_eq!(gone.recall(&name, "client_a", at(0)), None);
        gone.remember(&name, "client_a", 7, at(0));
        assert_eq!(gone.recall(&name, "client_a", at(599)), Some(7));
        assert_eq!(gone.recall(&name, "client_b", at(1)), None);
        gone.remember(&name, "client_b", 9, at(601));
        assert_eq!(gone.recall(&name, "client_a", at(700)), Some(7), "one generation old");
        gone.remember(&name, "client_a", 8, at(700));
        assert_eq!(gone.recall(&name, "client_a", at(701)), Some(8), "the latest counts");
        assert_eq!(gone.recall(&name, "client_b", at(601 + 1_200)), None);
        for number in 0..(3 * MOST_REMEMBERED) {
            gone.remember(&name, &format!("client_{number}"), 1, at(702));
        }
        assert!(gone.young.len() + gone.old.len() <= 2 * MOST_REMEMBERED);
    }
}
