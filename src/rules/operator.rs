//! The operators of conditions by name.

use serde::{Serialize, Serializer};

/// What a condition asks of its variable (W-CND-21 to W-CND-49).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the spec's")]
pub enum Operator {
    EqualTo,
    NotEqualTo,
    GreaterThan,
    GreaterThanOrEqualTo,
    LessThan,
    LessThanOrEqualTo,
    Contains,
    NotContains,
    ContainsAll,
    NotContainsAll,
    Empty,
    NotEmpty,
    Exists,
    NotExists,
    IsTimestamp,
    IsNotTimestamp,
    IsTimestampBefore,
    IsTimestampOnOrAfter,
    IsTimestampBeforeNow,
    IsTimestampOnOrAfterNow,
    IsTimestampBeforeDate,
    IsTimestampOnOrAfterDate,
    IsTimestampBetween,
    IsBetween,
    IsAudienceMember,
    IsNotAudienceMember,
}

use Operator::*;

const NAMES: [(&str, Operator); 26] = [
    ("equal_to", EqualTo),
    ("not_equal_to", NotEqualTo),
    ("greater_than", GreaterThan),
    ("greater_than_or_equal_to", GreaterThanOrEqualTo),
    ("less_than", LessThan),
    ("less_than_or_equal_to", LessThanOrEqualTo),
    ("contains", Contains),
    ("not_contains", NotContains),
    ("contains_all", ContainsAll),
    ("not_contains_all", NotContainsAll),
    ("empty", Empty),
    ("not_empty", NotEmpty),
    ("exists", Exists),
    ("not_exists", NotExists),
    ("is_timestamp", IsTimestamp),
    ("is_not_timestamp", IsNotTimestamp),
    ("is_timestamp_before", IsTimestampBefore),
    ("is_timestamp_on_or_after", IsTimestampOnOrAfter),
    ("is_timestamp_before_now", IsTimestampBeforeNow),
    ("is_timestamp_on_or_after_now", IsTimestampOnOrAfterNow),
    ("is_timestamp_before_date", IsTimestampBeforeDate),
    ("is_timestamp_on_or_after_date", IsTimestampOnOrAfterDate),
    ("is_timestamp_between", IsTimestampBetween),
    ("is_between", IsBetween),
    ("is_audience_member", IsAudienceMember),
    ("is_not_audience_member", IsNotAudienceMember),
];

/// What an operator expects of its argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Nothing: it speaks of the variable alone.
    Unary,
    /// Any value.
    Value,
    /// Any value, or a relative time.
    Order,
    /// An instant.
    Instant,
    /// A list of two.
    Range,
    /// The key of an audience.
    Audience,
}

impl Operator {
    /// Reads the spelling on the wire.
    pub fn parse(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, operator)| *operator)
    }

    /// The spelling on the wire.
    pub fn name(self) -> &'static str {
        NAMES[self as usize].0
    }

    /// All spellings.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }

    pub(crate) fn kind(self) -> Kind {
        match self {
            EqualTo | NotEqualTo | Contains | NotContains | ContainsAll | NotContainsAll => Kind::Value,
            GreaterThan | GreaterThanOrEqualTo | LessThan | LessThanOrEqualTo => Kind::Order,
            Empty | NotEmpty | Exists | NotExists | IsTimestamp | IsNotTimestamp => Kind::Unary,
            IsTimestampBeforeNow | IsTimestampOnOrAfterNow => Kind::Unary,
            IsTimestampBefore | IsTimestampOnOrAfter | IsTimestampBeforeDate | IsTimestampOnOrAfterDate => {
                Kind::Instant
            }
            IsTimestampBetween | IsBetween => Kind::Range,
            IsAudienceMember | IsNotAudienceMember => Kind::Audience,
        }
    }
}

impl Serialize for Operator {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_of_both_schemas_has_its_name() {
        for (at, (name, operator)) in NAMES.iter().enumerate() {
            assert_eq!(*operator as usize, at, "{name} stands where its variant does");
            assert_eq!(Operator::parse(name), Some(*operator), "F-CND-05 {name}");
            assert_eq!(serde_json::to_value(operator).unwrap(), *name);
        }
        assert_eq!(Operator::parse("is_in_random_cohort"), None, "W-CND-51: for channel-group rules only");
    }
}
