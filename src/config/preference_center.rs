//! `[environments.*.preference_center]`: the page on which users choose what they are told.

use std::str::FromStr as _;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::section::Section;
use crate::model::channel::ChannelKind;
use crate::model::invalid::aside;
use crate::model::preference_center::{Center, Labels, Row, RowKind, is_url};

/// Reads the section; what it leaves out is as it always is.
pub(super) fn read(mut section: Section<'_>) -> Center {
    let mut center = Center::default();
    section.flag("enabled", &mut center.is_enabled);
    section.flag("show_account_name", &mut center.shows_account);
    for (key, slot) in [
        ("title", &mut center.title),
        ("body", &mut center.body),
        ("lang", &mut center.lang),
        ("unsubscribed_title", &mut center.unsubscribed.title),
        ("unsubscribed_body", &mut center.unsubscribed.body),
    ] {
        if let Some(text) = section.text(key) {
            *slot = text;
        }
    }
    read_redirect(&mut section, &mut center);
    read_labels(&mut section, &mut center.labels);
    if let Some(rows) = section.take("rows") {
        center.rows = read_rows(&mut section, rows);
    }
    section.finish();
    if center.rows.iter().all(|row| row.kind != RowKind::Commercial) {
        center.rows.push(Row::commercial());
    }
    center
}

fn read_redirect(section: &mut Section<'_>, center: &mut Center) {
    let Some(url) = section.text("unsubscribed_redirect_url").filter(|url| !url.is_empty()) else { return };
    if !is_url(&url) {
        section.wrong("unsubscribed_redirect_url", "must begin with https:// or http://");
    }
    center.unsubscribed.redirect_url = Some(url);
}

fn read_labels(section: &mut Section<'_>, labels: &mut Labels) {
    for (name, words) in section.map("labels") {
        let key = format!("labels.{name}");
        match words {
            Value::String(words) if labels.set(&name, &words) => {}
            Value::String(_) => {
                let hint = aside(&name, Labels::DEFAULTS.map(|(name, _)| name));
                section.wrong(&key, format!("there is nothing of that name on the page{hint}"));
            }
            _ => section.wrong(&key, "must be text in quotation marks"),
        }
    }
}

fn read_rows(section: &mut Section<'_>, rows: Value) -> Vec<Row> {
    let Value::Array(rows) = rows else {
        section.wrong(
            "rows",
            "must be a list of tables such as { type = \"category\", identifier = \"news\", name = \"News\" }",
        );
        return Vec::new();
    };
    let mut read: Vec<Row> = Vec::new();
    for (at, row) in rows.into_iter().enumerate() {
        let Some(row) = read_row(section, row, at) else { continue };
        let is_same = |other: &&Row| {
            (other.kind, &other.identifier, &other.channel_types) == (row.kind, &row.identifier, &row.channel_types)
        };
        if read.iter().any(|other| is_same(&other)) {
            section.wrong(&format!("rows[{at}]"), "is about the same as an earlier row");
        }
        read.push(row);
    }
    read
}

fn read_row(section: &mut Section<'_>, row: Value, at: usize) -> Option<Row> {
    let key = format!("rows[{at}]");
    let Value::Object(mut row) = row else {
        section.wrong(&key, "must be a table");
        return None;
    };
    let kind = text(section, &mut row, &key, "type");
    let kind = kind.and_then(|word| match RowKind::ALL.into_iter().find(|kind| kind.as_str() == word) {
        None => {
            let known = RowKind::ALL.map(RowKind::as_str);
            section.wrong(
                &format!("{key}.type"),
                format!("`{word}` must be one of {}{}", known.join(", "), aside(&word, known)),
            );
            None
        }
        kind => kind,
    });
    let name = text(section, &mut row, &key, "name").unwrap_or_default();
    if name.trim().is_empty() {
        section.wrong(&format!("{key}.name"), "is required, as text");
    }
    let description = text(section, &mut row, &key, "description").unwrap_or_default();
    let identifier = text(section, &mut row, &key, "identifier").filter(|text| !text.is_empty());
    let channel_types = read_kinds(section, row.remove("channel_types"), &key);
    for unknown in row.keys() {
        let known = ["type", "name", "description", "identifier", "channel_types"];
        section.wrong(&format!("{key}.{unknown}"), format!("there is no such key{}", aside(unknown, known)));
    }
    let kind = kind?;
    check_row(section, &key, kind, identifier.as_deref(), &channel_types);
    Some(Row { kind, name, description, identifier: identifier.map(|id| usual(kind, id)), channel_types })
}

/// A channel's id in its usual spelling: preferences are stored under it.
fn usual(kind: RowKind, identifier: String) -> String {
    match (kind, Uuid::try_parse(&identifier)) {
        (RowKind::Channel, Ok(id)) => id.to_string(),
        _ => identifier,
    }
}

fn check_row(section: &mut Section<'_>, key: &str, kind: RowKind, identifier: Option<&str>, kinds: &[ChannelKind]) {
    match (kind, identifier) {
        (RowKind::Workflow, None) => section.wrong(&format!("{key}.identifier"), "is required: the workflow's key"),
        (RowKind::Category, None) => section.wrong(&format!("{key}.identifier"), "is required: the category's name"),
        (RowKind::Channel, id) if id.is_none_or(|id| Uuid::try_parse(id).is_err()) => {
            section.wrong(&format!("{key}.identifier"), "is required: the channel's id, a UUID");
        }
        (RowKind::ChannelTypes | RowKind::Commercial, Some(_)) => {
            section.wrong(&format!("{key}.identifier"), format!("means nothing in a row of type {}", kind.as_str()));
        }
        _ => {}
    }
    if !kinds.is_empty() && matches!(kind, RowKind::Channel | RowKind::Commercial) {
        section.wrong(&format!("{key}.channel_types"), format!("means nothing in a row of type {}", kind.as_str()));
    }
}

fn read_kinds(section: &mut Section<'_>, value: Option<Value>, key: &str) -> Vec<ChannelKind> {
    let key = format!("{key}.channel_types");
    let items = match value {
        None => return Vec::new(),
        Some(Value::Array(items)) => items,
        Some(_) => {
            section.wrong(&key, "must be a list such as [\"email\", \"sms\"]");
            return Vec::new();
        }
    };
    let mut kinds = Vec::new();
    for item in items {
        match item.as_str().map(ChannelKind::from_str) {
            // Nobody can prefer anything about guides (F-PRF-03).
            Some(Ok(ChannelKind::InAppGuide)) => section.wrong(&key, "in_app_guide is nothing that can be chosen"),
            Some(Ok(kind)) if kinds.contains(&kind) => section.wrong(&key, format!("{kind} stands there twice")),
            Some(Ok(kind)) => kinds.push(kind),
            Some(Err(unknown)) => section.wrong(&key, unknown.to_string()),
            None => section.wrong(&key, "must be a list such as [\"email\", \"sms\"]"),
        }
    }
    kinds
}

fn text(section: &mut Section<'_>, row: &mut Map<String, Value>, key: &str, name: &str) -> Option<String> {
    match row.remove(name)? {
        Value::String(text) => Some(text),
        _ => {
            section.wrong(&format!("{key}.{name}"), "must be text in quotation marks");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::model::time::Time;

    fn parse(text: &str) -> Result<Center, Vec<String>> {
        let config = Config::parse(text, Path::new("b.toml"), Time::from_micros(7), []);
        let config = config.map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>())?;
        Ok(config.environments["production"].center.clone())
    }

    #[test]
    fn a_centre_is_read_whole() {
        let text = r##"
            [environments.production.preference_center]
            enabled = true
            title = "Benachrichtigungen"
            lang = "de"
            labels = { save = "Sichern" }
            unsubscribed_redirect_url = "https://example.com/bye"
            rows = [
                { type = "category", identifier = "news", name = "Neues", description = "Ab und zu", channel_types = ["email", "sms"] },
                { type = "channel", identifier = "5F3C1D6E-0000-4000-8000-000000000001", name = "Klingel" },
                { type = "channel_types", name = "Wege" },
            ]
        "##;
        let center = parse(text).expect("a sound configuration");
        assert!(center.is_enabled && center.shows_account, "F-PCC-01");
        assert_eq!((center.title.as_str(), center.lang.as_str()), ("Benachrichtigungen", "de"));
        assert_eq!((center.labels.get("save"), center.labels.get("email")), ("Sichern", "Email"));
        assert_eq!(center.unsubscribed.redirect_url.as_deref(), Some("https://example.com/bye"), "F-PCC-10");
        let kinds: Vec<RowKind> = center.rows.iter().map(|row| row.kind).collect();
        let expected = [RowKind::Category, RowKind::Channel, RowKind::ChannelTypes, RowKind::Commercial];
        assert_eq!(kinds, expected, "F-PCC-02 F-PCC-07");
        assert_eq!(center.rows[0].channel_types, [ChannelKind::Email, ChannelKind::Sms], "F-PCC-02");
        assert_eq!(center.rows[1].identifier.as_deref(), Some("5f3c1d6e-0000-4000-8000-000000000001"));
        let own = "[environments.production.preference_center]\nrows = [{ type = \"commercial_subscribed\", name = \"Werbung\" }]";
        let rows = parse(own).expect("a sound configuration").rows;
        assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["Werbung"], "F-PCC-07: once");
    }

    #[test]
    fn mistakes_are_told_by_their_path() {
        let text = r#"
            [environments.production.preference_center]
            unsubscribed_redirect_url = "example.com"
            labels = { safe = "x", saved = 1 }
            colour = "red"
            rows = [
                1,
                { type = "categorie", name = "A" },
                { type = "category" },
                { type = "workflow", identifier = "w", name = "A", channel_types = ["pigeon", "in_app_guide", "sms", "sms"] },
                { type = "workflow", identifier = "w", name = "A", channel_types = ["sms"] },
                { type = "channel", identifier = "bell", name = "A", channel_types = ["sms"] },
                { type = "commercial_subscribed", identifier = "w", name = "A", title = "x" },
            ]
        "#;
        let said = parse(text).expect_err("mistakes");
        let at = "b.toml: environments.production.preference_center";
        let starts = [
            "unsubscribed_redirect_url: must begin with",
            "labels.safe: there is nothing of that name on the page (did you mean `save`?)",
            "labels.saved: must be text",
            "rows[0]: must be a table",
            "rows[1].type: `categorie` must be one of workflow, channel, category, channel_types, commercial_subscribed (did you mean `category`?)",
            "rows[2].name: is required",
            "rows[2].identifier: is required: the category's name",
            "rows[3].channel_types: `pigeon` is not a kind of channel",
            "rows[3].channel_types: in_app_guide is nothing",
            "rows[3].channel_types: sms stands there twice",
            "rows[4]: is about the same as an earlier row",
            "rows[5].identifier: is required: the channel's id",
            "rows[5].channel_types: means nothing in a row of type channel",
            "rows[6].title: there is no such key",
            "rows[6].identifier: means nothing in a row of type commercial_subscribed",
            "colour: there is no key `colour`",
        ];
        assert_eq!(said.len(), starts.len(), "{said:#?}");
        for (said, start) in said.iter().zip(starts) {
            assert!(said.starts_with(&format!("{at}.{start}")), "{said} / {start}");
        }
    }
}
