//! Decisions of the domain that are pure functions of values.

mod comparison;
pub mod condition;
pub mod delay;
pub mod message_status;
mod operand;
pub mod operator;
mod reader;
pub mod window;
