//! Changes that someone else hears about.

mod bulk;
mod forget;
mod merge;
