//! Does what a session decided.

use std::sync::Arc;

use tracing::error;

use super::channels::feed::{Name, granted};
use super::house::{House, Marked};
use super::outbox::{Frame, Link};
use super::registry::Registry;
use super::session::{Enter, GuidesEntry, Out, Request, Session, What, refuse};
use super::socket::Busy;
use super::topic::Joining;
use crate::sign::access::Grant;
use crate::verbs::Error;
use crate::verbs::door::Caller;
use crate::verbs::mark::Reach;
use crate::wire::cursor::Page;
use crate::wire::news::{self, Figures};
use crate::wire::phoenix::{self, Push, Vsn};

/// How often a delta is made anew because its socket was told of more meanwhile.
const ANEW: usize = 3;

/// Whose acts they are, and with what they are done.
pub(crate) struct Desk<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) house: Arc<dyn House>,
    /// How long our own clients are to wait before they dial again, at least and at most, in milliseconds.
    pub(crate) reconnect_ms: (u128, u128),
    pub(crate) link: &'a Arc<Link>,
}

/// Does one thing; what takes longer is given back.
pub(crate) fn perform(desk: Desk<'_>, session: &mut Session, out: Out) -> Option<Busy> {
    let Desk { registry, house, reconnect_ms, link } = desk;
    match out {
        Out::Say(text) => link.answer(Frame::Text(text)),
        Out::Refuse(text) => {
            house.metrics().joined("refused");
            link.answer(Frame::Text(text));
        }
        Out::Leave { name, is_clean } => registry.leave(&name, link, is_clean, house.now()),
        Out::JoinGuides(entry) => {
            let GuidesEntry { channel, env, target, join_ref, reply } = *entry;
            let (link, user) = (Arc::clone(link), Arc::from(target.user.as_str()));
            registry.enter_guides(&link, channel, Push::head(join_ref.as_deref()).into(), env, target);
            return Some(Box::pin(async move {
                // Once it is answered it is told of what happens on other nodes, too.
                house.heeded(env, &user).await;
                house.metrics().joined("ok");
                link.answer(Frame::Text(reply));
                None
            }));
        }
        Out::LeaveGuides(channel) => registry.leave_guides(link, channel),
        Out::Join(enter) => {
            let (registry, link, vsn) = (registry.clone(), Arc::clone(link), session.vsn());
            return Some(Box::pin(join(registry, house, link, vsn, reconnect_ms, enter)));
        }
        Out::Ask(request) => {
            let (registry, link, caller) = (registry.clone(), Arc::clone(link), Arc::clone(session.caller()));
            let asking = Asking { registry, house, link, caller, request };
            let vsn = session.vsn();
            return Some(Box::pin(async move {
                asking.run(vsn).await;
                None
            }));
        }
        // The socket itself does that.
        Out::Close(_) => {}
    }
    None
}

/// Lets the client in, answers it and tells it what it has to know first. Gives the feed's name back if it is not in.
async fn join(
    registry: Registry,
    house: Arc<dyn House>,
    link: Arc<Link>,
    vsn: Vsn,
    reconnect_ms: (u128, u128),
    enter: Box<Enter>,
) -> Option<Name> {
    let Enter { name, join_ref, reference, view, since } = *enter;
    let topic = name.topic();
    let (join_ref, reference) = (join_ref.as_deref(), reference.as_deref());
    let expected = registry.expect(&name);
    expected.heeded().await;
    let is_own = view.own.is_some();
    // A client nobody remembers may have fetched long ago, before a restart of ours, or may be fetching now: it is told to
    // look again. The look costs it a request; an item that stays unseen costs more.
    let known = if is_own { None } else { registry.known_to(&name, &view, house.now()) };
    let may_be_looking = !is_own && known.is_none();
    let since = if is_own { since } else { Some(known.unwrap_or(0).max(0)) };
    let reading = match house.read(&name, since).await {
        Ok(reading) => reading,
        Err(error) => {
            complain(&link, &name, &error, "a feed could not be read for a join");
            house.metrics().joined("failed");
            let reason = "the feed cannot be read now: join again";
            link.answer(Frame::Text(phoenix::refuse(vsn, join_ref, reference, &topic, reason)));
            drop(expected);
            return Some(name);
        }
    };
    let head = reading.head;
    let response = if is_own { welcome(head.version, reconnect_ms) } else { "{}".to_owned() };
    link.answer(Frame::Text(phoenix::reply(vsn, join_ref, reference, &topic, true, &response)));
    house.metrics().joined("ok");
    let told = if is_own { since } else { since.map(|known| known.min(head.version)) };
    let mut first = None;
    if is_own || told.is_none_or(|told| told < head.version) {
        let _reader = registry.reader().await;
        match view.since(&*house, &name, reading, told, is_own).await {
            Ok(found) => first = Some(found),
            Err(error) => complain(&link, &name, &error, "a feed could not be read for a join; it is tried again"),
        }
    }
    let prefix: Arc<str> = Push::head(join_ref).into();
    expected.enter(head, Joining { link, head: prefix, view, told, awaits_first: is_own, may_be_looking, first });
    None
}

/// Tells the operator what went wrong, and for which socket. Whose feed it is stands in no log.
fn complain(link: &Link, name: &Name, error: &impl std::fmt::Display, what: &str) {
    error!(socket.id = link.id, env = name.env, channel.id = %name.channel, %error, "{what}");
}

/// What our own client is told when it is in: the feed's version, and how long to wait, at least and at most, before it
/// dials again should the connection be lost. The more sockets this node holds, the longer their clients spread out.
fn welcome(version: i64, (least, most): (u128, u128)) -> String {
    format!(r#"{{"version":{version},"reconnect_ms":[{least},{most}]}}"#)
}

struct Asking {
    registry: Registry,
    house: Arc<dyn House>,
    link: Arc<Link>,
    caller: Arc<Caller>,
    request: Box<Request>,
}

impl Asking {
    async fn run(self, vsn: Vsn) {
        if let Err(error) = self.answer(vsn).await {
            if let Error::Store(inside) = &error {
                complain(&self.link, &self.request.name, inside, "a push on a feed failed");
            }
            let (reason, code) = explain(&error);
            self.refuse(vsn, &reason, code);
        }
    }

    fn refuse(&self, vsn: Vsn, reason: &str, code: &str) {
        let Request { name, join_ref, reference, .. } = &*self.request;
        let text = refuse(vsn, join_ref.as_deref(), reference.as_deref(), &name.topic(), reason, code);
        self.link.answer(Frame::Text(text));
    }

    async fn answer(&self, vsn: Vsn) -> Result<(), Error> {
        match &self.request.what {
            What::Since(since) => self.fetch_since(vsn, *since).await,
            What::Page { view, page } => self.fetch_page(vsn, view.as_deref(), page).await,
            What::Mark { .. } | What::MarkAll { .. } => self.mark(vsn).await,
        }
    }

    async fn fetch_page(&self, vsn: Vsn, view: Option<&str>, page: &Page) -> Result<(), Error> {
        let Some(joined) = self.view() else { return Ok(()) };
        let Some(own) = &joined.own else { return Ok(()) };
        match own.page(&*self.house, &self.request.name, view, page).await? {
            Some(response) => self.link.answer(self.reply(vsn, &response)),
            None => self.refuse(vsn, "The join named no view that is called so.", "invalid_params"),
        }
        Ok(())
    }

    fn view(&self) -> Option<Arc<super::channels::feed::View>> {
        self.registry.topic(&self.request.name)?.view(&self.link)
    }

    async fn fetch_since(&self, vsn: Vsn, since: Option<i64>) -> Result<(), Error> {
        let (house, name) = (&*self.house, &self.request.name);
        let (Some(topic), Some(view)) = (self.registry.topic(name), self.view()) else { return Ok(()) };
        let Some(own) = &view.own else { return Ok(()) };
        for _ in 0..ANEW {
            let reading = house.read(name, since).await?;
            let (version, _, response) = own.since(house, name, reading, since, true).await?;
            if topic.answer_with(&self.link, version, &self.reply(vsn, &response)) {
                return Ok(());
            }
        }
        // An older answer would take back what it was told, and nothing would bring that again.
        self.refuse(vsn, "The feed changes faster than it can be read: ask again.", "conflict");
        Ok(())
    }

    async fn mark(&self, vsn: Vsn) -> Result<(), Error> {
        let (registry, name) = (&self.registry, &self.request.name);
        let tenants = granted(&self.caller, Grant::FeedWrite);
        let reach = Reach { recipient: Some(name.user.to_string()), tenants, is_reader: true };
        let (mark, marked) = match &self.request.what {
            What::Mark { mark, ids, metadata } => (*mark, Marked::Ids(ids.clone(), metadata.clone())),
            What::MarkAll { mark, everything } => (*mark, Marked::All(everything.clone())),
            What::Since(_) | What::Page { .. } => return Ok(()),
        };
        let (head, at) = Arc::clone(&self.house).mark(name.clone(), mark, marked, reach).await?;
        let joined = self.view();
        let figures = match joined.as_ref().and_then(|view| view.own.as_ref()) {
            Some(own) => own.figures(&*self.house, &head).await?,
            None => Figures::default(),
        };
        let frame = self.reply(vsn, &news::marked(head.version, at, &figures));
        match registry.topic(name) {
            // The delta that brings the mark comes before the answer to it.
            Some(topic) if topic.answer_after(&self.link, head.version, frame.clone()) => registry.catch_up(topic),
            Some(_) => {}
            None => self.link.answer(frame),
        }
        Ok(())
    }

    fn reply(&self, vsn: Vsn, response: &str) -> Frame {
        let Request { name, join_ref, reference, .. } = &*self.request;
        let text = phoenix::reply(vsn, join_ref.as_deref(), reference.as_deref(), &name.topic(), true, response);
        Frame::Text(text)
    }
}

/// What the client is told; what went wrong inside is for the operator.
fn explain(error: &Error) -> (String, &'static str) {
    match error {
        Error::Store(_) => ("The server could not do this now: try again.".to_owned(), "internal_error"),
        Error::Forbidden(_) => (error.to_string(), "authorization"),
        Error::ChannelInvalid(_) => (error.to_string(), "channel_invalid"),
        _ => (error.to_string(), "invalid_params"),
    }
}
