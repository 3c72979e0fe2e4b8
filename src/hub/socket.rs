//! The task of one socket: reads frames, lets the session decide, writes what waits.
//!
//! What comes in and all control frames go through tungstenite. Data frames are written here, straight from the parts
//! that sockets share: tungstenite would copy each into a buffer that it never gives back. The two never write at once:
//! tungstenite's buffer is flushed before data is written, and nothing is read while data waits to be written.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::acts;
use super::outbox::{End, Frame, Link};
use super::session::{Out, Session};
use super::{Inner, reason};

/// Steps that a socket may take before others get their turn.
const TURNS: usize = 32;
/// Frames that one write may carry.
const FRAMES_PER_WRITE: usize = 16;
/// Bytes of a frame's own header at most.
const MOST_HEADER: usize = 10;
/// The largest frame or message a client may send.
pub(crate) const MOST_INCOMING: usize = 64 * 1024;

/// Something under way on behalf of the client, which hears nothing else meanwhile.
pub(crate) type Busy = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One socket.
pub(crate) struct Socket {
    stream: WebSocketStream<TcpStream>,
    link: Arc<Link>,
    talk: Talk,
    writing: VecDeque<Frame>,
    /// Bytes of the first of `writing` that are written.
    written: usize,
    busy: Option<Busy>,
    phase: Phase,
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
    /// A close frame was sent or received: nothing but the end of it is awaited.
    Closing,
    /// The client broke the protocol: what it still sends is thrown away until it has seen why.
    Lingering,
}

enum Turn {
    Again,
    Wait,
    Over,
}

/// The configuration of every socket: buffers as small as frames usually are, and none without a bound.
fn config(most_incoming: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(1024)
        .write_buffer_size(0)
        .max_write_buffer_size(64 * 1024)
        .max_message_size(Some(most_incoming))
        .max_frame_size(Some(most_incoming))
}

impl Socket {
    /// Takes over a connection after its upgrade; `part` is what was read beyond it.
    pub(crate) async fn new(
        stream: TcpStream,
        part: Vec<u8>,
        link: Arc<Link>,
        talk: Talk,
        most_incoming: usize,
    ) -> Self {
        let stream =
            WebSocketStream::from_partially_read(stream, part, Role::Server, Some(config(most_incoming))).await;
        Socket { stream, link, talk, writing: VecDeque::new(), written: 0, busy: None, phase: Phase::Open }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Turn {
        let is_idle = self.writing.is_empty() && self.phase == Phase::Open;
        let orders = self.link.orders(cx, is_idle);
        if orders.end == Some(End::Drop) {
            return Turn::Over;
        }
        if is_idle {
            self.writing = orders.frames;
        }
        if orders.ping {
            // An error shows again when it is flushed.
            _ = Pin::new(&mut self.stream).start_send(Message::Ping(Bytes::new()));
        }
        // Before anything else is written, and before the end is awaited.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => {}
            Poll::Ready(Err(_)) => return Turn::Over,
            Poll::Pending => return Turn::Wait,
        }
        if !self.writing.is_empty() {
            return match self.write(cx) {
                Poll::Ready(Ok(())) => Turn::Again,
                Poll::Ready(Err(_)) => Turn::Over,
                Poll::Pending => Turn::Wait,
            };
        }
        self.writing = VecDeque::new();
        if orders.starved {
            self.ask_for_the_rest();
        }
        match (self.phase, orders.end) {
            (Phase::Lingering, _) => return self.linger(cx),
            (Phase::Open, Some(End::Close(code))) => {
                self.close(code);
                return Turn::Again;
            }
            _ => {}
        }
        if self.phase == Phase::Open
            && let Some(turn) = self.go_on(cx)
        {
            return turn;
        }
        match Pin::new(&mut self.stream).poll_next(cx) {
            Poll::Pending => Turn::Wait,
            Poll::Ready(None) => Turn::Over,
            Poll::Ready(Some(Ok(message))) => {
                self.hear(message);
                Turn::Again
            }
            Poll::Ready(Some(Err(error))) => self.fail(&error),
        }
    }

    /// Goes on with what is under way, if anything is.
    fn go_on(&mut self, cx: &mut Context<'_>) -> Option<Turn> {
        if let Some(busy) = &mut self.busy {
            if busy.as_mut().poll(cx).is_pending() {
                return Some(Turn::Wait);
            }
            self.busy = None;
            return Some(Turn::Again);
        }
        let Talk::Feeds { hub, session, acts } = &mut self.talk else { return None };
        let out = acts.pop_front()?;
        if acts.is_empty() {
            *acts = VecDeque::new();
        }
        if let Out::Close(code) = out {
            self.close(code);
        } else {
            self.busy = acts::perform(hub, &self.link, session, out);
        }
        Some(Turn::Again)
    }

    fn hear(&mut self, message: Message) {
        match &mut self.talk {
            Talk::Feeds { hub, session, acts } => {
                self.link.hear(hub.core.clock.now());
                let catalog = &hub.core.catalog;
                match &message {
                    Message::Text(text) if self.phase == Phase::Open => {
                        acts.extend(session.hear(text, catalog, &hub.plain));
                    }
                    Message::Binary(bytes) if self.phase == Phase::Open => {
                        acts.extend(session.hear_binary(bytes, catalog, &hub.plain));
                    }
                    _ => {}
                }
            }
            Talk::Echo => match &message {
                Message::Text(text) => self.writing.push_back(Frame::Text(text.to_string())),
                Message::Binary(bytes) => self.writing.push_back(Frame::Binary(bytes.clone())),
                _ => {}
            },
        }
        if let Message::Close(_) = message {
            self.phase = Phase::Closing;
        }
    }

    /// Sends a close frame and awaits the client's; the sweep sees to it that this ends.
    fn close(&mut self, code: u16) {
        self.link.end(End::Close(code));
        let frame = CloseFrame { code: CloseCode::from(code), reason: reason(code).into() };
        _ = Pin::new(&mut self.stream).start_send(Message::Close(Some(frame)));
        self.phase = Phase::Closing;
    }

    /// What a client that broke the protocol is told.
    fn fail(&mut self, error: &Error) -> Turn {
        let code = match error {
            Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                return Turn::Over;
            }
            Error::Protocol(_) => 1002,
            Error::Utf8(_) => 1007,
            Error::Capacity(_) => 1009,
            _ => return Turn::Over,
        };
        if self.phase == Phase::Open {
            self.close(code);
        }
        self.phase = Phase::Lingering;
        Turn::Again
    }

    /// Throws away what still comes: a connection closed with unread bytes is reset, and the reason lost.
    fn linger(&mut self, cx: &mut Context<'_>) -> Turn {
        let stream = self.stream.get_mut();
        if Pin::new(&mut *stream).poll_shutdown(cx).is_pending() {
            return Turn::Wait;
        }
        let mut bytes = [0; 1024];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(stream).poll_read(cx, &mut buffer) {
            Poll::Pending => Turn::Wait,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => Turn::Again,
            Poll::Ready(_) => Turn::Over,
        }
    }

    fn ask_for_the_rest(&self) {
        if let Talk::Feeds { hub, session, .. } = &self.talk {
            session.joined().for_each(|name| hub.registry.resume(name, &self.link));
        }
    }

    /// Writes what waits, as many frames at once as possible.
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.writing.is_empty() {
            let mut headers = [[0; MOST_HEADER]; FRAMES_PER_WRITE];
            let mut slices = [IoSlice::new(&[]); 3 * FRAMES_PER_WRITE];
            let mut used = 0;
            let mut skip = self.written;
            for (frame, header) in self.writing.iter().zip(&mut headers) {
                let length = spell_header(frame, header);
                let (head, tail) = frame.parts();
                for part in [&header[..length], head, tail] {
                    let rest = part.get(skip..).unwrap_or(&[]);
                    skip = skip.saturating_sub(part.len());
                    if !rest.is_empty() {
                        slices[used] = IoSlice::new(rest);
                        used += 1;
                    }
                }
            }
            let stream = Pin::new(self.stream.get_mut());
            let wrote = match stream.poll_write_vectored(cx, &slices[..used]) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(wrote)) => wrote,
            };
            self.advance(wrote);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, wrote: usize) {
        self.written += wrote;
        while let Some(frame) = self.writing.front() {
            let whole = frame.len() + spell_header(frame, &mut [0; MOST_HEADER]);
            if self.written < whole {
                return;
            }
            self.written -= whole;
            self.writing.pop_front();
        }
    }
}

/// Spells the header of an unmasked frame that is a whole message (RFC 6455, 5.2); gives back its length.
fn spell_header(frame: &Frame, header: &mut [u8; MOST_HEADER]) -> usize {
    const FINAL: u8 = 0x80;
    header[0] = FINAL | if matches!(frame, Frame::Binary(_)) { 2 } else { 1 };
    let length = frame.len();
    if length < 126 {
        header[1] = length as u8;
        2
    } else if let Ok(short) = u16::try_from(length) {
        header[1] = 126;
        header[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        header[1] = 127;
        header[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
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
            let now = hub.core.clock.now();
            session.joined().for_each(|name| hub.registry.leave(name, &self.link, false, now));
            hub.forget(&self.link);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_small() {
        let size = size_of::<Socket>();
        assert!(size <= 1_024, "the task of a socket takes {size} bytes");
    }

    #[test]
    fn headers_say_the_length_in_as_few_bytes_as_they_can() {
        for (length, expected) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut header = [0; MOST_HEADER];
            let used = spell_header(&Frame::Text("x".repeat(length)), &mut header);
            assert_eq!(&header[..used], expected, "{length}");
        }
    }
}
