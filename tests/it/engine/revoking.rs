//! Revocations under concurrency; their stories are in `scenarios/`.

use bellwire::engine::work::work;
use bellwire::model::mark::Mark;
use bellwire::verbs::mark::Reach;
use bellwire::verbs::revoke::{Request, Revoked};
use serde_json::{Value, json};

use crate::world::{World, document, record, tell};

async fn told(steps: Value) -> World {
    let world = World::new(&[("note", document(steps))]).await;
    world.trigger("note", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

async fn is_gone(world: &World, id: &str) {
    let message = world.core.store.message(world.env, id).await.unwrap().expect("whoever reads about it finds it");
    assert!(message.revoked_at.is_some() && message.feed.is_none());
    assert_eq!(world.feed("ann").await.len(), 0);
    let head = world.head("ann").await;
    if head.id != 0 {
        assert_eq!((head.active, head.archived), world.core.store.recount(head.id).await.unwrap(), "a recount");
    }
    let events = world.core.store.message_events(id).await.unwrap();
    assert_eq!(events.iter().filter(|event| event.name == "message.revoked").count(), 1);
    let record = record(&world.run().await);
    assert_eq!(record.iter().filter(|event| *event == "message_revoked").count(), 1, "{record:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_revoke_once() {
    let world = told(json!([tell("tell", "x")])).await;
    let ids = [world.feed("ann").await.remove(0).id];
    let other = world.other_node().await;
    let (one, two) = world.at_once(world.core.revoke(world.env, &ids), other.revoke(world.env, &ids)).await;
    assert_eq!((one.unwrap(), two.unwrap()), (1, 0), "each counts what it has taken back");
    is_gone(&world, &ids[0]).await;
    assert_eq!(world.head("ann").await.version, 2, "one change");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_marked_at_the_same_time_is_gone_all_the_same() {
    for is_marked_first in [true, false] {
        let world = told(json!([tell("tell", "x")])).await;
        let ids = [world.feed("ann").await.remove(0).id];
        let (other, reach) = (world.other_node().await, Reach::default());
        let mark = world.core.mark(world.env, &ids, Mark::Archived, None, &reach);
        let revoke = other.revoke(world.env, &ids);
        if is_marked_first {
            let (marked, revoked) = world.at_once(mark, revoke).await;
            marked.unwrap();
            revoked.unwrap();
        } else {
            let (revoked, marked) = world.at_once(revoke, mark).await;
            marked.unwrap();
            revoked.unwrap();
        }
        is_gone(&world, &ids[0]).await;
    }
}

/// The message comes into its feed, or is revoked, whichever is first: in the end it is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_at_the_same_time_is_gone_all_the_same() {
    for is_sent_first in [true, false] {
        let mut later = tell("tell", "x");
        let days = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        let window = |day: &&str| json!({"day": day, "type": "send", "from": "12:00"});
        later["send_windows"] = days.iter().map(window).collect();
        let world = told(json!([later])).await;
        let id = world.run().await.state.messages["tell"][0].clone();
        world.core.clock.advance_seconds(2 * 3_600);
        let now = world.core.clock.now();
        let jobs = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 64).await.unwrap();
        let (other, ids) = (world.other_node().await, [id.clone()]);
        let (send, revoke) = (work(&world.core, &jobs[0]), other.revoke(world.env, &ids));
        if is_sent_first {
            let (sent, revoked) = world.at_once(send, revoke).await;
            sent.unwrap();
            revoked.unwrap();
        } else {
            let (revoked, sent) = world.at_once(revoke, send).await;
            sent.unwrap();
            revoked.unwrap();
        }
        is_gone(&world, &id).await;
        assert_eq!(world.pass(3_600).await, 0, "nothing is left to do");
    }
}

#[tokio::test]
async fn a_run_that_goes_on_keeps_what_it_recorded() {
    let delay = json!({"type": "delay", "ref": "d", "settings": {"delay_for": {"unit": "minutes", "value": 5}}});
    let world = told(json!([tell("tell", "x"), delay, tell("again", "y")])).await;
    let ids = [world.feed("ann").await.remove(0).id, "unknown".to_owned()];
    assert_eq!(world.core.revoke(world.env, &ids).await.unwrap(), 1);
    world.pass(300).await;
    let expected = ["message_enqueued", "delay_started", "message_revoked", "delay_finished", "message_enqueued"];
    assert_eq!(record(&world.run().await), expected);
}

/// What a run told is another's from the instant on at which that takes its place.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_whose_place_another_takes_at_the_same_time_stays_the_other_s() {
    let mut step = tell("tell", "{{ data.n }}");
    step["collapse_key"] = json!("build");
    let world = World::new(&[("note", document(json!([step])))]).await;
    let told =
        |n: i64| json!({"recipients": [{"id": "ann"}], "cancellation_key": format!("run-{n}"), "data": {"n": n}});
    world.trigger("note", told(1)).await.unwrap();
    let body = json!({"workflow": "note", "cancellation_key": "run-1"});
    let request = Request::parse(body.as_object().unwrap()).unwrap();
    let other = world.other_node().await;
    let (taken, revoked) = world.at_once(world.trigger("note", told(2)), other.revoke_all(world.env, &request)).await;
    taken.unwrap();
    assert_eq!(revoked.unwrap(), Revoked::default());
    assert_eq!(world.told("ann").await, ["<p>2</p>"]);
}
