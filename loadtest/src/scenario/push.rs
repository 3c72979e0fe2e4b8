//! Pushes to users' own channels: as fast as they are taken, then at a fixed rate.

use anyhow::Result;

use super::{HANDSHAKES, PAUSE};
use crate::bare::record::Store;
use crate::machine::Reading;
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
    outcome.notes.push(format!(
        "latency at {} deliveries/s counts from when each publish was due, not from when it could be sent",
        options.rate
    ));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Push, side: Side) -> Result<Round> {
    let target = Target::start(side, &run.common, &run.room(side)?, Join::Bellwire, false).await?;
    target.identify(options.users).await?;
    let plan = Plan { users: options.users, sockets_per_user: options.sockets_per_user, concurrency: HANDSHAKES };
    run.progress.part(format!("{}: open sockets", side.name()), plan.sockets().into());
    let swarm = Swarm::open(&target, plan, &run.progress).await?;
    let frame_bytes = run.frame_bytes.get() as usize;
    let mut publisher = Publisher::open(&target, Store::Nothing, frame_bytes).await?;
    let mut rota = Rota::new(options.users, options.batch);
    let mut round = Round::default();

    let part = async |publisher: &mut Publisher, rota: &mut Rota, seconds| {
        swarm.watch.begin();
        let per_user = options.sockets_per_user;
        flood(publisher, &swarm.watch, rota, per_user, options.window, seconds, &run.progress).await
    };
    let expected = u64::from(options.seconds) * 90_000;
    run.progress.part(format!("{}: warm up", side.name()), expected / u64::from(options.seconds));
    let due = part(&mut publisher, &mut rota, 1).await?;
    swarm.watch.settle(due).await;

    run.progress.part(format!("{}: push, no limit", side.name()), expected);
    let reading = Reading::take(target.pid())?;
    let due = part(&mut publisher, &mut rota, options.seconds).await?;
    let (usage, delivered) = (reading.usage(target.pid())?, swarm.watch.delivered() as f64);
    let lost = swarm.watch.settle(due).await;
    publisher.failures().require_none()?;
    round.more("deliveries per server core", "/s", delivered / usage.measured.total().max(0.01));
    round.more("deliveries", "/s", delivered / usage.seconds);
    round.less("user CPU per delivery", "µs", usage.measured.user * 1e6 / delivered);
    round.less("CPU per delivery", "µs", usage.measured.total() * 1e6 / delivered);
    round.more("server core busy", "%", usage.measured.total() / usage.seconds * 100.0);
    round.disturbed(usage.noise);
    if let (Side::Bellwire, Some(bytes)) = (side, swarm.watch.frame_bytes()) {
        run.frame_bytes.set(u32::try_from(bytes)?);
    }

    tokio::time::sleep(PAUSE).await;
    let late = at_rate(run, options, &target, &swarm, &mut publisher, &mut round).await?;
    round.less("lost deliveries", "", (lost + late) as f64);
    swarm.require_whole()?;
    Ok(round)
}

/// The latency part; answers how many deliveries never came.
async fn at_rate(
    run: &Run,
    options: &Push,
    target: &Target,
    swarm: &Swarm,
    publisher: &mut Publisher,
    round: &mut Round,
) -> Result<u64> {
    // One user at a time: a larger batch would be a burst, whose last frame waits for its first.
    let mut rota = Rota::new(options.users, 1);
    let per_second = f64::from(options.rate) / f64::from(options.sockets_per_user);
    run.progress.part("push at a fixed rate", u64::from(options.rate) * u64::from(options.seconds));
    swarm.watch.begin();
    let reading = Reading::take(target.pid())?;
    let publishes = pace(&swarm.watch, per_second, options.seconds, &run.progress, async |at| {
        publisher.publish(rota.next(), at).await
    })
    .await?;
    let lost = swarm.watch.settle(publishes * u64::from(options.sockets_per_user)).await;
    let usage = reading.usage(target.pid())?;
    publisher.failures().require_none()?;
    round.percentiles("latency", swarm.watch.latency());
    round.disturbed(usage.noise);
    Ok(lost)
}
