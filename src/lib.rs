//! Bellwire: a self-hosted, real-time notification-feed gateway. This page is THE MAP.
//!
//! A floor imports only floors below it (`tests/it/tidy.rs` reads this table).
//!
//! | floor | rooms | holds |
//! |---|---|---|
//! | 0 | model wire rules template sign clock metrics | values in, values out: no tokio, no sockets, no database |
//! | 1 | store | rows: one file per noun with its SQL |
//! | 2 | bus queue outside | news about commits; durable jobs and timers; requests to servers of others |
//! | 3 | verbs | changes someone else hears about, one transaction each |
//! | 4 | engine delivery | the workers; they meet in rows and jobs |
//! | 5 | hub http | faces: sockets and requests |
//! | 6 | config app | the rim: files, environment, start and stop |

// floor 0
pub mod clock;
pub mod metrics;
pub mod model;
pub mod rules;
pub mod sign;
pub mod template;
pub mod wire;

// floor 1
pub mod store;

// floor 2
pub mod bus;
pub mod outside;
pub mod queue;

// floor 3
pub mod verbs;

// floor 4
pub mod delivery;
pub mod engine;

// floor 5
pub mod http;
pub mod hub;

// floor 6
pub mod app;
pub mod config;
