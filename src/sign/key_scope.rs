//! What a secret key is limited to, if it is: some operations, some tenants. Our own: Knock's secret keys do everything.

use serde::{Deserialize, Serialize};

use super::refusal::Refusal;

/// The word for every operation that only reads.
pub const READ: &str = "read";

/// The limits of a key; what has none of them is no scope at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyScope {
    /// Ids of operations as the API's description has them, or [`READ`]; empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub operations: Vec<String>,
    /// Ids of tenants; empty: whatever the tenant, and none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tenants: Vec<String>,
}

impl KeyScope {
    /// Whether there is no limit.
    pub fn is_unlimited(&self) -> bool {
        self.operations.is_empty() && self.tenants.is_empty()
    }

    /// Whether it has tenants that it is limited to.
    pub fn has_tenants(&self) -> bool {
        !self.tenants.is_empty()
    }

    /// Refuses an operation that the key is not for; `is_read` if it changes nothing.
    pub fn require_operation(&self, operation: &str, is_read: bool) -> Result<(), Refusal> {
        let fits = |word: &String| word == operation || (is_read && word == READ);
        if self.operations.is_empty() || self.operations.iter().any(fits) {
            return Ok(());
        }
        Err(Refusal::forbidden(format!("This key is limited to some operations; `{operation}` is none of them.")))
    }

    /// Refuses whatever belongs to another tenant, or to none.
    pub fn require_tenant(&self, tenant: Option<&str>) -> Result<(), Refusal> {
        match tenant {
            _ if !self.has_tenants() => Ok(()),
            Some(tenant) if self.tenants.iter().any(|known| known == tenant) => Ok(()),
            Some(tenant) => {
                Err(Refusal::forbidden(format!("This key is limited to tenants; `{tenant}` is none of them.")))
            }
            None => Err(Refusal::forbidden("This key is limited to tenants, and this belongs to none of them.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_lets_through_what_it_names() {
        let scope = KeyScope { operations: vec!["triggerWorkflow".into(), READ.into()], tenants: Vec::new() };
        assert!(scope.require_operation("triggerWorkflow", false).is_ok());
        assert!(scope.require_operation("listUsers", true).is_ok());
        assert!(scope.require_operation("deleteUser", false).is_err());
        assert!(scope.require_tenant(None).is_ok() && scope.require_tenant(Some("north")).is_ok());
        let scope = KeyScope { operations: Vec::new(), tenants: vec!["north".into()] };
        assert!(scope.require_operation("deleteUser", false).is_ok());
        assert!(scope.require_tenant(Some("north")).is_ok());
        assert!(scope.require_tenant(Some("south")).is_err() && scope.require_tenant(None).is_err());
        assert!(KeyScope::default().is_unlimited() && !scope.is_unlimited());
    }
}
