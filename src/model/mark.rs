//! A mark: what a reader, or somebody for them, says of a message.

use std::str::FromStr;

use serde_json::{Map, Value};

use super::invalid::Invalid;

/// The marks a message can be given (F-STA-01, F-STA-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mark {
    Seen,
    Unseen,
    Read,
    Unread,
    Interacted,
    Archived,
    Unarchived,
    /// A tracked link was followed: nobody says so, it is noticed (D-DLV-45).
    LinkClicked,
}

impl Mark {
    /// Every mark that somebody can give.
    pub const ALL: [Mark; 7] =
        [Mark::Seen, Mark::Unseen, Mark::Read, Mark::Unread, Mark::Interacted, Mark::Archived, Mark::Unarchived];

    /// The mark's name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Mark::Seen => "seen",
            Mark::Unseen => "unseen",
            Mark::Read => "read",
            Mark::Unread => "unread",
            Mark::Interacted => "interacted",
            Mark::Archived => "archived",
            Mark::Unarchived => "unarchived",
            Mark::LinkClicked => "link_clicked",
        }
    }

    /// The mark that a single DELETE of this status takes back (F-STA-01).
    pub fn taken_back(self) -> Option<Mark> {
        match self {
            Mark::Seen | Mark::Unseen => Some(Mark::Unseen),
            Mark::Read | Mark::Unread => Some(Mark::Unread),
            Mark::Archived | Mark::Unarchived => Some(Mark::Unarchived),
            Mark::Interacted | Mark::LinkClicked => None,
        }
    }

    /// Whether the mark sets a timestamp rather than clearing one.
    pub fn is_positive(self) -> bool {
        matches!(self, Mark::Seen | Mark::Read | Mark::Interacted | Mark::Archived | Mark::LinkClicked)
    }

    /// The column the mark sets or clears.
    pub fn column(self) -> &'static str {
        match self {
            Mark::Seen | Mark::Unseen => "seen_at",
            Mark::Read | Mark::Unread => "read_at",
            Mark::Interacted => "interacted_at",
            Mark::Archived | Mark::Unarchived => "archived_at",
            Mark::LinkClicked => "link_clicked_at",
        }
    }

    /// Whether the mark leaves `column` set; none if it does not touch it (F-STA-11 to F-STA-14, F-AMB-46).
    pub fn leaves(self, column: &str) -> Option<bool> {
        match self {
            _ if column == self.column() => Some(self.is_positive()),
            Mark::Interacted if column == "read_at" => Some(true),
            _ => None,
        }
    }
}

impl FromStr for Mark {
    type Err = ();

    /// Reads a mark; the bulk endpoint's `archive` and `unarchive` are synonyms (F-STA-04).
    fn from_str(name: &str) -> Result<Self, ()> {
        match name {
            "archive" => Ok(Mark::Archived),
            "unarchive" => Ok(Mark::Unarchived),
            name => Mark::ALL.into_iter().find(|mark| mark.name() == name).ok_or(()),
        }
    }
}

/// Checks the metadata of an interaction: at most five pairs, none nested (F-STA-18).
pub fn interaction_metadata(value: Option<Value>) -> Result<Option<Map<String, Value>>, Invalid> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => {
            if map.len() > 5 {
                return Err(Invalid::new("metadata", "metadata holds at most 5 pairs"));
            }
            if map.values().any(|value| value.is_object() || value.is_array()) {
                return Err(Invalid::new("metadata", "metadata values must be strings, numbers, booleans or null"));
            }
            Ok(Some(map))
        }
        Some(_) => Err(Invalid::new("metadata", "metadata must be an object")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn interaction_metadata_is_flat_and_small_f_sta_18() {
        assert!(interaction_metadata(Some(json!({"type": "cell_click", "action": ""}))).is_ok());
        assert!(interaction_metadata(Some(json!({"a": {"b": 1}}))).is_err());
        assert!(interaction_metadata(Some(json!({"a":1,"b":1,"c":1,"d":1,"e":1,"f":1}))).is_err());
        assert!(interaction_metadata(Some(json!([]))).is_err());
        assert_eq!(interaction_metadata(None), Ok(None));
    }
}
