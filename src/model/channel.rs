//! A channel: one configured way to tell recipients something, declared in the configuration.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::time::Time;
use crate::rules::condition::Group;

pub use response_filter::{Exposure, ResponseFilter};

mod response_filter;

/// A configured channel (F-AUT-22).
#[derive(Debug)]
pub struct Channel {
    /// The same in every environment; clients name the feed by it.
    pub id: Uuid,
    /// What workflows name it by.
    pub key: String,
    /// What people call it.
    pub name: String,
    /// What kind of messages it carries.
    pub kind: ChannelKind,
    /// Who delivers for it; this server for feeds and guides.
    pub provider: String,
    /// When it was first declared.
    pub created_at: Time,
    /// When its declaration last changed.
    pub updated_at: Time,
    /// Must hold beside the step's own conditions (W-CND-04); `None` always holds.
    pub conditions: Option<Group>,
    /// What of a message the recipient's client may see (F-FED-27).
    pub response_filter: ResponseFilter,
}

impl Channel {
    /// The provider of the feed that is built in.
    pub const FEED_PROVIDER: &str = "in_app_feed_knock";
    /// The provider of guides, which are built in as well.
    pub const GUIDE_PROVIDER: &str = "in_app_guide_knock";

    /// The name under which this server is the provider itself, of channels that need no other.
    pub fn own_provider(kind: ChannelKind) -> Option<&'static str> {
        match kind {
            ChannelKind::InAppFeed => Some(Channel::FEED_PROVIDER),
            ChannelKind::InAppGuide => Some(Channel::GUIDE_PROVIDER),
            _ => None,
        }
    }

    /// The channel as messages and the management API spell it (F-MSG-04).
    pub fn channel_json(&self) -> Value {
        json!({
            "id": self.id,
            "key": self.key,
            "name": self.name,
            "provider": self.provider,
            "type": self.kind,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        })
    }
}

/// What kind of messages a channel carries (W-CHS-01).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// E-mail.
    Email,
    /// The bell: a feed of items, kept here.
    InAppFeed,
    /// Guides shown inside a product.
    InAppGuide,
    /// Text messages.
    Sms,
    /// Push notifications of phones and browsers.
    Push,
    /// Chat rooms and direct messages.
    Chat,
    /// A request to somebody's server.
    Http,
}

impl ChannelKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [ChannelKind; 7] = [
        ChannelKind::Email,
        ChannelKind::Sms,
        ChannelKind::Push,
        ChannelKind::Chat,
        ChannelKind::InAppFeed,
        ChannelKind::InAppGuide,
        ChannelKind::Http,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChannelKind::Email => "email",
            ChannelKind::InAppFeed => "in_app_feed",
            ChannelKind::InAppGuide => "in_app_guide",
            ChannelKind::Sms => "sms",
            ChannelKind::Push => "push",
            ChannelKind::Chat => "chat",
            ChannelKind::Http => "http",
        }
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that names no kind of channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of channel; it is one of email, sms, push, chat, in_app_feed, in_app_guide, http")]
pub struct UnknownKind(pub String);

impl FromStr for ChannelKind {
    type Err = UnknownKind;

    fn from_str(word: &str) -> Result<Self, UnknownKind> {
        let found = ChannelKind::ALL.into_iter().find(|kind| kind.as_str() == word);
        found.ok_or_else(|| UnknownKind(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed() -> Channel {
        Channel {
            id: Uuid::from_u128(0x5f3c_1d6e_0000_4000_8000_0000_0000_0001),
            key: "in-app-feed".into(),
            name: "Bell".into(),
            kind: ChannelKind::InAppFeed,
            provider: Channel::FEED_PROVIDER.into(),
            created_at: Time::from_micros(0),
            updated_at: Time::from_micros(1_000_000),
            conditions: None,
            response_filter: ResponseFilter::default(),
        }
    }

    #[test]
    fn a_channel_is_spelled_as_messages_carry_it() {
        let expected = json!({
            "id": "5f3c1d6e-0000-4000-8000-000000000001",
            "key": "in-app-feed",
            "name": "Bell",
            "provider": "in_app_feed_knock",
            "type": "in_app_feed",
            "created_at": "1970-01-01T00:00:00.000000Z",
            "updated_at": "1970-01-01T00:00:01.000000Z",
        });
        assert_eq!(feed().channel_json(), expected, "F-MSG-04");
    }

    #[test]
    fn every_kind_has_one_word_everywhere() {
        for kind in ChannelKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind), "W-CHS-01");
            assert_eq!(serde_json::to_value(kind).ok(), Some(json!(kind.as_str())), "W-CHS-01");
        }
        assert!("carrier_pigeon".parse::<ChannelKind>().is_err());
    }
}
