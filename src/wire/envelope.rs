//! How nodes spell news for each other: a version, then fields in a fixed order; numbers are 8 bytes, texts follow their length.
//!
//! A node that finds another version, or anything it can't read, takes the news for "changed, look": nothing is lost by it.

use crate::model::feed::{Counts, Head};
use crate::model::message::Message;
use crate::model::recipient::RecipientRef;
use crate::model::time::Time;

/// The spelling described here. Raise it with every change of a field.
const VERSION: u8 = 1;
const PROBE: u8 = 0;
const CHANGED: u8 = 1;
const ITEM: u8 = 2;
const CALL: u8 = 3;
const MOVED: u8 = 4;
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
    pub item: Option<&'a Message>,
    /// Whether an item was updated, and has moved to the top.
    pub is_moved: bool,
}

/// What an envelope holds.
#[derive(Debug, PartialEq)]
pub enum Opened {
    /// A sign of life that this node itself sent.
    Echo(u64),
    /// Something else that this node itself sent, or another's sign of life.
    Own,
    /// Another node has more to do than it can.
    Call,
    /// The change of a feed, heard of from another node.
    Feed { env: i64, channel: String, recipient: String, head: Head, item: Option<Box<Message>>, is_moved: bool },
}

/// Spells a sign of life.
pub fn probe(node: u64, nonce: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(18);
    out.extend([VERSION, PROBE]);
    out.extend(node.to_le_bytes());
    out.extend(nonce.to_le_bytes());
    out
}

/// Spells a call for help with the work that is due.
pub fn call(node: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(10);
    out.extend([VERSION, CALL]);
    out.extend(node.to_le_bytes());
    out
}

/// Spells a change; with its item unless that is large, or `is_short`.
pub fn seal(letter: &Letter<'_>, is_short: bool) -> Vec<u8> {
    let item = letter.item.filter(|item| !is_short && weight(item) <= MOST_ITEM_BYTES);
    let mut out = Vec::with_capacity(192 + letter.recipient.len() + item.map_or(0, |item| 512 + weight(item)));
    let kind = match item {
        Some(_) => ITEM,
        None if letter.is_moved => MOVED,
        None => CHANGED,
    };
    out.extend([VERSION, kind]);
    out.extend(letter.node.to_le_bytes());
    number(&mut out, letter.env);
    text(&mut out, letter.channel);
    text(&mut out, letter.recipient);
    for figure in figures(letter.head) {
        number(&mut out, figure);
    }
    if let Some(item) = item {
        message(&mut out, item);
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
        CHANGED | ITEM | MOVED | CALL if node == own => return Some(Opened::Own),
        CALL => return Some(Opened::Call),
        CHANGED | ITEM | MOVED => {}
        _ => return None,
    }
    let env = rest.number()?;
    let (channel, recipient) = (rest.text()?.to_owned(), rest.text()?.to_owned());
    let head = rest.head()?;
    let item = match kind {
        ITEM => Some(Box::new(rest.message(env, &channel, &recipient, &head)?)),
        _ => None,
    };
    rest.0.is_empty().then_some(Opened::Feed { env, channel, recipient, head, item, is_moved: kind == MOVED })
}

/// About how many bytes an item takes.
fn weight(item: &Message) -> usize {
    let optional = |text: Option<&str>| text.map_or(0, str::len);
    let texts = [&item.categories, &item.blocks, &item.actors, &item.data].map(|text| text.len());
    texts.iter().sum::<usize>()
        + optional(item.slim_data.as_deref())
        + optional(item.activities.as_deref())
        + optional(item.metadata.as_deref())
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

/// A time that may be missing: the least number stands for none.
fn moment(out: &mut Vec<u8>, at: Option<Time>) {
    number(out, at.map_or(i64::MIN, Time::micros));
}

fn message(out: &mut Vec<u8>, item: &Message) {
    // Named one by one, so that a new field can't be forgotten. What the letter says already is not said again.
    let Message {
        id,
        env: _,
        feed: _,
        seq,
        version,
        channel: _,
        recipient: _,
        tenant,
        actor,
        workflow,
        version_id,
        categories,
        step_ref,
        workflow_run,
        run,
        status,
        blocks,
        actors,
        total_actors,
        data,
        slim_data,
        activities,
        // Items do not show it.
        batch: _,
        total_activities,
        metadata,
        inserted_at,
        updated_at,
        scheduled_at,
        seen_at,
        read_at,
        interacted_at,
        link_clicked_at,
        archived_at,
        collapse_key: _,
        first_at: _,
        revoked_at: _,
    } = item;
    for value in [id, workflow, version_id, step_ref, workflow_run, run, status] {
        text(out, value);
    }
    for value in [categories, blocks, actors, data] {
        text(out, value);
    }
    for value in [tenant, actor, metadata] {
        maybe(out, value.as_deref());
    }
    for value in [slim_data, activities] {
        maybe(out, value.as_deref());
    }
    for value in [seq, version, total_actors, total_activities] {
        number(out, *value);
    }
    for at in [Some(*inserted_at), Some(*updated_at), *scheduled_at, *seen_at, *read_at] {
        moment(out, at);
    }
    for at in [*interacted_at, *link_clicked_at, *archived_at] {
        moment(out, at);
    }
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

    fn owned(&mut self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    fn shared(&mut self) -> Option<std::sync::Arc<str>> {
        self.text().map(Into::into)
    }

    fn maybe(&mut self) -> Option<Option<&'a str>> {
        match self.chunk()? {
            [0] => Some(None),
            [1] => Some(Some(self.text()?)),
            _ => None,
        }
    }

    fn moment(&mut self) -> Option<Option<Time>> {
        Some(Some(self.number()?).filter(|micros| *micros != i64::MIN).map(Time::from_micros))
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

    /// In the order in which [`message`] writes them.
    fn message(&mut self, env: i64, channel: &str, recipient: &str, head: &Head) -> Option<Message> {
        let (id, workflow, version_id) = (self.owned()?, self.owned()?, self.owned()?);
        let (step_ref, workflow_run, run, status) = (self.owned()?, self.owned()?, self.owned()?, self.owned()?);
        let (categories, blocks, actors, data) = (self.shared()?, self.shared()?, self.shared()?, self.shared()?);
        let [tenant, actor, metadata] =
            [self.maybe()?, self.maybe()?, self.maybe()?].map(|text| text.map(str::to_owned));
        let [slim_data, activities] = [self.maybe()?, self.maybe()?].map(|text| text.map(Into::into));
        let [seq, version, total_actors, total_activities] =
            [self.number()?, self.number()?, self.number()?, self.number()?];
        let (inserted_at, updated_at) = (self.moment()??, self.moment()??);
        Some(Message {
            id,
            env,
            feed: Some(head.id),
            seq,
            version,
            channel: channel.to_owned(),
            recipient: RecipientRef::from_key(recipient),
            tenant,
            actor,
            workflow,
            version_id,
            categories,
            step_ref,
            workflow_run,
            run,
            status,
            blocks,
            actors,
            total_actors,
            data,
            slim_data,
            activities,
            batch: None,
            total_activities,
            metadata,
            inserted_at,
            updated_at,
            scheduled_at: self.moment()?,
            seen_at: self.moment()?,
            read_at: self.moment()?,
            interacted_at: self.moment()?,
            link_clicked_at: self.moment()?,
            archived_at: self.moment()?,
            collapse_key: None,
            first_at: None,
            revoked_at: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item() -> Message {
        let at = |micros| Some(Time::from_micros(micros));
        Message {
            id: "m1".into(),
            env: 7,
            feed: Some(3),
            seq: 41,
            version: 42,
            channel: "c".into(),
            recipient: RecipientRef::User("ann:1".into()),
            tenant: Some("acme".into()),
            actor: None,
            workflow: "comment".into(),
            version_id: "v".into(),
            categories: r#"["a"]"#.into(),
            step_ref: "s".into(),
            workflow_run: "w".into(),
            run: "r".into(),
            status: "delivered".into(),
            blocks: r#"[{"rendered":"ä"}]"#.into(),
            actors: "[]".into(),
            total_actors: 2,
            data: "{}".into(),
            slim_data: Some("{}".into()),
            activities: None,
            batch: None,
            total_activities: 5,
            metadata: Some("{\"k\":1}".into()),
            inserted_at: Time::from_micros(1),
            updated_at: Time::from_micros(2),
            scheduled_at: None,
            seen_at: at(3),
            read_at: None,
            interacted_at: at(-4),
            link_clicked_at: None,
            archived_at: at(5),
            collapse_key: None,
            first_at: None,
            revoked_at: None,
        }
    }

    fn head() -> Head {
        let counts = |from| Counts { total: from, unread: from + 1, unseen: from + 2 };
        Head { id: 3, version: 42, forgotten: 1, active: counts(10), archived: counts(20) }
    }

    fn letter<'a>(head: &'a Head, item: Option<&'a Message>) -> Letter<'a> {
        Letter { node: 9, env: 7, channel: "c", recipient: "ann:1", head, item, is_moved: false }
    }

    #[test]
    fn what_is_sealed_is_what_is_opened() {
        let (head, item) = (head(), item());
        let feed = |item| opened(head, item, false);
        assert_eq!(open(&seal(&letter(&head, None), false), 1), Some(feed(None)));
        let sealed = seal(&letter(&head, Some(&item)), false);
        assert_eq!(open(&sealed, 1), Some(feed(Some(Box::new(item.clone())))));
        assert_eq!(open(&seal(&letter(&head, Some(&item)), true), 1), Some(feed(None)), "short of room");
        let large = Message { data: "x".repeat(MOST_ITEM_BYTES + 1).into(), ..item };
        assert_eq!(open(&seal(&letter(&head, Some(&large)), false), 1), Some(feed(None)));
        let moved = Letter { is_moved: true, ..letter(&head, None) };
        assert_eq!(open(&seal(&moved, false), 1), Some(opened(head, None, true)));
    }

    fn opened(head: Head, item: Option<Box<Message>>, is_moved: bool) -> Opened {
        Opened::Feed { env: 7, channel: "c".into(), recipient: "ann:1".into(), head, item, is_moved }
    }

    #[test]
    fn a_node_knows_its_own_and_its_signs_of_life() {
        let (head, item) = (head(), item());
        assert_eq!(open(&seal(&letter(&head, Some(&item)), false), 9), Some(Opened::Own));
        assert_eq!(open(&probe(9, 5), 9), Some(Opened::Echo(5)));
        assert_eq!(open(&probe(9, 5), 8), Some(Opened::Own));
        assert_eq!((open(&call(9), 9), open(&call(9), 8)), (Some(Opened::Own), Some(Opened::Call)));
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
        let mut later = sealed;
        later[0] = VERSION + 1;
        assert_eq!(open(&later, 1), None);
    }
}
