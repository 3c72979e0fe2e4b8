//! Points in time as templates see them: read from text or numbers, printed by a pattern.

use std::fmt::Write;

use jiff::{
    Timestamp,
    civil::DateTime,
    fmt::{strtime::BrokenDownTime, temporal::Pieces},
    tz::{Offset, TimeZone},
};

use crate::model::time::Time;

use super::value::Val;

/// The widest padding a pattern may ask for.
const MAX_WIDTH: usize = 64;

/// Spellings beside ISO 8601 that are read.
const SPELLINGS: [&str; 12] = [
    "%Y-%m-%d %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%a, %d %b %Y %H:%M:%S %z",
    "%B %d, %Y",
    "%b %d, %Y",
    "%B %d, %Y %H:%M:%S",
    "%b %d, %Y %H:%M:%S",
    "%d %B %Y",
    "%d %b %Y",
    "%a %b %d %H:%M:%S %Y",
    "%Y/%m/%d",
];

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(crate) const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// An instant with the clock on the wall beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Instant {
    pub(crate) at: Timestamp,
    pub(crate) civil: DateTime,
    pub(crate) offset: Offset,
    /// The zone's abbreviation, where a zone is known.
    abbreviation: Option<String>,
    pub(crate) is_utc: bool,
}

impl Instant {
    /// Reads a time: ISO 8601, Unix seconds, `"now"`, `"today"` and some other spellings (D-AMB-22).
    pub(crate) fn read(value: &Val<'_>, now: Time) -> Option<Instant> {
        match value {
            Val::Int(seconds) => Timestamp::from_second(*seconds).ok().map(Instant::utc),
            Val::Float(seconds) => Timestamp::from_microsecond((*seconds * 1e6) as i64).ok().map(Instant::utc),
            _ => Instant::parse(value.as_str()?, now),
        }
    }

    fn parse(text: &str, now: Time) -> Option<Instant> {
        let text = text.trim();
        if text == "now" || text == "today" {
            return Some(Instant::utc(now.timestamp()));
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).map(Instant::utc);
        }
        if let Ok(pieces) = Pieces::parse(text) {
            let civil = pieces.date().to_datetime(pieces.time().unwrap_or(jiff::civil::Time::midnight()));
            return Instant::at(civil, pieces.to_numeric_offset());
        }
        let text = text.strip_suffix(" UTC").or_else(|| text.strip_suffix(" GMT")).unwrap_or(text);
        SPELLINGS.iter().find_map(|spelling| {
            let parts = BrokenDownTime::parse(spelling, text).ok()?;
            let time = parts.to_time().unwrap_or(jiff::civil::Time::midnight());
            Instant::at(parts.to_date().ok()?.to_datetime(time), parts.offset())
        })
    }

    /// What a wall clock at `offset` shows; without an offset, in UTC.
    fn at(civil: DateTime, offset: Option<Offset>) -> Option<Instant> {
        let offset = offset.unwrap_or(Offset::UTC);
        let at = offset.to_timestamp(civil).ok()?;
        let is_utc = offset.is_zero();
        Some(Instant { at, civil, offset, abbreviation: is_utc.then(|| "UTC".to_owned()), is_utc })
    }

    fn utc(at: Timestamp) -> Instant {
        let civil = Offset::UTC.to_datetime(at);
        Instant { at, civil, offset: Offset::UTC, abbreviation: Some("UTC".to_owned()), is_utc: true }
    }

    /// The same instant on the clocks of an IANA zone; nothing when there is no such zone.
    pub(crate) fn in_zone(self, name: &str) -> Option<Instant> {
        let zone = TimeZone::get(name.trim()).ok()?;
        let info = zone.to_offset_info(self.at);
        let offset = info.offset();
        let abbreviation = Some(info.abbreviation().to_owned());
        let is_utc = matches!(name.trim(), "UTC" | "Etc/UTC" | "utc" | "Z");
        Some(Instant { at: self.at, civil: offset.to_datetime(self.at), offset, abbreviation, is_utc })
    }

    /// ISO 8601 with the offset, `Z` for UTC.
    pub(crate) fn iso(&self) -> String {
        let pattern = if self.civil.subsec_nanosecond() == 0 { "%Y-%m-%dT%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S.%6N" };
        let mut out = String::with_capacity(32);
        self.print(pattern, &mut out);
        match self.is_utc {
            true => out.push('Z'),
            false => self.print("%:z", &mut out),
        }
        out
    }

    /// The abbreviation of the zone, or the offset.
    pub(crate) fn zone(&self) -> String {
        self.abbreviation.clone().unwrap_or_else(|| {
            let mut out = String::new();
            self.print("%:z", &mut out);
            out
        })
    }

    /// Sunday is 0.
    pub(crate) fn day_of_week(&self) -> usize {
        usize::from(self.civil.weekday().to_sunday_zero_offset().unsigned_abs())
    }

    /// The hour on a twelve-hour clock.
    pub(crate) fn hour12(&self) -> i64 {
        (i64::from(self.civil.hour()) + 11) % 12 + 1
    }

    /// Prints by a strftime pattern as Ruby reads it, with its flags `-0^#_:` and widths; what is unknown stays.
    pub(crate) fn print(&self, pattern: &str, out: &mut String) {
        let mut rest = pattern;
        while let Some(percent) = rest.find('%') {
            out.push_str(&rest[..percent]);
            let directive = &rest[percent..];
            let length = match Style::read(directive) {
                Some((style, conversion, length)) if self.directive(style, conversion, out) => length,
                other => {
                    let length = other.map_or(1, |(_, _, length)| length);
                    out.push_str(&directive[..length]);
                    length
                }
            };
            rest = &directive[length..];
        }
        out.push_str(rest);
    }

    fn directive(&self, style: Style, conversion: char, out: &mut String) -> bool {
        let civil = &self.civil;
        match conversion {
            'Y' => style.number(civil.year().into(), 4, '0', out),
            'C' => style.number(i64::from(civil.year()).div_euclid(100), 2, '0', out),
            'y' => style.number(i64::from(civil.year()).rem_euclid(100), 2, '0', out),
            'm' => style.number(civil.month().into(), 2, '0', out),
            'd' => style.number(civil.day().into(), 2, '0', out),
            'e' => style.number(civil.day().into(), 2, ' ', out),
            'j' => style.number(civil.day_of_year().into(), 3, '0', out),
            'H' => style.number(civil.hour().into(), 2, '0', out),
            'k' => style.number(civil.hour().into(), 2, ' ', out),
            'I' => style.number(self.hour12(), 2, '0', out),
            'l' => style.number(self.hour12(), 2, ' ', out),
            'M' => style.number(civil.minute().into(), 2, '0', out),
            'S' => style.number(civil.second().into(), 2, '0', out),
            'L' => self.fraction(style.width.unwrap_or(3), out),
            'N' => self.fraction(style.width.unwrap_or(9), out),
            's' => style.number(self.at.as_second(), 1, '0', out),
            'Q' => style.number(self.at.as_millisecond(), 1, '0', out),
            'u' => style.number(civil.weekday().to_monday_one_offset().into(), 1, '0', out),
            'w' => style.number(self.day_of_week() as i64, 1, '0', out),
            _ => return self.name(style, conversion, out),
        }
        true
    }

    fn name(&self, style: Style, conversion: char, out: &mut String) -> bool {
        let month = MONTHS[usize::from(self.civil.month().unsigned_abs()) - 1];
        let day = DAYS[self.day_of_week()];
        let half = if self.civil.hour() < 12 { "AM" } else { "PM" };
        match conversion {
            'B' => style.text(month, out),
            'b' | 'h' => style.text(&month[..3], out),
            'A' => style.text(day, out),
            'a' => style.text(&day[..3], out),
            'p' if style.is_swapped => style.text(&half.to_lowercase(), out),
            'p' => style.text(half, out),
            'P' => style.text(&half.to_lowercase(), out),
            'Z' => style.text(&self.zone(), out),
            'z' => self.offset_text(style.colons, out),
            'n' => out.push('\n'),
            't' => out.push('\t'),
            '%' => out.push('%'),
            _ => return self.week(style, conversion, out) || self.compound(style, conversion, out),
        }
        true
    }

    fn week(&self, style: Style, conversion: char, out: &mut String) -> bool {
        let day = i64::from(self.civil.day_of_year()) - 1;
        let iso = || self.civil.date().iso_week_date();
        match conversion {
            'U' => style.number((day + 7 - self.day_of_week() as i64) / 7, 2, '0', out),
            'W' => style.number((day + 7 - (self.day_of_week() as i64 + 6) % 7) / 7, 2, '0', out),
            'V' => style.number(iso().week().into(), 2, '0', out),
            'G' => style.number(iso().year().into(), 4, '0', out),
            'g' => style.number(i64::from(iso().year()).rem_euclid(100), 2, '0', out),
            _ => return false,
        }
        true
    }

    fn compound(&self, style: Style, conversion: char, out: &mut String) -> bool {
        let pattern = match conversion {
            'F' => "%Y-%m-%d",
            'T' | 'X' => "%H:%M:%S",
            'R' => "%H:%M",
            'r' => "%I:%M:%S %p",
            'D' | 'x' => "%m/%d/%y",
            'c' => "%a %b %e %H:%M:%S %Y",
            'v' => "%e-%^b-%Y",
            '+' => "%a %b %e %H:%M:%S %Z %Y",
            _ => return false,
        };
        let mut text = String::new();
        self.print(pattern, &mut text);
        style.text(&text, out);
        true
    }

    fn fraction(&self, digits: usize, out: &mut String) {
        let nanos = format!("{:09}", self.civil.subsec_nanosecond());
        let known = digits.min(9);
        out.push_str(&nanos[..known]);
        (known..digits).for_each(|_| out.push('0'));
    }

    fn offset_text(&self, colons: u8, out: &mut String) {
        let seconds = self.offset.seconds();
        let sign = if seconds < 0 { '-' } else { '+' };
        let (hours, minutes) = (seconds.abs() / 3600, seconds.abs() / 60 % 60);
        let colon = if colons > 0 { ":" } else { "" };
        let _ = write!(out, "{sign}{hours:02}{colon}{minutes:02}"); // writing to a string cannot fail
        if colons > 1 {
            let _ = write!(out, ":{:02}", seconds.abs() % 60);
        }
    }
}

/// The flags and the width of one directive.
#[derive(Clone, Copy, Default)]
struct Style {
    /// The padding asked for; `-` for none.
    padding: Option<char>,
    is_upper: bool,
    is_swapped: bool,
    colons: u8,
    width: Option<usize>,
}

impl Style {
    /// Reads a directive that begins with `%`: its style, its conversion, its length.
    fn read(directive: &str) -> Option<(Style, char, usize)> {
        let mut style = Style::default();
        for (at, c) in directive.char_indices().skip(1) {
            match c {
                '-' => style.padding = Some('-'),
                '_' => style.padding = Some(' '),
                '0' if style.width.is_none() => style.padding = Some('0'),
                '^' => style.is_upper = true,
                '#' => style.is_swapped = true,
                ':' => style.colons = style.colons.saturating_add(1),
                '0'..='9' => {
                    let width = style.width.unwrap_or(0) * 10 + c as usize - '0' as usize;
                    style.width = Some(width.min(MAX_WIDTH));
                }
                _ => return Some((style, c, at + c.len_utf8())),
            }
        }
        None
    }

    fn number(self, n: i64, width: usize, padding: char, out: &mut String) {
        let padding = self.padding.unwrap_or(padding);
        let width = if padding == '-' { 0 } else { self.width.unwrap_or(width) };
        let _ = match padding {
            '0' => write!(out, "{n:0width$}"),
            _ => write!(out, "{n:width$}"),
        }; // writing to a string cannot fail
    }

    fn text(self, text: &str, out: &mut String) {
        let padding = if self.padding == Some('0') { '0' } else { ' ' };
        (text.chars().count()..self.width.unwrap_or(0)).for_each(|_| out.push(padding));
        match self.is_upper || self.is_swapped && text.chars().any(char::is_lowercase) && text.len() > 2 {
            true => out.push_str(&text.to_uppercase()),
            false => out.push_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> Instant {
        Instant::parse(text, Time::default()).unwrap_or_else(|| panic!("{text} is not read"))
    }

    fn printed(text: &str, pattern: &str) -> String {
        let mut out = String::new();
        instant(text).print(pattern, &mut out);
        out
    }

    #[test]
    fn patterns_print_as_ruby_prints_them() {
        let at = "2024-02-03T05:06:07.089Z";
        for (pattern, expected) in [
            ("%Y-%m-%d %H:%M:%S", "2024-02-03 05:06:07"),
            ("%e|%l|%k|%-d|%-m|%_m|%03d", " 3| 5| 5|3|2| 2|003"),
            ("%A %a %^a %B %b %h %^B %10A|", "Saturday Sat SAT February Feb Feb FEBRUARY   Saturday|"),
            ("%I:%M %p %P %#p", "05:06 AM am am"),
            ("%j %U %W %V %G %g %u %w %C %y", "034 04 05 05 2024 24 6 6 20 24"),
            ("%L %N %3N %6N %s", "089 089000000 089 089000 1706936767"),
            ("%z %:z %::z %Z", "+0000 +00:00 +00:00:00 UTC"),
            (
                "%F %T %R %D %r %c %x %X",
                "2024-02-03 05:06:07 05:06 02/03/24 05:06:07 AM Sat Feb  3 05:06:07 2024 02/03/24 05:06:07",
            ),
            ("%v %n%t%%", " 3-FEB-2024 \n\t%"),
            ("100% %E %", "100% %E %"),
        ] {
            assert_eq!(printed(at, pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn many_spellings_are_read() {
        for (text, expected) in [
            ("2024-01-01T00:30:00Z", "2024-01-01T00:30:00Z"),
            ("2024-01-01T00:30:00.5+02:00", "2024-01-01T00:30:00.500000+02:00"),
            ("2024-01-01", "2024-01-01T00:00:00Z"),
            ("2024-01-01 10:20", "2024-01-01T10:20:00Z"),
            ("2024-01-01 10:20:30 -0500", "2024-01-01T10:20:30-05:00"),
            ("2024-01-01 10:20:30 UTC", "2024-01-01T10:20:30Z"),
            ("March 14, 2016", "2016-03-14T00:00:00Z"),
            ("Mar 14, 2016", "2016-03-14T00:00:00Z"),
            ("Mon, 14 Mar 2016 10:00:00 +0000", "2016-03-14T10:00:00Z"),
            ("1152098955", "2006-07-05T11:29:15Z"),
            ("now", "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(instant(text).iso(), expected, "D-AMB-22 {text}");
        }
        assert_eq!(Instant::parse("next week", Time::default()), None);
    }

    proptest::proptest! {
        #[test]
        fn common_directives_agree_with_jiff(seconds in -60_000_000_000i64..200_000_000_000) {
            let at = Timestamp::from_second(seconds).unwrap();
            let pattern = "%Y %m %d %e %H %I %M %S %j %U %W %V %G %u %w %A %b %p %s";
            let mut ours = String::new();
            Instant::utc(at).print(pattern, &mut ours);
            let theirs = at.to_zoned_datetime(TimeZone::UTC).strftime(pattern).to_string();
            proptest::prop_assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_week_begins_on_the_day_that_is_asked_for() {
        assert_eq!(instant("2024-02-04").day_of_week(), 0);
        assert_eq!(instant("2024-02-04").civil.weekday(), jiff::civil::Weekday::Sunday);
    }
}
