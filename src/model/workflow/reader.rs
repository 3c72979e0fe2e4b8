//! Reads a workflow's document: its values, what they name elsewhere, and what they may name but once.

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};

use crate::model::channel::Channel;
use crate::model::reader;
pub(super) use crate::model::reader::{Node, short};

/// A reader of values that knows besides what steps refer to.
pub(super) struct Reader<'c> {
    pub(super) channels: &'c [Channel],
    /// Where each `ref` was first seen.
    pub(super) refs: HashMap<String, String>,
    values: reader::Reader,
}

impl<'c> Reader<'c> {
    pub(super) fn new(channels: &'c [Channel]) -> Self {
        Reader { channels, refs: HashMap::new(), values: reader::Reader::default() }
    }
}

impl Deref for Reader<'_> {
    type Target = reader::Reader;

    fn deref(&self) -> &reader::Reader {
        &self.values
    }
}

impl DerefMut for Reader<'_> {
    fn deref_mut(&mut self) -> &mut reader::Reader {
        &mut self.values
    }
}
