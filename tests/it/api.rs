//! The REST face, rule by rule.

mod audiences;
mod auth;
mod bad_input;
mod bulk;
mod channel_data;
mod cors;
mod description;
mod errors;
mod feeds;
mod idempotency;
mod ingest;
mod limits;
mod marks;
mod messages;
mod objects;
mod operations;
mod preference_center;
mod preferences;
mod recipients;
mod runs;
mod schedules;
mod server;
mod subscriptions;
mod tenants;
mod users;
mod workflows;
