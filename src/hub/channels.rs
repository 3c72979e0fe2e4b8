//! The kinds of topics that sockets join.

pub(crate) mod feed;
pub(crate) mod guides;
