//! Reads what stands inside tags: values, paths, filters, conditions, arguments.

use crate::model::invalid::did_you_mean;

use super::{
    Error,
    ast::{Call, Chain, Comparison, Condition, Expr, Join, Literal, Path, Root, Segment, Test},
    filters,
};

/// How deep brackets in paths may nest.
const MAX_DEPTH: u32 = 100;

/// A word of an expression.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Word<'s> {
    Name(&'s str),
    Int(i64),
    Float(f64),
    Text(&'s str),
    /// An operator or a punctuation mark.
    Sign(&'static str),
}

const SIGNS: [&str; 18] =
    ["==", "!=", "<>", "<=", ">=", "..", "<", ">", "|", ":", ",", ".", "[", "]", "(", ")", "=", "-"];

/// Goes through the words of one tag.
pub(crate) struct Cursor<'s> {
    source: &'s str,
    words: Vec<(Word<'s>, usize)>,
    at: usize,
    depth: u32,
    pub(crate) line: u32,
}

impl<'s> Cursor<'s> {
    pub(crate) fn new(source: &'s str, line: u32) -> Result<Self, Error> {
        let words = words(source).map_err(|message| Error::new(line, message))?;
        Ok(Cursor { source, words, at: 0, depth: 0, line })
    }

    fn peek(&self) -> Option<Word<'s>> {
        self.words.get(self.at).map(|(word, _)| *word)
    }

    fn advance(&mut self) -> Option<Word<'s>> {
        let word = self.peek();
        self.at += 1;
        word
    }

    /// Goes past `sign` if it comes next.
    pub(crate) fn takes(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Sign(next)) if next == sign);
        self.at += usize::from(found);
        found
    }

    /// Goes past the word `name` if it comes next.
    pub(crate) fn takes_name(&mut self, name: &str) -> bool {
        let found = self.peek() == Some(Word::Name(name));
        self.at += usize::from(found);
        found
    }

    /// Whether everything was read.
    pub(crate) fn is_done(&self) -> bool {
        self.at >= self.words.len()
    }

    /// What is left, as written.
    fn rest(&self) -> &'s str {
        self.words.get(self.at).map_or("", |(_, at)| self.source[*at..].trim_end())
    }

    pub(crate) fn error(&self, message: impl Into<String>) -> Error {
        Error::new(self.line, message)
    }

    fn unexpected(&self, expected: &str) -> Error {
        match self.rest() {
            "" if self.source.trim().is_empty() => self.error(format!("{expected} is missing.")),
            "" => self.error(format!("{expected} is missing at the end of `{}`.", self.source.trim())),
            rest => self.error(format!("{expected} was expected where `{rest}` stands.")),
        }
    }

    /// Refuses anything that is left.
    pub(crate) fn end(&self) -> Result<(), Error> {
        match self.rest() {
            "" => Ok(()),
            rest => Err(self.error(format!("`{rest}` is not understood here."))),
        }
    }

    /// Expects `sign` next.
    pub(crate) fn sign(&mut self, sign: &str) -> Result<(), Error> {
        match self.takes(sign) {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{sign}`"))),
        }
    }

    /// Reads a variable's name.
    pub(crate) fn name(&mut self) -> Result<&'s str, Error> {
        match self.peek() {
            Some(Word::Name(name)) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected("A name")),
        }
    }

    /// Reads a text in quotes.
    pub(crate) fn quoted(&mut self) -> Result<&'s str, Error> {
        match self.peek() {
            Some(Word::Text(text)) => {
                self.at += 1;
                Ok(text)
            }
            _ => Err(self.unexpected("A text in quotes")),
        }
    }

    /// Reads `name:` if that comes next.
    pub(crate) fn label(&mut self) -> Option<&'s str> {
        let (Some((Word::Name(name), _)), Some((Word::Sign(":"), _))) =
            (self.words.get(self.at), self.words.get(self.at + 1))
        else {
            return None;
        };
        self.at += 2;
        Some(name)
    }

    /// Reads one value: a literal, a path or a range.
    pub(crate) fn value(&mut self) -> Result<Expr, Error> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("Brackets are nested deeper than {MAX_DEPTH}.")));
        }
        let value = self.value_inside();
        self.depth -= 1;
        value
    }

    fn value_inside(&mut self) -> Result<Expr, Error> {
        match self.peek() {
            Some(Word::Int(n)) => self.literal(Literal::Int(n)),
            Some(Word::Float(n)) => self.literal(Literal::Float(n)),
            Some(Word::Text(text)) => self.literal(Literal::Text(text.into())),
            Some(Word::Name(name)) => match keyword(name) {
                Some(literal) if !self.is_path_ahead() => self.literal(literal),
                _ => self.path(),
            },
            Some(Word::Sign("[")) => self.path(),
            Some(Word::Sign("(")) => self.range(),
            _ => Err(self.unexpected("A value")),
        }
    }

    fn is_path_ahead(&self) -> bool {
        matches!(self.words.get(self.at + 1), Some((Word::Sign("." | "["), _)))
    }

    fn literal(&mut self, literal: Literal) -> Result<Expr, Error> {
        self.at += 1;
        Ok(Expr::Literal(literal))
    }

    fn range(&mut self) -> Result<Expr, Error> {
        self.sign("(")?;
        let from = self.value()?;
        if !self.takes("..") {
            return Err(
                self.error("`(` begins a range such as `(1..3)`; conditions cannot be grouped with parentheses.")
            );
        }
        let to = self.value()?;
        self.sign(")")?;
        Ok(Expr::Range(Box::new((from, to))))
    }

    fn path(&mut self) -> Result<Expr, Error> {
        let start = self.words.get(self.at).map_or(0, |(_, at)| *at);
        let root = match self.takes("[") {
            true => {
                let name = self.value()?;
                self.sign("]")?;
                Root::Computed(Box::new(name))
            }
            false => Root::Name(self.name()?.into()),
        };
        let mut segments = Vec::new();
        loop {
            if self.takes("[") {
                segments.push(Segment::Computed(self.value()?));
                self.sign("]")?;
            } else if self.takes(".") {
                segments.push(self.member()?);
            } else {
                break;
            }
        }
        let end = self.words.get(self.at).map_or(self.source.len(), |(_, at)| *at);
        let text = self.source[start..end].trim_end().into();
        Ok(Expr::Path(Path { text, root, segments }))
    }

    fn member(&mut self) -> Result<Segment, Error> {
        match self.peek() {
            Some(Word::Int(n)) if n >= 0 => {
                self.at += 1;
                Ok(Segment::Computed(Expr::Literal(Literal::Int(n))))
            }
            _ => Ok(Segment::Name(self.name()?.into())),
        }
    }

    /// Reads a value and its filters, up to the end of the tag.
    pub(crate) fn chain(&mut self) -> Result<Chain, Error> {
        let start = if self.is_done() { Expr::Literal(Literal::Nil) } else { self.value()? };
        let mut filters = Vec::new();
        while self.takes("|") {
            filters.push(self.call()?);
        }
        self.end()?;
        Ok(Chain { line: self.line, start, filters })
    }

    fn call(&mut self) -> Result<Call, Error> {
        let name = self.name()?;
        let Some(filter) = filters::find(name) else {
            let hint = did_you_mean(name, filters::names()).map(|question| format!("; {question}"));
            return Err(self.error(format!("There is no filter `{name}`{}", hint.as_deref().unwrap_or("."))));
        };
        let (mut args, mut named) = (Vec::new(), Vec::new());
        if self.takes(":") {
            loop {
                match self.label() {
                    Some(label) => named.push((label.into(), self.value()?)),
                    None => args.push(self.value()?),
                }
                if !self.takes(",") {
                    break;
                }
            }
        }
        filter
            .check(args.len(), named.iter().map(|(label, _): &(Box<str>, Expr)| &**label))
            .map_err(|m| self.error(m))?;
        Ok(Call { filter, args, named })
    }

    /// Reads a condition, up to the end of the tag.
    pub(crate) fn condition(&mut self, negated: bool) -> Result<Condition, Error> {
        let first = self.test()?;
        let mut rest = Vec::new();
        loop {
            let join = match self.peek() {
                Some(Word::Name("and")) => Join::And,
                Some(Word::Name("or")) => Join::Or,
                _ => break,
            };
            self.at += 1;
            rest.push((join, self.test()?));
        }
        self.end()?;
        Ok(Condition { first, rest, negated })
    }

    fn test(&mut self) -> Result<Test, Error> {
        let left = self.value()?;
        let comparison = match self.peek() {
            Some(Word::Sign("==")) => Comparison::Equal,
            Some(Word::Sign("!=" | "<>")) => Comparison::NotEqual,
            Some(Word::Sign("<")) => Comparison::Less,
            Some(Word::Sign(">")) => Comparison::Greater,
            Some(Word::Sign("<=")) => Comparison::LessOrEqual,
            Some(Word::Sign(">=")) => Comparison::GreaterOrEqual,
            Some(Word::Name("contains")) => Comparison::Contains,
            Some(Word::Sign("=")) => return Err(self.error("A comparison for equality is written `==`.")),
            _ => return Ok(Test { left, compared: None }),
        };
        self.advance();
        Ok(Test { left, compared: Some((comparison, self.value()?)) })
    }

    /// Reads `a, b, name: c` or the like up to the end: positional values with commas between them.
    pub(crate) fn values(&mut self, separators: &[&str]) -> Result<Vec<Expr>, Error> {
        let mut values = vec![self.value()?];
        while separators.iter().any(|separator| self.takes(separator) || self.takes_name(separator)) {
            values.push(self.value()?);
        }
        self.end()?;
        Ok(values)
    }

    /// What is left, as written, without going past it.
    pub(crate) fn remaining(&self) -> &'s str {
        self.rest()
    }

    /// Whether the value that comes next is followed by `:` (the name of a `cycle`).
    pub(crate) fn is_named(&self) -> bool {
        matches!(self.words.get(self.at + 1), Some((Word::Sign(":"), _)))
    }
}

fn keyword(name: &str) -> Option<Literal> {
    Some(match name {
        "nil" | "null" => Literal::Nil,
        "true" => Literal::Bool(true),
        "false" => Literal::Bool(false),
        "empty" => Literal::Empty,
        "blank" => Literal::Blank,
        _ => return None,
    })
}

fn words(source: &str) -> Result<Vec<(Word<'_>, usize)>, String> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = source[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        let (word, length) = word(source, at, words.last().map(|(word, _)| *word))?;
        words.push((word, at));
        at += length;
    }
    Ok(words)
}

/// Reads the word at `at`; `before` tells a negative number from a dash.
fn word<'s>(source: &'s str, at: usize, before: Option<Word<'s>>) -> Result<(Word<'s>, usize), String> {
    let rest = &source[at..];
    let bytes = rest.as_bytes();
    let is_digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    if let quote @ (b'"' | b'\'') = bytes[0] {
        let end = rest[1..]
            .find(quote as char)
            .ok_or_else(|| format!("The text {} has no closing quote.", rest.trim_end()))?;
        return Ok((Word::Text(&rest[1..end + 1]), end + 2));
    }
    if is_digit(0) || bytes[0] == b'-' && is_digit(1) {
        return Ok(number(rest, before == Some(Word::Sign("."))));
    }
    if bytes[0].is_ascii_alphabetic() || bytes[0] == b'_' || !bytes[0].is_ascii() {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '-' || !c.is_ascii() && !c.is_whitespace();
        let mut end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
        end += usize::from(rest[end..].starts_with('?'));
        return Ok((Word::Name(&rest[..end]), end));
    }
    match SIGNS.iter().find(|sign| rest.starts_with(**sign)) {
        Some(sign) => Ok((Word::Sign(sign), sign.len())),
        None => Err(format!("`{}` is not understood.", rest.trim_end())),
    }
}

/// Reads a number; behind a dot (`list.0`) only an integer.
fn number(rest: &str, is_member: bool) -> (Word<'_>, usize) {
    let sign = usize::from(rest.starts_with('-'));
    let digits = |from: usize| rest[from..].bytes().take_while(u8::is_ascii_digit).count();
    let whole = sign + digits(sign);
    if !is_member && rest[whole..].starts_with('.') && digits(whole + 1) > 0 {
        let end = whole + 1 + digits(whole + 1);
        return (Word::Float(rest[..end].parse().unwrap_or_default()), end);
    }
    match rest[..whole].parse() {
        Ok(int) => (Word::Int(int), whole),
        Err(_) => (Word::Float(rest[..whole].parse().unwrap_or_default()), whole),
    }
}
