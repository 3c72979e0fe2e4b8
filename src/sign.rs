//! Keys, tokens and signatures: what proves who is asking.
