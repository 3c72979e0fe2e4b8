//! Hears what other nodes say by way of one server: subscribes, listens for itself, and connects anew when it is deaf.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, PushInfo, PushKind, Value};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{info, warn};
use uuid::Uuid;

use super::connection::{Ear, Trouble, ask_all, connect, trouble};
use super::lane::Lane;
use super::speaking::moved_to;
use super::{BATCH, Inner, count, everybody};
use crate::bus::watched::Errands;
use crate::bus::{FeedEvent, News, Whose};
use crate::wire::envelope::{self, Opened};

/// Batches that are under way at once; while they are, the next ones gather.
const AT_ONCE: usize = 4;
/// How long to wait before a server is tried again: short, because clients wait, and never the same for two nodes.
const PAUSE_MILLIS: u64 = 50;

/// A pause before the next try.
pub(super) fn pause() -> Duration {
    let random = Uuid::new_v4().as_u64_pair().1;
    Duration::from_millis(PAUSE_MILLIS + random % PAUSE_MILLIS)
}

/// Hears until the bus ends.
pub(super) async fn hear(inner: Arc<Inner>, lane: Arc<Lane>) {
    let (mut was_up, mut is_said) = (false, false);
    while !inner.is_over() {
        let gone = Arc::new(Notify::new());
        let trouble = match listen(&inner, &lane, &gone).await {
            Err(trouble) => trouble,
            Ok(connection) => {
                if std::mem::replace(&mut was_up, true) {
                    count(&inner.counters.reconnects, 1);
                }
                if std::mem::take(&mut is_said) {
                    info!(bus.place = %lane.place, "{} is back", lane.place);
                }
                lane.set_up(true);
                inner.watched().lane_up(lane.id);
                lane.wishes.notify_one();
                let trouble = attend(&inner, &lane, connection, &gone).await;
                lane.set_up(false);
                inner.watched().lane_down(lane.id);
                trouble
            }
        };
        if !std::mem::replace(&mut is_said, true) {
            warn!(
                bus.place = %lane.place,
                "{} is away ({trouble}): other nodes hear of changes here, and this one of theirs, only by the sweep of \
                 the database until it is back",
                lane.place
            );
        }
        inner.keeper.look_soon();
        sleep(pause()).await;
    }
}

/// Connects, and subscribes to the node's own channel.
async fn listen(inner: &Arc<Inner>, lane: &Arc<Lane>, gone: &Arc<Notify>) -> Result<MultiplexedConnection, Trouble> {
    let ear = ear(Arc::clone(inner), Arc::clone(lane), Arc::clone(gone));
    let mut connection = connect(&lane.place, &inner.settings, Some(ear)).await?;
    subscribe_own(inner, lane, &mut connection, &lane.own()).await?;
    Ok(connection)
}

async fn subscribe_own(
    inner: &Inner,
    lane: &Lane,
    connection: &mut MultiplexedConnection,
    own: &str,
) -> Result<(), Trouble> {
    if !inner.is_cluster() {
        return connection.subscribe(own).await.map_err(|error| trouble(&lane.place, &error));
    }
    let mut pipeline = Pipeline::new();
    pipeline.cmd("SSUBSCRIBE").arg(own);
    for answer in ask_all(connection, &lane.place, &pipeline).await? {
        if let Value::ServerError(error) = answer {
            inner.keeper.look_again(moved_to(&error, &lane.place));
            return Err(trouble(&lane.place, &error.into()));
        }
    }
    Ok(())
}

/// What is done with what the server says unasked. None of it waits.
fn ear(inner: Arc<Inner>, lane: Arc<Lane>, gone: Arc<Notify>) -> Ear {
    let named = |inner: &Inner, data: &[Value]| match data.first() {
        Some(Value::BulkString(channel)) => inner.whose(channel),
        _ => None,
    };
    Box::new(move |PushInfo { kind, data }| match kind {
        PushKind::Message | PushKind::SMessage => heard(&inner, &lane, &data),
        PushKind::Subscribe | PushKind::SSubscribe => {
            if let Some(whose) = named(&inner, &data) {
                inner.watched().confirm(lane.id, &whose);
            }
        }
        PushKind::Unsubscribe | PushKind::SUnsubscribe => {
            if let Some(whose) = named(&inner, &data)
                && inner.watched().lose(lane.id, &whose)
            {
                // Its slot has moved; who served it knows where to.
                inner.keeper.look_again(Some((lane.place.host().to_owned(), lane.place.port())));
            }
        }
        PushKind::Disconnection => gone.notify_one(),
        _ => {}
    })
}

fn heard(inner: &Inner, lane: &Lane, data: &[Value]) {
    let [Value::BulkString(channel), Value::BulkString(payload)] = data else { return };
    match envelope::open(payload, inner.node) {
        Some(Opened::Echo(nonce)) => lane.echo(nonce),
        Some(Opened::Own) => {}
        Some(Opened::Call) => inner.listener.called(),
        Some(Opened::Feed { env, channel, recipient, head, item, is_moved }) => {
            count(&inner.counters.received, 1);
            let without = if is_moved { News::Moved } else { News::Changed };
            let news = item.map_or(without, |item| News::Item(Arc::new(*item)));
            inner.listener.heard(&FeedEvent { env, channel, recipient, head, news });
        }
        None => {
            count(&inner.counters.unread, 1);
            if let Some(whose) = inner.whose(channel) {
                inner.listener.missed(&[whose]);
            }
        }
    }
}

/// Keeps the subscriptions as they are wanted, until the connection fails or the node is deaf.
async fn attend(inner: &Arc<Inner>, lane: &Arc<Lane>, mut connection: MultiplexedConnection, gone: &Notify) -> Trouble {
    let since = Instant::now();
    let mut own = lane.own();
    let mut asking: JoinSet<Result<(), Trouble>> = JoinSet::new();
    let mut probes = interval(inner.settings.probe_every);
    probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = gone.notified() => return Trouble::Gone("the connection has ended".to_owned()),
            Some(asked) = asking.join_next(), if !asking.is_empty() => {
                if let Ok(Err(trouble)) = asked {
                    return trouble;
                }
                tell_missed(inner, lane);
                lane.wishes.notify_one();
            }
            () = lane.wishes.notified(), if asking.len() < AT_ONCE => {
                let Errands { left, wanted } = inner.watched().take(lane.id, BATCH * (AT_ONCE - asking.len()));
                if !left.is_empty() {
                    // What was asked for before must be done before.
                    while let Some(asked) = asking.join_next().await {
                        if let Ok(Err(trouble)) = asked {
                            return trouble;
                        }
                    }
                    if let Err(trouble) = unsubscribe(inner, lane, &mut connection, &left).await {
                        return trouble;
                    }
                    tell_missed(inner, lane);
                }
                for batch in wanted.chunks(BATCH) {
                    let (inner, lane, connection) = (Arc::clone(inner), Arc::clone(lane), connection.clone());
                    let batch = batch.to_vec();
                    asking.spawn(async move { subscribe(&inner, &lane, connection, &batch).await });
                }
            }
            _ = probes.tick() => {
                if lane.heard_ago().unwrap_or_else(|| since.elapsed()) > inner.settings.deaf_after {
                    lane.renew.notify_one();
                    return Trouble::Gone("this node does not hear itself there".to_owned());
                }
                if *lane.own() != *own {
                    own = lane.own();
                    if let Err(trouble) = subscribe_own(inner, lane, &mut connection, &own).await {
                        return trouble;
                    }
                }
                lane.probe_due.notify_one();
                tell_missed(inner, lane);
            }
        }
    }
}

/// Tells the listener whose news may have passed, now that they come again.
fn tell_missed(inner: &Inner, lane: &Lane) {
    let mut missed = inner.watched().take_missed(lane.id);
    // A call that was missed is made up for by polling.
    missed.retain(|whose| *whose != everybody());
    if !missed.is_empty() {
        count(&inner.counters.resubscribed, missed.len());
        inner.listener.missed(&missed);
    }
}

/// Subscribes to a batch; the server confirms each one by its name, see [`ear`].
async fn subscribe(
    inner: &Inner,
    lane: &Lane,
    mut connection: MultiplexedConnection,
    batch: &[Whose],
) -> Result<(), Trouble> {
    let names = batch.iter().map(|whose| inner.channel(whose.env, &whose.user));
    if !inner.is_cluster() {
        let names: Vec<String> = names.collect();
        return connection.subscribe(names).await.map_err(|error| trouble(&lane.place, &error));
    }
    // One slot per command.
    let mut pipeline = Pipeline::with_capacity(batch.len());
    names.for_each(|name| _ = pipeline.cmd("SSUBSCRIBE").arg(name));
    let answers = ask_all(&mut connection, &lane.place, &pipeline).await?;
    let refusal = answers.iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(moved_to(error, &lane.place)),
        _ => None,
    });
    // Answers are told apart by what they confirm, never by their order: the server may speak in between.
    if inner.watched().refuse(lane.id, batch) || refusal.is_some() {
        inner.keeper.look_again(refusal.flatten());
    }
    Ok(())
}

async fn unsubscribe(
    inner: &Inner,
    lane: &Lane,
    connection: &mut MultiplexedConnection,
    left: &[Whose],
) -> Result<(), Trouble> {
    for batch in left.chunks(BATCH) {
        let names = batch.iter().map(|whose| inner.channel(whose.env, &whose.user));
        if inner.is_cluster() {
            let mut pipeline = Pipeline::with_capacity(batch.len());
            names.for_each(|name| _ = pipeline.cmd("SUNSUBSCRIBE").arg(name));
            ask_all(connection, &lane.place, &pipeline).await?;
        } else {
            let names: Vec<String> = names.collect();
            connection.unsubscribe(names).await.map_err(|error| trouble(&lane.place, &error))?;
        }
    }
    Ok(())
}
