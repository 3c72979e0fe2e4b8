//! Query strings: one reading of the many ways in which clients spell lists, nested options and unset values.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::model::invalid::Invalid;
use crate::model::time::Time;

/// More parameters than this in one query are refused.
const MAX_PARAMETERS: usize = 1_000;

/// A decoded query string. `a[b]=1` and `a.b=1` are the same; empty values are unset and not kept.
///
/// Keys given to its methods may be dotted: `get("inserted_at.gte")` finds both spellings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    parameters: Vec<Parameter>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Parameter {
    /// The steps of the key: `objects[][id]` is `objects`, ``, `id`.
    path: Vec<String>,
    value: String,
}

impl Query {
    /// Decodes the part of a URL after `?`. Empty segments, keys without a value and empty values count as not there.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let mut parameters = Vec::new();
        for segment in text.split('&') {
            let (key, value) = segment.split_once('=').unwrap_or((segment, ""));
            let path = steps(&decode_form(key).map_err(|reason| Invalid::new("", reason))?);
            let value = decode_form(value).map_err(|reason| Invalid::new(path.join("."), reason))?;
            if value.is_empty() || path[0].is_empty() {
                continue;
            }
            if parameters.len() == MAX_PARAMETERS {
                return Err(Invalid::new("", format!("A query has at most {MAX_PARAMETERS} parameters.")));
            }
            parameters.push(Parameter { path, value });
        }
        Ok(Query { parameters })
    }

    /// The value of `key`; of several the last.
    pub fn get(&self, key: &str) -> Option<&str> {
        let is_named = |parameter: &&Parameter| parameter.path.iter().map(String::as_str).eq(key.split('.'));
        self.parameters.iter().rev().find(is_named).map(|parameter| parameter.value.as_str())
    }

    /// Every value of `key[]=a`, `key[0]=a` and `key=a`, in the order in which they came.
    pub fn list(&self, key: &str) -> Vec<&str> {
        let values = self.below(key).filter(|(rest, _)| match rest {
            [] => true,
            [index] => index.bytes().all(|byte| byte.is_ascii_digit()),
            _ => false,
        });
        values.map(|(_, value)| value).collect()
    }

    /// The value of `key[sub]` or `key.sub`.
    pub fn nested(&self, key: &str, sub: &str) -> Option<&str> {
        let mut values = self.below(key).filter(|(rest, _)| matches!(rest, [only] if only == sub));
        values.next_back().map(|(_, value)| value)
    }

    /// The elements of `key[0][id]=..&key[0][collection]=..`, then those of `key[][id]=..&key[][collection]=..`, where
    /// a member that repeats begins the next element (F-AMB-15).
    pub fn objects(&self, key: &str) -> Vec<BTreeMap<String, String>> {
        let mut numbered: BTreeMap<u64, BTreeMap<String, String>> = BTreeMap::new();
        let mut unnumbered: Vec<BTreeMap<String, String>> = Vec::new();
        for (rest, value) in self.below(key) {
            let [index, member] = rest else { continue };
            let element = if let Ok(index) = index.parse() {
                numbered.entry(index).or_default()
            } else if index.is_empty() {
                element_without(&mut unnumbered, member)
            } else {
                continue;
            };
            element.insert(member.clone(), value.to_owned());
        }
        numbered.into_values().chain(unnumbered).collect()
    }

    /// The members of `key`, written either as one JSON object or as `key[member]=..`; none of them: `None`.
    pub fn members(&self, key: &str) -> Result<Option<BTreeMap<String, String>>, Invalid> {
        if let Some(text) = self.get(key) {
            return json_members(key, text).map(Some);
        }
        let mut members = BTreeMap::new();
        for (rest, value) in self.below(key) {
            if let [member] = rest {
                members.insert(member.clone(), value.to_owned());
            }
        }
        Ok(Some(members).filter(|members| !members.is_empty()))
    }

    /// The boolean `key`.
    pub fn bool(&self, key: &str) -> Result<Option<bool>, Invalid> {
        match self.get(key) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(other) => Err(Invalid::new(key, format!("`{other}` is not a boolean: write `true` or `false`."))),
        }
    }

    /// The instant `key`, in ISO-8601.
    pub fn time(&self, key: &str) -> Result<Option<Time>, Invalid> {
        let Some(text) = self.get(key) else { return Ok(None) };
        // A plus sign that was not escaped arrives as a space: `..19.117 01:00`.
        let healed = || text.rsplit_once(' ').and_then(|(time, offset)| Time::parse(&format!("{time}+{offset}")));
        match Time::parse(text).or_else(healed) {
            Some(time) => Ok(Some(time)),
            None => Err(Invalid::new(key, format!("`{text}` is not a time: write ISO-8601, `2026-08-21T10:00:00Z`."))),
        }
    }

    /// What stands below `key`: the steps that follow it, with the value.
    fn below(&self, key: &str) -> impl DoubleEndedIterator<Item = (&[String], &str)> {
        let depth = key.split('.').count();
        self.parameters.iter().filter_map(move |parameter| {
            let (head, rest) = parameter.path.split_at_checked(depth)?;
            head.iter().map(String::as_str).eq(key.split('.')).then_some((rest, parameter.value.as_str()))
        })
    }
}

/// The last element if it has no such member yet, else a new one.
fn element_without<'a>(
    elements: &'a mut Vec<BTreeMap<String, String>>,
    member: &str,
) -> &'a mut BTreeMap<String, String> {
    if elements.last().is_none_or(|element| element.contains_key(member)) {
        elements.push(BTreeMap::new());
    }
    let last = elements.len() - 1;
    &mut elements[last]
}

fn json_members(key: &str, text: &str) -> Result<BTreeMap<String, String>, Invalid> {
    let Ok(Value::Object(map)) = serde_json::from_str(text) else {
        return Err(Invalid::new(key, "Write a JSON object, or one parameter per member: `key[member]=value`."));
    };
    let mut members = BTreeMap::new();
    for (member, value) in map {
        match value {
            Value::String(text) => members.insert(member, text),
            Value::Null => None,
            _ => return Err(Invalid::new(format!("{key}.{member}"), "A string is expected here.")),
        };
    }
    Ok(members)
}

/// Takes a key apart: `a.b[c][]` is `a`, `b`, `c`, ``. Brackets that do not pair are part of the name.
fn steps(key: &str) -> Vec<String> {
    let (root, brackets) = match key.find('[') {
        Some(at) if key.ends_with(']') => key.split_at(at),
        _ => (key, ""),
    };
    let mut path: Vec<String> = root.split('.').map(str::to_owned).collect();
    if let Some(inner) = brackets.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        path.extend(inner.split("][").map(str::to_owned));
    }
    path
}

/// Decodes one key or value of a query: plus signs are spaces, every percent sign begins two hex digits.
fn decode_form(text: &str) -> Result<String, &'static str> {
    if !text.bytes().any(|byte| matches!(byte, b'+' | b'%' | 0)) {
        // Nearly all: a token is some hundred letters.
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (byte, tail) = escaped(rest).ok_or("A percent sign is written `%25`.")?;
                bytes.push(byte);
                rest = tail;
            }
            _ => bytes.push(byte),
        }
    }
    into_text(bytes)
}

/// Decodes one segment of a path, once (F-TRN-13). A percent sign that begins no two hex digits stands for itself:
/// browsers send ids as they are.
pub fn decode_path_segment(text: &str) -> Result<String, Invalid> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let (byte, tail) = Some(tail).filter(|_| byte == b'%').and_then(escaped).unwrap_or((byte, tail));
        bytes.push(byte);
        rest = tail;
    }
    into_text(bytes).map_err(|reason| Invalid::new("", reason))
}

/// The byte that two hex digits name, and what follows them.
fn escaped(rest: &[u8]) -> Option<(u8, &[u8])> {
    let (digits, tail) = rest.split_at_checked(2)?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some(((digit(digits[0])? * 16 + digit(digits[1])?) as u8, tail))
}

fn into_text(bytes: Vec<u8>) -> Result<String, &'static str> {
    if bytes.contains(&0) {
        return Err("Zero bytes are not allowed in a URL.");
    }
    String::from_utf8(bytes).map_err(|_| "A URL is written in UTF-8.")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn query(text: &str) -> Query {
        Query::parse(text).unwrap()
    }

    #[test]
    fn lists_are_spelled_three_ways() {
        for text in ["s[]=a&s[]=b", "s=a&s=b", "s%5B%5D=a&s%5B%5D=b", "s[0]=a&s[1]=b", "s[]=a&s=b&s[]="] {
            assert_eq!(query(text).list("s"), ["a", "b"], "F-TRN-05 {text}");
        }
        assert_eq!(query("s=a").list("s"), ["a"], "F-TRN-05: a single bare value");
        assert!(query("st=a&s[x]=b").list("s").is_empty());
        assert_eq!(query("s=a&s=b").get("s"), Some("b"), "the last wins");
    }

    #[test]
    fn lists_of_objects_are_numbered_or_not() {
        for text in [
            "objects[0][id]=1&objects[0][collection]=c&objects[1][id]=2&objects[1][collection]=d",
            "objects[1][collection]=d&objects[0][id]=1&objects[1][id]=2&objects[0][collection]=c",
            "objects[][id]=1&objects[][collection]=c&objects[][id]=2&objects[][collection]=d",
            "objects%5B%5D%5Bid%5D=1&objects%5B%5D%5Bcollection%5D=c&objects[][id]=2&objects[][collection]=d",
        ] {
            let objects = query(text).objects("objects");
            assert_eq!(objects.len(), 2, "F-TRN-06 F-AMB-15 {text}");
            assert_eq!((objects[0]["id"].as_str(), objects[0]["collection"].as_str()), ("1", "c"), "F-TRN-06 {text}");
            assert_eq!((objects[1]["id"].as_str(), objects[1]["collection"].as_str()), ("2", "d"), "F-TRN-06 {text}");
        }
        assert!(query("objects=x&objects[a][b]=1").objects("objects").is_empty());
    }

    #[test]
    fn nested_options_are_dotted_or_bracketed() {
        for text in ["inserted_at.gte=2026-01-01", "inserted_at[gte]=2026-01-01", "inserted_at%5Bgte%5D=2026-01-01"] {
            let query = query(text);
            assert_eq!(query.nested("inserted_at", "gte"), Some("2026-01-01"), "F-TRN-07 {text}");
            assert_eq!(query.get("inserted_at.gte"), Some("2026-01-01"), "F-TRN-07 {text}");
            assert_eq!(query.nested("inserted_at", "lte"), None);
            assert_eq!(query.get("inserted_at"), None);
        }
    }

    #[test]
    fn a_reference_is_a_json_string_or_brackets() {
        for text in [
            r#"o={"object_id":"north","collection":"$tenants"}"#,
            "o=%7B%22object_id%22%3A%22north%22%2C%22collection%22%3A%22%24tenants%22%7D",
            "o[object_id]=north&o[collection]=$tenants",
            "o.object_id=north&o.collection=%24tenants",
        ] {
            let members = query(text).members("o").unwrap().unwrap();
            assert_eq!(members["object_id"], "north", "F-TRN-08 {text}");
            assert_eq!(members["collection"], "$tenants", "F-TRN-08 {text}");
        }
        assert_eq!(query("channel_id=x").members("o"), Ok(None));
        for text in ["o=north", "o=[1]", r#"o={"object_id":1}"#] {
            assert!(query(text).members("o").is_err(), "F-TRN-08 {text}");
        }
    }

    #[test]
    fn booleans_and_times_are_read_or_refused() {
        let query =
            query("a=true&b=false&c=yes&d=&t=2019-12-27T18:11:19.117000%2B01:00&u=2019-12-27T18:11:19+01:00&v=x");
        assert_eq!(query.bool("a"), Ok(Some(true)), "F-TRN-09");
        assert_eq!(query.bool("b"), Ok(Some(false)), "F-TRN-09");
        assert_eq!(query.bool("d"), Ok(None), "F-TRN-09");
        assert_eq!(query.bool("c").unwrap_err().path, "c", "F-TRN-09");
        let spelled = |key| query.time(key).unwrap().unwrap().to_string();
        assert_eq!(spelled("t"), "2019-12-27T17:11:19.117000Z", "F-TRN-09");
        assert_eq!(spelled("u"), "2019-12-27T17:11:19.000000Z", "an unescaped plus sign");
        assert_eq!(query.time("v").unwrap_err().path, "v", "F-TRN-09");
        assert_eq!(query.time("w"), Ok(None));
    }

    #[test]
    fn empty_segments_and_empty_values_are_not_there() {
        let socket = query("?&api_key=pk_x&&vsn=2.0.0".trim_start_matches('?'));
        assert_eq!(socket.get("api_key"), Some("pk_x"), "F-SOC-02");
        assert_eq!(socket.get("vsn"), Some("2.0.0"), "F-SOC-02");
        let swift = query("vsn=2.0.0&vsn=2.0.0&user_token=&page_size&after&=x&&");
        assert_eq!(swift.get("vsn"), Some("2.0.0"));
        for key in ["user_token", "page_size", "after", ""] {
            assert_eq!(swift.get(key), None, "{key} is unset");
        }
        assert_eq!(query(""), Query::default());
    }

    #[test]
    fn values_are_decoded_once() {
        assert_eq!(query("a=x+y%2Bz%2520").get("a"), Some("x y+z%20"));
        assert_eq!(query("a=b=c").get("a"), Some("b=c"));
        assert_eq!(query("a=%C3%A9é").get("a"), Some("éé"));
    }

    #[test]
    fn broken_escapes_bytes_that_are_no_text_and_zero_bytes_are_refused() {
        for text in ["a=%", "a=%4", "a=%zz", "a=%ff", "a=%00", "%ff=a", "a=\0", "a=%é"] {
            assert!(Query::parse(text).is_err(), "{text}");
        }
        assert!(Query::parse(&"a=1&".repeat(MAX_PARAMETERS + 1)).is_err());
    }

    #[test]
    fn brackets_that_do_not_pair_belong_to_the_name() {
        assert_eq!(query("a[b=1").get("a[b"), Some("1"));
        assert_eq!(query("a]=1").get("a]"), Some("1"));
    }

    #[test]
    fn path_segments_are_decoded_once() {
        for (raw, decoded) in [
            ("ann@example.com", "ann@example.com"),
            ("ann%40example.com", "ann@example.com"),
            ("a+b", "a+b"),
            ("a%2Bb", "a+b"),
            ("a:b|c", "a:b|c"),
            ("a%3Ab%7Cc", "a:b|c"),
            ("%2525", "%25"),
            ("50%off", "50%off"),
            ("100%", "100%"),
            ("J%C3%BCrg", "Jürg"),
        ] {
            assert_eq!(decode_path_segment(raw).as_deref(), Ok(decoded), "F-TRN-13 {raw}");
        }
        for raw in ["%ff", "%00", "a%00b"] {
            assert!(decode_path_segment(raw).is_err(), "F-TRN-13 {raw}");
        }
    }

    proptest! {
        #[test]
        fn any_text_survives_escaping(text in "[^\0]+") {
            let escaped: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assert_eq!(decode_path_segment(&escaped).unwrap(), text.clone());
            let query = query(&format!("a={escaped}"));
            prop_assert_eq!(query.get("a"), Some(text.as_str()));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a&=\\[\\].%0f+é]{0,40}") {
            if let Ok(query) = Query::parse(&text) {
                query.objects("a");
                query.list("a");
                _ = query.members("a");
            }
            _ = decode_path_segment(&text);
        }
    }
}
