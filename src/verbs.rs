//! Changes that someone else hears about, one transaction each.
