//! Many runs that are due together: taken on in one transaction, or each by itself where that cannot be.

use bellwire::engine::work::{work, work_together};
use bellwire::model::run::RunStatus;
use bellwire::store::jobs::Job;
use serde_json::{Value, json};

use crate::world::{World, document, record, tell, wait};

impl World {
    /// Every job that is due, claimed.
    async fn crowd(&self, lease: &str) -> Vec<Job> {
        let now = self.core.clock.now();
        self.core.store.claim_jobs(lease, now, now.plus_seconds(30), 64).await.unwrap()
    }
}

fn people(count: usize) -> Value {
    (0..count).map(|n| json!({"id": format!("u{n}")})).collect()
}

/// A world in which so many runs have waited for an hour, which is over.
async fn waited(count: usize, after: Value) -> World {
    let world = World::new(&[("greet", document(json!([wait("pause", "hours", 1), after])))]).await;
    world.trigger("greet", json!({"recipients": people(count), "cancellation_key": "k"})).await.unwrap();
    world.core.clock.advance_seconds(3_600);
    world
}

#[tokio::test]
async fn those_who_are_due_together_are_told_once_each_and_nothing_is_left_to_do() {
    let world = waited(40, tell("after", "after {{ recipient.id }}")).await;
    let jobs = world.crowd("one").await;
    assert_eq!(jobs.len(), 40);
    assert_eq!(work_together(&world.core, jobs.clone()).await, []);
    for n in 0..40 {
        assert_eq!(world.told(&format!("u{n}")).await, [format!("<p>after u{n}</p>")]);
    }
    let runs = world.runs().await;
    assert!(runs.iter().all(|run| run.status == RunStatus::Completed));
    assert_eq!(record(&runs[0]), ["delay_started", "delay_finished", "message_enqueued"], "as if each were alone");
    // Nobody is told again by whoever claims to have the jobs still (W-ENG-25).
    assert_eq!(work_together(&world.core, jobs.clone()).await, jobs);
    assert_eq!(world.told("u7").await.len(), 1);
    assert_eq!(world.pass(86_400).await, 0);
}

/// W-CAN-10, W-ENG-25: what somebody else has done to one of them is not undone, and costs no other anything.
#[tokio::test]
async fn one_who_was_cancelled_or_taken_up_by_others_sends_the_rest_their_own_way() {
    let world = waited(5, tell("after", "after")).await;
    let jobs = world.crowd("one").await;
    world.core.clock.advance_seconds(31);
    let now = world.core.clock.now();
    let other = world.core.store.claim_jobs("two", now, now.plus_seconds(30), 1).await.unwrap().remove(0);
    assert_eq!(work_together(&world.core, jobs.clone()).await, jobs, "the claim of one has been lost");
    assert!(world.told("u0").await.is_empty() && world.told("u4").await.is_empty());
    for job in &jobs {
        work(&world.core, job).await.unwrap();
    }
    let told = async || {
        let mut told = 0;
        for n in 0..5 {
            told += world.told(&format!("u{n}")).await.len();
        }
        told
    };
    assert_eq!(told().await, 4);
    work(&world.core, &other).await.unwrap();
    assert_eq!(told().await, 5);

    let world = waited(5, tell("after", "after")).await;
    let jobs = world.crowd("one").await;
    world.core.cancel(world.env, "greet", &json!({"cancellation_key": "k", "recipients": ["u3"]})).await.unwrap();
    for job in work_together(&world.core, jobs).await {
        work(&world.core, &job).await.unwrap();
    }
    for (n, told) in [(2, 1), (3, 0), (4, 1)] {
        assert_eq!(world.told(&format!("u{n}")).await.len(), told, "u{n}");
    }
}

/// W-UPD-13: who changes somebody needs a transaction to itself.
#[tokio::test]
async fn runs_that_change_somebody_go_their_own_way_and_the_others_do_not_wait() {
    let paid = json!([{"variable": "recipient.id", "operator": "equal_to", "argument": "u1"}]);
    let update = json!({"type": "update_user", "ref": "u", "conditions": {"all": paid}, "settings":
        {"recipient_mode": "current", "update_properties": "{\"plan\": \"pro\"}"}});
    let world = waited(3, update).await;
    let jobs = world.crowd("one").await;
    let left = work_together(&world.core, jobs).await;
    let whose: Vec<String> = world
        .runs()
        .await
        .into_iter()
        .filter(|run| run.status == RunStatus::Paused)
        .map(|run| run.recipient.key())
        .collect();
    assert_eq!((left.len(), whose), (1, vec!["u1".to_owned()]));
    work(&world.core, &left[0]).await.unwrap();
    let user = world.core.store.user(world.env, "u1").await.unwrap().unwrap();
    assert_eq!(user.properties["plan"], "pro");
    assert!(world.runs().await.iter().all(|run| run.status == RunStatus::Completed));
}

/// W-BAT-02, W-BAT-54: batches that close together each go on with their own.
#[tokio::test]
async fn batches_that_close_together_are_closed_together() {
    let gather =
        json!({"type": "batch", "ref": "batch_1", "settings": {"batch_window": {"unit": "hours", "value": 1}}});
    let world = World::new(&[("greet", document(json!([gather, tell("after", "{{ total_activities }}")])))]).await;
    for _ in 0..3 {
        world.trigger("greet", json!({"recipients": people(10)})).await.unwrap();
    }
    world.core.clock.advance_seconds(3_601);
    let jobs = world.crowd("one").await;
    assert_eq!(jobs.len(), 10);
    assert_eq!(work_together(&world.core, jobs).await, []);
    for n in 0..10 {
        assert_eq!(world.told(&format!("u{n}")).await, ["<p>3</p>"]);
    }
}
