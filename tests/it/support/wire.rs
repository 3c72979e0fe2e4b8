//! A wire between two programs, which a test can cut, mute or slow down: a small TCP proxy, one task per connection.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;

use crate::process::free_port;

/// Bytes that are passed on at once.
const CHUNK: usize = 16 * 1024;
/// What the kernel keeps for an end that does not read: little, so that whoever sends feels it.
const KEPT: u32 = 64 * 1024;
const BACKLOG: u32 = 1024;

/// How a wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Everything passes, each chunk after a pause: to where the wire leads, and back.
    Passing { there: Duration, back: Duration },
    /// Nothing passes, and nobody is told: connections stay open, and new ones are taken. Once it passes again, what was
    /// sent meanwhile arrives, as it does after packets were lost.
    Mute,
    /// Every connection is closed, and new ones are refused.
    Cut,
}

impl State {
    /// Everything passes at once.
    pub const WELL: State = State::Passing { there: Duration::ZERO, back: Duration::ZERO };

    /// What comes back is late.
    pub fn slow(back: Duration) -> State {
        State::Passing { there: Duration::ZERO, back }
    }

    fn passes(&self) -> bool {
        matches!(self, State::Passing { .. })
    }
}

/// A wire to one address. It is cut for good when it is dropped.
pub struct Wire {
    /// Where it begins: who connects here is connected there.
    pub address: SocketAddr,
    state: watch::Sender<State>,
    task: JoinHandle<()>,
}

impl Wire {
    /// Lays a wire to `target`, which need not listen yet.
    pub fn to(target: SocketAddr) -> Wire {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (state, changes) = watch::channel(State::WELL);
        // Whoever connects once this returns is heard.
        let first = bind(address).expect("the port is free");
        let task = tokio::spawn(serve(address, first, target, changes));
        Wire { address, state, task }
    }

    /// Changes how it is, for the connections that it has, too.
    pub fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

async fn serve(address: SocketAddr, first: TcpListener, target: SocketAddr, mut state: watch::Receiver<State>) {
    let (mut listener, mut cut) = (first, state.clone());
    loop {
        // Whoever is connected is cut off with the listener.
        tokio::select! {
            () = take(&listener, target, &state) => {}
            _ = cut.wait_for(|state| *state == State::Cut) => {}
        }
        drop(listener);
        if state.wait_for(|state| *state != State::Cut).await.is_err() {
            return;
        }
        listener = loop {
            match bind(address) {
                Ok(listener) => break listener,
                Err(_) => sleep(Duration::from_millis(5)).await,
            }
        };
    }
}

async fn take(listener: &TcpListener, target: SocketAddr, state: &watch::Receiver<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((near, _)) = listener.accept() => {
                let state = state.clone();
                connections.spawn(async move { _ = carry(near, target, state).await });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One connection, from one end to the other.
async fn carry(mut near: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) -> io::Result<()> {
    if state.wait_for(State::passes).await.is_err() {
        return Ok(());
    }
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(KEPT)?;
    let mut far = socket.connect(target).await?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let ((near_read, near_write), (far_read, far_write)) = (near.split(), far.split());
    let there = pass(near_read, far_write, state.clone(), |there, _| there);
    let back = pass(far_read, near_write, state, |_, back| back);
    tokio::try_join!(there, back).map(drop)
}

/// Passes on what comes from one end until that end is closed; `pause` chooses between the two pauses of a wire.
async fn pass(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut state: watch::Receiver<State>,
    pause: impl Fn(Duration, Duration) -> Duration,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        passing(&mut state).await;
        let count = tokio::select! {
            read = from.read(&mut chunk) => read?,
            _ = state.changed() => continue,
        };
        if let State::Passing { there, back } = passing(&mut state).await {
            sleep(pause(there, back)).await;
        }
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..count]).await?;
    }
}

/// Waits until the wire passes something on.
async fn passing(state: &mut watch::Receiver<State>) -> State {
    let passing = state.wait_for(State::passes).await.map(|state| *state);
    // A wire that is gone takes its connections with it.
    passing.unwrap_or(State::WELL)
}
