//! An instant: microseconds since the Unix epoch, spelled `2026-08-21T10:00:00.000000Z`.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// An instant in UTC with a resolution of one microsecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(i64);

impl Time {
    /// Builds an instant from microseconds since the Unix epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Time(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The instant `micros` microseconds later (earlier when negative), kept within range.
    pub const fn plus_micros(self, micros: i64) -> Self {
        Time(self.0.saturating_add(micros))
    }

    /// The instant `seconds` seconds later (earlier when negative), kept within range.
    pub const fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_micros(seconds.saturating_mul(1_000_000))
    }

    /// Reads an ISO-8601 instant: any offset; without one, UTC (W-AMB-23); a bare date is its midnight in UTC.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(stamp) = text.parse::<Timestamp>() {
            return Some(stamp.into());
        }
        let civil = text
            .parse::<jiff::civil::DateTime>()
            .or_else(|_| text.parse::<jiff::civil::Date>().map(|date| date.at(0, 0, 0, 0)))
            .ok()?;
        let zoned = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
        Some(zoned.into())
    }

    /// Reads an instant as services spell it: ISO-8601, or what [`Time::since_epoch`] takes, as a number or as text.
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) => Time::parse(text).or_else(|| Time::since_epoch(text.trim().parse().ok()?)),
            Value::Number(number) => Time::since_epoch(number.as_f64()?),
            _ => None,
        }
    }

    /// The instant so many seconds or milliseconds after the Unix epoch: which of both, their size tells.
    pub fn since_epoch(number: f64) -> Option<Self> {
        let micros = if number > 1e11 { number * 1e3 } else { number * 1e6 };
        (0.0..1e14).contains(&number).then(|| Time(micros.round() as i64))
    }

    /// The same instant as a `jiff` timestamp; instants outside its range are clamped to it.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_microsecond(self.0).unwrap_or(if self.0 < 0 { Timestamp::MIN } else { Timestamp::MAX })
    }
}

impl From<Timestamp> for Time {
    fn from(stamp: Timestamp) -> Self {
        Time(stamp.as_microsecond())
    }
}

/// Writes two decimal digits of `n` at `at`.
fn two(out: &mut [u8], at: usize, n: u32) {
    out[at] = b'0' + (n / 10 % 10) as u8;
    out[at + 1] = b'0' + (n % 10) as u8;
}

impl Time {
    /// The spelling on the wire as 27 ASCII bytes, without allocating (years 0 to 9999).
    pub fn ascii(self) -> [u8; 27] {
        // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let micros_of_day = self.0.rem_euclid(86_400_000_000);
        let z = self.0.div_euclid(86_400_000_000) + 719_468;
        let era = z.div_euclid(146_097);
        let doe = z.rem_euclid(146_097);
        let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
        let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
        let mp = (5 * doy + 2) / 153;
        let day = (doy - (153 * mp + 2) / 5 + 1) as u32;
        let month = (if mp < 10 { mp + 3 } else { mp - 9 }) as u32;
        let year = (yoe + era * 400 + i64::from(month <= 2)).clamp(0, 9999) as u32;
        let seconds = (micros_of_day / 1_000_000) as u32;
        let micros = (micros_of_day % 1_000_000) as u32;
        let mut out = *b"0000-00-00T00:00:00.000000Z";
        two(&mut out, 0, year / 100);
        two(&mut out, 2, year % 100);
        two(&mut out, 5, month);
        two(&mut out, 8, day);
        two(&mut out, 11, seconds / 3600);
        two(&mut out, 14, seconds / 60 % 60);
        two(&mut out, 17, seconds % 60);
        two(&mut out, 20, micros / 10_000);
        two(&mut out, 22, micros / 100 % 100);
        two(&mut out, 24, micros % 100);
        out
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ascii = self.ascii();
        f.write_str(std::str::from_utf8(&ascii).unwrap_or("0000-00-00T00:00:00.000000Z"))
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Time::parse(&text).ok_or_else(|| serde::de::Error::custom("an ISO-8601 time was expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn it_reads_every_spelling_clients_send() {
        let at = Time::from_micros(1_577_387_899_117_000);
        for text in [
            "2019-12-26T19:18:19.117Z",
            "2019-12-26T19:18:19.117000+00:00",
            "2019-12-26T20:18:19.117+01:00",
            "2019-12-26T19:18:19.117",
        ] {
            assert_eq!(Time::parse(text), Some(at), "{text}");
        }
        assert_eq!(Time::parse("2019-12-26").map(|t| t.to_string()).as_deref(), Some("2019-12-26T00:00:00.000000Z"));
        assert_eq!(Time::parse("next week"), None);
    }

    #[test]
    fn it_reads_what_services_send() {
        let at = Time::from_micros(1_789_984_800_000_000);
        for spelled in [
            json!("2026-09-21T10:00:00Z"),
            json!(1_789_984_800),
            json!(1_789_984_800_000i64),
            json!("1789984800"),
            json!(" 1789984800.0 "),
            json!("1789984800000"),
        ] {
            assert_eq!(Time::read(&spelled), Some(at), "{spelled}");
        }
        assert_eq!(Time::read(&json!("1789984800.123456")), Some(at.plus_micros(123_456)));
        assert_eq!(Time::read(&json!("20260921")).map(Time::seconds), Some(1_789_948_800), "a date, and no number");
        for wrong in
            [json!("soon"), json!("NaN"), json!("inf"), json!(-1), json!(1e15), json!(null), json!([]), json!(true)]
        {
            assert_eq!(Time::read(&wrong), None, "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn it_spells_what_jiff_spells(micros in -62_000_000_000_000_000i64..253_000_000_000_000_000) {
            let ours = Time::from_micros(micros);
            let theirs = ours.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string();
            proptest::prop_assert_eq!(ours.to_string(), theirs);
            proptest::prop_assert_eq!(Time::parse(&ours.to_string()), Some(ours));
        }
    }
}
