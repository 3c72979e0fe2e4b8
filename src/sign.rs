//! Keys, tokens and signatures: what proves who is asking.

pub mod access;
pub mod admission;
pub mod api_key;
pub mod issue;
pub mod key_pair;
pub mod key_ring;
pub mod key_scope;
pub mod page_token;
pub mod refusal;
pub mod source;
pub mod tracking;
pub mod user_token;
pub mod webhook;
