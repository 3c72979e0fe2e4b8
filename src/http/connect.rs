//! Where a provider sends back whoever has let our app in: `/providers/slack/authenticate` and
//! `/providers/ms-teams/authenticate` (F-PRV-09, F-PRV-10). What was let in is kept with the object that stands for their
//! organisation, and the page that had asked for it is told.
//!
//! Whoever comes shows in `state` what they would show the API: a public key, and a user token that names the object. Before
//! that has been looked at, nothing is asked of the provider, and nobody is sent anywhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{
    CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, LOCATION, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, StatusCode};
use serde_json::{Map, Value, json};
use url::Url;
use uuid::Uuid;

use super::Face;
use super::answer::Answer;
use super::api::providers::{granted_object, slack_app, teams_app, told};
use super::error::ApiError;
use super::escape::escaped;
use super::limits::{Key, Tier};
use super::pipeline::undisturbed;
use super::vitals::Entry;
use crate::delivery::providers::ms_teams::is_tenant;
use crate::delivery::providers::slack::Slack;
use crate::model::channel::Channel;
use crate::sign::access::Grant;
use crate::sign::api_key::{ApiKey, Kind};
use crate::store::Env;
use crate::verbs::Core;
use crate::verbs::door::Caller;
use crate::wire::json::{MAX_DEPTH, depth_at_most};
use crate::wire::query::Query;

const SLACK: &str = "/providers/slack/authenticate";
const TEAMS: &str = "/providers/ms-teams/authenticate";
const ROBOTS: HeaderName = HeaderName::from_static("x-robots-tag");
/// The numbers by which visits are counted, which no operation of the API has: those of users, and what comes from an address
/// without showing anything.
const OPERATION: usize = usize::MAX - 4;
const UNKNOWN: usize = usize::MAX - 5;

const STYLE: &str = "body{margin:0;font:1rem/1.5 system-ui,sans-serif;color-scheme:light dark}\
main{max-width:32rem;margin:0 auto;padding:4rem 1rem;overflow-wrap:anywhere}h1{font-size:1.4rem}";

/// Whether a path is one of these.
pub(crate) fn is_at(path: &str) -> bool {
    path == SLACK || path == TEAMS
}

/// What a page has said when it sent somebody to the provider.
#[derive(Debug, Default)]
struct State {
    members: Map<String, Value>,
}

impl State {
    /// Reads it; whatever is not there is missed later.
    fn parse(query: &Query) -> Result<State, ApiError> {
        let text = query.get("state").unwrap_or_default();
        match serde_json::from_str(text) {
            Ok(Value::Object(members)) if depth_at_most(text, MAX_DEPTH) => Ok(State { members }),
            _ => Err(ApiError::invalid_at("state", "must be what the page sent along: a JSON object")),
        }
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    fn object(&self, name: &str) -> BTreeMap<String, String> {
        let members = self.members.get(name).and_then(Value::as_object).into_iter().flatten();
        members.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
    }

    /// Where the page wants to go on. Addresses may be written without their scheme.
    fn redirect_url(&self) -> Option<Url> {
        let text = self.text("redirect_url")?;
        let url = match text.contains("://") {
            true => Url::parse(text),
            false => Url::parse(&format!("https://{text}")),
        };
        url.ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.username().is_empty())
    }
}

/// Answers somebody who comes back. Whatever goes wrong is said on a page, too, and to the page that had opened it.
pub(crate) async fn answer(face: &Arc<Face>, entry: Entry, request: &Request<Incoming>) -> Result<Answer, ApiError> {
    if request.method() != Method::GET {
        return Err(ApiError::no_method("GET, OPTIONS"));
    }
    let query = Query::parse(request.uri().query().unwrap_or_default())?;
    let is_slack = request.uri().path() == SLACK;
    let state = match State::parse(&query) {
        Ok(state) => state,
        Err(refusal) => {
            face.count(unknown(entry), Tier::Three)?;
            return Ok(failed(&State::default(), refusal));
        }
    };
    let connected = match caller(face, &state).await {
        Ok(caller) => {
            let user = caller.access().map_or("", |access| access.user());
            let whom = Some(format!("user:{user}").into());
            face.count(Key { env: caller.env(), operation: OPERATION, whom }, Tier::Two)?;
            connect(face, caller, &query, &state, is_slack).await
        }
        Err(refusal) => {
            face.count(unknown(entry), Tier::Three)?;
            Err(refusal)
        }
    };
    Ok(match connected {
        Ok(()) => complete(&state),
        Err(refusal) => failed(&state, refusal),
    })
}

fn unknown(entry: Entry) -> Key {
    Key { env: 0, operation: UNKNOWN, whom: Some(format!("peer:{}", entry.peer).into()) }
}

/// Who has come. A secret key has no business in an address.
async fn caller(face: &Face, state: &State) -> Result<Caller, ApiError> {
    let key = ApiKey::parse(state.text("public_key").unwrap_or_default())?;
    if key.kind() != Kind::Public {
        return Err(ApiError::invalid_at("state.public_key", "must be a public key"));
    }
    Ok(face.core.admit(&key, state.text("user_token"), None).await?.caller)
}

/// Keeps what the provider gives. Once it is asked for, it is kept even if whoever came hangs up: a code is good once.
async fn connect(
    face: &Arc<Face>,
    caller: Caller,
    query: &Query,
    state: &State,
    is_slack: bool,
) -> Result<(), ApiError> {
    let (name, grant) = match is_slack {
        true => ("access_token_object", Grant::SlackChannelsRead),
        false => ("ms_teams_tenant_object", Grant::TeamsChannelsRead),
    };
    let object = granted_object(&caller, grant, &format!("state.{name}"), &state.object(name))?;
    let channel = state.text("channel_id").unwrap_or_default().to_owned();
    if let Some(error) = query.get("error") {
        let why = query.get("error_description").unwrap_or(error);
        return Err(ApiError::invalid_at("", format!("The provider says: {why}")));
    }
    let (core, env, query) = (Arc::clone(&face.core), caller.env(), query.clone());
    let connecting = async move {
        let (channel, given) = match is_slack {
            true => of_slack(&core, env, &channel, &query).await?,
            false => of_teams(&core, env, &channel, &query)?,
        };
        let with = |mut data: Map<String, Value>| {
            data.extend(given.clone());
            Some(data)
        };
        core.amend_channel_data(env, &object, channel, with).await?;
        Ok(Answer::empty())
    };
    undisturbed(Box::pin(connecting)).await.map(drop)
}

/// The token of a workspace, for the code.
async fn of_slack<'c>(
    core: &'c Core,
    env: Env,
    channel: &str,
    query: &Query,
) -> Result<(&'c Channel, Map<String, Value>), ApiError> {
    let (channel, app) = core.catalog.app_channel(env, channel, slack_app)?;
    let code = query.get("code").ok_or_else(|| ApiError::invalid_at("code", "is required"))?;
    let slack = Slack { outside: &core.outside, app };
    let token = slack.exchange(code).await.map_err(|failure| told("Slack", failure))?;
    Ok((channel, Map::from_iter([("token".to_owned(), json!({"access_token": token}))])))
}

/// The organisation that has consented. It proves nothing of who came: what the app may see of it, whoever may write the
/// object's data can see, as they could by writing the id themselves.
fn of_teams<'c>(
    core: &'c Core,
    env: Env,
    channel: &str,
    query: &Query,
) -> Result<(&'c Channel, Map<String, Value>), ApiError> {
    let (channel, _) = core.catalog.app_channel(env, channel, teams_app)?;
    if !query.get("admin_consent").is_some_and(|word| word.eq_ignore_ascii_case("true")) {
        return Err(ApiError::invalid_at("admin_consent", "must be true: nobody has consented"));
    }
    let tenant = query.get("tenant").filter(|tenant| is_tenant(tenant));
    let tenant =
        tenant.ok_or_else(|| ApiError::invalid_at("tenant", "must be the id of a tenant of Microsoft Entra"))?;
    Ok((channel, Map::from_iter([("ms_teams_tenant_id".to_owned(), tenant.into())])))
}

/// Sends whoever came to where the page wants to go on; else tells the page (F-AMB-50).
fn complete(state: &State) -> Answer {
    match state.redirect_url() {
        Some(url) => {
            Answer::empty().status(StatusCode::FOUND).with(LOCATION, url.as_str()).with(REFERRER_POLICY, "no-referrer")
        }
        None => page(state, "authComplete", "Connected", "You can close this window."),
    }
}

fn failed(state: &State, refusal: ApiError) -> Answer {
    let (status, message) = (refusal.http_status(), refusal.message().to_owned());
    page(state, "authFailed", "Not connected", &message).status(status)
}

/// A page that tells the one which opened it.
fn page(state: &State, word: &str, title: &str, text: &str) -> Answer {
    let message = match state.text("nonce") {
        Some(nonce) => json!({"type": word, "nonce": nonce}),
        None => json!(word),
    };
    let origin = state.redirect_url().map_or_else(|| "*".to_owned(), |url| url.origin().ascii_serialization());
    // Within a script nothing may look like its end.
    let (message, origin) = (scripted(&message), scripted(&json!(origin)));
    let nonce = Uuid::new_v4().simple().to_string();
    let mut body = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">".to_owned();
    body.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    let (title, text) = (escaped(title), escaped(text));
    let _ = write!(body, "<title>{title}</title><style nonce=\"{nonce}\">{STYLE}</style></head><body><main>");
    let _ = write!(body, "<h1 role=\"status\">{title}</h1><p>{text}</p></main>");
    let _ =
        write!(body, "<script nonce=\"{nonce}\">window.opener&&window.opener.postMessage({message},{origin})</script>");
    body.push_str("</body></html>");
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    Answer::text(HeaderValue::from_static("text/html; charset=utf-8"), body)
        .with(CONTENT_SECURITY_POLICY, &policy)
        .with(REFERRER_POLICY, "no-referrer")
        .with(X_CONTENT_TYPE_OPTIONS, "nosniff")
        .with(ROBOTS, "noindex, nofollow")
}

fn scripted(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}
