//! The truth: feeds as the database has them, and what it knows of their changes.

use uuid::Uuid;

use crate::bus::News;
use crate::hub::channels::feed::Name;
use crate::model::feed::{Archived, Counts, Filter, Head, Status};
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::recipient::RecipientRef;
use crate::model::time::Time;
use crate::store::changes::Seen;
use crate::store::feeds::{Changes, FeedPage, Removal, Still};

/// Changes that a resume may span here: few, so that clients start anew now and then.
pub(super) const RESUME_LIMIT: i64 = 12;

/// A change of one feed.
#[derive(Debug, Clone)]
pub(super) enum Write {
    Add {
        tenant: Option<&'static str>,
    },
    Mark {
        mark: Mark,
        ids: Vec<String>,
        still: Still,
        /// When it was given; none for when it is written.
        at: Option<Time>,
    },
    Remove {
        ids: Vec<String>,
    },
    /// The user is forgotten, and everything with them.
    Forget,
}

/// Feeds, by their numbers.
#[derive(Default)]
pub(super) struct Database {
    feeds: Vec<Feed>,
    /// Transactions and the feeds that they changed.
    changes: Vec<(i64, usize)>,
    /// Transactions that have begun and not ended.
    open: Vec<i64>,
    last_tx: i64,
    life: u32,
    items: u32,
}

struct Feed {
    name: Name,
    head: Head,
    last_at: i64,
    /// Oldest first.
    items: Vec<Message>,
    removals: Vec<(i64, Removal)>,
}

impl Database {
    pub(super) fn new(names: &[Name]) -> Database {
        let feed = |name: &Name| Feed {
            name: name.clone(),
            head: Head::default(),
            last_at: 0,
            items: Vec::new(),
            removals: Vec::new(),
        };
        Database { feeds: names.iter().map(feed).collect(), ..Database::default() }
    }

    pub(super) fn name(&self, feed: usize) -> &Name {
        &self.feeds[feed].name
    }

    pub(super) fn number(&self, name: &Name) -> usize {
        self.feeds.iter().position(|feed| feed.name == *name).expect("a feed of this world")
    }

    pub(super) fn head(&self, feed: usize) -> Head {
        self.feeds[feed].head
    }

    /// The feed of a head; none if it held nothing when that was read.
    fn of(&self, head: &Head) -> Option<&Feed> {
        self.feeds.get(usize::try_from(head.id - 1).ok()?)
    }

    pub(super) fn items(&self, feed: usize) -> &[Message] {
        &self.feeds[feed].items
    }

    /// Whether a resume can't be answered.
    pub(super) fn is_too_old(head: &Head, since: i64) -> bool {
        since > head.version || since < head.forgotten || head.version - since > RESUME_LIMIT
    }

    pub(super) fn changes(&self, head: &Head, since: i64) -> Changes {
        match Database::is_too_old(head, since) {
            true => Changes::TooOld,
            false => Changes::Since { changed: self.changed(head, since), removed: self.removed(head, since) },
        }
    }

    pub(super) fn changed(&self, head: &Head, since: i64) -> Vec<Message> {
        let items = self.of(head).map_or(&[][..], |feed| &feed.items);
        items.iter().rev().filter(|item| item.version > since).cloned().collect()
    }

    pub(super) fn removed(&self, head: &Head, since: i64) -> Vec<Removal> {
        let removals = self.of(head).map_or(&[][..], |feed| &feed.removals);
        removals.iter().filter(|(version, _)| *version > since).map(|(_, removal)| removal.clone()).collect()
    }

    pub(super) fn page(&self, head: &Head, filter: &Filter, size: usize) -> FeedPage {
        let items = self.of(head).map_or(&[][..], |feed| &feed.items);
        let mut messages: Vec<_> = items.iter().rev().filter(|item| filter.matches(item)).cloned().collect();
        let has_older = messages.len() > size;
        messages.truncate(size);
        FeedPage { messages, has_newer: false, has_older }
    }

    pub(super) fn counts(&self, head: &Head, filter: &Filter) -> Counts {
        if filter.is_counted() {
            return head.counts(filter.archived, filter.status);
        }
        let items = self.of(head).map_or(&[][..], |feed| &feed.items);
        let matching = || items.iter().filter(|item| filter.matches_but_status(item));
        let count = |counts: fn(&&Message) -> bool| matching().filter(counts).count() as i64;
        Counts {
            total: items.iter().filter(|item| filter.matches(item)).count() as i64,
            unread: count(|item| item.read_at.is_none()),
            unseen: count(|item| item.seen_at.is_none()),
        }
    }

    /// A transaction begins.
    pub(super) fn begin(&mut self) -> i64 {
        self.last_tx += 1;
        self.open.push(self.last_tx);
        self.last_tx
    }

    /// A transaction ends without a change.
    pub(super) fn roll_back(&mut self, tx: i64) {
        self.open.retain(|open| *open != tx);
    }

    /// A transaction ends. What it changed, if it did.
    pub(super) fn commit(&mut self, tx: i64, feed: usize, write: &Write, now: Time) -> Option<(Head, News)> {
        self.roll_back(tx);
        self.items += 1;
        let told = self.feeds[feed].change(feed, write, now, self.items)?;
        self.changes.push((tx, feed));
        Some(told)
    }

    /// Where changes stand: everything that was committed before is behind it.
    pub(super) fn changes_now(&self) -> Seen {
        let tx = self.open.iter().min().copied().unwrap_or(self.last_tx + 1);
        Seen::at(tx, &self.life.to_string())
    }

    /// The feeds that have changed since `seen`, with their versions.
    pub(super) fn changes_since(&self, seen: &Seen) -> Vec<(Name, i64)> {
        let is_changed = |feed: usize| self.changes.iter().any(|(tx, changed)| *changed == feed && *tx >= seen.tx());
        let feeds = self.feeds.iter().enumerate().filter(|(number, _)| is_changed(*number));
        feeds.map(|(_, feed)| (feed.name.clone(), feed.head.version)).collect()
    }

    pub(super) fn forget_changes(&mut self, seen: &Seen) {
        self.changes.retain(|(tx, _)| *tx >= seen.tx());
    }

    /// The database crashes: nothing is known of changes any more.
    pub(super) fn crash(&mut self) {
        self.changes.clear();
        self.life += 1;
    }
}

impl Feed {
    fn change(&mut self, number: usize, write: &Write, now: Time, item: u32) -> Option<(Head, News)> {
        let version = self.head.version + 1;
        let mut news = News::Changed;
        match write {
            Write::Add { tenant } => {
                self.last_at = now.micros().max(self.last_at + 1);
                let item = self.item(number, item, version, *tenant);
                news = News::Item(std::sync::Arc::new(item.clone()));
                self.items.push(item);
            }
            Write::Mark { mark, ids, still, at } => {
                let (mut is_any, at) = (false, at.unwrap_or(now));
                let chosen = |item: &&mut Message| ids.contains(&item.id) && is_changed_by(item, *mark, *still);
                for item in self.items.iter_mut().filter(chosen) {
                    give(item, *mark, at);
                    (item.version, item.updated_at, is_any) = (version, at, true);
                }
                is_any.then_some(())?;
            }
            Write::Remove { ids } => {
                let gone: Vec<Message> = self.items.extract_if(.., |item| ids.contains(&item.id)).collect();
                (!gone.is_empty()).then_some(())?;
                self.removals
                    .extend(gone.into_iter().map(|item| (version, Removal { id: item.id, tenant: item.tenant })));
            }
            Write::Forget => {
                (self.head.id != 0).then_some(())?;
                self.items.clear();
                self.removals.clear();
                self.head.forgotten = version;
            }
        }
        self.head = Head {
            id: number as i64 + 1,
            version,
            active: self.count(|item| item.archived_at.is_none()),
            archived: self.count(|item| item.archived_at.is_some()),
            ..self.head
        };
        Some((self.head, news))
    }

    fn count(&self, is_counted: fn(&&Message) -> bool) -> Counts {
        let items = || self.items.iter().filter(is_counted);
        Counts {
            total: items().count() as i64,
            unread: items().filter(|item| item.read_at.is_none()).count() as i64,
            unseen: items().filter(|item| item.seen_at.is_none()).count() as i64,
        }
    }

    /// A new item, whose id says by which version it came.
    fn item(&self, number: usize, item: u32, version: i64, tenant: Option<&'static str>) -> Message {
        let at = Time::from_micros(self.last_at);
        Message {
            feed: Some(number as i64 + 1),
            seq: version,
            version,
            tenant: tenant.map(str::to_owned),
            workflow: "note".into(),
            version_id: Uuid::nil().to_string(),
            step_ref: "feed".into(),
            ..Message::new(
                format!("m{item}.{version}"),
                self.name.env,
                self.name.channel.to_string(),
                RecipientRef::User(self.name.user.to_string()),
                at,
            )
        }
    }
}

/// Taking back what was never given is no change (F-STA-17), nor what was given at another instant than was said.
fn is_changed_by(item: &Message, mark: Mark, still: Still) -> bool {
    let status = Filter { status: still.status, archived: Archived::Include, ..Filter::default() };
    let given = match mark {
        Mark::Unseen => item.seen_at,
        Mark::Unread => item.read_at,
        Mark::Unarchived => item.archived_at,
        Mark::Seen | Mark::Read | Mark::Interacted | Mark::Archived | Mark::LinkClicked => return status.matches(item),
    };
    given.is_some_and(|given| still.marked_at.is_none_or(|at| at == given)) && status.matches(item)
}

fn give(item: &mut Message, mark: Mark, now: Time) {
    match mark {
        Mark::Seen => item.seen_at = Some(now),
        Mark::Unseen => item.seen_at = None,
        Mark::Read => item.read_at = Some(now),
        Mark::Unread => item.read_at = None,
        Mark::Interacted => {
            item.interacted_at = Some(now);
            item.read_at = item.read_at.or(Some(now));
        }
        Mark::Archived => item.archived_at = Some(now),
        Mark::Unarchived => item.archived_at = None,
        Mark::LinkClicked => item.link_clicked_at = Some(now),
    }
}

/// The ids under a filter, as a mark of all finds them.
pub(super) fn ids_under(items: &[Message], filter: &Filter, (mark, still): (Mark, Still), version: i64) -> Vec<String> {
    let is_changed = |item: &Message| still.marked_at.is_none() || is_changed_by(item, mark, still);
    let is_meant = |item: &&Message| item.seq <= version && filter.matches(item) && is_changed(item);
    items.iter().filter(is_meant).map(|item| item.id.clone()).collect()
}

/// The filter of a badge: what it counts whatever its status.
pub(super) fn wide(filter: &Filter) -> Filter {
    Filter { status: Status::All, ..filter.clone() }
}
