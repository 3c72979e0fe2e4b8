//! Items that take each other's place, under concurrency and as the API has them; their stories are in `scenarios/`.

use bellwire::bus::News;
use bellwire::model::feed::Counts;
use bellwire::model::mark::Mark;
use bellwire::model::message::Message;
use bellwire::verbs::mark::Reach;
use serde_json::{Value, json};

use crate::world::{World, body, document, tell};

fn build() -> Value {
    let mut told = tell("tell", "{{ data.n }} {{ current_message.id }}");
    told["collapse_key"] = "build".into();
    document(json!([told]))
}

async fn world() -> World {
    let world = World::new(&[("build", build()), ("hello", document(json!([])))]).await;
    world.trigger("hello", json!({"recipients": [{"id": "ann"}]})).await.unwrap();
    world
}

fn for_ann(n: i64) -> Value {
    json!({"recipients": ["ann"], "data": {"n": n}})
}

async fn only(world: &World) -> Message {
    let mut feed = world.feed("ann").await;
    assert_eq!(feed.len(), 1, "one item");
    let head = world.head("ann").await;
    assert_eq!((head.active, head.archived), world.core.store.recount(head.id).await.unwrap(), "a recount");
    feed.remove(0)
}

/// Both have read that there is nothing whose place they take before either is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_at_once_never_make_two_items() {
    let world = world().await;
    let other = world.other_node().await;
    let (one, two) =
        world.at_once(world.trigger("build", for_ann(1)), world.trigger_on(&other, "build", for_ann(2), None)).await;
    one.unwrap();
    two.unwrap();
    let item = only(&world).await;
    assert_eq!(body(&item), format!("<p>2 {}</p>", item.id), "whoever was second, and its own id");
    assert_eq!(world.runs().await.len(), 3, "and every run is there");
}

/// One reads the item while another is about to update it: what is read is left alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_that_is_read_just_before_is_not_updated() {
    let world = world().await;
    world.trigger("build", for_ann(1)).await.unwrap();
    let ids = [only(&world).await.id];
    let other = world.other_node().await;
    let reach = Reach::default();
    let (marked, told) = world
        .at_once(
            world.core.mark(world.env, &ids, Mark::Read, None, &reach),
            world.trigger_on(&other, "build", for_ann(2), None),
        )
        .await;
    marked.unwrap();
    told.unwrap();
    let feed = world.feed("ann").await;
    assert_eq!(feed.len(), 2);
    assert!(feed[0].read_at.is_none() && feed[1].read_at.is_some() && feed[1].id == ids[0]);
    let head = world.head("ann").await;
    assert_eq!(head.active, Counts { total: 2, unread: 1, unseen: 2 });
    assert_eq!(world.core.store.recount(head.id).await.unwrap().0, head.active);
}

/// Many nodes, many at once: one item, whatever the order, and nobody's trigger fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_leaves_one_item() {
    let world = world().await;
    let other = world.other_node().await;
    let all =
        (0..40).map(|n| world.trigger_on(if n % 2 == 0 { &world.core } else { &other }, "build", for_ann(n), None));
    for answered in futures_util::future::join_all(all).await {
        answered.unwrap();
    }
    only(&world).await;
    assert_eq!(world.head("ann").await.version, 40, "each was told");
    assert_eq!(world.runs().await.len(), 41);
}

#[tokio::test]
async fn an_item_keeps_its_id_and_when_it_came_first_and_is_otherwise_as_new() {
    let world = world().await;
    world.trigger("build", for_ann(1)).await.unwrap();
    let first = only(&world).await;
    assert_eq!((first.first_at, first.collapse_key.as_deref()), (None, Some("build")));
    for mark in [Mark::Seen, Mark::Interacted, Mark::Unread] {
        world.core.clock.advance(1_000);
        world.core.mark(world.env, std::slice::from_ref(&first.id), mark, None, &Reach::default()).await.unwrap();
    }
    world.core.clock.advance_seconds(60);
    world.events.lock().unwrap().clear();
    world.trigger("build", for_ann(2)).await.unwrap();
    let (second, head) = (only(&world).await, world.head("ann").await);
    assert_eq!((&second.id, second.first_at), (&first.id, Some(first.inserted_at)));
    assert!(second.inserted_at > first.inserted_at && second.updated_at == second.inserted_at);
    assert_eq!((second.seq, second.version), (head.version, head.version), "on top");
    assert!(second.seen_at.is_none() && second.interacted_at.is_none());
    assert_ne!(second.run, first.run, "it is told by the run that spoke last");
    let events = std::mem::take(&mut *world.events.lock().unwrap());
    let [event] = &events[..] else { panic!("one event") };
    assert!(matches!(event.news, News::Moved) && event.head == head, "{event:?}");
    world.trigger("build", for_ann(3)).await.unwrap();
    assert_eq!(only(&world).await.first_at, Some(first.inserted_at), "the first remains the first");
}

/// A clock that was set back: items of one feed never run backwards.
#[tokio::test]
async fn an_update_is_on_top_also_if_the_clock_was_set_back() {
    let world = world().await;
    world.trigger("build", for_ann(1)).await.unwrap();
    let first = only(&world).await;
    world.core.clock.set(first.inserted_at.plus_seconds(-60));
    world.trigger("build", for_ann(2)).await.unwrap();
    assert!(only(&world).await.inserted_at > first.inserted_at, "F-FED-06");
}
