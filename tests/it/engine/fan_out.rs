//! Fan-out over many followers, in parts and across crashes; its stories are in `scenarios/fan_out.yaml`.

use bellwire::engine::fan_out::Work;
use bellwire::engine::work::{abandon, work};
use bellwire::model::recipient::RecipientRef;
use bellwire::model::run::{RunStatus, SourceType};
use bellwire::params;
use bellwire::store::Batch;
use bellwire::verbs::subscribe::Request;
use serde_json::{Value, json};

use crate::world::{World, document, record, tell, wait};

/// More than three parts of a fan-out.
const MANY: usize = 800;

fn red() -> RecipientRef {
    RecipientRef::Object { collection: "teams".to_owned(), id: "red".to_owned() }
}

/// A world in which so many users follow the object `teams/red`.
async fn followed(steps: Value, followers: usize) -> World {
    let world = World::new(&[("one", document(steps)), ("hello", document(json!([])))]).await;
    world.trigger("hello", json!({"recipients": [{"collection": "teams", "id": "red", "name": "Red"}]})).await.unwrap();
    let all: Vec<Value> = (0..followers).map(|n| json!({"id": format!("u{n:04}")})).collect();
    for some in all.chunks(100) {
        let body = json!({"recipients": some});
        let request = Request::parse(body.as_object().unwrap()).unwrap();
        world.core.subscribe(world.env, &red(), &request).await.unwrap();
    }
    world
}

async fn trigger(world: &World) {
    let body = json!({"recipients": [{"collection": "teams", "id": "red"}], "data": {"n": 1}, "cancellation_key": "k"});
    world.trigger("one", body).await.unwrap();
}

async fn number(world: &World, sql: &str) -> i64 {
    world.core.store.query_one(sql, &[], |row| row.int(0)).await.unwrap().unwrap()
}

async fn runs(world: &World) -> i64 {
    number(world, "SELECT count(*) FROM runs WHERE workflow = 'one'").await
}

/// Claims the only job there is.
async fn claim(world: &World, lease: &str) -> bellwire::store::jobs::Job {
    let now = world.core.clock.now();
    let mut jobs = world.core.store.claim_jobs(lease, now, now.plus_seconds(30), 64).await.unwrap();
    assert_eq!(jobs.len(), 1, "one job is due");
    jobs.remove(0)
}

/// W-FAN-03, W-FAN-12: all of one workflow run, each once, and nothing is left of the order.
#[tokio::test]
async fn every_follower_is_told_once_however_many_there_are() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), MANY).await;
    trigger(&world).await;
    assert_eq!(runs(&world).await, 1, "the trigger is answered before its followers are told");
    world.pass(0).await;
    assert_eq!(runs(&world).await, MANY as i64 + 1, "W-FAN-03");
    assert_eq!(
        number(&world, "SELECT count(DISTINCT workflow_run) FROM runs WHERE workflow = 'one'").await,
        1,
        "W-FAN-12"
    );
    assert_eq!(number(&world, "SELECT count(*) FROM messages").await, MANY as i64);
    assert_eq!(number(&world, "SELECT count(*) FROM feeds WHERE total <> 1").await, 0, "each once");
    let told = world.events.lock().unwrap().len();
    assert_eq!(told, MANY, "and every bell hears of it");
    for table in ["jobs", "fan_outs", "fan_out_orders"] {
        assert_eq!(number(&world, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}

/// What was thought through ahead of the last part of a claim was thrown away: the next claim begins by itself.
#[tokio::test]
async fn nothing_is_thought_through_that_the_claim_does_not_do() {
    let world = followed(json!([]), MANY).await;
    trigger(&world).await;
    let job = claim(&world, "first").await;
    let mut two = Work::take_up(&world.core, &job).await.unwrap().unwrap().only(2);
    assert!(two.goes_on(&world.core).await.unwrap() && two.is_ahead());
    assert!(two.goes_on(&world.core).await.unwrap() && !two.is_ahead());
    assert_eq!(runs(&world).await, 513, "two parts, and the object's own");
}

/// W-FAN-06: the part behind is thought through before the database knows of the one that reaches the same people.
#[tokio::test]
async fn whoever_follows_two_objects_is_told_once_across_parts() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), 256).await;
    let blue = RecipientRef::Object { collection: "teams".to_owned(), id: "blue".to_owned() };
    world
        .trigger("hello", json!({"recipients": [{"collection": "teams", "id": "blue", "name": "Blue"}]}))
        .await
        .unwrap();
    let some: Vec<Value> = (250..260).map(|n| json!({"id": format!("u{n:04}")})).collect();
    let body = json!({"recipients": some});
    let request = Request::parse(body.as_object().unwrap()).unwrap();
    world.core.subscribe(world.env, &blue, &request).await.unwrap();
    let both: Vec<Value> = ["red", "blue"].iter().map(|id| json!({"collection": "teams", "id": id})).collect();
    world.trigger("one", json!({"recipients": both, "data": {"n": 1}})).await.unwrap();
    world.pass(0).await;
    assert_eq!(number(&world, "SELECT count(*) FROM feeds WHERE total = 1").await, 260);
    assert_eq!(number(&world, "SELECT count(*) FROM feeds WHERE total <> 1").await, 0, "each once");
}

/// A node dies behind each part in turn; another takes up what is left when the claim has run out.
#[tokio::test]
async fn a_fan_out_goes_on_where_a_dead_node_left_it() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), MANY).await;
    trigger(&world).await;
    let mut reached = 1;
    for node in 0.. {
        let job = claim(&world, &format!("node-{node}")).await;
        let goes_on =
            Work::take_up(&world.core, &job).await.unwrap().expect("there is more").goes_on(&world.core).await;
        let now = runs(&world).await;
        if !goes_on.unwrap() {
            break;
        }
        assert!(now > reached, "each part does something");
        reached = now;
        world.core.clock.advance_seconds(31);
    }
    assert_eq!(runs(&world).await, MANY as i64 + 1);
    assert_eq!(number(&world, "SELECT count(*) FROM messages").await, MANY as i64, "none twice, none left out");
}

/// Two nodes hold the same fan-out, since the first was frozen for longer than its claim: what it does then is refused.
#[tokio::test]
async fn whoever_has_lost_the_claim_changes_nothing() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), MANY).await;
    trigger(&world).await;
    let frozen = claim(&world, "frozen").await;
    let mut late = Work::take_up(&world.core, &frozen).await.unwrap().unwrap();
    assert!(late.goes_on(&world.core).await.unwrap());
    world.core.clock.advance_seconds(31);
    let other = claim(&world, "other").await;
    assert!(Work::take_up(&world.core, &other).await.unwrap().unwrap().goes_on(&world.core).await.unwrap());
    let reached = runs(&world).await;
    assert!(!late.goes_on(&world.core).await.unwrap(), "it has lost the claim");
    assert_eq!(runs(&world).await, reached);
    world.pass(60).await;
    assert_eq!(number(&world, "SELECT count(*) FROM messages").await, MANY as i64);
}

/// W-CAN-03, W-CAN-10, W-CAN-12: what has begun is stopped, and what has not does not begin.
#[tokio::test]
async fn a_cancellation_in_the_middle_stops_what_has_begun_and_what_has_not() {
    let world = followed(json!([wait("pause", "hours", 1), tell("tell", "{{ data.n }}")]), MANY).await;
    trigger(&world).await;
    let job = claim(&world, "node").await;
    let mut under_way = Work::take_up(&world.core, &job).await.unwrap().unwrap();
    assert!(under_way.goes_on(&world.core).await.unwrap());
    let begun = runs(&world).await;
    assert!(begun > 1 && begun < MANY as i64);
    let stopped = world.core.cancel(world.env, "one", &json!({"cancellation_key": "k"})).await.unwrap();
    assert_eq!(stopped as i64, begun, "the object's run and those of the first part");
    assert!(!under_way.goes_on(&world.core).await.unwrap(), "there is nothing more to do");
    world.pass(7_200).await;
    assert_eq!(runs(&world).await, begun);
    assert_eq!(number(&world, "SELECT count(*) FROM runs WHERE status = 'paused'").await, 0);
    assert_eq!(number(&world, "SELECT count(*) FROM fan_outs").await, 0);
    assert_eq!(number(&world, "SELECT count(*) FROM messages").await, 0);
}

/// A part that was made ready before the cancellation is committed after it: it is refused, or its runs are found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_misses_no_part_that_is_being_committed() {
    for is_cancelled_first in [false, true] {
        let world = followed(json!([wait("pause", "hours", 1), tell("tell", "{{ data.n }}")]), 20).await;
        trigger(&world).await;
        let job = claim(&world, "node").await;
        let mut part = Work::take_up(&world.core, &job).await.unwrap().unwrap();
        let body = json!({"cancellation_key": "k"});
        let cancel = world.core.cancel(world.env, "one", &body);
        let stopped = match is_cancelled_first {
            true => world.at_once(cancel, part.goes_on(&world.core)).await.0.unwrap(),
            false => world.at_once(part.goes_on(&world.core), cancel).await.1.unwrap(),
        };
        let expected = if is_cancelled_first { 1 } else { 21 };
        assert_eq!(stopped, expected, "cancelled first: {is_cancelled_first}");
        let open = "SELECT count(*) FROM runs WHERE workflow = 'one' AND status <> 'cancelled'";
        assert_eq!(number(&world, open).await, 0);
        world.pass(7_200).await;
        assert_eq!(number(&world, "SELECT count(*) FROM messages").await, 0);
    }
}

/// A follower is deleted, another unsubscribed, while a part with both is being committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_made_for_whoever_goes_meanwhile() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), 20).await;
    trigger(&world).await;
    let job = claim(&world, "node").await;
    let mut part = Work::take_up(&world.core, &job).await.unwrap().unwrap();
    let body = json!({"recipients": ["u0007"]});
    let request = Request::parse(body.as_object().unwrap()).unwrap();
    let red = red();
    let goes = futures_util::future::join(
        world.core.delete_user(world.env, "u0003"),
        world.core.unsubscribe(world.env, &red, &request),
    );
    let ((deleted, gone), told) = world.at_once(goes, part.goes_on(&world.core)).await;
    deleted.unwrap();
    assert_eq!(gone.unwrap().len(), 1);
    told.unwrap();
    assert_eq!(number(&world, "SELECT count(*) FROM runs WHERE recipient = 'u0003'").await, 0, "F-USR-12");
    let of =
        async |user: &str| number(&world, &format!("SELECT count(*) FROM messages WHERE recipient = '{user}'")).await;
    assert_eq!((of("u0003").await, of("u0007").await, of("u0008").await), (0, 0, 1), "who stays is told");
}

/// W-FAN-03: what runs are started with may be large; a part then holds fewer of them.
#[tokio::test]
async fn a_part_holds_as_much_as_fits() {
    let world = followed(json!([]), 20).await;
    let body = json!({"recipients": [{"collection": "teams", "id": "red"}], "data": {"text": "x".repeat(3 << 20)}});
    world.trigger("one", body).await.unwrap();
    let job = claim(&world, "node").await;
    let mut part = Work::take_up(&world.core, &job).await.unwrap().unwrap();
    assert!(part.goes_on(&world.core).await.unwrap());
    assert_eq!(runs(&world).await, 1 + 2, "two of three megabytes in eight");
}

/// W-FAN-13: a schedule is for the object alone.
#[test]
fn followers_are_reached_by_everything_but_schedules() {
    use SourceType::*;
    let reaching = [Api, Audience, Schedule, Broadcast, WorkflowStep, Integration, Rehearsal];
    let reaching: Vec<SourceType> = reaching.into_iter().filter(|source| source.reaches_followers()).collect();
    assert_eq!(reaching, [Api, Audience, Broadcast, WorkflowStep, Integration, Rehearsal], "W-FAN-13, F-SUB-13");
}

/// W-ENV-11: the directory has the workflow no more; whoever was not reached yet has a run that says so.
#[tokio::test]
async fn an_archived_workflow_ends_the_runs_of_those_who_are_left() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), 3).await;
    trigger(&world).await;
    world.core.catalog.replace(Vec::new());
    world.pass(0).await;
    let ended = world.runs().await.into_iter().filter(|run| run.recipient.user_id().is_some());
    let ended: Vec<_> = ended.map(|run| (run.status, record(&run))).collect();
    assert_eq!(ended, vec![(RunStatus::Completed, vec!["run_halted:workflow_archived".to_owned()]); 3]);
}

/// What cannot be read is given up in the end, and nothing stays behind that would be cancelled for ever.
#[tokio::test]
async fn a_fan_out_that_is_given_up_is_gone() {
    let world = followed(json!([tell("tell", "{{ data.n }}")]), 3).await;
    trigger(&world).await;
    let mut batch = Batch::new();
    batch.push("UPDATE fan_out_orders SET body = ?1", params!["[]"]);
    world.core.store.apply(batch).await.unwrap();
    let job = claim(&world, "node").await;
    let why = work(&world.core, &job).await.unwrap_err().to_string();
    assert!(why.contains("cannot be read"), "{why}");
    abandon(&world.core, &job, &why).await.unwrap();
    for table in ["jobs", "fan_outs", "fan_out_orders"] {
        assert_eq!(number(&world, &format!("SELECT count(*) FROM {table}")).await, 0, "{table}");
    }
}
