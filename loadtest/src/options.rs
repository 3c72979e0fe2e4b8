//! The command line: scenarios and their sizes, every one bounded.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Loads a Bellwire server on this machine and prints, beside each figure, what a bare program reaches with the same work.
///
/// Both run in the same run, turn by turn, on the same core: on a shared machine only their ratio means something.
/// Everything stays on the loopback interface; the server is started and ended by this program.
#[derive(Debug, Parser)]
#[command(name = "loadtest", version, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
}

/// What every scenario takes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Every scenario")]
pub(crate) struct Common {
    /// The bellwire binary under test
    #[arg(long, global = true, default_value = "target/release/bellwire", value_name = "PATH")]
    pub(crate) server: PathBuf,
    /// How often the server and the bare program take turns
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=50))]
    pub(crate) rounds: u32,
    /// Measure the bare program alone
    #[arg(long, global = true)]
    pub(crate) bare_only: bool,
    /// Let the scheduler place the processes, instead of one core each
    #[arg(long, global = true)]
    pub(crate) no_pin: bool,
    /// The core the measured program runs on
    #[arg(long, global = true, default_value_t = 0, value_name = "CPU")]
    pub(crate) server_cpu: u32,
    /// The core this client runs on
    #[arg(long, global = true, default_value_t = 1, value_name = "CPU")]
    pub(crate) client_cpu: u32,
    /// Before each turn, wait at most this long for other processes to calm down
    #[arg(long, global = true, default_value_t = 5, value_name = "SECONDS")]
    pub(crate) quiet_wait: u64,
    /// Where databases are laid for the run; removed afterwards (default: the system's temporary directory)
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) directory: Option<PathBuf>,
    /// Nodes, of which the first takes the triggers and the others hold the sockets and are measured; the bare program then
    /// hears from Redis what it pushes
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=8))]
    pub(crate) nodes: u32,
    /// The PostgreSQL database that the nodes share, empty but for what earlier runs left
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) store: Option<String>,
    /// The Redis that joins the nodes, as HOST:PORT
    #[arg(long, global = true, value_name = "HOST:PORT")]
    pub(crate) bus: Option<String>,
    /// Size of the bare program's frames in bytes, until a round has shown the server's own
    #[arg(long, global = true, default_value_t = 900, value_parser = clap::value_parser!(u32).range(200..=60_000), value_name = "BYTES")]
    pub(crate) frame_bytes: u32,
    /// Write every round's figures to this file as JSON
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the latency histogram to this file as SVG
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Give up, ending every child process, after this many seconds
    #[arg(long, global = true, default_value_t = 900, value_name = "SECONDS")]
    pub(crate) max_seconds: u64,
}

/// What is measured.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Scenario {
    /// Open authenticated, joined sockets: rate, server CPU per connect, memory per socket
    Connect(Connect),
    /// Push to users' own channels: deliveries per second and core, CPU per delivery, latency at a fixed rate
    Push(Push),
    /// Durable triggers per second, and the time from a trigger to its frame beside the disk's own fdatasync
    Trigger(Trigger),
    /// One trigger with many recipients: the time until every one of them has the frame
    Fanout(Fanout),
    /// Workflows: runs per second, simple and of five steps; many timers that are due at once; the followers of one object
    Engine(Engine),
    /// Read a page of a feed with its counts, from feeds of growing size
    Feed(Feed),
    /// Read lists of a store that is full: their first, their 1,000th and their last page
    Lists(Lists),
    /// Mark messages: marks per second, and the time until the reader's other device knows
    Mark(Mark),
    /// Kill a node: how long until its clients are back on the others and have everything (needs --nodes 2 or more)
    Reconnect(Reconnect),
    /// The bare programs alone: what this machine allows
    Limit(Limit),
    #[command(hide = true)]
    BarePush(BarePush),
    #[command(hide = true)]
    BareRows(BareRows),
    #[command(hide = true)]
    BarePages(BarePages),
    #[command(hide = true)]
    BareLists(BareLists),
}

/// How a client says which feed it wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Join {
    /// Our own clients' join: a snapshot, then deltas that carry the item with its counts
    Bellwire,
    /// The stock SDK's join, keyed by client references
    Knock,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Connect {
    /// Sockets to open, one user each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) sockets: u32,
    /// Handshakes under way at once
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) concurrency: u32,
    /// How the sockets join
    #[arg(long, value_enum, default_value_t = Join::Bellwire)]
    pub(crate) join: Join,
    /// Ask with a key that is none, as clients do whose key was revoked: each is refused before the upgrade
    #[arg(long)]
    pub(crate) bad_key: bool,
}

/// A delivery's share of storing is one `sockets-per-user`-th of an item: raise it to see the push alone, or set it to 1 to
/// see a whole notification.
#[derive(Debug, Clone, Args)]
pub(crate) struct Push {
    /// Users, each with a channel of their own
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: u32,
    /// Sockets each user has open
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) sockets_per_user: u32,
    /// Recipients named by one trigger
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) batch: u32,
    /// Deliveries per second in the latency part
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) rate: u32,
    /// Seconds of each part
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
    /// Deliveries under way at most, when pushing as fast as possible
    #[arg(long, default_value_t = 8_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) window: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Trigger {
    /// Keep-alive connections that each wait for one answer before the next trigger
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=15_000))]
    pub(crate) callers: u32,
    /// Users the triggers go round
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) users: u32,
    /// Of these, users with an open socket, who receive the latency part's triggers
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) listeners: u32,
    /// Triggers per second in the latency part
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate: u32,
    /// Seconds of each part
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Fanout {
    /// Recipients of the one trigger, each with an open socket
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) recipients: u32,
    /// Triggers per round, one after the other
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) repeat: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Engine {
    /// Connections that each wait for one answer before the next trigger
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) callers: u32,
    /// Recipients named by one trigger
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub(crate) recipients: u32,
    /// Recipients whom the runs of one step, those of five, and the timers go round
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) users: u32,
    /// Seconds of the runs of one step, and of the pushes before the timers are due
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
    /// Runs of five steps, ten of which come together for each recipient
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(crate) runs: u32,
    /// Runs that are delayed until the same second
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) timers: u32,
    /// Triggers per second, for others with an open socket, before and while the timers are due
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rate: u32,
    /// Of them, so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) listeners: u32,
    /// Followers of the object; another has a tenth of them
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    pub(crate) followers: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Feed {
    /// Items in each of the feeds compared; ratios are to the first
    #[arg(long, value_delimiter = ',', default_values_t = [10, 1_000, 100_000], value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) items: Vec<u32>,
    /// Reads of each feed per round
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) reads: u32,
    /// Connections that fill the feeds
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) callers: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Lists {
    /// Messages in the store
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(2_000..=20_000_000))]
    pub(crate) messages: u32,
    /// Users in the store
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(100..=2_000_000))]
    pub(crate) users: u32,
    /// Reads of each page per round
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) reads: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Mark {
    /// Users, each with one message and one open socket
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) users: u32,
    /// Connections that each wait for one answer before the next mark
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) callers: u32,
    /// Marks per second in the latency part
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    pub(crate) rate: u32,
    /// Seconds of each part
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
}

/// When the clients of a node that died dial again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Return {
    /// Each at a random moment of the time that its node named when it joined, as our own clients do
    AsTold,
    /// All in the same instant
    AtOnce,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Reconnect {
    /// Clients, one user and one socket each
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(2..=200_000))]
    pub(crate) clients: u32,
    /// Of these, on the node that is killed; the others are on the nodes that stay (default: as many on each node)
    #[arg(long, value_name = "CLIENTS", value_parser = clap::value_parser!(u32).range(1..=200_000))]
    pub(crate) on_dead: Option<u32>,
    /// When the clients of the node that was killed dial again
    #[arg(long = "return", value_enum, default_value_t = Return::AsTold, value_name = "WHEN")]
    pub(crate) returns: Return,
    /// Triggers per second, before and after the node is killed
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    pub(crate) rate: u32,
    /// Seconds of triggers before the node is killed, and after
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=60))]
    pub(crate) seconds: u32,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Limit {
    /// Sockets of the connect and push parts
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1_000..=200_000))]
    pub(crate) sockets: u32,
    /// Seconds of each part
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=300))]
    pub(crate) seconds: u32,
}

/// The bare push server, run as a child process.
#[derive(Debug, Clone, Args)]
pub(crate) struct BarePush {
    /// Where its rows are kept, for the records that ask to be stored first
    #[arg(long)]
    pub(crate) rows: Option<PathBuf>,
    /// The Redis from which it hears what to push
    #[arg(long)]
    pub(crate) from_bus: Option<String>,
}

/// The bare group commit, run as a child process.
#[derive(Debug, Clone, Args)]
pub(crate) struct BareRows {
    #[arg(long)]
    pub(crate) rows: PathBuf,
    #[arg(long)]
    pub(crate) callers: u32,
    #[arg(long)]
    pub(crate) users: u32,
    #[arg(long)]
    pub(crate) seconds: u32,
}

/// The bare page reader, run as a child process.
#[derive(Debug, Clone, Args)]
pub(crate) struct BarePages {
    #[arg(long)]
    pub(crate) rows: PathBuf,
    #[arg(long, value_delimiter = ',')]
    pub(crate) items: Vec<u32>,
    #[arg(long)]
    pub(crate) reads: u32,
}

/// The bare reader of lists, run as a child process.
#[derive(Debug, Clone, Args)]
pub(crate) struct BareLists {
    #[arg(long)]
    pub(crate) rows: PathBuf,
    #[arg(long)]
    pub(crate) env: i64,
    #[arg(long)]
    pub(crate) reads: u32,
}
