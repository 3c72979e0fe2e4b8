//! How the database goes about what is asked of it most: by an index, straight to the rows.

use std::collections::BTreeSet;

use futures_util::FutureExt as _;
use serde_json::json;

use super::audiences::Slot;
use super::batches::{Cancelled, Gathering, NewActivity, OpenBatch};
use super::caps::Passing;
use super::chunks::{Acts, End, Found, Lane};
use super::collapse::Collapsing;
use super::feeds::{RESUME_LIMIT, Still};
use super::guides::{Membership, Place};
use super::jobs::{Job, Line, MOST_COUNTED};
use super::merge::Merger;
use super::messages::MessageFilter;
use super::objects::ObjectFilter;
use super::plans::Plan;
use super::retention::Kept;
use super::subscriptions::Among;
use super::{Batch, Store};
use crate::model::bulk_operation::BulkOperation;
use crate::model::cap::Counter;
use crate::model::feed::{Counts, Filter, Head, Status};
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::recipient::{Object, RecipientRef, User};
use crate::model::signal::Happened;
use crate::model::time::Time;
use crate::model::workflow::batch::Shown;
use crate::model::workflow::digest::Counting;
use crate::wire::cursor::{Cursor, Edge};

const BY_ID: &str = "sqlite_autoindex_messages_1 (id=?)";
const OF_FEED: &str = "messages_by_feed (feed=?)";
const STEP_OF_GUIDE: &str =
    "sqlite_autoindex_guide_engagements_1 (env=? AND user_id=? AND guide=? AND tenant=? AND step_ref=?)";
const MESSAGE_OF_GUIDE: &str = "guide_engagements_by_message (message=?)";
const ROW: &str = "INTEGER PRIMARY KEY (rowid=?)";

/// Every way by which the database comes to rows of its tables for what was asked since the last look.
#[track_caller]
fn ways(store: &Store) -> BTreeSet<String> {
    // The embedded database answers where it is asked.
    let asked = store.plans().now_or_never().unwrap().unwrap();
    assert!(!asked.is_empty(), "nothing was asked");
    let lines = asked.into_iter().flat_map(|Plan { lines, .. }| lines);
    let way = |line: String| match line.split_once(" USING ") {
        // A list that came as a parameter, no table at all, or rows found by another line.
        _ if line.contains("VIRTUAL TABLE")
            || line == "SCAN CONSTANT ROW"
            || ["SCAN fresh", "SCAN older", "SCAN placed"].contains(&line.as_str())
            || line.starts_with("SCAN (subquery-") =>
        {
            None
        }
        _ if line.starts_with("USE TEMP B-TREE") => Some("sorted".to_owned()),
        _ if line.starts_with("SCAN ") => Some(format!("WHOLE TABLE: {line}")),
        Some((_, way)) => Some(
            way.trim_start_matches("COVERING ").trim_start_matches("INDEX ").trim_end_matches(" LEFT-JOIN").to_owned(),
        ),
        None => None,
    };
    lines.filter_map(way).collect()
}

#[track_caller]
fn goes_by(store: &Store, what: &str, expected: &[&str]) {
    let expected: BTreeSet<String> = expected.iter().map(|way| (*way).to_owned()).collect();
    assert_eq!(ways(store), expected, "{what}");
}

/// Without a mend a mark walked its whole feed, three times over, and whoever asked for messages by their ids the whole
/// environment: SQLite takes an index on a feed or an environment for as good as one on an id.
#[tokio::test]
async fn what_is_asked_most_is_found_by_an_index() {
    let at = std::env::temp_dir().join(format!("bellwire-test-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&at).unwrap();
    let store = Store::open(&at.join("db")).unwrap();
    store.watch();
    let (ids, now) = (["a".to_owned(), "b".to_owned()], Time::default());
    let apply = async |fill: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::new();
        fill(&mut batch);
        // What is refused has been asked, too.
        let _ = store.apply(batch).await;
    };

    for mark in Mark::ALL {
        apply(&|batch| {
            batch.mark_in_feed(1, &ids, Still::default(), mark, None, now);
        })
        .await;
        goes_by(&store, mark.name(), &[BY_ID, ROW]);
        let still = Still { status: Status::Read, marked_at: Some(now) };
        apply(&|batch| {
            batch.mark_in_feed(1, &ids, still, mark, None, now);
        })
        .await;
        goes_by(&store, mark.name(), &[BY_ID, ROW]);
        apply(&|batch| batch.mark_alone(1, &ids, mark, None, now)).await;
        goes_by(&store, mark.name(), &[BY_ID]);
    }
    let events = "sqlite_autoindex_message_events_1 (message=?)";
    apply(&|batch| {
        batch.remove_from_feed(1, &ids);
    })
    .await;
    goes_by(&store, "a removal", &[BY_ID, ROW, events]);
    apply(&|batch| batch.remove_messages(1, &ids)).await;
    goes_by(&store, "a removal of messages in no feed", &[BY_ID, events]);
    store.messages_by_ids(1, &ids).await.unwrap();
    goes_by(&store, "messages by their ids", &[BY_ID, "sorted"]);

    store.feed_head(1, "c", "r").await.unwrap();
    goes_by(&store, "a feed's head", &["sqlite_autoindex_feeds_1 (env=? AND channel=? AND recipient=?)"]);
    let head = Head { id: 1, version: 9, active: Counts { total: 9, unread: 5, unseen: 5 }, ..Head::default() };
    for status in [Status::All, Status::Unread, Status::Seen] {
        let filter = Filter { status, ..Filter::default() };
        store.feed_page(&head, &filter, None, 50).await.unwrap();
        goes_by(&store, "a feed's first page", &[OF_FEED]);
        for (edge, way) in [
            (Edge::After(Cursor::Seq(5)), "messages_by_feed (feed=? AND seq<?)"),
            (Edge::Before(Cursor::Seq(5)), "messages_by_feed (feed=? AND seq>?)"),
        ] {
            store.feed_page(&head, &filter, Some(&edge), 50).await.unwrap();
            goes_by(&store, "a feed's next page", &[way]);
        }
    }
    for taken_back in [None, Some((Mark::Unread, now)), Some((Mark::Unarchived, now))] {
        store.feed_ids(1, &Filter::default(), taken_back, 5..=9, 10).await.unwrap();
        goes_by(&store, "a chunk of a feed", &["messages_by_feed (feed=? AND seq>? AND seq<?)"]);
    }
    store.changes_alone(&head, 3).await.unwrap();
    let (new, changed) = ("messages_by_feed (feed=? AND seq>?)", "messages_changed (feed=? AND version>?)");
    let removed = "sqlite_autoindex_removals_1 (feed=? AND version>?)";
    goes_by(&store, "what changed since", &[new, changed, removed, "sorted"]);

    for line in Line::ALL {
        store.claim_jobs_in(line, "lease", now, now, 64).await.unwrap();
        goes_by(&store, "a claim of jobs", &["jobs_by_due (line=? AND due_at<?)", ROW]);
        store.next_job_in(line).await.unwrap();
        goes_by(&store, "the next job", &["jobs_by_due (line=?)"]);
    }
    store.runs_to_cancel(1, "w", "k", None).await.unwrap();
    goes_by(&store, "runs to cancel", &["runs_to_cancel (env=? AND workflow=? AND cancellation_key=?)"]);
    apply(&|batch| {
        batch.cancel_runs(&ids, now);
    })
    .await;
    let waits_by_run = "sqlite_autoindex_waits_1 (run=?)";
    let (of_run, jobs) = ("batches_by_run (run=?)", "jobs_by_subject (subject=?)");
    goes_by(&store, "a cancellation", &["sqlite_autoindex_runs_1 (id=?)", jobs, waits_by_run, of_run]);
    batches(&store, &apply).await;
    let any = "waits_by_recipient (env=? AND recipient=?)";
    let waits = "waits_by_recipient (env=? AND recipient=? AND topic=?)";
    apply(&|batch| {
        batch.signal_marks(
            (1, "r", 1),
            &ids,
            Still { marked_at: Some(now), ..Still::default() },
            Mark::Read,
            None,
            now,
        );
    })
    .await;
    goes_by(&store, "who waits for a mark", &[any, waits, BY_ID]);
    apply(&|batch| {
        batch.signal_marks_alone(1, &ids, Mark::Read, None, now);
    })
    .await;
    goes_by(
        &store,
        "who waits for a mark in no feed",
        &[BY_ID, "waits_by_recipient (env=?)", "waits_by_recipient (env=? AND recipient=? AND topic=? AND source=?)"],
    );
    let happened = Happened {
        recipient: "r",
        workflow: "w",
        run: None,
        has_begun: true,
        is_over: true,
        messages: &ids,
        are_new: true,
        at: now,
    };
    apply(&|batch| {
        batch.signal_happened(1, &happened);
    })
    .await;
    goes_by(&store, "who waits for a run", &[any, BY_ID]);
    for (reference, way) in [
        (RecipientRef::User("u".to_owned()), "sqlite_autoindex_users_1 (env=? AND id=?)"),
        (RecipientRef::from_key("#c#o"), "sqlite_autoindex_objects_1 (env=? AND collection=? AND id=?)"),
    ] {
        apply(&|batch| {
            batch.signal_update(1, &reference, now);
        })
        .await;
        goes_by(&store, "who waits for an update", &[any, waits, way]);
    }
    apply(&|batch| {
        batch.end_wait(uuid::Uuid::nil());
        batch.cancel_wake_up("run", uuid::Uuid::nil());
    })
    .await;
    goes_by(&store, "the end of a wait", &[waits_by_run, "jobs_by_subject (subject=?)"]);
    store.signals(uuid::Uuid::nil()).await.unwrap();
    goes_by(&store, "the signals of a run", &["jobs_by_subject (subject=?)"]);
    let claimed = [Job {
        id: 1,
        kind: String::new(),
        subject: String::new(),
        attempts: 0,
        lease: "l".to_owned(),
        progress: None,
    }];
    apply(&|batch| batch.hand_back(&claimed, now)).await;
    goes_by(&store, "jobs that are handed back", &[ROW]);
    let user = User { id: "u".to_owned(), properties: Default::default(), inserted_at: now, updated_at: now };
    let (collection, id) = ("teams".to_owned(), "t".to_owned());
    let object = Object { collection, id, properties: Default::default(), inserted_at: now, updated_at: now };
    apply(&|batch| batch.require_recipients(1, std::iter::once(&user), std::iter::once(&object))).await;
    let users = "sqlite_autoindex_users_1 (env=? AND id=?)";
    let objects = "objects_by_time (env=? AND collection=? AND inserted_at=? AND id=?)";
    goes_by(&store, "whether recipients are there", &[users, objects]);

    let (end, filter) =
        (End { n: 9, at: 9 }, MessageFilter { channel: Some("c".to_owned()), ..MessageFilter::default() });
    for (lane, way) in [
        (Lane::All(1), "INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        (Lane::Feed(1), "messages_by_feed (feed=? AND seq>?)"),
        (Lane::Alone(1, "r"), "messages_alone (env=? AND recipient=? AND n>? AND n<?)"),
    ] {
        store.chunk(lane, &filter, 5, end, 10).await.unwrap();
        goes_by(&store, "a chunk of a bulk operation", &[way]);
    }
    store.number_after(5).await.unwrap();
    goes_by(&store, "the next window of it", &["INTEGER PRIMARY KEY (rowid>?)"]);
    store.newest(1).await.unwrap();
    goes_by(&store, "its end", &["messages_by_time (env=?)"]);
    let found = Found {
        place: 1,
        id: "a".to_owned(),
        version: 1,
        feed: None,
        channel: "c".to_owned(),
        recipient: "r".to_owned(),
        tenant: None,
        workflow: "w".to_owned(),
    };
    apply(&|batch| batch.advance_bulk_operation(&operation(), std::slice::from_ref(&found))).await;
    goes_by(&store, "a bulk operation's progress", &["sqlite_autoindex_bulk_operations_1 (id=?)", BY_ID]);
    store.chunk(Lane::Acted(1, "u"), &MessageFilter::default(), 5, end, 10).await.unwrap();
    goes_by(
        &store,
        "a chunk of what somebody acted in",
        &["messages_by_actor (env=? AND actor=? AND rowid>? AND rowid<?)"],
    );
    apply(&|batch| {
        batch.show_actors_in_feed(1, &ids, "[]", now);
        batch.show_actors_alone(1, &ids, "[]", now);
    })
    .await;
    goes_by(&store, "other actors", &[BY_ID, ROW]);
    let (of_user, alone) = ("(env=? AND recipient=?)", "messages_alone (env=? AND recipient=?)");
    let preferences = format!("sqlite_autoindex_preference_sets_1 {of_user}");
    let channel_data = format!("sqlite_autoindex_channel_data_1 {of_user}");
    let (runs, feeds) = (format!("runs_by_recipient {of_user}"), format!("feeds_by_recipient {of_user}"));
    let theirs = [
        preferences.as_str(),
        &channel_data,
        &runs,
        &feeds,
        jobs,
        of_run,
        "batches_open (env=? AND recipient=?)",
        "sqlite_autoindex_batches_1 (id=?)",
        "sqlite_autoindex_batch_activities_1 (batch=?)",
        OF_FEED,
        alone,
        events,
        "sqlite_autoindex_removals_1 (feed=?)",
        "sqlite_autoindex_run_once_1 (env=? AND recipient=?)",
        "sqlite_autoindex_throttles_1 (env=? AND recipient=?)",
        "sqlite_autoindex_cap_counts_1 (env=? AND recipient=?)",
        "waits_by_recipient (env=? AND recipient=?)",
        "schedules_by_recipient (env=? AND recipient=?)",
        "subscriptions_of_recipient (env=? AND recipient=?)",
        "messages_by_actor (env=? AND actor=?)",
        "batch_activities_by_actor (env=? AND actor=?)",
        "messages_by_time (env=?)",
    ];
    let red = RecipientRef::Object { collection: "teams".to_owned(), id: "red".to_owned() };
    for (whom, own) in [
        (
            RecipientRef::User("u".to_owned()),
            [
                "sqlite_autoindex_users_1 (env=? AND id=?)",
                "audience_members_by_user (env=? AND user_id=?)",
                "sqlite_autoindex_last_seen_1 (env=? AND user_id=?)",
                "sqlite_autoindex_guide_engagements_1 (env=? AND user_id=?)",
                "sqlite_autoindex_guide_members_1 (env=? AND user_id=?)",
            ]
            .as_slice(),
        ),
        (
            red,
            &[
                "sqlite_autoindex_objects_1 (env=? AND collection=? AND id=?)",
                "subscriptions_of_object (env=? AND object=?)",
            ],
        ),
    ] {
        apply(&|batch| {
            batch.delete_recipient(1, &whom);
            batch.add_job_for_actor(("forget", "1/u"), &json!({"env": 1}), (1, &whom.key()), "2/u", now);
        })
        .await;
        goes_by(&store, &format!("the deletion of {whom}"), &[&theirs, own].concat());
    }
    let merger = Merger { env: 1, from: "u", into: "v", since: now, now };
    apply(&|batch| {
        batch.take_users(1, "u", "v");
    })
    .await;
    goes_by(&store, "who is taken", &["sqlite_autoindex_users_1 (env=? AND id=?)", &feeds, "sorted"]);
    apply(&|batch| {
        batch.hand_over(&merger);
    })
    .await;
    goes_by(
        &store,
        "what becomes another's",
        &[
            "feeds_by_recipient (env=? AND recipient=?)",
            "sqlite_autoindex_feeds_1 (env=? AND channel=? AND recipient=?)",
            "messages_by_feed (feed=?)",
            "messages_by_feed (feed=? AND seq>?)",
            alone,
            "sqlite_autoindex_batches_1 (id=?)",
            &runs,
            &preferences,
            &channel_data,
            "schedules_by_recipient (env=? AND recipient=?)",
            "subscriptions_of_recipient (env=? AND recipient=?)",
            "sqlite_autoindex_subscriptions_1 (env=? AND object=? AND recipient=?)",
            "audience_members_by_user (env=? AND user_id=?)",
            "sqlite_autoindex_audiences_1 (env=? AND key=?)",
            "sqlite_autoindex_last_seen_1 (env=? AND user_id=?)",
            "sqlite_autoindex_run_once_1 (env=? AND recipient=?)",
            "sqlite_autoindex_throttles_1 (env=? AND recipient=?)",
            "sqlite_autoindex_cap_counts_1 (env=? AND recipient=?)",
            "runs_by_actor (env=? AND actor=?)",
            "batch_activities_by_actor (env=? AND actor=?)",
            "schedules_by_actor (env=? AND actor=?)",
            "sqlite_autoindex_guide_engagements_1 (env=? AND user_id=?)",
            "sqlite_autoindex_guide_members_1 (env=? AND user_id=?)",
            STEP_OF_GUIDE,
            BY_ID,
            ROW,
            "sorted",
        ],
    );
    let at_one = Edge::After(Cursor::At(now, "a".to_owned()));
    for (filter, way) in [
        (ObjectFilter::default(), "objects_by_time (env=? AND collection=? AND (inserted_at,id)<(?,?))"),
        (
            ObjectFilter { name: Some("a".to_owned()), ..ObjectFilter::default() },
            "tenants_by_name (env=? AND tenant_name=? AND (inserted_at,id)<(?,?))",
        ),
        (
            ObjectFilter { id: Some("a".to_owned()), ..ObjectFilter::default() },
            "sqlite_autoindex_objects_1 (env=? AND collection=? AND id=?)",
        ),
    ] {
        store.objects(1, "$tenants", &filter, Some(&at_one), 10).await.unwrap();
        goes_by(&store, "a page of objects", &[way]);
    }
    for (among, way) in [
        (Among::All, "subscriptions_of_object (env=? AND object=? AND n>? AND n<?)"),
        (Among::Objects, "subscriptions_nested (env=? AND object=? AND n>? AND n<?)"),
    ] {
        store.followers(1, "#teams#a", among, (5, 9), 10).await.unwrap();
        goes_by(&store, "the next followers of an object", &[way]);
    }
    store.runs_that_are(&ids).await.unwrap();
    goes_by(&store, "which runs there are", &["sqlite_autoindex_runs_1 (id=?)"]);
    store.cancelled_in_fan_out("f", &["a"]).await.unwrap();
    goes_by(
        &store,
        "who is left out of a fan-out",
        &["sqlite_autoindex_fan_out_cancelled_1 (fan_out=? AND recipient=?)"],
    );
    apply(&|batch| {
        batch.cancel_fan_outs(1, "w", "k", Some(&ids));
        batch.require_subscriptions(&[1, 2]);
    })
    .await;
    let to_cancel = "fan_outs_to_cancel (env=? AND workflow=? AND cancellation_key=?)";
    goes_by(&store, "a cancellation of fan-outs, and who still follows", &[to_cancel, ROW]);
    let collapsing =
        Collapsing { channel: "c".to_owned(), recipient: "r".to_owned(), tenant: None, key: "k".to_owned() };
    store.standing(1, &collapsing).await.unwrap();
    let standing =
        "messages_by_collapse_key (env=? AND collapse_key=? AND recipient=? AND archived_at=? AND read_at=?)";
    goes_by(&store, "the item whose place another takes", &[standing, "sorted"]);
    store.telling(1, ("w", "k"), true, Some(&ids), "", 10).await.unwrap();
    let of_key = "runs_to_revoke (env=? AND workflow=? AND cancellation_key=? AND id>?)";
    goes_by(&store, "what runs with a key have told", &[of_key]);
    store.telling(1, ("w", "k"), false, None, "", 10).await.unwrap();
    let unfinished = "runs_to_cancel (env=? AND workflow=? AND cancellation_key=?)";
    goes_by(&store, "what runs with a key tell", &[unfinished, "sorted"]);
    store.collapsed(1, "k", None, 10).await.unwrap();
    goes_by(&store, "what has a collapse key", &["messages_by_collapse_key (env=? AND collapse_key=?)"]);
    let told = [message()];
    apply(&|batch| {
        batch.require_teller(&told[0]);
        batch.revoke_in_feed(1, &told, now);
        batch.revoke_alone(&told[0], now);
    })
    .await;
    goes_by(&store, "a revocation", &[BY_ID, ROW, "sqlite_autoindex_runs_1 (id=?)"]);
    store.places_taken(1, ids.iter()).await.unwrap();
    goes_by(&store, "in whose place messages are", &[events, BY_ID, "sorted"]);
    retention(&store, &apply).await;
    audiences(&store, &apply).await;
    guides(&store, &apply).await;
    store.last_seen(1, &["a", "b"]).await.unwrap();
    goes_by(&store, "when users were seen", &["sqlite_autoindex_last_seen_1 (env=? AND user_id=?)"]);
    apply(&|batch| batch.note_seen(&[(1, "a", now)])).await;
    goes_by(&store, "that they were", &["sqlite_autoindex_users_1 (env=? AND id=?)", "sorted"]);
    let named = MessageFilter { ids: Some(ids.to_vec()), ..MessageFilter::default() };
    store.messages(1, &named, None, 50).await.unwrap();
    goes_by(&store, "a list of messages that are named", &[BY_ID, "sorted"]);
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}

/// Items stay in their feeds for ever, and so does what they tell of: what is forgotten is not looked for among them.
async fn retention(store: &Store, apply: &impl AsyncFn(&dyn Fn(&mut Batch))) {
    let (until, from) = (Time::from_micros(9), (Time::default(), "a".to_owned()));
    let (run, jobs) = ("sqlite_autoindex_runs_1 (id=?)", "jobs_by_subject (subject=?)");
    let (of_batch, of_run) = ("messages_by_batch (batch=?)", "batches_by_run (run=?)");
    let (batch, activities) = ("sqlite_autoindex_batches_1 (id=?)", "sqlite_autoindex_batch_activities_1 (batch=?)");
    let behind = "(env=? AND (inserted_at,id)>(?,?) AND inserted_at<?)";
    store.expired(Kept::Runs, 1, until, &from, 10).await.unwrap();
    goes_by(store, "old runs", &[&format!("runs_by_time {behind}"), jobs, "batches_open (env=?)", activities]);
    store.expired(Kept::Messages, 1, until, &from, 10).await.unwrap();
    goes_by(store, "old messages", &[&format!("messages_alone_by_time {behind}"), jobs, MESSAGE_OF_GUIDE]);
    store.expired(Kept::Batches, 1, until, &from, 10).await.unwrap();
    goes_by(store, "old batches", &["sqlite_autoindex_batches_1 (id>? AND id<?)", run, of_batch]);
    apply(&|batch| batch.forget_expired(Kept::Runs, &["a"], until)).await;
    goes_by(store, "runs that are forgotten", &[run, jobs, of_run, of_batch, batch, activities]);
    apply(&|batch| batch.forget_expired(Kept::Messages, &["a"], until)).await;
    goes_by(
        store,
        "messages that are",
        &[BY_ID, jobs, MESSAGE_OF_GUIDE, "sqlite_autoindex_message_events_1 (message=?)"],
    );
    apply(&|batch| batch.forget_expired(Kept::Batches, &["a"], until)).await;
    goes_by(store, "batches that are", &[batch, activities, run, of_batch]);
}

/// Whoever opens a page asks for guides.
async fn guides(store: &Store, apply: &impl AsyncFn(&dyn Fn(&mut Batch))) {
    let now = Time::default();
    let place = Place { env: 1, user: "u", guide: "g", tenant: "", step: "s" };
    store.guide_declarations(1).await.unwrap();
    goes_by(store, "what is declared", &["sqlite_autoindex_guides_1 (env=?)"]);
    store.guide_memberships(1, "u").await.unwrap();
    goes_by(store, "to which they were brought", &["sqlite_autoindex_guide_members_1 (env=? AND user_id=?)"]);
    let brought = Membership { guide: "g".to_owned(), tenant: None };
    apply(&|batch| {
        batch.add_guide_member(1, "u", &brought, now);
        batch.target_guide(1, "g");
    })
    .await;
    goes_by(store, "who is brought to one", &["sqlite_autoindex_guides_1 (env=? AND key=?)"]);
    store.guide_engagements(1, "u", "t").await.unwrap();
    store.guide_dismissed_at(1, "u").await.unwrap();
    goes_by(store, "what a user has done", &["sqlite_autoindex_guide_engagements_1 (env=? AND user_id=?)", BY_ID]);
    store.memberships(1, "u").await.unwrap();
    let members = "audience_members_by_user (env=? AND user_id=?)";
    goes_by(store, "where they are members", &[members, "sqlite_autoindex_audiences_1 (env=? AND key=?)"]);
    store.guide_message(place).await.unwrap();
    goes_by(store, "the message of a step", &[STEP_OF_GUIDE, BY_ID]);
    apply(&|batch| {
        batch.require_engagement(place, "m");
        batch.archive_engagement(place, Some(now), true);
    })
    .await;
    goes_by(store, "what is done with a step", &[STEP_OF_GUIDE]);
    store.guide_messages(place).await.unwrap();
    apply(&|batch| {
        batch.unarchive_engagements(place);
        batch.reset_engagements(place);
    })
    .await;
    let of_guide = "sqlite_autoindex_guide_engagements_1 (env=? AND user_id=? AND guide=? AND tenant=?)";
    goes_by(store, "what is undone", &[of_guide, BY_ID]);
    apply(&|batch| batch.begin_engagement(place, "m")).await;
    apply(&|batch| {
        batch.show_in_guide("m", "{}", "{}");
        batch.note_interaction("m", "{}");
    })
    .await;
    goes_by(store, "what is told of it", &[BY_ID]);
}

fn message() -> Message {
    let text = String::new;
    Message {
        feed: Some(1),
        seq: 1,
        version: 1,
        run: "r".to_owned(),
        status: text(),
        ..Message::new("m".to_owned(), 1, text(), RecipientRef::User("u".to_owned()), Time::default())
    }
}

/// An audience may have millions of members, and a user be one of many.
async fn audiences(store: &Store, apply: &impl AsyncFn(&dyn Fn(&mut Batch))) {
    let now = Time::default();
    let slot = Slot { audience: "a".to_owned(), user: "u".to_owned(), tenant: None };
    let (member, members) = (
        "sqlite_autoindex_audience_members_1 (env=? AND audience=? AND slot=?)",
        "audience_members_by_time (env=? AND audience=?)",
    );
    let audience = "sqlite_autoindex_audiences_1 (env=? AND key=?)";
    store.members_among(1, std::slice::from_ref(&slot)).await.unwrap();
    goes_by(store, "who is a member", &[member, audience]);
    store.audience_members(1, "a", None, 50).await.unwrap();
    goes_by(store, "the first page of members", &[members]);
    let page = Edge::After(Cursor::At(now, slot.key()));
    store.audience_members(1, "a", Some(&page), 50).await.unwrap();
    goes_by(store, "the next", &["audience_members_by_time (env=? AND audience=? AND (added_at,slot)<(?,?))"]);
    let slots = [(slot.key(), slot.user.clone())].into();
    apply(&|batch| {
        batch.ensure_audience(1, "a", false, now);
        batch.add_members((1, "a"), &slots, vec![serde_json::json!(["u#", "join", "s", "{}"])], uuid::Uuid::nil(), now);
    })
    .await;
    goes_by(store, "new members", &[member, audience]);
    apply(&|batch| batch.remove_members(1, "a", &[slot.key()])).await;
    goes_by(store, "members who leave", &[member]);
    let user = User { id: "u".to_owned(), properties: Default::default(), inserted_at: now, updated_at: now };
    apply(&|batch| batch.sort_members(1, &[("a", &user, true), ("b", &user, false)], now)).await;
    goes_by(store, "whoever changes", &[member, "sqlite_autoindex_users_1 (env=? AND id=?)"]);
    store.users_after(1, "a", 10).await.unwrap();
    goes_by(store, "the next users", &["sqlite_autoindex_users_1 (env=? AND id>?)"]);
}

/// What comes together at batch steps: thousands may come to one batch, and to thousands of them.
async fn batches(store: &Store, apply: &impl AsyncFn(&dyn Fn(&mut Batch))) {
    let of = |text: &str| text.to_owned();
    let gathering = Gathering { recipient: of("r"), workflow: of("w"), identity: of("step:b"), key: String::new() };
    let now = Time::default();
    let batch = OpenBatch { id: of("b"), is_carried: true, closes_at: now, cap_at: now, items_max: Some(2) };
    let (run, data) = (of("run"), "{}".into());
    let (env, cancellation_key, actor) = (1, None, None);
    let told = None;
    let activity =
        NewActivity { env, batch: of("b"), workflow: of("w"), run, cancellation_key, actor, data, told, now };
    let (open, by_id) = (
        "batches_open (env=? AND recipient=? AND workflow=? AND identity=? AND key=?)",
        "sqlite_autoindex_batches_1 (id=?)",
    );
    let (all, one) =
        ("sqlite_autoindex_batch_activities_1 (batch=?)", "sqlite_autoindex_batch_activities_1 (batch=? AND id=?)");
    store.open_batch(1, &gathering).await.unwrap();
    goes_by(store, "an open batch", &[open]);
    apply(&|write| write.open_batch(1, &gathering, &batch, Some(&activity), now)).await;
    goes_by(store, "a new batch", &[open]);
    apply(&|write| write.join_batch(&activity, false, None)).await;
    goes_by(store, "one more", &[by_id, "jobs_by_subject (subject=?)"]);
    let shown = Shown { limit: 10, are_newest: true };
    store.gathered("b", shown, Counting::All).await.unwrap();
    goes_by(store, "what has come together", &[by_id, all, "sorted"]);
    store.gathered("b", shown, Counting::Unread).await.unwrap();
    let of_message = "sqlite_autoindex_messages_1 (id=?)";
    let events = "sqlite_autoindex_message_events_1 (message=?)";
    goes_by(store, "what of it counts", &[by_id, all, events, of_message, "sorted"]);
    store.open_digests(1, &[of("r")]).await.unwrap();
    goes_by(store, "digests of somebody", &["batches_open (env=? AND recipient=?)", "sorted"]);
    apply(&|write| write.replan_digests(&[of("b")], now)).await;
    goes_by(store, "digests that are planned anew", &[by_id, "jobs_by_subject (subject=?)"]);
    apply(&|write| write.leave_out("b", &[of("a")])).await;
    goes_by(store, "what is left out", &[by_id, one]);
    let counter = Counter { cap: of("c"), recipient: of("r"), tenant: String::new() };
    store.passed(1, &counter).await.unwrap();
    let by_counter = "sqlite_autoindex_cap_counts_1 (env=? AND recipient=? AND cap=? AND tenant=?)";
    goes_by(store, "what a cap has let pass", &[by_counter]);
    let passing = Passing { counter: &counter, at: now, over: None, limit: 2, until: now };
    apply(&|write| write.pass_cap(1, &passing)).await;
    apply(&|write| write.pass_cap(1, &passing)).await;
    goes_by(store, "one more, which the key itself finds", &[]);
    apply(&|write| write.forget_caps(now)).await;
    goes_by(store, "what counts no more", &["cap_counts_by_end (until<?)"]);
    let page = Edge::After(Cursor::At(now, of("x")));
    store.batch_activities("b", &Default::default(), Some(&page), 10).await.unwrap();
    goes_by(store, "a page of it", &["sqlite_autoindex_batch_activities_1 ((batch,id)>(?,?) AND (batch,id)<(?,?))"]);
    apply(&|write| {
        write.require_batch("b", 0);
        write.close_batch("b", 0);
        write.give_up_batch("b");
    })
    .await;
    goes_by(store, "its end", &[by_id]);
    store.activities_to_cancel(1, "w", "k", None, now).await.unwrap();
    let by_key = "batch_activities_to_cancel (env=? AND workflow=? AND cancellation_key=?)";
    goes_by(store, "what may be taken out", &[by_id, by_key, "sorted"]);
    let out = Cancelled { batch: of("b"), id: of("a"), run: of("run") };
    apply(&|write| {
        write.cancel_activity(&out, now);
    })
    .await;
    goes_by(store, "what is taken out", &[by_id, one, "sqlite_autoindex_runs_1 (id=?)"]);
    let acts = Acts { env: 1, actor: "u", other: Some("v"), since: now };
    store.shared_chunk(acts, 5, End { n: 9, at: 9 }, 10).await.unwrap();
    let (of_actor, of_batch) = ("batch_activities_by_actor (env=? AND actor=?)", "messages_by_batch (batch=?)");
    let brought = "sqlite_autoindex_batch_activities_1 (batch=?)";
    goes_by(store, "what somebody has come to with others", &[of_actor, of_batch, brought, "sorted"]);
    store.brought(acts, 10).await.unwrap();
    goes_by(store, "what somebody has brought", &[of_actor, "sorted"]);
    apply(&|write| write.hand_over_activities(&[(of("b"), of("a"))], "v")).await;
    goes_by(store, "what another has brought", &[one]);
    apply(&|write| write.forget_batches(now)).await;
    goes_by(store, "what nothing came to", &["batches_unclaimed (closes_at<?)"]);
}

fn operation() -> BulkOperation {
    BulkOperation {
        id: uuid::Uuid::nil(),
        env: 1,
        name: "messages.read".to_owned(),
        status: "processing".to_owned(),
        estimated_total_rows: 0,
        processed_rows: 0,
        success_count: 0,
        error_count: 0,
        error_items: serde_json::json!([]),
        inserted_at: Time::default(),
        updated_at: Time::default(),
        started_at: None,
        completed_at: None,
        failed_at: None,
    }
}

/// Figures are asked for every few seconds, and went through every timer each time.
#[tokio::test]
async fn a_million_timers_are_not_counted_whenever_figures_are_asked_for() {
    let directory = std::env::temp_dir().join(format!("bellwire-jobs-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = Store::open(&directory.join("db")).unwrap();
    let mut batch = Batch::new();
    batch.push(
        "INSERT INTO jobs (kind, subject, due_at) WITH RECURSIVE timers(n) AS \
         (SELECT 1 UNION ALL SELECT n + 1 FROM timers WHERE n <= ?1) SELECT 'run', n, n FROM timers",
        crate::params![MOST_COUNTED],
    );
    store.apply(batch).await.unwrap();
    let counted = i64::try_from(MOST_COUNTED).unwrap();
    assert_eq!(store.job_backlog().await.unwrap(), (counted, Some(Time::from_micros(1))));
    std::fs::remove_dir_all(directory).unwrap();
}

/// They were kept for ever.
#[tokio::test]
async fn removals_are_kept_for_those_who_resume_and_no_longer() {
    let directory = std::env::temp_dir().join(format!("bellwire-removals-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    let store = Store::open(&directory.join("db")).unwrap();
    let mut batch = Batch::new();
    batch.push(
        "INSERT INTO feeds (id, env, channel, recipient, version, last_at, total, unread, unseen, archived, archived_unread, \
         archived_unseen) VALUES (1, 1, 'c', 'ann', ?1 + 7, 0, 0, 0, 0, 0, 0, 0), (2, 1, 'c', 'bob', 7, 0, 0, 0, 0, 0, 0, 0)",
        crate::params![2 * RESUME_LIMIT],
    );
    batch.push(
        "INSERT INTO removals (feed, version, message) VALUES (1, 6, 'a'), (1, 7, 'b'), (1, 8, 'c'), (2, 7, 'd')",
        Vec::new(),
    );
    batch.forget_removals();
    store.apply(batch).await.unwrap();
    let left = store.scan("SELECT message FROM removals ORDER BY message", Vec::new(), |row| row.string(0)).await;
    assert_eq!(left.unwrap(), ["c", "d"]);
    std::fs::remove_dir_all(directory).unwrap();
}
