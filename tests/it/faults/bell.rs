//! A client that keeps what it is told, as our own clients do, and minds the order.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use super::town::{Told, Town};
use crate::process::CHANNEL;

/// How long everything may take to be whole once all is calm: the sweep's five seconds, and some for a busy machine.
const REST: Duration = Duration::from_secs(20);

/// What a client knows of its feed.
#[derive(Debug, Default)]
struct Known {
    version: Option<i64>,
    /// Names of items by their ids.
    items: BTreeMap<String, String>,
    unread: i64,
    total: i64,
    newest_at: String,
    faults: Vec<String>,
    /// Times it had to begin anew, and times it came back.
    resets: usize,
    joins: usize,
}

/// A bell that is open, on whichever node answers.
pub struct Bell {
    pub user: String,
    known: Arc<Mutex<Known>>,
    task: JoinHandle<()>,
}

impl Bell {
    /// Opens one; it prefers the node with the number `prefers`.
    pub fn open(user: String, key: String, nodes: Vec<SocketAddr>, prefers: usize) -> Bell {
        let known: Arc<Mutex<Known>> = Arc::default();
        let (own, whose) = (Arc::clone(&known), user.clone());
        let task = tokio::spawn(async move {
            for attempt in prefers.. {
                let _ = listen(nodes[attempt % nodes.len()], &key, &whose, &own).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        Bell { user, known, task }
    }

    /// Waits until it knows everything that was told to its user, and complains of what was wrong on the way.
    pub async fn is_whole(&self, town: &Town, told: &Told) {
        let wanted = told.get(&self.user).cloned().unwrap_or_default();
        let began = Instant::now();
        let (total, unread) = loop {
            let (total, unread) = town.counts(&self.user).await;
            let is_whole = {
                let known = self.known.lock().unwrap();
                let names: BTreeSet<&String> = known.items.values().collect();
                names.len() == wanted.len() && (known.total, known.unread) == (total, unread)
            };
            if is_whole || began.elapsed() > REST {
                break (total, unread);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        let known = self.known.lock().unwrap();
        assert_eq!(known.faults, [] as [String; 0], "{}", self.user);
        let names: BTreeSet<String> = known.items.values().cloned().collect();
        let lost: Vec<_> = wanted.difference(&names).collect();
        assert!(lost.is_empty(), "{} was never told of {lost:?}; it is at {:?}", self.user, known.version);
        assert_eq!(names, wanted, "{}: it was told of more than was told", self.user);
        assert_eq!(known.items.len(), wanted.len(), "{}: an item is there twice", self.user);
        assert_eq!((known.total, known.unread), (total, unread), "{}: its badge", self.user);
        assert_eq!(total, wanted.len() as i64, "{}: the feed itself", self.user);
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
    let since = known.lock().unwrap().version;
    let topic = format!("feeds:{CHANNEL}:{user}");
    let join = json!(["1", "1", topic, "phx_join", {"bellwire": {"since": since, "archived": "include"}}]);
    socket.send(Message::text(join.to_string())).await.ok()?;
    let mut number = 1;
    loop {
        // A heartbeat a second, and no patience with whoever does not answer it: so nothing frozen is waited for.
        let frame = match timeout(Duration::from_secs(1), socket.next()).await {
            Ok(frame) => frame?.ok()?,
            Err(_) => {
                number += 1;
                let beat = json!([null, number.to_string(), "phoenix", "heartbeat", {}]);
                socket.send(Message::text(beat.to_string())).await.ok()?;
                timeout(Duration::from_secs(2), socket.next()).await.ok()??.ok()?
            }
        };
        let Message::Text(text) = frame else { continue };
        let frame: Value = serde_json::from_str(&text).ok()?;
        let mut known = known.lock().unwrap();
        match frame[3].as_str() {
            Some("feed.delta") => known.delta(&frame[4]),
            Some("feed.snapshot") => known.snapshot(&frame[4]),
            Some("phx_reply") if frame[1] == "1" => {
                known.joins += 1;
                if frame[4]["status"] != "ok" {
                    return None;
                }
            }
            _ => {}
        }
    }
}

fn name(item: &Value) -> String {
    let text = item["blocks"][0]["rendered"].as_str().unwrap_or_default();
    text.trim_start_matches("<p>Hello <strong>").trim_end_matches("</strong></p>").to_owned()
}

impl Known {
    fn counts(&mut self, payload: &Value) {
        self.unread = payload["counts"]["unread_count"].as_i64().unwrap_or(-1);
        self.total = payload["counts"]["total_count"].as_i64().unwrap_or(-1);
        self.version = payload["version"].as_i64();
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
            let id = item["id"].as_str().unwrap_or_default().to_owned();
            let at = item["inserted_at"].as_str().unwrap_or_default().to_owned();
            let is_new = self.items.insert(id, name(item)).is_none();
            if is_new && at <= before {
                self.faults.push(format!("an item of {at} came after one of {before}"));
            }
            self.newest_at = self.newest_at.clone().max(at);
        }
        self.counts(payload);
    }

    /// The feed as it stands: its newest items; older ones that it knows stay.
    fn snapshot(&mut self, payload: &Value) {
        if self.version.is_some() {
            self.resets += 1;
        }
        for item in payload["entries"].as_array().into_iter().flatten() {
            self.items.insert(item["id"].as_str().unwrap_or_default().to_owned(), name(item));
            self.newest_at = self.newest_at.clone().max(item["inserted_at"].as_str().unwrap_or_default().to_owned());
        }
        self.counts(payload);
    }
}
