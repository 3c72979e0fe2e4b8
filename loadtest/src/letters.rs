//! News in the nodes' own spelling, published by the client in the name of a node that does not exist: what a node hears
//! then is no different, and nothing is stored for it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bellwire::model::feed::{Counts, Head};
use bellwire::model::message::Message;
use bellwire::model::recipient::RecipientRef;
use bellwire::wire::envelope::{self, Letter, Opened};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bare::redis;
use crate::server;
use crate::watch::marker;

/// What the channels of nodes begin with by default.
const PREFIX: &str = "bellwire";
/// The node that does not exist.
const NOBODY: u64 = 1;
/// How long the first news may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Writes letters for users, each with the next version of its feed.
#[derive(Debug)]
pub(crate) struct Letters {
    /// An item as a node told of it.
    item: Message,
    /// What of its data stands for the time.
    marker: String,
    /// The version of each user's feed.
    versions: Vec<i64>,
    written: u64,
}

impl Letters {
    /// Hears how a node tells of an item that `trigger`, which bears the time `at`, brings about. `versions` are those
    /// of the feeds afterwards, user by user.
    pub(crate) async fn learn(
        bus: &str,
        at: u64,
        trigger: impl AsyncFnOnce() -> Result<()>,
        versions: impl FnOnce() -> Vec<i64>,
    ) -> Result<Letters> {
        let mut stream = TcpStream::connect(bus).await.context("cannot reach Redis")?;
        let mut ask = Vec::new();
        redis::command(&mut ask, &[b"PSUBSCRIBE", format!("{PREFIX}:*").as_bytes()]);
        stream.write_all(&ask).await?;
        let mut heard = Vec::new();
        // Its confirmation.
        while redis::read(&heard).is_none() {
            if stream.read_buf(&mut heard).await? == 0 {
                bail!("Redis closed instead of subscribing");
            }
        }
        trigger().await?;
        let marker = marker(at);
        let item = tokio::time::timeout(PATIENCE, hear(&mut stream, heard, &marker)).await;
        let item = item.context("no node told of an item by way of Redis")??;
        Ok(Letters { item, marker, versions: versions(), written: 0 })
    }

    /// Appends the command that publishes an item of `user`, which bears the time `at`.
    pub(crate) fn publish(&mut self, out: &mut Vec<u8>, user: u32, at: u64) {
        let name = server::name(user);
        let version = &mut self.versions[user as usize];
        *version += 1;
        self.written += 1;
        let item = Message {
            id: format!("{:027}", self.written),
            seq: *version,
            version: *version,
            recipient: RecipientRef::User(name.clone()),
            data: self.item.data.replace(&self.marker, &marker(at)).into(),
            slim_data: self.item.slim_data.as_ref().map(|data| Arc::from(data.replace(&self.marker, &marker(at)))),
            ..self.item.clone()
        };
        let counts = Counts { total: *version, unread: *version, unseen: *version };
        let id = self.item.feed.unwrap_or(1);
        let head = Head { id, version: *version, forgotten: 0, active: counts, archived: Counts::default() };
        let Message { env, channel, .. } = &item;
        let letter = Letter {
            node: NOBODY,
            env: *env,
            channel,
            recipient: &name,
            head: &head,
            item: Some(&item),
            is_moved: false,
        };
        let name = format!("{PREFIX}:{env}:{name}");
        redis::command(out, &[b"PUBLISH", name.as_bytes(), &envelope::seal(&letter, false)]);
    }
}

/// The item with this marker, as soon as a node tells of it.
async fn hear(stream: &mut TcpStream, mut heard: Vec<u8>, marker: &str) -> Result<Message> {
    loop {
        while let Some((used, words)) = redis::read(&heard) {
            if let [b"pmessage", _, _, payload] = words[..]
                && let Some(Opened::Feed { item: Some(item), .. }) = envelope::open(payload, NOBODY)
                && item.data.contains(marker)
            {
                return Ok(*item);
            }
            heard.drain(..used);
        }
        if stream.read_buf(&mut heard).await? == 0 {
            bail!("Redis closed instead of bringing news");
        }
    }
}
