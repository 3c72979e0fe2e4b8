//! What the client tells the bare push server: whom to push which frame to, and what to store before.

use anyhow::{Result, bail};

const HEAD: usize = 9;
const LONGEST: usize = 1 << 20;

/// What is stored before a frame is pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Store {
    /// Nothing: the push alone.
    Nothing = 0,
    /// A new item: the feed's row, a message and a run.
    Item = 1,
    /// A mark on the user's latest item: the feed's row and the message.
    Mark = 2,
}

/// One order to the bare push server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) store: Store,
    pub(crate) user: u32,
    pub(crate) text: &'a [u8],
}

impl Record<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(self.store as u8);
        out.extend_from_slice(&self.user.to_le_bytes());
        out.extend_from_slice(&(self.text.len() as u32).to_le_bytes());
        out.extend_from_slice(self.text);
    }
}

/// Hands out the complete records at the head of `bytes` and answers how many bytes they are.
pub(crate) fn read(bytes: &[u8], mut each: impl FnMut(Record<'_>)) -> Result<usize> {
    let mut used = 0;
    while let Some(head) = bytes.get(used..used + HEAD) {
        let user = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
        let length = u32::from_le_bytes([head[5], head[6], head[7], head[8]]) as usize;
        let store = match head[0] {
            0 => Store::Nothing,
            1 => Store::Item,
            2 => Store::Mark,
            other => bail!("a record of kind {other}"),
        };
        if length > LONGEST {
            bail!("a record of {length} bytes");
        }
        let Some(text) = bytes.get(used + HEAD..used + HEAD + length) else { break };
        each(Record { store, user, text });
        used += HEAD + length;
    }
    Ok(used)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_through_however_they_are_cut() {
        let mut bytes = Vec::new();
        Record { store: Store::Item, user: 7, text: b"one" }.write(&mut bytes);
        Record { store: Store::Mark, user: 70_000, text: b"" }.write(&mut bytes);
        for cut in 0..bytes.len() {
            let mut seen = Vec::new();
            let used = read(&bytes[..cut], |record| seen.push(record.user)).expect("records");
            read(&bytes[used..], |record| seen.push(record.user)).expect("records");
            assert_eq!(seen, [7, 70_000], "cut at {cut}");
        }
    }
}
