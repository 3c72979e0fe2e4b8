//! The integration tests; the folders mirror `src` and the URLs.

#![allow(unreachable_pub, reason = "one binary: nothing here is reached from elsewhere")]

mod engine;
mod store;
mod world;
