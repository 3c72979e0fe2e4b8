//! Two users who turn out to be one.

use bellwire::bus::News;
use bellwire::engine::work::work;
use bellwire::model::cap::{Cap, Caps};
use bellwire::model::mark::Mark;
use bellwire::model::message::Message;
use bellwire::model::recipient::User;
use bellwire::store::Batch;
use bellwire::store::feeds::Changes;
use bellwire::store::runs::RunFilter;
use bellwire::verbs::identify::Profile;
use bellwire::verbs::{Core, Error};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::world::{CHANNEL, START, World, document, record, tell, wait};

const DAY: i64 = 86_400;

fn workflows() -> Vec<(&'static str, Value)> {
    let gather = json!({"type": "batch", "ref": "gather", "settings": {"batch_window": {"unit": "hours", "value": 1}}});
    vec![
        ("greet", document(json!([tell("hello", "{{ data.n }}")]))),
        ("later", document(json!([wait("pause", "hours", 1), tell("hello", "later {{ data.n }}")]))),
        ("digest", document(json!([gather, tell("hello", "{{ total_activities }}")]))),
    ]
}

async fn world() -> World {
    let world = World::new(&workflows()).await;
    identify(&world, "ann", json!({"name": "Ann"})).await;
    identify(&world, "guest", json!({"name": "Guest"})).await;
    world
}

async fn identify(world: &World, id: &str, properties: Value) -> User {
    let properties = properties.as_object().unwrap().clone();
    let profile = Profile { properties, ..Profile::default() };
    world.core.identify_user(world.env, id, &profile).await.unwrap()
}

async fn merge(world: &World) -> User {
    world.core.merge_users(world.env, "ann", "guest").await.unwrap()
}

async fn told(world: &World, user: &str, n: i64) {
    world.trigger("greet", json!({"recipients": [user], "data": {"n": n}})).await.unwrap();
}

/// The numbers that a user's items tell of, newest first.
async fn numbers(world: &World, user: &str) -> Vec<i64> {
    let number = |message: &Message| serde_json::from_str::<Value>(&message.data).unwrap()["n"].as_i64().unwrap();
    world.feed(user).await.iter().map(number).collect()
}

/// The feed's counters are what a count finds, its items stand in the order of time, and none is ahead of it.
async fn audit(world: &World, user: &str) {
    let head = world.head(user).await;
    assert_eq!(world.core.store.recount(head.id).await.unwrap(), (head.active, head.archived), "{user}");
    let feed = world.feed(user).await;
    assert!(feed.is_sorted_by(|one, next| one.seq > next.seq && one.inserted_at > next.inserted_at), "{user}");
    assert!(feed.iter().all(|item| item.version >= item.seq && item.version <= head.version), "{user}");
    assert!(feed.iter().all(|item| item.recipient.id() == user && item.feed == Some(head.id)), "{user}");
}

fn actors(message: &Message) -> Vec<(String, Value)> {
    let actors: Vec<Value> = serde_json::from_str(&message.actors).unwrap();
    actors.iter().map(|actor| (actor["__typename"].as_str().unwrap().to_owned(), actor["id"].clone())).collect()
}

fn user(id: &str) -> (String, Value) {
    ("User".to_owned(), json!(id))
}

fn missing(id: &str) -> (String, Value) {
    ("MissingUser".to_owned(), json!(id))
}

#[tokio::test]
async fn what_both_were_told_stands_in_one_feed_in_the_order_of_time() {
    let world = world().await;
    told(&world, "guest", 0).await;
    world.core.clock.advance_seconds(31 * DAY);
    for n in 1..=6 {
        told(&world, if n % 2 == 0 { "guest" } else { "ann" }, n).await;
    }
    let before = [world.feed("ann").await, world.feed("guest").await].concat();
    let id = |n: i64| before.iter().find(|item| item.data.contains(&format!("\"n\":{n}"))).unwrap().id.clone();
    let mark = async |n: i64, mark: Mark| {
        world.core.mark(world.env, &[id(n)], mark, None, &Default::default()).await.unwrap();
    };
    mark(2, Mark::Read).await;
    mark(3, Mark::Seen).await;
    mark(4, Mark::Archived).await;
    let (of_ann, of_guest) = (world.head("ann").await, world.head("guest").await);
    world.events.lock().unwrap().clear();
    world.core.clock.advance_seconds(60);
    merge(&world).await;

    assert_eq!(numbers(&world, "ann").await, [6, 5, 4, 3, 2, 1], "F-USR-15: those of the last 30 days");
    assert_eq!(numbers(&world, "guest").await, [0; 0], "F-USR-14: nothing is left with who is gone");
    assert!(world.core.store.message(world.env, &id(0)).await.unwrap().is_none(), "F-USR-15: what is older goes");
    audit(&world, "ann").await;
    audit(&world, "guest").await;
    let head = world.head("ann").await;
    assert_eq!((head.active.total, head.active.unread, head.active.unseen, head.archived.total), (5, 4, 4, 1));
    for item in world.feed("ann").await {
        let old = before.iter().find(|old| old.id == item.id).unwrap();
        assert_eq!((item.inserted_at, &item.blocks, &item.run), (old.inserted_at, &old.blocks, &old.run));
        let is_marked = item.seen_at.or(item.read_at).or(item.archived_at).is_some();
        let is_as_it_was = item.updated_at == old.updated_at;
        assert!(is_marked || is_as_it_was == (old.recipient.id() == "ann"), "what stays where it was is as it was");
    }
    let events = world.core.store.message_events(&id(2)).await.unwrap();
    assert_eq!(events.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["message.read"], "F-USR-15");

    // Bells that are open hear of it, and begin anew: what they know stands elsewhere.
    let mut heard: Vec<(String, i64)> = Vec::new();
    for event in world.events.lock().unwrap().iter() {
        assert!(matches!(event.news, News::Changed) && event.channel == CHANNEL);
        heard.push((event.recipient.clone(), event.head.version));
    }
    assert_eq!(heard, [("ann".to_owned(), head.version), ("guest".to_owned(), world.head("guest").await.version)]);
    assert!(head.version > of_ann.version && world.head("guest").await.version > of_guest.version);
    assert!(matches!(world.changes("ann", of_ann.version).await, Changes::TooOld));
    assert!(matches!(world.changes("guest", of_guest.version).await, Changes::TooOld));

    // It goes on as one feed.
    told(&world, "ann", 7).await;
    assert_eq!(numbers(&world, "ann").await, [7, 6, 5, 4, 3, 2, 1]);
    let Changes::Since { changed, removed } = world.changes("ann", head.version).await else { panic!("one behind") };
    assert_eq!((changed.len(), removed.len()), (1, 0));
    audit(&world, "ann").await;
}

/// Thirty days, no more and no less. What is told next comes behind all that came, though a clock has been set back.
#[tokio::test]
async fn what_is_younger_than_thirty_days_goes_along_and_what_comes_next_is_the_newest() {
    let world = world().await;
    told(&world, "guest", 0).await;
    world.core.clock.advance_seconds(2 * DAY);
    told(&world, "guest", 1).await;
    world.core.clock.advance_seconds(29 * DAY);
    told(&world, "ann", 2).await;
    for n in 3..6 {
        told(&world, "guest", n).await;
    }
    merge(&world).await;
    world.core.clock.advance_seconds(-60);
    told(&world, "ann", 6).await;
    assert_eq!(numbers(&world, "ann").await, [6, 5, 4, 3, 2, 1], "F-USR-15");
    audit(&world, "ann").await;
}

/// Whose items are all too old brings no feed.
#[tokio::test]
async fn nothing_that_goes_along_makes_no_feed() {
    let world = world().await;
    told(&world, "guest", 0).await;
    world.core.clock.advance_seconds(31 * DAY);
    merge(&world).await;
    assert_eq!(world.head("ann").await.id, 0, "F-USR-15");
}

/// A window in which one of them was told at its beginning is over: the other's next begins another.
#[tokio::test]
async fn nothing_more_gathers_where_one_of_them_was_told() {
    let settings = json!({"batch_window": {"unit": "hours", "value": 1}, "batch_execution_mode": "flush_leading"});
    let gather = json!({"type": "batch", "ref": "gather", "settings": settings});
    let world = World::new(&[("digest", document(json!([gather, tell("hello", "{{ data.n }}")])))]).await;
    for (n, whom) in ["guest", "ann"].into_iter().enumerate() {
        identify(&world, "ann", json!({})).await;
        world.trigger("digest", json!({"recipients": [{"id": whom}], "data": {"n": n}})).await.unwrap();
        if whom == "guest" {
            merge(&world).await;
        }
    }
    assert_eq!(world.told("ann").await, ["<p>0</p>", "<p>1</p>"], "F-USR-15: each at once");
}

/// What is planned for one of them at the same time is planned for who stays, on their clock.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_planned_at_the_same_time_follows_the_zone() {
    let world = world().await;
    identify(&world, "guest", json!({"timezone": "America/New_York"})).await;
    identify(&world, "ann", json!({"timezone": "Europe/Berlin"})).await;
    let other = world.other_node().await;
    let repeats = json!([{"frequency": "daily", "hours": 9}]);
    let body = json!({"workflow": "greet", "recipients": ["guest"], "repeats": repeats});
    let planned = other.create_schedules(world.env, body.as_object().unwrap().clone());
    let (made, merged) = world.at_once(planned, world.core.merge_users(world.env, "ann", "guest")).await;
    merged.unwrap();
    let schedule = world.core.store.schedule(made.unwrap()[0]["id"].as_str().unwrap()).await.unwrap().unwrap();
    assert_eq!(schedule.recipient.id(), "ann", "F-USR-15");
    assert_eq!(schedule.next_occurrence_at.unwrap().to_string(), "2026-09-22T07:00:00.000000Z", "F-USR-15");
}

/// What has been counted is kept for as long as it counts, whoever was told first.
#[tokio::test]
async fn what_counts_longer_is_kept_as_long() {
    let cap = json!({"name": "Calm", "limit": 1, "per": {"unit": "days", "value": 7}, "workflows": ["greet"]});
    for order in [["ann", "guest"], ["guest", "ann"]] {
        let world = world().await;
        world.core.catalog.replace_caps(Caps::new(vec![Cap::parse("calm", &cap).unwrap()]));
        told(&world, order[0], 0).await;
        world.core.clock.advance_seconds(5 * DAY);
        told(&world, order[1], 1).await;
        merge(&world).await;
        for (days, expected) in [(5, 2), (3, 3)] {
            world.core.clock.advance_seconds(days * DAY);
            let mut batch = Batch::new();
            batch.forget_caps(world.core.clock.now());
            world.core.store.apply(batch).await.unwrap();
            told(&world, "ann", 2).await;
            assert_eq!(world.feed("ann").await.len(), expected, "F-USR-15 {order:?}");
        }
    }
}

#[tokio::test]
async fn who_had_no_feed_gets_one_and_who_gets_nothing_is_left_alone() {
    let world = world().await;
    told(&world, "guest", 1).await;
    told(&world, "guest", 2).await;
    merge(&world).await;
    assert_eq!(numbers(&world, "ann").await, [2, 1], "F-USR-15");
    audit(&world, "ann").await;
    let before = world.head("ann").await;
    identify(&world, "guest", json!({})).await;
    assert_eq!(numbers(&world, "guest").await, [0; 0], "F-USR-13: whoever comes again inherits nothing");
    merge(&world).await;
    assert_eq!(world.head("ann").await, before, "nothing came, and bells need not look");
}

/// What stands in no feed: sandboxed messages, and the records of runs that are over.
#[tokio::test]
async fn messages_in_no_feed_and_runs_that_are_over_go_along() {
    let world = world().await;
    let sandboxed = || json!({"recipients": ["guest"], "settings": {"sandbox_mode": true}});
    world.trigger("greet", sandboxed()).await.unwrap();
    world.core.clock.advance_seconds(31 * DAY);
    world.trigger("greet", sandboxed()).await.unwrap();
    world.trigger("later", json!({"recipients": ["guest"]})).await.unwrap();
    merge(&world).await;
    let messages = world.core.store.messages(world.env, &Default::default(), None, 50).await.unwrap();
    assert_eq!(messages.len(), 1, "F-USR-15");
    assert_eq!((messages[0].recipient.id(), messages[0].feed), ("ann", None), "F-USR-15");
    let filter = RunFilter { recipient: Some(messages[0].recipient.clone()), ..RunFilter::default() };
    let of_ann = world.core.store.runs(world.env, &filter, None, 50).await.unwrap();
    assert_eq!(of_ann.iter().map(|run| run.id.to_string()).collect::<Vec<_>>(), [messages[0].run.clone()]);
    assert_eq!(world.runs().await.len(), 1, "F-USR-15: what was under way, and what is older, is gone");
}

#[tokio::test]
async fn runs_under_way_end_and_tell_nobody() {
    let world = world().await;
    world.trigger("later", json!({"recipients": ["guest", "ann"], "data": {"n": 1}})).await.unwrap();
    world.trigger("digest", json!({"recipients": ["guest"], "data": {"n": 2}})).await.unwrap();
    merge(&world).await;
    world.pass(7_200).await;
    assert_eq!(world.told("ann").await, ["<p>later 1</p>"], "F-USR-15 W-ENG-17: her own goes on");
    assert!(world.feed("guest").await.is_empty(), "F-USR-15 W-ENG-17");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
}

/// Whatever others were told of who is gone shows who stays, if it is of the last 30 days.
#[tokio::test]
async fn others_who_were_told_of_them_are_told_of_who_stays() {
    let world = world().await;
    let by = |actor: &str| json!({"recipients": [{"id": "bob"}, {"id": "cy"}], "actor": actor, "data": {"n": 1}});
    world.trigger("greet", by("guest")).await.unwrap();
    world.core.clock.advance_seconds(31 * DAY);
    world.trigger("greet", by("guest")).await.unwrap();
    world.trigger("greet", by("ann")).await.unwrap();
    let before = world.head("bob").await;
    identify(&world, "guest", json!({"nick": "G"})).await;
    merge(&world).await;
    world.events.lock().unwrap().clear();
    assert_eq!(world.pass(0).await, 1);
    for other in ["bob", "cy"] {
        let shown: Vec<_> = world.feed(other).await.iter().flat_map(actors).collect();
        assert_eq!(shown, [user("ann"), user("ann"), missing("guest")], "F-USR-15 F-USR-13");
    }
    let actor: Value = serde_json::from_str(&world.feed("bob").await[1].actors).unwrap();
    assert_eq!((&actor[0]["name"], &actor[0]["nick"]), (&json!("Ann"), &json!("G")), "as they are now");
    let Changes::Since { changed, .. } = world.changes("bob", before.version).await else { panic!("few changes") };
    assert_eq!(changed.len(), 2, "whoever resumes is told");
    assert!(world.events.lock().unwrap().iter().any(|event| event.recipient == "bob"), "and bells that are open");
    // It is as if they had acted themselves: gone as well, they are missing there.
    world.core.delete_user(world.env, "ann").await.unwrap();
    world.pass(0).await;
    let shown: Vec<_> = world.feed("bob").await.iter().flat_map(actors).collect();
    assert_eq!(shown, [missing("ann"), missing("ann"), missing("guest")], "F-USR-13");
}

/// In what has come together both may act: they are one then, and what each brought is shown with its actor.
#[tokio::test]
async fn among_others_both_are_one() {
    let world = world().await;
    identify(&world, "dee", json!({})).await;
    let by = |actor: &str, n: i64| json!({"recipients": [{"id": "bob"}], "actor": actor, "data": {"n": n}});
    let brought = async |all: &[&str]| {
        for (n, actor) in all.iter().enumerate() {
            world.trigger("digest", by(actor, n as i64)).await.unwrap();
        }
    };
    brought(&["guest", "dee"]).await;
    world.pass(31 * DAY).await;
    brought(&["dee", "guest", "ann", "guest"]).await;
    world.pass(3_600).await;
    for all in [&["guest", "ann"][..], &["guest", "ann", "dee"]] {
        brought(all).await;
        world.pass(3_600).await;
    }
    // Open as they are merged.
    brought(&["guest", "dee", "ann"]).await;
    merge(&world).await;
    world.pass(3_600).await;
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    let feed = world.feed("bob").await;
    let shown: Vec<(Vec<_>, i64)> = feed.iter().map(|item| (actors(item), item.total_actors)).collect();
    let expected = [
        (vec![user("ann"), user("dee")], 2),
        (vec![user("ann"), user("dee")], 2),
        (vec![user("ann")], 1),
        (vec![user("dee"), user("ann")], 2),
        (vec![missing("guest"), user("dee")], 2),
    ];
    assert_eq!(shown, expected, "F-USR-15");
    let activities = |item: &Message| -> Vec<Value> {
        let mut text = String::new();
        item.write_activities(&mut text, "null");
        let all: Vec<Value> = serde_json::from_str(&text).unwrap();
        all.iter().map(|one| one["actor"]["id"].clone()).collect()
    };
    let shown: Vec<Vec<Value>> = feed.iter().map(activities).collect();
    let expected = [
        json!(["ann", "dee", "ann"]),
        json!(["ann", "ann", "dee"]),
        json!(["ann", "ann"]),
        json!(["dee", "ann", "ann", "ann"]),
        json!(["guest", "dee"]),
    ];
    assert_eq!(json!(shown), json!(expected), "F-USR-15");
    let mut kept = Vec::new();
    for item in &feed {
        let batch = item.batch.as_deref().unwrap();
        let all = world.core.store.batch_activities(batch, &Default::default(), None, 50).await.unwrap();
        kept.push(all.into_iter().rev().map(|one| one.actor.unwrap()).collect::<Vec<_>>());
    }
    assert_eq!(json!(kept), json!(expected), "F-USR-15: and so it is where all of them are listed");
}

/// What closes before others have been gone through is of who stays, too.
#[tokio::test]
async fn what_gathers_as_they_are_merged_is_of_who_stays() {
    let world = world().await;
    for actor in ["guest", "ann"] {
        let body = json!({"recipients": [{"id": "bob"}], "actor": actor, "data": {"n": 1}});
        world.trigger("digest", body).await.unwrap();
    }
    merge(&world).await;
    world.core.clock.advance_seconds(3_600);
    let now = world.core.clock.now();
    let jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
    let run = jobs.iter().find(|job| job.kind == "run").unwrap();
    work(&world.core, run).await.unwrap();
    let item = world.feed("bob").await.remove(0);
    assert_eq!((actors(&item), item.total_actors), (vec![user("ann")], 1), "F-USR-15");
}

/// An item that was updated in place is as new as that, however long it has been there.
#[tokio::test]
async fn what_was_updated_in_place_stands_where_it_is_new() {
    let mut steps = tell("hello", "{{ data.n }}");
    steps["collapse_key"] = json!("{{ data.key }}");
    let world = World::new(&[("build", document(json!([steps])))]).await;
    for id in ["ann", "guest"] {
        identify(&world, id, json!({})).await;
    }
    for (whom, n, key) in
        [("guest", 0, "none"), ("guest", 1, "one"), ("ann", 2, "two"), ("guest", 3, "one"), ("ann", 4, "one")]
    {
        world.trigger("build", json!({"recipients": [whom], "data": {"n": n, "key": key}})).await.unwrap();
    }
    merge(&world).await;
    assert_eq!(numbers(&world, "ann").await, [4, 3, 2, 0], "F-USR-15");
    audit(&world, "ann").await;
    // The newest is the one whose place the next takes.
    world.trigger("build", json!({"recipients": ["ann"], "data": {"n": 5, "key": "one"}})).await.unwrap();
    assert_eq!(numbers(&world, "ann").await, [5, 3, 2, 0]);
    audit(&world, "ann").await;
}

/// What was gathered for who is gone, and is told already, stays with its message.
#[tokio::test]
async fn what_came_together_for_them_stays_with_what_tells_of_it() {
    let mut steps = workflows().remove(2).1;
    steps["steps"].as_array_mut().unwrap().push(wait("pause", "days", 2));
    let world = World::new(&[("digest", steps)]).await;
    for id in ["ann", "guest"] {
        identify(&world, id, json!({})).await;
    }
    for n in 0..3 {
        world.trigger("digest", json!({"recipients": ["guest"], "data": {"n": n}})).await.unwrap();
    }
    world.pass(3_600).await;
    merge(&world).await;
    let message = world.feed("ann").await.remove(0);
    let all = world
        .core
        .store
        .batch_activities(message.batch.as_deref().unwrap(), &Default::default(), None, 50)
        .await
        .unwrap();
    assert_eq!(all.len(), 3, "F-USR-15");
    world.pass(3 * DAY).await;
    let runs = world.runs().await;
    assert_eq!(runs.len(), 2, "F-USR-15: the run that carried it on was under way, the others were over");
    assert!(runs.iter().all(|run| run.recipient.id() == "ann" && run.status.is_final()), "F-USR-15");
}

/// One is merged into another who is merged in turn, before anybody else has heard of either.
#[tokio::test]
async fn whoever_becomes_one_who_becomes_another_is_the_last() {
    for is_deleted in [false, true] {
        let world = world().await;
        identify(&world, "zoe", json!({})).await;
        let by = |actor: &str| json!({"recipients": [{"id": "bob"}], "actor": actor, "data": {"n": 1}});
        world.trigger("greet", by("guest")).await.unwrap();
        world.core.merge_users(world.env, "ann", "guest").await.unwrap();
        match is_deleted {
            true => world.core.delete_user(world.env, "ann").await.unwrap(),
            false => drop(world.core.merge_users(world.env, "zoe", "ann").await.unwrap()),
        }
        // The later job comes first, and waits.
        let now = world.core.clock.now();
        let mut jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.id));
        assert_eq!(jobs.len(), 2, "she has acted in nothing yet, but is to");
        for job in &jobs {
            world.core.work_on_forgetting(job).await.unwrap();
        }
        world.pass(1).await;
        let shown: Vec<_> = world.feed("bob").await.iter().flat_map(actors).collect();
        assert_eq!(shown, [if is_deleted { missing("ann") } else { user("zoe") }], "F-USR-15 F-USR-13");
        assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    }
}

/// Runs and schedules of others in which who is gone acts go on with who stays.
#[tokio::test]
async fn what_is_still_to_come_of_their_acts_is_of_who_stays() {
    let world = world().await;
    world.trigger("later", json!({"recipients": [{"id": "bob"}], "actor": "guest", "data": {"n": 1}})).await.unwrap();
    let schedule = json!({"workflow": "greet", "recipients": ["bob"], "actor": "guest", "scheduled_at": "2026-09-21T12:00:00Z",
        "data": {"n": 2}});
    world.core.create_schedules(world.env, schedule.as_object().unwrap().clone()).await.unwrap();
    merge(&world).await;
    world.pass(7_200).await;
    let shown: Vec<_> = world.feed("bob").await.iter().flat_map(actors).collect();
    assert_eq!(shown, [user("ann"), user("ann")], "F-USR-15");
}

/// Schedules go along, and keep to the clock of where their recipient is now.
#[tokio::test]
async fn schedules_go_along_and_follow_the_zone() {
    let world = world().await;
    identify(&world, "guest", json!({"timezone": "America/New_York"})).await;
    identify(&world, "ann", json!({"timezone": "Europe/Berlin"})).await;
    let daily = json!([{"frequency": "daily", "hours": 9}]);
    let make = async |body: Value| {
        let made = world.core.create_schedules(world.env, body.as_object().unwrap().clone()).await.unwrap();
        made[0]["id"].as_str().unwrap().to_owned()
    };
    let own = make(json!({"workflow": "greet", "recipients": ["ann"], "repeats": daily})).await;
    let theirs = make(
        json!({"workflow": "greet", "recipients": ["guest"], "actor": "guest", "repeats": daily, "data": {"n": 1}}),
    )
    .await;
    let once = make(
        json!({"workflow": "greet", "recipients": ["guest"], "scheduled_at": "2026-09-21T20:00:00Z", "data": {"n": 2}}),
    )
    .await;
    merge(&world).await;
    let next = async |id: &str| {
        let schedule = world.core.store.schedule(id).await.unwrap().unwrap();
        (schedule.recipient.id().to_owned(), schedule.next_occurrence_at.unwrap().to_string())
    };
    let at = |at: &str| ("ann".to_owned(), at.to_owned());
    assert_eq!(next(&theirs).await, at("2026-09-22T07:00:00.000000Z"), "F-USR-15: nine in Berlin, not in New York");
    assert_eq!(next(&own).await, at("2026-09-22T07:00:00.000000Z"));
    assert_eq!(next(&once).await, at("2026-09-21T20:00:00.000000Z"), "F-USR-15");
    world.pass(DAY).await;
    let told: Vec<_> =
        world.feed("ann").await.iter().map(|item| (actors(item), item.data.contains("\"n\":1"))).collect();
    assert!(told.contains(&(vec![user("ann")], true)) && told.len() == 3, "F-USR-15: {told:?}");
}

/// Whoever has been told often as two is told no more often as one.
#[tokio::test]
async fn what_has_been_counted_counts_on() {
    let throttle = json!({"type": "throttle", "ref": "calm", "settings": {"throttle_limit": 2, "throttle_window": {"unit": "hours", "value": 6}}});
    let once = json!({"name": "Once", "trigger_frequency": "once_per_recipient", "steps": [tell("hello", "once")]});
    let world = World::new(&[
        ("throttled", document(json!([throttle, tell("hello", "throttled")]))),
        ("once", once),
        ("capped", document(json!([tell("hello", "{{ data.n }}")]))),
    ])
    .await;
    let cap = json!({"name": "Calm", "limit": 2, "per": "day", "workflows": ["capped"]});
    world.core.catalog.replace_caps(Caps::new(vec![Cap::parse("calm", &cap).unwrap()]));
    for id in ["ann", "guest"] {
        identify(&world, id, json!({})).await;
    }
    for workflow in ["throttled", "capped"] {
        for whom in ["ann", "guest"] {
            world.trigger(workflow, json!({"recipients": [whom], "data": {"n": 0}})).await.unwrap();
        }
    }
    world.trigger("once", json!({"recipients": ["guest"]})).await.unwrap();
    merge(&world).await;
    assert_eq!(world.feed("ann").await.len(), 5);
    for workflow in ["throttled", "once", "capped"] {
        world.trigger(workflow, json!({"recipients": ["ann"], "data": {"n": 0}})).await.unwrap();
        let run = world.runs().await.pop().unwrap();
        assert_eq!(world.feed("ann").await.len(), 5, "{workflow} {:?}", record(&run));
    }
    // Until the windows are over.
    world.core.clock.advance_seconds(DAY);
    for workflow in ["throttled", "capped"] {
        world.trigger(workflow, json!({"recipients": ["ann"], "data": {"n": 0}})).await.unwrap();
    }
    assert_eq!(world.feed("ann").await.len(), 7);
}

/// What was told in a window that is over counts no more, and a window of two lasts until the later end.
#[tokio::test]
async fn windows_count_that_are_open_and_last_until_the_later_end() {
    let throttle = json!({"type": "throttle", "ref": "calm", "settings": {"throttle_limit": 3, "throttle_window": {"unit": "hours", "value": 6}}});
    let workflow = document(json!([throttle, tell("hello", "{{ data.n }}")]));
    // Who is told how often at first, and after seven hours; what is let pass then, and when the window is over.
    for (first, second, passes, ends_in) in [
        (("guest", 2), ("ann", 1), 2, 6),
        (("ann", 2), ("guest", 1), 2, 6),
        (("guest", 2), ("zoe", 1), 3, 6),
        (("ann", 2), ("ann", 0), 3, 6),
    ] {
        let world = World::new(&[("throttled", workflow.clone())]).await;
        for id in ["ann", "guest", "zoe"] {
            identify(&world, id, json!({})).await;
        }
        let tell = async |whom: &str, times: usize| {
            for _ in 0..times {
                world.trigger("throttled", json!({"recipients": [whom], "data": {"n": 0}})).await.unwrap();
            }
        };
        tell(first.0, first.1).await;
        world.core.clock.advance_seconds(7 * 3_600);
        tell(second.0, second.1).await;
        merge(&world).await;
        let before = world.feed("ann").await.len();
        tell("ann", 5).await;
        let told = world.feed("ann").await.len() - before;
        assert_eq!(told, passes, "F-USR-15 {first:?} {second:?}");
        world.core.clock.advance_seconds(ends_in * 3_600);
        tell("ann", 1).await;
        assert_eq!(world.feed("ann").await.len() - before, passes + 1, "F-USR-15 {first:?} {second:?}");
    }
    for (first, second) in [("ann", "guest"), ("guest", "ann")] {
        let world = World::new(&[("throttled", workflow.clone())]).await;
        let tell = async |whom: &str| {
            world.trigger("throttled", json!({"recipients": [{"id": whom}], "data": {"n": 0}})).await.unwrap();
        };
        tell(first).await;
        tell(first).await;
        world.core.clock.advance_seconds(5 * 3_600);
        tell(second).await;
        merge(&world).await;
        // The first window would be over, the second is not.
        world.core.clock.advance_seconds(2 * 3_600);
        tell("ann").await;
        assert_eq!(world.feed("ann").await.len(), 3, "F-USR-15 {first}");
    }
}

/// Each of two that come at once is whole, or finds nobody to merge.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_mergers_at_once_one_finds_who_is_left() {
    for (first, second, is_found) in [
        // Both ways, and the same twice.
        (("ann", "guest"), ("guest", "ann"), false),
        (("ann", "guest"), ("ann", "guest"), false),
        // Into each of two, and one after the other.
        (("ann", "guest"), ("zoe", "guest"), false),
        (("ann", "guest"), ("zoe", "ann"), true),
        (("ann", "guest"), ("ann", "zoe"), true),
    ] {
        let world = world().await;
        identify(&world, "zoe", json!({"name": "Zoe"})).await;
        for (n, whom) in ["ann", "guest", "zoe", "guest"].into_iter().enumerate() {
            told(&world, whom, n as i64).await;
        }
        let other = world.other_node().await;
        let (one, two) = world
            .at_once(
                world.core.merge_users(world.env, first.0, first.1),
                other.merge_users(world.env, second.0, second.1),
            )
            .await;
        one.unwrap();
        match (two, is_found) {
            (Ok(user), true) => assert_eq!(user.id, second.0),
            (Err(Error::Missing(_)), false) => {}
            (other, _) => panic!("{first:?} {second:?} {other:?}"),
        }
        let mut all = Vec::new();
        for whom in ["ann", "guest", "zoe"] {
            audit(&world, whom).await;
            all.extend(numbers(&world, whom).await);
        }
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2, 3], "{first:?} {second:?}: nothing is lost, and nothing is there twice");
    }
}

/// What is told to either at the same time is told to who stays, or to nobody: never to one who is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_at_the_same_time_leaves_nothing_behind() {
    for whom in ["ann", "guest"] {
        for is_merged_first in [false, true] {
            let world = world().await;
            for n in 0..2 {
                told(&world, "guest", n).await;
            }
            let other = world.other_node().await;
            let body = json!({"recipients": [whom], "data": {"n": 9}});
            let trigger = world.trigger_on(&other, "greet", body, None);
            let merge = world.core.merge_users(world.env, "ann", "guest");
            let (merged, triggered) = match is_merged_first {
                true => world.at_once(merge, trigger).await,
                false => {
                    let (triggered, merged) = world.at_once(trigger, merge).await;
                    (merged, triggered)
                }
            };
            merged.unwrap();
            triggered.unwrap();
            let is_told = whom == "ann" || !is_merged_first;
            let expected = if is_told { vec![9, 1, 0] } else { vec![1, 0] };
            assert_eq!(numbers(&world, "ann").await, expected, "{whom} {is_merged_first}");
            assert!(world.feed("guest").await.is_empty(), "F-USR-14 {whom} {is_merged_first}");
            audit(&world, "ann").await;
        }
    }
}

/// However much is told and marked meanwhile, on several nodes: the feed that results is whole, and in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_feed_is_merged_whole() {
    let world = world().await;
    let nodes = [world.other_node().await, world.other_node().await];
    for round in 0..4 {
        identify(&world, "guest", json!({})).await;
        for n in 0..4 {
            told(&world, if n % 2 == 0 { "guest" } else { "ann" }, n).await;
        }
        let unread = world.feed("ann").await[0].id.clone();
        let tell = async |at: usize| {
            let body = json!({"recipients": ["ann"], "data": {"n": 10 * round + at}});
            world.trigger_on(&nodes[at % 2], "greet", body, None).await.unwrap();
        };
        let mark = async |at: usize| {
            let mark = [Mark::Read, Mark::Unread][at % 2];
            nodes[at % 2]
                .mark(world.env, std::slice::from_ref(&unread), mark, None, &Default::default())
                .await
                .unwrap();
        };
        let merged = async {
            tokio::task::yield_now().await;
            merge(&world).await;
        };
        let (_, _, ()) = tokio::join!(join_all((0..8).map(tell)), join_all((0..8).map(mark)), merged);
        audit(&world, "ann").await;
        assert!(world.feed("guest").await.is_empty(), "F-USR-14");
        let total = world.head("ann").await.active.total;
        assert_eq!(total, 12 * (round as i64 + 1), "F-USR-15: nothing is lost, and nothing is there twice");
    }
}

/// What is said of either at the same time is merged, too, or is said of somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_said_of_either_at_the_same_time_is_not_lost() {
    for whom in ["ann", "guest"] {
        for is_merged_first in [false, true] {
            let world = world().await;
            let other = world.other_node().await;
            let set = json!({"late": {"workflows": {"greet": false}}}).as_object().unwrap().clone();
            let properties = json!({"late": true}).as_object().unwrap().clone();
            let profile = Profile { properties, preferences: set, ..Profile::default() };
            let said = other.identify_user(world.env, whom, &profile);
            let merge = world.core.merge_users(world.env, "ann", "guest");
            let (merged, said) = match is_merged_first {
                true => world.at_once(merge, said).await,
                false => {
                    let (said, merged) = world.at_once(said, merge).await;
                    (merged, said)
                }
            };
            merged.unwrap();
            said.unwrap();
            let known = async |id: &str| {
                let user = world.core.store.user(world.env, id).await.unwrap();
                let sets = world.core.store.preference_sets(world.env, id).await.unwrap();
                user.map(|user| (user.properties["name"].clone(), user.properties.get("late").cloned(), sets.len()))
            };
            let comes_again = whom == "guest" && is_merged_first;
            let expected = (json!("Ann"), (!comes_again).then_some(json!(true)), usize::from(!comes_again));
            assert_eq!(known("ann").await, Some(expected), "F-USR-15 {whom} {is_merged_first}");
            let guest = world.core.store.user(world.env, "guest").await.unwrap();
            let guest = guest.map(|guest| Value::Object(guest.properties));
            assert_eq!(guest, comes_again.then_some(json!({"late": true})), "F-USR-13 {whom} {is_merged_first}");
        }
    }
}

#[tokio::test]
async fn they_were_seen_when_either_was() {
    for (of_ann, of_guest) in [(None, Some(5)), (Some(9), Some(5)), (Some(5), Some(9)), (Some(9), None)] {
        let world = world().await;
        let at = |seconds: i64| START.plus_seconds(seconds);
        let mut batch = Batch::new();
        for (id, seen) in [("ann", of_ann), ("guest", of_guest)] {
            if let Some(seen) = seen {
                batch.note_seen(&[(world.env, id, at(seen))]);
            }
        }
        world.core.store.apply(batch).await.unwrap();
        merge(&world).await;
        let seen = world.core.store.last_seen(world.env, &["ann", "guest"]).await.unwrap();
        assert_eq!(seen, [("ann".to_owned(), at(of_ann.max(of_guest).unwrap()))].into());
    }
}

/// A merger of properties that would be too many is none.
#[tokio::test]
async fn what_would_be_too_much_is_refused() {
    let world = world().await;
    identify(&world, "ann", json!({"a": "x".repeat(200_000)})).await;
    identify(&world, "guest", json!({"b": "x".repeat(100_000)})).await;
    let core: &Core = &world.core;
    let refused = core.merge_users(world.env, "ann", "guest").await;
    assert!(matches!(refused, Err(Error::Invalid(faults)) if faults[0].path == "from_user_id"), "F-USR-07");
    assert!(core.store.user(world.env, "guest").await.unwrap().is_some());
}
