//! Pushes to users' own channels: as fast as they are taken, then at a fixed rate.

use anyhow::Result;

use super::{HANDSHAKES, PAUSE};
use crate::bare::record::Store;
use crate::letters::Letters;
use crate::machine::Reading;
use crate::news::{Carrier, Sample};
use crate::options::{Join, Push};
use crate::publisher::{Publisher, Rota, flood, pace};
use crate::run::{Outcome, Round, Run};
use crate::swarm::{Plan, Swarm};
use crate::target::{Side, Target};

pub(crate) async fn run(run: &Run, options: &Push) -> Result<Outcome> {
    let mut outcome = run.interleave("push", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "{} users with {} sockets each, driven by triggers naming {} recipients; bare frames of {} bytes",
        options.users,
        options.sockets_per_user,
        options.batch,
        run.frame_bytes.get()
    ));
    outcome.notes.push(format!(
        "a delivery bears 1/{} of storing an item; the bare program stores nothing",
        options.sockets_per_user
    ));
    if run.common.nodes > 1 {
        outcome.notes.push(
            "news alone: the client publishes at Redis what a node would, and nothing is stored on either side"
                .to_owned(),
        );
    }
    outcome.notes.push(format!(
        "latency at {} deliveries/s counts from when each publish was due, not from when it could be sent",
        options.rate
    ));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Push, side: Side) -> Result<Round> {
    let target = Target::start(side, &run.common, &run.room(side)?, Join::Bellwire, false).await?;
    target.identify(options.users).await?;
    let plan =
        Plan { first: 0, users: options.users, sockets_per_user: options.sockets_per_user, concurrency: HANDSHAKES };
    run.progress.part(format!("{}: open sockets", side.name()), plan.sockets().into());
    let carrier = Carrier::of(&run.common);
    let before = sample(carrier.as_ref()).await?;
    let swarm = Swarm::open(&target, plan, &run.progress).await?;
    let subscribed = sample(carrier.as_ref()).await?;
    let mut publisher = Publisher::open(&target, Store::Nothing, run.frame_bytes.get() as usize).await?;
    let (load, mut round) = (Load { run, options, target: &target, swarm: &swarm }, Round::default());

    let idle = sample(carrier.as_ref()).await?;
    let mut lost = load.flood(&mut publisher, "", &mut round).await?;
    let carried = sample(carrier.as_ref()).await?;
    if let (Side::Bellwire, Some(bytes)) = (side, swarm.watch.frame_bytes()) {
        run.frame_bytes.set(u32::try_from(bytes)?);
    }
    tokio::time::sleep(PAUSE).await;
    lost += load.at_rate(&mut publisher, "latency", &mut round).await?;
    if let Some(bus) = run.common.bus.as_deref().filter(|_| run.common.nodes > 1) {
        let mut news = match side {
            Side::Bellwire => Publisher::of_letters(bus, load.letters(bus, &mut publisher).await?).await?,
            Side::Bare => publisher,
        };
        tokio::time::sleep(PAUSE).await;
        lost += load.flood(&mut news, ", news alone", &mut round).await?;
        tokio::time::sleep(PAUSE).await;
        lost += load.at_rate(&mut news, "publish to frame", &mut round).await?;
    }
    round.less("lost deliveries", "", lost as f64);
    swarm.require_whole()?;
    if let (Some(before), Some(subscribed), Some(idle), Some(carried)) = (before, subscribed, idle, carried) {
        before.subscribed(subscribed, options.users, &mut round);
        idle.carried(carried, &mut round);
    }
    Ok(round)
}

async fn sample(carrier: Option<&Carrier<'_>>) -> Result<Option<Sample>> {
    match carrier {
        Some(carrier) => Ok(Some(carrier.sample().await?)),
        None => Ok(None),
    }
}

/// Deliveries that are under way to a socket at most, when pushing as fast as possible.
const UNDER_WAY: u32 = 4;

/// What is pushed, and to whom.
struct Load<'a> {
    run: &'a Run,
    options: &'a Push,
    target: &'a Target,
    swarm: &'a Swarm,
}

impl Load<'_> {
    /// As fast as deliveries come back; answers how many never did. `how` stands behind the names of the figures.
    async fn flood(&self, publisher: &mut Publisher, how: &str, round: &mut Round) -> Result<u64> {
        let Load { run, options, target, swarm } = self;
        let mut rota = Rota::new(options.users, options.batch);
        // No socket is to fall behind by more than its node keeps for it: what is stored nowhere cannot be read again.
        let window =
            options.window.min(options.users.saturating_mul(options.sockets_per_user).saturating_mul(UNDER_WAY));
        let part = async |publisher: &mut Publisher, rota: &mut Rota, seconds| {
            swarm.watch.begin();
            let per_user = options.sockets_per_user;
            flood(publisher, &swarm.watch, rota, per_user, window, seconds, &run.progress).await
        };
        let expected = u64::from(options.seconds) * 90_000;
        run.progress.part(format!("warm up{how}"), expected / u64::from(options.seconds));
        let due = part(publisher, &mut rota, 1).await?;
        swarm.watch.settle(due).await;

        run.progress.part(format!("push, no limit{how}"), expected);
        let reading = Reading::take(target.pid())?;
        let due = part(publisher, &mut rota, options.seconds).await?;
        let (usage, delivered) = (reading.usage(target.pid())?, swarm.watch.delivered() as f64);
        let lost = swarm.watch.settle(due).await;
        publisher.failures().require_none()?;
        let cpu = usage.measured;
        round.more(format!("deliveries per server core{how}"), "/s", delivered / cpu.total().max(0.01));
        round.more(format!("deliveries{how}"), "/s", delivered / usage.seconds);
        round.less(format!("user CPU per delivery{how}"), "µs", cpu.user * 1e6 / delivered);
        round.less(format!("CPU per delivery{how}"), "µs", cpu.total() * 1e6 / delivered);
        round.more(format!("server core busy{how}"), "%", cpu.total() / usage.seconds * 100.0);
        round.disturbed(usage.noise);
        Ok(lost)
    }

    /// At the rate asked for; answers how many deliveries never came.
    async fn at_rate(&self, publisher: &mut Publisher, name: &str, round: &mut Round) -> Result<u64> {
        let Load { run, options, target, swarm } = self;
        // One user at a time: a larger batch would be a burst, whose last frame waits for its first.
        let mut rota = Rota::new(options.users, 1);
        let per_second = f64::from(options.rate) / f64::from(options.sockets_per_user);
        run.progress.part(format!("{name} at a fixed rate"), u64::from(options.rate) * u64::from(options.seconds));
        swarm.watch.begin();
        let reading = Reading::take(target.pid())?;
        let publishes = pace(&swarm.watch, per_second, options.seconds, &run.progress, async |at| {
            publisher.publish(rota.next(), at).await
        })
        .await?;
        let lost = swarm.watch.settle(publishes * u64::from(options.sockets_per_user)).await;
        let usage = reading.usage(target.pid())?;
        publisher.failures().require_none()?;
        round.percentiles(name, swarm.watch.latency());
        round.disturbed(usage.noise);
        Ok(lost)
    }

    /// Has one user told something, and learns from it how nodes tell each other.
    async fn letters(&self, bus: &str, publisher: &mut Publisher) -> Result<Letters> {
        let watch = &self.swarm.watch;
        watch.begin();
        let at = watch.now();
        let trigger = async || {
            publisher.publish(&[0], at).await?;
            watch.settle(self.options.sockets_per_user.into()).await;
            publisher.failures().require_none()
        };
        Letters::learn(bus, at, trigger, || watch.versions()).await
    }
}
