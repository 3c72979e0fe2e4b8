//! Mark: what a reader does with messages, seen on all their other devices in the same instant.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::model::feed::{Filter, Head, Tenants};
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::time::Time;
use crate::store::Env;
use crate::store::feeds::Still;

use super::change::FeedName;
use super::{Change, Core, Error};

/// Messages marked in one transaction at most; a larger mark is made of several.
pub const CHUNK: usize = 500;

/// Whose messages a caller may mark.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reach {
    /// Only this recipient's (F-AUT-16); anybody's when absent.
    pub recipient: Option<String>,
    /// Only messages of these tenants (F-GRN-16).
    pub tenants: Tenants,
    /// Whether the caller is a reader, for whom what was revoked is not there.
    pub is_reader: bool,
}

impl Reach {
    /// Whether the caller may mark `message`.
    pub fn covers(&self, message: &Message) -> bool {
        let filter = Filter { allowed: self.tenants.clone(), ..Filter::default() };
        self.recipient.as_ref().is_none_or(|recipient| *recipient == message.recipient.key())
            && filter.matches_tenant(message.tenant.as_deref())
            && !(self.is_reader && message.revoked_at.is_some())
    }
}

/// Which items of a feed a mark of everything covers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Everything {
    pub filter: Arc<Filter>,
    /// Only those that were given at this very instant what the mark takes back: so a mark of everything is undone.
    pub marked_at: Option<Time>,
}

impl Core {
    /// Marks messages by id, now; see [`Core::mark_at`].
    pub async fn mark(
        &self,
        env: Env,
        ids: &[String],
        mark: Mark,
        metadata: Option<&Map<String, Value>>,
        reach: &Reach,
    ) -> Result<Vec<Message>, Error> {
        self.mark_at(env, ids, mark, metadata, reach, self.clock.now()).await
    }

    /// Marks messages by id; ids that are unknown or out of reach are left out (F-STA-21). Answers the messages as
    /// they now are, in the order asked, each once (F-AMB-45).
    pub async fn mark_at(
        &self,
        env: Env,
        ids: &[String],
        mark: Mark,
        metadata: Option<&Map<String, Value>>,
        reach: &Reach,
        now: Time,
    ) -> Result<Vec<Message>, Error> {
        let mut seen = std::collections::HashSet::new();
        let ids: Vec<String> = ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect();
        let messages: Vec<Message> =
            self.store.messages_by_ids(env, &ids).await?.into_iter().filter(|message| reach.covers(message)).collect();
        self.metrics.marked(mark.name(), messages.len());
        let data = metadata.map(|map| Value::Object(map.clone()).to_string());
        let mut by_feed: BTreeMap<Option<FeedName>, Vec<String>> = BTreeMap::new();
        let mut kept = Vec::with_capacity(messages.len());
        for message in messages {
            let feed = message.feed.map(|id| FeedName {
                id,
                env,
                channel: message.channel.clone(),
                recipient: message.recipient.key(),
            });
            kept.push(message.id.clone());
            by_feed.entry(feed).or_default().push(message.id);
        }
        for (feed, ids) in by_feed {
            match feed {
                Some(feed) => {
                    for chunk in ids.chunks(CHUNK) {
                        let mut change = Change::new();
                        change.mark(&feed, chunk, mark, data.as_deref(), now);
                        self.commit(change).await?;
                    }
                }
                None => {
                    let mut change = Change::new();
                    change.mark_alone(env, &ids, mark, data.as_deref(), now);
                    self.commit(change).await?;
                }
            }
        }
        Ok(self.store.messages_by_ids(env, &kept).await?)
    }

    /// Marks everything of one feed that `everything` covers, in chunks that have one instant; answers the feed's head
    /// afterwards. Taking back what was never given is no change (F-STA-17).
    pub async fn mark_all(
        &self,
        env: Env,
        channel: &str,
        recipient: &str,
        Everything { filter, marked_at }: &Everything,
        mark: Mark,
        now: Time,
    ) -> Result<Head, Error> {
        let head = self.store.feed_head(env, channel, recipient).await?;
        if head.id == 0 {
            return Ok(head);
        }
        let feed = FeedName { id: head.id, env, channel: channel.to_owned(), recipient: recipient.to_owned() };
        let still = Still { status: filter.status, marked_at: *marked_at };
        let taken_back = marked_at.map(|at| (mark, at));
        let mut next = 0;
        loop {
            // What comes meanwhile was not meant: the caller has not seen it.
            let found = self.store.feed_ids(feed.id, filter, taken_back, next..=head.version, CHUNK).await?;
            let Some((last, _)) = found.last() else { break };
            next = last + 1;
            self.metrics.marked(mark.name(), found.len());
            let ids: Vec<String> = found.into_iter().map(|(_, id)| id).collect();
            let mut change = Change::new();
            change.mark_still(&feed, &ids, still, mark, None, now);
            self.commit(change).await?;
        }
        Ok(self.store.feed_head(env, channel, recipient).await?)
    }
}
