//! Who a trigger speaks of: merged before anything runs, stored where later requests find it.

use bellwire::engine::work::work;
use bellwire::model::run::RunStatus;
use bellwire::params;
use bellwire::store::Batch;
use bellwire::verbs::identify::Profile;
use serde_json::{Value, json};

use crate::world::{PHONES, World, document, record, tell, wait};

async fn world() -> World {
    World::new(&[("greet", document(json!([tell("hello", "{{ tenant.name }}")])))]).await
}

#[tokio::test]
async fn inline_channel_data_replaces_and_inline_preferences_merge() {
    let world = world().await;
    let trigger = async |channel_data: Value, preferences: Value| {
        let who = json!({"id": "u", "channel_data": {PHONES: channel_data}, "preferences": preferences});
        world.trigger("greet", json!({"recipients": [who]})).await.unwrap();
    };
    trigger(
        json!({"tokens": ["a"], "old": true}),
        json!({"default": {"channel_types": {"email": false, "sms": true}}}),
    )
    .await;
    trigger(
        json!({"tokens": ["b"]}),
        json!({"default": {"channel_types": {"email": true}}, "acme": {"workflows": {"greet": false}}}),
    )
    .await;
    let data = world
        .core
        .store
        .query_one("SELECT data FROM channel_data WHERE recipient = ?1", &params!["u"], |row| row.json::<Value>(0))
        .await
        .unwrap();
    assert_eq!(data, Some(json!({"tokens": ["b"]})), "W-TRG-14, F-REC-05");
    let sets = world.core.store.preference_sets(world.env, "u").await.unwrap();
    let expected = vec![
        ("acme".to_owned(), json!({"workflows": {"greet": false}})),
        ("default".to_owned(), json!({"channel_types": {"email": true, "sms": true}})),
    ];
    assert_eq!(sets, expected, "W-TRG-15, F-REC-05, F-USR-08");
    let user = world.core.store.user(world.env, "u").await.unwrap().unwrap();
    assert!(user.properties.is_empty(), "W-TRG-13, F-REC-03: neither is a property");
}

#[tokio::test]
async fn an_inline_tenant_is_merged_first_and_can_be_a_recipient_itself() {
    let world = world().await;
    let tenant = json!({"id": "acme", "name": "Acme", "plan": "pro"});
    world.trigger("greet", json!({"recipients": [{"id": "u"}], "tenant": tenant})).await.unwrap();
    assert_eq!(world.told("u").await, ["<p>Acme</p>"], "W-TRG-22, W-TRG-10");
    world.trigger("greet", json!({"recipients": [{"collection": "$tenants", "id": "acme"}]})).await.unwrap();
    let run = world.runs().await.pop().unwrap();
    assert_eq!(
        (run.status, record(&run)),
        (RunStatus::Completed, vec!["step_skipped:recipient_has_no_feed".to_owned()]),
        "W-TRG-26"
    );
}

#[tokio::test]
async fn properties_that_grow_too_large_stop_the_whole_trigger() {
    let world = world().await;
    let body = json!({"recipients": [{"id": "a"}, {"id": "b", "notes": "x".repeat(300 * 1024)}]});
    let Err(bellwire::verbs::Error::Invalid(faults)) = world.trigger("greet", body).await else { panic!("F-AMB-21") };
    assert_eq!(faults[0].path, "recipients[1]", "F-USR-07, F-ERR-06, F-AMB-21");
    assert!(world.runs().await.is_empty(), "F-AMB-21");
}

/// On one node none of them is refused: more than sixteen at once used to be told 409.
#[tokio::test]
async fn many_triggers_that_change_the_same_people_at_once_are_all_answered_and_lose_nothing() {
    const AT_ONCE: usize = 200;
    let world = world().await;
    let all = (0..AT_ONCE).map(|n| {
        let mut people = ["u", "v"].map(|id| json!({"id": id}));
        for who in &mut people {
            who[format!("p{n}")] = json!(n);
        }
        // In both orders: nobody waits for somebody who waits for him.
        if n % 2 == 1 {
            people.reverse();
        }
        world.trigger("greet", json!({"recipients": people, "tenant": {"id": "acme", format!("p{n}"): n}}))
    });
    for answer in world.on_a_slow_disk(futures_util::future::join_all(all)).await {
        answer.unwrap();
    }
    for id in ["u", "v"] {
        let user = world.core.store.user(world.env, id).await.unwrap().unwrap();
        assert_eq!(user.properties.len(), AT_ONCE, "W-TRG-11: no merge overtakes another");
        assert_eq!(world.head(id).await.active.total as usize, AT_ONCE);
    }
    let tenant = world.core.store.object(world.env, "$tenants", "acme").await.unwrap().unwrap();
    assert_eq!(tenant.properties.len(), AT_ONCE, "W-TRG-22");
}

#[tokio::test]
async fn a_user_who_is_identified_many_times_at_once_is_told_no_lie() {
    let world = world().await;
    let profiles: Vec<Profile> = (0..100).map(|n| profile(json!({format!("p{n}"): n}))).collect();
    let all = profiles.iter().map(|profile| world.core.identify_user(world.env, "u", profile));
    for (n, user) in futures_util::future::join_all(all).await.into_iter().enumerate() {
        assert_eq!(user.unwrap().properties[&format!("p{n}")], n, "F-USR-01");
    }
    assert_eq!(world.core.store.user(world.env, "u").await.unwrap().unwrap().properties.len(), 100, "F-USR-05");
}

#[tokio::test]
async fn inline_preferences_merged_at_once_on_two_nodes_are_all_kept() {
    let world = world().await;
    let other = world.neighbour();
    let all = (0..40).map(|n| {
        let node = if n % 2 == 0 { &world.core } else { &other };
        let sets = json!({"default": {"workflows": {format!("w{n}"): false}}});
        world.trigger_on(node, "greet", json!({"recipients": [{"id": "u", "preferences": sets}]}), None)
    });
    for answer in world.on_a_slow_disk(futures_util::future::join_all(all)).await {
        answer.unwrap();
    }
    let sets = world.core.store.preference_sets(world.env, "u").await.unwrap();
    assert_eq!(sets[0].1["workflows"].as_object().unwrap().len(), 40, "W-TRG-15: none is lost");
}

#[tokio::test]
async fn two_who_are_the_same_are_merged_one_after_the_other() {
    let world = world().await;
    let who = |workflow: &str| json!({"id": "u", "preferences": {"default": {"workflows": {workflow: false}}}});
    world.trigger("greet", json!({"recipients": [who("a")], "actor": who("b")})).await.unwrap();
    let sets = world.core.store.preference_sets(world.env, "u").await.unwrap();
    assert_eq!(sets[0].1, json!({"workflows": {"a": false, "b": false}}), "W-TRG-15");
}

/// Neither a message nor a run that told of it stayed behind, but only one that says there was nobody.
#[tokio::test]
async fn who_is_deleted_while_a_trigger_is_made_ready_leaves_nothing_behind() {
    let world = world().await;
    for id in ["u", "v"] {
        world.core.identify_user(world.env, id, &profile(json!({"name": "U"}))).await.unwrap();
    }
    let trigger = world.trigger("greet", json!({"recipients": ["u", "v"], "data": {"secret": 1}}));
    let (deleted, triggered) = world.at_once(world.core.delete_user(world.env, "u"), trigger).await;
    deleted.unwrap();
    triggered.unwrap();
    let mut runs: Vec<_> = world.runs().await.iter().map(|run| (run.recipient.key(), record(run))).collect();
    runs.sort();
    let expected = [("u", "run_halted:recipient_never_identified"), ("v", "message_enqueued")]
        .map(|(id, event)| (id.to_owned(), vec![event.to_owned()]));
    assert_eq!(runs, expected, "F-USR-12 F-USR-13 W-AMB-07");
    assert!(world.feed("u").await.is_empty(), "F-USR-12");
    assert_eq!(world.told("v").await.len(), 1);
}

#[tokio::test]
async fn an_object_that_goes_meanwhile_counts_as_unknown() {
    let world = world().await;
    let team = json!({"collection": "teams", "id": "t"});
    world.trigger("greet", json!({"recipients": [{"collection": "teams", "id": "t", "name": "Team"}]})).await.unwrap();
    let mut gone = Batch::new();
    gone.push("DELETE FROM objects WHERE id = ?1", params!["t"]);
    let trigger = world.trigger("greet", json!({"recipients": [team]}));
    let (deleted, triggered) = world.at_once(world.core.store.apply(gone), trigger).await;
    deleted.unwrap();
    triggered.unwrap();
    let run = world.runs().await.pop().unwrap();
    assert_eq!(record(&run), ["run_halted:recipient_never_identified"], "W-AMB-07");
}

#[tokio::test]
async fn who_is_deleted_and_comes_again_meanwhile_is_somebody_else() {
    let world = World::new(&[("greet", document(json!([tell("hello", "Hello {{ recipient.name }}")])))]).await;
    world.core.identify_user(world.env, "u", &profile(json!({"name": "Old"}))).await.unwrap();
    let renewed = async {
        world.core.delete_user(world.env, "u").await.unwrap();
        world.core.clock.advance(1);
        world.core.identify_user(world.env, "u", &profile(json!({"name": "New"}))).await.unwrap();
    };
    let mut batch = Batch::new();
    let old = world.core.store.user(world.env, "u").await.unwrap().unwrap();
    batch.require_recipients(world.env, [&old].into_iter(), std::iter::empty());
    renewed.await;
    assert!(matches!(world.core.store.apply(batch).await, Err(bellwire::store::Error::Refused(0))), "F-USR-13");
}

#[tokio::test]
async fn what_comes_with_a_user_who_is_deleted_meanwhile_is_of_the_user_who_comes_anew() {
    let world = world().await;
    world.core.identify_user(world.env, "u", &profile(json!({"name": "Old"}))).await.unwrap();
    let who = json!({"id": "u", "channel_data": {PHONES: {"tokens": ["a"]}}});
    let trigger = world.trigger("greet", json!({"recipients": [who]}));
    let (deleted, triggered) = world.at_once(world.core.delete_user(world.env, "u"), trigger).await;
    deleted.unwrap();
    triggered.unwrap();
    let user = world.core.store.user(world.env, "u").await.unwrap().expect("W-TRG-12: an inline user is made");
    assert!(user.properties.is_empty(), "F-USR-13: it inherits nothing");
    assert_eq!(world.told("u").await.len(), 1);
}

#[tokio::test]
async fn an_actor_who_is_deleted_meanwhile_stops_the_trigger() {
    let world = world().await;
    for id in ["u", "actor"] {
        world.core.identify_user(world.env, id, &profile(json!({"name": "N"}))).await.unwrap();
    }
    let trigger = world.trigger("greet", json!({"recipients": ["u"], "actor": "actor"}));
    let (deleted, triggered) = world.at_once(world.core.delete_user(world.env, "actor"), trigger).await;
    deleted.unwrap();
    assert!(matches!(triggered, Err(bellwire::verbs::Error::ActorMissing(_))), "W-TRG-19 F-USR-13");
    assert!(world.runs().await.is_empty(), "W-TRG-19");
}

#[tokio::test]
async fn a_recipient_who_goes_while_a_run_resumes_is_not_told() {
    let steps = json!([wait("pause", "hours", 1), tell("after", "after")]);
    let world = World::new(&[("greet", document(steps))]).await;
    world.trigger("greet", json!({"recipients": [{"id": "u"}]})).await.unwrap();
    world.core.clock.advance_seconds(3_600);
    let now = world.core.clock.now();
    let job = world.core.store.claim_jobs("test", now, now.plus_seconds(30), 1).await.unwrap().remove(0);
    // As from a node whose deletion has the run still to come.
    let mut gone = Batch::new();
    gone.push("DELETE FROM users WHERE id = ?1", params!["u"]);
    let (deleted, resumed) = world.at_once(world.core.store.apply(gone), work(&world.core, &job)).await;
    deleted.unwrap();
    resumed.unwrap();
    assert_eq!(record(&world.run().await), ["delay_started", "run_halted:recipient_gone"], "W-ENG-17");
    assert!(world.feed("u").await.is_empty(), "W-ENG-17");
    assert_eq!(world.core.store.next_job_at().await.unwrap(), None, "and nothing is left to do");
}

fn profile(properties: Value) -> Profile {
    Profile::parse(properties.as_object().unwrap(), "").unwrap()
}
