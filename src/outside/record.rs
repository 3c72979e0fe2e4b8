//! What is kept of an exchange: everything that helps, and nothing that opens a door (W-RUN-18).

use std::borrow::Cow;

use hyper::header::HeaderMap;
use serde_json::{Map, Value, json};

use super::Reply;
use super::request::{Request, Response};
use crate::model::secret::{HIDDEN, is_telling};

/// Bytes of a body that are kept at most.
const KEPT: usize = 64 << 10;
/// The shortest secret that is looked for: shorter ones stand everywhere.
const LEAST_SECRET: usize = 6;

/// Secrets, in every form in which they may be met.
#[derive(Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The texts within these values.
    pub fn of(values: &Map<String, Value>) -> Secrets {
        let mut texts = Vec::new();
        values.values().for_each(|value| gather(value, &mut texts));
        let mut forms: Vec<String> = texts
            .into_iter()
            .filter(|text| text.len() >= LEAST_SECRET)
            .flat_map(|text| {
                let encoded = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
                let quoted = json!(text).to_string();
                [text.clone(), encoded, quoted[1..quoted.len() - 1].to_owned()]
            })
            .collect();
        // The longest first: one may be part of another.
        forms.sort_by_key(|form| std::cmp::Reverse(form.len()));
        forms.dedup();
        Secrets(forms)
    }

    /// The text without them.
    pub fn hide<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let mut out = Cow::Borrowed(text);
        for secret in self.0.iter().filter(|secret| text.contains(secret.as_str())) {
            out = Cow::Owned(out.replace(secret.as_str(), HIDDEN));
        }
        out
    }
}

fn gather(value: &Value, texts: &mut Vec<String>) {
    match value {
        Value::String(text) => texts.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| gather(item, texts)),
        Value::Object(members) => members.values().for_each(|member| gather(member, texts)),
        _ => {}
    }
}

/// What of an exchange is kept.
pub fn kept(reply: &Reply, secrets: &Secrets) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("request".to_owned(), request(&reply.request, secrets));
    out.insert("duration_ms".to_owned(), reply.duration_ms.into());
    if let Ok(answer) = &reply.result {
        out.insert("response".to_owned(), response(answer, secrets));
    }
    out
}

fn request(request: &Request, secrets: &Secrets) -> Value {
    let mut out = json!({
        "method": request.method().as_str(),
        "url": secrets.hide(request.url()),
        "headers": headers(request.headers(), secrets),
    });
    body(&mut out, request.body().map(AsRef::as_ref).unwrap_or_default(), secrets);
    out
}

fn response(response: &Response, secrets: &Secrets) -> Value {
    let mut out = json!({"status": response.status, "headers": headers(&response.headers, secrets)});
    body(&mut out, &response.body, secrets);
    out
}

/// Puts a body beside the rest; of a long one its beginning, and how long it is.
fn body(out: &mut Value, bytes: &[u8], secrets: &Secrets) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT)]);
    out["body"] = match bytes.is_empty() {
        true => Value::Null,
        false => secrets.hide(&text).into(),
    };
    if bytes.len() > KEPT {
        out["body_bytes"] = bytes.len().into();
    }
}

fn headers(headers: &HeaderMap, secrets: &Secrets) -> Value {
    let mut out = Map::new();
    for name in headers.keys() {
        let values = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
        let text = values.collect::<Vec<_>>().join(", ");
        let text = if is_telling(name.as_str()) { Cow::Borrowed(HIDDEN) } else { secrets.hide(&text) };
        out.insert(name.as_str().to_owned(), text.into());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outside::request::Fault;

    #[test]
    fn what_opens_a_door_is_not_kept_w_run_18() {
        let Value::Object(vars) =
            json!({"token": "geheim&\"1", "deep": {"list": ["verschwiegen"]}, "short": "ab", "n": 1})
        else {
            panic!("an object")
        };
        let secrets = Secrets::of(&vars);
        let query = [("t".to_owned(), "geheim&\"1".to_owned())];
        let mut request = Request::new("post", "https://h.example/verschwiegen/ab", &query).unwrap();
        for name in ["Authorization", "X-Api-Key", "Cookie", "x-auth-token"] {
            request.set_header(name, "hidden-anyway", false).unwrap();
        }
        request.set_header("x-trace", "1 verschwiegen", false).unwrap();
        request.set_header("idempotency-key", "shown", false).unwrap();
        request.set_body(json!({"t": "geheim&\"1"}).to_string());
        let reply = Reply { request, duration_ms: 12, result: Err(Fault::passing("no answer")) };
        let kept = Value::Object(kept(&reply, &secrets));
        let text = kept.to_string();
        for secret in ["geheim", "verschwiegen", "hidden-anyway"] {
            assert!(!text.contains(secret), "W-RUN-18: {text}");
        }
        let request = &kept["request"];
        assert_eq!(request["url"], "https://h.example/[redacted]/ab?t=[redacted]", "W-RUN-18");
        assert_eq!(request["body"], r#"{"t":"[redacted]"}"#, "W-RUN-18");
        assert_eq!(
            (&request["headers"]["x-trace"], &kept["duration_ms"]),
            (&json!("1 [redacted]"), &json!(12)),
            "W-RUN-18"
        );
        assert_eq!(request["headers"]["idempotency-key"], "shown");
        assert_eq!(request["headers"]["authorization"], HIDDEN);
    }

    #[test]
    fn of_a_long_body_the_beginning_is_kept() {
        let mut request = Request::new("post", "https://h.example/", &[]).unwrap();
        request.set_body("ü".repeat(KEPT));
        let reply = Reply { request, duration_ms: 0, result: Err(Fault::passing("")) };
        let kept = Value::Object(kept(&reply, &Secrets::default()));
        assert_eq!(kept["request"]["body"].as_str().unwrap().len(), KEPT);
        assert_eq!(kept["request"]["body_bytes"], 2 * KEPT);
    }
}
