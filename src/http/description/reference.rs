//! The description as a page to read: no script, no framework, nothing from elsewhere.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use crate::http::escape::escaped;

/// What a browser may do with the page: nothing but show it.
pub(crate) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
    form-action 'none'; frame-ancestors 'none'";

const STYLE: &str = "*{box-sizing:border-box}\
:root{color-scheme:light dark;--ground:#fff;--ink:#16181d;--soft:#5a6070;--line:#d9dce3;--panel:#f5f6f8;--accent:#3a3fc4}\
@media(prefers-color-scheme:dark){:root{--ground:#14161b;--ink:#eceef2;--soft:#a3a9b8;--line:#343944;--panel:#1d2027;\
--accent:#a9b0ff}}\
html{scroll-padding-top:1rem}\
body{margin:0;background:var(--ground);color:var(--ink);font:1rem/1.55 system-ui,sans-serif;display:grid;\
grid-template-columns:17rem minmax(0,1fr)}\
nav{position:sticky;top:0;height:100vh;overflow-y:auto;border-inline-end:1px solid var(--line);padding:1.5rem 1rem}\
nav>b{display:block;font-size:1.15rem;margin-bottom:1rem}\
nav ul{list-style:none;margin:0 0 .75rem;padding:0 0 0 .75rem}\
nav summary{cursor:pointer;font-weight:600;padding:.25rem 0}\
nav a{display:block;padding:.2rem 0;font-size:.9rem;color:var(--soft);text-decoration:none}\
nav a:hover{color:var(--accent);text-decoration:underline}\
main{padding:2rem clamp(1rem,4vw,4rem) 6rem;max-width:60rem;overflow-wrap:anywhere}\
h1{margin:0 0 .5rem;line-height:1.2}\
h2{margin:3.5rem 0 0;padding-bottom:.4rem;border-bottom:2px solid var(--line)}\
h3{margin:2.5rem 0 .25rem}\
h4{margin:1rem 0 .25rem;font-size:.8rem;letter-spacing:.05em;text-transform:uppercase;color:var(--soft)}\
p{margin:.4rem 0}\
a{color:var(--accent)}\
code,pre{font:.875em/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}\
pre{margin:.6rem 0;padding:.75rem 1rem;background:var(--panel);border-radius:.4rem;overflow-x:auto}\
.at{font-weight:600}\
.verb{display:inline-block;min-width:4.2rem;color:var(--accent)}\
.quiet{color:var(--soft);font-size:.9rem}\
dl{margin:0;border-top:1px solid var(--line)}\
dt{padding-top:.4rem}\
dd{margin:0;padding:0 0 .4rem;border-bottom:1px solid var(--line);color:var(--soft);font-size:.9rem}\
main details{margin:.25rem 0}\
main summary{cursor:pointer}\
dd details{margin-inline-start:1rem}\
:focus-visible{outline:3px solid var(--accent);outline-offset:2px}\
.skip{position:absolute;inset-inline-start:-99rem}.skip:focus{inset-inline-start:1rem;top:1rem;background:var(--ground)}\
@media(max-width:50rem){body{display:block}nav{position:static;height:auto;border:0;border-bottom:1px solid var(--line)}}";

/// How deep shapes are told within each other; what is deeper is one click on its name away.
const DEPTH: usize = 3;

/// The page of a description.
pub(super) fn page(document: &Value) -> String {
    let groups = grouped(document);
    let mut out = String::with_capacity(512 * 1024);
    out.push_str(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Bellwire API reference</title>",
    );
    out.push_str("<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">");
    let _ = write!(out, "<style>{STYLE}</style></head><body><nav aria-label=\"Operations\">");
    out.push_str("<a class=\"skip\" href=\"#main\">To the operations</a><b>Bellwire API</b>");
    for (tag, operations) in &groups {
        let _ = write!(out, "<details><summary>{}</summary><ul>", escaped(tag));
        for operation in operations {
            let (id, summary) = (operation.id(), escaped(text(&operation.what["summary"])));
            let _ = write!(out, "<li><a href=\"#{id}\">{summary}</a></li>");
        }
        out.push_str("</ul></details>");
    }
    out.push_str("<a href=\"#schemas\">Schemas</a><a href=\"/openapi.json\">openapi.json</a></nav><main id=\"main\">");
    let _ = write!(out, "<h1>API reference</h1><p>{}</p>", coded(text(&document["info"]["description"])));
    out.push_str(INTRODUCTION);
    out.push_str("<dl>");
    for (status, response) in document["components"]["responses"].as_object().into_iter().flatten() {
        let told = coded(text(&response["description"]));
        let _ = write!(out, "<dt id=\"error-{status}\"><code>{status}</code></dt><dd>{told}</dd>");
    }
    out.push_str("</dl>");
    for (tag, operations) in &groups {
        let _ = write!(out, "<h2>{}</h2>", escaped(tag));
        for operation in operations {
            operation.write(&mut out, document);
        }
    }
    out.push_str("<h2 id=\"schemas\">Schemas</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        let _ = write!(out, "<h3 id=\"schema-{0}\">{0}</h3>", escaped(name));
        shape(&mut out, schema, 0);
    }
    out.push_str("</main></body></html>");
    out
}

const INTRODUCTION: &str = "<p>Send <code>Authorization: Bearer &lt;key&gt;</code>: a secret key (<code>sk_…</code>) \
from your servers, a public key (<code>pk_…</code>) from browsers and phones. What a public key may ask for belongs to \
one user, who is proven by <code>X-Knock-User-Token</code>.</p>\
<p>Lists come in pages: ask for the next with <code>after</code>, with what <code>page_info.after</code> says.</p>\
<p>Errors are JSON: a <a href=\"#schema-Error\">code, a message, the status and a type</a>. What each status means:</p>";

struct Operation<'a> {
    verb: String,
    path: &'a str,
    what: &'a Value,
}

/// The operations of each tag; tags by name, operations as they are routed.
fn grouped(document: &Value) -> Vec<(&str, Vec<Operation<'_>>)> {
    let mut groups: std::collections::BTreeMap<&str, Vec<Operation<'_>>> = Default::default();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (verb, what) in methods.as_object().into_iter().flatten() {
            let operation = Operation { verb: verb.to_ascii_uppercase(), path, what };
            groups.entry(text(&what["tags"][0])).or_default().push(operation);
        }
    }
    groups.into_iter().collect()
}

impl Operation<'_> {
    /// Its place on the page: an operation may be routed at two paths.
    fn id(&self) -> String {
        let path: String = self.path.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_' || *c == '/').collect();
        format!("{}{}", self.verb.to_ascii_lowercase(), path.replace('/', "-"))
    }

    fn write(&self, out: &mut String, document: &Value) {
        let Operation { verb, path, what } = self;
        let _ = write!(out, "<section><h3 id=\"{}\">{}", self.id(), escaped(text(&what["summary"])));
        if what["deprecated"] == true {
            out.push_str(" <span class=\"quiet\">deprecated</span>");
        }
        let _ =
            write!(out, "</h3><p class=\"at\"><code><span class=\"verb\">{verb}</span> {}</code></p>", escaped(path));
        let _ = write!(out, "<p>{}</p><p class=\"quiet\">{}</p>", coded(text(&what["description"])), self.keys());
        let _ = write!(out, "<pre tabindex=\"0\">{}</pre>", escaped(&self.curl()));
        let parameters = what["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
        for (place, title) in [("path", "Path"), ("query", "Query"), ("header", "Headers")] {
            let of_place = parameters.iter().filter(|parameter| parameter["in"] == place);
            let members = of_place
                .map(|parameter| (text(&parameter["name"]), &parameter["schema"], parameter["required"] == true));
            list(out, title, members, 0);
        }
        if let Some(body) = what.get("requestBody") {
            out.push_str("<h4>Body</h4>");
            whole(out, &body["content"]["application/json"]["schema"], document);
        }
        let mut errors = Vec::new();
        for (status, response) in what["responses"].as_object().into_iter().flatten() {
            if response.get("$ref").is_some() {
                errors.push(format!("<a href=\"#error-{status}\">{status}</a>"));
                continue;
            }
            let _ =
                write!(out, "<h4>Answer</h4><p><code>{status}</code> {}</p>", coded(text(&response["description"])));
            if let Some(schema) = response["content"]["application/json"].get("schema") {
                whole(out, schema, document);
            }
        }
        let _ = write!(out, "<h4>Errors</h4><p class=\"quiet\">{}</p></section>", errors.join(", "));
    }

    /// Who may ask, and how often.
    fn keys(&self) -> String {
        let ways = self.what["security"].as_array().map(Vec::len).unwrap_or_default();
        let grant = self.what["x-grant"].as_str().map(|grant| format!(" that gives <code>{grant}</code>"));
        let grant = grant.unwrap_or_default();
        let keys = match ways {
            1 => "Secret keys.".to_owned(),
            2 => format!("Secret keys; public keys with a user token{grant} on the object."),
            _ => format!("Secret keys; public keys with a user token{grant}, or without one where none is asked for."),
        };
        let tenant = match self.what["x-tenant-in"].as_str() {
            Some("message") => " Keys limited to tenants: for messages of theirs.",
            Some("path") => " Keys limited to tenants: where <code>id</code> is one of them.",
            Some(_) => " Keys limited to tenants: where <code>tenant</code> is one of them.",
            None => "",
        };
        format!("{keys}{tenant} Rate tier {}.", self.what["x-ratelimit-tier"])
    }

    fn curl(&self) -> String {
        let verb = if self.verb == "GET" { String::new() } else { format!(" -X {}", self.verb) };
        let path = self.path.replace('{', "$").replace('}', "");
        let body = if self.what.get("requestBody").is_some() {
            " \\\n  -H 'Content-Type: application/json' -d @body.json"
        } else {
            ""
        };
        format!("curl{verb} \"$URL{path}\" \\\n  -H \"Authorization: Bearer $KEY\"{body}")
    }
}

/// A titled list of members; nothing if there are none.
fn list<'a>(out: &mut String, title: &str, members: impl Iterator<Item = (&'a str, &'a Value, bool)>, depth: usize) {
    let mut members = members.peekable();
    if members.peek().is_none() {
        return;
    }
    if !title.is_empty() {
        let _ = write!(out, "<h4>{title}</h4>");
    }
    out.push_str("<dl>");
    for (name, schema, is_required) in members {
        let _ = write!(out, "<dt><code>{}</code>", escaped(name));
        if is_required {
            out.push_str(" <span class=\"quiet\">required</span>");
        }
        let _ = write!(out, "</dt><dd>{}", kind(schema));
        if let Some(description) = schema["description"].as_str() {
            let _ = write!(out, " {}", coded(description));
        }
        if let Some(inner) = inner(schema).filter(|_| depth < DEPTH) {
            out.push_str("<details><summary>Members</summary>");
            shape(out, inner, depth + 1);
            out.push_str("</details>");
        }
        out.push_str("</dd>");
    }
    out.push_str("</dl>");
}

/// The shape of a body. The members of one that has a name are told beside the name.
fn whole(out: &mut String, schema: &Value, document: &Value) {
    let named = match schema["allOf"].as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => schema,
    };
    if let Some(at) = named["$ref"].as_str() {
        let _ = write!(out, "<p>{}</p>", kind(named));
        if let Some(members) = document.pointer(at.trim_start_matches('#')).filter(|named| inner(named).is_some()) {
            shape(out, members, 0);
        }
    } else {
        shape(out, schema, 0);
    }
}

/// What has members of its own within a member: itself, or its items.
fn inner(schema: &Value) -> Option<&Value> {
    let schema = if schema["type"] == "array" { &schema["items"] } else { schema };
    schema.get("properties").is_some().then_some(schema)
}

/// A shape: its members, or what it is in one line.
fn shape(out: &mut String, schema: &Value, depth: usize) {
    match inner(schema) {
        Some(object) => {
            let required = object["required"].as_array().map(Vec::as_slice).unwrap_or_default();
            if schema["type"] == "array" {
                out.push_str("<p>An array of:</p>");
            }
            let empty = Map::new();
            let properties = object["properties"].as_object().unwrap_or(&empty);
            let members = properties.iter().map(|(name, schema)| {
                let is_required = required.iter().any(|required| required == name.as_str());
                (name.as_str(), schema, is_required)
            });
            list(out, "", members, depth);
            if object.get("additionalProperties").is_some_and(|more| *more != false) {
                out.push_str("<p class=\"quiet\">And members of your own.</p>");
            }
        }
        None => {
            let _ = write!(out, "<p>{}</p>", kind(schema));
        }
    }
}

/// What a schema is, in a line, as HTML.
fn kind(schema: &Value) -> String {
    let mut out = of_kind(schema);
    if schema["nullable"] == true {
        out.push_str(" or null");
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<String> = values
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| format!("<code>{}</code>", escaped(&plain(value))))
            .collect();
        let _ = write!(out, ": {}", values.join(", "));
    }
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let _ = write!(out, "; <code>{}</code> by default", escaped(&plain(default)));
    }
    out
}

fn of_kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = escaped(reference.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    for word in ["allOf", "anyOf", "oneOf"] {
        if let Some(parts) = schema[word].as_array() {
            let between = if word == "allOf" { " and " } else { " or " };
            return parts.iter().map(kind).collect::<Vec<_>>().join(between);
        }
    }
    match schema["type"].as_str() {
        Some("array") => format!("array of {}", kind(&schema["items"])),
        Some(name) => match schema["format"].as_str() {
            Some(format) => format!("{} ({})", escaped(name), escaped(format)),
            None => escaped(name),
        },
        None => "anything".to_owned(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Text in which what stands between backticks is code.
fn coded(text: &str) -> String {
    let mut out = String::new();
    for (at, part) in text.split('`').enumerate() {
        let part = escaped(part);
        if at % 2 == 1 {
            let _ = write!(out, "<code>{part}</code>");
        } else {
            out.push_str(&part);
        }
    }
    out
}
