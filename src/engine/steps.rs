//! The steps, one file each.

pub(super) mod ai_agent;
pub(super) mod branch;
pub(super) mod channel;
pub(super) mod delay;
pub(super) mod experiment;
pub(super) mod fetch;
pub(super) mod throttle;
pub(super) mod trigger_workflow;
pub(super) mod update;
