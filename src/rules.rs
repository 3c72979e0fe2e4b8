//! Decisions of the domain that are pure functions of values.

pub mod delay;
pub mod window;
