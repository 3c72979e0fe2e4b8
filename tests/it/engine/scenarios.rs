//! Stories in `scenarios/*.yaml`: a workflow, triggers, a clock that is turned, and what comes of it.
//!
//! A file is a list of scenarios. Each has
//! - `scenario`: what it shows, with the rules it covers;
//! - `steps`, the steps of the workflow `story`, and beside them any other member of its document; or `workflows`, whole
//!   documents by their keys;
//! - `people`: users, each with an `id` and properties; `objects`: each with a `collection` besides; `tenants` likewise.
//!   Whoever else a trigger names is known by name only;
//! - `audiences`: by their keys, each `static` or a list of segments; `joins`: for workflows the audience that starts them;
//!   `sources` and `caps`: documents by their keys;
//! - `channels` beside the feed, which has the key `feed`: each with `key`, `type` and `id`, `conditions`, `is_configured:
//!   false`, `sandbox_mode: true`; `channel_groups` as they are configured; `preferences`, the environment's defaults;
//! - `at`: when it begins, if not on Monday, 2026-09-21T10:00:00Z; `vars` and `timezone` of the environment;
//! - `do`: what happens, one thing after the other:
//!
//! | | |
//! |---|---|
//! | `trigger: ann` | triggers `story` for a user; or the body of a trigger, with `workflow` to name another |
//! | `pass: 90m` | turns the clock on (`s`, `m`, `h`, `d`), doing everything that falls due meanwhile |
//! | `work: 1` | does what is due now, a moment later than what was before; so many times over |
//! | `told: {ann: [text, ..]}` | what exactly the users named were told since the last look, oldest first |
//! | `feed: {ann: [text, ..]}` | what exactly stands in the feeds of the users named, oldest first |
//! | `counts: {user: ann, total: 1, unread: 1, unseen: 0}` | the counters of a user's feed, which a recount agrees with |
//! | `runs: [completed, ..]` | the statuses of all runs, in the order in which they were triggered |
//! | `record: {run: 1, is: [..]}` | the events of a run, counted from one, or of a recipient's latest, each with its reason: `step_skipped:conditions` |
//! | `event: {run: 1, name: .., data: {..}}` | the last event of that name has these members among its data |
//! | `event: {.., has: {..}}` | likewise, of nested members those named |
//! | `run: {run: 1, has: {..}}` | members of a run as the API has it |
//! | `distinct: {workflow_runs: 2}` | how many triggers the runs are of |
//! | `unsaid: {run: 1, words: [..]}` | nothing of a run's record holds these words |
//! | `item: {user: ann, ..}` | members of the user's newest message as the API has it |
//! | `cancel: {key: k, recipients: [..]}` | cancels runs of `story`, or of the `workflow` named; `stops: 2` says how many |
//! | `revoke: {user: ann}` | revokes the user's newest item, or their `item`; or what has a `collapse_key`, or a `cancellation_key` of a `workflow`, of all `recipients` or these; `revokes: 2` and `stops: 1` say how many |
//! | `mark: {user: ann, as: read}` | marks the user's newest item, or their `item` counted from one, the newest first; `with` gives data |
//! | `join: {audience: vip, user: ann, tenant: acme}` | adds a member, given by an id or with properties; `create` makes the audience, `refused` says why not |
//! | `leave: {audience: vip, user: ann}` | takes a member out |
//! | `members: {audience: vip, are: [ann, bob in acme]}` | who exactly is a member, by name |
//! | `arrives: {source: shop, body: {..}}` | an event of a source comes in; `sources` says which there are from then on |
//! | `cap: {calm: {..}}` | which frequency caps there are from then on |
//! | `bind: {story: vip}`, `declare: {vip: static}` | which workflow runs for whom, and what files declare from then on |
//! | `source: {run: 1, is: {..}}` | what started a run |
//! | `silent: secret` | no run's record holds the word |
//! | `identify: {id: ann, ..}` | merges properties into a user |
//! | `stored: {user: ann, has: {..}}` | members of what is stored of a user, or of an object by `collection` and `id` |
//! | `preferences: {of: {user: ann}, are: {..}}` | their preference sets by id |
//! | `shown: {user: ann, actor: Bob}` | the name of the first actor on the user's newest item |
//! | `delete: ann` | deletes a user |
//! | `online: ann` | the user opens a bell; `offline: ann`, and closes it |
//! | `publish: {steps: [..]}` | publishes a new version of `story`, or of the `workflow` named |
//! | `schedule: {recipients: [ann], ..}` | makes schedules for `story`, or the `workflow` named; `refused: text` if it may not |
//! | `reschedule: {schedule: 1, ..}` | changes a schedule, counted from one as they were made |
//! | `unschedule: 1` | deletes a schedule |
//! | `scheduled: {schedule: 1, next: .., last: ..}` | when a schedule occurs next, and occurred last |
//! | `sleep: 3d` | turns the clock on while nobody works; `pass` does what has fallen due |
//! | `subscribe: {to: {..}, recipients: [..]}` | has recipients follow an object, with `properties` |
//! | `unsubscribe: {from: {..}, recipients: [..]}` | has them follow it no more |
//! | `reached: [ann, ..]` | whom there are runs of, each as often as there are |
//! | `inactive: true` | switches `story`, or the `workflow` named, off or on |

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bellwire::model::audience::{Audience, Audiences};
use bellwire::model::cap::{Cap, Caps};
use bellwire::model::channel::Channel;
use bellwire::model::channel_group::{ChannelGroup, Member, Operator, Rule};
use bellwire::model::environment::{ChannelSetup, Settings};
use bellwire::model::feed::Counts;
use bellwire::model::recipient::{Object, RecipientRef, TENANTS};
use bellwire::model::source::{Event, Source, Sources};
use bellwire::model::time::Time;
use bellwire::model::workflow::Workflow;
use bellwire::rules::condition::{Allow, Group};
use bellwire::store::Batch;
use bellwire::store::audiences::Member as AudienceMember;
use bellwire::verbs::identify::{Profile, RecipientRequest};
use bellwire::verbs::mark::Reach;
use bellwire::verbs::revoke::{self, Revoked};
use bellwire::verbs::subscribe;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use yaml_rust2::{Yaml, YamlLoader};

use crate::world::{World, body, record};

const STORY: &str = "story";

#[tokio::test]
async fn scenarios_end_as_they_say() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "there are scenarios");
    let only = bellwire_only();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let documents = YamlLoader::load_from_str(&text).unwrap_or_else(|fault| panic!("{name}: {fault}"));
        for scenario in documents.iter().flat_map(|document| document.as_vec().expect("a list of scenarios")) {
            let scenario = json_of(scenario);
            let title = scenario["scenario"].as_str().unwrap_or_else(|| panic!("{name}: a scenario has a title"));
            let title = format!("{name}: {title}");
            if only.as_ref().is_none_or(|only| title.contains(only.as_str())) {
                play(&title, &scenario).await;
            }
        }
    }
}

/// `SCENARIO=throttle cargo test --test it scenarios` plays only those whose file or title holds the word.
#[allow(clippy::disallowed_methods, reason = "given by whoever looks for a fault")]
fn bellwire_only() -> Option<String> {
    std::env::var("SCENARIO").ok()
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/engine/scenarios")
}

/// A story being told.
struct Play<'a> {
    title: &'a str,
    world: World,
    /// For workflows the audience that starts them.
    joins: BTreeMap<String, String>,
    /// How many items each user was told when last looked at.
    seen: BTreeMap<String, usize>,
    /// The schedules that were made, by id.
    schedules: Vec<String>,
}

async fn play(title: &str, scenario: &Value) {
    let story;
    let documents: Vec<(&str, Value)> = match &scenario["workflows"] {
        Value::Object(workflows) => workflows.iter().map(|(key, document)| (key.as_str(), named(document))).collect(),
        _ => {
            story = named(scenario);
            vec![(STORY, story)]
        }
    };
    let settings = Settings {
        all_vars: Some(scenario["vars"].clone()).filter(Value::is_object).unwrap_or(json!({})),
        timezone: scenario["timezone"].as_str().map(str::to_owned),
        preferences: Some(scenario["preferences"].clone()).filter(Value::is_object),
        channels: setups(&scenario["channels"]),
        ..Settings::default()
    };
    let more = scenario["channels"].as_array().into_iter().flatten().map(channel).collect();
    let groups = scenario["channel_groups"].as_array().into_iter().flatten().map(group).collect();
    let world = World::with_channels(&documents, settings, more, groups).await;
    if let Some(at) = scenario["at"].as_str() {
        world.core.clock.set(Time::parse(at).unwrap_or_else(|| panic!("{title}: `at` is an instant")));
    }
    let mut play = Play { title, world, joins: BTreeMap::new(), seen: BTreeMap::new(), schedules: Vec::new() };
    for (workflow, audience) in scenario["joins"].as_object().into_iter().flatten() {
        play.joins.insert(workflow.clone(), audience.as_str().expect("an audience's key").to_owned());
    }
    play.introduce(scenario).await;
    play.declare(&scenario["audiences"]).await;
    play.connect(&scenario["sources"]);
    play.cap(&scenario["caps"]);
    let acts = scenario["do"].as_array().unwrap_or_else(|| panic!("{title}: `do` is a list"));
    for (number, act) in acts.iter().enumerate() {
        let (verb, what) = act.as_object().and_then(|act| act.iter().next()).expect("a verb");
        let place = format!("{title}, {} ({verb})", number + 1);
        play.act(&place, verb, what).await;
    }
}

/// The document of a workflow: what of a scenario belongs to it.
fn named(scenario: &Value) -> Value {
    let own = [
        "scenario",
        "people",
        "objects",
        "tenants",
        "at",
        "vars",
        "timezone",
        "do",
        "workflows",
        "workflow",
        "audiences",
        "joins",
        "sources",
        "caps",
        "channels",
        "channel_groups",
        "preferences",
    ];
    let members = scenario.as_object().expect("a scenario has members");
    let mut document: Map<String, Value> =
        members.iter().filter(|(key, _)| !own.contains(&key.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect();
    document.entry("name").or_insert("Story".into());
    document.into()
}

impl Play<'_> {
    async fn introduce(&self, scenario: &Value) {
        for user in scenario["people"].as_array().into_iter().flatten() {
            self.identify(user).await;
        }
        let mut batch = Batch::new();
        let now = self.world.core.clock.now();
        for (kind, collection) in [("objects", None), ("tenants", Some(TENANTS))] {
            for object in scenario[kind].as_array().into_iter().flatten() {
                let mut properties = object.as_object().expect("an object has members").clone();
                let mut own = |name: &str| properties.remove(name).and_then(|own| own.as_str().map(str::to_owned));
                let id = own("id").expect("an id");
                let collection = collection.map(str::to_owned).or_else(|| own("collection")).expect("a collection");
                let object = Object { collection, id, properties, inserted_at: now, updated_at: now };
                batch.put_object(self.world.env, &object, None);
            }
        }
        if !batch.is_empty() {
            self.world.core.store.apply(batch).await.unwrap();
        }
    }

    async fn identify(&self, user: &Value) {
        let id = user["id"].as_str().unwrap_or_else(|| panic!("{}: a user has an id", self.title));
        let profile = Profile::parse(user.as_object().unwrap(), "user").unwrap();
        self.world.core.identify_user(self.world.env, id, &profile).await.unwrap();
    }

    async fn act(&mut self, place: &str, verb: &str, what: &Value) {
        match verb {
            "trigger" => self.trigger(place, what).await,
            "pass" => {
                self.world.pass(seconds(place, what)).await;
            }
            "work" => {
                for _ in 0..what.as_u64().expect("a number") {
                    self.world.core.clock.advance(1_000);
                    self.world.pass(0).await;
                }
            }
            "told" => self.told(place, what).await,
            "feed" => {
                for (user, expected) in what.as_object().expect("users by their ids") {
                    let all = self.world.told(user).await;
                    let all: Vec<&str> = all.iter().map(|text| plain(text)).collect();
                    assert_eq!(&json!(all), expected, "{place}: {user}");
                }
            }
            "counts" => {
                let head = self.world.head(what["user"].as_str().expect("whose")).await;
                let Counts { total, unread, unseen } = head.active;
                let found = json!({"user": what["user"], "total": total, "unread": unread, "unseen": unseen});
                assert_eq!(&found, what, "{place}");
                let recount = self.world.core.store.recount(head.id).await.unwrap();
                assert_eq!((head.active, head.archived), recount, "{place}: a recount");
            }
            "runs" => {
                let statuses: Vec<Value> = self.world.runs().await.iter().map(|run| run.status.name().into()).collect();
                assert_eq!(&Value::from(statuses), what, "{place}");
            }
            "record" => {
                let run = self.run(place, &what["run"]).await;
                assert_eq!(json!(record(&run)), what["is"], "{place}");
            }
            "event" => self.event(place, what).await,
            "run" => {
                let run = self.run(place, &what["run"]).await.to_json();
                expect_members(place, &run, &what["has"]);
            }
            "distinct" => {
                let runs: BTreeSet<_> = self.world.runs().await.iter().map(|run| run.workflow_run).collect();
                assert_eq!(json!(runs.len()), what["workflow_runs"], "{place}");
            }
            "unsaid" => {
                let told = self.run(place, &what["run"]).await.to_detail_json().to_string();
                for word in what["words"].as_array().expect("a list of words") {
                    assert!(!told.contains(word.as_str().unwrap()), "{place}: {told}");
                }
            }
            "stored" => {
                let (found, _) = self.stored(what).await;
                expect_members(place, &found, &what["has"]);
            }
            "preferences" => assert_eq!(self.stored(&what["of"]).await.1, what["are"], "{place}"),
            "shown" => {
                let newest = self.world.feed(what["user"].as_str().unwrap()).await.remove(0);
                let actors: Value = serde_json::from_str(&newest.actors).unwrap();
                assert_eq!(actors[0]["name"], what["actor"], "{place}");
            }
            "item" => self.item(place, what).await,
            "cancel" => self.cancel(place, what).await,
            "mark" => self.mark(what).await,
            "revoke" => self.revoke(place, what).await,
            "join" | "leave" => self.member(place, verb, what).await,
            "members" => self.members(place, what).await,
            "declare" => self.declare(what).await,
            "sources" => self.connect(what),
            "cap" => self.cap(what),
            "arrives" => self.arrives(place, what).await,
            "bind" => {
                let bound = what.as_object().into_iter().flatten();
                let bound = bound.map(|(key, audience)| (key.clone(), audience.as_str().expect("a key").to_owned()));
                self.joins.extend(bound);
            }
            "source" => {
                let run = self.run(place, &what["run"]).await;
                assert_eq!(run.to_json()["trigger_source"], what["is"], "{place}");
            }
            "silent" => {
                let word = what.as_str().expect("a word");
                for run in self.world.runs().await {
                    assert!(!json!(run.events).to_string().contains(word), "{place}: {:?}", run.events);
                }
            }
            "identify" => self.identify(what).await,
            "delete" => {
                let user = what.as_str().expect("a user's id");
                self.world.core.delete_user(self.world.env, user).await.unwrap();
            }
            "online" | "offline" => {
                let user = what.as_str().expect("a user's id");
                let here = &self.world.here;
                match verb {
                    "online" => drop(here.lock().unwrap().insert(user.to_owned())),
                    _ => drop(here.lock().unwrap().remove(user)),
                }
                self.world.core.sightings.note(self.world.env, &user.into(), self.world.core.clock.now());
                self.world.core.write_sightings().await.unwrap();
            }
            "publish" => {
                let catalog = &self.world.core.catalog;
                let key = workflow(what);
                let published = Workflow::parse(key, &named(what), catalog.channels()).expect("a valid workflow");
                let mut batch = Batch::new();
                let now = self.world.core.clock.now();
                batch.publish_workflow(self.world.env, key, published.version_id, &published.source, now);
                self.world.core.store.apply(batch).await.unwrap();
                let others = catalog.workflows(self.world.env).into_iter().filter(|other| other.key != key);
                let others =
                    others.map(|other| Workflow::parse(&other.key, &other.source, catalog.channels()).unwrap());
                catalog.replace(others.chain([published]).collect());
            }
            "schedule" => self.schedule(place, what).await,
            "reschedule" => {
                let mut body = what.as_object().expect("what changes").clone();
                body.remove("schedule");
                body.insert("schedule_ids".to_owned(), json!([self.schedule_id(what)]));
                expect(place, what, self.world.core.update_schedules(self.world.env, body).await);
            }
            "unschedule" => {
                let ids = json!({"schedule_ids": [self.schedule_id(what)]});
                self.world.core.delete_schedules(self.world.env, ids.as_object().unwrap()).await.unwrap();
            }
            "scheduled" => {
                let schedule = self.world.core.store.schedule(&self.schedule_id(what)).await.unwrap();
                let schedule = schedule.unwrap_or_else(|| panic!("{place}: there is no such schedule"));
                for (name, at) in [("next", schedule.next_occurrence_at), ("last", schedule.last_occurrence_at)] {
                    if let Some(expected) = what.get(name) {
                        assert_eq!(at, expected.as_str().and_then(Time::parse), "{place}: {name}");
                    }
                }
            }
            "sleep" => {
                let clock = &self.world.core.clock;
                clock.set(clock.now().plus_seconds(seconds(place, what)));
            }
            "subscribe" => {
                let request = subscribe::Request::parse(what.as_object().unwrap()).unwrap();
                self.world.core.subscribe(self.world.env, &reference(&what["to"]), &request).await.unwrap();
            }
            "unsubscribe" => {
                let request = subscribe::Request::parse(what.as_object().unwrap()).unwrap();
                self.world.core.unsubscribe(self.world.env, &reference(&what["from"]), &request).await.unwrap();
            }
            "reached" => {
                let runs = self.world.runs().await;
                let mut reached: Vec<String> = runs.iter().map(|run| run.recipient.to_string()).collect();
                let mut expected: Vec<String> =
                    what.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_owned()).collect();
                reached.sort();
                expected.sort();
                assert_eq!(reached, expected, "{place}");
            }
            "inactive" => {
                let is_active = !what.as_bool().or(what["is"].as_bool()).expect("true or false");
                self.world.core.catalog.set_active(self.world.env, workflow(what), is_active);
            }
            _ => panic!("{place}: no such verb"),
        }
    }

    async fn trigger(&self, place: &str, what: &Value) {
        let body = match what {
            Value::String(user) => json!({"recipients": [{"id": user}]}),
            _ => what.clone(),
        };
        expect(place, what, self.world.trigger(workflow(what), body).await);
    }

    async fn schedule(&mut self, place: &str, what: &Value) {
        let mut body = what.as_object().expect("a schedule's body").clone();
        body.entry("workflow").or_insert(STORY.into());
        let made = expect(place, what, self.world.core.create_schedules(self.world.env, body).await);
        self.schedules.extend(made.iter().flatten().map(|one| one["id"].as_str().unwrap().to_owned()));
    }

    /// The id of the schedule that `what` names by its number.
    fn schedule_id(&self, what: &Value) -> String {
        let number = what.as_u64().or(what["schedule"].as_u64()).unwrap_or(1);
        self.schedules[number as usize - 1].clone()
    }

    async fn told(&mut self, place: &str, what: &Value) {
        for (user, expected) in what.as_object().expect("users by their ids") {
            let all = self.world.told(user).await;
            let seen = self.seen.insert(user.clone(), all.len()).unwrap_or_default();
            let news: Vec<&str> = all[seen..].iter().map(|text| plain(text)).collect();
            assert_eq!(&json!(news), expected, "{place}: {user}");
        }
    }

    async fn run(&self, place: &str, number: &Value) -> bellwire::model::run::Run {
        let mut runs = self.world.runs().await;
        if let Some(recipient) = number.as_str() {
            let latest = runs.into_iter().rev().find(|run| run.recipient.key() == recipient);
            return latest.unwrap_or_else(|| panic!("{place}: {recipient} has no run"));
        }
        let number = number.as_u64().unwrap_or(1) as usize;
        assert!(number <= runs.len(), "{place}: there are {} runs", runs.len());
        runs.swap_remove(number - 1)
    }

    async fn event(&self, place: &str, what: &Value) {
        let run = self.run(place, &what["run"]).await;
        let name = what["name"].as_str().expect("an event's name");
        let event = run.events.iter().rev().find(|event| event.event == name);
        let event = event.unwrap_or_else(|| panic!("{place}: {:?}", record(&run)));
        let found = event.data.clone().unwrap_or_default();
        for (member, expected) in what["data"].as_object().into_iter().flatten() {
            assert_eq!(&found[member], expected, "{place}: {member} of {found}");
        }
        expect_members(place, &found, &what["has"]);
        for member in ["step_ref", "step_type", "status"] {
            if let Some(expected) = what.get(member) {
                assert_eq!(&serde_json::to_value(event).unwrap()[member], expected, "{place}: {member}");
            }
        }
    }

    /// What is stored of somebody, and their preference sets.
    async fn stored(&self, whose: &Value) -> (Value, Value) {
        let (store, env) = (&self.world.core.store, self.world.env);
        let text = |name: &str| whose[name].as_str();
        let (key, properties) = match (text("user"), text("collection"), text("id")) {
            (Some(user), ..) => (user.to_owned(), store.user(env, user).await.unwrap().map(|user| user.properties)),
            (_, Some(collection), Some(id)) => {
                let object = store.object(env, collection, id).await.unwrap();
                (format!("#{collection}#{id}"), object.map(|object| object.properties))
            }
            _ => panic!("{}: a user, or a collection and an id", self.title),
        };
        let sets = store.preference_sets(env, &key).await.unwrap();
        (properties.unwrap_or_default().into(), sets.into_iter().collect())
    }

    async fn item(&self, place: &str, what: &Value) {
        let user = what["user"].as_str().expect("whose item");
        let newest = self.world.feed(user).await.into_iter().next();
        let newest = newest.unwrap_or_else(|| panic!("{place}: {user} was told nothing"));
        let json_of = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for (member, expected) in what.as_object().into_iter().flatten().filter(|(member, _)| *member != "user") {
            let found = match member.as_str() {
                "text" => body(&newest).trim_start_matches("<p>").trim_end_matches("</p>").into(),
                "data" => json_of(&newest.data),
                "actors" => json_of(&newest.actors),
                "total_activities" => newest.total_activities.into(),
                "total_actors" => newest.total_actors.into(),
                "tenant" => newest.tenant.clone().into(),
                "scheduled_at" => json!(newest.scheduled_at),
                "status" => newest.status.clone().into(),
                "activities" => newest.activities.as_deref().map(json_of).unwrap_or_default(),
                _ => panic!("{place}: `{member}` of an item is not known here"),
            };
            assert_eq!(&found, expected, "{place}: {member}");
        }
    }

    async fn declare(&self, audiences: &Value) {
        let read = |(key, members): (&String, &Value)| {
            let document = match members {
                Value::Array(_) => json!({"name": key, "type": "dynamic", "segments": members}),
                _ => json!({"name": key, "type": members}),
            };
            Audience::parse(key, &document).unwrap_or_else(|faults| panic!("{}: {faults:?}", self.title))
        };
        let declared = audiences.as_object().into_iter().flatten().map(read).collect();
        let core = &self.world.core;
        core.catalog.replace_audiences(Audiences::new(declared, self.joins.clone()));
        core.publish_audiences().await.unwrap();
    }

    fn connect(&self, sources: &Value) {
        let read = |(key, document): (&String, &Value)| {
            Source::parse(key, document).unwrap_or_else(|faults| panic!("{}: {faults:?}", self.title))
        };
        let sources = sources.as_object().into_iter().flatten().map(read).collect();
        self.world.core.catalog.replace_sources(Sources::new(sources));
    }

    fn cap(&self, caps: &Value) {
        let read = |(key, document): (&String, &Value)| {
            Cap::parse(key, document).unwrap_or_else(|faults| panic!("{}: {faults:?}", self.title))
        };
        let caps = caps.as_object().into_iter().flatten().map(read).collect();
        self.world.core.catalog.replace_caps(Caps::new(caps));
    }

    async fn arrives(&self, place: &str, what: &Value) {
        self.world.core.clock.advance(1_000);
        let catalog = &self.world.core.catalog;
        let source =
            catalog.sources().get(what["source"].as_str().expect("a source's key")).cloned().expect("a source");
        let event = Event { body: what["body"].clone(), headers: Map::new() };
        let taken = self.world.core.take_event(self.world.env, &source, event).await;
        taken.unwrap_or_else(|fault| panic!("{place}: {fault}"));
    }

    async fn member(&self, place: &str, verb: &str, what: &Value) {
        self.world.core.clock.advance(1_000);
        let user = match &what["user"] {
            Value::String(id) if what["missing"] != true => json!({"id": id}),
            user => user.clone(),
        };
        let body = json!({"members": [{"user": user, "tenant": what["tenant"]}]});
        let (core, env, key) = (&self.world.core, self.world.env, what["audience"].as_str().expect("a key"));
        let done = match verb {
            "join" => core.add_members(env, key, &body, what["create"] == true).await,
            _ => core.remove_members(env, key, &body).await,
        };
        match what["refused"].as_str() {
            None => done.unwrap_or_else(|fault| panic!("{place}: {fault}")),
            Some(why) => {
                let fault = done.expect_err(place).to_string();
                assert!(fault.contains(why), "{place}: {fault}");
            }
        }
    }

    async fn members(&self, place: &str, what: &Value) {
        let key = what["audience"].as_str().expect("a key");
        let members = self.world.core.store.audience_members(self.world.env, key, None, 100).await.unwrap();
        let name = |member: AudienceMember| match member.tenant {
            Some(tenant) => format!("{} in {tenant}", member.user),
            None => member.user,
        };
        let mut names: Vec<String> = members.into_iter().map(name).collect();
        names.sort();
        assert_eq!(json!(names), what["are"], "{place}");
    }

    async fn mark(&self, what: &Value) {
        self.world.core.clock.advance(1_000);
        let user = what["user"].as_str().expect("whose item");
        let item = what["item"].as_u64().unwrap_or(1) as usize;
        let ids = [self.world.feed(user).await[item - 1].id.clone()];
        let mark = what["as"].as_str().expect("a mark").parse().expect("a mark");
        let core = &self.world.core;
        core.mark(self.world.env, &ids, mark, what["with"].as_object(), &Reach::default()).await.unwrap();
    }

    async fn revoke(&self, place: &str, what: &Value) {
        self.world.core.clock.advance(1_000);
        let (core, env) = (&self.world.core, self.world.env);
        let revoked = match what["user"].as_str() {
            Some(user) => {
                let item = what["item"].as_u64().unwrap_or(1) as usize;
                let ids = [self.world.feed(user).await[item - 1].id.clone()];
                Revoked { messages: core.revoke(env, &ids).await.unwrap(), cancelled: 0 }
            }
            None => {
                let mut body = what.as_object().expect("what is revoked").clone();
                body.entry("workflow").or_insert(STORY.into());
                core.revoke_all(env, &revoke::Request::parse(&body).unwrap()).await.unwrap()
            }
        };
        if let Some(expected) = what["revokes"].as_u64() {
            assert_eq!(revoked.messages as u64, expected, "{place}");
        }
        if let Some(expected) = what["stops"].as_u64() {
            assert_eq!(revoked.cancelled as u64, expected, "{place}");
        }
    }

    async fn cancel(&self, place: &str, what: &Value) {
        let body = json!({"cancellation_key": what["key"], "recipients": what["recipients"]});
        let stopped = self.world.core.cancel(self.world.env, workflow(what), &body).await.unwrap();
        if let Some(expected) = what["stops"].as_u64() {
            assert_eq!(stopped as u64, expected, "{place}");
        }
    }
}

/// What a body says.
fn plain(text: &str) -> &str {
    text.trim_start_matches("<p>").trim_end_matches("</p>")
}

/// Each member that is named is as expected; of objects, those members of theirs that are named.
fn expect_members(place: &str, found: &Value, expected: &Value) {
    for (member, expected) in expected.as_object().into_iter().flatten() {
        match (&found[member], expected) {
            (Value::Object(_), Value::Object(_)) => expect_members(place, &found[member], expected),
            (found, expected) => assert_eq!(found, expected, "{place}: {member}"),
        }
    }
}

/// What was answered; none if it was refused with the words that are expected.
fn expect<T: std::fmt::Debug>(place: &str, what: &Value, answered: Result<T, bellwire::verbs::Error>) -> Option<T> {
    match what["refused"].as_str() {
        None => Some(answered.unwrap_or_else(|fault| panic!("{place}: {fault}"))),
        Some(why) => {
            let fault = answered.expect_err(place).to_string();
            assert!(fault.contains(why), "{place}: {fault}");
            None
        }
    }
}

fn setups(channels: &Value) -> BTreeMap<String, ChannelSetup> {
    let configured = channels.as_array().into_iter().flatten().filter(|one| one["is_configured"] != false);
    let setup = |one: &Value| ChannelSetup::read(&channel(one), one.as_object().expect("a channel"));
    configured.map(|one| (one["key"].as_str().expect("a key").to_owned(), setup(one))).collect()
}

fn channel(one: &Value) -> Channel {
    let key = one["key"].as_str().expect("a key");
    let id =
        one["id"].as_str().map_or_else(|| Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()), |id| id.parse().unwrap());
    Channel {
        id,
        key: key.to_owned(),
        name: key.to_owned(),
        kind: one["type"].as_str().expect("a type").parse().unwrap(),
        provider: one["provider"].as_str().unwrap_or_default().to_owned(),
        created_at: Time::default(),
        updated_at: Time::default(),
        conditions: one.get("conditions").map(|group| Group::parse(group, key, Allow::default()).unwrap()),
        response_filter: Default::default(),
    }
}

fn group(one: &Value) -> ChannelGroup {
    let text = |name: &str| one[name].as_str().expect("a text").to_owned();
    let member = |rule: &Value| Member {
        channel: rule["channel"].as_str().expect("a channel").to_owned(),
        rule: Rule::parse(rule.as_object().unwrap(), "rule").unwrap(),
    };
    ChannelGroup {
        key: text("key"),
        name: text("key"),
        channel_type: text("channel_type").parse().unwrap(),
        operator: if one["operator"] == "all" { Operator::All } else { Operator::Any },
        members: one["rules"].as_array().unwrap().iter().map(member).collect(),
    }
}

fn reference(what: &Value) -> RecipientRef {
    RecipientRequest::parse(what, "an object").expect("a reference").reference
}

fn workflow(what: &Value) -> &str {
    what["workflow"].as_str().unwrap_or(STORY)
}

/// How long `90m` is.
fn seconds(place: &str, text: &Value) -> i64 {
    let text = text.as_str().unwrap_or_else(|| panic!("{place}: a time is written as `90m`"));
    let (number, unit) = text.split_at(text.len() - 1);
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => panic!("{place}: a time ends in s, m, h or d"),
    };
    unit * number.parse::<i64>().unwrap_or_else(|_| panic!("{place}: `{text}` is no time"))
}

fn json_of(yaml: &Yaml) -> Value {
    match yaml {
        Yaml::String(text) => text.clone().into(),
        Yaml::Integer(number) => (*number).into(),
        Yaml::Real(number) => number.parse::<f64>().unwrap().into(),
        Yaml::Boolean(flag) => (*flag).into(),
        Yaml::Array(items) => items.iter().map(json_of).collect(),
        Yaml::Hash(members) => members
            .iter()
            .map(|(key, value)| (key.as_str().expect("keys are text").to_owned(), json_of(value)))
            .collect::<Map<_, _>>()
            .into(),
        Yaml::Null => Value::Null,
        Yaml::Alias(_) | Yaml::BadValue => panic!("not to be read"),
    }
}
