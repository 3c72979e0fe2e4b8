//! The REST face: one pipeline, and routes as data.
//!
//! A request passes, in order: request id, CORS, route, announced body size, door, rate limit, body, handler. There are
//! no layers: each step is a function that the next one follows in `pipeline`.

pub mod answer;
pub mod api;
pub mod cx;
pub mod description;
pub mod error;
pub mod limits;
pub mod page;
pub mod router;
pub mod server;

mod auth;
mod body;
mod center;
mod connect;
mod cors;
mod escape;
mod idempotency;
mod ingest;
mod open;
mod pipeline;
mod scope;
mod track;
mod vitals;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::Semaphore;

use crate::verbs;

pub use answer::Body;
pub use open::Page;
pub use server::{serve, serve_operators};
pub use vitals::{Measure, Telling};

/// Where sockets are opened.
pub const SOCKET_PATH: &str = "/ws/v1/websocket";

/// Takes a request that wants to become a socket, and answers it.
pub type Upgrade = Box<dyn Fn(Request<Incoming>) -> Upgrading + Send + Sync>;

/// The answer that such a request is about to get.
pub type Upgrading = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// Answers what is no part of the API, such as pages that are made when they are asked for. It is asked first, and
/// nothing is added to its answers: it says itself which other sites may read them.
pub struct Front {
    /// Whether a path is its own.
    pub has: Box<dyn Fn(&str) -> bool + Send + Sync>,
    /// Answers a request for such a path.
    pub answer: Box<dyn Fn(Request<Incoming>) -> Fronted + Send + Sync>,
}

/// The answer of a [`Front`], to come.
pub type Fronted = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

/// How the face behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes a body may have.
    pub body_limit: usize,
    /// Requests per second, by tier (F-RAT-07).
    pub limits: limits::Limits,
    /// This server's address as callers know it, such as `https://bell.example.com`; else what requests name.
    pub origin: Option<String>,
    /// How long a request line with its headers may take, and how long a connection may be idle.
    pub header_timeout: Duration,
    /// How long a body may take.
    pub body_timeout: Duration,
    /// How long requests in flight may take once the server stops.
    pub drain_timeout: Duration,
    /// Connections served at once; further ones wait. A connection that became a socket does not count.
    pub connections: usize,
    /// Writes with a public key need a user token even where enhanced security is off (F-AMB-57).
    pub public_writes_need_token: bool,
    /// Days for which messages are shown; 0 is for ever.
    pub kept_days: u64,
    /// Who is told the figures.
    pub telling: Telling,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            body_limit: 10 * 1024 * 1024,
            limits: limits::Limits::default(),
            origin: None,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            connections: 10_000,
            public_writes_need_token: false,
            kept_days: 0,
            telling: Telling { is_on: true, ..Telling::default() },
        }
    }
}

/// Everything requests are answered with.
pub struct Face {
    pub core: verbs::Shared,
    pub settings: Settings,
    upgrade: Upgrade,
    pages: Vec<Page>,
    front: Option<Front>,
    table: router::Table,
    description: OnceLock<description::Described>,
    buckets: limits::Buckets,
    measure: Measure,
    /// Turns to record what recipients do, behind what they were answered.
    recording: Arc<Semaphore>,
    /// Turns to ask the database how it is.
    asking: Arc<Semaphore>,
    is_stopping: AtomicBool,
}

impl Face {
    /// A face; `upgrade` takes what comes to [`SOCKET_PATH`], and `pages` are served as they are.
    pub fn new(core: verbs::Shared, settings: Settings, upgrade: Upgrade, pages: Vec<Page>) -> Self {
        Face {
            core,
            settings,
            upgrade,
            pages,
            front: None,
            table: router::Table::new(api::routes()),
            description: OnceLock::new(),
            buckets: limits::Buckets::default(),
            measure: Box::new(|_| {}),
            recording: Arc::new(Semaphore::new(track::RECORDINGS)),
            asking: Arc::new(Semaphore::new(1)),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The same face with somebody in front of it.
    pub fn behind(self, front: Front) -> Self {
        Face { front: Some(front), ..self }
    }

    /// The same face, whose figures of the rest of the node are set by `measure`.
    pub fn measured(self, measure: Measure) -> Self {
        Face { measure, ..self }
    }

    /// What the API is, for whoever asks; made when somebody does.
    fn described(&self) -> &description::Described {
        self.description.get_or_init(|| description::Described::of(self.table.routes()))
    }

    /// Makes `/readyz` say no, so that no new callers are sent here, and has those who are here come anew.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
    }
}
