//! The REST face: server, router, and the pipeline every request passes.
