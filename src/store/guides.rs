//! Guides as they are declared, and what users have done with them.

use std::collections::HashMap;

use uuid::Uuid;

use super::Env;
use super::db::{Batch, Error, Row, Store};
use crate::model::time::Time;
use crate::params;

/// The row of the group that puts guides in order: no guide's key holds a `#`.
const GROUP_ROW: &str = "#default";

/// Since when something is declared, and how often it was declared otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Declared {
    pub revision: i64,
    pub inserted_at: Time,
    pub updated_at: Time,
    /// Whether it is for those alone whom steps of workflows have brought to it.
    pub is_targeted: bool,
}

/// That a step has brought a user to a guide: alone, or in a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub guide: String,
    pub tenant: Option<String>,
}

/// Everything that is known of what files declare.
#[derive(Debug, Default)]
pub struct Declarations {
    guides: HashMap<String, Declared>,
}

impl Declarations {
    /// What is known of a guide.
    pub fn guide(&self, key: &str) -> Declared {
        self.guides.get(key).copied().unwrap_or_default()
    }

    /// What is known of the group.
    pub fn group(&self) -> Declared {
        self.guide(GROUP_ROW)
    }
}

/// Where a user meets a guide's step; `tenant` is empty where tenants do not count for themselves, and where there is none.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    pub env: Env,
    pub user: &'a str,
    pub guide: &'a str,
    pub tenant: &'a str,
    pub step: &'a str,
}

/// What a user has done with a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Engagement {
    pub guide: String,
    pub tenant: String,
    pub step: String,
    /// Whether they were done with the whole guide as they archived it.
    pub is_final: bool,
    /// The message that tells of it.
    pub message: String,
    pub seen_at: Option<Time>,
    pub read_at: Option<Time>,
    pub interacted_at: Option<Time>,
    pub archived_at: Option<Time>,
    pub link_clicked_at: Option<Time>,
}

fn engagement(row: &Row<'_>) -> Result<Engagement, Error> {
    Ok(Engagement {
        guide: row.string(0)?,
        tenant: row.string(1)?,
        step: row.string(2)?,
        is_final: row.bool(3)?,
        message: row.string(4)?,
        seen_at: row.maybe_time(5)?,
        read_at: row.maybe_time(6)?,
        interacted_at: row.maybe_time(7)?,
        archived_at: row.maybe_time(8)?,
        link_clicked_at: row.maybe_time(9)?,
    })
}

impl Store {
    /// What is known of the guides of an environment that are declared, or ever were.
    pub async fn guide_declarations(&self, env: Env) -> Result<Declarations, Error> {
        let sql = "SELECT key, revision, inserted_at, updated_at, is_targeted FROM guides WHERE env = ?1";
        let declared = |row: &Row<'_>| {
            let declared = Declared {
                revision: row.int(1)?,
                inserted_at: row.time(2)?,
                updated_at: row.time(3)?,
                is_targeted: row.bool(4)?,
            };
            Ok((row.string(0)?, declared))
        };
        Ok(Declarations { guides: self.query(sql, &params![env], declared).await?.into_iter().collect() })
    }

    /// The guides to which steps have brought a user.
    pub async fn guide_memberships(&self, env: Env, user: &str) -> Result<Vec<Membership>, Error> {
        let sql = "SELECT guide, tenant FROM guide_members WHERE env = ?1 AND user_id = ?2";
        let membership = |row: &Row<'_>| {
            let tenant = Some(row.string(1)?).filter(|tenant| !tenant.is_empty());
            Ok(Membership { guide: row.string(0)?, tenant })
        };
        self.query(sql, &params![env, user], membership).await
    }

    /// What a user has done with guides where no tenant counts for itself, and in this one.
    pub async fn guide_engagements(&self, env: Env, user: &str, tenant: &str) -> Result<Vec<Engagement>, Error> {
        let sql = "SELECT g.guide, g.tenant, g.step_ref, g.is_final, m.id, m.seen_at, m.read_at, m.interacted_at, m.archived_at, \
                   m.link_clicked_at FROM guide_engagements g JOIN messages m ON m.id = g.message \
                   WHERE g.env = ?1 AND g.user_id = ?2 AND g.tenant IN ('', ?3)";
        self.query(sql, &params![env, user, tenant], engagement).await
    }

    /// The message that tells what a user has done with a step; none as long as they have done nothing.
    pub async fn guide_message(&self, place: Place<'_>) -> Result<Option<String>, Error> {
        let sql = "SELECT m.id FROM guide_engagements g JOIN messages m ON m.id = g.message \
                   WHERE g.env = ?1 AND g.user_id = ?2 AND g.guide = ?3 AND g.tenant = ?4 AND g.step_ref = ?5";
        self.query_one(sql, &place.params(), |row| row.string(0)).await
    }

    /// The messages that tell what a user has done with a guide.
    pub async fn guide_messages(&self, place: Place<'_>) -> Result<Vec<String>, Error> {
        let sql = "SELECT m.id FROM guide_engagements g JOIN messages m ON m.id = g.message \
                   WHERE g.env = ?1 AND g.user_id = ?2 AND g.guide = ?3 AND g.tenant = ?4 ORDER BY g.step_ref";
        self.query(sql, &place.params()[..4], |row| row.string(0)).await
    }

    /// When a user last dismissed a guide for which others wait, if they have.
    pub async fn guide_dismissed_at(&self, env: Env, user: &str) -> Result<Option<Time>, Error> {
        let sql = "SELECT max(throttles_at) FROM guide_engagements WHERE env = ?1 AND user_id = ?2";
        Ok(self.query_one(sql, &params![env, user], |row| row.maybe_time(0)).await?.flatten())
    }
}

impl Place<'_> {
    fn params(&self) -> Vec<super::Param> {
        params![self.env, self.user, self.guide, self.tenant, self.step]
    }
}

impl Batch {
    /// Adds that a guide is declared in this version.
    pub fn declare_guide(&mut self, env: Env, key: &str, version: Uuid, now: Time) {
        self.push(
            "INSERT INTO guides (env, key, version, revision, inserted_at, updated_at) VALUES (?1, ?2, ?3, 1, ?4, ?4) \
             ON CONFLICT (env, key) DO UPDATE SET version = excluded.version, revision = guides.revision + 1, \
             updated_at = excluded.updated_at WHERE guides.version <> excluded.version",
            params![env, key, version, now],
        );
    }

    /// Adds that the group which puts guides in order is declared in this version.
    pub fn declare_guide_group(&mut self, env: Env, version: Uuid, now: Time) {
        self.declare_guide(env, GROUP_ROW, version, now);
    }

    /// Adds that a guide, which is declared, is for those alone whom steps bring to it, from now on.
    pub fn target_guide(&mut self, env: Env, key: &str) {
        let sql = "UPDATE guides SET is_targeted = 1 WHERE env = ?1 AND key = ?2 AND is_targeted = 0";
        self.push(sql, params![env, key]);
    }

    /// Adds that a step brings a user to a guide. The number finds a row if they were not brought to it before.
    pub fn add_guide_member(&mut self, env: Env, user: &str, membership: &Membership, now: Time) -> usize {
        self.returning(
            "INSERT INTO guide_members (env, guide, user_id, tenant, added_at) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (env, user_id, guide, tenant) DO NOTHING RETURNING added_at",
            params![env, &membership.guide, user, membership.tenant.as_deref().unwrap_or_default(), now],
        )
    }

    /// Adds that this message, which is added behind it, tells what a user does with a step; refused when another does.
    pub fn begin_engagement(&mut self, place: Place<'_>, message: &str) {
        let mut params = place.params();
        params.push(message.into());
        self.guard(
            "INSERT INTO guide_engagements (env, user_id, guide, tenant, step_ref, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT (env, user_id, guide, tenant, step_ref) DO UPDATE SET message = excluded.message, is_final = 0, \
             throttles_at = NULL WHERE NOT EXISTS (SELECT 1 FROM messages m WHERE m.id = guide_engagements.message)",
            params,
        );
    }

    /// Refuses the batch unless it is this message that tells what a user does with a step, until the commit.
    pub fn require_engagement(&mut self, place: Place<'_>, message: &str) {
        let mut params = place.params();
        params.push(message.into());
        self.require(
            "SELECT 1 FROM guide_engagements WHERE env = ?1 AND user_id = ?2 AND guide = ?3 AND tenant = ?4 AND step_ref = ?5 \
             AND message = ?6 /* take */",
            params,
        );
    }

    /// Adds that a user has archived a step: whether others wait from now on, and whether they are done with the guide.
    pub fn archive_engagement(&mut self, place: Place<'_>, throttles_at: Option<Time>, is_final: bool) {
        let mut params = place.params();
        params.extend(params![throttles_at, is_final]);
        self.push(
            "UPDATE guide_engagements SET throttles_at = coalesce(CAST(?6 AS BIGINT), throttles_at), is_final = ?7 \
             WHERE env = ?1 AND user_id = ?2 AND guide = ?3 AND tenant = ?4 AND step_ref = ?5",
            params,
        );
    }

    /// Adds that a user has a guide before them again, and others need not wait for it. Stands before what unmarks its messages.
    pub fn unarchive_engagements(&mut self, place: Place<'_>) {
        let mut params = place.params();
        params.truncate(4);
        self.push(
            "UPDATE guide_engagements SET throttles_at = NULL, is_final = 0 \
             WHERE env = ?1 AND user_id = ?2 AND guide = ?3 AND tenant = ?4",
            params,
        );
    }

    /// Adds that a user meets a guide as if for the first time. The messages that told of it stay.
    pub fn reset_engagements(&mut self, place: Place<'_>) {
        let mut params = place.params();
        params.truncate(4);
        self.push(
            "DELETE FROM guide_engagements WHERE env = ?1 AND user_id = ?2 AND guide = ?3 AND tenant = ?4",
            params,
        );
    }

    /// Adds what a user saw in a step, and what the page said to that; both JSON objects.
    pub fn show_in_guide(&mut self, message: &str, content: &str, data: &str) {
        self.push("UPDATE messages SET blocks = ?2, data = ?3 WHERE id = ?1", params![message, content, data]);
    }

    /// Adds what the page said of an interaction: a JSON object.
    pub fn note_interaction(&mut self, message: &str, metadata: &str) {
        self.push("UPDATE messages SET metadata = ?2 WHERE id = ?1", params![message, metadata]);
    }
}
