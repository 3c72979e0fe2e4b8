//! A small WebSocket client: a few bytes of memory and one system call per frame.

use std::cell::RefCell;
use std::future::poll_fn;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// One address has 28,000 ports to connect from; sockets move on to the next well before: the more ports are taken, the
/// longer the kernel looks for a free one.
const SOCKETS_PER_ADDRESS: u32 = 1_000;
/// A frame longer than this is no feed's; the connection is given up.
const MAX_FRAME: usize = 16 << 20;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// An upgraded connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    /// The beginning of a frame whose end has not arrived.
    carry: Vec<u8>,
}

/// The server's answer, where it does not let one in.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "upgrade refused: {}", self.0.replace("\r\n", " | "))
    }
}

impl std::error::Error for Refused {}

/// One frame's place in a buffer.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    opcode: u8,
    start: usize,
    end: usize,
}

impl Socket {
    /// Connects from the loopback address of socket number `index`, then upgrades; fails with [`Refused`] if it is told no.
    pub(crate) async fn open(server: SocketAddr, index: u32, path: &str) -> Result<Socket> {
        let mut stream = asked(server, index, path).await?;
        let (head, carry) = answer(&mut stream).await?;
        if !head.starts_with("HTTP/1.1 101") {
            return Err(Refused(head).into());
        }
        Ok(Socket { stream, carry })
    }

    /// Asks for an upgrade that has to be refused, and hangs up.
    pub(crate) async fn refused(server: SocketAddr, index: u32, path: &str) -> Result<()> {
        let mut stream = asked(server, index, path).await?;
        match answer(&mut stream).await?.0 {
            head if head.starts_with("HTTP/1.1 403") => Ok(()),
            head => bail!("the upgrade was not refused: {}", head.replace("\r\n", " | ")),
        }
    }

    /// Sends one text frame.
    pub(crate) async fn send(&mut self, text: &str) -> Result<()> {
        Ok(self.stream.write_all(&masked(TEXT, text.as_bytes())).await?)
    }

    /// Waits for bytes and hands every complete text frame to `on_text`; false once the server has closed.
    ///
    /// `scratch` is shared by all sockets of the thread: a waiting socket holds no buffer.
    pub(crate) async fn read(&mut self, scratch: &RefCell<Vec<u8>>, mut on_text: impl FnMut(&[u8])) -> Result<bool> {
        let mut answers = Vec::new();
        if !self.carry.is_empty() {
            let carry = std::mem::take(&mut self.carry);
            let (used, open) = take(&carry, &mut answers, &mut on_text)?;
            self.carry.extend_from_slice(&carry[used..]);
            if !open {
                return Ok(false);
            }
        }
        let Socket { stream, carry } = self;
        let open = poll_fn(|cx| {
            let mut scratch = scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            std::task::ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            std::task::Poll::Ready(receive(carry, buffer.filled(), &mut answers, &mut on_text))
        })
        .await?;
        if !answers.is_empty() {
            self.stream.write_all(&answers).await?;
        }
        Ok(open)
    }
}

/// Takes in what one read brought; false when it was the end.
fn receive(carry: &mut Vec<u8>, bytes: &[u8], answers: &mut Vec<u8>, on_text: &mut impl FnMut(&[u8])) -> Result<bool> {
    if bytes.is_empty() {
        return Ok(false);
    }
    if carry.is_empty() {
        let (used, open) = take(bytes, answers, on_text)?;
        carry.extend_from_slice(&bytes[used..]);
        return Ok(open);
    }
    carry.extend_from_slice(bytes);
    let (used, open) = take(carry, answers, on_text)?;
    carry.drain(..used);
    if carry.is_empty() {
        *carry = Vec::new();
    }
    Ok(open)
}

/// Hands out the complete frames at the head of `bytes`: how many bytes they are, and whether the socket stays open.
fn take(bytes: &[u8], answers: &mut Vec<u8>, on_text: &mut impl FnMut(&[u8])) -> Result<(usize, bool)> {
    let mut used = 0;
    while let Some(frame) = first_frame(&bytes[used..])? {
        let payload = &bytes[used + frame.start..used + frame.end];
        match frame.opcode {
            TEXT => on_text(payload),
            PING => answers.extend(masked(PONG, payload)),
            CLOSE => return Ok((used + frame.end, false)),
            _ => {}
        }
        used += frame.end;
    }
    Ok((used, true))
}

/// The first frame in `bytes`, if it is complete. Servers send theirs unmasked and, to us, unfragmented.
fn first_frame(bytes: &[u8]) -> Result<Option<Frame>> {
    let [head, length, rest @ ..] = bytes else { return Ok(None) };
    let (start, length) = match (length, rest) {
        (126, [a, b, ..]) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, [a, b, c, d, e, f, g, h, ..]) => {
            (10, usize::try_from(u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]))?)
        }
        (126 | 127, _) => return Ok(None),
        (128.., _) => bail!("the server masks its frames"),
        (short, _) => (2, usize::from(*short)),
    };
    if length > MAX_FRAME {
        bail!("a frame of {length} bytes");
    }
    let end = start + length;
    Ok((bytes.len() >= end).then_some(Frame { opcode: head & 0x0f, start, end }))
}

/// A client's frame. Its mask is zero, which the protocol allows and which leaves the payload as it is.
fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(payload.len() + 14);
    frame.push(0x80 | opcode);
    push_length(&mut frame, payload.len(), 0x80);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

/// Spells a payload's length as the protocol does.
pub(crate) fn push_length(frame: &mut Vec<u8>, length: usize, mask: u8) {
    match length {
        0..126 => frame.push(mask | length as u8),
        126..65_536 => {
            frame.push(mask | 126);
            frame.extend_from_slice(&(length as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A connection from the loopback address of socket number `index`, on which an upgrade was asked for.
async fn asked(server: SocketAddr, index: u32, path: &str) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    // Without lingering, closing ten thousand sockets leaves no ports waiting for the next round.
    socket.set_zero_linger()?;
    socket.bind(SocketAddr::new(source(index), 0)).with_context(|| format!("no port left at {}", source(index)))?;
    let mut stream = socket.connect(server).await.with_context(|| format!("cannot connect to {server}"))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: YmVsbHdpcmVsb2FkdGVzdA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    Ok(stream)
}

/// Reads the head of an answer; what came behind it is the first frames.
async fn answer(stream: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut answer = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            bail!("the server closed during the upgrade");
        }
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            if answer.len() > 16_384 {
                bail!("the answer to the upgrade has no end");
            }
            continue;
        };
        return Ok((String::from_utf8_lossy(&answer[..end]).into_owned(), answer[end + 4..].to_vec()));
    }
}

/// Where socket number `index` connects from.
fn source(index: u32) -> IpAddr {
    let step = u8::try_from(index / SOCKETS_PER_ADDRESS).unwrap_or(u8::MAX).saturating_add(2);
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, step))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0x80 | opcode];
        push_length(&mut frame, payload.len(), 0);
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_of_every_length_come_through_however_they_are_cut() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let bytes = [server_frame(TEXT, &vec![b'a'; length]), server_frame(TEXT, b"last")].concat();
            for cut in [1, 2, 3, 7, bytes.len() - 1] {
                let (mut carry, mut seen, mut answers) = (Vec::new(), Vec::new(), Vec::new());
                for part in [&bytes[..cut], &bytes[cut..]] {
                    receive(&mut carry, part, &mut answers, &mut |text| seen.push(text.len())).expect("frames");
                }
                assert_eq!((seen, carry.len()), (vec![length, 4], 0), "length {length} cut at {cut}");
            }
        }
    }

    #[test]
    fn a_ping_is_answered_and_a_close_ends_the_socket() {
        let bytes = [server_frame(PING, b"x"), server_frame(CLOSE, &[]), server_frame(TEXT, b"late")].concat();
        let (mut seen, mut answers) = (0, Vec::new());
        let (_, open) = take(&bytes, &mut answers, &mut |_| seen += 1).expect("frames");
        assert_eq!((open, seen, answers), (false, 0, masked(PONG, b"x")));
    }

    #[test]
    fn sockets_beyond_one_addresss_ports_use_the_next() {
        assert_eq!(source(999).to_string(), "127.0.0.2");
        assert_eq!(source(1_000).to_string(), "127.0.0.3");
        assert_eq!(source(199_999).to_string(), "127.0.0.201", "the most that any scenario opens");
    }
}
