//! Users.

use bellwire::rules::preference::shown;
use serde_json::{Value, json};

use super::objects::{outcome, worked_on};
use crate::support::{HOOK, OTHER_FEED, PUSH, World};

#[tokio::test]
async fn identifying_creates_and_merges() {
    let world = World::start().await;
    let user = world.put("/v1/users/ann").pk().json(&json!({})).await.ok(200);
    let expected = json!({"__typename": "User", "id": "ann", "avatar": null, "created_at": null, "email": null,
        "name": null, "phone_number": null, "timezone": null, "updated_at": "2026-09-21T14:13:20.000000Z"});
    assert_eq!(user, expected, "F-USR-01 F-USR-06 F-USR-20 F-AMB-55 F-TRN-14");
    let body = json!({"id": "ignored", "name": "Ann", "plan": {"tier": "pro", "seats": 3}, "tags": [1, 2]});
    let user = world.put("/v1/users/ann").sk().json(&body).await.ok(200);
    assert_eq!((&user["id"], &user["plan"]["seats"]), (&json!("ann"), &json!(3)), "F-USR-01 F-USR-04 F-TRN-17");
    world.clock.advance_seconds(5);
    let body = json!({"name": null, "plan": {"seats": 4}, "tags": [3], "locale": "de"});
    let user = world.put("/v1/users/ann").sk().json(&body).await.ok(200);
    assert_eq!(user["plan"], json!({"tier": "pro", "seats": 4}), "F-USR-05");
    assert_eq!((&user["tags"], &user["name"], &user["locale"]), (&json!([3]), &Value::Null, &json!("de")), "F-USR-05");
    assert_eq!(user["updated_at"], "2026-09-21T14:13:25.000000Z", "F-USR-06");
    assert_eq!(world.get("/v1/users/ann").pk().await.ok(200), user, "F-USR-10");
    for body in ["", "null"] {
        world.put("/v1/users/ann").sk().body(body).await.ok(200);
    }
    assert_eq!(world.get("/v1/users/nobody").pk().await.code(), (404, "resource_missing".to_owned()), "F-USR-10");
}

#[tokio::test]
async fn preferences_and_channel_data_are_kept_and_not_echoed() {
    let world = World::start().await;
    let body = json!({"preferences": {"default": {"workflows": {"comment": false}}}, "channel_data": {PUSH: {"tokens": ["a"]}}});
    let user = world.put("/v1/users/ann").sk().json(&body).await.ok(200);
    assert!(user.get("preferences").is_none() && user.get("channel_data").is_none(), "F-USR-09");
    let more = json!({"preferences": {"default": {"workflows": {"other": true}}}});
    world.put("/v1/users/ann").sk().json(&more).await.ok(200);
    let list = world.get("/v1/users?include[]=preferences").sk().await.ok(200);
    let expected = shown("default", &json!({"workflows": {"comment": false, "other": true}}));
    assert_eq!(list["entries"][0]["preferences"], json!({"default": expected}), "F-USR-08 F-USR-11 F-AMB-22");
    let list = world.get("/v1/users").sk().await.ok(200);
    assert!(list["entries"][0].get("preferences").is_none(), "F-USR-11");
}

#[tokio::test]
async fn users_are_listed_newest_first_with_their_number() {
    let world = World::start().await;
    for id in ["a", "b", "c"] {
        world.clock.advance_seconds(1);
        world.put(&format!("/v1/users/{id}")).sk().await.ok(200);
    }
    world.put("/v1/users/a").sk().json(&json!({"name": "A"})).await.ok(200);
    let ids = |list: &Value| -> Vec<String> {
        list["entries"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect()
    };
    let first = world.get("/v1/users?page_size=2").sk().await.ok(200);
    assert_eq!(ids(&first), ["c", "b"], "F-AMB-18: by creation");
    assert_eq!(first["page_info"]["total_count"], 3, "F-PAG-03 F-AMB-17");
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("/v1/users?page_size=2&after={after}")).sk().await.ok(200);
    assert_eq!(ids(&second), ["a"], "F-USR-11 F-PAG-06");
    let before = second["page_info"]["before"].as_str().unwrap();
    let back = world.get(&format!("/v1/users?page_size=2&before={before}")).sk().await.ok(200);
    assert_eq!(ids(&back), ["c", "b"], "F-PAG-05");
}

#[tokio::test]
async fn a_deleted_user_leaves_nothing_behind() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().json(&json!({"name": "Ann"})).await.ok(200);
    let own = world.tell("ann", json!({}), None).await;
    world.trigger("comment", &json!({"recipients": [{"id": "bob"}], "actor": "ann"})).await;
    let reply = world.delete("/v1/users/ann").sk().await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-USR-12 F-TRN-03");
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "F-USR-12");
    assert_eq!(world.get(&format!("/v1/messages/{own}")).sk().await.status, 404, "F-USR-12");
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 0, "F-USR-12");
    let runs = world.get("/v1/workflow_recipient_runs?recipient=ann").sk().await.ok(200);
    assert_eq!(runs["items"], json!([]), "F-USR-12");
    world.work().await;
    let actor = world.feed("bob").await["entries"][0]["actors"][0].clone();
    assert_eq!((&actor["__typename"], &actor["name"]), (&json!("MissingUser"), &Value::Null), "F-USR-13 F-AMB-20");
    assert_eq!(world.delete("/v1/users/ann").sk().await.status, 404);
    let anew = world.put("/v1/users/ann").sk().await.ok(200);
    assert_eq!(anew["name"], Value::Null, "F-USR-13");
    let trigger = world.post("/v1/workflows/comment/trigger").sk();
    let reply = trigger.json(&json!({"recipients": ["bob"], "actor": "nobody"})).await;
    assert_eq!(reply.code(), (422, "actor_missing".to_owned()), "F-USR-13 W-ERR-05");
}

#[tokio::test]
async fn many_are_identified_each_by_itself() {
    let world = World::start().await;
    world.put("/v1/users/full").sk().json(&json!({"text": "x".repeat(200_000)})).await.ok(200);
    let set = json!({"workflows": {"comment": false}});
    let users = json!([{"id": "ann", "name": "Ann", "preferences": {"default": set}, "channel_data": {PUSH: {"tokens": ["a"]}}},
        {"id": "full", "more": "x".repeat(100_000)}, {"id": "bob"}, {"id": "ann", "n": 2}]);
    let done = worked_on(&world, "/v1/users/bulk/identify", json!({"users": users})).await;
    assert_eq!(done["name"], "users.identify", "F-USR-16");
    assert_eq!(outcome(&done), (3, vec![("full", &Value::Null)]), "F-USR-16 F-BLK-06 F-AMB-21");
    let ann = world.get("/v1/users/ann").sk().await.ok(200);
    assert_eq!((&ann["name"], &ann["n"]), (&json!("Ann"), &json!(2)), "F-USR-16");
    let sets = world.core.store.preference_sets(world.env, "ann").await.unwrap();
    assert_eq!(sets, [("default".to_owned(), set)], "F-USR-16 F-USR-08");
    assert_eq!(world.get("/v1/users/bob").sk().await.status, 200, "F-USR-16");
    for (body, field) in [
        (json!({"users": ["ann"]}), "users[0]"),
        (json!({"users": [{"id": "ann"}, {"name": "x"}]}), "users[1].id"),
        (json!({"users": [{"id": "a/b"}]}), "users[0].id"),
        (json!({"users": [{"id": "x", "email": 1}]}), "users[0].email"),
        (json!({"users": vec![json!({"id": "x"}); 1_001]}), "users"),
    ] {
        let reply = world.post("/v1/users/bulk/identify").sk().json(&body).await;
        assert_eq!(reply.json()["errors"][0]["field"], field, "F-BLK-01 F-BLK-07 F-USR-16");
    }
}

#[tokio::test]
async fn many_are_deleted_each_by_itself() {
    let world = World::start().await;
    for user in ["ann", "bob", "cy"] {
        world.tell(user, json!({}), None).await;
    }
    world.trigger("comment", &json!({"recipients": ["cy"], "actor": "ann"})).await;
    let done = worked_on(&world, "/v1/users/bulk/delete", json!({"user_ids": ["ann", "nobody", "bob", "ann"]})).await;
    assert_eq!(done["name"], "users.delete", "F-USR-17");
    assert_eq!(outcome(&done), (2, vec![("nobody", &Value::Null)]), "F-USR-17 F-BLK-06");
    for gone in ["ann", "bob"] {
        assert_eq!(world.get(&format!("/v1/users/{gone}")).sk().await.status, 404, "F-USR-17");
        assert_eq!(world.feed(gone).await["meta"]["total_count"], 0, "F-USR-12 F-USR-17");
    }
    let items = world.feed("cy").await["entries"].clone();
    assert_eq!(items[0]["actors"][0]["__typename"], "MissingUser", "F-USR-13 F-USR-17");
    for body in [json!({}), json!({"user_ids": [{"id": "cy"}]}), json!({"user_ids": vec!["x"; 1_001]})] {
        let reply = world.post("/v1/users/bulk/delete").sk().json(&body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-BLK-01 F-BLK-07 F-USR-17");
    }
}

#[tokio::test]
async fn preferences_of_many_are_replaced() {
    let world = World::start().await;
    let before = json!({"preferences": {"default": {"workflows": {"a": true}}, "acme": {"workflows": {"a": true}}}});
    world.put("/v1/users/ann").sk().json(&before).await.ok(200);
    let preferences = json!({"__persistence_strategy__": "merge", "channel_types": {"email": false}});
    let body = json!({"user_ids": ["ann", "new"], "preferences": preferences});
    let done = worked_on(&world, "/v1/users/bulk/preferences", body).await;
    assert_eq!((&done["name"], outcome(&done)), (&json!("users.set_preferences"), (2, vec![])), "F-PRF-20");
    let set = json!({"channel_types": {"email": false}});
    let sets = async |user: &str| world.core.store.preference_sets(world.env, user).await.unwrap();
    let acme = ("acme".to_owned(), json!({"workflows": {"a": true}}));
    assert_eq!(sets("ann").await, [acme, ("default".to_owned(), set.clone())], "F-PRF-20 F-PRF-11: always replaced");
    assert_eq!(sets("new").await, [("default".to_owned(), set.clone())], "F-PRF-20 F-PRF-15");
    let body = json!({"user_ids": ["ann"], "preferences": {"id": "acme", "channel_types": {"email": false}}});
    worked_on(&world, "/v1/users/bulk/preferences", body).await;
    assert_eq!(sets("ann").await[0], ("acme".to_owned(), set), "F-PRF-20");
    for (body, field) in [
        (json!({"user_ids": ["ann"]}), "preferences"),
        (json!({"user_ids": ["ann"], "preferences": {"id": 1}}), "preferences.id"),
        (json!({"user_ids": ["ann"], "preferences": {"channel_types": {"x": true}}}), "preferences.channel_types.x"),
        (json!({"user_ids": ["a/b"], "preferences": {}}), "user_ids[0]"),
        (json!({"preferences": {}}), "user_ids"),
    ] {
        let reply = world.post("/v1/users/bulk/preferences").sk().json(&body).await;
        assert_eq!(reply.json()["errors"][0]["field"], field, "F-PRF-20 F-BLK-01");
    }
}

#[tokio::test]
async fn two_users_are_merged_into_one() {
    let world = World::start().await;
    let set = |workflow: &str| json!({"workflows": {workflow: false}});
    let ann = json!({"name": "Ann", "plan": {"tier": "pro"}, "tags": [1], "email": null,
        "preferences": {"default": set("a")}, "channel_data": {PUSH: {"tokens": ["a"]}}});
    world.put("/v1/users/ann").sk().json(&ann).await.ok(200);
    world.clock.advance_seconds(5);
    let guest = json!({"name": "Guest", "plan": {"tier": "free", "seats": 3}, "tags": [2], "email": "g@x.io", "locale": "de",
        "created_at": "2020-01-01T00:00:00Z", "preferences": {"default": set("b"), "acme": set("c")},
        "channel_data": {PUSH: {"tokens": ["g"]}, HOOK: {"y": 1}}});
    world.put("/v1/users/guest").sk().json(&guest).await.ok(200);
    let kept = world.tell("guest", json!({"n": 1}), Some("acme")).await;
    world.trigger("elsewhere", &json!({"recipients": ["guest"]})).await;
    world.clock.advance_seconds(5);
    let user = world.post("/v1/users/ann/merge").sk().json(&json!({"from_user_id": "guest"})).await.ok(200);
    let expected = json!({"__typename": "User", "id": "ann", "name": "Ann", "avatar": null, "created_at": "2020-01-01T00:00:00Z",
        "email": null, "phone_number": null, "timezone": null, "locale": "de", "plan": {"tier": "pro", "seats": 3}, "tags": [1],
        "updated_at": "2026-09-21T14:13:30.000001Z"});
    assert_eq!(user, expected, "F-USR-14 F-USR-15: whoever stays is right");
    assert_eq!(world.get("/v1/users/ann").sk().await.ok(200), user, "F-USR-14");
    assert_eq!(world.get("/v1/users/guest").sk().await.status, 404, "F-USR-14");
    let store = &world.core.store;
    let sets = store.preference_sets(world.env, "ann").await.unwrap();
    assert_eq!(sets, [("acme".to_owned(), set("c")), ("default".to_owned(), set("a"))], "F-USR-15: whole sets");
    let mut data = store.channel_data(world.env, "ann").await.unwrap();
    data.sort_by_key(|(channel, _)| channel != PUSH);
    let expected = [(PUSH.to_owned(), json!({"tokens": ["a"]})), (HOOK.to_owned(), json!({"y": 1}))];
    assert_eq!(data, expected, "F-USR-15: of whole channels");
    for left in ["guest"] {
        assert_eq!(store.preference_sets(world.env, left).await.unwrap(), [], "F-USR-14");
        assert_eq!(store.channel_data(world.env, left).await.unwrap(), [], "F-USR-14");
    }
    let message = world.get(&format!("/v1/messages/{kept}")).sk().await.ok(200);
    assert_eq!((&message["recipient"], &message["tenant"]), (&json!("ann"), &json!("acme")), "F-USR-15");
    assert_eq!(message["updated_at"], "2026-09-21T14:13:30.000001Z", "F-USR-15");
    let activities = world.get(&format!("/v1/messages/{kept}/activities")).sk().await.ok(200);
    assert_eq!(activities["items"][0]["recipient"]["id"], "ann", "F-USR-15");
    let list = world.get("/v1/users/ann/messages").sk().await.ok(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2, "F-USR-15: of every channel");
    let other = world.get(&format!("/v1/users/ann/feeds/{OTHER_FEED}")).sk().await.ok(200);
    assert_eq!(other["meta"]["total_count"], 1, "F-USR-15");
    assert_eq!(world.feed("ann").await["meta"]["unread_count"], 1, "F-USR-15");
    let again = world.post("/v1/users/ann/merge").sk().json(&json!({"from_user_id": "guest"})).await;
    assert_eq!(again.code(), (404, "resource_missing".to_owned()), "F-USR-14");
}

#[tokio::test]
async fn what_one_follows_and_belongs_to_goes_along() {
    let world = World::start().await;
    for user in ["ann", "guest"] {
        world.put(&format!("/v1/users/{user}")).sk().await.ok(200);
    }
    for (object, recipients) in [("red", json!(["guest"])), ("blue", json!(["ann", "guest"]))] {
        world.put(&format!("/v1/objects/teams/{object}")).sk().await.ok(200);
        for recipient in recipients.as_array().unwrap() {
            let body = json!({"recipients": [recipient], "properties": {"of": recipient}});
            world.post(&format!("/v1/objects/teams/{object}/subscriptions")).sk().json(&body).await.ok(200);
        }
    }
    let member = |user: &str, tenant: Option<&str>| json!({"user": {"id": user}, "tenant": tenant});
    let ann_came_at = world.clock.now();
    for members in [json!([member("ann", None)]), json!([member("guest", None), member("guest", Some("acme"))])] {
        let path = "/v1/audiences/beta/members?create_audience=true";
        assert_eq!(world.post(path).sk().json(&json!({"members": members})).await.status, 204);
        world.clock.advance_seconds(5);
    }
    world.post("/v1/users/ann/merge").sk().json(&json!({"from_user_id": "guest"})).await.ok(200);
    let follows = world.get("/v1/users/ann/subscriptions").sk().await.ok(200);
    let follows: Vec<(&Value, &Value)> = follows["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (&one["object"]["id"], &one["properties"]["of"]))
        .collect();
    assert_eq!(follows, [(&json!("blue"), &json!("ann")), (&json!("red"), &json!("guest"))], "F-USR-15");
    for object in ["red", "blue"] {
        let followers = world.get(&format!("/v1/objects/teams/{object}/subscriptions")).sk().await.ok(200);
        assert_eq!(followers["page_info"]["total_count"], 1, "F-USR-14 {object}");
    }
    let list = world.get("/v1/audiences/beta/members").sk().await.ok(200);
    let mut members: Vec<(&Value, &Value)> =
        list["entries"].as_array().unwrap().iter().map(|one| (&one["user_id"], &one["tenant"])).collect();
    members.sort_by_key(|(_, tenant)| tenant.is_null());
    assert_eq!(members, [(&json!("ann"), &json!("acme")), (&json!("ann"), &Value::Null)], "F-USR-15");
    let own = list["entries"].as_array().unwrap().iter().find(|one| one["tenant"].is_null()).unwrap();
    assert_eq!(own["added_at"], json!(ann_came_at), "F-USR-15: whoever stays has been there for as long as before");
}

#[tokio::test]
async fn what_cannot_be_merged_is_refused() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().await.ok(200);
    for body in [json!({}), json!({"from_user_id": 1}), json!({"from_user_id": "ann"})] {
        let reply = world.post("/v1/users/ann/merge").sk().json(&body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-USR-14 {body}");
        assert_eq!(reply.json()["errors"][0]["field"], "from_user_id", "F-USR-14 {body}");
    }
    for (into, from) in [("ann", "none"), ("none", "ann")] {
        let reply = world.post(&format!("/v1/users/{into}/merge")).sk().json(&json!({"from_user_id": from})).await;
        assert_eq!(reply.code(), (404, "resource_missing".to_owned()), "F-USR-14 F-AMB-63");
        assert!(reply.text.contains("`none`"), "{}", reply.text);
    }
    assert_eq!(world.post("/v1/users/ann/merge").pk().json(&json!({"from_user_id": "x"})).await.status, 401);
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 200);
}
