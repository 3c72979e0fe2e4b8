//! What a joined feed is told: to official clients `new-message`, to our own snapshots and deltas.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::bus::News;
use crate::hub::house::House;
use crate::model::channel::Channel;
use crate::model::feed::{Archived, Counts, Filter, Head, Mode, Options, Status, Tenants, mode};
use crate::model::message::Message;
use crate::model::time::Time;
use crate::sign::access::Grant;
use crate::store::Env;
use crate::store::feeds::Changes;
use crate::verbs::Error;
use crate::verbs::door::Caller;
use crate::verbs::feed::{Showing, items};
use crate::wire::cursor::{MAX_PAGE_SIZE, Page};
use crate::wire::join::Join;
use crate::wire::news::{self, Figures};
use crate::wire::phoenix::{Push, Topic};

/// Feeds that one join may name.
pub(crate) const MOST_CLIENTS: usize = 32;
/// Views that one join may name beside our own client's feed, and characters of their names.
const MOST_VIEWS: usize = 8;
const MOST_VIEW_CHARS: usize = 32;

/// A feed as topics name it: whose, on which channel, where.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) env: Env,
    pub(crate) channel: Uuid,
    pub(crate) user: Arc<str>,
}

impl Name {
    /// The topic's spelling.
    pub(crate) fn topic(&self) -> String {
        Topic::feed(self.channel.hyphenated().encode_lower(&mut Uuid::encode_buffer()), &self.user)
    }

    fn channel<'a>(&self, house: &'a dyn House) -> Option<&'a Channel> {
        house.channels().iter().find(|channel| channel.id == self.channel)
    }
}

/// What was read of a feed: its head, then what changed, which may be newer than the head.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) head: Head,
    /// What changed since the version that was named, if one was.
    pub(crate) changes: Option<Changes>,
}

/// What one join wants to be told. Members of a topic with equal views share every frame.
#[derive(Debug, PartialEq)]
pub(crate) struct View {
    badge: Badge,
    pub(crate) own: Option<Own>,
    /// What the token lets see of the whole feed (F-SOC-16).
    whole: Arc<Filter>,
}

/// What an official client shows.
#[derive(Debug, PartialEq)]
enum Badge {
    None,
    /// Feeds, each by the client's name for it (F-SOC-09).
    Clients(Box<[Named]>),
    /// One feed without a name (F-SOC-28).
    Flat(Arc<Filter>),
}

/// A filter by the client's name for it.
#[derive(Debug, PartialEq)]
struct Named {
    name: Box<str>,
    filter: Arc<Filter>,
}

/// What one of our own clients shows.
#[derive(Debug, PartialEq)]
pub(crate) struct Own {
    pub(crate) filter: Arc<Filter>,
    pub(crate) mode: Mode,
    page_size: usize,
    /// What else it shows of the feed: it is told of whatever belongs to any of them, and the counts of each.
    views: Box<[Named]>,
}

/// What a view is told of one change, as far as that needs no database.
pub(crate) enum AtOnce {
    /// These pushes, or nothing.
    Pushes(Vec<Arc<Push>>),
    /// The database has to be asked.
    Ask,
}

/// What a view is told of everything since a version.
pub(crate) struct Told {
    /// The version that is reached by it.
    pub(crate) version: i64,
    pub(crate) pushes: Vec<Arc<Push>>,
}

impl View {
    /// Reads what a join asks for, within what the caller may see; and the version that our own client has.
    /// `plain` is the filter that filters nothing: most views share it.
    pub(crate) fn read(join: Join, caller: &Caller, plain: &Arc<Filter>) -> Result<(View, Option<i64>), String> {
        if join.clients.len() > MOST_CLIENTS {
            return Err(format!("a join names at most {MOST_CLIENTS} feeds"));
        }
        let own = join.bellwire.as_ref().map(|options| Own::read(options, &join.views, caller, plain)).transpose()?;
        let since = join.bellwire.as_ref().map(since).transpose()?.flatten();
        let badge = match join.flat {
            Some(options) => Badge::Flat(filter(&options, caller, plain)?),
            None if join.clients.is_empty() => Badge::None,
            None => clients(&join.clients, caller, plain)?,
        };
        let allowed = readable(caller);
        let whole = shared(Filter { allowed, ..Filter::default() }, plain);
        Ok((View { badge, own, whole }, since))
    }

    /// The names that the client gave its feeds.
    pub(crate) fn clients(&self) -> impl Iterator<Item = &str> {
        let clients: &[Named] = if let Badge::Clients(clients) = &self.badge { clients } else { &[] };
        clients.iter().map(|client| &*client.name)
    }

    /// The time at which what is told now prompts the client to look at the feed; none for our own, which has it told.
    pub(crate) fn prompts(&self, now: Time) -> Option<Time> {
        self.own.is_none().then_some(now)
    }

    /// What is told of a change whose version follows the one told last. `recounts` says whether it changed the feed's
    /// counters. Needs no database where nothing but status and archive is filtered.
    pub(crate) fn at_once(
        &self,
        house: Option<&dyn House>,
        name: &Name,
        head: &Head,
        news: &News,
        recounts: bool,
    ) -> AtOnce {
        let mut pushes = Vec::new();
        let concerned = match news {
            News::Item(message) => self.concerned(|filter| filter.matches(message)),
            // It may have been in any of them, whatever it is now.
            News::Moved => self.concerned(|_| true),
            News::Changed if recounts => self.concerned(|_| true),
            News::Changed => 0,
        };
        if concerned != 0 {
            if !self.is_counted(concerned) {
                return AtOnce::Ask;
            }
            let counts = |filter: &Filter| head.counts(filter.archived, Status::All);
            pushes.extend(self.new_message(name, concerned, counts));
        }
        if let Some(own) = &self.own {
            let (News::Item(message), Some(house)) = (news, house) else { return AtOnce::Ask };
            match own.item(house, name, head, message) {
                Some(push) => pushes.push(push),
                None => return AtOnce::Ask,
            }
        }
        AtOnce::Pushes(pushes)
    }

    /// What is told of everything since version `since`, for which the feed was read; of the feed as it stands, when it is
    /// none or too long ago. `must_answer` says that one of our own clients awaits an answer even if nothing changed.
    pub(crate) async fn since(
        &self,
        house: &dyn House,
        name: &Name,
        reading: Reading,
        since: Option<i64>,
        must_answer: bool,
    ) -> Result<Told, Error> {
        let head = reading.head;
        let mut told = Told { version: head.version, pushes: Vec::new() };
        if let Some(since) = since
            && self.badge != Badge::None
            && since < head.version
        {
            let concerned = self.concerned_since(&reading, since);
            if concerned != 0 {
                let counts = self.counts(house, &head, concerned).await?;
                told.pushes.extend(self.new_message(name, concerned, counts));
            }
        }
        if let Some(own) = &self.own
            && (must_answer || since.is_none_or(|since| since != head.version))
        {
            let (version, event, payload) = own.since(house, name, reading, since, false).await?;
            told.version = version;
            told.pushes.push(Arc::new(Push::new(&name.topic(), event, &payload)));
        }
        Ok(told)
    }

    /// Which of its feeds were concerned by what changed since `since`: by new items those that show them; any other
    /// change may have been in any of them.
    fn concerned_since(&self, reading: &Reading, since: i64) -> u32 {
        match &reading.changes {
            None | Some(Changes::TooOld) => self.concerned(|_| true),
            Some(Changes::Since { changed, removed }) => {
                // An item that has changed since it came may have been looked at in between.
                let is_untouched = |message: &Message| {
                    message.seq > since && message.version == message.seq && message.first_at.is_none()
                };
                let only_new = removed.is_empty() && changed.iter().all(is_untouched);
                self.concerned(|filter| !only_new || changed.iter().any(|message| filter.matches(message)))
            }
        }
    }

    /// A bit for each feed for which `is_concerned` says so.
    fn concerned(&self, is_concerned: impl Fn(&Filter) -> bool) -> u32 {
        match &self.badge {
            Badge::None => 0,
            Badge::Flat(filter) => u32::from(is_concerned(filter)),
            Badge::Clients(clients) => {
                let bits = clients.iter().enumerate().map(|(at, client)| u32::from(is_concerned(&client.filter)) << at);
                bits.fold(0, |all, bit| all | bit)
            }
        }
    }

    /// The filters whose counts a `new-message` for these feeds carries.
    fn filters(&self, concerned: u32) -> impl Iterator<Item = &Arc<Filter>> {
        let (flat, clients): (_, &[Named]) = match &self.badge {
            Badge::None => (None, &[]),
            Badge::Flat(filter) => (Some(filter), &[]),
            Badge::Clients(clients) => (Some(&self.whole), clients),
        };
        let named = clients.iter().enumerate().filter(move |(at, _)| concerned >> at & 1 == 1);
        flat.into_iter().chain(named.map(|(_, client)| &client.filter))
    }

    fn is_counted(&self, concerned: u32) -> bool {
        self.filters(concerned).all(|filter| filter.is_counted())
    }

    /// The counts of these feeds.
    async fn counts(
        &self,
        house: &dyn House,
        head: &Head,
        concerned: u32,
    ) -> Result<impl Fn(&Filter) -> Counts, Error> {
        let mut tally = Tally::default();
        for filter in self.filters(concerned) {
            tally.count(house, head, filter).await?;
        }
        Ok(move |filter: &Filter| tally.known(&filter.widened()).unwrap_or_default())
    }

    fn new_message(&self, name: &Name, concerned: u32, counts: impl Fn(&Filter) -> Counts) -> Option<Arc<Push>> {
        let payload = match &self.badge {
            Badge::None => None,
            Badge::Flat(filter) => Some(news::for_flat(counts(filter))),
            Badge::Clients(clients) => {
                let named = clients.iter().enumerate().filter(|(at, _)| concerned >> at & 1 == 1);
                let named: Vec<_> = named.map(|(_, client)| (&*client.name, counts(&client.filter))).collect();
                news::for_clients(&named, counts(&self.whole))
            }
        }?;
        Some(Arc::new(Push::new(&name.topic(), news::NEW_MESSAGE, &payload)))
    }
}

/// Counts under filters without their status, each counted once.
#[derive(Default)]
struct Tally(Vec<(Filter, Counts)>);

impl Tally {
    fn known(&self, wide: &Filter) -> Option<Counts> {
        self.0.iter().find(|(known, _)| known == wide).map(|(_, counts)| *counts)
    }

    /// The counts under a filter, its status included.
    async fn count(&mut self, house: &dyn House, head: &Head, filter: &Filter) -> Result<Counts, Error> {
        let wide = filter.widened();
        let counts = match self.known(&wide) {
            Some(counts) => counts,
            None => {
                let counts = house.counts(head, &wide).await?;
                self.0.push((wide, counts));
                counts
            }
        };
        Ok(counts.narrowed(filter.status))
    }
}

impl Own {
    fn read(
        options: &Map<String, Value>,
        views: &[(String, Map<String, Value>)],
        caller: &Caller,
        plain: &Arc<Filter>,
    ) -> Result<Own, String> {
        let page_size = match options.get("page_size") {
            None | Some(Value::Null) => MAX_PAGE_SIZE,
            Some(size) => match size.as_u64().and_then(|size| usize::try_from(size).ok()) {
                Some(size @ 1..) => size.min(MAX_PAGE_SIZE),
                _ => return Err(format!("page_size is a whole number from 1 to {MAX_PAGE_SIZE}")),
            },
        };
        let mode = mode(options, Mode::Compact).map_err(|fault| fault.to_string())?;
        let views = read_views(views, caller, plain)?;
        Ok(Own { filter: filter(options, caller, plain)?, mode, page_size, views })
    }

    /// The filters of the feed and of each view.
    fn filters(&self) -> impl Iterator<Item = &Filter> {
        std::iter::once(&*self.filter).chain(self.views.iter().map(|view| &*view.filter))
    }

    /// The filter of a page: of the view that is named, or of the feed. None if no view is called so.
    fn filter_of(&self, view: Option<&str>) -> Option<&Filter> {
        match view {
            None => Some(&self.filter),
            Some(name) => self.views.iter().find(|view| *view.name == *name).map(|view| &*view.filter),
        }
    }

    fn showing<'a>(&self, house: &'a dyn House, name: &Name) -> Result<Showing<'a>, Error> {
        let channel = name.channel(house).ok_or_else(|| Error::no_feed(&name.channel.to_string()))?;
        Ok(Showing { channel, mode: self.mode })
    }

    /// The delta of one new item; none when it needs the database.
    fn item(&self, house: &dyn House, name: &Name, head: &Head, message: &Message) -> Option<Arc<Push>> {
        if self.mode != Mode::Compact || !self.filters().all(Filter::is_counted) {
            return None;
        }
        let is_shown = self.filters().any(|filter| filter.matches(message));
        let shown = if is_shown { std::slice::from_ref(message) } else { &[] };
        let items = items(self.showing(house, name).ok()?, shown, "");
        let counts = |filter: &Filter| head.counts(filter.archived, filter.status);
        let views = self.views.iter().map(|view| (&*view.name, counts(&view.filter))).collect();
        let figures = Figures { counts: counts(&self.filter), views };
        let payload = news::delta(head.version - 1, head.version, &figures, &items, "[]");
        Some(Arc::new(Push::new(&name.topic(), news::DELTA, &payload)))
    }

    /// The counts that our own clients are told.
    pub(crate) async fn figures(&self, house: &dyn House, head: &Head) -> Result<Figures<'_>, Error> {
        self.figures_beside(Tally::default(), house, head).await
    }

    /// The same where some are known.
    async fn figures_beside(&self, mut known: Tally, house: &dyn House, head: &Head) -> Result<Figures<'_>, Error> {
        let counts = known.count(house, head, &self.filter).await?;
        let mut views = Vec::with_capacity(self.views.len());
        for Named { name, filter } in &self.views {
            views.push((&**name, known.count(house, head, filter).await?));
        }
        Ok(Figures { counts, views })
    }

    /// The delta since a version, for which the feed was read, or the feed as it stands: the version reached, the event
    /// and its payload.
    pub(crate) async fn since(
        &self,
        house: &dyn House,
        name: &Name,
        Reading { head, changes }: Reading,
        since: Option<i64>,
        is_fetch: bool,
    ) -> Result<(i64, &'static str, String), Error> {
        let showing = self.showing(house, name)?;
        let filters: Vec<&Filter> = self.filters().collect();
        if let (Some(since), Some(changes)) = (since, changes)
            && let Some(delta) = house.delta(name, showing, &filters, changes).await?
        {
            let figures = self.figures(house, &head).await?;
            let payload = news::delta(since, head.version, &figures, &delta.items, &delta.removed);
            return Ok((head.version, news::DELTA, payload));
        }
        let first = Page { size: self.page_size, at: None };
        let (version, payload) = self.snapshot(house, name, head, (&self.filter, &first), is_fetch).await?;
        Ok((version, news::SNAPSHOT, payload))
    }

    /// One page of the feed, or of a view, as a `feed.fetch` asks for it; none if no view is called so.
    pub(crate) async fn page(
        &self,
        house: &dyn House,
        name: &Name,
        view: Option<&str>,
        page: &Page,
    ) -> Result<Option<String>, Error> {
        let Some(filter) = self.filter_of(view) else { return Ok(None) };
        let head = house.head(name).await?;
        self.snapshot(house, name, head, (filter, page), false).await.map(|(_, payload)| Some(payload))
    }

    /// A page under one of the filters, beside the counts under all: the version that it has, and its payload.
    async fn snapshot(
        &self,
        house: &dyn House,
        name: &Name,
        head: Head,
        (filter, page): (&Filter, &Page),
        is_reset: bool,
    ) -> Result<(i64, String), Error> {
        let found = house.page(name, head, self.showing(house, name)?, filter, page).await?;
        let mut known = Tally::default();
        if filter.status == Status::All {
            known.0.push((filter.clone(), found.counts));
        }
        let figures = self.figures_beside(known, house, &found.head).await?;
        let payload = news::snapshot(is_reset, found.head.version, &figures, &found.entries, &found.page_info);
        Ok((found.head.version, payload))
    }
}

/// The views of our own client. One that the token does not cover is refused, as its feed is: the client says what it shows.
fn read_views(
    named: &[(String, Map<String, Value>)],
    caller: &Caller,
    plain: &Arc<Filter>,
) -> Result<Box<[Named]>, String> {
    if named.len() > MOST_VIEWS {
        return Err(format!("a join names at most {MOST_VIEWS} views"));
    }
    let mut views: Vec<Named> = Vec::with_capacity(named.len());
    for (name, options) in named {
        if !(1..=MOST_VIEW_CHARS).contains(&name.chars().count()) {
            return Err(format!("the name of a view has from 1 to {MOST_VIEW_CHARS} characters"));
        }
        if views.iter().any(|view| *view.name == **name) {
            return Err(format!("the view `{name}` is named twice"));
        }
        let filter = filter(options, caller, plain).map_err(|fault| format!("the view `{name}`: {fault}"))?;
        views.push(Named { name: name.as_str().into(), filter });
    }
    Ok(views.into())
}

/// The version our own client has; none asks for the feed as it stands.
pub(crate) fn since(options: &Map<String, Value>) -> Result<Option<i64>, String> {
    match options.get("since") {
        None | Some(Value::Null) => Ok(None),
        Some(since) => match since.as_i64() {
            Some(since @ 0..) => Ok(Some(since)),
            _ => Err("since is the version of a feed: a whole number".to_owned()),
        },
    }
}

/// The feeds of an official client. One that the token does not cover is left out, so that it silences no other; if it
/// covers none, the join is refused.
fn clients(named: &[(String, Map<String, Value>)], caller: &Caller, plain: &Arc<Filter>) -> Result<Badge, String> {
    let read = |(name, options): &(String, Map<String, Value>)| {
        filter(options, caller, plain).map(|filter| Named { name: name.as_str().into(), filter })
    };
    let (covered, refused): (Vec<_>, Vec<_>) = named.iter().map(read).partition(Result::is_ok);
    let covered: Box<[Named]> = covered.into_iter().flatten().collect();
    match refused.into_iter().find_map(Result::err) {
        Some(reason) if covered.is_empty() => Err(reason),
        Some(reason) => {
            tracing::warn!(env = caller.env(), reason, "a join names a feed that is left out");
            Ok(Badge::Clients(covered))
        }
        None => Ok(Badge::Clients(covered)),
    }
}

/// The filter that `options` describe, within what the token lets see.
pub(crate) fn filter(
    options: &Map<String, Value>,
    caller: &Caller,
    plain: &Arc<Filter>,
) -> Result<Arc<Filter>, String> {
    let mut filter = Filter::from_options(&Spelled(options)).map_err(|fault| fault.to_string())?;
    let tenants = caller.tenants(Grant::FeedRead, filter.tenant.as_deref());
    filter.allowed = tenants.map_err(|refusal| refusal.message.into_owned())?;
    Ok(shared(filter, plain))
}

fn shared(filter: Filter, plain: &Arc<Filter>) -> Arc<Filter> {
    if filter == **plain { Arc::clone(plain) } else { Arc::new(filter) }
}

/// What of the whole feed the token lets see.
fn readable(caller: &Caller) -> Tenants {
    granted(caller, Grant::FeedRead)
}

/// The tenants that a grant covers, whatever is asked for.
pub(crate) fn granted(caller: &Caller, grant: Grant) -> Tenants {
    use crate::sign::access::Scope;
    match caller.access().map(|access| access.scope(grant)) {
        None | Some(Scope::All) => Tenants::Any,
        Some(Scope::Nothing) => Tenants::These { tenants: Vec::new(), with_none: false },
        Some(Scope::Tenants { tenants, include_none }) => {
            Tenants::These { tenants: tenants.into_iter().collect(), with_none: include_none }
        }
    }
}

/// Options of a join, where one mobile client groups the bounds in an object of its own (F-SOC-10).
struct Spelled<'a>(&'a Map<String, Value>);

impl Options for Spelled<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.0.text(name).or_else(|| {
            let range = self.0.get("inserted_at_date_range")?.as_object()?;
            let (bound, is_inclusive) = match name.strip_prefix("inserted_at.")? {
                "gt" => ("start", false),
                "gte" => ("start", true),
                "lt" => ("end", false),
                "lte" => ("end", true),
                _ => return None,
            };
            let wants_inclusive = range.get("inclusive").and_then(Value::as_bool).unwrap_or(false);
            range.text(bound).filter(|_| is_inclusive == wants_inclusive)
        })
    }

    fn list(&self, name: &str) -> Vec<String> {
        self.0.list(name)
    }

    fn trigger_data(&self) -> Result<Option<Value>, crate::model::invalid::Invalid> {
        self.0.trigger_data()
    }
}

/// Whether a change moved any counter.
pub(crate) fn recounts(before: &Head, after: &Head) -> bool {
    let counts = |head: &Head| (head.counts(Archived::Exclude, Status::All), head.counts(Archived::Only, Status::All));
    before.version + 1 != after.version || counts(before) != counts(after)
}
