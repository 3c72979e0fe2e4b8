//! Who asks: the key in `Authorization`, and the user token beside it (F-AUT-01 to F-AUT-18).

use hyper::header::{AUTHORIZATION, HeaderMap};

use super::Face;
use super::error::ApiError;
use super::router::{Keys, Params, Route, Verb};
use crate::sign::access::{Access, Grant};
use crate::sign::api_key::{ApiKey, Kind};
use crate::sign::refusal::{Code, Refusal};
use crate::verbs::door::{Barred, Caller};

const USER_TOKEN: &str = "x-knock-user-token";

/// Lets the caller in to `route`, or says why not.
pub(crate) async fn admit(
    face: &Face,
    route: &Route,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Caller, ApiError> {
    let key = api_key(headers)?;
    let token = headers.get(USER_TOKEN).map(|value| value.to_str().unwrap_or("?"));
    let user = params.get("user_id");
    let is_wrong_kind = key.kind() == Kind::Public && route.keys == Keys::Secret;
    let caller = match face.core.admit(&key, token, user).await {
        // A token would not help: say what would.
        Err(Barred::Refused(refusal)) if is_wrong_kind && is_about_token(refusal.code) => return Err(wrong_kind()),
        other => other?.caller,
    };
    if is_wrong_kind {
        return Err(wrong_kind());
    }
    let is_write = route.verb != Verb::Get;
    if let Some(scope) = &caller.scope {
        scope.require_operation(route.operation, !is_write)?;
    }
    if face.settings.public_writes_need_token && is_write && caller.kind == Kind::Public && caller.claims.is_none() {
        let message = "Writes with a public key need a user token here: send one as `X-Knock-User-Token`.";
        return Err(Refusal::new(Code::MissingUserToken, message).into());
    }
    if let Some(grant) = route.grant.filter(|_| caller.kind == Kind::Public) {
        match (route.keys, caller.access()) {
            (Keys::Granted, access) => require_object(grant, access, params)?,
            // Where the path names no user, the token must give the right to its own user at least.
            (_, Some(access)) => access.require_user(grant, user.unwrap_or(access.user()))?,
            (_, None) => {}
        }
    }
    Ok(caller)
}

/// F-GRN-09: what a token does not name is closed, and so is everything without a token.
fn require_object(grant: Grant, access: Option<&Access>, params: &Params) -> Result<(), Refusal> {
    let grant_name = grant.as_str();
    let Some(access) = access else {
        let message = format!("With a public key this needs a user token that gives `{grant_name}` on the object.");
        return Err(Refusal::new(Code::MissingUserToken, message));
    };
    match (params.get("collection"), params.get("object_id")) {
        (Some(collection), Some(id)) if !access.allows_object(grant, collection, id) => {
            Err(Refusal::forbidden(format!("The user token does not give `{grant_name}` on this object.")))
        }
        _ => Ok(()),
    }
}

fn api_key(headers: &HeaderMap) -> Result<ApiKey, ApiError> {
    let Some(value) = headers.get(AUTHORIZATION) else {
        let message = "No API key was sent: send `Authorization: Bearer <api key>`.";
        return Err(Refusal::new(Code::ApiKeyMissing, message).into());
    };
    let word = value.to_str().ok().and_then(bearer).ok_or_else(|| {
        Refusal::new(Code::AuthenticationRequired, "The header must read `Authorization: Bearer <api key>`.")
    })?;
    Ok(ApiKey::parse(word)?)
}

fn bearer(value: &str) -> Option<&str> {
    let (scheme, word) = value.trim().split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| word.trim())
}

fn is_about_token(code: Code) -> bool {
    matches!(code, Code::MissingUserToken | Code::InvalidUserToken | Code::MissingJwtSigningKey)
}

/// F-AUT-07, F-AMB-2.
pub(crate) fn wrong_kind() -> ApiError {
    let message = "This needs a secret key (`sk_..`), which must never leave your servers; a public key was sent.";
    Refusal::new(Code::IncorrectTokenType, message).into()
}
