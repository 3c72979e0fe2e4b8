//! What is measured: the server, or the bare push server in its place.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use hyper::Method;
use serde_json::json;
use tokio::task::JoinSet;

use crate::bare::{self, push::Ports};
use crate::http::{Connection, Pool};
use crate::options::{Common, Join};
use crate::process::Process;
use crate::server::{self, Bellwire, Roles};
use crate::swarm::{Door, Ticket};

/// Connections that identify users before a measurement.
const IDENTIFIERS: u32 = 16;

/// Which of the two takes its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Bellwire,
    Bare,
}

/// A running target. Dropping it ends its process.
#[derive(Debug)]
pub(crate) enum Target {
    Bellwire(Box<Bellwire>),
    Bare(Bare),
}

/// The bare push server as its client sees it.
#[derive(Debug)]
pub(crate) struct Bare {
    /// One, or as many as the server has nodes.
    nodes: Vec<(Process, Ports)>,
    /// The Redis from which it hears what to push.
    bus: Option<String>,
}

impl Target {
    /// Starts a fresh one. `is_durable` has the bare program store what it pushes, as the server always does.
    pub(crate) async fn start(
        side: Side,
        common: &Common,
        room: &Path,
        join: Join,
        is_durable: bool,
    ) -> Result<Target> {
        if side == Side::Bellwire {
            return Ok(Target::Bellwire(Box::new(Bellwire::start(common, room, join, Roles::Apart).await?)));
        }
        let rows = if is_durable { vec!["--rows".to_owned(), room.display().to_string()] } else { Vec::new() };
        let bus = common.bus.iter().filter(|_| common.nodes > 1);
        let bus = bus.flat_map(|bus| ["--from-bus".to_owned(), bus.clone()]);
        let arguments: Vec<String> = rows.into_iter().chain(bus).collect();
        let nodes = vec![bare::start(common, "bare-push", &arguments, room).await?];
        let bus = common.bus.clone().filter(|_| common.nodes > 1);
        Ok(Target::Bare(Bare { nodes, bus }))
    }

    /// Starts as many nodes as asked for, all of which hold sockets; the bare program's know nothing of each other.
    pub(crate) async fn start_equals(side: Side, common: &Common, room: &Path) -> Result<Target> {
        if side == Side::Bellwire {
            let server = Bellwire::start(common, room, Join::Bellwire, Roles::Equal).await?;
            return Ok(Target::Bellwire(Box::new(server)));
        }
        let mut nodes = Vec::new();
        for _ in 0..common.nodes {
            nodes.push(bare::start(common, "bare-push", &[], room).await?);
        }
        Ok(Target::Bare(Bare { nodes, bus: None }))
    }

    pub(crate) fn pid(&self) -> u32 {
        match self {
            Target::Bellwire(server) => server.pid(),
            Target::Bare(bare) => bare.nodes.last().map_or(0, |(process, _)| process.pid()),
        }
    }

    /// Kills the last node outright, and gives back what is left of it; the one before it is measured from then on.
    pub(crate) fn kill_last(&mut self) -> Option<Process> {
        match self {
            Target::Bellwire(server) => server.kill_last(),
            Target::Bare(bare) => {
                let (mut process, _) = bare.nodes.pop()?;
                process.kill();
                Some(process)
            }
        }
    }

    /// Where sockets are let in, node by node.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        match self {
            Target::Bellwire(server) => server.addresses(),
            Target::Bare(bare) => bare.nodes.iter().map(|(_, ports)| loopback(ports.sockets)).collect(),
        }
    }

    /// By what a socket of `user` gets in.
    pub(crate) fn ticket(&self, user: u32) -> Ticket {
        match self {
            Target::Bellwire(server) => server.ticket(user),
            Target::Bare(_) => {
                Ticket { user, path: format!("/u/{user}"), topic: format!("feeds:bare:u{user}"), join: Join::Bellwire }
            }
        }
    }

    /// How a socket of `user` gets in.
    pub(crate) fn door(&self, user: u32) -> Door {
        let address = match self {
            Target::Bellwire(server) => server.node_of(user),
            Target::Bare(bare) => loopback(bare.nodes.last().map_or(0, |(_, ports)| ports.sockets)),
        };
        self.ticket(user).door(address, None)
    }

    /// How a client asks that has to be refused.
    pub(crate) fn shut_door(&self) -> Door {
        let path = match self {
            Target::Bellwire(server) => server.path_of_nobody(),
            Target::Bare(_) => bare::push::REFUSED.to_owned(),
        };
        Door { path, ..self.door(0) }
    }

    /// The Redis that the bare program hears.
    pub(crate) fn bus(&self) -> Option<&str> {
        match self {
            Target::Bellwire(_) => None,
            Target::Bare(bare) => bare.bus.as_deref(),
        }
    }

    /// The bare program's control port.
    pub(crate) fn control(&self) -> Option<SocketAddr> {
        match self {
            Target::Bellwire(_) => None,
            Target::Bare(bare) => bare.nodes.last().map(|(_, ports)| loopback(ports.control)),
        }
    }

    /// Makes the users known to the server; the bare program knows everyone.
    pub(crate) async fn identify(&self, users: u32) -> Result<()> {
        let Target::Bellwire(server) = self else { return Ok(()) };
        let mut calls = JoinSet::new();
        for first in 0..IDENTIFIERS {
            let mut connection = Connection::open(server.address(), server.secret_key()).await?;
            calls.spawn_local(async move {
                for user in (first..users).step_by(IDENTIFIERS as usize) {
                    let body = json!({"name": format!("User {user}"), "email": format!("u{user}@example.com")});
                    connection
                        .call(Method::PUT, &format!("/v1/users/{}", server::name(user)), body.to_string())
                        .await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(call) = calls.join_next().await {
            call?.context("cannot identify the users")?;
        }
        Ok(())
    }

    /// Keep-alive connections to the server's API.
    pub(crate) async fn pool(&self, connections: u32) -> Result<Option<Pool>> {
        match self {
            Target::Bellwire(server) => Ok(Some(Pool::open(server.address(), server.secret_key(), connections).await?)),
            Target::Bare(_) => Ok(None),
        }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
