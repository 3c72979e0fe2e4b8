//! The time of day by the clock of a database that several nodes share.

use super::db::{Error, Store};
use crate::model::time::Time;

impl Store {
    /// What the shared database's clock shows: nodes that go by it agree on what is due, whose claim has run out, and which
    /// token has ended, however wrong their machines' clocks are.
    pub async fn time(&self) -> Result<Time, Error> {
        let ask = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS bigint)";
        let found = self.query_one(ask, &[], |row| row.time(0)).await?;
        found.ok_or_else(|| Error::Damaged("the database does not tell the time".to_owned()))
    }
}
