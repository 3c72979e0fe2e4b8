//! The bare push server: accept, upgrade by hand, a registry by user, one write per frame.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::AsyncReadExt as _;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::record::{self, Store};
use super::redis;
use super::rows::{self, Then, Write};
use super::{end_with_parent, tell};
use crate::options::BarePush;
use crate::socket::push_length;

/// The path at which every upgrade is refused.
pub(crate) const REFUSED: &str = "/refused";

const BACKLOG: u32 = 4_096;
/// Commits that wait for their frames to be written.
const COMMITS: usize = 64;

/// Where the bare push server listens.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) sockets: u16,
    pub(crate) control: u16,
}

/// Who is connected, and the buffers all connections share.
#[derive(Debug, Default)]
struct Hub {
    by_user: RefCell<HashMap<u32, Vec<Rc<TcpStream>>>>,
    scratch: RefCell<Vec<u8>>,
    /// To Redis, where pushes come from there.
    bus: RefCell<Option<OwnedWriteHalf>>,
}

/// The hidden command.
pub(crate) fn serve(options: &BarePush) -> Result<()> {
    end_with_parent();
    crate::local_runtime()?.block_on(run(options))
}

async fn run(options: &BarePush) -> Result<()> {
    let (sockets, control) = (listen()?, listen()?);
    tell(&Ports { sockets: sockets.local_addr()?.port(), control: control.local_addr()?.port() })?;
    let hub = Rc::new(Hub { scratch: RefCell::new(vec![0; 4_096]), ..Hub::default() });
    let (committed, commits) = mpsc::channel(COMMITS);
    let writer = match &options.rows {
        Some(directory) => Some(rows::start(directory, Some(committed))?.0),
        None => None,
    };
    if let Some(bus) = &options.from_bus {
        let (from, to) = TcpStream::connect(bus).await.context("cannot reach Redis")?.into_split();
        hub.bus.replace(Some(to));
        tokio::task::spawn_local(hear(Rc::clone(&hub), from));
    }
    tokio::task::spawn_local(push_commits(Rc::clone(&hub), commits));
    tokio::task::spawn_local(accept(Rc::clone(&hub), sockets));
    loop {
        let (stream, _) = control.accept().await?;
        obey(&hub, stream, writer.as_ref()).await?;
    }
}

fn listen() -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(([127, 0, 0, 1], 0).into())?;
    Ok(socket.listen(BACKLOG)?)
}

async fn accept(hub: Rc<Hub>, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(live(Rc::clone(&hub), stream));
    }
}

/// One socket's life: in, registered, and gone when it is closed.
async fn live(hub: Rc<Hub>, stream: TcpStream) {
    let stream = Rc::new(stream);
    let Ok(user) = enter(&hub, &stream).await else { return };
    let is_first = !hub.by_user.borrow().contains_key(&user);
    hub.by_user.borrow_mut().entry(user).or_insert_with(|| Vec::with_capacity(1)).push(Rc::clone(&stream));
    if is_first && let Some(bus) = &*hub.bus.borrow() {
        let mut subscribe = Vec::with_capacity(64);
        redis::command(&mut subscribe, &[b"SUBSCRIBE", redis::channel(user).as_bytes()]);
        // A few bytes on a connection that carries nothing else this way.
        let _ = bus.try_write(&subscribe);
    }
    while stream.readable().await.is_ok() && hub.drain(&stream) {}
    if let Some(streams) = hub.by_user.borrow_mut().get_mut(&user) {
        streams.retain(|other| !Rc::ptr_eq(other, &stream));
    }
}

impl Hub {
    /// Reads and drops what a client says after its join; false when it has closed.
    fn drain(&self, stream: &TcpStream) -> bool {
        match stream.try_read(&mut self.scratch.borrow_mut()) {
            Ok(0) => false,
            Ok(_) => true,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        }
    }

    /// Writes one frame to every socket of a user.
    fn push(&self, frame: &mut Vec<u8>, user: u32, text: &[u8]) {
        frame.clear();
        frame.push(0x81);
        push_length(frame, text.len(), 0);
        frame.extend_from_slice(text);
        for stream in self.by_user.borrow().get(&user).into_iter().flatten() {
            // The client keeps what is under way far below a socket's buffer; what does not fit shows as lost there.
            let _ = stream.try_write(frame);
        }
    }
}

/// The upgrade and the join: two frames' worth of the same conversation the server has.
async fn enter(hub: &Hub, stream: &TcpStream) -> Result<u32> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        read_more(hub, stream, &mut head).await?;
    }
    let head = std::str::from_utf8(&head)?;
    if head.strip_prefix("GET ").and_then(|rest| rest.split(' ').next()) == Some(REFUSED) {
        write_whole(stream, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")?;
        bail!("refused");
    }
    let user = head.strip_prefix("GET /u/").and_then(|rest| rest.split(' ').next()).context("no user")?.parse()?;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).context("no key")?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n",
        derive_accept_key(key.as_bytes())
    );
    write_whole(stream, answer.as_bytes())?;
    let mut join = Vec::with_capacity(256);
    read_more(hub, stream, &mut join).await?;
    let reply = format!(r#"["1","1","feeds:bare:u{user}","phx_reply",{{"status":"ok","response":{{"version":0}}}}]"#);
    let mut frame = vec![0x81];
    push_length(&mut frame, reply.len(), 0);
    frame.extend_from_slice(reply.as_bytes());
    write_whole(stream, &frame)?;
    Ok(user)
}

async fn read_more(hub: &Hub, stream: &TcpStream, into: &mut Vec<u8>) -> Result<()> {
    loop {
        stream.readable().await?;
        let mut scratch = hub.scratch.borrow_mut();
        match stream.try_read(&mut scratch) {
            Ok(0) => bail!("closed"),
            Ok(read) => {
                into.extend_from_slice(&scratch[..read]);
                return Ok(());
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn write_whole(stream: &TcpStream, bytes: &[u8]) -> Result<()> {
    match stream.try_write(bytes)? {
        written if written == bytes.len() => Ok(()),
        _ => bail!("a fresh socket has no room"),
    }
}

/// Does what the client orders over the control connection.
async fn obey(hub: &Rc<Hub>, mut stream: TcpStream, writer: Option<&mpsc::Sender<Write>>) -> Result<()> {
    let mut bytes = Vec::with_capacity(1 << 16);
    let (mut frame, mut writes) = (Vec::new(), Vec::new());
    while stream.read_buf(&mut bytes).await? > 0 {
        let used = record::read(&bytes, |record| match record.store {
            Store::Nothing => hub.push(&mut frame, record.user, record.text),
            store => {
                let then = Then::Push { user: record.user, text: record.text.to_vec() };
                writes.push(Write { store, user: record.user, then });
            }
        })?;
        bytes.drain(..used);
        for write in writes.drain(..) {
            writer.context("started without rows")?.send(write).await?;
        }
    }
    Ok(())
}

/// Pushes what Redis says.
async fn hear(hub: Rc<Hub>, mut from: OwnedReadHalf) {
    let (mut bytes, mut frame) = (Vec::with_capacity(1 << 16), Vec::new());
    while from.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {
        let mut used = 0;
        while let Some((length, words)) = redis::read(&bytes[used..]) {
            if let Some((user, text)) = redis::message(&words) {
                hub.push(&mut frame, user, text);
            }
            used += length;
        }
        bytes.drain(..used);
    }
}

/// Pushes what has been committed.
async fn push_commits(hub: Rc<Hub>, mut commits: mpsc::Receiver<Vec<Then>>) {
    let mut frame = Vec::new();
    while let Some(commit) = commits.recv().await {
        for then in commit {
            if let Then::Push { user, text } = then {
                hub.push(&mut frame, user, &text);
            }
        }
    }
}
