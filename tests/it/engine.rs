//! Runs: stories told with a clock that is turned by hand.

mod abandoned;
mod archived;
mod audiences;
mod batches;
mod branches;
mod cancelling;
mod delays;
mod fan_out;
mod figures;
mod idempotency;
mod people;
mod running;
mod scenarios;
mod schedules;
mod scope;
mod statuses;
mod throttles;
mod waits;
