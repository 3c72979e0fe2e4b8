//! Builds the tree of a template from its tokens.

use super::{
    Error,
    ast::Node,
    expression::Cursor,
    lexer::{self, Tag, Token},
};

/// How deep blocks may nest.
const MAX_DEPTH: u32 = 100;

/// Parses a whole template.
pub(crate) fn parse(source: &str) -> Result<Vec<Node>, Error> {
    let tokens = lexer::tokens(source)?;
    let mut parser = Parser { source, tokens, at: 0, depth: 0 };
    parser.all()
}

/// Goes through the tokens of a template, or of one `liquid` tag in it.
pub(crate) struct Parser<'s> {
    pub(crate) source: &'s str,
    tokens: Vec<Token<'s>>,
    at: usize,
    depth: u32,
}

impl<'s> Parser<'s> {
    fn all(&mut self) -> Result<Vec<Node>, Error> {
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            self.node(token, &mut nodes)?;
        }
        Ok(nodes)
    }

    fn next(&mut self) -> Option<Token<'s>> {
        let token = self.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    /// Reads the nodes of `block` up to one of the tags in `ends`, and returns that tag too.
    pub(crate) fn body(&mut self, block: Tag<'s>, ends: &[&str]) -> Result<(Vec<Node>, Tag<'s>), Error> {
        self.deeper(block.line)?;
        let mut nodes = Vec::new();
        while let Some(token) = self.next() {
            match token {
                Token::Tag(tag) if ends.contains(&tag.name) => {
                    self.depth -= 1;
                    return Ok((nodes, tag));
                }
                _ => self.node(token, &mut nodes).map_err(|error| blame(error, token, block, ends))?,
            }
        }
        let (name, end) = (block.name, ends.last().copied().unwrap_or_default());
        Err(Error::new(block.line, format!("`{name}` is not closed: `{end}` is missing.")))
    }

    fn deeper(&mut self, line: u32) -> Result<(), Error> {
        self.depth += 1;
        match self.depth > MAX_DEPTH {
            true => Err(Error::new(line, format!("Blocks are nested deeper than {MAX_DEPTH}."))),
            false => Ok(()),
        }
    }

    fn node(&mut self, token: Token<'s>, nodes: &mut Vec<Node>) -> Result<(), Error> {
        match token {
            Token::Text(text) => nodes.push(Node::Text(text.into())),
            Token::Raw(text) => nodes.push(Node::Raw(text.into())),
            Token::Output { markup, line } => nodes.push(Node::Output(Cursor::new(markup, line)?.chain()?)),
            Token::Tag(tag) => nodes.extend(self.tag(tag)?),
        }
        Ok(())
    }

    /// Reads the tags inside a `liquid` tag.
    pub(crate) fn liquid(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        self.deeper(tag.line)?;
        let text = &self.source[tag.span.0..tag.span.1];
        // The markup was trimmed: its first line stands below the line breaks before it.
        let skipped = text.find(tag.markup).map_or("", |at| &text[..at]);
        let line = tag.line + skipped.matches('\n').count() as u32;
        let tokens = lexer::liquid_lines(tag.markup, line, tag.span)?;
        let mut inner = Parser { source: self.source, tokens, at: 0, depth: self.depth };
        let nodes = inner.all()?;
        self.depth -= 1;
        Ok(Node::Group(nodes))
    }
}

/// A stray end tag inside a block most likely means that the block's own end is missing: says so.
fn blame(error: Error, token: Token<'_>, block: Tag<'_>, ends: &[&str]) -> Error {
    match token {
        Token::Tag(tag) if tag.name.starts_with("end") && error.line == tag.line as usize => {
            let end = ends.last().copied().unwrap_or_default();
            let (found, name, line) = (tag.name, block.name, block.line);
            Error::new(tag.line, format!("`{found}` stands where `{end}` must close the `{name}` of line {line}."))
        }
        _ => error,
    }
}

/// Takes the whitespace out of blocks that hold nothing else.
pub(crate) fn without_text(nodes: &mut Vec<Node>) {
    nodes.retain(|node| !matches!(node, Node::Text(_)));
}
