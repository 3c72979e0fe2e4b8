//! Who a trigger speaks of: merged before anything runs, stored where later requests find it.

use bellwire::model::run::RunStatus;
use bellwire::params;
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

#[tokio::test]
async fn many_triggers_that_identify_the_same_user_at_once_lose_nothing() {
    let world = world().await;
    let all = (0..12).map(|n| {
        let mut who = json!({"id": "u"});
        who[format!("p{n}")] = json!(n);
        world.trigger("greet", json!({"recipients": [who]}))
    });
    for answer in futures_util::future::join_all(all).await {
        answer.unwrap();
    }
    let user = world.core.store.user(world.env, "u").unwrap().unwrap();
    assert_eq!(user.properties.len(), 12, "W-TRG-11: no merge overtakes another");
    assert_eq!(world.told("u").await.len(), 12);
}
