//! Waits under concurrency, and what they cost those who wait for nothing; their stories are in `scenarios/`.

use bellwire::engine::work::work;
use bellwire::model::mark::Mark;
use bellwire::model::run::{Run, RunStatus};
use bellwire::store::jobs::Job;
use bellwire::verbs::Core;
use bellwire::verbs::mark::Reach;
use serde_json::{Map, Value, json};

use crate::world::{World, document, record, tell};

/// Waits for a button of its own message to be pressed for which `data.good` holds; then says which it was.
fn story() -> Value {
    let good = json!([{"operator": "and", "conditions": [
        {"variable": "event.data.good", "operator": "equal_to", "argument": "true"}
    ]}]);
    let event =
        json!({"event_type": "message", "event_key": "interacted", "source_type": "workflow", "source_key": "story"});
    let settings = json!({"event": event, "match_conditions": good, "expires_after": {"unit": "minutes", "value": 5},
        "on_timeout": "continue"});
    document(json!([
        tell("bell", "hello"),
        {"type": "wait_for_event", "ref": "wait_1", "settings": settings},
        tell("after", "{{ refs.wait_1.matched }} {{ refs.wait_1.signal_variables.data.n }}"),
    ]))
}

/// A world in which Ann's run waits.
async fn waiting() -> World {
    let world = World::new(&[("story", story()), ("plain", document(json!([tell("bell", "plain")])))]).await;
    world.trigger("story", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

/// Ann presses a button.
async fn press(world: &World, good: bool, n: i64) {
    world.core.clock.advance(1_000);
    let id = world.feed("ann").await.last().expect("a first message").id.clone();
    let data = Map::from_iter([("good".to_owned(), good.into()), ("n".to_owned(), n.into())]);
    let reach = Reach::default();
    world.core.mark(world.env, &[id], Mark::Interacted, Some(&data), &reach).await.unwrap();
}

async fn claim(core: &Core) -> Vec<Job> {
    let now = core.clock.now();
    core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap()
}

/// How many rows a table has.
async fn rows(world: &World, table: &str) -> i64 {
    let counted = world.core.store.query_one(&format!("SELECT count(*) FROM {table}"), &[], |row| row.int(0)).await;
    counted.unwrap().expect("a count")
}

async fn told(world: &World) -> Vec<String> {
    world.told("ann").await.iter().map(|text| text.replace("<p>", "").replace("</p>", "")).collect()
}

/// W-WFE-25: two workers bring an event each to the run; whoever comes second finds that it has gone on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_events_at_once_one_claims_the_wait() {
    let world = waiting().await;
    press(&world, true, 1).await;
    press(&world, true, 2).await;
    let jobs = claim(&world.core).await;
    assert_eq!(jobs.len(), 2, "one for each event");
    let other = world.neighbour();
    let (one, two) = world.at_once(work(&world.core, &jobs[1]), work(&other, &jobs[0])).await;
    one.unwrap();
    two.unwrap();
    // The later one was brought first, and knows that another is on its way.
    assert_eq!(told(&world).await, ["hello", "true 1"]);
    let matched = record(&world.run().await).iter().filter(|event| *event == "event_matched").count();
    assert_eq!(matched, 1);
    assert_eq!((rows(&world, "jobs").await, rows(&world, "waits").await), (0, 0), "nothing is left behind");
}

/// W-WFE-03, W-WFE-26: the time is over while an event is still on its way. It happened in time, and counts.
#[tokio::test]
async fn what_happened_in_time_counts_even_if_it_comes_late() {
    let world = waiting().await;
    press(&world, false, 1).await;
    press(&world, true, 2).await;
    // Nobody works until the wait is over; then the wake-up comes first.
    world.core.clock.advance(400 * 1_000_000);
    let jobs = claim(&world.core).await;
    let kinds: Vec<&str> = jobs.iter().map(|job| job.kind.as_str()).collect();
    assert_eq!(jobs.len(), 3, "{kinds:?}");
    let (wake_ups, signals): (Vec<&Job>, Vec<&Job>) = jobs.iter().partition(|job| job.kind == "run");
    for job in wake_ups.into_iter().chain(signals) {
        work(&world.core, job).await.unwrap();
    }
    assert_eq!(told(&world).await, ["hello", "true 2"]);
}

/// W-WFE-26: an event that happened after the wait was over is ignored, even if it comes before anybody has noticed.
#[tokio::test]
async fn what_happened_too_late_is_ignored_even_if_the_run_still_waits() {
    let world = waiting().await;
    // The clock goes on, and nobody wakes the run.
    world.core.clock.advance(400 * 1_000_000);
    press(&world, true, 1).await;
    let jobs = claim(&world.core).await;
    let late = jobs.iter().find(|job| job.kind == "signal").expect("the run still waits, and is told");
    work(&world.core, late).await.unwrap();
    // It is noticed then that the time is over.
    assert_eq!(told(&world).await, ["hello", "false"]);
    let expected =
        ["message_enqueued", "wait_started", "event_ignored:outside_wait_window", "wait_timed_out", "message_enqueued"];
    assert_eq!(record(&world.run().await), expected);
    let wake_up = jobs.iter().find(|job| job.kind == "run").expect("the wake-up");
    work(&world.core, wake_up).await.unwrap();
    assert_eq!(told(&world).await, ["hello", "false"], "the wake-up that was on its way finds nothing to do");
}

/// W-ENG-25: whoever brings an event and dies leaves it to another, who brings it once.
#[tokio::test]
async fn an_event_whose_bringer_died_is_brought_by_another() {
    let world = waiting().await;
    press(&world, true, 1).await;
    let dead = claim(&world.core).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(world.pass(0).await, 0, "somebody has it");
    world.pass(31).await;
    assert_eq!(told(&world).await, ["hello", "true 1"]);
    work(&world.core, &dead[0]).await.expect("whoever was dead comes back, and has lost the claim");
    assert_eq!(told(&world).await, ["hello", "true 1"]);
}

/// W-CAN-10, W-WFE-31: a cancellation comes between what a worker read and what it writes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancellation_wins_over_an_event_that_is_on_its_way() {
    let world = World::new(&[("story", story())]).await;
    world.trigger("story", json!({"recipients": [{"id": "ann"}], "cancellation_key": "k"})).await.unwrap();
    press(&world, true, 1).await;
    let jobs = claim(&world.core).await;
    let body = json!({"cancellation_key": "k"});
    let (stopped, worked) =
        world.at_once(world.core.cancel(world.env, "story", &body), work(&world.core, &jobs[0])).await;
    assert_eq!(stopped.unwrap(), 1);
    worked.unwrap();
    assert_eq!(told(&world).await, ["hello"]);
    let run: Run = world.run().await;
    assert_eq!(run.status, RunStatus::Cancelled);
    assert_eq!(rows(&world, "waits").await, 0);
}

/// A mark, a trigger and an update of somebody for whom nobody waits add no job.
#[tokio::test]
async fn nobody_is_told_where_nobody_waits() {
    let world = waiting().await;
    world.trigger("plain", json!({"recipients": [{"id": "bob"}]})).await.unwrap();
    let ids: Vec<String> = world.feed("bob").await.into_iter().map(|item| item.id).collect();
    for mark in Mark::ALL {
        world.core.mark(world.env, &ids, mark, None, &Reach::default()).await.unwrap();
    }
    world.trigger("plain", json!({"recipients": [{"id": "bob", "name": "Bob"}]})).await.unwrap();
    assert_eq!(rows(&world, "jobs").await, 1, "that which wakes Ann's run");
}

/// A run's record does not grow without end, and a run that has heard too much still goes on.
#[tokio::test]
async fn a_hundred_events_are_told_of_and_the_next_one_still_matches() {
    let world = waiting().await;
    for n in 0..105 {
        press(&world, false, n).await;
    }
    world.pass(0).await;
    let told_of = record(&world.run().await).iter().filter(|event| *event == "wait_conditions_evaluated").count();
    assert_eq!(told_of, 100, "W-WFE-17");
    press(&world, true, 200).await;
    world.pass(0).await;
    assert_eq!(told(&world).await, ["hello", "true 200"]);
}

/// Marks of many messages at once, in a feed and in none, and one that changes nothing.
#[tokio::test]
async fn each_message_that_is_marked_is_told_of_and_no_other() {
    let waits = |event: &str| {
        let event =
            json!({"event_type": "message", "event_key": event, "source_type": "workflow", "source_key": "sandboxed"});
        let any = json!({"all": [{"variable": "event.message_id", "operator": "not_empty"},
            {"variable": "event.exec_mode", "operator": "equal_to", "argument": "sandbox"}]});
        let settings = json!({"event": event, "match_conditions": any});
        document(json!([{"type": "wait_for_event", "ref": "wait_1", "settings": settings}]))
    };
    let plain = document(json!([tell("bell", "plain")]));
    let world = World::new(&[("unseen", waits("unseen")), ("seen", waits("seen")), ("sandboxed", plain)]).await;
    for workflow in ["unseen", "seen"] {
        world.trigger(workflow, json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    }
    let sandboxed = json!({"recipients": ["ann"], "settings": {"sandbox_mode": true}});
    world.trigger("sandboxed", sandboxed).await.unwrap();
    let message = world.runs().await.into_iter().find_map(|run| run.state.messages.get("bell").cloned()).unwrap();
    let mark = async |mark: Mark| {
        world.core.clock.advance(1_000);
        world.core.mark(world.env, &message, mark, None, &Reach::default()).await.unwrap();
        world.pass(0).await;
        world.runs().await.iter().map(|run| run.status).take(2).collect::<Vec<_>>()
    };
    // F-STA-17: taking back what was never given is no change.
    assert_eq!(mark(Mark::Unseen).await, [RunStatus::Paused, RunStatus::Paused]);
    assert_eq!(mark(Mark::Seen).await, [RunStatus::Paused, RunStatus::Completed]);
    assert_eq!(mark(Mark::Unseen).await, [RunStatus::Completed, RunStatus::Completed]);
}
