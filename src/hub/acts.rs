//! Does what a session decided.

use std::sync::Arc;

use tracing::error;

use super::Inner;
use super::channels::feed::{Name, granted};
use super::outbox::{Frame, Link};
use super::session::{Enter, Out, Request, Session, What, refuse};
use super::socket::Busy;
use super::topic::Joining;
use crate::model::feed::Counts;
use crate::sign::access::Grant;
use crate::verbs::Error;
use crate::verbs::door::Caller;
use crate::verbs::mark::Reach;
use crate::wire::news;
use crate::wire::phoenix::{self, Push, Vsn};

/// How often a delta is made anew because its socket was told of more meanwhile.
const ANEW: usize = 3;

/// Does one thing; what takes longer is given back.
pub(crate) fn perform(hub: &Arc<Inner>, link: &Arc<Link>, session: &mut Session, out: Out) -> Option<Busy> {
    match out {
        Out::Say(text) => link.answer(Frame::Text(text)),
        Out::Refuse(text) => {
            hub.core.metrics.hub.joined("refused");
            link.answer(Frame::Text(text));
        }
        Out::Leave { name, is_clean } => hub.registry.leave(&name, link, is_clean, hub.core.clock.now()),
        Out::Join(enter) => return Some(Box::pin(join(Arc::clone(hub), Arc::clone(link), session.vsn(), enter))),
        Out::Ask(request) => {
            let asking =
                Asking { hub: Arc::clone(hub), link: Arc::clone(link), caller: Arc::clone(session.caller()), request };
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
async fn join(hub: Arc<Inner>, link: Arc<Link>, vsn: Vsn, enter: Box<Enter>) -> Option<Name> {
    let Enter { name, join_ref, reference, view, since } = *enter;
    let (core, topic) = (&hub.core, name.topic());
    let (join_ref, reference) = (join_ref.as_deref(), reference.as_deref());
    let expected = hub.registry.expect(&name);
    expected.heeded().await;
    let is_own = view.own.is_some();
    // A client nobody remembers may have fetched long ago, before a restart of ours: it is told to look again. The
    // look costs it one request; an item that stays unseen costs more.
    let known = || hub.registry.known_to(&name, &view, core.clock.now()).unwrap_or(0);
    let since = if is_own { since } else { Some(known().max(0)) };
    let reading = match name.read(core, since).await {
        Ok(reading) => reading,
        Err(error) => {
            complain(&link, &name, &error, "a feed could not be read for a join");
            core.metrics.hub.joined("failed");
            let reason = "the feed cannot be read now: join again";
            link.answer(Frame::Text(phoenix::refuse(vsn, join_ref, reference, &topic, reason)));
            drop(expected);
            return Some(name);
        }
    };
    let head = reading.head;
    let response = if is_own { welcome(&hub, head.version) } else { "{}".to_owned() };
    link.answer(Frame::Text(phoenix::reply(vsn, join_ref, reference, &topic, true, &response)));
    core.metrics.hub.joined("ok");
    let told = if is_own { since } else { since.map(|known| known.min(head.version)) };
    let mut first = None;
    if is_own || told.is_none_or(|told| told < head.version) {
        let _reader = hub.registry.reader().await;
        match view.since(core, &name, reading, told, is_own).await {
            Ok(found) => first = Some(found),
            Err(error) => complain(&link, &name, &error, "a feed could not be read for a join; it is tried again"),
        }
    }
    let prefix: Arc<str> = Push::head(join_ref).into();
    expected.enter(head, Joining { link, head: prefix, view, told, awaits_first: is_own, first });
    None
}

/// Tells the operator what went wrong, and for which socket. Whose feed it is stands in no log.
fn complain(link: &Link, name: &Name, error: &impl std::fmt::Display, what: &str) {
    error!(socket.id = link.id, env = name.env, channel.id = %name.channel, %error, "{what}");
}

/// What our own client is told when it is in: the feed's version, and how long to wait, at least and at most, before it
/// dials again should the connection be lost. The more sockets this node holds, the longer their clients spread out.
fn welcome(hub: &Inner, version: i64) -> String {
    let (least, most) = hub.gate.reconnect_ms(hub.sockets());
    format!(r#"{{"version":{version},"reconnect_ms":[{least},{most}]}}"#)
}

struct Asking {
    hub: Arc<Inner>,
    link: Arc<Link>,
    caller: Arc<Caller>,
    request: Box<Request>,
}

impl Asking {
    async fn run(self, vsn: Vsn) {
        if let Err(error) = self.answer(vsn).await {
            let Request { name, join_ref, reference, .. } = &*self.request;
            if let Error::Store(inside) = &error {
                complain(&self.link, name, inside, "a push on a feed failed");
            }
            let (reason, code) = explain(&error);
            let text = refuse(vsn, join_ref.as_deref(), reference.as_deref(), &name.topic(), &reason, code);
            self.link.answer(Frame::Text(text));
        }
    }

    async fn answer(&self, vsn: Vsn) -> Result<(), Error> {
        match &self.request.what {
            What::Since(since) => self.fetch_since(vsn, *since).await,
            What::Page(page) => {
                let response = match self.view().as_ref().and_then(|view| view.own.as_ref()) {
                    Some(own) => own.page(&self.hub.core, &self.request.name, page).await?,
                    None => return Ok(()),
                };
                self.link.answer(self.reply(vsn, &response));
                Ok(())
            }
            What::Mark { .. } | What::MarkAll { .. } => self.mark(vsn).await,
        }
    }

    fn view(&self) -> Option<Arc<super::channels::feed::View>> {
        self.hub.registry.topic(&self.request.name)?.view(&self.link)
    }

    async fn fetch_since(&self, vsn: Vsn, since: Option<i64>) -> Result<(), Error> {
        let (core, name) = (&self.hub.core, &self.request.name);
        let (Some(topic), Some(view)) = (self.hub.registry.topic(name), self.view()) else { return Ok(()) };
        let Some(own) = &view.own else { return Ok(()) };
        for attempt in 1..=ANEW {
            let reading = name.read(core, since).await?;
            let (version, _, response) = own.since(core, name, reading, since, true).await?;
            if topic.answer_with(&self.link, version, &self.reply(vsn, &response), attempt == ANEW) {
                break;
            }
        }
        Ok(())
    }

    /// A mark that was begun is finished even if the socket goes: its news must reach the others.
    async fn mark(&self, vsn: Vsn) -> Result<(), Error> {
        let (hub, name) = (Arc::clone(&self.hub), self.request.name.clone());
        let reach = Reach { recipient: Some(name.user.to_string()), tenants: granted(&self.caller, Grant::FeedWrite) };
        let what = match &self.request.what {
            What::Mark { mark, ids, metadata } => Marking::Ids(*mark, ids.clone(), metadata.clone()),
            What::MarkAll { mark, filter } => Marking::All(*mark, Arc::clone(filter)),
            What::Since(_) | What::Page(_) => return Ok(()),
        };
        let done = tokio::spawn(async move {
            let (core, channel) = (&hub.core, name.channel.to_string());
            match what {
                Marking::Ids(mark, ids, metadata) => {
                    drop(core.mark(name.env, &ids, mark, metadata.as_ref(), &reach).await?);
                }
                Marking::All(mark, filter) => {
                    core.mark_all(name.env, &channel, &name.user, &filter, mark).await?;
                }
            }
            Ok::<_, Error>(core.store.feed_head(name.env, &channel, &name.user).await?)
        });
        let head = done.await.map_err(|_| Error::Store(crate::store::Error::Closed))??;
        let (registry, name) = (&self.hub.registry, &self.request.name);
        let counts = match self.view().as_ref().and_then(|view| view.own.as_ref()) {
            Some(own) => own.counts(&self.hub.core, &head).await?,
            None => Counts::default(),
        };
        let frame = self.reply(vsn, &news::marked(head.version, counts));
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

enum Marking {
    Ids(crate::model::mark::Mark, Vec<String>, Option<serde_json::Map<String, serde_json::Value>>),
    All(crate::model::mark::Mark, Arc<crate::model::feed::Filter>),
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
