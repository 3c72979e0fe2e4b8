//! A subscription: somebody follows an object, and is told when it is.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::recipient::RecipientRef;
use super::time::Time;

/// A stored subscription (F-SUB-01).
#[derive(Debug, Clone, PartialEq)]
pub struct Subscription {
    /// Its place among all of them, in the order in which they came.
    pub n: i64,
    pub object: RecipientRef,
    pub recipient: RecipientRef,
    pub properties: Option<Map<String, Value>>,
    pub inserted_at: Time,
    pub updated_at: Time,
}

impl Subscription {
    /// The subscription on the wire, with the records of both its ends (F-SUB-07).
    pub fn to_json(&self, object: &Value, recipient: &Value) -> Value {
        json!({
            "__typename": "Subscription",
            "object": object,
            "recipient": recipient,
            "properties": self.properties,
            "inserted_at": self.inserted_at,
            "updated_at": self.updated_at,
        })
    }
}

/// What a run keeps of the subscription that it came through (W-FAN-08).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// The key of the object that the recipient follows.
    pub object: String,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub properties: Map<String, Value>,
}

impl Followed {
    /// `recipient.subscription`: the properties, and the object beside them.
    pub fn to_scope(&self, object: Option<Value>) -> Value {
        let mut out = self.properties.clone();
        out.insert("object".to_owned(), object.unwrap_or_default());
        Value::Object(out)
    }
}
