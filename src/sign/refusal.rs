//! Why someone is not let in.

use std::borrow::Cow;

/// A refusal: a code for programs and a sentence for their makers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The code, which also gives the status.
    pub code: Code,
    /// What is wrong and what to change.
    pub message: Cow<'static, str>,
}

impl Refusal {
    /// Refuses with this code and sentence.
    pub fn new(code: Code, message: impl Into<Cow<'static, str>>) -> Self {
        Refusal { code, message: message.into() }
    }

    /// Says that the user token is not good.
    pub fn token(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::InvalidUserToken, message)
    }

    /// Says that the caller is known but may not do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Refusal::new(Code::Authorization, message)
    }
}

/// The codes of refusals (F-AMB-10); all of the type `authentication_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// The key is unknown, revoked, not a key at all, or of another API.
    AuthenticationRequired,
    /// No key was sent.
    ApiKeyMissing,
    /// The key is no longer valid.
    ApiKeyExpired,
    /// A public key was sent where a secret one is needed, or the reverse.
    IncorrectTokenType,
    /// The user token is malformed, expired or not signed by a key of the environment.
    InvalidUserToken,
    /// A user token is needed and none was sent.
    MissingUserToken,
    /// User tokens are needed, but the environment has no key to check them with.
    MissingJwtSigningKey,
    /// The caller is known but may not do this.
    Authorization,
}

impl Code {
    /// The code as it is spelled in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::AuthenticationRequired => "authentication_required",
            Code::ApiKeyMissing => "api_key_missing",
            Code::ApiKeyExpired => "api_key_expired",
            Code::IncorrectTokenType => "incorrect_token_type",
            Code::InvalidUserToken => "invalid_user_token",
            Code::MissingUserToken => "missing_user_token",
            Code::MissingJwtSigningKey => "missing_jwt_signing_key",
            Code::Authorization => "authorization",
        }
    }

    /// The HTTP status: 403 for those we know but do not let, 401 for all others.
    pub fn status(self) -> u16 {
        match self {
            Code::Authorization => 403,
            _ => 401,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_those_we_know_are_forbidden_all_others_are_unauthorised() {
        assert_eq!((Code::Authorization.as_str(), Code::Authorization.status()), ("authorization", 403), "F-AUT-04");
        for (code, spelled) in [
            (Code::AuthenticationRequired, "authentication_required"),
            (Code::ApiKeyMissing, "api_key_missing"),
            (Code::ApiKeyExpired, "api_key_expired"),
            (Code::IncorrectTokenType, "incorrect_token_type"),
            (Code::InvalidUserToken, "invalid_user_token"),
            (Code::MissingUserToken, "missing_user_token"),
            (Code::MissingJwtSigningKey, "missing_jwt_signing_key"),
        ] {
            assert_eq!((code.as_str(), code.status()), (spelled, 401), "F-AMB-10 F-AUT-03");
        }
    }
}
