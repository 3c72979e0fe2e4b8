//! Liquid templates and the blocks rendered from them.
