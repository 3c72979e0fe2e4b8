//! Delivery: what is handed to providers, and what they are asked.

pub mod providers;
