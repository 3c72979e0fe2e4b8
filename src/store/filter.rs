//! Conditions of a question, put together at run time with numbered parameters.

use serde_json::{Map, Value};

use super::db::Param;
use crate::model::feed::{Archived, Bounds, Filter, Status, Tenants};
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};

/// A growing `WHERE` clause and its parameters.
#[derive(Debug, Default)]
pub(crate) struct Where {
    sql: String,
    params: Vec<Param>,
}

impl Where {
    /// Adds a condition; each `?` in it takes the next of `params`.
    pub(crate) fn and(&mut self, condition: &str, params: Vec<Param>) {
        if !self.sql.is_empty() {
            self.sql.push_str(" AND ");
        }
        let mut params = params.into_iter();
        for part in condition.split_inclusive('?') {
            self.sql.push_str(part);
            if part.ends_with('?')
                && let Some(param) = params.next()
            {
                self.params.push(param);
                self.sql.push_str(&self.params.len().to_string());
            }
        }
    }

    /// Adds what `add` adds, as conditions that rows are passed over by: planners neither look for an index by which to meet
    /// them, nor take them for so rare that the rows had better be found in any order and sorted.
    pub(crate) fn row_by_row(&mut self, add: impl FnOnce(&mut Where)) {
        let before = std::mem::take(&mut self.sql);
        add(self);
        let conditions = std::mem::replace(&mut self.sql, before);
        if !conditions.is_empty() {
            let and = if self.sql.is_empty() { "" } else { " AND " };
            self.sql.extend([and, "CASE WHEN ", &conditions, " THEN TRUE ELSE FALSE END"]);
        }
    }

    /// Adds that rows are within `bounds`, and on the asked side of `at`, where they are in the order of `time`, then of `id`.
    /// There is one bound on either side, so that an index is begun and left there.
    pub(crate) fn between(&mut self, (time, id): (&str, &str), bounds: &Bounds, at: Option<&Edge>) {
        let (lowest, highest) = limits(bounds, at);
        for (operator, limit) in [(">", lowest), ("<", highest)] {
            if let Some((at, of)) = limit {
                self.and(&format!("({time}, {id}) {operator} (?, ?)"), params![at, of]);
            }
        }
    }

    /// The same of rows that have `value` in `column`, where rows are in the order of that one first. Said so, no other index
    /// gives the order: by one of all rows in the order of time, somebody's old ones would be looked for among everybody's.
    pub(crate) fn between_of(
        &mut self,
        (column, value): (&str, &str),
        (time, id): (&str, &str),
        bounds: &Bounds,
        at: Option<&Edge>,
    ) {
        let (lowest, highest) = limits(bounds, at);
        let end = |micros: i64| (Time::from_micros(micros), String::new());
        let (lowest, highest) = (lowest.unwrap_or(end(i64::MIN)), highest.unwrap_or(end(i64::MAX)));
        for (operator, (at, of)) in [(">", lowest), ("<", highest)] {
            self.and(&format!("({column}, {time}, {id}) {operator} (?, ?, ?)"), params![value, at, of]);
        }
    }

    /// Adds `column IN (...)`; an empty list matches nothing.
    pub(crate) fn any_of(&mut self, column: &str, values: &[String]) {
        let places = vec!["?"; values.len()].join(",");
        self.and(&format!("{column} IN ({places})"), values.iter().map(Param::from).collect());
    }

    /// Adds bounds on an instant.
    pub(crate) fn bounds(&mut self, column: &str, bounds: &Bounds) {
        for (operator, bound) in [(">", bounds.gt), (">=", bounds.gte), ("<", bounds.lt), ("<=", bounds.lte)] {
            if let Some(at) = bound {
                self.and(&format!("{column} {operator} ?"), vec![at.into()]);
            }
        }
    }

    /// Adds that each pair stands, as a scalar, in the JSON object in `column` (F-FED-16, F-FED-18).
    pub(crate) fn trigger_data(&mut self, column: &str, pairs: &Map<String, Value>) {
        for (name, value) in pairs {
            let name = Param::from(name);
            let entry = |rest: &str| format!("EXISTS (SELECT 1 FROM json_each({column}) e WHERE e.key = ? AND {rest})");
            match value {
                Value::String(text) => {
                    let cut: String = text.chars().take(256).collect();
                    self.and(&entry("e.type = 'text' AND substr(e.value, 1, 256) = ?"), vec![name, cut.into()]);
                }
                // A whole number is compared as one: beyond 2^53 not every one is a real number.
                Value::Number(number) => match number.as_i64() {
                    Some(whole) => {
                        self.and(&entry("e.type IN ('integer', 'real') AND e.value = ?"), vec![name, whole.into()]);
                    }
                    None => self.and(
                        &entry("e.type IN ('integer', 'real') AND e.value = CAST(? AS REAL)"),
                        vec![name, number.to_string().into()],
                    ),
                },
                other => self.and(&entry("e.type = ?"), vec![name, other.to_string().into()]),
            }
        }
    }

    /// Adds everything of a feed filter but its status.
    pub(crate) fn feed_filter(&mut self, filter: &Filter) {
        match filter.archived {
            Archived::Exclude => self.and("m.archived_at IS NULL", vec![]),
            Archived::Only => self.and("m.archived_at IS NOT NULL", vec![]),
            Archived::Include => {}
        }
        if let Some(source) = &filter.source {
            self.and("m.workflow = ?", vec![source.into()]);
        }
        match (&filter.tenant, filter.has_tenant) {
            (_, Some(false)) => self.and("m.tenant IS NULL", vec![]),
            (Some(tenant), Some(true)) => self.and("m.tenant = ?", vec![tenant.into()]),
            (Some(tenant), None) => self.and("(m.tenant = ? OR m.tenant IS NULL)", vec![tenant.into()]),
            (None, Some(true)) => self.and("m.tenant IS NOT NULL", vec![]),
            (None, None) => {}
        }
        if let Tenants::These { tenants, with_none } = &filter.allowed {
            let places = vec!["?"; tenants.len()].join(",");
            let none = if *with_none { " OR m.tenant IS NULL" } else { "" };
            self.and(&format!("(m.tenant IN ({places}){none})"), tenants.iter().map(Param::from).collect());
        }
        if !filter.categories.is_empty() {
            self.categories(&filter.categories);
        }
        self.bounds("m.inserted_at", &filter.inserted_at);
        self.trigger_data("m.data", &filter.trigger_data);
    }

    /// Adds that the message's workflow has any of these categories (F-FED-12).
    pub(crate) fn categories(&mut self, categories: &[String]) {
        let places = vec!["?"; categories.len()].join(",");
        self.and(
            &format!("EXISTS (SELECT 1 FROM json_each(m.categories) e WHERE e.value IN ({places}))"),
            categories.iter().map(Param::from).collect(),
        );
    }

    /// Adds the filter's status.
    pub(crate) fn status(&mut self, status: Status) {
        if let Some(condition) = status_condition(status) {
            self.and(condition, vec![]);
        }
    }

    /// The clause and its parameters.
    pub(crate) fn finish(self) -> (String, Vec<Param>) {
        (self.sql, self.params)
    }
}

/// A place in the order of time, then of id.
type Limit = (Time, String);

/// What rows are behind and in front of, if anything, that are within `bounds` and on the asked side of `at`.
fn limits(bounds: &Bounds, at: Option<&Edge>) -> (Option<Limit>, Option<Limit>) {
    // No row has an empty id: it is in front of all that have the time.
    let from = |at: Time| (at, String::new());
    let behind = |at: Time| from(at.plus_micros(1));
    let mut lowest = vec![bounds.gt.map(behind), bounds.gte.map(from)];
    let mut highest = vec![bounds.lt.map(from), bounds.lte.map(behind)];
    match at {
        Some(Edge::Before(Cursor::At(time, id))) => lowest.push(Some((*time, id.clone()))),
        Some(Edge::After(Cursor::At(time, id))) => highest.push(Some((*time, id.clone()))),
        _ => {}
    }
    (lowest.into_iter().flatten().max(), highest.into_iter().flatten().min())
}

/// The condition that a status stands for.
pub(crate) fn status_condition(status: Status) -> Option<&'static str> {
    match status {
        Status::All => None,
        Status::Unread => Some("m.read_at IS NULL"),
        Status::Read => Some("m.read_at IS NOT NULL"),
        Status::Unseen => Some("m.seen_at IS NULL"),
        Status::Seen => Some("m.seen_at IS NOT NULL"),
    }
}
