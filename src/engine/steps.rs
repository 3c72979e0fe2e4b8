//! The steps, one file each.

pub(super) mod ai_agent;
pub(super) mod batch;
pub(super) mod branch;
pub(super) mod channel;
mod channel_group;
pub(super) mod delay;
mod destination;
pub(super) mod digest;
pub(super) mod experiment;
pub(super) mod fetch;
mod guide;
pub(super) mod throttle;
pub(super) mod trigger_workflow;
pub(super) mod update;
pub(super) mod update_audience;
pub(super) mod wait_for_event;
