//! Objects; tenants are objects in the collection `$tenants`.

use serde_json::Value;

use super::Env;
use super::db::{Batch, Error, Row, Store};
use super::filter::Where;
use crate::model::recipient::{Object, TENANTS};
use crate::model::time::Time;
use crate::params;
use crate::wire::cursor::{Cursor, Edge};

const COLUMNS: &str = "collection, id, properties, inserted_at, updated_at";

fn object(row: &Row<'_>) -> Result<Object, Error> {
    Ok(Object {
        collection: row.string(0)?,
        id: row.string(1)?,
        properties: row.json(2)?,
        inserted_at: row.time(3)?,
        updated_at: row.time(4)?,
    })
}

/// Which objects of a collection are meant: all of them, unless it says more. Only tenants are known by their names.
#[derive(Debug, Clone, Default)]
pub struct ObjectFilter {
    pub id: Option<String>,
    pub name: Option<String>,
}

impl ObjectFilter {
    fn clause(&self, env: Env, collection: &str) -> Where {
        let mut clause = Where::default();
        match (&self.id, &self.name) {
            // Found by the name, which tenants alone have, rather than in the whole collection.
            (None, Some(name)) if collection == TENANTS => {
                clause.and("env = ? AND tenant_name = ?", params![env, name]);
            }
            (id, name) => {
                clause.and("env = ? AND collection = ?", params![env, collection]);
                if let Some(id) = id {
                    clause.and("id = ?", params![id]);
                }
                if let Some(name) = name {
                    clause.row_by_row(|clause| clause.and("tenant_name = ?", params![name]));
                }
            }
        }
        clause
    }
}

impl Store {
    /// One object.
    pub async fn object(&self, env: Env, collection: &str, id: &str) -> Result<Option<Object>, Error> {
        let sql = format!("SELECT {COLUMNS} FROM objects WHERE env = ?1 AND collection = ?2 AND id = ?3");
        self.query_one(&sql, &params![env, collection, id], object).await
    }

    /// A page of a collection, newest first (F-AMB-18): at most `limit`, on the asked side of `at`.
    pub async fn objects(
        &self,
        env: Env,
        collection: &str,
        filter: &ObjectFilter,
        at: Option<&Edge>,
        limit: usize,
    ) -> Result<Vec<Object>, Error> {
        let mut clause = filter.clause(env, collection);
        let mut order = "DESC";
        match at {
            Some(Edge::After(Cursor::At(time, id))) => clause.and("(inserted_at, id) < (?, ?)", params![*time, id]),
            Some(Edge::Before(Cursor::At(time, id))) => {
                order = "ASC";
                clause.and("(inserted_at, id) > (?, ?)", params![*time, id]);
            }
            _ => {}
        }
        let (clause, params) = clause.finish();
        let sql = format!(
            "SELECT {COLUMNS} FROM objects WHERE {clause} ORDER BY inserted_at {order}, id {order} LIMIT {limit}"
        );
        self.scan(sql, params, object).await
    }

    /// How many there are, counted to 10,000 at most (F-PAG-03).
    pub async fn object_count(&self, env: Env, collection: &str, filter: &ObjectFilter) -> Result<i64, Error> {
        let (clause, params) = filter.clause(env, collection).finish();
        let order = if filter.id.is_some() { "" } else { " ORDER BY inserted_at" };
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM objects WHERE {clause}{order} LIMIT 10000) counted");
        Ok(self.scan(sql, params, |row| row.int(0)).await?.into_iter().next().unwrap_or(0))
    }
}

impl Batch {
    /// Adds an object as it now is; refused when it is no longer as it was `before` (none: not there).
    pub fn put_object(&mut self, env: Env, object: &Object, before: Option<Time>) {
        let (collection, id) = (object.collection.as_str(), object.id.as_str());
        let properties = Value::Object(object.properties.clone()).to_string();
        let name = tenant_name(object);
        match before {
            None => self.guard(
                "INSERT INTO objects (env, collection, id, properties, tenant_name, inserted_at, updated_at) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING",
                params![env, collection, id, properties, name, object.inserted_at, object.updated_at],
            ),
            Some(before) => self.guard(
                "UPDATE objects SET properties = ?4, tenant_name = ?5, updated_at = ?6 \
                 WHERE env = ?1 AND collection = ?2 AND id = ?3 AND updated_at = ?7",
                params![env, collection, id, properties, name, object.updated_at, before],
            ),
        }
    }
}

/// What a tenant is called. No column can hold U+0000, and nobody can ask for it.
fn tenant_name(object: &Object) -> Option<&str> {
    let name = object.properties.get("name").filter(|_| object.collection == TENANTS)?.as_str()?;
    (!name.contains('\0')).then_some(name)
}
