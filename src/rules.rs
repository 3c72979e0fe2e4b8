//! Decisions of the domain that are pure functions of values.

pub mod window;
