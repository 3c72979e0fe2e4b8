//! Builds the parts from their configuration, starts them, drains them in reverse.
