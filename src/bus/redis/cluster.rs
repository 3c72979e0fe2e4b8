//! Keeps the chart of a Cluster: who serves which slots, and a lane to each of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::connection::{ask, command, connect};
use super::lane::Lane;
use super::{Chart, Inner, count};
use crate::bus::Place;
use crate::bus::slots::{Range, SLOTS, ranges, slot};

/// How often the slots are looked at when nothing says that they moved.
const SLOWLY: Duration = Duration::from_secs(15);
/// How often they are while some are served by nobody, as far as is known: no server says when that ends.
const OFTEN: Duration = Duration::from_secs(1);
/// How long to wait when a connection was lost: a Cluster needs a moment to notice, too.
const SOON: Duration = Duration::from_millis(250);
/// How long to wait when a server said that slots have moved: many channels say so at once.
const AT_ONCE: Duration = Duration::from_millis(10);
/// How long one server may take to tell.
const PATIENCE: Duration = Duration::from_secs(1);
/// Names that are tried for one that falls into a lane's slots.
const NAMES: u32 = 1_000_000;

/// Takes note of reasons to look at the slots.
#[derive(Default)]
pub(super) struct Keeper {
    urgent: Notify,
    asked: Notify,
    /// Who knows best.
    hint: Mutex<Option<(String, u16)>>,
    looks: watch::Sender<u64>,
}

impl Keeper {
    /// Slots have moved; `hint` knows where to.
    pub(super) fn look_again(&self, hint: Option<(String, u16)>) {
        if hint.is_some() {
            *self.hint.lock().unwrap_or_else(PoisonError::into_inner) = hint;
        }
        self.urgent.notify_one();
    }

    /// Slots may move, since a server is gone.
    pub(super) fn look_soon(&self) {
        self.asked.notify_one();
    }

    /// Has it looked at, and waits for it.
    pub(super) async fn looked_again(&self, hint: Option<(String, u16)>, within: Duration) {
        let mut looks = self.looks.subscribe();
        self.look_again(hint);
        _ = timeout(within, looks.changed()).await;
    }

    /// Waits for a reason to look, at most for `slowly`; whether it is an urgent one. `patience` is how long those are
    /// gathered.
    async fn reason(&self, patience: Duration, slowly: Duration) -> bool {
        tokio::select! {
            () = self.urgent.notified() => {
                sleep(patience).await;
                true
            }
            () = self.asked.notified() => tokio::select! {
                () = self.urgent.notified() => true,
                () = sleep(SOON) => false,
            },
            () = sleep(slowly) => false,
        }
    }
}

/// Keeps the chart until the bus ends.
pub(super) async fn keep(inner: Arc<Inner>, seeds: Vec<Place>) {
    let (mut is_said, mut was_urgent) = (false, false);
    loop {
        let mut is_fruitless = was_urgent;
        match survey(&inner, &seeds).await {
            Some(found) => {
                is_fruitless &= !apply(&inner, &seeds, &found);
                is_said = false;
            }
            None if !std::mem::replace(&mut is_said, true) => {
                warn!("no node of the Cluster in `urls` of [bus] tells who serves which slots; it is tried again");
            }
            None => inner.keeper.look_soon(),
        }
        inner.keeper.looks.send_modify(|looks| *looks += 1);
        // A server that goes on complaining of what nobody else sees is not listened to all the time.
        let slowly = if inner.chart().is_whole() { SLOWLY } else { OFTEN };
        was_urgent = inner.keeper.reason(if is_fruitless { SOON } else { AT_ONCE }, slowly).await;
    }
}

/// Who serves which slots: as the one says who should know, else as the first says that answers.
async fn survey(inner: &Arc<Inner>, seeds: &[Place]) -> Option<Vec<Range>> {
    let hint = inner.keeper.hint.lock().unwrap_or_else(PoisonError::into_inner).take();
    let chart = inner.chart();
    if let Some((host, port)) = hint {
        let place = seeds.first()?.beside(&host, port);
        let lane = chart.lanes.iter().find(|lane| lane.place.is_at(&host, port)).cloned();
        if let Ok(Some(found)) = timeout(PATIENCE, told_by(inner, place, lane)).await {
            return Some(found);
        }
    }
    let mut telling = JoinSet::new();
    let known = chart.lanes.iter().filter(|lane| lane.is_up()).map(|lane| (lane.place.clone(), Some(Arc::clone(lane))));
    for (place, lane) in known.chain(seeds.iter().map(|seed| (seed.clone(), None))) {
        let inner = Arc::clone(inner);
        telling.spawn(async move { told_by(&inner, place, lane).await });
    }
    let first = async {
        while let Some(told) = telling.join_next().await {
            if let Ok(Some(found)) = told {
                return Some(found);
            }
        }
        None
    };
    timeout(PATIENCE, first).await.ok().flatten()
}

/// Who serves which slots, as one server sees it.
async fn told_by(inner: &Inner, place: Place, lane: Option<Arc<Lane>>) -> Option<Vec<Range>> {
    let mut connection = match lane.and_then(|lane| lane.voice()) {
        Some(connection) => connection,
        None => connect(&place, &inner.settings, None).await.ok()?,
    };
    let answer: Value = ask(&mut connection, &place, &command("CLUSTER", &["SLOTS"])).await.ok()?;
    ranges(&answer, place.host()).filter(|ranges| !ranges.is_empty())
}

/// Draws the chart anew if slots have moved, and moves the wishes with them. Whether they have.
fn apply(inner: &Arc<Inner>, seeds: &[Place], found: &[Range]) -> bool {
    let before = inner.chart();
    let mut masters: Vec<(&str, u16)> = Vec::new();
    let mut slots: Vec<Option<u16>> = vec![None; usize::from(SLOTS)];
    for Range { first, last, host, port } in found {
        let at = masters.iter().position(|master| *master == (host, *port)).unwrap_or_else(|| {
            masters.push((host, *port));
            masters.len() - 1
        });
        let served = slots.get_mut(usize::from(*first)..=usize::from(*last)).unwrap_or_default();
        served.fill(u16::try_from(at).ok());
    }
    let is_as_before = before.lanes.len() == masters.len()
        && before.lanes.iter().zip(&masters).all(|(lane, (host, port))| lane.place.is_at(host, *port))
        && before.slots.as_deref() == Some(&slots);
    if is_as_before && !inner.watched().has_lost() {
        return false;
    }
    if !is_as_before {
        redraw(inner, seeds, &before, &masters, slots);
    }
    let chart = inner.chart();
    let woken = inner.watched().replace(|whose| inner.lane_of(&chart, whose));
    inner.wake(&woken);
    !is_as_before
}

fn redraw(inner: &Arc<Inner>, seeds: &[Place], before: &Chart, masters: &[(&str, u16)], slots: Vec<Option<u16>>) {
    let Some(seed) = seeds.first() else { return };
    let mut lanes = Vec::with_capacity(masters.len());
    for (at, (host, port)) in masters.iter().enumerate() {
        let is_served = |channel: &str| slots[usize::from(slot(channel.as_bytes()))] == u16::try_from(at).ok();
        let known = before.lanes.iter().find(|lane| lane.place.is_at(host, *port));
        let own = known.map(|lane| lane.own().to_string()).filter(|own| is_served(own));
        let own = own.or_else(|| {
            let name = |number| format!("{}:node:{:x}:{{{number}}}", inner.settings.prefix, inner.node);
            (0..NAMES).map(name).find(|name| is_served(name))
        });
        lanes.push(match (known, own) {
            (Some(lane), Some(own)) => {
                lane.set_own(own);
                Arc::clone(lane)
            }
            (Some(lane), None) => Arc::clone(lane),
            (None, own) => Lane::start(inner, seed.beside(host, *port), own),
        });
    }
    let is_first = before.lanes.is_empty();
    info!(lanes = lanes.len(), "the Cluster's slots are served by {} masters", lanes.len());
    if !is_first {
        count(&inner.counters.moves, 1);
    }
    let gone = before.lanes.iter().filter(|lane| !lanes.iter().any(|kept| kept.id == lane.id));
    let gone: Vec<Arc<Lane>> = gone.cloned().collect();
    inner.draw(Chart { lanes, slots: Some(slots.into()) });
    for lane in gone {
        lane.end();
        count(&inner.counters.dropped, lane.waiting());
        inner.watched().forget_lane(lane.id);
    }
}
