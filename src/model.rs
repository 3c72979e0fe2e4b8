//! The nouns: plain values that are already true.

pub mod audience;
pub mod bulk_operation;
pub mod cap;
pub mod channel;
pub mod channel_data;
pub mod channel_group;
pub mod environment;
pub mod feed;
pub mod ids;
pub mod invalid;
pub mod mark;
pub mod message;
pub mod preference_center;
pub mod presence;
pub mod provider_app;
mod reader;
pub mod recipient;
pub mod run;
pub mod schedule;
pub mod scope;
pub mod secret;
pub mod signal;
pub mod source;
pub mod subscription;
pub mod time;
pub mod trigger_data;
pub mod workflow;
