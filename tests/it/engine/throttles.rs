//! Throttles and trigger frequency under concurrency and across versions; their stories are in `scenarios/`.

use bellwire::model::workflow::Workflow;
use serde_json::{Value, json};

use crate::world::{World, document, tell};

fn throttled(limit: i64) -> Value {
    let window = json!({"unit": "hours", "value": 1});
    document(json!([
        {"type": "throttle", "ref": "throttle_1", "settings": {"throttle_window": window, "throttle_limit": limit}},
        tell("tell", "{{ data.n }}"),
    ]))
}

fn for_ann(n: i64) -> Value {
    json!({"recipients": ["ann"], "data": {"n": n}})
}

/// W-THR-18: both have read the same window before either is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_never_pass_where_one_may() {
    for limit in [1, 2] {
        let world = World::new(&[("calm", throttled(limit)), ("hello", document(json!([])))]).await;
        world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
        for n in 1..limit {
            world.trigger("calm", for_ann(n)).await.unwrap();
        }
        let other = world.neighbour();
        let (one, two) =
            world.at_once(world.trigger("calm", for_ann(8)), world.trigger_on(&other, "calm", for_ann(9), None)).await;
        one.unwrap();
        two.unwrap();
        assert_eq!(world.feed("ann").await.len() as i64, limit, "as many as may");
        assert_eq!(world.runs().await.len() as i64, limit + 2, "and every run is there");
    }
}

/// W-THR-19: the window is the step's, whatever else becomes of the workflow; a new limit counts for who comes next.
#[tokio::test]
async fn a_new_version_goes_on_counting_where_the_old_one_was() {
    let world = World::new(&[("calm", throttled(1))]).await;
    world.trigger("calm", json!({"recipients": [{"id": "ann"}], "data": {"n": 1}})).await.unwrap();
    for (limit, told) in [(1, 1), (2, 2), (2, 2), (1, 2)] {
        let workflow = Workflow::parse("calm", &throttled(limit), world.core.catalog.channels()).unwrap();
        world.core.catalog.replace(vec![workflow]);
        world.trigger("calm", for_ann(2)).await.unwrap();
        assert_eq!(world.feed("ann").await.len(), told, "limit {limit}");
    }
}

/// W-FRQ-05, W-AMB-10: both have read that nobody ran before either is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_run_once_where_one_may() {
    let mut once = document(json!([tell("tell", "{{ data.n }}")]));
    once["trigger_frequency"] = "once_per_recipient".into();
    let world = World::new(&[("once", once), ("hello", document(json!([])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    let other = world.neighbour();
    let (one, two) =
        world.at_once(world.trigger("once", for_ann(1)), world.trigger_on(&other, "once", for_ann(2), None)).await;
    one.unwrap();
    two.unwrap();
    assert_eq!(world.feed("ann").await.len(), 1);
    assert_eq!(world.runs().await.len(), 3, "who is passed over has a run that says so");
}
