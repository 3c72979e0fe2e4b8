//! The nouns: plain values that are already true.

pub mod channel;
pub mod ids;
pub mod invalid;
pub mod scope;
pub mod time;
pub mod workflow;
