//! Clients that come back when their node dies: each keeps its cursor, dials another node and catches up.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::machine;
use crate::options::Return;
use crate::progress::Progress;
use crate::socket::{Refused, Socket};
use crate::swarm::Ticket;
use crate::target::{Side, Target};
use crate::watch::{Watch, histogram, markers, number_after, version};

/// The size of the buffer that all sockets read into.
const SCRATCH: usize = 64 << 10;
/// A handshake that takes longer has failed.
const HANDSHAKE: Duration = Duration::from_secs(20);
/// How often the crowd is looked after.
const CHECK: Duration = Duration::from_millis(2);
/// The wait of the first return is at most this, unless the server asks for more; it doubles with every attempt.
const FIRST_PAUSE_MS: u64 = 1_000;
const LONGEST_PAUSE_MS: u64 = 30_000;

/// At least and at most so many milliseconds pass before a client dials again.
pub(crate) type Spread = (u64, u64);

/// What our own clients do where no server told them anything.
pub(crate) const NO_SPREAD: Spread = (250, 1_000);

/// Who comes, and how they come back.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) clients: u32,
    /// Of these, on the last node.
    pub(crate) on_last: u32,
    pub(crate) returns: Return,
    /// What each keeps to where nobody names a spread, as far as it is known.
    pub(crate) spreads: Vec<Spread>,
    pub(crate) concurrency: u32,
}

/// Clients with one user each. Dropping it closes their sockets.
#[derive(Debug)]
pub(crate) struct Crowd {
    _tasks: JoinSet<()>,
    shared: Rc<Shared>,
}

/// What the clients share.
#[derive(Debug)]
struct Shared {
    plan: Plan,
    side: Side,
    watch: Watch,
    scratch: RefCell<Vec<u8>>,
    permits: Semaphore,
    nodes: Vec<SocketAddr>,
    clients: RefCell<Vec<Client>>,
    tally: RefCell<Tally>,
    failure: RefCell<Option<anyhow::Error>>,
}

/// What one client was to be told, and what it has.
#[derive(Debug)]
struct Client {
    /// As its node named it when it joined.
    spread: Spread,
    /// The times of triggers that were acknowledged.
    told: Vec<u64>,
    /// Those of the items that came.
    has: Vec<u64>,
    version: Option<i64>,
    /// It is in, and has what it was told first.
    is_current: bool,
    /// When it dialled last since it lost its node, if it did.
    dialled_at: Option<u64>,
    /// It had everything that was told, for the first time since it lost its node.
    whole_at: Option<u64>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Tally {
    /// Sockets lost since the start.
    pub(crate) lost: u32,
    /// Those that were let in again.
    pub(crate) back: u32,
    /// Answers of 503 and the like.
    pub(crate) refused: u32,
    /// Connections that came to nothing.
    pub(crate) failed: u32,
    /// Items that came twice.
    pub(crate) twice: u32,
    /// When the first client dialled again, and when the last was let in.
    first_dial: Option<u64>,
    last_in: Option<u64>,
}

impl Tally {
    /// From the first that dialled again to the last that was let in.
    pub(crate) fn rush(&self) -> Option<Duration> {
        Some(Duration::from_nanos(self.last_in?.saturating_sub(self.first_dial?)))
    }
}

/// How long those took that had lost their node.
#[derive(Debug)]
pub(crate) struct Returns {
    /// From an instant until each had everything, in microseconds.
    pub(crate) whole: Histogram<u64>,
    /// The same from its own dial that got through.
    pub(crate) from_dial: Histogram<u64>,
}

impl Crowd {
    /// Lets all clients in, and waits until each has its feed.
    pub(crate) async fn gather(target: &Target, side: Side, plan: Plan, progress: &Progress) -> Result<Crowd> {
        let clients = plan.clients;
        machine::require_files(clients)?;
        let shared = Rc::new(Shared::new(target, side, plan));
        let mut tasks = JoinSet::new();
        for user in 0..clients {
            tasks.spawn_local(live(Rc::clone(&shared), target.ticket(user)));
        }
        let crowd = Crowd { _tasks: tasks, shared };
        loop {
            let current = crowd.count(|client| client.is_current);
            progress.at(current as u64);
            if current == clients as usize {
                return Ok(crowd);
            }
            if let Some(failure) = crowd.shared.failure.take() {
                return Err(failure.context(format!("after {current} clients")));
            }
            tokio::time::sleep(CHECK).await;
        }
    }

    /// The clock.
    pub(crate) fn watch(&self) -> &Watch {
        &self.shared.watch
    }

    /// Notes that a trigger for `users`, which bears the time `at`, was acknowledged.
    pub(crate) fn told(&self, users: &[u32], at: u64) {
        let mut clients = self.shared.clients.borrow_mut();
        for user in users {
            clients[*user as usize].told.push(at);
        }
    }

    /// Clients whose state is so.
    fn count(&self, is_so: impl Fn(&Client) -> bool) -> usize {
        self.shared.clients.borrow().iter().filter(|client| is_so(client)).count()
    }

    /// Waits until as many clients are whole again as there were on the node that died, at most for `patience`; answers
    /// how many are not.
    pub(crate) async fn return_of(&self, lost: u32, patience: Duration, progress: &Progress) -> u32 {
        let began = self.shared.watch.now();
        loop {
            let whole = self.count(|client| client.whole_at.is_some()) as u32;
            progress.at(whole.into());
            let is_over = u128::from(self.shared.watch.now() - began) > patience.as_nanos();
            if whole >= lost || is_over {
                return lost.saturating_sub(whole);
            }
            tokio::time::sleep(CHECK).await;
        }
    }

    /// Waits until everybody has everything, at most for `patience`; answers how many items are missing.
    pub(crate) async fn settle(&self, patience: Duration) -> usize {
        let began = self.shared.watch.now();
        loop {
            let missing = self.shared.clients.borrow().iter().map(|client| client.missing().count()).sum();
            if missing == 0 || u128::from(self.shared.watch.now() - began) > patience.as_nanos() {
                return missing;
            }
            tokio::time::sleep(CHECK).await;
        }
    }

    /// How long those who lost their node took since the time `from`.
    pub(crate) fn returns(&self, from: u64) -> Returns {
        let mut returns = Returns { whole: histogram(), from_dial: histogram() };
        for client in &*self.shared.clients.borrow() {
            if let (Some(whole), Some(dialled)) = (client.whole_at, client.dialled_at) {
                returns.whole.saturating_record(whole.saturating_sub(from) / 1_000);
                returns.from_dial.saturating_record(whole.saturating_sub(dialled) / 1_000);
            }
        }
        returns
    }

    pub(crate) fn tally(&self) -> Tally {
        *self.shared.tally.borrow()
    }

    /// What was named to each client when it joined.
    pub(crate) fn spreads(&self) -> Vec<Spread> {
        self.shared.clients.borrow().iter().map(|client| client.spread).collect()
    }
}

impl Shared {
    fn new(target: &Target, side: Side, plan: Plan) -> Shared {
        let spreads = plan.spreads.iter().copied().chain(std::iter::repeat(NO_SPREAD));
        let clients = spreads.take(plan.clients as usize).map(Client::new).collect();
        Shared {
            side,
            watch: Watch::new(0),
            scratch: RefCell::new(vec![0; SCRATCH]),
            permits: Semaphore::new(plan.concurrency as usize),
            nodes: target.addresses(),
            clients: RefCell::new(clients),
            plan,
            tally: RefCell::default(),
            failure: RefCell::default(),
        }
    }

    /// The node that a client begins with: the last has the first clients.
    fn home(&self, user: u32) -> usize {
        let others = self.nodes.len() - 1;
        if user < self.plan.on_last { others } else { user as usize % others }
    }

    fn client<T>(&self, user: u32, with: impl FnOnce(&mut Client) -> T) -> T {
        with(&mut self.clients.borrow_mut()[user as usize])
    }

    fn tally(&self, with: impl FnOnce(&mut Tally)) {
        with(&mut self.tally.borrow_mut());
    }

    /// Takes in what a client is told.
    fn hear(&self, user: u32, payload: &[u8]) {
        let now = self.watch.now();
        let twice = self.client(user, |client| client.hear(payload, now));
        self.tally(|tally| tally.twice += twice);
    }

    /// Connects, upgrades, joins with what it has, and waits for the reply.
    async fn enter(&self, ticket: &Ticket, node: usize) -> Result<Socket> {
        let user = ticket.user;
        let door = ticket.door(self.nodes[node], self.client(user, |client| client.version));
        let mut socket = Socket::open(door.address, user, &door.path).await?;
        socket.send(&door.join).await?;
        let mut reply = None;
        while reply.is_none() {
            let open = socket
                .read(&self.scratch, |text| match &reply {
                    None => reply = Some(String::from_utf8_lossy(text).into_owned()),
                    // What follows the reply may come with it.
                    Some(_) => self.hear(user, text),
                })
                .await?;
            if !open {
                bail!("the server closed instead of answering the join");
            }
        }
        let reply = reply.unwrap_or_default();
        if !reply.contains(r#""status":"ok""#) {
            bail!("join refused: {reply}");
        }
        if let Some(spread) = spread(&reply) {
            self.client(user, |client| client.spread = spread);
        }
        if self.side == Side::Bare {
            // Nothing follows: whoever is in has everything.
            let now = self.watch.now();
            self.client(user, |client| client.catch_up(now));
        }
        Ok(socket)
    }

    /// How long a client waits before it dials for the `attempt`th time.
    fn pause(&self, user: u32, attempt: u32) -> Duration {
        if self.plan.returns == Return::AtOnce && attempt == 0 {
            return Duration::ZERO;
        }
        let (least, most) = self.client(user, |client| client.spread);
        let top = most.max(LONGEST_PAUSE_MS.min(FIRST_PAUSE_MS << attempt.min(16)));
        Duration::from_millis(least) + Duration::from_millis(top.saturating_sub(least)).mul_f64(share(user, attempt))
    }
}

/// One client's life: in, and in again elsewhere whenever it loses its node.
async fn live(shared: Rc<Shared>, ticket: Ticket) {
    let user = ticket.user;
    let mut node = shared.home(user);
    let entered = async {
        let _permit = shared.permits.acquire().await?;
        tokio::time::timeout(HANDSHAKE, shared.enter(&ticket, node)).await.context("no reply to the join")?
    };
    let mut socket = match entered.await {
        Ok(socket) => socket,
        Err(error) => {
            shared.failure.replace(Some(error));
            return;
        }
    };
    loop {
        while socket.read(&shared.scratch, |text| shared.hear(user, text)).await.unwrap_or(false) {}
        shared.tally(|tally| tally.lost += 1);
        shared.client(user, |client| client.is_current = false);
        // A balancer knows soon which nodes are left.
        node = user as usize % (shared.nodes.len() - 1);
        socket = come_back(&shared, &ticket, node).await;
    }
}

/// Dials until it is let in.
async fn come_back(shared: &Shared, ticket: &Ticket, node: usize) -> Socket {
    for attempt in 0.. {
        tokio::time::sleep(shared.pause(ticket.user, attempt)).await;
        let now = shared.watch.now();
        shared.tally(|tally| _ = tally.first_dial.get_or_insert(now));
        shared.client(ticket.user, |client| client.dialled_at = Some(now));
        let entered = tokio::time::timeout(HANDSHAKE, shared.enter(ticket, node)).await;
        match entered.unwrap_or_else(|_| bail!("no reply to the join")) {
            Ok(socket) => {
                shared.tally(|tally| {
                    tally.back += 1;
                    tally.last_in = Some(shared.watch.now());
                });
                return socket;
            }
            Err(error) if error.is::<Refused>() => shared.tally(|tally| tally.refused += 1),
            Err(_) => shared.tally(|tally| tally.failed += 1),
        }
    }
    unreachable!("it dials until it is in")
}

impl Client {
    fn new(spread: Spread) -> Client {
        Client {
            spread,
            told: Vec::new(),
            has: Vec::new(),
            version: None,
            is_current: false,
            dialled_at: None,
            whole_at: None,
        }
    }

    /// Takes in a frame; answers how many of its items had come before.
    fn hear(&mut self, payload: &[u8], now: u64) -> u32 {
        let Some(version) = version(payload) else { return 0 };
        // An item repeats its data, and with it its marker, in several of its members.
        let items: BTreeSet<u64> = markers(payload).collect();
        let (before, fresh): (Vec<u64>, Vec<u64>) = items.into_iter().partition(|at| self.has.contains(at));
        self.has.extend(fresh);
        self.version = self.version.max(Some(version));
        self.catch_up(now);
        before.len() as u32
    }

    /// It is in, and has what it was told first.
    fn catch_up(&mut self, now: u64) {
        self.is_current = true;
        if self.dialled_at.is_some() && self.whole_at.is_none() && self.missing().next().is_none() {
            self.whole_at = Some(now);
        }
    }

    fn missing(&self) -> impl Iterator<Item = &u64> {
        self.told.iter().filter(|at| !self.has.contains(at))
    }
}

/// How long the server asks its clients to wait before they dial again.
fn spread(reply: &str) -> Option<Spread> {
    let (_, rest) = reply.split_once(r#""reconnect_ms":["#)?;
    Some((number_after(rest, "")?, number_after(rest, ",")?))
}

/// A number from 0 to 1 that differs from client to client and from try to try, and is the same in every run (SplitMix64).
fn share(user: u32, attempt: u32) -> f64 {
    let mut bits = (u64::from(user) << 16 | u64::from(attempt)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ (bits >> 31)) as f64 / u64::MAX as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watch::marker;

    fn delta(version: i64, items: &[u64]) -> String {
        let items: Vec<String> = items.iter().map(|at| format!(r#"{{"a":"{0}","b":"{0}"}}"#, marker(*at))).collect();
        format!(
            r#"["1",null,"feeds:c:u","feed.delta",{{"since":1,"version":{version},"counts":{{}},"items":[{}]}}]"#,
            items.join(",")
        )
    }

    #[test]
    fn a_client_is_whole_when_it_has_all_that_was_told_after_it_dialled_again() {
        let mut client = Client { told: vec![5, 6], ..Client::new(NO_SPREAD) };
        client.hear(delta(2, &[5, 6]).as_bytes(), 10);
        assert_eq!((client.version, client.whole_at), (Some(2), None), "it never lost its node");
        client.told.push(7);
        client.dialled_at = Some(11);
        assert_eq!(client.hear(delta(3, &[6]).as_bytes(), 12), 1, "it had that one");
        assert_eq!(client.whole_at, None, "something is missing");
        assert_eq!(client.hear(delta(4, &[7]).as_bytes(), 13), 0);
        client.hear(delta(5, &[]).as_bytes(), 14);
        assert_eq!((client.version, client.whole_at), (Some(5), Some(13)));
    }

    #[test]
    fn the_spread_is_what_the_server_says() {
        assert_eq!(spread(r#"{"version":3,"reconnect_ms":[250,2000]}"#), Some((250, 2_000)));
        assert_eq!(spread(r#"{"version":3}"#), None);
    }

    #[test]
    fn shares_are_spread_evenly() {
        let below = (0..10_000).filter(|user| share(*user, 0) < 0.25).count();
        assert!((2_300..2_700).contains(&below), "{below}");
    }
}
