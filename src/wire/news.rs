//! The payload of `new-message`, the one event that the official clients understand on a feed's topic.

use std::fmt::Write as _;

use super::json::quote;

/// The name of the event.
pub const NEW_MESSAGE: &str = "new-message";

/// What a badge shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Items in the feed.
    pub total: u64,
    /// Items that were not read.
    pub unread: u64,
    /// Items that were not seen.
    pub unseen: u64,
}

impl Counts {
    /// Appends `{"total_count":..,"unread_count":..,"unseen_count":..}`.
    pub fn write_json(self, out: &mut String) {
        let Counts { total, unread, unseen } = self;
        // Writing into a String cannot fail.
        _ = write!(out, r#"{{"total_count":{total},"unread_count":{unread},"unseen_count":{unseen}}}"#);
    }
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
        counts.write_json(&mut out);
        out.push('}');
    }
    out.push_str(r#"},"metadata":"#);
    whole.write_json(&mut out);
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
