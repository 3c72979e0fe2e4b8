//! A channel's messages, all at once (F-STA-04 to F-STA-10, F-STA-24, F-BLK-08).

use serde_json::{Map, Value};

use super::marks::reach;
use super::messages::{DELIVERY_STATUSES, ENGAGEMENT_STATUSES, in_words, kept_since};
use crate::http::answer::Answer;
use crate::http::auth::wrong_kind;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Route, Verb};
use crate::model::channel::{Channel, ChannelKind};
use crate::model::feed::{Tenants, trigger_data_filter};
use crate::model::invalid::Invalid;
use crate::model::time::Time;
use crate::sign::access::Grant;
use crate::sign::api_key::Kind;
use crate::verbs::Error;
use crate::verbs::bulk::{Action, Spec};
use crate::wire::json::{MAX_DEPTH, depth_at_most};

/// The routes.
pub const ROUTES: &[Route] = &[Route::new(
    Verb::Post,
    "/v1/channels/{channel_id}/messages/bulk/{action}",
    "bulkUpdateMessagesForChannel",
    Tier::Two,
    |cx| Box::pin(bulk(cx)),
)
.public(Grant::FeedWrite)
.kept_for_a_time()];

async fn bulk(cx: Cx) -> Result<Answer, ApiError> {
    let action = action(&cx)?;
    let id = cx.param("channel_id");
    let channel = cx.core().catalog.channel(id).ok_or_else(|| Error::no_feed(id))?;
    let mut spec = read(&cx.members()?, channel, action)?;
    confine(&cx, &mut spec)?;
    if !spec.is_feed {
        // Items of feeds are there for ever (F-STA-10).
        spec.newer_than = spec.newer_than.max(kept_since(&cx));
    }
    let operation = cx.core().start_bulk(cx.env(), spec).await?;
    Ok(Answer::json(&operation.to_json(&cx.origin())))
}

/// What the path asks for; deleting needs a secret key (F-STA-24).
fn action(cx: &Cx) -> Result<Action, ApiError> {
    match cx.param("action").parse() {
        Ok(Action::Delete) if cx.caller.kind != Kind::Secret => Err(wrong_kind()),
        Ok(action) => Ok(action),
        Err(message) => Err(ApiError::invalid_at("action", message)),
    }
}

/// Reads the filters (F-STA-06); empty strings are unset, as one mobile client sends them.
fn read(body: &Map<String, Value>, channel: &Channel, action: Action) -> Result<Spec, ApiError> {
    let body = Filters(body);
    let word = |field: &str, known: &[&str]| in_words(body.text(field)?.into_iter().collect(), field, known);
    let mut engagement = word("engagement_status", &ENGAGEMENT_STATUSES)?;
    match word("archived", &["exclude", "include", "only"])?.first().map(String::as_str) {
        Some("exclude") => engagement.push("unarchived".to_owned()),
        Some("only") => engagement.push("archived".to_owned()),
        _ => {}
    }
    Ok(Spec {
        action,
        channel: channel.id.to_string(),
        recipients: body.recipients()?,
        tenants: body.list("tenants")?.unwrap_or_default(),
        has_tenant: body.flag("has_tenant")?,
        is_feed: channel.kind == ChannelKind::InAppFeed,
        allowed_tenants: None,
        engagement,
        delivery_status: word("delivery_status", &DELIVERY_STATUSES)?.pop(),
        workflows: body.list("workflows")?.unwrap_or_default(),
        trigger_data: body.trigger_data()?,
        newer_than: body.time("newer_than")?,
        older_than: body.time("older_than")?,
    })
}

/// Keeps the caller to what is its own: with a token always to its user, whatever the body says (F-AUT-17), and with a
/// public key alone to somebody it names (F-STA-09).
fn confine(cx: &Cx, spec: &mut Spec) -> Result<(), ApiError> {
    let reach = reach(cx)?;
    if let Tenants::These { tenants, with_none } = reach.tenants {
        spec.allowed_tenants = Some((tenants, with_none));
    }
    match reach.recipient {
        Some(own) => {
            let is_meant = spec.recipients.as_ref().is_none_or(|named| named.contains(&own));
            spec.recipients = Some(if is_meant { vec![own] } else { Vec::new() });
        }
        None if cx.caller.kind == Kind::Public && spec.recipients.as_ref().is_none_or(Vec::is_empty) => {
            let message = "with a public key alone, name whose messages are meant: send recipient_ids";
            return Err(ApiError::invalid_at("recipient_ids", message));
        }
        None => {}
    }
    Ok(())
}

/// The body's members, each read or refused by name.
struct Filters<'a>(&'a Map<String, Value>);

impl<'a> Filters<'a> {
    /// The value of a field that is set: neither absent, null nor the empty string.
    fn value(&self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null() && value.as_str() != Some(""))
    }

    fn text(&self, field: &str) -> Result<Option<&'a str>, Invalid> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Invalid::new(field, format!("{field} must be a string"))),
        }
    }

    fn list(&self, field: &str) -> Result<Option<Vec<String>>, Invalid> {
        let fault = || Invalid::new(field, format!("{field} must be an array of strings"));
        match self.value(field) {
            None => Ok(None),
            Some(Value::String(one)) => Ok(Some(vec![one.clone()])),
            Some(Value::Array(items)) => {
                let texts = items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(fault));
                texts.collect::<Result<_, _>>().map(Some)
            }
            Some(_) => Err(fault()),
        }
    }

    fn flag(&self, field: &str) -> Result<Option<bool>, Invalid> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(Value::String(word)) if word == "true" => Ok(Some(true)),
            Some(Value::String(word)) if word == "false" => Ok(Some(false)),
            Some(_) => Err(Invalid::new(field, format!("{field} must be true or false"))),
        }
    }

    fn time(&self, field: &str) -> Result<Option<Time>, Invalid> {
        let fault = || Invalid::new(field, format!("{field} must be an ISO-8601 time"));
        self.text(field)?.map(|text| Time::parse(text).ok_or_else(fault)).transpose()
    }

    /// Clients name the recipients `user_ids` where the description says `recipient_ids`. To overlook them would mark
    /// everybody's messages (F-STA-07); of both, those in both are meant.
    fn recipients(&self) -> Result<Option<Vec<String>>, Invalid> {
        Ok(match (self.list("recipient_ids")?, self.list("user_ids")?) {
            (Some(named), Some(also)) => Some(named.into_iter().filter(|id| also.contains(id)).collect()),
            (Some(named), None) | (None, Some(named)) => Some(named),
            (None, None) => None,
        })
    }

    fn trigger_data(&self) -> Result<Map<String, Value>, Invalid> {
        let fault = || Invalid::new("trigger_data", "trigger_data must be a JSON object");
        match self.value("trigger_data") {
            None => Ok(Map::new()),
            Some(Value::String(text)) if depth_at_most(text, MAX_DEPTH) => {
                trigger_data_filter(serde_json::from_str(text).map_err(|_| fault())?)
            }
            Some(value) => trigger_data_filter(value.clone()),
        }
    }
}
