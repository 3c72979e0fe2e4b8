//! Bulk operations: each message once, whoever works on them and however often a worker dies.

use bellwire::model::bulk_operation::BulkOperation;
use bellwire::model::mark::Mark;
use bellwire::model::message::Message;
use bellwire::store::jobs::Job;
use bellwire::store::{Batch, Error};
use bellwire::verbs::bulk::deed::Deed;
use bellwire::verbs::bulk::{Action, CHUNKS_PER_CLAIM, Spec, Work};
use bellwire::verbs::mark::CHUNK;
use serde_json::{Value, json};

use crate::world::{CHANNEL, World, document, tell};

fn spec(body: Value) -> Spec {
    let mut spec = json!({"action": "read", "channel": CHANNEL, "is_feed": true});
    spec.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
    serde_json::from_value(spec).unwrap()
}

/// A world in which each of these users has one item.
async fn world(users: &[&str]) -> World {
    let world = World::new(&[("greet", document(json!([tell("hello", "x")])))]).await;
    for user in users {
        world.trigger("greet", json!({"recipients": [{"id": user}]})).await.unwrap();
    }
    world
}

async fn start(world: &World, body: Value) -> BulkOperation {
    world.core.start_bulk(world.env, spec(body)).await.unwrap()
}

async fn now(world: &World, operation: &BulkOperation) -> BulkOperation {
    world.core.store.bulk_operation(&operation.id.to_string()).await.unwrap().unwrap()
}

/// The only job, if it is due, claimed by `worker` for half a minute.
async fn claim(world: &World, worker: &str) -> Option<Job> {
    let now = world.core.clock.now();
    let mut jobs = world.core.store.claim_jobs(worker, now, now.plus_seconds(30), 64).await.unwrap();
    assert!(jobs.len() < 2);
    jobs.pop()
}

async fn take_up(world: &World, job: &Job) -> Work {
    Work::take_up(&world.core, job).await.unwrap().expect("something to do")
}

/// Everybody's messages, oldest first.
async fn all(world: &World) -> Vec<Message> {
    let mut messages = world.core.store.messages(world.env, &Default::default(), None, 10_000).await.unwrap();
    messages.sort_by_key(|message| (message.feed, message.seq));
    messages
}

async fn said(world: &World, message: &Message) -> Vec<String> {
    let mut names: Vec<String> =
        world.core.store.message_events(&message.id).await.unwrap().into_iter().map(|event| event.name).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_long_operation_keeps_its_claim_from_chunk_to_chunk() {
    let world = world(&["u"]).await;
    world.copy("u", 3 * CHUNK).await;
    let operation = start(&world, json!({"recipients": ["u"]})).await;
    let mut work = take_up(&world, &claim(&world, "first").await.unwrap()).await;
    for chunk in 1..=3 {
        assert!(work.goes_on(&world.core).await.unwrap(), "{chunk}");
        assert_eq!(now(&world, &operation).await.processed_rows, (chunk * CHUNK) as i64);
        assert_eq!(now(&world, &operation).await.status, "processing", "F-BLK-03");
        world.core.clock.advance_seconds(20);
        assert!(claim(&world, "second").await.is_none(), "it is still being worked on, after {chunk}");
    }
    assert!(!work.goes_on(&world.core).await.unwrap(), "the last");
    assert_eq!(now(&world, &operation).await.status, "completed", "F-BLK-03");
    assert_eq!(now(&world, &operation).await.processed_rows, 3 * CHUNK as i64 + 1, "F-BLK-02");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    assert_eq!(world.head("u").await.active.unread, 0);
    assert_eq!(world.head("u").await.version, 3 * CHUNK as i64 + 1 + 4, "one version for each chunk");
}

#[tokio::test]
async fn a_dead_workers_operation_is_resumed_and_what_a_reader_did_meanwhile_stays() {
    for named in [json!({"recipients": ["u"]}), json!({})] {
        let world = world(&["u"]).await;
        world.copy("u", 2 * CHUNK).await;
        let operation = start(&world, named).await;
        let mut dead = take_up(&world, &claim(&world, "dead").await.unwrap()).await;
        assert!(dead.goes_on(&world.core).await.unwrap());
        // A reader takes back what the first chunk did; then the claim runs out, and somebody else goes on.
        let first = all(&world).await.remove(0);
        assert!(first.read_at.is_some());
        world
            .core
            .mark(world.env, std::slice::from_ref(&first.id), Mark::Unread, None, &Default::default())
            .await
            .unwrap();
        world.core.clock.advance_seconds(31);
        let mut alive = take_up(&world, &claim(&world, "alive").await.unwrap()).await;
        assert!(alive.goes_on(&world.core).await.unwrap());
        let before = (world.head("u").await, now(&world, &operation).await);
        assert!(!dead.goes_on(&world.core).await.unwrap(), "it was not dead, but has lost the claim");
        assert_eq!((world.head("u").await, now(&world, &operation).await), before, "and changes nothing");
        assert!(!alive.goes_on(&world.core).await.unwrap());
        assert_eq!(now(&world, &operation).await.processed_rows, 2 * CHUNK as i64 + 1);
        for message in all(&world).await {
            let is_first = message.id == first.id;
            assert_eq!(message.read_at.is_none(), is_first, "the reader's word is the last");
            let expected: &[&str] = if is_first { &["message.read", "message.unread"] } else { &["message.read"] };
            assert_eq!(said(&world, &message).await, expected, "once each");
        }
        let head = world.head("u").await;
        assert_eq!((head.active, head.archived), world.core.store.recount(head.id).await.unwrap());
    }
}

#[tokio::test]
async fn only_what_is_there_when_it_is_accepted_is_meant() {
    for body in [json!({"recipients": ["u", "v"]}), json!({})] {
        let world = world(&["u", "v"]).await;
        let ids = world.copy("v", CHUNK).await;
        start(&world, body.clone()).await;
        // The number of the newest message is free again, and the next one gets it.
        let mut batch = Batch::new();
        batch.remove_from_feed(world.head("v").await.id, &ids[CHUNK - 1..]);
        world.core.store.apply(batch).await.unwrap();
        world.trigger("greet", json!({"recipients": ["v"]})).await.unwrap();
        let mut work = take_up(&world, &claim(&world, "worker").await.unwrap()).await;
        assert!(work.goes_on(&world.core).await.unwrap());
        world.trigger("greet", json!({"recipients": ["u", "v"]})).await.unwrap();
        while work.goes_on(&world.core).await.unwrap() {}
        assert_eq!((world.head("u").await.active.unread, world.head("v").await.active.unread), (1, 2), "{body}");
        assert_eq!(world.head("v").await.active.total, CHUNK as i64 + 2);
    }
}

#[tokio::test]
async fn an_action_that_is_none_fails_the_operation_and_deletes_nothing() {
    let world = world(&["u"]).await;
    let operation = start(&world, json!({})).await;
    let mut batch = Batch::new();
    let unknown = json!({"action": "shred", "channel": CHANNEL}).to_string();
    batch.push("UPDATE bulk_specs SET spec = ?1", bellwire::params![unknown]);
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(world.pass(0).await, 1);
    let failed = now(&world, &operation).await;
    assert_eq!((failed.status.as_str(), failed.failed_at.is_some()), ("failed", true), "F-BLK-03");
    assert_eq!(failed.error_items[0]["id"], json!(operation.id), "F-BLK-06");
    assert!(failed.error_items[0]["reason"].as_str().unwrap().contains("`shred` is not an action"), "{failed:?}");
    assert_eq!(world.head("u").await.active.total, 1);
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "it is not tried again");
    assert_eq!("archive".parse::<Action>(), Ok(Action::Mark(Mark::Archived)), "F-STA-04");
    assert_eq!("delete".parse::<Action>(), Ok(Action::Delete), "F-STA-24");
}

/// Held up between looking and writing: what is changed meanwhile is looked at again.
#[test]
fn a_message_that_changes_while_it_is_looked_at_is_looked_at_again() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let world = world(&["u"]).await;
        let copies = world.copy("u", 2).await;
        world.core.mark(world.env, &copies, Mark::Read, None, &Default::default()).await.unwrap();
        let body = json!({"action": "archived", "recipients": ["u"], "engagement": ["read"]});
        let operation = start(&world, body).await;
        let mut work = take_up(&world, &claim(&world, "worker").await.unwrap()).await;
        let other = world.other_process();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut chunk = std::pin::pin!(work.goes_on(&world.core));
        // Two looks, at the feed and at what stands in none, each done on the only thread of the pool; then it writes,
        // which must wait.
        for _ in 0..3 {
            assert!(std::future::poll_fn(|cx| std::task::Poll::Ready(chunk.as_mut().poll(cx))).await.is_pending());
            tokio::task::spawn_blocking(|| ()).await.unwrap();
        }
        let unread = "UPDATE messages SET read_at = NULL, version = version + 1 WHERE id = ?1";
        other.execute(unread, [&copies[0]]).unwrap();
        other.execute_batch("COMMIT").unwrap();
        assert!(!chunk.await.unwrap());
        let archived: Vec<String> =
            all(&world).await.into_iter().filter(|item| item.archived_at.is_some()).map(|item| item.id).collect();
        assert_eq!(archived, copies[1..], "the one that is unread now is not meant any more");
        assert_eq!(now(&world, &operation).await.processed_rows, 1);
    });
}

#[tokio::test]
async fn a_message_that_is_gone_or_changed_refuses_the_chunk_that_found_it() {
    let world = world(&["u"]).await;
    let operation = start(&world, json!({})).await;
    let store = &world.core.store;
    let end = store.newest(world.env).await.unwrap();
    let lane = bellwire::store::chunks::Lane::All(world.env);
    let advance = async |found: &[bellwire::store::chunks::Found]| {
        let mut batch = Batch::new();
        batch.advance_bulk_operation(&operation, found);
        store.apply(batch).await
    };
    let found = store.chunk(lane, &Default::default(), 0, end, 10).await.unwrap();
    assert!(advance(&found).await.is_ok());
    world.core.mark(world.env, &[found[0].id.clone()], Mark::Seen, None, &Default::default()).await.unwrap();
    assert!(matches!(advance(&found).await, Err(Error::Refused(0))), "changed");
    let found = store.chunk(lane, &Default::default(), 0, end, 10).await.unwrap();
    assert!(advance(&found).await.is_ok());
    let mut batch = Batch::new();
    batch.remove_from_feed(found[0].feed.unwrap(), &[found[0].id.clone()]);
    store.apply(batch).await.unwrap();
    assert!(matches!(advance(&found).await, Err(Error::Refused(0))), "gone");
}

#[tokio::test]
async fn messages_in_no_feed_are_reached_too() {
    for recipients in [json!(["u", "w"]), json!(null)] {
        let world = world(&["u"]).await;
        for _ in 0..2 {
            let body = json!({"recipients": [{"id": "w"}, {"id": "x"}], "settings": {"sandbox_mode": true}});
            world.trigger("greet", body).await.unwrap();
        }
        let operation = start(&world, json!({"recipients": recipients})).await;
        assert_eq!(world.pass(0).await, 1);
        let expected = if recipients.is_null() { 5 } else { 3 };
        assert_eq!(now(&world, &operation).await.processed_rows, expected, "{recipients}");
        let read = all(&world).await.into_iter().filter(|message| message.read_at.is_some()).count();
        assert_eq!(read as i64, expected, "{recipients}");
        start(&world, json!({"action": "delete", "recipients": recipients})).await;
        assert_eq!(world.pass(0).await, 1);
        assert_eq!(all(&world).await.len() as i64, 5 - expected, "F-STA-24 {recipients}");
    }
}

/// With every chunk no more is written than how far it has come, and nobody is looked at twice.
#[tokio::test]
async fn of_a_long_list_everybody_is_reached_once() {
    let world = world(&["u", "v"]).await;
    world.copy("v", CHUNK).await;
    let named: Vec<String> =
        (0..2_000).map(|n| format!("nobody-{n}")).chain(["v", "u", "v"].map(str::to_owned)).collect();
    let operation = start(&world, json!({"recipients": named})).await;
    let job = claim(&world, "worker").await.unwrap();
    assert!(job.progress.unwrap().len() < 200, "the list is no part of what is written");
    let read = "SELECT length(spec) FROM bulk_specs";
    assert!(world.core.store.query(read, &[], |row| row.int(0)).await.unwrap()[0] > 20_000);
    world.core.clock.advance_seconds(31);
    assert_eq!(world.pass(0).await, 1);
    assert_eq!(now(&world, &operation).await.processed_rows, CHUNK as i64 + 2, "once, though named twice");
    assert_eq!((world.head("u").await.active.unread, world.head("v").await.active.unread), (0, 0));
}

#[tokio::test]
async fn a_long_operation_gives_others_their_turn() {
    let world = world(&["ann"]).await;
    world.copy("ann", CHUNK * CHUNKS_PER_CLAIM).await;
    let operation = start(&world, json!({"recipients": ["ann"]})).await;
    let job = claim(&world, "first").await.expect("the job");
    world.core.work_on_bulk(&job).await.unwrap();
    let half = now(&world, &operation).await;
    assert_eq!((half.status.as_str(), half.processed_rows), ("processing", (CHUNK * CHUNKS_PER_CLAIM) as i64));
    let job = claim(&world, "second").await.expect("it is due at once, and nobody has it");
    world.core.work_on_bulk(&job).await.unwrap();
    let done = now(&world, &operation).await;
    assert_eq!((done.status.as_str(), done.processed_rows), ("completed", (CHUNK * CHUNKS_PER_CLAIM) as i64 + 1));
    assert!(
        world.core.store.bulk_spec(&operation.id.to_string()).await.unwrap().is_none(),
        "what it was to do is forgotten"
    );
}

#[tokio::test]
async fn entries_are_done_once_whoever_works_on_them() {
    let world = World::new(&[]).await;
    let many = CHUNKS_PER_CLAIM + 10;
    let users: Vec<Value> = (0..many).map(|n| json!({"id": format!("u{n}")})).collect();
    let body = json!({"users": users});
    let operation =
        world.core.start_bulk_of(world.env, Deed::IdentifyUsers, body.as_object().unwrap(), "users").await.unwrap();
    let dead = claim(&world, "dead").await.unwrap();
    world.core.clock.advance_seconds(31);
    world.core.work_on_bulk_entries(&claim(&world, "alive").await.unwrap()).await.unwrap();
    let part = now(&world, &operation).await;
    assert_eq!((part.status.as_str(), part.processed_rows), ("processing", CHUNKS_PER_CLAIM as i64), "F-BLK-03");
    world.core.work_on_bulk_entries(&dead).await.unwrap();
    assert_eq!(now(&world, &operation).await, part, "it was not dead, but has lost the claim: it changes nothing");
    world.core.work_on_bulk_entries(&claim(&world, "third").await.unwrap()).await.unwrap();
    let done = now(&world, &operation).await;
    assert_eq!(
        (done.status.as_str(), done.processed_rows, done.success_count),
        ("completed", many as i64, many as i64)
    );
    assert_eq!(world.core.store.user_count(world.env).await.unwrap(), many as i64, "F-BLK-02");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    assert_eq!(world.core.store.bulk_spec(&operation.id.to_string()).await.unwrap(), None, "nobody reads it any more");
}

#[tokio::test]
async fn schedules_that_an_earlier_version_accepted_are_made() {
    let world = world(&[]).await;
    let now_at = world.core.clock.now();
    let operation = BulkOperation::queued(uuid::Uuid::new_v4(), world.env, "schedules.create".to_owned(), 1, now_at);
    let entry = json!({"workflow": "greet", "recipient": {"id": "u"}, "repeats": [{"frequency": "daily", "hours": 9}]});
    let mut batch = Batch::new();
    batch.add_bulk_operation(&operation, &json!([entry]));
    batch.add_long_job("bulk_schedules", &operation.id.to_string(), &json!({"done": 0}), now_at);
    world.core.store.apply(batch).await.unwrap();
    assert_eq!(world.pass(0).await, 1);
    assert_eq!(
        (now(&world, &operation).await.status.as_str(), now(&world, &operation).await.success_count),
        ("completed", 1)
    );
    let planned = world.core.store.planned_schedules(world.env, &["u".to_owned()]).await.unwrap();
    assert_eq!(planned.len(), 1);
}
