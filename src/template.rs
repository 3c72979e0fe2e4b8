//! Liquid templates and the blocks rendered from them.

pub mod blocks;

use serde_json::Value;

use crate::model::scope::Scope;
use crate::model::time::Time;

/// Placeholder until the engine lands.
#[derive(Clone, Debug)]
pub struct Template(String);
impl Template {
    pub fn parse(source: &str) -> Result<Template, Error> {
        Ok(Template(source.to_owned()))
    }
    pub fn source(&self) -> &str {
        &self.0
    }
    pub fn render(&self, _env: &Env<'_>) -> Result<String, Error> {
        Ok(self.0.clone())
    }
}
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Error {
    pub line: usize,
    pub message: String,
}
pub struct Env<'a> {
    pub scope: &'a Scope<'a>,
    pub now: Time,
    pub lookup: &'a dyn Lookup,
    pub strict: bool,
    pub limits: Limits,
}
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub steps: u32,
    pub output_bytes: usize,
}
impl Default for Limits {
    fn default() -> Self {
        Limits { steps: 100_000, output_bytes: 1 << 20 }
    }
}
pub trait Lookup {
    fn user(&self, _id: &str) -> Option<Value> {
        None
    }
    fn object(&self, _collection: &str, _id: &str) -> Option<Value> {
        None
    }
    fn tenant(&self, _id: &str) -> Option<Value> {
        None
    }
    fn subscriptions(&self, _user: &str) -> Vec<Value> {
        Vec::new()
    }
    fn partial(&self, _key: &str) -> Option<Template> {
        None
    }
    fn translation(&self, _key: &str) -> Option<Value> {
        None
    }
}
pub struct NoLookup;
impl Lookup for NoLookup {}
