//! What goes on while the server is killed: triggers, marks and sweeps, each repeated until it is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Dice;
use crate::process::{CHANNEL, Process, Reply, call};

/// Whose feeds are told and marked.
pub(super) const READERS: [&str; 5] = ["ann", "bob", "cy", "dee", "eve"];
/// Whose feed is marked by bulk operations only.
pub(super) const SWEPT: &str = "sweetie";

/// What everybody who works at the server shares.
pub(super) struct Story {
    address: SocketAddr,
    secret: String,
    is_over: AtomicBool,
}

/// A trigger that was acknowledged.
#[derive(Debug)]
pub(super) struct Told {
    pub name: String,
    pub recipients: Vec<&'static str>,
}

/// What was said of a message last; `None` where nothing was.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Marked {
    pub seen: Option<bool>,
    pub read: Option<bool>,
    pub interacted: Option<bool>,
    pub archived: Option<bool>,
}

impl Story {
    pub(super) fn new(server: &Process) -> Story {
        Story { address: server.address, secret: server.secret.clone(), is_over: AtomicBool::new(false) }
    }

    /// Makes everybody known.
    pub(super) async fn identify(&self) {
        for user in READERS.into_iter().chain([SWEPT]) {
            self.insist(Method::PUT, &format!("/v1/users/{user}"), None, json!({"name": user})).await;
        }
    }

    /// Nobody begins anything new.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    fn goes_on(&self) -> bool {
        !self.is_over.load(Ordering::Relaxed)
    }

    /// Asks until there is an answer, as an SDK does: the same request, under the same key.
    async fn insist(&self, method: Method, path: &str, key: Option<&str>, body: Value) -> Reply {
        loop {
            let answer = call(self.address, &self.secret, method.clone(), path, key, body.clone()).await;
            match answer {
                Ok(reply) if reply.status < 300 => return reply,
                Ok(reply) if reply.status < 500 && reply.status != 409 && reply.status != 429 => {
                    panic!("{method} {path} {body} was refused: {reply:?}")
                }
                Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    }

    /// A page of someone's feed, whatever its items' state.
    async fn page(&self, user: &str, after: Option<&str>) -> (Vec<Value>, Option<String>) {
        let after = after.map(|cursor| format!("&after={cursor}")).unwrap_or_default();
        let path = format!("/v1/users/{user}/feeds/{CHANNEL}?archived=include&page_size=50{after}");
        let Reply { mut body, .. } = self.insist(Method::GET, &path, None, Value::Null).await;
        let after = body["page_info"]["after"].as_str().map(str::to_owned);
        let Value::Array(entries) = body["entries"].take() else { panic!("{path} answered {body}") };
        (entries, after)
    }
}

/// Triggers workflows, with and without a delay, for several recipients.
pub(super) async fn tell(story: std::sync::Arc<Story>, mut dice: Dice) -> Vec<Told> {
    let mut told = Vec::new();
    while story.goes_on() {
        let name = Uuid::new_v4().to_string();
        let first = dice.roll(0..READERS.len() as u64) as usize;
        let mut recipients: Vec<&'static str> =
            READERS.iter().cycle().skip(first).take(dice.roll(1..4) as usize).copied().collect();
        if dice.roll(0..3) == 0 {
            recipients.push(SWEPT);
        }
        let workflow = dice.pick(&["note", "later"]);
        let key = Uuid::new_v4().to_string();
        let body = json!({"recipients": recipients, "data": {"name": name}});
        story.insist(Method::POST, &format!("/v1/workflows/{workflow}/trigger"), Some(&key), body).await;
        told.push(Told { name, recipients });
        // A steady stream rather than a flood: it is the kills that are tried here.
        tokio::time::sleep(Duration::from_millis(dice.roll(0..25))).await;
    }
    told
}

/// Marks messages; each is marked by one marker only, so that its last word is known.
pub(super) async fn mark(story: std::sync::Arc<Story>, mut dice: Dice, who: u64, of: u64) -> BTreeMap<String, Marked> {
    let mut marked: BTreeMap<String, Marked> = BTreeMap::new();
    while story.goes_on() {
        tokio::time::sleep(Duration::from_millis(dice.roll(0..20))).await;
        let (items, _) = story.page(dice.pick(&READERS), None).await;
        let mine: Vec<String> = items
            .iter()
            .filter_map(|item| item["id"].as_str())
            .filter(|id| sum(id) % of == who)
            .map(str::to_owned)
            .collect();
        if mine.is_empty() {
            continue;
        }
        let id = mine[dice.roll(0..mine.len() as u64) as usize].clone();
        let mark = dice.pick(&["seen", "unseen", "read", "unread", "interacted", "archived", "unarchived"]);
        match (dice.roll(0..2), mark.strip_prefix("un")) {
            (0, None) => story.insist(Method::PUT, &format!("/v1/messages/{id}/{mark}"), None, Value::Null).await,
            (0, Some(taken)) => {
                story.insist(Method::DELETE, &format!("/v1/messages/{id}/{taken}"), None, Value::Null).await
            }
            _ => {
                let path = format!("/v1/messages/batch/{mark}");
                story.insist(Method::POST, &path, None, json!({"message_ids": [id]})).await
            }
        };
        let now = marked.entry(id).or_default();
        match mark {
            "seen" | "unseen" => now.seen = Some(mark == "seen"),
            "read" | "unread" => now.read = Some(mark == "read"),
            "archived" | "unarchived" => now.archived = Some(mark == "archived"),
            // Interacting implies reading.
            _ => (now.interacted, now.read) = (Some(true), Some(true)),
        }
    }
    marked
}

/// Has bulk operations mark whole feeds; answers the items that one of them must have reached.
pub(super) async fn sweep(story: std::sync::Arc<Story>, mut dice: Dice) -> BTreeSet<String> {
    let mut swept = BTreeSet::new();
    while story.goes_on() {
        tokio::time::sleep(Duration::from_millis(dice.roll(50..200))).await;
        let (items, _) = story.page(SWEPT, None).await;
        let path = format!("/v1/channels/{CHANNEL}/messages/bulk/seen");
        story.insist(Method::POST, &path, None, json!({"recipient_ids": [SWEPT], "archived": "include"})).await;
        swept.extend(items.iter().filter_map(|item| item["id"].as_str()).map(str::to_owned));
    }
    swept
}

fn sum(id: &str) -> u64 {
    id.bytes().map(u64::from).sum()
}

/// Everything in someone's feed, page by page.
pub(super) async fn whole_feed(server: &Process, user: &str) -> Vec<Value> {
    let story = Story::new(server);
    let (mut items, mut after) = story.page(user, None).await;
    while let Some(cursor) = after {
        let (more, next) = story.page(user, Some(&cursor)).await;
        items.extend(more);
        after = next;
    }
    items
}
