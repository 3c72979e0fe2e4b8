//! Who a trigger speaks of: merged before anything runs, stored where later requests find it.

use bellwire::model::run::RunStatus;
use bellwire::params;
use bellwire::verbs::identify::Profile;
use serde_json::{Value, json};

use crate::world::{CHANNEL, World, document, record, tell};

async fn world() -> World {
    World::new(&[("greet", document(json!([tell("hello", "{{ tenant.name }}")])))]).await
}

#[tokio::test]
async fn inline_channel_data_replaces_and_inline_preferences_merge() {
    let world = world().await;
    let trigger = async |channel_data: Value, preferences: Value| {
        let who = json!({"id": "u", "channel_data": {CHANNEL: channel_data}, "preferences": preferences});
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
        .unwrap();
    assert_eq!(data, Some(json!({"tokens": ["b"]})), "W-TRG-14, F-REC-05");
    let sets = world.core.store.preference_sets(world.env, "u").unwrap();
    let expected = vec![
        ("acme".to_owned(), json!({"workflows": {"greet": false}})),
        ("default".to_owned(), json!({"channel_types": {"email": true, "sms": true}})),
    ];
    assert_eq!(sets, expected, "W-TRG-15, F-REC-05, F-USR-08");
    let user = world.core.store.user(world.env, "u").unwrap().unwrap();
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
        let user = world.core.store.user(world.env, id).unwrap().unwrap();
        assert_eq!(user.properties.len(), AT_ONCE, "W-TRG-11: no merge overtakes another");
        assert_eq!(world.head(id).active.total as usize, AT_ONCE);
    }
    let tenant = world.core.store.object(world.env, "$tenants", "acme").unwrap().unwrap();
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
    assert_eq!(world.core.store.user(world.env, "u").unwrap().unwrap().properties.len(), 100, "F-USR-05");
}

fn profile(properties: Value) -> Profile {
    Profile::parse(properties.as_object().unwrap(), "").unwrap()
}
