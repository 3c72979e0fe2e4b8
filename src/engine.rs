//! Workflow runs: what happens next, and making it happen.

pub mod facts;
pub mod run;
pub mod scene;
pub(crate) mod signals;
pub mod start;
pub mod steps;
pub mod work;
