//! Cuts a template into text, outputs and tags, and trims the whitespace that `-` marks.

use super::Error;

/// A piece of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'s> {
    Text(&'s str),
    /// Text from inside `raw`.
    Raw(&'s str),
    Output {
        markup: &'s str,
        line: u32,
    },
    Tag(Tag<'s>),
}

/// A tag, or a line of a `liquid` tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag<'s> {
    pub(crate) name: &'s str,
    pub(crate) markup: &'s str,
    pub(crate) line: u32,
    /// Where the tag begins and ends in the source.
    pub(crate) span: (usize, usize),
}

/// Cuts `source` into tokens.
pub(crate) fn tokens(source: &str) -> Result<Vec<Token<'_>>, Error> {
    let mut lexer = Lexer { source, at: 0, line: 1, trims_next: false, tokens: Vec::new() };
    lexer.run()?;
    Ok(lexer.tokens)
}

struct Lexer<'s> {
    source: &'s str,
    at: usize,
    line: u32,
    trims_next: bool,
    tokens: Vec<Token<'s>>,
}

/// What stands between two delimiters, with its trim marks taken off.
struct Inner<'s> {
    text: &'s str,
    trims_before: bool,
    trims_after: bool,
    line: u32,
    start: usize,
}

impl<'s> Lexer<'s> {
    fn run(&mut self) -> Result<(), Error> {
        while let Some(open) = next_open(self.source, self.at) {
            let is_tag = self.source.as_bytes()[open + 1] == b'%';
            let before = &self.source[self.at..open];
            self.line += lines(before);
            let inner = self.inner(open, if is_tag { "%}" } else { "}}" })?;
            self.push_text(before, inner.trims_before);
            self.trims_next = inner.trims_after;
            match is_tag {
                true => self.tag(inner)?,
                false => self.tokens.push(Token::Output { markup: inner.text, line: inner.line }),
            }
        }
        self.push_text(&self.source[self.at..], false);
        Ok(())
    }

    /// Reads what stands between the delimiter at `open` and `close`, and goes behind it.
    fn inner(&mut self, open: usize, close: &str) -> Result<Inner<'s>, Error> {
        let body = &self.source[open + 2..];
        let Some(length) = body.find(close) else {
            let opened = &self.source[open..open + 2];
            return Err(Error::new(self.line, format!("`{opened}` is not closed: `{close}` is missing.")));
        };
        let text = &body[..length];
        let (text, trims_before) = text.strip_prefix('-').map_or((text, false), |rest| (rest, true));
        let (text, trims_after) = text.strip_suffix('-').map_or((text, false), |rest| (rest, true));
        let line = self.line;
        self.line += lines(&body[..length]);
        self.at = open + 2 + length + 2;
        Ok(Inner { text, trims_before, trims_after, line, start: open })
    }

    fn push_text(&mut self, text: &'s str, trims_end: bool) {
        let text = if self.trims_next { text.trim_start_matches(is_space) } else { text };
        let text = if trims_end { text.trim_end_matches(is_space) } else { text };
        if !text.is_empty() {
            self.tokens.push(Token::Text(text));
        }
    }

    fn tag(&mut self, inner: Inner<'s>) -> Result<(), Error> {
        let (name, markup) = name_and_markup(inner.text);
        match name {
            "raw" => self.raw(&inner),
            "doc" => self.doc(&inner),
            "comment" => self.comment(inner.line),
            "#" => inline_comment(markup, inner.line),
            _ => {
                let tag = Tag { name, markup, line: inner.line, span: (inner.start, self.at) };
                self.tokens.push(Token::Tag(tag));
                Ok(())
            }
        }
    }

    /// Takes everything up to `endraw` as text.
    fn raw(&mut self, opening: &Inner<'s>) -> Result<(), Error> {
        let (text, trims_end) = self.verbatim(opening, "raw", "endraw")?;
        let text = if opening.trims_after { text.trim_start_matches(is_space) } else { text };
        let text = if trims_end { text.trim_end_matches(is_space) } else { text };
        if !text.is_empty() {
            self.tokens.push(Token::Raw(text));
        }
        Ok(())
    }

    /// Skips everything up to `enddoc`.
    fn doc(&mut self, opening: &Inner<'s>) -> Result<(), Error> {
        self.verbatim(opening, "doc", "enddoc").map(drop)
    }

    /// Goes behind the next `end` tag; tells the text before it, and whether its end is trimmed.
    fn verbatim(&mut self, opening: &Inner<'s>, name: &str, end: &str) -> Result<(&'s str, bool), Error> {
        let begin = self.at;
        let mut from = begin;
        while let Some(open) = self.source[from..].find("{%").map(|at| from + at) {
            let (line, at) = (self.line, self.at);
            if let Ok(inner) = self.inner(open, "%}")
                && inner.text.trim() == end
            {
                let text = &self.source[begin..open];
                self.line += lines(text);
                self.trims_next = inner.trims_after;
                return Ok((text, inner.trims_before));
            }
            (self.line, self.at) = (line, at);
            from = open + 2;
        }
        Err(Error::new(opening.line, format!("`{name}` is not closed: `{end}` is missing.")))
    }

    /// Skips everything up to the `endcomment` that belongs to this comment.
    fn comment(&mut self, opening: u32) -> Result<(), Error> {
        let mut depth = 1;
        let mut in_raw = false;
        while let Some(open) = self.source[self.at..].find("{%").map(|at| self.at + at) {
            self.line += lines(&self.source[self.at..open]);
            let Ok(inner) = self.inner(open, "%}") else { break };
            match name_and_markup(inner.text).0 {
                "raw" => in_raw = true,
                "endraw" => in_raw = false,
                "comment" if !in_raw => depth += 1,
                "endcomment" if !in_raw => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.trims_next = inner.trims_after;
                return Ok(());
            }
        }
        Err(Error::new(opening, "`comment` is not closed: `endcomment` is missing."))
    }
}

/// Cuts the lines of a `liquid` tag into tags; the first line stands on `line` of the template.
pub(crate) fn liquid_lines<'s>(markup: &'s str, mut line: u32, span: (usize, usize)) -> Result<Vec<Token<'s>>, Error> {
    let mut tokens = Vec::new();
    let mut comments = 0;
    for text in markup.split('\n') {
        let (name, markup) = name_and_markup(text);
        match name {
            "comment" => comments += 1,
            "endcomment" if comments > 0 => comments -= 1,
            _ if comments > 0 || name.is_empty() && markup.is_empty() || name == "#" => {}
            _ => tokens.push(Token::Tag(Tag { name, markup, line, span })),
        }
        line += 1;
    }
    match comments {
        0 => Ok(tokens),
        _ => Err(Error::new(line - 1, "`comment` is not closed: `endcomment` is missing.")),
    }
}

/// The place of the next `{{` or `{%`.
fn next_open(source: &str, from: usize) -> Option<usize> {
    let bytes = source.as_bytes();
    source[from..].match_indices('{').map(|(at, _)| from + at).find(|at| matches!(bytes.get(at + 1), Some(b'{' | b'%')))
}

/// Splits the inside of a tag into its first word and the rest.
fn name_and_markup(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = match text.starts_with('#') {
        true => 1,
        false => text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len()),
    };
    (&text[..end], text[end..].trim())
}

fn inline_comment(markup: &str, line: u32) -> Result<(), Error> {
    match markup.lines().skip(1).map(str::trim).any(|text| !text.is_empty() && !text.starts_with('#')) {
        true => Err(Error::new(line, "Each line of a `#` comment must begin with `#`.")),
        false => Ok(()),
    }
}

fn lines(text: &str) -> u32 {
    text.bytes().filter(|byte| *byte == b'\n').count() as u32
}

fn is_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\x0b' || c == '\0'
}
