//! News of committed changes, to whoever holds a socket for them.
