//! The nouns: plain values that are already true.

pub mod ids;
pub mod invalid;
pub mod scope;
pub mod time;
