//! A server of somebody else's: it answers as it is told to, and remembers what it was asked.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bellwire::outside::policy::Policy;
use bellwire::outside::{Outside, Settings};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// A way out that leads to this machine, too.
pub fn way_out() -> Outside {
    Outside::new(settings(Duration::from_secs(15)))
}

/// What a way out to this machine is made of; requests may take so long.
pub fn settings(timeout: Duration) -> Settings {
    let policy = Policy { private: true, ..Policy::default() };
    Settings { policy, timeout, response_bytes: 1 << 20, tls: None }
}

/// What was asked.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

/// How the stub answers.
#[derive(Debug, Clone)]
pub enum Answer {
    Text(u16, String),
    /// With a header besides.
    With(u16, (&'static str, String), String),
    /// The connection is closed instead.
    HangUp,
    /// Not before [`Stub::release`].
    Never,
    /// Likewise, and then this.
    Held(Value),
}

impl Answer {
    pub fn json(value: Value) -> Answer {
        Answer::Text(200, value.to_string())
    }
}

type Script = dyn Fn(&Seen, usize) -> Answer + Send + Sync;

/// The server; it is gone when this is dropped.
pub struct Stub {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    release: tokio::sync::watch::Sender<bool>,
    serving: JoinHandle<()>,
}

impl Drop for Stub {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stub {
    /// Answers each request by what it is and how many there were before it.
    pub async fn start(script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static) -> Stub {
        Stub::serve(script, |stream| async move { Some(stream) }).await
    }

    /// Likewise, with something done to each connection first, such as TLS.
    pub async fn serve<S, F>(
        script: impl Fn(&Seen, usize) -> Answer + Send + Sync + 'static,
        prepare: impl Fn(tokio::net::TcpStream) -> F + Send + 'static,
    ) -> Stub
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        F: Future<Output = Option<S>> + Send + 'static,
    {
        let script: Arc<Script> = Arc::new(script);
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let (release, released) = tokio::sync::watch::channel(false);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let noted = Arc::clone(&seen);
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (script, noted, released) = (Arc::clone(&script), Arc::clone(&noted), released.clone());
                let stream = prepare(stream);
                connections.spawn(async move {
                    let Some(stream) = stream.await else { return };
                    let service = service_fn(move |request| {
                        answer(request, Arc::clone(&script), Arc::clone(&noted), released.clone())
                    });
                    // Whoever hangs up is no fault of the stub.
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Stub { address, seen, release, serving }
    }

    /// An address of the server's.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// What has been asked so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many requests have come.
    pub async fn until(&self, count: usize) {
        let waiting = async {
            while self.seen.lock().unwrap().len() < count {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("the requests come");
    }

    /// Lets those go that were not answered; those who never should have been get an empty object.
    pub fn release(&self) {
        self.release.send_replace(true);
    }
}

#[derive(Debug, thiserror::Error)]
#[error("hung up")]
struct HungUp;

async fn answer(
    request: Request<Incoming>,
    script: Arc<Script>,
    noted: Arc<Mutex<Vec<Seen>>>,
    mut released: tokio::sync::watch::Receiver<bool>,
) -> Result<Response<Full<Bytes>>, HungUp> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| HungUp)?.to_bytes();
    let text = |value: &hyper::header::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: String::from_utf8(body.to_vec()).unwrap_or_default(),
    };
    let before = {
        let mut noted = noted.lock().unwrap();
        noted.push(seen.clone());
        noted.len() - 1
    };
    let (status, header, body) = match script(&seen, before) {
        Answer::Text(status, body) => (status, None, body),
        Answer::With(status, header, body) => (status, Some(header), body),
        Answer::HangUp => return Err(HungUp),
        answer @ (Answer::Never | Answer::Held(_)) => {
            let _ = released.wait_for(|released| *released).await;
            let body = if let Answer::Held(body) = answer { body.to_string() } else { "{}".to_owned() };
            (200, None, body)
        }
    };
    let mut response = Response::builder().status(status);
    if let Some((name, value)) = header {
        response = response.header(name, value);
    }
    Ok::<_, Infallible>(response.body(Full::from(body)).unwrap()).map_err(|_| HungUp)
}
