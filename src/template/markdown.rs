//! Markdown to HTML that is safe to inject (F-BLC-08).

use std::collections::HashSet;

use pulldown_cmark::{CowStr, Event, LinkType, Options, Parser, Tag, TagEnd, TextMergeStream, html};

use super::links::{self, Wrap};

/// The schemes a link or an image may have; addresses without a scheme are relative and allowed.
const SCHEMES: [&str; 4] = ["http", "https", "mailto", "tel"];

/// Renders Markdown (CommonMark with tables and strikethrough) to HTML without scripts, handlers or dangerous addresses.
pub fn to_safe_html(markdown: &str) -> String {
    converted(markdown, false)
}

/// The same with its links wrapped. Addresses that stand in the text become links (F-TRK-03).
pub fn to_tracked_html(markdown: &str, wrap: Wrap<'_>) -> String {
    links::wrapped(&converted(markdown, true), wrap)
}

fn converted(markdown: &str, is_tracked: bool) -> String {
    let markdown = markdown.trim_end();
    let has_addresses = is_tracked && !links::bare(markdown).is_empty();
    if is_plain(markdown) && !has_addresses {
        return ["<p>", markdown, "</p>"].concat();
    }
    let mut out = String::with_capacity(markdown.len() * 3 / 2);
    let mut has_html = false;
    let mut links = Vec::new();
    let options = Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH;
    let events = Parser::new_ext(markdown, options).filter(|event| {
        has_html |= matches!(event, Event::Html(_) | Event::InlineHtml(_));
        is_kept(event, &mut links)
    });
    match has_addresses {
        true => html::push_html(&mut out, linked(TextMergeStream::new(events)).into_iter()),
        false => html::push_html(&mut out, events),
    }
    // Markdown's own constructs are safe once their addresses are; only raw HTML needs the full treatment.
    let mut out = if has_html { sanitized(&out, is_tracked) } else { out };
    out.truncate(out.trim_end().len());
    out
}

/// The events with a link around each address that stands in the text, unless it stands within one already, or within code.
fn linked<'e>(events: impl Iterator<Item = Event<'e>>) -> Vec<Event<'e>> {
    let (mut out, mut depth, mut is_in_anchor) = (Vec::new(), 0_usize, false);
    for event in events {
        match &event {
            Event::Start(Tag::Link { .. } | Tag::CodeBlock(_) | Tag::Image { .. }) => depth += 1,
            Event::End(TagEnd::Link | TagEnd::CodeBlock | TagEnd::Image) => depth = depth.saturating_sub(1),
            Event::InlineHtml(tag) => match tag.to_ascii_lowercase() {
                tag if tag.starts_with("</a") => is_in_anchor = false,
                tag if tag.starts_with("<a") => is_in_anchor = true,
                _ => {}
            },
            Event::Text(text) if depth == 0 && !is_in_anchor => {
                let mut from = 0;
                for (begin, end) in links::bare(text) {
                    out.extend(slice(text, from, begin).map(Event::Text));
                    let dest_url: CowStr<'e> = text[begin..end].to_owned().into();
                    let (title, id) = ("".into(), "".into());
                    let link = Tag::Link { link_type: LinkType::Autolink, dest_url: dest_url.clone(), title, id };
                    out.extend([Event::Start(link), Event::Text(dest_url), Event::End(TagEnd::Link)]);
                    from = end;
                }
                out.extend(slice(text, from, text.len()).map(Event::Text));
                continue;
            }
            _ => {}
        }
        out.push(event);
    }
    out
}

fn slice<'e>(text: &str, from: usize, to: usize) -> Option<CowStr<'e>> {
    (from < to).then(|| text[from..to].to_owned().into())
}

/// Whether the text is one paragraph without any markup, escape or entity.
fn is_plain(markdown: &str) -> bool {
    let is_quiet = |byte: &u8| {
        matches!(byte, b' ' | b',' | b'.' | b':' | b';' | b'?' | b'\'' | b'/' | b'(' | b')' | b'%' | b'@' | b'$' | b'-')
            || byte.is_ascii_alphanumeric()
            || !byte.is_ascii()
    };
    markdown.starts_with(|c: char| c.is_ascii_alphabetic()) && markdown.as_bytes().iter().all(is_quiet)
}

/// Takes out the links and images that lead to dangerous addresses; their text stays.
fn is_kept(event: &Event<'_>, links: &mut Vec<bool>) -> bool {
    match event {
        Event::Start(Tag::Link { link_type, dest_url, .. }) => {
            links.push(*link_type == LinkType::Email || is_safe(dest_url));
            links.last().copied().unwrap_or(false)
        }
        Event::Start(Tag::Image { dest_url, .. }) => {
            links.push(is_safe(dest_url));
            links.last().copied().unwrap_or(false)
        }
        Event::End(TagEnd::Link | TagEnd::Image) => links.pop().unwrap_or(false),
        _ => true,
    }
}

/// Whether an address is relative or of an allowed scheme, read as browsers read it: they skip control characters.
fn is_safe(url: &str) -> bool {
    let address: String = url.chars().filter(|c| !c.is_whitespace() && !c.is_control()).take(32).collect();
    match address.find([':', '/', '?', '#']) {
        Some(at) if address[at..].starts_with(':') => SCHEMES.iter().any(|s| s.eq_ignore_ascii_case(&address[..at])),
        Some(_) => true,
        // Longer than any allowed scheme: a scheme only if a colon still follows.
        None => !url.contains(':'),
    }
}

/// The HTML without what is dangerous; where links are tracked, with what says that one is not.
fn sanitized(html: &str, is_tracked: bool) -> String {
    let of_anchors: &[&str] = if is_tracked { &[links::UNTRACKED] } else { &[] };
    ammonia::Builder::default()
        .add_tag_attributes("a", of_anchors)
        .url_schemes(HashSet::from(SCHEMES))
        .add_tag_attributes("code", ["class"])
        .link_rel(None)
        .clean(html)
        .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn markdown_becomes_html() {
        for (markdown, html) in [
            ("**Ada** wrote", "<p><strong>Ada</strong> wrote</p>"),
            ("Hello there, you", "<p>Hello there, you</p>"),
            ("a & b", "<p>a &amp; b</p>"),
            ("# Title", "<h1>Title</h1>"),
            ("* a\n* b", "<ul>\n<li>a</li>\n<li>b</li>\n</ul>"),
            ("[x](https://a.example/?a=1&b=2)", "<p><a href=\"https://a.example/?a=1&amp;b=2\">x</a></p>"),
            ("[x](/relative)", "<p><a href=\"/relative\">x</a></p>"),
            ("<ada@example.com>", "<p><a href=\"mailto:ada@example.com\">ada@example.com</a></p>"),
            ("~~gone~~", "<p><del>gone</del></p>"),
            ("![alt](https://a.example/i.png)", "<p><img src=\"https://a.example/i.png\" alt=\"alt\" /></p>"),
            ("", ""),
        ] {
            assert_eq!(to_safe_html(markdown), html, "D-TPL-103 F-BLC-02 {markdown}");
        }
        let table = to_safe_html("| a |\n|---|\n| b |");
        assert!(table.starts_with("<table><thead><tr><th>a</th>"), "{table}");
    }

    #[test]
    fn what_is_dangerous_is_taken_out() {
        for (markdown, html) in [
            ("[x](javascript:alert(1))", "<p>x</p>"),
            ("[x](JaVaScRiPt:alert(1))", "<p>x</p>"),
            ("[x](<java\tscript:alert(1)>)", "<p>x</p>"),
            ("[x](&#106;avascript&colon;alert(1))", "<p>x</p>"),
            ("[x](data:text/html,hi)", "<p>x</p>"),
            ("[x](vbscript:hi)", "<p>x</p>"),
            ("<javascript:alert(1)>", "<p>javascript:alert(1)</p>"),
            ("![x](javascript:alert(1))", "<p>x</p>"),
            (
                "[![i](https://a.example/i.png)](javascript:x)",
                "<p><img src=\"https://a.example/i.png\" alt=\"i\" /></p>",
            ),
            ("<script>alert(1)</script>", ""),
            ("a <b onclick=\"x()\">c</b>", "<p>a <b>c</b></p>"),
            ("a <a href=\"javascript:x\">c</a>", "<p>a <a>c</a></p>"),
            ("<img src=x onerror=alert(1)>", "<img src=\"x\">"),
        ] {
            assert_eq!(to_safe_html(markdown), html, "F-BLC-08 {markdown}");
        }
    }

    #[test]
    fn links_are_wrapped_however_they_are_written() {
        let wrap = |url: &str| format!("https://t/{}", url.len());
        for (markdown, html) in [
            ("[x](https://a.example/?a=1&b=2)", "<p><a href=\"https://t/26\">x</a></p>"),
            ("[x][1]\n\n[1]: https://a.example", "<p><a href=\"https://t/17\">x</a></p>"),
            ("<https://a.example>", "<p><a href=\"https://t/17\">https://a.example</a></p>"),
            ("see https://a.example/x_y_z.", "<p>see <a href=\"https://t/23\">https://a.example/x_y_z</a>.</p>"),
            ("https://a.example", "<p><a href=\"https://t/17\">https://a.example</a></p>"),
            ("see https://a.example now", "<p>see <a href=\"https://t/17\">https://a.example</a> now</p>"),
            ("**https://a.example**", "<p><strong><a href=\"https://t/17\">https://a.example</a></strong></p>"),
            ("<a href='https://a.example'>x</a>", "<p><a href=\"https://t/17\">x</a></p>"),
            (
                "<a href='https://a.example'>https://b.example</a>",
                "<p><a href=\"https://t/17\">https://b.example</a></p>",
            ),
            ("[https://b.example](https://a.example)", "<p><a href=\"https://t/17\">https://b.example</a></p>"),
            ("`https://a.example`", "<p><code>https://a.example</code></p>"),
            (
                "![https://b.example](https://a.example/i.png)",
                "<p><img src=\"https://a.example/i.png\" alt=\"https://b.example\" /></p>",
            ),
            ("[x](http://a.example) http://a.example", "<p><a href=\"http://a.example\">x</a> http://a.example</p>"),
            ("[x](javascript:x)", "<p>x</p>"),
        ] {
            assert_eq!(to_tracked_html(markdown, &wrap), html, "F-TRK-03 F-BLC-07 {markdown}");
        }
        let untracked = "<a href='https://a.example' data-knock-no-track>x</a> <b onclick=x>y</b>";
        let html = "<p><a href=\"https://a.example\">x</a> <b>y</b></p>";
        assert_eq!(to_tracked_html(untracked, &wrap), html, "F-TRK-06");
        assert_eq!(to_safe_html(untracked), html, "F-TRK-06: nobody sees the mark in any case");
        assert_eq!(to_safe_html("see https://a.example now"), "<p>see https://a.example now</p>", "F-TRK-01");
    }

    /// The tags of some HTML, with the names of their attributes.
    fn tags(html: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut rest = html;
        while let Some(open) = rest.find('<') {
            let end = rest[open..].find('>').map_or(rest.len(), |end| open + end);
            let tag = &rest[open + 1..end];
            let name: String = tag.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
            let outside: String = tag.split('"').step_by(2).collect::<Vec<_>>().join(" ");
            // ammonia also drops web addresses that no host could have; those harm nobody.
            let is_address = |word: &str| matches!(word, "href=" | "src=") && tag.contains("=\"http");
            let words = outside.split_whitespace().filter(|word| word.ends_with('=') && !is_address(word));
            let mut names: Vec<_> = words.collect();
            names.sort_unstable();
            found.push(format!("{} {}", name.trim_end_matches('/'), names.join(" ")));
            rest = &rest[end..];
        }
        found
    }

    fn soup() -> impl Strategy<Value = String> {
        let pieces = [
            "<script>",
            "</script>",
            "<img src=x onerror=a()>",
            "<a href='javascript:x'>",
            "</a>",
            "<b onclick=x>",
            "[x](",
            "javascript:",
            "data:",
            ")",
            "[",
            "]",
            "](",
            "![",
            "<",
            ">",
            "&colon;",
            "&#58;",
            "\\",
            "`",
            "```\n",
            "\n",
            "\n\n",
            " ",
            "*",
            "_",
            "~~",
            "| a | b |\n|---|:-:|\n",
            "# ",
            "- ",
            "1. ",
            "> ",
            "https://x.example",
            "\"",
            "'",
            "word",
            "\t",
            "<!--",
            "-->",
            "<svg/onload=x>",
            "[r]: javascript:x\n",
            "<javascript:x>",
            "\u{0}",
            "http:",
            "tel:1",
            "<style>",
            "&",
            "=",
            "JAVA",
            "script:",
        ];
        proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn nothing_dangerous_passes(markdown in soup()) {
            let html = to_safe_html(&markdown);
            let lower = html.to_lowercase();
            prop_assert!(!lower.contains("<script"), "{html}");
            for tag in tags(&html) {
                prop_assert!(!tag.contains(" on"), "{tag} in {html}");
            }
            for place in ["href=\"", "src=\""] {
                for value in lower.split(place).skip(1) {
                    let value: String = value.chars().take_while(|c| *c != '"').collect();
                    prop_assert!(is_safe(&value), "F-BLC-08 {value} in {html}");
                }
            }
        }

        /// ammonia finds nothing to take out of what the fast way made.
        #[test]
        fn the_sanitiser_agrees(markdown in soup()) {
            let html = to_safe_html(&markdown);
            let cleaned = ammonia::Builder::default()
                .url_schemes(HashSet::from(SCHEMES))
                .add_tag_attributes("code", ["class"])
                .add_tag_attributes("th", ["style"])
                .add_tag_attributes("td", ["style"])
                .link_rel(None)
                .clean(&html)
                .to_string();
            prop_assert_eq!(tags(&cleaned), tags(&html), "F-BLC-08 {} / {}", html, cleaned);
        }

        #[test]
        fn the_short_way_gives_what_the_long_way_gives(markdown in "[A-Za-z][A-Za-z0-9 ,.:;?'/()%@$é-]{0,40}") {
            let mut long = String::new();
            html::push_html(&mut long, Parser::new_ext(&markdown, Options::ENABLE_TABLES));
            prop_assert_eq!(to_safe_html(&markdown), long.trim_end());
        }
    }
}
