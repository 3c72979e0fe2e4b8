//! Objects; tenants are objects in the collection `$tenants`.

use serde_json::Value;

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::recipient::Object;
use crate::model::time::Time;
use crate::params;

impl Store {
    /// One object.
    pub async fn object(&self, env: Env, collection: &str, id: &str) -> Result<Option<Object>, Error> {
        let sql =
            "SELECT properties, inserted_at, updated_at FROM objects WHERE env = ?1 AND collection = ?2 AND id = ?3";
        self.query_one(sql, &params![env, collection, id], |row| {
            Ok(Object {
                collection: collection.to_owned(),
                id: id.to_owned(),
                properties: row.json(0)?,
                inserted_at: row.time(1)?,
                updated_at: row.time(2)?,
            })
        })
        .await
    }
}

impl Batch {
    /// Adds an object as it now is; refused when it is no longer as it was `before` (none: not there).
    pub fn put_object(&mut self, env: Env, object: &Object, before: Option<Time>) {
        let (collection, id) = (object.collection.as_str(), object.id.as_str());
        let properties = Value::Object(object.properties.clone()).to_string();
        match before {
            None => self.guard(
                "INSERT INTO objects (env, collection, id, properties, inserted_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
                params![env, collection, id, properties, object.inserted_at, object.updated_at],
            ),
            Some(before) => self.guard(
                "UPDATE objects SET properties = ?4, updated_at = ?5 \
                 WHERE env = ?1 AND collection = ?2 AND id = ?3 AND updated_at = ?6",
                params![env, collection, id, properties, object.updated_at, before],
            ),
        }
    }
}
