//! Subscriptions: who follows which object.

use bellwire::rules::preference::shown;
use serde_json::{Value, json};

use crate::support::World;

const RED: &str = "/v1/objects/teams/red/subscriptions";

/// A world with the objects `teams/red` and `teams/blue`.
async fn teams() -> World {
    let world = World::start().await;
    let body = json!({"recipients": [{"collection": "teams", "id": "red", "name": "Red"}, {"collection": "teams", "id": "blue", "n": 1}]});
    world.post("/v1/workflows/comment/trigger").sk().json(&body).await.ok(200);
    world
}

fn recipients(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|one| one["recipient"]["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn recipients_follow_an_object_and_are_answered_with_both_records() {
    let world = teams().await;
    let body = json!({"recipients": ["ann", {"id": "bob", "name": "Bob"}, {"collection": "teams", "id": "blue"}, "ann"],
        "properties": {"role": "lead"}});
    let added = world.post(RED).sk().json(&body).await.ok(200);
    assert_eq!(recipients(&added), ["ann", "bob", "blue"], "F-SUB-02: in the order asked, each once");
    let first = &added[0];
    assert_eq!(first["__typename"], "Subscription", "F-SUB-07");
    assert_eq!(first["properties"], json!({"role": "lead"}), "F-SUB-02");
    assert_eq!(
        (&first["object"]["__typename"], &first["object"]["properties"]["name"]),
        (&json!("Object"), &json!("Red"))
    );
    assert_eq!(first["inserted_at"], first["updated_at"], "F-SUB-07");
    let kinds: Vec<_> = added.as_array().unwrap().iter().map(|one| &one["recipient"]["__typename"]).collect();
    assert_eq!(kinds, ["MissingUser", "User", "Object"], "F-REC-08 F-AMB-20");
    assert_eq!(world.get("/v1/users/bob").sk().await.ok(200)["name"], "Bob", "F-SUB-03 F-REC-04");
}

#[tokio::test]
async fn whoever_follows_already_is_updated() {
    let world = teams().await;
    let add = async |properties: Value| {
        world.clock.advance_seconds(1);
        let mut body = json!({"recipients": ["ann"]});
        if properties != json!("absent") {
            body["properties"] = properties;
        }
        world.post(RED).sk().json(&body).await.ok(200)[0].clone()
    };
    let first = add(json!({"a": 1, "b": 2})).await;
    let second = add(json!({"a": 2})).await;
    assert_eq!(second["properties"], json!({"a": 2}), "F-SUB-02 F-AMB-25: replaced");
    assert_eq!(second["inserted_at"], first["inserted_at"]);
    assert_ne!(second["updated_at"], first["updated_at"]);
    assert_eq!(add(json!("absent")).await["properties"], json!({"a": 2}), "F-AMB-25: kept");
    assert_eq!(add(Value::Null).await["properties"], Value::Null, "F-AMB-25: cleared");
    let list = world.get(RED).sk().await.ok(200);
    assert_eq!(list["page_info"]["total_count"], 1, "F-SUB-01: one of an object and a recipient");
}

#[tokio::test]
async fn those_who_followed_are_answered_when_they_are_removed() {
    let world = teams().await;
    world.post(RED).sk().json(&json!({"recipients": ["ann", "bob", "cid"]})).await.ok(200);
    let body = json!({"recipients": ["cid", "nobody", "ann"]});
    let gone = world.delete(RED).sk().json(&body).await.ok(200);
    let mut names = recipients(&gone);
    names.sort_unstable();
    assert_eq!(names, ["ann", "cid"], "F-SUB-04");
    assert_eq!(world.delete(RED).sk().json(&body).await.ok(200), json!([]), "F-SUB-04");
    assert_eq!(recipients(&world.get(RED).sk().await.ok(200)["entries"]), ["bob"]);
}

#[tokio::test]
async fn subscriptions_are_listed_from_either_end_newest_first() {
    let world = teams().await;
    for recipient in [json!({"id": "ann"}), json!({"id": "bob"}), json!({"collection": "teams", "id": "blue"})] {
        world.post(RED).sk().json(&json!({"recipients": [recipient]})).await.ok(200);
    }
    let blue = "/v1/objects/teams/blue/subscriptions";
    world.post(blue).sk().json(&json!({"recipients": ["ann"]})).await.ok(200);
    let entries = async |path: &str| world.get(path).sk().await.ok(200)["entries"].clone();
    assert_eq!(recipients(&entries(RED).await), ["blue", "bob", "ann"], "F-SUB-05 F-PAG-07");
    assert_eq!(recipients(&entries(&format!("{RED}?mode=object&recipients[]=ann&recipients[]=nobody")).await), ["ann"]);
    let named = format!(
        "{RED}?recipients[0][id]=blue&recipients[0][collection]=teams&objects[0][id]=x&objects[0][collection]=y"
    );
    assert_eq!(recipients(&entries(&named).await), ["blue"], "F-SUB-05: the filter of the other mode is ignored");
    let objects = |list: Value| -> Vec<String> {
        list.as_array().unwrap().iter().map(|one| one["object"]["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(objects(entries(&format!("{blue}?mode=recipient")).await), ["red"], "F-SUB-05");
    assert_eq!(objects(entries("/v1/users/ann/subscriptions").await), ["blue", "red"], "F-SUB-06");
    let named = "/v1/users/ann/subscriptions?objects[][id]=red&objects[][collection]=teams";
    assert_eq!(objects(entries(named).await), ["red"], "F-SUB-06");
    let first = world.get(&format!("{RED}?page_size=2")).sk().await.ok(200);
    assert_eq!((recipients(&first["entries"]), &first["page_info"]["total_count"]), (vec!["blue", "bob"], &json!(3)));
    let after = first["page_info"]["after"].as_str().expect("F-PAG-04");
    let second = world.get(&format!("{RED}?page_size=2&after={after}")).sk().await.ok(200);
    assert_eq!(recipients(&second["entries"]), ["ann"], "F-PAG-05");
    let before = second["page_info"]["before"].as_str().expect("F-PAG-04");
    let back = world.get(&format!("{RED}?page_size=2&before={before}")).sk().await.ok(200);
    assert_eq!(recipients(&back["entries"]), ["blue", "bob"], "F-PAG-05");
}

#[tokio::test]
async fn preferences_are_there_for_whoever_asks() {
    let world = teams().await;
    let set = json!({"workflows": {"comment": false}});
    let body = json!({"recipients": [{"id": "ann", "preferences": {"default": set}}]});
    world.post(RED).sk().json(&body).await.ok(200);
    let list = world.get(&format!("{RED}?include[]=preferences")).sk().await.ok(200);
    assert_eq!(
        list["entries"][0]["recipient"]["preferences"],
        json!({"default": shown("default", &set)}),
        "F-SUB-07 F-AMB-22"
    );
    let list = world.get(RED).sk().await.ok(200);
    assert!(list["entries"][0]["recipient"].get("preferences").is_none(), "F-SUB-07");
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let world = teams().await;
    let post = async |path: &str, body: Value| world.post(path).sk().json(&body).await.code();
    let unknown = "/v1/objects/teams/none/subscriptions";
    assert_eq!(post(unknown, json!({"recipients": ["ann"]})).await, (404, "resource_missing".to_owned()), "F-SUB-02");
    assert_eq!(world.get(unknown).sk().await.code().0, 404, "F-AMB-63");
    assert_eq!(world.get("/v1/users/none/subscriptions").sk().await.code().0, 404, "F-AMB-63");
    for body in [
        json!({}),
        json!({"recipients": []}),
        json!({"recipients": "ann"}),
        json!({"recipients": vec!["u"; 101]}),
        json!({"recipients": [{"name": "x"}]}),
        json!({"recipients": ["ann"], "properties": 1}),
    ] {
        assert_eq!(post(RED, body.clone()).await, (422, "invalid_params".to_owned()), "F-SUB-02 F-SUB-03 {body}");
    }
    assert_eq!(world.get(&format!("{RED}?mode=both")).sk().await.code().0, 422);
    assert_eq!(world.get(&format!("{RED}?mode=recipient&objects[0][id]=x")).sk().await.code().0, 422);
    assert_eq!(world.post(RED).pk().json(&json!({"recipients": ["ann"]})).await.code().0, 401, "F-AUT-07");
}

#[tokio::test]
async fn whoever_is_deleted_follows_nobody() {
    let world = teams().await;
    world.post(RED).sk().json(&json!({"recipients": [{"id": "ann"}, {"id": "bob"}]})).await.ok(200);
    assert_eq!(world.delete("/v1/users/ann").sk().await.status, 204);
    assert_eq!(recipients(&world.get(RED).sk().await.ok(200)["entries"]), ["bob"], "F-SUB-15 W-ENG-18");
}
