//! An environment: its own users, keys, messages and runs, with the settings it runs under.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use uuid::Uuid;

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
#[derive(Debug, Clone, Default, PartialEq)]
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
    /// What of the channels is configured here, by their keys; feeds need nothing.
    pub channels: BTreeMap<String, ChannelSetup>,
}

/// How a channel is configured in an environment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelSetup {
    /// Nothing is handed to its provider (W-CHS-14).
    pub is_sandbox: bool,
}
