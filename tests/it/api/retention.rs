//! What is not shown any more, and what is all the same.

use bellwire::model::ids::Ksuid;
use bellwire::model::message::Message;
use bellwire::store::Batch;
use serde_json::{Value, json};

use crate::support::{EMAIL, FEED, Setup, World};

const DAY: i64 = 86_400;
/// The operations that carry the mark, as the published description has them.
const MARKED: &str = "GET /v1/messages
GET /v1/messages/batch/content
GET /v1/messages/{message_id}
GET /v1/messages/{message_id}/activities
GET /v1/messages/{message_id}/content
GET /v1/messages/{message_id}/delivery_logs
GET /v1/messages/{message_id}/events
PUT /v1/messages/{message_id}/seen
PUT /v1/messages/{message_id}/read
PUT /v1/messages/{message_id}/interacted
PUT /v1/messages/{message_id}/archived
DELETE /v1/messages/{message_id}/seen
DELETE /v1/messages/{message_id}/unseen
DELETE /v1/messages/{message_id}/read
DELETE /v1/messages/{message_id}/unread
DELETE /v1/messages/{message_id}/archived
DELETE /v1/messages/{message_id}/unarchived
POST /v1/messages/batch/archived
POST /v1/messages/batch/interacted
POST /v1/messages/batch/read
POST /v1/messages/batch/seen
POST /v1/messages/batch/unarchived
POST /v1/messages/batch/unread
POST /v1/messages/batch/unseen
GET /v1/users/{user_id}/messages
GET /v1/objects/{collection}/{id}/messages
POST /v1/channels/{channel_id}/messages/bulk/{action}
GET /v1/workflow_recipient_runs
GET /v1/workflow_recipient_runs/{id}";

async fn world(kept_days: u64) -> World {
    let mut setup = Setup::default();
    setup.settings.kept_days = kept_days;
    World::with(setup).await
}

/// How many messages a list shows.
async fn listed(world: &World, path: &str) -> usize {
    world.get(path).sk().await.ok(200)["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn messages_that_are_too_old_vanish_and_items_of_feeds_stay() {
    let world = world(30).await;
    let old = world.tell("ann", json!({"n": "old"}), None).await;
    world.clock.advance_seconds(DAY);
    let new = world.tell("ann", json!({"n": "new"}), None).await;
    let lists =
        ["/v1/messages".to_owned(), "/v1/users/ann/messages".to_owned(), format!("/v1/messages?message_ids[]={old}")];
    let single = ["", "/content", "/activities", "/events", "/delivery_logs"];
    let inserted = world.core.store.message(world.env, &old).await.unwrap().unwrap().inserted_at;
    world.clock.advance(inserted.plus_seconds(30 * DAY).micros() - world.clock.now().micros());
    assert_eq!(
        [listed(&world, &lists[0]).await, listed(&world, &lists[1]).await, listed(&world, &lists[2]).await],
        [2, 2, 1],
        "F-RET-02"
    );
    for more in single {
        assert_eq!(world.get(&format!("/v1/messages/{old}{more}")).sk().await.status, 200, "F-RET-02 {more}");
    }
    // It is older than thirty days now, and the other is not.
    world.clock.advance(1);
    assert_eq!(
        [listed(&world, &lists[0]).await, listed(&world, &lists[1]).await, listed(&world, &lists[2]).await],
        [1, 1, 0],
        "F-RET-02"
    );
    assert_eq!(listed(&world, "/v1/messages?inserted_at.gte=2020-01-01T00:00:00Z").await, 1, "F-RET-02");
    for more in single {
        let reply = world.get(&format!("/v1/messages/{old}{more}")).sk().await;
        assert_eq!(reply.code(), (404, "resource_missing".to_owned()), "F-RET-02 {more}");
        assert_eq!(world.get(&format!("/v1/messages/{new}{more}")).sk().await.status, 200, "F-RET-02 {more}");
    }
    let reply = world.get(&format!("/v1/messages/{old}")).pk().token(&world.token_of("ann")).await;
    assert_eq!(reply.status, 404, "F-RET-02");
    let contents =
        world.get(&format!("/v1/messages/batch/content?message_ids[]={old}&message_ids[]={new}")).sk().await.ok(200);
    let shown: Vec<&Value> = contents.as_array().unwrap().iter().map(|one| &one["message_id"]).collect();
    assert_eq!(shown, [&json!(new)], "F-RET-02");
    // The feed has it for ever, and it can be marked there.
    assert_eq!(world.feed("ann").await["entries"][1]["id"], json!(old), "F-RET-02 F-FED-40");
    let marked = world.put(&format!("/v1/messages/{old}/read")).sk().await.ok(200);
    assert_eq!(marked["read_at"], json!(world.clock.now()), "F-RET-02 F-STA-20");
    let marked = world.post("/v1/messages/batch/archived").sk().json(&json!({"message_ids": [old]})).await.ok(200);
    assert_eq!(marked[0]["archived_at"], json!(world.clock.now()), "F-RET-02 F-STA-20");
}

/// A message that stands in no feed, such as a channel makes that delivers.
async fn sent_by_mail(world: &World, like: &str) -> String {
    let like = world.core.store.message(world.env, like).await.unwrap().unwrap();
    let now = world.clock.now();
    let id = Ksuid::mint(now, &[b"mail"]).to_string();
    let channel = EMAIL.to_owned();
    let sent = Message { id: id.clone(), channel, feed: None, inserted_at: now, updated_at: now, ..like };
    let mut batch = Batch::new();
    batch.add_message(&sent);
    world.core.store.apply(batch).await.unwrap();
    id
}

#[tokio::test]
async fn all_at_once_means_items_of_any_age_and_other_messages_while_they_are_kept() {
    for (kept_days, is_old_mail_meant) in [(30, false), (0, true)] {
        let world = world(kept_days).await;
        let item = world.tell("ann", json!({"n": 1}), None).await;
        let old = sent_by_mail(&world, &item).await;
        world.clock.advance_seconds(31 * DAY);
        let new = sent_by_mail(&world, &item).await;
        for body in [json!({}), json!({"newer_than": "2020-01-01T00:00:00Z"})] {
            for channel in [FEED, EMAIL] {
                let path = format!("/v1/channels/{channel}/messages/bulk/read");
                world.post(&path).sk().json(&body).await.ok(200);
            }
            world.work().await;
            let mut read = Vec::new();
            for id in [&item, &new, &old] {
                read.push(world.core.store.message(world.env, id).await.unwrap().unwrap().read_at.is_some());
            }
            assert_eq!(read, [true, true, is_old_mail_meant], "F-STA-10 {kept_days} {body}");
        }
    }
}

#[tokio::test]
async fn whoever_keeps_everything_shows_everything() {
    let world = world(0).await;
    let id = world.tell("ann", json!({"n": 1}), None).await;
    world.clock.advance_seconds(20 * 365 * DAY);
    assert_eq!(listed(&world, "/v1/messages").await, 1, "F-RET-01");
    assert_eq!(world.get(&format!("/v1/messages/{id}")).sk().await.status, 200, "F-RET-01");
}

#[tokio::test]
async fn operations_about_what_is_kept_for_a_time_say_so() {
    let world = World::start().await;
    let description = world.get("/v1/openapi").await.ok(200);
    let mut marked: Vec<String> = Vec::new();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            if operation["x-retention-policy"] == true {
                marked.push(format!("{} {path}", method.to_uppercase()));
            }
        }
    }
    // Ours are about messages, too.
    marked.retain(|operation| !operation.ends_with("/revoke"));
    marked.sort();
    let mut expected: Vec<&str> = MARKED.lines().collect();
    expected.sort_unstable();
    assert_eq!(marked, expected, "F-RET-04");
}
