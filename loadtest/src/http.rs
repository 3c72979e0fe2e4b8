//! Keep-alive HTTP connections to the server's API.

use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// One connection, one request at a time.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: AbortHandle,
    bearer: HeaderValue,
    host: HeaderValue,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr, key: &str) -> Result<Connection> {
        let stream = TcpStream::connect(address).await.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::task::spawn_local(async move { drop(connection.await) }).abort_handle();
        let bearer = HeaderValue::from_str(&format!("Bearer {key}"))?;
        Ok(Connection { sender, driver, bearer, host: HeaderValue::from_str(&address.to_string())? })
    }

    /// Sends a request and reads the whole answer, which must be a success.
    pub(crate) async fn call(&mut self, method: Method, path: &str, body: String) -> Result<Bytes> {
        self.sender.ready().await?;
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(HOST, &self.host)
            .header(AUTHORIZATION, &self.bearer)
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let response = self.sender.send_request(request).await.with_context(|| format!("{method} {path}"))?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            let said = String::from_utf8_lossy(&body);
            bail!("{method} {path} answered {status}: {}", said.chars().take(300).collect::<String>());
        }
        Ok(body)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// A fixed number of connections that calls take turns on.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    give: mpsc::Sender<Connection>,
    idle: Rc<tokio::sync::Mutex<mpsc::Receiver<Connection>>>,
}

impl Pool {
    pub(crate) async fn open(address: SocketAddr, key: &str, connections: u32) -> Result<Pool> {
        let (give, idle) = mpsc::channel(connections.max(1) as usize);
        for _ in 0..connections.max(1) {
            give.send(Connection::open(address, key).await?).await?;
        }
        Ok(Pool { give, idle: Rc::new(tokio::sync::Mutex::new(idle)) })
    }

    /// Waits for an idle connection.
    pub(crate) async fn take(&self) -> Result<Connection> {
        self.idle.lock().await.recv().await.context("the pool is gone")
    }

    /// Gives a connection back.
    pub(crate) fn put(&self, connection: Connection) {
        // There is always room: no more were taken than it holds.
        let _ = self.give.try_send(connection);
    }
}
