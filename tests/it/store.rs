//! The store: what it promises to everyone above it.

mod batches;
mod feeds;
mod migrations;
mod postgres;
