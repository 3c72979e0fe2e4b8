//! Workflow runs: what happens next, and making it happen.

pub mod facts;
pub mod fan_out;
mod join;
pub mod occurrence;
mod preferences;
pub mod run;
pub mod scene;
pub(crate) mod signals;
mod source;
pub mod start;
pub mod steps;
mod version;
pub mod work;
