//! What waits to be written on one socket, shared by the socket's task with whoever has something to tell it.
//!
//! No channel and no timer per socket: an empty outbox holds no memory, and the sweep looks after the waiting.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use super::frames::Frames;
use super::passes::Standing;
use super::{MALFORMED, RESTARTS, REVOKED, TOKEN_ENDED};
use crate::model::time::Time;
use crate::wire::phoenix::{Push, Vsn};
use crate::wire::websocket::Opcode;

/// Pushes that may wait for a socket; a socket that is further behind is told later what it missed, in one.
const MOST_FRAMES: usize = 64;
/// Bytes of pushes that may wait; a single push may be larger.
const MOST_BYTES: usize = 128 * 1024;
/// Passes of the sweep for which a full outbox may stay full (each some seconds, see [`super::Settings`]).
const PATIENCE: u8 = 3;

/// A message that was larger than is taken (RFC 6455, 7.4.1).
const TOO_LARGE: u16 = 1009;

/// A message ready to be written.
#[derive(Debug, Clone)]
pub(crate) enum Frame {
    Text(String),
    /// Only the echo sends it.
    Binary(Vec<u8>),
    /// About the connection itself.
    Control(Opcode, Vec<u8>),
    /// A push that many sockets share, behind this socket's own head.
    Shared {
        head: Arc<str>,
        push: Arc<Push>,
    },
}

impl Frame {
    /// The two parts of its payload, to be written one after the other.
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Frame::Text(text) => (text.as_bytes(), &[]),
            Frame::Binary(bytes) | Frame::Control(_, bytes) => (bytes, &[]),
            Frame::Shared { head, push } => (head.as_bytes(), push.tail().as_bytes()),
        }
    }

    pub(crate) fn opcode(&self) -> Opcode {
        match self {
            Frame::Text(_) | Frame::Shared { .. } => Opcode::Text,
            Frame::Binary(_) => Opcode::Binary,
            Frame::Control(opcode, _) => *opcode,
        }
    }

    /// The bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        let (head, tail) = self.parts();
        head.len() + tail.len()
    }
}

/// How a socket has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// With a close frame of this code.
    Close(u16),
    /// At once.
    Drop(Fault),
}

/// Why a socket is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Its client does not answer the close frame.
    Unanswered,
    /// Its client takes nothing in.
    Slow,
    /// Its client says nothing.
    Silent,
}

impl End {
    /// Its reason, as it is counted.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            End::Close(code) => reason(code),
            End::Drop(Fault::Unanswered) => "unanswered",
            End::Drop(Fault::Slow) => "slow",
            End::Drop(Fault::Silent) => "silent",
        }
    }
}

/// The name of a close code, as it is counted.
fn reason(code: u16) -> &'static str {
    match code {
        REVOKED => "revoked",
        TOKEN_ENDED => "token_ended",
        RESTARTS => "restart",
        MALFORMED => "malformed",
        TOO_LARGE => "too_large",
        _ => "protocol",
    }
}

/// One open socket, as others know it.
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) vsn: Vsn,
    /// Whether the keys that let it in are still good.
    standing: Arc<Standing>,
    /// When the token that opened it is no longer good.
    ends_at: Option<Time>,
    heard_at: AtomicI64,
    outbox: Mutex<Outbox>,
}

#[derive(Default)]
struct Outbox {
    queue: Frames,
    bytes: usize,
    waker: Option<Waker>,
    end: Option<End>,
    wants_ping: bool,
    /// A push was refused: whoever drains the outbox asks for what was missed.
    is_starved: bool,
    /// The socket took nothing for a while: what it was told goes out only now.
    is_late: bool,
    starved_for: u8,
    ending_for: u8,
    is_gone: bool,
}

/// What the socket's task finds in its outbox.
#[derive(Default)]
pub(crate) struct Orders {
    pub(crate) frames: Frames,
    pub(crate) end: Option<End>,
    pub(crate) ping: bool,
    /// Pushes were refused, or come late: once what was accepted is written, there is room for what was not.
    pub(crate) is_starved: bool,
}

/// How long a client may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Silence {
    pub(crate) ping_after: i64,
    pub(crate) close_after: i64,
}

impl Link {
    pub(crate) fn new(id: u64, vsn: Vsn, standing: Arc<Standing>, ends_at: Option<Time>, now: Time) -> Self {
        let (heard_at, outbox) = (AtomicI64::new(now.micros()), Mutex::default());
        Link { id, vsn, standing, ends_at, heard_at, outbox }
    }

    fn lock(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the client was heard.
    pub(crate) fn hear(&self, now: Time) {
        self.heard_at.store(now.micros(), Ordering::Relaxed);
    }

    /// Queues an answer to the client, on behalf of its own task, which looks here before it waits. It always fits: a
    /// socket reads nothing while anything waits to be written.
    pub(crate) fn answer(&self, frame: Frame) {
        self.lock().put(frame);
    }

    /// Queues an answer to the client on behalf of another task than its own.
    pub(crate) fn say(&self, frame: Frame) {
        let mut outbox = self.lock();
        let is_first = outbox.put(frame);
        let waker = outbox.waker.take_if(|_| is_first);
        drop(outbox);
        wake(waker);
    }

    /// Queues pushes, all or none; false when the outbox is full, or the socket about to end. What is refused has to be
    /// told again when the socket says that it was starved.
    pub(crate) fn tell(&self, pushes: &[Arc<Push>], head: &Arc<str>) -> bool {
        let mut outbox = self.lock();
        if outbox.is_gone || outbox.end.is_some() {
            return false;
        }
        if !outbox.queue.is_empty() && (outbox.queue.len() >= MOST_FRAMES || outbox.bytes >= MOST_BYTES) {
            outbox.is_starved = true;
            return false;
        }
        let mut is_first = false;
        for push in pushes {
            let frame = match self.vsn {
                Vsn::V2 => Frame::Shared { head: Arc::clone(head), push: Arc::clone(push) },
                Vsn::V1 => Frame::Text(push.text(Vsn::V1, None)),
            };
            is_first |= outbox.put(frame);
        }
        // The task looks again after each write.
        let waker = outbox.waker.take_if(|_| is_first);
        drop(outbox);
        wake(waker);
        true
    }

    /// Ends the socket; the harder end counts.
    pub(crate) fn end(&self, end: End) {
        let mut outbox = self.lock();
        if outbox.end.is_none() || matches!(end, End::Drop(_)) {
            outbox.end = Some(end);
        }
        let waker = outbox.waker.take();
        drop(outbox);
        wake(waker);
    }

    /// The task looks what it has to do; frames are only given if it `takes` them. It is woken when there is more.
    pub(crate) fn orders(&self, cx: &Context<'_>, takes: bool) -> Orders {
        let mut outbox = self.lock();
        if outbox.waker.as_ref().is_none_or(|waker| !waker.will_wake(cx.waker())) {
            outbox.waker = Some(cx.waker().clone());
        }
        outbox.is_late |= !takes;
        let is_starved = outbox.is_starved || outbox.is_late;
        let mut orders = Orders { end: outbox.end, is_starved, ..Orders::default() };
        if takes {
            orders.frames = outbox.take();
            orders.ping = std::mem::take(&mut outbox.wants_ping);
        }
        orders
    }

    /// Whether a push was refused because the outbox was full.
    pub(crate) fn is_starved(&self) -> bool {
        self.lock().is_starved
    }

    /// Whether the socket took nothing for a while, and what it was told may not have gone out yet.
    pub(crate) fn is_late(&self) -> bool {
        let outbox = self.lock();
        outbox.is_late || outbox.is_starved
    }

    /// Takes what waits.
    pub(crate) fn take(&self) -> Frames {
        self.lock().take()
    }

    /// There is room again. Whoever was refused has to be told again after this.
    pub(crate) fn unstarve(&self) {
        let mut outbox = self.lock();
        (outbox.is_starved, outbox.is_late, outbox.starved_for) = (false, false, 0);
    }

    /// The task is over. A waker kept would keep its memory.
    pub(crate) fn retire(&self) {
        let mut outbox = self.lock();
        let waker = outbox.waker.take();
        *outbox = Outbox { is_gone: true, ..Outbox::default() };
        drop(outbox);
        drop(waker);
    }

    /// One pass of the sweep: pings the silent, ends the dead, the stuck and those whose keys or token are no longer good.
    /// `steady` says how long something takes, `now` is the time of day.
    pub(crate) fn nudge(&self, now: Time, steady: Time, silence: Silence) {
        let silent_for = steady.micros() - self.heard_at.load(Ordering::Relaxed);
        let ended = self.standing.ended().or(self.ends_at.filter(|at| now >= *at).map(|_| TOKEN_ENDED));
        let mut outbox = self.lock();
        outbox.starved_for = if outbox.is_starved { outbox.starved_for.saturating_add(1) } else { 0 };
        if outbox.end.is_some() {
            outbox.ending_for = outbox.ending_for.saturating_add(1);
        }
        let is_dead = silent_for >= silence.close_after * 1_000_000;
        if outbox.ending_for > PATIENCE {
            outbox.end = Some(End::Drop(Fault::Unanswered));
        } else if outbox.starved_for > PATIENCE {
            outbox.end = Some(End::Drop(Fault::Slow));
        } else if is_dead {
            outbox.end = Some(End::Drop(Fault::Silent));
        } else if let Some(code) = ended.filter(|_| outbox.end.is_none()) {
            outbox.end = Some(End::Close(code));
        } else if silent_for >= silence.ping_after * 1_000_000 && outbox.end.is_none() {
            outbox.wants_ping = true;
        } else {
            return;
        }
        let waker = outbox.waker.take();
        drop(outbox);
        wake(waker);
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let outbox = self.lock();
        (outbox.queue.len(), outbox.bytes)
    }
}

impl Outbox {
    /// Adds a frame; whether it is the first.
    fn put(&mut self, frame: Frame) -> bool {
        if self.is_gone {
            return false;
        }
        let is_first = self.queue.is_empty();
        self.bytes += frame.len();
        self.queue.push_back(frame);
        is_first
    }

    fn take(&mut self) -> Frames {
        self.bytes = 0;
        std::mem::take(&mut self.queue)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_micros(1_000_000_000);
    const SILENCE: Silence = Silence { ping_after: 45, close_after: 75 };

    fn link(ends_at: Option<Time>) -> Link {
        Link::new(1, Vsn::V2, Arc::default(), ends_at, NOW)
    }

    fn orders(link: &Link) -> Orders {
        link.orders(&Context::from_waker(Waker::noop()), true)
    }

    #[test]
    fn an_outbox_is_bounded_and_says_that_it_was_starved_once_it_is_drained() {
        let (link, head) = (link(None), Arc::from("[null"));
        let push = Arc::new(Push::new("feeds:c:u", "new-message", &"x".repeat(1_000)));
        let taken = (0..10_000).take_while(|_| link.tell(&[Arc::clone(&push)], &head)).count();
        assert_eq!(taken, MOST_FRAMES);
        assert!(link.waiting().1 <= MOST_BYTES + 2_000);
        let first = orders(&link);
        assert_eq!((first.frames.len(), first.is_starved), (MOST_FRAMES, true));
        assert!(orders(&link).is_starved, "until it is said that the frames are written");
        link.unstarve();
        assert!(!orders(&link).is_starved);
        let large = Arc::new(Push::new("feeds:c:u", "feed.snapshot", &"x".repeat(MOST_BYTES * 2)));
        assert!(link.tell(&[Arc::clone(&large)], &head), "a large push fits where nothing waits");
        assert!(!link.tell(&[large], &head));
    }

    #[test]
    fn a_socket_that_takes_nothing_for_a_while_says_so_once_it_has_written() {
        let link = link(None);
        assert!(!orders(&link).is_starved);
        link.orders(&Context::from_waker(Waker::noop()), false);
        assert!(orders(&link).is_starved);
        link.unstarve();
        assert!(!orders(&link).is_starved);
    }

    #[test]
    fn a_full_outbox_that_nobody_drains_ends_the_socket() {
        let (link, head) = (link(None), Arc::from("[null"));
        let push = Arc::new(Push::new("feeds:c:u", "new-message", "{}"));
        while link.tell(&[Arc::clone(&push)], &head) {}
        for _ in 0..PATIENCE {
            link.nudge(NOW, NOW, SILENCE);
            assert_eq!(link.lock().end, None);
        }
        link.nudge(NOW, NOW, SILENCE);
        assert_eq!(link.lock().end, Some(End::Drop(Fault::Slow)));
    }

    #[test]
    fn the_silent_are_pinged_then_dropped_and_the_expired_closed_with_4001() {
        let one = link(None);
        one.nudge(NOW.plus_seconds(44), NOW.plus_seconds(44), SILENCE);
        assert!(!orders(&one).ping);
        one.nudge(NOW.plus_seconds(45), NOW.plus_seconds(45), SILENCE);
        assert!(orders(&one).ping, "F-SOC-05");
        one.hear(NOW.plus_seconds(50));
        one.nudge(NOW.plus_seconds(76), NOW.plus_seconds(76), SILENCE);
        assert_eq!(orders(&one).end, None);
        one.nudge(NOW.plus_seconds(125), NOW.plus_seconds(125), SILENCE);
        assert_eq!(orders(&one).end, Some(End::Drop(Fault::Silent)), "F-SOC-05");

        let set = link(None);
        set.nudge(NOW.plus_seconds(3_600), NOW, SILENCE);
        let left = orders(&set);
        assert!(!left.ping && left.end.is_none(), "nobody is silent because the clock was set");

        let two = link(Some(NOW.plus_seconds(10)));
        two.nudge(NOW.plus_seconds(9), NOW.plus_seconds(9), SILENCE);
        assert_eq!(orders(&two).end, None);
        two.nudge(NOW.plus_seconds(10), NOW.plus_seconds(10), SILENCE);
        assert_eq!(orders(&two).end, Some(End::Close(4001)), "F-SOC-25 F-AMB-52");
        for _ in 0..=PATIENCE {
            two.nudge(NOW.plus_seconds(10), NOW.plus_seconds(10), SILENCE);
        }
        assert_eq!(orders(&two).end, Some(End::Drop(Fault::Unanswered)), "a close that is not answered has an end");
    }
}
