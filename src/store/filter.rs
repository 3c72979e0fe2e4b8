//! Conditions of a question, put together at run time with numbered parameters.

use serde_json::{Map, Value};

use super::db::Param;
use crate::model::feed::{Archived, Bounds, Filter, Status, Tenants};

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
