//! Redis servers in processes of their own, on the loopback, each with its own port and directory.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use uuid::Uuid;

use crate::process::free_port;

/// How long a server may take to start, or a Cluster to agree; other tests share the machine.
const START: Duration = Duration::from_secs(30);

/// A server that is killed at the latest when the test ends.
pub struct RedisServer {
    pub port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts one that keeps nothing, with these arguments beside ours.
    pub fn start(arguments: &[&str]) -> RedisServer {
        let mut server = RedisServer::laid_out(arguments);
        server.run();
        server
    }

    /// One with a port and a directory, that does not run yet.
    pub fn laid_out(arguments: &[&str]) -> RedisServer {
        let directory = std::env::temp_dir().join(format!("bellwire-redis-{}", Uuid::new_v4()));
        fs::create_dir_all(&directory).unwrap();
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        RedisServer { port: free_port(), directory, arguments, child: None }
    }

    /// Starts the server, and waits until it answers.
    pub fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(&self.directory).arg("--logfile").arg(self.directory.join("log"));
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| {
            panic!(
                "redis-server can't be started ({error}): install it with `apt install redis-server`, or by tests/run"
            )
        });
        self.child = Some(child);
        let began = Instant::now();
        while !self.answers() {
            assert!(began.elapsed() < START, "{}", fs::read_to_string(self.directory.join("log")).unwrap_or_default());
            sleep(Duration::from_millis(1));
        }
    }

    /// Starts one that speaks TLS, with a certificate that only its own authority vouches for.
    pub fn start_with_tls() -> RedisServer {
        let mut server = RedisServer::laid_out(&[]);
        let file = |name: &str| server.directory.join(name).display().to_string();
        let (key, certificate, tls_port) = (file("key.pem"), file("certificate.pem"), free_port().to_string());
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        openssl.args(["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout", &key, "-out", &certificate]);
        let made =
            openssl.output().unwrap_or_else(|error| panic!("openssl is not there ({error}): `apt install openssl`"));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let arguments = ["--tls-port", &tls_port, "--tls-cert-file", &certificate, "--tls-key-file", &key];
        server.arguments = arguments.into_iter().chain(["--tls-auth-clients", "no"]).map(str::to_owned).collect();
        server.run();
        server
    }

    /// Where it speaks TLS, and the file of the one who vouches for it.
    pub fn tls(&self) -> (String, PathBuf) {
        (format!("rediss://127.0.0.1:{}", self.arguments[1]), self.directory.join("certificate.pem"))
    }

    /// Whether it answers a PING, if only to ask for a password.
    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else { return false };
        stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        let mut first = [0; 1];
        stream.write_all(b"PING\r\n").is_ok() && stream.read_exact(&mut first).is_ok()
    }

    /// Kills it as `kill -9` does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // A frozen one, too.
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Whether it is there.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// How often its log says this.
    pub fn said(&self, text: &str) -> usize {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default().matches(text).count()
    }

    /// Lets it do nothing until [`RedisServer::thaw`].
    pub fn freeze(&self) {
        self.signal("-STOP");
    }

    pub fn thaw(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.as_ref().expect("the server runs").id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its address, as the configuration has it.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// What it answers to a command.
    pub fn ask(&self, command: &[&str]) -> String {
        let port = self.port.to_string();
        let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(command).output();
        let output = output.expect("redis-cli comes with redis-server");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Channels with these names that have subscribers; sharded ones in a Cluster.
    pub fn channels(&self, pattern: &str) -> usize {
        let verb = if self.arguments.iter().any(|argument| argument == "--cluster-enabled") {
            "SHARDCHANNELS"
        } else {
            "CHANNELS"
        };
        self.ask(&["PUBSUB", verb, pattern]).lines().filter(|line| !line.is_empty()).count()
    }

    /// How often it was given a command since it started.
    pub fn calls(&self, command: &str) -> u64 {
        let stats = self.ask(&["INFO", "commandstats"]);
        let line = stats.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
        line.and_then(|line| line.split(',').next()).map_or(0, |calls| calls.parse().unwrap())
    }

    /// Seconds of CPU that it has used.
    pub fn cpu_seconds(&self) -> f64 {
        let stats = self.ask(&["INFO", "cpu"]);
        let read = |name: &str| stats.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        read("used_cpu_sys:").unwrap_or(0.0) + read("used_cpu_user:").unwrap_or(0.0)
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The number of masters; each has a third of the slots.
const MASTERS: usize = 3;

/// Three masters, and replicas of the first of them.
pub struct RedisCluster {
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// A Cluster in which a master counts as dead after some seconds, with so many replicas.
    pub fn start(replicas: usize) -> RedisCluster {
        let mut nodes: Vec<RedisServer> = Vec::new();
        for _ in 0..MASTERS + replicas {
            let bus_port = free_port().to_string();
            let arguments = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2500", "--cluster-port", &bus_port];
            nodes.push(RedisServer::start(&arguments));
        }
        let cluster = RedisCluster { nodes };
        for (at, range) in [(0, ["0", "5461"]), (1, ["5462", "10922"]), (2, ["10923", "16383"])] {
            assert_eq!(cluster.nodes[at].ask(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]), "OK");
            assert_eq!(cluster.nodes[at].ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]), "OK");
        }
        for node in &cluster.nodes[1..] {
            let bus_port = node.arguments[5].clone();
            let (port, first) = (node.port.to_string(), &cluster.nodes[0]);
            assert_eq!(first.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus_port]), "OK");
        }
        cluster.agree();
        for replica in MASTERS..cluster.nodes.len() {
            let master = cluster.id(replica - MASTERS);
            assert_eq!(cluster.nodes[replica].ask(&["CLUSTER", "REPLICATE", &master]), "OK");
        }
        cluster.follow();
        cluster
    }

    /// Waits until every node knows every other, and that all slots are served.
    pub fn agree(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        self.wait("the nodes agree", || {
            self.nodes.iter().all(|node| {
                let info = node.ask(&["CLUSTER", "INFO"]);
                info.contains("cluster_state:ok") && info.contains(&known)
            })
        });
    }

    /// Waits until all but the masters follow one.
    pub fn follow(&self) {
        self.wait("the replicas follow", || {
            let states: Vec<String> = self.nodes.iter().map(|node| node.ask(&["INFO", "replication"])).collect();
            let count = |word: &str| states.iter().filter(|state| state.contains(word)).count();
            count("role:master") == MASTERS && count("master_link_status:up") == self.nodes.len() - MASTERS
        });
    }

    /// The places of the masters that run.
    pub fn masters(&self) -> Vec<usize> {
        let is_master = |at: &usize| self.nodes[*at].ask(&["INFO", "replication"]).contains("role:master");
        (0..self.nodes.len()).filter(is_master).collect()
    }

    /// By which the nodes know one of them.
    pub fn id(&self, at: usize) -> String {
        self.nodes[at].ask(&["CLUSTER", "MYID"])
    }

    /// Gives a slot to another master.
    pub fn move_slot(&self, slot: u16, to: usize) {
        let from = self.owner(slot, to);
        let slot = slot.to_string();
        self.nodes[to].ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &self.id(from)]);
        self.nodes[from].ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &self.id(to)]);
        let masters = self.masters();
        for at in [to, from].into_iter().chain(masters) {
            assert_eq!(self.nodes[at].ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &self.id(to)]), "OK");
        }
    }

    pub fn wait(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < START, "the Cluster does not get so far that {what}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Its address, as the configuration has it.
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The place among the nodes of the one that serves the slot, as `seen_by` sees it.
    pub fn owner(&self, slot: u16, seen_by: usize) -> usize {
        let map = self.nodes[seen_by].ask(&["CLUSTER", "SLOTS"]);
        // Without a terminal, redis-cli prints each value of the nested lists on a line.
        let lines: Vec<&str> = map.lines().collect();
        for window in lines.windows(4) {
            let number = |at: usize| window[at].trim().parse::<u16>();
            if let (Ok(first), Ok(last), "127.0.0.1", Ok(port)) = (number(0), number(1), window[2].trim(), number(3))
                && (first..=last).contains(&slot)
            {
                return self.nodes.iter().position(|node| node.port == port).unwrap();
            }
        }
        panic!("nobody serves slot {slot}:\n{map}");
    }
}
