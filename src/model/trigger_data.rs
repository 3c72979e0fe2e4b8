//! A trigger's data: one value and one text for all the runs and messages that are made of it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value};

use super::message::scalars;

/// The key of trigger data that holds files, which no message carries (F-FED-28).
pub const ATTACHMENTS: &str = "attachments";

/// What a run was triggered with. Runs hold it behind an [`Arc`]: a thousand recipients cost no more than one.
#[derive(Debug)]
pub struct TriggerData {
    /// An object.
    value: Value,
    text: Arc<str>,
    carried: OnceLock<Carried>,
}

/// Trigger data as messages carry it, as JSON.
#[derive(Debug, Clone)]
pub struct Carried {
    /// Everything but attachments.
    pub data: Arc<str>,
    /// The top-level scalars of it, where that differs (F-FED-23).
    pub slim: Option<Arc<str>>,
}

impl TriggerData {
    /// The data of a trigger.
    pub fn new(data: Map<String, Value>) -> Self {
        let value = Value::Object(data);
        TriggerData { text: value.to_string().into(), value, carried: OnceLock::new() }
    }

    /// Reads data that was kept as text.
    pub fn from_text(text: &str) -> Result<Self, serde_json::Error> {
        let data: Map<String, Value> = serde_json::from_str(text)?;
        Ok(TriggerData { value: Value::Object(data), text: text.into(), carried: OnceLock::new() })
    }

    /// The data as one value, an object.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The data's members; none if it has none.
    pub fn members(&self) -> Option<&Map<String, Value>> {
        self.value.as_object()
    }

    /// The data as JSON.
    pub fn text(&self) -> &Arc<str> {
        &self.text
    }

    /// The data with `own` laid over it, member by member (W-TRG-17).
    pub fn overlaid(&self, own: Map<String, Value>) -> Self {
        let mut data = self.members().cloned().unwrap_or_default();
        data.extend(own);
        TriggerData::new(data)
    }

    /// The data as messages carry it, made when the first of them asks.
    pub fn carried(&self) -> &Carried {
        self.carried.get_or_init(|| {
            let members = self.members();
            let kept = || members.into_iter().flatten().filter(|(name, _)| *name != ATTACHMENTS);
            let has_attachments = members.is_some_and(|members| members.contains_key(ATTACHMENTS));
            let data = match has_attachments {
                false => Arc::clone(&self.text),
                true => json(&kept().collect::<BTreeMap<_, _>>()),
            };
            let slim = scalars(kept()).collect::<BTreeMap<_, _>>();
            Carried { data, slim: (slim.len() != kept().count()).then(|| json(&slim)) }
        })
    }
}

fn json(members: &BTreeMap<&String, &Value>) -> Arc<str> {
    serde_json::to_string(members).unwrap_or_else(|_| "{}".to_owned()).into()
}

impl PartialEq for TriggerData {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn data(value: Value) -> TriggerData {
        TriggerData::from_text(&value.to_string()).expect("an object")
    }

    #[test]
    fn messages_carry_everything_but_attachments_and_share_the_text_if_there_are_none() {
        let plain = data(json!({"n": 1, "s": "x"}));
        assert!(Arc::ptr_eq(&plain.carried().data, plain.text()), "one text for the run's row and the message's");
        assert!(plain.carried().slim.is_none(), "F-FED-23");
        let files = data(json!({"n": 1, "attachments": [{"name": "f"}]}));
        assert_eq!(&*files.carried().data, r#"{"n":1}"#, "F-FED-28");
        assert!(files.carried().slim.is_none(), "F-FED-23");
        let nested = data(json!({"n": 1, "null": null, "deep": {"a": 1}, "list": [1]}));
        assert_eq!(nested.carried().slim.as_deref(), Some(r#"{"n":1,"null":null}"#), "F-FED-23 W-VAL-10");
    }

    #[test]
    fn what_one_recipient_has_lies_over_what_all_have_at_the_top() {
        let Value::Object(own) = json!({"a": {"y": 2}, "c": 3}) else { panic!("an object") };
        let data = data(json!({"a": {"x": 1}, "b": 2})).overlaid(own);
        assert_eq!(data.value(), &json!({"a": {"y": 2}, "b": 2, "c": 3}), "W-TRG-17 W-AMB-04");
        assert_eq!(&**data.text(), r#"{"a":{"y":2},"b":2,"c":3}"#);
    }

    #[test]
    fn what_is_no_object_is_no_data() {
        assert!(TriggerData::from_text("[1]").is_err());
        assert!(TriggerData::from_text("{").is_err());
    }
}
