//! What a template means: a tree of nodes over literals, paths and filters.

use crate::template::filters::Filter;

/// One part of a template.
pub(crate) enum Node {
    Text(Box<str>),
    /// Text from inside `raw`: whitespace in it counts as content.
    Raw(Box<str>),
    Output(Chain),
    Assign {
        name: Box<str>,
        value: Chain,
    },
    Capture {
        name: Box<str>,
        body: Vec<Node>,
    },
    If {
        line: u32,
        branches: Vec<(Condition, Vec<Node>)>,
        otherwise: Vec<Node>,
        is_blank: bool,
    },
    Case {
        line: u32,
        subject: Expr,
        branches: Vec<When>,
        is_blank: bool,
    },
    For(Box<For>),
    TableRow(Box<TableRow>),
    Cycle {
        line: u32,
        group: CycleGroup,
        values: Vec<Expr>,
    },
    Increment(Box<str>),
    Decrement(Box<str>),
    IfChanged(Vec<Node>),
    Break,
    Continue,
    /// The tags of one `liquid` tag.
    Group(Vec<Node>),
    Render(Box<Render>),
    Translate {
        line: u32,
        key: Box<str>,
        body: Vec<Node>,
    },
}

/// An expression with the filters that it flows through.
pub(crate) struct Chain {
    pub(crate) line: u32,
    pub(crate) start: Expr,
    pub(crate) filters: Vec<Call>,
}

/// One filter with its arguments.
pub(crate) struct Call {
    pub(crate) filter: &'static Filter,
    pub(crate) args: Vec<Expr>,
    pub(crate) named: Vec<(Box<str>, Expr)>,
}

/// Something that has a value.
pub(crate) enum Expr {
    Literal(Literal),
    Path(Path),
    Range(Box<(Expr, Expr)>),
}

/// A value written in the template.
pub(crate) enum Literal {
    Nil,
    Empty,
    Blank,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Box<str>),
}

/// A variable and the way into it.
pub(crate) struct Path {
    /// As written, for messages.
    pub(crate) text: Box<str>,
    pub(crate) root: Root,
    pub(crate) segments: Vec<Segment>,
}

/// Where a path begins.
pub(crate) enum Root {
    Name(Box<str>),
    /// `[expression]`: the name is computed.
    Computed(Box<Expr>),
}

/// One step of a path.
pub(crate) enum Segment {
    /// `.name`: a key, or one of `size`, `first`, `last`.
    Name(Box<str>),
    /// `[expression]`, or `.0`.
    Computed(Expr),
}

/// Comparisons joined by `and` and `or`, evaluated from the right (as Shopify does).
pub(crate) struct Condition {
    pub(crate) first: Test,
    pub(crate) rest: Vec<(Join, Test)>,
    pub(crate) negated: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    And,
    Or,
}

/// One comparison, or one value whose truth is asked for.
pub(crate) struct Test {
    pub(crate) left: Expr,
    pub(crate) compared: Option<(Comparison, Expr)>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    Greater,
    LessOrEqual,
    GreaterOrEqual,
    Contains,
}

/// A branch of `case`; without values it is the `else`.
pub(crate) struct When {
    pub(crate) values: Option<Vec<Expr>>,
    pub(crate) body: Vec<Node>,
}

pub(crate) struct For {
    pub(crate) line: u32,
    pub(crate) variable: Box<str>,
    /// `variable-collection`, the name under which `offset: continue` finds its place.
    pub(crate) name: Box<str>,
    pub(crate) collection: Expr,
    pub(crate) limit: Option<Expr>,
    pub(crate) offset: Option<Offset>,
    pub(crate) is_reversed: bool,
    pub(crate) body: Vec<Node>,
    pub(crate) otherwise: Vec<Node>,
    pub(crate) is_blank: bool,
}

pub(crate) enum Offset {
    At(Expr),
    Continue,
}

pub(crate) struct TableRow {
    pub(crate) line: u32,
    pub(crate) variable: Box<str>,
    pub(crate) collection: Expr,
    pub(crate) columns: Option<Expr>,
    pub(crate) limit: Option<Expr>,
    pub(crate) offset: Option<Expr>,
    pub(crate) body: Vec<Node>,
}

pub(crate) enum CycleGroup {
    Named(Expr),
    /// Unnamed cycles with equal values share their place.
    Text(Box<str>),
}

pub(crate) struct Render {
    pub(crate) line: u32,
    pub(crate) key: Box<str>,
    pub(crate) args: Vec<(Box<str>, Expr)>,
}

impl Node {
    /// Whether the node can only print whitespace; a block of such nodes prints nothing (as Shopify does).
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Node::Text(text) => text.chars().all(char::is_whitespace),
            Node::Raw(text) => text.is_empty(),
            Node::Assign { .. } | Node::Capture { .. } => true,
            Node::If { is_blank, .. } | Node::Case { is_blank, .. } => *is_blank,
            Node::For(each) => each.is_blank,
            Node::Group(nodes) => nodes.iter().all(Node::is_blank),
            _ => false,
        }
    }
}
