//! Decisions of the domain that are pure functions of values.

pub mod batch;
pub mod cap;
pub mod cell_rate;
pub mod choice;
mod comparison;
pub mod condition;
pub mod delay;
pub mod group_key;
pub mod message_status;
pub mod moment;
mod operand;
pub mod operator;
pub mod preference;
mod reader;
pub mod recurrence;
pub mod tenant;
pub mod window;
