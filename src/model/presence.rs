//! Whether somebody has a bell open, and when they had one last: our own, beside what Knock knows of a recipient.

use serde_json::Value;

use super::time::Time;

/// The members that a recipient has because of it.
const ONLINE: &str = "online";
const LAST_SEEN_AT: &str = "last_seen_at";

/// How somebody was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// None while the server that knows it does not answer.
    pub is_online: Option<bool>,
    /// When a socket of theirs was last open; none if never.
    pub last_seen_at: Option<Time>,
}

impl Seen {
    /// How somebody is at `now` of whom both are known.
    pub fn at(is_online: Option<bool>, stored: Option<Time>, now: Time) -> Seen {
        let last_seen_at = if is_online == Some(true) { Some(now) } else { stored };
        Seen { is_online, last_seen_at }
    }

    /// Gives a recipient the members, unless it has properties of these names.
    pub fn lay_under(self, recipient: &mut Value) {
        let Some(members) = recipient.as_object_mut() else { return };
        members.entry(ONLINE).or_insert_with(|| self.is_online.into());
        let at = self.last_seen_at.map(|at| at.to_string());
        members.entry(LAST_SEEN_AT).or_insert_with(|| at.into());
    }
}

/// Whether a text may name one of the members; it may do so and mean something else.
pub fn may_be_named_in(text: &str) -> bool {
    text.contains(ONLINE) || text.contains(LAST_SEEN_AT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn properties_of_the_same_name_are_left_alone() {
        let now = Time::from_micros(0);
        let mut recipient = json!({"id": "ann", "online": "never"});
        Seen::at(Some(true), None, now).lay_under(&mut recipient);
        assert_eq!(recipient, json!({"id": "ann", "online": "never", "last_seen_at": now}));
        let mut recipient = json!({"id": "ann"});
        Seen::at(None, None, now).lay_under(&mut recipient);
        assert_eq!(recipient, json!({"id": "ann", "online": null, "last_seen_at": null}));
    }

    #[test]
    fn whoever_is_online_is_seen_now() {
        let (then, now) = (Time::from_micros(1), Time::from_micros(2));
        assert_eq!(Seen::at(Some(true), Some(then), now).last_seen_at, Some(now));
        assert_eq!(Seen::at(Some(false), Some(then), now).last_seen_at, Some(then));
        assert_eq!(Seen::at(None, Some(then), now), Seen { is_online: None, last_seen_at: Some(then) });
    }
}
