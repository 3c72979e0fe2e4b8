//! Recipients of either kind: whether they are still there.

use serde_json::{Value, json};

use super::Env;
use super::db::Batch;
use crate::model::recipient::{Object, User};
use crate::params;

impl Batch {
    /// Adds that these users and objects must still be there, and be the same: refused when one was deleted since it was
    /// read, even if another of its name was made.
    pub fn require_recipients<'a>(
        &mut self,
        env: Env,
        users: impl Iterator<Item = &'a User>,
        objects: impl Iterator<Item = &'a Object>,
    ) {
        let users: Vec<&User> = users.collect();
        if let [user] = users[..] {
            // Most triggers: a list of one costs more than looking.
            self.require(
                "SELECT 1 FROM users WHERE env = ?1 AND id = ?2 AND inserted_at = ?3",
                params![env, &user.id, user.inserted_at],
            );
        } else if !users.is_empty() {
            let users = users.iter().map(|user| json!([user.id, user.inserted_at.micros()])).collect();
            self.require(
                "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM json_each(?2) j WHERE NOT EXISTS (SELECT 1 FROM users \
                 WHERE env = ?1 AND id = j.value ->> 0 AND inserted_at = j.value ->> 1))",
                params![env, &Value::Array(users)],
            );
        }
        let named = |object: &Object| json!([object.collection, object.id, object.inserted_at.micros()]);
        let objects: Vec<Value> = objects.map(named).collect();
        if !objects.is_empty() {
            self.require(
                "SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM json_each(?2) j WHERE NOT EXISTS (SELECT 1 FROM objects \
                 WHERE env = ?1 AND collection = j.value ->> 0 AND id = j.value ->> 1 AND inserted_at = j.value ->> 2))",
                params![env, &Value::Array(objects)],
            );
        }
    }
}
