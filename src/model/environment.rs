//! An environment: its own users, keys, messages and runs, with the settings it runs under.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::channel::Channel;
use super::channel_data::Shape;
use super::preference_center::Center;
use super::provider_app::App;

/// One environment with its settings (F-AUT-22).
#[derive(Debug, Clone)]
pub struct Environment {
    /// The number by which rows name it.
    pub number: i64,
    /// Its public id.
    pub id: Uuid,
    /// Its name in configuration and on the command line, such as `development`.
    pub slug: String,
    /// How it behaves.
    pub settings: Settings,
}

/// What an operator decides per environment.
#[derive(Clone, Default, PartialEq)]
pub struct Settings {
    /// Public-key requests must carry a signed user token (F-AUT-09).
    pub enhanced_security: bool,
    /// Variables that templates see and feeds show (W-SCP-18).
    pub vars: Map<String, Value>,
    /// Variables that only templates see (W-SCP-22).
    pub secret_vars: Map<String, Value>,
    /// Both together, as templates see them.
    pub all_vars: Value,
    /// What the senders of sources' events prove themselves by, by source.
    pub source_secrets: BTreeMap<String, String>,
    /// The zone of recipients that name none (W-SCP-26).
    pub timezone: Option<String>,
    /// What recipients want who have not said otherwise (F-PRF-23); none is everything.
    pub preferences: Option<Value>,
    /// The page on which users choose what they are told.
    pub center: Center,
    /// Under which addresses links and openings are tracked.
    pub tracking: Tracking,
    /// What of the channels is configured here, by their keys; feeds need nothing.
    pub channels: BTreeMap<String, ChannelSetup>,
}

impl Settings {
    /// What the sender of a source's events may prove themselves by: several, separated by spaces, while it is being changed.
    pub fn secrets_of_source(&self, source: &str) -> Vec<&str> {
        // A variable of the environment has no hyphens in its name.
        let found = self.source_secrets.get(source).or_else(|| self.source_secrets.get(&source.replace('-', "_")));
        found.map_or("", String::as_str).split_whitespace().collect()
    }
}

/// Of whatever is secret, and of all variables together, only the names are shown.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Settings {
            enhanced_security,
            vars,
            secret_vars,
            all_vars: _,
            source_secrets,
            timezone,
            preferences,
            center,
            tracking,
            channels,
        } = self;
        f.debug_struct("Settings")
            .field("enhanced_security", enhanced_security)
            .field("vars", vars)
            .field("secret_vars", &secret_vars.keys())
            .field("source_secrets", &source_secrets.keys())
            .field("timezone", timezone)
            .field("preferences", preferences)
            .field("center", center)
            .field("tracking", tracking)
            .field("channels", channels)
            .finish_non_exhaustive()
    }
}

/// The origins of addresses by which is noticed what recipients do (F-TRK-09); empty means that of the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracking {
    /// Of links.
    pub links: String,
    /// Of links that must be short, as in text messages.
    pub short_links: String,
    /// Of pictures that tell that a message was opened.
    pub opens: String,
}

/// How a channel is configured in an environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelSetup {
    /// Nothing is handed to its provider (W-CHS-14).
    pub is_sandbox: bool,
    /// The provider knows recipients by their ids, so that no channel data is needed (F-CHD-10).
    pub is_addressed_by_id: bool,
    /// Whether links of its messages are tracked unless a step says otherwise (F-TRK-01).
    pub tracks_links: bool,
    /// The app through which it acts, where its provider has apps.
    pub app: Option<App>,
}

impl ChannelSetup {
    /// Reads what is set of a channel, but for its app.
    pub fn read(channel: &Channel, table: &Map<String, Value>) -> Self {
        let is_player_mode = table.get("recipient_mode").is_some_and(|mode| mode == "player_id");
        ChannelSetup {
            is_sandbox: table.get("sandbox_mode").is_some_and(|flag| flag == true),
            is_addressed_by_id: Shape::of(channel) == Some(Shape::Players) && !is_player_mode,
            tracks_links: table.get("link_tracking").is_some_and(|flag| flag == true),
            app: None,
        }
    }
}
