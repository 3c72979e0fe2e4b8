//! The feed: one page of items with its counts (F-FED-01 to F-FED-44).

use serde_json::{Value, json};

use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Route, TenantIn, Verb};
use crate::model::channel::Channel;
use crate::model::feed::{Filter, Mode, Options, mode};
use crate::model::invalid::Invalid;
use crate::sign::access::Grant;
use crate::verbs::Error;
use crate::verbs::feed::{Showing, View};
use crate::wire::cursor::{List, Page};
use crate::wire::json::{MAX_DEPTH, depth_at_most};
use crate::wire::query::Query;

/// The routes.
pub const ROUTES: &[Route] = &[
    Route::new(Verb::Get, "/v1/users/{user_id}/feeds/{id}", "listUserInAppFeedItems", Tier::Two, |cx| {
        Box::pin(list(cx))
    })
    .in_tenant(TenantIn::Query)
    .public(Grant::FeedRead)
    .counted_by_user(),
    Route::new(Verb::Get, "/v1/users/{user_id}/feeds/{id}/settings", "getUserInAppFeedSettings", Tier::Four, |cx| {
        Box::pin(settings(cx))
    })
    .public(Grant::FeedRead),
];

/// Steps of an excluded path at most (F-AMB-41).
const EXCLUDE_DEPTH: usize = 3;

async fn list(cx: Cx) -> Result<Answer, ApiError> {
    let channel = channel(&cx)?;
    let mut filter = Filter::from_options(&cx.query)?;
    filter.allowed = cx.caller.tenants(Grant::FeedRead, filter.tenant.as_deref())?;
    let showing = Showing { channel, mode: mode(&cx.query, Mode::Rich)? };
    let page = Page::from_query(&cx.query, List::Feed)?;
    let excluded = excluded(&cx.query)?;
    let user = cx.param("user_id");
    let view = cx.core().feed(cx.env(), user, showing, &filter, &page).await?;
    let text = spliced(&view, cx.core().feed_vars(cx.env(), channel));
    Ok(Answer::json_text(if excluded.is_empty() { text } else { without(&text, &excluded) }))
}

/// F-FED-41: nobody's branding is required here.
async fn settings(cx: Cx) -> Result<Answer, ApiError> {
    channel(&cx)?;
    Ok(Answer::json(&json!({"features": {"branding_required": false}})))
}

fn channel(cx: &Cx) -> Result<&Channel, ApiError> {
    let id = cx.param("id");
    cx.core().catalog.feed_channel(id).ok_or_else(|| Error::no_feed(id).into())
}

/// The response, put together from text that is JSON already.
fn spliced(view: &View, vars: Option<Value>) -> String {
    let counts = view.counts;
    let vars = vars.map(|vars| format!(r#","vars":{vars}"#)).unwrap_or_default();
    format!(
        r#"{{"entries":{},"meta":{{"__typename":"FeedMetadata","total_count":{},"unread_count":{},"unseen_count":{}}},"page_info":{}{vars}}}"#,
        view.entries, counts.total, counts.unread, counts.unseen, view.page_info,
    )
}

/// The paths that are not to be shown (F-FED-25).
fn excluded(query: &Query) -> Result<Vec<Vec<String>>, Invalid> {
    let listed = query.list("exclude");
    let paths = listed.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|path| !path.is_empty());
    paths
        .map(|path| {
            let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
            if steps.len() > EXCLUDE_DEPTH {
                let message = format!("`{path}` has more than {EXCLUDE_DEPTH} steps");
                return Err(Invalid::new("exclude", message));
            }
            Ok(steps)
        })
        .collect()
}

/// The response with these paths left out; paths that lead nowhere change nothing.
fn without(text: &str, excluded: &[Vec<String>]) -> String {
    let mut response: Value = serde_json::from_str(text).unwrap_or_default();
    for path in excluded {
        remove(&mut response, path);
    }
    response.to_string()
}

fn remove(value: &mut Value, path: &[String]) {
    match (value, path) {
        (Value::Array(items), path) => items.iter_mut().for_each(|item| remove(item, path)),
        (Value::Object(map), [last]) => drop(map.remove(last)),
        (Value::Object(map), [first, rest @ ..]) => {
            if let Some(inner) = map.get_mut(first) {
                remove(inner, rest);
            }
        }
        _ => {}
    }
}

/// The options of a request: its query (F-TRN-05, F-TRN-07).
impl Options for Query {
    fn text(&self, name: &str) -> Option<String> {
        if name.starts_with("inserted_at") {
            // An unescaped plus sign is healed here; what is no time is left for the reader to refuse.
            if let Ok(Some(time)) = self.time(name) {
                return Some(time.to_string());
            }
        }
        self.get(name).map(str::to_owned)
    }

    fn list(&self, name: &str) -> Vec<String> {
        Query::list(self, name).into_iter().map(str::to_owned).collect()
    }

    fn trigger_data(&self) -> Result<Option<Value>, Invalid> {
        let Some(text) = self.get("trigger_data") else { return Ok(None) };
        let parsed = if depth_at_most(text, MAX_DEPTH) { serde_json::from_str(text).ok() } else { None };
        parsed.map(Some).ok_or_else(|| Invalid::new("trigger_data", "trigger_data must be a JSON object"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_paths_are_gone_from_every_element() {
        let text = r#"{"entries":[{"a":1,"s":{"k":1,"v":2}},{"a":2,"s":{"k":3}}],"vars":{"x":1},"meta":{"n":1}}"#;
        for (exclude, expected) in [
            ("vars", r#"{"entries":[{"a":1,"s":{"k":1,"v":2}},{"a":2,"s":{"k":3}}],"meta":{"n":1}}"#),
            ("entries.a,meta", r#"{"entries":[{"s":{"k":1,"v":2}},{"s":{"k":3}}],"vars":{"x":1}}"#),
            ("entries.s.k", r#"{"entries":[{"a":1,"s":{"v":2}},{"a":2,"s":{}}],"vars":{"x":1},"meta":{"n":1}}"#),
            ("nothing.here, ", text),
        ] {
            let query = Query::parse(&format!("exclude={exclude}")).unwrap();
            let found: Value = serde_json::from_str(&without(text, &excluded(&query).unwrap())).unwrap();
            assert_eq!(found, serde_json::from_str::<Value>(expected).unwrap(), "F-FED-25 F-AMB-41 {exclude}");
        }
        let deep = Query::parse("exclude=entries.a.b.c").unwrap();
        assert_eq!(excluded(&deep).unwrap_err().path, "exclude", "F-AMB-41");
    }
}
