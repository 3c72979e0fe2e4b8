//! Messages: reading them and what became of them.

use serde_json::{Value, json};

use crate::support::{FEED, World};

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_message_has_every_member() {
    let world = World::start().await;
    let run = world
        .trigger("comment", &json!({"recipients": [{"id": "ann"}], "actor": {"id": "bob"}, "data": {"n": 1}}))
        .await;
    let id = world.feed("ann").await["entries"][0]["id"].as_str().unwrap().to_owned();
    world.put(&format!("/v1/messages/{id}/read")).pk().await.ok(200);
    let message = world.get(&format!("/v1/messages/{id}")).pk().await.ok(200);
    for member in [
        "__typename",
        "id",
        "channel_id",
        "engagement_statuses",
        "inserted_at",
        "recipient",
        "source",
        "status",
        "updated_at",
        "actors",
        "archived_at",
        "channel",
        "clicked_at",
        "data",
        "interacted_at",
        "link_clicked_at",
        "metadata",
        "read_at",
        "recipient_snapshot",
        "scheduled_at",
        "seen_at",
        "tenant",
        "workflow",
    ] {
        assert!(message.get(member).is_some(), "F-MSG-02 {member}");
    }
    assert_eq!(
        (&message["status"], &message["engagement_statuses"]),
        (&json!("delivered"), &json!(["read"])),
        "F-MSG-03 F-MSG-20 F-FED-39"
    );
    let source = &message["source"];
    assert_eq!(
        (&source["__typename"], &source["type"]),
        (&json!("NotificationSource"), &json!("workflow")),
        "F-MSG-04"
    );
    assert_eq!((&source["key"], &source["step_ref"]), (&json!("comment"), &json!("in_app_feed_1")), "F-MSG-04");
    assert_eq!(source["workflow_run_id"], json!(run), "F-MSG-04");
    assert_eq!((&message["workflow"], &message["channel_id"]), (&source["key"], &message["channel"]["id"]), "F-MSG-02");
    assert_eq!(message["channel"]["provider"], "in_app_feed_knock", "F-MSG-04");
    assert_eq!(message["actors"], json!(["bob"]), "F-MSG-16");
    assert_eq!((&message["recipient"], &message["data"]), (&json!("ann"), &json!({"n": 1})), "F-MSG-02");
}

#[tokio::test]
async fn lists_are_filtered_by_everything_at_once() {
    let world = World::start().await;
    let one = world.tell("ann", json!({"n": 1}), Some("north")).await;
    world.clock.advance_seconds(10);
    let middle = world.clock.now().to_string();
    world.clock.advance_seconds(10);
    let two = world.tell("ann", json!({"n": 2}), None).await;
    let three = world.tell("bob", json!({"n": 2}), None).await;
    world.put(&format!("/v1/messages/{two}/seen")).sk().await.ok(200);
    world.put(&format!("/v1/messages/{two}/read")).sk().await.ok(200);
    world.put(&format!("/v1/messages/{three}/seen")).sk().await.ok(200);
    let message = world.get(&format!("/v1/messages/{three}")).sk().await.ok(200);
    let run = message["source"]["workflow_run_id"].as_str().unwrap();
    let recipient_run = message["source"]["workflow_recipient_run_id"].as_str().unwrap();
    for (query, expected, rule) in [
        (String::new(), vec![&three, &two, &one], "F-MSG-09"),
        ("tenant=north".to_owned(), vec![&one], "F-MSG-07"),
        (format!("channel_id={FEED}"), vec![&three, &two, &one], "F-MSG-05"),
        ("status[]=queued&status[]=delivered".to_owned(), vec![&three, &two, &one], "F-MSG-06"),
        ("status=queued".to_owned(), vec![], "F-MSG-05"),
        ("engagement_status[]=seen".to_owned(), vec![&three, &two], "F-MSG-05"),
        ("engagement_status[]=seen&engagement_status[]=unread".to_owned(), vec![&three], "F-MSG-06"),
        ("engagement_status=seen&engagement_status=unseen".to_owned(), vec![], "F-AMB-44"),
        (format!("message_ids[]={one}&message_ids[]=unknown"), vec![&one], "F-MSG-08"),
        (format!("message_ids[]={one}&engagement_status[]=seen"), vec![], "F-MSG-08"),
        ("workflow_categories[]=collaboration".to_owned(), vec![&three, &two, &one], "F-MSG-05"),
        ("workflow_categories[]=x".to_owned(), vec![], "F-MSG-05"),
        ("source=comment".to_owned(), vec![&three, &two, &one], "F-MSG-05"),
        (format!("workflow_run_id={run}"), vec![&three], "W-RUN-21"),
        (format!("workflow_recipient_run_id={recipient_run}"), vec![&three], "W-RUN-21"),
        ("trigger_data=%7B%22n%22:2%7D".to_owned(), vec![&three, &two], "F-MSG-05"),
        (format!("inserted_at.lt={middle}"), vec![&one], "F-MSG-05"),
        (format!("inserted_at[gte]={middle}&tenant=north"), vec![], "F-MSG-05"),
    ] {
        let list = world.get(&format!("/v1/messages?{query}")).sk().await.ok(200);
        assert_eq!(ids(&list), expected, "{rule} {query}");
        assert_eq!(list["page_info"]["__typename"], "PageInfo", "F-PAG-06 F-MSG-09");
    }
    world.put("/v1/users/ann").sk().await.ok(200);
    let own = world.get("/v1/users/ann/messages").sk().await.ok(200);
    assert_eq!(ids(&own), [two.as_str(), &one], "F-USR-18");
    let own = world.get("/v1/users/ann/messages?tenant=north").sk().await.ok(200);
    assert_eq!(ids(&own), [one.as_str()], "F-USR-18");
}

#[tokio::test]
async fn pages_meet_without_gap_or_overlap() {
    let world = World::start().await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.insert(0, world.tell("ann", json!({}), None).await);
    }
    let page = |query: String| {
        let call = world.get(&format!("/v1/messages?page_size=2{query}")).sk();
        async move { call.await.ok(200) }
    };
    let first = page(String::new()).await;
    assert_eq!(
        (ids(&first), &first["page_info"]["before"]),
        (vec![all[0].as_str(), &all[1]], &Value::Null),
        "F-PAG-04"
    );
    let second = page(format!("&after={}", first["page_info"]["after"].as_str().unwrap())).await;
    assert_eq!(ids(&second), all[2..4], "F-PAG-05");
    let third = page(format!("&after={}", second["page_info"]["after"].as_str().unwrap())).await;
    assert_eq!((ids(&third), &third["page_info"]["after"]), (vec![all[4].as_str()], &Value::Null), "F-PAG-04");
    let back = page(format!("&before={}", third["page_info"]["before"].as_str().unwrap())).await;
    assert_eq!(ids(&back), all[2..4], "F-AMB-16");
    let front = page(format!("&before={}", back["page_info"]["before"].as_str().unwrap())).await;
    assert_eq!(
        (ids(&front), &front["page_info"]["before"]),
        (vec![all[0].as_str(), &all[1]], &Value::Null),
        "F-PAG-04"
    );
    assert!(first["page_info"].get("total_count").is_none(), "F-AMB-17");
    let after = first["page_info"]["after"].as_str().unwrap();
    assert_eq!(world.get(&format!("/v1/users?after={after}")).sk().await.status, 422, "F-PAG-05");
}

#[tokio::test]
async fn events_tell_what_happened_newest_first() {
    let world = World::start().await;
    let id = world.tell("ann", json!({}), None).await;
    world.clock.advance_seconds(1);
    world.put(&format!("/v1/messages/{id}/seen")).sk().await.ok(200);
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    let types: Vec<&str> =
        events["items"].as_array().unwrap().iter().map(|one| one["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["message.seen", "message.delivered", "message.created"], "F-MSG-11 F-AMB-18");
    for event in events["items"].as_array().unwrap() {
        assert_eq!((&event["__typename"], &event["recipient"]), (&json!("MessageEvent"), &json!("ann")), "F-MSG-11");
        assert_eq!((&event["data"], event["id"].as_str().unwrap().len()), (&Value::Null, 27), "F-MSG-11 F-TRN-15");
    }
    let path = format!("/v1/messages/{id}/events?page_size=2");
    let first = world.get(&path).sk().await.ok(200);
    let after = first["page_info"]["after"].as_str().unwrap();
    let second = world.get(&format!("{path}&after={after}")).sk().await.ok(200);
    assert_eq!([ids(&first), ids(&second)].concat(), ids(&events), "F-PAG-05");
    assert_eq!(second["page_info"]["after"], Value::Null, "F-PAG-04");
    let before = second["page_info"]["before"].as_str().unwrap();
    let back = world.get(&format!("{path}&before={before}")).sk().await.ok(200);
    assert_eq!(ids(&back), ids(&first), "F-PAG-05");
}

#[tokio::test]
async fn a_batched_message_lists_everything_that_came_together() {
    let world = World::start().await;
    let actors: Vec<String> = (0..12).map(|n| format!("actor-{n:02}")).collect();
    for (n, actor) in actors.iter().enumerate() {
        world.clock.advance(1);
        let body = json!({"recipients": [{"id": "ann", "name": "Ann"}], "actor": {"id": actor, "name": actor},
            "data": {"n": n, "page": if n == 11 { "B" } else { "A" }, "deep": {"n": n}, "attachments": [{"name": "f"}]}});
        world.trigger("digest", &body).await;
    }
    assert_eq!(world.feed("ann").await["entries"], json!([]), "W-BAT-01");
    world.clock.advance_seconds(3_600);
    world.work().await;

    let item = &world.feed("ann").await["entries"][0];
    assert_eq!((&item["total_activities"], &item["total_actors"]), (&json!(12), &json!(12)), "W-BAT-29 F-FED-33");
    let data = json!({"n": 9, "page": "A"});
    assert_eq!(item["data"], data, "W-BAT-44 W-BAT-45 F-FED-28");
    let shown = item["activities"].as_array().unwrap();
    assert_eq!(shown.len(), 10, "W-BAT-31 F-FED-33");
    assert_eq!(item["actors"].as_array().unwrap().len(), 10, "F-FED-33 W-SCP-12");
    for (n, activity) in shown.iter().enumerate() {
        assert_eq!(activity["data"], json!({"n": n, "page": "A", "deep": {"n": n}}), "W-BAT-46 F-FED-28");
        assert_eq!((&activity["actor"]["name"], &activity["recipient"]["name"]), (&json!(actors[n]), &json!("Ann")));
    }
    let path = format!("/v1/users/ann/feeds/{FEED}?mode=compact");
    let compact = &world.get(&path).sk().await.ok(200)["entries"][0];
    assert_eq!(compact.get("activities"), None, "F-FED-22");
    assert_eq!((compact["actors"].as_array().unwrap().len(), &compact["total_actors"]), (1, &json!(12)), "F-FED-24");
    for (filter, count) in [("%7B%22page%22:%22A%22%7D", 1), ("%7B%22page%22:%22B%22%7D", 0)] {
        let list = world.get(&format!("/v1/messages?trigger_data={filter}")).sk().await.ok(200);
        assert_eq!(ids(&list).len(), count, "W-BAT-47 W-VAL-11");
        let feed = world.get(&format!("/v1/users/ann/feeds/{FEED}?trigger_data={filter}")).sk().await.ok(200);
        assert_eq!(feed["entries"].as_array().unwrap().len(), count, "W-BAT-47");
    }

    let id = item["id"].as_str().unwrap();
    let message = world.get(&format!("/v1/messages/{id}")).sk().await.ok(200);
    assert_eq!(message["actors"], json!(actors[..10]), "W-RUN-23 F-MSG-16");
    assert_eq!(message["data"], data, "W-AMB-28");
    let page = |query: String| {
        let call = world.get(&format!("/v1/messages/{id}/activities?page_size=5{query}")).sk();
        async move { call.await.ok(200) }
    };
    let first = page(String::new()).await;
    let second = page(format!("&after={}", first["page_info"]["after"].as_str().unwrap())).await;
    let third = page(format!("&after={}", second["page_info"]["after"].as_str().unwrap())).await;
    let back = page(format!("&before={}", third["page_info"]["before"].as_str().unwrap())).await;
    assert_eq!((&third["page_info"]["after"], ids(&back)), (&Value::Null, ids(&second)), "F-PAG-04 F-PAG-05");
    let all: Vec<&Value> = [&first, &second, &third].iter().flat_map(|one| one["items"].as_array().unwrap()).collect();
    let numbers: Vec<u64> = all.iter().map(|one| one["data"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..12).rev().collect::<Vec<_>>(), "W-RUN-24: shown or not, each once");
    assert_eq!(all[11], &shown[0], "W-RUN-24: as the item has it");
    let filtered = page("&trigger_data=%7B%22page%22:%22B%22%7D".to_owned()).await;
    assert_eq!(ids(&filtered), [all[0]["id"].as_str().unwrap()], "F-MSG-10");
    world.delete("/v1/users/actor-00").sk().await;
    let last = page(format!("&after={}", second["page_info"]["after"].as_str().unwrap())).await;
    assert_eq!(last["items"][1]["actor"]["__typename"], "MissingUser", "F-USR-13");
}

/// W-AMB-54: whoever has the same id elsewhere is somebody else.
#[tokio::test]
async fn batches_of_one_environment_know_nothing_of_anothers() {
    let world = World::start().await;
    let body = json!({"recipients": [{"id": "ann"}]});
    world.trigger("digest", &body).await;
    let foreign = world.post("/v1/workflows/digest/trigger").key(&world.foreign_sk).json(&body).await;
    assert_eq!(foreign.status, 200);
    world.clock.advance_seconds(3_600);
    world.work().await;
    assert_eq!(world.feed("ann").await["entries"][0]["total_activities"], 1, "W-AMB-54");
}

/// Our own: what takes an unread item's place has its id, and says since when there is something of its key.
#[tokio::test]
async fn a_message_that_was_updated_in_place_says_so() {
    let world = World::start().await;
    let trigger = async |n: i64| {
        world.clock.advance_seconds(60);
        let run = world.trigger("build", &json!({"recipients": [{"id": "ann"}], "data": {"build": 7, "n": n}})).await;
        (run, world.feed("ann").await["entries"].clone())
    };
    let (_, first) = trigger(1).await;
    let id = first[0]["id"].as_str().unwrap();
    let (run, second) = trigger(2).await;
    assert_eq!((second.as_array().unwrap().len(), &second[0]["id"]), (1, &first[0]["id"]));
    assert_ne!(second[0]["__cursor"], first[0]["__cursor"], "whoever looks for what is newer than the first finds it");
    let query = format!("before={}", first[0]["__cursor"].as_str().unwrap());
    let newer = world.get(&format!("/v1/users/ann/feeds/{FEED}?{query}")).sk().await.ok(200);
    assert_eq!(newer["entries"][0]["data"], json!({"build": 7, "n": 2}));

    let message = world.get(&format!("/v1/messages/{id}")).sk().await.ok(200);
    assert_eq!((&message["collapse_key"], &message["data"]["n"]), (&json!("build-7"), &json!(2)));
    assert_eq!(message["first_inserted_at"], first[0]["inserted_at"]);
    assert_eq!(message["inserted_at"], second[0]["inserted_at"]);
    assert_eq!(message["source"]["workflow_run_id"], json!(run));
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    let events: Vec<_> = events["items"].as_array().unwrap().iter().collect();
    let named = |at: usize| (events[at]["type"].as_str().unwrap(), &events[at]["inserted_at"]);
    assert_eq!(named(0), ("message.collapsed", &second[0]["inserted_at"]));
    assert_eq!((named(1).0, named(2)), ("message.delivered", ("message.created", &first[0]["inserted_at"])));

    // Of others nothing is said that the API does not know.
    let other = world.tell("ann", json!({"n": 3}), None).await;
    let other = world.get(&format!("/v1/messages/{other}")).sk().await.ok(200);
    assert!(other.get("collapse_key").is_none() && other.get("first_inserted_at").is_none(), "{other}");
    let item = &world.feed("ann").await["entries"][1];
    assert!(item.get("collapse_key").is_none(), "{item}");
}

/// Our own: what is revoked is gone for its reader, and says so to whoever sent it.
#[tokio::test]
async fn a_revoked_message_is_there_for_servers_alone() {
    let world = World::start().await;
    let (one, two) = (world.tell("ann", json!({"n": 1}), None).await, world.tell("ann", json!({"n": 2}), None).await);
    world.clock.advance_seconds(60);
    let revoke = async || world.post(&format!("/v1/messages/{one}/revoke")).sk().await.ok(200);
    let revoked = revoke().await;
    assert_eq!(revoked["revoked_at"], json!(world.clock.now()));
    assert_eq!((&revoked["id"], &revoked["status"]), (&json!(one), &json!("delivered")));
    world.clock.advance_seconds(60);
    assert_eq!(revoke().await, revoked, "once is for good");
    let message = world.get(&format!("/v1/messages/{one}")).sk().await.ok(200);
    assert_eq!(message, revoked);
    assert_eq!(ids(&world.get("/v1/messages").sk().await.ok(200)), [two.as_str(), &one]);
    let other = world.get(&format!("/v1/messages/{two}")).sk().await.ok(200);
    assert!(other.get("revoked_at").is_none(), "of others nothing is said that the API does not know");
    let events = world.get(&format!("/v1/messages/{one}/events")).sk().await.ok(200);
    let names: Vec<&Value> = events["items"].as_array().unwrap().iter().map(|event| &event["type"]).collect();
    assert_eq!(names, ["message.revoked", "message.delivered", "message.created"]);
    let run = revoked["source"]["workflow_recipient_run_id"].as_str().unwrap();
    let run = world.get(&format!("/v1/workflow_recipient_runs/{run}")).sk().await.ok(200);
    let last = run["events"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["event"], &last["step_ref"]), (&json!("message_revoked"), &json!("in_app_feed_1")));
    assert_eq!(last["data"], json!({"message_id": one}));

    let feed = world.feed("ann").await;
    assert_eq!((feed["entries"].as_array().unwrap().len(), &feed["meta"]["total_count"]), (1, &json!(1)));
    assert_eq!(world.get(&format!("/v1/messages/{one}")).pk().await.status, 404);
    let token = world.token_of("ann");
    for call in [world.post("/v1/messages/batch/read").pk(), world.post("/v1/messages/batch/read").pk().token(&token)] {
        let marked = call.json(&json!({"message_ids": [one, two]})).await.ok(200);
        assert_eq!(marked.as_array().unwrap().len(), 1, "a page that still shows it marks it in vain");
    }
    assert_eq!(world.put(&format!("/v1/messages/{one}/read")).pk().await.status, 404);
    assert!(world.post(&format!("/v1/messages/{two}/revoke")).pk().await.status >= 401, "readers revoke nothing");
    assert_eq!(world.post("/v1/messages/unknown/revoke").sk().await.status, 404);
    let foreign = world.post(&format!("/v1/messages/{two}/revoke")).key(&world.foreign_sk).await;
    assert_eq!(foreign.status, 404);
}

#[tokio::test]
async fn what_a_key_stands_for_is_revoked_at_once() {
    let world = World::start().await;
    let with_key = json!({"recipients": [{"id": "ann"}, {"id": "bob"}], "cancellation_key": "k", "data": {"build": 7}});
    world.trigger("comment", &with_key).await;
    world.trigger("build", &with_key).await;
    let revoke = async |body: Value| world.post("/v1/messages/revoke").sk().json(&body).await;
    let body = json!({"workflow": "comment", "cancellation_key": "k", "recipients": ["bob"]});
    assert_eq!(revoke(body).await.ok(200), json!({"revoked": 1, "cancelled": 0}));
    let body = json!({"collapse_key": "build-7"});
    assert_eq!(revoke(body.clone()).await.ok(200), json!({"revoked": 2, "cancelled": 0}));
    assert_eq!(revoke(body).await.ok(200), json!({"revoked": 0, "cancelled": 0}));
    let counts = async |user: &str| world.feed(user).await["meta"]["total_count"].clone();
    assert_eq!((counts("ann").await, counts("bob").await), (json!(1), json!(0)));
    for (body, status) in [
        (json!({}), 422),
        (json!({"collapse_key": "a", "cancellation_key": "b"}), 422),
        (json!({"cancellation_key": "b"}), 422),
        (json!({"cancellation_key": "b", "workflow": "unheard-of"}), 404),
        (json!({"cancellation_key": "b", "workflow": "comment"}), 200),
    ] {
        assert_eq!(revoke(body.clone()).await.status, status, "{body}");
    }
}

#[tokio::test]
async fn a_sandboxed_message_was_not_sent() {
    let world = World::start().await;
    let body = json!({"recipients": [{"id": "ann"}], "settings": {"sandbox_mode": true}});
    world.trigger("comment", &body).await;
    let list = world.get("/v1/messages").sk().await.ok(200);
    let message = &list["items"][0];
    assert_eq!(message["status"], "not_sent", "F-MSG-20");
    let id = message["id"].as_str().unwrap();
    let events = world.get(&format!("/v1/messages/{id}/events")).sk().await.ok(200);
    assert_eq!(events["items"][0]["type"], "message.not_sent", "F-MSG-11");
    assert_eq!(world.feed("ann").await["entries"], json!([]));
    world.put(&format!("/v1/messages/{id}/seen")).sk().await.ok(200);
}

#[tokio::test]
async fn content_and_activities_are_those_of_the_message() {
    let world = World::start().await;
    world.put("/v1/users/ann").sk().json(&json!({"name": "Ann"})).await.ok(200);
    let one = world.tell("ann", json!({"n": 1}), None).await;
    let two = world.tell("ann", json!({"n": 2}), None).await;
    let content = world.get(&format!("/v1/messages/{one}/content")).sk().await.ok(200);
    assert_eq!((&content["__typename"], &content["message_id"]), (&json!("MessageContent"), &json!(one)), "F-MSG-14");
    assert_eq!(content["data"]["__typename"], "MessageInAppFeedContent", "F-MSG-14");
    assert!(content["data"]["blocks"].is_array(), "F-MSG-14");
    let query = format!("message_ids[]={two}&message_ids[]=unknown&message_ids[]={one}&message_ids[]={two}");
    let contents = world.get(&format!("/v1/messages/batch/content?{query}")).sk().await.ok(200);
    let found: Vec<&Value> = contents.as_array().unwrap().iter().map(|one| &one["message_id"]).collect();
    assert_eq!(found, [&json!(two), &json!(one)], "F-MSG-15 F-AMB-45 F-TRN-18");

    let activities = world.get(&format!("/v1/messages/{one}/activities")).sk().await.ok(200);
    assert_eq!(activities["items"].as_array().unwrap().len(), 1, "F-MSG-10 W-RUN-24");
    let activity = &activities["items"][0];
    assert_eq!((&activity["__typename"], &activity["data"]), (&json!("Activity"), &json!({"n": 1})), "W-RUN-24");
    assert_eq!((&activity["recipient"]["name"], &activity["actor"]), (&json!("Ann"), &Value::Null), "W-RUN-24");
    assert_eq!(activity, &world.feed("ann").await["entries"][1]["activities"][0], "F-FED-32");
    for (filter, count) in [("%7B%22n%22:1%7D", 1), ("%7B%22n%22:2%7D", 0)] {
        let list = world.get(&format!("/v1/messages/{one}/activities?trigger_data={filter}")).sk().await.ok(200);
        assert_eq!(list["items"].as_array().unwrap().len(), count, "F-MSG-10");
    }
    let logs = world.get(&format!("/v1/messages/{one}/delivery_logs")).sk().await.ok(200);
    assert_eq!((&logs["items"], &logs["page_info"]["after"]), (&json!([]), &Value::Null), "F-MSG-13 F-FED-39");
    for part in ["content", "activities", "events", "delivery_logs"] {
        assert_eq!(world.get(&format!("/v1/messages/unknown/{part}")).sk().await.status, 404, "F-MSG-01 {part}");
    }
}
