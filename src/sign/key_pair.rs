//! RSA key pairs for RS256: made, written as PEM, read back.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize, PublicKey};
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::invalid::Invalid;

/// The fewest bytes of an RSA modulus that we accept (2048 bits).
const MIN_MODULUS_BYTES: usize = 256;
const PRIVATE: &str = "PRIVATE KEY";
const PUBLIC: &str = "PUBLIC KEY";

/// A new pair. The private half is shown once and not kept (F-AUT-14).
pub struct KeyPair {
    /// PKCS#8 in PEM.
    pub private_pem: String,
    /// The base64 of that PEM, which fits into one line of an environment file.
    pub private_base64: String,
    /// The public half, which the server keeps.
    pub public_pem: String,
}

/// Makes a pair of 2048 bits. This is the one place on its floor that draws randomness: the cryptographic library takes
/// none as an argument here. It takes some hundred milliseconds of processor time.
pub fn generate() -> Result<KeyPair, Invalid> {
    let failed = |_| Invalid::new("", "No RSA key could be made.");
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(failed)?;
    let private: Pkcs8V1Der<'_> = pair.as_der().map_err(failed)?;
    let public: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(failed)?;
    let private_pem = to_pem(PRIVATE, private.as_ref());
    let private_base64 = STANDARD.encode(&private_pem);
    Ok(KeyPair { private_pem, private_base64, public_pem: to_pem(PUBLIC, public.as_ref()) })
}

/// Reads a private key: PEM (PKCS#8 or PKCS#1), the base64 of that PEM, or DER.
pub(crate) fn read_private(key: &[u8]) -> Result<RsaKeyPair, Invalid> {
    let refuse = || Invalid::new("", "That is not an RSA private key of 2048 bits or more in PEM (PKCS#8).");
    let (label, der) = read_key(key).ok_or_else(refuse)?;
    match label.as_str() {
        PUBLIC => Err(Invalid::new("", "That is the public key: tokens are signed with the private one.")),
        _ => RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)).map_err(|_| refuse()),
    }
}

/// Reads a public key: PEM (X.509 or PKCS#1), the base64 of that PEM, or DER.
pub(crate) fn read_public(key: &[u8]) -> Result<ParsedPublicKey, Invalid> {
    let refuse = || Invalid::new("", "That is not an RSA public key in PEM (`-----BEGIN PUBLIC KEY-----`).");
    let (label, der) = read_key(key).ok_or_else(refuse)?;
    if label.contains("PRIVATE") {
        return Err(Invalid::new("", "That is the private key: the server only needs the public one."));
    }
    let public = PublicKey::from_der(&der).map_err(|_| refuse())?;
    if public.modulus_len() < MIN_MODULUS_BYTES {
        return Err(Invalid::new("", "An RSA key has at least 2048 bits."));
    }
    ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der).map_err(|_| refuse())
}

/// The label and the DER of a key in any of its encodings; the label of bare DER is empty.
fn read_key(key: &[u8]) -> Option<(String, Vec<u8>)> {
    let Ok(text) = std::str::from_utf8(key) else { return Some((String::new(), key.to_vec())) };
    let text = text.trim();
    if text.starts_with("-----BEGIN") {
        return from_pem(text);
    }
    from_pem(&String::from_utf8(STANDARD.decode(without_whitespace(text)).ok()?).ok()?)
}

fn from_pem(text: &str) -> Option<(String, Vec<u8>)> {
    let (label, rest) = text.trim().strip_prefix("-----BEGIN ")?.split_once("-----")?;
    let body = rest.strip_suffix("-----")?.strip_suffix(label)?.strip_suffix("-----END ")?;
    Some((label.to_owned(), STANDARD.decode(without_whitespace(body)).ok()?))
}

fn to_pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII: every cut is between characters.
        let (line, tail) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = tail;
    }
    pem + "-----END " + label + "-----\n"
}

fn without_whitespace(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_comes_in_two_encodings_and_both_halves_are_read_back() {
        let pair = generate().unwrap();
        assert!(pair.private_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"), "F-AUT-14");
        assert!(pair.private_base64.starts_with("LS0tLS1CRUdJTi"), "F-AUT-14");
        assert!(pair.public_pem.starts_with("-----BEGIN PUBLIC KEY-----\n"), "F-AUT-14");
        assert!(pair.private_pem.lines().all(|line| line.len() <= 64));
        for key in [&pair.private_pem, &pair.private_base64, &pair.private_pem.replace('\n', "\r\n")] {
            assert!(read_private(key.as_bytes()).is_ok(), "F-AUT-14");
            assert!(read_public(key.as_bytes()).is_err(), "F-AUT-14: the private half is not kept");
        }
        let (_, der) = from_pem(&pair.public_pem).unwrap();
        for key in [pair.public_pem.as_bytes(), STANDARD.encode(&pair.public_pem).as_bytes(), &der] {
            assert!(read_public(key).is_ok());
            assert!(read_private(key).is_err());
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        for key in
            ["", "hello", "-----BEGIN PUBLIC KEY-----", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----"]
        {
            assert!(read_public(key.as_bytes()).is_err(), "{key}");
            assert!(read_private(key.as_bytes()).is_err(), "{key}");
        }
    }
}
