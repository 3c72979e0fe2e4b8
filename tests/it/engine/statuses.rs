//! Steps that look at what became of an earlier step's message.

use bellwire::model::mark::Mark;
use serde_json::{Value, json};

use crate::world::{World, body, document, tell, wait};

fn remind_unless_read() -> Value {
    let unread = json!({"all": [{"variable": "refs.first.engagement_status", "operator": "not_contains", "argument": "$message.read"}]});
    document(
        json!([tell("first", "first"), wait("pause", "hours", 1), {"type": "branch", "ref": "choose", "branches": [
            {"name": "unread", "conditions": unread, "steps": [tell("again", "again")]},
            {"name": "default", "terminates": true, "steps": []}
        ]}]),
    )
}

#[tokio::test]
async fn an_unread_item_is_followed_up_and_a_read_one_is_not() {
    let world = World::new(&[("greet", remind_unless_read())]).await;
    world.trigger("greet", json!({"recipients": [{"id": "reader"}, {"id": "sleeper"}]})).await.unwrap();
    let item = world.feed("reader").await.remove(0);
    world.core.mark(world.env, &[item.id], Mark::Read, None, &Default::default()).await.unwrap();
    world.pass(3_600).await;
    assert_eq!(world.told("reader").await, ["<p>first</p>"], "W-MSC-13");
    assert_eq!(world.told("sleeper").await, ["<p>first</p>", "<p>again</p>"], "W-MSC-13, F-STA-26");
}

#[tokio::test]
async fn a_message_of_the_same_stretch_is_already_delivered_and_a_skipped_step_counts_as_skipped() {
    let mut skipped = tell("skipped", "skipped");
    skipped["conditions"] = json!({"all": [{"variable": "data.no", "operator": "exists"}]});
    let condition = |step: &str, operator: &str, argument: &str| json!({"all": [{"variable": format!("refs.{step}.delivery_status"), "operator": operator, "argument": argument}]});
    let mut delivered = tell("delivered", "first was delivered");
    delivered["conditions"] = condition("first", "greater_than_or_equal_to", "$message.delivered");
    let mut missed = tell("missed", "second was skipped");
    missed["conditions"] = condition("skipped", "equal_to", "$message.skipped");
    let steps = json!([tell("first", "first"), skipped, delivered, missed]);
    let world = World::new(&[("greet", document(steps))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    let said: Vec<String> = world.feed("u").await.iter().map(body).collect();
    assert_eq!(
        said,
        ["<p>second was skipped</p>", "<p>first was delivered</p>", "<p>first</p>"],
        "W-MSC-08, W-MSC-05, W-MSC-19"
    );
}

#[tokio::test]
async fn a_message_that_is_gone_makes_every_status_condition_false() {
    let world = World::new(&[("greet", remind_unless_read())]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    let head = world.head("u").await;
    let mut batch = bellwire::store::Batch::new();
    let ids: Vec<String> = world.feed("u").await.into_iter().map(|item| item.id).collect();
    batch.remove_from_feed(head.id, &ids);
    world.core.store.apply(batch).await.unwrap();
    world.pass(3_600).await;
    assert!(world.told("u").await.is_empty(), "W-MSC-18, F-RET-03: also the negated one");
}
