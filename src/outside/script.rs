//! Answers that are written down beforehand, so that nobody need be asked: a simulation's.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use hyper::Method;
use hyper::header::HeaderMap;
use serde_json::Value;
use url::Url;

use super::request::{Fault, Request, Response};
use crate::model::invalid::unknown;

/// The answers there are, in the order in which they are given.
#[derive(Debug, Default)]
pub struct Script {
    answers: Mutex<Vec<Answer>>,
}

/// What a server is to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// None fits all.
    method: Option<Method>,
    url: Pattern,
    status: u16,
    body: Bytes,
}

#[derive(Debug, Clone, PartialEq)]
enum Pattern {
    /// All that begin so.
    Below(String),
    /// This one; with any query where it names none.
    One(Url),
}

impl Pattern {
    fn fits(&self, url: &str) -> bool {
        match self {
            Pattern::Below(start) => url.starts_with(start.as_str()),
            Pattern::One(one) if one.query().is_some() => url == one.as_str(),
            Pattern::One(one) => url.split('?').next() == Some(one.as_str()),
        }
    }
}

impl Answer {
    /// Reads an answer: an object with `url`, and with `method`, `status` and `body` where they say more.
    pub fn parse(answer: &Value) -> Result<Answer, String> {
        let members = answer.as_object().ok_or_else(|| format!("an answer is an object with `url`: {answer}"))?;
        let known = ["url", "method", "status", "body"];
        if let Some(name) = members.keys().find(|name| !known.contains(&name.as_str())) {
            return Err(format!("an answer's `{name}` {}", unknown(name, &known)));
        }
        let url = members.get("url").and_then(Value::as_str).ok_or("an answer needs a `url`")?;
        let url = match url.strip_suffix('*') {
            Some(start) => Pattern::Below(start.to_owned()),
            None => Pattern::One(Url::parse(url).map_err(|error| format!("the answer's `url` is invalid: {error}"))?),
        };
        let method = members.get("method").map(|word| {
            let method = word.as_str().map(str::to_ascii_uppercase).and_then(|word| word.parse().ok());
            method.ok_or_else(|| format!("the answer's `method` is no method: {word}"))
        });
        let status = match members.get("status") {
            None => Some(200),
            Some(status) => status.as_u64().and_then(|status| u16::try_from(status).ok()),
        };
        let status = status.filter(|status| (200..600).contains(status));
        let body = match members.get("body") {
            None | Some(Value::Null) => Bytes::new(),
            Some(Value::String(text)) => text.clone().into(),
            Some(json) => json.to_string().into(),
        };
        let status = status.ok_or("the answer's `status` must be a whole number from 200 to 599")?;
        Ok(Answer { method: method.transpose()?, url, status, body })
    }

    fn fits(&self, request: &Request) -> bool {
        self.method.as_ref().is_none_or(|method| method == request.method()) && self.url.fits(request.url())
    }
}

impl Script {
    /// Answers that are given in this order.
    pub fn new(answers: Vec<Answer>) -> Script {
        Script { answers: Mutex::new(answers) }
    }

    /// The answer to a request: of those that fit it each is given once, in turn, and the last from then on.
    pub(super) fn answer(&self, request: &Request) -> Result<Response, Fault> {
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = answers.iter().enumerate().filter(|(_, answer)| answer.fits(request)).map(|(at, _)| at);
        let (first, is_last) = (fitting.next(), fitting.next().is_none());
        drop(fitting);
        let Some(at) = first else {
            return Err(Fault::fatal("nobody is called from here, and there is no answer to this request"));
        };
        let Answer { status, body, .. } = if is_last { answers[at].clone() } else { answers.remove(at) };
        Ok(Response { status, headers: HeaderMap::new(), body })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn script(answers: Value) -> Script {
        Script::new(answers.as_array().unwrap().iter().map(|answer| Answer::parse(answer).unwrap()).collect())
    }

    fn ask(script: &Script, method: &str, url: &str) -> Option<(u16, String)> {
        let response = script.answer(&Request::new(method, url, &[]).unwrap()).ok()?;
        Some((response.status, String::from_utf8(response.body.to_vec()).unwrap()))
    }

    #[test]
    fn answers_are_given_in_turn_and_the_last_from_then_on() {
        let script = script(json!([
            {"url": "https://h.example", "status": 500},
            {"url": "https://h.example/", "body": {"n": 1}},
            {"url": "https://other.example/*", "method": "post", "status": 204},
        ]));
        assert_eq!(ask(&script, "get", "https://h.example/?x=1"), Some((500, String::new())));
        for _ in 0..2 {
            assert_eq!(ask(&script, "get", "https://h.example"), Some((200, r#"{"n":1}"#.to_owned())));
        }
        assert_eq!(ask(&script, "get", "https://h.example/deeper"), None);
        assert_eq!(ask(&script, "get", "https://other.example/x"), None, "another method");
        assert_eq!(ask(&script, "post", "https://other.example/x?y"), Some((204, String::new())));
        let script = self::script(json!([{"url": "https://h.example/?x=1", "body": "no {JSON"}]));
        assert_eq!(ask(&script, "get", "https://h.example/"), None, "another query");
        assert_eq!(ask(&script, "get", "https://h.example/?x=1"), Some((200, "no {JSON".to_owned())));
    }

    #[test]
    fn what_is_no_answer_is_said() {
        for (answer, said) in [
            (json!("x"), "an answer is an object with `url`"),
            (json!({"status": 200}), "needs a `url`"),
            (json!({"url": "/x"}), "`url` is invalid"),
            (json!({"url": "https://h.example", "state": 1}), "`state` is not known here (did you mean `status`?)"),
            (json!({"url": "https://h.example", "status": 100}), "`status` must be a whole number from 200 to 599"),
            (json!({"url": "https://h.example", "method": "a b"}), "`method` is no method"),
        ] {
            let fault = Answer::parse(&answer).unwrap_err();
            assert!(fault.contains(said), "{answer}: {fault}");
        }
    }
}
