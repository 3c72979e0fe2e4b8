//! Schedules under concurrency, crashes and other versions; their stories are in `scenarios/schedules.yaml`.

use bellwire::engine::work::{abandon, work};
use bellwire::model::run::{RunStatus, SourceType};
use bellwire::model::schedule::Schedule;
use bellwire::model::workflow::Workflow;
use bellwire::store::jobs::Job;
use bellwire::verbs::Core;
use bellwire::verbs::identify::Profile;
use serde_json::{Value, json};

use crate::world::{World, document, tell};

async fn world() -> World {
    let world = World::new(&[("hello", document(json!([tell("tell", "{{ data.n }}")])))]).await;
    world.core.identify_user(world.env, "ann", &Profile::default()).await.unwrap();
    world
}

async fn schedule(world: &World, more: Value) -> String {
    let mut body = json!({"workflow": "hello", "recipients": ["ann"], "data": {"n": 1}});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = world.core.create_schedules(world.env, body.as_object().unwrap().clone()).await.unwrap();
    made[0]["id"].as_str().unwrap().to_owned()
}

async fn daily(world: &World) -> String {
    schedule(world, json!({"repeats": [{"frequency": "daily", "hours": 9}]})).await
}

async fn reschedule(core: &Core, env: i64, id: &str, more: Value) -> Result<Vec<Value>, bellwire::verbs::Error> {
    let mut body = more.as_object().unwrap().clone();
    body.insert("schedule_ids".to_owned(), json!([id]));
    core.update_schedules(env, body).await
}

async fn stored(world: &World, id: &str) -> Schedule {
    world.core.store.schedule(id).await.unwrap().expect("the schedule")
}

/// Turns the clock to the next occurrence and claims its job.
async fn claimed(world: &World) -> Job {
    let at = world.core.store.next_job_at().await.unwrap().expect("a job");
    world.core.clock.set(at);
    let mut jobs = world.core.store.claim_jobs("test", at, at.plus_seconds(30), 64).await.unwrap();
    assert_eq!(jobs.len(), 1);
    jobs.remove(0)
}

/// How many jobs there are.
async fn jobs(world: &World) -> i64 {
    world.core.store.job_backlog().await.unwrap().0
}

/// W-SCH-19, W-ENV-13.
#[tokio::test]
async fn an_occurrence_follows_the_version_that_is_current_then() {
    let world = world().await;
    daily(&world).await;
    let newer = document(json!([tell("tell", "newer {{ data.n }}")]));
    let newer = Workflow::parse("hello", &newer, world.core.catalog.channels()).unwrap();
    let version = newer.version_id;
    world.core.catalog.replace(vec![newer]);
    world.pass(86_400).await;
    assert_eq!(world.told("ann").await, ["<p>newer 1</p>"]);
    assert_eq!(world.run().await.version_id, version);
}

/// W-AMB-50.
#[tokio::test]
async fn a_schedule_of_a_workflow_that_is_archived_stops() {
    let world = world().await;
    let id = daily(&world).await;
    world.core.catalog.replace(Vec::new());
    world.pass(3 * 86_400).await;
    let stopped = stored(&world, &id).await;
    assert_eq!((stopped.next_occurrence_at, stopped.last_occurrence_at), (None, None));
    assert!(world.runs().await.is_empty());
    assert_eq!(jobs(&world).await, 0);
}

/// W-SCH-22, W-RUN-10.
#[tokio::test]
async fn a_run_says_which_schedule_it_is_of() {
    let world = world().await;
    let id = daily(&world).await;
    world.pass(86_400).await;
    let run = world.run().await;
    assert_eq!((run.status, run.source), (RunStatus::Completed, SourceType::Schedule));
    let source = run.to_json()["trigger_source"].clone();
    let expected = json!({"type": "schedule", "schedule_id": id, "cancellation_key": null, "audience_key": null});
    assert_eq!(source, expected);
    world.trigger("hello", json!({"recipients": ["ann"]})).await.unwrap();
    let source = world.runs().await[1].to_json()["trigger_source"].clone();
    assert_eq!((&source["type"], &source["schedule_id"]), (&json!("api"), &Value::Null));
}

/// Once in all, however many hold its job at once: one whose claim ran out, and one who has taken it over.
#[tokio::test]
async fn an_occurrence_is_run_once_whoever_works_on_it() {
    let world = world().await;
    let id = daily(&world).await;
    let slow = claimed(&world).await;
    world.core.clock.advance_seconds(31);
    let now = world.core.clock.now();
    let fast = world.core.store.claim_jobs("other", now, now.plus_seconds(30), 1).await.unwrap().remove(0);
    work(&world.core, &slow).await.unwrap();
    assert!(world.runs().await.is_empty(), "whoever has lost the claim does nothing");
    work(&world.core, &fast).await.unwrap();
    work(&world.core, &fast).await.unwrap();
    work(&world.core, &slow).await.unwrap();
    assert_eq!(world.runs().await.len(), 1);
    assert_eq!(world.told("ann").await.len(), 1);
    assert_eq!(jobs(&world).await, 1, "and the next is planned once");
    assert_eq!(stored(&world, &id).await.rev, 1);
}

/// W-SCH-24, W-SCH-32: a worker that has the occurrence in hand already does not run what is not there any more.
#[tokio::test]
async fn what_is_changed_or_deleted_leaves_no_stale_occurrence() {
    let world = world().await;
    let id = daily(&world).await;
    let stale = claimed(&world).await;
    reschedule(&world.core, world.env, &id, json!({"repeats": [{"frequency": "daily", "hours": 12}]})).await.unwrap();
    work(&world.core, &stale).await.unwrap();
    assert!(world.runs().await.is_empty(), "W-SCH-32");
    let stale = claimed(&world).await;
    world.core.delete_schedules(world.env, json!({"schedule_ids": [id]}).as_object().unwrap()).await.unwrap();
    work(&world.core, &stale).await.unwrap();
    assert!(world.runs().await.is_empty(), "W-SCH-24");
    assert_eq!(jobs(&world).await, 0, "W-SCH-24");
}

/// Each is committed where the other has been read: the second is refused, and looks again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_occurrence_and_a_change_at_once_are_both_kept() {
    for occurs_first in [true, false] {
        let world = world().await;
        let id = daily(&world).await;
        let job = claimed(&world).await;
        let other = world.neighbour();
        let occur = work(&world.core, &job);
        let change = reschedule(&other, world.env, &id, json!({"data": {"n": 2}}));
        match occurs_first {
            true => {
                let (ran, changed) = world.at_once(occur, change).await;
                ran.unwrap();
                changed.unwrap();
            }
            false => {
                let (changed, ran) = world.at_once(change, occur).await;
                ran.unwrap();
                changed.unwrap();
            }
        }
        let told = if occurs_first { "<p>1</p>" } else { "<p>2</p>" };
        assert_eq!(world.told("ann").await, [told], "occurs first: {occurs_first}");
        let after = stored(&world, &id).await;
        assert_eq!(after.data.value()["n"], 2, "W-SCH-31");
        assert_eq!(after.next_occurrence_at.unwrap().to_string(), "2026-09-23T09:00:00.000000Z", "W-SCH-20");
        assert_eq!(after.last_occurrence_at.unwrap().to_string(), "2026-09-22T09:00:00.000000Z", "W-SCH-21");
        assert_eq!(jobs(&world).await, 1);
    }
}

/// W-AMB-61: neither overlooks the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_made_while_its_recipient_moves_is_in_the_right_zone() {
    let profile = Profile::parse(json!({"timezone": "America/New_York"}).as_object().unwrap(), "").unwrap();
    for makes_first in [true, false] {
        let world = world().await;
        let other = world.neighbour();
        let make = daily(&world);
        let identify = other.identify_user(world.env, "ann", &profile);
        let id = match makes_first {
            true => world.at_once(make, identify).await.0,
            false => world.at_once(identify, make).await.1,
        };
        let next = stored(&world, &id).await.next_occurrence_at.unwrap();
        assert_eq!(next.to_string(), "2026-09-21T13:00:00.000000Z", "makes first: {makes_first}");
        assert_eq!(jobs(&world).await, 1);
    }
}

/// W-AMB-61: an occurrence that has read the old zone reads it again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_occurrence_while_its_recipient_moves_plans_the_next_in_the_right_zone() {
    let profile = Profile::parse(json!({"timezone": "America/New_York"}).as_object().unwrap(), "").unwrap();
    for occurs_first in [true, false] {
        let world = world().await;
        let id = daily(&world).await;
        let job = claimed(&world).await;
        let other = world.neighbour();
        let occur = work(&world.core, &job);
        let identify = other.identify_user(world.env, "ann", &profile);
        match occurs_first {
            true => world.at_once(occur, identify).await.0.unwrap(),
            false => world.at_once(identify, occur).await.1.unwrap(),
        }
        assert_eq!(world.told("ann").await.len(), 1, "occurs first: {occurs_first}");
        let next = stored(&world, &id).await.next_occurrence_at.unwrap();
        assert_eq!(next.to_string(), "2026-09-22T13:00:00.000000Z", "occurs first: {occurs_first}");
        assert_eq!(jobs(&world).await, 1);
    }
}

/// What is made for somebody who is deleted at the same time would stay behind (W-SCH-25).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_made_while_its_recipient_is_deleted_is_not_theirs() {
    let world = world().await;
    let other = world.neighbour();
    let make = daily(&world);
    let (deleted, id) = world.at_once(other.delete_user(world.env, "ann"), make).await;
    deleted.unwrap();
    // It was made for the name alone, once nobody had it any more.
    assert_eq!(stored(&world, &id).await.recipient.id(), "ann");
    let world = self::world().await;
    let other = world.neighbour();
    let make = daily(&world);
    let (id, deleted) = world.at_once(make, other.delete_user(world.env, "ann")).await;
    deleted.unwrap();
    assert!(world.core.store.schedule(&id).await.unwrap().is_none(), "W-SCH-25");
    assert_eq!(jobs(&world).await, 0, "W-SCH-25");
}

/// An occurrence that cannot be run is given up in the end; the schedule goes on.
#[tokio::test]
async fn an_occurrence_that_is_given_up_is_followed_by_the_next() {
    let world = world().await;
    let id = daily(&world).await;
    let job = claimed(&world).await;
    abandon(&world.core, &job, "it never works").await.unwrap();
    assert!(world.runs().await.is_empty());
    let after = stored(&world, &id).await;
    assert_eq!(after.next_occurrence_at.unwrap().to_string(), "2026-09-23T09:00:00.000000Z");
    world.pass(86_400).await;
    assert_eq!(world.runs().await.len(), 1);
}
