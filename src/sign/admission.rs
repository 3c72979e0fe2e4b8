//! Who has to show a user token, and whether it counts: the same for requests and sockets (F-SOC-04).

use super::api_key::Kind;
use super::key_ring::KeyRing;
use super::refusal::{Code, Refusal};
use super::user_token::{Claims, verify};
use crate::model::time::Time;

/// What an environment demands of user tokens.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// Whether every call with a public key must show a user token (*enhanced security*).
    pub is_enhanced: bool,
    /// The keys that sign them.
    pub keys: KeyRing,
}

impl Demand {
    /// Judges the user token beside a key. `None`: there is none that counts, and none is needed.
    ///
    /// `claimed_user` is whom the request names, see [`verify`].
    pub fn admit(
        &self,
        kind: Kind,
        token: Option<&str>,
        claimed_user: Option<&str>,
        now: Time,
    ) -> Result<Option<Claims>, Refusal> {
        if kind == Kind::Secret {
            // Whoever holds a secret key needs no user's leave: the token is not even read (F-AUT-05).
            return Ok(None);
        }
        let token = token.map(str::trim).filter(|token| !token.is_empty());
        match (token, self.keys.is_empty()) {
            (_, true) if self.is_enhanced => Err(Refusal::new(
                Code::MissingJwtSigningKey,
                "Enhanced security is on, but the environment has no signing key: make one.",
            )),
            (None, _) if self.is_enhanced => Err(Refusal::new(
                Code::MissingUserToken,
                "Enhanced security is on: send a user token as `X-Knock-User-Token`, on a socket as `user_token`.",
            )),
            (None, _) | (Some(_), true) => Ok(None),
            (Some(token), false) => verify(token, claimed_user, &self.keys, now).map(Some),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sign::issue::sign_hs256;
    use crate::sign::key_ring::{Material, SigningKey};

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: Time = Time::from_micros(1_790_000_000_000_000);

    fn demand(is_enhanced: bool, has_key: bool) -> Demand {
        let key = SigningKey { kid: None, material: Material::Hs256(SECRET.to_vec()) };
        let keys = if has_key { vec![key] } else { Vec::new() };
        Demand { is_enhanced, keys: KeyRing::new(&keys).unwrap() }
    }

    #[test]
    fn what_is_demanded_of_whom() {
        let good = sign_hs256(&json!({"sub": "ann"}), SECRET, None);
        let good = Some(good.as_str());
        let bad = Some("nonsense");
        let (pk, sk) = (Kind::Public, Kind::Secret);
        // kind, enhanced, has a key, token -> the user, or a refusal's code
        for (kind, is_enhanced, has_key, token, expected, rule) in [
            (sk, true, true, None, Ok(None), "F-AUT-05"),
            (sk, true, true, bad, Ok(None), "F-AUT-05 F-AMB-3"),
            (sk, true, false, good, Ok(None), "F-AUT-05 F-AMB-3"),
            (pk, false, true, None, Ok(None), "F-AUT-08"),
            (pk, false, false, None, Ok(None), "F-AUT-08"),
            (pk, false, true, good, Ok(Some("ann")), "F-AMB-3"),
            (pk, false, true, bad, Err(Code::InvalidUserToken), "F-AMB-3"),
            (pk, false, false, bad, Ok(None), "F-AMB-3"),
            (pk, true, true, None, Err(Code::MissingUserToken), "F-AUT-09"),
            (pk, true, true, Some(""), Err(Code::MissingUserToken), "F-AUT-09"),
            (pk, true, true, good, Ok(Some("ann")), "F-AUT-09"),
            (pk, true, true, bad, Err(Code::InvalidUserToken), "F-AUT-11"),
            (pk, true, false, None, Err(Code::MissingJwtSigningKey), "F-AUT-10"),
            (pk, true, false, good, Err(Code::MissingJwtSigningKey), "F-AUT-10"),
        ] {
            let admitted = demand(is_enhanced, has_key).admit(kind, token, None, NOW);
            let admitted = admitted.map(|claims| claims.map(|claims| claims.sub)).map_err(|refusal| refusal.code);
            assert_eq!(admitted, expected.map(|user| user.map(str::to_owned)), "{rule} F-SOC-04");
        }
    }
}
