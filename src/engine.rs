//! Workflow runs: what happens next, and making it happen.

mod caps;
pub mod facts;
pub mod fan_out;
pub mod guides;
mod join;
pub mod nested;
pub mod occurrence;
mod preferences;
pub mod run;
pub mod scene;
pub(crate) mod signals;
pub mod source;
pub mod start;
pub mod steps;
mod version;
mod view;
pub mod work;
