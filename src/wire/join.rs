//! The payload of a join: which feeds a client shows on one topic, and with which options.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::json::{MAX_DEPTH, depth_at_most};
use crate::model::invalid::Invalid;

/// The key under which our own clients speak (it is no option of a feed and no client reference).
const BELLWIRE: &str = "bellwire";
/// Below that key: filters beside the feed's own.
const VIEWS: &str = "views";

/// Names of feed options, of today and of older clients: a payload that has one of them is flat.
const OPTIONS: [&str; 22] = [
    "status",
    "source",
    "tenant",
    "has_tenant",
    "workflow_categories",
    "archived",
    "trigger_data",
    "page_size",
    "before",
    "after",
    "mode",
    "locale",
    "exclude",
    "inserted_at",
    "inserted_at.gt",
    "inserted_at.gte",
    "inserted_at.lt",
    "inserted_at.lte",
    "inserted_at_date_range",
    "auto_manage_socket_connection",
    "auto_manage_socket_connection_delay",
    "__experimentalCrossBrowserUpdates",
];

/// The options of a filter, by the client's name for it.
pub type Named = (String, Map<String, Value>);

/// A join of a feed topic. The options are as they came: who knows what they mean reads them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Join {
    /// The options of each feed the client shows, by the client's name for it (F-SOC-09).
    pub clients: Vec<Named>,
    /// The options of a client that names none (F-SOC-28); empty if it has none.
    pub flat: Option<Map<String, Value>>,
    /// What one of our own clients says, but its views.
    pub bellwire: Option<Map<String, Value>>,
    /// The options of each view that our own client shows beside its feed, by its name for it, as they were named.
    pub views: Vec<Named>,
}

impl Join {
    /// Reads the payload of a join.
    pub fn parse(payload: &str) -> Result<Self, Invalid> {
        if !depth_at_most(payload, MAX_DEPTH) {
            return Err(Invalid::new("", format!("A join nests at most {MAX_DEPTH} deep.")));
        }
        let mut members: Map<String, Value> = serde_json::from_str(payload)
            .map_err(|error| Invalid::new("", format!("The payload of a join is a JSON object: {error}.")))?;
        let mut bellwire = take_bellwire(&mut members)?;
        let views = match bellwire.as_mut().and_then(|options| options.remove(VIEWS)) {
            None | Some(Value::Null) => Vec::new(),
            Some(_) => views(payload)?,
        };
        let ours = Join { bellwire, views, ..Join::default() };
        if members.is_empty() && ours.bellwire.is_some() {
            return Ok(ours);
        }
        if !is_keyed(&members) {
            return Ok(Join { flat: Some(members), ..ours });
        }
        let options = |(name, value)| match value {
            Value::Object(options) => Some((name, options)),
            _ => None,
        };
        Ok(Join { clients: members.into_iter().filter_map(options).collect(), ..ours })
    }
}

fn take_bellwire(members: &mut Map<String, Value>) -> Result<Option<Map<String, Value>>, Invalid> {
    match members.remove(BELLWIRE) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(options)) => Ok(Some(options)),
        Some(_) => Err(Invalid::new(BELLWIRE, "An object is expected here.")),
    }
}

/// The views that a payload names, in its order, which a [`Map`] does not keep.
fn views(payload: &str) -> Result<Vec<Named>, Invalid> {
    #[derive(Deserialize)]
    struct Payload {
        bellwire: Ours,
    }
    #[derive(Deserialize)]
    struct Ours {
        views: Members,
    }
    let fault = |error: serde_json::Error| {
        Invalid::new("bellwire.views", format!("Views are an object, of each view's options by its name: {error}."))
    };
    let Payload { bellwire: Ours { views } } = serde_json::from_str(payload).map_err(fault)?;
    for (name, options) in &views.0 {
        // Only our own clients name views, and one that is mistaken would show everything.
        if let Some(unknown) = options.keys().find(|option| !OPTIONS.contains(&option.as_str())) {
            let fault = "There is no such option of a feed. Those that select are archived, has_tenant, inserted_at (or \
                         inserted_at.gt, .gte, .lt, .lte), source, status, tenant, trigger_data and workflow_categories.";
            return Err(Invalid::new(format!("bellwire.views.{name}.{unknown}"), fault));
        }
    }
    Ok(views.0)
}

/// An object's members, in their order.
struct Members(Vec<Named>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object of objects")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}

/// Whether every member is a client's name with its options.
fn is_keyed(members: &Map<String, Value>) -> bool {
    !members.is_empty() && members.iter().all(|(key, value)| value.is_object() && !OPTIONS.contains(&key.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(payload: &str) -> Join {
        Join::parse(payload).unwrap()
    }

    #[test]
    fn several_feeds_share_one_join() {
        let join = join(
            r#"{"client_a":{"archived":"exclude","trigger_data":{"x":1},"inserted_at.gte":"2026-01-01"},"client_b":{}}"#,
        );
        assert_eq!((join.flat, join.bellwire), (None, None), "F-SOC-09");
        let [(a, options), (b, none)] = &join.clients[..] else { panic!("F-SOC-09") };
        assert_eq!((a.as_str(), b.as_str()), ("client_a", "client_b"), "F-SOC-09");
        assert_eq!(options["trigger_data"], serde_json::json!({"x": 1}), "F-SOC-10");
        assert_eq!(options["inserted_at.gte"], "2026-01-01", "F-SOC-10");
        assert!(none.is_empty());
    }

    #[test]
    fn unknown_options_do_no_harm() {
        let join =
            join(r#"{"client_a":{"mode":"compact","page_size":9,"__experimentalCrossBrowserUpdates":true,"x":[]}}"#);
        assert_eq!(join.clients.len(), 1, "F-SOC-10");
    }

    #[test]
    fn older_clients_join_with_flat_options() {
        for payload in [
            "{}",
            r#"{"archived":"exclude"}"#,
            r#"{"trigger_data":{"x":1}}"#,
            r#"{"trigger_data":{},"inserted_at_date_range":{"start":null}}"#,
            r#"{"page_size":null,"tenant":null,"trigger_data":{"x":1}}"#,
            r#"{"auto_manage_socket_connection":true}"#,
            r#"{"client_a":{},"archived":"only"}"#,
            r#"{"client_a":{},"client_b":null}"#,
        ] {
            let join = join(payload);
            assert!(join.clients.is_empty() && join.bellwire.is_none(), "F-SOC-28 {payload}");
            assert_eq!(join.flat.map(Value::Object), serde_json::from_str(payload).unwrap(), "F-SOC-28 {payload}");
        }
    }

    #[test]
    fn our_own_key_stands_alone_or_beside_others() {
        let alone = join(r#"{"bellwire":{"since":41}}"#);
        assert_eq!(alone.bellwire.unwrap()["since"], 41);
        assert!(alone.clients.is_empty() && alone.flat.is_none());
        let beside = join(r#"{"bellwire":{"since":null},"client_a":{}}"#);
        assert!(beside.bellwire.is_some() && beside.clients.len() == 1);
        let flat = join(r#"{"bellwire":{},"archived":"only"}"#);
        assert!(flat.bellwire.is_some() && flat.flat.is_some());
        let null = join(r#"{"bellwire":null}"#);
        assert!(null.bellwire.is_none() && null.flat.is_some());
    }

    #[test]
    fn an_option_of_a_view_that_there_is_not_is_refused() {
        let payload = r#"{"bellwire":{"since":null,"other":1,"views":{"mine":{"status":"unread","workflow":"x"}}}}"#;
        let refusal = Join::parse(payload).unwrap_err();
        assert!(refusal.to_string().contains("bellwire.views.mine.workflow"), "{refusal}");
    }

    #[test]
    fn views_are_read_in_the_order_in_which_they_are_named() {
        let views = |payload: &str| {
            let join = join(payload);
            assert!(join.bellwire.as_ref().is_none_or(|options| !options.contains_key("views")));
            join.views.into_iter().map(|(name, options)| (name, Value::from(options).to_string())).collect::<Vec<_>>()
        };
        let named = |name: &str, options: &str| (name.to_owned(), options.to_owned());
        let two = r#"{"bellwire":{"since":4,"views":{"b":{"status":"unread"},"a":{}}}}"#;
        assert_eq!(views(two), [named("b", r#"{"status":"unread"}"#), named("a", "{}")]);
        assert_eq!(views(r#"{"client_a":{},"bellwire":{"views":{"b":{}}}}"#), [named("b", "{}")]);
        for none in [r#"{"bellwire":{"views":null}}"#, r#"{"bellwire":{"views":{}}}"#, r#"{"bellwire":{}}"#] {
            assert_eq!(views(none), [], "{none}");
        }
        assert!(join(r#"{"views":{"a":{}}}"#).views.is_empty(), "a client may be called so");
        for fault in [r#"[]"#, r#""a""#, "7", r#"{"a":null}"#, r#"{"a":[]}"#] {
            let refused = Join::parse(&format!(r#"{{"bellwire":{{"views":{fault}}}}}"#));
            assert!(refused.is_err_and(|fault| fault.path == "bellwire.views"), "{fault}");
        }
    }

    #[test]
    fn what_is_no_join_is_refused() {
        let deep = format!("{{\"client_a\":{}{}}}", "[".repeat(100), "]".repeat(100));
        for payload in ["", "[]", "null", "{", r#"{"bellwire":[]}"#, r#"{"bellwire":true}"#, deep.as_str()] {
            assert!(Join::parse(payload).is_err(), "{payload}");
        }
    }
}
