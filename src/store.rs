//! Rows: what is known, durably. The database is the only truth.
//!
//! A change is a [`Batch`] of statements, applied whole or not at all, durable when [`Store::apply`] returns.

mod checkpoint;
pub mod db;
mod desk;
mod dialect;
mod migrate;
pub mod postgres;
mod sqlite;

pub mod audiences;
pub mod batches;
pub mod bulk_operations;
pub mod caps;
pub mod changes;
pub mod chunks;
pub mod collapse;
pub mod copy;
pub mod environments;
pub mod fan_outs;
pub mod feeds;
mod filter;
pub mod guides;
pub mod idempotency;
pub mod jobs;
pub mod keys;
pub mod merge;
pub mod messages;
pub mod objects;
pub mod page_keys;
pub mod plans;
pub mod presence;
mod recipients;
pub mod retention;
pub mod revoke;
pub mod run_once;
pub mod runs;
pub mod schedules;
pub mod short_links;
pub mod subscriptions;
pub mod throttles;
pub mod time;
pub mod users;
pub mod waits;
pub mod workflows;

pub use db::{Applied, Batch, Error, Param, Place, Row, Store};

/// The number by which rows name an environment.
pub type Env = i64;

#[cfg(test)]
mod tests;
