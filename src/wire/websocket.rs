//! WebSocket as a server speaks it (RFC 6455): frames from a client, heads of frames to it.
//!
//! No extensions. A reader that has nothing to read holds no memory: most sockets are silent most of the time.

/// The bytes of a frame's head at most, as a server writes it.
pub const MOST_HEAD: usize = 10;
/// What a control frame may carry (RFC 6455, 5.5).
const MOST_CONTROL: usize = 125;
/// The first bit of a frame: it ends its message. And the first bit of a length: the payload is masked.
const TOP_BIT: u8 = 0x80;

/// What a frame is (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the words of the protocol")]
pub enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn read(number: u8) -> Result<Self, Breach> {
        Ok(match number {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return Err(Breach::Protocol),
        })
    }

    fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// What came from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A text message, whole.
    Text(String),
    /// A binary message, whole.
    Binary(Vec<u8>),
    /// A ping, to be answered with the same bytes.
    Ping(Vec<u8>),
    /// A pong.
    Pong,
    /// The client closes, with a code if it gave one.
    Close(Option<u16>),
}

/// How a client broke the protocol; the connection is closed with [`Breach::code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breach {
    /// A frame that is none, or that may not come here.
    Protocol,
    /// A text that is not UTF-8.
    Text,
    /// More than one message may hold.
    TooBig,
}

impl Breach {
    /// The code that says so (RFC 6455, 7.4.1).
    pub fn code(self) -> u16 {
        match self {
            Breach::Protocol => 1002,
            Breach::Text => 1007,
            Breach::TooBig => 1009,
        }
    }
}

/// Puts messages together from bytes, however these are cut.
#[derive(Debug, Default)]
pub struct Reader {
    bytes: Vec<u8>,
    /// How many of `bytes` have been taken.
    taken: usize,
    /// A message whose end has not come.
    begun: Option<Box<Begun>>,
}

#[derive(Debug)]
struct Begun {
    is_text: bool,
    bytes: Vec<u8>,
    /// How many of `bytes` are known to be UTF-8.
    checked: usize,
    /// The frame whose payload is still coming.
    frame: Option<Coming>,
}

#[derive(Debug)]
struct Coming {
    mask: [u8; 4],
    /// How much of the payload has not come.
    left: usize,
    is_final: bool,
}

/// The head of a frame.
struct Head {
    is_final: bool,
    opcode: Opcode,
    mask: [u8; 4],
    /// Where the payload begins, counted from the frame's first byte.
    from: usize,
    length: usize,
}

impl Reader {
    /// A reader for what comes after `bytes`.
    pub fn new(bytes: Vec<u8>) -> Self {
        Reader { bytes, ..Reader::default() }
    }

    /// Takes in what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next message, none until more has come. A message has at most `most` bytes. A text that is none is found out
    /// with the first byte that cannot be one.
    pub fn next(&mut self, most: usize) -> Result<Option<Message>, Breach> {
        loop {
            if let Some(begun) = self.begun.as_mut().filter(|begun| begun.frame.is_some()) {
                self.taken += begun.take_in(&self.bytes[self.taken..])?;
                self.forget_what_was_taken();
                match self.begun.take_if(|begun| begun.is_whole()) {
                    Some(whole) => return whole.finish().map(Some),
                    None if self.is_waiting() => return Ok(None),
                    None => continue,
                }
            }
            let Some(Head { is_final, opcode, mask, from, length }) = self.head(most)? else { return Ok(None) };
            let payload = self.bytes[self.taken..].get_mut(from..from + length);
            let is_message = opcode != Opcode::Continuation && is_final && payload.is_some();
            if !opcode.is_control() && !is_message {
                self.begin(opcode, from, Coming { mask, left: length, is_final });
                continue;
            }
            let Some(payload) = payload else { return Ok(None) };
            unmask(payload, mask);
            let payload = payload.to_vec();
            self.taken += from + length;
            self.forget_what_was_taken();
            return match opcode {
                Opcode::Ping => Ok(Some(Message::Ping(payload))),
                Opcode::Pong => Ok(Some(Message::Pong)),
                Opcode::Close => close_code(&payload).map(Message::Close).map(Some),
                Opcode::Text => text(payload).map(Some),
                Opcode::Binary | Opcode::Continuation => Ok(Some(Message::Binary(payload))),
            };
        }
    }

    /// Whether a frame's payload is still coming.
    fn is_waiting(&self) -> bool {
        self.begun.as_ref().is_some_and(|begun| begun.frame.is_some())
    }

    /// Begins a message of several pieces, or a further frame of it; its head is taken.
    fn begin(&mut self, opcode: Opcode, head: usize, frame: Coming) {
        self.taken += head;
        let is_text = opcode == Opcode::Text;
        let new = || Box::new(Begun { is_text, bytes: Vec::new(), checked: 0, frame: None });
        self.begun.get_or_insert_with(new).frame = Some(frame);
    }

    fn forget_what_was_taken(&mut self) {
        if self.taken == self.bytes.len() {
            (self.bytes, self.taken) = (Vec::new(), 0);
        }
    }

    /// Reads the head of the frame that comes next and judges it; none if it is not all there.
    fn head(&self, most: usize) -> Result<Option<Head>, Breach> {
        let frame = &self.bytes[self.taken..];
        let &[first, second, ref rest @ ..] = frame else { return Ok(None) };
        let (is_final, opcode) = (first & TOP_BIT != 0, Opcode::read(first & 0x0F)?);
        let (is_extended, is_masked) = (first & 0x70 != 0, second & TOP_BIT != 0);
        let begins = matches!(opcode, Opcode::Text | Opcode::Binary);
        let is_out_of_turn = match &self.begun {
            Some(_) => begins,
            None => opcode == Opcode::Continuation,
        };
        if is_extended || !is_masked || is_out_of_turn || (opcode.is_control() && !is_final) {
            return Err(Breach::Protocol);
        }
        let (length, rest) = match second & !TOP_BIT {
            126 => match rest.split_first_chunk::<2>() {
                Some((length, rest)) => (u64::from(u16::from_be_bytes(*length)), rest),
                None => return Ok(None),
            },
            127 => match rest.split_first_chunk::<8>() {
                Some((length, rest)) => (u64::from_be_bytes(*length), rest),
                None => return Ok(None),
            },
            short => (u64::from(short), rest),
        };
        if opcode.is_control() && length > MOST_CONTROL as u64 {
            return Err(Breach::Protocol);
        }
        let before = self.begun.as_ref().map_or(0, |begun| begun.bytes.len());
        let room = most.saturating_sub(if opcode.is_control() { 0 } else { before });
        let length = usize::try_from(length).ok().filter(|length| *length <= room).ok_or(Breach::TooBig)?;
        let Some(mask) = rest.first_chunk::<4>() else { return Ok(None) };
        Ok(Some(Head { is_final, opcode, mask: *mask, from: frame.len() - rest.len() + 4, length }))
    }
}

impl Begun {
    /// Takes in what has come of the frame; how many bytes that was.
    fn take_in(&mut self, come: &[u8]) -> Result<usize, Breach> {
        let Some(frame) = &mut self.frame else { return Ok(0) };
        let taken = frame.left.min(come.len());
        let from = self.bytes.len();
        self.bytes.extend_from_slice(&come[..taken]);
        unmask(&mut self.bytes[from..], frame.mask);
        frame.mask.rotate_left(taken % 4);
        frame.left -= taken;
        if frame.left == 0 && !frame.is_final {
            self.frame = None;
        }
        if self.is_text {
            self.check()?;
        }
        Ok(taken)
    }

    fn is_whole(&self) -> bool {
        self.frame.as_ref().is_some_and(|frame| frame.is_final && frame.left == 0)
    }

    fn finish(self) -> Result<Message, Breach> {
        match self.is_text {
            false => Ok(Message::Binary(self.bytes)),
            true if self.checked == self.bytes.len() => text(self.bytes),
            true => Err(Breach::Text),
        }
    }

    /// Looks at what is new of a text; its last character may still be incomplete.
    fn check(&mut self) -> Result<(), Breach> {
        match std::str::from_utf8(&self.bytes[self.checked..]) {
            Ok(_) => self.checked = self.bytes.len(),
            Err(error) if error.error_len().is_none() => self.checked += error.valid_up_to(),
            Err(_) => return Err(Breach::Text),
        }
        Ok(())
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    for (at, byte) in payload.iter_mut().enumerate() {
        *byte ^= mask[at % 4];
    }
}

fn text(payload: Vec<u8>) -> Result<Message, Breach> {
    String::from_utf8(payload).map(Message::Text).map_err(|_| Breach::Text)
}

/// The code in a close frame, if there is one; its reason is of no interest, but must be a text.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Breach> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return if payload.is_empty() { Ok(None) } else { Err(Breach::Protocol) };
    };
    let code = u16::from_be_bytes(*code);
    // Those that are defined for the wire, those that may be registered, and private ones (RFC 6455, 7.4).
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Breach::Protocol);
    }
    std::str::from_utf8(reason).map_err(|_| Breach::Text)?;
    Ok(Some(code))
}

/// Spells the head of a frame from the server that is a whole message; gives back its length.
pub fn spell_head(opcode: Opcode, length: usize, head: &mut [u8; MOST_HEAD]) -> usize {
    head[0] = TOP_BIT | opcode as u8;
    if length < 126 {
        head[1] = length as u8;
        2
    } else if let Ok(short) = u16::try_from(length) {
        head[1] = 126;
        head[2..4].copy_from_slice(&short.to_be_bytes());
        4
    } else {
        head[1] = 127;
        head[2..10].copy_from_slice(&(length as u64).to_be_bytes());
        10
    }
}

/// The payload of a close frame; a reason that is too long is cut.
pub fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut payload = code.to_be_bytes().to_vec();
    payload.extend_from_slice(&reason.as_bytes()[..reason.floor_char_boundary(MOST_CONTROL - 2)]);
    payload
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 1_000;
    const FINAL: u8 = 0x80;

    /// A frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let (mask, mut head) = ([0x12, 0x34, 0x56, 0x78], [0; MOST_HEAD]);
        let used = spell_head(Opcode::Text, payload.len(), &mut head);
        (head[0], head[1]) = (first, head[1] | 0x80);
        let mut payload = payload.to_vec();
        unmask(&mut payload, mask);
        [&head[..used], &mask, &payload].concat()
    }

    /// What a reader makes of these bytes, cut into pieces of `size`.
    fn read(bytes: &[u8], size: usize) -> Result<Vec<Message>, Breach> {
        let (mut reader, mut heard) = (Reader::default(), Vec::new());
        for piece in bytes.chunks(size) {
            reader.feed(piece);
            while let Some(message) = reader.next(MOST)? {
                heard.push(message);
            }
        }
        assert!(reader.bytes.is_empty() && reader.bytes.capacity() == 0, "nothing is held between messages");
        Ok(heard)
    }

    fn text(text: &str) -> Message {
        Message::Text(text.to_owned())
    }

    #[test]
    fn messages_come_through_however_they_are_cut() {
        let long = "ü".repeat(300);
        let bytes = [
            frame(FINAL | 1, b""),
            frame(FINAL | 1, long.as_bytes()),
            frame(FINAL | 2, &[7; 126]),
            frame(FINAL | 9, b"are you there"),
            frame(FINAL | 10, b""),
            frame(FINAL | 8, &[3, 232, b'b', b'y', b'e']),
        ]
        .concat();
        let expected = [
            text(""),
            text(&long),
            Message::Binary(vec![7; 126]),
            Message::Ping(b"are you there".to_vec()),
            Message::Pong,
            Message::Close(Some(1000)),
        ];
        for size in [1, 2, 3, 7, 100, bytes.len()] {
            assert_eq!(read(&bytes, size).as_deref(), Ok(&expected[..]), "{size}");
        }
        assert_eq!(read(&frame(FINAL | 8, b""), 9), Ok(vec![Message::Close(None)]));
    }

    #[test]
    fn fragments_are_put_together_and_pings_may_come_between() {
        let euro = "€".as_bytes();
        let bytes = [
            frame(1, &euro[..1]),
            frame(0, &euro[1..2]),
            frame(FINAL | 9, b"!"),
            frame(FINAL, &euro[2..]),
            frame(2, b"a"),
            frame(FINAL, b"b"),
        ]
        .concat();
        let expected = [Message::Ping(b"!".to_vec()), text("€"), Message::Binary(b"ab".to_vec())];
        for size in [1, 5, bytes.len()] {
            assert_eq!(read(&bytes, size).as_deref(), Ok(&expected[..]), "{size}");
        }
    }

    #[test]
    fn what_is_no_text_is_told_before_its_frame_has_come() {
        let bytes = frame(FINAL | 1, &["ü".repeat(40).as_bytes(), &[0xFF], &[b'x'; 100]].concat());
        let head = bytes.len() - 181;
        for size in [1, 7, 181] {
            let mut reader = Reader::default();
            let heard = bytes[..head + 81].chunks(size).try_for_each(|piece| {
                reader.feed(piece);
                reader.next(MOST).map(drop)
            });
            assert_eq!(heard.map_err(Breach::code), Err(1007), "RFC 6455, 8.1 {size}");
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_told_by_its_code() {
        let unmasked = vec![0x81, 1, b'x'];
        let endless = vec![0x81, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
        for (bytes, code, what) in [
            (unmasked, 1002, "a client masks"),
            (frame(FINAL | 0x40 | 1, b"x"), 1002, "an extension that was not agreed on"),
            (frame(FINAL | 3, b"x"), 1002, "a frame of no kind"),
            (frame(FINAL | 11, b""), 1002, "a control frame of no kind"),
            (frame(9, b"x"), 1002, "a ping in fragments"),
            (frame(FINAL | 9, &[0; 126]), 1002, "a ping that is too long"),
            (frame(FINAL, b"x"), 1002, "the end of no message"),
            ([frame(1, b"a"), frame(FINAL | 1, b"b")].concat(), 1002, "a message within another"),
            (frame(FINAL | 8, &[3]), 1002, "half a code"),
            (frame(FINAL | 8, &[3, 237]), 1002, "1005 is never sent"),
            (frame(FINAL | 8, &[19, 136]), 1002, "5000 is no code"),
            (frame(FINAL | 8, &[3, 232, 0xFF]), 1007, "a reason that is no text"),
            (frame(FINAL | 1, &[0xC3]), 1007, "half a character"),
            ([frame(1, &[0xC3]), frame(FINAL, b"")].concat(), 1007, "half a character in fragments"),
            (frame(1, &[0xFF]), 1007, "no character, said before the message ends"),
            (frame(FINAL | 2, &[0; MOST + 1]), 1009, "too big"),
            ([frame(2, &[0; MOST]), frame(0, b"x")].concat(), 1009, "too big in fragments"),
            (endless, 1009, "too big for this world"),
        ] {
            assert_eq!(read(&bytes, bytes.len()).map_err(Breach::code), Err(code), "{what}");
        }
        let full = [frame(2, &[0; MOST]), frame(FINAL | 9, b"x"), frame(FINAL, b"")].concat();
        assert_eq!(read(&full, 64).map(|heard| heard.len()), Ok(2), "a ping is no part of the message");
    }

    #[test]
    fn heads_say_the_length_in_as_few_bytes_as_they_can() {
        for (length, expected) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 255, 255]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut head = [0; MOST_HEAD];
            let used = spell_head(Opcode::Text, length, &mut head);
            assert_eq!(&head[..used], expected, "{length}");
        }
    }

    #[test]
    fn a_reason_fits_its_frame() {
        assert_eq!(close_payload(1008, "no"), [3, 240, b'n', b'o']);
        assert_eq!(close_payload(1008, &"ü".repeat(100)).len(), 124);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(pieces in prop::collection::vec(any::<Vec<u8>>(), 0..8)) {
            let mut reader = Reader::default();
            for piece in pieces {
                reader.feed(&piece);
                while let Ok(Some(_)) = reader.next(MOST) {}
            }
        }

        #[test]
        fn what_is_said_is_heard(words in prop::collection::vec(any::<String>(), 1..6), size in 1usize..40) {
            let bytes: Vec<u8> = words.iter().flat_map(|word| frame(FINAL | 1, word.as_bytes())).collect();
            let expected: Vec<Message> = words.iter().map(|word| text(word)).collect();
            prop_assert_eq!(read(&bytes, size), Ok(expected));
        }
    }
}
