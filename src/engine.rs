//! Workflow runs: what happens next, and making it happen.

pub mod facts;
mod join;
pub mod run;
pub mod scene;
pub(crate) mod signals;
mod source;
pub mod start;
pub mod steps;
pub mod work;
