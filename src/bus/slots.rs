//! A Cluster's slots: where a channel belongs, and who serves it.

use redis::Value;

/// How many there are.
pub(super) const SLOTS: u16 = 16_384;

/// The slot of a channel: of what stands in its first braces, else of the whole (Redis Cluster's key hash tags).
pub(super) fn slot(channel: &[u8]) -> u16 {
    let tag = channel.iter().position(|byte| *byte == b'{').and_then(|open| {
        let inside = &channel[open + 1..];
        let close = inside.iter().position(|byte| *byte == b'}')?;
        (close > 0).then(|| &inside[..close])
    });
    crc16(tag.unwrap_or(channel)) % SLOTS
}

/// CRC-16/XMODEM, as the Cluster's specification says. By half-bytes: the table has 16 entries.
fn crc16(bytes: &[u8]) -> u16 {
    const TABLE: [u16; 16] = [
        0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7, 0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad,
        0xe1ce, 0xf1ef,
    ];
    bytes.iter().fold(0, |crc: u16, byte| {
        let byte = u16::from(*byte);
        let crc = (crc << 4) ^ TABLE[usize::from((crc >> 12) ^ (byte >> 4))];
        (crc << 4) ^ TABLE[usize::from((crc >> 12) ^ (byte & 0x0f))]
    })
}

/// Slots in a row that one master serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u16,
    pub(super) last: u16,
    pub(super) host: String,
    pub(super) port: u16,
}

/// Reads the answer to `CLUSTER SLOTS`, given at `host`: a server that does not know its own address leaves it empty.
pub(super) fn ranges(answer: &Value, host: &str) -> Option<Vec<Range>> {
    let Value::Array(rows) = answer else { return None };
    let mut ranges = Vec::with_capacity(rows.len());
    for row in rows {
        let Value::Array(row) = row else { return None };
        let [first, last, Value::Array(master), ..] = row.as_slice() else { return None };
        let [name, port, ..] = master.as_slice() else { return None };
        let name = match name {
            Value::BulkString(name) if !name.is_empty() && name != b"?" => String::from_utf8(name.clone()).ok()?,
            Value::SimpleString(name) if !name.is_empty() => name.clone(),
            _ => host.to_owned(),
        };
        let number = |value: &Value| if let Value::Int(number) = value { u16::try_from(*number).ok() } else { None };
        let (first, last) = (number(first)?, number(last)?.min(SLOTS - 1));
        ranges.push(Range { first, last, host: name, port: number(port)? });
    }
    ranges.sort_by_key(|range| range.first);
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"{user1000}.following"), slot(b"{user1000}.followers"));
        assert_eq!(slot(b"{user1000}.following"), slot(b"user1000"));
        assert_eq!(slot(b"foo{}{bar}"), crc16(b"foo{}{bar}") % SLOTS);
        assert_eq!(slot(b"foo{{bar}}zap"), slot(b"{bar"));
    }

    #[test]
    fn the_map_of_slots_is_read_with_hosts_that_are_left_out() {
        let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let row = |first, last, host: Value, port| {
            let master = Value::Array(vec![host, Value::Int(port), text("id"), Value::Array(vec![])]);
            Value::Array(vec![Value::Int(first), Value::Int(last), master.clone(), master])
        };
        let answer = Value::Array(vec![row(8_192, 16_383, text("b"), 2), row(0, 8_191, Value::Nil, 1)]);
        let range = |first, last, host: &str, port| Range { first, last, host: host.into(), port };
        assert_eq!(ranges(&answer, "a"), Some(vec![range(0, 8_191, "a", 1), range(8_192, 16_383, "b", 2)]));
        assert_eq!(ranges(&Value::Nil, "a"), None);
    }
}
