//! A schedule: a workflow that runs for one recipient, once at an instant or again and again.

use std::sync::Arc;

use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::recipient::RecipientRef;
use super::time::Time;
use super::trigger_data::TriggerData;
use crate::rules::recurrence::Recurrence;
use crate::rules::window::WindowRule;

/// When a schedule occurs (W-SCH-06, W-SCH-07).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Timing {
    /// It recurs by these rules; without any it occurs once, at `scheduled_at`.
    pub repeats: Vec<WindowRule>,
    /// The only occurrence, or the earliest.
    pub scheduled_at: Option<Time>,
    /// Nothing occurs later (W-SCH-23).
    pub ending_at: Option<Time>,
}

impl Timing {
    /// Whether it occurs again and again.
    pub fn recurs(&self) -> bool {
        !self.repeats.is_empty()
    }

    /// Whether it says when at all (W-SCH-08).
    pub fn is_set(&self) -> bool {
        self.recurs() || self.scheduled_at.is_some()
    }

    fn is_in_time(&self, at: Time) -> bool {
        self.ending_at.is_none_or(|end| at <= end)
    }
}

/// A schedule as stored.
#[derive(Debug, Clone)]
pub struct Schedule {
    pub id: Uuid,
    pub env: i64,
    /// Raised by every change; whoever holds an older one has been overtaken.
    pub rev: i64,
    pub workflow: String,
    pub recipient: RecipientRef,
    pub actor: Option<RecipientRef>,
    pub tenant: Option<String>,
    /// What its runs can be cancelled by (W-CAN-16).
    pub cancellation_key: Option<String>,
    pub data: Arc<TriggerData>,
    pub timing: Timing,
    /// When it last ran.
    pub last_occurrence_at: Option<Time>,
    /// When it runs next; none when nothing remains (W-SCH-21).
    pub next_occurrence_at: Option<Time>,
    pub inserted_at: Time,
    pub updated_at: Time,
}

/// What a run knows of the schedule it is an occurrence of (W-SCP-08): as it was once this occurrence had begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    pub id: Uuid,
    /// This occurrence.
    pub last_occurrence_at: Time,
    pub next_occurrence_at: Option<Time>,
}

impl Schedule {
    /// Plans the first occurrence that there is at `now`: a single one that is past is due at once (W-AMB-49).
    pub fn plan(&mut self, now: Time, zone: &TimeZone) {
        self.next_occurrence_at = match self.timing.recurs() {
            true => self.next_after(now, zone),
            false => self.timing.scheduled_at.filter(|at| self.timing.is_in_time(*at)),
        };
    }

    /// Plans anew what was planned by `before` (W-SCH-32). A single occurrence that was not put elsewhere, and is over, is
    /// not planned again.
    pub fn replan(&mut self, before: &Timing, now: Time, zone: &TimeZone) {
        if *before == self.timing {
            return;
        }
        let was_due = self.next_occurrence_at;
        self.plan(now, zone);
        let is_same = !self.timing.recurs() && self.timing.scheduled_at == before.scheduled_at;
        self.next_occurrence_at = self.next_occurrence_at.filter(|at| !is_same || *at > now || was_due == Some(*at));
    }

    /// Plans anew for another time zone (W-AMB-61). What is due already stays, and is over soon.
    pub fn replan_in(&mut self, now: Time, zone: &TimeZone) {
        if self.next_occurrence_at.is_some_and(|at| at > now) {
            self.plan(now, zone);
        }
    }

    /// Goes on to the next occurrence. What was due at `now`, if anything: of several that were missed the latest
    /// (W-AMB-50).
    pub fn advance(&mut self, now: Time, zone: &TimeZone) -> Option<Time> {
        let due = self.next_occurrence_at.filter(|at| *at <= now)?;
        if !self.timing.recurs() {
            self.next_occurrence_at = None;
            return Some(due);
        }
        let end = self.timing.ending_at.map_or(now, |end| end.min(now));
        let latest = self.recurrence(zone).latest(due, end).unwrap_or(due);
        self.next_occurrence_at = self.next_after(now, zone);
        Some(latest)
    }

    /// What the run of an occurrence knows of it.
    pub fn occurrence(&self, at: Time) -> Occurrence {
        Occurrence { id: self.id, last_occurrence_at: at, next_occurrence_at: self.next_occurrence_at }
    }

    fn next_after(&self, now: Time, zone: &TimeZone) -> Option<Time> {
        let earliest = self.timing.scheduled_at.map_or(now, |at| now.max(at.plus_micros(-1)));
        self.recurrence(zone).next_after(earliest).filter(|at| self.timing.is_in_time(*at))
    }

    /// Counted from the first occurrence that was meant, else from when it was made (W-AMB-60).
    fn recurrence<'a>(&'a self, zone: &'a TimeZone) -> Recurrence<'a> {
        let anchor = self.timing.scheduled_at.unwrap_or(self.inserted_at);
        Recurrence { rules: &self.timing.repeats, anchor, zone }
    }

    /// The schedule on the wire, with the records of its recipient and actor (W-SCH-36).
    pub fn to_json(&self, recipient: &Value, actor: Option<&Value>) -> Value {
        let mut out = json!({
            "__typename": "Schedule",
            "id": self.id,
            "workflow": self.workflow,
            "recipient": recipient,
            "actor": actor,
            "tenant": self.tenant,
            "data": self.data.value(),
            "repeats": repeats_json(&self.timing.repeats),
            "last_occurrence_at": self.last_occurrence_at,
            "next_occurrence_at": self.next_occurrence_at,
            "inserted_at": self.inserted_at,
            "updated_at": self.updated_at,
        });
        // Our own: shown where it was given.
        if let Some(key) = &self.cancellation_key {
            out["cancellation_key"] = key.as_str().into();
        }
        out
    }
}

/// Rules on the wire and in rows (W-SCH-10).
pub fn repeats_json(repeats: &[WindowRule]) -> Value {
    let rule = |rule: &WindowRule| {
        json!({
            "__typename": "ScheduleRepeat",
            "frequency": rule.frequency.name(),
            "interval": rule.interval,
            "days": rule.days.map(|days| days.names()),
            "day_of_month": rule.day_of_month,
            "hours": rule.hours,
            "minutes": rule.minutes,
        })
    };
    repeats.iter().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn schedule(repeats: Value, scheduled_at: Option<&str>, ending_at: Option<&str>) -> Schedule {
        let rule = |value: &Value| WindowRule::parse(value, "").unwrap();
        Schedule {
            id: Uuid::nil(),
            env: 1,
            rev: 0,
            workflow: "w".to_owned(),
            recipient: RecipientRef::User("ann".to_owned()),
            actor: None,
            tenant: None,
            cancellation_key: None,
            data: Arc::new(TriggerData::new(Default::default())),
            timing: Timing {
                repeats: repeats.as_array().unwrap().iter().map(rule).collect(),
                scheduled_at: scheduled_at.map(at),
                ending_at: ending_at.map(at),
            },
            last_occurrence_at: None,
            next_occurrence_at: None,
            inserted_at: at("2026-08-21T10:00:00Z"),
            updated_at: at("2026-08-21T10:00:00Z"),
        }
    }

    #[test]
    fn the_first_occurrence_is_where_the_timing_says() {
        let daily = json!([{"frequency": "daily", "hours": 9}]);
        for (repeats, scheduled_at, ending_at, expected, rule) in [
            (daily.clone(), None, None, Some("2026-08-22T09:00:00Z"), "W-SCH-06"),
            (json!([]), Some("2026-09-01T00:00:00Z"), None, Some("2026-09-01T00:00:00Z"), "W-SCH-06"),
            (json!([]), Some("2020-01-01T00:00:00Z"), None, Some("2020-01-01T00:00:00Z"), "W-AMB-49: due at once"),
            (daily.clone(), Some("2026-09-01T09:00:00Z"), None, Some("2026-09-01T09:00:00Z"), "W-SCH-07: included"),
            (daily.clone(), Some("2026-09-01T09:00:01Z"), None, Some("2026-09-02T09:00:00Z"), "W-SCH-07"),
            (daily.clone(), Some("2020-01-01T00:00:00Z"), None, Some("2026-08-22T09:00:00Z"), "W-AMB-49: after now"),
            (daily.clone(), None, Some("2026-08-22T09:00:00Z"), Some("2026-08-22T09:00:00Z"), "W-SCH-23: included"),
            (daily.clone(), None, Some("2026-08-22T08:59:59Z"), None, "W-SCH-23"),
            (json!([]), Some("2026-09-01T00:00:00Z"), Some("2026-08-31T00:00:00Z"), None, "W-SCH-23"),
        ] {
            let mut schedule = schedule(repeats, scheduled_at, ending_at);
            schedule.plan(at("2026-08-21T10:00:00Z"), &TimeZone::UTC);
            assert_eq!(schedule.next_occurrence_at, expected.map(at), "{rule}");
        }
    }

    #[test]
    fn of_what_was_missed_the_latest_occurs_and_what_follows_lies_ahead() {
        let mut schedule = schedule(json!([{"frequency": "daily", "hours": 9}]), None, Some("2026-09-01T09:00:00Z"));
        schedule.plan(at("2026-08-21T10:00:00Z"), &TimeZone::UTC);
        assert_eq!(schedule.advance(at("2026-08-21T12:00:00Z"), &TimeZone::UTC), None, "nothing is due");
        let ran = schedule.advance(at("2026-08-25T08:00:00Z"), &TimeZone::UTC);
        assert_eq!(ran, Some(at("2026-08-24T09:00:00Z")), "W-AMB-50");
        assert_eq!(schedule.next_occurrence_at, Some(at("2026-08-25T09:00:00Z")), "W-SCH-20 W-SCH-21");
        let ran = schedule.advance(at("2026-10-01T00:00:00Z"), &TimeZone::UTC);
        assert_eq!(ran, Some(at("2026-09-01T09:00:00Z")), "W-SCH-23: the latest before its end");
        assert_eq!(schedule.next_occurrence_at, None, "W-SCH-21 W-SCH-23");
    }

    #[test]
    fn what_is_over_is_not_planned_again_by_a_change_of_something_else() {
        let now = at("2026-09-02T00:00:00Z");
        let mut one = schedule(json!([]), Some("2026-09-01T00:00:00Z"), None);
        let before = one.timing.clone();
        one.timing.ending_at = Some(at("2027-01-01T00:00:00Z"));
        one.replan(&before, now, &TimeZone::UTC);
        assert_eq!(one.next_occurrence_at, None, "W-SCH-31: it has been");
        let before = one.timing.clone();
        one.timing.scheduled_at = Some(at("2026-09-01T12:00:00Z"));
        one.replan(&before, now, &TimeZone::UTC);
        assert_eq!(one.next_occurrence_at, one.timing.scheduled_at, "W-AMB-49: another instant, past, is due at once");
        let before = one.timing.clone();
        one.timing.ending_at = None;
        one.replan(&before, now, &TimeZone::UTC);
        assert_eq!(one.next_occurrence_at, one.timing.scheduled_at, "what is due stays due");
        let mut recurring = schedule(json!([{"frequency": "daily"}]), Some("2026-09-01T00:00:00Z"), None);
        recurring.plan(now, &TimeZone::UTC);
        let before = recurring.timing.clone();
        recurring.timing.repeats.clear();
        recurring.replan(&before, now, &TimeZone::UTC);
        assert_eq!(recurring.next_occurrence_at, None, "W-AMB-51: a single occurrence that has been is over");
    }
}
