//! Items that take each other's place: of those with one key, one at most is unread because of what came last.

use super::Env;
use super::db::{Batch, Error, FeedKey, Store};
use super::feeds::HEAD;
use super::messages::{REPLACE_IN_FEED, content_params};
use crate::model::message::Message;
use crate::model::time::Time;
use crate::params;

/// What items have in common that take each other's place.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Collapsing {
    pub channel: String,
    /// The recipient's key.
    pub recipient: String,
    pub tenant: Option<String>,
    pub key: String,
}

impl Collapsing {
    /// What a message has in common with others; none for one that takes nobody's place.
    pub fn of(message: &Message) -> Option<Collapsing> {
        Some(Collapsing {
            channel: message.channel.clone(),
            recipient: message.recipient.key(),
            tenant: message.tenant.clone(),
            key: message.collapse_key.clone()?,
        })
    }
}

/// An item whose place the next one takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    pub id: String,
    pub feed: i64,
    /// When it came first.
    pub first_at: Time,
}

/// Items `m` that stand in a feed with environment `?1`, key `?2`, recipient `?3`, channel `?4` and tenant `?5`, and whose
/// reader has not dealt with them.
const STANDS: &str = "m.env = ?1 AND m.collapse_key = ?2 AND m.recipient = ?3 AND m.archived_at IS NULL AND m.read_at IS NULL \
     AND m.feed IS NOT NULL AND m.channel = ?4 AND coalesce(m.tenant, '') = ?5";

fn params(env: Env, Collapsing { channel, recipient, tenant, key }: &Collapsing) -> Vec<super::Param> {
    params![env, key, recipient, channel, tenant.as_deref().unwrap_or_default()]
}

impl Store {
    /// The newest item whose place another takes.
    pub async fn standing(&self, env: Env, collapsing: &Collapsing) -> Result<Option<Standing>, Error> {
        let sql = format!(
            "SELECT m.id, m.feed, coalesce(m.first_at, m.inserted_at) FROM messages m WHERE {STANDS} ORDER BY m.seq DESC LIMIT 1"
        );
        self.query_one(&sql, &params(env, collapsing), |row| {
            Ok(Standing { id: row.string(0)?, feed: row.int(1)?, first_at: row.time(2)? })
        })
        .await
    }
}

impl Batch {
    /// Adds that nothing stands whose place a new message should take; refused if something does. The message's feed has
    /// been changed before, so that nobody else adds to it meanwhile.
    pub(super) fn require_none_standing(&mut self, message: &Message) {
        if let Some(collapsing) = Collapsing::of(message) {
            let sql = format!("SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE {STANDS})");
            self.require(sql, params(message.env, &collapsing));
        }
    }

    /// Adds that a message takes the place of an item of the feed, whose id it has: it is as new, on top, and unmarked.
    /// Refused when the item was read, archived or removed meanwhile. Gives back the number of the feed's head.
    pub fn replace_in_feed(&mut self, feed: i64, message: &Message) -> usize {
        let id = message.id.as_str();
        self.feeds.push(FeedKey::Id(feed));
        self.require(
            "SELECT 1 FROM messages m WHERE m.id = ?1 AND +m.feed = ?2 AND m.read_at IS NULL AND m.archived_at IS NULL",
            params![id, feed],
        );
        let number = self.returning(
            format!(
                "UPDATE feeds SET version = version + 1, \
                 last_at = CASE WHEN CAST(?3 AS BIGINT) > last_at THEN CAST(?3 AS BIGINT) ELSE last_at + 1 END, \
                 unseen = unseen + (SELECT count(*) FROM messages m WHERE m.id = ?2 AND m.seen_at IS NOT NULL) \
                 WHERE id = ?1 RETURNING {HEAD}"
            ),
            params![feed, id, message.inserted_at],
        );
        let mut params = params![feed, id];
        params.extend(content_params(message));
        self.push(REPLACE_IN_FEED, params);
        number
    }
}
