//! Configuration: the only reader of files and environment.

pub mod workflows;
