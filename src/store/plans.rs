//! How the database goes about what it is asked: for whoever wants to see that rows are found by an index.

use std::borrow::Cow;
use std::sync::{Mutex, OnceLock, PoisonError};

use super::db::{Error, Kind, Param, Store};

/// Everything that was asked since the last look. Nothing is kept until somebody wants to look.
#[derive(Debug, Default)]
pub(super) struct Asked(OnceLock<Mutex<Vec<Question>>>);

/// Something that was asked, with what was bound.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) kind: Kind,
    pub(super) sql: Cow<'static, str>,
    pub(super) params: Vec<Param>,
}

/// How the database goes about a question, in its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// As it is written, which is how the embedded database reads it.
    pub sql: String,
    pub lines: Vec<String>,
}

impl Asked {
    /// Notes a question, if somebody wants to look.
    pub(super) fn note(&self, kind: Kind, sql: &str, params: &[Param]) {
        if let Some(asked) = self.0.get() {
            let question = Question { kind, sql: sql.to_owned().into(), params: params.to_vec() };
            asked.lock().unwrap_or_else(PoisonError::into_inner).push(question);
        }
    }

    fn watch(&self) {
        self.0.get_or_init(Mutex::default);
    }

    fn take(&self) -> Vec<Question> {
        let asked = self.0.get().map(|asked| asked.lock().unwrap_or_else(PoisonError::into_inner));
        asked.map(|mut asked| std::mem::take(&mut *asked)).unwrap_or_default()
    }
}

impl Store {
    /// Has everything noted that is asked from now on, until it is looked at by [`Store::plans`]. It is kept in memory: this
    /// is for tests, and for a look at a server that is not in use.
    pub fn watch(&self) {
        self.driver().asked().watch();
    }

    /// Everything asked since the last look, in order, with how the database goes about it as it now is. PostgreSQL plans a
    /// statement for what is bound, or once for whatever will be: of that there are both plans.
    pub async fn plans(&self) -> Result<Vec<Plan>, Error> {
        self.driver().plans(self.driver().asked().take()).await
    }
}
