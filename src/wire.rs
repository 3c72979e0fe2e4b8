//! How things are spelled on the wire.
