//! Publishes what waits on a lane, many at once.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, ServerError, Value};
use tokio::sync::mpsc;
use tracing::warn;

use super::connection::{Trouble, ask, ask_all, command, connect};
use super::lane::Lane;
use super::{Inner, count, hearing::pause};
use crate::bus::Place;
use crate::wire::envelope;

/// Parcels that go in one pipeline.
const AT_ONCE: usize = 256;
/// Times that a parcel is tried.
const TRIES: u8 = 4;

/// News on their way to a server.
pub(super) struct Parcel {
    pub(super) channel: String,
    pub(super) payload: Vec<u8>,
    /// How often it was tried in vain.
    pub(super) tries: u8,
}

/// Publishes until the bus ends. What can't be published while the server is gone waits, up to the lane's bound.
pub(super) async fn speak(inner: Arc<Inner>, lane: Arc<Lane>, mut parcels: mpsc::Receiver<Parcel>) {
    let mut pending: Vec<Parcel> = Vec::new();
    let mut is_said = false;
    while !inner.is_over() {
        let connection = tokio::select! {
            connected = connect(&lane.place, &inner.settings, None) => connected,
            // Whoever asked for another connection gets it.
            () = lane.renew.notified() => continue,
        };
        let trouble = match connection {
            Err(trouble) => trouble,
            Ok(connection) => {
                lane.probe_due.notify_one();
                lane.set_voice(Some(connection.clone()));
                let trouble = tokio::select! {
                    trouble = publish(&inner, &lane, connection, &mut parcels, &mut pending, &mut is_said) => trouble,
                    () = lane.renew.notified() => Trouble::Gone("this node did not hear itself".to_owned()),
                };
                lane.set_voice(None);
                give_up_old(&inner, &lane, &mut pending);
                trouble
            }
        };
        // When nothing is heard either, that is said already.
        if lane.is_up() && !std::mem::replace(&mut is_said, true) {
            warn!(bus.place = %lane.place, "events cannot be published by {}: {trouble}; they wait", lane.place);
        }
        inner.keeper.look_soon();
        tokio::time::sleep(pause()).await;
    }
}

/// Publishes until something fails.
async fn publish(
    inner: &Inner,
    lane: &Lane,
    mut connection: MultiplexedConnection,
    parcels: &mut mpsc::Receiver<Parcel>,
    pending: &mut Vec<Parcel>,
    is_said: &mut bool,
) -> Trouble {
    let verb = if inner.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
    // Not for a Cluster, whose replicas say themselves who is the master, nor where the user may not ask.
    let mut asks_role = !inner.is_cluster();
    loop {
        let mut is_probe = false;
        if pending.is_empty() {
            tokio::select! {
                biased;
                () = lane.probe_due.notified() => is_probe = true,
                taken = parcels.recv_many(pending, AT_ONCE) => {
                    if taken == 0 {
                        std::future::pending::<()>().await;
                    }
                }
            }
        }
        if is_probe && asks_role {
            match role(&mut connection, &lane.place).await {
                Role::Master => {}
                Role::Untold => asks_role = false,
                Role::Replica => return Trouble::Gone("it is a replica, whose master would not hear us".to_owned()),
            }
        }
        let mut pipeline = Pipeline::with_capacity(pending.len() + 1);
        if is_probe {
            pipeline.cmd(verb).arg(&*lane.own()).arg(envelope::probe(inner.node, lane.probe()));
        }
        for parcel in &*pending {
            pipeline.cmd(verb).arg(&parcel.channel).arg(parcel.payload.as_slice());
        }
        let answers = match ask_all(&mut connection, &lane.place, &pipeline).await {
            Ok(answers) => answers,
            Err(trouble) => return trouble,
        };
        *is_said = false;
        let mut answers = answers.into_iter();
        if is_probe && let Some(Value::ServerError(error)) = answers.next() {
            inner.keeper.look_again(moved_to(&error, &lane.place));
        }
        settle(inner, lane, pending, answers).await;
    }
}

/// What a server is to others. After a failover by DNS, the old master may come back as a replica of the new.
enum Role {
    Master,
    Replica,
    Untold,
}

async fn role(connection: &mut MultiplexedConnection, place: &Place) -> Role {
    let first = match ask(connection, place, &command("ROLE", &[])).await {
        Ok(Value::Array(answer)) => answer.into_iter().next(),
        _ => None,
    };
    match first {
        Some(Value::BulkString(role)) if role == b"slave" => Role::Replica,
        Some(_) => Role::Master,
        None => Role::Untold,
    }
}

/// Looks what became of the parcels: what belongs elsewhere by now goes there.
async fn settle(inner: &Inner, lane: &Lane, pending: &mut Vec<Parcel>, answers: impl Iterator<Item = Value>) {
    let bytes = pending.iter().map(|parcel| parcel.payload.len()).sum();
    lane.taken_off(pending.len(), bytes);
    let mut published = 0;
    let mut astray = Vec::new();
    let mut hint = None;
    for (parcel, answer) in pending.drain(..).zip(answers) {
        match answer {
            Value::ServerError(error) if inner.is_cluster() && parcel.tries < TRIES => {
                hint = moved_to(&error, &lane.place).or(hint);
                astray.push(Parcel { tries: parcel.tries + 1, ..parcel });
            }
            Value::ServerError(error) => {
                count(&inner.counters.dropped, 1);
                warn!(bus.place = %lane.place, "{} does not publish an event: {error}", lane.place);
            }
            _ => published += 1,
        }
    }
    count(&inner.counters.published, published);
    if !astray.is_empty() {
        inner.keeper.looked_again(hint, Duration::from_secs(1)).await;
        astray.into_iter().for_each(|parcel| inner.hand_on(parcel));
    }
}

/// Where the server at `place` says that a slot has moved.
pub(super) fn moved_to(error: &ServerError, place: &Place) -> Option<(String, u16)> {
    let details = error.details().filter(|_| error.code() == "MOVED")?;
    let (host, port) = details.split_whitespace().nth(1)?.rsplit_once(':')?;
    // A server that does not know its own address says only the port.
    let host = if host.is_empty() { place.host() } else { host.trim_matches(['[', ']']) };
    Some((host.to_owned(), port.parse().ok()?))
}

/// Gives up what was tried too often: it may be what the server fails at.
fn give_up_old(inner: &Inner, lane: &Lane, pending: &mut Vec<Parcel>) {
    for parcel in &mut *pending {
        parcel.tries += 1;
    }
    for parcel in pending.extract_if(.., |parcel| parcel.tries > TRIES) {
        lane.taken_off(1, parcel.payload.len());
        count(&inner.counters.dropped, 1);
    }
}
