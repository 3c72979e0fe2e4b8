//! Cursors: where a page of a list begins, sealed into an opaque word.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::json::quote_or_null;
use super::query::Query;
use crate::model::invalid::Invalid;
use crate::model::time::Time;

/// The rows of a page when the caller does not say (F-PAG-01), and the most there can be.
pub const MAX_PAGE_SIZE: usize = 50;
/// `total_count` does not count further than this (F-PAG-03).
pub const MAX_TOTAL: u64 = 10_000;
/// The longest cursor we mint is far shorter; longer words are refused unread.
const MAX_CURSOR_LENGTH: usize = 1_024;

/// A place in a list: the row itself is on neither side of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cursor {
    /// A place in a list that is ordered by a number.
    Seq(i64),
    /// A place in a list that is ordered by time, then by id.
    At(Time, String),
}

/// The lists that hand out cursors; a cursor of one is refused in every other (F-PAG-05).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named after its list")]
pub enum List {
    Feed = 1,
    Messages = 2,
    MessageEvents = 3,
    MessageActivities = 4,
    DeliveryLogs = 5,
    Users = 6,
    Objects = 7,
    Tenants = 8,
    Subscriptions = 9,
    Schedules = 10,
    AudienceMembers = 11,
    Guides = 12,
    WorkflowRuns = 13,
    RunEvents = 14,
    BulkOperations = 15,
    Workflows = 32,
    Commits = 33,
    Branches = 34,
    Layouts = 35,
    Partials = 36,
    Translations = 37,
    Variables = 38,
    Channels = 39,
    ChannelGroups = 40,
    Environments = 41,
    MessageTypes = 42,
    Audiences = 43,
    Members = 44,
    ApiKeys = 45,
    AuditLog = 46,
    Webhooks = 47,
    Broadcasts = 48,
    Sources = 49,
    Console = 64,
}

const FORM_SEQ: u8 = 0;
const FORM_AT: u8 = 1;

impl Cursor {
    /// The word that stands for this place in `list`.
    pub fn encode(&self, list: List) -> String {
        let mut bytes = vec![list as u8];
        match self {
            Cursor::Seq(number) => {
                bytes.push(FORM_SEQ);
                bytes.extend(number.to_be_bytes());
            }
            Cursor::At(time, id) => {
                bytes.push(FORM_AT);
                bytes.extend(time.micros().to_be_bytes());
                bytes.extend(id.as_bytes());
            }
        }
        let check = check(&bytes);
        bytes.extend(check);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the word that [`Cursor::encode`] made for `list`; any other is refused (F-AMB-16).
    pub fn decode(word: &str, list: List) -> Result<Self, Invalid> {
        Self::open(word, list).ok_or_else(|| {
            Invalid::new("", "That is not a cursor of this list: send one from a `page_info` of the same list.")
        })
    }

    fn open(word: &str, list: List) -> Option<Self> {
        if word.len() > MAX_CURSOR_LENGTH {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(word).ok()?;
        let (body, sum) = bytes.split_last_chunk::<2>()?;
        let (&[kind, form], rest) = body.split_first_chunk::<2>()?;
        if check(body) != *sum || kind != list as u8 {
            return None;
        }
        let (number, id) = rest.split_first_chunk::<8>()?;
        let number = i64::from_be_bytes(*number);
        match form {
            FORM_SEQ if id.is_empty() => Some(Cursor::Seq(number)),
            FORM_AT => Some(Cursor::At(Time::from_micros(number), String::from_utf8(id.to_vec()).ok()?)),
            _ => None,
        }
    }
}

/// Two bytes that catch a cursor cut short or mistyped (FNV-1a, folded). They are no secret: a cursor gives no rights.
fn check(bytes: &[u8]) -> [u8; 2] {
    let hash = bytes.iter().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    ((hash >> 16) as u16 ^ hash as u16).to_be_bytes()
}

/// Which page of a list is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The most rows it may have, from 1 to 50.
    pub size: usize,
    /// From where; the beginning of the list if `None`.
    pub at: Option<Edge>,
}

/// The side of a cursor on which the page lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edge {
    /// The rows strictly later in the list's order.
    After(Cursor),
    /// The rows strictly earlier in the list's order, those nearest to the cursor.
    Before(Cursor),
}

impl Page {
    /// Reads `page_size`, `after` and `before`.
    pub fn from_query(query: &Query, list: List) -> Result<Self, Invalid> {
        let size = query.get("page_size").map(parse_size).transpose()?;
        Page::new(size, query.get("after"), query.get("before"), list)
    }

    /// The page of that size and place; sizes above 50 become 50 (F-AMB-16).
    pub fn new(size: Option<i64>, after: Option<&str>, before: Option<&str>, list: List) -> Result<Self, Invalid> {
        let size = match size {
            None => MAX_PAGE_SIZE,
            Some(size) if size < 1 => return Err(bad_size()),
            Some(size) => usize::try_from(size).map_or(MAX_PAGE_SIZE, |size| size.min(MAX_PAGE_SIZE)),
        };
        let decode =
            |key: &str, word| Cursor::decode(word, list).map_err(|invalid| Invalid { path: key.to_owned(), ..invalid });
        let at = match (after, before) {
            (None, None) => None,
            (Some(word), None) => Some(Edge::After(decode("after", word)?)),
            (None, Some(word)) => Some(Edge::Before(decode("before", word)?)),
            (Some(_), Some(_)) => return Err(Invalid::new("after", "Send `after` or `before`, not both.")),
        };
        Ok(Page { size, at })
    }
}

fn parse_size(text: &str) -> Result<i64, Invalid> {
    match text.parse() {
        Ok(size) => Ok(size),
        // Too large for a number is still only too large.
        Err(_) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(i64::MAX),
        Err(_) => Err(bad_size()),
    }
}

fn bad_size() -> Invalid {
    Invalid::new("page_size", format!("A page has from 1 to {MAX_PAGE_SIZE} rows: send a whole number."))
}

/// The `page_info` of a list; `total` only where the list has one (F-AMB-17).
pub fn page_info_json(after: Option<&str>, before: Option<&str>, size: usize, total: Option<u64>) -> String {
    let mut out = String::with_capacity(96);
    out.push_str(r#"{"__typename":"PageInfo","after":"#);
    quote_or_null(&mut out, after);
    out.push_str(r#","before":"#);
    quote_or_null(&mut out, before);
    // Writing into a String cannot fail.
    _ = write!(out, r#","page_size":{size}"#);
    if let Some(total) = total {
        _ = write!(out, r#","total_count":{}"#, total.min(MAX_TOTAL));
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn page(text: &str) -> Result<Page, Invalid> {
        Page::from_query(&Query::parse(text).unwrap(), List::Feed)
    }

    #[test]
    fn a_page_has_from_one_to_fifty_rows() {
        for (text, size) in [
            ("", 50),
            ("page_size=", 50),
            ("page_size=1", 1),
            ("page_size=50", 50),
            ("page_size=51", 50),
            ("page_size=99999999999999999999", 50),
        ] {
            assert_eq!(page(text), Ok(Page { size, at: None }), "F-PAG-01 F-AMB-16 {text}");
        }
        for text in ["page_size=0", "page_size=-1", "page_size=ten", "page_size=1.5"] {
            assert_eq!(page(text).unwrap_err().path, "page_size", "F-PAG-01 F-AMB-16 {text}");
        }
    }

    #[test]
    fn page_info_has_its_exact_members() {
        assert_eq!(
            page_info_json(Some("a"), None, 20, None),
            r#"{"__typename":"PageInfo","after":"a","before":null,"page_size":20}"#,
            "F-PAG-02 F-PAG-04"
        );
        assert_eq!(
            page_info_json(None, Some("b"), 50, Some(12_345)),
            r#"{"__typename":"PageInfo","after":null,"before":"b","page_size":50,"total_count":10000}"#,
            "F-PAG-03"
        );
    }

    #[test]
    fn a_cursor_says_where_and_on_which_side() {
        let cursor = Cursor::At(Time::from_micros(5), "2Abc".to_owned());
        let word = cursor.encode(List::Feed);
        assert_eq!(page(&format!("after={word}")).unwrap().at, Some(Edge::After(cursor.clone())), "F-PAG-05 F-PAG-08");
        assert_eq!(page(&format!("before={word}")).unwrap().at, Some(Edge::Before(cursor)), "F-PAG-05 F-PAG-08");
    }

    #[test]
    fn both_cursors_at_once_are_refused() {
        let word = Cursor::Seq(1).encode(List::Feed);
        assert!(page(&format!("after={word}&before={word}")).is_err(), "F-PAG-09 F-AMB-16");
    }

    #[test]
    fn a_cursor_of_another_list_and_words_that_are_none_are_refused() {
        let word = Cursor::Seq(1).encode(List::Messages);
        assert!(Cursor::decode(&word, List::Messages).is_ok());
        for word in [word.as_str(), "x", "AAAA", "!", "ÿ", &"A".repeat(4_000)] {
            let refused = page(&format!("before={word}")).unwrap_err();
            assert_eq!(refused.path, "before", "F-PAG-05 F-AMB-16 {word}");
        }
    }

    fn any_cursor() -> impl Strategy<Value = Cursor> {
        prop_oneof![
            any::<i64>().prop_map(Cursor::Seq),
            (any::<i64>(), any::<String>().prop_filter("not longer than an id", |id| id.len() <= 300))
                .prop_map(|(micros, id)| Cursor::At(Time::from_micros(micros), id)),
        ]
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_safe_in_a_url(cursor in any_cursor()) {
            let word = cursor.encode(List::Users);
            prop_assert!(word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "F-PAG-05");
            prop_assert_eq!(Cursor::decode(&word, List::Users), Ok(cursor));
        }

        #[test]
        fn a_cursor_cut_short_is_refused(number in any::<i64>(), keep in 0usize..16) {
            let word = Cursor::Seq(number).encode(List::Users);
            prop_assert!(Cursor::decode(&word[..keep], List::Users).is_err());
        }

        #[test]
        fn no_word_makes_it_panic(word in any::<String>()) {
            _ = Cursor::decode(&word, List::Feed);
        }
    }
}
