//! The integration tests; the folders mirror `src` and the URLs.

#![allow(unreachable_pub, reason = "one binary: nothing here is reached from elsewhere")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod api;
mod autobahn;
mod browser;
mod bus;
mod calendar;
mod cli;
mod crash;
mod deploy;
mod engine;
mod faults;
mod hardening;
mod operating;
mod process;
mod queue;
mod schemathesis;
mod sdk;
mod socket_page;
mod store;
mod stub;
mod support;
mod tidy;
mod verbs;
mod world;
