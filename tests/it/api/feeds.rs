//! The feed.

use serde_json::{Map, Value, json};

use crate::support::{FEED, OTHER_FEED, Setup, World};

async fn feed(world: &World, query: &str) -> Value {
    let query = query.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    world.get(&format!("/v1/users/ann/feeds/{FEED}?{query}")).pk().await.ok(200)
}

fn ids(feed: &Value) -> Vec<String> {
    feed["entries"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn nobody_has_an_empty_feed_and_stays_nobody() {
    let world = World::start().await;
    let expected = json!({
        "entries": [],
        "meta": {"__typename": "FeedMetadata", "total_count": 0, "unread_count": 0, "unseen_count": 0},
        "page_info": {"__typename": "PageInfo", "after": null, "before": null, "page_size": 50},
        "vars": {"brand": "Acme"},
    });
    assert_eq!(feed(&world, "").await, expected, "F-FED-02 F-FED-04 F-FED-05 F-PAG-02");
    assert_eq!(world.get("/v1/users/ann").sk().await.status, 404, "F-FED-02");
}

#[tokio::test]
async fn an_item_has_every_member_and_unset_ones_are_null() {
    let world = World::start().await;
    world.put("/v1/users/bob").sk().json(&json!({"name": "Bob"})).await.ok(200);
    let body = json!({"recipients": [{"id": "ann"}], "actor": "bob", "tenant": "north",
        "data": {"n": 1, "deep": {"a": 1}, "list": [1], "attachments": [{"name": "f", "content": "aGk="}]}});
    world.trigger("comment", &body).await;
    let rich = feed(&world, "").await["entries"][0].clone();
    let members: Vec<&str> = rich.as_object().unwrap().keys().map(String::as_str).collect();
    for member in [
        "__typename",
        "__cursor",
        "id",
        "activities",
        "actors",
        "archived_at",
        "blocks",
        "clicked_at",
        "data",
        "inserted_at",
        "interacted_at",
        "link_clicked_at",
        "read_at",
        "seen_at",
        "source",
        "tenant",
        "total_activities",
        "total_actors",
        "updated_at",
    ] {
        assert!(members.contains(&member), "F-FED-29 {member}");
    }
    assert_eq!(rich["__typename"], "FeedItem", "F-TRN-14");
    assert_eq!(rich["data"], json!({"n": 1, "deep": {"a": 1}, "list": [1]}), "F-FED-28 F-FED-34");
    assert_eq!(rich["source"]["categories"], json!(["collaboration"]), "F-FED-31");
    assert_eq!(rich["source"]["key"], "comment", "F-FED-31");
    assert_eq!((&rich["tenant"], &rich["seen_at"]), (&json!("north"), &Value::Null), "F-FED-29");
    assert_eq!((&rich["total_actors"], &rich["actors"][0]["name"]), (&json!(1), &json!("Bob")), "F-FED-33");
    assert_eq!(rich["activities"][0]["__typename"], "Activity", "F-FED-32");
    assert_eq!(rich["activities"][0]["recipient"]["id"], "ann", "F-FED-32");
    assert_eq!(rich["activities"][0]["actor"]["name"], "Bob", "F-FED-32");
    assert!(rich["blocks"].as_array().is_some_and(|blocks| !blocks.is_empty()));
    let stamp = rich["inserted_at"].as_str().unwrap();
    assert!(stamp.ends_with('Z') && stamp.contains('.'), "F-TRN-15 {stamp}");
    assert_eq!(rich["id"].as_str().unwrap().len(), 27, "F-TRN-15");

    let compact = feed(&world, "mode=compact").await["entries"][0].clone();
    assert!(compact.get("activities").is_none() && compact.get("total_activities").is_none(), "F-FED-22");
    assert_eq!(compact["data"], json!({"n": 1}), "F-FED-23");
    assert_eq!((&compact["total_actors"], compact["actors"].as_array().unwrap().len()), (&json!(1), 1), "F-FED-24");
    let message = world.get(&format!("/v1/messages/{}", rich["id"].as_str().unwrap())).sk().await.ok(200);
    assert_eq!(message["id"], rich["id"], "F-FED-30");
}

#[tokio::test]
async fn pages_are_newest_first_and_meet_without_gap_or_overlap() {
    let world = World::start().await;
    let mut all = Vec::new();
    for n in 0..7 {
        all.insert(0, world.tell("ann", json!({"n": n}), None).await);
    }
    let first = feed(&world, "page_size=3").await;
    assert_eq!(ids(&first), all[..3], "F-FED-06 F-FED-07");
    assert_eq!(
        (&first["page_info"]["before"], &first["page_info"]["page_size"]),
        (&Value::Null, &json!(3)),
        "F-PAG-04"
    );
    let after = first["page_info"]["after"].as_str().unwrap();
    assert_eq!(first["entries"][2]["__cursor"], after, "F-PAG-08");
    let second = feed(&world, &format!("page_size=3&after={after}")).await;
    assert_eq!(ids(&second), all[3..6], "F-FED-07 F-PAG-05");
    let last = feed(&world, &format!("page_size=3&after={}", second["page_info"]["after"].as_str().unwrap())).await;
    assert_eq!((ids(&last), &last["page_info"]["after"]), (all[6..].to_vec(), &Value::Null), "F-PAG-04");
    let before = last["entries"][0]["__cursor"].as_str().unwrap();
    let newer = feed(&world, &format!("page_size=2&before={before}")).await;
    assert_eq!(ids(&newer), all[4..6], "F-FED-08 F-AMB-16: those nearest to the cursor");
    let head = feed(&world, &format!("before={}", first["entries"][0]["__cursor"].as_str().unwrap())).await;
    assert_eq!((ids(&head), &head["meta"]["total_count"]), (vec![], &json!(7)), "F-FED-07 F-FED-35");
    assert_eq!(feed(&world, "page_size=1000").await["page_info"]["page_size"], 50, "F-PAG-01 F-AMB-16");
    assert_eq!(ids(&feed(&world, "page_size&after=&status=").await), all, "empty is unset");
}

#[tokio::test]
async fn filters_choose_items_and_counts() {
    let world = World::start().await;
    let north = world.tell("ann", json!({"n": 1, "s": "a"}), Some("north")).await;
    world.clock.advance_seconds(10);
    let south = world.tell("ann", json!({"n": 2, "s": "a"}), Some("south")).await;
    world.clock.advance_seconds(10);
    let none = world.tell("ann", json!({"n": "2"}), None).await;
    let archived = world.tell("ann", json!({}), None).await;
    for (id, mark) in [(&south, "read"), (&none, "seen"), (&archived, "archived")] {
        world.put(&format!("/v1/messages/{id}/{mark}")).pk().await.ok(200);
    }
    let middle = world.clock.now().plus_seconds(-15).to_string();
    let middle_elsewhere = middle.replace('Z', "%2B00:00");
    // query, items, then total, unread, unseen
    for (query, expected, counts, rule) in [
        ("", vec![&none, &south, &north], [3, 2, 2], "F-FED-09 F-AMB-39"),
        ("archived=exclude&mode=compact", vec![&none, &south, &north], [3, 2, 2], "F-FED-44"),
        ("status=unread", vec![&none, &north], [2, 2, 2], "F-FED-09 F-FED-36"),
        ("status=read", vec![&south], [1, 2, 2], "F-FED-36 F-AMB-42"),
        ("status=UNREAD", vec![&none, &north], [2, 2, 2], "one mobile client shouts"),
        ("status=unseen", vec![&south, &north], [2, 2, 2], "F-FED-09"),
        ("status=seen", vec![&none], [1, 2, 2], "F-FED-09"),
        ("archived=only", vec![&archived], [1, 1, 1], "F-FED-10"),
        ("archived=include", vec![&archived, &none, &south, &north], [4, 3, 3], "F-FED-10 F-FED-37"),
        ("source=comment", vec![&none, &south, &north], [3, 2, 2], "F-FED-11"),
        ("source=other", vec![], [0, 0, 0], "F-FED-11"),
        (
            "workflow_categories[]=x&workflow_categories[]=collaboration",
            vec![&none, &south, &north],
            [3, 2, 2],
            "F-FED-12 F-TRN-05",
        ),
        ("workflow_categories=x", vec![], [0, 0, 0], "F-FED-12"),
        ("tenant=north", vec![&none, &north], [2, 2, 1], "F-FED-13 F-FED-35"),
        ("tenant=north&has_tenant=true", vec![&north], [1, 1, 1], "F-FED-14"),
        ("has_tenant=true", vec![&south, &north], [2, 1, 2], "F-FED-15"),
        ("has_tenant=false", vec![&none], [1, 1, 0], "F-FED-15"),
        ("tenant=north&has_tenant=false", vec![&none], [1, 1, 0], "F-AMB-40"),
        (r#"trigger_data={"n":2}"#, vec![&south], [1, 0, 1], "F-FED-16"),
        (r#"trigger_data={"n":1,"s":"a"}"#, vec![&north], [1, 1, 1], "F-FED-16"),
        (&format!("inserted_at.gt={middle}"), vec![&none, &south], [2, 1, 1], "F-FED-19"),
        (&format!("inserted_at[lte]={middle_elsewhere}"), vec![&north], [1, 1, 1], "F-FED-19 F-TRN-07"),
        (&format!("inserted_at.gt={middle}&inserted_at.lt={middle}"), vec![], [0, 0, 0], "F-FED-19"),
    ] {
        let page = feed(&world, query).await;
        assert_eq!(ids(&page), expected.into_iter().cloned().collect::<Vec<_>>(), "{rule} {query}");
        let found = ["total_count", "unread_count", "unseen_count"].map(|name| page["meta"][name].as_i64().unwrap());
        assert_eq!(found, counts, "F-FED-35 {rule} {query}");
    }
    assert!(feed(&world, "").await["entries"][1]["seen_at"].is_null(), "F-FED-38 F-AMB-43: reading marks nothing");
}

#[tokio::test]
async fn what_is_excluded_is_not_shown() {
    let world = World::start().await;
    world.tell("ann", json!({"n": 1}), None).await;
    let page = feed(&world, "exclude=vars,entries.archived_at,entries.source.key,nothing").await;
    assert!(page.get("vars").is_none(), "F-FED-25");
    let item: &Map<String, Value> = page["entries"][0].as_object().unwrap();
    assert!(!item.contains_key("archived_at") && item.contains_key("read_at"), "F-FED-25");
    assert!(item["source"].get("key").is_none() && item["source"].get("categories").is_some(), "F-FED-25");
    assert!(item.contains_key("__cursor") && page["meta"]["total_count"] == 1, "F-FED-26");
    assert!(feed(&world, "exclude=meta").await.get("meta").is_none(), "F-FED-26");
    assert_eq!(feed(&world, "locale=de-DE").await["meta"]["total_count"], 1, "F-FED-20: a locale is accepted");
}

#[tokio::test]
async fn a_channel_can_hide_what_clients_need_not_see() {
    let filter = json!({"vars": false, "data": {"only": ["n"]}, "recipient": {"except": ["email"]}});
    let world = World::with(Setup { response_filter: filter, ..Setup::default() }).await;
    world.put("/v1/users/ann").sk().json(&json!({"email": "ann@x.io", "name": "Ann"})).await.ok(200);
    world.tell("ann", json!({"n": 1, "secret": 2}), None).await;
    let page = feed(&world, "").await;
    assert!(page.get("vars").is_none(), "F-FED-27");
    assert_eq!(page["entries"][0]["data"], json!({"n": 1}), "F-FED-27");
    let recipient = &page["entries"][0]["activities"][0]["recipient"];
    assert!(recipient.get("email").is_none() && recipient["name"] == "Ann", "F-FED-27");
}

#[tokio::test]
async fn feeds_of_two_channels_are_two_feeds() {
    let world = World::start().await;
    world.tell("ann", json!({}), None).await;
    world.trigger("elsewhere", &json!({"recipients": [{"id": "ann"}]})).await;
    world.trigger("elsewhere", &json!({"recipients": [{"id": "ann"}]})).await;
    assert_eq!(feed(&world, "").await["meta"]["total_count"], 1, "F-FED-42");
    let other = world.get(&format!("/v1/users/ann/feeds/{OTHER_FEED}")).pk().await.ok(200);
    assert_eq!(other["meta"]["total_count"], 2, "F-FED-42");
    let cursor = other["entries"][0]["__cursor"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/messages?after={cursor}")).sk().await.status, 422, "F-PAG-05");
}

#[tokio::test]
async fn settings_have_the_one_feature_that_clients_look_for() {
    let world = World::start().await;
    let path = format!("/v1/users/nobody/feeds/{FEED}/settings");
    assert_eq!(
        world.get(&path).pk().await.ok(200),
        json!({"features": {"branding_required": false}}),
        "F-FED-41 F-AMB-63"
    );
}

#[tokio::test]
async fn a_feed_is_kept_for_ever() {
    let world = World::start().await;
    let id = world.tell("ann", json!({}), None).await;
    world.clock.advance_seconds(400 * 86_400);
    assert_eq!(ids(&feed(&world, "").await), std::slice::from_ref(&id), "F-FED-40");
    world.put(&format!("/v1/messages/{id}/seen")).pk().await.ok(200);
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    assert_eq!(events["items"][0]["type"], "message.seen", "F-FED-40 F-STA-20");
}

#[tokio::test]
async fn a_filter_of_too_many_values_is_refused_rather_than_tried() {
    let world = World::start().await;
    world.tell("ann", json!({"k0": 0}), None).await;
    let asked = |count: usize| {
        let pairs: serde_json::Map<String, Value> = (0..count).map(|n| (format!("k{n}"), json!(n))).collect();
        let encoded: String = Value::Object(pairs).to_string().bytes().map(|byte| format!("%{byte:02X}")).collect();
        format!("/v1/users/ann/feeds/{FEED}?trigger_data={encoded}")
    };
    assert_eq!(world.get(&asked(1)).sk().await.ok(200)["entries"].as_array().unwrap().len(), 1);
    assert_eq!(world.get(&asked(32)).sk().await.ok(200)["entries"], json!([]));
    let reply = world.get(&asked(33)).sk().await;
    assert_eq!(reply.code(), (422, "invalid_params".to_owned()), "SQLite gives up at a thousand; nobody needs so many");
}
