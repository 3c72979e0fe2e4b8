//! What runs have come to together at batch steps. (A change of rows is a [`Batch`], too; these are rows.)

use std::sync::Arc;

use serde_json::{Map, Value};

use super::Env;
use super::db::{Batch, Error, Row, Store};
use super::filter::Where;
use crate::model::ids::Ksuid;
use crate::model::run::RunEvent;
use crate::model::time::Time;
use crate::model::workflow::batch::Shown;
use crate::model::workflow::digest::Counting;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};

/// What comes together: runs of one recipient at one step or in one version, by the step's key (W-BAT-04, W-BAT-05).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Gathering {
    /// The recipient's key.
    pub recipient: String,
    pub workflow: String,
    /// Which step (W-BAT-09), or which version (W-BAT-10).
    pub identity: String,
    /// Empty where the step has no key.
    pub key: String,
}

/// A batch that more may join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenBatch {
    pub id: String,
    /// Whether a run carries it on already.
    pub is_carried: bool,
    pub closes_at: Time,
    /// When it closes at the latest, however often it is extended.
    pub cap_at: Time,
    /// How many activities close it.
    pub items_max: Option<i64>,
}

/// What one run brings.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    pub id: String,
    pub run: String,
    /// The actor's key.
    pub actor: Option<String>,
    /// An object, without attachments.
    pub data: Map<String, Value>,
    pub inserted_at: Time,
}

/// What has come together in a batch, as far as it counts and is shown.
#[derive(Debug, Clone, PartialEq)]
pub struct Gathered {
    /// Raised by whatever joins, leaves or closes.
    pub rev: i64,
    pub is_open: bool,
    pub closes_at: Time,
    /// Whether what the run brought that carries it on is among it.
    pub has_own: bool,
    pub total_activities: i64,
    pub total_actors: i64,
    /// In the order in which they came.
    pub activities: Vec<Activity>,
    /// The keys of actors, each once; those of the activities are among them.
    pub actors: Vec<String>,
    /// The activities that do not count any more, by their ids.
    pub dealt_with: Vec<String>,
}

/// An activity that a cancellation takes out of its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled {
    pub batch: String,
    pub id: String,
    pub run: String,
}

/// The open digests of recipients.
const OPEN_DIGESTS: &str = "FROM batches WHERE env = ?1 AND recipient IN (SELECT value FROM json_each(?2)) \
                            AND is_open = 1 AND identity LIKE 'digest:%'";

/// Above every id: those are of letters and digits.
const HIGHEST: &str = "~";

const COLUMNS: &str = "m.id, m.run, m.actor, m.data, m.inserted_at";

fn activity(row: &Row<'_>) -> Result<Activity, Error> {
    Ok(Activity {
        id: row.string(0)?,
        run: row.string(1)?,
        actor: row.maybe_string(2)?,
        data: row.json(3)?,
        inserted_at: row.time(4)?,
    })
}

impl Store {
    /// The batch that was opened last and not closed; its window may be over.
    pub async fn open_batch(&self, env: Env, gathering: &Gathering) -> Result<Option<OpenBatch>, Error> {
        let sql = "SELECT id, run, closes_at, cap_at, items_max FROM batches \
                   WHERE env = ?1 AND recipient = ?2 AND workflow = ?3 AND identity = ?4 AND key = ?5 AND is_open = 1";
        let Gathering { recipient, workflow, identity, key } = gathering;
        let params = params![env, recipient, workflow, identity, key];
        self.query_one(sql, &params, |row| {
            Ok(OpenBatch {
                id: row.string(0)?,
                is_carried: row.maybe_text(1)?.is_some(),
                closes_at: row.time(2)?,
                cap_at: row.time(3)?,
                items_max: row.maybe_int(4)?,
            })
        })
        .await
    }

    /// What of a batch counts.
    pub async fn gathered(&self, batch: &str, shown: Shown, counted: Counting) -> Result<Option<Gathered>, Error> {
        // Read first: what comes in between raises it, and whoever closes the batch is refused.
        let sql = "SELECT rev, is_open, closes_at, count, (SELECT a.id FROM batch_activities a \
                   WHERE a.batch = b.id AND a.run = b.run LIMIT 1) FROM batches b WHERE id = ?1";
        let head = |row: &Row<'_>| Ok((row.int(0)?, row.bool(1)?, row.time(2)?, row.int(3)?, row.maybe_string(4)?));
        let found = self.query_one(sql, &params![batch], head).await?;
        let Some((rev, is_open, closes_at, count, own)) = found else { return Ok(None) };
        let dealt_with = self.dealt_with(batch, counted).await?;
        let has_own = own.is_some_and(|own| !dealt_with.contains(&own));
        let total_activities = count - dealt_with.len() as i64;
        let list = serde_json::to_string(&dealt_with).unwrap_or_default();
        let (counts, params) = match dealt_with.is_empty() {
            true => ("", params![batch]),
            false => ("AND m.id NOT IN (SELECT value FROM json_each(?2))", params![batch, list]),
        };
        let Shown { limit, are_newest } = shown;
        let (order, edge) = if are_newest { ("DESC", "max") } else { ("ASC", "min") };
        let sql = format!(
            "SELECT {COLUMNS} FROM batch_activities m WHERE m.batch = ?1 {counts} ORDER BY m.id {order} LIMIT {limit}"
        );
        let mut activities = self.query(&sql, &params, activity).await?;
        let sql = format!(
            "SELECT m.actor, count(*) OVER () FROM batch_activities m WHERE m.batch = ?1 AND m.actor IS NOT NULL {counts} \
             GROUP BY m.actor ORDER BY {edge}(m.id) {order} LIMIT {limit}"
        );
        let found = self.scan(sql, params, |row| Ok((row.string(0)?, row.int(1)?))).await?;
        let total_actors = found.first().map_or(0, |(_, total)| *total);
        let mut actors: Vec<String> = found.into_iter().map(|(actor, _)| actor).collect();
        if are_newest {
            activities.reverse();
            actors.reverse();
        }
        Ok(Some(Gathered {
            rev,
            is_open,
            closes_at,
            has_own,
            total_activities,
            total_actors,
            activities,
            actors,
            dealt_with,
        }))
    }

    /// The activities of a batch whose reader has dealt with an item that told of them; what is gone was dealt with. What took
    /// another's place when its window opened is told there.
    async fn dealt_with(&self, batch: &str, counted: Counting) -> Result<Vec<String>, Error> {
        let is_marked = match counted {
            Counting::All => return Ok(Vec::new()),
            Counting::Unread => "m.read_at IS NOT NULL",
            Counting::Unseen => "m.seen_at IS NOT NULL OR m.read_at IS NOT NULL",
        };
        let sql = format!(
            "SELECT a.id FROM batch_activities a WHERE a.batch = ?1 AND a.told IS NOT NULL AND EXISTS \
             (SELECT 1 FROM json_each(a.told) e LEFT JOIN message_events v ON v.message = e.value AND v.type = 'message.collapsed' \
             LEFT JOIN messages m ON m.id = coalesce(v.data ->> 'message_id', e.value) WHERE m.id IS NULL OR m.archived_at IS NOT NULL OR m.revoked_at IS NOT NULL OR {is_marked}) ORDER BY a.id"
        );
        self.scan(sql, params![batch], |row| row.string(0)).await
    }

    /// The digests of these recipients, by their keys, that are open.
    pub async fn open_digests(&self, env: Env, recipients: &[String]) -> Result<Vec<String>, Error> {
        let sql = format!("SELECT id {OPEN_DIGESTS} ORDER BY id");
        let params = params![env, serde_json::to_string(recipients).unwrap_or_default()];
        self.scan(sql, params, |row| row.string(0)).await
    }

    /// A page of a batch's activities, newest first: at most `limit` whose data has these members, on the asked side of
    /// `at` (W-RUN-24).
    pub async fn batch_activities(
        &self,
        batch: &str,
        data: &Map<String, Value>,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Activity>, Error> {
        let (lowest, highest) = match at {
            Some(Edge::After(Cursor::At(_, id))) => ("", id.as_str()),
            Some(Edge::Before(Cursor::At(_, id))) => (id.as_str(), HIGHEST),
            _ => ("", HIGHEST),
        };
        let mut clause = Where::default();
        // Said so, planners that know nothing of the table yet do not find all that is left of a batch, and sort it.
        clause.and("(m.batch, m.id) > (?, ?)", params![batch, lowest]);
        clause.and("(m.batch, m.id) < (?, ?)", params![batch, highest]);
        clause.row_by_row(|clause| clause.trigger_data("m.data", data));
        let order = if matches!(at, Some(Edge::Before(_))) { "ASC" } else { "DESC" };
        let (clause, params) = clause.finish();
        let sql = format!(
            "SELECT {COLUMNS} FROM batch_activities m WHERE {clause} ORDER BY m.batch {order}, m.id {order} LIMIT {limit}"
        );
        self.scan(sql, params, activity).await
    }

    /// The activities that runs with this cancellation key have brought to batches which are open at `now` (W-CAN-14);
    /// only those of some recipients, by key, when they are given.
    pub async fn activities_to_cancel(
        &self,
        env: Env,
        workflow: &str,
        cancellation_key: &str,
        only: Option<&[String]>,
        now: Time,
    ) -> Result<Vec<Cancelled>, Error> {
        let sql = "SELECT a.batch, a.id, a.run FROM batch_activities a JOIN batches b ON b.id = a.batch \
                   WHERE a.env = ?1 AND a.workflow = ?2 AND a.cancellation_key = ?3 AND b.is_open = 1 AND b.closes_at > ?5 \
                   AND (CAST(?4 AS TEXT) IS NULL OR b.recipient IN (SELECT value FROM json_each(?4))) ORDER BY a.batch, a.id";
        let only = only.map(|only| serde_json::to_string(only).unwrap_or_default());
        let params = params![env, workflow, cancellation_key, only, now];
        self.scan(sql, params, |row| Ok(Cancelled { batch: row.string(0)?, id: row.string(1)?, run: row.string(2)? }))
            .await
    }
}

/// What a run brings to a batch.
#[derive(Debug)]
pub struct NewActivity {
    pub env: Env,
    pub batch: String,
    pub workflow: String,
    pub run: String,
    pub cancellation_key: Option<String>,
    /// The actor's key.
    pub actor: Option<String>,
    /// A JSON object without attachments.
    pub data: Arc<str>,
    /// The ids of the messages that have told of it, as a JSON array, where they may matter.
    pub told: Option<String>,
    pub now: Time,
}

impl Batch {
    /// Adds a batch, in place of one whose window is over, with its first activity if there is one; refused while another
    /// is open.
    pub fn open_batch(
        &mut self,
        env: Env,
        gathering: &Gathering,
        batch: &OpenBatch,
        first: Option<&NewActivity>,
        now: Time,
    ) {
        let Gathering { recipient, workflow, identity, key } = gathering;
        let OpenBatch { id, closes_at, cap_at, items_max, .. } = batch;
        self.push(
            "UPDATE batches SET is_open = 0, rev = rev + 1 WHERE env = ?1 AND recipient = ?2 AND workflow = ?3 \
             AND identity = ?4 AND key = ?5 AND is_open = 1 AND closes_at <= ?6",
            params![env, recipient, workflow, identity, key, now],
        );
        self.guard(
            "INSERT INTO batches (id, env, recipient, workflow, identity, key, run, opened_at, closes_at, cap_at, items_max, \
             count, rev, is_open) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, 0, 1) ON CONFLICT DO NOTHING",
            params![
                id,
                env,
                recipient,
                workflow,
                identity,
                key,
                first.map(|first| &first.run),
                now,
                *closes_at,
                *cap_at,
                *items_max,
                first.is_some()
            ],
        );
        if let Some(first) = first {
            self.add_activity(first);
        }
    }

    /// Adds an activity to a batch that is open, which closes at `closes_at` from then on (none: as before), or at once when
    /// it is full; refused when it is closed by now, or when what would be its first activity is not. However many join at
    /// once, none of them is in another's way.
    pub fn join_batch(&mut self, activity: &NewActivity, is_first: bool, closes_at: Option<Time>) {
        let NewActivity { batch, run, now, .. } = activity;
        self.locked.push(batch.clone());
        let free = if is_first { "run IS NULL" } else { "run IS NOT NULL" };
        self.guard(
            format!(
                "UPDATE batches SET count = count + 1, rev = rev + 1, run = coalesce(run, ?4), \
                 closes_at = CASE WHEN count + 1 >= items_max THEN CAST(?2 AS BIGINT) ELSE coalesce(CAST(?3 AS BIGINT), closes_at) END, \
                 is_open = CASE WHEN count + 1 >= items_max OR CAST(?3 AS BIGINT) <= CAST(?2 AS BIGINT) THEN 0 ELSE 1 END \
                 WHERE id = ?1 AND is_open = 1 AND closes_at > CAST(?2 AS BIGINT) AND {free}"
            ),
            params![batch, *now, closes_at, run],
        );
        self.add_activity(activity);
        // A job that comes too early finds the window extended; one that would come too late has to be moved.
        self.push(
            "UPDATE jobs SET due_at = (SELECT closes_at FROM batches WHERE id = ?1) \
             WHERE subject = (SELECT run FROM batches WHERE id = ?1) \
             AND due_at > (SELECT closes_at FROM batches WHERE id = ?1)",
            params![batch],
        );
    }

    fn add_activity(&mut self, activity: &NewActivity) {
        let NewActivity { env, batch, workflow, run, cancellation_key, actor, data, told, now } = activity;
        self.push(
            "INSERT INTO batch_activities (batch, id, env, workflow, run, cancellation_key, actor, data, told, inserted_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                batch,
                Ksuid::mint(*now, &[b"activity", batch.as_bytes(), run.as_bytes()]),
                *env,
                workflow,
                run,
                cancellation_key.as_deref(),
                actor.as_deref(),
                data,
                told.as_deref(),
                *now
            ],
        );
    }

    /// Adds that a batch is closed; refused when anything has come or gone since `rev` was read.
    pub fn close_batch(&mut self, batch: &str, rev: i64) {
        self.locked.push(batch.to_owned());
        self.guard("UPDATE batches SET is_open = 0, rev = rev + 1 WHERE id = ?1 AND rev = ?2", params![batch, rev]);
    }

    /// Adds that what does not count leaves a batch that is closed in the same change.
    pub fn leave_out(&mut self, batch: &str, dealt_with: &[String]) {
        let list = serde_json::to_string(dealt_with).unwrap_or_default();
        self.push(
            "DELETE FROM batch_activities WHERE batch = ?1 AND id IN (SELECT value FROM json_each(?2))",
            params![batch, list],
        );
        self.push("UPDATE batches SET count = count - ?2 WHERE id = ?1", params![batch, dealt_with.len()]);
    }

    /// Adds that whoever carries a batch on looks at it at `at`, unless sooner.
    pub fn bring_forward(&mut self, batch: &str, at: Time) {
        self.push(
            "UPDATE jobs SET due_at = ?2 WHERE subject = (SELECT run FROM batches WHERE id = ?1) AND due_at > ?2",
            params![batch, at],
        );
    }

    /// Adds that when these digests close is to be found out anew: whoever has one in hand is refused, and looks again.
    pub fn replan_digests(&mut self, digests: &[String], now: Time) {
        for digest in digests {
            self.locked.push(digest.clone());
            self.push("UPDATE batches SET rev = rev + 1 WHERE id = ?1 AND is_open = 1", params![digest]);
            self.bring_forward(digest, now);
        }
    }

    /// Adds that so many digests of these recipients must be open.
    pub fn require_open_digests(&mut self, env: Env, recipients: &[String], count: usize) {
        let list = serde_json::to_string(recipients).unwrap_or_default();
        self.require(format!("SELECT 1 WHERE ?3 = (SELECT count(*) {OPEN_DIGESTS})"), params![env, list, count]);
    }

    /// Adds that a batch must be as it was when `rev` was read.
    pub fn require_batch(&mut self, batch: &str, rev: i64) {
        self.locked.push(batch.to_owned());
        self.require("SELECT 1 FROM batches WHERE id = ?1 AND rev = ?2", params![batch, rev]);
    }

    /// Adds that nothing more joins a batch, whose run is over.
    pub fn give_up_batch(&mut self, batch: &str) {
        self.locked.push(batch.to_owned());
        self.push("UPDATE batches SET is_open = 0, rev = rev + 1 WHERE id = ?1 AND is_open = 1", params![batch]);
    }

    /// Adds that an activity is taken out of its batch, if that is open at `now`, and that its run says so (W-BAT-36).
    /// Gives the number of the answer: a row if it was taken out.
    pub fn cancel_activity(&mut self, activity: &Cancelled, now: Time) -> usize {
        let Cancelled { batch, id, run } = activity;
        let event = RunEvent::new(run.as_bytes(), id.as_bytes(), now, "batch_activity_cancelled");
        let event = serde_json::to_string(&event).unwrap_or_default();
        self.locked.push(batch.clone());
        self.push(
            format!(
                "UPDATE runs SET rev = rev + 1, updated_at = ?3, \
                 events = CASE events WHEN '[]' THEN '[' ELSE substr(events, 1, length(events) - 1) || ',' END \
                 || CAST(?4 AS TEXT) || ']' WHERE id = ?5 AND {IS_THERE}"
            ),
            params![batch, id, now, event, run],
        );
        self.push(
            format!("UPDATE batches SET count = count - 1, rev = rev + 1 WHERE id = ?1 AND {IS_THERE}"),
            params![batch, id, now],
        );
        self.returning(
            format!("DELETE FROM batch_activities WHERE batch = ?1 AND id = ?2 AND {IS_THERE} RETURNING id"),
            params![batch, id, now],
        )
    }

    /// Adds that batches are forgotten which nothing came to while they were open.
    pub fn forget_batches(&mut self, now: Time) {
        self.push("DELETE FROM batches WHERE run IS NULL AND closes_at <= ?1", params![now]);
    }
}

/// Whether activity `?2` is in batch `?1`, and that is open at `?3`.
const IS_THERE: &str = "EXISTS (SELECT 1 FROM batch_activities a JOIN batches b ON b.id = a.batch \
     WHERE a.batch = ?1 AND a.id = ?2 AND b.is_open = 1 AND b.closes_at > ?3)";
