//! Liquid templates: parsed once, rendered many times over borrowed JSON values.
//!
//! The language is Shopify's Liquid with Knock's filters (D-TPL-01..21). It is nil-safe: what is absent prints nothing
//! (D-TPL-05). Nothing is escaped by itself (D-TPL-101). A render is bounded in steps and in bytes ([`Limits`]).
//!
//! ```
//! use bellwire::model::{scope::Scope, time::Time};
//! use bellwire::template::{Env, Template};
//!
//! let template = Template::parse("Hello {{ recipient.name | default: 'you' }}").unwrap();
//! let recipient = serde_json::json!({"name": "Ada"});
//! let scope = Scope::new(vec![("recipient", &recipient)]);
//! assert_eq!(template.render(&Env::new(&scope, Time::default())).unwrap(), "Hello Ada");
//! ```

use std::{fmt, sync::Arc};

use serde_json::Value;

use crate::model::{scope::Scope, time::Time};

mod ast;
pub mod blocks;
mod compare;
mod decimal;
mod expression;
mod filters;
mod instant;
pub mod json;
mod lexer;
pub mod links;
mod locale;
pub mod markdown;
mod md5;
mod parser;
mod run;
mod tags;
mod value;

#[cfg(test)]
mod tests;

/// A template, parsed once: immutable, shared between threads, cheap to clone.
#[derive(Clone)]
pub struct Template(Arc<Parsed>);

struct Parsed {
    source: Box<str>,
    body: Vec<ast::Node>,
}

impl Template {
    /// Reads a template; what is wrong with it is told with its line (D-TPL-06).
    pub fn parse(source: &str) -> Result<Template, Error> {
        let body = parser::parse(source)?;
        Ok(Template(Arc::new(Parsed { source: source.into(), body })))
    }

    /// The text the template was parsed from.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Renders to a new string.
    pub fn render(&self, env: &Env<'_>) -> Result<String, Error> {
        let mut out = String::with_capacity(self.0.source.len());
        self.render_into(env, &mut out)?;
        Ok(out)
    }

    /// Renders to the end of `out`; after an error `out` holds what was written until then.
    pub fn render_into(&self, env: &Env<'_>, out: &mut String) -> Result<(), Error> {
        run::Run::new(env).template(&self.0.body, out)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.source()).finish()
    }
}

/// What is wrong with a template or went wrong while it was rendered, as a sentence for its author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Error {
    /// The line of the template, counted from 1.
    pub line: usize,
    /// What is wrong, as a sentence.
    pub message: String,
}

impl Error {
    fn new(line: u32, message: impl Into<String>) -> Self {
        Error { line: line as usize, message: message.into() }
    }
}

/// What one rendering sees and may use.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The root values (D-TPL-31).
    pub scope: &'a Scope<'a>,
    /// The time that `"now"` means.
    pub now: Time,
    /// Where entities, partials and translations come from.
    pub lookup: &'a dyn Lookup,
    /// Whether naming something absent is an error (W-UPD-04). A `default` filter right behind the name and the
    /// conditions of `if`, `unless` and `case` still accept what is absent.
    pub strict: bool,
    /// The bounds of this rendering.
    pub limits: Limits,
}

impl<'a> Env<'a> {
    /// An environment that looks nothing up, is lenient and has the default limits.
    pub fn new(scope: &'a Scope<'a>, now: Time) -> Self {
        Env { scope, now, lookup: &NoLookup, strict: false, limits: Limits::default() }
    }
}

/// The bounds of one rendering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many tags, filters, rounds of loops and list items may be gone through; a look-up counts as 100, and every
    /// 256 bytes of text as one.
    pub steps: u32,
    /// How many bytes the output, and any value on the way to it, may have.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { steps: 100_000, output_bytes: 1 << 20 }
    }
}

/// How many subscriptions of a user a template sees (D-TPL-19, F-SUB-14).
pub const MOST_SUBSCRIPTIONS: usize = 25;

/// Where a template's references to other things lead; by default nowhere.
pub trait Lookup {
    /// The user with this id, with `id`, `created_at`, `updated_at` and all properties at its root (D-TPL-20).
    fn user(&self, _id: &str) -> Option<Value> {
        None
    }
    /// The object with this collection and id (D-TPL-20).
    fn object(&self, _collection: &str, _id: &str) -> Option<Value> {
        None
    }
    /// The tenant with this id (D-TPL-20).
    fn tenant(&self, _id: &str) -> Option<Value> {
        None
    }
    /// The active subscriptions of a user, oldest first, each `{object, properties}` (D-TPL-19, D-AMB-22).
    fn subscriptions(&self, _user: &str) -> Vec<Value> {
        Vec::new()
    }
    /// The partial with this key.
    fn partial(&self, _key: &str) -> Option<Template> {
        None
    }
    /// The translation under this key in the recipient's locale: text, or an object of plural forms (D-TPL-92, D-TPL-93).
    fn translation(&self, _key: &str) -> Option<Value> {
        None
    }
}

/// A lookup that finds nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoLookup;

impl Lookup for NoLookup {}
