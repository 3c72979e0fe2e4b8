//! Phoenix Channels frames: how both serializers spell them.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::json::{quote, quote_or_null};
use crate::model::invalid::Invalid;

/// The client joins a topic.
pub const JOIN: &str = "phx_join";
/// The client leaves a topic.
pub const LEAVE: &str = "phx_leave";
/// The client shows that it is alive, on [`PHOENIX`].
pub const HEARTBEAT: &str = "heartbeat";
/// The topic that belongs to the connection itself.
pub const PHOENIX: &str = "phoenix";
/// The server answers.
pub const REPLY: &str = "phx_reply";
/// The server ends a join; the client does not come back (socket.md 3.6).
pub const CLOSE: &str = "phx_close";
/// The server lost a join; the client joins again.
pub const ERROR: &str = "phx_error";

/// The serializer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vsn {
    /// Objects with the members `topic`, `event`, `payload`, `ref`.
    V1,
    /// Arrays of five.
    V2,
}

impl Vsn {
    /// Reads the query parameter `vsn`: absent means the first serializer; `None` says that the connection is refused.
    pub fn parse(vsn: Option<&str>) -> Option<Vsn> {
        let Some(vsn) = vsn else { return Some(Vsn::V1) };
        let is_number = |part: &str| (1..=9).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit());
        if !vsn.split('.').all(is_number) {
            return None;
        }
        match vsn.split('.').next() {
            Some("1") => Some(Vsn::V1),
            Some("2") => Some(Vsn::V2),
            _ => None,
        }
    }
}

/// A frame from a client. The refs are opaque: they are echoed and compared, never read.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Which join of the topic it belongs to.
    pub join_ref: Option<Cow<'a, str>>,
    /// What the answer has to repeat.
    pub reference: Option<Cow<'a, str>>,
    /// To whom it is addressed, see [`Topic`].
    pub topic: Cow<'a, str>,
    /// What it says.
    pub event: Cow<'a, str>,
    /// A JSON object, not yet read.
    pub payload: &'a RawValue,
}

impl<'a> Frame<'a> {
    /// Reads a text frame.
    pub fn parse(vsn: Vsn, text: &'a str) -> Result<Self, Invalid> {
        let parsed = match vsn {
            // Derived readers take a list for a struct: the first serializer knows objects only.
            Vsn::V1 if text.trim_start().starts_with('[') => return Err(malformed("an object is expected")),
            Vsn::V1 => serde_json::from_str::<V1>(text).map(Frame::from),
            Vsn::V2 => serde_json::from_str::<V2>(text).map(|V2(frame)| frame),
        };
        parsed.map_err(|error| malformed(&error.to_string()))?.with_object()
    }

    /// Reads a binary frame of kind 0, a push; its data must be a JSON object, or nothing.
    pub fn parse_binary(bytes: &'a [u8]) -> Result<Self, Invalid> {
        let short = || malformed("it ends too early");
        let (head, mut rest) = bytes.split_first_chunk::<5>().ok_or_else(short)?;
        if head[0] != 0 {
            return Err(malformed("only pushes (kind 0) come from a client"));
        }
        let mut take = |length: u8| {
            let (part, tail) = rest.split_at_checked(usize::from(length)).ok_or_else(short)?;
            rest = tail;
            utf8(part)
        };
        let (join_ref, reference) = (take(head[1])?, take(head[2])?);
        let (topic, event) = (take(head[3])?, take(head[4])?);
        let data = if rest.is_empty() { "{}" } else { utf8(rest)? };
        let payload = serde_json::from_str(data).map_err(|error| malformed(&error.to_string()))?;
        let some = |text: &'a str| Some(Cow::Borrowed(text)).filter(|text| !text.is_empty());
        let (join_ref, reference) = (some(join_ref), some(reference));
        Frame { join_ref, reference, topic: topic.into(), event: event.into(), payload }.with_object()
    }

    fn with_object(self) -> Result<Self, Invalid> {
        match self.payload.get().starts_with('{') {
            true => Ok(self),
            false => Err(malformed("its payload is not an object")),
        }
    }
}

fn malformed(reason: &str) -> Invalid {
    Invalid::new("", format!("That is not a frame: {reason}."))
}

fn utf8(bytes: &[u8]) -> Result<&str, Invalid> {
    std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))
}

/// Text that is borrowed from the frame unless it holds an escape.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
struct V1<'a> {
    #[serde(borrow)]
    join_ref: Option<Text<'a>>,
    #[serde(borrow, rename = "ref")]
    reference: Option<Text<'a>>,
    #[serde(borrow)]
    topic: Cow<'a, str>,
    #[serde(borrow)]
    event: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl<'a> From<V1<'a>> for Frame<'a> {
    fn from(V1 { join_ref, reference, topic, event, payload }: V1<'a>) -> Self {
        Frame { join_ref: join_ref.map(|Text(t)| t), reference: reference.map(|Text(t)| t), topic, event, payload }
    }
}

struct V2<'a>(Frame<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for V2<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(V2Visitor).map(V2)
    }
}

struct V2Visitor;

impl<'de> Visitor<'de> for V2Visitor {
    type Value = Frame<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array [join_ref, ref, topic, event, payload]")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Frame<'de>, A::Error> {
        let missing = |at| serde::de::Error::invalid_length(at, &"five elements");
        let join_ref: Option<Text<'de>> = seq.next_element()?.ok_or_else(|| missing(0))?;
        let reference: Option<Text<'de>> = seq.next_element()?.ok_or_else(|| missing(1))?;
        let Text(topic) = seq.next_element()?.ok_or_else(|| missing(2))?;
        let Text(event) = seq.next_element()?.ok_or_else(|| missing(3))?;
        let payload = seq.next_element()?.ok_or_else(|| missing(4))?;
        // Newer clients may say more than we know of.
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Frame { join_ref: join_ref.map(|Text(t)| t), reference: reference.map(|Text(t)| t), topic, event, payload })
    }
}

/// To whom a frame is addressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic<'a> {
    /// `phoenix`: the connection itself.
    Phoenix,
    /// `feeds:{channel}:{user}`: one user's feed on one channel.
    Feed {
        /// The id of the channel.
        channel: &'a str,
        /// The id of the user, which may hold colons.
        user: &'a str,
    },
    /// `guides:{channel}`.
    Guides {
        /// The id of the channel.
        channel: &'a str,
    },
    /// Nothing we know.
    Unmatched,
}

impl<'a> Topic<'a> {
    /// Reads a topic; a feed's is split at its first two colons only (F-SOC-07).
    pub fn parse(topic: &'a str) -> Self {
        match topic.split_once(':') {
            None if topic == PHOENIX => Topic::Phoenix,
            Some(("feeds", rest)) => match rest.split_once(':') {
                Some((channel, user)) if !channel.is_empty() && !user.is_empty() => Topic::Feed { channel, user },
                _ => Topic::Unmatched,
            },
            Some(("guides", channel)) if !channel.is_empty() => Topic::Guides { channel },
            _ => Topic::Unmatched,
        }
    }

    /// The topic of a user's feed.
    pub fn feed(channel: &str, user: &str) -> String {
        ["feeds:", channel, ":", user].concat()
    }

    /// The topic of a channel's guides.
    pub fn guides(channel: &str) -> String {
        ["guides:", channel].concat()
    }
}

/// Spells a frame. The first serializer has no place for a `join_ref`.
fn spell(
    vsn: Vsn,
    join_ref: Option<&str>,
    reference: Option<&str>,
    topic: &str,
    event: &str,
    payload: impl FnOnce(&mut String),
    payload_length: usize,
) -> String {
    let mut out = String::with_capacity(payload_length + topic.len() + event.len() + 96);
    match vsn {
        Vsn::V1 => {
            out.push_str(r#"{"topic":"#);
            quote(&mut out, topic);
            out.push_str(r#","event":"#);
            quote(&mut out, event);
            out.push_str(r#","payload":"#);
            payload(&mut out);
            out.push_str(r#","ref":"#);
            quote_or_null(&mut out, reference);
            out.push('}');
        }
        Vsn::V2 => {
            out.push('[');
            quote_or_null(&mut out, join_ref);
            out.push(',');
            quote_or_null(&mut out, reference);
            out.push(',');
            quote(&mut out, topic);
            out.push(',');
            quote(&mut out, event);
            out.push(',');
            payload(&mut out);
            out.push(']');
        }
    }
    out
}

/// The answer to the frame that had `reference`; `response_json` is an object.
pub fn reply(
    vsn: Vsn,
    join_ref: Option<&str>,
    reference: Option<&str>,
    topic: &str,
    ok: bool,
    response_json: &str,
) -> String {
    let payload = |out: &mut String| {
        out.push_str(if ok { r#"{"status":"ok","response":"# } else { r#"{"status":"error","response":"# });
        out.push_str(response_json);
        out.push('}');
    };
    spell(vsn, join_ref, reference, topic, REPLY, payload, response_json.len() + 32)
}

/// The answer that refuses, with a reason for the reader.
pub fn refuse(vsn: Vsn, join_ref: Option<&str>, reference: Option<&str>, topic: &str, reason: &str) -> String {
    let mut response = String::from(r#"{"reason":"#);
    quote(&mut response, reason);
    response.push('}');
    reply(vsn, join_ref, reference, topic, false, &response)
}

/// The answer to a join of an unknown topic and to any push on a topic that is not joined (F-SOC-26).
pub fn unmatched(vsn: Vsn, reference: Option<&str>, topic: &str) -> String {
    refuse(vsn, None, reference, topic, "unmatched topic")
}

/// The answer to a heartbeat (F-SOC-05).
pub fn heartbeat(vsn: Vsn, reference: Option<&str>) -> String {
    reply(vsn, None, reference, PHOENIX, true, "{}")
}

/// An event from the server; `payload_json` is an object.
pub fn push(vsn: Vsn, join_ref: Option<&str>, topic: &str, event: &str, payload_json: &str) -> String {
    spell(vsn, join_ref, None, topic, event, |out| out.push_str(payload_json), payload_json.len())
}

/// The end of the join `join_ref`; only ever sent for a leave or a newer join, because clients never come back from it.
pub fn close(vsn: Vsn, join_ref: Option<&str>, topic: &str) -> String {
    spell(vsn, join_ref, join_ref, topic, CLOSE, |out| out.push_str("{}"), 2)
}

/// The loss of the join `join_ref`: the client joins again.
pub fn error(vsn: Vsn, join_ref: Option<&str>, topic: &str) -> String {
    spell(vsn, join_ref, join_ref, topic, ERROR, |out| out.push_str("{}"), 2)
}

/// An event that many sockets are told: written once, shared by all, completed by each with its own `join_ref`.
#[derive(Debug, Clone)]
pub struct Push {
    /// The whole frame with the `join_ref` null: `[null,null,"topic","event",payload]`.
    text: String,
    topic: Range<usize>,
    event: Range<usize>,
}

/// Where the part of [`Push::text`] that is the same for all begins: after `[null`.
const TAIL_FROM: usize = "[null".len();

impl Push {
    /// Writes the event down; `payload_json` is an object.
    pub fn new(topic: &str, event: &str, payload_json: &str) -> Self {
        let mut text = String::with_capacity(topic.len() + event.len() + payload_json.len() + 32);
        text.push_str("[null,null,");
        let topic_from = text.len();
        quote(&mut text, topic);
        let topic = topic_from..text.len();
        text.push(',');
        let event_from = text.len();
        quote(&mut text, event);
        let event = event_from..text.len();
        text.push(',');
        text.push_str(payload_json);
        text.push(']');
        Push { text, topic, event }
    }

    /// The frame for a socket whose join of the topic is `join_ref`.
    pub fn text(&self, vsn: Vsn, join_ref: Option<&str>) -> String {
        let mut out = String::with_capacity(self.text.len() + 24 + join_ref.map_or(0, str::len));
        self.write(vsn, join_ref, &mut out);
        out
    }

    /// Appends the frame for a socket whose join of the topic is `join_ref`.
    pub fn write(&self, vsn: Vsn, join_ref: Option<&str>, out: &mut String) {
        match vsn {
            Vsn::V2 => {
                out.push('[');
                quote_or_null(out, join_ref);
                out.push_str(self.tail());
            }
            Vsn::V1 => {
                out.push_str(r#"{"topic":"#);
                out.push_str(&self.text[self.topic.clone()]);
                out.push_str(r#","event":"#);
                out.push_str(&self.text[self.event.clone()]);
                out.push_str(r#","payload":"#);
                out.push_str(self.payload_json());
                out.push_str(r#","ref":null}"#);
            }
        }
    }

    /// The beginning of a frame for the join `join_ref`, in the second serializer's spelling: [`Push::tail`] follows it.
    pub fn head(join_ref: Option<&str>) -> String {
        let mut out = String::with_capacity(4 + join_ref.map_or(0, str::len));
        out.push('[');
        quote_or_null(&mut out, join_ref);
        out
    }

    /// What follows `["join_ref"` in the second serializer's spelling.
    pub fn tail(&self) -> &str {
        &self.text[TAIL_FROM..]
    }

    /// The payload as it was given.
    pub fn payload_json(&self) -> &str {
        &self.text[self.event.end + 1..self.text.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn head_and_tail_make_the_frame() {
        let push = Push::new("feeds:c:u", "new-message", "{}");
        for join_ref in [None, Some("7"), Some("a\"b")] {
            let joined = Push::head(join_ref) + push.tail();
            assert_eq!(joined, push.text(Vsn::V2, join_ref), "F-SOC-12");
        }
    }

    fn frame(text: &str) -> Frame<'_> {
        Frame::parse(Vsn::V2, text).unwrap()
    }

    #[test]
    fn the_version_picks_the_serializer() {
        for (vsn, expected) in [
            (None, Some(Vsn::V1)),
            (Some("1.0.0"), Some(Vsn::V1)),
            (Some("2.0.0"), Some(Vsn::V2)),
            (Some("2.1"), Some(Vsn::V2)),
            (Some("3.0.0"), None),
            (Some("20.0.0"), None),
            (Some("2.x"), None),
            (Some("2."), None),
            (Some(""), None),
            (Some("two"), None),
        ] {
            assert_eq!(Vsn::parse(vsn), expected, "F-SOC-01 {vsn:?}");
        }
    }

    #[test]
    fn an_array_of_five_is_a_frame_and_more_is_ignored() {
        for text in [
            r#"["7","9","feeds:c:u","phx_join",{"a":1}]"#,
            r#"["7","9","feeds:c:u","phx_join",{"a":1},"sixth"]"#,
            " [ \"7\" , \"9\" , \"feeds:c:u\" , \"phx_join\" , {\"a\":1} , [[6]] , 7 ] ",
        ] {
            let frame = frame(text);
            assert_eq!(frame.join_ref.as_deref(), Some("7"), "F-SOC-03 {text}");
            assert_eq!(frame.reference.as_deref(), Some("9"), "F-SOC-03 {text}");
            assert_eq!((&*frame.topic, &*frame.event), ("feeds:c:u", JOIN), "F-SOC-03 {text}");
            assert_eq!(frame.payload.get(), r#"{"a":1}"#, "F-SOC-03 {text}");
        }
        let heartbeat = frame(r#"[null,"5","phoenix","heartbeat",{}]"#);
        assert_eq!(heartbeat.join_ref, None, "F-SOC-05");
        assert_eq!((&*heartbeat.topic, &*heartbeat.event), (PHOENIX, HEARTBEAT), "F-SOC-05");
    }

    #[test]
    fn text_is_borrowed_unless_it_holds_an_escape() {
        let plain = frame(r#"["1","2","feeds:c:ü","e",{}]"#);
        assert!(matches!(plain.topic, Cow::Borrowed("feeds:c:ü")));
        assert!(matches!(plain.join_ref, Some(Cow::Borrowed("1"))));
        let escaped = frame(r#"["\u0031","2","f\u0065eds:c:u","\"",{}]"#);
        assert_eq!((escaped.join_ref.as_deref(), &*escaped.topic, &*escaped.event), (Some("1"), "feeds:c:u", "\""));
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        for text in [
            "",
            "null",
            "{}",
            "[]",
            r#"["1","2","t","e"]"#,
            r#"[1,"2","t","e",{}]"#,
            r#"["1",2,"t","e",{}]"#,
            r#"["1","2",null,"e",{}]"#,
            r#"["1","2","t",7,{}]"#,
            r#"["1","2","t","e",[]]"#,
            r#"["1","2","t","e",null]"#,
            r#"["1","2","t","e","{}"]"#,
            r#"["1","2","t","e",{}"#,
            r#"["1","2","t","e",{]"#,
            r#"["1","2","t","e",{}] x"#,
            r#"{"topic":"t","event":"e","payload":{},"ref":"1"}"#,
        ] {
            assert!(Frame::parse(Vsn::V2, text).is_err(), "F-SOC-03 {text}");
        }
    }

    #[test]
    fn nesting_however_deep_costs_no_stack() {
        let deep = "[".repeat(500_000) + &"]".repeat(500_000);
        let payload = format!(r#"["1","2","t","e",{{"a":{deep}}}]"#);
        assert!(Frame::parse(Vsn::V2, &payload).is_ok(), "the payload is not read here");
        let sixth = format!(r#"["1","2","t","e",{{}},{deep}]"#);
        assert!(Frame::parse(Vsn::V2, &sixth).is_ok());
        assert!(Frame::parse(Vsn::V2, &deep).is_err());
    }

    #[test]
    fn the_first_serializer_speaks_in_objects() {
        let text = r#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"5","join_ref":null,"more":[1]}"#;
        let frame = Frame::parse(Vsn::V1, text).unwrap();
        assert_eq!((frame.join_ref, frame.reference.as_deref()), (None, Some("5")));
        assert_eq!((&*frame.topic, &*frame.event, frame.payload.get()), (PHOENIX, HEARTBEAT, "{}"));
        let short = Frame::parse(Vsn::V1, r#"{"topic":"t","event":"e","payload":{}}"#).unwrap();
        assert_eq!(short.reference, None);
        for text in [r#"["1","2","t","e",{}]"#, r#"{"topic":"t","event":"e","ref":"1"}"#, r#"{"topic":1}"#, "7"] {
            assert!(Frame::parse(Vsn::V1, text).is_err(), "{text}");
        }
    }

    #[test]
    fn binary_pushes_are_read() {
        let frame = Frame::parse_binary(b"\0\x01\x01\x01\x0279tev{}").unwrap();
        assert_eq!((frame.join_ref.as_deref(), frame.reference.as_deref()), (Some("7"), Some("9")));
        assert_eq!((&*frame.topic, &*frame.event, frame.payload.get()), ("t", "ev", "{}"));
        let bare = Frame::parse_binary(b"\0\0\0\x01\x01te").unwrap();
        assert_eq!((bare.join_ref, bare.reference, bare.payload.get()), (None, None, "{}"));
        for bytes in [&b""[..], b"\0\0\0", b"\x01\0\0\x01\x01te", b"\0\0\0\x09\x01te", b"\0\0\0\x01\x01te\xff"] {
            assert!(Frame::parse_binary(bytes).is_err(), "{bytes:?}");
        }
        assert!(Frame::parse_binary(b"\0\0\0\x01\x01te[1]").is_err(), "not an object");
    }

    #[test]
    fn a_feed_topic_is_split_at_its_first_two_colons() {
        let feed = |channel, user| Topic::Feed { channel, user };
        for (text, topic) in [
            ("phoenix", Topic::Phoenix),
            ("feeds:c:u", feed("c", "u")),
            ("feeds:c:team:ann:1", feed("c", "team:ann:1")),
            ("feeds:c::", feed("c", ":")),
            ("feeds:c:ann@example.com", feed("c", "ann@example.com")),
            ("feeds:c:a%3Ab", feed("c", "a%3Ab")),
            ("guides:g", Topic::Guides { channel: "g" }),
            ("feeds:c", Topic::Unmatched),
            ("feeds:c:", Topic::Unmatched),
            ("feeds::u", Topic::Unmatched),
            ("guides:", Topic::Unmatched),
            ("phoenix:x", Topic::Unmatched),
            ("", Topic::Unmatched),
        ] {
            assert_eq!(Topic::parse(text), topic, "F-SOC-07 {text}");
        }
        assert_eq!(Topic::parse(&Topic::feed("c", "a:b")), feed("c", "a:b"), "F-SOC-07");
    }

    #[test]
    fn answers_are_compact_and_in_order() {
        for (ours, theirs, rule) in [
            (
                heartbeat(Vsn::V2, Some("5")),
                r#"[null,"5","phoenix","phx_reply",{"status":"ok","response":{}}]"#,
                "F-SOC-05",
            ),
            (
                reply(Vsn::V2, Some("7"), Some("9"), "t", true, r#"{"version":1}"#),
                r#"["7","9","t","phx_reply",{"status":"ok","response":{"version":1}}]"#,
                "F-SOC-06",
            ),
            (
                refuse(Vsn::V2, Some("7"), Some("7"), "t", "no \"feed\""),
                r#"["7","7","t","phx_reply",{"status":"error","response":{"reason":"no \"feed\""}}]"#,
                "F-SOC-06",
            ),
            (
                unmatched(Vsn::V2, Some("7"), "rooms:1"),
                r#"[null,"7","rooms:1","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#,
                "F-SOC-26",
            ),
            (close(Vsn::V2, Some("1"), "t"), r#"["1","1","t","phx_close",{}]"#, "F-SOC-11 F-SOC-12"),
            (error(Vsn::V2, Some("1"), "t"), r#"["1","1","t","phx_error",{}]"#, "socket.md 3.3"),
            (
                push(Vsn::V2, Some("7"), "feeds:c:ü", "new-message", "{}"),
                r#"["7",null,"feeds:c:ü","new-message",{}]"#,
                "F-SOC-12",
            ),
            (
                reply(Vsn::V1, Some("7"), Some("9"), "t", true, "{}"),
                r#"{"topic":"t","event":"phx_reply","payload":{"status":"ok","response":{}},"ref":"9"}"#,
                "vsn 1",
            ),
            (push(Vsn::V1, Some("7"), "t", "e", "{}"), r#"{"topic":"t","event":"e","payload":{},"ref":null}"#, "vsn 1"),
        ] {
            assert_eq!(ours, theirs, "{rule}");
        }
    }

    #[test]
    fn a_shared_push_is_spelled_as_one_of_its_own() {
        let shared = Push::new("feeds:c:a\"b", "new-message", r#"{"n":1}"#);
        for vsn in [Vsn::V1, Vsn::V2] {
            for join_ref in [None, Some("7"), Some("\\")] {
                let alone = push(vsn, join_ref, "feeds:c:a\"b", "new-message", r#"{"n":1}"#);
                assert_eq!(shared.text(vsn, join_ref), alone);
            }
        }
        assert_eq!(shared.tail(), r#",null,"feeds:c:a\"b","new-message",{"n":1}]"#);
        assert_eq!(shared.payload_json(), r#"{"n":1}"#);
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(
            join_ref in any::<Option<String>>(),
            reference in any::<Option<String>>(),
            topic in any::<String>(),
            event in any::<String>(),
        ) {
            for vsn in [Vsn::V1, Vsn::V2] {
                let text = spell(vsn, join_ref.as_deref(), reference.as_deref(), &topic, &event, |out| out.push_str("{}"), 2);
                let frame = Frame::parse(vsn, &text).unwrap();
                if vsn == Vsn::V2 {
                    prop_assert_eq!(frame.join_ref.as_deref(), join_ref.as_deref(), "F-SOC-03");
                }
                prop_assert_eq!(frame.reference.as_deref(), reference.as_deref(), "F-SOC-03");
                prop_assert_eq!((&*frame.topic, &*frame.event), (&*topic, &*event), "F-SOC-03");
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            _ = Frame::parse_binary(&bytes);
            _ = Frame::parse(Vsn::V1, &text);
            _ = Frame::parse(Vsn::V2, &text);
            _ = Topic::parse(&text);
        }
    }
}
