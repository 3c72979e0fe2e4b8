//! Feeds: their versions and counters, their pages, and what changed in them since a version.

use std::ops::RangeInclusive;

use super::db::{Applied, Batch, Cell, Driver, Error, FeedKey, Param, Row, Store};
use super::dialect;
use super::filter::{Where, status_condition};
use super::messages::{COLUMNS, MESSAGE_COLUMNS, from_row};
use super::{Env, messages};
use crate::model::feed::{Archived, Counts, Filter, Head, Status};
use crate::model::ids::Ksuid;
use crate::model::mark::Mark;
use crate::model::message::Message;
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};

pub(super) const HEAD: &str =
    "id, version, forgotten, total, unread, unseen, archived, archived_unread, archived_unseen, last_at";

/// Changes that a resume may span; a client further behind starts anew.
pub const RESUME_LIMIT: usize = 200;

/// Feeds that are asked for in one question.
pub(super) const MOST_AT_ONCE: usize = 64;

/// Rows that a page may look at on the thread that asks, some 0.3 ms; a longer way is left to the blocking pool.
const IN_PLACE: i64 = 2_000;

/// One page of a feed, newest first, and whether there is more on either side.
#[derive(Debug)]
pub struct FeedPage {
    pub messages: Vec<Message>,
    pub has_newer: bool,
    pub has_older: bool,
}

/// What changed in a feed since a version.
#[derive(Debug)]
pub enum Changes {
    /// The version is too old, or unknown: start anew.
    TooOld,
    /// These messages are new or changed, those are gone.
    Since { changed: Vec<Message>, removed: Vec<Removal> },
}

/// What must hold of a message, beside that it is named, for a mark to reach it. It is asked where the message is found, and
/// again where it is marked: it may have changed in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Still {
    pub status: Status,
    /// It was given at this very instant what the mark takes back.
    pub marked_at: Option<Time>,
}

impl Still {
    /// The condition, behind others; the instant is the parameter of this number, and the last.
    pub(super) fn holds(self, mark: Mark, number: usize) -> String {
        let status = status_condition(self.status).map(|condition| format!(" AND {condition}"));
        let instant = self.marked_at.map(|_| format!(" AND m.{} = ?{number}", mark.column()));
        status.unwrap_or_default() + &instant.unwrap_or_default()
    }

    /// `params`, and the instant if there is one.
    pub(super) fn bound(self, mut params: Vec<Param>) -> Vec<Param> {
        params.extend(self.marked_at.map(Param::from));
        params
    }
}

/// A feed, and since which version it is asked what changed, if it is.
#[derive(Debug)]
pub(super) struct Question {
    env: Env,
    channel: String,
    recipient: String,
    since: Option<i64>,
}

/// How the feed stands, and what changed in it since then: as of one moment.
#[derive(Debug)]
pub(super) struct Answer {
    head: Head,
    changes: Option<Changes>,
}

/// A message that is gone: what is still known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub id: String,
    pub tenant: Option<String>,
}

impl Store {
    /// The feed's version and counters; a feed that never held anything is all zeros.
    pub async fn feed_head(&self, env: Env, channel: &str, recipient: &str) -> Result<Head, Error> {
        match self.desks() {
            Some(desks) => {
                let (channel, recipient) = (channel.to_owned(), recipient.to_owned());
                Ok(desks.feeds.ask(Question { env, channel, recipient, since: None }).await?.head)
            }
            None => self.head_alone(env, channel, recipient).await,
        }
    }

    /// The feed's version and counters, with what changed after version `since`.
    pub async fn feed_since(
        &self,
        env: Env,
        channel: &str,
        recipient: &str,
        since: i64,
    ) -> Result<(Head, Changes), Error> {
        if let Some(desks) = self.desks() {
            let (channel, recipient) = (channel.to_owned(), recipient.to_owned());
            let asked = desks.feeds.ask(Question { env, channel, recipient, since: Some(since) });
            let Answer { head, changes } = asked.await?;
            return Ok((head, changes.unwrap_or(Changes::TooOld)));
        }
        let head = self.head_alone(env, channel, recipient).await?;
        Ok((head, self.changes_alone(&head, since).await?))
    }

    async fn head_alone(&self, env: Env, channel: &str, recipient: &str) -> Result<Head, Error> {
        let sql = "SELECT id, version, forgotten, total, unread, unseen, archived, archived_unread, archived_unseen \
                   FROM feeds WHERE env = ?1 AND channel = ?2 AND recipient = ?3";
        Ok(self.query_one(sql, &params![env, channel, recipient], |row| head(row, 0)).await?.unwrap_or_default())
    }

    /// One page of the feed under `filter`, newest first; `head` is the feed's, read before.
    pub async fn feed_page(
        &self,
        head: &Head,
        filter: &Filter,
        at: Option<&Edge>,
        size: usize,
    ) -> Result<FeedPage, Error> {
        let mut condition = Where::default();
        condition.and("m.feed = ?", vec![head.id.into()]);
        condition.row_by_row(|condition| condition.feed_filter(filter));
        condition.row_by_row(|condition| condition.status(filter.status));
        let mut backwards = false;
        match at {
            Some(Edge::After(Cursor::Seq(seq))) => condition.and("m.seq < ?", vec![(*seq).into()]),
            Some(Edge::Before(Cursor::Seq(seq))) => {
                backwards = true;
                condition.and("m.seq > ?", vec![(*seq).into()]);
            }
            _ => {}
        }
        let (clause, params) = condition.finish();
        let order = if backwards { "ASC" } else { "DESC" };
        let sql = format!("SELECT {COLUMNS} FROM messages m WHERE {clause} ORDER BY m.seq {order} LIMIT {}", size + 1);
        let mut found = match rows_to_read(head, filter, size + 1) {
            Some(0) => Vec::new(),
            Some(rows) if rows <= IN_PLACE => self.query(&sql, &params, from_row).await?,
            _ => self.scan(sql, params, from_row).await?,
        };
        let more = found.len() > size;
        found.truncate(size);
        if backwards {
            found.reverse();
        }
        let (has_newer, has_older) = match at {
            None => (false, more),
            Some(Edge::After(_)) => (true, more),
            Some(Edge::Before(_)) => (more, true),
        };
        Ok(FeedPage { messages: found, has_newer, has_older })
    }

    /// The counts under `filter`: from the counters where they suffice, else by counting.
    pub async fn feed_counts(&self, head: &Head, filter: &Filter) -> Result<Counts, Error> {
        if filter.is_counted() {
            return Ok(head.counts(filter.archived, filter.status));
        }
        let mut condition = Where::default();
        condition.and("m.feed = ?", vec![head.id.into()]);
        condition.feed_filter(filter);
        let (clause, params) = condition.finish();
        let total = status_condition(filter.status).unwrap_or("1 = 1");
        let sql = format!(
            "SELECT count(*) FILTER (WHERE {total}), count(*) FILTER (WHERE m.read_at IS NULL), \
             count(*) FILTER (WHERE m.seen_at IS NULL) FROM messages m WHERE {clause}"
        );
        let counted = self
            .scan(sql, params, |row| Ok(Counts { total: row.int(0)?, unread: row.int(1)?, unseen: row.int(2)? }))
            .await?;
        Ok(counted.into_iter().next().unwrap_or_default())
    }

    pub(super) async fn changes_alone(&self, head: &Head, since: i64) -> Result<Changes, Error> {
        if !is_known(head, since) {
            return Ok(Changes::TooOld);
        }
        if since == head.version {
            return Ok(Changes::Since { changed: Vec::new(), removed: Vec::new() });
        }
        // New items by their place, older ones by the version of their latest change: each half has its index.
        let limit = RESUME_LIMIT + 1;
        let sql = format!(
            "SELECT * FROM (SELECT {COLUMNS} FROM messages m WHERE m.feed = ?1 AND m.seq > ?2 LIMIT {limit}) fresh \
             UNION ALL SELECT * FROM (SELECT {COLUMNS} FROM messages m WHERE m.feed = ?1 AND m.version > ?2 \
             AND m.version <> m.seq AND m.seq <= ?2 LIMIT {limit}) older ORDER BY seq DESC"
        );
        let changed = self.query(&sql, &params![head.id, since], from_row).await?;
        let removed = self
            .query(
                "SELECT message, tenant FROM removals WHERE feed = ?1 AND version > ?2",
                &params![head.id, since],
                |row| Ok(Removal { id: row.string(0)?, tenant: row.maybe_string(1)? }),
            )
            .await?;
        Ok(Changes::Since { changed, removed }.within_limit())
    }

    /// The ids of the feed's messages under `filter` at these places, oldest first: one chunk of a mark of all. Where a mark
    /// is taken back that was given at one instant, only of those that were given it then.
    pub async fn feed_ids(
        &self,
        feed: i64,
        filter: &Filter,
        taken_back: Option<(Mark, Time)>,
        places: RangeInclusive<i64>,
        limit: usize,
    ) -> Result<Vec<(i64, String)>, Error> {
        let mut condition = Where::default();
        let (first, last) = places.into_inner();
        condition.and("m.feed = ? AND m.seq BETWEEN ? AND ?", vec![feed.into(), first.into(), last.into()]);
        condition.feed_filter(filter);
        condition.status(filter.status);
        if let Some((mark, at)) = taken_back {
            condition.and(&format!("m.{} = ?", mark.column()), vec![at.into()]);
        }
        let (clause, params) = condition.finish();
        let sql = format!("SELECT m.seq, m.id FROM messages m WHERE {clause} ORDER BY m.seq LIMIT {limit}");
        self.scan(sql, params, |row| Ok((row.int(0)?, row.string(1)?))).await
    }

    /// Counters of the feed as a recount finds them: what audits compare with [`Store::feed_head`].
    pub async fn recount(&self, feed: i64) -> Result<(Counts, Counts), Error> {
        let sql = format!("SELECT {} FROM messages m WHERE m.feed = ?1", counts());
        let rows = self.scan(sql, params![feed], |row| {
            let active = Counts { total: row.int(0)?, unread: row.int(1)?, unseen: row.int(2)? };
            Ok((active, Counts { total: row.int(3)?, unread: row.int(4)?, unseen: row.int(5)? }))
        });
        Ok(rows.await?.into_iter().next().unwrap_or_default())
    }
}

/// How many of the feed's rows have to be looked at until `wanted` are found that match: by its counters, and as if those
/// that match were spread evenly. None where the counters do not tell.
fn rows_to_read(head: &Head, filter: &Filter, wanted: usize) -> Option<i64> {
    let all = head.counts(Archived::Include, Status::All).total;
    if all > 0 && !filter.is_counted() {
        return None;
    }
    let wanted = i64::try_from(wanted).unwrap_or(i64::MAX);
    match head.counts(filter.archived, filter.status).total {
        ..=0 => Some(0),
        matching => Some(all.saturating_mul(wanted).div_euclid(matching).min(all)),
    }
}

/// Whether what changed since then is known, and not too much.
fn is_known(head: &Head, since: i64) -> bool {
    (head.forgotten..=head.version).contains(&since) && head.version - since <= RESUME_LIMIT as i64
}

impl Changes {
    fn within_limit(self) -> Changes {
        match self {
            Changes::Since { changed, removed } if changed.len() + removed.len() > RESUME_LIMIT => Changes::TooOld,
            within => within,
        }
    }
}

/// Reads a head whose columns begin with this one.
fn head(row: &Row<'_>, from: usize) -> Result<Head, Error> {
    let counts = |at: usize| -> Result<Counts, Error> {
        Ok(Counts { total: row.int(at)?, unread: row.int(at + 1)?, unseen: row.int(at + 2)? })
    };
    Ok(Head {
        id: row.int(from)?,
        version: row.int(from + 1)?,
        forgotten: row.int(from + 2)?,
        active: counts(from + 3)?,
        archived: counts(from + 6)?,
    })
}

/// Answers questions about many feeds by one reading, each as of the same moment.
pub(super) async fn answer(driver: &Driver, questions: Vec<Question>) -> Vec<Result<Answer, Error>> {
    let asked =
        |Question { env, channel, recipient, since }: &Question| (*env, channel.clone(), recipient.clone(), *since);
    let list = serde_json::to_string(&questions.iter().map(asked).collect::<Vec<_>>()).unwrap_or_default();
    let sql = dialect::feeds_since(COLUMNS, RESUME_LIMIT);
    let found = match driver.query(&sql, &params![list], |row| Ok(Found::read(row))).await {
        Ok(found) => found,
        Err(error) => return questions.iter().map(|_| Err(error.clone())).collect(),
    };
    let mut answers: Vec<_> =
        questions.iter().map(|question| Ok(Answer::new(Head::default(), question.since))).collect();
    for found in found {
        let (Ok(Found { at, .. }) | Err((at, _))) = found;
        let (Some(answer), Some(question)) = (answers.get_mut(at), questions.get(at)) else { continue };
        match found {
            Ok(found) => {
                if let Ok(answer) = answer {
                    answer.add(found, question.since);
                }
            }
            Err((_, error)) => *answer = Err(error),
        }
    }
    let within = |Answer { head, changes }| Answer { head, changes: changes.map(Changes::within_limit) };
    answers.into_iter().map(|answer| answer.map(within)).collect()
}

/// One row of an answer: the feed, and a message that changed, if there is one.
struct Found {
    /// The place of its question.
    at: usize,
    head: Head,
    message: Option<Message>,
    /// All that is gone, the same in every row of the feed.
    removed: Vec<Removal>,
}

impl Found {
    /// Reads a row; what cannot be read concerns one question only.
    fn read(row: &Row<'_>) -> Result<Found, (usize, Error)> {
        let place = row.int(MESSAGE_COLUMNS).ok().and_then(|at| usize::try_from(at - 1).ok());
        let at = place.unwrap_or(usize::MAX);
        let read = || {
            let gone: Vec<(String, Option<String>)> = match row.maybe_text(MESSAGE_COLUMNS + 1)? {
                Some(_) => row.json(MESSAGE_COLUMNS + 1)?,
                None => Vec::new(),
            };
            Ok(Found {
                at,
                head: head(row, MESSAGE_COLUMNS + 2)?,
                message: if row.maybe_text(0)?.is_some() { Some(from_row(row)?) } else { None },
                removed: gone.into_iter().map(|(id, tenant)| Removal { id, tenant }).collect(),
            })
        };
        read().map_err(|error| (at, error))
    }
}

impl Answer {
    /// Before anything that changed is added.
    fn new(head: Head, since: Option<i64>) -> Answer {
        let changes = since.map(|since| match is_known(&head, since) {
            true => Changes::Since { changed: Vec::new(), removed: Vec::new() },
            false => Changes::TooOld,
        });
        Answer { head, changes }
    }

    fn add(&mut self, found: Found, since: Option<i64>) {
        if self.head.id != found.head.id {
            *self = Answer::new(found.head, since);
        }
        if let Some(Changes::Since { changed, removed }) = &mut self.changes {
            changed.extend(found.message);
            *removed = found.removed;
        }
    }
}

/// The feed's head as a batch gives it back, and the instant of its newest item; none when the feed did not change.
pub fn head_after(applied: &Applied, number: usize) -> Option<(Head, Time)> {
    let cells: &Vec<Cell> = applied.rows(number).first()?;
    let n = |at: usize| cells.get(at).map_or(0, Cell::int);
    let head = Head {
        id: n(0),
        version: n(1),
        forgotten: n(2),
        active: Counts { total: n(3), unread: n(4), unseen: n(5) },
        archived: Counts { total: n(6), unread: n(7), unseen: n(8) },
    };
    Some((head, Time::from_micros(n(9))))
}

impl Batch {
    /// Adds a new message to the feed of its channel and recipient; gives back the number of the feed's head.
    /// The feed stamps the message: items of one feed never share an instant or run backwards (F-FED-06).
    pub fn add_to_feed(&mut self, message: &Message) -> usize {
        let recipient = message.recipient.key();
        let number = self.returning(
            format!(
                "INSERT INTO feeds (env, channel, recipient, version, last_at, total, unread, unseen, archived, archived_unread, archived_unseen) \
                 VALUES (?1, ?2, ?3, 1, ?4, 1, 1, 1, 0, 0, 0) \
                 ON CONFLICT (env, channel, recipient) DO UPDATE SET version = feeds.version + 1, \
                 last_at = CASE WHEN excluded.last_at > feeds.last_at THEN excluded.last_at ELSE feeds.last_at + 1 END, \
                 total = feeds.total + 1, unread = feeds.unread + 1, unseen = feeds.unseen + 1 RETURNING {HEAD}"
            ),
            params![message.env, message.channel.as_str(), recipient.as_str(), message.inserted_at],
        );
        self.require_none_standing(message);
        self.push(messages::INSERT_IN_FEED, messages::insert_params(message));
        self.feeds.push(FeedKey::Named { env: message.env, channel: message.channel.clone(), recipient });
        number
    }

    /// Adds a mark on those messages of one feed of which this holds. Gives back the number of the feed's head afterwards;
    /// there is none where the mark changed nothing (F-STA-17).
    pub fn mark_in_feed(
        &mut self,
        feed: i64,
        ids: &[String],
        still: Still,
        mark: Mark,
        data: Option<&str>,
        now: Time,
    ) -> usize {
        self.feeds.push(FeedKey::Id(feed));
        let list = serde_json::to_string(ids).unwrap_or_default();
        let chosen = |number: usize| format!("{CHOSEN}{}{}", changes(mark), still.holds(mark, number));
        let raised = raised(&recounted(Some(mark), &chosen(3)), &chosen(3));
        let number = self.returning(raised, still.bound(params![feed, list.as_str()]));
        self.push(
            format!(
                "INSERT INTO message_events (message, id, type, data, inserted_at) \
                 SELECT m.id, j.value ->> 1, ?3, ?4, CAST(?5 AS BIGINT) FROM json_each(?2) j JOIN messages m ON m.id = j.value ->> 0 \
                 WHERE +m.feed = ?1{}{} ON CONFLICT DO NOTHING",
                changes(mark),
                still.holds(mark, 6)
            ),
            still.bound(params![feed, event_pairs(ids, mark.name(), now), format!("message.{}", mark.name()), data, now]),
        );
        self.push(
            format!(
                "UPDATE messages AS m SET {}, updated_at = ?3, version = (SELECT version FROM feeds WHERE id = ?1) WHERE {}",
                assignments(mark),
                chosen(4)
            ),
            still.bound(params![feed, list, now]),
        );
        number
    }

    /// Adds the removal of messages from one feed and from everywhere else (F-AMB-48). Gives back the number of the
    /// feed's head afterwards; there is none where none of the messages was there.
    pub fn remove_from_feed(&mut self, feed: i64, ids: &[String]) -> usize {
        self.feeds.push(FeedKey::Id(feed));
        let list = serde_json::to_string(ids).unwrap_or_default();
        let number = self.returning(raised(&recounted(None, CHOSEN), CHOSEN), params![feed, list.as_str()]);
        for sql in [
            format!(
                "INSERT INTO removals (feed, version, message, tenant) \
                 SELECT CAST(?1 AS BIGINT), f.version, m.id, m.tenant FROM messages m JOIN feeds f ON f.id = ?1 WHERE {CHOSEN}"
            ),
            format!("DELETE FROM message_events WHERE message IN (SELECT m.id FROM messages m WHERE {CHOSEN})"),
            format!("DELETE FROM messages AS m WHERE {CHOSEN}"),
        ] {
            self.push(sql, params![feed, list.as_str()]);
        }
        number
    }

    /// Adds that removals are forgotten of which nobody who resumes can learn any more. Twice as many versions are kept as
    /// are asked for: a resume may be under way.
    pub fn forget_removals(&mut self) {
        self.push(
            "DELETE FROM removals WHERE version <= (SELECT f.version - ?1 FROM feeds f WHERE f.id = removals.feed)",
            params![2 * RESUME_LIMIT],
        );
    }

    /// Adds that messages of one feed show these actors, a JSON array, from now on. Gives back the number of the feed's
    /// head afterwards; there is none where none of the messages was there.
    pub fn show_actors_in_feed(&mut self, feed: i64, ids: &[String], actors: &str, now: Time) -> usize {
        self.feeds.push(FeedKey::Id(feed));
        let list = serde_json::to_string(ids).unwrap_or_default();
        let number = self.returning(raised("", CHOSEN), params![feed, list.as_str()]);
        self.push(
            format!(
                "UPDATE messages AS m SET actors = ?3, updated_at = ?4, version = (SELECT version FROM feeds WHERE id = ?1) \
                 WHERE {CHOSEN}"
            ),
            params![feed, list, actors, now],
        );
        number
    }
}

/// The messages of feed `?1` whose ids `?2` lists. The plus sign is what lets them be found by their ids: by the index of
/// feeds, each of these statements would read the whole feed.
pub(super) const CHOSEN: &str = "+m.feed = ?1 AND m.id IN (SELECT value FROM json_each(?2))";

/// The feed's next version, with `counters` as they will be (or none, where they stay), if any message is chosen. It stands in front of what changes
/// the messages: it counts them as they still are.
pub(super) fn raised(counters: &str, chosen: &str) -> String {
    format!(
        "UPDATE feeds SET version = version + 1{counters} \
         WHERE id = ?1 AND EXISTS (SELECT 1 FROM messages m WHERE {chosen}) RETURNING {HEAD}"
    )
}

/// The feed's counters: whether they count the archive, and what must not be set.
const COUNTERS: [(&str, bool, Option<&str>); 6] = [
    ("total", false, None),
    ("unread", false, Some("read_at")),
    ("unseen", false, Some("seen_at")),
    ("archived", true, None),
    ("archived_unread", true, Some("read_at")),
    ("archived_unseen", true, Some("seen_at")),
];

/// The counters once the chosen messages have been given the mark, or are gone if there is none.
pub(super) fn recounted(mark: Option<Mark>, chosen: &str) -> String {
    let (mut names, mut shares) = (Vec::new(), Vec::new());
    for (name, is_archived, unset) in COUNTERS {
        let counts = |mark: Option<Mark>| {
            let unset = unset.map(|column| format!(" AND {}", is_set(column, false, mark))).unwrap_or_default();
            format!("count(*) FILTER (WHERE {}{unset})", is_set("archived_at", is_archived, mark))
        };
        let (before, after) = (counts(None), mark.map(|mark| counts(Some(mark))));
        if after.as_ref() != Some(&before) {
            names.push(name);
            shares.push(format!("feeds.{name} - {before} + {}", after.as_deref().unwrap_or("0")));
        }
    }
    if names.is_empty() {
        return String::new();
    }
    format!(", ({}) = (SELECT {} FROM messages m WHERE {chosen})", names.join(", "), shares.join(", "))
}

/// What the counters are by a count of messages `m`, in their order.
fn counts() -> String {
    let count = |(_, is_archived, unset): (&str, bool, Option<&str>)| {
        let unset = unset.map(|column| format!(" AND m.{column} IS NULL")).unwrap_or_default();
        format!("count(*) FILTER (WHERE {}{unset})", is_set("archived_at", is_archived, None))
    };
    COUNTERS.map(count).join(", ")
}

/// The counters of feeds whose messages have been counted anew.
pub(super) fn counted() -> String {
    format!(
        "({}) = (SELECT {} FROM messages m WHERE m.feed = feeds.id)",
        COUNTERS.map(|(name, ..)| name).join(", "),
        counts()
    )
}

/// That a message's stamp is set, or is not, once it has been given the mark.
fn is_set(column: &str, wanted: bool, mark: Option<Mark>) -> String {
    match mark.and_then(|mark| mark.leaves(column)) {
        Some(is_set) => (if is_set == wanted { "TRUE" } else { "FALSE" }).to_owned(),
        None => format!("m.{column} IS {}NULL", if wanted { "NOT " } else { "" }),
    }
}

/// `[[message, event], ...]` as JSON: the messages to change, each with the id of the event that tells of it.
pub(crate) fn event_pairs(ids: &[String], name: &str, now: Time) -> String {
    let pairs: Vec<(&str, String)> =
        ids.iter().map(|id| (id.as_str(), Ksuid::mint(now, &[id.as_bytes(), name.as_bytes()]).to_string())).collect();
    serde_json::to_string(&pairs).unwrap_or_default()
}

/// What must hold for the mark to change a message: taking back what was never given is silent (F-STA-17).
pub(crate) fn changes(mark: Mark) -> &'static str {
    match mark {
        Mark::Unseen => " AND m.seen_at IS NOT NULL",
        Mark::Unread => " AND m.read_at IS NOT NULL",
        Mark::Unarchived => " AND m.archived_at IS NOT NULL",
        Mark::Seen | Mark::Read | Mark::Interacted | Mark::Archived | Mark::LinkClicked => "",
    }
}

/// What the mark writes (F-STA-11 to F-STA-14, F-AMB-46); `?3` is now.
pub(crate) fn assignments(mark: Mark) -> &'static str {
    match mark {
        Mark::Seen => "seen_at = ?3",
        Mark::Unseen => "seen_at = NULL",
        Mark::Read => "read_at = ?3",
        Mark::Unread => "read_at = NULL",
        Mark::Interacted => "interacted_at = ?3, read_at = coalesce(read_at, ?3)",
        Mark::Archived => "archived_at = ?3",
        Mark::Unarchived => "archived_at = NULL",
        Mark::LinkClicked => "link_clicked_at = ?3",
    }
}
