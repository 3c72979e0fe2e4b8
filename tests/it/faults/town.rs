//! Two nodes over one database and one bus, with a wire wherever one of them is spoken to, and a clock for each.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tokio::time::sleep;

use super::bell::Bell;
use super::clocks::Seal;
use crate::crash::Dice;
use crate::process::{CHANNEL, Process};
use crate::support::faketime::WallClock;
use crate::support::postgres;
use crate::support::redis::{RedisCluster, RedisServer};
use crate::support::wire::Wire;

pub const USERS: u64 = 40;
const NODES: usize = 2;
/// How long an outage may make everybody wait, at most, before something is stuck.
pub const STUCK: Duration = Duration::from_secs(60);

/// What carries the news.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bus {
    One,
    Cluster,
}

pub(super) enum Servers {
    One(RedisServer),
    Cluster(RedisCluster),
}

/// A node, and what it stands between.
pub(super) struct Node {
    pub(super) process: Process,
    /// From its clients.
    pub(super) front: Wire,
    pub(super) to_database: Wire,
    /// A Cluster tells its nodes where else it is: there a wire would not be used.
    pub(super) to_redis: Option<Wire>,
    pub(super) clock: WallClock,
}

pub struct Town {
    pub(super) seal: Seal,
    pub(super) nodes: Vec<Node>,
    pub(super) servers: Servers,
    pub(super) postgres: postgres::Server,
    pub(super) database: String,
}

/// The id of a user.
pub fn user(number: u64) -> String {
    format!("user-{number}")
}

impl Town {
    pub async fn found(bus: Bus) -> Town {
        let postgres = postgres::Server::with(&["fsync=on"]);
        let servers = match bus {
            Bus::One => Servers::One(RedisServer::start(&[])),
            Bus::Cluster => Servers::Cluster(RedisCluster::start(3)),
        };
        let database = postgres.database().await;
        let nodes: Vec<Node> = (0..NODES).map(|_| Node::laid_out(&postgres, &database, &servers)).collect();
        let seal = block_in_place(|| Seal::made_by(&nodes[0].process));
        let mut town = Town { seal, nodes, servers, postgres, database };
        block_in_place(|| town.nodes.iter_mut().for_each(|node| node.process.run()));
        town.until_items_flow().await;
        town
    }

    /// Where clients reach the nodes.
    pub fn fronts(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.front.address).collect()
    }

    pub fn secret(&self) -> &str {
        &self.nodes[0].process.secret
    }

    /// Two bells of every user, on whichever nodes the dice say.
    pub fn bells(&self, dice: &mut Dice) -> Vec<Bell> {
        let bell = |number: u64, dice: &mut Dice| {
            let key = self.nodes[0].process.public.clone();
            Bell::open(user(number % USERS), key, self.fronts(), dice.roll(0..NODES as u64) as usize)
        };
        (0..2 * USERS).map(|number| bell(number, dice)).collect()
    }

    /// Waits until either node takes a trigger: nothing is stuck.
    pub async fn until_items_flow(&self) {
        self.until_all_answer(200).await;
    }

    /// Waits until every node answers a trigger so.
    pub async fn until_all_answer(&self, status: u16) {
        for Node { process, .. } in &self.nodes {
            let began = Instant::now();
            let body = json!({"recipients": ["nobody"], "data": {"name": "probe"}});
            loop {
                let reply = process.call(Method::POST, "/v1/workflows/note/trigger", body.clone()).await;
                if reply.as_ref().is_ok_and(|reply| reply.status == status) {
                    break;
                }
                assert!(began.elapsed() < STUCK, "a node is stuck: {reply:?}\n{}", process.tail());
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Writes that a workflow is active, or not, as a node does that is told so.
    pub async fn switch(&self, workflow: &str, is_active: bool) {
        let sql = format!("UPDATE workflows SET is_active = {} WHERE key = '{workflow}'", i64::from(is_active));
        self.postgres.execute(&self.database, &sql).await;
        // As `bellwire workflows deactivate` says that there is something new.
        self.postgres.execute(&self.database, "UPDATE publications SET revision = revision + 1").await;
    }

    /// What the database answers, asked by no wire.
    pub async fn ask(&self, sql: &str) -> Vec<tokio_postgres::Row> {
        self.postgres.ask(&self.database, sql).await
    }

    /// How many items a user's feed has, how many are unread and how many unseen, as each node says.
    pub async fn counts(&self, user: &str) -> Vec<[i64; 3]> {
        let path = format!("/v1/users/{user}/feeds/{CHANNEL}?archived=include&page_size=1");
        let mut counts = Vec::new();
        for node in &self.nodes {
            let reply = node.process.call(Method::GET, &path, Value::Null).await.expect("an answer");
            let count = |name: &str| reply.body["meta"][name].as_i64().unwrap_or(-1);
            counts.push(["total_count", "unread_count", "unseen_count"].map(count));
        }
        counts
    }
}

impl Node {
    fn laid_out(postgres: &postgres::Server, database: &str, servers: &Servers) -> Node {
        let clock = WallClock::new();
        let to_database = Wire::to(postgres.address());
        let (to_redis, redis, sweep_seconds) = match servers {
            Servers::One(redis) => {
                let wire = Wire::to(redis.address());
                let url = format!("redis://{}", wire.address);
                (Some(wire), url, 5)
            }
            Servers::Cluster(cluster) => (None, cluster.url(), 3_600),
        };
        let mut variables = clock.variables();
        variables.extend([
            ("BELLWIRE_STORE_URL".to_owned(), postgres::url(to_database.address, database)),
            ("BELLWIRE_STORE_TIMEOUT_SECONDS".to_owned(), "5".to_owned()),
            ("BELLWIRE_BUS_URLS".to_owned(), redis),
            ("BELLWIRE_BUS_SWEEP_SECONDS".to_owned(), sweep_seconds.to_string()),
        ]);
        let process = block_in_place(|| Process::laid_out_in_town("[hub]\ndrain_spread_seconds = 1\n", &variables));
        let front = Wire::to(process.address);
        Node { process, front, to_database, to_redis, clock }
    }
}
