//! The pages: the bell for other people's sites, and in development a page to try it on.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::development::{self, Identity};
use crate::engine::start::{Asked, trigger};
use crate::sign::api_key::digest;
use crate::store::Env;
use crate::verbs::{Core, Error};

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json";

/// The demo page may load and reach nothing but this server; pictures in notifications come from anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const CONFIG: &str = "/demo/config";
const TRIGGER: &str = "/demo/trigger";

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
        Pages { core, demo }
    }

    /// Whether `path` is a page's.
    pub fn has(&self, path: &str) -> bool {
        match path {
            "/" => true,
            CONFIG | TRIGGER => self.demo.is_some(),
            _ => FILES.iter().any(|(at, _, _)| *at == path),
        }
    }

    /// Answers a request for a page; `body` is what was sent.
    pub async fn answer(&self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        if let Some((_, kind, content)) = FILES.iter().find(|(at, _, _)| *at == path) {
            // Other sites load the bell as a module, which the browser only allows with this.
            return file(method, headers, kind, content, true);
        }
        match (path, &self.demo) {
            ("/", Some(_)) => file(method, headers, HTML, DEMO, false),
            ("/", None) => file(method, headers, HTML, ABOUT.as_bytes(), false),
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
            "user": development::USER,
            "user_token": self.identity.user_token(core.clock.now()),
            "channel": self.channel,
            "workflows": told,
            "curl": workflows.first().map(|workflow| self.identity.curl(&self.origin, workflow)).unwrap_or_default(),
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

fn file(
    method: &Method,
    headers: &HeaderMap,
    kind: &'static str,
    content: &'static [u8],
    open: bool,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return no_method("GET, HEAD");
    }
    let tag = format!("\"{}\"", digest(&String::from_utf8_lossy(content)).get(..16).unwrap_or_default());
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|one| one.trim() == tag));
    let mut response = match (is_known, method == Method::HEAD) {
        (true, _) => respond(StatusCode::NOT_MODIFIED, kind, Bytes::new()),
        (false, true) => respond(StatusCode::OK, kind, Bytes::new()),
        (false, false) => respond(StatusCode::OK, kind, Bytes::from_static(content)),
    };
    let out = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        out.insert(header::ETAG, tag);
    }
    // Kept, but asked about each time: a new version shows at once.
    out.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    if open {
        out.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    }
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
        let mut loaded: Vec<String> = ["href=\"", "src=\""]
            .iter()
            .flat_map(|attribute| demo.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()))
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
    fn a_file_that_the_browser_has_is_not_sent_again() {
        let (_, kind, content) = FILES[0];
        let first = file(&Method::GET, &HeaderMap::new(), kind, content, true);
        assert_eq!(first.status(), StatusCode::OK);
        assert_eq!(first.headers()[header::CONTENT_TYPE], CSS);
        let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone())]);
        assert_eq!(file(&Method::GET, &headers, kind, content, true).status(), StatusCode::NOT_MODIFIED);
        let refused = file(&Method::POST, &headers, kind, content, true);
        assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
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
