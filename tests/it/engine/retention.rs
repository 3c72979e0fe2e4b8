//! What is kept for a time only, and what is kept for as long as somebody needs it (W-RUN-25).

use bellwire::app::retention::forget;
use bellwire::model::mark::Mark;
use bellwire::model::run::RunStatus;
use bellwire::store::Batch;
use serde_json::{Value, json};

use crate::world::{World, document, tell, wait};

const DAY: i64 = 86_400;

async fn number(world: &World, sql: &str) -> i64 {
    world.core.store.query_one(sql, &[], |row| row.int(0)).await.unwrap().unwrap()
}

fn gather(unit: &str, value: i64) -> Value {
    json!({"type": "batch", "ref": "gather", "settings": {"batch_window": {"unit": unit, "value": value}}})
}

async fn runs(world: &World) -> Vec<(String, RunStatus)> {
    let mut runs: Vec<_> = world.runs().await.into_iter().map(|run| (run.workflow, run.status)).collect();
    runs.sort_by(|a, b| a.0.cmp(&b.0));
    runs
}

#[tokio::test]
async fn runs_that_are_over_are_forgotten_in_time_and_their_items_stay() {
    let world = World::new(&[
        ("gathered", document(json!([gather("hours", 1), tell("tell", "{{ total_activities }}")]))),
        ("hello", document(json!([tell("tell", "hello")]))),
        ("long", document(json!([wait("pause", "days", 60), tell("tell", "at last")]))),
    ])
    .await;
    let ann = json!({"recipients": [{"id": "ann"}]});
    for workflow in ["hello", "long", "gathered", "gathered"] {
        world.trigger(workflow, ann.clone()).await.unwrap();
    }
    world.pass(29 * DAY).await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 0, "W-RUN-25: nothing is old enough");
    world.pass(2 * DAY).await;
    world.trigger("hello", ann.clone()).await.unwrap();
    // Without end by the configuration.
    assert_eq!(forget(&world.core, 0).await.unwrap(), 0, "W-RUN-25");
    let before = world.head("ann").await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 3, "W-RUN-25: `hello` and both of `gathered`");
    let left = [("hello", RunStatus::Completed), ("long", RunStatus::Paused)];
    assert_eq!(runs(&world).await, left.map(|(key, status)| (key.to_owned(), status)), "W-RUN-25");
    assert_eq!(world.head("ann").await, before, "W-RUN-25: items outlive it");
    // What the item tells of stays with it.
    assert_eq!(number(&world, "SELECT count(*) FROM batch_activities").await, 2);
    world.pass(30 * DAY).await;
    let mut told = world.told("ann").await;
    told.sort();
    assert_eq!(told, ["<p>2</p>", "<p>at last</p>", "<p>hello</p>", "<p>hello</p>"]);
}

#[tokio::test]
async fn one_node_does_it_and_others_leave_it_alone() {
    let world = World::new(&[("hello", document(json!([tell("tell", "hello")])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world.pass(31 * DAY).await;
    let other = world.other_node().await;
    let (one, two) = world.at_once(forget(&world.core, 30), forget(&other, 30)).await;
    assert_eq!((one.unwrap(), two.unwrap()), (1, 0));
    world.trigger("hello", json!({"recipients": ["ann"]})).await.unwrap();
    world.pass(31 * DAY).await;
    assert_eq!(forget(&other, 30).await.unwrap(), 1, "another time, another node");
}

#[tokio::test]
async fn many_are_forgotten_part_by_part() {
    let world =
        World::new(&[("hello", document(json!([]))), ("long", document(json!([wait("pause", "days", 90)])))]).await;
    let people: Vec<Value> = (0..450).map(|n| json!({"id": format!("u{n}")})).collect();
    world.trigger("hello", json!({"recipients": people})).await.unwrap();
    world.trigger("long", json!({"recipients": people[..10]})).await.unwrap();
    world.pass(31 * DAY).await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 450);
    assert_eq!(number(&world, "SELECT count(*) FROM runs").await, 10);
}

/// How old it is does not matter alone: what ended of late, and what was marked of late, is kept for as long from then.
#[tokio::test]
async fn it_is_kept_from_when_something_last_became_of_it() {
    let world = World::new(&[
        ("long", document(json!([wait("pause", "days", 20)]))),
        ("hello", document(json!([tell("tell", "hello")]))),
    ])
    .await;
    world.trigger("long", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world.trigger("hello", json!({"recipients": ["ann"], "settings": {"sandbox_mode": true}})).await.unwrap();
    let message = world.core.store.messages(world.env, &Default::default(), None, 1).await.unwrap().remove(0).id;
    world.pass(20 * DAY).await;
    world.core.mark(world.env, &[message], Mark::Seen, None, &Default::default()).await.unwrap();
    let left = async || {
        (number(&world, "SELECT count(*) FROM runs").await, number(&world, "SELECT count(*) FROM messages").await)
    };
    world.pass(11 * DAY).await;
    assert_eq!((forget(&world.core, 30).await.unwrap(), left().await), (1, (1, 1)), "W-RUN-25: the other run");
    world.pass(20 * DAY).await;
    assert_eq!((forget(&world.core, 30).await.unwrap(), left().await), (2, (0, 0)), "W-RUN-25");
}

/// Nothing that is still to do is forgotten, and nothing that is not over, whatever has become of its job.
#[tokio::test]
async fn what_is_not_over_is_not_forgotten() {
    let world = World::new(&[
        ("long", document(json!([wait("pause", "days", 20)]))),
        ("hello", document(json!([tell("tell", "hello")]))),
    ])
    .await;
    for workflow in ["long", "hello"] {
        world.trigger(workflow, json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    }
    let mut batch = Batch::new();
    batch.push("DELETE FROM jobs", Vec::new());
    let over = world.runs().await.into_iter().find(|run| run.status.is_final()).unwrap();
    batch.add_job("run", &over.id.to_string(), world.core.clock.now().plus_seconds(90 * DAY));
    world.core.store.apply(batch).await.unwrap();
    world.core.clock.advance_seconds(31 * DAY);
    assert_eq!(forget(&world.core, 30).await.unwrap(), 0, "W-RUN-25");
}

/// What came together for a run that goes on is told when it is told, and goes with a run that told nobody.
#[tokio::test]
async fn what_came_together_stays_for_as_long_as_its_run() {
    let world = World::new(&[
        (
            "late",
            document(json!([gather("hours", 1), wait("pause", "days", 60), tell("tell", "{{ total_activities }}")])),
        ),
        ("quiet", document(json!([gather("hours", 1)]))),
    ])
    .await;
    for workflow in ["late", "late", "quiet", "quiet"] {
        world.trigger(workflow, json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    }
    world.pass(31 * DAY).await;
    forget(&world.core, 30).await.unwrap();
    assert_eq!(number(&world, "SELECT count(*) FROM batches").await, 1, "W-RUN-25");
    assert_eq!(
        number(&world, "SELECT count(*) FROM batch_activities").await,
        2,
        "W-RUN-25: nothing of it is left over"
    );
    world.pass(30 * DAY).await;
    assert_eq!(world.told("ann").await, ["<p>2</p>"]);
}

/// Whoever has brought something to a batch that is open is found by a cancellation.
#[tokio::test]
async fn whoever_has_brought_something_to_an_open_batch_is_not_forgotten() {
    let world =
        World::new(&[("gathered", document(json!([gather("days", 60), tell("tell", "{{ total_activities }}")])))])
            .await;
    for key in ["one", "two"] {
        let body = json!({"recipients": [{"id": "ann"}], "cancellation_key": key});
        world.trigger("gathered", body).await.unwrap();
    }
    world.pass(31 * DAY).await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 0);
    assert_eq!(world.core.cancel(world.env, "gathered", &json!({"cancellation_key": "two"})).await.unwrap(), 1);
    world.pass(30 * DAY).await;
    assert_eq!(world.told("ann").await, ["<p>1</p>"]);
}

/// A message that waits for its window is none that is over; one that was withdrawn is.
#[tokio::test]
async fn messages_that_stand_in_no_feed_are_forgotten_once_they_are_not_to_be_sent() {
    let week = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let days: Vec<Value> =
        week.iter().map(|day| json!({"day": day, "type": "send", "from": "03:00", "until": "04:00"})).collect();
    let mut step = tell("tell", "hello");
    step["send_windows"] = days.into();
    let world = World::new(&[("hello", document(json!([step])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world.core.clock.advance_seconds(31 * DAY);
    assert_eq!(forget(&world.core, 30).await.unwrap(), 1, "its run");
    assert_eq!(
        number(&world, "SELECT count(*) FROM messages WHERE feed IS NULL").await,
        1,
        "W-RUN-25: it is still to be sent"
    );
    let mut batch = Batch::new();
    batch.push("DELETE FROM jobs WHERE kind = 'send'", Vec::new());
    world.core.store.apply(batch).await.unwrap();
    world.core.clock.advance_seconds(DAY);
    assert_eq!(forget(&world.core, 30).await.unwrap(), 1, "W-RUN-25");
    assert_eq!(number(&world, "SELECT count(*) FROM messages").await, 0);
    assert_eq!(number(&world, "SELECT count(*) FROM message_events").await, 0);
}

/// What came together for an item stays as long as the item, and goes with it, however long its run has been forgotten.
#[tokio::test]
async fn what_came_together_goes_with_the_last_that_tells_of_it() {
    let world = World::new(&[(
        "gathered",
        document(json!([gather("hours", 1), tell("tell", "{{ total_activities }}"), tell("again", "x")])),
    )])
    .await;
    for user in ["ann", "bob"] {
        for _ in 0..2 {
            world.trigger("gathered", json!({"recipients": [{"id": user}]})).await.unwrap();
        }
    }
    world.pass(31 * DAY).await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 4);
    let kept = async || {
        let count = async |table: &str| number(&world, &format!("SELECT count(*) FROM {table}")).await;
        (count("batches").await, count("batch_activities").await)
    };
    assert_eq!(kept().await, (2, 4), "four items tell of them");
    world.core.delete_user(world.env, "bob").await.unwrap();
    assert_eq!(kept().await, (1, 2), "F-USR-12: with activities that no run is left of");
    let ids: Vec<String> = world.feed("ann").await.into_iter().map(|item| item.id).collect();
    world.core.revoke(world.env, &ids[..1]).await.unwrap();
    world.pass(31 * DAY).await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 1, "F-RET-01: what was taken back");
    assert_eq!(kept().await, (1, 2), "an item still tells of it");
    world.core.revoke(world.env, &ids[1..]).await.unwrap();
    // One that is young stays, whoever names it.
    world.trigger("gathered", json!({"recipients": ["ann"]})).await.unwrap();
    world.pass(30 * DAY).await;
    world.trigger("gathered", json!({"recipients": ["ann"]})).await.unwrap();
    world.pass(2 * DAY).await;
    assert_eq!(forget(&world.core, 30).await.unwrap(), 2, "F-RET-01: the other, and a run");
    assert_eq!(kept().await, (2, 2), "F-RET-01: what nobody names is gone, what came since is not");
}
