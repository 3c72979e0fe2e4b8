//! Recipients of either kind: who they are, and whether they are still there.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::Env;
use super::db::{Batch, Error, Store};
use crate::model::recipient::{Object, Recipient, RecipientRef, User};
use crate::model::time::Time;
use crate::params;

impl Store {
    /// Those of these recipients who are there, by their keys.
    pub async fn recipients(&self, env: Env, keys: &[String]) -> Result<HashMap<String, Recipient>, Error> {
        let (mut users, mut out) = (Vec::new(), HashMap::new());
        for key in keys {
            match RecipientRef::from_key(key) {
                RecipientRef::User(_) => users.push(key.as_str()),
                RecipientRef::Object { collection, id } => {
                    let found = self.object(env, &collection, &id).await?;
                    out.extend(found.map(|object| (key.clone(), Recipient::Object(object))));
                }
            }
        }
        if !users.is_empty() {
            let found = self.users_by_ids(env, &users).await?;
            out.extend(found.into_iter().map(|user| (user.id.clone(), Recipient::User(user))));
        }
        Ok(out)
    }
}

impl Batch {
    /// Adds that the recipient must be as it was when it was last changed at `before`; none: not there.
    pub fn require_as_it_was(&mut self, env: Env, reference: &RecipientRef, before: Option<Time>) {
        let (table, names, mut params) = match reference {
            RecipientRef::User(id) => ("users", "id = ?2", params![env, id]),
            RecipientRef::Object { collection, id } => {
                ("objects", "collection = ?2 AND id = ?3", params![env, collection, id])
            }
        };
        let found = format!("SELECT 1 FROM {table} WHERE env = ?1 AND {names}");
        match before {
            Some(before) => {
                params.push(before.into());
                self.require(format!("{found} AND updated_at = ?{} /* hold as it is */", params.len()), params);
            }
            None => self.require(format!("SELECT 1 WHERE NOT EXISTS ({found})"), params),
        }
    }

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
                "SELECT 1 FROM users WHERE env = ?1 AND id = ?2 AND inserted_at = ?3 /* hold */",
                params![env, &user.id, user.inserted_at],
            );
        } else if !users.is_empty() {
            let list: Vec<Value> = users.iter().map(|user| json!([user.id, user.inserted_at.micros()])).collect();
            self.require(
                "SELECT 1 WHERE ?3 = (SELECT count(*) FROM (SELECT 1 FROM json_each(?2) j CROSS JOIN users u \
                 WHERE u.env = ?1 AND u.id = j.value ->> 0 AND u.inserted_at = CAST(j.value ->> 1 AS BIGINT) /* hold: u */) there)",
                params![env, &Value::Array(list), users.len()],
            );
        }
        let named = |object: &Object| json!([object.collection, object.id, object.inserted_at.micros()]);
        let objects: Vec<Value> = objects.map(named).collect();
        if !objects.is_empty() {
            let many = objects.len();
            self.require(
                "SELECT 1 WHERE ?3 = (SELECT count(*) FROM (SELECT 1 FROM json_each(?2) j CROSS JOIN objects o \
                 WHERE o.env = ?1 AND o.collection = j.value ->> 0 AND o.id = j.value ->> 1 AND o.inserted_at = CAST(j.value ->> 2 AS BIGINT) /* hold: o */) there)",
                params![env, &Value::Array(objects), many],
            );
        }
    }
}
