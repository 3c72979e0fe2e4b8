//! Rows: what is known, durably.
