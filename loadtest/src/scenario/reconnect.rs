//! Kills a node while triggers go on, and looks how long its clients take to be back elsewhere with everything.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Result, bail};
use hyper::Method;
use tokio::time::MissedTickBehavior;

use super::{HANDSHAKES, PAUSE};
use crate::crowd::{Crowd, NO_SPREAD, Plan, Spread};
use crate::http::Pool;
use crate::machine::Reading;
use crate::options::{Reconnect, Return};
use crate::publisher::{Failures, trigger_body};
use crate::run::{Outcome, Round, Run};
use crate::server;
use crate::target::{Side, Target};

/// Connections that carry triggers.
const CONNECTIONS: u32 = 16;
/// Recipients of one trigger, where everybody is told once.
const BATCH: u32 = 500;
/// How long clients may take to be whole; far longer than any sweep.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether all answers are there.
const CHECK: Duration = Duration::from_millis(2);

pub(crate) async fn run(run: &Run, options: &Reconnect) -> Result<Outcome> {
    if run.common.nodes < 2 {
        bail!("a node dies and others take its clients: ask for several with --nodes 2, --store and --bus");
    }
    let on_dead = options.on_dead.unwrap_or(options.clients / run.common.nodes);
    if on_dead > options.clients {
        bail!("--on-dead counts some of the clients: at most {}", options.clients);
    }
    // The bare program names no spread: its clients keep to the server's.
    let spreads = RefCell::default();
    let turn = async |side| turn(run, options, on_dead, side, &spreads).await;
    let mut outcome = run.interleave("reconnect", turn).await?;
    let (least, most) = spreads.borrow().iter().copied().max().unwrap_or(NO_SPREAD);
    outcome.notes.push(format!(
        "{on_dead} of {} clients were on the node that was killed, of {}; they dial again {}",
        options.clients,
        run.common.nodes,
        match options.returns {
            Return::AsTold =>
                format!("at random within the {least} to {most} ms that the server named to the last of them"),
            Return::AtOnce => "all at once".to_owned(),
        }
    ));
    outcome.notes.push(format!(
        "whole: has every item that was acknowledged, {} triggers a second; the bare program stores and tells nothing, \
         whole is joined",
        options.rate
    ));
    Ok(outcome)
}

async fn turn(
    run: &Run,
    options: &Reconnect,
    on_dead: u32,
    side: Side,
    spreads: &RefCell<Vec<Spread>>,
) -> Result<Round> {
    let mut target = Target::start_equals(side, &run.common, &run.room(side)?).await?;
    target.identify(options.clients).await?;
    let plan = Plan {
        clients: options.clients,
        on_last: on_dead,
        returns: options.returns,
        spreads: spreads.borrow().clone(),
        concurrency: HANDSHAKES,
    };
    run.progress.part(format!("{}: open sockets", side.name()), options.clients.into());
    let crowd = Rc::new(Crowd::gather(&target, side, plan, &run.progress).await?);
    if side == Side::Bellwire {
        spreads.replace(crowd.spreads());
    }
    let triggers = match target.pool(CONNECTIONS).await? {
        Some(pool) => {
            let triggers = Triggers { pool, crowd: Rc::clone(&crowd), failures: Rc::default(), open: Rc::default() };
            triggers.tell_everybody(options.clients).await?;
            Some(triggers)
        }
        None => None,
    };
    tokio::time::sleep(PAUSE).await;
    let seconds = Duration::from_secs(options.seconds.into());
    let (_, round) = tokio::try_join!(
        async {
            match &triggers {
                Some(triggers) => triggers.keep_on(options, seconds * 2).await,
                None => Ok(()),
            }
        },
        async {
            tokio::time::sleep(seconds).await;
            measure(run, &mut target, &crowd, on_dead, side).await
        },
    )?;
    let mut round = round;
    if let Some(triggers) = &triggers {
        let missing = triggers.settle().await?;
        round.less("items never told", "", missing as f64);
        round.less("items told twice", "", f64::from(crowd.tally().twice));
    }
    Ok(round)
}

/// Kills the last node, and follows its clients until they are whole.
async fn measure(run: &Run, target: &mut Target, crowd: &Crowd, on_dead: u32, side: Side) -> Result<Round> {
    run.progress.part(format!("{}: come back", side.name()), on_dead.into());
    let before = crowd.tally();
    let killed_at = crowd.watch().now();
    let remains = target.kill_last();
    let reading = Reading::take(target.pid())?;
    let late = crowd.return_of(on_dead, PATIENCE, &run.progress).await;
    let usage = reading.usage(target.pid())?;
    drop(remains);
    let (tally, returns) = (crowd.tally(), crowd.returns(killed_at));
    if tally.lost - before.lost != on_dead {
        bail!("{} sockets were lost, of which {on_dead} with their node", tally.lost - before.lost);
    }
    if late > 0 {
        bail!("{late} clients were not whole within {PATIENCE:?}");
    }
    let mut round = Round::default();
    let (whole, back) = (&returns.whole, f64::from(on_dead));
    let ms = |micros: u64| micros as f64 / 1_000.0;
    round.less("kill to whole p50", "ms", ms(whole.value_at_quantile(0.5)));
    round.less("kill to whole p99", "ms", ms(whole.value_at_quantile(0.99)));
    round.less("kill to whole, the last", "ms", ms(whole.max()));
    round.less("dial to whole p50", "ms", ms(returns.from_dial.value_at_quantile(0.5)));
    round.less("dial to whole p99", "ms", ms(returns.from_dial.value_at_quantile(0.99)));
    let rush = tally.rush().unwrap_or_default().as_secs_f64().max(1e-6);
    round.more("sockets accepted, first dial to last join", "/s", back / rush);
    round.less("refusals", "", f64::from(tally.refused - before.refused));
    round.less("failed connects", "", f64::from(tally.failed - before.failed));
    // The nodes that are left share the clients evenly, and one of them is measured.
    let share = back / f64::from(run.common.nodes - 1);
    round.less("CPU of a node left, per client", "µs", usage.measured.total() * 1e6 / share);
    round.less("of it user", "µs", usage.measured.user * 1e6 / share);
    round.less("client CPU per client", "µs", usage.client.total() * 1e6 / back);
    round.less("CPU of all others, per client", "µs", usage.noise.other / 100.0 * usage.seconds * 1e6 / back);
    round.disturbed(usage.noise);
    round.latency = Some(returns.whole);
    Ok(round)
}

/// What sends triggers, and notes which were acknowledged.
struct Triggers {
    pool: Pool,
    crowd: Rc<Crowd>,
    failures: Rc<Failures>,
    /// Triggers that are not answered yet.
    open: Rc<Cell<u32>>,
}

impl Triggers {
    /// Tells every user something, and waits until each has it.
    async fn tell_everybody(&self, users: u32) -> Result<()> {
        let all: Vec<u32> = (0..users).collect();
        for users in all.chunks(BATCH as usize) {
            self.send(users).await?;
        }
        match self.settle().await? {
            0 => Ok(()),
            missing => bail!("{missing} of {users} first items were never told"),
        }
    }

    /// Waits for all answers, and then until everybody has everything; answers how many items are missing.
    async fn settle(&self) -> Result<usize> {
        while self.open.get() > 0 {
            tokio::time::sleep(CHECK).await;
        }
        self.failures.require_none()?;
        Ok(self.crowd.settle(PATIENCE).await)
    }

    /// Triggers at a steady pace for `time`, each for the next user.
    async fn keep_on(&self, options: &Reconnect, time: Duration) -> Result<()> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / options.rate);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        let count = u64::from(options.rate) * time.as_secs();
        for number in 0..count {
            ticks.tick().await;
            // A step that no number of clients is a multiple of has each round visit them in another order.
            let user = (number * 7_919 % u64::from(options.clients)) as u32;
            self.send(&[user]).await?;
        }
        Ok(())
    }

    /// Sends one trigger; its answer is awaited elsewhere.
    async fn send(&self, users: &[u32]) -> Result<()> {
        let mut connection = self.pool.take().await?;
        let (pool, crowd, failures) = (self.pool.clone(), Rc::clone(&self.crowd), Rc::clone(&self.failures));
        let (users, at, open) = (users.to_vec(), self.crowd.watch().now(), Rc::clone(&self.open));
        open.set(open.get() + 1);
        tokio::task::spawn_local(async move {
            match connection.call(Method::POST, &server::trigger_path(server::WORKFLOW), trigger_body(&users, at)).await
            {
                Ok(_) => crowd.told(&users, at),
                Err(error) => failures.note(&error),
            }
            open.set(open.get() - 1);
            pool.put(connection);
        });
        Ok(())
    }
}
