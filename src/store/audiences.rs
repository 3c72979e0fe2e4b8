//! Audiences and their members. A member stands under the user's id and the tenant's, apart: ids of users hold no `#`.

use std::collections::{BTreeMap, HashSet};

use serde_json::{Value, json};
use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::recipient::User;
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};

/// An audience as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub key: String,
    pub is_dynamic: bool,
    /// Of its definition, when its members were last found by it.
    pub version: String,
}

/// A member of an audience: the same user may be one under several tenants (W-AUD-07).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user: String,
    pub tenant: Option<String>,
    /// The place in lists among those who were added at the same instant.
    pub slot: String,
    pub added_at: Time,
}

/// What a user is a member under: alone, or in a tenant (W-CND-50).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Slot {
    pub audience: String,
    pub user: String,
    pub tenant: Option<String>,
}

impl Slot {
    /// How rows spell it.
    pub fn key(&self) -> String {
        format!("{}#{}", self.user, self.tenant.as_deref().unwrap_or_default())
    }
}

fn known(row: &Row<'_>) -> Result<Known, Error> {
    Ok(Known { key: row.string(0)?, is_dynamic: row.bool(1)?, version: row.string(2)? })
}

fn member(row: &Row<'_>) -> Result<Member, Error> {
    let slot = row.string(0)?;
    let (user, tenant) = slot.split_once('#').unwrap_or((&slot, ""));
    let tenant = Some(tenant.to_owned()).filter(|tenant| !tenant.is_empty());
    Ok(Member { user: user.to_owned(), tenant, added_at: row.time(1)?, slot })
}

impl Store {
    /// Every audience of an environment that is known or ever was.
    pub async fn audiences(&self, env: Env) -> Result<Vec<Known>, Error> {
        let sql = "SELECT key, is_dynamic, version FROM audiences WHERE env = ?1 ORDER BY key";
        self.query(sql, &params![env], known).await
    }

    /// One audience.
    pub async fn audience(&self, env: Env, key: &str) -> Result<Option<Known>, Error> {
        let sql = "SELECT key, is_dynamic, version FROM audiences WHERE env = ?1 AND key = ?2";
        self.query_one(sql, &params![env, key], known).await
    }

    /// Which of these are members of static audiences: each with the audience and the slot's key.
    pub async fn members_among(&self, env: Env, slots: &[Slot]) -> Result<HashSet<(String, String)>, Error> {
        let asked: Value = slots.iter().map(|slot| json!([slot.audience, slot.key()])).collect();
        let sql = "SELECT m.audience, m.slot FROM json_each(?2) j CROSS JOIN audience_members m CROSS JOIN audiences a \
                   WHERE m.env = ?1 AND m.audience = (j.value ->> 0) AND m.slot = (j.value ->> 1) \
                   AND a.env = m.env AND a.key = m.audience AND a.is_dynamic = 0";
        Ok(self
            .query(sql, &params![env, &asked], |row| Ok((row.string(0)?, row.string(1)?)))
            .await?
            .into_iter()
            .collect())
    }

    /// Where a user is a member of static audiences: each with the tenant, if there is one.
    pub async fn memberships(&self, env: Env, user: &str) -> Result<Vec<Slot>, Error> {
        let sql = "SELECT m.slot, m.added_at, m.audience FROM audience_members m CROSS JOIN audiences a \
                   WHERE m.env = ?1 AND m.user_id = ?2 AND a.env = m.env AND a.key = m.audience AND a.is_dynamic = 0";
        let slot = |row: &Row<'_>| {
            let Member { user, tenant, .. } = member(row)?;
            Ok(Slot { audience: row.string(2)?, user, tenant })
        };
        self.query(sql, &params![env, user], slot).await
    }

    /// A page of an audience's members, newest first (F-AMB-18): at most `limit`, on the asked side of `at`.
    pub async fn audience_members(
        &self,
        env: Env,
        audience: &str,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Member>, Error> {
        let (condition, order, params) = match at {
            Some(Edge::After(Cursor::At(time, slot))) => {
                (" AND (added_at, slot) < (?3, ?4)", "DESC", params![env, audience, *time, slot])
            }
            Some(Edge::Before(Cursor::At(time, slot))) => {
                (" AND (added_at, slot) > (?3, ?4)", "ASC", params![env, audience, *time, slot])
            }
            _ => ("", "DESC", params![env, audience]),
        };
        let sql = format!(
            "SELECT slot, added_at FROM audience_members WHERE env = ?1 AND audience = ?2{condition} \
             ORDER BY added_at {order}, slot {order} LIMIT {limit}"
        );
        self.query(&sql, &params, member).await
    }

    /// Users in the order of their ids, those after `after`: a chunk of all.
    pub async fn users_after(&self, env: Env, after: &str, limit: usize) -> Result<Vec<User>, Error> {
        let sql = format!(
            "SELECT id, properties, inserted_at, updated_at FROM users WHERE env = ?1 AND id > ?2 ORDER BY id LIMIT {limit}"
        );
        self.scan(sql, params![env, after], |row| {
            Ok(User {
                id: row.string(0)?,
                properties: row.json(1)?,
                inserted_at: row.time(2)?,
                updated_at: row.time(3)?,
            })
        })
        .await
    }
}

impl Batch {
    /// Adds an audience that may be there already; what it is stays then as it is (W-AUD-14).
    pub fn ensure_audience(&mut self, env: Env, key: &str, is_dynamic: bool, now: Time) {
        self.push(
            "INSERT INTO audiences (env, key, is_dynamic, version, created_at) VALUES (?1, ?2, ?3, '', ?4) \
             ON CONFLICT (env, key) DO NOTHING",
            params![env, key, is_dynamic, now],
        );
    }

    /// Adds that the members of a dynamic audience are found by another definition from now on, or by none; refused when
    /// they are.
    pub fn redefine_audience(&mut self, env: Env, key: &str, version: &str) {
        self.guard(
            "UPDATE audiences SET version = ?3 WHERE env = ?1 AND key = ?2 AND version <> ?3",
            params![env, key, version],
        );
    }

    /// Refuses the batch unless the members of a dynamic audience are found by this definition, until the commit.
    pub fn require_definition(&mut self, env: Env, key: &str, version: &str) {
        self.require(
            "SELECT 1 FROM audiences WHERE env = ?1 AND key = ?2 AND version = ?3 /* hold as it is */",
            params![env, key, version],
        );
    }

    /// Adds members, given by their slots' keys with the user of each; those who are there already are left out. For each
    /// who is new it adds the jobs that `joins` gives: the slot's key, the job's kind, its subject and its progress. `token`
    /// tells this addition from others. Refused when there is no such static audience any more.
    pub fn add_members(
        &mut self,
        (env, audience): (Env, &str),
        slots: &BTreeMap<String, String>,
        joins: Vec<Value>,
        token: Uuid,
        now: Time,
    ) {
        self.require("SELECT 1 FROM audiences WHERE env = ?1 AND key = ?2 AND is_dynamic = 0", params![env, audience]);
        let slots: Value = slots.iter().map(|slot| json!(slot)).collect();
        self.push(
            "INSERT INTO audience_members (env, audience, slot, user_id, token, added_at) \
             SELECT CAST(?1 AS BIGINT), CAST(?2 AS TEXT), j.value ->> 0, j.value ->> 1, CAST(?4 AS TEXT), CAST(?5 AS BIGINT) \
             FROM json_each(?3) j WHERE 1 = 1 ON CONFLICT (env, audience, slot) DO NOTHING",
            params![env, audience, &slots, token, now],
        );
        if !joins.is_empty() {
            self.push(
                "INSERT INTO jobs (kind, subject, progress, due_at) \
                 SELECT j.value ->> 1, j.value ->> 2, j.value ->> 3, CAST(?5 AS BIGINT) FROM json_each(?3) j \
                 CROSS JOIN audience_members m WHERE m.env = ?1 AND m.audience = ?2 AND m.slot = (j.value ->> 0) AND m.token = ?4",
                params![env, audience, &Value::Array(joins), token, now],
            );
        }
    }

    /// Adds one member whom a step adds; refused when they are one.
    pub fn add_member(&mut self, env: Env, slot: &Slot, now: Time) {
        self.guard(
            "INSERT INTO audience_members (env, audience, slot, user_id, token, added_at) VALUES (?1, ?2, ?3, ?4, '', ?5) \
             ON CONFLICT (env, audience, slot) DO NOTHING",
            params![env, slot.audience.as_str(), slot.key(), slot.user.as_str(), now],
        );
    }

    /// Adds that these are members no more, given by their slots' keys; who is none is ignored (F-AUD-05).
    pub fn remove_members(&mut self, env: Env, audience: &str, slots: &[String]) {
        self.push(
            "DELETE FROM audience_members WHERE env = ?1 AND audience = ?2 AND slot IN (SELECT value FROM json_each(?3))",
            params![env, audience, serde_json::to_string(slots).unwrap_or_default()],
        );
    }

    /// Adds who is a member of which dynamic audience and who is not. A user who is not as given is left out: whatever
    /// changes one says so itself.
    pub fn sort_members(&mut self, env: Env, sorted: &[(&str, &User, bool)], now: Time) {
        let those = |member: bool| -> Vec<Value> {
            let those = sorted.iter().filter(|(.., is_member)| *is_member == member);
            those.map(|(audience, user, _)| json!([audience, user.id, user.updated_at.micros()])).collect()
        };
        // Where others write at the same time nobody changes between this and the commit.
        let as_given = "json_each(?2) j CROSS JOIN users u WHERE u.env = ?1 AND u.id = (j.value ->> 1) \
                        AND u.updated_at = CAST((j.value ->> 2) AS BIGINT) /* hold as it is: u */";
        let (members, others) = (those(true), those(false));
        if !members.is_empty() {
            self.push(
                format!(
                    "INSERT INTO audience_members (env, audience, slot, user_id, token, added_at) \
                     SELECT u.env, j.value ->> 0, u.id || '#', u.id, '', CAST(?3 AS BIGINT) FROM {as_given} \
                     ON CONFLICT (env, audience, slot) DO NOTHING"
                ),
                params![env, &Value::Array(members), now],
            );
        }
        if !others.is_empty() {
            self.push(
                format!(
                    "DELETE FROM audience_members WHERE env = ?1 AND (audience, slot) IN \
                     (SELECT j.value ->> 0, u.id || '#' FROM {as_given})"
                ),
                params![env, &Value::Array(others)],
            );
        }
    }
}
