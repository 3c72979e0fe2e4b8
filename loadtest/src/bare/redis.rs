//! The least of Redis's protocol (RESP2) that a bare program needs: subscribe, publish, hear.

/// What Redis calls a user's channel here.
pub(crate) fn channel(user: u32) -> String {
    format!("loadtest:u{user}")
}

/// Appends a command.
pub(crate) fn command(out: &mut Vec<u8>, words: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// One line: its text, and where the next begins.
fn line(bytes: &[u8], from: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(from..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    Some((&rest[..end], from + end + 2))
}

/// Reads what stands at the head of `bytes`: how many bytes it is, and its words; numbers are words, too.
pub(crate) fn read(bytes: &[u8]) -> Option<(usize, Vec<&[u8]>)> {
    let (head, next) = line(bytes, 0)?;
    let (count, mut at) = match head.strip_prefix(b"*") {
        Some(count) => (number(count)?, next),
        None => (1, 0),
    };
    let mut words = Vec::new();
    for _ in 0..count {
        let (head, next) = line(bytes, at)?;
        at = next;
        match head.strip_prefix(b"$") {
            Some(length) => {
                let length = number(length)?;
                words.push(bytes.get(at..at + length)?);
                at += length + 2;
                bytes.get(..at)?;
            }
            None => words.push(head),
        }
    }
    Some((at, words))
}

fn number(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The user and the text of a message.
pub(crate) fn message<'a>(words: &[&'a [u8]]) -> Option<(u32, &'a [u8])> {
    let [b"message", channel, text] = words else { return None };
    let user = std::str::from_utf8(channel).ok()?.strip_prefix("loadtest:u")?.parse().ok()?;
    Some((user, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_through_however_they_are_cut() {
        let mut bytes = b"*3\r\n$9\r\nsubscribe\r\n$11\r\nloadtest:u7\r\n:1\r\n".to_vec();
        let confirmed = bytes.len();
        command(&mut bytes, &[b"message", channel(7).as_bytes(), b"a\r\nb"]);
        assert_eq!(read(&bytes).map(|(used, words)| (used, message(&words).is_some())), Some((confirmed, false)));
        for cut in confirmed..bytes.len() {
            assert!(read(&bytes[confirmed..cut]).is_none(), "cut at {cut}");
        }
        let (used, words) = read(&bytes[confirmed..]).expect("a message");
        assert_eq!((confirmed + used, message(&words)), (bytes.len(), Some((7, &b"a\r\nb"[..]))));
        assert_eq!(read(b":1\r\n:2\r\n"), Some((4, vec![&b":1"[..]])));
        assert_eq!(read(b"$3\r\na\r\n\r\n:2\r\n"), Some((9, vec![&b"a\r\n"[..]])), "a text by itself");
    }
}
