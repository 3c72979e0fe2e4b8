//! A frequency cap: how many messages a recipient gets at most, of many workflows together; our own.

use serde_json::Value;

use super::channel::{Channel, ChannelKind};
use super::invalid::{Invalid, aside};
use super::reader::{Node, Reader};
use super::time::Time;
use super::workflow::Workflow;
use crate::rules::cap::{Period, Verdict};
use crate::wire::duration::Duration;

/// Each that counts is remembered.
const MOST: i64 = 1_000;
/// The longest period that rolls, in seconds.
const LONGEST: i64 = 366 * 86_400;

const KEYS: [&str; 12] = [
    "$schema",
    "name",
    "description",
    "limit",
    "per",
    "per_tenant",
    "channels",
    "channel_types",
    "workflows",
    "categories",
    "except",
    "overflow",
];

/// A cap that a file declares.
#[derive(Debug)]
pub struct Cap {
    pub key: String,
    pub name: String,
    /// So many within a period.
    pub limit: i64,
    pub period: Period,
    /// Whether each tenant counts for itself.
    pub per_tenant: bool,
    channels: Vec<String>,
    kinds: Vec<ChannelKind>,
    only: Chosen,
    except: Chosen,
    /// The workflow that runs with what is over the limit.
    pub overflow: Option<String>,
}

/// Workflows by their keys, and by their categories.
#[derive(Debug, Default)]
struct Chosen {
    workflows: Vec<String>,
    categories: Vec<String>,
}

impl Chosen {
    fn is_empty(&self) -> bool {
        self.workflows.is_empty() && self.categories.is_empty()
    }

    fn has(&self, sending: &Sending<'_>) -> bool {
        self.workflows.iter().any(|key| key == sending.workflow)
            || self.categories.iter().any(|category| sending.categories.contains(category))
    }
}

/// A message that is about to be sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending<'a> {
    pub workflow: &'a str,
    pub categories: &'a [String],
    pub channel: &'a Channel,
}

/// What is counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Counter {
    pub cap: String,
    /// The recipient's key.
    pub recipient: String,
    /// Empty where tenants do not count for themselves, and where there is none.
    pub tenant: String,
}

impl Cap {
    /// Reads the document of the cap `key`, and finds everything that is wrong with it.
    pub fn parse(key: &str, document: &Value) -> Result<Cap, Vec<Invalid>> {
        let mut reader = Reader::default();
        let cap = reader.cap(key, document);
        reader.finish(cap)
    }

    /// Whether it counts such a message. What it overflows into is none of them: there everything else goes.
    fn counts(&self, sending: &Sending<'_>) -> bool {
        let is_of_channel = (self.channels.is_empty() && self.kinds.is_empty())
            || self.channels.contains(&sending.channel.key)
            || self.kinds.contains(&sending.channel.kind);
        is_of_channel
            && (self.only.is_empty() || self.only.has(sending))
            && !self.except.has(sending)
            && self.overflow.as_deref() != Some(sending.workflow)
    }

    /// Under which number a recipient's messages are counted.
    pub fn counter(&self, recipient: String, tenant: Option<&str>) -> Counter {
        let tenant = tenant.filter(|_| self.per_tenant).unwrap_or_default().to_owned();
        Counter { cap: self.key.clone(), recipient, tenant }
    }

    /// Whether one more may be sent at `now`, where these have been.
    pub fn judge(&self, sent: &[Time], now: Time, zone: &jiff::tz::TimeZone) -> Verdict {
        self.period.judge(self.limit, sent, now, zone)
    }
}

impl Reader {
    fn cap(&mut self, key: &str, document: &Value) -> Option<Cap> {
        if let Some(problem) = Workflow::key_problem(key) {
            self.wrong("key", problem.replace("a workflow's key", "a cap's key"));
        }
        let node = self.object(document, "")?;
        self.known(&node, &KEYS);
        let name = self.required_text(&node, "name");
        self.text(&node, "description");
        if node.get("limit").is_none() {
            self.wrong("limit", "is required: how many messages may be sent");
        }
        let limit = self.whole_number(&node, "limit", 1..=MOST);
        let period = self.period(&node);
        let per_tenant = self.flag(&node, "per_tenant");
        let channels = self.texts(&node, "channels");
        let kinds = self.kinds(&node);
        let only = Chosen { workflows: self.texts(&node, "workflows"), categories: self.texts(&node, "categories") };
        let except = self.object_at(&node, "except").map_or_else(Chosen::default, |except| {
            self.known(&except, &["workflows", "categories"]);
            Chosen { workflows: self.texts(&except, "workflows"), categories: self.texts(&except, "categories") }
        });
        let overflow = self.object_at(&node, "overflow").and_then(|overflow| {
            self.known(&overflow, &["workflow"]);
            self.required_text(&overflow, "workflow").map(str::to_owned)
        });
        Some(Cap {
            key: key.to_owned(),
            name: name?.to_owned(),
            limit: limit?,
            period: period?,
            per_tenant,
            channels,
            kinds,
            only,
            except,
            overflow,
        })
    }

    fn period(&mut self, node: &Node<'_>) -> Option<Period> {
        let shape = "is required: day, week or month of the recipient's calendar, or a duration that rolls, such as \
                     {\"unit\": \"hours\", \"value\": 24}";
        match node.get("per") {
            Some(Value::String(word)) => match word.as_str() {
                "day" => Some(Period::Day),
                "week" => Some(Period::Week),
                "month" => Some(Period::Month),
                other => {
                    let hint = aside(other, ["day", "week", "month"]);
                    self.wrong("per", format!("must be day, week, month or a duration{hint}"));
                    None
                }
            },
            Some(value @ Value::Object(_)) => {
                let read = Duration::parse(value, "per").map_err(|problem| vec![problem]);
                let duration = self.keep(read)?;
                if !duration.is_positive() || duration.exceeds(LONGEST) {
                    self.wrong("per", format!("{duration} must be positive, and at most 366 days"));
                    return None;
                }
                Some(Period::Rolling(duration))
            }
            _ => {
                self.wrong("per", shape);
                None
            }
        }
    }

    fn kinds(&mut self, node: &Node<'_>) -> Vec<ChannelKind> {
        let mut kinds = Vec::new();
        for (i, word) in self.texts(node, "channel_types").iter().enumerate() {
            match word.parse() {
                Ok(kind) => kinds.push(kind),
                Err(unknown) => self.wrong(format!("channel_types[{i}]"), format!("{unknown}")),
            }
        }
        kinds
    }
}

/// What files say of caps.
#[derive(Debug, Default)]
pub struct Caps(Vec<Cap>);

impl Caps {
    /// These caps, which are asked in the order of their keys.
    pub fn new(mut caps: Vec<Cap>) -> Caps {
        caps.sort_by(|a, b| a.key.cmp(&b.key));
        Caps(caps)
    }

    /// Every cap, by key.
    pub fn all(&self) -> impl Iterator<Item = &Cap> {
        self.0.iter()
    }

    /// The caps that count such a message.
    pub fn over(&self, sending: Sending<'_>) -> impl Iterator<Item = &Cap> {
        self.0.iter().filter(move |cap| cap.counts(&sending))
    }

    /// What they name that there is not: each fault with the cap's key.
    pub fn faults(&self, workflows: &[Workflow], channels: &[Channel]) -> Vec<(&str, Invalid)> {
        let keys: Vec<&str> = workflows.iter().map(|workflow| workflow.key.as_str()).collect();
        let categories = workflows.iter().flat_map(|workflow| workflow.categories.iter().map(String::as_str));
        let categories: Vec<&str> = categories.collect();
        let channels: Vec<&str> = channels.iter().map(|channel| channel.key.as_str()).collect();
        let mut faults = Vec::new();
        for cap in &self.0 {
            let overflow: Vec<String> = cap.overflow.iter().cloned().collect();
            for (path, named, known, what) in [
                ("channels", &cap.channels, &channels, "no channel"),
                ("workflows", &cap.only.workflows, &keys, "no workflow"),
                ("categories", &cap.only.categories, &categories, "no workflow of category"),
                ("except.workflows", &cap.except.workflows, &keys, "no workflow"),
                ("except.categories", &cap.except.categories, &categories, "no workflow of category"),
                ("overflow.workflow", &overflow, &keys, "no workflow"),
            ] {
                for (i, word) in named.iter().enumerate().filter(|(_, word)| !known.contains(&word.as_str())) {
                    let place = if path == "overflow.workflow" { path.to_owned() } else { format!("{path}[{i}]") };
                    let hint = aside(word, known.iter().copied());
                    faults.push((cap.key.as_str(), Invalid::new(place, format!("there is {what} `{word}`{hint}"))));
                }
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(more: Value) -> Result<Cap, String> {
        let mut document = json!({"name": "Calm", "limit": 5, "per": "day"});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let read = Cap::parse("calm", &document);
        read.map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    }

    fn workflow(key: &str, categories: &[&str]) -> Workflow {
        Workflow::parse(key, &json!({"name": key, "steps": [], "categories": categories}), &[]).unwrap()
    }

    fn channel(key: &str, kind: &str) -> Channel {
        Channel {
            id: uuid::Uuid::nil(),
            key: key.to_owned(),
            name: key.to_owned(),
            kind: kind.parse().unwrap(),
            provider: String::new(),
            created_at: Time::default(),
            updated_at: Time::default(),
            conditions: None,
            response_filter: Default::default(),
        }
    }

    #[test]
    fn a_cap_counts_what_it_names_and_not_what_it_excepts() {
        let (bell, mail) = (channel("bell", "in_app_feed"), channel("mail", "email"));
        let counts = |more: Value, workflow: &str, categories: &[&str], channel: &Channel| {
            let categories: Vec<String> = categories.iter().map(|&category| category.to_owned()).collect();
            let caps = Caps::new(vec![read(more).unwrap()]);
            caps.over(Sending { workflow, categories: &categories, channel }).count() == 1
        };
        assert!(counts(json!({}), "any", &[], &bell) && counts(json!({}), "any", &["x"], &mail));
        let channels = json!({"channels": ["bell"], "channel_types": ["sms"]});
        assert!(counts(channels.clone(), "any", &[], &bell) && !counts(channels, "any", &[], &mail));
        let kinds = json!({"channel_types": ["email"]});
        assert!(counts(kinds.clone(), "any", &[], &mail) && !counts(kinds, "any", &[], &bell));
        let only = json!({"workflows": ["news"], "categories": ["marketing"]});
        assert!(counts(only.clone(), "news", &[], &bell) && counts(only.clone(), "x", &["a", "marketing"], &bell));
        assert!(!counts(only, "other", &["a"], &bell));
        let except = json!({"except": {"workflows": ["alarm"], "categories": ["critical"]}});
        assert!(!counts(except.clone(), "alarm", &[], &bell) && !counts(except.clone(), "x", &["critical"], &bell));
        assert!(counts(except, "other", &["a"], &bell));
        let overflow = json!({"overflow": {"workflow": "later"}});
        assert!(!counts(overflow.clone(), "later", &[], &bell) && counts(overflow, "other", &[], &bell));
    }

    #[test]
    fn tenants_count_for_themselves_where_that_is_asked_for() {
        let together = read(json!({})).unwrap();
        let apart = read(json!({"per_tenant": true})).unwrap();
        let tenants = [Some("acme"), Some("zoo"), None];
        let of = |cap: &Cap| tenants.map(|tenant| cap.counter("ann".to_owned(), tenant).tenant);
        assert_eq!(
            (of(&together), of(&apart)),
            (["", "", ""].map(str::to_owned), ["acme", "zoo", ""].map(str::to_owned))
        );
    }

    #[test]
    fn what_a_cap_cannot_be_is_said() {
        for (more, said) in [
            (json!({"name": null}), "name: is required"),
            (json!({"limit": null}), "limit: is required"),
            (json!({"limit": 0}), "limit: must be a whole number from 1 to 1000"),
            (json!({"limit": 1001}), "limit: must be a whole number from 1 to 1000"),
            (json!({"per": null}), "per: is required"),
            (json!({"per": "dya"}), "per: must be day, week, month or a duration (did you mean `day`?)"),
            (json!({"per": {"unit": "days", "value": 367}}), "at most 366 days"),
            (json!({"per": {"unit": "days", "value": 0}}), "must be positive"),
            (json!({"per": {"unit": "dayz", "value": 1}}), "per.unit"),
            (json!({"channel_types": ["emial"]}), "channel_types[0]"),
            (json!({"channels": "bell"}), "channels: must be a list"),
            (
                json!({"except": {"workflow": "x"}}),
                "except.workflow: unknown key `workflow`; did you mean `workflows`?",
            ),
            (json!({"overflow": {}}), "overflow.workflow: is required"),
            (json!({"limti": 1}), "unknown key `limti`; did you mean `limit`?"),
        ] {
            let fault = read(more.clone()).unwrap_err();
            assert!(fault.contains(said), "{more} gave {fault}");
        }
        let keys = Cap::parse("No", &json!({"name": "x", "limit": 1, "per": "day"})).unwrap_err();
        assert!(keys[0].message.contains("can't be a cap's key"), "{keys:?}");
    }

    #[test]
    fn what_a_cap_names_has_to_be_there() {
        let more = json!({"channels": ["bell", "belll"], "workflows": ["newz"], "categories": ["marketting"],
            "except": {"workflows": ["alarn"], "categories": ["marketing"]}, "overflow": {"workflow": "latr"}});
        let caps = Caps::new(vec![read(more).unwrap()]);
        let workflows = [workflow("news", &["marketing"]), workflow("alarm", &[]), workflow("later", &[])];
        let faults = caps.faults(&workflows, &[channel("bell", "in_app_feed")]);
        let said: Vec<String> = faults.iter().map(|(cap, fault)| format!("{cap}: {fault}")).collect();
        let expected = [
            "calm: channels[1]: there is no channel `belll` (did you mean `bell`?)",
            "calm: workflows[0]: there is no workflow `newz` (did you mean `news`?)",
            "calm: categories[0]: there is no workflow of category `marketting` (did you mean `marketing`?)",
            "calm: except.workflows[0]: there is no workflow `alarn` (did you mean `alarm`?)",
            "calm: overflow.workflow: there is no workflow `latr` (did you mean `later`?)",
        ];
        assert_eq!(said, expected);
    }
}
