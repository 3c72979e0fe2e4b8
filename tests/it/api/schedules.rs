//! Schedules.

use serde_json::{Value, json};

use crate::support::World;

/// Makes schedules for `comment`; the answer.
async fn create(world: &World, more: Value) -> Vec<Value> {
    let mut body =
        json!({"workflow": "comment", "recipients": ["ann"], "repeats": [{"frequency": "daily", "hours": 9}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    world.clock.advance(1);
    world.post("/v1/schedules").sk().json(&body).await.ok(200).as_array().unwrap().clone()
}

fn ids(list: &Value) -> Vec<&str> {
    list["entries"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect()
}

fn members(of: &Value) -> Vec<&str> {
    of.as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_schedule_is_made_for_each_recipient_and_shown_whole() {
    let world = World::start().await;
    world.put("/v1/users/bob").sk().json(&json!({"name": "Bob"})).await.ok(200);
    let body = json!({
        "workflow": "comment",
        "recipients": ["stranger", {"id": "ann", "name": "Ann", "timezone": "America/New_York"},
            {"collection": "teams", "id": "red", "name": "Red"}],
        "actor": "bob",
        "tenant": {"id": "acme", "name": "Acme"},
        "data": {"n": 1},
        "repeats": [{"frequency": "weekly", "days": "weekdays", "hours": 9, "minutes": 30, "__typename": "ScheduleRepeat",
            "interval": null, "day_of_month": null}],
        "scheduled_at": null,
        "ending_at": "2027-01-01T00:00:00Z",
    });
    let made = world.post("/v1/schedules").sk().json(&body).await.ok(200);
    let made = made.as_array().expect("W-SCH-02: an array");
    assert_eq!(made.len(), 3, "W-SCH-02");
    let ann = &made[1];
    let expected = [
        "__typename",
        "actor",
        "data",
        "id",
        "inserted_at",
        "last_occurrence_at",
        "next_occurrence_at",
        "recipient",
        "repeats",
        "tenant",
        "updated_at",
        "workflow",
    ];
    assert_eq!(members(ann), expected, "W-SCH-36");
    assert_eq!((&ann["__typename"], &ann["workflow"]), (&json!("Schedule"), &json!("comment")), "W-SCH-36 F-TRN-14");
    assert!(uuid::Uuid::try_parse(ann["id"].as_str().unwrap()).is_ok(), "W-SCH-36 F-TRN-15");
    assert_eq!(ann["recipient"], world.get("/v1/users/ann").sk().await.ok(200), "W-SCH-36 F-REC-07 W-SCH-03");
    assert_eq!(ann["actor"]["name"], "Bob", "W-SCH-36 F-REC-07");
    assert_eq!((&ann["tenant"], &ann["data"]), (&json!("acme"), &json!({"n": 1})), "W-SCH-36");
    let repeats = json!([{"__typename": "ScheduleRepeat", "frequency": "weekly", "interval": 1, "day_of_month": null,
        "days": ["mon", "tue", "wed", "thu", "fri"], "hours": 9, "minutes": 30}]);
    assert_eq!(ann["repeats"], repeats, "W-SCH-10 W-SCH-11 W-SCH-36");
    // It is Monday, 14:13 in UTC and 10:13 in New York.
    assert_eq!(ann["next_occurrence_at"], "2026-09-22T13:30:00.000000Z", "W-SCH-15");
    assert_eq!((&ann["last_occurrence_at"], &ann["inserted_at"]), (&Value::Null, &ann["updated_at"]), "W-SCH-36");
    let typename = |at: usize| &made[at]["recipient"]["__typename"];
    assert_eq!((typename(0), typename(2)), (&json!("MissingUser"), &json!("Object")), "F-REC-08 F-REC-07");
    assert_eq!(made[2]["recipient"]["properties"]["name"], "Red", "F-OBJ-05");
    let plain = create(&world, json!({"recipients": ["ann", "ann"]})).await;
    assert_eq!(plain.len(), 1, "W-SCH-02: whoever is named twice is one recipient");
    assert_eq!((&plain[0]["data"], &plain[0]["actor"], &plain[0]["tenant"]), (&json!({}), &Value::Null, &Value::Null));
    let once = json!({"repeats": [], "scheduled_at": "2026-10-01T00:00:00"});
    let once = create(&world, once).await;
    assert_eq!(once[0]["next_occurrence_at"], "2026-10-01T00:00:00.000000Z", "W-SCH-06 W-SCH-09");
    assert_eq!(once[0]["repeats"], json!([]), "W-SCH-06");
    let own = json!({"recipients": [{"id": "ann", "$trigger_data": {"m": 2}}, "bob"], "data": {"n": 1}});
    let own = create(&world, own).await;
    let data = [&own[0]["data"], &own[1]["data"]];
    assert_eq!(data, [&json!({"n": 1, "m": 2}), &json!({"n": 1})], "W-TRG-16");
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let world = World::start().await;
    let hundred_and_one = vec!["u"; 101];
    let (once, daily) = (json!("2026-10-01T00:00:00Z"), json!([{"frequency": "daily"}]));
    let post = async |body: Value| world.post("/v1/schedules").sk().json(&body).await;
    for (body, field, rule) in [
        (json!({}), "workflow", "W-SCH-01"),
        (json!({"workflow": 1}), "workflow", "W-SCH-01"),
        (json!({"workflow": "comment", "scheduled_at": once}), "recipients", "W-SCH-01"),
        (json!({"workflow": "comment", "scheduled_at": once, "recipients": []}), "recipients", "W-AMB-02"),
        (
            json!({"workflow": "comment", "scheduled_at": once, "recipients": hundred_and_one}),
            "recipients",
            "W-SCH-05 W-SCH-39",
        ),
        (json!({"workflow": "comment", "recipients": ["u"]}), "scheduled_at", "W-SCH-08 W-AMB-49"),
        (json!({"workflow": "comment", "recipients": ["u"], "repeats": []}), "scheduled_at", "W-SCH-08"),
        (json!({"workflow": "comment", "recipients": ["u"], "scheduled_at": "soon"}), "scheduled_at", "W-SCH-09"),
        (
            json!({"workflow": "comment", "recipients": ["u"], "scheduled_at": once, "ending_at": 1}),
            "ending_at",
            "W-SCH-09",
        ),
        (json!({"workflow": "comment", "recipients": ["u"], "repeats": {}}), "repeats", "W-SCH-10"),
        (json!({"workflow": "comment", "recipients": ["u"], "repeats": [1]}), "repeats[0]", "W-SCH-10"),
        (json!({"workflow": "comment", "recipients": ["u"], "repeats": [{}]}), "repeats[0].frequency", "W-SCH-10"),
        (
            json!({"workflow": "comment", "recipients": ["u"], "repeats": [{"frequency": "yearly"}]}),
            "repeats[0].frequency",
            "W-SCH-10",
        ),
        (
            json!({"workflow": "comment", "recipients": ["u"], "repeats": [{"frequency": "daily"}, {"frequency": "daily", "minutes": 7}]}),
            "repeats[1].minutes",
            "W-SCH-10",
        ),
        (
            json!({"workflow": "comment", "recipients": ["u"], "repeats": [{"frequency": "daily", "days": ["monday"]}]}),
            "repeats[0].days",
            "W-SCH-11",
        ),
        (
            json!({"workflow": "comment", "recipients": ["u"], "repeats": [{"frequency": "daily", "except": []}]}),
            "repeats[0].except",
            "W-SCH-16",
        ),
        (json!({"workflow": "comment", "recipients": ["u"], "repeats": daily, "data": []}), "data", "W-SCH-01"),
        (json!({"workflow": "comment", "recipients": ["u"], "repeats": daily, "actor": 1}), "actor", "W-SCH-01"),
    ] {
        let reply = post(body.clone()).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "{rule} {body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{rule} {body}");
    }
    let reply = post(json!({"workflow": "nonsense", "recipients": ["u"], "repeats": daily})).await;
    assert_eq!(reply.code(), (404, "workflow_missing".to_owned()), "W-SCH-04");
    let reply = post(json!({"workflow": "comment", "recipients": ["u"], "repeats": daily, "actor": "nobody"})).await;
    assert_eq!(reply.code(), (422, "actor_missing".to_owned()), "W-SCH-03 F-REC-08");
    let inactive = post(json!({"workflow": "asleep", "recipients": ["u"], "repeats": daily})).await;
    inactive.ok(200);
    for (method, path) in [("POST", "/v1/schedules"), ("GET", "/v1/schedules"), ("POST", "/v1/schedules/bulk/create")] {
        assert_eq!(world.call(method, path).pk().await.status, 401, "F-AUT-07 {method} {path}");
    }
}

#[tokio::test]
async fn schedules_are_changed_all_alike() {
    let world = World::start().await;
    let made =
        create(&world, json!({"recipients": [{"id": "ann"}, {"id": "bob"}], "data": {"n": 1}, "tenant": "acme"})).await;
    let names: Vec<&Value> = made.iter().map(|one| &one["id"]).collect();
    let put = async |body: Value| world.put("/v1/schedules").sk().json(&body).await;
    world.clock.advance_seconds(1);
    let body =
        json!({"schedule_ids": [names[1], names[0], names[1]], "data": {"m": 2}, "actor": {"id": "cy", "name": "Cy"}});
    let changed = put(body).await.ok(200);
    assert_eq!([&changed[0]["id"], &changed[1]["id"]], [names[1], names[0]], "W-SCH-30");
    for one in changed.as_array().unwrap() {
        assert_eq!(
            (&one["data"], &one["actor"]["name"]),
            (&json!({"m": 2}), &json!("Cy")),
            "W-SCH-30 W-SCH-31 F-REC-04"
        );
        assert_eq!(
            (&one["tenant"], &one["repeats"]),
            (&json!("acme"), &made[0]["repeats"]),
            "W-SCH-31: omitted fields stay"
        );
        assert_eq!(one["next_occurrence_at"], made[0]["next_occurrence_at"], "W-SCH-32: timing is as it was");
        assert_ne!(one["updated_at"], made[0]["updated_at"], "W-SCH-36");
        assert_eq!(one["inserted_at"], made[0]["inserted_at"], "W-SCH-36");
    }
    let cleared = json!({"schedule_ids": names, "data": null, "actor": null, "tenant": null, "workflow": "elsewhere", "recipients": ["x"]});
    let cleared = put(cleared).await.ok(200);
    let one = &cleared[0];
    assert_eq!((&one["data"], &one["actor"], &one["tenant"]), (&json!({}), &Value::Null, &Value::Null), "W-AMB-51");
    assert_eq!((&one["workflow"], &one["recipient"]["id"]), (&json!("comment"), &json!("ann")), "W-SCH-30");
    let once = put(json!({"schedule_ids": names, "repeats": [], "scheduled_at": "2026-10-01T00:00:00Z"})).await.ok(200);
    assert_eq!(once[0]["next_occurrence_at"], "2026-10-01T00:00:00.000000Z", "W-SCH-31 W-SCH-32 W-AMB-51");
    let never = put(json!({"schedule_ids": names, "scheduled_at": null})).await;
    assert_eq!(never.code(), (422, "invalid_params".to_owned()), "W-SCH-08");
    for (body, field) in [
        (json!({}), "schedule_ids"),
        (json!({"schedule_ids": []}), "schedule_ids"),
        (json!({"schedule_ids": vec!["x"; 101]}), "schedule_ids"),
        (json!({"schedule_ids": [1]}), "schedule_ids[0]"),
        (json!({"schedule_ids": names, "repeats": [{"frequency": "daily", "hours": 24}]}), "repeats[0].hours"),
        (json!({"schedule_ids": names, "ending_at": "never"}), "ending_at"),
        (json!({"schedule_ids": names, "tenant": 1}), "tenant"),
    ] {
        let reply = put(body.clone()).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "W-SCH-30 W-SCH-39 W-AMB-02 {body}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{body}");
    }
    let missing = put(json!({"schedule_ids": [names[0], uuid::Uuid::nil()], "data": {"n": 9}})).await;
    assert_eq!(missing.code(), (404, "resource_missing".to_owned()), "W-SCH-30");
    let list = world.get("/v1/schedules?workflow=comment").sk().await.ok(200);
    assert!(list["entries"].as_array().unwrap().iter().all(|one| one["data"] == json!({})), "all or none: {list}");
    let foreign =
        world.put("/v1/schedules").key(&world.foreign_sk).json(&json!({"schedule_ids": names, "data": {}})).await;
    assert_eq!(foreign.status, 404, "W-ENV-02");
}

#[tokio::test]
async fn schedules_are_deleted_by_a_body() {
    let world = World::start().await;
    let made = create(&world, json!({"recipients": [{"id": "ann", "name": "Ann"}, "bob"]})).await;
    let delete = async |body: Value| world.delete("/v1/schedules").sk().json(&body).await;
    let missing = delete(json!({"schedule_ids": [made[0]["id"], "nonsense"]})).await;
    assert_eq!(missing.code(), (404, "resource_missing".to_owned()), "W-SCH-33");
    let foreign =
        world.delete("/v1/schedules").key(&world.foreign_sk).json(&json!({"schedule_ids": [made[0]["id"]]})).await;
    assert_eq!(foreign.status, 404, "W-ENV-02");
    let gone = delete(json!({"schedule_ids": [made[0]["id"]]})).await.ok(200);
    assert_eq!(gone, json!([made[0]]), "W-SCH-33: as they were");
    let list = world.get("/v1/schedules?workflow=comment").sk().await.ok(200);
    assert_eq!(ids(&list), [made[1]["id"].as_str().unwrap()], "W-SCH-33");
    assert_eq!(delete(json!({"schedule_ids": [made[0]["id"]]})).await.status, 404, "W-SCH-33");
    for body in [json!({}), json!({"schedule_ids": []}), json!({"schedule_ids": vec!["x"; 101]})] {
        assert_eq!(delete(body.clone()).await.code(), (422, "invalid_params".to_owned()), "W-SCH-33 W-SCH-39 {body}");
    }
    world.clock.advance_seconds(2 * 86_400);
    world.work().await;
    let runs = world.get("/v1/workflow_recipient_runs").sk().await.ok(200);
    assert_eq!(runs["items"].as_array().unwrap().len(), 1, "W-SCH-24");
}

#[tokio::test]
async fn schedules_are_listed_newest_first_and_narrowed() {
    let world = World::start().await;
    let team = json!({"collection": "teams", "id": "red", "name": "Red"});
    let mut made = Vec::new();
    for more in [
        json!({"recipients": [{"id": "ann"}]}),
        json!({"recipients": [{"id": "ann"}], "tenant": "acme"}),
        json!({"recipients": [team]}),
        json!({"recipients": [{"id": "bob"}]}),
        json!({"recipients": [{"id": "ann"}], "workflow": "elsewhere"}),
    ] {
        made.push(create(&world, more).await[0]["id"].as_str().unwrap().to_owned());
    }
    let listed = async |path: &str, rule: &str| -> Vec<usize> {
        let path = path.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let list = world.get(&path).sk().await.ok(200);
        assert_eq!(members(&list), ["entries", "page_info"], "{rule}");
        ids(&list).iter().map(|id| made.iter().position(|one| one == id).unwrap()).collect()
    };
    for (path, expected, rule) in [
        ("/v1/schedules?workflow=comment", vec![3, 2, 1, 0], "W-SCH-34 F-PAG-07"),
        ("/v1/schedules?workflow=nonsense", vec![], "W-SCH-34"),
        ("/v1/schedules?workflow=comment&tenant=acme", vec![1], "W-SCH-34"),
        ("/v1/schedules?workflow=comment&recipients[]=bob", vec![3], "W-SCH-34"),
        ("/v1/schedules?workflow=comment&recipients[]=bob&recipients[]=ann", vec![3, 1, 0], "W-SCH-34"),
        ("/v1/schedules?workflow=comment&recipients[][id]=red&recipients[][collection]=teams", vec![2], "W-SCH-34"),
        (
            "/v1/schedules?workflow=comment&recipients[]={\"id\":\"red\",\"collection\":\"teams\"}&recipients[]=bob",
            vec![3, 2],
            "W-SCH-34 F-TRN-08",
        ),
        ("/v1/users/ann/schedules", vec![4, 1, 0], "W-SCH-35 F-USR-18"),
        ("/v1/users/ann/schedules?workflow=comment", vec![1, 0], "W-SCH-35"),
        ("/v1/users/ann/schedules?tenant=acme", vec![1], "W-SCH-35"),
        ("/v1/objects/teams/red/schedules", vec![2], "W-SCH-35"),
        ("/v1/objects/teams/red/schedules?workflow=elsewhere", vec![], "W-SCH-35"),
        ("/v1/objects/teams/red/schedules?tenant=acme", vec![], "W-SCH-35"),
    ] {
        assert_eq!(listed(path, rule).await, expected, "{rule} {path}");
    }
    let first = world.get("/v1/users/ann/schedules?page_size=2").sk().await.ok(200);
    assert_eq!(ids(&first), [made[4].as_str(), &made[1]], "F-PAG-01");
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("/v1/users/ann/schedules?page_size=2&after={after}")).sk().await.ok(200);
    assert_eq!(ids(&second), [made[0].as_str()], "F-PAG-05 W-SCH-35");
    let before = second["page_info"]["before"].as_str().unwrap();
    let back = world.get(&format!("/v1/users/ann/schedules?page_size=2&before={before}")).sk().await.ok(200);
    assert_eq!(ids(&back), ids(&first), "F-PAG-05");
    assert_eq!(world.get("/v1/schedules").sk().await.code(), (422, "invalid_params".to_owned()), "W-SCH-34");
    for path in ["/v1/users/nobody/schedules", "/v1/objects/teams/blue/schedules"] {
        assert_eq!(world.get(path).sk().await.code(), (404, "resource_missing".to_owned()), "F-AMB-63 {path}");
    }
    let foreign = world.get("/v1/schedules?workflow=comment").key(&world.foreign_sk).await.ok(200);
    assert_eq!(foreign["entries"], json!([]), "W-ENV-02");
}

#[tokio::test]
async fn a_schedule_runs_and_says_so() {
    let world = World::start().await;
    let made = create(&world, json!({"recipients": [{"id": "ann"}], "data": {"n": 7}})).await;
    world.clock.advance_seconds(86_400);
    world.work().await;
    let run = world.get("/v1/workflow_recipient_runs").sk().await.ok(200)["items"][0].clone();
    let expected =
        json!({"type": "schedule", "schedule_id": made[0]["id"], "cancellation_key": null, "audience_key": null});
    assert_eq!(run["trigger_source"], expected, "W-SCH-22 W-RUN-10");
    assert_eq!(world.feed("ann").await["entries"][0]["data"], json!({"n": 7}), "W-SCH-17");
    let list = world.get("/v1/users/ann/schedules").sk().await.ok(200);
    let now = &list["entries"][0];
    let times = (&now["last_occurrence_at"], &now["next_occurrence_at"]);
    assert_eq!(times, (&json!("2026-09-22T09:00:00.000000Z"), &json!("2026-09-23T09:00:00.000000Z")), "W-SCH-21");
    assert_eq!(world.delete("/v1/users/ann").sk().await.status, 204);
    let list = world.get("/v1/schedules?workflow=comment").sk().await.ok(200);
    assert_eq!(list["entries"], json!([]), "W-SCH-25 F-USR-12 W-ENG-18");
}

#[tokio::test]
async fn many_schedules_are_made_in_the_background() {
    let world = World::start().await;
    let daily = json!([{"frequency": "daily", "hours": 9}]);
    let entry = |recipient: Value| json!({"workflow": "comment", "recipient": recipient, "repeats": daily});
    let bulk = async |schedules: Value| {
        world.post("/v1/schedules/bulk/create").sk().json(&json!({"schedules": schedules})).await
    };
    let mut schedules: Vec<Value> = (0..120).map(|n| entry(json!({"id": format!("u{n}"), "n": n}))).collect();
    schedules.push(entry(json!({"id": "u0"})));
    schedules.push(json!({"workflow": "elsewhere", "recipient": "u0", "scheduled_at": "2026-10-01T00:00:00Z"}));
    let mut by_nobody = entry(json!({"collection": "teams", "id": "red"}));
    by_nobody["actor"] = "nobody".into();
    schedules.push(by_nobody);
    let queued = bulk(schedules.into()).await.ok(200);
    assert_eq!(queued["__typename"], "BulkOperation", "W-SCH-38 F-BLK-02");
    assert_eq!(
        (&queued["status"], &queued["name"]),
        (&json!("queued"), &json!("schedules.create")),
        "F-BLK-01 F-BLK-03"
    );
    assert_eq!(queued["estimated_total_rows"], 123, "F-BLK-03");
    assert_eq!(world.get("/v1/users/u0").sk().await.status, 404, "F-BLK-01: nothing has been done yet");
    world.work().await;
    let path = queued["progress_path"].as_str().unwrap().strip_prefix("http://bell.test").expect("F-BLK-04");
    let done = world.get(path).sk().await.ok(200);
    assert_eq!(done["status"], "completed", "F-BLK-03");
    let numbers = ["processed_rows", "success_count", "error_count"].map(|name| done[name].as_i64().unwrap());
    assert_eq!(numbers, [123, 122, 1], "F-BLK-02 F-BLK-06");
    let item = &done["error_items"][0];
    assert_eq!((&item["id"], &item["collection"]), (&json!("red"), &json!("teams")), "F-BLK-06");
    assert!(item["reason"].as_str().unwrap().contains("nobody"), "F-BLK-06");
    let list = world.get("/v1/users/u0/schedules").sk().await.ok(200);
    assert_eq!(list["entries"].as_array().unwrap().len(), 3, "W-SCH-38: recipients need not be distinct");
    let list = world.get("/v1/users/u119/schedules").sk().await.ok(200);
    let next = &list["entries"][0]["next_occurrence_at"];
    assert_eq!((next, &list["entries"][0]["recipient"]["n"]), (&json!("2026-09-22T09:00:00.000000Z"), &json!(119)));
    for (schedules, field, rule) in [
        (json!(null), "schedules", "W-SCH-38"),
        (json!([]), "schedules", "W-AMB-02"),
        (Value::Array(vec![entry(json!("u")); 1_001]), "schedules", "W-SCH-38 F-AMB-19 F-BLK-07"),
        (json!([entry(json!("u")), {"workflow": "comment", "repeats": daily}]), "schedules[1].recipient", "W-SCH-38"),
        (json!([entry(json!({"name": "x"}))]), "schedules[0].recipient.id", "W-SCH-38"),
        (json!([{"recipient": "u", "repeats": daily}]), "schedules[0].workflow", "W-SCH-38"),
        (json!([{"workflow": "nonsense", "recipient": "u", "repeats": daily}]), "schedules[0].workflow", "W-SCH-04"),
        (json!([{"workflow": "comment", "recipient": "u"}]), "schedules[0].scheduled_at", "W-SCH-08"),
        (json!([7]), "schedules[0].workflow", "W-SCH-38"),
    ] {
        let reply = bulk(schedules).await;
        assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "{rule}");
        assert_eq!(reply.json()["errors"][0]["field"], field, "{rule} F-BLK-01");
    }
}
