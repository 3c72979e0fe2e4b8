//! Accepts connections, serves each in a task of its own, and lets requests in flight finish when it stops.

use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::{debug, warn};

use super::vitals::{Door, Entry};
use super::{Face, pipeline, track};

/// The most that a request line with its headers may take, in bytes.
const HEADER_BYTES: usize = 64 * 1024;
/// How long to wait when the system has no file descriptor left for a connection.
const BREATHER: Duration = Duration::from_millis(100);
/// A client that takes in nothing for so long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// Connections of operators served at once.
const OPERATORS: usize = 64;

/// Serves connections until `stop` says so, then waits until those there are have ended.
pub async fn serve(listener: TcpListener, face: Arc<Face>, stop: watch::Receiver<bool>) {
    let seats = face.settings.connections;
    serve_at(Door::Callers, listener, Arc::clone(&face), seats, stop, || face.stop()).await;
    track::finish(&face).await;
}

/// Serves operators at an address of their own: they are told how the node is, and nothing else.
pub async fn serve_operators(listener: TcpListener, face: Arc<Face>, stop: watch::Receiver<bool>) {
    serve_at(Door::Operators, listener, face, OPERATORS, stop, || {}).await;
}

async fn serve_at(
    door: Door,
    listener: TcpListener,
    face: Arc<Face>,
    seats: usize,
    stop: watch::Receiver<bool>,
    stopping: impl FnOnce(),
) {
    let seats = u32::try_from(seats).unwrap_or(u32::MAX).max(1);
    let slots = Arc::new(Semaphore::new(seats as usize));
    prepare(&listener);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(stop.clone()) => break,
            accepted = accept(&listener, &slots) => accepted,
        };
        if let Some((stream, peer, slot)) = accepted {
            let entry = Entry { door, peer };
            tokio::spawn(connection(stream, entry, Arc::clone(&face), stop.clone(), slot));
        }
    }
    stopping();
    drop(listener);
    // Every connection gives its slot back: none outlives the drain timeout.
    let _ = slots.acquire_many(seats).await;
}

async fn stopped(mut stop: watch::Receiver<bool>) {
    // Whoever could have said so being gone means the same.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn accept(listener: &TcpListener, slots: &Arc<Semaphore>) -> Option<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer.ip(), slot)),
        Err(error) => {
            warn!(%error, "a connection could not be accepted");
            tokio::time::sleep(BREATHER).await;
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    entry: Entry,
    face: Arc<Face>,
    stop: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let settings = face.settings.clone();
    let service = service_fn(move |request| {
        let face = Arc::clone(&face);
        async move { Ok::<_, Infallible>(pipeline::answer(face, entry, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.header_timeout)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(stop) => {
            connection.as_mut().graceful_shutdown();
            within(settings.drain_timeout, connection).await
        }
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
}

async fn within<E>(time: Duration, work: impl Future<Output = Result<(), E>>) -> Result<(), E> {
    tokio::time::timeout(time, work).await.unwrap_or(Ok(()))
}

/// Sets what every connection needs. Connections have what their listener has: it need not be said to each of them.
fn prepare(listener: &TcpListener) {
    let socket = SockRef::from(listener);
    if let Err(error) = socket.set_tcp_nodelay(true) {
        warn!(%error, "TCP_NODELAY could not be set: answers may be late");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = socket.set_tcp_user_timeout(Some(WRITE_TIMEOUT)) {
        warn!(%error, "TCP_USER_TIMEOUT could not be set: clients that are gone are noticed later");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_have_what_their_listener_has() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        prepare(&listener);
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, _) = accepted.unwrap();
        assert!(stream.nodelay().unwrap());
        #[cfg(target_os = "linux")]
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), Some(WRITE_TIMEOUT));
        drop(client);
    }
}
