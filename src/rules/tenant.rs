//! Tenants: what they say of themselves, and how what is said again is merged into it.

use serde_json::{Map, Value, json};

use super::preference::{self, DEFAULT, Preferences, Sets};
use crate::model::invalid::{Invalid, join};
use crate::model::recipient::Object;
use crate::wire::json::{deep_merge, deep_merge_maps};

const SETTINGS: &str = "settings";
const BRANDING: &str = "branding";
const PREFERENCES: &str = "preference_set";
const URLS: [&str; 4] = ["logo_url", "icon_url", "dark_logo_url", "dark_icon_url"];
const COLORS: [&str; 4] =
    ["primary_color", "primary_color_contrast", "dark_primary_color", "dark_primary_color_contrast"];

/// Everything that is wrong with a tenant's settings as somebody writes them (F-TEN-04, F-PRF-25).
pub fn check(map: &Map<String, Value>, path: &str) -> Vec<Invalid> {
    let path = join(path, SETTINGS);
    let settings = match map.get(SETTINGS) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Object(settings)) => settings,
        Some(_) => return vec![Invalid::new(path, "must be an object or null")],
    };
    let member = |name: &str, check: fn(&Map<String, Value>, &str) -> Vec<Invalid>| {
        let path = join(&path, name);
        match settings.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Object(map)) => check(map, &path),
            Some(_) => vec![Invalid::new(path, "must be an object or null")],
        }
    };
    [member(BRANDING, branding), member(PREFERENCES, preference::check)].concat()
}

fn branding(map: &Map<String, Value>, path: &str) -> Vec<Invalid> {
    let mut faults = Vec::new();
    for (names, fits, what) in [
        (URLS, is_url as fn(&str) -> bool, "a URL that begins with https:// or http://"),
        (COLORS, is_color, "a color such as #1A2B3C"),
    ] {
        for name in names {
            let is_fine = match map.get(name) {
                None | Some(Value::Null) => true,
                Some(Value::String(text)) => fits(text),
                Some(_) => false,
            };
            if !is_fine {
                faults.push(Invalid::new(join(path, name), format!("must be {what}, or null")));
            }
        }
    }
    faults
}

fn is_url(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(|c: char| c.is_whitespace() || c.is_control()))
}

fn is_color(text: &str) -> bool {
    let digits = text.strip_prefix('#').unwrap_or_default();
    matches!(digits.len(), 3 | 4 | 6 | 8) && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A tenant's properties after a write. What the settings leave out stays as it is (F-TEN-07); branding is merged, and so
/// is the preference set unless it asks to replace (F-TEN-05); null takes either away (F-TEN-06, F-AMB-23).
pub fn merged(mut stored: Map<String, Value>, incoming: &Map<String, Value>) -> Map<String, Value> {
    let mut incoming = incoming.clone();
    let said = incoming.remove(SETTINGS);
    deep_merge_maps(&mut stored, incoming);
    let Some(Value::Object(said)) = said else { return stored };
    let mut settings = match stored.remove(SETTINGS) {
        Some(Value::Object(settings)) => settings,
        _ => Map::new(),
    };
    for (name, value) in said {
        match (name.as_str(), &value) {
            (BRANDING | PREFERENCES, Value::Null) => {
                settings.remove(&name);
            }
            (PREFERENCES, set) => {
                let set = preference::merged(settings.remove(&name).filter(Value::is_object), set);
                settings.insert(name, set);
            }
            _ => deep_merge(settings.entry(name).or_insert(Value::Null), value),
        }
    }
    stored.insert(SETTINGS.to_owned(), Value::Object(settings));
    stored
}

/// The preference set that holds for whoever is told something in the tenant, as it was given.
fn stored_set(tenant: &Object) -> Option<&Value> {
    tenant.properties.get(SETTINGS)?.get(PREFERENCES).filter(|set| set.is_object())
}

/// The tenant on the wire: its properties beside the id (F-TEN-03).
pub fn to_json(tenant: &Object) -> Value {
    with_set(tenant, stored_set(tenant).map(|set| preference::shown(DEFAULT, set)))
}

/// The same, its preference set over what the environment says (F-TEN-08).
pub fn to_resolved_json(tenant: &Object, environment_default: Option<&Value>) -> Value {
    let sets = Sets { default: stored_set(tenant), environment_default, ..Sets::default() };
    with_set(tenant, Some(Preferences::resolve(&sets).to_json()))
}

fn with_set(tenant: &Object, set: Option<Value>) -> Value {
    let mut out = tenant.properties.clone();
    let branding = out.get(SETTINGS).and_then(|settings| settings.get(BRANDING)).cloned();
    let settings = match (branding, set) {
        (None, None) => Value::Null,
        (branding, set) => json!({BRANDING: branding, PREFERENCES: set}),
    };
    out.insert("__typename".to_owned(), "Tenant".into());
    out.insert("id".to_owned(), tenant.id.as_str().into());
    out.insert(SETTINGS.to_owned(), settings);
    Value::Object(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn settings_are_merged_member_by_member() {
        let stored = json!({"name": "N", "settings": {"branding": {"logo_url": "a", "icon_url": "b"},
            "preference_set": {"workflows": {"x": false}, "channel_types": {"email": true}}}});
        let branding = json!({"logo_url": "a", "icon_url": "b"});
        let set = json!({"workflows": {"x": false}, "channel_types": {"email": true}});
        for (said, expected, rule) in [
            (json!({"plan": 1}), json!({"branding": branding, "preference_set": set}), "F-TEN-07"),
            (json!({"settings": null}), json!({"branding": branding, "preference_set": set}), "F-AMB-23"),
            (json!({"settings": {}}), json!({"branding": branding, "preference_set": set}), "F-TEN-07"),
            (
                json!({"settings": {"branding": {"icon_url": null, "primary_color": "#fff"}}}),
                json!({"branding": {"logo_url": "a", "icon_url": null, "primary_color": "#fff"}, "preference_set": set}),
                "F-AMB-23",
            ),
            (json!({"settings": {"branding": null}}), json!({"preference_set": set}), "F-AMB-23"),
            (json!({"settings": {"preference_set": null}}), json!({"branding": branding}), "F-TEN-06"),
            (
                json!({"settings": {"preference_set": {"workflows": {"y": true}, "channel_types": null}}}),
                json!({"branding": branding, "preference_set": {"workflows": {"x": false, "y": true}, "channel_types": null}}),
                "F-TEN-05",
            ),
            (
                json!({"settings": {"preference_set": {"__persistence_strategy__": "replace", "workflows": {"y": true}}}}),
                json!({"branding": branding, "preference_set": {"workflows": {"y": true}}}),
                "F-TEN-05 F-PRF-12",
            ),
        ] {
            let merged = merged(map(stored.clone()), &map(said.clone()));
            assert_eq!((&merged["settings"], &merged["name"]), (&expected, &json!("N")), "{rule} {said}");
        }
    }

    #[test]
    fn what_cannot_be_settings_is_said_with_its_place() {
        let fine = json!({"settings": {"branding": {"logo_url": "https://x.io/a.png", "primary_color": "#1a2B3c", "icon_url": null},
            "preference_set": {"workflows": {"x": false}}}});
        assert_eq!(check(&map(fine), "tenant"), []);
        for (settings, place) in [
            (json!(1), "settings"),
            (json!({"branding": "red"}), "settings.branding"),
            (json!({"branding": {"primary_color": "red"}}), "settings.branding.primary_color"),
            (
                json!({"branding": {"dark_primary_color_contrast": "#12345"}}),
                "settings.branding.dark_primary_color_contrast",
            ),
            (json!({"branding": {"dark_logo_url": "javascript:x"}}), "settings.branding.dark_logo_url"),
            (json!({"branding": {"icon_url": 1}}), "settings.branding.icon_url"),
            (json!({"preference_set": true}), "settings.preference_set"),
            (
                json!({"preference_set": {"channel_types": {"emale": true}}}),
                "settings.preference_set.channel_types.emale",
            ),
        ] {
            let found = check(&map(json!({"settings": settings})), "");
            assert_eq!(found.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(), [place], "F-TEN-04 F-PRF-25");
        }
    }
}
