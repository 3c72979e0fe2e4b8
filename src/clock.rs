//! The time of day: the system's, or one that tests turn by hand.
