//! How the sender of a source's event proves who they are: by a secret that they share with this server.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::model::time::Time;

/// Which header holds the proof, and how it is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// In small letters.
    pub header: String,
    pub scheme: Scheme,
}

/// How a proof is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// It is the secret itself.
    Token,
    /// It is the HMAC-SHA-256 of the body, behind a fixed prefix such as `sha256=`.
    Body { encoding: Encoding, prefix: String },
    /// It is `t=<time>,<part>=<mac>`: the HMAC-SHA-256 of the time, a dot and the body. An old one does not do.
    Timestamped { encoding: Encoding, part: String, tolerance_seconds: i64 },
}

/// How bytes are spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Hex,
    Base64,
}

impl Default for Signature {
    /// As this server signs what it sends.
    fn default() -> Self {
        let scheme = Scheme::Timestamped { encoding: Encoding::Base64, part: "s".to_owned(), tolerance_seconds: 300 };
        Signature { header: "x-knock-signature".to_owned(), scheme }
    }
}

impl Signature {
    /// Whether `proof` shows that one of these secrets was known to whoever sent `body`.
    pub fn is_proof(&self, proof: &str, body: &[u8], secrets: &[&str], now: Time) -> bool {
        let any = |given: &dyn Fn(&str) -> bool| {
            secrets.iter().filter(|secret| !secret.is_empty()).any(|secret| given(secret))
        };
        match &self.scheme {
            Scheme::Token => any(&|secret| bool::from(proof.as_bytes().ct_eq(secret.as_bytes()))),
            Scheme::Body { encoding, prefix } => {
                let Some(mac) = proof.strip_prefix(prefix.as_str()).and_then(|mac| encoding.read(mac)) else {
                    return false;
                };
                any(&|secret| is_mac(secret, &[body], &mac))
            }
            Scheme::Timestamped { encoding, part, tolerance_seconds } => {
                let parts = || proof.split(',').filter_map(|part| part.trim().split_once('='));
                let Some((_, time)) = parts().find(|(name, _)| *name == "t") else { return false };
                if !is_recent(time, *tolerance_seconds, now) {
                    return false;
                }
                // While a sender changes its secret it sends a part for each.
                let macs: Vec<Vec<u8>> = parts()
                    .filter(|(name, _)| *name == part.as_str())
                    .filter_map(|(_, mac)| encoding.read(mac))
                    .collect();
                any(&|secret| macs.iter().any(|mac| is_mac(secret, &[time.as_bytes(), b".", body], mac)))
            }
        }
    }
}

impl Encoding {
    fn read(self, text: &str) -> Option<Vec<u8>> {
        match self {
            Encoding::Base64 => STANDARD.decode(text).ok(),
            Encoding::Hex => {
                let digit = |byte: u8| char::from(byte).to_digit(16);
                let pair = |pair: &[u8]| Some((digit(pair[0])? << 4 | digit(*pair.get(1)?)?) as u8);
                text.as_bytes().chunks(2).map(pair).collect()
            }
        }
    }
}

fn is_recent(time: &str, tolerance_seconds: i64, now: Time) -> bool {
    let time = time.parse::<i64>().ok().and_then(|number| Time::since_epoch(number as f64));
    time.is_some_and(|time| now.seconds().abs_diff(time.seconds()) <= tolerance_seconds.unsigned_abs())
}

fn is_mac(secret: &str, parts: &[&[u8]], mac: &[u8]) -> bool {
    let Ok(mut own) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else { return false };
    parts.iter().for_each(|part| own.update(part));
    own.verify_slice(mac).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"type":"paid"}"#;
    const NOW: Time = Time::from_micros(1_772_615_702_114_000);

    fn mac(secret: &str, text: &[u8]) -> Vec<u8> {
        let mut own = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        own.update(text);
        own.finalize().into_bytes().to_vec()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn a_mac_of_the_body_is_proof_behind_its_prefix() {
        let scheme = Scheme::Body { encoding: Encoding::Hex, prefix: "sha256=".to_owned() };
        let signature = Signature { header: "x-hub-signature-256".to_owned(), scheme };
        let proof = format!("sha256={}", hex(&mac("secret", BODY)));
        let does = |proof: &str, body: &[u8], secrets: &[&str]| signature.is_proof(proof, body, secrets, NOW);
        assert!(does(&proof, BODY, &["secret"]) && does(&proof, BODY, &["new", "secret"]), "D-SRC-02");
        assert!(!does(&proof, b"{}", &["secret"]), "another body");
        assert!(!does(&proof, BODY, &["other"]) && !does(&proof, BODY, &[]), "another secret, and none");
        assert!(!does(&proof.replace("sha256=", ""), BODY, &["secret"]), "without its prefix");
        assert!(!does("sha256=xyz", BODY, &["secret"]) && !does("", BODY, &["secret"]));
        assert!(!does(&format!("sha256={}", hex(&mac("", BODY))), BODY, &[""]), "an empty secret is none");
        // The published example of RFC 4231, case 2.
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(does(&format!("sha256={known}"), b"what do ya want for nothing?", &["Jefe"]));
    }

    #[test]
    fn a_timestamped_mac_is_proof_for_some_minutes() {
        let signature = Signature::default();
        let proof = |time: i64, part: &str| {
            let mac = mac("secret", &[time.to_string().as_bytes(), b".", BODY].concat());
            format!("t={time},{part}={}", STANDARD.encode(mac))
        };
        let does = |proof: &str| signature.is_proof(proof, BODY, &["secret"], NOW);
        let (millis, seconds) = (NOW.micros() / 1_000, NOW.seconds());
        assert!(does(&proof(millis, "s")) && does(&proof(seconds, "s")), "D-WHK-05");
        assert!(does(&proof(seconds - 300, "s")) && does(&proof(seconds + 300, "s")));
        assert!(
            !does(&proof(seconds - 301, "s")) && !does(&proof(seconds + 301, "s")),
            "D-WHK-05: old, or from tomorrow"
        );
        assert!(!does(&proof(seconds, "v1")) && !does("t=1,s=") && !does("s=x") && !does("t=now,s=x"));
        let stripe = Scheme::Timestamped { encoding: Encoding::Hex, part: "v1".to_owned(), tolerance_seconds: 300 };
        let stripe = Signature { header: "stripe-signature".to_owned(), scheme: stripe };
        let own = hex(&mac("secret", &[seconds.to_string().as_bytes(), b".", BODY].concat()));
        assert!(stripe.is_proof(&format!("t={seconds}, v1={}, v1={own}", "00".repeat(32)), BODY, &["secret"], NOW));
    }

    #[test]
    fn a_token_is_proof_by_itself() {
        let signature = Signature { header: "x-webhook-secret".to_owned(), scheme: Scheme::Token };
        assert!(signature.is_proof("secret", BODY, &["old", "secret"], NOW));
        assert!(!signature.is_proof("secre", BODY, &["secret"], NOW) && !signature.is_proof("", BODY, &[""], NOW));
    }
}
