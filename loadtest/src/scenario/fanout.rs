//! One trigger, many recipients: the time until the last of them has the frame.

use anyhow::{Result, bail};

use super::{HANDSHAKES, PAUSE};
use crate::bare::record::Store;
use crate::machine::Reading;
use crate::options::{Fanout, Join};
use crate::publisher::{Publisher, Rota};
use crate::run::{Outcome, Round, Run};
use crate::swarm::{Plan, Swarm};
use crate::target::{Side, Target};
use crate::watch::histogram;

pub(crate) async fn run(run: &Run, options: &Fanout) -> Result<Outcome> {
    let mut outcome = run.interleave("fanout", async |side| turn(run, options, side).await).await?;
    outcome.notes.push(format!(
        "{} triggers a round, one after the other, each naming {} recipients with an open socket; \
         the bare program group-commits the same rows, then pushes",
        options.repeat, options.recipients
    ));
    Ok(outcome)
}

async fn turn(run: &Run, options: &Fanout, side: Side) -> Result<Round> {
    let target = Target::start(side, &run.common, &run.room(side)?, Join::Bellwire, true).await?;
    target.identify(options.recipients).await?;
    let plan = Plan { first: 0, users: options.recipients, sockets_per_user: 1, concurrency: HANDSHAKES };
    let swarm = Swarm::open(&target, plan, &run.progress).await?;
    let mut publisher = Publisher::open(&target, Store::Item, run.frame_bytes.get() as usize).await?;
    let mut rota = Rota::new(options.recipients, options.recipients);
    let (mut last, mut every) = (histogram(), histogram());
    run.progress.part(format!("{}: fan out", side.name()), options.repeat.into());
    let reading = Reading::take(target.pid())?;
    for number in 0..options.repeat {
        swarm.watch.begin();
        let began = swarm.watch.now();
        publisher.publish(rota.next(), began).await?;
        let missing = swarm.watch.settle(options.recipients.into()).await;
        publisher.failures().require_none()?;
        if missing > 0 {
            bail!("{missing} of {} recipients never had the frame", options.recipients);
        }
        let latency = swarm.watch.latency();
        last.saturating_record(latency.max());
        every.add(&latency)?;
        run.progress.at(u64::from(number) + 1);
    }
    let usage = reading.usage(target.pid())?;
    if let (Side::Bellwire, Some(bytes)) = (side, swarm.watch.frame_bytes()) {
        run.frame_bytes.set(u32::try_from(bytes)?);
    }
    tokio::time::sleep(PAUSE).await;
    swarm.require_whole()?;

    let deliveries = f64::from(options.recipients) * f64::from(options.repeat);
    let mut round = Round::default();
    round.less("until all have it, best", "ms", last.min() as f64 / 1_000.0);
    round.less("until all have it, p50", "ms", last.value_at_quantile(0.5) as f64 / 1_000.0);
    round.less("until all have it, worst", "ms", last.max() as f64 / 1_000.0);
    round.less("CPU per recipient", "µs", usage.measured.total() * 1e6 / deliveries);
    round.percentiles("one recipient's wait", every);
    round.disturbed(usage.noise);
    Ok(round)
}
