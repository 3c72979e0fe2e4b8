//! One topic: who listens to a feed, and what each was told last.
//!
//! Told versions only grow. A change that follows what a member was told last is told in the committing task; one that
//! needs the database, or leaves a gap, is left to the topic's catch-up, one task at a time, which tells everything since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::channels::feed::{AtOnce, Name, Told, View, recounts};
use super::house::House;
use super::outbox::{Frame, Link};
use crate::bus::FeedEvent;
use crate::model::feed::Head;
use crate::model::time::Time;
use crate::verbs::Error;
use crate::wire::phoenix::Push;

/// For how long a stock client that is prompted may be looking at the feed: it then does not hear that it is prompted anew.
/// Prompts less than this apart are a burst.
const BURST_MICROS: i64 = 700_000;
/// Answers that may wait for one socket until it was told what they answer for.
const MOST_ANSWERS: usize = 16;

/// A feed that somebody listens to.
pub(crate) struct Topic {
    pub(crate) name: Name,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The latest that was heard of.
    head: Head,
    /// Members by what they want to be told.
    groups: Vec<Group>,
    /// Joins under way: the topic must not be forgotten.
    joining: u32,
    /// Whether a catch-up is at work.
    is_catching_up: bool,
    /// Whether there is something for it to do.
    wants_catch_up: bool,
    /// Answers that wait until their sockets were told the change they answer for.
    answers: Vec<Answer>,
    /// Whether somebody waits for a burst of prompts to end.
    is_bursting: bool,
    /// Whether its head is to be read, since a change may have passed unheard.
    is_suspect: bool,
}

struct Group {
    view: Arc<View>,
    members: Vec<Member>,
}

struct Member {
    link: Arc<Link>,
    /// The beginning of each of its frames.
    head: Arc<str>,
    /// The version it was told last; none before the first snapshot.
    told: Option<i64>,
    /// Something has to be told by the catch-up.
    is_owed: bool,
    /// The catch-up is finding that out.
    is_asked_for: bool,
    /// Its outbox was full: nothing is told until it has drained.
    is_stalled: bool,
    /// One of our own clients that awaits its first push.
    awaits_first: bool,
    /// What it surely knows, once something was pushed: whether that arrives is not known.
    sure: Option<i64>,
    /// When a stock client was prompted to look at the feed last, or looked by itself.
    prompted_at: Option<Time>,
    /// What it had been told when it was prompted while it may have been looking: it has to be prompted once more.
    unheard: Option<i64>,
}

struct Answer {
    link: Arc<Link>,
    version: i64,
    frame: Frame,
}

/// One who joins.
pub(crate) struct Joining {
    pub(crate) link: Arc<Link>,
    /// What [`Push::head`] gives for its join.
    pub(crate) head: Arc<str>,
    pub(crate) view: View,
    pub(crate) told: Option<i64>,
    pub(crate) awaits_first: bool,
    /// It may be looking at the feed while it joins.
    pub(crate) may_be_looking: bool,
    /// What it is told first, if that was found out.
    pub(crate) first: Option<Told>,
}

/// One who has left, with the version it surely knows; none if it may not have looked yet when it was prompted.
pub(crate) struct Left {
    pub(crate) view: Arc<View>,
    pub(crate) knows: Option<i64>,
}

/// What has to be done once something was told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duties {
    /// The topic is to be looked at until it is quiet, see [`Topic::ends_burst`].
    pub(crate) begins_burst: bool,
    /// The catch-up has to be started.
    pub(crate) wants_catch_up: bool,
    pub(crate) tally: Tally,
}

/// What was told, to be counted.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Frames that were put into outboxes.
    pub(crate) frames: usize,
    /// Outboxes that were full.
    pub(crate) overflows: usize,
}

/// What the catch-up has to find out: for a view, since which version.
pub(crate) struct Question {
    pub(crate) view: Arc<View>,
    pub(crate) since: Option<i64>,
    pub(crate) must_answer: bool,
}

impl Question {
    /// Reads the feed, and finds it out.
    pub(crate) async fn answer(&self, house: &dyn House, name: &Name) -> Result<Told, Error> {
        let reading = house.read(name, self.since).await?;
        self.view.since(house, name, reading, self.since, self.must_answer).await
    }
}

impl Topic {
    pub(crate) fn new(name: Name) -> Self {
        Topic { name, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the topic known until [`Topic::end_join`].
    pub(crate) fn begin_join(&self) {
        self.lock().joining += 1;
    }

    /// The join has come to its end, whichever.
    pub(crate) fn end_join(&self) {
        let mut state = self.lock();
        state.joining = state.joining.saturating_sub(1);
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_deserted(&self) -> bool {
        let state = self.lock();
        state.groups.is_empty() && state.joining == 0
    }

    /// Lets one in, and tells it what it is told first; `head` was read after [`Topic::begin_join`], so that every later
    /// change was heard of here.
    pub(crate) fn enter(&self, head: Head, joining: Joining, now: Time) -> Duties {
        let mut state = self.lock();
        // The others may have missed what it comes with.
        let mut wants_catch_up = state.learn(head);
        let Joining { link, head, view, told, awaits_first, may_be_looking, first } = joining;
        let mut member = Member {
            link,
            head,
            told,
            is_owed: false,
            is_asked_for: false,
            is_stalled: false,
            awaits_first,
            sure: None,
            prompted_at: may_be_looking.then_some(now),
            unheard: None,
        };
        let mut tally = Tally::default();
        if let Some(first) = first
            && member.push(&first.pushes, first.version, view.prompts(now), &mut tally)
        {
            member.awaits_first = false;
        }
        member.is_owed |= member.awaits_first || member.told.is_none_or(|told| told < state.head.version);
        wants_catch_up |= member.is_owed && !member.is_stalled;
        let begins_burst = state.begins_burst(member.unheard.is_some());
        state.add(view, member);
        Duties { begins_burst, wants_catch_up: wants_catch_up && state.rouse(), tally }
    }

    /// Lets one out. `is_clean` says that the client itself said so just now: the connection lived until then, and unless
    /// it is late, what went out before has arrived.
    pub(crate) fn leave(&self, link: &Link, is_clean: bool, now: Time) -> Option<Left> {
        let mut state = self.lock();
        let found = state.groups.iter().enumerate().find_map(|(group, Group { members, .. })| {
            members.iter().position(|member| member.link.id == link.id).map(|member| (group, member))
        });
        let (group, at) = found?;
        let member = state.groups[group].members.swap_remove(at);
        let view = Arc::clone(&state.groups[group].view);
        if state.groups[group].members.is_empty() {
            state.groups.swap_remove(group);
        }
        // It has left what it would have been told of before; the answers are owed all the same.
        for answer in state.answers.extract_if(.., |answer| answer.link.id == link.id) {
            answer.link.answer(answer.frame);
        }
        // What was pushed may have been lost with the connection; what was pushed just now, also with one that its client
        // gives up. Better told twice.
        let has_arrived = is_clean && !link.is_late();
        let knows = member.sure.filter(|_| !has_arrived).or(member.told).unwrap_or(0);
        let has_looked = member.unheard.is_none() && !member.was_prompted_of_late(now);
        Some(Left { view, knows: has_looked.then_some(knows) })
    }

    /// Tells of a change.
    pub(crate) fn hear(&self, house: Option<&dyn House>, event: &FeedEvent, now: Time) -> Duties {
        let mut state = self.lock();
        let is_recounted = recounts(&state.head, &event.head);
        if event.head.version > state.head.version {
            state.head = event.head;
        }
        let (mut wants, mut is_unheard, mut tally) = (false, false, Tally::default());
        for group in &mut state.groups {
            wants |= group.hear(house, &self.name, event, is_recounted, now, &mut tally);
            is_unheard |= group.is_unheard();
        }
        let begins_burst = state.begins_burst(is_unheard);
        Duties { begins_burst, wants_catch_up: wants && state.rouse(), tally }
    }

    /// Changes up to `version` were made somewhere, or some whose version nobody knows. Whether the head has to be read
    /// to find out, and is not about to be.
    pub(crate) fn suspect(&self, version: Option<i64>) -> bool {
        let mut state = self.lock();
        let is_known = version.is_some_and(|version| version <= state.head.version);
        !is_known && !std::mem::replace(&mut state.is_suspect, true)
    }

    /// The head is about to be read: what passes from here on is suspected anew.
    pub(crate) fn begin_look(&self) {
        self.lock().is_suspect = false;
    }

    /// The head was read. Whether the catch-up has to be started.
    pub(crate) fn learn(&self, head: Head) -> bool {
        let mut state = self.lock();
        state.learn(head) && state.rouse()
    }

    /// Has stock clients that were prompted while they may have been looking prompted once more, as soon as they have
    /// surely looked. Whether the burst is over, and what has to be done.
    pub(crate) fn ends_burst(&self, now: Time) -> (bool, Duties) {
        let mut state = self.lock();
        let (mut is_over, mut wants) = (true, false);
        for member in state.groups.iter_mut().flat_map(|group| &mut group.members) {
            let Some(unheard) = member.unheard else { continue };
            if member.was_prompted_of_late(now) {
                is_over = false;
                continue;
            }
            member.unheard = None;
            member.told = member.told.map(|told| told.min(unheard));
            member.is_owed = true;
            wants |= !member.is_stalled;
        }
        state.is_bursting = !is_over;
        (is_over, Duties { wants_catch_up: wants && state.rouse(), ..Duties::default() })
    }

    /// What a socket has joined with.
    pub(crate) fn view(&self, link: &Link) -> Option<Arc<View>> {
        let state = self.lock();
        let group = state.groups.iter().find(|group| group.members.iter().any(|member| member.link.id == link.id))?;
        Some(Arc::clone(&group.view))
    }

    /// A socket has drained its outbox after it was full, or took nothing. Whether the catch-up has to be started.
    pub(crate) fn resume(&self, link: &Link, now: Time) -> bool {
        let mut state = self.lock();
        let Some(member) = state.member(link) else { return false };
        // What it was prompted by it hears only now.
        member.prompted_at = member.prompted_at.map(|_| now);
        if !std::mem::take(&mut member.is_stalled) {
            return false;
        }
        member.is_owed = true;
        state.rouse()
    }

    /// Gives an answer after its socket was told of everything up to `version`. Whether the catch-up has to be started.
    pub(crate) fn answer_after(&self, link: &Arc<Link>, version: i64, frame: Frame) -> bool {
        let mut state = self.lock();
        let waiting = state.answers.iter().filter(|answer| answer.link.id == link.id).count();
        match state.member(link).filter(|_| waiting < MOST_ANSWERS) {
            Some(member) if !member.is_stalled && member.told.is_none_or(|told| told < version) => {
                member.is_owed = true;
                state.answers.push(Answer { link: Arc::clone(link), version, frame });
                state.rouse()
            }
            _ => {
                drop(state);
                link.answer(frame);
                false
            }
        }
    }

    /// Gives an answer that itself tells of everything up to `version`; false if its socket has meanwhile been told of
    /// more, so that the answer must be made anew.
    pub(crate) fn answer_with(&self, link: &Arc<Link>, version: i64, frame: &Frame) -> bool {
        let mut state = self.lock();
        if let Some(member) = state.member(link) {
            if member.told.is_some_and(|told| told > version) {
                return false;
            }
            member.told = Some(member.told.map_or(version, |told| told.max(version)));
            member.is_asked_for = false;
        }
        link.answer(frame.clone());
        true
    }

    /// What the catch-up has to find out; none when it is over.
    pub(crate) fn questions(&self) -> Option<Vec<Question>> {
        let mut state = self.lock();
        if !std::mem::take(&mut state.wants_catch_up) || state.groups.is_empty() {
            state.is_catching_up = false;
            return None;
        }
        let mut questions: Vec<Question> = Vec::new();
        for group in &mut state.groups {
            for member in group.members.iter_mut().filter(|member| member.is_owed && !member.is_stalled) {
                member.is_asked_for = true;
                let (since, must_answer) = (member.told, member.awaits_first);
                let same = |question: &Question| {
                    Arc::ptr_eq(&question.view, &group.view)
                        && (question.since, question.must_answer) == (since, must_answer)
                };
                if !questions.iter().any(same) {
                    questions.push(Question { view: Arc::clone(&group.view), since, must_answer });
                }
            }
        }
        Some(questions)
    }

    /// Tells what was found out, to all who still want just that; what was not is found out with the next questions. What
    /// one who came meanwhile came with may be newer.
    pub(crate) fn tell(&self, found: &[(Question, Told)], now: Time) -> Duties {
        let mut tally = Tally::default();
        let mut state = self.lock();
        let State { groups, head, .. } = &mut *state;
        let (mut is_behind, mut is_unheard) = (false, false);
        for group in groups {
            let prompts = group.view.prompts(now);
            for member in group.members.iter_mut().filter(|member| member.is_owed && !member.is_stalled) {
                let is_asked_for = std::mem::take(&mut member.is_asked_for);
                let answer = found.iter().filter(|_| is_asked_for).find(|(question, _)| {
                    Arc::ptr_eq(&question.view, &group.view)
                        && (question.since, question.must_answer) == (member.told, member.awaits_first)
                });
                if let Some((_, told)) = answer
                    && member.push(&told.pushes, told.version, prompts, &mut tally)
                {
                    member.awaits_first = false;
                    member.is_owed = told.version < head.version;
                }
                is_behind |= member.is_owed && !member.is_stalled;
            }
            is_unheard |= group.is_unheard();
        }
        state.wants_catch_up |= is_behind;
        state.give_answers();
        Duties { begins_burst: state.begins_burst(is_unheard), wants_catch_up: false, tally }
    }

    /// The catch-up broke off: the next change starts another.
    pub(crate) fn break_off(&self) {
        let mut state = self.lock();
        (state.is_catching_up, state.wants_catch_up) = (false, true);
    }
}

#[cfg(test)]
impl Topic {
    /// What it still has to do for anybody; none when all is done.
    pub(crate) fn owes(&self) -> Option<String> {
        let state = self.lock();
        let members = || state.groups.iter().flat_map(|group| &group.members);
        let is_open = state.is_catching_up
            || state.wants_catch_up
            || !state.answers.is_empty()
            || state.joining > 0
            || state.is_bursting
            || state.is_suspect
            || members().any(|member| member.is_owed || member.is_stalled || member.awaits_first);
        is_open.then(|| {
            let owed = members().map(|member| (member.is_owed, member.is_stalled, member.awaits_first));
            format!(
                "catching up {} {}, {} answers, {} joining, bursting {}, suspect {}, members {:?}",
                state.is_catching_up,
                state.wants_catch_up,
                state.answers.len(),
                state.joining,
                state.is_bursting,
                state.is_suspect,
                owed.collect::<Vec<_>>()
            )
        })
    }
}

impl State {
    fn add(&mut self, view: View, member: Member) {
        let group = match self.groups.iter().position(|group| *group.view == view) {
            Some(at) => &mut self.groups[at],
            None => {
                let at = self.groups.len();
                if at == 0 {
                    // Most feeds have one bell.
                    self.groups.reserve_exact(1);
                }
                self.groups.push(Group { view: Arc::new(view), members: Vec::with_capacity(1) });
                &mut self.groups[at]
            }
        };
        group.members.push(member);
    }

    fn member(&mut self, link: &Link) -> Option<&mut Member> {
        self.groups.iter_mut().flat_map(|group| &mut group.members).find(|member| member.link.id == link.id)
    }

    /// Notes a head that was read. If it is news, everybody who was not told of it is owed it; whether anybody is.
    fn learn(&mut self, head: Head) -> bool {
        if head.version <= self.head.version {
            return false;
        }
        self.head = head;
        let mut wants = false;
        for member in self.groups.iter_mut().flat_map(|group| &mut group.members) {
            if member.told.is_none_or(|told| told < head.version) {
                member.is_owed = true;
                wants |= !member.is_stalled;
            }
        }
        wants
    }

    /// Whether this is the beginning of a burst whose end somebody must await: the stock client looks when it is prompted,
    /// but not while it is still looking, and so may miss the last of several.
    fn begins_burst(&mut self, is_unheard: bool) -> bool {
        is_unheard && !std::mem::replace(&mut self.is_bursting, true)
    }

    /// Notes that there is something to catch up with; whether the catch-up has to be started.
    fn rouse(&mut self) -> bool {
        self.wants_catch_up = true;
        !std::mem::replace(&mut self.is_catching_up, true)
    }

    fn give_answers(&mut self) {
        for answer in std::mem::take(&mut self.answers) {
            let must_wait = self
                .member(&answer.link)
                .is_some_and(|member| !member.is_stalled && member.told.is_none_or(|told| told < answer.version));
            if must_wait {
                if let Some(member) = self.member(&answer.link) {
                    member.is_owed = true;
                }
                self.wants_catch_up = true;
                self.answers.push(answer);
            } else {
                answer.link.say(answer.frame);
            }
        }
    }
}

impl Group {
    /// Tells of a change; whether the catch-up has something to do.
    fn hear(
        &mut self,
        house: Option<&dyn House>,
        name: &Name,
        event: &FeedEvent,
        is_recounted: bool,
        now: Time,
        tally: &mut Tally,
    ) -> bool {
        let (version, prompts) = (event.head.version, self.view.prompts(now));
        // Made for the first member that wants it, shared by all.
        let mut prepared: Option<AtOnce> = None;
        let mut wants = false;
        for member in &mut self.members {
            if member.is_stalled || member.is_owed {
                member.is_owed = true;
                wants |= !member.is_stalled;
                continue;
            }
            match member.told {
                Some(told) if version <= told => {}
                Some(told) if version == told + 1 => {
                    let view = &self.view;
                    let at_once = prepared
                        .get_or_insert_with(|| view.at_once(house, name, &event.head, &event.news, is_recounted));
                    match at_once {
                        AtOnce::Pushes(pushes) => drop(member.push(pushes, version, prompts, tally)),
                        AtOnce::Ask => (member.is_owed, wants) = (true, true),
                    }
                }
                _ => (member.is_owed, wants) = (true, true),
            }
        }
        wants
    }

    /// Whether somebody may not have heard a prompt.
    fn is_unheard(&self) -> bool {
        self.members.iter().any(|member| member.unheard.is_some())
    }
}

impl Member {
    /// Whether it may still be looking, so that it hears no prompt.
    fn was_prompted_of_late(&self, now: Time) -> bool {
        self.prompted_at.is_some_and(|at| now < at.plus_micros(BURST_MICROS))
    }

    /// Queues pushes that lead to `version`; false when its outbox was full. They prompt a stock client to look, at the
    /// time of `prompts`.
    fn push(&mut self, pushes: &[Arc<Push>], version: i64, prompts: Option<Time>, tally: &mut Tally) -> bool {
        if !pushes.is_empty() {
            if !self.link.tell(pushes, &self.head) {
                tally.overflows += usize::from(self.link.is_starved());
                self.is_stalled = true;
                self.is_owed = true;
                return false;
            }
            tally.frames += pushes.len();
            self.sure = self.sure.or(self.told);
            if let Some(now) = prompts {
                if self.was_prompted_of_late(now) {
                    self.unheard = self.unheard.or(Some(self.told.unwrap_or(0)));
                }
                self.prompted_at = Some(now);
            }
        }
        self.told = Some(version);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use uuid::Uuid;

    use super::*;
    use crate::bus::News;
    use crate::model::environment::{Environment, Settings};
    use crate::model::feed::Filter;
    use crate::sign::api_key::Kind;
    use crate::verbs::door::Caller;
    use crate::wire::join::Join;
    use crate::wire::phoenix::Vsn;

    const NOW: Time = Time::from_micros(0);

    fn topic() -> Topic {
        Topic::new(Name { env: 1, channel: Uuid::nil(), user: "ann".into() })
    }

    fn head(version: i64) -> Head {
        let active = crate::model::feed::Counts { total: version, ..Default::default() };
        Head { id: 1, version, active, ..Head::default() }
    }

    /// The change that leads to a version.
    fn change(version: i64) -> FeedEvent {
        FeedEvent { env: 1, channel: String::new(), recipient: "ann".into(), head: head(version), news: News::Changed }
    }

    /// What a client joins with, as one who was told `told`.
    fn joining(link: &Arc<Link>, payload: &str, told: Option<i64>) -> Joining {
        let environment =
            Environment { number: 1, id: Uuid::nil(), slug: String::new(), settings: Settings::default() };
        let caller = Caller { environment: Arc::new(environment), kind: Kind::Public, claims: None, scope: None };
        let join = Join::parse(payload).unwrap();
        let (view, _) = View::read(join, &caller, &Arc::new(Filter::default())).unwrap();
        let awaits_first = view.own.is_some();
        let (link, head) = (Arc::clone(link), "[null".into());
        Joining { link, head, view, told, awaits_first, may_be_looking: false, first: None }
    }

    fn link(id: u64) -> Arc<Link> {
        Arc::new(Link::new(id, Vsn::V2, Arc::default(), None, NOW))
    }

    /// The totals that a socket was told of since it was asked last.
    fn totals(link: &Link) -> Vec<i64> {
        let frames = link.orders(&Context::from_waker(Waker::noop()), true).frames;
        let total = |frame: Frame| {
            let (head, tail) = frame.parts();
            let frame: serde_json::Value = serde_json::from_slice(&[head, tail].concat()).unwrap();
            frame[4]["metadata"]["total_count"].as_i64().unwrap_or(-1)
        };
        frames.into_iter().map(total).collect()
    }

    /// What the catch-up tells all who are owed something: the feed as it stands at `version`.
    fn catch_up(topic: &Topic, version: i64) {
        let found = topic.questions().into_iter().flatten().map(|question| {
            let payload = format!(r#"{{"metadata":{{"total_count":{version}}}}}"#);
            let pushes = vec![Arc::new(Push::new("t", "new-message", &payload))];
            (question, Told { version, pushes })
        });
        topic.tell(&found.collect::<Vec<_>>(), NOW);
    }

    #[test]
    fn what_is_next_is_told_at_once_what_leaves_a_gap_by_the_catch_up_and_nothing_twice() {
        let (topic, ann) = (topic(), link(1));
        assert!(!topic.enter(head(0), joining(&ann, r#"{"client_a":{}}"#, Some(0)), NOW).wants_catch_up);
        assert!(!topic.hear(None, &change(1), NOW).wants_catch_up);
        assert!(!topic.hear(None, &change(1), NOW).wants_catch_up);
        assert_eq!(totals(&ann), [1]);
        assert!(topic.hear(None, &change(3), NOW).wants_catch_up, "the second is missing");
        assert!(!topic.hear(None, &change(2), NOW).wants_catch_up, "the catch-up was asked for already");
        assert_eq!(totals(&ann), [] as [i64; 0]);
        catch_up(&topic, 3);
        assert_eq!((totals(&ann), topic.questions().is_none()), (vec![3], true));
        assert!(!topic.hear(None, &change(4), NOW).wants_catch_up);
        assert_eq!(totals(&ann), [4]);
    }

    #[test]
    fn who_shows_the_same_shares_every_frame() {
        let topic = topic();
        let views = [
            r#""a":{},"b":{}"#,
            r#""a":{},"b":{}"#,
            r#""b":{},"a":{}"#,
            r#""a":{}"#,
            r#""a":{},"b":{"status":"read"}"#,
        ];
        for (number, views) in views.into_iter().enumerate() {
            let payload = format!(r#"{{"bellwire":{{"views":{{{views}}}}}}}"#);
            topic.enter(head(0), joining(&link(number as u64), &payload, None), NOW);
        }
        let sizes: Vec<usize> = topic.lock().groups.iter().map(|group| group.members.len()).collect();
        assert_eq!(sizes, [2, 1, 1, 1]);
    }

    #[test]
    fn what_changed_while_one_joined_is_owed_to_it() {
        let (topic, ann) = (topic(), link(1));
        topic.begin_join();
        let read = head(1);
        topic.hear(None, &change(2), NOW);
        assert!(topic.enter(read, joining(&ann, r#"{"client_a":{}}"#, Some(1)), NOW).wants_catch_up);
        topic.end_join();
        catch_up(&topic, 2);
        assert_eq!(totals(&ann), [2]);
        let bob = link(2);
        let first = Told { version: 2, pushes: vec![Arc::new(Push::new("t", "feed.snapshot", "{}"))] };
        let joins = Joining { first: Some(first), ..joining(&bob, r#"{"bellwire":{}}"#, None) };
        assert!(!topic.enter(head(2), joins, NOW).wants_catch_up, "it was told all there is");
        assert_eq!(totals(&bob), [-1]);
    }

    /// A change passed unheard, then one came who read of it: from then on it was taken for known, whoever looked.
    #[test]
    fn what_one_who_joins_comes_with_is_owed_to_those_who_were_there() {
        let (topic, ann, bob) = (topic(), link(1), link(2));
        topic.enter(head(1), joining(&ann, r#"{"client_a":{}}"#, Some(1)), NOW);
        assert!(topic.enter(head(2), joining(&bob, r#"{"client_b":{}}"#, Some(2)), NOW).wants_catch_up);
        catch_up(&topic, 2);
        assert_eq!((totals(&ann), totals(&bob)), (vec![2], vec![]));
    }

    #[test]
    fn a_head_that_was_read_tells_nothing_to_those_who_know_it_and_all_to_those_who_do_not() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(1), joining(&ann, r#"{"client_a":{}}"#, Some(1)), NOW);
        assert!(!topic.suspect(Some(1)), "it is known");
        assert!(topic.suspect(Some(2)));
        assert!(!topic.suspect(None), "it is looked at already");
        topic.begin_look();
        assert!(!topic.learn(head(1)), "nothing has passed");
        assert!(topic.questions().is_none());
        assert_eq!(totals(&ann), [] as [i64; 0]);
        assert!(topic.learn(head(3)));
        catch_up(&topic, 3);
        assert_eq!(totals(&ann), [3]);
        assert!(!topic.hear(None, &change(2), NOW).wants_catch_up);
        assert!(!topic.hear(None, &change(3), NOW).wants_catch_up);
        assert!(!topic.learn(head(3)));
        assert_eq!((totals(&ann), topic.questions().is_none()), (vec![], true), "late news are no news");
    }

    /// An item was removed after the catch-up had read of it, and before one came who read the feed anew: to whom the item
    /// came back.
    #[test]
    fn what_was_read_before_one_came_is_not_told_to_it() {
        let (topic, ann, bob) = (topic(), link(1), link(2));
        let pushes = || vec![Arc::new(Push::new("t", "new-message", "{}"))];
        topic.enter(head(1), joining(&ann, r#"{"client_a":{}}"#, Some(1)), NOW);
        topic.hear(None, &change(3), NOW);
        let found: Vec<_> = topic.questions().into_iter().flatten().collect();
        let found = found.into_iter().map(|question| (question, Told { version: 3, pushes: pushes() }));
        topic.enter(head(1), joining(&bob, r#"{"client_a":{}}"#, Some(1)), NOW);
        topic.tell(&found.collect::<Vec<_>>(), NOW);
        assert_eq!((totals(&ann).len(), totals(&bob).len()), (1, 0));
        catch_up(&topic, 3);
        assert_eq!(totals(&bob), [3], "it is owed all the same");
    }

    #[test]
    fn a_catch_up_that_broke_off_is_taken_up_by_the_next_change() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(0), joining(&ann, r#"{"client_a":{}}"#, Some(0)), NOW);
        assert!(topic.hear(None, &change(2), NOW).wants_catch_up);
        assert!(topic.questions().is_some_and(|questions| questions.len() == 1));
        topic.break_off();
        assert!(topic.hear(None, &change(3), NOW).wants_catch_up);
        catch_up(&topic, 3);
        assert_eq!(totals(&ann), [3]);
    }

    const STOCK: &str = r#"{"client_a":{}}"#;

    fn millis(millis: i64) -> Time {
        NOW.plus_micros(millis * 1_000)
    }

    /// Since when the catch-up has something to find out, for each who is owed something.
    fn owed(topic: &Topic) -> Vec<Option<i64>> {
        topic.questions().into_iter().flatten().map(|question| question.since).collect()
    }

    /// A client that had just joined, or had just been told by a catch-up, was looking at the feed when a change came, and
    /// never heard of that: only changes close to each other counted as a burst.
    #[test]
    fn whatever_prompts_a_client_to_look_begins_a_burst() {
        let (topic, ann) = (topic(), link(1));
        let first = Told { version: 1, pushes: vec![Arc::new(Push::new("t", "new-message", "{}"))] };
        let joins = Joining { first: Some(first), ..joining(&ann, STOCK, Some(0)) };
        assert!(!topic.enter(head(1), joins, NOW).begins_burst, "it is known, and heard this");
        assert!(topic.hear(None, &change(2), millis(400)).begins_burst, "it may be looking");
        assert!(!topic.ends_burst(millis(1_099)).0);
        assert_eq!(topic.ends_burst(millis(1_100)), (true, Duties { wants_catch_up: true, ..Duties::default() }));
        assert_eq!(totals(&ann), [-1, 2]);
        let pushes = vec![Arc::new(Push::new("t", "new-message", "{}"))];
        let question = topic.questions().and_then(|mut questions| questions.pop()).unwrap();
        assert!(!topic.tell(&[(question, Told { version: 2, pushes })], millis(1_100)).begins_burst);
        assert!(topic.hear(None, &change(3), millis(1_700)).begins_burst, "it may be looking again");
    }

    /// The last change of a burst was none of the client's, and so it was not told again of the one before, which was.
    #[test]
    fn after_a_burst_everything_that_may_be_unheard_is_told_again() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(1), joining(&ann, STOCK, Some(1)), NOW);
        for version in 2..5 {
            topic.hear(None, &change(version), millis(version * 100));
        }
        assert!(!topic.ends_burst(millis(1_000)).0);
        assert!(topic.ends_burst(millis(1_100)).1.wants_catch_up);
        assert_eq!(owed(&topic), [Some(2)], "it looked for the second, and may have missed all behind");
    }

    /// A client that mounts looks and joins at the same time: what it was told as it joined it did not hear.
    #[test]
    fn one_who_may_be_looking_as_it_joins_is_told_once_more() {
        let (topic, ann, bob) = (topic(), link(1), link(2));
        let first = Told { version: 3, pushes: vec![Arc::new(Push::new("t", "new-message", "{}"))] };
        let joins = Joining { first: Some(first), may_be_looking: true, ..joining(&ann, STOCK, Some(0)) };
        assert!(topic.enter(head(3), joins, NOW).begins_burst);
        assert!(topic.ends_burst(millis(700)).1.wants_catch_up);
        assert_eq!(owed(&topic), [Some(0)]);
        let joins = Joining { may_be_looking: true, ..joining(&bob, STOCK, Some(3)) };
        assert!(!topic.enter(head(3), joins, NOW).begins_burst, "there is nothing to tell");
        assert!(topic.hear(None, &change(4), millis(100)).begins_burst, "now there is");
    }

    #[test]
    fn who_leaves_knows_what_it_has_surely_looked_at() {
        let (topic, links) = (topic(), [1, 2, 3, 4, 5].map(link));
        for link in &links {
            topic.enter(head(1), joining(link, STOCK, Some(1)), NOW);
        }
        topic.hear(None, &change(2), millis(0));
        let knows =
            |link: &Link, is_clean: bool, at: i64| topic.leave(link, is_clean, millis(at)).and_then(|left| left.knows);
        assert_eq!(knows(&links[0], true, 699), None, "it may not even have begun to look");
        assert_eq!(knows(&links[1], true, 700), Some(2));
        assert_eq!(knows(&links[2], false, 700), Some(1), "the connection may have been dead for long");
        links[3].orders(&Context::from_waker(Waker::noop()), false);
        assert_eq!(knows(&links[3], true, 700), Some(1), "it takes nothing, or did not until now");
        topic.hear(None, &change(3), millis(600));
        assert_eq!(knows(&links[4], true, 2_000), None, "it was to be told once more");
    }

    /// A client took nothing in for a while, then heard what it had been told before, and looked: only then.
    #[test]
    fn what_comes_late_is_heard_late() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(0), joining(&ann, STOCK, Some(0)), NOW);
        topic.hear(None, &change(1), NOW);
        assert!(!topic.resume(&ann, millis(5_000)), "it was told everything");
        assert!(topic.hear(None, &change(2), millis(5_100)).begins_burst);
    }

    #[test]
    fn answers_wait_for_what_they_answer_but_not_without_bound_and_leaving_does_not_lose_them() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(0), joining(&ann, r#"{"bellwire":{}}"#, None), NOW);
        let answer = |number: i64| {
            let text = format!(r#"[null,null,"t","phx_reply",{{"metadata":{{"total_count":{number}}}}}]"#);
            topic.answer_after(&ann, number, Frame::Text(text))
        };
        (1..=MOST_ANSWERS as i64).for_each(|number| _ = answer(number));
        assert_eq!(totals(&ann), [] as [i64; 0]);
        answer(99);
        assert_eq!(totals(&ann), [99], "beyond the bound they wait no more");
        catch_up(&topic, 2);
        assert_eq!(totals(&ann), [2, 1, 2], "what it is told, then the answers that this is for");
        topic.leave(&ann, true, NOW);
        assert_eq!(totals(&ann), (3..=MOST_ANSWERS as i64).collect::<Vec<_>>());
    }
}
