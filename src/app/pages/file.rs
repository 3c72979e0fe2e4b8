//! A file that is served as it is: compressed once, known by its digest, and kept for good where its address names that.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::Full;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::{no_method, respond};
use crate::sign::api_key::hex;

/// The demo page may load and reach nothing but this server; pictures in notifications come from anywhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: https:; \
    connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
/// Kept, but asked about each time: a new version shows at once, also to a page whose address names an old one.
const ASK: &str = "no-cache";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// How much of the digest an address names, and how much tells versions apart.
const VERSION_DIGITS: usize = 12;
const TAG_DIGITS: usize = 16;

/// A file, ready to be sent.
pub(super) struct File {
    kind: &'static str,
    content: Bytes,
    gzipped: Bytes,
    digest: String,
    is_open: bool,
}

impl File {
    /// A file of this type; `is_open` says that other sites may load it.
    pub(super) fn new(kind: &'static str, content: &'static [u8], is_open: bool) -> File {
        let content = Bytes::from_static(content);
        File { kind, gzipped: gzip(&content), digest: hex(&Sha256::digest(&content)), content, is_open }
    }

    /// What an address says as `v` for the file to be kept for ever.
    pub(super) fn version(&self) -> &str {
        &self.digest[..VERSION_DIGITS]
    }

    /// Whether an address names another version of it.
    pub(super) fn is_called_otherwise(&self, uri: &Uri) -> bool {
        let mut pairs = uri.query().unwrap_or_default().split('&');
        pairs.any(|pair| pair.starts_with("v=") && !self.is_named_by(pair))
    }

    /// Answers a request for the file.
    pub(super) fn answer(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Response<Full<Bytes>> {
        if method != Method::GET && method != Method::HEAD {
            return no_method("GET, HEAD");
        }
        let tag = format!("\"{}\"", &self.digest[..TAG_DIGITS]);
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        let is_known = text(header::IF_NONE_MATCH).split(',').any(|known| known.trim().trim_start_matches("W/") == tag);
        let is_gzipped = takes_gzip(text(header::ACCEPT_ENCODING));
        let content = if is_gzipped { &self.gzipped } else { &self.content };
        let is_named = uri.query().is_some_and(|query| query.split('&').any(|pair| self.is_named_by(pair)));
        let mut response = match (is_known, method == Method::HEAD) {
            (true, _) => respond(StatusCode::NOT_MODIFIED, self.kind, Bytes::new()),
            (false, true) => respond(StatusCode::OK, self.kind, Bytes::new()),
            (false, false) => respond(StatusCode::OK, self.kind, content.clone()),
        };
        let out = response.headers_mut();
        let mut say = |name: HeaderName, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                out.insert(name, value);
            }
        };
        // Weak: it stands for what is compressed as well.
        say(header::ETAG, &format!("W/{tag}"));
        say(header::CACHE_CONTROL, if is_named { FOR_EVER } else { ASK });
        say(header::VARY, "accept-encoding");
        say(header::CONTENT_SECURITY_POLICY, POLICY);
        if !is_known {
            say(header::CONTENT_LENGTH, &content.len().to_string());
            if is_gzipped {
                say(header::CONTENT_ENCODING, "gzip");
            }
        }
        if self.is_open {
            // Other sites load the bell as a module, which the browser only allows with these.
            say(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
            say(HeaderName::from_static("cross-origin-resource-policy"), "cross-origin");
        }
        response
    }

    fn is_named_by(&self, pair: &str) -> bool {
        pair.strip_prefix("v=") == Some(self.version())
    }
}

fn gzip(content: &[u8]) -> Bytes {
    let mut out = GzEncoder::new(Vec::new(), Compression::best());
    let written = out.write_all(content).and_then(|()| out.finish());
    written.expect("memory takes whatever is written").into()
}

/// Whether a client says that it reads gzip.
fn takes_gzip(accepted: &str) -> bool {
    let takes = |name: &str| {
        let (_, rest) = accepted
            .split(',')
            .map(|one| one.split_once(';').unwrap_or((one, "")))
            .find(|(one, _)| one.trim().eq_ignore_ascii_case(name))?;
        let weight = rest.trim().strip_prefix("q=").map_or(Ok(1.0), str::parse::<f32>);
        Some(weight.is_ok_and(|weight| weight > 0.0))
    };
    takes("gzip").or_else(|| takes("*")).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use http_body_util::BodyExt as _;

    use super::*;

    const CONTENT: &[u8] = b"export const a = 1; export const b = 1; export const c = 1;";
    const KIND: &str = "text/javascript; charset=utf-8";

    fn file() -> File {
        File::new(KIND, CONTENT, true)
    }

    fn ask(method: &Method, uri: &str, headers: &[(HeaderName, &str)]) -> Response<Full<Bytes>> {
        let headers = headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        file().answer(method, &uri.parse().unwrap(), &headers.collect())
    }

    async fn body(response: Response<Full<Bytes>>) -> Vec<u8> {
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    #[test]
    fn what_is_named_by_its_digest_is_kept_for_ever_and_whatever_else_is_asked_about() {
        assert_eq!(file().version(), &hex(&Sha256::digest(CONTENT))[..12]);
        for (query, cache) in [
            (format!("?v={}", file().version()), FOR_EVER),
            (format!("?a=b&v={}&c", file().version()), FOR_EVER),
            ("?v=000000000000".to_owned(), ASK),
            (format!("?v={}0", file().version()), ASK),
            (format!("?v={}", &file().version()[..11]), ASK),
            (format!("?w={}", file().version()), ASK),
            (String::new(), ASK),
        ] {
            let answer = ask(&Method::GET, &format!("/bell.js{query}"), &[]);
            assert_eq!(
                (answer.status(), &answer.headers()[header::CACHE_CONTROL]),
                (StatusCode::OK, &cache.parse().unwrap())
            );
            assert_eq!(answer.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
            assert_eq!(answer.headers()["cross-origin-resource-policy"], "cross-origin");
            assert_eq!(answer.headers()[header::CONTENT_TYPE], KIND);
        }
        let page = File::new(KIND, CONTENT, false).answer(&Method::GET, &Uri::from_static("/"), &HeaderMap::new());
        assert!(!page.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
        assert!(!page.headers().contains_key("cross-origin-resource-policy"));
    }

    #[tokio::test]
    async fn it_is_compressed_for_whoever_takes_that() {
        for (accepted, is_gzipped) in [
            ("gzip", true),
            ("br;q=1.0, GZIP;q=0.2, *;q=0", true),
            ("gzip, deflate, br, zstd", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("identity", false),
            ("", false),
        ] {
            let answer = ask(&Method::GET, "/", &[(header::ACCEPT_ENCODING, accepted)]);
            assert_eq!(answer.headers()[header::VARY], "accept-encoding", "{accepted}");
            assert_eq!(answer.headers().contains_key(header::CONTENT_ENCODING), is_gzipped, "{accepted}");
            let length = answer.headers()[header::CONTENT_LENGTH].clone();
            let sent = body(answer).await;
            assert_eq!(length, sent.len().to_string(), "{accepted}");
            let mut content = Vec::new();
            match is_gzipped {
                true => _ = GzDecoder::new(&*sent).read_to_end(&mut content).unwrap(),
                false => content = sent,
            }
            assert_eq!(content, CONTENT, "{accepted}");
        }
    }

    #[tokio::test]
    async fn a_file_that_the_browser_has_is_not_sent_again() {
        let first = ask(&Method::GET, "/", &[]);
        let tag = first.headers()[header::ETAG].to_str().unwrap().to_owned();
        let strong = tag.trim_start_matches("W/").to_owned();
        for known in [tag.clone(), strong, format!("\"x\", {tag}")] {
            let encoding = (header::ACCEPT_ENCODING, "gzip");
            let again = ask(&Method::GET, "/", &[(header::IF_NONE_MATCH, &known), encoding]);
            assert_eq!(
                (again.status(), &again.headers()[header::ETAG]),
                (StatusCode::NOT_MODIFIED, &tag.parse().unwrap())
            );
            assert_eq!(again.headers()[header::VARY], "accept-encoding");
            assert!(body(again).await.is_empty(), "{known}");
        }
        assert_eq!(ask(&Method::GET, "/", &[(header::IF_NONE_MATCH, "W/\"x\"")]).status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn a_head_says_what_would_come_and_other_methods_are_refused() {
        let (whole, head) = (ask(&Method::GET, "/", &[]), ask(&Method::HEAD, "/", &[]));
        assert_eq!((head.status(), head.headers()), (StatusCode::OK, whole.headers()));
        assert!(body(head).await.is_empty());
        assert_eq!(ask(&Method::POST, "/", &[]).status(), StatusCode::METHOD_NOT_ALLOWED);
    }
}
