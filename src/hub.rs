//! The socket face: who is connected, and what they are told.
