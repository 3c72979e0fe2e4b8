//! The task of one socket: reads frames, lets the session decide, writes what waits.
//!
//! Nothing is read while anything waits to be written: a client that does not read what it is told is not heard, and
//! what it is owed stays bounded. A socket that waits holds no buffer.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::acts::{self, Desk};
use super::channels::feed::Name;
use super::frames::Frames;
use super::outbox::{End, Frame, Link};
use super::session::{Out, Session};
use super::{Inner, reason};
use crate::wire::websocket::{Breach, MOST_HEAD, Message, Opcode, Reader, close_payload, spell_head};

/// Turns that a socket may take before others get theirs.
const TURNS: usize = 8;
/// Steps of a turn, before what they bring about is written: a message that is heard, or something that is done.
const STEPS: usize = 16;
/// Bytes that are read at once.
const READ_AT_ONCE: usize = 8 * 1024;
/// Bytes that are written at once.
const WRITTEN_AT_ONCE: usize = 16 * 1024;
/// The largest message a client may send.
pub(crate) const MOST_INCOMING: usize = 64 * 1024;

/// Something under way on behalf of the client, which hears nothing else meanwhile. It gives the name of a feed whose
/// join did not succeed.
pub(crate) type Busy = Pin<Box<dyn Future<Output = Option<Name>> + Send>>;

/// One socket.
pub(crate) struct Socket {
    stream: TcpStream,
    reader: Reader,
    /// The largest message that is taken.
    most_incoming: usize,
    link: Arc<Link>,
    talk: Talk,
    writing: Frames,
    /// Bytes of the first of `writing` that are written.
    written: usize,
    busy: Option<Busy>,
    phase: Phase,
    /// How it ends, to be counted; none when the connection was lost.
    ended: Option<Ended>,
}

/// With whom it speaks.
pub(crate) enum Talk {
    /// With a client, about feeds.
    Feeds { hub: Arc<Inner>, session: Session, acts: VecDeque<Out> },
    /// With a test suite: every message goes back.
    Echo,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// A close frame was sent: the client's is awaited.
    Closing,
    /// The client closed: all is over once that is answered.
    Closed,
    /// The client broke the protocol: what it still sends is thrown away until it has seen why.
    Lingering,
}

/// By whom it was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Here(End),
    /// By the client.
    There,
}

enum Turn {
    Again,
    Wait,
    Over,
}

impl Socket {
    /// Takes over a connection after its upgrade; `part` is what was read beyond it.
    pub(crate) fn new(stream: TcpStream, part: Vec<u8>, link: Arc<Link>, talk: Talk, most_incoming: usize) -> Self {
        Socket {
            stream,
            reader: Reader::new(part),
            most_incoming,
            link,
            talk,
            writing: Frames::default(),
            written: 0,
            busy: None,
            phase: Phase::Open,
            ended: None,
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let is_blocked = !self.writing.is_empty();
        let is_behind = !is_blocked && self.go_on(cx);
        let orders = self.link.orders(cx, !is_blocked && self.phase == Phase::Open);
        if let Some(end @ End::Drop(_)) = orders.end {
            self.ended.get_or_insert(Ended::Here(end));
            return Turn::Over;
        }
        self.writing.append(orders.frames);
        if orders.ping {
            self.writing.push_back(Frame::Control(Opcode::Ping, Vec::new()));
        }
        match self.write(cx) {
            Poll::Ready(Ok(())) => self.writing = Frames::default(),
            Poll::Ready(Err(_)) => return Turn::Over,
            Poll::Pending => return Turn::Wait,
        }
        if is_blocked && self.phase == Phase::Open {
            // What has gathered meanwhile was not taken yet.
            return Turn::Again;
        }
        if orders.is_starved {
            self.ask_for_the_rest();
        }
        match (self.phase, orders.end) {
            (Phase::Closed, _) => Turn::Over,
            (Phase::Lingering, _) => self.linger(cx),
            (Phase::Open, Some(End::Close(code))) => {
                self.close(code);
                Turn::Again
            }
            (Phase::Open | Phase::Closing, _) if is_behind => Turn::Again,
            // What is under way was polled, and wakes the task itself.
            (Phase::Open, _) if self.busy.is_some() => Turn::Wait,
            (Phase::Open | Phase::Closing, _) => self.read(cx),
        }
    }

    /// Does what has to be done, and hears what has come, one after the other, until something takes longer or nothing
    /// is left; or until it is time to write, which is then said.
    fn go_on(&mut self, cx: &mut Context<'_>) -> bool {
        for _ in 0..STEPS {
            if let Some(busy) = &mut self.busy {
                let Poll::Ready(outside) = busy.as_mut().poll(cx) else { return false };
                self.busy = None;
                if let (Some(name), Talk::Feeds { session, .. }) = (outside, &mut self.talk) {
                    session.undo(&name);
                }
            }
            if !self.act() && !self.hear_next() {
                return false;
            }
        }
        true
    }

    /// Does the next thing that the session decided, if there is one.
    fn act(&mut self) -> bool {
        let Talk::Feeds { hub, session, acts } = &mut self.talk else { return false };
        let Some(out) = acts.pop_front() else { return false };
        if acts.is_empty() {
            *acts = VecDeque::new();
        }
        if let Out::Close(code) = out {
            self.close(code);
        } else {
            let desk = Desk {
                registry: &hub.registry,
                house: hub.core.clone(),
                reconnect_ms: hub.gate.reconnect_ms(hub.sockets()),
                link: &self.link,
            };
            self.busy = acts::perform(desk, session, out);
        }
        true
    }

    /// Hears the next message that has come, if there is one that still counts.
    fn hear_next(&mut self) -> bool {
        if !matches!(self.phase, Phase::Open | Phase::Closing) {
            return false;
        }
        match self.reader.next(self.most_incoming) {
            Ok(None) => return false,
            Ok(Some(message)) => self.hear(message),
            Err(breach) => self.fail(breach),
        }
        true
    }

    fn hear(&mut self, message: Message) {
        if let Talk::Feeds { hub, .. } = &self.talk {
            self.link.hear(hub.core.clock.steady());
        }
        match message {
            Message::Close(code) => self.hear_close(code),
            _ if self.phase != Phase::Open => {}
            Message::Ping(bytes) => self.writing.push_back(Frame::Control(Opcode::Pong, bytes)),
            Message::Pong => {}
            Message::Text(text) => match &mut self.talk {
                Talk::Feeds { hub, session, acts } => acts.extend(session.hear(&text, &hub.core.catalog, &hub.plain)),
                Talk::Echo => self.writing.push_back(Frame::Text(text)),
            },
            Message::Binary(bytes) => match &mut self.talk {
                Talk::Feeds { hub, session, acts } => {
                    acts.extend(session.hear_binary(&bytes, &hub.core.catalog, &hub.plain));
                }
                Talk::Echo => self.writing.push_back(Frame::Binary(bytes)),
            },
        }
    }

    /// The client closes: it is answered with its own code, unless it answers ours.
    fn hear_close(&mut self, code: Option<u16>) {
        self.ended.get_or_insert(Ended::There);
        if self.phase == Phase::Open {
            let payload = code.map_or_else(Vec::new, |code| close_payload(code, ""));
            self.say_last(payload);
        }
        self.phase = Phase::Closed;
    }

    /// Sends a close frame and awaits the client's; the sweep sees to it that this ends.
    fn close(&mut self, code: u16) {
        self.ended.get_or_insert(Ended::Here(End::Close(code)));
        self.link.end(End::Close(code));
        self.say_last(close_payload(code, reason(code)));
        self.phase = Phase::Closing;
    }

    /// Tells a client that broke the protocol how.
    fn fail(&mut self, breach: Breach) {
        if self.phase == Phase::Open {
            self.close(breach.code());
        }
        self.phase = Phase::Lingering;
    }

    /// Says a close frame, behind all that was said before. What was still to be done is not.
    fn say_last(&mut self, payload: Vec<u8>) {
        self.busy = None;
        if let Talk::Feeds { acts, .. } = &mut self.talk {
            *acts = VecDeque::new();
        }
        self.writing.append(self.link.take());
        self.writing.push_back(Frame::Control(Opcode::Close, payload));
    }

    fn read(&mut self, cx: &mut Context<'_>) -> Turn {
        // On the stack: a socket that waits has no buffer.
        let mut bytes = [MaybeUninit::uninit(); READ_AT_ONCE];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Turn::Wait,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                self.reader.feed(buffer.filled());
                Turn::Again
            }
            Poll::Ready(_) => Turn::Over,
        }
    }

    /// Throws away what still comes: a connection closed with unread bytes is reset, and the reason lost.
    fn linger(&mut self, cx: &mut Context<'_>) -> Turn {
        if Pin::new(&mut self.stream).poll_shutdown(cx).is_pending() {
            return Turn::Wait;
        }
        self.reader = Reader::default();
        self.read(cx)
    }

    /// The outbox was full and is empty now.
    fn ask_for_the_rest(&self) {
        self.link.unstarve();
        if let Talk::Feeds { hub, session, .. } = &self.talk {
            session.joined().for_each(|name| hub.registry.resume(name, &self.link));
        }
    }

    /// Writes what waits, as many frames at once as possible. They are put together here: copying them costs less than
    /// having the kernel gather them.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writing.is_empty() {
            let mut bytes = [MaybeUninit::uninit(); WRITTEN_AT_ONCE];
            let mut buffer = ReadBuf::uninit(&mut bytes);
            self.gather(&mut buffer);
            match ready!(Pin::new(&mut self.stream).poll_write(cx, buffer.filled()))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                wrote => self.advance(wrote),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Puts into `buffer` what is written next.
    fn gather(&self, buffer: &mut ReadBuf<'_>) {
        let mut skip = self.written;
        for frame in self.writing.iter() {
            let mut head = [0; MOST_HEAD];
            let length = spell_head(frame.opcode(), frame.len(), &mut head);
            let (first, second) = frame.parts();
            for part in [&head[..length], first, second] {
                let rest = part.get(skip..).unwrap_or(&[]);
                skip = skip.saturating_sub(part.len());
                buffer.put_slice(&rest[..rest.len().min(buffer.remaining())]);
            }
            if buffer.remaining() == 0 {
                return;
            }
        }
    }

    fn advance(&mut self, wrote: usize) {
        self.written += wrote;
        while let Some(frame) = self.writing.front() {
            let whole = frame.len() + spell_head(frame.opcode(), frame.len(), &mut [0; MOST_HEAD]);
            if self.written < whole {
                return;
            }
            self.written -= whole;
            self.writing.pop_front();
        }
    }
}

impl Future for Socket {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            match self.turn(cx) {
                Turn::Again => {}
                Turn::Wait => return Poll::Pending,
                Turn::Over => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.link.retire();
        if let Talk::Feeds { hub, session, .. } = &self.talk {
            let now = hub.core.clock.steady();
            session.joined().for_each(|name| hub.registry.leave(name, &self.link, false, now));
            session.guides().for_each(|channel| hub.registry.leave_guides(&self.link, channel));
            let reason = match self.ended {
                Some(Ended::Here(end)) => end.reason(),
                Some(Ended::There) => "client",
                None => "lost",
            };
            hub.forget(&self.link, reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_small() {
        let size = size_of::<Socket>();
        assert!(size <= 256, "the task of a socket takes {size} bytes");
    }
}
