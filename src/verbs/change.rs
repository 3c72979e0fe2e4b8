//! A change and its news: applied in one transaction, told after it is on disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::bus::{FeedEvent, News};
use crate::model::feed::Head;
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::recipient::RecipientRef;
use crate::model::signal::Happened;
use crate::model::time::Time;
use crate::store::chunks::Found;
use crate::store::feeds::{Still, head_after};
use crate::store::guides::Membership;
use crate::store::jobs::Line;
use crate::store::{self, Applied, Batch, Env};

use super::Core;

/// Feeds changed in one transaction at most: each takes some 0.1 ms, for which other writers wait.
pub(crate) const FEEDS: usize = 100;

/// A batch, who must hear of it, and when workers must wake.
#[derive(Debug, Default)]
pub struct Change {
    pub batch: Batch,
    feeds: Vec<Touched>,
    guides: Vec<Brought>,
    /// By line.
    wake_at: [Option<Time>; 2],
    /// The statements that add jobs if somebody waits.
    signals: Vec<usize>,
}

#[derive(Debug)]
struct Touched {
    answer: usize,
    env: Env,
    channel: String,
    recipient: String,
    news: Fresh,
}

/// A user whom a step brings to a guide of a channel.
#[derive(Debug)]
struct Brought {
    answer: usize,
    env: Env,
    channel: String,
    user: String,
}

/// What of a feed is new.
#[derive(Debug)]
enum Fresh {
    /// An item, before the feed has stamped it.
    Item(Box<Message>),
    /// An item is on top that was there before.
    Moved,
    /// Whatever the database says.
    Changed,
}

impl Change {
    /// A change that does nothing yet.
    pub fn new() -> Self {
        Change::default()
    }

    /// Adds a message; one with a feed goes into it and is told to its bells.
    pub fn add_message(&mut self, message: Message, in_feed: bool) {
        if !in_feed {
            self.batch.add_message(&message);
            return;
        }
        let answer = self.batch.add_to_feed(&message);
        self.feeds.push(Touched {
            answer,
            env: message.env,
            channel: message.channel.clone(),
            recipient: message.recipient.key(),
            news: Fresh::Item(Box::new(message)),
        });
    }

    /// Adds that a message takes the place of an item of the feed, whose id it has.
    pub fn replace_message(&mut self, feed: i64, message: &Message) {
        let answer = self.batch.replace_in_feed(feed, message);
        self.feeds.push(Touched {
            answer,
            env: message.env,
            channel: message.channel.clone(),
            recipient: message.recipient.key(),
            news: Fresh::Moved,
        });
    }

    /// Adds a mark on messages of one feed.
    pub fn mark(&mut self, feed: &FeedName, ids: &[String], mark: Mark, data: Option<&str>, now: Time) {
        self.mark_still(feed, ids, Still::default(), mark, data, now);
    }

    /// Adds a mark on those messages of one feed of which this still holds.
    pub fn mark_still(
        &mut self,
        feed: &FeedName,
        ids: &[String],
        still: Still,
        mark: Mark,
        data: Option<&str>,
        now: Time,
    ) {
        let whose = (feed.env, feed.recipient.as_str(), feed.id);
        self.signals.push(self.batch.signal_marks(whose, ids, still, mark, data, now));
        let answer = self.batch.mark_in_feed(feed.id, ids, still, mark, data, now);
        self.touch(feed, answer);
    }

    /// Adds a mark on messages that stand in no feed.
    pub fn mark_alone(&mut self, env: Env, ids: &[String], mark: Mark, data: Option<&str>, now: Time) {
        self.signals.push(self.batch.signal_marks_alone(env, ids, mark, data, now));
        self.batch.mark_alone(env, ids, mark, data, now);
    }

    /// Adds what happened in a run or to its messages, behind what makes it so.
    pub fn signal_happened(&mut self, env: Env, happened: &Happened<'_>) {
        if happened.has_begun || happened.is_over || !happened.messages.is_empty() {
            self.signals.push(self.batch.signal_happened(env, happened));
        }
    }

    /// Adds that something else happens to a recipient, given by its key: what, where it comes from, and what is said
    /// about it.
    pub fn signal(&mut self, env: Env, recipient: &str, what: (&str, &str), about: &Value, now: Time) {
        self.signal_at(env, recipient, what, about, now, now);
    }

    /// Adds that something happened to a recipient at another instant than now.
    pub fn signal_at(&mut self, env: Env, recipient: &str, what: (&str, &str), about: &Value, at: Time, now: Time) {
        self.signals.push(self.batch.signal(env, recipient, what, about, (at, now)));
    }

    /// Adds that a recipient was changed before in this change.
    pub fn signal_update(&mut self, env: Env, recipient: &RecipientRef, now: Time) {
        self.signals.push(self.batch.signal_update(env, recipient, now));
    }

    /// Adds the removal of messages from one feed.
    pub fn remove(&mut self, feed: &FeedName, ids: &[String]) {
        let answer = self.batch.remove_from_feed(feed.id, ids);
        self.touch(feed, answer);
    }

    /// Adds that messages of one feed show these actors, a JSON array, from now on.
    pub fn show_actors(&mut self, feed: &FeedName, ids: &[String], actors: &str, now: Time) {
        let answer = self.batch.show_actors_in_feed(feed.id, ids, actors, now);
        self.touch(feed, answer);
    }

    /// Adds that a step brings a user to a guide of a channel, of which their pages are told if it is new to them.
    pub fn bring_to_guide(&mut self, env: Env, channel: &str, user: &str, membership: &Membership, now: Time) {
        let answer = self.batch.add_guide_member(env, user, membership, now);
        self.guides.push(Brought { answer, env, channel: channel.to_owned(), user: user.to_owned() });
    }

    pub(super) fn touch(&mut self, feed: &FeedName, answer: usize) {
        self.feeds.push(Touched {
            answer,
            env: feed.env,
            channel: feed.channel.clone(),
            recipient: feed.recipient.clone(),
            news: Fresh::Changed,
        });
    }

    /// Adds a job, and wakes the workers for it.
    pub fn add_job(&mut self, kind: &str, subject: &str, due_at: Time) {
        self.batch.add_job(kind, subject, due_at);
        self.wake(Line::Own, due_at);
    }

    /// Adds a job that calls a server of others, and wakes the workers for it.
    pub fn add_call(&mut self, kind: &str, subject: &str, due_at: Time) {
        self.batch.add_call(kind, subject, due_at);
        self.wake(Line::Calls, due_at);
    }

    /// Adds a job that is done in parts, and wakes the workers for it.
    pub fn add_long_job(&mut self, kind: &str, subject: &str, progress: &Value, due_at: Time) {
        self.batch.add_long_job(kind, subject, progress, due_at);
        self.wake(Line::Own, due_at);
    }

    /// Adds everything of `other` behind what this change does.
    pub fn append(&mut self, other: Change) {
        let before = self.batch.append(other.batch);
        self.feeds
            .extend(other.feeds.into_iter().map(|touched| Touched { answer: touched.answer + before, ..touched }));
        self.guides
            .extend(other.guides.into_iter().map(|brought| Brought { answer: brought.answer + before, ..brought }));
        self.signals.extend(other.signals.into_iter().map(|answer| answer + before));
        for line in Line::ALL {
            if let Some(at) = other.wake_at[line.number()] {
                self.wake(line, at);
            }
        }
    }

    /// Wakes the workers at `at` for a job of `line` that the batch adds or moves.
    pub(crate) fn wake(&mut self, line: Line, at: Time) {
        let wake_at = &mut self.wake_at[line.number()];
        *wake_at = Some(wake_at.map_or(at, |before| before.min(at)));
    }
}

/// A feed by its number and by what topics call it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FeedName {
    pub id: i64,
    pub env: Env,
    pub channel: String,
    /// The recipient's key.
    pub recipient: String,
}

/// The ids of messages by the feeds they stand in.
pub(crate) fn by_feed(env: Env, messages: &[Found]) -> BTreeMap<Option<FeedName>, Vec<String>> {
    let mut out: BTreeMap<Option<FeedName>, Vec<String>> = BTreeMap::new();
    for found in messages {
        let (channel, recipient) = (found.channel.clone(), found.recipient.clone());
        let feed = found.feed.map(|id| FeedName { id, env, channel, recipient });
        out.entry(feed).or_default().push(found.id.clone());
    }
    out
}

impl Core {
    /// Applies `change`; once it is on disk, tells the feeds' bells and wakes the workers.
    pub async fn commit(&self, change: Change) -> Result<Applied, store::Error> {
        let Change { batch, feeds, guides, signals, wake_at } = change;
        let applied = self.store.apply(batch).await?;
        for touched in feeds {
            if let Some((head, newest_at)) = head_after(&applied, touched.answer) {
                self.bus.publish(&touched.told(head, newest_at));
            }
        }
        for Brought { answer, env, channel, user } in guides {
            if !applied.rows(answer).is_empty() {
                // A guide's channel has no feeds, and what is shown there no version: pages look at it anew.
                let head = Head::default();
                self.bus.publish(&FeedEvent { env, channel, recipient: user, head, news: News::Changed });
            }
        }
        if signals.iter().any(|answer| applied.changed(*answer) > 0) {
            self.waker.due_in(Line::Own, self.clock.now());
        }
        for line in Line::ALL {
            if let Some(at) = wake_at[line.number()] {
                self.waker.due_in(line, at);
            }
        }
        Ok(applied)
    }
}

impl Touched {
    fn told(self, head: Head, newest_at: Time) -> FeedEvent {
        let news = match self.news {
            Fresh::Changed => News::Changed,
            Fresh::Moved => News::Moved,
            Fresh::Item(mut item) => {
                // What the feed stamped on the row, stamped on the copy that goes out.
                item.feed = Some(head.id);
                item.seq = head.version;
                item.version = head.version;
                item.inserted_at = newest_at;
                item.updated_at = newest_at;
                News::Item(Arc::new(*item))
            }
        };
        FeedEvent { env: self.env, channel: self.channel, recipient: self.recipient, head, news }
    }
}
