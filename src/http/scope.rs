//! Limited keys: whether what is asked belongs to a tenant of the key's (see `docs/extensions.md`).
//!
//! A route says where its requests name a tenant. A key that is limited to tenants opens these routes only, and only for
//! its tenants; and it makes and changes no recipients, who belong to no tenant.

use bytes::Bytes;
use serde_json::Value;

use super::body;
use super::error::ApiError;
use super::router::{Params, Route, TenantIn};
use crate::sign::refusal::Refusal;
use crate::verbs::door::Caller;
use crate::wire::query::Query;

/// What an inline recipient may have and still be no more than a reference (F-REC-03).
const OF_REFERENCE: [&str; 3] = ["id", "collection", "$trigger_data"];

/// Refuses what is not for this caller's key.
pub(crate) fn require(
    route: &Route,
    caller: &Caller,
    params: &Params,
    query: &Query,
    sent: &Bytes,
) -> Result<(), ApiError> {
    let Some(scope) = caller.scope.as_ref().filter(|scope| scope.has_tenants()) else { return Ok(()) };
    // Where a request names a tenant beside what it is about, that one counts as well.
    if let Some(tenant) = query.get("tenant") {
        scope.require_tenant(Some(tenant))?;
    }
    match route.tenant {
        None => Err(Refusal::forbidden("This key is limited to tenants, and this operation is about none.").into()),
        Some(TenantIn::Query) => Ok(scope.require_tenant(Some(named(query.get("tenant"), "query")?))?),
        Some(TenantIn::Path) => Ok(scope.require_tenant(params.get("id"))?),
        Some(TenantIn::Body) => {
            let sent = body::parse(sent)?;
            let tenant = &sent["tenant"];
            let tenant = tenant.as_str().or_else(|| tenant["id"].as_str());
            scope.require_tenant(Some(named(tenant, "body")?))?;
            let recipients = sent["recipients"].as_array().into_iter().flatten();
            match recipients.chain([&sent["actor"]]).all(is_reference) {
                true => Ok(()),
                false => Err(Refusal::forbidden(
                    "This key is limited to tenants, and identifies nobody: name recipients and the actor by their ids.",
                )
                .into()),
            }
        }
        // Looked at when the message is there.
        Some(TenantIn::Message) => Ok(()),
    }
}

/// The tenant that a request names, which it must.
fn named<'a>(tenant: Option<&'a str>, place: &str) -> Result<&'a str, Refusal> {
    let message = || format!("This key is limited to tenants: name one of them as `tenant` in the {place}.");
    tenant.ok_or_else(|| Refusal::forbidden(message()))
}

fn is_reference(recipient: &Value) -> bool {
    recipient.as_object().is_none_or(|members| members.keys().all(|name| OF_REFERENCE.contains(&name.as_str())))
}
