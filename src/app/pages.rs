//! The pages: the bell for other people's sites, and in development a page to try it on.

mod file;

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use serde_json::{Value, json};

use self::file::File;
use super::development::{self, Identity};
use crate::engine::start::{Asked, trigger};
use crate::store::Env;
use crate::verbs::{Core, Error};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

const CONFIG: &str = "/demo/config";
const TRIGGER: &str = "/demo/trigger";
/// What the bell loads when it is wanted.
const PARTS: &str = "/bell/";

/// What is served as it is: path, type, content. Scripts as `npm run build` leaves them.
const FILES: [(&str, &str, &[u8]); 11] = [
    ("/demo.css", CSS, include_bytes!("../../widget/demo.css")),
    ("/demo.js", JS, include_bytes!("../../widget/dist/demo.js")),
    ("/bell.js", JS, include_bytes!("../../widget/dist/bell.js")),
    ("/feed.js", JS, include_bytes!("../../widget/dist/feed.js")),
    ("/bell/panel.js", JS, include_bytes!("../../widget/dist/bell/panel.js")),
    ("/bell/preferences.js", JS, include_bytes!("../../widget/dist/bell/preferences.js")),
    ("/bell/lang/ar.js", JS, include_bytes!("../../widget/dist/bell/lang/ar.js")),
    ("/bell/lang/de.js", JS, include_bytes!("../../widget/dist/bell/lang/de.js")),
    ("/bell/lang/es.js", JS, include_bytes!("../../widget/dist/bell/lang/es.js")),
    ("/bell/lang/fr.js", JS, include_bytes!("../../widget/dist/bell/lang/fr.js")),
    ("/bell/lang/ja.js", JS, include_bytes!("../../widget/dist/bell/lang/ja.js")),
];
const DEMO: &[u8] = include_bytes!("../../widget/demo.html");
const ABOUT: &str = concat!(
    "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Bellwire</title><p>Bellwire ",
    env!("CARGO_PKG_VERSION"),
    " is running. Its API is below <code>/v1</code>."
);

/// Answers requests for pages.
pub struct Pages {
    core: Arc<Core>,
    demo: Option<Demo>,
    /// By their paths.
    files: Vec<(&'static str, File)>,
    /// What stands at the root.
    root: File,
}

/// What the demo page needs.
pub(super) struct Demo {
    pub(super) identity: Identity,
    pub(super) env: Env,
    pub(super) channel: Option<String>,
    pub(super) origin: String,
}

impl Pages {
    pub(super) fn new(core: Arc<Core>, demo: Option<Demo>) -> Self {
        let root = if demo.is_some() { DEMO } else { ABOUT.as_bytes() };
        Pages { core, demo, files: files(), root: File::new(HTML, root, false) }
    }

    /// Whether `path` is a page's.
    pub fn has(&self, path: &str) -> bool {
        match path {
            "/" => true,
            CONFIG | TRIGGER => self.demo.is_some(),
            _ => self.files.iter().any(|(at, _)| *at == path),
        }
    }

    /// Answers a request for a page; `body` is what was sent.
    pub async fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        let path = uri.path();
        if let Some((_, file)) = self.files.iter().find(|(at, _)| *at == path) {
            // A bell of another version would run with a part that it does not know: it tries again, or its page is loaded anew.
            if path.starts_with(PARTS) && file.is_called_otherwise(uri) {
                let message = "This part belongs to another version of /bell.js.";
                return json_response(StatusCode::NOT_FOUND, &json!({"message": message}));
            }
            return file.answer(method, uri, headers);
        }
        match (path, &self.demo) {
            ("/", _) => self.root.answer(method, uri, headers),
            (CONFIG | TRIGGER, Some(demo)) if !demo.is_addressed(headers) => {
                let message = format!("The demo only answers to the page at {}.", demo.origin);
                json_response(StatusCode::FORBIDDEN, &json!({"message": message}))
            }
            (CONFIG, Some(demo)) if method == Method::GET => json_response(StatusCode::OK, &demo.facts(&self.core)),
            (TRIGGER, Some(demo)) if method == Method::POST => demo.trigger(&self.core, body).await,
            (CONFIG | TRIGGER, Some(_)) => no_method(if path == TRIGGER { "POST" } else { "GET" }),
            _ => json_response(StatusCode::NOT_FOUND, &json!({"message": "There is no such page."})),
        }
    }
}

/// The files, ready to be sent.
fn files() -> Vec<(&'static str, File)> {
    FILES.iter().map(|(at, kind, content)| (*at, File::new(kind, content, true))).collect()
}

impl Demo {
    /// Whether the request comes from our own page: the answers hold keys, and another site could make a name of its
    /// own point here.
    fn is_addressed(&self, headers: &HeaderMap) -> bool {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let Some(host) = text(header::HOST) else { return false };
        let (_, ours) = self.origin.split_once("://").unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let is_ours = host == ours || matches!(name, "localhost" | "127.0.0.1" | "[::1]");
        let from = text(header::ORIGIN).and_then(|origin| origin.split_once("://"));
        is_ours && from.is_none_or(|(_, from)| from == host)
    }

    fn facts(&self, core: &Core) -> Value {
        let workflows = core.catalog.workflows(self.env);
        let told: Vec<Value> = workflows
            .iter()
            .map(|workflow| {
                json!({
                    "key": workflow.key,
                    "name": workflow.name,
                    "description": workflow.description,
                    "example": development::example(workflow),
                })
            })
            .collect();
        json!({
            "public_key": self.identity.public_key,
            "secret_key": self.identity.secret_key,
            "user": development::USER,
            "recipient": development::recipient(),
            "actor": development::ACTOR,
            "user_token": self.identity.user_token(core.clock.now()),
            "channel": self.channel,
            "workflows": told,
        })
    }

    async fn trigger(&self, core: &Core, body: &[u8]) -> Response<Full<Bytes>> {
        let asked: Value = serde_json::from_slice(body).unwrap_or_default();
        let Some(workflow) = asked["workflow"].as_str() else {
            let message = "Send {\"workflow\": its key, \"data\": an object}.";
            return json_response(StatusCode::UNPROCESSABLE_ENTITY, &json!({"message": message}));
        };
        let body = json!({
            "recipients": [development::recipient()],
            "actor": development::actor(),
            "data": asked.get("data").cloned().unwrap_or_else(|| json!({})),
        });
        let asked = Asked { env: self.env, workflow, request_id: "demo", idempotency: None };
        match trigger(core, &asked, body).await {
            Ok(answer) => respond(StatusCode::OK, JSON, Bytes::from(answer.body)),
            Err(error) => json_response(status_of(&error), &json!({"message": error.to_string()})),
        }
    }
}

fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        Error::WorkflowMissing(_) => StatusCode::NOT_FOUND,
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

fn no_method(allowed: &'static str) -> Response<Full<Bytes>> {
    let message = format!("Use {allowed} here.");
    let mut response = json_response(StatusCode::METHOD_NOT_ALLOWED, &json!({"message": message}));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    response
}

fn json_response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut response = respond(status, JSON, Bytes::from(body.to_string()));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn respond(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses of what `source` imports, from its own on, without what follows a `?`.
    fn imports(source: &str) -> Vec<&str> {
        let quoted = source.split("\"./").skip(1).filter_map(|rest| rest.split('"').next());
        quoted.filter_map(|path| path.split('?').next()).filter(|path| path.ends_with(".js")).collect()
    }

    #[test]
    fn everything_the_pages_load_is_served() {
        let served = |path: &str| FILES.iter().any(|(at, _, _)| *at == path);
        let demo = std::str::from_utf8(DEMO).expect("text");
        // What it leads to is another matter.
        let mut loaded: Vec<String> = [("<link", "href=\""), ("<script", "src=\"")]
            .iter()
            .flat_map(|(tag, attribute)| {
                let tags = demo.split(tag).skip(1).filter_map(|rest| rest.split('>').next());
                tags.filter_map(move |tag| tag.split_once(attribute)?.1.split('"').next())
            })
            .filter(|path| path.starts_with('/'))
            .map(str::to_owned)
            .collect();
        for (at, _, content) in FILES {
            let source = std::str::from_utf8(content).expect("text");
            let (folder, _) = at.rsplit_once('/').expect("it begins with one");
            loaded.extend(imports(source).iter().map(|name| format!("{folder}/{name}")));
        }
        assert!(loaded.len() > 8, "{loaded:?}");
        for path in loaded {
            assert!(served(&path), "{path} is not served");
        }
    }

    #[test]
    fn whatever_is_imported_by_its_digest_is_just_that_and_so_is_what_the_snippet_names() {
        let pages = files();
        let find = |path: &str| &pages.iter().find(|(at, _)| *at == path).expect(path).1;
        let mut named = 0;
        for (at, _, content) in FILES {
            let (folder, _) = at.rsplit_once('/').expect("it begins with one");
            let source = std::str::from_utf8(content).expect("text");
            for (path, version) in
                source.split("\"./").skip(1).filter_map(|rest| rest.split('"').next()?.split_once("?v="))
            {
                assert_eq!(find(&format!("{folder}/{path}")).version(), version, "{at} imports {path}: npm run build");
                named += 1;
            }
        }
        assert!(named > 5, "{named}");
    }

    #[test]
    fn the_demo_answers_to_its_own_page_only() {
        let demo = Demo {
            identity: Identity {
                public_key: "pk_a".into(),
                secret_key: "sk_a".into(),
                signing_key: development::Signing { kid: "k".into(), alg: "hs256".into(), secret: "AAAA".into() },
            },
            env: 1,
            channel: None,
            origin: "http://127.0.0.1:4000".into(),
        };
        let asks = |host: &'static str, origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            demo.is_addressed(&headers)
        };
        assert!(asks("127.0.0.1:4000", None));
        assert!(asks("localhost:4000", Some("http://localhost:4000")));
        assert!(!asks("127.0.0.1:4000", Some("https://evil.example")));
        assert!(!asks("evil.example:4000", Some("http://evil.example:4000")));
        assert!(!asks("evil.example:4000", None));
    }
}
