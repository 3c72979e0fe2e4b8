//! Pages of lists: rows with cursors, in one of two envelopes (F-PAG-01 to F-PAG-09).

use serde_json::Value;

use super::answer::Answer;
use crate::model::time::Time;
use crate::wire::cursor::{Cursor, Edge, List, Page, page_info_json};

/// Rows of one page, with the cursors of its neighbours.
#[derive(Debug)]
pub(crate) struct Rows<T> {
    pub(crate) rows: Vec<T>,
    after: Option<String>,
    before: Option<String>,
    size: usize,
}

impl<T> Rows<T> {
    /// Makes a page of what a question found. It asks for one row more than the page holds, and for those nearest to the
    /// cursor first. `place` is a row's place in the list.
    pub(crate) fn new(found: Vec<T>, page: &Page, list: List, place: impl Fn(&T) -> (Time, &str)) -> Self {
        Rows::placed(found, page, list, |row| {
            let (at, id) = place(row);
            Cursor::At(at, id.to_owned())
        })
    }

    /// The same of a list with places of another kind.
    pub(crate) fn placed(mut found: Vec<T>, page: &Page, list: List, place: impl Fn(&T) -> Cursor) -> Self {
        let has_more = found.len() > page.size;
        found.truncate(page.size);
        let (has_newer, has_older) = match page.at {
            None => (false, has_more),
            Some(Edge::After(_)) => (true, has_more),
            Some(Edge::Before(_)) => {
                found.reverse();
                (has_more, true)
            }
        };
        let cursor = |row: Option<&T>| row.map(|row| place(row).encode(list));
        let after = cursor(found.last().filter(|_| has_older));
        let before = cursor(found.first().filter(|_| has_newer));
        Rows { after, before, size: page.size, rows: found }
    }

    /// Makes a page of a list that is small enough to be read whole, newest first.
    pub(crate) fn of_all(mut all: Vec<T>, page: &Page, list: List, place: impl Fn(&T) -> (Time, &str)) -> Self {
        match &page.at {
            Some(Edge::After(Cursor::At(at, id))) => all.retain(|row| place(row) < (*at, id.as_str())),
            Some(Edge::Before(Cursor::At(at, id))) => {
                all.retain(|row| place(row) > (*at, id.as_str()));
                all.reverse();
            }
            _ => {}
        }
        all.truncate(page.size + 1);
        Rows::new(all, page, list, place)
    }

    /// The answer, with the rows under `envelope`; `total` only where the list has one.
    pub(crate) fn answer(&self, envelope: &str, total: Option<u64>, row: impl Fn(&T) -> Value) -> Answer {
        let rows = Value::Array(self.rows.iter().map(row).collect());
        let page_info = page_info_json(self.after.as_deref(), self.before.as_deref(), self.size, total);
        Answer::json_text(format!(r#"{{"{envelope}":{rows},"page_info":{page_info}}}"#))
    }
}
