//! A trigger becomes runs, a run becomes feed items, and everything that happened can be read.

use std::sync::Arc;

use bellwire::bus::News;
use bellwire::model::run::{EventStatus, RunStatus};
use bellwire::verbs::Error;
use serde_json::{Value, json};

use crate::world::{CHANNEL, World, document, record, tell, wait};

fn greet() -> [(&'static str, Value); 1] {
    [("greet", document(json!([tell("hello", "Hello **{{ recipient.name }}**")])))]
}

#[tokio::test]
async fn a_trigger_is_on_the_bell_when_it_is_answered() {
    let world = World::new(&greet()).await;
    let answer = world.trigger("greet", json!({"recipients": [{"id": "ada", "name": "Ada"}]})).await.unwrap();
    let told: Value = serde_json::from_str(&answer.body).unwrap();
    let run = world.run().await;
    assert_eq!(told, json!({"workflow_run_id": run.workflow_run}), "W-TRG-02");
    assert_eq!(run.workflow_run.get_version_num(), 4, "W-TRG-02");
    assert_ne!(run.id, run.workflow_run, "W-RUN-01");
    assert_eq!(run.status, RunStatus::Completed, "W-RUN-08");
    assert_eq!(record(&run), ["message_enqueued"], "W-RUN-13");
    assert_eq!(
        world.told("ada").await,
        ["<p>Hello <strong>Ada</strong></p>"],
        "W-TRG-10: the first step sees the inline name"
    );
    let events = world.events.lock().unwrap();
    assert_eq!((events.len(), events[0].head.version), (1, 1), "one piece of news");
    assert_eq!(events[0].head.active.unread, 1);
}

#[tokio::test]
async fn every_distinct_recipient_runs_once() {
    let world = World::new(&greet()).await;
    let recipients = json!(["a", "b", {"id": "a"}, {"id": "b"}, {"id": "c"}]);
    for id in ["a", "b"] {
        world.core.identify_user(world.env, id, &Default::default()).await.unwrap();
    }
    world.trigger("greet", json!({"recipients": recipients})).await.unwrap();
    let runs = world.runs().await;
    assert_eq!(runs.len(), 3, "W-FAN-01, W-FAN-06");
    assert!(runs.iter().all(|run| run.workflow_run == runs[0].workflow_run), "W-FAN-12");
}

#[tokio::test]
async fn all_recipients_of_a_trigger_share_its_data() {
    let world = World::new(&greet()).await;
    let recipients: Vec<Value> = (0..20).map(|n| json!({"id": format!("u{n}")})).collect();
    let data = json!({"n": 1, "deep": {"text": "x".repeat(1_000)}, "attachments": [{"name": "f"}]});
    let body = json!({"recipients": recipients, "actor": {"id": "bot"}, "data": data});
    world.trigger("greet", body).await.unwrap();
    let events = world.events.lock().unwrap();
    let items: Vec<_> =
        events
            .iter()
            .map(|event| {
                if let News::Item(item) = &event.news {
                    item.message().unwrap()
                } else {
                    panic!("an item was expected")
                }
            })
            .collect();
    assert_eq!(items.len(), 20);
    for item in &items {
        assert!(Arc::ptr_eq(&item.data, &items[0].data), "one text, however many recipients");
        assert!(Arc::ptr_eq(item.slim_data.as_ref().unwrap(), items[0].slim_data.as_ref().unwrap()));
        assert!(Arc::ptr_eq(&item.actors, &items[0].actors));
        assert!(Arc::ptr_eq(&item.categories, &items[0].categories));
    }
}

#[tokio::test]
async fn a_recipient_nobody_identified_is_said_on_the_run_and_not_created() {
    let world = World::new(&greet()).await;
    world.trigger("greet", json!({"recipients": ["ghost"]})).await.expect("W-ERR-10: it is no fault of the request");
    let run = world.run().await;
    assert_eq!(run.status, RunStatus::Completed, "W-AMB-07");
    assert_eq!(record(&run), ["run_halted:recipient_never_identified"], "W-RUN-15");
    assert_eq!(run.error_count(), 1, "W-RUN-14");
    assert!(world.core.store.user(world.env, "ghost").await.unwrap().is_none(), "W-TRG-12");
    assert!(world.feed("ghost").await.is_empty());
}

#[tokio::test]
async fn a_trigger_that_cannot_run_says_why_and_leaves_nothing() {
    let schema = json!({"name": "Strict", "steps": [], "trigger_data_json_schema": {"type": "object", "required": ["n"],
        "properties": {"n": {"type": "number"}}}});
    let world = World::new(&[("greet", document(json!([tell("hello", "x")]))), ("strict", schema)]).await;
    let one = json!(["u"]);
    let missing = world.trigger("nope", json!({})).await;
    assert!(matches!(missing, Err(Error::WorkflowMissing(_))), "W-ERR-03, before the body is looked at: W-ERR-09");
    world.core.catalog.set_active(world.env, "greet", false);
    let inactive = world.trigger("greet", json!({})).await;
    assert!(matches!(inactive, Err(Error::WorkflowInactive(_))), "W-ERR-04, W-ENV-06, W-ERR-09");
    world.core.catalog.set_active(world.env, "greet", true);
    let shape = world.trigger("greet", json!({"recipients": [], "actor": "nobody"})).await;
    assert!(matches!(shape, Err(Error::Invalid(_))), "W-ERR-06, before the actor: W-ERR-09");
    let actor = world.trigger("greet", json!({"recipients": one, "actor": "nobody"})).await;
    assert!(matches!(actor, Err(Error::ActorMissing(_))), "W-TRG-19, W-ERR-05");
    let recipients = json!([{"id": "u", "$trigger_data": {"n": 1}}, {"id": "v", "$trigger_data": {"n": "x"}}]);
    let data = world.trigger("strict", json!({"recipients": recipients})).await;
    let Err(Error::Invalid(faults)) = data else { panic!("W-VAL-06") };
    assert_eq!(faults[0].path, "data.n", "W-VAL-06, W-VAL-09");
    assert!(world.runs().await.is_empty(), "W-VAL-06: no run for any recipient");
    assert!(world.core.store.user(world.env, "v").await.unwrap().is_none(), "nothing of a refused trigger stays");
}

#[tokio::test]
async fn inline_people_are_merged_before_the_run_and_plain_references_are_not() {
    let world = World::new(&greet()).await;
    let who = json!({"id": "u", "name": "Una", "plan": {"name": "pro", "seats": 3}});
    world.trigger("greet", json!({"recipients": [who]})).await.unwrap();
    let more = json!({"id": "u", "plan": {"seats": 4}});
    world
        .trigger("greet", json!({"recipients": [more], "actor": {"id": "bot", "name": "Bot"}, "tenant": "acme"}))
        .await
        .unwrap();
    let user = world.core.store.user(world.env, "u").await.unwrap().unwrap();
    assert_eq!(user.properties["plan"], json!({"name": "pro", "seats": 4}), "W-TRG-11");
    assert_eq!(user.properties["name"], "Una", "W-TRG-11");
    assert!(world.core.store.user(world.env, "bot").await.unwrap().is_some(), "W-TRG-18");
    assert!(world.core.store.object(world.env, "$tenants", "acme").await.unwrap().is_some(), "W-TRG-23");
    let newest = &world.feed("u").await[0];
    assert_eq!(newest.tenant.as_deref(), Some("acme"), "W-TRG-25");
    assert!(newest.actors.contains("\"Bot\""), "W-TRG-20: the actor is on the item");
    assert_eq!(world.runs().await[1].actor.as_ref().map(ToString::to_string).as_deref(), Some("bot"), "W-TRG-20");
}

#[tokio::test]
async fn an_actor_who_is_also_named_is_told_too() {
    let world = World::new(&greet()).await;
    world.trigger("greet", json!({"recipients": [{"id": "a"}, {"id": "b"}], "actor": "a"})).await.unwrap();
    assert_eq!(world.told("a").await.len(), 1, "W-TRG-21");
}

#[tokio::test]
async fn sandbox_mode_makes_a_message_that_no_feed_shows() {
    let world = World::new(&greet()).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "settings": {"sandbox_mode": true}})).await.unwrap();
    assert!(world.feed("u").await.is_empty(), "W-AMB-69");
    assert!(world.events.lock().unwrap().is_empty(), "W-AMB-69");
    let id = world.run().await.state.messages["hello"][0].clone();
    let message = world.core.store.message(world.env, &id).await.unwrap().unwrap();
    assert_eq!(message.status, "not_sent", "W-TRG-27, W-CHS-14");
}

#[tokio::test]
async fn trigger_conditions_halt_a_run_and_say_what_they_compared() {
    let condition = json!({"all": [{"variable": "data.amount", "operator": "greater_than", "argument": "10"}]});
    let mut document = document(json!([tell("hello", "x")]));
    document["conditions"] = condition;
    let world = World::new(&[("greet", document)]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"amount": 5}})).await.unwrap();
    let run = world.run().await;
    assert_eq!(record(&run), ["run_halted:trigger_conditions"], "W-FRQ-02, W-FRQ-03");
    assert_eq!((run.status, run.error_count()), (RunStatus::Completed, 0), "W-RUN-09");
    let compared = &run.events[0].data.as_ref().unwrap()["conditions"][0];
    assert_eq!((&compared["left"], &compared["right"]), (&json!(5), &json!(10)), "W-RUN-16");
    world.trigger("greet", json!({"recipients": ["u"], "data": {"amount": 11}})).await.unwrap();
    assert_eq!(world.told("u").await.len(), 1, "W-FRQ-01");
}

#[tokio::test]
async fn a_false_step_condition_skips_the_step_alone() {
    let mut first = tell("first", "first");
    first["conditions"] = json!({"all": [{"variable": "data.loud", "operator": "equal_to", "argument": "true"}]});
    let world = World::new(&[("greet", document(json!([first, tell("second", "second")])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    assert_eq!(world.told("u").await, ["<p>second</p>"], "W-ENG-04, W-CHS-04");
    let run = world.run().await;
    assert_eq!(record(&run), ["step_skipped:conditions", "message_enqueued"], "W-RUN-15");
    assert_eq!(run.events[0].step_ref.as_deref(), Some("first"), "W-RUN-12");
    assert_eq!(run.events[0].step_type.as_deref(), Some("channel"), "W-RUN-12");
    assert_eq!(run.events[0].id.len(), 27, "W-RUN-12, W-AMB-66");
}

#[tokio::test]
async fn steps_run_in_order_and_an_empty_workflow_completes() {
    let steps = json!([tell("a", "one"), tell("b", "two"), tell("c", "three")]);
    let world = World::new(&[("many", document(steps)), ("none", document(json!([])))]).await;
    world.trigger("many", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    assert_eq!(world.told("u").await, ["<p>one</p>", "<p>two</p>", "<p>three</p>"], "W-ENG-01");
    world.trigger("none", json!({"recipients": ["u"]})).await.unwrap();
    assert_eq!(world.runs().await[1].status, RunStatus::Completed, "W-ENG-23");
}

#[tokio::test]
async fn no_step_but_a_pause_makes_a_run_wait() {
    let mut skipped = tell("skipped", "skipped");
    skipped["conditions"] = json!({"all": [{"variable": "data.no", "operator": "exists"}]});
    let mail = json!({"type": "channel", "ref": "mail", "channel_key": "smtp", "channel_type": "email",
        "template": {"subject": "s", "settings": {}, "html_body": "<p>x</p>"}});
    let choose = json!({"type": "branch", "ref": "choose", "branches": [
        {"name": "yes", "conditions": {"all": [{"variable": "data.n", "operator": "exists"}]}, "steps": [tell("in", "in")]},
        {"name": "default", "steps": []}
    ]});
    let steps = json!([tell("first", "first"), skipped, mail, choose, tell("last", "last")]);
    let world = World::new(&[("greet", document(steps))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"n": 1}})).await.unwrap();
    assert_eq!(world.run().await.status, RunStatus::Completed, "W-ENG-07");
    assert_eq!(world.told("u").await, ["<p>first</p>", "<p>in</p>", "<p>last</p>"], "W-ENG-07");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "W-ENG-07: nothing is left to wait for");
}

#[tokio::test]
async fn a_skip_is_no_error_and_an_error_is_no_skip() {
    let mut skipped = tell("skipped", "x");
    skipped["conditions"] = json!({"all": [{"variable": "data.no", "operator": "exists"}]});
    let mail = json!({"type": "channel", "ref": "mail", "channel_key": "smtp", "channel_type": "email",
        "template": {"subject": "s", "settings": {}, "html_body": "<p>x</p>"}});
    let steps = json!([skipped, mail, tell("broken", "{{ 1 | divided_by: 0 }}")]);
    let world = World::new(&[("greet", document(steps))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    let run = world.run().await;
    let told: Vec<_> = run.events.iter().map(|event| (event.event.as_str(), event.status)).collect();
    let skip = ("step_skipped", EventStatus::Ok);
    assert_eq!(told, [skip, skip, ("step_failed", EventStatus::Error)], "W-ENG-12");
    assert_eq!(run.error_count(), 1, "W-ENG-12");
    assert_eq!(run.status, RunStatus::Processing, "W-ENG-12: what is skipped is passed, what failed is tried again");
}

#[tokio::test]
async fn a_long_text_is_whole_to_the_run_and_cut_in_its_record() {
    let text = "é".repeat(3_000);
    let mut step = tell("hello", "{{ data.text }}");
    step["conditions"] = json!({"all": [{"variable": "data.text", "operator": "exists"}]});
    let world = World::new(&[("greet", document(json!([step])))]).await;
    let skipped = json!({"all": [{"variable": "data.text", "operator": "equal_to", "argument": "short"}]});
    let mut workflow = document(json!([tell("hello", "x")]));
    workflow["conditions"] = skipped;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"text": text}})).await.unwrap();
    assert_eq!(world.told("u").await, [format!("<p>{text}</p>")], "W-VAL-03");
    assert_eq!(world.run().await.data.value()["text"], text, "W-VAL-03");
    let world = World::new(&[("greet", workflow)]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"text": text}})).await.unwrap();
    let left = world.run().await.events[0].data.as_ref().unwrap()["conditions"][0]["left"].clone();
    assert!(left.as_str().unwrap().len() <= 1_100, "W-VAL-03: the record is for people");
}

#[tokio::test]
async fn a_step_that_cannot_render_is_tried_three_times_and_then_halts_the_run() {
    let steps = json!([tell("broken", "{{ data.n | divided_by: 0 }}"), tell("after", "after")]);
    let world = World::new(&[("greet", document(steps))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"n": 1}})).await.unwrap();
    assert_eq!(world.run().await.status, RunStatus::Processing, "W-ENG-13: it will be tried again");
    assert_eq!(world.pass(60).await, 2, "W-ENG-13: three attempts in all");
    let run = world.run().await;
    assert_eq!(record(&run), ["step_failed", "step_failed", "step_failed", "run_halted:step_failed"], "W-ENG-13");
    let attempts: Vec<u32> = run.events.iter().take(3).map(|event| event.attempt).collect();
    assert_eq!(attempts, [1, 2, 3], "W-RUN-12");
    assert_eq!((run.status, run.error_count()), (RunStatus::Completed, 3), "W-RUN-09, W-RUN-14");
    assert_eq!(run.events[0].status, EventStatus::Error, "W-CHS-11");
    assert!(world.told("u").await.is_empty(), "W-ENG-13: no later step executes");
}

#[tokio::test]
async fn a_workflow_switched_off_stops_a_run_at_its_next_step_and_back_on_lets_it_go_on() {
    let steps = json!([wait("pause", "hours", 1), tell("after", "after")]);
    let world = World::new(&[("greet", document(steps))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "off"}, {"id": "on"}]})).await.unwrap();
    world.core.catalog.set_active(world.env, "greet", false);
    assert_eq!(world.run_of("off").await.status, RunStatus::Paused, "W-ENV-07");
    world.core.catalog.set_active(world.env, "greet", true);
    world.pass(3_600).await;
    assert_eq!(world.told("on").await, ["<p>after</p>"], "W-ENV-09");
    world.trigger("greet", json!({"recipients": ["off"]})).await.unwrap();
    world.core.catalog.set_active(world.env, "greet", false);
    world.pass(3_600).await;
    let run = world.runs().await.pop().unwrap();
    assert_eq!(record(&run), ["delay_started", "run_halted:workflow_inactive"], "W-ENV-08, W-ENG-02");
    assert_eq!(world.told("off").await.len(), 1, "W-ENV-08");
}

#[tokio::test]
async fn a_channel_that_is_not_configured_is_a_skip_with_its_reason() {
    let step = json!({"type": "channel", "ref": "mail", "channel_key": "smtp", "channel_type": "email",
        "template": {"subject": "s", "settings": {}, "html_body": "<p>x</p>"}});
    let world = World::new(&[("greet", document(json!([step, tell("hello", "x")])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    assert_eq!(
        record(&world.run().await),
        ["step_skipped:channel_not_configured", "message_enqueued"],
        "W-CHS-05, W-ENG-08"
    );
}

#[tokio::test]
async fn an_object_has_no_feed() {
    let world = World::new(&greet()).await;
    world.trigger("greet", json!({"recipients": [{"id": "t", "collection": "teams", "name": "Team"}]})).await.unwrap();
    assert_eq!(record(&world.run().await), ["step_skipped:recipient_has_no_feed"], "F-OBJ-09, W-FAN-14");
}

#[tokio::test]
async fn a_message_says_where_it_comes_from() {
    let mut document = document(json!([tell("hello", "x")]));
    document["categories"] = json!(["news"]);
    let world = World::new(&[("greet", document)]).await;
    world
        .trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"page": "p", "nested": {"a": 1}}}))
        .await
        .unwrap();
    let run = world.run().await;
    let message = world.feed("u").await.remove(0);
    let shown = message.to_json(&json!({"id": CHANNEL}));
    assert_eq!(shown["source"]["workflow_run_id"], json!(run.workflow_run), "W-RUN-20");
    assert_eq!(shown["source"]["workflow_recipient_run_id"], json!(run.id), "W-RUN-20");
    assert_eq!(shown["source"]["step_ref"], "hello", "W-RUN-20");
    assert_eq!(shown["source"]["categories"], json!(["news"]), "W-RUN-20");
    assert_eq!(shown["status"], "delivered", "W-CHS-18, F-FED-39");
    assert_eq!(shown["data"], json!({"page": "p", "nested": {"a": 1}}));
    assert_eq!(message.slim_data.as_deref(), Some(r#"{"page":"p"}"#), "F-FED-23, W-VAL-10");
}

#[tokio::test]
async fn channel_conditions_and_step_conditions_must_both_hold() {
    let mut step = tell("hello", "x");
    step["conditions"] = json!({"all": [{"variable": "data.step", "operator": "equal_to", "argument": "true"}]});
    let channel = json!({"all": [{"variable": "data.channel", "operator": "equal_to", "argument": "true"}]});
    let world = World::with_channel_conditions(&[("greet", document(json!([step])))], channel).await;
    for (step, channel, expected) in [(true, true, 1), (true, false, 0), (false, true, 0)] {
        let user = format!("{step}-{channel}");
        let body = json!({"recipients": [{"id": user}], "data": {"step": step, "channel": channel}});
        world.trigger("greet", body).await.unwrap();
        assert_eq!(world.told(&user).await.len(), expected, "W-ENG-05, W-CND-04 {user}");
    }
    let reasons: Vec<String> = world.runs().await.iter().flat_map(record).collect();
    assert_eq!(reasons, ["message_enqueued", "step_skipped:channel_conditions", "step_skipped:conditions"], "W-RUN-15");
}

#[tokio::test]
async fn two_runs_of_one_recipient_know_nothing_of_each_other() {
    let world =
        World::new(&[("greet", document(json!([wait("pause", "hours", 1), tell("after", "{{ data.n }}")])))]).await;
    world
        .trigger("greet", json!({"recipients": [{"id": "u"}], "data": {"n": 1}, "cancellation_key": "one"}))
        .await
        .unwrap();
    world.trigger("greet", json!({"recipients": ["u"], "data": {"n": 2}})).await.unwrap();
    world.core.cancel(world.env, "greet", &json!({"cancellation_key": "one"})).await.unwrap();
    world.pass(3_600).await;
    assert_eq!(world.told("u").await, ["<p>2</p>"], "W-ENG-24");
}

#[tokio::test]
async fn conditions_are_looked_at_when_their_step_is_reached() {
    let mut after = tell("after", "after");
    after["conditions"] = json!({"all": [{"variable": "recipient.ready", "operator": "equal_to", "argument": "true"}]});
    let world = World::new(&[("greet", document(json!([wait("pause", "hours", 1), after])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u", "ready": false}]})).await.unwrap();
    let profile = bellwire::verbs::identify::Profile::parse(json!({"ready": true}).as_object().unwrap(), "").unwrap();
    world.core.identify_user(world.env, "u", &profile).await.unwrap();
    world.pass(3_600).await;
    assert_eq!(world.told("u").await.len(), 1, "W-ENG-03, W-CND-09");
}

#[tokio::test]
async fn a_run_is_read_as_the_api_spells_it() {
    let world = World::new(&[("greet", document(json!([wait("pause", "hours", 1)])))]).await;
    let body = json!({"recipients": [{"id": "u"}], "actor": {"id": "a", "collection": "bots", "name": "A"}, "tenant": "acme", "cancellation_key": "k"});
    world.trigger("greet", body).await.unwrap();
    let run = world.run().await;
    let shown = run.to_detail_json();
    for (member, expected) in [
        ("__typename", json!("WorkflowRecipientRun")),
        ("workflow", json!("greet")),
        ("status", json!("paused")),
        ("recipient", json!("u")),
        ("actor", json!({"id": "a", "collection": "bots"})),
        ("tenant", json!("acme")),
        ("error_count", json!(0)),
        ("trigger_source", json!({"type": "api", "cancellation_key": "k", "schedule_id": null, "audience_key": null})),
    ] {
        assert_eq!(shown[member], expected, "W-RUN-06, W-RUN-10, W-RUN-11, W-TRG-30: {member}");
    }
    let event = &shown["events"][0];
    assert_eq!(event["__typename"], "WorkflowRecipientRunEvent", "W-RUN-12");
    assert_eq!(
        (&event["status"], &event["attempt"], &event["step_ref"]),
        (&json!("ok"), &json!(1), &json!("pause")),
        "W-RUN-12"
    );
}

impl World {
    async fn run_of(&self, user: &str) -> bellwire::model::run::Run {
        self.runs().await.into_iter().find(|run| run.recipient.id() == user).expect("a run of that user")
    }
}
