//! One rendering: walks the tree, keeps the variables, counts the steps.

use std::{cell::Cell, rc::Rc};

use crate::model::scope::Scope;

use super::{
    Env, Error, Template,
    ast::{
        Chain, Condition, CycleGroup, Expr, For, Join, Literal, Node, Offset, Path, Render, Root, Segment, TableRow,
        Test, When,
    },
    compare,
    decimal::{self, Number},
    filters::Args,
    value::{Items, Loop, Problem, Val, within},
};

/// How deep partials and translations may refer to each other (D-TPL-52).
const MAX_DEPTH: u32 = 5;

/// The state of one rendering.
pub(crate) struct Run<'r> {
    pub(crate) env: &'r Env<'r>,
    steps: u32,
    depth: u32,
    /// How long the string that is being written may become.
    limit: usize,
    assigned: Vec<(&'r str, Val<'r>)>,
    /// The variables of open loops, the innermost last; they hide what was assigned.
    loops: Vec<(&'r str, Val<'r>)>,
    counters: Vec<(&'r str, i64)>,
    cycles: Vec<(String, usize)>,
    offsets: Vec<(&'r str, usize)>,
    /// What `ifchanged` printed last; all of them share it (as in Shopify's).
    changed: Option<String>,
}

/// Where rendering goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

/// Names a problem's line and makes a sentence of it.
fn at<T>(line: u32, result: Result<T, Problem>) -> Result<T, Error> {
    result.map_err(|Problem(message)| {
        let mut chars = message.chars();
        let first = chars.next().into_iter().flat_map(char::to_uppercase);
        let mut sentence: String = first.chain(chars).collect();
        if !sentence.ends_with('.') {
            sentence.push('.');
        }
        Error::new(line, sentence)
    })
}

impl<'r> Run<'r> {
    pub(crate) fn new(env: &'r Env<'r>) -> Self {
        Run {
            env,
            steps: env.limits.steps,
            depth: 0,
            limit: env.limits.output_bytes,
            assigned: Vec::new(),
            loops: Vec::new(),
            counters: Vec::new(),
            cycles: Vec::new(),
            offsets: Vec::new(),
            changed: None,
        }
    }

    /// Renders a whole template to the end of `out`.
    pub(crate) fn template(&mut self, body: &'r [Node], out: &mut String) -> Result<(), Error> {
        self.limit = self.env.limits.output_bytes.saturating_add(out.len());
        self.body(body, out).map(drop)
    }

    /// Takes `steps` of those that are left.
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), Problem> {
        match u32::try_from(steps).ok().and_then(|steps| self.steps.checked_sub(steps)) {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => Err(format!("the template takes more than {} steps", self.env.limits.steps).into()),
        }
    }

    /// How many bytes a value may have.
    pub(crate) fn value_limit(&self) -> usize {
        self.env.limits.output_bytes
    }

    fn body(&mut self, body: &'r [Node], out: &mut String) -> Result<Flow, Error> {
        for node in body {
            let flow = self.node(node, out)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'r Node, out: &mut String) -> Result<Flow, Error> {
        match node {
            Node::Text(text) | Node::Raw(text) => {
                out.push_str(text);
                at(1, self.spend(text.len() / 256).and_then(|()| within(out, self.limit)))?;
            }
            Node::Output(chain) => self.output(chain, out)?,
            Node::Assign { name, value } => {
                let value = self.chain(value)?;
                set(&mut self.assigned, name, value);
            }
            Node::Capture { name, body } => return self.capture(name, body),
            Node::If { line, branches, otherwise, .. } => return self.branch(*line, branches, otherwise, out),
            Node::Case { line, subject, branches, .. } => return self.case(*line, subject, branches, out),
            Node::For(each) => return self.each(each, out),
            Node::TableRow(table) => return self.table_row(table, out),
            Node::Cycle { line, group, values } => self.cycle(*line, group, values, out)?,
            Node::Increment(name) => self.count(name, 0, 1, out)?,
            Node::Decrement(name) => self.count(name, -1, -1, out)?,
            Node::IfChanged(body) => return self.if_changed(body, out),
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
            Node::Group(nodes) => return self.body(nodes, out),
            Node::Render(render) => self.partial(render, out)?,
            Node::Translate { line, key, body } => return self.translate(*line, key, body, out),
        }
        Ok(Flow::Next)
    }

    fn output(&mut self, chain: &'r Chain, out: &mut String) -> Result<(), Error> {
        let value = self.chain(chain)?;
        let before = out.len();
        at(chain.line, value.print(out, self.limit))?;
        at(chain.line, self.spend((out.len() - before) / 256))
    }

    /// The value of an expression behind its filters.
    fn chain(&mut self, chain: &'r Chain) -> Result<Val<'r>, Error> {
        at(chain.line, self.spend(1))?;
        let may_be_absent = chain.filters.first().is_some_and(|call| call.filter.name == "default");
        let mut value = at(chain.line, self.value(&chain.start, may_be_absent))?;
        for call in &chain.filters {
            value = at(chain.line, self.call(call, value))?;
        }
        Ok(value)
    }

    fn call(&mut self, call: &'r super::ast::Call, input: Val<'r>) -> Result<Val<'r>, Problem> {
        self.spend(1 + input.weight())?;
        let mut args = Args::default();
        for arg in &call.args {
            let value = self.value(arg, false)?;
            self.spend(value.weight())?;
            args.positional.push(value);
        }
        for (name, arg) in &call.named {
            let value = self.value(arg, false)?;
            args.named.push((name, value));
        }
        let value =
            (call.filter.apply)(self, input, &args).map_err(|Problem(m)| format!("`{}`: {m}", call.filter.name))?;
        match value.as_str().is_some_and(|text| text.len() > self.value_limit()) {
            true => Err(format!("`{}` made a text beyond {} bytes", call.filter.name, self.value_limit()).into()),
            false => Ok(value),
        }
    }

    /// The value of an expression; what is absent is `nil`, or an error where the environment is strict.
    fn value(&mut self, expr: &'r Expr, may_be_absent: bool) -> Result<Val<'r>, Problem> {
        match expr {
            Expr::Literal(literal) => Ok(literal_value(literal)),
            Expr::Path(path) => match self.find(path)? {
                Some(found) => Ok(found),
                None if self.env.strict && !may_be_absent => Err(format!("`{}` is not defined", path.text).into()),
                None => Ok(Val::Nil),
            },
            Expr::Range(ends) => {
                let (from, to) = (self.value(&ends.0, may_be_absent)?, self.value(&ends.1, may_be_absent)?);
                Ok(Val::Range(integer(&from), integer(&to)))
            }
        }
    }

    fn find(&mut self, path: &'r Path) -> Result<Option<Val<'r>>, Problem> {
        let root = match &path.root {
            Root::Name(name) => self.variable(name),
            Root::Computed(expr) => {
                let name = self.value(expr, false)?;
                name.as_str().and_then(|name| self.variable(name))
            }
        };
        let Some(mut value) = root else { return Ok(None) };
        for segment in &path.segments {
            let next = match segment {
                Segment::Name(name) => value.member(name),
                Segment::Computed(expr) => {
                    let key = self.value(expr, false)?;
                    below(&value, &key)
                }
            };
            match next {
                Some(next) => value = next,
                None => return Ok(None),
            }
        }
        Ok(Some(value))
    }

    /// The variable called `name`: of a loop, assigned, counted, or from the scope.
    fn variable(&self, name: &str) -> Option<Val<'r>> {
        if let Some((_, value)) = self.loops.iter().rev().find(|(known, _)| *known == name) {
            return Some(value.clone());
        }
        if let Some((_, value)) = self.assigned.iter().find(|(known, _)| *known == name) {
            return Some(value.clone());
        }
        if let Some((_, count)) = self.counters.iter().find(|(known, _)| *known == name) {
            return Some(Val::Int(*count));
        }
        self.env.scope.root(name).map(Val::from)
    }

    fn is_true(&mut self, line: u32, condition: &'r Condition) -> Result<bool, Error> {
        at(line, self.spend(1 + condition.rest.len()))?;
        // From the right means: `a and b or c` is `a and (b or c)`; going from the left, the first that decides wins.
        let mut truth = at(line, self.test(&condition.first))?;
        for (join, test) in &condition.rest {
            if truth == (*join == Join::Or) {
                break;
            }
            truth = at(line, self.test(test))?;
        }
        Ok(truth != condition.negated)
    }

    fn test(&mut self, test: &'r Test) -> Result<bool, Problem> {
        let left = self.value(&test.left, true)?;
        Ok(match &test.compared {
            None => left.is_truthy(),
            Some((comparison, right)) => {
                let right = self.value(right, true)?;
                // A list is compared item by item with what it may contain.
                let rounds = if left.as_str().is_some() { 1 } else { left.size().unwrap_or(1) };
                self.spend(right.weight().saturating_mul(rounds).saturating_add(left.weight()))?;
                compare::holds(&left, *comparison, &right)
            }
        })
    }

    fn branch(
        &mut self,
        line: u32,
        branches: &'r [(Condition, Vec<Node>)],
        otherwise: &'r [Node],
        out: &mut String,
    ) -> Result<Flow, Error> {
        for (condition, body) in branches {
            if self.is_true(line, condition)? {
                return self.body(body, out);
            }
        }
        self.body(otherwise, out)
    }

    fn case(&mut self, line: u32, subject: &'r Expr, branches: &'r [When], out: &mut String) -> Result<Flow, Error> {
        let subject = at(line, self.value(subject, true))?;
        let mut is_matched = false;
        for branch in branches {
            at(line, self.spend(1))?;
            let times = match &branch.values {
                None => usize::from(!is_matched),
                Some(values) => self.matches(line, &subject, values)?,
            };
            is_matched |= branch.values.is_some() && times > 0;
            for _ in 0..times {
                let flow = self.body(&branch.body, out)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
        }
        Ok(Flow::Next)
    }

    /// How many of the values of a `when` match: its body is rendered for each (as Shopify does).
    fn matches(&mut self, line: u32, subject: &Val<'r>, values: &'r [Expr]) -> Result<usize, Error> {
        let mut count = 0;
        for value in values {
            let value = at(line, self.value(value, true))?;
            count += usize::from(compare::equal(subject, &value));
        }
        Ok(count)
    }

    /// Renders `body` to a string of its own.
    fn aside(&mut self, body: &'r [Node]) -> Result<(Flow, String), Error> {
        let mut text = String::new();
        let value_limit = self.value_limit();
        let limit = std::mem::replace(&mut self.limit, value_limit);
        let flow = self.body(body, &mut text);
        self.limit = limit;
        Ok((flow?, text))
    }

    fn capture(&mut self, name: &'r str, body: &'r [Node]) -> Result<Flow, Error> {
        let (flow, text) = self.aside(body)?;
        set(&mut self.assigned, name, Val::from(text));
        Ok(flow)
    }

    fn if_changed(&mut self, body: &'r [Node], out: &mut String) -> Result<Flow, Error> {
        let (flow, text) = self.aside(body)?;
        if self.changed.as_ref() != Some(&text) {
            out.push_str(&text);
            at(1, within(out, self.limit))?;
            self.changed = Some(text);
        }
        Ok(flow)
    }

    fn each(&mut self, each: &'r For, out: &mut String) -> Result<Flow, Error> {
        let line = each.line;
        let collection = at(line, self.value(&each.collection, false))?;
        let items = walk(&collection);
        let offset = match &each.offset {
            None => 0,
            Some(Offset::Continue) => self.offsets.iter().find(|(name, _)| *name == &*each.name).map_or(0, |(_, n)| *n),
            Some(Offset::At(expr)) => self.size_or(line, Some(expr), 0)?,
        };
        let limit = self.size_or(line, each.limit.as_ref(), usize::MAX)?;
        let from = offset.min(items.len());
        let length = limit.min(items.len() - from);
        match self.offsets.iter_mut().find(|(name, _)| *name == &*each.name) {
            Some((_, place)) => *place = from + length,
            None => self.offsets.push((&each.name, from + length)),
        }
        if length == 0 {
            return self.body(&each.otherwise, out);
        }
        self.rounds(each, &items, from, length, out)
    }

    fn rounds(
        &mut self,
        each: &'r For,
        items: &Items<'r>,
        from: usize,
        length: usize,
        out: &mut String,
    ) -> Result<Flow, Error> {
        let state = self.open_loop(&each.name, length, None);
        let slot = self.loops.len();
        self.loops.push((&each.variable, Val::Nil));
        for round in 0..length {
            at(each.line, self.spend(1))?;
            state.index.set(round);
            let place = if each.is_reversed { from + length - 1 - round } else { from + round };
            self.loops[slot].1 = items.get(place).unwrap_or(Val::Nil);
            if self.body(&each.body, out)? == Flow::Break {
                break;
            }
        }
        self.loops.truncate(slot - 1);
        Ok(Flow::Next)
    }

    /// Makes `forloop` or `tablerowloop` known; the caller adds its variable and takes both away.
    fn open_loop(&mut self, name: &'r str, length: usize, columns: Option<usize>) -> Rc<Loop<'r>> {
        let known = if columns.is_some() { "tablerowloop" } else { "forloop" };
        let parent = self.loops.iter().rev().find_map(|(name, value)| match value {
            Val::Loop(state) if *name == known => Some(state.clone()),
            _ => None,
        });
        let state = Rc::new(Loop { name, length, index: Cell::new(0), columns, parent });
        self.loops.push((known, Val::Loop(state.clone())));
        state
    }

    fn size_or(&mut self, line: u32, expr: Option<&'r Expr>, default: usize) -> Result<usize, Error> {
        let Some(expr) = expr else { return Ok(default) };
        let value = at(line, self.value(expr, false))?;
        match value.is_nil() {
            true => Ok(default),
            false => at(line, decimal::whole(&value)).map(|n| usize::try_from(n).unwrap_or(0)),
        }
    }

    fn table_row(&mut self, table: &'r TableRow, out: &mut String) -> Result<Flow, Error> {
        let line = table.line;
        let collection = at(line, self.value(&table.collection, false))?;
        if !collection.is_truthy() {
            return Ok(Flow::Next);
        }
        let items = walk(&collection);
        let from = self.size_or(line, table.offset.as_ref(), 0)?.min(items.len());
        let length = self.size_or(line, table.limit.as_ref(), usize::MAX)?.min(items.len() - from);
        let columns = self.size_or(line, table.columns.as_ref(), length)?.max(1);
        let state = self.open_loop(&table.variable, length, Some(columns));
        let slot = self.loops.len();
        self.loops.push((&table.variable, Val::Nil));
        out.push_str("<tr class=\"row1\">\n");
        for round in 0..length {
            at(line, self.spend(1))?;
            state.index.set(round);
            self.loops[slot].1 = items.get(from + round).unwrap_or(Val::Nil);
            if self.cell(table, round, length, columns, out)? == Flow::Break {
                break;
            }
        }
        out.push_str("</tr>\n");
        self.loops.truncate(slot - 1);
        Ok(Flow::Next)
    }

    fn cell(
        &mut self,
        table: &'r TableRow,
        round: usize,
        length: usize,
        columns: usize,
        out: &mut String,
    ) -> Result<Flow, Error> {
        out.push_str(&format!("<td class=\"col{}\">", round % columns + 1));
        let flow = self.body(&table.body, out)?;
        out.push_str("</td>");
        if (round + 1).is_multiple_of(columns) && round + 1 < length {
            out.push_str(&format!("</tr>\n<tr class=\"row{}\">", (round + 1) / columns + 1));
        }
        at(table.line, within(out, self.limit))?;
        Ok(flow)
    }

    fn cycle(&mut self, line: u32, group: &'r CycleGroup, values: &'r [Expr], out: &mut String) -> Result<(), Error> {
        at(line, self.spend(1))?;
        let group = match group {
            CycleGroup::Text(text) => format!("text {text}"),
            CycleGroup::Named(name) => {
                let name = at(line, self.value(name, false))?;
                format!("name {}", at(line, name.text(self.value_limit()))?)
            }
        };
        let known = self.cycles.iter().position(|(known, _)| *known == group);
        let slot = known.unwrap_or_else(|| {
            self.cycles.push((group, 0));
            self.cycles.len() - 1
        });
        let place = self.cycles[slot].1;
        self.cycles[slot].1 = if place + 1 < values.len() { place + 1 } else { 0 };
        // A longer cycle of the same name may have gone further than this one reaches: then nothing is printed.
        let Some(value) = values.get(place) else { return Ok(()) };
        let value = at(line, self.value(value, false))?;
        at(line, value.print(out, self.limit))
    }

    /// Prints a counter and moves it by `by`: an increment prints first, a decrement moves first.
    fn count(&mut self, name: &'r str, start: i64, by: i64, out: &mut String) -> Result<(), Error> {
        let printed = match self.counters.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => {
                *count += by;
                if by < 0 { *count } else { *count - by }
            }
            None => {
                self.counters.push((name, if by < 0 { start } else { start + by }));
                start
            }
        };
        at(1, self.spend(1).and_then(|()| Val::Int(printed).print(out, self.limit)))
    }

    fn partial(&mut self, render: &'r Render, out: &mut String) -> Result<(), Error> {
        let (line, key) = (render.line, &render.key);
        let Some(template) = self.env.lookup.partial(key) else {
            return Err(Error::new(line, format!("There is no partial `{key}`.")));
        };
        let mut inputs = Vec::new();
        for (name, value) in &render.args {
            let value = at(line, self.value(value, false))?;
            set(&mut inputs, name, value);
        }
        let nothing = Scope::default();
        let result = self.inside(&template, inputs, &nothing, out);
        result.map_err(|e| Error::new(line, format!("In partial `{key}`, line {}: {}", e.line, e.message)))
    }

    fn translate(&mut self, line: u32, key: &'r str, body: &'r [Node], out: &mut String) -> Result<Flow, Error> {
        at(line, self.spend(1))?;
        let Some(serde_json::Value::String(text)) = self.env.lookup.translation(key) else {
            return self.body(body, out);
        };
        let blame = |e: Error| Error::new(line, format!("In the translation of `{key}`: {}", e.message));
        let template = Template::parse(&text).map_err(blame)?;
        // The innermost of equal names wins, as it does here.
        let mut variables = self.assigned.clone();
        self.loops.iter().for_each(|(name, value)| set(&mut variables, name, value.clone()));
        self.inside(&template, variables, self.env.scope, out).map_err(blame)?;
        Ok(Flow::Next)
    }

    /// Renders the text of a translation, which sees `inputs` only (D-TPL-92).
    pub(crate) fn interpolate(&mut self, text: &str, inputs: Vec<(&'r str, Val<'r>)>) -> Result<String, Problem> {
        let template = Template::parse(text).map_err(|error| error.to_string())?;
        let nothing = Scope::default();
        let mut out = String::new();
        let value_limit = self.value_limit();
        let limit = std::mem::replace(&mut self.limit, value_limit);
        let result = self.inside(&template, inputs, &nothing, &mut out);
        self.limit = limit;
        result.map_err(|error| error.message)?;
        Ok(out)
    }

    /// Renders another template with variables and steps of this rendering.
    fn inside(
        &mut self,
        template: &Template,
        variables: Vec<(&'r str, Val<'r>)>,
        scope: &Scope<'_>,
        out: &mut String,
    ) -> Result<(), Error> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::new(1, format!("Partials and translations are nested deeper than {MAX_DEPTH}.")));
        }
        let env = Env { scope, ..*self.env };
        let mut inner = Run::new(&env);
        inner.assigned = variables;
        (inner.steps, inner.depth, inner.limit) = (self.steps, self.depth + 1, self.limit);
        let result = inner.body(&template.0.body, out);
        self.steps = inner.steps;
        result.map(drop)
    }
}

fn set<'r>(variables: &mut Vec<(&'r str, Val<'r>)>, name: &'r str, value: Val<'r>) {
    match variables.iter_mut().find(|(known, _)| *known == name) {
        Some((_, old)) => *old = value,
        None => variables.push((name, value)),
    }
}

fn literal_value(literal: &Literal) -> Val<'_> {
    match literal {
        Literal::Nil => Val::Nil,
        Literal::Empty => Val::Empty,
        Literal::Blank => Val::Blank,
        Literal::Bool(b) => Val::Bool(*b),
        Literal::Int(n) => Val::Int(*n),
        Literal::Float(n) => Val::Float(*n),
        Literal::Text(text) => Val::Str(text),
    }
}

/// What a loop goes through: a text is one round, what cannot be walked is none.
fn walk<'r>(collection: &Val<'r>) -> Items<'r> {
    match collection.as_str() {
        Some("") => Items::Array(&[]),
        Some(_) => Items::List(Rc::new(super::value::List { items: vec![collection.clone()], prints_json: false })),
        None => collection.items().unwrap_or(Items::Array(&[])),
    }
}

/// The value in `value` at a computed key or index.
fn below<'r>(value: &Val<'r>, key: &Val<'r>) -> Option<Val<'r>> {
    match key {
        Val::Int(n) => match value {
            Val::Object(_) | Val::Record(_) => value.get(&n.to_string()),
            _ => value.at(*n),
        },
        Val::Float(n) => value.at(*n as i64),
        _ => value.get(key.as_str()?),
    }
}

fn integer(value: &Val<'_>) -> i64 {
    match Number::of(value) {
        Number::Int(n) => n,
        Number::Float(n) => n as i64,
    }
}
