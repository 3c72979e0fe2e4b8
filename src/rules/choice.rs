//! Choices: what of a preference set can be switched on and off on the preference centre's page, and what each switch writes.

use serde_json::{Map, Value, json};

use crate::model::channel::ChannelKind;
use crate::model::preference_center::{Center, Row, RowKind};

/// The kinds of channel that preferences know (F-PRF-03).
const KINDS: [ChannelKind; 6] = [
    ChannelKind::Email,
    ChannelKind::InAppFeed,
    ChannelKind::Sms,
    ChannelKind::Push,
    ChannelKind::Chat,
    ChannelKind::Http,
];

/// One switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'a> {
    /// The row it stands in.
    pub row: &'a Row,
    /// Which kind of channel, of a row that has a switch for each.
    pub kind: Option<ChannelKind>,
    target: Target<'a>,
}

/// What a switch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target<'a> {
    /// A member of the set, or a member of one of its maps.
    Setting(&'static str, Option<&'a str>),
    /// The entry of a workflow or a category; all of it, or what it says of some kinds of channel.
    Entry(&'static str, &'a str, &'a [ChannelKind]),
}

/// How a switch stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stand {
    On,
    Off,
    /// It cannot be switched here: conditions decide, or whoever sends has the last word (F-PCC-06).
    Fixed,
}

/// The switches of a centre, in the order of its rows; of one that is not enabled, just that of commercial messages
/// (F-PCC-07).
pub fn choices(center: &Center) -> Vec<Choice<'_>> {
    let rows = center.rows.iter().filter(|row| center.is_enabled || row.kind == RowKind::Commercial);
    rows.flat_map(of_row).collect()
}

fn of_row(row: &Row) -> Vec<Choice<'_>> {
    let one = |target| vec![Choice { row, kind: None, target }];
    match (row.kind, row.identifier.as_deref()) {
        (RowKind::Commercial, _) => one(Target::Setting("commercial_subscribed", None)),
        (RowKind::Channel, Some(id)) => one(Target::Setting("channels", Some(id))),
        (RowKind::Workflow, Some(key)) => one(Target::Entry("workflows", key, &row.channel_types)),
        (RowKind::Category, Some(name)) => one(Target::Entry("categories", name, &row.channel_types)),
        (RowKind::ChannelTypes, _) => {
            let kinds = if row.channel_types.is_empty() { &KINDS[..] } else { &row.channel_types };
            let choice = |kind: &ChannelKind| Choice {
                row,
                kind: Some(*kind),
                target: Target::Setting("channel_types", Some(kind.as_str())),
            };
            kinds.iter().map(choice).collect()
        }
        // The configuration refuses what names nothing.
        (RowKind::Channel | RowKind::Workflow | RowKind::Category, None) => Vec::new(),
    }
}

impl Choice<'_> {
    /// What the page calls it: the same from one request to the next, whatever other rows come and go.
    pub fn id(&self) -> String {
        match &self.target {
            Target::Setting(member, None) => (*member).to_owned(),
            Target::Setting(member, Some(name)) => format!("{member}:{name}"),
            Target::Entry(member, name, kinds) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
                format!("{member}:{}:{name}", kinds.join("+"))
            }
        }
    }

    /// How it stands in a set; `lowest` is what is said by whoever sends.
    pub fn stand(&self, set: &Value, lowest: Option<&Value>) -> Stand {
        if lowest.is_some_and(|lowest| self.is_insisted_on(lowest)) {
            return Stand::Fixed;
        }
        match &self.target {
            Target::Setting(member, name) => {
                let said = set.get(member);
                of_setting(match name {
                    Some(name) => said.and_then(|map| map.get(name)),
                    None => said,
                })
            }
            Target::Entry(member, name, kinds) => match set.get(member).and_then(|map| map.get(name)) {
                Some(Value::Object(entry)) => of_entry(entry, kinds),
                said => of_setting(said),
            },
        }
    }

    /// What is merged into a set to switch it (F-PCC-06).
    pub fn switched(&self, set: &Value, is_on: bool) -> Map<String, Value> {
        let (member, said) = match &self.target {
            Target::Setting(member, None) => (*member, is_on.into()),
            Target::Setting(member, Some(name)) => (*member, json!({*name: is_on})),
            Target::Entry(member, name, []) => (*member, json!({*name: is_on})),
            Target::Entry(member, name, kinds) => {
                let before = set.get(member).and_then(|map| map.get(name));
                // Where nothing at all was wanted, nothing else is wanted from now on either.
                let others = KINDS.iter().filter(|_| before == Some(&Value::Bool(false)));
                let mut types: Map<String, Value> =
                    others.map(|kind| (kind.as_str().to_owned(), false.into())).collect();
                types.extend(kinds.iter().map(|kind| (kind.as_str().to_owned(), Value::Bool(is_on))));
                (*member, json!({*name: {"channel_types": types}}))
            }
        };
        Map::from_iter([(member.to_owned(), said)])
    }

    /// Whether whoever sends has marked it as theirs (F-PRF-13).
    fn is_insisted_on(&self, lowest: &Value) -> bool {
        let (member, name) = match &self.target {
            Target::Setting(member, name) => (member, name.filter(|_| false)),
            Target::Entry(member, name, _) => (member, Some(*name)),
        };
        let node = lowest.get(member);
        let node = if let Some(name) = name { node.and_then(|map| map.get(name)) } else { node };
        node.and_then(|node| node.get("__strategy__")).is_some_and(|marker| marker == "replace")
    }
}

fn of_setting(said: Option<&Value>) -> Stand {
    match said {
        Some(Value::Bool(false)) => Stand::Off,
        Some(Value::Object(_)) => Stand::Fixed,
        _ => Stand::On,
    }
}

fn of_entry(entry: &Map<String, Value>, kinds: &[ChannelKind]) -> Stand {
    if entry.contains_key("conditions") {
        return Stand::Fixed;
    }
    let asked = if kinds.is_empty() { &KINDS[..] } else { kinds };
    let types = entry.get("channel_types");
    let mut stands: Vec<Stand> =
        asked.iter().map(|kind| of_setting(types.and_then(|types| types.get(kind.as_str())))).collect();
    if let (Some(Value::Object(channels)), true) = (entry.get("channels"), kinds.is_empty()) {
        let named = channels.iter().filter(|(name, _)| !name.starts_with("__"));
        stands.extend(named.map(|(_, word)| of_setting(Some(word))));
    }
    match () {
        () if stands.contains(&Stand::Fixed) => Stand::Fixed,
        // Who is reached by one way at least is reached.
        () if stands.contains(&Stand::On) => Stand::On,
        () => Stand::Off,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::json::deep_merge;

    const CHANNEL: &str = "5f3c1d6e-0000-4000-8000-000000000001";

    fn row(kind: RowKind, identifier: Option<&str>, channel_types: &[ChannelKind]) -> Row {
        Row {
            kind,
            name: String::new(),
            description: String::new(),
            identifier: identifier.map(str::to_owned),
            channel_types: channel_types.to_vec(),
        }
    }

    fn only(row: &Row) -> Choice<'_> {
        of_row(row).pop().unwrap()
    }

    #[test]
    fn a_switch_stands_as_the_set_says() {
        let conditions = json!({"conditions": [{"variable": "data.a", "operator": "exists"}]});
        let news = row(RowKind::Category, Some("news"), &[]);
        let mail = row(RowKind::Category, Some("news"), &[ChannelKind::Email]);
        let two = row(RowKind::Workflow, Some("w"), &[ChannelKind::Email, ChannelKind::Sms]);
        let channel = row(RowKind::Channel, Some(CHANNEL), &[]);
        let (commercial, push) = (Row::commercial(), row(RowKind::ChannelTypes, None, &[ChannelKind::Push]));
        let no = json!(false);
        let none = json!({"email": no, "in_app_feed": no, "sms": no, "push": no, "chat": no, "http": no});
        for (row, set, expected) in [
            (&news, json!({"categories": null}), Stand::On),
            (&news, json!({"categories": {"news": false}}), Stand::Off),
            (&news, json!({"categories": {"news": {}}}), Stand::On),
            (&news, json!({"categories": {"news": {"channel_types": {"email": false}}}}), Stand::On),
            (&news, json!({"categories": {"news": {"channel_types": none}}}), Stand::Off),
            (&news, json!({"categories": {"news": {"channel_types": none, "channels": {CHANNEL: true}}}}), Stand::On),
            (
                &news,
                json!({"categories": {"news": {"channels": {"__strategy__": "merge", CHANNEL: conditions}}}}),
                Stand::Fixed,
            ),
            (&news, json!({"categories": {"news": conditions}}), Stand::Fixed),
            (&mail, json!({"categories": {"news": {"channel_types": {"email": false, "sms": true}}}}), Stand::Off),
            (&mail, json!({"categories": {"news": {"channel_types": {"email": conditions}}}}), Stand::Fixed),
            (&mail, json!({"categories": {"news": {"channel_types": {"sms": conditions}}}}), Stand::On),
            (&mail, json!({"categories": {"news": false}}), Stand::Off),
            (&two, json!({"workflows": {"w": {"channel_types": {"email": false}}}}), Stand::On),
            (&two, json!({"workflows": {"w": {"channel_types": {"email": false, "sms": false}}}}), Stand::Off),
            (&channel, json!({"channels": {CHANNEL: false}}), Stand::Off),
            (&channel, json!({"channels": {CHANNEL: conditions}}), Stand::Fixed),
            (&channel, json!({}), Stand::On),
            (&commercial, json!({"commercial_subscribed": false}), Stand::Off),
            (&commercial, json!({"commercial_subscribed": conditions}), Stand::Fixed),
            (&commercial, json!({"commercial_subscribed": null}), Stand::On),
            (&push, json!({"channel_types": {"push": false}}), Stand::Off),
        ] {
            assert_eq!(only(row).stand(&set, None), expected, "F-PCC-06 {set}");
        }
    }

    #[test]
    fn what_whoever_sends_insists_on_cannot_be_switched() {
        let marked = |node: Value| json!({"categories": {"news": node}});
        let news = row(RowKind::Category, Some("news"), &[]);
        for (marker, expected) in [("replace", Stand::Fixed), ("merge", Stand::On)] {
            let lowest = marked(json!({"__strategy__": marker, "channel_types": {"email": true}}));
            assert_eq!(only(&news).stand(&lowest, Some(&lowest)), expected, "F-PRF-13 {marker}");
        }
        let lowest = json!({"channels": {"__strategy__": "replace", CHANNEL: true}});
        assert_eq!(only(&row(RowKind::Channel, Some(CHANNEL), &[])).stand(&lowest, Some(&lowest)), Stand::Fixed);
    }

    #[test]
    fn a_switch_writes_its_own_key_and_stands_so_then() {
        let rows = [
            row(RowKind::Category, Some("news"), &[]),
            row(RowKind::Category, Some("news"), &[ChannelKind::Email]),
            row(RowKind::Workflow, Some("w"), &[ChannelKind::Email, ChannelKind::Sms]),
            row(RowKind::Channel, Some(CHANNEL), &[]),
            row(RowKind::ChannelTypes, None, &[ChannelKind::Push]),
            Row::commercial(),
        ];
        let before = [
            json!({}),
            json!({"categories": {"news": false}, "workflows": {"w": false}}),
            json!({"categories": {"news": {"channel_types": {"email": false, "sms": true}}}, "channels": {CHANNEL: false}}),
            json!({"workflows": {"w": true, "other": false}, "commercial_subscribed": false, "channel_types": {"sms": false}}),
        ];
        for (row, set) in rows.iter().flat_map(|row| before.iter().map(move |set| (row, set))) {
            for is_on in [true, false] {
                let mut after = set.clone();
                deep_merge(&mut after, Value::Object(only(row).switched(set, is_on)));
                let expected = if is_on { Stand::On } else { Stand::Off };
                assert_eq!(only(row).stand(&after, None), expected, "F-PCC-06 {} {set}", only(row).id());
            }
        }
        let mail = &rows[1];
        let some = only(mail).switched(&json!({"categories": {"news": false}}), true);
        let types = &some["categories"]["news"]["channel_types"];
        assert_eq!((&types["email"], &types["sms"]), (&json!(true), &json!(false)), "nothing else comes back with it");
        let some = only(mail).switched(&json!({"categories": {"news": true}}), false);
        assert_eq!(json!(some), json!({"categories": {"news": {"channel_types": {"email": false}}}}), "F-PCC-06");
    }

    #[test]
    fn a_centre_that_is_off_has_the_commercial_switch_alone() {
        let rows = vec![
            row(RowKind::Category, Some("news"), &[]),
            row(RowKind::ChannelTypes, None, &[ChannelKind::Push, ChannelKind::Sms]),
            Row::commercial(),
        ];
        let center = Center { is_enabled: true, rows, ..Center::default() };
        let ids = |center: &Center| -> Vec<String> { choices(center).iter().map(Choice::id).collect() };
        let all = ["categories::news", "channel_types:push", "channel_types:sms", "commercial_subscribed"];
        assert_eq!(ids(&center), all, "F-PCC-02");
        assert_eq!(ids(&Center { is_enabled: false, ..center }), ["commercial_subscribed"], "F-PCC-07");
    }
}
