//! What a page asks of the providers of chat channels: whether an organisation is connected, where in it messages can go,
//! and that the connection ends (F-PRV-01 to F-PRV-08).

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::delivery::providers::Failure;
use crate::delivery::providers::ms_teams::{self, Teams};
use crate::delivery::providers::slack::{self, Slack};
use crate::http::answer::Answer;
use crate::http::cx::Cx;
use crate::http::error::ApiError;
use crate::http::limits::Tier;
use crate::http::router::{Answering, Route, Verb};
use crate::model::channel::Channel;
use crate::model::provider_app::{App, SlackApp, TeamsApp};
use crate::model::recipient::{RecipientRef, object_fault};
use crate::sign::access::Grant;
use crate::sign::api_key::Kind;
use crate::sign::refusal::Refusal;
use crate::verbs::door::Caller;
use crate::wire::query::Query;

/// How clients in browsers call themselves (F-AMB-49).
const BROWSER_CLIENT: &str = "Knock/ClientJS";
/// The member of an object's data that says for which organisation of Microsoft's it stands.
const TENANT: &str = "ms_teams_tenant_id";
/// What a page of conversations holds at most, as Slack has it.
const MOST_CHANNELS: u16 = 1_000;
/// What a page of teams holds at most, as Graph has it.
const MOST_TEAMS: u16 = 999;

const fn read(path: &'static str, operation: &'static str, grant: Grant, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Get, path, operation, Tier::Two, handler).granted(grant)
}

const fn put(path: &'static str, operation: &'static str, grant: Grant, handler: fn(Cx) -> Answering) -> Route {
    Route::new(Verb::Put, path, operation, Tier::Two, handler).granted(grant)
}

/// The routes. The path names no object: which one the caller may ask about is looked at by the handlers.
pub const ROUTES: &[Route] = &[
    read("/v1/providers/slack/{channel_id}/auth_check", "slackProviderAuthCheck", Grant::SlackChannelsRead, |cx| {
        Box::pin(slack_check(cx))
    }),
    read("/v1/providers/slack/{channel_id}/channels", "listChannelsForSlackProvider", Grant::SlackChannelsRead, |cx| {
        Box::pin(slack_channels(cx))
    }),
    put(
        "/v1/providers/slack/{channel_id}/revoke_access",
        "slackProviderRevokeAccess",
        Grant::SlackChannelsRead,
        |cx| Box::pin(slack_revoke(cx)),
    ),
    read(
        "/v1/providers/ms-teams/{channel_id}/auth_check",
        "msTeamsProviderAuthCheck",
        Grant::TeamsChannelsRead,
        |cx| Box::pin(teams_check(cx)),
    ),
    read("/v1/providers/ms-teams/{channel_id}/teams", "listTeamsForMsTeamsProvider", Grant::TeamsChannelsRead, |cx| {
        Box::pin(teams_teams(cx))
    }),
    read(
        "/v1/providers/ms-teams/{channel_id}/channels",
        "listChannelsForMsTeamsProvider",
        Grant::TeamsChannelsRead,
        |cx| Box::pin(teams_channels(cx)),
    ),
    put(
        "/v1/providers/ms-teams/{channel_id}/revoke_access",
        "msTeamsProviderRevokeAccess",
        Grant::TeamsChannelsRead,
        |cx| Box::pin(teams_revoke(cx)),
    ),
];

/// The app of a channel of Slack's.
pub(crate) fn slack_app(app: &App) -> Option<&SlackApp> {
    if let App::Slack(app) = app { Some(app) } else { None }
}

/// The app of a channel of Teams'.
pub(crate) fn teams_app(app: &App) -> Option<&TeamsApp> {
    if let App::Teams(app) = app { Some(app) } else { None }
}

/// The object that a reference names, if the caller may do `grant` for it (F-GRN-10, F-PRV-02).
pub(crate) fn granted_object(
    caller: &Caller,
    grant: Grant,
    path: &str,
    reference: &BTreeMap<String, String>,
) -> Result<RecipientRef, ApiError> {
    let named = |name: &str| reference.get(name).map(String::as_str).unwrap_or_default();
    let (collection, id) = (named("collection"), named("object_id"));
    if let Some((place, fault)) = object_fault(collection, id) {
        let place = if place == "id" { "object_id" } else { place };
        return Err(ApiError::invalid_at(&format!("{path}.{place}"), fault));
    }
    if caller.kind == Kind::Public && !caller.access().is_some_and(|access| access.allows_object(grant, collection, id))
    {
        let message = format!("The user token does not give `{}` on this object.", grant.as_str());
        return Err(Refusal::forbidden(message).into());
    }
    Ok(RecipientRef::Object { collection: collection.to_owned(), id: id.to_owned() })
}

/// Why a provider did not do what it was asked, as the caller reads it.
pub(crate) fn told(provider: &str, failure: Failure) -> ApiError {
    match failure {
        Failure::Denied(why) => Refusal::forbidden(format!("{provider} does not allow this: {why}")).into(),
        Failure::Wrong(why) => ApiError::invalid_at("", format!("{provider} can't make sense of this: {why}")),
        Failure::Missing(why) => ApiError::missing(format!("{provider} knows no such thing: {why}")),
        Failure::Busy(seconds) => ApiError::too_many(seconds),
        Failure::Away(why) => ApiError::away(format!("{provider} can't be asked now: {why}")),
        Failure::NotSetUp(what) => ApiError::channel_invalid(format!("The channel is not set up for this: {what}.")),
    }
}

/// An organisation that is asked about: the channel, the object that stands for it, and what is stored with that.
struct Asked<'c, A> {
    channel: &'c Channel,
    app: &'c A,
    object: RecipientRef,
    data: Value,
}

async fn asked<'c, A: 'c>(
    cx: &'c Cx,
    grant: Grant,
    name: &str,
    pick: fn(&App) -> Option<&A>,
) -> Result<Asked<'c, A>, ApiError> {
    let reference = cx.query.members(name)?;
    let reference = reference.ok_or_else(|| ApiError::invalid_at(name, "is required"))?;
    let object = granted_object(&cx.caller, grant, name, &reference)?;
    let (channel, app) = cx.core().catalog.app_channel(cx.env(), cx.param("channel_id"), pick)?;
    let data = cx.core().channel_data(cx.env(), &object, cx.param("channel_id")).await?;
    Ok(Asked { channel, app, object, data: data.unwrap_or_default() })
}

/// Slack, and the token that is stored with the object; refused where there is none (F-PRV-04).
async fn of_slack(cx: &Cx) -> Result<(Asked<'_, SlackApp>, Slack<'_>, String), ApiError> {
    let asked = asked(cx, Grant::SlackChannelsRead, "access_token_object", slack_app).await?;
    let token = asked.data.pointer("/token/access_token").and_then(Value::as_str).filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| Refusal::forbidden("Access token not set."))?.to_owned();
    let slack = Slack { outside: &cx.core().outside, app: asked.app };
    Ok((asked, slack, token))
}

/// Teams, as the organisation has it that is stored with the object; refused where there is none (F-PRV-07).
async fn of_teams(cx: &Cx) -> Result<(Asked<'_, TeamsApp>, Teams<'_>), ApiError> {
    let asked = asked(cx, Grant::TeamsChannelsRead, "ms_teams_tenant_object", teams_app).await?;
    let tenant = asked.data.get(TENANT).and_then(Value::as_str).filter(|tenant| !tenant.is_empty());
    let tenant = tenant.ok_or_else(|| Refusal::forbidden("Microsoft Teams tenant ID not set."))?.to_owned();
    let teams = Teams { outside: &cx.core().outside, app: asked.app, tenant };
    Ok((asked, teams))
}

/// F-PRV-03.
async fn slack_check(cx: Cx) -> Result<Answer, ApiError> {
    let (_, slack, token) = of_slack(&cx).await?;
    let connection = match slack.check(&token).await.map_err(|failure| told("Slack", failure))? {
        Ok(()) => json!({"ok": true}),
        Err(why) => json!({"ok": false, "reason": why, "error": why}),
    };
    Ok(Answer::json(&json!({"connection": connection})))
}

/// F-PRV-05.
async fn slack_channels(cx: Cx) -> Result<Answer, ApiError> {
    let (_, slack, token) = of_slack(&cx).await?;
    let option = |name: &str| cx.query.nested("query_options", name).map(str::to_owned);
    let listed = slack::Listed {
        cursor: option("cursor"),
        limit: count(&cx.query, "limit", MOST_CHANNELS)?.unwrap_or(200),
        exclude_archived: cx.query.bool("query_options.exclude_archived")?.unwrap_or(true),
        types: option("types").unwrap_or_else(|| "public_channel,private_channel".to_owned()),
        team_id: option("team_id"),
    };
    let found = slack.channels(&token, &listed).await;
    let (channels, next) = found.map_err(|failure| told("Slack", failure))?;
    Ok(Answer::json(&json!({"slack_channels": channels, "next_cursor": next})))
}

/// F-PRV-06. The token stays until Slack has ended it; one that came meanwhile stays, too.
async fn slack_revoke(cx: Cx) -> Result<Answer, ApiError> {
    let (asked, slack, token) = of_slack(&cx).await?;
    slack.revoke(&token).await.map_err(|failure| told("Slack", failure))?;
    forget(&cx, &asked, "token", &json!({"access_token": token})).await
}

/// F-PRV-07.
async fn teams_check(cx: Cx) -> Result<Answer, ApiError> {
    let (_, teams) = of_teams(&cx).await?;
    let outcome = teams.check().await.map_err(|failure| told("Microsoft", failure))?;
    let mut connection = json!({"ok": outcome.is_ok(), TENANT: teams.tenant});
    if let Err(why) = outcome {
        connection["reason"] = why.into();
    }
    Ok(Answer::json(&json!({"connection": connection})))
}

/// F-PRV-08.
async fn teams_teams(cx: Cx) -> Result<Answer, ApiError> {
    let (_, teams) = of_teams(&cx).await?;
    let found = teams.teams(&odata(&cx.query)?).await;
    let (teams, next) = found.map_err(|failure| told("Microsoft", failure))?;
    Ok(Answer::json(&json!({"ms_teams_teams": teams, "skip_token": next})))
}

/// F-PRV-08.
async fn teams_channels(cx: Cx) -> Result<Answer, ApiError> {
    let team = cx.query.get("team_id").ok_or_else(|| ApiError::invalid_at("team_id", "is required"))?;
    let (_, teams) = of_teams(&cx).await?;
    let listed = ms_teams::Listed { top: None, skiptoken: None, ..odata(&cx.query)? };
    let found = teams.channels(team, &listed).await;
    Ok(Answer::json(&json!({"ms_teams_channels": found.map_err(|failure| told("Microsoft", failure))?})))
}

/// An organisation's consent is its own to take back: what is forgotten is for whom the object stands.
async fn teams_revoke(cx: Cx) -> Result<Answer, ApiError> {
    let (asked, teams) = of_teams(&cx).await?;
    forget(&cx, &asked, TENANT, &json!(teams.tenant)).await
}

/// Takes a member away from what is stored, unless it has become another meanwhile.
async fn forget<A>(cx: &Cx, asked: &Asked<'_, A>, name: &str, gone: &Value) -> Result<Answer, ApiError> {
    let is_it = |stored: &Value| match gone {
        // It may bear more than we know.
        Value::Object(gone) => gone.iter().all(|(name, value)| stored.get(name) == Some(value)),
        gone => stored == gone,
    };
    let without = |mut data: Map<String, Value>| {
        *data.get_mut(name).filter(|stored| is_it(stored))? = Value::Null;
        Some(data)
    };
    cx.core().amend_channel_data(cx.env(), &asked.object, asked.channel, without).await?;
    let is_browser = cx.header("x-knock-client").is_some_and(|client| client.starts_with(BROWSER_CLIENT));
    let body = if is_browser || cx.caller.kind == Kind::Public { json!("ok") } else { json!({"ok": "ok"}) };
    Ok(Answer::json(&body))
}

/// A whole number among the options, of 1 to `most`.
fn count(query: &Query, name: &str, most: u16) -> Result<Option<u16>, ApiError> {
    let Some(text) = query.nested("query_options", name) else { return Ok(None) };
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    let wrong = || ApiError::invalid_at(&format!("query_options.{name}"), format!("must be from 1 to {most}"));
    number.map(Some).ok_or_else(wrong)
}

fn odata(query: &Query) -> Result<ms_teams::Listed, ApiError> {
    let option = |name: &str| query.nested("query_options", name).map(str::to_owned);
    let top = count(query, "$top", MOST_TEAMS)?;
    Ok(ms_teams::Listed { filter: option("$filter"), select: option("$select"), top, skiptoken: option("$skiptoken") })
}
