//! Runs: stories told with a clock that is turned by hand.

mod abandoned;
mod archived;
mod audiences;
mod batches;
mod branches;
mod cancelling;
mod collapsing;
mod crowds;
mod delays;
mod fan_out;
mod fetching;
mod figures;
mod idempotency;
mod nested;
mod people;
mod retention;
mod revoking;
mod running;
mod scenarios;
mod schedules;
mod scope;
mod sources;
mod statuses;
mod throttles;
mod updates;
mod waits;
