//! Runs: stories told with a clock that is turned by hand.

mod abandoned;
mod archived;
mod batches;
mod branches;
mod cancelling;
mod collapsing;
mod delays;
mod fan_out;
mod fetching;
mod figures;
mod idempotency;
mod nested;
mod people;
mod revoking;
mod running;
mod scenarios;
mod schedules;
mod scope;
mod statuses;
mod throttles;
mod updates;
mod waits;
