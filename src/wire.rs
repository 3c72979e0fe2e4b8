//! How things are spelled on the wire.

pub mod cursor;
pub mod duration;
pub mod envelope;
pub mod item;
pub mod join;
pub mod json;
pub mod news;
pub mod phoenix;
pub mod query;
pub mod websocket;
