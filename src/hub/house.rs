//! What the hub finds around it: rows to read, news to ask for, tasks to do its work in, and time.
//!
//! Whatever the hub waits for, it waits for here. So everything that it decides can be tried in every order in which this
//! may happen, with no database, no network and no clock.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::channels::feed::{Name, Reading};
use super::registry::{Registry, Work};
use crate::metrics;
use crate::model::channel::Channel;
use crate::model::feed::{Counts, Filter, Head};
use crate::model::mark::Mark;
use crate::model::time::Time;
use crate::store::feeds::Changes;
use crate::store::jobs::Line;
use crate::store::{self, Env};
use crate::verbs::feed::{Delta, Showing, View};
use crate::verbs::mark::{Everything, Reach};
use crate::verbs::{Core, Error};
use crate::wire::cursor::Page;

/// After how long what failed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Something that is waited for.
pub(crate) type Waiting<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Which of a feed's items are marked.
pub(crate) enum Marked {
    Ids(Vec<String>, Option<serde_json::Map<String, serde_json::Value>>),
    All(Everything),
}

/// What is around a hub.
pub(crate) trait House: Send + Sync + 'static {
    /// Time that only passes; see [`Clock::steady`](crate::clock::Clock::steady).
    fn now(&self) -> Time;
    fn channels(&self) -> &[Channel];
    fn metrics(&self) -> &metrics::Hub;

    /// Has the user's news brought here, until it is said as often that they need not be.
    fn retain(&self, env: Env, user: &Arc<str>);
    fn release(&self, env: Env, user: &Arc<str>);
    /// Waits until news of a retained user arrive.
    fn heeded<'a>(&'a self, env: Env, user: &'a Arc<str>) -> Waiting<'a, ()>;

    /// The feed's version and counters.
    fn head<'a>(&'a self, name: &'a Name) -> Waiting<'a, Result<Head, Error>>;
    /// How the feed stands, and what changed in it since a version if one is named.
    fn read<'a>(&'a self, name: &'a Name, since: Option<i64>) -> Waiting<'a, Result<Reading, Error>>;
    /// What changed in the feed, as a reader with these filters sees it; none when it must start anew.
    fn delta<'a>(
        &'a self,
        name: &'a Name,
        showing: Showing<'a>,
        filters: &'a [&'a Filter],
        changes: Changes,
    ) -> Waiting<'a, Result<Option<Delta>, Error>>;
    /// One page of the feed, whose head was read before.
    fn page<'a>(
        &'a self,
        name: &'a Name,
        head: Head,
        showing: Showing<'a>,
        filter: &'a Filter,
        page: &'a Page,
    ) -> Waiting<'a, Result<View, Error>>;
    fn counts<'a>(&'a self, head: &'a Head, filter: &'a Filter) -> Waiting<'a, Result<Counts, Error>>;

    /// Marks items of the feed, as far as `reach` covers them; the head afterwards, and the instant of the mark. A mark that was begun is finished even
    /// if nobody waits for it any more: its news must reach the others.
    fn mark(
        self: Arc<Self>,
        name: Name,
        mark: Mark,
        marked: Marked,
        reach: Reach,
    ) -> Waiting<'static, Result<(Head, Time), Error>>;

    /// Has the registry do this in a task of its own.
    fn start(&self, registry: Registry, work: Work);
    /// Has the workers look for jobs: another node has more to do than it can.
    fn help(&self);
    /// Waits before what failed is tried again.
    fn pause(&self) -> Waiting<'static, ()>;
}

impl House for Core {
    fn now(&self) -> Time {
        self.clock.steady()
    }

    fn channels(&self) -> &[Channel] {
        self.catalog.channels()
    }

    fn metrics(&self) -> &metrics::Hub {
        &self.metrics.hub
    }

    fn retain(&self, env: Env, user: &Arc<str>) {
        self.sightings.note(env, user, self.clock.now());
        self.bus.retain(env, user);
    }

    fn release(&self, env: Env, user: &Arc<str>) {
        self.sightings.note(env, user, self.clock.now());
        self.bus.release(env, user);
    }

    fn heeded<'a>(&'a self, env: Env, user: &'a Arc<str>) -> Waiting<'a, ()> {
        Box::pin(self.bus.heeded(env, user))
    }

    fn head<'a>(&'a self, name: &'a Name) -> Waiting<'a, Result<Head, Error>> {
        Box::pin(async { Ok(self.store.feed_head(name.env, &name.channel.to_string(), &name.user).await?) })
    }

    fn read<'a>(&'a self, name: &'a Name, since: Option<i64>) -> Waiting<'a, Result<Reading, Error>> {
        Box::pin(async move {
            let Some(since) = since else { return Ok(Reading { head: self.head(name).await?, changes: None }) };
            let channel = name.channel.to_string();
            let (head, changes) = self.store.feed_since(name.env, &channel, &name.user, since).await?;
            Ok(Reading { head, changes: Some(changes) })
        })
    }

    fn delta<'a>(
        &'a self,
        name: &'a Name,
        showing: Showing<'a>,
        filters: &'a [&'a Filter],
        changes: Changes,
    ) -> Waiting<'a, Result<Option<Delta>, Error>> {
        Box::pin(self.feed_delta(name.env, &name.user, showing, filters, changes))
    }

    fn page<'a>(
        &'a self,
        name: &'a Name,
        head: Head,
        showing: Showing<'a>,
        filter: &'a Filter,
        page: &'a Page,
    ) -> Waiting<'a, Result<View, Error>> {
        Box::pin(self.feed_from(head, name.env, &name.user, showing, filter, page))
    }

    fn counts<'a>(&'a self, head: &'a Head, filter: &'a Filter) -> Waiting<'a, Result<Counts, Error>> {
        Box::pin(async { Ok(self.store.feed_counts(head, filter).await?) })
    }

    fn mark(
        self: Arc<Self>,
        name: Name,
        mark: Mark,
        marked: Marked,
        reach: Reach,
    ) -> Waiting<'static, Result<(Head, Time), Error>> {
        Box::pin(async move {
            let marking = tokio::spawn(async move {
                let now = self.clock.now();
                let channel = name.channel.to_string();
                match marked {
                    Marked::Ids(ids, metadata) => {
                        drop(self.mark_at(name.env, &ids, mark, metadata.as_ref(), &reach, now).await?);
                    }
                    Marked::All(everything) => {
                        self.mark_all(name.env, &channel, &name.user, &everything, mark, now).await?;
                    }
                }
                Ok::<_, Error>((self.store.feed_head(name.env, &channel, &name.user).await?, now))
            });
            marking.await.map_err(|_| Error::Store(store::Error::Closed))?
        })
    }

    fn start(&self, registry: Registry, work: Work) {
        tokio::spawn(registry.perform(work));
    }

    fn help(&self) {
        for line in Line::ALL {
            self.waker.due_in(line, self.clock.now());
        }
    }

    fn pause(&self) -> Waiting<'static, ()> {
        Box::pin(tokio::time::sleep(PAUSE))
    }
}
