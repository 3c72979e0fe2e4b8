//! Page tokens: who holds one may see one page of one user, without a key and without logging in (F-PCC-05).

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;

use super::issue::{hmac, sign_hs256};
use crate::model::invalid::Invalid;
use crate::model::recipient::User;
use crate::model::time::Time;

/// What a token opens. None opens anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The page of preferences.
    Preferences,
    /// The end of commercial messages, with one click (F-PCC-10).
    Unsubscribe,
}

impl Purpose {
    /// The audience of its tokens.
    fn as_str(self) -> &'static str {
        match self {
            Purpose::Preferences => "preference_center",
            Purpose::Unsubscribe => "commercial_unsubscribe",
        }
    }
}

/// Whom a token is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The user's id.
    pub user: String,
    /// When that user came: another who comes later under the same id is not meant.
    pub since: Time,
}

impl Holder {
    /// The user, as they are now.
    pub fn of(user: &User) -> Self {
        Holder { user: user.id.clone(), since: user.inserted_at }
    }
}

/// What signs page tokens, and nothing else.
#[derive(Clone)]
pub struct PageKey {
    pub kid: String,
    secret: Vec<u8>,
}

impl PageKey {
    /// A new key. Its randomness is drawn here, as with key pairs.
    pub fn generate() -> Result<PageKey, Invalid> {
        let mut bytes = [0; 36];
        rand::fill(&mut bytes).map_err(|_| Invalid::new("", "The system gives no random bytes."))?;
        let (name, secret) = bytes.split_at(4);
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(PageKey { kid: format!("page-{name}"), secret: secret.to_vec() })
    }

    /// Reads a key as it is kept.
    pub fn read(kid: &str, material: &str) -> Option<PageKey> {
        let secret = URL_SAFE_NO_PAD.decode(material).ok().filter(|secret| secret.len() >= 32)?;
        Some(PageKey { kid: kid.to_owned(), secret })
    }

    /// The key as it is kept.
    pub fn material(&self) -> String {
        URL_SAFE_NO_PAD.encode(&self.secret)
    }

    /// What signs for one audience: a token of another has another signature.
    fn of(&self, audience: &str) -> [u8; 32] {
        hmac(&self.secret, format!("bellwire page {audience}").as_bytes())
    }

    /// What this key alone makes of some bytes, for one audience.
    pub(super) fn digest(&self, audience: &str, bytes: &[u8]) -> [u8; 32] {
        hmac(&self.of(audience), bytes)
    }

    /// A token that never ends; the same each time.
    pub(super) fn sign_claims(&self, audience: &str, claims: &Value) -> String {
        sign_hs256(claims, &self.of(audience), Some(&self.kid))
    }

    /// What a token says, if this key has signed it for the audience.
    pub(super) fn verify_claims(&self, audience: &str, token: &str) -> Option<Value> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        let expected = hmac(&self.of(audience), signed.as_bytes());
        // What the header says of algorithms is not asked: only we sign, and only so.
        if !bool::from(expected[..].ct_eq(&signature)) {
            return None;
        }
        let claims = part(signed.split_once('.')?.1)?;
        claims.get("aud").is_some_and(|aud| aud == audience).then_some(claims)
    }

    /// A token, a JWT that never ends; the same each time.
    pub fn sign(&self, purpose: Purpose, holder: &Holder) -> String {
        let claims = json!({"aud": purpose.as_str(), "since": holder.since.micros(), "sub": holder.user});
        self.sign_claims(purpose.as_str(), &claims)
    }

    /// Whom a token is about, if this key has signed it for the purpose.
    pub fn verify(&self, purpose: Purpose, token: &str) -> Option<Holder> {
        let claims = self.verify_claims(purpose.as_str(), token)?;
        let since = Time::from_micros(claims.get("since")?.as_i64()?);
        let user = claims.get("sub")?.as_str()?.to_owned();
        Some(Holder { user, since })
    }
}

/// The name of the key that a token says it was signed with; nothing of it is believed yet.
pub fn claimed_key(token: &str) -> Option<String> {
    let header = part(token.split_once('.')?.0)?;
    header.get("kid")?.as_str().map(str::to_owned)
}

fn part(text: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(user: &str) -> Holder {
        Holder { user: user.to_owned(), since: Time::from_micros(7) }
    }

    fn key(byte: u8) -> PageKey {
        PageKey { kid: "page-1".to_owned(), secret: vec![byte; 32] }
    }

    #[test]
    fn a_token_opens_what_it_was_made_for() {
        let ann = holder("a@b.c/ü");
        let token = key(1).sign(Purpose::Preferences, &ann);
        assert_eq!(key(1).verify(Purpose::Preferences, &token), Some(ann.clone()), "F-PCC-05");
        assert_eq!(claimed_key(&token).as_deref(), Some("page-1"));
        assert_eq!(key(1).sign(Purpose::Preferences, &ann), token, "F-PCC-05: the same each time");
        assert!(
            token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
            "F-PCC-05: as a path"
        );
        assert_eq!(key(2).verify(Purpose::Preferences, &token), None, "another key");
        assert_eq!(key(1).verify(Purpose::Unsubscribe, &token), None, "another purpose");
        // Not even if the key of one purpose were used for the claims of the other.
        let claims = json!({"aud": "commercial_unsubscribe", "since": 7, "sub": "ann"});
        let mixed = sign_hs256(&claims, &key(1).of(Purpose::Preferences.as_str()), Some("page-1"));
        assert_eq!(key(1).verify(Purpose::Preferences, &mixed), None, "another audience");
        let plain =
            sign_hs256(&json!({"aud": "preference_center", "since": 7, "sub": "ann"}), &[1; 32], Some("page-1"));
        assert_eq!(key(1).verify(Purpose::Preferences, &plain), None, "the key itself signs nothing");
    }

    #[test]
    fn what_is_changed_or_cut_opens_nothing() {
        let token = key(1).sign(Purpose::Preferences, &holder("ann"));
        let parts: Vec<&str> = token.split('.').collect();
        let other = URL_SAFE_NO_PAD.encode(r#"{"aud":"preference_center","since":7,"sub":"bob"}"#);
        let none = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT","kid":"page-1"}"#);
        for bad in [
            format!("{}.{other}.{}", parts[0], parts[2]),
            format!("{none}.{}.{}", parts[1], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{}.{}", parts[0], parts[1]),
            format!("{}.{}.{}", parts[0], parts[1], &parts[2][..40]),
            String::new(),
            "..".to_owned(),
            "ü.ü.ü".to_owned(),
        ] {
            assert_eq!(key(1).verify(Purpose::Preferences, &bad), None, "{bad}");
        }
    }

    #[test]
    fn a_key_is_kept_and_read_again() {
        let made = PageKey::generate().unwrap();
        let read = PageKey::read(&made.kid, &made.material()).unwrap();
        let token = made.sign(Purpose::Unsubscribe, &holder("ann"));
        assert_eq!(read.verify(Purpose::Unsubscribe, &token), Some(holder("ann")));
        assert_ne!(PageKey::generate().unwrap().material(), made.material());
        assert!(PageKey::read("page-1", "c2hvcnQ").is_none(), "too short to be one");
    }
}
