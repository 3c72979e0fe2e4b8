//! A database of an earlier version is brought up to date, with everything that is under way in it.

use bellwire::model::time::Time;
use bellwire::sign::api_key::digest;
use bellwire::store::Store;
use bellwire::store::feeds::Changes;
use bellwire::store::objects::ObjectFilter;
use serde_json::{Value, json};

const FIRST: &str = include_str!("../../../src/store/migrations/0001_first.sql");

#[tokio::test]
async fn what_the_first_version_left_is_taken_up() {
    let at = std::env::temp_dir().join(format!("bellwire-test-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&at).unwrap();
    let old = rusqlite::Connection::open(at.join("db")).unwrap();
    old.execute_batch(FIRST).unwrap();
    old.execute_batch(
        "CREATE TABLE migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL)",
    )
    .unwrap();
    old.execute("INSERT INTO migrations VALUES (1, 'first', ?1)", [digest(FIRST)]).unwrap();
    let spec = json!({"action": "archived", "channel": "c", "recipients": ["u"]}).to_string();
    old.execute(
        "INSERT INTO bulk_operations VALUES ('4c5b1b1e-52b7-4a37-bb3f-3a2f5b0f1f10', 1, 'messages.archived', 'queued', ?1, \
         '{\"after\":0}', 3, 0, 0, 0, '[]', 5, 5, NULL, NULL, NULL)",
        [&spec],
    )
    .unwrap();
    old.execute_batch(
        "INSERT INTO jobs (kind, subject, due_at) VALUES ('bulk', '4c5b1b1e-52b7-4a37-bb3f-3a2f5b0f1f10', 5);
         INSERT INTO feeds VALUES (1, 1, 'c', 'u', 9, 2, 5, 0, 0, 0, 0, 0, 0), (2, 1, 'c', 'v', 9, 2, 5, 0, 0, 0, 0, 0, 0);
         INSERT INTO removals VALUES (1, 8, 'gone');
         INSERT INTO objects VALUES (1, '$tenants', 'acme', '{\"name\":\"Acme\"}', 5, 5), (1, 'teams', 't', '{\"name\":\"Acme\"}', 5, 5)",
    )
    .unwrap();
    drop(old);
    let store = Store::open(&at.join("db")).unwrap();
    let jobs = store.claim_jobs("new", Time::from_micros(5), Time::from_micros(9), 10).await.unwrap();
    assert_eq!((jobs[0].kind.as_str(), &jobs[0].progress), ("bulk", &None));
    let operation = store.bulk_operation(&jobs[0].subject).await.unwrap().unwrap();
    assert_eq!((operation.status.as_str(), operation.estimated_total_rows), ("queued", 3));
    let kept: Value = serde_json::from_str(&store.bulk_spec(&jobs[0].subject).await.unwrap().unwrap()).unwrap();
    assert_eq!(kept.to_string(), spec);
    let filter = ObjectFilter { name: Some("Acme".to_owned()), ..ObjectFilter::default() };
    let found = store.objects(1, "$tenants", &filter, None, 9).await.unwrap();
    assert_eq!(
        found.iter().map(|tenant| &*tenant.id).collect::<Vec<_>>(),
        ["acme"],
        "tenants are found by their names"
    );
    let told = async |user: &str, since| store.feed_since(1, "c", user, since).await.unwrap().1;
    assert!(matches!(told("u", 8).await, Changes::TooOld), "of what was removed the tenant is not known: start anew");
    assert!(matches!(told("u", 9).await, Changes::Since { .. }));
    assert!(matches!(told("v", 8).await, Changes::Since { .. }), "nothing was removed");
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}
