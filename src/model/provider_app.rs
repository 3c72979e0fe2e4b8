//! The app of a provider through which a channel acts: where the provider is, and what the app proves itself by.

use serde_json::{Map, Value};
use url::Url;

use super::channel::Channel;
use super::channel_data::Shape;
use super::invalid::Invalid;
use super::scope::Scope;
use super::secret::Secret;
use super::time::Time;
use crate::template::{Env, Template};

/// The app of a channel whose provider has apps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum App {
    /// One of Slack.
    Slack(SlackApp),
    /// One of Microsoft Entra, for Teams.
    Teams(TeamsApp),
}

/// An app of Slack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackApp {
    /// Needed only where workspaces are connected.
    pub credentials: Option<Credentials>,
    /// Where its methods are called.
    pub api_url: String,
}

/// An app of Microsoft Entra that may ask Microsoft Graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TeamsApp {
    /// Needed only where organisations are connected.
    pub credentials: Option<Credentials>,
    /// Where tokens are issued.
    pub login_url: String,
    /// Where Microsoft Graph is.
    pub graph_url: String,
}

/// What an app is called, and what it proves itself by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Credentials {
    pub client_id: String,
    pub client_secret: Secret,
}

impl App {
    /// Reads a channel's app from what is set of it in an environment; none where its provider has no apps. Texts may name
    /// `vars` of the environment, so that secrets can stay there (D-CHN-04).
    pub fn read(channel: &Channel, table: &Map<String, Value>, vars: &Value) -> Result<Option<App>, Vec<Invalid>> {
        let mut read = Read { table, vars, faults: Vec::new() };
        let app = match Shape::of(channel) {
            Some(Shape::Slack) => App::Slack(SlackApp {
                credentials: read.credentials("client_id", "client_secret"),
                api_url: read.url("api_url", "https://slack.com/api"),
            }),
            Some(Shape::Teams) => App::Teams(TeamsApp {
                credentials: read.credentials("graph_client_id", "graph_client_secret"),
                login_url: read.url("login_url", "https://login.microsoftonline.com"),
                graph_url: read.url("graph_url", "https://graph.microsoft.com"),
            }),
            _ => return Ok(None),
        };
        if read.faults.is_empty() { Ok(Some(app)) } else { Err(read.faults) }
    }
}

/// A table that is being read, and what is wrong with it so far.
struct Read<'a> {
    table: &'a Map<String, Value>,
    vars: &'a Value,
    faults: Vec<Invalid>,
}

impl Read<'_> {
    fn wrong(&mut self, key: &str, message: impl Into<String>) {
        self.faults.push(Invalid::new(key, message));
    }

    /// A text, as it is once the variables are known; none where it is empty.
    fn text(&mut self, key: &str) -> Option<String> {
        let text = match self.table.get(key)? {
            Value::String(text) => text,
            _ => {
                self.wrong(key, "must be text in quotation marks");
                return None;
            }
        };
        let scope = Scope::new(vec![("vars", self.vars)]);
        let env = Env { strict: true, ..Env::new(&scope, Time::default()) };
        match Template::parse(text).and_then(|template| template.render(&env)) {
            Ok(text) => Some(text).filter(|text| !text.is_empty()),
            Err(fault) => {
                self.wrong(key, format!("can't be read as a template over `vars`: {}", fault.message));
                None
            }
        }
    }

    /// Both, or neither.
    fn credentials(&mut self, id: &str, secret: &str) -> Option<Credentials> {
        let before = self.faults.len();
        match (self.text(id), self.text(secret)) {
            (Some(client_id), Some(secret)) => Some(Credentials { client_id, client_secret: Secret::new(secret) }),
            (None, None) => None,
            _ if self.faults.len() > before => None,
            (Some(_), None) => {
                self.wrong(secret, format!("is required beside {id}"));
                None
            }
            (None, Some(_)) => {
                self.wrong(id, format!("is required beside {secret}"));
                None
            }
        }
    }

    /// The address of a provider: clouds of their own and tests have others (D-PRV-04).
    fn url(&mut self, key: &str, usual: &str) -> String {
        let Some(text) = self.text(key) else { return usual.to_owned() };
        let is_plain = |url: &Url| {
            matches!(url.scheme(), "http" | "https")
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        if !Url::parse(&text).is_ok_and(|url| is_plain(&url)) {
            self.wrong(key, format!("must be an address such as {usual}"));
        }
        text.trim_end_matches('/').to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::channel::{ChannelKind, ResponseFilter};
    use serde_json::json;
    use uuid::Uuid;

    fn channel(kind: ChannelKind, provider: &str) -> Channel {
        Channel {
            id: Uuid::nil(),
            key: "c".to_owned(),
            name: "c".to_owned(),
            kind,
            provider: provider.to_owned(),
            created_at: Time::default(),
            updated_at: Time::default(),
            conditions: None,
            response_filter: ResponseFilter::default(),
        }
    }

    fn read(provider: &str, table: Value) -> Result<Option<App>, Vec<String>> {
        let vars = json!({"secret": "geheim"});
        let read = App::read(&channel(ChannelKind::Chat, provider), table.as_object().unwrap(), &vars);
        read.map_err(|faults| faults.iter().map(Invalid::to_string).collect())
    }

    #[test]
    fn an_app_is_where_its_provider_is_unless_it_is_said_otherwise() {
        let app = read("slack", json!({"client_id": "1.2", "client_secret": "{{ vars.secret }}"})).unwrap();
        let credentials = Credentials { client_id: "1.2".to_owned(), client_secret: Secret::new("geheim") };
        let usual = SlackApp { credentials: Some(credentials), api_url: "https://slack.com/api".to_owned() };
        assert_eq!(app, Some(App::Slack(usual)), "D-CHN-04");
        assert!(!format!("{app:?}").contains("geheim"));
        let table =
            json!({"login_url": "https://login.microsoftonline.us/", "graph_url": "https://graph.microsoft.us"});
        let Some(App::Teams(app)) = read("chat_ms_teams", table).unwrap() else { panic!("an app of Teams") };
        let urls = (app.login_url.as_str(), app.graph_url.as_str());
        assert_eq!(urls, ("https://login.microsoftonline.us", "https://graph.microsoft.us"), "D-PRV-04");
        assert_eq!(app.credentials, None);
        assert_eq!(read("discord", json!({"client_id": 1})), Ok(None), "it has no app that we would act through");
    }

    #[test]
    fn what_is_wrong_is_told_by_its_key_and_without_what_is_secret() {
        for (provider, table, said) in [
            ("slack", json!({"client_id": 1}), "client_id: must be text"),
            ("slack", json!({"client_id": "1.2"}), "client_secret: is required beside client_id"),
            ("slack", json!({"client_secret": "geheim"}), "client_id: is required beside client_secret"),
            ("slack", json!({"client_secret": "{{ vars.nothing }}"}), "client_secret: can't be read as a template"),
            ("slack", json!({"api_url": "slack.com/api"}), "api_url: must be an address such as https://slack.com/api"),
            ("ms_teams", json!({"graph_url": "https://u:geheim@h.io"}), "graph_url: must be an address"),
            ("ms_teams", json!({"login_url": "https://h.io/?x"}), "login_url: must be an address"),
            ("ms_teams", json!({"graph_client_id": "a"}), "graph_client_secret: is required beside graph_client_id"),
        ] {
            let faults = read(provider, table).unwrap_err();
            assert!(faults.len() == 1 && faults[0].contains(said) && !faults[0].contains("geheim"), "{faults:?}");
        }
    }
}
