//! The reckoning after the kills: what is there is compared with what was acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use hyper::Method;
use serde_json::{Value, json};

use super::work::{Marked, READERS, SWEPT, Told, whole_feed};
use crate::process::{CHANNEL, Process};

/// How long what was begun may take to end.
const REST: Duration = Duration::from_secs(30);

pub(super) async fn audit(
    server: &Process,
    mut told: Vec<Told>,
    marked: &BTreeMap<String, Marked>,
    swept: &BTreeSet<String>,
) {
    let everyone: Vec<&'static str> = READERS.into_iter().chain([SWEPT]).collect();
    await_items(server, &told).await;
    // What comes last stands behind everything that was due before it: a doubled timer would have run by then.
    told.push(tell_everyone(server, &everyone).await);
    await_items(server, &told).await;
    for user in everyone {
        let items = whole_feed(server, user).await;
        each_is_there_once(user, &items, &told);
        counters_equal_a_recount(server, user, &items).await;
        the_pages_of_each_status_are_what_they_say(server, user, &items).await;
        as_many_messages_as_items(server, user, items.len()).await;
        for item in &items {
            let id = item["id"].as_str().expect("an id");
            if let Some(marked) = marked.get(id) {
                the_last_word_counts(user, item, marked);
            }
        }
        if user == SWEPT {
            the_sweeps_were_finished(server, user, swept).await;
        }
    }
}

/// One more trigger for all, with a delay.
async fn tell_everyone(server: &Process, everyone: &[&'static str]) -> Told {
    let body = json!({"recipients": everyone, "data": {"name": "last"}});
    let reply = server.call(Method::POST, "/v1/workflows/later/trigger", body).await.expect("an answer");
    assert_eq!(reply.status, 200, "{reply:?}");
    Told { name: "last".to_owned(), recipients: everyone.to_vec() }
}

/// Waits until every feed holds at least as many items as it was told.
async fn await_items(server: &Process, told: &[Told]) {
    let began = Instant::now();
    for user in READERS.into_iter().chain([SWEPT]) {
        let expected = told.iter().filter(|told| told.recipients.contains(&user)).count() as u64;
        loop {
            let total = meta(server, user, "archived=include").await["total_count"].as_u64().expect("a count");
            if total >= expected {
                break;
            }
            assert!(began.elapsed() < REST, "LOST: {user} was told {expected} items and has {total}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn each_is_there_once(user: &str, items: &[Value], told: &[Told]) {
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for item in items {
        *found.entry(item["data"]["name"].as_str().expect("a name")).or_default() += 1;
    }
    let expected: BTreeSet<&str> =
        told.iter().filter(|told| told.recipients.contains(&user)).map(|told| told.name.as_str()).collect();
    let lost: Vec<_> = expected.iter().filter(|name| !found.contains_key(*name)).collect();
    let doubled: Vec<_> = found.iter().filter(|(_, times)| **times > 1).collect();
    let unasked: Vec<_> = found.keys().filter(|name| !expected.contains(*name)).collect();
    assert!(
        lost.is_empty() && doubled.is_empty() && unasked.is_empty(),
        "{user}: LOST {lost:?}, DOUBLED {doubled:?}, UNASKED {unasked:?}"
    );
    let ids: BTreeSet<_> = items.iter().filter_map(|item| item["id"].as_str()).collect();
    assert_eq!(ids.len(), items.len(), "{user}: an item stands in the feed twice");
}

async fn counters_equal_a_recount(server: &Process, user: &str, items: &[Value]) {
    for (filter, is_counted) in [
        ("archived=exclude", (|item| item["archived_at"].is_null()) as fn(&Value) -> bool),
        ("archived=include", |_| true),
        ("archived=only", |item| !item["archived_at"].is_null()),
    ] {
        let counted: Vec<&Value> = items.iter().filter(|item| is_counted(item)).collect();
        let without = |stamp: &str| counted.iter().filter(|item| item[stamp].is_null()).count();
        let meta = meta(server, user, filter).await;
        let said = ["total_count", "unread_count", "unseen_count"].map(|name| meta[name].as_u64().expect("a count"));
        let recount = [counted.len(), without("read_at"), without("seen_at")].map(|count| count as u64);
        assert_eq!(said, recount, "{user} {filter}: total, unread and unseen as counters and as recounted");
    }
}

async fn the_pages_of_each_status_are_what_they_say(server: &Process, user: &str, items: &[Value]) {
    for (status, stamp, is_set) in [
        ("unread", "read_at", false),
        ("read", "read_at", true),
        ("unseen", "seen_at", false),
        ("seen", "seen_at", true),
    ] {
        let path = format!("/v1/users/{user}/feeds/{CHANNEL}?archived=include&page_size=50&status={status}");
        let body = server.call(Method::GET, &path, Value::Null).await.expect("an answer").body;
        let entries = body["entries"].as_array().expect("entries");
        let expected = items.iter().filter(|item| item[stamp].is_null() != is_set).count();
        assert_eq!(entries.len(), expected.min(50), "{user} status={status}");
        assert!(entries.iter().all(|item| item[stamp].is_null() != is_set), "{user} status={status}");
    }
}

/// Messages that no feed shows would be told twice elsewhere: there are none.
async fn as_many_messages_as_items(server: &Process, user: &str, items: usize) {
    let (mut count, mut after) = (0, String::new());
    loop {
        let path = format!("/v1/users/{user}/messages?page_size=50{after}");
        let body = server.call(Method::GET, &path, Value::Null).await.expect("an answer").body;
        count += body["items"].as_array().unwrap_or_else(|| panic!("{path} answered {body}")).len();
        match body["page_info"]["after"].as_str() {
            Some(cursor) => after = format!("&after={cursor}"),
            None => break,
        }
    }
    assert_eq!(count, items, "{user}: messages and items");
}

fn the_last_word_counts(user: &str, item: &Value, marked: &Marked) {
    for (stamp, word) in [
        ("seen_at", marked.seen),
        ("read_at", marked.read),
        ("interacted_at", marked.interacted),
        ("archived_at", marked.archived),
    ] {
        if let Some(is_set) = word {
            assert_eq!(!item[stamp].is_null(), is_set, "LOST MARK: {user} {stamp} of {item}, expected {marked:?}");
        }
    }
}

async fn the_sweeps_were_finished(server: &Process, user: &str, swept: &BTreeSet<String>) {
    let began = Instant::now();
    loop {
        let items = whole_feed(server, user).await;
        let is_left = |item: &&Value| item["seen_at"].is_null() && swept.contains(item["id"].as_str().expect("an id"));
        let left = items.iter().filter(is_left).count();
        if left == 0 {
            return;
        }
        assert!(began.elapsed() < REST, "LOST BULK: {left} items of {user} were never swept");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The counters of someone's feed under a filter.
async fn meta(server: &Process, user: &str, filter: &str) -> Value {
    let path = format!("/v1/users/{user}/feeds/{CHANNEL}?page_size=1&{filter}");
    server.call(Method::GET, &path, Value::Null).await.expect("an answer").body["meta"].take()
}
