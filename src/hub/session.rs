//! One conversation, as a pure state machine: a frame comes in, and what has to be done comes out.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::MALFORMED;
use super::channels::feed::{Name, View, filter, granted, since};
use super::channels::guides::Target;
use crate::model::channel::ChannelKind;
use crate::model::feed::{Filter, Options as _};
use crate::model::mark::{Mark, interaction_metadata};
use crate::model::recipient::user_id_fault;
use crate::model::time::Time;
use crate::sign::access::Grant;
use crate::store::Env;
use crate::verbs::Catalog;
use crate::verbs::door::Caller;
use crate::verbs::mark::Everything;
use crate::wire::cursor::{List, Page};
use crate::wire::join::Join;
use crate::wire::json::{MAX_DEPTH, depth_at_most};
use crate::wire::phoenix::{self, Frame, Topic, Vsn};

/// Topics that one socket may join.
pub(crate) const MOST_TOPICS: usize = 1_000;
/// Bytes that the payload of a join may have: its filters are kept for as long as the join lasts.
const MOST_JOIN_BYTES: usize = 8 * 1024;
/// Messages that one `feed.mark` may name.
const MOST_MARKED: usize = 500;

/// Our own clients: mark items.
const MARK: &str = "feed.mark";
/// Our own clients: read a page, or what changed.
const FETCH: &str = "feed.fetch";

/// What one client said and what it has joined.
pub(crate) struct Session {
    vsn: Vsn,
    caller: Arc<Caller>,
    joins: Vec<Joined>,
    /// Most clients have none: then it takes next to no memory.
    guides: Option<Box<Guides>>,
}

#[derive(Default)]
struct Guides {
    joins: Vec<JoinedGuides>,
}

struct JoinedGuides {
    channel: Uuid,
    join_ref: Option<Arc<str>>,
}

struct Joined {
    name: Name,
    join_ref: Option<Arc<str>>,
    /// It speaks our own events.
    is_own: bool,
}

/// Something to do.
#[derive(Debug)]
pub(crate) enum Out {
    /// Send this.
    Say(String),
    /// Send this, the refusal of a join.
    Refuse(String),
    /// Let the client in, and answer it.
    Join(Box<Enter>),
    /// Let the client in to a channel of guides, and answer it.
    JoinGuides(Box<GuidesEntry>),
    /// Let the client out of a channel of guides.
    LeaveGuides(Uuid),
    /// Let the client out.
    Leave { name: Name, is_clean: bool },
    /// Answer this once it is done.
    Ask(Box<Request>),
    /// Close the connection with this code.
    Close(u16),
}

/// A join that was found good.
#[derive(Debug)]
pub(crate) struct Enter {
    pub(crate) name: Name,
    pub(crate) join_ref: Option<Arc<str>>,
    pub(crate) reference: Option<String>,
    pub(crate) view: View,
    /// The version our own client has.
    pub(crate) since: Option<i64>,
}

/// A join of a channel of guides that was found good.
#[derive(Debug)]
pub(crate) struct GuidesEntry {
    pub(crate) channel: Uuid,
    pub(crate) env: Env,
    pub(crate) target: Target,
    pub(crate) join_ref: Option<Arc<str>>,
    /// What the client is answered.
    pub(crate) reply: String,
}

/// A push of our own client that needs more than the session knows.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) name: Name,
    pub(crate) join_ref: Option<Arc<str>>,
    pub(crate) reference: Option<String>,
    pub(crate) what: What,
}

/// What our own client asks for.
#[derive(Debug)]
pub(crate) enum What {
    Since(Option<i64>),
    /// A page of the feed, or of the view that is named.
    Page {
        view: Option<String>,
        page: Page,
    },
    Mark {
        mark: Mark,
        ids: Vec<String>,
        metadata: Option<Map<String, Value>>,
    },
    MarkAll {
        mark: Mark,
        everything: Everything,
    },
}

/// What a refused push is answered: a sentence and a code.
type Refused = (String, &'static str);

impl Session {
    pub(crate) fn new(vsn: Vsn, caller: Arc<Caller>) -> Self {
        Session { vsn, caller, joins: Vec::new(), guides: None }
    }

    pub(crate) fn vsn(&self) -> Vsn {
        self.vsn
    }

    pub(crate) fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// The feeds that are joined.
    pub(crate) fn joined(&self) -> impl Iterator<Item = &Name> {
        self.joins.iter().map(|joined| &joined.name)
    }

    /// The channels of guides that are joined.
    pub(crate) fn guides(&self) -> impl Iterator<Item = Uuid> {
        self.joined_guides().iter().map(|joined| joined.channel)
    }

    fn joined_guides(&self) -> &[JoinedGuides] {
        self.guides.as_ref().map_or(&[], |guides| &guides.joins)
    }

    /// Forgets that a channel of guides is joined.
    fn let_go(&mut self, channel: Uuid) -> Option<JoinedGuides> {
        let joins = &mut self.guides.as_mut()?.joins;
        let at = joins.iter().position(|joined| joined.channel == channel)?;
        let joined = joins.swap_remove(at);
        if joins.is_empty() {
            self.guides = None;
        }
        Some(joined)
    }

    /// The join could not be done after all.
    pub(crate) fn undo(&mut self, name: &Name) {
        self.joins.retain(|joined| joined.name != *name);
    }

    /// Hears a text frame. `plain` is the filter that filters nothing, shared by all.
    pub(crate) fn hear(&mut self, text: &str, catalog: &Catalog, plain: &Arc<Filter>) -> Vec<Out> {
        match Frame::parse(self.vsn, text) {
            Ok(frame) => self.act(&frame, catalog, plain),
            Err(_) => vec![Out::Close(MALFORMED)],
        }
    }

    /// Hears a binary frame.
    pub(crate) fn hear_binary(&mut self, bytes: &[u8], catalog: &Catalog, plain: &Arc<Filter>) -> Vec<Out> {
        match Frame::parse_binary(bytes) {
            Ok(frame) => self.act(&frame, catalog, plain),
            Err(_) => vec![Out::Close(MALFORMED)],
        }
    }

    fn act(&mut self, frame: &Frame<'_>, catalog: &Catalog, plain: &Arc<Filter>) -> Vec<Out> {
        let topic = Topic::parse(&frame.topic);
        match (topic, &*frame.event) {
            (Topic::Phoenix, phoenix::HEARTBEAT) => {
                vec![Out::Say(phoenix::heartbeat(self.vsn, frame.reference.as_deref()))]
            }
            (Topic::Feed { channel, user }, phoenix::JOIN) => self.join(frame, channel, user, catalog, plain),
            (Topic::Guides { channel }, phoenix::JOIN) => self.join_guides(frame, channel, catalog),
            (Topic::Guides { channel }, phoenix::LEAVE) => self.leave_guides(frame, channel),
            (_, phoenix::JOIN) => vec![Out::Refuse(self.unmatched(frame))],
            (_, phoenix::LEAVE) => self.leave(frame, topic),
            _ => self.push(frame, topic, plain),
        }
    }

    /// F-SOC-06 to F-SOC-11. A join of a topic that is joined takes its place.
    fn join(
        &mut self,
        frame: &Frame<'_>,
        channel: &str,
        user: &str,
        catalog: &Catalog,
        plain: &Arc<Filter>,
    ) -> Vec<Out> {
        // The first serializer has no join_ref: there the ref of the join stands for it.
        let join_ref = frame.join_ref.as_deref().or(frame.reference.as_deref()).map(Arc::from);
        let mut out = Vec::with_capacity(3);
        let old = self.position(channel, user).map(|at| self.joins.swap_remove(at));
        if let Some(old) = &old {
            out.push(Out::Leave { name: old.name.clone(), is_clean: true });
        }
        match self.may_enter(frame, channel, user, catalog, plain) {
            Err(reason) => out.push(self.refusal(frame, &reason)),
            Ok((name, view, since)) => {
                if self.joins.is_empty() {
                    self.joins.reserve_exact(1);
                }
                let is_own = view.own.is_some();
                self.joins.push(Joined { name: name.clone(), join_ref: Option::clone(&join_ref), is_own });
                let reference = frame.reference.as_deref().map(str::to_owned);
                out.push(Out::Join(Box::new(Enter { name, join_ref, reference, view, since })));
            }
        }
        if let Some(old) = old {
            // A client takes this for the end of the join it names: it must be the old one (socket.md 3.3).
            out.push(Out::Say(phoenix::close(self.vsn, old.join_ref.as_deref(), &frame.topic)));
        }
        out
    }

    fn may_enter(
        &self,
        frame: &Frame<'_>,
        channel: &str,
        user: &str,
        catalog: &Catalog,
        plain: &Arc<Filter>,
    ) -> Result<(Name, View, Option<i64>), String> {
        self.has_room(frame)?;
        let known = catalog.feed_channel(channel).ok_or("the channel is not an in-app feed of this server")?;
        if known.id.to_string() != channel {
            return Err(format!("write the channel's id as `{}`", known.id));
        }
        if let Some(fault) = user_id_fault(user) {
            return Err(fault.to_owned());
        }
        self.caller.require_user(Grant::FeedRead, user).map_err(|refusal| refusal.message.into_owned())?;
        let join = Join::parse(frame.payload.get()).map_err(|fault| fault.to_string())?;
        let (view, since) = View::read(join, &self.caller, plain)?;
        Ok((Name { env: self.caller.env(), channel: known.id, user: user.into() }, view, since))
    }

    /// F-SOC-21. A join of a channel that is joined takes its place.
    fn join_guides(&mut self, frame: &Frame<'_>, channel: &str, catalog: &Catalog) -> Vec<Out> {
        let join_ref = frame.join_ref.as_deref().or(frame.reference.as_deref()).map(Arc::from);
        let mut out = Vec::with_capacity(3);
        let old = Uuid::try_parse(channel).ok().and_then(|channel| self.let_go(channel));
        if let Some(old) = &old {
            out.push(Out::LeaveGuides(old.channel));
        }
        match self.may_see_guides(frame, channel, catalog) {
            Err(reason) => out.push(self.refusal(frame, &reason)),
            Ok((channel, target)) => {
                let reference = frame.reference.as_deref();
                let reply = phoenix::reply(self.vsn, join_ref.as_deref(), reference, &frame.topic, true, "{}");
                let joins = &mut self.guides.get_or_insert_default().joins;
                joins.push(JoinedGuides { channel, join_ref: Option::clone(&join_ref) });
                let env = self.caller.env();
                out.push(Out::JoinGuides(Box::new(GuidesEntry { channel, env, target, join_ref, reply })));
            }
        }
        if let Some(old) = old {
            out.push(Out::Say(phoenix::close(self.vsn, old.join_ref.as_deref(), &frame.topic)));
        }
        out
    }

    fn may_see_guides(&self, frame: &Frame<'_>, channel: &str, catalog: &Catalog) -> Result<(Uuid, Target), String> {
        self.has_room(frame)?;
        let known = catalog.channel(channel).filter(|known| known.kind == ChannelKind::InAppGuide);
        let known = known.ok_or("the channel is not an in-app guide channel of this server")?;
        if known.id.to_string() != channel {
            return Err(format!("write the channel's id as `{}`", known.id));
        }
        let target = Target::read(frame.payload.get())?;
        let allowed = self.caller.require_user(Grant::GuideRead, &target.user);
        allowed.map_err(|refusal| refusal.message.into_owned())?;
        Ok((known.id, target))
    }

    /// Whether the client may join one more topic, as this frame asks.
    fn has_room(&self, frame: &Frame<'_>) -> Result<(), String> {
        if self.joins.len() + self.joined_guides().len() >= MOST_TOPICS {
            return Err(format!("a socket joins at most {MOST_TOPICS} topics: open another"));
        }
        if frame.payload.get().len() > MOST_JOIN_BYTES {
            return Err(format!("the payload of a join has at most {MOST_JOIN_BYTES} bytes"));
        }
        Ok(())
    }

    /// F-SOC-12, of a channel of guides.
    fn leave_guides(&mut self, frame: &Frame<'_>, channel: &str) -> Vec<Out> {
        let (reference, join_ref) = (frame.reference.as_deref(), frame.join_ref.as_deref());
        let reply =
            |join_ref: Option<&str>| Out::Say(phoenix::reply(self.vsn, join_ref, reference, &frame.topic, true, "{}"));
        let channel = Uuid::try_parse(channel).unwrap_or_default();
        let Some(joined) = self.joined_guides().iter().find(|joined| joined.channel == channel) else {
            return vec![reply(join_ref)];
        };
        let own = joined.join_ref.as_deref();
        if join_ref.is_some() && join_ref != own {
            return Vec::new();
        }
        let close = Out::Say(phoenix::close(self.vsn, own, &frame.topic));
        let out = vec![Out::LeaveGuides(channel), reply(own), close];
        self.let_go(channel);
        out
    }

    /// F-SOC-12. A leave of an older join leaves the newer alone; one of a topic that is not joined is content.
    fn leave(&mut self, frame: &Frame<'_>, topic: Topic<'_>) -> Vec<Out> {
        let at = match topic {
            Topic::Feed { channel, user } => self.position(channel, user),
            _ => None,
        };
        let (reference, join_ref) = (frame.reference.as_deref(), frame.join_ref.as_deref());
        let reply =
            |join_ref: Option<&str>| Out::Say(phoenix::reply(self.vsn, join_ref, reference, &frame.topic, true, "{}"));
        let Some(at) = at else { return vec![reply(join_ref)] };
        if join_ref.is_some() && join_ref != self.joins[at].join_ref.as_deref() {
            return Vec::new();
        }
        let joined = &self.joins[at];
        let out = vec![
            Out::Leave { name: joined.name.clone(), is_clean: true },
            reply(joined.join_ref.as_deref()),
            Out::Say(phoenix::close(self.vsn, joined.join_ref.as_deref(), &frame.topic)),
        ];
        self.joins.swap_remove(at);
        out
    }

    /// Any other event: our own clients' on a topic they have joined so; nothing else is known.
    fn push(&mut self, frame: &Frame<'_>, topic: Topic<'_>, plain: &Arc<Filter>) -> Vec<Out> {
        let at = match topic {
            Topic::Feed { channel, user } => self.position(channel, user),
            _ => None,
        };
        let Some(at) = at else { return vec![Out::Say(self.unmatched(frame))] };
        let joined = &self.joins[at];
        let payload = frame.payload.get();
        let what = match &*frame.event {
            FETCH if joined.is_own => fetch(payload),
            MARK if joined.is_own => self.mark(payload, &joined.name.user, plain),
            _ => {
                // The client joins again after it.
                let lost = Out::Say(phoenix::error(self.vsn, joined.join_ref.as_deref(), &frame.topic));
                let name = self.joins.swap_remove(at).name;
                return vec![Out::Leave { name, is_clean: true }, lost];
            }
        };
        let reference = frame.reference.as_deref().map(str::to_owned);
        let (name, join_ref) = (joined.name.clone(), Option::clone(&joined.join_ref));
        vec![match what {
            Ok(what) => Out::Ask(Box::new(Request { name, join_ref, reference, what })),
            Err((reason, code)) => {
                Out::Say(refuse(self.vsn, join_ref.as_deref(), reference.as_deref(), &frame.topic, &reason, code))
            }
        }]
    }

    fn mark(&self, payload: &str, user: &str, plain: &Arc<Filter>) -> Result<What, Refused> {
        self.caller
            .require_user(Grant::FeedWrite, user)
            .map_err(|refusal| (refusal.message.into_owned(), refusal.code.as_str()))?;
        let mut payload = object(payload)?;
        let mark = payload.get("as").and_then(Value::as_str).and_then(|name| name.parse().ok());
        let names = || Mark::ALL.map(Mark::name).join(", ");
        let mark: Mark = mark.ok_or_else(|| invalid(format!("`as` is one of {}", names())))?;
        let marked_at = marked_at(&payload, mark)?;
        if payload.get("all") == Some(&Value::Bool(true)) {
            let mut options = match payload.remove("filter") {
                None | Some(Value::Null) => Map::new(),
                Some(Value::Object(options)) => options,
                Some(_) => return Err(invalid("`filter` is an object of feed options")),
            };
            // An item may have gone into the archive since, or by the mark itself.
            if marked_at.is_some() && options.text("archived").is_none() {
                options.insert("archived".to_owned(), "include".into());
            }
            let read = filter(&options, &self.caller, plain).map_err(invalid)?;
            let allowed = granted(&self.caller, Grant::FeedWrite);
            let filter = Arc::new(Filter { allowed, ..(*read).clone() });
            return Ok(What::MarkAll { mark, everything: Everything { filter, marked_at } });
        }
        if marked_at.is_some() {
            return Err(invalid("`marked_at` goes with `\"all\": true`: it undoes a mark of everything"));
        }
        let metadata = interaction_metadata(payload.remove("metadata")).map_err(|fault| invalid(fault.to_string()))?;
        let ids = match payload.remove("ids") {
            Some(Value::Array(ids)) => ids,
            _ => return Err(invalid("name the messages in `ids`, or say `\"all\": true`")),
        };
        if ids.is_empty() || ids.len() > MOST_MARKED {
            return Err(invalid(format!("`ids` holds from 1 to {MOST_MARKED} ids")));
        }
        let text = |id: Value| if let Value::String(id) = id { Ok(id) } else { Err(invalid("an id is text")) };
        let ids = ids.into_iter().map(text).collect::<Result<_, _>>()?;
        Ok(What::Mark { mark, ids, metadata })
    }

    fn position(&self, channel: &str, user: &str) -> Option<usize> {
        let channel = uuid::Uuid::try_parse(channel).ok()?;
        self.joins.iter().position(|joined| joined.name.channel == channel && *joined.name.user == *user)
    }

    fn refusal(&self, frame: &Frame<'_>, reason: &str) -> Out {
        let (join_ref, reference) = (frame.join_ref.as_deref(), frame.reference.as_deref());
        Out::Refuse(phoenix::refuse(self.vsn, join_ref, reference, &frame.topic, reason))
    }

    fn unmatched(&self, frame: &Frame<'_>) -> String {
        phoenix::unmatched(self.vsn, frame.reference.as_deref(), &frame.topic)
    }
}

/// The refusal of a push, with a code beside the reason.
pub(crate) fn refuse(
    vsn: Vsn,
    join_ref: Option<&str>,
    reference: Option<&str>,
    topic: &str,
    reason: &str,
    code: &str,
) -> String {
    let response = serde_json::json!({"reason": reason, "code": code}).to_string();
    phoenix::reply(vsn, join_ref, reference, topic, false, &response)
}

fn invalid(reason: impl Into<String>) -> Refused {
    (reason.into(), "invalid_params")
}

/// The instant of the mark that is undone, if one is.
fn marked_at(payload: &Map<String, Value>, mark: Mark) -> Result<Option<Time>, Refused> {
    let at = match payload.get("marked_at") {
        None | Some(Value::Null) => return Ok(None),
        Some(at) => at.as_str().and_then(Time::parse),
    };
    let at = at.ok_or_else(|| invalid("`marked_at` is what a mark was answered as `at`"))?;
    if mark.is_positive() {
        return Err(invalid(format!("`marked_at` says what is undone, and {} undoes nothing", mark.name())));
    }
    Ok(Some(at))
}

fn object(payload: &str) -> Result<Map<String, Value>, Refused> {
    if !depth_at_most(payload, MAX_DEPTH) {
        return Err(invalid(format!("a push nests at most {MAX_DEPTH} deep")));
    }
    serde_json::from_str(payload).map_err(|_| invalid("the payload is an object"))
}

fn fetch(payload: &str) -> Result<What, Refused> {
    let payload = object(payload)?;
    let view = match payload.get("view") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name.clone()),
        Some(_) => return Err(invalid("`view` is the name of a view")),
    };
    if payload.contains_key("since") {
        if view.is_some() {
            return Err(invalid("what changed since a version is of all views: leave `view` out"));
        }
        return since(&payload).map(What::Since).map_err(invalid);
    }
    let size = match payload.get("page_size") {
        None | Some(Value::Null) => None,
        Some(size) => Some(size.as_i64().ok_or_else(|| invalid("page_size is a whole number"))?),
    };
    let word = |name: &str| payload.get(name).and_then(Value::as_str);
    let page = Page::new(size, word("after"), word("before"), List::Feed);
    page.map(|page| What::Page { view, page }).map_err(|fault| invalid(fault.to_string()))
}

#[cfg(test)]
mod tests;
