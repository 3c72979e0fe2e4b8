//! What those who run a server rely on: figures, readiness, stopping, logs.

mod exposition;
mod figures;
mod logs;
mod readiness;
#[cfg(feature = "otel")]
mod spans;
mod stopping;
