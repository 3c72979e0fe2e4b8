//! JSON text with Liquid in it: what is rendered inside a text of the document stays inside that text.

use serde::de::IgnoredAny;

use super::{Env, Error, Template};

/// A template whose rendering is meant to be JSON. Where the template itself is JSON, its texts are rendered one by one
/// and quoted anew: a name with a quotation mark in it is a name, and adds nothing to the document.
#[derive(Debug, Clone)]
pub struct JsonTemplate {
    source: Box<str>,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    /// As it stands.
    Plain(String),
    /// Liquid that makes JSON.
    Loose(Template),
    /// Liquid inside one text, and the line it stands in.
    Quoted(Template, usize),
}

/// Tags through which one text would know of another.
const SHARING: [&str; 4] = ["assign", "capture", "increment", "decrement"];

impl JsonTemplate {
    /// Reads a template; what is wrong with its Liquid is told with its line.
    pub fn parse(source: &str) -> Result<JsonTemplate, Error> {
        let parts = match in_texts(source) {
            Some(parts) => parts,
            None => vec![Part::Loose(Template::parse(source)?)],
        };
        Ok(JsonTemplate { source: source.into(), parts })
    }

    /// The text the template was parsed from.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders to text, which is JSON unless loose Liquid made something else of it.
    pub fn render(&self, env: &Env<'_>) -> Result<String, Error> {
        let mut out = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Plain(text) => out.push_str(text),
                Part::Loose(template) => template.render_into(env, &mut out)?,
                Part::Quoted(template, line) => {
                    let text = template.render(env).map_err(|error| Error { line: *line, ..error })?;
                    crate::wire::json::quote(&mut out, &text);
                    if out.len() > env.limits.output_bytes {
                        return Err(Error { line: *line, message: "the output is too long".to_owned() });
                    }
                }
            }
        }
        Ok(out)
    }
}

/// The parts of a template that is JSON as it stands; none if it is not, or if its texts depend on each other.
fn in_texts(source: &str) -> Option<Vec<Part>> {
    serde_json::from_str::<IgnoredAny>(source).ok()?;
    if source.contains("{%") && SHARING.iter().any(|tag| source.contains(tag)) {
        return None;
    }
    let mut parts = Vec::new();
    let mut rest = source;
    let mut line = 1;
    while let Some((before, text, after)) = next_text(rest) {
        line += before.matches('\n').count();
        match text.contains("{{") || text.contains("{%") {
            false => plain(&mut parts, &rest[..before.len() + text.len()]),
            true => {
                plain(&mut parts, before);
                let text: String = serde_json::from_str(text).ok()?;
                parts.push(Part::Quoted(Template::parse(&text).ok()?, line));
            }
        }
        rest = after;
    }
    plain(&mut parts, rest);
    Some(parts)
}

fn plain(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Plain(before)) => before.push_str(text),
        _ => parts.push(Part::Plain(text.to_owned())),
    }
}

/// The first text of a sound document with its quotation marks, and what stands before and after it.
fn next_text(document: &str) -> Option<(&str, &str, &str)> {
    let begin = document.find('"')?;
    let mut is_escaped = false;
    let end = document[begin + 1..].bytes().position(|byte| {
        let is_end = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        is_end
    })?;
    let end = begin + 1 + end + 1;
    Some((&document[..begin], &document[begin..end], &document[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scope::Scope;
    use crate::model::time::Time;
    use serde_json::{Value, json};

    fn render(source: &str, data: Value) -> Result<String, String> {
        let template = JsonTemplate::parse(source).map_err(|error| error.to_string())?;
        let scope = Scope::new(vec![("data", &data)]);
        template.render(&Env::new(&scope, Time::default())).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_said_inside_a_text_stays_inside_it() {
        let said = json!({"name": "Ann \"A\"\n\", \"role\": \"admin", "n": 3, "list": [1, "x"]});
        let rendered =
            render(r#"{"name": "Hi {{ data.name }}", "n": "{{ data.n }}", "plain\u0041": [1.50] }"#, said.clone());
        let rendered = rendered.unwrap();
        assert!(rendered.ends_with(r#""n": "3", "plain\u0041": [1.50] }"#), "the rest stands as it was: {rendered}");
        let read: Value = serde_json::from_str(&rendered).unwrap();
        assert_eq!(read["name"], json!("Hi Ann \"A\"\n\", \"role\": \"admin"), "W-UPD-03");
        assert_eq!(read.get("role"), None);
        assert_eq!(render(r#"{"{{ data.n }}": "{{ \"a\" | upcase }}"}"#, said).unwrap(), r#"{"3": "A"}"#);
    }

    #[test]
    fn what_is_no_json_before_it_is_rendered_is_rendered_whole() {
        let data = json!({"list": [1, "x"], "name": "Ann"});
        assert_eq!(render(r#"{"l": {{ data.list | json }}}"#, data.clone()).unwrap(), r#"{"l": [1,"x"]}"#);
        assert_eq!(render("{{ data | json }}", data.clone()).unwrap(), r#"{"list":[1,"x"],"name":"Ann"}"#);
        let shared = r#"{"a": "{% assign n = data.name %}", "b": "{{ n }}"}"#;
        assert_eq!(render(shared, data.clone()).unwrap(), r#"{"a": "", "b": "Ann"}"#, "one text knows of another");
        let across = r#"{"a": "{% if data.name %}1", "b": "2{% endif %}"}"#;
        assert_eq!(render(across, data).unwrap(), r#"{"a": "1", "b": "2"}"#);
    }

    #[test]
    fn a_fault_is_told_with_its_line() {
        assert!(render("{\"a\": {{ nothing", json!({})).unwrap_err().starts_with("line 1"));
        let deep = "{\n\"a\": \"x\",\n\"b\": \"{{ data.x | divided_by: 0 }}\"}";
        assert!(render(deep, json!({"x": 1})).unwrap_err().starts_with("line 3"), "D-TPL-06");
    }

    #[test]
    fn many_texts_are_bounded_together() {
        let source = json!(vec!["{{ data.long }}"; 20]).to_string();
        let error = render(&source, json!({"long": "x".repeat(100_000)})).unwrap_err();
        assert!(error.contains("too long"), "{error}");
    }
}
