//! What may happen to a town, and how it is undone.

use std::time::{Duration, Instant};

use tokio::task::block_in_place;
use tokio::time::sleep;

use super::number;
use super::town::{STUCK, Servers, Town, USERS, user};
use super::writers::Writers;
use crate::crash::Dice;
use crate::process::Process;
use crate::support::redis::{RedisCluster, RedisServer};
use crate::support::wire::{State, Wire};

/// What may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A node dies, as by `kill -9`, and is started again.
    NodeKilled,
    /// A node is asked to stop, and is started again.
    NodeStopped,
    /// A node stands still: whoever waits for it goes elsewhere, and then it goes on.
    NodeFrozen,
    /// The wall clock of a node is an hour ahead until all is looked at, then right again.
    ClockAhead,
    /// The wall clock of a node is an hour behind until all is looked at, then right again.
    ClockBehind,
    RedisKilled,
    RedisFrozen,
    /// Redis is away, and stays away until all is looked at.
    RedisGone,
    /// Redis drops everybody who listens.
    RedisDrops,
    /// Redis drops a node that does not take what it is sent.
    RedisOverruns,
    /// A node cannot reach Redis, and is told so.
    RedisCut,
    /// A node cannot reach Redis, and is not told.
    RedisMute,
    /// PostgreSQL dies, as with its machine, and is started again.
    DatabaseKilled,
    /// PostgreSQL is asked to stop, and is started again.
    DatabaseStopped,
    /// PostgreSQL drops every connection.
    DatabaseDrops,
    /// PostgreSQL takes long to answer, as with a slow disk.
    DatabaseSlow,
    /// A node cannot reach PostgreSQL, and is told so.
    DatabaseCut,
    /// A node cannot reach PostgreSQL, and is not told.
    DatabaseMute,
    /// Nobody can reach a node, and is told so.
    ClientsCut,
    /// Nobody can reach a node, nor is told; nor is the node.
    ClientsMute,
    /// A master of the Cluster dies; its replica takes over, and it comes back as a replica.
    MasterKilled,
    /// A master hands over to its replica, as its operator says.
    MasterHandsOver,
    /// Slots are given to another master.
    SlotsMoved,
    /// Every node of the Cluster drops everybody who listens.
    ClusterDrops,
}

impl Fault {
    /// Where one Redis carries the news.
    pub const ALL: [Fault; 20] = [
        Fault::NodeKilled,
        Fault::NodeStopped,
        Fault::NodeFrozen,
        Fault::ClockAhead,
        Fault::ClockBehind,
        Fault::RedisKilled,
        Fault::RedisFrozen,
        Fault::RedisGone,
        Fault::RedisDrops,
        Fault::RedisOverruns,
        Fault::RedisCut,
        Fault::RedisMute,
        Fault::DatabaseKilled,
        Fault::DatabaseStopped,
        Fault::DatabaseDrops,
        Fault::DatabaseSlow,
        Fault::DatabaseCut,
        Fault::DatabaseMute,
        Fault::ClientsCut,
        Fault::ClientsMute,
    ];

    /// What only a Cluster knows.
    pub const OF_A_CLUSTER: [Fault; 4] =
        [Fault::MasterKilled, Fault::MasterHandsOver, Fault::SlotsMoved, Fault::ClusterDrops];
}

/// How long a wire to a server is mute: longer than a node waits to hear itself (6 s), or for the database (5 s).
const MUTE: Duration = Duration::from_secs(7);
/// How much later a slow database answers, each time.
const SLOW: Duration = Duration::from_millis(250);
const HOUR: i64 = 3_600;
/// Has Redis drop everybody who listens.
const DROP: [&str; 4] = ["CLIENT", "KILL", "TYPE", "pubsub"];
/// What Redis keeps for one who listens: next to nothing, and what it does by default.
const LITTLE: &str = "pubsub 64kb 32kb 1";
const USUAL: &str = "pubsub 32mb 8mb 60";
/// What it says of one whom it drops therefore.
const OVERRUN: &str = "overcoming of output buffer limits";

impl Town {
    /// Has it happen, and undoes it, and has the writers rest. Where others can still write meanwhile, they stop before it
    /// is undone: nothing that comes later tells a bell that it has missed something.
    pub async fn suffer(&mut self, fault: Fault, dice: &mut Dice, writers: &Writers) {
        let at = dice.roll(0..self.nodes.len() as u64) as usize;
        let pause = Duration::from_millis(dice.roll(500..1_500));
        match fault {
            Fault::NodeKilled => {
                self.process(at).kill();
                sleep(pause).await;
                writers.pause().await;
                block_in_place(|| self.process(at).run());
            }
            Fault::NodeStopped => {
                let began = Instant::now();
                block_in_place(|| self.process(at).stop());
                assert!(began.elapsed() < Duration::from_secs(35), "it stops before its deadline");
                writers.pause().await;
                block_in_place(|| self.process(at).run());
            }
            Fault::NodeFrozen => {
                self.process(at).signal("STOP");
                sleep(Duration::from_secs(number("FAULT_FREEZE").unwrap_or(20))).await;
                writers.pause().await;
                self.process(at).signal("CONT");
            }
            Fault::ClockAhead => self.set_wall_clock(at, HOUR).await,
            Fault::ClockBehind => self.set_wall_clock(at, -HOUR).await,
            Fault::RedisKilled => {
                self.redis().kill();
                sleep(pause).await;
                writers.pause().await;
                block_in_place(|| self.redis().run());
            }
            Fault::RedisFrozen => {
                self.redis().freeze();
                sleep(Duration::from_secs(4)).await;
                writers.pause().await;
                self.redis().thaw();
            }
            Fault::RedisGone => {
                self.redis().kill();
                sleep(pause).await;
            }
            Fault::RedisDrops => {
                let redis = self.redis();
                // In the midst of what they finish.
                tokio::join!(writers.pause(), async { block_in_place(|| redis.ask(&DROP)) });
            }
            Fault::RedisOverruns => self.overrun(at, writers).await,
            Fault::RedisCut => {
                self.to_redis(at).set(State::Cut);
                sleep(pause).await;
                writers.pause().await;
                self.to_redis(at).set(State::WELL);
            }
            Fault::RedisMute => {
                self.to_redis(at).set(State::Mute);
                sleep(MUTE).await;
                writers.pause().await;
                self.to_redis(at).set(State::WELL);
            }
            Fault::DatabaseKilled => {
                block_in_place(|| self.postgres.down());
                sleep(pause).await;
                block_in_place(|| self.postgres.up());
            }
            Fault::DatabaseStopped => block_in_place(|| self.postgres.restart()),
            Fault::DatabaseDrops => {
                let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                           WHERE datname IS NOT NULL AND pid <> pg_backend_pid()";
                self.postgres.execute(&self.database, cut).await;
            }
            Fault::DatabaseSlow => {
                self.nodes.iter().for_each(|node| node.to_database.set(State::slow(SLOW)));
                sleep(Duration::from_secs(4)).await;
                writers.pause().await;
                self.nodes.iter().for_each(|node| node.to_database.set(State::WELL));
            }
            Fault::DatabaseCut => {
                self.nodes[at].to_database.set(State::Cut);
                sleep(pause).await;
                writers.pause().await;
                self.nodes[at].to_database.set(State::WELL);
            }
            Fault::DatabaseMute => {
                self.nodes[at].to_database.set(State::Mute);
                sleep(MUTE).await;
                writers.pause().await;
                self.nodes[at].to_database.set(State::WELL);
            }
            Fault::ClientsCut => {
                self.nodes[at].front.set(State::Cut);
                sleep(pause).await;
                writers.pause().await;
                self.nodes[at].front.set(State::WELL);
            }
            Fault::ClientsMute => {
                self.nodes[at].front.set(State::Mute);
                sleep(Duration::from_secs(4)).await;
                writers.pause().await;
                self.nodes[at].front.set(State::WELL);
            }
            Fault::MasterKilled => self.kill_master(dice, writers).await,
            Fault::MasterHandsOver => self.hand_over(dice),
            Fault::SlotsMoved => self.move_slots(dice),
            Fault::ClusterDrops => {
                for node in &self.cluster().nodes {
                    block_in_place(|| node.ask(&DROP));
                }
            }
        }
        writers.pause().await;
    }

    /// Brings back what was still away when all was looked at.
    pub fn mend(&mut self, fault: Fault) {
        match fault {
            Fault::RedisGone => block_in_place(|| self.redis().run()),
            Fault::ClockAhead | Fault::ClockBehind => self.nodes.iter().for_each(|node| node.clock.set(0)),
            Fault::MasterKilled => block_in_place(|| {
                let cluster = self.cluster();
                let dead = cluster.nodes.iter_mut().find(|node| !node.runs()).expect("one is dead");
                dead.run();
                cluster.agree();
                cluster.follow();
            }),
            _ => {}
        }
    }

    fn process(&mut self, at: usize) -> &mut Process {
        &mut self.nodes[at].process
    }

    fn redis(&mut self) -> &mut RedisServer {
        match &mut self.servers {
            Servers::One(redis) => redis,
            Servers::Cluster(_) => panic!("a Cluster carries the news"),
        }
    }

    fn cluster(&mut self) -> &mut RedisCluster {
        match &mut self.servers {
            Servers::Cluster(cluster) => cluster,
            Servers::One(_) => panic!("one Redis carries the news"),
        }
    }

    fn to_redis(&self, at: usize) -> &Wire {
        self.nodes[at].to_redis.as_ref().expect("one Redis carries the news")
    }

    /// Lets Redis keep little for a node whose wire is mute, until it has dropped it.
    async fn overrun(&mut self, at: usize, writers: &Writers) {
        let set = ["CONFIG", "SET", "client-output-buffer-limit"];
        let before = self.redis().said(OVERRUN);
        self.redis().ask(&[&set[..], &[LITTLE]].concat());
        self.to_redis(at).set(State::Mute);
        writers.write_long(true);
        let began = Instant::now();
        while self.redis().said(OVERRUN) == before {
            assert!(began.elapsed() < STUCK, "Redis keeps everything");
            sleep(Duration::from_millis(100)).await;
        }
        writers.write_long(false);
        writers.pause().await;
        self.redis().ask(&[&set[..], &[USUAL]].concat());
        self.to_redis(at).set(State::WELL);
    }

    /// Kills a master while its users are written to, and waits until its replica has taken over.
    async fn kill_master(&mut self, dice: &mut Dice, writers: &Writers) {
        let masters = block_in_place(|| self.cluster().masters());
        let dead = dice.pick(&masters);
        self.cluster().nodes[dead].kill();
        sleep(Duration::from_millis(dice.roll(300..1_000))).await;
        // Before the replica takes over: nobody is told of what others' news would have told it.
        writers.pause().await;
        block_in_place(|| {
            let cluster = self.cluster();
            cluster.wait("the replica takes over", || {
                let masters = cluster.masters();
                let is_well = |at: &usize| cluster.nodes[*at].ask(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
                masters.len() == 3 && masters.iter().all(is_well)
            });
        });
    }

    fn hand_over(&mut self, dice: &mut Dice) {
        block_in_place(|| {
            let cluster = self.cluster();
            let masters = cluster.masters();
            let replicas: Vec<usize> = (0..cluster.nodes.len()).filter(|at| !masters.contains(at)).collect();
            let heir = dice.pick(&replicas);
            assert_eq!(cluster.nodes[heir].ask(&["CLUSTER", "FAILOVER"]), "OK");
            cluster.wait("it hands over", || cluster.masters().contains(&heir));
            cluster.follow();
        });
    }

    /// Gives the slots of some users to other masters than theirs.
    fn move_slots(&mut self, dice: &mut Dice) {
        block_in_place(|| {
            let cluster = self.cluster();
            for _ in 0..4 {
                let masters = cluster.masters();
                let channel = format!("bellwire:1:{}", user(dice.roll(0..USERS)));
                let slot: u16 = cluster.nodes[masters[0]].ask(&["CLUSTER", "KEYSLOT", &channel]).parse().unwrap();
                let from = cluster.owner(slot, masters[0]);
                let others: Vec<usize> = masters.iter().copied().filter(|at| *at != from).collect();
                cluster.move_slot(slot, dice.pick(&others));
            }
        });
    }
}
