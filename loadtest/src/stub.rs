//! A server for workflows to fetch from: it answers each request with the same few bytes, and counts the requests.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\n\r\n{\"plan\": \"pro\"}\n";
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A listening stub. Once it is dropped nobody can connect any more; whoever has is answered until they go.
#[derive(Debug)]
pub(crate) struct Stub {
    pub(crate) address: SocketAddr,
    answered: Rc<Cell<u64>>,
    listener: AbortHandle,
}

impl Stub {
    /// Listens on a port of the loopback that is free.
    pub(crate) async fn start() -> Result<Stub> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (address, answered) = (listener.local_addr()?, Rc::<Cell<u64>>::default());
        let count = Rc::clone(&answered);
        let listener = tokio::task::spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Rc::clone(&count);
                tokio::task::spawn_local(async move { drop(serve(stream, &count).await) });
            }
        });
        Ok(Stub { address, answered, listener: listener.abort_handle() })
    }

    /// Requests that were answered.
    pub(crate) fn answered(&self) -> u64 {
        self.answered.get()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

/// Answers every request of one connection. What comes is taken for one as soon as it ends as a head does: right for clients
/// that send no body, and nothing more before they have the answer.
async fn serve(mut stream: TcpStream, answered: &Cell<u64>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    while stream.read_buf(&mut head).await? > 0 {
        if head.ends_with(HEAD_END) {
            stream.write_all(ANSWER).await?;
            answered.set(answered.get() + 1);
            head.clear();
        }
    }
    Ok(())
}
