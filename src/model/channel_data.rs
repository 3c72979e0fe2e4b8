//! Channel data: where a channel reaches a recipient, such as the tokens of their phones, in the shape that its provider takes.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::channel::{Channel, ChannelKind};
use super::invalid::{Invalid, join};

/// What a channel's provider takes (F-CHD-05).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Devices, each by a token (F-CHD-07).
    Tokens,
    /// Devices, each by an endpoint of Amazon SNS (F-CHD-09).
    TargetArns,
    /// Players of OneSignal (F-CHD-10).
    Players,
    /// Connections of Slack, and a workspace's token (F-CHD-12, F-CHD-13).
    Slack,
    /// Connections of Microsoft Teams, and an organisation's id (F-CHD-15).
    Teams,
    /// Connections of Discord (F-CHD-17).
    Discord,
    /// Any object: the provider is not known here.
    Open,
}

/// The providers whose data is known, and those that answers name (F-CHD-03).
const PROVIDERS: [(&str, Shape, bool); 10] = [
    ("push_fcm", Shape::Tokens, true),
    ("push_apns", Shape::Tokens, true),
    ("push_expo", Shape::Tokens, true),
    ("push_web", Shape::Tokens, false),
    ("push_aws_sns", Shape::TargetArns, true),
    ("push_one_signal", Shape::Players, true),
    ("chat_slack", Shape::Slack, true),
    ("chat_ms_teams", Shape::Teams, true),
    ("chat_discord", Shape::Discord, true),
    ("http_knock_webhook", Shape::Open, true),
];

const WEBHOOK: &str = "incoming_webhook";
const SLACK_KEYS: [&str; 4] = ["access_token", "channel_id", "channel_name", "user_id"];
const TEAMS_KEYS: [&str; 4] = ["ms_teams_channel_id", "ms_teams_team_id", "ms_teams_tenant_id", "ms_teams_user_id"];
const TEAMS_TENANT: &str = "ms_teams_tenant_id";

/// A channel's provider, if its data is known. A provider may be called without what kind of channel it is for.
fn known(channel: &Channel) -> Option<&'static (&'static str, Shape, bool)> {
    let kind = channel.kind.as_str();
    let is_it = |id: &str| {
        let short = id.strip_prefix(kind).and_then(|rest| rest.strip_prefix('_'));
        short.is_some() && (id == channel.provider || short == Some(&channel.provider))
    };
    PROVIDERS.iter().find(|(id, ..)| is_it(id))
}

/// The name of the channel's provider as answers give it (F-CHD-03); none for one that is not in their list.
pub fn provider(channel: &Channel) -> Option<&'static str> {
    match known(channel) {
        Some((id, _, is_listed)) => is_listed.then_some(*id),
        None if channel.kind == ChannelKind::Http && channel.provider.is_empty() => Some("http_knock_webhook"),
        None => None,
    }
}

impl Shape {
    /// What the channel takes; none where nobody needs data to be reached.
    pub fn of(channel: &Channel) -> Option<Shape> {
        match channel.kind {
            ChannelKind::Push | ChannelKind::Chat | ChannelKind::Http => {
                Some(known(channel).map_or(Shape::Open, |(_, shape, _)| *shape))
            }
            ChannelKind::Email | ChannelKind::Sms | ChannelKind::InAppFeed | ChannelKind::InAppGuide => None,
        }
    }

    /// Everything that is wrong with data as somebody writes it. Whether a token or an address still works is not asked
    /// (F-CHD-06).
    pub fn check(self, data: &Map<String, Value>, path: &str) -> Vec<Invalid> {
        let mut faults = Faults { found: Vec::new() };
        match self {
            Shape::Tokens => faults.devices(data, "tokens", "token", path),
            Shape::TargetArns => faults.devices(data, "target_arns", "target_arn", path),
            Shape::Players => faults.players(data, path),
            Shape::Slack => {
                faults.one_of(data, ["connections", "token"], path);
                faults.connections(data, &SLACK_KEYS, None, path);
                faults.slack_token(data, &join(path, "token"));
            }
            Shape::Teams => {
                faults.one_of(data, ["connections", TEAMS_TENANT], path);
                faults.connections(data, &TEAMS_KEYS, None, path);
                faults.text_or_null(data, TEAMS_TENANT, path);
            }
            Shape::Discord => {
                faults.list(data, "connections", path);
                faults.connections(data, &[], Some("channel_id"), path);
            }
            Shape::Open => {}
        }
        faults.found
    }

    /// Data as it is read, however it was written: devices in both views (F-CHD-08), connections with all their keys
    /// (F-CHD-14, F-AMB-28).
    pub fn shown(self, data: &Value) -> Value {
        match self {
            Shape::Tokens => both_views(data, "tokens", "token"),
            Shape::TargetArns => both_views(data, "target_arns", "target_arn"),
            Shape::Players => json!({"player_ids": list(data, "player_ids")}),
            Shape::Slack => with_connections(data, &SLACK_KEYS, "token"),
            Shape::Teams => with_connections(data, &TEAMS_KEYS, TEAMS_TENANT),
            Shape::Discord => {
                let mut out = data.as_object().cloned().unwrap_or_default();
                out.insert("connections".to_owned(), list(data, "connections").into());
                Value::Object(out)
            }
            Shape::Open => data.clone(),
        }
    }
}

/// Whether data names a place to reach anybody at: an empty list does not (F-CHD-11).
pub fn says_something(data: &Value) -> bool {
    match data {
        Value::Null => false,
        Value::Array(items) => items.iter().any(says_something),
        Value::Object(members) => members.values().any(says_something),
        Value::String(text) => !text.is_empty(),
        Value::Bool(_) | Value::Number(_) => true,
    }
}

fn list(data: &Value, name: &str) -> Vec<Value> {
    data.get(name).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn both_views(data: &Value, plural: &str, singular: &str) -> Value {
    let device = |name: Value, of: &Value| {
        let told = |name: &str| of.get(name).cloned().unwrap_or_default();
        json!({singular: name, "locale": told("locale"), "timezone": told("timezone")})
    };
    let devices: Vec<Value> = match data.get("devices").and_then(Value::as_array) {
        Some(devices) => {
            devices.iter().map(|one| device(one.get(singular).cloned().unwrap_or_default(), one)).collect()
        }
        None => list(data, plural).into_iter().map(|name| device(name, &Value::Null)).collect(),
    };
    let names: Vec<Value> = devices.iter().map(|device| device[singular].clone()).collect();
    json!({plural: names, "devices": devices})
}

fn with_connections(data: &Value, keys: &[&str], own: &str) -> Value {
    let mut out = data.as_object().cloned().unwrap_or_default();
    let mut connections = list(data, "connections");
    for connection in connections.iter_mut().filter_map(Value::as_object_mut).filter(|one| !is_webhook(one)) {
        for key in keys {
            connection.entry(*key).or_insert(Value::Null);
        }
    }
    out.insert("connections".to_owned(), connections.into());
    out.entry(own).or_insert(Value::Null);
    Value::Object(out)
}

fn is_webhook(connection: &Map<String, Value>) -> bool {
    connection.get(WEBHOOK).is_some_and(|webhook| !webhook.is_null())
}

/// What is wrong so far.
struct Faults {
    found: Vec<Invalid>,
}

impl Faults {
    fn add(&mut self, path: String, message: impl Into<String>) {
        self.found.push(Invalid::new(path, message));
    }

    /// F-CHD-07, F-CHD-09.
    fn devices(&mut self, data: &Map<String, Value>, plural: &str, singular: &str, path: &str) {
        let given = |name: &str| data.get(name).filter(|value| !value.is_null());
        match (given(plural), given("devices")) {
            (None, None) => self.add(path.to_owned(), format!("{plural} or devices is required, as a list")),
            (Some(_), Some(_)) => {
                let message =
                    format!("takes {plural} or devices, and not both: devices tell of locale and timezone, too");
                self.add(path.to_owned(), message);
            }
            (Some(Value::Array(names)), None) => {
                for (at, name) in names.iter().enumerate() {
                    self.text(Some(name), format!("{}[{at}]", join(path, plural)));
                }
            }
            (None, Some(Value::Array(devices))) => {
                for (at, device) in devices.iter().enumerate() {
                    let path = format!("{}[{at}]", join(path, "devices"));
                    let Some(device) = device.as_object() else {
                        self.add(path, format!("must be an object with a {singular}"));
                        continue;
                    };
                    self.text(device.get(singular), join(&path, singular));
                    self.text_or_null(device, "locale", &path);
                    self.text_or_null(device, "timezone", &path);
                }
            }
            (Some(_), None) => self.add(join(path, plural), "must be a list"),
            (None, Some(_)) => self.add(join(path, "devices"), "must be a list"),
        }
    }

    /// F-CHD-10.
    fn players(&mut self, data: &Map<String, Value>, path: &str) {
        for (at, id) in self.list(data, "player_ids", path).into_iter().enumerate() {
            if id.as_str().is_none_or(|id| Uuid::try_parse(id).is_err()) {
                self.add(format!("{}[{at}]", join(path, "player_ids")), "must be a UUID");
            }
        }
    }

    /// F-CHD-12, F-CHD-15, F-CHD-17; of a connection that is no webhook, the key `required` must be there.
    fn connections(&mut self, data: &Map<String, Value>, keys: &[&str], required: Option<&str>, path: &str) {
        let connections = match data.get("connections") {
            None | Some(Value::Null) => return,
            Some(Value::Array(connections)) => connections,
            // A list that is required is complained about already.
            Some(_) if required.is_some() => return,
            Some(_) => return self.add(join(path, "connections"), "must be a list"),
        };
        for (at, connection) in connections.iter().enumerate() {
            let path = format!("{}[{at}]", join(path, "connections"));
            match connection {
                Value::Object(connection) if is_webhook(connection) => {
                    let path = join(&path, WEBHOOK);
                    match connection.get(WEBHOOK) {
                        Some(Value::Object(webhook)) => self.text(webhook.get("url"), join(&path, "url")),
                        _ => self.add(path, "must be an object with a url"),
                    }
                }
                Value::Object(connection) => {
                    keys.iter().for_each(|key| self.text_or_null(connection, key, &path));
                    if let Some(required) = required {
                        self.text(connection.get(required), join(&path, required));
                    }
                }
                _ => self.add(path, "must be an object"),
            }
        }
    }

    /// F-CHD-13.
    fn slack_token(&mut self, data: &Map<String, Value>, path: &str) {
        match data.get("token") {
            None | Some(Value::Null) => {}
            Some(Value::Object(token)) if token.contains_key("access_token") => {
                self.text_or_null(token, "access_token", path);
            }
            Some(_) => self.add(path.to_owned(), "must be an object with an access_token, or null"),
        }
    }

    fn one_of(&mut self, data: &Map<String, Value>, names: [&str; 2], path: &str) {
        if !names.iter().any(|name| data.contains_key(*name)) {
            self.add(path.to_owned(), format!("{} or {} is required", names[0], names[1]));
        }
    }

    /// The list of that name; it must be there.
    fn list(&mut self, data: &Map<String, Value>, name: &str, path: &str) -> Vec<Value> {
        match data.get(name) {
            Some(Value::Array(items)) => items.clone(),
            _ => {
                self.add(join(path, name), "is required, as a list");
                Vec::new()
            }
        }
    }

    fn text(&mut self, value: Option<&Value>, path: String) {
        match value {
            Some(Value::String(text)) if !text.is_empty() => {}
            _ => self.add(path, "is required, as a text that is not empty"),
        }
    }

    fn text_or_null(&mut self, of: &Map<String, Value>, name: &str, path: &str) {
        if of.get(name).is_some_and(|value| !value.is_string() && !value.is_null()) {
            self.add(join(path, name), "must be a text or null");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::channel::ResponseFilter;
    use crate::model::time::Time;

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

    fn wrong(shape: Shape, data: &Value) -> Vec<String> {
        shape.check(data.as_object().unwrap(), "data").into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn a_provider_is_known_with_and_without_its_kind() {
        use ChannelKind::{Chat, Email, Http, InAppFeed, InAppGuide, Push, Sms};
        for (kind, name, shape, shown) in [
            (Push, "push_fcm", Some(Shape::Tokens), Some("push_fcm")),
            (Push, "apns", Some(Shape::Tokens), Some("push_apns")),
            (Push, "expo", Some(Shape::Tokens), Some("push_expo")),
            (Push, "web", Some(Shape::Tokens), None),
            (Push, "aws_sns", Some(Shape::TargetArns), Some("push_aws_sns")),
            (Push, "one_signal", Some(Shape::Players), Some("push_one_signal")),
            (Push, "", Some(Shape::Open), None),
            (Push, "slack", Some(Shape::Open), None),
            (Chat, "slack", Some(Shape::Slack), Some("chat_slack")),
            (Chat, "chat_ms_teams", Some(Shape::Teams), Some("chat_ms_teams")),
            (Chat, "discord", Some(Shape::Discord), Some("chat_discord")),
            (Chat, "whatsapp", Some(Shape::Open), None),
            (Http, "", Some(Shape::Open), Some("http_knock_webhook")),
            (Email, "smtp", None, None),
            (Sms, "twilio", None, None),
            (InAppFeed, Channel::FEED_PROVIDER, None, None),
            (InAppGuide, "", None, None),
        ] {
            let channel = channel(kind, name);
            assert_eq!((Shape::of(&channel), provider(&channel)), (shape, shown), "F-CHD-03 F-CHD-05 {kind} {name}");
        }
    }

    #[test]
    fn sound_data_is_taken_and_shown_whole() {
        let nobody = json!({"token": "a", "locale": null, "timezone": null});
        let there = json!({"token": "a", "locale": "de", "timezone": "Europe/Berlin"});
        let slack = json!({"access_token": null, "channel_id": "C1", "channel_name": null, "user_id": null});
        let teams = json!({"ms_teams_channel_id": "19:x@thread.tacv2", "ms_teams_team_id": null,
            "ms_teams_tenant_id": null, "ms_teams_user_id": null});
        let hook = json!({"incoming_webhook": {"url": "https://example.com/hook"}});
        let player = "0190b5c0-0000-7000-8000-000000000000";
        for (shape, data, shown, rule) in [
            (Shape::Tokens, json!({"tokens": ["a"]}), json!({"tokens": ["a"], "devices": [nobody]}), "F-CHD-08"),
            (
                Shape::Tokens,
                json!({"devices": [{"token": "a"}]}),
                json!({"tokens": ["a"], "devices": [nobody]}),
                "F-CHD-08",
            ),
            (
                Shape::Tokens,
                json!({"devices": [there], "tokens": null}),
                json!({"tokens": ["a"], "devices": [there]}),
                "F-CHD-08",
            ),
            (Shape::Tokens, json!({"devices": []}), json!({"tokens": [], "devices": []}), "F-CHD-11"),
            (Shape::Tokens, json!({"tokens": []}), json!({"tokens": [], "devices": []}), "F-CHD-11"),
            (
                Shape::TargetArns,
                json!({"target_arns": ["arn:1"]}),
                json!({"target_arns": ["arn:1"], "devices": [{"target_arn": "arn:1", "locale": null, "timezone": null}]}),
                "F-CHD-09",
            ),
            (
                Shape::TargetArns,
                json!({"devices": [{"target_arn": "arn:1", "locale": "fr"}]}),
                json!({"target_arns": ["arn:1"], "devices": [{"target_arn": "arn:1", "locale": "fr", "timezone": null}]}),
                "F-CHD-09",
            ),
            (Shape::Players, json!({"player_ids": [player]}), json!({"player_ids": [player]}), "F-CHD-10"),
            (Shape::Players, json!({"player_ids": []}), json!({"player_ids": []}), "F-CHD-11"),
            (
                Shape::Slack,
                json!({"connections": [{"channel_id": "C1"}, hook]}),
                json!({"connections": [slack, hook], "token": null}),
                "F-CHD-12 F-CHD-14",
            ),
            (
                Shape::Slack,
                json!({"token": {"access_token": "xoxb"}, "extra": 1}),
                json!({"connections": [], "token": {"access_token": "xoxb"}, "extra": 1}),
                "F-CHD-13 F-CHD-14 F-AMB-28",
            ),
            (
                Shape::Teams,
                json!({"connections": [{"ms_teams_channel_id": "19:x@thread.tacv2"}, hook]}),
                json!({"connections": [teams, hook], "ms_teams_tenant_id": null}),
                "F-CHD-15 F-CHD-16 F-AMB-28",
            ),
            (
                Shape::Teams,
                json!({"ms_teams_tenant_id": "contoso"}),
                json!({"connections": [], "ms_teams_tenant_id": "contoso"}),
                "F-CHD-15 F-CHD-16",
            ),
            (
                Shape::Discord,
                json!({"connections": [{"channel_id": "1"}, hook]}),
                json!({"connections": [{"channel_id": "1"}, hook]}),
                "F-CHD-17",
            ),
            (
                Shape::Discord,
                json!({"connections": [{"incoming_webhook": {"url": "nowhere"}}]}),
                json!({"connections": [{"incoming_webhook": {"url": "nowhere"}}]}),
                "F-CHD-06",
            ),
            (Shape::Open, json!({"anything": [1]}), json!({"anything": [1]}), "F-CHD-05"),
        ] {
            assert_eq!(wrong(shape, &data), Vec::<String>::new(), "{rule} {data}");
            assert_eq!(shape.shown(&data), shown, "{rule} {data}");
        }
    }

    #[test]
    fn what_a_provider_does_not_take_is_said_with_its_place() {
        for (shape, data, places, rule) in [
            (Shape::Tokens, json!({}), vec!["data"], "F-CHD-07"),
            (Shape::Tokens, json!({"tokens": ["a"], "devices": [{"token": "a"}]}), vec!["data"], "F-CHD-07"),
            (Shape::Tokens, json!({"tokens": "a"}), vec!["data.tokens"], "F-CHD-07"),
            (Shape::Tokens, json!({"tokens": ["a", 1, ""]}), vec!["data.tokens[1]", "data.tokens[2]"], "F-CHD-07"),
            (Shape::Tokens, json!({"devices": {}}), vec!["data.devices"], "F-CHD-07"),
            (
                Shape::Tokens,
                json!({"devices": ["a", {"locale": 1}, {"token": "t", "timezone": []}]}),
                vec!["data.devices[0]", "data.devices[1].token", "data.devices[1].locale", "data.devices[2].timezone"],
                "F-CHD-07",
            ),
            (Shape::TargetArns, json!({"tokens": ["a"]}), vec!["data"], "F-CHD-09"),
            (Shape::TargetArns, json!({"devices": [{"token": "a"}]}), vec!["data.devices[0].target_arn"], "F-CHD-09"),
            (Shape::Players, json!({}), vec!["data.player_ids"], "F-CHD-10"),
            (Shape::Players, json!({"player_ids": ["x"]}), vec!["data.player_ids[0]"], "F-CHD-10"),
            (Shape::Slack, json!({}), vec!["data"], "F-CHD-12 F-CHD-13"),
            (Shape::Slack, json!({"connections": {}}), vec!["data.connections"], "F-CHD-12"),
            (
                Shape::Slack,
                json!({"connections": [1, {"channel_id": 1}, {"incoming_webhook": {}}, {"incoming_webhook": "u"}]}),
                vec![
                    "data.connections[0]",
                    "data.connections[1].channel_id",
                    "data.connections[2].incoming_webhook.url",
                    "data.connections[3].incoming_webhook",
                ],
                "F-CHD-12",
            ),
            (Shape::Slack, json!({"token": "xoxb"}), vec!["data.token"], "F-CHD-13"),
            (Shape::Slack, json!({"token": {"access_token": 1}}), vec!["data.token.access_token"], "F-CHD-13"),
            (Shape::Teams, json!({"connection": []}), vec!["data"], "F-CHD-15"),
            (
                Shape::Teams,
                json!({"connections": [{"ms_teams_user_id": 1}], "ms_teams_tenant_id": 2}),
                vec!["data.connections[0].ms_teams_user_id", "data.ms_teams_tenant_id"],
                "F-CHD-15",
            ),
            (Shape::Discord, json!({}), vec!["data.connections"], "F-CHD-17"),
            (Shape::Discord, json!({"connections": 1}), vec!["data.connections"], "F-CHD-17"),
            (Shape::Discord, json!({"connections": [{}]}), vec!["data.connections[0].channel_id"], "F-CHD-17"),
        ] {
            assert_eq!(wrong(shape, &data), places, "{rule} {data}");
        }
    }

    #[test]
    fn what_names_no_place_says_nothing() {
        for (data, says) in [
            (json!({}), false),
            (json!({"devices": [], "tokens": []}), false),
            (json!({"token": null, "connections": [{"access_token": null, "channel_id": ""}]}), false),
            (json!({"tokens": ["a"]}), true),
            (json!({"connections": [{"incoming_webhook": {"url": "u"}}]}), true),
            (json!({"ids": [0]}), true),
        ] {
            assert_eq!(says_something(&data), says, "F-CHD-11 F-CHD-18 {data}");
        }
    }
}
