//! Everything from the outside: the server in process, over its own sockets.

mod api;
mod support;
mod tidy;
