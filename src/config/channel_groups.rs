//! Channel groups as they are declared: `[[channel_groups]]` in the configuration.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::channels::Declared;
use super::section::{Reading, Section};
use crate::model::channel::ChannelKind;
use crate::model::channel_group::{ChannelGroup, Member, Operator, Rule};
use crate::model::invalid::aside;

/// Reads `[[channel_groups]]`; their channels are among `channels`.
pub(super) fn read(value: Value, channels: &[Declared], reading: &mut Reading) -> Vec<ChannelGroup> {
    let Value::Array(tables) = value else {
        reading.wrong("channel_groups", "must be a list: write `[[channel_groups]]` above each group's keys");
        return Vec::new();
    };
    let mut keys = BTreeSet::new();
    let mut groups = Vec::new();
    for (i, table) in tables.into_iter().enumerate() {
        let path = format!("channel_groups[{i}]");
        let Some(group) = read_one(reading.section(Some(table), &path), &path, channels) else { continue };
        if !keys.insert(group.key.clone()) {
            reading.wrong(&format!("{path}.key"), "is the key of an earlier group; every group needs its own");
        }
        groups.push(group);
    }
    groups
}

fn read_one(mut section: Section<'_>, path: &str, channels: &[Declared]) -> Option<ChannelGroup> {
    let key = section.required_text("key");
    let name = section.text("name").or_else(|| key.clone());
    let kind = match section.required_text("channel_type").map(|word| word.parse::<ChannelKind>()) {
        Some(Ok(kind)) => Some(kind),
        Some(Err(unknown)) => {
            section.wrong("channel_type", unknown.to_string());
            None
        }
        None => None,
    };
    let operator = match section.text("operator").as_deref() {
        None | Some("any") => Operator::Any,
        Some("all") => Operator::All,
        Some(_) => {
            section.wrong("operator", "must be any or all");
            Operator::default()
        }
    };
    let rules = match section.take("rules") {
        Some(Value::Array(rules)) if !rules.is_empty() => rules,
        _ => {
            section.wrong("rules", "is required, as a list of at least one, such as [{ channel = \"apns\" }]");
            Vec::new()
        }
    };
    let mut members: Vec<(i64, Member)> = Vec::new();
    for (at, rule) in rules.into_iter().enumerate() {
        let rule = read_rule(&rule, &format!("{path}.rules[{at}]"), kind, channels, section.reading);
        members.extend(rule.map(|(index, member)| (index.unwrap_or(at as i64), member)));
    }
    section.finish();
    members.sort_by_key(|(index, _)| *index);
    let members = members.into_iter().map(|(_, member)| member).collect();
    Some(ChannelGroup { key: key?, name: name?, channel_type: kind?, operator, members })
}

fn read_rule(
    rule: &Value,
    path: &str,
    kind: Option<ChannelKind>,
    channels: &[Declared],
    reading: &mut Reading,
) -> Option<(Option<i64>, Member)> {
    let Value::Object(map) = rule else {
        reading.wrong(path, "must be a table such as { channel = \"apns\" }");
        return None;
    };
    const KNOWN: [&str; 6] = ["channel", "rule_type", "variable", "operator", "argument", "index"];
    for key in map.keys().filter(|key| !KNOWN.contains(&key.as_str())) {
        reading.wrong(&format!("{path}.{key}"), format!("there is no key `{key}` here{}", aside(key, KNOWN)));
    }
    let index = map.get("index").map(|index| index.as_i64());
    if index == Some(None) {
        reading.wrong(&format!("{path}.index"), "must be a whole number");
    }
    let channel = read_channel(map, path, kind, channels, reading);
    let rule = Rule::parse(map, path).map_err(|faults| reading.all_wrong(faults)).ok();
    Some((index.flatten(), Member { channel: channel?, rule: rule? }))
}

/// The channel of a rule: one that is declared, of the group's kind.
fn read_channel(
    map: &Map<String, Value>,
    path: &str,
    kind: Option<ChannelKind>,
    channels: &[Declared],
    reading: &mut Reading,
) -> Option<String> {
    let path = format!("{path}.channel");
    let Some(key) = map.get("channel").and_then(Value::as_str) else {
        reading.wrong(&path, "is required: the key of a channel");
        return None;
    };
    let Some(declared) = channels.iter().find(|declared| declared.channel.key == key) else {
        let hint = aside(key, channels.iter().map(|declared| declared.channel.key.as_str()));
        reading.wrong(&path, format!("no channel `{key}` is declared{hint}"));
        return None;
    };
    if let Some(kind) = kind.filter(|kind| *kind != declared.channel.kind) {
        let message = format!("channel `{key}` is of type {}, and the group of type {kind}", declared.channel.kind);
        reading.wrong(&path, message);
    }
    Some(key.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::config::Config;
    use crate::model::channel::ChannelKind;
    use crate::model::channel_group::Operator;
    use crate::model::time::Time;

    const CHANNELS: &str = r#"
        [environments.development]
        [[channels]]
        id = "5f3c1d6e-0000-4000-8000-000000000001"
        key = "apns"
        type = "push"
        [channels.environments.development]
        sandbox_mode = true
        [[channels]]
        id = "5f3c1d6e-0000-4000-8000-000000000002"
        key = "fcm"
        type = "push"
        [[channels]]
        id = "5f3c1d6e-0000-4000-8000-000000000003"
        key = "post"
        type = "email"
        [channels.environments.development]
        host = "mail.example.com"
    "#;

    fn parse(groups: &str) -> Result<Config, Vec<String>> {
        Config::parse(&format!("{CHANNELS}{groups}"), Path::new("b.toml"), Time::default(), [])
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_group_is_read_whole_with_its_channels_in_order() {
        let config = parse(
            r#"
            [[channel_groups]]
            key = "phones"
            channel_type = "push"
            operator = "all"
            rules = [
                { channel = "fcm", index = 1 },
                { channel = "apns", index = 0, rule_type = "if", variable = "recipient.id", operator = "is_in_random_cohort", argument = "50" },
            ]"#,
        )
        .expect("a sound configuration");
        let [group] = config.channel_groups.as_slice() else { panic!("one group") };
        assert_eq!((group.key.as_str(), group.name.as_str()), ("phones", "phones"));
        assert_eq!((group.channel_type, group.operator), (ChannelKind::Push, Operator::All), "W-CHS-13");
        let order: Vec<_> =
            group.members.iter().map(|member| (member.channel.as_str(), member.rule.as_str())).collect();
        assert_eq!(order, [("apns", "if"), ("fcm", "always")], "W-CHS-13");
    }

    #[test]
    fn what_is_configured_where_is_known_to_the_environment() {
        let config = parse("").expect("a sound configuration");
        let channels = &config.environments["development"].channels;
        let known: Vec<_> = channels.iter().map(|(key, setup)| (key.as_str(), setup.is_sandbox)).collect();
        assert_eq!(known, [("apns", true), ("post", false)], "W-CHS-05 W-CHS-14");
    }

    #[test]
    fn mistakes_are_told_by_their_path() {
        let said = parse(
            r#"
            [[channel_groups]]
            key = "phones"
            channel_type = "push"
            operator = "some"
            rules = [{ channel = "apsn" }, { channel = "post", index = "a", when = 1 }, { rule_type = "if", channel = "fcm" }]
            [[channel_groups]]
            key = "phones"
            channel_type = "push"
            rules = [{ channel = "fcm" }]
            [[channel_groups]]
            channel_type = "pigeon""#,
        )
        .expect_err("mistakes");
        for start in [
            "b.toml: channel_groups[0].operator: must be any or all",
            "b.toml: channel_groups[0].rules[0].channel: no channel `apsn` is declared (did you mean `apns`?)",
            "b.toml: channel_groups[0].rules[1].channel: channel `post` is of type email",
            "b.toml: channel_groups[0].rules[1].index: must be",
            "b.toml: channel_groups[0].rules[1].when: there is no key `when`",
            "b.toml: channel_groups[0].rules[2].operator",
            "b.toml: channel_groups[1].key: is the key of an earlier group",
            "b.toml: channel_groups[2].key: is required",
            "b.toml: channel_groups[2].channel_type: `pigeon`",
            "b.toml: channel_groups[2].rules: is required",
        ] {
            assert!(said.iter().any(|said| said.starts_with(start)), "{start}: {said:#?}");
        }
    }
}
