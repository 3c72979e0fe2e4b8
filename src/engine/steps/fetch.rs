//! Fetches something over HTTP, for all later steps.

use serde_json::{Map, Value, json};

use crate::engine::run::{Call, Ended, Stretch};
use crate::model::ids::call_id;
use crate::model::run::EventStatus;
use crate::model::workflow::fetch::Pairs;
use crate::model::workflow::{Fetch, Step};
use crate::outside::Reply;
use crate::outside::record::{Secrets, kept};
use crate::outside::request::{Request, Response};
use crate::sign::webhook::signature;
use crate::store::jobs::Line;

/// Seconds before the second and the third attempt (W-FET-22).
const BACK_OFF_SECONDS: [i64; 2] = [30, 60];

/// What a request's answer is not good for, or why there is none.
struct Refusal {
    message: String,
    /// Whether it may be otherwise next time (W-FET-21).
    is_passing: bool,
}

impl Refusal {
    fn fatal(message: impl Into<String>) -> Refusal {
        Refusal { message: message.into(), is_passing: false }
    }
}

/// Has the request sent by a worker that waits for nothing else; once there is an answer, goes on with it.
pub(crate) fn execute(stretch: &mut Stretch<'_>, step: &Step, fetch: &Fetch, on: Ended, call: Option<&Call>) -> Ended {
    match call {
        None => Ended::Apart(Line::Calls),
        Some(Call::Ask) => match request(stretch, step, fetch) {
            Ok(request) => Ended::Ask(Box::new(request)),
            Err(message) => failed(stretch, step, Map::new(), &Refusal::fatal(message)),
        },
        Some(Call::Reply(reply)) => settle(stretch, step, fetch, reply, on),
    }
}

/// The request as it is sent (W-FET-06).
fn request(stretch: &Stretch<'_>, step: &Step, fetch: &Fetch) -> Result<Request, String> {
    let url = stretch.says("url", &fetch.url)?;
    let query = pairs(stretch, "query_params", &fetch.query_params)?;
    let mut request = Request::new(fetch.method.name(), url.trim(), &query)?;
    for (name, value) in pairs(stretch, "headers", &fetch.headers)? {
        request.set_header(&name, &value, false)?;
    }
    let mut sent = String::new();
    if let Some(template) = fetch.body.as_ref().filter(|_| fetch.method.has_body()) {
        sent = stretch.says_json("body", template, false)?;
        if let Err(error) = serde_json::from_str::<serde::de::IgnoredAny>(&sent) {
            return Err(format!("`body` must render to JSON: {error}"));
        }
        request.set_body(sent.clone());
    }
    if let Some(template) = &fetch.signing_key {
        let key = stretch.says("signing_key", template)?;
        if key.is_empty() {
            return Err("`signing_key` renders to nothing: the request would not be signed".to_owned());
        }
        request.set_header("x-knock-signature", &signature(&key, stretch.scene.now, &sent), false)?;
    }
    // Whoever is asked twice, since we died before we could write down the answer, or it failed, can tell by this.
    let id = call_id(stretch.run.id, &step.reference).to_string();
    request.set_header("idempotency-key", &id, true)?;
    request.set_header("accept", "application/json", true)?;
    Ok(request)
}

fn pairs(stretch: &Stretch<'_>, name: &str, pairs: &Pairs) -> Result<Vec<(String, String)>, String> {
    match pairs {
        Pairs::List(list) => {
            list.iter().map(|(key, value)| Ok((stretch.says(name, key)?, stretch.says(name, value)?))).collect()
        }
        Pairs::Object(template) => {
            let rendered = stretch.says_json(name, template, false)?;
            match serde_json::from_str(&rendered) {
                _ if rendered.trim().is_empty() => Ok(Vec::new()),
                Ok(Value::Object(members)) => Ok(members.into_iter().map(|(key, value)| (key, plain(value))).collect()),
                _ => Err(format!("`{name}` must render to a JSON object")),
            }
        }
    }
}

/// A value as text: a text is itself.
fn plain(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// Takes the answer into the run's data, or records why it will not do.
fn settle(stretch: &mut Stretch<'_>, step: &Step, fetch: &Fetch, reply: &Reply, on: Ended) -> Ended {
    let mut record = kept(reply, &Secrets::of(stretch.scene.secrets));
    let answer = match &reply.result {
        Ok(response) => answer(response),
        Err(fault) => Err(Refusal { message: fault.message.clone(), is_passing: fault.is_passing }),
    };
    let members = answer.and_then(|answer| match answer {
        None => Ok(Map::new()),
        Some(value) => placed(stretch, value, &fetch.response_path),
    });
    match members {
        Ok(members) => {
            record.insert("merged".to_owned(), members.keys().cloned().collect());
            stretch.record(step, EventStatus::Ok, "fetch_succeeded", record.into());
            stretch.lay_over_data(members);
            on
        }
        Err(refusal) => failed(stretch, step, record, &refusal),
    }
}

/// What an answer holds; nothing if it is empty (W-FET-10 to W-FET-12).
fn answer(response: &Response) -> Result<Option<Value>, Refusal> {
    match response.status {
        200 | 201 | 204 => {}
        status => {
            let message = format!("the server answered {status}; 200, 201 and 204 are good");
            return Err(Refusal { message, is_passing: status >= 500 });
        }
    }
    if response.body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let read = serde_json::from_slice(&response.body);
    read.map(Some).map_err(|error| Refusal::fatal(format!("the response is no JSON: {error}")))
}

/// What is laid over the run's data: the answer's members, or the answer where `path` leads (W-FET-13, W-FET-16).
fn placed(stretch: &Stretch<'_>, value: Value, path: &[String]) -> Result<Map<String, Value>, Refusal> {
    let Some((last, outer)) = path.split_last() else {
        let Value::Object(members) = value else {
            let message = "the response is JSON, but no object: set `response_path` to say where it belongs";
            return Err(Refusal::fatal(message));
        };
        return Ok(members);
    };
    let mut out = stretch.data().cloned().unwrap_or_default();
    out.retain(|name, _| *name == path[0]);
    let mut place = &mut out;
    for name in outer {
        let member = place.entry(name.clone()).or_insert(Value::Null);
        if !member.is_object() {
            *member = json!({});
        }
        let Value::Object(inner) = member else { return Err(Refusal::fatal("`response_path` leads nowhere")) };
        place = inner;
    }
    place.insert(last.clone(), value);
    Ok(out)
}

/// Records that an attempt failed. The run pauses before the next one, or halts (W-FET-22 to W-FET-25).
fn failed(stretch: &mut Stretch<'_>, step: &Step, mut record: Map<String, Value>, refusal: &Refusal) -> Ended {
    let pause = BACK_OFF_SECONDS.get(stretch.run.state.failures as usize).filter(|_| refusal.is_passing);
    let retry_at = pause.map(|seconds| stretch.scene.now.plus_seconds(*seconds));
    record.insert("error".to_owned(), refusal.message.as_str().into());
    record.insert("retry_at".to_owned(), json!(retry_at));
    stretch.record(step, EventStatus::Error, "fetch_failed", record.into());
    match retry_at {
        Some(at) => {
            stretch.run.state.failures += 1;
            stretch.line = Line::Calls;
            Ended::Pause(at)
        }
        None => {
            stretch.halt(EventStatus::Ok, "step_failed", None);
            Ended::Over
        }
    }
}
