//! Census and Hightouch, as each of them calls: by the methods of its documentation of custom destinations.

use bellwire::model::audience::{Audience, Audiences};
use serde_json::{Value, json};

use crate::support::World;

const CENSUS: &str = "/v1/integrations/census/custom-destination";
const HIGHTOUCH: &str = "/v1/integrations/hightouch/embedded-destination";

/// A world with the static audience `vip`, for whose new members `comment` runs, and the dynamic `pro`.
async fn world() -> World {
    let world = World::start().await;
    let segments = json!([{"conditions": [{"property": "recipient.plan", "operator": "equal_to", "argument": "pro"}]}]);
    let declared = [
        ("vip", json!({"name": "VIP", "type": "static"})),
        ("pro", json!({"name": "Pro", "type": "dynamic", "segments": segments})),
    ];
    let declared = declared.map(|(key, document)| Audience::parse(key, &document).unwrap()).into();
    world.core.catalog.replace_audiences(Audiences::new(declared, [("comment".to_owned(), "vip".to_owned())].into()));
    world.core.publish_audiences().await.unwrap();
    world
}

/// Calls a method; the result, or the error's number.
async fn call(world: &World, path: &str, method: &str, params: Value) -> Result<Value, i64> {
    let body = json!({"jsonrpc": "2.0", "id": "d33ded26", "method": method, "params": params});
    let answer = world.post(path).sk().json(&body).await.ok(200);
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!("d33ded26")), "F-INT-01 {answer}");
    assert!(answer.get("result").is_some() != answer.get("error").is_some(), "F-INT-01: one of both: {answer}");
    match answer.get("error") {
        Some(error) => {
            assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{answer}");
            Err(error["code"].as_i64().unwrap())
        }
        None => Ok(answer["result"].clone()),
    }
}

/// The members of an audience, in order: their ids, with their tenants.
async fn members(world: &World, key: &str) -> Vec<(String, Option<String>)> {
    let list = world.get(&format!("/v1/audiences/{key}/members")).sk().await.ok(200);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let entries = list["entries"].as_array().unwrap().iter();
    let mut all: Vec<_> = entries.map(|entry| (text(&entry["user_id"]).unwrap(), text(&entry["tenant"]))).collect();
    all.sort();
    all
}

fn plain(ids: &[&str]) -> Vec<(String, Option<String>)> {
    ids.iter().map(|id| ((*id).to_owned(), None)).collect()
}

#[tokio::test]
async fn a_call_is_an_envelope_and_is_answered_in_one() {
    let world = world().await;
    for path in [CENSUS, HIGHTOUCH] {
        for (body, field) in [
            (json!({"id": "1", "method": "list_objects"}), "jsonrpc"),
            (json!({"jsonrpc": "2.0", "method": "list_objects"}), "id"),
            (json!({"jsonrpc": "2.0", "id": {}, "method": "list_objects"}), "id"),
            (json!({"jsonrpc": "2.0", "id": "1"}), "method"),
            (json!({"jsonrpc": "2.0", "id": "1", "method": "list_objects", "params": []}), "params"),
        ] {
            let error = world.post(path).sk().json(&body).await.ok(422);
            assert_eq!(error["errors"][0]["field"], field, "F-INT-01 {path} {body}");
        }
        for method in ["nonsense", "LIST_OBJECTS"] {
            assert_eq!(call(&world, path, method, json!({})).await, Err(-32601), "F-INT-01 F-AMB-53 {path} {method}");
        }
        let body = json!({"jsonrpc": "2.0", "id": 7, "method": "list_objects"});
        let answer = world.post(path).sk().json(&body).await.ok(200);
        assert_eq!(answer["id"], 7, "F-INT-01: ids may be numbers, and parameters left out");
        let reply = world.post(path).pk().json(&body).await;
        assert_eq!(reply.status, 401, "F-INT-01: it takes a secret key");
    }
}

#[tokio::test]
async fn census_learns_what_there_is() {
    let world = world().await;
    let object = json!({"object_api_name": "audience", "label": "Audiences"});
    assert_eq!(call(&world, CENSUS, "test_connection", json!({})).await, Ok(json!({"success": true})), "F-INT-01");
    let objects = call(&world, CENSUS, "list_objects", json!({})).await;
    assert_eq!(objects, Ok(json!({"objects": [object]})), "F-INT-02");
    let fields = call(&world, CENSUS, "list_fields", json!({"object": object})).await.unwrap();
    let told: Vec<_> = fields["fields"].as_array().unwrap().iter().collect();
    let names: Vec<_> = told.iter().map(|field| (&field["field_api_name"], &field["identifier"])).collect();
    let expected = [(&json!("user_id"), &json!(true)), (&json!("audience_key"), &json!(false))];
    assert_eq!(names, expected, "F-INT-02");
    for field in told {
        for (name, value) in [("required", json!(true)), ("type", json!("string")), ("array", json!(false))] {
            assert_eq!(field[name], value, "F-INT-02 {field}");
        }
        assert!(field["label"].is_string() && field["createable"] == true && field["updateable"] == true, "{field}");
    }
    let operations = call(&world, CENSUS, "supported_operations", json!({"object": object})).await;
    assert_eq!(operations, Ok(json!({"operations": ["insert", "mirror"]})), "F-INT-02: no update");
    let speed = call(&world, CENSUS, "get_sync_speed", json!({})).await.unwrap();
    assert_eq!(speed["maximum_batch_size"], 500);
    assert!(speed["maximum_parallel_batches"].as_u64() <= Some(50) && speed["maximum_records_per_second"].is_u64());
    for method in ["list_fields", "supported_operations"] {
        let params = json!({"object": {"object_api_name": "user"}});
        assert_eq!(call(&world, CENSUS, method, params).await, Err(-32602), "{method}");
    }
}

async fn batch(world: &World, operation: &str, records: Value) -> Result<Value, i64> {
    let plan = json!({"object": {"object_api_name": "audience"}, "operation": operation, "sync_id": 1, "schema": {}});
    let result = call(world, CENSUS, "sync_batch", json!({"sync_plan": plan, "records": records})).await?;
    assert_eq!(result.as_object().unwrap().len(), 1, "{result}");
    Ok(result["record_results"].clone())
}

#[tokio::test]
async fn census_keeps_members_and_hears_of_each_record() {
    let world = world().await;
    let record = |user: &str, key: &str| json!({"user_id": user, "audience_key": key});
    let done = |user: &str| json!({"identifier": user, "success": true});
    let results = batch(&world, "insert", json!([record("ann", "vip"), record("bob", "vip")])).await;
    assert_eq!(results, Ok(json!([done("ann"), done("bob")])), "F-INT-02");
    assert_eq!(members(&world, "vip").await, plain(&["ann", "bob"]), "F-INT-02");
    world.work().await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 1, "F-AUD-08: who joins runs through workflows");
    // What is mirrored comes as two operations; a number is an id, too.
    let mirrored = json!([record("cem", "vip"), {"user_id": 42, "audience_key": "vip"}, record("ann", "vip")]);
    let results = batch(&world, "upsert", mirrored).await;
    assert_eq!(results, Ok(json!([done("cem"), {"identifier": 42, "success": true}, done("ann")])), "F-INT-02");
    let results = batch(&world, "delete", json!([record("ann", "vip"), record("nobody", "vip")])).await;
    assert_eq!(results, Ok(json!([done("ann"), done("nobody")])), "F-INT-02");
    assert_eq!(members(&world, "vip").await, plain(&["42", "bob", "cem"]), "F-INT-02");
    world.work().await;
    assert_eq!(world.feed("ann").await["meta"]["total_count"], 1, "who was there does not join again");
    // What can't be done is said of the record, and keeps no other from its place.
    let mixed = json!([
        record("dan", "vip"),
        record("", "vip"),
        record("eve", ""),
        record("fay", "pro"),
        record("gus", "unknown"),
        record("x".repeat(300).as_str(), "vip"),
        {},
        "odd",
        record("hal", "vip"),
    ]);
    let results = batch(&world, "insert", mixed.clone()).await.unwrap();
    let results = results.as_array().unwrap();
    let succeeded: Vec<_> = results.iter().map(|result| result["success"].as_bool().unwrap()).collect();
    assert_eq!(succeeded, [true, false, false, false, false, false, false, false, true], "F-INT-02 {results:?}");
    for (at, words) in
        [(1, "user id"), (2, "audience key"), (3, "is dynamic"), (4, "no audience `unknown`"), (5, "user id")]
    {
        let said = results[at]["error_message"].as_str().unwrap();
        assert!(said.contains(words), "{at}: {said}");
        assert_eq!(results[at]["identifier"], mixed[at]["user_id"], "{at}");
    }
    assert_eq!(members(&world, "vip").await, plain(&["42", "bob", "cem", "dan", "hal"]), "F-INT-02");
    assert_eq!(world.get("/v1/audiences/unknown/members").sk().await.status, 404, "Census makes no audiences");
    for operation in ["update", "mirror", ""] {
        assert_eq!(batch(&world, operation, json!([record("ann", "vip")])).await, Err(-32602), "F-INT-02 {operation}");
    }
    let plan = json!({"object": {"object_api_name": "user"}, "operation": "insert"});
    for params in [json!({}), json!({"sync_plan": plan, "records": []})] {
        assert_eq!(call(&world, CENSUS, "sync_batch", params).await, Err(-32602));
    }
    let plan = json!({"object": {"object_api_name": "audience"}, "operation": "insert"});
    assert_eq!(call(&world, CENSUS, "sync_batch", json!({"sync_plan": plan})).await, Err(-32602));
}

#[tokio::test]
async fn hightouch_learns_what_there_is() {
    let world = world().await;
    let ask = async |method: &str, params: Value| call(&world, HIGHTOUCH, method, params).await.unwrap();
    assert_eq!(ask("list_objects", json!({})).await["objects"][0]["id"], "audience", "F-INT-02");
    let modes = ask("list_modes", json!({"object": "audience"})).await["modes"].take();
    let ids: Vec<_> = modes.as_array().unwrap().iter().map(|mode| mode["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["insert", "mirror"], "F-INT-02");
    let fields = ask("list_fields", json!({"object": "audience", "mode": "mirror"})).await["fields"].take();
    assert_eq!((&fields[0]["id"], &fields[0]["required"]), (&json!("user_id"), &json!(true)), "F-INT-02");
    assert_eq!((&fields[1]["id"], fields[1].get("required")), (&json!("tenant"), None), "F-INT-02: it may be left out");
    let options = ask("list_options", json!({"object": "audience"})).await["options"].take();
    assert_eq!(options["schema"]["required"], json!(["audience_key"]), "F-INT-02");
    for (key, is_good) in [(json!("gold"), true), (json!(""), false), (json!("no spaces"), false), (json!(null), false)]
    {
        let errors = ask("validate", json!({"configuration": {"audience_key": key}})).await["errors"].take();
        assert_eq!(errors.as_array().unwrap().is_empty(), is_good, "{key}: {errors}");
    }
    for (mode, removes) in [("insert", false), ("mirror", true)] {
        let behavior = ask("behavior", json!({"configuration": {"mode": mode}})).await;
        let operations = json!({"add": true, "change": false, "remove": removes});
        assert_eq!(behavior["operations"], operations, "F-INT-02 {mode}: no update");
        assert_eq!((&behavior["batchSize"], &behavior["skipInitialRun"]), (&json!(500), &json!(false)));
    }
}

#[tokio::test]
async fn hightouch_keeps_members_with_their_tenants() {
    let world = world().await;
    let configuration = |key: &str, mode: &str| {
        json!({"object": "audience", "mode": mode, "audience_key": key,
            "identifierMapping": {"from": "ID", "to": "user_id"}, "mappings": [{"from": "ORG", "to": "tenant"}]})
    };
    let rows = async |method: &str, configuration: Value, rows: Value| {
        let params = json!({"idColumn": "ID", "configuration": configuration, "rows": rows});
        let result = call(&world, HIGHTOUCH, method, params).await?;
        Ok::<_, i64>(result["rejectedRows"].clone())
    };
    let none = Ok(json!([]));
    let gone = rows("remove", configuration("gold", "mirror"), json!([{"ID": "ann"}])).await;
    assert_eq!(gone, none, "of an audience that is not there nobody is a member");
    assert_eq!(world.get("/v1/audiences/gold/members").sk().await.status, 404);
    let new = json!([{"ID": "ann", "ORG": "acme"}, {"ID": 42, "ORG": null}, {"ID": "bob", "ORG": ""}]);
    assert_eq!(rows("add", configuration("gold", "mirror"), new).await, none, "F-INT-02");
    let mut expected = plain(&["42", "bob"]);
    expected.insert(1, ("ann".to_owned(), Some("acme".to_owned())));
    assert_eq!(members(&world, "gold").await, expected, "F-INT-02: the audience is made");
    let gone = json!([{"ID": "ann", "ORG": null}, {"ID": "bob"}]);
    assert_eq!(rows("remove", configuration("gold", "mirror"), gone).await, none, "F-INT-02");
    expected.pop();
    assert_eq!(members(&world, "gold").await, expected, "F-INT-02: exactly that membership");
    // One mapping for all, as where no column is an identifier.
    let mut flat = configuration("vip", "insert");
    flat["identifierMapping"].take();
    flat["mappings"] = json!([{"from": "ID", "to": "user_id"}]);
    let rejected = rows("add", flat, json!([{"ID": "cem", "ORG": "acme"}, {"ID": ""}, {"ORG": "x"}])).await.unwrap();
    let told = rejected.as_array().unwrap();
    assert_eq!(told.iter().map(|one| &one["row"]).collect::<Vec<_>>(), [&json!({"ID": ""}), &json!({"ORG": "x"})]);
    assert!(told.iter().all(|one| one["reason"].as_str().is_some_and(|why| why.contains("user id"))), "{rejected}");
    assert_eq!(members(&world, "vip").await, plain(&["cem"]), "F-INT-02: the tenant is not mapped");
    let rejected = rows("add", configuration("pro", "insert"), json!([{"ID": "ann"}, {"ID": ""}])).await.unwrap();
    assert!(rejected[0]["reason"].as_str().unwrap().contains("is dynamic"), "{rejected}");
    assert!(rejected[1]["reason"].as_str().unwrap().contains("user id"), "in the order of the rows: {rejected}");
    let row = json!([{"ID": "cem"}]);
    assert_eq!(rows("remove", configuration("vip", "insert"), row.clone()).await, Err(-32601), "it only adds");
    assert_eq!(rows("change", configuration("vip", "mirror"), row.clone()).await, Err(-32601), "F-INT-02: no update");
    assert_eq!(rows("add", configuration("", "insert"), row.clone()).await, Err(-32602));
    assert_eq!(rows("add", json!({"audience_key": "vip", "mappings": []}), row).await, Err(-32602));
    assert_eq!(rows("add", configuration("vip", "insert"), json!(null)).await, Err(-32602));
    assert_eq!(members(&world, "vip").await, plain(&["cem"]));
}
