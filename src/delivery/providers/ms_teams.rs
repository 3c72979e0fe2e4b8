//! Microsoft Teams, as an app asks Microsoft Graph about an organisation that has let it in.

use serde_json::{Map, Value};
use url::Url;

use super::{Failure, ask, text};
use crate::model::provider_app::TeamsApp;
use crate::outside::Outside;
use crate::outside::request::Request;

/// What of a team is shown, and is always there.
const OF_TEAM: [&str; 3] = ["id", "displayName", "description"];
/// What of a channel is shown; the last three only where Graph tells them.
const OF_CHANNEL: [&str; 6] = ["id", "displayName", "description", "membershipType", "isArchived", "createdDateTime"];

/// Microsoft Graph, as the app of a channel knows it.
pub struct Teams<'a> {
    pub outside: &'a Outside,
    pub app: &'a TeamsApp,
    /// The organisation that is asked about: its id, or one of its names.
    pub tenant: String,
}

/// What of a list is asked for, as OData has it (F-PRV-08).
#[derive(Debug, Clone, Default)]
pub struct Listed {
    pub filter: Option<String>,
    pub select: Option<String>,
    pub top: Option<u16>,
    pub skiptoken: Option<String>,
}

impl Listed {
    /// The query, a space as `%20`: not everybody behind Graph takes a plus sign for one.
    fn query(&self) -> String {
        let top = self.top.map(|top| top.to_string());
        let pairs = [
            ("$filter", self.filter.as_deref()),
            ("$select", self.select.as_deref()),
            ("$top", top.as_deref()),
            ("$skiptoken", self.skiptoken.as_deref()),
        ];
        let encoded = |text: &str| -> String {
            let plus: String = url::form_urlencoded::byte_serialize(text.as_bytes()).collect();
            plus.replace('+', "%20")
        };
        let pairs = pairs.iter().filter_map(|(name, value)| Some(format!("{name}={}", encoded((*value)?))));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// Whether a text may be the name of an organisation of Microsoft Entra.
pub fn is_tenant(text: &str) -> bool {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    is_plain && text.len() <= 255 && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}

impl Teams<'_> {
    /// Whether the organisation lets the app in; else why not, in Microsoft's words.
    pub async fn check(&self) -> Result<Result<(), String>, Failure> {
        match self.token().await {
            Ok(_) => Ok(Ok(())),
            Err(Failure::Denied(why)) => Ok(Err(why)),
            Err(other) => Err(other),
        }
    }

    /// A page of the organisation's teams, and where the next begins.
    pub async fn teams(&self, listed: &Listed) -> Result<(Vec<Value>, Option<String>), Failure> {
        let answer = self.graph(&["teams"], listed).await?;
        let next = answer.get("@odata.nextLink").and_then(Value::as_str).and_then(|next| Url::parse(next).ok());
        let next = next.and_then(|next| {
            let mut pairs = next.query_pairs();
            pairs.find(|(name, _)| name.eq_ignore_ascii_case("$skiptoken")).map(|(_, token)| token.into_owned())
        });
        Ok((rows(&answer, &OF_TEAM), next))
    }

    /// A team's channels. Unless a filter says otherwise, without those that are archived or private (F-PRV-08).
    pub async fn channels(&self, team: &str, listed: &Listed) -> Result<Vec<Value>, Failure> {
        let mut listed = listed.clone();
        let is_plain = listed.filter.is_none();
        if let Some(select) = listed.select.as_mut().filter(|_| is_plain) {
            // What is not told can't be asked.
            let missing = ["membershipType", "isArchived"].into_iter().filter(|name| !has_word(select, name));
            let missing: String = missing.map(|name| format!(",{name}")).collect();
            select.push_str(&missing);
        }
        let mut channels = rows(&self.graph(&["teams", team, "channels"], &listed).await?, &OF_CHANNEL);
        let is_hidden = |channel: &Value| {
            channel.get("isArchived") == Some(&Value::Bool(true)) || text(channel, "membershipType") == "private"
        };
        channels.retain(|channel| !is_plain || !is_hidden(channel));
        Ok(channels)
    }

    /// A token for Graph, in the app's own name.
    async fn token(&self) -> Result<String, Failure> {
        let Some(own) = &self.app.credentials else {
            let message = "set `graph_client_id` and `graph_client_secret` of the channel";
            return Err(Failure::NotSetUp(message.to_owned()));
        };
        if !is_tenant(&self.tenant) {
            return Err(Failure::Denied("the Microsoft Teams tenant ID is not one of Microsoft Entra".to_owned()));
        }
        let url = format!("{}/{}/oauth2/v2.0/token", self.app.login_url, self.tenant);
        let mut request = Request::new("POST", &url, &[]).map_err(Failure::Away)?;
        request.set_form(&[
            ("grant_type", "client_credentials"),
            ("client_id", &own.client_id),
            ("client_secret", own.client_secret.reveal()),
            ("scope", &format!("{}/.default", self.app.graph_url)),
        ]);
        let (_, answer) = ask(self.outside, request).await?;
        match (text(&answer, "access_token"), text(&answer, "error_description"), text(&answer, "error")) {
            ("", "", "") => Err(Failure::Away("its answer holds no token, and does not say why".to_owned())),
            ("", "", word) => Err(Failure::Denied(word.to_owned())),
            // Its first line is for people; ids of the request follow.
            ("", why, _) => Err(Failure::Denied(why.lines().next().unwrap_or_default().to_owned())),
            (token, ..) => Ok(token.to_owned()),
        }
    }

    /// What Graph answers at a path.
    async fn graph(&self, path: &[&str], listed: &Listed) -> Result<Value, Failure> {
        let token = self.token().await?;
        let request = || -> Result<Request, String> {
            let mut url = Url::parse(&self.app.graph_url).map_err(|error| error.to_string())?;
            url.path_segments_mut().map_err(|()| "the address has no path")?.pop_if_empty().push("v1.0").extend(path);
            let query = listed.query();
            url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
            let mut request = Request::new("GET", url.as_str(), &[])?;
            request.set_header("authorization", &format!("Bearer {token}"), false)?;
            Ok(request)
        };
        let (response, answer) = ask(self.outside, request().map_err(Failure::Away)?).await?;
        let error = answer.get("error").unwrap_or(&Value::Null);
        let why = [text(error, "message"), text(error, "code")].into_iter().find(|words| !words.is_empty());
        let why = why.map_or_else(|| format!("it answered {}", response.status), str::to_owned);
        match response.status {
            200 => Ok(answer),
            401 | 403 => Err(Failure::Denied(why)),
            404 => Err(Failure::Missing(why)),
            400..500 => Err(Failure::Wrong(why)),
            _ => Err(Failure::Away(why)),
        }
    }
}

fn has_word(list: &str, word: &str) -> bool {
    list.split(',').any(|one| one.trim() == word)
}

/// The rows of an answer, and of each what is shown.
fn rows(answer: &Value, members: &[&str]) -> Vec<Value> {
    let rows = answer.get("value").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let shown = |row: &Value| -> Map<String, Value> {
        let (always, others) = members.split_at(OF_TEAM.len());
        let told = |name: &str| row.get(name).cloned();
        let always = always.iter().map(|name| ((*name).to_owned(), told(name).unwrap_or_default()));
        always.chain(others.iter().filter_map(|name| Some(((*name).to_owned(), told(name)?)))).collect()
    };
    rows.iter().map(|row| shown(row).into()).collect()
}
