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
    let (head, mut at) = line(bytes, 0)?;
    let number = |text: &[u8]| std::str::from_utf8(text).ok()?.parse::<usize>().ok();
    if head.first() != Some(&b'*') {
        return Some((at, vec![head]));
    }
    let mut words = Vec::new();
    for _ in 0..number(&head[1..])? {
        let (head, next) = line(bytes, at)?;
        at = next;
        if head.first() == Some(&b'$') {
            let length = number(&head[1..])?;
            words.push(bytes.get(at..at + length)?);
            at += length + 2;
            bytes.get(..at)?;
        } else {
            words.push(head);
        }
    }
    Some((at, words))
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
    }
}
