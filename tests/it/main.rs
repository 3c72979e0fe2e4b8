//! Integration tests, in folders that mirror the source and the URLs.

mod cli;
