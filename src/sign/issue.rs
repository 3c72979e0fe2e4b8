//! Signs user tokens: for the command line and for tests; in production the customer's own server does.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use super::api_key::hex;
use super::key_pair::read_private;
use crate::model::invalid::Invalid;

/// A JWT signed with a shared secret.
pub fn sign_hs256(claims: &Value, secret: &[u8], kid: Option<&str>) -> String {
    let signed = signing_input("HS256", claims, kid);
    let signature = URL_SAFE_NO_PAD.encode(hmac(secret, signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// A JWT signed with an RSA private key, in PEM or the base64 of that PEM.
pub fn sign_rs256(claims: &Value, private_key: &str, kid: Option<&str>) -> Result<String, Invalid> {
    let key = read_private(private_key.as_bytes())?;
    let signed = signing_input("RS256", claims, kid);
    let mut signature = vec![0; key.public_modulus_len()];
    // PKCS#1 v1.5 signatures draw no randomness; the library asks for a source all the same.
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| Invalid::new("", "The RSA key does not sign."))?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// The bare HMAC-SHA-256 of a user's id, in hex.
pub fn bare_hmac(user: &str, secret: &[u8]) -> String {
    hex(&hmac(secret, user.as_bytes()))
}

/// The bare HMAC with the user it belongs to: `user_id.hmac`.
pub fn bare_token(user: &str, secret: &[u8]) -> String {
    format!("{user}.{}", bare_hmac(user, secret))
}

fn signing_input(algorithm: &str, claims: &Value, kid: Option<&str>) -> String {
    let mut header = json!({"alg": algorithm, "typ": "JWT"});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(&header), encode(claims))
}

pub(super) fn hmac(secret: &[u8], signed: &[u8]) -> [u8; 32] {
    let key: Hmac<Sha256> = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
    key.chain_update(signed).finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_agree_with_published_ones() {
        // RFC 4231, test case 2.
        let mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(bare_hmac("what do ya want for nothing?", b"Jefe"), mac);
        assert_eq!(bare_token("what do ya want for nothing?", b"Jefe"), format!("what do ya want for nothing?.{mac}"));
    }

    #[test]
    fn another_library_accepts_what_we_sign() {
        use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
        let claims = json!({"exp": 4_000_000_000u64, "sub": "ann"});
        let secret = b"0123456789abcdef0123456789abcdef";
        let token = sign_hs256(&claims, secret, Some("k1"));
        let read =
            decode::<Value>(&token, &DecodingKey::from_secret(secret), &Validation::new(Algorithm::HS256)).unwrap();
        assert_eq!((read.claims, read.header.kid.as_deref()), (claims.clone(), Some("k1")));
        let pair = crate::sign::key_pair::generate().unwrap();
        let token = sign_rs256(&claims, &pair.private_base64, None).unwrap();
        let key = DecodingKey::from_rsa_pem(pair.public_pem.as_bytes()).unwrap();
        let read = decode::<Value>(&token, &key, &Validation::new(Algorithm::RS256)).unwrap();
        assert_eq!((read.claims, read.header.kid), (claims, None), "F-AUT-11 F-AUT-14");
        assert!(sign_rs256(&json!({}), &pair.public_pem, None).is_err(), "only the private half signs");
    }
}
