//! How nodes spell news for each other: a version, then fields in a fixed order; numbers are 8 bytes, texts follow their length.
//!
//! A node that finds another version, or anything it can't read, takes the news for "changed, look": nothing is lost by it.

use std::ops::Range;
use std::sync::Arc;

use super::item::{Item, Spelled};
use crate::model::feed::{Counts, Head};
use crate::model::time::Time;

/// The spelling described here. Raise it with every change of a field.
const VERSION: u8 = 2;
const PROBE: u8 = 0;
const CHANGED: u8 = 1;
const ITEM: u8 = 2;
/// An item larger than this is not sent along: the database has it.
const MOST_ITEM_BYTES: usize = 32 * 1024;

/// A feed's change, as it is told to other nodes.
#[derive(Debug, Clone, Copy)]
pub struct Letter<'a> {
    /// Who sends it.
    pub node: u64,
    pub env: i64,
    pub channel: &'a str,
    /// The key of whose feed it is.
    pub recipient: &'a str,
    pub head: &'a Head,
    /// The item that was added, if that is the change.
    pub item: Option<&'a Item>,
}

/// What an envelope holds.
#[derive(Debug, PartialEq)]
pub enum Opened {
    /// A sign of life that this node itself sent.
    Echo(u64),
    /// Something else that this node itself sent, or another's sign of life.
    Own,
    /// The change of a feed, heard of from another node.
    Feed { env: i64, channel: String, recipient: String, head: Head, item: Option<Arc<Item>> },
}

/// Spells a sign of life.
pub fn probe(node: u64, nonce: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(18);
    out.extend([VERSION, PROBE]);
    out.extend(node.to_le_bytes());
    out.extend(nonce.to_le_bytes());
    out
}

/// Spells a change; with its item unless that is large, or `is_short`.
pub fn seal(letter: &Letter<'_>, is_short: bool) -> Vec<u8> {
    let item = letter.item.filter(|item| !is_short && item.weight() <= MOST_ITEM_BYTES).map(Item::spelled);
    let mut out = Vec::with_capacity(256 + letter.recipient.len() + item.map_or(0, |item| 128 + item.json.len()));
    out.extend([VERSION, if item.is_some() { ITEM } else { CHANGED }]);
    out.extend(letter.node.to_le_bytes());
    number(&mut out, letter.env);
    text(&mut out, letter.channel);
    text(&mut out, letter.recipient);
    for figure in figures(letter.head) {
        number(&mut out, figure);
    }
    if let Some(item) = item {
        spelled(&mut out, item);
    }
    out
}

/// Reads an envelope that came to the node `own`; none if it can't be read here.
pub fn open(bytes: &[u8], own: u64) -> Option<Opened> {
    let (&[version, kind], rest) = bytes.split_first_chunk()?;
    if version != VERSION {
        return None;
    }
    let mut rest = Rest(rest);
    let node = u64::from_le_bytes(rest.chunk()?);
    match kind {
        PROBE if node == own => return Some(Opened::Echo(u64::from_le_bytes(rest.chunk()?))),
        PROBE => return Some(Opened::Own),
        CHANGED | ITEM if node == own => return Some(Opened::Own),
        CHANGED | ITEM => {}
        _ => return None,
    }
    let env = rest.number()?;
    let (channel, recipient) = (rest.text()?.to_owned(), rest.text()?.to_owned());
    let head = rest.head()?;
    let item = match kind {
        ITEM => Some(Arc::new(Item::heard(rest.spelled()?))),
        _ => None,
    };
    rest.0.is_empty().then_some(Opened::Feed { env, channel, recipient, head, item })
}

fn figures(head: &Head) -> [i64; 9] {
    let Head { id, version, forgotten, active, archived } = *head;
    let Counts { total, unread, unseen } = active;
    [id, version, forgotten, total, unread, unseen, archived.total, archived.unread, archived.unseen]
}

fn number(out: &mut Vec<u8>, number: i64) {
    out.extend(number.to_le_bytes());
}

fn text(out: &mut Vec<u8>, text: &str) {
    // Texts come from requests, which are far below 4 GiB.
    out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend(text.as_bytes());
}

/// A text that may be missing: a byte says whether it is there.
fn maybe(out: &mut Vec<u8>, value: Option<&str>) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        text(out, value);
    }
}

/// The item's own spelling comes last: it is the longest by far.
fn spelled(out: &mut Vec<u8>, item: &Spelled) {
    // Named one by one, so that a new field can't be forgotten.
    let Spelled { json, data, categories, workflow, tenant, inserted_at } = item;
    text(out, workflow);
    maybe(out, tenant.as_deref());
    number(out, inserted_at.micros());
    for place in [data, categories] {
        // Places in a text that is shorter than 4 GiB.
        for end in [place.start, place.end] {
            out.extend(u32::try_from(end).unwrap_or(u32::MAX).to_le_bytes());
        }
    }
    text(out, json);
}

/// What of an envelope is not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }

    fn number(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.chunk()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(u32::from_le_bytes(self.chunk()?)).ok()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn maybe(&mut self) -> Option<Option<&'a str>> {
        match self.chunk()? {
            [0] => Some(None),
            [1] => Some(Some(self.text()?)),
            _ => None,
        }
    }

    fn counts(&mut self) -> Option<Counts> {
        Some(Counts { total: self.number()?, unread: self.number()?, unseen: self.number()? })
    }

    fn head(&mut self) -> Option<Head> {
        Some(Head {
            id: self.number()?,
            version: self.number()?,
            forgotten: self.number()?,
            active: self.counts()?,
            archived: self.counts()?,
        })
    }

    fn place(&mut self) -> Option<Range<usize>> {
        let mut end = || usize::try_from(u32::from_le_bytes(self.chunk()?)).ok();
        Some(end()?..end()?)
    }

    /// In the order in which [`spelled`] writes them.
    fn spelled(&mut self) -> Option<Spelled> {
        let (workflow, tenant) = (self.text()?.to_owned(), self.maybe()?.map(str::to_owned));
        let inserted_at = Time::from_micros(self.number()?);
        let (data, categories, json) = (self.place()?, self.place()?, self.text()?);
        [&data, &categories].into_iter().all(|place| json.get(place.clone()).is_some()).then(|| Spelled {
            json: json.to_owned(),
            data,
            categories,
            workflow,
            tenant,
            inserted_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelled(json: &str) -> Spelled {
        let (workflow, tenant) = ("comment".to_owned(), Some("acme".to_owned()));
        Spelled {
            json: json.to_owned(),
            data: 1..3,
            categories: 3..3,
            workflow,
            tenant,
            inserted_at: Time::from_micros(1),
        }
    }

    fn item() -> Item {
        Item::heard(spelled(r#"{"rendered":"ä"}"#))
    }

    fn head() -> Head {
        let counts = |from| Counts { total: from, unread: from + 1, unseen: from + 2 };
        Head { id: 3, version: 42, forgotten: 1, active: counts(10), archived: counts(20) }
    }

    fn letter<'a>(head: &'a Head, item: Option<&'a Item>) -> Letter<'a> {
        Letter { node: 9, env: 7, channel: "c", recipient: "ann:1", head, item }
    }

    #[test]
    fn what_is_sealed_is_what_is_opened() {
        let (head, item) = (head(), item());
        let feed = |item| Opened::Feed { env: 7, channel: "c".into(), recipient: "ann:1".into(), head, item };
        assert_eq!(open(&seal(&letter(&head, None), false), 1), Some(feed(None)));
        let sealed = seal(&letter(&head, Some(&item)), false);
        assert_eq!(open(&sealed, 1), Some(feed(Some(Arc::new(Item::heard(item.spelled().clone()))))));
        assert_eq!(open(&seal(&letter(&head, Some(&item)), true), 1), Some(feed(None)), "short of room");
        let large = Item::heard(spelled(&"x".repeat(MOST_ITEM_BYTES + 1)));
        assert_eq!(open(&seal(&letter(&head, Some(&large)), false), 1), Some(feed(None)));
    }

    #[test]
    fn a_node_knows_its_own_and_its_signs_of_life() {
        let (head, item) = (head(), item());
        assert_eq!(open(&seal(&letter(&head, Some(&item)), false), 9), Some(Opened::Own));
        assert_eq!(open(&probe(9, 5), 9), Some(Opened::Echo(5)));
        assert_eq!(open(&probe(9, 5), 8), Some(Opened::Own));
    }

    #[test]
    fn what_is_cut_off_or_of_another_version_is_not_read() {
        let (head, item) = (head(), item());
        let sealed = seal(&letter(&head, Some(&item)), false);
        for length in 0..sealed.len() {
            assert_eq!(open(&sealed[..length], 1), None, "{length}");
        }
        let mut longer = sealed.clone();
        longer.push(0);
        assert_eq!(open(&longer, 1), None);
        let astray = Item::heard(Spelled { data: 3..99, ..item.spelled().clone() });
        assert_eq!(open(&seal(&letter(&head, Some(&astray)), false), 1), None, "a place that is not there");
        let mut later = sealed;
        later[0] = VERSION + 1;
        assert_eq!(open(&later, 1), None);
    }
}
