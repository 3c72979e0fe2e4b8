//! Slack, as an app asks it by its web API.

use serde_json::{Value, json};

use super::{Failure, ask, text};
use crate::model::provider_app::SlackApp;
use crate::outside::Outside;
use crate::outside::request::Request;

/// What Slack calls a token with which nothing can be done any more.
const DEAD: [&str; 5] = ["account_inactive", "invalid_auth", "not_authed", "token_expired", "token_revoked"];

/// Slack, as the app of a channel knows it.
pub struct Slack<'a> {
    pub outside: &'a Outside,
    pub app: &'a SlackApp,
}

/// Which conversations of a workspace are listed (F-PRV-05).
#[derive(Debug, Clone)]
pub struct Listed {
    pub cursor: Option<String>,
    pub limit: u16,
    pub exclude_archived: bool,
    pub types: String,
    pub team_id: Option<String>,
}

impl Slack<'_> {
    /// Whether a token is good; else why not, in Slack's word.
    pub async fn check(&self, token: &str) -> Result<Result<(), String>, Failure> {
        match self.call("auth.test", Some(token), &[]).await {
            Ok(_) => Ok(Ok(())),
            Err(Failure::Denied(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }

    /// A page of conversations, as the API answers it, and where the next begins.
    pub async fn channels(&self, token: &str, listed: &Listed) -> Result<(Vec<Value>, Option<String>), Failure> {
        let (limit, exclude_archived) = (listed.limit.to_string(), listed.exclude_archived.to_string());
        let mut arguments =
            vec![("limit", limit.as_str()), ("exclude_archived", &exclude_archived), ("types", &listed.types)];
        arguments.extend(listed.cursor.as_deref().map(|cursor| ("cursor", cursor)));
        arguments.extend(listed.team_id.as_deref().map(|team| ("team_id", team)));
        let answer = self.call("conversations.list", Some(token), &arguments).await?;
        let channels = answer.get("channels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let next = answer.pointer("/response_metadata/next_cursor").and_then(Value::as_str);
        let next = next.filter(|next| !next.is_empty()).map(str::to_owned);
        Ok((channels.iter().map(|channel| shown(channel, listed.team_id.as_deref())).collect(), next))
    }

    /// Ends a token. One that is dead already is ended, too.
    pub async fn revoke(&self, token: &str) -> Result<(), Failure> {
        match self.call("auth.revoke", Some(token), &[]).await {
            Err(Failure::Denied(why)) if DEAD.contains(&why.as_str()) => Ok(()),
            other => other.map(drop),
        }
    }

    /// The token of a workspace, for the code with which Slack has sent somebody back.
    pub async fn exchange(&self, code: &str) -> Result<String, Failure> {
        let Some(own) = &self.app.credentials else {
            return Err(Failure::NotSetUp("set `client_id` and `client_secret` of the channel".to_owned()));
        };
        let arguments = [("code", code), ("client_id", &own.client_id), ("client_secret", own.client_secret.reveal())];
        let answer = self.call("oauth.v2.access", None, &arguments).await?;
        match text(&answer, "access_token") {
            "" => Err(Failure::Denied("no_bot_token".to_owned())),
            token => Ok(token.to_owned()),
        }
    }

    /// Calls a method. Everything goes in the body: addresses are written down in too many places.
    async fn call(&self, method: &str, token: Option<&str>, arguments: &[(&str, &str)]) -> Result<Value, Failure> {
        let request = || -> Result<Request, String> {
            let mut request = Request::new("POST", &format!("{}/{method}", self.app.api_url), &[])?;
            if let Some(token) = token {
                request.set_header("authorization", &format!("Bearer {token}"), false)?;
            }
            request.set_form(arguments);
            Ok(request)
        };
        // A token that no header can hold is none of Slack's.
        let request = request().map_err(|_| Failure::Denied("invalid_auth".to_owned()))?;
        let (_, answer) = ask(self.outside, request).await?;
        if answer.get("ok") == Some(&Value::Bool(true)) {
            return Ok(answer);
        }
        Err(match text(&answer, "error") {
            "" => Failure::Away("its answer says neither that it did this nor why not".to_owned()),
            // It may say so with a status of success.
            "ratelimited" => Failure::Busy(super::PAUSE_SECONDS),
            "internal_error" | "fatal_error" | "service_unavailable" | "request_timeout" => {
                Failure::Away(text(&answer, "error").to_owned())
            }
            why @ ("invalid_cursor" | "invalid_limit" | "invalid_types" | "team_not_found" | "missing_argument"
            | "invalid_arguments") => Failure::Wrong(why.to_owned()),
            why => Failure::Denied(why.to_owned()),
        })
    }
}

/// A conversation as the API shows it. A direct one has no name: it is called after whom it is with.
fn shown(channel: &Value, team: Option<&str>) -> Value {
    let flag = |name: &str| channel.get(name).and_then(Value::as_bool).unwrap_or_default();
    let first = |words: [&str; 2]| words.into_iter().find(|word| !word.is_empty()).unwrap_or_default().to_owned();
    json!({
        "id": text(channel, "id"),
        "name": first([text(channel, "name"), text(channel, "user")]),
        "is_private": flag("is_private"),
        "is_im": flag("is_im"),
        "context_team_id": first([text(channel, "context_team_id"), team.unwrap_or_default()]),
    })
}
