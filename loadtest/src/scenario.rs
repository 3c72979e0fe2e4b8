//! The scenarios: each has its sides do the same work in turn.

pub(crate) mod connect;
pub(crate) mod engine;
pub(crate) mod fanout;
pub(crate) mod feed;
pub(crate) mod limit;
pub(crate) mod lists;
pub(crate) mod mark;
pub(crate) mod push;
pub(crate) mod reconnect;
pub(crate) mod refuse;
pub(crate) mod trigger;

use std::time::Duration;

/// A pause between the parts of a measurement, for what trails to end.
const PAUSE: Duration = Duration::from_millis(500);
/// Handshakes under way at once, where they are not what is measured.
const HANDSHAKES: u32 = 200;
