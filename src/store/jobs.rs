//! Jobs and timers: what must happen, and who has taken it on.

use serde_json::Value;

use super::db::{Batch, Cell, Error, Store};
use crate::model::time::Time;
use crate::params;

/// Jobs that are counted at most: figures are asked for every few seconds, and a million timers may wait.
pub const MOST_COUNTED: usize = 100_000;

/// A line in which jobs wait: those of one never wait for those of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// What this server does by itself.
    Own,
    /// What servers of others have to answer: slow, and many at once.
    Calls,
}

impl Line {
    /// Every line.
    pub const ALL: [Line; 2] = [Line::Own, Line::Calls];

    /// The line's number, in rows and lists.
    pub fn number(self) -> usize {
        match self {
            Line::Own => 0,
            Line::Calls => 1,
        }
    }
}

/// A job that has been claimed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: i64,
    /// What is to be done, such as `run`.
    pub kind: String,
    /// To what: a run's id, a bulk operation's id.
    pub subject: String,
    /// How often it has failed before. A claim that ran out is none: a node that died says nothing of the job.
    pub attempts: i64,
    /// The claim; whoever holds it may finish the job.
    pub lease: String,
    /// How far a job has come that is done in parts, in its own terms.
    pub progress: Option<String>,
}

impl Store {
    /// Claims at most `limit` jobs that are due. A claimed job is due again at `until`: whoever is still there then takes
    /// up what a dead worker left, and nobody waits behind it meanwhile.
    pub async fn claim_jobs(&self, lease: &str, now: Time, until: Time, limit: usize) -> Result<Vec<Job>, Error> {
        self.claim("0, 1", lease, (now, until), limit).await
    }

    /// Claims jobs of one line, as [`Store::claim_jobs`] does those of all.
    pub async fn claim_jobs_in(
        &self,
        line: Line,
        lease: &str,
        now: Time,
        until: Time,
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        self.claim(&line.number().to_string(), lease, (now, until), limit).await
    }

    async fn claim(
        &self,
        lines: &str,
        lease: &str,
        (now, until): (Time, Time),
        limit: usize,
    ) -> Result<Vec<Job>, Error> {
        let mut batch = Batch::new();
        let number = batch.returning(
            format!(
                "UPDATE jobs SET lease = ?1, due_at = ?3 WHERE id IN \
                 (SELECT id FROM jobs WHERE line IN ({lines}) AND due_at <= ?2 ORDER BY due_at LIMIT {limit} /* skip locked */) \
                 RETURNING id, kind, subject, attempts, progress"
            ),
            params![lease, now, until],
        );
        let applied = self.apply(batch).await?;
        let cell = |row: &Vec<Cell>, at: usize| row.get(at).cloned().unwrap_or(Cell::Null);
        let jobs = applied.rows(number).iter().map(|row| Job {
            id: cell(row, 0).int(),
            kind: cell(row, 1).text().to_owned(),
            subject: cell(row, 2).text().to_owned(),
            attempts: cell(row, 3).int(),
            lease: lease.to_owned(),
            progress: Some(cell(row, 4).text().to_owned()).filter(|text| !text.is_empty()),
        });
        Ok(jobs.collect())
    }

    /// When the next job is due: one that nobody holds, or one whose claim runs out.
    pub async fn next_job_at(&self) -> Result<Option<Time>, Error> {
        let mut next: Option<Time> = None;
        for line in Line::ALL {
            let at = self.next_job_in(line).await?;
            next = next.into_iter().chain(at).min();
        }
        Ok(next)
    }

    /// When the next job of a line is due.
    pub async fn next_job_in(&self, line: Line) -> Result<Option<Time>, Error> {
        let sql = "SELECT due_at FROM jobs WHERE line = ?1 ORDER BY due_at LIMIT 1";
        self.query_one(sql, &params![line.number()], |row| row.time(0)).await
    }

    /// Whether a job with that subject is there which was added before this one.
    pub async fn is_behind(&self, job: &Job, subject: &str) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM jobs WHERE subject = ?1 AND id < ?2";
        Ok(self.query_one(sql, &params![subject, job.id], |_| Ok(())).await?.is_some())
    }

    /// Makes every claimed job due at once: for a node that is alone and has just started, every claim is a dead one's.
    pub async fn release_claims(&self, now: Time) -> Result<(), Error> {
        let mut batch = Batch::new();
        batch.push("UPDATE jobs SET lease = NULL, due_at = CASE WHEN due_at > ?1 THEN ?1 ELSE due_at END WHERE lease IS NOT NULL", params![now]);
        self.apply(batch).await.map(drop)
    }

    /// How many jobs wait or run, counted to [`MOST_COUNTED`], and when the oldest was due.
    pub async fn job_backlog(&self) -> Result<(i64, Option<Time>), Error> {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM jobs LIMIT {MOST_COUNTED}) counted");
        let jobs = self.query_one(&sql, &[], |row| row.int(0)).await?.unwrap_or(0);
        Ok((jobs, self.next_job_at().await?))
    }
}

impl Batch {
    /// Adds a job.
    pub fn add_job(&mut self, kind: &str, subject: &str, due_at: Time) {
        self.push("INSERT INTO jobs (kind, subject, due_at) VALUES (?1, ?2, ?3)", params![kind, subject, due_at]);
    }

    /// Adds a job that calls a server of others.
    pub fn add_call(&mut self, kind: &str, subject: &str, due_at: Time) {
        self.push(
            "INSERT INTO jobs (kind, subject, due_at, line) VALUES (?1, ?2, ?3, ?4)",
            params![kind, subject, due_at, Line::Calls.number()],
        );
    }

    /// Adds a job that is done in parts, from `progress` on.
    pub fn add_long_job(&mut self, kind: &str, subject: &str, progress: &Value, due_at: Time) {
        self.push(
            "INSERT INTO jobs (kind, subject, progress, due_at) VALUES (?1, ?2, ?3, ?4)",
            params![kind, subject, progress, due_at],
        );
    }

    /// Adds that a part of a job is done, whose claim holds until `until` now; refused when the claim has been lost.
    pub fn advance_job(&mut self, job: &Job, progress: &Value, until: Time) {
        self.guard(
            "UPDATE jobs SET progress = ?3, due_at = ?4 WHERE id = ?1 AND lease = ?2",
            params![job.id, job.lease.as_str(), progress, until],
        );
    }

    /// Adds the end of a job; refused when the claim has been lost, so that nothing is done twice.
    pub fn finish_job(&mut self, job: &Job) {
        self.guard("DELETE FROM jobs WHERE id = ?1 AND lease = ?2", params![job.id, job.lease.as_str()]);
    }

    /// Adds that the job's claim holds until then; one that has been lost stays lost.
    pub fn keep_job(&mut self, job: &Job, until: Time) {
        self.push(
            "UPDATE jobs SET due_at = ?3 WHERE id = ?1 AND lease = ?2",
            params![job.id, job.lease.as_str(), until],
        );
    }

    /// Adds that jobs which were claimed and not begun are due again at `due_at`, as if nobody had had them.
    pub fn hand_back(&mut self, jobs: &[Job], due_at: Time) {
        let claims: Vec<(i64, &str)> = jobs.iter().map(|job| (job.id, job.lease.as_str())).collect();
        self.push(
            "UPDATE jobs SET lease = NULL, due_at = ?2 FROM json_each(?1) j \
             WHERE jobs.id = CAST(j.value ->> 0 AS BIGINT) AND jobs.lease = j.value ->> 1",
            params![serde_json::to_string(&claims).unwrap_or_default(), due_at],
        );
    }

    /// Adds that the job has failed and is to be tried again at `due_at`; refused when the claim has been lost.
    pub fn retry_job(&mut self, job: &Job, due_at: Time) {
        self.guard(
            "UPDATE jobs SET due_at = ?3, lease = NULL, attempts = attempts + 1 WHERE id = ?1 AND lease = ?2",
            params![job.id, job.lease.as_str(), due_at],
        );
    }
}
