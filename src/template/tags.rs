//! The syntax of each tag.

use crate::model::invalid::did_you_mean;

use super::{
    Error,
    ast::{CycleGroup, Expr, For, Node, Offset, Render, TableRow, When},
    expression::Cursor,
    lexer::Tag,
    parser::{Parser, without_text},
};

const NAMES: [&str; 23] = [
    "doc",
    "assign",
    "break",
    "capture",
    "case",
    "comment",
    "continue",
    "cycle",
    "decrement",
    "echo",
    "for",
    "if",
    "ifchanged",
    "increment",
    "liquid",
    "raw",
    "render",
    "t",
    "tablerow",
    "unless",
    "else",
    "elsif",
    "when",
];

impl<'s> Parser<'s> {
    /// Reads a tag with all that belongs to it.
    pub(crate) fn tag(&mut self, tag: Tag<'s>) -> Result<Option<Node>, Error> {
        let cursor = || Cursor::new(tag.markup, tag.line);
        Ok(Some(match tag.name {
            "assign" => assign(cursor()?)?,
            "break" => bare(tag, Node::Break)?,
            "capture" => self.capture(tag)?,
            "case" => self.case(tag)?,
            "continue" => bare(tag, Node::Continue)?,
            "cycle" => cycle(cursor()?)?,
            "decrement" => counter(cursor()?, Node::Decrement)?,
            "echo" => Node::Output(cursor()?.chain()?),
            "for" => self.each(tag)?,
            "if" => self.condition(tag, false)?,
            "ifchanged" => self.if_changed(tag)?,
            "increment" => counter(cursor()?, Node::Increment)?,
            "liquid" => self.liquid(tag)?,
            "render" => render(cursor()?)?,
            "t" => self.translate(tag)?,
            "tablerow" => self.table_row(tag)?,
            "unless" => self.condition(tag, true)?,
            "" if tag.markup.is_empty() => return Err(Error::new(tag.line, "The tag is empty.")),
            _ => return Err(unknown(tag)),
        }))
    }

    fn capture(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        let mut cursor = Cursor::new(tag.markup, tag.line)?;
        let name = match cursor.quoted() {
            Ok(name) => name,
            Err(_) => cursor.name()?,
        };
        cursor.end()?;
        let (body, _) = self.body(tag, &["endcapture"])?;
        Ok(Node::Capture { name: name.into(), body })
    }

    fn condition(&mut self, tag: Tag<'s>, negated: bool) -> Result<Node, Error> {
        let end = if negated { "endunless" } else { "endif" };
        let mut branches = Vec::new();
        let mut otherwise = Vec::new();
        let mut condition = Cursor::new(tag.markup, tag.line)?.condition(negated)?;
        loop {
            let (body, next) = self.body(tag, &["elsif", "else", end])?;
            branches.push((condition, body));
            match next.name {
                "elsif" => condition = Cursor::new(next.markup, next.line)?.condition(false)?,
                "else" => {
                    otherwise = self.after_else(tag, next, end)?;
                    break;
                }
                _ => break,
            }
        }
        let mut bodies: Vec<_> = branches.iter_mut().map(|(_, body)| body).chain([&mut otherwise]).collect();
        let is_blank = strip_if_blank(&mut bodies);
        Ok(Node::If { line: tag.line, branches, otherwise, is_blank })
    }

    fn after_else(&mut self, tag: Tag<'s>, otherwise: Tag<'s>, end: &str) -> Result<Vec<Node>, Error> {
        if otherwise.markup.starts_with("if") {
            return Err(Error::new(otherwise.line, "A further condition is written `elsif`."));
        }
        Cursor::new(otherwise.markup, otherwise.line)?.end()?;
        Ok(self.body(tag, &[end])?.0)
    }

    fn case(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        let ends = ["when", "else", "endcase"];
        let mut cursor = Cursor::new(tag.markup, tag.line)?;
        let subject = cursor.value()?;
        cursor.end()?;
        // What stands before the first `when` is never printed.
        let (_, mut next) = self.body(tag, &ends)?;
        let mut branches = Vec::new();
        while next.name != "endcase" {
            let mut cursor = Cursor::new(next.markup, next.line)?;
            let values = match next.name {
                "when" => Some(cursor.values(&[",", "or"])?),
                _ => cursor.end().map(|()| None)?,
            };
            let (body, following) = self.body(tag, &ends)?;
            branches.push(When { values, body });
            next = following;
        }
        let mut bodies: Vec<_> = branches.iter_mut().map(|branch| &mut branch.body).collect();
        let is_blank = strip_if_blank(&mut bodies);
        Ok(Node::Case { line: tag.line, subject, branches, is_blank })
    }

    fn each(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        let mut cursor = Cursor::new(tag.markup, tag.line)?;
        let (variable, collection) = walked(&mut cursor)?;
        let name = format!("{variable}-{}", written(&collection, tag.markup));
        let (mut limit, mut offset, mut is_reversed) = (None, None, false);
        while !cursor.is_done() {
            cursor.takes(",");
            match cursor.label() {
                Some("limit") => limit = Some(cursor.value()?),
                Some("offset") if cursor.takes_name("continue") => offset = Some(Offset::Continue),
                Some("offset") => offset = Some(Offset::At(cursor.value()?)),
                Some(other) => return Err(cursor.error(option("for", other, &["limit", "offset", "reversed"]))),
                None if cursor.takes_name("reversed") => is_reversed = true,
                None => cursor.end()?,
            }
        }
        let (mut body, next) = self.body(tag, &["else", "endfor"])?;
        let mut otherwise = match next.name {
            "else" => self.after_else(tag, next, "endfor")?,
            _ => Vec::new(),
        };
        let is_blank = strip_if_blank(&mut [&mut body, &mut otherwise]);
        let (line, variable, name) = (tag.line, variable.into(), name.into());
        let each = For { line, variable, name, collection, limit, offset, is_reversed, body, otherwise, is_blank };
        Ok(Node::For(Box::new(each)))
    }

    fn table_row(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        let mut cursor = Cursor::new(tag.markup, tag.line)?;
        let (variable, collection) = walked(&mut cursor)?;
        let (mut columns, mut limit, mut offset) = (None, None, None);
        while !cursor.is_done() {
            cursor.takes(",");
            match cursor.label() {
                Some("cols") => columns = Some(cursor.value()?),
                Some("limit") => limit = Some(cursor.value()?),
                Some("offset") => offset = Some(cursor.value()?),
                Some(other) => return Err(cursor.error(option("tablerow", other, &["cols", "limit", "offset"]))),
                None => cursor.end()?,
            }
        }
        let (body, _) = self.body(tag, &["endtablerow"])?;
        let (line, variable) = (tag.line, variable.into());
        Ok(Node::TableRow(Box::new(TableRow { line, variable, collection, columns, limit, offset, body })))
    }

    fn if_changed(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        Cursor::new(tag.markup, tag.line)?.end()?;
        let (body, _) = self.body(tag, &["endifchanged"])?;
        Ok(Node::IfChanged(body))
    }

    /// `{% t %}…{% endt %}`: the text between, as written, is the key (D-TPL-94).
    fn translate(&mut self, tag: Tag<'s>) -> Result<Node, Error> {
        if !tag.markup.is_empty() {
            return Err(Error::new(
                tag.line,
                "`t` takes no arguments; a value is passed with the filter: `\"key\" | t: name: value`.",
            ));
        }
        let (body, end) = self.body(tag, &["endt"])?;
        let Some(key) = self.source.get(tag.span.1..end.span.0) else {
            return Err(inside_liquid(tag));
        };
        Ok(Node::Translate { line: tag.line, key: key.into(), body })
    }
}

/// Reads `variable in collection`.
fn walked<'s>(cursor: &mut Cursor<'s>) -> Result<(&'s str, Expr), Error> {
    let variable = cursor.name()?;
    if !cursor.takes_name("in") {
        return Err(cursor.error(format!("A loop is written `for {variable} in list`; `in` is missing.")));
    }
    Ok((variable, cursor.value()?))
}

fn written<'e>(collection: &'e Expr, markup: &'e str) -> &'e str {
    match collection {
        Expr::Path(path) => &path.text,
        _ => markup.split_once(" in ").map_or(markup, |(_, rest)| rest.split(' ').next().unwrap_or(rest)),
    }
}

fn option(tag: &str, found: &str, known: &[&'static str]) -> String {
    let hint = did_you_mean(found, known.iter().copied()).map(|question| format!("; {question}"));
    format!("`{tag}` has no option `{found}`{}", hint.as_deref().unwrap_or("."))
}

fn assign(mut cursor: Cursor<'_>) -> Result<Node, Error> {
    let name = cursor.name()?.into();
    cursor.sign("=")?;
    if cursor.is_done() {
        return Err(cursor.error("A value is missing after `=`."));
    }
    Ok(Node::Assign { name, value: cursor.chain()? })
}

fn bare(tag: Tag<'_>, node: Node) -> Result<Node, Error> {
    Cursor::new(tag.markup, tag.line)?.end()?;
    Ok(node)
}

fn counter(mut cursor: Cursor<'_>, node: fn(Box<str>) -> Node) -> Result<Node, Error> {
    let name = cursor.name()?.into();
    cursor.end()?;
    Ok(node(name))
}

fn cycle(mut cursor: Cursor<'_>) -> Result<Node, Error> {
    let line = cursor.line;
    let group = match cursor.is_named() {
        true => {
            let name = cursor.value()?;
            cursor.sign(":")?;
            CycleGroup::Named(name)
        }
        false => CycleGroup::Text(cursor.remaining().into()),
    };
    Ok(Node::Cycle { line, group, values: cursor.values(&[","])? })
}

/// `{% render 'key', name: value %}` (D-TPL-04).
fn render(mut cursor: Cursor<'_>) -> Result<Node, Error> {
    let key = cursor.quoted()?.into();
    let mut args = Vec::new();
    while !cursor.is_done() {
        cursor.takes(",");
        match cursor.label() {
            Some(name) => args.push((name.into(), cursor.value()?)),
            None if cursor.takes_name("for") || cursor.takes_name("with") || cursor.takes_name("as") => {
                return Err(
                    cursor.error("`render` passes values by name only; `for`, `with` and `as` are not supported.")
                );
            }
            None => {
                cursor.end()?;
                break;
            }
        }
    }
    Ok(Node::Render(Box::new(Render { line: cursor.line, key, args })))
}

/// What is read as written has no place among the lines of a `liquid` tag.
fn inside_liquid(tag: Tag<'_>) -> Error {
    Error::new(tag.line, format!("`{}` cannot stand inside `liquid`.", tag.name))
}

fn unknown(tag: Tag<'_>) -> Error {
    if matches!(tag.name, "raw" | "doc" | "comment") {
        return inside_liquid(tag);
    }
    let name = tag.name;
    let message = match name {
        "include" => "`include` is not supported; use `render`.".to_owned(),
        "else" | "elsif" | "when" => format!("`{name}` stands outside of its block."),
        _ if name.starts_with("end") && NAMES.contains(&&name[3..]) => {
            format!("`{name}` closes nothing: there is no open `{}`.", &name[3..])
        }
        _ => {
            let hint = did_you_mean(name, NAMES).map(|question| format!("; {question}"));
            format!("There is no tag `{name}`{}", hint.as_deref().unwrap_or("."))
        }
    };
    Error::new(tag.line, message)
}

/// Whether all `bodies` hold nothing but whitespace and silent tags; if so, the whitespace goes.
fn strip_if_blank(bodies: &mut [&mut Vec<Node>]) -> bool {
    let is_blank = bodies.iter().all(|body| body.iter().all(Node::is_blank));
    if is_blank {
        bodies.iter_mut().for_each(|body| without_text(body));
    }
    is_blank
}
