//! Who is told: a user, or an object.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::time::Time;

/// The collection that holds tenants (F-TEN-01).
pub const TENANTS: &str = "$tenants";

/// A reference to a user or an object (F-REC-01).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecipientRef {
    /// A user by id.
    User(String),
    /// An object by collection and id.
    Object { collection: String, id: String },
}

impl RecipientRef {
    /// The name under which rows know the recipient: a user's id, or `#collection#id`.
    pub fn key(&self) -> String {
        match self {
            RecipientRef::User(id) => id.clone(),
            RecipientRef::Object { collection, id } => format!("#{collection}#{id}"),
        }
    }

    /// Reads the name under which rows know a recipient.
    pub fn from_key(key: &str) -> Self {
        match key.strip_prefix('#').and_then(|rest| rest.split_once('#')) {
            Some((collection, id)) => RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() },
            None => RecipientRef::User(key.to_owned()),
        }
    }

    /// The user's id, if this is a user.
    pub fn user_id(&self) -> Option<&str> {
        match self {
            RecipientRef::User(id) => Some(id),
            RecipientRef::Object { .. } => None,
        }
    }

    /// The id within its kind.
    pub fn id(&self) -> &str {
        match self {
            RecipientRef::User(id) | RecipientRef::Object { id, .. } => id,
        }
    }
}

impl fmt::Display for RecipientRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecipientRef::User(id) => f.write_str(id),
            RecipientRef::Object { collection, id } => write!(f, "{collection}/{id}"),
        }
    }
}

/// The compact form on the wire: a string, or `{"collection","id"}` (F-REC-07).
impl Serialize for RecipientRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            RecipientRef::User(id) => serializer.serialize_str(id),
            RecipientRef::Object { collection, id } => {
                json!({"id": id, "collection": collection}).serialize(serializer)
            }
        }
    }
}

/// Why an id cannot name a user, if it cannot (F-USR-02).
pub fn user_id_fault(id: &str) -> Option<&'static str> {
    if id.is_empty() || id.chars().count() > 256 {
        return Some("a user id has 1 to 256 characters");
    }
    if id.contains(['/', '#', '\0']) {
        return Some("a user id must not contain `/`, `#` or NUL");
    }
    None
}

/// Why a collection or object id cannot be used, if it cannot.
pub fn object_id_fault(text: &str) -> Option<&'static str> {
    if text.is_empty() || text.chars().count() > 256 {
        return Some("a collection or object id has 1 to 256 characters");
    }
    if text.contains(['#', '\0']) {
        return Some("a collection or object id must not contain `#` or NUL");
    }
    None
}

/// Why an id cannot name a tenant, if it cannot (W-TRG-24).
pub fn tenant_id_fault(id: &str) -> Option<&'static str> {
    if id.chars().any(char::is_whitespace) {
        return Some("a tenant id must not contain whitespace");
    }
    object_id_fault(id)
}

/// Why a collection and an id cannot name an object, if they cannot: which of both is wrong, and what about it.
pub fn object_fault(collection: &str, id: &str) -> Option<(&'static str, &'static str)> {
    let of_id = if collection == TENANTS { tenant_id_fault(id) } else { object_id_fault(id) };
    object_id_fault(collection).map(|fault| ("collection", fault)).or_else(|| of_id.map(|fault| ("id", fault)))
}

/// A stored user (F-USR-03): `properties` holds what the customer gave, reserved names included.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub id: String,
    pub properties: Map<String, Value>,
    pub inserted_at: Time,
    pub updated_at: Time,
}

impl User {
    /// The user on the wire: custom properties beside the system's, which are always there (F-USR-04, F-AMB-55).
    pub fn to_json(&self) -> Value {
        let mut out = Map::new();
        out.insert("__typename".to_owned(), "User".into());
        out.insert("id".to_owned(), self.id.as_str().into());
        for name in ["avatar", "created_at", "email", "name", "phone_number", "timezone"] {
            out.insert(name.to_owned(), Value::Null);
        }
        for (name, value) in &self.properties {
            out.insert(name.clone(), value.clone());
        }
        out.insert("updated_at".to_owned(), self.updated_at.to_string().into());
        Value::Object(out)
    }
}

impl User {
    /// What people call the user: the e-mail address, else the id (F-PCC-04).
    pub fn label(&self) -> &str {
        let email = self.properties.get("email").and_then(Value::as_str).map(str::trim);
        email.filter(|email| !email.is_empty()).unwrap_or(&self.id)
    }
}

/// A stored object (F-OBJ-01); tenants are objects in [`TENANTS`].
#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub collection: String,
    pub id: String,
    pub properties: Map<String, Value>,
    pub inserted_at: Time,
    pub updated_at: Time,
}

impl Object {
    /// What it is stored under, as a recipient.
    pub fn key(&self) -> String {
        RecipientRef::Object { collection: self.collection.clone(), id: self.id.clone() }.key()
    }

    /// The object on the wire, its properties nested (F-OBJ-05).
    pub fn to_json(&self) -> Value {
        json!({
            "__typename": "Object",
            "id": self.id,
            "collection": self.collection,
            "created_at": self.properties.get("created_at").cloned().unwrap_or_default(),
            "updated_at": self.updated_at,
            "properties": self.properties,
        })
    }

    /// The object as runs see it: properties beside the id (W-SCP-06, W-SCP-17).
    pub fn to_scope(&self) -> Value {
        let mut out = self.properties.clone();
        let typename = if self.collection == TENANTS { "Tenant" } else { "Object" };
        out.insert("__typename".to_owned(), typename.into());
        out.insert("id".to_owned(), self.id.as_str().into());
        if self.collection != TENANTS {
            out.insert("collection".to_owned(), self.collection.as_str().into());
        }
        out.insert("updated_at".to_owned(), self.updated_at.to_string().into());
        Value::Object(out)
    }
}

/// A stored recipient of either kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Recipient {
    User(User),
    Object(Object),
}

impl Recipient {
    /// The recipient as runs see it.
    pub fn to_scope(&self) -> Value {
        match self {
            Recipient::User(user) => user.to_json(),
            Recipient::Object(object) => object.to_scope(),
        }
    }

    /// The recipient on the wire.
    pub fn to_json(&self) -> Value {
        match self {
            Recipient::User(user) => user.to_json(),
            Recipient::Object(object) => object.to_json(),
        }
    }
}

/// What stands for a recipient who was never identified or has been deleted, as resources embed it (F-AMB-20).
pub fn missing(reference: &RecipientRef, at: Time) -> Value {
    match reference {
        RecipientRef::User(id) => missing_user(id, at),
        RecipientRef::Object { collection, id } => json!({
            "__typename": "MissingObject",
            "id": id,
            "collection": collection,
            "properties": {},
            "created_at": null,
            "updated_at": at,
        }),
    }
}

/// What stands for a user who was never identified or has been deleted (F-AMB-20).
pub fn missing_user(id: &str, at: Time) -> Value {
    json!({
        "__typename": "MissingUser",
        "id": id,
        "name": null,
        "email": null,
        "avatar": null,
        "phone_number": null,
        "timezone": null,
        "created_at": null,
        "updated_at": at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_name_recipients_and_give_them_back() {
        for reference in [
            RecipientRef::User("a:b@c".to_owned()),
            RecipientRef::Object { collection: "teams".to_owned(), id: "t#1".to_owned() },
        ] {
            assert_eq!(RecipientRef::from_key(&reference.key()), reference);
        }
    }

    #[test]
    fn tenants_are_objects_whose_ids_hold_no_whitespace_w_trg_24() {
        for bad in ["a b", "a\tb", "", "a#b"] {
            assert!(tenant_id_fault(bad).is_some(), "W-TRG-24 {bad:?}");
            assert_eq!(object_fault(TENANTS, bad).map(|(place, _)| place), Some("id"), "W-TRG-24 {bad:?}");
        }
        assert_eq!(
            (tenant_id_fault("acme"), object_fault(TENANTS, "acme"), object_fault("teams", "a b")),
            (None, None, None)
        );
        assert_eq!(object_fault("", "a").map(|(place, _)| place), Some("collection"));
    }

    #[test]
    fn user_ids_have_their_limits_f_usr_02() {
        assert!(user_id_fault("a|b:c+d@e").is_none());
        for bad in ["", "a/b", "a#b", "a\0b", &"x".repeat(257)] {
            assert!(user_id_fault(bad).is_some(), "F-USR-02 {bad:?}");
        }
    }
}
