//! Runs: stories told with a clock that is turned by hand.

mod abandoned;
mod archived;
mod branches;
mod cancelling;
mod delays;
mod fetching;
mod figures;
mod idempotency;
mod nested;
mod people;
mod running;
mod scenarios;
mod scope;
mod statuses;
mod throttles;
mod updates;
