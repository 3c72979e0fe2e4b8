//! One request to a server of others, and its answer.

use std::net::IpAddr;

use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, http};
use url::{Position, Url};

use super::Body;

/// What a connection needs to itself.
const OWN_HEADERS: [&str; 8] =
    ["host", "content-length", "transfer-encoding", "connection", "keep-alive", "te", "trailer", "upgrade"];

/// A request that can be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Bytes>,
}

/// Whom a request is addressed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    Name(String),
    Address(IpAddr),
}

/// An answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Response {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer, or none that will do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    pub message: String,
    /// Whether it may be otherwise next time.
    pub is_passing: bool,
}

impl Fault {
    /// One that will be the same next time.
    pub fn fatal(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), is_passing: false }
    }

    /// One that may not be there next time.
    pub fn passing(message: impl Into<String>) -> Fault {
        Fault { message: message.into(), is_passing: true }
    }
}

impl Request {
    /// A request to `url`, to whose query `query` is added (W-FET-07). What is wrong with it is said without what may be
    /// secret in it.
    pub fn new(method: &str, url: &str, query: &[(String, String)]) -> Result<Request, String> {
        let method = method.to_ascii_uppercase().parse().map_err(|_| format!("`{method}` is no method"))?;
        let mut url = Url::parse(url).map_err(|error| format!("the URL is invalid: {error}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("the URL must begin with http:// or https://".to_owned());
        }
        if url.host().is_none() {
            return Err("the URL names no host".to_owned());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("the URL must not hold a user name or a password: send them in a header".to_owned());
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url.set_fragment(None);
        Ok(Request { method, url, headers: HeaderMap::new(), body: None })
    }

    /// Adds a header; the first of a name wins where `only_if_new`.
    pub fn set_header(&mut self, name: &str, value: &str, only_if_new: bool) -> Result<(), String> {
        let header = HeaderName::from_bytes(name.trim().as_bytes());
        let header = header.map_err(|_| format!("`{name}` is no name of a header"))?;
        if OWN_HEADERS.contains(&header.as_str()) {
            return Err(format!("the header `{header}` is the connection's own"));
        }
        if only_if_new && self.headers.contains_key(&header) {
            return Ok(());
        }
        let value = HeaderValue::from_bytes(value.trim().as_bytes());
        self.headers.append(&header, value.map_err(|_| format!("the value of the header `{header}` is no good"))?);
        Ok(())
    }

    /// Gives the request a body of JSON.
    pub fn set_body(&mut self, json: String) {
        self.body = Some(json.into());
        self.headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
    }

    /// Gives the request a body as forms have it.
    pub fn set_form(&mut self, pairs: &[(&str, &str)]) {
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(pairs);
        self.body = Some(form.finish().into());
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    }

    /// Whom it is addressed to.
    pub fn host(&self) -> Host {
        match self.url.host() {
            Some(url::Host::Ipv4(address)) => Host::Address(address.into()),
            Some(url::Host::Ipv6(address)) => Host::Address(address.into()),
            Some(url::Host::Domain(name)) => Host::Name(name.trim_end_matches('.').to_owned()),
            None => Host::Name(String::new()),
        }
    }

    /// The port it goes to.
    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().unwrap_or(443)
    }

    /// Whether it goes over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub(super) fn method(&self) -> &Method {
        &self.method
    }

    pub(super) fn url(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    pub(super) fn body(&self) -> Option<&Bytes> {
        self.body.as_ref()
    }

    /// The request as it goes over the line.
    pub(super) fn to_http(&self) -> Result<http::Request<Body>, String> {
        let target = &self.url[Position::BeforePath..Position::AfterQuery];
        let host = &self.url[Position::BeforeHost..Position::AfterPort];
        let mut out = http::Request::builder().method(&self.method).uri(target).header(HOST, host);
        if let Some(headers) = out.headers_mut() {
            headers.extend(self.headers.clone());
            headers.entry(USER_AGENT).or_insert(HeaderValue::from_static("bellwire"));
        }
        let body = self.body.clone().unwrap_or_default();
        out.body(Body::new(body)).map_err(|error| format!("the request is invalid: {error}"))
    }
}

impl Response {
    pub(super) fn new(head: &http::response::Parts, body: Bytes) -> Response {
        Response { status: head.status.as_u16(), headers: head.headers.clone(), body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_query_is_encoded_into_the_url() {
        let query = pairs(&[("since", "1&2"), ("q", "a b/ü")]);
        let request = Request::new("get", "http://h.example:81/p?x=1#part", &query).unwrap();
        assert_eq!(request.url(), "http://h.example:81/p?x=1&since=1%262&q=a+b%2F%C3%BC", "W-FET-07");
        let http = request.to_http().unwrap();
        assert_eq!(http.uri(), "/p?x=1&since=1%262&q=a+b%2F%C3%BC");
        assert_eq!((http.method().as_str(), http.headers()["host"].to_str().unwrap()), ("GET", "h.example:81"));
        assert_eq!((request.port(), request.is_encrypted()), (81, false));
        assert_eq!(Request::new("get", "https://h.example", &[]).unwrap().port(), 443);
    }

    #[test]
    fn what_cannot_be_sent_is_said_without_what_may_be_secret() {
        for (url, said) in [
            ("", "the URL is invalid"),
            ("/path", "the URL is invalid"),
            ("ftp://h/geheim", "must begin with http:// or https://"),
            ("file:///etc/geheim", "must begin with http:// or https://"),
            ("http://", "the URL is invalid"),
            ("https://u:geheim@h.example/", "must not hold a user name"),
            ("http://h.example:99999/geheim", "the URL is invalid"),
        ] {
            let fault = Request::new("get", url, &[]).unwrap_err();
            assert!(fault.contains(said) && !fault.contains("geheim"), "W-FET-25: {url}: {fault}");
        }
        let mut request = Request::new("post", "http://h.example", &[]).unwrap();
        for (name, value, said) in [
            ("a b", "x", "is no name of a header"),
            ("x", "geheim\r\nhost: other", "the value of the header `x` is no good"),
            ("Host", "geheim", "the header `host` is the connection's own"),
            ("Transfer-Encoding", "chunked", "the connection's own"),
        ] {
            let fault = request.set_header(name, value, false).unwrap_err();
            assert!(fault.contains(said) && !fault.contains("geheim"), "W-FET-25: {name}: {fault}");
        }
    }

    #[test]
    fn an_address_is_read_however_it_is_written() {
        for url in ["http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://0177.0.0.1/"] {
            let host = Request::new("get", url, &[]).unwrap().host();
            assert_eq!(host, Host::Address([127, 0, 0, 1].into()), "{url}");
        }
        let host = Request::new("get", "http://[::ffff:7f00:1]/", &[]).unwrap().host();
        assert_eq!(host, Host::Address("::ffff:127.0.0.1".parse().unwrap()));
        let host = Request::new("get", "http://H.Example./", &[]).unwrap().host();
        assert_eq!(host, Host::Name("h.example".to_owned()));
    }

    #[test]
    fn a_body_is_json_unless_a_header_says_otherwise_w_amb_32() {
        let mut request = Request::new("post", "http://h.example", &[]).unwrap();
        request.set_body("{}".to_owned());
        assert_eq!(request.headers()["content-type"], "application/json", "W-AMB-32");
        let mut request = Request::new("post", "http://h.example", &[]).unwrap();
        request.set_header("Content-Type", "application/vnd.x+json", false).unwrap();
        request.set_body("{}".to_owned());
        assert_eq!(request.headers()["content-type"], "application/vnd.x+json", "W-AMB-32");
    }
}
