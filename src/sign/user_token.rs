//! User tokens: which user a client acts for, and for how long.
//!
//! Three forms are accepted (they override F-AUT-11, which knows RS256 only):
//! - a JWT signed with HS256;
//! - a JWT signed with RS256, which is what Knock's server SDKs make;
//! - the bare HMAC-SHA-256 of the user's id, in lower-case hex or base64url, if the environment has a key for it. It
//!   never expires. Alone it belongs to the user that the request names (in its path, or as `user_id` in a socket's
//!   query); where no user is named, send `user_id.hmac`, which says itself whose it is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::access::Access;
use super::key_ring::{Algorithm, Key, KeyRing};
use super::refusal::Refusal;
use crate::model::time::Time;

/// How far apart the clocks of signer and server may be (F-AMB-58).
pub const LEEWAY_SECONDS: i64 = 60;

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// The user it was made for.
    pub sub: String,
    /// When it ends, leeway not included; `None`: never.
    pub exp: Option<Time>,
    /// What it lets its holder reach.
    pub access: Access,
    /// The name of the key that signed it.
    pub kid: Option<Arc<str>>,
}

impl Claims {
    /// The first instant at which the token is no longer good.
    pub fn ends_at(&self) -> Option<Time> {
        self.exp.map(|exp| exp.plus_seconds(LEEWAY_SECONDS))
    }
}

/// Checks a token in any of its forms. `claimed_user` is whom the request names, and only matters to a bare HMAC: that a
/// JWT was made for that user is for [`Access::require_user`] to say (F-AUT-15).
pub fn verify(token: &str, claimed_user: Option<&str>, keys: &KeyRing, now: Time) -> Result<Claims, Refusal> {
    match Jwt::split(token) {
        Some(jwt) => jwt.verify(keys, now),
        None => verify_bare(token, claimed_user, keys),
    }
}

/// A JWT taken apart, nothing of it believed yet.
struct Jwt<'a> {
    header: Header,
    /// What the signature covers.
    signed: &'a str,
    payload: &'a str,
    signature: &'a str,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Payload {
    sub: String,
    exp: Option<f64>,
    nbf: Option<f64>,
    iat: Option<f64>,
    explicit_grants: Option<bool>,
    grants: Option<Map<String, Value>>,
}

impl<'a> Jwt<'a> {
    /// Takes it apart if it is one: three parts, the first of which is a header.
    fn split(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        if payload.contains('.') {
            return None;
        }
        let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
        Some(Jwt { header, signed, payload, signature })
    }

    fn verify(self, keys: &KeyRing, now: Time) -> Result<Claims, Refusal> {
        let algorithm = match self.header.alg.as_str() {
            "HS256" => Algorithm::Hs256,
            "RS256" => Algorithm::Rs256,
            _ => return Err(Refusal::token("The user token's `alg` must be `HS256` or `RS256`.")),
        };
        if self.header.crit.is_some() {
            return Err(Refusal::token("The user token has a `crit` header, which is not understood."));
        }
        let kid = self.header.kid.as_deref();
        let signature = URL_SAFE_NO_PAD.decode(self.signature).ok();
        let signer = signature.and_then(|signature| keys.signer(algorithm, kid, self.signed.as_bytes(), &signature));
        let Some(signer) = signer else {
            return Err(Refusal::token("The user token is not signed by a key of this environment."));
        };
        let malformed = || Refusal::token("The user token's claims are malformed: `sub` is text, `exp` is seconds.");
        let payload = URL_SAFE_NO_PAD.decode(self.payload).map_err(|_| malformed())?;
        let claims = serde_json::from_slice::<Payload>(&payload).map_err(|_| malformed())?.check(now)?;
        Ok(Claims { kid: Option::clone(&signer.kid), ..claims })
    }
}

impl Payload {
    fn check(self, now: Time) -> Result<Claims, Refusal> {
        if self.sub.is_empty() {
            return Err(Refusal::token("The user token's `sub` is empty: it is the id of a user."));
        }
        let exp = self.exp.map(instant);
        if exp.is_some_and(|exp| now >= exp.plus_seconds(LEEWAY_SECONDS)) {
            return Err(Refusal::token("The user token has expired."));
        }
        let is_ahead = |claim: Option<f64>| claim.is_some_and(|at| instant(at) > now.plus_seconds(LEEWAY_SECONDS));
        if is_ahead(self.nbf) || is_ahead(self.iat) {
            return Err(Refusal::token("The user token is not good yet: compare the clock of the server that signs."));
        }
        let grants = self.grants.unwrap_or_default();
        let access = Access::new(&self.sub, self.explicit_grants.unwrap_or(false), &grants);
        Ok(Claims { sub: self.sub, exp, access, kid: None })
    }
}

/// A NumericDate; instants out of range are clamped.
fn instant(seconds: f64) -> Time {
    Time::from_micros((seconds * 1e6) as i64)
}

fn verify_bare(token: &str, claimed_user: Option<&str>, keys: &KeyRing) -> Result<Claims, Refusal> {
    if !keys.allows_bare_hmac() {
        return Err(Refusal::token("The user token is not a JWT, the only form that this environment accepts."));
    }
    let (user, mac) = match (token.rsplit_once('.'), claimed_user) {
        (Some((user, mac)), _) => (user, mac),
        (None, Some(user)) => (user, token),
        (None, None) => {
            return Err(Refusal::token("The user token does not say whose it is: send `user_id.hmac`."));
        }
    };
    let signer = mac_bytes(mac).filter(|_| !user.is_empty()).and_then(|mac| keys.signer_of_user(user, &mac));
    match signer {
        Some(Key { kid, .. }) => {
            let kid = Option::clone(kid);
            Ok(Claims { sub: user.to_owned(), exp: None, access: Access::implicit(user), kid })
        }
        None => Err(Refusal::token("The user token is neither a JWT nor the HMAC of the user's id.")),
    }
}

/// The 32 bytes spelled in lower-case hex or base64url.
fn mac_bytes(text: &str) -> Option<[u8; 32]> {
    match text.len() {
        64 => from_hex(text.as_bytes()),
        43 => URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok(),
        44 => URL_SAFE_NO_PAD.decode(text.strip_suffix('=')?).ok()?.try_into().ok(),
        _ => None,
    }
}

/// Upper case is refused: a token has one spelling in hex.
fn from_hex(text: &[u8]) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::sign::access::Grant;
    use crate::sign::issue::{bare_hmac, bare_token, sign_hs256, sign_rs256};
    use crate::sign::key_pair::generate;
    use crate::sign::key_ring::{Material, SigningKey};
    use crate::sign::refusal::Code;

    const OLD: &[u8] = b"an old secret of thirty-two bytes";
    const NEW: &[u8] = b"a new secret, which is long enough";
    const BARE: &[u8] = b"a secret for nothing but bare HMACs";
    const NOW: Time = Time::from_micros(1_790_000_000_000_000);

    fn key(kid: Option<&str>, material: Material) -> SigningKey {
        SigningKey { kid: kid.map(str::to_owned), material }
    }

    fn ring() -> KeyRing {
        KeyRing::new(&[
            key(Some("old"), Material::Hs256(OLD.to_vec())),
            key(Some("new"), Material::Hs256(NEW.to_vec())),
            key(None, Material::BareHmac(BARE.to_vec())),
        ])
        .unwrap()
    }

    fn jwt(claims: Value) -> Result<Claims, Refusal> {
        verify(&sign_hs256(&claims, NEW, None), None, &ring(), NOW)
    }

    /// A token whose header is this, signed as the header says or not at all.
    fn with_header(header: &Value) -> String {
        let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encode(header), encode(&json!({"sub": "ann"})));
        let mac: [u8; 32] = from_hex(bare_hmac(&signed, NEW).as_bytes()).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac))
    }

    fn is_refused(result: &Result<Claims, Refusal>) -> bool {
        matches!(result, Err(refusal) if refusal.code == Code::InvalidUserToken)
    }

    #[test]
    fn a_jwt_says_who_until_when_and_what() {
        let claims = jwt(json!({
            "sub": "ann", "iat": 1_790_000_000, "exp": 1_790_003_600, "jti": "x", "unknown": [1],
            "explicit_grants": true, "grants": {"https://api.knock.app/v1/users/ann": {"user/read": [{}]}},
        }))
        .unwrap();
        assert_eq!((claims.sub.as_str(), claims.exp), ("ann", Some(NOW.plus_seconds(3600))), "F-AUT-12 F-AUT-13");
        assert!(claims.access.allows_user(Grant::UserRead, "ann"), "F-AUT-12");
        assert!(!claims.access.allows_user(Grant::UserWrite, "ann"), "F-AUT-12 F-GRN-07");
        let least = jwt(json!({"sub": "ann"})).unwrap();
        assert_eq!((least.exp, least.access), (None, Access::implicit("ann")), "F-AUT-12 F-AUT-13 F-GRN-06");
        assert_eq!(jwt(json!({"sub": "ann", "exp": null, "grants": null})).unwrap().exp, None, "F-AUT-12");
    }

    #[test]
    fn claims_that_are_malformed_are_refused() {
        for claims in [
            json!({}),
            json!([]),
            json!("ann"),
            json!({"sub": ""}),
            json!({"sub": 7}),
            json!({"sub": null}),
            json!({"sub": "ann", "exp": "1790003600"}),
            json!({"sub": "ann", "explicit_grants": "yes"}),
            json!({"sub": "ann", "grants": []}),
        ] {
            assert!(is_refused(&jwt(claims.clone())), "F-AUT-12 {claims}");
        }
    }

    #[test]
    fn a_token_ends_a_minute_after_exp_and_not_before() {
        let exp = |seconds: f64| jwt(json!({"sub": "ann", "exp": 1_790_000_000.0 + seconds}));
        for seconds in [1.0, 0.0, -59.0, -59.5, 1e300] {
            assert!(exp(seconds).is_ok(), "F-AUT-13 F-AMB-58 {seconds}");
        }
        for seconds in [-60.0, -61.0, -3600.0, -1e300] {
            assert!(is_refused(&exp(seconds)), "F-AUT-13 F-AMB-58 {seconds}");
        }
        let claims = exp(0.0).unwrap();
        assert_eq!(claims.ends_at(), Some(NOW.plus_seconds(60)), "F-AMB-58");
    }

    #[test]
    fn a_token_from_the_future_is_refused() {
        for claim in ["nbf", "iat"] {
            let at = |seconds: i64| jwt(json!({"sub": "ann", claim: 1_790_000_000 + seconds}));
            assert!(at(60).is_ok() && at(-9_999).is_ok(), "F-AMB-58 {claim}");
            assert!(is_refused(&at(61)), "F-AMB-58 {claim}");
        }
    }

    #[test]
    fn a_key_can_be_rotated_with_no_token_refused() {
        let claims = json!({"sub": "ann"});
        for (secret, kid, is_good) in [
            (OLD, Some("old"), true),
            (NEW, Some("new"), true),
            (OLD, None, true),
            (NEW, None, true),
            (OLD, Some("new"), false),
            (NEW, Some("gone"), false),
            (BARE, None, false),
        ] {
            let verified = verify(&sign_hs256(&claims, secret, kid), None, &ring(), NOW);
            assert_eq!(verified.is_ok(), is_good, "DESIGN: several keys live at once, {kid:?}");
            let signer = verified.ok().and_then(|claims| claims.kid);
            let expected = is_good.then_some(if secret == OLD { "old" } else { "new" });
            assert_eq!(signer.as_deref(), expected, "it is known who signed, also where the token does not say");
        }
    }

    #[test]
    fn other_algorithms_are_refused() {
        assert!(verify(&with_header(&json!({"alg": "HS256"})), None, &ring(), NOW).is_ok());
        for alg in ["none", "None", "hs256", "HS384", "HS512", "RS256", "RS512", "ES256", "PS256", ""] {
            let token = with_header(&json!({"alg": alg, "typ": "JWT"}));
            assert!(is_refused(&verify(&token, None, &ring(), NOW)), "F-AUT-11 {alg}");
            let (unsigned, _) = token.rsplit_once('.').unwrap();
            assert!(is_refused(&verify(&format!("{unsigned}."), Some("ann"), &ring(), NOW)), "F-AUT-11 {alg}");
        }
        assert!(is_refused(&verify(&with_header(&json!({"alg": "HS256", "crit": ["b64"]})), None, &ring(), NOW)));
    }

    #[test]
    fn tokens_of_the_server_sdks_are_signed_with_rsa() {
        let (pair, other) = (generate().unwrap(), generate().unwrap());
        let public = pair.public_pem.clone().into_bytes();
        let keys = KeyRing::new(&[key(Some("rsa"), Material::Rs256(public.clone()))]).unwrap();
        let claims = json!({"sub": "ann", "iat": 1_790_000_000, "exp": 1_790_003_600});
        for private in [&pair.private_pem, &pair.private_base64] {
            for kid in [None, Some("rsa")] {
                let token = sign_rs256(&claims, private, kid).unwrap();
                assert_eq!(verify(&token, None, &keys, NOW).unwrap().sub, "ann", "F-AUT-11 F-AUT-14");
            }
        }
        let token = sign_rs256(&claims, &pair.private_pem, None).unwrap();
        for at in 0..token.len() {
            let mut changed = token.clone().into_bytes();
            changed[at] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(is_refused(&verify(&changed, None, &keys, NOW)), "F-AUT-11: byte {at} was changed");
        }
        let forged = sign_rs256(&claims, &other.private_pem, None).unwrap();
        assert!(is_refused(&verify(&forged, None, &keys, NOW)), "F-AUT-11");
        let confused = sign_hs256(&claims, &public, None);
        assert!(is_refused(&verify(&confused, None, &keys, NOW)), "the public key is no shared secret");
        assert!(is_refused(&verify(&bare_token("ann", &public), None, &keys, NOW)), "bare HMACs were not allowed");
        let library = {
            use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
            let key = EncodingKey::from_rsa_pem(pair.private_pem.as_bytes()).unwrap();
            encode(&Header::new(Algorithm::RS256), &claims, &key).unwrap()
        };
        assert_eq!(verify(&library, None, &keys, NOW).unwrap().sub, "ann", "F-AUT-11: another library's token");
    }

    #[test]
    fn the_bare_hmac_of_a_user_id_is_a_token_for_that_user() {
        let hex = bare_hmac("a.b", BARE);
        let word = URL_SAFE_NO_PAD.encode(from_hex(hex.as_bytes()).unwrap());
        for mac in [hex.clone(), word.clone(), format!("{word}=")] {
            let alone = verify(&mac, Some("a.b"), &ring(), NOW).unwrap();
            assert_eq!((alone.sub.as_str(), alone.exp), ("a.b", None), "DESIGN: user tokens");
            let named = verify(&format!("a.b.{mac}"), None, &ring(), NOW).unwrap();
            assert_eq!(named, alone);
            assert!(is_refused(&verify(&mac, Some("bob"), &ring(), NOW)), "F-AUT-15");
            assert!(is_refused(&verify(&mac, None, &ring(), NOW)), "it does not say whose it is");
            assert!(is_refused(&verify(&format!("bob.{mac}"), Some("a.b"), &ring(), NOW)), "F-AUT-15");
        }
        assert!(is_refused(&verify(&hex.to_uppercase(), Some("a.b"), &ring(), NOW)));
        let jwts_only = KeyRing::new(&[key(None, Material::Hs256(OLD.to_vec()))]).unwrap();
        assert!(is_refused(&verify(&bare_hmac("ann", OLD), Some("ann"), &jwts_only, NOW)), "must be allowed");
    }

    #[test]
    fn the_hmac_of_an_id_that_looks_like_a_jwt_is_no_jwt() {
        let victim = sign_hs256(&json!({"sub": "victim"}), BARE, None);
        let (id, _) = victim.rsplit_once('.').unwrap();
        assert!(is_refused(&verify(&victim, Some(id), &ring(), NOW)), "whoever chooses an id cannot be anyone else");
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for token in ["", ".", "..", "...", "a.b.c", "e30.e30.", "é", "pk_abc"] {
            assert!(is_refused(&verify(token, Some("ann"), &ring(), NOW)), "F-AUT-11 {token}");
            assert!(is_refused(&verify(token, None, &KeyRing::default(), NOW)), "F-AUT-11 {token}");
        }
    }

    proptest! {
        #[test]
        fn a_token_with_any_byte_changed_is_refused(at in any::<prop::sample::Index>(), byte in 0u8..128, form in 0..4) {
            let claims = json!({"sub": "ann", "exp": 1_790_003_600});
            let mut token = match form {
                0 => sign_hs256(&claims, NEW, Some("new")),
                1 => sign_hs256(&claims, NEW, None),
                2 => bare_token("ann", BARE),
                _ => format!("ann.{}", URL_SAFE_NO_PAD.encode(from_hex(bare_hmac("ann", BARE).as_bytes()).unwrap())),
            }
            .into_bytes();
            let at = at.index(token.len());
            prop_assume!(token[at] != byte);
            token[at] = byte;
            let token = String::from_utf8(token).unwrap();
            prop_assert!(is_refused(&verify(&token, None, &ring(), NOW)), "F-AUT-11 {}", token);
            prop_assert!(is_refused(&verify(&token, Some("ann"), &ring(), NOW)), "F-AUT-11 {}", token);
        }

        #[test]
        fn a_token_is_good_until_its_end(ahead in -200i64..200, micros in 0i64..1_000_000) {
            let now = NOW.plus_micros(micros);
            let token = sign_hs256(&json!({"sub": "ann", "exp": 1_790_000_000 + ahead}), NEW, None);
            let is_good = NOW.plus_seconds(ahead + LEEWAY_SECONDS) > now;
            prop_assert_eq!(verify(&token, None, &ring(), now).is_ok(), is_good, "F-AUT-13");
        }

        #[test]
        fn no_text_makes_it_panic(token in "[a-f0-9.=_é{}\"-]{0,80}") {
            prop_assert!(verify(&token, Some("ann"), &ring(), NOW).is_err());
        }
    }
}
