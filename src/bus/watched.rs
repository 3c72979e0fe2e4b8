//! Whose news this node wants, and how far each wish has come. Values in, values out: others do the talking.
//!
//! | a wish is | means | goes on |
//! |---|---|---|
//! | wanted | not asked for yet | to asked, when its lane takes it |
//! | asked | the server was asked | to confirmed, when it says so |
//! | confirmed | news arrive | back to wanted, when the lane is lost |
//! | lost | the server no longer serves it | to wanted, once it is known who does |

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Whose;

/// The number of a lane; [`NOWHERE`] is none.
pub(crate) type LaneId = u64;
/// Where users stand whom no server serves at the moment.
pub(crate) const NOWHERE: LaneId = 0;

/// All wishes of this node.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    users: HashMap<Whose, Wish>,
    lanes: HashMap<LaneId, Wishes>,
    /// Whom nobody wants any more, in the order in which they were left.
    leaving: VecDeque<(Instant, Whose)>,
}

#[derive(Debug)]
struct Wish {
    /// How many want it.
    count: u32,
    lane: LaneId,
    stage: Stage,
    /// News may have passed since somebody read the database: once it is confirmed, that has to be said.
    is_unsure: bool,
    /// When the last one left.
    left_at: Option<Instant>,
    /// Who waits for the confirmation.
    waiters: Vec<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Wanted,
    Asked,
    Confirmed,
    Lost,
}

/// What a lane has to do.
#[derive(Debug, Default)]
struct Wishes {
    is_up: bool,
    /// To be asked for.
    wanted: Vec<Whose>,
    /// No longer to be served, before what is wanted is asked for.
    left: Vec<Whose>,
    /// Confirmed again after news may have passed.
    missed: Vec<Whose>,
}

/// What a lane has to ask its server: to leave these, then to serve those.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Errands {
    pub(crate) left: Vec<Whose>,
    pub(crate) wanted: Vec<Whose>,
}

/// How far a wish is when somebody begins to wait for it.
#[derive(Debug)]
enum Waiting {
    /// Its news arrive, or can't for now: then it is said later that some were missed.
    Over,
    /// Resolves when it is confirmed or given up.
    Until(oneshot::Receiver<()>),
}

/// Waits until the user's news arrive, as long as `patience` lasts. Whoever reads the database then misses nothing, or is
/// told later that it may have.
pub(crate) async fn heeded(watched: &Mutex<Watched>, whose: &Whose, patience: impl Future<Output = ()>) {
    let Waiting::Until(confirmed) = lock(watched).wait(whose) else { return };
    tokio::select! {
        biased;
        _ = confirmed => {}
        () = patience => lock(watched).give_up(whose),
    }
}

fn lock(watched: &Mutex<Watched>) -> MutexGuard<'_, Watched> {
    watched.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watched {
    /// Users watched, those in their grace included.
    pub(crate) fn len(&self) -> usize {
        self.users.len()
    }

    /// One more wants the user's news; `lane_of` says by which lane they come. The lane that has to be woken.
    pub(crate) fn retain(&mut self, whose: &Whose, lane_of: impl FnOnce() -> LaneId) -> Option<LaneId> {
        if let Some(wish) = self.users.get_mut(whose) {
            wish.count += 1;
            wish.left_at = None;
            return None;
        }
        let lane = lane_of();
        let wish = Wish { count: 1, lane, stage: Stage::Wanted, is_unsure: false, left_at: None, waiters: Vec::new() };
        self.users.insert(whose.clone(), wish);
        let wishes = self.lanes.entry(lane).or_default();
        // A lane that is down asks for everything when it is up.
        wishes.is_up.then(|| wishes.wanted.push(whose.clone()))?;
        Some(lane)
    }

    /// One less wants the user's news. The last is waited for a little: most come back.
    pub(crate) fn release(&mut self, whose: &Whose, now: Instant) {
        let Some(wish) = self.users.get_mut(whose) else { return };
        wish.count = wish.count.saturating_sub(1);
        if wish.count == 0 {
            wish.left_at = Some(now);
            self.leaving.push_back((now, whose.clone()));
        }
    }

    /// Begins to wait until the user's news arrive.
    fn wait(&mut self, whose: &Whose) -> Waiting {
        let Some(wish) = self.users.get_mut(whose) else { return Waiting::Over };
        if wish.stage == Stage::Confirmed {
            return Waiting::Over;
        }
        if wish.stage == Stage::Lost || !self.lanes.get(&wish.lane).is_some_and(|lane| lane.is_up) {
            wish.is_unsure = true;
            return Waiting::Over;
        }
        wish.waiters.retain(|waiter| !waiter.is_closed());
        let (waiter, until) = oneshot::channel();
        wish.waiters.push(waiter);
        Waiting::Until(until)
    }

    /// Somebody no longer waits, and reads the database before the confirmation.
    fn give_up(&mut self, whose: &Whose) {
        if let Some(wish) = self.users.get_mut(whose).filter(|wish| wish.stage != Stage::Confirmed) {
            wish.is_unsure = true;
        }
    }

    /// The lane can be asked: everything that belongs to it is wanted.
    pub(crate) fn lane_up(&mut self, lane: LaneId) {
        let wishes = self.lanes.entry(lane).or_default();
        wishes.is_up = true;
        wishes.wanted.clear();
        for (whose, wish) in self.users.iter_mut().filter(|(_, wish)| wish.lane == lane) {
            wish.stage = Stage::Wanted;
            wishes.wanted.push(whose.clone());
        }
    }

    /// The lane is lost: news pass from now on.
    pub(crate) fn lane_down(&mut self, lane: LaneId) {
        let wishes = self.lanes.entry(lane).or_default();
        wishes.is_up = false;
        (wishes.wanted, wishes.left) = (Vec::new(), Vec::new());
        for wish in self.users.values_mut().filter(|wish| wish.lane == lane) {
            wish.miss(Stage::Wanted);
        }
    }

    /// The lane is no more.
    pub(crate) fn forget_lane(&mut self, lane: LaneId) {
        self.lane_down(lane);
        self.lanes.remove(&lane);
    }

    /// What the lane has to ask for: whom to leave, and up to `most` whom to serve; those count as asked.
    pub(crate) fn take(&mut self, lane: LaneId, most: usize) -> Errands {
        let Some(wishes) = self.lanes.get_mut(&lane) else { return Errands::default() };
        let from = wishes.wanted.len().saturating_sub(most);
        let mut wanted = wishes.wanted.split_off(from);
        if wishes.wanted.is_empty() {
            wishes.wanted = Vec::new();
        }
        wanted.retain(|whose| match self.users.get_mut(whose) {
            Some(wish) if wish.lane == lane && wish.stage == Stage::Wanted => {
                wish.stage = Stage::Asked;
                true
            }
            _ => false,
        });
        Errands { left: std::mem::take(&mut wishes.left), wanted }
    }

    /// The server says that the user's news come by this lane from now on.
    pub(crate) fn confirm(&mut self, lane: LaneId, whose: &Whose) {
        let Some(wish) = self.users.get_mut(whose).filter(|wish| wish.lane == lane && wish.stage == Stage::Asked)
        else {
            return;
        };
        wish.stage = Stage::Confirmed;
        wish.waiters.drain(..).for_each(|waiter| _ = waiter.send(()));
        wish.waiters = Vec::new();
        if std::mem::take(&mut wish.is_unsure) {
            self.lanes.entry(lane).or_default().missed.push(whose.clone());
        }
    }

    /// Users of the lane whose news arrive again, and who may have missed some.
    pub(crate) fn take_missed(&mut self, lane: LaneId) -> Vec<Whose> {
        self.lanes.get_mut(&lane).map(|wishes| std::mem::take(&mut wishes.missed)).unwrap_or_default()
    }

    /// The server says that it no longer serves the user. Whether that was not our own wish.
    pub(crate) fn lose(&mut self, lane: LaneId, whose: &Whose) -> bool {
        match self.users.get_mut(whose).filter(|wish| wish.lane == lane && wish.stage == Stage::Confirmed) {
            Some(wish) => {
                wish.miss(Stage::Lost);
                true
            }
            None => false,
        }
    }

    /// The server has answered for these users, and who is not confirmed is refused. Whether any is.
    pub(crate) fn refuse(&mut self, lane: LaneId, users: &[Whose]) -> bool {
        let mut is_any = false;
        for whose in users {
            if let Some(wish) = self.users.get_mut(whose).filter(|wish| wish.lane == lane && wish.stage == Stage::Asked)
            {
                wish.miss(Stage::Lost);
                is_any = true;
            }
        }
        is_any
    }

    /// Whether there is anybody of whom it is not known who serves them.
    pub(crate) fn has_lost(&self) -> bool {
        self.users.values().any(|wish| wish.stage == Stage::Lost)
    }

    /// The servers have moved: `lane_of` says who serves whom now. The lanes that have to be woken.
    pub(crate) fn replace(&mut self, lane_of: impl Fn(&Whose) -> LaneId) -> Vec<LaneId> {
        let mut woken = Vec::new();
        for (whose, wish) in &mut self.users {
            let lane = lane_of(whose);
            if lane == wish.lane && wish.stage != Stage::Lost {
                continue;
            }
            wish.miss(Stage::Wanted);
            wish.lane = lane;
            let wishes = self.lanes.entry(lane).or_default();
            if wishes.is_up {
                wishes.wanted.push(whose.clone());
                if !woken.contains(&lane) {
                    woken.push(lane);
                }
            }
        }
        woken
    }

    /// Forgets whom nobody has wanted for as long as `grace`. The lanes that have to be woken to leave them.
    pub(crate) fn expire(&mut self, now: Instant, grace: Duration) -> Vec<LaneId> {
        let mut woken = Vec::new();
        while self.leaving.front().is_some_and(|(left_at, _)| now >= *left_at + grace) {
            let Some((left_at, whose)) = self.leaving.pop_front() else { break };
            // Whoever came back, and left again, stands in the queue again.
            if self.users.get(&whose).is_none_or(|wish| wish.left_at != Some(left_at)) {
                continue;
            }
            if let Some(wish) = self.users.remove(&whose)
                && matches!(wish.stage, Stage::Asked | Stage::Confirmed)
                && let Some(wishes) = self.lanes.get_mut(&wish.lane).filter(|lane| lane.is_up)
            {
                wishes.left.push(whose);
                if !woken.contains(&wish.lane) {
                    woken.push(wish.lane);
                }
            }
        }
        woken
    }
}

impl Wish {
    /// News may pass from now on; whoever waits need not.
    fn miss(&mut self, stage: Stage) {
        self.stage = stage;
        self.is_unsure = true;
        self.waiters = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LANE: LaneId = 7;
    const GRACE: Duration = Duration::from_secs(10);

    fn whose(user: &str) -> Whose {
        Whose { env: 1, user: Arc::from(user) }
    }

    fn up() -> Watched {
        let mut watched = Watched::default();
        watched.lane_up(LANE);
        watched
    }

    #[test]
    fn a_user_is_asked_for_once_however_many_want_it() {
        let mut watched = up();
        let ann = whose("ann");
        assert_eq!(watched.retain(&ann, || LANE), Some(LANE));
        assert_eq!(watched.retain(&ann, || LANE), None);
        let Waiting::Until(mut until) = watched.wait(&ann) else { panic!("it is not confirmed") };
        assert_eq!(watched.take(LANE, 10).wanted, std::slice::from_ref(&ann));
        assert_eq!(watched.take(LANE, 10).wanted, []);
        assert!(until.try_recv().is_err());
        watched.confirm(LANE, &ann);
        assert_eq!(until.try_recv(), Ok(()));
        assert!(matches!(watched.wait(&ann), Waiting::Over));
        assert_eq!(watched.take_missed(LANE), [], "nobody read before the confirmation");
    }

    #[test]
    fn one_that_comes_back_within_the_grace_costs_nothing() {
        let (mut watched, ann) = (up(), whose("ann"));
        let start = Instant::now();
        watched.retain(&ann, || LANE);
        watched.take(LANE, 1);
        watched.confirm(LANE, &ann);
        watched.release(&ann, start);
        assert!(watched.expire(start + GRACE / 2, GRACE).is_empty());
        assert_eq!(watched.retain(&ann, || LANE), None);
        assert!(watched.expire(start + GRACE, GRACE).is_empty());
        watched.release(&ann, start + GRACE);
        assert_eq!(watched.expire(start + 2 * GRACE, GRACE), [LANE]);
        assert_eq!(watched.len(), 0);
        assert_eq!(watched.retain(&ann, || LANE), Some(LANE), "asked for anew");
        let errands = Errands { left: vec![ann.clone()], wanted: vec![ann] };
        assert_eq!(watched.take(LANE, 1), errands, "first left, then asked for: in no other order");
    }

    #[test]
    fn what_was_watched_when_the_lane_was_lost_is_asked_for_again_and_said_to_have_missed() {
        let mut watched = up();
        let (ann, bob) = (whose("ann"), whose("bob"));
        watched.retain(&ann, || LANE);
        watched.take(LANE, 1);
        watched.confirm(LANE, &ann);
        watched.retain(&bob, || LANE);
        let Waiting::Until(mut until) = watched.wait(&bob) else { panic!("it is not confirmed") };
        watched.lane_down(LANE);
        assert!(until.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed), "it need not wait");
        let eve = whose("eve");
        assert_eq!(watched.retain(&eve, || LANE), None, "nobody can be asked");
        assert!(matches!(watched.wait(&eve), Waiting::Over));
        watched.lane_up(LANE);
        let mut again = watched.take(LANE, 10).wanted;
        again.sort_by(|a, b| a.user.cmp(&b.user));
        assert_eq!(again, [ann.clone(), bob.clone(), eve.clone()]);
        again.iter().for_each(|whose| watched.confirm(LANE, whose));
        let mut missed = watched.take_missed(LANE);
        missed.sort_by(|a, b| a.user.cmp(&b.user));
        assert_eq!(missed, [ann, bob, eve]);
    }

    #[test]
    fn a_moved_user_is_asked_for_where_it_moved() {
        const OTHER: LaneId = 8;
        let (mut watched, ann) = (up(), whose("ann"));
        watched.lane_up(OTHER);
        watched.retain(&ann, || LANE);
        watched.take(LANE, 1);
        watched.confirm(LANE, &ann);
        assert!(watched.lose(LANE, &ann), "the server said so by itself");
        assert!(!watched.lose(LANE, &ann));
        assert_eq!(watched.replace(|_| OTHER), [OTHER]);
        assert_eq!(watched.take(LANE, 1).wanted, []);
        assert_eq!(watched.take(OTHER, 1).wanted, std::slice::from_ref(&ann));
        watched.confirm(LANE, &ann);
        assert_eq!(watched.take_missed(LANE), [], "an old confirmation says nothing");
        watched.refuse(OTHER, std::slice::from_ref(&ann));
        assert_eq!(watched.replace(|_| OTHER), [OTHER], "refused: asked again once the map was read");
        watched.take(OTHER, 1);
        watched.confirm(OTHER, &ann);
        assert_eq!(watched.take_missed(OTHER), [ann]);
    }
}
