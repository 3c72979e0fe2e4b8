//! Delays: nothing happens before their time, and everything after it.

use bellwire::model::environment::Settings;
use bellwire::model::run::RunStatus;
use bellwire::model::time::Time;
use serde_json::{Value, json};

use crate::world::{START, World, document, record, tell, wait};

fn until(path: &str) -> Value {
    json!({"type": "delay", "ref": "pause", "settings": {"delay_until_field_path": path}})
}

#[tokio::test]
async fn a_fixed_delay_waits_from_when_the_step_executes() {
    let world = World::new(&[("greet", document(json!([wait("pause", "minutes", 10), tell("after", "after")])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    assert_eq!(world.run().await.status, RunStatus::Paused, "W-DLY-11");
    assert_eq!(world.pass(599).await, 0, "W-DLY-15: never early");
    assert!(world.told("u").await.is_empty(), "W-DLY-02");
    assert_eq!(world.pass(1).await, 1);
    assert_eq!(world.told("u").await, ["<p>after</p>"], "W-DLY-02");
    assert_eq!(record(&world.run().await), ["delay_started", "delay_finished", "message_enqueued"]);
    assert_eq!(world.pass(86_400 * 400).await, 0, "nothing is left to do");
}

#[tokio::test]
async fn a_delay_of_a_year_survives_in_the_store() {
    let world = World::new(&[("greet", document(json!([wait("pause", "days", 365), tell("after", "after")])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    let run = world.core.store.run(&world.run().await.id.to_string()).await.unwrap().unwrap();
    assert_eq!(run.state.position.map(|position| position.to_string()).as_deref(), Some("0"), "W-ENG-25");
    world.pass(365 * 86_400).await;
    assert_eq!(world.told("u").await.len(), 1, "W-ENG-25, W-DLY-14");
}

#[tokio::test]
async fn a_dynamic_delay_takes_a_timestamp_a_duration_or_a_rule() {
    let world = World::new(&[("greet", document(json!([until("data.at"), tell("after", "after")])))]).await;
    let cases = [
        (json!(START.plus_seconds(60)), 60, "timestamp"),
        (json!({"unit": "minutes", "value": 5}), 300, "duration"),
        (json!({"frequency": "daily", "hours": 11}), 3_600, "rule"),
    ];
    for (at, seconds, user) in cases {
        world.core.clock.set(START);
        world.trigger("greet", json!({"recipients": [{"id": user}], "data": {"at": at}})).await.unwrap();
        world.pass(seconds - 1).await;
        assert!(world.told(user).await.is_empty(), "W-DLY-03 {user}");
        world.pass(1).await;
        assert_eq!(world.told(user).await.len(), 1, "W-DLY-03 {user}");
    }
}

#[tokio::test]
async fn a_rule_is_read_in_the_recipients_zone() {
    let world = World::new(&[("greet", document(json!([until("data.at"), tell("after", "after")])))]).await;
    let who = json!([{"id": "u", "timezone": "America/New_York"}]);
    let at = json!({"frequency": "daily", "hours": 9});
    world.trigger("greet", json!({"recipients": who, "data": {"at": at}})).await.unwrap();
    let started = world.run().await.events.remove(0).data.unwrap();
    assert_eq!(
        started["resume_at"],
        json!(Time::parse("2026-09-21T13:00:00Z").unwrap()),
        "W-DLY-08: 09:00 in New York"
    );
    assert_eq!(started["timezone"], "America/New_York", "W-DLY-08");
}

#[tokio::test]
async fn a_delay_that_cannot_be_is_skipped_with_an_error() {
    let world = World::new(&[("greet", document(json!([until("data.at"), tell("after", "after")])))]).await;
    for (user, data) in
        [("missing", json!({})), ("past", json!({"at": START.plus_seconds(-1)})), ("odd", json!({"at": [1]}))]
    {
        world.trigger("greet", json!({"recipients": [{"id": user}], "data": data})).await.unwrap();
        assert_eq!(world.told(user).await.len(), 1, "W-DLY-06, W-DLY-07, W-ENG-09 {user}");
        let run = world.runs().await.pop().unwrap();
        assert_eq!(record(&run)[0], "step_skipped:invalid_delay", "W-DLY-06 {user}");
        assert_eq!(run.error_count(), 1, "W-DLY-06 {user}");
    }
}

#[tokio::test]
async fn a_delay_may_be_skipped_by_the_trigger_or_by_its_conditions() {
    let mut pause = wait("pause", "days", 1);
    pause["conditions"] = json!({"all": [{"variable": "data.slow", "operator": "equal_to", "argument": "true"}]});
    let world = World::new(&[("greet", document(json!([pause, tell("after", "after")])))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "a"}]})).await.unwrap();
    assert_eq!(world.told("a").await.len(), 1, "W-DLY-17");
    let body = json!({"recipients": [{"id": "b"}], "data": {"slow": true}, "settings": {"skip_delay": true}});
    world.trigger("greet", body).await.unwrap();
    assert_eq!(world.told("b").await.len(), 1, "W-TRG-28, W-DLY-13");
    world.trigger("greet", json!({"recipients": [{"id": "c"}], "data": {"slow": true}})).await.unwrap();
    assert!(world.told("c").await.is_empty());
}

#[tokio::test]
async fn what_changed_during_a_pause_is_seen_and_who_is_gone_is_not_told() {
    let steps = json!([wait("pause", "hours", 1), tell("after", "Hello {{ recipient.name }} of {{ data.team }}")]);
    let world = World::new(&[("greet", document(steps))]).await;
    let body = json!({"recipients": [{"id": "u", "name": "Old"}, {"id": "gone"}], "data": {"team": "red"}});
    world.trigger("greet", body).await.unwrap();
    let profile = bellwire::verbs::identify::Profile::parse(json!({"name": "New"}).as_object().unwrap(), "").unwrap();
    world.core.identify_user(world.env, "u", &profile).await.unwrap();
    world.core.delete_user(world.env, "gone").await.unwrap();
    world.pass(3_600).await;
    assert_eq!(world.told("u").await, ["<p>Hello New of red</p>"], "W-ENG-20, W-AMB-13");
    assert!(world.feed("gone").await.is_empty(), "W-ENG-17");
    assert_eq!(world.runs().await.len(), 1, "F-USR-12: run history goes with the user, W-ENG-18");
}

#[tokio::test]
async fn a_paused_run_keeps_the_version_it_was_triggered_with() {
    let old = document(json!([wait("pause", "hours", 1), tell("after", "old")]));
    let world = World::new(&[("greet", old)]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    let new = document(json!([wait("pause", "hours", 1), tell("after", "new")]));
    let newer = bellwire::model::workflow::Workflow::parse("greet", &new, world.core.catalog.channels()).unwrap();
    world.core.catalog.replace(vec![newer]);
    world.trigger("greet", json!({"recipients": [{"id": "v"}]})).await.unwrap();
    world.pass(3_600).await;
    assert_eq!(world.told("u").await, ["<p>old</p>"], "W-DLY-16, W-ENG-15");
    assert_eq!(world.told("v").await, ["<p>new</p>"], "W-ENG-15");
}

#[tokio::test]
async fn variables_and_channels_are_those_of_the_hour_and_no_part_of_the_version() {
    let body = "{{ vars.greeting }} {{ recipient.name }}";
    let document = document(json!([wait("pause", "hours", 1), tell("after", body)]));
    let settings = |greeting: &str| Settings { all_vars: json!({"greeting": greeting}), ..Settings::default() };
    let world = World::with_settings(&[("greet", document)], settings("Old")).await;
    world.trigger("greet", json!({"recipients": [{"id": "u", "name": "U"}, {"id": "v", "name": "V"}]})).await.unwrap();
    // As after a restart with another configuration.
    let only_u = json!({"all": [{"variable": "recipient.name", "operator": "equal_to", "argument": "U"}]});
    let mut world = world;
    world.core = world.reconfigured(settings("New"), only_u);
    world.pass(3_600).await;
    assert_eq!(world.told("u").await, ["<p>New U</p>"], "W-ENG-21");
    assert!(world.told("v").await.is_empty(), "W-ENG-21: the channel's conditions of now hold");
}
