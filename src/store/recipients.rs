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

    /// Adds the removal of a recipient and of everything that is theirs (F-USR-12, F-OBJ-04, F-TEN-10); refused if there is
    /// no such recipient. An object's followers go with it (F-SUB-15).
    pub fn delete_recipient(&mut self, env: Env, reference: &RecipientRef) {
        const IN_THEIR_FEEDS: &str = "feed IN (SELECT id FROM feeds WHERE env = ?1 AND recipient = ?2)";
        const IN_NO_FEED: &str = "feed IS NULL AND env = ?1 AND recipient = ?2";
        const THEIR_RUNS: &str = "SELECT id FROM runs WHERE env = ?1 AND recipient = ?2";
        // A message that outlives its run still tells of what came together.
        let their_batches = format!(
            "SELECT id FROM batches WHERE run IN ({THEIR_RUNS}) AND recipient = ?2 UNION ALL SELECT batch FROM messages WHERE {IN_THEIR_FEEDS} \
             UNION ALL SELECT batch FROM messages WHERE {IN_NO_FEED} \
             UNION ALL SELECT id FROM batches WHERE is_open = 1 AND env = ?1 AND recipient = ?2"
        );
        let key = reference.key();
        let of_its_kind: &[&str] = match reference {
            RecipientRef::User(id) => {
                self.guard("DELETE FROM users WHERE env = ?1 AND id = ?2", params![env, id]);
                &[
                    "DELETE FROM audience_members WHERE env = ?1 AND user_id = ?2",
                    "DELETE FROM guide_engagements WHERE env = ?1 AND user_id = ?2",
                    "DELETE FROM guide_members WHERE env = ?1 AND user_id = ?2",
                    "DELETE FROM last_seen WHERE env = ?1 AND user_id = ?2",
                ]
            }
            RecipientRef::Object { collection, id } => {
                let sql = "DELETE FROM objects WHERE env = ?1 AND collection = ?2 AND id = ?3";
                self.guard(sql, params![env, collection, id]);
                &["DELETE FROM subscriptions WHERE env = ?1 AND object = ?2"]
            }
        };
        for sql in of_its_kind {
            self.push(*sql, params![env, &key]);
        }
        for sql in [
            "DELETE FROM preference_sets WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM channel_data WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM run_once WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM throttles WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM cap_counts WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM waits WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM subscriptions WHERE env = ?1 AND recipient = ?2".to_owned(),
            "DELETE FROM jobs WHERE subject IN (SELECT id FROM schedules WHERE env = ?1 AND recipient = ?2)".to_owned(),
            "DELETE FROM schedules WHERE env = ?1 AND recipient = ?2".to_owned(),
            format!("DELETE FROM jobs WHERE subject IN ({THEIR_RUNS})"),
            format!("DELETE FROM batch_activities WHERE batch IN ({their_batches})"),
            format!("DELETE FROM batches WHERE id IN ({their_batches})"),
            format!("DELETE FROM message_events WHERE message IN (SELECT id FROM messages WHERE {IN_THEIR_FEEDS})"),
            format!("DELETE FROM message_events WHERE message IN (SELECT id FROM messages WHERE {IN_NO_FEED})"),
            format!("DELETE FROM removals WHERE {IN_THEIR_FEEDS}"),
            format!("DELETE FROM messages WHERE {IN_THEIR_FEEDS}"),
            format!("DELETE FROM messages WHERE {IN_NO_FEED}"),
            "DELETE FROM runs WHERE env = ?1 AND recipient = ?2".to_owned(),
        ] {
            self.push(sql, params![env, &key]);
        }
        // The feed's version goes on, so that a bell still open learns that everything is gone.
        self.push(
            "UPDATE feeds SET version = version + 1, forgotten = version + 1, total = 0, unread = 0, unseen = 0, archived = 0, \
             archived_unread = 0, archived_unseen = 0 WHERE env = ?1 AND recipient = ?2",
            params![env, &key],
        );
    }
}
