//! Feeds: counters equal a recount, versions tell every change, pages and cursors lose nothing.

use std::collections::BTreeMap;

use bellwire::model::feed::{Archived, Filter, Status};
use bellwire::model::mark::Mark;
use bellwire::model::message::Message;
use bellwire::model::time::Time;
use bellwire::store::Batch;
use bellwire::store::feeds::{Changes, RESUME_LIMIT, Removal, Still};
use bellwire::verbs::mark::{CHUNK, Everything, Reach};
use bellwire::wire::cursor::{Cursor, Edge};
use proptest::prelude::*;
use serde_json::json;

use crate::world::{CHANNEL, World, document, tell};

async fn world(items: usize) -> World {
    let mut built = tell("built", "x");
    built["collapse_key"] = "{{ data.key }}".into();
    let workflows = [("greet", document(json!([tell("hello", "x")]))), ("build", document(json!([built])))];
    let world = World::new(&workflows).await;
    for n in 0..items {
        let body = json!({"recipients": [{"id": "u"}], "data": {"n": n, "even": n % 2 == 0, "word": "w"}});
        world.trigger("greet", body).await.unwrap();
    }
    world
}

async fn ids(world: &World) -> Vec<String> {
    world.feed("u").await.into_iter().map(|item| item.id).collect()
}

async fn agrees_with_a_recount(world: &World) {
    let head = world.head("u").await;
    let recount = world.core.store.recount(head.id).await.unwrap();
    assert_eq!((head.active, head.archived), recount, "counters equal a recount");
}

/// Something that happens to a feed. Numbers choose among the items there are.
#[derive(Debug, Clone)]
enum Step {
    Mark(Mark, Vec<usize>),
    MarkAll(Mark),
    /// Takes back what was given at the instant that the clock still shows.
    Undo(Mark),
    /// In a tenant or in none, by an actor or by nobody.
    Add(bool, bool),
    /// One that takes the place of the last of its key, if that is unread.
    Collapse(u8),
    Remove(Vec<usize>),
    Revoke(Vec<usize>),
    Bulk(&'static str, serde_json::Value),
    /// Whoever acted is deleted.
    Forget,
}

fn step() -> impl Strategy<Value = Step> {
    let mark = || prop::sample::select(Mark::ALL.to_vec());
    let which = || prop::collection::vec(0usize..8, 1..4);
    let action = prop::sample::select(vec![
        "seen",
        "unseen",
        "read",
        "unread",
        "interacted",
        "archived",
        "unarchived",
        "delete",
    ]);
    let filter = prop::sample::select(vec![
        json!({}),
        json!({"recipients": ["u", "nobody"]}),
        json!({"tenants": ["acme"], "has_tenant": true}),
        json!({"engagement": ["unread"], "recipients": ["u"]}),
        json!({"engagement": ["archived", "seen"]}),
    ]);
    prop_oneof![
        3 => (mark(), which()).prop_map(|(mark, which)| Step::Mark(mark, which)),
        1 => mark().prop_map(Step::MarkAll),
        1 => prop::sample::select(vec![Mark::Unseen, Mark::Unread, Mark::Unarchived]).prop_map(Step::Undo),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(tenant, actor)| Step::Add(tenant, actor)),
        3 => (0u8..3).prop_map(Step::Collapse),
        2 => which().prop_map(Step::Remove),
        2 => which().prop_map(Step::Revoke),
        2 => (action, filter).prop_map(|(action, filter)| Step::Bulk(action, filter)),
        1 => Just(Step::Forget),
    ]
}

async fn take(world: &World, step: Step, there: &[String]) {
    let chosen = |which: &[usize]| -> Vec<String> { which.iter().filter_map(|at| there.get(*at).cloned()).collect() };
    let core = &world.core;
    match step {
        Step::Mark(mark, which) => {
            core.mark(world.env, &chosen(&which), mark, None, &Default::default()).await.unwrap();
        }
        Step::MarkAll(mark) => {
            core.mark_all(world.env, CHANNEL, "u", &Everything::default(), mark, core.clock.now()).await.unwrap();
        }
        Step::Undo(mark) => {
            let filter = Filter { archived: Archived::Include, ..Filter::default() };
            let everything = Everything { filter: filter.into(), marked_at: Some(core.clock.now()) };
            core.mark_all(world.env, CHANNEL, "u", &everything, mark, core.clock.now()).await.unwrap();
        }
        Step::Add(in_tenant, has_actor) => {
            let actor = if has_actor { json!({"id": "ann", "name": "Ann"}) } else { json!(null) };
            let tenant = in_tenant.then_some("acme");
            world.trigger("greet", json!({"recipients": ["u"], "tenant": tenant, "actor": actor})).await.unwrap();
        }
        Step::Collapse(key) => {
            world.trigger("build", json!({"recipients": ["u"], "data": {"key": key}})).await.unwrap();
        }
        Step::Revoke(which) => {
            let ids = chosen(&which);
            core.revoke(world.env, &ids).await.unwrap();
            for message in core.store.messages_by_ids(world.env, &ids).await.unwrap() {
                assert!(message.revoked_at.is_some() && message.feed.is_none());
            }
        }
        Step::Remove(which) => {
            let mut batch = Batch::new();
            batch.remove_from_feed(world.head("u").await.id, &chosen(&which));
            core.store.apply(batch).await.unwrap();
        }
        Step::Bulk(action, filter) => {
            let mut spec = json!({"action": action, "channel": CHANNEL, "is_feed": true});
            spec.as_object_mut().unwrap().extend(filter.as_object().unwrap().clone());
            core.start_bulk(world.env, serde_json::from_value(spec).unwrap()).await.unwrap();
            assert_eq!(world.pass(0).await, 1);
        }
        Step::Forget => {
            // Nobody to forget if they never acted.
            let _ = core.delete_user(world.env, "ann").await;
            world.pass(0).await;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Whatever happens to a feed in whatever order: its counters equal a recount, and whoever has any of its versions and
    /// is told what changed since has what the feed holds.
    #[test]
    fn counters_and_deltas_survive_whatever_happens(steps in prop::collection::vec(step(), 1..14)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world(4).await;
            let mut known = vec![(world.head("u").await.version, whole(&world).await)];
            for step in steps {
                let there: Vec<String> = known.last().unwrap().1.keys().cloned().collect();
                take(&world, step.clone(), &there).await;
                agrees_with_a_recount(&world).await;
                let (head, now) = (world.head("u").await, whole(&world).await);
                let tops: Vec<i64> = world.feed("u").await.iter().map(|item| item.inserted_at.micros()).collect();
                prop_assert!(tops.windows(2).all(|pair| pair[0] > pair[1]), "no two items share an instant");
                prop_assert_eq!(now.len() as i64, head.active.total + head.archived.total);
                for (version, had) in &known {
                    let Changes::Since { changed, removed } = world.changes("u", *version).await else {
                        panic!("a client a few changes behind can always resume");
                    };
                    let mut has = had.clone();
                    has.extend(changed.into_iter().map(|item| (item.id.clone(), item)));
                    has.retain(|id, _| removed.iter().all(|removal| removal.id != *id));
                    prop_assert_eq!(&has, &now, "since {} by {:?}", version, &step);
                }
                known.push((head.version, now));
            }
            Ok(())
        })?;
    }
}

/// Everything the feed holds, by id.
async fn whole(world: &World) -> BTreeMap<String, Message> {
    world.feed("u").await.into_iter().map(|item| (item.id.clone(), item)).collect()
}

#[tokio::test]
async fn marks_write_what_they_mean() {
    let world = world(1).await;
    let id = ids(&world).await.remove(0);
    let mark = async |mark| {
        world.core.mark(world.env, std::slice::from_ref(&id), mark, None, &Default::default()).await.unwrap().remove(0)
    };
    let first = mark(Mark::Seen).await;
    assert!(first.seen_at.is_some() && first.read_at.is_none() && first.updated_at >= first.inserted_at, "F-STA-11");
    world.core.clock.advance_seconds(5);
    let again = mark(Mark::Seen).await;
    assert!(again.seen_at > first.seen_at, "F-STA-16");
    let read = mark(Mark::Read).await;
    assert!(read.read_at.is_some() && read.seen_at == again.seen_at, "F-STA-12");
    assert!(mark(Mark::Unread).await.read_at.is_none(), "F-STA-12");
    let before = world.head("u").await.version;
    mark(Mark::Unread).await;
    assert_eq!(world.head("u").await.version, before, "F-STA-17: no change, no version");
    let touched = mark(Mark::Interacted).await;
    assert!(touched.interacted_at.is_some() && touched.read_at == touched.interacted_at, "F-STA-13");
    let archived = mark(Mark::Archived).await;
    assert_eq!(archived.engagement_statuses(), ["seen", "read", "interacted", "archived"], "F-STA-14, F-MSG-03");
    assert_eq!(world.head("u").await.active.total, 0, "F-FED-37");
    assert!(mark(Mark::Unarchived).await.archived_at.is_none(), "F-STA-14");
    let names: Vec<String> =
        world.core.store.message_events(&id).await.unwrap().into_iter().map(|event| event.name).collect();
    let expected = ["seen", "seen", "read", "unread", "interacted", "archived", "unarchived"];
    let mut sorted: Vec<String> = expected.iter().map(|name| format!("message.{name}")).collect();
    sorted.sort();
    let mut names = names;
    names.sort();
    assert_eq!(names, sorted, "F-STA-19, F-STA-17");
}

#[tokio::test]
async fn a_feed_is_ordered_as_it_was_committed_and_no_two_items_share_an_instant() {
    let world = world(5).await;
    let items = world.feed("u").await;
    assert!(
        items.windows(2).all(|pair| pair[0].inserted_at > pair[1].inserted_at && pair[0].seq > pair[1].seq),
        "F-FED-06"
    );
}

#[tokio::test]
async fn pages_meet_without_gap_or_overlap_in_both_directions() {
    let world = world(7).await;
    let feed = world.head("u").await;
    let filter = Filter::default();
    let all = ids(&world).await;
    let page = async |at: Option<Edge>| world.core.store.feed_page(&feed, &filter, at.as_ref(), 3).await.unwrap();
    let mut seen = Vec::new();
    let mut at = None;
    loop {
        let found = page(at).await;
        seen.extend(found.messages.iter().map(|item| item.id.clone()));
        let Some(last) = found.messages.last().filter(|_| found.has_older) else { break };
        at = Some(Edge::After(Cursor::Seq(last.seq)));
    }
    assert_eq!(seen, all, "F-PAG-04, F-PAG-05");
    let oldest = world.feed("u").await.pop().unwrap();
    let newer = page(Some(Edge::Before(Cursor::Seq(oldest.seq)))).await;
    let adjacent: Vec<String> = newer.messages.iter().map(|item| item.id.clone()).collect();
    assert_eq!(adjacent, all[3..6], "F-FED-07, F-FED-08: the rows immediately newer, newest first");
    assert!(newer.has_newer && newer.has_older);
}

#[tokio::test]
async fn filters_narrow_items_and_counts_alike() {
    let world = world(4).await;
    for tenant in ["acme", "north"] {
        world.trigger("greet", json!({"recipients": ["u"], "tenant": tenant})).await.unwrap();
    }
    let newest = ids(&world).await;
    world.core.mark(world.env, &newest[..2], Mark::Read, None, &Default::default()).await.unwrap();
    world.core.mark(world.env, &newest[5..], Mark::Archived, None, &Default::default()).await.unwrap();
    let head = world.head("u").await;
    let count = async |filter: Filter| {
        let page = world.core.store.feed_page(&head, &filter, None, 50).await.unwrap().messages;
        assert!(page.iter().all(|item| filter.matches(item)), "one meaning in SQL and in memory");
        let everything = world.feed("u").await;
        assert_eq!(page.len(), everything.iter().filter(|item| filter.matches(item)).count(), "{filter:?}");
        let counts = world.core.store.feed_counts(&head, &filter).await.unwrap();
        assert_eq!(counts.total, page.len() as i64, "F-FED-35 {filter:?}");
        let unread = everything.iter().filter(|item| filter.matches_but_status(item) && item.read_at.is_none()).count();
        assert_eq!(counts.unread, unread as i64, "F-FED-36 {filter:?}");
        page.len()
    };
    let with = |change: &dyn Fn(&mut Filter)| {
        let mut filter = Filter::default();
        change(&mut filter);
        filter
    };
    assert_eq!(count(with(&|_| {})).await, 5, "F-FED-10");
    assert_eq!(count(with(&|f| f.archived = Archived::Only)).await, 1, "F-FED-10");
    assert_eq!(count(with(&|f| f.archived = Archived::Include)).await, 6, "F-FED-10");
    assert_eq!(count(with(&|f| f.status = Status::Unread)).await, 3, "F-FED-09");
    assert_eq!(count(with(&|f| f.status = Status::Read)).await, 2, "F-FED-09");
    assert_eq!(count(with(&|f| f.status = Status::Seen)).await, 0, "F-FED-09");
    assert_eq!(count(with(&|f| f.tenant = Some("acme".into()))).await, 4, "F-FED-13");
    assert_eq!(
        count(with(&|f| {
            f.tenant = Some("acme".into());
            f.has_tenant = Some(true)
        }))
        .await,
        1,
        "F-FED-14"
    );
    assert_eq!(count(with(&|f| f.has_tenant = Some(true))).await, 2, "F-FED-15");
    assert_eq!(count(with(&|f| f.has_tenant = Some(false))).await, 3, "F-FED-15");
    assert_eq!(count(with(&|f| f.source = Some("greet".into()))).await, 5, "F-FED-11");
    assert_eq!(count(with(&|f| f.source = Some("gree".into()))).await, 0, "F-FED-11");
    for (data, expected) in [
        (json!({"n": 2}), 1),
        (json!({"n": "2"}), 0),
        (json!({"even": true}), 1),
        (json!({"word": "w", "even": false}), 2),
    ] {
        let pairs = data.as_object().unwrap().clone();
        assert_eq!(count(with(&|f| f.trigger_data = pairs.clone())).await, expected, "F-FED-16 {data}");
    }
    let at = world.feed("u").await[2].inserted_at;
    assert_eq!(count(with(&|f| f.inserted_at.gt = Some(at))).await, 2, "F-FED-19");
    assert_eq!(count(with(&|f| f.inserted_at.lte = Some(at))).await, 3, "F-FED-19");
}

#[tokio::test]
async fn numbers_are_compared_to_the_last_digit() {
    let world = world(0).await;
    let numbers =
        [json!(9_007_199_254_740_992_i64), json!(9_007_199_254_740_993_i64), json!(i64::MAX), json!(u64::MAX)];
    for n in numbers.iter().chain(&[json!(2.5), json!(3)]) {
        world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"n": n}})).await.unwrap();
    }
    let (head, everything) = (world.head("u").await, world.feed("u").await);
    for (wanted, expected) in [
        (numbers[0].clone(), 1),
        (numbers[1].clone(), 1),
        (json!(9_007_199_254_740_994_i64), 0),
        (json!(9_007_199_254_740_992.0), 1),
        (json!(i64::MAX), 1),
        (json!(9_223_372_036_854_775_808_u64), 0),
        (json!(u64::MAX), 1),
        (json!(2.5), 1),
        (json!(3.0), 1),
        (json!(4), 0),
    ] {
        let data = serde_json::Map::from_iter([("n".to_owned(), wanted.clone())]);
        let filter = Filter { trigger_data: data, ..Filter::default() };
        let found = world.core.store.feed_page(&head, &filter, None, 50).await.unwrap().messages;
        assert_eq!(found.len(), expected, "F-FED-16 {wanted}");
        assert_eq!(everything.iter().filter(|item| filter.matches(item)).count(), expected, "F-FED-16 {wanted}");
    }
}

#[tokio::test]
async fn everything_at_once_is_marked_in_chunks() {
    let world = world(1).await;
    world.copy("u", 2 * CHUNK).await;
    let before = world.head("u").await;
    world
        .core
        .mark_all(world.env, CHANNEL, "u", &Everything::default(), Mark::Read, world.core.clock.now())
        .await
        .unwrap();
    let head = world.head("u").await;
    assert_eq!((head.active.unread, head.active.total), (0, 2 * CHUNK as i64 + 1));
    assert_eq!(head.version, before.version + 3, "a version for each transaction");
    agrees_with_a_recount(&world).await;
}

/// Somebody reads everything and takes it back: unread is what was unread before, though they have never seen most of it,
/// and nothing of what was marked before or since.
#[tokio::test]
async fn a_mark_of_everything_is_undone_where_it_marked_and_nowhere_else() {
    for (given, back, archived) in [
        (Mark::Read, Mark::Unread, Archived::Exclude),
        (Mark::Seen, Mark::Unseen, Archived::Exclude),
        (Mark::Archived, Mark::Unarchived, Archived::Exclude),
    ] {
        let world = world(4).await;
        world.copy("u", CHUNK + 10).await;
        world.trigger("greet", json!({"recipients": [{"id": "v"}]})).await.unwrap();
        let feed = async || {
            let filter = Filter { archived: Archived::Include, ..Filter::default() };
            world.core.store.feed_page(&world.head("u").await, &filter, None, 2 * CHUNK).await.unwrap().messages
        };
        let ids: Vec<String> = feed().await.into_iter().map(|item| item.id).collect();
        let stamp = |item: &Message| match given {
            Mark::Read => item.read_at,
            Mark::Seen => item.seen_at,
            _ => item.archived_at,
        };
        let one = async |id: &String, mark: Mark| {
            world.core.clock.advance(1);
            world.core.mark(world.env, std::slice::from_ref(id), mark, None, &Reach::default()).await.unwrap();
            world.core.clock.now()
        };
        let whole = async |user: &str, filter: Filter, mark: Mark, marked_at: Option<Time>, at: Time| {
            let everything = Everything { filter: filter.into(), marked_at };
            world.core.mark_all(world.env, CHANNEL, user, &everything, mark, at).await.unwrap()
        };
        let before = one(&ids[0], given).await;
        one(&ids[1], Mark::Interacted).await;
        world.core.clock.advance(1);
        let at = world.core.clock.now();
        let status = match given {
            Mark::Read => Status::Unread,
            Mark::Seen => Status::Unseen,
            _ => Status::All,
        };
        let open = Filter { status, archived, ..Filter::default() };
        whole("u", open.clone(), given, None, at).await;
        whole("v", open, given, None, at).await;
        let untouched = if given == Mark::Read { 2 } else { 1 };
        let stamps = |items: Vec<Message>| {
            items.into_iter().map(|item| (item.id.clone(), stamp(&item))).collect::<BTreeMap<_, _>>()
        };
        let marked = stamps(feed().await);
        assert_eq!(marked.values().filter(|stamp| **stamp == Some(at)).count(), ids.len() - untouched, "one instant");
        let since = one(&ids[2], given).await;
        one(&ids[3], back).await;
        let again = one(&ids[4], back).await;
        assert!(again < one(&ids[4], given).await);
        world.core.clock.advance(1);
        let before_undo = world.head("u").await.version;
        let all = Filter { archived: Archived::Include, ..Filter::default() };
        whole("u", all.clone(), back, Some(at), world.core.clock.now()).await;
        let undone = stamps(feed().await);
        for (id, was) in &marked {
            let expected = match was {
                Some(stamp) if *stamp == at && !ids[2..5].contains(id) => None,
                _ if *id == ids[2] => Some(since),
                _ if *id == ids[3] => None,
                _ if *id == ids[4] => Some(since.plus_micros(3)),
                other => *other,
            };
            assert_eq!(undone[id], expected, "{given:?} {id}");
        }
        assert_eq!(undone[&ids[0]], Some(before), "what was marked before stays");
        let foreign = world.core.store.messages(world.env, &Default::default(), None, 1_000).await.unwrap();
        let foreign = foreign.iter().find(|item| item.recipient.id() == "v").unwrap();
        assert_eq!(stamp(foreign), Some(at), "another's feed stays as it is");
        if given == Mark::Read {
            assert!(feed().await.iter().any(|item| item.id == ids[1] && item.interacted_at.is_some()));
        }
        let head = world.head("u").await;
        assert_eq!(head.version, before_undo + 2, "a version for each transaction that changes anything");
        agrees_with_a_recount(&world).await;
        // Once more there is nothing left to undo; nor by any other instant.
        for instant in [at, at.plus_micros(-3), at.plus_micros(9)] {
            assert_eq!(
                whole("u", all.clone(), back, Some(instant), world.core.clock.now()).await,
                world.head("u").await
            );
        }
        assert_eq!(world.head("u").await, head, "{given:?}");
    }
}

/// What was found to be marked is marked only if it still is as it was found.
#[tokio::test]
async fn a_mark_leaves_alone_what_has_changed_since_it_was_found() {
    let world = world(2).await;
    let ids = ids(&world).await;
    world.core.mark(world.env, &ids[..1], Mark::Read, None, &Default::default()).await.unwrap();
    let (at, now) = (world.core.clock.now(), world.core.clock.now().plus_seconds(1));
    let head = world.head("u").await;
    let changed = async |still: Still, mark: Mark| {
        let mut batch = Batch::new();
        let number = batch.mark_in_feed(head.id, &ids, still, mark, None, now);
        let applied = world.core.store.apply(batch).await.unwrap();
        agrees_with_a_recount(&world).await;
        let mut events = 0;
        for id in &ids {
            events += world.core.store.message_events(id).await.unwrap().len();
        }
        let feed = world.feed("u").await.into_iter();
        let read: Vec<Option<Time>> = feed.map(|item| item.read_at).collect();
        (!applied.rows(number).is_empty(), events, read)
    };
    let at_another = Still { marked_at: Some(at.plus_micros(1)), ..Still::default() };
    assert_eq!(changed(at_another, Mark::Unread).await, (false, 1, vec![Some(at), None]));
    let unread = Still { status: Status::Unread, ..Still::default() };
    assert_eq!(changed(unread, Mark::Read).await, (true, 2, vec![Some(at), Some(now)]), "F-STA-16 of none but these");
    assert_eq!(changed(unread, Mark::Read).await, (false, 2, vec![Some(at), Some(now)]));
    let then = Still { marked_at: Some(at), ..Still::default() };
    assert_eq!(changed(then, Mark::Unread).await, (true, 3, vec![None, Some(now)]));
}

#[tokio::test]
async fn a_mark_of_all_asks_for_no_more_than_was_there_when_it_began() {
    let world = world(3).await;
    let head = world.head("u").await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    let places = |found: Vec<(i64, String)>| found.into_iter().map(|(place, _)| place).collect::<Vec<_>>();
    let asked = async |range, limit| {
        places(world.core.store.feed_ids(head.id, &Filter::default(), None, range, limit).await.unwrap())
    };
    assert_eq!(asked(0..=head.version, 2).await, [1, 2]);
    assert_eq!(asked(3..=head.version, 2).await, [3], "what came meanwhile was not meant");
}

#[tokio::test]
async fn what_is_deleted_is_told_to_whoever_resumes() {
    let world = world(2).await;
    world.trigger("greet", json!({"recipients": ["u"], "tenant": "acme"})).await.unwrap();
    let head = world.head("u").await;
    let gone = [ids(&world).await.remove(0)];
    let mut batch = Batch::new();
    batch.remove_from_feed(head.id, &gone);
    world.core.store.apply(batch).await.unwrap();
    agrees_with_a_recount(&world).await;
    let Changes::Since { changed, removed } = world.changes("u", head.version).await else {
        panic!("one change behind");
    };
    assert!(changed.is_empty());
    assert_eq!(removed, gone.map(|id| Removal { id, tenant: Some("acme".to_owned()) }));
    assert!(matches!(world.changes("u", 99).await, Changes::TooOld), "a version from the future");
}

#[tokio::test]
async fn whoever_is_too_far_behind_starts_anew() {
    let world = world(1).await;
    world.copy("u", RESUME_LIMIT).await;
    let (head, limit) = (world.head("u").await, RESUME_LIMIT as i64);
    match world.changes("u", head.version - limit).await {
        Changes::Since { changed, removed } => assert_eq!((changed.len(), removed.len()), (RESUME_LIMIT, 0)),
        Changes::TooOld => panic!("as many as it may be behind"),
    }
    assert!(matches!(world.changes("u", head.version - limit - 1).await, Changes::TooOld), "one version more");
    world
        .core
        .mark_all(world.env, CHANNEL, "u", &Everything::default(), Mark::Seen, world.core.clock.now())
        .await
        .unwrap();
    assert!(matches!(world.changes("u", head.version).await, Changes::TooOld), "one version, with more items");
    assert!(matches!(world.changes("nobody", 0).await, Changes::Since { .. }), "nothing ever happened there");
    assert!(matches!(world.changes("nobody", 1).await, Changes::TooOld), "a version from elsewhere");
}

/// While the only thread of the blocking pool is busy, what is answered all the same was answered in place.
#[test]
fn a_page_is_read_in_place_only_where_the_counters_promise_a_short_way() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = world(1).await;
        let copies = world.copy("u", 2_499).await;
        world
            .core
            .mark_all(world.env, CHANNEL, "u", &Everything::default(), Mark::Read, world.core.clock.now())
            .await
            .unwrap();
        world.core.mark(world.env, &copies[..10], Mark::Unread, None, &Default::default()).await.unwrap();
        world.core.mark(world.env, &copies[10..20], Mark::Archived, None, &Default::default()).await.unwrap();
        let head = world.head("u").await;
        let (release, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let page = async |filter: &Filter, size| {
            let mut asked = std::pin::pin!(world.core.store.feed_page(&head, filter, None, size));
            match std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx))).await {
                std::task::Poll::Ready(page) => Some(page.unwrap().messages.len()),
                std::task::Poll::Pending => None,
            }
        };
        let of = |status, archived| Filter { status, archived, ..Filter::default() };
        assert_eq!(page(&Filter::default(), 50).await, Some(50));
        assert_eq!(page(&of(Status::Read, Archived::Include), 50).await, Some(50));
        assert_eq!(page(&of(Status::Unread, Archived::Exclude), 5).await, Some(5), "some 1,500 rows");
        assert_eq!(page(&of(Status::Unread, Archived::Exclude), 50).await, None, "they are not enough: all 2,500 rows");
        assert_eq!(page(&of(Status::All, Archived::Only), 50).await, None);
        assert_eq!(page(&of(Status::Seen, Archived::Include), 50).await, Some(0), "there are none");
        assert_eq!(page(&Filter { source: Some("greet".into()), ..Filter::default() }, 50).await, None);
        release.send(()).unwrap();
        busy.await.unwrap().unwrap();
        assert_eq!(
            world
                .core
                .store
                .feed_page(&head, &of(Status::Unread, Archived::Exclude), None, 50)
                .await
                .unwrap()
                .messages
                .len(),
            10
        );
        let empty = bellwire::model::feed::Head { active: Default::default(), ..head };
        let page = world.core.store.feed_page(&empty, &Filter::default(), None, 50).await.unwrap();
        assert!(page.messages.is_empty() && !page.has_older, "counted as empty, it is not looked for");
    });
}

/// Lists of ids come from outside: what they name elsewhere is not touched, nor what is known of it.
#[tokio::test]
async fn a_change_of_one_feed_or_environment_reaches_no_other() {
    let world = World::new(&[("greet", document(json!([tell("hello", "x")])))]).await;
    for user in ["u", "v"] {
        world.trigger("greet", json!({"recipients": [{"id": user}]})).await.unwrap();
    }
    let sandboxed = json!({"recipients": [{"id": "w"}], "settings": {"sandbox_mode": true}});
    world.trigger("greet", sandboxed).await.unwrap();
    let all = world.core.store.messages(world.env, &Default::default(), None, 10).await.unwrap();
    let of = |user: &str| all.iter().find(|item| item.recipient.id() == user).unwrap().id.clone();
    let (own, foreign, alone) = (of("u"), of("v"), of("w"));
    let every = [own.clone(), foreign.clone(), alone.clone()];
    world.core.mark(world.env, &every, Mark::Seen, None, &Default::default()).await.unwrap();
    let now = world.core.clock.now().plus_seconds(1);
    let apply = async |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        fill(&mut batch);
        world.core.store.apply(batch).await.unwrap();
    };
    let known = async |id: &str| {
        let message = world.core.store.message(world.env, id).await.unwrap();
        (message.map(|message| message.read_at.is_some()), world.core.store.message_events(id).await.unwrap().len())
    };
    let (head, other_env) = (world.head("u").await, world.env + 1);

    apply(&|batch| {
        batch.mark_in_feed(head.id, &every, Still::default(), Mark::Read, None, now);
    })
    .await;
    assert_eq!(
        [known(&own).await, known(&foreign).await, known(&alone).await],
        [(Some(true), 2), (Some(false), 1), (Some(false), 1)]
    );
    apply(&|batch| batch.mark_alone(other_env, &every, Mark::Read, None, now)).await;
    apply(&|batch| batch.remove_messages(other_env, &every)).await;
    assert_eq!(
        [known(&own).await, known(&foreign).await, known(&alone).await],
        [(Some(true), 2), (Some(false), 1), (Some(false), 1)]
    );
    apply(&|batch| batch.mark_alone(world.env, &every, Mark::Read, None, now)).await;
    assert_eq!(
        [known(&own).await, known(&foreign).await, known(&alone).await],
        [(Some(true), 2), (Some(false), 1), (Some(true), 2)]
    );
    apply(&|batch| {
        batch.remove_from_feed(head.id, &every);
    })
    .await;
    assert_eq!(
        [known(&own).await, known(&foreign).await, known(&alone).await],
        [(None, 0), (Some(false), 1), (Some(true), 2)]
    );
    apply(&|batch| batch.remove_messages(world.env, &every)).await;
    assert_eq!(
        [known(&own).await, known(&foreign).await, known(&alone).await],
        [(None, 0), (Some(false), 1), (None, 0)]
    );
}

/// Nothing was changed by either, so that nobody is told of anything; and counters are not counted twice.
#[tokio::test]
async fn a_mark_or_a_removal_that_changes_nothing_leaves_the_feed_as_it_is() {
    let world = world(2).await;
    let ids = ids(&world).await;
    world.core.mark(world.env, &ids[..1], Mark::Read, None, &Default::default()).await.unwrap();
    let before = world.head("u").await;
    world.events.lock().unwrap().clear();
    world.core.mark(world.env, &ids[1..], Mark::Unread, None, &Default::default()).await.unwrap();
    let mut batch = Batch::new();
    let number = batch.remove_from_feed(before.id, &["unknown".to_owned()]);
    assert!(world.core.store.apply(batch).await.unwrap().rows(number).is_empty());
    assert_eq!(world.head("u").await, before, "F-STA-17");
    agrees_with_a_recount(&world).await;
    assert!(world.events.lock().unwrap().is_empty(), "no news of it");
}
