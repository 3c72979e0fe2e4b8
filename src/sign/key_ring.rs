//! The keys against which an environment checks user tokens, several of which may be live at once.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::ParsedPublicKey;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::key_pair::read_public;
use crate::model::invalid::Invalid;

/// A shared secret is at least as long as the hash (RFC 7518, 3.2): whoever holds a token may try to guess it.
pub const MIN_SECRET_BYTES: usize = 32;

/// A signing key as it is stored.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// The name by which a token picks its key.
    pub kid: Option<String>,
    /// The key itself.
    pub material: Material,
}

/// What a signing key is made of, which says what it signs. A secret signs one form only: the bare HMAC of a user id
/// `header.payload` would else be the signature of that JWT, and whoever may choose a user id could be anyone.
#[derive(Clone, PartialEq, Eq)]
pub enum Material {
    /// The secret of HS256 JWTs.
    Hs256(Vec<u8>),
    /// The public half of RS256 JWTs' key, in PEM or DER.
    Rs256(Vec<u8>),
    /// The secret of bare HMACs of user ids. An environment allows that form by having such a key.
    BareHmac(Vec<u8>),
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Material::Hs256(_) => "Hs256(..)",
            Material::Rs256(_) => "Rs256(..)",
            Material::BareHmac(_) => "BareHmac(..)",
        })
    }
}

/// The live keys of one environment, ready for use. Clones share them.
#[derive(Clone, Default)]
pub struct KeyRing {
    keys: Arc<[Key]>,
}

/// One of them.
pub(crate) struct Key {
    /// Its name, shared by all that is said about what it signed.
    pub(crate) kid: Option<Arc<str>>,
    verifier: Verifier,
}

enum Verifier {
    Hs256(Hmac<Sha256>),
    Rs256(ParsedPublicKey),
    BareHmac(Hmac<Sha256>),
}

/// The algorithms that a JWT may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Hs256,
    Rs256,
}

impl KeyRing {
    /// Reads keys; a key that cannot be used is refused, by its place in the list.
    pub fn new(keys: &[SigningKey]) -> Result<Self, Invalid> {
        let mut ring = Vec::with_capacity(keys.len());
        for (at, key) in keys.iter().enumerate() {
            if signs_both_forms(&key.material, keys) {
                return Err(Invalid::new(
                    format!("keys[{at}]"),
                    "One secret cannot sign both JWTs and bare HMACs of user ids: make a second one.",
                ));
            }
            let verifier = Verifier::read(&key.material)
                .map_err(|invalid| Invalid::new(format!("keys[{at}]"), invalid.message))?;
            ring.push(Key { kid: key.kid.as_deref().map(Arc::from), verifier });
        }
        Ok(KeyRing { keys: ring.into() })
    }

    /// Whether there is no key at all.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether bare HMACs of user ids are accepted.
    pub fn allows_bare_hmac(&self) -> bool {
        self.keys.iter().any(|key| matches!(key.verifier, Verifier::BareHmac(_)))
    }

    /// The key of that algorithm (and of that `kid`, if the token names one) that made `signature` over `signed`.
    pub(crate) fn signer(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        signed: &[u8],
        signature: &[u8],
    ) -> Option<&Key> {
        let mut candidates = self.keys.iter().filter(|key| kid.is_none() || key.kid.as_deref() == kid);
        candidates.find(|key| match (&key.verifier, algorithm) {
            (Verifier::Hs256(mac), Algorithm::Hs256) => is_mac(mac, signed, signature),
            (Verifier::Rs256(key), Algorithm::Rs256) => key.verify_sig(signed, signature).is_ok(),
            _ => false,
        })
    }

    /// The key for bare HMACs that made `mac` over the user's id.
    pub(crate) fn signer_of_user(&self, user: &str, mac: &[u8]) -> Option<&Key> {
        self.keys.iter().find(|key| match &key.verifier {
            Verifier::BareHmac(key) => is_mac(key, user.as_bytes(), mac),
            _ => false,
        })
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.keys.len())
    }
}

impl Verifier {
    fn read(material: &Material) -> Result<Self, Invalid> {
        Ok(match material {
            Material::Hs256(secret) => Verifier::Hs256(mac(secret)?),
            Material::BareHmac(secret) => Verifier::BareHmac(mac(secret)?),
            Material::Rs256(public) => Verifier::Rs256(read_public(public)?),
        })
    }
}

fn signs_both_forms(material: &Material, keys: &[SigningKey]) -> bool {
    let Material::BareHmac(secret) = material else { return false };
    keys.iter().any(|key| matches!(&key.material, Material::Hs256(other) if other == secret))
}

/// HMAC-SHA-256 with this secret, keyed once.
fn mac(secret: &[u8]) -> Result<Hmac<Sha256>, Invalid> {
    if secret.len() < MIN_SECRET_BYTES {
        return Err(Invalid::new("", format!("A signing secret has at least {MIN_SECRET_BYTES} bytes.")));
    }
    Hmac::new_from_slice(secret).map_err(|_| Invalid::new("", "The signing secret cannot be used."))
}

/// Compares in constant time.
fn is_mac(key: &Hmac<Sha256>, signed: &[u8], mac: &[u8]) -> bool {
    key.clone().chain_update(signed).verify_slice(mac).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

    fn key(material: Material) -> SigningKey {
        SigningKey { kid: None, material }
    }

    #[test]
    fn a_secret_signs_one_form_only() {
        let both = [key(Material::Hs256(SECRET.to_vec())), key(Material::BareHmac(SECRET.to_vec()))];
        assert_eq!(KeyRing::new(&both).unwrap_err().path, "keys[1]");
        assert!(KeyRing::new(&both[..1]).is_ok() && KeyRing::new(&both[1..]).is_ok());
    }

    #[test]
    fn keys_that_cannot_be_used_are_refused_by_their_place() {
        for bad in [
            Material::Hs256(b"short".to_vec()),
            Material::BareHmac(SECRET[..31].to_vec()),
            Material::Rs256(b"-----BEGIN PUBLIC KEY-----".to_vec()),
        ] {
            let keys = [key(Material::Hs256(SECRET.to_vec())), key(bad)];
            assert_eq!(KeyRing::new(&keys).unwrap_err().path, "keys[1]");
        }
    }

    #[test]
    fn secrets_are_not_printed() {
        let keys = [key(Material::Hs256(SECRET.to_vec()))];
        assert!(!format!("{keys:?}").contains("48") && !format!("{keys:?}").contains("0123"));
        assert_eq!(format!("{:?}", KeyRing::new(&keys).unwrap()), "KeyRing(1 keys)");
    }
}
