//! Who listens: our own clients, who keep what they are told, and stock clients, who look at the feed when they are told to.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::model::feed::{Archived, Counts, Filter, Status};
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::time::Time;

/// Ways in which a client may ask for its feed.
pub(super) const VARIANTS: i64 = 20;

/// A client, with what it knows.
pub(super) struct Client {
    pub(super) feed: usize,
    pub(super) topic: String,
    pub(super) kind: Kind,
    /// The connection it has.
    pub(super) conn: Option<u64>,
    /// Its join, and whether that was answered.
    pub(super) join_ref: String,
    pub(super) is_joined: bool,
    /// The last reference that it gave.
    pub(super) refs: u64,
}

pub(super) enum Kind {
    Own(Box<Own>),
    Stock(Stock),
}

/// What one of our own clients knows.
pub(super) struct Own {
    /// How it asks for its feed, and what that means.
    options: &'static str,
    filter: Filter,
    /// What else it shows of it, by its names.
    views: &'static str,
    view_filters: Vec<(&'static str, Filter)>,
    pub(super) version: Option<i64>,
    /// All of its feed, and of its views what it was told of.
    pub(super) items: BTreeMap<String, Stamps>,
    counts: Counts,
    view_counts: Vec<(String, Counts)>,
    /// Every item it was ever told of.
    ever: BTreeSet<String>,
    /// Since when it has asked what changed, by its reference.
    pub(super) fetch: Option<(String, Option<i64>)>,
    /// Marks that are not answered: what each marks everything as, if it does.
    pub(super) marks: BTreeMap<String, Option<Mark>>,
    /// What it says to undo its last mark of everything.
    pub(super) undo: Option<String>,
}

/// What was done with an item, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stamps {
    inserted: String,
    seen: Option<String>,
    read: Option<String>,
    interacted: Option<String>,
    archived: Option<String>,
}

/// What a stock client shows: feeds of the one topic, each with its filter.
pub(super) struct Stock {
    pub(super) bells: Vec<Bell>,
}

/// One feed as a stock client shows it.
pub(super) struct Bell {
    /// The client's name for it.
    pub(super) name: String,
    options: &'static str,
    pub(super) filter: Filter,
    badge: Option<Counts>,
    items: BTreeSet<String>,
    /// The place of the first item of its list.
    pub(super) newest: i64,
    /// It does not look again while it looks.
    pub(super) is_looking: bool,
}

#[derive(Deserialize)]
struct Figures {
    total_count: i64,
    unread_count: i64,
    unseen_count: i64,
}

impl From<Figures> for Counts {
    fn from(Figures { total_count, unread_count, unseen_count }: Figures) -> Counts {
        Counts { total: total_count, unread: unread_count, unseen: unseen_count }
    }
}

#[derive(Deserialize)]
struct Item<'a> {
    id: &'a str,
    inserted_at: &'a str,
    seen_at: Option<&'a str>,
    read_at: Option<&'a str>,
    interacted_at: Option<&'a str>,
    archived_at: Option<&'a str>,
}

impl Item<'_> {
    fn stamps(&self) -> Stamps {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Stamps {
            inserted: self.inserted_at.to_owned(),
            seen: owned(self.seen_at),
            read: owned(self.read_at),
            interacted: owned(self.interacted_at),
            archived: owned(self.archived_at),
        }
    }
}

/// Counts by the names of views.
#[derive(Default)]
struct OfViews(Vec<(String, Counts)>);

impl<'de> Deserialize<'de> for OfViews {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<OfViews, D::Error> {
        let figures = <BTreeMap<String, Figures>>::deserialize(deserializer)?;
        Ok(OfViews(figures.into_iter().map(|(name, figures)| (name, figures.into())).collect()))
    }
}

#[derive(Deserialize)]
struct Delta<'a> {
    since: i64,
    version: i64,
    counts: Figures,
    #[serde(default)]
    views: OfViews,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
    removed: Vec<&'a str>,
}

#[derive(Deserialize)]
struct Snapshot<'a> {
    version: i64,
    counts: Figures,
    #[serde(default)]
    views: OfViews,
    #[serde(borrow)]
    entries: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct NewMessage<'a> {
    #[serde(borrow)]
    attn: Vec<&'a str>,
    data: BTreeMap<&'a str, Metadata>,
}

#[derive(Deserialize)]
struct Metadata {
    metadata: Figures,
}

fn read<'a, T: Deserialize<'a>>(payload: &'a str) -> Result<T, String> {
    serde_json::from_str(payload).map_err(|error| format!("it can't be read ({error}): {payload}"))
}

impl Client {
    /// A client whose kind and filter its number gives.
    pub(super) fn new(number: usize, feed: usize, topic: String, is_own: bool, variant: usize) -> Client {
        let kind =
            if is_own { Kind::Own(Box::new(Own::new(variant))) } else { Kind::Stock(Stock::new(number, variant)) };
        Client { feed, topic, kind, conn: None, join_ref: String::new(), is_joined: false, refs: 0 }
    }

    pub(super) fn next_ref(&mut self) -> String {
        self.refs += 1;
        self.refs.to_string()
    }

    /// The frame that joins, by a new reference.
    pub(super) fn join(&mut self) -> String {
        self.join_ref = self.next_ref();
        self.is_joined = false;
        let payload = match &mut self.kind {
            Kind::Own(own) => {
                own.fetch = None;
                own.marks.clear();
                let since = own.version.map_or("null".to_owned(), |version| version.to_string());
                format!(r#"{{"bellwire":{{"since":{since}{}{}}}}}"#, own.options, own.views)
            }
            Kind::Stock(stock) => {
                let named = stock.bells.iter().map(|bell| format!(r#""{}":{{{}}}"#, bell.name, bell.options));
                format!("{{{}}}", named.collect::<Vec<_>>().join(","))
            }
        };
        format!(r#"["{0}","{0}","{1}","phx_join",{payload}]"#, self.join_ref, self.topic)
    }

    /// The frame that leaves.
    pub(super) fn leave(&mut self) -> String {
        let reference = self.next_ref();
        format!(r#"["{}","{reference}","{}","phx_leave",{{}}]"#, self.join_ref, self.topic)
    }

    /// A frame that says `event`, with its reference.
    pub(super) fn push(&mut self, event: &str, payload: &str) -> (String, String) {
        let reference = self.next_ref();
        let frame = format!(r#"["{}","{reference}","{}","{event}",{payload}]"#, self.join_ref, self.topic);
        (reference, frame)
    }

    /// What is wrong with what it knows now that all is calm.
    pub(super) fn fault(&self, items: &[Message], version: i64, counts: impl Fn(&Filter) -> Counts) -> Option<String> {
        match &self.kind {
            Kind::Own(own) => own.fault(items, version, counts),
            Kind::Stock(stock) => stock.bells.iter().find_map(|bell| bell.fault(items, &counts)),
        }
    }
}

impl Own {
    fn new(variant: usize) -> Own {
        let (options, archived, status) = match variant % 4 {
            0 | 1 => (r#","archived":"include""#, Archived::Include, Status::All),
            2 => ("", Archived::Exclude, Status::All),
            _ => (r#","status":"unread""#, Archived::Exclude, Status::Unread),
        };
        let of = |archived: Archived, status: Status| Filter { archived, status, ..Filter::default() };
        let (views, view_filters) = match variant / 4 % 5 {
            0 | 1 => ("", Vec::new()),
            2 => (
                r#","views":{"archive":{"archived":"only"},"unread":{"status":"unread"}}"#,
                vec![("archive", of(Archived::Only, Status::All)), ("unread", of(Archived::Exclude, Status::Unread))],
            ),
            3 => (
                r#","views":{"acme":{"tenant":"acme","has_tenant":true}}"#,
                vec![("acme", Filter { tenant: Some("acme".into()), has_tenant: Some(true), ..Filter::default() })],
            ),
            _ => (
                r#","views":{"read":{"archived":"include","status":"read"}}"#,
                vec![("read", of(Archived::Include, Status::Read))],
            ),
        };
        Own {
            options,
            filter: of(archived, status),
            views,
            view_filters,
            version: None,
            items: BTreeMap::new(),
            counts: Counts::default(),
            view_counts: Vec::new(),
            ever: BTreeSet::new(),
            fetch: None,
            marks: BTreeMap::new(),
            undo: None,
        }
    }

    /// The server tells something of itself.
    pub(super) fn told(&mut self, event: &str, payload: &str) -> Result<(), String> {
        match event {
            "feed.snapshot" => self.snapshot(payload),
            "feed.delta" => {
                let delta: Delta<'_> = read(payload)?;
                if Some(delta.since) != self.version {
                    return Err(format!("told what came after {} while at {:?}", delta.since, self.version));
                }
                self.delta(&delta)
            }
            _ => Err(format!("{event} is nothing that our own clients are told")),
        }
    }

    /// What it asked for is answered.
    pub(super) fn fetched(&mut self, since: Option<i64>, payload: &str) -> Result<(), String> {
        if !payload.contains(r#""since":"#) {
            return self.snapshot(payload);
        }
        let delta: Delta<'_> = read(payload)?;
        if Some(delta.since) != since {
            return Err(format!("asked what changed since {since:?}, told what did since {}", delta.since));
        }
        if self.version.is_some_and(|version| delta.version < version) {
            // It was told more meanwhile.
            return Ok(());
        }
        self.delta(&delta)
    }

    fn snapshot(&mut self, payload: &str) -> Result<(), String> {
        let Snapshot { version, counts, views, entries } = read(payload)?;
        if self.version.is_some_and(|known| version < known) {
            return Err(format!("a snapshot goes back from {:?} to {version}", self.version));
        }
        self.ever.extend(entries.iter().map(|entry| entry.id.to_owned()));
        let length = entries.len();
        self.items = entries.iter().map(|entry| (entry.id.to_owned(), entry.stamps())).collect();
        if self.items.len() != length {
            return Err("a snapshot names an item twice".to_owned());
        }
        (self.version, self.counts, self.view_counts) = (Some(version), counts.into(), views.0);
        Ok(())
    }

    fn delta(&mut self, delta: &Delta<'_>) -> Result<(), String> {
        if self.version.is_some_and(|version| delta.version < version) {
            return Err(format!("a delta goes back from {:?} to {}", self.version, delta.version));
        }
        if delta.items.iter().map(|item| item.id).collect::<BTreeSet<_>>().len() != delta.items.len() {
            return Err("a delta names an item twice".to_owned());
        }
        if !delta.items.is_sorted_by(|one, other| one.inserted_at > other.inserted_at) {
            return Err("a delta has no order".to_owned());
        }
        for item in &delta.items {
            let is_new = self.ever.insert(item.id.to_owned());
            // Whoever sees the archive as well knows every item that had come by then.
            if is_new && came_with(item.id) <= delta.since && self.filter.archived == Archived::Include {
                return Err(format!("{} is new to it, but is older than {}", item.id, delta.since));
            }
            self.items.insert(item.id.to_owned(), item.stamps());
        }
        for id in &delta.removed {
            self.items.remove(*id);
        }
        self.version = Some(delta.version);
        let Figures { total_count, unread_count, unseen_count } = delta.counts;
        self.counts = Counts { total: total_count, unread: unread_count, unseen: unseen_count };
        self.view_counts.clone_from(&delta.views.0);
        Ok(())
    }

    fn fault(&self, items: &[Message], version: i64, counts: impl Fn(&Filter) -> Counts) -> Option<String> {
        if self.version != Some(version) {
            return Some(format!("it is at {:?}, the feed at {version}", self.version));
        }
        let stamp = |at: Option<Time>| at.map(|at| at.to_string());
        let stamps = |item: &Message| Stamps {
            inserted: item.inserted_at.to_string(),
            seen: stamp(item.seen_at),
            read: stamp(item.read_at),
            interacted: stamp(item.interacted_at),
            archived: stamp(item.archived_at),
        };
        // Of its views it was told only what has changed since it last began anew.
        let is_in_view = |item: &Message| self.view_filters.iter().any(|(_, filter)| filter.matches(item));
        let is_shown =
            |item: &&Message| self.filter.matches(item) || (is_in_view(item) && self.items.contains_key(&item.id));
        let truth: BTreeMap<String, Stamps> =
            items.iter().filter(is_shown).map(|item| (item.id.clone(), stamps(item))).collect();
        if self.items != truth {
            return Some(format!("it shows {:?}, the truth is {truth:?}", self.items));
        }
        let views: Vec<_> =
            self.view_filters.iter().map(|(name, filter)| ((*name).to_owned(), counts(filter))).collect();
        if self.view_counts != views {
            return Some(format!("its views count {:?}, the truth is {views:?}", self.view_counts));
        }
        let counts = counts(&self.filter);
        (self.counts != counts).then(|| format!("it counts {:?}, the truth is {counts:?}", self.counts))
    }
}

/// The version of the feed with which an item came, see `database`.
fn came_with(id: &str) -> i64 {
    id.split('.').nth(1).and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl Stock {
    fn new(number: usize, variant: usize) -> Stock {
        Stock { bells: vec![Bell::new(number, 0, variant)] }
    }

    /// A second feed mounts.
    pub(super) fn mount(&mut self, number: usize, variant: usize) -> usize {
        self.bells.push(Bell::new(number, self.bells.len(), variant));
        self.bells.len() - 1
    }

    /// What was said with `new-message`: which feeds are to be looked at.
    pub(super) fn told(&mut self, payload: &str) -> Result<Vec<usize>, String> {
        let NewMessage { attn, data } = read(payload)?;
        if attn.is_empty() || attn.len() != data.len() {
            return Err(format!("a new-message for nobody, or without its counts: {payload}"));
        }
        let mut concerned = Vec::new();
        for (name, Metadata { metadata }) in data {
            let at = self.bells.iter().position(|bell| bell.name == name && attn.contains(&name));
            let at = at.ok_or_else(|| format!("{name} is none of its feeds"))?;
            self.bells[at].badge = Some(metadata.into());
            concerned.push(at);
        }
        Ok(concerned)
    }
}

impl Bell {
    fn new(number: usize, at: usize, variant: usize) -> Bell {
        let tenant = |tenant: &str| Filter { tenant: Some(tenant.to_owned()), ..Filter::default() };
        let (options, filter) = match variant % 5 {
            0 | 1 => ("", Filter::default()),
            2 => (r#""tenant":"acme""#, tenant("acme")),
            3 => (r#""has_tenant":true"#, Filter { has_tenant: Some(true), ..Filter::default() }),
            _ => (r#""archived":"include""#, Filter { archived: Archived::Include, ..Filter::default() }),
        };
        Bell {
            name: format!("client_{number}_{at}"),
            options,
            filter,
            badge: None,
            items: BTreeSet::new(),
            newest: 0,
            is_looking: false,
        }
    }

    /// It has looked, and found these items, newer than what it had, beside these counts.
    pub(super) fn looked(&mut self, found: Vec<(String, i64)>, counts: Counts) {
        self.is_looking = false;
        self.badge = Some(counts);
        for (id, place) in found {
            self.newest = self.newest.max(place);
            self.items.insert(id);
        }
    }

    fn fault(&self, items: &[Message], counts: impl Fn(&Filter) -> Counts) -> Option<String> {
        let counts = counts(&self.filter);
        if self.badge != Some(counts) {
            return Some(format!("the badge of {} is {:?}, the truth is {counts:?}", self.name, self.badge));
        }
        // An item that comes back from the archive is older than the list's first, and not asked for.
        let is_missing =
            |item: &&Message| self.filter.matches(item) && !self.items.contains(&item.id) && item.seq > self.newest;
        let missing = items.iter().find(is_missing)?;
        Some(format!("{} does not show {} ({})", self.name, missing.id, missing.seq))
    }
}
