//! One topic: who listens to a feed, and what each was told last.
//!
//! Told versions only grow. A change that follows what a member was told last is told in the committing task; one that
//! needs the database, or leaves a gap, is left to the topic's catch-up, one task at a time, which tells everything since.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::channels::feed::{AtOnce, Name, Told, View, recounts};
use super::outbox::{Frame, Link};
use crate::bus::FeedEvent;
use crate::model::feed::Head;
use crate::model::time::Time;
use crate::verbs::{Core, Error};
use crate::wire::phoenix::Push;

/// Changes less than this apart are a burst.
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
    /// When the last change was heard of.
    heard_at: Option<Time>,
    /// Whether somebody waits for a burst of changes to end.
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
    /// Its outbox was full: nothing is told until it has drained.
    is_stalled: bool,
    /// One of our own clients that awaits its first push.
    awaits_first: bool,
    /// What it surely knows, once something was pushed: whether that arrives is not known.
    sure: Option<i64>,
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
    /// What it is told first, if that was found out.
    pub(crate) first: Option<Told>,
}

/// One who has left, with the version it surely knows.
pub(crate) struct Left {
    pub(crate) view: Arc<View>,
    pub(crate) knows: i64,
}

/// What has to be done about a change that was heard of.
pub(crate) struct Heard {
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
    pub(crate) async fn answer(&self, core: &Core, name: &Name) -> Result<Told, Error> {
        let reading = name.read(core, self.since).await?;
        self.view.since(core, name, reading, self.since, self.must_answer).await
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
    /// change was heard of here. Whether the catch-up has to be started.
    pub(crate) fn enter(&self, head: Head, joining: Joining, tally: &mut Tally) -> bool {
        let mut state = self.lock();
        if head.version > state.head.version {
            state.head = head;
        }
        let Joining { link, head, view, told, awaits_first, first } = joining;
        let mut member = Member { link, head, told, is_owed: false, is_stalled: false, awaits_first, sure: None };
        if let Some(first) = first
            && member.push(&first.pushes, first.version, tally)
        {
            member.awaits_first = false;
        }
        member.is_owed |= member.awaits_first || member.told.is_none_or(|told| told < state.head.version);
        let wants_catch_up = member.is_owed && !member.is_stalled;
        state.add(view, member);
        wants_catch_up && state.rouse()
    }

    /// Lets one out. `is_clean` says that the client itself said so on a connection that lives: it has then received
    /// everything it was told.
    pub(crate) fn leave(&self, link: &Link, is_clean: bool) -> Option<Left> {
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
        // What was pushed may have been lost with the connection: better told twice.
        let sure = member.sure.filter(|_| !is_clean).or(member.told);
        Some(Left { view, knows: sure.unwrap_or(0) })
    }

    /// Tells of a change.
    pub(crate) fn hear(&self, core: Option<&Core>, event: &FeedEvent, now: Time) -> Heard {
        let mut state = self.lock();
        let is_recounted = recounts(&state.head, &event.head);
        if event.head.version > state.head.version {
            state.head = event.head;
        }
        let (mut wants, mut tally) = (false, Tally::default());
        for group in &mut state.groups {
            wants |= group.hear(core, &self.name, event, is_recounted, &mut tally);
        }
        Heard { begins_burst: state.begins_burst(now), wants_catch_up: wants && state.rouse(), tally }
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

    /// The head was read. If it is news, everybody who was not told of it is owed it. Whether the catch-up has to be
    /// started.
    pub(crate) fn learn(&self, head: Head) -> bool {
        let mut state = self.lock();
        if head.version <= state.head.version {
            return false;
        }
        state.head = head;
        let mut wants = false;
        for member in state.groups.iter_mut().flat_map(|group| &mut group.members) {
            if member.told.is_none_or(|told| told < head.version) {
                member.is_owed = true;
                wants |= !member.is_stalled;
            }
        }
        wants && state.rouse()
    }

    /// If the burst is over, stock clients are to be told once more: none while it goes on, else whether the catch-up
    /// has to be started.
    pub(crate) fn ends_burst(&self, now: Time) -> Option<bool> {
        let mut state = self.lock();
        if state.heard_at.is_some_and(|at| now < at.plus_micros(BURST_MICROS)) {
            return None;
        }
        state.is_bursting = false;
        let before = (state.head.version - 1).max(0);
        let mut wants = false;
        for group in state.groups.iter_mut().filter(|group| group.view.own.is_none()) {
            for member in &mut group.members {
                member.told = member.told.map(|told| told.min(before));
                member.is_owed = true;
                wants = true;
            }
        }
        Some(wants && state.rouse())
    }

    /// What a socket has joined with.
    pub(crate) fn view(&self, link: &Link) -> Option<Arc<View>> {
        let state = self.lock();
        let group = state.groups.iter().find(|group| group.members.iter().any(|member| member.link.id == link.id))?;
        Some(Arc::clone(&group.view))
    }

    /// A socket has drained its outbox after it was full. Whether the catch-up has to be started.
    pub(crate) fn resume(&self, link: &Link) -> bool {
        let mut state = self.lock();
        let Some(member) = state.member(link) else { return false };
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
    pub(crate) fn answer_with(&self, link: &Arc<Link>, version: i64, frame: &Frame, is_last: bool) -> bool {
        let mut state = self.lock();
        if let Some(member) = state.member(link) {
            if member.told.is_some_and(|told| told > version) && !is_last {
                return false;
            }
            member.told = Some(member.told.map_or(version, |told| told.max(version)));
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
        for group in &state.groups {
            for member in group.members.iter().filter(|member| member.is_owed && !member.is_stalled) {
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

    /// Tells what was found out, to all who still want just that.
    pub(crate) fn tell(&self, found: &[(Question, Told)]) -> Tally {
        let mut tally = Tally::default();
        let mut state = self.lock();
        let State { groups, head, .. } = &mut *state;
        let mut is_behind = false;
        for group in groups {
            for member in group.members.iter_mut().filter(|member| member.is_owed && !member.is_stalled) {
                let answer = found.iter().find(|(question, _)| {
                    Arc::ptr_eq(&question.view, &group.view)
                        && (question.since, question.must_answer) == (member.told, member.awaits_first)
                });
                if let Some((_, told)) = answer
                    && member.push(&told.pushes, told.version, &mut tally)
                {
                    member.awaits_first = false;
                    member.is_owed = told.version < head.version;
                }
                is_behind |= member.is_owed && !member.is_stalled;
            }
        }
        state.wants_catch_up |= is_behind;
        state.give_answers();
        tally
    }

    /// The catch-up failed and will try again.
    pub(crate) fn retry(&self) {
        self.lock().wants_catch_up = true;
    }

    /// The catch-up broke off: the next change starts another.
    pub(crate) fn break_off(&self) {
        let mut state = self.lock();
        (state.is_catching_up, state.wants_catch_up) = (false, true);
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

    /// Notes when a change was heard of. Whether that is the beginning of a burst whose end somebody must await: the
    /// stock client looks again when it is told, but not while it is still looking, and so may miss the last of several.
    fn begins_burst(&mut self, now: Time) -> bool {
        let is_close = self.heard_at.replace(now).is_some_and(|at| now < at.plus_micros(BURST_MICROS));
        let begins = is_close && !self.is_bursting && self.groups.iter().any(|group| group.view.own.is_none());
        self.is_bursting |= begins;
        begins
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
        core: Option<&Core>,
        name: &Name,
        event: &FeedEvent,
        is_recounted: bool,
        tally: &mut Tally,
    ) -> bool {
        let version = event.head.version;
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
                        .get_or_insert_with(|| view.at_once(core, name, &event.head, &event.news, is_recounted));
                    match at_once {
                        AtOnce::Pushes(pushes) => drop(member.push(pushes, version, tally)),
                        AtOnce::Ask => (member.is_owed, wants) = (true, true),
                    }
                }
                _ => (member.is_owed, wants) = (true, true),
            }
        }
        wants
    }
}

impl Member {
    /// Queues pushes that lead to `version`; false when its outbox was full.
    fn push(&mut self, pushes: &[Arc<Push>], version: i64, tally: &mut Tally) -> bool {
        if !pushes.is_empty() {
            if !self.link.tell(pushes, &self.head) {
                tally.overflows += usize::from(self.link.is_starved());
                self.is_stalled = true;
                self.is_owed = true;
                return false;
            }
            tally.frames += pushes.len();
            self.sure = self.sure.or(self.told);
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
        let caller = Caller { environment: Arc::new(environment), kind: Kind::Public, claims: None };
        let join = Join::parse(payload).unwrap();
        let (view, _) = View::read(join, &caller, &Arc::new(Filter::default())).unwrap();
        let awaits_first = view.own.is_some();
        Joining { link: Arc::clone(link), head: "[null".into(), view, told, awaits_first, first: None }
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
        topic.tell(&found.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_next_is_told_at_once_what_leaves_a_gap_by_the_catch_up_and_nothing_twice() {
        let (topic, ann) = (topic(), link(1));
        assert!(!topic.enter(head(0), joining(&ann, r#"{"client_a":{}}"#, Some(0)), &mut Tally::default()));
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
    fn what_changed_while_one_joined_is_owed_to_it() {
        let (topic, ann) = (topic(), link(1));
        topic.begin_join();
        let read = head(1);
        topic.hear(None, &change(2), NOW);
        assert!(topic.enter(read, joining(&ann, r#"{"client_a":{}}"#, Some(1)), &mut Tally::default()));
        topic.end_join();
        catch_up(&topic, 2);
        assert_eq!(totals(&ann), [2]);
        let bob = link(2);
        let first = Told { version: 2, pushes: vec![Arc::new(Push::new("t", "feed.snapshot", "{}"))] };
        let joins = Joining { first: Some(first), ..joining(&bob, r#"{"bellwire":{}}"#, None) };
        assert!(!topic.enter(head(2), joins, &mut Tally::default()), "it was told all there is");
        assert_eq!(totals(&bob), [-1]);
    }

    #[test]
    fn a_head_that_was_read_tells_nothing_to_those_who_know_it_and_all_to_those_who_do_not() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(1), joining(&ann, r#"{"client_a":{}}"#, Some(1)), &mut Tally::default());
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

    #[test]
    fn a_catch_up_that_broke_off_is_taken_up_by_the_next_change() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(0), joining(&ann, r#"{"client_a":{}}"#, Some(0)), &mut Tally::default());
        assert!(topic.hear(None, &change(2), NOW).wants_catch_up);
        assert!(topic.questions().is_some_and(|questions| questions.len() == 1));
        topic.break_off();
        assert!(topic.hear(None, &change(3), NOW).wants_catch_up);
        catch_up(&topic, 3);
        assert_eq!(totals(&ann), [3]);
    }

    #[test]
    fn answers_wait_for_what_they_answer_but_not_without_bound_and_leaving_does_not_lose_them() {
        let (topic, ann) = (topic(), link(1));
        topic.enter(head(0), joining(&ann, r#"{"bellwire":{}}"#, None), &mut Tally::default());
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
        topic.leave(&ann, true);
        assert_eq!(totals(&ann), (3..=MOST_ANSWERS as i64).collect::<Vec<_>>());
    }
}
