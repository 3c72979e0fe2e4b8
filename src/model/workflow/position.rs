//! Where a step stands: indexes of a step, then a branch and a step inside it, and so on, spelled `2.1.0`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The place of one step. Positions order as the document reads.
// Always an odd number of indexes: step, (branch, step)*.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(Vec<u32>);

impl Position {
    /// The place of the workflow's own step at `index`.
    pub fn top(index: usize) -> Self {
        Position(vec![narrow(index)])
    }

    /// The place of a step inside one branch of the branch step that stands here.
    pub fn inside(&self, branch: usize, step: usize) -> Self {
        let mut indexes = self.0.clone();
        indexes.extend([narrow(branch), narrow(step)]);
        Position(indexes)
    }

    /// The place right after this one in the same list.
    pub fn sibling(&self) -> Self {
        let mut indexes = self.0.clone();
        if let Some(last) = indexes.last_mut() {
            *last = last.saturating_add(1);
        }
        Position(indexes)
    }

    /// The branch step around this place and which of its branches holds it; `None` at the top.
    pub fn outer(&self) -> Option<(Position, usize)> {
        match self.0.as_slice() {
            [outer @ .., branch, _] if !outer.is_empty() => Some((Position(outer.to_vec()), *branch as usize)),
            _ => None,
        }
    }

    /// The first index and the (branch, step) pairs that lead on from it.
    pub(super) fn split(&self) -> (usize, impl Iterator<Item = (usize, usize)>) {
        let pairs = self.0[1..].chunks_exact(2).map(|pair| (pair[0] as usize, pair[1] as usize));
        (self.0[0] as usize, pairs)
    }
}

/// No document has so many steps that this saturates.
fn narrow(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, index) in self.0.iter().enumerate() {
            write!(f, "{}{index}", if i == 0 { "" } else { "." })?;
        }
        Ok(())
    }
}

/// Text that is no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the position of a step; an odd number of indexes such as `2.1.0` was expected")]
pub struct NotAPosition(String);

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let indexes: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match indexes {
            Ok(indexes) if indexes.len() % 2 == 1 => Ok(Position(indexes)),
            _ => Err(NotAPosition(text.to_owned())),
        }
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_spelled_and_read_back() {
        let position = Position::top(2).inside(1, 0);
        assert_eq!(position.to_string(), "2.1.0");
        assert_eq!("2.1.0".parse(), Ok(position.clone()));
        assert_eq!(serde_json::to_string(&position).ok().as_deref(), Some("\"2.1.0\""));
        assert_eq!(serde_json::from_str::<Position>("\"2.1.0\"").ok(), Some(position));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "1.2", "a", "1..2", "-1", "1.2.3.4", "99999999999"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn positions_order_as_the_document_reads() {
        let read: Vec<Position> =
            ["0", "1", "1.0.0", "1.0.1", "1.1.0", "2", "10"].map(|p| p.parse().expect("a position")).into();
        assert!(read.is_sorted());
    }

    #[test]
    fn the_way_out_names_the_branch() {
        assert_eq!(Position::top(3).outer(), None);
        assert_eq!(Position::top(3).inside(2, 7).outer(), Some((Position::top(3), 2)));
        assert_eq!(Position::top(3).sibling(), Position::top(4));
    }
}
