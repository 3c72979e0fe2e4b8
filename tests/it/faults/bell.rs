//! A client that keeps what it is told, as our own clients do, and minds the order.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::writers::Items;
use crate::process::CHANNEL;

/// What a client knows of its feed.
#[derive(Debug, Default)]
pub struct Known {
    pub version: Option<i64>,
    /// Names of items by their ids.
    items: HashMap<String, String>,
    names: HashSet<String>,
    /// How many items there are, how many are unread and how many unseen.
    pub counts: [i64; 3],
    newest_at: String,
    /// Where it has to go on reading the feed, down to what it knows; see [`Known::snapshot`].
    gap: Option<Gap>,
    faults: Vec<String>,
    /// Times it had to begin anew, and times it came in.
    pub resets: usize,
    pub joins: usize,
}

/// Items that are older than a snapshot, and newer than all that was known before.
#[derive(Debug, Clone)]
struct Gap {
    after: Value,
    down_to: String,
}

/// A bell that is open, on whichever node answers.
pub struct Bell {
    pub user: String,
    known: Arc<Mutex<Known>>,
    homeward: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Bell {
    /// Opens one, which is at home on the node with the number `home`, and goes elsewhere when it has to.
    pub fn open(user: String, key: String, nodes: Vec<SocketAddr>, home: usize) -> Bell {
        let (known, homeward): (Arc<Mutex<Known>>, Arc<Notify>) = Default::default();
        let (own, whose, calls) = (Arc::clone(&known), user.clone(), Arc::clone(&homeward));
        let task = tokio::spawn(async move {
            let mut at = home;
            loop {
                at = tokio::select! {
                    _ = listen(nodes[at], &key, &whose, &own) => (at + 1) % nodes.len(),
                    () = calls.notified(), if at != home => home,
                };
                sleep(Duration::from_millis(100)).await;
            }
        });
        Bell { user, known, homeward, task }
    }

    /// Has it go home if it is elsewhere: else all would be on one node in the end.
    pub fn go_home(&self) {
        self.homeward.notify_waiters();
    }

    pub fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One connection, from its beginning to its end.
async fn listen(node: SocketAddr, key: &str, user: &str, known: &Mutex<Known>) -> Option<()> {
    let url = format!("ws://{node}/ws/v1/websocket?vsn=2.0.0&api_key={key}&user_id={user}");
    let (mut socket, _) = timeout(Duration::from_secs(3), async {
        let stream = TcpStream::connect(node).await.ok()?;
        tokio_tungstenite::client_async(url, stream).await.ok()
    })
    .await
    .ok()??;
    let since = known.lock().unwrap().resumes_from();
    let topic = format!("feeds:{CHANNEL}:{user}");
    let join = json!(["1", "1", topic, "phx_join", {"bellwire": {"since": since, "archived": "include"}}]);
    say(&mut socket, &join).await?;
    let mut number = 1;
    loop {
        // A heartbeat a second, and no patience with whoever does not answer it: so nothing frozen is waited for.
        let frame = match timeout(Duration::from_secs(1), socket.next()).await {
            Ok(frame) => frame?.ok()?,
            Err(_) => {
                number += 1;
                say(&mut socket, &json!([null, number.to_string(), "phoenix", "heartbeat", {}])).await?;
                timeout(Duration::from_secs(2), socket.next()).await.ok()??.ok()?
            }
        };
        let Message::Text(text) = frame else { continue };
        let frame: Value = serde_json::from_str(&text).ok()?;
        let gap = known.lock().unwrap().take_in(&frame)?;
        if let Some(Gap { after, .. }) = gap {
            number += 1;
            let page = json!({"after": after, "page_size": 50});
            say(&mut socket, &json!(["1", number.to_string(), topic, "feed.fetch", page])).await?;
        }
    }
}

async fn say(socket: &mut WebSocketStream<TcpStream>, frame: &Value) -> Option<()> {
    socket.send(Message::text(frame.to_string())).await.ok()
}

fn name(item: &Value) -> String {
    let text = item["blocks"][0]["rendered"].as_str().unwrap_or_default();
    let (_, name) = text.split_once("<strong>").unwrap_or_default();
    name.trim_end_matches("</strong></p>").to_owned()
}

fn text(item: &Value, of: &str) -> String {
    item[of].as_str().unwrap_or_default().to_owned()
}

impl Known {
    /// The version to go on from; none where it has to begin anew, since it was not read to the end.
    fn resumes_from(&self) -> Option<i64> {
        self.version.filter(|_| self.gap.is_none())
    }

    /// Takes in what a frame says; what has to be asked for then, if anything. None when the server refuses us.
    fn take_in(&mut self, frame: &Value) -> Option<Option<Gap>> {
        match frame[3].as_str() {
            Some("feed.delta") => self.delta(&frame[4]),
            Some("feed.snapshot") => {
                self.snapshot(&frame[4]);
                return Some(self.gap.clone());
            }
            Some("phx_reply") if frame[1] == "1" => {
                self.joins += 1;
                return (frame[4]["status"] == "ok").then_some(None);
            }
            Some("phx_reply") if frame[4]["response"]["entries"].is_array() => {
                self.page(&frame[4]["response"]);
                return Some(self.gap.clone());
            }
            _ => {}
        }
        Some(None)
    }

    fn told(&mut self, payload: &Value) {
        let count = |name: &str| payload["counts"][name].as_i64().unwrap_or(-1);
        self.counts = ["total_count", "unread_count", "unseen_count"].map(count);
        self.version = payload["version"].as_i64();
    }

    /// Whether the item is new.
    fn keep(&mut self, item: &Value) -> bool {
        let name = name(item);
        self.names.insert(name.clone());
        self.items.insert(text(item, "id"), name).is_none()
    }

    /// What changed since the version it has, and nothing else.
    fn delta(&mut self, payload: &Value) {
        let (since, version) = (payload["since"].as_i64(), payload["version"].as_i64());
        if since != self.version {
            self.faults.push(format!("told of what came after {since:?} while at {:?}", self.version));
        }
        if version < since {
            self.faults.push(format!("from {since:?} back to {version:?}"));
        }
        // Newest first; what is new is newer than all before it.
        let before = self.newest_at.clone();
        for item in payload["items"].as_array().into_iter().flatten().rev() {
            let at = text(item, "inserted_at");
            // An item of the gap may be told of because it was marked.
            if self.keep(item) && at <= before && self.gap.is_none() {
                self.faults.push(format!("an item of {at} came after one of {before}"));
            }
            self.newest_at = self.newest_at.clone().max(at);
        }
        self.told(payload);
    }

    /// The feed as it stands: its newest items. Between them and what is known there may be others.
    fn snapshot(&mut self, payload: &Value) {
        if self.version.is_some() {
            self.resets += 1;
        }
        // A gap that is still open goes down further.
        let down_to = self.gap.take().map_or_else(|| self.newest_at.clone(), |gap| gap.down_to);
        self.read(payload, down_to);
        self.told(payload);
    }

    /// A page of what is older than a snapshot.
    fn page(&mut self, payload: &Value) {
        if let Some(Gap { down_to, .. }) = self.gap.take() {
            self.read(payload, down_to);
        }
    }

    fn read(&mut self, payload: &Value, down_to: String) {
        let mut is_reached = false;
        for item in payload["entries"].as_array().into_iter().flatten() {
            let at = text(item, "inserted_at");
            is_reached |= at <= down_to;
            self.keep(item);
            self.newest_at = self.newest_at.clone().max(at);
        }
        let after = payload["page_info"]["after"].clone();
        self.gap = (!is_reached && !after.is_null()).then_some(Gap { after, down_to });
    }

    /// What was wrong on the way.
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Whether it can know everything, by the numbers.
    pub fn looks_whole(&self, told: &Items) -> bool {
        self.gap.is_none() && self.counts[0] == self.items.len() as i64 && self.names.len() >= told.at_once.len()
    }

    /// What it was not told of, and was told beyond what it should have been; and whether an item is there twice.
    pub fn compared(&self, told: &Items) -> (Vec<String>, Vec<String>, bool) {
        let lost = told.at_once.difference(&self.names).cloned().collect();
        let is_unknown = |name: &&String| !told.at_once.contains(*name) && !told.later.contains(*name);
        let unasked = self.names.iter().filter(is_unknown).cloned().collect();
        (lost, unasked, self.names.len() != self.items.len())
    }

    /// What timers have not told it yet.
    pub fn awaits<'a>(&self, told: &'a Items) -> Vec<&'a String> {
        told.later.iter().filter(|name| !self.names.contains(*name)).collect()
    }
}
