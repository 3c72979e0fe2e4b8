//! Objects and their collections.

use bellwire::model::message::Message;
use bellwire::model::recipient::RecipientRef;
use bellwire::rules::preference::shown;
use bellwire::store::{Batch, Env, Param, Store};
use serde_json::{Value, json};

use crate::support::{PUSH, World};

const RED: &str = "/v1/objects/teams/red";

fn ids(list: &Value) -> Vec<&str> {
    list["entries"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

fn red() -> RecipientRef {
    RecipientRef::Object { collection: "teams".to_owned(), id: "red".to_owned() }
}

/// Posts `body`, has it worked on, and gives the operation back as it is then.
pub(super) async fn worked_on(world: &World, path: &str, body: Value) -> Value {
    let queued = world.post(path).sk().json(&body).await.ok(200);
    assert_eq!((&queued["__typename"], &queued["status"]), (&json!("BulkOperation"), &json!("queued")), "F-BLK-01");
    world.work().await;
    let done = world.get(&format!("/v1/bulk_operations/{}", queued["id"].as_str().unwrap())).sk().await.ok(200);
    assert_eq!(done["status"], "completed", "F-BLK-03");
    assert_eq!(done["processed_rows"], queued["estimated_total_rows"], "F-BLK-02");
    done
}

/// How many entries were done, and which were not.
pub(super) fn outcome(done: &Value) -> (i64, Vec<(&str, &Value)>) {
    let errors = done["error_items"].as_array().unwrap();
    assert_eq!(done["error_count"], errors.len(), "F-BLK-06");
    assert!(errors.iter().all(|one| one["reason"].is_string()));
    (
        done["success_count"].as_i64().unwrap(),
        errors.iter().map(|one| (one["id"].as_str().unwrap(), &one["collection"])).collect(),
    )
}

/// A copy of what `ann` was told, as if `whom` had been told it where there are no feeds.
async fn told(world: &World, whom: &RecipientRef, id: &str) {
    let of_ann = world.tell("ann", json!({"n": 1}), None).await;
    let message = world.core.store.message(world.env, &of_ann).await.unwrap().unwrap();
    let message = Message { id: id.to_owned(), recipient: whom.clone(), feed: None, ..message };
    let mut batch = Batch::new();
    batch.add_message(&message);
    batch.add_message_event(id, "0", "message.seen", "{}", world.clock.now());
    world.core.store.apply(batch).await.unwrap();
}

async fn count(store: &Store, env: Env, sql: &str, key: &str) -> i64 {
    let params: Vec<Param> = vec![env.into(), key.into()];
    store.query_one(sql, &params, |row| row.int(0)).await.unwrap().unwrap()
}

#[tokio::test]
async fn setting_creates_and_merges() {
    let world = World::start().await;
    let made = world.put(RED).sk().await.ok(200);
    let expected = json!({"__typename": "Object", "id": "red", "collection": "teams", "created_at": null,
        "updated_at": "2026-09-21T14:13:20.000000Z", "properties": {}});
    assert_eq!(made, expected, "F-OBJ-01 F-OBJ-02 F-OBJ-05 F-TRN-14: an empty body still creates it");
    let body = json!({"id": "other", "collection": "others", "__typename": "X", "name": "Red", "plan": {"tier": "pro", "seats": 3},
        "tags": [1, 2], "timezone": "Europe/Berlin", "locale": "de", "created_at": "2020-01-01T00:00:00Z"});
    world.put(RED).sk().json(&body).await.ok(200);
    world.clock.advance_seconds(5);
    let set = world.put(RED).sk().json(&json!({"plan": {"seats": 4}, "tags": [3], "locale": null})).await.ok(200);
    let properties = json!({"name": "Red", "plan": {"tier": "pro", "seats": 4}, "tags": [3], "timezone": "Europe/Berlin",
        "locale": null, "created_at": "2020-01-01T00:00:00Z"});
    assert_eq!(set["properties"], properties, "F-OBJ-02 F-OBJ-03 F-OBJ-05");
    assert_eq!(
        (&set["id"], &set["collection"]),
        (&json!("red"), &json!("teams")),
        "F-OBJ-01: names are those of the path"
    );
    assert_eq!(set["created_at"], "2020-01-01T00:00:00Z", "F-OBJ-03 F-OBJ-05");
    assert_eq!(set["updated_at"], "2026-09-21T14:13:25.000000Z", "F-OBJ-05");
    assert_eq!(world.get(RED).sk().await.ok(200), set, "F-OBJ-04");
    for elsewhere in ["/v1/objects/teams/blue", "/v1/objects/groups/red"] {
        assert_eq!(world.get(elsewhere).sk().await.code(), (404, "resource_missing".to_owned()), "F-OBJ-04 F-OBJ-01");
    }
    assert_eq!(world.get(RED).key(&world.foreign_sk).await.status, 404, "F-AUT-22");
    for odd in ["/v1/objects/a%20b/x@y.io", "/v1/objects/bulk/bulk", "/v1/objects/%2F/a%2Fb"] {
        let set = world.put(odd).sk().json(&json!({"n": 1})).await.ok(200);
        assert_eq!(world.get(odd).sk().await.ok(200), set, "F-OBJ-01: both are arbitrary {odd}");
    }
}

#[tokio::test]
async fn what_cannot_be_an_object_is_refused() {
    let world = World::start().await;
    for (path, body, field) in [
        (RED, json!({"name": 1}), "name"),
        (RED, json!({"created_at": "soon"}), "created_at"),
        (
            RED,
            json!({"preferences": {"default": {"channel_types": {"emale": true}}}}),
            "preferences.default.channel_types.emale",
        ),
        (RED, json!({"channel_data": 1}), "channel_data"),
        ("/v1/objects/teams/a%23b", json!({}), "id"),
        ("/v1/objects/a%23b/red", json!({}), "collection"),
    ] {
        let reply = world.put(path).sk().json(&body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-OBJ-03 {body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "F-OBJ-03 {body}");
    }
    assert_eq!(world.put(RED).sk().body("[]").await.code().0, 422);
    world.put(RED).sk().json(&json!({"text": "x".repeat(200_000)})).await.ok(200);
    let more = world.put(RED).sk().json(&json!({"more": "x".repeat(100_000)})).await;
    assert_eq!(more.code(), (422, "invalid_params".to_owned()), "F-OBJ-02: 256 kB after the merge");
    assert!(world.get(RED).sk().await.ok(200)["properties"].get("more").is_none(), "F-OBJ-02");
}

#[tokio::test]
async fn a_collection_is_listed_newest_first() {
    let world = World::start().await;
    assert_eq!(ids(&world.get("/v1/objects/teams").sk().await.ok(200)), Vec::<&str>::new(), "F-OBJ-06 F-OBJ-01");
    for id in ["a", "b", "c"] {
        world.clock.advance_seconds(1);
        world.put(&format!("/v1/objects/teams/{id}")).sk().await.ok(200);
        world.put(&format!("/v1/objects/others/{id}{id}")).sk().await.ok(200);
    }
    let set = json!({"workflows": {"comment": false}});
    let body = json!({"name": "A", "preferences": {"default": set}, "channel_data": {PUSH: {"tokens": ["a"]}}});
    let a = world.put("/v1/objects/teams/a").sk().json(&body).await.ok(200);
    assert_eq!(a["properties"], json!({"name": "A"}), "F-OBJ-03: neither is echoed");
    let first = world.get("/v1/objects/teams?page_size=2").sk().await.ok(200);
    assert_eq!(ids(&first), ["c", "b"], "F-OBJ-06 F-AMB-18: by creation");
    assert_eq!(first["page_info"]["total_count"], 3, "F-PAG-03 F-AMB-17");
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("/v1/objects/teams?page_size=2&after={after}")).sk().await.ok(200);
    assert_eq!((ids(&second), &second["entries"][0]), (vec!["a"], &a), "F-OBJ-06 F-PAG-06");
    let before = second["page_info"]["before"].as_str().unwrap();
    let back = world.get(&format!("/v1/objects/teams?page_size=2&before={before}")).sk().await.ok(200);
    assert_eq!(ids(&back), ["c", "b"], "F-PAG-05");
    let with = world.get("/v1/objects/teams?include[]=preferences").sk().await.ok(200);
    assert_eq!(with["entries"][2]["preferences"], json!({"default": shown("default", &set)}), "F-OBJ-06 F-AMB-22");
    assert_eq!(with["entries"][0]["preferences"], json!({}), "F-AMB-22");
    assert_eq!(world.get("/v1/objects/teams?include[]=all").sk().await.code().0, 422, "F-OBJ-06");
    let data = world.core.store.channel_data(world.env, "#teams#a").await.unwrap();
    assert_eq!(data, [(PUSH.to_owned(), json!({"tokens": ["a"]}))], "F-OBJ-03");
}

#[tokio::test]
async fn the_messages_of_an_object_are_its_own() {
    let world = World::start().await;
    assert_eq!(world.get(&format!("{RED}/messages")).sk().await.code().0, 404, "F-AMB-63");
    world.put(RED).sk().await.ok(200);
    told(&world, &red(), "m1").await;
    let list = world.get(&format!("{RED}/messages")).sk().await.ok(200);
    let items = list["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[0]["id"]), (1, &json!("m1")), "F-MSG-18");
    assert_eq!(items[0]["recipient"], json!({"collection": "teams", "id": "red"}), "F-MSG-18 F-REC-07");
    let list = world.get(&format!("{RED}/messages?source=elsewhere")).sk().await.ok(200);
    assert_eq!(list["items"], json!([]), "F-MSG-18");
}

#[tokio::test]
async fn a_deleted_object_leaves_nothing_behind() {
    let world = World::start().await;
    let body = json!({"name": "Red", "preferences": {"default": {"workflows": {"comment": false}}}, "channel_data": {PUSH: {"tokens": ["a"]}}});
    world.put(RED).sk().json(&body).await.ok(200);
    world.put("/v1/objects/teams/blue").sk().json(&json!({"name": "Blue"})).await.ok(200);
    let follow = async |whom: &str, body: Value| {
        world.post(&format!("/v1/objects/teams/{whom}/subscriptions")).sk().json(&body).await.ok(200)
    };
    follow("red", json!({"recipients": [{"id": "ann"}, {"collection": "teams", "id": "blue"}]})).await;
    follow("blue", json!({"recipients": [{"collection": "teams", "id": "red"}, "ann"]})).await;
    let me = json!({"collection": "teams", "id": "red"});
    world.trigger("later", &json!({"recipients": [me]})).await;
    world.trigger("digest", &json!({"recipients": [me]})).await;
    let schedule = json!({"workflow": "comment", "recipients": [me], "scheduled_at": "2027-01-01T00:00:00Z"});
    world.post("/v1/schedules").sk().json(&schedule).await.ok(200);
    told(&world, &red(), "m1").await;
    world.trigger("comment", &json!({"recipients": [{"id": "bob"}], "actor": me})).await;
    let tables = [
        ("preference_sets", "recipient"),
        ("channel_data", "recipient"),
        ("subscriptions", "recipient"),
        ("subscriptions", "object"),
        ("schedules", "recipient"),
        ("batches", "recipient"),
        ("messages", "recipient"),
        ("runs", "recipient"),
    ];
    let counts = async || {
        let mut out = Vec::new();
        for (table, column) in tables {
            let sql = format!("SELECT count(*) FROM {table} WHERE env = ?1 AND {column} = ?2");
            out.push((table, column, count(&world.core.store, world.env, &sql, "#teams#red").await));
        }
        out
    };
    for (table, column, found) in counts().await {
        assert!(found > 0, "there is nothing in {table} by {column}");
    }
    let reply = world.delete(RED).sk().await;
    assert_eq!((reply.status, reply.text.as_str()), (204, ""), "F-OBJ-04 F-TRN-03");
    assert_eq!(world.get(RED).sk().await.status, 404, "F-OBJ-04");
    for (table, column, found) in counts().await {
        assert_eq!(found, 0, "F-OBJ-04 F-SUB-15: {table} by {column}");
    }
    assert_eq!(world.core.store.message_events("m1").await.unwrap(), [], "F-OBJ-04");
    let followed = world.get("/v1/users/ann/subscriptions").sk().await.ok(200);
    let followed: Vec<&Value> =
        followed["entries"].as_array().unwrap().iter().map(|one| &one["object"]["id"]).collect();
    assert_eq!(followed, ["blue"], "F-SUB-15 F-AMB-25");
    world.work().await;
    let actor = world.feed("bob").await["entries"][0]["actors"][0].clone();
    let missing = json!({"__typename": "MissingObject", "id": "red", "collection": "teams", "properties": {},
        "created_at": null, "updated_at": actor["updated_at"]});
    assert_eq!(actor, missing, "F-AMB-20: whoever was told of it is told of nobody");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "F-OBJ-04: nothing of its is left to be done");
    assert_eq!(world.delete(RED).sk().await.code(), (404, "resource_missing".to_owned()), "F-OBJ-04");
    assert_eq!(world.put(RED).sk().await.ok(200)["properties"], json!({}), "F-OBJ-04: it comes back as a new one");
}

#[tokio::test]
async fn many_are_set_each_by_itself() {
    let world = World::start().await;
    world.put(RED).sk().json(&json!({"name": "Red", "text": "x".repeat(200_000)})).await.ok(200);
    let set = json!({"workflows": {"comment": false}});
    let objects = json!([{"id": "blue", "name": "Blue", "preferences": {"default": set}, "channel_data": {PUSH: {"tokens": ["a"]}}},
        {"id": "red", "more": "x".repeat(100_000)}, {"id": "green", "collection": "others"}, {"id": "blue", "n": 2}]);
    let done = worked_on(&world, "/v1/objects/teams/bulk/set", json!({"objects": objects})).await;
    assert_eq!(done["name"], "objects.set", "F-OBJ-08");
    assert_eq!(outcome(&done), (3, vec![("red", &json!("teams"))]), "F-BLK-06 F-AMB-21: 256 kB fail by themselves");
    let list = world.get("/v1/objects/teams?include[]=preferences").sk().await.ok(200);
    let blue = list["entries"].as_array().unwrap().iter().find(|one| one["id"] == "blue").unwrap();
    assert_eq!(blue["properties"], json!({"name": "Blue", "n": 2}), "F-OBJ-08: merged one after the other");
    assert_eq!(blue["preferences"], json!({"default": shown("default", &set)}), "F-OBJ-08");
    assert_eq!(world.get("/v1/objects/teams/green").sk().await.status, 200, "F-OBJ-08: of the collection in the path");
    assert_eq!(world.get("/v1/objects/others/green").sk().await.status, 404, "F-OBJ-08");
}

#[tokio::test]
async fn many_are_deleted_each_by_itself() {
    let world = World::start().await;
    for id in ["red", "blue", "green"] {
        world.put(&format!("/v1/objects/teams/{id}")).sk().await.ok(200);
    }
    let body = json!({"object_ids": ["red", "none", "blue", "red"]});
    let done = worked_on(&world, "/v1/objects/teams/bulk/delete", body).await;
    assert_eq!(done["name"], "objects.delete", "F-OBJ-08");
    assert_eq!(outcome(&done), (2, vec![("none", &json!("teams"))]), "F-OBJ-08 F-BLK-06: named twice is meant once");
    assert_eq!(ids(&world.get("/v1/objects/teams").sk().await.ok(200)), ["green"], "F-OBJ-08");
}

#[tokio::test]
async fn many_subscriptions_are_made_and_ended() {
    let world = World::start().await;
    for id in ["red", "blue"] {
        world.put(&format!("/v1/objects/teams/{id}")).sk().await.ok(200);
    }
    let subscriptions = json!([
        {"id": "red", "recipients": [{"id": "ann", "name": "Ann"}, "bob"], "properties": {"role": "lead"}},
        {"id": "none", "recipients": ["ann"]},
        {"id": "blue", "recipients": [{"collection": "teams", "id": "red"}]}]);
    let done =
        worked_on(&world, "/v1/objects/teams/bulk/subscriptions/add", json!({"subscriptions": subscriptions})).await;
    assert_eq!(done["name"], "subscriptions.add", "F-SUB-08");
    assert_eq!(outcome(&done), (2, vec![("none", &json!("teams"))]), "F-SUB-08 F-SUB-02 F-BLK-06");
    assert_eq!(world.get("/v1/users/ann").sk().await.ok(200)["name"], "Ann", "F-SUB-08 F-REC-04");
    let followers = async |id: &str| -> Vec<(String, Value)> {
        let list = world.get(&format!("/v1/objects/teams/{id}/subscriptions")).sk().await.ok(200);
        let entries = list["entries"].as_array().unwrap().iter();
        let mut all: Vec<(String, Value)> = entries
            .map(|one| (one["recipient"]["id"].as_str().unwrap().to_owned(), one["properties"].clone()))
            .collect();
        all.sort_by(|one, other| one.0.cmp(&other.0));
        all
    };
    let lead = json!({"role": "lead"});
    let both = vec![("ann".to_owned(), lead.clone()), ("bob".to_owned(), lead.clone())];
    assert_eq!(followers("red").await, both, "F-SUB-08");
    assert_eq!(followers("blue").await, [("red".to_owned(), Value::Null)], "F-SUB-08");
    let ends = json!([{"id": "red", "recipients": ["ann", "nobody"]}, {"id": "none", "recipients": ["ann"]}]);
    let done = worked_on(&world, "/v1/objects/teams/bulk/subscriptions/delete", json!({"subscriptions": ends})).await;
    assert_eq!(done["name"], "subscriptions.delete", "F-SUB-08");
    assert_eq!(outcome(&done), (2, vec![]), "F-SUB-08: what is not there is passed over");
    assert_eq!(followers("red").await, [("bob".to_owned(), lead)], "F-SUB-08");
}

#[tokio::test]
async fn what_is_wrong_with_any_entry_is_said_before_anything_is_done() {
    let world = World::start().await;
    let long = vec![json!({"id": "x"}); 1_001];
    for (path, body, field) in [
        ("set", json!({}), "objects"),
        ("set", json!({"objects": []}), "objects"),
        ("set", json!({"objects": long}), "objects"),
        ("set", json!({"objects": [{"id": "fine"}, {"name": "x"}]}), "objects[1].id"),
        ("set", json!({"objects": ["fine"]}), "objects[0]"),
        ("set", json!({"objects": [{"id": "a#b"}]}), "objects[0].id"),
        ("set", json!({"objects": [{"id": "fine"}, {"id": "x", "name": 1}]}), "objects[1].name"),
        ("delete", json!({"object_ids": "red"}), "object_ids"),
        ("delete", json!({"object_ids": [{"id": "red"}]}), "object_ids[0]"),
        ("delete", json!({"object_ids": vec!["x"; 1_001]}), "object_ids"),
        ("subscriptions/add", json!({"subscriptions": [{"id": "x", "recipients": []}]}), "subscriptions[0].recipients"),
        (
            "subscriptions/add",
            json!({"subscriptions": [{"id": "x", "recipients": vec!["u"; 101]}]}),
            "subscriptions[0].recipients",
        ),
        (
            "subscriptions/add",
            json!({"subscriptions": [{"id": "x", "recipients": ["u", {"name": "x"}]}]}),
            "subscriptions[0].recipients[1].id",
        ),
        ("subscriptions/add", json!({"subscriptions": [{"recipients": ["u"]}]}), "subscriptions[0].id"),
        ("subscriptions/delete", json!({"subscriptions": [{"id": "x"}]}), "subscriptions[0].recipients"),
    ] {
        let reply = world.post(&format!("/v1/objects/teams/bulk/{path}")).sk().json(&body).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "F-BLK-01 F-BLK-07 F-AMB-19 {path}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "F-BLK-01 F-OBJ-08 {path}");
    }
    world.work().await;
    assert_eq!(ids(&world.get("/v1/objects/teams").sk().await.ok(200)), Vec::<&str>::new(), "F-BLK-01");
    let most = json!({"objects": (0..120).map(|n| json!({"id": format!("o{n}")})).collect::<Vec<_>>()});
    assert_eq!(outcome(&worked_on(&world, "/v1/objects/teams/bulk/set", most).await), (120, vec![]), "F-BLK-07");
    let total = world.get("/v1/objects/teams?page_size=1").sk().await.ok(200)["page_info"]["total_count"].clone();
    assert_eq!(total, 120, "F-OBJ-08: more than is done under one claim");
}

#[tokio::test]
async fn tenants_are_objects_too() {
    let world = World::start().await;
    let body = json!({"name": "Acme", "settings": {"branding": {"primary_color": "#123456"}}});
    let set = world.put("/v1/objects/%24tenants/acme").sk().json(&body).await.ok(200);
    assert_eq!((&set["collection"], &set["properties"]), (&json!("$tenants"), &body), "F-OBJ-10 F-TEN-01");
    assert_eq!(world.get("/v1/objects/$tenants/acme").sk().await.ok(200), set, "F-OBJ-10");
    let more = json!({"settings": {"branding": {"logo_url": "https://x.io/l.png"}, "preference_set": {"channel_types": {"email": false}}}});
    let tenant = world.put("/v1/tenants/acme").sk().json(&more).await.ok(200);
    assert_eq!(tenant["settings"]["branding"]["primary_color"], "#123456", "F-TEN-01 F-OBJ-10");
    let refused = json!({"settings": {"branding": {"primary_color": "red"}}});
    let reply = world.put("/v1/objects/$tenants/acme").sk().json(&refused).await;
    assert_eq!(reply.json()["errors"][0]["field"], "settings.branding.primary_color", "F-OBJ-10 F-TEN-04");
    assert_eq!(ids(&world.get("/v1/objects/$tenants").sk().await.ok(200)), ["acme"], "F-OBJ-10");
    let follow = json!({"recipients": [{"id": "ann"}]});
    world.post("/v1/objects/$tenants/acme/subscriptions").sk().json(&follow).await.ok(200);
    assert_eq!(world.get("/v1/objects/$tenants/acme/messages").sk().await.ok(200)["items"], json!([]), "F-OBJ-10");
    assert_eq!(world.delete("/v1/objects/$tenants/acme").sk().await.status, 204, "F-OBJ-10");
    assert_eq!(world.get("/v1/tenants/acme").sk().await.status, 404, "F-OBJ-10 F-TEN-01");
    // What is another's has settings of its own kind.
    let other = json!({"settings": {"branding": {"primary_color": "red"}}});
    let other = world.put(RED).sk().json(&other).await.ok(200);
    assert_eq!(other["properties"]["settings"]["branding"]["primary_color"], "red", "F-OBJ-01");
}
