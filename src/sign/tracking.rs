//! Tokens of tracked links and of pictures that tell that a message was opened: where they lead stands in them, so that they
//! do as long as the key is there, whatever has become of the message (F-TRK-04, F-TRK-08). Nobody else can make one, so
//! that they lead to nowhere but to what a message said.

use serde_json::{Value, json};

use super::page_token::PageKey;

/// How long the key of a short link is.
pub const SHORT: usize = 10;
const LETTERS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The audiences of the tokens.
const SHORT_LINK: &str = "tracked_short_link";
const LINK: &str = "tracked_link";
const OPENING: &str = "tracked_opening";

/// A link of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrackedLink {
    /// The message's id.
    pub message: String,
    /// Where it leads.
    pub url: String,
}

impl PageKey {
    /// The token of a link.
    pub fn sign_link(&self, message: &str, url: &str) -> String {
        self.sign_claims(LINK, &json!({"aud": LINK, "msg": message, "url": url}))
    }

    /// What a link's token says, if this key has signed it.
    pub fn verify_link(&self, token: &str) -> Option<TrackedLink> {
        let claims = self.verify_claims(LINK, token)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(TrackedLink { message: text("msg")?, url: text("url")? })
    }

    /// The key of a short link, which nobody guesses: the same each time (F-TRK-04).
    pub fn short_key(&self, link: &TrackedLink) -> String {
        let claims = json!([link.message, link.url]).to_string();
        let digest = self.digest(SHORT_LINK, claims.as_bytes());
        let mut number = u128::from_be_bytes(digest[..16].try_into().unwrap_or_default());
        let mut letter = || {
            let at = (number % LETTERS.len() as u128) as usize;
            number /= LETTERS.len() as u128;
            char::from(LETTERS[at])
        };
        (0..SHORT).map(|_| letter()).collect()
    }

    /// The token of a message's picture.
    pub fn sign_opening(&self, message: &str) -> String {
        self.sign_claims(OPENING, &json!({"aud": OPENING, "msg": message}))
    }

    /// The message whose picture has this token, if this key has signed it.
    pub fn verify_opening(&self, token: &str) -> Option<String> {
        self.verify_claims(OPENING, token)?.get("msg")?.as_str().map(str::to_owned)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::recipient::User;
    use crate::model::time::Time;
    use crate::sign::page_token::{Holder, Purpose, claimed_key};

    #[test]
    fn a_short_key_is_short_and_nobodys_guess() {
        let (key, other) = (PageKey::generate().unwrap(), PageKey::generate().unwrap());
        let link = |message: &str, url: &str| TrackedLink { message: message.to_owned(), url: url.to_owned() };
        let short = key.short_key(&link("m", "https://a.example"));
        assert!(short.len() == SHORT && short.bytes().all(|byte| byte.is_ascii_alphanumeric()), "F-TRK-04 {short}");
        assert_eq!(key.short_key(&link("m", "https://a.example")), short);
        for another in [
            key.short_key(&link("n", "https://a.example")),
            key.short_key(&link("m", "https://b.example")),
            other.short_key(&link("m", "https://a.example")),
        ] {
            assert_ne!(another, short, "F-TRK-04");
        }
    }

    #[test]
    fn a_token_says_what_was_signed_and_nothing_else() {
        let (key, other) = (PageKey::generate().unwrap(), PageKey::generate().unwrap());
        let url = "https://a.example/?x=1&y=%C3%BC#\"ü";
        let token = key.sign_link("m-1", url);
        let link = TrackedLink { message: "m-1".to_owned(), url: url.to_owned() };
        assert_eq!(key.verify_link(&token), Some(link), "F-TRK-04 D-TRK-13: byte for byte");
        assert_eq!(claimed_key(&token), Some(key.kid.clone()));
        assert_eq!(other.verify_link(&token), None, "F-TRK-04: another key");
        let opening = key.sign_opening("m-1");
        assert_eq!(key.verify_opening(&opening).as_deref(), Some("m-1"), "F-TRK-07");
        let user = User {
            id: "m-1".to_owned(),
            properties: Default::default(),
            inserted_at: Time::default(),
            updated_at: Time::default(),
        };
        let page = key.sign(Purpose::Preferences, &Holder::of(&user));
        for token in [&opening, &page] {
            assert_eq!(key.verify_link(token), None, "each is for one thing");
        }
        assert_eq!((key.verify_opening(&token), key.verify_opening(&page)), (None, None), "each is for one thing");
        let parts: Vec<&str> = token.split('.').collect();
        let elsewhere = key.sign_link("m-1", "https://evil.example");
        let forged = format!("{}.{}.{}", parts[0], elsewhere.split('.').nth(1).unwrap(), parts[2]);
        for forged in
            [forged, format!("{}.{}.", parts[0], parts[1]), format!("{}.{}", parts[0], parts[1]), String::new()]
        {
            assert_eq!(key.verify_link(&forged), None, "F-TRK-04: a link leads nowhere else: {forged}");
        }
    }
}
