//! The links of HTML, each led somewhere else: that is how clicks are noticed.

/// What a tracked link begins with; all others stay as they are (F-TRK-03).
const SCHEME: &str = "https://";
/// The attribute that says of an anchor that its clicks are nobody's business (F-TRK-06).
pub const UNTRACKED: &str = "data-knock-no-track";

/// Makes of a link's address the one that it is to have.
pub type Wrap<'a> = &'a dyn Fn(&str) -> String;

/// Whether an address is one that is wrapped.
pub fn is_eligible(url: &str) -> bool {
    let scheme = url.get(..SCHEME.len()).is_some_and(|start| start.eq_ignore_ascii_case(SCHEME));
    scheme && url.len() > SCHEME.len() && !url.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// The HTML with every anchor's address wrapped that is eligible, unless the anchor says that it must not be. Nothing else is
/// touched.
pub fn wrapped(html: &str, wrap: Wrap<'_>) -> String {
    let mut out = String::with_capacity(html.len() * 2);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        out.push_str(before);
        let length = match tag.as_bytes() {
            [b'<', b'!', b'-', b'-', ..] => tag.find("-->").map_or(tag.len(), |end| end + 3),
            [b'<', b'a' | b'A', b'>' | b'/' | b' ' | b'\t' | b'\n' | b'\r' | 0x0c, ..] => {
                let attributes = attributes(tag);
                let end = attributes.end;
                out.push_str(&anchor(&tag[..end], &attributes.found, wrap));
                rest = &tag[end..];
                continue;
            }
            _ => 1,
        };
        out.push_str(&tag[..length]);
        rest = &tag[length..];
    }
    out.push_str(rest);
    out
}

/// An anchor's opening tag as it is to be.
fn anchor(tag: &str, attributes: &[Attribute<'_>], wrap: Wrap<'_>) -> String {
    if let Some(mark) = attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(UNTRACKED)) {
        return [&tag[..mark.from], &tag[mark.to..]].concat();
    }
    let href = attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case("href"));
    let Some((href, url)) =
        href.and_then(|href| Some((href, decoded(href.value?)))).filter(|(_, url)| is_eligible(url))
    else {
        return tag.to_owned();
    };
    let mut out = tag[..href.value_from].to_owned();
    out.push('"');
    // What wraps gives addresses of ours: only this could end the value.
    out.push_str(&wrap(&url).replace('&', "&amp;").replace('"', "&quot;"));
    out.push('"');
    out.push_str(&tag[href.to..]);
    out
}

/// An attribute of a tag, by its place in it.
struct Attribute<'t> {
    name: &'t str,
    /// None of one that is only named.
    value: Option<&'t str>,
    /// Where the white space before the name begins.
    from: usize,
    /// Where the value begins, quotation marks included.
    value_from: usize,
    to: usize,
}

struct Attributes<'t> {
    found: Vec<Attribute<'t>>,
    /// Where the tag ends.
    end: usize,
}

/// Reads the attributes of the anchor that `tag` begins with, as browsers do.
fn attributes(tag: &str) -> Attributes<'_> {
    let bytes = tag.as_bytes();
    let is_space = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_whitespace);
    let skip = |mut at: usize| {
        while is_space(at) {
            at += 1;
        }
        at
    };
    let (mut found, mut at) = (Vec::new(), 2);
    loop {
        let from = at;
        while is_space(at) || bytes.get(at) == Some(&b'/') {
            at += 1;
        }
        match bytes.get(at) {
            None => return Attributes { found, end: tag.len() },
            Some(b'>') => return Attributes { found, end: at + 1 },
            Some(_) => {}
        }
        let begin = at;
        at += 1;
        while bytes.get(at).is_some_and(|byte| !byte.is_ascii_whitespace() && !b"=>/".contains(byte)) {
            at += 1;
        }
        let name = &tag[begin..at];
        let equals = skip(at);
        if bytes.get(equals) != Some(&b'=') {
            found.push(Attribute { name, value: None, from, value_from: at, to: at });
            continue;
        }
        let value_from = skip(equals + 1);
        let (value, to) = match bytes.get(value_from) {
            Some(quote @ (b'"' | b'\'')) => {
                let inner = &tag[value_from + 1..];
                let length = inner.find(char::from(*quote)).unwrap_or(inner.len());
                (&inner[..length], (value_from + length + 2).min(tag.len()))
            }
            _ => {
                let ends = |c: char| c.is_ascii_whitespace() || c == '>';
                let length = tag[value_from..].find(ends).unwrap_or(tag.len() - value_from);
                (&tag[value_from..value_from + length], value_from + length)
            }
        };
        found.push(Attribute { name, value: Some(value), from, value_from, to });
        at = to;
    }
}

/// The text of an attribute's value. References that are written in no address stay as they are.
fn decoded(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        let reference = &rest[at..];
        let end = reference.char_indices().take(12).find(|(_, c)| *c == ';').map(|(end, _)| end);
        let character = end.and_then(|end| character(&reference[1..end]));
        match (end, character) {
            (Some(end), Some(character)) => {
                out.push(character);
                rest = &reference[end + 1..];
            }
            _ => {
                out.push('&');
                rest = &reference[1..];
            }
        }
    }
    out.push_str(rest);
    out
}

fn character(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => '\u{a0}',
        name => {
            let number = name.strip_prefix('#')?;
            let number = match number.strip_prefix(['x', 'X']) {
                Some(hex) => u32::from_str_radix(hex, 16),
                None => number.parse(),
            };
            char::from_u32(number.ok()?)?
        }
    })
}

/// The addresses that stand in a text as they are: where each begins and ends. Punctuation behind one is not part of it.
pub fn bare(text: &str) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find(SCHEME).map(|at| from + at) {
        let length = text[at..].find(|c: char| c.is_whitespace() || c.is_control() || "<>\"".contains(c));
        let end = at + length.unwrap_or(text.len() - at);
        let url = trimmed(&text[at..end]);
        let is_begun = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        let has_host = url[SCHEME.len().min(url.len())..].starts_with(|c: char| c.is_alphanumeric() || c == '[');
        if is_begun && has_host {
            found.push((at, at + url.len()));
        }
        from = end;
    }
    found
}

fn trimmed(url: &str) -> &str {
    let mut url = url;
    loop {
        let Some(last) = url.chars().next_back() else { return url };
        let is_open = |open: char, close: char| url.matches(open).count() >= url.matches(close).count();
        let is_kept = match last {
            ')' => is_open('(', ')'),
            ']' => is_open('[', ']'),
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '~' => false,
            _ => true,
        };
        if is_kept {
            return url;
        }
        url = &url[..url.len() - last.len_utf8()];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrap(url: &str) -> String {
        format!("T({url})")
    }

    #[test]
    fn anchors_are_wrapped_whose_address_is_eligible() {
        for (html, expected) in [
            ("<a href=\"https://x.io/?a=1&amp;b=2#c\">x</a>", "<a href=\"T(https://x.io/?a=1&amp;b=2#c)\">x</a>"),
            ("<A class=b HREF='https://x.io' id=c>x</A>", "<A class=b HREF=\"T(https://x.io)\" id=c>x</A>"),
            ("<a\nhref = https://x.io>x</a>", "<a\nhref = \"T(https://x.io)\">x</a>"),
            ("<a href=\"https://x.io/&#39;&#x27;&copy;\">x</a>", "<a href=\"T(https://x.io/''&amp;copy;)\">x</a>"),
            ("<a title=\"href='https://x.io'\">x</a>", "<a title=\"href='https://x.io'\">x</a>"),
            ("<abbr href=\"https://x.io\">x</abbr>", "<abbr href=\"https://x.io\">x</abbr>"),
            ("<img src=\"https://x.io/i.png\"> https://x.io", "<img src=\"https://x.io/i.png\"> https://x.io"),
            ("<!-- <a href=\"https://x.io\"> -->y", "<!-- <a href=\"https://x.io\"> -->y"),
            ("<a href=\"https://x.io", "<a href=\"T(https://x.io)\""),
            ("<a", "<a"),
            ("<a >", "<a >"),
            ("ü < <a href=\"https://ü.io/ä\">x", "ü < <a href=\"T(https://ü.io/ä)\">x"),
        ] {
            assert_eq!(wrapped(html, &wrap), expected, "F-TRK-03 D-TRK-13");
        }
        for other in
            ["http://x.io", "mailto:a@x.io", "/path", "#part", "tel:1", "https://", "https://x .io", "xhttps://y"]
        {
            let html = format!("<a href=\"{other}\">x</a>");
            assert_eq!(wrapped(&html, &wrap), html, "F-TRK-03: only https");
        }
    }

    #[test]
    fn an_anchor_may_say_that_it_is_not_tracked() {
        for (html, expected) in [
            ("<a href=\"https://x.io\" data-knock-no-track>x</a>", "<a href=\"https://x.io\">x</a>"),
            ("<a data-knock-no-track=\"\" href=\"https://x.io\">x</a>", "<a href=\"https://x.io\">x</a>"),
            ("<a href='https://x.io' DATA-KNOCK-NO-TRACK='1' id=a>x</a>", "<a href='https://x.io' id=a>x</a>"),
        ] {
            assert_eq!(wrapped(html, &wrap), expected, "F-TRK-06");
        }
    }

    #[test]
    fn bare_addresses_end_before_punctuation() {
        for (text, expected) in [
            ("see https://x.io/a?b=c#d.", &["https://x.io/a?b=c#d"][..]),
            (
                "(https://x.io/a_(b)) or https://y.io, https://z.io!",
                &["https://x.io/a_(b)", "https://y.io", "https://z.io"],
            ),
            ("https://x.io", &["https://x.io"]),
            ("xhttps://x.io https:// https://. http://x.io", &[]),
            ("\u{201c}https://x.io/ä\" <https://y.io>", &["https://x.io/ä", "https://y.io"]),
        ] {
            let found: Vec<&str> = bare(text).into_iter().map(|(from, to)| &text[from..to]).collect();
            assert_eq!(found, expected, "F-TRK-03 {text}");
        }
    }
}
