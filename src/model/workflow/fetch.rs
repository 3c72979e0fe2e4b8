//! The settings of a step that fetches something over HTTP.

use serde_json::Value;

use super::reader::{Node, Reader};
use crate::template::Template;
use crate::template::json::JsonTemplate;

/// A request, and where its answer is put (W-FET-01).
#[derive(Debug)]
pub struct Fetch {
    pub method: Method,
    pub url: Template,
    pub headers: Pairs,
    pub query_params: Pairs,
    pub body: Option<JsonTemplate>,
    /// The members, one inside the other, under which the answer is put; none puts its own members beside the data's
    /// (W-FET-16).
    pub response_path: Vec<String>,
    /// What the request is signed with (W-FET-30).
    pub signing_key: Option<Template>,
}

/// The methods that are sent (W-FET-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
    Patch,
}

impl Method {
    /// The method's name in documents.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "get",
            Method::Post => "post",
            Method::Put => "put",
            Method::Delete => "delete",
            Method::Patch => "patch",
        }
    }

    /// Whether a body is sent (W-AMB-32).
    pub fn has_body(self) -> bool {
        matches!(self, Method::Post | Method::Put | Method::Patch)
    }
}

/// Names with values (W-FET-03).
#[derive(Debug)]
pub enum Pairs {
    List(Vec<(Template, Template)>),
    /// What renders to a JSON object.
    Object(JsonTemplate),
}

const KEYS: [&str; 8] =
    ["method", "url", "headers", "query_params", "body", "json_body", "response_path", "signing_key"];

/// What a step may hold that takes its request from elsewhere.
const SHARED: [&str; 6] =
    ["inputs", "data_inputs", "request_key", "reusable_request_key", "request_template_key", "template_key"];

impl Reader<'_> {
    pub(super) fn fetch(&mut self, node: &Node<'_>) -> Option<Fetch> {
        let settings = self.function(node, "`url`")?;
        for key in SHARED.into_iter().filter(|key| settings.get(key).is_some()) {
            // W-FET-08: how a step names one is not published.
            let problem = "this version can't take a request from elsewhere; write the request itself into the step";
            self.wrong(settings.at(key), problem);
        }
        self.known(&settings, &[&KEYS[..], &SHARED[..]].concat());
        let method = self.method(&settings);
        let url = self.required_text(&settings, "url");
        let url = url.and_then(|text| self.template_of(text, &settings.at("url")));
        let headers = self.pairs(&settings, "headers");
        let query_params = self.pairs(&settings, "query_params");
        let body = self.request_body(&settings);
        let response_path = self.response_path(&settings);
        let key = self.text(&settings, "signing_key").filter(|text| !text.is_empty());
        let signing_key = key.and_then(|text| self.template_of(text, &settings.at("signing_key")));
        Some(Fetch {
            method: method?,
            url: url?,
            headers: headers?,
            query_params: query_params?,
            body,
            response_path,
            signing_key,
        })
    }

    fn method(&mut self, settings: &Node<'_>) -> Option<Method> {
        let Some(word) = settings.get("method") else { return Some(Method::Get) };
        let methods = [Method::Get, Method::Post, Method::Put, Method::Delete, Method::Patch];
        let method = methods.into_iter().find(|method| word == method.name());
        if method.is_none() {
            self.wrong(settings.at("method"), "must be get, post, put, delete or patch");
        }
        method
    }

    fn pairs(&mut self, settings: &Node<'_>, key: &str) -> Option<Pairs> {
        let at = settings.at(key);
        match settings.get(key) {
            None => Some(Pairs::List(Vec::new())),
            Some(Value::String(text)) if text.trim().is_empty() => Some(Pairs::List(Vec::new())),
            Some(Value::String(text)) => {
                let read = JsonTemplate::parse(text);
                read.map_err(|error| self.wrong(at, error.to_string())).ok().map(Pairs::Object)
            }
            Some(Value::Array(items)) => {
                let pairs: Vec<Option<_>> =
                    items.iter().enumerate().map(|(i, item)| self.pair(item, &format!("{at}[{i}]"))).collect();
                pairs.into_iter().collect::<Option<Vec<_>>>().map(Pairs::List)
            }
            Some(_) => {
                self.wrong(
                    at,
                    "must be a list of objects with `key` and `value`, or text that renders to a JSON object",
                );
                None
            }
        }
    }

    fn pair(&mut self, item: &Value, path: &str) -> Option<(Template, Template)> {
        let node = self.object(item, path)?;
        self.known(&node, &["key", "value"]);
        let key = self.required_text(&node, "key")?;
        let key = self.template_of(key, &node.at("key"));
        let value = match node.get("value") {
            None => Some(""),
            Some(_) => self.text(&node, "value"),
        };
        let value = value.and_then(|text| self.template_of(text, &node.at("value")));
        Some((key?, value?))
    }

    /// W-AMB-32: some write `json_body`.
    fn request_body(&mut self, settings: &Node<'_>) -> Option<JsonTemplate> {
        let key = match (settings.get("body"), settings.get("json_body")) {
            (Some(_), Some(_)) => {
                self.wrong(settings.at("json_body"), "is another name of `body`: set one of them");
                return None;
            }
            (None, Some(_)) => "json_body",
            _ => "body",
        };
        let text = self.text(settings, key).filter(|text| !text.trim().is_empty())?;
        let read = JsonTemplate::parse(text);
        read.map_err(|error| self.wrong(settings.at(key), error.to_string())).ok()
    }

    fn response_path(&mut self, settings: &Node<'_>) -> Vec<String> {
        let Some(path) = self.text(settings, "response_path").filter(|path| !path.is_empty()) else {
            return Vec::new();
        };
        let members: Vec<String> = path.split('.').map(str::to_owned).collect();
        if members.iter().any(String::is_empty) {
            self.wrong(settings.at("response_path"), "must be names with dots between them, such as digest or a.b");
        }
        members
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workflow::{StepKind, Workflow};
    use serde_json::json;

    fn read(settings: Value) -> Result<Fetch, String> {
        let step = json!({"type": "http_fetch", "ref": "http_fetch_1", "settings": settings});
        let read = Workflow::parse("asks", &json!({"name": "Asks", "steps": [step]}), &[]);
        let read = read.map(|mut workflow| workflow.steps.remove(0).kind);
        match read {
            Ok(StepKind::Fetch(fetch)) => Ok(fetch),
            Ok(_) => panic!("a fetch step"),
            Err(problems) => Err(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")),
        }
    }

    #[test]
    fn a_request_is_read_w_fet_01_w_fet_02_w_fet_03_w_fet_05() {
        let fetch = read(json!({"url": "https://h.example", "headers": null, "body": null})).unwrap();
        assert_eq!((fetch.method, fetch.body.is_none(), fetch.response_path.len()), (Method::Get, true, 0), "W-FET-02");
        let fetch =
            read(json!({"method": "patch", "url": "{{ vars.api }}", "headers": [{"key": "a", "value": "{{ x }}"}],
            "query_params": "{{ data.q | json }}", "json_body": "{}", "response_path": "a.b", "signing_key": "k"}));
        let fetch = fetch.unwrap();
        assert_eq!(
            (fetch.method, fetch.response_path),
            (Method::Patch, vec!["a".to_owned(), "b".to_owned()]),
            "W-FET-16"
        );
        assert!(matches!(fetch.headers, Pairs::List(list) if list.len() == 1), "W-FET-03");
        assert!(matches!(fetch.query_params, Pairs::Object(_)), "W-FET-03");
        assert!(fetch.body.is_some() && fetch.signing_key.is_some(), "W-AMB-32 W-FET-05");
    }

    #[test]
    fn what_a_request_cannot_be_is_said() {
        let with = |key: &str, value: Value| json!({"url": "https://h.example", key: value});
        for (settings, said) in [
            (json!({}), "settings.url: is required"),
            (json!(null), "settings: is required, with `url`"),
            (with("method", json!("GET")), "settings.method: must be get, post, put, delete or patch"),
            (with("headers", json!({"a": "b"})), "settings.headers: must be a list of objects"),
            (with("headers", json!([{"value": "b"}])), "settings.headers[0].key: is required"),
            (with("query_params", json!([{"key": "a", "value": 1}])), "settings.query_params[0].value: must be text"),
            (with("body", json!({"a": 1})), "settings.body: must be text"),
            (with("body", json!("{{ x")), "settings.body: line 1"),
            (json!({"url": "u", "body": "{}", "json_body": "{}"}), "json_body: is another name of `body`"),
            (with("response_path", json!("a..b")), "settings.response_path: must be names"),
            (with("inputs", json!({"id": 1})), "settings.inputs: this version can't take a request from elsewhere"),
            (with("urls", json!("x")), "unknown key `urls`"),
        ] {
            let problem = read(settings.clone()).expect_err(said);
            assert!(problem.contains(said), "W-FET-01 W-FET-08: {settings} gave {problem}");
        }
    }
}
