//! The preference centre: the page on which users say themselves what they want to be told.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::channel::ChannelKind;

/// The variable that leads a recipient to the centre (F-PCC-09).
pub const PREFERENCES_URL: &str = "manage_preferences_url";
/// The variable that leads them out of commercial messages; only those have it.
pub const UNSUBSCRIBE_URL: &str = "commercial_unsubscribe_url";

/// How the centre of an environment looks, and what can be chosen on it (F-PCC-01).
#[derive(Debug, Clone, PartialEq)]
pub struct Center {
    /// Whether more can be chosen than whether commercial messages are wanted (F-PCC-07).
    pub is_enabled: bool,
    pub title: String,
    pub body: String,
    /// Whether the account's name stands on the page.
    pub shows_account: bool,
    /// The language of the texts, for those to whom the page is read out.
    pub lang: String,
    /// What can be chosen, in order; commercial messages are always among it.
    pub rows: Vec<Row>,
    pub labels: Labels,
    pub unsubscribed: Unsubscribed,
}

/// One thing that can be chosen (F-PCC-02).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub kind: RowKind,
    pub name: String,
    pub description: String,
    /// The workflow's key, the channel's id or the category's name.
    pub identifier: Option<String>,
    /// To which kinds of channel the choice is confined; none: to none in particular.
    pub channel_types: Vec<ChannelKind>,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is named after its spelling")]
pub enum RowKind {
    Workflow,
    Channel,
    Category,
    ChannelTypes,
    Commercial,
}

impl RowKind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [RowKind; 5] =
        [RowKind::Workflow, RowKind::Channel, RowKind::Category, RowKind::ChannelTypes, RowKind::Commercial];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RowKind::Workflow => "workflow",
            RowKind::Channel => "channel",
            RowKind::Category => "category",
            RowKind::ChannelTypes => "channel_types",
            RowKind::Commercial => "commercial_subscribed",
        }
    }
}

/// The words of the page that no row has, by what they are for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Labels(BTreeMap<&'static str, String>);

impl Labels {
    /// What there are words for, and what they are unless somebody says otherwise.
    pub const DEFAULTS: [(&str, &str); 11] = [
        ("save", "Save"),
        ("saved", "Your preferences have been saved."),
        // Beside what cannot be changed on the page (F-PCC-06).
        ("fixed", "This cannot be changed here."),
        ("subscribe_again", "Subscribe again"),
        ("subscribed_again", "You are subscribed again."),
        ("email", "Email"),
        ("in_app_feed", "In the app"),
        ("sms", "Text messages"),
        ("push", "Push notifications"),
        ("chat", "Chat"),
        ("http", "Requests to a server"),
    ];

    /// The words for something; what it is called where there are none.
    pub fn get<'a>(&'a self, name: &'a str) -> &'a str {
        self.0.get(name).map_or(name, String::as_str)
    }

    /// Puts other words for something; false where there is nothing of that name.
    pub fn set(&mut self, name: &str, words: &str) -> bool {
        let slot = self.0.get_mut(name);
        slot.map(|slot| words.clone_into(slot)).is_some()
    }
}

/// What whoever unsubscribes from commercial messages is shown (F-PCC-10).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribed {
    pub title: String,
    pub body: String,
    /// Where they are sent instead.
    pub redirect_url: Option<String>,
}

impl Default for Center {
    fn default() -> Self {
        Center {
            is_enabled: false,
            title: "Notification preferences".to_owned(),
            body: "Choose which notifications you want to receive.".to_owned(),
            shows_account: true,
            lang: "en".to_owned(),
            rows: vec![Row::commercial()],
            labels: Labels::default(),
            unsubscribed: Unsubscribed::default(),
        }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Labels(Labels::DEFAULTS.map(|(name, words)| (name, words.to_owned())).into())
    }
}

impl Default for Unsubscribed {
    fn default() -> Self {
        Unsubscribed {
            title: "You have been unsubscribed".to_owned(),
            body: "You will receive no more marketing messages. Messages about your account still reach you."
                .to_owned(),
            redirect_url: None,
        }
    }
}

impl Row {
    /// The row that cannot be left out (F-PCC-07).
    pub fn commercial() -> Self {
        Row {
            kind: RowKind::Commercial,
            name: "Marketing messages".to_owned(),
            description: "News, offers and the like.".to_owned(),
            identifier: None,
            channel_types: Vec::new(),
        }
    }

    fn to_json(&self) -> Value {
        let mut out = json!({"type": self.kind.as_str(), "name": self.name, "description": self.description});
        if matches!(self.kind, RowKind::Workflow | RowKind::Channel | RowKind::Category) {
            out["identifier"] = self.identifier.clone().into();
        }
        if matches!(self.kind, RowKind::Workflow | RowKind::Category | RowKind::ChannelTypes) {
            out["channel_types"] = self.channel_types.iter().map(|kind| kind.as_str()).collect();
        }
        out
    }
}

impl Center {
    /// The centre on the wire, for a user who is called `label` (F-PCC-01); how it looks and whose it is stands in the
    /// environment's public variables.
    pub fn to_json(&self, vars: &Map<String, Value>, label: &str) -> Value {
        json!({
            "enabled": self.is_enabled,
            "account_name": account_name(vars),
            "user_email": label,
            "knock_branding_required": false,
            "config": {
                "title": self.title,
                "body": self.body,
                "show_account_name": self.shows_account,
                "rows": self.rows.iter().map(Row::to_json).collect::<Vec<_>>(),
            },
            "branding": Branding::of(vars).to_json(),
        })
    }
}

/// What the account is called: the variable `app_name`.
pub fn account_name(vars: &Map<String, Value>) -> Option<&str> {
    vars.get("app_name").and_then(Value::as_str).filter(|name| !name.trim().is_empty())
}

/// What pages look like by day and by night: the variable `branding`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Branding {
    pub light: Look,
    /// What it leaves out is as by day.
    pub dark: Look,
}

/// Addresses of pictures, and colours. What is neither is not there: it would end up in a page.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Look {
    pub logo_url: Option<String>,
    pub icon_url: Option<String>,
    pub primary_color: Option<String>,
    pub primary_color_contrast: Option<String>,
}

impl Branding {
    /// Reads the variable `branding`; what holds at night is in it under `dark`, or under names such as `dark_logo_url`.
    pub fn of(vars: &Map<String, Value>) -> Self {
        let Some(Value::Object(branding)) = vars.get("branding") else { return Branding::default() };
        let dark = branding.get("dark").and_then(Value::as_object);
        let look = |prefix: &str, nested: Option<&Map<String, Value>>| {
            let text = |name: &str| {
                let found = nested.and_then(|nested| nested.get(name));
                found.or_else(|| branding.get(&format!("{prefix}{name}"))).and_then(Value::as_str)
            };
            let url = |name| text(name).filter(|text| is_url(text)).map(str::to_owned);
            let color = |name| text(name).filter(|text| is_color(text)).map(str::to_owned);
            Look {
                logo_url: url("logo_url"),
                icon_url: url("icon_url"),
                primary_color: color("primary_color"),
                primary_color_contrast: color("primary_color_contrast"),
            }
        };
        Branding { light: look("", None), dark: look("dark_", dark) }
    }

    fn to_json(&self) -> Value {
        let look = |look: &Look| {
            json!({
                "logo_url": look.logo_url,
                "icon_url": look.icon_url,
                "primary_color": look.primary_color,
                "primary_color_contrast": look.primary_color_contrast,
            })
        };
        let mut out = look(&self.light);
        out["dark"] = look(&self.dark);
        out
    }
}

/// Whether a text is an address that a page may show a picture of, or lead to.
pub fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_plain = |c: char| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | ';' | ',' | '<' | '>' | '\\');
    rest.is_some_and(|rest| !rest.is_empty() && rest.chars().all(is_plain))
}

fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 4 | 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn a_centre_is_spelled_as_clients_read_it() {
        let row = |kind, identifier: Option<&str>, channel_types| Row {
            kind,
            name: "N".to_owned(),
            description: "D".to_owned(),
            identifier: identifier.map(str::to_owned),
            channel_types,
        };
        let rows = vec![
            row(RowKind::Category, Some("news"), vec![ChannelKind::Email, ChannelKind::Sms]),
            row(RowKind::Channel, Some("5f3c"), Vec::new()),
            row(RowKind::ChannelTypes, None, vec![ChannelKind::Push]),
            Row::commercial(),
        ];
        let center = Center { is_enabled: true, rows, ..Center::default() };
        let vars = map(
            json!({"app_name": "Acme", "branding": {"primary_color": "#0EA5E9", "dark": {"logo_url": "https://a.io/d.png"}}}),
        );
        let (none, color) = (Value::Null, "#0EA5E9");
        let expected = json!({
            "enabled": true, "account_name": "Acme", "user_email": "ann@example.com", "knock_branding_required": false,
            "config": {"title": center.title, "body": center.body, "show_account_name": true, "rows": [
                {"type": "category", "name": "N", "description": "D", "identifier": "news", "channel_types": ["email", "sms"]},
                {"type": "channel", "name": "N", "description": "D", "identifier": "5f3c"},
                {"type": "channel_types", "name": "N", "description": "D", "channel_types": ["push"]},
                {"type": "commercial_subscribed", "name": "Marketing messages", "description": "News, offers and the like."},
            ]},
            "branding": {"logo_url": none, "icon_url": none, "primary_color": color, "primary_color_contrast": none,
                "dark": {"logo_url": "https://a.io/d.png", "icon_url": none, "primary_color": none, "primary_color_contrast": none}},
        });
        assert_eq!(center.to_json(&vars, "ann@example.com"), expected, "F-PCC-01 F-PCC-02 F-PCC-03 F-PCC-04");
        assert_eq!(Center::default().to_json(&Map::new(), "ann")["account_name"], Value::Null, "F-PCC-01");
    }

    #[test]
    fn what_is_no_address_and_no_colour_is_in_no_page() {
        let look = |branding: Value| Branding::of(&map(json!({"branding": branding})));
        for bad in [
            "javascript:alert(1)",
            "https://",
            "https://a.io/\" onload",
            "https://a.io; script-src *",
            "//a.io",
            "https://a.io/a,b",
        ] {
            assert_eq!(look(json!({"logo_url": bad})).light.logo_url, None, "{bad}");
        }
        for bad in ["red", "#12", "#12345g", "#fff;}", ""] {
            assert_eq!(look(json!({"dark_primary_color": bad})).dark.primary_color, None, "{bad}");
        }
        let both = look(
            json!({"icon_url": "http://a.io/i.svg?x=1", "dark_primary_color": "#ABCDEF", "dark": {"primary_color_contrast": "#fff"}}),
        );
        assert_eq!(both.light.icon_url.as_deref(), Some("http://a.io/i.svg?x=1"));
        assert_eq!(both.dark.primary_color.as_deref(), Some("#ABCDEF"));
        assert_eq!(both.dark.primary_color_contrast.as_deref(), Some("#fff"));
        assert_eq!(look(json!("blue")), Branding::default());
    }
}
