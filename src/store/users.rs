//! Users, their preferences and channel data.

use serde_json::Value;

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::channel_data::says_something;
use crate::model::recipient::User;
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};

const COLUMNS: &str = "id, properties, inserted_at, updated_at";

fn user(row: &Row<'_>) -> Result<User, Error> {
    Ok(User { id: row.string(0)?, properties: row.json(1)?, inserted_at: row.time(2)?, updated_at: row.time(3)? })
}

impl Store {
    /// One user.
    pub async fn user(&self, env: Env, id: &str) -> Result<Option<User>, Error> {
        let sql = "SELECT id, properties, inserted_at, updated_at FROM users WHERE env = ?1 AND id = ?2";
        self.query_one(sql, &params![env, id], user).await
    }

    /// The users among these ids that exist.
    pub async fn users_by_ids(&self, env: Env, ids: &[&str]) -> Result<Vec<User>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM users WHERE env = ?1 AND id IN (SELECT value FROM json_each(?2))");
        self.query(&sql, &params![env, serde_json::to_string(ids).unwrap_or_default()], user).await
    }

    /// A page of users, newest first (F-AMB-18): at most `limit`, on the asked side of `at`.
    pub async fn users(&self, env: Env, at: Option<&Edge>, limit: usize) -> Result<Vec<User>, Error> {
        let (condition, order, params) = match at {
            Some(Edge::After(Cursor::At(time, id))) => {
                (" AND (inserted_at, id) < (?2, ?3)", "DESC", params![env, *time, id])
            }
            Some(Edge::Before(Cursor::At(time, id))) => {
                (" AND (inserted_at, id) > (?2, ?3)", "ASC", params![env, *time, id])
            }
            _ => ("", "DESC", params![env]),
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM users WHERE env = ?1{condition} ORDER BY inserted_at {order}, id {order} LIMIT {limit}"
        );
        self.query(&sql, &params, user).await
    }

    /// How many users there are, counted to 10,000 at most (F-PAG-03).
    pub async fn user_count(&self, env: Env) -> Result<i64, Error> {
        let sql = "SELECT count(*) FROM (SELECT 1 FROM users WHERE env = ?1 ORDER BY inserted_at LIMIT 10000) counted";
        Ok(self.scan(sql, params![env], |row| row.int(0)).await?.into_iter().next().unwrap_or(0))
    }

    /// The preference sets stored for a recipient, by set id.
    pub async fn preference_sets(&self, env: Env, recipient: &str) -> Result<Vec<(String, Value)>, Error> {
        Ok(self.dated_preference_sets(env, recipient).await?.into_iter().map(|(id, body, _)| (id, body)).collect())
    }

    /// One preference set of a recipient.
    pub async fn preference_set(&self, env: Env, recipient: &str, set_id: &str) -> Result<Option<Value>, Error> {
        let sql = "SELECT body FROM preference_sets WHERE env = ?1 AND recipient = ?2 AND set_id = ?3";
        self.query_one(sql, &params![env, recipient, set_id], |row| row.json(0)).await
    }

    /// Whether a recipient has data of a channel that says something.
    pub async fn has_channel_data(&self, env: Env, recipient: &str, channel: &str) -> Result<bool, Error> {
        Ok(self.channel_data_of(env, recipient, channel).await?.is_some_and(|data| says_something(&data)))
    }

    /// The data of one channel of a recipient.
    pub async fn channel_data_of(&self, env: Env, recipient: &str, channel: &str) -> Result<Option<Value>, Error> {
        let sql = "SELECT data FROM channel_data WHERE env = ?1 AND recipient = ?2 AND channel = ?3";
        self.query_one(sql, &params![env, recipient, channel], |row| row.json(0)).await
    }

    /// The preference sets stored for these recipients: each with whose it is, its id, and when it was last changed.
    pub async fn preference_sets_of(
        &self,
        env: Env,
        recipients: &[&str],
    ) -> Result<Vec<(String, String, Value, Time)>, Error> {
        let sql = "SELECT recipient, set_id, body, updated_at FROM preference_sets \
                   WHERE env = ?1 AND recipient IN (SELECT value FROM json_each(?2))";
        let list = serde_json::to_string(recipients).unwrap_or_default();
        let row = |row: &Row<'_>| Ok((row.string(0)?, row.string(1)?, row.json(2)?, row.time(3)?));
        self.query(sql, &params![env, list], row).await
    }

    /// The preference sets stored for a recipient, by set id, each with when it was last changed.
    pub async fn dated_preference_sets(&self, env: Env, recipient: &str) -> Result<Vec<(String, Value, Time)>, Error> {
        let sql =
            "SELECT set_id, body, updated_at FROM preference_sets WHERE env = ?1 AND recipient = ?2 ORDER BY set_id";
        self.query(sql, &params![env, recipient], |row| Ok((row.string(0)?, row.json(1)?, row.time(2)?))).await
    }
}

impl Store {
    /// The channel data of a recipient, by channel.
    pub async fn channel_data(&self, env: Env, recipient: &str) -> Result<Vec<(String, Value)>, Error> {
        let sql = "SELECT channel, data FROM channel_data WHERE env = ?1 AND recipient = ?2 ORDER BY channel";
        self.query(sql, &params![env, recipient], |row| Ok((row.string(0)?, row.json(1)?))).await
    }
}

impl Batch {
    /// Adds a user as it now is; refused when it is no longer as it was `before` (none: not there).
    pub fn put_user(&mut self, env: Env, user: &User, before: Option<Time>) {
        let properties = Value::Object(user.properties.clone()).to_string();
        match before {
            None => self.guard(
                "INSERT INTO users (env, id, properties, inserted_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO NOTHING",
                params![env, user.id.as_str(), properties, user.inserted_at, user.updated_at],
            ),
            Some(before) => self.guard(
                "UPDATE users SET properties = ?3, updated_at = ?4 WHERE env = ?1 AND id = ?2 AND updated_at = ?5",
                params![env, user.id.as_str(), properties, user.updated_at, before],
            ),
        }
    }

    /// Adds a preference set as it is from `now` on; refused when it is no longer as it was `before` (none: not there).
    pub fn put_preference_set(
        &mut self,
        env: Env,
        recipient: &str,
        set_id: &str,
        body: &Value,
        before: Option<Time>,
        now: Time,
    ) {
        match before {
            None => self.guard(
                "INSERT INTO preference_sets (env, recipient, set_id, body, updated_at) VALUES (?1, ?2, ?3, ?4, ?5) \
                 ON CONFLICT DO NOTHING",
                params![env, recipient, set_id, body, now],
            ),
            Some(before) => self.guard(
                "UPDATE preference_sets SET body = ?4, updated_at = ?5 \
                 WHERE env = ?1 AND recipient = ?2 AND set_id = ?3 AND updated_at = ?6",
                params![env, recipient, set_id, body, now, before],
            ),
        }
    }

    /// Adds the removal of a preference set; nothing happens where there is none.
    pub fn delete_preference_set(&mut self, env: Env, recipient: &str, set_id: &str) {
        self.push(
            "DELETE FROM preference_sets WHERE env = ?1 AND recipient = ?2 AND set_id = ?3",
            params![env, recipient, set_id],
        );
    }

    /// Adds channel data, which replaces what was there (F-REC-05).
    pub fn put_channel_data(&mut self, env: Env, recipient: &str, channel: &str, data: &Value, now: Time) {
        self.push(
            "INSERT INTO channel_data (env, recipient, channel, data, updated_at) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (env, recipient, channel) DO UPDATE SET data = excluded.data, updated_at = excluded.updated_at",
            params![env, recipient, channel, data, now],
        );
    }

    /// Adds the removal of channel data; nothing happens where there is none.
    pub fn delete_channel_data(&mut self, env: Env, recipient: &str, channel: &str) {
        self.push(
            "DELETE FROM channel_data WHERE env = ?1 AND recipient = ?2 AND channel = ?3",
            params![env, recipient, channel],
        );
    }

    /// Adds the job of going through all messages in which somebody acted, by key, if there are any: those that are there
    /// when the batch is applied, and none that come later. There are some as well while a job waits whose subject is
    /// `coming`: it makes them theirs. `known` is the job's progress, without its end.
    pub fn add_job_for_actor(
        &mut self,
        (kind, subject): (&str, &str),
        known: &Value,
        (env, actor): (Env, &str),
        coming: &str,
        now: Time,
    ) {
        // The end, which the database alone knows, stands last.
        let known = known.to_string();
        let open = format!("{},\"end\":{{\"n\":", known.strip_suffix('}').unwrap_or(&known));
        self.push(
            "INSERT INTO jobs (kind, subject, due_at, progress) \
             SELECT ?3, ?4, CAST(?5 AS BIGINT), CAST(?6 AS TEXT) || CAST((SELECT coalesce(max(n), 0) FROM messages) AS TEXT) || ',\"at\":' \
             || CAST((SELECT coalesce(max(inserted_at), 0) FROM messages WHERE env = ?1) AS TEXT) || '}}' \
             WHERE EXISTS (SELECT 1 FROM messages WHERE env = ?1 AND actor = ?2) \
             OR EXISTS (SELECT 1 FROM batch_activities WHERE env = ?1 AND actor = ?2) \
             OR EXISTS (SELECT 1 FROM jobs WHERE subject = ?7)",
            params![env, actor, kind, subject, now, open, coming],
        );
    }
}
