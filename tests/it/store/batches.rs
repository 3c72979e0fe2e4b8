//! Batches: whole or not at all, durable when acknowledged, and each on its own in a shared transaction.

use std::future::{Future as _, poll_fn};
use std::task::Poll;

use bellwire::model::time::Time;
use bellwire::params;
use bellwire::store::{Batch, Error, Store};

fn directory() -> std::path::PathBuf {
    let directory = std::env::temp_dir().join(format!("bellwire-test-{}", uuid::Uuid::new_v4()));
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

fn job(batch: &mut Batch, subject: &str) {
    batch.add_job("test", subject, Time::default());
}

async fn subjects(store: &Store) -> Vec<String> {
    store.query("SELECT subject FROM jobs ORDER BY subject", &[], |row| row.string(0)).await.unwrap()
}

#[tokio::test]
async fn a_refused_batch_leaves_nothing_and_takes_nobody_with_it() {
    let at = directory();
    let store = Store::open(&at.join("db")).unwrap();
    let mut good = Batch::new();
    job(&mut good, "good");
    let mut late = Batch::new();
    job(&mut late, "late");
    late.guard("UPDATE jobs SET attempts = 1 WHERE subject = ?1", params!["nobody"]);
    let mut other = Batch::new();
    job(&mut other, "other");
    let (first, second, third) = tokio::join!(store.apply(good), store.apply(late), store.apply(other));
    assert!(first.is_ok() && third.is_ok());
    assert!(matches!(second, Err(Error::Refused(1))), "the guard says which statement was overtaken");
    assert_eq!(subjects(&store).await, ["good", "other"]);
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}

#[tokio::test]
async fn a_batch_whose_question_has_no_answer_is_refused_whole() {
    let at = directory();
    let store = Store::open(&at.join("db")).unwrap();
    let mut batch = Batch::new();
    job(&mut batch, "there");
    store.apply(batch).await.unwrap();
    let ask = |subject: &str| {
        let mut batch = Batch::new();
        job(&mut batch, "added");
        batch.require("SELECT 1 FROM jobs WHERE subject = ?1", params![subject]);
        store.apply(batch)
    };
    assert!(matches!(ask("nobody").await, Err(Error::Refused(1))));
    assert_eq!(subjects(&store).await, ["there"], "what stood before the question is undone");
    ask("there").await.unwrap();
    assert_eq!(subjects(&store).await, ["added", "there"]);
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}

#[tokio::test]
async fn a_broken_statement_fails_its_own_batch_alone() {
    let at = directory();
    let store = Store::open(&at.join("db")).unwrap();
    let mut broken = Batch::new();
    job(&mut broken, "broken");
    broken.push("INSERT INTO jobs (kind) VALUES (?1)", params!["without a subject"]);
    let mut good = Batch::new();
    job(&mut good, "good");
    let (first, second) = tokio::join!(store.apply(broken), store.apply(good));
    assert!(matches!(first, Err(Error::Database(_))), "said as what it is: {first:?}");
    assert!(second.is_ok());
    assert_eq!(subjects(&store).await, ["good"]);
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}

/// While another process holds the database everything queues up; then it is one group, with one that breaks it.
#[tokio::test]
async fn of_a_large_group_only_the_broken_and_the_refused_fail_and_the_others_are_applied_once() {
    const MANY: usize = 300;
    let at = directory();
    let store = Store::open(&at.join("db")).unwrap();
    let other = rusqlite::Connection::open(at.join("db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches = (0..MANY).map(|n| {
        let mut batch = Batch::new();
        job(&mut batch, &format!("{n:03}"));
        match n {
            150 => batch.push("INSERT INTO jobs (kind) VALUES (?1)", params!["without a subject"]),
            200 => batch.guard("UPDATE jobs SET attempts = 1 WHERE subject = ?1", params!["nobody"]),
            _ => {}
        }
        store.apply(batch)
    });
    let mut all = Box::pin(tokio::task::unconstrained(futures_util::future::join_all(batches)));
    // Each is polled once, which hands it to the writer; none can be done yet.
    let first = poll_fn(|cx| Poll::Ready(all.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    other.execute_batch("COMMIT").unwrap();
    let results = all.await;
    assert!(matches!(results[150], Err(Error::Database(_))), "{:?}", results[150]);
    assert!(matches!(results[200], Err(Error::Refused(1))), "{:?}", results[200]);
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), MANY - 2);
    let expected = (0..MANY).filter(|n| ![150, 200].contains(n)).map(|n| format!("{n:03}"));
    assert_eq!(subjects(&store).await, expected.collect::<Vec<_>>(), "each of the others is there, and there once");
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}

#[tokio::test]
async fn what_was_acknowledged_is_there_when_the_file_is_opened_again_and_in_a_backup() {
    let at = directory();
    {
        let store = Store::open(&at.join("db")).unwrap();
        let mut batch = Batch::new();
        job(&mut batch, "kept");
        store.apply(batch).await.unwrap();
        store.backup(&at.join("copy")).unwrap();
    }
    for file in ["db", "copy"] {
        assert_eq!(subjects(&Store::open(&at.join(file)).unwrap()).await, ["kept"], "{file}");
    }
    std::fs::remove_dir_all(at).unwrap();
}

#[tokio::test]
async fn a_database_from_the_future_is_refused_with_a_sentence() {
    let at = directory();
    {
        let store = Store::open(&at.join("db")).unwrap();
        let mut batch = Batch::new();
        batch.push("INSERT INTO migrations VALUES (?1, ?2, ?3)", params![999i64, "future", "x"]);
        store.apply(batch).await.unwrap();
    }
    let Err(error) = Store::open(&at.join("db")) else { panic!("a newer schema must be refused") };
    assert!(error.to_string().contains("start a newer bellwire"), "{error}");
    std::fs::remove_dir_all(at).unwrap();
}

#[tokio::test]
async fn a_job_is_held_by_one_worker_until_its_claim_runs_out() {
    let at = directory();
    let store = Store::open(&at.join("db")).unwrap();
    let (now, until) = (Time::from_micros(10), Time::from_micros(20));
    let mut batch = Batch::new();
    job(&mut batch, "once");
    store.apply(batch).await.unwrap();
    let first = store.claim_jobs("a", now, until, 10).await.unwrap();
    assert_eq!(first.len(), 1);
    assert!(store.claim_jobs("b", now, until, 10).await.unwrap().is_empty(), "held");
    let second = store.claim_jobs("b", until, Time::from_micros(30), 10).await.unwrap();
    assert_eq!((second.len(), second[0].attempts), (1, 0), "taken up when the claim has run out, which is no failure");
    let mut dead = Batch::new();
    dead.finish_job(&first[0]);
    assert!(matches!(store.apply(dead).await, Err(Error::Refused(0))), "the first has lost its claim");
    let mut alive = Batch::new();
    alive.finish_job(&second[0]);
    store.apply(alive).await.unwrap();
    assert_eq!(store.next_job_at().await.unwrap(), None);
    drop(store);
    std::fs::remove_dir_all(at).unwrap();
}

fn bytes(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

#[tokio::test]
async fn the_log_has_a_bound_and_is_folded_into_the_file_when_the_store_is_closed() {
    let at = directory();
    let path = at.join("db");
    let store = Store::open(&path).unwrap();
    let text: std::sync::Arc<str> = "x".repeat(1_000_000).into();
    let mut most = 0;
    for n in 0..400 {
        // One statement, some 250 pages.
        let mut batch = Batch::new();
        batch.push("INSERT INTO bulk_specs (operation, spec) VALUES (?1, ?2)", params![n.to_string(), &text]);
        store.apply(batch).await.unwrap();
        most = most.max(bytes(&at.join("db-wal")));
    }
    // 65,536 pages of 4 KiB, and what one more commit adds.
    assert!(most < 275_000_000, "the log has grown to {most} bytes");
    drop(store);
    assert_eq!(bytes(&at.join("db-wal")), 0, "nothing is left in the log");
    assert!(bytes(&path) > 400_000_000);
    std::fs::remove_dir_all(at).unwrap();
}
