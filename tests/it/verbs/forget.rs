//! A deleted user: nothing of theirs is left, and others are told of nobody.

use bellwire::bus::News;
use bellwire::model::mark::Mark;
use bellwire::model::message::Message;
use bellwire::store::feeds::Changes;
use bellwire::store::jobs::Job;
use bellwire::verbs::forget::Work;
use serde_json::{Value, json};

use crate::world::{CHANNEL, World, document, tell};

async fn world() -> World {
    World::new(&[("greet", document(json!([tell("hello", "x")])))]).await
}

async fn tells(world: &World, actor: &str, recipients: Value) {
    world.trigger("greet", json!({"recipients": recipients, "actor": {"id": actor, "name": "Ann"}})).await.unwrap();
}

/// What is shown as the item's first actor: a type and a name.
fn actor(message: &Message) -> (String, Value) {
    let actors: Value = serde_json::from_str(&message.actors).unwrap();
    (actors[0]["__typename"].as_str().unwrap().to_owned(), actors[0]["name"].clone())
}

fn ann() -> (String, Value) {
    ("User".to_owned(), json!("Ann"))
}

fn missing() -> (String, Value) {
    ("MissingUser".to_owned(), Value::Null)
}

async fn claim(world: &World, worker: &str) -> Option<Job> {
    let now = world.core.clock.now();
    world.core.store.claim_jobs(worker, now, now.plus_seconds(30), 64).await.unwrap().pop()
}

#[tokio::test]
async fn bells_of_others_hear_that_whoever_acted_is_gone() {
    let world = world().await;
    tells(&world, "ann", json!([{"id": "bob"}, {"id": "cy"}])).await;
    tells(&world, "ann", json!(["bob"])).await;
    tells(&world, "dee", json!(["bob"])).await;
    let before = [world.head("bob").await, world.head("cy").await];
    world.core.delete_user(world.env, "ann").await.unwrap();
    world.events.lock().unwrap().clear();
    world.core.clock.advance_seconds(60);
    assert_eq!(world.pass(0).await, 1);

    let told: Vec<(String, i64)> = world
        .events
        .lock()
        .unwrap()
        .iter()
        .map(|event| {
            assert!(matches!(event.news, News::Changed));
            assert_eq!(event.channel, CHANNEL);
            (event.recipient.clone(), event.head.version)
        })
        .collect();
    let next = |at: usize| before[at].version + 1;
    assert_eq!(told, [("bob".to_owned(), next(0)), ("cy".to_owned(), next(1))], "F-USR-13: once for each feed");
    for (user, before) in ["bob", "cy"].into_iter().zip(before) {
        let head = world.head(user).await;
        assert_eq!((head.active, head.version), (before.active, before.version + 1), "no count changes");
        let Changes::Since { changed, removed } = world.changes(user, before.version).await else {
            panic!("one change behind");
        };
        assert!(removed.is_empty());
        assert!(changed.iter().all(|item| actor(item) == missing()), "F-AMB-20: whoever resumes is told, too");
        assert!(changed.iter().all(|item| item.updated_at == world.core.clock.now()));
        assert_eq!(changed.len(), if user == "bob" { 2 } else { 1 });
    }
    let shown: Vec<_> = world.feed("bob").await.iter().map(actor).collect();
    assert_eq!(shown, [ann(), missing(), missing()], "the newest is dee's, of the same name");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
}

#[tokio::test]
async fn a_dead_worker_is_followed_by_another_and_each_feed_hears_once() {
    let world = world().await;
    let everybody: Vec<Value> = (0..150).map(|n| json!({"id": format!("user-{n}")})).collect();
    tells(&world, "ann", json!(everybody)).await;
    world.core.delete_user(world.env, "ann").await.unwrap();
    let first = claim(&world, "dead").await.unwrap();
    let mut dead = Work::take_up(&first).unwrap();
    assert!(dead.goes_on(&world.core).await.unwrap(), "there is more");
    world.core.clock.advance_seconds(20);
    assert!(claim(&world, "early").await.is_none(), "the claim was renewed");
    world.core.clock.advance_seconds(11);
    let second = claim(&world, "alive").await.unwrap();
    let after = |job: &Job| serde_json::from_str::<Value>(job.progress.as_deref().unwrap()).unwrap()["after"].as_i64();
    assert!(after(&second) > after(&first), "it begins where the other one stopped");
    let mut alive = Work::take_up(&second).unwrap();
    assert!(!dead.goes_on(&world.core).await.unwrap(), "the claim is lost");
    assert_eq!(world.head("user-149").await.version, 1, "and nothing was done without it");
    assert!(!alive.goes_on(&world.core).await.unwrap(), "that was the rest");
    for n in 0..150 {
        let user = format!("user-{n}");
        assert_eq!((world.head(&user).await.version, actor(&world.feed(&user).await[0])), (2, missing()), "{user}");
    }
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
}

#[tokio::test]
async fn a_new_user_of_that_id_is_not_taken_for_the_old_one() {
    let world = world().await;
    tells(&world, "ann", json!([{"id": "bob"}])).await;
    tells(&world, "dee", json!(["bob"])).await;
    world.core.delete_user(world.env, "ann").await.unwrap();
    // The number of the newest message is free again: the new ann's gets it.
    let newest = world.feed("bob").await.remove(0).id;
    let mut batch = bellwire::store::Batch::new();
    batch.remove_from_feed(world.head("bob").await.id, &[newest]);
    world.core.store.apply(batch).await.unwrap();
    for _ in 0..2 {
        tells(&world, "ann", json!(["bob"])).await;
    }
    assert_eq!(world.pass(0).await, 1);
    let shown: Vec<_> = world.feed("bob").await.iter().map(actor).collect();
    assert_eq!(shown, [ann(), ann(), missing()], "F-USR-13");
    // Gone again, the older item stays as it is.
    let before = world.feed("bob").await.pop().unwrap();
    world.core.delete_user(world.env, "ann").await.unwrap();
    assert_eq!(world.pass(0).await, 1);
    assert_eq!(world.feed("bob").await.pop().unwrap(), before);
    assert!(world.feed("bob").await.iter().all(|item| actor(item) == missing()));
}

#[tokio::test]
async fn nothing_of_a_deleted_user_is_left_in_feeds_or_beside_them() {
    let world = world().await;
    for sandbox in [false, true] {
        let body = json!({"recipients": [{"id": "ann"}, {"id": "bob"}], "actor": {"id": "ann", "name": "Ann"},
            "settings": {"sandbox_mode": sandbox}});
        world.trigger("greet", body).await.unwrap();
    }
    let all = async || world.core.store.messages(world.env, &Default::default(), None, 50).await.unwrap();
    let ids: Vec<String> = all().await.into_iter().map(|message| message.id).collect();
    world.core.mark(world.env, &ids, Mark::Read, None, &Default::default()).await.unwrap();
    let events = async || {
        let sql = "SELECT message FROM message_events ORDER BY message";
        world.core.store.query(sql, &[], |row| row.string(0)).await.unwrap()
    };
    assert_eq!(events().await.len(), 4);
    world.core.delete_user(world.env, "ann").await.unwrap();
    let left = all().await;
    let mut of_bob: Vec<String> = left.iter().map(|message| message.id.clone()).collect();
    of_bob.sort();
    assert!(left.len() == 2 && left.iter().all(|message| message.recipient.id() == "bob"), "F-USR-12");
    assert_eq!(events().await, of_bob, "F-USR-12: with what was done to them");
    assert!(world.core.store.runs(world.env, &Default::default(), None, 50).await.unwrap().len() == 2, "F-USR-12");
    world.pass(0).await;
    assert!(all().await.iter().all(|message| actor(message) == missing()), "F-USR-13: sandboxed ones, too");
}

/// F-USR-13: in what has come together several act, and only one of them is gone.
#[tokio::test]
async fn among_others_whoever_is_gone_is_missing_and_the_others_stay() {
    let gather = json!({"type": "batch", "ref": "gather", "settings": {"batch_window": {"unit": "hours", "value": 1}}});
    let world = World::new(&[("greet", document(json!([gather, tell("hello", "x")])))]).await;
    let body = |actor: &str| json!({"recipients": [{"id": "bob"}], "actor": {"id": actor, "name": actor}});
    for actor in ["dee", "ann", "cy", "ann"] {
        world.trigger("greet", body(actor)).await.unwrap();
    }
    world.pass(3_600).await;
    let mut sandboxed = body("ann");
    sandboxed["settings"] = json!({"sandbox_mode": true});
    world.trigger("greet", sandboxed).await.unwrap();
    world.trigger("greet", body("dee")).await.unwrap();
    world.pass(3_600).await;
    // One more is open when she goes.
    world.trigger("greet", body("ann")).await.unwrap();
    world.trigger("greet", body("cy")).await.unwrap();
    for user in ["ann", "cy"] {
        world.core.delete_user(world.env, user).await.unwrap();
    }
    world.pass(3_600).await;
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
    let messages = world.core.store.messages(world.env, &Default::default(), None, 50).await.unwrap();
    let shown: Vec<Vec<(Value, Value)>> = messages
        .iter()
        .map(|message| {
            let mut text = String::new();
            message.write_activities(&mut text, "null");
            let activities: Vec<Value> = serde_json::from_str(&text).unwrap();
            activities.iter().map(|one| (one["actor"]["__typename"].clone(), one["actor"]["id"].clone())).collect()
        })
        .collect();
    let (dee, [ann, cy]) = ((json!("User"), json!("dee")), ["ann", "cy"].map(|id| (json!("MissingUser"), json!(id))));
    let expected = [vec![ann.clone(), cy.clone()], vec![ann.clone(), dee.clone()], vec![dee, ann.clone(), cy, ann]];
    assert_eq!(shown, expected, "F-USR-13");
}

#[tokio::test]
async fn who_never_acted_leaves_no_work() {
    let world = world().await;
    tells(&world, "dee", json!([{"id": "ann"}, {"id": "bob"}])).await;
    world.core.delete_user(world.env, "ann").await.unwrap();
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None);
}
