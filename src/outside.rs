//! Outside: requests to servers of others. Where they may go, and one exchange over HTTP.

pub mod policy;
pub mod record;
pub mod request;
pub mod script;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use policy::Policy;
use request::{Fault, Host, Request, Response};
use script::Script;

/// The longest head of an answer.
const HEAD_BYTES: usize = 64 << 10;
/// Names that are looked up at once: each takes a thread that others need, too.
const LOOK_UPS: usize = 64;

/// What an operator decides of requests to servers of others.
#[derive(Debug, Clone)]
pub struct Settings {
    pub policy: Policy,
    /// How long an exchange may take, from the look-up of the name to the end of the answer (W-FET-20).
    pub timeout: Duration,
    /// The largest answer.
    pub response_bytes: usize,
    /// Whom servers with TLS are vouched for by; none is nobody.
    pub tls: Option<Arc<ClientConfig>>,
}

/// The way to servers of others.
#[derive(Debug, Clone)]
pub struct Outside(Means);

#[derive(Debug, Clone)]
enum Means {
    /// They are called.
    Way(Arc<Way>),
    /// Nobody is.
    Script(Arc<Script>),
}

#[derive(Debug)]
struct Way {
    settings: Settings,
    look_ups: Arc<Semaphore>,
}

/// A request and what came of it.
#[derive(Debug, Clone)]
pub struct Reply {
    pub request: Request,
    pub duration_ms: u64,
    pub result: Result<Response, Fault>,
}

/// Nobody is called, and nobody answers.
impl Default for Outside {
    fn default() -> Self {
        Outside::scripted(Script::default())
    }
}

impl Outside {
    /// A way out.
    pub fn new(settings: Settings) -> Self {
        Outside(Means::Way(Arc::new(Way { settings, look_ups: Arc::new(Semaphore::new(LOOK_UPS)) })))
    }

    /// Answers that come from a script, in no time.
    pub fn scripted(script: Script) -> Self {
        Outside(Means::Script(Arc::new(script)))
    }

    /// Sends a request once, and waits for its answer as long as it may take. Redirects are not followed.
    pub async fn send(&self, request: Request) -> Reply {
        let way = match &self.0 {
            Means::Script(script) => {
                let result = script.answer(&request);
                return Reply { request, duration_ms: 0, result };
            }
            Means::Way(way) => way,
        };
        let begun = Instant::now();
        let limit = way.settings.timeout;
        let late = || Fault::passing(format!("there was no complete response within {} s", limit.as_secs_f64()));
        let result = timeout(limit, way.exchange(&request)).await.unwrap_or_else(|_| Err(late()));
        let duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        Reply { request, duration_ms, result }
    }
}

impl Way {
    async fn exchange(&self, request: &Request) -> Result<Response, Fault> {
        let addresses = self.permitted(request).await?;
        let stream = connect(&addresses).await.map_err(|error| Fault::passing(format!("no connection: {error}")))?;
        if !request.is_encrypted() {
            return self.speak(stream, request).await;
        }
        let no_roots = "this server knows no certificates to trust: set `ca_file` of [fetch]";
        let tls = self.settings.tls.clone().ok_or_else(|| Fault::fatal(no_roots))?;
        let name = match request.host() {
            Host::Name(name) => ServerName::try_from(name).map_err(|_| Fault::fatal("the host's name is no good"))?,
            Host::Address(address) => ServerName::from(address),
        };
        let stream = TlsConnector::from(tls).connect(name, stream).await;
        self.speak(stream.map_err(|error| Fault::passing(format!("no encrypted connection: {error}")))?, request).await
    }

    /// The addresses of the request's host that may be called. The connection goes to one of them, whatever the name
    /// leads to a moment later.
    async fn permitted(&self, request: &Request) -> Result<Vec<SocketAddr>, Fault> {
        let (policy, port) = (&self.settings.policy, request.port());
        let (name, found) = match request.host() {
            Host::Address(address) => (None, vec![address]),
            Host::Name(name) => {
                policy.judge_name(&name).map_err(Fault::fatal)?;
                let found = self.look_up(&name, port).await?;
                (Some(name), found)
            }
        };
        let mut refusal = None;
        let mut permitted = Vec::new();
        for address in found {
            match policy.judge(name.as_deref(), address) {
                Ok(()) => permitted.push(SocketAddr::new(address, port)),
                Err(rule) => refusal = Some(rule),
            }
        }
        match refusal {
            Some(rule) if permitted.is_empty() => Err(Fault::fatal(rule)),
            _ => Ok(permitted),
        }
    }

    async fn look_up(&self, name: &str, port: u16) -> Result<Vec<IpAddr>, Fault> {
        let closed = |_| Fault::passing("this server is stopping");
        let permit = Arc::clone(&self.look_ups).acquire_owned().await.map_err(closed)?;
        let name = name.to_owned();
        let found = tokio::task::spawn_blocking(move || {
            // The thread is taken until it is done, whoever still waits for it.
            let _permit = permit;
            (name.as_str(), port).to_socket_addrs()
        });
        match found.await {
            Ok(Ok(addresses)) => Ok(addresses.map(|address| address.ip()).collect()),
            Ok(Err(error)) if is_passing(&error) => Err(Fault::passing("the host's name could not be looked up now")),
            Ok(Err(_)) => Err(Fault::fatal("there is no host of that name")),
            Err(_) => Err(Fault::passing("the look-up of the host's name was cut off")),
        }
    }

    async fn speak(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        request: &Request,
    ) -> Result<Response, Fault> {
        let mut builder = http1::Builder::new();
        let handshake = builder.max_buf_size(HEAD_BYTES).handshake(TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(|error| cut_off(&error))?;
        let limit = self.settings.response_bytes;
        let exchange = async {
            let outgoing = request.to_http().map_err(Fault::fatal)?;
            let incoming = sender.send_request(outgoing).await.map_err(|error| cut_off(&error))?;
            let (head, body) = incoming.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                match (error.is::<LengthLimitError>(), error.downcast_ref::<hyper::Error>()) {
                    (true, _) => Fault::fatal(format!("the response is longer than {limit} bytes")),
                    (false, Some(error)) => cut_off(error),
                    (false, None) => Fault::passing("the connection was cut off"),
                }
            })?;
            Ok(Response::new(&head, body.to_bytes()))
        };
        beside(exchange, connection).await
    }
}

/// Does `work`, for which `driver` must be going on as long as it can.
async fn beside<T>(work: impl Future<Output = T>, driver: impl Future) -> T {
    let (mut work, mut driver) = (pin!(work), pin!(driver));
    tokio::select! {
        biased;
        done = &mut work => done,
        _ = &mut driver => work.await,
    }
}

async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut last = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("the host has no address")))
}

/// Whether a look-up that failed may succeed later. What the system's resolver says is only told in words.
fn is_passing(error: &io::Error) -> bool {
    let said = error.to_string();
    error.raw_os_error().is_some() || said.contains("emporary failure") || said.contains("ry again")
}

fn cut_off(error: &hyper::Error) -> Fault {
    match error.is_parse() {
        true => Fault::fatal("the response is not of HTTP"),
        false => Fault::passing("the connection was cut off before the response was complete"),
    }
}

/// The body of a request.
pub(crate) type Body = Full<Bytes>;

#[cfg(test)]
mod tests {
    use super::*;

    /// W-AMB-34: as glibc and musl say it.
    #[test]
    fn a_name_that_is_not_there_is_told_from_a_resolver_that_is_busy() {
        let said = |text: &str| io::Error::other(format!("failed to lookup address information: {text}"));
        for text in ["Temporary failure in name resolution", "Try again"] {
            assert!(is_passing(&said(text)), "W-AMB-34: {text}");
        }
        for text in ["Name or service not known", "Name does not resolve", "No address associated with hostname"] {
            assert!(!is_passing(&said(text)), "W-AMB-34: {text}");
        }
        assert!(is_passing(&io::Error::from_raw_os_error(24)), "no file is left to look into");
    }
}
