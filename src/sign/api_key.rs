//! API keys: minted once, kept as a digest, recognised by their prefix.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use super::refusal::{Code, Refusal};

/// How many characters of a key may be shown again.
const SHOWN: usize = 10;

/// What a key lets its holder do (F-AUT-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `pk_..`: may stand in browsers and apps.
    Public,
    /// `sk_..`: may do everything, unless it is limited, and stays on servers.
    Secret,
}

impl Kind {
    /// What the prefix of a key says.
    pub fn of(key: &str) -> Option<Kind> {
        [Kind::Public, Kind::Secret].into_iter().find(|kind| key.starts_with(kind.prefix()))
    }

    /// The prefix of its keys.
    pub fn prefix(self) -> &'static str {
        match self {
            Kind::Public => "pk_",
            Kind::Secret => "sk_",
        }
    }
}

/// A key in clear. It is shown once, when it is minted, and never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKey {
    kind: Kind,
    text: String,
}

impl ApiKey {
    /// Mints a key from 32 random bytes.
    pub fn mint(kind: Kind, random: [u8; 32]) -> Self {
        ApiKey { kind, text: format!("{}{}", kind.prefix(), URL_SAFE_NO_PAD.encode(random)) }
    }

    /// Reads a key as a client sends it; what cannot be one of ours is refused (F-AUT-03, F-AUT-06).
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let is_word = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        match Kind::of(text) {
            Some(kind) if is_word && text.len() > kind.prefix().len() => Ok(ApiKey { kind, text: text.to_owned() }),
            None if text.starts_with("knock_st_") => Err(Refusal::new(
                Code::AuthenticationRequired,
                "Service tokens belong to the management API: send an API key of the environment.",
            )),
            _ => Err(Refusal::new(
                Code::AuthenticationRequired,
                "That is not an API key: keys begin with `pk_` or `sk_`.",
            )),
        }
    }

    /// Public or secret.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The key in clear.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What is stored and looked up instead of the key: its SHA-256 in hex. Keys are random, so no salt is needed.
    pub fn digest(&self) -> String {
        digest(&self.text)
    }

    /// The beginning of the key, by which people tell it from others.
    pub fn shown(&self) -> &str {
        // An ASCII word: every cut is between characters.
        &self.text[..SHOWN.min(self.text.len().saturating_sub(1))]
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKey({}..)", self.kind.prefix())
    }
}

/// SHA-256 in hex.
pub fn digest(text: &str) -> String {
    hex(&Sha256::digest(text.as_bytes()))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// Reads the key out of an `Authorization` header (F-AUT-01): `Bearer` is the only scheme (F-AMB-1).
pub fn bearer(authorization: Option<&str>) -> Result<ApiKey, Refusal> {
    let header = authorization.map(str::trim).filter(|header| !header.is_empty());
    let Some(header) = header else {
        return Err(Refusal::new(Code::ApiKeyMissing, "Send an API key: `Authorization: Bearer sk_..`."));
    };
    let (scheme, key) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Refusal::new(
            Code::AuthenticationRequired,
            "`Bearer` is the only scheme: send `Authorization: Bearer sk_..`.",
        ));
    }
    match key.trim() {
        "" => Err(Refusal::new(Code::ApiKeyMissing, "No key follows `Bearer`: send `Authorization: Bearer sk_..`.")),
        key => ApiKey::parse(key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_says_what_it_is_and_hides_itself() {
        for (kind, prefix) in [(Kind::Public, "pk_"), (Kind::Secret, "sk_")] {
            let key = ApiKey::mint(kind, [7; 32]);
            assert!(key.reveal().starts_with(prefix), "F-AUT-02");
            assert_eq!(key.reveal().len(), 3 + 43);
            assert_eq!(ApiKey::parse(key.reveal()).unwrap(), key, "F-AUT-02");
            assert_eq!(Kind::of(key.reveal()), Some(kind), "F-AUT-02");
            assert!(!format!("{key:?}").contains(&key.reveal()[3..]), "never logged");
            assert!(key.reveal().starts_with(key.shown()) && key.shown().len() == 10);
        }
        assert_ne!(
            ApiKey::mint(Kind::Public, [7; 32]).reveal()[3..],
            ApiKey::mint(Kind::Public, [8; 32]).reveal()[3..]
        );
        assert_eq!(ApiKey::parse("pk_a").unwrap().shown(), "pk_", "a short key is not shown whole");
    }

    #[test]
    fn the_digest_is_sha_256_in_hex() {
        assert_eq!(digest("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let key = ApiKey::mint(Kind::Secret, [1; 32]);
        assert_eq!(key.digest(), digest(key.reveal()));
    }

    #[test]
    fn the_key_comes_as_bearer_only() {
        for header in ["Bearer sk_abc", "bearer sk_abc", " Bearer   sk_abc "] {
            assert_eq!(bearer(Some(header)).unwrap().reveal(), "sk_abc", "F-AUT-01 {header}");
        }
        for (header, code) in [
            (None, Code::ApiKeyMissing),
            (Some(""), Code::ApiKeyMissing),
            (Some("Bearer"), Code::ApiKeyMissing),
            (Some("Bearer "), Code::ApiKeyMissing),
            (Some("Basic c2tfYWJjOg=="), Code::AuthenticationRequired),
            (Some("sk_abc"), Code::AuthenticationRequired),
            (Some("Bearer abc"), Code::AuthenticationRequired),
            (Some("Bearer sk_"), Code::AuthenticationRequired),
            (Some("Bearer sk_a b"), Code::AuthenticationRequired),
            (Some("Bearer sk_é"), Code::AuthenticationRequired),
            (Some("Bearer knock_st_abc"), Code::AuthenticationRequired),
        ] {
            let refusal = bearer(header).unwrap_err();
            assert_eq!(refusal.code, code, "F-AUT-01 F-AUT-03 F-AUT-06 F-AMB-1 {header:?}");
            assert_eq!(refusal.code.status(), 401, "F-AUT-03 F-AUT-06 {header:?}");
        }
    }
}
