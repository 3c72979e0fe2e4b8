//! What a feed's topic tells: `new-message`, the one event that the official clients understand, and our own clients' events.

use std::fmt::Write as _;

use super::json::quote;
use crate::model::feed::Counts;
use crate::model::time::Time;

/// The name of the event.
pub const NEW_MESSAGE: &str = "new-message";

/// Our own clients: the feed as it stands.
pub const SNAPSHOT: &str = "feed.snapshot";
/// Our own clients: what changed since a version.
pub const DELTA: &str = "feed.delta";

/// Appends `{"total_count":..,"unread_count":..,"unseen_count":..}`.
pub fn write_counts(out: &mut String, counts: Counts) {
    let Counts { total, unread, unseen } = counts;
    // Writing into a String cannot fail.
    _ = write!(out, r#"{{"total_count":{total},"unread_count":{unread},"unseen_count":{unseen}}}"#);
}

/// What one of our own clients is told to count: its feed, and each of its views.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Figures<'a> {
    pub counts: Counts,
    /// By the client's names for them, in its order.
    pub views: Vec<(&'a str, Counts)>,
}

impl Figures<'_> {
    /// Appends `,"counts":{..}`, and `,"views":{..}` for a client that has any.
    fn write(&self, out: &mut String) {
        out.push_str(r#","counts":"#);
        write_counts(out, self.counts);
        for (at, (name, counts)) in self.views.iter().enumerate() {
            out.push_str(if at > 0 { "," } else { r#","views":{"# });
            quote(out, name);
            out.push(':');
            write_counts(out, *counts);
        }
        if !self.views.is_empty() {
            out.push('}');
        }
    }

    /// How long it is at most, about.
    fn len(&self) -> usize {
        160 + self.views.len() * 112
    }
}

/// The payload of [`DELTA`]; `items` and `removed` are JSON arrays.
pub fn delta(since: i64, version: i64, figures: &Figures<'_>, items: &str, removed: &str) -> String {
    let mut out = String::with_capacity(items.len() + removed.len() + figures.len());
    _ = write!(out, r#"{{"since":{since},"version":{version}"#);
    figures.write(&mut out);
    for (name, array) in [(r#","items":"#, items), (r#","removed":"#, removed)] {
        out.push_str(name);
        out.push_str(array);
    }
    out.push('}');
    out
}

/// The payload of [`SNAPSHOT`], also a page on request; `is_reset` says that it stands where a delta was asked for.
pub fn snapshot(is_reset: bool, version: i64, figures: &Figures<'_>, entries: &str, page_info: &str) -> String {
    let mut out = String::with_capacity(entries.len() + page_info.len() + figures.len());
    out.push_str(if is_reset { r#"{"reset":true,"version":"# } else { r#"{"version":"# });
    _ = write!(out, "{version}");
    figures.write(&mut out);
    for (name, json) in [(r#","entries":"#, entries), (r#","page_info":"#, page_info)] {
        out.push_str(name);
        out.push_str(json);
    }
    out.push('}');
    out
}

/// What a mark is answered: the feed's version and counts once it counts, and the instant that items now hold.
pub fn marked(version: i64, at: Time, figures: &Figures<'_>) -> String {
    let mut out = format!(r#"{{"version":{version},"at":"{at}""#);
    figures.write(&mut out);
    out.push('}');
    out
}

/// What a client that named its feeds is told: the feeds concerned, each with the counts under its own filters, and
/// the counts of the whole feed. `None` if no feed is concerned: then nothing is sent (F-SOC-17).
pub fn for_clients(concerned: &[(&str, Counts)], whole: Counts) -> Option<String> {
    (!concerned.is_empty()).then(|| spell(concerned, whole))
}

/// What a client that named no feed is told: the counts under its filters (F-SOC-28).
pub fn for_flat(counts: Counts) -> String {
    spell(&[], counts)
}

fn spell(concerned: &[(&str, Counts)], whole: Counts) -> String {
    let mut out = String::with_capacity(160 + concerned.len() * 160);
    out.push_str(r#"{"event":"new-message","attn":["#);
    for (at, (client, _)) in concerned.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        quote(&mut out, client);
    }
    out.push_str(r#"],"data":{"#);
    for (at, (client, counts)) in concerned.iter().enumerate() {
        out.push_str(if at > 0 { "," } else { "" });
        quote(&mut out, client);
        out.push_str(r#":{"metadata":"#);
        write_counts(&mut out, *counts);
        out.push('}');
    }
    out.push_str(r#"},"metadata":"#);
    write_counts(&mut out, whole);
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const ONE: Counts = Counts { total: 3, unread: 2, unseen: 1 };
    const WHOLE: Counts = Counts { total: 9, unread: 8, unseen: 7 };

    #[test]
    fn each_feed_concerned_has_its_own_counts() {
        let text = for_clients(&[("client_a", ONE), ("client_\"b", WHOLE)], WHOLE).unwrap();
        let one = json!({"total_count": 3, "unread_count": 2, "unseen_count": 1});
        let whole = json!({"total_count": 9, "unread_count": 8, "unseen_count": 7});
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "event": "new-message",
                "attn": ["client_a", "client_\"b"],
                "data": {"client_a": {"metadata": one}, "client_\"b": {"metadata": whole}},
                "metadata": whole,
            }),
            "F-SOC-13 F-SOC-14 F-SOC-15 F-SOC-16"
        );
    }

    #[test]
    fn views_stand_beside_the_counts_in_their_order_and_only_where_there_are_any() {
        let one = r#"{"total_count":3,"unread_count":2,"unseen_count":1}"#;
        let none = Figures { counts: ONE, views: Vec::new() };
        let told = format!(r#"{{"version":4,"at":"1970-01-01T00:00:00.000007Z","counts":{one}}}"#);
        assert_eq!(marked(4, Time::from_micros(7), &none), told);
        let figures = Figures { counts: ONE, views: vec![("un\"read", WHOLE), ("all", ONE)] };
        let views =
            format!(r#""views":{{"un\"read":{{"total_count":9,"unread_count":8,"unseen_count":7}},"all":{one}}}"#);
        assert_eq!(
            snapshot(false, 4, &none, "[]", "{}"),
            format!(r#"{{"version":4,"counts":{one},"entries":[],"page_info":{{}}}}"#)
        );
        let told = format!(r#"{{"since":3,"version":4,"counts":{one},{views},"items":[],"removed":[]}}"#);
        assert_eq!(delta(3, 4, &figures, "[]", "[]"), told);
        let told = format!(r#"{{"reset":true,"version":4,"counts":{one},{views},"entries":[],"page_info":{{}}}}"#);
        assert_eq!(snapshot(true, 4, &figures, "[]", "{}"), told);
    }

    #[test]
    fn when_no_feed_is_concerned_nothing_is_sent() {
        assert_eq!(for_clients(&[], WHOLE), None, "F-SOC-17");
    }

    #[test]
    fn a_client_without_names_gets_an_empty_list_and_the_counts() {
        assert_eq!(
            for_flat(ONE),
            r#"{"event":"new-message","attn":[],"data":{},"metadata":{"total_count":3,"unread_count":2,"unseen_count":1}}"#,
            "F-SOC-15 F-SOC-16 F-SOC-28"
        );
    }
}
