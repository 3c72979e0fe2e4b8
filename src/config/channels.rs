//! Channels as they are declared: `[[channels]]` in the configuration, or in a file of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::section::{Reading, Section};
use super::workflows::Problem;
use crate::model::channel::{Channel, ChannelKind, ResponseFilter};
use crate::model::environment::Settings;
use crate::model::time::Time;
use crate::rules::condition::{Allow, Group};

/// The id of the feed channel that is there when none is declared.
const BUILT_IN_ID: Uuid = Uuid::from_u128(0xbe11_0000_0000_4000_8000_0000_0000_0001);

/// A declared channel.
#[derive(Debug)]
pub struct Declared {
    pub channel: Channel,
    /// What its provider needs to know, per environment.
    pub environments: BTreeMap<String, Map<String, Value>>,
}

impl Declared {
    /// The feed channel that is there when none is declared.
    pub(super) fn built_in(at: Time) -> Self {
        let channel = Channel {
            id: BUILT_IN_ID,
            key: "in-app-feed".to_owned(),
            name: "In-app feed".to_owned(),
            kind: ChannelKind::InAppFeed,
            provider: Channel::FEED_PROVIDER.to_owned(),
            created_at: at,
            updated_at: at,
            conditions: None,
            response_filter: ResponseFilter::default(),
        };
        Declared { channel, environments: BTreeMap::new() }
    }
}

/// Reads the channels of a file that declares nothing else.
pub fn load(file: &Path, environments: &BTreeMap<String, Settings>) -> Result<Vec<Declared>, Vec<Problem>> {
    let (text, changed_at) = super::text_of(file).map_err(|problem| vec![problem])?;
    let root = super::table(&text, file).map_err(|problem| vec![problem])?;
    let mut reading = Reading::new(file, BTreeMap::new());
    let mut root = reading.section(Some(Value::Object(root)), "");
    let channels = root.take("channels");
    root.finish();
    let channels = match channels {
        Some(channels) => read(channels, environments, &mut reading, changed_at),
        None => {
            reading.wrong("channels", "is required: declare each channel under `[[channels]]`");
            Vec::new()
        }
    };
    if reading.problems.is_empty() { Ok(channels) } else { Err(reading.problems) }
}

/// Reads `[[channels]]`.
pub(super) fn read(
    value: Value,
    environments: &BTreeMap<String, Settings>,
    reading: &mut Reading,
    changed_at: Time,
) -> Vec<Declared> {
    let Value::Array(tables) = value else {
        reading.wrong("channels", "must be a list: write `[[channels]]` above each channel's keys");
        return Vec::new();
    };
    let (mut ids, mut keys) = (BTreeSet::new(), BTreeSet::new());
    let mut declared = Vec::new();
    for (i, table) in tables.into_iter().enumerate() {
        let path = format!("channels[{i}]");
        let Some(found) = read_one(reading.section(Some(table), &path), environments, changed_at) else { continue };
        if !ids.insert(found.channel.id) {
            reading.wrong(&format!("{path}.id"), "is the id of an earlier channel; every channel needs its own");
        }
        if !keys.insert(found.channel.key.clone()) {
            reading.wrong(&format!("{path}.key"), "is the key of an earlier channel; every channel needs its own");
        }
        declared.push(found);
    }
    declared
}

fn read_one(mut section: Section<'_>, environments: &BTreeMap<String, Settings>, changed_at: Time) -> Option<Declared> {
    let id = read_id(&mut section);
    let key = read_key(&mut section);
    let kind = read_kind(&mut section);
    let name = section.text("name").or_else(|| key.clone());
    let provider = read_provider(&mut section, kind);
    let conditions = read_conditions(&mut section);
    let response_filter = read_filter(&mut section);
    let settings = read_settings(&mut section, kind, environments);
    section.finish();
    let channel = Channel {
        id: id?,
        key: key?,
        name: name?,
        kind: kind?,
        provider,
        created_at: changed_at,
        updated_at: changed_at,
        conditions,
        response_filter,
    };
    Some(Declared { channel, environments: settings })
}

fn read_id(section: &mut Section<'_>) -> Option<Uuid> {
    let text = section.required_text("id")?;
    let id = Uuid::try_parse(&text).ok();
    if id.is_none() {
        section.wrong("id", format!("`{text}` must be a UUID, such as {}", Uuid::new_v4()));
    }
    id
}

fn read_key(section: &mut Section<'_>) -> Option<String> {
    let key = section.required_text("key")?;
    let is_word = key.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
    if key.is_empty() || !is_word {
        section.wrong("key", format!("`{key}` can't be a channel's key: a-z, 0-9, `-` and `_` are allowed"));
        return None;
    }
    Some(key)
}

fn read_kind(section: &mut Section<'_>) -> Option<ChannelKind> {
    match section.required_text("type")?.parse() {
        Ok(kind) => Some(kind),
        Err(unknown) => {
            section.wrong("type", unknown.to_string());
            None
        }
    }
}

fn read_provider(section: &mut Section<'_>, kind: Option<ChannelKind>) -> String {
    let given = section.text("provider");
    let Some(own) = kind.and_then(Channel::own_provider) else { return given.unwrap_or_default() };
    if let Some(kind) = kind.filter(|_| given.is_some_and(|given| given != own)) {
        section.wrong("provider", format!("an {kind} channel is always `{own}`: leave it out"));
    }
    own.to_owned()
}

fn read_conditions(section: &mut Section<'_>) -> Option<Group> {
    let value = section.take("conditions")?;
    let path = section.at("conditions");
    // A channel asks before there is a message, so it cannot ask how one fares (W-CND-56).
    Group::parse(&value, &path, Allow::default()).map_err(|faults| section.reading.all_wrong(faults)).ok()
}

fn read_filter(section: &mut Section<'_>) -> ResponseFilter {
    let Some(value) = section.take("response_filter") else { return ResponseFilter::default() };
    let path = section.at("response_filter");
    ResponseFilter::parse(&value, &path).map_err(|faults| section.reading.all_wrong(faults)).unwrap_or_default()
}

/// Whether a channel of this kind has a setting of that name. Where the server is its own provider, nothing else is asked.
fn is_needed(kind: Option<ChannelKind>, name: &str) -> bool {
    let is_own = kind.and_then(Channel::own_provider).is_some();
    !is_own || (kind == Some(ChannelKind::InAppFeed) && name == "link_tracking")
}

fn read_settings(
    section: &mut Section<'_>,
    kind: Option<ChannelKind>,
    environments: &BTreeMap<String, Settings>,
) -> BTreeMap<String, Map<String, Value>> {
    let mut settings = BTreeMap::new();
    for (slug, value) in section.map("environments") {
        let key = format!("environments.{slug}");
        if !environments.contains_key(&slug) {
            let known: Vec<&str> = environments.keys().map(String::as_str).collect();
            section.wrong(&key, format!("there is no environment `{slug}`; configured are {}", known.join(", ")));
        }
        match value {
            Value::Object(table) if table.keys().any(|name| !is_needed(kind, name)) => {
                let kind = kind.map_or("", ChannelKind::as_str);
                let but = if kind == ChannelKind::InAppFeed.as_str() { " but link_tracking" } else { "" };
                section
                    .wrong(&key, format!("an {kind} channel needs no settings{but}: the server is its own provider"));
            }
            Value::Object(table) => {
                for name in ["sandbox_mode", "link_tracking"] {
                    if table.get(name).is_some_and(|flag| !flag.is_boolean()) {
                        section.wrong(&format!("{key}.{name}"), "must be true or false");
                    }
                }
                settings.insert(slug, table);
            }
            _ => section.wrong(&key, "must be a table of the provider's settings"),
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Config, Vec<String>> {
        Config::parse(text, Path::new("b.toml"), Time::from_micros(7), [])
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_channel_is_read_whole() {
        let text = r#"
            [environments.production]
            [[channels]]
            id = "5f3c1d6e-0000-4000-8000-000000000001"
            key = "bell"
            type = "in_app_feed"
            name = "The bell"
            response_filter = { data = false }
            conditions = { all = [{ variable = "data.loud", operator = "equal_to", argument = true }] }
            [[channels]]
            id = "5f3c1d6e-0000-4000-8000-000000000002"
            key = "post"
            type = "email"
            provider = "smtp"
            [channels.environments.production]
            host = "mail.example.com"
        "#;
        let config = parse(text).expect("a sound configuration");
        let [bell, post] = config.channels.as_slice() else { panic!("two channels") };
        assert_eq!((bell.channel.key.as_str(), bell.channel.name.as_str()), ("bell", "The bell"));
        assert_eq!(bell.channel.provider, Channel::FEED_PROVIDER);
        assert!(bell.channel.conditions.is_some(), "W-CND-04");
        assert_ne!(bell.channel.response_filter, ResponseFilter::default(), "F-FED-27");
        assert_eq!(bell.channel.created_at, Time::from_micros(7));
        assert_eq!((post.channel.name.as_str(), post.channel.kind), ("post", ChannelKind::Email));
        assert_eq!(post.environments["production"]["host"], "mail.example.com");
    }

    /// F-TRN-19: an id that is no UUID is one of them.
    #[test]
    fn mistakes_are_told_by_their_path() {
        let text = r#"
            [[channels]]
            id = "1"
            key = "The Bell"
            type = "in_app_fed"
            response_filter = { data = 1 }
            conditions = { all = [{ variable = "refs.a.delivery_status", operator = "equal_to", argument = 1 }] }
            colour = "red"
            [channels.environments.prod]
            [[channels]]
            key = "a"
            [[channels]]
            id = "5f3c1d6e-0000-4000-8000-000000000001"
            key = "a"
            type = "sms"
            [[channels]]
            id = "5f3c1d6e-0000-4000-8000-000000000001"
            key = "a"
            type = "sms"
        "#;
        let said = parse(text).expect_err("mistakes");
        let starts = [
            "b.toml: channels[0].id: `1` must be a UUID",
            "b.toml: channels[0].key: `The Bell` can't be",
            "b.toml: channels[0].type: `in_app_fed` is not a kind of channel; it is one of",
            "b.toml: channels[0].conditions",
            "b.toml: channels[0].response_filter.data: must be",
            "b.toml: channels[0].environments.prod: there is no environment `prod`; configured are development",
            "b.toml: channels[0].colour: there is no key `colour`",
            "b.toml: channels[1].id: is required",
            "b.toml: channels[1].type: is required",
            "b.toml: channels[3].id: is the id of an earlier channel",
            "b.toml: channels[3].key: is the key of an earlier channel",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (said, start) in said.iter().zip(starts) {
            assert!(said.starts_with(start), "{said} / {start}");
        }
    }
}
