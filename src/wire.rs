//! How things are spelled on the wire.

pub mod duration;
