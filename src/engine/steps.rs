//! The steps, one file each.

pub(super) mod branch;
pub(super) mod channel;
pub(super) mod delay;
pub(super) mod experiment;
pub(super) mod throttle;
pub(super) mod update_audience;
pub(super) mod wait_for_event;
