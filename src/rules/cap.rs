//! How much a frequency cap lets pass: so many within a period that rolls, or within one of the calendar.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, ToSpan as _};

use crate::model::time::Time;
use crate::wire::duration::Duration;

/// How long what has been sent counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Period {
    /// So long after it was sent.
    Rolling(Duration),
    /// Until the recipient's day is over.
    Day,
    /// Until their week is; it begins on Monday.
    Week,
    /// Until their month is.
    Month,
}

/// What a cap says to one message more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It passes. What was sent until `over` counts no more, and what passes now matters until then.
    Room { over: Option<Time>, until: Time },
    /// So many have passed; the next may then.
    Reached { count: i64, frees_at: Time },
}

impl Period {
    /// When what was sent at `at` counts no more.
    pub fn ends(&self, at: Time, zone: &TimeZone) -> Time {
        let today = zone.to_datetime(at.timestamp()).date();
        match self {
            Period::Rolling(duration) => duration.after(at, zone).unwrap_or(at),
            Period::Day => begins(today.checked_add(1.day()), zone, at),
            Period::Week => {
                let left = 7 - today.weekday().to_monday_zero_offset();
                begins(today.checked_add(Span::new().days(left)), zone, at)
            }
            Period::Month => begins(today.first_of_month().checked_add(1.month()), zone, at),
        }
    }

    /// Whether one more may be sent at `now`, where these have been, oldest first.
    pub fn judge(&self, limit: i64, sent: &[Time], now: Time, zone: &TimeZone) -> Verdict {
        let ends = |at: &Time| self.ends(*at, zone);
        // Whatever was sent later is over later.
        let (over, counting) = sent.split_at(sent.partition_point(|at| ends(at) <= now));
        let count = counting.len() as i64;
        if count >= limit {
            // So many have to be over before there is room.
            let frees_at = counting.get((count - limit) as usize).map_or(now, ends);
            return Verdict::Reached { count, frees_at };
        }
        // Whoever goes elsewhere has a longer day once.
        Verdict::Room { over: over.last().copied(), until: ends(&now).plus_seconds(2 * 86_400) }
    }
}

fn begins(date: Result<Date, jiff::Error>, zone: &TimeZone, at: Time) -> Time {
    let begins = date.and_then(|date| zone.to_timestamp(date.at(0, 0, 0, 0)));
    begins.map_or(at, Time::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::duration::Unit;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn berlin() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    #[test]
    fn periods_of_the_calendar_end_on_the_recipients_clocks() {
        // A Saturday; the clocks go back in the night to Sunday the 25th.
        for (period, sent, ends) in [
            (Period::Day, "2026-10-24T12:00:00Z", "2026-10-24T22:00:00Z"),
            (Period::Day, "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"),
            (Period::Week, "2026-10-24T12:00:00Z", "2026-10-25T23:00:00Z"),
            (Period::Week, "2026-10-25T23:00:00Z", "2026-11-01T23:00:00Z"),
            (Period::Month, "2026-10-24T12:00:00Z", "2026-10-31T23:00:00Z"),
            (Period::Month, "2026-12-31T22:59:00Z", "2026-12-31T23:00:00Z"),
        ] {
            assert_eq!(period.ends(at(sent), &berlin()), at(ends), "{period:?} from {sent}");
        }
        let hours = Period::Rolling(Duration { unit: Unit::Hours, value: 24.0 });
        assert_eq!(hours.ends(at("2026-10-24T22:30:00Z"), &berlin()), at("2026-10-25T22:30:00Z"));
    }

    #[test]
    fn what_is_over_counts_no_more_and_the_oldest_frees_a_place() {
        let hour = Period::Rolling(Duration { unit: Unit::Hours, value: 1.0 });
        let sent = [at("2026-10-24T10:00:00Z"), at("2026-10-24T10:30:00Z"), at("2026-10-24T10:40:00Z")];
        let judge = |limit, now: &str| hour.judge(limit, &sent, at(now), &TimeZone::UTC);
        let reached = |count, frees_at: &str| Verdict::Reached { count, frees_at: at(frees_at) };
        assert_eq!(judge(3, "2026-10-24T10:59:59Z"), reached(3, "2026-10-24T11:00:00Z"));
        let room = |over| Verdict::Room { over, until: at("2026-10-26T12:00:00Z") };
        assert_eq!(judge(3, "2026-10-24T11:00:00Z"), room(Some(sent[0])), "what is over is forgotten");
        // The limit has been lowered: two have to be over.
        assert_eq!(judge(2, "2026-10-24T10:50:00Z"), reached(3, "2026-10-24T11:30:00Z"));
    }
}
